//! The simulator, read by our own driver and byte by byte.

use std::collections::BTreeMap;

use pattoo_wire::{Kind, Outcome, Reason, Repr, Sample, Value};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::oneshot;

use super::*;
use crate::command::Write;
use crate::config::Device;
use crate::config::Transport;
use crate::driver::Driver as _;
use crate::driver::modbus::Modbus;
use crate::profile::{Encoding, Layout, ModbusLimits, ModbusRead, Point, Read, Table, WordOrder};
use crate::reading::{DeviceIndex, PointIndex};

fn profile() -> Arc<Profile> {
    let read = |table, address, encoding| ModbusRead::new(table, address, encoding);
    let reads = [
        read(Table::Input, 0, Encoding::F32),
        read(Table::Input, 2, Encoding::F64),
        ModbusRead { scale: (1, -1), ..read(Table::Input, 8, Encoding::U16) },
        ModbusRead { words: WordOrder::LowFirst, ..read(Table::Holding, 100, Encoding::U32) },
        ModbusRead { scale: (10, -2), ..read(Table::Holding, 110, Encoding::I64) },
        read(Table::Holding, 120, Encoding::U64),
        read(Table::Coil, 3, Encoding::Bit),
        read(Table::Discrete, 9, Encoding::Bit),
        ModbusRead { scale_at: Some(128), ..read(Table::Holding, 125, Encoding::I16) },
        ModbusRead { bits: Some((3, 1)), ..read(Table::Holding, 130, Encoding::U16) },
        ModbusRead { bits: Some((8, 4)), ..read(Table::Holding, 130, Encoding::U16) },
        read(Table::Holding, 140, Encoding::Text(4)),
        read(Table::Holding, 144, Encoding::DateTime(Layout::Six)),
    ];
    let point = |(i, read): (usize, ModbusRead)| {
        let kind = match read.repr() {
            Repr::Bool => Kind::State,
            Repr::Text => Kind::Text,
            _ => Kind::Gauge,
        };
        let (repr, states, unit) = (read.repr(), BTreeMap::new(), "V".to_owned());
        Point {
            name: format!("p{i}"),
            unit,
            kind,
            alarm: false,
            repr,
            every: None,
            states,
            range: None,
            read: Read::Modbus(read),
            writable: None,
        }
    };
    let points = reads.into_iter().enumerate().map(point).collect();
    let modbus = ModbusLimits { max_gap: 2, ..ModbusLimits::default() };
    Arc::new(Profile {
        id: "x".into(),
        manufacturer: "x".into(),
        model: "x".into(),
        modbus,
        bacnet: Default::default(),
        signature: None,
        points,
    })
}

async fn start() -> (std::net::SocketAddr, oneshot::Sender<()>, tokio::task::JoinHandle<io::Result<()>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let stopped = async move {
        let _ = stopped.await;
    };
    (address, stop, tokio::spawn(serve(listener, Frames::Tcp, vec![(1, profile()), (7, profile())], stopped)))
}

#[tokio::test]
async fn the_driver_reads_what_the_simulator_means() {
    let (address, stop, served) = start().await;
    let mut driver = Modbus::new(&Transport::ModbusTcp { endpoint: address.to_string(), timeout: Duration::from_secs(5) }, Box::new(|| 0));
    let points: Vec<_> = (0..13).map(PointIndex).collect();
    for unit in [1, 7] {
        let every = Duration::from_secs(1);
        let device = Device { name: "x".into(), profile: profile(), unit, every, labels: BTreeMap::default() };
        let transactions = driver.read(DeviceIndex(0), &device, &points).await;
        let readings: Vec<_> = transactions.into_iter().flat_map(|t| t.readings).collect();
        assert_eq!(readings.len(), 13);
        for reading in readings {
            let point = &device.profile.points[reading.point.0];
            let Sample::Good(got) = &reading.sample else { panic!("{}: {:?}", point.name, reading.sample) };
            // The value of some moment since the start: it was encoded, carried and decoded without a change.
            let Read::Modbus(read) = &point.read else { unreachable!() };
            let carried = |ms| {
                let mut words = values::words(read, &values::value(u64::from(unit), point, ms))?;
                if read.scale_at.is_some() {
                    words.extend([0, 0, values::scale_register(read)]);
                }
                Some(read.decode(&words, None))
            };
            assert!((0..20_000).any(|ms| carried(ms) == Some(Sample::Good(got.clone()))), "{}: {got}", point.name);
        }
    }
    drop(stop);
    served.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_unit_that_is_not_there_is_a_silent_target_behind_a_gateway() {
    let (address, _stop, _) = start().await;
    let mut driver = Modbus::new(&Transport::ModbusTcp { endpoint: address.to_string(), timeout: Duration::from_secs(5) }, Box::new(|| 0));
    let every = Duration::from_secs(1);
    let device = Device { name: "x".into(), profile: profile(), unit: 2, every, labels: BTreeMap::default() };
    let transactions = driver.read(DeviceIndex(0), &device, &[PointIndex(0)]).await;
    assert_eq!(transactions[0].readings[0].sample, Sample::Bad(Reason::Exception(0x0B)));
}

#[tokio::test]
async fn behind_a_serial_server_units_answer_in_rtu_frames_and_others_are_silent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = listener.local_addr().unwrap().to_string();
    let (stop, stopped) = oneshot::channel::<()>();
    let served = tokio::spawn(serve(listener, Frames::Rtu, vec![(7, profile())], async { drop(stopped.await) }));
    let mut driver = Modbus::new(&Transport::RtuOverTcp { endpoint, timeout: Duration::from_millis(300) }, Box::new(|| 0));
    let device = |unit| Device { name: "x".into(), profile: profile(), unit, every: Duration::from_secs(1), labels: BTreeMap::default() };
    for (unit, expected) in [(7, None), (6, Some(Reason::Timeout)), (7, None)] {
        let transactions = driver.read(DeviceIndex(0), &device(unit), &[PointIndex(0)]).await;
        assert_eq!(transactions[0].readings[0].sample.reason(), expected, "{unit}");
    }
    drop(stop);
    served.await.unwrap().unwrap();
}

#[tokio::test]
async fn requests_that_the_device_cannot_serve_are_refused() {
    let (address, _stop, _) = start().await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    for (function, first, count, exception) in [
        (4, 1000, 1, 2),
        (4, 0, 10, 2),
        (4, 10, 1, 2),
        (3, 102, 1, 2),
        (4, 0, 0, 3),
        (4, 0, 126, 3),
        (1, 0, 2001, 3),
        (6, 100, 1, 2),
        (5, 3, 0, 2),
        (7, 0, 0, 1),
    ] {
        let (first, count) = (u16::to_be_bytes(first), u16::to_be_bytes(count));
        let request = [0, 1, 0, 0, 0, 6, 1, function, first[0], first[1], count[0], count[1]];
        stream.write_all(&request).await.unwrap();
        let mut reply = [0; 9];
        stream.read_exact(&mut reply).await.unwrap();
        assert_eq!(reply, [0, 1, 0, 0, 0, 3, 1, function | 0x80, exception], "function {function} at {first:?} for {count:?}");
    }
}

/// By every function, through the driver, and what was written stays.
#[tokio::test]
async fn what_is_written_to_a_writable_point_is_read_again() {
    let text = "schema: 1\nid: io\nmanufacturer: X\nmodel: X\npoints:
  - { name: relay, read: { coil: 0 }, writable: true }
  - { name: valve, read: { coil: 1 }, writable: { function: 15 } }
  - { name: speed, read: { holding: 0, type: u16, scale: 0.1 }, writable: { min: 0, max: 90 } }
  - { name: level, read: { holding: 2, type: f32 }, writable: { min: 0, max: 90 } }
  - { name: low, read: { holding: 8, type: u16, bits: [0, 2] }, writable: { min: 0, max: 7, function: 22 } }
  - { name: high, read: { holding: 8, type: u16, bit: 15 }, writable: { function: 22 } }
  - { name: fixed, read: { holding: 9, type: u16 } }\n";
    let profile = Arc::new(Profile::read(std::path::Path::new("io.yaml"), text.as_bytes()).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = listener.local_addr().unwrap().to_string();
    tokio::spawn(serve(listener, Frames::Tcp, vec![(1, Arc::clone(&profile))], std::future::pending()));
    let mut driver = Modbus::new(&Transport::ModbusTcp { endpoint, timeout: Duration::from_secs(5) }, Box::new(|| 0));
    let every = Duration::from_secs(1);
    let device = Device { name: "x".into(), profile, unit: 1, every, labels: BTreeMap::default() };
    let mut expected = BTreeMap::new();
    let decimal = |mantissa, exponent| Value::Decimal(pattoo_wire::Decimal { mantissa, exponent });
    for (point, value, outcome) in [
        (0, Value::Bool(true), Outcome::Done),
        (1, Value::Bool(true), Outcome::Done),
        (2, decimal(505, -1), Outcome::Done),
        (2, decimal(901, -1), Outcome::Rejected),
        (3, Value::F32(12.5), Outcome::Done),
        (4, decimal(5, 0), Outcome::Done),
        (5, Value::Bool(true), Outcome::Done),
        (4, decimal(2, 0), Outcome::Done),
        (6, decimal(1, 0), Outcome::NotWritable),
    ] {
        let write = Write { point: PointIndex(point), value: value.clone(), expected: None, read_modify_write: false };
        let written = driver.write(DeviceIndex(0), &device, &write).await;
        assert_eq!(written.outcome, outcome, "{point} {value}: {}", written.detail);
        if outcome == Outcome::Done {
            expected.insert(point, value);
        }
        for transaction in driver.read(DeviceIndex(0), &device, &(0..7).map(PointIndex).collect::<Vec<_>>()).await {
            for reading in transaction.readings {
                let Some(value) = expected.get(&reading.point.0) else { continue };
                assert_eq!(reading.sample, Sample::Good(value.clone()), "{}", reading.point.0);
            }
        }
    }
}

#[tokio::test]
async fn one_connection_too_many_is_closed_and_the_others_stay() {
    let (address, _stop, _) = start().await;
    let mut open = Vec::new();
    let request = [0, 1, 0, 0, 0, 6, 1, 4, 0, 0, 0, 2];
    for _ in 0..MAX_CONNECTIONS {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(&request).await.unwrap();
        stream.read_exact(&mut [0; 13]).await.unwrap();
        open.push(stream);
    }
    let mut refused = TcpStream::connect(address).await.unwrap();
    assert_eq!(refused.read(&mut [0; 1]).await.unwrap_or(0), 0);
    open[0].write_all(&request).await.unwrap();
    open[0].read_exact(&mut [0; 13]).await.unwrap();
}
