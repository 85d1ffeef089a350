//! Several parts of one stretch of time as one. Pure: it reads through [`Source`] and hands out bytes to be written in their order.
//!
//! Of the same series and time the reading of the later part wins, and so a resend collapses and a correction stays. A chunk that is nearly full
//! and overlaps no other is copied as it is, its checksums checked; only the others are decoded, joined and made anew. In memory is one decoded
//! chunk of each group that overlaps others at that time, what is being made (at most [`MAX_CELLS`](super::MAX_CELLS) cells), and the indexes.
//! Damage in any of the parts ends [`merge`]; [`salvage`] takes the rest and says what is lost.

use std::collections::{BTreeMap, BTreeSet};

use pattoo_wire::Sample;
use thiserror::Error;

use super::chunk::lengths;
use super::index::Place;
use super::read::checked_head;
use super::rows::{CellCursor, Rows, full_rows};
use super::{Part, PartError, Source, Writer};
use crate::store::SeriesId;

/// Most series of a group that is joined from several.
const MAX_JOINED: usize = 4096;

/// What a merge came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Merged {
    /// Readings in the new part.
    pub readings: u64,
    /// Bytes of it.
    pub bytes: u64,
    /// Chunks that were copied.
    pub copied: u64,
    /// Chunks that were made anew.
    pub made: u64,
}

/// Why a merge did not come to its end: what it has written is no part.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum MergeError {
    /// One of the parts cannot be read.
    #[error("part {part} of the merge: {error}")]
    Part {
        /// Its place among them.
        part: usize,
        /// What is wrong.
        error: PartError,
    },
    /// The new one cannot be written.
    #[error("the new part: {0}")]
    Written(PartError),
}

/// A group of an old part that goes into a new one.
#[derive(Clone, Copy)]
struct Input {
    /// The later wins.
    part: usize,
    place: Place,
}

/// What could not be read, by the place of its part among those that are merged.
pub type Lost = Vec<(usize, PartError)>;

/// A chunk that overlaps others, row by row.
struct Open {
    part: usize,
    rows: Rows,
    row: usize,
    cursors: Vec<CellCursor>,
}

struct Merge<'a, S> {
    parts: &'a [&'a Part<S>],
    /// What could not be read so far, where that is borne.
    lost: Option<Lost>,
    writer: Writer,
    write: &'a mut dyn FnMut(&[u8]) -> Result<(), PartError>,
    out: Vec<u8>,
    /// Rows that do not make a full chunk yet.
    pending: Rows,
    merged: Merged,
}

/// Merges parts, the earliest first; gives each piece of the new one to `write`.
///
/// # Errors
/// A part is damaged, or the new one cannot be written.
pub fn merge<S: Source>(parts: &[Part<S>], write: &mut dyn FnMut(&[u8]) -> Result<(), PartError>) -> Result<Merged, MergeError> {
    let parts: Vec<&Part<S>> = parts.iter().collect();
    Ok(run(&parts, None, write)?.0)
}

/// As [`merge`], but passes over what is damaged: of a damaged chunk it takes the columns that are not. Gives what is lost.
///
/// # Errors
/// A part cannot be read for another reason, or the new one cannot be written.
pub fn salvage<S: Source>(parts: &[&Part<S>], write: &mut dyn FnMut(&[u8]) -> Result<(), PartError>) -> Result<(Merged, Lost), MergeError> {
    run(parts, Some(Lost::new()), write)
}

fn run<S: Source>(
    parts: &[&Part<S>],
    lost: Option<Lost>,
    write: &mut dyn FnMut(&[u8]) -> Result<(), PartError>,
) -> Result<(Merged, Lost), MergeError> {
    let mut out = Vec::new();
    let writer = Writer::new(&mut out);
    let mut merge = Merge { parts, lost, writer, write, out, pending: Rows::default(), merged: Merged::default() };
    for group in regrouped(parts) {
        merge.group(&group)?;
    }
    let Merge { lost, writer, mut out, write, mut merged, .. } = merge;
    merged.readings = writer.readings();
    merged.bytes = writer.finish(&mut out).map_err(MergeError::Written)?;
    write(&out).map_err(MergeError::Written)?;
    Ok((merged, lost.unwrap_or_default()))
}

/// A group of the new part.
#[derive(Default)]
struct Group {
    series: BTreeSet<SeriesId>,
    /// Where they come from: part, and group in it.
    from: Vec<(usize, usize)>,
}

/// The groups of the new part. A series goes where the latest part has it; one that this has no more goes where those went that it was
/// polled with.
fn regrouped<S>(parts: &[&Part<S>]) -> Vec<Group> {
    let mut homes: BTreeMap<SeriesId, usize> = BTreeMap::new();
    let mut groups: Vec<Group> = Vec::new();
    for part in parts.iter().rev() {
        for group in &part.groups {
            let (known, new): (Vec<SeriesId>, Vec<SeriesId>) = group.series.iter().partition(|id| homes.contains_key(id));
            let sibling = known.first().and_then(|id| homes.get(id)).copied();
            let roomy = |home: &usize| groups.get(*home).is_some_and(|to| to.series.len() + new.len() <= MAX_JOINED);
            let home = sibling.filter(roomy).unwrap_or(groups.len());
            if new.is_empty() {
                continue;
            }
            if home == groups.len() {
                groups.push(Group::default());
            }
            homes.extend(new.iter().map(|id| (*id, home)));
            if let Some(to) = groups.get_mut(home) {
                to.series.extend(new);
            }
        }
    }
    for (number, part) in parts.iter().enumerate() {
        for (place, group) in part.groups.iter().enumerate() {
            let goes_to: BTreeSet<usize> = group.series.iter().filter_map(|id| homes.get(id)).copied().collect();
            for home in goes_to {
                if let Some(to) = groups.get_mut(home) {
                    to.from.push((number, place));
                }
            }
        }
    }
    groups
}

impl<'a, S: Source> Merge<'a, S> {
    fn group(&mut self, Group { series, from }: &Group) -> Result<(), MergeError> {
        self.writer.begin_group();
        let chunks = from.iter().flat_map(|(part, group)| {
            let group = self.parts.get(*part).and_then(|part| part.groups.get(*group));
            group.into_iter().flat_map(|group| &group.chunks).map(|place| Input { part: *part, place: *place })
        });
        let mut inputs: Vec<Input> = chunks.collect();
        inputs.sort_by_key(|input| (input.place.first_ms, input.part));
        let mut inputs = inputs.into_iter().peekable();
        let mut open: Vec<Open> = Vec::new();
        while let Some(input) = inputs.next() {
            let next_ms = inputs.peek().map(|next| next.place.first_ms);
            if open.is_empty() && next_ms.is_none_or(|next_ms| next_ms > input.place.last_ms) {
                self.alone(input, series)?;
                continue;
            }
            open.push(self.open(input, series)?);
            // What lies before the next chunk can be overtaken no more.
            self.drain(&mut open, next_ms)?;
        }
        self.flush()
    }

    fn part(&self, input: Input) -> Result<&'a Part<S>, MergeError> {
        let missing = || MergeError::Written(PartError::Unwritable("BUG: no such part".into()));
        self.parts.get(input.part).copied().ok_or_else(missing)
    }

    /// Takes a chunk that overlaps no other.
    fn alone(&mut self, input: Input, series: &BTreeSet<SeriesId>) -> Result<(), MergeError> {
        let part = self.part(input)?;
        if self.copied(part, input, series)? {
            return Ok(());
        }
        let rows = self.open(input, series)?.rows;
        if rows.columns.is_empty() {
            return Ok(());
        }
        if let Err(rows) = self.pending.append(rows) {
            self.flush()?;
            self.pending = rows;
        }
        if self.pending.is_full() { self.flush() } else { Ok(()) }
    }

    /// Takes a chunk as it is, if it is whole, nearly full and undamaged.
    fn copied(&mut self, part: &Part<S>, input: Input, series: &BTreeSet<SeriesId>) -> Result<bool, MergeError> {
        let read = || {
            let bytes = part.chunk(&input.place)?;
            let head = checked_head(&bytes, &input.place)?;
            let whole = head.columns.iter().all(|column| series.contains(&column.series));
            if !whole || head.rows * 4 < full_rows(head.columns.len()) * 3 {
                return Ok(None);
            }
            head.check(&bytes)?;
            let (head_bytes, _) = lengths(&bytes, input.place.at)?;
            Ok(Some((head, head_bytes, bytes.into_owned())))
        };
        let (head, head_bytes, bytes) = match read() {
            Ok(Some(chunk)) => chunk,
            Ok(None) => return Ok(false),
            // What is good of it is found when it is decoded.
            Err(PartError::Damaged { .. }) if self.lost.is_some() => return Ok(false),
            Err(error) => return Err(MergeError::Part { part: input.part, error }),
        };
        self.flush()?;
        self.writer.copy(&head, head_bytes, &bytes, &mut self.out);
        self.merged.copied += 1;
        self.give()?;
        Ok(true)
    }

    fn open(&mut self, input: Input, series: &BTreeSet<SeriesId>) -> Result<Open, MergeError> {
        let part = self.part(input)?;
        let lost = &mut self.lost;
        let mut bear = |error| match (lost.as_mut(), error) {
            (Some(lost), error @ PartError::Damaged { .. }) => {
                lost.push((input.part, error));
                Ok(())
            }
            (_, error) => Err(error),
        };
        let rows = part.rows_but(&input.place, &mut bear);
        let mut rows = rows.map_err(|error| MergeError::Part { part: input.part, error })?;
        rows.columns.retain(|column| series.contains(&column.series));
        let cursors = vec![CellCursor::default(); rows.columns.len()];
        Ok(Open { part: input.part, rows, row: 0, cursors })
    }

    /// Takes rows of overlapping chunks in their order, up to this time.
    fn drain(&mut self, open: &mut Vec<Open>, until_ms: Option<i64>) -> Result<(), MergeError> {
        // The latest part first: what it has is not looked for in others.
        open.sort_by_key(|chunk| std::cmp::Reverse(chunk.part));
        let mut row: Vec<(SeriesId, Sample)> = Vec::new();
        loop {
            open.retain(|chunk| chunk.row < chunk.rows.len());
            let next = open.iter().filter_map(Open::next_ms).min();
            let Some(at_ms) = next.filter(|next| until_ms.is_none_or(|until_ms| *next < until_ms)) else { return Ok(()) };
            row.clear();
            for chunk in open.iter_mut().filter(|chunk| chunk.next_ms() == Some(at_ms)) {
                let before = row.len();
                for sample in chunk.take_row() {
                    let earlier = row.get(..before).unwrap_or_default();
                    if earlier.binary_search_by_key(&sample.0, |(id, _)| *id).is_err() {
                        row.push(sample);
                    }
                }
                row.sort_by_key(|(id, _)| *id);
            }
            if row.is_empty() {
                continue;
            }
            if self.pending.is_full() {
                self.flush()?;
            }
            self.pending.begin(at_ms);
            row.iter().for_each(|(series, sample)| self.pending.put(*series, sample));
        }
    }

    /// Writes what is pending as a chunk.
    fn flush(&mut self) -> Result<(), MergeError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        self.writer.rows(&self.pending, &mut self.out).map_err(MergeError::Written)?;
        self.pending = Rows::default();
        self.merged.made += 1;
        self.give()
    }

    fn give(&mut self) -> Result<(), MergeError> {
        (self.write)(&self.out).map_err(MergeError::Written)?;
        self.out.clear();
        Ok(())
    }
}

impl Open {
    fn next_ms(&self) -> Option<i64> {
        self.rows.times_ms.get(self.row).copied()
    }

    fn take_row(&mut self) -> impl Iterator<Item = (SeriesId, Sample)> {
        self.row += 1;
        self.rows.row(self.row - 1, &mut self.cursors)
    }
}
