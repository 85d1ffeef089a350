//! One simulated BACnet device: what it answers to a request. Pure; knows of no socket and no profile.
//!
//! It has no segmentation and says so: what does not fit into one answer is refused, and a list is read by index.

use std::collections::BTreeMap;

use super::cov::{Notice, Subscriptions};
use super::frame::Peer;
use super::object::{Held, Object, Refusal, element, encoded};
use crate::driver::bacnet::names::{DEVICE, MAX_APDU_LENGTH, OBJECT_LIST, PRESENT_VALUE, SEGMENTATION, STATUS_FLAGS, service};
use crate::driver::bacnet::tags::{
    ANY_INSTANCE, Malformed, ObjectId, Reader, Value, push_closing, push_context_object, push_context_unsigned, push_opening, push_value,
};

/// Longest answer, in bytes: what BACnet/IP carries.
pub(crate) const MAX_APDU: u16 = 1476;
/// Most properties that one answer tells: more do not fit.
const MAX_READ: usize = 1000;
const NO_SEGMENTATION: u32 = 3;
const PROTOCOL_SERVICES: u32 = 97;
const ALL: u32 = 8;
const REQUIRED: u32 = 105;
const OPTIONAL: u32 = 80;
/// Priority of a write that names none.
const LOWEST_PRIORITY: u32 = 16;

/// Kinds of messages, in the upper half of their first byte.
const CONFIRMED: u8 = 0;
const UNCONFIRMED: u8 = 1;
const SIMPLE_ACK: u8 = 2;
const COMPLEX_ACK: u8 = 3;
const ERROR: u8 = 5;
const REJECT: u8 = 6;
const ABORT: u8 = 7;
const SEGMENTED: u8 = 0x08;
const BY_SERVER: u8 = 0x01;

const REJECT_INVALID_TAG: u8 = 4;
const REJECT_UNRECOGNIZED_SERVICE: u8 = 9;
const ABORT_SEGMENTATION: u8 = 4;

const I_AM: u8 = 0;
const WHO_IS: u8 = 8;

/// What a device is like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ability {
    /// Longest answer, in bytes, 50 to [`MAX_APDU`].
    pub(crate) max_apdu: u16,
    /// Whether it reads several properties at once.
    pub(crate) multiple: bool,
    /// Whether it tells of changes.
    pub(crate) cov: bool,
}

impl Default for Ability {
    fn default() -> Self {
        Self { max_apdu: MAX_APDU, multiple: true, cov: true }
    }
}

/// A message that a device sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) to: Peer,
    pub(crate) apdu: Vec<u8>,
    pub(crate) expects_reply: bool,
}

/// A device.
pub(crate) struct Device {
    instance: u32,
    vendor: u32,
    ability: Ability,
    objects: BTreeMap<ObjectId, Object>,
    subscriptions: Subscriptions,
    asked: usize,
}

/// What a confirmed request ends with.
pub(super) enum Ending {
    Done,
    Answer(Vec<u8>),
    Error(Refusal),
    Reject(u8),
}

impl From<Malformed> for Ending {
    fn from(_: Malformed) -> Self {
        Self::Reject(REJECT_INVALID_TAG)
    }
}

impl From<Refusal> for Ending {
    fn from(refusal: Refusal) -> Self {
        Self::Error(refusal)
    }
}

impl Device {
    /// A device with these objects; the one that stands for itself is made here.
    pub(crate) fn new(itself: Itself, ability: Ability, objects: impl IntoIterator<Item = Object>) -> Self {
        let mut objects: BTreeMap<_, _> = objects.into_iter().map(|object| (object.id, object)).collect();
        let (instance, vendor) = (itself.instance, itself.vendor);
        let own = itself.object(&ability);
        objects.insert(own.id, own);
        Self { instance, vendor, ability, objects, subscriptions: Subscriptions::default(), asked: 0 }
    }

    /// Requests that wanted an answer so far.
    pub(crate) fn asked(&self) -> usize {
        self.asked
    }

    /// The object of this id, to give it more properties.
    pub(crate) fn object_mut(&mut self, id: ObjectId) -> Option<&mut Object> {
        self.objects.get_mut(&id)
    }

    pub(crate) fn instance(&self) -> u32 {
        self.instance
    }

    /// What it answers to this message, if anything.
    pub(crate) fn answer(&mut self, from: &Peer, apdu: &[u8], now_ms: u64) -> Vec<Sent> {
        let Some(first) = apdu.first() else { return Vec::new() };
        match first >> 4 {
            CONFIRMED => {
                let mut sent: Vec<_> = self.confirmed(from, apdu, now_ms).into_iter().collect();
                // A new subscriber is told at once, and so is everybody of what was written.
                sent.extend(self.changes(now_ms));
                sent
            }
            UNCONFIRMED => self.who_is(from, apdu).into_iter().collect(),
            SIMPLE_ACK | ERROR | REJECT | ABORT => {
                if let Some(invoke) = apdu.get(1) {
                    self.subscriptions.acknowledged(from, *invoke);
                }
                Vec::new()
            }
            _ => Vec::new(),
        }
    }

    /// What its objects measure now; gives what is to be told of it.
    pub(crate) fn measure(&mut self, values: impl IntoIterator<Item = (ObjectId, Value)>, now_ms: u64) -> Vec<Sent> {
        for (id, value) in values {
            if let Some(object) = self.objects.get_mut(&id) {
                object.measure(value);
            }
        }
        self.changes(now_ms)
    }

    /// What is to be told of what changed, and what was told and not acknowledged.
    fn changes(&mut self, now_ms: u64) -> Vec<Sent> {
        let (objects, device) = (&self.objects, ObjectId::new(DEVICE, self.instance));
        self.subscriptions.due(device, now_ms, |id| objects.get(&id))
    }

    /// The same as if somebody had asked it who it is.
    pub(crate) fn i_am(&self, to: &Peer) -> Sent {
        let mut apdu = vec![UNCONFIRMED << 4, I_AM];
        push_value(&mut apdu, &Value::Object(ObjectId::new(DEVICE, self.instance)));
        push_value(&mut apdu, &Value::Unsigned(self.ability.max_apdu.into()));
        push_value(&mut apdu, &Value::Enumerated(NO_SEGMENTATION));
        push_value(&mut apdu, &Value::Unsigned(self.vendor.into()));
        Sent { to: to.clone(), apdu, expects_reply: false }
    }

    fn who_is(&self, from: &Peer, apdu: &[u8]) -> Option<Sent> {
        let (&[_, WHO_IS], rest) = apdu.split_first_chunk()? else { return None };
        let mut reader = Reader::new(rest);
        let low = reader.optional_unsigned(0).ok()?.unwrap_or(0);
        let high = reader.optional_unsigned(1).ok()?.unwrap_or(ANY_INSTANCE);
        (low..=high).contains(&self.instance).then(|| self.i_am(from))
    }

    fn confirmed(&mut self, from: &Peer, apdu: &[u8], now_ms: u64) -> Option<Sent> {
        let (&[first, sizes, invoke], rest) = apdu.split_first_chunk()?;
        self.asked += 1;
        let abort = |reason| Sent { to: from.clone(), apdu: vec![ABORT << 4 | BY_SERVER, invoke, reason], expects_reply: false };
        if first & SEGMENTED != 0 {
            return Some(abort(ABORT_SEGMENTATION));
        }
        let (service, rest) = rest.split_first()?;
        let ending = match *service {
            service::READ_PROPERTY => self.read(rest),
            service::READ_MULTIPLE if self.ability.multiple => self.read_multiple(rest),
            service::WRITE_PROPERTY => self.write(rest),
            service::SUBSCRIBE_COV if self.ability.cov => self.subscribe(from, rest, now_ms),
            _ => Err(Ending::Reject(REJECT_UNRECOGNIZED_SERVICE)),
        };
        let (Ok(ending) | Err(ending)) = ending;
        let apdu = match ending {
            Ending::Done => vec![SIMPLE_ACK << 4, invoke, *service],
            Ending::Answer(content) => [&[COMPLEX_ACK << 4, invoke, *service][..], &content].concat(),
            Ending::Reject(reason) => vec![REJECT << 4, invoke, reason],
            Ending::Error(Refusal(class, code)) => {
                let mut apdu = vec![ERROR << 4, invoke, *service];
                push_value(&mut apdu, &Value::Enumerated(class));
                push_value(&mut apdu, &Value::Enumerated(code));
                apdu
            }
        };
        if apdu.len() > usize::from(self.ability.max_apdu.min(longest(sizes))) {
            return Some(abort(ABORT_SEGMENTATION));
        }
        Some(Sent { to: from.clone(), apdu, expects_reply: false })
    }

    /// The object that is meant: the device also answers for the instance that means any.
    fn meant(&self, id: ObjectId) -> ObjectId {
        if id == ObjectId::new(DEVICE, ANY_INSTANCE) { ObjectId::new(DEVICE, self.instance) } else { id }
    }

    fn held(&self, id: ObjectId, property: u32, index: Option<u32>) -> Result<Vec<u8>, Refusal> {
        let object = self.objects.get(&id).ok_or(Refusal::UNKNOWN_OBJECT)?;
        if id.kind == DEVICE && property == OBJECT_LIST {
            return element(self.objects.keys().map(|id| Value::Object(*id)).collect(), index);
        }
        object.read(property, index)
    }

    pub(super) fn read(&self, request: &[u8]) -> Result<Ending, Ending> {
        let mut reader = Reader::new(request);
        let (id, property) = (self.meant(reader.object(0)?), reader.unsigned(1)?);
        let index = reader.optional_unsigned(2)?;
        let held = self.held(id, property, index)?;
        let mut out = Vec::new();
        push_context_object(&mut out, 0, id);
        push_place(&mut out, 1, property, index);
        push_inside(&mut out, 3, &held);
        Ok(Ending::Answer(out))
    }

    fn read_multiple(&self, request: &[u8]) -> Result<Ending, Ending> {
        let (mut reader, mut out, mut count) = (Reader::new(request), Vec::new(), 0);
        while !reader.is_empty() {
            let id = self.meant(reader.object(0)?);
            if !reader.opens(1) {
                return Err(Malformed.into());
            }
            push_context_object(&mut out, 0, id);
            push_opening(&mut out, 1);
            while !reader.closes(1) {
                let (property, index) = (reader.unsigned(0)?, reader.optional_unsigned(1)?);
                let all = self.objects.get(&id).map(Object::all).filter(|_| [ALL, REQUIRED, OPTIONAL].contains(&property));
                for property in all.unwrap_or_else(|| vec![property]) {
                    count += 1;
                    push_result(&mut out, property, index, self.held(id, property, index));
                }
                // What comes of this no longer fits, however it goes on.
                if count > MAX_READ {
                    return Ok(Ending::Answer(out));
                }
            }
            push_closing(&mut out, 1);
        }
        Ok(Ending::Answer(out))
    }

    fn write(&mut self, request: &[u8]) -> Result<Ending, Ending> {
        let mut reader = Reader::new(request);
        let (id, property) = (self.meant(reader.object(0)?), reader.unsigned(1)?);
        let index = reader.optional_unsigned(2)?;
        if !reader.opens(3) {
            return Err(Malformed.into());
        }
        let mut values = reader.values_until(3)?;
        let priority = reader.optional_unsigned(4)?.unwrap_or(LOWEST_PRIORITY);
        let object = self.objects.get_mut(&id).ok_or(Refusal::UNKNOWN_OBJECT)?;
        let (Some(value), true) = (values.pop(), values.is_empty()) else { return Err(Refusal::WRONG_TYPE.into()) };
        object.write(property, index, value, usize::try_from(priority).unwrap_or(usize::MAX))?;
        Ok(Ending::Done)
    }

    fn subscribe(&mut self, from: &Peer, request: &[u8], now_ms: u64) -> Result<Ending, Ending> {
        let mut reader = Reader::new(request);
        let (process, object) = (reader.unsigned(0)?, reader.object(1)?);
        let confirmed = reader.optional_unsigned(2)?;
        let lifetime = reader.optional_unsigned(3)?;
        let notice = Notice { to: from.clone(), process, object, confirmed: confirmed == Some(1) };
        if confirmed.is_none() && lifetime.is_none() {
            self.subscriptions.cancel(&notice);
            return Ok(Ending::Done);
        }
        let known = self.objects.get(&object).ok_or(Refusal::UNKNOWN_OBJECT)?;
        known.told().ok_or(Refusal::NO_COV)?;
        self.subscriptions.add(notice, lifetime.unwrap_or(0), now_ms)?;
        Ok(Ending::Done)
    }
}

/// What a device says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Itself {
    pub(crate) instance: u32,
    pub(crate) name: String,
    pub(crate) vendor: u32,
    pub(crate) vendor_name: String,
    pub(crate) model: String,
}

impl Itself {
    fn object(&self, ability: &Ability) -> Object {
        let mut object = Object::new(ObjectId::new(DEVICE, self.instance), &self.name);
        let services = [
            (service::SUBSCRIBE_COV, ability.cov),
            (service::READ_PROPERTY, true),
            (service::READ_MULTIPLE, ability.multiple),
            (service::WRITE_PROPERTY, true),
            // Unconfirmed ones come behind: I-Am and Who-Is.
            (26, true),
            (34, true),
        ];
        let services = (0..41).map(|bit| services.contains(&(bit, true))).collect();
        let text = |text: &str| Value::Text(text.to_owned());
        for (property, value) in [
            (112, Value::Enumerated(0)),
            (121, text(&self.vendor_name)),
            (120, Value::Unsigned(self.vendor.into())),
            (70, text(&self.model)),
            (44, text(env!("CARGO_PKG_VERSION"))),
            (12, text("simulated by pattoo-gateway")),
            (98, Value::Unsigned(1)),
            (139, Value::Unsigned(12)),
            (PROTOCOL_SERVICES, Value::Bits(services)),
            (MAX_APDU_LENGTH, Value::Unsigned(ability.max_apdu.into())),
            (SEGMENTATION, Value::Enumerated(NO_SEGMENTATION)),
            (11, Value::Unsigned(3000)),
            (73, Value::Unsigned(3)),
            (155, Value::Unsigned(1)),
        ] {
            object.hold(property, Held::One(value));
        }
        object
    }
}

/// Longest answer that a client takes, in bytes, by the code in its request.
fn longest(sizes: u8) -> u16 {
    match sizes & 0x0F {
        0 => 50,
        1 => 128,
        2 => 206,
        3 => 480,
        4 => 1024,
        _ => MAX_APDU,
    }
}

fn push_place(out: &mut Vec<u8>, first: u8, property: u32, index: Option<u32>) {
    push_context_unsigned(out, first, property);
    if let Some(index) = index {
        push_context_unsigned(out, first + 1, index);
    }
}

fn push_inside(out: &mut Vec<u8>, number: u8, content: &[u8]) {
    push_opening(out, number);
    out.extend(content);
    push_closing(out, number);
}

fn push_result(out: &mut Vec<u8>, property: u32, index: Option<u32>, held: Result<Vec<u8>, Refusal>) {
    push_place(out, 2, property, index);
    match held {
        Ok(held) => push_inside(out, 4, &held),
        Err(Refusal(class, code)) => push_inside(out, 5, &encoded(&[Value::Enumerated(class), Value::Enumerated(code)])),
    }
}

/// The value and the flags that are told of a change.
pub(super) fn push_change(out: &mut Vec<u8>, number: u8, value: &Value, flags: &Value) {
    push_opening(out, number);
    for (property, value) in [(PRESENT_VALUE, value), (STATUS_FLAGS, flags)] {
        push_context_unsigned(out, 0, property);
        push_inside(out, 2, &encoded(std::slice::from_ref(value)));
    }
    push_closing(out, number);
}

#[cfg(test)]
mod tests;
