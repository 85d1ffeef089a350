//! The parts on disk, by days: what the head has let go of comes here, is merged in the background, rolled up, and goes when it is too old. It
//! knows nothing of the log, nor of what a head still holds but for what a call is given of it.
//!
//! ```text
//! folder = d<day>-g<first>-<last>-r<revision>.part * | d<day>-g<first>-<last>-r<revision>.<1m|15m|1h|1d>.rollup * | *.temporary | damaged/
//! ```
//! - **A day (UTC) is a partition**, `day = at_ms div 86 400 000`, rounded down: any time has one.
//! - **Generations** ascend with every [`Shelf::add`]; of the same series and time the newest generation wins. A merged part covers the
//!   generations of those that it was made of, and its name says so; `revision` ascends where a part is written anew without what is too old.
//! - **A change is durable when a call returns**: temporary name, fsync, rename, fsync of the folder. Old parts go only after the new one is
//!   durable. A power cut between leaves both, and a start removes what another part covers.
//! - **Nothing damaged is deleted.** What is no part under the name of one is moved into `damaged/`. Of a part with damage inside, all the
//!   rest is read; when it is merged, a copy goes into `damaged/`. Each damage is told once ([`Shelf::damage`]).
//! - **A rollup stands for exactly the part that it is named after** (`rolled`): it answers for a day whose readings are that part and nothing
//!   else, or are gone. It can be made anew as long as they are there.
//! - **Reading never waits** for adding or merging: it works on the list of parts as it was when it began.
//!
//! # Limits
//! At most [`MAX_OPEN_PARTS`] parts are kept open, and their indexes take at most [`MAX_INDEX_BYTES`] of memory, besides those in use at the
//! moment; of any other part only its name, size and times are. The same goes for [`MAX_OPEN_ROLLUPS`] rollups. A start reads beginning and end of each part. A partition has at most
//! [`tiers::MAX_PARTS`] parts once [`Shelf::merge_step`] has nothing to do.
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use thiserror::Error;

mod checking;
mod expiry;
pub mod files;
mod list;
mod merging;
mod name;
mod opening;
mod read;
mod retiring;
mod rolled;
mod rolling;
pub mod tiers;

#[cfg(test)]
mod tests;

pub use checking::{Checked, check_file};
use list::{Cache, Parts, Shelved};
pub use list::{MAX_INDEX_BYTES, MAX_OPEN_PARTS, MAX_OPEN_ROLLUPS};
pub use merging::Step;
use name::Name;
pub use name::{DAY_MS, day_of};
pub use retiring::{Gone, Held};
pub use rolled::is_rollup;
pub use rolling::Kept;

use super::part::{Part, PartError, Rows, Source, Writer};
use super::rollup::Rollup;

/// Why the shelf could not do it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ShelfError {
    /// The disk refused; nothing is changed. Try again later.
    #[error("{0}")]
    Disk(String),
    /// Written by a newer program.
    #[error("{file} is of format {format}, this program reads format 1: upgrade pattoo-server")]
    Newer {
        /// File.
        file: String,
        /// Format found.
        format: u8,
    },
    /// A limit of the format of parts.
    #[error("{0}")]
    Unwritable(String),
}

/// A folder of files, and in it `damaged/`. Names are without folders.
pub trait Folder: Send + Sync {
    /// A file that is read; still readable when it was renamed or removed meanwhile.
    type Source: Source + Send + Sync;
    /// A file that is written.
    type Sink: Sink;

    /// Files and their bytes.
    ///
    /// # Errors
    /// The disk refuses.
    fn list(&self) -> Result<Vec<(String, u64)>, ShelfError>;

    /// Names of files in `damaged/`.
    ///
    /// # Errors
    /// The disk refuses.
    fn list_damaged(&self) -> Result<Vec<String>, ShelfError>;

    /// Opens a file to read it.
    ///
    /// # Errors
    /// The disk refuses, or there is none.
    fn open(&self, name: &str) -> Result<Self::Source, ShelfError>;

    /// Makes an empty file, in place of one of that name.
    ///
    /// # Errors
    /// The disk refuses.
    fn create(&self, name: &str) -> Result<Self::Sink, ShelfError>;

    /// Gives a file another name, durable with the next [`Folder::sync`].
    ///
    /// # Errors
    /// The disk refuses.
    fn rename(&self, from: &str, to: &str) -> Result<(), ShelfError>;

    /// Removes a file, durable with the next [`Folder::sync`]. One that is not there is no error.
    ///
    /// # Errors
    /// The disk refuses.
    fn remove(&self, name: &str) -> Result<(), ShelfError>;

    /// Makes names durable.
    ///
    /// # Errors
    /// The disk refuses.
    fn sync(&self) -> Result<(), ShelfError>;

    /// Keeps a file in `damaged/` too, durable at once; gives where.
    ///
    /// # Errors
    /// The disk refuses.
    fn keep_damaged(&self, name: &str) -> Result<String, ShelfError>;
}

/// A file that is being written.
pub trait Sink {
    /// Appends.
    ///
    /// # Errors
    /// The disk refuses.
    fn append(&mut self, bytes: &[u8]) -> Result<(), ShelfError>;

    /// Makes it durable, but for its name.
    ///
    /// # Errors
    /// The disk refuses.
    fn sync(&mut self) -> Result<(), ShelfError>;
}

/// Something on the shelf that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// Name of the part or rollup.
    pub file: String,
    /// What is wrong with it.
    pub error: PartError,
    /// Where the bytes are kept aside; empty as long as they are where they were.
    pub kept: String,
}

/// Damages that are remembered at most, so that each is told once; beyond, they may be told again.
const MAX_DAMAGES: usize = 4096;

#[derive(Debug, Default)]
struct Told {
    known: BTreeSet<(u64, u64)>,
    untold: Vec<Damage>,
}

/// What maintenance knows between two steps.
#[derive(Debug, Default)]
struct Upkeep {
    merging: merging::Quiet,
    rolling: rolling::Rolling,
}

/// The open shelf.
#[derive(Debug)]
pub struct Shelf<F: Folder> {
    folder: F,
    parts: RwLock<Arc<Parts<F::Source>>>,
    cache: Mutex<Cache<Part<F::Source>>>,
    rollups: Mutex<Cache<Rollup<F::Source>>>,
    /// The generation of the next addition. One addition at a time.
    next_generation: Mutex<u64>,
    /// Merging, rolling up and expiry, one at a time.
    maintenance: Mutex<Upkeep>,
    /// Files that should not be there and could not be removed.
    garbage: Mutex<BTreeSet<String>>,
    told: Mutex<Told>,
    next_id: AtomicU64,
}

impl<F: Folder> Shelf<F> {
    /// Adds groups of rows, each group in ascending order of time, durably: a part for each day. A series and time comes at most once, whatever
    /// groups the series is in. What it adds wins over all that is there. Rows may span days.
    ///
    /// # Errors
    /// Nothing of it is there.
    ///
    /// # Panics
    /// Rows of a group are out of order.
    pub fn add(&self, groups: Vec<Vec<Rows>>) -> Result<(), ShelfError> {
        let mut days: BTreeMap<i64, Vec<Vec<Rows>>> = BTreeMap::new();
        for group in groups {
            let mut of_days: BTreeMap<i64, Vec<Rows>> = BTreeMap::new();
            for (day, rows) in group.into_iter().flat_map(|rows| rows.split(day_of)) {
                of_days.entry(day).or_default().push(rows);
            }
            of_days.into_iter().for_each(|(day, rows)| days.entry(day).or_default().push(rows));
        }
        if days.is_empty() {
            return Ok(());
        }
        let mut next = lock(&self.next_generation);
        // Never used again, even if this fails: its files may come back after a power cut.
        let generation = *next;
        *next += 1;
        let mut made = Vec::new();
        let mut make = || {
            for (day, groups) in &days {
                made.push(self.write(Name::added(*day, generation), &mut |sink| write_groups(groups, sink))?);
            }
            self.folder.sync()
        };
        if let Err(e) = make() {
            made.iter().for_each(|part| self.remove(part));
            return Err(e);
        }
        self.change(|parts| made.into_iter().for_each(|part| parts.put(part)));
        Ok(())
    }

    /// Bytes on disk, without what is set aside.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let (raw, levels) = self.held();
        raw.bytes + levels.iter().map(|held| held.bytes).sum::<u64>()
    }

    /// Parts on disk.
    #[must_use]
    pub fn count(&self) -> usize {
        self.parts().all().count()
    }

    /// Keeps parts from being merged and deleted until the answer is dropped; waits for what is under way.
    #[must_use]
    pub fn hold(&self) -> impl Sized + '_ {
        lock(&self.maintenance)
    }

    /// Days that have parts, ascending.
    #[must_use]
    pub fn days(&self) -> Vec<i64> {
        self.parts().days.iter().filter(|(_, parts)| !parts.is_empty()).map(|(day, _)| *day).collect()
    }

    /// Damage that was found since this was asked last, each once.
    #[must_use]
    pub fn damage(&self) -> Vec<Damage> {
        std::mem::take(&mut lock(&self.told).untold)
    }

    /// Writes a part under its name; durable once the folder is synced. On an error no file is left, as far as the disk lets.
    fn write(
        &self,
        name: Name,
        fill: &mut dyn FnMut(&mut F::Sink) -> Result<(), ShelfError>,
    ) -> Result<Arc<Shelved<F::Source>>, ShelfError> {
        let (temporary, file) = (name.temporary(), name.to_string());
        let mut make = || {
            let mut sink = self.folder.create(&temporary)?;
            fill(&mut sink)?;
            sink.sync()?;
            drop(sink);
            let source = self.folder.open(&temporary)?;
            let bytes = source.bytes().map_err(|e| refused(&temporary, &e))?;
            let part = Part::open(source).map_err(|e| refused(&temporary, &e))?;
            self.folder.rename(&temporary, &file)?;
            Ok((part, bytes))
        };
        match make() {
            Ok((part, bytes)) => {
                let shelved = Arc::new(Shelved::new(self.id(), name, bytes, part.readings(), part.times_ms()));
                lock(&self.cache).put(shelved.id, &Arc::new(part));
                Ok(shelved)
            }
            Err(e) => {
                self.discard(&temporary);
                self.discard(&file);
                Err(e)
            }
        }
    }

    /// Closes a part and removes its file. Readers that have it open go on.
    fn remove(&self, part: &Shelved<F::Source>) {
        lock(&self.cache).remove(part.id);
        self.discard(&part.name.to_string());
    }

    /// Removes a file that must not be there, now or when the disk lets.
    fn discard(&self, file: &str) {
        if self.folder.remove(file).is_err() {
            lock(&self.garbage).insert(file.to_owned());
        }
    }

    /// Removes what could not be removed before. Nothing is merged while there is any: a new part may have its name.
    fn sweep(&self) -> Result<(), ShelfError> {
        let mut garbage = lock(&self.garbage);
        while let Some(file) = garbage.first() {
            self.folder.remove(file)?;
            garbage.pop_first();
        }
        Ok(())
    }

    fn id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    fn parts(&self) -> Arc<Parts<F::Source>> {
        self.parts.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn change(&self, change: impl FnOnce(&mut Parts<F::Source>)) {
        let mut held = self.parts.write().unwrap_or_else(PoisonError::into_inner);
        let mut parts = Parts::clone(&held);
        change(&mut parts);
        *held = Arc::new(parts);
    }

    fn tell(&self, part: &Shelved<F::Source>, error: PartError, kept: &str) {
        self.tell_of(part.id, part.name.to_string(), error, kept);
    }

    fn tell_of(&self, id: u64, file: String, error: PartError, kept: &str) {
        let at = if let PartError::Damaged { at, .. } = error { at } else { u64::MAX };
        let mut told = lock(&self.told);
        if told.known.len() >= MAX_DAMAGES {
            told.known.clear();
        }
        // What is kept aside is told once more: now it is somewhere else.
        if (told.known.insert((id, at)) || !kept.is_empty()) && told.untold.len() < MAX_DAMAGES {
            told.untold.push(Damage { file, error, kept: kept.to_owned() });
        }
    }
}

fn write_groups(groups: &[Vec<Rows>], sink: &mut impl Sink) -> Result<(), ShelfError> {
    let mut out = Vec::new();
    let mut writer = Writer::new(&mut out);
    let unwritable = |e: PartError| ShelfError::Unwritable(e.to_string());
    for group in groups {
        writer.begin_group();
        for rows in group {
            writer.rows(rows, &mut out).map_err(unwritable)?;
            sink.append(&out)?;
            out.clear();
        }
    }
    writer.finish(&mut out).map_err(unwritable)?;
    sink.append(&out)
}

fn refused(file: &str, e: &PartError) -> ShelfError {
    match e {
        PartError::Newer(format) => ShelfError::Newer { file: file.to_owned(), format: *format },
        PartError::Unwritable(what) => ShelfError::Unwritable(format!("{file}: {what}")),
        PartError::Source(what) => ShelfError::Disk(what.clone()),
        PartError::Torn(_) | PartError::Damaged { .. } => ShelfError::Disk(format!("{file}: {e}")),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
