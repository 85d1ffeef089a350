//! The certificate that `tls: auto` shows to browsers: made by the server's own authority, kept over restarts, and made anew before
//! its end. Shell.
//!
//! Whoever let a browser take it is not asked again at each start. One file holds certificate and key, so that they always belong
//! together; in its first line stands what it was made for.

use std::path::Path;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde::{Deserialize, Serialize};

use super::{FOLDER, Own, Shown, TlsError, fingerprint};
use crate::broker::accounts::file::{lock, read, write_private};
use crate::broker::authority::Made;

const NAME: &str = "web.pem";
/// Largest file, in bytes.
const MAX_BYTES: usize = 64 << 10;
const DAY_MS: i64 = 24 * 3600 * 1000;
/// Browsers refuse certificates that are good for longer.
const GOOD_FOR_MS: i64 = 397 * DAY_MS;
/// It is good from a day ago: other clocks may be behind.
const GOOD_BEFORE_MS: i64 = DAY_MS;
/// So long before its end another one is made.
const RENEW_BEFORE_MS: i64 = 30 * DAY_MS;

/// What a certificate was made for; any other needs another one.
#[derive(Debug, Serialize, Deserialize, PartialEq, Eq)]
struct Terms {
    names: Vec<String>,
    authority: Option<String>,
    made_ms: i64,
}

/// A certificate in use.
pub(super) struct Kept {
    pub(super) shown: Shown,
    /// When another one has to be made, ms since 1970.
    pub(super) due_ms: i64,
}

/// The certificate for these names, the kept one where it still serves.
///
/// # Errors
/// None can be made or kept.
pub(super) fn certificate(own: &Own, names: Vec<String>, data: &Path, now_ms: i64) -> Result<Kept, TlsError> {
    let path = data.join(FOLDER).join(NAME);
    let _order = lock(data)?;
    let wanted = Terms { names, authority: fingerprint(&own.pem), made_ms: now_ms };
    if let Some(kept) = read(&path, MAX_BYTES)?.and_then(|text| usable(&text, &wanted)) {
        return Ok(kept);
    }
    let Made { pem, key_pem, .. } = own.authority.sign_server_for(&wanted.names, now_ms - GOOD_BEFORE_MS, now_ms + GOOD_FOR_MS)?;
    let terms = serde_json::to_string(&wanted).map_err(|e| TlsError::Library(e.to_string()))?;
    let text = format!("{terms}\n{pem}{key_pem}");
    let made = usable(&text, &wanted).ok_or_else(|| TlsError::Library("BUG: a certificate that was just made is of no use".into()))?;
    write_private(&path, text.as_bytes())?;
    tracing::info!("made a certificate for page and API: {}", path.display());
    Ok(made)
}

/// What a file holds, if it is what is wanted now.
fn usable(text: &str, wanted: &Terms) -> Option<Kept> {
    let terms: Terms = serde_json::from_str(text.lines().next()?).ok()?;
    let due_ms = terms.made_ms + GOOD_FOR_MS - RENEW_BEFORE_MS;
    // A clock that was set back would show one that is not good yet.
    let timely = (terms.made_ms - GOOD_BEFORE_MS..due_ms).contains(&wanted.made_ms);
    let shown = (vec![CertificateDer::from_pem_slice(text.as_bytes()).ok()?], PrivateKeyDer::from_pem_slice(text.as_bytes()).ok()?);
    let same = terms.names == wanted.names && terms.authority == wanted.authority;
    (timely && same).then_some(Kept { shown, due_ms })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::broker::certificate::Certificate;

    const NOW: i64 = 1_800_000_000_000;

    #[test]
    fn the_certificate_is_kept_until_it_no_longer_serves() {
        let data = tempfile::tempdir().unwrap();
        let own = Own::open(data.path()).unwrap();
        let names = |name: &str| vec![name.to_owned(), "localhost".to_owned()];
        let shown = |name: &str, now_ms: i64| certificate(&own, names(name), data.path(), now_ms).unwrap();
        let first = shown("ops.example", NOW);
        let path = data.path().join(FOLDER).join(NAME);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let expires = Certificate::read(&first.shown.0[0]).unwrap().expires_ms;
        assert_eq!((expires - NOW, expires - first.due_ms), (GOOD_FOR_MS, RENEW_BEFORE_MS));
        for (now_ms, same) in [(NOW + DAY_MS, true), (first.due_ms - 1, true), (NOW - DAY_MS, true), (NOW, true)] {
            assert_eq!(shown("ops.example", now_ms).shown == first.shown, same, "{now_ms}");
        }
        let kept = std::fs::read(&path).unwrap();
        for (name, now_ms) in [("ops.example", first.due_ms), ("ops.example", NOW - 2 * DAY_MS), ("other.example", NOW)] {
            std::fs::write(&path, &kept).unwrap();
            assert!(shown(name, now_ms).shown != first.shown, "{name} at {now_ms}");
        }
        // Torn, of another authority, empty: another one takes its place.
        for content in [&kept[..kept.len() / 2], b"", b"{}\n"] {
            std::fs::write(&path, content).unwrap();
            assert!(shown("ops.example", NOW).shown != first.shown);
        }
        std::fs::write(&path, &kept).unwrap();
        std::fs::remove_file(data.path().join(FOLDER).join("ca.key")).unwrap();
        let other = Own::open(data.path()).unwrap();
        assert!(certificate(&other, names("ops.example"), data.path(), NOW).unwrap().shown != first.shown);
    }
}
