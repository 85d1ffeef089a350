//! One write to a Modbus device: look, write, look again. Shell, with a pure core ([`question`], [`judge`]).
//!
//! The value before is read first: it is what the audit record and `expected` are about, and a device that does not answer is found out
//! before anything may have been written. A write is asked once. Where it was not confirmed, the value afterwards decides; where that cannot
//! be read either, nobody knows.

use std::borrow::Cow;

use pattoo_wire::{Outcome, Reason, Sample, Value};
use tokio_modbus::prelude::Request as Pdu;

use super::session::{Answer, Exchange, Failure, question};
use super::{GATEWAY_PATH_UNAVAILABLE, GATEWAY_TARGET_SILENT, Modbus, reading};
use crate::command::{Write, Written};
use crate::config::Device;
use crate::plan::Request;
use crate::profile::{ModbusRead, Read, Writable, WriteFunction};
use crate::reading::{DeviceIndex, Transaction};

/// The device takes longer than it likes to wait with its answer: it may have written.
const ACKNOWLEDGE: u8 = 0x05;

/// One look at the point.
struct Look {
    words: Vec<u16>,
    sample: Sample,
    transaction: Transaction,
}

impl Modbus {
    pub(super) async fn write_point(&mut self, index: DeviceIndex, device: &Device, write: &Write) -> Written {
        let Some(point) = device.profile.points.get(write.point.0) else {
            return Written::not(Outcome::UnknownPoint, "BUG: a write to a point that is not there");
        };
        let (Read::Modbus(read), Some(how)) = (&point.read, &point.writable) else {
            return Written::not(Outcome::NotWritable, "the profile does not say that this point is writable");
        };
        if read.is_part() && how.function != WriteFunction::Mask && !write.read_modify_write {
            return Written::not(Outcome::NotWritable, NO_MASK);
        }
        let (before, silent) = self.look(index, device, write, read).await;
        let question = match (silent, &write.expected) {
            (Some(reason), _) => {
                let detail = format!("what the point had before could not be read: {reason}");
                return written(Outcome::Unreadable, detail, None, None, vec![before]);
            }
            (None, Some(expected)) if before.sample != Sample::Good(expected.clone()) => {
                let (old, now) = (before.value(), before.value());
                let detail = format!("expected {expected}, found {}", told(&before.sample));
                return written(Outcome::Mismatch, detail, old, now, vec![before]);
            }
            _ => question(read, how, &write.value, &before.words),
        };
        let Some(question) = question else {
            return written(Outcome::BadValue, "BUG: a value that the registers cannot hold".into(), before.value(), None, vec![before]);
        };
        let answer = self.session.ask(device.unit, &question, device.profile.modbus.min_gap).await.result;
        if let Ok(Answer::Refused(code)) = answer
            && !may_have_written(code)
        {
            let old = before.value();
            return written(Outcome::Rejected, format!("the device refused: {}", Reason::Exception(code)), old, None, vec![before]);
        }
        if !how.settle.is_zero() {
            tokio::time::sleep(how.settle).await;
        }
        let (after, silent) = self.look(index, device, write, read).await;
        let (outcome, detail) = judge(&write.value, &answer, &after.sample, silent);
        let (old, now) = (before.value(), after.value());
        written(outcome, detail, old, now, vec![before, after])
    }

    /// Reads the point; gives beside it why there are no words of it.
    async fn look(&mut self, index: DeviceIndex, device: &Device, write: &Write, read: &ModbusRead) -> (Look, Option<Reason>) {
        let (address, count) = (read.address, read.encoding.len());
        let request = Request { table: read.table, address, count, points: vec![write.point] };
        let Exchange { at_ms, result } = self.session.ask(device.unit, &question::read(&request), device.profile.modbus.min_gap).await;
        let range = device.profile.points.get(write.point.0).and_then(|point| point.range);
        let (words, sample, silent) = match result {
            Ok(Answer::Words(words)) => {
                let sample = read.decode(&words, range);
                (words, sample, None)
            }
            Ok(Answer::Refused(code)) => (vec![], Sample::Bad(Reason::Exception(code)), Some(Reason::Exception(code))),
            // Not the answer to a read; the session lets none of these through.
            Ok(_) => (vec![], Sample::Bad(Reason::Malformed), Some(Reason::Malformed)),
            Err(failure) => (vec![], Sample::Bad(failure.reason()), Some(failure.reason())),
        };
        let transaction = Transaction { device: index, at_ms, readings: vec![reading(write.point, sample.clone())] };
        (Look { words, sample, transaction }, silent)
    }
}

const NO_MASK: &str = "the value is a part of a register, and the device has no function to write only that; \
                       `commands: { read_modify_write: true }` allows to write all of the register, where nobody else changes it meanwhile";

impl Look {
    fn value(&self) -> Option<Value> {
        self.sample.value().cloned()
    }
}

fn told(sample: &Sample) -> String {
    match (sample.value(), sample.reason()) {
        (Some(value), _) => value.to_string(),
        (None, Some(reason)) => format!("no value: {reason}"),
        (None, None) => "no value".to_owned(),
    }
}

fn written(outcome: Outcome, detail: String, old: Option<Value>, value: Option<Value>, looks: Vec<Look>) -> Written {
    Written { outcome, old, value, detail, transactions: looks.into_iter().map(|look| look.transaction).collect() }
}

/// Whether a device or gateway that answers with this exception may have written all the same.
fn may_have_written(code: u8) -> bool {
    matches!(code, ACKNOWLEDGE | GATEWAY_PATH_UNAVAILABLE | GATEWAY_TARGET_SILENT)
}

/// The request that writes this value; `before` are the words that the registers hold. None where they cannot hold it.
fn question(read: &ModbusRead, how: &Writable, value: &Value, before: &[u16]) -> Option<Pdu<'static>> {
    let (words, masks) = (read.nearest(value, 0)?, read.masks());
    let first = *words.first()?;
    if how.function == WriteFunction::Mask {
        let mask = *masks.first()?;
        return Some(Pdu::MaskWriteRegister(read.address, !mask, first & mask));
    }
    let words: Vec<u16> = words.iter().zip(&masks).zip(before).map(|((new, mask), old)| new & mask | old & !mask).collect();
    let first = *words.first().filter(|_| words.len() == usize::from(read.encoding.len()))?;
    Some(match how.function {
        WriteFunction::Coil => Pdu::WriteSingleCoil(read.address, first != 0),
        WriteFunction::Coils => Pdu::WriteMultipleCoils(read.address, Cow::Owned(vec![first != 0])),
        WriteFunction::Register => Pdu::WriteSingleRegister(read.address, first),
        WriteFunction::Property => return None,
        WriteFunction::Registers | WriteFunction::Mask => Pdu::WriteMultipleRegisters(read.address, Cow::Owned(words)),
    })
}

/// What is to be thought of a write from the answer to it and from the value afterwards.
fn judge(value: &Value, answer: &Result<Answer, Failure>, after: &Sample, silent: Option<Reason>) -> (Outcome, String) {
    let confirmed = matches!(answer, Ok(Answer::Done));
    let why = match answer {
        Ok(Answer::Refused(code)) => Reason::Exception(*code).to_string(),
        Err(failure) => failure.reason().to_string(),
        Ok(_) => String::new(),
    };
    if let Some(reason) = silent {
        let first = if confirmed { "the device confirmed it".to_owned() } else { format!("the device did not confirm it ({why})") };
        return (Outcome::Unknown, format!("{first}, and could not be read afterwards: {reason}"));
    }
    match (*after == Sample::Good(value.clone()), confirmed) {
        (true, true) => (Outcome::Done, String::new()),
        (true, false) => (Outcome::Done, format!("the device did not confirm it ({why}), but has the value")),
        (false, true) => (Outcome::Differs, format!("the device confirmed it and gives back {}", told(after))),
        (false, false) => (Outcome::Failed, format!("the device did not confirm it ({why}) and has {}", told(after))),
    }
}

#[cfg(test)]
mod tests;
