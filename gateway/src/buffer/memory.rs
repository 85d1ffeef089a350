//! A store in memory, for tests and simulations: loses what need not be durable, fails and stops when told to.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::store::{Listed, Numbered};
use super::{Notice, Store, StoreError};

/// What survives the end of a process. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Medium {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    durable: Content,
    /// A head that the disk was not waited for.
    lazy: Option<Vec<u8>>,
    /// What the next appends give, and whether they work all the same.
    failures: Vec<(StoreError, bool)>,
    /// Chunks that cannot be read.
    unreadable: Vec<u64>,
    /// No room but the reserve.
    full: bool,
    writes: u64,
    appends: u64,
    cut: Option<Cut>,
}

/// All that is stored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Content {
    /// The head.
    pub head: Option<Vec<u8>>,
    /// Messages of schemas.
    pub schemas: BTreeMap<u32, Vec<u8>>,
    /// Values of chunks.
    pub chunks: BTreeMap<u64, BTreeMap<u64, Vec<u8>>>,
    /// What was noted of sealed chunks.
    pub abouts: BTreeMap<u64, Vec<u8>>,
}

/// A power cut to come.
#[derive(Debug, Clone, Copy)]
struct Cut {
    after_writes: u64,
    /// Whether the write that it meets comes through, as far as it can.
    half: bool,
}

impl Medium {
    fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Makes the next append fail; several calls, several appends.
    pub fn fail(&self, error: StoreError) {
        self.with(|state| state.failures.push((error, false)));
    }

    /// Makes the next append work and say that it failed.
    pub fn fail_late(&self, error: StoreError) {
        self.with(|state| state.failures.push((error, true)));
    }

    /// How many appends are still to fail.
    #[must_use]
    pub fn failures(&self) -> usize {
        self.with(|state| state.failures.len())
    }

    /// How often values were appended: each stands for a wait for the disk.
    #[must_use]
    pub fn appends(&self) -> u64 {
        self.with(|state| state.appends)
    }

    /// No append fails any more.
    pub fn forget_failures(&self) {
        self.with(|state| state.failures.clear());
    }

    /// Changes what is stored, as a bad disk would.
    pub fn damage(&self, change: impl FnOnce(&mut Content)) {
        self.with(|state| change(&mut state.durable));
    }

    /// Leaves no room for any write until the reserve is given up.
    pub fn fill(&self) {
        self.with(|state| state.full = true);
    }

    /// Makes a chunk unreadable.
    pub fn lose(&self, chunk: u64) {
        self.with(|state| state.unreadable.push(chunk));
    }

    /// Cuts the power at a later write; of that one itself the first `half` comes through, or nothing.
    pub fn cut_after(&self, writes: u64, half: bool) {
        self.with(|state| state.cut = Some(Cut { after_writes: state.writes + writes, half }));
    }

    /// Power again. Whether the cut was met. What the disk was not waited for is there or not.
    pub fn power_on(&self, keeps_lazy: bool) -> bool {
        self.with(|state| {
            let met = state.cut.take().is_some_and(|cut| state.writes > cut.after_writes);
            if !keeps_lazy {
                state.lazy = None;
            }
            met
        })
    }
}

impl State {
    /// Counts a write: whether it is whole, or the half before a power cut.
    fn write(&mut self) -> Result<bool, StoreError> {
        if self.full {
            return Err(StoreError::Full);
        }
        self.writes += 1;
        match self.cut {
            Some(cut) if self.writes == cut.after_writes + 1 && cut.half => Ok(false),
            Some(cut) if self.writes > cut.after_writes => Err(no_power()),
            _ => Ok(true),
        }
    }

    /// Makes a change that is whole or not there; a cut in the middle of it leaves the new or, as here, comes right behind it.
    fn change(&mut self, f: impl FnOnce(&mut Content)) -> Result<(), StoreError> {
        let whole = self.write()?;
        f(&mut self.durable);
        if whole { Ok(()) } else { Err(no_power()) }
    }
}

fn no_power() -> StoreError {
    StoreError::Io("no power".into())
}

/// A store in memory.
#[derive(Debug)]
pub struct Memory {
    medium: Medium,
}

impl Memory {
    /// Opens what the medium holds.
    #[must_use]
    pub fn open(medium: &Medium) -> Self {
        Self { medium: medium.clone() }
    }

    fn readable<T>(&self, chunk: u64, f: impl FnOnce(&State) -> T) -> Result<T, StoreError> {
        self.medium.with(|state| match state.unreadable.contains(&chunk) {
            true => Err(StoreError::Damaged("unreadable".into())),
            false => Ok(f(state)),
        })
    }
}

impl Store for Memory {
    fn head(&mut self) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.medium.with(|state| state.lazy.clone().or_else(|| state.durable.head.clone())))
    }

    fn set_head(&mut self, head: &[u8], durable: bool) -> Result<(), StoreError> {
        self.medium.with(|state| {
            if durable {
                state.change(|content| content.head = Some(head.to_vec()))?;
                state.lazy = None;
            } else if state.write()? {
                state.lazy = Some(head.to_vec());
            }
            Ok(())
        })
    }

    fn schema(&mut self, id: u32) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.medium.with(|state| state.durable.schemas.get(&id).cloned()))
    }

    fn set_schema(&mut self, id: u32, message: Option<&[u8]>) -> Result<(), StoreError> {
        self.medium.with(|state| {
            state.change(|content| match message {
                Some(message) => drop(content.schemas.insert(id, message.to_vec())),
                None => drop(content.schemas.remove(&id)),
            })
        })
    }

    fn chunks(&mut self) -> Result<Vec<Listed>, StoreError> {
        Ok(self.medium.with(|state| state.durable.chunks.keys().map(|chunk| (*chunk, state.durable.abouts.get(chunk).cloned())).collect()))
    }

    fn begin(&mut self, chunk: u64) -> Result<(), StoreError> {
        self.medium.with(|state| state.change(|content| drop(content.chunks.insert(chunk, BTreeMap::new()))))
    }

    fn append(&mut self, chunk: u64, values: &[Numbered]) -> Result<(), StoreError> {
        self.medium.with(|state| {
            state.appends += 1;
            let failure = (!state.failures.is_empty()).then(|| state.failures.remove(0));
            if let Some((error, false)) = failure {
                return Err(error);
            }
            let whole = state.write()?;
            let there = if whole { values.len() } else { values.len().div_ceil(2) };
            let content = state.durable.chunks.get_mut(&chunk).ok_or_else(|| StoreError::Io("no such chunk".into()))?;
            content.extend(values.iter().take(there).cloned());
            match failure {
                _ if !whole => Err(no_power()),
                Some((error, _)) => Err(error),
                None => Ok(()),
            }
        })
    }

    fn seal(&mut self, chunk: u64, about: &[u8]) -> Result<(), StoreError> {
        self.medium.with(|state| state.change(|content| drop(content.abouts.insert(chunk, about.to_vec()))))
    }

    fn read(&mut self, chunk: u64, number: u64) -> Result<Option<Numbered>, StoreError> {
        self.readable(chunk, |state| {
            let values = state.durable.chunks.get(&chunk)?;
            values.range(..=number).next_back().map(|(number, value)| (*number, value.clone()))
        })
    }

    fn scan(&mut self, chunk: u64, each: &mut dyn FnMut(u64, &[u8])) -> Result<(), StoreError> {
        let values = self.readable(chunk, |state| state.durable.chunks.get(&chunk).cloned().unwrap_or_default())?;
        values.iter().for_each(|(number, value)| each(*number, value));
        Ok(())
    }

    fn rewrite(&mut self, chunk: u64, values: &[Numbered], about: &[u8], _: Option<&str>) -> Result<(), StoreError> {
        self.medium.with(|state| {
            state.change(|content| {
                content.chunks.insert(chunk, values.iter().cloned().collect());
                content.abouts.insert(chunk, about.to_vec());
            })?;
            state.unreadable.retain(|other| *other != chunk);
            Ok(())
        })
    }

    fn remove(&mut self, chunk: u64) -> Result<(), StoreError> {
        self.medium.with(|state| {
            state.unreadable.retain(|other| *other != chunk);
            state.change(|content| {
                content.chunks.remove(&chunk);
                content.abouts.remove(&chunk);
            })
        })
    }

    fn bytes(&self) -> u64 {
        self.medium.with(|state| state.durable.chunks.values().flat_map(BTreeMap::values).map(|value| value.len() as u64).sum())
    }

    fn set_aside(&mut self, why: &str) -> Result<Notice, StoreError> {
        self.medium.with(|state| {
            state.change(|content| *content = Content::default())?;
            state.lazy = None;
            Ok(Notice::SetAside { to: "memory".into(), why: why.to_owned() })
        })
    }

    fn recover(&mut self, after: &StoreError) -> Result<(), StoreError> {
        self.medium.with(|state| {
            state.full = state.full && *after != StoreError::Full;
            match state.cut {
                Some(cut) if state.writes > cut.after_writes => Err(no_power()),
                _ => Ok(()),
            }
        })
    }

    fn take_notices(&mut self) -> Vec<Notice> {
        Vec::new()
    }
}
