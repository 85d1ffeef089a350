use pattoo_wire::{Device, Labels, Repr, Value};
use proptest::prelude::*;

use super::*;

const THIN_TO_MS: i64 = 60_000;

/// A gauge, a counter, a state, a text, a gauge that is an alarm, another gauge.
fn schema() -> (SchemaId, Schema) {
    let series = |(point, kind, class): (&str, Kind, Option<&str>)| Series {
        device: 0,
        point: point.into(),
        unit: String::new(),
        kind,
        repr: if kind == Kind::Text { Repr::Text } else { Repr::Unsigned },
        labels: class.map(|class| (CLASS_LABEL.to_owned(), class.to_owned())).into_iter().collect(),
        states: BTreeMap::new(),
    };
    let all = [
        ("gauge", Kind::Gauge, None),
        ("counter", Kind::Counter, None),
        ("state", Kind::State, None),
        ("text", Kind::Text, None),
        ("alarm", Kind::Gauge, Some(CLASS_ALARM)),
        ("other", Kind::Gauge, Some("whatever")),
    ];
    let device = Device { name: "d".into(), profile: "p".into(), labels: Labels::new() };
    let schema = Schema { devices: vec![device], series: all.map(series).to_vec() };
    (schema.encode().unwrap().0, schema)
}

fn sample(series: u32, quality: char) -> Sample {
    let value = if series == 3 { Value::Text("x".into()) } else { Value::Unsigned(7) };
    match quality {
        'g' => Sample::Good(value),
        'u' => Sample::Uncertain(value, Reason::Stale),
        't' => Sample::Bad(Reason::Timeout),
        _ => Sample::Bad(Reason::LinkDown),
    }
}

/// A batch of one block with one series: `0g 10t` is a good reading at 0 s and a time-out 10 s later.
fn batch(series: u32, text: &str) -> Batch {
    let cells: Vec<(i64, char)> = text
        .split(' ')
        .map(|cell| cell.split_at(cell.len() - 1))
        .map(|(at, q)| (at.parse::<i64>().unwrap() * 1000, q.chars().next().unwrap()))
        .collect();
    let samples = cells.iter().map(|(_, quality)| sample(series, *quality)).collect();
    Batch {
        blocks: vec![Block { series: vec![series], times_ms: cells.iter().map(|(at_ms, _)| *at_ms).collect(), samples }],
        gaps: Vec::new(),
    }
}

fn times_s(batch: &Batch) -> Vec<i64> {
    batch.blocks.iter().flat_map(|block| &block.times_ms).map(|at_ms| at_ms / 1000).collect()
}

#[test]
fn of_a_fast_gauge_one_reading_stays_in_each_stretch() {
    for (name, batches, expected) in [
        ("often", &["0g 10g 20g 30g 40g 50g 60g 70g 119g 120g"][..], &[&[0, 60, 120][..]][..]),
        ("as often as that is not fast", &["0g 60g 120g"], &[&[0, 60, 120]]),
        ("a little more often", &["0g 59g 118g 177g"], &[&[0, 118]]),
        ("over batches", &["0g 30g", "40g 50g 65g", "70g 80g 125g"], &[&[0], &[65], &[125]]),
        ("one stays in each batch", &["0g 30g", "40g 50g", "55g 59g", "61g"], &[&[0], &[40], &[55], &[61]]),
        ("where something begins to fail and ends", &["0g 10g 20t 30t 40t 50g 55g"], &[&[0, 20, 50]]),
        ("another reason", &["0t 10t 20l 30l 40u"], &[&[0, 20, 40]]),
        ("failing all the time", &["0t 10t 20t 60t 70t"], &[&[0, 60]]),
        ("a clock that went back", &["100g 110g 50g 60g 115g"], &[&[100, 50, 115]]),
        ("the same time twice", &["5g 5g"], &[&[5]]),
    ] {
        let (id, schema) = schema();
        let mut thinner = Thinner::new(THIN_TO_MS);
        for (number, (text, expected)) in batches.iter().zip(expected).enumerate() {
            let (seq, before) = (number as u64 + 1, batch(0, text));
            let thinned = thinner.thin(seq, id, &schema, &before);
            let after = thinned.clone().unwrap_or_else(|| before.clone());
            assert_eq!(times_s(&after), *expected, "{name}, batch {seq}");
            let gone: Vec<i64> = times_s(&before).into_iter().filter(|at_s| !expected.contains(at_s)).collect();
            let twice = times_s(&before).len() - gone.len() > expected.len();
            let Some(gap) = thinned.as_ref().and_then(|thinned| own_record(seq, &thinned.gaps)) else {
                assert!(gone.is_empty() && !twice, "{name}, batch {seq}: {gone:?}");
                continue;
            };
            if !twice {
                assert_eq!(
                    (gap.from_ms / 1000, gap.to_ms / 1000),
                    (*gone.iter().min().unwrap(), *gone.iter().max().unwrap()),
                    "{name}, batch {seq}"
                );
            }
            assert_eq!(gap.readings as usize, times_s(&before).len() - expected.len(), "{name}, batch {seq}");
        }
    }
}

#[test]
fn only_gauges_are_thinned_out() {
    let (id, schema) = schema();
    let classes = [Class::Gauge, Class::Counter, Class::State, Class::State, Class::Alarm, Class::Gauge];
    assert!(Class::Alarm > Class::Counter && Class::Counter > Class::State && Class::State > Class::Gauge);
    for (index, class) in classes.into_iter().enumerate() {
        assert_eq!(Class::of(&schema.series[index]), class);
        let thinned = Thinner::new(THIN_TO_MS).thin(1, id, &schema, &batch(index as u32, "0g 1g 2g"));
        assert_eq!(thinned.is_some(), class == Class::Gauge, "series {index}");
    }
}

#[test]
fn a_batch_that_stays_whole_counts_for_those_after_it() {
    let (id, schema) = schema();
    let mut thinner = Thinner::new(THIN_TO_MS);
    thinner.pass(id, &batch(0, "0g 50g"));
    let after = thinner.thin(2, id, &schema, &batch(0, "60g 100g 110g")).unwrap();
    assert_eq!(times_s(&after), [110]);
    // Another schema may mean another series.
    let other = thinner.thin(3, SchemaId(id.0 ^ 1), &schema, &batch(0, "120g 130g")).unwrap();
    assert_eq!(times_s(&other), [120]);
}

#[test]
fn what_a_batch_carried_it_carries_on() {
    let (id, schema) = schema();
    let carried = Gap { from_ms: 1, to_ms: 2, first_seq: 5, last_seq: 6, readings: 7, reason: GapReason::Thinned };
    let before = Batch { gaps: vec![carried.clone()], ..batch(0, "0g 10g") };
    let after = Thinner::new(THIN_TO_MS).thin(9, id, &schema, &before).unwrap();
    assert_eq!((after.gaps.len(), &after.gaps[0], own_record(9, &after.gaps).unwrap().readings), (2, &carried, 1));
    assert_eq!(own_record(5, &after.gaps), None);
}

fn cells(batch: &Batch) -> Vec<(u32, i64, Sample)> {
    let mut cells = Vec::new();
    for block in &batch.blocks {
        for (series, samples) in columns(block) {
            cells.extend(block.times_ms.iter().zip(samples).map(|(at_ms, sample)| (series, *at_ms, sample.clone())));
        }
    }
    cells
}

fn block() -> impl Strategy<Value = Block> {
    (proptest::collection::btree_set(0u32..6, 1..6), proptest::collection::vec(0i64..100_000, 1..8)).prop_flat_map(|(series, times_ms)| {
        let count = series.len() * times_ms.len();
        let quality = prop_oneof![6 => Just('g'), 1 => Just('t'), 1 => Just('u')];
        proptest::collection::vec(quality, count).prop_map(move |qualities| {
            let series: Vec<u32> = series.iter().copied().collect();
            let of = |place: usize| series[place / times_ms.len()];
            let samples = qualities.iter().enumerate().map(|(place, quality)| sample(of(place), *quality)).collect();
            Block { samples, series: series.clone(), times_ms: times_ms.clone() }
        })
    })
}

proptest! {
    #[test]
    fn what_stays_and_what_is_on_record_is_all_there_was(batches in proptest::collection::vec(proptest::collection::vec(block(), 1..4), 1..6)) {
        let (id, schema) = schema();
        let mut thinner = Thinner::new(THIN_TO_MS);
        for (seq, blocks) in (1u64..).zip(batches) {
            let before = Batch { blocks, gaps: Vec::new() };
            let Some(after) = thinner.thin(seq, id, &schema, &before) else { continue };
            let gap = own_record(seq, &after.gaps).unwrap();
            prop_assert!(gap.readings > 0 && after.readings() > 0);
            prop_assert_eq!(after.readings() as u64 + gap.readings, before.readings() as u64);
            let mut gone = cells(&before);
            for cell in cells(&after) {
                let place = gone.iter().position(|other| *other == cell);
                prop_assert!(place.is_some(), "{cell:?} never was");
                gone.remove(place.unwrap());
            }
            prop_assert!(gone.iter().all(|(series, ..)| [0, 5].contains(series)), "{gone:?}");
            let times_ms = || gone.iter().map(|(_, at_ms, _)| *at_ms);
            prop_assert_eq!((Some(gap.from_ms), Some(gap.to_ms)), (times_ms().min(), times_ms().max()));
            let body = after.encode(id, &schema).unwrap();
            prop_assert_eq!(pattoo_wire::Body::open(&body).unwrap().decode(id, &schema).unwrap(), after);
        }
    }
}
