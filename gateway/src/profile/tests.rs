use std::fmt::Write as _;
use std::path::Path;

use super::*;

const GOOD: &str = "\
schema: 1
id: meter
manufacturer: Someone
model: M1
modbus: { max_registers: 10, max_gap: 4, min_gap: 50ms, invalid: { i8_low: 0x80, i16: [0x8000, 0x7FFF] }, blocks: [[0, 0x63], [200, 299]], serial: { baud: 19200, parity: even } }
points:
  - { name: voltage, unit: V, read: { input: 0, type: u16, scale: 0.10, invalid: 0xFFFF }, range: [0, 500.5] }
  - { name: power, unit: W, read: { input: 2, type: i32, words: low_first, invalid: [0x80000000, -1] } }
  - { name: energy, unit: kWh, kind: counter, read: { input: 4, type: u64 }, every: 60s }
  - { name: frequency, unit: Hz, read: { input: 8, type: f32, decimals: 2 } }
  - { name: mode, read: { holding: 200, type: u16 }, states: { 0: off, 1: on, 0x10: test } }
  - { name: pump, read: { coil: 7 }, states: { 0: off, 1: on } }
  - { name: door, read: { discrete: 7, type: bit } }
  - { name: label, read: { holding: 210, type: text, registers: 5, bytes: low_first } }
  - { name: alarm, class: alarm, read: { holding: 216, type: u16, bit: 3 } }
  - { name: step, read: { holding: 216, type: u16, bits: [4, 6] }, states: { 0: idle, 5: full } }
  - { name: current, unit: A, read: { holding: 220, type: i16, scale_at: 225, decimals: 2 } }
  - { name: outside, unit: °C, read: { modicon: 40231, type: i8_low, scale: 0.5, offset: -40 } }
  - { name: since, read: { input: 20, type: datetime_6 } }
";

fn read(text: &str) -> Result<Profile, String> {
    Profile::read(Path::new("meter.yaml"), text.as_bytes()).map_err(|problems| {
        let mut text = String::new();
        problems.iter().for_each(|problem| writeln!(text, "{problem}").unwrap());
        text
    })
}

#[test]
fn a_good_profile_becomes_what_it_says() {
    let profile = read(GOOD).unwrap();
    assert_eq!(
        profile.modbus,
        ModbusLimits {
            max_registers: 10,
            max_gap: 4,
            min_gap: Duration::from_millis(50),
            blocks: vec![(0, 0x63), (200, 299)],
            serial: Some(Serial { baud: 19_200, parity: Parity::Even }),
            checked: false,
        }
    );
    let expected = [
        ("voltage", "V", Kind::Gauge, Repr::Decimal { exponent: -1 }),
        ("power", "W", Kind::Gauge, Repr::Decimal { exponent: 0 }),
        ("energy", "kWh", Kind::Counter, Repr::Unsigned),
        ("frequency", "Hz", Kind::Gauge, Repr::Decimal { exponent: -2 }),
        ("mode", "", Kind::State, Repr::Decimal { exponent: 0 }),
        ("pump", "", Kind::State, Repr::Bool),
        ("door", "", Kind::State, Repr::Bool),
        ("label", "", Kind::Text, Repr::Text),
        ("alarm", "", Kind::State, Repr::Bool),
        ("step", "", Kind::State, Repr::Decimal { exponent: 0 }),
        ("current", "A", Kind::Gauge, Repr::Decimal { exponent: -2 }),
        ("outside", "°C", Kind::Gauge, Repr::Decimal { exponent: -1 }),
        ("since", "", Kind::Text, Repr::Text),
    ];
    let found = profile.points.iter().map(|p| (p.name.as_str(), p.unit.as_str(), p.kind, p.repr)).collect::<Vec<_>>();
    assert_eq!(found, expected);
    let modbus = |index: usize| match &profile.points[index].read {
        Read::Modbus(read) => read.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!((modbus(0).scale, modbus(0).invalid, profile.points[0].range), ((1, -1), vec![vec![0xFFFF]], Some((0.0, 500.5))));
    assert_eq!((modbus(1).words, modbus(1).invalid), (WordOrder::LowFirst, vec![vec![0, 0x8000], vec![0xFFFF, 0xFFFF]]));
    assert_eq!(profile.points[2].every, Some(Duration::from_secs(60)));
    let states = |pairs: &[(i64, &str)]| pairs.iter().map(|(n, text)| (*n, (*text).to_owned())).collect::<BTreeMap<_, _>>();
    assert_eq!(profile.points[4].states, states(&[(0, "off"), (1, "on"), (16, "test")]));
    assert_eq!((modbus(5).table, modbus(6).table, modbus(6).address), (Table::Coil, Table::Discrete, 7));
    assert_eq!((modbus(7).encoding, modbus(7).bytes), (Encoding::Text(5), ByteOrder::LowFirst));
    assert_eq!(profile.points.iter().filter(|point| point.alarm).map(|point| point.name.as_str()).collect::<Vec<_>>(), ["alarm"]);
    assert_eq!((modbus(8).bits, modbus(9).bits), (Some((3, 1)), Some((4, 3))));
    let current = modbus(10);
    assert_eq!((current.first(), current.last(), current.scale_at), (220, 225, Some(225)));
    assert_eq!(current.invalid, vec![vec![0x8000], vec![0x7FFF]], "those of its type");
    let outside = modbus(11);
    assert_eq!((outside.table, outside.address, outside.encoding), (Table::Holding, 230, Encoding::I8(Half::Low)));
    assert_eq!((outside.scale, outside.offset, outside.invalid), ((5, -1), (-40, 0), vec![vec![0x0080]]));
    assert_eq!(modbus(1).invalid.len(), 2, "its own marks");
}

/// Name of the case, text of [`GOOD`], what stands there instead.
const BAD: &[(&str, &str, &str)] = &[
    ("half-written", "range: [0, 500.5] }", "range: [0,"),
    ("schema of the future", "schema: 1", "schema: 2"),
    ("other id than the file", "id: meter", "id: metre"),
    ("id with a path", "id: meter", "id: ../meter"),
    ("no model", "model: M1\n", ""),
    ("unknown key", "manufacturer:", "manufacterer:"),
    ("max_registers of nothing", "max_registers: 10", "max_registers: 0"),
    ("max_registers past the protocol", "max_registers: 10", "max_registers: 126"),
    ("parity", "parity: even", "parity: evn"),
    ("blocks that overlap", "[200, 299]", "[0x63, 299]"),
    ("block backwards", "[200, 299]", "[299, 200]"),
    ("block of three", "[200, 299]", "[200, 299, 300]"),
    ("point in no block", "holding: 200", "holding: 300"),
    ("point over the edge of a block", "input: 8, type: f32", "input: 99, type: f32"),
    ("point wider than a request", "max_registers: 10", "max_registers: 3"),
    ("no points", "points:\n", "points: []\nother:\n"),
    ("point twice", "name: power", "name: voltage"),
    ("name of a point", "name: power", "name: 'Power W'"),
    ("no name", "name: power, ", ""),
    ("no read", "read: { coil: 7 }, ", ""),
    ("two tables", "{ coil: 7 }", "{ coil: 7, discrete: 7 }"),
    ("no table", "{ coil: 7 }", "{ type: bit }"),
    ("unknown table", "input: 8", "inputs: 8"),
    ("no type", "input: 2, type: i32, words: low_first, invalid: [0x80000000, -1]", "input: 2"),
    ("unknown type", "type: i32", "type: int32"),
    ("float from a coil", "{ discrete: 7, type: bit }", "{ discrete: 7, type: f32 }"),
    ("bit from a register", "{ holding: 200, type: u16 }", "{ holding: 200, type: bit }"),
    ("address past the last", "input: 8,", "input: 70000,"),
    ("value past the last register", "input: 8,", "input: 65535,"),
    ("address of another convention", "input: 8,", "input: 3x0009,"),
    ("registers that overlap", "input: 2, type: i32", "input: 3, type: i32"),
    ("same registers, other type", "input: 0, type: u16", "input: 8, type: u16"),
    ("word order of one register", "scale: 0.10", "words: low_first"),
    ("unknown word order", "words: low_first", "words: lowfirst"),
    ("scale of nothing", "scale: 0.10", "scale: 0.0"),
    ("scale that is text", "scale: 0.10", "scale: 1/10"),
    ("scale too fine", "scale: 0.10", "scale: 1e-19"),
    ("offset that is text", "offset: -40", "offset: 40 below"),
    ("scale of a text", "registers: 5,", "registers: 5, scale: 2,"),
    ("text without a length", "registers: 5, ", ""),
    ("length of a number", "type: i8_low", "type: i8_low, registers: 2"),
    ("text of too many registers", "registers: 5", "registers: 126"),
    ("word order of a text", "bytes: low_first", "words: low_first"),
    ("byte order of a half", "type: i8_low", "type: i8_low, bytes: low_first"),
    ("bit past the register", "bit: 3", "bit: 16"),
    ("bit of a signed number", "type: u16, bit: 3", "type: i16, bit: 3"),
    ("bits backwards", "bits: [4, 6]", "bits: [6, 4]"),
    ("all bits", "bits: [4, 6]", "bits: [0, 15]"),
    ("bit and bits", "bits: [4, 6]", "bit: 4, bits: [4, 6]"),
    ("scale register of a float", "type: i16, scale_at", "type: f16, scale_at"),
    ("scale register that is the value", "scale_at: 225", "scale_at: 220"),
    ("scale register too far away", "scale_at: 225", "scale_at: 232"),
    ("scale register and offset", "scale_at: 225", "scale_at: 225, offset: 1"),
    ("modicon of no table", "modicon: 40231", "modicon: 20231"),
    ("modicon of register 0", "modicon: 40231", "modicon: 40000"),
    ("modicon that is an address", "modicon: 40231", "modicon: 230"),
    ("modicon past the last", "modicon: 40231", "modicon: 465537"),
    ("marks of an unknown type", "i8_low: 0x80", "int8: 0x80"),
    ("marks of a text", "i8_low: 0x80", "text: 0"),
    ("mark too wide for its type", "i8_low: 0x80", "i8_low: 0x180"),
    ("marks of a text itself", "registers: 5", "registers: 5, invalid: 0"),
    ("part of a register in another value", "holding: 216, type: u16, bit: 3", "holding: 214, type: u16, bit: 3"),
    ("range of a text", "{ name: label,", "{ name: label, range: [0, 1],"),
    ("counter of texts", "{ name: label,", "{ name: label, kind: counter,"),
    ("checked by whom", "max_gap: 4,", "max_gap: 4, checked: yes,"),
    ("scale of a bit", "discrete: 7, type: bit", "discrete: 7, type: bit, scale: 2"),
    ("decimals of an integer", "scale: 0.10", "decimals: 1"),
    ("invalid mark that does not fit", "invalid: 0xFFFF", "invalid: 0x10000"),
    ("states of a float", "type: f32, decimals: 2 }", "type: f32 }, states: { 0: off }"),
    ("state that is no number", "1: on, 0x10", "one: on, 0x10"),
    ("third state of a bit", "read: { coil: 7 }, states: { 0: off, 1: on }", "read: { coil: 7 }, states: { 2: off, 1: on }"),
    ("state twice", "1: on, 0x10", "0: on, 0x10"),
    ("counter of bits", "{ name: door,", "{ name: door, kind: counter,"),
    ("state of a scaled number", "{ name: voltage,", "{ name: voltage, kind: state,"),
    ("text of registers", "{ name: voltage,", "{ name: voltage, kind: text,"),
    ("unknown kind", "kind: counter", "kind: conter"),
    ("unknown class", "class: alarm", "class: alert"),
    ("range backwards", "[0, 500.5]", "[500.5, 0]"),
    ("range of a bit", "{ name: door,", "{ name: door, range: [0, 1],"),
    ("range of infinity", "[0, 500.5]", "[0, .inf]"),
    ("interval", "every: 60s", "every: 60 sk"),
    ("two protocols", "{ discrete: 7, type: bit }", "{ host: load_1 }"),
    ("unknown metric", "{ discrete: 7, type: bit }", "{ host: cpu_usge }"),
    ("scale of a metric", "{ discrete: 7, type: bit }", "{ host: cpu_usage, scale: 2 }"),
    ("unit too long", "unit: kWh", "unit: kilowatthoursperhour"),
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

#[test]
fn one_value_may_have_two_names() {
    let text = format!("{GOOD}  - {{ name: voltage_raw, read: {{ input: 0, type: u16 }} }}\n");
    assert_eq!(read(&text).unwrap().points.len(), 14);
}

#[test]
fn overlaps_are_found_behind_a_neighbour_that_reaches_less_far() {
    let point = |name, address, encoding| format!("  - {{ name: {name}, read: {{ input: {address}, type: {encoding} }} }}\n");
    let head = "schema: 1\nid: meter\nmanufacturer: a\nmodel: b\npoints:\n";
    let text = [head, &point("a", 0, "u64"), &point("b", 1, "u16"), &point("c", 3, "u16"), &point("d", 4, "u16")].concat();
    let expected = |line, name, address| {
        format!(
            "meter.yaml:{line}:5: point `{name}`: registers {address} to {address} (u16) overlap point `a` at 0 to 3 (u64); expected registers \
             of its own, or the same address and type\n"
        )
    };
    assert_eq!(read(&text).unwrap_err(), expected(7, "b", 1) + &expected(8, "c", 3));
}

#[test]
fn a_file_with_many_problems_lists_some_and_counts_the_rest() {
    let points: String = (0..80).map(|n| format!("  - {{ name: p{n} }}\n")).collect();
    let problems = read(&format!("schema: 1\nid: meter\nmanufacturer: a\nmodel: b\npoints:\n{points}")).unwrap_err();
    assert_eq!(problems.lines().count(), 51);
    assert!(problems.ends_with("meter.yaml: 30 more problems are not listed\n"), "{problems}");
}

#[test]
fn every_profile_that_we_ship_is_good() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../hw-profiles");
    let (profiles, problems) = load_profiles(std::slice::from_ref(&folder));
    assert_eq!(problems, []);
    let files = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.extension().unwrap() == "yaml");
    assert_eq!(profiles.len(), files.count());
    for profile in profiles.values() {
        assert_eq!(profile.warnings(), Vec::<String>::new(), "{}", profile.id);
    }
}

#[test]
fn bits_and_halves_may_share_registers() {
    let head = "schema: 1\nid: meter\nmanufacturer: a\nmodel: b\npoints:\n";
    let points = "  - { name: status, read: { holding: 3, type: u16 } }
  - { name: running, read: { holding: 3, type: u16, bit: 11 } }
  - { name: high, read: { holding: 3, type: u8_high } }
  - { name: low, read: { holding: 3, type: u8_low } }
  - { name: wide, read: { holding: 4, type: u32, bit: 31 } }
  - { name: narrow, read: { holding: 4, type: u16, bit: 15 } }
";
    assert_eq!(read(&format!("{head}{points}")).unwrap().points.len(), 6);
    let clash = read(&format!("{head}{points}  - {{ name: other, read: {{ holding: 2, type: u32 }} }}\n")).unwrap_err();
    assert!(clash.contains("point `other`: registers 2 to 3 (u32) overlap point `status`"), "{clash}");
}

/// Name, points, part of the warning or nothing.
const ODD: &[(&str, &str, Option<&str>)] = &[
    ("numbers of the vendor", "holding: 40001, type: u16|holding: 40010, type: f32", Some("`modicon: 40001` is protocol address 0")),
    ("the SunSpec place", "holding: 40072, type: u16, scale_at: 40076", None),
    ("input of the vendor", "input: 30001, type: u16", Some("`modicon: 30001`")),
    ("holding registers that are there", "holding: 30001, type: u16", None),
    ("a list from 1", "input: 1, type: f32|input: 3, type: f32", Some("is this list 1-based?")),
    ("a list from 0", "input: 0, type: f32|input: 2, type: f32", None),
    ("single registers from 1", "input: 1, type: u16|input: 2, type: u16", None),
    (
        "one of many",
        "input: 0, type: f32|input: 2, type: f32|input: 4, type: f32|input: 6, type: f32|input: 9, type: f32|input: 12, type: f32|input: 14, type: \
         f32|input: 16, type: f32|input: 18, type: f32",
        Some("point `p4` begins at register 9, all other values of several registers at even ones"),
    ),
    (
        "one far from many",
        "input: 0, type: f32|input: 2, type: f32|input: 4, type: f32|input: 6, type: f32|input: 8, type: f32|input: 12, type: f32|input: 14, type: \
         f32|input: 16, type: f32|input: 101, type: f32",
        None,
    ),
];

#[test]
fn addresses_that_look_off_by_one_get_a_warning_unless_they_were_checked() {
    for (title, points, expected) in ODD {
        let points = points.split('|').enumerate().map(|(i, point)| format!("  - {{ name: p{i}, read: {{ {point} }} }}\n"));
        let points: String = points.collect();
        for (modbus, expected) in [("", *expected), ("modbus: { checked: true }\n", None)] {
            let profile = read(&format!("schema: 1\nid: meter\nmanufacturer: a\nmodel: b\n{modbus}points:\n{points}")).unwrap();
            let warnings = profile.warnings();
            assert_eq!(warnings.len(), usize::from(expected.is_some()), "{title}: {warnings:?}");
            assert!(warnings.iter().zip(expected).all(|(warning, part)| warning.contains(part)), "{title}: {warnings:?}");
        }
    }
}

#[test]
fn the_sdm630_has_all_its_points_inside_its_blocks() {
    let (profiles, _) = load_profiles(&[Path::new(env!("CARGO_MANIFEST_DIR")).join("../hw-profiles")]);
    let meter = &profiles["eastron-sdm630"];
    assert_eq!(meter.points.len(), 41);
    let mut addresses = Vec::new();
    for point in &meter.points {
        let Read::Modbus(read) = &point.read else { panic!("{point:?}") };
        assert_eq!((read.table, read.encoding, read.words), (Table::Input, Encoding::F32, WordOrder::HighFirst), "{}", point.name);
        assert_eq!(read.address % 2, 0, "{}", point.name);
        assert_eq!(point.kind == Kind::Counter, point.name.starts_with("energy_"), "{}", point.name);
        addresses.push((point.name.as_str(), read.address));
    }
    for known in [("voltage_l1", 0), ("frequency", 0x46), ("energy_import", 0x48), ("voltage_l1_l2", 0xC8), ("energy_import_l3", 0x15E)] {
        assert!(addresses.contains(&known), "{known:?}");
    }
    assert!(meter.modbus.in_one_block(0, 0x6B) && !meter.modbus.in_one_block(0x6A, 0xC8));
}
