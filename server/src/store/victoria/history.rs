//! Shell: answers of three places as one: recent, beside, VictoriaMetrics. Recent is read first: what is let go of meanwhile is seen at
//! least once.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use super::backend::Inner;
use super::compare::FIRST_MS;
use super::question::InPart;
use crate::query::{self, bucket_start};
use crate::store::{Bucket, Reading, SeriesId, Store, StoreError};

/// Readings of one answer of VictoriaMetrics, about: ranges with more are halved.
const ANSWER: (u64, u64) = (1000, 100_000);
/// Buckets that are asked for without looking first from when on there are any.
const MAX_BLIND: i64 = 20_000;
/// Readings that are looked at at once where buckets are folded anew.
const FOLDED_AT_ONCE: usize = 100_000;

impl Inner {
    pub(super) fn raw(&self, id: SeriesId, from_ms: i64, to_ms: i64, limit: usize) -> Result<Vec<Reading>, StoreError> {
        let recent = self.recent.raw(id, from_ms, to_ms, limit)?;
        if limit == 0 || from_ms >= self.let_go_ms() {
            return Ok(recent);
        }
        Ok(over(recent, self.history(id, from_ms, to_ms, limit)?, limit))
    }

    /// What is not in recent any more, and may be in it again.
    pub(super) fn history(&self, id: SeriesId, from_ms: i64, to_ms: i64, limit: usize) -> Result<Vec<Reading>, StoreError> {
        let to_ms = to_ms.min(self.let_go_ms());
        let beside = self.beside.raw(id, from_ms, to_ms, limit)?;
        Ok(over(beside, self.there(id, from_ms, to_ms, limit)?, limit))
    }

    /// Where VictoriaMetrics may have something to show.
    fn shown(&self, from_ms: i64, to_ms: i64) -> (i64, i64) {
        (from_ms.max(self.expired_ms()).max(FIRST_MS), to_ms.min(self.let_go_ms()))
    }

    /// Readings that VictoriaMetrics has.
    fn there(&self, id: SeriesId, from_ms: i64, to_ms: i64, limit: usize) -> Result<Vec<Reading>, StoreError> {
        let (from_ms, to_ms) = self.shown(from_ms, to_ms);
        let at_once = (limit as u64).clamp(ANSWER.0, ANSWER.1);
        let mut readings = Vec::new();
        // The earliest is the last.
        let mut ranges = vec![(from_ms, to_ms)];
        while let Some((from_ms, to_ms)) = ranges.pop() {
            if readings.len() >= limit || from_ms >= to_ms {
                continue;
            }
            let count = self.count_there(id, from_ms, to_ms)?;
            if count > at_once && to_ms - from_ms > 1 {
                let middle = from_ms + (to_ms - from_ms) / 2;
                ranges.extend([(middle, to_ms), (from_ms, middle)]);
            } else if count > 0 {
                readings.extend(self.remote.readings(id, from_ms, to_ms).map_err(|e| self.away(&e))?);
                // Of one time there may be one for each plane where another one is beside, or in recent.
                readings.dedup_by_key(|reading| reading.at_ms);
            }
        }
        readings.truncate(limit);
        Ok(readings)
    }

    fn count_there(&self, id: SeriesId, from_ms: i64, to_ms: i64) -> Result<u64, StoreError> {
        let (found, _) = self.remote.totals(id, from_ms, to_ms).map_err(|e| self.away(&e))?;
        Ok(found.iter().map(|bucket| bucket.count + bucket.bad).sum())
    }

    /// Buckets, and whether they are of a part only; that is an error unless `in_part`.
    pub(super) fn buckets(
        &self,
        id: SeriesId,
        (from_ms, to_ms): (i64, i64),
        step_ms: i64,
        in_part: bool,
    ) -> Result<(Vec<Bucket>, bool), StoreError> {
        let recent = self.recent.buckets(id, from_ms, to_ms, step_ms)?;
        if from_ms >= self.let_go_ms() {
            return Ok((recent, false));
        }
        let beside = self.beside.buckets(id, from_ms, to_ms.min(self.let_go_ms()), step_ms)?;
        let asked = match in_part && self.away.load(Ordering::Relaxed) {
            // Whoever looks at a chart does not wait for one that is away.
            true => Ok((Vec::new(), true)),
            false => self.buckets_there(id, (from_ms, to_ms), step_ms, if in_part { InPart::Told } else { InPart::Denied }),
        };
        let (there, partial) = match asked {
            Ok(found) => found,
            Err(StoreError::Away { .. }) if in_part => (Vec::new(), true),
            Err(e) => return Err(e),
        };
        let whole = |start_ms: i64| (start_ms.max(from_ms), start_ms.saturating_add(step_ms).min(to_ms));
        let mut buckets = Vec::new();
        for (start_ms, bucket) in joined([recent, beside, there]) {
            match bucket {
                Some(bucket) => buckets.push(bucket),
                None => buckets.extend(self.folded(id, whole(start_ms), step_ms, partial)?),
            }
        }
        Ok((buckets, partial))
    }

    /// A bucket from the readings of all places, or of those that are here. Only a few are: where readings came late, or were corrected.
    fn folded(&self, id: SeriesId, (mut from_ms, to_ms): (i64, i64), step_ms: i64, partial: bool) -> Result<Option<Bucket>, StoreError> {
        let mut failed = None;
        let pages = std::iter::from_fn(|| {
            if from_ms >= to_ms {
                return None;
            }
            let read = match partial {
                true => self.here(id, from_ms, to_ms, FOLDED_AT_ONCE),
                false => self.raw(id, from_ms, to_ms, FOLDED_AT_ONCE),
            };
            let page = read.map_err(|e| failed = Some(e)).ok()?;
            from_ms = if page.len() < FOLDED_AT_ONCE { to_ms } else { page.last().map_or(to_ms, |last| last.at_ms + 1) };
            Some(page)
        });
        let bucket = query::buckets(pages.flatten(), step_ms).pop();
        failed.map_or(Ok(bucket), Err)
    }

    fn here(&self, id: SeriesId, from_ms: i64, to_ms: i64, limit: usize) -> Result<Vec<Reading>, StoreError> {
        let recent = self.recent.raw(id, from_ms, to_ms, limit)?;
        Ok(over(recent, self.beside.raw(id, from_ms, to_ms, limit)?, limit))
    }

    fn buckets_there(
        &self,
        id: SeriesId,
        (from_ms, to_ms): (i64, i64),
        step_ms: i64,
        in_part: InPart,
    ) -> Result<(Vec<Bucket>, bool), StoreError> {
        let (mut from_ms, mut to_ms) = self.shown(from_ms, to_ms);
        if from_ms >= to_ms {
            return Ok((Vec::new(), false));
        }
        if (to_ms - from_ms) / step_ms > MAX_BLIND {
            let span = self.remote.span(id, from_ms, to_ms).map_err(|e| self.away(&e))?;
            let Some((first_ms, last_ms)) = span else { return Ok((Vec::new(), false)) };
            (from_ms, to_ms) = (from_ms.max(bucket_start(first_ms, step_ms)), to_ms.min(last_ms.saturating_add(1)));
        }
        self.remote.buckets(id, (from_ms, to_ms), step_ms, in_part).map_err(|e| self.away(&e))
    }
}

/// Buckets by their start; none where more than one place has readings of it.
fn joined(places: [Vec<Bucket>; 3]) -> BTreeMap<i64, Option<Bucket>> {
    let mut joined = BTreeMap::new();
    for bucket in places.into_iter().flatten() {
        joined.entry(bucket.start_ms).and_modify(|one| *one = None).or_insert(Some(bucket));
    }
    joined
}

/// Readings of both, ascending; of the same time those of `newer`.
fn over(newer: Vec<Reading>, older: Vec<Reading>, limit: usize) -> Vec<Reading> {
    let mut all = newer;
    all.extend(older);
    // Stable: of one time the newer stays first.
    all.sort_by_key(|reading| reading.at_ms);
    all.dedup_by_key(|reading| reading.at_ms);
    all.truncate(limit);
    all
}
