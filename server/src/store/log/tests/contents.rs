//! Commits as the content of records.

use pattoo_wire::{Decimal, Gap, GapReason, Reason, Sample, Value};
use proptest::prelude::*;

use super::super::content::{read, write};
use crate::store::{Block, Commit, Reading, Readings, Receipt, SeriesId, StreamState};

const V1: &str = include_str!("golden-v1.hex");
const V2: &str = include_str!("golden-v2.hex");

fn values() -> impl Strategy<Value = Value> {
    prop_oneof![
        (any::<i64>(), any::<i8>()).prop_map(|(mantissa, exponent)| Value::Decimal(Decimal { mantissa, exponent })),
        any::<u64>().prop_map(Value::Unsigned),
        any::<u32>().prop_map(|bits| Value::F32(f32::from_bits(bits))),
        any::<u64>().prop_map(|bits| Value::F64(f64::from_bits(bits))),
        any::<bool>().prop_map(Value::Bool),
        ".{0,20}".prop_map(Value::Text),
    ]
}

fn readings() -> impl Strategy<Value = (SeriesId, Reading)> {
    let ids = prop_oneof![0u32..20, Just(u32::MAX)];
    let times = prop_oneof![0i64..5, any::<i64>(), Just(i64::MIN), Just(i64::MAX)];
    (ids, times, values(), any::<u16>(), 0..4).prop_map(|(id, at_ms, value, code, quality)| {
        let reason = Reason::from_code(code);
        let sample = match quality {
            0 => Sample::Uncertain(value, reason),
            1 => Sample::Bad(reason),
            _ => Sample::Good(value),
        };
        (SeriesId(id), Reading { at_ms, sample })
    })
}

/// Blocks whose columns are of one kind as a rule.
fn blocks() -> impl Strategy<Value = Readings> {
    let column = prop::collection::vec((values(), prop::collection::vec(readings(), 4)), 1..5);
    let block = (column, 1usize..5, any::<i64>()).prop_map(|(columns, ticks, from_ms)| {
        let series = columns.iter().filter_map(|(_, readings)| readings.first()).map(|(id, _)| *id).collect();
        let times_ms = columns.iter().flat_map(|(_, readings)| readings).map(|(_, reading)| reading.at_ms ^ from_ms).take(ticks).collect();
        let samples = columns.iter().flat_map(|(value, readings)| {
            let odd = readings.iter().all(|(_, reading)| matches!(reading.sample, Sample::Good(_)));
            readings.iter().take(ticks).map(move |(_, reading)| if odd { Sample::Good(value.clone()) } else { reading.sample.clone() })
        });
        Block::new(series, times_ms, samples.collect())
    });
    prop::collection::vec(block, 0..5).prop_map(|blocks| {
        let mut readings = Readings::default();
        blocks.into_iter().for_each(|block| readings.push_block(block));
        readings
    })
}

fn gap(first_seq: u64, from_ms: i64) -> Gap {
    Gap { from_ms, to_ms: from_ms.wrapping_add(9), first_seq, last_seq: first_seq, readings: 7, reason: GapReason::TooOld }
}

proptest! {
    #[test]
    fn every_commit_comes_back(single in prop::collection::vec(readings(), 0..60), blocks in blocks(), numbers in prop::collection::vec(any::<u64>(), 0..6), name in "[a-z]{1,9}") {
        let receipt = |seq: u64| Receipt { seq, place: seq ^ 5, crc: seq as u32, readings: 3, times_ms: seq.is_multiple_of(2).then_some((-5, seq as i64)) };
        let state = |stream: u64| StreamState { gateway: name.clone(), stream, contiguous: stream / 2, ahead: vec![(stream, u64::MAX)] };
        let mut readings = Readings::from(single);
        readings.append(blocks);
        let commit = Commit {
            readings,
            gaps: numbers.iter().map(|n| (name.clone(), *n, gap(*n, *n as i64))).collect(),
            forgotten_gaps: numbers.iter().map(|n| (name.clone(), n ^ 1, gap(*n, 1))).collect(),
            streams: numbers.iter().map(|n| state(*n)).collect(),
            receipts: numbers.iter().map(|n| (name.clone(), *n, receipt(*n))).collect(),
            forgotten_receipts: numbers.iter().map(|n| (name.clone(), *n, n / 3)).collect(),
            forgotten_streams: numbers.iter().map(|n| (name.clone(), *n)).collect(),
            ..Commit::default()
        };
        let content = write(&commit).unwrap();
        let back = read(&content).unwrap();
        // NaN differs from itself, so the bits are compared through a second writing.
        prop_assert_eq!(write(&back).unwrap(), content);
        prop_assert_eq!(format!("{back:?}"), format!("{commit:?}"));
    }

    #[test]
    fn any_bytes_are_read_without_panic(mut bytes in prop::collection::vec(any::<u8>(), 1..200)) {
        let _ = read(&bytes);
        for format in [1, 2] {
            bytes[0] = format;
            let _ = read(&bytes);
        }
    }
}

#[test]
fn series_and_schemas_come_back() {
    let entry = crate::store::contract::entry(SeriesId(9), "V");
    let schema = crate::store::contract::schema("a");
    let id = schema.encode().unwrap().0;
    let commit = Commit {
        series: vec![entry],
        schemas: vec![("g1".into(), id, schema)],
        forgotten_schemas: vec![("g1".into(), id)],
        ..Commit::default()
    };
    assert_eq!(read(&write(&commit).unwrap()).unwrap(), commit);
}

#[test]
fn a_poll_takes_few_bytes() {
    let poll = (1..=20u32).map(|id| (SeriesId(id), Reading { at_ms: 1_700_000_000_000, sample: Sample::Good(Value::int(2300)) }));
    let commit = Commit { readings: poll.collect(), ..Commit::default() };
    assert!(write(&commit).unwrap().len() <= 20 * 4 + 25);
    // Those that follow are steps.
    let samples = (0..100).map(|cell| Sample::Good(Value::int(2300 + cell % 5))).collect();
    let mut commit = Commit::default();
    commit.readings.push_block(Block::new((1..=20).map(SeriesId).collect(), (0..5).map(|tick| tick * 10_000).collect(), samples));
    assert!(write(&commit).unwrap().len() <= 20 * (4 + 4) + 35);
}

/// Readings one by one, each of another kind.
fn a_few() -> Commit {
    let reading = |id, at_ms, sample| (SeriesId(id), Reading { at_ms, sample });
    let readings = vec![
        reading(7, 1_700_000_000_000, Sample::Good(Value::Decimal(Decimal { mantissa: -2301, exponent: -1 }))),
        reading(8, 1_700_000_000_000, Sample::Uncertain(Value::F32(0.5), Reason::Stale)),
        reading(8, 1_700_000_000_010, Sample::Bad(Reason::Timeout)),
        reading(3, 5, Sample::Good(Value::Text("ok".into()))),
    ];
    Commit { readings: readings.into(), gaps: vec![("g1".into(), 7, gap(4, 100))], ..Commit::default() }
}

/// Polls of series of every kind.
fn polls() -> Block {
    let value = |series: u32, tick: u32| match series {
        0 => Value::Decimal(Decimal { mantissa: 2301 + i64::from(tick), exponent: -1 }),
        1 => Value::Unsigned((u64::MAX - 1).wrapping_add(u64::from(tick))),
        2 => Value::F32(0.5),
        3 => Value::F64(f64::from(tick)),
        4 => Value::Bool(tick != 1),
        _ => Value::Text(format!("t{tick}")),
    };
    let sample = |series, tick| match (series, tick) {
        (6, 0) => Sample::Bad(Reason::Timeout),
        (6, 1) => Sample::Uncertain(Value::Bool(true), Reason::Stale),
        _ => Sample::Good(value(series, tick)),
    };
    let samples = (0..7).flat_map(|series| (0..3).map(move |tick| sample(series, tick))).collect();
    Block::new((0..7).map(|series| SeriesId(10 + series)).collect(), vec![1_700_000_000_000, 1_700_000_010_000, 1_700_000_020_005], samples)
}

fn hex(segment: &[u8]) -> String {
    segment.chunks(64).map(|line| line.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + "\n").collect()
}

fn segment(content: &[u8]) -> Vec<u8> {
    let mut segment = super::super::frame::segment_head(41).to_vec();
    super::super::frame::put_record(&mut segment, 41, 40, content);
    segment
}

#[test]
fn a_segment_of_format_1_is_read_as_ever() {
    let digits: Vec<u8> = V1.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    let bytes: Vec<u8> = digits.chunks(2).map(byte).collect();
    let (head, record) = bytes.split_at(super::super::frame::SEGMENT_HEAD_BYTES);
    assert_eq!(super::super::frame::first_of(head), Some(41));
    assert_eq!(read(super::super::frame::take_record(record).unwrap().content).unwrap(), a_few());
}

#[test]
fn a_segment_of_format_2_is_read_and_written_as_ever() {
    let mut commit = a_few();
    commit.readings.push_block(polls());
    let written = hex(&segment(&write(&commit).unwrap()));
    if std::env::var_os("PATTOO_UPDATE_GOLDEN").is_some() {
        std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/src/store/log/tests/golden-v2.hex"), &written).unwrap();
    }
    assert_eq!(written, V2, "a segment is written otherwise than before: does a program of before read it?");
    assert_eq!(read(&write(&commit).unwrap()).unwrap(), commit);
}
