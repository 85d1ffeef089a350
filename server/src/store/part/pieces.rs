//! A part chunk by chunk, for whoever reads several parts at once and bears with damage in one of them. What overlaps what, and which part
//! wins, is not decided here.

use super::fold::steps;
use super::index::Place;
use super::read::footer_of;
use super::stats::Stats;
use super::{Part, PartError, Source};
use crate::store::{Reading, SeriesId};

/// What a part says of itself at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Glance {
    /// Readings in it.
    pub readings: u64,
    /// First and last time in it, UTC, ms since 1970; none in a part without readings.
    pub times_ms: Option<(i64, i64)>,
}

/// Reads beginning and end of a part, and not its index.
///
/// # Errors
/// Torn, damaged, of a newer program, or refused by the disk.
pub fn glance<S: Source>(source: &S) -> Result<Glance, PartError> {
    let footer = footer_of(source)?;
    let times_ms = (footer.first_ms <= footer.last_ms).then_some((footer.first_ms, footer.last_ms));
    Ok(Glance { readings: footer.readings, times_ms })
}

/// A chunk that may have readings of a series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece(Place);

impl Piece {
    /// First and last time of its rows, UTC, ms since 1970.
    #[must_use]
    pub fn times_ms(&self) -> (i64, i64) {
        (self.0.first_ms, self.0.last_ms)
    }
}

impl<S: Source> Part<S> {
    /// Chunks that may have readings of a series with `from_ms <= at_ms <= last_ms`.
    pub fn pieces(&self, series: SeriesId, from_ms: i64, last_ms: i64) -> impl Iterator<Item = Piece> {
        self.chunks(series, from_ms, last_ms).flatten().copied().map(Piece)
    }

    /// What all of a series in a chunk comes to; none where it has nothing there.
    ///
    /// # Errors
    /// Damaged, or refused by the disk.
    pub fn piece_stats(&self, piece: &Piece, series: SeriesId) -> Result<Option<Stats>, PartError> {
        let head = self.head(&piece.0)?;
        let columns = head.columns.iter().filter(|column| column.series == series && column.absent < head.rows);
        Ok(columns.map(|column| column.stats).reduce(|mut all, more| {
            all.join(&more);
            all
        }))
    }

    /// What a series comes to in each step of a chunk, of its readings with `from_ms <= at_ms <= last_ms`, by the start of the step.
    ///
    /// # Errors
    /// Damaged, or refused by the disk.
    ///
    /// # Panics
    /// A step below 1.
    pub fn piece_steps(&self, piece: &Piece, series: SeriesId, window: (i64, i64), step_ms: i64) -> Result<Vec<(i64, Stats)>, PartError> {
        Ok(steps(&self.columns(&self.head(&piece.0)?, series)?, window, step_ms))
    }

    /// Readings of a series in a chunk with `from_ms <= at_ms <= last_ms`, ascending.
    ///
    /// # Errors
    /// Damaged, or refused by the disk.
    pub fn piece_readings(&self, piece: &Piece, series: SeriesId, from_ms: i64, last_ms: i64) -> Result<Vec<Reading>, PartError> {
        let mut readings = Vec::new();
        self.columns(&self.head(&piece.0)?, series)?.each(series, |at_ms, sample| {
            if (from_ms..=last_ms).contains(&at_ms) {
                readings.push(Reading { at_ms, sample });
            }
        });
        readings.sort_by_key(|reading| reading.at_ms);
        Ok(readings)
    }
}
