//! What the buffer gives up, and the record that it leaves of it.
//!
//! Decides nothing about storing: see [`super::Buffer`].

use pattoo_wire::{Batch, Body, Gap, GapReason, Schema, SchemaId};

use super::record::{self, BatchRecord, batch_key, gap_key};
use super::{Buffer, BufferError, MAX_DELETES, Notice, Store, StoreError, Stored};

/// Share of the bytes that is freed when the buffer is full, and of the age when batches are too old: one gap record then stands
/// for many batches.
const SLACK: u64 = 64;

/// Most bytes that are freed at once.
const MAX_SLACK_BYTES: u64 = 1 << 20;

/// Share of the buffered bytes that is given up when the disk is full.
const FULL_DISK_SHARE: u64 = 8;

impl<S: Store> Buffer<S> {
    pub(super) fn drop_old(&mut self, now_ms: i64) -> Result<(), StoreError> {
        let edge_ms = now_ms.saturating_sub(self.limits.max_age_ms);
        let slack_ms = self.limits.max_age_ms / SLACK as i64;
        let mut keep_from_ms = edge_ms;
        for _ in 0..MAX_DELETES {
            if self.head.oldest == self.head.next {
                break;
            }
            let value = self.batch_value(self.head.oldest)?;
            match value.as_deref().and_then(BatchRecord::decode) {
                Some(record) if record.to_ms >= keep_from_ms => break,
                _ => self.drop_oldest(GapReason::TooOld)?,
            }
            keep_from_ms = edge_ms.saturating_add(slack_ms);
        }
        Ok(())
    }

    pub(super) fn drop_for(&mut self, room: u64) -> Result<(), StoreError> {
        if self.head.bytes + room <= self.limits.max_bytes {
            return Ok(());
        }
        let slack = (self.limits.max_bytes / SLACK).min(MAX_SLACK_BYTES);
        let goal = self.limits.max_bytes.saturating_sub(room + slack);
        while self.head.bytes > goal && self.head.oldest < self.head.next {
            self.drop_oldest(GapReason::BufferFull)?;
        }
        Ok(())
    }

    fn drop_oldest(&mut self, reason: GapReason) -> Result<(), StoreError> {
        let seq = self.head.oldest;
        let value = self.batch_value(seq)?;
        let record = value.as_deref().and_then(BatchRecord::decode);
        self.forget(seq, value.map_or(0, |value| value.len() as u64));
        match record {
            Some(record) => {
                // Its own gap records are news for the next batch again.
                let carried = Body::open(&record.body).and_then(|body| body.gaps()).unwrap_or_default();
                carried.into_iter().for_each(|gap| self.add_gap(gap));
                if record.readings > 0 {
                    self.head.dropped_readings += record.readings;
                    let BatchRecord { from_ms, to_ms, readings, .. } = record;
                    self.add_gap(Gap { from_ms, to_ms, first_seq: seq, last_seq: seq, readings, reason });
                }
            }
            None => {
                let (from_ms, to_ms) = self.times_around(seq, 0);
                self.add_gap(Gap { from_ms, to_ms, first_seq: seq, last_seq: seq, readings: 0, reason: GapReason::Damaged });
            }
        }
        self.prune_schemas();
        Ok(())
    }

    pub(super) fn give_up_oldest(&mut self) -> Result<(), BufferError> {
        let first = self.head.oldest;
        let goal = self.head.bytes - self.head.bytes / FULL_DISK_SHARE;
        while self.head.bytes >= goal && self.head.oldest < self.head.next {
            self.drop_oldest(GapReason::BufferFull)?;
        }
        self.notices.push(Notice::DiskFull(self.head.oldest - first));
        self.commit()
    }

    /// Adds a gap record to those that wait; joins it with its neighbours, unless it is a jump in time: two are not one.
    fn add_gap(&mut self, mut gap: Gap) {
        let touches = |other: &Gap, gap: &Gap| {
            other.reason == gap.reason
                && gap.reason != GapReason::ClockStep
                && (other.last_seq.checked_add(1) == Some(gap.first_seq) || gap.last_seq.checked_add(1) == Some(other.first_seq))
        };
        let before = self.gaps.range(..gap.first_seq).next_back().map(|(key, _)| *key);
        let after = self.gaps.range(gap.first_seq..).next().map(|(key, _)| *key);
        for key in [before, after].into_iter().flatten() {
            let Some(other) = self.gaps.get(&key).filter(|other| touches(other, &gap)) else { continue };
            gap = Gap {
                from_ms: gap.from_ms.min(other.from_ms),
                to_ms: gap.to_ms.max(other.to_ms),
                first_seq: gap.first_seq.min(other.first_seq),
                last_seq: gap.last_seq.max(other.last_seq),
                readings: gap.readings.saturating_add(other.readings),
                reason: gap.reason,
            };
            self.gaps.remove(&key);
            self.staged.push((gap_key(key), None));
        }
        self.staged.push((gap_key(gap.first_seq), Some(record::encode_gap(&gap))));
        self.gaps.insert(gap.first_seq, gap);
    }

    /// Puts a batch that only has a gap record in the place of one that cannot be read, so that numbers stay without holes.
    pub(super) fn replace(
        &mut self,
        seq: u64,
        value: Option<Vec<u8>>,
        record: Option<BatchRecord>,
        now_ms: i64,
    ) -> Result<Stored, BufferError> {
        let (around_from_ms, around_to_ms) = self.times_around(seq, now_ms);
        let (from_ms, to_ms, readings) = record.map_or((around_from_ms, around_to_ms, 0), |r| (r.from_ms, r.to_ms, r.readings));
        let gap = Gap { from_ms, to_ms: to_ms.max(from_ms), first_seq: seq, last_seq: seq, readings, reason: GapReason::Damaged };
        let schema = self.latest_schema().unwrap_or(SchemaId(0));
        let batch = Batch { blocks: Vec::new(), gaps: vec![gap] };
        let body = batch.encode(schema, &Schema::default()).map_err(BufferError::Batch)?;
        let value_after = BatchRecord { from_ms, to_ms, readings: 0, body: body.clone() }.encode();
        let bytes = value.map_or(0, |value| value.len() as u64);
        self.head.bytes = self.head.bytes.saturating_sub(bytes) + value_after.len() as u64;
        self.head.dropped_readings += readings;
        self.staged.push((batch_key(seq), Some(value_after)));
        self.notices.push(Notice::DamagedBatch(seq));
        self.commit()?;
        Ok(Stored { seq, schema, body })
    }

    /// When the readings of an unreadable batch were made, as its neighbours tell.
    fn times_around(&mut self, seq: u64, now_ms: i64) -> (i64, i64) {
        let mut neighbour = |seq: Option<u64>| {
            let value = self.batch_value(seq?).ok().flatten()?;
            BatchRecord::decode(&value)
        };
        let before_ms = neighbour(seq.checked_sub(1)).map(|record| record.to_ms);
        let after_ms = neighbour(seq.checked_add(1)).map(|record| record.from_ms);
        let from_ms = before_ms.or(after_ms).unwrap_or(now_ms);
        (from_ms, after_ms.unwrap_or(from_ms).max(from_ms))
    }
}
