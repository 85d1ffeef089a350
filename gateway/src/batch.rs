//! Joins readings into batches, against a schema that grows as series appear.
//!
//! Numbers no batch and stores none: that is the buffer's. Never opens, sleeps or logs; what it refuses it hands back as a
//! count with the first reason.
//!
//! Series are only ever appended to the schema, so a growing schema leaves the indexes of the open batch valid: the batch is
//! encoded against the dictionary as it stands when it closes, and one batch names one schema.

mod dictionary;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use pattoo_wire::{
    Batch, Block, Gap, GapReason, MAX_BODY_BYTES, MAX_READINGS, MAX_TEXT_BYTES, Reason, Repr, Sample, Schema, SchemaId, Value, WireError,
};

pub use dictionary::Dictionary;
use dictionary::Growing;

use crate::config::Config;
use crate::reading::{BootId, Reading, Transaction};
use crate::timebase::Step;

/// Most gap records that the buffer adds to one batch.
pub const MAX_CARRIED_GAPS: usize = 8;

/// Bytes of a gap record at worst: five varints of 64 bits and a reason.
const GAP_BYTES: usize = 5 * 10 + 1;

/// Largest body that the builder closes: leaves room for the gap records, so that adding them never splits a batch.
const MAX_OPEN_BYTES: usize = MAX_BODY_BYTES - MAX_CARRIED_GAPS * GAP_BYTES;

/// Largest body of held readings: when they get their times, and perhaps a word of doubt each, it grows.
const MAX_HELD_BYTES: usize = MAX_OPEN_BYTES / 2;

/// Bytes of a cell's marks at worst: it may cut one run of marks into three.
const MARK_BYTES: usize = 2 * (3 + 3 + 1 + 3);

/// Bytes that a block takes beside its cells and series numbers: counts, first time and step at worst.
const BLOCK_BYTES: usize = 5 + 10 + 5 + 5;

/// A batch that is complete and encoded, without number and without gaps.
#[derive(Debug, Clone)]
pub struct Closed {
    /// What it was written against.
    pub dictionary: Arc<Dictionary>,
    /// Its content.
    pub batch: Batch,
    /// Its content, encoded.
    pub body: Vec<u8>,
    /// How many readings it has.
    pub readings: u64,
    /// Time of its earliest reading, ms since 1970.
    pub from_ms: i64,
    /// Time of its latest reading.
    pub to_ms: i64,
    /// Where it is set, all its times are ms since this boot, because the clock could not be trusted: the batch is held back until
    /// the boot's time is known.
    pub held: Option<BootId>,
    /// The times of its readings, and of all later ones, are not comparable with those of the batches before.
    pub step: Option<Step>,
}

/// What the boot times of transactions become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Times {
    /// Nothing yet: they stay ms since this boot.
    Held(BootId),
    /// UTC, by adding this.
    Utc {
        /// ms from the start of this boot to 1970, backward.
        offset_ms: i64,
    },
}

impl Closed {
    /// Encodes a batch.
    ///
    /// # Errors
    /// A batch that does not fit the dictionary or the limits.
    pub fn new(dictionary: Arc<Dictionary>, batch: Batch) -> Result<Self, WireError> {
        let body = batch.encode(dictionary.id, &dictionary.schema)?;
        let times = || batch.blocks.iter().flat_map(|block| &block.times_ms).copied();
        let (from_ms, to_ms) = (times().min().unwrap_or_default(), times().max().unwrap_or_default());
        let readings = batch.readings() as u64;
        Ok(Self { dictionary, batch, body, readings, from_ms, to_ms, held: None, step: None })
    }

    /// The id of its schema.
    #[must_use]
    pub fn schema(&self) -> SchemaId {
        self.dictionary.id
    }

    /// The record of its step, once it has a number.
    #[must_use]
    pub fn step_gap(&self, seq: u64) -> Option<Gap> {
        let Step { from_ms, to_ms } = self.step?;
        let last_seq = if to_ms < from_ms { seq.saturating_add(1) } else { seq };
        let (from_ms, to_ms) = (from_ms.min(to_ms), from_ms.max(to_ms));
        Some(Gap { from_ms, to_ms, first_seq: seq, last_seq, readings: 0, reason: GapReason::ClockStep })
    }

    /// The same readings with gap records in front.
    ///
    /// # Errors
    /// More than [`MAX_CARRIED_GAPS`] may not fit.
    pub fn with_gaps(&self, gaps: &[Gap]) -> Result<Vec<u8>, WireError> {
        if gaps.is_empty() {
            return Ok(self.body.clone());
        }
        let batch = Batch { blocks: self.batch.blocks.clone(), gaps: gaps.to_vec() };
        batch.encode(self.dictionary.id, &self.dictionary.schema)
    }
}

/// What a call gave.
#[derive(Debug, Default)]
pub struct Pushed {
    /// Batches to be stored, in this order.
    pub closed: Vec<Closed>,
    /// Readings that no batch can hold: their series is over a limit. Count and report them.
    pub refused: u64,
    /// Why the first of them was refused.
    pub reason: Option<String>,
}

impl Pushed {
    fn refuse(&mut self, readings: u64, reason: String) {
        self.refused += readings;
        self.reason.get_or_insert(reason);
    }
}

/// Joins transactions into batches.
pub struct Builder {
    growing: Growing,
    every_ms: i64,
    open: Open,
    times: Times,
    /// Goes with the next batch.
    step: Option<Step>,
}

impl Builder {
    /// An empty builder whose schema has the devices of the configuration and all points that need no row.
    ///
    /// # Errors
    /// Devices that no schema can hold: too many labels for [`pattoo_wire::MAX_SCHEMA_BYTES`].
    pub fn new(config: &Config) -> Result<Self, WireError> {
        let every_ms = i64::try_from(config.batch.every.as_millis()).unwrap_or(i64::MAX);
        Ok(Self { growing: Growing::new(config)?, every_ms, open: Open::default(), times: Times::Utc { offset_ms: 0 }, step: None })
    }

    /// Says what the times of later transactions become, and whether they jump. No batch has both held times and UTC, or times
    /// from both sides of a jump.
    pub fn set_times(&mut self, times: Times, step: Option<Step>) -> Pushed {
        let mut pushed = Pushed::default();
        if step.is_some() || matches!(times, Times::Held(_)) != matches!(self.times, Times::Held(_)) {
            self.close(&mut pushed);
        }
        self.times = times;
        // Of several jumps without a batch in between the sum is on record.
        let before_ms = self.step.map_or(0, |step| step.to_ms.saturating_sub(step.from_ms));
        if let Some(step) = step {
            self.step = Some(Step { from_ms: step.from_ms.saturating_sub(before_ms), ..step });
        }
        pushed
    }

    /// Adds the readings of one transaction. `now_ms` is the time of adding by a clock that only goes on: the oldest reading's wait
    /// counts from it.
    pub fn push(&mut self, now_ms: i64, transaction: Transaction) -> Pushed {
        let mut pushed = self.tick(now_ms);
        let tick = self.admit(transaction, &mut pushed);
        self.add(now_ms, tick, &mut pushed);
        pushed
    }

    /// Closes the open batch if its time has come.
    pub fn tick(&mut self, now_ms: i64) -> Pushed {
        let mut pushed = Pushed::default();
        if self.open.opened_ms.is_some_and(|opened_ms| now_ms.saturating_sub(opened_ms) >= self.every_ms) {
            self.close(&mut pushed);
        }
        pushed
    }

    /// When [`Builder::tick`] will close the open batch; none while nothing waits.
    #[must_use]
    pub fn deadline_ms(&self) -> Option<i64> {
        self.open.opened_ms.map(|opened_ms| opened_ms.saturating_add(self.every_ms))
    }

    /// Closes the open batch now, for a clean stop.
    pub fn flush(&mut self) -> Pushed {
        let mut pushed = Pushed::default();
        self.close(&mut pushed);
        pushed
    }

    /// The schema as it stands, with its id and the message to publish.
    ///
    /// # Errors
    /// None: whatever would not fit was refused when it came. An encoder failure is passed on.
    pub fn dictionary(&mut self) -> Result<Arc<Dictionary>, WireError> {
        self.growing.dictionary()
    }

    /// Finds each reading's series and makes its sample fit.
    fn admit(&mut self, transaction: Transaction, pushed: &mut Pushed) -> Tick {
        let mut cells = Vec::with_capacity(transaction.readings.len());
        for Reading { point, row, sample } in transaction.readings {
            match self.growing.series(transaction.device, point, row.as_deref()) {
                Ok((series, _)) if self.growing.other_unit(series, row.as_deref()) => cells.push((series, Sample::Bad(Reason::Mismatch))),
                Ok((series, repr)) => cells.push((series, fitted(sample, repr))),
                Err(reason) => pushed.refuse(1, reason),
            }
        }
        // Sorted, so that the same points make the same block whatever the order of their replies, and runs stay long.
        cells.sort_by_key(|(series, _)| *series);
        let asked = cells.len();
        cells.dedup_by_key(|(series, _)| *series);
        if asked > cells.len() {
            pushed.refuse((asked - cells.len()) as u64, "a device gave the same point twice in one transaction".into());
        }
        let at_ms = match self.times {
            Times::Held(_) => transaction.at_ms,
            Times::Utc { offset_ms } => transaction.at_ms.saturating_add(offset_ms),
        };
        Tick { at_ms, cells }
    }

    /// Adds a tick to the open batch, closes batches that are full, and cuts a tick that no batch can hold.
    fn add(&mut self, now_ms: i64, tick: Tick, pushed: &mut Pushed) {
        let most_bytes = if matches!(self.times, Times::Held(_)) { MAX_HELD_BYTES } else { MAX_OPEN_BYTES };
        let mut waiting = vec![tick];
        while let Some(tick) = waiting.pop() {
            if tick.cells.is_empty() {
                continue;
            }
            let Err(mut tick) = self.open.try_add(tick, &self.growing.schema, most_bytes) else {
                self.open.opened_ms.get_or_insert(now_ms);
                continue;
            };
            if self.open.opened_ms.is_some() {
                self.close(pushed);
                waiting.push(tick);
            } else if tick.cells.len() > 1 {
                let rest = Tick { at_ms: tick.at_ms, cells: tick.cells.split_off(tick.cells.len() / 2) };
                waiting.extend([rest, tick]);
            } else {
                pushed.refuse(1, format!("a single reading does not fit {most_bytes} bytes"));
            }
        }
    }

    fn close(&mut self, pushed: &mut Pushed) {
        let open = std::mem::take(&mut self.open);
        if open.opened_ms.is_none() {
            return;
        }
        let batch = Batch { blocks: open.blocks.into_iter().map(OpenBlock::into_block).collect(), gaps: Vec::new() };
        let readings = batch.readings() as u64;
        match self.growing.dictionary().and_then(|dictionary| Closed::new(dictionary, batch)) {
            Ok(mut closed) => {
                if let Times::Held(boot) = self.times {
                    closed.held = Some(boot);
                }
                closed.step = self.step.take();
                pushed.closed.push(closed);
            }
            // Cannot be: every cell was made to fit and the size was measured. If it is, it is on record, not a panic.
            Err(error) => pushed.refuse(readings, format!("BUG: a batch cannot be encoded: {error}")),
        }
    }
}

/// One transaction: series in ascending order, each once.
struct Tick {
    at_ms: i64,
    cells: Vec<(u32, Sample)>,
}

impl Tick {
    /// Bytes that it adds at worst.
    fn worst_bytes(&self) -> usize {
        let cell = |(_, sample): &(u32, Sample)| {
            let value = match sample.value() {
                Some(Value::Text(text)) => 2 + text.len(),
                Some(_) => 10,
                None => 0,
            };
            // Its number in the series list may be a run of its own.
            value + MARK_BYTES + 10
        };
        BLOCK_BYTES + self.cells.iter().map(cell).sum::<usize>()
    }
}

/// The batch that still grows.
#[derive(Default)]
struct Open {
    blocks: Vec<OpenBlock>,
    by_series: HashMap<Vec<u32>, usize>,
    opened_ms: Option<i64>,
    cells: usize,
    /// Its encoded size at most: the last measured one and the worst case of all that came since.
    bound_bytes: usize,
}

struct OpenBlock {
    series: Vec<u32>,
    times_ms: Vec<i64>,
    columns: Vec<Vec<Sample>>,
}

impl Open {
    /// Adds a tick, or gives it back when the batch would be too large.
    fn try_add(&mut self, tick: Tick, schema: &Schema, most_bytes: usize) -> Result<(), Tick> {
        if self.cells + tick.cells.len() > MAX_READINGS {
            return Err(tick);
        }
        let before_bytes = self.bound_bytes;
        let worst_bytes = tick.worst_bytes() + if self.opened_ms.is_none() { 16 } else { 0 };
        let at_ms = tick.at_ms;
        let block = self.append(tick);
        self.bound_bytes += worst_bytes;
        if self.bound_bytes <= most_bytes {
            return Ok(());
        }
        // The worst case is far from the usual one: measure before giving up.
        match self.measure(schema) {
            Some(bytes) if bytes <= most_bytes => {
                self.bound_bytes = bytes;
                Ok(())
            }
            _ => {
                self.bound_bytes = before_bytes;
                Err(Tick { at_ms, cells: self.take_back(block) })
            }
        }
    }

    fn append(&mut self, tick: Tick) -> usize {
        let (series, samples): (Vec<u32>, Vec<Sample>) = tick.cells.into_iter().unzip();
        self.cells += samples.len();
        let index = *self.by_series.entry(series).or_insert_with_key(|series| {
            self.blocks.push(OpenBlock { series: series.clone(), times_ms: Vec::new(), columns: vec![Vec::new(); series.len()] });
            self.blocks.len() - 1
        });
        if let Some(block) = self.blocks.get_mut(index) {
            block.times_ms.push(tick.at_ms);
            block.columns.iter_mut().zip(samples).for_each(|(column, sample)| column.push(sample));
        }
        index
    }

    /// Undoes the latest [`Open::append`], which went to this block.
    fn take_back(&mut self, index: usize) -> Vec<(u32, Sample)> {
        let Some(block) = self.blocks.get_mut(index) else { return Vec::new() };
        block.times_ms.pop();
        let samples: Vec<Sample> = block.columns.iter_mut().filter_map(Vec::pop).collect();
        let cells: Vec<_> = block.series.iter().copied().zip(samples).collect();
        self.cells -= cells.len();
        if block.times_ms.is_empty() {
            self.by_series.remove(&block.series);
            self.blocks.pop();
        }
        cells
    }

    fn measure(&self, schema: &Schema) -> Option<usize> {
        let batch = Batch { blocks: self.blocks.iter().map(OpenBlock::to_block).collect(), gaps: Vec::new() };
        batch.encode(SchemaId(u32::MAX), schema).ok().map(|body| body.len())
    }
}

impl OpenBlock {
    fn to_block(&self) -> Block {
        let samples = self.columns.iter().flatten().cloned().collect();
        Block { series: self.series.clone(), times_ms: self.times_ms.clone(), samples }
    }

    fn into_block(self) -> Block {
        Block { series: self.series, times_ms: self.times_ms, samples: self.columns.into_iter().flatten().collect() }
    }
}

/// A value that its series cannot represent becomes a bad reading that says so.
fn fitted(sample: Sample, repr: Repr) -> Sample {
    match sample.value() {
        Some(value) if value.repr() != repr => Sample::Bad(Reason::Overflow),
        Some(Value::Text(text)) if text.len() > MAX_TEXT_BYTES => Sample::Bad(Reason::Overflow),
        _ => sample,
    }
}

/// The readings of a batch as compact JSON: an array of `[device, point, at_ms, value or null, quality]`. Numbers have the
/// digits that [`Value`] prints; what JSON has no number for, and text, is a string.
#[must_use]
pub fn describe(batch: &Batch, schema: &Schema) -> String {
    let mut out = String::from("[");
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    for block in &batch.blocks {
        for (index, samples) in block.series.iter().zip(block.samples.chunks(block.times_ms.len().max(1))) {
            let series = schema.series.get(*index as usize);
            let device = series.and_then(|series| schema.devices.get(series.device as usize));
            let name = quoted(device.map_or("", |device| &device.name));
            let point = quoted(series.map_or("", |series| &series.point));
            for (at_ms, sample) in block.times_ms.iter().zip(samples) {
                let value = match sample.value() {
                    None => "null".to_owned(),
                    Some(Value::Text(text)) => quoted(text),
                    Some(Value::F32(x)) if !x.is_finite() => quoted(&x.to_string()),
                    Some(Value::F64(x)) if !x.is_finite() => quoted(&x.to_string()),
                    Some(value) => value.to_string(),
                };
                let comma = if out.len() > 1 { "," } else { "" };
                // Writing to a String cannot fail.
                let _ = write!(out, "{comma}[{name},{point},{at_ms},{value},\"{}\"]", sample.quality());
            }
        }
    }
    out.push(']');
    out
}

#[cfg(test)]
mod tests;
