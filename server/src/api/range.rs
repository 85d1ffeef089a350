//! Readings of a window: in buckets on the fixed ladder of steps for charts, or raw and exact.

use axum::Json;
use axum::extract::State;
use pattoo_wire::{Gap, GapReason, Quality};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

use super::counters::{self, As, Consumptions, Period, Rates};
use super::error::ErrorBody;
use super::params::{Strict, ids, time};
use super::values::{Scalar, known, numbers};
use super::{ApiError, ApiState};
use crate::clock::now_ms;
use crate::query::{bucket_start, step_for};
use crate::store::retention::RAW;
use crate::store::{Bucket, Reading, SeriesId, Store, StoreError};

/// Most series in one answer.
const MAX_SERIES: usize = 50;

/// Most buckets of a series: the device pixels of a wide screen.
pub(super) const MAX_POINTS: usize = 4000;

/// Buckets where the request does not say.
const DEFAULT_POINTS: usize = 600;

/// Most raw readings in one answer, over all its series.
pub(super) const MAX_RAW_ROWS: usize = 100_000;

/// Most gap records in one answer.
const MAX_GAPS: usize = 1000;

/// Which window of which series.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct RangeQuery {
    /// Ids, as in `1,2,3`; at most 50.
    #[param(example = "1")]
    series: String,
    /// Start, included: ms since 1970, or as in `now-15m`, which also serves where not said.
    from: Option<String>,
    /// End, excluded: the same forms; `now` where not said.
    to: Option<String>,
    /// Most buckets, 1 to 4000; 600 where not said.
    points: Option<usize>,
    /// Exact readings in place of buckets.
    raw: Option<bool>,
    /// Counters as their `rate` per second, or as their `consumption` in periods.
    #[param(inline)]
    counter: Option<As>,
    /// Periods of consumption: `hour`, `day` or `month`.
    #[param(inline)]
    every: Option<Period>,
    /// Time zone of the periods, as in `Europe/Vienna`; UTC where not said.
    #[param(example = "UTC")]
    zone: Option<String>,
}

/// Buckets, or with `raw=true` readings, or with `counter` what counters counted.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(super) enum Range {
    /// Buckets.
    Buckets(Buckets),
    /// Readings.
    Raw(Raw),
    /// Rates of counters.
    Rates(Rates),
    /// Consumption of counters.
    Consumptions(Consumptions),
}

/// Columns of buckets on one grid: bucket `i` covers `[t0 + i * step_ms, t0 + (i + 1) * step_ms)`, aligned to 1970.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Buckets {
    /// Start of the window, ms since 1970.
    from: i64,
    /// End of the window, excluded.
    to: i64,
    /// Start of the first bucket.
    t0: i64,
    /// Width of a bucket: 1, 2, 5, 10, 15, 30 s; 1, 2, 5, 10, 15, 30 min; 1, 2, 3, 6, 12 h; whole days. Where the readings of the window are gone by
    /// their age, it is not less than that of the rollups that are left of them.
    step_ms: i64,
    /// One for each series, in the order asked for.
    series: Vec<Columns>,
    /// True if some history could not be asked for right now: buckets may lack readings, or be missing.
    partial: bool,
    /// Readings known to be lost, of the gateways of these series; the newest 1000 records.
    gaps: Vec<GapRecord>,
    /// Older records that are left out.
    gaps_left_out: usize,
}

/// Columns of one series. A bucket without a number is null in `min`, `max`, `avg` and `last`.
#[derive(Serialize, ToSchema)]
pub(super) struct Columns {
    /// Series.
    id: u32,
    /// Smallest number of the bucket.
    min: Vec<Option<f64>>,
    /// Largest.
    max: Vec<Option<f64>>,
    /// Average.
    avg: Vec<Option<f64>>,
    /// Last in time.
    last: Vec<Option<f64>>,
    /// Readings with a number.
    count: Vec<u64>,
    /// Readings of uncertain quality among them.
    uncertain: Vec<u64>,
    /// Readings of bad quality; they have no number.
    bad: Vec<u64>,
}

/// Exact readings.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw {
    /// Start of the window, ms since 1970.
    from: i64,
    /// End of the window, excluded.
    to: i64,
    /// One for each series, in the order asked for.
    series: Vec<RawColumns>,
    /// True if the window holds more readings than one answer may; the ones given are its oldest.
    truncated: bool,
    /// Where readings begin if older ones have been deleted, ms since 1970: of what was before, only buckets are left.
    raw_from: Option<i64>,
    /// Readings known to be lost, of the gateways of these series; the newest 1000 records.
    gaps: Vec<GapRecord>,
    /// Older records that are left out.
    gaps_left_out: usize,
}

/// Readings of one series, oldest first, one column each.
#[derive(Serialize, ToSchema)]
pub(super) struct RawColumns {
    /// Series.
    id: u32,
    /// When, ms since 1970.
    t: Vec<i64>,
    /// Number, boolean or text with all its digits; null if bad, or a float that is no number.
    #[schema(value_type = Vec<Option<Scalar>>)]
    v: Box<RawValue>,
    /// `good`, `uncertain` or `bad`.
    #[schema(value_type = Vec<String>)]
    q: Vec<Quality>,
    /// Why it is not good.
    reason: Vec<Option<String>>,
}

/// Readings that were dropped and will never come, or a clock that was set.
#[derive(Serialize, ToSchema)]
pub(super) struct GapRecord {
    /// Gateway that dropped them.
    gateway: String,
    /// Time of the first, ms since 1970; for readings that the server refused, when they came.
    from: i64,
    /// Time of the last.
    to: i64,
    /// Why.
    reason: String,
    /// How many; 0 where nobody knows.
    readings: u64,
    /// Whether readings are missing. None are where the gateway's clock was set, by `to` less `from`: times before and after it are not
    /// comparable.
    missing: bool,
}

/// Readings of a window: in buckets, raw, or of counters what they counted.
#[utoipa::path(get, path = "/api/v1/range", params(RangeQuery), responses(
    (status = 200, body = Range), (status = 400, body = ErrorBody, description = "a parameter is not known, wrong or too large"),
    (status = 404, body = ErrorBody, description = "there is no such series")))]
pub(super) async fn range(State(state): State<ApiState>, Strict(query): Strict<RangeQuery>) -> Result<Json<Range>, ApiError> {
    let now = now_ms();
    let ids = known(&state, ids(&query.series, MAX_SERIES)?)?;
    let from = time("from", query.from.as_deref().unwrap_or("now-15m"), now)?;
    let to = time("to", query.to.as_deref().unwrap_or("now"), now)?;
    if from >= to {
        return Err(ApiError::bad(format!("from ({from}) is not before to ({to})")));
    }
    let points = query.points.unwrap_or(DEFAULT_POINTS);
    if !(1..=MAX_POINTS).contains(&points) {
        return Err(ApiError::bad(format!("points: {points} is out of range; 1 to {MAX_POINTS} are allowed")));
    }
    let mut gateways: Vec<String> = ids.iter().filter_map(|id| Some(state.live.series_by_id(*id)?.gateway.clone())).collect();
    gateways.sort();
    gateways.dedup();
    if query.counter.is_some() {
        return counted(&state, &query, ids, gateways, (from, to)).await.map(Json);
    }
    if query.every.is_some() || query.zone.is_some() {
        return Err(ApiError::bad("every and zone go with counter=consumption"));
    }
    if query.raw == Some(true) {
        return Ok(Json(Range::Raw(state.ask(move |store| raw(store, &ids, &gateways, from, to)).await?)));
    }
    Ok(Json(Range::Buckets(state.ask(move |store| bucketed(store, &ids, &gateways, from, to, points)).await?)))
}

/// The same of counters, as what they counted.
async fn counted(
    state: &ApiState,
    query: &RangeQuery,
    ids: Vec<SeriesId>,
    gateways: Vec<String>,
    (from, to): (i64, i64),
) -> Result<Range, ApiError> {
    if query.raw == Some(true) {
        return Err(ApiError::bad("raw and counter exclude each other: raw readings of a counter are what it stood at"));
    }
    let counters = counters::counters(state, &ids)?;
    let found = match (query.counter, query.every) {
        (Some(As::Consumption), Some(period)) => {
            let zone = query.zone.clone().unwrap_or_else(|| "UTC".into());
            let edges = counters::edges(period, (from, to), &zone)?;
            let answer = state.ask(move |store| {
                let columns = counters::consumption_columns(store, &counters, &edges)?;
                let (gaps, gaps_left_out) = gaps(store, &gateways, from, to)?;
                Ok(columns.map(|consumption| Range::Consumptions(Consumptions { from, to, zone, edges, consumption, gaps, gaps_left_out })))
            });
            answer.await?
        }
        (Some(As::Consumption), None) => return Err(ApiError::bad("counter=consumption needs every=hour, day or month")),
        (_, Some(_)) => return Err(ApiError::bad("every and zone go with counter=consumption")),
        (_, None) if query.zone.is_some() => return Err(ApiError::bad("every and zone go with counter=consumption")),
        (_, None) => {
            let points = query.points.unwrap_or(DEFAULT_POINTS);
            let answer = state.ask(move |store| {
                let step_ms = step_for(from, to, points).max(store.grain_ms(from, to));
                let (t0, slots) = grid(from, to, step_ms);
                let columns = counters::rate_columns(store, &counters, (t0, step_ms, slots))?;
                let (gaps, gaps_left_out) = gaps(store, &gateways, from, to)?;
                Ok(columns.map(|rates| Range::Rates(Rates { from, to, t0, step_ms, rates, gaps, gaps_left_out })))
            });
            answer.await?
        }
    };
    found.ok_or_else(counters::too_many)
}

/// Start of the first bucket, and how many there are.
pub(super) fn grid(from: i64, to: i64, step: i64) -> (i64, usize) {
    let t0 = bucket_start(from, step);
    (t0, usize::try_from((bucket_start(to - 1, step) - t0) / step).unwrap_or(0) + 1)
}

fn bucketed(store: &dyn Store, ids: &[SeriesId], gateways: &[String], from: i64, to: i64, points: usize) -> Result<Buckets, StoreError> {
    // Where readings are gone, what is left of them has steps of its own; those of charts are whole numbers of these.
    let step = step_for(from, to, points).max(store.grain_ms(from, to));
    let (t0, slots) = grid(from, to, step);
    let mut partial = false;
    let columns = |id: &SeriesId| {
        let (buckets, in_part) = store.buckets_in_part(*id, from, to, step)?;
        partial |= in_part;
        Ok(Columns::of(*id, &buckets, t0, step, slots))
    };
    let series = ids.iter().map(columns).collect::<Result<_, StoreError>>()?;
    let (gaps, gaps_left_out) = gaps(store, gateways, from, to)?;
    Ok(Buckets { from, to, t0, step_ms: step, series, partial, gaps, gaps_left_out })
}

pub(super) fn raw(store: &dyn Store, ids: &[SeriesId], gateways: &[String], from: i64, to: i64) -> Result<Raw, StoreError> {
    let mut room = MAX_RAW_ROWS;
    let mut truncated = false;
    let mut series = Vec::with_capacity(ids.len());
    for id in ids {
        // One more than there is room for tells whether any is left out.
        let mut readings = store.raw(*id, from, to, room + 1)?;
        truncated |= readings.len() > room;
        readings.truncate(room);
        room -= readings.len();
        series.push(RawColumns::of(*id, &readings));
    }
    let (gaps, gaps_left_out) = gaps(store, gateways, from, to)?;
    Ok(Raw { from, to, series, truncated, raw_from: raw_from(store), gaps, gaps_left_out })
}

/// Where readings begin, if there are rollups of what was before.
pub(super) fn raw_from(store: &dyn Store) -> Option<i64> {
    let classes = store.classes();
    let from_ms = classes.iter().find(|class| class.name == RAW)?.from_ms?;
    classes.iter().filter_map(|class| class.from_ms).any(|earlier| earlier < from_ms).then_some(from_ms)
}

/// The newest records in order of time, and how many older ones there are.
fn gaps(store: &dyn Store, gateways: &[String], from: i64, to: i64) -> Result<(Vec<GapRecord>, usize), StoreError> {
    let mut records = Vec::new();
    for gateway in gateways {
        records.extend(store.gaps(gateway, from, to)?.iter().map(|gap| GapRecord::of(gateway, gap)));
    }
    records.sort_by_key(|r| r.to);
    let left_out = records.len().saturating_sub(MAX_GAPS);
    records.drain(..left_out);
    Ok((records, left_out))
}

impl Columns {
    fn of(id: SeriesId, buckets: &[Bucket], t0: i64, step: i64, slots: usize) -> Self {
        let none = vec![None; slots];
        let zero = vec![0; slots];
        let mut columns = Self {
            id: id.0,
            min: none.clone(),
            max: none.clone(),
            avg: none.clone(),
            last: none,
            count: zero.clone(),
            uncertain: zero.clone(),
            bad: zero,
        };
        for bucket in buckets {
            let slot = usize::try_from((bucket.start_ms - t0) / step).unwrap_or(usize::MAX);
            assert!(slot < slots, "BUG: the store gave a bucket at {} outside the window from {t0}", bucket.start_ms);
            if bucket.count > 0 {
                columns.min[slot] = Some(bucket.min);
                columns.max[slot] = Some(bucket.max);
                columns.avg[slot] = Some(average(bucket));
                columns.last[slot] = Some(bucket.last);
            }
            columns.count[slot] = bucket.count;
            columns.uncertain[slot] = bucket.uncertain;
            columns.bad[slot] = bucket.bad;
        }
        columns
    }
}

/// Never outside its own minimum and maximum: a sum of doubles may round past them.
pub(super) fn average(bucket: &Bucket) -> f64 {
    let average = bucket.sum / bucket.count as f64;
    average.max(bucket.min).min(bucket.max)
}

impl RawColumns {
    pub(super) fn of(id: SeriesId, readings: &[Reading]) -> Self {
        Self {
            id: id.0,
            t: readings.iter().map(|r| r.at_ms).collect(),
            v: numbers(readings.iter().map(|r| &r.sample)),
            q: readings.iter().map(|r| r.sample.quality()).collect(),
            reason: readings.iter().map(|r| r.sample.reason().map(|reason| reason.to_string())).collect(),
        }
    }
}

impl GapRecord {
    fn of(gateway: &str, gap: &Gap) -> Self {
        let missing = gap.reason != GapReason::ClockStep;
        let (from, to) = (gap.from_ms, gap.to_ms);
        Self { gateway: gateway.to_owned(), from, to, reason: gap.reason.to_string(), readings: gap.readings, missing }
    }
}
