//! Counters of a window as rates in buckets, or as consumption in periods of a calendar.

use jiff::tz::TimeZone;
use pattoo_wire::Kind;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::range::GapRecord;
use super::{ApiError, ApiState};
use crate::query::calendar::{self, Every};
use crate::query::counter::{Count, Step, steps, usual_gap_ms};
use crate::query::spread::{Consumption, Rate, consumption, longest_even_ms, rates};
use crate::store::{SeriesId, Store, StoreError};

/// Most readings that one answer may be made of: some 115 days of 10 s.
const MAX_READINGS: usize = 1_000_000;
/// Readings taken from the store at once.
const PAGE: usize = 100_000;
/// Most periods of one answer.
pub(super) const MAX_PERIODS: usize = 4000;
/// How far beyond the window readings are looked for: the first bucket needs one before it.
const MARGIN_MS: i64 = 3_600_000;

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
    /// Width of a bucket, from the same ladder.
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
    each(store, counters, (t0, to), |id, steps, longest_ms| RateColumns::of(id, &rates(steps, grid, longest_ms), step_ms))
}

/// Consumption between edges; none where it would be made of too many readings.
pub(super) fn consumption_columns(
    store: &dyn Store,
    counters: &[Counter],
    edges: &[i64],
) -> Result<Option<Vec<ConsumptionColumns>>, StoreError> {
    let window = (edges.first().copied().unwrap_or(0), edges.last().copied().unwrap_or(0));
    each(store, counters, window, |id, steps, longest_ms| ConsumptionColumns::of(id, &consumption(steps, edges, longest_ms)))
}

fn each<T>(
    store: &dyn Store,
    counters: &[Counter],
    (from, to): (i64, i64),
    made: impl Fn(SeriesId, &[Step], i64) -> T,
) -> Result<Option<Vec<T>>, StoreError> {
    let mut room = MAX_READINGS;
    let mut columns = Vec::with_capacity(counters.len());
    for (id, bits) in counters {
        let Some(counts) = counts(store, *id, (from.saturating_sub(MARGIN_MS), to.saturating_add(MARGIN_MS)), &mut room)? else {
            return Ok(None);
        };
        let longest_ms = longest_even_ms(usual_gap_ms(&counts).unwrap_or(0));
        columns.push(made(*id, &steps(&counts, *bits), longest_ms));
    }
    Ok(Some(columns))
}

/// What a counter stood at, a page after the other.
fn counts(store: &dyn Store, id: SeriesId, (from, to): (i64, i64), room: &mut usize) -> Result<Option<Vec<Count>>, StoreError> {
    let mut counts = Vec::new();
    let mut next = from;
    loop {
        let page = store.raw(id, next, to, PAGE)?;
        if page.len() > *room {
            return Ok(None);
        }
        *room -= page.len();
        counts.extend(page.iter().filter_map(Count::of));
        match page.last() {
            Some(last) if page.len() == PAGE => next = last.at_ms.saturating_add(1),
            _ => return Ok(Some(counts)),
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
