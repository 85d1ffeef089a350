//! What of one stream has arrived. Knows numbers only, no readings, and stores nothing.
//!
//! A batch that its gateway does not hold any more and that never came is *not held*: a gap record of the server's own. It is
//! provisional: the gateway's own record about that batch takes its place, and so does the batch, should it come after all.

use pattoo_wire::{Gap, GapReason, Header};
use thiserror::Error;

use super::receipts::Receipts;
use crate::store::StreamState;

/// Most separate ranges of batches that may have arrived ahead of a missing one. A gateway has at most 1000 batches under
/// way, so only one that breaks the contract gets here.
pub const MAX_AHEAD_RANGES: usize = 1024;

/// Most ranges that are not held and still known as such in memory; of more, the oldest become final.
pub(crate) const MAX_NOT_HELD: usize = 64;

/// Most ranges that a gateway gave up and that are known in memory; of more, the lowest are forgotten: a batch of theirs that comes
/// after all is stored, although it is on record as lost.
const MAX_GIVEN_UP: usize = 256;

/// A batch that came too far ahead of a missing one.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "batch {seq} of stream {stream:016x} is ahead of batch {missing}, which is missing, and {MAX_AHEAD_RANGES} ranges are waiting already; the gateway must send {missing} first"
)]
pub struct TooFarAhead {
    /// Stream.
    pub stream: u64,
    /// The batch that came.
    pub seq: u64,
    /// The batch that is missing.
    pub missing: u64,
}

/// The batches of one stream that have arrived.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Arrived {
    contiguous: u64,
    /// Ascending, not touching each other nor `contiguous`.
    ahead: Vec<(u64, u64)>,
    /// Within the arrived: ranges that only a record of our own stands for. Apart, oldest record first.
    not_held: Vec<Gap>,
    /// Within the arrived: ranges that a record of the gateway's stands for. Ascending, apart.
    given_up: Vec<(u64, u64)>,
}

/// What changed in the records of our own. In this order: what goes, what comes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    pub(crate) gone: Vec<Gap>,
    pub(crate) put: Vec<Gap>,
}

impl Arrived {
    pub(crate) fn from_state(state: &StreamState) -> Self {
        let mut arrived = Self { contiguous: state.contiguous, ..Self::default() };
        for &(first, last) in &state.ahead {
            arrived.add(first, last);
        }
        arrived
    }

    /// Notes a record that is stored already.
    pub(crate) fn remember(&mut self, gap: Gap) {
        if gap.reason == GapReason::NotHeld {
            self.not_held.push(gap);
            self.bound_not_held();
        } else if covers(gap.reason) {
            self.give_up(gap.first_seq, gap.last_seq);
        }
    }

    pub(crate) fn to_state(&self, gateway: &str, stream: u64) -> StreamState {
        StreamState { gateway: gateway.to_owned(), stream, contiguous: self.contiguous, ahead: self.ahead.clone() }
    }

    pub(crate) fn contiguous(&self) -> u64 {
        self.contiguous
    }

    /// The highest that has arrived.
    pub(crate) fn highest(&self) -> u64 {
        self.ahead.last().map_or(self.contiguous, |range| range.1)
    }

    /// Ranges ahead of a missing batch, the lowest first.
    pub(crate) fn ahead(&self) -> &[(u64, u64)] {
        &self.ahead
    }

    /// Whether a batch, or a gateway's record that it never will, is here.
    pub(crate) fn has(&self, seq: u64) -> bool {
        self.passed(seq) && !self.not_held.iter().any(|gap| (gap.first_seq..=gap.last_seq).contains(&seq))
    }

    /// Whether its gateway has put on record that a batch never comes.
    pub(crate) fn is_given_up(&self, seq: u64) -> bool {
        self.given_up.iter().any(|&(first, last)| (first..=last).contains(&seq))
    }

    fn passed(&self, seq: u64) -> bool {
        seq <= self.contiguous || self.ahead.iter().any(|&(first, last)| (first..=last).contains(&seq))
    }

    /// Ranges of batches within `from..to` that are missing, the lowest first, at most `limit`.
    pub(crate) fn missing(&self, from: u64, to: u64, limit: usize) -> Vec<(u64, u64)> {
        let mut missing = Vec::new();
        let mut next = from.max(self.contiguous.saturating_add(1));
        for &(first, last) in &self.ahead {
            if next >= to || missing.len() >= limit {
                return missing;
            }
            if next < first {
                missing.push((next, first.min(to) - 1));
            }
            next = next.max(last.saturating_add(1));
        }
        if next < to && missing.len() < limit {
            missing.push((next, to - 1));
        }
        missing
    }

    /// The gateway holds nothing before `oldest`, so waiting is in vain: what has not come is on record as not held from now on.
    pub(crate) fn release_before(&mut self, oldest: u64, receipts: &Receipts, now_ms: i64) -> Changes {
        let mut changes = Changes::default();
        // `ahead` is bounded, and so are the holes in it.
        for (first_seq, last_seq) in self.missing(1, oldest, usize::MAX).into_iter().flat_map(|range| receipts.unknown(range)) {
            let (from_ms, to_ms) = receipts.times_around((first_seq, last_seq), now_ms);
            let gap = Gap { from_ms, to_ms, first_seq, last_seq, readings: 0, reason: GapReason::NotHeld };
            changes.put.push(gap.clone());
            self.not_held.push(gap);
        }
        self.bound_not_held();
        self.add(0, oldest.saturating_sub(1));
        changes
    }

    /// The gateway's buffer is an older image of itself: what comes from `next` on is new, whatever came under these numbers before.
    pub(crate) fn rewind(&mut self, next: u64) {
        let last = next.saturating_sub(1);
        self.contiguous = self.contiguous.min(last);
        let cut = |ranges: &mut Vec<(u64, u64)>| {
            ranges.retain(|range| range.0 <= last);
            ranges.iter_mut().for_each(|range| range.1 = range.1.min(last));
        };
        cut(&mut self.ahead);
        cut(&mut self.given_up);
        self.not_held.retain(|gap| gap.last_seq <= last);
    }

    /// Notes that a batch is here, and with it the ranges that its gap records declare lost.
    pub(crate) fn take(&mut self, header: &Header, gaps: &[Gap], receipts: &Receipts, now_ms: i64) -> Result<Changes, TooFarAhead> {
        let mut changes = Changes::default();
        for gap in gaps.iter().filter(|gap| covers(gap.reason)) {
            // A batch can only tell of what was dropped before it was made; more would skip batches that are yet to come.
            let last = gap.last_seq.min(header.seq);
            if gap.first_seq <= last {
                self.arrive(gap.first_seq, last, &mut changes);
                self.give_up(gap.first_seq, last);
            }
        }
        self.arrive(header.seq, header.seq, &mut changes);
        changes.put.extend(self.release_before(header.oldest, receipts, now_ms).put);
        if self.ahead.len() > MAX_AHEAD_RANGES {
            let missing = self.contiguous.saturating_add(1);
            return Err(TooFarAhead { stream: header.stream, seq: header.seq, missing });
        }
        Ok(changes)
    }

    /// Adds a range and takes it out of the records of our own.
    fn arrive(&mut self, first: u64, last: u64, changes: &mut Changes) {
        self.add(first, last);
        let (touched, mut kept): (Vec<Gap>, Vec<Gap>) =
            std::mem::take(&mut self.not_held).into_iter().partition(|gap| gap.first_seq <= last && first <= gap.last_seq);
        for gap in touched {
            let before = (gap.first_seq < first).then(|| Gap { last_seq: first - 1, ..gap.clone() });
            let after = (gap.last_seq > last).then(|| Gap { first_seq: last + 1, ..gap.clone() });
            let left = before.into_iter().chain(after);
            kept.extend(left.clone());
            // Within one message a record may come and go again.
            changes.put.retain(|put| *put != gap);
            changes.put.extend(left);
            changes.gone.push(gap);
        }
        self.not_held = kept;
        self.bound_not_held();
    }

    fn give_up(&mut self, first: u64, last: u64) {
        join(&mut self.given_up, first, last);
        let surplus = self.given_up.len().saturating_sub(MAX_GIVEN_UP);
        self.given_up.drain(..surplus);
    }

    fn bound_not_held(&mut self) {
        let surplus = self.not_held.len().saturating_sub(MAX_NOT_HELD);
        self.not_held.drain(..surplus);
    }

    fn add(&mut self, first: u64, last: u64) {
        if first > self.contiguous.saturating_add(1) {
            join(&mut self.ahead, first, last);
            return;
        }
        self.contiguous = self.contiguous.max(last);
        while self.ahead.first().is_some_and(|range| range.0 <= self.contiguous.saturating_add(1)) {
            self.contiguous = self.contiguous.max(self.ahead.remove(0).1);
        }
    }
}

/// Adds a range to others that are ascending and apart, and keeps them so.
fn join(ranges: &mut Vec<(u64, u64)>, mut first: u64, mut last: u64) {
    let touches = |a: &(u64, u64), first: u64, last: u64| a.0 <= last.saturating_add(1) && first <= a.1.saturating_add(1);
    ranges.retain(|range| {
        let joined = touches(range, first, last);
        if joined {
            first = first.min(range.0);
            last = last.max(range.1);
        }
        !joined
    });
    let at = ranges.partition_point(|range| range.0 < first);
    ranges.insert(at, (first, last));
}

/// Whether no batch of the range ever comes. A reason that this program does not know may mean less, so it does not count: if the
/// batches do not come, they end as not held.
pub(super) fn covers(reason: GapReason) -> bool {
    match reason {
        GapReason::BufferFull | GapReason::TooOld | GapReason::Damaged => true,
        GapReason::Thinned | GapReason::ClockStep | GapReason::NotHeld | GapReason::Refused | GapReason::Other(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn header(seq: u64, oldest: u64) -> Header {
        Header { stream: 7, seq, oldest }
    }

    fn gap(first_seq: u64, last_seq: u64) -> Gap {
        Gap { from_ms: 0, to_ms: 0, first_seq, last_seq, readings: 1, reason: GapReason::BufferFull }
    }

    #[test]
    fn a_hole_stops_the_acknowledgement_until_it_is_filled() {
        let mut arrived = Arrived::default();
        for (seq, oldest, gaps, contiguous, ahead) in [
            (1, 1, vec![], 1, vec![]),
            (3, 1, vec![], 1, vec![(3, 3)]),
            (4, 1, vec![], 1, vec![(3, 4)]),
            (6, 1, vec![], 1, vec![(3, 4), (6, 6)]),
            (2, 1, vec![], 4, vec![(6, 6)]),
            (9, 1, vec![gap(5, 5)], 6, vec![(9, 9)]),
            // The gateway holds nothing before 8, so 7 will never come.
            (10, 8, vec![], 7, vec![(9, 10)]),
            (12, 8, vec![gap(1, u64::MAX)], 12, vec![]),
        ] {
            arrived.take(&header(seq, oldest), &gaps, &Receipts::default(), 0).unwrap();
            assert_eq!((arrived.contiguous, arrived.ahead.clone()), (contiguous, ahead), "after {seq}");
        }
    }

    #[test]
    fn what_the_gateway_does_not_hold_is_on_record_until_something_better_comes() {
        let mut arrived = Arrived::default();
        let own = |first_seq, last_seq| Gap { first_seq, last_seq, readings: 0, reason: GapReason::NotHeld, ..gap(0, 0) };
        for (seq, oldest, gaps, gone, put) in [
            (3, 1, vec![], vec![], vec![]),
            (10, 9, vec![], vec![], vec![own(1, 2), own(4, 8)]),
            // It comes after all.
            (6, 1, vec![], vec![own(4, 8)], vec![own(4, 5), own(7, 8)]),
            // The gateway's own record of what it dropped.
            (11, 9, vec![gap(1, 4)], vec![own(1, 2), own(4, 5)], vec![own(5, 5)]),
            (5, 1, vec![], vec![own(5, 5)], vec![]),
            // One that says why, in the same message as what it leaves out.
            (20, 20, vec![gap(12, 19)], vec![], vec![own(9, 9)]),
        ] {
            assert!(!arrived.has(seq));
            let changes = arrived.take(&header(seq, oldest), &gaps, &Receipts::default(), 0).unwrap();
            assert_eq!((changes.gone, changes.put), (gone, put), "after {seq}");
            assert!(arrived.has(seq));
        }
        assert_eq!((arrived.contiguous, arrived.not_held), (20, vec![own(7, 8), own(9, 9)]));
    }

    #[test]
    fn a_record_of_readings_says_nothing_about_batches() {
        for reason in [GapReason::Thinned, GapReason::ClockStep, GapReason::NotHeld, GapReason::Other(99)] {
            let mut arrived = Arrived::default();
            arrived.take(&header(5, 1), &[Gap { reason, ..gap(1, 4) }], &Receipts::default(), 0).unwrap();
            assert_eq!((arrived.contiguous(), arrived.has(4)), (0, false), "{reason}");
        }
    }

    #[test]
    fn missing_ranges_are_what_lies_between() {
        let state = StreamState { gateway: "g".into(), stream: 7, contiguous: 4, ahead: vec![(7, 8), (10, 12)] };
        let arrived = Arrived::from_state(&state);
        for (from, to, limit, expected) in [
            (1, 20, 9, vec![(5, 6), (9, 9), (13, 19)]),
            (6, 12, 9, vec![(6, 6), (9, 9)]),
            (8, 9, 9, vec![]),
            (1, 6, 9, vec![(5, 5)]),
            (14, 14, 9, vec![]),
            (14, 16, 9, vec![(14, 15)]),
            (1, 20, 2, vec![(5, 6), (9, 9)]),
            (1, u64::MAX, 9, vec![(5, 6), (9, 9), (13, u64::MAX - 1)]),
        ] {
            assert_eq!(arrived.missing(from, to, limit), expected, "{from}..{to}");
        }
        assert_eq!(arrived.highest(), 12);
    }

    #[test]
    fn the_ends_of_the_numbers_do_not_wrap() {
        let mut arrived = Arrived::default();
        arrived.take(&header(u64::MAX, 1), &[], &Receipts::default(), 0).unwrap();
        assert!(arrived.has(u64::MAX) && !arrived.has(u64::MAX - 1));
        arrived.take(&header(u64::MAX, u64::MAX), &[], &Receipts::default(), 0).unwrap();
        assert_eq!((arrived.contiguous, arrived.ahead.len()), (u64::MAX, 0));
    }

    #[test]
    fn too_many_ranges_ahead_are_refused() {
        let mut arrived = Arrived::default();
        for range in 1..=MAX_AHEAD_RANGES as u64 {
            arrived.take(&header(range * 2 + 1, 1), &[], &Receipts::default(), 0).unwrap();
        }
        let seq = MAX_AHEAD_RANGES as u64 * 2 + 3;
        assert_eq!(arrived.clone().take(&header(seq, 1), &[], &Receipts::default(), 0), Err(TooFarAhead { stream: 7, seq, missing: 1 }));
        arrived.take(&header(1, 1), &[], &Receipts::default(), 0).unwrap();
        arrived.take(&header(2, 1), &[], &Receipts::default(), 0).unwrap();
        assert_eq!(arrived.contiguous, 3);
    }

    proptest! {
        #[test]
        fn ranges_say_the_same_as_a_set(seqs in prop::collection::vec((1u64..40, 0u64..4), 1..60)) {
            let mut arrived = Arrived::default();
            let mut set = BTreeSet::new();
            for (seq, gap_len) in seqs {
                let gaps: Vec<Gap> = if gap_len > 0 && seq > gap_len { vec![gap(seq - gap_len, seq - 1)] } else { vec![] };
                arrived.take(&header(seq, 1), &gaps, &Receipts::default(), 0).unwrap();
                set.insert(seq);
                set.extend(gaps.iter().flat_map(|g| g.first_seq..=g.last_seq));
                for seq in 1..45 {
                    prop_assert_eq!(arrived.has(seq), set.contains(&seq));
                }
                let contiguous = (1..).take_while(|s| set.contains(s)).last().unwrap_or(0);
                prop_assert_eq!(arrived.contiguous, contiguous);
                let again = Arrived::from_state(&arrived.to_state("g", 7));
                prop_assert_eq!((again.contiguous, &again.ahead), (arrived.contiguous, &arrived.ahead));
            }
        }
    }
}
