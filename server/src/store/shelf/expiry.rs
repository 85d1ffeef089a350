//! Drops readings that are too old, to the ms and without making rollups of them: whole parts where that can be, and a part without its oldest
//! readings where not.

use super::merging::{Listed, Open, Opened};
use super::name::day_of;
use super::{Folder, Shelf, ShelfError, Sink, lock, refused};
use crate::store::part::PartError;
use crate::store::part::cut::cut;
use crate::store::part::merge::salvage;

impl<F: Folder> Shelf<F> {
    /// Deletes readings older than `before_ms`, at most `limit` of them, the oldest days first; gives how many went. A part that goes as a
    /// whole costs nothing; one that stays in part is written anew, so ask for whole days and many readings at once.
    ///
    /// # Errors
    /// The disk refuses; some may be gone.
    pub fn expire(&self, before_ms: i64, limit: usize) -> Result<usize, ShelfError> {
        let _one = lock(&self.maintenance);
        self.sweep()?;
        let mut left = limit as u64;
        let days: Vec<i64> = self.parts().days.range(..=day_of(before_ms)).map(|(day, _)| *day).collect();
        for day in days {
            if left == 0 {
                break;
            }
            left -= self.expire_day(day, before_ms, left)?;
        }
        Ok(limit - left as usize)
    }

    fn expire_day(&self, day: i64, before_ms: i64, limit: u64) -> Result<u64, ShelfError> {
        let partition = self.parts().days.get(&day).cloned();
        let Some(partition) = partition else { return Ok(0) };
        let old = |part: &Listed<F>| part.times_ms.is_some_and(|(first_ms, _)| first_ms < before_ms);
        let Some((first, last)) = partition.iter().position(old).zip(partition.iter().rposition(old)) else { return Ok(0) };
        let parts = partition.get(first..=last).unwrap_or_default();
        let Opened { open, broken } = self.opened(parts)?;
        if !broken.is_empty() {
            broken.iter().try_for_each(|part| self.set_aside(part))?;
            return self.expire_day(day, before_ms, limit);
        }
        if parts.iter().all(|part| part.times_ms.is_some_and(|(_, last_ms)| last_ms < before_ms)) {
            let readings = match open.as_slice() {
                [(part, _)] => part.readings,
                // The same reading may be in several.
                _ => {
                    let sources: Vec<_> = open.iter().map(|(_, part)| &**part).collect();
                    salvage(&sources, &mut |_| Ok(())).map_err(|e| ShelfError::Disk(e.to_string()))?.0.readings
                }
            };
            if readings <= limit {
                self.drop_parts(&open)?;
                return Ok(readings);
            }
        }
        let single = match open.as_slice() {
            [(part, _)] => part.clone(),
            _ => match self.merge_parts(parts)?.1 {
                Some(merged) => merged,
                None => return Ok(0),
            },
        };
        self.cut_part(&single, before_ms, limit)
    }

    /// Removes parts as they are, the oldest generation first: none shows again what a newer one had replaced.
    pub(super) fn drop_parts(&self, open: &Open<F::Source>) -> Result<(), ShelfError> {
        for (shelved, part) in open {
            let _ = shelved.pinned.set(part.clone());
            self.change(|parts| parts.take(shelved));
            self.remove(shelved);
            self.sweep()?;
            self.folder.sync()?;
        }
        Ok(())
    }

    fn cut_part(&self, shelved: &Listed<F>, before_ms: i64, limit: u64) -> Result<u64, ShelfError> {
        let Some(part) = self.part(shelved)? else { return Ok(0) };
        let file = shelved.name.to_string();
        let mut gone = 0;
        let mut lost = Vec::new();
        let made = self.write(shelved.name.revised(), &mut |sink| {
            let cut = cut(&part, before_ms, limit, &mut |bytes| sink.append(bytes).map_err(|e| PartError::Source(e.to_string())));
            let cut = cut.map_err(|e| refused(&file, &e))?;
            gone = cut.gone;
            lost = self.kept(cut.lost.into_iter().map(|error| (shelved.clone(), error)))?;
            Ok(())
        })?;
        self.replace(&vec![(shelved.clone(), part)], lost, &made)?;
        Ok(gone)
    }
}
