//! Every fixture that lies beside a profile, through planner, driver and decoder, against a TCP device of this process.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use pattoo_wire::{Sample, Value};
use serde_json::Value as Json;

use super::*;
use crate::config::{Device, Transport};
use crate::driver::Driver as _;
use crate::driver::modbus::Modbus;
use crate::reading::{DeviceIndex, PointIndex};

type Memory = BTreeMap<(Table, u16), u16>;

/// Case by case, by unit from 1 on.
#[derive(Clone)]
struct Recorded(Arc<Vec<Memory>>);

impl Recorded {
    fn words(&self, unit: u8, table: Table, address: u16, count: u16) -> Result<Vec<u16>, ExceptionCode> {
        let memory = usize::from(unit).checked_sub(1).and_then(|unit| self.0.get(unit)).ok_or(ExceptionCode::GatewayTargetDevice)?;
        (address..address + count).map(|at| memory.get(&(table, at)).copied().ok_or(ExceptionCode::IllegalDataAddress)).collect()
    }
}

impl Service for Recorded {
    type Request = SlaveRequest<'static>;
    type Response = Response;
    type Exception = ExceptionCode;
    type Future = Ready<Result<Response, ExceptionCode>>;

    fn call(&self, request: Self::Request) -> Self::Future {
        let bits = |words: Vec<u16>| words.into_iter().map(|word| word != 0).collect();
        let unit = request.slave;
        ready(match request.request {
            Request::ReadCoils(at, n) => self.words(unit, Table::Coil, at, n).map(bits).map(Response::ReadCoils),
            Request::ReadDiscreteInputs(at, n) => self.words(unit, Table::Discrete, at, n).map(bits).map(Response::ReadDiscreteInputs),
            Request::ReadHoldingRegisters(at, n) => self.words(unit, Table::Holding, at, n).map(Response::ReadHoldingRegisters),
            Request::ReadInputRegisters(at, n) => self.words(unit, Table::Input, at, n).map(Response::ReadInputRegisters),
            _ => Err(ExceptionCode::IllegalFunction),
        })
    }
}

fn memory(case: &Json) -> Memory {
    let mut memory = Memory::new();
    for reply in case["replies"].as_array().unwrap() {
        let table = match reply["table"].as_str().unwrap() {
            "coil" => Table::Coil,
            "discrete" => Table::Discrete,
            "holding" => Table::Holding,
            "input" => Table::Input,
            other => panic!("{other} is no table"),
        };
        let first = u16::try_from(reply["address"].as_u64().unwrap()).unwrap();
        let words = reply["words"].as_str().unwrap().split_whitespace().map(|word| u16::from_str_radix(word, 16).unwrap());
        memory.extend((first..).zip(words).map(|(at, word)| ((table, at), word)));
    }
    memory
}

/// Each point of the profile is in the fixture, and each reading is what the fixture says, to the last bit.
fn check(title: &str, expected: &Json, samples: &BTreeMap<String, Sample>) {
    let mut wrong = Vec::new();
    let expected = expected.as_object().unwrap();
    assert_eq!(samples.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>(), "{title}");
    for (name, sample) in samples {
        let (value, bad) = (expected[name]["value"].as_str(), expected[name]["bad"].as_str());
        let same = match (sample, value, bad) {
            (Sample::Good(Value::F32(got)), Some(text), None) => text.parse::<f32>().unwrap().to_bits() == got.to_bits(),
            (Sample::Good(got), Some(text), None) => got.to_string() == text,
            (Sample::Bad(reason), None, Some(text)) => reason.to_string() == text,
            _ => false,
        };
        if !same {
            wrong.push(format!("{name} is {sample:?}, not {}", expected[name]));
        }
    }
    assert!(wrong.is_empty(), "{title}: {}", wrong.join("\n"));
}

async fn play(folder: &Path, id: &str) -> usize {
    let text = std::fs::read_to_string(folder.join(format!("{id}.fixture.json"))).unwrap();
    let fixture: Json = serde_json::from_str(&text).unwrap();
    assert_eq!(fixture["profile"], id);
    let cases = fixture["cases"].as_array().unwrap();
    let file = folder.join(format!("{id}.yaml"));
    let mut profile = Profile::read(&file, &std::fs::read(&file).unwrap()).unwrap();
    // A wish of its serial port, which is not there.
    profile.modbus.min_gap = Duration::ZERO;
    let profile = Arc::new(profile);

    let recorded = Recorded(Arc::new(cases.iter().map(memory).collect()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = listener.local_addr().unwrap().to_string();
    let served = tokio::spawn(async move {
        let on_connected = |stream: TcpStream, _| {
            let recorded = recorded.clone();
            async move { Ok(Some((recorded, stream))) }
        };
        Server::new(listener).serve(&on_connected, |error| panic!("{error}")).await
    });
    let mut driver = Modbus::new(&Transport::ModbusTcp { endpoint, timeout: Duration::from_secs(20) }, Box::new(|| 0));
    let points: Vec<_> = (0..profile.points.len()).map(PointIndex).collect();
    for (unit, case) in (1u8..).zip(cases) {
        let title = format!("{id}, {}", case["name"]);
        let device =
            Device { name: "x".into(), profile: Arc::clone(&profile), unit, every: Duration::from_secs(10), labels: BTreeMap::default() };
        let transactions = driver.read(DeviceIndex(usize::from(unit)), &device, &points).await;
        assert_eq!(Some(transactions.len() as u64), fixture["requests"].as_u64(), "{title}: requests for all points");
        let readings: Vec<_> = transactions.into_iter().flat_map(|transaction| transaction.readings).collect();
        assert_eq!(readings.len(), points.len(), "{title}: each point once");
        let name = |index: PointIndex| profile.points[index.0].name.clone();
        check(&title, &case["readings"], &readings.into_iter().map(|reading| (name(reading.point), reading.sample)).collect());
    }
    served.abort();
    cases.len()
}

#[tokio::test]
async fn every_point_of_every_fixture_is_exact() {
    let folder: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../hw-profiles");
    let names = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut ids: Vec<_> = names.filter_map(|name| name.strip_suffix(".fixture.json").map(str::to_owned)).collect();
    ids.sort();
    let mut cases = 0;
    for id in &ids {
        cases += play(&folder, id).await;
    }
    assert!(cases >= ids.len() && !ids.is_empty());
}
