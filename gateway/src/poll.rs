//! Reads devices once and shows what they say. Shell: talks to devices through their drivers, and to nobody else.

use std::collections::BTreeMap;
use std::fmt;
use std::future::{Future, poll_fn};
use std::task::Poll;
use std::time::Duration;

use pattoo_wire::{Quality, Value};
use serde::Serialize;
use thiserror::Error;
use tokio::time::{Instant, timeout_at};

use crate::config::{Config, Device, Link, Transport};
use crate::driver::{self, Driver, host::Metric};
use crate::lines::LineRead;
use crate::profile::{Point, Read};
use crate::reading::{DeviceIndex, PointIndex, Reading, Transaction};
use crate::table::table;

/// Between two looks at the processors of this host: their load is what happened between two looks. Above the 200 ms that
/// sysinfo wants.
const PROCESSOR_LOOKS: Duration = Duration::from_millis(250);

/// So long is a device listened to that tells its readings by itself.
const LISTEN: Duration = Duration::from_secs(5);

/// Why nothing was read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PollError {
    /// No device of that name.
    #[error("there is no device {name:?}; expected one of {known}")]
    UnknownDevice {
        /// As asked for.
        name: String,
        /// The names there are.
        known: String,
    },
}

/// What one device said.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Polled {
    /// Its name.
    pub device: String,
    /// Id of its profile.
    pub profile: String,
    /// Its link.
    pub link: String,
    /// Its readings in the order of its profile.
    pub readings: Vec<Shown>,
    /// Points of its profile that this device does not have, or has no value of.
    pub absent: Vec<String>,
}

/// One reading.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Shown {
    /// Name of the point, with its row in brackets where it has rows.
    pub point: String,
    /// Its value with all its digits: a number, a boolean or a text; none when it is bad.
    pub value: Option<serde_json::Value>,
    /// Name of the state that the value stands for.
    pub state: Option<String>,
    /// Unit of the value.
    pub unit: String,
    /// Whether it may be trusted.
    pub quality: Quality,
    /// Why not.
    pub reason: Option<String>,
    /// UTC, ms since 1970.
    pub time_ms: i64,
    #[serde(skip)]
    text: String,
}

/// Reads each device once, or only the one of this name. All links at the same time, the devices of a link one after the other.
/// Order is that of the configuration.
///
/// # Errors
/// No device has that name. A device that fails is no error: its readings say so.
pub async fn poll(config: &Config, only: Option<&str>) -> Result<Vec<Polled>, PollError> {
    if let Some(name) = only
        && !config.devices.iter().any(|device| device.name == name)
    {
        let known: Vec<_> = config.devices.iter().map(|device| device.name.as_str()).collect();
        return Err(PollError::UnknownDevice { name: name.to_owned(), known: known.join(", ") });
    }
    let links = config.links.iter().map(|link| poll_link(config, link, only));
    let mut polled: Vec<_> = all(links).await.into_iter().flatten().collect();
    polled.sort_by_key(|(index, _)| *index);
    Ok(polled.into_iter().map(|(_, polled)| polled).collect())
}

async fn poll_link(config: &Config, link: &Link, only: Option<&str>) -> Vec<(DeviceIndex, Polled)> {
    let mut driver = driver::open(&link.transport, driver::wall_clock(), None);
    let mut polled = Vec::new();
    for index in &link.devices {
        let Some(device) = config.devices.get(index.0).filter(|device| only.is_none_or(|name| device.name == name)) else { continue };
        if link.transport == Transport::Host {
            first_look(driver.as_mut(), *index, device).await;
        }
        let points: Vec<_> = (0..device.profile.points.len()).map(PointIndex).collect();
        let transactions = match link.transport.is_heard() {
            true => listen(driver.as_mut(), config, *index).await,
            false => driver.read(*index, device, &points).await,
        };
        polled.push((*index, show(device, &link.name, transactions)));
    }
    polled
}

/// The latest reading of each series that a device tells by itself.
async fn listen(driver: &mut dyn Driver, config: &Config, device: DeviceIndex) -> Vec<Transaction> {
    let mut latest = BTreeMap::new();
    let deadline = Instant::now() + LISTEN;
    while let Ok(heard) = timeout_at(deadline, driver.hear(config)).await {
        for Transaction { at_ms, readings, .. } in heard.transactions.into_iter().filter(|transaction| transaction.device == device) {
            latest.extend(readings.into_iter().map(|reading| ((reading.point, reading.row.clone()), (at_ms, reading))));
        }
    }
    latest.into_values().map(|(at_ms, reading)| Transaction { device, at_ms, readings: vec![reading] }).collect()
}

/// The load of the processors needs two looks.
async fn first_look(driver: &mut dyn Driver, index: DeviceIndex, device: &Device) {
    let load = |point: &Point| point.read == Read::Host(Metric::CpuUsage);
    let points: Vec<_> = device.profile.points.iter().enumerate().filter(|(_, point)| load(point)).map(|(i, _)| PointIndex(i)).collect();
    if !points.is_empty() {
        driver.read(index, device, &points).await;
        tokio::time::sleep(PROCESSOR_LOOKS).await;
    }
}

/// Waits for all, within this task.
pub(crate) async fn all<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut futures: Vec<_> = futures.map(|future| (Box::pin(future), None)).collect();
    poll_fn(|context| {
        for (future, done) in futures.iter_mut().filter(|(_, done)| done.is_none()) {
            if let Poll::Ready(output) = future.as_mut().poll(context) {
                *done = Some(output);
            }
        }
        if futures.iter().all(|(_, done)| done.is_some()) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    futures.into_iter().filter_map(|(_, done)| done).collect()
}

fn show(device: &Device, link: &str, transactions: Vec<Transaction>) -> Polled {
    let mut readings: Vec<(i64, Reading)> =
        transactions.into_iter().flat_map(|t| t.readings.into_iter().map(move |reading| (t.at_ms, reading))).collect();
    readings.sort_by_key(|(_, reading)| reading.point);
    // Of a profile that takes every name none is absent.
    let named = |point: &Point| !matches!(point.read, Read::Line(LineRead::Any(_)));
    let absent = device
        .profile
        .points
        .iter()
        .enumerate()
        .filter(|(_, point)| named(point))
        .filter(|(i, _)| readings.iter().all(|(_, reading)| reading.point.0 != *i));
    let absent = absent.map(|(_, point)| point.name.clone()).collect();
    let shown = |(time_ms, reading): (i64, Reading)| Some(shown(device.profile.points.get(reading.point.0)?, &reading, time_ms));
    let readings = readings.into_iter().filter_map(shown).collect();
    Polled { device: device.name.clone(), profile: device.profile.id.clone(), link: link.to_owned(), readings, absent }
}

fn shown(point: &Point, reading: &Reading, time_ms: i64) -> Shown {
    let row = reading.row.as_deref();
    let own = row.and_then(|row| row.point.as_ref()).unwrap_or(&point.name);
    let identity = row.map(|row| row.identity.as_str()).filter(|identity| !identity.is_empty());
    let value = reading.sample.value();
    let state = value.and_then(|value| match value {
        Value::Decimal(d) if d.exponent == 0 => point.states.get(&d.mantissa),
        Value::Bool(b) => point.states.get(&i64::from(*b)),
        _ => None,
    });
    Shown {
        point: identity.map_or_else(|| own.clone(), |identity| format!("{own}[{identity}]")),
        value: value.map(json),
        state: state.cloned(),
        unit: row.and_then(|row| row.unit.as_ref()).unwrap_or(&point.unit).clone(),
        quality: reading.sample.quality(),
        reason: reading.sample.reason().map(|reason| reason.to_string()),
        time_ms,
        text: value.map(ToString::to_string).unwrap_or_default(),
    }
}

/// What is not a number in JSON, infinity for one, is a text.
fn json(value: &Value) -> serde_json::Value {
    let text = value.to_string();
    match value {
        Value::Text(_) => text.into(),
        _ => serde_json::from_str(&text).unwrap_or_else(|_| text.into()),
    }
}

impl fmt::Display for Polled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} ({}, link {})", self.device, self.profile, self.link)?;
        let head = ["point", "value", "unit", "quality", "reason"].map(str::to_owned);
        let row = |shown: &Shown| {
            let state = shown.state.as_ref().map(|state| format!(" ({state})")).unwrap_or_default();
            let reason = shown.reason.clone().unwrap_or_default();
            // Text comes from a device: no control character of it may reach the terminal.
            let value: String = (shown.text.clone() + &state).chars().map(|c| if c.is_control() { '?' } else { c }).collect();
            [shown.point.clone(), value, shown.unit.clone(), shown.quality.to_string(), reason]
        };
        let rows: Vec<_> = std::iter::once(head).chain(self.readings.iter().map(row)).collect();
        f.write_str(&table(&rows, &[1]))?;
        match self.absent.as_slice() {
            [] => Ok(()),
            absent => writeln!(f, "not on this device, or without a value so far: {}", absent.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests;
