//! What the buffer gives up, and the record that it leaves of it.
//!
//! Decides nothing about storing: see [`super::Buffer`].

use pattoo_wire::{Batch, Body, Gap, GapReason, Schema, SchemaId};

use super::chunks::{Chunk, Ranges};
use super::load::gap_of;
use super::record::{self, BatchRecord, Head};
use super::thin::own_record;
use super::{Buffer, BufferError, Notice, Store, StoreError, Stored};
use crate::timebase::EARLIEST_MS;

/// Share of the age that is freed when batches are too old: one gap record then stands for many batches.
const SLACK: i64 = 64;

/// Share of the buffered bytes that is given up when the disk is full.
const FULL_DISK_SHARE: u64 = 8;

/// Share of the bytes that is kept free for what a commit takes beside its batches, and most of it.
const MARGIN_SHARE: u64 = 16;
const MAX_MARGIN_BYTES: u64 = 1 << 20;

/// So many gap records may wait before they are joined even if the server has some of their batches, and counts these as missing.
const MAX_EXACT_GAPS: usize = 4096;

/// Usual [`super::Limits::given_ahead`], and most ranges of such batches.
pub const GIVEN_AHEAD: u64 = 256;
const MAX_GIVEN: usize = 256;

/// A batch that is given up; without times where it cannot be read.
struct Given {
    seq: u64,
    record: Option<(i64, i64, u64)>,
    carried: Vec<Gap>,
}

impl<S: Store> Buffer<S> {
    /// Notes that the server may have a batch from now on, even if its acknowledgement never comes: if it is dropped then, the gap record
    /// is of this batch alone, so that the server can tell that it has it.
    pub(super) fn note_given(&mut self, seq: u64) -> Result<(), StoreError> {
        if self.head.given.contains(seq) || seq < self.head.oldest {
            return Ok(());
        }
        self.head.given.add(seq, seq.saturating_add(self.limits.given_ahead.saturating_sub(1)));
        self.head.given.simplify(MAX_GIVEN);
        self.save_head(true)
    }

    /// Forgets what was given out once the server has it, and all gap records.
    pub(super) fn prune_given(&mut self) {
        let Head { oldest, gaps_until, .. } = self.head;
        if self.head.gaps.is_empty() && self.carried.is_empty() && gaps_until < oldest {
            let (given, mut left) = (std::mem::take(&mut self.head.given), Ranges::default());
            given.iter().filter(|(_, last)| *last >= oldest).for_each(|(first, last)| left.add(first.max(oldest), last));
            self.head.given = left;
        }
    }

    pub(super) fn drop_old(&mut self, now_ms: i64) -> Result<(), StoreError> {
        let edge_ms = now_ms.saturating_sub(self.limits.max_age_ms);
        if self.oldest_to_ms.is_some_and(|(seq, to_ms)| seq == self.head.oldest && to_ms >= edge_ms) {
            return Ok(());
        }
        let before = self.head.oldest;
        let mut keep_from_ms = edge_ms;
        while let Some(chunk) = self.chunks.of(self.head.oldest) {
            let whole = chunk.to_ms < keep_from_ms && !self.head.holds.touch(chunk.first, chunk.next);
            let end = if whole { chunk.next } else { self.first_since(&chunk, keep_from_ms)? };
            if end <= self.head.oldest {
                break;
            }
            self.forget(&chunk, end, GapReason::TooOld)?;
            keep_from_ms = edge_ms.saturating_add(self.limits.max_age_ms / SLACK);
        }
        if self.head.oldest == before {
            return Ok(());
        }
        self.save_head(true)?;
        self.prune()
    }

    /// The first batch of a chunk, from the oldest on, that has a reading since then.
    fn first_since(&mut self, chunk: &Chunk, since_ms: i64) -> Result<u64, StoreError> {
        for seq in self.head.oldest..chunk.next {
            // What waits for its time has no age.
            let record = self.record(seq)?.as_deref().and_then(BatchRecord::decode);
            if let Some(to_ms) = record.map(|record| self.utc_ms(seq, record.to_ms).unwrap_or(i64::MAX)).filter(|to_ms| *to_ms >= since_ms)
            {
                self.oldest_to_ms = Some((seq, to_ms));
                return Ok(seq);
            }
            if chunk.lost_from.is_some() {
                return Ok(self.head.oldest);
            }
        }
        Ok(chunk.next)
    }

    /// Makes room for so many bytes: thins out, then gives up the oldest chunks. Thinning begins while there is room for one chunk more,
    /// because for a moment a chunk lies beside what is left of it.
    pub(super) fn drop_for(&mut self, room: u64) -> Result<(), StoreError> {
        let staged: u64 = self.staged.iter().map(|record| (record::BATCH_BYTES + record.body.len()) as u64).sum();
        let margin = (self.limits.max_bytes / MARGIN_SHARE).min(MAX_MARGIN_BYTES);
        let goal = self.limits.max_bytes.saturating_sub(room + staged + margin);
        // One at a time, as long as there is time.
        let mut thins = self.store.bytes() > goal.saturating_sub(self.policy().chunk_bytes()) && self.thin_oldest()?;
        while self.store.bytes() > goal {
            thins = thins && self.thin_oldest()?;
            if !thins && !self.drop_oldest_chunk()? {
                break;
            }
        }
        Ok(())
    }

    /// Gives up the oldest chunk; false if there is none.
    fn drop_oldest_chunk(&mut self) -> Result<bool, StoreError> {
        let Some(oldest) = self.chunks.iter().next().copied() else { return Ok(false) };
        if !oldest.sealed {
            self.seal_newest()?;
        }
        if let Some(chunk) = self.chunks.of(self.head.oldest.max(oldest.first)).filter(|chunk| chunk.first == oldest.first) {
            self.forget(&chunk, chunk.next, GapReason::BufferFull)?;
            self.save_head(true)?;
        }
        let before = self.chunks.iter().count();
        self.prune()?;
        Ok(self.chunks.iter().count() < before)
    }

    pub(super) fn give_up_oldest(&mut self) -> Result<(), BufferError> {
        let first = self.head.oldest;
        let bytes = self.store.bytes();
        let goal = bytes - bytes / FULL_DISK_SHARE;
        while self.store.bytes() >= goal && self.thin_oldest()? {}
        while self.store.bytes() >= goal && self.chunks.iter().count() > 1 && self.drop_oldest_chunk()? {}
        if self.head.oldest > first {
            self.notices.push(Notice::DiskFull(self.head.oldest - first));
        }
        Ok(())
    }

    /// Takes the batches of a chunk up to before `end` out of the books, and leaves gap records for those that wait.
    fn forget(&mut self, chunk: &Chunk, end: u64, reason: GapReason) -> Result<(), StoreError> {
        let from = self.head.oldest.max(chunk.first);
        match chunk.lost_from {
            Some(lost_from) => {
                if (from..end).contains(&lost_from) {
                    self.add_gap(gap_of(chunk, lost_from));
                }
            }
            None => {
                let mut given = Vec::new();
                let scanned = self.store.scan(chunk.first, &mut |number, value| {
                    for (seq, bytes) in (number..).zip(record::group(value)).filter(|(seq, _)| (from..end).contains(seq)) {
                        let record = BatchRecord::decode(bytes);
                        let carried = record.as_ref().and_then(|record| Body::open(&record.body).and_then(|body| body.gaps()).ok());
                        let carried = carried.unwrap_or_default();
                        let thinned = own_record(seq, &carried).map_or(0, |gap| gap.readings);
                        let record = record.map(|record| (record.from_ms, record.to_ms, record.readings.saturating_sub(thinned)));
                        given.push(Given { seq, record, carried });
                    }
                });
                match scanned {
                    Ok(()) => self.record_given(chunk, from..end, given, reason),
                    Err(StoreError::Damaged(why)) => {
                        self.lose(chunk, &why)?;
                        let Some(lost) = self.chunks.of(from) else { return Ok(()) };
                        return self.forget(&lost, lost.next, reason);
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        self.head.oldest = self.head.ahead.advance(self.head.oldest.max(end));
        self.head.floor = self.head.floor.max(self.head.oldest);
        Ok(())
    }

    /// Leaves gap records for batches that wait; a later value of a number goes before an earlier one.
    fn record_given(&mut self, chunk: &Chunk, range: std::ops::Range<u64>, given: Vec<Given>, reason: GapReason) {
        let mut given: std::collections::BTreeMap<u64, Given> = given.into_iter().map(|given| (given.seq, given)).collect();
        let mut thinned: Option<Gap> = None;
        for seq in range.filter(|seq| !self.head.ahead.contains(*seq)).collect::<Vec<_>>() {
            let found = given.remove(&seq);
            let record = found.as_ref().and_then(|given| given.record);
            // Its own gap records are news for the next batch again; unchanged, if the server may have them.
            for gap in found.into_iter().flat_map(|given| given.carried) {
                if self.head.given.contains(seq) {
                    self.head.given.add(gap.first_seq, gap.last_seq);
                } else if own_record(seq, std::slice::from_ref(&gap)).is_some() {
                    // One record for many, whatever lies between: such a record does not say that batches are missing. But it replaces what
                    // it covers at the server, so none that may have been sent lies between.
                    let joins = |all: &Gap| is_held(all) == is_held(&gap) && self.head.given.within(all.first_seq, seq) == 0;
                    match thinned.take() {
                        Some(all) if joins(&all) => thinned = Some(joined(&all, &gap)),
                        before => {
                            before.into_iter().for_each(|gap| self.add_gap(gap));
                            thinned = Some(gap);
                        }
                    }
                    continue;
                }
                self.add_gap(gap);
            }
            match record {
                Some((_, _, 0)) => {}
                Some((from_ms, to_ms, readings)) => {
                    self.head.dropped_readings += readings;
                    self.add_gap(Gap { from_ms, to_ms, first_seq: seq, last_seq: seq, readings, reason });
                }
                None => {
                    let (from_ms, to_ms, reason) = (chunk.from_ms, chunk.to_ms.max(chunk.from_ms), GapReason::Damaged);
                    self.add_gap(Gap { from_ms, to_ms, first_seq: seq, last_seq: seq, readings: 0, reason });
                }
            }
        }
        thinned.into_iter().for_each(|gap| self.add_gap(gap));
    }

    /// Adds a gap record to those that wait; joins it with its neighbours, unless the server may have a batch of either: then it can tell
    /// that nothing is missing there.
    pub(super) fn add_gap(&mut self, mut gap: Gap) {
        let (given, many) = (self.head.given.clone(), self.head.gaps.len() >= MAX_EXACT_GAPS);
        let given = |gap: &Gap| !many && given.within(gap.first_seq, gap.last_seq.saturating_add(1)) > 0;
        let touches = |other: &Gap, gap: &Gap| {
            let behind = |a: &Gap, b: &Gap| a.last_seq.checked_add(1) == Some(b.first_seq);
            let joins = other.reason == gap.reason
                && is_held(other) == is_held(gap)
                && gap.reason != GapReason::ClockStep
                && (behind(other, gap) || behind(gap, other));
            joins && !given(other) && !given(gap)
        };
        while let Some((key, other)) = self.head.gaps.iter().find(|(_, other)| touches(other, &gap)).map(|(key, gap)| (*key, gap.clone())) {
            gap = joined(&other, &gap);
            self.head.gaps.remove(&key);
        }
        self.head.gaps.insert((gap.first_seq, gap.reason.code()), gap);
    }

    /// A batch that only says what is missing.
    fn saying(&self, gaps: Vec<Gap>) -> Result<(SchemaId, Vec<u8>), BufferError> {
        let schema = self.latest_schema().unwrap_or(SchemaId(0));
        let body = Batch { blocks: Vec::new(), gaps }.encode(schema, &Schema::default()).map_err(BufferError::Batch)?;
        Ok((schema, body))
    }

    /// What is given out for a batch of a lost chunk: the first one that waited has the gap record, the others have nothing.
    pub(super) fn stand_in(&mut self, chunk: &Chunk, seq: u64) -> Result<Stored, BufferError> {
        let gaps = chunk.lost_from.filter(|lost_from| *lost_from == seq).map(|lost_from| gap_of(chunk, lost_from));
        let gaps = gaps.map(|gap| self.gap_in_utc(&gap).unwrap_or(gap));
        let (schema, body) = self.saying(gaps.into_iter().collect())?;
        Ok(Stored { seq, schema, body })
    }

    /// Puts a batch that only has a gap record in the place of one that cannot be read, so that numbers stay without holes.
    pub(super) fn replace(&mut self, chunk: &Chunk, seq: u64, record: Option<BatchRecord>, now_ms: i64) -> Result<Stored, BufferError> {
        let (around_from_ms, around_to_ms) = self.times_around(seq, now_ms);
        let (from_ms, to_ms, last_seq, readings) = match record {
            Some(record) => {
                let utc_ms = |at_ms| self.utc_ms(seq, at_ms).unwrap_or(now_ms);
                (utc_ms(record.from_ms), utc_ms(record.to_ms), seq, record.readings)
            }
            None => {
                let (last_seq, readings) = self.missing_since(chunk, seq)?;
                (around_from_ms, around_to_ms, last_seq, readings)
            }
        };
        let gap = Gap { from_ms, to_ms: to_ms.max(from_ms), first_seq: seq, last_seq, readings, reason: GapReason::Damaged };
        let (schema, body) = self.saying(vec![gap])?;
        let mut group = vec![BatchRecord { from_ms, to_ms, readings: 0, body: body.clone() }.encode()];
        // Those behind it in its group were found by the group's number and must still be.
        if let Some((first, value)) = self.store.read(chunk.first, seq)? {
            let behind = usize::try_from(seq - first).unwrap_or(usize::MAX).saturating_add(1);
            group.extend(record::group(&value).skip(behind).map(<[u8]>::to_vec));
        }
        self.store.append(chunk.first, &[(seq, record::encode_group(&group))])?;
        self.cached = None;
        self.head.dropped_readings += readings;
        // What is gone is on record now: the next one that is found to be gone must not count it again.
        let left = if chunk.sealed { chunk.readings.saturating_sub(readings) } else { self.present(chunk)?.values().sum() };
        let chunk = Chunk { readings: left, ..*chunk };
        if chunk.sealed {
            self.store.seal(chunk.first, &chunk.encode(self.head.stream))?;
        }
        self.chunks.set(chunk);
        self.save_head(true)?;
        self.notices.push(Notice::DamagedBatch(seq));
        Ok(Stored { seq, schema, body })
    }

    /// The last batch of a chunk that is gone without a trace, as this one is, and how many readings all of these had: the first of them to be
    /// found answers for all. 0, for a number that nobody knows, where what is noted of the chunk does not tell.
    fn missing_since(&mut self, chunk: &Chunk, seq: u64) -> Result<(u64, u64), StoreError> {
        let present = self.present(chunk)?;
        let missing: Vec<u64> = (chunk.first..chunk.next).filter(|seq| !present.contains_key(seq)).collect();
        let all_wait = missing.iter().all(|other| *other >= seq && *other >= self.head.oldest && !self.head.ahead.contains(*other));
        let readings = if chunk.sealed && all_wait { chunk.readings.saturating_sub(present.values().sum()) } else { 0 };
        let last_seq = missing.last().copied().filter(|_| readings > 0).unwrap_or(seq);
        Ok((last_seq, readings))
    }

    /// The batches of a chunk that are there, with their readings.
    fn present(&mut self, chunk: &Chunk) -> Result<std::collections::BTreeMap<u64, u64>, StoreError> {
        let mut present = std::collections::BTreeMap::new();
        self.store.scan(chunk.first, &mut |number, value| {
            present.extend(
                (number..).zip(record::group(value)).map(|(seq, bytes)| (seq, BatchRecord::decode(bytes).map_or(0, |r| r.readings))),
            );
        })?;
        Ok(present)
    }

    /// When the readings of an unreadable batch were made, as its neighbours tell.
    fn times_around(&mut self, seq: u64, now_ms: i64) -> (i64, i64) {
        let mut neighbour = |seq: Option<u64>| self.record(seq?).ok().flatten().as_deref().and_then(BatchRecord::decode);
        let before_ms = neighbour(seq.checked_sub(1)).map(|record| record.to_ms);
        let after_ms = neighbour(seq.checked_add(1)).map(|record| record.from_ms);
        let from_ms = before_ms.or(after_ms).unwrap_or(now_ms);
        (from_ms, after_ms.unwrap_or(from_ms).max(from_ms))
    }
}

/// Whether its times count from a boot.
fn is_held(gap: &Gap) -> bool {
    gap.to_ms < EARLIEST_MS
}

/// Two records as one.
fn joined(one: &Gap, other: &Gap) -> Gap {
    Gap {
        from_ms: one.from_ms.min(other.from_ms),
        to_ms: one.to_ms.max(other.to_ms),
        first_seq: one.first_seq.min(other.first_seq),
        last_seq: one.last_seq.max(other.last_seq),
        readings: one.readings.saturating_add(other.readings),
        reason: one.reason,
    }
}
