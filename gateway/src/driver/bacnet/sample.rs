//! What a device gave -> a sample: value, state of the object, unit. Pure.

use std::collections::BTreeMap;

use pattoo_wire::{Labels, Reason, Sample};

use super::names::STATUS_FLAGS;
use super::services::{Given, Property, Refusal};
use super::tags::{ObjectId, Value, signed};
use super::units::Unit;
use crate::profile::{BacnetRead, Point};
use crate::reading::Row;

/// What properties gave, or why not, and when.
pub(super) type Gotten = BTreeMap<Property, (i64, Result<Given, Reason>)>;

/// State of an object. Alarms say something of the process, and nothing against the value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Flags {
    pub(super) fault: bool,
    pub(super) overridden: bool,
    pub(super) out_of_service: bool,
}

impl Flags {
    /// In-alarm, fault, overridden, out-of-service.
    pub(super) fn from_bits(bits: &[bool]) -> Self {
        let bit = |at| bits.get(at).copied().unwrap_or_default();
        Self { fault: bit(1), overridden: bit(2), out_of_service: bit(3) }
    }

    /// Of an object, as it gave them.
    pub(super) fn of(gotten: &Gotten, object: ObjectId) -> Self {
        match gotten.get(&Property::of(object, STATUS_FLAGS)) {
            Some((_, Ok(Ok(values)))) => values.first().map_or_else(Self::default, Self::from_value),
            _ => Self::default(),
        }
    }

    pub(super) fn from_value(value: &Value) -> Self {
        if let Value::Bits(bits) = value { Self::from_bits(bits) } else { Self::default() }
    }
}

/// The number that a property gave.
pub(super) fn number(gotten: &Gotten, property: Property) -> Option<u32> {
    match gotten.get(&property)? {
        (_, Ok(Ok(values))) => match values.first()? {
            Value::Enumerated(number) => Some(*number),
            Value::Unsigned(number) => u32::try_from(*number).ok(),
            _ => None,
        },
        _ => None,
    }
}

/// What a point reads from these values.
pub(super) fn sample(
    point: &Point,
    read: &BacnetRead,
    values: &[Value],
    factor: Option<f64>,
    flags: Flags,
    reliability: Option<u32>,
    unit: Option<u32>,
) -> Sample {
    let [value] = values else { return Sample::Bad(Reason::Mismatch) };
    if unit.is_some_and(|unit| !Unit::from_number(unit).fits(&point.unit)) {
        return Sample::Bad(Reason::Mismatch);
    }
    if flags.fault {
        let reliability = reliability.and_then(|number| u8::try_from(number).ok()).unwrap_or_default();
        return Sample::Bad(Reason::Reliability(reliability));
    }
    match read.decode(value, factor, point.range) {
        Sample::Good(value) if flags.out_of_service => Sample::Uncertain(value, Reason::OutOfService),
        Sample::Good(value) if flags.overridden => Sample::Uncertain(value, Reason::Overridden),
        sample => sample,
    }
}

/// What makes the series of a point another than its profile says: the unit that the device says, where the profile says none.
pub(super) fn row(point: &Point, unit: Option<u32>) -> Option<Row> {
    let Unit::Known(unit) = Unit::from_number(unit?) else { return None };
    point.unit.is_empty().then(|| Row { unit: Some(unit.to_owned()), ..Row::new("", Labels::new()) })
}

/// The factor that an accumulator says as its scale: a real, or a power of ten.
pub(super) fn scale(value: &Value) -> Option<f64> {
    let factor = match value {
        Value::Context(0, content) => f64::from(f32::from_be_bytes(content.as_slice().try_into().ok()?)),
        Value::Context(1, content) => 10f64.powi(i32::try_from(signed(content)?).ok()?),
        _ => return None,
    };
    Some(factor).filter(|factor| factor.is_finite() && *factor != 0.0)
}

/// Why a device did not give a property.
pub(super) fn refused(refusal: Refusal) -> Reason {
    Reason::Bacnet(u8::try_from(refusal.code).unwrap_or(u8::MAX))
}
