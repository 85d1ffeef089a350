//! BACnet in a profile: its `bacnet:` section, and the `read:` of a point that is an object's property. Opens no file.
//!
//! | key of `read` | meaning |
//! |---|---|
//! | `object` | type of the object, by its name in ASHRAE 135 (`analog-input`) or by its number |
//! | `instance` | its number, 0 to 4194302; not for `device`, which is the device itself |
//! | `named` | instead: its object-name. The device is asked once which object has it |
//! | `property` | what of it, by name or number; `present-value` where absent |
//! | `element` | of a property that is an array: which one, from 1 |
//! | `type` | `real`, `double`, `unsigned`, `signed`, `enumerated`, `boolean`, `text`: known for a present-value, else needed |
//! | `scale` | an exact decimal to multiply with; `device`: what the object's own property `scale` says (accumulators) |
//! | `decimals` | rounds a real or double, or a value with `scale: device`, to an exact decimal |
//! | `cov` | `true`: the device is asked to say when it changes; polled where it does not |

mod value;

use pattoo_wire::Repr;

use super::Point;
use super::read::register;
use crate::driver::bacnet::names::{DEVICE, OBJECT_TYPES, PRESENT_VALUE, PROPERTIES};
use crate::yaml::{Field, Fields, Node, Problems, Tree, parse_integer};

/// Longest object-name, in bytes.
const MAX_NAMED_BYTES: usize = 255;
/// Highest instance of an object.
const MAX_INSTANCE: i128 = 0x3F_FFFE;
/// Highest number of a property: 22 bits.
const MAX_PROPERTY: i128 = 0x3F_FFFF;
/// Smallest and largest APDU that a device may take.
const APDU: (u16, u16) = (50, 1_476);

pub(super) const SECTION_KEYS: &[&str] = &["max_apdu", "read_multiple"];
pub(super) const KEYS: &[&str] = &["object", "instance", "named", "property", "element", "type", "scale", "decimals", "cov"];

/// The key that makes a `read` one of BACnet.
pub(super) const OBJECT: &str = "object";
/// The scale that the object says itself.
pub(super) const DEVICE_SCALE: &str = "device";

pub(super) const TYPES: &[(&str, BacnetType)] = &[
    ("real", BacnetType::Real),
    ("double", BacnetType::Double),
    ("unsigned", BacnetType::Unsigned),
    ("signed", BacnetType::Signed),
    ("enumerated", BacnetType::Enumerated),
    ("boolean", BacnetType::Boolean),
    ("text", BacnetType::Text),
];

/// What a device of this model cannot do. What it can is found out, and these only save the way there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BacnetLimits {
    /// Longest APDU, in bytes, where that is less than the device says of itself.
    pub max_apdu: u16,
    /// Whether several properties may be asked for at once.
    pub read_multiple: bool,
}

impl Default for BacnetLimits {
    fn default() -> Self {
        Self { max_apdu: APDU.1, read_multiple: true }
    }
}

/// A property of an object.
#[derive(Debug, Clone, PartialEq)]
pub struct BacnetRead {
    /// Type of the object.
    pub object: u16,
    /// Which of its type.
    pub which: Which,
    /// What of it.
    pub property: u32,
    /// Which element of an array.
    pub element: Option<u32>,
    /// What it holds.
    pub holds: BacnetType,
    /// What it is multiplied with.
    pub scale: BacnetScale,
    /// Decimals that it is rounded to.
    pub decimals: Option<u8>,
    /// Whether the device is asked to say when it changes.
    pub cov: bool,
}

/// Which object of a type.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Which {
    /// The one with this number.
    Instance(u32),
    /// The one of this name.
    Named(String),
    /// The only one there is.
    Itself,
}

/// What a property holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BacnetType {
    /// A single-precision float.
    Real,
    /// A double-precision float.
    Double,
    /// A whole number from 0.
    Unsigned,
    /// A whole number.
    Signed,
    /// A number that stands for something.
    Enumerated,
    /// True or false; inactive or active of a binary object.
    Boolean,
    /// Text.
    Text,
}

/// What a value is multiplied with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BacnetScale {
    /// Nothing.
    None,
    /// This exact decimal: mantissa and power of ten.
    By(i64, i8),
    /// What the object says.
    Device,
}

impl BacnetRead {
    /// How its values are represented.
    #[must_use]
    pub fn repr(&self) -> Repr {
        let rounded = self.decimals.map(|decimals| Repr::Decimal { exponent: -decimals.cast_signed() });
        match (self.holds, self.scale) {
            (BacnetType::Boolean, _) => Repr::Bool,
            (BacnetType::Text, _) => Repr::Text,
            (BacnetType::Double, _) | (_, BacnetScale::Device) => rounded.unwrap_or(Repr::F64),
            (BacnetType::Real, _) => rounded.unwrap_or(Repr::F32),
            (_, BacnetScale::By(_, exponent)) => Repr::Decimal { exponent },
            (BacnetType::Unsigned, BacnetScale::None) if !is_multi_state(self.object) => Repr::Unsigned,
            (BacnetType::Unsigned | BacnetType::Signed | BacnetType::Enumerated, BacnetScale::None) => Repr::Decimal { exponent: 0 },
        }
    }

    /// Whether the value stands for what the object measures or does: then the state of the object is that of the value.
    #[must_use]
    pub fn is_present_value(&self) -> bool {
        self.property == PRESENT_VALUE
    }

    /// Whether such objects have engineering units.
    #[must_use]
    pub fn has_units(&self) -> bool {
        self.is_present_value() && matches!(self.object, 0..=2 | 18 | 23 | 24 | 45 | 46 | 48)
    }
}

pub(super) fn is_multi_state(object: u16) -> bool {
    matches!(object, 13 | 14 | 19)
}

fn is_binary(object: u16) -> bool {
    matches!(object, 3..=5)
}

/// What a present-value of such an object holds.
fn holds(object: u16) -> Option<BacnetType> {
    Some(match object {
        0..=2 | 12 | 24 | 54 => BacnetType::Real,
        3..=5 => BacnetType::Boolean,
        13 | 14 | 19 | 23 | 48 => BacnetType::Unsigned,
        21 | 22 | 30 => BacnetType::Enumerated,
        40 => BacnetType::Text,
        45 => BacnetType::Signed,
        46 => BacnetType::Double,
        _ => return None,
    })
}

/// Reads the `bacnet:` section.
pub(super) fn section(node: &Node, problems: &mut Problems<'_>) -> Option<BacnetLimits> {
    let fields = Fields::read(node, "bacnet", SECTION_KEYS, problems)?;
    let mut limits = BacnetLimits::default();
    if let Some(field) = fields.optional("max_apdu") {
        limits.max_apdu = register(&field, APDU.0, APDU.1, "a length in bytes", problems)?;
    }
    if let Some(field) = fields.optional("read_multiple") {
        limits.read_multiple = field.choice(&[("true", true), ("false", false)], problems)?;
    }
    Some(limits)
}

/// Whether the `read` of a point is one of BACnet.
pub(super) fn is_one(node: &Node) -> bool {
    let Tree::Map(entries) = &node.tree else { return false };
    entries.iter().any(|(key, _)| matches!(&key.tree, Tree::Scalar(key) if key == OBJECT))
}

/// Reads the `read` of a point.
pub(super) fn read(node: &Node, what: &str, problems: &mut Problems<'_>) -> Option<BacnetRead> {
    let fields = Fields::read(node, what, KEYS, problems)?;
    let object = number(&fields.optional(OBJECT)?, OBJECT_TYPES, 1_023, "a type of objects", problems)?;
    let which = which(node, what, object, &fields, problems)?;
    let property = match fields.optional("property") {
        Some(field) => number(&field, PROPERTIES, MAX_PROPERTY, "a property", problems)?,
        None => PRESENT_VALUE,
    };
    let element = match fields.optional("element") {
        Some(field) => Some(u32::try_from(field.integer(1, i128::from(u16::MAX), "an element of the array", problems)?).ok()?),
        None => None,
    };
    let known = holds(object).filter(|_| property == PRESENT_VALUE);
    let holds = match (fields.optional("type"), known) {
        (Some(field), _) => field.choice(TYPES, problems)?,
        (None, Some(known)) => known,
        (None, None) => {
            let names: Vec<_> = TYPES.iter().map(|(name, _)| *name).collect();
            fields.required("type", &format!("what it holds, one of {}", names.join(", ")), problems)?.choice(TYPES, problems)?
        }
    };
    let mut read = BacnetRead { object, which, property, element, holds, scale: BacnetScale::None, decimals: None, cov: false };
    numbers(&mut read, &fields, problems)?;
    if let Some(field) = fields.optional("cov") {
        read.cov = field.choice(&[("true", true), ("false", false)], problems)?;
        if read.cov && (property != PRESENT_VALUE || object == DEVICE) {
            field.problem("only changes of a present-value are told", problems);
            return None;
        }
    }
    Some(read)
}

fn which(node: &Node, what: &str, object: u16, fields: &Fields<'_>, problems: &mut Problems<'_>) -> Option<Which> {
    match (fields.optional("instance"), fields.optional("named")) {
        (None, None) if object == DEVICE => Some(Which::Itself),
        (Some(field), _) | (_, Some(field)) if object == DEVICE => {
            field.problem("the object `device` is the device itself, whatever its number", problems);
            None
        }
        (Some(field), None) => {
            let instance = field.integer(0, MAX_INSTANCE, "the instance of the object", problems)?;
            u32::try_from(instance).ok().map(Which::Instance)
        }
        (None, Some(field)) => {
            let name = field.text("the object-name", problems)?;
            if name.len() > MAX_NAMED_BYTES {
                field.wrong(&format!("an object-name of at most {MAX_NAMED_BYTES} bytes"), problems);
                return None;
            }
            Some(Which::Named(name.to_owned()))
        }
        (one, _) => {
            let found = if one.is_some() { "instance and named" } else { "none" };
            problems.add(node.at, format!("{what}: found {found}, expected one of instance, named"));
            None
        }
    }
}

/// A number by its name, or as it is.
fn number<T: Copy + TryFrom<i128>>(
    field: &Field<'_>,
    names: &[(&str, T)],
    max: i128,
    what: &str,
    problems: &mut Problems<'_>,
) -> Option<T> {
    match &field.node.tree {
        Tree::Scalar(text) if parse_integer(text).is_some() => field.integer(0, max, what, problems).and_then(|n| T::try_from(n).ok()),
        _ => field.choice(names, problems),
    }
}

fn numbers(read: &mut BacnetRead, fields: &Fields<'_>, problems: &mut Problems<'_>) -> Option<()> {
    for key in ["scale", "decimals"] {
        if let (Some(field), true) = (fields.optional(key), matches!(read.holds, BacnetType::Boolean | BacnetType::Text)) {
            field.problem(&format!("only a number has {key}"), problems);
            return None;
        }
    }
    if let Some(field) = fields.optional("scale") {
        read.scale = match &field.node.tree {
            Tree::Scalar(text) if text == DEVICE_SCALE => BacnetScale::Device,
            _ => {
                let expected = "`device`, or a decimal number such as 0.1, not 0 and with at most 18 decimals";
                let (mantissa, exponent) = field.decimal(expected, problems)?;
                if mantissa == 0 {
                    field.wrong(expected, problems);
                    return None;
                }
                BacnetScale::By(mantissa, exponent)
            }
        };
    }
    if let Some(field) = fields.optional("decimals") {
        if !matches!(read.holds, BacnetType::Real | BacnetType::Double) && read.scale != BacnetScale::Device {
            field.problem("only a real, a double or a value with `scale: device` is rounded to decimals; another has a scale", problems);
            return None;
        }
        read.decimals = Some(u8::try_from(field.integer(0, 12, "a number of decimals", problems)?).ok()?);
    }
    Some(())
}

/// Why a point may never be written, if so.
pub(super) fn never_written(read: &BacnetRead, point: &Point) -> Option<&'static str> {
    match (read.holds, read.scale) {
        (BacnetType::Text, _) => Some("texts are not writable"),
        (_, BacnetScale::Device) => Some("a value whose scale the device says is not writable"),
        _ if point.kind == pattoo_wire::Kind::Counter => Some("a counter is not writable"),
        _ if matches!(read.object, 23 | 24) => Some("what counts is not writable"),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
