//! Memory and size of the gateway as it ships, at rest: a meter and the host every 10 s, connected and cut off.
//!
//! `cargo bench -p pattoo-tests --bench at_rest --profile dev > tests/bench/at-rest.md`
#![expect(clippy::print_stdout, reason = "prints its table")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use pattoo_tests::program::{Program, binary};
use pattoo_tests::stack::Stack;
use pattoo_tests::{profiles, root, wait_for};

const MEASURE_AFTER: [Duration; 3] = [Duration::from_secs(5), Duration::from_secs(60), Duration::from_secs(180)];

fn main() -> Result<()> {
    let gateway = build()?;
    let bytes = std::fs::metadata(&gateway)?.len();
    println!("# The gateway at rest\n");
    println!("Made by `cargo bench -p pattoo-tests --bench at_rest --profile dev > tests/bench/at-rest.md`.\n");
    println!(
        "Built with `cargo build --profile edge -p pattoo-gateway` (stripped; sled for speed, the rest for size), {}.",
        std::env::consts::ARCH
    );
    println!(
        "It polls one SDM630 and this host every 10 s: 41 points of the meter and all host metrics, batches of 10 s, buffer cache 8 MiB.\n"
    );
    println!("| what | measured | target |\n|---|---|---|");
    println!("| binary | {:.2} MB | 6 MB |", bytes as f64 / 1e6);
    for (name, connected) in [("connected to its server", true), ("cut off, buffering", false)] {
        let resident = measure(&gateway, connected)?;
        for (after, kilobytes) in MEASURE_AFTER.iter().zip(resident) {
            println!("| resident, {name}, after {} s | {:.1} MB | 10 MB |", after.as_secs(), kilobytes as f64 * 1024.0 / 1e6);
        }
    }
    Ok(())
}

fn build() -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status =
        Command::new(cargo).args(["build", "--quiet", "--profile", "edge", "-p", "pattoo-gateway"]).current_dir(root()).status()?;
    ensure!(status.success(), "the gateway does not build");
    let target = binary("pattoo-server")?;
    let target = target.ancestors().find(|path| path.join("edge/pattoo-gateway").exists()).context("no edge build")?;
    Ok(target.join("edge/pattoo-gateway"))
}

fn measure(gateway: &Path, connected: bool) -> Result<Vec<u64>> {
    let mut stack = Stack::new()?;
    let mut command = Command::new(binary("pattoo-gateway")?);
    command.arg("--profiles").arg(profiles()).args(["simulate", "eastron-sdm630", "--listen", "127.0.0.1:0"]);
    let simulator = Program::start("simulator", &mut command)?;
    let line = simulator.wait_line("the simulator to listen", |line| line.starts_with("listening "))?;
    if connected {
        stack.start_server()?;
    }
    let config = stack.configure_gateway(
        "rest",
        &format!(
            "links: {{ line: {{ tcp: '{}' }} }}
devices:
  - {{ name: meter, profile: eastron-sdm630, link: line, unit: 1, every: 10s }}
  - {{ name: host, profile: linux-host, every: 10s }}
",
            line.trim_start_matches("listening ")
        ),
    )?;
    let text = std::fs::read_to_string(&config)?.replace("batch: { every: 1s }", "batch: { every: 10s }");
    std::fs::write(&config, text)?;
    let mut command = Command::new(gateway);
    command.arg("--config").arg(&config).arg("--profiles").arg(profiles()).arg("run");
    let running = Program::start("gateway", &mut command)?;
    let mut waited = Duration::ZERO;
    MEASURE_AFTER
        .iter()
        .map(|after| {
            // The span itself is what is measured; there is no condition to wait for.
            let _ = wait_for::<()>("the span to be over", *after - waited, || None);
            waited = *after;
            resident_kilobytes(running.id())
        })
        .collect()
}

fn resident_kilobytes(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").trim().parse()?)
}
