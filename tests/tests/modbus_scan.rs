//! `scan modbus` as a person uses it: a pymodbus device, simulated devices over TCP, behind a serial server, and on a serial line whose speed
//! and parity nobody knows. What it prints is accepted by `check`.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use pattoo_tests::profiles;
use pattoo_tests::program::{Program, binary};
use pattoo_tests::pymodbus::PymodbusDevice;
use pattoo_tests::wire::Wire;

/// What pymodbus calls itself is in no profile that we ship.
const PROFILE: &str = "
schema: 1
id: own-pymodbus
manufacturer: x
model: x
match: { identity: { vendor: pymodbus } }
points:
  - { name: power, unit: W, read: { holding: 10, type: i32 } }
";

fn gateway(extra: &Path, args: &[&str]) -> Result<Output> {
    let mut command = Command::new(binary("pattoo-gateway")?);
    Ok(command.arg("--profiles").arg(profiles()).arg("--profiles").arg(extra).args(args).output()?)
}

/// What it prints, after `check` has accepted that.
fn scan(extra: &Path, args: &[&str]) -> Result<(String, String)> {
    let output = gateway(extra, &[&["scan", "modbus"], args].concat())?;
    let (text, progress) = (String::from_utf8_lossy(&output.stdout).into_owned(), String::from_utf8_lossy(&output.stderr).into_owned());
    ensure!(output.status.success(), "{}: {text}{progress}", output.status);
    let config = extra.join("gateway.conf");
    std::fs::write(&config, format!("gateway: g\nuplink: {{ url: 'mqtt://127.0.0.1:1883' }}\n{text}"))?;
    let checked = gateway(extra, &["--config", &config.to_string_lossy(), "check"])?;
    ensure!(checked.status.success(), "{text}\n{}{}", String::from_utf8_lossy(&checked.stdout), String::from_utf8_lossy(&checked.stderr));
    Ok((text, progress))
}

fn simulate(args: &[&str]) -> Result<(Program, String)> {
    let mut command = Command::new(binary("pattoo-gateway")?);
    let program = Program::start("simulator", command.arg("--profiles").arg(profiles()).arg("simulate").args(args))?;
    let line = program.wait_line("the simulator to listen", |line| line.starts_with("listening "))?;
    Ok((program, line.trim_start_matches("listening ").trim().to_owned()))
}

fn has(text: &str, lines: &[&str]) -> Result<()> {
    for line in lines {
        ensure!(text.contains(line), "no {line:?} in\n{text}");
    }
    Ok(())
}

fn folder() -> Result<(tempfile::TempDir, PathBuf)> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().to_owned();
    std::fs::write(path.join("own-pymodbus.yaml"), PROFILE)?;
    Ok((folder, path))
}

#[test]
fn pymodbus_is_found_by_what_it_calls_itself() -> Result<()> {
    let (_folder, extra) = folder()?;
    let words = extra.join("words.json");
    std::fs::write(&words, r#"{ "3": { "holding": { "10": 1, "11": 2 } }, "5": { "holding": { "0": 7 } } }"#)?;
    for (way, flag) in [("tcp", "--tcp"), ("rtu-over-tcp", "--rtu-over-tcp")] {
        let device = PymodbusDevice::start_as(&words, way)?;
        let endpoint = format!("127.0.0.1:{}", device.port);
        let (text, progress) = scan(&extra, &[flag, &endpoint, "--units", "2-6", "--timeout", "300ms"])?;
        has(
            &text,
            &["2 devices found", "# unit 3\n", "# unit 5\n", "function 43/14: vendor Pymodbus", "calls itself Pymodbus", "unit: 3 }"],
        )?;
        has(&progress, &["scanning ", "at most ", "unit 2, found 0"])?;
    }
    Ok(())
}

#[test]
fn simulated_devices_behind_a_gateway_are_found_with_their_profiles() -> Result<()> {
    let (_folder, extra) = folder()?;
    let args =
        ["carlo-gavazzi-em340", "schneider-iem3000", "eastron-sdm120", "sunspec", "--units", "1,17,30,40", "--listen", "127.0.0.1:0"];
    let (_program, endpoint) = simulate(&args)?;
    let (text, _) = scan(&extra, &["--tcp", &endpoint])?;
    has(
        &text,
        &[
            "4 devices found",
            "input 11 = 338",
            "- { name: carlo-gavazzi-em340-1, profile: carlo-gavazzi-em340, link: plc, unit: 1 }",
            "holding 69 = Schneider; holding 49 = iEM3",
            "- { name: schneider-iem3000-17, profile: schneider-iem3000, link: plc, unit: 17 }",
            "- { name: eastron-sdm120-30, profile: eastron-sdm120, link: plc, unit: 30 }",
            "cannot be told apart: - { name: eastron-sdm230-30,",
            "- { name: sunspec-40, profile: sunspec, link: plc, unit: 40 }",
        ],
    )?;
    let output = gateway(&extra, &["scan", "modbus", "--tcp", &endpoint, "--json"])?;
    let json: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let best = json.pointer("/devices/0/profiles/0/profile").context("no profile")?;
    ensure!(best == "carlo-gavazzi-em340" && json["devices"].as_array().map(Vec::len) == Some(4), "{json}");
    Ok(())
}

#[test]
fn on_a_line_of_unknown_speed_and_parity_all_of_its_units_are_found() -> Result<()> {
    let (_folder, extra) = folder()?;
    let wire = Wire::start()?;
    let args = ["peacefair-pzem016", "orno-we516", "--units", "2,9", "--serial", &wire.right, "--baud", "38400", "--parity", "odd"];
    let (_program, _) = simulate(&args)?;
    let (text, progress) = scan(&extra, &["--serial", &wire.left, "--units", "1-12", "--budget", "5m"])?;
    has(
        &text,
        &[
            "2 devices found",
            "# unit 2 at 38400 baud, parity odd",
            "# unit 9 at 38400 baud, parity odd",
            &format!("line1: {{ serial: \"{}\", baud: 38400, parity: odd }}", wire.left),
            "profile: peacefair-pzem016, link: line1, unit: 2 }",
            "profile: orno-we516, link: line1, unit: 9 }",
            "others were not tried once a device was found",
        ],
    )?;
    has(&progress, &["9600 baud, parity none, unit 1, found 0"])
}

#[test]
fn a_scan_ends_in_time_and_says_what_it_did_not_reach() -> Result<()> {
    let (_folder, extra) = folder()?;
    let wire = Wire::start()?;
    let output = gateway(&extra, &["scan", "modbus", "--serial", &wire.left, "--budget", "2s"])?;
    let (text, progress) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{text}{progress}");
    has(&text, &["0 devices found", "in 2 s", "note: not reached: units "])?;
    has(&progress, &["will not be reached where nobody answers: units "])?;
    let output = gateway(&extra, &["scan", "modbus", "--serial", "/dev/serial/by-id/none"])?;
    ensure!(output.status.code() == Some(1), "{output:?}");
    let output = gateway(&extra, &["scan", "modbus", "--tcp", "127.0.0.1:1", "--units", "3-1"])?;
    ensure!(
        output.status.code() == Some(2) && String::from_utf8_lossy(&output.stderr).contains("expected unit ids from 0 to 255"),
        "{output:?}"
    );
    Ok(())
}
