//! Rollups: what the readings of a day come to in steps of 1 min, 15 min, 1 h or the day itself, of every series, in a file that stands for them
//! when a chart asks for longer steps, and in their place when they are gone. Pure: bytes in, bytes out; which readings a file stands for, and
//! when it is used, is not known here.
//!
//! ```text
//! rollup    = "PATROLL" 1 | page* | index | footer
//! page      = block* | directory | CRC-32 of the directory (u32)
//! directory = series | { step from the series before | bytes of its block | CRC-32 of it (u32) }*        ascending
//! index     = pages | { step from the last series of the page before to its first | from that to its last | bytes of its blocks | of its directory }*
//! footer    = start of the index (u64) | its bytes (u32) | its CRC-32 (u32) | series (u64) | day (i64) | step in ms (u32)
//!             | CRC-32 of these (u32) | "ROLLEND" 1
//! ```
//! A block is one series: count, sum, least, greatest, first and last with their times, uncertain and bad, of every step that has readings (`block`).
//! - **A step covers `[start, start + step)`**, as buckets do everywhere here: a reading on its edge belongs to what begins.
//! - **Mergeable.** Steps joined are what one longer step would be; only the last digits of a sum may differ, as it is rounded once more. The sums in
//!   a file are the better ones: those of decimals are rounded once, where adding readings one by one rounds each time.
//! - **Torn or damaged is known**, as of a part: index, directories and blocks have a CRC each.
//!
//! # Limits
//! A block has at most [`MAX_ROWS`] steps, a page at most [`PAGE_SERIES`] series; the index is in memory while a file is open, about 40 bytes a page.
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

use super::SeriesId;
use super::part::bytes::{Reader, put};
use super::part::{PartError, Source, Stats};

mod block;
mod write;

#[cfg(test)]
mod tests;

pub use write::Writer;

/// First bytes of a rollup; the last one is the format.
const MAGIC: [u8; 8] = *b"PATROLL\x01";
/// Last bytes of a rollup.
const END: [u8; 8] = *b"ROLLEND\x01";
const FOOTER_BYTES: usize = 48;
/// Longest index.
const MAX_INDEX_BYTES: usize = 64 << 20;
/// Longest piece of a page.
const MAX_PIECE_BYTES: usize = 64 << 20;
/// Series of a page at most.
const PAGE_SERIES: usize = 128;
/// Minutes of a day.
const MAX_ROWS: usize = 1440;
const DAY_MS: i64 = 86_400_000;

/// How long the steps of a rollup are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// 1 min.
    Minute,
    /// 15 min.
    Quarter,
    /// 1 h.
    Hour,
    /// 1 d, UTC.
    Day,
}

/// All, the finest first.
pub const LEVELS: [Level; 4] = [Level::Minute, Level::Quarter, Level::Hour, Level::Day];

impl Level {
    /// Length of a step.
    #[must_use]
    pub fn step_ms(self) -> i64 {
        match self {
            Self::Minute => 60_000,
            Self::Quarter => 900_000,
            Self::Hour => 3_600_000,
            Self::Day => DAY_MS,
        }
    }

    /// What it is called in configuration, names of files and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Minute => "1m",
            Self::Quarter => "15m",
            Self::Hour => "1h",
            Self::Day => "1d",
        }
    }

    /// Its place among [`LEVELS`].
    #[must_use]
    pub fn place(self) -> usize {
        self as usize
    }
}

/// Beginning and end of a rollup, if the day has any.
#[must_use]
pub fn span_of(day: i64) -> Option<(i64, i64)> {
    let first = day.checked_mul(DAY_MS)?;
    first.checked_add(DAY_MS).map(|end| (first, end))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Page {
    first: SeriesId,
    last: SeriesId,
    at: u64,
    block_bytes: usize,
    directory_bytes: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Footer {
    index_at: u64,
    index_bytes: usize,
    index_crc: u32,
    series: u64,
    day: i64,
    step_ms: i64,
}

/// An open rollup.
#[derive(Debug)]
pub struct Rollup<S> {
    source: S,
    footer: Footer,
    pages: Vec<Page>,
}

/// A block, as a directory names it.
#[derive(Debug, Clone, Copy)]
struct Entry {
    series: SeriesId,
    at: u64,
    bytes: usize,
    crc: u32,
}

impl<S: Source> Rollup<S> {
    /// Opens it.
    ///
    /// # Errors
    /// Torn, damaged, of a newer program, or refused by the disk.
    pub fn open(source: S) -> Result<Self, PartError> {
        let footer = glance(&source)?;
        let index = source.read(footer.index_at, footer.index_bytes)?;
        if index.len() != footer.index_bytes || crc32fast::hash(&index) != footer.index_crc {
            return Err(PartError::Damaged { at: footer.index_at, what: "index: its checksum" });
        }
        let pages = take_index(&index, &footer)?;
        drop(index);
        Ok(Self { source, footer, pages })
    }

    /// What it takes in memory, about, in bytes.
    #[must_use]
    pub fn index_bytes(&self) -> usize {
        self.pages.len() * size_of::<Page>()
    }

    /// Steps of a series that lie within `from_ms..to_ms`, by their start, ascending.
    ///
    /// # Errors
    /// Damaged, or refused by the disk.
    pub fn rows(&self, series: SeriesId, from_ms: i64, to_ms: i64) -> Result<Vec<(i64, Stats)>, PartError> {
        let page = self.pages.get(self.pages.partition_point(|page| page.last < series));
        let Some(page) = page.filter(|page| page.first <= series) else { return Ok(Vec::new()) };
        let entries = self.directory(page)?;
        let Ok(place) = entries.binary_search_by_key(&series, |entry| entry.series) else { return Ok(Vec::new()) };
        let Some(entry) = entries.get(place) else { return Ok(Vec::new()) };
        let mut rows = self.block(entry)?;
        let step_ms = self.footer.step_ms;
        rows.retain(|(start_ms, _)| *start_ms >= from_ms && start_ms.saturating_add(step_ms) <= to_ms);
        Ok(rows)
    }

    /// Decodes everything; gives the steps found, and what is damaged.
    pub fn check(&self) -> (u64, Vec<PartError>) {
        let (mut rows, mut damage) = (0, Vec::new());
        for page in &self.pages {
            match self.directory(page) {
                Ok(entries) => entries.iter().for_each(|entry| match self.block(entry) {
                    Ok(block) => rows += block.len() as u64,
                    Err(e) => damage.push(e),
                }),
                Err(e) => damage.push(e),
            }
        }
        (rows, damage)
    }

    fn block(&self, entry: &Entry) -> Result<Vec<(i64, Stats)>, PartError> {
        let bytes = self.source.read(entry.at, entry.bytes)?;
        if bytes.len() != entry.bytes || crc32fast::hash(&bytes) != entry.crc {
            return Err(PartError::Damaged { at: entry.at, what: "a series of a rollup" });
        }
        block::take(&mut Reader::new(&bytes, entry.at), self.footer.day, self.footer.step_ms)
    }

    fn directory(&self, page: &Page) -> Result<Vec<Entry>, PartError> {
        const WHAT: &str = "directory of a page";
        let at = page.at + page.block_bytes as u64;
        let bytes = self.source.read(at, page.directory_bytes + 4)?;
        let mut reader = Reader::new(&bytes, at);
        let directory = reader.take(page.directory_bytes, WHAT)?;
        if u32::from_le_bytes(reader.array(WHAT)?) != crc32fast::hash(directory) {
            return Err(PartError::Damaged { at, what: "directory of a page: its checksum" });
        }
        let mut reader = Reader::new(directory, at);
        let mut entries = Vec::new();
        let (mut series, mut place) = (0u32, page.at);
        for _ in 0..reader.length(PAGE_SERIES, WHAT)? {
            let step = u32::try_from(reader.number(WHAT)?).ok();
            series = step.and_then(|step| series.checked_add(step)).ok_or_else(|| reader.damaged(WHAT))?;
            let bytes = reader.length(MAX_PIECE_BYTES, WHAT)?;
            entries.push(Entry { series: SeriesId(series), at: place, bytes, crc: u32::from_le_bytes(reader.array(WHAT)?) });
            place += bytes as u64;
        }
        if place == at && reader.is_empty() { Ok(entries) } else { Err(reader.damaged(WHAT)) }
    }
}

/// Beginning and end: that it is a rollup, and whose.
fn glance<S: Source>(source: &S) -> Result<Footer, PartError> {
    const WHAT: &str = "footer";
    let bytes = source.bytes()?;
    let begins = source.read(0, MAGIC.len())?;
    let mut magic = Reader::new(&begins, 0);
    match magic.take(MAGIC.len() - 1, "").and_then(|name| Ok((name, magic.byte("")?))) {
        Err(_) => return Err(PartError::Torn("it has not even a beginning")),
        Ok((name, _)) if !MAGIC.starts_with(name) => return Err(PartError::Damaged { at: 0, what: "beginning of a rollup" }),
        Ok((_, format)) if !MAGIC.ends_with(&[format]) => return Err(PartError::Newer(format)),
        Ok(_) => {}
    }
    let at = bytes.checked_sub(FOOTER_BYTES as u64).ok_or(PartError::Torn("it has no footer"))?;
    let ends = source.read(at, FOOTER_BYTES)?;
    if ends.len() != FOOTER_BYTES || !ends.ends_with(&END) {
        return Err(PartError::Torn("it has no footer"));
    }
    let mut reader = Reader::new(&ends, at);
    let crc = crc32fast::hash(reader.clone().take(FOOTER_BYTES - END.len() - 4, WHAT)?);
    let footer = Footer {
        index_at: u64::from_le_bytes(reader.array(WHAT)?),
        index_bytes: u32::from_le_bytes(reader.array(WHAT)?) as usize,
        index_crc: u32::from_le_bytes(reader.array(WHAT)?),
        series: u64::from_le_bytes(reader.array(WHAT)?),
        day: i64::from_le_bytes(reader.array(WHAT)?),
        step_ms: i64::from(u32::from_le_bytes(reader.array(WHAT)?)),
    };
    let fits = footer.index_at.checked_add(footer.index_bytes as u64) == Some(at) && footer.index_bytes <= MAX_INDEX_BYTES;
    let known = LEVELS.iter().any(|level| level.step_ms() == footer.step_ms) && span_of(footer.day).is_some();
    let whole = u32::from_le_bytes(reader.array(WHAT)?) == crc && fits && known;
    if whole { Ok(footer) } else { Err(PartError::Damaged { at, what: WHAT }) }
}

fn put_footer(out: &mut Vec<u8>, footer: &Footer) {
    let from = out.len();
    out.extend(footer.index_at.to_le_bytes());
    out.extend((footer.index_bytes as u32).to_le_bytes());
    out.extend(footer.index_crc.to_le_bytes());
    out.extend(footer.series.to_le_bytes());
    out.extend(footer.day.to_le_bytes());
    out.extend((footer.step_ms as u32).to_le_bytes());
    let crc = crc32fast::hash(out.get(from..).unwrap_or_default());
    out.extend(crc.to_le_bytes());
    out.extend(END);
}

fn put_index(out: &mut Vec<u8>, pages: &[Page]) {
    put(out, pages.len() as u64);
    let mut before = 0;
    for page in pages {
        put(out, u64::from(page.first.0 - before));
        put(out, u64::from(page.last.0 - page.first.0));
        put(out, page.block_bytes as u64);
        put(out, page.directory_bytes as u64);
        before = page.last.0;
    }
}

fn take_index(bytes: &[u8], footer: &Footer) -> Result<Vec<Page>, PartError> {
    const WHAT: &str = "index";
    let mut reader = Reader::new(bytes, footer.index_at);
    let mut pages: Vec<Page> = Vec::new();
    let (mut at, mut last) = (MAGIC.len() as u64, 0u32);
    for _ in 0..reader.length(bytes.len(), WHAT)? {
        let mut after = |reader: &mut Reader<'_>| {
            let step = u32::try_from(reader.number(WHAT)?).ok();
            last = step.and_then(|step| last.checked_add(step)).ok_or_else(|| reader.damaged(WHAT))?;
            Ok(SeriesId(last))
        };
        let (first, last) = (after(&mut reader)?, after(&mut reader)?);
        let (block_bytes, directory_bytes) = (reader.length(MAX_PIECE_BYTES, WHAT)?, reader.length(MAX_PIECE_BYTES, WHAT)?);
        let apart = pages.last().is_none_or(|before| before.last < first);
        pages.push(Page { first, last, at, block_bytes, directory_bytes });
        at += (block_bytes + directory_bytes + 4) as u64;
        if !apart || at > footer.index_at {
            return Err(reader.damaged(WHAT));
        }
    }
    if at == footer.index_at && reader.is_empty() { Ok(pages) } else { Err(reader.damaged(WHAT)) }
}
