//! A commit as the content of a record, and back. Lossless, and never trusts what it reads.
//!
//! ```text
//! content = 2 | { section }* ; each section: how many | items, in the order of the fields of Commit, readings last (`blocks`)
//! ```
//! Numbers of 7 bits a byte; what is small beside readings lies there as in the rows of `row`. Format 1, which had readings one by one, is read.

use pattoo_wire::{Gap, GapReason, Schema, SchemaId};

use super::super::part::bytes::{Reader, put, put_signed};
use super::super::{Commit, StreamState, row};

mod blocks;

const FORMAT: u8 = 2;
/// Readings one by one.
const ONE_BY_ONE: u8 = 1;
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
    let mut out = Vec::with_capacity(256 + readings.len() * 4);
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
    blocks::put_blocks(&mut out, readings);
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

/// Reads a commit.
///
/// # Errors
/// It is none, or of a newer program.
pub fn read(content: &[u8]) -> Result<Commit, String> {
    let mut from = Content(Reader::new(content, 0));
    let format = from.0.byte(WHAT).map_err(text)?;
    if !(ONE_BY_ONE..=FORMAT).contains(&format) {
        return Err(format!("a record of format {format}, this program reads up to format {FORMAT}: upgrade pattoo-server"));
    }
    let commit = from.commit(format)?;
    if from.0.is_empty() { Ok(commit) } else { Err(text(from.0.damaged(WHAT))) }
}

fn text(e: impl std::fmt::Display) -> String {
    e.to_string()
}

struct Content<'a>(Reader<'a>);

impl<'a> Content<'a> {
    fn commit(&mut self, format: u8) -> Result<Commit, String> {
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
            readings: match format {
                ONE_BY_ONE => blocks::take_one_by_one(&mut self.0),
                _ => blocks::take_blocks(&mut self.0),
            }
            .map_err(text)?,
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
}
