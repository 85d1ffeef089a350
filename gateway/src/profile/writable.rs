//! The `writable:` of a point: which values may be written, and by which function. Also turns what a command says into such a value.
//!
//! | key | meaning |
//! |---|---|
//! | `min`, `max` | lowest and highest value that may be written; a number needs both |
//! | `values` | of a point with states: those that may be written; all of them where absent |
//! | `function` | 5 or 15 for a coil, 6 or 16 for registers, 22 for bits of a register; where absent 5, 6 or, for several registers, 16 |
//! | `settle` | how long the device takes until it gives the new value back |
//!
//! `writable: true` has no keys. Texts and times, values with `scale_at`, SunSpec points, counters and parts of several
//! registers are never written.

use std::time::Duration;

use pattoo_wire::{Decimal, Kind, Repr, Sample, Scalar, Value};

use super::decode::power_of_ten;
use super::read::MAX_ITEMS;
use super::{BacnetRead, Encoding, ModbusRead, Point, Read, Table, bacnet};
use crate::yaml::{Field, Fields, Problems, Tree, parse_decimal, parse_integer};

pub(super) const WRITABLE_KEYS: &[&str] = &["min", "max", "values", "function", "settle"];

pub(super) const FUNCTIONS: &[(&str, WriteFunction)] = &[
    ("5", WriteFunction::Coil),
    ("6", WriteFunction::Register),
    ("15", WriteFunction::Coils),
    ("16", WriteFunction::Registers),
    ("22", WriteFunction::Mask),
];

/// What a command, or a safe value, says to give a BACnet point back to its device.
pub const RELINQUISH: &str = "relinquish";

/// Longest time that a device may take to give a new value back; its link waits.
const MAX_SETTLE: Duration = Duration::from_secs(2);

/// What may be written to a point, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct Writable {
    /// What.
    pub limits: WriteLimits,
    /// By which function.
    pub function: WriteFunction,
    /// How long the device takes until it gives the new value back.
    pub settle: Duration,
}

/// Which values may be written.
#[derive(Debug, Clone, PartialEq)]
pub enum WriteLimits {
    /// Numbers from the first to the second.
    Range(f64, f64),
    /// These whole numbers; 0 and 1 of a bit.
    Values(Vec<i64>),
}

/// The function that writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteFunction {
    /// 5, one coil.
    Coil,
    /// 6, one register.
    Register,
    /// 15, several coils, here one.
    Coils,
    /// 16, several registers, or one.
    Registers,
    /// 22, some bits of one register.
    Mask,
    /// WriteProperty of BACnet.
    Property,
}

impl WriteLimits {
    /// Whether this value may be written.
    #[must_use]
    pub fn allow(&self, value: &Value) -> bool {
        // The only text that is ever written: what gives a point back is always allowed.
        let Some(number) = value.to_f64() else { return *value == Value::Text(RELINQUISH.to_owned()) };
        match self {
            Self::Range(low, high) => (*low..=*high).contains(&number),
            Self::Values(values) => values.iter().any(|value| *value as f64 == number),
        }
    }

    /// In words.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::Range(low, high) => format!("{low} to {high}"),
            Self::Values(values) => values.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        }
    }
}

impl Point {
    /// What a command says as a value of this point, exactly as its registers would give it back. A float is the nearest one.
    ///
    /// # Errors
    /// The point cannot have this value: what would be possible.
    pub fn value_of(&self, said: &Scalar) -> Result<Value, String> {
        if let (Read::Bacnet(read), Scalar::Text(text)) = (&self.read, said)
            && text == RELINQUISH
            && read.is_present_value()
        {
            return Ok(Value::Text(RELINQUISH.to_owned()));
        }
        let value = self.typed(said)?;
        let read = match &self.read {
            Read::Modbus(read) => read,
            Read::Bacnet(read) => return self.held(read, &value).ok_or_else(|| format!("the property of this point cannot hold {said}")),
            Read::SunSpec(_) | Read::Host(_) | Read::Snmp(_) | Read::Trap(_) | Read::Line(_) => {
                return Err("only values in registers and properties are written".to_owned());
            }
        };
        let words = read.nearest(&value, 0).ok_or("it cannot be written to registers")?;
        match read.decode(&words, None) {
            Sample::Good(held) if held == value || matches!(self.repr, Repr::F32 | Repr::F64) => Ok(held),
            _ => Err(format!("the registers of this point cannot hold {said}")),
        }
    }

    /// The value as the device would give it back.
    fn held(&self, read: &BacnetRead, value: &Value) -> Option<Value> {
        match read.decode(&read.encode(value)?, None, None) {
            Sample::Good(held) if held == *value || matches!(self.repr, Repr::F32 | Repr::F64) => Some(held),
            _ => None,
        }
    }

    fn typed(&self, said: &Scalar) -> Result<Value, String> {
        match (said, self.repr) {
            (Scalar::Bool(bit), Repr::Bool) => Ok(Value::Bool(*bit)),
            (Scalar::Integer(bit @ 0..=1), Repr::Bool) => Ok(Value::Bool(*bit == 1)),
            (Scalar::Text(text), Repr::Bool | Repr::Decimal { .. } | Repr::Unsigned) if !self.states.is_empty() => {
                let state = self.states.iter().find(|(_, name)| *name == text);
                let names = || self.states.values().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ");
                let (number, _) = state.ok_or_else(|| format!("expected one of the states {}", names()))?;
                self.typed(&Scalar::Integer(*number))
            }
            (_, Repr::Bool) => Err("expected true or false".to_owned()),
            (Scalar::Bool(_) | Scalar::Text(_), _) => Err("expected a number".to_owned()),
            (number, Repr::Decimal { exponent }) => decimal(number, exponent),
            (Scalar::Integer(n), Repr::Unsigned) => {
                u64::try_from(*n).map(Value::Unsigned).map_err(|_| "expected a number from 0".to_owned())
            }
            (Scalar::Unsigned(n), Repr::Unsigned) => Ok(Value::Unsigned(*n)),
            (number, Repr::F32) => number.to_string().parse().map(Value::F32).map_err(|_| "expected a number".to_owned()),
            (number, Repr::F64) => number.to_string().parse().map(Value::F64).map_err(|_| "expected a number".to_owned()),
            _ => Err("expected a whole number".to_owned()),
        }
    }
}

/// Exactly with as many decimals as the point has: what would have to be rounded is refused.
fn decimal(number: &Scalar, exponent: i8) -> Result<Value, String> {
    let step = || Decimal { mantissa: 1, exponent };
    let (mantissa, own) = parse_decimal(&number.to_string()).ok_or_else(|| format!("expected a multiple of {}", step()))?;
    let power = own - exponent;
    let scaled = match power {
        0.. => i128::from(mantissa).checked_mul(power_of_ten(power)),
        _ => Some(i128::from(mantissa)).filter(|m| m % power_of_ten(-power) == 0).map(|m| m / power_of_ten(-power)),
    };
    let mantissa = scaled.and_then(|n| i64::try_from(n).ok()).ok_or_else(|| format!("expected a multiple of {}", step()))?;
    Ok(Value::Decimal(Decimal { mantissa, exponent }))
}

/// Reads the `writable:` of a point that is good otherwise.
pub(super) fn read(field: &Field<'_>, what: &str, point: &Point, problems: &mut Problems<'_>) -> Option<Writable> {
    let read = match place(point) {
        Ok(read) => read,
        Err(why) => {
            field.problem(why, problems);
            return None;
        }
    };
    let fields = match &field.node.tree {
        Tree::Scalar(text) if text == "true" => None,
        _ => Some(Fields::read(field.node, &format!("{what}, writable"), WRITABLE_KEYS, problems)?),
    };
    let optional = |key: &str| fields.as_ref().and_then(|fields| fields.optional(key));
    let limits = if point.repr == Repr::Bool || !point.states.is_empty() {
        if let Some(field) = optional("min").or(optional("max")) {
            field.problem("a point with states has `values` that may be written, no limits", problems);
            return None;
        }
        WriteLimits::Values(values(optional("values"), point, problems)?)
    } else {
        if let Some(field) = optional("values") {
            field.problem("a number has `min` and `max`, no values", problems);
            return None;
        }
        let (Some(min), Some(max)) = (optional("min"), optional("max")) else {
            field.problem("expected `min` and `max`: the lowest and the highest value that may be written", problems);
            return None;
        };
        range(&min, &max, point, problems)?
    };
    let function = match optional("function") {
        Some(field) => function(&field, read, problems)?,
        None => read.map_or(WriteFunction::Property, usual),
    };
    let settle = match optional("settle") {
        Some(field) => field.duration(Duration::ZERO, MAX_SETTLE, problems)?,
        None => Duration::ZERO,
    };
    Some(Writable { limits, function, settle })
}

fn usual(read: &ModbusRead) -> WriteFunction {
    match read.table {
        Table::Coil => WriteFunction::Coil,
        _ if read.encoding.len() == 1 => WriteFunction::Register,
        _ => WriteFunction::Registers,
    }
}

/// The registers that would be written, none of a property; or why it never is.
fn place(point: &Point) -> Result<Option<&ModbusRead>, &'static str> {
    let read = match &point.read {
        Read::Modbus(read) => read,
        Read::Bacnet(read) => return bacnet::never_written(read, point).map_or(Ok(None), Err),
        Read::SunSpec(_) | Read::Host(_) | Read::Snmp(_) | Read::Trap(_) | Read::Line(_) => {
            return Err("only registers and coils whose addresses stand in the profile are writable");
        }
    };
    match (read.table, read.encoding) {
        (Table::Input, _) => Err("input registers are not writable, only holding registers and coils are"),
        (Table::Discrete, _) => Err("discrete inputs are not writable, only holding registers and coils are"),
        (_, Encoding::Text(_) | Encoding::DateTime(_)) => Err("texts and times are not writable"),
        (_, Encoding::U24) => Err("a part of several registers is not writable: they cannot be changed at once"),
        _ if read.bits.is_some() && read.encoding.len() > 1 => {
            Err("a part of several registers is not writable: they cannot be changed at once")
        }
        _ if read.scale_at.is_some() => Err("a value whose scale is in a register is not writable"),
        _ if point.kind == Kind::Counter => Err("a counter is not writable"),
        _ => Ok(Some(read)),
    }
}

fn function(field: &Field<'_>, read: Option<&ModbusRead>, problems: &mut Problems<'_>) -> Option<WriteFunction> {
    let Some(read) = read else {
        field.problem("is for registers, a property has none", problems);
        return None;
    };
    let function = field.choice(FUNCTIONS, problems)?;
    let expected = match (read.table, function) {
        (Table::Coil, WriteFunction::Coil | WriteFunction::Coils) => return Some(function),
        (Table::Coil, _) => "5 or 15, which write coils",
        (_, WriteFunction::Registers) => return Some(function),
        (_, WriteFunction::Register) if read.encoding.len() == 1 => return Some(function),
        (_, WriteFunction::Mask) if read.is_part() => return Some(function),
        _ if read.is_part() => "6, 16 or 22",
        _ if read.encoding.len() == 1 => "6 or 16",
        _ => "16, which writes several registers",
    };
    field.wrong(expected, problems);
    None
}

fn values(field: Option<Field<'_>>, point: &Point, problems: &mut Problems<'_>) -> Option<Vec<i64>> {
    let all: Vec<i64> = if point.repr == Repr::Bool { vec![0, 1] } else { point.states.keys().copied().collect() };
    let Some(field) = field else { return Some(all) };
    let expected = "a list of whole numbers that are states of this point";
    let items = field.list(expected, problems)?;
    let number = |node| match &field.item(node).node.tree {
        Tree::Scalar(text) => parse_integer(text).and_then(|n| i64::try_from(n).ok()).filter(|n| all.contains(n)),
        _ => None,
    };
    let values: Option<Vec<i64>> = items.iter().take(MAX_ITEMS).map(number).collect();
    if values.as_ref().is_none_or(Vec::is_empty) {
        let known = all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        field.problem(&format!("expected {expected}: some of {known}"), problems);
        return None;
    }
    values
}

/// Both ends are values that the point can have.
fn range(min: &Field<'_>, max: &Field<'_>, point: &Point, problems: &mut Problems<'_>) -> Option<WriteLimits> {
    let end = |field: &Field<'_>, problems: &mut Problems<'_>| {
        let number = field.number("a number", problems)?;
        if let Err(why) = point.value_of(&scalar(number)) {
            field.problem(&format!("the point cannot have the value {number}: {why}"), problems);
            return None;
        }
        if let Some((low, high)) = point.range.filter(|(low, high)| !(*low..=*high).contains(&number)) {
            field.problem(&format!("found {number}, expected a value within the range of the point, {low} to {high}"), problems);
            return None;
        }
        Some(number)
    };
    let (low, high) = (end(min, problems)?, end(max, problems)?);
    if low > high {
        max.problem(&format!("found {high}, expected a number that is not below `min`, {low}"), problems);
        return None;
    }
    Some(WriteLimits::Range(low, high))
}

/// A number of YAML as one of JSON.
#[expect(clippy::cast_possible_truncation, reason = "a whole number that a double holds exactly")]
fn scalar(number: f64) -> Scalar {
    if number.fract() == 0.0 && number.abs() < 9e15 { Scalar::Integer(number as i64) } else { Scalar::Float(number) }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::Profile;
    use super::*;

    fn point(text: &str) -> Result<Point, String> {
        let head = "schema: 1\nid: x\nmanufacturer: X\nmodel: X\nmodbus: { invalid: { i16: 0x7FFF } }\npoints:\n";
        let profile = Profile::read(Path::new("x.yaml"), format!("{head}  - {{ name: p, {text} }}\n").as_bytes());
        profile.map(|mut profile| profile.points.remove(0)).map_err(|problems| problems[0].message.clone())
    }

    const TENTHS: &str = "read: { holding: 0, type: u16, scale: 0.1 }";
    const MODE: &str = "read: { holding: 0, type: u16 }, states: { 0: off, 1: on, 4: test }";

    #[test]
    fn what_may_be_written_is_what_the_profile_says() {
        use WriteFunction::{Coil, Coils, Mask, Register, Registers};
        use WriteLimits::{Range, Values};
        for (text, limits, function) in [
            ("read: { coil: 0 }, writable: true", Values(vec![0, 1]), Coil),
            ("read: { coil: 0 }, writable: { values: [0], function: 15 }", Values(vec![0]), Coils),
            (&format!("{MODE}, writable: {{}}"), Values(vec![0, 1, 4]), Register),
            (&format!("{MODE}, writable: {{ values: [4, 0x0] }}"), Values(vec![4, 0]), Register),
            (&format!("{TENTHS}, writable: {{ min: 0.5, max: 90 }}"), Range(0.5, 90.0), Register),
            (&format!("{TENTHS}, writable: {{ min: 1, max: 1, function: 16 }}"), Range(1.0, 1.0), Registers),
            ("read: { holding: 0, type: f32 }, writable: { min: -1, max: 1.5 }", Range(-1.0, 1.5), Registers),
            ("read: { holding: 0, type: u16, bit: 3 }, writable: { function: 22 }", Values(vec![0, 1]), Mask),
            ("read: { holding: 0, type: u8_low }, writable: { min: 0, max: 9 }", Range(0.0, 9.0), Register),
        ] {
            let found = point(text).unwrap().writable.unwrap();
            assert_eq!((found.limits, found.function), (limits, function), "{text}");
        }
        let settle = point("read: { coil: 0 }, writable: { settle: 200ms }").unwrap().writable.unwrap().settle;
        assert_eq!(settle, Duration::from_millis(200));
        assert_eq!(point(TENTHS).unwrap().writable, None, "not unless it says so");
    }

    #[test]
    fn what_could_not_be_written_safely_is_refused() {
        for (text, words) in [
            ("read: { coil: 0 }, writable: false", "expected a mapping"),
            ("read: { coil: 0 }, writable: { min: 0, max: 1 }", "has `values`"),
            ("read: { coil: 0 }, writable: { values: [2] }", "some of 0, 1"),
            ("read: { coil: 0 }, writable: { values: [] }", "some of 0, 1"),
            ("read: { coil: 0 }, writable: { function: 6 }", "5 or 15"),
            ("read: { coil: 0 }, writable: { settle: 3s }", "from 0ms to 2s"),
            ("read: { discrete: 0 }, writable: true", "discrete inputs are not writable"),
            ("read: { input: 0, type: u16 }, writable: { min: 0, max: 1 }", "input registers are not writable"),
            ("read: { host: load_1 }, writable: true", "whose addresses stand in the profile"),
            ("read: { holding: 0, type: text, registers: 2 }, writable: true", "texts"),
            ("read: { holding: 0, type: u24 }, writable: { min: 0, max: 1 }", "a part of several"),
            ("read: { holding: 0, type: u32, bit: 3 }, writable: true", "a part of several"),
            ("read: { holding: 0, type: u16, scale_at: 9 }, writable: { min: 0, max: 1 }", "whose scale is in a register"),
            ("kind: counter, read: { holding: 0, type: u16 }, writable: { min: 0, max: 1 }", "a counter"),
            (&format!("{TENTHS}, writable: true"), "expected `min` and `max`"),
            (&format!("{TENTHS}, writable: {{ min: 0 }}"), "expected `min` and `max`"),
            (&format!("{TENTHS}, writable: {{ values: [1] }}"), "no values"),
            (&format!("{TENTHS}, writable: {{ min: 5, max: 4 }}"), "not below `min`, 5"),
            (&format!("{TENTHS}, writable: {{ min: -1, max: 4 }}"), "cannot have the value -1"),
            (&format!("{TENTHS}, writable: {{ min: 0, max: 0.05 }}"), "a multiple of 0.1"),
            (&format!("{TENTHS}, range: [0, 90], writable: {{ min: 0, max: 91 }}"), "within the range"),
            (&format!("{TENTHS}, writable: {{ min: 0, max: 1, function: 22 }}"), "6 or 16"),
            (&format!("{TENTHS}, writable: {{ min: 0, max: 1, function: 5 }}"), "6 or 16"),
            ("read: { holding: 0, type: u32 }, writable: { min: 0, max: 1, function: 6 }", "16, which writes several"),
        ] {
            let found = point(text).unwrap_err();
            assert!(found.contains(words), "{text}: {found}");
        }
    }

    #[test]
    fn what_a_command_says_is_taken_exactly_or_not_at_all() {
        let decimal = |mantissa, exponent| Ok(Value::Decimal(Decimal { mantissa, exponent }));
        let text = |text: &str| Scalar::Text(text.into());
        let int = Scalar::Integer;
        for (at, said, expected) in [
            ("read: { coil: 0 }", Scalar::Bool(true), Ok(Value::Bool(true))),
            ("read: { coil: 0 }", int(0), Ok(Value::Bool(false))),
            ("read: { coil: 0 }", int(2), Err("expected true or false")),
            ("read: { coil: 0 }", text("on"), Err("expected true or false")),
            ("read: { coil: 0 }, states: { 0: off, 1: on }", text("on"), Ok(Value::Bool(true))),
            (MODE, text("test"), decimal(4, 0)),
            (MODE, text("Test"), Err("expected one of the states \"off\", \"on\", \"test\"")),
            (MODE, int(7), decimal(7, 0)),
            (TENTHS, Scalar::Float(23.4), decimal(234, -1)),
            (TENTHS, int(23), decimal(230, -1)),
            (TENTHS, Scalar::Float(23.45), Err("expected a multiple of 0.1")),
            (TENTHS, int(6554), Err("the registers of this point cannot hold 6554")),
            (TENTHS, int(-1), Err("the registers of this point cannot hold -1")),
            (TENTHS, Scalar::Float(1e300), Err("expected a multiple of 0.1")),
            (TENTHS, Scalar::Bool(true), Err("expected a number")),
            (TENTHS, text("23.4"), Err("expected a number")),
            ("read: { holding: 0, type: u16, scale: 5 }", int(25), decimal(25, 0)),
            ("read: { holding: 0, type: u16, scale: 5 }", int(26), Err("the registers of this point cannot hold 26")),
            ("read: { holding: 0, type: i16 }", int(0x7FFF), Err("the registers of this point cannot hold 32767")),
            ("read: { holding: 0, type: u64 }", Scalar::Unsigned(u64::MAX), Ok(Value::Unsigned(u64::MAX))),
            ("read: { holding: 0, type: u64 }", int(-1), Err("expected a number from 0")),
            ("read: { holding: 0, type: u64 }", Scalar::Float(0.5), Err("expected a whole number")),
            ("read: { holding: 0, type: f32 }", Scalar::Float(0.1), Ok(Value::F32(0.1))),
            ("read: { holding: 0, type: f32 }", int(16_777_217), Ok(Value::F32(16_777_216.0))),
            ("read: { holding: 0, type: f32 }", Scalar::Float(1e300), Err("the registers of this point cannot hold")),
            ("read: { holding: 0, type: f32, decimals: 2 }", Scalar::Float(0.25), decimal(25, -2)),
        ] {
            match (point(at).unwrap().value_of(&said), expected) {
                (found @ Ok(_), expected @ Ok(_)) => assert_eq!(found.ok(), expected.ok(), "{at} {said}"),
                (Err(found), Err(words)) => assert!(found.starts_with(words), "{at} {said}: {found}"),
                (found, expected) => panic!("{at} {said}: {found:?}, not {expected:?}"),
            }
        }
        assert!(WriteLimits::Range(0.1, 0.3).allow(&Value::F32(0.1)) && !WriteLimits::Range(0.1, 0.3).allow(&Value::F32(0.31)));
        assert!(WriteLimits::Values(vec![1, 4]).allow(&Value::int(4)) && !WriteLimits::Values(vec![0]).allow(&Value::Bool(true)));
    }
}
