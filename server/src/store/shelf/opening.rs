//! Opens the shelf, and its parts when they are needed.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, RwLock};

use super::list::{Cache, MAX_OPEN_PARTS, MAX_OPEN_ROLLUPS, Parts, Shelved};
use super::name::{Name, is_temporary};
use super::rolled::{RollName, Rolled};
use super::{Damage, Folder, Shelf, ShelfError, Told, lock, refused};
use crate::store::part::pieces::{Glance, glance};
use crate::store::part::{Part, PartError};
use crate::store::rollup::Rollup;

impl<F: Folder> Shelf<F> {
    /// Opens the shelf: removes what was never finished and what a merge has left behind, sets aside what is no part under the name of one,
    /// and gives that. Files of other names are not touched.
    ///
    /// # Errors
    /// The disk refuses, or a part was written by a newer program.
    pub fn open(folder: F) -> Result<(Self, Vec<Damage>), ShelfError> {
        // What an earlier life left in the memory of the kernel may be seen now, and must not be gone after the next power cut.
        folder.sync()?;
        let mut found: Vec<(Name, u64, Glance)> = Vec::new();
        let mut rolls: Vec<(RollName, u64)> = Vec::new();
        let mut aside = Vec::new();
        let mut generation = 0;
        for (file, bytes) in folder.list()? {
            if is_temporary(&file) {
                folder.remove(&file)?;
            }
            let rolled = RollName::parse(&file);
            let Some(name) = Name::parse(&file).or(rolled.map(|rolled| rolled.of)) else { continue };
            // Of a rollup, too: what it stands for may be gone, and must not seem to come again.
            generation = generation.max(name.last);
            let source = folder.open(&file)?;
            let read = match rolled {
                Some(rolled) => Rollup::open(source).map(|_| rolls.push((rolled, bytes))),
                None => glance(&source).map(|glance| found.push((name, bytes, glance))),
            };
            match read {
                Ok(()) => {}
                Err(error @ (PartError::Torn(_) | PartError::Damaged { .. })) => {
                    let kept = folder.keep_damaged(&file)?;
                    folder.remove(&file)?;
                    aside.push(Damage { file, error, kept });
                }
                Err(e) => return Err(refused(&file, &e)),
            }
        }
        for file in folder.list_damaged()? {
            // It may be brought back by hand.
            let name = Name::parse(&file).or(RollName::parse(&file).map(|rolled| rolled.of));
            generation = generation.max(name.map_or(0, |name| name.last));
        }
        let (found, covered) = without_covered(&folder, found)?;
        for name in covered {
            folder.remove(&name.to_string())?;
        }
        for rolled in covered_rolls(&mut rolls) {
            folder.remove(&rolled.to_string())?;
        }
        folder.sync()?;
        let mut parts = Parts::default();
        for (id, (name, bytes, glance)) in (0..).zip(&found) {
            parts.put(Arc::new(Shelved::new(id, *name, *bytes, glance.readings, glance.times_ms)));
        }
        for (id, (name, bytes)) in (found.len() as u64..).zip(&rolls) {
            parts.put_rolled(Arc::new(Rolled::new(id, *name, *bytes)));
        }
        let shelf = Self {
            folder,
            parts: RwLock::new(Arc::new(parts)),
            cache: Mutex::new(Cache::of(MAX_OPEN_PARTS)),
            rollups: Mutex::new(Cache::of(MAX_OPEN_ROLLUPS)),
            next_generation: Mutex::new(generation + 1),
            maintenance: Mutex::default(),
            garbage: Mutex::new(BTreeSet::new()),
            told: Mutex::new(Told::default()),
            next_id: AtomicU64::new((found.len() + rolls.len()) as u64),
        };
        Ok((shelf, aside))
    }

    /// The part, open. None if its index is damaged: that is told, and readers go on without it.
    pub(super) fn part(&self, shelved: &Shelved<F::Source>) -> Result<Option<Arc<Part<F::Source>>>, ShelfError> {
        if shelved.is_broken() {
            return Ok(None);
        }
        let open = shelved.pinned.get().cloned().or_else(|| lock(&self.cache).get(shelved.id));
        if open.is_some() {
            return Ok(open);
        }
        let file = shelved.name.to_string();
        let source = match self.folder.open(&file) {
            Ok(source) => source,
            // It went meanwhile, and then it was pinned before.
            Err(e) => return shelved.pinned.get().cloned().map(Some).ok_or(e),
        };
        match Part::open(source) {
            Ok(part) => {
                let part = Arc::new(part);
                lock(&self.cache).put(shelved.id, &part);
                Ok(Some(part))
            }
            Err(error @ (PartError::Torn(_) | PartError::Damaged { .. })) => {
                shelved.set_broken();
                self.tell(shelved, error, "");
                Ok(None)
            }
            Err(e) => Err(refused(&file, &e)),
        }
    }
}

/// Takes away those in whose place another one was made.
fn covered_rolls(rolls: &mut Vec<(RollName, u64)>) -> Vec<RollName> {
    rolls.sort_unstable();
    let names: Vec<RollName> = rolls.iter().map(|(name, _)| *name).collect();
    let of_day = |day: i64| names.get(names.partition_point(|name| name.of.day < day)..names.partition_point(|name| name.of.day <= day));
    let covers = |by: &RollName, name: &RollName| by.level == name.level && by.of.covers(&name.of);
    let (covered, rest) = rolls.iter().partition(|(name, _)| of_day(name.of.day).into_iter().flatten().any(|by| covers(by, name)));
    *rolls = rest;
    let covered: Vec<(RollName, u64)> = covered;
    covered.into_iter().map(|(name, _)| name).collect()
}

type Found = Vec<(Name, u64, Glance)>;

/// Those that no other one was made of, and the others. A part is covered only by one whose index is good.
fn without_covered<F: Folder>(folder: &F, mut found: Found) -> Result<(Found, Vec<Name>), ShelfError> {
    let mut covered = Vec::new();
    found.sort_by_key(|(name, ..)| *name);
    let names: Vec<Name> = found.iter().map(|(name, ..)| *name).collect();
    for by in names.chunk_by(|a, b| a.day == b.day).filter(|day| day.len() > 1).flatten() {
        let of_day = names.partition_point(|name| name.day < by.day)..names.partition_point(|name| name.day <= by.day);
        let origins: Vec<Name> = names.get(of_day).unwrap_or_default().iter().filter(|name| by.covers(name)).copied().collect();
        if origins.is_empty() {
            continue;
        }
        let file = by.to_string();
        match Part::open(folder.open(&file)?) {
            Ok(_) => covered.extend(origins),
            Err(PartError::Torn(_) | PartError::Damaged { .. }) => {}
            Err(e) => return Err(refused(&file, &e)),
        }
    }
    found.retain(|(name, ..)| !covered.contains(name));
    covered.sort_unstable();
    covered.dedup();
    Ok((found, covered))
}
