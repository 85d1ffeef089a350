//! What the buffer asks of the place that keeps its bytes, how that may fail, and what it then tells.
//!
//! Knows nothing of batches: a chunk is a run of numbered values that is filled once and removed as a whole.

use std::fmt;
use std::path::PathBuf;

use thiserror::Error;

/// A number and its value.
pub type Numbered = (u64, Vec<u8>);

/// A chunk by its first number, and what was noted of it when it was sealed.
pub type Listed = (u64, Option<Vec<u8>>);

/// Where the bytes are kept. The only thing that differs between the real buffer and the one in memory. What a call has changed is on
/// stable storage when it returns, where nothing else is said.
pub trait Store: Send {
    /// The latest head that is whole.
    fn head(&mut self) -> Result<Option<Vec<u8>>, StoreError>;
    /// Replaces the head. If it need not be `durable`, the disk is not waited for, and it may be lost.
    fn set_head(&mut self, head: &[u8], durable: bool) -> Result<(), StoreError>;
    /// The message of a schema.
    fn schema(&mut self, id: u32) -> Result<Option<Vec<u8>>, StoreError>;
    /// Keeps the message of a schema; none removes it, which may be lost.
    fn set_schema(&mut self, id: u32, message: Option<&[u8]>) -> Result<(), StoreError>;
    /// All chunks in order. Opens none.
    fn chunks(&mut self) -> Result<Vec<Listed>, StoreError>;
    /// Begins a chunk behind all others.
    fn begin(&mut self, chunk: u64) -> Result<(), StoreError>;
    /// Adds values to a chunk in order, or replaces some. After a crash a part of them may be there, the first ones first.
    fn append(&mut self, chunk: u64, values: &[Numbered]) -> Result<(), StoreError>;
    /// Notes what is to be known of a chunk that is full.
    fn seal(&mut self, chunk: u64, about: &[u8]) -> Result<(), StoreError>;
    /// The value of a chunk with this number, else the one before it.
    fn read(&mut self, chunk: u64, number: u64) -> Result<Option<Numbered>, StoreError>;
    /// All values of a chunk, in order.
    fn scan(&mut self, chunk: u64, each: &mut dyn FnMut(u64, &[u8])) -> Result<(), StoreError>;
    /// Makes sure that what is read of a chunk is on stable storage: after a sync that failed, a system reads what it never wrote.
    fn harden(&mut self, _chunk: u64) -> Result<(), StoreError> {
        Ok(())
    }
    /// Puts a sealed chunk with these values in the place of a chunk (or of none): at every moment there is one of both. What was there is
    /// kept aside if there is doubt about it, `why`.
    fn rewrite(&mut self, chunk: u64, values: &[Numbered], about: &[u8], why: Option<&str>) -> Result<(), StoreError>;
    /// Removes a chunk. After a crash it may still be there.
    fn remove(&mut self, chunk: u64) -> Result<(), StoreError>;
    /// Bytes that all of it takes, and another chunk would, without the reserve for a full disk.
    fn bytes(&self) -> u64;
    /// Names a new life of the buffer: a number that no other has.
    fn new_stream(&mut self) -> Result<u64, StoreError> {
        getrandom::u64().map_err(|e| StoreError::Io(format!("no random number for a new stream: {e}")))
    }
    /// Sets everything aside and begins anew.
    fn set_aside(&mut self, why: &str) -> Result<Notice, StoreError>;
    /// Makes the store usable again after an error.
    fn recover(&mut self, after: &StoreError) -> Result<(), StoreError>;
    /// What happened meanwhile that a person should know of.
    fn take_notices(&mut self) -> Vec<Notice>;
}

/// Why the store failed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum StoreError {
    /// No space left.
    #[error("the disk that holds the buffer is full: free some space")]
    Full,
    /// The operating system refused.
    #[error("buffer folder: {0}")]
    Io(String),
    /// Its content cannot be trusted.
    #[error("buffer is damaged: {0}")]
    Damaged(String),
    /// Another process has it open.
    #[error("buffer {0} is in use by another process: stop the other gateway first")]
    Locked(PathBuf),
}

/// Something that a person should know of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// The buffer could not be opened and was renamed; a new one was begun, with a new stream.
    SetAside {
        /// Where it is now.
        to: PathBuf,
        /// What was wrong.
        why: String,
    },
    /// A part of the buffer was unreadable; it is on record as a gap, the rest goes on.
    DamagedChunk {
        /// Its first batch.
        first: u64,
        /// Its last batch.
        last: u64,
        /// What was wrong.
        why: String,
    },
    /// A side file was unreadable and rebuilt from the log.
    Rebuilt(String),
    /// A batch was unreadable and replaced by a gap record.
    DamagedBatch(u64),
    /// The store lost batches up to this number after it had promised to keep them.
    LostTail(u64),
    /// The reserve for a full disk could not be made.
    NoBallast(String),
    /// There was no room for what opening the buffer writes: it is opened once there is.
    NoRoom,
    /// The disk was full; so many of the oldest batches were given up.
    DiskFull(u64),
    /// Room ran out: fast gauges of these batches were thinned out; what is gone is on record.
    Thinned {
        /// First batch that was looked at.
        first: u64,
        /// Last batch that was looked at.
        last: u64,
        /// Readings that are gone.
        readings: u64,
    },
    /// So many boots are over whose time was never known.
    TimeEstimated(usize),
    /// The store failed and was opened again.
    Reopened(String),
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SetAside { to, why } => write!(f, "the buffer was unreadable ({why}); set aside as {}, a new one begun", to.display()),
            Self::DamagedChunk { first, last, why } => {
                write!(f, "batches {first} to {last} of the buffer were unreadable ({why}); replaced by a gap record, the rest goes on")
            }
            Self::Rebuilt(what) => write!(f, "{what} of the buffer was unreadable and rebuilt from its log; no batch is missing"),
            Self::DamagedBatch(seq) => write!(f, "batch {seq} was damaged on disk; replaced by a gap record"),
            Self::LostTail(seq) => write!(f, "the disk lost stored batches up to {seq}; each becomes a gap record"),
            Self::NoBallast(why) => write!(f, "no reserve for a full disk could be made: {why}"),
            Self::NoRoom => {
                write!(f, "the disk is full: what the buffer holds is sent once there is room for it to be opened; free some space")
            }
            Self::DiskFull(batches) => write!(f, "the disk is full: gave up the {batches} oldest batches; free some space"),
            Self::Thinned { first, last, readings } => {
                write!(f, "the buffer is nearly full: thinned out batches {first} to {last} by {readings} readings of fast gauges")
            }
            Self::TimeEstimated(boots) => {
                write!(f, "nothing told the time during {boots} earlier boots: the times of their readings are estimates, and say so")
            }
            Self::Reopened(why) => write!(f, "the buffer failed and was opened again: {why}"),
        }
    }
}
