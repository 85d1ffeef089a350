//! Batches that come again: the same, another one under its number, one that its gateway had given up, and from restored boxes.

use pattoo_wire::{ClockSource, Hello, compressed};

use super::*;
use crate::catalog::MIN_RECEIPTS;
use crate::store::embedded::Embedded;

fn message(seq: u64, oldest: u64, batch: &Batch) -> (String, Vec<u8>) {
    (topic::data("g1"), data(&schema("V"), seq, oldest, batch))
}

fn hello(oldest: u64, next: u64, sent_ms: u64) -> (String, Vec<u8>) {
    let hello = Hello { stream: STREAM, oldest, next, sent_ms, time_ms: 1, source: ClockSource::None };
    (topic::hello("g1"), hello.encode().unwrap())
}

/// Two readings, under any number.
fn other(value: u64) -> Batch {
    batch(value)
}

fn gap(first_seq: u64, last_seq: u64, readings: u64) -> Gap {
    Gap { from_ms: 0, to_ms: 9, first_seq, last_seq, readings, reason: GapReason::BufferFull }
}

fn counted(bed: &Bed) -> (u64, u64, u64) {
    let counters = bed.live.gateway("g1").unwrap().counters;
    (counters.batches, counters.replays, counters.changed)
}

fn times(bed: &Bed) -> Vec<i64> {
    bed.stored("voltage").into_keys().collect()
}

#[test]
fn the_same_content_is_a_replay_whatever_its_wrapping() {
    let mut bed = Bed::new();
    let long = Batch {
        blocks: vec![Block { series: vec![0], times_ms: (0..500).collect(), samples: vec![Sample::Good(Value::int(7)); 500] }],
        gaps: vec![],
    };
    let (id, _) = schema("V").encode().unwrap();
    let body = long.encode(id, &schema("V")).unwrap();
    let packed = compressed(body.clone()).unwrap();
    assert_ne!(body, packed);
    for (n, (body, oldest)) in [(&body, 1), (&packed, 1), (&body, 2), (&packed, 2)].into_iter().enumerate() {
        let message = data_message(&Header { stream: STREAM, seq: 2, oldest }, body).unwrap();
        bed.send(&[(topic::data("g1"), message)]);
        assert_eq!(counted(&bed), (1, n as u64, 0));
    }
}

#[test]
fn another_content_under_a_number_that_came_is_stored_as_well() {
    let mut bed = Bed::new();
    assert_eq!(acks(&bed.send(&[message(1, 1, &other(1)), message(2, 1, &other(2))])), [2]);
    bed.restart();
    assert_eq!(acks(&bed.send(&[message(1, 1, &other(8))])), [2]);
    assert_eq!((times(&bed), counted(&bed)), (vec![1000, 2000, 8000], (1, 0, 1)));
    // Thinned out: part of what came before. Nothing is taken away.
    let thin =
        Batch { blocks: vec![Block { series: vec![0], times_ms: vec![2000], samples: vec![Sample::Good(Value::int(2))] }], gaps: vec![] };
    assert_eq!(acks(&bed.send(&[message(2, 1, &thin), message(2, 1, &thin)])), [2]);
    assert_eq!((bed.stored("load").len(), times(&bed).len(), counted(&bed)), (3, 3, (2, 1, 2)));
    assert_eq!(bed.live.replaced_readings(), 0);
}

#[test]
fn of_two_readings_of_one_series_and_time_the_later_to_come_stays_and_it_is_counted() {
    let mut bed = Bed::new();
    let at_1000 = |value| Batch {
        blocks: vec![Block {
            series: vec![0],
            times_ms: vec![1000, 1000],
            samples: vec![Sample::Good(Value::int(5)), Sample::Good(Value::int(value))],
        }],
        gaps: vec![],
    };
    bed.send(&[message(1, 1, &at_1000(5))]);
    assert_eq!(bed.live.replaced_readings(), 0);
    bed.send(&[message(2, 1, &at_1000(6)), message(3, 1, &at_1000(6))]);
    assert_eq!(bed.live.replaced_readings(), 3, "5 by 6, 6 by 5, 5 by 6");
    assert_eq!(bed.stored("voltage"), BTreeMap::from([(1000, Sample::Good(Value::int(6)))]));
}

#[test]
fn what_came_although_its_gateway_dropped_it_is_no_gap() {
    let mut bed = Bed::new();
    // Their acknowledgements were lost, and the buffer became full.
    bed.send(&[message(1, 1, &other(1)), message(2, 1, &other(2)), message(4, 1, &other(4))]);
    bed.restart();
    let dropped = |gap| Batch { gaps: vec![gap], ..other(9) };
    assert_eq!(acks(&bed.send(&[message(9, 9, &dropped(gap(1, 8, 16)))])), [9]);
    assert_eq!(bed.store.gaps("g1", 0, 99).unwrap(), [gap(1, 8, 10)]);
    // The record joined with another: the gateway dropped the one that carried it.
    assert_eq!(acks(&bed.send(&[message(10, 10, &dropped(gap(1, 9, 18)))])), [10]);
    assert_eq!(bed.store.gaps("g1", 0, 99).unwrap(), [gap(1, 9, 10)]);
    // One whose batches all came says nothing.
    assert_eq!(acks(&bed.send(&[message(11, 11, &dropped(gap(10, 10, 2)))])), [11]);
    assert_eq!(bed.store.gaps("g1", 0, 99).unwrap(), [gap(1, 9, 10)]);
    // And one that comes after its record is counted there already.
    bed.restart();
    bed.send(&[message(5, 1, &other(5))]);
    assert_eq!((times(&bed), counted(&bed)), (vec![1000, 2000, 4000, 9000], (0, 1, 0)));
}

#[test]
fn a_batch_that_its_gateway_found_damaged_after_it_had_come_is_no_gap() {
    let mut bed = Bed::new();
    bed.send(&[message(1, 1, &other(1))]);
    let record = Gap { reason: GapReason::Damaged, ..gap(1, 1, 2) };
    let instead = Batch { blocks: vec![], gaps: vec![record.clone()] };
    assert_eq!(acks(&bed.send(&[message(1, 1, &instead)])), [1]);
    assert_eq!((times(&bed), bed.store.gaps("g1", 0, 99).unwrap()), (vec![1000], vec![]));
    // Where it had not come, it is one, and stays one when the record comes again.
    let record = Gap { first_seq: 2, last_seq: 2, ..record };
    let instead = Batch { blocks: vec![], gaps: vec![record.clone()] };
    bed.send(&[message(2, 1, &instead), message(3, 1, &instead)]);
    assert_eq!(bed.store.gaps("g1", 0, 99).unwrap(), [record]);
}

#[test]
fn a_buffer_that_was_put_back_to_an_older_image_loses_nothing_and_is_not_acknowledged_ahead() {
    let mut bed = Bed::new();
    bed.send(&(1..=9).map(|seq| message(seq, 1, &other(seq))).collect::<Vec<_>>());
    bed.send(&[hello(5, 10, 500)]);
    // The image knew batches up to 5, and 7 was made anew.
    let processed = bed.send(&[hello(3, 6, 70), message(7, 3, &other(70))]);
    assert_eq!(processed.acks, [("g1".into(), Ack { stream: STREAM, seq: 5, ahead: vec![(7, 7)] })]);
    bed.restart();
    assert_eq!(acks(&bed.send(&[message(6, 3, &other(60))])), [7]);
    assert_eq!(times(&bed), (1..=9).chain([60, 70]).map(|n| n * 1000).collect::<Vec<_>>());
    assert_eq!(bed.store.gaps("g1", 0, i64::MAX).unwrap(), []);
}

#[test]
fn a_hello_that_comes_late_costs_nothing() {
    let mut bed = Bed::new();
    let batches: Vec<_> = (1..=9).map(|seq| message(seq, 1, &other(seq))).collect();
    bed.send(&[&[hello(1, 3, 500)], &batches[..]].concat());
    // Once more, as a broker does that did not hear of its arrival.
    assert_eq!(acks(&bed.send(&[hello(1, 3, 500)])), [9]);
    // One that was overtaken; the gateway holds nothing any more, and says so.
    assert_eq!(acks(&bed.send(&[hello(1, 2, 400)])), [1]);
    assert_eq!(acks(&bed.send(&[hello(10, 10, 600)])), [9]);
    assert_eq!((times(&bed).len(), counted(&bed)), (9, (9, 0, 0)));
    assert_eq!(bed.store.gaps("g1", 0, i64::MAX).unwrap(), []);
}

#[test]
fn long_after_a_batch_came_again_is_stored_over_itself() {
    let mut bed = Bed::new();
    let all: Vec<_> = (1..=MIN_RECEIPTS as u64 + 128).map(|seq| message(seq, 1, &other(seq))).collect();
    bed.send(&all);
    let stored = times(&bed).len();
    bed.restart();
    bed.send(&[message(3, 1, &other(3)), message(4, 1, &other(4_000_000))]);
    assert_eq!((times(&bed).len(), counted(&bed).2, bed.live.replaced_readings()), (stored + 1, 2, 0));
    // Of the last that came everything is known.
    bed.send(&all[129..]);
    assert_eq!(counted(&bed), (2, MIN_RECEIPTS as u64 - 1, 2));
}

/// What a gateway says and sends after its server came back with what it had held after batch 4; the gateway had been acknowledged up
/// to 12 and has erased up to 7.
fn comes_back(core: &mut Core) {
    let mut send = |messages: &[(String, Vec<u8>)]| {
        let messages: Vec<_> =
            messages.iter().map(|(topic, payload)| Message { topic: topic.clone(), payload: payload.clone(), retained: false }).collect();
        core.process(&messages, 5000)
    };
    let answer = send(&[hello(8, 15, 1)]);
    assert_eq!((acks(&answer), &answer.asks[0].1.missing), (vec![7], &vec![(8, 14)]));
    let again: Vec<_> = (8..=14).map(|seq| message(seq, 8, &other(seq))).collect();
    assert_eq!(acks(&send(&again)), [14]);
}

#[test]
fn a_server_that_was_put_back_to_a_backup_gets_all_that_is_still_held_and_the_rest_is_on_record() {
    let lost = |store: &dyn Store| {
        let gaps = store.gaps("g1", 0, i64::MAX).unwrap();
        gaps.iter().map(|g| (g.first_seq, g.last_seq, g.from_ms, g.to_ms, g.readings, g.reason)).collect::<Vec<_>>()
    };
    let expected = [(5, 7, 4000, 5000, 0, GapReason::NotHeld)];
    let stored = (1..=4).chain(8..=14).map(|n| n * 1000).collect::<Vec<i64>>();
    let batches: Vec<_> = (1..=12).map(|seq| message(seq, 1, &other(seq))).collect();

    let mut bed = Bed::new();
    bed.send(&batches[..4]);
    let backup = bed.store.copy();
    assert_eq!(acks(&bed.send(&batches[4..])), [12]);
    bed.store = backup;
    bed.restart();
    comes_back(&mut bed.core);
    assert_eq!((times(&bed), lost(&bed.store)), (stored.clone(), expected.to_vec()));

    let folder = tempfile::tempdir().unwrap();
    let (data, backup) = (folder.path().join("data"), folder.path().join("backup"));
    let open = || Arc::new(Embedded::open(&data.join("pattoo.redb")).unwrap());
    let core = |store| Core::new(store, Letters::new(&folder.path().join("dead-letter")), Arc::new(Live::default())).unwrap();
    let send = |core: &mut Core, messages: &[(String, Vec<u8>)]| {
        let message = |(topic, payload): &(String, Vec<u8>)| Message { topic: topic.clone(), payload: payload.clone(), retained: false };
        acks(&core.process(&messages.iter().map(message).collect::<Vec<_>>(), 5000))
    };
    let (id, schema_message) = schema("V").encode().unwrap();
    let mut running = core(open());
    send(&mut running, &[&[(topic::schema("g1", id), schema_message)], &batches[..4]].concat());
    drop(running);
    copy(&data, &backup);
    let mut running = core(open());
    assert_eq!(send(&mut running, &batches[4..]), [12]);
    drop(running);
    std::fs::remove_dir_all(&data).unwrap();
    std::fs::rename(&backup, &data).unwrap();
    let store = open();
    comes_back(&mut core(store.clone()));
    let voltage = store.load().unwrap().series.into_iter().find(|series| series.entry.point == "voltage").unwrap();
    let times: Vec<i64> = store.raw(voltage.id, 0, i64::MAX, 99).unwrap().iter().map(|reading| reading.at_ms).collect();
    assert_eq!((times, lost(&*store)), (stored, expected.to_vec()));
}

/// Copies a folder with all that is in it.
fn copy(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
