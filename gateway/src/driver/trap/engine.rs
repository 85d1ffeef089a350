//! The SNMP engine that informs are sent to: its users, and the file that says how often it has started. Shell: one small file.
//!
//! The number of starts makes old messages recognisable as such (RFC 3414, 2.2): it must not go back. Where its file cannot be kept, the
//! time of the start stands for it, which goes on as long as the clock does.

use std::path::Path;
use std::time::Instant;

use super::receiver::Receiver;
use super::usm::User;
use crate::clock::now_ms;
use crate::config::Traps;
use crate::record::save;

/// The time of a start is counted from here, so that it fits 31 bits until 2094: 2026-01-01.
const EPOCH_S: i64 = 1_767_225_600;

/// Begins to receive; takes some milliseconds for each user.
pub(super) fn receiver(traps: &Traps) -> Receiver {
    let users = traps.users.iter().map(|user| {
        let auth = user.auth.as_ref().map(|(protocol, password)| (*protocol, password.0.as_str()));
        let privacy = user.privacy.as_ref().map(|(cipher, password)| (*cipher, user.key_extension, password.0.as_str()));
        User::new(&user.name, auth, privacy)
    });
    let communities = traps.communities.iter().map(|community| community.0.as_bytes().to_vec()).collect();
    let salt = getrandom::u64().unwrap_or_default();
    Receiver::new(communities, users.collect(), traps.engine_id.clone(), boots(&traps.boots), salt, Instant::now())
}

/// How often it has started, this time included.
fn boots(file: &Path) -> u32 {
    let before = std::fs::read_to_string(file).ok().and_then(|text| text.trim().parse::<u32>().ok());
    let now = u32::try_from((now_ms() / 1_000 - EPOCH_S).max(1)).unwrap_or(1);
    // Without a file it may have been lost: the time is past all numbers that were counted.
    let boots = before.map_or(now, |before| before.saturating_add(1));
    if let Err(error) = save(file, &format!("{boots}\n")) {
        tracing::warn!(file = %file.display(), %error, "how often the receiver of informs has started cannot be kept; its clock stands for it");
        return boots.max(now);
    }
    boots
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_start_has_a_higher_number_even_where_the_file_is_lost() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("boots");
        let first = boots(&file);
        let second = boots(&file);
        assert_eq!(second, first + 1);
        std::fs::write(&file, "damaged").unwrap();
        assert!(boots(&file) >= first, "the clock goes on");
        assert!(boots(&folder.path().join("none/boots")) >= first, "a folder that is not there");
    }
}
