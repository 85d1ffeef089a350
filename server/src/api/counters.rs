//! Counters of a window as rates in buckets, or as consumption in periods of a calendar.

use jiff::tz::TimeZone;
use pattoo_wire::Kind;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::range::{GapRecord, raw_from};
use super::{ApiError, ApiState};
use crate::query::calendar::{self, Every};
use crate::query::counter::{Count, Step, steps};
use crate::query::spread::{Consumption, Rate, consumption, rates};
use crate::query::{bucket_start, rolled};
use crate::store::{SeriesId, Store, StoreError};

/// Most readings that one answer may be made of: some 115 days of 10 s.
const MAX_READINGS: usize = 1_000_000;
/// Readings taken from the store at once.
const PAGE: usize = 100_000;
/// Most periods of one answer.
pub(super) const MAX_PERIODS: usize = 4000;
/// How far beyond the window readings are looked for: the first bucket needs one before it.
const MARGIN_MS: i64 = 3_600_000;
/// Steps of rollups.
const MINUTE_MS: i64 = 60_000;
const QUARTER_MS: i64 = 900_000;

/// How to read counters.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum As {
    /// Per second, in buckets.
    Rate,
    /// How much in each period.
    Consumption,
}

/// Which periods.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Period {
    /// From minute 0 to the next.
    Hour,
    /// From midnight to midnight of the time zone.
    Day,
    /// A month of the time zone.
    Month,
}

impl From<Period> for Every {
    fn from(period: Period) -> Self {
        match period {
            Period::Hour => Self::Hour,
            Period::Day => Self::Day,
            Period::Month => Self::Month,
        }
    }
}

/// Columns of rates on one grid: bucket `i` covers `[t0 + i * step_ms, t0 + (i + 1) * step_ms)`, aligned to 1970. Of counters only.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Rates {
    /// Start of the window, ms since 1970.
    pub(super) from: i64,
    /// End of the window, excluded.
    pub(super) to: i64,
    /// Start of the first bucket.
    pub(super) t0: i64,
    /// Width of a bucket, from the same ladder; no shorter than what is left where readings are gone.
    pub(super) step_ms: i64,
    /// One for each series, in the order asked for.
    pub(super) rates: Vec<RateColumns>,
    /// Readings known to be lost, of the gateways of these series; the newest 1000 records.
    pub(super) gaps: Vec<GapRecord>,
    /// Older records that are left out.
    pub(super) gaps_left_out: usize,
}

/// Rates of one series in units per second; null where nothing is known: no readings, a gap, a reset.
#[derive(Serialize, ToSchema)]
pub(super) struct RateColumns {
    /// Series.
    id: u32,
    /// The slowest that it was from one reading to the next.
    min: Vec<Option<f64>>,
    /// The fastest.
    max: Vec<Option<f64>>,
    /// Average over what is known of the bucket.
    pub(super) avg: Vec<Option<f64>>,
    /// For how much of the bucket it is known, 0 to 1.
    known: Vec<f64>,
}

/// Consumption in periods of a calendar: period `i` covers `[edges[i], edges[i + 1])`. Of counters only.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Consumptions {
    /// Start of the window, ms since 1970.
    pub(super) from: i64,
    /// End of the window, excluded.
    pub(super) to: i64,
    /// Time zone of the periods.
    pub(super) zone: String,
    /// Where periods begin and end, one more than there are; the first and last period are whole.
    pub(super) edges: Vec<i64>,
    /// One for each series, in the order asked for.
    pub(super) consumption: Vec<ConsumptionColumns>,
    /// Readings known to be lost, of the gateways of these series; the newest 1000 records.
    pub(super) gaps: Vec<GapRecord>,
    /// Older records that are left out.
    pub(super) gaps_left_out: usize,
}

/// Consumption of one series, in its unit.
#[derive(Serialize, ToSchema)]
pub(super) struct ConsumptionColumns {
    /// Series.
    id: u32,
    /// All of the period; null where some of it is not known: a reset, no readings, a period that is not over.
    total: Vec<Option<f64>>,
    /// What is known of it.
    at_least: Vec<f64>,
}

/// A counter, and where it wraps.
pub(super) type Counter = (SeriesId, Option<u32>);

/// The counters of these ids.
///
/// # Errors
/// One of them is none.
pub(super) fn counters(state: &ApiState, ids: &[SeriesId]) -> Result<Vec<Counter>, ApiError> {
    let counter = |id: &SeriesId| {
        let Some(series) = state.live.series_by_id(*id) else { return Err(ApiError::unknown(format!("there is no series {}", id.0))) };
        match series.entry.kind {
            Kind::Counter => Ok((*id, series.entry.labels.get("bits").and_then(|bits| bits.parse().ok()))),
            _ => Err(ApiError::bad(format!("counter: series {} ({}) is no counter", id.0, series.entry.point))),
        }
    };
    ids.iter().map(counter).collect()
}

/// The edges of the periods that the window touches.
///
/// # Errors
/// A zone that there is not, or too many periods.
pub(super) fn edges(period: Period, (from, to): (i64, i64), zone: &str) -> Result<Vec<i64>, ApiError> {
    let wrong = |e: jiff::Error| ApiError::bad(format!("zone: {zone:?} is no time zone; expected one like Europe/Vienna or UTC: {e}"));
    let zone = TimeZone::get(zone).map_err(wrong)?;
    let too_many = || ApiError::too_much(format!("every: more than {MAX_PERIODS} periods; ask for a shorter range or longer periods"));
    calendar::edges(period.into(), (from, to), &zone, MAX_PERIODS).ok_or_else(too_many)
}

/// Rates in `slots` buckets; none where they would be made of too many readings.
pub(super) fn rate_columns(
    store: &dyn Store,
    counters: &[Counter],
    grid: (i64, i64, usize),
) -> Result<Option<Vec<RateColumns>>, StoreError> {
    let (t0, step_ms, slots) = grid;
    let to = t0.saturating_add(step_ms.saturating_mul(i64::try_from(slots).unwrap_or(i64::MAX)));
    each(store, counters, (t0, to), step_ms, |id, steps| RateColumns::of(id, &rates(steps, grid), step_ms))
}

/// Consumption between edges; none where it would be made of too many readings.
pub(super) fn consumption_columns(
    store: &dyn Store,
    counters: &[Counter],
    edges: &[i64],
) -> Result<Option<Vec<ConsumptionColumns>>, StoreError> {
    let window = (edges.first().copied().unwrap_or(0), edges.last().copied().unwrap_or(0));
    let shortest_ms = edges.windows(2).filter_map(|pair| Some(pair.last()? - pair.first()?)).min().unwrap_or(0);
    each(store, counters, window, shortest_ms, |id, steps| ConsumptionColumns::of(id, &consumption(steps, edges)))
}

/// What each counter counted, made into what is asked in steps of `wanted_ms` or longer.
fn each<T>(
    store: &dyn Store,
    counters: &[Counter],
    (from, to): (i64, i64),
    wanted_ms: i64,
    made: impl Fn(SeriesId, &[Step]) -> T,
) -> Result<Option<Vec<T>>, StoreError> {
    let window = (from.saturating_sub(MARGIN_MS), to.saturating_add(MARGIN_MS));
    let mut room = MAX_READINGS;
    let mut columns = Vec::with_capacity(counters.len());
    for counter in counters {
        let Some(counted) = counted(store, *counter, window, wanted_ms, &mut room)? else { return Ok(None) };
        columns.push(made(counter.0, &counted));
    }
    Ok(Some(columns))
}

/// By its readings, and by rollups before these begin; by rollups alone where the readings are too many.
fn counted(
    store: &dyn Store,
    (id, bits): Counter,
    (from, to): (i64, i64),
    wanted_ms: i64,
    room: &mut usize,
) -> Result<Option<Vec<Step>>, StoreError> {
    let begin = match raw_from(store) {
        Some(begin) => begin.clamp(from, to),
        None if store.grain_ms(from, to) > 1 => to,
        None => from,
    };
    let (end, counts) = match counts(store, id, (begin, to), room)? {
        Some(counts) => (begin, counts),
        None => (to, Vec::new()),
    };
    let mut counted = Vec::new();
    if from < end {
        // Buckets of a fourth of what is asked for, where there are such.
        let fine_ms = if wanted_ms >= 4 * QUARTER_MS { QUARTER_MS } else { MINUTE_MS };
        let step_ms = store.grain_ms(from, end).max(fine_ms);
        let begin = bucket_start(from, step_ms);
        let many = usize::try_from((end - begin) / step_ms).unwrap_or(usize::MAX);
        let Some(left) = room.checked_sub(many) else { return Ok(None) };
        *room = left;
        counted = rolled::steps(&store.buckets(id, begin, end, step_ms)?, step_ms, counts.first().copied());
    }
    counted.extend(steps(&counts, bits));
    Ok(Some(counted))
}

/// What a counter stood at, a page after the other; none where there is no room for that.
fn counts(store: &dyn Store, id: SeriesId, (from, to): (i64, i64), room: &mut usize) -> Result<Option<Vec<Count>>, StoreError> {
    let mut counts = Vec::new();
    let (mut next, mut left) = (from, *room);
    loop {
        let page = store.raw(id, next, to, PAGE)?;
        let Some(less) = left.checked_sub(page.len()) else { return Ok(None) };
        left = less;
        counts.extend(page.iter().filter_map(Count::of));
        match page.last() {
            Some(last) if page.len() == PAGE => next = last.at_ms.saturating_add(1),
            _ => {
                *room = left;
                return Ok(Some(counts));
            }
        }
    }
}

/// What to say where the readings are too many.
pub(super) fn too_many() -> ApiError {
    ApiError::too_much(format!("counter: more than {MAX_READINGS} readings would have to be read; ask for a shorter range or fewer series"))
}

impl RateColumns {
    fn of(id: SeriesId, rates: &[Rate], step_ms: i64) -> Self {
        let known = |rate: &Rate| rate.known_ms > 0;
        Self {
            id: id.0,
            min: rates.iter().map(|rate| known(rate).then_some(rate.min)).collect(),
            max: rates.iter().map(|rate| known(rate).then_some(rate.max)).collect(),
            avg: rates.iter().map(Rate::average).collect(),
            known: rates.iter().map(|rate| rate.known_ms as f64 / step_ms as f64).collect(),
        }
    }
}

impl ConsumptionColumns {
    fn of(id: SeriesId, periods: &[Consumption]) -> Self {
        Self {
            id: id.0,
            total: periods.iter().map(|period| (!period.missing).then_some(period.at_least)).collect(),
            at_least: periods.iter().map(|period| period.at_least).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use pattoo_wire::{Sample, Value};

    use super::*;
    use crate::store::embedded::Embedded;
    use crate::store::memory::Memory;
    use crate::store::retention::{Keep, Retention};
    use crate::store::{Commit, Reading};

    const HOUR: i64 = 3_600_000;
    const DAY: i64 = 24 * HOUR;
    const METER: SeriesId = SeriesId(1);
    /// Each 10 s, for four days.
    const READINGS: i64 = 4 * 8640;
    /// It is replaced at 12:20 of the first day.
    const REPLACED: i64 = 4440;

    /// Some 8 in 10 s, and four times as fast in the evening.
    fn counts(n: i64) -> i64 {
        if n % 8640 < 6000 { 7 + n % 3 } else { 30 + n % 5 }
    }

    fn fill(store: &dyn Store) {
        let mut stands_at = 0;
        let reading = |n| {
            stands_at = if n == REPLACED { 0 } else { stands_at + counts(n) };
            (METER, Reading { at_ms: n * 10_000, sample: Sample::Good(Value::int(stands_at)) })
        };
        let readings: Vec<_> = (0..READINGS).map(reading).collect();
        store.commit(&Commit { readings: readings.into(), ..Commit::default() }).unwrap();
    }

    fn hours(store: &dyn Store) -> Vec<(Option<f64>, f64)> {
        let edges: Vec<i64> = (0..=4 * 24).map(|n| n * HOUR).collect();
        let columns = consumption_columns(store, &[(METER, None)], &edges).unwrap().unwrap().remove(0);
        columns.total.into_iter().zip(columns.at_least).collect()
    }

    fn averages(store: &dyn Store, step_ms: i64) -> Vec<Option<f64>> {
        let slots = usize::try_from(4 * DAY / step_ms).unwrap();
        rate_columns(store, &[(METER, None)], (0, step_ms, slots)).unwrap().unwrap().remove(0).avg
    }

    #[test]
    fn what_was_counted_is_told_by_rollups_where_readings_are_gone() {
        let folder = tempfile::tempdir().unwrap();
        let (model, store) = (Memory::default(), Embedded::open(&folder.path().join("pattoo.redb")).unwrap());
        fill(&model);
        fill(&store);
        let retention = Retention { raw: Keep::For(Duration::from_secs(2 * 86_400)), ..Retention::alike(Keep::Forever) };
        store.retain(&retention, 4 * DAY).unwrap();
        assert_eq!(raw_from(&store), Some(2 * DAY));
        let (right, found) = (hours(&model), hours(&store));
        let replaced = usize::try_from(REPLACED * 10_000 / HOUR).unwrap();
        for (hour, (right, found)) in right.iter().zip(&found).enumerate() {
            assert!(found.1 <= right.1 + 1e-6, "hour {hour}: {found:?} of {right:?}");
            // That of the new meter lacks the quarter of an hour when it came and the one before, and others nothing.
            let lacks = if hour == replaced { 0.51 } else { 1e-9 };
            assert!(right.1 - found.1 <= right.1 * lacks, "hour {hour}: {found:?} of {right:?}");
            assert_eq!(right.0.is_some(), found.0.is_some(), "hour {hour}: {found:?} of {right:?}");
        }
        assert!(found[replaced].0.is_none() && found.iter().filter(|(total, _)| total.is_some()).count() == 94, "{found:?}");
        for step_ms in [60_000, HOUR] {
            for (slot, (right, found)) in averages(&model, step_ms).iter().zip(averages(&store, step_ms)).enumerate() {
                match (right, found) {
                    (Some(right), Some(found)) => {
                        let near = if slot_is_near(slot, step_ms) { 0.05 } else { 1e-9 };
                        assert!((right - found).abs() <= right * near, "{slot}: {found}, not {right}");
                    }
                    (right, found) => assert!(found.is_none() && slot_is_near(slot, step_ms), "{slot}: {found:?}, not {right:?}"),
                }
            }
        }
    }

    /// Whether the meter was replaced there, or it is the end.
    fn slot_is_near(slot: usize, step_ms: i64) -> bool {
        let at_ms = i64::try_from(slot).unwrap() * step_ms;
        (at_ms - REPLACED * 10_000).abs() <= step_ms || at_ms >= 4 * DAY - step_ms
    }

    #[test]
    fn what_was_counted_is_told_by_buckets_where_readings_are_too_many() {
        let store = Memory::default();
        fill(&store);
        let mut room = 5000;
        let counted = counted(&store, (METER, None), (2 * DAY, 4 * DAY), HOUR, &mut room).unwrap().unwrap();
        let told: f64 = counted.iter().filter_map(|step| step.increase).sum();
        let right: i64 = (2 * 8640 + 1..=4 * 8640 - 90).map(counts).sum();
        assert_eq!((told, room), (right as f64, 5000 - 2 * 96), "all but the last quarter of an hour");
        assert!(self::counted(&store, (METER, None), (2 * DAY, 4 * DAY), 60_000, &mut 100).unwrap().is_none(), "no room for these either");
    }
}
