//! What the store has in memory: the head, the one that is on its way to the shelf, the newest reading of each series, and what the ledger does
//! not have yet. Pure; who locks it and writes it down is not known here.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use pattoo_wire::Sample;

use super::super::by_series::BySeries;
use super::super::head::{Gate, Head, Open};
use super::super::{Block, Commit, Committed, Reading, Readings, SeriesEntry, SeriesId, row};
use super::rest::Standing;

/// Of what waits for the ledger, beside its strings: for each commit and each item in it.
const PENDING_BYTES: usize = 256;
const ITEM_BYTES: usize = 96;

/// When a head has enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Memory of a head; there are at most two.
    pub head_bytes: usize,
    /// Log that a head stands for.
    pub log_bytes: u64,
    /// A segment of the log ends after so many: what it lets go of goes by segments.
    pub segment_bytes: u64,
    /// Memory of what waits for the ledger.
    pub pending_bytes: usize,
}

impl Budget {
    /// One for so many bytes of readings in two heads; the rest is in proportion.
    #[must_use]
    pub fn of(memory: u64) -> Self {
        let (of_default, default) = (Self::DEFAULT, 2 * Self::DEFAULT.head_bytes as u64);
        let part = |bytes: u64| bytes * memory / default;
        Self {
            head_bytes: part(of_default.head_bytes as u64) as usize,
            log_bytes: part(of_default.log_bytes),
            segment_bytes: part(of_default.segment_bytes),
            pending_bytes: part(of_default.pending_bytes as u64) as usize,
        }
    }

    /// Two heads have 48 MiB; with them, and what has just been let go of, the log stays below 128 MiB.
    pub const DEFAULT: Self = Self { head_bytes: 24 << 20, log_bytes: 40 << 20, segment_bytes: 16 << 20, pending_bytes: 4 << 20 };
}

/// A head that gets no more.
#[derive(Debug, Clone)]
pub(super) struct Frozen {
    pub(super) head: Arc<Head>,
    /// The last record of the log that is in it, or in one before.
    pub(super) through: u64,
    /// Whether the shelf has it.
    pub(super) shelved: bool,
}

/// What had to be looked up on the shelf for a commit.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// What is there at the times of late readings.
    pub(super) on_shelf: HashMap<(SeriesId, i64), Sample>,
    /// Series whose last reading could not be read.
    pub(super) failed: HashSet<SeriesId>,
}

/// A commit without its readings, for the ledger.
#[derive(Debug, Clone)]
struct Pending {
    commit: Arc<Commit>,
    bytes: usize,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) head: Head,
    pub(super) frozen: Option<Frozen>,
    /// Where it is known.
    last: BySeries<Reading>,
    /// Series that had nothing when they were asked for. Such a one may have something by now: `last` knows it then.
    nothing: BySeries<()>,
    /// Readings before this have been, or are being deleted.
    expired_ms: Option<i64>,
    devices: BySeries<u32>,
    /// Of each gateway and its devices.
    numbers: HashMap<String, HashMap<String, u32>>,
    next_number: u32,
    applied: u64,
    /// The last record before the head.
    before: u64,
    log_bytes: u64,
    pending: Vec<Pending>,
    pending_bytes: usize,
}

impl State {
    pub(super) fn new(series: &[SeriesEntry], applied: u64) -> Self {
        let mut state = Self { applied, before: applied, ..Self::default() };
        series.iter().for_each(|entry| state.announce(entry));
        state
    }

    /// Which device a series is of, as a number of this life.
    pub(super) fn device(&self, id: SeriesId) -> u32 {
        self.devices.get(id).copied().unwrap_or_default()
    }

    /// What the log has beyond that cannot be read, and never will be.
    pub(super) fn applied_through(&mut self, number: u64) {
        self.applied = number;
    }

    /// Notes which device a series is of.
    pub(super) fn announce(&mut self, entry: &SeriesEntry) {
        let known = self.numbers.get(&entry.gateway).and_then(|of_gateway| of_gateway.get(&entry.device)).copied();
        let number = known.unwrap_or_else(|| {
            self.next_number += 1;
            self.numbers.entry(entry.gateway.clone()).or_default().insert(entry.device.clone(), self.next_number);
            self.next_number
        });
        self.devices.insert(entry.id, number);
    }

    /// Series of a commit whose last reading has to be looked up before it is applied; new ones have none.
    pub(super) fn unknown(&self, commit: &Commit) -> Vec<SeriesId> {
        let new: HashSet<SeriesId> = commit.series.iter().map(|entry| entry.id).filter(|id| !self.devices.contains(*id)).collect();
        let mut unknown = Vec::new();
        let mut seen = HashSet::new();
        for id in commit.readings.blocks().iter().flat_map(Block::series) {
            if !self.last.contains(*id) && !new.contains(id) && seen.insert(*id) {
                unknown.push(*id);
            }
        }
        unknown
    }

    /// Notes what was looked up.
    pub(super) fn learn(&mut self, id: SeriesId, last: Option<&Reading>) {
        let Some(last) = last else { return self.nothing.insert(id, ()) };
        if self.expired_ms.is_none_or(|expired_ms| last.at_ms >= expired_ms) {
            self.last.slot(id).get_or_insert_with(|| last.clone());
        }
    }

    /// Readings of a commit that are not newer than all of their series, and not in memory: what the shelf has at their time decides whether
    /// they replace. By series and time.
    pub(super) fn late(&self, commit: &Commit) -> Vec<(SeriesId, i64)> {
        let mut late = Vec::new();
        for block in commit.readings.blocks() {
            let first_ms = block.times_ms().iter().min().copied().unwrap_or(i64::MAX);
            for id in block.series() {
                let Some(last) = self.last.get(*id).filter(|last| first_ms <= last.at_ms) else { continue };
                let times_ms = block.times_ms().iter().filter(|at_ms| **at_ms <= last.at_ms && self.at(*id, **at_ms).is_none());
                late.extend(times_ms.map(|at_ms| (*id, *at_ms)));
            }
        }
        late.sort_unstable();
        late.dedup();
        late
    }

    /// Applies a commit, of which everything is known that has to be.
    pub(super) fn apply(&mut self, record: (u64, usize), commit: &Commit, found: &Found) -> Committed {
        commit.series.iter().for_each(|entry| self.announce(entry));
        let Self { head, frozen, last, devices, .. } = self;
        let frozen = frozen.as_ref().map(|frozen| &*frozen.head);
        let mut newness = Newness { last, frozen, found, replaced: 0 };
        head.apply(&commit.readings, |id| devices.get(id).copied().unwrap_or_default(), &mut newness);
        let committed = Committed { replaced: newness.replaced };
        self.logged(record, commit);
        committed
    }

    /// Applies a commit of an earlier life, of which nothing is known.
    pub(super) fn replay(&mut self, record: (u64, usize), commit: &Commit) {
        commit.series.iter().for_each(|entry| self.announce(entry));
        let Self { head, devices, .. } = self;
        head.apply(&commit.readings, |id| devices.get(id).copied().unwrap_or_default(), &mut Open);
        self.logged(record, commit);
    }

    fn logged(&mut self, (number, bytes): (u64, usize), commit: &Commit) {
        self.applied = number;
        self.log_bytes += bytes as u64;
        self.wait_for_ledger(commit);
    }

    /// Keeps what the ledger has to get.
    fn wait_for_ledger(&mut self, commit: &Commit) {
        let Commit { series, schemas, readings: _, gaps, streams, forgotten_schemas, receipts, forgotten_receipts, .. } = commit;
        let rest = commit.forgotten_streams.len() + commit.forgotten_gaps.len() + forgotten_receipts.len() + forgotten_schemas.len();
        let items = series.len() * 4 + schemas.len() * 20 + gaps.len() + streams.len() + receipts.len() + rest;
        if items == 0 {
            return;
        }
        let bytes = PENDING_BYTES + items * ITEM_BYTES;
        self.pending_bytes += bytes;
        self.pending.push(Pending { commit: Arc::new(without_readings(commit)), bytes });
    }

    /// What the ledger has to get, in its order.
    pub(super) fn pending(&self) -> Vec<Arc<Commit>> {
        self.pending.iter().map(|pending| pending.commit.clone()).collect()
    }

    /// Whether there are gap records among it.
    pub(super) fn has_pending_gaps(&self) -> bool {
        self.pending.iter().any(|pending| !pending.commit.gaps.is_empty() || !pending.commit.forgotten_gaps.is_empty())
    }

    /// Lets go of the first of what waited.
    pub(super) fn settled(&mut self, count: usize) {
        let bytes: usize = self.pending.drain(..count).map(|pending| pending.bytes).sum();
        self.pending_bytes -= bytes;
    }

    /// Whether enough waits for the ledger to write it.
    pub(super) fn is_ledger_due(&self, budget: Budget) -> bool {
        self.pending_bytes > budget.pending_bytes / 2
    }

    /// Whether nothing more may wait for the ledger.
    pub(super) fn is_ledger_behind(&self, budget: Budget) -> bool {
        self.pending_bytes > budget.pending_bytes
    }

    /// Whether the head has enough. One that stands for no log never has.
    pub(super) fn is_full(&self, budget: Budget) -> bool {
        self.log_bytes > 0 && (self.head.bytes() >= budget.head_bytes || self.log_bytes >= budget.log_bytes)
    }

    /// What the head stands for.
    pub(super) fn standing(&self) -> Standing {
        Standing { after: self.before, through: self.applied, log_bytes: self.log_bytes }
    }

    /// Begins a new head, unless there are two already. An empty one counts: it may stand for log.
    pub(super) fn freeze(&mut self) {
        if self.frozen.is_none() && self.log_bytes > 0 {
            let next = self.head.next();
            let head = Arc::new(std::mem::replace(&mut self.head, next));
            self.frozen = Some(Frozen { head, through: self.applied, shelved: false });
            self.before = self.applied;
            self.log_bytes = 0;
        }
    }

    /// What is in memory of a series at a time.
    pub(super) fn at(&self, id: SeriesId, at_ms: i64) -> Option<Sample> {
        self.head.at(id, at_ms).or_else(|| self.frozen.as_ref()?.head.at(id, at_ms))
    }

    /// Readings in memory, as [`Head::raw`] gives them.
    pub(super) fn raw(&self, id: SeriesId, from_ms: i64, to_ms: i64, limit: usize) -> Vec<Reading> {
        let newer = self.head.raw(id, from_ms, to_ms, limit);
        match &self.frozen {
            Some(frozen) => over(newer, frozen.head.raw(id, from_ms, to_ms, limit), limit),
            None => newer,
        }
    }

    /// The newest reading of a series, where it is known.
    pub(super) fn last(&self, id: SeriesId) -> Option<&Reading> {
        self.last.get(id)
    }

    /// Whether it is known that a series has no reading, of which there is none in `last`.
    pub(super) fn has_nothing(&self, id: SeriesId) -> bool {
        self.nothing.contains(id)
    }

    /// The newest reading of a series in memory.
    pub(super) fn last_in_memory(&self, id: SeriesId) -> Option<Reading> {
        let older = self.frozen.as_ref().and_then(|frozen| frozen.head.last(id));
        newest(self.head.last(id), older)
    }

    /// Forgets what may be about to be deleted; whether any of it is in memory.
    pub(super) fn expire(&mut self, before_ms: i64) -> bool {
        self.expired_ms = self.expired_ms.max(Some(before_ms));
        self.last.retain(|last| last.at_ms >= before_ms);
        self.nothing = BySeries::default();
        let heads = [Some(&self.head), self.frozen.as_ref().map(|frozen| &*frozen.head)];
        heads.into_iter().flatten().filter_map(Head::first_ms).any(|first_ms| first_ms < before_ms)
    }
}

/// Tells what is new from what comes again, and keeps the newest reading of each series.
struct Newness<'a> {
    last: &'a mut BySeries<Reading>,
    frozen: Option<&'a Head>,
    found: &'a Found,
    replaced: u64,
}

impl Gate for Newness<'_> {
    fn is_new_from(&self, id: SeriesId, from_ms: i64) -> bool {
        self.last.get(id).is_none_or(|last| last.at_ms < from_ms) && !self.found.failed.contains(&id)
    }

    fn took(&mut self, id: SeriesId, at_ms: i64, sample: &Sample) {
        match self.last.get_mut(id) {
            Some(last) => {
                last.at_ms = at_ms;
                last.sample.clone_from(sample);
            }
            None => self.last.insert(id, Reading { at_ms, sample: sample.clone() }),
        }
    }

    fn wants(&mut self, head: &Head, id: SeriesId, at_ms: i64, sample: &Sample) -> bool {
        if self.is_new_from(id, at_ms) {
            self.took(id, at_ms, sample);
            return true;
        }
        let in_memory = head.at(id, at_ms).or_else(|| self.frozen?.at(id, at_ms));
        if let Some(earlier) = in_memory.as_ref().or_else(|| self.found.on_shelf.get(&(id, at_ms))) {
            // By its bits: NaN differs from itself.
            if row::write_sample(earlier) == row::write_sample(sample) {
                return false;
            }
            self.replaced += 1;
        }
        if let Some(last) = self.last.get_mut(id).filter(|last| last.at_ms == at_ms) {
            last.sample.clone_from(sample);
        }
        true
    }
}

/// Of the same time the first one.
pub(super) fn newest(newer: Option<Reading>, older: Option<Reading>) -> Option<Reading> {
    match (newer, older) {
        (Some(newer), Some(older)) if older.at_ms > newer.at_ms => Some(older),
        (newer, older) => newer.or(older),
    }
}

/// Readings of a series of both, ascending; of the same time those of `newer`.
pub(super) fn over(newer: Vec<Reading>, older: Vec<Reading>, limit: usize) -> Vec<Reading> {
    if newer.is_empty() {
        return older;
    }
    let mut all = newer;
    all.extend(older);
    // Stable: of one time the newer stays first.
    all.sort_by_key(|reading| reading.at_ms);
    all.dedup_by_key(|reading| reading.at_ms);
    all.truncate(limit);
    all
}

fn without_readings(commit: &Commit) -> Commit {
    Commit {
        series: commit.series.clone(),
        schemas: commit.schemas.clone(),
        readings: Readings::default(),
        gaps: commit.gaps.clone(),
        streams: commit.streams.clone(),
        forgotten_schemas: commit.forgotten_schemas.clone(),
        receipts: commit.receipts.clone(),
        forgotten_receipts: commit.forgotten_receipts.clone(),
        forgotten_streams: commit.forgotten_streams.clone(),
        forgotten_gaps: commit.forgotten_gaps.clone(),
    }
}
