//! A store in memory, for tests and simulations: loses what was not synced, and fails when told to.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::{Change, Notice, Pair, Store, StoreError};

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

/// What survives the end of a process. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Medium {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    durable: Map,
    remembered: Option<(u64, u64)>,
    /// What the next syncs give, and whether they work all the same.
    failures: Vec<(StoreError, bool)>,
}

impl Medium {
    fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Makes the next sync fail; several calls, several syncs.
    pub fn fail(&self, error: StoreError) {
        self.with(|state| state.failures.push((error, false)));
    }

    /// Makes the next sync work and say that it failed.
    pub fn fail_late(&self, error: StoreError) {
        self.with(|state| state.failures.push((error, true)));
    }

    /// Changes what is stored, as a bad disk would.
    pub fn damage(&self, change: impl FnOnce(&mut BTreeMap<Vec<u8>, Vec<u8>>)) {
        self.with(|state| change(&mut state.durable));
    }
}

/// A store in memory.
#[derive(Debug)]
pub struct Memory {
    medium: Medium,
    live: Map,
}

impl Memory {
    /// Opens what the medium holds.
    #[must_use]
    pub fn open(medium: &Medium) -> Self {
        Self { medium: medium.clone(), live: medium.with(|state| state.durable.clone()) }
    }
}

impl Store for Memory {
    fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.live.get(key).cloned())
    }

    fn scan(&mut self, letter: u8) -> Result<Vec<Pair>, StoreError> {
        Ok(self.live.iter().filter(|(key, _)| key.first() == Some(&letter)).map(|(k, v)| (k.clone(), v.clone())).collect())
    }

    fn last(&mut self, letter: u8) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.live.keys().rfind(|key| key.first() == Some(&letter)).cloned())
    }

    fn apply(&mut self, changes: &[Change]) -> Result<(), StoreError> {
        for (key, value) in changes {
            match value {
                Some(value) => self.live.insert(key.clone(), value.clone()),
                None => self.live.remove(key),
            };
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        self.medium.with(|state| {
            let failure = (!state.failures.is_empty()).then(|| state.failures.remove(0));
            if failure.as_ref().is_none_or(|(_, works)| *works) {
                state.durable.clone_from(&self.live);
            }
            failure.map_or(Ok(()), |(error, _)| Err(error))
        })
    }

    fn begun(&mut self) -> bool {
        self.medium.with(|state| state.remembered.is_some())
    }

    fn remember(&mut self, stream: u64, next: u64) {
        self.medium.with(|state| state.remembered = Some((stream, next)));
    }

    fn remembered(&mut self) -> Option<(u64, u64)> {
        self.medium.with(|state| state.remembered)
    }

    fn compact(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    fn recover(&mut self, after: &StoreError) -> Result<Vec<Notice>, StoreError> {
        if let StoreError::Damaged(why) = after {
            self.medium.with(|state| (state.durable, state.remembered) = (Map::new(), None));
            self.live.clear();
            return Ok(vec![Notice::SetAside { to: "memory".into(), why: why.clone() }]);
        }
        self.live = self.medium.with(|state| state.durable.clone());
        Ok(vec![Notice::Reopened(after.to_string())])
    }
}
