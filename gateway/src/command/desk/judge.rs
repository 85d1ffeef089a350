//! Whether a command may be begun.

use pattoo_wire::{Command, MAX_COMMAND_TEXT_BYTES, Outcome};

use super::{Desk, MAX_REMEMBERED, Now};
use crate::command::Write;
use crate::reading::{DeviceIndex, PointIndex};

/// Why not, and in words.
type Refused = (Outcome, String);

/// Whether the texts of a command may stand in records and logs.
pub(super) fn texts(command: &Command) -> Result<(), String> {
    for (name, text) in [("id", Some(&command.id)), ("by", command.by.as_ref())] {
        if text.is_some_and(|text| !is_visible(text)) {
            return Err(format!("{name}: expected 1 to {MAX_COMMAND_TEXT_BYTES} visible ASCII characters"));
        }
    }
    Ok(())
}

pub(super) fn is_visible(text: &str) -> bool {
    (1..=MAX_COMMAND_TEXT_BYTES).contains(&text.len()) && text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
}

impl Desk {
    /// What is to be written, and until when it may be begun (boot clock, ms).
    pub(super) fn judge(&mut self, command: &Command, now: Now) -> Result<(DeviceIndex, Write, i64), Refused> {
        let until_ms = self.until_ms(command, now)?;
        let (device, write) = self.write(command)?;
        if self.remembered.len() >= MAX_REMEMBERED {
            return Err((Outcome::Busy, format!("{MAX_REMEMBERED} commands have not expired yet; let them expire sooner")));
        }
        Ok((device, write, until_ms))
    }

    fn until_ms(&mut self, command: &Command, now: Now) -> Result<i64, Refused> {
        let Some(expires_ms) = command.expires_ms else {
            return Err((Outcome::NoExpiry, "expected expires_ms, a time in ms since 1970".to_owned()));
        };
        let Some(utc_ms) = now.utc_ms else {
            return Err((Outcome::ClockUnknown, "the gateway does not know the time yet".to_owned()));
        };
        self.forget(utc_ms);
        let left_ms = expires_ms.saturating_sub(utc_ms);
        let most_ms = i64::try_from(self.config.commands.max_expiry.as_millis()).unwrap_or(i64::MAX);
        match left_ms {
            ..=0 => Err((Outcome::Expired, format!("it expired {} ms ago by the gateway's clock", left_ms.saturating_neg()))),
            _ if left_ms > most_ms => {
                Err((Outcome::ExpiryTooFar, format!("it expires in {left_ms} ms, this gateway takes at most {most_ms}")))
            }
            _ => Ok(now.boot_ms.saturating_add(left_ms)),
        }
    }

    fn write(&self, command: &Command) -> Result<(DeviceIndex, Write), Refused> {
        let none = |outcome, what: &'static str| move || (outcome, format!("there is no such {what}"));
        let index = self.devices.get(&command.device).copied().ok_or_else(none(Outcome::UnknownDevice, "device"))?;
        let device = self.config.devices.get(index.0).ok_or_else(none(Outcome::UnknownDevice, "device"))?;
        let mut points = device.profile.points.iter().enumerate();
        let (at, point) = points.find(|(_, point)| point.name == command.point).ok_or_else(none(Outcome::UnknownPoint, "point"))?;
        let at = PointIndex(at);
        let Some(allowed) = self.config.commands.points.get(&(index, at)).filter(|_| self.config.commands.enabled) else {
            let why = if point.writable.is_some() { "the device's `writable` does not name it" } else { "its profile does not say so" };
            return Err((Outcome::NotWritable, format!("the point is not writable: {why}")));
        };
        let value = point.value_of(&command.value).map_err(|why| (Outcome::BadValue, format!("value: {why}")))?;
        let expected = command.expected.as_ref().map(|expected| point.value_of(expected)).transpose();
        let expected = expected.map_err(|why| (Outcome::BadValue, format!("expected: {why}")))?;
        if !allowed.limits.allow(&value) {
            return Err((Outcome::OutOfRange, format!("{value} is outside of what may be written: {}", allowed.limits.words())));
        }
        Ok((index, Write { point: at, value, expected, read_modify_write: self.config.commands.read_modify_write }))
    }
}
