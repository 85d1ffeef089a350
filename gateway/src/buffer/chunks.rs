//! What is known of each chunk without opening it, and which numbers of it still wait.
//!
//! Does no I/O.

use std::collections::BTreeMap;

use super::record::BatchRecord;

/// Values that share one of sled's trees: one more and sled writes all of them again.
pub(super) const TREE_VALUES: u64 = 9;

/// Most values of a chunk: 256 trees. sled writes the list of its trees again with each new one.
pub(super) const MAX_VALUES: u64 = 256 * TREE_VALUES;

/// Bytes of a chunk at most. A smaller one is sealed when little waits, see [`Policy`].
pub(super) const MAX_CHUNK_BYTES: u64 = 4 << 20;

/// Bytes of the smallest chunk: beginning one writes some files of its own.
pub(super) const MIN_CHUNK_BYTES: u64 = 384 << 10;

/// The share of what waits, or of what may wait, that one chunk has: it is given back, or given up, as a whole.
const CHUNK_SHARE: u64 = 8;

/// What is known of a chunk: a run of batches that is stored and removed together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Chunk {
    pub(super) first: u64,
    /// One after its last batch.
    pub(super) next: u64,
    /// Bytes of its batches.
    pub(super) bytes: u64,
    pub(super) readings: u64,
    pub(super) from_ms: i64,
    pub(super) to_ms: i64,
    pub(super) values: u64,
    /// It could not be read: what waited of it then, from here on, is on record as damaged.
    pub(super) lost_from: Option<u64>,
    /// Nothing is left to be thinned out.
    pub(super) thinned: bool,
    pub(super) sealed: bool,
}

impl Chunk {
    pub(super) fn new(first: u64) -> Self {
        let (from_ms, to_ms) = (i64::MAX, i64::MIN);
        Self { first, next: first, bytes: 0, readings: 0, from_ms, to_ms, values: 0, lost_from: None, thinned: false, sealed: false }
    }

    /// Counts the next batch.
    pub(super) fn count(&mut self, record: &BatchRecord, bytes: usize) {
        self.next += 1;
        self.bytes += bytes as u64;
        self.readings += record.readings;
        self.from_ms = self.from_ms.min(record.from_ms);
        self.to_ms = self.to_ms.max(record.to_ms);
    }

    /// Bytes of so many of its batches, as if all were of one size.
    fn bytes_of(&self, batches: u64) -> u64 {
        let all = self.next - self.first;
        if all == 0 { 0 } else { (u128::from(self.bytes) * u128::from(batches) / u128::from(all)) as u64 }
    }
}

/// When a chunk is full.
#[derive(Debug, Clone, Copy)]
pub(super) struct Policy {
    pub(super) max_bytes: u64,
    pub(super) max_age_ms: i64,
}

impl Policy {
    /// Chunks are small while little waits, so that what is released soon leaves the disk, and large when much does.
    pub(super) fn is_full(&self, chunk: &Chunk, waiting_bytes: u64) -> bool {
        let share = (waiting_bytes / CHUNK_SHARE).clamp(MIN_CHUNK_BYTES, MAX_CHUNK_BYTES);
        let bytes = share.min(self.chunk_bytes());
        let span_ms = chunk.to_ms.saturating_sub(chunk.from_ms);
        chunk.bytes >= bytes || chunk.values >= MAX_VALUES || span_ms >= (self.max_age_ms / CHUNK_SHARE as i64).max(1)
    }

    /// Bytes of a chunk when the buffer is full.
    pub(super) fn chunk_bytes(&self) -> u64 {
        (self.max_bytes / (2 * CHUNK_SHARE)).clamp(1, MAX_CHUNK_BYTES)
    }
}

/// All chunks, by their first number.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    map: BTreeMap<u64, Chunk>,
}

impl Chunks {
    pub(super) fn set(&mut self, chunk: Chunk) {
        self.map.insert(chunk.first, chunk);
    }

    pub(super) fn remove(&mut self, first: u64) {
        self.map.remove(&first);
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &Chunk> {
        self.map.values()
    }

    pub(super) fn newest(&self) -> Option<Chunk> {
        self.map.values().next_back().copied()
    }

    /// The chunk that has this batch.
    pub(super) fn of(&self, seq: u64) -> Option<Chunk> {
        self.map.range(..=seq).next_back().map(|(_, chunk)| *chunk).filter(|chunk| seq < chunk.next)
    }

    /// Batches that wait, and their bytes.
    pub(super) fn waiting(&self, oldest: u64, ahead: &Ranges) -> (u64, u64) {
        self.map.range(..).rev().map_while(|(_, chunk)| (chunk.next > oldest).then_some(chunk)).fold((0, 0), |(batches, bytes), chunk| {
            let first = chunk.first.max(oldest);
            let wait = (chunk.next - first).saturating_sub(ahead.within(first, chunk.next));
            (batches + wait, bytes + chunk.bytes_of(wait))
        })
    }
}

/// Numbers in ranges that neither touch nor overlap, both ends included.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Ranges {
    map: BTreeMap<u64, u64>,
}

impl Ranges {
    pub(super) fn len(&self) -> usize {
        self.map.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, u64)> {
        self.map.iter().map(|(first, last)| (*first, *last))
    }

    pub(super) fn add(&mut self, mut first: u64, mut last: u64) {
        if first > last {
            return;
        }
        let touched: Vec<(u64, u64)> = self
            .map
            .range(..=last.saturating_add(1))
            .rev()
            .map(|(first, last)| (*first, *last))
            .take_while(|(_, other)| other.saturating_add(1) >= first)
            .collect();
        for (other_first, other_last) in touched {
            self.map.remove(&other_first);
            (first, last) = (first.min(other_first), last.max(other_last));
        }
        self.map.insert(first, last);
    }

    pub(super) fn contains(&self, number: u64) -> bool {
        self.map.range(..=number).next_back().is_some_and(|(_, last)| number <= *last)
    }

    /// How many of the numbers from `first` up to before `end`.
    pub(super) fn within(&self, first: u64, end: u64) -> u64 {
        self.map.range(..end).map(|(from, last)| (last + 1).min(end).saturating_sub((*from).max(first))).sum()
    }

    /// Closes the first hole while there are more than so many ranges.
    pub(super) fn simplify(&mut self, most: usize) {
        while self.map.len() > most.max(1) {
            let mut firsts = self.map.keys().copied();
            if let (Some(first), Some(second)) = (firsts.next(), firsts.next()) {
                self.add(first, second);
            }
        }
    }

    /// Forgets all below a number; the number itself, or the first one above that is not in.
    pub(super) fn advance(&mut self, mut to: u64) -> u64 {
        while let Some((first, last)) = self.map.first_key_value().map(|(first, last)| (*first, *last)).filter(|(first, _)| *first <= to) {
            self.map.remove(&first);
            to = to.max(last + 1);
        }
        to
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_join_count_and_advance() {
        let mut ranges = Ranges::default();
        for (first, last) in [(5, 6), (10, 12), (8, 8), (7, 7), (20, 19)] {
            ranges.add(first, last);
        }
        assert_eq!(ranges.iter().collect::<Vec<_>>(), [(5, 8), (10, 12)]);
        assert_eq!([4, 5, 8, 9, 12].map(|n| ranges.contains(n)), [false, true, true, false, true]);
        assert_eq!([ranges.within(1, 30), ranges.within(6, 11), ranges.within(9, 10), ranges.within(13, 20)], [7, 4, 0, 0]);
        ranges.add(6, 11);
        assert_eq!(ranges.iter().collect::<Vec<_>>(), [(5, 12)]);
        ranges.add(14, 15);
        let mut simpler = ranges.clone();
        simpler.simplify(1);
        assert_eq!(simpler.iter().collect::<Vec<_>>(), [(5, 15)]);
        assert_eq!(ranges.clone().advance(4), 4);
        assert_eq!(ranges.advance(7), 13);
        assert_eq!(ranges.len(), 1);
    }
}
