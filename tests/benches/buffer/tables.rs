//! Measures and prints, section by section.

use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

use super::batches::{batches, mean_bytes, mean_readings};
use super::cases::GROUP;
use super::usage::Figures;
use super::{Bench, Store, THINGSBOARD};

/// Batches of the short cases: each synced; in groups.
const SYNCED: u64 = 20_000;
const GROUPED: u64 = 500_000;

/// Batches that are drained, and how many of them wait meanwhile.
const DRAINED: u64 = 5_000_000;
const DRAINED_BY_THINGSBOARD: u64 = 1_000_000;
const BACKLOGS: [u64; 2] = [10_000, 200_000];

/// Payload of a full buffer.
const FULL_BYTES: f64 = 1e9;

/// Events that ThingsBoard's own settings are tried with.
const TRIED: u64 = 35_000;

/// Targets: disk at the peak of draining, in payloads that wait; seconds of a start; MB that memory grows from the short case to a full
/// buffer.
const MAX_DISK: f64 = 1.5;
const MAX_START_S: f64 = 2.0;
const MAX_GROWTH_MB: f64 = 4.0;

/// What a batch is.
#[derive(Clone, Copy)]
struct Batch {
    bytes: f64,
    readings: f64,
}

/// What was measured, its target and unit.
type Verdict = (String, f64, f64, &'static str);

pub(crate) fn print(bench: &mut Bench) -> Result<ExitCode> {
    let made = batches()?;
    let batch = Batch { bytes: mean_bytes(&made), readings: mean_readings(&made) };
    introduce(bench, batch);
    let mut verdicts = Vec::new();
    let short_mb = insert(bench, batch)?;
    drain(bench, batch, &mut verdicts)?;
    full(bench, batch, short_mb, &mut verdicts)?;
    thingsboards_own(bench)?;
    println!("\n## Targets\n\n| what | at most | measured | |\n|---|---|---|---|");
    for (what, target, measured, unit) in &verdicts {
        println!("| {what} | {target}{unit} | {measured:.2}{unit} | {} |", if measured <= target { "met" } else { "MISSED" });
    }
    println!("\nLoad of the machine, over a minute: {:.1} before it began, {:.1} at most.", bench.first_load, bench.most_load);
    let missed = verdicts.iter().any(|(_, target, measured, _)| measured > target);
    Ok(if missed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn introduce(bench: &Bench, batch: Batch) {
    println!("# The buffer on disk beside a plain log and ThingsBoard's storages\n");
    println!("Made by `cargo bench -p pattoo-tests --bench buffer > tests/bench/buffer.md`.\n");
    if (bench.scale - 1.0).abs() > f64::EPSILON {
        println!("**With {} of all counts.**\n", bench.scale);
    }
    println!(
        "A batch is what the gateway's builder makes of one poll of three meters of 20 points and 10 points of a fourth (the plant of
`wire_size`): {:.1} bytes and {:.0} readings on average, which is the payload here. It is stored as the gateway stores it, read and compared.
An event of ThingsBoard's is one poll of one meter as its gateway writes it: 223 bytes, 6 readings.\n",
        batch.bytes, batch.readings
    );
    println!(
        "- *Plain segmented log*: `tests/benches/buffer/segments.rs`. Length, CRC, one `fdatasync` for each commit, segments of 1 MiB.
- *ThingsBoard*: `{THINGSBOARD}` from PyPI, its own storage classes, driven by `tests/benches/buffer/thingsboard.py`. Neither of its
  storages promises anything: the file storage never syncs, the SQLite one takes events into memory, writes them later, and commits without
  a sync (`synchronous=NORMAL`). So its rates are not of durable batches.
- Every case is a process of its own. CPU is of all its threads. *Written* is `write_bytes` of `/proc/self/io`: pages of files that the
  process made dirty, 4096 bytes each time; what the file system adds for itself is not in it.
- *Disk* is the blocks of all files and folders, without the 8 MiB that the buffer reserves for a full disk, whatever its size.
- Memory is resident, with {GROUP} batches in a commit.\n",
    );
    println!("Machine: {}.", machine().unwrap_or_else(|error| format!("not known: {error:#}")));
}

fn machine() -> Result<String> {
    let cpu = std::fs::read_to_string("/proc/cpuinfo")?;
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or(": unknown").trim_start_matches(['\t', ' ', ':']);
    let cores = std::thread::available_parallelism()?;
    let memory = std::fs::read_to_string("/proc/meminfo")?;
    let memory: f64 = memory.split_whitespace().nth(1).context("no memory")?.parse()?;
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let system = Command::new("findmnt").args(["-n", "-o", "FSTYPE", "-T", env!("CARGO_TARGET_TMPDIR")]).output()?;
    let system = String::from_utf8_lossy(&system.stdout);
    Ok(format!("{cores} shared cores of {model}, {:.0} GB, Linux {}, {}, virtual disk", memory / 1e6, kernel.trim(), system.trim()))
}

fn of(figures: &Figures, name: &str) -> Result<f64> {
    figures.get(name).copied().with_context(|| format!("no figure {name:?} in {figures:?}"))
}

/// Readings of a batch of this store.
fn readings(store: Store, batch: Batch) -> f64 {
    if store.syncs() { batch.readings } else { 6.0 }
}

fn bytes(store: Store, batch: Batch) -> f64 {
    if store.syncs() { batch.bytes } else { 223.0 }
}

/// Gives the memory of our own, in MB, with the short case.
fn insert(bench: &mut Bench, batch: Batch) -> Result<f64> {
    println!("\n## Taking batches in\n");
    println!("Nothing is taken out. Medians of {} runs.\n", super::RUNS);
    println!(
        "| store | sync | batches | batches/s | CPU per batch | written per payload byte | written per reading | disk per payload byte |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    let (mut short_mb, mut notes) = (0.0, Vec::new());
    for store in bench.stores.clone() {
        let commits: &[(u64, u64, &str)] =
            if store.syncs() { &[(1, SYNCED, "each"), (GROUP, GROUPED, "every 100")] } else { &[(GROUP, GROUPED, "never")] };
        for (group, count, sync) in commits {
            let count = &bench.scaled(*count);
            let found = bench.median(store, "insert", &[*count, *group])?;
            let batches = *count as f64;
            let payload = batches * bytes(store, batch);
            println!(
                "| {} | {sync} | {count} | {:.0} | {:.1} µs | {:.2} | {:.2} B | {:.2} |",
                store.name(),
                batches / of(&found, "wall_s")?,
                of(&found, "cpu_s")? / batches * 1e6,
                of(&found, "written")? / payload,
                of(&found, "written")? / batches / readings(store, batch),
                of(&found, "disk")? / payload,
            );
            if store == Store::Pattoo {
                short_mb = of(&found, "hwm")? / 1e6;
            }
            if *count == bench.scaled(GROUPED) {
                let [before, peak] = [of(&found, "bare_hwm")?, of(&found, "hwm")?].map(|bytes| bytes / 1e6);
                notes.push(format!("{}: {peak:.1} MB, of which {before:.1} MB were there before the store", store.name()));
            }
        }
    }
    println!("\nMemory at the peak, in groups. {}.", notes.join(". "));
    Ok(short_mb)
}

fn drain(bench: &mut Bench, batch: Batch, verdicts: &mut Vec<Verdict>) -> Result<()> {
    println!("\n## Draining\n");
    println!(
        "As many go out as come in while so many wait; then all go out. Each is read once and compared, and released in the order of the"
    );
    println!("numbers, {GROUP} at a time (ThingsBoard: 1000, as large as its files, see below).\n");
    println!(
        "| store | batches | waiting | disk / payload that waits: mean | peak | disk, peak | after all are out | batches/s in and out | CPU per batch | written per payload byte | memory, peak | lost |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|");
    for backlog in BACKLOGS {
        let backlog = bench.scaled(backlog);
        for store in bench.stores.clone() {
            let count = bench.scaled(if store.syncs() { DRAINED } else { DRAINED_BY_THINGSBOARD });
            let found = bench.once(store, "drain", &[count, backlog])?;
            let batches = count as f64;
            let [mean, peak] = [of(&found, "mean_ratio")?, of(&found, "peak_ratio")?];
            println!(
                "| {} | {count} | {backlog} | {mean:.2} | {peak:.2} | {:.1} MB | {:.3} MB | {:.0} | {:.1} µs | {:.2} | {:.1} MB | {:.0} |",
                store.name(),
                of(&found, "peak_disk")? / 1e6,
                of(&found, "drained_disk")? / 1e6,
                batches / of(&found, "wall_s")?,
                of(&found, "cpu_s")? / batches * 1e6,
                of(&found, "written")? / (batches * bytes(store, batch)),
                of(&found, "hwm")? / 1e6,
                // Ours stops at the first that is not there or is not what was stored.
                found.get("lost").copied().unwrap_or(0.0),
            );
            if store == Store::Pattoo {
                verdicts.push((format!("disk / payload that waits, {backlog} waiting, peak"), MAX_DISK, peak, ""));
                verdicts.push((format!("disk / payload that waits, {backlog} waiting, mean"), MAX_DISK, mean, ""));
            }
        }
    }
    Ok(())
}

fn full(bench: &mut Bench, batch: Batch, short_mb: f64, verdicts: &mut Vec<Verdict>) -> Result<()> {
    let count = bench.scaled((FULL_BYTES / batch.bytes) as u64);
    println!("\n## {:.2} GB waiting\n", count as f64 * batch.bytes / 1e9);
    println!(
        "{count} batches. Filled, and killed (SIGKILL) while it stores more; started, stopped and started again, with the files out of the page"
    );
    println!("cache and then in it; read out and released. A start is over when batches can be stored and read.\n");
    let mut rows: Vec<(&str, Vec<String>)> = [
        "batches/s while filling",
        "disk / payload",
        "start after SIGKILL, not cached",
        "start after a clean stop, not cached",
        "the same, cached",
        "CPU of these three",
        "memory, peak while filling",
        "memory, peak of the start after SIGKILL",
        "memory, peak while reading out",
        "reading out, payload/s",
        "reading out, CPU per batch",
        "taken in before the SIGKILL and gone",
        "disk after all are out",
    ]
    .map(|what| (what, Vec::new()))
    .into();
    for store in bench.stores.clone() {
        let found = bench.full(store, count)?;
        let (batches, payload) = (count as f64, count as f64 * bytes(store, batch));
        let mb = |name: &str| Ok::<_, anyhow::Error>(of(&found, name)? / 1e6);
        let [killed, stopped, cached] = ["killed", "stopped", "cached"].map(|step| of(&found, &format!("{step} wall_s")));
        let (killed, stopped, cached) = (killed?, stopped?, cached?);
        let cpu = |step: &str| of(&found, &format!("{step} cpu_s"));
        let read = of(&found, "read batches")?;
        let cells = [
            format!("{:.0}", batches / of(&found, "fill wall_s")?),
            format!("{:.2}", of(&found, "fill disk")? / payload),
            format!("{killed:.3} s"),
            format!("{stopped:.3} s"),
            format!("{cached:.3} s"),
            format!("{:.2}, {:.2}, {:.2} s", cpu("killed")?, cpu("stopped")?, cpu("cached")?),
            format!("{:.1} MB", mb("fill hwm")?),
            format!("{:.1} MB", mb("killed hwm")?),
            format!("{:.1} MB", mb("read hwm")?),
            format!("{:.0} MB", read * bytes(store, batch) / of(&found, "read wall_s")? / 1e6),
            format!("{:.1} µs", of(&found, "read cpu_s")? / read * 1e6),
            format!("{:.0}", batches - of(&found, "read kept")?),
            format!("{:.3} MB", mb("read disk")?),
        ];
        rows.iter_mut().zip(cells).for_each(|((_, row), cell)| row.push(cell));
        if store == Store::Pattoo {
            verdicts.push(("start with a full buffer after SIGKILL, not cached".into(), MAX_START_S, killed, " s"));
            verdicts.push(("start with a full buffer after a clean stop, not cached".into(), MAX_START_S, stopped, " s"));
            for (step, name) in [("filling", "fill hwm"), ("reading out", "read hwm")] {
                verdicts.push((
                    format!("growth of memory, taking in {GROUPED} batches -> {step} 1 GB"),
                    MAX_GROWTH_MB,
                    mb(name)? - short_mb,
                    " MB",
                ));
            }
        }
    }
    let names: Vec<&str> = bench.stores.iter().map(|store| store.name()).collect();
    println!("| | {} |\n|---|{}", names.join(" | "), "---|".repeat(names.len()));
    for (what, row) in rows {
        println!("| {what} | {} |", row.join(" | "));
    }
    Ok(())
}

/// Its file storage with the settings that its gateway ships.
fn thingsboards_own(bench: &mut Bench) -> Result<()> {
    if bench.stores.contains(&Store::ThingsBoardFile) {
        let found = bench.once(Store::ThingsBoardFile, "defaults", &[TRIED])?;
        println!(
            "\nThingsBoard's file storage removes a file when it has read a part of it and another one follows. With the settings in its
`tb_gateway.json` (10 events per read, 10000 per file) {:.0} of {TRIED} events came out again. Above, a read takes as many as a file has.",
            of(&found, "batches")?
        );
    }
    Ok(())
}
