//! Store and forward: numbers batches and keeps them until the server has them.
//!
//! Does not talk to the server and spawns nothing. All calls block: one thread owns a [`Buffer`] (see [`worker`]).
//!
//! # What is stored
//! See [`Store`]. Batches lie in *chunks*: each is a small store of its own for a run of numbers, is filled once, and leaves the disk
//! as a whole when none of its batches waits any more. So disk use follows what waits, damage costs one chunk, and opening a full buffer
//! means opening the two chunks at its ends.
//!
//! | what | holds |
//! |---|---|
//! | head | stream, oldest, next, ranges released ahead, dropped readings, gap records that no batch carries yet, schemas in use |
//! | schema | its message |
//! | chunk | groups of batches, each under the number of its first: times, number of readings, CRC of these, body (which has its own CRC) |
//! | note of a sealed chunk | its numbers, bytes, readings, times: what must be known of it without opening it |
//!
//! # What holds
//! - A batch that was committed is on stable storage before the call returns. The head need not be: what it says of numbers is also
//!   told by the newest chunk, what it says of releases may be lost (batches are then sent again), and gap records that a batch behind it
//!   carries are found there when it is opened.
//! - Sequence numbers have no holes: what cannot be read is replaced, under its number, by a batch that only says so.
//! - Before anything is dropped for want of room, fast gauges are thinned out, see [`thinning`]: in batches that were never sent, once,
//!   and each such batch carries the record of what is gone from it.
//! - A batch is dropped only by [`Limits`] or by a full disk. A head with its gap record is on stable storage before the batch is gone. A
//!   gap record leaves this buffer inside a batch, and returns to it when that batch is dropped in turn.
//! - Damaged is what was read and is wrong, or what cannot be read for a second. A disk that refuses is tried again, and meanwhile nothing of
//!   what it holds is given up. One that is full when the buffer is opened does not hinder reading.
//! - A chunk is removed only when a head that no longer needs it is on stable storage.
//! - A batch of a time that nobody knew counts its times from the start of a boot, see [`Buffer::set_time`]. The head that says so is on
//!   stable storage before the batch is.
//! - A schema stays while a batch names it or the latest batch did.

mod chunks;
pub mod disk;
mod drops;
mod held;
mod keep;
mod load;
pub mod memory;
mod record;
mod schemas;
mod store;
mod thin;
mod thinning;
pub mod worker;

use pattoo_wire::{Body, Gap, SchemaId, WireError};
use thiserror::Error;

use crate::batch::{Closed, MAX_CARRIED_GAPS};
use chunks::{Chunk, Chunks, Policy};
pub use drops::GIVEN_AHEAD;
pub use load::open;
use record::{BatchRecord, Head, MAX_GROUP_BYTES};
pub use store::{Listed, Notice, Numbered, Store, StoreError};

/// Most ranges of batches released ahead that are remembered; more are only sent again.
const MAX_AHEAD: usize = 256;

/// How much the buffer may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes on the disk, without `ballast_bytes` and what was set aside.
    pub max_bytes: u64,
    /// Age in ms of the oldest batch that is kept.
    pub max_age_ms: i64,
    /// Bytes of the file that is given up when the disk is full, so that old batches can be deleted at all.
    pub ballast_bytes: u64,
    /// When room runs out, one reading of a fast gauge stays in each such time; 0: none is thinned out.
    pub thin_to_ms: i64,
    /// Batches that count as sent when the first of them is: noting each would cost a write of the disk each.
    pub given_ahead: u64,
}

impl From<&crate::config::Buffer> for Limits {
    fn from(config: &crate::config::Buffer) -> Self {
        let ms = |time: std::time::Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        Self {
            max_bytes: config.max_bytes,
            max_age_ms: ms(config.max_age),
            ballast_bytes: disk::BALLAST_BYTES,
            thin_to_ms: ms(config.thin_to),
            given_ahead: GIVEN_AHEAD,
        }
    }
}

/// Why a call failed. Nothing was stored.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BufferError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A batch that cannot be encoded with its gap records.
    #[error("batch cannot be stored: {0}")]
    Batch(WireError),
    /// The thread that owns the buffer is gone.
    #[error("the buffer has stopped")]
    Stopped,
}

/// A batch as it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its number.
    pub seq: u64,
    /// The schema that it names.
    pub schema: SchemaId,
    /// Its encoded body.
    pub body: Vec<u8>,
}

/// How the buffer stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// This life of the buffer.
    pub stream: u64,
    /// Oldest batch that can surely still be had, at most `oldest`. What is released stays as long as a batch beside it waits, and is given
    /// out until then, but nothing is promised of it.
    pub kept: u64,
    /// Oldest batch that waits; the next one's number when none does.
    pub oldest: u64,
    /// Number of the next batch.
    pub next: u64,
    /// Batches that wait.
    pub batches: u64,
    /// Bytes of these batches.
    pub bytes: u64,
    /// Bytes that all of it takes on the disk, which [`Limits::max_bytes`] bounds.
    pub disk_bytes: u64,
    /// Readings dropped in this life, all on record as gaps.
    pub dropped_readings: u64,
    /// Gap records that no batch carries yet.
    pub pending_gaps: u64,
}

/// The numbered batches of one gateway.
pub struct Buffer<S> {
    store: S,
    limits: Limits,
    head: Head,
    chunks: Chunks,
    /// Batches since the last commit, up to the head's next.
    staged: Vec<BatchRecord>,
    /// Gap records that these carry, by batch.
    carried: Vec<(u64, Gap)>,
    /// All batches below are on stable storage.
    durable: u64,
    /// The store failed and could not be opened again: what is in memory says nothing of what is on the disk.
    broken: bool,
    /// The group that was read last, by its first batch.
    cached: Option<(u64, Vec<Vec<u8>>)>,
    /// The oldest batch and the time of its latest reading, once that was looked up.
    oldest_to_ms: Option<(u64, i64)>,
    notices: Vec<Notice>,
}

impl<S: Store> Buffer<S> {
    /// Opens what the store holds, or begins a new stream.
    ///
    /// # Errors
    /// A store that fails and cannot recover.
    pub fn open(store: S, limits: Limits, now_ms: i64) -> Result<Self, BufferError> {
        let mut buffer = Self::closed(store, limits);
        buffer.begin(now_ms)?;
        Ok(buffer)
    }

    /// Numbers a batch, adds the gap records that wait, and makes room for it. Durable after [`Buffer::commit`].
    ///
    /// # Errors
    /// A store that fails. Nothing is changed then, once the store has recovered; what was appended since the last commit is gone.
    pub fn append(&mut self, now_ms: i64, closed: &Closed) -> Result<u64, BufferError> {
        self.mend()?;
        match self.stage(now_ms, closed) {
            Err(BufferError::Store(error)) => {
                let alone = self.staged.is_empty();
                self.recover(&error)?;
                if alone { self.stage(now_ms, closed) } else { Err(error.into()) }
            }
            other => other,
        }
    }

    /// Makes everything so far durable.
    ///
    /// # Errors
    /// A store that fails. It has been opened again if that was possible, with what it had before; of the batches since the last commit
    /// the first ones may be in it.
    pub fn commit(&mut self) -> Result<(), BufferError> {
        if self.staged.is_empty() {
            return Ok(());
        }
        if let Err(error) = self.write_staged() {
            self.recover(&error)?;
            return Err(error.into());
        }
        // The newest chunk says the same.
        let _ = self.save_head(false);
        Ok(())
    }

    /// The batch with this number; none if it is not there (any more), or waits for the time of its boot. A damaged one is replaced by its
    /// gap record.
    ///
    /// # Errors
    /// A store that fails and cannot recover.
    pub fn get(&mut self, seq: u64, now_ms: i64) -> Result<Option<Stored>, BufferError> {
        let found = self.look_up(seq, now_ms)?;
        if found.is_some() {
            self.note_given(seq)?;
        }
        Ok(found)
    }

    fn look_up(&mut self, seq: u64, now_ms: i64) -> Result<Option<Stored>, BufferError> {
        self.mend()?;
        let mut tries = 0;
        loop {
            if !(self.kept()..self.durable).contains(&seq) {
                return Ok(None);
            }
            let Some(chunk) = self.chunks.of(seq) else { return Ok(None) };
            match (self.try_get(&chunk, seq, now_ms), tries) {
                (Err(BufferError::Store(error)), 0) => self.recover(&error)?,
                (Err(BufferError::Store(StoreError::Damaged(why))), 1) => self.lose(&chunk, &why)?,
                (other, _) => return other,
            }
            tries += 1;
        }
    }

    /// Forgets all batches up to this number: the server has them.
    ///
    /// # Errors
    /// A store that fails. A lost release only sends batches again.
    pub fn release(&mut self, through_seq: u64) -> Result<(), BufferError> {
        self.release_ranges(through_seq, &[])
    }

    /// The same, and those in the ranges ahead of it, both ends included.
    ///
    /// # Errors
    /// A store that fails. A lost release only sends batches again.
    pub fn release_ranges(&mut self, through_seq: u64, ahead: &[(u64, u64)]) -> Result<(), BufferError> {
        self.mend()?;
        let end = self.durable.min(through_seq.saturating_add(1));
        self.head.oldest = self.head.ahead.advance(self.head.oldest.max(end));
        for (first, last) in ahead {
            if self.head.ahead.len() < MAX_AHEAD {
                self.head.ahead.add((*first).max(self.head.oldest), (*last).min(self.durable.saturating_sub(1)));
            }
        }
        self.head.oldest = self.head.ahead.advance(self.head.oldest);
        self.prune_given();
        if let Err(error) = self.prune() {
            self.recover(&error)?;
        }
        let _ = self.save_head(false);
        Ok(())
    }

    /// How it stands.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let Head { stream, oldest, dropped_readings, ref ahead, ref gaps, .. } = self.head;
        let (batches, bytes) = self.chunks.waiting(oldest, ahead);
        let pending_gaps = (gaps.len() + self.carried.len()) as u64;
        // What is not durable does not exist for anyone else.
        let next = self.durable.max(oldest);
        let disk_bytes = self.store.bytes();
        Stats { stream, kept: oldest, oldest, next, batches, bytes, disk_bytes, dropped_readings, pending_gaps }
    }

    /// Gap records that wait for the next batch.
    #[must_use]
    pub fn pending_gaps(&self) -> Vec<Gap> {
        self.carried.iter().map(|(_, gap)| gap).chain(self.head.gaps.values()).cloned().collect()
    }

    /// What happened since the last call.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        let mut notices = std::mem::take(&mut self.notices);
        notices.extend(self.store.take_notices());
        notices
    }

    fn kept(&self) -> u64 {
        let first = self.chunks.iter().next().map_or(self.head.oldest, |chunk| chunk.first);
        first.max(self.head.floor).min(self.head.oldest)
    }

    fn policy(&self) -> Policy {
        Policy { max_bytes: self.limits.max_bytes, max_age_ms: self.limits.max_age_ms }
    }

    fn stage(&mut self, now_ms: i64, closed: &Closed) -> Result<u64, BufferError> {
        self.drop_old(now_ms)?;
        self.drop_for((record::BATCH_BYTES + closed.body.len() + MAX_CARRIED_GAPS * record::GAP_BYTES) as u64)?;
        self.keep_schema(closed)?;
        self.note_held(closed.held)?;
        let seq = self.head.next;
        let step = closed.step_gap(seq);
        let waiting = self.head.gaps.values().filter_map(|gap| self.gap_in_utc(gap)).take(MAX_CARRIED_GAPS - usize::from(step.is_some()));
        let gaps: Vec<Gap> = waiting.chain(step.clone()).collect();
        let body = closed.with_gaps(&gaps).map_err(BufferError::Batch)?;
        for gap in gaps.into_iter().filter(|gap| Some(gap) != step.as_ref()) {
            self.head.gaps.remove(&(gap.first_seq, gap.reason.code()));
            self.carried.push((seq, gap));
            self.head.gaps_until = seq;
        }
        self.staged.push(BatchRecord { from_ms: closed.from_ms, to_ms: closed.to_ms, readings: closed.readings, body });
        self.head.next += 1;
        Ok(seq)
    }

    /// Writes what is staged, in as few values as may be, to the newest chunk; begins another one where that is full.
    fn write_staged(&mut self) -> Result<(), StoreError> {
        let staged = std::mem::take(&mut self.staged);
        let mut rest = staged.iter().peekable();
        while rest.peek().is_some() {
            let (mut chunk, waiting_bytes) = self.open_chunk()?;
            let mut groups: Vec<(u64, usize, Vec<Vec<u8>>)> = Vec::new();
            while let Some(record) = rest.next_if(|_| groups.is_empty() || !self.policy().is_full(&chunk, waiting_bytes)) {
                let encoded = record.encode();
                let (seq, bytes) = (chunk.next, encoded.len());
                match groups.last_mut() {
                    Some((_, taken, group)) if *taken + bytes <= MAX_GROUP_BYTES => {
                        *taken += bytes;
                        group.push(encoded);
                    }
                    _ => {
                        groups.push((seq, bytes, vec![encoded]));
                        chunk.values += 1;
                    }
                }
                chunk.count(record, bytes);
            }
            let values: Vec<Numbered> = groups.iter().map(|(seq, _, group)| (*seq, record::encode_group(group))).collect();
            self.store.append(chunk.first, &values)?;
            self.chunks.set(chunk);
            self.durable = chunk.next;
            self.carried.retain(|(seq, _)| *seq >= chunk.next);
        }
        Ok(())
    }

    /// The chunk to write to, and the bytes of all that waits.
    fn open_chunk(&mut self) -> Result<(Chunk, u64), StoreError> {
        let (_, waiting_bytes) = self.chunks.waiting(self.head.oldest, &self.head.ahead);
        let newest = self.chunks.newest();
        if let Some(chunk) =
            newest.filter(|chunk| !chunk.sealed && chunk.next == self.durable && !self.policy().is_full(chunk, waiting_bytes))
        {
            return Ok((chunk, waiting_bytes));
        }
        self.seal_newest()?;
        // From here on gap records that batches carry are looked for when the buffer is opened.
        self.save_head(true)?;
        self.store.begin(self.durable)?;
        let chunk = Chunk::new(self.durable);
        self.chunks.set(chunk);
        self.prune()?;
        Ok((chunk, waiting_bytes))
    }

    fn seal_newest(&mut self) -> Result<(), StoreError> {
        let Some(mut chunk) = self.chunks.newest().filter(|chunk| !chunk.sealed) else { return Ok(()) };
        if chunk.first == chunk.next {
            self.chunks.remove(chunk.first);
            return self.store.remove(chunk.first);
        }
        // First, so that it never grows behind what is noted of it, even if noting fails and was done.
        chunk.sealed = true;
        self.chunks.set(chunk);
        self.store.seal(chunk.first, &chunk.encode(self.head.stream))
    }

    /// Stores the head as it is on stable storage: without what is staged.
    fn save_head(&mut self, durable: bool) -> Result<(), StoreError> {
        let mut head = Head { next: self.durable, ..self.head.clone() };
        head.gaps.extend(self.carried.iter().map(|(_, gap)| ((gap.first_seq, gap.reason.code()), gap.clone())));
        self.store.set_head(&head.encode(), durable)
    }

    /// Removes the sealed chunks of which no batch waits.
    fn prune(&mut self) -> Result<(), StoreError> {
        let Head { oldest, ref ahead, .. } = self.head;
        let done = |chunk: &Chunk| chunk.next <= oldest || ahead.within(chunk.first, chunk.next) == chunk.next - chunk.first;
        let done: Vec<u64> = self.chunks.iter().filter(|chunk| chunk.sealed && done(chunk)).map(|chunk| chunk.first).collect();
        if !done.is_empty() {
            self.save_head(true)?;
        }
        for first in done {
            self.store.remove(first)?;
            self.chunks.remove(first);
        }
        self.prune_holds();
        self.prune_schemas()
    }

    /// The bytes of a batch record.
    fn record(&mut self, seq: u64) -> Result<Option<Vec<u8>>, StoreError> {
        let place = |first: u64| usize::try_from(seq.checked_sub(first)?).ok();
        if let Some(record) = self.cached.as_ref().and_then(|(first, records)| records.get(place(*first)?)) {
            return Ok(Some(record.clone()));
        }
        let Some(chunk) = self.chunks.of(seq) else { return Ok(None) };
        let Some((first, value)) = self.store.read(chunk.first, seq)? else { return Ok(None) };
        let mut records: Vec<Vec<u8>> = record::group(&value).map(<[u8]>::to_vec).collect();
        // A batch that was replaced has a value of its own behind the group: what the group says of it, and of those behind it, is old.
        let mut end = first + records.len() as u64;
        while end > first + 1
            && let Some((later, _)) = self.store.read(chunk.first, end - 1)?.filter(|(number, _)| *number > first)
        {
            end = later;
        }
        records.truncate(usize::try_from(end - first).unwrap_or_default());
        let found = place(first).and_then(|place| records.get(place)).cloned();
        self.cached = Some((first, records));
        Ok(found)
    }

    fn try_get(&mut self, chunk: &Chunk, seq: u64, now_ms: i64) -> Result<Option<Stored>, BufferError> {
        if self.waits_for_time(seq) {
            return Ok(None);
        }
        if chunk.lost_from.is_some() {
            return self.stand_in(chunk, seq).map(Some);
        }
        let bytes = self.record(seq)?;
        if bytes.is_none() && self.store.read(chunk.first, u64::MAX)?.is_none() {
            return Err(StoreError::Damaged("it is empty".into()).into());
        }
        let record = bytes.as_deref().and_then(BatchRecord::decode);
        if let Some(record) = &record
            && let Ok(body) = Body::open(&record.body)
            && self.head.schemas.contains_key(&body.schema())
        {
            match self.given_out(seq, record, &body) {
                Err(BufferError::Batch(_)) => {}
                other => return other,
            }
        }
        if seq < self.head.oldest {
            return Ok(None);
        }
        self.replace(chunk, seq, record, now_ms).map(Some)
    }
}

#[cfg(test)]
mod tests;
