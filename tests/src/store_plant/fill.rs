//! Fills a store with the plant, directly and in the order of time. Judges and prints nothing.

use std::time::Duration;

use pattoo_server::store::{Commit, Reading, SeriesEntry, SeriesId, Store, StoreError};
use pattoo_wire::{Kind, Series};
use rustix::time::{ClockId, clock_gettime};

use super::{Behaviour, Device, POINTS, behaviour};

/// Gateway of all devices.
pub const GATEWAY: &str = "plant";
/// Readings of a commit, about: what a group of batches has when many gateways send.
const AT_ONCE: usize = 20_000;

/// What a store is filled with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// Chooses the values.
    pub seed: u64,
    /// Number of the first device.
    pub first_device: usize,
    /// Devices of [`POINTS`] points.
    pub devices: usize,
    /// Polls of each.
    pub polls: usize,
    /// Time between two of them.
    pub poll_ms: i64,
}

/// What it came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Filled {
    /// Readings.
    pub points: u64,
    /// CPU time of the process meanwhile, without that of making the values.
    pub spent: Duration,
}

/// Series of a point of a device.
#[must_use]
pub fn series(device: usize, point: usize) -> SeriesId {
    SeriesId(u32::try_from(device * POINTS + point + 1).unwrap_or(u32::MAX))
}

/// What is known of it.
#[must_use]
pub fn entry(device: usize, point: usize) -> SeriesEntry {
    let kind = if behaviour(point) == Behaviour::Counter { Kind::Counter } else { Kind::Gauge };
    let (labels, states) = Default::default();
    SeriesEntry {
        id: series(device, point),
        gateway: GATEWAY.into(),
        device: format!("device-{device}"),
        profile: "plant".into(),
        device_labels: Default::default(),
        entry: Series {
            device: 0,
            point: format!("point-{point}"),
            unit: String::new(),
            kind,
            repr: behaviour(point).repr(),
            labels,
            states,
        },
    }
}

fn now(clock: ClockId) -> Duration {
    let now = clock_gettime(clock);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or(0))
}

/// CPU time of this process so far, all its threads together.
#[must_use]
pub fn process_cpu() -> Duration {
    now(ClockId::ProcessCPUTime)
}

/// Fills it; the series are announced first.
///
/// # Errors
/// The store refuses.
pub fn fill(store: &dyn Store, plan: &Plan) -> Result<Filled, StoreError> {
    let (begun, mut making) = (process_cpu(), Duration::ZERO);
    let numbers = plan.first_device..plan.first_device + plan.devices;
    let all: Vec<usize> = numbers.clone().collect();
    for devices in all.chunks(AT_ONCE / POINTS) {
        let points = devices.iter().flat_map(|device| (0..POINTS).map(move |point| entry(*device, point)));
        store.commit(&Commit { series: points.collect(), ..Commit::default() })?;
    }
    let before = now(ClockId::ThreadCPUTime);
    let mut devices: Vec<Device> = numbers.clone().map(|device| Device::new(plan.seed, device, plan.poll_ms)).collect();
    making += now(ClockId::ThreadCPUTime) - before;
    let (mut filled, mut commit) = (Filled::default(), Commit::default());
    for poll in 1..=plan.polls {
        let mut left = devices.len();
        for devices in devices.chunks_mut(AT_ONCE / POINTS) {
            let before = now(ClockId::ThreadCPUTime);
            let first = plan.first_device + plan.devices - left;
            left -= devices.len();
            for (device, polled) in (first..).zip(devices).filter_map(|(number, device)| Some((number, device.poll()?))) {
                let at_ms = polled.at_ms;
                let samples = polled.samples.into_iter().enumerate().filter_map(|(point, sample)| Some((point, sample?)));
                commit.readings.extend(samples.map(|(point, sample)| (series(device, point), Reading { at_ms, sample })));
            }
            making += now(ClockId::ThreadCPUTime) - before;
            if commit.readings.len() >= AT_ONCE / 2 || poll == plan.polls && left == 0 {
                filled.points += commit.readings.len() as u64;
                store.commit(&commit)?;
                commit = Commit::default();
            }
        }
    }
    filled.spent = (process_cpu() - begun).saturating_sub(making);
    Ok(filled)
}
