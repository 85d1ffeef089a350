use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use pattoo_wire::{Body, Decimal, GapReason, Kind, Labels, MAX_SERIES};
use proptest::prelude::*;

use super::*;
use crate::config::{Batching, Buffer, Clock, Device, Uplink};
use crate::driver::host::Metric;
use crate::profile::{ModbusLimits, Point, Profile, Read};
use crate::reading::{DeviceIndex, PointIndex, Row};
use crate::timebase::Trust;

const EVERY_MS: i64 = 10_000;

/// A configuration of devices that each have these points; `table` ones have rows.
pub(crate) fn config(devices: usize, points: &[(&str, Repr, bool)]) -> Config {
    let points = points
        .iter()
        .map(|(name, repr, table)| Point {
            name: (*name).into(),
            unit: "V".into(),
            kind: Kind::Gauge,
            alarm: name.starts_with("alarm"),
            repr: *repr,
            every: None,
            states: BTreeMap::new(),
            range: None,
            read: Read::Host(if *table { Metric::FilesystemUsed } else { Metric::Load1 }),
            writable: None,
        })
        .collect();
    let modbus = ModbusLimits { max_registers: 125, max_gap: 0, min_gap: Duration::ZERO, ..ModbusLimits::default() };
    let profile = std::sync::Arc::new(Profile {
        id: "test".into(),
        manufacturer: String::new(),
        model: String::new(),
        modbus,
        bacnet: Default::default(),
        signature: None,
        points,
    });
    Config {
        gateway: "g1".into(),
        uplink: Uplink::to(String::new()),
        buffer: Buffer { path: PathBuf::new(), ..Buffer::default() },
        batch: Batching { every: Duration::from_millis(EVERY_MS as u64) },
        clock: Clock { trust: Trust::Auto, ntp_file: PathBuf::new() },
        commands: Default::default(),
        links: Vec::new(),
        devices: (0..devices)
            .map(|i| Device {
                name: format!("d{i}"),
                profile: std::sync::Arc::clone(&profile),
                unit: 0,
                every: Duration::from_secs(10),
                labels: Labels::new(),
            })
            .collect(),
    }
}

const DECIMAL: Repr = Repr::Decimal { exponent: -1 };

fn decimal(mantissa: i64) -> Sample {
    Sample::Good(Value::Decimal(Decimal { mantissa, exponent: -1 }))
}

fn transaction(device: usize, at_ms: i64, samples: impl IntoIterator<Item = (usize, Sample)>) -> Transaction {
    let readings = samples.into_iter().map(|(point, sample)| Reading { point: PointIndex(point), row: None, sample }).collect();
    Transaction { device: DeviceIndex(device), at_ms, readings }
}

fn row(identity: &str, sample: Sample) -> Reading {
    let row = std::sync::Arc::new(Row::new(identity, Labels::new()));
    Reading { point: PointIndex(0), row: Some(row), sample }
}

#[test]
fn a_source_may_name_a_series_and_its_unit_and_change_labels_but_not_the_unit() {
    let mut builder = Builder::new(&config(1, &[("u", DECIMAL, true)])).unwrap();
    let mut push = |at_ms, row: Row| {
        let readings = vec![Reading { point: PointIndex(0), row: Some(row.into()), sample: decimal(at_ms) }];
        builder.push(at_ms, Transaction { device: DeviceIndex(0), at_ms, readings });
        let closed = builder.flush().closed;
        let series = closed[0].dictionary.schema.series.iter().map(|s| (s.point.clone(), s.unit.clone(), s.labels.clone())).collect();
        let found: Vec<_> = decoded(&closed).into_iter().map(|(_, point, _, sample)| (point, sample)).collect();
        (closed[0].schema(), series, found)
    };
    let label = |text: &str| Labels::from([("alias".to_owned(), text.to_owned())]);
    let port = |alias| Row::new("eth0", label(alias));
    let (first, series, found): (_, Vec<_>, _) = push(1, port("to the roof"));
    assert_eq!((series, found), (vec![("u[eth0]".into(), "V".into(), label("to the roof"))], vec![("u[eth0]".into(), decimal(1))]));
    assert_eq!(push(2, port("to the roof")).0, first, "nothing is new");
    let (second, series, _) = push(3, port("to the cellar"));
    assert_eq!(series, [("u[eth0]".into(), "V".into(), label("to the cellar"))]);
    assert_ne!(second, first);

    let own = |unit: &str| Row { point: Some("flow".into()), unit: Some(unit.into()), ..Row::default() };
    let (_, series, found) = push(4, own("m3/h"));
    assert_eq!((&series[1], found), (&("flow".into(), "m3/h".into(), Labels::new()), vec![("flow".into(), decimal(4))]));
    let (_, series, found) = push(5, own("L/s"));
    assert_eq!((series.len(), found), (2, vec![("flow".into(), Sample::Bad(Reason::Mismatch))]), "litres are no cubic metres");
}

/// Readings of closed batches, as they decode from their bytes: (device, point, time, sample).
fn decoded(closed: &[Closed]) -> Vec<(String, String, i64, Sample)> {
    let mut found = Vec::new();
    for closed in closed {
        let (id, schema) = Schema::decode(&closed.dictionary.message).unwrap();
        assert!(closed.body.len() <= MAX_OPEN_BYTES, "{}", closed.body.len());
        let batch = Body::open(&closed.body).unwrap().decode(id, &schema).unwrap();
        assert_eq!(batch.readings() as u64, closed.readings);
        for block in &batch.blocks {
            for (index, samples) in block.series.iter().zip(block.samples.chunks(block.times_ms.len())) {
                let series = &schema.series[*index as usize];
                let device = &schema.devices[series.device as usize].name;
                for (at_ms, sample) in block.times_ms.iter().zip(samples) {
                    assert!((closed.from_ms..=closed.to_ms).contains(at_ms));
                    found.push((device.clone(), series.point.clone(), *at_ms, sample.clone()));
                }
            }
        }
    }
    found
}

#[test]
fn transactions_with_the_same_points_share_a_block_and_a_batch_closes_when_its_oldest_reading_is_due() {
    let mut builder = Builder::new(&config(2, &[("u", DECIMAL, false), ("i", DECIMAL, false)])).unwrap();
    assert_eq!(builder.deadline_ms(), None);
    for (at_ms, device) in [(1000, 0), (1001, 1), (2000, 0), (2001, 1)] {
        // The second reply names the points the other way round.
        let points = if at_ms < 2000 { [0, 1] } else { [1, 0] };
        let pushed = builder.push(at_ms, transaction(device, at_ms, points.map(|p| (p, decimal(at_ms + p as i64)))));
        assert!(pushed.closed.is_empty() && pushed.refused == 0);
    }
    assert_eq!(builder.deadline_ms(), Some(11_000));
    assert!(builder.tick(10_999).closed.is_empty());
    let closed = builder.tick(11_000).closed;
    assert_eq!(closed.len(), 1);
    assert_eq!((closed[0].readings, closed[0].from_ms, closed[0].to_ms), (8, 1000, 2001));
    let blocks: Vec<_> = closed[0].batch.blocks.iter().map(|b| (b.series.clone(), b.times_ms.clone())).collect();
    assert_eq!(blocks, [(vec![0, 1], vec![1000, 2000]), (vec![2, 3], vec![1001, 2001])]);
    assert_eq!(decoded(&closed)[3], ("d0".into(), "i".into(), 2000, decimal(2001)));
    assert_eq!(builder.deadline_ms(), None);
    assert!(builder.flush().closed.is_empty());
}

#[test]
fn a_batch_has_held_times_or_utc_and_lies_on_one_side_of_a_jump() {
    let mut builder = Builder::new(&config(1, &[("u", DECIMAL, false)])).unwrap();
    let boot = BootId(7);
    let read = |builder: &mut Builder, at_ms| assert!(builder.push(at_ms, transaction(0, at_ms, [(0, decimal(at_ms))])).closed.is_empty());
    let times = |closed: &Closed| closed.batch.blocks.iter().flat_map(|block| block.times_ms.clone()).collect::<Vec<_>>();

    assert!(builder.set_times(Times::Held(boot), None).closed.is_empty());
    read(&mut builder, 1_000);
    assert!(builder.set_times(Times::Held(boot), None).closed.is_empty());
    read(&mut builder, 2_000);
    // Time becomes known.
    let [held] = builder.set_times(Times::Utc { offset_ms: 50_000 }, None).closed.try_into().unwrap();
    assert_eq!((times(&held), held.held, held.step, held.from_ms, held.to_ms), (vec![1_000, 2_000], Some(boot), None, 1_000, 2_000));
    read(&mut builder, 3_000);
    // A small correction splits nothing.
    assert!(builder.set_times(Times::Utc { offset_ms: 50_010 }, None).closed.is_empty());
    read(&mut builder, 4_000);
    // Jumps do, and their sum goes with the next batch.
    let jump = |from_ms, to_ms| Some(Step { from_ms, to_ms });
    let [before] = builder.set_times(Times::Utc { offset_ms: 90_010 }, jump(55_000, 95_000)).closed.try_into().unwrap();
    assert_eq!((times(&before), before.held, before.step), (vec![53_000, 54_010], None, None));
    assert!(builder.set_times(Times::Utc { offset_ms: 90_010 }, jump(96_000, 96_000)).closed.is_empty());
    assert!(builder.set_times(Times::Utc { offset_ms: 40_010 }, jump(97_000, 47_000)).closed.is_empty());
    read(&mut builder, 8_000);
    let [after] = builder.flush().closed.try_into().unwrap();
    assert_eq!((times(&after), after.step), (vec![48_010], jump(57_000, 47_000)));
    let gap = after.step_gap(9).unwrap();
    assert_eq!((gap.from_ms, gap.to_ms, gap.first_seq, gap.last_seq, gap.readings), (47_000, 57_000, 9, 10, 0));
    assert_eq!(gap.reason, GapReason::ClockStep);
    let forward = Closed { step: jump(1, 5), ..after }.step_gap(9).unwrap();
    assert_eq!((forward.from_ms, forward.to_ms, forward.first_seq, forward.last_seq), (1, 5, 9, 9));
    read(&mut builder, 9_000);
    assert_eq!(builder.flush().closed[0].step, None);
}

#[test]
fn a_new_row_of_a_table_gets_a_series_and_the_schema_another_id() {
    let mut builder = Builder::new(&config(1, &[("used", DECIMAL, true), ("load", DECIMAL, false)])).unwrap();
    let before = builder.dictionary().unwrap();
    assert_eq!(before.schema.series.iter().map(|s| s.point.as_str()).collect::<Vec<_>>(), ["load"]);
    let readings = vec![row("/", decimal(1)), row("/var", decimal(2))];
    let pushed = builder.push(0, Transaction { device: DeviceIndex(0), at_ms: 5, readings });
    assert_eq!(pushed.refused, 0);
    let closed = builder.flush().closed;
    assert_ne!(closed[0].schema(), before.id);
    let names: Vec<_> = closed[0].dictionary.schema.series.iter().map(|s| s.point.as_str()).collect();
    assert_eq!(names, ["load", "used[/]", "used[/var]"]);
    assert_eq!(decoded(&closed).len(), 2);
}

#[test]
fn an_alarm_says_so_in_the_schema() {
    let mut builder = Builder::new(&config(1, &[("alarm_word", DECIMAL, false), ("power", DECIMAL, false)])).unwrap();
    let classes: Vec<_> = builder.dictionary().unwrap().schema.series.iter().map(|series| series.labels.get("class").cloned()).collect();
    assert_eq!(classes, [Some("alarm".to_owned()), None]);
}

#[test]
fn a_value_that_its_series_cannot_represent_is_a_bad_reading_and_costs_no_other() {
    let mut builder = Builder::new(&config(1, &[("u", DECIMAL, false), ("t", Repr::Text, false), ("n", Repr::Unsigned, false)])).unwrap();
    let long = Sample::Uncertain(Value::Text("x".repeat(MAX_TEXT_BYTES + 1)), Reason::Stale);
    let other = Sample::Good(Value::int(3));
    builder.push(0, transaction(0, 7, [(0, other), (1, long), (2, Sample::Good(Value::Unsigned(u64::MAX)))]));
    let samples: Vec<_> = decoded(&builder.flush().closed).into_iter().map(|(.., sample)| sample).collect();
    assert_eq!(samples, [Sample::Bad(Reason::Overflow), Sample::Bad(Reason::Overflow), Sample::Good(Value::Unsigned(u64::MAX))]);
}

#[test]
fn series_over_the_limit_are_counted_and_the_rest_goes_on() {
    let mut builder = Builder::new(&config(1, &[("used", DECIMAL, true)])).unwrap();
    let rows = MAX_SERIES + 3;
    let mut seen = Vec::new();
    let mut refused = 0;
    for first in (0..rows).step_by(1000) {
        let readings = (first..rows.min(first + 1000)).map(|i| row(&i.to_string(), decimal(i as i64))).collect();
        let pushed = builder.push(0, Transaction { device: DeviceIndex(0), at_ms: 1, readings });
        refused += pushed.refused;
        seen.extend(pushed.closed);
    }
    let again = builder.push(0, Transaction { device: DeviceIndex(0), at_ms: 2, readings: vec![row(&(rows - 1).to_string(), decimal(1))] });
    assert_eq!(again.refused, 1, "a refused series stays refused");
    assert!(again.reason.unwrap().contains("32768"));
    seen.extend(again.closed);
    seen.extend(builder.flush().closed);
    assert_eq!((refused, decoded(&seen).len()), (3, MAX_SERIES));
    let long = builder.push(0, Transaction { device: DeviceIndex(0), at_ms: 2, readings: vec![row(&"x".repeat(300), decimal(1))] });
    assert_eq!(long.refused, 1);
}

#[test]
fn gap_records_always_find_room() {
    let mut builder = Builder::new(&config(1, &[("t", Repr::Text, false)])).unwrap();
    let text = |n: usize| Sample::Good(Value::Text("x".repeat(n)));
    let mut closed = Vec::new();
    for i in 0..40 {
        closed.extend(builder.push(0, transaction(0, i64::MAX - i, [(0, text(100 + 20 * i as usize))])).closed);
    }
    let gap = Gap {
        from_ms: i64::MIN / 2,
        to_ms: i64::MAX / 2,
        first_seq: u64::MAX / 2,
        last_seq: u64::MAX,
        readings: u64::MAX,
        reason: GapReason::Other(255),
    };
    assert!(closed.len() >= 2);
    for closed in closed {
        let body = closed.with_gaps(&vec![gap.clone(); MAX_CARRIED_GAPS]).unwrap();
        let body = Body::open(&body).unwrap();
        assert_eq!(body.gaps().unwrap().len(), MAX_CARRIED_GAPS);
        assert_eq!(body.decode(closed.schema(), &closed.dictionary.schema).unwrap().blocks, closed.batch.blocks);
    }
}

#[test]
fn a_full_batch_of_plain_numbers_is_nearly_as_large_as_it_may_be() {
    let names: Vec<String> = (0..80).map(|i| format!("p{i}")).collect();
    let points: Vec<_> = names.iter().map(|name| (name.as_str(), DECIMAL, false)).collect();
    let mut builder = Builder::new(&config(1, &points)).unwrap();
    let mut closed = Vec::new();
    for tick in 0..200 {
        closed
            .extend(builder.push(0, transaction(0, tick * 1000, (0..80).map(|p| (p, decimal(2300 + (tick * 7 + p as i64) % 11))))).closed);
    }
    assert!(!closed.is_empty());
    assert!(closed.iter().all(|c| c.body.len() > MAX_OPEN_BYTES - 200), "{:?}", closed.iter().map(|c| c.body.len()).collect::<Vec<_>>());
}

#[test]
fn a_description_has_every_reading_with_all_its_digits() {
    let points =
        [("u", DECIMAL, false), ("n", Repr::Unsigned, false), ("t", Repr::Text, false), ("f", Repr::F32, false), ("b", Repr::Bool, false)];
    let mut builder = Builder::new(&config(1, &points)).unwrap();
    let samples = [
        decimal(2300),
        Sample::Good(Value::Unsigned(u64::MAX)),
        Sample::Uncertain(Value::Text("a\"b".into()), Reason::Stale),
        Sample::Good(Value::F32(f32::NAN)),
        Sample::Bad(Reason::Timeout),
    ];
    builder.push(0, transaction(0, 12, samples.into_iter().enumerate()));
    let closed = builder.flush().closed.remove(0);
    let text = describe(&closed.batch, &closed.dictionary.schema);
    assert_eq!(
        text,
        r#"[["d0","u",12,230.0,"good"],["d0","n",12,18446744073709551615,"good"],["d0","t",12,"a\"b","uncertain"],["d0","f",12,"NaN","good"],["d0","b",12,null,"bad"]]"#
    );
    assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap()[1][3], u64::MAX);
}

fn sample(repr: Repr) -> BoxedStrategy<Sample> {
    let value = match repr {
        Repr::Text => "[a-z]{0,1000}".prop_map(Value::Text).boxed(),
        Repr::Unsigned => any::<u64>().prop_map(Value::Unsigned).boxed(),
        Repr::Bool => any::<bool>().prop_map(Value::Bool).boxed(),
        _ => any::<i64>().prop_map(|mantissa| Value::Decimal(Decimal { mantissa, exponent: -1 })).boxed(),
    };
    prop_oneof![
        3 => value.clone().prop_map(Sample::Good),
        1 => (value, 1u16..9).prop_map(|(v, r)| Sample::Uncertain(v, Reason::from_code(r))),
        1 => (1u16..9).prop_map(|r| Sample::Bad(Reason::from_code(r))),
    ]
    .boxed()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Whatever comes in goes out, each reading once, in order per series, within the limits.
    #[test]
    fn no_reading_is_lost_or_doubled(
        ticks in prop::collection::vec((0usize..3, any::<i64>(), prop::collection::vec(any::<prop::sample::Index>(), 1..400)), 1..40),
        pool in prop::collection::vec((sample(DECIMAL), sample(Repr::Unsigned), sample(Repr::Text), sample(Repr::Bool)), 1..20),
    ) {
        const REPRS: [Repr; 4] = [DECIMAL, Repr::Unsigned, Repr::Text, Repr::Bool];
        let names: Vec<String> = (0..400).map(|i| format!("p{i}")).collect();
        let points: Vec<_> = names.iter().enumerate().map(|(i, name)| (name.as_str(), REPRS[i % 4], false)).collect();
        let mut builder = Builder::new(&config(3, &points)).unwrap();
        let mut sent = BTreeMap::<_, Vec<_>>::new();
        let mut closed = Vec::new();
        for (device, at_ms, asked) in ticks {
            let samples: BTreeMap<usize, Sample> = asked.iter().enumerate().map(|(i, index)| {
                let (d, u, t, b) = &pool[i % pool.len()];
                let point = index.index(400);
                (point, [d, u, t, b][point % 4].clone())
            }).collect();
            for (point, sample) in &samples {
                sent.entry((format!("d{device}"), format!("p{point}"))).or_default().push((at_ms, sample.clone()));
            }
            let pushed = builder.push(0, transaction(device, at_ms, samples));
            prop_assert_eq!(pushed.refused, 0, "{:?}", pushed.reason);
            closed.extend(pushed.closed);
        }
        closed.extend(builder.flush().closed);
        let mut received = BTreeMap::<_, Vec<_>>::new();
        for (device, point, at_ms, sample) in decoded(&closed) {
            received.entry((device, point)).or_default().push((at_ms, sample));
        }
        // Within a batch, blocks of one series may interleave in time of arrival; across them nothing is lost or doubled.
        for list in sent.values_mut().chain(received.values_mut()) {
            list.sort_by_key(|(at_ms, sample)| (*at_ms, format!("{sample:?}")));
        }
        prop_assert_eq!(format!("{sent:?}"), format!("{received:?}"));
    }
}
