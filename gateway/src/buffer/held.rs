//! Batches whose times count from the start of a boot, because nothing told the time yet: which ones they are, and how they get UTC.
//!
//! Their bytes stay as they are. They are not given out before the time of their boot is known, and then always with the same offset
//! added: it is stored before the first of them goes out. The time of a boot that is over cannot become known any more: it is taken to
//! have ended when the next one began, and the readings say so.

use pattoo_wire::{Body, Gap, Reason, Sample};

use super::record::BatchRecord;
use super::{Buffer, BufferError, Notice, Store, StoreError, Stored};
use crate::reading::BootId;
use crate::timebase::EARLIEST_MS;

/// Most boots without a time that are told apart; with one more, the two oldest count as one.
const MAX_HOLDS: usize = 64;

/// What is known of the time of a boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Offset {
    Unknown,
    Known(i64),
    Estimated(i64),
}

/// Held batches of one boot, one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hold {
    pub(super) boot: u64,
    pub(super) first_seq: u64,
    /// `u64::MAX` while more may come.
    pub(super) last_seq: u64,
    pub(super) offset: Offset,
}

impl Hold {
    /// Takes in the hold before it. Nobody knows a time that is right for both.
    fn join(&mut self, before: &Self) {
        self.first_seq = before.first_seq;
        if let Offset::Known(offset_ms) = self.offset {
            self.offset = Offset::Estimated(offset_ms);
        }
    }
}

/// All holds, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Holds {
    list: Vec<Hold>,
}

impl Holds {
    pub(super) fn iter(&self) -> impl Iterator<Item = &Hold> {
        self.list.iter()
    }

    pub(super) fn push(&mut self, hold: Hold) {
        self.list.push(hold);
    }

    /// The hold that a batch is in.
    fn of(&self, seq: u64) -> Option<&Hold> {
        self.list.iter().rev().find(|hold| (hold.first_seq..=hold.last_seq).contains(&seq))
    }

    /// Whether any of these batches is held.
    pub(super) fn touch(&self, first: u64, next: u64) -> bool {
        self.list.iter().any(|hold| hold.first_seq < next && first <= hold.last_seq)
    }

    /// Notes that the batch with this number is held, or not; whether that is news, which must be stored before the batch is.
    fn note(&mut self, seq: u64, boot: Option<BootId>) -> bool {
        let open = self.list.last_mut().filter(|hold| hold.last_seq == u64::MAX);
        match (open, boot) {
            (None, None) => false,
            (Some(open), Some(boot)) if open.boot == boot.0 => false,
            (open, boot) => {
                if let Some(open) = open {
                    open.last_seq = seq.saturating_sub(1);
                }
                self.list.retain(|hold| hold.first_seq <= hold.last_seq);
                if let Some(BootId(boot)) = boot {
                    let same = self.list.last().filter(|hold| hold.boot == boot);
                    let offset = same.map_or(Offset::Unknown, |hold| hold.offset);
                    self.list.push(Hold { boot, first_seq: seq, last_seq: u64::MAX, offset });
                }
                if self.list.len() > MAX_HOLDS {
                    let oldest = self.list.remove(0);
                    self.list.iter_mut().take(1).for_each(|hold| hold.join(&oldest));
                }
                true
            }
        }
    }

    /// Makes this the time of a boot, where it has none yet, and estimates those of the boots before. `last_ms` tells the latest boot
    /// time of a hold. Gives how many boots got an estimate; none if nothing is new.
    fn know(&mut self, boot: BootId, offset_ms: i64, mut last_ms: impl FnMut(&Hold) -> i64) -> Option<usize> {
        let (mut news, mut estimates) = (false, 0);
        let mut next_began_ms = offset_ms;
        for hold in self.list.iter_mut().rev() {
            if hold.offset == Offset::Unknown {
                news = true;
                hold.offset = if hold.boot == boot.0 {
                    Offset::Known(offset_ms)
                } else {
                    estimates += 1;
                    Offset::Estimated(next_began_ms.saturating_sub(last_ms(hold)))
                };
            }
            if let Offset::Known(began_ms) | Offset::Estimated(began_ms) = hold.offset {
                next_began_ms = began_ms;
            }
        }
        news.then_some(estimates)
    }
}

impl<S: Store> Buffer<S> {
    /// Says what must be added to the times of a boot to get UTC: its held batches are given out from now on, and so are those of the
    /// boots before. Durable; the first word about a boot counts.
    ///
    /// # Errors
    /// A store that fails. Say it again.
    pub fn set_time(&mut self, boot: BootId, offset_ms: i64) -> Result<(), StoreError> {
        let mut holds = self.head.holds.clone();
        let durable = self.durable;
        let estimates = holds.know(boot, offset_ms, |hold| {
            let last = hold.last_seq.min(durable.saturating_sub(1));
            // A boot of which no batch was stored tells nothing of how long it took; the batch before is of another one.
            if last < hold.first_seq {
                return 0;
            }
            let record = self.record(last).ok().flatten().as_deref().and_then(BatchRecord::decode);
            record.map_or(0, |record| record.to_ms)
        });
        let Some(estimates) = estimates else { return Ok(()) };
        let before = std::mem::replace(&mut self.head.holds, holds);
        self.oldest_to_ms = None;
        if let Err(error) = self.save_head(true) {
            self.head.holds = before;
            return Err(error);
        }
        if estimates > 0 {
            self.notices.push(Notice::TimeEstimated(estimates));
        }
        Ok(())
    }

    /// Notes whether the next batch is held, before it is stored.
    pub(super) fn note_held(&mut self, boot: Option<BootId>) -> Result<(), StoreError> {
        if self.head.holds.note(self.head.next, boot) { self.save_head(true) } else { Ok(()) }
    }

    /// Whether a batch must wait for the time of its boot.
    pub(super) fn waits_for_time(&self, seq: u64) -> bool {
        self.head.holds.of(seq).is_some_and(|hold| hold.offset == Offset::Unknown)
    }

    /// Forgets the holds of which no batch is left, and no gap record of one.
    pub(super) fn prune_holds(&mut self) {
        let kept = self.kept();
        let gaps: Vec<u64> = self.head.gaps.values().filter(|gap| gap.to_ms < EARLIEST_MS).map(|gap| gap.first_seq).collect();
        self.head.holds.list.retain(|hold| hold.last_seq >= kept || gaps.iter().any(|seq| (hold.first_seq..=hold.last_seq).contains(seq)));
    }

    /// UTC of a time of this batch; none while it is not known.
    pub(super) fn utc_ms(&self, seq: u64, at_ms: i64) -> Option<i64> {
        match self.head.holds.of(seq).filter(|_| at_ms < EARLIEST_MS).map(|hold| hold.offset) {
            None => Some(at_ms),
            Some(Offset::Unknown) => None,
            Some(Offset::Known(offset_ms) | Offset::Estimated(offset_ms)) => Some(at_ms.saturating_add(offset_ms)),
        }
    }

    /// When the first reading of the oldest batch that waits was taken, UTC; none where none waits, or while the time of its boot is not known.
    pub fn oldest_ms(&mut self) -> Option<i64> {
        let seq = self.head.oldest;
        let record = if seq < self.durable { self.record(seq).ok().flatten() } else { None };
        self.utc_ms(seq, BatchRecord::decode(&record?)?.from_ms)
    }

    /// A gap record with UTC; none while it is not known.
    pub(super) fn gap_in_utc(&self, gap: &Gap) -> Option<Gap> {
        let utc_ms = |at_ms| self.utc_ms(gap.first_seq, at_ms);
        Some(Gap { from_ms: utc_ms(gap.from_ms)?, to_ms: utc_ms(gap.to_ms)?, ..gap.clone() })
    }

    /// A batch as it is given out: one that was held gets UTC, with readings that say so where it is an estimate.
    pub(super) fn given_out(&mut self, seq: u64, record: &BatchRecord, body: &Body<'_>) -> Result<Option<Stored>, BufferError> {
        let id = body.schema();
        let (offset_ms, estimated) = match self.head.holds.of(seq).map(|hold| hold.offset) {
            None => return Ok(Some(Stored { seq, schema: id, body: record.body.clone() })),
            Some(Offset::Unknown) => return Ok(None),
            Some(Offset::Known(offset_ms)) => (offset_ms, false),
            Some(Offset::Estimated(offset_ms)) => (offset_ms, true),
        };
        let Some(message) = self.schema(id)? else { return Ok(None) };
        let (_, schema) = pattoo_wire::Schema::decode(&message).map_err(BufferError::Batch)?;
        let mut batch = body.decode(id, &schema).map_err(BufferError::Batch)?;
        // Where holds were joined, batches that have UTC already may lie in between.
        for block in batch.blocks.iter_mut().filter(|block| block.times_ms.iter().all(|at_ms| *at_ms < EARLIEST_MS)) {
            block.times_ms.iter_mut().for_each(|at_ms| *at_ms = at_ms.saturating_add(offset_ms));
            if estimated {
                block.samples.iter_mut().for_each(doubt);
            }
        }
        // The record of what was thinned out of it has its times.
        batch.gaps = batch.gaps.iter().map(|gap| self.gap_in_utc(gap).unwrap_or_else(|| gap.clone())).collect();
        let body = batch.encode(id, &schema).map_err(BufferError::Batch)?;
        Ok(Some(Stored { seq, schema: id, body }))
    }
}

/// A good reading is not, when nobody knows of when it is.
fn doubt(sample: &mut Sample) {
    if let Sample::Good(value) = sample {
        *sample = Sample::Uncertain(value.clone(), Reason::ClockUnset);
    }
}

#[cfg(test)]
mod tests;
