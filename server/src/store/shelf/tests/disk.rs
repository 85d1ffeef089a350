//! A folder that keeps after a power cut what it was asked to keep, and of the rest anything.

use std::borrow::Cow;
use std::sync::{Arc, Mutex};

use super::*;

/// Clones share the medium.
#[derive(Debug, Clone, Default)]
pub(super) struct Disk(Arc<Mutex<Held>>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    Power,
    Error,
    /// No space for anything new, until power comes back.
    Full,
}

#[derive(Debug, Default)]
pub(super) struct Held {
    /// Bytes of each file, and how many of them are durable.
    inodes: Vec<(Vec<u8>, usize)>,
    names: BTreeMap<String, usize>,
    durable: BTreeMap<String, usize>,
    /// Changes of names since the folder was synced.
    pending: Vec<Change>,
    pub(super) damaged: BTreeMap<String, Vec<u8>>,
    pub(super) steps: usize,
    fault_at: Option<(usize, Fault)>,
    dead: bool,
    full: bool,
    random: u64,
    pub(super) opened: usize,
    pub(super) open: usize,
}

#[derive(Debug, Clone)]
enum Change {
    Link(String, usize),
    Rename(String, String, usize),
    Unlink(String),
}

#[derive(Debug)]
pub(super) struct ReadFile(Disk, usize);
#[derive(Debug)]
pub(super) struct WrittenFile(Disk, usize);

impl Disk {
    pub(super) fn with<T>(&self, work: impl FnOnce(&mut Held) -> T) -> T {
        work(&mut self.0.lock().unwrap())
    }

    /// Another medium with the same on it.
    pub(super) fn copy(&self) -> Self {
        let held = self.with(|held| Held { inodes: held.inodes.clone(), names: held.names.clone(), ..Held::default() });
        Self(Arc::new(Mutex::new(Held { durable: held.names.clone(), ..held })))
    }

    pub(super) fn arm(&self, after: usize, fault: Fault, seed: u64) {
        self.with(|held| {
            held.fault_at = Some((held.steps + after, fault));
            held.random = seed;
        });
    }

    /// Whether the fault has come; there is space again, and the power stays.
    pub(super) fn disarm(&self) -> bool {
        self.with(|held| {
            held.full = false;
            held.fault_at.take().is_some_and(|(at, _)| held.steps > at)
        })
    }

    /// The power goes and comes back.
    pub(super) fn power_cut(&self) {
        self.with(|held| {
            let ordered = held.random().is_multiple_of(2);
            let pending = std::mem::take(&mut held.pending);
            let first = held.random() as usize % (pending.len() + 1);
            let mut names = held.durable.clone();
            for (place, change) in pending.into_iter().enumerate() {
                if if ordered { place < first } else { held.random().is_multiple_of(2) } {
                    change.apply(&mut names);
                }
            }
            for inode in 0..held.inodes.len() {
                let (bytes, durable) = held.inodes[inode].clone();
                let left = held.torn(&bytes[durable..]);
                let bytes = [&bytes[..durable], &left].concat();
                held.inodes[inode] = (bytes.clone(), bytes.len());
            }
            (held.durable, held.names, held.dead, held.full) = (names.clone(), names, false, false);
        });
    }

    pub(super) fn files(&self) -> Vec<String> {
        self.with(|held| held.names.keys().cloned().collect())
    }

    /// Changes bytes of a file where they lie; gives what it then has.
    pub(super) fn spoil(&self, name: &str, spoil: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        self.with(|held| {
            let inode = held.names[name];
            let (bytes, durable) = &mut held.inodes[inode];
            spoil(bytes);
            *durable = bytes.len();
            bytes.clone()
        })
    }

    pub(super) fn put(&self, name: &str, bytes: &[u8]) {
        self.with(|held| {
            held.inodes.push((bytes.to_vec(), bytes.len()));
            let inode = held.inodes.len() - 1;
            held.names.insert(name.to_owned(), inode);
            held.durable.insert(name.to_owned(), inode);
        });
    }
}

impl Change {
    fn apply(self, names: &mut BTreeMap<String, usize>) {
        match self {
            Self::Link(name, inode) => drop(names.insert(name, inode)),
            Self::Rename(from, to, inode) => {
                names.remove(&from);
                names.insert(to, inode);
            }
            Self::Unlink(name) => drop(names.remove(&name)),
        }
    }
}

impl Held {
    fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.random >> 33
    }

    /// What may be left of bytes that were not synced.
    fn torn(&mut self, bytes: &[u8]) -> Vec<u8> {
        let length = match self.random() % 4 {
            0 => 0,
            1 => bytes.len(),
            _ => self.random() as usize % (bytes.len() + 1),
        };
        let mut left = bytes[..length].to_vec();
        for block in left.chunks_mut(64) {
            if self.random().is_multiple_of(4) {
                block.fill(0);
            }
        }
        left
    }

    /// Whether a step is done: it may be done and fail all the same.
    fn step(&mut self, takes_space: bool) -> (bool, Result<(), ShelfError>) {
        let refuse = |what: &str| Err(ShelfError::Disk(what.into()));
        if self.dead {
            return (false, refuse("no power"));
        }
        self.steps += 1;
        if let Some((at, fault)) = self.fault_at
            && self.steps == at + 1
        {
            self.dead = fault == Fault::Power;
            self.full = fault == Fault::Full;
            if fault != Fault::Full {
                return (self.random().is_multiple_of(2), refuse("input/output error"));
            }
        }
        if self.full && takes_space { (false, refuse("no space left on device")) } else { (true, Ok(())) }
    }

    fn change(&mut self, takes_space: bool, change: Change) -> Result<(), ShelfError> {
        let (done, result) = self.step(takes_space);
        if done {
            change.clone().apply(&mut self.names);
            self.pending.push(change);
        }
        result
    }
}

impl Folder for Disk {
    type Source = ReadFile;
    type Sink = WrittenFile;

    fn list(&self) -> Result<Vec<(String, u64)>, ShelfError> {
        Ok(self.with(|held| held.names.iter().map(|(name, inode)| (name.clone(), held.inodes[*inode].0.len() as u64)).collect()))
    }

    fn list_damaged(&self) -> Result<Vec<String>, ShelfError> {
        Ok(self.with(|held| held.damaged.keys().cloned().collect()))
    }

    fn open(&self, name: &str) -> Result<ReadFile, ShelfError> {
        self.with(|held| {
            let inode = held.names.get(name).copied();
            held.opened += usize::from(inode.is_some());
            held.open += usize::from(inode.is_some());
            inode.map(|inode| ReadFile(self.clone(), inode)).ok_or_else(|| ShelfError::Disk(format!("{name}: no such file")))
        })
    }

    fn create(&self, name: &str) -> Result<WrittenFile, ShelfError> {
        self.with(|held| {
            held.inodes.push((Vec::new(), 0));
            let inode = held.inodes.len() - 1;
            held.change(true, Change::Link(name.to_owned(), inode)).map(|()| WrittenFile(self.clone(), inode))
        })
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), ShelfError> {
        self.with(|held| {
            let inode = held.names[from];
            held.change(false, Change::Rename(from.to_owned(), to.to_owned(), inode))
        })
    }

    fn remove(&self, name: &str) -> Result<(), ShelfError> {
        self.with(|held| if held.names.contains_key(name) { held.change(false, Change::Unlink(name.to_owned())) } else { Ok(()) })
    }

    fn sync(&self) -> Result<(), ShelfError> {
        self.with(|held| {
            let (done, result) = held.step(false);
            if done {
                held.pending.clear();
                held.durable = held.names.clone();
            }
            result
        })
    }

    fn keep_damaged(&self, name: &str) -> Result<String, ShelfError> {
        self.with(|held| {
            let bytes = held.inodes[held.names[name]].0.clone();
            let (done, result) = held.step(true);
            if done {
                held.damaged.insert(name.to_owned(), bytes);
            }
            result.map(|()| format!("damaged/{name}"))
        })
    }
}

impl Drop for ReadFile {
    fn drop(&mut self) {
        self.0.with(|held| held.open -= 1);
    }
}

impl Source for ReadFile {
    fn bytes(&self) -> Result<u64, PartError> {
        Ok(self.0.with(|held| held.inodes[self.1].0.len() as u64))
    }

    fn read(&self, at: u64, bytes: usize) -> Result<Cow<'_, [u8]>, PartError> {
        self.0.with(|held| held.inodes[self.1].0.read(at, bytes).map(|read| Cow::Owned(read.into_owned())))
    }
}

impl Sink for WrittenFile {
    fn append(&mut self, bytes: &[u8]) -> Result<(), ShelfError> {
        self.0.with(|held| {
            let (done, result) = held.step(true);
            // Of what fails a piece may be there.
            let written = if done { bytes.to_vec() } else { held.torn(bytes) };
            held.inodes[self.1].0.extend(written);
            result
        })
    }

    fn sync(&mut self) -> Result<(), ShelfError> {
        self.0.with(|held| {
            let (done, result) = held.step(false);
            if done {
                held.inodes[self.1].1 = held.inodes[self.1].0.len();
            }
            result
        })
    }
}
