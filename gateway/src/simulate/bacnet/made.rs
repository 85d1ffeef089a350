//! A profile -> the BACnet device that it describes, and what that measures. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use pattoo_wire::{Repr, Value as Sampled};

use super::device::{Ability, Device, Itself};
use super::object::{COV_INCREMENT, Held, NUMBER_OF_STATES, Object, Writable};
use crate::driver::bacnet::names::{DEVICE, PRESENT_VALUE, SCALE, UNITS};
use crate::driver::bacnet::tags::{ObjectId, Value, push_context};
use crate::driver::bacnet::units::Unit;
use crate::profile::{BacnetRead, BacnetScale, BacnetType, Point, Profile, Read, Which, WriteLimits};
use crate::simulate::values;

const INACTIVE_TEXT: u32 = 46;
const ACTIVE_TEXT: u32 = 4;
const STATE_TEXT: u32 = 110;
/// What accumulators multiply their counts with.
const ACCUMULATOR_SCALE: f32 = 0.1;
/// Number of "no units".
const NO_UNITS: u32 = 95;
/// A change of a number that is told, in the unit of its point.
const INCREMENT: f64 = 0.1;

/// What a simulated device measures: points by their objects.
pub(crate) struct Measured {
    seed: u64,
    profile: Arc<Profile>,
    points: Vec<(ObjectId, usize)>,
}

impl Measured {
    /// The values at this time after the start.
    pub(crate) fn values(&self, elapsed_ms: u64) -> impl Iterator<Item = (ObjectId, Value)> {
        self.points.iter().filter_map(move |(id, at)| {
            let point = self.profile.points.get(*at)?;
            let Read::Bacnet(read) = &point.read else { return None };
            Some((*id, value(self.seed, point, read, elapsed_ms)?))
        })
    }
}

/// The device of this profile with this instance, which is the seed of its values; none where the profile reads no BACnet objects.
pub(crate) fn device(profile: &Arc<Profile>, instance: u32) -> Option<(Device, Measured)> {
    let seed = u64::from(instance);
    let mut objects: BTreeMap<ObjectId, Object> = BTreeMap::new();
    let (mut measured, mut of_device) = (Vec::new(), Vec::new());
    let places = places(profile);
    for (at, point) in profile.points.iter().enumerate() {
        let Read::Bacnet(read) = &point.read else { return None };
        let value = value(seed, point, read, 0)?;
        let Some((id, name)) = places.get(at).cloned().flatten() else {
            of_device.push((read.property, held(read, value)));
            continue;
        };
        let object = objects.entry(id).or_insert_with(|| Object::new(id, &name));
        if read.property == PRESENT_VALUE && read.element.is_none() {
            let described = object.clone().with_value(value);
            *object = describe(described, point, read);
            measured.push((id, at));
        } else {
            object.hold(read.property, held(read, value));
        }
    }
    let names: BTreeSet<&str> = places.iter().flatten().map(|(_, name)| name.as_str()).collect();
    let signature = profile.signature.as_ref().and_then(|signature| signature.bacnet.as_ref());
    let missing = signature.map(|own| own.names.as_slice()).unwrap_or_default().iter().filter(|name| !names.contains(name.as_str()));
    let mut free = free(&objects.keys().copied().collect());
    for name in missing {
        let id = free(2);
        objects.insert(id, Object::new(id, name).with_value(Value::Real(0.0)));
    }
    let itself = Itself {
        instance,
        name: format!("{}-{instance}", profile.id),
        vendor: signature.and_then(|own| own.vendor_id).unwrap_or_default().into(),
        vendor_name: profile.manufacturer.clone(),
        model: signature.and_then(|own| own.model.first()).unwrap_or(&profile.model).clone(),
    };
    let limits = &profile.bacnet;
    let ability = Ability { max_apdu: limits.max_apdu, multiple: limits.read_multiple, cov: true };
    let mut device = Device::new(itself, ability, objects.into_values());
    if let Some(own) = device.object_mut(ObjectId::new(DEVICE, instance)) {
        of_device.into_iter().for_each(|(property, held)| own.hold(property, held));
    }
    Some((device, Measured { seed, profile: Arc::clone(profile), points: measured }))
}

/// Object and name of each point; none for the device itself. A point that knows only a name gets the next instance.
fn places(profile: &Profile) -> Vec<Option<(ObjectId, String)>> {
    let reads = || profile.points.iter().map(|point| if let Read::Bacnet(read) = &point.read { Some((point, read)) } else { None });
    let taken = reads().flatten().filter_map(|(_, read)| match read.which {
        Which::Instance(instance) => Some(ObjectId::new(read.object, instance)),
        _ => None,
    });
    let mut free = free(&taken.collect());
    let mut named: BTreeMap<(u16, &str), ObjectId> = BTreeMap::new();
    let mut called: BTreeMap<ObjectId, &str> = BTreeMap::new();
    reads()
        .map(|own| {
            let (point, read) = own?;
            match &read.which {
                Which::Itself => None,
                Which::Named(name) => {
                    let id = *named.entry((read.object, name)).or_insert_with(|| free(read.object));
                    Some((id, name.clone()))
                }
                Which::Instance(instance) => {
                    let id = ObjectId::new(read.object, *instance);
                    Some((id, (*called.entry(id).or_insert(&point.name)).to_owned()))
                }
            }
        })
        .collect()
}

/// Gives the next instance of a type that nobody has.
fn free(taken: &BTreeSet<ObjectId>) -> impl FnMut(u16) -> ObjectId + use<> {
    let mut taken = taken.clone();
    move |kind| {
        let mut id = ObjectId::new(kind, 1);
        while !taken.insert(id) {
            id.instance += 1;
        }
        id
    }
}

/// What goes with the value of an object: unit, texts of its states, what may be written.
fn describe(mut object: Object, point: &Point, read: &BacnetRead) -> Object {
    if read.has_units() {
        let unit = Unit::number_of(&point.unit).unwrap_or(NO_UNITS);
        object.hold(UNITS, Held::One(Value::Enumerated(unit)));
    }
    if read.scale == BacnetScale::Device {
        let mut scale = Vec::new();
        push_context(&mut scale, 0, &ACCUMULATOR_SCALE.to_be_bytes());
        object.hold(SCALE, Held::Encoded(scale));
    }
    let text = |state: i64| Value::Text(point.states.get(&state).cloned().unwrap_or_else(|| state.to_string()));
    let is_multi_state = matches!(object.id.kind, 13 | 14 | 19);
    if matches!(object.id.kind, 3..=5) {
        object.hold(INACTIVE_TEXT, Held::One(text(0)));
        object.hold(ACTIVE_TEXT, Held::One(text(1)));
    } else if is_multi_state {
        let last = point.states.keys().copied().max().unwrap_or(1).max(1);
        object.hold(NUMBER_OF_STATES, Held::One(Value::Unsigned(last.unsigned_abs())));
        object.hold(STATE_TEXT, Held::Array((1..=last).map(text).collect()));
    } else if matches!(object.id.kind, 0..=2 | 46) {
        let increment = raw(read, INCREMENT).abs();
        #[expect(clippy::cast_possible_truncation, reason = "the device holds a single")]
        let held = if object.id.kind == 46 { Value::Double(increment) } else { Value::Real(increment as f32) };
        object.hold(COV_INCREMENT, Held::One(held));
    }
    let is_output = matches!(object.id.kind, 1 | 4 | 14);
    object.writable = match point.writable.as_ref().map(|own| &own.limits) {
        None => Writable::No,
        Some(WriteLimits::Range(low, high)) => {
            let (a, b) = (raw(read, *low), raw(read, *high));
            Writable::Between(a.min(b), a.max(b))
        }
        Some(WriteLimits::Values(values)) => Writable::OneOf(values.iter().map(|value| raw(read, *value as f64)).collect()),
    };
    let is_value = matches!(object.id.kind, 2 | 5 | 19);
    let is_written = object.writable != Writable::No;
    if is_output || is_value && is_written { object.commandable() } else { object }
}

/// The number that a device holds for this one of the point.
fn raw(read: &BacnetRead, number: f64) -> f64 {
    match read.scale {
        BacnetScale::By(mantissa, exponent) => number / (mantissa as f64 * 10f64.powi(exponent.into())),
        BacnetScale::Device => number / f64::from(ACCUMULATOR_SCALE),
        BacnetScale::None => number,
    }
}

/// What is measured at this time, as the device holds it.
fn value(seed: u64, point: &Point, read: &BacnetRead, elapsed_ms: u64) -> Option<Value> {
    let measured = values::value(seed, point, elapsed_ms);
    if point.repr == Repr::Text {
        return Some(Value::Text(point.name.clone()));
    }
    let measured = match (&point.writable.as_ref().map(|own| &own.limits), measured.to_f64()) {
        // A device does not begin with what nobody could have told it.
        (Some(WriteLimits::Range(low, high)), Some(number)) if !(*low..=*high).contains(&number) => {
            let inside = f64::midpoint(*low, *high);
            values::typed(inside, point.repr)
        }
        _ => measured,
    };
    // A multi-state value begins with 1.
    let measured = match measured {
        Sampled::Decimal(decimal) if matches!(read.object, 13 | 14 | 19) && point.states.is_empty() => {
            values::typed(1.0 + decimal.to_f64().rem_euclid(3.0), point.repr)
        }
        other => other,
    };
    if read.scale == BacnetScale::Device {
        return Some(counted(read.holds, raw(read, measured.to_f64()?)));
    }
    read.encode(&measured)
}

/// A number as an object of its own scale holds it.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` saturates, and counts are far from the ends")]
fn counted(holds: BacnetType, number: f64) -> Value {
    match holds {
        BacnetType::Signed => Value::Signed(number.round() as i64),
        BacnetType::Double => Value::Double(number),
        BacnetType::Real => Value::Real(number as f32),
        _ => Value::Unsigned(number.round() as u64),
    }
}

fn held(read: &BacnetRead, value: Value) -> Held {
    match read.element {
        None => Held::One(value),
        // The elements before it are like it.
        Some(element) => Held::Array(vec![value; usize::try_from(element).unwrap_or(1).clamp(1, 64)]),
    }
}

#[cfg(test)]
mod tests;
