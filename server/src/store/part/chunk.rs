//! One chunk: [`Rows`] as bytes and back. It says itself what it holds, so that a part without its index is still of use.
//!
//! ```text
//! chunk  = bytes of the head (u32) | bytes of the chunk (u32) | CRC-32 of the head (u32) | head | times | columns
//! head   = rows | first and last time (i64) | piece: times | columns | { column }*
//! column = step from the series before | representation (| exponent: i8) | rows that are absent | piece | stats
//! piece  = its bytes | its CRC-32 (u32)
//! times  = numbers: ms after the first time
//! body   = marks | { rows since the mark before | rows << 2 | state (| reason) }* | values
//! text   = words | { bytes | UTF-8 }* | numbers: which word
//! ```
//! All numbers without a width are of 7 bits a byte, little endian is the rest. States: 0 absent, 1 uncertain, 2 bad. A piece whose CRC does
//! not fit is never decoded: pco gives wrong numbers for two of three flipped bits without a word.

use pattoo_wire::{Reason, Repr};

use super::PartError;
use super::bytes::{Reader, put};
use super::pack::{from_signed, put_flags, put_floats, put_words, take_flags, take_floats, take_words, to_signed};
use super::rows::{Column, FULL_ROWS, MAX_COLUMNS, Mark, Rows, State, Texts, Values};
use super::stats::{Stats, put_stats, take_stats};
use crate::store::SeriesId;

/// Lengths and CRC in front of a head.
pub(super) const PREFIX_BYTES: usize = 12;
/// Longest chunk.
pub(super) const MAX_CHUNK_BYTES: usize = 64 << 20;

/// Where a part of a chunk lies in it, and its checksum.
#[derive(Debug, Clone, Copy)]
struct Piece {
    from: usize,
    bytes: usize,
    crc: u32,
}

/// What a chunk says of itself; its columns are decoded one by one, if at all.
#[derive(Debug)]
pub(super) struct Head {
    /// Place in the part.
    pub(super) at: u64,
    pub(super) rows: usize,
    pub(super) first_ms: i64,
    pub(super) last_ms: i64,
    times: Piece,
    pub(super) columns: Vec<ColumnHead>,
}

#[derive(Debug)]
pub(super) struct ColumnHead {
    pub(super) series: SeriesId,
    /// Without values, of the right representation.
    like: Values,
    pub(super) absent: usize,
    piece: Piece,
    pub(super) stats: Stats,
}

/// Appends the rows as a chunk; gives the bytes of prefix and head.
pub(super) fn put_chunk(out: &mut Vec<u8>, rows: &Rows) -> Result<usize, PartError> {
    let (Some(&first_ms), Some(&last_ms)) = (rows.times_ms.first(), rows.times_ms.last()) else {
        return Err(PartError::Unwritable("a chunk without rows".into()));
    };
    let mut body = Vec::new();
    let mut head = Vec::new();
    put(&mut head, rows.len() as u64);
    head.extend(first_ms.to_le_bytes());
    head.extend(last_ms.to_le_bytes());
    let times: Vec<u64> = rows.times_ms.iter().map(|at_ms| at_ms.wrapping_sub(first_ms) as u64).collect();
    put_words(&mut body, &times)?;
    put_piece(&mut head, &body);
    put(&mut head, rows.columns.len() as u64);
    let mut before = 0;
    for column in &rows.columns {
        put(&mut head, u64::from(column.series.0 - before));
        before = column.series.0;
        put_repr(&mut head, column.values.repr());
        put(&mut head, column.absent(rows.len()) as u64);
        let from = body.len();
        put_column(&mut body, column, rows.len())?;
        put_piece(&mut head, body.get(from..).unwrap_or_default());
        put_stats(&mut head, column, &rows.times_ms);
    }
    let bytes = PREFIX_BYTES + head.len() + body.len();
    if bytes > MAX_CHUNK_BYTES {
        return Err(PartError::Unwritable(format!("a chunk of {bytes} bytes, at most {MAX_CHUNK_BYTES}")));
    }
    for number in [head.len() as u32, bytes as u32, crc32fast::hash(&head)] {
        out.extend(number.to_le_bytes());
    }
    out.extend_from_slice(&head);
    out.extend_from_slice(&body);
    Ok(PREFIX_BYTES + head.len())
}

fn put_piece(head: &mut Vec<u8>, piece: &[u8]) {
    put(head, piece.len() as u64);
    head.extend(crc32fast::hash(piece).to_le_bytes());
}

fn put_repr(out: &mut Vec<u8>, repr: Option<Repr>) {
    out.push(match repr {
        None => 0,
        Some(Repr::Decimal { .. }) => 1,
        Some(Repr::Unsigned) => 2,
        Some(Repr::F32) => 3,
        Some(Repr::F64) => 4,
        Some(Repr::Bool) => 5,
        Some(Repr::Text) => 6,
    });
    if let Some(Repr::Decimal { exponent }) = repr {
        out.extend(exponent.to_le_bytes());
    }
}

fn put_column(out: &mut Vec<u8>, column: &Column, rows: usize) -> Result<(), PartError> {
    // Rows that came after its last one are absent.
    let tail = Some(rows - column.covered).filter(|rows| *rows > 0);
    let tail = tail.map(|rows| Mark { first: column.covered, rows, state: State::Absent });
    put(out, (column.marks.len() + usize::from(tail.is_some())) as u64);
    let mut end = 0;
    for mark in column.marks.iter().chain(&tail) {
        let (state, reason) = match mark.state {
            State::Absent => (0, None),
            State::Uncertain(reason) => (1, Some(reason)),
            State::Bad(reason) => (2, Some(reason)),
        };
        put(out, (mark.first - end) as u64);
        put(out, (mark.rows as u64) << 2 | state);
        if let Some(reason) = reason {
            put(out, u64::from(reason.code()));
        }
        end = mark.first + mark.rows;
    }
    match &column.values {
        Values::None => Ok(()),
        Values::Decimal(_, values) => put_words(out, &values.iter().map(|m| from_signed(*m)).collect::<Vec<_>>()),
        Values::Unsigned(values) => put_words(out, values),
        Values::F32(values) => put_floats(out, values),
        Values::F64(values) => put_floats(out, values),
        Values::Bool(values) => {
            put_flags(out, values);
            Ok(())
        }
        Values::Text(texts) => {
            put(out, texts.words.len() as u64);
            for word in &texts.words {
                put(out, word.len() as u64);
                out.extend_from_slice(word.as_bytes());
            }
            put_words(out, &texts.picks)
        }
    }
}

/// Lengths of head and chunk, prefix included, as a prefix gives them.
pub(super) fn lengths(prefix: &[u8], at: u64) -> Result<(usize, usize), PartError> {
    let mut reader = Reader::new(prefix, at);
    let head = u32::from_le_bytes(reader.array("length of a chunk")?) as usize + PREFIX_BYTES;
    let bytes = u32::from_le_bytes(reader.array("length of a chunk")?) as usize;
    if head > bytes || bytes > MAX_CHUNK_BYTES { Err(PartError::Damaged { at, what: "length of a chunk" }) } else { Ok((head, bytes)) }
}

/// Reads prefix and head.
pub(super) fn take_head(bytes: &[u8], at: u64) -> Result<Head, PartError> {
    const WHAT: &str = "head of a chunk";
    let (head_bytes, bytes_of_chunk) = lengths(bytes, at)?;
    let mut reader = Reader::new(bytes, at);
    reader.take(PREFIX_BYTES - 4, WHAT)?;
    let crc = u32::from_le_bytes(reader.array(WHAT)?);
    let mut reader = Reader::new(reader.take(head_bytes - PREFIX_BYTES, WHAT)?, at + PREFIX_BYTES as u64);
    if crc32fast::hash(reader.clone().rest()) != crc {
        return Err(reader.damaged("head of a chunk: its checksum"));
    }
    let rows = reader.length(FULL_ROWS, WHAT)?;
    let first_ms = i64::from_le_bytes(reader.array(WHAT)?);
    let last_ms = i64::from_le_bytes(reader.array(WHAT)?);
    let mut from = head_bytes;
    let times = take_piece(&mut reader, &mut from, bytes_of_chunk)?;
    let count = reader.length(MAX_COLUMNS, WHAT)?;
    let mut columns = Vec::new();
    let mut series = 0u32;
    for _ in 0..count {
        let step = u32::try_from(reader.number(WHAT)?).ok();
        series = step.and_then(|step| series.checked_add(step)).ok_or_else(|| reader.damaged(WHAT))?;
        let like = take_repr(&mut reader)?;
        let absent = reader.length(rows, WHAT)?;
        let piece = take_piece(&mut reader, &mut from, bytes_of_chunk)?;
        let stats = take_stats(&mut reader, &like, (first_ms, last_ms))?;
        columns.push(ColumnHead { series: SeriesId(series), like, absent, piece, stats });
    }
    if rows == 0 || first_ms > last_ms || from != bytes_of_chunk || !reader.is_empty() {
        return Err(reader.damaged(WHAT));
    }
    Ok(Head { at, rows, first_ms, last_ms, times, columns })
}

fn take_piece(reader: &mut Reader<'_>, from: &mut usize, end: usize) -> Result<Piece, PartError> {
    const WHAT: &str = "place of a column";
    let bytes = reader.length(end.saturating_sub(*from), WHAT)?;
    let piece = Piece { from: *from, bytes, crc: u32::from_le_bytes(reader.array(WHAT)?) };
    *from += bytes;
    Ok(piece)
}

fn take_repr(reader: &mut Reader<'_>) -> Result<Values, PartError> {
    const WHAT: &str = "representation of a column";
    Ok(Values::of(match reader.byte(WHAT)? {
        0 => return Ok(Values::None),
        1 => Repr::Decimal { exponent: i8::from_le_bytes(reader.array(WHAT)?) },
        2 => Repr::Unsigned,
        3 => Repr::F32,
        4 => Repr::F64,
        5 => Repr::Bool,
        6 => Repr::Text,
        _ => return Err(reader.damaged(WHAT)),
    }))
}

impl Head {
    /// Readings that it has in all.
    pub(super) fn readings(&self) -> u64 {
        self.columns.iter().map(|column| (self.rows - column.absent) as u64).sum()
    }

    /// Checks every checksum; `bytes` is the whole chunk.
    pub(super) fn check(&self, bytes: &[u8]) -> Result<(), PartError> {
        for piece in self.columns.iter().map(|column| column.piece).chain([self.times]) {
            let place = bytes.get(piece.from..piece.from + piece.bytes).unwrap_or_default();
            checked(place, self.at + piece.from as u64, piece, "a column")?;
        }
        Ok(())
    }

    /// Place in the part and length of what holds the times.
    pub(super) fn times_place(&self) -> (u64, usize) {
        (self.at + self.times.from as u64, self.times.bytes)
    }

    pub(super) fn column_place(&self, column: &ColumnHead) -> (u64, usize) {
        (self.at + column.piece.from as u64, column.piece.bytes)
    }

    pub(super) fn times(&self, bytes: &[u8]) -> Result<Vec<i64>, PartError> {
        let mut reader = checked(bytes, self.times_place().0, self.times, "times of a chunk")?;
        let offsets = take_words::<u64>(&mut reader, self.rows)?;
        let times_ms: Vec<i64> = offsets.into_iter().map(|offset| self.first_ms.wrapping_add(offset as i64)).collect();
        let ascending = times_ms.is_sorted_by(|a, b| a < b);
        let ends = times_ms.first() == Some(&self.first_ms) && times_ms.last() == Some(&self.last_ms);
        if ascending && ends { Ok(times_ms) } else { Err(reader.damaged("times of a chunk")) }
    }

    pub(super) fn column(&self, column: &ColumnHead, bytes: &[u8]) -> Result<Column, PartError> {
        const WHAT: &str = "a column";
        let mut reader = checked(bytes, self.column_place(column).0, column.piece, WHAT)?;
        let count = reader.length(self.rows, WHAT)?;
        let mut marks = Vec::new();
        let (mut end, mut without) = (0, 0);
        for _ in 0..count {
            let first = end + reader.length(self.rows - end, WHAT)?;
            let word = reader.number(WHAT)?;
            let rows = usize::try_from(word >> 2).ok().filter(|rows| (1..=self.rows - first).contains(rows));
            let rows = rows.ok_or_else(|| reader.damaged(WHAT))?;
            let mut reason = || Ok(Reason::from_code(reader.length(usize::from(u16::MAX), WHAT)? as u16));
            let state = match word & 3 {
                0 => State::Absent,
                1 => State::Uncertain(reason()?),
                2 => State::Bad(reason()?),
                _ => return Err(reader.damaged(WHAT)),
            };
            end = first + rows;
            without += if matches!(state, State::Uncertain(_)) { 0 } else { rows };
            marks.push(Mark { first, rows, state });
        }
        let values = take_values(&mut reader, &column.like, self.rows - without)?;
        Ok(Column { series: column.series, values, marks, covered: self.rows })
    }
}

fn checked<'a>(bytes: &'a [u8], at: u64, piece: Piece, what: &'static str) -> Result<Reader<'a>, PartError> {
    if bytes.len() == piece.bytes && crc32fast::hash(bytes) == piece.crc {
        Ok(Reader::new(bytes, at))
    } else {
        Err(PartError::Damaged { at, what })
    }
}

fn take_values(reader: &mut Reader<'_>, like: &Values, count: usize) -> Result<Values, PartError> {
    Ok(match like {
        Values::None if count == 0 => Values::None,
        Values::None => return Err(reader.damaged("a column without a representation")),
        Values::Decimal(exponent, _) => {
            let mantissas = take_words(reader, count)?.into_iter().map(to_signed).collect();
            Values::Decimal(*exponent, mantissas)
        }
        Values::Unsigned(_) => Values::Unsigned(take_words(reader, count)?),
        Values::F32(_) => Values::F32(take_floats(reader, count)?),
        Values::F64(_) => Values::F64(take_floats(reader, count)?),
        Values::Bool(_) => Values::Bool(take_flags(reader, count)?),
        Values::Text(_) => Values::Text(take_texts(reader, count)?),
    })
}

fn take_texts(reader: &mut Reader<'_>, count: usize) -> Result<Texts, PartError> {
    const WHAT: &str = "a column of texts";
    let words = reader.length(count, WHAT)?;
    let mut texts = Texts::default();
    for _ in 0..words {
        let bytes = reader.length(MAX_CHUNK_BYTES, WHAT)?;
        let word = std::str::from_utf8(reader.take(bytes, WHAT)?).map_err(|_| reader.damaged(WHAT))?;
        texts.words.push(word.to_owned());
    }
    texts.picks = take_words(reader, count)?;
    let known = texts.picks.iter().all(|pick| (*pick as usize) < texts.words.len());
    if known { Ok(texts) } else { Err(reader.damaged(WHAT)) }
}
