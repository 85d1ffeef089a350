//! Each BACnet profile against a device of bacpypes3 that holds what its fixtures say: every reading is theirs.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use pattoo_gateway::config;
use pattoo_gateway::poll::{Shown, poll};
use pattoo_tests::bacpypes::BacpypesDevice;
use pattoo_tests::profiles;
use serde_json::{Value, json};

/// Profile and case of each fixture that holds BACnet devices.
fn cases() -> Result<Vec<(String, Value)>> {
    let mut cases = Vec::new();
    for entry in std::fs::read_dir(profiles())? {
        let path = entry?.path();
        if path.to_string_lossy().ends_with(".fixture.json") {
            let fixture: Value = serde_json::from_slice(&std::fs::read(&path)?)?;
            let own = fixture["cases"].as_array().into_iter().flatten().filter(|case| case["bacnet"].is_object());
            cases.extend(own.map(|case| (fixture["profile"].as_str().unwrap_or_default().to_owned(), case.clone())));
        }
    }
    Ok(cases)
}

fn config_of(folder: &Path, devices: &[String]) -> Result<config::Config> {
    let file = folder.join("gateway.yaml");
    let head = "gateway: g\nuplink: { url: 'mqtt://127.0.0.1:1883' }\nlinks:\n  bms: { bacnet: '127.0.0.1:0', broadcast: '127.255.255.255:47999', timeout: 20s }\ndevices:\n";
    std::fs::write(&file, head.to_owned() + &devices.concat())?;
    let loaded = config::load(&file, &[profiles()], &|_| None).map_err(|problems| anyhow::anyhow!("{problems:?}"))?;
    ensure!(loaded.problems.is_empty(), "{:?}", loaded.problems);
    Ok(loaded.config)
}

/// Whether this reading is what the fixture says.
fn is(expected: &Value, shown: &Shown) -> bool {
    let same = |text: &Value| match (&shown.value, text.as_str()) {
        (Some(Value::Number(number)), Some(text)) => number.as_f64() == text.parse().ok(),
        (Some(value), Some(text)) => value.to_string().trim_matches('"') == text,
        _ => false,
    };
    let reason = shown.reason.as_deref();
    match expected.as_object().and_then(|expected| expected.iter().next()) {
        Some((how, text)) if how == "value" => reason.is_none() && same(text),
        Some((how, both)) if how == "uncertain" => reason == both["reason"].as_str() && same(&both["value"]),
        Some((how, text)) if how == "bad" => shown.value.is_none() && reason == text.as_str(),
        _ => false,
    }
}

#[tokio::test]
async fn every_point_of_every_fixture_is_exact() -> Result<()> {
    let cases = cases()?;
    ensure!(cases.len() >= 8, "found only {} cases", cases.len());
    let (mut peers, mut devices) = (Vec::new(), Vec::new());
    for (instance, (profile, case)) in (5001..).zip(&cases) {
        let mut plant = case["bacnet"].clone();
        plant["device"]["instance"] = json!(instance);
        let peer = BacpypesDevice::start(&plant)?;
        let at = peer.address;
        devices.push(format!(
            "  - {{ name: d{instance}, profile: {profile}, link: bms, bacnet: {{ device: {instance}, address: '{at}' }} }}\n"
        ));
        peers.push(peer);
    }
    let folder = tempfile::tempdir()?;
    let polled = poll(&config_of(folder.path(), &devices)?, None).await?;
    ensure!(polled.len() == cases.len(), "{} devices of {}", polled.len(), cases.len());
    let mut wrong = Vec::new();
    for (polled, (profile, case)) in polled.iter().zip(&cases) {
        let expected = case["readings"].as_object().context("no readings")?;
        ensure!(
            polled.readings.len() == expected.len(),
            "{profile}, {}: {} readings of {}",
            case["name"],
            polled.readings.len(),
            expected.len()
        );
        for shown in &polled.readings {
            let expected = &expected[&shown.point];
            if !is(expected, shown) {
                wrong.push(format!(
                    "{profile}, {}: {} is {:?} ({:?}), not {expected}",
                    case["name"], shown.point, shown.value, shown.reason
                ));
            }
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}
