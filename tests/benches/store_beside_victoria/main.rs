//! The server's store beside Debian's VictoriaMetrics: the same data and questions for both real programs, judged by their CPU time.
//!
//! `cargo build --release --workspace --bins && PATTOO_TEST_BIN=$PWD/target/release cargo bench --profile release --workspace --bench
//! store_beside_victoria` prints the tables; `-- --hours N --devices N --every SECONDS --asked N --seed N` for others, `--alone` for our load without the other
//! server and without questions. Fails where an answer of either is not what the history says.
#![expect(clippy::print_stdout, reason = "its tables go to the terminal")]

mod ask;
mod feed;

use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use pattoo_tests::stack::Stack;
use pattoo_tests::store_plant::POINTS;
use pattoo_tests::usage::{cpu_s, peak_resident_bytes};
use pattoo_tests::victoria::{Victoria, agent};
use pattoo_tests::wait_for;

use ask::{Other, Pattoo, Server, compare, expected, questions};

/// A server that uses less than this in [`QUIET_FOR`] has settled.
const QUIET_S: f64 = 0.05;
/// Longer than the 5 s after which VictoriaMetrics writes what it was given to its disk.
const QUIET_FOR: Duration = Duration::from_secs(8);
/// A log without a record.
const EMPTY_LOG_BYTES: u64 = 64 << 10;
/// A head goes to the shelf when nothing comes for a minute, and the store looks every half.
const RESTED_WITHIN: Duration = Duration::from_secs(150);
/// Merging may take as long.
const SETTLED_WITHIN: Duration = Duration::from_secs(600);

pub(crate) struct Options {
    pub(crate) seed: u64,
    pub(crate) devices: usize,
    pub(crate) polls: usize,
    pub(crate) poll_ms: i64,
    asked: usize,
    alone: bool,
}

impl Options {
    pub(crate) fn span_ms(&self) -> i64 {
        self.polls as i64 * self.poll_ms
    }

    pub(crate) fn series(&self) -> usize {
        self.devices * POINTS
    }
}

fn options() -> Result<Options> {
    let (mut seed, mut devices, mut hours, mut every_s, mut asked, mut alone) = (20_201, 50, 2, 10, 100, false);
    let mut words = std::env::args().skip(1).filter(|word| word != "--bench");
    while let Some(word) = words.next() {
        if word == "--alone" {
            alone = true;
            continue;
        }
        let value: u64 = words.next().with_context(|| format!("{word} without a value"))?.parse().with_context(|| word.clone())?;
        match word.as_str() {
            "--seed" => seed = value,
            "--devices" => devices = usize::try_from(value)?,
            "--hours" => hours = value,
            "--every" => every_s = value,
            "--asked" => asked = usize::try_from(value)?,
            _ => anyhow::bail!("{word}: known are --seed, --devices, --hours, --every (seconds), --asked and --alone"),
        }
    }
    ensure!(
        devices > 0 && hours > 0 && (1..=60).contains(&every_s) && asked > 0,
        "more than 0 of each, and at most 60 s between two polls"
    );
    Ok(Options { seed, devices, polls: usize::try_from(hours * 3600 / every_s)?, poll_ms: i64::try_from(every_s)? * 1000, asked, alone })
}

/// What a program took for the load.
struct Load {
    points: u64,
    took: Duration,
    /// When all was acknowledged, and when it had settled.
    cpu_s: (f64, f64),
    bytes: u64,
    peak_bytes: u64,
}

impl Load {
    fn measure(pid: u32, folder: &Path, feed: impl FnOnce() -> Result<u64>, settle: impl FnOnce() -> Result<()>) -> Result<Self> {
        let (before, begun) = (cpu_s(pid)?, Instant::now());
        let points = feed()?;
        let (acknowledged, took) = (cpu_s(pid)? - before, begun.elapsed());
        settle()?;
        settled(pid)?;
        let settled = cpu_s(pid)? - before;
        Ok(Self { points, took, cpu_s: (acknowledged, settled), bytes: on_disk(folder)?, peak_bytes: peak_resident_bytes(pid)? })
    }

    fn print(&self, who: &str) {
        let points = self.points as f64;
        let (acknowledged, settled) = self.cpu_s;
        println!(
            "| {who} | {} | {:.1} | {acknowledged:.2} | {:.2} | {settled:.2} | {:.2} | {:.2} | {:.0} |",
            self.points,
            self.took.as_secs_f64(),
            points / 1e6 / acknowledged,
            points / 1e6 / settled,
            self.bytes as f64 / points,
            self.peak_bytes as f64 / f64::from(1 << 20),
        );
    }
}

/// Waits until all that was stored is in parts, as it is when nothing comes for a while.
fn rested(data: &Path) -> Result<()> {
    let in_parts = || (on_disk(&data.join("log")).ok()? <= EMPTY_LOG_BYTES).then_some(());
    wait_for("the log to become parts", RESTED_WITHIN, in_parts)
}

/// Waits until the process rests.
fn settled(pid: u32) -> Result<()> {
    let mut seen = (Instant::now(), cpu_s(pid)?);
    let quiet = || {
        if seen.0.elapsed() < QUIET_FOR {
            return None;
        }
        let now = cpu_s(pid).ok()?;
        let used = now - std::mem::replace(&mut seen, (Instant::now(), now)).1;
        (used < QUIET_S).then_some(())
    };
    wait_for("the server to settle", SETTLED_WITHIN, quiet)
}

/// What the files below a folder occupy, without copies of what is in memory.
fn on_disk(folder: &Path) -> Result<u64> {
    use std::os::unix::fs::MetadataExt;
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let about = entry.metadata()?;
        if about.is_dir() && entry.file_name() != "cache" {
            bytes += on_disk(&entry.path())?;
        } else if about.is_file() {
            bytes += about.blocks() * 512;
        }
    }
    Ok(bytes)
}

/// Asks again and again, of another device each time; gives a row's cells.
fn timed(options: &Options, server: &dyn Server, pid: u32, question: ask::Question) -> Result<String> {
    let mut took = Vec::with_capacity(options.asked);
    let mut bytes = 0;
    let before = cpu_s(pid)?;
    for device in 0..options.asked {
        let begun = Instant::now();
        bytes += server.ask(options, question, device)?.iter().map(Vec::len).sum::<usize>();
        took.push(begun.elapsed().as_secs_f64() * 1000.0);
    }
    let cpu_ms = (cpu_s(pid)? - before) * 1000.0 / options.asked as f64;
    took.sort_by(f64::total_cmp);
    let at = |share: usize| took.get(took.len() * share / 100).copied().unwrap_or(f64::NAN);
    let mut cells = String::new();
    write!(cells, "{:.2} | {:.2} | {cpu_ms:.2} | {} |", at(50), at(95), bytes / options.asked)?;
    Ok(cells)
}

fn main() -> Result<()> {
    let options = options()?;
    println!("# The store beside VictoriaMetrics\n");
    println!(
        "Made by `cargo build --release --workspace --bins && PATTOO_TEST_BIN=$PWD/target/release cargo bench --profile release --workspace --bench store_beside_victoria`.\n"
    );
    println!(
        "{} devices of {POINTS} points each {} s over {} h, seed {}; VictoriaMetrics is Debian's. CPU is user and kernel time of all threads of the server.\n",
        options.devices,
        options.poll_ms / 1000,
        options.span_ms() / 3_600_000,
        options.seed
    );
    let mut stack = Stack::new()?;
    let data = stack.folder().join("data");
    let config = stack.folder().join("server.yaml");
    let listen = "http: { listen: 127.0.0.1:0, anonymous: viewer }\nbroker: { listen: 127.0.0.1:0 }\nagents: { listen: off }\n";
    // The history is of some year, and nothing of it may go meanwhile.
    std::fs::write(&config, format!("data: {}\nretention: 50years\n{listen}", data.display()))?;
    stack.start_server_with(&config)?;
    let ours = stack.server.as_ref().context("it runs")?.id();
    let columns = "| server | points | s | CPU s at acknowledgement | M points per CPU s | CPU s settled | M points per CPU s | bytes a point | peak MiB |";
    println!("{columns}\n|---|---|---|---|---|---|---|---|---|");
    let gateways = feed::gateways(&options)?;
    let load = Load::measure(ours, &data, || feed::mqtt(&gateways, stack.address("mqtt")?), || rested(&data))?;
    load.print("pattoo-server, MQTT");
    if options.alone {
        return Ok(());
    }
    let victoria = Victoria::start()?;
    let theirs = victoria.programs.first().context("it runs")?.id();
    let flushed = || victoria.flush(&agent());
    let messages = feed::messages(&options)?;
    let other = Load::measure(theirs, victoria.folder(), || feed::remote_write(&messages, &victoria), flushed)?;
    other.print("VictoriaMetrics, remote write");
    ensure!(load.points == other.points, "{} points and {}", load.points, other.points);

    println!("\nEach question {} times, of another device each time.\n", options.asked);
    println!("| question | server | p50 ms | p95 ms | CPU ms | bytes |\n|---|---|---|---|---|---|");
    let (pattoo, other) = (Pattoo::new(&options, stack.api()?)?, Other { victoria: &victoria, agent: agent() });
    for (name, question) in questions(&options) {
        let servers: [(&str, &dyn Server, u32); 2] = [("pattoo-server", &pattoo, ours), ("VictoriaMetrics", &other, theirs)];
        for (who, server, pid) in servers {
            for device in 0..POINTS {
                let answer = server.read(question, &server.ask(&options, question, device)?)?;
                compare(who, &answer, &expected(&options, question, device)).with_context(|| name.clone())?;
            }
            println!("| {name} | {who} | {}", timed(&options, server, pid, question)?);
        }
    }
    println!("\nEvery answer of both was compared with the history before it was timed.");
    Ok(())
}
