//! Store and forward: numbers batches and keeps them until the server has them.
//!
//! Does not talk to the server and spawns nothing. All calls block: one thread owns a [`Buffer`] (see [`worker`]).
//!
//! # What is stored
//! An ordered map of bytes, see [`Store`]. Keys are a letter and a big-endian number, values at most 8192 bytes:
//!
//! | key | value |
//! |---|---|
//! | `m` | head: stream, oldest, next, bytes, dropped readings, CRC |
//! | `b` + seq u64 | batch: times, number of readings, CRC of these, body (which has its own CRC) |
//! | `g` + first seq u64 | a gap record that no batch carries yet |
//! | `s` + schema id u32 | length of a schema, last batch that names it |
//! | `c` + schema id u32 + number u16 | a piece of a schema |
//!
//! # What holds
//! - Sequence numbers have no holes: what cannot be read is replaced, under its number, by a batch that only says so.
//! - A batch is dropped only by [`Limits`] or by a full disk; the drop, its gap record and the batch that made it necessary are one
//!   commit. A gap record leaves this buffer inside a batch, and returns to it when that batch is dropped in turn.
//! - A schema stays while a batch names it or the latest batch did.

pub mod disk;
mod drops;
pub mod memory;
mod record;
mod store;
pub mod worker;

use std::collections::BTreeMap;

use pattoo_wire::{Body, Gap, Schema, SchemaId, WireError};
use thiserror::Error;

use crate::batch::{Closed, MAX_CARRIED_GAPS};
use record::{BatchRecord, Head, SchemaRecord, batch_key, gap_key, piece_key, schema_key};
pub use store::{Change, Notice, Pair, Store, StoreError};

/// Largest piece of a schema, in bytes: what fits one value.
const MAX_PIECE_BYTES: usize = 8000;

/// Most batches that one commit deletes: bounds its memory and time.
const MAX_DELETES: usize = 1024;

/// How much the buffer may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes of waiting batches.
    pub max_bytes: u64,
    /// Age in ms of the oldest batch that is kept.
    pub max_age_ms: i64,
    /// Bytes of the file that is given up when the disk is full, so that old batches can be deleted at all.
    pub ballast_bytes: u64,
}

impl From<&crate::config::Buffer> for Limits {
    fn from(config: &crate::config::Buffer) -> Self {
        let max_age_ms = i64::try_from(config.max_age.as_millis()).unwrap_or(i64::MAX);
        Self { max_bytes: config.max_bytes, max_age_ms, ballast_bytes: disk::BALLAST_BYTES }
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
    /// Oldest batch that can still be read; released ones that are not erased yet are among them. At most `oldest`.
    pub kept: u64,
    /// Oldest batch it holds; the next one's number when it is empty.
    pub oldest: u64,
    /// Number of the next batch.
    pub next: u64,
    /// Batches it holds.
    pub batches: u64,
    /// Bytes of these batches.
    pub bytes: u64,
    /// Readings dropped in this life, all on record as gaps.
    pub dropped_readings: u64,
    /// Gap records that no batch carries yet.
    pub pending_gaps: u64,
}

/// Opens the buffer of a folder.
///
/// # Errors
/// Another process has it, or the folder cannot be written. Damage is no error: see [`Notice::SetAside`].
pub fn open(path: &std::path::Path, limits: Limits, now_ms: i64) -> Result<(Buffer<disk::Disk>, Vec<Notice>), BufferError> {
    let (store, mut notices) = disk::Disk::open(path, limits.ballast_bytes, now_ms)?;
    let mut buffer = Buffer::open(store, limits, now_ms)?;
    notices.append(&mut buffer.take_notices());
    Ok((buffer, notices))
}

/// The numbered batches of one gateway.
pub struct Buffer<S> {
    store: S,
    limits: Limits,
    head: Head,
    gaps: BTreeMap<u64, Gap>,
    schemas: BTreeMap<SchemaId, SchemaRecord>,
    /// Changes since the last commit.
    staged: Vec<Change>,
    /// All batches below are on stable storage.
    durable: u64,
    notices: Vec<Notice>,
}

impl<S: Store> Buffer<S> {
    /// Opens what the store holds, or begins a new stream.
    ///
    /// # Errors
    /// A store that fails and cannot recover.
    pub fn open(store: S, limits: Limits, now_ms: i64) -> Result<Self, BufferError> {
        let (head, gaps, schemas, staged) = (Head::default(), BTreeMap::new(), BTreeMap::new(), Vec::new());
        let mut buffer = Self { store, limits, head, gaps, schemas, staged, durable: 0, notices: Vec::new() };
        if let Err(error) = buffer.load() {
            buffer.recover(&error)?;
        }
        // The ends are where damage shows first.
        for seq in [buffer.head.oldest, buffer.head.next.saturating_sub(1)] {
            buffer.get(seq, now_ms)?;
        }
        Ok(buffer)
    }

    /// Numbers a batch, adds the gap records that wait, and makes room for it. Durable after [`Buffer::commit`].
    ///
    /// # Errors
    /// A store that fails. Nothing is changed then, once the store has recovered.
    pub fn append(&mut self, now_ms: i64, closed: &Closed) -> Result<u64, BufferError> {
        self.stage(now_ms, closed).map(|(seq, _)| seq)
    }

    /// Makes everything so far durable.
    ///
    /// # Errors
    /// A store that fails. It has been opened again if that was possible, with what it had before.
    pub fn commit(&mut self) -> Result<(), BufferError> {
        if self.staged.is_empty() {
            return Ok(());
        }
        self.staged.push((vec![record::HEAD], Some(self.head.encode())));
        match self.store.apply(&self.staged).and_then(|()| self.store.sync()) {
            Ok(()) => {
                self.staged.clear();
                self.durable = self.head.next;
                self.store.remember(self.head.stream, self.head.next);
                Ok(())
            }
            Err(error) => {
                self.recover(&error)?;
                Err(error.into())
            }
        }
    }

    /// Appends and commits. After a failure of the store, tries once more; on a full disk it gives up the oldest batches first.
    ///
    /// # Errors
    /// The second failure. The batch is then not stored.
    pub fn keep(&mut self, now_ms: i64, closed: &Closed) -> Result<u64, BufferError> {
        let stream = self.head.stream;
        let (seq, value) = self.stage(now_ms, closed)?;
        let Err(error) = self.commit() else { return Ok(seq) };
        // The failed commit may have come through; storing it again would send the readings twice.
        if self.head.stream == stream && self.store.get(&batch_key(seq))?.as_ref() == Some(&value) {
            self.store.sync()?;
            return Ok(seq);
        }
        if error == BufferError::Store(StoreError::Full) {
            self.give_up_oldest()?;
        }
        let seq = self.append(now_ms, closed)?;
        self.commit()?;
        Ok(seq)
    }

    /// The batch with this number; none if it is not held (any more). A damaged one is replaced by its gap record.
    ///
    /// # Errors
    /// A store that fails and cannot recover.
    pub fn get(&mut self, seq: u64, now_ms: i64) -> Result<Option<Stored>, BufferError> {
        if !(self.head.oldest..self.durable).contains(&seq) {
            return Ok(None);
        }
        let value = match self.store.get(&batch_key(seq)) {
            Ok(value) => value,
            Err(error) => {
                self.recover(&error)?;
                if !(self.head.oldest..self.durable).contains(&seq) {
                    return Ok(None);
                }
                self.store.get(&batch_key(seq))?
            }
        };
        let record = value.as_deref().and_then(BatchRecord::decode);
        if let Some(record) = &record
            && let Ok(body) = Body::open(&record.body)
            && self.schemas.contains_key(&body.schema())
        {
            return Ok(Some(Stored { seq, schema: body.schema(), body: record.body.clone() }));
        }
        self.replace(seq, value, record, now_ms).map(Some)
    }

    /// Forgets all batches up to this number: the server has them.
    ///
    /// # Errors
    /// A store that fails. A lost release only sends batches again.
    pub fn release(&mut self, through_seq: u64) -> Result<(), BufferError> {
        let end = self.durable.min(through_seq.saturating_add(1));
        while self.head.oldest < end {
            let first = self.head.oldest;
            let last = end.min(first + MAX_DELETES as u64);
            for seq in first..last {
                let bytes = self.batch_value(seq)?.map_or(0, |value| value.len() as u64);
                self.forget(seq, bytes);
            }
            self.prune_schemas();
            self.commit()?;
            if self.head.oldest != last {
                break; // Recovered into another life.
            }
        }
        if self.stats().batches == 0
            && let Err(error) = self.store.compact()
        {
            self.recover(&error)?;
        }
        Ok(())
    }

    /// The message of a schema that a held batch names.
    ///
    /// # Errors
    /// A store that fails.
    pub fn schema(&mut self, id: SchemaId) -> Result<Option<Vec<u8>>, BufferError> {
        let Some(record) = self.schemas.get(&id).copied() else { return Ok(None) };
        let mut message = Vec::with_capacity(record.bytes as usize);
        for number in 0..record.pieces() {
            message.extend(self.lookup(&piece_key(id, number))?.unwrap_or_default());
        }
        Ok(Schema::decode(&message).is_ok_and(|(found, _)| found == id).then_some(message))
    }

    /// How it stands.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let Head { stream, oldest, bytes, dropped_readings, .. } = self.head;
        // What is not durable does not exist for anyone else.
        let next = self.durable.max(oldest);
        Stats { stream, kept: oldest, oldest, next, batches: next - oldest, bytes, dropped_readings, pending_gaps: self.gaps.len() as u64 }
    }

    /// Gap records that wait for the next batch.
    #[must_use]
    pub fn pending_gaps(&self) -> Vec<Gap> {
        self.gaps.values().cloned().collect()
    }

    /// What happened since the last call.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    fn stage(&mut self, now_ms: i64, closed: &Closed) -> Result<(u64, Vec<u8>), BufferError> {
        match self.try_stage(now_ms, closed) {
            Err(BufferError::Store(error)) => {
                self.recover(&error)?;
                self.try_stage(now_ms, closed)
            }
            other => other,
        }
    }

    fn try_stage(&mut self, now_ms: i64, closed: &Closed) -> Result<(u64, Vec<u8>), BufferError> {
        self.drop_old(now_ms)?;
        let room = (record::BATCH_BYTES + closed.body.len() + MAX_CARRIED_GAPS * record::GAP_BYTES) as u64;
        self.drop_for(room)?;
        let seq = self.head.next;
        let step = closed.step_gap(seq);
        let carried: Vec<Gap> = self.gaps.values().take(MAX_CARRIED_GAPS - usize::from(step.is_some())).cloned().collect();
        let gaps: Vec<Gap> = carried.iter().cloned().chain(step).collect();
        let body = closed.with_gaps(&gaps).map_err(BufferError::Batch)?;
        for gap in carried {
            self.gaps.remove(&gap.first_seq);
            self.staged.push((gap_key(gap.first_seq), None));
        }
        self.keep_schema(closed);
        let value = BatchRecord { from_ms: closed.from_ms, to_ms: closed.to_ms, readings: closed.readings, body }.encode();
        self.head.next += 1;
        self.head.bytes += value.len() as u64;
        self.staged.push((batch_key(seq), Some(value.clone())));
        Ok((seq, value))
    }

    /// The value of a batch that is held. Those below `durable` were not changed since the last commit.
    fn batch_value(&mut self, seq: u64) -> Result<Option<Vec<u8>>, StoreError> {
        if seq < self.durable { self.store.get(&batch_key(seq)) } else { self.lookup(&batch_key(seq)) }
    }

    /// A value as it will be after the next commit.
    fn lookup(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        match self.staged.iter().rev().find(|(changed, _)| changed == key) {
            Some((_, value)) => Ok(value.clone()),
            None => self.store.get(key),
        }
    }

    /// Takes the oldest batch out of the books.
    fn forget(&mut self, seq: u64, bytes: u64) {
        self.staged.push((batch_key(seq), None));
        self.head.oldest = seq + 1;
        self.head.bytes = self.head.bytes.saturating_sub(bytes);
        if self.head.oldest == self.head.next {
            self.head.bytes = 0;
        }
    }

    fn latest_schema(&self) -> Option<SchemaId> {
        self.schemas.iter().max_by_key(|(_, record)| record.last_seq).map(|(id, _)| *id)
    }

    /// Stores the schema of a batch that is being appended, if it is new.
    fn keep_schema(&mut self, closed: &Closed) {
        let (id, message) = (closed.schema(), &closed.dictionary.message);
        let latest = self.latest_schema().filter(|latest| self.schemas.get(latest).is_some_and(|r| r.last_seq == u64::MAX));
        if latest == Some(id) {
            return;
        }
        if let Some(latest) = latest {
            let last_seq = self.head.next.saturating_sub(1);
            self.set_schema(latest, |record| record.last_seq = last_seq);
        }
        if !self.schemas.contains_key(&id) {
            for (number, piece) in message.chunks(MAX_PIECE_BYTES).enumerate() {
                self.staged.push((piece_key(id, number as u16), Some(piece.to_vec())));
            }
            self.schemas.insert(id, SchemaRecord { bytes: message.len() as u32, last_seq: 0 });
        }
        self.set_schema(id, |record| record.last_seq = u64::MAX);
        self.prune_schemas();
    }

    fn set_schema(&mut self, id: SchemaId, change: impl FnOnce(&mut SchemaRecord)) {
        if let Some(record) = self.schemas.get_mut(&id) {
            change(record);
            self.staged.push((schema_key(id), Some(record.encode())));
        }
    }

    fn prune_schemas(&mut self) {
        let oldest = self.head.oldest;
        let unused: Vec<(SchemaId, u16)> =
            self.schemas.iter().filter(|(_, r)| r.last_seq < oldest).map(|(id, r)| (*id, r.pieces())).collect();
        for (id, pieces) in unused {
            self.schemas.remove(&id);
            self.staged.push((schema_key(id), None));
            self.staged.extend((0..pieces).map(|number| (piece_key(id, number), None)));
        }
    }

    /// Opens the store again and reads what it holds; all that was not durable is forgotten.
    fn recover(&mut self, after: &StoreError) -> Result<(), StoreError> {
        let mut error = after.clone();
        // First as it is, then set aside.
        for _ in 0..2 {
            let notices = self.store.recover(&error)?;
            self.notices.extend(notices);
            match self.load() {
                Ok(()) => return Ok(()),
                Err(again) => error = again,
            }
        }
        Err(error)
    }

    fn load(&mut self) -> Result<(), StoreError> {
        self.staged.clear();
        self.gaps.clear();
        self.schemas.clear();
        let Some(value) = self.store.get(&[record::HEAD])? else {
            if self.store.begun() || self.store.last(record::BATCH)?.is_some() {
                return Err(StoreError::Damaged("its head record is missing".into()));
            }
            self.head = Head { stream: self.store.new_stream()?, oldest: 1, next: 1, ..Head::default() };
            self.durable = 1;
            let changes = vec![(vec![record::HEAD], Some(self.head.encode()))];
            self.store.apply(&changes)?;
            return self.store.sync();
        };
        self.head = Head::decode(&value).ok_or_else(|| StoreError::Damaged("its head record is unreadable".into()))?;
        for (key, value) in self.store.scan(record::GAP)? {
            // An unreadable one is lost; the batches that it names are gone anyway, and the server sees that by the numbers.
            if let Some(gap) = record::decode_gap(&value).filter(|gap| gap_key(gap.first_seq) == key) {
                self.gaps.insert(gap.first_seq, gap);
            }
        }
        for (key, value) in self.store.scan(record::SCHEMA)? {
            if let (Some(id), Some(record)) = (record::schema_of_key(&key), SchemaRecord::decode(&value)) {
                self.schemas.insert(id, record);
            }
        }
        self.mend_numbers()?;
        self.durable = self.head.next;
        Ok(())
    }

    /// A number must never be used twice, even if the disk forgot the last batches: they count as damaged.
    fn mend_numbers(&mut self) -> Result<(), StoreError> {
        let last = self.store.last(record::BATCH)?.as_deref().and_then(record::seq_of_key);
        let remembered = self.store.remembered().filter(|(stream, _)| *stream == self.head.stream).map(|(_, next)| next);
        let next = self.head.next.max(last.map_or(0, |last| last.saturating_add(1)));
        if let Some(remembered) = remembered.filter(|remembered| *remembered > next) {
            self.notices.push(Notice::LostTail(remembered - 1));
        }
        self.head.next = next.max(remembered.unwrap_or(0));
        Ok(())
    }
}

#[cfg(test)]
mod tests;
