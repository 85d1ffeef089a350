//! Merges parts in the background, one bounded piece at a time.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use super::list::{Partition, Shelved};
use super::name::{DAY_MS, Name};
use super::{Folder, Shelf, ShelfError, Sink, lock, refused, tiers};
use crate::store::part::merge::{MergeError, salvage};
use crate::store::part::{Part, PartError};

/// Time without additions after which a day that is over becomes one part, ms: late batches come in crowds.
pub(super) const QUIET_MS: i64 = 15 * 60 * 1000;

/// Since when nothing was added to a day, by day: the last generation and when it was seen first.
pub(super) type Quiet = BTreeMap<i64, (u64, i64)>;

/// What a step of merging did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Parts that became one, or that were set aside.
    pub parts: usize,
    /// Readings in the new part.
    pub readings: u64,
    /// Bytes of the new part.
    pub bytes: u64,
}

/// A part in the list.
pub(super) type Listed<F> = Arc<Shelved<<F as Folder>::Source>>;
/// A damaged part, what is wrong, and where a copy is kept.
pub(super) type Lost<F> = (Listed<F>, PartError, String);
/// Parts that are open, for as long as they are worked on.
pub(super) type Open<S> = Vec<(Arc<Shelved<S>>, Arc<Part<S>>)>;

/// Parts that are open, and those whose index cannot be read.
pub(super) struct Opened<F: Folder> {
    pub(super) open: Open<F::Source>,
    pub(super) broken: Vec<Listed<F>>,
}

impl<F: Folder> Shelf<F> {
    /// Merges some parts of one day, if there is reason to; none if there is nothing to do for now. `now_ms` is UTC, ms since 1970.
    ///
    /// # Errors
    /// The disk refuses; all is as it was.
    pub fn merge_step(&self, now_ms: i64) -> Result<Option<Step>, ShelfError> {
        let mut upkeep = lock(&self.maintenance);
        let quiet = &mut upkeep.merging;
        self.sweep()?;
        let parts = self.parts();
        quiet.retain(|day, _| parts.days.get(day).is_some_and(|partition| partition.len() > 1));
        for (day, partition) in parts.days.iter().filter(|(_, partition)| partition.len() > 1) {
            let over = (day + 1).saturating_mul(DAY_MS) <= now_ms && is_quiet(quiet, *day, partition, now_ms);
            let bytes: Vec<u64> = partition.iter().map(|part| part.bytes).collect();
            if let Some(chosen) = tiers::choose(&bytes, over) {
                return self.merge_parts(partition.get(chosen).unwrap_or_default()).map(|(step, _)| Some(step));
            }
        }
        Ok(None)
    }

    /// Makes one part of neighbours of a day; gives it, unless some were set aside or there is nothing left.
    pub(super) fn merge_parts(&self, parts: &[Listed<F>]) -> Result<(Step, Option<Listed<F>>), ShelfError> {
        let Opened { open, broken } = self.opened(parts)?;
        if !broken.is_empty() {
            broken.iter().try_for_each(|part| self.set_aside(part))?;
            return Ok((Step { parts: broken.len(), readings: 0, bytes: 0 }, None));
        }
        let (Some((first, _)), Some((last, _))) = (open.first(), open.last()) else {
            return Ok((Step { parts: 0, readings: 0, bytes: 0 }, None));
        };
        let sources: Vec<&Part<F::Source>> = open.iter().map(|(_, part)| &**part).collect();
        let mut lost = Vec::new();
        let made = self.write(Name::merged(&first.name, &last.name), &mut |sink| {
            let merged = salvage(&sources, &mut |bytes| sink.append(bytes).map_err(|e| PartError::Source(e.to_string())));
            let found = merged.map_err(|e| self.failed(&open, &e))?.1;
            lost = self.kept(found.into_iter().filter_map(|(part, error)| Some((open.get(part)?.0.clone(), error))))?;
            Ok(())
        })?;
        self.replace(&open, lost, &made)?;
        Ok((Step { parts: open.len(), readings: made.readings, bytes: made.bytes }, Some(made)))
    }

    /// Opens parts.
    pub(super) fn opened(&self, parts: &[Listed<F>]) -> Result<Opened<F>, ShelfError> {
        let mut opened = Opened { open: Vec::new(), broken: Vec::new() };
        for shelved in parts {
            match self.part(shelved)? {
                Some(part) => opened.open.push((shelved.clone(), part)),
                None => opened.broken.push(shelved.clone()),
            }
        }
        Ok(opened)
    }

    fn failed(&self, open: &Open<F::Source>, e: &MergeError) -> ShelfError {
        match e {
            MergeError::Part { part, error } => refused(&open.get(*part).map_or(String::new(), |(part, _)| part.name.to_string()), error),
            MergeError::Written(error) => refused("a part that is being merged", error),
        }
    }

    /// Keeps copies of damaged parts. To be done before the new part has its name: from then on a start may remove what it covers.
    pub(super) fn kept(&self, damaged: impl IntoIterator<Item = (Listed<F>, PartError)>) -> Result<Vec<Lost<F>>, ShelfError> {
        let mut places: BTreeMap<u64, String> = BTreeMap::new();
        let mut lost = Vec::new();
        for (part, error) in damaged {
            let place = match places.entry(part.id) {
                Entry::Occupied(place) => place.get().clone(),
                Entry::Vacant(place) => place.insert(self.folder.keep_damaged(&part.name.to_string())?).clone(),
            };
            lost.push((part, error, place));
        }
        Ok(lost)
    }

    /// Puts a new part in place of those that it was made of.
    pub(super) fn replace(&self, old: &Open<F::Source>, lost: Vec<Lost<F>>, new: &Listed<F>) -> Result<(), ShelfError> {
        self.folder.sync().inspect_err(|_| self.remove(new))?;
        lost.into_iter().for_each(|(part, error, place)| self.tell(&part, error, &place));
        for (shelved, part) in old {
            // Whoever reads it at the moment goes on with the open file.
            let _ = shelved.pinned.set(part.clone());
        }
        self.change(|parts| {
            old.iter().for_each(|(part, _)| parts.take(part));
            parts.put(new.clone());
        });
        old.iter().for_each(|(part, _)| self.remove(part));
        Ok(())
    }

    /// Moves a part away whose index cannot be read.
    pub(super) fn set_aside(&self, part: &Listed<F>) -> Result<(), ShelfError> {
        let kept = self.folder.keep_damaged(&part.name.to_string())?;
        self.change(|parts| parts.take(part));
        self.remove(part);
        self.tell(part, PartError::Torn("its index cannot be read"), &kept);
        self.folder.sync()
    }
}

/// Whether nothing was added to the day for a while.
pub(super) fn is_quiet<S>(quiet: &mut Quiet, day: i64, partition: &Partition<S>, now_ms: i64) -> bool {
    let newest = partition.last().map_or(0, |part| part.name.last);
    let seen = quiet.entry(day).or_insert((newest, now_ms));
    if seen.0 != newest {
        *seen = (newest, now_ms);
    }
    now_ms.saturating_sub(seen.1) >= QUIET_MS
}
