//! What the server knows right now, shared between ingest (which writes it) and the API (which reads it).
//! Not durable: a restart begins it anew from the store, and gateways tell the rest again.

mod named;
mod recent;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use pattoo_wire::{ClockSource, Status};
use tokio::sync::watch;

use crate::catalog::MAX_GATEWAYS;
use crate::store::{Readings, SeriesEntry, SeriesId};
use named::{ByName, Named};
use recent::Recent;
pub use recent::{Fresh, MAX_RECENT_COMMITS, MAX_RECENT_READINGS};

/// Counts since the server started.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    /// Batches that became durable.
    pub batches: u64,
    /// Readings in them.
    pub readings: u64,
    /// Batches that had arrived before; they changed nothing.
    pub replays: u64,
    /// Of the batches, those under whose number another one, or one that nobody remembers, had come.
    pub changed: u64,
    /// Messages that were not taken, by reason.
    pub rejects: BTreeMap<&'static str, u64>,
}

/// A gateway's clock, as its latest hello told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    /// The server's time less the gateway's, in ms; the hello's way is part of it.
    pub offset_ms: i64,
    /// What the times of its readings rest on.
    pub source: ClockSource,
    /// When that was, ms since 1970.
    pub at_ms: i64,
}

/// One gateway as seen now.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GatewayLive {
    /// Its name.
    pub name: String,
    /// When its latest valid message came, by the server's clock, ms since 1970; none since the server started.
    pub last_seen_ms: Option<i64>,
    /// Its latest status document.
    pub status: Option<Status>,
    /// Its clock; none before its first hello.
    pub clock: Option<Clock>,
    /// Its counters.
    pub counters: Counters,
}

/// What the embedded broker sees of its clients.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Clients {
    /// Gateways with an account.
    pub gateways: usize,
    /// Programs of this machine without one.
    pub local: usize,
    /// Connections that have not said who they are.
    pub waiting: usize,
    /// Refusals by reason and account; no account where it is not known.
    pub refusals: BTreeMap<(&'static str, String), u64>,
}

/// The shared state.
#[derive(Debug, Default)]
pub struct Live {
    clients: Mutex<Clients>,
    state: RwLock<State>,
    health: watch::Sender<Health>,
    recent: Mutex<Recent>,
    /// Number of the newest commit in `recent`.
    newest: watch::Sender<u64>,
    /// When the server's certificates end, by file, ms since 1970.
    certificates: Mutex<Vec<(String, i64)>>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Health {
    subscribed: bool,
    storing: bool,
}

#[derive(Debug, Default)]
struct State {
    gateways: BTreeMap<String, GatewayLive>,
    series: BTreeSet<ByName>,
    ids: BTreeMap<SeriesId, Arc<SeriesEntry>>,
    strangers: Counters,
    replaced: u64,
}

impl Live {
    /// All gateways by name: those with series in the store and those heard of since the start.
    pub fn gateways(&self) -> Vec<GatewayLive> {
        self.read().gateways.values().cloned().collect()
    }

    /// One gateway.
    pub fn gateway(&self, name: &str) -> Option<GatewayLive> {
        self.read().gateways.get(name).cloned()
    }

    /// Counters of messages that belong to no known gateway.
    pub fn strangers(&self) -> Counters {
        self.read().strangers.clone()
    }

    /// Series, of one gateway and one device where given, by gateway, device, point.
    pub fn series(&self, gateway: Option<&str>, device: Option<&str>) -> Vec<Arc<SeriesEntry>> {
        let wanted = |name: &str, filter: Option<&str>| filter.is_none_or(|filter| filter == name);
        let state = self.read();
        let from: &dyn Named = &(gateway.unwrap_or_default(), "", "");
        let range = state
            .series
            .range::<dyn Named, _>((Bound::Included(from), Bound::Unbounded))
            .map(|ByName(entry)| entry)
            .take_while(|entry| wanted(&entry.gateway, gateway));
        range.filter(|entry| wanted(&entry.device, device)).cloned().collect()
    }

    /// The series of that identity.
    pub fn find(&self, gateway: &str, device: &str, point: &str) -> Option<Arc<SeriesEntry>> {
        let name: &dyn Named = &(gateway, device, point);
        self.read().series.get(name).map(|ByName(entry)| entry.clone())
    }

    /// How many series there are.
    pub fn series_count(&self) -> usize {
        self.read().series.len()
    }

    /// The series of that id.
    pub fn series_by_id(&self, id: SeriesId) -> Option<Arc<SeriesEntry>> {
        self.read().ids.get(&id).cloned()
    }

    /// Whether readings can come in and be stored: subscribed at the broker, and the store works.
    pub fn ready(&self) -> bool {
        let health = *self.health.borrow();
        health.subscribed && health.storing
    }

    /// Waits until it is ready, or until it is not.
    pub async fn until(&self, ready: bool) {
        // The sender lives as long as `self`, so waiting cannot fail.
        let _ = self.health.subscribe().wait_for(|health| (health.subscribed && health.storing) == ready).await;
    }

    /// Whether ingest is subscribed at the broker.
    pub fn subscribed(&self) -> bool {
        self.health.borrow().subscribed
    }

    /// Whether the store took the latest commit.
    pub fn storing(&self) -> bool {
        self.health.borrow().storing
    }

    /// Sets whether ingest is subscribed.
    pub fn set_subscribed(&self, yes: bool) {
        self.health.send_modify(|health| health.subscribed = yes);
    }

    /// Sets whether the store works; gives what was said before.
    pub fn set_storing(&self, yes: bool) -> bool {
        let before = self.storing();
        self.health.send_modify(|health| health.storing = yes);
        before
    }

    /// What the embedded broker sees of its clients.
    pub fn clients(&self) -> Clients {
        self.hold_clients().clone()
    }

    /// Sets how many clients the broker has.
    pub(crate) fn set_clients(&self, gateways: usize, local: usize) {
        let mut clients = self.hold_clients();
        (clients.gateways, clients.local) = (gateways, local);
    }

    /// Sets how many connections have not said who they are.
    pub(crate) fn set_waiting(&self, waiting: usize) {
        self.hold_clients().waiting = waiting;
    }

    /// Counts a refusal of the broker; `account` is the name of one there is, or empty.
    pub(crate) fn refused(&self, reason: &'static str, account: &str) {
        *self.hold_clients().refusals.entry((reason, account.to_owned())).or_default() += 1;
    }

    /// When the certificates end that the server has in files, ms since 1970.
    pub fn certificates(&self) -> Vec<(String, i64)> {
        self.certificates.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sets when they end.
    pub(crate) fn set_certificates(&self, ends: Vec<(String, i64)>) {
        *self.certificates.lock().unwrap_or_else(PoisonError::into_inner) = ends;
    }

    /// Adds or replaces series that are durable.
    pub fn put_series(&self, entries: impl IntoIterator<Item = impl Into<Arc<SeriesEntry>>>) {
        let entries = entries.into_iter().map(Into::into).map(|entry: Arc<SeriesEntry>| (entry.id, entry));
        let mut entries: Vec<_> = entries.collect();
        // Series of a device came together, and so do their names: a million in no order would take seconds.
        entries.sort_by_key(|(id, _)| *id);
        let mut state = self.write();
        for (id, entry) in entries {
            if !state.gateways.contains_key(&entry.gateway) {
                let gateway = GatewayLive { name: entry.gateway.clone(), ..GatewayLive::default() };
                state.gateways.insert(entry.gateway.clone(), gateway);
            }
            state.ids.insert(id, entry.clone());
            state.series.replace(ByName(entry));
        }
    }

    /// Tells followers of readings that are durable.
    pub fn put_readings(&self, readings: Readings) {
        if !readings.is_empty() {
            let number = self.recent.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::new(readings));
            self.newest.send_replace(number);
        }
    }

    /// The number of the newest readings, and all that came after `place`; none where too much did.
    pub fn readings_after(&self, place: u64) -> (u64, Option<Vec<Fresh>>) {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner).after(place)
    }

    /// Changes whenever readings became durable.
    pub fn news(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }

    /// Notes a message of a gateway, through `what`; `seen_ms` where it shows that the gateway was there.
    pub(crate) fn heard(&self, gateway: &str, seen_ms: Option<i64>, what: impl FnOnce(&mut GatewayLive)) {
        let mut state = self.write();
        if state.gateways.len() >= MAX_GATEWAYS && !state.gateways.contains_key(gateway) {
            return;
        }
        let entry = state.gateways.entry(gateway.to_owned()).or_default();
        if entry.name.is_empty() {
            gateway.clone_into(&mut entry.name);
        }
        entry.last_seen_ms = seen_ms.or(entry.last_seen_ms);
        what(entry);
    }

    /// Counts something of a known gateway.
    pub(crate) fn count(&self, gateway: &str, what: impl FnOnce(&mut Counters)) {
        if let Some(gateway) = self.write().gateways.get_mut(gateway) {
            what(&mut gateway.counters);
        }
    }

    /// Counts a message that was not taken; gives how many there were for that reason.
    pub(crate) fn rejected(&self, gateway: Option<&str>, reason: &'static str) -> u64 {
        let mut state = self.write();
        let known = gateway.filter(|name| state.gateways.contains_key(*name)).map(str::to_owned);
        let counters = match known {
            Some(name) => &mut state.gateways.entry(name).or_default().counters,
            None => &mut state.strangers,
        };
        let count = counters.rejects.entry(reason).or_default();
        *count += 1;
        *count
    }

    /// Readings that took the place of another value of the same series and time, since the start.
    pub fn replaced_readings(&self) -> u64 {
        self.read().replaced
    }

    /// Counts readings that took the place of others; gives whether a person should hear of it, ever more seldom.
    pub(crate) fn replaced(&self, readings: u64) -> bool {
        let replaced = &mut self.write().replaced;
        let before = *replaced;
        *replaced += readings;
        before == 0 || before.ilog2() != replaced.ilog2()
    }

    fn hold_clients(&self) -> MutexGuard<'_, Clients> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}
