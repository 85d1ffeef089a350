//! The write-ahead log: what is committed is on stable storage before anybody is told so. It knows commits as bytes only ([`content`] is what
//! they hold), and nothing of the head or of parts; whoever has made those durable releases what is covered.
//!
//! ```text
//! segment = "PATLOG" 0 1 | number of its first record (u64) | CRC-32 (u32) | record*
//! record  = "REC" 1 | bytes of the content (u32) | number (u64) | durable (u64) | CRC-32 of these and the content (u32) | content
//! ```
//! All little endian. Records are numbered one by one; `durable` is the last number that was on stable storage when this one was written.
//!
//! # Group commit
//! Callers that come while a write is under way wait, and go with the next one: one write, one fdatasync for all of them. An error of the disk
//! fails all that are under way or wait, because a later one may build on an earlier; the next one begins a new segment.
//!
//! # What is found at a start
//! - A segment ends where the next begins: what lies in it at or above the first number of the next was never acknowledged.
//! - **A torn tail** is dropped from the first record that is missing and that no later one calls durable: what follows may build on it.
//! - **Damage in the middle** is what a later record, or the beginning of a next segment, shows to have been durable: the rest is still read, the
//!   bytes are copied to a file beside it and named, never deleted; the numbers that are gone are known.
//! - A log never appends to a segment of an earlier life.
//!
//! The very last write may be torn or damaged: no later record can tell, and its bytes are passed by without a name. Where all of a segment
//! is, its bytes are set aside before its name is taken again.
//!
//! # Limits
//! A start reads one segment at a time. A record has at most [`MAX_RECORD_BYTES`], a segment ends after [`SEGMENT_BYTES`]; at most [`MAX_WAITING_BYTES`] wait, the rest is refused.
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use thiserror::Error;

mod checking;
pub mod content;
pub mod files;
mod frame;
mod recovery;

#[cfg(test)]
mod tests;

pub use checking::check;
pub use recovery::{Damage, Recovered};

/// Longest content of a record.
pub const MAX_RECORD_BYTES: usize = 64 << 20;
/// A segment that has as much gets no more records.
pub const SEGMENT_BYTES: u64 = 64 << 20;
/// Most that waits for a write.
pub const MAX_WAITING_BYTES: usize = 128 << 20;

/// Why the log did not take it. Nothing of it may be acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LogError {
    /// The disk refused; the next commit begins a new segment.
    #[error("{0}")]
    Disk(String),
    /// Over a limit.
    #[error("{bytes} bytes to log, at most {limit}")]
    TooMuch {
        /// That there would be.
        bytes: usize,
        /// That there may be.
        limit: usize,
    },
}

/// A folder of segments, each named by the number of its first record. What a call has changed is on stable storage when it returns; of one
/// that fails or meets a power cut, anything may be there.
pub trait Disk: Send {
    /// The segments, ascending, and their bytes.
    ///
    /// # Errors
    /// The disk refuses.
    fn segments(&mut self) -> Result<Vec<(u64, u64)>, LogError>;

    /// All of a segment.
    ///
    /// # Errors
    /// The disk refuses.
    fn read(&mut self, segment: u64) -> Result<Vec<u8>, LogError>;

    /// Makes durable what an earlier life may have left in the memory of the kernel.
    ///
    /// # Errors
    /// The disk refuses.
    fn sync(&mut self, segment: u64) -> Result<(), LogError>;

    /// Makes a segment with this beginning, in place of one of that name, and appends to it from now on.
    ///
    /// # Errors
    /// The disk refuses.
    fn create(&mut self, segment: u64, begins: &[u8]) -> Result<(), LogError>;

    /// Appends to the segment that was made last.
    ///
    /// # Errors
    /// The disk refuses.
    fn append(&mut self, bytes: &[u8]) -> Result<(), LogError>;

    /// Removes a segment.
    ///
    /// # Errors
    /// The disk refuses.
    fn remove(&mut self, segment: u64) -> Result<(), LogError>;

    /// Keeps bytes that cannot be read, beside the segments; gives where. The same again is kept once.
    ///
    /// # Errors
    /// The disk refuses.
    fn set_aside(&mut self, segment: u64, at: u64, bytes: &[u8]) -> Result<String, LogError>;
}

/// An open log.
#[derive(Debug)]
pub struct Log<D> {
    state: Mutex<State<D>>,
    written: Condvar,
}

#[derive(Debug)]
struct State<D> {
    /// Not here while one of the callers writes.
    disk: Option<D>,
    /// First numbers of the segments, ascending; the last one is written to, unless a new one is due.
    segments: Vec<u64>,
    /// Bytes in the last one; none where a new one has to be begun.
    segment_bytes: Option<u64>,
    /// A segment that has more gets no more records.
    full_bytes: u64,
    /// The last record on stable storage.
    durable: u64,
    /// Contents that wait, by their tickets.
    waiting: Vec<(u64, Vec<u8>)>,
    waiting_bytes: usize,
    next_ticket: u64,
    /// What became of those that waited, until they ask.
    outcomes: BTreeMap<u64, Result<u64, LogError>>,
}

impl<D: Disk> Log<D> {
    /// Opens the log and gives each record that it holds to `take`, in their order. A segment ends after `full_bytes`, [`SEGMENT_BYTES`] as a rule.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn open(mut disk: D, full_bytes: u64, take: &mut dyn FnMut(u64, &[u8])) -> Result<(Self, Recovered), LogError> {
        let recovered = recovery::recover(&mut disk, take)?;
        let state = State {
            disk: Some(disk),
            segments: recovered.segments.clone(),
            segment_bytes: None,
            full_bytes,
            durable: recovered.last,
            waiting: Vec::new(),
            waiting_bytes: 0,
            next_ticket: 0,
            outcomes: BTreeMap::new(),
        };
        Ok((Self { state: Mutex::new(state), written: Condvar::new() }, recovered))
    }

    /// Makes the content durable; gives its number. Blocks until it is, together with those of others.
    ///
    /// # Errors
    /// It is not durable, and must not be acknowledged.
    pub fn commit(&self, content: Vec<u8>) -> Result<u64, LogError> {
        let over = |bytes, limit| if bytes > limit { Err(LogError::TooMuch { bytes, limit }) } else { Ok(()) };
        over(content.len(), MAX_RECORD_BYTES)?;
        let mut state = self.lock();
        over(state.waiting_bytes + content.len(), MAX_WAITING_BYTES)?;
        let ticket = state.next_ticket;
        state.next_ticket += 1;
        state.waiting_bytes += content.len();
        state.waiting.push((ticket, content));
        loop {
            if let Some(outcome) = state.outcomes.remove(&ticket) {
                return outcome;
            }
            state = match state.disk.take() {
                Some(disk) => self.lead(state, disk),
                None => self.written.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// Writes all that waits, as the one caller that does.
    fn lead<'a>(&'a self, mut state: MutexGuard<'a, State<D>>, mut disk: D) -> MutexGuard<'a, State<D>> {
        let batch = std::mem::take(&mut state.waiting);
        state.waiting_bytes = 0;
        let durable = state.durable;
        let begins = state.segment_bytes.is_none_or(|bytes| bytes >= state.full_bytes).then_some(durable + 1);
        drop(state);
        let mut bytes = Vec::with_capacity(batch.iter().map(|(_, content)| content.len() + frame::RECORD_BYTES).sum());
        for (number, (_, content)) in (durable + 1..).zip(&batch) {
            frame::put_record(&mut bytes, number, durable, content);
        }
        let begun = begins.map_or(Ok(()), |first| disk.create(first, &frame::segment_head(first)));
        let result = begun.and_then(|()| disk.append(&bytes));
        let mut state = self.lock();
        state.disk = Some(disk);
        if let Some(first) = begins {
            state.segments.retain(|segment| *segment < first);
            state.segments.push(first);
        }
        match result {
            Ok(()) => {
                let before = if begins.is_some() { frame::SEGMENT_HEAD_BYTES as u64 } else { state.segment_bytes.unwrap_or_default() };
                state.segment_bytes = Some(before + bytes.len() as u64);
                state.durable += batch.len() as u64;
                let numbered = batch.into_iter().zip(durable + 1..);
                state.outcomes.extend(numbered.map(|((ticket, _), number)| (ticket, Ok(number))));
            }
            Err(e) => {
                // Those that came since may build on what has failed.
                let later = std::mem::take(&mut state.waiting);
                state.waiting_bytes = 0;
                state.segment_bytes = None;
                state.outcomes.extend(batch.into_iter().chain(later).map(|(ticket, _)| (ticket, Err(e.clone()))));
            }
        }
        self.written.notify_all();
        state
    }

    /// Lets go of records up to this number: they are durable elsewhere. Whole segments go. Where these are all records that there are, an empty
    /// segment takes the place of the last one; else the next commit begins one, so that what is let go of can go next time. Waits for a write
    /// that is under way, as commits wait for this.
    ///
    /// # Errors
    /// The disk refuses; they go another time.
    pub fn release(&self, through: u64) -> Result<(), LogError> {
        let mut state = self.lock();
        let mut disk = loop {
            match state.disk.take() {
                Some(disk) => break disk,
                None => state = self.written.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        };
        let result = state.begin_after(through, &mut disk).and_then(|()| state.remove_before(through, &mut disk));
        state.disk = Some(disk);
        self.written.notify_all();
        result
    }

    fn lock(&self) -> MutexGuard<'_, State<D>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<D: Disk> State<D> {
    /// Sees to it that the last segment has nothing more of what is released through this number.
    fn begin_after(&mut self, through: u64, disk: &mut D) -> Result<(), LogError> {
        let first = self.durable + 1;
        if self.segments.last().is_none_or(|last| *last == first || *last > through) {
            return Ok(());
        }
        // Also if it fails: then the next commit makes it.
        self.segment_bytes = None;
        if through < self.durable {
            return Ok(());
        }
        disk.create(first, &frame::segment_head(first))?;
        self.segment_bytes = Some(frame::SEGMENT_HEAD_BYTES as u64);
        self.segments.push(first);
        Ok(())
    }

    /// Removes segments of which all is released through this number; never the last one.
    fn remove_before(&mut self, through: u64, disk: &mut D) -> Result<(), LogError> {
        while let [first, next, ..] = self.segments.as_slice()
            && *next <= through.saturating_add(1)
        {
            disk.remove(*first)?;
            self.segments.remove(0);
        }
        Ok(())
    }
}
