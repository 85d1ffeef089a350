use proptest::prelude::*;

use super::super::walk::{Cell, Walk};
use super::*;
use crate::profile::snmp::{Part, PartKind, Syntax};

fn table(kinds: &[PartKind]) -> SnmpTable {
    let oid = |text: &str| text.parse::<Oid>().unwrap();
    SnmpTable {
        name: "t".into(),
        max_repetitions: 20,
        index: kinds.iter().enumerate().map(|(i, kind)| Part { name: format!("part_{i}"), kind: *kind }).collect(),
        identity: vec![oid("1.3.1"), oid("1.3.2")],
        labels: vec![
            Label { name: "alias".into(), column: oid("1.3.3"), syntax: None },
            Label { name: "mac".into(), column: oid("1.3.4"), syntax: Some(Syntax::Mac) },
        ],
        only: Vec::new(),
        discontinuity: None,
    }
}

/// Columns with these cells: column, index, text.
fn columns(cells: &[(u32, &[u32], &str)]) -> Columns {
    let walk = Walk::new((1..=4).map(|n| Oid::new(&[1, 3, n]).unwrap()), None, 1, true);
    let mut columns: Columns = walk.columns.into_iter().map(|column| (column.root.clone(), column)).collect();
    for (column, index, text) in cells {
        let cell = Cell { value: Value::Octets(text.as_bytes().to_vec()), at_ms: 0 };
        columns.get_mut(&Oid::new(&[1, 3, *column]).unwrap()).unwrap().cells.insert((*index).into(), cell);
    }
    columns
}

fn shown(kinds: &[PartKind], indexes: &[&[u32]], cells: &[(u32, &[u32], &str)]) -> Vec<String> {
    let indexes = indexes.iter().map(|index| Index::from(*index)).collect();
    let rows = rows(&table(kinds), &indexes, &columns(cells));
    rows.values().map(|row| format!("{} {:?}", row.identity, row.labels)).collect()
}

#[test]
fn a_row_is_what_its_first_name_says() {
    let rows = shown(
        &[PartKind::Integer],
        &[&[1], &[2], &[3]],
        &[
            (1, &[1], "eth0"),
            (2, &[1], "Ethernet 0"),
            (1, &[2], ""),
            (2, &[2], "Ethernet 1 "),
            (3, &[1], "uplink"),
            (4, &[1], "\0\x01\x02\x03\x04\x05"),
        ],
    );
    let labels = [r#"{"alias": "uplink", "mac": "00:01:02:03:04:05", "part_0": "1"}"#, r#"{"part_0": "2"}"#, r#"{"part_0": "3"}"#];
    assert_eq!(rows, [format!("eth0 {}", labels[0]), format!("Ethernet 1 {}", labels[1]), format!("3 {}", labels[2])]);
}

#[test]
fn rows_of_one_name_stay_two() {
    let rows = shown(&[PartKind::Integer], &[&[1], &[2], &[3]], &[(1, &[1], "eth"), (1, &[2], "eth"), (1, &[3], "lo")]);
    assert_eq!(rows, [r#"eth (1) {"part_0": "1"}"#, r#"eth (2) {"part_0": "2"}"#, r#"lo {"part_0": "3"}"#]);
    // A name that looks like the way out of a clash.
    let rows = shown(&[PartKind::Integer], &[&[1], &[2], &[3]], &[(1, &[1], "eth"), (1, &[2], "eth"), (1, &[3], "eth (2)")]);
    assert_eq!(rows, [r#"1 {"part_0": "1"}"#, r#"2 {"part_0": "2"}"#, r#"3 {"part_0": "3"}"#]);
}

#[test]
fn an_index_that_is_not_as_the_table_says_is_told_in_numbers() {
    assert_eq!(shown(&[PartKind::Ip], &[&[10, 0, 0, 9], &[10, 0]], &[]), ["10.0 {}", r#"10.0.0.9 {"part_0": "10.0.0.9"}"#]);
}

#[test]
fn long_names_are_short_and_stay_two() {
    let (a, b) = ("x".repeat(400) + "a", "x".repeat(400) + "b");
    let rows = shown(&[PartKind::Integer], &[&[1], &[2]], &[(1, &[1], a.as_str()), (1, &[2], b.as_str())]);
    assert!(rows[0] != rows[1] && rows.iter().all(|row| row.len() < 200), "{rows:?}");
}

proptest! {
    #[test]
    fn no_two_rows_are_one(names in prop::collection::vec("[ab]{0,2}( \\([12]\\))?|[0-3]", 0..12)) {
        let cells: Vec<([u32; 1], String)> = names.into_iter().enumerate().map(|(i, name)| ([u32::try_from(i).unwrap()], name)).collect();
        let borrowed: Vec<(u32, &[u32], &str)> = cells.iter().map(|(index, name)| (1, &index[..], name.as_str())).collect();
        let indexes = cells.iter().map(|(index, _)| Index::from(&index[..])).collect();
        let rows = rows(&table(&[PartKind::Integer]), &indexes, &columns(&borrowed));
        let identities: BTreeSet<_> = rows.values().map(|row| row.identity.clone()).collect();
        prop_assert_eq!(identities.len(), cells.len());
    }
}
