//! Log and shelf on a real folder, whose calls fail from a given one on.

use super::super::super::log::files::Files as LogFiles;
use super::super::super::shelf::files::Files as ShelfFiles;
use super::super::super::shelf::{Folder, Sink};
use super::*;

pub(super) struct Faulty<T> {
    inner: T,
    faults: Faults,
}

impl<T> Faulty<T> {
    fn log(&self) -> Result<(), LogError> {
        self.faults.step().map_err(LogError::Disk)
    }

    fn shelf(&self) -> Result<(), ShelfError> {
        self.faults.step().map_err(ShelfError::Disk)
    }
}

pub(super) type TestEngine = Engine<Faulty<LogFiles>, Faulty<ShelfFiles>>;

/// The engine of a folder, without its thread.
pub(super) fn open(folder: &Path, faults: &Faults, budget: Budget) -> Result<TestEngine, StoreError> {
    let mut ledger = Ledger::open(&folder.join("pattoo.redb"))?;
    ledger.faults = faults.clone();
    let log = Faulty { inner: LogFiles::open(&folder.join("log")).unwrap(), faults: faults.clone() };
    let shelf = Faulty { inner: ShelfFiles::open(&folder.join("parts")).unwrap(), faults: faults.clone() };
    opening::open((folder.to_owned(), ledger), log, shelf, budget)
}

impl<D: Disk> Disk for Faulty<D> {
    fn segments(&mut self) -> Result<Vec<(u64, u64)>, LogError> {
        self.log()?;
        self.inner.segments()
    }

    fn read(&mut self, segment: u64) -> Result<Vec<u8>, LogError> {
        self.log()?;
        self.inner.read(segment)
    }

    fn sync(&mut self, segment: u64) -> Result<(), LogError> {
        self.log()?;
        self.inner.sync(segment)
    }

    fn create(&mut self, segment: u64, begins: &[u8]) -> Result<(), LogError> {
        self.log()?;
        self.inner.create(segment, begins)
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), LogError> {
        self.log()?;
        self.inner.append(bytes)
    }

    fn remove(&mut self, segment: u64) -> Result<(), LogError> {
        self.log()?;
        self.inner.remove(segment)
    }

    fn set_aside(&mut self, segment: u64, at: u64, bytes: &[u8]) -> Result<String, LogError> {
        self.log()?;
        self.inner.set_aside(segment, at, bytes)
    }
}

impl<F: Folder> Folder for Faulty<F> {
    type Source = F::Source;
    type Sink = Faulty<F::Sink>;

    fn list(&self) -> Result<Vec<(String, u64)>, ShelfError> {
        self.shelf()?;
        self.inner.list()
    }

    fn list_damaged(&self) -> Result<Vec<String>, ShelfError> {
        self.shelf()?;
        self.inner.list_damaged()
    }

    fn open(&self, name: &str) -> Result<Self::Source, ShelfError> {
        self.shelf()?;
        self.inner.open(name)
    }

    fn create(&self, name: &str) -> Result<Self::Sink, ShelfError> {
        self.shelf()?;
        Ok(Faulty { inner: self.inner.create(name)?, faults: self.faults.clone() })
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), ShelfError> {
        self.shelf()?;
        self.inner.rename(from, to)
    }

    fn remove(&self, name: &str) -> Result<(), ShelfError> {
        self.shelf()?;
        self.inner.remove(name)
    }

    fn sync(&self) -> Result<(), ShelfError> {
        self.shelf()?;
        self.inner.sync()
    }

    fn keep_damaged(&self, name: &str) -> Result<String, ShelfError> {
        self.shelf()?;
        self.inner.keep_damaged(name)
    }
}

impl<S: Sink> Sink for Faulty<S> {
    fn append(&mut self, bytes: &[u8]) -> Result<(), ShelfError> {
        self.shelf()?;
        self.inner.append(bytes)
    }

    fn sync(&mut self) -> Result<(), ShelfError> {
        self.shelf()?;
        self.inner.sync()
    }
}
