//! Verifies all that is on the shelf.

use super::{Damage, Folder, Shelf, ShelfError, refused};
use crate::store::part::{Part, PartError};

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

impl<F: Folder> Shelf<F> {
    /// Decodes every chunk of every part: each checksum is verified. Nothing is changed.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn check(&self) -> Result<Checked, ShelfError> {
        let mut checked = Checked::default();
        for shelved in self.parts().all() {
            let file = shelved.name.to_string();
            // Opened anew: what is in memory may be better than what is on disk.
            let opened = match self.folder.open(&file) {
                Ok(source) => Part::open(source),
                // It was merged meanwhile.
                Err(_) if shelved.pinned.get().is_some() => continue,
                Err(e) => return Err(e),
            };
            let damage = match opened {
                Ok(part) => {
                    let (readings, damage) = part.check();
                    checked.readings += readings;
                    damage
                }
                Err(error @ (PartError::Torn(_) | PartError::Damaged { .. })) => vec![error],
                Err(e) => return Err(refused(&file, &e)),
            };
            checked.parts += 1;
            checked.damage.extend(damage.into_iter().map(|error| Damage { file: file.clone(), error, kept: String::new() }));
        }
        Ok(checked)
    }
}
