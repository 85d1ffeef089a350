//! The readings that became durable last, for those who follow them. Who falls further behind asks the store instead.
//! Pure: it wakes nobody.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::store::Readings;

/// Readings of one commit.
pub type Fresh = Arc<Readings>;

/// Most readings that are kept; a text has at most 1 KiB, any other some 50 bytes.
pub const MAX_RECENT_READINGS: usize = 65_536;
/// Most commits that are kept, each with at least one reading.
pub const MAX_RECENT_COMMITS: usize = 4096;

/// The newest commits, numbered from 1.
#[derive(Debug, Default)]
pub(super) struct Recent {
    /// Number of the newest one.
    newest: u64,
    commits: VecDeque<Fresh>,
    readings: usize,
}

impl Recent {
    /// Adds a commit; gives its number.
    pub(super) fn push(&mut self, fresh: Fresh) -> u64 {
        self.newest += 1;
        self.readings += fresh.len();
        self.commits.push_back(fresh);
        while self.readings > MAX_RECENT_READINGS || self.commits.len() > MAX_RECENT_COMMITS {
            let Some(oldest) = self.commits.pop_front() else { break };
            self.readings -= oldest.len();
        }
        self.newest
    }

    /// The newest number, and all commits after `place`; none where one of them is gone, or where there never was such a place.
    pub(super) fn after(&self, place: u64) -> (u64, Option<Vec<Fresh>>) {
        let missed = self.newest.checked_sub(place).and_then(|n| usize::try_from(n).ok()).filter(|n| *n <= self.commits.len());
        (self.newest, missed.map(|n| self.commits.iter().skip(self.commits.len() - n).cloned().collect()))
    }
}

#[cfg(test)]
mod tests {
    use pattoo_wire::{Sample, Value};

    use super::*;
    use crate::store::{Reading, SeriesId};

    fn fresh(readings: usize) -> Fresh {
        let reading = |n| (SeriesId(1), Reading { at_ms: n as i64, sample: Sample::Good(Value::int(1)) });
        Arc::new((0..readings).map(reading).collect())
    }

    #[test]
    fn a_follower_gets_what_came_after_its_place_or_learns_that_some_is_gone() {
        let mut recent = Recent::default();
        assert_eq!(recent.after(0), (0, Some(vec![])));
        for n in 1..=3 {
            assert_eq!(recent.push(fresh(n)), n as u64);
        }
        let sizes = |place| recent.after(place).1.map(|found| found.iter().map(|f| f.len()).collect::<Vec<_>>());
        assert_eq!((sizes(0), sizes(2), sizes(3)), (Some(vec![1, 2, 3]), Some(vec![3]), Some(vec![])));
        assert_eq!(sizes(4), None, "a place of another life of the server");
    }

    #[test]
    fn what_is_kept_has_a_bound_in_readings_and_in_commits() {
        let mut recent = Recent::default();
        recent.push(fresh(10));
        recent.push(fresh(MAX_RECENT_READINGS));
        assert_eq!((recent.after(0).1.is_none(), recent.after(1).1.map(|f| f.len())), (true, Some(1)));
        recent.push(fresh(MAX_RECENT_READINGS + 1));
        assert_eq!((recent.readings, recent.after(2).1), (0, None));
        for _ in 0..=MAX_RECENT_COMMITS {
            recent.push(fresh(1));
        }
        assert_eq!(recent.commits.len(), MAX_RECENT_COMMITS);
    }
}
