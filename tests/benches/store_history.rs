//! What history and what series cost the store: the plant is filled into it directly, for 1, 7 and 30 days each 10 s and for a year each minute, or
//! for 1, 10 and 100 times the series; charts of a day and of all are asked, and the latest.
//!
//! `cargo bench --profile release --workspace --bench store_history > tests/bench/store-history.md` prints the tables of history, with `-- --growth`
//! behind it those of series; `--devices N --asked N --hours N --seed N` for others. Fails where an answer is not all of what was filled in.
#![expect(clippy::print_stdout, reason = "its tables go to the terminal")]

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use pattoo_server::query::step_for;
use pattoo_server::store::embedded::Embedded;
use pattoo_server::store::{SeriesId, Store};
use pattoo_tests::store_plant::fill::{Filled, Plan, fill, process_cpu, series};
use pattoo_tests::store_plant::{BEGIN_MS, POINTS};
use pattoo_tests::usage::{forget_peak, peak_resident_bytes, resident_bytes};

const SEED: u64 = 20_201;
const DAY_MS: i64 = 86_400_000;
const HOUR_MS: i64 = 3_600_000;
/// Series of a chart.
const OF_CHART: usize = 4;
/// Buckets of a chart.
const BUCKETS: usize = 1000;

struct Options {
    seed: u64,
    devices: usize,
    asked: usize,
    /// More series instead of more history, and this much of it.
    growth: bool,
    hours: i64,
}

fn options() -> Result<Options> {
    let mut options = Options { seed: SEED, devices: 0, asked: 100, growth: false, hours: 2 };
    let mut words = std::env::args().skip(1).filter(|word| word != "--bench");
    while let Some(word) = words.next() {
        if word == "--growth" {
            options.growth = true;
            continue;
        }
        let value = words.next().with_context(|| format!("{word} without a value"))?;
        match word.as_str() {
            "--seed" => options.seed = value.parse()?,
            "--devices" => options.devices = value.parse()?,
            "--asked" => options.asked = value.parse()?,
            "--hours" => options.hours = value.parse()?,
            _ => anyhow::bail!("{word}: known are --growth, --seed, --devices, --asked and --hours"),
        }
    }
    if options.devices == 0 {
        options.devices = if options.growth { 50 } else { 10 };
    }
    ensure!(options.asked > 0 && options.hours > 0, "more than 0 of each");
    Ok(options)
}

/// What work takes, of CPU and of time.
fn timed<T>(work: impl FnOnce() -> Result<T>) -> Result<(T, Duration, Duration)> {
    let (cpu, begun) = (process_cpu(), Instant::now());
    let done = work()?;
    Ok((done, process_cpu() - cpu, begun.elapsed()))
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// A history, and what is asked of it.
struct Case {
    name: String,
    span_ms: i64,
    plan: Plan,
}

impl Case {
    fn end_ms(&self) -> i64 {
        BEGIN_MS + self.span_ms
    }

    fn all_series(&self) -> Vec<SeriesId> {
        (0..self.plan.devices).flat_map(|device| (0..POINTS).map(move |point| series(device, point))).collect()
    }

    /// Four series, others each time.
    fn chart(&self, turn: usize) -> Vec<SeriesId> {
        (0..OF_CHART).map(|n| series(turn % self.plan.devices, (turn + n * 5) % POINTS)).collect()
    }
}

fn cases(options: &Options) -> Vec<Case> {
    let case = |name: &str, span_ms: i64, poll_ms: i64, devices| {
        let polls = usize::try_from(span_ms / poll_ms).unwrap_or(0);
        Case { name: name.into(), span_ms, plan: Plan { seed: options.seed, first_device: 0, devices, polls, poll_ms } }
    };
    let devices = options.devices;
    if options.growth {
        let of = |times: usize| case(&format!("{} series", times * devices * POINTS), options.hours * HOUR_MS, 10_000, times * devices);
        return [1, 10, 100].map(of).into();
    }
    vec![
        case("1 day at 10 s", DAY_MS, 10_000, devices),
        case("7 days at 10 s", 7 * DAY_MS, 10_000, devices),
        case("30 days at 10 s", 30 * DAY_MS, 10_000, devices),
        case("365 days at 1 min", 365 * DAY_MS, 60_000, devices.div_ceil(5)),
    ]
}

/// Bytes of files below a folder, by the end of their names.
fn bytes(folder: &Path, end: &str) -> Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let about = entry.metadata()?;
        if about.is_file() && entry.file_name().to_string_lossy().ends_with(end) {
            bytes += about.len();
        }
    }
    Ok(bytes)
}

/// Asks again and again; gives a row's cells.
fn asked(times: usize, mut ask: impl FnMut(usize) -> Result<()>) -> Result<String> {
    let mut took = Vec::with_capacity(times);
    let cpu = process_cpu();
    for turn in 0..times {
        let begun = Instant::now();
        ask(turn)?;
        took.push(ms(begun.elapsed()));
    }
    let cpu = ms(process_cpu() - cpu) / times as f64;
    took.sort_by(f64::total_cmp);
    let at = |share: usize| took.get(took.len() * share / 100).copied().unwrap_or(f64::NAN);
    Ok(format!("{:.2} | {:.2} | {cpu:.2} |", at(50), at(95)))
}

/// A chart of some series; gives how many readings it tells of.
fn chart(store: &dyn Store, ids: &[SeriesId], (from_ms, to_ms): (i64, i64), step_ms: i64) -> Result<u64> {
    let mut count = 0;
    for id in ids {
        count += store.buckets(*id, from_ms, to_ms, step_ms)?.iter().map(|bucket| bucket.count).sum::<u64>();
    }
    Ok(count)
}

/// Fills, tidies, opens anew and asks; prints the row of ingest, gives those of questions. The latest are those of the first `few` series, as many in each case.
fn run(case: &Case, asked_times: usize, few: usize) -> Result<Vec<String>> {
    let me = std::process::id();
    forget_peak(me)?;
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let path = folder.path().join("pattoo.redb");
    let store = Embedded::open(&path)?;
    let Filled { points, spent } = fill(&store, &case.plan)?;
    let peak = peak_resident_bytes(me)?;
    // One device that fell silent after its first hour.
    let silent = Plan { first_device: case.plan.devices, devices: 1, polls: 60, ..case.plan };
    fill(&store, &silent)?;
    let ((), tidied, _) = timed(|| Ok(store.tidy(case.end_ms() + DAY_MS)?))?;
    drop(store);
    let parts = folder.path().join("parts");
    let (raw, rollups) = (bytes(&parts, ".part")? as f64, bytes(&parts, ".rollup")? as f64);
    let (store, _, start) = timed(|| Ok(Embedded::open(&path)?))?;
    let of = points as f64;
    print!(
        "| {} | {} | {points} | {:.0} | {:.0} | {:.3} | {:.3} | {:.0} | {:.0} |",
        case.name,
        case.plan.devices * POINTS,
        spent.as_nanos() as f64 / of,
        tidied.as_nanos() as f64 / of,
        raw / of,
        rollups / of,
        mb(peak),
        ms(start)
    );
    let ids = case.all_series();
    let few = ids.get(..few).context("fewer series than those whose latest is asked")?;
    let silent: Vec<SeriesId> = (0..POINTS).map(|point| series(case.plan.devices, point)).collect();
    let latest = |ids: &[SeriesId]| timed(|| Ok(store.latest(ids)?));
    let (found, _, first) = latest(few)?;
    ensure!(found.iter().all(Option::is_some), "a series without its latest");
    let (found, _, of_silent) = latest(&silent)?;
    ensure!(found.iter().all(Option::is_some), "a silent series without its latest");
    let (found, _, of_none) = latest(&[SeriesId(u32::MAX)])?;
    ensure!(found == [None], "a latest of a series that has nothing");
    let all = (BEGIN_MS, case.end_ms());
    let (day, step_ms) = ((all.0.max(all.1 - DAY_MS), all.1), step_for(all.0, all.1, BUCKETS));
    let (by_rollups, by_readings) = (chart(&store, &ids, all, step_ms)?, chart(&store, &ids, all, step_ms + 1)?);
    // Text is in none of them, and NaN neither: every point is a number.
    ensure!((by_rollups, by_readings) == (points, points), "{by_rollups} and {by_readings} of {points} readings");
    let ask =
        |name: &str, question: &dyn Fn(usize) -> Result<()>| Ok(format!("| {name} | {} | {}", case.name, asked(asked_times, question)?));
    let mut rows: Vec<Result<String>> = vec![
        ask(&format!("last 24 h, {OF_CHART} series in {BUCKETS} buckets"), &|turn| {
            chart(&store, &case.chart(turn), day, step_for(day.0, day.1, BUCKETS)).map(drop)
        }),
        ask(&format!("all of it, {OF_CHART} series in at most {BUCKETS} buckets"), &|turn| {
            chart(&store, &case.chart(turn), all, step_ms).map(drop)
        }),
        ask("the same from readings: a step that no rollup divides", &|turn| chart(&store, &case.chart(turn), all, step_ms + 1).map(drop)),
        ask(&format!("latest of {} series", few.len()), &|_| store.latest(few).map(drop).map_err(Into::into)),
    ];
    println!(" {:.0} |", mb(resident_bytes(me)?));
    let once = |name: String, took: Duration| Ok(format!("| {name} | {} | {:.2} | | |", case.name, ms(took)));
    rows.push(once(format!("latest of {} series, the first time after a start", few.len()), first));
    rows.push(once(format!("latest of {POINTS} series silent since the first minutes, the first time"), of_silent));
    rows.push(once("latest of a series that has nothing, the first time".into(), of_none));
    rows.into_iter().collect()
}

fn mb(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

fn main() -> Result<()> {
    let options = options()?;
    let (title, more) = if options.growth { ("The store and its series", " -- --growth") } else { ("The store and its history", "") };
    println!("# {title}\n");
    println!("Made by `cargo bench --profile release --workspace --bench store_history{more}`; seed {}.\n", options.seed);
    println!(
        "CPU is that of the whole process, without making the values; merging and rolling up go on beside filling, and what is left of them is in the next column. The most memory is that of the time of filling; resident is after all questions.\n"
    );
    println!(
        "| history | series | points | ns a point, to the acknowledgement | ns a point, the rest of merging and rolling up | bytes a point in parts | in rollups | most memory, MB | ms to open it | resident, MB |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    let cases = cases(&options);
    let few = cases.iter().map(|case| case.plan.devices * POINTS).min().unwrap_or(0);
    let mut rows = Vec::new();
    for case in &cases {
        rows.extend(run(case, options.asked, few).with_context(|| case.name.clone())?);
    }
    println!("\nEach question {} times, of other series each time; in this process, without HTTP.\n", options.asked);
    println!("| question | history | p50 ms | p95 ms | CPU ms |\n|---|---|---|---|---|");
    // By question: what must not grow with history shows at a glance.
    rows.sort_by_key(|row| row.split('|').nth(1).map(str::to_owned));
    rows.iter().for_each(|row| println!("{row}"));
    println!("\nCharts of all were compared with the number of readings before they were timed, by rollups and from readings.");
    Ok(())
}
