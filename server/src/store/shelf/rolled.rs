//! Rollups on the shelf: their names, and whether one says what the readings of its day say.
//!
//! The name of a rollup has that of the one part that it was made of, and this decides: beside that very part it is *current*. A part that was made
//! anew or came later makes it *stale*: readings answer until it is made anew. Where no part is there that it could have been made of, it stands
//! *alone*: its readings are gone, it is the truth of that day, and what comes late for it changes it no more.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use super::list::{Partition, Parts};
use super::name::Name;
use crate::store::rollup::{LEVELS, Level, Rollup};

/// What a rollup is called after.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RollName {
    pub(super) of: Name,
    pub(super) level: Level,
}

impl RollName {
    pub(super) fn temporary(&self) -> String {
        format!("{self}.temporary")
    }

    /// Reads a name that this gave.
    pub(super) fn parse(file: &str) -> Option<Self> {
        let (stem, level) = file.strip_suffix(".rollup")?.rsplit_once('.')?;
        let level = LEVELS.into_iter().find(|known| known.name() == level)?;
        Name::parse(&format!("{stem}.part")).map(|of| Self { of, level })
    }
}

impl fmt::Display for RollName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Name { day, first, last, revision } = self.of;
        write!(f, "d{day}-g{first}-{last}-r{revision}.{}.rollup", self.level.name())
    }
}

/// Whether a file of this name is a rollup.
#[must_use]
pub fn is_rollup(file: &str) -> bool {
    RollName::parse(file).is_some()
}

/// A rollup on disk, open or not.
#[derive(Debug)]
pub(super) struct Rolled<S> {
    pub(super) id: u64,
    pub(super) name: RollName,
    pub(super) bytes: u64,
    /// Set before its file goes, for those who still have it in their list.
    pub(super) pinned: OnceLock<Arc<Rollup<S>>>,
    broken: AtomicBool,
}

impl<S> Rolled<S> {
    pub(super) fn new(id: u64, name: RollName, bytes: u64) -> Self {
        Self { id, name, bytes, pinned: OnceLock::new(), broken: AtomicBool::new(false) }
    }

    /// Whether something of it cannot be read: then it is not used any more.
    pub(super) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }

    pub(super) fn set_broken(&self) {
        self.broken.store(true, Ordering::Relaxed);
    }
}

/// Rollups of a day, by [`Level::place`].
pub(super) type Rolls<S> = [Option<Arc<Rolled<S>>>; 4];

/// All rollups, by day.
pub(super) type Days<S> = BTreeMap<i64, Rolls<S>>;

/// How a rollup stands to the parts of its day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    Current,
    Stale,
    Alone,
}

/// How one that was made of a part of this name stands to the parts of its day.
pub(super) fn standing<S>(partition: Option<&Partition<S>>, of: &Name) -> Standing {
    match partition.map_or(&[][..], |partition| &**partition) {
        [one] if one.name == *of => Standing::Current,
        parts if parts.iter().all(|part| part.name.last < of.first || part.name.first > of.last) => Standing::Alone,
        _ => Standing::Stale,
    }
}

impl<S> Parts<S> {
    /// The rollups of a day that are not broken, the coarsest first, and how they stand.
    pub(super) fn rolls(&self, day: i64) -> impl Iterator<Item = (&Arc<Rolled<S>>, Standing)> {
        let partition = self.days.get(&day);
        let rolls = self.rolled.get(&day).into_iter().flatten().rev().flatten();
        rolls.filter(|rolled| !rolled.is_broken()).map(move |rolled| (rolled, standing(partition, &rolled.name.of)))
    }

    /// Whether the readings of a day are gone and rollups have taken their place.
    pub(super) fn is_alone(&self, day: i64) -> bool {
        self.rolls(day).any(|(_, standing)| standing == Standing::Alone)
    }

    /// Days that have parts or rollups, ascending.
    pub(super) fn days_of(&self, first: i64, last: i64) -> BTreeSet<i64> {
        self.days.range(first..=last).map(|(day, _)| *day).chain(self.rolled.range(first..=last).map(|(day, _)| *day)).collect()
    }

    pub(super) fn put_rolled(&mut self, rolled: Arc<Rolled<S>>) {
        let slots = Arc::make_mut(&mut self.rolled).entry(rolled.name.of.day).or_default();
        if let Some(slot) = slots.get_mut(rolled.name.level.place()) {
            *slot = Some(rolled);
        }
    }

    pub(super) fn take_rolled(&mut self, gone: &Rolled<S>) {
        let days = Arc::make_mut(&mut self.rolled);
        let Some(slots) = days.get_mut(&gone.name.of.day) else { return };
        slots.iter_mut().filter(|slot| slot.as_ref().is_some_and(|rolled| rolled.id == gone.id)).for_each(|slot| *slot = None);
        if slots.iter().all(Option::is_none) {
            days.remove(&gone.name.of.day);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        let of = Name { day: -20_787, first: 3, last: 12, revision: 1 };
        for (level, file) in [(Level::Minute, "d-20787-g3-12-r1.1m.rollup"), (Level::Day, "d-20787-g3-12-r1.1d.rollup")] {
            let name = RollName { of, level };
            assert_eq!((name.to_string().as_str(), RollName::parse(file)), (file, Some(name)));
        }
        for other in
            ["", "d1-g1-1-r0.2m.rollup", "d1-g2-1-r0.1m.rollup", "d1-g1-1-r0.rollup", "d1-g1-1-r0.part", "d1-g1-1-r0.1m.rollup.temporary"]
        {
            assert!(!is_rollup(other), "{other}");
        }
    }
}
