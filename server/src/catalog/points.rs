//! Series that come without a schema and without a stream: each reading tells of its own. Their gateways send what they hold in any
//! order, and again until it is acknowledged; that a series and a time hold one reading makes it once.

use std::sync::Arc;

use super::{Catalog, Refused};
use crate::store::{SeriesEntry, SeriesId};

impl Catalog {
    /// The known series of this name, where this entry says something else about it.
    #[must_use]
    pub fn differing(&self, entry: &SeriesEntry) -> Option<SeriesId> {
        let known = self.find(entry)?;
        (**known != SeriesEntry { id: known.id, ..entry.clone() }).then_some(known.id)
    }

    /// Takes a series by its names; gives its id, and the entry to store where it is new or has changed. `current` is false for an
    /// entry that is older than what is known: then it gives only the id.
    ///
    /// # Errors
    /// A gateway or series too many; `most_gateways` of all gateways may be of this one's sort.
    pub fn take_point(
        &mut self,
        entry: SeriesEntry,
        current: bool,
        of_sort: impl Fn(&str) -> bool,
        most_gateways: usize,
    ) -> Result<(SeriesId, Option<SeriesEntry>), Refused> {
        let known = self.find(&entry).map(|known| known.id);
        if let Some(id) = known.filter(|_| !current || self.differing(&entry).is_none()) {
            return Ok((id, None));
        }
        if !self.gateways.contains_key(&entry.gateway) {
            self.ensure_room(&entry.gateway)?;
            if self.gateways.keys().filter(|name| of_sort(name)).count() >= most_gateways {
                return Err(Refused::TooManyGateways { gateway: entry.gateway });
            }
        }
        self.ensure_room_for_series(&entry.gateway, usize::from(known.is_none()))?;
        let id = known.unwrap_or(SeriesId(self.last_id.saturating_add(1)));
        self.last_id = self.last_id.max(id.0);
        let entry = SeriesEntry { id, ..entry };
        self.insert_series(Arc::new(entry.clone()));
        Ok((id, Some(entry)))
    }
}
