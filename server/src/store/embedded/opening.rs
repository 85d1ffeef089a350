//! Shell: opens the store: ledger, shelf, what an older file still has, and then the log into a new head.

use std::path::PathBuf;
use std::sync::{Mutex, RwLock};

use tracing::{error, info};

use super::super::StoreError;
use super::super::log::{self, Disk, Log, Recovered};
use super::super::shelf::{Folder, Shelf};
use super::flush::{Signal, tell_damage};
use super::ledger::Ledger;
use super::state::{Budget, State};
use super::turn::Turn;
use super::{Engine, log_error, migration, shelf_error};

/// Opens it.
///
/// # Errors
/// Damaged, of a newer program, or refused by the disk.
pub(super) fn open<D: Disk, F: Folder>(
    (folder, ledger): (PathBuf, Ledger),
    disk: D,
    shelf: F,
    budget: Budget,
) -> Result<Engine<D, F>, StoreError> {
    let parts = folder.join("parts");
    let (shelf, aside) = Shelf::open(shelf).map_err(|e| shelf_error(&parts, e))?;
    for damage in aside {
        tell_damage(&damage);
    }
    migration::run(&ledger, &shelf, budget).map_err(|e| e.into_store_error(&parts))?;
    let covered = ledger.covered()?;
    let mut state = State::new(&[], covered);
    ledger.each_series(|entry| state.announce(entry))?;
    let mut replay = Replay { state, ledger: &ledger, shelf: &shelf, budget, covered, failed: None };
    let place = folder.join("log");
    let opened = Log::open(disk, budget.segment_bytes, &mut |number, content| replay.take(&folder, number, content));
    let Replay { mut state, failed, .. } = replay;
    let (log, recovered) = opened.map_err(|e| log_error(&place, &e))?;
    failed.map_or(Ok(()), Err)?;
    tell(&recovered);
    state.applied_through(recovered.last);
    if recovered.last < ledger.covered()? {
        // The log went; its numbers begin anew, and must not be taken for covered.
        ledger.write(std::iter::empty(), Some(recovered.last))?;
    }
    Ok(Engine {
        folder,
        log,
        shelf,
        ledger,
        state: RwLock::new(state),
        turn: Turn::after(recovered.last),
        flushing: Mutex::new(()),
        settling: Mutex::new(()),
        signal: Signal::default(),
        budget,
        retention: RwLock::default(),
        forced: Default::default(),
    })
}

fn tell(recovered: &Recovered) {
    if recovered.torn_bytes > 0 {
        info!(bytes = recovered.torn_bytes, "the log ends with what was never acknowledged; it is left out");
    }
    for damage in &recovered.damage {
        let (first, last) = damage.records;
        error!(segment = damage.segment, at = damage.at, kept = damage.kept, "commits {first} to {last} of the log cannot be read");
    }
}

/// Reads the log into a head, and brings it to the shelf when it has enough.
struct Replay<'a, F: Folder> {
    state: State,
    ledger: &'a Ledger,
    shelf: &'a Shelf<F>,
    budget: Budget,
    covered: u64,
    failed: Option<StoreError>,
}

impl<F: Folder> Replay<'_, F> {
    fn take(&mut self, folder: &std::path::Path, number: u64, content: &[u8]) {
        if self.failed.is_some() || number <= self.covered {
            return;
        }
        let taken = match log::content::read(content) {
            Ok(commit) => {
                self.state.replay((number, content.len()), &commit);
                self.bring(folder)
            }
            Err(what) => {
                let path = folder.join("log").display().to_string();
                Err(StoreError::Damaged { path, what: format!("commit {number}: {what}") })
            }
        };
        self.failed = taken.err();
    }

    fn bring(&mut self, folder: &std::path::Path) -> Result<(), StoreError> {
        if !self.state.is_full(self.budget) && !self.state.is_ledger_due(self.budget) {
            return Ok(());
        }
        self.state.freeze();
        let Some(frozen) = self.state.frozen.take() else { return Ok(()) };
        self.shelf.add(frozen.head.groups()).map_err(|e| shelf_error(&folder.join("parts"), e))?;
        let pending = self.state.pending();
        self.ledger.write(pending.iter().map(|commit| &**commit), Some(frozen.through))?;
        self.state.settled(pending.len());
        Ok(())
    }
}
