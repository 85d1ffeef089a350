//! Cells of a table -> its rows, no two of which are one. Pure.
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use pattoo_wire::{Labels, Sample, Value as Meant};

use super::walk::{Column, Index};
use crate::profile::snmp::{Factor, How, Label, Oid, SnmpTable, Value, dotted, index_parts};
use crate::reading::Row;

/// Longest identity or label of a row, in bytes: with the name of its point it has to fit the 255 of the schema.
const MAX_TEXT_BYTES: usize = 150;

/// Columns of a walk by their OID.
pub(super) type Columns = BTreeMap<Oid, Column>;

/// The rows with these indexes; `columns` are those of identity and labels.
pub(super) fn rows(table: &SnmpTable, indexes: &BTreeSet<Index>, columns: &Columns) -> BTreeMap<Index, Arc<Row>> {
    let names: Vec<_> = indexes.iter().map(|index| (index, name(table, index, columns))).collect();
    let identities = told_apart(&names);
    let row = |(index, identity): (&Index, String)| (index.clone(), Arc::new(Row::new(identity, labels(table, index, columns))));
    indexes.iter().zip(identities).map(row).collect()
}

fn cell<'c>(columns: &'c Columns, column: &Oid, index: &Index) -> Option<&'c Value> {
    columns.get(column)?.cells.get(index).map(|cell| &cell.value)
}

/// The first of its texts that there is; none where only the index is left.
fn name(table: &SnmpTable, index: &Index, columns: &Columns) -> Option<String> {
    let texts = table.identity.iter().filter_map(|column| cell(columns, column, index)?.plain());
    texts.map(|text| short(text.trim())).find(|text| !text.is_empty())
}

/// The identity of each row. Rows of one name are told apart by their index; where a name of another row looks like that, all are what their
/// index is.
fn told_apart(names: &[(&Index, Option<String>)]) -> Vec<String> {
    let mut count: BTreeMap<&str, usize> = BTreeMap::new();
    names.iter().filter_map(|(_, name)| name.as_deref()).for_each(|name| *count.entry(name).or_default() += 1);
    let identity = |(index, name): &(&Index, Option<String>)| match name.as_deref() {
        Some(name) if count.get(name) == Some(&1) => name.to_owned(),
        Some(name) => short(&format!("{name} ({})", dotted(index))),
        None => short(&dotted(index)),
    };
    let identities: Vec<String> = names.iter().map(identity).collect();
    let distinct: BTreeSet<&String> = identities.iter().collect();
    if distinct.len() == identities.len() { identities } else { names.iter().map(|(index, _)| short(&dotted(index))).collect() }
}

fn labels(table: &SnmpTable, index: &Index, columns: &Columns) -> Labels {
    let mut labels = Labels::new();
    if let Some(parts) = index_parts(&table.index, index) {
        labels.extend(table.index.iter().map(|part| part.name.clone()).zip(parts.iter().map(|text| short(text))));
    }
    for Label { name, column, syntax } in &table.labels {
        let Some(value) = cell(columns, column, index) else { continue };
        let text = match syntax.map(|syntax| How::new(syntax).decode(value, Factor::default(), None)) {
            None => value.plain(),
            Some(Sample::Good(Meant::Text(text))) => Some(text),
            Some(Sample::Good(other)) => Some(other.to_string()),
            Some(_) => None,
        };
        let text = text.map(|text| short(text.trim())).filter(|text| !text.is_empty());
        labels.extend(text.map(|text| (name.clone(), text)));
    }
    labels
}

/// A text that is too long ends in `~` and its checksum, so that two of them stay two.
fn short(text: &str) -> String {
    if text.len() <= MAX_TEXT_BYTES {
        return text.to_owned();
    }
    let suffix = format!("~{:08x}", crc32fast::hash(text.as_bytes()));
    let end = (0..=MAX_TEXT_BYTES - suffix.len()).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text.get(..end).unwrap_or_default().to_owned() + &suffix
}

#[cfg(test)]
mod tests;
