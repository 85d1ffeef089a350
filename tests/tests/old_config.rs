//! `convert`: the YAML of an old agent, as it is, becomes a configuration that reads the same registers of the same device.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use pattoo_tests::profiles;
use pattoo_tests::program::{Program, binary};
use pattoo_tests::pymodbus::PymodbusDevice;
use serde_json::Value;

/// What the old agents of a plant polled: a run of holding registers of unit 5, and a BACnet device of which only the address is known.
const MODBUS: &str = "
pattoo_agent_modbustcpd:
  polling_interval: 60
  polling_groups:
    - group_name: Chiller 1
      ip_devices: [127.0.0.1]
      input_registers:
        - address: 30123
          multiplier: 0.1
        - 30124
      holding_registers:
        - address: 40001
        - address: 40002
        - address: 40003
          multiplier: 8
      unit: 5
";
const BACNET: &str = "
agent_ip_address: 127.0.0.1
polling_groups:
  - group_name: Office
    ip_targets: [ADDRESS]
    points:
      - address: 7
      - address: 8
        multiplier: 10
";
/// What its registers hold; a 65535 is one and no -1.
const UNITS: &str = r#"{"5": {"input": {"122": 235, "123": 65535}, "holding": {"0": 11, "1": 12, "2": 13}}, "0": {"holding": {"0": 99, "1": 99, "2": 99}}}"#;
const OFFICE: &str = "schema: 1
id: office
manufacturer: Example
model: Office
points:
  - { name: a, read: { object: analog-value, instance: 7 } }
  - { name: b, read: { object: analog-value, instance: 8 } }
";

fn gateway(args: &[&str]) -> Result<Output> {
    Ok(Command::new(binary("pattoo-gateway")?).arg("--profiles").arg(profiles()).args(args).output()?)
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

/// All readings of a configuration as `device/point -> value`.
fn poll(config: &Path, own: &Path) -> Result<Vec<(String, Value)>> {
    let (config, own) = (config.display().to_string(), own.display().to_string());
    let output = gateway(&["--profiles", &own, "--config", &config, "poll", "--json"])?;
    let polled: Value = serde_json::from_slice(&output.stdout).with_context(|| text(&output))?;
    let devices = polled.as_array().context("devices")?;
    let readings =
        devices.iter().flat_map(|device| device["readings"].as_array().into_iter().flatten().map(move |reading| (device, reading)));
    readings
        .map(|(device, reading)| {
            ensure!(reading["quality"] == "good", "{reading}");
            Ok((
                format!("{}/{}", device["device"].as_str().unwrap_or_default(), reading["point"].as_str().unwrap_or_default()),
                reading["value"].clone(),
            ))
        })
        .collect()
}

#[test]
fn a_converted_file_passes_check_and_reads_what_the_old_agent_was_told_to() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let units = folder.path().join("units.json");
    std::fs::write(&units, UNITS)?;
    let device = PymodbusDevice::start(&units)?;
    std::fs::write(folder.path().join("office.yaml"), OFFICE)?;
    let mut command = Command::new(binary("pattoo-gateway")?);
    command.arg("--profiles").arg(folder.path()).args(["simulate", "office", "--bacnet", "127.0.0.1:0", "--device", "4001"]);
    let office = Program::start("pattoo-gateway simulate", &mut command)?;
    let line = office.wait_line("the simulation to listen", |line| line.starts_with("listening "))?;
    let office_at: SocketAddr = line.trim_start_matches("listening ").parse()?;

    let old = folder.path().join("pattoo_agent_modbustcpd.yaml");
    let other = folder.path().join("pattoo_agent_bacnetipd.yaml");
    std::fs::write(&old, MODBUS)?;
    std::fs::write(&other, BACNET.replace("ADDRESS", &format!("'{office_at}'")))?;
    let out = folder.path().join("new");
    let (old, other, out_text) = (old.display().to_string(), other.display().to_string(), out.display().to_string());
    let convert = || gateway(&["convert", &old, &other, "--out", &out_text]);
    let converted = convert()?;
    ensure!(converted.status.success(), "{}", text(&converted));

    let (config, own) = (out.join("gateway.yaml"), out.join("hw-profiles"));
    let checked = gateway(&["--profiles", &own.display().to_string(), "--config", &config.display().to_string(), "check"])?;
    ensure!(checked.status.success(), "{}", text(&checked));

    // The old agents knew only port 502, and BACnet/IP's own on this side.
    let written = std::fs::read_to_string(&config)?;
    let moved = written.replace("127.0.0.1:502", &format!("127.0.0.1:{}", device.port)).replace("\"127.0.0.1:47808\"", "\"127.0.0.1:0\"");
    ensure!(moved != written, "{written}");
    std::fs::write(&config, moved)?;
    let readings = poll(&config, &own)?;
    let number = |name: &str| readings.iter().find(|(own, _)| own.ends_with(name)).and_then(|(_, value)| value.as_f64());
    for (name, expected) in [
        ("/input_register_30123", 23.5),
        ("/input_register_30124", 65_535.0),
        ("/holding_register_40001", 11.0),
        ("/holding_register_40002", 12.0),
        ("/holding_register_40003", 104.0),
    ] {
        ensure!(number(name) == Some(expected), "{name}: {readings:?}");
    }
    for name in ["/analog_value_point_7", "/analog_value_point_8"] {
        ensure!(number(name).is_some(), "{name}: {readings:?}");
    }
    ensure!(readings.len() == 7, "{readings:?}");

    // What is there stays.
    let again = convert()?;
    ensure!(
        again.status.code() == Some(1) && text(&again).contains("gateway.yaml is there already: nothing was written"),
        "{}",
        text(&again)
    );
    ensure!(std::fs::read_to_string(&config)?.contains("127.0.0.1:0"), "it was written over");
    Ok(())
}

#[test]
fn what_cannot_be_converted_is_told_and_the_rest_is_with_secrets_for_the_owner_alone() -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir()?;
    let old = folder.path().join("config.yaml");
    std::fs::write(
        &old,
        "pattoo_agent_opcuad:\n  polling_groups:\n    - { group_name: G, ip_target: ua.example, username: u, password: quiet-1, nodes: [{ address: x }] }\n\
         pattoo_agent_snmpd:\n  polling_groups:\n    - { group_name: G, ip_targets: [10.0.0.9], oids: [.1.3.6.1.2.1.1.3.0], more: 1 }\n  \
         auth_groups:\n    - { group_name: G, ip_targets: [10.0.0.9], snmp_community: quiet-2 }\n",
    )?;
    let (old, out) = (old.display().to_string(), folder.path().join("new"));
    let converted = gateway(&["convert", &old, "--out", &out.display().to_string()])?;
    let told = text(&converted);
    ensure!(converted.status.code() == Some(1), "{told}");
    for line in [
        format!("{old}:3:7: pattoo_agent_opcuad: group G reads 1 nodes of `ua.example`: the gateway has no driver for OPC UA"),
        format!("{old}:6:76: polling_groups, G: unknown key `more`"),
        "device 10.0.0.9: 1 point, every 5m, profile pattoo-snmp-g".to_owned(),
    ] {
        ensure!(told.contains(&line), "{line}: {told}");
    }
    ensure!(!told.contains("quiet-"), "{told}");
    let secret = out.join("secrets/G.yaml");
    ensure!(std::fs::read_to_string(&secret)?.contains("quiet-2"), "{told}");
    let mode = |path: &Path| Ok::<_, std::io::Error>(std::fs::metadata(path)?.permissions().mode() & 0o777);
    ensure!((mode(&secret)?, mode(&out.join("secrets"))?) == (0o600, 0o700));
    ensure!(!std::fs::read_to_string(out.join("gateway.yaml"))?.contains("quiet-"));
    Ok(())
}
