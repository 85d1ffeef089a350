//! Lists: gateways, devices, series. They are small enough to be made anew for each request.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, State};
use pattoo_wire::{Kind, Labels, MAX_WARNING_CHARS, MAX_WARNINGS, Quality, Status, Warning};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::access::Asked;
use super::error::ErrorBody;
use super::params::{Nothing, Strict, ids};
use super::translations::Tongue;
use super::{ApiError, ApiState};
use crate::live::GatewayLive;
use crate::store::SeriesEntry;

/// Most series on one page.
const MAX_PAGE: usize = 1000;

/// Series on one page where the request does not say.
const DEFAULT_PAGE: usize = 200;

/// Before a gateway has run for so long, what it wrote at its start says nothing of a day.
const LEAST_UPTIME_S: u64 = 60;

const SECONDS_PER_DAY: u128 = 86_400;

/// All gateways.
#[derive(Serialize, ToSchema)]
pub(super) struct Gateways {
    /// By name.
    gateways: Vec<Gateway>,
}

/// A gateway and how it is.
#[derive(Serialize, ToSchema)]
pub(super) struct Gateway {
    /// Its name.
    name: String,
    /// Whether it is connected; false also when it never told.
    online: bool,
    /// Arrival of its newest message, ms since 1970.
    last_seen: Option<i64>,
    /// Version of its program.
    version: Option<String>,
    /// Batches in its buffer that wait for an acknowledgement.
    buffer_batches: Option<u64>,
    /// Bytes of those batches.
    buffer_bytes: Option<u64>,
    /// Readings it had to drop; each is part of a gap record.
    dropped_readings: Option<u64>,
    /// Bytes that it writes to its storage in a day, measured since it started; none in its first minute, or where its system does not count.
    written_bytes_per_day: Option<u64>,
    /// Its clock; null before it told.
    clock: Option<Clock>,
    /// What is going to be trouble there unless somebody sees to it, as it told last.
    warnings: Vec<Trouble>,
    /// What this server took from it.
    received: Received,
}

/// Something that is going to be trouble.
#[derive(Serialize, ToSchema)]
pub(super) struct Trouble {
    /// `disk`, `clock`, `certificate`, or what else a newer gateway tells of.
    about: String,
    /// What is wrong and what to do.
    text: String,
}

impl From<&Warning> for Trouble {
    fn from(warning: &Warning) -> Self {
        // A gateway may be somebody else's program.
        let Warning { about, text } = Warning::new(&warning.about, &warning.text);
        Self { about: about.chars().take(MAX_WARNING_CHARS).collect(), text }
    }
}

/// A gateway's clock, as it told last.
#[derive(Serialize, ToSchema)]
pub(super) struct Clock {
    /// The server's time less the gateway's, in ms; the message's way is part of it.
    offset: i64,
    /// What the times of its readings rest on: `none`, `ntp`, `server`, `system`, or the number of another source.
    source: String,
    /// When that was, ms since 1970.
    at: i64,
}

impl From<crate::live::Clock> for Clock {
    fn from(clock: crate::live::Clock) -> Self {
        Self { offset: clock.offset_ms, source: clock.source.to_string(), at: clock.at_ms }
    }
}

/// Counters since the server started.
#[derive(Serialize, ToSchema)]
pub(super) struct Received {
    /// Batches that were new.
    batches: u64,
    /// Readings in them.
    readings: u64,
    /// Batches that had come before.
    replays: u64,
    /// Batches under whose number another one had come: thinned out since, or of a buffer that was put back to an older image.
    changed: u64,
    /// Messages that were refused, by reason.
    rejects: BTreeMap<String, u64>,
}

/// What a gateway writes in a day if it goes on as it did; none before it has run for a while.
fn written_bytes_per_day(status: &Status) -> Option<u64> {
    let written_bytes = status.written_bytes.filter(|_| status.uptime_s >= LEAST_UPTIME_S)?;
    u64::try_from(u128::from(written_bytes) * SECONDS_PER_DAY / u128::from(status.uptime_s)).ok()
}

impl From<GatewayLive> for Gateway {
    fn from(view: GatewayLive) -> Self {
        let status = view.status.as_ref();
        Self {
            online: status.is_some_and(|s| s.online),
            last_seen: view.last_seen_ms,
            version: status.map(|s| s.version.clone()).filter(|v| !v.is_empty()),
            buffer_batches: status.map(|s| s.buffer_batches),
            buffer_bytes: status.map(|s| s.buffer_bytes),
            dropped_readings: status.map(|s| s.dropped_readings),
            written_bytes_per_day: status.and_then(written_bytes_per_day),
            clock: view.clock.map(Clock::from),
            warnings: status.into_iter().flat_map(|s| &s.warnings).take(MAX_WARNINGS).map(Trouble::from).collect(),
            received: Received {
                batches: view.counters.batches,
                readings: view.counters.readings,
                replays: view.counters.replays,
                changed: view.counters.changed,
                rejects: view.counters.rejects.iter().map(|(reason, n)| ((*reason).to_owned(), *n)).collect(),
            },
            name: view.name,
        }
    }
}

/// All gateways that ever sent something, with their state.
#[utoipa::path(get, path = "/api/v1/gateways", responses(
    (status = 200, body = Gateways), (status = 400, body = ErrorBody, description = "a parameter is not known")))]
pub(super) async fn gateways(State(state): State<ApiState>, Strict(Nothing {}): Strict<Nothing>) -> Json<Gateways> {
    Json(Gateways { gateways: state.live.gateways().into_iter().map(Gateway::from).collect() })
}

/// Which devices.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct DeviceQuery {
    /// Only this gateway's.
    gateway: Option<String>,
}

/// Devices.
#[derive(Serialize, ToSchema)]
pub(super) struct Devices {
    /// By gateway and name.
    devices: Vec<Device>,
}

/// A device and how it is.
#[derive(Serialize, ToSchema)]
pub(super) struct Device {
    /// Unique within its gateway.
    name: String,
    /// Gateway that reads it.
    gateway: String,
    /// Profile it is read with.
    profile: String,
    /// What that is called in the reader's language.
    profile_name: String,
    /// Labels from the gateway's configuration.
    labels: BTreeMap<String, String>,
    /// How many series it has.
    series: usize,
    /// As its gateway last told; null before it did.
    health: Option<Health>,
}

/// How the latest poll of a device went.
#[derive(Serialize, ToSchema)]
pub(super) struct Health {
    /// `good`, `uncertain` or `bad`.
    #[schema(value_type = String)]
    quality: Quality,
    /// Why it is not good.
    reason: Option<String>,
    /// Polls since the gateway started.
    polls: u64,
    /// Polls with a bad reading.
    failures: u64,
    /// Polls that came due and were missed because its link was busy.
    skipped: u64,
    /// How late 99 of 100 of its latest polls began at most, in ms after they were due.
    late_p99: Option<u64>,
    /// What 99 of 100 of its latest answers took at most, in ms.
    latency_p99: Option<u64>,
    /// How long it is waited for at present, in ms.
    timeout: Option<u64>,
    /// What went wrong on the way to it since the gateway started, made good by asking again or not: how often, by name.
    misses: BTreeMap<String, u64>,
}

/// Devices with their health.
#[utoipa::path(get, path = "/api/v1/devices", params(DeviceQuery), responses(
    (status = 200, body = Devices), (status = 400, body = ErrorBody, description = "a parameter is not known"),
    (status = 404, body = ErrorBody, description = "there is no such gateway")))]
pub(super) async fn devices(
    State(state): State<ApiState>,
    Extension(asked): Extension<Asked>,
    Strict(query): Strict<DeviceQuery>,
) -> Result<Json<Devices>, ApiError> {
    let tongue = Tongue::of(&state, &asked);
    let series = matching(&state, query.gateway.as_deref(), None)?;
    let status: BTreeMap<_, _> = state.live.gateways().into_iter().map(|g| (g.name, g.status)).collect();
    let mut devices: BTreeMap<(&str, &str), Device> = BTreeMap::new();
    for entry in &series {
        let device = devices.entry((&entry.gateway, &entry.device)).or_insert_with(|| Device {
            name: entry.device.clone(),
            gateway: entry.gateway.clone(),
            profile: entry.profile.clone(),
            profile_name: tongue.program(&entry.profile),
            labels: entry.device_labels.clone(),
            series: 0,
            health: status.get(&entry.gateway).and_then(|s| s.as_ref()?.devices.get(&entry.device)).map(|d| Health {
                quality: d.quality,
                reason: d.reason.clone(),
                polls: d.polls,
                failures: d.failures,
                skipped: d.skipped,
                late_p99: d.late.map(|late| late.p99_ms),
                latency_p99: d.latency_p99_ms,
                timeout: d.timeout_ms,
                misses: d.misses.clone(),
            }),
        });
        device.series += 1;
    }
    Ok(Json(Devices { devices: devices.into_values().collect() }))
}

/// Which series.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct SeriesQuery {
    /// Only these ids, as in `1,2,3`; at most 1000. One that is not there is left out.
    #[param(example = "1")]
    series: Option<String>,
    /// Only this gateway's.
    gateway: Option<String>,
    /// Only of devices of this name.
    device: Option<String>,
    /// Words that must all be found in gateway, device, point, its name, unit, profile or labels.
    q: Option<String>,
    /// Most to give, 1 to 1000; 200 where not said.
    limit: Option<usize>,
    /// How many to skip.
    offset: Option<usize>,
}

/// A page of series.
#[derive(Serialize, ToSchema)]
pub(super) struct SeriesPage {
    /// How many match in all.
    total: usize,
    /// How many were skipped before this page.
    offset: usize,
    /// By gateway, device and point.
    series: Vec<Series>,
}

/// A series.
#[derive(Serialize, ToSchema)]
pub(super) struct Series {
    /// Names it in the other requests.
    id: u32,
    /// Gateway it comes from.
    gateway: String,
    /// Device it is read from.
    device: String,
    /// Point of the device.
    point: String,
    /// What it is called in the reader's language; the point where that is not translated.
    name: String,
    /// Unit, its own or the translation's; empty for none.
    unit: String,
    /// `gauge`, `counter`, `state` or `text`.
    #[schema(value_type = String)]
    kind: Kind,
    /// Labels of this one series.
    labels: BTreeMap<String, String>,
    /// Texts of its states, by their number.
    states: BTreeMap<String, String>,
}

impl Series {
    pub(super) fn of(series: &SeriesEntry, tongue: &Tongue) -> Self {
        let (name, unit) = tongue.series(series);
        Self {
            id: series.id.0,
            gateway: series.gateway.clone(),
            device: series.device.clone(),
            point: series.entry.point.clone(),
            name,
            unit,
            kind: series.entry.kind,
            labels: series.entry.labels.clone(),
            states: series.entry.states.iter().map(|(n, text)| (n.to_string(), text.clone())).collect(),
        }
    }
}

/// Series that match, a page at a time.
#[utoipa::path(get, path = "/api/v1/series", params(SeriesQuery), responses(
    (status = 200, body = SeriesPage), (status = 400, body = ErrorBody, description = "a parameter is not known or out of range"),
    (status = 404, body = ErrorBody, description = "there is no such gateway or device")))]
pub(super) async fn series(
    State(state): State<ApiState>,
    Extension(asked): Extension<Asked>,
    Strict(query): Strict<SeriesQuery>,
) -> Result<Json<SeriesPage>, ApiError> {
    let tongue = Tongue::of(&state, &asked);
    let limit = query.limit.unwrap_or(DEFAULT_PAGE);
    if !(1..=MAX_PAGE).contains(&limit) {
        return Err(ApiError::bad(format!("limit: {limit} is out of range; 1 to {MAX_PAGE} are allowed")));
    }
    let offset = query.offset.unwrap_or(0);
    let words: Vec<String> = query.q.unwrap_or_default().split_whitespace().map(str::to_lowercase).collect();
    let mut found = matching(&state, query.gateway.as_deref(), query.device.as_deref())?;
    if !words.is_empty() {
        found.retain(|entry| has_words(entry, &tongue, &words));
    }
    if let Some(list) = &query.series {
        let wanted = ids(list, MAX_PAGE)?;
        found.retain(|entry| wanted.contains(&entry.id));
    }
    let series = found.iter().skip(offset).take(limit).map(|entry| Series::of(entry, &tongue)).collect();
    Ok(Json(SeriesPage { total: found.len(), offset, series }))
}

/// Series of a gateway and device; a name that nothing has is an error, not an empty answer.
pub(super) fn matching(state: &ApiState, gateway: Option<&str>, device: Option<&str>) -> Result<Vec<Arc<SeriesEntry>>, ApiError> {
    if let Some(name) = gateway.filter(|name| state.live.gateway(name).is_none()) {
        return Err(ApiError::unknown(format!("there is no gateway {name:?}")));
    }
    let series = state.live.series(gateway, device);
    match device {
        Some(name) if series.is_empty() => Err(ApiError::unknown(format!("there is no device {name:?}"))),
        _ => Ok(series),
    }
}

fn has_words(series: &SeriesEntry, tongue: &Tongue, words: &[String]) -> bool {
    let labels = |labels: &Labels| labels.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>();
    let mut texts = vec![series.gateway.clone(), series.device.clone(), series.profile.clone()];
    texts.push(series.entry.point.clone());
    texts.extend(<[String; 2]>::from(tongue.series(series)));
    texts.extend(labels(&series.device_labels));
    texts.extend(labels(&series.entry.labels));
    let text = texts.join("\n").to_lowercase();
    words.iter().all(|word| text.contains(word))
}
