//! What the store holds when it is asked: the plant of 10 s, and beside it a device that is read each second and one that has been
//! read each minute for a year.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use pattoo_server::store::embedded::Embedded;
use pattoo_tests::store_plant::POLL_MS;
use pattoo_tests::store_plant::fill::{Plan, fill};

/// What there is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Options {
    pub(crate) seed: u64,
    /// Devices of the plant, and days of it and of the device of each second.
    pub(crate) devices: usize,
    pub(crate) days: usize,
    /// Days of the device of each minute.
    pub(crate) year_days: usize,
    /// How often each question is asked.
    pub(crate) asked: usize,
}

impl Options {
    /// The device that is read each second.
    pub(crate) fn second(&self) -> usize {
        self.devices
    }

    /// The device that is read each minute.
    pub(crate) fn minute(&self) -> usize {
        self.devices + 1
    }
}

/// Fills the store of a data folder, unless that is done; gives its readings.
pub(crate) fn planted(data: &Path, options: &Options) -> Result<u64> {
    let note = data.join("plant");
    let Options { seed, devices, days, year_days, .. } = *options;
    let which = format!("seed {seed}, {devices} devices, {days} and {year_days} days");
    if let Ok(told) = std::fs::read_to_string(&note) {
        let (found, readings) = told.split_once('\n').context("two lines")?;
        ensure!(found == which, "{} has another plant ({found}): name another folder", data.display());
        return Ok(readings.parse()?);
    }
    let readings = plant(data, options)?;
    std::fs::write(note, format!("{which}\n{readings}"))?;
    Ok(readings)
}

fn plant(data: &Path, options: &Options) -> Result<u64> {
    let store = Embedded::open(&data.join("pattoo.redb"))?;
    let Options { seed, devices, days, year_days, .. } = *options;
    let (begun, mut readings) = (Instant::now(), 0);
    for (first_device, devices, polls, poll_ms) in
        [(0, devices, days * 8640, POLL_MS), (options.second(), 1, days * 86_400, 1000), (options.minute(), 1, year_days * 1440, 60_000)]
    {
        readings += fill(&store, &Plan { seed, first_device, devices, polls, poll_ms })?.points;
        eprintln!("{readings} readings stored within {:.0} s", begun.elapsed().as_secs_f64());
    }
    Ok(readings)
}
