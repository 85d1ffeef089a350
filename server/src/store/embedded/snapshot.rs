//! Shell: a store as of one moment, in a folder beside it. Parts and full segments of the log are further names of the same files, which nobody
//! writes any more; the segment that is written to, and the ledger, are copies. It costs little space, and nobody waits for long.
//!
//! # Why it is consistent
//! While names are given, nothing is merged and no head comes to the shelf, and so the log lets go of nothing. What the ledger has as covered is in
//! parts, and the log reaches from there to the last commit that was answered. A tail of the log that was caught in the middle of a write is
//! what a power cut leaves, and is read as that.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read};
use std::path::Path;
use std::sync::PoisonError;

use super::super::StoreError;
use super::super::log::Disk;
use super::super::shelf::Folder;
use super::Engine;

impl<D: Disk, F: Folder> Engine<D, F> {
    /// Makes one in this empty folder.
    pub(super) fn snapshot(&self, into: &Path) -> Result<(), StoreError> {
        let reader = {
            let _no_merge = self.shelf.hold();
            let _no_flush = self.flushing.lock().unwrap_or_else(PoisonError::into_inner);
            let reader = self.ledger.reader()?;
            files(&self.folder, into)?;
            reader
        };
        self.ledger.copy(&reader, into)
    }
}

/// Keeps a store from being opened until the answer is dropped.
///
/// # Errors
/// A server has it open.
pub fn lock(ledger: &Path) -> Result<File, StoreError> {
    let path = || ledger.display().to_string();
    let file = File::open(ledger).map_err(|e| StoreError::Io { path: path(), what: e.to_string() })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse { path: path() }),
        Err(TryLockError::Error(e)) => Err(StoreError::Io { path: path(), what: e.to_string() }),
    }
}

/// Makes one of a store that nobody has open, in this empty folder.
///
/// # Errors
/// The disk refuses.
pub fn of_closed(ledger: &Path, into: &Path) -> Result<(), StoreError> {
    let name = ledger.file_name().unwrap_or_default();
    fs::copy(ledger, into.join(name)).map_err(|e| refused(ledger, &e))?;
    files(ledger.parent().unwrap_or(Path::new("")), into)
}

fn refused(path: &Path, e: &io::Error) -> StoreError {
    StoreError::Io { path: path.display().to_string(), what: e.to_string() }
}

/// Parts and log.
fn files(folder: &Path, into: &Path) -> Result<(), StoreError> {
    for name in ["parts", "log"] {
        tree(&folder.join(name), &into.join(name)).map_err(|(path, e)| refused(&path, &e))?;
    }
    Ok(())
}

type Failed = (std::path::PathBuf, io::Error);

fn tree(from: &Path, to: &Path) -> Result<(), Failed> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |e| (path, e)
    };
    fs::create_dir(to).map_err(at(to))?;
    let entries = match fs::read_dir(from) {
        // A store that has none yet.
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.and_then(Iterator::collect::<io::Result<Vec<_>>>).map_err(at(from))?,
    };
    // Names of segments have as many digits, whatever the number.
    let newest =
        entries.iter().map(fs::DirEntry::file_name).filter(|name| Path::new(name).extension().is_some_and(|end| end == "log")).max();
    for entry in &entries {
        let (name, from) = (entry.file_name(), entry.path());
        let to = to.join(&name);
        match entry.file_type().map_err(at(&from))?.is_dir() {
            true => tree(&from, &to)?,
            false if from.extension().is_some_and(|end| end == "temporary") => {}
            false if newest.as_ref() == Some(&name) => copy(&from, &to).map_err(at(&from))?,
            // Not all file systems have hard links.
            false => fs::hard_link(&from, &to).or_else(|_| copy(&from, &to)).map_err(at(&from))?,
        }
    }
    Ok(())
}

/// Copies what is there now, however much is appended meanwhile.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let from = File::open(from)?;
    let bytes = from.metadata()?.len();
    let mut to = File::create(to)?;
    io::copy(&mut from.take(bytes), &mut to).map(|_| ())
}
