//! What must be true: every reading that the buffer took, what became of it, and what the server said of it.
//!
//! Knows nothing of faults but which batches a disk damaged; judges by content, never by what a part says of itself.

use std::collections::{BTreeMap, BTreeSet};

use pattoo_gateway::batch::{Closed, Dictionary};
use pattoo_gateway::timebase::MAX_ROUND_TRIP_MS;
use pattoo_wire::{Batch, Body, Gap, GapReason, Reason, Sample, Schema, SchemaId, Value};

use super::store::{Name, ServerStore};

/// A reading of one gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    /// Number of its series.
    series: usize,
    /// Where its time counts from the beginning of a boot: the life of the process that read it. None for UTC.
    held: Option<u64>,
    at_ms: i64,
}

/// A reading as it is sent or stored: series, UTC.
type Cell = ((usize, i64), Sample);

/// What became of the times that one life held back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Offset {
    ms: i64,
    /// An estimate: good readings are uncertain.
    doubted: bool,
}

const UTC: Offset = Offset { ms: 0, doubted: false };

/// What is true of one gateway.
#[derive(Debug)]
pub(super) struct Book {
    gateway: String,
    series: Vec<Name>,
    numbers: BTreeMap<(String, String), usize>,
    schemas: BTreeMap<SchemaId, Schema>,
    /// All readings that ever were in a batch, stored or not.
    made: BTreeMap<Key, Sample>,
    /// When the boots of lives that held readings back truly began, UTC.
    began_ms: BTreeMap<u64, i64>,
    /// Of the lives whose held readings went out.
    offsets: BTreeMap<u64, Offset>,
    /// Of these, those whose readings had no value yet: whether they are doubted is still to be seen.
    untold: BTreeSet<u64>,
    /// What the buffer said it has, by stream and number.
    batches: BTreeMap<(u64, u64), Vec<Key>>,
    /// Readings that were thinned out of a batch before it was found, so that nobody can name them.
    nameless: BTreeMap<(u64, u64), u64>,
    /// Nobody can tell what was in them: damaged or dropped before the buffer named them.
    unread: BTreeSet<(u64, u64)>,
    damaged: BTreeSet<(u64, u64)>,
    /// Checksums of what went out.
    sent: BTreeMap<(u64, u64), u32>,
}

/// Why readings may be missing in the end.
#[derive(Debug, Clone, Copy)]
pub(super) struct May {
    pub(super) be_full: bool,
    pub(super) be_thinned: bool,
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
    /// Of these, those that records of thinning tell of.
    pub thinned: u64,
}

impl Book {
    pub(super) fn new(gateway: String) -> Self {
        Self {
            gateway,
            series: Vec::new(),
            numbers: BTreeMap::new(),
            schemas: BTreeMap::new(),
            made: BTreeMap::new(),
            began_ms: BTreeMap::new(),
            offsets: BTreeMap::new(),
            untold: BTreeSet::new(),
            batches: BTreeMap::new(),
            nameless: BTreeMap::new(),
            unread: BTreeSet::new(),
            damaged: BTreeSet::new(),
            sent: BTreeMap::new(),
        }
    }

    /// A batch goes to the buffer in that life, in a boot that truly began then; gives its readings.
    pub(super) fn made(&mut self, closed: &Closed, life: u64, began_ms: i64) -> Vec<Key> {
        let Dictionary { id, schema, .. } = &*closed.dictionary;
        self.schemas.entry(*id).or_insert_with(|| schema.clone());
        let held = closed.held.map(|_| life);
        self.began_ms.extend(held.map(|life| (life, began_ms)));
        let cells = self.cells(&closed.batch, schema);
        let made: Vec<_> = cells.into_iter().map(|((series, at_ms), sample)| (Key { series, held, at_ms }, sample)).collect();
        let keys = made.iter().map(|(key, _)| *key).collect();
        self.made.extend(made);
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
    pub(super) fn found(&mut self, stream: u64, seq: u64, body: Option<&[u8]>) -> Result<(), String> {
        let (cells, gaps) = body.map_or(Ok((Vec::new(), Vec::new())), |body| self.decoded(body))?;
        self.unread.extend(cells.is_empty().then_some((stream, seq)));
        let own = gaps.iter().filter(|gap| gap.reason == GapReason::Thinned && gap.first_seq == seq && gap.last_seq == seq);
        self.nameless.insert((stream, seq), own.map(|gap| gap.readings).sum());
        let Some((held, offset)) = self.origin(&cells, &[]) else {
            return Err(format!("{}: the buffer holds readings that were never made, in batch {seq}: {cells:?}", self.gateway));
        };
        let key = |&((series, at_ms), _): &Cell| Key { series, held, at_ms: at_ms - offset.ms };
        self.buffered(stream, seq, cells.iter().map(key).collect())
    }

    /// Numbers of a stream below `next` that the buffer has not named.
    pub(super) fn unnamed(&self, stream: u64, next: u64) -> Vec<u64> {
        (1..next).filter(|seq| !self.batches.contains_key(&(stream, *seq))).collect()
    }

    pub(super) fn damaged(&mut self, stream: u64, seq: u64) {
        self.damaged.insert((stream, seq));
    }

    /// A batch goes out: it is the same each time, and has what was made, with times that fit those of its life.
    pub(super) fn sent(&mut self, stream: u64, seq: u64, body: &[u8]) -> Result<(), String> {
        let crc = crc32fast::hash(body);
        match self.sent.insert((stream, seq), crc) {
            Some(before) if before != crc && !self.damaged.contains(&(stream, seq)) => {
                return Err(format!("{}: batch {seq} goes out a second time with another content", self.gateway));
            }
            _ => {}
        }
        let (cells, _) = self.decoded(body)?;
        let named = self.batches.get(&(stream, seq)).map_or(&[][..], Vec::as_slice);
        let Some((held, offset)) = self.origin(&cells, named) else {
            return Err(format!("{}: batch {seq} goes out with readings that were never made: {cells:?}", self.gateway));
        };
        let Some(life) = held else { return Ok(()) };
        let tells = cells.iter().any(|(_, sample)| is_unlike_others(sample));
        if !tells && !self.offsets.contains_key(&life) {
            self.untold.insert(life);
        } else if tells && self.untold.remove(&life) && self.offsets.get(&life).is_some_and(|before| before.ms == offset.ms) {
            self.offsets.insert(life, offset);
        }
        if *self.offsets.entry(life).or_insert(offset) != offset {
            return Err(format!("{}: life {life} has several times: {:?}, {offset:?}", self.gateway, self.offsets.get(&life)));
        }
        // A boot that was over is taken to have ended when the next one began, which is too late if anything.
        let late_ms = offset.ms - self.began_ms.get(&life).copied().unwrap_or_default();
        if late_ms < -MAX_ROUND_TRIP_MS || (late_ms > MAX_ROUND_TRIP_MS && !offset.doubted && !self.untold.contains(&life)) {
            return Err(format!("{}: the readings of life {life} have times that are {late_ms} ms late: {offset:?}", self.gateway));
        }
        Ok(())
    }

    /// The gateway releases batches that it holds: the server must have them now, unless it had them and was restored.
    pub(super) fn released(&mut self, stream: u64, (first, last): (u64, u64), store: &ServerStore) -> Result<(), String> {
        let gaps = Gaps::new(&self.gateway, store);
        for ((_, seq), readings) in self.batches.range((stream, first)..=(stream, last)) {
            for key in readings {
                let lost = self.utc_ms(key).is_some_and(|at_ms| store.has_forgotten(&self.series[key.series], at_ms));
                let lost = lost || store.has_forgotten_record(&self.gateway, stream, *seq);
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
        for ((stream, seq), readings) in &self.nameless {
            tally.buffered += readings;
            tally.in_gaps += readings;
            if *readings > 0 && !gaps.tell_of(*stream, *seq) {
                return Err(format!("{}: lost without a record: {readings} readings that were thinned out of batch {seq}", self.gateway));
            }
        }
        gaps.records.iter().try_for_each(|(stream, gap)| self.is_true(*stream, gap, &gaps, store, may))?;
        let unknown = |gap: &Gap| matches!(gap.reason, GapReason::Damaged | GapReason::NotHeld);
        let told: u64 = gaps.records.iter().map(|(_, gap)| gap.readings).sum();
        let thinned = gaps.records.iter().filter(|(_, gap)| gap.reason == GapReason::Thinned);
        tally.thinned = thinned.map(|(_, gap)| gap.readings).sum();
        // Records may also tell of batches that were dropped before anybody could look into them.
        let fits = told == tally.in_gaps || (told > tally.in_gaps && !self.unread.is_empty());
        if !fits && !gaps.records.iter().any(|(_, gap)| unknown(gap)) {
            return Err(format!("{}: gap records tell of {told} readings, {} are missing", self.gateway, tally.in_gaps));
        }
        Ok(tally)
    }

    /// Whether a stored reading is one that was made.
    pub(super) fn knows(&self, name: &Name, at_ms: i64, sample: &Sample) -> bool {
        let number = self.numbers.get(&(name.1.clone(), name.2.clone()));
        number.is_some_and(|series| self.samples_at(*series, at_ms).any(|made| made == *sample))
    }

    /// Whether two readings of a series have the same time, which nobody could foresee: the store keeps one.
    pub(super) fn collides(&self, name: &Name, at_ms: i64) -> bool {
        let number = self.numbers.get(&(name.1.clone(), name.2.clone()));
        *self.gateway == name.0 && number.is_some_and(|series| self.samples_at(*series, at_ms).count() > 1)
    }

    /// What was made of that series at that time, as far as it is known now.
    fn samples_at(&self, series: usize, at_ms: i64) -> impl Iterator<Item = Sample> {
        let lives = self.offsets.iter().map(|(life, offset)| (Some(*life), *offset));
        let all = std::iter::once((None, UTC)).chain(lives);
        all.filter_map(move |(held, offset)| self.sample(Key { series, held, at_ms: at_ms - offset.ms }, offset))
    }

    fn sample(&self, key: Key, offset: Offset) -> Option<Sample> {
        let made = self.made.get(&key)?;
        match made {
            Sample::Good(value) if offset.doubted => Some(Sample::Uncertain(value.clone(), Reason::ClockUnset)),
            _ => Some(made.clone()),
        }
    }

    /// UTC of a reading; none while none of its life has gone out.
    fn utc_ms(&self, key: &Key) -> Option<i64> {
        let offset = key.held.map_or(Some(&UTC), |life| self.offsets.get(&life))?;
        Some(key.at_ms + offset.ms)
    }

    /// In which life readings were held back, and what was added to their times. No two readings of a series are alike, but for
    /// those without a number: where a batch has no others, those that it is `named` with tell.
    fn origin(&self, cells: &[Cell], named: &[Key]) -> Option<(Option<u64>, Offset)> {
        let fits = |(held, offset): &(Option<u64>, Offset)| {
            cells.iter().all(|((series, at_ms), sample)| {
                self.sample(Key { series: *series, held: *held, at_ms: at_ms - offset.ms }, *offset).as_ref() == Some(sample)
            })
        };
        let known = self.offsets.iter().map(|(life, offset)| (Some(*life), *offset));
        std::iter::once((None, UTC)).chain(known).find(fits).or_else(|| {
            let telling = cells.iter().find(|(_, sample)| is_unlike_others(sample));
            let ((series, at_ms), _) = telling.or(cells.first())?;
            let key = |life, at_ms| Key { series: *series, held: Some(life), at_ms };
            let all = self.began_ms.keys().flat_map(|life| self.made.range(key(*life, i64::MIN)..=key(*life, i64::MAX)));
            let named = named.iter().filter(|key| telling.is_none() && key.series == *series && key.held.is_some());
            let keys = named.chain(all.map(|(key, _)| key));
            let ways = keys.flat_map(|key| [false, true].map(|doubted| (key.held, Offset { ms: at_ms - key.at_ms, doubted })));
            ways.into_iter().find(fits)
        })
    }

    /// A gap record says why, and how many are missing: both must be so.
    fn is_true(&self, stream: u64, gap: &Gap, gaps: &Gaps, store: &ServerStore, may: May) -> Result<(), String> {
        let numbers = (stream, gap.first_seq)..=(stream, gap.last_seq);
        // What came before its gateway dropped it is not missing.
        let buffered = self.batches.range(numbers.clone()).flat_map(|(_, readings)| readings);
        let named = buffered.filter(|key| self.stored(key, store).is_none()).count() as u64;
        let readings = named + self.nameless.range(numbers.clone()).map(|(_, readings)| readings).sum::<u64>();
        let wrong = |why: &str| Err(format!("{}: {why}: {gap:?}, {readings} readings are missing there", self.gateway));
        let batches = self.batches.range(numbers.clone()).count() as u64;
        let unread = self.unread.range(numbers.clone()).next().is_some();
        match gap.reason {
            // One backward also names the batch after it, which may never come.
            GapReason::ClockStep if gap.readings == 0 && batches > 0 => Ok(()),
            _ if batches != gap.last_seq - gap.first_seq + 1 => wrong("a gap record of batches that never were"),
            GapReason::BufferFull if !may.be_full => wrong("there was room"),
            GapReason::TooOld if !may.be_old => wrong("nothing was too old"),
            GapReason::Thinned if !may.be_full || !may.be_thinned => wrong("nothing was to be thinned out"),
            GapReason::Thinned | GapReason::BufferFull | GapReason::TooOld | GapReason::Damaged if gap.readings > readings && !unread => {
                wrong("a gap record with too many readings")
            }
            GapReason::BufferFull | GapReason::TooOld if gap.readings < readings && !gaps.thin(stream, gap) => {
                wrong("a gap record with too few readings")
            }
            GapReason::BufferFull | GapReason::TooOld | GapReason::Thinned => Ok(()),
            GapReason::Damaged if self.damaged.range(numbers).count() as u64 != batches => wrong("nothing was damaged"),
            GapReason::Damaged => Ok(()),
            // A damaged batch may have carried the record of others.
            GapReason::NotHeld if !may.be_restored && self.damaged.is_empty() => wrong("the server was never restored"),
            GapReason::NotHeld if gap.readings == 0 => Ok(()),
            _ => wrong("a reason that nothing here has"),
        }
    }

    fn stored(&self, key: &Key, store: &ServerStore) -> Option<Sample> {
        store.find(&self.series[key.series], self.utc_ms(key)?)
    }

    fn is_stored(&self, key: &Key, store: &ServerStore) -> Result<bool, String> {
        let Some(found) = self.stored(key, store) else { return Ok(false) };
        let at_ms = self.utc_ms(key).unwrap_or_default();
        if self.samples_at(key.series, at_ms).any(|made| made == found) {
            return Ok(true);
        }
        Err(format!("{}: {} is stored as {found:?}", self.gateway, self.shown(key)))
    }

    fn shown(&self, key: &Key) -> String {
        let (_, device, point) = &self.series[key.series];
        let of = key.held.map(|life| format!(" of life {life}")).unwrap_or_default();
        format!("{device} {point} at {}{of} = {:?}", key.at_ms, self.made.get(key))
    }

    fn decoded(&mut self, body: &[u8]) -> Result<(Vec<Cell>, Vec<Gap>), String> {
        let wrong = |what: &dyn std::fmt::Display| format!("a batch that cannot be read: {what}");
        let body = Body::open(body).map_err(|e| wrong(&e))?;
        // A batch that only has gap records may be of a schema that no reading was made with.
        let Some(schema) = self.schemas.get(&body.schema()).cloned() else { return Ok((Vec::new(), Vec::new())) };
        let batch = body.decode(body.schema(), &schema).map_err(|e| wrong(&e))?;
        Ok((self.cells(&batch, &schema), batch.gaps))
    }

    fn cells(&mut self, batch: &Batch, schema: &Schema) -> Vec<Cell> {
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

/// Whether its value tells one reading of a series from any other.
fn is_unlike_others(sample: &Sample) -> bool {
    matches!(sample, Sample::Good(value) | Sample::Uncertain(value, _) if !matches!(value, Value::Bool(_)))
}

struct Gaps {
    records: Vec<(u64, Gap)>,
}

impl Gaps {
    fn new(gateway: &str, store: &ServerStore) -> Self {
        Self { records: store.gap_records(gateway) }
    }

    /// Whether some of these batches were thinned out before.
    fn thin(&self, stream: u64, gap: &Gap) -> bool {
        let meets = |other: &Gap| other.reason == GapReason::Thinned && other.first_seq <= gap.last_seq && gap.first_seq <= other.last_seq;
        self.records.iter().any(|(of, other)| *of == stream && meets(other))
    }

    fn tell_of(&self, stream: u64, seq: u64) -> bool {
        let missing = |gap: &Gap| gap.reason != GapReason::ClockStep && (gap.first_seq..=gap.last_seq).contains(&seq);
        self.records.iter().any(|(of, gap)| *of == stream && missing(gap))
    }
}
