//! `accept` against every kind of input, and the core against resends, failures and restarts.

mod again;
mod future;
mod model;
mod standing;

use std::collections::BTreeMap;
use std::sync::Arc;

use pattoo_wire::{
    Ack, Batch, Block, Device, Gap, GapReason, Header, Kind, Reason, Repr, Sample, Schema, SchemaId, Series, Status, Value, data_message,
    topic,
};
use proptest::prelude::*;

use super::*;
use crate::catalog::MAX_STREAMS;
use crate::live::Live;
use crate::store::memory::Memory;
use crate::store::{Loaded, Reading, SeriesId, Store};

pub(super) const STREAM: u64 = 0xfeed;
const NOW: Now = Now { ms: 0, latest_ms: i64::MAX };

pub(super) fn schema(unit: &str) -> Schema {
    let device = |name: &str| Device { name: name.into(), profile: "p".into(), labels: [].into() };
    let series = |device, point: &str, repr| Series {
        device,
        point: point.into(),
        unit: unit.into(),
        kind: Kind::Gauge,
        repr,
        labels: [].into(),
        states: [].into(),
    };
    Schema {
        devices: vec![device("meter"), device("host")],
        series: vec![series(0, "voltage", Repr::Decimal { exponent: 0 }), series(1, "load", Repr::F64)],
    }
}

/// Two series at one time, with values that the number of the batch gives.
pub(super) fn batch(seq: u64) -> Batch {
    let samples = vec![Sample::Good(Value::int(seq as i64)), Sample::Uncertain(Value::F64(seq as f64 / 7.0), Reason::Stale)];
    Batch { blocks: vec![Block { series: vec![0, 1], times_ms: vec![seq as i64 * 1000], samples }], gaps: Vec::new() }
}

pub(super) fn data(schema: &Schema, seq: u64, oldest: u64, batch: &Batch) -> Vec<u8> {
    let (id, _) = schema.encode().unwrap();
    data_message(&Header { stream: STREAM, seq, oldest }, &batch.encode(id, schema).unwrap()).unwrap()
}

fn catalog_with(schema: &Schema) -> Catalog {
    let mut catalog = Catalog::default();
    let (id, message) = schema.encode().unwrap();
    accept(&mut catalog, &topic::schema("g1", id), &message, NOW).unwrap();
    catalog
}

fn place(stream: u64, seq: u64) -> Place<'static> {
    Place { gateway: "g1", header: Header { stream, seq, oldest: seq }, crc: 0, now_ms: 0 }
}

fn sealed(body: &[u8]) -> Vec<u8> {
    let mut message = [&[1], body].concat();
    let crc = crc32fast::hash(&message);
    message.extend_from_slice(&crc.to_le_bytes());
    message
}

#[test]
fn every_bad_message_has_its_own_reason_and_changes_nothing() {
    let schema = schema("V");
    let (id, schema_message) = schema.encode().unwrap();
    let (other, other_message) = self::schema("kV").encode().unwrap();
    let good = data(&schema, 1, 1, &batch(1));
    let damaged: Vec<u8> = good.iter().enumerate().map(|(i, b)| if i == 9 { b ^ 4 } else { *b }).collect();
    let version: Vec<u8> = [&[99], &good[1..]].concat();
    // Undamaged, of a known schema, but the content goes on after its end.
    let unreadable = sealed(&[&good[1..good.len() - 4], &[0]].concat());
    let unknown = data(&self::schema("mV"), 1, 1, &batch(1));
    let from_the_future = sealed(&postcard::to_stdvec(&(STREAM, 1u64, 2u64, id.0)).unwrap());
    let data_topic = topic::data("g1");
    for (topic, payload, code, letter) in [
        (data_topic.as_str(), damaged.as_slice(), "damaged", true),
        (&data_topic, &version, "version", true),
        (&data_topic, &good[..good.len() - 1], "damaged", true),
        (&data_topic, &good[..3], "truncated", true),
        (&data_topic, b"", "truncated", true),
        (&data_topic, &[1; 9000], "too_long", true),
        (&data_topic, &from_the_future, "invalid", true),
        (&data_topic, &sealed(&[7]), "truncated", true),
        (&data_topic, &unreadable, "unreadable", true),
        (&data_topic, &unknown, "schema_unknown", false),
        (&topic::data("g2"), &good, "schema_unknown", false),
        (&topic::data("g/2"), &good, "topic", false),
        (&topic::data(".g"), &good, "topic", false),
        ("pattoo/v1/g1/ack", &good, "topic", false),
        ("pattoo/v1/g1/schema/zzz", &schema_message, "topic", false),
        (&topic::schema("g1", id), &other_message, "schema_id", true),
        (&topic::schema("g1", other), &other_message[..20], "damaged", true),
        (&topic::schema("g1", other), &sealed(&[1]), "truncated", true),
        (&topic::status("g1"), b"{\"online\":", "status", true),
        (&topic::status("g1"), b"[]", "status", true),
        (&topic::status("g1"), &[b' '; MAX_STATUS_BYTES + 1], "status", true),
    ] {
        let mut catalog = catalog_with(&schema);
        let rejected = accept(&mut catalog, topic, payload, NOW).unwrap_err();
        assert_eq!((rejected.code(), rejected.is_dead_letter()), (code, letter), "{rejected}");
        assert!(rejected.to_string().len() > 20, "{rejected}");
        // The good one is still new to the catalogue.
        assert!(matches!(accept(&mut catalog, &data_topic, &good, NOW), Ok(Accepted::Batch { .. })), "after {rejected}");
    }
}

#[test]
fn a_schema_that_contradicts_an_earlier_one_of_its_id_is_refused() {
    let mut catalog = Catalog::default();
    let id = SchemaId(7);
    catalog.take_schema("g1", id, id, schema("V")).unwrap();
    assert_eq!(catalog.take_schema("g1", id, id, schema("V")).unwrap(), Commit::default());
    let refused = catalog.take_schema("g1", id, id, schema("A")).unwrap_err();
    assert_eq!(refused, Refused::SchemaContradicts { gateway: "g1".into(), id });
    assert!(Rejected::Refused(refused).is_dead_letter());
    // Another gateway has its own.
    catalog.take_schema("g2", id, id, schema("A")).unwrap();
}

#[test]
fn status_is_read_and_cleared_messages_mean_nothing() {
    let mut catalog = Catalog::default();
    let accepted = accept(&mut catalog, &topic::status("g1"), br#"{"online":true,"version":"1","unknown":[1]}"#, NOW).unwrap();
    assert_eq!(accepted, Accepted::Status(Status { online: true, version: "1".into(), ..Status::default() }));
    assert_eq!(accept(&mut catalog, &topic::status("g1"), b"", NOW), Ok(Accepted::Cleared));
    assert_eq!(accept(&mut catalog, &topic::schema("g1", SchemaId(1)), b"", NOW), Ok(Accepted::Cleared));
}

#[test]
fn a_new_unit_changes_the_series_and_a_new_point_adds_one() {
    let mut catalog = catalog_with(&schema("V"));
    let first = match accept(&mut catalog, &topic::data("g1"), &data(&schema("V"), 1, 1, &batch(1)), NOW).unwrap() {
        Accepted::Batch { commit, .. } => commit,
        other => panic!("{other:?}"),
    };
    assert_eq!(first.series.iter().map(|s| s.id.0).collect::<Vec<_>>(), [1, 2]);
    let mut larger = schema("kV");
    larger.series[0].repr = Repr::Unsigned;
    larger.series.insert(0, Series { point: "current".into(), ..larger.series[0].clone() });
    let (id, message) = larger.encode().unwrap();
    accept(&mut catalog, &topic::schema("g1", id), &message, NOW).unwrap();
    let samples = vec![Sample::Good(Value::Unsigned(1)), Sample::Good(Value::Unsigned(2)), Sample::Bad(Reason::Timeout)];
    let next = Batch { blocks: vec![Block { series: vec![0, 1, 2], times_ms: vec![5], samples }], gaps: vec![] };
    let commit = match accept(&mut catalog, &topic::data("g1"), &data(&larger, 2, 1, &next), NOW).unwrap() {
        Accepted::Batch { commit, .. } => commit,
        other => panic!("{other:?}"),
    };
    let found: Vec<_> = commit.series.iter().map(|s| (s.id.0, s.entry.point.as_str(), s.entry.unit.as_str())).collect();
    assert_eq!(found, [(3, "current", "kV"), (1, "voltage", "kV"), (2, "load", "kV")]);
    let ids: Vec<_> = commit.readings.iter().map(|(id, _)| id.0).collect();
    assert_eq!(ids, [3, 1, 2]);
}

#[test]
fn what_is_kept_of_a_gateway_is_bounded() {
    let mut catalog = Catalog::default();
    let store = Memory::default();
    for n in 0..crate::catalog::MAX_GATEWAY_SCHEMAS as u64 + 5 {
        let schema = schema(&n.to_string());
        let (id, _) = schema.encode().unwrap();
        store.commit(&catalog.take_schema("g1", id, id, schema.clone()).unwrap()).unwrap();
        if n == 0 {
            // The oldest is in use, so it stays while those that no batch used go.
            let (commit, _) = catalog.take_batch(place(1, 1), id, batch(1)).unwrap();
            store.commit(&commit).unwrap();
        }
    }
    let (used, _) = schema("0").encode().unwrap();
    let held = store.load().unwrap().schemas;
    assert_eq!(held.len(), crate::catalog::MAX_GATEWAY_SCHEMAS);
    assert!(held.iter().any(|(_, id, _)| *id == used));
    for stream in 0..MAX_STREAMS as u64 + 5 {
        let (commit, _) = catalog.take_batch(place(100 + stream, 3), used, batch(3)).unwrap();
        store.commit(&commit).unwrap();
    }
    let streams: Vec<u64> = store.load().unwrap().streams.iter().map(|s| s.stream).collect();
    assert_eq!(streams, (105..100 + MAX_STREAMS as u64 + 5).collect::<Vec<_>>());
    for n in 1..crate::catalog::MAX_GATEWAYS {
        catalog.take_schema(&format!("g{}", n + 1), used, used, schema("0")).unwrap();
    }
    let refused = catalog.take_schema("one-more", used, used, schema("0")).unwrap_err();
    assert!(matches!(refused, Refused::TooManyGateways { .. }), "{refused}");
}

/// A core over a store that outlives it.
struct Bed {
    store: Memory,
    live: Arc<Live>,
    folder: tempfile::TempDir,
    core: Core,
}

impl Bed {
    fn new() -> Self {
        let (store, live, folder) = (Memory::default(), Arc::new(Live::default()), tempfile::tempdir().unwrap());
        let core = Core::new(Arc::new(store.clone()), Letters::new(&folder.path().join("dead-letter")), live.clone()).unwrap();
        let mut bed = Self { store, live, folder, core };
        bed.send_schema(&schema("V"));
        bed
    }

    fn restart(&mut self) {
        self.live = Arc::new(Live::default());
        let letters = Letters::new(&self.folder.path().join("dead-letter"));
        self.core = Core::new(Arc::new(self.store.clone()), letters, self.live.clone()).unwrap();
    }

    fn send(&mut self, messages: &[(String, Vec<u8>)]) -> Processed {
        self.send_at(5000, messages)
    }

    fn send_at(&mut self, now_ms: i64, messages: &[(String, Vec<u8>)]) -> Processed {
        let message = |(topic, payload): &(String, Vec<u8>)| Message { topic: topic.clone(), payload: payload.clone(), retained: false };
        self.core.process(&messages.iter().map(message).collect::<Vec<_>>(), now_ms)
    }

    fn send_schema(&mut self, schema: &Schema) {
        let (id, message) = schema.encode().unwrap();
        assert!(!self.send(&[(topic::schema("g1", id), message)]).failed);
    }

    fn send_batch(&mut self, seq: u64, oldest: u64) -> Processed {
        self.send(&[(topic::data("g1"), data(&schema("V"), seq, oldest, &batch(seq)))])
    }

    fn stored(&self, point: &str) -> BTreeMap<i64, Sample> {
        let device = if point == "load" { "host" } else { "meter" };
        let Some(series) = self.live.find("g1", device, point) else { return BTreeMap::new() };
        let readings = self.store.raw(series.id, i64::MIN, i64::MAX, usize::MAX).unwrap();
        readings.into_iter().map(|Reading { at_ms, sample }| (at_ms, sample)).collect()
    }

    fn letters(&self) -> usize {
        std::fs::read_dir(self.folder.path().join("dead-letter")).map_or(0, Iterator::count)
    }
}

fn acks(processed: &Processed) -> Vec<u64> {
    processed
        .acks
        .iter()
        .map(|(gateway, Ack { stream, seq, .. })| (gateway.as_str(), *stream, *seq))
        .map(|a| {
            assert_eq!((a.0, a.1), ("g1", STREAM));
            a.2
        })
        .collect()
}

#[test]
fn readings_are_acknowledged_once_they_are_stored_and_a_replay_changes_nothing() {
    let mut bed = Bed::new();
    assert_eq!(acks(&bed.send_batch(1, 1)), [1]);
    let ahead = bed.send_batch(3, 1).acks;
    assert_eq!(ahead, [("g1".into(), Ack { stream: STREAM, seq: 1, ahead: vec![(3, 3)] })], "two is missing");
    let before = bed.stored("load");
    assert_eq!(before.keys().copied().collect::<Vec<_>>(), [1000, 3000]);
    assert_eq!(acks(&bed.send_batch(3, 1)), [1], "the gateway is told again");
    assert_eq!(bed.stored("load"), before);
    assert_eq!(acks(&bed.send_batch(2, 1)), [3]);
    let counters = bed.live.gateway("g1").unwrap().counters;
    assert_eq!((counters.batches, counters.readings, counters.replays), (3, 6, 1));
    assert_eq!(bed.live.gateway("g1").unwrap().last_seen_ms, Some(5000));
}

#[test]
fn a_failing_store_acknowledges_nothing_and_the_resend_is_taken_as_new() {
    let mut bed = Bed::new();
    assert_eq!(acks(&bed.send_batch(1, 1)), [1]);
    bed.store.fail(Some("disk full"));
    let failed = bed.send_batch(2, 1);
    assert!(failed.failed && failed.acks.is_empty() && !bed.live.storing());
    assert!(bed.send_batch(1, 1).acks.is_empty(), "nor while the catalogue cannot be read again");
    bed.store.fail(None);
    assert_eq!(acks(&bed.send_batch(2, 1)), [2]);
    assert!(bed.live.storing());
    assert_eq!(bed.stored("voltage").len(), 2);
    assert_eq!(bed.live.gateway("g1").unwrap().counters.batches, 2, "counted when stored, not when it came");
}

#[test]
fn a_batch_that_can_never_be_read_is_kept_aside_and_the_stream_goes_on() {
    let mut bed = Bed::new();
    bed.send_batch(1, 1);
    let good = data(&schema("V"), 2, 1, &batch(2));
    let bad = sealed(&[&good[1..good.len() - 4], &[0]].concat());
    assert_eq!(acks(&bed.send(&[(topic::data("g1"), bad.clone())])), [2]);
    assert_eq!((bed.letters(), bed.stored("load").len()), (1, 1));
    assert_eq!(acks(&bed.send(&[(topic::data("g1"), bad)])), [2]);
    assert_eq!(bed.letters(), 1);
    assert_eq!(acks(&bed.send_batch(3, 1)), [3]);
    assert_eq!(bed.live.gateway("g1").unwrap().counters.rejects, BTreeMap::from([("unreadable", 1)]));
}

#[test]
fn without_its_dead_letter_an_unreadable_batch_is_not_acknowledged() {
    let mut bed = Bed::new();
    std::fs::write(bed.folder.path().join("dead-letter"), "in the way").unwrap();
    let good = data(&schema("V"), 1, 1, &batch(1));
    let bad = sealed(&[&good[1..good.len() - 4], &[0]].concat());
    let processed = bed.send(&[(topic::data("g1"), bad), (topic::data("g1"), data(&schema("V"), 2, 1, &batch(2)))]);
    assert_eq!(processed.acks, [("g1".into(), Ack { stream: STREAM, seq: 0, ahead: vec![(2, 2)] })]);
    assert_eq!(bed.stored("load").len(), 1, "the next one costs nothing");
}

#[test]
fn a_damaged_batch_is_kept_aside_and_not_acknowledged() {
    let mut bed = Bed::new();
    let mut message = data(&schema("V"), 1, 1, &batch(1));
    message[12] ^= 1;
    for _ in 0..3 {
        assert!(bed.send(&[(topic::data("g1"), message.clone())]).acks.is_empty());
    }
    assert_eq!(bed.letters(), 1);
    assert_eq!(bed.live.gateway("g1").unwrap().counters.rejects, BTreeMap::from([("damaged", 3)]));
    assert_eq!(acks(&bed.send_batch(1, 1)), [1]);
}

#[test]
fn an_unknown_schema_is_asked_for_and_strangers_are_counted_apart() {
    let mut bed = Bed::new();
    let message = data(&schema("mV"), 1, 1, &batch(1));
    let processed = bed.send(&[(topic::data("g1"), message.clone()), ("pattoo/v1/../data".into(), message.clone())]);
    assert!(processed.schema_missing && processed.acks.is_empty());
    assert_eq!(bed.live.strangers().rejects, BTreeMap::from([("topic", 1)]));
    bed.send_schema(&schema("mV"));
    assert_eq!(acks(&bed.send(&[(topic::data("g1"), message)])), [1]);
}

#[test]
fn gaps_are_stored_and_let_the_stream_go_on() {
    let mut bed = Bed::new();
    bed.send_batch(1, 1);
    let gap = Gap { from_ms: 2000, to_ms: 4000, first_seq: 2, last_seq: 4, readings: 6, reason: GapReason::BufferFull };
    let with_gap = Batch { gaps: vec![gap.clone()], ..batch(5) };
    assert_eq!(acks(&bed.send(&[(topic::data("g1"), data(&schema("V"), 5, 1, &with_gap))])), [5]);
    assert_eq!(bed.store.gaps("g1", 0, 9999).unwrap(), [gap]);
}

#[test]
fn a_retained_message_or_a_last_will_does_not_count_as_seen() {
    let mut bed = Bed::new();
    bed.restart();
    let status = |online| serde_json::to_vec(&Status { online, ..Status::default() }).unwrap();
    let message = Message { topic: topic::status("g1"), payload: status(true), retained: true };
    bed.core.process(&[message], 5000);
    bed.send(&[(topic::status("g1"), status(false))]);
    let live = bed.live.gateway("g1").unwrap();
    assert_eq!((live.last_seen_ms, live.status.unwrap().online), (None, false));
    bed.send(&[(topic::status("g1"), status(true))]);
    assert_eq!(bed.live.gateway("g1").unwrap().last_seen_ms, Some(5000));
}

#[derive(Debug, Clone)]
enum Step {
    Send(Vec<u64>),
    Fail(Vec<u64>),
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let seqs = || prop::collection::vec(1u64..12, 1..6);
    prop::collection::vec(prop_oneof![6 => seqs().prop_map(Step::Send), 1 => seqs().prop_map(Step::Fail), 1 => Just(Step::Restart)], 1..25)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn however_batches_are_resent_the_store_holds_each_once(steps in steps()) {
        let mut bed = Bed::new();
        let mut arrived = std::collections::BTreeSet::new();
        for step in steps {
            let messages = |seqs: &[u64]| -> Vec<_> {
                seqs.iter().map(|seq| (topic::data("g1"), data(&schema("V"), *seq, 1, &batch(*seq)))).collect()
            };
            match step {
                Step::Send(seqs) => {
                    let processed = bed.send(&messages(&seqs));
                    arrived.extend(seqs);
                    let contiguous = (1..).take_while(|seq| arrived.contains(seq)).last().unwrap_or(0);
                    prop_assert!(acks(&processed).iter().all(|ack| *ack == contiguous));
                }
                Step::Fail(seqs) => {
                    let all_there = seqs.iter().all(|seq| arrived.contains(seq));
                    bed.store.fail(Some("disk full"));
                    // What is durable may be acknowledged again, whatever the disk does now.
                    prop_assert!(all_there || bed.send(&messages(&seqs)).acks.is_empty());
                    bed.store.fail(None);
                }
                Step::Restart => bed.restart(),
            }
            let expected: Vec<_> = arrived.iter().map(|seq| (*seq as i64 * 1000, Sample::Good(Value::int(*seq as i64)))).collect();
            prop_assert_eq!(bed.stored("voltage").into_iter().collect::<Vec<_>>(), expected);
        }
        // Sending everything once more acknowledges everything.
        let all: Vec<_> = (1..12).map(|seq| (topic::data("g1"), data(&schema("V"), seq, 1, &batch(seq)))).collect();
        prop_assert_eq!(acks(&bed.send(&all)), vec![11]);
        let Loaded { series, streams, .. } = bed.store.load().unwrap();
        prop_assert_eq!(series.iter().map(|s| s.id).collect::<Vec<_>>(), vec![SeriesId(1), SeriesId(2)]);
        prop_assert_eq!((streams[0].contiguous, streams[0].ahead.len()), (11, 0));
    }
}
