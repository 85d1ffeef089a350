//! What of one stream has arrived. Knows numbers only, no readings, and stores nothing.

use pattoo_wire::{Gap, Header};
use thiserror::Error;

use crate::store::StreamState;

/// Most separate ranges of batches that may have arrived ahead of a missing one. A gateway has at most 1000 batches under
/// way, so only one that breaks the contract gets here.
pub const MAX_AHEAD_RANGES: usize = 1024;

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
}

impl Arrived {
    pub(crate) fn from_state(state: &StreamState) -> Self {
        let mut arrived = Self { contiguous: state.contiguous, ahead: Vec::new() };
        for &(first, last) in &state.ahead {
            arrived.add(first, last);
        }
        arrived
    }

    pub(crate) fn to_state(&self, gateway: &str, stream: u64) -> StreamState {
        StreamState { gateway: gateway.to_owned(), stream, contiguous: self.contiguous, ahead: self.ahead.clone() }
    }

    pub(crate) fn contiguous(&self) -> u64 {
        self.contiguous
    }

    pub(crate) fn has(&self, seq: u64) -> bool {
        seq <= self.contiguous || self.ahead.iter().any(|&(first, last)| (first..=last).contains(&seq))
    }

    /// The gateway holds nothing before `oldest`: all of it is acknowledged or on record as a gap, so waiting is in vain.
    pub(crate) fn release_before(&mut self, oldest: u64) {
        self.add(0, oldest.saturating_sub(1));
    }

    /// Notes that a batch is here, and with it the ranges that its gap records declare lost.
    pub(crate) fn take(&mut self, header: &Header, gaps: &[Gap]) -> Result<(), TooFarAhead> {
        self.release_before(header.oldest);
        for gap in gaps {
            // A batch can only tell of what was dropped before it was made; more would skip batches that are yet to come.
            let last = gap.last_seq.min(header.seq);
            if gap.first_seq <= last {
                self.add(gap.first_seq, last);
            }
        }
        self.add(header.seq, header.seq);
        if self.ahead.len() > MAX_AHEAD_RANGES {
            let missing = self.contiguous.saturating_add(1);
            return Err(TooFarAhead { stream: header.stream, seq: header.seq, missing });
        }
        Ok(())
    }

    fn add(&mut self, mut first: u64, mut last: u64) {
        let touches = |a: &(u64, u64), first: u64, last: u64| a.0 <= last.saturating_add(1) && first <= a.1.saturating_add(1);
        self.ahead.retain(|range| {
            let joined = touches(range, first, last);
            if joined {
                first = first.min(range.0);
                last = last.max(range.1);
            }
            !joined
        });
        if first <= self.contiguous.saturating_add(1) {
            self.contiguous = self.contiguous.max(last);
            // What touched the old end may leave a range that touches the new one.
            while self.ahead.first().is_some_and(|range| range.0 <= self.contiguous.saturating_add(1)) {
                self.contiguous = self.contiguous.max(self.ahead.remove(0).1);
            }
        } else {
            let at = self.ahead.partition_point(|range| range.0 < first);
            self.ahead.insert(at, (first, last));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use pattoo_wire::GapReason;
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
            arrived.take(&header(seq, oldest), &gaps).unwrap();
            assert_eq!((arrived.contiguous, arrived.ahead.clone()), (contiguous, ahead), "after {seq}");
        }
    }

    #[test]
    fn the_ends_of_the_numbers_do_not_wrap() {
        let mut arrived = Arrived::default();
        arrived.take(&header(u64::MAX, 1), &[]).unwrap();
        assert!(arrived.has(u64::MAX) && !arrived.has(u64::MAX - 1));
        arrived.take(&header(u64::MAX, u64::MAX), &[]).unwrap();
        assert_eq!((arrived.contiguous, arrived.ahead.len()), (u64::MAX, 0));
    }

    #[test]
    fn too_many_ranges_ahead_are_refused() {
        let mut arrived = Arrived::default();
        for range in 1..=MAX_AHEAD_RANGES as u64 {
            arrived.take(&header(range * 2 + 1, 1), &[]).unwrap();
        }
        let seq = MAX_AHEAD_RANGES as u64 * 2 + 3;
        assert_eq!(arrived.clone().take(&header(seq, 1), &[]), Err(TooFarAhead { stream: 7, seq, missing: 1 }));
        arrived.take(&header(1, 1), &[]).unwrap();
        arrived.take(&header(2, 1), &[]).unwrap();
        assert_eq!(arrived.contiguous, 3);
    }

    proptest! {
        #[test]
        fn ranges_say_the_same_as_a_set(seqs in prop::collection::vec((1u64..40, 0u64..4), 1..60)) {
            let mut arrived = Arrived::default();
            let mut set = BTreeSet::new();
            for (seq, gap_len) in seqs {
                let gaps: Vec<Gap> = if gap_len > 0 && seq > gap_len { vec![gap(seq - gap_len, seq - 1)] } else { vec![] };
                arrived.take(&header(seq, 1), &gaps).unwrap();
                set.insert(seq);
                set.extend(gaps.iter().flat_map(|g| g.first_seq..=g.last_seq));
                for seq in 1..45 {
                    prop_assert_eq!(arrived.has(seq), set.contains(&seq));
                }
                let contiguous = (1..).take_while(|s| set.contains(s)).last().unwrap_or(0);
                prop_assert_eq!(arrived.contiguous, contiguous);
                prop_assert_eq!(Arrived::from_state(&arrived.to_state("g", 7)), arrived.clone());
            }
        }
    }
}
