//! Which parts and rollups there are, and which of them are open.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use super::name::Name;
use super::rolled;
use crate::store::part::{Part, Source};
use crate::store::rollup::Rollup;

/// Parts that are kept open at most.
pub const MAX_OPEN_PARTS: usize = 256;
/// Rollups that are kept open at most: a year of days.
pub const MAX_OPEN_ROLLUPS: usize = 512;
/// Most that the indexes of parts kept open take in memory, in bytes, and those of rollups; one is kept whatever it takes.
pub const MAX_INDEX_BYTES: usize = 64 << 20;

/// A part on disk, open or not.
#[derive(Debug)]
pub(super) struct Shelved<S> {
    pub(super) id: u64,
    pub(super) name: Name,
    pub(super) bytes: u64,
    pub(super) readings: u64,
    /// First and last time.
    pub(super) times_ms: Option<(i64, i64)>,
    /// Set before its file goes, for those who still have it in their list.
    pub(super) pinned: OnceLock<Arc<Part<S>>>,
    broken: AtomicBool,
}

impl<S> Shelved<S> {
    pub(super) fn new(id: u64, name: Name, bytes: u64, readings: u64, times_ms: Option<(i64, i64)>) -> Self {
        Self { id, name, bytes, readings, times_ms, pinned: OnceLock::new(), broken: AtomicBool::new(false) }
    }

    /// Whether it may have readings with `from_ms <= at_ms <= last_ms`.
    pub(super) fn touches(&self, from_ms: i64, last_ms: i64) -> bool {
        self.times_ms.is_some_and(|(first, last)| first <= last_ms && last >= from_ms)
    }

    /// Whether its index cannot be read.
    pub(super) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }

    pub(super) fn set_broken(&self) {
        self.broken.store(true, Ordering::Relaxed);
    }
}

/// Parts of a day, in the order of their generations.
pub(super) type Partition<S> = Arc<[Arc<Shelved<S>>]>;

/// All parts, by day, and all rollups. Never changed: a change makes another list.
#[derive(Debug)]
pub(super) struct Parts<S> {
    pub(super) days: BTreeMap<i64, Partition<S>>,
    pub(super) rolled: Arc<rolled::Days<S>>,
}

impl<S> Clone for Parts<S> {
    fn clone(&self) -> Self {
        Self { days: self.days.clone(), rolled: self.rolled.clone() }
    }
}

impl<S> Default for Parts<S> {
    fn default() -> Self {
        Self { days: BTreeMap::new(), rolled: Arc::default() }
    }
}

impl<S> Parts<S> {
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Shelved<S>>> {
        self.days.values().flat_map(|partition| partition.iter())
    }

    pub(super) fn put(&mut self, part: Arc<Shelved<S>>) {
        let before = self.days.get(&part.name.day).into_iter().flat_map(|partition| partition.iter().cloned());
        let day = part.name.day;
        let mut partition: Vec<_> = before.chain([part]).collect();
        partition.sort_by_key(|part| (part.name.last, part.name.first, part.name.revision));
        self.days.insert(day, partition.into());
    }

    pub(super) fn take(&mut self, gone: &Shelved<S>) {
        let Some(partition) = self.days.get(&gone.name.day) else { return };
        let left: Vec<_> = partition.iter().filter(|part| part.id != gone.id).cloned().collect();
        if left.is_empty() {
            self.days.remove(&gone.name.day);
        } else {
            self.days.insert(gone.name.day, left.into());
        }
    }
}

/// What has an index in memory while it is open.
pub(super) trait Indexed {
    /// What that takes, about, in bytes.
    fn index_bytes(&self) -> usize;
}

impl<S: Source> Indexed for Part<S> {
    fn index_bytes(&self) -> usize {
        self.index_bytes()
    }
}

impl<S: Source> Indexed for Rollup<S> {
    fn index_bytes(&self) -> usize {
        self.index_bytes()
    }
}

/// Open parts or rollups, by their id; those that were used longest ago are closed first.
#[derive(Debug)]
pub(super) struct Cache<T> {
    open: HashMap<u64, (Arc<T>, u64)>,
    most: usize,
    used: u64,
    index_bytes: usize,
}

impl<T: Indexed> Cache<T> {
    /// One that keeps so many open.
    pub(super) fn of(most: usize) -> Self {
        Self { open: HashMap::new(), most, used: 0, index_bytes: 0 }
    }

    pub(super) fn get(&mut self, id: u64) -> Option<Arc<T>> {
        self.used += 1;
        let (opened, used) = self.open.get_mut(&id)?;
        *used = self.used;
        Some(opened.clone())
    }

    pub(super) fn put(&mut self, id: u64, opened: &Arc<T>) {
        self.remove(id);
        self.used += 1;
        self.index_bytes += opened.index_bytes();
        self.open.insert(id, (opened.clone(), self.used));
        while self.open.len() > self.most || (self.index_bytes > MAX_INDEX_BYTES && self.open.len() > 1) {
            let Some(oldest) = self.open.iter().min_by_key(|(_, (_, used))| *used).map(|(id, _)| *id) else { break };
            self.remove(oldest);
        }
    }

    pub(super) fn remove(&mut self, id: u64) {
        if let Some((opened, _)) = self.open.remove(&id) {
            self.index_bytes -= opened.index_bytes();
        }
    }
}
