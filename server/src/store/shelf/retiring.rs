//! Drops what is not kept any longer, by whole days: readings, once rollups stand for them, and rollups. A day goes as files.

use super::list::Parts;
use super::merging::Opened;
use super::name::day_of;
use super::rolled::{Rolled, Standing};
use super::rolling::{Kept, is_worth, missing};
use super::{Folder, Shelf, ShelfError, lock};
use crate::store::rollup::{Level, span_of};

/// What went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Gone {
    /// Files.
    pub files: u64,
    /// Readings; one that was in several parts counts in each.
    pub readings: u64,
    /// Bytes of the files.
    pub bytes: u64,
}

impl Gone {
    /// Counts both together.
    pub fn add(&mut self, other: Self) {
        self.files += other.files;
        self.readings += other.readings;
        self.bytes += other.bytes;
    }
}

/// What a class has on disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Held {
    /// Bytes.
    pub bytes: u64,
    /// Beginning of its first day, ms since 1970.
    pub from_ms: Option<i64>,
}

impl<F: Folder> Shelf<F> {
    /// Drops the readings of all days that were over at this time, once there are the rollups of them that are kept.
    ///
    /// # Errors
    /// The disk refuses; some may be gone.
    pub fn retire(&self, before_ms: i64, kept: &Kept) -> Result<Gone, ShelfError> {
        let _one = lock(&self.maintenance);
        self.sweep()?;
        let days: Vec<i64> = self.parts().days.range(..day_of(before_ms)).map(|(day, _)| *day).collect();
        let mut gone = Gone::default();
        for day in days {
            gone.add(self.retire_day(day, kept, false)?);
        }
        Ok(gone)
    }

    /// Drops the readings of the oldest day that has any, if it is over, to make room; gives its beginning. Of rollups only those of the day itself and
    /// those that are worth it are made first: others would take as much room as the readings did.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn retire_oldest(&self, now_ms: i64, kept: &Kept) -> Result<Option<(i64, Gone)>, ShelfError> {
        let _one = lock(&self.maintenance);
        self.sweep()?;
        let oldest = self.parts().days.range(..day_of(now_ms)).next().map(|(day, _)| *day);
        oldest.map(|day| Ok((span_of(day).map_or(i64::MIN, |(first_ms, _)| first_ms), self.retire_day(day, kept, true)?))).transpose()
    }

    fn retire_day(&self, day: i64, kept: &Kept, for_room: bool) -> Result<Gone, ShelfError> {
        loop {
            let parts = self.parts();
            let Some(partition) = parts.days.get(&day).cloned() else { return Ok(Gone::default()) };
            let Opened { open, broken } = self.opened(&partition)?;
            if !broken.is_empty() {
                broken.iter().try_for_each(|part| self.set_aside(part))?;
                continue;
            }
            if self.set_bad_rollups_aside(&parts, day)? {
                continue;
            }
            let mut wanted = open.first().filter(|_| !parts.is_alone(day)).map(|(one, _)| missing(&parts, one, kept)).unwrap_or_default();
            if let (true, [(_, part)]) = (for_room, open.as_slice()) {
                wanted.retain(|level| *level == Level::Day || is_worth(part, *level, kept.worth));
            }
            match open.as_slice() {
                [(one, part)] if !wanted.is_empty() => drop(self.roll(one, part, &wanted, true)?),
                [_, _, ..] if !wanted.is_empty() => {
                    self.merge_parts(&partition)?;
                    continue;
                }
                _ => {}
            }
            self.drop_parts(&open)?;
            return Ok(Gone {
                files: open.len() as u64,
                readings: open.iter().map(|(part, _)| part.readings).sum(),
                bytes: open.iter().map(|(part, _)| part.bytes).sum(),
            });
        }
    }

    /// Reads the rollups of a day once more before they are all that is left of it. What cannot be read is moved away, or the one that is made anew would
    /// take its name and its place; whether there was any.
    fn set_bad_rollups_aside(&self, parts: &Parts<F::Source>, day: i64) -> Result<bool, ShelfError> {
        for (rolled, _) in parts.rolls(day).filter(|(_, standing)| *standing == Standing::Current) {
            let damage = self.rollup(rolled)?.and_then(|rollup| rollup.check().1.into_iter().next());
            damage.map_or(Ok(None), |error| self.rollup_borne::<()>(rolled, Err(error)))?;
        }
        let all = parts.rolled.get(&day).into_iter().flatten().flatten();
        let bad: Vec<_> = all.filter(|rolled| rolled.is_broken()).collect();
        bad.iter().try_for_each(|rolled| self.set_rollup_aside(rolled))?;
        Ok(!bad.is_empty())
    }

    /// Drops rollups of days before those that are kept.
    ///
    /// # Errors
    /// The disk refuses; some may be gone.
    pub fn drop_rollups(&self, kept: &Kept) -> Result<Gone, ShelfError> {
        let _one = lock(&self.maintenance);
        self.sweep()?;
        let parts = self.parts();
        let old = |rolled: &&std::sync::Arc<Rolled<F::Source>>| {
            span_of(rolled.name.of.day).is_some_and(|(first_ms, _)| !kept.is_kept(rolled.name.level, first_ms))
        };
        let mut gone = Gone::default();
        for rolled in parts.rolled.values().flatten().flatten().filter(old) {
            gone.add(self.drop_rollup(rolled));
        }
        if gone.files > 0 {
            self.folder.sync()?;
        }
        Ok(gone)
    }

    /// Drops the oldest rollup of the finest level that there is; gives its level and the beginning of its day.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn drop_oldest_rollup(&self) -> Result<Option<(Level, i64, Gone)>, ShelfError> {
        let _one = lock(&self.maintenance);
        self.sweep()?;
        let parts = self.parts();
        let oldest = parts.rolled.values().flatten().flatten().min_by_key(|rolled| (rolled.name.level, rolled.name.of.day));
        let Some(rolled) = oldest else { return Ok(None) };
        let gone = self.drop_rollup(rolled);
        self.folder.sync()?;
        let first_ms = span_of(rolled.name.of.day).map_or(i64::MIN, |(first_ms, _)| first_ms);
        Ok(Some((rolled.name.level, first_ms, gone)))
    }

    fn drop_rollup(&self, rolled: &Rolled<F::Source>) -> Gone {
        // One that cannot be opened is not read by anybody.
        let _ = self.pin_rollup(rolled);
        self.change(|parts| parts.take_rolled(rolled));
        self.discard_rollup(rolled);
        Gone { files: 1, readings: 0, bytes: rolled.bytes }
    }

    /// What parts have on disk, and rollups of each level.
    #[must_use]
    pub fn held(&self) -> (Held, [Held; 4]) {
        let parts = self.parts();
        let raw = Held { bytes: parts.all().map(|part| part.bytes).sum(), from_ms: self.raw_from_ms() };
        let mut levels = [Held::default(); 4];
        for rolled in parts.rolled.values().flatten().flatten() {
            if let Some(held) = levels.get_mut(rolled.name.level.place()) {
                held.bytes += rolled.bytes;
                held.from_ms = held.from_ms.or(span_of(rolled.name.of.day).map(|(first_ms, _)| first_ms));
            }
        }
        (raw, levels)
    }

    /// Beginning of the first day whose readings are there; none where there are none.
    #[must_use]
    pub fn raw_from_ms(&self) -> Option<i64> {
        let parts = self.parts();
        let first = parts.days.keys().find(|day| !parts.is_alone(**day));
        first.and_then(|day| span_of(*day)).map(|(first_ms, _)| first_ms)
    }
}
