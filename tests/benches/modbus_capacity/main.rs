//! What it costs to poll 10,000 points a second over Modbus TCP, beside a plain loop of pymodbus's client.
//!
//! `cargo build --profile edge --workspace --bins && PATTOO_TEST_BIN=$PWD/target/edge cargo bench --profile edge --workspace --bench
//! modbus_capacity > tests/bench/modbus-capacity.md`, in about eight minutes. Built as it ships: small. Fails when the polling side is over
//! its target.
#![expect(clippy::print_stdout, reason = "its tables go to the terminal")]

mod devices;
mod poller;

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use pattoo_tests::program::{Program, binary};
use pattoo_tests::stack::Stack;
use pattoo_tests::{python, root, usage, wait_for};
use serde::{Deserialize, Serialize};

const WARM_UP: Duration = Duration::from_secs(15);
const SPAN: Duration = Duration::from_secs(60);

/// Folder of the profile, beside the configuration.
const PROFILES: &str = "profiles";

/// Of one core, and of memory: the polling side with 10,000 points a second.
const TARGET_CPU_PERCENT: f64 = 5.0;
const TARGET_RESIDENT_MB: f64 = 15.0;

/// What one way of reading the devices took while it was measured.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Figures {
    values: u64,
    cpu_s: f64,
    resident: u64,
    late_p95_ms: Option<f64>,
    late_p99_ms: Option<f64>,
}

/// So many devices, so many points each, all read each second.
struct Case {
    devices: usize,
    points: usize,
}

fn main() -> Result<ExitCode> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["devices", count] => {
            devices::serve(count.parse()?)?;
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
    for case in [Case { devices: 1000, points: 10 }, Case { devices: 100, points: 100 }] {
        good &= measure(&case)?;
    }
    println!("\nLoad of the machine at the end: {}", std::fs::read_to_string("/proc/loadavg")?.split(' ').next().unwrap_or_default());
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn head() {
    println!("# What it costs to poll 10,000 points a second\n");
    println!(
        "Made by `cargo build --profile edge --workspace --bins && PATTOO_TEST_BIN=$PWD/target/edge cargo bench --profile edge --workspace \
         --bench modbus_capacity > tests/bench/modbus-capacity.md`: built as it ships, small.\n"
    );
    println!(
        "Devices are TCP ports of one process on loopback that answer at once. Every point is a float in two input registers and is read each \
         second; 100 points take two requests, 10 take one. Each row is a process of its own that is measured for {} s after {} s. *CPU* is \
         user and kernel time of all its threads, of one core; *late* is how long after its time a poll began, \
         of the device for which it is worst.\n",
        SPAN.as_secs(),
        WARM_UP.as_secs()
    );
    println!("- *Polling side*: schedule, drivers, decoder; the readings are counted and dropped. Target: 5 % and 15 MB.");
    println!(
        "- *Whole gateway*: the daemon, which also batches, stores every batch on disk with a sync each second, and sends it to a server."
    );
    println!("- *pymodbus*: `tests/benches/modbus_capacity/plain_loop.py`, one coroutine for each device, floats decoded, nothing kept.\n");
    println!("| devices | points each | what | points/s | CPU | resident | late, p95 | late, p99 |\n|---|---|---|---|---|---|---|---|");
}

fn measure(case: &Case) -> Result<bool> {
    let own = std::env::current_exe()?;
    let served = Program::start("devices", Command::new(&own).args(["devices", &case.devices.to_string()]))?;
    let line = served.wait_line("the devices to listen", |line| line.starts_with("listening "))?;
    let ports: Vec<u16> = serde_json::from_str(line.trim_start_matches("listening "))?;

    let mut stack = Stack::new()?;
    let profiles = stack.folder().join(PROFILES);
    write_profile(&profiles, case)?;
    stack.start_server()?;
    let config = stack.configure_gateway("capacity", &links(&ports))?;

    let polling = of_child(Command::new(&own).arg("poll").arg(&config), "")?;
    row(case, "Pattoo, polling side", &polling);
    row(case, "Pattoo, whole gateway", &whole(&stack, &config, &profiles)?);
    let registers = (case.points * 2).to_string();
    let (warm_up, span) = (WARM_UP.as_secs().to_string(), SPAN.as_secs().to_string());
    let script = root().join("tests/benches/modbus_capacity/plain_loop.py");
    let mut command = Command::new(python()?);
    command.arg(script).args([registers, warm_up, span]);
    row(case, "pymodbus, plain loop", &of_child(&mut command, &serde_json::to_string(&ports)?)?);
    Ok(percent(&polling) <= TARGET_CPU_PERCENT && megabytes(&polling) <= TARGET_RESIDENT_MB)
}

fn write_profile(folder: &Path, case: &Case) -> Result<()> {
    let mut text = "schema: 1\nid: capacity\nmanufacturer: x\nmodel: x\nmodbus: { max_registers: 120 }\npoints:\n".to_owned();
    for point in 0..case.points {
        writeln!(text, "  - {{ name: p{point}, unit: V, read: {{ input: {}, type: f32 }} }}", point * 2)?;
    }
    std::fs::create_dir(folder)?;
    std::fs::write(folder.join("capacity.yaml"), text)?;
    Ok(())
}

fn links(ports: &[u16]) -> String {
    let (mut links, mut devices) = ("links:\n".to_owned(), "devices:\n".to_owned());
    for port in ports {
        let _ = writeln!(links, "  l{port}: {{ tcp: '127.0.0.1:{port}' }}");
        let _ = writeln!(devices, "  - {{ name: d{port}, profile: capacity, link: l{port}, unit: 1, every: 1s }}");
    }
    links + &devices
}

/// The figures that a program prints when it ends.
fn of_child(command: &mut Command, input: &str) -> Result<Figures> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    child.stdin.take().context("no input")?.write_all(input.as_bytes())?;
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "{command:?} failed");
    serde_json::from_slice(&output.stdout).context("no figures")
}

/// The daemon as it ships, until it has been measured.
fn whole(stack: &Stack, config: &Path, profiles: &Path) -> Result<Figures> {
    let ready = stack.folder().join("capacity.ready");
    let mut command = Command::new(binary("pattoo-gateway")?);
    command.arg("--config").arg(config).arg("--profiles").arg(profiles).arg("run").arg("--ready-file").arg(&ready);
    let mut gateway = Program::start("gateway", &mut command)?;
    gateway.wait_ready(&ready)?;
    pass(WARM_UP);
    let before = (usage::cpu_s(gateway.id())?, stored(stack)?);
    pass(SPAN);
    let figures = Figures {
        values: stored(stack)? - before.1,
        cpu_s: usage::cpu_s(gateway.id())? - before.0,
        resident: usage::resident_bytes(gateway.id())?,
        late_p95_ms: None,
        late_p99_ms: None,
    };
    gateway.stop()?;
    Ok(figures)
}

/// Readings of the gateway that its server has.
fn stored(stack: &Stack) -> Result<u64> {
    let gateways = stack.api()?.json("/api/v1/gateways")?;
    gateways
        .pointer("/gateways/0/received/readings")
        .and_then(serde_json::Value::as_u64)
        .with_context(|| format!("no readings in {gateways}"))
}

/// The span itself is what is measured; there is no condition to wait for.
fn pass(span: Duration) {
    let _ = wait_for::<()>("the span to be over", span, || None);
}

fn row(case: &Case, what: &str, figures: &Figures) {
    let late = |ms: Option<f64>| ms.map_or(String::new(), |ms| format!("{ms:.1} ms"));
    println!(
        "| {} | {} | {what} | {:.0} | {:.1} % | {:.1} MB | {} | {} |",
        case.devices,
        case.points,
        figures.values as f64 / SPAN.as_secs_f64(),
        percent(figures),
        megabytes(figures),
        late(figures.late_p95_ms),
        late(figures.late_p99_ms),
    );
}

fn percent(figures: &Figures) -> f64 {
    100.0 * figures.cpu_s / SPAN.as_secs_f64()
}

fn megabytes(figures: &Figures) -> f64 {
    figures.resident as f64 / 1e6
}
