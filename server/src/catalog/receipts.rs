//! What is known of the batches that came last: enough to tell the same batch from another one of its number. Pure.

use std::collections::{BTreeMap, VecDeque};

use pattoo_wire::{Batch, Gap, GapReason};

use crate::store::Receipt;

/// Receipts that are kept of a stream at least, in the order in which batches came: a gateway has at most 1000 batches under way.
pub const MIN_RECEIPTS: usize = 1024;
/// They go so many at once, which costs the store less.
const SURPLUS: usize = 128;

/// The receipts of one stream.
#[derive(Debug, Clone, Default)]
pub(super) struct Receipts {
    by_seq: BTreeMap<u64, Receipt>,
    /// Numbers in the order in which they came; one that came again stands where it first stood.
    order: VecDeque<u64>,
    /// Of the next one.
    place: u64,
}

impl Receipts {
    /// Notes one that is stored. They come in any order, so [`Receipts::settle_order`] is called after the last.
    pub(super) fn remember(&mut self, receipt: Receipt) {
        self.place = self.place.max(receipt.place.saturating_add(1));
        self.by_seq.insert(receipt.seq, receipt);
    }

    pub(super) fn settle_order(&mut self) {
        let mut order: Vec<_> = self.by_seq.values().map(|receipt| (receipt.place, receipt.seq)).collect();
        order.sort_unstable();
        self.order = order.into_iter().map(|(_, seq)| seq).collect();
    }

    pub(super) fn get(&self, seq: u64) -> Option<&Receipt> {
        self.by_seq.get(&seq)
    }

    /// Adds one of a batch that came; gives it with its place, and the numbers of those that go.
    pub(super) fn add(&mut self, mut receipt: Receipt) -> (Receipt, Vec<u64>) {
        match self.by_seq.get(&receipt.seq) {
            // What both had is in the store.
            Some(earlier) => {
                receipt.place = earlier.place;
                receipt.readings = receipt.readings.max(earlier.readings);
            }
            None => {
                receipt.place = self.place;
                self.place += 1;
                self.order.push_back(receipt.seq);
            }
        }
        self.by_seq.insert(receipt.seq, receipt.clone());
        let surplus = if self.order.len() >= MIN_RECEIPTS + SURPLUS { SURPLUS } else { 0 };
        let gone: Vec<u64> = self.order.drain(..surplus).collect();
        for seq in &gone {
            self.by_seq.remove(seq);
        }
        (receipt, gone)
    }

    /// Forgets all of them; gives their numbers.
    pub(super) fn clear(&mut self) -> Vec<u64> {
        self.by_seq.clear();
        self.order.drain(..).collect()
    }

    /// A gateway's record about batches that it dropped, without those that had come before; none if all had.
    pub(super) fn settled(&self, gap: &Gap) -> Option<Gap> {
        let came = self.by_seq.range(gap.first_seq..=gap.last_seq.max(gap.first_seq));
        let (count, readings) = came.fold((0u64, 0u64), |(count, sum), (_, receipt)| (count + 1, sum + u64::from(receipt.readings)));
        let all = count == (gap.last_seq - gap.first_seq).saturating_add(1);
        let left = gap.readings.saturating_sub(readings);
        (!(all && left == 0)).then(|| Gap { readings: left, ..gap.clone() })
    }

    /// The parts of a range of which nothing is known.
    pub(super) fn unknown(&self, (first, last): (u64, u64)) -> Vec<(u64, u64)> {
        let (mut parts, mut next) = (Vec::new(), first);
        for seq in self.by_seq.range(first..=last).map(|(seq, _)| *seq) {
            if next < seq {
                parts.push((next, seq - 1));
            }
            if seq == last {
                return parts;
            }
            next = seq + 1;
        }
        parts.push((next, last));
        parts
    }

    /// Between which times the readings of a range of batches that did not come must lie, by its neighbours; `now_ms` where they
    /// are not known.
    pub(super) fn times_around(&self, (first, last): (u64, u64), now_ms: i64) -> (i64, i64) {
        let before = self.by_seq.range(..first).rev().find_map(|(_, receipt)| receipt.times_ms);
        let after = self.by_seq.range(last..).find_map(|(_, receipt)| receipt.times_ms);
        let to = after.map_or(now_ms, |(from, _)| from);
        let from = before.map_or(to, |(_, to)| to);
        (from.min(to), from.max(to))
    }
}

/// The receipt of a batch; its place comes with [`Receipts::add`].
pub(super) fn receipt(seq: u64, crc: u32, batch: &Batch) -> Receipt {
    let times = || batch.blocks.iter().flat_map(|block| block.times_ms.iter().copied());
    let times_ms = times().min().zip(times().max());
    // What this server refused has come as well, and has its own record.
    let refused = batch.gaps.iter().filter(|gap| gap.reason == GapReason::Refused).map(|gap| gap.readings).sum::<u64>();
    let readings = u32::try_from(refused.saturating_add(batch.readings() as u64)).unwrap_or(u32::MAX);
    Receipt { seq, place: 0, crc, readings, times_ms }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receipt(seq: u64, readings: u32) -> Receipt {
        let at = seq as i64 * 1000;
        Receipt { seq, place: 0, crc: 1, readings, times_ms: (readings > 0).then_some((at, at + 10)) }
    }

    fn of(seqs: &[(u64, u32)]) -> Receipts {
        let mut receipts = Receipts::default();
        for (seq, readings) in seqs {
            receipts.add(receipt(*seq, *readings));
        }
        receipts
    }

    #[test]
    fn the_first_to_come_go_whatever_their_numbers() {
        let mut receipts = Receipts::default();
        let gone: Vec<u64> = (0..MIN_RECEIPTS + SURPLUS).rev().flat_map(|n| receipts.add(receipt(n as u64 + 5, 1)).1).collect();
        let total = (MIN_RECEIPTS + SURPLUS) as u64;
        assert_eq!(gone, (0..SURPLUS as u64).map(|n| total + 4 - n).collect::<Vec<_>>());
        let mut again = Receipts::default();
        receipts.by_seq.values().for_each(|receipt| again.remember(receipt.clone()));
        again.settle_order();
        assert_eq!((&again.order, again.place), (&receipts.order, receipts.place));
    }

    #[test]
    fn a_record_of_dropped_batches_leaves_out_what_had_come() {
        let receipts = of(&[(4, 10), (5, 20), (6, 0), (9, 7)]);
        let gap =
            |first_seq, last_seq, readings| Gap { from_ms: 0, to_ms: 9, first_seq, last_seq, readings, reason: GapReason::BufferFull };
        for (first, last, readings, left) in [
            (4, 6, 30, None),
            (4, 4, 10, None),
            (4, 7, 42, Some(12)),
            (6, 6, 5, Some(5)),
            (7, 8, 3, Some(3)),
            (7, 8, 0, Some(0)),
            (1, u64::MAX, 40, Some(3)),
            (0, u64::MAX, 1, Some(0)),
        ] {
            let expected = left.map(|left| gap(first, last, left));
            assert_eq!(receipts.settled(&gap(first, last, readings)), expected, "{first}..={last}");
        }
    }

    #[test]
    fn between_receipts_lies_the_unknown_with_the_times_of_its_neighbours() {
        let receipts = of(&[(4, 10), (5, 20), (6, 0), (9, 7)]);
        for (range, parts) in [
            ((1, 10), vec![(1, 3), (7, 8), (10, 10)]),
            ((4, 6), vec![]),
            ((4, 7), vec![(7, 7)]),
            ((9, u64::MAX), vec![(10, u64::MAX)]),
            ((2, 9), vec![(2, 3), (7, 8)]),
        ] {
            assert_eq!(receipts.unknown(range), parts, "{range:?}");
        }
        assert_eq!(receipts.times_around((7, 8), 99_999), (5010, 9000));
        assert_eq!(receipts.times_around((10, 20), 99_999), (9010, 99_999));
        assert_eq!(receipts.times_around((1, 3), 99_999), (4000, 4000));
        assert_eq!(Receipts::default().times_around((1, 3), 99_999), (99_999, 99_999));
    }
}
