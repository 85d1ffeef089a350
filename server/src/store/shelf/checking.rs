//! Verifies all that is on the shelf.

use super::{Damage, Folder, Shelf, ShelfError, is_rollup, refused};
use crate::store::part::{Part, PartError};
use crate::store::rollup::Rollup;

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checked {
    /// Parts that were read.
    pub parts: usize,
    /// Readings that can be read; one that is in several parts counts in each.
    pub readings: u64,
    /// What cannot.
    pub damage: Vec<Damage>,
}

/// Decodes every chunk of a part, or all of a rollup, as it is on disk; gives the readings that can be read, and what is damaged.
///
/// # Errors
/// The disk refuses, or it was written by a newer program.
pub fn check_file<F: Folder>(folder: &F, file: &str) -> Result<(u64, Vec<PartError>), ShelfError> {
    if is_rollup(file) {
        return match Rollup::open(folder.open(file)?) {
            // It has no readings of its own.
            Ok(rollup) => Ok((0, rollup.check().1)),
            Err(error @ (PartError::Torn(_) | PartError::Damaged { .. })) => Ok((0, vec![error])),
            Err(e) => Err(refused(file, &e)),
        };
    }
    match Part::open(folder.open(file)?) {
        Ok(part) => Ok(part.check()),
        Err(error @ (PartError::Torn(_) | PartError::Damaged { .. })) => Ok((0, vec![error])),
        Err(e) => Err(refused(file, &e)),
    }
}

impl<F: Folder> Shelf<F> {
    /// Decodes every chunk of every part: each checksum is verified. Nothing is changed.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn check(&self) -> Result<Checked, ShelfError> {
        let mut checked = Checked::default();
        for shelved in self.parts().all() {
            let file = shelved.name.to_string();
            let (readings, damage) = match check_file(&self.folder, &file) {
                // It was merged meanwhile.
                Err(_) if shelved.pinned.get().is_some() => continue,
                checked => checked?,
            };
            checked.parts += 1;
            checked.readings += readings;
            checked.damage.extend(damage.into_iter().map(|error| Damage { file: file.clone(), error, kept: String::new() }));
        }
        Ok(checked)
    }
}
