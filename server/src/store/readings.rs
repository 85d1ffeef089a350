//! The readings of a commit, in blocks: series that were polled together share their times. Pure.

use std::collections::HashSet;

use pattoo_wire::Sample;

use super::{Reading, SeriesId};

/// Readings in the order in which they came: of the same series and time the last one counts.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Readings {
    blocks: Vec<Block>,
    count: usize,
}

/// The same series at one or more times: a sample for each series and time, all times of the first series, then all of the second.
#[derive(Debug, Clone, PartialEq)]
pub struct Block {
    series: Vec<SeriesId>,
    times_ms: Vec<i64>,
    samples: Vec<Sample>,
}

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct At<'a> {
    /// UTC, ms since 1970.
    pub at_ms: i64,
    /// Value, quality, reason.
    pub sample: &'a Sample,
}

impl At<'_> {
    /// On its own.
    #[must_use]
    pub fn reading(self) -> Reading {
        Reading { at_ms: self.at_ms, sample: self.sample.clone() }
    }
}

impl Block {
    /// # Panics
    /// There is not one sample for each series and time, or none at all.
    #[must_use]
    pub fn new(series: Vec<SeriesId>, times_ms: Vec<i64>, samples: Vec<Sample>) -> Self {
        assert!(!samples.is_empty() && samples.len() == series.len() * times_ms.len(), "BUG: a block that is none");
        Self { series, times_ms, samples }
    }

    /// Its series; one may be there twice, then the later one counts.
    #[must_use]
    pub fn series(&self) -> &[SeriesId] {
        &self.series
    }

    /// UTC, ms since 1970; in any order.
    #[must_use]
    pub fn times_ms(&self) -> &[i64] {
        &self.times_ms
    }

    /// Series by series, a sample for each time.
    pub fn columns(&self) -> impl ExactSizeIterator<Item = (SeriesId, &[Sample])> {
        self.series.iter().copied().zip(self.samples.chunks_exact(self.times_ms.len()))
    }

    /// The samples of the series at this place.
    pub(super) fn column(&self, place: usize) -> &[Sample] {
        let ticks = self.times_ms.len();
        self.samples.get(place * ticks..(place + 1) * ticks).unwrap_or_default()
    }

    /// Whether each series is there once.
    pub(super) fn is_distinct(&self) -> bool {
        self.series.is_sorted_by(|a, b| a < b) || self.series.iter().collect::<HashSet<_>>().len() == self.series.len()
    }

    /// Adds one reading, if that leaves a block: of another series at its one time, or at a later time of its one series.
    fn grow(&mut self, series: SeriesId, at_ms: i64) -> bool {
        let row = *self.times_ms == [at_ms];
        let column = *self.series == [series] && self.times_ms.last().is_some_and(|last_ms| *last_ms < at_ms);
        if row {
            self.series.push(series);
        } else if column {
            self.times_ms.push(at_ms);
        }
        row || column
    }
}

impl Readings {
    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// In their order.
    #[must_use]
    pub fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// One by one, in their order.
    pub fn iter(&self) -> impl Iterator<Item = (SeriesId, At<'_>)> {
        self.blocks.iter().flat_map(|block| {
            let times_ms = &block.times_ms;
            block.columns().flat_map(move |(series, samples)| {
                times_ms.iter().zip(samples).map(move |(at_ms, sample)| (series, At { at_ms: *at_ms, sample }))
            })
        })
    }

    /// Adds one.
    pub fn push(&mut self, (series, Reading { at_ms, sample }): (SeriesId, Reading)) {
        self.count += 1;
        if let Some(block) = self.blocks.last_mut()
            && block.grow(series, at_ms)
        {
            block.samples.push(sample);
        } else {
            self.blocks.push(Block::new(vec![series], vec![at_ms], vec![sample]));
        }
    }

    /// Adds those of a block.
    pub fn push_block(&mut self, block: Block) {
        self.count += block.samples.len();
        self.blocks.push(block);
    }

    /// Adds all of the others.
    pub fn append(&mut self, others: Self) {
        self.count += others.count;
        self.blocks.extend(others.blocks);
    }
}

impl Extend<(SeriesId, Reading)> for Readings {
    fn extend<T: IntoIterator<Item = (SeriesId, Reading)>>(&mut self, readings: T) {
        readings.into_iter().for_each(|reading| self.push(reading));
    }
}

impl FromIterator<(SeriesId, Reading)> for Readings {
    fn from_iter<T: IntoIterator<Item = (SeriesId, Reading)>>(readings: T) -> Self {
        let mut all = Self::default();
        all.extend(readings);
        all
    }
}

impl From<Vec<(SeriesId, Reading)>> for Readings {
    fn from(readings: Vec<(SeriesId, Reading)>) -> Self {
        readings.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use pattoo_wire::Value;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn readings_keep_their_order_in_blocks(pushed in prop::collection::vec((0u32..3, 0i64..3, 0i64..9), 0..40)) {
            let reading = |(id, at_ms, n): (u32, i64, i64)| (SeriesId(id), Reading { at_ms, sample: Sample::Good(Value::int(n)) });
            let all: Readings = pushed.iter().copied().map(reading).collect();
            prop_assert_eq!(all.len(), pushed.len());
            let back: Vec<_> = all.iter().map(|(id, at)| (id, at.reading())).collect();
            prop_assert_eq!(back, pushed.into_iter().map(reading).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_poll_and_a_history_are_one_block_each() {
        let reading = |id, at_ms| (SeriesId(id), Reading { at_ms, sample: Sample::Good(Value::int(1)) });
        for (readings, blocks) in [
            (vec![reading(1, 5), reading(2, 5), reading(9, 5)], 1),
            (vec![reading(1, 5), reading(1, 6), reading(1, 7)], 1),
            (vec![reading(1, 5), reading(1, 6), reading(2, 6)], 2),
            (vec![reading(1, 5), reading(1, 4)], 2),
        ] {
            assert_eq!(Readings::from(readings.clone()).blocks().len(), blocks, "{readings:?}");
        }
    }
}
