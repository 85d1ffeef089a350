//! One write to a BACnet device: look, WriteProperty at the configured priority, look again. Shell, with a pure core ([`judge`]).
//!
//! A value that is written holds a place in the object's list of priorities until it is given back (Null), by a command or when its time
//! is over. A write is asked once, without retries. Where it was not confirmed, the value afterwards decides.

use std::time::Instant;

use bacnet_rs::service::ConfirmedServiceChoice;
use pattoo_wire::{Outcome, Reason, Sample, Value};

use super::fetch::Talk;
use super::names::{PRIORITY_ARRAY, abort};
use super::services::{self, Property};
use super::tags::{ObjectId, Value as Held};
use super::tsm::Answer;
use crate::command::{Write, Written};
use crate::config::Device;
use crate::profile::{BacnetRead, RELINQUISH, Read};
use crate::reading::{DeviceIndex, PointIndex, Transaction};

/// One look at the point.
struct Look {
    sample: Sample,
    transactions: Vec<Transaction>,
}

impl Talk<'_> {
    pub(super) async fn write(&mut self, index: DeviceIndex, device: &Device, write: &Write) -> Written {
        let found = device.profile.points.get(write.point.0).and_then(|point| match (&point.read, &point.writable) {
            (Read::Bacnet(read), Some(how)) => Some((read, how)),
            _ => None,
        });
        let Some((read, how)) = found else {
            return Written::not(Outcome::NotWritable, "the profile does not say that this point is writable");
        };
        let before = self.look(index, device, write.point).await;
        if let Some(reason) = unusable(&before.sample) {
            let detail = format!("what the point had before could not be read: {reason}");
            return told(Outcome::Unreadable, detail, None, None, vec![before]);
        }
        let old = before.sample.value().cloned();
        if let Some(expected) = write.expected.as_ref().filter(|expected| Some(*expected) != old.as_ref()) {
            let detail = format!("expected {expected}, found {}", words(&before.sample));
            return told(Outcome::Mismatch, detail, old.clone(), old, vec![before]);
        }
        let gives_back = write.value == Value::Text(RELINQUISH.to_owned());
        let held = if gives_back { Some(Held::Null) } else { read.encode(&write.value) };
        let (Some(held), Some(object)) = (held, self.object(read)) else {
            return told(Outcome::BadValue, "BUG: a value that the property cannot hold".into(), old, None, vec![before]);
        };
        let answer = self.put(read, object, &held).await;
        if let Some(why) = refused(&answer) {
            return told(Outcome::Rejected, format!("the device refused: {why}"), old, None, vec![before]);
        }
        self.hold(write.point, gives_back);
        if !how.settle.is_zero() {
            tokio::time::sleep(how.settle).await;
        }
        let after = self.look(index, device, write.point).await;
        let (outcome, detail) =
            if gives_back { self.given_back(object, &answer, &after.sample).await } else { judge(&write.value, &answer, &after.sample) };
        let now = after.sample.value().cloned();
        told(outcome, detail, old, now, vec![before, after])
    }

    async fn look(&mut self, index: DeviceIndex, device: &Device, point: PointIndex) -> Look {
        self.known.subscriptions.check(point);
        let transactions = self.read(index, device, &[point]).await;
        let sample = transactions.iter().flat_map(|transaction| &transaction.readings).map(|reading| reading.sample.clone()).next();
        Look { sample: sample.unwrap_or(Sample::Bad(Reason::Malformed)), transactions }
    }

    /// Writes a present-value at the priority of the configuration; other properties have none.
    async fn put(&mut self, read: &BacnetRead, object: ObjectId, held: &Held) -> Result<Answer, Reason> {
        let property = Property { object, id: read.property, index: read.element };
        let priority = read.is_present_value().then_some(self.known.config.priority);
        let body = services::write_property(property, held, priority);
        self.port.ask_once(&self.peer, ConfirmedServiceChoice::WriteProperty, body).await.result
    }

    /// From now on its time runs.
    fn hold(&mut self, point: PointIndex, gives_back: bool) {
        match self.known.config.hold.filter(|_| !gives_back) {
            Some(hold) => drop(self.known.holds.insert(point, Instant::now() + hold)),
            None => drop(self.known.holds.remove(&point)),
        }
    }

    /// Whether nothing is left at our priority.
    async fn given_back(&mut self, object: ObjectId, answer: &Result<Answer, Reason>, after: &Sample) -> (Outcome, String) {
        let place = Property::at(object, PRIORITY_ARRAY, self.known.config.priority.into());
        let first = if *answer == Ok(Answer::Done) { "the device confirmed it" } else { "the device did not confirm it" };
        match self.read_one(place).await.1 {
            Ok(Ok(values)) if values == [Held::Null] => (Outcome::Done, format!("given back; the point has {}", words(after))),
            Ok(Ok(_)) => (Outcome::Differs, format!("{first}, and still has a value at priority {}", self.known.config.priority)),
            Ok(Err(refusal)) if *answer == Ok(Answer::Done) => {
                (Outcome::Done, format!("given back; its priorities cannot be read: {}", super::sample::refused(refusal)))
            }
            Ok(Err(refusal)) => (Outcome::Unknown, format!("{first}: {}", super::sample::refused(refusal))),
            Err(reason) => (Outcome::Unknown, format!("{first}, and could not be read afterwards: {reason}")),
        }
    }

    /// Gives back what was held for as long as it may be; says which points could be.
    pub(super) async fn give_back(&mut self, device: &Device, points: Vec<PointIndex>) -> Vec<PointIndex> {
        let mut given = Vec::new();
        for point in points {
            let Some(Read::Bacnet(read)) = device.profile.points.get(point.0).map(|point| &point.read) else { continue };
            let Some(object) = self.object(read) else { continue };
            let answer = self.put(read, object, &Held::Null).await;
            if answer == Ok(Answer::Done) || refused(&answer).is_some() {
                self.known.holds.remove(&point);
                given.push(point);
            }
            self.given_up = answer.as_ref().err().copied().or(self.given_up);
            if let Some(why) = refused(&answer) {
                self.known.miss("giving back refused");
                tracing::warn!(device = device.name, point = point.0, %why, "a value that was written cannot be given back");
            }
        }
        given
    }

    /// What stands at our priority although this run wrote nothing: an earlier one did. Its time begins now.
    pub(super) async fn adopt(&mut self, device: &Device) {
        let Some(hold) = self.known.config.hold.filter(|_| !self.known.adopted) else { return };
        for (at, point) in device.profile.points.iter().enumerate().filter(|(_, point)| point.writable.is_some()) {
            let Read::Bacnet(read) = &point.read else { continue };
            let Some(object) = self.object(read).filter(|_| read.is_present_value()) else { continue };
            let place = Property::at(object, PRIORITY_ARRAY, self.known.config.priority.into());
            match self.read_one(place).await.1 {
                Ok(Ok(values)) if values != [Held::Null] => {
                    self.known.holds.entry(PointIndex(at)).or_insert_with(|| Instant::now() + hold);
                }
                Ok(_) => {}
                Err(_) if self.given_up.is_some() => return,
                Err(_) => {}
            }
        }
        self.known.adopted = true;
    }
}

/// Why a device that gives this must not be written to: it is silent, or is not what the profile says.
fn unusable(sample: &Sample) -> Option<Reason> {
    match sample {
        Sample::Bad(Reason::NotAValue | Reason::Reliability(_) | Reason::OutOfRange) => None,
        Sample::Bad(reason) => Some(*reason),
        Sample::Good(_) | Sample::Uncertain(..) => None,
    }
}

/// Why the device has surely not written.
fn refused(answer: &Result<Answer, Reason>) -> Option<Reason> {
    match answer {
        Ok(Answer::Refused(Some(refusal))) => Some(super::sample::refused(*refusal)),
        Ok(Answer::Refused(None)) => Some(Reason::Bacnet(u8::MAX)),
        Ok(Answer::Rejected(reason)) => Some(Reason::BacnetReject(*reason)),
        // Broken off before it came to it; any other reason may be after that.
        Ok(Answer::Aborted(reason @ (abort::BUFFER_OVERFLOW | abort::SEGMENTATION_NOT_SUPPORTED))) => Some(Reason::BacnetAbort(*reason)),
        _ => None,
    }
}

fn words(sample: &Sample) -> String {
    match (sample.value(), sample.reason()) {
        (Some(value), Some(reason)) => format!("{value} ({reason})"),
        (Some(value), None) => value.to_string(),
        (None, Some(reason)) => format!("no value: {reason}"),
        (None, None) => "no value".to_owned(),
    }
}

fn told(outcome: Outcome, detail: String, old: Option<Value>, value: Option<Value>, looks: Vec<Look>) -> Written {
    Written { outcome, old, value, detail, transactions: looks.into_iter().flat_map(|look| look.transactions).collect() }
}

/// What is to be thought of a write from the answer to it and from the value afterwards.
fn judge(value: &Value, answer: &Result<Answer, Reason>, after: &Sample) -> (Outcome, String) {
    let confirmed = *answer == Ok(Answer::Done);
    let why = match answer {
        Ok(Answer::Aborted(reason)) => Reason::BacnetAbort(*reason).to_string(),
        Err(reason) => reason.to_string(),
        Ok(_) => String::new(),
    };
    if let Some(reason) = unusable(after) {
        let first = if confirmed { "the device confirmed it".to_owned() } else { format!("the device did not confirm it ({why})") };
        return (Outcome::Unknown, format!("{first}, and could not be read afterwards: {reason}"));
    }
    match (after.value() == Some(value), confirmed) {
        (true, true) => (Outcome::Done, String::new()),
        (true, false) => (Outcome::Done, format!("the device did not confirm it ({why}), but has the value")),
        (false, true) => {
            (Outcome::Differs, format!("the device confirmed it and gives back {}: a stronger priority may hold it", words(after)))
        }
        (false, false) => (Outcome::Failed, format!("the device did not confirm it ({why}) and has {}", words(after))),
    }
}

#[cfg(test)]
mod tests {
    use super::super::services::Refusal;
    use super::*;

    #[test]
    fn the_value_afterwards_decides_what_became_of_a_write() {
        let (value, other) = (Value::F32(21.5), Value::F32(19.0));
        let good = |value: &Value| Sample::Good(value.clone());
        let overridden = Sample::Uncertain(value.clone(), Reason::Overridden);
        let (done, silent) = (Ok(Answer::Done), Err(Reason::Timeout));
        for (answer, after, outcome) in [
            (&done, good(&value), Outcome::Done),
            (&done, overridden, Outcome::Done),
            (&done, good(&other), Outcome::Differs),
            (&done, Sample::Bad(Reason::Timeout), Outcome::Unknown),
            (&silent, good(&value), Outcome::Done),
            (&silent, good(&other), Outcome::Failed),
            (&silent, Sample::Bad(Reason::Timeout), Outcome::Unknown),
        ] {
            assert_eq!(judge(&value, answer, &after).0, outcome, "{answer:?} {after:?}");
        }
    }

    #[test]
    fn only_a_plain_refusal_means_that_nothing_was_written() {
        let denied = Refusal { class: 2, code: 40 };
        assert_eq!(refused(&Ok(Answer::Refused(Some(denied)))), Some(Reason::Bacnet(40)));
        assert_eq!(refused(&Ok(Answer::Rejected(9))), Some(Reason::BacnetReject(9)));
        for answer in [Ok(Answer::Done), Ok(Answer::Aborted(0)), Ok(Answer::Aborted(10)), Err(Reason::Timeout)] {
            assert_eq!(refused(&answer), None, "{answer:?}");
        }
    }
}
