//! A BACnet/IP device of bacpypes3, a peer that we did not write, as a child process.

use std::cell::Cell;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::program::Program;
use crate::{python, root};

/// A running device; it ends with this value.
pub struct BacpypesDevice {
    /// Where it listens. It never answers 127.x at this same port number: whoever asks it sits at another one.
    pub address: SocketAddrV4,
    program: Program,
    said: Cell<u32>,
    _folder: tempfile::TempDir,
}

impl BacpypesDevice {
    /// Starts a device at 127.0.0.1 and a free port, with what `tests/peers/bacnet_device.py` wants to know, and waits until it listens.
    ///
    /// # Errors
    /// There is no Python with bacpypes3, or the device does not start.
    pub fn start(told: &Value) -> Result<Self> {
        Self::start_at(told, SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0))
    }

    /// The same at this address of 127.0.0.0/8; port 0 is a free one. Devices at one port, each with an address of its own, hear the same
    /// broadcasts: those to 127.255.255.255 at that port.
    ///
    /// # Errors
    /// There is no Python with bacpypes3, or the device does not start.
    pub fn start_at(told: &Value, at: SocketAddrV4) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("device.json");
        std::fs::write(&file, told.to_string())?;
        let mut command = Command::new(python()?);
        command.arg(root().join("tests/peers/bacnet_device.py")).arg(file).arg(at.ip().to_string()).arg(at.port().to_string());
        let program = Program::start("bacpypes3", &mut command)?;
        let line = program.wait_line("bacpypes3 to listen", |line| line.starts_with("listening ") || line.contains("Error"))?;
        let Some(address) = line.strip_prefix("listening ") else { bail!("{}", program.tail()) };
        let address = address.trim().parse().with_context(|| format!("no address in {line:?}"))?;
        Ok(Self { address, program, said: Cell::new(0), _folder: folder })
    }

    /// Where its broadcasts go, and where it hears those of others.
    #[must_use]
    pub fn broadcast(&self) -> SocketAddrV4 {
        SocketAddrV4::new(Ipv4Addr::new(127, 255, 255, 255), self.address.port())
    }

    /// Gives it a command of `tests/peers/bacnet_device.py` and waits for its answer.
    ///
    /// # Errors
    /// It refuses, or has ended.
    pub fn ask(&self, command: &str) -> Result<Value> {
        let number = self.said.get() + 1;
        self.said.set(number);
        self.program.say(command)?;
        let start = format!("answer {number} ");
        let line = self.program.wait_line(&format!("an answer to {command:?}"), |line| line.starts_with(&start))?;
        let answer: Value = serde_json::from_str(line.strip_prefix(&start).unwrap_or_default())?;
        if let Some(why) = answer.get("error") {
            bail!("{command}: {why}");
        }
        Ok(answer)
    }

    /// What it holds.
    ///
    /// # Errors
    /// There is no such object or property.
    pub fn get(&self, object: &str, instance: u32, property: &str) -> Result<Value> {
        self.ask(&format!("get {object} {instance} {property}"))
    }

    /// Has it change a value by itself; whoever subscribed is told.
    ///
    /// # Errors
    /// There is no such object or property, or the value does not fit.
    pub fn set(&self, object: &str, instance: u32, property: &str, value: &Value) -> Result<()> {
        self.ask(&format!("set {object} {instance} {property} {value}")).map(drop)
    }
}
