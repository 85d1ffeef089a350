//! Sets of numbers as ranges: ascending, apart. Knows nothing of batches.

/// Numbers, as ranges that neither meet nor overlap.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Ranges(Vec<(u64, u64)>);

impl Ranges {
    /// How many ranges.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// How many numbers.
    pub(super) fn count(&self) -> u64 {
        self.0.iter().map(|(first, last)| (last - first).saturating_add(1)).sum()
    }

    /// Adds all from `first` to `last`; nothing where that is the wrong way round.
    pub(super) fn add(&mut self, first: u64, last: u64) {
        if first > last {
            return;
        }
        // Those that touch it become one with it.
        let from = self.0.partition_point(|range| range.1.saturating_add(1) < first);
        let to = self.0.partition_point(|range| range.0 <= last.saturating_add(1));
        let joined = self.0.get(from..to).unwrap_or_default();
        let first = joined.first().map_or(first, |range| range.0.min(first));
        let last = joined.last().map_or(last, |range| range.1.max(last));
        self.0.splice(from..to, [(first, last)]);
    }

    /// Takes out all from `first` to `last`.
    pub(super) fn remove(&mut self, first: u64, last: u64) {
        if first > last {
            return;
        }
        let from = self.0.partition_point(|range| range.1 < first);
        let to = self.0.partition_point(|range| range.0 <= last);
        let cut = self.0.get(from..to).unwrap_or_default();
        let below = cut.first().filter(|range| range.0 < first).map(|range| (range.0, first - 1));
        let above = cut.last().filter(|range| range.1 > last).map(|range| (last + 1, range.1));
        self.0.splice(from..to, below.into_iter().chain(above));
    }

    /// Whether all from `first` to `last` are in it.
    pub(super) fn covers(&self, first: u64, last: u64) -> bool {
        self.at(first).is_some_and(|range| last <= range.1)
    }

    pub(super) fn contains(&self, number: u64) -> bool {
        self.covers(number, number)
    }

    /// The lowest number from `from` on that is not in it.
    pub(super) fn gap_from(&self, from: u64) -> u64 {
        self.at(from).map_or(from, |range| range.1.saturating_add(1))
    }

    /// The highest number below `end` that is not in it.
    pub(super) fn gap_below(&self, end: u64) -> Option<u64> {
        let below = end.checked_sub(1)?;
        self.at(below).map_or(Some(below), |range| range.0.checked_sub(1))
    }

    /// The range around a number.
    fn at(&self, number: u64) -> Option<(u64, u64)> {
        let range = *self.0.get(self.0.partition_point(|range| range.1 < number))?;
        (range.0 <= number).then_some(range)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_ends_of_the_numbers_do_not_wrap() {
        let mut ranges = Ranges::default();
        ranges.add(u64::MAX, u64::MAX);
        ranges.add(0, 0);
        assert_eq!((ranges.gap_below(1), ranges.gap_from(0), ranges.gap_below(u64::MAX)), (None, 1, Some(u64::MAX - 1)));
        ranges.add(0, u64::MAX);
        assert_eq!((ranges.len(), ranges.gap_from(5), ranges.gap_below(5)), (1, u64::MAX, None));
        ranges.remove(0, u64::MAX - 1);
        assert_eq!((ranges.len(), ranges.count()), (1, 1));
        ranges.remove(0, u64::MAX);
        assert_eq!(ranges, Ranges::default());
    }

    proptest! {
        #[test]
        fn ranges_say_the_same_as_a_set(ops in prop::collection::vec((any::<bool>(), 0u64..40, 0u64..8), 1..80)) {
            let (mut ranges, mut set) = (Ranges::default(), BTreeSet::new());
            for (add, first, more) in ops {
                let last = first + more;
                if add {
                    ranges.add(first, last);
                    set.extend(first..=last);
                } else {
                    ranges.remove(first, last);
                    set.retain(|n| !(first..=last).contains(n));
                }
                for n in 0..50 {
                    prop_assert_eq!(ranges.contains(n), set.contains(&n));
                    prop_assert_eq!(ranges.covers(n, n + 3), (n..=n + 3).all(|n| set.contains(&n)));
                    prop_assert_eq!(ranges.gap_from(n), (n..).find(|n| !set.contains(n)).unwrap());
                    prop_assert_eq!(ranges.gap_below(n), (0..n).rev().find(|n| !set.contains(n)));
                }
                let starts = set.iter().filter(|n| **n == 0 || !set.contains(&(**n - 1))).count();
                prop_assert_eq!((ranges.len(), ranges.count()), (starts, set.len() as u64));
            }
        }
    }
}
