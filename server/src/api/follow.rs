//! Readings as they become durable, as server-sent events. A follower that was away says where it was and gets what it missed,
//! or the word that it has to ask for its window anew. Nothing is kept for a follower but its place: a slow one costs no memory.

use std::collections::{BTreeMap, HashSet};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use pattoo_wire::Sample;
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use utoipa::{IntoParams, ToSchema};

use super::error::ErrorBody;
use super::params::Strict;
use super::range::RawColumns;
use super::{ApiError, ApiState, values};
use crate::clock::now_ms;
use crate::live::{Fresh, Live};
use crate::store::{Reading, SeriesId};

/// Most followers at once: half of the connections, so that they never keep others out.
pub(super) const MAX_FOLLOWERS: usize = 128;

/// Shortest pause between two events of one follower; what comes in between is told together.
const PAUSE: Duration = Duration::from_millis(250);

/// A comment after so much silence, so that nothing on the way takes the connection for dead.
const SILENCE: Duration = Duration::from_secs(15);

/// A client that lost its connection tries again after this.
const RETRY: Duration = Duration::from_secs(1);

/// Most readings in one event. More than that is a window to ask for, not news.
const MAX_EVENT_READINGS: usize = 5000;

/// What all followers share.
#[derive(Clone)]
pub(super) struct Followers {
    room: Arc<Semaphore>,
    /// Tells places of this life of the server from those of an earlier one.
    life: i64,
    stopped: watch::Receiver<bool>,
}

impl Followers {
    pub(super) fn new(life: i64, stopped: watch::Receiver<bool>) -> Self {
        Self { room: Arc::new(Semaphore::new(MAX_FOLLOWERS)), life, stopped }
    }

    /// Becomes true once the server stops.
    pub(super) fn stopped(&self) -> watch::Receiver<bool> {
        self.stopped.clone()
    }
}

/// Which series to follow, and from where on.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct LiveQuery {
    /// Ids, as in `1,2,3`; at most 1000.
    #[param(example = "1")]
    series: Option<String>,
    /// All of this gateway.
    gateway: Option<String>,
    /// All of the devices of this name.
    device: Option<String>,
    /// The `id` of an earlier event, to go on after it; the header `Last-Event-ID` says the same and comes first.
    after: Option<String>,
}

/// What a `start` event says.
#[derive(Serialize, ToSchema)]
pub(super) struct Start {
    /// The server's time, ms since 1970.
    now: i64,
}

/// What a `readings` event says.
#[derive(Serialize, ToSchema)]
pub(super) struct News {
    /// The server's time, ms since 1970.
    now: i64,
    /// The series that have new readings.
    series: Vec<Newest>,
}

/// New readings of one series, oldest first; they may be older than some that were told before.
#[derive(Serialize, ToSchema)]
pub(super) struct Newest {
    /// The readings, as in `/api/v1/range` with `raw=true`.
    #[serde(flatten)]
    columns: RawColumns,
    /// The value of the last one as text, with all its digits; null if it is bad.
    text: Option<String>,
}

/// Readings as they are stored.
///
/// Events: `start` (`{"now": ms}`): from here on; ask `/api/v1/range` for what was before. It comes first, unless `after` names a place
/// from which nothing is missing, and again where a follower fell too far behind. `readings`
/// (`{"now": ms, "series": [{"id", "t", "v", "q", "reason", "text"}]}`): new readings, told at most four times a second. Each event has an
/// `id` to go on after.
#[utoipa::path(get, path = "/api/v1/live", params(LiveQuery), responses(
    (status = 200, body = String, content_type = "text/event-stream"),
    (status = 400, body = ErrorBody, description = "a parameter is not known, or too many series"),
    (status = 404, body = ErrorBody, description = "there is no such series, gateway or device"),
    (status = 503, body = ErrorBody, description = "too many follow already")))]
pub(super) async fn live(
    State(state): State<ApiState>,
    headers: HeaderMap,
    Strict(query): Strict<LiveQuery>,
) -> Result<Response, ApiError> {
    let ids = values::chosen(&state, query.series.as_deref(), query.gateway.as_deref(), query.device.as_deref())?;
    let followers = &state.followers;
    let full = |_| ApiError::unavailable(format!("{MAX_FOLLOWERS} clients follow live values already; ask /api/v1/latest instead"));
    let after = headers.get("last-event-id").and_then(|id| id.to_str().ok()).or(query.after.as_deref());
    let follower = Follower {
        wanted: ids.into_iter().collect(),
        place: after.and_then(|id| place(id, followers.life)),
        life: followers.life,
        news: state.live.news(),
        live: state.live.clone(),
        stopped: followers.stopped.clone(),
        _room: Arc::clone(&followers.room).try_acquire_owned().map_err(full)?,
        told: false,
    };
    let events = stream::unfold(follower, |follower| async {
        let (event, follower) = follower.next().await?;
        Some((Ok::<_, Infallible>(event), follower))
    });
    let unbuffered = [(HeaderName::from_static("x-accel-buffering"), "no")];
    Ok((unbuffered, Sse::new(events).keep_alive(KeepAlive::new().interval(SILENCE))).into_response())
}

/// One client.
struct Follower {
    wanted: HashSet<SeriesId>,
    /// Everything up to here was told; none before the first event.
    place: Option<u64>,
    life: i64,
    live: Arc<Live>,
    news: watch::Receiver<u64>,
    stopped: watch::Receiver<bool>,
    _room: OwnedSemaphorePermit,
    /// Whether something was told just now.
    told: bool,
}

impl Follower {
    /// The next event, as soon as there is one; none once the server stops.
    async fn next(mut self) -> Option<(Event, Self)> {
        loop {
            let turn = async {
                if self.told {
                    tokio::time::sleep(PAUSE).await;
                } else if self.place.is_some_and(|place| place == *self.news.borrow_and_update()) {
                    self.news.changed().await.ok()?;
                }
                Some(())
            };
            tokio::select! {
                biased;
                _ = self.stopped.wait_for(|stopped| *stopped) => return None,
                turn = turn => turn?,
            }
            self.told = false;
            if let Some(event) = self.look() {
                self.told = true;
                return Some((event, self));
            }
        }
    }

    fn look(&mut self) -> Option<Event> {
        let (newest, commits) = match self.place {
            Some(place) => self.live.readings_after(place),
            None => (*self.news.borrow(), None),
        };
        self.place = Some(newest);
        let series = commits.as_ref().map(|commits| news(commits, &self.wanted));
        let readings = series.as_ref().map(|series| series.values().map(BTreeMap::len).sum());
        let event = Event::default().id(format!("{:x}.{newest}", self.life)).retry(RETRY);
        match (series, readings) {
            (Some(_), Some(0)) => None,
            (Some(series), Some(1..=MAX_EVENT_READINGS)) => {
                let series = series.into_iter().map(|(id, readings)| Newest::of(id, readings)).collect();
                event.event("readings").json_data(News { now: now_ms(), series }).ok()
            }
            _ => event.event("start").json_data(Start { now: now_ms() }).ok(),
        }
    }
}

impl Newest {
    fn of(id: SeriesId, readings: BTreeMap<i64, &Sample>) -> Self {
        let readings: Vec<Reading> = readings.into_iter().map(|(at_ms, sample)| Reading { at_ms, sample: sample.clone() }).collect();
        let text = readings.last().and_then(|reading| reading.sample.value()).map(ToString::to_string);
        Self { columns: RawColumns::of(id, &readings), text }
    }
}

/// The wanted readings by series and time; of two with the same time the later one counts.
fn news<'a>(commits: &'a [Fresh], wanted: &HashSet<SeriesId>) -> BTreeMap<SeriesId, BTreeMap<i64, &'a Sample>> {
    let mut series: BTreeMap<SeriesId, BTreeMap<i64, &Sample>> = BTreeMap::new();
    for block in commits.iter().flat_map(|commit| commit.blocks()) {
        for (id, samples) in block.columns().filter(|(id, _)| wanted.contains(id)) {
            series.entry(id).or_default().extend(block.times_ms().iter().copied().zip(samples));
        }
    }
    series
}

/// The place that an event's id names; none for one of an earlier life of the server, or of anything else.
fn place(id: &str, life: i64) -> Option<u64> {
    let (of, number) = id.split_once('.')?;
    (of == format!("{life:x}")).then(|| number.parse().ok()).flatten()
}
