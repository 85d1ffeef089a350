//! Which parts of a day are merged next. Pure.

use std::ops::Range;

/// Parts of like size that become one.
pub const FAN_IN: usize = 4;
/// Parts that are merged at once at most, unless the day is over.
const MAX_FAN_IN: usize = 8;
/// Parts of a day at most, when there is nothing to merge.
pub const MAX_PARTS: usize = 24;
/// Parts up to this size are alike, in bytes.
const SMALLEST_BYTES: u64 = 64 << 10;
/// Each tier is larger by this much.
const TIER_FACTOR: u64 = 4;

/// What to merge of parts of these sizes, in the order of their generations: neighbours only, so that the order stays. `over`: the day is
/// over and nothing comes any more, so that all become one.
#[must_use]
pub fn choose(bytes: &[u64], over: bool) -> Option<Range<usize>> {
    if over && bytes.len() > 1 {
        return Some(0..bytes.len());
    }
    let tiers: Vec<u32> = bytes.iter().map(|bytes| tier(*bytes)).collect();
    let mut first = 0;
    for alike in tiers.chunk_by(|a, b| a == b) {
        if alike.len() >= FAN_IN {
            return Some(first..first + alike.len().min(MAX_FAN_IN));
        }
        first += alike.len();
    }
    // Sizes alternate: those that cost the least.
    let windows = (0..bytes.len().saturating_sub(MAX_FAN_IN - 1)).map(|first| first..first + MAX_FAN_IN);
    let cost = |window: &Range<usize>| bytes.get(window.clone()).unwrap_or_default().iter().sum::<u64>();
    (bytes.len() > MAX_PARTS).then(|| windows.min_by_key(cost)).flatten()
}

fn tier(bytes: u64) -> u32 {
    (bytes / SMALLEST_BYTES).checked_ilog(TIER_FACTOR).map_or(0, |tier| tier + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_of_like_size_are_merged() {
        const K: u64 = 1 << 10;
        for (bytes, over, expected) in [
            (vec![], true, None),
            (vec![9], true, None),
            (vec![9, 9], true, Some(0..2)),
            (vec![9, 9, 9], false, None),
            (vec![9, 9, 9, 60 * K], false, Some(0..4)),
            (vec![9; 12], false, Some(0..8)),
            (vec![70 * K, 9, 9, 9], false, None),
            (vec![70 * K, 9, 9, 9, 9], false, Some(1..5)),
            (vec![70 * K, 80 * K, 250 * K, 90 * K, 9], false, Some(0..4)),
            ([9, 900 * K].repeat(12), false, None),
            ([[9, 900 * K].repeat(10), [9, 70 * K].repeat(4)].concat(), false, Some(20..28)),
            ([u64::MAX, 0].repeat(20), true, Some(0..40)),
        ] {
            assert_eq!(choose(&bytes, over), expected, "{bytes:?}");
        }
    }

    #[test]
    fn each_byte_is_merged_a_few_times_only_and_parts_stay_few() {
        let (mut parts, mut written, mut most) = (Vec::<u64>::new(), 0, 0);
        for _ in 0..4096 {
            parts.push(20 << 10);
            while let Some(range) = choose(&parts, false) {
                let sum = parts.drain(range.clone()).sum();
                written += sum;
                parts.insert(range.start, sum);
            }
            most = most.max(parts.len());
        }
        let total: u64 = parts.iter().sum();
        assert_eq!(total, 4096 * (20 << 10));
        assert!(written <= 7 * total, "{} times", written as f64 / total as f64);
        assert!(most <= MAX_PARTS, "{most} parts");
    }
}
