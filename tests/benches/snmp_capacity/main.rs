//! What it costs to poll 500 SNMP agents of 50 columns each every 30 s, and what 20 silent ones among them cost the others.
//!
//! `cargo bench --profile edge --workspace --bench snmp_capacity > tests/bench/snmp-capacity.md`, in about six minutes. Built as it ships:
//! small. Fails when the polling side is over its target.
#![expect(clippy::print_stdout, reason = "its tables go to the terminal")]

mod agents;
mod poller;

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use pattoo_tests::program::Program;
use serde::{Deserialize, Serialize};

const AGENTS: usize = 500;
const SILENT: usize = 20;
const COLUMNS: u32 = 50;
/// One round to find the tables and learn how to ask, then what is measured: four rounds.
const WARM_UP: Duration = Duration::from_secs(45);
const SPAN: Duration = Duration::from_secs(120);
const TARGET_RESIDENT_MB: f64 = 64.0;

/// Folder of the profile, beside the configuration.
const PROFILES: &str = "profiles";

/// What it took while it was measured.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Figures {
    /// Good readings.
    good: u64,
    /// Bad readings of agents that answer: there must be none.
    bad: u64,
    cpu_s: f64,
    resident: u64,
    /// How late the polls of agents that answer began, over all of them.
    late_p50_ms: u64,
    late_p95_ms: u64,
    late_p99_ms: u64,
    skipped: u64,
}

fn main() -> Result<ExitCode> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["agents", silent] => {
            agents::serve(AGENTS, silent.parse()?, COLUMNS)?;
            return Ok(ExitCode::SUCCESS);
        }
        ["poll", config] => {
            println!("{}", serde_json::to_string(&poller::poll(config.as_ref(), WARM_UP, SPAN)?)?);
            return Ok(ExitCode::SUCCESS);
        }
        _ => {}
    }
    head();
    let mut good = true;
    for silent in [0, SILENT] {
        good &= measure(silent)?;
    }
    println!("\nLoad of the machine at the end: {}", std::fs::read_to_string("/proc/loadavg")?.split(' ').next().unwrap_or_default());
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn head() {
    println!("# What it costs to poll {AGENTS} SNMP agents\n");
    println!(
        "Made by `cargo bench --profile edge --workspace --bench snmp_capacity > tests/bench/snmp-capacity.md`: built as it ships, small.\n"
    );
    println!(
        "Agents are UDP sockets of one process on loopback, v2c, each with a table of {COLUMNS} columns, half of them 64-bit counters, that is \
         read each 30 s; its one row is named by a label. The row of the table below is a process of its own: schedule, drivers and decoder; \
         the readings are counted and dropped. It is measured for {} s after {} s. *CPU* is user and kernel time of all its threads, of one core; \
         *late* is how long after its time a poll of an agent that answers began. Target: {TARGET_RESIDENT_MB} MB.\n",
        SPAN.as_secs(),
        WARM_UP.as_secs()
    );
    println!("| agents | of them silent | values/s | bad values of the others | CPU | resident | late, p50 | p95 | p99 | skipped polls |");
    println!("|---|---|---|---|---|---|---|---|---|---|");
}

fn measure(silent: usize) -> Result<bool> {
    let own = std::env::current_exe()?;
    let served = Program::start("agents", Command::new(&own).args(["agents", &silent.to_string()]))?;
    let line = served.wait_line("the agents to listen", |line| line.starts_with("listening "))?;
    let ports: Vec<u16> = serde_json::from_str(line.trim_start_matches("listening "))?;
    let folder = tempfile::tempdir()?;
    let config = folder.path().join("gateway.yaml");
    std::fs::create_dir(folder.path().join(PROFILES))?;
    std::fs::write(folder.path().join(PROFILES).join("capacity.yaml"), profile())?;
    std::fs::write(&config, gateway(folder.path(), &ports, silent))?;
    let output = Command::new(&own).arg("poll").arg(&config).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let figures: Figures = serde_json::from_slice(&output.stdout).context("no figures")?;
    println!(
        "| {AGENTS} | {silent} | {:.0} | {} | {:.1} % | {:.1} MB | {} ms | {} ms | {} ms | {} |",
        figures.good as f64 / SPAN.as_secs_f64(),
        figures.bad,
        100.0 * figures.cpu_s / SPAN.as_secs_f64(),
        figures.resident as f64 / 1e6,
        figures.late_p50_ms,
        figures.late_p95_ms,
        figures.late_p99_ms,
        figures.skipped,
    );
    Ok(figures.bad == 0 && figures.resident as f64 / 1e6 <= TARGET_RESIDENT_MB)
}

fn profile() -> String {
    let mut text = "schema: 1\nid: capacity\nmanufacturer: x\nmodel: x\nsnmp:\n  tables:\n    ports:\n      index: [port]\n      \
                    identity: [1.3.6.1.4.1.99999.1.1.1]\npoints:\n"
        .to_owned();
    for column in 1..=COLUMNS {
        let kind = if agents::is_counter(column) { "kind: counter, read: { type: counter64" } else { "read: { type: unsigned" };
        let _ = writeln!(text, "  - {{ name: c{column}, {kind}, table: ports, column: 1.3.6.1.4.1.99999.1.1.{} }} }}", column + 1);
    }
    text
}

/// The silent ones are the last ones.
fn gateway(folder: &Path, ports: &[u16], silent: usize) -> String {
    let mut text = format!(
        "gateway: capacity\nuplink: {{ url: mqtt://localhost }}\nbuffer: {{ path: {} }}\ndevices:\n",
        folder.join("buffer").display()
    );
    for (number, port) in ports.iter().enumerate() {
        let name = if number + silent < ports.len() { "a" } else { poller::SILENT };
        let _ = writeln!(
            text,
            "  - {{ name: {name}{number}, profile: capacity, every: 30s, snmp: {{ host: '127.0.0.1:{port}', community: public }} }}"
        );
    }
    text
}
