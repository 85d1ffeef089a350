//! Devices that a program of the user's reads: it prints a reading a line. Shell. Knows nothing of other drivers, nor what the lines mean:
//! that is [`crate::lines`].
//!
//! The program is started as it is listed, without a shell, by the user that the daemon runs as, with nothing to read, in a process group of
//! its own. Of the daemon's variables it gets `PATH`, `HOME`, `LANG` and `TZ`, and beside them `PATTOO_DEVICE`, the name of its device,
//! `PATTOO_PROFILE`, and with `mode: interval` `PATTOO_EVERY_MS`. What it starts ends with it: the whole group is killed when the program
//! ends, takes too long, or the daemon stops. (One that makes a session of its own gets away; `KillMode=control-group` of systemd finds it.)
//!
//! - `mode: interval`: it runs once for each poll. All its readings have the time in the middle of the run. A series that it does not tell is
//!   bad; where it ends with a status other than 0, takes too long or prints too much, what it told is uncertain.
//! - `mode: keep`: it is kept running, and started again when it ends: after [`FIRST_PAUSE`], and after twice the time whenever it ends
//!   again before [`GOOD_RUN`], up to [`MAX_PAUSE`].

mod process;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use pattoo_wire::Reason;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tracing::warn;

use self::process::{Event, Process};
use super::{Clock, Driver, Heard};
use crate::clock;
use crate::config::{Config, Device, Mode, Program};
use crate::health::Waiting;
use crate::lines::{Allowance, Cut, Intake, Lines, Now, Quota, Refusal};
use crate::reading::{DeviceIndex, PointIndex, Row, Transaction};

/// Most bytes that a program may print in one run.
const MAX_RUN_BYTES: usize = 1 << 20;
/// Most lines of a run.
const MAX_RUN_LINES: usize = 20_000;
/// Pause before a program is started again that is to be kept running.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Longest such pause.
const MAX_PAUSE: Duration = Duration::from_secs(60);
/// A program that ran for so long was good.
const GOOD_RUN: Duration = Duration::from_secs(60);
/// How often it is told that something went wrong while nothing is heard.
const TELL_EVERY: Duration = Duration::from_secs(5);
/// Of a line on stderr so many bytes go to the log.
const MAX_LOG_BYTES: usize = 500;

/// The program of one device.
pub struct Exec {
    clock: Clock,
    program: Program,
    intake: Intake,
    voice: Voice,
    kept: Kept,
    tell_at: Option<Instant>,
}

/// A program that is kept running.
#[derive(Default)]
struct Kept {
    process: Option<Process>,
    started: Option<Instant>,
    lines: Lines,
    allowance: Allowance,
    pause: Duration,
    start_at: Option<Instant>,
}

/// What is said of a program in the log, at a bounded rate.
struct Voice {
    device: String,
    quota: Quota,
    errors: Lines,
}

impl Exec {
    /// A driver for this program; `clock` gives the time of its readings. Starts nothing.
    #[must_use]
    pub fn new(program: Program, clock: Clock) -> Self {
        let (intake, voice) = (Intake::new(program.source.clone()), Voice::of(&program.device));
        Self { clock, program, intake, voice, kept: Kept::default(), tell_at: None }
    }

    fn now(&self) -> Now {
        Now { boot_ms: (self.clock)(), utc_ms: clock::now_ms() }
    }

    /// Runs it once.
    async fn run(&mut self, index: DeviceIndex, device: &Device, limit: Duration) -> Vec<Transaction> {
        let started = self.now();
        self.intake.declare(index, &device.name, &device.profile, started);
        self.intake.begin_run();
        self.voice.errors = Lines::default();
        let every_ms = device.every.as_millis().to_string();
        let (printed, failed) = match Process::start(&self.program, &device.profile.id, Some(&every_ms)) {
            Ok(mut process) => listen(&mut process, &mut self.voice, Instant::now() + limit).await,
            Err(error) => {
                self.voice.say(format_args!("cannot be started: {error}"));
                (Vec::new(), Some(("not started", Reason::ProgramFailed)))
            }
        };
        let ended = self.now();
        let since = |from_ms: i64, to_ms: i64| to_ms.saturating_sub(from_ms) / 2;
        let middle = Now {
            boot_ms: ended.boot_ms - since(started.boot_ms, ended.boot_ms),
            utc_ms: ended.utc_ms - since(started.boot_ms, ended.boot_ms),
        };
        for line in printed {
            let refusals = self.intake.take(line, None, middle);
            self.voice.refused(&refusals);
        }
        if let Some((miss, _)) = failed {
            self.intake.count(Some(index), miss);
        }
        self.intake.end_run(failed.map(|(_, reason)| reason), middle)
    }

    /// What a program that is kept running has told by now, once there is something.
    async fn listen(&mut self, config: &Config) -> Heard {
        let Some((index, device)) = own(config, &self.program.device) else { return std::future::pending().await };
        loop {
            let now = self.now();
            self.intake.declare(index, &device.name, &device.profile, now);
            self.intake.look(now);
            let transactions = self.intake.transactions();
            if !transactions.is_empty() {
                return Heard { transactions, hasten: Vec::new() };
            }
            if self.tell_at.is_none_or(|at| Instant::now() >= at) && self.intake.news() {
                self.tell_at = Some(Instant::now() + TELL_EVERY);
                return Heard::default();
            }
            let look = sleep(self.intake.next_look(now).min(TELL_EVERY));
            tokio::select! {
                event = self.kept.next(&self.program, &device.profile.id) => self.obey(event, index),
                () = look => {}
            }
        }
    }

    fn obey(&mut self, event: Event, index: DeviceIndex) {
        match event {
            Event::Out(bytes) => {
                let now = self.now();
                for line in self.kept.lines.push(&bytes) {
                    let refusals = self.intake.take(line, None, now);
                    self.voice.refused(&refusals);
                }
            }
            Event::Err(bytes) => self.voice.errors(&bytes),
            Event::NotStarted(error) => {
                self.voice.say(format_args!("cannot be started: {error}"));
                self.intake.count(Some(index), "not started");
                self.kept.ended();
            }
            Event::End(status) => {
                if let Some(line) = self.kept.lines.finish() {
                    let now = self.now();
                    let refusals = self.intake.take(line, None, now);
                    self.voice.refused(&refusals);
                }
                self.kept.ended();
                self.voice.say(format_args!("ended with {status}; it is started again in {:?}", self.kept.pause));
                self.intake.count(Some(index), "program ended");
            }
        }
    }
}

/// The position and the device of this name.
fn own<'c>(config: &'c Config, name: &str) -> Option<(DeviceIndex, &'c Device)> {
    config.devices.iter().enumerate().find(|(_, device)| device.name == name).map(|(index, device)| (DeviceIndex(index), device))
}

/// How a run failed: what that is counted as, and the reason of its readings.
type Failed = (&'static str, Reason);

/// Hears a program that runs once, until it ends or must be ended.
async fn listen(process: &mut Process, voice: &mut Voice, deadline: Instant) -> (Vec<Cut>, Option<Failed>) {
    let (mut lines, mut printed, mut bytes) = (Lines::default(), Vec::new(), 0);
    let failed = loop {
        match timeout_at(deadline, process.next()).await {
            Ok(Event::Out(out)) => {
                bytes += out.len();
                printed.extend(lines.push(&out));
                if bytes > MAX_RUN_BYTES || printed.len() > MAX_RUN_LINES {
                    voice.say(format_args!("printed more than {MAX_RUN_BYTES} bytes or {MAX_RUN_LINES} lines in one run and is killed"));
                    printed.truncate(MAX_RUN_LINES);
                    break Some(("too much output", Reason::ProgramFailed));
                }
            }
            Ok(Event::Err(bytes)) => voice.errors(&bytes),
            Ok(Event::End(status)) if status.success() => {
                printed.extend(lines.finish());
                break None;
            }
            Ok(Event::End(status)) => {
                // The last line may be half of one.
                voice.say(format_args!("ended with {status}"));
                break Some(("exit status", Reason::ProgramFailed));
            }
            Ok(Event::NotStarted(error)) => {
                voice.say(format_args!("cannot be heard: {error}"));
                break Some(("not started", Reason::ProgramFailed));
            }
            Err(_) => {
                voice.say(format_args!("took longer than its timeout and is killed"));
                break Some(("timeout", Reason::Timeout));
            }
        }
    };
    process.kill().await;
    (printed, failed)
}

impl Kept {
    /// What happens next; starts the program where it does not run. Loses nothing when it is dropped.
    async fn next(&mut self, program: &Program, profile: &str) -> Event {
        if let Some(at) = self.start_at {
            sleep_until(at).await;
            self.start_at = None;
        }
        if let Some(until) = self.allowance.wait(Instant::now().into_std()) {
            sleep_until(until.into()).await;
        }
        if self.process.is_none() {
            self.started = Some(Instant::now());
            self.lines = Lines::default();
            match Process::start(program, profile, None) {
                Ok(process) => self.process = Some(process),
                Err(error) => return Event::NotStarted(error),
            }
        }
        let Some(process) = &mut self.process else { return std::future::pending().await };
        let event = process.next().await;
        if let Event::Out(bytes) | Event::Err(bytes) = &event {
            self.allowance.take(bytes.len(), Instant::now().into_std());
        }
        event
    }

    fn ended(&mut self) {
        self.process = None;
        let good = self.started.is_some_and(|started| started.elapsed() >= GOOD_RUN);
        self.pause = if good || self.pause.is_zero() { FIRST_PAUSE } else { (2 * self.pause).min(MAX_PAUSE) };
        self.start_at = Some(Instant::now() + self.pause);
    }
}

impl Voice {
    fn of(device: &str) -> Self {
        Self { device: device.to_owned(), quota: Quota::default(), errors: Lines::default() }
    }

    fn say(&mut self, what: std::fmt::Arguments<'_>) {
        if let Some(left_out) = self.quota.may(Instant::now().into_std()) {
            warn!(device = self.device, left_out, "program {what}");
        }
    }

    fn refused(&mut self, refusals: &[Refusal]) {
        refusals.iter().for_each(|refusal| self.say(format_args!("printed what is no reading: {refusal}")));
    }

    /// What it says on stderr.
    fn errors(&mut self, bytes: &[u8]) {
        for line in self.errors.push(bytes) {
            let text = String::from_utf8_lossy(line.bytes.as_deref().unwrap_or(b"(a line that is too long)")).into_owned();
            let clean: String = text.chars().take(MAX_LOG_BYTES).map(|c| if c.is_control() { '\u{FFFD}' } else { c }).collect();
            self.say(format_args!("says: {clean}"));
        }
    }
}

impl Driver for Exec {
    fn read<'a>(
        &'a mut self,
        index: DeviceIndex,
        device: &'a Device,
        _points: &'a [PointIndex],
    ) -> Pin<Box<dyn Future<Output = Vec<Transaction>> + Send + 'a>> {
        match self.program.mode {
            Mode::Interval { timeout } => Box::pin(self.run(index, device, timeout)),
            Mode::Keep => Box::pin(std::future::ready(Vec::new())),
        }
    }

    fn hear<'a>(&'a mut self, config: &'a Config) -> Pin<Box<dyn Future<Output = Heard> + Send + 'a>> {
        match self.program.mode {
            Mode::Interval { .. } => Box::pin(std::future::pending()),
            Mode::Keep => Box::pin(self.listen(config)),
        }
    }

    fn waiting(&self, device: &Device) -> Waiting {
        Waiting { misses: self.intake.misses(&device.name), ..Waiting::default() }
    }

    fn series(&self, index: DeviceIndex, _device: &Device, _points: &[PointIndex]) -> Vec<(PointIndex, Option<Arc<Row>>)> {
        self.intake.series(index)
    }
}

/// The variables of a program.
fn variables(program: &Program, profile: &str, every_ms: Option<&str>) -> BTreeMap<String, String> {
    let kept = ["PATH", "HOME", "LANG", "TZ"].into_iter().filter_map(|name| Some((name.to_owned(), std::env::var(name).ok()?)));
    let own = [("PATTOO_DEVICE", Some(program.device.as_str())), ("PATTOO_PROFILE", Some(profile)), ("PATTOO_EVERY_MS", every_ms)];
    let own = own.into_iter().filter_map(|(name, text)| Some((name.to_owned(), text?.to_owned())));
    kept.chain(program.env.clone()).chain(own).collect()
}
