//! Parts against a model: a map of series and time. Values are compared by their bits.

use std::collections::{BTreeMap, BTreeSet};

use pattoo_wire::{Decimal, Reason, Sample, Value};
use proptest::prelude::*;

use super::super::row::write_sample;
use super::super::{Reading, SeriesId};
use super::{Part, PartError, Rows, Writer};
use crate::query;

mod damage;
mod golden;
mod merges;
mod numbers;

/// What is known of a part.
pub(in crate::store) type Model = BTreeMap<(SeriesId, i64), Sample>;

/// Groups of series by a rule, in chunks of so many rows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    /// Series whose ids are equal modulo this share a group.
    pub(super) groups: u32,
    pub(super) rows: usize,
}

pub(super) fn write(model: &Model, shape: Shape) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = Writer::new(&mut out);
    let of_group = |id: SeriesId| id.0 % shape.groups;
    for group in 0..shape.groups {
        writer.begin_group();
        let mut by_time: BTreeMap<i64, Vec<(SeriesId, &Sample)>> = BTreeMap::new();
        for ((id, at_ms), sample) in model.iter().filter(|((id, _), _)| of_group(*id) == group) {
            by_time.entry(*at_ms).or_default().push((*id, sample));
        }
        let mut rows = Rows::default();
        for (at_ms, samples) in by_time {
            if rows.len() >= shape.rows {
                writer.rows(&std::mem::take(&mut rows), &mut out).unwrap();
            }
            rows.begin(at_ms);
            samples.iter().for_each(|(id, sample)| rows.put(*id, sample));
        }
        writer.rows(&rows, &mut out).unwrap();
    }
    assert_eq!(writer.finish(&mut out).unwrap(), out.len() as u64);
    out
}

pub(super) fn open(bytes: Vec<u8>) -> Part<Vec<u8>> {
    Part::open(bytes).unwrap()
}

/// Readings with their values as bits.
pub(in crate::store) fn bits(readings: &[Reading]) -> Vec<(i64, Vec<u8>)> {
    readings.iter().map(|reading| (reading.at_ms, write_sample(&reading.sample))).collect()
}

fn expected(model: &Model, id: SeriesId, from_ms: i64, to_ms: i64) -> Vec<Reading> {
    let range = model.range((id, from_ms)..(id, to_ms.max(from_ms)));
    range.map(|((_, at_ms), sample)| Reading { at_ms: *at_ms, sample: sample.clone() }).collect()
}

fn series_of(model: &Model) -> BTreeSet<SeriesId> {
    model.keys().map(|(id, _)| *id).collect()
}

/// Everything that is read from the part is what the model has.
fn holds(part: &Part<Vec<u8>>, model: &Model) {
    assert_eq!(part.check(), (model.len() as u64, Vec::new()));
    assert_eq!(part.readings(), model.len() as u64);
    let times = model.keys().map(|(_, at_ms)| *at_ms);
    assert_eq!(part.times_ms(), times.clone().min().zip(times.max()));
    assert!(part.series().eq(series_of(model)));
    for id in series_of(model) {
        let found = part.raw(id, i64::MIN, i64::MAX, usize::MAX).unwrap();
        assert_eq!(bits(&found), bits(&expected(model, id, i64::MIN, i64::MAX)), "series {}", id.0);
        let newest = model.range((id, i64::MIN)..=(id, i64::MAX)).next_back().unwrap();
        let newest = Reading { at_ms: newest.0.1, sample: newest.1.clone() };
        assert_eq!(bits(&part.latest(id).unwrap().into_iter().collect::<Vec<_>>()), bits(&[newest]));
    }
}

fn values() -> impl Strategy<Value = Value> {
    let decimal = |mantissa, exponent| Value::Decimal(Decimal { mantissa, exponent });
    prop_oneof![
        (any::<i64>(), -18i8..=18).prop_map(move |(mantissa, exponent)| decimal(mantissa, exponent)),
        (-300i64..300).prop_map(move |mantissa| decimal(mantissa, -1)),
        prop_oneof![Just(i64::MIN), Just(i64::MAX), Just(0)].prop_map(Value::int),
        prop_oneof![any::<u64>(), Just(u64::MAX), 0u64..9].prop_map(Value::Unsigned),
        any::<u32>().prop_map(|bits| Value::F32(f32::from_bits(bits))),
        (-5000i32..5000).prop_map(|tenths| Value::F32(tenths as f32 / 10.0)),
        any::<u64>().prop_map(|bits| Value::F64(f64::from_bits(bits))),
        prop_oneof![Just(0.1 + 0.2), Just(-0.0), Just(f64::NAN), Just(f64::INFINITY), Just(5e-324), Just(230.1)].prop_map(Value::F64),
        any::<bool>().prop_map(Value::Bool),
        ".{0,20}".prop_map(Value::Text),
    ]
}

pub(in crate::store) fn samples() -> impl Strategy<Value = Sample> {
    (values(), any::<u16>(), 0..10).prop_map(|(value, code, quality)| match quality {
        0 => Sample::Uncertain(value, Reason::from_code(code)),
        1 => Sample::Bad(Reason::from_code(code)),
        _ => Sample::Good(value),
    })
}

/// Times that readings share, or any at all.
fn times() -> impl Strategy<Value = i64> {
    prop_oneof![9 => 0i64..40, 1 => any::<i64>(), 1 => prop_oneof![Just(i64::MIN), Just(i64::MAX)]]
}

fn ids() -> impl Strategy<Value = SeriesId> {
    prop_oneof![9 => 1u32..8, 1 => Just(u32::MAX), 1 => Just(0)].prop_map(SeriesId)
}

fn models(most: usize) -> impl Strategy<Value = Model> {
    prop::collection::btree_map((ids(), times()), samples(), 0..most)
}

pub(super) fn shapes() -> impl Strategy<Value = Shape> {
    (1u32..4, 1usize..30).prop_map(|(groups, rows)| Shape { groups, rows })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn what_is_written_is_read_bit_for_bit(model in models(300), shape in shapes()) {
        holds(&open(write(&model, shape)), &model);
    }

    #[test]
    fn a_window_holds_its_start_and_not_its_end(
        model in models(200), shape in shapes(), from_ms in times(), to_ms in times(), limit in 0usize..30, step_ms in 1i64..50,
    ) {
        let part = open(write(&model, shape));
        for id in series_of(&model) {
            let expected = expected(&model, id, from_ms, to_ms);
            let limited: Vec<_> = expected.iter().take(limit).cloned().collect();
            prop_assert_eq!(bits(&part.raw(id, from_ms, to_ms, limit).unwrap()), bits(&limited));
            let steps = part.steps(id, from_ms, to_ms, step_ms).unwrap();
            let buckets: Vec<_> = steps.iter().map(|(start_ms, stats)| stats.bucket(*start_ms)).collect();
            prop_assert_eq!(without_sums(&buckets), without_sums(&query::buckets(expected.clone(), step_ms)));
            for ((_, stats), bucket) in steps.iter().zip(query::buckets(expected.clone(), step_ms)) {
                prop_assert!(close(stats.sum, bucket.sum, bucket.min.abs().max(bucket.max.abs())), "{} {}", stats.sum, bucket.sum);
                let numbers = expected.iter().filter(|r| query::bucket_start(r.at_ms, step_ms) == bucket.start_ms && is_number(r));
                let times: Vec<i64> = numbers.map(|r| r.at_ms).collect();
                prop_assert!(stats.count == 0 || (stats.first.0, stats.last.0) == (times[0], times[times.len() - 1]));
            }
        }
    }
}

fn is_number(reading: &Reading) -> bool {
    reading.sample.value().and_then(Value::to_f64).is_some_and(|x| !x.is_nan())
}

/// Buckets without their sums, whose last digits depend on the order of adding; -0.0 is 0.0.
pub(in crate::store) fn without_sums(buckets: &[super::super::Bucket]) -> Vec<String> {
    buckets.iter().map(|bucket| format!("{:?}", super::super::Bucket { sum: 0.0, ..*bucket }).replace("-0.0", "0.0")).collect()
}

/// Equal but for what adding in another order may change.
pub(in crate::store) fn close(a: f64, b: f64, greatest: f64) -> bool {
    a.to_bits() == b.to_bits() || (a - b).abs() <= greatest * 1e-12 || !a.is_finite() || !b.is_finite()
}

#[test]
fn a_float32_counts_as_the_number_that_it_prints_as() {
    for values in [[535_585_950.0, 1.0], [0.1, 0.7], [8_388_609.0, 0.5], [16_777_217.0, 0.3], [1.0e30, 0.1]] {
        let model: Model = values.iter().zip(0..).map(|(x, at)| ((SeriesId(1), at), Sample::Good(Value::F32(*x)))).collect();
        let part = open(write(&model, Shape { groups: 1, rows: 2 }));
        let sum: f64 = values.iter().map(|x| x.to_string().parse::<f64>().unwrap()).sum();
        let found = part.steps(SeriesId(1), 0, 2, 10).unwrap()[0].1.sum;
        assert!(close(found, sum, sum), "{found} for {values:?}");
    }
}

#[test]
fn a_part_without_readings_is_a_part() {
    let part = open(write(&Model::new(), Shape { groups: 1, rows: 1 }));
    assert_eq!((part.readings(), part.times_ms(), part.series().count()), (0, None, 0));
    assert_eq!(part.raw(SeriesId(1), 0, 9, 9).unwrap(), []);
    assert_eq!(part.latest(SeriesId(1)).unwrap(), None);
}

#[test]
fn a_chunk_within_a_step_is_not_decoded() {
    let model: Model = (0..100).map(|at| ((SeriesId(1), at), Sample::Good(Value::int(at)))).collect();
    let bytes = write(&model, Shape { groups: 1, rows: 10 });
    let mut broken = bytes.clone();
    // The chunks from 20 to 30 and from 30 to 40: their last bytes are of the column.
    for number in [2, 3] {
        let place = open(bytes.clone()).groups[0].chunks[number];
        broken[place.at as usize + place.bytes - 1] ^= 1;
    }
    let part = open(broken);
    let steps = part.steps(SeriesId(1), 0, 100, 10).unwrap();
    let sums: Vec<f64> = steps.iter().map(|(_, stats)| stats.sum).collect();
    assert_eq!(sums, (0..10).map(|tens| f64::from(tens * 100 + 45)).collect::<Vec<_>>());
    assert_eq!(steps[3].1.first, (30, 30.0));
    assert!(matches!(part.steps(SeriesId(1), 0, 100, 7), Err(PartError::Damaged { .. })));
    assert!(part.raw(SeriesId(1), 40, 100, 99).is_ok(), "what is not damaged is there");
}
