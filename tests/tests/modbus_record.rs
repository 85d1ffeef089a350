//! `record` against a pymodbus device, and `profile test` of what it wrote: as a person uses them.

use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Result, ensure};
use pattoo_tests::profiles;
use pattoo_tests::program::{Program, binary};
use pattoo_tests::pymodbus::PymodbusDevice;
use pattoo_tests::wire::Wire;

const PROFILE: &str = "
schema: 1
id: own-meter
manufacturer: x
model: x
points:
  - { name: power, unit: W, read: { holding: 10, type: i32 } }
  - { name: missing, read: { holding: 500, type: u16 } }
  - { name: label, read: { input: 3, type: text, registers: 2 } }
  - { name: on, read: { coil: 5 } }
";

const WORDS: &str = r#"{ "3": { "holding": { "10": 65535, "11": 65000 }, "input": { "3": 16706, "4": 17152 }, "coil": { "5": 1 } } }"#;

fn gateway(folder: &Path, args: &[&str]) -> Result<Output> {
    let mut command = Command::new(binary("pattoo-gateway")?);
    command.arg("--profiles").arg(folder).arg("--config").arg(folder.join("gateway.conf")).args(args);
    Ok(command.output()?)
}

fn text(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat()
}

#[test]
fn what_is_recorded_from_pymodbus_is_a_fixture_that_is_good_until_somebody_changes_it() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let words = folder.path().join("words.json");
    std::fs::write(&words, WORDS)?;
    let device = PymodbusDevice::start(&words)?;
    std::fs::write(folder.path().join("own-meter.yaml"), PROFILE)?;
    let config = format!(
        "gateway: g\nuplink: {{ url: 'mqtt://127.0.0.1:1883' }}\nlinks: {{ plc: {{ tcp: '127.0.0.1:{}' }} }}\n\
         devices:\n  - {{ name: meter, profile: own-meter, link: plc, unit: 3 }}\n",
        device.port
    );
    std::fs::write(folder.path().join("gateway.conf"), config)?;
    let file = folder.path().join("own-meter.fixture.json");
    let name = file.to_string_lossy();
    for case in ["first", "second"] {
        let output = gateway(folder.path(), &["record", "meter", "-o", &name, "--case", case])?;
        ensure!(output.status.success(), "{}", text(&output));
    }
    let recorded = std::fs::read_to_string(&file)?;
    for expected in [
        r#"{ "table": "holding", "address": 10, "words": "ffff fde8" }"#,
        r#""power": {"value": "-536"}"#,
        r#""missing": {"bad": "exception 02 (illegal data address)"}"#,
        r#""label": {"value": "ABC"}"#,
        r#""on": {"value": "true"}"#,
        r#""name": "second""#,
    ] {
        ensure!(recorded.contains(expected), "no {expected} in {recorded}");
    }
    let output = gateway(folder.path(), &["profile", "test"])?;
    ensure!(output.status.success() && text(&output).contains("own-meter: good (2 cases of 4 points)"), "{}", text(&output));

    std::fs::write(&file, recorded.replacen("fde8", "fde9", 1))?;
    let output = gateway(folder.path(), &["profile", "test", &name])?;
    let says = text(&output);
    ensure!(output.status.code() == Some(1) && says.contains(r#"first: power is {"value": "-535"}, not {"value": "-536"}"#), "{says}");

    let output = gateway(folder.path(), &["record", "meter", "-o", &name, "--case", "first"])?;
    ensure!(output.status.code() == Some(1) && text(&output).contains("name another one with --case"), "{}", text(&output));
    Ok(())
}

/// On a serial line other requests are the best ones than over TCP, where the fixture is played.
#[test]
fn a_recording_of_a_serial_line_plays_as_well() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let wire = Wire::start()?;
    let mut command = Command::new(binary("pattoo-gateway")?);
    command.arg("--profiles").arg(profiles()).args(["simulate", "eastron-sdm630", "--units", "5", "--serial", &wire.right]);
    let simulator = Program::start("simulator", &mut command)?;
    simulator.wait_line("the simulator to listen", |line| line.starts_with("listening "))?;
    let config = format!(
        "gateway: g\nuplink: {{ url: 'mqtt://127.0.0.1:1883' }}\nlinks: {{ line1: {{ serial: {}, baud: 9600, parity: none }} }}\n\
         devices:\n  - {{ name: meter, profile: eastron-sdm630, link: line1, unit: 5 }}\n",
        wire.left
    );
    std::fs::write(folder.path().join("gateway.conf"), config)?;
    std::fs::copy(profiles().join("eastron-sdm630.yaml"), folder.path().join("eastron-sdm630.yaml"))?;
    let file = folder.path().join("eastron-sdm630.fixture.json");
    let output = gateway(folder.path(), &["record", "meter", "-o", &file.to_string_lossy()])?;
    ensure!(output.status.success(), "{}", text(&output));
    let recorded = std::fs::read_to_string(&file)?;
    ensure!(recorded.contains("\"requests\": 3,") && recorded.contains("unit 5 on a serial line at 9600 baud"), "{recorded}");
    let output = gateway(folder.path(), &["profile", "test"])?;
    ensure!(output.status.success() && text(&output).contains("eastron-sdm630: good (1 cases of 41 points)"), "{}", text(&output));
    Ok(())
}

#[test]
fn every_fixture_that_we_ship_is_good() -> Result<()> {
    let output = Command::new(binary("pattoo-gateway")?).arg("--profiles").arg(profiles()).args(["profile", "test"]).output()?;
    let says = text(&output);
    ensure!(output.status.success() && says.lines().filter(|line| line.contains(": good (")).count() > 20, "{says}");
    Ok(())
}
