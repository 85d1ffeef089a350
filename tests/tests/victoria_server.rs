//! The server with `store: { victoria: … }`: what it acknowledged is there whoever is killed, and history moves over with a kill in between.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use pattoo_server::store::embedded::Embedded;
use pattoo_server::store::memory::Memory;
use pattoo_server::store::victoria::{Settings, Victoria};
use pattoo_server::store::{Commit, Reading, SeriesEntry, SeriesId, Store};
use pattoo_tests::partial::Partial;
use pattoo_tests::program::{Program, binary};
use pattoo_tests::stack::{Stack, buffered, stored, wait_stored};
use pattoo_tests::victoria::{Victoria as Peer, agent};
use pattoo_tests::wait_for;
use pattoo_wire::{Decimal, Kind, Repr, Sample, Series, Value};

/// How long a loaded machine may take to catch up.
const CATCH_UP: Duration = Duration::from_secs(120);
/// Times of the server's and of VictoriaMetrics' deaths.
const KILLS: usize = 3;

/// Samples of ours that VictoriaMetrics has; each series and time once.
fn samples(peer: &Peer) -> Result<usize> {
    let agent = agent();
    peer.flush(&agent)?;
    let body = String::from_utf8(peer.ask(&agent, "export", &[("match[]", "pattoo_reading"), ("start", "0")])?)?;
    let mut count = 0;
    for line in body.lines().filter(|line| !line.is_empty()) {
        let line: serde_json::Value = serde_json::from_str(line)?;
        let mut times = line.get("timestamps").and_then(serde_json::Value::as_array).context("times")?.clone();
        count += times.len();
        let all = times.len();
        times.dedup();
        ensure!(times.len() == all, "a time is there twice: {line}");
    }
    Ok(count)
}

#[test]
fn what_was_acknowledged_is_there_whoever_is_killed() -> Result<()> {
    let mut peer = Peer::start()?;
    let mut stack = Stack::new()?;
    let config = stack.folder().join("server.yaml");
    std::fs::write(
        &config,
        format!(
            "data: {}\nstore: {{ victoria: {{ url: '{}' }} }}\nhttp: {{ listen: 127.0.0.1:0, anonymous: viewer }}\nbroker: {{ listen: 127.0.0.1:0 }}\nagents: {{ listen: off }}\n",
            stack.folder().join("data").display(),
            peer.read_url()
        ),
    )?;
    stack.start_server_with(&config)?;
    let gateway = stack.configure_gateway("plant7", "links: {}\ndevices:\n  - { name: this-host, profile: linux-host, every: 500ms }\n")?;
    stack.start_gateway(&gateway)?;
    let some = |stack: &Stack, more: usize| {
        let log = || buffered(&stack.gateway.as_ref()?.output()).ok();
        let before = log().context("a log")?.len();
        wait_for("readings", CATCH_UP, || log().filter(|log| log.len() >= before + more).map(drop))
    };
    for _ in 0..KILLS {
        some(&stack, 100)?;
        stack.kill_server()?;
        stack.start_server_with(&config)?;
        some(&stack, 100)?;
        // Readings go on while it is away, and the server is killed with what it could not send.
        peer.down();
        some(&stack, 100)?;
        stack.kill_server()?;
        stack.start_server_with(&config)?;
        some(&stack, 100)?;
        peer.up()?;
    }
    let mut gateway = stack.gateway.take().context("it runs")?;
    // What is on its way when it stops may come again.
    let logged = buffered(&gateway.output())?;
    wait_stored(stack.api()?, "plant7", &logged, CATCH_UP).with_context(|| stack.server.as_ref().map(Program::tail).unwrap_or_default())?;
    ensure!(gateway.stop()?.success(), "the gateway did not stop cleanly");
    let held = stored(stack.api()?, "plant7")?;
    // Texts stay with the server.
    let kept: usize = held.values().filter(|(value, quality)| quality == "bad" || !value.is_string()).count();
    let mut last = 0;
    let there = wait_for("all to be in VictoriaMetrics", CATCH_UP, || {
        last = samples(&peer).unwrap_or_default();
        (last >= kept * 9 / 10).then_some(last)
    });
    let there = there.with_context(|| format!("{last} of {kept}: {}", stack.server.as_ref().map(Program::tail).unwrap_or_default()))?;
    ensure!(there <= held.len(), "{there} samples of {} readings", held.len());
    eprintln!(
        "{} readings acknowledged, {kept} of them numbers, {there} of these in VictoriaMetrics (the rest has too many digits)",
        held.len()
    );
    Ok(())
}

const DAY: i64 = 1_764_460_800_000;
const DAYS: i64 = 5;
const OF_A_DAY: i64 = 1440;
const OF_DAY_MS: i64 = OF_A_DAY * 60_000;

fn entry(id: u32) -> SeriesEntry {
    let entry = Series {
        device: 0,
        point: format!("point{id}"),
        unit: "V".into(),
        kind: Kind::Gauge,
        repr: Repr::Decimal { exponent: -1 },
        labels: [].into(),
        states: [].into(),
    };
    let (gateway, device, profile) = ("g1".into(), "meter".into(), "p".into());
    SeriesEntry { id: SeriesId(id), gateway, device, profile, device_labels: [].into(), entry }
}

/// Five days of two series: numbers, and now and then a text.
fn history(from_ms: i64) -> Commit {
    let mut readings = Vec::new();
    for n in 0..DAYS * OF_A_DAY {
        let at_ms = from_ms + n * 60_000;
        let number = Sample::Good(Value::Decimal(Decimal { mantissa: 2300 + n % 37, exponent: -1 }));
        let other = if n % 720 == 7 { Sample::Good(Value::Text(format!("text {n}"))) } else { Sample::Good(Value::F32(n as f32 / 8.0)) };
        readings.extend([(SeriesId(1), Reading { at_ms, sample: number }), (SeriesId(2), Reading { at_ms, sample: other })]);
    }
    Commit { series: vec![entry(1), entry(2)], readings: readings.into(), ..Commit::default() }
}

fn migrate(config: &Path) -> Result<Program> {
    Program::start("migrate", Command::new(binary("pattoo-server")?).arg("migrate").args(["--settle", "12", "--config"]).arg(config))
}

fn configuration(folder: &Path, store: &str) -> Result<PathBuf> {
    let config = folder.join("server.yaml");
    std::fs::write(&config, format!("data: {}\n{store}\n", folder.join("data").display()))?;
    Ok(config)
}

#[test]
fn history_moves_to_victoria_metrics_with_kills_in_between() -> Result<()> {
    let (peer, folder, right) = (Peer::start()?, tempfile::tempdir()?, Memory::default());
    let ledger = folder.path().join("data/pattoo.redb");
    let all = history(DAY);
    right.commit(&all)?;
    Embedded::open(&ledger)?.commit(&all)?;
    let victoria = format!("store: {{ victoria: {{ url: '{}' }} }}", peer.read_url());
    let config = configuration(folder.path(), "")?;
    let mut wrong = migrate(&config)?;
    ensure!(!wrong.wait()?.success() && wrong.tail().contains("say by `store:"), "{}", wrong.tail());
    configuration(folder.path(), &victoria)?;
    // Once while it sends, once while it lets go.
    for line in ["looking again", "readings compared, 0 sent, 2 days done"] {
        let mut killed = migrate(&config)?;
        killed.wait_line(line, |told| told.contains(line))?;
        killed.kill();
    }
    let mut whole = migrate(&config)?;
    ensure!(whole.wait()?.success(), "{}", whole.tail());
    let told = whole.output().join("\n");
    ensure!(told.contains(" days with ") && told.contains("each read back as it was"), "{told}");
    // What is no text is over there, once.
    let (numbers, texts) = (2 * DAYS * OF_A_DAY, DAYS * 2);
    ensure!(samples(&peer)? as i64 == numbers - texts, "{} samples of {} readings, {texts} of them text", samples(&peer)?, numbers);
    // Whoever forgets where history is must not be shown a part of it.
    let embedded = configuration(folder.path(), "")?;
    let mut refused =
        Program::start("export", Command::new(binary("pattoo-server")?).args(["export", "x.csv", "--config"]).arg(&embedded))?;
    ensure!(!refused.wait()?.success() && refused.tail().contains("history is in VictoriaMetrics"), "{}", refused.tail());
    let settings = Settings::new(&peer.write_url(), &peer.read_url());
    let store = Victoria::open_trusting(&ledger, settings)?;
    ensure!(store.let_go_ms() == DAY + DAYS * 24 * 3_600_000, "let go of until {}", store.let_go_ms());
    for id in [SeriesId(1), SeriesId(2)] {
        ensure!(store.raw(id, 0, i64::MAX, usize::MAX)? == right.raw(id, 0, i64::MAX, usize::MAX)?, "readings of {id:?} differ");
        ensure!(store.latest(&[id])? == right.latest(&[id])?, "the latest of {id:?} differs");
        let counts = |store: &dyn Store| {
            let buckets = store.buckets(id, DAY, DAY + DAYS * 24 * 3_600_000, 24 * 3_600_000)?;
            Ok(buckets.iter().map(|bucket| (bucket.start_ms, bucket.count, bucket.sum)).collect::<Vec<_>>())
        };
        let (found, expected): (Result<Vec<_>>, Result<Vec<_>>) = (counts(&store), counts(&right));
        let (found, expected) = (found?, expected?);
        let close = |a: &(i64, u64, f64), b: &(i64, u64, f64)| (a.0, a.1) == (b.0, b.1) && (a.2 - b.2).abs() <= 1e-9 * b.2.abs();
        let same = found.len() == expected.len() && found.iter().zip(&expected).all(|(a, b)| close(a, b));
        ensure!(same, "counts and sums by day of {id:?}: {found:?}, expected {expected:?}");
    }
    Ok(())
}

#[test]
fn a_chart_of_a_part_of_a_cluster_says_so_and_metrics_tell_what_is_away() -> Result<()> {
    let (mut peer, mut stack) = (Peer::start()?, Stack::new()?);
    let ledger = stack.folder().join("data/pattoo.redb");
    // No longer ago than a server keeps.
    let from_ms = pattoo_server::clock::now_ms() / OF_DAY_MS * OF_DAY_MS - 2 * DAYS * OF_DAY_MS;
    let asked = format!("/api/v1/range?series=1&from={from_ms}&to={}&points=24", from_ms + OF_DAY_MS);
    let mut settings = Settings::new(&peer.write_url(), &peer.read_url());
    (settings.settle, settings.flush) = (Duration::ZERO, peer.flush_urls());
    {
        let store = Victoria::open_trusting(&ledger, settings)?;
        store.commit(&history(from_ms))?;
        wait_for("all days to be let go of", CATCH_UP, || {
            let round = store.let_go(from_ms + DAYS * OF_DAY_MS, &mut |_| {}).ok()?;
            (round.waiting == 0).then_some(())
        })?;
    }
    let link = Partial::to(peer.read)?;
    let config = stack.folder().join("server.yaml");
    let chart = |stack: &mut Stack, read: &str, accept: bool| {
        std::fs::write(
            &config,
            format!(
                "data: {}\nstore: {{ victoria: {{ write: '{}', read: '{read}', accept_partial: {accept} }} }}\nhttp: {{ listen: 127.0.0.1:0, \
                 anonymous: viewer }}\nbroker: {{ listen: 127.0.0.1:0 }}\nagents: {{ listen: off }}\n",
                stack.folder().join("data").display(),
                peer.write_url()
            ),
        )?;
        stack.start_server_with(&config)?;
        stack.api()?.get(&asked)
    };
    let partial = |(status, text): &(u16, String)| -> Result<Option<bool>> {
        ensure!(*status == 200, "{status}: {text}");
        Ok(serde_json::from_str::<serde_json::Value>(text)?.get("partial").and_then(serde_json::Value::as_bool))
    };
    let whole = chart(&mut stack, &peer.read_url(), true)?;
    ensure!(partial(&whole)? != Some(true) && whole.1.contains(r#""count":[60,60,"#), "{}", whole.1);
    stack.kill_server()?;
    let through = format!("http://{}", link.at);
    let in_part = chart(&mut stack, &through, true)?;
    ensure!(link.changed() > 0, "no answer of VictoriaMetrics came through the link: {}", in_part.1);
    ensure!(partial(&in_part)? == Some(true), "{}", in_part.1);
    stack.kill_server()?;
    let denied = chart(&mut stack, &through, false)?;
    ensure!(denied.0 == 503 && denied.1.contains("part"), "{denied:?}");
    let metric = |stack: &Stack, name: &str| -> Option<f64> {
        let text = stack.api().ok()?.get("/metrics").ok()?.1;
        text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
    };
    wait_for("it to be up", CATCH_UP, || (metric(&stack, "pattoo_store_victoria_up ")? == 1.0).then_some(()))?;
    peer.down();
    let _ = stack.api()?.get(&asked)?;
    wait_for("it to be away", CATCH_UP, || (metric(&stack, "pattoo_store_victoria_up ")? == 0.0).then_some(()))?;
    ensure!(
        metric(&stack, "pattoo_store_unsent_days ").is_some() && metric(&stack, "pattoo_store_max_bytes ") == Some((16u64 << 30) as f64)
    );
    peer.up()?;
    wait_for("it to be up again", CATCH_UP, || (metric(&stack, "pattoo_store_victoria_up ")? == 1.0).then_some(()))
}
