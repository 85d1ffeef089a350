//! What must be true: every reading that the buffer took, what became of it, and what the server said of it.
//!
//! Knows nothing of faults but which batches a disk damaged; judges by content, never by what a part says of itself.

use std::collections::{BTreeMap, BTreeSet};

use pattoo_gateway::batch::Closed;
use pattoo_wire::{Batch, Gap, GapReason, Sample, Schema};

use super::store::{Name, ServerStore};

/// A reading of one gateway: number of its series, time.
type Key = (usize, i64);

/// What is true of one gateway.
#[derive(Debug)]
pub(super) struct Book {
    gateway: String,
    series: Vec<Name>,
    numbers: BTreeMap<(String, String), usize>,
    /// All readings that ever were in a batch, stored or not.
    made: BTreeMap<Key, Sample>,
    /// What the buffer said it has, by stream and number.
    batches: BTreeMap<(u64, u64), Vec<Key>>,
    damaged: BTreeSet<(u64, u64)>,
    /// Checksums of what went out.
    sent: BTreeMap<(u64, u64), u32>,
}

/// Why readings may be missing in the end.
#[derive(Debug, Clone, Copy)]
pub(super) struct May {
    pub(super) be_full: bool,
    pub(super) be_old: bool,
    pub(super) be_restored: bool,
}

/// Where the readings of a gateway are in the end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Readings that the buffer took.
    pub buffered: u64,
    /// Of these, those in the store.
    pub stored: u64,
    /// Of these, those that only a gap record tells of.
    pub in_gaps: u64,
}

impl Book {
    pub(super) fn new(gateway: String) -> Self {
        Self {
            gateway,
            series: Vec::new(),
            numbers: BTreeMap::new(),
            made: BTreeMap::new(),
            batches: BTreeMap::new(),
            damaged: BTreeSet::new(),
            sent: BTreeMap::new(),
        }
    }

    /// A batch goes to the buffer; gives its readings.
    pub(super) fn made(&mut self, closed: &Closed) -> Vec<Key> {
        let cells = self.cells(&closed.batch, &closed.dictionary.schema);
        let keys = cells.iter().map(|(key, _)| *key).collect();
        self.made.extend(cells);
        keys
    }

    /// The buffer says that it has a batch.
    pub(super) fn buffered(&mut self, stream: u64, seq: u64, readings: Vec<Key>) -> Result<(), String> {
        match self.batches.insert((stream, seq), readings) {
            None => Ok(()),
            Some(_) => Err(format!("{}: batch {seq} was given its number a second time", self.gateway)),
        }
    }

    /// The buffer holds batches that it did not say it has; this is one. `None` for one that cannot be read.
    pub(super) fn found(&mut self, stream: u64, seq: u64, content: Option<(&Batch, &Schema)>) -> Result<(), String> {
        let cells = content.map(|(batch, schema)| self.cells(batch, schema)).unwrap_or_default();
        for (key, sample) in &cells {
            if self.made.get(key) != Some(sample) {
                return Err(format!("{}: the buffer holds a reading that was never made: {}", self.gateway, self.shown(key)));
            }
        }
        self.buffered(stream, seq, cells.into_iter().map(|(key, _)| key).collect())
    }

    /// First number of a stream that the buffer has not named.
    pub(super) fn next(&self, stream: u64) -> u64 {
        self.batches.range((stream, 0)..=(stream, u64::MAX)).next_back().map_or(1, |((_, seq), _)| seq + 1)
    }

    pub(super) fn damaged(&mut self, stream: u64, seq: u64) {
        self.damaged.insert((stream, seq));
    }

    /// A batch goes out: it is the same each time.
    pub(super) fn sent(&mut self, stream: u64, seq: u64, crc: u32) -> Result<(), String> {
        match self.sent.insert((stream, seq), crc) {
            Some(before) if before != crc && !self.damaged.contains(&(stream, seq)) => {
                Err(format!("{}: batch {seq} goes out a second time with another content", self.gateway))
            }
            _ => Ok(()),
        }
    }

    /// The gateway releases batches that it holds: the server must have them now, unless it had them and was restored.
    pub(super) fn released(&mut self, stream: u64, (first, last): (u64, u64), store: &ServerStore) -> Result<(), String> {
        let gaps = Gaps::new(&self.gateway, store);
        for ((_, seq), readings) in self.batches.range((stream, first)..=(stream, last)) {
            for key in readings {
                let lost = store.has_forgotten(&self.series[key.0], key.1);
                if !lost && !self.is_stored(key, store)? && !gaps.tell_of(stream, *seq) {
                    return Err(format!("{}: batch {seq} is released and the server does not have {}", self.gateway, self.shown(key)));
                }
            }
        }
        Ok(())
    }

    /// All is over and drained: everything is where it should be.
    pub(super) fn settle(&self, store: &ServerStore, may: May) -> Result<Tally, String> {
        let gaps = Gaps::new(&self.gateway, store);
        let mut tally = Tally::default();
        for ((stream, seq), readings) in &self.batches {
            for key in readings {
                tally.buffered += 1;
                if self.is_stored(key, store)? {
                    tally.stored += 1;
                } else if gaps.tell_of(*stream, *seq) {
                    tally.in_gaps += 1;
                } else {
                    return Err(format!("{}: lost without a record: {} of batch {seq}", self.gateway, self.shown(key)));
                }
            }
        }
        gaps.records.iter().try_for_each(|(stream, gap)| self.is_true(*stream, gap, store, may))?;
        let unknown = |gap: &Gap| matches!(gap.reason, GapReason::Damaged | GapReason::NotHeld);
        let told: u64 = gaps.records.iter().map(|(_, gap)| gap.readings).sum();
        if told != tally.in_gaps && !gaps.records.iter().any(|(_, gap)| unknown(gap)) {
            return Err(format!("{}: gap records tell of {told} readings, {} are missing", self.gateway, tally.in_gaps));
        }
        Ok(tally)
    }

    /// Whether a stored reading is one that was made.
    pub(super) fn knows(&self, name: &Name, at_ms: i64, sample: &Sample) -> bool {
        let number = self.numbers.get(&(name.1.clone(), name.2.clone()));
        number.is_some_and(|number| self.made.get(&(*number, at_ms)) == Some(sample))
    }

    /// A gap record says why, and how many are missing: both must be so.
    fn is_true(&self, stream: u64, gap: &Gap, store: &ServerStore, may: May) -> Result<(), String> {
        let numbers = (stream, gap.first_seq)..=(stream, gap.last_seq);
        // What came before its gateway dropped it is not missing.
        let buffered = self.batches.range(numbers.clone()).flat_map(|(_, readings)| readings);
        let readings = buffered.filter(|key| store.find(&self.series[key.0], key.1).is_none()).count() as u64;
        let wrong = |why: &str| Err(format!("{}: {why}: {gap:?}, {readings} readings are missing there", self.gateway));
        let batches = self.batches.range(numbers.clone()).count() as u64;
        match gap.reason {
            // One backward also names the batch after it, which may never come.
            GapReason::ClockStep if gap.readings == 0 && batches > 0 => Ok(()),
            _ if batches != gap.last_seq - gap.first_seq + 1 => wrong("a gap record of batches that never were"),
            GapReason::BufferFull if !may.be_full => wrong("there was room"),
            GapReason::TooOld if !may.be_old => wrong("nothing was too old"),
            GapReason::BufferFull | GapReason::TooOld if gap.readings != readings => wrong("a gap record with a wrong number"),
            GapReason::BufferFull | GapReason::TooOld => Ok(()),
            GapReason::Damaged if gap.readings > readings => wrong("a gap record with too many readings"),
            GapReason::Damaged if self.damaged.range(numbers).count() as u64 != batches => wrong("nothing was damaged"),
            GapReason::Damaged => Ok(()),
            // A damaged batch may have carried the record of others.
            GapReason::NotHeld if !may.be_restored && self.damaged.is_empty() => wrong("the server was never restored"),
            GapReason::NotHeld if gap.readings == 0 => Ok(()),
            _ => wrong("a reason that nothing here has"),
        }
    }

    fn is_stored(&self, key: &Key, store: &ServerStore) -> Result<bool, String> {
        match store.find(&self.series[key.0], key.1) {
            None => Ok(false),
            found if found.as_ref() == self.made.get(key) => Ok(true),
            other => Err(format!("{}: {} is stored as {other:?}", self.gateway, self.shown(key))),
        }
    }

    fn shown(&self, key: &Key) -> String {
        let (_, device, point) = &self.series[key.0];
        format!("{device} {point} at {} = {:?}", key.1, self.made.get(key))
    }

    fn cells(&mut self, batch: &Batch, schema: &Schema) -> Vec<(Key, Sample)> {
        let mut cells = Vec::new();
        for block in &batch.blocks {
            for (index, samples) in block.series.iter().zip(block.samples.chunks(block.times_ms.len().max(1))) {
                let series = &schema.series[*index as usize];
                let number = self.number(&schema.devices[series.device as usize].name, &series.point);
                cells.extend(block.times_ms.iter().zip(samples).map(|(at_ms, sample)| ((number, *at_ms), sample.clone())));
            }
        }
        cells
    }

    fn number(&mut self, device: &str, point: &str) -> usize {
        let next = self.series.len();
        let number = *self.numbers.entry((device.to_owned(), point.to_owned())).or_insert(next);
        if number == next {
            self.series.push((self.gateway.clone(), device.to_owned(), point.to_owned()));
        }
        number
    }
}

struct Gaps {
    records: Vec<(u64, Gap)>,
}

impl Gaps {
    fn new(gateway: &str, store: &ServerStore) -> Self {
        Self { records: store.gap_records(gateway) }
    }

    fn tell_of(&self, stream: u64, seq: u64) -> bool {
        let missing = |gap: &Gap| gap.reason != GapReason::ClockStep && (gap.first_seq..=gap.last_seq).contains(&seq);
        self.records.iter().any(|(of, gap)| *of == stream && missing(gap))
    }
}
