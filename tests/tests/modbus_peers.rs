//! Modbus RTU and TCP against pymodbus and libmodbus, over a pair of pseudo terminals and through TCP: every register is exact, a unit that is not there
//! costs itself.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use pattoo_gateway::config::{Device, Transport};
use pattoo_gateway::driver::Driver as _;
use pattoo_gateway::driver::modbus::Modbus;
use pattoo_gateway::link::serial::SerialLine;
use pattoo_gateway::profile::{Parity, Profile};
use pattoo_gateway::reading::{DeviceIndex, PointIndex};
use pattoo_tests::libmodbus::LibmodbusDevice;
use pattoo_tests::pymodbus::PymodbusDevice;
use pattoo_wire::{Reason, Sample};

/// Also the silence that is waited for when the line is opened.
const TIMEOUT: Duration = Duration::from_secs(2);

const PROFILE: &str = "
schema: 1
id: x
manufacturer: x
model: x
modbus: { max_registers: 60, max_gap: 4 }
points:
  - { name: a, read: { holding: 0, type: u16 } }
  - { name: b, read: { holding: 3, type: u32 } }
  - { name: c, read: { input: 7, type: i16 } }
  - { name: on, kind: state, read: { coil: 5 } }
  - { name: far, read: { holding: 500, type: u16 } }
";

fn device(unit: u8) -> Device {
    let profile = Profile::read("x.yaml".as_ref(), PROFILE.as_bytes()).unwrap();
    let (every, labels) = (Duration::from_secs(10), BTreeMap::default());
    Device { name: format!("d{unit}"), profile: Arc::new(profile), unit, every, labels }
}

async fn poll(driver: &mut Modbus, device: &Device) -> BTreeMap<String, Sample> {
    let points: Vec<_> = (0..device.profile.points.len()).map(PointIndex).collect();
    let transactions = driver.read(DeviceIndex(usize::from(device.unit)), device, &points).await;
    let readings = transactions.into_iter().flat_map(|t| t.readings);
    readings.map(|r| (device.profile.points[r.point.0].name.clone(), r.sample)).collect()
}

/// What the devices serve as unit 3: table, address, word.
const WORDS: [(&str, u16, u16); 8] = [
    ("holding", 0, 40_000),
    ("holding", 1, 1),
    ("holding", 2, 2),
    ("holding", 3, 1),
    ("holding", 4, 2),
    ("holding", 500, 7),
    ("input", 7, 65_535),
    ("coil", 5, 1),
];

/// What is read of it.
const SHOWN: [&str; 5] = ["a 40000", "b 65538", "c -1", "far 7", "on true"];

fn shown(found: &BTreeMap<String, Sample>) -> Vec<String> {
    found.iter().map(|(name, sample)| format!("{name} {}", sample.value().unwrap())).collect()
}

/// Polls a device; `absent` is what is said of another unit.
async fn check(peer: &str, address: &str, absent: Reason, transport: fn(&str, Duration) -> Transport) {
    let mut driver = Modbus::new(&transport(address, TIMEOUT), Box::new(|| 0));
    for round in 0..3 {
        assert_eq!(shown(&poll(&mut driver, &device(3)).await), SHOWN, "{peer}, round {round}");
    }
    // Only one may have the port.
    drop(driver);
    // Nobody has unit 4; the next poll of unit 3 is right all the same.
    let mut driver = Modbus::new(&transport(address, Duration::from_millis(300)), Box::new(|| 0));
    let found = poll(&mut driver, &device(4)).await;
    assert!(found.values().all(|sample| *sample == Sample::Bad(absent)), "{peer}: {found:?}");
    let found = poll(&mut driver, &device(3)).await;
    assert_eq!(found["b"].value().unwrap().to_string(), "65538", "{peer}");
}

fn pymodbus(way: &str) -> PymodbusDevice {
    let mut tables: BTreeMap<&str, BTreeMap<String, u16>> = BTreeMap::new();
    for (table, address, word) in WORDS {
        tables.entry(table).or_default().insert(address.to_string(), word);
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), serde_json::json!({ "3": tables }).to_string()).unwrap();
    PymodbusDevice::start_as(file.path(), way).unwrap()
}

fn serial(address: &str, timeout: Duration) -> Transport {
    let line = SerialLine { path: address.into(), baud: 19_200, parity: Parity::None, stop_bits: 1, rs485: false, echo: false };
    Transport::ModbusRtu { line, timeout }
}

// pymodbus answers for units that it does not have.
#[tokio::test]
async fn rtu_over_tcp_is_exact() {
    let peer = pymodbus("rtu-over-tcp");
    let transport = |port: &str, timeout| Transport::RtuOverTcp { endpoint: format!("127.0.0.1:{port}"), timeout };
    check("pymodbus", &peer.address, Reason::Exception(4), transport).await;
}

#[tokio::test]
async fn rtu_on_a_serial_line_is_exact() {
    let peer = pymodbus("serial");
    check("pymodbus", &peer.address, Reason::Exception(4), serial).await;
}

/// libmodbus says nothing for other units, as a device on a bus does.
#[tokio::test]
async fn libmodbus_on_a_serial_line_is_exact() {
    let peer = LibmodbusDevice::start(3, "serial", &WORDS).unwrap();
    check("libmodbus", &peer.address, Reason::Timeout, serial).await;
}

#[tokio::test]
async fn libmodbus_over_tcp_is_exact() {
    let peer = LibmodbusDevice::start(3, "tcp", &WORDS).unwrap();
    let transport = |port: &str, timeout| Transport::ModbusTcp { endpoint: format!("127.0.0.1:{port}"), timeout };
    let mut driver = Modbus::new(&transport(&peer.address, TIMEOUT), Box::new(|| 0));
    // Over TCP it answers for any unit.
    for (round, unit) in [3, 3, 4].into_iter().enumerate() {
        assert_eq!(shown(&poll(&mut driver, &device(unit)).await), SHOWN, "round {round}");
    }
}

/// A pseudo terminal has no RS-485 mode: asking for one must be an error that says so, not silence.
#[tokio::test]
async fn rs485_that_the_port_does_not_have_is_an_error() {
    let peer = pymodbus("serial");
    let line = SerialLine { path: peer.address.clone().into(), baud: 9600, parity: Parity::Even, stop_bits: 1, rs485: true, echo: false };
    let error = line.open().unwrap_err().to_string();
    assert!(error.contains("RS-485") && error.contains("leave out `rs485`"), "{error}");
}
