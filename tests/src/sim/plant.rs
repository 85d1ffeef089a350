//! The devices of a simulated gateway, and what they say.
//!
//! Configurations go through the product's own reader once per process; the simulation itself opens no file.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

use anyhow::{Result, anyhow};
use fastrand::Rng;
use pattoo_gateway::config::{self, Config};
use pattoo_gateway::profile::{Point, Read};
use pattoo_gateway::reading::{DeviceIndex, PointIndex, Reading, Row, Transaction};
use pattoo_wire::{Decimal, Labels, Reason, Repr, Sample, Value};

const METER: &str = "schema: 1
id: sim-meter
manufacturer: Pattoo
model: simulated
points:
  - { name: voltage, unit: V, read: { input: 0, type: i32, scale: 0.1 } }
  - { name: power, unit: W, read: { input: 2, type: f32 } }
  - { name: energy, unit: Wh, kind: counter, read: { input: 4, type: u64 } }
  - { name: running, unit: \"1\", kind: state, read: { coil: 0 } }
  - { name: fault, class: alarm, read: { input: 8, type: u16 } }
  - { name: current_l1, unit: A, read: { input: 10, type: f32 } }
  - { name: current_l2, unit: A, read: { input: 12, type: f32 } }
  - { name: current_l3, unit: A, read: { input: 14, type: f32 } }
  - { name: power_l1, unit: W, read: { input: 16, type: f32 } }
  - { name: power_l2, unit: W, read: { input: 18, type: f32 } }
  - { name: power_l3, unit: W, read: { input: 20, type: f32 } }
";
const HOST: &str = "schema: 1
id: sim-host
manufacturer: Pattoo
model: simulated
points:
  - { name: used, unit: By, read: { host: filesystem_used } }
";
const CONFIG: &str = "gateway: g
uplink: { url: 'mqtt://127.0.0.1:1883' }
links: { plc: { tcp: '127.0.0.1:502' } }
devices:
  - { name: meter-1, profile: sim-meter, link: plc, unit: 1 }
  - { name: host, profile: sim-host }
";
const MORE: &str = "  - { name: meter-2, profile: sim-meter, link: plc, unit: 2 }
";

/// The configurations that a gateway may be started with, the usual one first.
pub(super) fn configs() -> Result<&'static [Config]> {
    static CONFIGS: OnceLock<std::result::Result<Vec<Config>, String>> = OnceLock::new();
    CONFIGS.get_or_init(|| read().map_err(|e| format!("{e:#}"))).as_deref().map_err(|e| anyhow!("{e}"))
}

fn read() -> Result<Vec<Config>> {
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("sim-meter.yaml"), METER)?;
    std::fs::write(folder.path().join("sim-host.yaml"), HOST)?;
    let file = folder.path().join("gateway.conf");
    let read = |text: String| {
        std::fs::write(&file, text)?;
        let loaded = config::load(&file, &[folder.path().to_owned()], &|_| None).map_err(|problems| anyhow!("{problems:?}"))?;
        match loaded.problems.as_slice() {
            [] => Ok(loaded.config),
            problems => Err(anyhow!("{problems:?}")),
        }
    };
    Ok(vec![read(CONFIG.to_owned())?, read(format!("{CONFIG}{MORE}"))?])
}

/// Makes up the readings of one gateway, each unlike any other of its series.
pub(super) struct Source {
    /// Counts transactions; their values are made of it.
    count: u64,
    /// Times that were given out: two readings of one series at the same ms would be one for the store.
    used_ms: BTreeSet<i64>,
}

impl Source {
    pub(super) fn new() -> Self {
        Self { count: 0, used_ms: BTreeSet::new() }
    }

    /// What one device says at that time of the boot clock, which is UTC with this added, as far as the gateway knows.
    pub(super) fn read(&mut self, config: &Config, device: usize, boot_ms: i64, offset_ms: i64, random: &mut Rng) -> Transaction {
        self.count += 1;
        let mut at_ms = boot_ms;
        while !self.used_ms.insert(at_ms + offset_ms) {
            at_ms += 1;
        }
        let failed = random.u8(0..20) == 0;
        let points = config.devices[device].profile.points.iter().enumerate();
        let readings = points.flat_map(|(index, point)| self.point(index, point, failed, random)).collect();
        Transaction { device: DeviceIndex(device), at_ms, readings }
    }

    fn point(&self, index: usize, point: &Point, failed: bool, random: &mut Rng) -> Vec<Reading> {
        let point_index = PointIndex(index);
        if !matches!(point.read, Read::Host(metric) if metric.has_rows()) {
            return vec![Reading { point: point_index, row: None, sample: self.sample(point, failed, random) }];
        }
        // Rows come one after the other, each with a new schema.
        let rows = 1 + (self.count / 50).min(3);
        let row = |number| Arc::new(Row::new(format!("/disk{number}"), Labels::new()));
        (0..rows).map(|number| Reading { point: point_index, row: Some(row(number)), sample: self.sample(point, failed, random) }).collect()
    }

    fn sample(&self, point: &Point, failed: bool, random: &mut Rng) -> Sample {
        let n = self.count;
        let value = match point.repr {
            Repr::Decimal { exponent } => Value::Decimal(Decimal { mantissa: (n * 16) as i64 + random.i64(0..16), exponent }),
            Repr::Unsigned => Value::Unsigned(n << 40 | random.u64(0..1 << 40)),
            Repr::F32 => Value::F32(n as f32 + 0.5),
            Repr::F64 => Value::F64(n as f64 + 0.25),
            Repr::Bool => Value::Bool(random.bool()),
            Repr::Text => Value::Text(n.to_string()),
        };
        match random.u8(0..40) {
            _ if failed => Sample::Bad(Reason::Timeout),
            0 => Sample::Bad(Reason::OutOfRange),
            1 => Sample::Uncertain(value, Reason::Stale),
            _ => Sample::Good(value),
        }
    }
}
