//! Bytes on disk and CPU of immutable parts: the data set of the store's targets is written, merged and read again.
//!
//! `cargo bench --profile release --workspace --bench store_size > tests/bench/store-parts.md` refreshes the committed table;
//! `-- --seed N --devices N` for others. Fails where the merged day is over its target, or is not what was written.
#![expect(clippy::print_stdout, reason = "its table goes to the terminal")]

mod logged;
mod rivals;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use pattoo_server::store::part::merge::{Merged, merge};
use pattoo_server::store::part::{FULL_ROWS, Part, Rows, Writer};
use pattoo_server::store::{Reading, SeriesId};
use pattoo_tests::store_plant::{BEGIN_MS, Behaviour, MIX, POINTS, POLLS, Poll, behaviour, day};
use rustix::time::{ClockId, clock_gettime};

const SEED: u64 = 20_201;
const DEVICES: usize = 50;
/// Bytes of a point on disk, everything counted.
const TARGET: f64 = 1.0;
const DAY_MS: i64 = 86_400_000;
/// Rows of a chunk where the head has no room for full ones: an hour.
const HOUR_ROWS: usize = 360;

type Day = Part<Vec<u8>>;

/// CPU time of this thread.
fn cpu() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

/// What the work takes is added to `spent`.
pub(crate) fn timed<T>(spent: &mut Duration, work: impl FnOnce() -> T) -> T {
    let begun = cpu();
    let done = work();
    *spent += cpu() - begun;
    done
}

pub(crate) fn series(device: usize, point: usize) -> SeriesId {
    SeriesId((device * POINTS + point + 1) as u32)
}

/// Parts of a stretch of time each, as a head that is emptied leaves them.
struct Parts {
    rows: usize,
    writers: Vec<(Writer, Vec<u8>)>,
    gathering: Duration,
    writing: Duration,
}

impl Parts {
    fn new(rows: usize) -> Self {
        let begin = |_| {
            let mut out = Vec::new();
            (Writer::new(&mut out), out)
        };
        Self { rows, writers: (0..POLLS.div_ceil(rows)).map(begin).collect(), gathering: Duration::ZERO, writing: Duration::ZERO }
    }

    fn device(&mut self, device: usize, polls: &[Poll]) -> Result<()> {
        for (polls, (writer, out)) in polls.chunks(self.rows).zip(&mut self.writers) {
            let rows = timed(&mut self.gathering, || gathered(device, polls));
            timed(&mut self.writing, || {
                writer.begin_group();
                writer.rows(&rows, out)
            })?;
        }
        Ok(())
    }

    fn finish(self) -> Result<Vec<Day>> {
        let finished = self.writers.into_iter().map(|(writer, mut out)| {
            writer.finish(&mut out)?;
            Ok(Part::open(out)?)
        });
        finished.collect()
    }
}

fn gathered(device: usize, polls: &[Poll]) -> Rows {
    let mut rows = Rows::default();
    for poll in polls {
        rows.begin(poll.at_ms);
        for (point, sample) in poll.samples.iter().enumerate() {
            if let Some(sample) = sample {
                rows.put(series(device, point), sample);
            }
        }
    }
    rows
}

fn merged(parts: &[Day]) -> Result<(Day, Merged, Duration)> {
    let (mut bytes, mut spent) = (Vec::new(), Duration::ZERO);
    let merged = timed(&mut spent, || {
        merge(parts, &mut |piece: &[u8]| {
            bytes.extend_from_slice(piece);
            Ok(())
        })
    })?;
    Ok((Part::open(bytes)?, merged, spent))
}

/// Every reading comes back as it was.
fn same(part: &Day, device: usize, polls: &[Poll]) -> Result<()> {
    for point in 0..POINTS {
        let written = polls.iter().filter_map(|poll| {
            let sample = poll.samples.get(point)?.clone()?;
            Some(Reading { at_ms: poll.at_ms, sample })
        });
        let read = part.raw(series(device, point), i64::MIN, i64::MAX, usize::MAX)?;
        ensure!(read.into_iter().eq(written), "point {point} of device {device} came back changed");
    }
    Ok(())
}

struct Options {
    seed: u64,
    devices: usize,
}

fn options() -> Result<Options> {
    let mut options = Options { seed: SEED, devices: DEVICES };
    let mut words = std::env::args().skip(1).filter(|word| word != "--bench");
    while let Some(word) = words.next() {
        let value = words.next().with_context(|| format!("{word} without a value"))?;
        match word.as_str() {
            "--seed" => options.seed = value.parse()?,
            "--devices" => options.devices = value.parse()?,
            _ => anyhow::bail!("{word}: known are --seed and --devices"),
        }
    }
    Ok(options)
}

fn main() -> Result<ExitCode> {
    let Options { seed, devices } = options()?;
    println!("# Parts of the store: bytes and CPU of a point\n");
    println!("Made by `cargo bench --profile release --workspace --bench store_size > tests/bench/store-parts.md`; seed {seed}.\n");
    println!(
        "{devices} devices of {POINTS} points, a day at 10 s, 0 to 20 ms late, 1 % missing. CPU times are those of one thread of a machine"
    );
    println!("that others use as well, single runs.");
    let (mut full, mut hourly) = (Parts::new(FULL_ROWS), Parts::new(HOUR_ROWS));
    let mut ways = Ways::default();
    for device in 0..devices {
        let polls = day(seed, device);
        full.device(device, &polls)?;
        hourly.device(device, &polls)?;
        // The ways of others on a fifth of the devices: they take long.
        if device % 5 == 0 {
            ways.device(&polls)?;
        }
    }
    let spent = (full.gathering, full.writing, hourly.writing);
    let (full, hourly) = (full.finish()?, hourly.finish()?);
    let (part, by_copy, copying) = merged(&full)?;
    let (again, by_making, making) = merged(&hourly)?;
    for device in 0..devices {
        let polls = day(seed, device);
        same(&part, device, &polls)?;
        same(&again, device, &polls)?;
    }
    let points = part.readings() as f64;
    let share = print_sizes(&part, by_copy.bytes)?;
    println!("\n## CPU\n\n| what | ns a point | M points per CPU second |\n|---|---|---|");
    let print = |what: &str, spent: Duration, points: f64| {
        let ns = spent.as_nanos() as f64 / points;
        println!("| {what} | {ns:.2} | {:.1} |", 1000.0 / ns);
    };
    print("polls into columns", spent.0, points);
    print(&format!("columns into chunks of {FULL_ROWS} rows"), spent.1, points);
    print(&format!("merging {} parts of full chunks: {} copied, {} made", full.len(), by_copy.copied, by_copy.made), copying, points);
    print(&format!("columns into chunks of {HOUR_ROWS} rows"), spent.2, points);
    print(&format!("merging {} parts of those: {} made", hourly.len(), by_making.made), making, points);
    let (logged, grouped) = (logged::measure(seed, devices, 1)?, logged::measure(seed, devices, 20)?);
    print("commits into the content of records", logged.writing, logged.points);
    print("records to the disk, fdatasync for each poll of all devices", logged.committing, logged.points);
    print("records to the disk, fdatasync for 20 of them together", grouped.committing, grouped.points);
    print("records read back into commits", logged.reading, logged.points);
    println!("\nA point takes {:.2} bytes in the log, until it is in a part.", logged.bytes as f64 / logged.points);
    println!("\n| what | ns a point | M points per CPU second |\n|---|---|---|");
    let (mut raw, mut charts, mut averages) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
    let all: Vec<SeriesId> = part.series().collect();
    for id in &all {
        timed(&mut raw, || part.raw(*id, BEGIN_MS, BEGIN_MS + DAY_MS, usize::MAX))?;
        timed(&mut charts, || part.steps(*id, BEGIN_MS, BEGIN_MS + DAY_MS, DAY_MS / 1000))?;
        timed(&mut averages, || part.steps(*id, BEGIN_MS, BEGIN_MS + DAY_MS + 1000, DAY_MS))?;
    }
    print("reading all of a series", raw, points);
    print("a day of a series in 1,000 steps", charts, points);
    println!(
        "\nThe average of a day of one series, from the heads of its chunks: {:.1} us.",
        averages.as_nanos() as f64 / 1000.0 / all.len() as f64
    );
    println!("The day merged from hours has {:.3} bytes a point.", by_making.bytes as f64 / points);
    ways.print();
    let verdict = if share <= TARGET { "met" } else { "MISSED" };
    println!("\nTarget: at most {TARGET} bytes a point on disk, everything counted: {share:.3}, {verdict}.");
    Ok(if share <= TARGET { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Bytes by kind of point; gives those of all.
fn print_sizes(part: &Day, bytes: u64) -> Result<f64> {
    let mut kinds: BTreeMap<Behaviour, (u64, u64)> = BTreeMap::new();
    for (id, size) in part.bytes_by_series()? {
        let (bytes, points) = kinds.entry(behaviour((id.0 as usize - 1) % POINTS)).or_default();
        *bytes += size;
        *points += part.raw(id, i64::MIN, i64::MAX, usize::MAX)?.len() as u64;
    }
    let all = part.readings() as f64;
    println!(
        "\n## Bytes on disk: one part of a day, {} points\n\n| what | share of the points | bytes a point of it | of all |\n|---|---|---|---|",
        part.readings()
    );
    for (kind, name, _) in MIX {
        let (bytes, points) = kinds.get(&kind).copied().unwrap_or_default();
        let (bytes, points) = (bytes as f64, points as f64);
        println!("| {name} | {:.0} % | {:.3} | {:.3} |", points / all * 100.0, bytes / points, bytes / all);
    }
    let values: u64 = kinds.values().map(|(bytes, _)| bytes).sum();
    println!("| times, heads, statistics, index | | | {:.3} |", (bytes - values) as f64 / all);
    println!("| all | 100 % | | **{:.3}** |", bytes as f64 / all);
    Ok(bytes as f64 / all)
}

/// Bytes and time of each way, and points.
#[derive(Default)]
struct Ways {
    spent: BTreeMap<usize, (usize, Duration)>,
    points: usize,
}

impl Ways {
    fn device(&mut self, polls: &[Poll]) -> Result<()> {
        for point in 0..POINTS {
            let samples = || polls.iter().filter_map(|poll| poll.samples.get(point)?.as_ref());
            let columns = rivals::columns(samples(), FULL_ROWS);
            self.points += samples().count();
            for (way, (_, write)) in rivals::WAYS.iter().enumerate() {
                let (bytes, spent) = self.spent.entry(way).or_default();
                for column in &columns {
                    *bytes += timed(spent, || write(column))?;
                }
            }
        }
        Ok(())
    }

    fn print(&self) {
        println!(
            "\n## Other ways to write the same columns of {FULL_ROWS} values (values only)\n\n| way | bytes a value | ns a value |\n|---|---|---|"
        );
        for (way, (bytes, spent)) in &self.spent {
            let name = rivals::WAYS.get(*way).map_or("", |(name, _)| name);
            println!("| {name} | {:.3} | {:.1} |", *bytes as f64 / self.points as f64, spent.as_nanos() as f64 / self.points as f64);
        }
    }
}
