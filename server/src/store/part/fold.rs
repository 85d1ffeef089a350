//! What the readings of a part come to in steps of time, with sums that are exact where they can be: rollups are made of it. Pure; what is done
//! with it is not known here.

use std::collections::BTreeMap;
use std::ops::Range;

use super::rows::{Column, Rows, State};
use super::stats::{Stats, Sum, of_values};
use super::{Part, PartError, Source};
use crate::query::bucket_start;
use crate::store::SeriesId;

/// What the readings of a series in one step come to. Joined, they give what all of their readings would have given: the sum of decimals, and of
/// float32 that print as such, is rounded once, at the end.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fold {
    stats: Stats,
    sum: Sum,
}

/// Of each series what it comes to, by the start of each step that has readings, ascending.
pub type Folds = BTreeMap<SeriesId, Vec<(i64, Fold)>>;

impl Fold {
    /// Joins those of other readings of the same series.
    pub fn join(&mut self, other: &Self) {
        let sum = match (self.stats.count, other.stats.count) {
            (_, 0) => self.sum,
            (0, _) => other.sum,
            _ => self.sum.plus(other.sum),
        };
        self.stats.join(&other.stats);
        self.sum = sum;
        if self.stats.count > 0 {
            self.stats.sum = sum.to_f64();
        }
    }

    /// As statistics.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.stats
    }
}

/// The same in longer steps, which are whole numbers of the shorter ones.
#[must_use]
pub(in crate::store) fn coarser(folds: &[(i64, Fold)], step_ms: i64) -> Vec<(i64, Fold)> {
    joined(folds.iter().map(|(start_ms, fold)| (bucket_start(*start_ms, step_ms), *fold)))
}

/// Of those with the same start, which come one after the other, one.
fn joined(folds: impl Iterator<Item = (i64, Fold)>) -> Vec<(i64, Fold)> {
    let mut joined: Vec<(i64, Fold)> = Vec::new();
    for (start_ms, fold) in folds {
        match joined.last_mut() {
            Some(last) if last.0 == start_ms => last.1.join(&fold),
            _ => joined.push((start_ms, fold)),
        }
    }
    joined
}

impl<S: Source> Part<S> {
    /// What some series, given ascending, come to in steps. Damage is passed over and given.
    ///
    /// # Errors
    /// Refused by the disk.
    ///
    /// # Panics
    /// A step below 1.
    pub fn folds(&self, series: &[SeriesId], step_ms: i64, lost: &mut Vec<PartError>) -> Result<Folds, PartError> {
        let mut folds = Folds::new();
        let (Some(first), Some(last)) = (series.first(), series.last()) else { return Ok(folds) };
        let wanted = |id: SeriesId| series.binary_search(&id).is_ok();
        let mut bear = |e| match e {
            PartError::Damaged { .. } => {
                lost.push(e);
                Ok(())
            }
            e => Err(e),
        };
        for group in &self.groups {
            let apart = group.series.last().is_none_or(|id| id < first) || group.series.first().is_none_or(|id| id > last);
            if apart || !group.series.iter().any(|id| wanted(*id)) {
                continue;
            }
            for place in &group.chunks {
                let rows = self.rows_of(place, wanted, &mut bear)?;
                let stretches = stretches(&rows.times_ms, 0..rows.len(), step_ms);
                for column in &rows.columns {
                    folds.entry(column.series).or_default().extend(of_column(column, &rows.times_ms, &stretches));
                }
            }
        }
        for of_series in folds.values_mut() {
            // Columns of a series, and groups that it was in, come one after the other.
            of_series.sort_by_key(|(start_ms, _)| *start_ms);
            *of_series = joined(std::mem::take(of_series).into_iter());
        }
        folds.retain(|_, of_series| !of_series.is_empty());
        Ok(folds)
    }
}

/// What all columns of some rows come to in the steps of a window, by their start; those of one representation after those of another.
pub(super) fn steps(rows: &Rows, (from_ms, last_ms): (i64, i64), step_ms: i64) -> Vec<(i64, Stats)> {
    let within = rows.times_ms.partition_point(|at_ms| *at_ms < from_ms)..rows.times_ms.partition_point(|at_ms| *at_ms <= last_ms);
    let stretches = stretches(&rows.times_ms, within, step_ms);
    let folds = rows.columns.iter().flat_map(|column| of_column(column, &rows.times_ms, &stretches));
    folds.map(|(start_ms, fold)| (start_ms, fold.stats)).collect()
}

/// Those of some rows that are in one step, by its start.
fn stretches(times_ms: &[i64], within: Range<usize>, step_ms: i64) -> Vec<(i64, Range<usize>)> {
    let mut stretches: Vec<(i64, Range<usize>)> = Vec::new();
    let mut from = within.start;
    while let Some([at_ms, later @ ..]) = times_ms.get(from..within.end) {
        // Not by the end of the step, which may be beyond the end of time.
        let left_ms = (step_ms - at_ms.rem_euclid(step_ms)) as u64;
        let end = from + 1 + later.partition_point(|later_ms| (later_ms.wrapping_sub(*at_ms) as u64) < left_ms);
        stretches.push((bucket_start(*at_ms, step_ms), from..end));
        from = end;
    }
    stretches
}

fn of_column(column: &Column, times_ms: &[i64], stretches: &[(i64, Range<usize>)]) -> Vec<(i64, Fold)> {
    let mut walk = Walk { column, row: 0, mark: 0, value: 0 };
    walk.to(stretches.first().map_or(0, |(_, rows)| rows.start));
    let folds = stretches.iter().filter_map(|(start_ms, rows)| {
        let Seen { uncertain, bad, values, rows } = walk.to(rows.end);
        if values.is_empty() && uncertain + bad == 0 {
            return None;
        }
        let (stats, sum) = of_values(column, times_ms, values, rows).unwrap_or((Stats::default(), Sum::Rounded(0.0)));
        Some((*start_ms, Fold { stats: Stats { uncertain, bad, ..stats }, sum }))
    });
    folds.collect()
}

/// Goes over the rows of a column, and knows which of its values are theirs.
struct Walk<'a> {
    column: &'a Column,
    row: usize,
    mark: usize,
    value: usize,
}

/// What a stretch of rows has.
struct Seen {
    uncertain: u64,
    bad: u64,
    values: Range<usize>,
    /// Of the first and the last of the values.
    rows: (usize, usize),
}

impl Walk<'_> {
    fn to(&mut self, end: usize) -> Seen {
        let from = self.value;
        let (mut uncertain, mut bad, mut ends) = (0, 0, None);
        // Rows beyond are absent.
        let end = end.min(self.column.covered);
        while self.row < end {
            let mark = self.column.marks.get(self.mark);
            let (until, state) = match mark {
                Some(mark) if mark.first + mark.rows <= self.row => {
                    self.mark += 1;
                    continue;
                }
                Some(mark) if mark.first <= self.row => ((mark.first + mark.rows).min(end), Some(mark.state)),
                Some(mark) => (mark.first.min(end), None),
                None => (end, None),
            };
            let rows = until - self.row;
            if matches!(state, None | Some(State::Uncertain(_))) {
                ends = Some((ends.map_or(self.row, |(first, _)| first), until - 1));
            }
            match state {
                None => self.value += rows,
                Some(State::Uncertain(_)) => {
                    self.value += rows;
                    uncertain += rows as u64;
                }
                Some(State::Bad(_)) => bad += rows as u64,
                Some(State::Absent) => {}
            }
            self.row = until;
        }
        Seen { uncertain, bad, values: from..self.value, rows: ends.unwrap_or_default() }
    }
}

#[cfg(test)]
mod tests {
    use pattoo_wire::{Decimal, Reason, Sample, Value};
    use proptest::prelude::*;

    use super::super::tests::{Model, close, open, samples, shapes, without_sums, write};
    use super::*;
    use crate::query;
    use crate::store::Reading;

    /// The same from readings one by one.
    fn folded(model: &Model, id: SeriesId, step_ms: i64) -> Vec<crate::store::Bucket> {
        let of = model.range((id, i64::MIN)..=(id, i64::MAX));
        query::buckets(of.map(|((_, at_ms), sample)| Reading { at_ms: *at_ms, sample: sample.clone() }), step_ms)
    }

    proptest! {
        #[test]
        fn any_part_comes_to_what_its_readings_come_to(
            model in prop::collection::btree_map(((1u32..6).prop_map(SeriesId), -40i64..400), samples(), 1..200),
            shape in shapes(),
            (step_ms, times) in (1i64..60, 2i64..5),
        ) {
            let part = open(write(&model, shape));
            let mut lost = Vec::new();
            let series: Vec<SeriesId> = part.series().filter(|id| id.0 != 3).collect();
            let folds = part.folds(&series, step_ms, &mut lost).unwrap();
            prop_assert!(lost.is_empty() && folds.keys().copied().eq(series));
            for (id, folds) in &folds {
                for (folds, step_ms) in [(folds.clone(), step_ms), (coarser(folds, step_ms * times), step_ms * times)] {
                    let found: Vec<_> = folds.iter().map(|(start_ms, fold)| fold.stats().bucket(*start_ms)).collect();
                    let expected = folded(&model, *id, step_ms);
                    prop_assert_eq!(without_sums(&found), without_sums(&expected));
                    for (found, expected) in found.iter().zip(&expected) {
                        prop_assert!(close(found.sum, expected.sum, expected.min.abs().max(expected.max.abs())));
                    }
                }
            }
        }

        #[test]
        fn sums_of_decimals_are_rounded_once(mantissas in prop::collection::vec(-99_999i64..99_999, 1..300), rows in 1usize..40) {
            let sample = |n: &i64| Sample::Good(Value::Decimal(Decimal { mantissa: *n, exponent: -2 }));
            let mut model: Model = mantissas.iter().zip(0..).map(|(n, at_ms)| ((SeriesId(1), at_ms * 10), sample(n))).collect();
            model.insert((SeriesId(1), 5), Sample::Bad(Reason::Timeout));
            let part = open(write(&model, super::super::tests::Shape { groups: 1, rows }));
            let folds = part.folds(&[SeriesId(1)], 70, &mut Vec::new()).unwrap();
            let all = coarser(&folds[&SeriesId(1)], 70_000);
            let exact = Decimal { mantissa: mantissas.iter().sum(), exponent: -2 }.to_f64();
            prop_assert_eq!((all.len(), all[0].1.stats().sum.to_bits()), (1, exact.to_bits()));
        }
    }
}
