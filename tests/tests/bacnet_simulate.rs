//! Our simulated BACnet device, judged by a client that we did not write.

use std::net::SocketAddrV4;
use std::process::Command;

use anyhow::{Context, Result};
use pattoo_tests::bacpypes::BacpypesClient;
use pattoo_tests::program::{Program, binary};
use serde_json::{Value, json};

/// Profiles of a folder of its own, as BACnet devices.
struct Simulated {
    address: SocketAddrV4,
    _program: Program,
    _folder: tempfile::TempDir,
}

const PROFILE: &str = "
schema: 1
id: office
manufacturer: Example
model: Office controller
match: { bacnet: { vendor_id: 999, model: OC-1 } }
points:
  - { name: temperature, unit: °C, read: { object: analog-input, instance: 1, cov: true } }
  - { name: setpoint, unit: °C, read: { object: analog-value, instance: 7 }, writable: { min: 15, max: 25 } }
  - { name: valve, unit: \"%\", read: { object: analog-output, named: VLV-O }, writable: { min: 0, max: 100 } }
  - { name: fan, read: { object: binary-output, instance: 2 }, states: { 0: stopped, 1: running }, writable: true }
  - { name: mode, read: { object: multi-state-value, instance: 3, cov: true }, states: { 1: auto, 2: hand, 3: \"off\" }, writable: true }
  - { name: energy, unit: kWh, kind: counter, read: { object: accumulator, instance: 1, scale: device } }
  - { name: total, unit: kWh, kind: counter, read: { object: large-analog-value, instance: 1 } }
  - { name: net, unit: W, read: { object: integer-value, instance: 1, scale: 0.1 } }
  - { name: label, read: { object: characterstring-value, instance: 1 } }
";

impl Simulated {
    fn start(profiles: &[(&str, &str)], ids: &[&str]) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        for (id, text) in profiles {
            std::fs::write(folder.path().join(format!("{id}.yaml")), text)?;
        }
        let mut command = Command::new(binary("pattoo-gateway")?);
        command.arg("--profiles").arg(folder.path()).arg("--profiles").arg(pattoo_tests::profiles());
        command.arg("simulate").args(ids).args(["--bacnet", "127.0.0.1:0", "--device", "4001"]);
        let program = Program::start("pattoo-gateway simulate", &mut command)?;
        let line = program.wait_line("the simulation to listen", |line| line.starts_with("listening "))?;
        let address = line.trim_start_matches("listening ").parse().with_context(|| line.clone())?;
        Ok(Self { address, _program: program, _folder: folder })
    }
}

/// The number that it answers.
fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

#[test]
fn the_judge_finds_each_object_with_its_value_unit_and_states() -> Result<()> {
    let simulated = Simulated::start(&[("office", PROFILE)], &["office"])?;
    let judge = BacpypesClient::start(&simulated.address.to_string())?;
    assert_eq!(judge.ask("who-is")?, json!([[4001, simulated.address.to_string(), 1476, "no-segmentation", 999]]));
    assert_eq!(judge.ask("who-is 5000 6000")?, json!([]));
    for (object, property, expected) in [
        ("device 4001", "object-name", json!("office-4001")),
        ("device 4001", "vendor-name", json!("Example")),
        ("device 4001", "model-name", json!("OC-1")),
        ("device 4001", "segmentation-supported", json!("no-segmentation")),
        ("device 4001", "protocol-version", json!(1)),
        ("analog-input 1", "units", json!("degrees-celsius")),
        ("analog-input 1", "status-flags", json!([0, 0, 0, 0])),
        ("analog-output 1", "object-name", json!("VLV-O")),
        ("binary-output 2", "active-text", json!("running")),
        ("multi-state-value 3", "state-text", json!(["auto", "hand", "off"])),
        ("multi-state-value 3", "number-of-states", json!(3)),
        ("accumulator 1", "units", json!("kilowatt-hours")),
        ("characterstring-value 1", "present-value", json!("label")),
        ("analog-input 2", "present-value", json!({ "refused": "object: unknown-object" })),
        ("analog-input 1", "state-text", json!({ "refused": "property: unknown-property" })),
    ] {
        assert_eq!(judge.ask(&format!("read {object} {property}"))?, expected, "{object} {property}");
    }
    assert!((20.0..50.0).contains(&number(&judge.ask("read analog-input 1 present-value")?)));
    assert!(number(&judge.ask("read accumulator 1 present-value")?) >= 10_000.0, "counts of 0.1 kWh");
    assert!(number(&judge.ask("read large-analog-value 1 present-value")?) >= 1000.0);
    let all = judge.ask("read-multiple multi-state-value 3 present-value priority-array status-flags units")?;
    assert!((1..=3).contains(&all["present-value"].as_u64().context("no state")?), "{all}");
    assert_eq!(all["units"], json!({ "refused": "property: unknown-property" }));
    assert_eq!(number(&judge.ask("read device 4001 object-list 0")?), 10.0, "nine objects and the device");
    Ok(())
}

#[test]
fn the_judge_commands_outputs_by_priority_and_gives_them_back() -> Result<()> {
    let simulated = Simulated::start(&[("office", PROFILE)], &["office"])?;
    let judge = BacpypesClient::start(&simulated.address.to_string())?;
    let before = judge.ask("read analog-output 1 present-value")?;
    for (command, answer) in [
        ("write analog-output 1 40.0 10", json!(true)),
        ("read analog-output 1 present-value", json!(40.0)),
        ("write analog-output 1 60.0 8", json!(true)),
        ("read analog-output 1 present-value", json!(60.0)),
        ("write analog-output 1 null 8", json!(true)),
        ("read analog-output 1 present-value", json!(40.0)),
        ("write analog-output 1 null 10", json!(true)),
        ("read analog-output 1 present-value", before),
        ("write analog-output 1 100.5 10", json!({ "refused": "property: value-out-of-range" })),
        ("write analog-input 1 20.0", json!({ "refused": "property: write-access-denied" })),
        ("write multi-state-value 3 3 16", json!(true)),
        ("read multi-state-value 3 present-value", json!(3)),
        ("write multi-state-value 3 4 16", json!({ "refused": "property: value-out-of-range" })),
        ("write binary-output 2 \"active\" 9", json!(true)),
        ("read binary-output 2 present-value", json!("active")),
        ("write analog-value 7 21.5", json!(true)),
        ("read analog-value 7 present-value", json!(21.5)),
    ] {
        assert_eq!(judge.ask(command)?, answer, "{command}");
    }
    Ok(())
}

#[test]
fn the_judge_is_told_of_changes_with_and_without_its_acknowledgement() -> Result<()> {
    let simulated = Simulated::start(&[("office", PROFILE)], &["office"])?;
    let judge = BacpypesClient::start(&simulated.address.to_string())?;
    for (object, instance, confirmed) in [("analog-value", 7, true), ("multi-state-value", 3, false)] {
        assert_eq!(judge.ask(&format!("subscribe {object} {instance} {confirmed} 300"))?, json!(true));
        let first = judge.told_more_than(0, object, instance)?;
        let told = first.len();
        let other = if object == "analog-value" { json!(15.5) } else { json!(if first[0][0] == json!(1) { 2 } else { 1 }) };
        assert_eq!(judge.ask(&format!("write {object} {instance} {other} 8"))?, json!(true));
        let all = judge.told_more_than(told, object, instance)?;
        assert_eq!(all[told], json!([other, [0, 0, 0, 0]]));
    }
    // What it measures changes by itself.
    assert_eq!(judge.ask("subscribe analog-input 1 false 300")?, json!(true));
    judge.told_more_than(2, "analog-input", 1)?;
    assert_eq!(judge.ask("unsubscribe analog-input 1")?, json!(true));
    Ok(())
}

#[test]
fn further_devices_are_on_a_network_behind_the_first() -> Result<()> {
    let simulated = Simulated::start(&[("office", PROFILE)], &["office", "contemporary-basstat", "kmc-appstat"])?;
    for (mac, device, vendor, object) in [("0x01", 4002, 245, "active_setpoint"), ("0x02", 4003, 28, "remote_sensor")] {
        let judge = BacpypesClient::start(&format!("2001:{mac}@{}", simulated.address))?;
        let who = judge.ask("who-is")?;
        assert_eq!((&who[0][0], &who[0][4]), (&json!(device), &json!(vendor)), "{who}");
        assert_eq!(judge.ask("read analog-input 1 object-name")?, json!(object));
    }
    Ok(())
}
