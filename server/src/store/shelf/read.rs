//! Reads from all parts of the days in question: the newest generation wins, and what is damaged is told and passed over.

use std::collections::BTreeMap;
use std::sync::Arc;

use pattoo_wire::Sample;

use super::list::{Partition, Parts, Shelved};
use super::name::day_of;
use super::rolled::{Rolled, Standing};
use super::{Folder, Shelf, ShelfError, refused};
use crate::query::bucket_start;
use crate::store::part::pieces::Piece;
use crate::store::part::{Part, PartError, Stats};
use crate::store::rollup::{Level, span_of};
use crate::store::{Bucket, Reading, SeriesId};

/// A chunk of one of the parts of a day.
struct Found<'a, S> {
    shelved: &'a Shelved<S>,
    part: Arc<Part<S>>,
    /// The newer wins.
    generation: usize,
    piece: Piece,
}

impl<F: Folder> Shelf<F> {
    /// Readings with `from_ms <= at_ms < to_ms`, ascending, at most `limit`.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn raw(&self, series: SeriesId, from_ms: i64, to_ms: i64, limit: usize) -> Result<Vec<Reading>, ShelfError> {
        let mut readings = Vec::new();
        let Some(last_ms) = to_ms.checked_sub(1).filter(|last_ms| *last_ms >= from_ms) else { return Ok(readings) };
        let parts = self.parts();
        for partition in parts.days.range(day_of(from_ms)..=day_of(last_ms)).map(|(_, partition)| partition) {
            for run in runs(&self.found(partition, series, from_ms, last_ms)?) {
                if readings.len() >= limit {
                    break;
                }
                readings.extend(self.readings(run, series, from_ms, last_ms, &[])?);
            }
        }
        readings.truncate(limit);
        Ok(readings)
    }

    /// What a series has at exactly this time.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn sample_at(&self, series: SeriesId, at_ms: i64) -> Result<Option<Sample>, ShelfError> {
        let parts = self.parts();
        let Some(partition) = parts.days.get(&day_of(at_ms)) else { return Ok(None) };
        let mut found = self.found(partition, series, at_ms, at_ms)?;
        found.sort_by_key(|found| std::cmp::Reverse(found.generation));
        for found in &found {
            if let Some(reading) = self.piece(found, series, at_ms, at_ms)?.pop() {
                return Ok(Some(reading.sample));
            }
        }
        Ok(None)
    }

    /// The newest reading of a series. Of one that has none, all parts are asked.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn last(&self, series: SeriesId) -> Result<Option<Reading>, ShelfError> {
        Ok(self.lasts(&[series])?.pop().flatten())
    }

    /// The newest reading of each series. Days are gone through once for all of them, as there may be more parts than are kept open.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn lasts(&self, series: &[SeriesId]) -> Result<Vec<Option<Reading>>, ShelfError> {
        let parts = self.parts();
        let mut lasts = vec![None; series.len()];
        for partition in parts.days.values().rev() {
            let missing = series.iter().zip(&mut lasts).filter(|(_, last)| last.is_none());
            let mut done = true;
            for (id, last) in missing {
                *last = self.last_of_day(partition, *id)?;
                done &= last.is_some();
            }
            if done {
                break;
            }
        }
        Ok(lasts)
    }

    fn last_of_day(&self, partition: &Partition<F::Source>, series: SeriesId) -> Result<Option<Reading>, ShelfError> {
        let mut found = self.found(partition, series, i64::MIN, i64::MAX)?;
        found.sort_by_key(|found| std::cmp::Reverse((found.piece.times_ms().1, found.generation)));
        let mut newest: Option<(i64, usize, Reading)> = None;
        for found in &found {
            if newest.as_ref().is_some_and(|newest| newest.0 > found.piece.times_ms().1) {
                break;
            }
            let last = self.piece(found, series, i64::MIN, i64::MAX)?.pop();
            let last = last.map(|reading| (reading.at_ms, found.generation, reading));
            newest = [newest, last].into_iter().flatten().max_by_key(|(at_ms, generation, _)| (*at_ms, *generation));
        }
        Ok(newest.map(|(.., newest)| newest))
    }

    /// Buckets of `step_ms` as [`crate::query::buckets`] makes them of all readings with `from_ms <= at_ms < to_ms`, here and in `head`: those
    /// of the same range, ascending, which win over what is here.
    ///
    /// A chunk that lies within one bucket, and that nothing newer or older overlaps, is not decoded; of its decimals the sum is then exact
    /// before it becomes a double, so that the last digit may be another one than that of adding doubles one by one. So it is with a day that is
    /// answered by a rollup: one that is current, where the head has nothing of that day. A day whose readings are gone answers by what lies
    /// wholly in the range, in steps that are whole numbers of its own, and not at all in others ([`Shelf::grain_ms`]).
    ///
    /// # Errors
    /// The disk refuses.
    ///
    /// # Panics
    /// A step below 1.
    pub fn buckets(&self, series: SeriesId, from_ms: i64, to_ms: i64, step_ms: i64, head: &[Reading]) -> Result<Vec<Bucket>, ShelfError> {
        let Some(last_ms) = to_ms.checked_sub(1).filter(|last_ms| *last_ms >= from_ms) else { return Ok(Vec::new()) };
        let mut steps = Steps::new(step_ms);
        let mut head = head;
        let parts = self.parts();
        for day in parts.days_of(day_of(from_ms), day_of(last_ms)) {
            if let Some((end_ms, alone, rows)) = self.rolled_up(&parts, day, series, (from_ms, to_ms), step_ms, head)? {
                let (before, rest) = head.split_at(head.partition_point(|reading| day_of(reading.at_ms) < day));
                before.iter().for_each(|reading| steps.add(reading));
                // What comes for a day whose readings are gone is not of it any more.
                head = if alone { rest.split_at(rest.partition_point(|reading| reading.at_ms < end_ms)).1 } else { rest };
                rows.iter().for_each(|(start_ms, stats)| steps.join(*start_ms, stats));
                continue;
            }
            let Some(partition) = parts.days.get(&day) else { continue };
            for run in runs(&self.found(partition, series, from_ms, last_ms)?) {
                let (first, end) = span(run);
                let (before, rest) = head.split_at(head.partition_point(|reading| reading.at_ms < first));
                let (within, rest) = rest.split_at(rest.partition_point(|reading| reading.at_ms <= end));
                head = rest;
                before.iter().for_each(|reading| steps.add(reading));
                let one_part = run.windows(2).all(|pair| matches!(pair, [a, b] if a.generation == b.generation));
                if !one_part || !within.is_empty() {
                    self.readings(run, series, from_ms, last_ms, within)?.iter().for_each(|reading| steps.add(reading));
                    continue;
                }
                for found in run {
                    self.alone(found, series, (from_ms, last_ms), &mut steps)?;
                }
            }
        }
        head.iter().for_each(|reading| steps.add(reading));
        Ok(steps.buckets())
    }

    /// The least step that all days of a range can answer in: 1 where their readings are there.
    #[must_use]
    pub fn grain_ms(&self, from_ms: i64, to_ms: i64) -> i64 {
        let Some(last_ms) = to_ms.checked_sub(1).filter(|last_ms| *last_ms >= from_ms) else { return 1 };
        let parts = self.parts();
        let of_day = |day| {
            parts.rolls(day).filter(|(_, standing)| *standing == Standing::Alone).map(|(rolled, _)| rolled.name.level.step_ms()).min()
        };
        let days = parts.rolled.range(day_of(from_ms)..=day_of(last_ms));
        days.filter_map(|(day, _)| of_day(*day)).max().unwrap_or(1)
    }

    /// Steps of a day by a rollup, if one may answer: the end of the day, whether its readings are gone, and the steps.
    fn rolled_up(
        &self,
        parts: &Parts<F::Source>,
        day: i64,
        series: SeriesId,
        (from_ms, to_ms): (i64, i64),
        step_ms: i64,
        head: &[Reading],
    ) -> Result<Option<OfDay>, ShelfError> {
        let Some((first_ms, end_ms)) = span_of(day) else { return Ok(None) };
        let alone = parts.is_alone(day);
        let in_head = head.get(head.partition_point(|reading| reading.at_ms < first_ms)).is_some_and(|reading| reading.at_ms < end_ms);
        if in_head && !alone {
            return Ok(None);
        }
        let (from, to) = (from_ms.max(first_ms), to_ms.min(end_ms));
        let fits = |level: Level| step_ms % level.step_ms() == 0;
        let whole = |level: Level| from.rem_euclid(level.step_ms()) == 0 && to.rem_euclid(level.step_ms()) == 0;
        let usable = parts.rolls(day).filter(|(rolled, standing)| fits(rolled.name.level) && *standing != Standing::Stale);
        let mut usable: Vec<_> = usable.map(|(rolled, _)| rolled).collect();
        if alone {
            // Where none fits the edges of the range, the finest leaves out the least.
            let fine = usable.last().copied().cloned();
            usable.retain(|rolled| whole(rolled.name.level));
            for rolled in usable.into_iter().chain(&fine) {
                if let Some(rows) = self.rows(rolled, series, from, to)? {
                    return Ok(Some((end_ms, true, rows)));
                }
            }
            return Ok(Some((end_ms, true, Vec::new())));
        }
        for rolled in usable.into_iter().filter(|rolled| whole(rolled.name.level)) {
            if let Some(rows) = self.rows(rolled, series, from, to)? {
                return Ok(Some((end_ms, false, rows)));
            }
        }
        Ok(None)
    }

    fn rows(
        &self,
        rolled: &Rolled<F::Source>,
        series: SeriesId,
        from_ms: i64,
        to_ms: i64,
    ) -> Result<Option<Vec<(i64, Stats)>>, ShelfError> {
        let Some(rollup) = self.rollup(rolled)? else { return Ok(None) };
        self.rollup_borne(rolled, rollup.rows(series, from_ms, to_ms))
    }

    /// Adds a chunk that is not joined with others.
    fn alone(
        &self,
        found: &Found<'_, F::Source>,
        series: SeriesId,
        (from_ms, last_ms): (i64, i64),
        steps: &mut Steps,
    ) -> Result<(), ShelfError> {
        let (first, end) = found.piece.times_ms();
        if first >= from_ms && end <= last_ms && steps.start(first) == steps.start(end) {
            let stats = self.borne(found, found.part.piece_stats(&found.piece, series))?.flatten();
            stats.iter().for_each(|stats| steps.join(first, stats));
            return Ok(());
        }
        let folded = self.borne(found, found.part.piece_steps(&found.piece, series, (from_ms, last_ms), steps.step_ms))?;
        folded.iter().flatten().for_each(|(start_ms, stats)| steps.join(*start_ms, stats));
        Ok(())
    }

    /// The chunks of a day that may have readings of a series in this range, by their beginning.
    fn found<'a>(
        &self,
        partition: &'a Partition<F::Source>,
        series: SeriesId,
        from_ms: i64,
        last_ms: i64,
    ) -> Result<Vec<Found<'a, F::Source>>, ShelfError> {
        let mut all = Vec::new();
        for (generation, shelved) in partition.iter().enumerate().filter(|(_, part)| part.touches(from_ms, last_ms)) {
            let Some(part) = self.part(shelved)? else { continue };
            let pieces = part.pieces(series, from_ms, last_ms);
            all.extend(pieces.map(|piece| Found { shelved, part: part.clone(), generation, piece }));
        }
        all.sort_by_key(|found| (found.piece.times_ms().0, found.generation));
        Ok(all)
    }

    /// Readings of chunks that overlap, and of the head: of the same time the newest.
    fn readings(
        &self,
        run: &[Found<'_, F::Source>],
        series: SeriesId,
        from_ms: i64,
        last_ms: i64,
        head: &[Reading],
    ) -> Result<Vec<Reading>, ShelfError> {
        if let ([found], []) = (run, head) {
            return self.piece(found, series, from_ms, last_ms);
        }
        let mut all: Vec<(Reading, usize)> = Vec::new();
        for found in run {
            all.extend(self.piece(found, series, from_ms, last_ms)?.into_iter().map(|reading| (reading, found.generation)));
        }
        all.extend(head.iter().map(|reading| (reading.clone(), usize::MAX)));
        all.sort_by_key(|(reading, generation)| (reading.at_ms, std::cmp::Reverse(*generation)));
        all.dedup_by_key(|(reading, _)| reading.at_ms);
        Ok(all.into_iter().map(|(reading, _)| reading).collect())
    }

    fn piece(&self, found: &Found<'_, F::Source>, series: SeriesId, from_ms: i64, last_ms: i64) -> Result<Vec<Reading>, ShelfError> {
        Ok(self.borne(found, found.part.piece_readings(&found.piece, series, from_ms, last_ms))?.unwrap_or_default())
    }

    /// Tells damage and goes on without it.
    fn borne<T>(&self, found: &Found<'_, F::Source>, read: Result<T, PartError>) -> Result<Option<T>, ShelfError> {
        match read {
            Ok(value) => Ok(Some(value)),
            Err(error @ PartError::Damaged { .. }) => {
                self.tell(found.shelved, error, "");
                Ok(None)
            }
            Err(e) => Err(refused(&found.shelved.name.to_string(), &e)),
        }
    }
}

/// The end of a day, whether its readings are gone, and its steps.
type OfDay = (i64, bool, Vec<(i64, Stats)>);

struct Steps {
    step_ms: i64,
    /// Buckets of the times before.
    stats: BTreeMap<i64, Stats>,
    /// First and last time of the one that is filled: what comes next is most likely for it, too.
    span_ms: (i64, i64),
    current: Option<Stats>,
}

impl Steps {
    fn new(step_ms: i64) -> Self {
        Self { step_ms, stats: BTreeMap::new(), span_ms: (0, -1), current: None }
    }

    fn start(&self, at_ms: i64) -> i64 {
        bucket_start(at_ms, self.step_ms)
    }

    fn add(&mut self, reading: &Reading) {
        self.at(reading.at_ms).add(reading.at_ms, &reading.sample);
    }

    fn join(&mut self, at_ms: i64, stats: &Stats) {
        self.at(at_ms).join(stats);
    }

    /// The bucket of this time.
    fn at(&mut self, at_ms: i64) -> &mut Stats {
        if !(self.span_ms.0..=self.span_ms.1).contains(&at_ms) {
            self.settle();
            self.span_ms = (self.start(at_ms), at_ms.saturating_add(self.step_ms - 1 - at_ms.rem_euclid(self.step_ms)));
        }
        self.current.get_or_insert_default()
    }

    fn settle(&mut self) {
        if let Some(current) = self.current.take() {
            self.stats.entry(self.span_ms.0).or_default().join(&current);
        }
    }

    fn buckets(mut self) -> Vec<Bucket> {
        self.settle();
        self.stats.into_iter().map(|(start_ms, stats)| stats.bucket(start_ms)).collect()
    }
}

/// First and last time of chunks.
fn span<S>(run: &[Found<'_, S>]) -> (i64, i64) {
    run.iter().fold((i64::MAX, i64::MIN), |(first, last), found| {
        let times_ms = found.piece.times_ms();
        (first.min(times_ms.0), last.max(times_ms.1))
    })
}

/// Runs of chunks that overlap one another, of chunks in the order of their beginning.
fn runs<'a, 'b, S>(found: &'a [Found<'b, S>]) -> impl Iterator<Item = &'a [Found<'b, S>]> {
    let mut rest = found;
    std::iter::from_fn(move || {
        let mut end_ms = rest.first()?.piece.times_ms().1;
        let overlap = rest.iter().take_while(|found| {
            let (first, last) = found.piece.times_ms();
            let overlaps = first <= end_ms;
            end_ms = end_ms.max(if overlaps { last } else { end_ms });
            overlaps
        });
        let (run, others) = rest.split_at(overlap.count());
        rest = others;
        Some(run)
    })
}
