//! A whole installation in a folder of its own: a server, a gateway that reaches it through a relay, and a meter.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::api::Api;
use crate::fault::Relay;
use crate::program::{Program, binary};
use crate::wait_for;

/// One installation. Programs that still run are killed with it.
pub struct Stack {
    folder: tempfile::TempDir,
    /// The link between gateway and broker.
    pub relay: Relay,
    /// The server, where it runs.
    pub server: Option<Program>,
    /// The gateway, where it runs.
    pub gateway: Option<Program>,
    /// A folder of profiles beside the shipped ones.
    pub more_profiles: Option<PathBuf>,
    /// Command that starts the gateway's own, for example in another network.
    pub gateway_within: Vec<String>,
    /// What the gateway's config says of its clock; it is right, unless a test is about that.
    pub clock: String,
    bound: Value,
    starts: usize,
}

impl Stack {
    /// An installation with nothing started yet.
    ///
    /// # Errors
    /// No folder or port can be had.
    pub fn new() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("pattoo-").tempdir()?;
        let (more_profiles, gateway_within) = (None, Vec::new());
        let (relay, clock) = (Relay::listen()?, "{ trust: system }".to_owned());
        Ok(Self { folder, relay, server: None, gateway: None, more_profiles, gateway_within, clock, bound: Value::Null, starts: 0 })
    }

    /// Its folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Starts the server with its embedded broker on free ports, and lets the relay lead to it.
    ///
    /// # Errors
    /// It does not get ready.
    pub fn start_server(&mut self) -> Result<()> {
        let config = self.folder().join("server.yaml");
        let data = self.folder().join("data");
        std::fs::write(
            &config,
            format!(
                "data: {}\nhttp: {{ listen: 127.0.0.1:0, anonymous: viewer }}\nbroker: {{ listen: 127.0.0.1:0 }}\nagents: {{ listen: 127.0.0.1:0 }}\n",
                data.display()
            ),
        )?;
        self.start_server_with(&config)
    }

    /// Starts the server with this config.
    ///
    /// # Errors
    /// It does not get ready.
    pub fn start_server_with(&mut self, config: &Path) -> Result<()> {
        let ready = self.ready_file();
        let mut command = Command::new(binary("pattoo-server")?);
        command.arg("run").arg("--config").arg(config).arg("--ready-file").arg(&ready);
        let mut server = Program::start("server", &mut command)?;
        let bound = server.wait_ready(&ready)?;
        self.server = Some(server);
        self.bound = bound;
        self.reach_server()
    }

    /// Lets the relay lead to the server's own broker, if it has one.
    ///
    /// # Errors
    /// The relay has died.
    pub fn reach_server(&self) -> Result<()> {
        match self.bound.get("mqtt").is_some_and(Value::is_string) {
            true => self.relay.set_target(Some(self.address("mqtt")?)),
            false => Ok(()),
        }
    }

    /// SIGKILL for the server; the relay refuses until the next start.
    ///
    /// # Errors
    /// The relay has died.
    pub fn kill_server(&mut self) -> Result<()> {
        self.relay.set_target(None)?;
        if let Some(mut server) = self.server.take() {
            server.kill();
        }
        Ok(())
    }

    /// Writes the gateway's config: its devices, and the way to the relay.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn configure_gateway(&self, name: &str, links_and_devices: &str) -> Result<PathBuf> {
        let config = self.folder().join("gateway.yaml");
        std::fs::write(
            &config,
            format!(
                "gateway: {name}\nuplink: {{ url: 'mqtt://{}', ack_timeout: 2s }}\nbuffer: {{ path: {}, max_bytes: 64MiB }}\nbatch: {{ every: 1s }}\nclock: {}\n{links_and_devices}",
                self.relay.address(),
                self.folder().join("buffer").display(),
                self.clock
            ),
        )?;
        Ok(config)
    }

    /// Starts the gateway; it prints what it has durably buffered.
    ///
    /// # Errors
    /// It does not get ready.
    pub fn start_gateway(&mut self, config: &Path) -> Result<()> {
        let ready = self.ready_file();
        let mut command = self.gateway_command()?;
        command.env("PATTOO_LOG", "info,pattoo_gateway::uplink=debug,pattoo::buffered=trace").arg("--log-format").arg("json");
        command.arg("--config").arg(config).arg("--profiles").arg(crate::profiles());
        if let Some(folder) = &self.more_profiles {
            command.arg("--profiles").arg(folder);
        }
        command.arg("run").arg("--ready-file").arg(&ready);
        let mut gateway = Program::start("gateway", &mut command)?;
        gateway.wait_ready(&ready)?;
        self.gateway = Some(gateway);
        Ok(())
    }

    /// The gateway's program, where [`Stack::gateway_within`] says.
    ///
    /// # Errors
    /// It does not build.
    pub fn gateway_command(&self) -> Result<Command> {
        let program = binary("pattoo-gateway")?;
        let Some((first, rest)) = self.gateway_within.split_first() else { return Ok(Command::new(program)) };
        let mut command = Command::new(first);
        command.args(rest).arg(program);
        Ok(command)
    }

    /// The server's API.
    ///
    /// # Errors
    /// The server was never started.
    pub fn api(&self) -> Result<Api> {
        Ok(Api { address: self.address("http").context("the server was never started")? })
    }

    /// An address of the server by the name that its ready file has for it: `http`, `mqtt`, `mqtts` or `agents`.
    ///
    /// # Errors
    /// It has none.
    pub fn address(&self, key: &str) -> Result<SocketAddr> {
        address(&self.bound, key)
    }

    fn ready_file(&mut self) -> PathBuf {
        self.starts += 1;
        self.folder().join(format!("ready-{}.json", self.starts))
    }
}

fn address(bound: &Value, key: &str) -> Result<SocketAddr> {
    let text = bound.get(key).and_then(Value::as_str).with_context(|| format!("no {key:?} in {bound}"))?;
    text.parse().with_context(|| format!("{key}: {text}"))
}

/// (device, point, time) -> (value as JSON, quality).
pub type Readings = BTreeMap<(String, String, i64), (Value, String)>;

/// Waits until the store holds these readings, each as it was buffered; gives all that it holds.
///
/// # Errors
/// They do not come within the bound, or one of them came differently: says which, and how often it looked in vain.
pub fn wait_stored(api: Api, gateway: &str, expected: &Readings, bound: Duration) -> Result<Readings> {
    let mut last = String::new();
    let held = wait_for("the store to hold all that was buffered", bound, || {
        let held = match stored(api, gateway) {
            Ok(held) => held,
            Err(why) => {
                last = format!("{why:#}");
                return None;
            }
        };
        let missing: Vec<_> = expected.keys().filter(|key| !held.contains_key(*key)).collect();
        last = format!("{} of {} are missing, the first is {:?}", missing.len(), expected.len(), missing.first());
        missing.is_empty().then_some(held)
    });
    let held = held.with_context(|| last)?;
    for (key, logged) in expected {
        let held = held.get(key).with_context(|| format!("BUG: {key:?}"))?;
        ensure!(held == logged, "{key:?} was buffered as {logged:?} and is stored as {held:?}");
    }
    Ok(held)
}

/// What the gateway's log says is durably buffered: the law is about exactly these readings.
///
/// # Errors
/// A line that is not as documented, or one reading logged twice with different content.
pub fn buffered(log: &[String]) -> Result<Readings> {
    let mut readings = Readings::new();
    for line in log {
        let Ok(line) = serde_json::from_str::<Value>(line) else { continue };
        if line.get("target").and_then(Value::as_str) != Some("pattoo::buffered") {
            continue;
        }
        let Some(content) = line.pointer("/fields/content").and_then(Value::as_str) else { continue };
        for reading in serde_json::from_str::<Vec<(String, String, i64, Value, String)>>(content)? {
            let (device, point, at_ms, value, quality) = reading;
            readings.insert((device, point, at_ms), (value, quality));
        }
    }
    Ok(readings)
}

/// 2100-01-01: after every reading, whatever a clock says.
const END_OF_TIME_MS: i64 = 4_102_444_800_000;

/// Most series that the API gives at once.
const SERIES_AT_ONCE: usize = 50;

/// Everything that the store holds of a gateway, by the API. Fails when a series is not in strictly ascending time.
///
/// # Errors
/// The API fails, or a series is out of order or has a time twice.
pub fn stored(api: Api, gateway: &str) -> Result<Readings> {
    let mut readings = Readings::new();
    for series in series(api, gateway)?.chunks(SERIES_AT_ONCE) {
        let answer = range(api, series, 0)?;
        if answer.get("truncated").and_then(Value::as_bool) != Some(true) {
            for (at, one) in series.iter().enumerate() {
                take_in(&mut readings, one, &answer, at, 0)?;
            }
            continue;
        }
        // Too much for one answer: series by series.
        for one in series {
            let mut from = 0;
            loop {
                let answer = range(api, std::slice::from_ref(one), from)?;
                from = take_in(&mut readings, one, &answer, 0, from)?;
                if answer.get("truncated").and_then(Value::as_bool) != Some(true) {
                    break;
                }
            }
        }
    }
    Ok(readings)
}

/// A series as the API lists it.
struct Series {
    id: u64,
    device: String,
    point: String,
}

fn series(api: Api, gateway: &str) -> Result<Vec<Series>> {
    let list = api.json(&format!("/api/v1/series?gateway={gateway}&limit=1000"))?;
    let one = |series: &Value| {
        let text = |key: &str| series.get(key).and_then(Value::as_str).map(str::to_owned).context("a series without a name");
        Ok(Series { id: series.get("id").and_then(Value::as_u64).context("no id")?, device: text("device")?, point: text("point")? })
    };
    list.get("series").and_then(Value::as_array).context("no series in the answer")?.iter().map(one).collect()
}

fn range(api: Api, series: &[Series], from: i64) -> Result<Value> {
    let ids: Vec<_> = series.iter().map(|series| series.id.to_string()).collect();
    api.json(&format!("/api/v1/range?series={}&from={from}&to={END_OF_TIME_MS}&raw=true", ids.join(",")))
}

/// Takes the readings of one series of an answer; gives the time after the last.
fn take_in(readings: &mut Readings, series: &Series, answer: &Value, at: usize, mut from: i64) -> Result<i64> {
    let Series { device, point, .. } = series;
    let raw = answer.pointer(&format!("/series/{at}")).context("no series in the range")?;
    let column = |key: &str| raw.get(key).and_then(Value::as_array).with_context(|| format!("no column {key}"));
    for ((t, v), q) in column("t")?.iter().zip(column("v")?).zip(column("q")?) {
        let at_ms = t.as_i64().context("a time")?;
        ensure!(at_ms >= from, "{device}/{point}: {at_ms} stands behind {from}");
        from = at_ms + 1;
        readings.insert((device.clone(), point.clone(), at_ms), (v.clone(), q.as_str().unwrap_or_default().to_owned()));
    }
    Ok(from)
}

/// Readings that are on record as dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// Time of the first, ms since 1970.
    pub from_ms: i64,
    /// Time of the last.
    pub to_ms: i64,
    /// How many.
    pub readings: u64,
    /// Why.
    pub reason: String,
}

/// All gap records of a gateway, by the API.
///
/// # Errors
/// The API fails or leaves some out.
pub fn gaps(api: Api, gateway: &str) -> Result<Vec<Lost>> {
    // They come with any series of the gateway; its readings are not wanted here, so that one bucket is enough.
    let Some(first) = series(api, gateway)?.into_iter().next() else { return Ok(Vec::new()) };
    let answer = api.json(&format!("/api/v1/range?series={}&from=0&to={END_OF_TIME_MS}&points=1", first.id))?;
    ensure!(answer.get("gaps_left_out").and_then(Value::as_u64) == Some(0), "there are more gap records than the API gives at once");
    let one = |gap: &Value| {
        let number = |key: &str| gap.get(key).and_then(Value::as_i64).with_context(|| format!("no {key} in {gap}"));
        let reason = gap.get("reason").and_then(Value::as_str).context("no reason")?.to_owned();
        Ok(Lost { from_ms: number("from")?, to_ms: number("to")?, readings: number("readings")?.try_into()?, reason })
    };
    answer.get("gaps").and_then(Value::as_array).context("no gaps in the answer")?.iter().map(one).collect()
}
