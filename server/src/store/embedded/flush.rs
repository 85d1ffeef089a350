//! Shell: what the head has goes to the shelf, then the ledger says so, then the log may let go. Whatever of it fails is tried again, and comes to the
//! same if it is done twice. A thread does it, and merges when there is nothing else to do.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tracing::{error, warn};

use super::super::StoreError;
use super::super::log::Disk;
use super::super::shelf::{Damage, Folder, is_rollup};
use super::rest::Rest;
use super::{Engine, log_error};
use crate::clock;

/// How often the thread looks whether a head rests or there is something to merge, or tries again what has failed.
const LOOK_EVERY: Duration = Duration::from_secs(30);

impl<D: Disk, F: Folder> Engine<D, F> {
    /// Brings the frozen head to the shelf, if there is one.
    ///
    /// # Errors
    /// Some of it has to be done again.
    pub(super) fn flush(&self) -> Result<(), StoreError> {
        let _one = self.flushing.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(frozen) = self.read().frozen.clone() else { return Ok(()) };
        if !frozen.shelved {
            self.shelf.add(frozen.head.groups()).map_err(|e| self.shelf_error(e))?;
            self.write().frozen.iter_mut().for_each(|frozen| frozen.shelved = true);
        }
        self.settle(Some(frozen.through))?;
        self.write().frozen = None;
        if let Err(e) = self.log.release(frozen.through) {
            // It goes with the next one.
            warn!(error = %log_error(&self.folder.join("log"), &e), "the log cannot let go of what is stored");
        }
        Ok(())
    }

    /// Brings all that was committed before to the shelf.
    pub(super) fn flush_all(&self) -> Result<(), StoreError> {
        self.flush()?;
        self.write().freeze();
        self.flush()
    }

    /// Writes to the ledger what waits for it; with `covered` also how far the log is in parts.
    pub(super) fn settle(&self, covered: Option<u64>) -> Result<(), StoreError> {
        let _one = self.settling.lock().unwrap_or_else(PoisonError::into_inner);
        let pending = self.read().pending();
        if pending.is_empty() && covered.is_none() {
            return Ok(());
        }
        self.ledger.write(pending.iter().map(|commit| &**commit), covered)?;
        self.write().settled(pending.len());
        Ok(())
    }

    /// What is due now; `rested` where the head is, although it is not full.
    fn due(&self, mut rested: bool) -> Result<(), StoreError> {
        loop {
            self.flush()?;
            let (full, ledger) = {
                let state = self.read();
                (state.is_full(self.budget), state.is_ledger_due(self.budget))
            };
            if ledger {
                self.settle(None)?;
            }
            if !full && !std::mem::take(&mut rested) {
                return Ok(());
            }
            self.write().freeze();
        }
    }
}

/// Tells of what cannot be read; a `kept` that is empty says that it is where it was.
pub(super) fn tell_damage(Damage { file, error, kept }: &Damage) {
    if is_rollup(file) {
        error!(rollup = file, kept, "a rollup cannot be read: {error}; it is made anew if its readings are still there");
    } else {
        error!(part = file, kept, "readings cannot be read: {error}; restore the part from a backup");
    }
}

/// What the thread is told, and what it tells.
#[derive(Debug, Default)]
pub(super) struct Signal {
    told: Mutex<Told>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Told {
    asked: bool,
    stop: bool,
    /// How often it has done what was due, or tried to.
    attempts: u64,
    error: Option<String>,
}

impl Signal {
    fn lock(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something is due. After a failure it is tried again by itself in a while, or when somebody has to wait for it.
    pub(super) fn ask(&self) {
        let mut told = self.lock();
        if !told.asked && told.error.is_none() {
            told.asked = true;
            self.changed.notify_all();
        }
    }

    /// Asks, and waits for what comes of it.
    ///
    /// # Errors
    /// It failed.
    pub(super) fn attempt(&self) -> Result<(), String> {
        let mut told = self.lock();
        told.asked = true;
        self.changed.notify_all();
        let before = told.attempts;
        while told.attempts == before && !told.stop {
            told = self.changed.wait(told).unwrap_or_else(PoisonError::into_inner);
        }
        told.error.clone().map_or(Ok(()), Err)
    }

    pub(super) fn is_asked(&self) -> bool {
        let told = self.lock();
        told.asked || told.stop
    }

    /// Waits until something is due or it is time to look; whether to go on.
    fn wait(&self) -> bool {
        let told = self.lock();
        let idle = |told: &mut Told| !told.asked && !told.stop;
        let (mut told, _) = self.changed.wait_timeout_while(told, LOOK_EVERY, idle).unwrap_or_else(PoisonError::into_inner);
        told.asked = false;
        !told.stop
    }

    fn done(&self, error: Option<String>) {
        let mut told = self.lock();
        told.attempts += 1;
        told.error = error;
        self.changed.notify_all();
    }
}

/// The thread; joined when this goes.
pub(super) struct Flusher {
    stop: Box<dyn Fn() + Send + Sync>,
    thread: Option<JoinHandle<()>>,
}

impl Flusher {
    pub(super) fn start<D: Disk + 'static, F: Folder + 'static>(engine: &Arc<Engine<D, F>>) -> Result<Self, StoreError> {
        let (working, stopping) = (engine.clone(), engine.clone());
        let thread = std::thread::Builder::new().name("store".into()).spawn(move || work(&working));
        let thread = thread.map_err(|e| StoreError::Io { path: engine.folder.display().to_string(), what: e.to_string() })?;
        let stop = move || {
            stopping.signal.lock().stop = true;
            stopping.signal.changed.notify_all();
        };
        Ok(Self { stop: Box::new(stop), thread: Some(thread) })
    }
}

impl Drop for Flusher {
    fn drop(&mut self) {
        (self.stop)();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            error!("BUG: the thread of the store panicked");
        }
    }
}

fn work<D: Disk, F: Folder>(engine: &Engine<D, F>) {
    // A panic fails those that wait, not all that come later.
    let guarded = |work: &dyn Fn() -> Result<(), StoreError>| match std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)) {
        Ok(result) => result.map_err(|e| e.to_string()),
        Err(_) => Err("BUG: the thread of the store panicked".to_owned()),
    };
    let mut failing = false;
    let standing = || engine.read().standing();
    let mut rest = Rest::new(standing(), Instant::now());
    while engine.signal.wait() {
        let rested = rest.is_due(standing(), Instant::now());
        let failed = guarded(&|| engine.due(rested)).err();
        match &failed {
            Some(e) if !failing => error!(error = %e, "what is in memory cannot be stored; trying again"),
            _ => {}
        }
        failing = failed.is_some();
        engine.signal.done(failed);
        let merged = guarded(&|| {
            while !engine.signal.is_asked() && engine.shelf.merge_step(clock::now_ms()).map_err(|e| engine.shelf_error(e))?.is_some() {}
            engine.roll_up(clock::now_ms())
        });
        if let Err(e) = merged {
            warn!(error = %e, "parts cannot be merged or rolled up; trying again");
        }
        for damage in engine.shelf.damage() {
            tell_damage(&damage);
        }
    }
}
