//! What charts take: the table of budgets of the page and its API, measured against the real server and, for the page, in Chromium.
//!
//! `CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 cargo build --release --workspace --bin pattoo-server &&
//! PATTOO_TEST_BIN=$PWD/target/release CARGO_PROFILE_BENCH_LTO=off … cargo bench --bench chart_queries` prints the tables; `-- --devices N
//! --days N --year-days N --asked N --seed N` for others, `--page 0` without a browser, `--plant FOLDER` for one that stays and is used again.
//! Needs what `tests/run --set-up-only` installs.
#![expect(clippy::print_stdout, reason = "its tables go to the terminal")]
#![expect(clippy::print_stderr, reason = "how far it is")]

mod ask;
mod page;
mod plant;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use pattoo_tests::stack::Stack;
use pattoo_tests::store_plant::POINTS;
use pattoo_tests::usage::{cpu_s, peak_resident_bytes};
use pattoo_tests::wait_for;

use plant::Options;

/// A server that uses less than this in [`QUIET_FOR`] has settled.
const QUIET_S: f64 = 0.05;
const QUIET_FOR: Duration = Duration::from_secs(3);
/// Merging and rolling up may take as long.
const SETTLED_WITHIN: Duration = Duration::from_secs(900);

fn options() -> Result<(Options, bool, Option<PathBuf>)> {
    let mut options = Options { seed: 20_201, devices: 50, days: 30, year_days: 365, asked: 200 };
    let (mut page, mut kept) = (true, None);
    let mut words = std::env::args().skip(1).filter(|word| word != "--bench");
    while let Some(word) = words.next() {
        let value = words.next().with_context(|| format!("{word} without a value"))?;
        if word == "--plant" {
            kept = Some(PathBuf::from(value));
            continue;
        }
        let value: u64 = value.parse().with_context(|| word.clone())?;
        let number = usize::try_from(value)?;
        match word.as_str() {
            "--seed" => options.seed = value,
            "--devices" => options.devices = number,
            "--days" => options.days = number,
            "--year-days" => options.year_days = number,
            "--asked" => options.asked = number,
            "--page" => page = number > 0,
            _ => anyhow::bail!("{word}: known are --seed, --devices, --days, --year-days, --asked, --page and --plant"),
        }
    }
    ensure!(options.devices > 0 && options.days > 1 && options.year_days > 0 && options.asked > 0, "more than 0 of each, and 2 days");
    Ok((options, page, kept))
}

/// Waits until the process rests.
fn settled(pid: u32) -> Result<()> {
    let mut seen = (std::time::Instant::now(), cpu_s(pid)?);
    wait_for("the server to settle", SETTLED_WITHIN, || {
        if seen.0.elapsed() < QUIET_FOR {
            return None;
        }
        let now = cpu_s(pid).ok()?;
        let used = now - std::mem::replace(&mut seen, (std::time::Instant::now(), now)).1;
        (used < QUIET_S).then_some(())
    })
}

fn main() -> Result<()> {
    let (options, page, kept) = options()?;
    let mut stack = Stack::new()?;
    let data = kept.unwrap_or_else(|| stack.folder().join("data"));
    std::fs::create_dir_all(&data)?;
    let readings = plant::planted(&data, &options)?;
    let config = stack.folder().join("server.yaml");
    // The plant is of some year, and nothing of it may go meanwhile.
    let listen = "http: { listen: 127.0.0.1:0, anonymous: viewer }\nbroker: { listen: 127.0.0.1:0 }\nagents: { listen: off }\n";
    std::fs::write(&config, format!("data: {}\nretention: 50years\n{listen}", data.display()))?;
    stack.start_server_with(&config)?;
    let pid = stack.server.as_ref().context("it runs")?.id();
    settled(pid)?;
    let at = stack.address("http")?;
    let Options { seed, devices, days, year_days, asked } = options;
    println!(
        "{readings} readings: {devices} devices of {POINTS} points each 10 s over {days} d, one each 1 s over {days} d, one each 1 min over {year_days} d; seed {seed}. \
         Each question {asked} times over one connection, of another window or device each time, compressed; CPU is the server's, user and kernel.\n"
    );
    println!("| question | p50 ms | p95 ms | p99 ms | CPU ms | kB | aim | must |\n|---|---|---|---|---|---|---|---|");
    for question in ask::questions(&options) {
        let cells = ask::timed(at, pid, asked, &question)?;
        println!("| {} | {cells} | {} | {} |", question.name, question.aim, question.must);
    }
    println!("\nThe server's memory was {} MiB at most.", peak_resident_bytes(pid)? >> 20);
    if page { page::measured(&stack, &options) } else { Ok(()) }
}
