//! The engine is stopped after every call of a flush, of a merge, of a start and of a migration, and opened again: what was answered is there, once.

use super::faulty::{TestEngine, open};
use super::*;

impl<D: Disk + 'static, F: super::super::Folder + 'static> Store for Engine<D, F> {
    fn load(&self) -> Result<Loaded, StoreError> {
        self.settle(None)?;
        self.ledger.load()
    }

    fn commit(&self, commit: &Commit) -> Result<Committed, StoreError> {
        self.commit(commit)
    }

    fn raw(&self, series: SeriesId, from_ms: i64, to_ms: i64, limit: usize) -> Result<Vec<Reading>, StoreError> {
        self.raw(series, from_ms, to_ms, limit)
    }

    fn buckets(&self, series: SeriesId, from_ms: i64, to_ms: i64, step_ms: i64) -> Result<Vec<Bucket>, StoreError> {
        self.buckets(series, from_ms, to_ms, step_ms)
    }

    fn latest(&self, series: &[SeriesId]) -> Result<Vec<Option<Reading>>, StoreError> {
        self.latest(series)
    }

    fn gaps(&self, gateway: &str, from_ms: i64, to_ms: i64) -> Result<Vec<Gap>, StoreError> {
        self.gaps(gateway, from_ms, to_ms)
    }

    fn expire(&self, before_ms: i64, limit: usize) -> Result<usize, StoreError> {
        self.expire(before_ms, limit)
    }

    fn bytes(&self) -> Result<u64, StoreError> {
        self.bytes()
    }
}

/// Each commit has a segment of its own, so that what the log lets go of is really gone.
const SEGMENTS: Budget = Budget { segment_bytes: 1, ..Budget::DEFAULT };

/// A commit of each kind: on two days, in order, late, a correction, a gap, a stream and its receipt.
fn commit(n: i64) -> Commit {
    let times = [n, DAY_MS + n, 3, n - 2];
    let mut readings = Readings::default();
    times.iter().flat_map(|at_ms| [1, 2].map(|id| one(id, *at_ms, n * 10).readings)).for_each(|more| readings.append(more));
    let seq = n as u64;
    Commit {
        series: [1, 2].map(|id| announced(SeriesId(id))).to_vec(),
        readings,
        gaps: vec![("g1".into(), 7, gap(seq, seq % 3))],
        streams: vec![StreamState { gateway: "g1".into(), stream: 1, contiguous: seq, ahead: Vec::new() }],
        receipts: vec![("g1".into(), 1, Receipt { seq, place: seq, crc: 1, readings: 1, times_ms: Some((n, n)) })],
        forgotten_receipts: vec![("g1".into(), 1, seq.saturating_sub(3))],
        ..Commit::default()
    }
}

/// Runs `work` with a fault at each of its calls in turn, from an engine that `prepared` made, and judges what is found then and after a new start.
fn at_every_call(prepared: impl Fn(&TestEngine, &Memory), work: impl Fn(&TestEngine, &Memory) -> Result<(), StoreError>) -> i64 {
    for calls in 0.. {
        let folder = tempfile::tempdir().unwrap();
        let (faults, model) = (Faults::default(), Memory::default());
        let engine = open(folder.path(), &faults, SEGMENTS).unwrap();
        prepared(&engine, &model);
        faults.after(calls);
        let result = work(&engine, &model);
        let failed = faults.left() < 0;
        assert_eq!(result.is_err(), failed && result.is_err(), "it fails only if a call does");
        // A disk that works again: nothing has to be started anew.
        faults.after(i64::MAX);
        if calls % 2 == 0 {
            alike(&engine, &model);
            both(&engine, &model, &commit(50));
            engine.flush_all().unwrap();
            alike(&engine, &model);
        }
        drop(engine);
        let engine = open(folder.path(), &faults, SEGMENTS).unwrap();
        alike(&engine, &model);
        both(&engine, &model, &commit(60));
        alike(&engine, &model);
        if !failed {
            return calls;
        }
    }
    unreachable!()
}

fn both(engine: &TestEngine, model: &Memory, commit: &Commit) {
    assert_eq!(engine.commit(commit).unwrap(), model.commit(commit).unwrap());
}

#[test]
fn a_flush_that_stops_after_any_call_loses_and_doubles_nothing() {
    let prepared = |engine: &TestEngine, model: &Memory| {
        (1..4).for_each(|n| both(engine, model, &commit(n)));
        engine.flush_all().unwrap();
        (4..7).for_each(|n| both(engine, model, &commit(n)));
    };
    let calls = at_every_call(prepared, |engine, _| engine.flush_all());
    assert!(calls > 10, "{calls} calls");
}

#[test]
fn commits_during_a_flush_that_stops_after_any_call_are_there_if_they_were_answered() {
    let prepared = |engine: &TestEngine, model: &Memory| (1..4).for_each(|n| both(engine, model, &commit(n)));
    let work = |engine: &TestEngine, model: &Memory| {
        engine.write().freeze();
        for n in 4..7 {
            let commit = commit(n);
            // One that is refused here comes again below: a gateway sends it until it is answered.
            if engine.commit(&commit).is_ok() {
                model.commit(&commit).unwrap();
            }
        }
        engine.flush()
    };
    at_every_call(prepared, work);
}

#[test]
fn a_merge_that_stops_after_any_call_loses_and_doubles_nothing() {
    let prepared = |engine: &TestEngine, model: &Memory| {
        for n in 1..9 {
            both(engine, model, &commit(n));
            engine.flush_all().unwrap();
        }
    };
    let merge = |engine: &TestEngine| engine.shelf.merge_step(i64::MAX).map_err(|e| engine.shelf_error(e));
    at_every_call(prepared, |engine, _| {
        while merge(engine)?.is_some() {}
        Ok(())
    });
}

#[test]
fn a_start_that_stops_after_any_call_loses_and_doubles_nothing() {
    for calls in 0.. {
        let folder = tempfile::tempdir().unwrap();
        let (faults, model) = (Faults::default(), Memory::default());
        let engine = open(folder.path(), &faults, SEGMENTS).unwrap();
        (1..4).for_each(|n| both(&engine, &model, &commit(n)));
        engine.flush_all().unwrap();
        (4..9).for_each(|n| both(&engine, &model, &commit(n)));
        drop(engine);
        faults.after(calls);
        // It reads the log into heads that are full at once.
        let stopped = open(folder.path(), &faults, TINY).is_err();
        let failed = faults.left() < 0;
        assert!(failed || !stopped);
        faults.after(i64::MAX);
        alike(&open(folder.path(), &faults, SEGMENTS).unwrap(), &model);
        if !failed {
            return;
        }
    }
}

#[test]
fn a_migration_that_stops_after_any_call_begins_anew() {
    for calls in 0.. {
        let folder = tempfile::tempdir().unwrap();
        let model = Memory::default();
        let mut old = Vec::new();
        for at_ms in [i64::MIN, -5, 0, 1, 2, DAY_MS, DAY_MS + 1, i64::MAX] {
            for id in [1, 2, 9] {
                let commit = one(id, at_ms, at_ms / 3);
                model.commit(&commit).unwrap();
                old.extend(commit.readings.iter().map(|(id, at)| (id, at.reading())));
            }
        }
        let series = [1, 2, 9].map(|id| announced(SeriesId(id))).to_vec();
        ledger::tests::write_format_2(&folder.path().join("pattoo.redb"), &series, &old);
        let faults = Faults::default();
        faults.after(calls);
        let stopped = open(folder.path(), &faults, TINY).is_err();
        let failed = faults.left() < 0;
        assert!(failed || !stopped);
        faults.after(i64::MAX);
        let engine = open(folder.path(), &faults, SEGMENTS).unwrap();
        alike(&engine, &model);
        assert_eq!(engine.ledger.old_readings().unwrap(), 0);
        both(&engine, &model, &one(1, 2, 99));
        alike(&engine, &model);
        if !failed {
            return;
        }
    }
}
