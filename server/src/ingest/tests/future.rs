//! Readings from the far future, and gateways' clocks.

use pattoo_wire::{ClockSource, Hello};

use super::*;
use crate::config::DEFAULT_MAX_FUTURE;
use crate::live::Clock;

/// Somewhen in 2026.
const NOW_MS: i64 = 1_790_000_000_000;

/// Readings of both series at these times.
fn at(seq: u64, times_ms: &[i64]) -> (String, Vec<u8>) {
    let voltage = times_ms.iter().map(|_| Sample::Good(Value::int(1)));
    let load = times_ms.iter().map(|_| Sample::Good(Value::F64(0.5)));
    let block = Block { series: vec![0, 1], times_ms: times_ms.to_vec(), samples: voltage.chain(load).collect() };
    (topic::data("g1"), data(&schema("V"), seq, 1, &Batch { blocks: vec![block], gaps: vec![] }))
}

#[test]
fn what_comes_from_the_far_future_is_refused_on_record_and_the_stream_goes_on() {
    let mut bed = Bed::new();
    let limit = NOW_MS + DEFAULT_MAX_FUTURE.as_millis() as i64;
    let mixed = at(1, &[NOW_MS, limit, limit + 1]);
    for _ in 0..2 {
        assert_eq!(acks(&bed.send_at(NOW_MS, std::slice::from_ref(&mixed))), [1]);
    }
    let all = at(2, &[limit + 1_000_000]);
    assert_eq!(acks(&bed.send_at(NOW_MS + 5, &[all, at(3, &[NOW_MS + 1])])), [3]);
    assert_eq!(bed.stored("voltage").into_keys().collect::<Vec<_>>(), [NOW_MS, NOW_MS + 1, limit]);
    let record = |seq, ms, readings| Gap { from_ms: ms, to_ms: ms, first_seq: seq, last_seq: seq, readings, reason: GapReason::Refused };
    // Five of ten readings are stored, the others are on record at the time at which they came.
    assert_eq!(bed.store.gaps("g1", 0, i64::MAX).unwrap(), [record(1, NOW_MS, 2), record(2, NOW_MS + 5, 2)]);
    assert_eq!((bed.stored("load").len(), bed.letters()), (3, 2));
    assert_eq!(bed.live.gateway("g1").unwrap().counters.rejects, BTreeMap::from([("far_future", 2)]));
    // Their gateway drops them, although they came: that is on record already.
    let full = Gap { from_ms: 0, to_ms: 9, first_seq: 1, last_seq: 2, readings: 8, reason: GapReason::BufferFull };
    let dropped = data(&schema("V"), 4, 4, &Batch { blocks: vec![], gaps: vec![full] });
    assert_eq!(acks(&bed.send_at(NOW_MS, &[(topic::data("g1"), dropped)])), [4]);
    assert_eq!(bed.store.gaps("g1", 0, i64::MAX).unwrap().len(), 2);
}

#[test]
fn without_its_dead_letter_the_far_future_is_not_acknowledged() {
    let mut bed = Bed::new();
    std::fs::write(bed.folder.path().join("dead-letter"), "in the way").unwrap();
    let processed = bed.send_at(NOW_MS, &[at(1, &[NOW_MS, i64::MAX / 2])]);
    assert_eq!((processed.acks, bed.stored("load").len()), (vec![], 0));
    assert_eq!(bed.store.gaps("g1", 0, i64::MAX).unwrap(), []);
}

#[test]
fn a_hello_tells_how_far_off_the_clock_of_its_gateway_is() {
    let mut bed = Bed::new();
    let hello = Hello { stream: STREAM, oldest: 1, next: 1, sent_ms: 1, time_ms: NOW_MS - 3_600_000, source: ClockSource::Server };
    bed.send_at(NOW_MS, &[(topic::hello("g1"), hello.encode().unwrap())]);
    let clock = Clock { offset_ms: 3_600_000, source: ClockSource::Server, at_ms: NOW_MS };
    assert_eq!(bed.live.gateway("g1").unwrap().clock, Some(clock));
    bed.send_at(NOW_MS, &[at(1, &[NOW_MS])]);
    assert_eq!(bed.live.gateway("g1").unwrap().clock, Some(clock));
}
