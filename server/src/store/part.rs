//! An immutable part: readings of many series over a stretch of time, compressed, with an index and checksums. Pure: bytes in, bytes out; it
//! never opens a file and knows no other part but in [`merge`].
//!
//! ```text
//! part   = "PATPART" 1 | chunk* | index | footer
//! chunk  = rows of series that were polled together: one column of times, one of values for each series      (`chunk`)
//! index  = groups | { series: count, steps between ids | chunks | { chunk }* }*
//!   chunk = bytes of its prefix and head | bytes of it | step from the last time of the chunk before to its first | from that to its last
//! footer = start of the index (u64) | its bytes (u32) | its CRC-32 (u32) | readings (u64) | first, last time (i64) | CRC-32 of these (u32) | "PARTEND" 1
//! ```
//! - **One time column for a group.** The chunks of a group follow one another in the file and in time, never overlapping; a group is a device
//!   and what is polled with it. A chunk names its own series, so that they may come and go; the index names all that a group ever has.
//! - **A reading is there once.** The same series and time comes at most once in a part, whatever groups the series is in.
//! - **Torn or damaged is known.** A part ends with its footer: without one it was never finished. Index, head, times and each column have a
//!   CRC of their own, so damage costs the columns that it hits, and names the place.
//! - **A chart need not decode.** The head of a chunk has count, sum, least, greatest, first and last of each column.
//!
//! # Limits
//! A chunk holds at most [`FULL_ROWS`] rows and [`MAX_COLUMNS`] columns and has at most 64 MiB; writers close it at
//! [`MAX_CELLS`] cells. The index has at most [`MAX_INDEX_BYTES`] and lies in memory while a part is open: about 2 bytes for each series and
//! 10 for each chunk. Reading decodes one column at a time.
//!
//! # Why like this
//! Measured in `tests/bench/store-parts.md`: by far the most of a point's bytes are its value's, and pco comes closest to what such values
//! cost at all; a shared column of times saves half a byte for each.
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

use std::borrow::Cow;

use thiserror::Error;

pub(super) mod bytes;
mod chunk;
pub mod cut;
mod fold;
mod index;
pub mod merge;
pub(super) mod pack;
pub mod pieces;
mod read;
mod rows;
mod stats;
mod values;
mod write;

#[cfg(test)]
pub(super) mod tests;

pub(super) use fold::coarser;
pub use fold::{Fold, Folds};
pub use read::Part;
pub use rows::{FULL_ROWS, MAX_CELLS, MAX_COLUMNS, Rows, full_rows};
pub use stats::Stats;
pub use write::Writer;

/// First bytes of a part; the last one is the format.
const MAGIC: [u8; 8] = *b"PATPART\x01";
/// Last bytes of a part.
const END: [u8; 8] = *b"PARTEND\x01";
/// Longest index.
pub const MAX_INDEX_BYTES: usize = 256 << 20;

/// Why a part cannot be read or written.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PartError {
    /// It has no end: whoever wrote it did not finish. Nothing refers to it; remove it.
    #[error("not a finished part: {0}")]
    Torn(&'static str),
    /// Written by a newer program.
    #[error("a part of format {0}, this program reads format 1: upgrade pattoo-server")]
    Newer(u8),
    /// What lies there is not what was written. The rest of the part is still good; set it aside and restore it from a backup.
    #[error("damaged at byte {at}: {what}")]
    Damaged {
        /// Place in the part.
        at: u64,
        /// What was being read.
        what: &'static str,
    },
    /// The disk refused.
    #[error("{0}")]
    Source(String),
    /// A limit of the format.
    #[error("cannot be written: {0}")]
    Unwritable(String),
}

/// Where the bytes of a part come from.
pub trait Source {
    /// How many there are.
    ///
    /// # Errors
    /// The disk refuses.
    fn bytes(&self) -> Result<u64, PartError>;

    /// Exactly these; fewer only where the part ends before.
    ///
    /// # Errors
    /// The disk refuses.
    fn read(&self, at: u64, bytes: usize) -> Result<Cow<'_, [u8]>, PartError>;
}

impl Source for Vec<u8> {
    fn bytes(&self) -> Result<u64, PartError> {
        Ok(self.len() as u64)
    }

    fn read(&self, at: u64, bytes: usize) -> Result<Cow<'_, [u8]>, PartError> {
        let from = usize::try_from(at).unwrap_or(usize::MAX).min(self.len());
        let to = from.saturating_add(bytes).min(self.len());
        Ok(Cow::Borrowed(self.get(from..to).unwrap_or_default()))
    }
}
