use std::path::Path;

use pattoo_wire::{Decimal, Reason, Repr, Sample, Scalar, Value};

use super::*;
use crate::driver::bacnet::tags::Value as Held;
use crate::profile::{Profile, Read};

fn profile(point: &str) -> Result<Profile, String> {
    let text = format!("schema: 1\nid: x\nmanufacturer: x\nmodel: x\npoints:\n  - {{ name: a, {point} }}\n");
    Profile::read(Path::new("x.yaml"), text.as_bytes()).map_err(|problems| problems[0].message.clone())
}

fn read(read: &str) -> Result<BacnetRead, String> {
    match profile(&format!("read: {{ {read} }}"))?.points.remove(0).read {
        Read::Bacnet(read) => Ok(read),
        other => Err(format!("{other:?}")),
    }
}

#[test]
fn a_present_value_has_the_type_of_its_object() {
    for (text, repr) in [
        ("object: analog-input, instance: 4", Repr::F32),
        ("object: analog-input, instance: 4, decimals: 1", Repr::Decimal { exponent: -1 }),
        ("object: large-analog-value, instance: 4", Repr::F64),
        ("object: binary-output, named: SF-C", Repr::Bool),
        ("object: multi-state-value, instance: 1", Repr::Decimal { exponent: 0 }),
        ("object: accumulator, instance: 1", Repr::Unsigned),
        ("object: accumulator, instance: 1, scale: 0.1", Repr::Decimal { exponent: -1 }),
        ("object: accumulator, instance: 1, scale: device", Repr::F64),
        ("object: integer-value, instance: 0x10", Repr::Decimal { exponent: 0 }),
        ("object: characterstring-value, instance: 1", Repr::Text),
        ("object: 130, instance: 1, type: real", Repr::F32),
        ("object: device, property: system-status, type: enumerated", Repr::Decimal { exponent: 0 }),
        ("object: analog-input, instance: 4, property: description, type: text", Repr::Text),
        ("object: analog-input, instance: 4, property: 9000, element: 3, type: double", Repr::F64),
    ] {
        assert_eq!(read(text).map(|read| read.repr()), Ok(repr), "{text}");
    }
}

#[test]
fn what_is_wrong_is_told() {
    for (text, words) in [
        ("object: analog-inputs, instance: 4", "did you mean `analog-input`?"),
        ("object: 1024, instance: 4", "from 0 to 1023"),
        ("object: analog-input", "found none, expected one of instance, named"),
        ("object: analog-input, instance: 4, named: X", "found instance and named"),
        ("object: analog-input, instance: 4194303", "from 0 to 4194302"),
        ("object: device, instance: 4, property: system-status, type: enumerated", "is the device itself"),
        ("object: analog-input, instance: 4, property: presentvalue", "did you mean `present-value`?"),
        ("object: analog-input, instance: 4, property: description", "`type` is missing, expected what it holds"),
        ("object: 130, instance: 4", "`type` is missing"),
        ("object: analog-input, instance: 4, scale: 0", "not 0"),
        ("object: binary-input, instance: 4, scale: 2", "only a number has scale"),
        ("object: accumulator, instance: 4, decimals: 2", "another has a scale"),
        ("object: analog-input, instance: 4, property: units, cov: true", "expected one of"),
        ("object: analog-input, instance: 4, property: 117, type: enumerated, cov: true", "only changes of a present-value are told"),
        ("object: analog-input, instance: 4, input: 0", "unknown key `input`"),
    ] {
        let found = read(text).expect_err(text);
        assert!(found.contains(words), "{text}: {found}");
    }
    let mixed = "read: { object: analog-input, instance: 4 } }\n  - { name: b, read: { input: 0, type: u16 }";
    assert!(profile(mixed).unwrap_err().contains("a profile has one protocol"));
}

#[test]
fn a_value_is_what_the_device_holds_in_the_representation_of_its_point() {
    let decimal = |mantissa, exponent| Sample::Good(Value::Decimal(Decimal { mantissa, exponent }));
    let bad = Sample::Bad;
    for (text, held, sample) in [
        ("object: analog-input, instance: 1", Held::Real(21.3), Sample::Good(Value::F32(21.3))),
        ("object: analog-input, instance: 1", Held::Real(f32::NAN), bad(Reason::NotAValue)),
        ("object: analog-input, instance: 1", Held::Real(f32::INFINITY), bad(Reason::NotAValue)),
        ("object: analog-input, instance: 1", Held::Unsigned(21), Sample::Good(Value::F32(21.0))),
        ("object: analog-input, instance: 1", Held::Double(1e300), bad(Reason::Overflow)),
        ("object: analog-input, instance: 1", Held::Null, bad(Reason::NotAValue)),
        ("object: analog-input, instance: 1", Held::Text("x".into()), bad(Reason::Mismatch)),
        ("object: analog-input, instance: 1", Held::Unreadable, bad(Reason::Malformed)),
        ("object: analog-input, instance: 1, decimals: 1", Held::Real(21.3), decimal(213, -1)),
        ("object: analog-input, instance: 1, decimals: 1", Held::Real(1e30), bad(Reason::Overflow)),
        ("object: analog-input, instance: 1, scale: 0.1", Held::Real(21.0), Sample::Good(Value::F32(2.1))),
        ("object: large-analog-value, instance: 1", Held::Double(0.1), Sample::Good(Value::F64(0.1))),
        ("object: large-analog-value, instance: 1", Held::Real(21.3), Sample::Good(Value::F64(21.3))),
        ("object: binary-input, instance: 1", Held::Enumerated(1), Sample::Good(Value::Bool(true))),
        ("object: binary-input, instance: 1", Held::Enumerated(2), bad(Reason::Mismatch)),
        ("object: multi-state-input, instance: 1", Held::Unsigned(3), decimal(3, 0)),
        ("object: accumulator, instance: 1", Held::Unsigned(u64::MAX), Sample::Good(Value::Unsigned(u64::MAX))),
        ("object: accumulator, instance: 1, scale: 0.1", Held::Unsigned(123), decimal(123, -1)),
        ("object: accumulator, instance: 1, scale: 0.1", Held::Unsigned(u64::MAX), bad(Reason::Overflow)),
        ("object: accumulator, instance: 1, scale: device", Held::Unsigned(123), Sample::Good(Value::F64(1_230.0))),
        ("object: integer-value, instance: 1", Held::Signed(-70_000), decimal(-70_000, 0)),
        ("object: integer-value, instance: 1", Held::Real(1.0), bad(Reason::Mismatch)),
        ("object: characterstring-value, instance: 1", Held::Text("Küche".into()), Sample::Good(Value::Text("Küche".into()))),
        ("object: characterstring-value, instance: 1", Held::Text("x".repeat(1_025)), bad(Reason::Overflow)),
    ] {
        let read = read(text).unwrap();
        let found = read.decode(&held, Some(10.0), None);
        assert_eq!(found, sample, "{text} {held:?}");
        if let Some(value) = found.value() {
            assert_eq!(value.repr(), read.repr(), "{text}");
        }
    }
}

#[test]
fn what_a_command_says_is_written_as_the_device_holds_it_or_refused() {
    for (point, said, held) in [
        ("read: { object: analog-value, instance: 1 }, writable: { min: 0, max: 90 }", Scalar::Float(21.3), Some(Held::Real(21.3))),
        (
            "read: { object: analog-value, instance: 1, decimals: 1 }, writable: { min: 0, max: 90 }",
            Scalar::Float(21.3),
            Some(Held::Real(21.3)),
        ),
        ("read: { object: analog-value, instance: 1, decimals: 1 }, writable: { min: 0, max: 90 }", Scalar::Float(21.35), None),
        ("read: { object: binary-output, instance: 1 }, writable: true", Scalar::Bool(true), Some(Held::Enumerated(1))),
        (
            "read: { object: binary-output, instance: 1 }, states: { 0: off, 1: on }, writable: true",
            Scalar::Text("on".into()),
            Some(Held::Enumerated(1)),
        ),
        (
            "read: { object: binary-output, instance: 1, property: out-of-service, type: boolean }, writable: true",
            Scalar::Bool(true),
            Some(Held::Boolean(true)),
        ),
        (
            "read: { object: multi-state-value, instance: 1 }, states: { 1: auto, 2: hand }, writable: true",
            Scalar::Text("hand".into()),
            Some(Held::Unsigned(2)),
        ),
        (
            "read: { object: positive-integer-value, instance: 1 }, writable: { min: 0, max: 90 }",
            Scalar::Integer(70),
            Some(Held::Unsigned(70)),
        ),
        (
            "read: { object: integer-value, instance: 1, scale: 0.5 }, writable: { min: -9, max: 90 }",
            Scalar::Float(-2.5),
            Some(Held::Signed(-5)),
        ),
        ("read: { object: integer-value, instance: 1, scale: 0.5 }, writable: { min: -9, max: 90 }", Scalar::Float(-2.6), None),
    ] {
        let point = profile(point).unwrap().points.remove(0);
        let Read::Bacnet(read) = &point.read else { panic!() };
        let value = point.value_of(&said).ok();
        assert_eq!(value.and_then(|value| read.encode(&value)), held, "{said:?}");
    }
    for (point, words) in [
        ("read: { object: characterstring-value, instance: 1 }, writable: true", "texts are not writable"),
        ("read: { object: accumulator, instance: 1 }, writable: { min: 0, max: 9 }", "what counts is not writable"),
        ("read: { object: analog-value, instance: 1 }, writable: { min: 0, max: 9, function: 6 }", "is for registers, a property has none"),
    ] {
        let found = profile(point).unwrap_err();
        assert!(found.contains(words), "{point}: {found}");
    }
}

#[test]
fn sections_of_another_protocol_have_no_place() {
    let with = |section: &str, read: &str| {
        let text = format!("schema: 1\nid: x\nmanufacturer: x\nmodel: x\n{section}\npoints:\n  - {{ name: a, read: {{ {read} }} }}\n");
        Profile::read(Path::new("x.yaml"), text.as_bytes()).map_err(|problems| problems[0].message.clone())
    };
    let object = "object: analog-input, instance: 1";
    let limits = with("bacnet: { max_apdu: 480, read_multiple: false }", object).unwrap().bacnet;
    assert_eq!(limits, BacnetLimits { max_apdu: 480, read_multiple: false });
    assert!(with("modbus: { max_gap: 2 }", object).unwrap_err().contains("no place in a profile that reads BACnet objects"));
    assert!(with("bacnet: { max_apdu: 480 }", "input: 0, type: u16").unwrap_err().contains("no place in a profile that reads registers"));
    assert!(with("bacnet: { max_apdu: 49 }", object).unwrap_err().contains("from 50 to 1476"));
}
