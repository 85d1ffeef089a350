//! Reads a part: windows, statistics and the newest of a series; decodes only the chunks and columns that it needs.

use std::collections::BTreeMap;

use super::bytes::Reader;
use super::chunk::{Head, lengths, take_head};
use super::index::{FOOTER_BYTES, Footer, Group, Place, take_footer, take_index};
use super::rows::{Column, Rows};
use super::stats::Stats;
use super::{MAGIC, PartError, Source};
use crate::query::bucket_start;
use crate::store::{Reading, SeriesId};

/// What the allocator takes for itself, about.
const ALLOCATION_BYTES: usize = 16;

/// An open part: its index is in memory.
#[derive(Debug)]
pub struct Part<S> {
    source: S,
    footer: Footer,
    pub(super) groups: Vec<Group>,
    /// Which groups a series is in; ascending.
    by_series: Vec<(SeriesId, u32)>,
}

impl<S: Source> Part<S> {
    /// Opens it.
    ///
    /// # Errors
    /// Torn, damaged, of a newer program, or refused by the disk.
    pub fn open(source: S) -> Result<Self, PartError> {
        let footer = footer_of(&source)?;
        let index = source.read(footer.index_at, footer.index_bytes)?;
        if index.len() != footer.index_bytes || crc32fast::hash(&index) != footer.index_crc {
            return Err(PartError::Damaged { at: footer.index_at, what: "index: its checksum" });
        }
        let groups = take_index(&index, &footer, MAGIC.len() as u64)?;
        drop(index);
        let mut by_series = Vec::with_capacity(groups.iter().map(|group| group.series.len()).sum());
        for (number, group) in (0u32..).zip(&groups) {
            by_series.extend(group.series.iter().map(|id| (*id, number)));
        }
        by_series.sort_unstable();
        Ok(Self { source, footer, groups, by_series })
    }

    /// What its index takes in memory, about, in bytes.
    #[must_use]
    pub fn index_bytes(&self) -> usize {
        let chunks: usize = self.groups.iter().map(|group| group.chunks.len()).sum();
        let series = self.by_series.len() * (size_of::<(SeriesId, u32)>() + size_of::<SeriesId>());
        series + chunks * size_of::<Place>() + self.groups.len() * (size_of::<Group>() + 2 * ALLOCATION_BYTES)
    }

    /// Readings in it.
    #[must_use]
    pub fn readings(&self) -> u64 {
        self.footer.readings
    }

    /// First and last time in it; none in a part without readings.
    #[must_use]
    pub fn times_ms(&self) -> Option<(i64, i64)> {
        let Footer { first_ms, last_ms, .. } = self.footer;
        (first_ms <= last_ms).then_some((first_ms, last_ms))
    }

    /// Its series, ascending.
    pub fn series(&self) -> impl Iterator<Item = SeriesId> {
        self.by_series.chunk_by(|a, b| a.0 == b.0).filter_map(|same| same.first()).map(|(id, _)| *id)
    }

    /// Chunks that may have readings of a series with `from_ms <= at_ms <= last_ms`, group by group.
    pub(super) fn chunks(&self, series: SeriesId, from_ms: i64, last_ms: i64) -> impl DoubleEndedIterator<Item = &[Place]> {
        let first = self.by_series.partition_point(|(id, _)| *id < series);
        let end = self.by_series.partition_point(|(id, _)| *id <= series);
        let groups = self.by_series.get(first..end).unwrap_or_default();
        groups.iter().filter_map(move |(_, group)| {
            let chunks = &self.groups.get(*group as usize)?.chunks;
            let first = chunks.partition_point(|chunk| chunk.last_ms < from_ms);
            let end = chunks.partition_point(|chunk| chunk.first_ms <= last_ms);
            chunks.get(first..end.max(first))
        })
    }

    pub(super) fn head(&self, place: &Place) -> Result<Head, PartError> {
        checked_head(&self.source.read(place.at, place.head_bytes)?, place)
    }

    fn times(&self, head: &Head) -> Result<Vec<i64>, PartError> {
        let (at, bytes) = head.times_place();
        head.times(&self.source.read(at, bytes)?)
    }

    /// The columns of a series in a chunk, decoded; without them not even the times are.
    pub(super) fn columns(&self, head: &Head, series: SeriesId) -> Result<Rows, PartError> {
        let mut columns: Vec<Column> = Vec::new();
        for column in head.columns.iter().filter(|column| column.series == series) {
            let (at, bytes) = head.column_place(column);
            columns.push(head.column(column, &self.source.read(at, bytes)?)?);
        }
        let times_ms = if columns.is_empty() { Vec::new() } else { self.times(head)? };
        Ok(Rows::of(times_ms, columns))
    }

    /// Readings of a series with `from_ms <= at_ms < to_ms`, ascending, at most `limit`.
    ///
    /// # Errors
    /// Damaged, or refused by the disk.
    pub fn raw(&self, series: SeriesId, from_ms: i64, to_ms: i64, limit: usize) -> Result<Vec<Reading>, PartError> {
        let mut readings = Vec::new();
        let Some(last_ms) = last_of(from_ms, to_ms) else { return Ok(readings) };
        for chunks in self.chunks(series, from_ms, last_ms) {
            let mut of_group = Vec::new();
            for chunk in chunks {
                of_group.extend(self.columns(&self.head(chunk)?, series)?.readings(series, from_ms, to_ms));
                if of_group.len() >= limit {
                    break;
                }
            }
            readings.extend(of_group);
        }
        readings.sort_by_key(|reading| reading.at_ms);
        readings.truncate(limit);
        Ok(readings)
    }

    /// Statistics of a series for each step that has readings with `from_ms <= at_ms < to_ms`, by the start of the step. A chunk that lies
    /// within one step is not decoded.
    ///
    /// # Errors
    /// Damaged, or refused by the disk.
    ///
    /// # Panics
    /// A step below 1.
    pub fn steps(&self, series: SeriesId, from_ms: i64, to_ms: i64, step_ms: i64) -> Result<Vec<(i64, Stats)>, PartError> {
        let mut steps: Vec<(i64, Stats)> = Vec::new();
        let Some(last_ms) = last_of(from_ms, to_ms) else { return Ok(steps) };
        for chunk in self.chunks(series, from_ms, last_ms).flatten() {
            let head = self.head(chunk)?;
            let start_ms = bucket_start(head.first_ms, step_ms);
            let whole = head.first_ms >= from_ms && head.last_ms < to_ms && bucket_start(head.last_ms, step_ms) == start_ms;
            if whole {
                let columns = head.columns.iter().filter(|column| column.series == series && column.absent < head.rows);
                steps.extend(columns.map(|column| (start_ms, column.stats)));
                continue;
            }
            self.columns(&head, series)?.each(series, |at_ms, sample| {
                if !(from_ms..to_ms).contains(&at_ms) {
                    return;
                }
                let start_ms = bucket_start(at_ms, step_ms);
                match steps.last_mut() {
                    Some(last) if last.0 == start_ms => last.1.add(at_ms, &sample),
                    _ => {
                        let mut stats = Stats::default();
                        stats.add(at_ms, &sample);
                        steps.push((start_ms, stats));
                    }
                }
            });
        }
        steps.sort_by_key(|(start_ms, _)| *start_ms);
        steps.dedup_by(|later, earlier| {
            let same = later.0 == earlier.0;
            if same {
                earlier.1.join(&later.1);
            }
            same
        });
        Ok(steps)
    }

    /// The newest reading of a series.
    ///
    /// # Errors
    /// Damaged, or refused by the disk.
    pub fn latest(&self, series: SeriesId) -> Result<Option<Reading>, PartError> {
        let mut newest: Option<Reading> = None;
        for chunks in self.chunks(series, i64::MIN, i64::MAX) {
            for chunk in chunks.iter().rev() {
                if newest.as_ref().is_some_and(|newest| newest.at_ms >= chunk.last_ms) {
                    break;
                }
                if let Some(reading) = self.columns(&self.head(chunk)?, series)?.last(series) {
                    newest = newest.filter(|newest| newest.at_ms > reading.at_ms).or(Some(reading));
                    break;
                }
            }
        }
        Ok(newest)
    }

    /// The chunk, decoded, but for what cannot be read and is borne.
    pub(super) fn rows_but(&self, place: &Place, bear: &mut dyn FnMut(PartError) -> Result<(), PartError>) -> Result<Rows, PartError> {
        self.rows_of(place, |_| true, bear)
    }

    /// The same, only of some series.
    pub(super) fn rows_of(
        &self,
        place: &Place,
        wanted: impl Fn(SeriesId) -> bool,
        bear: &mut dyn FnMut(PartError) -> Result<(), PartError>,
    ) -> Result<Rows, PartError> {
        let bytes = match self.chunk(place) {
            Ok(bytes) => bytes,
            Err(e) => return bear(e).map(|()| Rows::default()),
        };
        let piece = |(at, bytes_of): (u64, usize)| {
            let from = (at - place.at) as usize;
            bytes.get(from..from + bytes_of).unwrap_or_default()
        };
        let begins = checked_head(&bytes, place).and_then(|head| Ok((head.times(piece(head.times_place()))?, head)));
        let (times_ms, head) = match begins {
            Ok(begins) => begins,
            Err(e) => return bear(e).map(|()| Rows::default()),
        };
        let mut columns = Vec::new();
        for column in head.columns.iter().filter(|column| wanted(column.series)) {
            match head.column(column, piece(head.column_place(column))) {
                Ok(column) => columns.push(column),
                Err(e) => bear(e)?,
            }
        }
        Ok(Rows::of(times_ms, columns))
    }

    /// The bytes of a chunk.
    pub(super) fn chunk(&self, place: &Place) -> Result<std::borrow::Cow<'_, [u8]>, PartError> {
        let bytes = self.source.read(place.at, place.bytes)?;
        if bytes.len() == place.bytes { Ok(bytes) } else { Err(PartError::Damaged { at: place.at, what: "a chunk that ends early" }) }
    }

    /// Bytes that each series takes, without what it shares with others.
    ///
    /// # Errors
    /// Damaged, or refused by the disk.
    pub fn bytes_by_series(&self) -> Result<BTreeMap<SeriesId, u64>, PartError> {
        let mut bytes: BTreeMap<SeriesId, u64> = BTreeMap::new();
        for chunk in self.groups.iter().flat_map(|group| &group.chunks) {
            let head = self.head(chunk)?;
            for column in &head.columns {
                *bytes.entry(column.series).or_default() += head.column_place(column).1 as u64;
            }
        }
        Ok(bytes)
    }

    /// Decodes everything; gives the readings found, and what is damaged.
    pub fn check(&self) -> (u64, Vec<PartError>) {
        let mut readings = 0;
        let mut damage = Vec::new();
        for chunk in self.groups.iter().flat_map(|group| &group.chunks) {
            let rows = self.rows_but(chunk, &mut |e| {
                damage.push(e);
                Ok(())
            });
            readings += rows.map_or(0, |rows| rows.readings_count());
        }
        (readings, damage)
    }
}

/// Beginning and end of a part: that it is one.
pub(super) fn footer_of<S: Source>(source: &S) -> Result<Footer, PartError> {
    let bytes = source.bytes()?;
    let begins = source.read(0, MAGIC.len())?;
    let mut magic = Reader::new(&begins, 0);
    match magic.take(MAGIC.len() - 1, "").and_then(|name| Ok((name, magic.byte("")?))) {
        Err(_) => return Err(PartError::Torn("it has not even a beginning")),
        Ok((name, _)) if !MAGIC.starts_with(name) => return Err(PartError::Damaged { at: 0, what: "beginning of a part" }),
        Ok((_, format)) if !MAGIC.ends_with(&[format]) => return Err(PartError::Newer(format)),
        Ok(_) => {}
    }
    let end = bytes.checked_sub(FOOTER_BYTES as u64).ok_or(PartError::Torn("it has no footer"))?;
    take_footer(&source.read(end, FOOTER_BYTES)?, bytes)
}

/// The last instant of `from_ms..to_ms`, if it has one.
fn last_of(from_ms: i64, to_ms: i64) -> Option<i64> {
    to_ms.checked_sub(1).filter(|last_ms| *last_ms >= from_ms)
}

/// The head of a chunk, which must be what the index says.
pub(super) fn checked_head(bytes: &[u8], place: &Place) -> Result<Head, PartError> {
    let (head_bytes, bytes_of_chunk) = lengths(bytes, place.at)?;
    let head = take_head(bytes, place.at)?;
    let same = (head_bytes, bytes_of_chunk, head.first_ms, head.last_ms) == (place.head_bytes, place.bytes, place.first_ms, place.last_ms);
    if same { Ok(head) } else { Err(PartError::Damaged { at: place.at, what: "a chunk that the index knows otherwise" }) }
}
