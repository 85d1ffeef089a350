//! Shell: commits are applied in the order of the log, whatever order their threads come in.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Whose turn it is.
#[derive(Debug)]
pub(super) struct Turn {
    applied: Mutex<Applied>,
    next: Condvar,
}

#[derive(Debug)]
struct Applied {
    /// Number of the last record that is.
    number: u64,
    /// One panicked: what follows must not be taken for complete.
    broken: bool,
}

/// The turn of one record. One that is dropped undone breaks the store for this life; the next one reads it from the log.
pub(super) struct Mine<'a> {
    turn: &'a Turn,
    number: u64,
    done: bool,
}

impl Turn {
    pub(super) fn after(number: u64) -> Self {
        Self { applied: Mutex::new(Applied { number, broken: false }), next: Condvar::new() }
    }

    /// Waits until all before this record are applied.
    ///
    /// # Errors
    /// One of them never will be.
    pub(super) fn wait(&self, number: u64) -> Result<Mine<'_>, &'static str> {
        let mut applied = self.lock();
        while !applied.broken && applied.number + 1 < number {
            applied = self.next.wait(applied).unwrap_or_else(PoisonError::into_inner);
        }
        match applied.broken {
            true => Err("BUG: a commit was not applied to its end; start the server again"),
            false => Ok(Mine { turn: self, number, done: false }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Applied> {
        self.applied.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Mine<'_> {
    /// It is applied.
    pub(super) fn done(mut self) {
        self.done = true;
    }
}

impl Drop for Mine<'_> {
    fn drop(&mut self) {
        let mut applied = self.turn.lock();
        applied.number = self.number;
        applied.broken |= !self.done;
        self.turn.next.notify_all();
    }
}
