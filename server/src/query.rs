//! Windows over readings: which step suits a chart, and readings folded into buckets of it.
//! Pure: it gets readings in order of time and never looks into a store.

pub mod calendar;
pub mod counter;
pub mod rolled;
pub mod spread;

use crate::store::{Bucket, Reading};
use pattoo_wire::Quality;

const SECOND_MS: i64 = 1000;
const MINUTE_MS: i64 = 60 * SECOND_MS;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const DAY_MS: i64 = 24 * HOUR_MS;

/// Steps that people can read off an axis; each starts anew at midnight UTC. Above the last come whole days.
pub const STEPS_MS: [i64; 18] = [
    SECOND_MS,
    2 * SECOND_MS,
    5 * SECOND_MS,
    10 * SECOND_MS,
    15 * SECOND_MS,
    30 * SECOND_MS,
    MINUTE_MS,
    2 * MINUTE_MS,
    5 * MINUTE_MS,
    10 * MINUTE_MS,
    15 * MINUTE_MS,
    30 * MINUTE_MS,
    HOUR_MS,
    2 * HOUR_MS,
    3 * HOUR_MS,
    6 * HOUR_MS,
    12 * HOUR_MS,
    DAY_MS,
];

/// The smallest step of the ladder that needs at most `points` buckets for `from_ms..to_ms` (one more where the range does
/// not start on a step).
#[must_use]
pub fn step_for(from_ms: i64, to_ms: i64, points: usize) -> i64 {
    let points = i64::try_from(points.max(1)).unwrap_or(i64::MAX);
    let span_ms = to_ms.saturating_sub(from_ms).max(0);
    let needed_ms = span_ms / points + i64::from(span_ms % points != 0);
    let whole_days = || (needed_ms / DAY_MS).saturating_add(i64::from(needed_ms % DAY_MS != 0)).saturating_mul(DAY_MS);
    STEPS_MS.into_iter().find(|step| *step >= needed_ms).unwrap_or_else(whole_days)
}

/// Start of the bucket that holds `at_ms`.
///
/// # Panics
/// A step below 1.
#[must_use]
pub fn bucket_start(at_ms: i64, step_ms: i64) -> i64 {
    assert!(step_ms > 0, "BUG: a step of {step_ms} ms");
    at_ms.saturating_sub(at_ms.rem_euclid(step_ms))
}

/// Buckets of `step_ms`, aligned to 1970, of readings that come in order of time.
///
/// # Panics
/// A step below 1.
#[must_use]
pub fn buckets(readings: impl IntoIterator<Item = Reading>, step_ms: i64) -> Vec<Bucket> {
    let mut buckets: Vec<Bucket> = Vec::new();
    for reading in readings {
        let start_ms = bucket_start(reading.at_ms, step_ms);
        match buckets.last_mut() {
            Some(bucket) if bucket.start_ms == start_ms => fold(bucket, &reading),
            _ => {
                let mut bucket = empty(start_ms);
                fold(&mut bucket, &reading);
                buckets.push(bucket);
            }
        }
    }
    buckets
}

fn empty(start_ms: i64) -> Bucket {
    let none = f64::NAN;
    Bucket { start_ms, count: 0, sum: 0.0, min: none, max: none, first: none, last: none, uncertain: 0, bad: 0 }
}

fn fold(bucket: &mut Bucket, reading: &Reading) {
    match reading.sample.quality() {
        Quality::Good => {}
        Quality::Uncertain => bucket.uncertain += 1,
        Quality::Bad => bucket.bad += 1,
    }
    let Some(number) = reading.sample.value().and_then(pattoo_wire::Value::to_f64).filter(|x| !x.is_nan()) else { return };
    if bucket.count == 0 {
        bucket.first = number;
    }
    // min and max of a number and NaN are the number.
    bucket.min = bucket.min.min(number);
    bucket.max = bucket.max.max(number);
    bucket.last = number;
    bucket.sum += number;
    bucket.count += 1;
}

#[cfg(test)]
mod tests {
    use pattoo_wire::{Reason, Sample, Value};
    use proptest::prelude::*;

    use super::*;

    fn good(at_ms: i64, value: f64) -> Reading {
        Reading { at_ms, sample: Sample::Good(Value::F64(value)) }
    }

    #[test]
    fn the_step_is_the_smallest_that_fits() {
        for (span_ms, points, step_ms) in [
            (0, 100, 1000),
            (100_000, 100, 1000),
            (100_001, 100, 2000),
            (HOUR_MS, 720, 5000),
            (DAY_MS, 720, 2 * MINUTE_MS),
            (30 * DAY_MS, 720, HOUR_MS),
            (365 * DAY_MS, 365, DAY_MS),
            (365 * DAY_MS, 364, 2 * DAY_MS),
            (DAY_MS, 0, DAY_MS),
        ] {
            assert_eq!(step_for(-7, span_ms - 7, points), step_ms, "{span_ms} ms in {points}");
        }
        assert!(step_for(i64::MIN, i64::MAX, 1000) > 0);
        assert_eq!(step_for(5, 1, 10), 1000, "a range that ends before it begins");
    }

    #[test]
    fn a_bucket_holds_its_start_and_not_its_end() {
        let found = buckets([good(-1001, 1.0), good(-1000, 2.0), good(-1, 3.0), good(0, 4.0), good(999, 5.0), good(1000, 6.0)], 1000);
        let starts: Vec<_> = found.iter().map(|b| (b.start_ms, b.count, b.first, b.last)).collect();
        assert_eq!(starts, [(-2000, 1, 1.0, 1.0), (-1000, 2, 2.0, 3.0), (0, 2, 4.0, 5.0), (1000, 1, 6.0, 6.0)]);
    }

    #[test]
    fn what_is_no_number_is_counted_and_poisons_nothing() {
        let readings = [
            good(0, f64::NAN),
            Reading { at_ms: 1, sample: Sample::Bad(Reason::Timeout) },
            Reading { at_ms: 2, sample: Sample::Uncertain(Value::int(-4), Reason::OutOfRange) },
            Reading { at_ms: 3, sample: Sample::Good(Value::Text("x".into())) },
            good(4, 3.0),
            Reading { at_ms: 1000, sample: Sample::Bad(Reason::Timeout) },
        ];
        let found = buckets(readings, 1000);
        let expected = Bucket { start_ms: 0, count: 2, sum: -1.0, min: -4.0, max: 3.0, first: -4.0, last: 3.0, uncertain: 1, bad: 1 };
        assert_eq!(found.first(), Some(&expected));
        let last = found.last().unwrap();
        assert!(last.count == 0 && last.bad == 1 && last.min.is_nan() && last.first.is_nan());
    }

    /// Readings in order of time, from a few ms to some days apart.
    fn any_readings() -> impl Strategy<Value = Vec<Reading>> {
        let gap = prop_oneof![1..2000i64, 1000..HOUR_MS, HOUR_MS..3 * DAY_MS];
        let sample = prop_oneof![
            8 => any::<f64>().prop_map(|x| Sample::Good(Value::F64(x))),
            4 => (-1000..1000i64).prop_map(|n| Sample::Good(Value::int(n))),
            1 => (-9e9..9e9f64).prop_map(|x| Sample::Uncertain(Value::F64(x), Reason::OutOfRange)),
            1 => Just(Sample::Bad(Reason::Timeout)),
        ];
        (-DAY_MS..DAY_MS, prop::collection::vec((gap, sample), 1..200)).prop_map(|(mut at_ms, steps)| {
            let reading = |(gap, sample)| {
                at_ms += gap;
                Reading { at_ms, sample }
            };
            steps.into_iter().map(reading).collect()
        })
    }

    proptest! {
        /// A spike of one reading is in the picture, however far it is zoomed out.
        #[test]
        fn every_minimum_and_maximum_of_what_was_read_is_in_the_answer_at_each_step(readings in any_readings()) {
            let number = |r: &Reading| r.sample.value().and_then(Value::to_f64).filter(|x| !x.is_nan());
            for step_ms in STEPS_MS.into_iter().chain([7 * DAY_MS, 400 * DAY_MS]) {
                let found = buckets(readings.iter().cloned(), step_ms);
                prop_assert!(found.windows(2).all(|pair| pair[0].start_ms < pair[1].start_ms));
                let mut readings_told = 0;
                for bucket in &found {
                    let within = |r: &&Reading| (bucket.start_ms..bucket.start_ms + step_ms).contains(&r.at_ms);
                    let numbers: Vec<f64> = readings.iter().filter(within).filter_map(number).collect();
                    let extreme = |pick: fn(f64, f64) -> f64| numbers.iter().copied().reduce(pick).map(f64::to_bits);
                    let told = |x: f64| (bucket.count > 0).then_some(x.to_bits());
                    let zero = |bits: Option<u64>| bits.map(|bits| if f64::from_bits(bits) == 0.0 { 0 } else { bits });
                    prop_assert_eq!(zero(told(bucket.min)), zero(extreme(f64::min)), "minimum at {} by {}", bucket.start_ms, step_ms);
                    prop_assert_eq!(zero(told(bucket.max)), zero(extreme(f64::max)), "maximum at {} by {}", bucket.start_ms, step_ms);
                    prop_assert_eq!(bucket.count as usize, numbers.len());
                    readings_told += readings.iter().filter(within).count();
                }
                prop_assert_eq!(readings_told, readings.len(), "each reading is in one bucket");
            }
        }
    }

    #[test]
    fn buckets_at_the_ends_of_time_do_not_wrap() {
        let found = buckets([good(i64::MIN, 1.0), good(i64::MAX, 2.0)], DAY_MS);
        assert_eq!(found.len(), 2);
        assert!(found.iter().all(|b| b.count == 1));
    }
}
