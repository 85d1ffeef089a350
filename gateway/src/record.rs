//! Records what one device replies in one poll, as a fixture. Shell: talks to the device through its driver and to nobody else.
//!
//! The device is asked as its fixture will be replayed, over Modbus TCP, so that a reply holds all that a request asks for then. What
//! was recorded is played at once, and given only if it makes the very readings that were read.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use pattoo_wire::{Reason, Sample};
use thiserror::Error;
use tokio_modbus::prelude::Request as Pdu;

use crate::config::{Config, Device, Link, Transport};
use crate::driver::modbus::Modbus;
use crate::driver::modbus::ear::{Ear, Told, Way};
use crate::driver::modbus::session::Answer;
use crate::driver::{Driver as _, wall_clock};
use crate::fixture::{self, Case, Expected, Fixture, MAX_CASES, Readings, Reply, replay};
use crate::plan::LinkCost;
use crate::profile::Table;
use crate::reading::{PointIndex, Reading};

/// Why nothing was recorded.
#[derive(Debug, Error)]
pub enum RecordError {
    /// No device of that name.
    #[error("there is no device {name:?}; expected one of {known}")]
    UnknownDevice {
        /// As asked for.
        name: String,
        /// The names there are.
        known: String,
    },
    /// It is no Modbus device.
    #[error("device {0:?} is not a Modbus device: it has no replies to record")]
    NotModbus(String),
    /// It did not answer everything.
    #[error("device {device:?} did not answer everything, so nothing is recorded. Try again: {points}")]
    Silent {
        /// Its name.
        device: String,
        /// Points that failed, and why.
        points: String,
    },
    /// The fixture that the case would belong to is of another kind.
    #[error("{0}")]
    Unfit(String),
    /// What was recorded does not give what was read.
    #[error("what device {device:?} replied gives other readings when it is replayed, so nothing is recorded: {differences}")]
    Differs {
        /// Its name.
        device: String,
        /// What differs.
        differences: String,
    },
    /// It could not be played.
    #[error("cannot play the recording on loopback: {0}")]
    Replay(io::Error),
}

/// Reads all points of a device once and gives the fixture: a new one, or `into` with one case more.
///
/// # Errors
/// There is no such device, it did not answer everything, or a replay would not give the same.
pub async fn record(config: &Config, name: &str, case: &str, into: Option<Fixture>) -> Result<Fixture, RecordError> {
    let known = || config.devices.iter().map(|device| device.name.as_str()).collect::<Vec<_>>().join(", ");
    let found = config.links.iter().flat_map(|link| link.devices.iter().map(move |index| (link, *index)));
    let found = found.filter_map(|(link, index)| Some((link, index, config.devices.get(index.0)?)));
    let Some((link, index, device)) = found.into_iter().find(|(.., device)| device.name == name) else {
        return Err(RecordError::UnknownDevice { name: name.to_owned(), known: known() });
    };
    if matches!(
        link.transport,
        Transport::Host | Transport::Snmp(_) | Transport::SnmpTraps(_) | Transport::Bacnet(_) | Transport::Exec(_) | Transport::Input(_)
    ) {
        return Err(RecordError::NotModbus(name.to_owned()));
    }
    let mut fixture = start(device, case, into)?;
    let tape = Arc::new(Tape::default());
    let mut driver = Modbus::new(&link.transport, wall_clock()).with_cost(LinkCost::default()).heard_by(Arc::clone(&tape) as Arc<dyn Ear>);
    let points: Vec<_> = (0..device.profile.points.len()).map(PointIndex).collect();
    let transactions = driver.read(index, device, &points).await;
    // Two SunSpec devices need not have the same models.
    let requests = device.profile.is_sunspec().then_some(transactions.len());
    let mut readings: Vec<Reading> = transactions.into_iter().flat_map(|transaction| transaction.readings).collect();
    readings.sort_by_key(|reading| reading.point);
    answered(device, &readings)?;
    fixture.cases.push(Case {
        name: case.to_owned(),
        about: format!("recorded by pattoo-gateway {} from {}", env!("CARGO_PKG_VERSION"), place(link, device)),
        requests,
        replies: tape.take(),
        varbinds: fixture::Varbinds::default(),
        bacnet: None,
        readings: named(device, &readings),
    });
    checked(fixture, device).await
}

/// The fixture that the case goes into.
fn start(device: &Device, case: &str, into: Option<Fixture>) -> Result<Fixture, RecordError> {
    let id = &device.profile.id;
    let Some(fixture) = into else {
        let about =
            vec![format!("Replies of a device and what they gave at once: {} {}.", device.profile.manufacturer, device.profile.model)];
        return Ok(Fixture { about, profile: id.clone(), unit: Some(device.unit), requests: 0, cases: Vec::new() });
    };
    let unfit = if fixture.profile == *id {
        let taken = fixture.cases.iter().any(|own| own.name == case);
        let full = fixture.cases.len() >= MAX_CASES;
        match (taken, full) {
            (true, _) => Some(format!("the fixture has a case {case:?} already: name another one with --case")),
            (_, true) => Some(format!("the fixture has {MAX_CASES} cases, and no room for more")),
            _ => None,
        }
    } else {
        Some(format!("the fixture belongs to profile {:?}, device {:?} has {id:?}", fixture.profile, device.name))
    };
    unfit.map_or(Ok(fixture), |why| Err(RecordError::Unfit(why)))
}

/// A refusal is a reply; anything else that went wrong is none.
fn answered(device: &Device, readings: &[Reading]) -> Result<(), RecordError> {
    let silent = readings.iter().filter_map(|reading| match reading.sample {
        Sample::Bad(reason @ (Reason::Timeout | Reason::LinkDown | Reason::Malformed | Reason::BadCrc)) => Some((reading.point, reason)),
        // Those of a device that is busy or not there; 1 to 3 say what it does not have.
        Sample::Bad(reason @ Reason::Exception(4..)) => Some((reading.point, reason)),
        _ => None,
    });
    let text = |(point, reason): (PointIndex, Reason)| Some(format!("{}: {reason}", device.profile.points.get(point.0)?.name));
    let points: Vec<_> = silent.filter_map(text).collect();
    match points.as_slice() {
        [] => Ok(()),
        some => Err(RecordError::Silent { device: device.name.clone(), points: some.join(", ") }),
    }
}

fn named(device: &Device, readings: &[Reading]) -> Readings {
    let name = |reading: &Reading| Some((fixture::name(&device.profile, reading)?, Expected::of(&reading.sample)));
    Readings(readings.iter().filter_map(name).collect())
}

fn place(link: &Link, device: &Device) -> String {
    match &link.transport {
        Transport::ModbusRtu { line, .. } => format!("unit {} on a serial line at {} baud", device.unit, line.baud),
        Transport::RtuOverTcp { .. } => format!("unit {} behind a serial server", device.unit),
        _ => format!("unit {} over Modbus TCP", device.unit),
    }
}

/// Plays it, and counts its requests where it is new.
async fn checked(mut fixture: Fixture, device: &Device) -> Result<Fixture, RecordError> {
    if fixture.requests == 0 {
        fixture.requests = replay::play(&fixture, &device.profile).await.map_err(RecordError::Replay)?.requests;
    }
    let played = replay::play(&fixture, &device.profile).await.map_err(RecordError::Replay)?;
    match played.differences.as_slice() {
        [] => Ok(fixture),
        some => Err(RecordError::Differs { device: device.name.clone(), differences: some.join("; ") }),
    }
}

/// Writes a file whole or not at all.
///
/// # Errors
/// It cannot be written.
pub fn save(file: &Path, text: &str) -> io::Result<()> {
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = file.with_file_name(name);
    let mut handle = std::fs::File::create(&new)?;
    handle.write_all(text.as_bytes())?;
    handle.sync_all()?;
    std::fs::rename(&new, file)
}

/// Replies as they come.
#[derive(Debug, Default)]
struct Tape(Mutex<BTreeMap<(Table, u16), Vec<u16>>>);

impl Tape {
    fn take(&self) -> Vec<Reply> {
        let replies = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        replies.into_iter().map(|((table, address), words)| Reply { table, address, words }).collect()
    }
}

impl Ear for Tape {
    fn exchange(&self, told: &Told<'_>) {
        let (table, address) = match told.question {
            Pdu::ReadCoils(address, _) => (Table::Coil, *address),
            Pdu::ReadDiscreteInputs(address, _) => (Table::Discrete, *address),
            Pdu::ReadHoldingRegisters(address, _) => (Table::Holding, *address),
            Pdu::ReadInputRegisters(address, _) => (Table::Input, *address),
            _ => return,
        };
        if let Ok(Answer::Words(words)) = told.result {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).insert((table, address), words.clone());
        }
    }

    fn bytes(&self, _way: Way, _bytes: &[u8]) {}
}

#[cfg(test)]
mod tests;
