//! The contract, with one head for all and with a head for each commit; a model; what is beside one another in the folder.

use std::sync::atomic::{AtomicI64, Ordering};

use pattoo_wire::{Decimal, Reason, Value};
use proptest::prelude::*;

use super::super::contract::{self, Bed};
use super::super::memory::Memory;
use super::super::shelf::Kept;
use super::super::{Readings, Receipt, SeriesEntry, StreamState, row};
use super::*;

mod crashes;
mod faulty;
mod keeping;
mod order;
mod snapshot;

/// How many calls succeed until all fail. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Faults(Arc<AtomicI64>);

impl Default for Faults {
    fn default() -> Self {
        Self(Arc::new(AtomicI64::new(i64::MAX)))
    }
}

impl Faults {
    /// So many calls succeed from now on.
    fn after(&self, calls: i64) {
        self.0.store(calls, Ordering::SeqCst);
    }

    /// Calls that are left.
    fn left(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }

    pub(super) fn step(&self) -> Result<(), String> {
        if self.0.fetch_sub(1, Ordering::SeqCst) > 0 { Ok(()) } else { Err("the disk fails, says the test".into()) }
    }
}

/// Every commit fills its head.
const TINY: Budget = Budget { head_bytes: 1, log_bytes: 1, segment_bytes: 1, pending_bytes: 1 };

struct Folder(tempfile::TempDir, Budget);

impl Bed for Folder {
    fn open(&self) -> Box<dyn Store> {
        Box::new(Embedded::open_within(&self.0.path().join("new/pattoo.redb"), self.1).unwrap())
    }
}

#[test]
fn the_embedded_store_keeps_the_contract() {
    contract::run(|| Box::new(Folder(tempfile::tempdir().unwrap(), Budget::DEFAULT)));
}

#[test]
fn the_embedded_store_keeps_the_contract_while_it_flushes_all_the_time() {
    contract::run(|| Box::new(Folder(tempfile::tempdir().unwrap(), TINY)));
}

#[test]
fn a_second_opening_says_that_it_is_in_use() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pattoo.redb");
    let first = Embedded::open(&path).unwrap();
    assert!(matches!(Embedded::open(&path).err(), Some(StoreError::InUse { .. })));
    drop(first);
    Embedded::open(&path).unwrap();
}

const DAY_MS: i64 = 86_400_000;

/// What happens to a store.
#[derive(Debug, Clone)]
enum Event {
    Commit(Box<Commit>),
    Flush,
    Reopen,
    Merge,
    RollUp,
}

fn samples() -> impl Strategy<Value = Sample> {
    let value = prop_oneof![
        4 => (-300i64..300).prop_map(|mantissa| Value::Decimal(Decimal { mantissa, exponent: -1 })),
        1 => any::<u32>().prop_map(|bits| Value::F32(f32::from_bits(bits))),
        1 => any::<u64>().prop_map(|bits| Value::F64(f64::from_bits(bits))),
        1 => any::<u64>().prop_map(Value::Unsigned),
        1 => any::<bool>().prop_map(Value::Bool),
        1 => ".{0,9}".prop_map(Value::Text),
    ];
    (value, any::<u16>(), 0..6).prop_map(|(value, code, quality)| match quality {
        0 => Sample::Uncertain(value, Reason::from_code(code)),
        1 => Sample::Bad(Reason::from_code(code)),
        _ => Sample::Good(value),
    })
}

fn times() -> impl Strategy<Value = i64> {
    prop_oneof![
        6 => 0i64..12,
        3 => (-3i64..3).prop_map(|at| DAY_MS + at),
        1 => prop_oneof![Just(i64::MIN), Just(i64::MAX - 1), Just(i64::MAX)],
    ]
}

fn gap(first_seq: u64, length: u64) -> Gap {
    let reason = pattoo_wire::GapReason::BufferFull;
    Gap { from_ms: first_seq as i64, to_ms: first_seq as i64 + 9, first_seq, last_seq: first_seq + length, readings: 3, reason }
}

fn commits() -> impl Strategy<Value = Commit> {
    let readings = prop::collection::vec((1u32..6, times(), samples()), 0..12);
    (readings, 0u64..6, 0u64..4, any::<bool>()).prop_map(|(readings, seq, length, forgets)| {
        let readings: Vec<_> = readings.into_iter().map(|(id, at_ms, sample)| (SeriesId(id), Reading { at_ms, sample })).collect();
        let mut ids: Vec<SeriesId> = readings.iter().map(|(id, _)| *id).collect();
        ids.sort_unstable();
        ids.dedup();
        let receipt = Receipt { seq, place: seq, crc: length as u32, readings: 1, times_ms: None };
        Commit {
            series: ids.into_iter().map(|id| contract::entry(id, "V")).collect(),
            readings: readings.into(),
            streams: vec![StreamState { gateway: "g1".into(), stream: seq % 2, contiguous: length, ahead: Vec::new() }],
            receipts: vec![("g1".into(), seq % 2, receipt)],
            gaps: if length < 2 { vec![("g1".into(), 7, gap(seq, length))] } else { Vec::new() },
            forgotten_streams: if forgets { vec![("g1".into(), length % 2)] } else { Vec::new() },
            forgotten_receipts: if forgets { Vec::new() } else { vec![("g1".into(), 0, length)] },
            forgotten_gaps: if forgets { vec![("g1".into(), 7, gap(length, 0))] } else { Vec::new() },
            ..Commit::default()
        }
    })
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        6 => commits().prop_map(|commit| Event::Commit(Box::new(commit))),
        2 => Just(Event::Flush),
        1 => Just(Event::Reopen),
        1 => Just(Event::Merge),
        1 => Just(Event::RollUp),
    ];
    prop::collection::vec(event, 0..16)
}

fn bits(readings: &[Reading]) -> Vec<(i64, Vec<u8>)> {
    readings.iter().map(|reading| (reading.at_ms, row::write_sample(&reading.sample))).collect()
}

/// A bucket with its doubles as bits; but for the sum, which may differ in its last digits.
fn bucket_bits(bucket: &Bucket) -> (i64, u64, [u64; 4], u64, u64) {
    let Bucket { start_ms, count, sum: _, min, max, first, last, uncertain, bad } = *bucket;
    // A NaN is as good as another one, and so are the two zeros.
    (start_ms, count, [min, max, first, last].map(|x| if x.is_nan() { u64::MAX } else { (x + 0.0).to_bits() }), uncertain, bad)
}

/// Both answer every question alike.
fn alike(store: &dyn Store, model: &Memory) {
    assert_eq!(store.load().unwrap(), model.load().unwrap());
    assert_eq!(store.gaps("g1", i64::MIN, i64::MAX).unwrap(), model.gaps("g1", i64::MIN, i64::MAX).unwrap());
    let ids: Vec<SeriesId> = (0..7).map(SeriesId).collect();
    let latest = |of: &dyn Store| of.latest(&ids).unwrap().iter().map(|last| bits(last.as_slice())).collect::<Vec<_>>();
    assert_eq!(latest(store), latest(model));
    for id in ids {
        for (from, to, limit) in [(i64::MIN, i64::MAX, usize::MAX), (3, DAY_MS, 4), (DAY_MS - 1, DAY_MS + 2, 99), (5, 5, 9), (9, 2, 9)] {
            let raw = |of: &dyn Store| bits(&of.raw(id, from, to, limit).unwrap());
            assert_eq!(raw(store), raw(model), "series {} from {from} to {to}", id.0);
            for step_ms in [1, 5, 60_000, DAY_MS] {
                let buckets = |of: &dyn Store| of.buckets(id, from, to, step_ms).unwrap().iter().map(bucket_bits).collect::<Vec<_>>();
                assert_eq!(buckets(store), buckets(model), "series {} from {from} to {to} by {step_ms}", id.0);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_commits_with_flushes_merges_and_new_starts_between_them_answer_as_a_map_does(events in events()) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pattoo.redb");
        let (mut store, model) = (Embedded::open(&path).unwrap(), Memory::default());
        for event in events {
            match event {
                Event::Commit(commit) => prop_assert_eq!(store.commit(&commit).unwrap(), model.commit(&commit).unwrap()),
                Event::Flush => store.engine.flush_all().unwrap(),
                Event::Merge => while store.engine.shelf.merge_step(i64::MAX).unwrap().is_some() {},
                Event::RollUp => store.engine.shelf.tidy(i64::MAX, &Kept { from_ms: [i64::MIN; 4], worth: 0 }).unwrap(),
                Event::Reopen => {
                    drop(store);
                    store = Embedded::open(&path).unwrap();
                }
            }
        }
        alike(&store, &model);
        drop(store);
        alike(&Embedded::open(&path).unwrap(), &model);
    }
}

fn announced(id: SeriesId) -> SeriesEntry {
    contract::entry(id, "V")
}

fn one(id: u32, at_ms: i64, value: i64) -> Commit {
    let reading = Reading { at_ms, sample: Sample::Good(Value::int(value)) };
    Commit { readings: vec![(SeriesId(id), reading)].into(), series: vec![announced(SeriesId(id))], ..Commit::default() }
}

#[test]
fn a_log_that_went_does_not_make_new_commits_look_stored() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pattoo.redb");
    let store = Embedded::open(&path).unwrap();
    for at in 0..9 {
        store.commit(&one(1, at, at)).unwrap();
    }
    store.engine.flush_all().unwrap();
    drop(store);
    std::fs::remove_dir_all(folder.path().join("log")).unwrap();
    Embedded::open(&path).unwrap().commit(&one(1, 100, 7)).unwrap();
    let times: Vec<i64> = Embedded::open(&path).unwrap().raw(SeriesId(1), 0, 999, 99).unwrap().iter().map(|r| r.at_ms).collect();
    assert_eq!(times, [0, 1, 2, 3, 4, 5, 6, 7, 8, 100]);
}

#[test]
fn a_long_log_is_read_within_the_budget() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pattoo.redb");
    let store = Embedded::open(&path).unwrap();
    for at in 0..50 {
        store.commit(&one(1, at, at)).unwrap();
    }
    drop(store);
    let store = Embedded::open_within(&path, TINY).unwrap();
    assert!(store.read_head_bytes() < 1000);
    assert_eq!(store.raw(SeriesId(1), 0, 99, 99).unwrap().len(), 50);
}

impl Embedded {
    fn read_head_bytes(&self) -> usize {
        self.engine.read().head.bytes()
    }
}

#[test]
fn a_budget_is_made_of_the_memory_that_it_may_take() {
    assert_eq!(Budget::of(48 << 20), Budget::DEFAULT);
    let small = Budget::of(64 << 10);
    assert_eq!((small.head_bytes, small.log_bytes, small.segment_bytes, small.pending_bytes), (32 << 10, 54_613, 21_845, 5461));
}
