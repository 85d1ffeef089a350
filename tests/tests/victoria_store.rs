//! The store that keeps its history in VictoriaMetrics, against the real one: the contract of all stores, with the history here and with all of
//! it over there; random lives beside a store in memory; and what happens when VictoriaMetrics dies.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use pattoo_server::store::memory::Memory;
use pattoo_server::store::victoria::{Settings, Victoria};
use pattoo_server::store::{
    Bucket, Commit, Committed, Loaded, MAX_LOADED_GAPS, Reading, Receipt, SeriesEntry, SeriesId, Store, StoreError, StreamState,
};
use pattoo_tests::victoria::Victoria as Program;
use pattoo_tests::wait_for;
use pattoo_wire::{Decimal, Gap, Reason, Sample, Value};

#[path = "../../server/src/store/contract.rs"]
#[expect(clippy::unwrap_used, reason = "the contract panics where a store breaks it")]
mod contract;

/// A day of the past, at midnight UTC.
const DAY: i64 = 1_764_460_800_000;
const HOUR: i64 = 3_600_000;
/// New series of VictoriaMetrics appear after 10 s or so, and it writes to its disk each 5 s.
const WITHIN: Duration = Duration::from_secs(90);
/// After so long what it has is on its disk: kills have taken what was 10 s old.
const SETTLE: Duration = Duration::from_secs(15);

fn settings(program: &Program) -> Settings {
    let mut settings = Settings::new(&program.write_url(), &program.read_url());
    settings.settle = Duration::ZERO;
    settings.flush = program.flush_urls();
    settings
}

fn programs() -> Result<Vec<Program>> {
    Ok([Some(Program::start()?), Program::start_cluster()?].into_iter().flatten().collect())
}

fn open(folder: &Path, settings: &Settings) -> Result<Victoria> {
    Ok(Victoria::open_trusting(&folder.join("pattoo.redb"), settings.clone())?)
}

/// Lets go of all days up to now, whatever it takes; gives how many readings were dropped over there.
fn let_go_of_all(store: &Victoria) -> Result<u64> {
    let mut dropped = 0;
    let gone = wait_for("all days to be let go of", WITHIN, || {
        let round = store.let_go(now_ms(), &mut |_| {}).ok()?;
        dropped += round.dropped;
        (round.waiting == 0).then_some(())
    });
    gone.map(|()| dropped)
}

fn now_ms() -> i64 {
    pattoo_server::clock::now_ms()
}

/// One that lets go of everything at once, so that each answer comes from VictoriaMetrics as far as it has it.
struct Eager(Victoria);

impl Store for Eager {
    fn load(&self) -> Result<Loaded, StoreError> {
        self.0.load()
    }

    fn commit(&self, commit: &Commit) -> Result<Committed, StoreError> {
        let committed = self.0.commit(commit)?;
        let dropped = let_go_of_all(&self.0).map_err(|e| StoreError::Io { path: "test".into(), what: format!("{e:#}") })?;
        assert_eq!(dropped, 0, "VictoriaMetrics dropped readings: what is tested is not its answer");
        Ok(committed)
    }

    fn raw(&self, series: SeriesId, from_ms: i64, to_ms: i64, limit: usize) -> Result<Vec<Reading>, StoreError> {
        self.0.raw(series, from_ms, to_ms, limit)
    }

    fn buckets(&self, series: SeriesId, from_ms: i64, to_ms: i64, step_ms: i64) -> Result<Vec<Bucket>, StoreError> {
        self.0.buckets(series, from_ms, to_ms, step_ms)
    }

    fn latest(&self, series: &[SeriesId]) -> Result<Vec<Option<Reading>>, StoreError> {
        self.0.latest(series)
    }

    fn gaps(&self, gateway: &str, from_ms: i64, to_ms: i64) -> Result<Vec<Gap>, StoreError> {
        self.0.gaps(gateway, from_ms, to_ms)
    }

    fn expire(&self, before_ms: i64, limit: usize) -> Result<usize, StoreError> {
        self.0.expire(before_ms, limit)
    }

    fn bytes(&self) -> Result<u64, StoreError> {
        self.0.bytes()
    }
}

struct Folder {
    folder: tempfile::TempDir,
    settings: Settings,
    eager: bool,
}

impl contract::Bed for Folder {
    fn open(&self) -> Box<dyn Store> {
        let store = open(self.folder.path(), &self.settings).expect("the store opens");
        if self.eager { Box::new(Eager(store)) } else { Box::new(store) }
    }
}

fn bed(settings: &Settings, eager: bool) -> Box<dyn contract::Bed> {
    let folder = tempfile::tempdir().expect("a folder");
    Box::new(Folder { folder, settings: settings.clone(), eager })
}

#[test]
fn the_contract_holds_with_the_newest_days_here() -> Result<()> {
    for program in programs()? {
        let settings = settings(&program);
        contract::run(|| bed(&settings, false));
    }
    Ok(())
}

/// Expiry counts what it deletes, and nothing can be deleted over there: what holds in its place is the next test.
#[test]
fn the_contract_holds_with_all_history_in_victoria_metrics() -> Result<()> {
    for program in programs()? {
        let settings = settings(&program);
        contract::run_without(&["expiry takes the old, up to its limit"], || bed(&settings, true));
    }
    Ok(())
}

fn int(at_ms: i64, value: i64) -> Reading {
    Reading { at_ms, sample: Sample::Good(Value::int(value)) }
}

fn commit(ids: &[u32], readings: Vec<(SeriesId, Reading)>) -> Commit {
    Commit { series: ids.iter().map(|id| contract::entry(SeriesId(*id), "V")).collect(), readings: readings.into(), ..Commit::default() }
}

#[test]
fn what_has_expired_is_shown_no_more_though_victoria_metrics_has_it() -> Result<()> {
    let program = Program::start()?;
    let folder = tempfile::tempdir()?;
    let (id, settings) = (SeriesId(1), settings(&program));
    let store = open(folder.path(), &settings)?;
    store.commit(&commit(&[1], (0..20).map(|n| (id, int(DAY + n, n))).collect()))?;
    ensure!(let_go_of_all(&store)? == 0);
    store.expire(DAY + 5, 1000)?;
    let shows_the_rest = |store: Victoria| {
        let shown = store.raw(id, 0, i64::MAX, 99)?;
        ensure!(shown == (5..20).map(|n| int(DAY + n, n)).collect::<Vec<_>>(), "{shown:?}");
        let buckets = store.buckets(id, 0, i64::MAX, HOUR)?;
        ensure!(buckets.iter().map(|bucket| bucket.count).sum::<u64>() == 15, "{buckets:?}");
        Ok(())
    };
    shows_the_rest(store)?;
    shows_the_rest(open(folder.path(), &settings)?)
}

/// The same to a store and to one in memory, which is right by being simple.
struct Twins {
    folder: tempfile::TempDir,
    settings: Settings,
    store: Option<Victoria>,
    right: Memory,
}

impl Twins {
    fn new(settings: Settings) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let store = Some(open(folder.path(), &settings)?);
        Ok(Self { folder, settings, store, right: Memory::default() })
    }

    fn store(&self) -> Result<&Victoria> {
        self.store.as_ref().context("it is closed")
    }

    fn reopen(&mut self) -> Result<()> {
        self.store = None;
        self.store = Some(open(self.folder.path(), &self.settings)?);
        Ok(())
    }

    fn commit(&self, commit: &Commit) -> Result<()> {
        let (found, expected) = (self.store()?.commit(commit)?, self.right.commit(commit)?);
        ensure!(found == expected, "{found:?}, expected {expected:?}");
        Ok(())
    }

    fn same(&self, id: SeriesId, (from_ms, to_ms): (i64, i64), step_ms: i64, limit: usize) -> Result<()> {
        let store = self.store()?;
        let (found, expected) = (store.raw(id, from_ms, to_ms, limit)?, self.right.raw(id, from_ms, to_ms, limit)?);
        let differing = found.iter().zip(&expected).find(|(found, expected)| found != expected);
        let (lengths, go) = ((found.len(), expected.len()), store.let_go_ms());
        ensure!(
            found == expected,
            "{id:?} {from_ms}..{to_ms}, {limit}, let go until {go}: {lengths:?} readings, the first is {differing:?}"
        );
        let (found, expected) = (store.buckets(id, from_ms, to_ms, step_ms)?, self.right.buckets(id, from_ms, to_ms, step_ms)?);
        let exact = |bucket: &Bucket| format!("{:?}", Bucket { sum: 0.0, ..*bucket });
        let close = |a: &Bucket, b: &Bucket| exact(a) == exact(b) && (a.sum - b.sum).abs() <= 1e-9 * b.sum.abs().max(1.0);
        let same = found.len() == expected.len() && found.iter().zip(&expected).all(|(a, b)| close(a, b));
        ensure!(same, "{id:?} {from_ms}..{to_ms} by {step_ms}:\n{found:?}\nexpected\n{expected:?}");
        let (found, expected) = (store.latest(&[id])?, self.right.latest(&[id])?);
        ensure!(found == expected, "latest of {id:?}: {found:?}, expected {expected:?}");
        Ok(())
    }
}

const IDS: [u32; 3] = [1, 2, 3];
const DAYS: i64 = 4;

/// A reading of some sort within a few days, often at a time that has one already.
fn some(random: &mut fastrand::Rng) -> Result<(SeriesId, Reading)> {
    let at_ms = DAY + random.i64(0..DAYS * 24 * 12) * 300_000 + i64::from(random.u8(0..10) == 0);
    let decimal = Value::Decimal(Decimal { mantissa: random.i64(-2000..2000), exponent: -1 });
    let sample = match random.u8(0..20) {
        0 => Sample::Bad(Reason::Timeout),
        1 => Sample::Uncertain(decimal, Reason::Stale),
        2 => Sample::Good(Value::Text(format!("text {}", random.u8(0..3)))),
        3 => Sample::Good(Value::F64(random.f64() / 3.0)),
        4 => Sample::Good(Value::Bool(random.bool())),
        5 => Sample::Good(Value::F32(random.f32() * 100.0)),
        _ => Sample::Good(decimal),
    };
    Ok((SeriesId(*random.choice(&IDS).context("a series")?), Reading { at_ms, sample }))
}

/// Late readings, corrections, resends, days that go and days that come back, starts: whatever lies where, the answers are those of a store
/// in memory.
#[test]
fn in_random_lives_the_answers_are_those_of_a_store_in_memory() -> Result<()> {
    let seed = std::env::var("PATTOO_TEST_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    eprintln!("seed: PATTOO_TEST_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    for program in programs()? {
        let mut twins = Twins::new(settings(&program))?;
        let (mut last, mut went) = (Vec::new(), 0);
        for _ in 0..120 {
            match random.u8(0..10) {
                0 => {
                    let before_ms = DAY + random.i64(0..=DAYS) * 24 * HOUR;
                    let gone = wait_for("days to go", WITHIN, || {
                        let round = twins.store().ok()?.let_go(before_ms, &mut |_| {}).ok()?;
                        went += round.released;
                        (round.waiting == 0).then_some(round.dropped)
                    });
                    ensure!(gone? == 0, "readings were dropped over there");
                }
                1 => twins.reopen()?,
                2 => twins.commit(&commit(&IDS, last.clone()))?,
                3..6 => {
                    last = (0..random.usize(1..60)).map(|_| some(&mut random)).collect::<Result<Vec<_>>>()?;
                    twins.commit(&commit(&IDS, last.clone()))?;
                }
                _ => {
                    let from_ms = DAY + random.i64(-HOUR..DAYS * 24 * HOUR);
                    let to_ms = from_ms + random.i64(0..DAYS * 24 * HOUR);
                    let step_ms = *random.choice(&[60_000, 900_000, HOUR, 24 * HOUR, 48 * HOUR]).context("a step")?;
                    let id = SeriesId(*random.choice(&IDS).context("a series")?);
                    twins.same(id, (from_ms, to_ms), step_ms, random.usize(1..400))?;
                }
            }
        }
        ensure!(let_go_of_all(twins.store()?)? == 0, "readings were dropped over there");
        for id in IDS {
            twins.same(SeriesId(id), (0, i64::MAX), 24 * HOUR, usize::MAX)?;
        }
        eprintln!("{went} days went");
    }
    Ok(())
}

/// A member is down: what is acknowledged is here, charts say that they are of a part, all else says why not; and once it is back all comes to
/// it, and nothing twice.
#[test]
fn while_victoria_metrics_is_away_readings_are_taken_and_charts_say_so() -> Result<()> {
    let mut program = Program::start()?;
    // It is killed: what it shows is not kept yet.
    let mut twins = Twins::new(Settings { settle: SETTLE, ..settings(&program) })?;
    let id = SeriesId(1);
    twins.commit(&commit(&[1], (0..1000).map(|n| (id, int(DAY + n * 60_000, n))).collect()))?;
    ensure!(let_go_of_all(twins.store()?)? == 0);
    program.down();
    let now = now_ms() / 60_000 * 60_000;
    twins.commit(&commit(&[1], (0..50).map(|n| (id, int(now - n * 60_000, n))).collect()))?;
    // Late ones and a correction, which count as replaced only if that can be asked.
    let late = commit(&[1], vec![(id, int(DAY + 30_000, 7)), (id, int(DAY + 60_000, 999))]);
    let store = twins.store()?;
    store.commit(&late)?;
    twins.right.commit(&late)?;
    ensure!(store.latest(&[id])? == twins.right.latest(&[id])?);
    ensure!(store.raw(id, now - HOUR, now + 1, 99)? == twins.right.raw(id, now - HOUR, now + 1, 99)?, "the newest are here");
    let (chart, in_part) = store.buckets_in_part(id, DAY, DAY + HOUR, 60_000)?;
    let counts: Vec<_> = chart.iter().map(|bucket| (bucket.start_ms - DAY, bucket.count, bucket.last)).collect();
    ensure!(in_part && counts == [(0, 1, 7.0), (60_000, 1, 999.0)], "{in_part}: {chart:?}");
    let refused = [store.buckets(id, DAY, DAY + HOUR, 60_000).err(), store.raw(id, DAY, DAY + HOUR, 99).err()];
    ensure!(refused.iter().all(|e| matches!(e, Some(StoreError::Away { .. }))), "{refused:?}");
    // A start in between.
    twins.reopen()?;
    program.up()?;
    let whole = || twins.store().ok()?.buckets_in_part(id, DAY, DAY + HOUR, 60_000).ok().filter(|(_, in_part)| !in_part);
    wait_for("charts to be whole again", WITHIN, whole)?;
    for _ in 0..2 {
        twins.same(id, (0, i64::MAX), HOUR, usize::MAX)?;
        // Then all is over there but the correction, and counted there.
        let_go_of_all(twins.store()?)?;
    }
    Ok(())
}

/// It acknowledges into memory and shows what a kill takes away. What was let go of here is there after a kill; what a kill took is sent again.
#[test]
fn what_a_kill_takes_from_victoria_metrics_is_sent_again() -> Result<()> {
    let mut program = Program::start()?;
    let mut settings = settings(&program);
    (settings.settle, settings.flush) = (SETTLE, Vec::new());
    let twins = Twins::new(settings)?;
    let id = SeriesId(1);
    for life in 0..3 {
        twins.commit(&commit(&[1], (0..2000).map(|n| (id, int(DAY + n * 1000 + life, n))).collect()))?;
        let round = twins.store()?.let_go(now_ms(), &mut |_| {})?;
        ensure!(round.released == 0, "a day went before it had settled: {round:?}");
        program.kill()?;
        ensure!(let_go_of_all(twins.store()?)? == 0, "readings were dropped over there");
        program.kill()?;
        let all = || twins.same(id, (0, i64::MAX), HOUR, usize::MAX).ok();
        let found = wait_for("all to be shown after a start", WITHIN, all);
        found.or_else(|_| twins.same(id, (0, i64::MAX), HOUR, usize::MAX))?;
    }
    Ok(())
}

/// More than may wait is refused, and nothing else.
#[test]
fn what_may_wait_here_has_a_limit() -> Result<()> {
    let nobody = pattoo_tests::mosquitto::free_port()?;
    let mut settings = Settings::new(&format!("http://{nobody}"), &format!("http://{nobody}"));
    settings.max_bytes = 1;
    let folder = tempfile::tempdir()?;
    let store = open(folder.path(), &settings)?;
    let refused = store.commit(&commit(&[1], vec![(SeriesId(1), int(DAY, 1))]));
    ensure!(matches!(refused, Err(StoreError::Full { .. })), "{refused:?}");
    store.commit(&commit(&[1], vec![]))?;
    ensure!(store.raw(SeriesId(1), 0, i64::MAX, 9)?.is_empty());
    Ok(())
}
