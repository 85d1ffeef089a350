//! A Modbus device of pymodbus, a peer that we did not write, as a child process.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::program::Program;
use crate::{python, root};

/// A running device; it ends with this value.
pub struct PymodbusDevice {
    /// Where it listens, on 127.0.0.1; 0 for a serial one.
    pub port: u16,
    /// Where it listens: a port or the path of a pseudo terminal.
    pub address: String,
    _program: Program,
}

impl PymodbusDevice {
    /// Starts a Modbus TCP device that serves `{unit: {table: {address: word}}}` of this JSON file, and waits until it listens.
    ///
    /// # Errors
    /// There is no Python with pymodbus, or the device does not start.
    pub fn start(units: &Path) -> Result<Self> {
        Self::start_as(units, "tcp")
    }

    /// The same as `tcp`, `rtu-over-tcp` or `serial`.
    ///
    /// # Errors
    /// There is no Python with pymodbus, or the device does not start.
    pub fn start_as(units: &Path, way: &str) -> Result<Self> {
        Self::start_with(units, way, &[])
    }

    /// The same as `tls`, with its certificate and key, and the authority that must have signed those of its clients.
    ///
    /// # Errors
    /// There is no Python with pymodbus, or the device does not start.
    pub fn start_with_tls(units: &Path, (certificate, key): (&Path, &Path), authority: &Path) -> Result<Self> {
        Self::start_with(units, "tls", &[certificate, key, authority])
    }

    fn start_with(units: &Path, way: &str, files: &[&Path]) -> Result<Self> {
        let script = root().join("tests/peers/modbus_device.py");
        let program = Program::start("pymodbus", Command::new(python()?).arg(script).arg(units).arg(way).args(files))?;
        let line = program.wait_line("pymodbus to listen", |line| line.starts_with("listening "))?;
        let address = line.trim_start_matches("listening ").trim().to_owned();
        let port = if way == "serial" { 0 } else { address.parse().with_context(|| format!("no port in {line:?}"))? };
        Ok(Self { port, address, _program: program })
    }
}
