//! Shell: the store itself: what is here, and the way to what is not.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use pattoo_wire::{Gap, Kind, Repr, Series};
use rustls::pki_types::CertificateDer;
use tracing::warn;

use super::forwarder::{Forwarder, Traffic};
use super::letting_go::{Round, Trouble};
use super::question::Names;
use super::remote::{Remote, RemoteError};
use crate::clock;
use crate::store::embedded::{Budget, Embedded};
use crate::store::{Bucket, Commit, Committed, Elsewhere, Loaded, Reading, SeriesEntry, SeriesId, Store, StoreError, StreamState};

/// In the ledger of what is beside, streams of these gateways say how far days have been let go of, and up to when all has expired. The
/// number of the stream is the name of the store.
const LET_GO: &str = "let go";
const EXPIRED: &str = "expired";

/// How much is kept here, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// URL in front of `/api/v1/write`.
    pub write_url: String,
    /// URL in front of `/api/v1/query_range` and the like.
    pub read_url: String,
    /// Header of that name; a secret.
    pub authorization: Option<String>,
    /// Who may vouch for it over https, in DER.
    pub authorities: Vec<CertificateDer<'static>>,
    /// Memory of what is here.
    pub budget: Budget,
    /// Readings stay here at least so long, by whole days.
    pub keep: Duration,
    /// So long after it was sent a reading is on stable storage over there.
    pub settle: Duration,
    /// Bytes on disk here, above which readings are refused.
    pub max_bytes: u64,
    /// Whether charts may show what a cluster has without a member that is away.
    pub accept_partial: bool,
    /// URLs that are asked after sending, so that it is shown at once; for tests.
    pub flush: Vec<String>,
}

impl Settings {
    /// With the defaults.
    #[must_use]
    pub fn new(write_url: &str, read_url: &str) -> Self {
        Self {
            write_url: write_url.to_owned(),
            read_url: read_url.to_owned(),
            authorization: None,
            authorities: Vec::new(),
            budget: Budget::DEFAULT,
            keep: Duration::from_secs(24 * 3600),
            settle: Duration::from_secs(30),
            max_bytes: 16 << 30,
            accept_partial: true,
            flush: Vec::new(),
        }
    }
}

/// The store.
pub struct Victoria {
    inner: Arc<Inner>,
    _forwarder: Option<Forwarder>,
}

/// All but the thread.
pub(super) struct Inner {
    pub(super) folder: PathBuf,
    pub(super) recent: Embedded,
    pub(super) beside: Embedded,
    pub(super) remote: Remote,
    pub(super) settings: Settings,
    pub(super) names: RwLock<HashMap<SeriesId, Names>>,
    pub(super) traffic: Traffic,
    /// Shared by commits; exclusive where a day goes.
    pub(super) gate: RwLock<()>,
    /// Held by whoever sends.
    pub(super) rounds: Mutex<()>,
    /// Whether questions over there failed last; found out again by the forwarder.
    pub(super) away: AtomicBool,
    /// Whether what was sent last was taken.
    pub(super) taking: AtomicBool,
    /// Whether it is known to take a reading twice as once.
    pub(super) trusted: AtomicBool,
    pub(super) begun: Instant,
    identity: u64,
    let_go_ms: AtomicI64,
    expired_ms: AtomicI64,
    bytes: AtomicU64,
}

impl Victoria {
    /// Opens the store of this ledger, or begins a new one; an embedded store becomes one like this. Waits for an answer of VictoriaMetrics as
    /// to whether it counts a resend once; one that is away is asked later, and gets nothing before.
    ///
    /// # Errors
    /// What is here cannot be opened, or VictoriaMetrics counts a resend twice.
    pub fn open(ledger: &Path, settings: Settings) -> Result<Self, OpenError> {
        let opened = Inner::open(ledger, settings)?;
        match opened.probe() {
            Ok(()) => {}
            Err(e) if e.is_away() => {
                warn!(error = %e, "VictoriaMetrics does not answer; readings are stored here, and sent later");
            }
            Err(e) => return Err(OpenError::Remote(e)),
        }
        Self::start(opened)
    }

    /// The same of one that is known to count a resend once.
    ///
    /// # Errors
    /// What is here cannot be opened.
    pub fn open_trusting(ledger: &Path, settings: Settings) -> Result<Self, OpenError> {
        let opened = Inner::open(ledger, settings)?;
        opened.trusted.store(true, Ordering::Relaxed);
        Self::start(opened)
    }

    fn start(opened: Inner) -> Result<Self, OpenError> {
        let inner = Arc::new(opened);
        let forwarder = Forwarder::start(&inner)?;
        Ok(Self { inner, _forwarder: Some(forwarder) })
    }

    /// The same without the thread: nothing is sent but by [`Victoria::let_go`].
    ///
    /// # Errors
    /// What is here cannot be opened, or VictoriaMetrics does not answer, or counts a resend twice.
    pub fn open_alone(ledger: &Path, settings: Settings) -> Result<Self, OpenError> {
        let opened = Inner::open(ledger, settings)?;
        opened.probe().map_err(OpenError::Remote)?;
        Ok(Self { inner: Arc::new(opened), _forwarder: None })
    }

    /// Whether a store like this keeps its data in this folder.
    #[must_use]
    pub fn is_at(ledger: &Path) -> bool {
        beside(ledger).exists()
    }

    /// Sends, compares and lets go of days before `before_ms`, as far as can be done now; `tell` gets what was done so far, now and then.
    ///
    /// # Errors
    /// Something of it failed; what is done is done.
    pub fn let_go(&self, before_ms: i64, tell: &mut dyn FnMut(&Round)) -> Result<Round, StoreError> {
        self.inner.round(before_ms, tell).map_err(|trouble| match trouble {
            Trouble::Store(e) => e,
            Trouble::Remote(e) => self.inner.away(&e),
            Trouble::Stopping => StoreError::Io { path: self.inner.folder.display().to_string(), what: "stopping".into() },
        })
    }

    /// Until when days have been let go of.
    #[must_use]
    pub fn let_go_ms(&self) -> i64 {
        self.inner.let_go_ms()
    }
}

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// What is here.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What is over there.
    #[error(transparent)]
    Remote(RemoteError),
    /// No thread can be had, or no random number.
    #[error("the system gives the store {0}")]
    System(String),
}

fn random() -> Result<u64, OpenError> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|e| OpenError::System(format!("no random numbers: {e}")))?;
    Ok(u64::from_le_bytes(bytes))
}

fn beside(ledger: &Path) -> PathBuf {
    ledger.with_file_name("beside").join("pattoo.redb")
}

impl Inner {
    fn open(ledger: &Path, settings: Settings) -> Result<Self, OpenError> {
        let recent = Embedded::open_within(ledger, settings.budget)?;
        let beside = Embedded::open(&beside(ledger))?;
        let streams = beside.load()?.streams;
        let state = |name: &str| streams.iter().find(|state| state.gateway == name);
        let (identity, let_go_ms, expired_ms) = match state(LET_GO) {
            Some(let_go) => (let_go.stream, decode(let_go), state(EXPIRED).map_or(i64::MIN, decode)),
            None => {
                let random = random()?;
                (random, i64::MIN, i64::MIN)
            }
        };
        let remote = Remote::new(&settings, &format!("{identity:016x}"));
        let names = recent.load()?.series.into_iter().map(|entry| (entry.id, names(&entry))).collect();
        let opened = Self {
            folder: ledger.parent().unwrap_or(Path::new("")).to_owned(),
            recent,
            beside,
            remote,
            settings,
            names: RwLock::new(names),
            traffic: Traffic::default(),
            gate: RwLock::new(()),
            rounds: Mutex::new(()),
            away: AtomicBool::new(false),
            taking: AtomicBool::new(true),
            trusted: AtomicBool::new(false),
            begun: Instant::now(),
            identity,
            let_go_ms: AtomicI64::new(let_go_ms),
            expired_ms: AtomicI64::new(expired_ms),
            bytes: AtomicU64::new(0),
        };
        opened.note(LET_GO, let_go_ms)?;
        opened.measure()?;
        // How far the last life came is not known: all that is here is compared.
        opened.recent.flush()?;
        opened.traffic.unsent(opened.recent.days());
        Ok(opened)
    }

    /// Whether a resend counts once over there.
    pub(super) fn probe(&self) -> Result<(), RemoteError> {
        let now_ms = clock::now_ms();
        let run = random().unwrap_or(self.identity);
        self.remote.check_deduplication(&format!("{run:016x}"), now_ms)?;
        self.trusted.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// All readings from then on are in recent.
    pub(super) fn let_go_ms(&self) -> i64 {
        self.let_go_ms.load(Ordering::Acquire)
    }

    /// Nothing before is shown.
    pub(super) fn expired_ms(&self) -> i64 {
        self.expired_ms.load(Ordering::Acquire)
    }

    /// Makes durable that recent may lack readings before then; done before it does.
    pub(super) fn note_let_go(&self, before_ms: i64) -> Result<(), StoreError> {
        // A day that came back lies before.
        self.note(LET_GO, before_ms.max(self.let_go_ms()))?;
        self.let_go_ms.fetch_max(before_ms, Ordering::AcqRel);
        Ok(())
    }

    fn note(&self, what: &str, ms: i64) -> Result<(), StoreError> {
        let state = StreamState { gateway: what.to_owned(), stream: self.identity, contiguous: encode(ms), ahead: Vec::new() };
        self.beside.commit(&Commit { streams: vec![state], ..Commit::default() }).map(drop)
    }

    /// Looks how much is on disk.
    pub(super) fn measure(&self) -> Result<(), StoreError> {
        self.bytes.store(self.recent.bytes()? + self.beside.bytes()?, Ordering::Relaxed);
        Ok(())
    }

    pub(super) fn away(&self, e: &RemoteError) -> StoreError {
        if e.is_away() {
            self.away.store(true, Ordering::Relaxed);
        }
        let newer = jiff::Timestamp::from_millisecond(self.let_go_ms()).map_or_else(|_| "all".to_owned(), |at| at.to_string());
        StoreError::Away { what: e.to_string(), newer }
    }

    /// Keeps readings beside.
    pub(super) fn put_beside(&self, readings: Vec<(SeriesId, Reading)>) -> Result<(), StoreError> {
        let ids: BTreeSet<SeriesId> = readings.iter().map(|(id, _)| *id).collect();
        let names = self.names.read().unwrap_or_else(PoisonError::into_inner);
        let series = ids.into_iter().filter_map(|id| Some(entry(id, names.get(&id)?))).collect();
        drop(names);
        self.beside.commit(&Commit { series, readings: readings.into(), ..Commit::default() }).map(drop)
    }

    fn room(&self) -> Result<(), StoreError> {
        let (bytes, most) = (self.bytes.load(Ordering::Relaxed), self.settings.max_bytes);
        if bytes < most {
            return Ok(());
        }
        let what = "is VictoriaMetrics away, or does its -retentionPeriod not reach back? `max_bytes` of `store` allows more".to_owned();
        Err(StoreError::Full { path: self.folder.display().to_string(), bytes, most, what })
    }
}

impl Store for Victoria {
    fn load(&self) -> Result<Loaded, StoreError> {
        self.inner.recent.load()
    }

    fn commit(&self, commit: &Commit) -> Result<Committed, StoreError> {
        let inner = &self.inner;
        let readings: Vec<(SeriesId, Reading)> = commit.readings.iter().map(|(id, at)| (id, at.reading())).collect();
        if !readings.is_empty() {
            inner.room()?;
        }
        if !commit.series.is_empty() {
            let mut known = inner.names.write().unwrap_or_else(PoisonError::into_inner);
            commit.series.iter().for_each(|entry| drop(known.insert(entry.id, names(entry))));
        }
        let corrections = inner.corrections(&readings)?;
        if !corrections.readings.is_empty() {
            // First, because a resend after a crash between would not be one any more.
            inner.put_beside(corrections.readings.clone())?;
        }
        let _gate = inner.gate.read().unwrap_or_else(PoisonError::into_inner);
        let committed = inner.recent.commit(commit);
        // Also of one that failed: whether it did for good, only the next start knows.
        inner.traffic.arrived(&readings, &corrections.readings);
        let committed = committed?;
        Ok(Committed { replaced: committed.replaced + corrections.replaced })
    }

    fn raw(&self, series: SeriesId, from_ms: i64, to_ms: i64, limit: usize) -> Result<Vec<Reading>, StoreError> {
        self.inner.raw(series, from_ms, to_ms, limit)
    }

    fn buckets(&self, series: SeriesId, from_ms: i64, to_ms: i64, step_ms: i64) -> Result<Vec<Bucket>, StoreError> {
        self.inner.buckets(series, (from_ms, to_ms), step_ms, false).map(|(buckets, _)| buckets)
    }

    fn buckets_in_part(&self, series: SeriesId, from_ms: i64, to_ms: i64, step_ms: i64) -> Result<(Vec<Bucket>, bool), StoreError> {
        self.inner.buckets(series, (from_ms, to_ms), step_ms, self.inner.settings.accept_partial)
    }

    fn latest(&self, series: &[SeriesId]) -> Result<Vec<Option<Reading>>, StoreError> {
        // Recent first: what moves meanwhile is seen at least once.
        let mut latest = self.inner.recent.latest(series)?;
        let beside = self.inner.beside.latest(series)?;
        for (newest, other) in latest.iter_mut().zip(beside) {
            if let Some(other) = other
                && newest.as_ref().is_none_or(|newest| newest.at_ms < other.at_ms)
            {
                *newest = Some(other);
            }
        }
        Ok(latest)
    }

    fn gaps(&self, gateway: &str, from_ms: i64, to_ms: i64) -> Result<Vec<Gap>, StoreError> {
        self.inner.recent.gaps(gateway, from_ms, to_ms)
    }

    /// What VictoriaMetrics has goes by its own retention, and is shown no more once all here has gone; it is not counted.
    fn expire(&self, before_ms: i64, limit: usize) -> Result<usize, StoreError> {
        let inner = &self.inner;
        let mut gone = inner.recent.expire(before_ms, limit)?;
        gone += inner.beside.expire(before_ms, limit - gone)?;
        if gone < limit && inner.expired_ms() < before_ms {
            inner.note(EXPIRED, before_ms)?;
            inner.expired_ms.fetch_max(before_ms, Ordering::AcqRel);
        }
        Ok(gone)
    }

    fn snapshot(&self, into: &Path) -> Result<(), StoreError> {
        // What moves meanwhile is in both.
        self.inner.recent.snapshot(into)?;
        let beside = into.join("beside");
        std::fs::create_dir(&beside).map_err(|e| StoreError::Io { path: beside.display().to_string(), what: e.to_string() })?;
        self.inner.beside.snapshot(&beside)
    }

    fn elsewhere(&self) -> Option<Elsewhere> {
        let inner = &self.inner;
        let is = |flag: &AtomicBool| flag.load(Ordering::Relaxed);
        let (readings, days) = inner.traffic.waiting();
        Some(Elsewhere {
            up: is(&inner.trusted) && is(&inner.taking) && !is(&inner.away),
            unsent_readings: readings as u64,
            unsent_days: days as u64,
            max_bytes: inner.settings.max_bytes,
        })
    }

    fn bytes(&self) -> Result<u64, StoreError> {
        Ok(self.inner.recent.bytes()? + self.inner.beside.bytes()?)
    }
}

fn names(entry: &SeriesEntry) -> Names {
    Names { gateway: entry.gateway.as_str().into(), device: entry.device.as_str().into(), point: entry.entry.point.as_str().into() }
}

/// What a store needs to know of a series to keep readings of it.
fn entry(id: SeriesId, names: &Names) -> SeriesEntry {
    let (unit, kind, repr) = (String::new(), Kind::Gauge, Repr::F64);
    let entry = Series { device: 0, point: names.point.to_string(), unit, kind, repr, labels: [].into(), states: [].into() };
    let (gateway, device) = (names.gateway.to_string(), names.device.to_string());
    SeriesEntry { id, gateway, device, profile: String::new(), device_labels: [].into(), entry }
}

/// A time as a number without sign, in the same order.
fn encode(ms: i64) -> u64 {
    (ms as u64) ^ (1 << 63)
}

fn decode(state: &StreamState) -> i64 {
    (state.contiguous ^ (1 << 63)) as i64
}
