//! The gateway's disk: a store for its buffer that loses what was not synced, and fails or loses power when told to.
//!
//! Keeps the promises that the buffer's disk store makes on top of sled, and no more: changes are made all or not at all and become
//! durable in their order; what was applied and not synced may survive or not; opening again makes durable what it finds.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fastrand::Rng;
use pattoo_gateway::buffer::{Change, Notice, Pair, Store, StoreError};

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

/// What happens at a write or sync.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DiskFault {
    Power,
    Error,
    Full,
}

/// What survives the end of a process. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Platter {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    random: Rng,
    durable: Map,
    begun: bool,
    remembered: Option<(u64, u64)>,
    /// Faults by the number of writes and syncs that come before each.
    armed: Vec<(u32, DiskFault)>,
    power: bool,
}

/// One opening of the platter.
pub(super) struct Disk {
    platter: Platter,
    live: Map,
    /// Applied since the last sync.
    unsynced: Vec<Vec<Change>>,
}

impl Platter {
    pub(super) fn new(seed: u64) -> Self {
        let (random, durable, armed) = (Rng::with_seed(seed), Map::new(), Vec::new());
        Self { state: Arc::new(Mutex::new(State { random, durable, begun: false, remembered: None, armed, power: true })) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Power is back.
    pub(super) fn open(&self) -> Disk {
        let mut state = self.lock();
        state.power = true;
        Disk { platter: self.clone(), live: state.durable.clone(), unsynced: Vec::new() }
    }

    pub(super) fn has_power(&self) -> bool {
        self.lock().power
    }

    /// The power goes now.
    pub(super) fn cut_power(&self) {
        self.lock().lose_power();
    }

    pub(super) fn arm(&self, after: u32, fault: DiskFault) {
        self.lock().armed.push((after, fault));
    }

    pub(super) fn disarm(&self) {
        self.lock().armed.clear();
    }

    /// Flips a bit of one stored batch that `of` names; gives its number.
    pub(super) fn damage(&self, of: impl Fn(&[u8]) -> Option<u64>) -> Option<u64> {
        let mut state = self.lock();
        let batches: Vec<(Vec<u8>, u64)> = state.durable.keys().filter_map(|key| Some((key.clone(), of(key)?))).collect();
        if batches.is_empty() {
            return None;
        }
        let (key, seq) = batches[state.random.usize(0..batches.len())].clone();
        let State { random, durable, .. } = &mut *state;
        let value = durable.get_mut(&key)?;
        let (at, bit) = (random.usize(0..value.len()), random.u8(0..8));
        value[at] ^= 1 << bit;
        Some(seq)
    }
}

impl State {
    fn lose_power(&mut self) {
        self.power = false;
        // Was never synced.
        self.remembered = self.remembered.filter(|_| self.random.bool());
    }

    /// Whether the next write or sync goes well, and whether its work is done.
    fn strike(&mut self) -> (Option<DiskFault>, bool) {
        let done = self.random.bool();
        self.armed.iter_mut().for_each(|(left, _)| *left = left.saturating_sub(1));
        let due = self.armed.iter().position(|(left, _)| *left == 0);
        (due.map(|at| self.armed.remove(at).1), due.is_none() || done)
    }
}

impl Disk {
    fn powered(&self) -> Result<MutexGuard<'_, State>, StoreError> {
        let state = self.platter.lock();
        if state.power { Ok(state) } else { Err(StoreError::Io("the power is gone".into())) }
    }

    /// What of the unsynced changes got to the platter by itself: the first few.
    fn leak(state: &mut State, unsynced: &mut Vec<Vec<Change>>) {
        let survive = state.random.usize(0..=unsynced.len());
        for changes in unsynced.drain(..).take(survive) {
            change(&mut state.durable, &changes);
        }
    }

    fn failed(&mut self, fault: DiskFault) -> StoreError {
        let mut state = self.platter.lock();
        match fault {
            DiskFault::Power => {
                state.lose_power();
                Self::leak(&mut state, &mut self.unsynced);
                StoreError::Io("the power went".into())
            }
            DiskFault::Error => StoreError::Io("input/output error".into()),
            DiskFault::Full => StoreError::Full,
        }
    }
}

impl Drop for Disk {
    /// The end of a process, or of the power: what was not synced may be there or not.
    fn drop(&mut self) {
        Self::leak(&mut self.platter.lock(), &mut self.unsynced);
    }
}

fn change(map: &mut Map, changes: &[Change]) {
    for (key, value) in changes {
        match value {
            Some(value) => map.insert(key.clone(), value.clone()),
            None => map.remove(key),
        };
    }
}

impl Store for Disk {
    fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        drop(self.powered()?);
        Ok(self.live.get(key).cloned())
    }

    fn scan(&mut self, letter: u8) -> Result<Vec<Pair>, StoreError> {
        drop(self.powered()?);
        Ok(self.live.range(vec![letter]..vec![letter + 1]).map(|(k, v)| (k.clone(), v.clone())).collect())
    }

    fn last(&mut self, letter: u8) -> Result<Option<Vec<u8>>, StoreError> {
        drop(self.powered()?);
        Ok(self.live.range(vec![letter]..vec![letter + 1]).next_back().map(|(key, _)| key.clone()))
    }

    fn apply(&mut self, changes: &[Change]) -> Result<(), StoreError> {
        let (fault, done) = self.powered()?.strike();
        if done {
            change(&mut self.live, changes);
            self.unsynced.push(changes.to_vec());
        }
        fault.map_or(Ok(()), |fault| Err(self.failed(fault)))
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        let (fault, done) = self.powered()?.strike();
        if done {
            let mut state = self.platter.lock();
            state.begun = true;
            for changes in self.unsynced.drain(..) {
                change(&mut state.durable, &changes);
            }
        }
        fault.map_or(Ok(()), |fault| Err(self.failed(fault)))
    }

    fn begun(&mut self) -> bool {
        self.platter.lock().begun
    }

    fn remember(&mut self, stream: u64, next: u64) {
        self.platter.lock().remembered = Some((stream, next));
    }

    fn remembered(&mut self) -> Option<(u64, u64)> {
        self.platter.lock().remembered
    }

    fn compact(&mut self) -> Result<(), StoreError> {
        self.powered().map(drop)
    }

    fn recover(&mut self, after: &StoreError) -> Result<Vec<Notice>, StoreError> {
        let mut state = self.platter.lock();
        if !state.power {
            return Err(after.clone());
        }
        if let StoreError::Damaged(why) = after {
            (state.durable, state.begun, state.remembered) = (Map::new(), false, None);
            self.live.clear();
            self.unsynced.clear();
            return Ok(vec![Notice::SetAside { to: "aside".into(), why: why.clone() }]);
        }
        Self::leak(&mut state, &mut self.unsynced);
        self.live = state.durable.clone();
        Ok(vec![Notice::Reopened(after.to_string())])
    }

    fn new_stream(&mut self) -> Result<u64, StoreError> {
        Ok(self.powered()?.random.u64(1..))
    }
}
