//! What a gateway that says where it stands is asked for, and what is on record of batches that will never come.

use pattoo_wire::{Ask, ClockSource, Echo, Hello, MAX_ACK_RANGES};

use super::super::asking::{ASK_EVERY_MS, HOLE_WAIT_MS};
use super::*;

fn hello(oldest: u64, next: u64) -> (String, Vec<u8>) {
    let hello = Hello { stream: STREAM, oldest, next, sent_ms: 77, time_ms: 1, source: ClockSource::None };
    (topic::hello("g1"), hello.encode().unwrap())
}

fn message(seq: u64, oldest: u64) -> (String, Vec<u8>) {
    (topic::data("g1"), data(&schema("V"), seq, oldest, &batch(seq)))
}

fn ask(missing: &[(u64, u64)], schemas: &[SchemaId]) -> (String, Ask) {
    ("g1".into(), Ask { stream: STREAM, echo: None, missing: missing.to_vec(), schemas: schemas.to_vec() })
}

fn answer(now_ms: i64, missing: &[(u64, u64)], schemas: &[SchemaId]) -> (String, Ask) {
    let (gateway, ask) = ask(missing, schemas);
    (gateway, Ask { echo: Some(Echo { sent_ms: 77, time_ms: now_ms }), ..ask })
}

fn not_held(bed: &Bed) -> Vec<(u64, u64)> {
    let gaps = bed.store.gaps("g1", 0, i64::MAX).unwrap();
    let own = gaps.iter().filter(|gap| gap.reason == GapReason::NotHeld);
    own.inspect(|gap| assert_eq!(gap.readings, 0)).map(|gap| (gap.first_seq, gap.last_seq)).collect()
}

#[test]
fn a_hello_is_answered_with_the_time_and_what_is_missing() {
    let mut bed = Bed::new();
    let first = bed.send_at(9000, &[hello(1, 1)]);
    assert_eq!((first.asks, first.acks), (vec![answer(9000, &[], &[])], vec![]));
    let (kv, _) = schema("kV").encode().unwrap();
    let waits = (topic::data("g1"), data(&schema("kV"), 8, 1, &batch(8)));
    // One answer to two hellos, of what the whole group has come to.
    let group = [message(1, 1), hello(1, 3), message(4, 1), message(6, 1), waits, hello(1, 10)];
    let processed = bed.send_at(9000, &group);
    assert_eq!(processed.asks, [answer(9000, &[(2, 3), (5, 5), (7, 9)], &[kv])]);
    assert_eq!(processed.acks, [("g1".into(), Ack { stream: STREAM, seq: 1, ahead: vec![(4, 4), (6, 6)] })]);
    assert_eq!(not_held(&bed), []);
    // What is lost on its way is acknowledged again.
    assert_eq!(acks(&bed.send(&[hello(1, 10)])), [1]);
}

#[test]
fn what_a_gateway_does_not_hold_and_never_came_is_on_record_and_the_stream_goes_on() {
    for by_hello in [true, false] {
        let mut bed = Bed::new();
        bed.send(&[message(1, 1), message(4, 1)]);
        bed.store.fail(Some("disk full"));
        let last = if by_hello { hello(7, 9) } else { message(7, 7) };
        assert!(bed.send(std::slice::from_ref(&last)).acks.is_empty());
        bed.store.fail(None);
        let processed = bed.send_at(9000, &[last]);
        assert_eq!(acks(&processed), [if by_hello { 6 } else { 7 }]);
        assert_eq!(processed.asks, if by_hello { vec![answer(9000, &[(7, 8)], &[])] } else { vec![] });
        assert_eq!(not_held(&bed), [(2, 3), (5, 6)]);
        bed.restart();
        // One of them comes after all, the gateway had dropped another.
        let gap = Gap { from_ms: 2000, to_ms: 4000, first_seq: 2, last_seq: 3, readings: 4, reason: GapReason::BufferFull };
        let with_gap = data(&schema("V"), 8, 7, &Batch { gaps: vec![gap.clone()], ..batch(8) });
        assert_eq!(acks(&bed.send(&[message(5, 5), message(7, 7), (topic::data("g1"), with_gap)])), [8]);
        assert_eq!(bed.stored("load").len(), 5);
        assert_eq!(not_held(&bed), [(6, 6)]);
        assert!(bed.store.gaps("g1", 2000, 4000).unwrap().contains(&gap));
    }
}

/// It would be taken for the word of an older buffer, and what came since would be forgotten.
#[test]
fn a_hello_that_comes_again_is_known_even_after_a_commit_that_failed() {
    let mut bed = Bed::new();
    bed.send(&[hello(1, 1)]);
    assert_eq!(acks(&bed.send(&[message(1, 1), message(2, 1)])), [2]);
    bed.store.fail(Some("disk full"));
    assert!(bed.send(&[message(3, 1)]).failed);
    bed.store.fail(None);
    assert_eq!(acks(&bed.send(&[hello(1, 1)])), [2]);
    assert_eq!(acks(&bed.send(&[message(3, 1)])), [3]);
}

#[test]
fn an_impossible_hello_is_refused() {
    let mut bed = Bed::new();
    for (oldest, next) in [(0, 5), (6, 5), (u64::MAX, 1)] {
        assert_eq!(bed.send(&[hello(oldest, next)]).asks, []);
    }
    assert_eq!(not_held(&bed), []);
    assert_eq!(bed.live.gateway("g1").unwrap().counters.rejects, BTreeMap::from([("invalid", 3)]));
}

#[test]
fn a_hello_is_told_the_time_even_when_the_store_fails() {
    let mut bed = Bed::new();
    bed.store.fail(Some("disk full"));
    let processed = bed.send_at(9000, &[message(1, 1), hello(1, 5)]);
    assert_eq!((processed.acks, processed.asks), (vec![], vec![answer(9000, &[], &[])]));
}

#[test]
fn acknowledgements_name_the_lowest_ranges_ahead() {
    let mut bed = Bed::new();
    let messages: Vec<_> = (1..=MAX_ACK_RANGES as u64 + 5).map(|n| message(2 * n, 1)).collect();
    let acks = bed.send(&messages).acks;
    let expected = (1..=MAX_ACK_RANGES as u64).map(|n| (2 * n, 2 * n)).collect();
    assert_eq!(acks, [("g1".into(), Ack { stream: STREAM, seq: 0, ahead: expected })]);
    acks[0].1.encode().unwrap();
}

#[test]
fn a_batch_that_stays_missing_is_asked_for_again_and_again_but_not_more_often() {
    let mut bed = Bed::new();
    let start = 100_000;
    for (after, messages, expected) in [
        (0, vec![message(1, 1), message(3, 1)], vec![]),
        (HOLE_WAIT_MS - 1, vec![message(6, 1)], vec![]),
        (HOLE_WAIT_MS, vec![message(3, 1)], vec![ask(&[(2, 2), (4, 5)], &[])]),
        (HOLE_WAIT_MS + ASK_EVERY_MS - 1, vec![message(7, 1)], vec![]),
        (HOLE_WAIT_MS + ASK_EVERY_MS, vec![message(8, 1)], vec![ask(&[(2, 2), (4, 5)], &[])]),
        // The next hole gets its own time.
        (HOLE_WAIT_MS + 2 * ASK_EVERY_MS, vec![message(2, 1)], vec![]),
        (2 * HOLE_WAIT_MS + 2 * ASK_EVERY_MS, vec![message(9, 1)], vec![ask(&[(4, 5)], &[])]),
        (1_000_000, vec![message(4, 1), message(5, 1)], vec![]),
        (2_000_000, vec![message(10, 1)], vec![]),
    ] {
        let asks = bed.send_at(start + after, &messages).asks;
        assert_eq!(asks, expected, "after {after}");
    }
}

#[test]
fn batches_that_waited_for_a_schema_are_asked_for_when_it_comes() {
    let mut bed = Bed::new();
    let (kv, schema_message) = schema("kV").encode().unwrap();
    let waits = |seq| (topic::data("g1"), data(&schema("kV"), seq, 1, &batch(seq)));
    let start = 100_000;
    let processed = bed.send_at(start, &[message(1, 1), waits(2), waits(3)]);
    assert_eq!((processed.asks, processed.schema_missing), (vec![ask(&[], &[kv])], true));
    assert_eq!(bed.send_at(start + ASK_EVERY_MS - 1, &[waits(2)]).asks, []);
    assert_eq!(bed.send_at(start + ASK_EVERY_MS, &[waits(2)]).asks, [ask(&[], &[kv])]);
    let came = (topic::schema("g1", kv), schema_message);
    assert_eq!(bed.send_at(start + ASK_EVERY_MS, std::slice::from_ref(&came)).asks, [ask(&[(2, 3)], &[])]);
    assert_eq!(bed.send_at(start + 3 * ASK_EVERY_MS, &[came, waits(2), waits(3)]).asks, []);
}
