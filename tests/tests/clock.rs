//! Time against real programs: a clock that was never set, and clocks that are set while the gateway runs. Nothing is lost or
//! doubled, and what is stored has the times that it should have.
//!
//! The gateway's system clock is libfaketime's; the boot clock, and the server's, are true.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use pattoo_gateway::clock::{boot_ms, now_ms};
use pattoo_tests::faketime::FakeClock;
use pattoo_tests::stack::{Lost, Readings, Stack, gaps, wait_stored};
use pattoo_tests::wait_for;
use serde_json::Value;

const HOUR_S: i64 = 3_600;
const HOUR_MS: i64 = HOUR_S * 1_000;
/// How long a loaded machine may take to catch up in the end.
const CATCH_UP: Duration = Duration::from_secs(120);
/// How far a time may be off: half of what a loaded machine takes to answer, and as long as a clock that was set is not noticed.
const OFF_MS: i64 = 3_000;
/// Batches that make a stretch of time.
const STRETCH: usize = 4;
/// There while NTP keeps the gateway's clock.
const NTP_FILE: &str = "synchronized";
/// The device that the last start has instead of the others: what it reads is of no interest.
const LAST: &str = "last";

/// A batch as the gateway logged it.
#[derive(Debug)]
struct Batch {
    held: bool,
    readings: Vec<(String, String, i64, Value, String)>,
}

impl Batch {
    fn times_ms(&self) -> impl Iterator<Item = i64> {
        self.readings.iter().map(|(_, _, at_ms, _, _)| *at_ms)
    }
}

struct Plant {
    stack: Stack,
    clock: FakeClock,
    log: Vec<String>,
    began_ms: i64,
}

impl Plant {
    fn new() -> Result<Self> {
        let mut stack = Stack::new()?;
        let clock = FakeClock::new(stack.folder())?;
        stack.gateway_within = clock.command();
        stack.clock = format!("{{ trust: auto, ntp_file: {} }}", stack.folder().join(NTP_FILE).display());
        Ok(Self { stack, clock, log: Vec::new(), began_ms: now_ms() })
    }

    /// A server that takes readings of the next two hours: by default it refuses them where a clock is so far ahead.
    fn start_server(&mut self) -> Result<()> {
        let (config, data) = (self.stack.folder().join("server.yaml"), self.stack.folder().join("data"));
        let listen = "{ listen: 127.0.0.1:0 }";
        let http = "{ listen: 127.0.0.1:0, anonymous: viewer }";
        let rest = format!("http: {http}\nbroker: {listen}\ningest: {{ max_future: 2h }}\n");
        std::fs::write(&config, format!("data: {}\n{rest}", data.display()))?;
        self.stack.start_server_with(&config)
    }

    fn start_gateway(&mut self, device: &str, every: &str) -> Result<()> {
        let rest = format!("devices: [{{ name: {device}, profile: linux-host, every: {every} }}]\n");
        let config = self.stack.configure_gateway("plant7", &rest)?;
        self.stack.start_gateway(&config)
    }

    /// All that the gateway logged in all of its runs.
    fn lines(&self, text: &str) -> Vec<Value> {
        let running = self.stack.gateway.as_ref().map(|gateway| gateway.output()).unwrap_or_default();
        let lines = self.log.iter().chain(&running).filter(|line| line.contains(text));
        lines.filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    fn batches(&self) -> Result<Vec<Batch>> {
        let batch = |line: &Value| {
            let content = line.pointer("/fields/content").and_then(Value::as_str).context("no content")?;
            Ok(Batch { held: line.pointer("/fields/held").is_some(), readings: serde_json::from_str(content)? })
        };
        self.lines("pattoo::buffered").iter().map(batch).collect()
    }

    /// Waits for so many more batches of a kind.
    fn wait_batches(&self, held: bool, more: usize) -> Result<()> {
        let count = || self.batches().map(|all| all.iter().filter(|batch| batch.held == held).count()).unwrap_or_default();
        let before = count();
        wait_for("more batches", CATCH_UP, || (count() >= before + more).then_some(())).with_context(|| self.tail())
    }

    /// Waits until the gateway has said this so many times; the last line of these.
    fn wait_said(&self, text: &str, times: usize) -> Result<Value> {
        wait_for(text, CATCH_UP, || self.lines(text).into_iter().nth(times - 1)).with_context(|| self.tail())
    }

    fn tail(&self) -> String {
        self.stack.gateway.as_ref().map(|gateway| gateway.tail()).unwrap_or_default()
    }

    fn kill_gateway(&mut self) -> Result<()> {
        self.log.extend(self.stack.gateway.take().context("it runs")?.kill());
        Ok(())
    }

    /// Stops the gateway, and lets another start bring the rest to the server. Gives what was buffered, with the times that held
    /// readings must have got, and how many readings these were; and the gap records. All of it has been found in the store, once.
    fn settle(mut self, boot_offset_ms: i64) -> Result<(Vec<Batch>, Vec<Lost>)> {
        let mut gateway = self.stack.gateway.take().context("it runs")?;
        ensure!(gateway.stop()?.success(), "the gateway did not stop cleanly");
        self.log.extend(gateway.output());
        let mut batches = self.batches()?;
        let mut expected = Readings::new();
        let mut count = 0;
        for batch in &mut batches {
            for (device, point, at_ms, value, quality) in &mut batch.readings {
                *at_ms += if batch.held { boot_offset_ms } else { 0 };
                expected.insert((device.clone(), point.clone(), *at_ms), (value.clone(), quality.clone()));
                count += 1;
            }
        }
        ensure!(expected.len() == count, "{} readings were buffered with only {} times", count, expected.len());
        self.start_gateway(LAST, "1h")?;
        let api = self.stack.api()?;
        let mut held = wait_stored(api, "plant7", &expected, CATCH_UP).with_context(|| self.tail())?;
        held.retain(|(device, _, _), _| device != LAST);
        ensure!(held.len() == expected.len(), "{} readings were buffered and {} are in the store", expected.len(), held.len());
        eprintln!("{count} readings in {} batches, all of them in the store once", batches.len());
        Ok((batches, gaps(api, "plant7")?))
    }
}

#[test]
fn a_gateway_that_boots_in_1970_holds_its_readings_until_the_server_tells_the_time() -> Result<()> {
    let mut plant = Plant::new()?;
    plant.clock.set(-now_ms() / 1_000)?;
    plant.start_gateway("box", "300ms")?;
    plant.wait_batches(true, STRETCH)?;
    // What is held is durable.
    plant.kill_gateway()?;
    plant.start_gateway("box", "300ms")?;
    plant.wait_batches(true, STRETCH)?;
    ensure!(plant.batches()?.iter().all(|batch| batch.held), "a batch was given times that nobody could know");
    plant.start_server()?;
    let known = plant.wait_said("the time is known", 1)?;
    plant.wait_batches(false, STRETCH)?;

    ensure!(known.pointer("/fields/source").is_some_and(|source| source == "server"), "{known}");
    let offset_ms = offset_ms(&known)?;
    let off_ms = offset_ms - (now_ms() - boot_ms());
    eprintln!("the gateway's time is off by {off_ms} ms");
    ensure!(off_ms.abs() < OFF_MS, "the gateway's time is off by {off_ms} ms");
    let began_ms = plant.began_ms;
    let (batches, gaps) = plant.settle(offset_ms)?;
    ensure!(batches.iter().filter(|batch| batch.held).count() >= 2 * STRETCH && gaps.is_empty(), "{gaps:?}");
    let times = || batches.iter().flat_map(Batch::times_ms);
    let (first_ms, last_ms) = (times().min().context("no reading")?, times().max().context("no reading")?);
    ensure!(first_ms >= began_ms - OFF_MS && last_ms <= now_ms() + OFF_MS, "{began_ms}: {first_ms} to {last_ms}");
    ensure_order(&batches)
}

#[test]
fn steps_of_a_clock_that_ntp_keeps_are_followed_and_on_record() -> Result<()> {
    let plant = Plant::new()?;
    std::fs::write(plant.stack.folder().join(NTP_FILE), "")?;
    let (batches, gaps) = stepped(plant, "the times of readings jump")?;
    let firsts: Vec<i64> = batches.iter().filter_map(|batch| batch.times_ms().min()).collect();
    let jumps: Vec<i64> = firsts.windows(2).map(|pair| pair[1] - pair[0]).filter(|ms| ms.abs() > HOUR_MS / 2).collect();
    let [forth_ms, back_ms] = jumps.try_into().map_err(|jumps| anyhow::anyhow!("jumps of {jumps:?} ms"))?;
    let near = |ms: i64| (HOUR_MS..HOUR_MS + 60_000).contains(&ms);
    ensure!(near(forth_ms) && near(60_000 - back_ms), "jumps of {forth_ms} and {back_ms} ms");
    ensure!(gaps.len() == 2, "{gaps:?}");
    for gap in gaps {
        let off_ms = gap.to_ms - gap.from_ms - HOUR_MS;
        ensure!(gap.readings == 0 && gap.reason == "clock was set" && off_ms.abs() < OFF_MS, "{gap:?}");
    }
    Ok(())
}

#[test]
fn steps_that_the_server_contradicts_are_on_record_and_change_no_time() -> Result<()> {
    let (batches, gaps) = stepped(Plant::new()?, "and is not believed")?;
    ensure_order(&batches)?;
    ensure!(gaps.len() == 2 && gaps.iter().all(|gap| gap.reason == "clock was set" && gap.from_ms == gap.to_ms), "{gaps:?}");
    Ok(())
}

/// Sets the clock an hour forth and back while the gateway runs, which it must say in these words each time.
fn stepped(mut plant: Plant, words: &str) -> Result<(Vec<Batch>, Vec<Lost>)> {
    plant.start_server()?;
    plant.start_gateway("box", "300ms")?;
    let known = plant.wait_said("the time is known", 1)?;
    plant.wait_batches(false, STRETCH)?;
    for (times, offset_s) in [(1, HOUR_S), (2, 0)] {
        plant.clock.set(offset_s)?;
        plant.wait_said(words, times)?;
        plant.wait_batches(false, STRETCH)?;
    }
    plant.settle(offset_ms(&known)?)
}

/// What must be added to the boot clock to get UTC, as the gateway told when it got to know.
fn offset_ms(known: &Value) -> Result<i64> {
    known.pointer("/fields/offset_ms").and_then(Value::as_i64).with_context(|| format!("no offset_ms in {known}"))
}

/// Each series goes forward in time, batch by batch.
fn ensure_order(batches: &[Batch]) -> Result<()> {
    let mut last: BTreeMap<(&str, &str), i64> = BTreeMap::new();
    for (device, point, at_ms, _, _) in batches.iter().flat_map(|batch| &batch.readings) {
        if let Some(before_ms) = last.insert((device, point), *at_ms) {
            ensure!(before_ms < *at_ms, "{device}/{point}: {at_ms} comes behind {before_ms}");
        }
    }
    Ok(())
}
