//! Finds out what a store holds, when it is opened and after an error, and mends it: whatever is missing or unreadable costs only
//! itself and is on record.

use std::collections::BTreeMap;

use pattoo_wire::{Body, Gap, Schema};

use super::chunks::{Chunk, Chunks};
use super::record::{self, BatchRecord, Head};
use super::{Buffer, BufferError, Limits, Listed, Notice, Store, StoreError, disk};

/// How often a buffer is opened again that the system refused.
const OPEN_TRIES: u32 = 10;

/// Opens the buffer of a folder.
///
/// # Errors
/// Another process has it, or the folder cannot be written. Damage is no error, see [`Notice::SetAside`], nor is a full disk, see
/// [`Notice::NoRoom`].
pub fn open(path: &std::path::Path, limits: Limits, now_ms: i64) -> Result<(Buffer<disk::Disk>, Vec<Notice>), BufferError> {
    let (mut notices, mut tries) = (Vec::new(), 0);
    loop {
        match try_open(path, limits, now_ms, &mut notices) {
            Err(BufferError::Store(StoreError::Io(_))) if tries < OPEN_TRIES => {
                tries += 1;
                disk::pause();
            }
            other => return other.map(|buffer| (buffer, notices)),
        }
    }
}

fn try_open(path: &std::path::Path, limits: Limits, now_ms: i64, notices: &mut Vec<Notice>) -> Result<Buffer<disk::Disk>, BufferError> {
    let (store, mut noticed) = disk::Disk::open(path, limits.ballast_bytes, now_ms)?;
    notices.append(&mut noticed);
    let mut buffer = Buffer::closed(store, limits);
    let begun = buffer.begin(now_ms);
    // What was set aside stays so, even where the rest failed.
    notices.append(&mut buffer.take_notices());
    begun.map(|()| buffer)
}

impl<S: Store> Buffer<S> {
    pub(super) fn closed(store: S, limits: Limits) -> Self {
        Self {
            store,
            limits,
            head: Head::default(),
            chunks: Chunks::default(),
            staged: Vec::new(),
            carried: Vec::new(),
            durable: 0,
            broken: false,
            cached: None,
            oldest_to_ms: None,
            notices: Vec::new(),
        }
    }

    /// Opens what the store holds, or begins a new stream.
    pub(super) fn begin(&mut self, now_ms: i64) -> Result<(), BufferError> {
        match self.load_or_begin() {
            Err(StoreError::Full) => self.open_full()?,
            other => other?,
        }
        // The ends are where damage shows first.
        for seq in [self.head.oldest, self.head.next.saturating_sub(1)] {
            match self.look_up(seq, now_ms) {
                // It is there, and can be read once there is room.
                Err(BufferError::Store(StoreError::Full)) => {}
                other => drop(other?),
            }
        }
        Ok(())
    }

    /// Opens what is there; what cannot be opened at all is set aside.
    pub(super) fn load_or_begin(&mut self) -> Result<(), StoreError> {
        match self.load() {
            Err(StoreError::Damaged(why)) => {
                let notice = self.store.set_aside(&why)?;
                self.notices.push(notice);
                self.load()
            }
            other => other,
        }
    }

    /// Makes the buffer usable again after an error of its store: it then stands as the disk does.
    pub(super) fn recover(&mut self, after: &StoreError) -> Result<(), StoreError> {
        self.broken = true;
        // Whoever appended it is told that it is not stored.
        self.staged.clear();
        // What was promised. More may be found, and is no promise before it is written again.
        let durable = self.durable;
        let recovered = self.try_recover(after, durable);
        match recovered {
            Ok(()) => self.broken = false,
            Err(_) => self.durable = self.durable.min(durable),
        }
        recovered
    }

    /// Tries again to open a store that could not be opened after an error.
    pub(super) fn mend(&mut self) -> Result<(), StoreError> {
        if self.broken { self.recover(&StoreError::Io("it could not be opened".into())) } else { Ok(()) }
    }

    fn try_recover(&mut self, after: &StoreError, durable: u64) -> Result<(), StoreError> {
        self.store.recover(after)?;
        self.load_or_begin()?;
        self.notices.push(Notice::Reopened(after.to_string()));
        // What a disk took while it reported a failure may be gone when the power is: it is written once more, elsewhere.
        match self.chunks.newest() {
            Some(chunk) if chunk.next > durable && chunk.lost_from.is_none() => self.write_again(chunk),
            // Where there is no room for it either, the chunk may go on after some was made.
            _ => self.seal_newest().or_else(|error| if error == StoreError::Full { Ok(()) } else { Err(error) }),
        }
    }

    fn write_again(&mut self, mut chunk: Chunk) -> Result<(), StoreError> {
        let mut values = Vec::new();
        self.store.scan(chunk.first, &mut |number, value| values.push((number, value.to_vec())))?;
        chunk.sealed = true;
        self.chunks.set(chunk);
        self.store.rewrite(chunk.first, &values, &chunk.encode(self.head.stream), None)
    }

    /// Opens a store that finds no room for what opening writes: gives up the reserve. Where that is not enough either, it is opened later:
    /// a daemon starts all the same.
    pub(super) fn open_full(&mut self) -> Result<(), StoreError> {
        self.store.recover(&StoreError::Full)?;
        match self.load_or_begin() {
            Err(StoreError::Full) => {
                self.broken = true;
                self.notices.push(Notice::NoRoom);
                Ok(())
            }
            other => other,
        }
    }

    fn load(&mut self) -> Result<(), StoreError> {
        self.staged.clear();
        self.carried.clear();
        (self.cached, self.oldest_to_ms, self.chunks) = (None, None, Chunks::default());
        let listed = self.store.chunks()?;
        let Some(value) = self.store.head()? else {
            if !listed.is_empty() {
                return Err(StoreError::Damaged("its head is missing".into()));
            }
            // A life that nobody was promised anything of is not a life: it goes on once its head can be stored.
            let unused = self.durable == 1;
            let stream = if unused { self.head.stream } else { self.store.new_stream()? };
            self.head = Head { stream, oldest: 1, next: 1, floor: 1, ..Head::default() };
            self.durable = 1;
            return self.save_head(true);
        };
        let head = Head::decode(&value).ok_or_else(|| StoreError::Damaged("its head is unreadable".into()))?;
        // Opened again after an error, a store may have lost what was promised; none of these numbers is given twice.
        let promised = if head.stream == self.head.stream { self.durable } else { 0 };
        self.head = head;
        self.durable = self.head.next.max(promised);
        for (number, (first, about)) in listed.iter().enumerate() {
            let end = listed.get(number + 1).map(|(next, _)| *next);
            self.load_chunk(*first, about.as_deref(), end)?;
        }
        let newest = self.chunks.newest();
        // Nobody knows whether the commit of what is behind the head came through.
        if let Some(chunk) = newest.filter(|chunk| promised == 0 && chunk.next > self.head.next && chunk.lost_from.is_none()) {
            self.store.harden(chunk.first)?;
        }
        self.head.next = self.head.next.max(promised).max(newest.map_or(0, |chunk| chunk.next));
        self.durable = self.head.next;
        self.fill_holes(&listed)?;
        // A chunk that was being removed when the power went may be what is left.
        if self.chunks.newest().is_some_and(|chunk| chunk.next != self.durable) {
            self.seal_newest()?;
        }
        self.head.schemas = self.schemas_there()?;
        self.prune()
    }

    /// Takes a chunk into the books; opens it only if it must.
    fn load_chunk(&mut self, first: u64, about: Option<&[u8]>, end: Option<u64>) -> Result<(), StoreError> {
        let noted = about.and_then(|about| Chunk::decode(about, self.head.stream)).filter(|chunk| chunk.first == first);
        // The newest one is looked into: behind the head there may be batches that carry gap records of it.
        let next = self.head.next;
        if let Some(chunk) = noted.filter(|chunk| end.map_or(chunk.lost_from.is_some(), |end| chunk.next <= end)) {
            self.chunks.set(chunk);
            return Ok(());
        }
        let mut chunk = Chunk::new(first);
        let Head { gaps, gaps_until, .. } = &mut self.head;
        let mut found = BTreeMap::new();
        let scanned = self.store.scan(first, &mut |number, value| {
            chunk.values += 1;
            // Even where it cannot be read, its number was given to a batch.
            found.entry(number).or_insert(None);
            for (seq, bytes) in (number..).zip(record::group(value)).filter(|(seq, _)| end.is_none_or(|end| *seq < end)) {
                let record = BatchRecord::decode(bytes);
                if seq >= next
                    && let Some(carried) = record.as_ref().and_then(|record| Body::open(&record.body).and_then(|body| body.gaps()).ok())
                {
                    for gap in carried {
                        gaps.remove(&(gap.first_seq, gap.reason.code()));
                        *gaps_until = seq.max(*gaps_until);
                    }
                }
                found.insert(seq, record.map(|record| (BatchRecord { body: Vec::new(), ..record }, bytes.len())));
            }
        });
        // A later value of a number goes before an earlier one: of what was replaced, only what replaces it counts.
        for (seq, record) in found {
            chunk.next = chunk.next.max(seq);
            match record {
                Some((record, bytes)) => chunk.count(&record, bytes),
                None => chunk.next += 1,
            }
        }
        match scanned {
            // A crash came before anything was in it.
            Ok(()) if end.is_none() && chunk.next == first => self.store.remove(first),
            Ok(()) => {
                // Only the newest one may grow, and only as long as nothing is noted of it.
                chunk.sealed = end.is_some() || noted.is_some();
                if let Some(noted) = noted.filter(|noted| end.is_none() && chunk.next <= noted.next) {
                    chunk = noted;
                } else if chunk.sealed {
                    self.store.seal(first, &chunk.encode(self.head.stream))?;
                }
                self.chunks.set(chunk);
                Ok(())
            }
            Err(StoreError::Damaged(why)) if noted.is_some_and(|noted| end.is_none_or(|end| noted.next <= end)) => {
                self.lose(&noted.unwrap_or(chunk), &why)
            }
            Err(StoreError::Damaged(why)) => {
                // The head may be older than the chunk's last batches. The server may have those that were given out: no other gets their numbers.
                let given = self.head.given.iter().map(|(_, last)| last.saturating_add(1)).max().unwrap_or_default();
                chunk.next = end.unwrap_or(next.max(chunk.next).max(given)).max(first);
                let (from_ms, to_ms) = self.times_between(first);
                (chunk.readings, chunk.from_ms, chunk.to_ms) = (0, from_ms, to_ms);
                self.lose(&chunk, &why)
            }
            Err(error) => Err(error),
        }
    }

    /// A number must never be used twice, and none may be missing: what should be there and is not counts as damaged.
    fn fill_holes(&mut self, listed: &[Listed]) -> Result<(), StoreError> {
        let mut expected = self.head.oldest;
        let mut holes = Vec::new();
        for chunk in self.chunks.iter() {
            if chunk.first > expected {
                holes.push((expected, chunk.first));
            }
            expected = expected.max(chunk.next);
        }
        if self.head.next > expected {
            holes.push((expected, self.head.next));
        }
        for (first, next) in holes {
            if self.head.ahead.within(first, next) == next - first {
                continue;
            }
            // The chunk before, if it was the newest, cannot grow over the hole.
            if listed.last().is_some_and(|(last, _)| *last < first) {
                self.seal_newest()?;
                self.notices.push(Notice::LostTail(next - 1));
            } else {
                self.notices.push(Notice::DamagedChunk { first, last: next - 1, why: "it is missing".into() });
            }
            let (from_ms, to_ms) = self.times_between(first);
            let chunk = Chunk { next, from_ms, to_ms, lost_from: Some(first), sealed: true, ..Chunk::new(first) };
            self.store.rewrite(first, &[], &chunk.encode(self.head.stream), None)?;
            self.chunks.set(chunk);
        }
        Ok(())
    }

    /// Puts a gap record in the place of a chunk that cannot be read.
    pub(super) fn lose(&mut self, chunk: &Chunk, why: &str) -> Result<(), StoreError> {
        let Chunk { first, next, .. } = *chunk;
        self.cached = None;
        if next == first {
            // Nothing in it was ever promised.
            self.chunks.remove(first);
            return self.store.remove(first);
        }
        let whole = self.head.oldest <= first && self.head.ahead.within(first, next) == 0;
        let readings = if whole { chunk.readings } else { 0 };
        let lost = Chunk { bytes: 0, values: 0, readings, lost_from: Some(first.max(self.head.oldest)), sealed: true, ..*chunk };
        self.store.rewrite(first, &[], &lost.encode(self.head.stream), Some(why))?;
        self.chunks.set(lost);
        self.head.dropped_readings += readings;
        self.notices.push(Notice::DamagedChunk { first, last: next - 1, why: why.to_owned() });
        self.save_head(true)
    }

    /// When the readings of a chunk that is missing were made, as its neighbours tell.
    fn times_between(&self, first: u64) -> (i64, i64) {
        let before = self.chunks.iter().rev().find(|chunk| chunk.first < first && chunk.to_ms >= chunk.from_ms).map(|chunk| chunk.to_ms);
        let after = self.chunks.iter().find(|chunk| chunk.first > first && chunk.to_ms >= chunk.from_ms).map(|chunk| chunk.from_ms);
        let from_ms = before.or(after).unwrap_or(0);
        (from_ms, after.unwrap_or(from_ms).max(from_ms))
    }

    /// The schemas of the head whose message is there and whole.
    fn schemas_there(&mut self) -> Result<BTreeMap<pattoo_wire::SchemaId, record::SchemaRecord>, StoreError> {
        let mut there = self.head.schemas.clone();
        for id in self.head.schemas.keys() {
            // One that cannot be read now may be read later.
            let Ok(message) = self.store.schema(id.0) else { continue };
            if !message.is_some_and(|message| Schema::decode(&message).is_ok_and(|(found, _)| found == *id)) {
                there.remove(id);
            }
        }
        Ok(there)
    }
}

/// The gap that stands for a lost chunk.
pub(super) fn gap_of(chunk: &Chunk, lost_from: u64) -> Gap {
    let Chunk { next, readings, from_ms, to_ms, .. } = *chunk;
    let reason = pattoo_wire::GapReason::Damaged;
    Gap { from_ms, to_ms: to_ms.max(from_ms), first_seq: lost_from, last_seq: next - 1, readings, reason }
}
