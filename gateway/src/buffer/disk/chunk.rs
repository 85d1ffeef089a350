//! One chunk: a small sled 0.34 database, with the care that it needs. A shell file: a leaf that does I/O.
//!
//! Measured before it was written: sled's flush is not durable without `sync_data` on its file, it never syncs values above about
//! 12 kB, its configuration file or its folder, it may panic on a damaged file, and it never gives space back. A tree that grows is
//! written twice and more; one that gets no more than nine values is written once.

use std::fs::{File, OpenOptions};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use super::copy::ChunkCopy;
use super::files::{io_error, pause, remove_if_there, sync_all_in, sync_folder, taken_bytes};
use crate::buffer::chunks::TREE_VALUES;
use crate::buffer::store::Numbered;
use crate::buffer::{Notice, StoreError};

/// Bytes of sled's page cache.
const CACHE_BYTES: u64 = 2 << 20;

/// Bytes of sled's segments; a chunk takes a whole number of them.
pub(super) const SEGMENT_BYTES: usize = 512 << 10;

/// An empty file in a chunk that is on stable storage as it was made. Without it, what cannot be read of a chunk is what a power cut left of its
/// making: nothing was ever in it.
const BEGUN: &str = "begun";

/// How often an open is tried again while sled's threads of the store before still hold its lock.
const LOCK_TRIES: u32 = 50;

/// An open chunk.
pub(super) struct ChunkDb {
    first: u64,
    db: Guarded,
    /// A second handle of sled's file: what makes a flush durable.
    log: File,
    trees: Vec<Leaf>,
    /// Bytes of the other files.
    beside: u64,
    /// Where it lies, if that is not the disk.
    copy: Option<ChunkCopy>,
}

/// sled syncs its file once more when it is dropped, and panics where that fails: a part that fails must cost only itself.
struct Guarded(Option<sled::Db>);

impl Guarded {
    fn db(&self) -> sled::Result<&sled::Db> {
        self.0.as_ref().ok_or_else(|| sled::Error::Unsupported("it is closed".into()))
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        let db = self.0.take();
        // What was promised is synced already.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(db)));
    }
}

impl Drop for ChunkDb {
    fn drop(&mut self) {
        let trees = std::mem::take(&mut self.trees);
        let _ = catch_unwind(AssertUnwindSafe(|| drop(trees)));
    }
}

/// One of its trees, by the number of its first value.
struct Leaf {
    first: u64,
    last: u64,
    values: u64,
    tree: sled::Tree,
}

impl ChunkDb {
    /// Opens a chunk or makes one: side files that a crash left half-written go first, then those that sled cannot read.
    pub(super) fn open(folder: &Path, first: u64, notices: &mut Vec<Notice>) -> Result<Self, StoreError> {
        std::fs::create_dir_all(folder).map_err(|e| io_error(folder, &e))?;
        remove_snapshots(folder, |name| name.ends_with(".generating"))?;
        let db = match open_sled(folder) {
            Err(StoreError::Damaged(_)) if folder.join("db").exists() => {
                // Its log alone can rebuild both.
                remove_snapshots(folder, |_| true)?;
                remove_zeroed_conf(folder)?;
                let db = open_sled(folder)?;
                notices.push(Notice::Rebuilt("a snapshot".into()));
                db
            }
            other => other?,
        };
        // sled syncs neither its configuration nor its folder.
        sync_all_in(folder)?;
        let path = folder.join("db");
        let log = OpenOptions::new().write(true).open(&path).map_err(|e| io_error(&path, &e))?;
        let trees = caught(|| leaves(db.db()?, first))?;
        let beside = taken_bytes(folder).saturating_sub(taken_bytes(&path));
        Ok(Self { first, db, log, trees, beside, copy: None })
    }

    /// Opens a copy of a chunk, only to read.
    pub(super) fn open_copy(folder: &Path, first: u64, notices: &mut Vec<Notice>) -> Result<Self, StoreError> {
        let copy = ChunkCopy::of(folder)?;
        let mut chunk = match Self::open(copy.folder(), first, notices) {
            Err(StoreError::Damaged(_)) if !folder.join(BEGUN).exists() => {
                copy.clear()?;
                Self::open(copy.folder(), first, notices)?
            }
            other => other?,
        };
        chunk.copy = Some(copy);
        Ok(chunk)
    }

    pub(super) fn is_copy(&self) -> bool {
        self.copy.is_some()
    }

    /// Adds or replaces values, and waits for the disk.
    pub(super) fn append(&mut self, values: &[Numbered]) -> Result<(), StoreError> {
        caught(|| {
            for (number, value) in values {
                self.insert(*number, value)?;
            }
            self.db.db()?.flush()?;
            self.log.sync_data().map_err(sled::Error::Io)
        })
    }

    fn insert(&mut self, number: u64, value: &[u8]) -> sled::Result<()> {
        let newest = self.trees.last().is_none_or(|leaf| number > leaf.last);
        let grows = newest && self.trees.last().is_some_and(|leaf| leaf.values < TREE_VALUES);
        if newest && !grows {
            // A short name: sled writes the names of all trees again with each new one.
            let name = u32::try_from(number - self.first).unwrap_or(u32::MAX).to_be_bytes();
            self.trees.push(Leaf { first: number, last: number, values: 0, tree: self.db.db()?.open_tree(name)? });
        }
        let place = self.trees.iter().rposition(|leaf| leaf.first <= number).unwrap_or(0);
        let Some(leaf) = self.trees.get_mut(place) else { return Ok(()) };
        leaf.tree.insert(number.to_be_bytes(), value)?;
        leaf.last = leaf.last.max(number);
        leaf.values += 1;
        Ok(())
    }

    /// The value with this number, else the one before it.
    pub(super) fn read(&mut self, number: u64) -> Result<Option<Numbered>, StoreError> {
        caught(|| {
            for leaf in self.trees.iter().rev().filter(|leaf| leaf.first <= number) {
                if let Some((key, value)) = leaf.tree.range(..=number.to_be_bytes()).next_back().transpose()? {
                    return Ok(number_of(&key).map(|number| (number, value.to_vec())));
                }
            }
            Ok(None)
        })
    }

    /// All values in order; together as much as a chunk may have.
    pub(super) fn values(&mut self) -> Result<Vec<(u64, sled::IVec)>, StoreError> {
        caught(|| {
            let mut values = Vec::new();
            for leaf in &self.trees {
                for pair in &leaf.tree {
                    let (key, value) = pair?;
                    values.extend(number_of(&key).map(|number| (number, value)));
                }
            }
            Ok(values)
        })
    }

    /// Bytes that it takes on the disk.
    pub(super) fn bytes(&self) -> u64 {
        use std::os::unix::fs::MetadataExt;
        self.beside + self.log.metadata().map_or(0, |meta| meta.blocks() * 512)
    }
}

/// Notes that a chunk is made.
pub(super) fn note_begun(folder: &Path) -> Result<(), StoreError> {
    let path = folder.join(BEGUN);
    File::create(&path).map_err(|e| io_error(&path, &e))?;
    sync_folder(folder)
}

fn leaves(db: &sled::Db, first: u64) -> sled::Result<Vec<Leaf>> {
    let mut leaves = Vec::new();
    for name in db.tree_names() {
        let Ok(offset) = <[u8; 4]>::try_from(name.as_ref()) else { continue };
        let tree = db.open_tree(name)?;
        let number = first.saturating_add(u64::from(u32::from_be_bytes(offset)));
        let last = tree.last()?.and_then(|(key, _)| number_of(&key)).unwrap_or(number);
        leaves.push(Leaf { first: number, last, values: tree.len() as u64, tree });
    }
    leaves.sort_by_key(|leaf| leaf.first);
    Ok(leaves)
}

fn number_of(key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(key.try_into().ok()?))
}

/// Runs an operation of sled; a panic in it is an error like others.
fn caught<T>(f: impl FnOnce() -> sled::Result<T>) -> Result<T, StoreError> {
    catch_unwind(AssertUnwindSafe(f)).map_err(panicked)?.map_err(|e| sled_error(&e))
}

fn open_sled(folder: &Path) -> Result<Guarded, StoreError> {
    let config = sled::Config::new()
        .path(folder)
        .cache_capacity(CACHE_BYTES)
        .segment_size(SEGMENT_BYTES)
        .mode(sled::Mode::LowSpace)
        .flush_every_ms(None);
    for _ in 0..LOCK_TRIES {
        match catch_unwind(AssertUnwindSafe(|| config.open())) {
            Ok(Ok(db)) => return Ok(Guarded(Some(db))),
            Ok(Err(sled::Error::Io(e))) if e.to_string().contains("could not acquire lock") => pause(),
            Ok(Err(error)) => return Err(sled_error(&error)),
            Err(panic) => return Err(panicked(panic)),
        }
    }
    Err(StoreError::Locked(folder.to_owned()))
}

fn remove_snapshots(folder: &Path, which: impl Fn(&str) -> bool) -> Result<(), StoreError> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(()) };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("snap.") && which(&name) {
            remove_if_there(&entry.path())?;
        }
    }
    Ok(())
}

fn remove_zeroed_conf(folder: &Path) -> Result<(), StoreError> {
    let path = folder.join("conf");
    match std::fs::read(&path) {
        Ok(bytes) if bytes.iter().all(|byte| *byte == 0) => remove_if_there(&path),
        _ => Ok(()),
    }
}

/// The operating system's refusals are passed on; everything else is damage, where that was read from a copy.
fn sled_error(error: &sled::Error) -> StoreError {
    match error {
        sled::Error::Io(e) if e.raw_os_error().is_some() => said(e.raw_os_error(), e.to_string()),
        other => said(os_code(&other.to_string()), other.to_string()),
    }
}

fn panicked(panic: Box<dyn std::any::Any + Send>) -> StoreError {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    let line: String = text.unwrap_or("panic").lines().next().unwrap_or_default().chars().take(200).collect();
    said(os_code(&line), line)
}

fn said(os_code: Option<i32>, what: String) -> StoreError {
    match os_code.map(|code| io::Error::from_raw_os_error(code).kind()) {
        Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => StoreError::Full,
        Some(_) => StoreError::Io(what),
        None => StoreError::Damaged(what),
    }
}

/// The system's error in a text: sled hands the first one that it met on as text, and panics with it.
fn os_code(text: &str) -> Option<i32> {
    let (_, rest) = ["(os error ", "Os { code: "].iter().find_map(|front| text.split_once(front))?;
    rest.split(|other: char| !other.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_refused_is_no_damage() {
        let eio = || io::Error::from_raw_os_error(5);
        let copy = |e: io::Error| sled::Error::Io(e).clone();
        assert!(matches!(sled_error(&sled::Error::Io(eio())), StoreError::Io(_)));
        assert!(matches!(sled_error(&copy(eio())), StoreError::Io(_)));
        assert_eq!(sled_error(&copy(io::Error::from_raw_os_error(28))), StoreError::Full);
        assert!(matches!(sled_error(&sled::Error::Io(io::ErrorKind::UnexpectedEof.into())), StoreError::Damaged(_)));
        assert!(matches!(sled_error(&sled::Error::ReportableBug("code: 5".into())), StoreError::Damaged(_)));
        let unwrapped = caught::<()>(|| panic!("called `Result::unwrap()` on an `Err` value: Io({:?})", eio())).unwrap_err();
        assert!(matches!(unwrapped, StoreError::Io(_)), "{unwrapped:?}");
    }
}
