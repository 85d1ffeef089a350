//! Writes a rollup series by series: what it has written may leave memory at once; it keeps a page and the index.

use super::super::part::bytes::put;
use super::{FOOTER_BYTES, Footer, Level, MAGIC, MAX_INDEX_BYTES, MAX_PIECE_BYTES, PAGE_SERIES, Page, PartError, Stats, block};
use super::{put_footer, put_index};
use crate::store::SeriesId;

/// A rollup that is being written. Bytes are appended to the buffer that each call is given, to be written in this order.
#[derive(Debug)]
pub struct Writer {
    day: i64,
    step_ms: i64,
    at: u64,
    pages: Vec<Page>,
    series: u64,
    /// Blocks of the page that is not full yet, and their directory.
    blocks: Vec<u8>,
    directory: Vec<u8>,
    of_page: Option<(SeriesId, SeriesId, usize)>,
}

impl Writer {
    /// Begins a rollup of a day.
    #[must_use]
    pub fn new(day: i64, level: Level, out: &mut Vec<u8>) -> Self {
        out.extend(MAGIC);
        let step_ms = level.step_ms();
        Self {
            day,
            step_ms,
            at: MAGIC.len() as u64,
            pages: Vec::new(),
            series: 0,
            blocks: Vec::new(),
            directory: Vec::new(),
            of_page: None,
        }
    }

    /// Appends a series, with its steps by their start, ascending. Without any it is left out.
    ///
    /// # Errors
    /// A limit of the format.
    ///
    /// # Panics
    /// A series that does not come after the one before.
    pub fn series(&mut self, series: SeriesId, rows: &[(i64, Stats)], out: &mut Vec<u8>) -> Result<(), PartError> {
        if rows.is_empty() {
            return Ok(());
        }
        let before = self.of_page.map_or_else(|| self.pages.last().map(|page| page.last), |(_, last, _)| Some(last));
        assert!(before.is_none_or(|before| before < series), "BUG: series out of order");
        let from = self.blocks.len();
        block::put_block(&mut self.blocks, rows, self.day, self.step_ms)?;
        let block = self.blocks.get(from..).unwrap_or_default();
        let (first, last, count) = self.of_page.unwrap_or((series, SeriesId(0), 0));
        put(&mut self.directory, u64::from(series.0 - last.0));
        put(&mut self.directory, block.len() as u64);
        self.directory.extend(crc32fast::hash(block).to_le_bytes());
        self.of_page = Some((first, series, count + 1));
        self.series += 1;
        if count + 1 == PAGE_SERIES { self.page(out) } else { Ok(()) }
    }

    fn page(&mut self, out: &mut Vec<u8>) -> Result<(), PartError> {
        let Some((first, last, count)) = self.of_page.take() else { return Ok(()) };
        let mut directory = Vec::new();
        put(&mut directory, count as u64);
        directory.append(&mut self.directory);
        if self.blocks.len() > MAX_PIECE_BYTES {
            return Err(PartError::Unwritable(format!("a page of {} bytes, at most {MAX_PIECE_BYTES}", self.blocks.len())));
        }
        let page = Page { first, last, at: self.at, block_bytes: self.blocks.len(), directory_bytes: directory.len() };
        self.at += (page.block_bytes + page.directory_bytes + 4) as u64;
        self.pages.push(page);
        out.append(&mut self.blocks);
        out.extend_from_slice(&directory);
        out.extend(crc32fast::hash(&directory).to_le_bytes());
        Ok(())
    }

    /// Appends what is left, index and footer: only now it is a rollup. Gives its bytes.
    ///
    /// # Errors
    /// A limit of the format.
    pub fn finish(mut self, out: &mut Vec<u8>) -> Result<u64, PartError> {
        self.page(out)?;
        let mut index = Vec::new();
        put_index(&mut index, &self.pages);
        if index.len() > MAX_INDEX_BYTES {
            return Err(PartError::Unwritable(format!("an index of {} bytes, at most {MAX_INDEX_BYTES}", index.len())));
        }
        let footer = Footer {
            index_at: self.at,
            index_bytes: index.len(),
            index_crc: crc32fast::hash(&index),
            series: self.series,
            day: self.day,
            step_ms: self.step_ms,
        };
        out.extend_from_slice(&index);
        put_footer(out, &footer);
        Ok(self.at + index.len() as u64 + FOOTER_BYTES as u64)
    }
}
