//! How often somebody may try to log in, and ask at all. Pure: events and `now` in, verdicts out.
//!
//! Wrong passwords slow down their user and their address, each by itself, twice as long each time. An attempt counts as wrong
//! from its beginning, so that many at once gain nothing. Sessions that there are go on: whoever is attacked can work.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

use crate::broker::limits::Bucket;
pub use crate::broker::limits::Source;

/// Wrong passwords of one user that cost no wait.
pub const FREE_BY_USER: u32 = 5;
/// The same from one address: people share them.
pub const FREE_BY_SOURCE: u32 = 20;
/// The first wait; each further wrong password doubles it.
pub const FIRST_WAIT_MS: i64 = 1000;
/// The longest wait: somebody who was attacked is let in again after that at the latest.
pub const LONGEST_WAIT_MS: i64 = 15 * 60 * 1000;
/// After so long without a wrong password everything is forgotten.
pub const FORGET_MS: i64 = 3600 * 1000;
/// Most users and most addresses that are remembered.
pub const MAX_REMEMBERED: usize = 4096;

/// Requests per second of one user, token or address, and how many may come at once.
pub const RATE: (u32, u32) = (100, 500);

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Tries {
    wrong: u32,
    last_ms: i64,
}

impl Tries {
    fn until_ms(self, free: u32) -> i64 {
        match self.wrong.checked_sub(free) {
            None | Some(0) => i64::MIN,
            Some(over) => self.last_ms + (FIRST_WAIT_MS << (over - 1).min(20)).min(LONGEST_WAIT_MS),
        }
    }

    fn forgotten(self, now_ms: i64) -> bool {
        now_ms.saturating_sub(self.last_ms) >= FORGET_MS || self.last_ms.saturating_sub(now_ms) >= FORGET_MS
    }
}

/// Wrong passwords by user and by address.
#[derive(Debug, Default)]
pub struct Lockout {
    users: HashMap<String, Tries>,
    sources: HashMap<Source, Tries>,
}

fn note<K: Hash + Eq + Clone>(table: &mut HashMap<K, Tries>, key: &K, now_ms: i64) {
    table.retain(|_, tries| !tries.forgotten(now_ms));
    if table.len() >= MAX_REMEMBERED && !table.contains_key(key) {
        // Somebody who makes up names must not make us forget the one that is attacked: the least tried goes.
        let least = table.iter().min_by_key(|(_, tries)| (tries.wrong, tries.last_ms)).map(|(key, _)| key.clone());
        least.and_then(|least| table.remove(&least));
    }
    let tries = table.entry(key.clone()).or_default();
    *tries = Tries { wrong: tries.wrong.saturating_add(1), last_ms: now_ms };
}

impl Lockout {
    /// Begins an attempt, which counts as wrong until [`Self::right`].
    ///
    /// # Errors
    /// How long to wait first, in ms; such an attempt does not count.
    pub fn begin(&mut self, user: &str, source: Source, now_ms: i64) -> Result<(), i64> {
        let until =
            |tries: Option<&Tries>, free| tries.filter(|tries| !tries.forgotten(now_ms)).map_or(i64::MIN, |tries| tries.until_ms(free));
        let until_ms = until(self.users.get(user), FREE_BY_USER).max(until(self.sources.get(&source), FREE_BY_SOURCE));
        if now_ms < until_ms {
            return Err(until_ms - now_ms);
        }
        note(&mut self.users, &user.to_owned(), now_ms);
        note(&mut self.sources, &source, now_ms);
        Ok(())
    }

    /// The attempt was right: the user is free again, the address has one wrong attempt less.
    pub fn right(&mut self, user: &str, source: Source) {
        self.users.remove(user);
        if let Some(tries) = self.sources.get_mut(&source) {
            tries.wrong = tries.wrong.saturating_sub(1);
        }
    }
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Asker {
    /// A user or token, by name.
    Known(String),
    /// Somebody at an address.
    Unknown(Source),
}

/// How fast each asks.
#[derive(Debug, Default)]
pub struct Rates(HashMap<Asker, Bucket>);

impl Rates {
    /// Takes one request; gives whether it is within the rate.
    pub fn take(&mut self, asker: &Asker, now: Instant) -> bool {
        let (per_s, at_once) = RATE;
        let ahead = Duration::from_secs(1) * at_once / per_s;
        if self.0.len() >= MAX_REMEMBERED && !self.0.contains_key(asker) {
            self.0.retain(|_, bucket| !bucket.idle(now));
            // All of them ask right now: one more has to wait for its turn.
            if self.0.len() >= MAX_REMEMBERED {
                return false;
            }
        }
        self.0.entry(asker.clone()).or_default().try_take(now, per_s, ahead)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000_000;

    fn source(n: u32) -> Source {
        let [a, b, c, d] = n.to_be_bytes();
        Source::from(std::net::SocketAddr::from(([10 + a, b, c, d], 1)))
    }

    #[test]
    fn each_wrong_password_doubles_the_wait_up_to_a_limit() {
        let (mut lockout, mut now, mut waits) = (Lockout::default(), NOW, Vec::new());
        for _ in 0..FREE_BY_USER + 13 {
            if let Err(wait) = lockout.begin("ann", source(1), now) {
                waits.push(wait / 1000);
                assert!(lockout.begin("ann", source(2), now + wait - 1).is_err(), "from elsewhere as well");
                now += wait;
                lockout.begin("ann", source(1), now).unwrap();
            }
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900], "seconds");
        assert!(lockout.begin("bob", source(2), now).is_ok(), "others are not held up");
        assert!(lockout.begin("ann", source(3), now + FORGET_MS).is_ok());
        assert!(lockout.begin("ann", source(3), now + FORGET_MS).is_ok(), "it begins anew");
    }

    #[test]
    fn an_address_that_tries_many_users_is_slowed_down_as_well() {
        let mut lockout = Lockout::default();
        for n in 0..=FREE_BY_SOURCE {
            lockout.begin(&format!("user{n}"), source(1), NOW).unwrap();
        }
        assert!(lockout.begin("fresh", source(1), NOW).is_err());
        assert!(lockout.begin("fresh", source(2), NOW).is_ok());
    }

    #[test]
    fn the_right_password_frees_the_user_and_counts_nothing() {
        let mut lockout = Lockout::default();
        for _ in 0..100 {
            lockout.begin("ann", source(1), NOW).unwrap();
            lockout.right("ann", source(1));
        }
        for _ in 0..FREE_BY_USER {
            lockout.begin("bob", source(1), NOW).unwrap();
        }
        lockout.begin("ann", source(1), NOW).unwrap();
        lockout.right("ann", source(1));
        assert!(lockout.begin("bob", source(1), NOW).is_ok(), "the sixth is taken");
        assert!(lockout.begin("bob", source(1), NOW).is_err(), "ann's right password does not free bob");
    }

    #[test]
    fn the_tables_are_bounded_and_made_up_names_do_not_push_out_who_is_attacked() {
        let mut lockout = Lockout::default();
        for _ in 0..=FREE_BY_USER {
            lockout.begin("ann", source(0), NOW).unwrap();
        }
        let many = u32::try_from(MAX_REMEMBERED).unwrap() + 50;
        for n in 1..many {
            lockout.begin(&format!("made-up-{n}"), source(n), NOW).unwrap();
        }
        assert_eq!((lockout.users.len(), lockout.sources.len()), (MAX_REMEMBERED, MAX_REMEMBERED));
        assert!(lockout.begin("ann", source(many), NOW).is_err());
    }

    #[test]
    fn a_rate_with_an_allowance_for_each() {
        let (mut rates, now) = (Rates::default(), Instant::now());
        let ann = Asker::Known("ann".into());
        let taken = (0..1000).filter(|_| rates.take(&ann, now)).count();
        assert_eq!(taken, 500);
        assert!(rates.take(&Asker::Unknown(source(1)), now), "others have their own");
        let later = (0..1000).filter(|_| rates.take(&ann, now + Duration::from_secs(1))).count();
        assert_eq!(later, 100);
        for n in 0..2 * u32::try_from(MAX_REMEMBERED).unwrap() {
            rates.take(&Asker::Unknown(source(n)), now + Duration::from_secs(60));
        }
        assert!(rates.0.len() <= MAX_REMEMBERED);
    }
}
