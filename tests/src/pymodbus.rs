//! A Modbus TCP device of pymodbus, a peer that we did not write, as a child process.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::program::Program;
use crate::{python, root};

/// A running device; it ends with this value.
pub struct PymodbusDevice {
    /// Where it listens, on 127.0.0.1.
    pub port: u16,
    _program: Program,
}

impl PymodbusDevice {
    /// Starts a device that serves `{unit: {table: {address: word}}}` of this JSON file, and waits until it listens.
    ///
    /// # Errors
    /// There is no Python with pymodbus, or the device does not start.
    pub fn start(units: &Path) -> Result<Self> {
        let script = root().join("tests/peers/modbus_device.py");
        let program = Program::start("pymodbus", Command::new(python()?).arg(script).arg(units))?;
        let line = program.wait_line("pymodbus to listen", |line| line.starts_with("listening "))?;
        let port = line.trim_start_matches("listening ").trim().parse().with_context(|| format!("no port in {line:?}"))?;
        Ok(Self { port, _program: program })
    }
}
