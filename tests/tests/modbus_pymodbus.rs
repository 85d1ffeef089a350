//! The Modbus driver against pymodbus: every point of every fixture must arrive exactly, whatever the device serves around them.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use pattoo_gateway::config::Device;
use pattoo_gateway::config::Transport;
use pattoo_gateway::driver::Driver as _;
use pattoo_gateway::driver::modbus::Modbus;
use pattoo_gateway::profile::{Profile, Read};
use pattoo_gateway::reading::{DeviceIndex, PointIndex, Reading};
use pattoo_tests::pymodbus::PymodbusDevice;
use pattoo_wire::{Reason, Sample, Value};

const TIMEOUT: Duration = Duration::from_secs(20);

fn profiles() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../hw-profiles")
}

fn device(profile: &str, unit: u8) -> Device {
    let file = profiles().join(format!("{profile}.yaml"));
    let mut profile = Profile::read(&file, &std::fs::read(&file).unwrap()).unwrap();
    // A wish of its serial port, which is not there.
    profile.modbus.min_gap = Duration::ZERO;
    let every = Duration::from_secs(10);
    Device { name: "meter".to_owned(), profile: Arc::new(profile), unit, every, labels: BTreeMap::default() }
}

fn sdm630(unit: u8) -> Device {
    device("eastron-sdm630", unit)
}

/// Every fixture of registers that lies beside a profile.
fn fixtures() -> Vec<serde_json::Value> {
    let names = std::fs::read_dir(profiles()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let all = names.filter(|name| name.ends_with(".fixture.json")).map(|name| fixture(name.trim_end_matches(".fixture.json")));
    all.filter(|fixture| fixture["cases"][0]["replies"].is_array()).collect()
}

fn fixture(profile: &str) -> serde_json::Value {
    let text = std::fs::read_to_string(profiles().join(format!("{profile}.fixture.json"))).unwrap();
    let fixture: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(fixture["profile"], profile);
    fixture
}

fn sdm630_case() -> serde_json::Value {
    fixture("eastron-sdm630")["cases"][0].clone()
}

type Words = BTreeMap<u16, u16>;

/// Table -> address -> word of all replies of a case.
fn tables(case: &serde_json::Value) -> BTreeMap<String, Words> {
    let mut tables: BTreeMap<String, Words> = BTreeMap::new();
    for reply in case["replies"].as_array().unwrap() {
        let first = u16::try_from(reply["address"].as_u64().unwrap()).unwrap();
        let own = reply["words"].as_str().unwrap().split_whitespace().map(|word| u16::from_str_radix(word, 16).unwrap());
        tables.entry(reply["table"].as_str().unwrap().to_owned()).or_default().extend((first..).zip(own));
    }
    tables
}

fn input(words: Words) -> BTreeMap<String, Words> {
    BTreeMap::from([("input".to_owned(), words)])
}

fn serve(units: &BTreeMap<u8, BTreeMap<String, Words>>) -> PymodbusDevice {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), serde_json::to_vec(units).unwrap()).unwrap();
    PymodbusDevice::start(file.path()).unwrap()
}

fn driver(peer: &PymodbusDevice) -> Modbus {
    let endpoint = format!("127.0.0.1:{}", peer.port);
    Modbus::new(&Transport::ModbusTcp { endpoint, timeout: TIMEOUT }, Box::new(|| 1_700_000_000_000))
}

/// Reads all points; gives sample by name and the number of transactions.
async fn poll(driver: &mut Modbus, device: &Device) -> (BTreeMap<String, Sample>, usize) {
    poll_as(driver, DeviceIndex(0), device).await
}

async fn poll_as(driver: &mut Modbus, index: DeviceIndex, device: &Device) -> (BTreeMap<String, Sample>, usize) {
    let points: Vec<_> = (0..device.profile.points.len()).map(PointIndex).collect();
    let transactions = driver.read(index, device, &points).await;
    let count = transactions.len();
    let readings: Vec<_> = transactions.into_iter().flat_map(|t| t.readings).collect();
    // What a SunSpec device does not have is absent.
    assert!(readings.len() == points.len() || device.profile.is_sunspec(), "each point once");
    let row = |r: &Reading| r.row.as_ref().map(|row| format!("[{}]", row.identity)).unwrap_or_default();
    let name = |r: &Reading| device.profile.points[r.point.0].name.clone() + &row(r);
    (readings.into_iter().map(|r| (name(&r), r.sample)).collect(), count)
}

/// Each point that the device has is in the fixture, and each reading is what the fixture says, to the last bit.
fn check(case: &serde_json::Value, samples: &BTreeMap<String, Sample>) {
    let expected = case["readings"].as_object().unwrap();
    assert_eq!(samples.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    for (name, sample) in samples {
        match (sample, expected[name]["value"].as_str(), expected[name]["bad"].as_str()) {
            (Sample::Good(Value::F32(got)), Some(text), None) => {
                let want: f32 = text.parse().unwrap();
                assert_eq!(got.to_bits(), want.to_bits(), "{}: {name} is {got}, not {text}", case["name"]);
            }
            (Sample::Good(got), Some(text), None) => assert_eq!(got.to_string(), text, "{}: {name}", case["name"]),
            (Sample::Bad(reason), None, Some(text)) => assert_eq!(reason.to_string(), text, "{}: {name}", case["name"]),
            _ => panic!("{}: {name} is {sample:?}, not {}", case["name"], expected[name]),
        }
    }
}

/// One process serves all cases of all fixtures, each as a unit of its own.
#[tokio::test]
async fn every_point_of_every_fixture_is_exact() {
    let fixtures = fixtures();
    assert!(fixtures.len() > 20, "{} fixtures", fixtures.len());
    let cases = || fixtures.iter().flat_map(|fixture| fixture["cases"].as_array().unwrap().iter().map(move |case| (fixture, case)));
    assert!(cases().count() < 247, "more cases than units");
    let peer = serve(&(1u8..).zip(cases().map(|(_, case)| tables(case))).collect());
    let mut driver = driver(&peer);
    for round in 0..2 {
        for (unit, (fixture, case)) in (1u8..).zip(cases()) {
            let profile = fixture["profile"].as_str().unwrap();
            let (samples, transactions) = poll_as(&mut driver, DeviceIndex(usize::from(unit)), &device(profile, unit)).await;
            check(case, &samples);
            let requests = case["requests"].as_u64().or(fixture["requests"].as_u64());
            assert_eq!(Some(transactions as u64), requests, "{profile}, round {round}: requests for all points");
        }
    }
}

#[tokio::test]
async fn every_point_is_exact_where_the_device_has_no_registers_in_between() {
    let case = &sdm630_case();
    let device = sdm630(9);
    let mut own = BTreeMap::new();
    let all = tables(case).remove("input").unwrap();
    for point in &device.profile.points {
        let Read::Modbus(read) = &point.read else { panic!("{} is no register", point.name) };
        own.extend(all.range(read.address..read.address + read.encoding.len()).map(|(address, word)| (*address, *word)));
    }
    let peer = serve(&BTreeMap::from([(9, input(own))]));
    let mut driver = driver(&peer);
    let (samples, _) = poll(&mut driver, &device).await;
    check(case, &samples);
    let (samples, transactions) = poll(&mut driver, &device).await;
    check(case, &samples);
    assert!(transactions < 15, "neighbours are read together again: {transactions} requests");
}

#[tokio::test]
async fn a_point_that_the_device_does_not_have_costs_only_itself() {
    let case = &sdm630_case();
    let mut words = tables(case).remove("input").unwrap();
    // The second half of the frequency.
    words.remove(&0x47);
    let peer = serve(&BTreeMap::from([(1, input(words))]));
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
