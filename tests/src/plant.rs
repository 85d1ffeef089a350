//! A server, a gateway that may write, a pymodbus device with outputs, and somebody with an account who sends commands.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use pattoo_gateway::clock::now_ms;
use pattoo_wire::topic;
use serde_json::{Value, json};

use crate::mqtt::{Connect, Raw, code};
use crate::program::binary;
use crate::pymodbus::PymodbusDevice;
use crate::site::{Site, id, token_of};

/// The gateway.
pub const GATEWAY: &str = "plant7";
/// The account that may send it commands.
pub const SCADA: &str = "scada";

/// Outputs of each kind. Each takes another function; what is read in between is 0.
const PROFILE: &str = "\
schema: 1
id: test-io
manufacturer: Pattoo
model: a device with outputs
points:
  - { name: relay, read: { coil: 0 }, states: { 0: off, 1: on }, writable: true }
  - { name: valve, read: { coil: 1 }, writable: { function: 15 } }
  - { name: slow, read: { coil: 2 }, writable: { settle: 2s } }
  - { name: speed, read: { holding: 0, type: u16, scale: 0.1 }, writable: { min: 0, max: 90 } }
  - { name: level, read: { holding: 2, type: f32 }, writable: { min: -10, max: 10 } }
  - { name: limit, read: { holding: 4, type: u16 }, writable: { min: 0, max: 9, function: 16 } }
  - { name: mode, read: { holding: 8, type: u16, bits: [0, 2] }, writable: { min: 0, max: 7, function: 22 } }
  - { name: flag, read: { holding: 8, type: u16, bit: 15 }, writable: true }
  - { name: spare, read: { holding: 9, type: u16 }, writable: { min: 0, max: 9 } }
  - { name: counter, read: { holding: 10, type: u16 } }
";

/// All of it, running.
pub struct Plant {
    /// The server and the gateway.
    pub site: Site,
    /// The device; none once it is dead.
    pub device: Option<PymodbusDevice>,
    /// Its link in the gateway's config.
    link: String,
    /// The secret of [`SCADA`].
    pub token: String,
    /// The gateway's config.
    pub config: PathBuf,
    sent: usize,
}

impl Plant {
    /// Starts all but the gateway. The device is reached by `tcp`, `rtu-over-tcp` or `serial`.
    ///
    /// # Errors
    /// Something does not get ready.
    pub fn start(way: &str) -> Result<Self> {
        let mut site = Site::start("auto", "127.0.0.1")?;
        let folder = site.stack.folder().join("profiles");
        std::fs::create_dir(&folder)?;
        std::fs::write(folder.join("test-io.yaml"), PROFILE)?;
        site.stack.more_profiles = Some(folder);
        let units = site.stack.folder().join("units.json");
        let zeros = |count: u16| (0..count).map(|at| (at.to_string(), json!(0))).collect::<serde_json::Map<_, _>>();
        std::fs::write(&units, json!({ "1": { "coil": zeros(8), "holding": zeros(11) } }).to_string())?;
        let device = PymodbusDevice::start_as(&units, way)?;
        let link = match way {
            "tcp" => format!("tcp: '127.0.0.1:{}'", device.port),
            "rtu-over-tcp" => format!("rtu_over_tcp: '127.0.0.1:{}'", device.port),
            _ => format!("serial: {}, baud: 19200, parity: none", device.address),
        };
        let token = token_of(SCADA, &site.change(&["add", SCADA, "--commands", GATEWAY, "--json"], "")?)?;
        let config = site.stack.folder().join("gateway.yaml");
        Ok(Self { site, device: Some(device), link, token, config, sent: 0 })
    }

    /// Starts the gateway; `commands` is that section of its config, `writable` that key of its device.
    ///
    /// # Errors
    /// It does not get ready.
    pub fn start_gateway(&mut self, commands: &str, writable: &str) -> Result<()> {
        let link = format!("links: {{ plc: {{ {}, timeout: 1s }} }}", self.link);
        // Nothing but what is read around a write reaches the server.
        let device = format!("devices: [ {{ name: io, profile: test-io, link: plc, every: 24h, writable: {writable} }} ]");
        self.config = self.site.stack.configure_gateway(GATEWAY, &format!("{commands}\n{link}\n{device}\n"))?;
        self.site.stack.start_gateway(&self.config)?;
        let gateway = self.site.stack.gateway.as_ref().context("it runs")?;
        let ready = if commands.contains("enabled: true") { "commands are taken" } else { "connected to the broker" };
        gateway.wait_line("the gateway to be ready", |line| line.contains(ready))?;
        Ok(())
    }

    /// A connection of whoever may send commands; it hears the answers.
    ///
    /// # Errors
    /// The broker refuses it.
    pub fn commander(&self) -> Result<Raw> {
        let mut raw = Raw::plain(self.site.plain)?.connected(Connect::as_id(&id(SCADA)).login(SCADA, &self.token))?;
        let answer = raw.subscribe(&topic::command_result(GATEWAY))?;
        ensure!(answer == code::GRANTED_1, "refused with {answer}");
        Ok(raw)
    }

    /// A command for the device that is good for a minute, with an id of its own.
    pub fn command(&mut self, point: &str, value: Value) -> Value {
        self.sent += 1;
        json!({ "id": format!("c{}", self.sent), "device": "io", "point": point, "value": value, "expires_ms": now_ms() + 60_000, "by": "a test" })
    }

    /// What the audit record of the gateway holds, line by line.
    #[must_use]
    pub fn audit(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.site.stack.folder().join("audit.jsonl")).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// What a point of the device is, read past the running gateway.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(&self, point: &str) -> Result<Value> {
        let mut command = Command::new(binary("pattoo-gateway")?);
        command.arg("--config").arg(&self.config).arg("--profiles").arg(crate::profiles());
        if let Some(folder) = &self.site.stack.more_profiles {
            command.arg("--profiles").arg(folder);
        }
        let output = command.args(["poll", "io", "--json"]).output()?;
        let polled: Value = serde_json::from_slice(&output.stdout)?;
        let readings = polled.pointer("/0/readings").and_then(Value::as_array).context("no readings")?;
        let reading = readings.iter().find(|reading| reading.get("point").is_some_and(|name| name == point));
        Ok(reading.and_then(|reading| reading.get("value")).cloned().unwrap_or_default())
    }
}

/// Sends a command.
///
/// # Errors
/// The broker refuses it.
pub fn send(raw: &mut Raw, command: &Value) -> Result<()> {
    let answer = raw.publish(&topic::command(GATEWAY), false, command.to_string().as_bytes())?;
    ensure!(answer < 0x80, "refused with {answer:02x}");
    Ok(())
}

/// The next answer of the gateway.
///
/// # Errors
/// None comes in time.
pub fn result(raw: &mut Raw) -> Result<Value> {
    let (topic, message) = raw.message()?;
    ensure!(topic == topic::command_result(GATEWAY), "{topic}");
    Ok(serde_json::from_slice(&message)?)
}

/// Sends a command and waits for its answer, which must have this outcome.
///
/// # Errors
/// It has another one, or none comes.
pub fn ask(raw: &mut Raw, command: &Value, outcome: &str) -> Result<Value> {
    send(raw, command)?;
    let result = result(raw)?;
    ensure!(result.get("outcome").is_some_and(|found| found == outcome), "{command} is not {outcome}: {result}");
    let same = |key: &str| command.get(key).is_none() || result.get(key) == command.get(key);
    ensure!(["id", "device", "point"].into_iter().all(same), "{command}: {result}");
    Ok(result)
}
