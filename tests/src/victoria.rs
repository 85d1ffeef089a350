//! VictoriaMetrics as a child process: Debian's package, which `tests/run` unpacks and never installs, or a cluster that the environment names.

use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;
use ureq::Agent;

use crate::mosquitto::free_port;
use crate::program::{PATIENCE, Program};
use crate::{root, wait_for};

/// A folder with `vmstorage`, `vminsert` and `vmselect`, where somebody has them.
pub const CLUSTER: &str = "PATTOO_TEST_VICTORIA_CLUSTER";
/// The single binary, in place of Debian's.
pub const SINGLE: &str = "PATTOO_TEST_VICTORIA";
/// Longest answer that is read.
pub const MAX_ANSWER_BYTES: u64 = 1 << 30;
/// Copies of a reading in one millisecond count once; without this each resend would count again.
const DEDUPLICATE: &str = "-dedup.minScrapeInterval=1ms";
/// Nothing that a test writes may be too old.
const RETENTION: &str = "-retentionPeriod=100y";

/// The program that `tests/run` unpacked.
///
/// # Errors
/// It is not there.
pub fn program() -> Result<PathBuf> {
    let unpacked = || root().join("target/test-tools/victoria-metrics/usr/bin/victoria-metrics");
    let path = std::env::var_os(SINGLE).map_or_else(unpacked, PathBuf::from);
    ensure!(path.exists(), "{} is missing: run tests/run once, it unpacks Debian's victoria-metrics", path.display());
    Ok(path)
}

/// VictoriaMetrics that runs, with all that it keeps in a folder that goes with it.
pub struct Victoria {
    folder: TempDir,
    options: Vec<String>,
    /// Its processes; the last one answers queries.
    pub programs: Vec<Program>,
    /// Where readings are written.
    pub write: SocketAddr,
    /// Where queries are answered.
    pub read: SocketAddr,
    write_path: &'static str,
    read_path: &'static str,
    /// Where a flush is asked for.
    flush: Vec<SocketAddr>,
}

impl Victoria {
    /// The single binary, which takes a reading twice as once.
    ///
    /// # Errors
    /// It is missing or does not get ready.
    pub fn start() -> Result<Self> {
        Self::start_with(&[DEDUPLICATE])
    }

    /// The same with these options in place of the one that de-duplicates.
    ///
    /// # Errors
    /// The same.
    pub fn start_with(options: &[&str]) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("pattoo-victoria-").tempdir()?;
        let at = free_port()?;
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        let (write_path, read_path) = ("", "");
        let mut started = Self { folder, options, programs: Vec::new(), write: at, read: at, write_path, read_path, flush: vec![at] };
        started.run()?;
        Ok(started)
    }

    fn run(&mut self) -> Result<()> {
        let mut command = Command::new(program()?);
        let data = self.folder.path().join("data");
        command.arg(format!("-httpListenAddr={}", self.read)).arg(format!("-storageDataPath={}", data.display())).arg(RETENTION);
        self.programs = vec![ready("victoria-metrics", command.args(&self.options), self.read)?];
        Ok(())
    }

    /// A cluster of one member each, where the environment has it; none where it does not.
    ///
    /// # Errors
    /// The folder lacks a program, or one does not get ready.
    pub fn start_cluster() -> Result<Option<Self>> {
        let Some(programs) = std::env::var_os(CLUSTER).map(PathBuf::from) else { return Ok(None) };
        let folder = tempfile::Builder::new().prefix("pattoo-victoria-").tempdir()?;
        let (storage, takes, gives, write, read) = (free_port()?, free_port()?, free_port()?, free_port()?, free_port()?);
        let start = |name: &str, http: SocketAddr, options: &[String]| {
            let mut command = Command::new(programs.join(name));
            command.arg(format!("-httpListenAddr={http}")).args(options).current_dir(folder.path());
            ready(name, &mut command, http)
        };
        let data = folder.path().join("data").display().to_string();
        let (takes_at, gives_at) = (format!("-vminsertAddr={takes}"), format!("-vmselectAddr={gives}"));
        let of_storage = [format!("-storageDataPath={data}"), takes_at, gives_at, RETENTION.to_owned(), DEDUPLICATE.to_owned()];
        let started = vec![
            start("vmstorage", storage, &of_storage)?,
            start("vminsert", write, &[format!("-storageNode={takes}")])?,
            start("vmselect", read, &[format!("-storageNode={gives}"), DEDUPLICATE.to_owned()])?,
        ];
        let (write_path, read_path) = ("/insert/0/prometheus", "/select/0/prometheus");
        let (options, flush) = (Vec::new(), vec![storage]);
        Ok(Some(Self { folder, options, programs: started, write, read, write_path, read_path, flush }))
    }

    /// SIGKILL, and the same again with what was kept.
    ///
    /// # Errors
    /// It does not get ready. A cluster cannot be killed like this.
    pub fn kill(&mut self) -> Result<()> {
        ensure!(self.programs.len() == 1, "only the single binary is started again");
        self.programs.iter_mut().for_each(|program| drop(program.kill()));
        self.run()
    }

    /// SIGKILL, and nothing more.
    pub fn down(&mut self) {
        self.programs.iter_mut().for_each(|program| drop(program.kill()));
    }

    /// The single binary again, after [`Victoria::down`].
    ///
    /// # Errors
    /// It does not get ready.
    pub fn up(&mut self) -> Result<()> {
        self.run()
    }

    /// URLs where a flush is asked for.
    #[must_use]
    pub fn flush_urls(&self) -> Vec<String> {
        self.flush.iter().map(|at| format!("http://{at}/internal/force_flush")).collect()
    }

    /// URL of a path of Prometheus' remote write.
    #[must_use]
    pub fn write_url(&self) -> String {
        format!("http://{}{}", self.write, self.write_path)
    }

    /// URL in front of `/api/v1/…`.
    #[must_use]
    pub fn read_url(&self) -> String {
        format!("http://{}{}", self.read, self.read_path)
    }

    /// Its folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a message of remote write, which must be taken.
    ///
    /// # Errors
    /// It is refused.
    pub fn write(&self, agent: &Agent, message: &[u8]) -> Result<()> {
        let request = agent.post(format!("{}/api/v1/write", self.write_url())).header("Content-Encoding", "snappy");
        let mut answer = request.content_type("application/x-protobuf").send(message)?;
        let status = answer.status();
        ensure!(status.is_success(), "remote write gave {status}: {}", answer.body_mut().read_to_string()?);
        Ok(())
    }

    /// Asks below `/api/v1/`, which must succeed; parameters go as a form, because selectors get long.
    ///
    /// # Errors
    /// It is refused.
    pub fn ask(&self, agent: &Agent, path: &str, parameters: &[(&str, &str)]) -> Result<Vec<u8>> {
        let url = format!("{}/api/v1/{path}", self.read_url());
        let mut answer = agent.post(&url).send_form(parameters.iter().copied())?;
        let mut body = Vec::new();
        answer.body_mut().with_config().limit(MAX_ANSWER_BYTES).reader().read_to_end(&mut body)?;
        let status = answer.status();
        ensure!(status.is_success(), "{path} gave {status}: {}", String::from_utf8_lossy(&body));
        Ok(body)
    }

    /// Lets all that was written be seen, and be on disk.
    ///
    /// # Errors
    /// It is refused.
    pub fn flush(&self, agent: &Agent) -> Result<()> {
        for url in self.flush_urls() {
            let answer = agent.get(url).call()?;
            ensure!(answer.status().is_success(), "force_flush gave {}", answer.status());
        }
        Ok(())
    }
}

/// A client whose errors of HTTP are answers.
#[must_use]
pub fn agent() -> Agent {
    let within = Some(Duration::from_secs(120));
    Agent::new_with_config(Agent::config_builder().http_status_as_error(false).timeout_global(within).build())
}

/// Starts one, and waits until it serves.
fn ready(name: &str, command: &mut Command, at: SocketAddr) -> Result<Program> {
    let mut program = Program::start(name, command)?;
    let agent = agent();
    let healthy = || agent.get(format!("http://{at}/health")).call().is_ok_and(|answer| answer.status().is_success());
    wait_for(&format!("{name} to serve"), PATIENCE, || healthy().then_some(())).with_context(|| program.kill().join("\n"))?;
    Ok(program)
}
