//! Commits as the content of records.

use pattoo_wire::{Decimal, Gap, GapReason, Reason, Sample, Value};
use proptest::prelude::*;

use super::super::content::{read, write};
use crate::store::{Commit, Reading, Receipt, SeriesId, StreamState};

const V1: &str = include_str!("golden-v1.hex");

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

fn gap(first_seq: u64, from_ms: i64) -> Gap {
    Gap { from_ms, to_ms: from_ms.wrapping_add(9), first_seq, last_seq: first_seq, readings: 7, reason: GapReason::TooOld }
}

proptest! {
    #[test]
    fn every_commit_comes_back(readings in prop::collection::vec(readings(), 0..60), numbers in prop::collection::vec(any::<u64>(), 0..6), name in "[a-z]{1,9}") {
        let receipt = |seq: u64| Receipt { seq, place: seq ^ 5, crc: seq as u32, readings: 3, times_ms: seq.is_multiple_of(2).then_some((-5, seq as i64)) };
        let state = |stream: u64| StreamState { gateway: name.clone(), stream, contiguous: stream / 2, ahead: vec![(stream, u64::MAX)] };
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
        bytes[0] = 1;
        let _ = read(&bytes);
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
    assert!(write(&commit).unwrap().len() <= 20 * 4 + 20);
}

#[test]
fn a_segment_of_format_1_is_read_and_written_as_ever() {
    let reading = |id, at_ms, sample| (SeriesId(id), Reading { at_ms, sample });
    let commit = Commit {
        readings: vec![
            reading(7, 1_700_000_000_000, Sample::Good(Value::Decimal(Decimal { mantissa: -2301, exponent: -1 }))),
            reading(8, 1_700_000_000_000, Sample::Uncertain(Value::F32(0.5), Reason::Stale)),
            reading(8, 1_700_000_000_010, Sample::Bad(Reason::Timeout)),
            reading(3, 5, Sample::Good(Value::Text("ok".into()))),
        ],
        gaps: vec![("g1".into(), 7, gap(4, 100))],
        ..Commit::default()
    };
    let mut segment = super::super::frame::segment_head(41).to_vec();
    super::super::frame::put_record(&mut segment, 41, 40, &write(&commit).unwrap());
    let written: String = segment.chunks(64).map(|line| line.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + "\n").collect();
    if std::env::var_os("PATTOO_UPDATE_GOLDEN").is_some() {
        std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/src/store/log/tests/golden-v1.hex"), &written).unwrap();
    }
    assert_eq!(written, V1, "a segment is written otherwise than before: does a program of before read it?");
}
