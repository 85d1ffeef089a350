//! `scan bacnet` as a person uses it: devices of bacpypes3, of ours, behind routers, without segmentation; and an EDE file. What it prints is
//! accepted by `check`.

use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use pattoo_tests::bacpypes::BacpypesDevice;
use pattoo_tests::profiles;
use pattoo_tests::program::binary;
use serde_json::{Value, json};

fn gateway(extra: &Path, args: &[&str]) -> Result<Output> {
    let mut command = Command::new(binary("pattoo-gateway")?);
    Ok(command.arg("--profiles").arg(profiles()).arg("--profiles").arg(extra).args(args).output()?)
}

/// What it prints, after `check` has accepted all of it.
fn scan(args: &[&str]) -> Result<String> {
    let folder = tempfile::tempdir()?;
    let output = gateway(folder.path(), &[&["scan", "bacnet"], args].concat())?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "{}: {text}{}", output.status, String::from_utf8_lossy(&output.stderr));
    let mut documents = text.split("--- # save as ");
    let config = documents.next().context("no configuration")?;
    for made in documents {
        let (first, profile) = made.split_once('\n').context("no profile")?;
        let name = first.split_whitespace().next().context("no name")?;
        std::fs::write(folder.path().join(name), profile)?;
    }
    let file = folder.path().join("gateway.conf");
    std::fs::write(&file, format!("gateway: g\nuplink: {{ url: 'mqtt://127.0.0.1:1883' }}\n{config}"))?;
    let checked = gateway(folder.path(), &["--config", &file.to_string_lossy(), "check"])?;
    ensure!(checked.status.success(), "{text}\n{}{}", String::from_utf8_lossy(&checked.stdout), String::from_utf8_lossy(&checked.stderr));
    Ok(text)
}

fn has(text: &str, lines: &[&str]) -> Result<()> {
    for line in lines {
        ensure!(text.contains(line), "no {line:?} in\n{text}");
    }
    Ok(())
}

fn quick<'a>(broadcast: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["--local", "127.0.0.1:0", "--broadcast", broadcast, "--wait", "400ms"], more].concat()
}

#[test]
fn devices_are_found_with_what_they_have_and_the_profile_that_fits() -> Result<()> {
    let stat: Value = serde_json::from_slice(&std::fs::read(profiles().join("kmc-appstat.fixture.json"))?)?;
    let stat = BacpypesDevice::start(&stat["cases"][0]["bacnet"])?;
    let at = |last: u8| std::net::SocketAddrV4::new([127, 0, 3, last].into(), stat.address.port());
    // Three more on the same network: a strange one that reads by one property only, one of 400 objects without segmentation, one that is
    // behind a router.
    let strange = json!({
        "device": { "instance": 17, "object-name": "strange", "model-name": "X 1", "vendor-name": "Nobody", "vendor-identifier": 999 },
        "objects": [
            { "object": "analog-input", "instance": 1, "object-name": "Außen-T", "present-value": -3.5, "units": 62, "description": "north side" },
            { "object": "multi-state-value", "instance": 2, "object-name": "Mode", "present-value": 2, "state-text": ["off", "on"] },
            { "object": "binary-input", "instance": 3, "object-name": "Door", "present-value": 1, "active-text": "open", "inactive-text": "closed" },
        ],
        "refuse": { "ReadPropertyMultiple": "reject" },
    });
    let many = json!({
        "device": { "instance": 40_000, "model-name": "many", "segmentation-supported": "no-segmentation", "max-apdu-length-accepted": 480 },
        "many": 400,
    });
    let behind = json!({
        "device": { "instance": 2_000_001, "model-name": "inner", "object-name": "inner" },
        "objects": [{ "object": "analog-value", "instance": 1, "present-value": 7 }],
        "behind": { "network": 5, "mac": 26 },
    });
    let peers = [(2, strange), (3, many), (4, behind)].map(|(last, told)| BacpypesDevice::start_at(&told, at(last)));
    let peers = peers.into_iter().collect::<Result<Vec<_>>>()?;
    let text = scan(&quick(&stat.broadcast().to_string(), &[]))?;
    has(
        &text,
        &[
            &format!("# device 3001 at {}: BAC-4021C 1", stat.address),
            "KMC Controls BAC-4021C (vendor 28), 14 objects",
            "analog-input 4  SPACE_TEMPERATURE  72.5 [degF]",
            "profile kmc-appstat (score 20): calls itself KMC Controls BAC-4021C; 13 of 13 points are there",
            "  - { name: kmc-appstat-3001, profile: kmc-appstat, link: bms, bacnet: { device: 3001 } }",
            &format!("# device 17 at {}: strange", peers[0].address),
            "analog-input 1  Außen-T  -3.5 Cel  north side",
            "multi-state-value 2  Mode  2  off/on",
            "  - { name: nobody-x-1-17, profile: nobody-x-1, link: bms, bacnet: { device: 17 } }",
            "- { name: aussen_t, unit: \"Cel\", read: { object: analog-input, instance: 1 } }  # north side",
            "states: { 0: \"closed\", 1: \"open\" }",
            "Nobody X 1 (vendor 999), 4 objects",
            "many (vendor 999), 401 objects",
            &format!("# device 2000001 at {}, network 5, MAC 1A: inner", peers[2].address),
        ],
    )?;
    ensure!(peers[0].ask("requests")?["ReadPropertyMultiple"] == json!(1), "it was asked again for what it does not know");
    Ok(())
}

#[test]
fn a_range_and_a_budget_bound_what_is_asked() -> Result<()> {
    let device = BacpypesDevice::start(&json!({ "device": { "instance": 17, "model-name": "x" }, "many": 2 }))?;
    let broadcast = device.broadcast().to_string();
    // Without devices there is nothing for `check`.
    let said = |args: &[&str]| -> Result<String> {
        let way: &[&str] = &["scan", "bacnet", "--local", "127.0.0.1:0", "--broadcast", &broadcast];
        let output = gateway(Path::new("."), &[way, args].concat())?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    has(&said(&["--wait", "400ms", "--range", "18-4000"])?, &[": 0 devices in "])?;
    let text = said(&["--wait", "600ms", "--range", "10-20", "--budget", "1s"])?;
    has(&text, &["# device 17", "ended early: the time is up (--budget)", "device 17 was not asked what it has"])?;
    let json: Value = serde_json::from_str(&said(&["--wait", "400ms", "--range", "17", "--json"])?)?;
    ensure!(json["devices"][0]["device"] == json!(17) && json["devices"][0]["objects"].as_array().map(Vec::len) == Some(3), "{json}");
    ensure!(json["profiles"][0]["text"].as_str().is_some_and(|text| text.contains("name: many_0001")), "{json}");
    Ok(())
}

#[test]
fn an_ede_file_becomes_a_profile_and_a_configuration() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (ede, states) = (folder.path().join("plant.csv"), folder.path().join("texts.csv"));
    std::fs::write(
        &ede,
        "#Engineering-Data-Exchange - B.I.G.-EU\nPROJECT_NAME;Plant\n#keyname;device obj.-instance;object-name;object-type;object-instance;\
         description;present-value-default;min-present-value;max-present-value;settable;supports COV;hi-limit;low-limit;\
         state-text-reference;unit-code;vendor-specific-addres\n\
         A;3001;AHU'ZuT;0;1;Zuluft;;;;N;Y;;;;62;\nA;3001;AHU'SW;2;7;Sollwert;;10;30;Y;N;;;;62;\nA;3001;AHU'BA;19;1;;;;;Y;Y;;;1;;\n",
    )?;
    std::fs::write(&states, "#Reference Number;Text 1;Text 2\n1;Auto;Hand\n")?;
    let text = scan(&["--ede", &ede.to_string_lossy(), "--state-texts", &states.to_string_lossy()])?;
    has(
        &text,
        &[
            "  bms: { bacnet: \"0.0.0.0:47808\" }",
            "- { name: ahu_sw, unit: \"Cel\", read: { object: analog-value, instance: 7 }, writable: { min: 10, max: 30 } }  # Sollwert",
            "states: { 1: \"Auto\", 2: \"Hand\" }, writable: true",
        ],
    )?;
    std::fs::write(&ede, "#keyname;device obj.-instance;object-name;object-type;object-instance\nA;x;n;0;1\n")?;
    let output = gateway(folder.path(), &["scan", "bacnet", "--ede", &ede.to_string_lossy()])?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.code() == Some(1) && said.contains("plant.csv:2:3: device obj.-instance: found `x`"), "{said}");
    Ok(())
}
