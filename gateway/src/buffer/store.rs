//! What the buffer asks of the place that keeps its bytes, how that may fail, and what it then tells.
//!
//! Knows nothing of batches.

use std::fmt;
use std::path::PathBuf;

use thiserror::Error;

/// A key and its value.
pub type Pair = (Vec<u8>, Vec<u8>);

/// A change of one key; none deletes it.
pub type Change = (Vec<u8>, Option<Vec<u8>>);

/// Where the bytes are kept. The only thing that differs between the real buffer and the one in memory.
pub trait Store: Send {
    /// The value of a key.
    fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;
    /// All pairs whose key starts with this letter, in order.
    fn scan(&mut self, letter: u8) -> Result<Vec<Pair>, StoreError>;
    /// The last key that starts with this letter.
    fn last(&mut self, letter: u8) -> Result<Option<Vec<u8>>, StoreError>;
    /// Makes all changes or none. Not durable before [`Store::sync`].
    fn apply(&mut self, changes: &[Change]) -> Result<(), StoreError>;
    /// Returns when all changes are on stable storage.
    fn sync(&mut self) -> Result<(), StoreError>;
    /// Whether something was ever synced here: tells an emptied store from a new one.
    fn begun(&mut self) -> bool;
    /// Remembers, cheaply and without a promise, how far stream and numbers have come.
    fn remember(&mut self, stream: u64, next: u64);
    /// What was remembered, if it survived.
    fn remembered(&mut self) -> Option<(u64, u64)>;
    /// Called when no batch is left: may rebuild itself to give back disk space.
    fn compact(&mut self) -> Result<(), StoreError>;
    /// Names a new life of the buffer: a number that no other has.
    fn new_stream(&mut self) -> Result<u64, StoreError> {
        getrandom::u64().map_err(|e| StoreError::Io(format!("no random number for a new stream: {e}")))
    }
    /// Makes the store usable again after an error. What is damaged is set aside and a new store begun.
    fn recover(&mut self, after: &StoreError) -> Result<Vec<Notice>, StoreError>;
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
    /// A side file was unreadable and rebuilt from the log.
    Rebuilt(String),
    /// A batch was unreadable and replaced by a gap record.
    DamagedBatch(u64),
    /// The store lost batches up to this number after it had promised to keep them.
    LostTail(u64),
    /// The reserve for a full disk could not be made.
    NoBallast(String),
    /// The disk was full; so many of the oldest batches were given up.
    DiskFull(u64),
    /// The store failed and was opened again.
    Reopened(String),
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SetAside { to, why } => write!(f, "the buffer was unreadable ({why}); set aside as {}, a new one begun", to.display()),
            Self::Rebuilt(what) => write!(f, "{what} of the buffer was unreadable and rebuilt from its log; no batch is missing"),
            Self::DamagedBatch(seq) => write!(f, "batch {seq} was damaged on disk; replaced by a gap record"),
            Self::LostTail(seq) => write!(f, "the disk lost stored batches up to {seq}; each becomes a gap record"),
            Self::NoBallast(why) => write!(f, "no reserve for a full disk could be made: {why}"),
            Self::DiskFull(batches) => write!(f, "the disk is full: gave up the {batches} oldest batches; free some space"),
            Self::Reopened(why) => write!(f, "the buffer failed and was opened again: {why}"),
        }
    }
}
