//! Each fixture of an SNMP profile as a recording that snmpsim serves, read by the program: it prints exactly what the fixture says.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use pattoo_tests::profiles;
use pattoo_tests::program::binary;
use pattoo_tests::snmpsim::Snmpsim;
use serde_json::Value;

/// A fixture of an SNMP profile.
fn fixtures() -> Result<Vec<Value>> {
    let mut fixtures = Vec::new();
    for entry in std::fs::read_dir(profiles())? {
        let path = entry?.path();
        if path.to_string_lossy().ends_with(".fixture.json") {
            let fixture: Value = serde_json::from_slice(&std::fs::read(&path)?)?;
            if fixture.pointer("/cases/0/varbinds").is_some() {
                fixtures.push(fixture);
            }
        }
    }
    Ok(fixtures)
}

/// A line of a recording: `OID|tag|value`, bytes in hexadecimal with an `x` at the tag.
fn line(oid: &str, value: &str) -> Result<String> {
    let (kind, value) = value.split_once(':').context("no type")?;
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    Ok(match kind {
        "integer" => format!("{oid}|2|{value}"),
        "string" if value.is_empty() => format!("{oid}|4|"),
        "string" => format!("{oid}|4x|{}", hex(value.as_bytes())),
        "hex" => format!("{oid}|4x|{}", value.replace(' ', "")),
        "oid" => format!("{oid}|6|{value}"),
        "ip" => format!("{oid}|64|{value}"),
        "counter32" => format!("{oid}|65|{value}"),
        "gauge32" => format!("{oid}|66|{value}"),
        "timeticks" => format!("{oid}|67|{value}"),
        "opaque" => format!("{oid}|68x|{}", value.replace(' ', "")),
        "counter64" => format!("{oid}|70|{value}"),
        other => bail!("{other} is no type of a fixture"),
    })
}

fn record(folder: &Path, community: &str, case: &Value) -> Result<()> {
    let varbinds = case["varbinds"].as_object().context("varbinds")?;
    let mut lines: Vec<(Vec<u32>, String)> = Vec::new();
    for (oid, value) in varbinds {
        let parts = oid.split('.').map(str::parse).collect::<Result<Vec<u32>, _>>()?;
        lines.push((parts, line(oid, value.as_str().context("a text")?)?));
    }
    lines.sort();
    let text: Vec<String> = lines.into_iter().map(|(_, line)| line).collect();
    Ok(std::fs::write(folder.join(format!("{community}.snmprec")), text.join("\n") + "\n")?)
}

/// Value or reason by point, as `poll --json` prints them.
fn printed(device: &Value) -> Result<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    for point in device["readings"].as_array().context("readings")? {
        let name = point["point"].as_str().context("a name")?.to_owned();
        let text = match (&point["value"], &point["reason"]) {
            (Value::Null, reason) => format!("bad: {}", reason.as_str().unwrap_or_default()),
            (Value::String(text), _) => text.clone(),
            (number, _) => number.to_string(),
        };
        ensure!(found.insert(name.clone(), text).is_none(), "{name} is there twice");
    }
    Ok(found)
}

#[test]
fn poll_gives_what_the_fixtures_say_of_recordings_that_snmpsim_serves() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    std::fs::create_dir(&data)?;
    let (mut devices, mut expected) = (String::new(), BTreeMap::new());
    let fixtures = fixtures()?;
    ensure!(fixtures.len() >= 12, "only {} fixtures of SNMP profiles", fixtures.len());
    for fixture in &fixtures {
        let profile = fixture["profile"].as_str().context("profile")?;
        for (number, case) in fixture["cases"].as_array().context("cases")?.iter().enumerate() {
            let name = format!("{profile}-{number}");
            record(&data, &name, case)?;
            devices += &format!(
                "  - {{ name: {name}, profile: {profile}, snmp: {{ host: 'HOST', community: {name}, timeout: 10s, deadline: 60s }} }}\n"
            );
            expected.insert(name, case["readings"].as_object().context("readings")?.clone());
        }
    }
    let snmpsim = Snmpsim::start(&data)?;
    let config = folder.path().join("gateway.yaml");
    let devices = devices.replace("HOST", &format!("127.0.0.1:{}", snmpsim.port));
    std::fs::write(&config, format!("gateway: g\nuplink: {{ url: 'mqtt://127.0.0.1:1' }}\ndevices:\n{devices}"))?;
    let output = Command::new(binary("pattoo-gateway")?)
        .arg("--config")
        .arg(&config)
        .arg("--profiles")
        .arg(profiles())
        .args(["poll", "--json"])
        .output()?;
    ensure!(output.status.success(), "{output:?}");
    let polled: Vec<Value> = serde_json::from_slice(&output.stdout)?;
    ensure!(polled.len() == expected.len(), "{} devices, not {}", polled.len(), expected.len());
    let mut differences = Vec::new();
    for device in &polled {
        let name = device["device"].as_str().context("device")?;
        let found = printed(device)?;
        let want: BTreeMap<String, String> = expected[name]
            .iter()
            .map(|(point, one)| {
                let bad = one["bad"].as_str().map(|reason| format!("bad: {reason}"));
                (point.clone(), bad.unwrap_or_else(|| one["value"].as_str().unwrap_or_default().to_owned()))
            })
            .collect();
        let points: std::collections::BTreeSet<&String> = found.keys().chain(want.keys()).collect();
        for point in points.into_iter().filter(|point| !same(found.get(*point), want.get(*point))) {
            differences.push(format!("{name} {point}: {:?}, not {:?}", found.get(point), want.get(point)));
        }
    }
    ensure!(differences.is_empty(), "{}", differences.join("\n"));
    Ok(())
}

/// The same text, or the same number: JSON has no trailing zeros.
fn same(found: Option<&String>, want: Option<&String>) -> bool {
    let (Some(found), Some(want)) = (found, want) else { return false };
    found == want
        || want.contains('.')
            && found.parse::<f64>().is_ok_and(|found| want.parse::<f64>().is_ok_and(|want| found.to_bits() == want.to_bits()))
}

#[test]
fn scan_finds_the_agents_and_prints_what_check_accepts() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    std::fs::create_dir(&data)?;
    let interfaces = fixtures()?.into_iter().find(|fixture| fixture["profile"] == "if-mib").context("if-mib")?;
    record(&data, "second", &interfaces["cases"][0])?;
    let snmpsim = Snmpsim::start(&data)?;
    let scan = |json: &[&str]| {
        let mut command = Command::new(binary("pattoo-gateway")?);
        command.arg("--profiles").arg(profiles()).args(["scan", "snmp", "127.0.0.1", "127.0.0.2", "--timeout", "500ms", "--budget", "50s"]);
        command.args(["--community", "first,second", "--port", &snmpsim.port.to_string()]).args(json);
        Ok::<_, anyhow::Error>(command.output()?)
    };
    let output = scan(&["--json"])?;
    ensure!(output.status.success(), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout)?;
    ensure!(report["agents"].as_array().map(Vec::len) == Some(1) && report["asked"] == 2, "{report:#}");
    ensure!(report.pointer("/agents/0/profiles/0/profile") == Some(&"if-mib".into()), "{report:#}");
    let output = scan(&[])?;
    let text = String::from_utf8(output.stdout)?;
    ensure!(text.contains("name: sw-hall-3-if-mib") && text.contains("community: \"second\""), "{text}");
    let config = folder.path().join("gateway.yaml");
    std::fs::write(&config, format!("gateway: g\nuplink: {{ url: 'mqtt://127.0.0.1:1' }}\n{text}"))?;
    let check =
        Command::new(binary("pattoo-gateway")?).arg("--config").arg(&config).arg("--profiles").arg(profiles()).arg("check").output()?;
    ensure!(check.status.success(), "{check:?}");
    Ok(())
}
