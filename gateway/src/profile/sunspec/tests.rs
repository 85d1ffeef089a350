use std::fmt::Write as _;
use std::path::Path;

use pattoo_wire::{Repr, Sample, Value};

use super::*;

const GOOD: &str = "\
schema: 1
id: sun
manufacturer: Someone
model: M1
modbus: { max_registers: 30, invalid: { i16: 0x8000 } }
points:
  - { name: maker, read: { sunspec: 1, at: 2, type: text, registers: 4 } }
  - { name: power, unit: W, read: [{ sunspec: [101, 103], at: 14, type: i16, scale_at: 15, decimals: 1 }, { sunspec: 113, at: 22, type: f32, decimals: 1 }] }
  - { name: status, read: { sunspec: [101, 103], at: 38, type: u16 }, states: { 4: mppt } }
  - { name: string_voltage, unit: V, read: { sunspec: 160, at: 20, type: u16, rows: [10, 20], scale_at: 3, decimals: 1 }, range: [0, 1000] }
";

fn read(text: &str) -> Result<Profile, String> {
    Profile::read(Path::new("sun.yaml"), text.as_bytes()).map_err(|problems| {
        let mut text = String::new();
        problems.iter().for_each(|problem| writeln!(text, "{problem}").unwrap());
        text
    })
}

#[test]
fn a_profile_gives_points_by_model() {
    let profile = read(GOOD).unwrap();
    assert!(profile.is_sunspec());
    let places = |index: usize| match &profile.points[index].read {
        Read::SunSpec(places) => places.clone(),
        other => panic!("{other:?}"),
    };
    let power = places(1);
    assert_eq!((power[0].models.as_slice(), power[0].read.address, power[0].read.scale_at), ([101, 103].as_slice(), 14, Some(15)));
    assert_eq!((power[1].models.as_slice(), power[1].read.encoding), ([113].as_slice(), Encoding::F32));
    assert_eq!((power[0].read.invalid.as_slice(), profile.points[1].repr), ([vec![0x8000]].as_slice(), Repr::Decimal { exponent: -1 }));
    assert_eq!(places(3)[0].rows, Some((10, 20)));
}

/// Name of the case, text of [`GOOD`], what stands there instead.
const BAD: &[(&str, &str, &str)] = &[
    ("no register", "sunspec: 1, at: 2,", "sunspec: 1,"),
    ("register of the header", "sunspec: 1, at: 2,", "sunspec: 1, at: 1,"),
    ("no model", "sunspec: 1, at: 2,", "at: 2,"),
    ("model and table", "sunspec: 1, at: 2,", "sunspec: 1, holding: 3, at: 2,"),
    ("the end as a model", "sunspec: 1,", "sunspec: 0xFFFF,"),
    ("no models", "sunspec: 113", "sunspec: []"),
    ("register of the model of a table", "sunspec: 1, at: 2,", "holding: 1, at: 2,"),
    ("places of two representations", "type: f32, decimals: 1", "type: f32"),
    ("a table among places", "{ sunspec: 113, at: 22,", "{ holding: 22,"),
    ("no places", "{ sunspec: 1, at: 2, type: text, registers: 4 }", "[]"),
    ("row that begins behind the value", "rows: [10, 20]", "rows: [21, 20]"),
    ("row too short for the value", "rows: [10, 20]", "rows: [10, 10]"),
    ("row without a length", "rows: [10, 20]", "rows: [10]"),
    ("scale in the header", "scale_at: 15", "scale_at: 1"),
    ("scale that is the value", "scale_at: 15", "scale_at: 14"),
    ("registers that overlap", "at: 38, type: u16", "at: 13, type: u32"),
    ("two protocols", "{ sunspec: 1, at: 2, type: text, registers: 4 }", "{ holding: 2, type: u16 }"),
    ("text wider than a request", "registers: 4", "registers: 31"),
];

#[test]
fn each_bad_profile_gets_its_own_message() {
    let mut report = String::new();
    for (title, from, to) in BAD {
        assert!(GOOD.contains(from), "{title}: the good profile has no {from}");
        let problems = read(&GOOD.replacen(from, to, 1)).expect_err(title);
        writeln!(report, "## {title}: {to:?}\n{problems}").unwrap();
    }
    insta::assert_snapshot!(report);
}

/// Plain points as `name @ address`, with the scale register behind.
fn shown(layout: &Layout) -> Vec<String> {
    let points = layout.plain.points.iter().map(|point| {
        let Read::Modbus(read) = &point.read else { panic!("{point:?}") };
        let scale = read.scale_at.map(|at| format!(" *{at}")).unwrap_or_default();
        format!("{} @{}{scale}", point.name, read.address)
    });
    points.collect()
}

#[test]
fn points_are_where_the_chain_says() {
    let profile = read(GOOD).unwrap();
    let cases: &[(&str, Chain, &[&str])] = &[
        (
            "an inverter with integers, behind a model that nobody knows",
            Chain::of(40_000, &[(1, 66), (64_000, 10), (103, 50)]),
            &["header_0 @40002", "maker @40004", "header_2 @40082", "power @40096 *40097", "status @40120"],
        ),
        (
            "another base, a shorter common model, floats",
            Chain::of(0, &[(1, 65), (113, 60)]),
            &["header_0 @2", "maker @4", "header_1 @69", "power @91"],
        ),
        (
            "of integers and floats the first, whatever comes first in the chain",
            Chain::of(0, &[(113, 60), (101, 50)]),
            &["header_1 @64", "power @78 *79", "status @102"],
        ),
        ("none of its models", Chain::of(0, &[(64_000, 5)]), &[]),
        ("a model that is too short for some points", Chain::of(0, &[(103, 14)]), &["header_0 @2", "power @16 *17"]),
        ("one that is too short for a scale", Chain::of(0, &[(103, 13)]), &[]),
        (
            "the second model of its kind is a row",
            Chain::of(0, &[(101, 14), (103, 14)]),
            &["header_0 @2", "power @16 *17", "header_1 @18", "power[2] @32 *33"],
        ),
        (
            "rows, a part of a row, and a scale that is too far from its value",
            Chain::of(0, &[(160, 8 + 20 + 20 + 19), (160, 28)]),
            &[
                "header_0 @2",
                "string_voltage[1] @22 *5",
                "factor_5 @5",
                "string_voltage[2] @42",
                "header_1 @71",
                "string_voltage[2.1] @91 *74",
            ],
        ),
    ];
    for (title, chain, expected) in cases {
        let layout = profile.laid_out(chain);
        assert_eq!(shown(&layout), *expected, "{title}");
        // Whoever asks for all points asks for all plain ones, headers included.
        let all: Vec<_> = (0..profile.points.len()).map(PointIndex).collect();
        assert_eq!(layout.asked(&all).len(), layout.plain.points.len(), "{title}");
        let edges: Vec<_> = layout.headers.keys().map(|at| (chain.models[*at].start, chain.models[*at].last())).collect();
        assert_eq!(layout.plain.modbus.blocks, edges, "{title}");
    }
}

#[test]
fn the_headers_of_other_models_are_not_asked_for() {
    let profile = read(GOOD).unwrap();
    let layout = profile.laid_out(&Chain::of(0, &[(1, 66), (103, 50)]));
    let names: Vec<_> = layout.asked(&[PointIndex(1)]).iter().map(|index| layout.plain.points[index.0].name.clone()).collect();
    assert_eq!(names, ["header_1", "power"]);
    assert_eq!((layout.readings(&[PointIndex(1)]), layout.asked(&[PointIndex(3)]).len()), (1, 0));
}

#[test]
fn value_and_scale_that_were_read_apart_mean_what_they_mean_together() {
    let read = ModbusRead {
        scale_at: Some(90),
        decimals: Some(1),
        invalid: vec![vec![0x8000]],
        ..ModbusRead::new(Table::Holding, 100, Encoding::I16)
    };
    for (raw, factor) in [(1234u16, -1i16), (65_535, 2), (0x8000, 0), (5, i16::MIN), (5, 11), (7, -10)] {
        let mut words = vec![0; 11];
        (words[0], words[10]) = (factor.cast_unsigned(), raw);
        let plain = |number: i16| Sample::Good(Value::Decimal(pattoo_wire::Decimal { mantissa: number.into(), exponent: 0 }));
        let apart = read.decode_apart(&plain(raw.cast_signed()), &plain(factor), Some((-100.0, 100_000.0)));
        assert_eq!(apart, read.decode(&words, Some((-100.0, 100_000.0))), "{raw} {factor}");
    }
    let lost = Sample::Bad(pattoo_wire::Reason::Timeout);
    assert_eq!(read.decode_apart(&Sample::Good(Value::Bool(true)), &lost, None), Sample::Bad(pattoo_wire::Reason::Malformed));
}

#[test]
fn a_chain_ends_with_the_registers_that_there_are() {
    let chain = Chain::of(65_000, &[(1, 66), (103, 463), (1, 0)]);
    assert_eq!((chain.models.len(), chain.end()), (2, Some(65_535)));
    assert_eq!(Chain::of(65_000, &[(1, 532)]).end(), None);
}
