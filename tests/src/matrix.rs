//! The fault matrix: an installation under traffic, something that fails, and the equation that must hold once it is healed.
//!
//! A cell is one kind of fault. Its rounds have seeds that follow each other; what fails and when is drawn from the seed alone.
//!
//! | variable | meaning |
//! |---|---|
//! | `PATTOO_TEST_SEED` | seed of the first round; drawn and printed where it is not set |
//! | `PATTOO_TEST_ROUNDS` | rounds of each cell, in place of the few that fit into a run of all tests |

pub mod balance;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fastrand::Rng;

use self::balance::{Balance, Batch, balance, batches};
use crate::mosquitto::{Keeps, Mosquitto};
use crate::program::Program;
use crate::stack::{Stack, gaps, stored};
use crate::wait_for;

/// Name of the gateway.
const GATEWAY: &str = "plant7";
/// How long all may take to arrive once everything is healed, on a loaded machine.
const CATCH_UP: Duration = Duration::from_secs(180);
/// What the gateway reads, and how much of it it may keep.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Simulated meters; each is read with one request.
    meters: u8,
    /// Points of each. All must have come, so that the equation is not one of nothing.
    points: usize,
    /// Type of each point, and the registers that it has.
    kind: (&'static str, usize),
    every: &'static str,
    max_bytes: &'static str,
}

impl Load {
    /// Some hundred readings a second, and room for all of them.
    pub const LIGHT: Self = Self { meters: 1, points: 40, kind: ("u16", 1), every: "200ms", max_bytes: "64MiB" };
    /// As many bytes as a meter can give, and the least room that may be configured.
    pub const FLOOD: Self = Self { meters: 30, points: 31, kind: ("f64", 4), every: "100ms", max_bytes: "1MiB" };

    fn profile(&self) -> String {
        let (kind, registers) = self.kind;
        let point = |n: usize| format!("  - {{ name: p{n}, unit: V, read: {{ input: {}, type: {kind} }} }}\n", n * registers);
        let points: String = (0..self.points).map(point).collect();
        let limits = format!("modbus: {{ max_registers: {} }}", self.points * registers);
        format!("schema: 1\nid: matrix-meter\nmanufacturer: nobody\nmodel: none\n{limits}\npoints:\n{points}")
    }

    /// The part of the configuration that names them, each with a connection of its own to a simulator there.
    fn devices(&self, address: &str) -> String {
        let Self { meters, every, .. } = self;
        let link = |unit| format!("  line-{unit}: {{ tcp: '{address}' }}\n");
        let meter =
            |unit| format!("  - {{ name: meter-{unit}, profile: matrix-meter, link: line-{unit}, unit: {unit}, every: {every} }}\n");
        let (links, meters): (String, String) = ((1..=*meters).map(link).collect(), (1..=*meters).map(meter).collect());
        let host = "  - { name: this-host, profile: linux-host, every: 500ms }\n";
        format!("batch: {{ every: 200ms }}\nlinks:\n{links}devices:\n{meters}{host}")
    }
}

/// A server, a gateway that reads a simulated meters and this host, and the relay between them.
pub struct Plant {
    /// Folder, programs and relay.
    pub stack: Stack,
    /// Of this round.
    pub seed: u64,
    /// Faults that were made.
    pub faults: usize,
    /// The broker, where it is not the server's own.
    pub broker: Option<Mosquitto>,
    /// What else belongs to it and ends with it.
    pub peers: Vec<Program>,
    config: PathBuf,
    load: Load,
    lives: Vec<Vec<Batch>>,
}

impl Plant {
    /// Starts everything, with the broker in the server.
    ///
    /// # Errors
    /// Something does not get ready.
    pub fn start(load: Load) -> Result<Self> {
        let mut stack = Stack::new()?;
        stack.start_server()?;
        let url = format!("url: 'mqtt://{}'", stack.relay.address());
        Self::on(stack, &url, load)
    }

    /// Starts everything, with mosquitto between gateway and server; both find it under the relay's address.
    ///
    /// # Errors
    /// Something does not get ready.
    pub fn with_mosquitto(keeps: Keeps) -> Result<Self> {
        let mut stack = Stack::new()?;
        let broker = Mosquitto::start(stack.folder(), keeps)?;
        stack.relay.set_target(Some(broker.address))?;
        let (server, url) = (stack.folder().join("server.yaml"), format!("url: 'mqtt://{}'", stack.relay.address()));
        let data = stack.folder().join("data");
        std::fs::write(
            &server,
            format!("data: {}\nhttp: {{ listen: 127.0.0.1:0, anonymous: viewer }}\nbroker: {{ {url} }}\n", data.display()),
        )?;
        stack.start_server_with(&server)?;
        let mut plant = Self::on(stack, &url, Load::LIGHT)?;
        plant.broker = Some(broker);
        Ok(plant)
    }

    /// Starts the gateway of a server that runs already; it makes five batches a second.
    ///
    /// # Errors
    /// Something does not get ready.
    pub fn on(mut stack: Stack, uplink: &str, load: Load) -> Result<Self> {
        let profiles = stack.folder().join("profiles");
        std::fs::create_dir(&profiles)?;
        std::fs::write(profiles.join("matrix-meter.yaml"), load.profile())?;
        stack.more_profiles = Some(profiles.clone());
        let units = (1..=load.meters).map(|unit| unit.to_string()).collect::<Vec<_>>();
        let mut command = stack.gateway_command()?;
        command.arg("--profiles").arg(&profiles).args(["simulate", "matrix-meter", "--listen", "127.0.0.1:0", "--units", &units.join(",")]);
        let meter = Program::start("simulator", &mut command)?;
        let line = meter.wait_line("the simulator to listen", |line| line.starts_with("listening "))?;
        let config = stack.folder().join("gateway.yaml");
        let buffer = stack.folder().join("buffer");
        let head = format!(
            "gateway: {GATEWAY}\nuplink: {{ {uplink}, ack_timeout: 1s }}\nbuffer: {{ path: {}, max_bytes: {} }}\nclock: {}\n",
            buffer.display(),
            load.max_bytes,
            stack.clock
        );
        std::fs::write(&config, head + &load.devices(line.trim_start_matches("listening ").trim()))?;
        let mut plant = Self { stack, seed: 0, faults: 0, broker: None, peers: vec![meter], config, load, lives: Vec::new() };
        plant.start_gateway()?;
        Ok(plant)
    }

    /// Starts the gateway.
    ///
    /// # Errors
    /// It does not get ready.
    pub fn start_gateway(&mut self) -> Result<()> {
        self.stack.start_gateway(&self.config)
    }

    /// SIGKILL for the gateway.
    ///
    /// # Errors
    /// It does not run.
    pub fn kill_gateway(&mut self) -> Result<()> {
        let log = self.stack.gateway.take().context("the gateway does not run")?.kill();
        self.lives.push(batches(&log)?);
        Ok(())
    }

    /// SIGKILL for the gateway, and its next start.
    ///
    /// # Errors
    /// It does not get ready.
    pub fn restart_gateway(&mut self) -> Result<()> {
        self.faults += 1;
        self.kill_gateway()?;
        self.start_gateway()
    }

    /// SIGKILL for the server, with the broker in it if it has one, and its next start.
    ///
    /// # Errors
    /// It does not get ready.
    pub fn restart_server(&mut self) -> Result<()> {
        self.faults += 1;
        let config = self.stack.folder().join("server.yaml");
        if self.broker.is_none() {
            self.stack.kill_server()?;
            self.stack.relay.cut()?;
        } else if let Some(mut server) = self.stack.server.take() {
            server.kill();
        }
        self.stack.start_server_with(&config)
    }

    /// SIGKILL for the broker that is not the server's own, and its next start; with nothing left of it where `forget` says so.
    ///
    /// # Errors
    /// It does not get ready.
    pub fn restart_broker(&mut self, forget: bool) -> Result<()> {
        self.faults += 1;
        let broker = self.broker.as_mut().context("the broker is the server's own")?;
        self.stack.relay.set_target(None)?;
        broker.kill(forget)?;
        self.stack.relay.cut()?;
        self.stack.relay.set_target(Some(broker.address))
    }

    /// Stops the server cleanly; gives its data folder.
    ///
    /// # Errors
    /// It does not stop cleanly.
    pub fn stop_server(&mut self) -> Result<PathBuf> {
        let mut server = self.stack.server.take().context("the server does not run")?;
        ensure!(server.stop()?.success(), "the server did not stop cleanly: {}", server.tail());
        self.stack.relay.set_target(None)?;
        Ok(self.stack.folder().join("data"))
    }

    /// Lets everything run for a time from this range: part of the scenario, not a wait for a condition.
    pub fn go_on(&self, random: &mut Rng, range_ms: std::ops::Range<u64>) {
        let span = Duration::from_millis(random.u64(range_ms));
        let _ = wait_for::<()>("the span to be over", span, || None);
    }

    /// Readings that the gateway has logged as buffered so far.
    ///
    /// # Errors
    /// Its log is not as documented.
    pub fn buffered(&self) -> Result<usize> {
        let now = self.stack.gateway.as_ref().map(|gateway| batches(&gateway.output())).transpose()?.unwrap_or_default();
        Ok(self.lives.iter().flatten().chain(&now).map(|batch| batch.readings.len()).sum())
    }

    /// With everything healed: stops the gateway cleanly, starts it once more, and waits until all that it had buffered by then is
    /// in the store or in a gap record.
    ///
    /// # Errors
    /// It does not come in time, or something came twice or changed.
    pub fn settle(mut self, wanted: Gaps) -> Result<Balance> {
        let mut gateway = self.stack.gateway.take().context("the gateway does not run")?;
        let ended = gateway.stop()?;
        ensure!(ended.success(), "the gateway did not stop cleanly: {}", gateway.tail());
        self.lives.push(batches(&gateway.output())?);
        self.start_gateway()?;
        let api = self.stack.api()?;
        let look = || balance(&self.lives, &stored(api, GATEWAY)?, &gaps(api, GATEWAY)?);
        let mut last = String::new();
        let found = wait_for("all that was buffered to be in the store or in a gap record", CATCH_UP, || {
            let found = look();
            last = format!("{found:?}");
            // What a hello left out is "not held" until the gateway's own record comes with the next batch and says how much it was.
            let told = |found: &Balance| wanted != Gaps::Numbered || found.unnumbered == 0;
            found.ok().filter(|found| found.lost == 0 && told(found))
        });
        let tail = |program: &Option<Program>| program.as_ref().map(Program::tail).unwrap_or_default();
        let found = found.with_context(|| format!("{last}\n{}\n{}", tail(&self.stack.gateway), tail(&self.stack.server)))?;
        ensure!(found.holds(), "{found:?}");
        let keys = self.lives.iter().flatten().flat_map(|batch| batch.readings.keys());
        let points: BTreeSet<_> = keys.filter(|(device, _, _)| device != "this-host").map(|(device, point, _)| (device, point)).collect();
        let expected = usize::from(self.load.meters) * self.load.points;
        ensure!(points.len() == expected, "{expected} points should have come, only these did: {points:?}");
        Ok(found)
    }
}

/// What a cell must come to, beside the equation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gaps {
    /// No fault of it is a reason to drop anything.
    None,
    /// Something was dropped, and how much of it is known.
    Numbered,
    /// Something may be gone for good, in a number that nobody knows.
    Any,
}

/// Runs the rounds of a cell, each on a plant of its own, and prints the line of the table for it.
///
/// # Errors
/// A round fails: names its seed.
pub fn cell(
    name: &str,
    few: u64,
    gaps: Gaps,
    start: impl Fn(&mut Rng) -> Result<Plant>,
    fail: impl Fn(&mut Rng, &mut Plant) -> Result<()>,
) -> Result<()> {
    let number = |key: &str| std::env::var(key).ok().map(|text| text.parse::<u64>().with_context(|| format!("{key}={text}"))).transpose();
    // Short enough to be typed.
    let first = number("PATTOO_TEST_SEED")?.unwrap_or_else(|| fastrand::u64(..1_000_000));
    let rounds = number("PATTOO_TEST_ROUNDS")?.unwrap_or(few);
    let (mut sum, mut faults, began) = (Balance::default(), 0, Instant::now());
    for seed in first..first + rounds {
        eprintln!("{name}: PATTOO_TEST_SEED={seed} PATTOO_TEST_ROUNDS=1");
        let round = || {
            let mut random = Rng::with_seed(seed);
            let mut plant = start(&mut random)?;
            plant.seed = seed;
            fail(&mut random, &mut plant)?;
            faults += plant.faults;
            let found = plant.settle(gaps)?;
            let as_expected = match gaps {
                Gaps::None => found.in_gaps == 0,
                Gaps::Numbered => found.in_gaps > 0 && found.unnumbered == 0,
                Gaps::Any => true,
            };
            ensure!(as_expected, "gaps should be {gaps:?}: {found:?}");
            anyhow::Ok(found)
        };
        sum.add(&{ round }().with_context(|| format!("{name}: again with PATTOO_TEST_SEED={seed} PATTOO_TEST_ROUNDS=1"))?);
    }
    ensure!(faults > 0 || rounds == 0, "{name}: nothing failed");
    let Balance { buffered, stored, in_gaps, unnumbered, unlogged, lost, twice } = sum;
    let last = first + rounds.saturating_sub(1);
    eprintln!(
        "| {name} | {rounds} | {first} to {last} | {faults} | {buffered} | {stored} | {in_gaps} | {unnumbered} | {lost} | {twice} | {unlogged} | {:.0} |",
        began.elapsed().as_secs_f64()
    );
    Ok(())
}
