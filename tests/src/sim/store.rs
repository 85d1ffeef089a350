//! The server's disk: the memory store, with commits that fail, and with a record of what came when.
//!
//! Judges one thing: that no reading is ever stored a second time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use pattoo_server::store::memory::Memory;
use pattoo_server::store::{Bucket, Commit, Committed, Loaded, Reading, SeriesEntry, SeriesId, Store, StoreError};
use pattoo_wire::{Gap, Sample};

/// Gateway, device, point.
pub(super) type Name = (String, String, String);

/// The store of the simulated server. The world and the server share it.
#[derive(Debug, Default)]
pub(super) struct ServerStore {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    memory: Memory,
    commits: Vec<Commit>,
    series: BTreeMap<SeriesId, Name>,
    ids: BTreeMap<Name, SeriesId>,
    /// What the next commits do: fail, and be done all the same.
    failures: Vec<bool>,
    twice: Option<(Name, i64)>,
    /// What a restore took away.
    forgotten: BTreeSet<(Name, i64)>,
    forgotten_gaps: Vec<(String, u64, Gap)>,
}

impl ServerStore {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a later commit fail; a late one is done and only says so.
    pub(super) fn fail(&self, late: bool) {
        self.lock().failures.push(late);
    }

    pub(super) fn heal(&self) {
        self.lock().failures.clear();
    }

    /// Goes back to an older copy, which has that share of the commits, in 256ths.
    pub(super) fn restore(&self, share: u8) {
        let mut state = self.lock();
        let older = state.commits.len() * usize::from(share) / 256;
        let lost: Vec<Commit> = state.commits.drain(older..).collect();
        for (id, reading) in lost.iter().flat_map(|commit| commit.readings.iter()) {
            if let Some(name) = state.series.get(&id).cloned() {
                state.forgotten.insert((name, reading.at_ms));
            }
        }
        state.forgotten_gaps.extend(lost.into_iter().flat_map(|commit| commit.gaps));
        let commits = std::mem::take(&mut state.commits);
        (state.memory, state.series, state.ids) = (Memory::default(), BTreeMap::new(), BTreeMap::new());
        for commit in commits {
            // All of it went well before.
            let _ = state.commit(&commit);
        }
    }

    /// Whether a restore took a reading away that had been stored.
    pub(super) fn has_forgotten(&self, name: &Name, at_ms: i64) -> bool {
        self.lock().forgotten.contains(&(name.clone(), at_ms))
    }

    /// Whether a restore took a record away that told of this batch.
    pub(super) fn has_forgotten_record(&self, gateway: &str, stream: u64, seq: u64) -> bool {
        let tells = |(of, its, gap): &(String, u64, Gap)| of == gateway && *its == stream && (gap.first_seq..=gap.last_seq).contains(&seq);
        self.lock().forgotten_gaps.iter().any(tells)
    }

    /// Whether nothing of a stream is missing, by the server's own word.
    pub(super) fn has_all(&self, gateway: &str, stream: u64, next: u64) -> bool {
        let streams = self.lock().memory.load().map(|loaded| loaded.streams).unwrap_or_default();
        let contiguous = streams.iter().find(|state| state.gateway == gateway && state.stream == stream).map_or(0, |s| s.contiguous);
        contiguous + 1 >= next
    }

    /// The stored reading of that series and time.
    pub(super) fn find(&self, name: &Name, at_ms: i64) -> Option<Sample> {
        let state = self.lock();
        let id = *state.ids.get(name)?;
        state.memory.raw(id, at_ms, at_ms + 1, 1).ok()?.pop().map(|reading| reading.sample)
    }

    /// Calls for every stored reading.
    pub(super) fn each(&self, mut look: impl FnMut(&Name, &Reading)) {
        let state = self.lock();
        for (id, name) in &state.series {
            for reading in state.memory.raw(*id, i64::MIN, i64::MAX, usize::MAX).unwrap_or_default() {
                look(name, &reading);
            }
        }
    }

    /// Gap records of a gateway, with their stream.
    pub(super) fn gap_records(&self, gateway: &str) -> Vec<(u64, Gap)> {
        self.lock().memory.gap_records(gateway)
    }

    /// A reading that was stored a second time.
    pub(super) fn take_twice(&self) -> Option<(Name, i64)> {
        self.lock().twice.take()
    }
}

impl State {
    fn commit(&mut self, commit: &Commit) -> Result<Committed, StoreError> {
        for (id, reading) in commit.readings.iter() {
            if !self.memory.raw(id, reading.at_ms, reading.at_ms + 1, 1)?.is_empty() {
                self.twice = self.series.get(&id).map(|name| (name.clone(), reading.at_ms));
            }
        }
        let committed = self.memory.commit(commit)?;
        self.note(commit);
        self.commits.push(commit.clone());
        Ok(committed)
    }

    fn note(&mut self, commit: &Commit) {
        for SeriesEntry { id, gateway, device, entry, .. } in &commit.series {
            let name = (gateway.clone(), device.clone(), entry.point.clone());
            self.series.insert(*id, name.clone());
            self.ids.insert(name, *id);
        }
    }
}

impl Store for ServerStore {
    fn load(&self) -> Result<Loaded, StoreError> {
        self.lock().memory.load()
    }

    fn commit(&self, commit: &Commit) -> Result<Committed, StoreError> {
        let mut state = self.lock();
        let failure = (!state.failures.is_empty()).then(|| state.failures.remove(0));
        let committed = if failure == Some(false) { Committed::default() } else { state.commit(commit)? };
        match failure {
            Some(_) => Err(StoreError::Io { path: "simulated".into(), what: "input/output error".into() }),
            None => Ok(committed),
        }
    }

    fn raw(&self, series: SeriesId, from_ms: i64, to_ms: i64, limit: usize) -> Result<Vec<Reading>, StoreError> {
        self.lock().memory.raw(series, from_ms, to_ms, limit)
    }

    fn buckets(&self, series: SeriesId, from_ms: i64, to_ms: i64, step_ms: i64) -> Result<Vec<Bucket>, StoreError> {
        self.lock().memory.buckets(series, from_ms, to_ms, step_ms)
    }

    fn latest(&self, series: &[SeriesId]) -> Result<Vec<Option<Reading>>, StoreError> {
        self.lock().memory.latest(series)
    }

    fn gaps(&self, gateway: &str, from_ms: i64, to_ms: i64) -> Result<Vec<Gap>, StoreError> {
        self.lock().memory.gaps(gateway, from_ms, to_ms)
    }

    fn expire(&self, before_ms: i64, limit: usize) -> Result<usize, StoreError> {
        self.lock().memory.expire(before_ms, limit)
    }

    fn bytes(&self) -> Result<u64, StoreError> {
        self.lock().memory.bytes()
    }
}
