//! Writes a part piece by piece: what it has written may leave memory at once; it keeps the index only.

use super::chunk::{Head, put_chunk};
use super::index::{FOOTER_BYTES, Footer, Group, Place, put_footer, put_index};
use super::rows::Rows;
use super::{MAGIC, MAX_INDEX_BYTES, PartError};
use crate::store::SeriesId;

/// A part that is being written. Bytes are appended to the buffer that each call is given, to be written in this order.
#[derive(Debug)]
pub struct Writer {
    groups: Vec<Group>,
    at: u64,
    readings: u64,
    first_ms: i64,
    last_ms: i64,
}

impl Writer {
    /// Begins a part.
    #[must_use]
    pub fn new(out: &mut Vec<u8>) -> Self {
        out.extend(MAGIC);
        Self { groups: Vec::new(), at: MAGIC.len() as u64, readings: 0, first_ms: i64::MAX, last_ms: i64::MIN }
    }

    /// Begins a group: what comes next is not polled together with what came before.
    pub fn begin_group(&mut self) {
        self.groups.push(Group::default());
    }

    /// Appends rows to the group, later than all that it has. No rows are nothing.
    ///
    /// # Errors
    /// A limit of the format.
    ///
    /// # Panics
    /// There is no group, or it has later rows.
    pub fn rows(&mut self, rows: &Rows, out: &mut Vec<u8>) -> Result<(), PartError> {
        let (Some(&first_ms), Some(&last_ms)) = (rows.times_ms.first(), rows.times_ms.last()) else { return Ok(()) };
        let from = out.len();
        let head_bytes = put_chunk(out, rows)?;
        let place = Place { at: self.at, head_bytes, bytes: out.len() - from, first_ms, last_ms };
        self.readings += rows.readings_count();
        self.chunk(place, rows.columns.iter().map(|column| column.series));
        Ok(())
    }

    /// Appends a chunk as it is; its bytes have been checked.
    pub(super) fn copy(&mut self, head: &Head, head_bytes: usize, bytes: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(bytes);
        self.readings += head.readings();
        let place = Place { at: self.at, head_bytes, bytes: bytes.len(), first_ms: head.first_ms, last_ms: head.last_ms };
        self.chunk(place, head.columns.iter().map(|column| column.series));
    }

    fn chunk(&mut self, place: Place, series: impl Iterator<Item = SeriesId>) {
        let group = self.groups.last_mut().expect("BUG: rows without a group");
        assert!(group.chunks.last().is_none_or(|before| before.last_ms < place.first_ms), "BUG: chunks out of order");
        for id in series {
            // In the usual case they are all there.
            if let Err(gap) = group.series.binary_search(&id) {
                group.series.insert(gap, id);
            }
        }
        group.chunks.push(place);
        self.at += place.bytes as u64;
        self.first_ms = self.first_ms.min(place.first_ms);
        self.last_ms = self.last_ms.max(place.last_ms);
    }

    /// Readings so far.
    #[must_use]
    pub fn readings(&self) -> u64 {
        self.readings
    }

    /// Appends index and footer: only now it is a part.
    ///
    /// # Errors
    /// A limit of the format.
    pub fn finish(mut self, out: &mut Vec<u8>) -> Result<u64, PartError> {
        self.groups.retain(|group| !group.chunks.is_empty());
        let mut index = Vec::new();
        put_index(&mut index, &self.groups);
        if index.len() > MAX_INDEX_BYTES {
            return Err(PartError::Unwritable(format!("an index of {} bytes, at most {MAX_INDEX_BYTES}", index.len())));
        }
        let footer = Footer {
            index_at: self.at,
            index_bytes: index.len(),
            index_crc: crc32fast::hash(&index),
            readings: self.readings,
            first_ms: self.first_ms,
            last_ms: self.last_ms,
        };
        out.extend_from_slice(&index);
        put_footer(out, &footer);
        Ok(self.at + index.len() as u64 + FOOTER_BYTES as u64)
    }
}
