//! The store that a server has by itself: a log, a head in memory, parts on a shelf, and a ledger for all that is no reading.
//!
//! ```text
//! commit -> log (fsync) -> head, in the order of the log -> answer        head, when it has enough or rests -> shelf -> ledger: covered -> log: let go
//! data   = pattoo.redb (ledger) | log/ | parts/
//! ```
//! - **Nothing is visible before it is durable**, and what is answered is in the log. A start reads the log from where the ledger says that it
//!   is covered, into a new head: once or twice comes to the same, as the same series and time is one reading.
//! - **Reading never waits for a disk that writes.** Whoever reads takes what is in memory first and then what is on the shelf, so that what moves
//!   meanwhile is seen at least once.
//! - **A disk that is full** refuses commits and nothing else; each commit that is refused makes it try again.
//!
//! # Limits
//! [`Budget`]: two heads in memory, the log that they stand for, and what waits for the ledger. Beside them the newest reading of each series
//! that was written or asked for is in memory.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use pattoo_wire::{Gap, Sample};

use super::log::{self, Disk, Log, LogError};
use super::retention::{Class, Retained, Retention};
use super::shelf::{self, Folder, Shelf, ShelfError};
use super::{Bucket, Commit, Committed, Loaded, Reading, SeriesId, Store, StoreError};

pub mod checking;
mod flush;
mod keeping;
mod ledger;
mod migration;
mod opening;
mod rest;
pub mod snapshot;
mod state;
mod turn;

use flush::{Flusher, Signal};
use ledger::Ledger;
pub use state::Budget;
use state::{Found, State, newest, over};
use turn::Turn;

/// Late readings of a series within so much time are looked up at once.
const LOOK_UP_MS: i64 = 60 * 60 * 1000;
/// Readings that such a look-up reads at most; where there are more, each is looked up by itself.
const MAX_LOOK_UP: usize = 50_000;

/// The store in a folder.
pub struct Embedded {
    engine: Arc<Engine<log::files::Files, shelf::files::Files>>,
    _flusher: Flusher,
}

impl Embedded {
    /// Opens the store of this ledger, or begins a new one; log and parts lie beside it.
    ///
    /// # Errors
    /// In use, damaged, of a newer program, or refused by the disk.
    pub fn open(ledger: &Path) -> Result<Self, StoreError> {
        Self::open_within(ledger, Budget::DEFAULT)
    }

    /// Brings what is in memory to parts now, as is done when there is enough of it.
    ///
    /// # Errors
    /// The disk refuses; nothing is lost, and it is tried again by itself.
    pub fn flush(&self) -> Result<(), StoreError> {
        self.engine.flush_all()
    }

    /// Days that have readings in parts, ascending, as [`shelf::day_of`] counts them.
    #[must_use]
    pub fn days(&self) -> Vec<i64> {
        self.engine.shelf.days()
    }

    /// Deletes readings older than `before_ms`, and nothing else; gives how many went. For whoever has them elsewhere.
    ///
    /// # Errors
    /// The disk refuses; some may be gone.
    pub fn release(&self, before_ms: i64) -> Result<usize, StoreError> {
        self.engine.expire_readings(before_ms, usize::MAX)
    }

    /// Brings all to parts now, and merges and rolls up all days that are over at `now_ms`, as is done when they have rested for a while.
    ///
    /// # Errors
    /// The disk refuses; nothing is lost, and it is tried again by itself.
    pub fn tidy(&self, now_ms: i64) -> Result<(), StoreError> {
        self.engine.tidy(now_ms)
    }

    /// The same within another budget.
    ///
    /// # Errors
    /// As [`Embedded::open`].
    pub fn open_within(ledger: &Path, budget: Budget) -> Result<Self, StoreError> {
        let folder = ledger.parent().unwrap_or(Path::new("")).to_owned();
        let (log, parts) = (folder.join("log"), folder.join("parts"));
        let ledger = Ledger::open(ledger)?;
        let shelf = shelf::files::Files::open(&parts).map_err(|e| shelf_error(&parts, e))?;
        let disk = log::files::Files::open(&log).map_err(|e| log_error(&log, &e))?;
        let engine = Arc::new(opening::open((folder, ledger), disk, shelf, budget)?);
        let flusher = Flusher::start(&engine)?;
        Ok(Self { engine, _flusher: flusher })
    }
}

/// All but the thread that flushes.
struct Engine<D, F: Folder> {
    folder: PathBuf,
    log: Log<D>,
    shelf: Shelf<F>,
    ledger: Ledger,
    state: RwLock<State>,
    turn: Turn,
    /// One at a time: heads go to the shelf in their order.
    flushing: Mutex<()>,
    /// One at a time: what waits goes to the ledger in its order.
    settling: Mutex<()>,
    signal: Signal,
    budget: Budget,
    /// What is kept, once that was said.
    retention: RwLock<Option<Retention>>,
    forced: keeping::Forced,
}

impl<D: Disk, F: Folder> Engine<D, F> {
    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn shelf_error(&self, e: ShelfError) -> StoreError {
        shelf_error(&self.folder.join("parts"), e)
    }

    fn commit(&self, commit: &Commit) -> Result<Committed, StoreError> {
        let io = |what: String| StoreError::Io { path: self.folder.display().to_string(), what };
        let content = log::content::write(commit).map_err(io)?;
        let bytes = content.len();
        self.wait_for_room()?;
        let number = self.log.commit(content).map_err(|e| log_error(&self.folder.join("log"), &e))?;
        let turn = self.turn.wait(number).map_err(|e| io(e.to_owned()))?;
        let found = self.look_up(commit);
        let mut state = self.write();
        let committed = state.apply((number, bytes), commit, &found);
        if state.is_full(self.budget) {
            state.freeze();
        }
        let due = state.frozen.is_some() || state.is_ledger_due(self.budget);
        drop(state);
        turn.done();
        if due {
            self.signal.ask();
        }
        Ok(committed)
    }

    /// Waits while two heads are full; refuses if the older one cannot be written.
    fn wait_for_room(&self) -> Result<(), StoreError> {
        loop {
            {
                let state = self.read();
                if !(state.is_full(self.budget) && state.frozen.is_some() || state.is_ledger_behind(self.budget)) {
                    return Ok(());
                }
            }
            self.signal.attempt().map_err(|what| StoreError::Io { path: self.folder.display().to_string(), what })?;
        }
    }

    /// What the shelf knows of the series of a commit, as far as memory does not. Done in the commit's turn: whatever is not in memory before
    /// the shelf is asked can only be there.
    fn look_up(&self, commit: &Commit) -> Found {
        let mut found = Found::default();
        let unknown = self.read().unknown(commit);
        for id in unknown {
            match self.last(id) {
                Ok(last) => self.write().learn(id, last.as_ref()),
                // It is durable already; what it replaces is not counted.
                Err(_) => {
                    found.failed.insert(id);
                }
            }
        }
        let late = self.read().late(commit);
        let near = late.chunk_by(|a, b| a.0 == b.0 && a.1 / LOOK_UP_MS == b.1 / LOOK_UP_MS);
        for times in near {
            // An error counts nothing as replaced.
            let _ = self.look_up_near(times, &mut found.on_shelf);
        }
        found
    }

    /// Samples of one series at times near one another, ascending.
    fn look_up_near(&self, times: &[(SeriesId, i64)], found: &mut HashMap<(SeriesId, i64), Sample>) -> Result<(), ShelfError> {
        let (Some((id, first_ms)), Some((_, last_ms))) = (times.first(), times.last()) else { return Ok(()) };
        let wanted: HashSet<i64> = times.iter().map(|(_, at_ms)| *at_ms).collect();
        if times.len() > 1 && *last_ms < i64::MAX {
            let readings = self.shelf.raw(*id, *first_ms, last_ms + 1, MAX_LOOK_UP)?;
            if readings.len() < MAX_LOOK_UP {
                let hits = readings.into_iter().filter(|reading| wanted.contains(&reading.at_ms));
                found.extend(hits.map(|reading| ((*id, reading.at_ms), reading.sample)));
                return Ok(());
            }
        }
        for at_ms in wanted {
            found.extend(self.shelf.sample_at(*id, at_ms)?.map(|sample| ((*id, at_ms), sample)));
        }
        Ok(())
    }

    /// The newest reading of a series.
    fn last(&self, id: SeriesId) -> Result<Option<Reading>, ShelfError> {
        let in_memory = {
            let state = self.read();
            if let Some(last) = state.last(id) {
                return Ok(Some(last.clone()));
            }
            state.last_in_memory(id)
        };
        Ok(newest(in_memory, self.shelf.last(id)?))
    }

    fn raw(&self, id: SeriesId, from_ms: i64, to_ms: i64, limit: usize) -> Result<Vec<Reading>, StoreError> {
        let in_memory = self.read().raw(id, from_ms, to_ms, limit);
        let on_shelf = self.shelf.raw(id, from_ms, to_ms, limit).map_err(|e| self.shelf_error(e))?;
        Ok(over(in_memory, on_shelf, limit))
    }

    fn buckets(&self, id: SeriesId, from_ms: i64, to_ms: i64, step_ms: i64) -> Result<Vec<Bucket>, StoreError> {
        let in_memory = self.read().raw(id, from_ms, to_ms, usize::MAX);
        self.shelf.buckets(id, from_ms, to_ms, step_ms, &in_memory).map_err(|e| self.shelf_error(e))
    }

    fn latest(&self, series: &[SeriesId]) -> Result<Vec<Option<Reading>>, StoreError> {
        let (mut latest, mut unknown) = (Vec::with_capacity(series.len()), Vec::new());
        {
            let state = self.read();
            for (place, id) in series.iter().enumerate() {
                latest.push(state.last(*id).cloned());
                if latest.last().is_some_and(Option::is_none) && !state.has_nothing(*id) {
                    unknown.push((place, *id, state.last_in_memory(*id)));
                }
            }
        }
        let ids: Vec<SeriesId> = unknown.iter().map(|(_, id, _)| *id).collect();
        let on_shelf = self.shelf.lasts(&ids).map_err(|e| self.shelf_error(e))?;
        for ((place, id, in_memory), on_shelf) in unknown.into_iter().zip(on_shelf) {
            let last = newest(in_memory, on_shelf);
            self.write().learn(id, last.as_ref());
            latest.get_mut(place).into_iter().for_each(|slot| slot.clone_from(&last));
        }
        Ok(latest)
    }

    fn gaps(&self, gateway: &str, from_ms: i64, to_ms: i64) -> Result<Vec<Gap>, StoreError> {
        if self.read().has_pending_gaps() {
            self.settle(None)?;
        }
        self.ledger.gaps(gateway, from_ms, to_ms)
    }

    fn expire_readings(&self, before_ms: i64, limit: usize) -> Result<usize, StoreError> {
        if self.write().expire(before_ms) {
            self.flush_all()?;
        }
        self.shelf.expire(before_ms, limit).map_err(|e| self.shelf_error(e))
    }

    fn expire(&self, before_ms: i64, limit: usize) -> Result<usize, StoreError> {
        let gone = self.expire_readings(before_ms, limit)?;
        self.settle(None)?;
        Ok(gone + self.ledger.expire_gaps(before_ms, limit - gone)?)
    }
}

fn shelf_error(path: &Path, e: ShelfError) -> StoreError {
    let path = path.display().to_string();
    match e {
        ShelfError::Newer { file, format } => StoreError::Newer { path: format!("{path}/{file}"), found: u64::from(format), known: 1 },
        ShelfError::Disk(what) | ShelfError::Unwritable(what) => StoreError::Io { path, what },
    }
}

fn log_error(path: &Path, e: &LogError) -> StoreError {
    StoreError::Io { path: path.display().to_string(), what: e.to_string() }
}

impl Store for Embedded {
    fn load(&self) -> Result<Loaded, StoreError> {
        self.engine.settle(None)?;
        self.engine.ledger.load()
    }

    fn commit(&self, commit: &Commit) -> Result<Committed, StoreError> {
        self.engine.commit(commit)
    }

    fn raw(&self, series: SeriesId, from_ms: i64, to_ms: i64, limit: usize) -> Result<Vec<Reading>, StoreError> {
        self.engine.raw(series, from_ms, to_ms, limit)
    }

    fn buckets(&self, series: SeriesId, from_ms: i64, to_ms: i64, step_ms: i64) -> Result<Vec<Bucket>, StoreError> {
        self.engine.buckets(series, from_ms, to_ms, step_ms)
    }

    fn latest(&self, series: &[SeriesId]) -> Result<Vec<Option<Reading>>, StoreError> {
        self.engine.latest(series)
    }

    fn gaps(&self, gateway: &str, from_ms: i64, to_ms: i64) -> Result<Vec<Gap>, StoreError> {
        self.engine.gaps(gateway, from_ms, to_ms)
    }

    fn expire(&self, before_ms: i64, limit: usize) -> Result<usize, StoreError> {
        self.engine.expire(before_ms, limit)
    }

    fn snapshot(&self, into: &Path) -> Result<(), StoreError> {
        self.engine.snapshot(into)
    }

    fn retain(&self, retention: &Retention, now_ms: i64) -> Result<Retained, StoreError> {
        self.engine.retain(retention, now_ms)
    }

    fn grain_ms(&self, from_ms: i64, to_ms: i64) -> i64 {
        self.engine.shelf.grain_ms(from_ms, to_ms)
    }

    fn classes(&self) -> Vec<Class> {
        self.engine.classes()
    }

    fn bytes(&self) -> Result<u64, StoreError> {
        self.engine.bytes()
    }
}

#[cfg(test)]
mod tests;
