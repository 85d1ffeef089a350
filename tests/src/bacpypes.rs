//! BACnet/IP devices and a client of bacpypes3, peers that we did not write, as child processes.

use std::cell::Cell;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::program::Program;
use crate::{python, root, wait_for};

/// How long a notification may be on its way on a loaded machine.
const TOLD_WITHIN: Duration = Duration::from_secs(30);

/// A program that answers each line by one of its own.
struct Peer {
    program: Program,
    said: Cell<u32>,
}

impl Peer {
    fn start(script: &str, arguments: &[&str]) -> Result<Self> {
        let mut command = Command::new(python()?);
        command.arg(root().join("tests/peers").join(script)).args(arguments);
        Ok(Self { program: Program::start("bacpypes3", &mut command)?, said: Cell::new(0) })
    }

    fn ask(&self, command: &str) -> Result<Value> {
        let number = self.said.get() + 1;
        self.said.set(number);
        self.program.say(command)?;
        let start = format!("answer {number} ");
        let line = self.program.wait_line(&format!("an answer to {command:?}"), |line| line.starts_with(&start))?;
        Ok(serde_json::from_str(line.strip_prefix(&start).unwrap_or_default())?)
    }
}

/// A running device; it ends with this value.
pub struct BacpypesDevice {
    /// Where it listens. It never answers 127.x at this same port number: whoever asks it sits at another one.
    pub address: SocketAddrV4,
    peer: Peer,
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
        let peer = Peer::start("bacnet_device.py", &[&file.to_string_lossy(), &at.ip().to_string(), &at.port().to_string()])?;
        let line = peer.program.wait_line("bacpypes3 to listen", |line| line.starts_with("listening ") || line.contains("Error"))?;
        let Some(address) = line.strip_prefix("listening ") else { bail!("{}", peer.program.tail()) };
        let address = address.trim().parse().with_context(|| format!("no address in {line:?}"))?;
        Ok(Self { address, peer, _folder: folder })
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
        let answer = self.peer.ask(command)?;
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

/// A running client of one device; it ends with this value.
pub struct BacpypesClient {
    peer: Peer,
}

impl BacpypesClient {
    /// Starts a client of the device at this address, or at `NETWORK:0xMAC@IP:PORT`.
    ///
    /// # Errors
    /// There is no Python with bacpypes3, or the client does not start.
    pub fn start(target: &str) -> Result<Self> {
        let peer = Peer::start("bacnet_client.py", &[target])?;
        peer.program.wait_line("bacpypes3 to be ready", |line| line == "ready")?;
        Ok(Self { peer })
    }

    /// Gives it a command of `tests/peers/bacnet_client.py` and waits for its answer, which may be that it was refused.
    ///
    /// # Errors
    /// It has ended.
    pub fn ask(&self, command: &str) -> Result<Value> {
        self.peer.ask(command)
    }

    /// Waits until it was told more than so many changes of an object; gives all of them: a value and its flags each.
    ///
    /// # Errors
    /// It was not.
    pub fn told_more_than(&self, count: usize, object: &str, instance: u32) -> Result<Vec<Value>> {
        wait_for(&format!("a change of {object} {instance}"), TOLD_WITHIN, || {
            let told = self.ask(&format!("notified {object} {instance}")).ok()?;
            told.as_array().filter(|told| told.len() > count).cloned()
        })
    }
}
