//! Readings from the far future are taken out of a batch: their gateway's clock is wrong, and a chart would show them as the latest
//! for as long as that takes. Pure.

use pattoo_wire::{Batch, Gap, GapReason, Header};

/// Before this (2020-01-01 UTC) the server's own clock is not set, so it cannot judge others.
const CLOCK_SET_MS: i64 = 1_577_836_800_000;

/// When a message comes, and what its readings may say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// UTC by the server's clock, ms since 1970.
    pub ms: i64,
    /// Latest time that a reading may have.
    pub latest_ms: i64,
}

impl Now {
    /// The limit that lies `max_future_ms` ahead; none while the clock is not set.
    #[must_use]
    pub fn new(ms: i64, max_future_ms: i64) -> Self {
        Self { ms, latest_ms: if ms < CLOCK_SET_MS { i64::MAX } else { ms.saturating_add(max_future_ms) } }
    }
}

/// Takes readings that are later than the limit out of a batch and puts a record in their place. It says when they came, not what
/// they say: that is wrong. Gives how many, and the furthest time.
pub(super) fn refuse(batch: &mut Batch, header: &Header, now: Now) -> Option<(u64, i64)> {
    let (mut readings, mut furthest_ms) = (0, i64::MIN);
    for block in &mut batch.blocks {
        if block.times_ms.iter().all(|at_ms| *at_ms <= now.latest_ms) {
            continue;
        }
        let times = std::mem::take(&mut block.times_ms);
        let mut tick = times.iter().cycle();
        let before = block.samples.len();
        block.samples.retain(|_| tick.next().is_some_and(|at_ms| *at_ms <= now.latest_ms));
        readings += (before - block.samples.len()) as u64;
        furthest_ms = furthest_ms.max(times.iter().copied().max().unwrap_or(i64::MIN));
        block.times_ms = times.into_iter().filter(|at_ms| *at_ms <= now.latest_ms).collect();
    }
    batch.blocks.retain(|block| !block.times_ms.is_empty());
    if readings == 0 {
        return None;
    }
    batch.gaps.push(record(header, now.ms, readings));
    Some((readings, furthest_ms))
}

/// The record of readings that came and were not taken; 0 stands for a number that nobody knows.
pub(super) fn record(header: &Header, now_ms: i64, readings: u64) -> Gap {
    Gap { from_ms: now_ms, to_ms: now_ms, first_seq: header.seq, last_seq: header.seq, readings, reason: GapReason::Refused }
}

#[cfg(test)]
mod tests {
    use pattoo_wire::{Block, Sample, Value};

    use super::*;

    fn block(times_ms: &[i64], values: &[i64]) -> Block {
        let samples = values.iter().map(|value| Sample::Good(Value::int(*value))).collect();
        Block { series: (0..(values.len() / times_ms.len()) as u32).collect(), times_ms: times_ms.to_vec(), samples }
    }

    #[test]
    fn only_what_is_too_late_goes() {
        let header = Header { stream: 1, seq: 9, oldest: 1 };
        let now = Now { ms: 50, latest_ms: 100 };
        let mut batch = Batch {
            blocks: vec![block(&[99, 101, 100, 300], &[1, 2, 3, 4, 5, 6, 7, 8]), block(&[101], &[9]), block(&[7], &[10])],
            gaps: vec![],
        };
        assert_eq!(refuse(&mut batch, &header, now), Some((5, 300)));
        assert_eq!(batch.blocks, [block(&[99, 100], &[1, 3, 5, 7]), block(&[7], &[10])]);
        assert_eq!(batch.gaps, [record(&header, 50, 5)]);
        let rest = batch.clone();
        assert_eq!(refuse(&mut batch, &header, now), None);
        assert_eq!(batch, rest);
    }

    #[test]
    fn a_server_without_a_clock_judges_nobody() {
        assert_eq!(Now::new(5000, 1000).latest_ms, i64::MAX);
        assert_eq!(Now::new(CLOCK_SET_MS, 1000).latest_ms, CLOCK_SET_MS + 1000);
        assert_eq!(Now::new(i64::MAX, 1000).latest_ms, i64::MAX);
    }
}
