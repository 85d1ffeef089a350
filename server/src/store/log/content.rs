//! A commit as the content of a record, and back. Lossless, and never trusts what it reads.
//!
//! ```text
//! content = 1 | { section }* ; each section: how many | items, in the order of the fields of Commit, readings last
//! reading = head (u8) | series (step from the one before, unless it is the next) | time (step, unless it is the same) | reason | value
//! head    = kind | quality << 3 | next series << 5 | same time << 6
//! kind    = 0 none · 1 decimal: exponent (i8), mantissa · 2 unsigned · 3 float32 · 4 float64 · 5 false · 6 true · 7 text
//! ```
//! Numbers of 7 bits a byte; what is small beside readings lies there as in the rows of `row`.

use pattoo_wire::{Decimal, Gap, GapReason, Quality, Reason, Sample, Schema, SchemaId, Value};

use super::super::part::PartError;
use super::super::part::bytes::{Reader, put, put_signed};
use super::super::{Commit, Reading, SeriesId, StreamState, row};

const FORMAT: u8 = 1;
const NEXT: u8 = 1 << 5;
const SAME: u8 = 1 << 6;
/// Longest item.
const MAX_ITEM_BYTES: usize = 16 << 20;
const WHAT: &str = "content of a record";

/// Writes a commit.
///
/// # Errors
/// A schema that cannot be encoded, which no other gave.
pub fn write(commit: &Commit) -> Result<Vec<u8>, String> {
    let Commit {
        series,
        schemas,
        readings,
        gaps,
        streams,
        forgotten_schemas,
        receipts,
        forgotten_receipts,
        forgotten_streams,
        forgotten_gaps,
    } = commit;
    let mut out = Vec::with_capacity(64 + readings.len() * 8);
    out.push(FORMAT);
    put(&mut out, series.len() as u64);
    for entry in series {
        put(&mut out, u64::from(entry.id.0));
        put_bytes(&mut out, &row::write_series(entry)?);
    }
    put(&mut out, schemas.len() as u64);
    for (gateway, id, schema) in schemas {
        put_bytes(&mut out, gateway.as_bytes());
        put(&mut out, u64::from(id.0));
        put_bytes(&mut out, &schema.encode().map_err(|e| e.to_string())?.1);
    }
    for gaps in [gaps, forgotten_gaps] {
        put(&mut out, gaps.len() as u64);
        gaps.iter().for_each(|(gateway, stream, gap)| put_gap(&mut out, gateway, *stream, gap));
    }
    put(&mut out, streams.len() as u64);
    for state in streams {
        put_bytes(&mut out, state.gateway.as_bytes());
        put(&mut out, state.stream);
        put_bytes(&mut out, &row::write_stream(state));
    }
    put(&mut out, forgotten_schemas.len() as u64);
    for (gateway, id) in forgotten_schemas {
        put_bytes(&mut out, gateway.as_bytes());
        put(&mut out, u64::from(id.0));
    }
    put(&mut out, receipts.len() as u64);
    for (gateway, stream, receipt) in receipts {
        put_bytes(&mut out, gateway.as_bytes());
        put(&mut out, *stream);
        put(&mut out, receipt.seq);
        put_bytes(&mut out, &row::write_receipt(receipt));
    }
    put(&mut out, forgotten_receipts.len() as u64);
    for (gateway, stream, seq) in forgotten_receipts {
        put_bytes(&mut out, gateway.as_bytes());
        put(&mut out, *stream);
        put(&mut out, *seq);
    }
    put(&mut out, forgotten_streams.len() as u64);
    for (gateway, stream) in forgotten_streams {
        put_bytes(&mut out, gateway.as_bytes());
        put(&mut out, *stream);
    }
    put(&mut out, readings.len() as u64);
    let mut before = (SeriesId(0), 0);
    for (series, reading) in readings {
        put_reading(&mut out, before, *series, reading);
        before = (*series, reading.at_ms);
    }
    Ok(out)
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn put_gap(out: &mut Vec<u8>, gateway: &str, stream: u64, gap: &Gap) {
    put_bytes(out, gateway.as_bytes());
    put_signed(out, gap.from_ms);
    put_signed(out, gap.to_ms);
    for number in [stream, gap.first_seq, gap.last_seq, gap.readings, u64::from(gap.reason.code())] {
        put(out, number);
    }
}

fn put_reading(out: &mut Vec<u8>, (before, before_ms): (SeriesId, i64), series: SeriesId, reading: &Reading) {
    let quality = match reading.sample.quality() {
        Quality::Good => 0u8,
        Quality::Uncertain => 1,
        Quality::Bad => 2,
    };
    let kind = match reading.sample.value() {
        None => 0,
        Some(Value::Decimal(_)) => 1,
        Some(Value::Unsigned(_)) => 2,
        Some(Value::F32(_)) => 3,
        Some(Value::F64(_)) => 4,
        Some(Value::Bool(false)) => 5,
        Some(Value::Bool(true)) => 6,
        Some(Value::Text(_)) => 7,
    };
    let next = before.0.checked_add(1) == Some(series.0);
    let same = before_ms == reading.at_ms;
    out.push(kind | quality << 3 | if next { NEXT } else { 0 } | if same { SAME } else { 0 });
    if !next {
        put_signed(out, i64::from(series.0) - i64::from(before.0));
    }
    if !same {
        put_signed(out, reading.at_ms.wrapping_sub(before_ms));
    }
    if let Some(reason) = reading.sample.reason() {
        put(out, u64::from(reason.code()));
    }
    match reading.sample.value() {
        None | Some(Value::Bool(_)) => {}
        Some(Value::Decimal(d)) => {
            out.push(d.exponent as u8);
            put_signed(out, d.mantissa);
        }
        Some(Value::Unsigned(n)) => put(out, *n),
        Some(Value::F32(x)) => out.extend(x.to_le_bytes()),
        Some(Value::F64(x)) => out.extend(x.to_le_bytes()),
        Some(Value::Text(text)) => put_bytes(out, text.as_bytes()),
    }
}

/// Reads a commit.
///
/// # Errors
/// It is none, or of a newer program.
pub fn read(content: &[u8]) -> Result<Commit, String> {
    let mut from = Content(Reader::new(content, 0));
    match from.0.byte(WHAT).map_err(text)? {
        FORMAT => {}
        other => return Err(format!("a record of format {other}, this program reads format {FORMAT}: upgrade pattoo-server")),
    }
    let commit = from.commit()?;
    if from.0.is_empty() { Ok(commit) } else { Err(text(from.0.damaged(WHAT))) }
}

fn text(e: impl std::fmt::Display) -> String {
    e.to_string()
}

struct Content<'a>(Reader<'a>);

impl<'a> Content<'a> {
    fn commit(&mut self) -> Result<Commit, String> {
        Ok(Commit {
            series: self.items(|from| {
                let id = from.id()?;
                row::read_series(id, from.bytes()?)
            })?,
            schemas: self.items(|from| {
                let (gateway, id) = (from.text()?, SchemaId(from.id()?));
                let (_, schema) = Schema::decode(from.bytes()?).map_err(text)?;
                Ok((gateway, id, schema))
            })?,
            gaps: self.items(Self::gap)?,
            forgotten_gaps: self.items(Self::gap)?,
            streams: self.items(|from| {
                let (gateway, stream) = (from.text()?, from.number()?);
                let state: Option<StreamState> = row::read_stream(&gateway, stream, from.bytes()?);
                state.ok_or_else(|| text(from.0.damaged(WHAT)))
            })?,
            forgotten_schemas: self.items(|from| Ok((from.text()?, SchemaId(from.id()?))))?,
            receipts: self.items(|from| {
                let (gateway, stream, seq) = (from.text()?, from.number()?, from.number()?);
                let receipt = row::read_receipt(seq, from.bytes()?).ok_or_else(|| text(from.0.damaged(WHAT)))?;
                Ok((gateway, stream, receipt))
            })?,
            forgotten_receipts: self.items(|from| Ok((from.text()?, from.number()?, from.number()?)))?,
            forgotten_streams: self.items(|from| Ok((from.text()?, from.number()?)))?,
            readings: {
                let mut before = (SeriesId(0), 0);
                self.items(|from| {
                    let (series, reading) = from.reading(before).map_err(text)?;
                    before = (series, reading.at_ms);
                    Ok((series, reading))
                })?
            },
        })
    }

    fn items<T>(&mut self, mut item: impl FnMut(&mut Self) -> Result<T, String>) -> Result<Vec<T>, String> {
        // Every item has a byte at least, so that no more are asked for than can be there.
        let count = self.0.length(self.0.left(), WHAT).map_err(text)?;
        (0..count).map(|_| item(self)).collect()
    }

    fn number(&mut self) -> Result<u64, String> {
        self.0.number(WHAT).map_err(text)
    }

    fn id(&mut self) -> Result<u32, String> {
        u32::try_from(self.number()?).map_err(text)
    }

    fn bytes(&mut self) -> Result<&'a [u8], String> {
        let length = self.0.length(MAX_ITEM_BYTES, WHAT).map_err(text)?;
        self.0.take(length, WHAT).map_err(text)
    }

    fn text(&mut self) -> Result<String, String> {
        std::str::from_utf8(self.bytes()?).map(str::to_owned).map_err(text)
    }

    fn gap(&mut self) -> Result<(String, u64, Gap), String> {
        let gateway = self.text()?;
        let (from_ms, to_ms) = (self.0.signed(WHAT).map_err(text)?, self.0.signed(WHAT).map_err(text)?);
        let (stream, first_seq, last_seq, readings) = (self.number()?, self.number()?, self.number()?, self.number()?);
        let reason = GapReason::from_code(u8::try_from(self.number()?).map_err(text)?);
        Ok((gateway, stream, Gap { from_ms, to_ms, first_seq, last_seq, readings, reason }))
    }

    fn reading(&mut self, (before, before_ms): (SeriesId, i64)) -> Result<(SeriesId, Reading), PartError> {
        let from = &mut self.0;
        let head = from.byte(WHAT)?;
        let series = match head & NEXT {
            0 => i64::from(before.0).checked_add(from.signed(WHAT)?),
            _ => Some(i64::from(before.0) + 1),
        };
        let series = series.and_then(|series| u32::try_from(series).ok()).ok_or_else(|| from.damaged(WHAT))?;
        let at_ms = if head & SAME == 0 { before_ms.wrapping_add(from.signed(WHAT)?) } else { before_ms };
        let quality = head >> 3 & 3;
        let reason = match quality {
            0 => None,
            _ => Some(Reason::from_code(from.length(usize::from(u16::MAX), WHAT)? as u16)),
        };
        let value = match head & 7 {
            0 => None,
            1 => {
                let exponent = i8::from_le_bytes(from.array(WHAT)?);
                Some(Value::Decimal(Decimal { exponent, mantissa: from.signed(WHAT)? }))
            }
            2 => Some(Value::Unsigned(from.number(WHAT)?)),
            3 => Some(Value::F32(f32::from_le_bytes(from.array(WHAT)?))),
            4 => Some(Value::F64(f64::from_le_bytes(from.array(WHAT)?))),
            flag @ (5 | 6) => Some(Value::Bool(flag == 6)),
            _ => {
                let length = from.length(MAX_ITEM_BYTES, WHAT)?;
                let text = std::str::from_utf8(from.take(length, WHAT)?).map_err(|_| from.damaged(WHAT))?;
                Some(Value::Text(text.to_owned()))
            }
        };
        let sample = match (quality, value, reason) {
            (0, Some(value), None) => Sample::Good(value),
            (1, Some(value), Some(reason)) => Sample::Uncertain(value, reason),
            (2, None, Some(reason)) => Sample::Bad(reason),
            _ => return Err(from.damaged(WHAT)),
        };
        Ok((SeriesId(series), Reading { at_ms, sample }))
    }
}
