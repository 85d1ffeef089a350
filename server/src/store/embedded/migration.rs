//! Shell: readings of a ledger of format 1 or 2, which had them all, move to the shelf. They are dropped there once each was found again, so
//! that a start that does not come to its end begins anew, and nothing is lost or there twice.

use std::path::Path;

use tracing::info;

use super::super::head::{Head, Open};
use super::super::shelf::{Folder, Shelf, ShelfError};
use super::super::{Reading, SeriesId, StoreError, row};
use super::ledger::Ledger;
use super::shelf_error;
use super::state::Budget;

/// Readings that are moved at once.
const AT_ONCE: usize = 20_000;

/// Why it did not come to its end.
pub(super) enum Failed {
    Ledger(StoreError),
    Shelf(ShelfError),
    /// A reading is not on the shelf as it was in the ledger.
    Differs(SeriesId, i64),
}

impl From<StoreError> for Failed {
    fn from(e: StoreError) -> Self {
        Self::Ledger(e)
    }
}

impl Failed {
    pub(super) fn into_store_error(self, parts: &Path) -> StoreError {
        match self {
            Self::Ledger(e) => e,
            Self::Shelf(e) => shelf_error(parts, e),
            Self::Differs(id, at_ms) => {
                let what =
                    format!("the reading of series {} at {at_ms} ms did not come over from the older file, which is left as it is", id.0);
                StoreError::Damaged { path: parts.display().to_string(), what }
            }
        }
    }
}

/// Moves them, if there are any.
pub(super) fn run<F: Folder>(ledger: &Ledger, shelf: &Shelf<F>, budget: Budget) -> Result<(), Failed> {
    let count = ledger.old_readings()?;
    if count == 0 {
        return Ok(());
    }
    info!(readings = count, "readings of an older file move to parts");
    let series = ledger.load()?.series;
    let state = super::State::new(&series, 0);
    let mut head = Head::default();
    ledger.each_old_reading(AT_ONCE, |readings| {
        head.apply(&readings.iter().cloned().collect(), |id| state.device(id), &mut Open);
        if head.bytes() >= budget.head_bytes {
            shelf.add(head.groups()).map_err(Failed::Shelf)?;
            head = head.next();
        }
        Ok::<_, Failed>(())
    })?;
    shelf.add(head.groups()).map_err(Failed::Shelf)?;
    drop(head);
    let mut found = 0;
    ledger.each_old_reading(AT_ONCE, |readings| {
        for of_series in readings.chunk_by(|a, b| a.0 == b.0) {
            verify(shelf, of_series)?;
        }
        found += readings.len() as u64;
        Ok::<_, Failed>(())
    })?;
    ledger.drop_old_readings()?;
    info!(readings = found, "readings of an older file are in parts");
    Ok(())
}

/// Whether the shelf has these readings of one series, bit for bit.
fn verify<F: Folder>(shelf: &Shelf<F>, readings: &[(SeriesId, Reading)]) -> Result<(), Failed> {
    let (Some((id, first)), Some((_, last))) = (readings.first(), readings.last()) else { return Ok(()) };
    let mut found = shelf.raw(*id, first.at_ms, last.at_ms, usize::MAX).map_err(Failed::Shelf)?;
    // The end of a range is not in it.
    let end = shelf.sample_at(*id, last.at_ms).map_err(Failed::Shelf)?;
    found.extend(end.map(|sample| Reading { at_ms: last.at_ms, sample }));
    let mut found = found.iter();
    for (_, wanted) in readings {
        let there = found.find(|reading| reading.at_ms >= wanted.at_ms);
        let same =
            |reading: &Reading| reading.at_ms == wanted.at_ms && row::write_sample(&reading.sample) == row::write_sample(&wanted.sample);
        if !there.is_some_and(same) {
            return Err(Failed::Differs(*id, wanted.at_ms));
        }
    }
    Ok(())
}
