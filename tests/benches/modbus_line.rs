//! How much of a serial line's time the driver uses, at the true rate of a UART.
//!
//! `cargo bench -p pattoo-tests --bench modbus_line --profile dev > tests/bench/modbus-line.md`
#![expect(clippy::print_stdout, reason = "prints its table")]

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use pattoo_gateway::config::{Device, Transport};
use pattoo_gateway::driver::Driver as _;
use pattoo_gateway::driver::modbus::Modbus;
use pattoo_gateway::link::serial::SerialLine;
use pattoo_gateway::profile::{Parity, Profile};
use pattoo_gateway::reading::{DeviceIndex, PointIndex};
use pattoo_gateway::schedule::{Entry, MAX_PHASE, Next, Outcome, Schedule};
use pattoo_tests::line::{Line, time_of};

/// How long each case runs.
const RUN: Duration = Duration::from_secs(20);
/// What a device that does not answer costs.
const TIMEOUT: Duration = Duration::from_millis(500);
/// From the end of a question to the beginning of its answer.
const TURNAROUND: Duration = Duration::from_millis(5);

/// A device and what the fewest requests for its points that are cheapest on the line fetch: data bytes of each.
struct Kind {
    points: Vec<String>,
    fewest: &'static [usize],
}

fn registers(first: u16, count: u16) -> impl Iterator<Item = String> {
    (first..first + count).map(|address| format!("{{ name: r{address}, read: {{ holding: {address}, type: u16 }} }}"))
}

fn meter() -> Kind {
    Kind { points: registers(0, 100).collect(), fewest: &[200] }
}

/// Ten devices of five kinds, as they share a line: two meters, two drives with registers far apart, two sensors, two I/O, two with holes.
fn mixed() -> Vec<Kind> {
    let bits = |count: u16| (0..count).map(|address| format!("{{ name: c{address}, kind: state, read: {{ coil: {address} }} }}")).collect();
    let kinds = || {
        [
            meter(),
            Kind { points: registers(0, 20).chain(registers(1000, 20)).collect(), fewest: &[40, 40] },
            Kind { points: registers(7, 2).collect(), fewest: &[4] },
            Kind { points: bits(16), fewest: &[2] },
            // A hole of two registers costs less than another request.
            Kind { points: registers(0, 10).chain(registers(12, 10)).collect(), fewest: &[44] },
        ]
    };
    kinds().into_iter().chain(kinds()).collect()
}

fn device(unit: usize, kind: &Kind) -> Result<Device> {
    let mut yaml = "schema: 1\nid: x\nmanufacturer: x\nmodel: x\nmodbus: { max_registers: 125, max_gap: 4 }\npoints:\n".to_owned();
    for point in &kind.points {
        writeln!(yaml, "  - {point}")?;
    }
    let profile = Profile::read("x.yaml".as_ref(), yaml.as_bytes()).map_err(|problems| anyhow!("{problems:?}"))?;
    let (every, labels) = (Duration::from_secs(1), BTreeMap::default());
    Ok(Device { name: format!("d{unit}"), profile: Arc::new(profile), unit: u8::try_from(unit)?, every, labels })
}

fn main() -> Result<()> {
    println!("# How much of a serial line is used\n");
    println!("Made by `cargo bench -p pattoo-tests --bench modbus_line --profile dev > tests/bench/modbus-line.md`, debug build.\n");
    println!(
        "The line delivers each byte when a UART would (8 data bits, even parity, one stop bit), devices answer {TURNAROUND:?} after the \
         question. *Limit* is what the line can do for the same registers in the fewest, cheapest requests: 3.5 characters of silence \
         (1.75 ms above 19200 baud), question, the device's time, answer, and at once the next. *Share* is the rate that the driver \
         reached over that limit; *late* is how much of the run the simulated line itself was behind, since this machine has more to do; \
         *without* is the share when that is left out; *silence* is what lay on average between an answer and the next question. Each case runs {} s.\n",
        RUN.as_secs()
    );
    println!("| bus | baud | values/s | limit | share | late | without | silence |\n|---|---|---|---|---|---|---|---|");
    for (name, kinds) in [("one meter of 100 registers", vec![meter()]), ("ten devices of five kinds", mixed())] {
        for baud in [9600, 19_200, 115_200] {
            run(name, &kinds, baud)?;
        }
    }
    println!("\n## One of ten is dead\n");
    println!(
        "The schedule on the same ten devices at 9600 baud, in virtual time: each is read so often that the line is busy for 90 % when all \
         answer; then the last one answers no more, and costs {TIMEOUT:?} whenever it is tried. *Rate* is how often the other nine were \
         read, of what they want; *late* how long after their time.\n"
    );
    println!("| time | rate of the nine | the same, all alive | late, p95 | the same, all alive |\n|---|---|---|---|---|");
    for minutes in [1, 5, 60] {
        let ([rate, late], [rate_alive, late_alive]) = (scheduled(minutes, true)?, scheduled(minutes, false)?);
        println!("| first {minutes} min | {rate:.1} % | {rate_alive:.1} % | {late:.0} ms | {late_alive:.0} ms |");
    }
    println!("\nLoad of the machine at the end: {}", std::fs::read_to_string("/proc/loadavg")?.split(' ').next().unwrap_or_default());
    Ok(())
}

/// Serves the ten devices by the schedule for so long: how often nine of them were read, in percent of what they want, and how late in ms
/// (95th percentile).
fn scheduled(minutes: u64, last_is_dead: bool) -> Result<[f64; 2]> {
    let settings = SerialLine { path: "".into(), baud: 9600, parity: Parity::Even, stop_bits: 1, rs485: false, echo: false };
    let costs: Vec<Duration> =
        mixed().iter().map(|kind| kind.fewest.iter().map(|bytes| time_of(&settings, TURNAROUND, *bytes)).sum()).collect();
    let every = costs.iter().sum::<Duration>().mul_f64(1.0 / 0.9);
    let entries = (0..costs.len()).map(|device| Entry { device: DeviceIndex(device), every, points: Vec::new() }).collect();
    let (start, end) = (Instant::now(), Duration::from_secs(60 * minutes));
    let (mut schedule, mut now, mut late, last) = (Schedule::new(entries, start, 7), start, Vec::new(), costs.len() - 1);
    while now - start < end {
        let due = match schedule.next(now) {
            Next::Wait(until) => {
                now = until;
                continue;
            }
            Next::Due(due) => due,
        };
        let dead = last_is_dead && due.device.0 == last;
        if due.device.0 != last {
            // Entries begin spread over their interval.
            let phase = every.min(MAX_PHASE).mul_f64(due.device.0 as f64 / costs.len() as f64);
            let since = (now - start).saturating_sub(phase).as_nanos() % every.as_nanos();
            late.push(since as f64 * 1e-9 + due.skipped as f64 * every.as_secs_f64());
        }
        if !due.backed_off {
            now += if dead { TIMEOUT } else { costs[due.device.0] };
            schedule.done(due.entry, now, if dead { Outcome::Failed } else { Outcome::Answered });
        }
    }
    late.sort_by(f64::total_cmp);
    let wanted = end.as_secs_f64() / every.as_secs_f64() * last as f64;
    ensure!(!late.is_empty(), "somebody was read");
    Ok([100.0 * late.len() as f64 / wanted, 1e3 * late[late.len() * 95 / 100]])
}

fn run(name: &str, kinds: &[Kind], baud: u32) -> Result<()> {
    let settings = SerialLine { path: "".into(), baud, parity: Parity::Even, stop_bits: 1, rs485: false, echo: false };
    let line = Line::start(&settings, TURNAROUND)?;
    let transport =
        Transport::ModbusRtu { line: SerialLine { path: line.path.clone().into(), ..settings.clone() }, timeout: Duration::from_secs(2) };
    let devices: Vec<Device> = (1..).zip(kinds).map(|(unit, kind)| device(unit, kind)).collect::<Result<_>>()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut driver = Modbus::new(&transport, Box::new(|| 0));
    let mut round = || {
        let mut good = 0;
        for (index, device) in devices.iter().enumerate() {
            let points: Vec<_> = (0..device.profile.points.len()).map(PointIndex).collect();
            let transactions = runtime.block_on(driver.read(DeviceIndex(index), device, &points));
            good += transactions
                .iter()
                .flat_map(|transaction| &transaction.readings)
                .filter(|reading| reading.sample.value().is_some())
                .count();
        }
        good
    };
    let of_round: usize = kinds.iter().map(|kind| kind.points.len()).sum();
    ensure!(round() == of_round, "all readings are good");
    let (before, start) = (line.seen(), Instant::now());
    let mut values = 0;
    while start.elapsed() < RUN {
        let good = round();
        ensure!(good == of_round, "all readings are good: {good} of {of_round}");
        values += good;
    }
    let (took, seen) = (start.elapsed().as_secs_f64(), line.seen());
    let late = (seen.late - before.late).as_secs_f64();
    let best: Duration = kinds.iter().flat_map(|kind| kind.fewest).map(|bytes| time_of(&settings, TURNAROUND, *bytes)).sum();
    let limit = of_round as f64 / best.as_secs_f64();
    let (rate, without) = (values as f64 / took, values as f64 / (took - late));
    let percent = |rate: f64| format!("{:.1} %", 100.0 * rate / limit);
    let silence = (seen.silence - before.silence).as_secs_f64() * 1e3 / (seen.questions - before.questions) as f64;
    let (late_percent, needed) = (100.0 * late / took, settings.frame_gap().as_secs_f64() * 1e3);
    let (share, without) = (percent(rate), percent(without));
    println!(
        "| {name} | {baud} | {rate:.1} | {limit:.1} | {share} | {late_percent:.1} % | {without} | {silence:.1} ms of {needed:.1} ms |"
    );
    Ok(())
}
