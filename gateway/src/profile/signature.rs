//! The `match:` of a profile: how a scan recognises a device of this model. Pure; asks nobody.
//!
//! | key | meaning |
//! |---|---|
//! | `identity` | `vendor`, `product`: parts of what the device calls itself (function 43/14, 17, or the common model of `SunSpec`); letter case does not matter |
//! | `sunspec` | `true`: a device with the `SunSpec` marker |
//! | `snmp` | `sys_object_id`: what the id of the agent is below; `sys_descr`: a part of its description; `has`: objects that it has something below |
//! | `bacnet` | what a BACnet device calls itself, see [`bacnet`] |
//! | `registers` | places like those of a point's `read:`, each with one of `equals`, `between` (numbers or ranges, or lists of them) and `contains` (texts) |
//!
//! All registers must hold. An identity decides alone where the device tells one; where it tells none, the registers do.

mod bacnet;

use pattoo_wire::{Decimal, Repr, Sample, Value};

use super::read::{MAX_ITEMS, MAX_TEXT_CHARS, pair};
use super::snmp::{self, Oid};
use super::source::{self, Marks};
use super::{Encoding, ModbusRead, Read};
use crate::yaml::{Field, Fields, Node, Problems, Tree};

pub use bacnet::BacnetSignature;
#[cfg(test)]
pub(super) use bacnet::{BACNET_KEYS, MAX_NAMES};

/// Most registers that one profile is recognised by: each costs a scan a request.
pub(super) const MAX_CHECKS: usize = 8;

/// Most bits that one register says.
const MAX_WEIGHT: u32 = 20;

pub(super) const MATCH_KEYS: &[&str] = &["identity", "sunspec", "registers", "snmp", "bacnet"];
pub(super) const IDENTITY_KEYS: &[&str] = &["vendor", "product"];
pub(super) const AGENT_KEYS: &[&str] = &["sys_object_id", "sys_descr", "has"];
pub(super) const WANT_KEYS: &[&str] = &["equals", "between", "contains"];

/// How a scan recognises a device model.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Signature {
    /// Part of the vendor that it names.
    pub vendor: Option<String>,
    /// Part of the product that it names.
    pub product: Option<String>,
    /// It has the `SunSpec` marker.
    pub sunspec: bool,
    /// What it calls itself on BACnet.
    pub bacnet: Option<BacnetSignature>,
    /// What its registers hold.
    pub registers: Vec<Check>,
    /// How an SNMP agent of this model is recognised.
    pub snmp: Option<AgentSignature>,
}

/// How a scan recognises an SNMP agent; all of it must be so.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AgentSignature {
    /// What its `sysObjectID` is below.
    pub sys_object_id: Option<Oid>,
    /// Part of its `sysDescr`; letter case does not matter.
    pub sys_descr: Option<String>,
    /// Objects that it has something below.
    pub has: Vec<Oid>,
}

/// What some registers of a device model hold.
#[derive(Debug, Clone, PartialEq)]
pub struct Check {
    /// Where.
    pub read: ModbusRead,
    /// What.
    pub want: Want,
}

/// What registers hold.
#[derive(Debug, Clone, PartialEq)]
pub enum Want {
    /// A number that equals one of these.
    Equals(Vec<f64>),
    /// A number within one of these ranges, ends included.
    Between(Vec<(f64, f64)>),
    /// A text with one of these in it; letter case does not matter.
    Contains(Vec<String>),
}

impl Check {
    /// Whether these words are as wanted.
    #[must_use]
    pub fn holds(&self, words: &[u16]) -> bool {
        let Sample::Good(value) = self.read.decode(words, None) else { return false };
        match (&self.want, value.to_f64()) {
            (Want::Equals(numbers), Some(own)) => numbers.contains(&own),
            (Want::Between(ranges), Some(own)) => ranges.iter().any(|(low, high)| (*low..=*high).contains(&own)),
            (Want::Contains(texts), _) => texts.iter().any(|text| contains(&value.to_string(), text)),
            _ => false,
        }
    }

    /// Words that hold, as a simulated device has them: those of the first number, of the middle of the first range, of the first text.
    #[must_use]
    pub fn example(&self) -> Option<Vec<u16>> {
        let number = |number: f64| {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` saturates; what does not fit does not hold")]
            let value = match self.read.repr() {
                Repr::Decimal { exponent } => {
                    Value::Decimal(Decimal { mantissa: (number / 10f64.powi(i32::from(exponent))).round() as i64, exponent })
                }
                Repr::Unsigned => Value::Unsigned(number as u64),
                Repr::F32 => Value::F32(number as f32),
                Repr::F64 => Value::F64(number),
                Repr::Bool => Value::Bool(number != 0.0),
                Repr::Text => return None,
            };
            self.read.nearest(&value, 0)
        };
        let words = match &self.want {
            Want::Equals(numbers) => number(*numbers.first()?),
            Want::Between(ranges) => ranges.first().and_then(|(low, high)| number(f64::midpoint(*low, *high))),
            Want::Contains(texts) => self.read.nearest(&Value::Text(texts.first()?.clone()), 0),
        };
        words.filter(|words| self.holds(words))
    }

    /// How much it says that it holds, in bits: by how much less likely registers of chance are to hold it. 1 to 20; no text is there by chance.
    #[must_use]
    pub fn weight(&self) -> u32 {
        let (Want::Between(ranges), Some((least, most))) = (&self.want, self.read.encoding.integers()) else {
            // A power of two of a float's 256, and its sign.
            return if self.read.encoding.is_float() { 9 } else { MAX_WEIGHT };
        };
        let step = self.read.scale.0 as f64 * 10f64.powi(i32::from(self.read.scale.1));
        let hits: f64 = ranges.iter().map(|(low, high)| ((high - low) / step).abs() + 1.0).sum();
        let bits = ((most - least) as f64 / hits).log2();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded on the same line")]
        let bits = bits.clamp(1.0, f64::from(MAX_WEIGHT)) as u32;
        bits
    }
}

/// Whether a text holds another, whatever the letter case.
pub(crate) fn contains(text: &str, part: &str) -> bool {
    text.to_lowercase().contains(&part.to_lowercase())
}

/// Reads the `match:` of a profile.
pub(super) fn read(node: &Node, problems: &mut Problems<'_>) -> Option<Signature> {
    let before = problems.count();
    let fields = Fields::read(node, "match", MATCH_KEYS, problems)?;
    let mut signature = Signature::default();
    if let Some(field) = fields.optional("identity")
        && let Some(own) = Fields::read(field.node, "match, identity", IDENTITY_KEYS, problems)
    {
        let mut part = |key| own.optional(key).and_then(|field| text(&field, problems));
        (signature.vendor, signature.product) = (part("vendor"), part("product"));
        if signature.vendor.is_none() && signature.product.is_none() && problems.count() == before {
            field.problem("found neither, expected vendor, product or both", problems);
        }
    }
    if let Some(field) = fields.optional("sunspec") {
        signature.sunspec = field.choice(&[("true", true), ("false", false)], problems).unwrap_or_default();
    }
    signature.bacnet = fields.optional("bacnet").and_then(|field| bacnet::read(&field, problems));
    if let Some(field) = fields.optional("registers") {
        signature.registers = checks(&field, problems).unwrap_or_default();
    }
    if let Some(field) = fields.optional("snmp") {
        signature.snmp = agent(&field, problems);
    }
    if problems.count() == before && signature == Signature::default() {
        let expected = "expected identity, sunspec, registers, snmp or bacnet";
        problems.add(node.at, format!("match: found nothing to recognise a device by, {expected}"));
    }
    (problems.count() == before).then_some(signature)
}

fn agent(field: &Field<'_>, problems: &mut Problems<'_>) -> Option<AgentSignature> {
    let own = Fields::read(field.node, "match, snmp", AGENT_KEYS, problems)?;
    let mut signature = AgentSignature::default();
    if let Some(field) = own.optional("sys_object_id") {
        signature.sys_object_id = Some(snmp::oid(&field, problems)?);
    }
    if let Some(field) = own.optional("sys_descr") {
        signature.sys_descr = Some(text(&field, problems)?);
    }
    if let Some(field) = own.optional("has") {
        signature.has = snmp::items(&field, MAX_CHECKS, problems)?.iter().map(|item| snmp::oid(item, problems)).collect::<Option<_>>()?;
    }
    if signature == AgentSignature::default() {
        field.problem("found nothing, expected sys_object_id, sys_descr or has", problems);
        return None;
    }
    Some(signature)
}

fn text(field: &Field<'_>, problems: &mut Problems<'_>) -> Option<String> {
    let expected = format!("a text of at most {MAX_TEXT_CHARS} characters");
    let text = field.text(&expected, problems)?;
    if text.chars().count() > MAX_TEXT_CHARS {
        field.wrong(&expected, problems);
        return None;
    }
    Some(text.to_owned())
}

fn checks(field: &Field<'_>, problems: &mut Problems<'_>) -> Option<Vec<Check>> {
    let items = field.list("a list of registers, such as - { holding: 11, type: u16, equals: 102 }", problems)?;
    if items.is_empty() || items.len() > MAX_CHECKS {
        field.problem(&format!("found {} registers, expected 1 to {MAX_CHECKS}", items.len()), problems);
        return None;
    }
    items.iter().enumerate().map(|(index, node)| check(node, &format!("match, register {}", index + 1), problems)).collect()
}

fn check(node: &Node, what: &str, problems: &mut Problems<'_>) -> Option<Check> {
    let Read::Modbus(read) = source::read_with(node, what, WANT_KEYS, &Marks::default(), problems)? else {
        problems.add(node.at, format!("{what}: found no registers or bits, expected their table and address"));
        return None;
    };
    // Its other keys have just been read.
    let fields = Fields::read(node, what, &[source::PLACES, source::IN_MODEL, source::HOW, WANT_KEYS].concat(), problems)?;
    let wants: Vec<_> = WANT_KEYS.iter().filter_map(|key| Some((*key, fields.optional(key)?))).collect();
    let [(key, field)] = wants.as_slice() else {
        problems.add(node.at, format!("{what}: found {}, expected exactly one of {}", wants.len(), WANT_KEYS.join(", ")));
        return None;
    };
    let is_text = matches!(read.encoding, Encoding::Text(_) | Encoding::DateTime(_));
    if is_text != (*key == "contains") {
        field.problem(if is_text { "a text has `contains`" } else { "a number has `equals` or `between`" }, problems);
        return None;
    }
    let want = match *key {
        "equals" => Want::Equals(several(field, |field| field.number("a number", problems))?),
        "contains" => Want::Contains(several(field, |field| text(&field, problems))?),
        _ => Want::Between(ranges(field, problems)?),
    };
    Some(Check { read, want })
}

/// One value or a list of them.
fn several<T>(field: &Field<'_>, mut one: impl FnMut(Field<'_>) -> Option<T>) -> Option<Vec<T>> {
    match &field.node.tree {
        Tree::List(items) if !items.is_empty() => items.iter().take(MAX_ITEMS).map(|item| one(field.item(item))).collect(),
        _ => one(field.clone()).map(|own| vec![own]),
    }
}

/// `[low, high]` or a list of such.
fn ranges(field: &Field<'_>, problems: &mut Problems<'_>) -> Option<Vec<(f64, f64)>> {
    let expected = "[lowest, highest], or a list of such";
    let nested =
        matches!(&field.node.tree, Tree::List(items) if items.iter().all(|item| matches!(item.tree, Tree::List(_))) && !items.is_empty());
    let mut one = |field: Field<'_>| {
        let (low, high) = pair(&field, expected, problems)?;
        let (low, high) = (low.number("a number", problems)?, high.number("a number", problems)?);
        if low > high {
            field.problem(&format!("found [{low}, {high}], expected {expected}"), problems);
            return None;
        }
        Some((low, high))
    };
    if nested { several(field, one) } else { one(field.clone()).map(|range| vec![range]) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Profile;

    fn read(signature: &str) -> Result<Signature, String> {
        let text = format!(
            "schema: 1\nid: m\nmanufacturer: x\nmodel: x\nmatch: {signature}\npoints: [{{ name: a, read: {{ input: 0, type: u16 }} }}]\n"
        );
        let profile = Profile::read("m.yaml".as_ref(), text.as_bytes());
        profile.map(|profile| profile.signature.unwrap()).map_err(|all| all.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    }

    #[test]
    fn registers_hold_what_is_wanted_or_not() {
        for (check, words, holds) in [
            ("holding: 11, type: u16, equals: 0x66", vec![102], true),
            ("holding: 11, type: u16, equals: [101, 103]", vec![102], false),
            ("holding: 11, type: u16, equals: [101, 102]", vec![102], true),
            ("holding: 11, type: u16, scale: 0.1, between: [10.2, 11]", vec![102], true),
            ("holding: 11, type: u16, scale: 0.1, between: [10.3, 11]", vec![102], false),
            ("holding: 11, type: u16, between: [[1, 2], [100, 200]]", vec![102], true),
            ("input: 0, type: f32, between: [45, 65]", vec![0x4248, 0], true),
            ("input: 0, type: f32, between: [45, 65]", vec![0x7FC0, 0], false),
            ("input: 0, type: f32, between: [45, 65]", vec![0x4248], false),
            ("holding: 1, type: text, registers: 2, contains: bcd", vec![0x4142, 0x4344], true),
            ("holding: 1, type: text, registers: 2, contains: [x, bcd]", vec![0x4142, 0x4344], true),
            ("holding: 1, type: text, registers: 2, contains: acd", vec![0x4142, 0x4344], false),
        ] {
            let signature = read(&format!("{{ registers: [ {{ {check} }} ] }}")).unwrap();
            assert_eq!(signature.registers[0].holds(&words), holds, "{check}");
            let example = signature.registers[0].example().unwrap();
            assert!(signature.registers[0].holds(&example), "{check}: {example:?}");
        }
    }

    #[test]
    fn a_code_says_more_than_a_measurement() {
        for (check, bits) in [
            ("holding: 11, type: u16, between: [71, 73]", 14),
            ("holding: 11, type: u16, scale: 0.1, between: [80, 350]", 4),
            ("holding: 11, type: u32, scale: 0.01, between: [45, 65]", 20),
            ("holding: 11, type: f32, between: [45, 65]", 9),
            ("holding: 11, type: u16, equals: 7", 20),
            ("holding: 11, type: u16, between: [0, 65535]", 1),
            ("holding: 1, type: text, registers: 2, contains: x", 20),
        ] {
            assert_eq!(read(&format!("{{ registers: [ {{ {check} }} ] }}")).unwrap().registers[0].weight(), bits, "{check}");
        }
    }

    #[test]
    fn a_wrong_match_is_refused_with_its_place() {
        for (signature, says) in [
            ("{}", "m.yaml:5:8: match: found nothing to recognise a device by"),
            ("{ identity: {} }", "found neither, expected vendor, product or both"),
            ("{ identity: { vender: x } }", "did you mean `vendor`"),
            ("{ registers: [] }", "found 0 registers, expected 1 to 8"),
            (
                "{ registers: [ { holding: 1, type: u16 } ] }",
                "match, register 1: found 0, expected exactly one of equals, between, contains",
            ),
            ("{ registers: [ { holding: 1, type: u16, equals: 1, between: [1, 2] } ] }", "register 1: found 2, expected exactly one of"),
            ("{ registers: [ { holding: 1, type: u16, contains: x } ] }", "a number has `equals` or `between`"),
            ("{ registers: [ { holding: 1, type: text, registers: 2, equals: 1 } ] }", "a text has `contains`"),
            ("{ registers: [ { holding: 1, type: u16, between: [2, 1] } ] }", "found [2, 1], expected [lowest, highest]"),
            ("{ registers: [ { holding: 1, type: u16, between: 7 } ] }", "expected [lowest, highest]"),
            ("{ registers: [ { holding: 1, type: u17, equals: 7 } ] }", "did you mean `u1"),
            ("{ registers: [ { host: cpu_usage, equals: 7 } ] }", "found no registers or bits"),
            ("{ sunspec: yes }", "expected one of true, false"),
        ] {
            let error = read(signature).unwrap_err();
            assert!(error.contains(says), "{signature}: {error}");
        }
    }
}
