//! How soon a store is there again, and what it takes of memory: behind a log as long as it can become and behind one of 1 GB, and with a million
//! series while each of them gets readings.
//!
//! `cargo bench --profile release --workspace --bench store_start` prints the tables; `-- --series N --mb N` for another number and another long log,
//! 0 for none.
#![expect(clippy::print_stdout, reason = "its tables go to the terminal")]

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use pattoo_server::store::embedded::{Budget, Embedded};
use pattoo_server::store::{SeriesId, Store};
use pattoo_tests::store_plant::fill::{Plan, fill, process_cpu};
use pattoo_tests::store_plant::{BEGIN_MS, POINTS};
use pattoo_tests::usage::{forget_peak, peak_resident_bytes, resident_bytes};

const SEED: u64 = 20_201;
const POLL_MS: i64 = 10_000;
/// Of those that fill a log.
const DEVICES: usize = 50;
const MB: u64 = 1_000_000;

fn options() -> Result<(usize, u64)> {
    let (mut series, mut mb) = (1_000_000, 1000);
    let mut words = std::env::args().skip(1).filter(|word| word != "--bench");
    while let Some(word) = words.next() {
        let value = words.next().with_context(|| format!("{word} without a value"))?;
        match word.as_str() {
            "--series" => series = value.parse()?,
            "--mb" => mb = value.parse()?,
            _ => anyhow::bail!("{word}: known are --series and --mb"),
        }
    }
    Ok((series, mb))
}

/// What work takes: seconds, CPU seconds, the most memory meanwhile, and the memory after it.
fn timed<T>(work: impl FnOnce() -> Result<T>) -> Result<(T, String)> {
    let me = std::process::id();
    forget_peak(me)?;
    let (cpu, begun) = (process_cpu(), Instant::now());
    let done = work()?;
    let (cpu, took): (Duration, Duration) = (process_cpu() - cpu, begun.elapsed());
    let (most, now) = (peak_resident_bytes(me)? / MB, resident_bytes(me)? / MB);
    Ok((done, format!("{:.2} | {:.2} | {most} | {now}", took.as_secs_f64(), cpu.as_secs_f64())))
}

fn bytes(folder: &Path) -> Result<u64> {
    std::fs::read_dir(folder)?.map(|entry| Ok(entry?.metadata()?.len())).sum()
}

/// Makes a log of so many bytes that nobody brings to parts. Done in a process of its own, which has all of it in memory.
fn fill_log(folder: &Path, log_bytes: u64) -> Result<()> {
    // Never full.
    let budget = Budget { head_bytes: 1 << 40, log_bytes: 1 << 40, pending_bytes: 1 << 40, ..Budget::DEFAULT };
    let store = Embedded::open_within(&folder.join("pattoo.redb"), budget)?;
    for first_device in (0..).step_by(DEVICES) {
        fill(&store, &Plan { seed: SEED, first_device, devices: DEVICES, polls: 2000, poll_ms: POLL_MS })?;
        if bytes(&folder.join("log"))? >= log_bytes {
            break;
        }
    }
    Ok(())
}

fn behind_a_log(name: &str, log_bytes: u64) -> Result<()> {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let filled = Command::new(std::env::current_exe()?).arg("--fill").arg(folder.path()).arg(log_bytes.to_string()).status()?;
    ensure!(filled.success(), "the log was not filled: {filled}");
    let (path, long) = (folder.path().join("pattoo.redb"), bytes(&folder.path().join("log"))? / MB);
    for start in ["first", "second"] {
        let (store, took) = timed(|| Ok(Embedded::open(&path)?))?;
        let ids: Vec<SeriesId> = store.load()?.series.iter().map(|entry| entry.id).collect();
        println!("| {name} | {long} MB, {} series | {start} | {took} |", ids.len());
        ensure!(store.latest(&ids)?.iter().all(Option::is_some), "a series without its latest");
    }
    Ok(())
}

/// Announces so many series, gives each some readings, and starts again.
fn with_series(count: usize) -> Result<()> {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let path = folder.path().join("pattoo.redb");
    let store = Embedded::open(&path)?;
    let plan = Plan { seed: SEED, first_device: 0, devices: count / POINTS, polls: 0, poll_ms: POLL_MS };
    let (_, took) = timed(|| Ok(fill(&store, &plan)?))?;
    println!("| {count} series are announced | {took} |");
    for polls in [1, 10] {
        let (filled, took) = timed(|| Ok(fill(&store, &Plan { polls, ..plan })?))?;
        println!("| {} readings, {polls} of each | {took} |", filled.points);
    }
    let ids: Vec<SeriesId> = (1..=count).filter_map(|id| u32::try_from(id).ok()).map(SeriesId).collect();
    let (_, took) = timed(|| Ok(store.tidy(BEGIN_MS + 3 * 86_400_000)?))?;
    println!("| all of it to parts, merged and rolled up | {took} |");
    drop(store);
    let (store, took) = timed(|| Ok(Embedded::open(&path)?))?;
    println!("| opened again | {took} |");
    let (loaded, took) = timed(|| Ok(store.load()?))?;
    println!("| its series, schemas and streams are loaded | {took} |");
    ensure!(loaded.series.len() == count, "{} series", loaded.series.len());
    drop(loaded);
    let (found, took) = timed(|| Ok(store.latest(&ids)?))?;
    println!("| the latest of all are asked | {took} |");
    ensure!(found.iter().flatten().count() > count * 9 / 10, "series without their latest");
    println!("\nLedger {} MB, parts {} MB.", std::fs::metadata(&path)?.len() / MB, bytes(&folder.path().join("parts"))? / MB);
    Ok(())
}

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().collect();
    if let [_, what, folder, bytes] = words.as_slice()
        && what == "--fill"
    {
        return fill_log(Path::new(folder), bytes.parse()?);
    }
    let (series, mb) = options()?;
    println!("## Behind a log\n");
    println!("| log | | start | s | CPU s | most memory, MB | memory after it, MB |\n|---|---|---|---|---|---|---|");
    behind_a_log("as long as it becomes", 2 * Budget::DEFAULT.log_bytes)?;
    if mb > 0 {
        behind_a_log("forced", mb * MB)?;
    }
    if series > 0 {
        println!("\n## With {series} series\n");
        println!("| what | s | CPU s | most memory, MB | memory after it, MB |\n|---|---|---|---|---|");
        with_series(series)?;
    }
    Ok(())
}
