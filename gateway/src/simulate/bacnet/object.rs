//! One object of a simulated BACnet device: what its properties hold, and what may be written to it. Pure.

use std::collections::BTreeMap;

use crate::driver::bacnet::names::{OBJECT_NAME, PRESENT_VALUE, PRIORITY_ARRAY, STATUS_FLAGS};
use crate::driver::bacnet::tags::{ObjectId, Value, push_value};

pub(crate) const COV_INCREMENT: u32 = 22;
pub(crate) const NUMBER_OF_STATES: u32 = 74;
const OBJECT_IDENTIFIER: u32 = 75;
const OBJECT_TYPE: u32 = 79;
const RELINQUISH_DEFAULT: u32 = 104;

/// Slots of a priority array; the first is the strongest.
const PRIORITIES: usize = 16;

/// Why a request was refused: `BACnetErrorClass` and `BACnetErrorCode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refusal(pub(crate) u32, pub(crate) u32);

impl Refusal {
    pub(crate) const UNKNOWN_OBJECT: Self = Self(1, 31);
    pub(crate) const UNKNOWN_PROPERTY: Self = Self(2, 32);
    pub(crate) const NO_ARRAY: Self = Self(2, 50);
    pub(crate) const NO_SUCH_INDEX: Self = Self(2, 42);
    pub(crate) const READ_ONLY: Self = Self(2, 40);
    pub(crate) const WRONG_TYPE: Self = Self(2, 9);
    pub(crate) const OUT_OF_RANGE: Self = Self(2, 37);
    pub(crate) const NO_ROOM: Self = Self(3, 19);
    pub(crate) const NO_COV: Self = Self(5, 43);
}

/// What a property holds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Held {
    One(Value),
    Array(Vec<Value>),
    /// What is no single value, as it goes over the wire.
    Encoded(Vec<u8>),
}

/// Which values its present value may be given.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) enum Writable {
    /// None: somebody who tries is refused.
    #[default]
    No,
    /// Those of its type from the first to the last of these numbers; any text.
    Between(f64, f64),
    /// These numbers.
    OneOf(Vec<f64>),
}

impl Writable {
    fn allows(&self, value: &Value) -> Result<(), Refusal> {
        let number = number(value);
        let allowed = match self {
            Self::No => return Err(Refusal::READ_ONLY),
            Self::Between(low, high) => number.is_none_or(|number| (*low..=*high).contains(&number)),
            Self::OneOf(numbers) => number.is_some_and(|number| numbers.contains(&number)),
        };
        if allowed { Ok(()) } else { Err(Refusal::OUT_OF_RANGE) }
    }
}

/// One object.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Object {
    pub(crate) id: ObjectId,
    pub(crate) writable: Writable,
    properties: BTreeMap<u32, Held>,
    /// What it measures, what was written last, or its relinquish default where it is commandable; none for the device itself.
    own: Option<Value>,
    /// Commands by priority, where it has an array for them.
    slots: Option<Box<[Value; PRIORITIES]>>,
    /// Somebody wrote to it: it measures no more.
    written: bool,
}

impl Object {
    pub(crate) fn new(id: ObjectId, name: &str) -> Self {
        let properties = [
            (OBJECT_IDENTIFIER, Value::Object(id)),
            (OBJECT_NAME, Value::Text(name.to_owned())),
            (OBJECT_TYPE, Value::Enumerated(id.kind.into())),
        ];
        let properties = properties.into_iter().map(|(property, value)| (property, Held::One(value))).collect();
        Self { id, writable: Writable::No, properties, own: None, slots: None, written: false }
    }

    /// With a present value of this type, and what goes with one.
    pub(crate) fn with_value(mut self, value: Value) -> Self {
        const EVENT_STATE: u32 = 36;
        const OUT_OF_SERVICE: u32 = 81;
        self.own = Some(value);
        self.hold(STATUS_FLAGS, Held::One(Value::Bits(vec![false; 4])));
        self.hold(EVENT_STATE, Held::One(Value::Enumerated(0)));
        self.hold(OUT_OF_SERVICE, Held::One(Value::Boolean(false)));
        self
    }

    /// With commands by priority.
    pub(crate) fn commandable(mut self) -> Self {
        self.slots = Some(Box::new([const { Value::Null }; PRIORITIES]));
        self
    }

    pub(crate) fn hold(&mut self, property: u32, held: Held) {
        if property == PRESENT_VALUE {
            if let Held::One(value) = held {
                self.own = Some(value);
            }
        } else {
            self.properties.insert(property, held);
        }
    }

    /// A new measurement, unless somebody wrote to it.
    pub(crate) fn measure(&mut self, value: Value) {
        if !self.written && self.slots.is_none() {
            self.own = Some(value);
        }
    }

    pub(crate) fn present(&self) -> Option<&Value> {
        let command = self.slots.iter().flat_map(|slots| slots.iter()).find(|value| **value != Value::Null);
        command.or(self.own.as_ref())
    }

    /// The value whose change is told, and the flags beside it; none where the object has no value.
    pub(crate) fn told(&self) -> Option<(Value, Value)> {
        let Held::One(flags) = self.get(STATUS_FLAGS)? else { return None };
        Some((self.present()?.clone(), flags))
    }

    /// How much a number must change before that is told.
    pub(crate) fn increment(&self) -> Option<f64> {
        match self.properties.get(&COV_INCREMENT) {
            Some(Held::One(value)) => number(value),
            _ => None,
        }
    }

    fn get(&self, property: u32) -> Option<Held> {
        match property {
            PRESENT_VALUE => self.present().cloned().map(Held::One),
            PRIORITY_ARRAY => self.slots.as_ref().map(|slots| Held::Array(slots.to_vec())),
            RELINQUISH_DEFAULT if self.slots.is_some() => self.own.clone().map(Held::One),
            _ => self.properties.get(&property).cloned(),
        }
    }

    /// Properties that it has, in the order of their numbers.
    pub(crate) fn all(&self) -> Vec<u32> {
        let mut all: Vec<u32> = self.properties.keys().copied().collect();
        all.extend([PRESENT_VALUE, PRIORITY_ARRAY, RELINQUISH_DEFAULT].into_iter().filter(|property| self.get(*property).is_some()));
        all.sort_unstable();
        all
    }

    /// What a property holds, as it goes over the wire; of an array the element of this index, or with 0 their number.
    pub(crate) fn read(&self, property: u32, index: Option<u32>) -> Result<Vec<u8>, Refusal> {
        match (self.get(property).ok_or(Refusal::UNKNOWN_PROPERTY)?, index) {
            (Held::Array(values), index) => element(values, index),
            (_, Some(_)) => Err(Refusal::NO_ARRAY),
            (Held::One(value), None) => Ok(encoded(&[value])),
            (Held::Encoded(bytes), None) => Ok(bytes),
        }
    }

    /// Writes to its present value, at this priority where it is commandable; null gives a command back.
    pub(crate) fn write(&mut self, property: u32, index: Option<u32>, value: Value, priority: usize) -> Result<(), Refusal> {
        self.get(property).ok_or(Refusal::UNKNOWN_PROPERTY)?;
        if property != PRESENT_VALUE || index.is_some() {
            return Err(Refusal::READ_ONLY);
        }
        if value == Value::Null {
            self.writable.allows(&value)?;
            let slot = self.slots.as_mut().and_then(|slots| slots.get_mut(priority.checked_sub(1)?));
            *slot.ok_or(Refusal::WRONG_TYPE)? = Value::Null;
            return Ok(());
        }
        self.writable.allows(&value)?;
        let same_type = self.own.as_ref().is_some_and(|own| std::mem::discriminant(own) == std::mem::discriminant(&value));
        if !same_type {
            return Err(Refusal::WRONG_TYPE);
        }
        match &mut self.slots {
            Some(slots) => *priority.checked_sub(1).and_then(|at| slots.get_mut(at)).ok_or(Refusal::OUT_OF_RANGE)? = value,
            None => (self.own, self.written) = (Some(value), true),
        }
        Ok(())
    }
}

/// All values, one of them, or their number.
pub(crate) fn element(values: Vec<Value>, index: Option<u32>) -> Result<Vec<u8>, Refusal> {
    match index {
        None => Ok(encoded(&values)),
        Some(0) => Ok(encoded(&[Value::Unsigned(values.len() as u64)])),
        Some(index) => {
            let at = usize::try_from(index).unwrap_or(usize::MAX) - 1;
            values.get(at).map(|value| encoded(std::slice::from_ref(value))).ok_or(Refusal::NO_SUCH_INDEX)
        }
    }
}

pub(crate) fn encoded(values: &[Value]) -> Vec<u8> {
    let mut out = Vec::new();
    values.iter().for_each(|value| push_value(&mut out, value));
    out
}

/// The number that a value is; none for a text and the like.
pub(crate) fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Unsigned(number) => Some(*number as f64),
        Value::Signed(number) => Some(*number as f64),
        Value::Real(number) => Some(f64::from(*number)),
        Value::Double(number) => Some(*number),
        Value::Enumerated(number) => Some(f64::from(*number)),
        Value::Boolean(flag) => Some(f64::from(u8::from(*flag))),
        _ => None,
    }
}
