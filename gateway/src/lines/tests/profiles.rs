//! Points of a profile that are told in lines.

use std::path::Path;

use pattoo_wire::{Kind, Repr};

use super::super::*;
use crate::profile::{Profile, Read};

fn read_point(point: &str) -> Result<Profile, String> {
    let text = format!("schema: 1\nid: tank\nmanufacturer: Us\nmodel: x\npoints:\n  - {{ name: p, {point} }}\n");
    Profile::read(Path::new("tank.yaml"), text.as_bytes()).map_err(|problems| problems.iter().map(|p| format!("{p}\n")).collect())
}

#[test]
fn a_field_has_a_type_a_scale_and_rows() {
    for (point, kind, repr) in [
        ("read: { field: x }", Kind::Gauge, Repr::F64),
        ("read: { field: x, decimals: 2 }", Kind::Gauge, Repr::Decimal { exponent: -2 }),
        ("read: { field: x, type: integer }", Kind::Gauge, Repr::Decimal { exponent: 0 }),
        ("read: { field: x, type: integer, scale: 0.01 }", Kind::Gauge, Repr::Decimal { exponent: -2 }),
        ("read: { field: x, type: unsigned }, kind: counter", Kind::Counter, Repr::Unsigned),
        ("read: { field: x, type: bool }", Kind::State, Repr::Bool),
        ("read: { field: x, type: integer }, states: { 1: on }", Kind::State, Repr::Decimal { exponent: 0 }),
        ("read: { field: x, type: text }", Kind::Text, Repr::Text),
    ] {
        let profile = read_point(point).unwrap_or_else(|problems| panic!("{point}: {problems}"));
        assert_eq!((profile.points[0].kind, profile.points[0].repr), (kind, repr), "{point}");
    }
    let profile = read_point("read: { field: x, measurement: m, scale: 2.5, identity: [room, side] }").unwrap();
    let Read::Line(LineRead::Listed(field)) = &profile.points[0].read else { panic!() };
    assert_eq!((field.measurement.as_deref(), field.scale, field.identity.len()), (Some("m"), (25, -1), 2));
}

#[test]
fn what_is_wrong_with_a_field_is_said() {
    for (point, expected) in [
        ("read: { field: '' }", "found ``, expected a name of at most 255 bytes"),
        ("read: { field: x, type: f32 }", "found `f32`, expected one of number, integer, unsigned, bool, text"),
        ("read: { field: x, scale: 0 }", "found `0`, expected a number that is not 0"),
        ("read: { field: x, type: bool, scale: 2 }", "found with this type, expected only with number and integer"),
        ("read: { field: x, type: integer, decimals: 2 }", "found with this type, expected only with number"),
        ("read: { field: x, decimals: 13 }", "found `13`, expected a number of decimals from 0 to 12"),
        ("read: { field: x, identity: [] }", "expected a list of 1 to 32 names of tags"),
        ("read: { field: x, identity: [a, a] }", "expected a list of 1 to 32 names of tags"),
        ("read: { field: x, holding: 3 }", "unknown key `holding`, expected one of field, measurement, type, scale, decimals, identity"),
        ("read: { field: x }, every: 5s", "has no place here: a program tells all its points each time it runs"),
        ("read: { field: x }, kind: state", "a float is not a state"),
        ("read: { field: x }, states: { 1: on }", "only bits and unscaled integers have states"),
        ("read: { field: x, type: text }, range: [0, 1]", "text has no range"),
        ("read: { field: x, type: integer }, writable: true", "only registers and coils"),
        ("read: { field: x } }\n  - { name: q, read: { input: 3, type: u16 }", "reads registers, the points before read fields of lines"),
    ] {
        let problems = read_point(point).expect_err(point);
        assert!(problems.starts_with("tank.yaml:") && problems.contains(expected), "{point}: {problems}");
    }
    let modbus = "schema: 1\nid: tank\nmanufacturer: Us\nmodel: x\nmodbus: { max_gap: 1 }\npoints: [{ name: p, read: { field: x } }]\n";
    let problems = Profile::read(Path::new("tank.yaml"), modbus.as_bytes()).unwrap_err();
    assert!(problems[0].to_string().contains("has no place in a profile that reads fields of lines"), "{problems:?}");
}
