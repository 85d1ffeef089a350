//! Batches: numbered readings that are buffered and sent as one.
//!
//! A *body* is what the gateway stores; a *data message* is a body with its place in the stream in front. Both are frozen
//! as version 1. The body, after its envelope (numbers are postcard varints, signed ones in zigzag form):
//!
//! ```text
//! body   = schema id (u32) | gaps | blocks
//! gaps   = count | each: from_ms (i64), to_ms - from_ms (u64), first_seq (u64), last_seq - first_seq (u64), readings (u64), reason (u8)
//! blocks = count | each: times | series | marks | values
//! times  = ticks (u32, at least 1) | first time - first time of the block before (i64) | step (i64) | change of step (i64) ...
//! series = runs (u32) | each: first index - end of the run before (i64), length (u32)
//! marks  = count | each: good cells skipped (u32), length (u32), quality (u8: 1 uncertain, 2 bad), reason (u16)
//! values = for each series, its values that are not bad, by the representation that the schema gives:
//!          Decimal: mantissas (i64), the first as it is, then differences that wrap · Unsigned: the same over u64
//!          F32: 4 bytes little endian, then XOR with the one before as u32 · F64: the same with 8 bytes and u64
//!          Bool: bits, lowest first, in whole bytes · Text: length and UTF-8
//! ```
//! A cell is one series at one tick; cells are counted series by series. Points that a device gave in one transaction share a
//! block and so one column of times.

use crate::codec::{Reader, Writer};
use crate::envelope::{invalid, open, seal};
use crate::{
    Decimal, MAX_BODY_BYTES, MAX_DATA_BYTES, MAX_READINGS, MAX_TEXT_BYTES, Reason, Repr, Sample, Schema, SchemaId, Value, WireError,
};

/// Most gap records in one batch.
const MAX_GAPS: usize = 64;

/// Readings and gaps, in the order in which they were made.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Batch {
    /// Readings.
    pub blocks: Vec<Block>,
    /// What is known to be missing.
    pub gaps: Vec<Gap>,
}

impl Batch {
    /// Number of readings.
    #[must_use]
    pub fn readings(&self) -> usize {
        self.blocks.iter().map(|b| b.samples.len()).sum()
    }
}

/// The same series read at one or more times.
#[derive(Debug, Clone, PartialEq)]
pub struct Block {
    /// Indexes into [`Schema::series`].
    pub series: Vec<u32>,
    /// Ticks: UTC, ms since 1970.
    pub times_ms: Vec<i64>,
    /// One sample per series and tick, series by series: all ticks of the first, then all ticks of the second.
    pub samples: Vec<Sample>,
}

/// A range of readings that were dropped and will never come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// Time of the first dropped reading, ms since 1970.
    pub from_ms: i64,
    /// Time of the last dropped reading.
    pub to_ms: i64,
    /// First dropped batch of this stream.
    pub first_seq: u64,
    /// Last dropped batch.
    pub last_seq: u64,
    /// How many readings were dropped.
    pub readings: u64,
    /// Why.
    pub reason: GapReason,
}

/// Why readings were dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GapReason {
    /// The buffer was full; the oldest went first.
    BufferFull,
    /// Older than the buffer may keep.
    TooOld,
    /// Damaged in the buffer.
    Damaged,
    /// A reason of a newer gateway, by its number.
    Other(u8),
}

impl GapReason {
    /// The number on the wire and in the store.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::BufferFull => 1,
            Self::TooOld => 2,
            Self::Damaged => 3,
            Self::Other(code) => code,
        }
    }

    /// The reason with this number.
    #[must_use]
    pub fn from_code(code: u8) -> Self {
        match code {
            1 => Self::BufferFull,
            2 => Self::TooOld,
            3 => Self::Damaged,
            _ => Self::Other(code),
        }
    }
}

impl std::fmt::Display for GapReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::BufferFull => f.write_str("buffer full"),
            Self::TooOld => f.write_str("too old"),
            Self::Damaged => f.write_str("damaged"),
            Self::Other(code) => write!(f, "gap reason {code}"),
        }
    }
}

/// Where a batch stands in its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// One life of the gateway's buffer.
    pub stream: u64,
    /// Number of this batch, from 1, without holes.
    pub seq: u64,
    /// Oldest batch that the gateway still holds: all before it are acknowledged or on record as a gap.
    pub oldest: u64,
}

/// An encoded batch that has been checked for damage, but not yet read: that takes its schema.
#[derive(Debug, Clone, Copy)]
pub struct Body<'a> {
    schema: SchemaId,
    content: &'a [u8],
}

/// A data message: a stored body with its place in the stream.
///
/// # Errors
/// A body over its limit or damaged.
pub fn data_message(header: &Header, body: &[u8]) -> Result<Vec<u8>, WireError> {
    let content = open(body, MAX_BODY_BYTES)?;
    let mut writer = Writer::default();
    writer.put(&(header.stream, header.seq, header.oldest))?;
    writer.bytes.extend_from_slice(content);
    Ok(seal(&writer.bytes))
}

/// Reads the head of a data message.
///
/// # Errors
/// Too long, truncated, damaged, of another version, or numbered impossibly.
pub fn open_data(message: &[u8]) -> Result<(Header, Body<'_>), WireError> {
    let mut reader = Reader::new(open(message, MAX_DATA_BYTES)?);
    let (stream, seq, oldest) = reader.take("header")?;
    let header = Header { stream, seq, oldest };
    if oldest > seq || oldest == 0 {
        return Err(invalid(format!("batch {seq} says that the oldest is {oldest}")));
    }
    Ok((header, Body::from_content(reader.rest())?))
}

impl<'a> Body<'a> {
    /// Opens a stored body.
    ///
    /// # Errors
    /// Too long, truncated, damaged or of another version.
    pub fn open(body: &'a [u8]) -> Result<Self, WireError> {
        Self::from_content(open(body, MAX_BODY_BYTES)?)
    }

    fn from_content(content: &'a [u8]) -> Result<Self, WireError> {
        let schema = SchemaId(Reader::new(content).take("schema id")?);
        Ok(Self { schema, content })
    }

    /// The schema that this batch was written against.
    #[must_use]
    pub fn schema(&self) -> SchemaId {
        self.schema
    }

    /// Reads the gap records alone, for which no schema is needed.
    ///
    /// # Errors
    /// Content that ends too early, or gaps that cannot be.
    pub fn gaps(&self) -> Result<Vec<Gap>, WireError> {
        let mut reader = Reader::new(self.content);
        reader.take::<u32>("schema id")?;
        read_gaps(&mut reader)
    }

    /// Reads the batch. Allocates at most 1 MiB, whatever the bytes say.
    ///
    /// # Errors
    /// Content that does not fit the schema or ends too early or too late.
    pub fn decode(&self, id: SchemaId, schema: &Schema) -> Result<Batch, WireError> {
        if id != self.schema {
            return Err(WireError::Schema { found: self.schema.0, given: id.0 });
        }
        let mut reader = Reader::new(self.content);
        reader.take::<u32>("schema id")?;
        let gaps = read_gaps(&mut reader)?;
        let blocks = reader.take_len("number of blocks", MAX_READINGS)?;
        let mut batch = Batch { blocks: Vec::new(), gaps };
        let (mut origin_ms, mut room) = (0, MAX_READINGS);
        for _ in 0..blocks {
            let block = read_block(&mut reader, schema, origin_ms, room)?;
            origin_ms = block.times_ms.first().copied().unwrap_or_default();
            room -= block.samples.len();
            batch.blocks.push(block);
        }
        reader.finish()?;
        Ok(batch)
    }
}

impl Batch {
    /// The body to store and send.
    ///
    /// # Errors
    /// A batch that does not fit its schema, or is over [`MAX_BODY_BYTES`] or [`MAX_READINGS`].
    pub fn encode(&self, id: SchemaId, schema: &Schema) -> Result<Vec<u8>, WireError> {
        if self.readings() > MAX_READINGS {
            return Err(WireError::TooLong { found: self.readings(), limit: MAX_READINGS });
        }
        let mut writer = Writer::default();
        writer.put(&id.0)?;
        write_gaps(&mut writer, &self.gaps)?;
        writer.put_len(self.blocks.len())?;
        let mut origin_ms = 0;
        for block in &self.blocks {
            origin_ms = write_block(&mut writer, schema, block, origin_ms)?;
        }
        let body = seal(&writer.bytes);
        if body.len() > MAX_BODY_BYTES {
            return Err(WireError::TooLong { found: body.len(), limit: MAX_BODY_BYTES });
        }
        Ok(body)
    }
}

fn write_gaps(writer: &mut Writer, gaps: &[Gap]) -> Result<(), WireError> {
    if gaps.len() > MAX_GAPS {
        return Err(invalid(format!("{} gaps, at most {MAX_GAPS} are allowed", gaps.len())));
    }
    writer.put_len(gaps.len())?;
    for gap in gaps {
        let (Ok(ms), Some(seqs)) = (u64::try_from(gap.to_ms.wrapping_sub(gap.from_ms)), gap.last_seq.checked_sub(gap.first_seq)) else {
            return Err(invalid(format!("a gap that ends before it begins: {gap:?}")));
        };
        writer.put(&(gap.from_ms, ms, gap.first_seq, seqs, gap.readings, gap.reason.code()))?;
    }
    Ok(())
}

fn read_gaps(reader: &mut Reader<'_>) -> Result<Vec<Gap>, WireError> {
    let count = reader.take_len("number of gaps", MAX_GAPS)?;
    (0..count)
        .map(|_| {
            let (from_ms, ms, first_seq, seqs, readings, reason) = reader.take::<(i64, u64, u64, u64, u64, u8)>("gap")?;
            let to_ms = i64::try_from(ms).ok().and_then(|ms| from_ms.checked_add(ms));
            let (Some(to_ms), Some(last_seq)) = (to_ms, first_seq.checked_add(seqs)) else {
                return Err(invalid("a gap that ends after all time"));
            };
            Ok(Gap { from_ms, to_ms, first_seq, last_seq, readings, reason: GapReason::from_code(reason) })
        })
        .collect()
}

/// Writes a block and gives its first time, from which the next one counts.
fn write_block(writer: &mut Writer, schema: &Schema, block: &Block, origin_ms: i64) -> Result<i64, WireError> {
    let ticks = block.times_ms.len();
    let (Some(&first_ms), true) = (block.times_ms.first(), block.samples.len() == block.series.len() * ticks && !block.series.is_empty())
    else {
        return Err(invalid(format!("a block of {} series and {ticks} ticks has {} samples", block.series.len(), block.samples.len())));
    };
    write_times(writer, &block.times_ms, first_ms, origin_ms)?;
    write_series(writer, &block.series)?;
    write_marks(writer, &block.samples)?;
    for (index, samples) in block.series.iter().zip(block.samples.chunks(ticks)) {
        let series = schema.series.get(*index as usize).ok_or_else(|| invalid(format!("series {index} is not in the schema")))?;
        write_values(writer, series.repr, samples).map_err(|e| invalid(format!("series {:?}: {e}", series.point)))?;
    }
    Ok(first_ms)
}

fn read_block(reader: &mut Reader<'_>, schema: &Schema, origin_ms: i64, room: usize) -> Result<Block, WireError> {
    let times_ms = read_times(reader, origin_ms, room)?;
    let series = read_series(reader, schema.series.len(), room / times_ms.len())?;
    let mut marks = Marks::read(reader, series.len() * times_ms.len())?;
    let mut samples = Vec::with_capacity(series.len() * times_ms.len());
    for index in &series {
        let entry = schema.series.get(*index as usize).ok_or_else(|| invalid(format!("series {index} is not in the schema")))?;
        read_values(reader, entry.repr, &mut marks, times_ms.len(), &mut samples)?;
    }
    Ok(Block { series, times_ms, samples })
}

fn write_times(writer: &mut Writer, times_ms: &[i64], first_ms: i64, origin_ms: i64) -> Result<(), WireError> {
    writer.put_len(times_ms.len())?;
    writer.put(&first_ms.wrapping_sub(origin_ms))?;
    let mut step_ms = 0;
    for pair in times_ms.windows(2) {
        let [before, now] = pair else { continue };
        let step = now.wrapping_sub(*before);
        writer.put(&step.wrapping_sub(step_ms))?;
        step_ms = step;
    }
    Ok(())
}

fn read_times(reader: &mut Reader<'_>, origin_ms: i64, room: usize) -> Result<Vec<i64>, WireError> {
    let ticks = reader.take_len("number of ticks", room)?;
    if ticks == 0 {
        return Err(invalid("a block without a time"));
    }
    let mut now_ms = origin_ms.wrapping_add(reader.take("time")?);
    let mut times_ms = vec![now_ms];
    let mut step_ms = 0i64;
    for _ in 1..ticks {
        step_ms = step_ms.wrapping_add(reader.take("time")?);
        now_ms = now_ms.wrapping_add(step_ms);
        times_ms.push(now_ms);
    }
    Ok(times_ms)
}

fn write_series(writer: &mut Writer, series: &[u32]) -> Result<(), WireError> {
    let runs: Vec<&[u32]> = series.chunk_by(|a, b| a.checked_add(1) == Some(*b)).collect();
    writer.put_len(runs.len())?;
    let mut end = 0;
    for run in runs {
        let first = i64::from(run.first().copied().unwrap_or_default());
        writer.put(&(first - end))?;
        writer.put_len(run.len())?;
        end = first + run.len() as i64;
    }
    Ok(())
}

fn read_series(reader: &mut Reader<'_>, known: usize, room: usize) -> Result<Vec<u32>, WireError> {
    let runs = reader.take_len("number of series runs", room)?;
    let mut series = Vec::new();
    let mut end = 0i64;
    for _ in 0..runs {
        let first = end.wrapping_add(reader.take("series")?);
        let len = reader.take_len("series", room - series.len())?;
        let (Ok(from), Ok(to)) = (u32::try_from(first), u32::try_from(first.wrapping_add(len as i64))) else {
            return Err(invalid(format!("series {first} is out of range")));
        };
        if to as usize > known {
            return Err(invalid(format!("series {to} is not in the schema, which has {known}")));
        }
        series.extend(from..to);
        end = i64::from(to);
    }
    if series.is_empty() {
        return Err(invalid("a block without a series"));
    }
    Ok(series)
}

const UNCERTAIN: u8 = 1;
const BAD: u8 = 2;

/// A run of cells that are not good.
#[derive(Clone, Copy)]
struct Mark {
    skip: usize,
    len: usize,
    quality: u8,
    reason: Reason,
}

fn mark_of(sample: &Sample) -> Option<(u8, Reason)> {
    match sample {
        Sample::Good(_) => None,
        Sample::Uncertain(_, reason) => Some((UNCERTAIN, *reason)),
        Sample::Bad(reason) => Some((BAD, *reason)),
    }
}

fn write_marks(writer: &mut Writer, samples: &[Sample]) -> Result<(), WireError> {
    let mut marks: Vec<Mark> = Vec::new();
    let mut skip = 0;
    for run in samples.chunk_by(|a, b| mark_of(a) == mark_of(b)) {
        match run.first().and_then(mark_of) {
            None => skip = run.len(),
            Some((quality, reason)) => marks.push(Mark { skip: std::mem::take(&mut skip), len: run.len(), quality, reason }),
        }
    }
    writer.put_len(marks.len())?;
    for mark in marks {
        writer.put(&(mark.skip as u64, mark.len as u64, mark.quality, mark.reason.code()))?;
    }
    Ok(())
}

/// The marks of a block, taken cell by cell.
struct Marks {
    marks: std::vec::IntoIter<Mark>,
    current: Option<Mark>,
}

impl Marks {
    fn read(reader: &mut Reader<'_>, cells: usize) -> Result<Self, WireError> {
        let count = reader.take_len("number of marks", cells)?;
        let mut left = cells;
        let mut marks = Vec::new();
        for _ in 0..count {
            let skip = reader.take_len("mark", left)?;
            let len = reader.take_len("mark", left - skip)?;
            let (quality, code) = reader.take::<(u8, u16)>("mark")?;
            if len == 0 || !(quality == UNCERTAIN || quality == BAD) {
                return Err(invalid(format!("a mark of {len} cells with quality {quality}")));
            }
            left -= skip + len;
            marks.push(Mark { skip, len, quality, reason: Reason::from_code(code) });
        }
        let mut marks = marks.into_iter();
        Ok(Self { current: marks.next(), marks })
    }

    fn next_cell(&mut self) -> Option<(u8, Reason)> {
        let mark = self.current.as_mut()?;
        if mark.skip > 0 {
            mark.skip -= 1;
            return None;
        }
        let found = (mark.quality, mark.reason);
        mark.len -= 1;
        if mark.len == 0 {
            self.current = self.marks.next();
        }
        Some(found)
    }
}

fn write_values(writer: &mut Writer, repr: Repr, samples: &[Sample]) -> Result<(), WireError> {
    let values = samples.iter().filter_map(Sample::value);
    let mut bits = Vec::new();
    let mut before = None;
    for value in values {
        match (repr, value) {
            (Repr::Decimal { exponent }, Value::Decimal(d)) if d.exponent == exponent => {
                writer.put(&d.mantissa.wrapping_sub(before.replace(d.mantissa as u64).unwrap_or(0) as i64))?;
            }
            (Repr::Unsigned, Value::Unsigned(n)) => match before.replace(*n) {
                None => writer.put(n)?,
                Some(last) => writer.put(&(n.wrapping_sub(last) as i64))?,
            },
            (Repr::F32, Value::F32(x)) => match before.replace(u64::from(x.to_bits())) {
                None => writer.bytes.extend_from_slice(&x.to_le_bytes()),
                Some(last) => writer.put(&(x.to_bits() ^ last as u32))?,
            },
            (Repr::F64, Value::F64(x)) => match before.replace(x.to_bits()) {
                None => writer.bytes.extend_from_slice(&x.to_le_bytes()),
                Some(last) => writer.put(&(x.to_bits() ^ last))?,
            },
            (Repr::Bool, Value::Bool(b)) => bits.push(*b),
            (Repr::Text, Value::Text(text)) if text.len() <= MAX_TEXT_BYTES => writer.put(text.as_str())?,
            _ => return Err(invalid(format!("value {value} does not fit {repr:?}"))),
        }
    }
    for byte in bits.chunks(8) {
        writer.bytes.push(byte.iter().rev().fold(0, |packed, bit| packed << 1 | u8::from(*bit)));
    }
    Ok(())
}

fn read_values(reader: &mut Reader<'_>, repr: Repr, marks: &mut Marks, ticks: usize, samples: &mut Vec<Sample>) -> Result<(), WireError> {
    let cells: Vec<_> = (0..ticks).map(|_| marks.next_cell()).collect();
    let present = cells.iter().filter(|mark| !matches!(mark, Some((BAD, _)))).count();
    let bits = if repr == Repr::Bool { reader.take_bytes("booleans", present.div_ceil(8))? } else { &[] };
    let mut taken = 0;
    let mut before = None;
    for cell in cells {
        let mut value = || -> Result<Value, WireError> {
            let value = match repr {
                Repr::Decimal { exponent } => {
                    let last = before.unwrap_or(0) as i64;
                    let mantissa = last.wrapping_add(reader.take("decimal")?);
                    before = Some(mantissa as u64);
                    Value::Decimal(Decimal { mantissa, exponent })
                }
                Repr::Unsigned => {
                    let n = match before {
                        None => reader.take("unsigned")?,
                        Some(last) => last.wrapping_add(reader.take::<i64>("unsigned")? as u64),
                    };
                    before = Some(n);
                    Value::Unsigned(n)
                }
                Repr::F32 => {
                    let n = match before {
                        None => u32::from_le_bytes(le_bytes(reader)?),
                        Some(last) => last as u32 ^ reader.take::<u32>("float")?,
                    };
                    before = Some(u64::from(n));
                    Value::F32(f32::from_bits(n))
                }
                Repr::F64 => {
                    let n = match before {
                        None => u64::from_le_bytes(le_bytes(reader)?),
                        Some(last) => last ^ reader.take::<u64>("double")?,
                    };
                    before = Some(n);
                    Value::F64(f64::from_bits(n))
                }
                Repr::Bool => Value::Bool(bits.get(taken / 8).is_some_and(|byte| byte >> (taken % 8) & 1 == 1)),
                Repr::Text => {
                    let len = reader.take_len("text", MAX_TEXT_BYTES)?;
                    let text = std::str::from_utf8(reader.take_bytes("text", len)?).map_err(|e| invalid(format!("text: {e}")))?;
                    Value::Text(text.to_owned())
                }
            };
            taken += 1;
            Ok(value)
        };
        samples.push(match cell {
            None => Sample::Good(value()?),
            Some((BAD, reason)) => Sample::Bad(reason),
            Some((_, reason)) => Sample::Uncertain(value()?, reason),
        });
    }
    Ok(())
}

fn le_bytes<const N: usize>(reader: &mut Reader<'_>) -> Result<[u8; N], WireError> {
    reader.take_bytes("float", N)?.try_into().map_err(|_| WireError::Truncated("float"))
}
