//! Shell: the thread that sends what was committed, finds by comparing what could not be sent, and lets go of old days.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use tracing::{error, info, warn};

use super::backend::{Inner, OpenError};
use super::compare::is_kept_there;
use super::letting_go::Trouble;
use crate::clock;
use crate::store::shelf::{DAY_MS, day_of};
use crate::store::{Reading, SeriesId};

/// Readings in memory on their way, some 100 MB; beyond, their days are compared later.
const MAX_FRESH: usize = 1_000_000;
/// How often it sends.
pub(super) const SEND_EVERY: Duration = Duration::from_secs(1);
/// How often it looks for days to let go of.
const LET_GO_EVERY: Duration = Duration::from_secs(600);
/// Pauses after failures, the first and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// Whoever closes the store waits no longer for a request that hangs.
const STOP_WITHIN: Duration = Duration::from_secs(3);

/// What is on its way.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    moving: Mutex<Moving>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Moving {
    fresh: Vec<(SeriesId, Reading)>,
    /// Days of which something may not have been sent.
    unsent: BTreeSet<i64>,
    /// The one of them that was taken last.
    comparing: Option<i64>,
    /// The last commit with readings of a day, by the order of commits of this life.
    touched: BTreeMap<i64, u64>,
    commits: u64,
    /// When something of a day was sent last.
    sent: BTreeMap<i64, Instant>,
    /// How often all that was missing of a day was sent, since a commit had readings of it.
    attempts: BTreeMap<i64, u32>,
    stop: bool,
}

impl Traffic {
    fn lock(&self) -> MutexGuard<'_, Moving> {
        self.moving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes the readings of a commit, once they are there; those that can be kept over there are to be sent. `not` are some by series and
    /// time that are not.
    pub(super) fn arrived(&self, readings: &[(SeriesId, Reading)], not: &[(SeriesId, Reading)]) {
        let is_not = |id: SeriesId, at_ms: i64| not.binary_search_by_key(&(id, at_ms), |(id, reading)| (*id, reading.at_ms)).is_ok();
        let days: BTreeSet<i64> = readings.iter().map(|(_, reading)| day_of(reading.at_ms)).collect();
        let mut moving = self.lock();
        moving.commits += 1;
        let number = moving.commits;
        for day in days {
            moving.touched.insert(day, number);
            moving.attempts.remove(&day);
        }
        for reading in readings.iter().filter(|(id, reading)| is_kept_there(reading) && !is_not(*id, reading.at_ms)) {
            if moving.fresh.len() < MAX_FRESH {
                moving.fresh.push(reading.clone());
            } else {
                moving.unsent.insert(day_of(reading.1.at_ms));
            }
        }
    }

    /// Whether a commit after that one has readings of this day, or of one before.
    pub(super) fn is_touched(&self, day: i64, since: u64) -> bool {
        self.lock().touched.range(..=day).any(|(_, number)| *number > since)
    }

    /// Notes days of which something may not have been sent.
    pub(super) fn unsent(&self, days: impl IntoIterator<Item = i64>) {
        self.lock().unsent.extend(days);
    }

    /// Notes days of which something was sent.
    pub(super) fn sent(&self, days: impl IntoIterator<Item = i64>) {
        let now = Instant::now();
        self.lock().sent.extend(days.into_iter().map(|day| (day, now)));
    }

    /// When something of a day was sent last in this life.
    pub(super) fn sent_at(&self, day: i64) -> Option<Instant> {
        self.lock().sent.get(&day).copied()
    }

    pub(super) fn attempts(&self, day: i64) -> u32 {
        self.lock().attempts.get(&day).copied().unwrap_or_default()
    }

    /// All that was missing of a day was sent.
    pub(super) fn attempted(&self, day: i64) {
        *self.lock().attempts.entry(day).or_default() += 1;
    }

    /// Forgets days up to this one.
    pub(super) fn gone(&self, day: i64) {
        let mut moving = self.lock();
        moving.unsent.retain(|other| *other > day);
        moving.touched.retain(|other, _| *other > day);
        moving.sent.retain(|other, _| *other > day);
        moving.attempts.retain(|other, _| *other > day);
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.lock().stop
    }

    /// What is to be sent, and the number of the last commit of which it is all.
    fn take_fresh(&self) -> (Vec<(SeriesId, Reading)>, u64) {
        let mut moving = self.lock();
        (std::mem::take(&mut moving.fresh), moving.commits)
    }

    fn take_unsent(&self) -> Option<i64> {
        let mut moving = self.lock();
        // The newest first: who looks over there looks at them.
        moving.comparing = moving.unsent.pop_last();
        moving.comparing
    }

    /// How many readings, and of how many days some, are not known to be over there.
    pub(super) fn waiting(&self) -> (usize, usize) {
        let moving = self.lock();
        let compared = moving.comparing.is_some_and(|day| !moving.unsent.contains(&day));
        (moving.fresh.len(), moving.unsent.len() + usize::from(compared))
    }

    /// Whether to go on after this time.
    fn wait(&self, time: Duration) -> bool {
        let waited = self.changed.wait_timeout_while(self.lock(), time, |moving| !moving.stop);
        !waited.unwrap_or_else(PoisonError::into_inner).0.stop
    }
}

/// The thread; told to stop when this goes.
pub(super) struct Forwarder {
    inner: Weak<Inner>,
    /// Behind a lock only because a receiver is for one thread.
    ended: Mutex<Receiver<()>>,
}

impl Forwarder {
    pub(super) fn start(inner: &Arc<Inner>) -> Result<Self, OpenError> {
        let (end, ended) = sync_channel(1);
        let working = inner.clone();
        let thread = std::thread::Builder::new().name("victoria".into()).spawn(move || {
            work(&working);
            // Before it tells: whoever waits opens the same files again.
            drop(working);
            let _ = end.send(());
        });
        thread.map_err(|e| OpenError::System(format!("no thread: {e}")))?;
        Ok(Self { inner: Arc::downgrade(inner), ended: Mutex::new(ended) })
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        if let Some(inner) = self.inner.upgrade() {
            inner.traffic.lock().stop = true;
            inner.traffic.changed.notify_all();
        }
        if self.ended.get_mut().unwrap_or_else(PoisonError::into_inner).recv_timeout(STOP_WITHIN).is_err() {
            warn!("VictoriaMetrics keeps a request waiting; what it has not got is compared at the next start");
        }
    }
}

fn work(inner: &Inner) {
    let mut failures = 0u32;
    let mut let_go: Option<Instant> = None;
    let mut pause = SEND_EVERY;
    while inner.traffic.wait(pause) {
        let forward = || forward(inner, &mut let_go);
        let forwarded = std::panic::catch_unwind(std::panic::AssertUnwindSafe(forward));
        let failed = match forwarded {
            Ok(Ok(())) => None,
            Ok(Err(Trouble::Stopping)) => return,
            Ok(Err(e)) => Some(e.to_string()),
            Err(_) => Some("BUG: the thread of the store panicked".to_owned()),
        };
        match &failed {
            Some(e) if failures == 0 => error!(error = %e, "readings cannot be sent to VictoriaMetrics; they are kept here, trying again"),
            None if failures > 0 => info!("VictoriaMetrics takes readings again"),
            _ => {}
        }
        inner.taking.store(failed.is_none(), Ordering::Relaxed);
        failures = if failed.is_some() { failures.saturating_add(1) } else { 0 };
        pause = if failures == 0 { SEND_EVERY } else { PAUSE.1.min(PAUSE.0 * 2u32.pow((failures - 1).min(5))) };
    }
}

fn forward(inner: &Inner, let_go: &mut Option<Instant>) -> Result<(), Trouble> {
    inner.measure()?;
    if !inner.trusted.load(Ordering::Relaxed) {
        inner.probe()?;
    }
    if inner.away.load(Ordering::Relaxed) {
        inner.remote.ping()?;
        inner.away.store(false, Ordering::Relaxed);
    }
    let turn = || inner.rounds.lock().unwrap_or_else(PoisonError::into_inner);
    inner.send_fresh(&turn())?;
    while let Some(day) = inner.traffic.take_unsent() {
        // One that is let go of soon is compared then.
        let sent = if day < oldest_day(inner) { Ok(()) } else { inner.send_missing(day, &turn()) };
        if sent.is_err() {
            inner.traffic.unsent([day]);
        }
        sent?;
    }
    if let_go.is_none_or(|at| at.elapsed() >= LET_GO_EVERY) {
        let round = inner.round(oldest_day(inner).saturating_mul(DAY_MS), &mut |_| {})?;
        // What was sent is looked at again as soon as it may have settled.
        let again = if round.waiting > 0 { LET_GO_EVERY.saturating_sub(inner.settings.settle) } else { Duration::ZERO };
        *let_go = Instant::now().checked_sub(again);
        if round.released > 0 || round.dropped > 0 {
            info!(days = round.released, readings = round.confirmed, kept = round.kept, "VictoriaMetrics has days that are let go of here");
        }
        if round.dropped > 0 {
            warn!(
                readings = round.dropped,
                "VictoriaMetrics dropped what was sent to it; it is kept here. Does its -retentionPeriod reach back?"
            );
        }
    }
    Ok(())
}

/// Days before are let go of.
fn oldest_day(inner: &Inner) -> i64 {
    let keep_ms = i64::try_from(inner.settings.keep.as_millis()).unwrap_or(i64::MAX);
    day_of(clock::now_ms().saturating_sub(keep_ms))
}

/// Held by whoever sends: what is compared must not change over there meanwhile.
pub(super) type Sending<'a> = MutexGuard<'a, ()>;

impl Inner {
    /// Sends what came last; gives the number of the last commit of which all was sent, or noted as unsent.
    pub(super) fn send_fresh(&self, _sending: &Sending<'_>) -> Result<u64, Trouble> {
        let (mut fresh, commits) = self.traffic.take_fresh();
        if fresh.is_empty() {
            return Ok(commits);
        }
        let days: BTreeSet<i64> = fresh.iter().map(|(_, reading)| day_of(reading.at_ms)).collect();
        // Stable: of one time the later comes later.
        fresh.sort_by_key(|(id, _)| *id);
        let by_series: Vec<(SeriesId, Vec<Reading>)> = fresh
            .chunk_by(|a, b| a.0 == b.0)
            .filter_map(|of_one| Some((of_one.first()?.0, of_one.iter().map(|(_, reading)| reading.clone()).collect())))
            .collect();
        let sent = self.send(&by_series);
        if sent.is_err() {
            self.traffic.unsent(days.iter().copied());
        }
        // Also of what failed: it may arrive yet.
        self.traffic.sent(days);
        sent.map(|()| commits)
    }
}
