//! The gateway's disk: a store for its buffer that loses what it need not keep, and fails or loses power when told to.
//!
//! Keeps the promises that the buffer's disk store makes on top of sled and of files, and no more: what a call changed is there when it
//! returns; of a call that fails or meets a power cut, all or nothing may be there, of appended values the first few.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fastrand::Rng;
use pattoo_gateway::buffer::memory::Content;
use pattoo_gateway::buffer::{Listed, Notice, Numbered, Store, StoreError};

/// What happens at a write.
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
    durable: Content,
    /// A head that nobody waited for.
    lazy: Option<Vec<u8>>,
    /// Faults by the number of writes that come before each.
    armed: Vec<(u32, DiskFault)>,
    power: bool,
}

/// One opening of the platter.
pub(super) struct Disk {
    platter: Platter,
}

impl Platter {
    pub(super) fn new(seed: u64) -> Self {
        let (random, durable, armed) = (Rng::with_seed(seed), Content::default(), Vec::new());
        Self { state: Arc::new(Mutex::new(State { random, durable, lazy: None, armed, power: true })) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Power is back.
    pub(super) fn open(&self) -> Disk {
        self.lock().power = true;
        Disk { platter: self.clone() }
    }

    /// Another platter with the same content, and without faults.
    pub(super) fn copy(&self) -> Self {
        let State { durable, lazy, .. } = &*self.lock();
        let (random, durable, lazy) = (Rng::with_seed(0), durable.clone(), lazy.clone());
        Self { state: Arc::new(Mutex::new(State { random, durable, lazy, armed: Vec::new(), power: true })) }
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

    /// Flips a bit of a stored value, which may be a group of batches; gives its number and that of the next value.
    pub(super) fn damage(&self) -> Option<(u64, Option<u64>)> {
        let mut state = self.lock();
        let State { random, durable, .. } = &mut *state;
        let mut values: Vec<(&u64, &mut Vec<u8>)> = durable.chunks.values_mut().flatten().collect();
        if values.is_empty() {
            return None;
        }
        let mut numbers: Vec<u64> = values.iter().map(|(seq, _)| **seq).collect();
        numbers.sort_unstable();
        let (seq, value) = values.swap_remove(random.usize(0..values.len()));
        let (at, bit) = (random.usize(0..value.len()), random.u8(0..8));
        value[at] ^= 1 << bit;
        Some((*seq, numbers.into_iter().find(|number| number > seq)))
    }
}

impl State {
    fn lose_power(&mut self) {
        self.power = false;
        if self.random.bool() {
            self.lazy = None;
        }
    }

    /// Makes a change, unless a fault is due: then it may be made or not, or a part of it where it has parts.
    fn write(&mut self, parts: usize, change: impl FnOnce(&mut Content, usize)) -> Result<(), StoreError> {
        if !self.power {
            return Err(no_power());
        }
        self.armed.iter_mut().for_each(|(left, _)| *left = left.saturating_sub(1));
        let due = self.armed.iter().position(|(left, _)| *left == 0).map(|at| self.armed.remove(at).1);
        let made = if due.is_some() { self.random.usize(0..=parts) } else { parts };
        if made > 0 {
            change(&mut self.durable, made);
        }
        match due {
            None => Ok(()),
            Some(DiskFault::Error) => Err(StoreError::Io("input/output error".into())),
            Some(DiskFault::Full) => Err(StoreError::Full),
            Some(DiskFault::Power) => {
                self.lose_power();
                Err(no_power())
            }
        }
    }

    fn read<T>(&self, read: impl FnOnce(&Content) -> T) -> Result<T, StoreError> {
        if self.power { Ok(read(&self.durable)) } else { Err(no_power()) }
    }
}

fn no_power() -> StoreError {
    StoreError::Io("the power is gone".into())
}

impl Disk {
    fn write(&self, change: impl FnOnce(&mut Content)) -> Result<(), StoreError> {
        self.platter.lock().write(1, |content, _| change(content))
    }

    fn content<T>(&self, read: impl FnOnce(&Content) -> T) -> Result<T, StoreError> {
        self.platter.lock().read(read)
    }
}

impl Store for Disk {
    fn head(&mut self) -> Result<Option<Vec<u8>>, StoreError> {
        let lazy = self.platter.lock().lazy.clone();
        self.content(|content| lazy.or_else(|| content.head.clone()))
    }

    fn set_head(&mut self, head: &[u8], durable: bool) -> Result<(), StoreError> {
        if durable {
            let mut state = self.platter.lock();
            let before = state.durable.head.clone();
            let result = state.write(1, |content, _| content.head = Some(head.to_vec()));
            if state.durable.head != before || result.is_ok() {
                state.lazy = None;
            }
            return result;
        }
        self.content(|_| ())?;
        self.platter.lock().lazy = Some(head.to_vec());
        Ok(())
    }

    fn schema(&mut self, id: u32) -> Result<Option<Vec<u8>>, StoreError> {
        self.content(|content| content.schemas.get(&id).cloned())
    }

    fn set_schema(&mut self, id: u32, message: Option<&[u8]>) -> Result<(), StoreError> {
        self.write(|content| match message {
            Some(message) => drop(content.schemas.insert(id, message.to_vec())),
            None => drop(content.schemas.remove(&id)),
        })
    }

    fn chunks(&mut self) -> Result<Vec<Listed>, StoreError> {
        self.content(|content| content.chunks.keys().map(|chunk| (*chunk, content.abouts.get(chunk).cloned())).collect())
    }

    fn begin(&mut self, chunk: u64) -> Result<(), StoreError> {
        self.write(|content| drop(content.chunks.insert(chunk, BTreeMap::new())))
    }

    fn append(&mut self, chunk: u64, values: &[Numbered]) -> Result<(), StoreError> {
        self.platter.lock().write(values.len(), |content, made| {
            content.chunks.entry(chunk).or_default().extend(values.iter().take(made).cloned());
        })
    }

    fn seal(&mut self, chunk: u64, about: &[u8]) -> Result<(), StoreError> {
        self.write(|content| drop(content.abouts.insert(chunk, about.to_vec())))
    }

    fn read(&mut self, chunk: u64, number: u64) -> Result<Option<Numbered>, StoreError> {
        self.content(|content| {
            let value = content.chunks.get(&chunk)?.range(..=number).next_back();
            value.map(|(number, value)| (*number, value.clone()))
        })
    }

    fn scan(&mut self, chunk: u64, each: &mut dyn FnMut(u64, &[u8])) -> Result<(), StoreError> {
        let values = self.content(|content| content.chunks.get(&chunk).cloned().unwrap_or_default())?;
        values.iter().for_each(|(number, value)| each(*number, value));
        Ok(())
    }

    fn rewrite(&mut self, chunk: u64, values: &[Numbered], about: &[u8], _: Option<&str>) -> Result<(), StoreError> {
        self.write(|content| {
            content.chunks.insert(chunk, values.iter().cloned().collect());
            content.abouts.insert(chunk, about.to_vec());
        })
    }

    fn remove(&mut self, chunk: u64) -> Result<(), StoreError> {
        self.write(|content| {
            content.chunks.remove(&chunk);
            content.abouts.remove(&chunk);
        })
    }

    fn bytes(&self) -> u64 {
        self.platter.lock().durable.chunks.values().flat_map(BTreeMap::values).map(|value| value.len() as u64).sum()
    }

    fn new_stream(&mut self) -> Result<u64, StoreError> {
        let mut state = self.platter.lock();
        state.read(|_| ())?;
        Ok(state.random.u64(1..))
    }

    fn set_aside(&mut self, why: &str) -> Result<Notice, StoreError> {
        self.write(|content| *content = Content::default())?;
        self.platter.lock().lazy = None;
        Ok(Notice::SetAside { to: "aside".into(), why: why.to_owned() })
    }

    fn recover(&mut self, after: &StoreError) -> Result<(), StoreError> {
        self.content(|_| ()).map_err(|_| after.clone())
    }

    fn take_notices(&mut self) -> Vec<Notice> {
        Vec::new()
    }
}
