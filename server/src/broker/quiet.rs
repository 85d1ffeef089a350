//! Refusals and how often each is told: one line per window and kind, the others counted. Pure.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Of refusals for one reason, of one account from one address, one is logged within this time.
pub const TELL_EVERY: Duration = Duration::from_secs(60);
/// Most kinds of refusals that are told within a window; more of them are counted only.
const MAX_KINDS: usize = 1024;

/// Why a client was refused, ended or held to a limit. The names are those of the metric `pattoo_broker_refusals_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// More connections per second than its address may make, or too many of them wait.
    TooManyConnects,
    /// As many clients as there may be.
    TooManyClients,
    /// No CONNECT within the time for it.
    TooLate,
    /// No TLS, or an older version.
    Tls,
    /// A client certificate of another authority, expired, or not in order.
    Certificate,
    /// No account where one is needed.
    NoAccount,
    /// Unknown account or wrong secret.
    WrongSecret,
    /// Too many wrong secrets before.
    Locked,
    /// The account was revoked, or its secret replaced.
    Revoked,
    /// A client id that belongs to somebody else.
    ClientId,
    /// A last will on a topic that is not its own.
    Will,
    /// MQTT 3.1.1 where only 5 tells what was refused.
    Protocol,
    /// A topic that is not its own to write.
    Publish,
    /// A topic that is not its own to read.
    Subscribe,
    /// Larger than its kind of packet may be.
    TooLarge,
    /// Not MQTT.
    Malformed,
    /// It does not take what the broker has for it.
    SlowReader,
    /// It sent nothing for too long.
    Silent,
    /// More retained than one gateway may have.
    Retained,
}

impl Reason {
    /// Its name in metrics and logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::TooManyConnects => "too_many_connects",
            Self::TooManyClients => "too_many_clients",
            Self::TooLate => "no_connect_in_time",
            Self::Tls => "tls",
            Self::Certificate => "certificate",
            Self::NoAccount => "no_account",
            Self::WrongSecret => "wrong_secret",
            Self::Locked => "locked",
            Self::Revoked => "revoked",
            Self::ClientId => "client_id",
            Self::Will => "last_will",
            Self::Protocol => "protocol_version",
            Self::Publish => "publish",
            Self::Subscribe => "subscribe",
            Self::TooLarge => "too_large",
            Self::Malformed => "malformed",
            Self::SlowReader => "slow_reader",
            Self::Silent => "silent",
            Self::Retained => "retained",
        }
    }
}

/// Decides which refusals are told. `K` is what makes two of them the same.
#[derive(Debug)]
pub struct Quiet<K>(HashMap<K, (Instant, u64)>);

impl<K> Default for Quiet<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: std::hash::Hash + Eq + Clone> Quiet<K> {
    /// One more of that kind: how many were not told since the last one that was, if this one is to be told.
    pub fn tell(&mut self, kind: &K, now: Instant) -> Option<u64> {
        if let Some((told, untold)) = self.0.get_mut(kind) {
            if now.saturating_duration_since(*told) < TELL_EVERY {
                *untold += 1;
                return None;
            }
            *told = now;
            return Some(std::mem::take(untold));
        }
        if self.0.len() >= MAX_KINDS {
            self.0.retain(|_, (told, _)| now.saturating_duration_since(*told) < TELL_EVERY);
        }
        // With every place taken by what was told within the window, silence is the bound; metrics count on.
        if self.0.len() >= MAX_KINDS {
            return None;
        }
        self.0.insert(kind.clone(), (now, 0));
        Some(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_a_window_and_the_rest_in_the_next() {
        let now = Instant::now();
        let mut quiet = Quiet::default();
        assert_eq!(quiet.tell(&"a", now), Some(0));
        assert_eq!((0..9).filter_map(|_| quiet.tell(&"a", now)).count(), 0);
        assert_eq!(quiet.tell(&"b", now), Some(0), "another kind has its own window");
        assert_eq!(quiet.tell(&"a", now + TELL_EVERY), Some(9));
        assert_eq!(quiet.tell(&"a", now + TELL_EVERY * 2), Some(0));
    }

    #[test]
    fn a_flood_of_kinds_fills_neither_memory_nor_log() {
        let now = Instant::now();
        let mut quiet = Quiet::default();
        assert_eq!((0..10_000).filter_map(|kind| quiet.tell(&kind, now)).count(), MAX_KINDS);
        assert_eq!(quiet.0.len(), MAX_KINDS);
        assert_eq!(quiet.tell(&20_000, now + TELL_EVERY), Some(0), "a window later there is room again");
    }
}
