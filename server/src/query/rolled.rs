//! Buckets of a counter -> how much it counted between them, where its readings are gone or too many. Pure.
//!
//! A bucket tells what the counter stood at first and last, and at least and at most. What it counted until the next one is known only if
//! it began with the least and ended with the most, in both, and did not fall in between: then it neither wrapped nor was reset. All else is
//! not known, also what a wrap would explain. Whole numbers beyond 2^53 have lost digits in a bucket, so nothing is told by them either.

use super::counter::{Count, Step, longest_even_ms};
use crate::store::Bucket;

/// A counter that is back where it was within so many buckets was not reset: a device gave a wrong value for a moment.
const RESTORED_WITHIN: usize = 3;
/// From here on neighbouring whole numbers are one double.
const EXACT_BELOW: f64 = 9_007_199_254_740_992.0;

/// What was counted from the first reading of each bucket of `step_ms` to that of the next, and from the last one to `next`, a reading that
/// follows them. Of buckets in order of time. First readings are taken to come at the start of their bucket.
#[must_use]
pub fn steps(buckets: &[Bucket], step_ms: i64, next: Option<Count>) -> Vec<Step> {
    let told: Vec<&Bucket> = buckets.iter().filter(|bucket| bucket.count > 0).collect();
    let longest_ms = longest_even_ms(step_ms);
    let mut steps = Vec::with_capacity(told.len());
    let mut fallen: Option<(f64, usize)> = None;
    for (at, bucket) in told.iter().enumerate() {
        let (to_ms, first, follows) = match (told.get(at + 1), next) {
            (Some(after), _) => (after.start_ms, after.first, is_steady(after)),
            (None, Some(next)) => (next.at_ms(), next.to_f64(), true),
            (None, None) => break,
        };
        let steady = is_steady(bucket) && follows && bucket.last <= first;
        if !steady {
            fallen = fallen.or((bucket.max > first).then_some((bucket.max, at)));
        }
        let restored = fallen.is_some_and(|(high, _)| steady && first >= high);
        if fallen.is_some_and(|(_, since)| restored || at - since >= RESTORED_WITHIN) {
            fallen = None;
        }
        let increase = (steady && !restored).then_some(first - bucket.first);
        steps.push(Step { from_ms: bucket.start_ms, to_ms, increase, even: to_ms - bucket.start_ms <= longest_ms });
    }
    steps
}

/// Whether it only counted on in all of it.
fn is_steady(bucket: &Bucket) -> bool {
    bucket.uncertain == 0 && bucket.min >= bucket.first && bucket.max <= bucket.last && bucket.max.abs() < EXACT_BELOW
}

#[cfg(test)]
mod tests {
    use pattoo_wire::{Sample, Value};
    use proptest::prelude::*;

    use super::*;
    use crate::query;
    use crate::query::counter;
    use crate::store::Reading;

    const MINUTE: i64 = 60_000;

    fn readings(values: &[f64], every_ms: i64) -> Vec<Reading> {
        (0..).zip(values).map(|(n, value)| Reading { at_ms: n * every_ms, sample: Sample::Good(Value::F64(*value)) }).collect()
    }

    /// Of values each 20 s, in buckets of a minute.
    fn increases(values: &[f64]) -> Vec<Option<f64>> {
        steps(&query::buckets(readings(values, 20_000), MINUTE), MINUTE, None).iter().map(|step| step.increase).collect()
    }

    #[test]
    fn what_it_counted_is_right_or_not_known() {
        let none = None::<f64>;
        for (what, values, expected) in [
            ("steady", vec![0., 1., 2., 3., 4., 5., 6.], vec![Some(3.), Some(3.)]),
            ("at rest", vec![7., 7., 7., 7., 7., 7., 7.], vec![Some(0.), Some(0.)]),
            ("reset within", vec![5., 6., 1., 2., 3., 4., 5.], vec![none, Some(3.)]),
            ("reset between", vec![5., 6., 7., 1., 2., 3., 4.], vec![none, Some(3.)]),
            ("wrong and high within", vec![5., 900., 7., 8., 9., 10., 11.], vec![none, Some(3.)]),
            ("wrong and high at first", vec![5., 6., 7., 900., 9., 10., 11.], vec![none, none]),
            ("wrong and low at first", vec![5., 6., 7., 0., 9., 10., 11., 12., 13., 14.], vec![none, none, Some(3.)]),
            ("wrong and low at last", vec![5., 6., 0., 8., 9., 10., 11.], vec![none, Some(3.)]),
            ("beyond 2^53", vec![1e16, 1e16, 1e16, 2e16, 2e16, 2e16, 3e16], vec![none, none]),
        ] {
            assert_eq!(increases(&values), expected, "{what}");
        }
    }

    #[test]
    fn the_next_reading_ends_it_and_a_hole_is_no_even_step() {
        let mut of = readings(&[0., 1., 2., 3., 4.], 20_000);
        of.push(Reading { at_ms: 20 * MINUTE, sample: Sample::Good(Value::F64(64.0)) });
        let next = Count::of(&Reading { at_ms: 21 * MINUTE, sample: Sample::Good(Value::F64(70.0)) });
        let found = steps(&query::buckets(of, MINUTE), MINUTE, next);
        let expected = [(0, MINUTE, 3.0, true), (MINUTE, 20 * MINUTE, 61.0, false), (20 * MINUTE, 21 * MINUTE, 6.0, true)]
            .map(|(from_ms, to_ms, increase, even)| Step { from_ms, to_ms, increase: Some(increase), even });
        assert_eq!(found, expected);
        assert!(steps(&[], MINUTE, next).is_empty());
    }

    proptest! {
        /// Of a counter that counts on or is reset: never more than its readings tell, and all of it where it was never reset.
        #[test]
        fn never_more_than_the_readings_tell(counted in prop::collection::vec((0u32..50, prop::bool::weighted(0.03)), 10..300), every in 1i64..90) {
            let mut at = 0.0;
            let values: Vec<f64> = counted.iter().map(|(more, reset)| {
                at = if *reset { 0.0 } else { at + f64::from(*more) };
                at
            }).collect();
            let readings = readings(&values, every * 1000);
            let counts: Vec<Count> = readings.iter().filter_map(Count::of).collect();
            let truth: f64 = counted.iter().skip(1).map(|(more, reset)| if *reset { 0.0 } else { f64::from(*more) }).sum();
            let rolled = steps(&query::buckets(readings, MINUTE), MINUTE, counts.last().copied());
            let known: f64 = rolled.iter().filter_map(|step| step.increase).sum();
            prop_assert!(known <= truth, "{known} of {truth}");
            if counted.iter().all(|(_, reset)| !reset) {
                let read: f64 = counter::steps(&counts, None).iter().filter_map(|step| step.increase).sum();
                prop_assert!(known == truth && read == truth, "{known}, {read}, {truth}");
            }
        }
    }
}
