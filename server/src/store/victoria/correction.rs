//! Shell: what of a commit takes the place of another value, which VictoriaMetrics may have: of two values at one time it shows one or the other,
//! and not always the same. So such a reading is never sent, but stays beside.

use std::sync::atomic::Ordering;

use super::backend::Inner;
use super::compare::{by_time, same};
use crate::store::shelf::day_of;
use crate::store::{Reading, SeriesId, Store, StoreError};

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Corrections {
    /// Readings that are to stay beside, by series and time.
    pub(super) readings: Vec<(SeriesId, Reading)>,
    /// How many take the place of a value that is not in recent any more; what recent has it counts itself.
    pub(super) replaced: u64,
}

/// The first and the last reading of one series and time.
type Pair<'a> = (&'a (SeriesId, Reading), &'a (SeriesId, Reading));

impl Inner {
    /// Looks at readings that are not newer than all of their series. What cannot be asked may be a correction, and is taken for one.
    pub(super) fn corrections(&self, readings: &[(SeriesId, Reading)]) -> Result<Corrections, StoreError> {
        let mut corrections = Corrections::default();
        let pairs = by_time(readings);
        for of_series in pairs.chunk_by(|a, b| a.0.0 == b.0.0) {
            let Some((id, _)) = of_series.first().map(|(first, _)| first) else { continue };
            let newest_ms = self.recent.latest(&[*id])?.pop().flatten().map_or(i64::MIN, |newest| newest.at_ms).max(self.let_go_ms());
            let (late, new): (Vec<Pair<'_>>, Vec<_>) = of_series.iter().partition(|(first, _)| first.1.at_ms <= newest_ms);
            let twice = new.into_iter().filter(|(first, last)| !same(&first.1, &last.1));
            corrections.readings.extend(twice.map(|(_, last)| last.clone()));
            for of_day in late.chunk_by(|a, b| day_of(a.0.1.at_ms) == day_of(b.0.1.at_ms)) {
                self.corrections_of_day(*id, of_day, &mut corrections)?;
            }
        }
        corrections.readings.sort_by_key(|(id, reading)| (*id, reading.at_ms));
        Ok(corrections)
    }

    fn corrections_of_day(&self, id: SeriesId, pairs: &[Pair<'_>], corrections: &mut Corrections) -> Result<(), StoreError> {
        let times = pairs.first().zip(pairs.last()).map(|((first, _), (_, last))| (first.1.at_ms, last.1.at_ms.saturating_add(1)));
        let Some((from_ms, to_ms)) = times else { return Ok(()) };
        let here = self.recent.raw(id, from_ms, to_ms, usize::MAX)?;
        // Whoever commits does not wait for one that is away.
        let there = match from_ms < self.let_go_ms() {
            false => Ok(Vec::new()),
            true if self.away.load(Ordering::Relaxed) => Err(()),
            true => self.history(id, from_ms, to_ms, usize::MAX).map_err(drop),
        };
        for (first, last) in pairs {
            let at = |readings: &[Reading]| {
                let at = readings.binary_search_by_key(&first.1.at_ms, |other| other.at_ms);
                at.ok().and_then(|at| readings.get(at).cloned())
            };
            let differs = match (at(&here), &there) {
                (Some(other), _) => !same(&other, &first.1),
                (None, Ok(there)) => {
                    let differs = at(there).is_some_and(|other| !same(&other, &first.1));
                    corrections.replaced += u64::from(differs);
                    differs
                }
                (None, Err(())) => first.1.at_ms < self.let_go_ms(),
            };
            if differs || !same(&first.1, &last.1) {
                corrections.readings.push((*last).clone());
            }
        }
        Ok(())
    }
}
