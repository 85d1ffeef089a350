//! What VictoriaMetrics really gives back: a program that we did not write judges our messages, and what may be kept in it.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use pattoo_server::broker::tls::authorities;
use pattoo_server::query;
use pattoo_server::store::victoria::Settings;
use pattoo_server::store::victoria::plane::{self, MAX_INTEGER, Plane};
use pattoo_server::store::victoria::question::{InPart, Names, Of};
use pattoo_server::store::victoria::remote::{Remote, RemoteError};
use pattoo_server::store::victoria::remote_write::Message;
use pattoo_server::store::{Bucket, Reading, SeriesId};
use pattoo_tests::authority::Authority;
use pattoo_tests::mosquitto::free_port;
use pattoo_tests::program::Program;
use pattoo_tests::victoria::{Victoria, agent, program};
use pattoo_tests::wait_for;
use pattoo_wire::{Decimal, Reason, Sample, Value};
use ureq::Agent;

/// Long after 1970 and long ago, so that nothing is too fresh to be shown.
const BEGIN_MS: i64 = 1_764_460_800_000;
/// New series of VictoriaMetrics appear after 10 s or so.
const VISIBLE_WITHIN: Duration = Duration::from_secs(60);

/// Name of our store.
const STORE: &str = "1f";

/// How often a kill may lose nothing.
const LIVES: usize = 10;

/// By the value of a label and time: the number as VictoriaMetrics prints it.
type Exported = BTreeMap<(String, i64), f64>;

/// All of a metric by a label, once it has so many samples.
fn exported(victoria: &Victoria, agent: &Agent, metric: &str, label: &str, samples: usize) -> Result<Exported> {
    victoria.flush(agent)?;
    let mut last = Ok(0);
    let look = || {
        let all = export(victoria, agent, metric, label);
        last = all.as_ref().map(BTreeMap::len).map_err(|e| format!("{e:#}"));
        all.ok().filter(|all| all.len() >= samples)
    };
    let found = wait_for("all samples to be exported", VISIBLE_WITHIN, look);
    let found = found.with_context(|| format!("{last:?} of {samples}"))?;
    ensure!(found.len() == samples, "{} samples of {metric} in place of {samples}", found.len());
    Ok(found)
}

fn export(victoria: &Victoria, agent: &Agent, metric: &str, label: &str) -> Result<Exported> {
    let body = String::from_utf8(victoria.ask(agent, "export", &[("match[]", metric), ("start", "0")])?)?;
    let mut all = Exported::new();
    for line in body.lines().filter(|line| !line.is_empty()) {
        let series: serde_json::Value = serde_json::from_str(line)?;
        let name = series.pointer(&format!("/metric/{label}")).and_then(serde_json::Value::as_str).unwrap_or_default();
        let column = |key: &str| series.get(key).and_then(serde_json::Value::as_array).with_context(|| format!("no {key} in {line}"));
        for (value, at) in column("values")?.iter().zip(column("timestamps")?) {
            let (value, at_ms) = (value.as_f64().with_context(|| line.to_owned())?, at.as_i64().context("a time")?);
            ensure!(all.insert((name.to_owned(), at_ms), value).is_none(), "{name} has two samples at {at_ms}");
        }
    }
    Ok(all)
}

fn peers() -> Result<Vec<Victoria>> {
    Ok([Some(Victoria::start()?), Victoria::start_cluster()?].into_iter().flatten().collect())
}

/// Samples of all sorts, small beside large.
fn samples(random: &mut fastrand::Rng) -> Vec<Sample> {
    let value = |random: &mut fastrand::Rng| {
        let bits = random.u64(..) >> random.u32(0..64);
        let signed = if random.bool() { bits as i64 } else { (bits as i64).wrapping_neg() };
        match random.u8(0..7) {
            0 => Value::Decimal(Decimal { mantissa: signed, exponent: random.i8(-3..2) }),
            1 => Value::Unsigned(bits),
            2 => Value::F32(f32::from_bits(random.u32(..))),
            3 => Value::F32(random.f32() * 1000.0),
            4 => Value::F64(f64::from_bits(random.u64(..))),
            5 => Value::F64((signed % 1_000_000_000) as f64 / 1000.0),
            _ => Value::Bool(random.bool()),
        }
    };
    let edges = [MAX_INTEGER, -MAX_INTEGER, 1, 0, -1, MAX_INTEGER - 1, 1_000_000_000_000_000].map(|n| Sample::Good(Value::int(n)));
    let others = (0..20_000).map(|_| match random.u8(0..20) {
        0 => Sample::Bad(Reason::from_code(random.u16(1..40))),
        1 => Sample::Uncertain(value(random), Reason::OutOfRange),
        _ => Sample::Good(value(random)),
    });
    edges.into_iter().chain(others).collect()
}

#[test]
fn every_reading_that_has_a_plane_comes_back_exactly() -> Result<()> {
    let seed = std::env::var("PATTOO_TEST_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    eprintln!("seed: PATTOO_TEST_SEED={seed}");
    let agent = agent();
    for victoria in peers()? {
        let sent: Vec<_> = samples(&mut fastrand::Rng::with_seed(seed)).into_iter().zip((BEGIN_MS..).step_by(10)).collect();
        let mut planes: BTreeMap<Plane, Vec<(f64, i64)>> = BTreeMap::new();
        let mut kept = BTreeMap::new();
        for (sample, at_ms) in &sent {
            if let Some((plane, integer)) = plane::write(sample) {
                planes.entry(plane).or_default().push((integer as f64, *at_ms));
                kept.insert(*at_ms, sample);
            }
        }
        ensure!(kept.len() > sent.len() / 2, "only {} of {} have a plane", kept.len(), sent.len());
        // Twice, as after a crash.
        for _ in 0..2 {
            let mut message = Message::default();
            for (plane, samples) in &planes {
                message.put([("__name__", "pattoo_reading"), ("as", &plane.to_string())], samples.iter().copied());
            }
            victoria.write(&agent, &message.take()?)?;
        }
        for ((plane, at_ms), number) in exported(&victoria, &agent, "pattoo_reading", "as", kept.len())? {
            let back = plane::read(plane.parse()?, number as i64);
            let sample = kept.get(&at_ms).copied();
            ensure!(back.as_ref() == sample && number.fract() == 0.0, "{sample:?} came back as {back:?} ({number} of {plane})");
        }
    }
    Ok(())
}

/// Were it otherwise, planes would be needless: a small double beside a large one is gone, and the last digits of any are.
#[test]
fn doubles_do_not_come_back_exactly() -> Result<()> {
    let agent = agent();
    for victoria in peers()? {
        let doubles = [1e-9, 123_456_789_012_345.0, 0.1 + 0.2];
        let mut message = Message::default();
        message.put([("__name__", "doubles")], doubles.into_iter().zip(BEGIN_MS..));
        victoria.write(&agent, &message.take()?)?;
        let back = exported(&victoria, &agent, "doubles", "none", doubles.len())?;
        let wrong = back.values().zip(doubles).filter(|(back, sent)| *back != sent).count();
        ensure!(wrong >= 2, "{back:?}: VictoriaMetrics has become more exact");
    }
    Ok(())
}

/// Without the option each resend counts again: a server has to look before it trusts.
#[test]
fn a_resend_counts_once_only_where_that_is_asked_for() -> Result<()> {
    for (options, once) in [(&["-dedup.minScrapeInterval=1ms"][..], true), (&[], false)] {
        let victoria = Victoria::start_with(options)?;
        let found = remote(&victoria).check_deduplication("test", BEGIN_MS);
        match found {
            Ok(()) if once => {}
            Err(RemoteError::Duplicates { .. }) if !once => {}
            other => bail!("{options:?}: {other:?}"),
        }
    }
    let nobody = free_port()?;
    let nowhere = Remote::new(&Settings::new(&format!("http://{nobody}"), &format!("http://{nobody}")), STORE);
    ensure!(matches!(nowhere.check_deduplication("test", BEGIN_MS), Err(RemoteError::Unreachable { .. })), "somebody answers at {nobody}");
    Ok(())
}

/// Readings of several planes at irregular times.
fn readings(random: &mut fastrand::Rng) -> Vec<Reading> {
    let mut at_ms = BEGIN_MS;
    let mut readings = Vec::new();
    for _ in 0..3000 {
        // Often right at an edge, sometimes long away.
        at_ms = match random.u8(0..10) {
            0 => (at_ms / 1000 + 1) * 1000,
            1 => at_ms + random.i64(1..20_000),
            _ => at_ms + random.i64(1..900),
        };
        let mantissa = random.i64(-100_000..100_000);
        let value = match random.u8(0..8) {
            0 => Value::F32(random.f32() * 100.0),
            1 => Value::Bool(random.bool()),
            2 => Value::F64(mantissa as f64 / 64.0),
            _ => Value::Decimal(Decimal { mantissa, exponent: -1 }),
        };
        let sample = match random.u8(0..20) {
            0 => Sample::Bad(Reason::Timeout),
            1 => Sample::Uncertain(value, Reason::Stale),
            _ => Sample::Good(value),
        };
        readings.push(Reading { at_ms, sample });
    }
    readings
}

/// What is aggregated there is what our own fold over the readings gives, at any edges, of several planes at once.
#[test]
fn buckets_that_are_made_there_are_those_of_the_readings() -> Result<()> {
    let seed = std::env::var("PATTOO_TEST_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    eprintln!("seed: PATTOO_TEST_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let agent = agent();
    let series = SeriesId(7);
    let names = Names { gateway: "g".into(), device: "d".into(), point: "p \"1\"".into() };
    for victoria in peers()? {
        let readings = readings(&mut random);
        let at_ms = readings.last().map_or(BEGIN_MS, |reading| reading.at_ms);
        let mut planes: BTreeMap<Plane, Vec<(f64, i64)>> = BTreeMap::new();
        for reading in &readings {
            let (plane, integer) = plane::write(&reading.sample).with_context(|| format!("{reading:?} has no plane"))?;
            planes.entry(plane).or_default().push((integer as f64, reading.at_ms));
        }
        let mut message = Message::default();
        for (plane, samples) in &planes {
            message.put(
                Of { store: STORE, series }.labels(&names, *plane).iter().map(|(name, value)| (*name, value.as_str())),
                samples.iter().copied(),
            );
        }
        // Another series must not be taken for this one, nor one of another store.
        message.put([("__name__", "pattoo_reading"), ("store", STORE), ("series", "70"), ("as", "d0")], [(1.0, BEGIN_MS)]);
        message.put([("__name__", "pattoo_reading"), ("store", "other"), ("series", "7"), ("as", "d0")], [(1.0, BEGIN_MS)]);
        victoria.write(&agent, &message.take()?)?;
        victoria.flush(&agent)?;
        let remote = remote(&victoria);
        let all = || remote.readings(series, 0, at_ms + 1).ok().filter(|all| all.len() >= readings.len());
        ensure!(wait_for("all to be seen", VISIBLE_WITHIN, all)? == readings, "the readings came back changed");
        for _ in 0..40 {
            let step_ms = *random.choice(&[1000, 2000, 60_000, 3_600_000]).context("a step")?;
            let (from_ms, to_ms) = match random.u8(0..3) {
                0 => (BEGIN_MS - 5000, at_ms + 5000),
                1 => (BEGIN_MS, BEGIN_MS + step_ms * random.i64(1..50)),
                _ => (random.i64(BEGIN_MS..at_ms), random.i64(BEGIN_MS..at_ms)),
            };
            let within = readings.iter().filter(|reading| (from_ms..to_ms).contains(&reading.at_ms)).cloned();
            let (found, expected) = (remote.buckets(series, (from_ms, to_ms), step_ms, InPart::Denied)?.0, query::buckets(within, step_ms));
            ensure!(found.len() == expected.len(), "{from_ms}..{to_ms} by {step_ms}: {} buckets, expected {}", found.len(), expected.len());
            for (found, expected) in found.iter().zip(&expected) {
                let close = (found.sum - expected.sum).abs() <= 1e-9 * expected.sum.abs().max(1.0);
                let same = format!("{:?}", Bucket { sum: 0.0, ..*found }) == format!("{:?}", Bucket { sum: 0.0, ..*expected });
                ensure!(close && same, "{from_ms}..{to_ms} by {step_ms}: {found:?}, expected {expected:?}");
            }
        }
    }
    Ok(())
}

fn remote(victoria: &Victoria) -> Remote {
    Remote::new(&Settings::new(&victoria.write_url(), &victoria.read_url()), STORE)
}

/// It acknowledges into memory, and shows what is nowhere else: why a server must hold readings for a while after it has seen them there.
/// Debian's writes to its disk each 5 s, which may come in between.
#[test]
fn what_it_acknowledged_and_shows_may_be_gone_after_a_kill() -> Result<()> {
    let agent = agent();
    let mut victoria = Victoria::start()?;
    for life in 0..LIVES {
        let metric = format!("life{life}");
        let mut message = Message::default();
        message.put([("__name__", metric.as_str())], [(1.0, BEGIN_MS)]);
        victoria.write(&agent, &message.take()?)?;
        exported(&victoria, &agent, &metric, "none", 1)?;
        victoria.kill()?;
        if export(&victoria, &agent, &metric, "none")?.is_empty() {
            return Ok(());
        }
    }
    bail!("{LIVES} times nothing was lost: VictoriaMetrics has become durable")
}

#[test]
fn over_https_only_who_is_vouched_for_gets_readings() -> Result<()> {
    let (folder, at) = (tempfile::tempdir()?, free_port()?);
    let (ours, others) = (Authority::new(folder.path(), "ours")?, Authority::new(folder.path(), "others")?);
    let (certificate, key) = ours.server(folder.path())?;
    drop(others);
    let mut command = Command::new(program()?);
    command.arg(format!("-httpListenAddr={at}")).arg(format!("-storageDataPath={}", folder.path().join("data").display()));
    command.arg("-tls").arg(format!("-tlsCertFile={}", certificate.display())).arg(format!("-tlsKeyFile={}", key.display()));
    let _running = Program::start("victoria-metrics", &mut command)?;
    let url = format!("https://{at}");
    let trusting = |name: &str| -> Result<Remote> {
        let authorities = authorities(Some(&folder.path().join(name)))?;
        Ok(Remote::new(&Settings { authorities, ..Settings::new(&url, &url) }, STORE))
    };
    let remote = trusting("ours.pem")?;
    wait_for("VictoriaMetrics to serve", VISIBLE_WITHIN, || remote.ping().ok())?;
    let told = trusting("others.pem")?.ping().expect_err("nobody vouches for it");
    ensure!(told.is_away() && told.to_string().contains(&url) && told.to_string().contains("UnknownIssuer"), "{told}");
    let told = Remote::new(&Settings::new(&url, &url), STORE).ping().expect_err("nobody is trusted");
    ensure!(told.to_string().contains("UnknownIssuer"), "{told}");
    Ok(())
}
