//! Index and footer of a part: which groups there are, which series they have, where their chunks lie. Columns are not known here.

use super::bytes::{Reader, put};
use super::{END, MAX_INDEX_BYTES, PartError};
use crate::store::SeriesId;

pub(super) const FOOTER_BYTES: usize = 52;

/// A group and its chunks, ascending in time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Group {
    /// Ascending.
    pub(super) series: Vec<SeriesId>,
    pub(super) chunks: Vec<Place>,
}

/// Where a chunk lies, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) at: u64,
    /// Prefix and head.
    pub(super) head_bytes: usize,
    pub(super) bytes: usize,
    pub(super) first_ms: i64,
    pub(super) last_ms: i64,
}

/// What a part says of itself as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Footer {
    pub(super) index_at: u64,
    pub(super) index_bytes: usize,
    pub(super) index_crc: u32,
    pub(super) readings: u64,
    /// First and last time; the other way around in a part without readings.
    pub(super) first_ms: i64,
    pub(super) last_ms: i64,
}

pub(super) fn put_index(out: &mut Vec<u8>, groups: &[Group]) {
    put(out, groups.len() as u64);
    for group in groups {
        put(out, group.series.len() as u64);
        let mut before = 0;
        for series in &group.series {
            put(out, u64::from(series.0 - before));
            before = series.0;
        }
        put(out, group.chunks.len() as u64);
        let mut last_ms = 0i64;
        for chunk in &group.chunks {
            put(out, chunk.head_bytes as u64);
            put(out, chunk.bytes as u64);
            put(out, chunk.first_ms.wrapping_sub(last_ms) as u64);
            put(out, chunk.last_ms.wrapping_sub(chunk.first_ms) as u64);
            last_ms = chunk.last_ms;
        }
    }
}

/// Reads the groups of an index whose checksum is right; `first` is where the first chunk begins.
pub(super) fn take_index(bytes: &[u8], footer: &Footer, first: u64) -> Result<Vec<Group>, PartError> {
    const WHAT: &str = "index";
    let mut reader = Reader::new(bytes, footer.index_at);
    let mut at = first;
    // A group has two bytes at least, a series one and a chunk four: no more room is made than can be filled.
    let count = reader.length(bytes.len(), WHAT)?;
    let mut groups = Vec::with_capacity(count.min(reader.left() / 2));
    for _ in 0..count {
        let mut group = Group::default();
        let mut series = 0u32;
        let count = reader.length(bytes.len(), WHAT)?;
        group.series.reserve_exact(count.min(reader.left()));
        for _ in 0..count {
            let step = u32::try_from(reader.number(WHAT)?).ok();
            series = step.and_then(|step| series.checked_add(step)).ok_or_else(|| reader.damaged(WHAT))?;
            group.series.push(SeriesId(series));
        }
        let mut before_ms = 0i64;
        let count = reader.length(bytes.len(), WHAT)?;
        group.chunks.reserve_exact(count.min(reader.left() / 4));
        for _ in 0..count {
            let head_bytes = reader.length(usize::MAX, WHAT)?;
            let bytes = reader.length(usize::MAX, WHAT)?;
            let first_ms = before_ms.wrapping_add(reader.number(WHAT)? as i64);
            let last_ms = first_ms.wrapping_add(reader.number(WHAT)? as i64);
            let apart = first_ms <= last_ms && group.chunks.last().is_none_or(|before: &Place| before.last_ms < first_ms);
            let end = at.checked_add(bytes as u64).filter(|end| *end <= footer.index_at && head_bytes <= bytes && apart);
            group.chunks.push(Place { at, head_bytes, bytes, first_ms, last_ms });
            at = end.ok_or_else(|| reader.damaged(WHAT))?;
            before_ms = last_ms;
        }
        groups.push(group);
    }
    if at == footer.index_at && reader.is_empty() { Ok(groups) } else { Err(reader.damaged(WHAT)) }
}

pub(super) fn put_footer(out: &mut Vec<u8>, footer: &Footer) {
    let from = out.len();
    out.extend(footer.index_at.to_le_bytes());
    out.extend((footer.index_bytes as u32).to_le_bytes());
    out.extend(footer.index_crc.to_le_bytes());
    out.extend(footer.readings.to_le_bytes());
    out.extend(footer.first_ms.to_le_bytes());
    out.extend(footer.last_ms.to_le_bytes());
    let crc = crc32fast::hash(out.get(from..).unwrap_or_default());
    out.extend(crc.to_le_bytes());
    out.extend(END);
}

/// Reads the last bytes of a part of this length.
pub(super) fn take_footer(bytes: &[u8], part_bytes: u64) -> Result<Footer, PartError> {
    const WHAT: &str = "footer";
    if bytes.len() != FOOTER_BYTES || !bytes.ends_with(&END) {
        return Err(PartError::Torn("it has no footer"));
    }
    let at = part_bytes - FOOTER_BYTES as u64;
    let mut reader = Reader::new(bytes, at);
    let crc = crc32fast::hash(reader.clone().take(FOOTER_BYTES - END.len() - 4, WHAT)?);
    let footer = Footer {
        index_at: u64::from_le_bytes(reader.array(WHAT)?),
        index_bytes: u32::from_le_bytes(reader.array(WHAT)?) as usize,
        index_crc: u32::from_le_bytes(reader.array(WHAT)?),
        readings: u64::from_le_bytes(reader.array(WHAT)?),
        first_ms: i64::from_le_bytes(reader.array(WHAT)?),
        last_ms: i64::from_le_bytes(reader.array(WHAT)?),
    };
    let fits = footer.index_at.checked_add(footer.index_bytes as u64) == Some(at) && footer.index_bytes <= MAX_INDEX_BYTES;
    if u32::from_le_bytes(reader.array(WHAT)?) == crc && fits { Ok(footer) } else { Err(PartError::Damaged { at, what: WHAT }) }
}
