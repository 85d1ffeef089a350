//! What has come a moment ago, so that what comes twice counts once. Pure.
//!
//! An inform is sent again until its acknowledgement arrives, and a network may double any datagram. The same is what comes from the same
//! source with the same PDU, its id and its time included. Both the time and the number that is remembered are bounded; whatever is
//! forgotten too early counts twice, which is the lesser evil.

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::message::{INFORM, Pdu};

/// How long an inform may be sent again. Agents give up after a few tries of some seconds.
const INFORM_WINDOW: Duration = Duration::from_secs(300);
/// How long a network may hold back the double of a trap. Short: a device may send the same trap again, and mean it.
const TRAP_WINDOW: Duration = Duration::from_secs(2);
/// Most of each that are remembered.
const MAX_REMEMBERED: usize = 4_096;

#[derive(Debug, Default)]
pub(super) struct Recent {
    /// A key that a sender cannot know: nobody can make two that look the same.
    hash: RandomState,
    informs: Window,
    traps: Window,
}

#[derive(Debug, Default)]
struct Window {
    seen: HashSet<u64>,
    order: VecDeque<(Instant, u64)>,
}

impl Recent {
    /// Whether this has come a moment ago; from now on it has.
    pub(super) fn has_seen(&mut self, source: IpAddr, pdu: Pdu<'_>, now: Instant) -> bool {
        let key = self.hash.hash_one((source, pdu.tag, pdu.content));
        if pdu.tag == INFORM { self.informs.has_seen(key, now, INFORM_WINDOW) } else { self.traps.has_seen(key, now, TRAP_WINDOW) }
    }
}

impl Window {
    fn has_seen(&mut self, key: u64, now: Instant, window: Duration) -> bool {
        while let Some((at, old)) = self.order.front().copied() {
            if now < at + window && self.order.len() < MAX_REMEMBERED {
                break;
            }
            self.order.pop_front();
            self.seen.remove(&old);
        }
        if !self.seen.insert(key) {
            return true;
        }
        self.order.push_back((now, key));
        false
    }
}

#[cfg(test)]
mod tests {
    use super::super::message::TRAP;
    use super::*;

    const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const B: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

    #[test]
    fn the_same_from_the_same_counts_once_while_it_is_remembered() {
        let (start, mut recent) = (Instant::now(), Recent::default());
        let inform = Pdu { tag: INFORM, content: b"1" };
        let trap = Pdu { tag: TRAP, content: b"1" };
        for (source, pdu, seconds, seen) in [
            (A, inform, 0, false),
            (A, inform, 1, true),
            (B, inform, 1, false),
            (A, Pdu { tag: INFORM, content: b"2" }, 1, false),
            (A, trap, 1, false),
            (A, trap, 2, true),
            (A, trap, 3, false),
            (A, inform, 299, true),
            (A, inform, 300, false),
        ] {
            assert_eq!(recent.has_seen(source, pdu, start + Duration::from_secs(seconds)), seen, "{pdu:?} of {source} at {seconds} s");
        }
    }

    #[test]
    fn what_is_remembered_does_not_grow() {
        let (now, mut recent) = (Instant::now(), Recent::default());
        for number in 0..3 * MAX_REMEMBERED {
            assert!(!recent.has_seen(A, Pdu { tag: INFORM, content: &number.to_be_bytes() }, now));
        }
        assert!(recent.informs.order.len() <= MAX_REMEMBERED && recent.informs.seen.len() == recent.informs.order.len());
        assert!(recent.has_seen(A, Pdu { tag: INFORM, content: &(3 * MAX_REMEMBERED - 1).to_be_bytes() }, now), "the newest is kept");
    }
}
