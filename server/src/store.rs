//! What a store must do; the backends are in `store/`. Nothing outside a backend knows how bytes lie on disk.
//!
//! A store is told what to keep, never decides it: ids and de-duplication are the catalogue's (`catalog`), so that every
//! backend stays small and passes the one contract suite unchanged. All calls block; callers use a blocking thread.
//!
//! [`log`], [`head`], [`part`], [`rollup`] and [`shelf`] are what [`embedded`] is made of: commits go to the log, the head keeps what is not in a part
//! yet, parts and rollups stand on the shelf. [`victoria`] keeps the newest days in one like it, and all before in VictoriaMetrics.

use pattoo_wire::{Gap, Sample, Schema, SchemaId, Series};
use thiserror::Error;

use retention::{Class, Retained, Retention};

mod by_series;
pub mod embedded;
pub mod head;
pub mod log;
pub mod memory;
pub mod part;
mod readings;
pub mod retention;
pub mod rollup;
pub mod shelf;
pub mod victoria;

#[cfg(test)]
mod contract;
mod row;

pub use readings::{At, Block, Readings};

/// Names a series in this store, from 1, never used again for another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeriesId(pub u32);

/// One stored reading.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// UTC, ms since 1970.
    pub at_ms: i64,
    /// Value, quality, reason.
    pub sample: Sample,
}

/// A series as the catalogue knows it. Identity is gateway + device + point; the rest may change.
#[derive(Debug, Clone, PartialEq)]
pub struct SeriesEntry {
    /// Its id.
    pub id: SeriesId,
    /// Gateway it comes from.
    pub gateway: String,
    /// Device name.
    pub device: String,
    /// Profile of the device.
    pub profile: String,
    /// Labels of the device.
    pub device_labels: pattoo_wire::Labels,
    /// Point, unit, kind, representation, labels, states. `entry.device` (an index) has no meaning here.
    pub entry: Series,
}

/// How far a stream of a gateway has arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamState {
    /// Gateway.
    pub gateway: String,
    /// One life of its buffer.
    pub stream: u64,
    /// Nothing at or below is missing: this is what gets acknowledged.
    pub contiguous: u64,
    /// Batches above it that have arrived already, as ranges (first, last), ascending and apart.
    pub ahead: Vec<(u64, u64)>,
}

/// What is kept of a batch for as long as it may come again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// Its number.
    pub seq: u64,
    /// Its place in the order in which the batches of its stream came.
    pub place: u64,
    /// Checksum of its content.
    pub crc: u32,
    /// How many readings came under this number.
    pub readings: u32,
    /// Times of its first and last reading, where it has any.
    pub times_ms: Option<(i64, i64)>,
}

/// Gap records of one stream that a store gives at its start, at least.
pub const MAX_LOADED_GAPS: usize = 512;

/// What becomes durable as one.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Commit {
    /// New or changed series.
    pub series: Vec<SeriesEntry>,
    /// New schemas.
    pub schemas: Vec<(String, SchemaId, Schema)>,
    /// Readings. The same series and time again replaces: a resend changes nothing, a correction wins.
    pub readings: Readings,
    /// Gap records by gateway and stream. One replaces those of its stream and reason that begin where it begins or lie within it:
    /// gateways join records that have not been acknowledged.
    pub gaps: Vec<(String, u64, Gap)>,
    /// Streams that advanced.
    pub streams: Vec<StreamState>,
    /// Schemas that go; done before the new ones come.
    pub forgotten_schemas: Vec<(String, SchemaId)>,
    /// Receipts by gateway and stream. The same seq again replaces.
    pub receipts: Vec<(String, u64, Receipt)>,
    /// Receipts that go, by gateway, stream and seq; done before the new ones come.
    pub forgotten_receipts: Vec<(String, u64, u64)>,
    /// Streams that go, and their receipts; done before the new ones come.
    pub forgotten_streams: Vec<(String, u64)>,
    /// Gap records that go, by their stream, first_seq and reason; done before the new ones come.
    pub forgotten_gaps: Vec<(String, u64, Gap)>,
}

/// What a commit came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Committed {
    /// Readings that took the place of another value of the same series and time.
    pub replaced: u64,
}

/// What a store holds besides readings, for the catalogue at start.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Loaded {
    /// All series.
    pub series: Vec<SeriesEntry>,
    /// All schemas.
    pub schemas: Vec<(String, SchemaId, Schema)>,
    /// All streams.
    pub streams: Vec<StreamState>,
    /// Of each stream the gap records of its highest batches, ascending: [`MAX_LOADED_GAPS`] to twice as many, or all.
    pub gaps: Vec<(String, u64, Gap)>,
    /// All receipts.
    pub receipts: Vec<(String, u64, Receipt)>,
}

/// Of gap records that come stream by stream, ascending, the last few of each stream.
fn newest_gaps<E>(gaps: impl Iterator<Item = Result<(String, u64, Gap), E>>) -> Result<Vec<(String, u64, Gap)>, E> {
    let mut newest: Vec<(String, u64, Gap)> = Vec::new();
    let mut begins = 0;
    for gap in gaps {
        let gap = gap?;
        if newest.get(begins).is_some_and(|first| (&first.0, first.1) != (&gap.0, gap.1)) {
            begins = newest.len();
        }
        newest.push(gap);
        // Not one by one, because what follows has to move up.
        if newest.len() - begins >= 2 * MAX_LOADED_GAPS {
            newest.drain(begins..begins + MAX_LOADED_GAPS);
        }
    }
    Ok(newest)
}

/// All readings of one series within one step, as mergeable parts. Bad readings are counted only, as are texts and NaN.
/// Where `count` is 0 there is no number: `sum` is 0 and the four others are NaN.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bucket {
    /// Start of the bucket, aligned to the step; it covers `[start, start + step)`.
    pub start_ms: i64,
    /// Readings with a numeric value.
    pub count: u64,
    /// Their sum.
    pub sum: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
    /// The first in time.
    pub first: f64,
    /// The last in time.
    pub last: f64,
    /// Readings of uncertain quality.
    pub uncertain: u64,
    /// Readings of bad quality.
    pub bad: u64,
}

/// Why a store could not do it.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The disk or file system refused; nothing of the commit is there. Try again later; acknowledge nothing.
    #[error("store {path}: {what}")]
    Io {
        /// File.
        path: String,
        /// What it said.
        what: String,
    },
    /// A file of the store cannot be read.
    #[error("store {path} is damaged: {what}; restore it from a backup, or move it away to begin a new one")]
    Damaged {
        /// File.
        path: String,
        /// What was found.
        what: String,
    },
    /// Written by a newer program.
    #[error("store {path} has format {found}, this program reads up to format {known}: upgrade pattoo-server")]
    Newer {
        /// File.
        path: String,
        /// Format found.
        found: u64,
        /// Newest format that this program reads.
        known: u64,
    },
    /// What holds the history does not answer. Try again later.
    #[error("history cannot be had: {what}; what is newer than {newer} is here")]
    Away {
        /// What happened.
        what: String,
        /// From when on all is here, as a time.
        newer: String,
    },
    /// More waits here than may. Nothing of the commit is there; acknowledge nothing.
    #[error("store {path} has {bytes} bytes, and at most {most} may wait for the history to take them: {what}")]
    Full {
        /// Folder.
        path: String,
        /// Bytes on disk.
        bytes: u64,
        /// The limit.
        most: u64,
        /// Why they wait, and what to do.
        what: String,
    },
    /// Another process has it open.
    #[error("store {path} is in use by another process; stop that one first, or give this one its own `data` folder")]
    InUse {
        /// File.
        path: String,
    },
}

/// What another machine has of a store, and what it lacks yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Elsewhere {
    /// Whether it answers and takes readings.
    pub up: bool,
    /// Readings that are sent next.
    pub unsent_readings: u64,
    /// Days of UTC of which it may lack some: compared as soon as it can be.
    pub unsent_days: u64,
    /// Bytes on disk here, above which readings are refused.
    pub max_bytes: u64,
}

/// Durable readings, series and streams.
pub trait Store: Send + Sync + 'static {
    /// What is there, for the catalogue.
    fn load(&self) -> Result<Loaded, StoreError>;

    /// Makes all of it durable, or nothing; only then may it be acknowledged.
    fn commit(&self, commit: &Commit) -> Result<Committed, StoreError>;

    /// Readings with `from_ms <= at_ms < to_ms`, ascending, at most `limit`.
    fn raw(&self, series: SeriesId, from_ms: i64, to_ms: i64, limit: usize) -> Result<Vec<Reading>, StoreError>;

    /// Buckets of `step_ms`, aligned to 1970, ascending, that have any reading with `from_ms <= at_ms < to_ms`; empty ones are left out. The last digits
    /// of a sum depend on the order of adding; all else is exact.
    fn buckets(&self, series: SeriesId, from_ms: i64, to_ms: i64, step_ms: i64) -> Result<Vec<Bucket>, StoreError>;

    /// The same for a chart, which may do without what cannot be had right now; and whether it has to.
    fn buckets_in_part(&self, series: SeriesId, from_ms: i64, to_ms: i64, step_ms: i64) -> Result<(Vec<Bucket>, bool), StoreError> {
        Ok((self.buckets(series, from_ms, to_ms, step_ms)?, false))
    }

    /// The newest reading of each series.
    fn latest(&self, series: &[SeriesId]) -> Result<Vec<Option<Reading>>, StoreError>;

    /// Gap records of a gateway that touch the range, by time.
    fn gaps(&self, gateway: &str, from_ms: i64, to_ms: i64) -> Result<Vec<Gap>, StoreError>;

    /// Deletes readings and gaps older than `before_ms`, at most `limit` of them; gives how many went. No rollups are made of them.
    fn expire(&self, before_ms: i64, limit: usize) -> Result<usize, StoreError>;

    /// Puts what is stored, as of one moment, into an empty folder: all that was committed before is in it.
    fn snapshot(&self, into: &std::path::Path) -> Result<(), StoreError> {
        Err(StoreError::Io { path: into.display().to_string(), what: "this store cannot be backed up while it is open".into() })
    }

    /// Keeps what `retention` says, and drops the rest; what a store makes by itself is kept so from then on. Of readings that go rollups stay, where
    /// the store has any: they answer [`Store::buckets`], and readings that come late for such a day change them no more and go in turn.
    fn retain(&self, retention: &Retention, now_ms: i64) -> Result<Retained, StoreError> {
        let aged = self.expire(retention.raw.from_ms(now_ms), usize::MAX)?;
        Ok(Retained { aged: aged as u64, ..Retained::default() })
    }

    /// The least step in which all of a range has buckets, ms: 1 where its readings are there, else that of the finest rollups of each day.
    fn grain_ms(&self, from_ms: i64, to_ms: i64) -> i64 {
        let _ = (from_ms, to_ms);
        1
    }

    /// What there is of readings and of each level of rollups, where the store tells them apart.
    fn classes(&self) -> Vec<Class> {
        Vec::new()
    }

    /// How what is kept on another machine gets there, where some of it is.
    fn elsewhere(&self) -> Option<Elsewhere> {
        None
    }

    /// Bytes on disk.
    fn bytes(&self) -> Result<u64, StoreError>;
}
