//! SunSpec devices: our readings beside those of pysunspec2, a client with the SunSpec Alliance's own model definitions, of the same registers in
//! pymodbus and of our simulated device; and a chain that shifts while it is read.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use pattoo_gateway::config::{Device, Transport};
use pattoo_gateway::driver::Driver as _;
use pattoo_gateway::driver::modbus::Modbus;
use pattoo_gateway::fixture::{self, Case, Fixture};
use pattoo_gateway::profile::{Place, Point, Profile, Read, Table};
use pattoo_gateway::reading::{DeviceIndex, PointIndex};
use pattoo_tests::program::{Program, binary};
use pattoo_tests::pymodbus::PymodbusDevice;
use pattoo_tests::{profiles, python, root};
use pattoo_wire::{Reason, Sample};
use serde_json::Value as Json;

const TIMEOUT: Duration = Duration::from_secs(20);

type Readings = BTreeMap<String, Sample>;

fn profile() -> Arc<Profile> {
    let file = profiles().join("sunspec.yaml");
    Arc::new(Profile::read(&file, &std::fs::read(&file).unwrap()).unwrap())
}

fn fixture() -> Fixture {
    Fixture::read(&std::fs::read(profiles().join("sunspec.fixture.json")).unwrap()).unwrap()
}

fn device(unit: u8) -> Device {
    Device { name: format!("d{unit}"), profile: profile(), unit, every: Duration::from_secs(10), labels: BTreeMap::default() }
}

fn driver(port: u16) -> Modbus {
    Modbus::new(&Transport::ModbusTcp { endpoint: format!("127.0.0.1:{port}"), timeout: TIMEOUT }, Box::new(|| 0))
}

/// All points of a device, or of another one that has taken its place under its index.
async fn poll(driver: &mut Modbus, index: usize, unit: u8) -> Readings {
    let device = device(unit);
    let points: Vec<_> = (0..device.profile.points.len()).map(PointIndex).collect();
    let readings = driver.read(DeviceIndex(index), &device, &points).await.into_iter().flat_map(|t| t.readings);
    readings.map(|reading| (fixture::name(&device.profile, &reading).unwrap(), reading.sample)).collect()
}

/// Cases as units from 1 on.
fn serve(cases: &[&Case]) -> PymodbusDevice {
    let holding = |case: &Case| -> BTreeMap<String, u16> {
        let own = case.memory().into_iter().filter(|((table, _), _)| *table == Table::Holding);
        own.map(|((_, at), word)| (at.to_string(), word)).collect()
    };
    let unit = |(unit, case): (u8, &&Case)| (unit.to_string(), serde_json::json!({ "holding": holding(case) }));
    let units: BTreeMap<String, Json> = (1..).zip(cases).map(unit).collect();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), serde_json::to_vec(&units).unwrap()).unwrap();
    PymodbusDevice::start(file.path()).unwrap()
}

/// Models by unit as pysunspec2 sees them: id, and register -> value or none.
type Seen = Vec<(u16, Vec<(u16, Option<String>)>)>;

fn pysunspec2(port: u16, units: &[u8]) -> Vec<Seen> {
    let mut command = Command::new(python().unwrap());
    command.arg(root().join("tests/peers/sunspec_client.py")).arg(port.to_string()).args(units.iter().map(ToString::to_string));
    let out = command.output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let number = |json: &Json| u16::try_from(json.as_u64().unwrap()).unwrap();
    let point = |json: &Json| (number(&json["at"]), json["value"].as_str().map(str::to_owned));
    let model = |json: &Json| (number(&json["id"]), json["points"].as_array().unwrap().iter().map(point).collect());
    let text = String::from_utf8(out.stdout).unwrap();
    let seen: Vec<Seen> =
        text.lines().map(|line| serde_json::from_str::<Json>(line).unwrap().as_array().unwrap().iter().map(model).collect()).collect();
    assert_eq!(seen.len(), units.len());
    seen
}

/// What pysunspec2 has seen, under the names that the profile gives it: its own values, with their powers of ten applied, and the point.
fn named<'p>(profile: &'p Profile, seen: &Seen) -> BTreeMap<String, (String, &'p Point, &'p Place)> {
    let mut all = BTreeMap::new();
    for point in &profile.points {
        let Read::SunSpec(places) = &point.read else { panic!("{} is of another protocol", point.name) };
        let Some(place) = places.iter().find(|place| seen.iter().any(|(id, _)| place.models.contains(id))) else { continue };
        for (nth, (_, points)) in (1..).zip(seen.iter().filter(|(id, _)| place.models.contains(id))) {
            for (at, value) in points {
                let row = match place.rows {
                    None if *at == place.read.address => None,
                    Some((_, size)) if *at >= place.read.address && (at - place.read.address).is_multiple_of(size) => {
                        Some((at - place.read.address) / size + 1)
                    }
                    _ => continue,
                };
                let name = match (nth, row) {
                    (1, None) => point.name.clone(),
                    (1, Some(row)) => format!("{}[{row}]", point.name),
                    (nth, None) => format!("{}[{nth}]", point.name),
                    (nth, Some(row)) => format!("{}[{nth}.{row}]", point.name),
                };
                value.clone().map(|value| all.insert(name, (value, point, place)));
            }
        }
    }
    all
}

/// The same to the last decimal that we keep.
fn agree(name: &str, ours: &Sample, theirs: &str, point: &Point, place: &Place) -> bool {
    let Some(value) = ours.value() else {
        // A power of ten that none can be, or a value outside its range: pysunspec2 has no such limits.
        return ours.reason() == Some(Reason::OutOfRange);
    };
    let (Some(own), Ok(other)) = (value.to_f64(), theirs.parse::<f64>()) else { return value.to_string() == theirs };
    let other = other * place.read.scale.0 as f64 * 10f64.powi(place.read.scale.1.into());
    let step = place.read.decimals.map_or(0.0, |decimals| 10f64.powi(-i32::from(decimals)));
    // A float is as fine as a float is.
    let fine = if place.read.encoding.is_float() { f64::from(f32::EPSILON) } else { 1e-12 };
    let same = (own - other).abs() <= step * 0.5 + other.abs() * fine;
    assert!(same, "{name}: {own} {}, pysunspec2 has {other}", point.unit);
    same
}

#[tokio::test]
async fn pysunspec2_sees_the_same_in_every_case_of_the_fixture() {
    let (fixture, profile) = (fixture(), profile());
    let peer = serve(&fixture.cases.iter().collect::<Vec<_>>());
    let units: Vec<u8> = (1u8..).take(fixture.cases.len()).collect();
    let seen = pysunspec2(peer.port, &units);
    let (mut driver, mut compared) = (driver(peer.port), 0);
    for ((unit, seen), case) in units.iter().zip(&seen).zip(&fixture.cases) {
        let readings = poll(&mut driver, usize::from(*unit), *unit).await;
        let theirs = named(&profile, seen);
        let names = |names: BTreeSet<&String>| names.into_iter().cloned().collect::<Vec<_>>();
        assert_eq!(names(readings.keys().collect()), names(theirs.keys().collect()), "{}", case.name);
        for (name, sample) in &readings {
            let (value, point, place) = &theirs[name];
            assert!(agree(name, sample, value, point, place), "{}: {name} is {sample:?}, pysunspec2 has {value}", case.name);
            compared += 1;
        }
    }
    assert!(compared > 800, "only {compared} readings compared");
}

/// Our simulated device is a SunSpec device to others as well, with all that our driver reads of it.
#[tokio::test]
async fn a_simulated_device_is_one_to_pysunspec2() {
    let mut command = Command::new(binary("pattoo-gateway").unwrap());
    command.arg("--profiles").arg(profiles()).args(["simulate", "sunspec", "--units", "1", "--listen", "127.0.0.1:0"]);
    let program = Program::start("simulator", &mut command).unwrap();
    let line = program.wait_line("the simulator to listen", |line| line.starts_with("listening ")).unwrap();
    let port: u16 = line.rsplit(':').next().unwrap().trim().parse().unwrap();
    let readings = poll(&mut driver(port), 0, 1).await;
    assert!(readings.len() > 60 && readings.values().all(|sample| sample.value().is_some()), "{readings:?}");
    let (profile, seen) = (profile(), pysunspec2(port, &[1]));
    let theirs = named(&profile, &seen[0]);
    assert_eq!(readings.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>());
    assert!(readings.contains_key("power") && readings.contains_key("mppt_power[2]") && !readings.contains_key("meter_power"));

    // And what people see of it.
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("gateway.yaml");
    let text = format!(
        "gateway: g\nuplink: {{ url: mqtt://127.0.0.1:1 }}\nlinks: {{ roof: {{ tcp: 127.0.0.1:{port} }} }}\ndevices:\n  - {{ name: sun, profile: \
         sunspec, link: roof, unit: 1 }}\n"
    );
    std::fs::write(&config, text).unwrap();
    let run = |what: &str| {
        let mut command = Command::new(binary("pattoo-gateway").unwrap());
        command.arg("--profiles").arg(profiles()).arg("--config").arg(&config).arg(what);
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    let polled = run("poll");
    assert!(
        polled.contains("mppt_power[2]") && polled.contains("not on this device, or without a value so far: meter_current,"),
        "{polled}"
    );
    let checked = run("check");
    assert!(checked.contains("Found at run time: the models of sun;"), "{checked}");
}

/// Another device answers from now on, its models elsewhere: bad once, then right, and never wrong.
#[tokio::test]
async fn a_chain_that_shifts_while_it_is_read_gives_no_wrong_value() {
    let fixture = fixture();
    let case = |name: &str| fixture.cases.iter().find(|case| case.name == name).unwrap();
    let (old, new) = (case("Fronius with integers, typical"), case("like SMA, typical"));
    let peer = serve(&[old, new]);
    let mut driver = driver(peer.port);
    let expected = |case: &Case| case.readings.0.iter().cloned().collect::<BTreeMap<_, _>>();
    for (round, (unit, case)) in [(1, old), (2, new), (1, old)].into_iter().enumerate() {
        let first = poll(&mut driver, 0, unit).await;
        for (name, sample) in first.iter().filter(|(_, sample)| sample.value().is_some()) {
            assert!(expected(case)[name].is(sample), "round {round}, {name}: {sample:?}");
        }
        let shifted = first.values().any(|sample| *sample == Sample::Bad(Reason::Mismatch));
        assert_eq!(shifted, round > 0, "round {round}: {first:?}");
        let second = poll(&mut driver, 0, unit).await;
        let good: BTreeMap<_, _> = second.iter().filter(|(_, sample)| sample.value().is_some()).collect();
        assert_eq!(good.len(), case.readings.0.len(), "round {round}");
        assert!(good.iter().all(|(name, sample)| expected(case)[*name].is(sample)), "round {round}: {good:?}");
    }
}
