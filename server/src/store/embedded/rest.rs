//! When a head goes to the shelf although it is not full: nothing has come for a while, or it is old. A reading takes five times as much in the log
//! as in a part, and a start has to read it. Pure: it is asked now and then, and told what stands.

use std::time::{Duration, Instant};

/// A head goes when nothing has come for so long,
const QUIET: Duration = Duration::from_secs(60);
/// if it stands for so much log: whoever sends little and seldom shall not have a part for each time.
const QUIET_LOG_BYTES: u64 = 1 << 20;
/// A head that is as old goes in any case. At most 24 parts a day, of which merging makes one.
const OLD: Duration = Duration::from_secs(3600);

/// What a head stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Standing {
    /// The last record before it.
    pub(super) after: u64,
    /// The last record in it.
    pub(super) through: u64,
    /// Log between them.
    pub(super) log_bytes: u64,
}

/// Since when things are as they are.
#[derive(Debug)]
pub(super) struct Rest {
    seen: Standing,
    begun: Instant,
    quiet: Instant,
}

impl Rest {
    pub(super) fn new(seen: Standing, now: Instant) -> Self {
        Self { seen, begun: now, quiet: now }
    }

    /// Whether the head should go now.
    pub(super) fn is_due(&mut self, standing: Standing, now: Instant) -> bool {
        let was_empty = self.seen.log_bytes == 0;
        if was_empty || standing.after != self.seen.after {
            self.begun = now;
        }
        if standing.through != self.seen.through {
            self.quiet = now;
        }
        self.seen = standing;
        let since = |moment: Instant| now.saturating_duration_since(moment);
        let quiet = standing.log_bytes >= QUIET_LOG_BYTES && since(self.quiet) >= QUIET;
        standing.log_bytes > 0 && (quiet || since(self.begun) >= OLD)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_goes_when_nothing_comes_or_when_it_is_old() {
        const LITTLE: u64 = 100;
        const MUCH: u64 = QUIET_LOG_BYTES;
        let start = Instant::now();
        for (what, looks, expected) in [
            ("nothing is there", vec![(0, 0, 0, 0), (9000, 0, 0, 0)], vec![false, false]),
            ("much and nothing more", vec![(0, 0, 9, MUCH), (59, 0, 9, MUCH), (60, 0, 9, MUCH)], vec![false, false, true]),
            (
                "much and more of it",
                vec![(0, 0, 9, MUCH), (60, 0, 10, MUCH), (119, 0, 10, MUCH), (120, 0, 10, MUCH)],
                vec![false, false, false, true],
            ),
            ("little", vec![(0, 0, 9, LITTLE), (600, 0, 9, LITTLE), (3600, 0, 9, LITTLE)], vec![false, false, true]),
            ("it comes all the time", vec![(0, 0, 9, MUCH), (3599, 0, 99, MUCH), (3600, 0, 100, MUCH)], vec![false, false, true]),
            (
                "another head",
                vec![(0, 0, 9, LITTLE), (3599, 9, 19, LITTLE), (3600, 9, 20, LITTLE), (7199, 9, 21, LITTLE)],
                vec![false, false, false, true],
            ),
            (
                "the same head, empty before",
                vec![(0, 0, 0, 0), (3600, 0, 1, LITTLE), (7199, 0, 1, LITTLE), (7200, 0, 1, LITTLE)],
                vec![false, false, false, true],
            ),
        ] {
            let at = |s| start + Duration::from_secs(s);
            let mut rest = Rest::new(Standing { after: 0, through: 0, log_bytes: 0 }, start);
            let standing = |(_, after, through, log_bytes): &(u64, u64, u64, u64)| Standing {
                after: *after,
                through: *through,
                log_bytes: *log_bytes,
            };
            let found: Vec<bool> = looks.iter().map(|look| rest.is_due(standing(look), at(look.0))).collect();
            assert_eq!(found, expected, "{what}");
        }
    }
}
