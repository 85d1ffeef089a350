//! The batches that are stored: what the real batch builder makes of a small plant.

use std::sync::Arc;

use anyhow::{Context, Result, anyhow, ensure};
use pattoo_gateway::batch::{Builder, Closed};
use pattoo_gateway::buffer::Limits;
use pattoo_gateway::config::{self, Config, Device};
use pattoo_gateway::profile::{Point, Profile};
use pattoo_gateway::reading::{DeviceIndex, PointIndex, Reading, Transaction};
use pattoo_wire::Sample;

use super::plant::{POINTS, Plant};

const SEED: u64 = 20_201;

/// Points that are polled of each meter: of the last one so many that a batch has [`BYTES`].
const POLLED: [usize; 4] = [POINTS, POINTS, POINTS, 10];

/// So many different batches; they are stored again and again, under numbers of their own.
pub(crate) const BATCHES: usize = 256;

/// Bytes of a batch on average: as in the probes that the buffer was designed by.
const BYTES: std::ops::RangeInclusive<f64> = 222.0..=225.0;

/// The configuration of one meter, as a file has it.
fn template() -> Result<Config> {
    let file = tempfile::NamedTempFile::new()?;
    let text = "gateway: bench
uplink: { url: 'mqtt://127.0.0.1:1883' }
buffer: { path: unused }
batch: { every: 1s }
links: { line: { tcp: '127.0.0.1:502' } }
devices: [{ name: meter, profile: eastron-sdm630, link: line, unit: 1, every: 10s }]
";
    std::fs::write(file.path(), text)?;
    let loaded = config::load(file.path(), &[pattoo_tests::profiles()], &|_| None);
    Ok(loaded.map_err(|problems| anyhow!("{problems:?}"))?.config)
}

/// The same, with the meters of the plant.
fn config(plant: &Plant) -> Result<Config> {
    let mut config = template()?;
    let meter = config.devices.first().context("no device")?.clone();
    let point = meter.profile.points.first().context("no point")?.clone();
    config.devices.clear();
    for (index, polled) in POLLED.into_iter().enumerate() {
        let of_meter = plant.points.iter().skip(index * POINTS).take(polled);
        let points = of_meter.map(|it| Point { name: it.name.into(), kind: it.kind, repr: it.repr, ..point.clone() }).collect();
        let profile = Arc::new(Profile { points, ..(*meter.profile).clone() });
        config.devices.push(Device { name: Plant::device_name(index), profile, ..meter.clone() });
    }
    Ok(config)
}

/// What the buffer may hold by default, but for size and age: they are no limit here.
pub(crate) fn limits() -> Result<Limits> {
    Ok(Limits { max_bytes: 16 << 30, max_age_ms: i64::MAX / 2, ..Limits::from(&template()?.buffer) })
}

/// One batch for each poll of the plant.
pub(crate) fn batches() -> Result<Vec<Closed>> {
    let mut plant = Plant::new(SEED);
    let mut builder = Builder::new(&config(&plant)?)?;
    let mut closed = Vec::new();
    while closed.len() < BATCHES {
        for poll in plant.poll() {
            let Some(polled) = POLLED.get(poll.device) else { continue };
            let readings = poll.values.into_iter().take(*polled).enumerate();
            let readings = readings.map(|(point, value)| Reading { point: PointIndex(point), row: None, sample: Sample::Good(value) });
            let transaction = Transaction { device: DeviceIndex(poll.device), at_ms: poll.at_ms, readings: readings.collect() };
            let pushed = builder.push(poll.at_ms, transaction);
            ensure!(pushed.refused == 0, "refused: {:?}", pushed.reason);
            closed.extend(pushed.closed);
        }
    }
    closed.truncate(BATCHES);
    let mean = mean_bytes(&closed);
    ensure!(BYTES.contains(&mean), "a batch has {mean:.1} bytes: poll more or fewer points");
    Ok(closed)
}

pub(crate) fn mean_bytes(batches: &[Closed]) -> f64 {
    batches.iter().map(|closed| closed.body.len()).sum::<usize>() as f64 / batches.len() as f64
}

pub(crate) fn mean_readings(batches: &[Closed]) -> f64 {
    batches.iter().map(|closed| closed.readings).sum::<u64>() as f64 / batches.len() as f64
}
