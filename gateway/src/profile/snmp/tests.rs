use std::fmt::Write as _;
use std::path::Path;

use pattoo_wire::{Kind, Repr};

use super::*;
use crate::profile::{Profile, Read};

const GOOD: &str = "\
schema: 1
id: agent
manufacturer: Someone
model: A1
snmp:
  max_repetitions: 10
  tables:
    ports:
      index: [if_index, { name: peer, type: ip }]
      identity: [1.3.6.1.2.1.31.1.1.1.1, .1.3.6.1.2.1.2.2.1.2]
      labels: { alias: 1.3.6.1.2.1.31.1.1.1.18, mac: { column: 1.3.6.1.2.1.2.2.1.6, as: mac } }
      only: { column: 1.3.6.1.2.1.2.2.1.8, equals: [1, 2] }
      discontinuity: 1.3.6.1.2.1.31.1.1.1.19
points:
  - { name: up, unit: s, read: { oid: 1.3.6.1.2.1.1.3.0, type: timeticks } }
  - { name: octets, unit: By, kind: counter, read: { table: ports, column: 1.3.6.1.2.1.31.1.1.1.6, type: counter64, or: { column: 1.3.6.1.2.1.2.2.1.10, type: counter32 } } }
  - { name: rate, unit: By/s, read: { table: ports, column: 1.3.6.1.2.1.31.1.1.1.6, type: counter64, rate: true, scale: 8 } }
  - { name: state, states: { 1: up, 2: down }, read: { table: ports, column: 1.3.6.1.2.1.2.2.1.8, type: integer } }
  - { name: level, read: { table: ports, column: 1.3.9.1, type: integer, invalid: [-1, -2], scale: 0.1, only: { index: peer, equals: 10.0.0.1 } } }
  - { name: sensor, read: { table: ports, column: 1.3.9.4, type: integer, decimals: 2, digits_column: 1.3.9.3, scale_column: { column: 1.3.9.2, powers: { 8: -3, 9: 0 } }, unit_column: { column: 1.3.9.1, units: { 8: Cel, 9: '%' } } } }
  - { name: bytes, unit: By, read: { table: ports, column: 1.3.9.5, type: unsigned, times_column: 1.3.9.6 } }
  - { name: jam, read: { oid: 1.3.9.7.0, type: bits, bit: 5 } }
";

fn profile(text: &str) -> Result<Profile, String> {
    Profile::read(Path::new("agent.yaml"), text.as_bytes()).map_err(|problems| {
        let mut text = String::new();
        problems.iter().for_each(|problem| writeln!(text, "{problem}").unwrap());
        text
    })
}

#[test]
fn a_profile_gives_objects_and_columns() {
    let profile = profile(GOOD).unwrap();
    assert!(profile.is_snmp());
    let read = |index: usize| match &profile.points[index].read {
        Read::Snmp(read) => (**read).clone(),
        other => panic!("{other:?}"),
    };
    let reprs: Vec<_> = profile.points.iter().map(|point| (point.kind, point.repr, point.read.has_rows())).collect();
    let decimal = |exponent| Repr::Decimal { exponent };
    let expected = [
        (Kind::Gauge, decimal(-2), false),
        (Kind::Counter, Repr::Unsigned, true),
        (Kind::Gauge, Repr::F64, true),
        (Kind::State, decimal(0), true),
        (Kind::Gauge, decimal(-1), true),
        (Kind::Gauge, decimal(-2), true),
        (Kind::Gauge, decimal(0), true),
        (Kind::State, Repr::Bool, false),
    ];
    assert_eq!(reprs, expected);
    let octets = read(1);
    let table = octets.table.clone().unwrap();
    assert_eq!(
        (table.max_repetitions, table.index[1].kind, table.identity[1].to_string().as_str()),
        (10, PartKind::Ip, "1.3.6.1.2.1.2.2.1.2")
    );
    assert_eq!(octets.sources.iter().map(|source| source.how.syntax).collect::<Vec<_>>(), [Syntax::Counter64, Syntax::Counter32]);
    let beside = |index: usize| read(index).beside().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(beside(1), ["1.3.6.1.2.1.2.2.1.8"]);
    assert_eq!(beside(2), ["1.3.6.1.2.1.31.1.1.1.19", "1.3.6.1.2.1.2.2.1.8"]);
    assert_eq!(beside(5), ["1.3.9.2", "1.3.9.3", "1.3.9.1", "1.3.6.1.2.1.2.2.1.8"]);
    assert_eq!(read(4).only, [Only { cell: Cell::Index(1), equals: vec!["10.0.0.1".to_owned()] }]);
}

/// Name of the case, text of [`GOOD`], what stands there instead.
const BAD: &[(&str, &str, &str)] = &[
    ("OID with a name", "oid: 1.3.6.1.2.1.1.3.0", "oid: sysUpTime.0"),
    ("OID that BER cannot write", "oid: 1.3.6.1.2.1.1.3.0", "oid: 1.40.6"),
    ("no type", "oid: 1.3.6.1.2.1.1.3.0, type: timeticks", "oid: 1.3.6.1.2.1.1.3.0"),
    ("unknown type", "type: timeticks", "type: ticks"),
    ("unknown table", "table: ports, column: 1.3.9.5", "table: port, column: 1.3.9.5"),
    ("column without table", "table: ports, column: 1.3.9.5", "column: 1.3.9.5"),
    ("OID of a table", "table: ports, column: 1.3.9.5", "table: ports, oid: 1.3.9.5"),
    ("table without column", "table: ports, column: 1.3.9.5,", "table: ports,"),
    (
        "unit of a scalar",
        "oid: 1.3.6.1.2.1.1.3.0, type: timeticks",
        "oid: 1.3.6.1.2.1.1.3.0, type: timeticks, unit_column: { column: 1.3.9.1, units: {} }",
    ),
    ("rate of a gauge", "type: counter64, rate: true", "type: unsigned, rate: true"),
    ("offset of a rate", "rate: true, scale: 8", "rate: true, offset: 8"),
    ("scale of nothing", "scale: 0.1", "scale: 0"),
    ("scale of a text", "type: timeticks", "type: text, scale: 0.1"),
    ("decimals of an integer", "scale: 0.1", "decimals: 1"),
    ("bit of a counter", "type: bits, bit: 5", "type: counter32, bit: 5"),
    ("bit too high", "bit: 5", "bit: 64"),
    ("or of another representation", "type: counter32 }", "type: counter32, scale: 0.1 }"),
    ("part of the index that is not there", "index: peer", "index: pear"),
    ("column and index", "only: { index: peer,", "only: { index: peer, column: 1.3.9.9,"),
    ("power out of range", "8: -3", "8: -30"),
    ("power of a text", "8: -3", "milli: -3"),
    ("unit too long", "8: Cel", "8: degrees of Celsius"),
    ("no index", "index: [if_index, { name: peer, type: ip }]", "index: []"),
    ("unknown part", "type: ip", "type: ipv4"),
    ("repetitions", "max_repetitions: 10", "max_repetitions: 1000"),
    ("unknown key of a table", "discontinuity:", "discontinued:"),
    ("a section of another protocol", "snmp:\n", "modbus: { max_gap: 1 }\nsnmp:\n"),
    ("two protocols", "{ oid: 1.3.9.7.0, type: bits, bit: 5 }", "{ coil: 7 }"),
    ("writable", "{ name: jam,", "{ name: jam, writable: true,"),
];

#[test]
fn each_bad_profile_gets_its_own_message() {
    let mut report = String::new();
    for (title, from, to) in BAD {
        assert!(GOOD.contains(from), "{title}: the good profile has no {from}");
        let problems = profile(&GOOD.replacen(from, to, 1)).expect_err(title);
        writeln!(report, "## {title}: {to:?}\n{problems}").unwrap();
    }
    insta::assert_snapshot!(report);
}
