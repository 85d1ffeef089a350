//! The Modbus driver against pymodbus: every point of a fixture must arrive exactly, whatever the device serves around them.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use pattoo_gateway::config::Device;
use pattoo_gateway::driver::Driver as _;
use pattoo_gateway::driver::modbus::ModbusTcp;
use pattoo_gateway::profile::{Profile, Read};
use pattoo_gateway::reading::{DeviceIndex, PointIndex};
use pattoo_tests::pymodbus::PymodbusDevice;
use pattoo_wire::{Reason, Sample, Value};
use serde_json::{Map, json};

const TIMEOUT: Duration = Duration::from_secs(20);

fn profiles() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../hw-profiles")
}

fn sdm630(unit: u8) -> Device {
    let file = profiles().join("eastron-sdm630.yaml");
    let mut profile = Profile::read(&file, &std::fs::read(&file).unwrap()).unwrap();
    // A wish of its serial port, which is not there.
    profile.modbus.min_gap = Duration::ZERO;
    let every = Duration::from_secs(10);
    Device { name: "meter".to_owned(), profile: Arc::new(profile), unit, every, labels: BTreeMap::default() }
}

fn cases() -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(profiles().join("eastron-sdm630.fixture.json")).unwrap();
    let fixture: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(fixture["profile"], "eastron-sdm630");
    fixture["cases"].as_array().unwrap().clone()
}

/// Address -> word of all replies of a case.
fn words(case: &serde_json::Value) -> BTreeMap<u16, u16> {
    let mut words = BTreeMap::new();
    for reply in case["replies"].as_array().unwrap() {
        assert_eq!(reply["table"], "input");
        let first = u16::try_from(reply["address"].as_u64().unwrap()).unwrap();
        let own = reply["words"].as_str().unwrap().split_whitespace().map(|word| u16::from_str_radix(word, 16).unwrap());
        words.extend((first..).zip(own));
    }
    words
}

fn serve(units: &[(u8, &BTreeMap<u16, u16>)]) -> PymodbusDevice {
    let table = |words: &BTreeMap<u16, u16>| words.iter().map(|(a, w)| (a.to_string(), json!(w))).collect::<Map<_, _>>();
    let units: Map<_, _> = units.iter().map(|(unit, words)| (unit.to_string(), json!({ "input": table(words) }))).collect();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), serde_json::to_vec(&units).unwrap()).unwrap();
    PymodbusDevice::start(file.path()).unwrap()
}

fn driver(peer: &PymodbusDevice) -> ModbusTcp {
    ModbusTcp::new(format!("127.0.0.1:{}", peer.port), TIMEOUT, Box::new(|| 1_700_000_000_000))
}

/// Reads all points; gives sample by name and the number of transactions.
async fn poll(driver: &mut ModbusTcp, device: &Device) -> (BTreeMap<String, Sample>, usize) {
    let points: Vec<_> = (0..device.profile.points.len()).map(PointIndex).collect();
    let transactions = driver.read(DeviceIndex(0), device, &points).await;
    let count = transactions.len();
    let readings: Vec<_> = transactions.into_iter().flat_map(|t| t.readings).collect();
    assert_eq!(readings.len(), points.len(), "each point once");
    (readings.into_iter().map(|r| (device.profile.points[r.point.0].name.clone(), r.sample)).collect(), count)
}

/// Each point of the profile is in the fixture, and each reading is what the fixture says, to the last bit.
fn check(case: &serde_json::Value, samples: &BTreeMap<String, Sample>) {
    let expected = case["readings"].as_object().unwrap();
    assert_eq!(samples.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    for (name, sample) in samples {
        match (sample, expected[name]["value"].as_str(), expected[name]["bad"].as_str()) {
            (Sample::Good(Value::F32(got)), Some(text), None) => {
                let want: f32 = text.parse().unwrap();
                assert_eq!(got.to_bits(), want.to_bits(), "{}: {name} is {got}, not {text}", case["name"]);
            }
            (Sample::Bad(reason), None, Some(text)) => assert_eq!(reason.to_string(), text, "{}: {name}", case["name"]),
            _ => panic!("{}: {name} is {sample:?}, not {}", case["name"], expected[name]),
        }
    }
}

#[tokio::test]
async fn every_point_of_the_fixture_is_exact() {
    let cases = cases();
    let replies: Vec<_> = cases.iter().map(words).collect();
    let units: Vec<_> = (1u8..).zip(&replies).collect();
    let peer = serve(&units);
    let mut driver = driver(&peer);
    for round in 0..3 {
        for (unit, case) in (1u8..).zip(&cases) {
            let (samples, transactions) = poll(&mut driver, &sdm630(unit)).await;
            check(case, &samples);
            assert_eq!(transactions, 3, "round {round}: one for each block");
        }
    }
}

#[tokio::test]
async fn every_point_is_exact_where_the_device_has_no_registers_in_between() {
    let case = &cases()[0];
    let device = sdm630(9);
    let mut own = BTreeMap::new();
    let all = words(case);
    for point in &device.profile.points {
        let Read::Modbus(read) = &point.read else { panic!("{} is no register", point.name) };
        own.extend(all.range(read.address..read.address + read.encoding.len()));
    }
    let peer = serve(&[(9, &own)]);
    let mut driver = driver(&peer);
    let (samples, _) = poll(&mut driver, &device).await;
    check(case, &samples);
    let (samples, transactions) = poll(&mut driver, &device).await;
    check(case, &samples);
    assert!(transactions < 15, "neighbours are read together again: {transactions} requests");
}

#[tokio::test]
async fn a_point_that_the_device_does_not_have_costs_only_itself() {
    let case = &cases()[0];
    let mut words = words(case);
    // The second half of the frequency.
    words.remove(&0x47);
    let peer = serve(&[(1, &words)]);
    let mut driver = driver(&peer);
    for round in 0..3 {
        let (mut samples, transactions) = poll(&mut driver, &sdm630(1)).await;
        assert_eq!(samples.get("frequency"), Some(&Sample::Bad(Reason::Exception(2))), "round {round}");
        let text = case["readings"]["frequency"]["value"].as_str().unwrap();
        samples.insert("frequency".to_owned(), Sample::Good(Value::F32(text.parse().unwrap())));
        check(case, &samples);
        assert!(round == 0 || transactions < 15, "round {round}: {transactions} requests");
    }
}
