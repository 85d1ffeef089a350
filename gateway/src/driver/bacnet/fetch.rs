//! One poll of one device: what it is asked, and what its points read from that. Shell.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bacnet_rs::service::ConfirmedServiceChoice;
use pattoo_wire::{Reason, Sample};
use tokio::time::Instant;

use super::known::{self, Known};
use super::names::{DEVICE, MAX_APDU_LENGTH, PRESENT_VALUE, RELIABILITY, SCALE, SEGMENTATION, STATUS_FLAGS, UNITS, abort, error};
use super::plan::{Group, answer_bytes, plan};
use super::port::{Asked, Port};
use super::sample::Gotten;
use super::services::{self, Given, Property, Refusal};
use super::tags::{ANY_DEVICE, ObjectId, Value};
use super::tsm::Answer;
use super::{Peer, sample};
use crate::config::Device;
use crate::driver::Clock;
use crate::profile::{BacnetRead, BacnetScale, Read, Which};
use crate::reading::{DeviceIndex, PointIndex, Transaction};

/// Error code of an object that the device does not have, by number or by name.
const UNKNOWN_OBJECT: u8 = 31;

/// A device, as long as it is asked.
pub(super) struct Talk<'a> {
    pub(super) port: &'a Port,
    pub(super) clock: &'a Clock,
    pub(super) known: &'a mut Known,
    pub(super) peer: Peer,
    /// Why the rest is not asked.
    pub(super) given_up: Option<Reason>,
}

/// Reads these points.
pub(super) async fn poll(
    port: &Port,
    clock: &Clock,
    known: &mut Known,
    index: DeviceIndex,
    device: &Device,
    points: &[PointIndex],
) -> Vec<Transaction> {
    let mut talk = match Talk::begin(port, clock, known, device).await {
        Ok(talk) => talk,
        Err(reason) => return vec![super::bad(clock(), index, points, reason)],
    };
    talk.adopt(device).await;
    talk.read(index, device, points).await
}

impl<'a> Talk<'a> {
    /// Finds the device, and what it takes.
    pub(super) async fn begin(port: &'a Port, clock: &'a Clock, known: &'a mut Known, device: &Device) -> Result<Self, Reason> {
        let peer = match known.peer.clone() {
            Some(peer) => peer,
            None => port.find(known.config.device).await.ok_or(Reason::Timeout)?,
        };
        known.peer = Some(peer.clone());
        let times = port.meet(known.config.device, known.config.is_said(), &peer);
        if std::mem::replace(&mut known.times, times) != times {
            known.restarted();
        }
        let mut talk = Self { port, clock, known, peer, given_up: None };
        if talk.known.limits.is_none()
            && let Err(reason) = talk.introduce(device).await
        {
            talk.lose();
            return Err(reason);
        }
        if std::mem::take(&mut talk.known.renewed) {
            talk.check_names().await;
        }
        Ok(talk)
    }

    /// Asks what the device takes. Its answer also shows that it is the one of that instance, where that is said.
    async fn introduce(&mut self, device: &Device) -> Result<(), Reason> {
        let own = ObjectId::new(DEVICE, self.known.instance());
        let mut said = [None, None];
        for (said, id) in said.iter_mut().zip([MAX_APDU_LENGTH, SEGMENTATION]) {
            *said = match self.read_one(Property::of(own, id)).await.1? {
                Ok(values) => values.first().and_then(|value| match value {
                    Value::Unsigned(number) => u32::try_from(*number).ok(),
                    Value::Enumerated(number) => Some(*number),
                    _ => None,
                }),
                // Another device has the address of this one.
                Err(Refusal { code: error::UNKNOWN_OBJECT, .. }) if self.known.config.is_said() => return Err(Reason::Mismatch),
                Err(_) => None,
            };
        }
        let [max_apdu, segmentation] = said;
        let profile = device.profile.bacnet;
        self.known.limits = Some(known::limits(max_apdu, segmentation, profile.read_multiple, profile.max_apdu));
        Ok(())
    }

    /// Reads these points; those whose changes the device tells only now and then.
    pub(super) async fn read(&mut self, index: DeviceIndex, device: &Device, points: &[PointIndex]) -> Vec<Transaction> {
        let now = Instant::now();
        let mut transactions: BTreeMap<i64, Vec<_>> = BTreeMap::new();
        let reads: Vec<_> = points
            .iter()
            .filter_map(|point| match device.profile.points.get(point.0).map(|own| (own, &own.read)) {
                Some((own, Read::Bacnet(read))) => Some((*point, own, read)),
                _ => None,
            })
            .collect();
        let named = reads.iter().filter(|(.., read)| matches!(read.which, Which::Named(_))).map(|(.., read)| read.object).collect();
        let unnamed = self.names(&named).await.err().unwrap_or(Reason::Bacnet(UNKNOWN_OBJECT));
        let mut wanted = Vec::new();
        for (point, own, read) in reads {
            match self.object(read) {
                Some(object) => wanted.push((point, own, read, object)),
                None => transactions.entry((self.clock)()).or_default().push(super::reading(point, None, Sample::Bad(unnamed))),
            }
        }
        for (point, .., object) in wanted.iter().filter(|(_, _, read, _)| read.cov) {
            self.known.subscriptions.want(*point, *object);
        }
        self.subscribe().await;
        wanted.retain(|(point, ..)| self.known.subscriptions.poll(*point, std::time::Instant::now()));
        let groups = wanted.iter().map(|(_, _, read, object)| self.group(read, *object, now.into_std())).collect();
        let gotten = self.fetch(groups).await;
        self.learn(&gotten, now.into_std());
        let faulty = wanted.iter().filter(|(.., object)| sample::Flags::of(&gotten, *object).fault).map(|(.., object)| *object);
        let faulty: Vec<Group> = faulty.map(|object| vec![Property::of(object, RELIABILITY)]).collect();
        let reliability = self.fetch(faulty).await;
        for (point, own, read, object) in wanted {
            let (at_ms, sample) = self.sample(&gotten, &reliability, own, read, object);
            let row = sample::row(own, self.known.unit(object)).map(Arc::new);
            transactions.entry(at_ms).or_default().push(super::reading(point, row, sample));
        }
        if let Some(Reason::Timeout) = self.given_up {
            self.lose();
        }
        transactions.into_iter().map(|(at_ms, readings)| Transaction { device: index, at_ms, readings }).collect()
    }

    /// The names of objects of these types, where they are not known yet.
    async fn names(&mut self, types: &BTreeSet<u16>) -> Result<(), Reason> {
        if types.is_empty() || self.known.names.is_some() {
            return Ok(());
        }
        self.learn_names(types).await
    }

    /// A device that is silent may be another one, or elsewhere, when it is back.
    fn lose(&mut self) {
        self.port.lose(self.known.config.device);
        self.known.forget();
    }

    pub(super) fn object(&self, read: &BacnetRead) -> Option<ObjectId> {
        match &read.which {
            Which::Instance(instance) => Some(ObjectId::new(read.object, *instance)),
            Which::Itself => Some(ObjectId::new(DEVICE, self.known.instance())),
            Which::Named(name) => self.known.names.as_ref()?.get(&(read.object, name.clone())).copied(),
        }
    }

    /// What a point needs: its property, and what says how that is meant.
    fn group(&self, read: &BacnetRead, object: ObjectId, now: std::time::Instant) -> Group {
        let mut group = vec![Property { object, id: read.property, index: read.element }];
        if read.is_present_value() {
            group.push(Property::of(object, STATUS_FLAGS));
        }
        if read.has_units() && self.known.wants_unit(object, now) {
            group.push(Property::of(object, UNITS));
        }
        if read.scale == BacnetScale::Device && !self.known.scales.contains_key(&object) {
            group.push(Property::of(object, SCALE));
        }
        group.retain(|property| !self.known.without.contains(property));
        group
    }

    /// Keeps what does not change with each poll.
    fn learn(&mut self, gotten: &Gotten, now: std::time::Instant) {
        for (property, (_, result)) in gotten {
            match result {
                Ok(Ok(values)) => match (property.id, values.first()) {
                    (UNITS, Some(Value::Enumerated(number))) => self.known.tell_unit(property.object, *number, now),
                    (UNITS, Some(Value::Unsigned(number))) => {
                        self.known.tell_unit(property.object, u32::try_from(*number).unwrap_or(u32::MAX), now);
                    }
                    (SCALE, Some(scale)) => self.known.scales.extend(sample::scale(scale).map(|factor| (property.object, factor))),
                    _ => {}
                },
                // Not each object has a state and a unit.
                Ok(Err(Refusal { code: error::UNKNOWN_PROPERTY, .. })) if matches!(property.id, STATUS_FLAGS | UNITS) => {
                    self.known.without.insert(*property);
                }
                _ => {}
            }
        }
    }

    fn sample(
        &self,
        gotten: &Gotten,
        reliability: &Gotten,
        point: &crate::profile::Point,
        read: &BacnetRead,
        object: ObjectId,
    ) -> (i64, Sample) {
        let main = Property { object, id: read.property, index: read.element };
        let Some((at_ms, result)) = gotten.get(&main) else { return ((self.clock)(), Sample::Bad(Reason::Malformed)) };
        let values = match result {
            Ok(Ok(values)) => values,
            Ok(Err(refusal)) => return (*at_ms, Sample::Bad(sample::refused(*refusal))),
            Err(reason) => return (*at_ms, Sample::Bad(*reason)),
        };
        let flags = if read.property == PRESENT_VALUE { sample::Flags::of(gotten, object) } else { sample::Flags::default() };
        let reliability = sample::number(reliability, Property::of(object, RELIABILITY));
        let factor = self.known.scales.get(&object).copied();
        (*at_ms, sample::sample(point, read, values, factor, flags, reliability, self.known.unit(object)))
    }

    /// Asks for these properties, in as few requests as the device takes.
    pub(super) async fn fetch(&mut self, groups: Vec<Group>) -> Gotten {
        let mut gotten = Gotten::new();
        let Some(limits) = self.known.limits.clone() else { return gotten };
        let (alone, together): (Vec<_>, Vec<_>) = groups
            .into_iter()
            .filter(|group| !group.is_empty())
            .partition(|group| !limits.read_multiple || group.iter().any(|property| limits.alone.contains(&property.object)));
        // From the last to the first, so that the halves of one come where it was.
        let mut requests: Vec<_> = plan(together, &limits).into_iter().rev().collect();
        while let Some(request) = requests.pop() {
            if !self.known.limits.as_ref().is_some_and(|limits| limits.read_multiple) {
                for group in request {
                    self.one_by_one(group, &mut gotten).await;
                }
                continue;
            }
            let Some(mut left) = self.ask_for(request, &mut gotten).await else { continue };
            if left.len() > 1 {
                let right = left.split_off(left.len() / 2);
                requests.extend([right, left]);
                continue;
            }
            for group in left {
                self.known.limits.iter_mut().for_each(|limits| limits.alone.extend(group.iter().map(|property| property.object)));
                self.one_by_one(group, &mut gotten).await;
            }
        }
        for group in alone {
            self.one_by_one(group, &mut gotten).await;
        }
        gotten
    }

    async fn one_by_one(&mut self, group: Group, gotten: &mut Gotten) {
        for property in group {
            let (at_ms, result) = self.read_one(property).await;
            gotten.insert(property, (at_ms, result));
        }
    }

    /// Asks for several properties at once; gives back those that must be asked for in another way.
    async fn ask_for(&mut self, request: Vec<Group>, gotten: &mut Gotten) -> Option<Vec<Group>> {
        let properties = request.concat();
        let mut all = |at_ms, reason| properties.iter().for_each(|property| drop(gotten.insert(*property, (at_ms, Err(reason)))));
        if let Some(reason) = self.given_up {
            all((self.clock)(), reason);
            return None;
        }
        let asked = self.port.ask(&self.peer, ConfirmedServiceChoice::ReadPropertyMultiple, services::read_multiple(&properties)).await;
        let at_ms = self.time_of(&asked);
        let limits = self.known.limits.as_mut()?;
        match asked.result {
            Ok(Answer::Body(body)) => {
                let Ok(results) = services::multiple_ack(&body) else {
                    self.known.miss("malformed reply");
                    return Some(request);
                };
                let given: BTreeMap<_, _> = results.into_iter().collect();
                for property in &properties {
                    let result = given.get(property).cloned().ok_or(Reason::Malformed);
                    gotten.insert(*property, (at_ms, result));
                }
                return None;
            }
            Ok(Answer::TooLong) => limits.too_long(answer_bytes(&request)),
            Ok(Answer::Aborted(abort::BUFFER_OVERFLOW | abort::SEGMENTATION_NOT_SUPPORTED | abort::OUT_OF_RESOURCES | abort::TOO_LONG)) => {
                limits.too_long(answer_bytes(&request))
            }
            Ok(Answer::Rejected(super::names::reject::UNRECOGNIZED_SERVICE)) => limits.read_multiple = false,
            Ok(Answer::Done | Answer::Refused(_) | Answer::Rejected(_) | Answer::Aborted(_)) => {}
            Err(reason) => {
                self.given_up = Some(reason);
                all(at_ms, reason);
                return None;
            }
        }
        Some(request)
    }

    /// Asks for one property.
    pub(super) async fn read_one(&mut self, property: Property) -> (i64, Result<Given, Reason>) {
        if let Some(reason) = self.given_up {
            return ((self.clock)(), Err(reason));
        }
        let asked = self.port.ask(&self.peer, ConfirmedServiceChoice::ReadProperty, services::read_property(property)).await;
        let at_ms = self.time_of(&asked);
        let result = match asked.result {
            Ok(Answer::Body(body)) => match services::property_ack(&body) {
                Ok((of, values)) if of == property => Ok(Ok(values)),
                // Asked as any device, it answers as the one that it is.
                Ok((of, values))
                    if property.object == ANY_DEVICE && of.object.kind == DEVICE && (of.id, of.index) == (property.id, property.index) =>
                {
                    self.known.said = Some(of.object.instance);
                    Ok(Ok(values))
                }
                _ => {
                    self.known.miss("malformed reply");
                    Err(Reason::Malformed)
                }
            },
            Ok(Answer::Refused(Some(refusal))) => Ok(Err(refusal)),
            Ok(Answer::Aborted(reason)) => Err(Reason::BacnetAbort(reason)),
            Ok(Answer::Rejected(reason)) => Err(Reason::BacnetReject(reason)),
            Ok(Answer::TooLong) => Err(Reason::Overflow),
            Ok(Answer::Done | Answer::Refused(None)) => Err(Reason::Malformed),
            Err(reason) => {
                self.given_up = Some(reason);
                Err(reason)
            }
        };
        (at_ms, result)
    }

    /// The middle between question and answer, by the clock of the readings.
    fn time_of(&self, asked: &Asked) -> i64 {
        let (start, end) = asked.span;
        let ago = end.elapsed() + end.duration_since(start) / 2;
        (self.clock)() - i64::try_from(ago.as_millis()).unwrap_or_default()
    }
}
