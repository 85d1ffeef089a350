//! A Modbus TCP device of pymodbus as a child process. Shell. Judges nothing.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context as _, bail};

/// Python with pymodbus 3.16.1 in it, as `tests/run` installs it.
pub const PYTHON: &str = "PATTOO_TEST_PYTHON";

/// Longest wait for the device to listen. It takes half a second; a busy machine more.
const START_LIMIT: Duration = Duration::from_secs(60);

/// A running device; it ends with this value.
pub struct PymodbusDevice {
    /// Where it listens, on 127.0.0.1.
    pub port: u16,
    child: Child,
}

impl PymodbusDevice {
    /// Starts a device that serves `{unit: {table: {address: word}}}` of this JSON file, and waits until it listens.
    ///
    /// # Errors
    /// When there is no Python with pymodbus, or the device does not start.
    pub fn start(units: &Path) -> anyhow::Result<Self> {
        let python = std::env::var_os(PYTHON)
            .with_context(|| format!("{PYTHON} is not set: it names a Python with pymodbus==3.16.1; tests/run installs one and sets it"))?;
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("peers/modbus_device.py");
        let mut child = Command::new(&python)
            .arg(&script)
            .arg(units)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run {} {}", python.display(), script.display()))?;
        let stdout = child.stdout.take().context("BUG: the child has a piped stdout")?;
        let mut device = Self { port: 0, child };
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            let mut line = String::new();
            let read = BufReader::new(stdout).read_line(&mut line);
            let _ = sender.send(read.map(|_| line));
        });
        let line = receiver.recv_timeout(START_LIMIT).context("the pymodbus device does not listen")??;
        match line.trim().strip_prefix("listening ").and_then(|port| port.parse().ok()) {
            Some(port) => device.port = port,
            None => bail!("the pymodbus device said {line:?} instead of `listening PORT`; its complaint is above"),
        }
        Ok(device)
    }
}

impl Drop for PymodbusDevice {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
