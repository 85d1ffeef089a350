//! Keeps what retention says and drops the rest; rolls up what has come to rest.

use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};

use super::super::StoreError;
use super::super::log::Disk;
use super::super::retention::{Class, Keep, RAW, Retained, Retention};
use super::super::rollup::{LEVELS, Level};
use super::super::shelf::{Folder, Kept};
use super::Engine;

/// Days that had to go since the start: of readings, then of each level.
pub(super) type Forced = [AtomicU64; 5];

fn kept(retention: &Retention, now_ms: i64) -> Kept {
    Kept { from_ms: retention.levels.map(|keep| keep.from_ms(now_ms)), worth: Kept::WORTH }
}

impl<D: Disk, F: Folder> Engine<D, F> {
    /// What was said to be kept; nothing is known before.
    fn retention(&self) -> Option<Retention> {
        *self.retention.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Rolls up what has come to rest, until there is something else to do. Not before it is known what is kept.
    pub(super) fn roll_up(&self, now_ms: i64) -> Result<(), StoreError> {
        let Some(kept) = self.retention().map(|retention| kept(&retention, now_ms)) else { return Ok(()) };
        while !self.signal.is_asked() && self.shelf.roll_step(now_ms, &kept).map_err(|e| self.shelf_error(e))?.is_some() {}
        Ok(())
    }

    /// Brings all to parts, and merges and rolls up all days that are over.
    pub(super) fn tidy(&self, now_ms: i64) -> Result<(), StoreError> {
        self.flush_all()?;
        let retention = self.retention().unwrap_or(Retention::alike(Keep::Forever));
        self.shelf.tidy(now_ms, &kept(&retention, now_ms)).map_err(|e| self.shelf_error(e))
    }

    pub(super) fn retain(&self, retention: &Retention, now_ms: i64) -> Result<Retained, StoreError> {
        *self.retention.write().unwrap_or_else(PoisonError::into_inner) = Some(*retention);
        let (before_ms, kept) = (retention.raw.from_ms(now_ms), kept(retention, now_ms));
        if self.write().expire(before_ms) {
            self.flush_all()?;
        }
        let aged = self.shelf.retire(before_ms, &kept).map_err(|e| self.shelf_error(e))?.readings;
        let mut retained = Retained { aged, ..Retained::default() };
        self.shelf.drop_rollups(&kept).map_err(|e| self.shelf_error(e))?;
        self.settle(None)?;
        self.ledger.expire_gaps(before_ms, usize::MAX)?;
        if let Some(most) = retention.max_bytes {
            self.fit(most, now_ms, &kept, &mut retained)?;
        }
        Ok(retained)
    }

    /// Drops days until all together is no more than `most`.
    fn fit(&self, most: u64, now_ms: i64, kept: &Kept, retained: &mut Retained) -> Result<(), StoreError> {
        if self.bytes()? > most {
            // What is in the log takes less in parts, and a day must not come back from the head.
            self.flush_all()?;
        }
        loop {
            let bytes = self.bytes()?;
            if bytes <= most {
                return Ok(());
            }
            if let Some((day_ms, gone)) = self.shelf.retire_oldest(now_ms, kept).map_err(|e| self.shelf_error(e))? {
                self.write().expire(day_ms.saturating_add(Level::Day.step_ms()));
                self.note(retained, (RAW, 0), day_ms, gone.bytes);
            } else if let Some((level, day_ms, gone)) = self.shelf.drop_oldest_rollup().map_err(|e| self.shelf_error(e))? {
                self.note(retained, (level.name(), 1 + level.place()), day_ms, gone.bytes);
            } else {
                retained.over_bytes = Some(bytes);
                return Ok(());
            }
        }
    }

    fn note(&self, retained: &mut Retained, (class, place): (&'static str, usize), day_ms: i64, bytes: u64) {
        retained.force(class, day_ms, bytes);
        if let Some(days) = self.forced.get(place) {
            days.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn classes(&self) -> Vec<Class> {
        let (raw, levels) = self.shelf.held();
        let names = [RAW].into_iter().chain(LEVELS.map(Level::name));
        let all = names.zip([raw].into_iter().chain(levels)).zip(&self.forced);
        all.map(|((name, held), forced)| Class {
            name,
            bytes: held.bytes,
            from_ms: held.from_ms,
            forced_days: forced.load(Ordering::Relaxed),
        })
        .collect()
    }

    /// Bytes on disk.
    pub(super) fn bytes(&self) -> Result<u64, StoreError> {
        let log = std::fs::read_dir(self.folder.join("log")).and_then(|files| {
            // One that goes meanwhile counts no more.
            files.map(|file| Ok(file?.metadata().map_or(0, |file| file.len()))).sum::<std::io::Result<u64>>()
        });
        let log = log.map_err(|e| StoreError::Io { path: self.folder.display().to_string(), what: e.to_string() })?;
        Ok(self.ledger.bytes()? + self.shelf.bytes() + log)
    }
}
