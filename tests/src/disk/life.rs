//! The life of a buffer: opened, filled, emptied, closed and opened again, by steps that a seed chooses; with a line for every promise.
//!
//! Judges nothing. Batches are made from their number alone, so that whoever reads the lines knows their content.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use pattoo_gateway::batch::{Closed, Dictionary};
use pattoo_gateway::buffer::disk::Disk;
use pattoo_gateway::buffer::{self, Buffer, BufferError, GIVEN_AHEAD, Limits, Notice, Stored};
use pattoo_wire::{Batch, Block, Body, Decimal, Device, Kind, Labels, Repr, Sample, Schema, Series, Value};
use serde::{Deserialize, Serialize};

/// Time between two batches, in ms: more than readings in one, so that the time of a reading tells its batch.
const BATCH_MS: i64 = 1000;
/// Most readings of a batch: about 7 kB.
const MAX_READINGS: usize = 700;
/// Schemas that take turns; the last is larger than one value of the store.
const SCHEMAS: u64 = 3;
/// How often a buffer that cannot be opened is tried again: a fault lasts for a bounded number of calls.
const OPEN_TRIES: u32 = 200;

/// A line that the life prints when it has come so far.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mark {
    /// The buffer is open.
    Opened {
        /// Its stream.
        stream: u64,
    },
    /// It could not be opened; it is tried again.
    NotOpened(String),
    /// A batch is about to be stored.
    Keeping {
        /// Its number among those that were ever tried.
        attempt: u64,
        /// Its readings.
        readings: u64,
    },
    /// It was promised that the batch is on stable storage.
    Kept {
        /// As before.
        attempt: u64,
        /// The number that the buffer gave it.
        seq: u64,
    },
    /// The batch was refused: its readings are lost, and whoever asked knows it.
    Refused {
        /// As before.
        attempt: u64,
        /// What the buffer said.
        why: String,
    },
    /// The server has the batch.
    Delivered(Content),
    /// The buffer is told to forget all batches up to here.
    Releasing(u64),
    /// Something else failed.
    Failed(String),
    /// What the buffer noticed.
    Noticed(String),
    /// What it held was set aside; it goes on as this stream.
    Anew(u64),
    /// Its end as planned.
    Done,
}

/// What a batch turned out to hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// Its number.
    pub seq: u64,
    /// Which batch its readings are from; none if it has only gap records.
    pub attempt: Option<u64>,
    /// How many readings it has.
    pub readings: u64,
    /// CRC-32 of its body without its own.
    pub crc: u32,
    /// Its gap records.
    pub gaps: Vec<Gap>,
}

/// A gap record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// First batch.
    pub first: u64,
    /// Last batch.
    pub last: u64,
    /// Readings.
    pub readings: u64,
    /// Code of the reason.
    pub reason: u8,
}

impl From<&pattoo_wire::Gap> for Gap {
    fn from(gap: &pattoo_wire::Gap) -> Self {
        Self { first: gap.first_seq, last: gap.last_seq, readings: gap.readings, reason: gap.reason.code() }
    }
}

/// What a life is made of.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Life {
    /// Folder of the buffer.
    pub folder: PathBuf,
    /// Chooses the steps.
    pub seed: u64,
    /// How many.
    pub steps: u32,
    /// Number of the first batch.
    pub first_attempt: u64,
    /// Bounds of the buffer, in bytes and ms.
    pub max_bytes: u64,
    /// See [`Life::max_bytes`].
    pub max_age_ms: i64,
    /// Reserve for a full disk.
    pub ballast_bytes: u64,
    /// Whether the server is away: nothing is delivered.
    pub alone: bool,
}

impl Life {
    /// Bounds of its buffer.
    #[must_use]
    pub fn limits(&self) -> Limits {
        let Self { max_bytes, max_age_ms, ballast_bytes, .. } = *self;
        Limits { max_bytes, max_age_ms, ballast_bytes, thin_to_ms: 0, given_ahead: GIVEN_AHEAD }
    }

    /// Lives it.
    ///
    /// # Errors
    /// The buffer cannot be opened at all, or gives out what was never put in.
    pub fn run(&self, out: &mut dyn Write) -> Result<()> {
        let mut running = Running { life: self, rng: fastrand::Rng::with_seed(self.seed), out, attempt: self.first_attempt };
        let mut buffer = Some(running.open()?);
        if !self.alone {
            running.deliver(&mut buffer, usize::MAX)?;
        }
        for _ in 0..self.steps {
            match running.rng.u8(..100) {
                0..50 => running.keep(&mut buffer, 1)?,
                50..62 => running.group(&mut buffer)?,
                62..70 => running.keep(&mut buffer, 8)?,
                70..94 if self.alone => running.keep(&mut buffer, 4)?,
                70..88 => {
                    let most = running.rng.usize(1..6);
                    running.deliver(&mut buffer, most)?;
                }
                88..94 => running.deliver(&mut buffer, usize::MAX)?,
                _ => {
                    drop(buffer.take());
                    buffer = Some(running.open()?);
                }
            }
        }
        running.say(&Mark::Done)
    }
}

struct Running<'a> {
    life: &'a Life,
    rng: fastrand::Rng,
    out: &'a mut dyn Write,
    attempt: u64,
}

impl Running<'_> {
    fn say(&mut self, mark: &Mark) -> Result<()> {
        // In one call, so that the line has its place between those that touch the disk.
        let line = serde_json::to_string(mark)? + "\n";
        self.out.write_all(line.as_bytes())?;
        Ok(self.out.flush()?)
    }

    fn open(&mut self) -> Result<Buffer<Disk>> {
        for _ in 0..OPEN_TRIES {
            match buffer::open(&self.life.folder, self.life.limits(), now_ms(self.attempt)) {
                Ok((buffer, notices)) => {
                    self.tell(notices, buffer.stats().stream)?;
                    self.say(&Mark::Opened { stream: buffer.stats().stream })?;
                    return Ok(buffer);
                }
                Err(why) => self.say(&Mark::NotOpened(why.to_string()))?,
            }
        }
        anyhow::bail!("the buffer could not be opened {OPEN_TRIES} times")
    }

    fn next(&mut self) -> Result<(u64, Closed)> {
        let attempt = self.attempt;
        self.attempt += 1;
        let closed = closed(attempt, self.rng.usize(1..=MAX_READINGS))?;
        self.say(&Mark::Keeping { attempt, readings: closed.readings })?;
        Ok((attempt, closed))
    }

    fn keep(&mut self, buffer: &mut Option<Buffer<Disk>>, times: u32) -> Result<()> {
        let Some(buffer) = buffer else { return Ok(()) };
        for _ in 0..times {
            let (attempt, closed) = self.next()?;
            let kept = buffer.keep(now_ms(attempt), &closed);
            self.notices(buffer)?;
            match kept {
                Ok(seq) => self.say(&Mark::Kept { attempt, seq })?,
                Err(why) => self.say(&Mark::Refused { attempt, why: why.to_string() })?,
            }
        }
        Ok(())
    }

    fn group(&mut self, buffer: &mut Option<Buffer<Disk>>) -> Result<()> {
        let Some(buffer) = buffer else { return Ok(()) };
        let mut kept: Vec<(u64, Result<u64, BufferError>)> = Vec::new();
        for _ in 0..self.rng.usize(2..5) {
            let (attempt, closed) = self.next()?;
            let seq = buffer.append(now_ms(attempt), &closed);
            if let Err(why) = &seq {
                // What was appended before and not committed is gone with it.
                kept.iter_mut().for_each(|(_, seq)| *seq = Err(why.clone()));
            }
            kept.push((attempt, seq));
        }
        let committed = buffer.commit();
        self.notices(buffer)?;
        for (attempt, seq) in kept {
            match seq.and_then(|seq| committed.clone().map(|()| seq)) {
                Ok(seq) => self.say(&Mark::Kept { attempt, seq })?,
                Err(why) => self.say(&Mark::Refused { attempt, why: why.to_string() })?,
            }
        }
        Ok(())
    }

    /// Gives the oldest batches to the server and lets go of them.
    fn deliver(&mut self, buffer: &mut Option<Buffer<Disk>>, most: usize) -> Result<()> {
        let Some(buffer) = buffer else { return Ok(()) };
        let stats = buffer.stats();
        let mut through = None;
        for seq in (stats.oldest..stats.next).take(most) {
            match buffer.get(seq, now_ms(self.attempt)) {
                Ok(Some(stored)) => match buffer.schema(stored.schema) {
                    Ok(schema) => {
                        self.say(&Mark::Delivered(content(&stored, schema.as_deref())?))?;
                        through = Some(seq);
                    }
                    Err(why) => {
                        self.say(&Mark::Failed(format!("schema of {seq}: {why}")))?;
                        break;
                    }
                },
                Ok(None) => break,
                Err(why) => {
                    self.say(&Mark::Failed(format!("get {seq}: {why}")))?;
                    break;
                }
            }
        }
        if let Some(through) = through {
            self.say(&Mark::Releasing(through))?;
            if let Err(why) = buffer.release(through) {
                self.say(&Mark::Failed(format!("release {through}: {why}")))?;
            }
        }
        self.notices(buffer)
    }

    fn notices(&mut self, buffer: &mut Buffer<Disk>) -> Result<()> {
        self.tell(buffer.take_notices(), buffer.stats().stream)
    }

    fn tell(&mut self, notices: Vec<Notice>, stream: u64) -> Result<()> {
        for notice in notices {
            self.say(&Mark::Noticed(notice.to_string()))?;
            if matches!(notice, Notice::SetAside { .. }) {
                self.say(&Mark::Anew(stream))?;
            }
        }
        Ok(())
    }
}

/// The time at which a batch is stored, ms since 1970.
#[must_use]
pub fn now_ms(attempt: u64) -> i64 {
    i64::try_from(attempt).unwrap_or_default().saturating_mul(BATCH_MS)
}

fn value_at(at_ms: i64) -> Sample {
    Sample::Good(Value::Decimal(Decimal { mantissa: at_ms.wrapping_mul(0x5851_f42d_4c95_7f2d), exponent: 0 }))
}

/// The batch with this number.
///
/// # Errors
/// None for fewer than [`BATCH_MS`] readings.
pub fn closed(attempt: u64, readings: usize) -> Result<Closed> {
    let times_ms: Vec<i64> = (now_ms(attempt)..).take(readings).collect();
    let samples = times_ms.iter().map(|at_ms| value_at(*at_ms)).collect();
    let batch = Batch { blocks: vec![Block { series: vec![0], times_ms, samples }], gaps: Vec::new() };
    Ok(Closed::new(Arc::new(dictionary(attempt / 16 % SCHEMAS)?), batch)?)
}

fn dictionary(variant: u64) -> Result<Dictionary> {
    let device = Device { name: "meter".into(), profile: "p".into(), labels: Labels::new() };
    let series = |number: u64| Series {
        device: 0,
        point: format!("point_{number}"),
        unit: format!("V{variant}"),
        kind: Kind::Gauge,
        repr: Repr::Decimal { exponent: 0 },
        labels: Labels::new(),
        states: BTreeMap::new(),
    };
    let count = if variant + 1 == SCHEMAS { 900 } else { 1 };
    Ok(Dictionary::new(Schema { devices: vec![device], series: (0..count).map(series).collect() })?)
}

/// What a batch holds that the buffer gave out with the message of its schema.
///
/// # Errors
/// It is not readable, or holds what was never put in.
pub fn content(stored: &Stored, schema: Option<&[u8]>) -> Result<Content> {
    let seq = stored.seq;
    let body = Body::open(&stored.body).with_context(|| format!("batch {seq}"))?;
    let gaps = body.gaps().with_context(|| format!("gaps of batch {seq}"))?.iter().map(Gap::from).collect();
    // Without the CRC at its end: with it, that of every message is the same.
    let crc = crc32fast::hash(stored.body.split_last_chunk::<4>().map_or(&[], |(message, _)| message));
    let mut found = Content { seq, attempt: None, readings: 0, crc, gaps };
    let Some(message) = schema else {
        let empty = body.decode(stored.schema, &Schema::default()).is_ok_and(|batch| batch.readings() == 0);
        ensure!(empty, "batch {seq} names schema {:?}, which is lost", stored.schema);
        return Ok(found);
    };
    let (id, schema) = Schema::decode(message)?;
    let batch = body.decode(id, &schema).with_context(|| format!("batch {seq}"))?;
    let mut before_ms = i64::MIN;
    for block in &batch.blocks {
        ensure!(block.series == [0] && block.times_ms.len() == block.samples.len(), "batch {seq} has series {:?}", block.series);
        for (at_ms, sample) in block.times_ms.iter().zip(&block.samples) {
            let attempt = u64::try_from(at_ms / BATCH_MS)?;
            ensure!(*sample == value_at(*at_ms), "batch {seq} has at {at_ms} the value {sample:?}");
            ensure!(*found.attempt.get_or_insert(attempt) == attempt, "batch {seq} has readings of two batches");
            ensure!(before_ms < *at_ms, "batch {seq} has the reading of {at_ms} twice");
            before_ms = *at_ms;
            found.readings += 1;
        }
    }
    Ok(found)
}
