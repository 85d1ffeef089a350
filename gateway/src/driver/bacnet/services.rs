//! Services of BACnet: what is asked and answered, as bytes. Pure. Knows no addresses and no transactions.
//!
//! Built by hand from elements: the crate writes property ids above 255 as another property, and loses a whole answer for one property.
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

use super::tags::{
    Malformed, ObjectId, Reader, Value, push_closing, push_context, push_context_object, push_context_unsigned, push_opening, push_value,
    unsigned,
};

/// Most values of one property, and most properties of one answer: those of the longest one that is taken.
const MAX_RESULTS: usize = 20_000;

/// A property of an object, or one element of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Property {
    pub(crate) object: ObjectId,
    pub(crate) id: u32,
    /// Element of an array; 0 for their number.
    pub(crate) index: Option<u32>,
}

impl Property {
    pub(crate) fn of(object: ObjectId, id: u32) -> Self {
        Self { object, id, index: None }
    }

    pub(crate) fn at(object: ObjectId, id: u32, index: u32) -> Self {
        Self { object, id, index: Some(index) }
    }
}

/// Class and code of an error. Those of vendors are above 255.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Refusal {
    pub(crate) class: u32,
    pub(crate) code: u32,
}

/// What one property gave: its values, or why not.
pub(crate) type Given = Result<Vec<Value>, Refusal>;

/// ReadProperty.
pub(crate) fn read_property(property: Property) -> Vec<u8> {
    let mut out = Vec::new();
    push_property(&mut out, property);
    out
}

fn push_property(out: &mut Vec<u8>, property: Property) {
    push_context_object(out, 0, property.object);
    push_context_unsigned(out, 1, property.id);
    if let Some(index) = property.index {
        push_context_unsigned(out, 2, index);
    }
}

/// The answer to [`read_property`].
pub(crate) fn property_ack(body: &[u8]) -> Result<(Property, Vec<Value>), Malformed> {
    let mut reader = Reader::new(body);
    let object = reader.object(0)?;
    let (id, index) = (reader.unsigned(1)?, reader.optional_unsigned(2)?);
    let values = if reader.opens(3) { reader.values_until(3)? } else { return Err(Malformed) };
    if reader.is_empty() { Ok((Property { object, id, index }, values)) } else { Err(Malformed) }
}

/// ReadPropertyMultiple; properties of one object that come one behind the other share its name.
pub(crate) fn read_multiple(properties: &[Property]) -> Vec<u8> {
    let mut out = Vec::new();
    for of_one in properties.chunk_by(|a, b| a.object == b.object) {
        let Some(first) = of_one.first() else { continue };
        push_context_object(&mut out, 0, first.object);
        push_opening(&mut out, 1);
        for property in of_one {
            push_context_unsigned(&mut out, 0, property.id);
            if let Some(index) = property.index {
                push_context_unsigned(&mut out, 1, index);
            }
        }
        push_closing(&mut out, 1);
    }
    out
}

/// The answer to [`read_multiple`].
pub(crate) fn multiple_ack(body: &[u8]) -> Result<Vec<(Property, Given)>, Malformed> {
    let (mut reader, mut results) = (Reader::new(body), Vec::new());
    while !reader.is_empty() {
        let object = reader.object(0)?;
        if !reader.opens(1) {
            return Err(Malformed);
        }
        while !reader.closes(1) {
            let (id, index) = (reader.unsigned(2)?, reader.optional_unsigned(3)?);
            let given = if reader.opens(4) {
                Ok(reader.values_until(4)?)
            } else if reader.opens(5) {
                let refusal = refusal(&mut reader)?;
                if !reader.closes(5) {
                    return Err(Malformed);
                }
                Err(refusal)
            } else {
                return Err(Malformed);
            };
            if results.len() >= MAX_RESULTS {
                return Err(Malformed);
            }
            results.push((Property { object, id, index }, given));
        }
    }
    Ok(results)
}

/// Class and code as they stand in an error.
pub(crate) fn refusal(reader: &mut Reader<'_>) -> Result<Refusal, Malformed> {
    let (Value::Enumerated(class), Value::Enumerated(code)) = (reader.value()?, reader.value()?) else { return Err(Malformed) };
    Ok(Refusal { class, code })
}

/// The same in an error of any service: some put more around it (clause 21, `BACnet-Error`).
pub(crate) fn error(body: &[u8]) -> Result<Refusal, Malformed> {
    let mut reader = Reader::new(body);
    if reader.opens(0) {
        return refusal(&mut reader);
    }
    refusal(&mut reader)
}

/// WriteProperty at this priority.
pub(crate) fn write_property(property: Property, value: &Value, priority: Option<u8>) -> Vec<u8> {
    let mut out = Vec::new();
    push_property(&mut out, property);
    push_opening(&mut out, 3);
    push_value(&mut out, value);
    push_closing(&mut out, 3);
    if let Some(priority) = priority {
        push_context_unsigned(&mut out, 4, priority.into());
    }
    out
}

/// SubscribeCOV for so many seconds.
pub(crate) fn subscribe(process: u32, object: ObjectId, confirmed: bool, lifetime_s: u32) -> Vec<u8> {
    let mut out = unsubscribe(process, object);
    push_context(&mut out, 2, &[u8::from(confirmed)]);
    push_context_unsigned(&mut out, 3, lifetime_s);
    out
}

/// SubscribeCOV that ends a subscription.
pub(crate) fn unsubscribe(process: u32, object: ObjectId) -> Vec<u8> {
    let mut out = Vec::new();
    push_context_unsigned(&mut out, 0, process);
    push_context_object(&mut out, 1, object);
    out
}

/// A notification of changed values.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Notification {
    /// Number that the subscriber has given the subscription.
    pub(crate) process: u32,
    /// Instance of the device that says it.
    pub(crate) device: u32,
    pub(crate) object: ObjectId,
    /// What is left of the subscription, in seconds.
    pub(crate) left_s: u32,
    pub(crate) values: Vec<(u32, Vec<Value>)>,
}

/// Reads a notification, confirmed or not.
pub(crate) fn notification(body: &[u8]) -> Result<Notification, Malformed> {
    let mut reader = Reader::new(body);
    let process = reader.unsigned(0)?;
    let device = reader.object(1)?.instance;
    let object = reader.object(2)?;
    let left_s = reader.unsigned(3)?;
    if !reader.opens(4) {
        return Err(Malformed);
    }
    let mut values = Vec::new();
    while !reader.closes(4) {
        let id = reader.unsigned(0)?;
        reader.optional(1)?;
        if !reader.opens(2) {
            return Err(Malformed);
        }
        values.push((id, reader.values_until(2)?));
        reader.optional(3)?;
    }
    Ok(Notification { process, device, object, left_s, values })
}

/// Who-Is for the instances from the first to the second; for all without.
pub(crate) fn who_is(range: Option<(u32, u32)>) -> Vec<u8> {
    let mut out = Vec::new();
    if let Some((low, high)) = range {
        push_context_unsigned(&mut out, 0, low);
        push_context_unsigned(&mut out, 1, high);
    }
    out
}

/// What a device can do with messages that are longer than one APDU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Segmentation {
    Both,
    Transmit,
    Receive,
    None,
}

impl Segmentation {
    pub(crate) fn from_number(number: u32) -> Self {
        match number {
            0 => Self::Both,
            1 => Self::Transmit,
            2 => Self::Receive,
            _ => Self::None,
        }
    }

    /// Whether its answers may have several segments.
    pub(crate) fn sends(self) -> bool {
        matches!(self, Self::Both | Self::Transmit)
    }
}

/// How a device names itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IAm {
    pub(crate) device: u32,
    /// Longest APDU that it takes, in bytes.
    pub(crate) max_apdu: u16,
    pub(crate) segmentation: Segmentation,
    pub(crate) vendor: u16,
}

/// Reads an I-Am.
pub(crate) fn i_am(body: &[u8]) -> Result<IAm, Malformed> {
    let mut reader = Reader::new(body);
    let (Value::Object(object), Value::Unsigned(max_apdu)) = (reader.value()?, reader.value()?) else { return Err(Malformed) };
    let (Value::Enumerated(segmentation), Value::Unsigned(vendor)) = (reader.value()?, reader.value()?) else { return Err(Malformed) };
    if object.kind != super::names::DEVICE {
        return Err(Malformed);
    }
    let max_apdu = u16::try_from(max_apdu).unwrap_or(u16::MAX);
    let vendor = u16::try_from(vendor).map_err(|_| Malformed)?;
    Ok(IAm { device: object.instance, max_apdu, segmentation: Segmentation::from_number(segmentation), vendor })
}

/// Reads the range of a Who-Is.
pub(crate) fn who_is_range(body: &[u8]) -> Result<Option<(u32, u32)>, Malformed> {
    let mut reader = Reader::new(body);
    let Some(low) = reader.optional(0)? else { return Ok(None) };
    let low = u32::try_from(unsigned(low)?).map_err(|_| Malformed)?;
    Ok(Some((low, reader.unsigned(1)?)))
}

#[cfg(test)]
mod tests;
