//! A program under test: started, watched, killed without mercy, never left behind.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::{root, wait_for};

/// How long any program may take to get ready or to stop on a loaded machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A running program whose output is kept.
pub struct Program {
    name: String,
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    readers: Vec<JoinHandle<()>>,
}

impl Program {
    /// Starts it with both outputs captured line by line.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(name: &str, command: &mut Command) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {name}: {command:?}"))?;
        let lines = Arc::new(Mutex::new(Vec::new()));
        let outputs = [child.stdout.take().map(|o| Box::new(o) as Box<dyn Read + Send>), child.stderr.take().map(|o| Box::new(o) as _)];
        let readers = outputs.into_iter().flatten().map(|output| read_lines(output, Arc::clone(&lines))).collect();
        Ok(Self { name: name.to_owned(), child, lines, readers })
    }

    /// Everything it has printed so far.
    #[must_use]
    pub fn output(&self) -> Vec<String> {
        self.lines.lock().map(|lines| lines.clone()).unwrap_or_default()
    }

    /// Sends it a line.
    ///
    /// # Errors
    /// It no longer reads its input.
    pub fn say(&self, line: &str) -> Result<()> {
        let mut input = self.child.stdin.as_ref().with_context(|| format!("{} has no input", self.name))?;
        writeln!(input, "{line}").with_context(|| self.tail())
    }

    /// Waits for a line of its output.
    ///
    /// # Errors
    /// The line does not come; shows the last ones that did.
    pub fn wait_line(&self, what: &str, matches: impl Fn(&str) -> bool) -> Result<String> {
        wait_for(what, PATIENCE, || self.output().into_iter().find(|line| matches(line))).with_context(|| self.tail())
    }

    /// Waits for the file that a program writes once it is ready, and reads it as JSON.
    ///
    /// # Errors
    /// The program ends or the file does not come.
    pub fn wait_ready(&mut self, file: &Path) -> Result<serde_json::Value> {
        let parsed = wait_for(&format!("{} to be ready", self.name), PATIENCE, || {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Some(Err(status));
            }
            serde_json::from_slice(&std::fs::read(file).ok()?).ok().map(Ok)
        });
        match parsed.with_context(|| self.tail())? {
            Ok(json) => Ok(json),
            Err(status) => bail!("{} ended with {status} before it was ready\n{}", self.name, self.tail()),
        }
    }

    /// SIGKILL, and waits until it is gone and all its output has been read.
    pub fn kill(&mut self) -> Vec<String> {
        // It may have ended by itself already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.drain()
    }

    /// SIGTERM, then waits for a clean end.
    ///
    /// # Errors
    /// It does not stop in time.
    pub fn stop(&mut self) -> Result<ExitStatus> {
        signal(self.child.id(), "TERM")?;
        self.wait()
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// It does not end in time.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        let status = wait_for(&format!("{} to end", self.name), PATIENCE, || self.child.try_wait().ok().flatten());
        match status {
            Ok(_) => self.drain(),
            // Its output has no end before it has one.
            Err(_) => self.kill(),
        };
        status.with_context(|| self.tail())
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    fn drain(&mut self) -> Vec<String> {
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
        self.output()
    }

    /// Its last lines, for a failure; without the long ones that tell what was buffered.
    #[must_use]
    pub fn tail(&self) -> String {
        let output: Vec<_> = self.output().into_iter().filter(|line| line.len() < 2000).collect();
        let from = output.len().saturating_sub(30);
        format!("last output of {}:\n{}", self.name, output.get(from..).unwrap_or_default().join("\n"))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read_lines(output: Box<dyn Read + Send>, lines: Arc<Mutex<Vec<String>>>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if let Ok(mut lines) = lines.lock() {
                lines.push(line);
            }
        }
    })
}

/// Sends a signal by name.
///
/// # Errors
/// There is no such process.
pub fn signal(pid: u32, name: &str) -> Result<()> {
    let status = Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).status().context("kill")?;
    if !status.success() {
        bail!("kill -{name} {pid}: {status}");
    }
    Ok(())
}

/// The binary of a program of ours, freshly built.
///
/// # Errors
/// It does not build.
pub fn binary(name: &str) -> Result<PathBuf> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let folder = BUILT.get_or_init(|| build().map_err(|e| format!("{e:#}")));
    match folder {
        Ok(folder) => Ok(folder.join(name)),
        Err(why) => bail!("{why}"),
    }
}

/// Where the binaries are: `PATTOO_TEST_BIN`, or the folder of this test's own profile after a build of what is stale.
fn build() -> Result<PathBuf> {
    if let Some(folder) = std::env::var_os("PATTOO_TEST_BIN") {
        return Ok(folder.into());
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    // The whole workspace, so that features resolve as they did for the tests and nothing is built twice.
    let status = Command::new(cargo).args(["build", "--quiet", "--workspace", "--bins"]).current_dir(root()).status()?;
    if !status.success() {
        bail!("cargo build --workspace --bins: {status}");
    }
    let exe = std::env::current_exe()?;
    let folder = exe.ancestors().find(|path| path.join("pattoo-server").exists());
    Ok(folder.context("no pattoo-server beside this test")?.to_owned())
}
