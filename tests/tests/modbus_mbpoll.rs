//! mbpoll, a client on top of libmodbus that we did not write, against the simulator: it reads the registers that our own driver reads.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use pattoo_gateway::config::{Device, Transport};
use pattoo_gateway::driver::Driver as _;
use pattoo_gateway::driver::modbus::Modbus;
use pattoo_gateway::link::serial::SerialLine;
use pattoo_gateway::profile::{Parity, Profile};
use pattoo_gateway::reading::{DeviceIndex, PointIndex};
use pattoo_tests::program::{Program, binary};
use pattoo_tests::wire::Wire;

/// Counters never fall: what mbpoll reads lies between what is read before and after.
const PROFILE: &str = "
schema: 1
id: peer
manufacturer: x
model: x
points:
  - { name: f32, kind: counter, read: { input: 10, type: f32 } }
  - { name: u32, kind: counter, read: { holding: 300, type: u32 } }
  - { name: u32_swapped, kind: counter, read: { holding: 304, type: u32, words: low_first } }
  - { name: u16, kind: counter, read: { input: 20, type: u16 } }
  - { name: coil, kind: state, read: { coil: 3 } }
  - { name: discrete, kind: state, read: { discrete: 4 } }
";
const POINTS: [&str; 6] = ["f32", "u32", "u32_swapped", "u16", "coil", "discrete"];

/// A simulator, and how to reach it.
struct Simulator {
    _program: Program,
    way: Way,
}

enum Way {
    /// A port.
    Tcp(String),
    /// Through a serial server; mbpoll speaks no such thing.
    RtuOverTcp(String),
    /// The other end of its line.
    Serial(Wire),
}

const BAUD: u32 = 19_200;

impl Simulator {
    fn start(profiles: &Path, way: &str) -> Result<Self> {
        let mut command = Command::new(binary("pattoo-gateway")?);
        command.arg("--profiles").arg(profiles).args(["simulate", "peer", "--units", "1,7"]);
        let wire = Wire::start()?;
        match way {
            "serial" => command.args(["--serial", &wire.right, "--baud", &BAUD.to_string()]),
            "rtu-over-tcp" => command.args(["--rtu-over-tcp", "--listen", "127.0.0.1:0"]),
            _ => command.args(["--listen", "127.0.0.1:0"]),
        };
        let program = Program::start("simulator", &mut command)?;
        let line = program.wait_line("the simulator to listen", |line| line.starts_with("listening "))?;
        let port = line.rsplit(':').next().context("no port")?.trim().to_owned();
        let way = match way {
            "serial" => Way::Serial(wire),
            "rtu-over-tcp" => Way::RtuOverTcp(port),
            _ => Way::Tcp(port),
        };
        Ok(Self { _program: program, way })
    }

    /// What mbpoll prints when it reads so many registers or bits of a table (`-t`) once.
    fn mbpoll(&self, unit: u8, table: &str, address: u16, count: u16) -> Result<(bool, String)> {
        self.run(unit, table, address, count, &[])
    }

    /// What it prints when it writes these: one value by function 5 or 6, several by 15 or 16.
    fn write(&self, table: &str, address: u16, values: &[&str]) -> Result<(bool, String)> {
        self.run(1, table, address, 1, values)
    }

    fn run(&self, unit: u8, table: &str, address: u16, count: u16, values: &[&str]) -> Result<(bool, String)> {
        let (unit, address, count, baud) = (unit.to_string(), address.to_string(), count.to_string(), BAUD.to_string());
        let mut command = Command::new("mbpoll");
        command.args(["-a", &unit, "-t", table, "-0", "-r", &address, "-o", "10"]);
        if values.is_empty() {
            command.args(["-c", &count, "-1"]);
        }
        match &self.way {
            Way::Tcp(port) => command.args(["-m", "tcp", "-p", port, "127.0.0.1"]),
            Way::Serial(wire) => command.args(["-m", "rtu", "-b", &baud, "-P", "none", &wire.left]),
            Way::RtuOverTcp(_) => bail!("mbpoll has no RTU over TCP"),
        };
        command.args(values);
        let output = command.output().context("mbpoll is missing: run tests/run once, it installs mbpoll")?;
        let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        Ok((output.status.success(), text))
    }

    fn transport(&self) -> Transport {
        let timeout = Duration::from_secs(20);
        match &self.way {
            Way::Tcp(port) => Transport::ModbusTcp { endpoint: format!("127.0.0.1:{port}"), timeout },
            // Also the silence that is waited for when the line is opened.
            Way::RtuOverTcp(port) => Transport::RtuOverTcp { endpoint: format!("127.0.0.1:{port}"), timeout: Duration::from_millis(700) },
            Way::Serial(wire) => {
                let line = SerialLine::new(wire.left.clone().into(), BAUD, Parity::None);
                Transport::ModbusRtu { line, timeout: Duration::from_millis(700) }
            }
        }
    }

    /// The words that mbpoll reads.
    fn words(&self, unit: u8, table: &str, address: u16, count: u16) -> Result<Vec<u16>> {
        let (good, text) = self.mbpoll(unit, table, address, count)?;
        ensure!(good, "{text}");
        let values = text.lines().filter_map(|line| line.strip_prefix('[')?.split_once("]:").map(|(_, value)| value.trim().to_owned()));
        let words = values.map(|value| match value.strip_prefix("0x") {
            Some(hex) => u16::from_str_radix(hex, 16).context(value.clone()),
            None => value.parse().context(value.clone()),
        });
        let words: Vec<u16> = words.collect::<Result<_>>().with_context(|| text.clone())?;
        ensure!(words.len() == usize::from(count), "{count} words were asked for: {text}");
        Ok(words)
    }

    fn by_mbpoll(&self, unit: u8) -> Result<BTreeMap<&'static str, f64>> {
        let pair = |words: Vec<u16>| u32::from(words[0]) << 16 | u32::from(words[1]);
        let swapped = |words: Vec<u16>| u32::from(words[1]) << 16 | u32::from(words[0]);
        let values = [
            f64::from(f32::from_bits(pair(self.words(unit, "3:hex", 10, 2)?))),
            f64::from(pair(self.words(unit, "4:hex", 300, 2)?)),
            f64::from(swapped(self.words(unit, "4:hex", 304, 2)?)),
            f64::from(self.words(unit, "3", 20, 1)?[0]),
            f64::from(self.words(unit, "0", 3, 1)?[0]),
            f64::from(self.words(unit, "1", 4, 1)?[0]),
        ];
        Ok(POINTS.into_iter().zip(values).collect())
    }

    async fn by_driver(&self, unit: u8) -> Result<BTreeMap<&'static str, f64>> {
        let profile =
            Arc::new(Profile::read("peer.yaml".as_ref(), PROFILE.as_bytes()).map_err(|problems| anyhow::anyhow!("{problems:?}"))?);
        let device = Device { name: "d".into(), profile, unit, every: Duration::from_secs(10), labels: BTreeMap::default() };
        let mut driver = Modbus::new(&self.transport(), Box::new(|| 0));
        let points: Vec<_> = (0..POINTS.len()).map(PointIndex).collect();
        let readings = driver.read(DeviceIndex(0), &device, &points).await.into_iter().flat_map(|transaction| transaction.readings);
        readings
            .map(|reading| Ok((POINTS[reading.point.0], reading.sample.value().and_then(|value| value.to_f64()).context("bad")?)))
            .collect()
    }
}

/// Each value lies between what our driver reads before and after.
async fn compare(simulator: &Simulator) -> Result<()> {
    for unit in [1, 7] {
        let before = simulator.by_driver(unit).await?;
        let found = match simulator.way {
            Way::RtuOverTcp(_) => simulator.by_driver(unit).await?,
            _ => simulator.by_mbpoll(unit)?,
        };
        let after = simulator.by_driver(unit).await?;
        for (point, value) in &found {
            let (least, most) = (before[point].min(after[point]), before[point].max(after[point]));
            // A bit may change twice in between, so that both of ours are alike; it is a bit all the same.
            let is_bit = ["coil", "discrete"].contains(point);
            let (least, most) = if is_bit { (0.0, 1.0) } else { (least, most) };
            ensure!((least..=most).contains(value), "unit {unit}: {point} is {value} by mbpoll, {before:?} before and {after:?} after");
            ensure!(is_bit || *value > 100.0, "unit {unit}: {point} is {value}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn mbpoll_reads_from_the_simulator_what_our_driver_reads() -> Result<()> {
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("peer.yaml"), PROFILE)?;
    let simulator = Simulator::start(folder.path(), "tcp")?;
    compare(&simulator).await?;
    let (good, text) = simulator.mbpoll(1, "4:hex", 900, 2)?;
    ensure!(!good && text.contains("Illegal data address"), "{text}");
    let (good, text) = simulator.mbpoll(9, "4:hex", 300, 2)?;
    ensure!(!good && text.contains("Target device failed to respond"), "{text}");
    Ok(())
}

/// Outputs, beside what is read only.
const OUTPUTS: &str = "
schema: 1
id: peer
manufacturer: x
model: x
points:
  - { name: relay, read: { coil: 0 }, writable: true }
  - { name: valve, read: { coil: 1 }, writable: true }
  - { name: lamp, read: { coil: 2 } }
  - { name: speed, read: { holding: 0, type: u16 }, writable: { min: 0, max: 900 } }
  - { name: level, read: { holding: 1, type: u16 }, writable: { min: 0, max: 900 } }
  - { name: count, read: { holding: 2, type: u16 } }
";

fn takes_writes(way: &str) -> Result<()> {
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("peer.yaml"), OUTPUTS)?;
    let simulator = Simulator::start(folder.path(), way)?;
    for (table, address, values, expected) in [
        ("0", 0, &["1"][..], &[1][..]),
        ("0", 0, &["0"], &[0]),
        ("0", 0, &["1", "1"], &[1, 1]),
        ("0", 1, &["0"], &[0]),
        ("4", 0, &["700"], &[700]),
        ("4", 0, &["1", "899"], &[1, 899]),
    ] {
        let (good, text) = simulator.write(table, address, values)?;
        ensure!(good, "{table} {address} {values:?}: {text}");
        let found = simulator.words(1, table, address, u16::try_from(expected.len())?)?;
        ensure!(found == expected, "{table} {address} {values:?}: {found:?}");
    }
    for (table, address, values, refusal) in [
        ("0", 2, &["1"][..], "Illegal data address"),
        ("4", 2, &["1"], "Illegal data address"),
        ("4", 1, &["2", "1"], "Illegal data address"),
        ("4", 0, &["901"], "Illegal data value"),
        ("4", 0, &["2", "901"], "Illegal data value"),
    ] {
        let (good, text) = simulator.write(table, address, values)?;
        ensure!(!good && text.contains(refusal), "{table} {address} {values:?}: {text}");
    }
    ensure!(simulator.words(1, "4", 0, 2)? == [1, 899] && simulator.words(1, "0", 0, 2)? == [1, 0], "what was refused was written");
    Ok(())
}

#[test]
fn what_mbpoll_writes_to_outputs_of_the_simulator_stays_and_the_rest_is_refused() -> Result<()> {
    takes_writes("tcp")
}

#[test]
fn what_mbpoll_writes_over_a_serial_line_stays_as_well() -> Result<()> {
    takes_writes("serial")
}

#[tokio::test]
async fn on_a_serial_line_a_unit_that_is_not_simulated_is_silent() -> Result<()> {
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("peer.yaml"), PROFILE)?;
    let simulator = Simulator::start(folder.path(), "serial")?;
    compare(&simulator).await?;
    let (good, text) = simulator.mbpoll(1, "4:hex", 900, 2)?;
    ensure!(!good && text.contains("Illegal data address"), "{text}");
    let (good, text) = simulator.mbpoll(9, "4:hex", 300, 2)?;
    ensure!(!good && text.contains("Connection timed out"), "{text}");
    compare(&simulator).await
}

#[tokio::test]
async fn behind_a_serial_server_it_is_read_by_our_driver() -> Result<()> {
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("peer.yaml"), PROFILE)?;
    compare(&Simulator::start(folder.path(), "rtu-over-tcp")?).await
}
