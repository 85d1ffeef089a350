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
//! Version 2 of both is the same content, compressed (raw deflate, RFC 1951) with its length in front; what stands in front of the
//! body in a data message is not compressed:
//!
//! ```text
//! body 2 = bytes of the content (u32) | deflate(content)         data 2 = stream | seq | oldest | body 2
//! ```
//! A cell is one series at one tick; cells are counted series by series. Points that a device gave in one transaction share a
//! block and so one column of times.

use std::borrow::Cow;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use crate::block::{read_block, write_block};
use crate::codec::{Reader, Writer};
use crate::envelope::{FIRST, invalid, open_up_to, seal};
use crate::{MAX_BODY_BYTES, MAX_DATA_BYTES, MAX_READINGS, Sample, Schema, SchemaId, WireError};

/// The version whose content is compressed.
const COMPRESSED: u8 = 2;

/// A compressed body must be smaller by this share of its bytes: less would not pay for the work of reading it.
const LEAST_GAIN: usize = 16;

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
    /// The buffer was full; of quantities that are read often only some readings were kept. The rest of the batch arrives.
    Thinned,
    /// No reading is missing: from batch `first_seq` on, which brings this record, the times of readings jump by `to_ms - from_ms`,
    /// backward where `last_seq` is `first_seq` + 1. Times before and after a jump are not comparable. Where both times are the same,
    /// the gateway's clock was set and not believed: the times of readings go on as before.
    ClockStep,
    /// The server lost what it had acknowledged (it was restored from a backup), and the gateway does not hold it any more. Made by
    /// the server; 0 readings stand for a number that nobody knows.
    NotHeld,
    /// The server got them and did not take them: they could not be read (0 readings then: nobody knows how many), or their times lie in
    /// the far future. They are kept as dead letters. Made by the server.
    Refused,
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
            Self::Thinned => 4,
            Self::ClockStep => 5,
            Self::NotHeld => 6,
            Self::Refused => 7,
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
            4 => Self::Thinned,
            5 => Self::ClockStep,
            6 => Self::NotHeld,
            7 => Self::Refused,
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
            Self::Thinned => f.write_str("thinned out"),
            Self::ClockStep => f.write_str("clock was set"),
            Self::NotHeld => f.write_str("lost by the server and not held by the gateway"),
            Self::Refused => f.write_str("refused by the server, which keeps them as a dead letter"),
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
#[derive(Debug, Clone)]
pub struct Body<'a> {
    schema: SchemaId,
    content: Cow<'a, [u8]>,
}

/// A data message: a stored body with its place in the stream.
///
/// # Errors
/// A body over its limit or damaged.
pub fn data_message(header: &Header, body: &[u8]) -> Result<Vec<u8>, WireError> {
    let (version, content) = open_up_to(COMPRESSED, body, MAX_BODY_BYTES)?;
    let mut writer = Writer::default();
    writer.put(&(header.stream, header.seq, header.oldest))?;
    writer.bytes.extend_from_slice(content);
    Ok(seal(version, &writer.bytes))
}

/// The same body compressed, where that pays; else as it was.
///
/// # Errors
/// A body over its limit or damaged.
pub fn compressed(body: Vec<u8>) -> Result<Vec<u8>, WireError> {
    let (version, content) = open_up_to(COMPRESSED, &body, MAX_BODY_BYTES)?;
    if version == COMPRESSED {
        return Ok(body);
    }
    let mut writer = Writer::default();
    writer.put_len(content.len())?;
    // Room for less than all of it: what does not fit does not pay.
    writer.bytes.reserve_exact(content.len() - content.len() / LEAST_GAIN);
    let status = Compress::new(Compression::default(), false).compress_vec(content, &mut writer.bytes, FlushCompress::Finish);
    let message = seal(COMPRESSED, &writer.bytes);
    let pays = matches!(status, Ok(Status::StreamEnd)) && message.len() <= body.len() - body.len() / LEAST_GAIN;
    Ok(if pays { message } else { body })
}

/// The content behind its length. Allocates no more than the length says, and that is judged first.
fn inflated(reader: &mut Reader<'_>) -> Result<Vec<u8>, WireError> {
    let len = reader.take_len("bytes of the content", MAX_BODY_BYTES)?;
    let packed = reader.rest();
    let mut content = Vec::with_capacity(len);
    let mut inflate = Decompress::new(false);
    let status =
        inflate.decompress_vec(packed, &mut content, FlushDecompress::Finish).map_err(|e| invalid(format!("compressed content: {e}")))?;
    if status != Status::StreamEnd || content.len() != len {
        return Err(invalid(format!("compressed content gives {} bytes, {len} were promised", content.len())));
    }
    match packed.len() as u64 - inflate.total_in() {
        0 => Ok(content),
        more => Err(WireError::Trailing(more as usize)),
    }
}

/// Reads the head of a data message.
///
/// # Errors
/// Too long, truncated, damaged, of another version, or numbered impossibly.
pub fn open_data(message: &[u8]) -> Result<(Header, Body<'_>), WireError> {
    let (version, content) = open_up_to(COMPRESSED, message, MAX_DATA_BYTES)?;
    let mut reader = Reader::new(content);
    let (stream, seq, oldest) = reader.take("header")?;
    let header = Header { stream, seq, oldest };
    if oldest > seq || oldest == 0 {
        return Err(invalid(format!("batch {seq} says that the oldest is {oldest}")));
    }
    Ok((header, Body::read(version, reader)?))
}

impl<'a> Body<'a> {
    /// Opens a stored body.
    ///
    /// # Errors
    /// Too long, truncated, damaged or of another version.
    pub fn open(body: &'a [u8]) -> Result<Self, WireError> {
        let (version, content) = open_up_to(COMPRESSED, body, MAX_BODY_BYTES)?;
        Self::read(version, Reader::new(content))
    }

    fn read(version: u8, mut reader: Reader<'a>) -> Result<Self, WireError> {
        let content = if version == FIRST { Cow::Borrowed(reader.rest()) } else { Cow::Owned(inflated(&mut reader)?) };
        let schema = SchemaId(Reader::new(&content).take("schema id")?);
        Ok(Self { schema, content })
    }

    /// The schema that this batch was written against.
    #[must_use]
    pub fn schema(&self) -> SchemaId {
        self.schema
    }

    /// CRC-32 of the content: the same for the same batch, compressed or not, wherever it stands in a stream.
    #[must_use]
    pub fn checksum(&self) -> u32 {
        crc32fast::hash(&self.content)
    }

    /// Reads the gap records alone, for which no schema is needed.
    ///
    /// # Errors
    /// Content that ends too early, or gaps that cannot be.
    pub fn gaps(&self) -> Result<Vec<Gap>, WireError> {
        let mut reader = Reader::new(&self.content);
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
        let mut reader = Reader::new(&self.content);
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
        let body = seal(FIRST, &writer.bytes);
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
        let ms = gap.to_ms.checked_sub(gap.from_ms).and_then(|ms| u64::try_from(ms).ok());
        let (Some(ms), Some(seqs)) = (ms, gap.last_seq.checked_sub(gap.first_seq)) else {
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
