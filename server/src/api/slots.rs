//! The series route of the Python Pattoo, for programs that read it: a list with one row for each slot of the polling interval.
//!
//! The place of a series in that database is a series' id here. A slot without a reading is null; counters are rates per second, right
//! or null. Of a window with too many slots for one answer they are longer.

use axum::Json;
use axum::extract::{Path, State};
use pattoo_wire::Kind;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::counters::{self, Counter};
use super::error::ErrorBody;
use super::params::{Strict, ids};
use super::range::{MAX_POINTS, average, grid};
use super::values::known;
use super::{ApiError, ApiState};
use crate::clock::now_ms;
use crate::query::step_for;
use crate::store::{Reading, SeriesId, Store, StoreError};

/// Where the request does not say: seven days.
const DEFAULT_SECONDS: u32 = 604_800;
/// So many readings tell how often a series is read.
const LOOKED_AT: usize = 256;
/// The shortest slot, in ms: times are told to the second by most who ask.
const SHORTEST_MS: i64 = 1000;

/// How far back.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct SlotsQuery {
    /// Seconds before now; 604800 (7 days) where not said.
    secondsago: Option<u32>,
}

/// One slot.
#[derive(Serialize, ToSchema)]
pub(super) struct Slot {
    /// Its start, ms since 1970.
    timestamp: i64,
    /// The last number in it, of a slot longer than the polling interval the average, of a counter the rate per second; null without one.
    value: Option<f64>,
}

/// Readings of a series as the Python Pattoo gave them.
///
/// One row for each slot of the polling interval, also where nothing was read; at most 4001 rows, for which slots of a longer window are
/// longer. `/api/v1/range` says more.
#[utoipa::path(get, path = "/pattoo/api/v1/web/rest/data/{idx_datapoint}",
    params(SlotsQuery, ("idx_datapoint" = String, Path, description = "Id of a series.")), responses(
    (status = 200, body = Vec<Slot>), (status = 400, body = ErrorBody, description = "a parameter is not known or wrong, or the series is text"),
    (status = 404, body = ErrorBody, description = "there is no such series")))]
pub(super) async fn slots(
    State(state): State<ApiState>,
    Path(id): Path<String>,
    Strict(query): Strict<SlotsQuery>,
) -> Result<Json<Vec<Slot>>, ApiError> {
    let ids = known(&state, ids(&id, 1)?)?;
    let id = *ids.first().ok_or_else(|| ApiError::unknown(format!("there is no series {id}")))?;
    let series = state.live.series_by_id(id).ok_or_else(|| ApiError::unknown(format!("there is no series {}", id.0)))?;
    let counter = match series.entry.kind {
        Kind::Text => return Err(ApiError::bad(format!("series {} ({}) is text", id.0, series.entry.point))),
        Kind::Counter => Some(counters::counters(&state, &ids)?),
        Kind::Gauge | Kind::State => None,
    };
    let to = now_ms();
    let seconds = query.secondsago.unwrap_or(DEFAULT_SECONDS);
    if seconds == 0 {
        return Err(ApiError::bad("secondsago: found 0, expected 1 or more"));
    }
    let from = to.saturating_sub(i64::from(seconds) * 1000).max(0);
    let interval_ms = series.entry.labels.get("pattoo_interval_ms").and_then(|ms| ms.parse().ok());
    let rows = state.ask(move |store| rows(store, id, counter.as_deref(), (from, to), interval_ms)).await?;
    rows.map(Json).ok_or_else(counters::too_many)
}

fn rows(
    store: &dyn Store,
    id: SeriesId,
    counter: Option<&[Counter]>,
    (from, to): (i64, i64),
    interval_ms: Option<i64>,
) -> Result<Option<Vec<Slot>>, StoreError> {
    let interval_ms = match interval_ms {
        Some(ms) => ms.max(SHORTEST_MS),
        None => usual_ms(&store.raw(id, from, to, LOOKED_AT)?),
    };
    let fits = (to - from) / interval_ms <= i64::try_from(MAX_POINTS).unwrap_or(i64::MAX);
    let step_ms = if fits { interval_ms } else { step_for(from, to, MAX_POINTS) };
    let (t0, slots) = grid(from, to, step_ms);
    let values = match counter {
        Some(counter) => {
            let Some(columns) = counters::rate_columns(store, counter, (t0, step_ms, slots))? else { return Ok(None) };
            columns.into_iter().next().map(|column| column.avg).unwrap_or_default()
        }
        None => {
            let mut values = vec![None; slots];
            for bucket in store.buckets(id, t0, to, step_ms)?.iter().filter(|bucket| bucket.count > 0) {
                let slot = usize::try_from((bucket.start_ms - t0) / step_ms).unwrap_or(usize::MAX);
                if let Some(value) = values.get_mut(slot) {
                    *value = Some(if fits { bucket.last } else { average(bucket) });
                }
            }
            values
        }
    };
    let starts = (0..).map(|n| t0 + n * step_ms);
    Ok(Some(starts.zip(values).map(|(timestamp, value)| Slot { timestamp, value }).collect()))
}

/// How often a series is read, to the second: the middle of what lies between some of its readings.
fn usual_ms(readings: &[Reading]) -> i64 {
    let mut gaps: Vec<i64> = readings.windows(2).filter_map(|pair| Some(pair.last()?.at_ms - pair.first()?.at_ms)).collect();
    let middle = gaps.len() / 2;
    let usual_ms = if gaps.is_empty() { SHORTEST_MS } else { *gaps.select_nth_unstable(middle).1 };
    ((usual_ms + 500) / 1000 * 1000).max(SHORTEST_MS)
}

#[cfg(test)]
mod tests {
    use pattoo_wire::{Reason, Sample, Value};

    use super::*;
    use crate::store::Commit;
    use crate::store::memory::Memory;

    const ID: SeriesId = SeriesId(1);
    const HOUR_MS: i64 = 3_600_000;

    fn store(readings: impl IntoIterator<Item = (i64, Sample)>) -> Memory {
        let store = Memory::default();
        let readings = readings.into_iter().map(|(at_ms, sample)| (ID, Reading { at_ms, sample })).collect();
        store.commit(&Commit { readings, ..Commit::default() }).unwrap();
        store
    }

    fn told(store: &Memory, counter: Option<&[Counter]>, window: (i64, i64), interval_ms: Option<i64>) -> Vec<(i64, Option<f64>)> {
        rows(store, ID, counter, window, interval_ms).unwrap().unwrap().into_iter().map(|row| (row.timestamp, row.value)).collect()
    }

    #[test]
    fn case_06_there_is_a_row_for_each_slot_and_gaps_are_null() {
        let good = |n| Sample::Good(Value::int(n));
        let readings = [
            (9_000, good(9)),
            (20_400, good(1)),
            (30_300, good(2)),
            (39_000, good(3)),
            (50_000, Sample::Bad(Reason::Timeout)),
            (60_000, good(4)),
        ];
        let (expected, window) =
            ([(10, None), (20, Some(1.0)), (30, Some(3.0)), (40, None), (50, None), (60, Some(4.0))], (15_000, 60_001));
        let store = store(readings);
        for interval_ms in [Some(10_000), None] {
            assert_eq!(told(&store, None, window, interval_ms), expected.map(|(s, value)| (s * 1000, value)), "{interval_ms:?}");
        }
        assert_eq!(told(&store, None, (100_000, 103_000), None).len(), 3, "nothing is known: slots of a second");
    }

    #[test]
    fn case_06_a_year_comes_in_fewer_rows_than_there_are_slots() {
        let year_ms = 365 * 24 * HOUR_MS;
        let store = store((0..365 * 24).map(|hour| (hour * HOUR_MS, Sample::Good(Value::int(hour % 3)))));
        let rows = told(&store, None, (0, year_ms), Some(10_000));
        assert_eq!((rows.len(), rows[0], rows[1]), (2920, (0, Some(1.0)), (3 * HOUR_MS, Some(1.0))));
    }

    #[test]
    fn counters_are_rates_or_null() {
        let counts = [(0, 100), (10, 200), (20, 250), (30, 5), (40, 15), (50, 25)];
        let store = store(counts.map(|(s, n)| (s * 1000, Sample::Good(Value::Unsigned(n)))));
        let rows = told(&store, Some(&[(ID, Some(64))]), (0, 50_000), Some(10_000));
        assert_eq!(rows, [(0, Some(10.0)), (10_000, Some(5.0)), (20_000, None), (30_000, Some(1.0)), (40_000, Some(1.0))]);
    }
}
