//! A Modbus device of libmodbus, a peer that we did not write, as a child process.

use std::fmt::Write;
use std::process::Command;

use anyhow::Result;

use crate::cc::built;
use crate::program::Program;

/// A running device; it ends with this value.
pub struct LibmodbusDevice {
    /// Where it listens: a port of 127.0.0.1, or the path of a pseudo terminal.
    pub address: String,
    _words: tempfile::NamedTempFile,
    _program: Program,
}

impl LibmodbusDevice {
    /// Starts a device that serves these words by table and address, as `tcp` or `serial`, and waits until it listens.
    ///
    /// # Errors
    /// There is no libmodbus, or the device does not start.
    pub fn start(unit: u8, way: &str, words: &[(&str, u16, u16)]) -> Result<Self> {
        let file = tempfile::NamedTempFile::new()?;
        let mut text = String::new();
        for (table, address, word) in words {
            writeln!(text, "{table} {address} {word}")?;
        }
        std::fs::write(file.path(), text)?;
        let device = built("libmodbus_device", &[], &["-lmodbus", "-lpthread"])?;
        let program = Program::start("libmodbus", Command::new(device).arg(file.path()).arg(unit.to_string()).arg(way))?;
        let line = program.wait_line("libmodbus to listen", |line| line.starts_with("listening "))?;
        Ok(Self { address: line.trim_start_matches("listening ").trim().to_owned(), _words: file, _program: program })
    }
}
