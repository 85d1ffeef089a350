//! The `snmp:` section of a profile, and the `read:` of a point in an SNMP agent. Opens no file.
//!
//! | key of `snmp:` | meaning |
//! |---|---|
//! | `max_repetitions` | rows that one answer of a walk brings at first; it adapts |
//! | `tables.<name>.index` | parts of the index in their order: a name, or `{ name, type }` where it is no number |
//! | `tables.<name>.identity` | columns whose text makes a row this row, tried in turn; the index where none has one |
//! | `tables.<name>.labels` | a column by the name of its label, or `{ column, as }` |
//! | `tables.<name>.only` | `{ column, equals }` or `{ index, equals }`, or a list of those: the rows that count |
//! | `tables.<name>.discontinuity` | a column that changes when the counters of a row begin anew |
//!
//! | key of `read:` | meaning |
//! |---|---|
//! | `oid` | an object with its instance: scalars end in `.0` |
//! | `table`, `column` | a column of a table of the section |
//! | `type` | what its values mean, see [`Syntax`] |
//! | `or` | the same of another object or column, or a list of them, where the first one is not there |
//! | `rate` | `true`: the rate per second of a counter |
//! | `scale`, `offset`, `decimals`, `invalid`, `bit` | as for registers |
//! | `scale_column` | a column with a power of ten, or `{ column, powers }` with the power of each of its numbers |
//! | `digits_column` | a column with the number of decimals |
//! | `times_column` | a column that the value is multiplied with |
//! | `unit_column` | `{ column, units }`: the unit of each of its numbers; other rows are not read |
//! | `only` | as in the section, for this point alone |

use std::collections::BTreeMap;
use std::sync::Arc;

use super::value::{How, Syntax};
use super::{Cell, Label, Oid, Only, Part, PartKind, REPETITIONS, ScaleBy, SnmpRead, SnmpTable, Source, UnitBy};
use crate::profile::Read;
use crate::profile::read::{MAX_ITEMS, MAX_NAME_BYTES, MAX_TEXT_CHARS, MAX_UNIT_CHARS};
use crate::yaml::{Field, Fields, Node, Problems, Tree, did_you_mean, quoted};

/// Name of the section.
pub(in crate::profile) const KEY: &str = "snmp";
/// Most rows that one answer of a walk may bring.
pub(in crate::profile) const MAX_REPETITIONS: i128 = 100;
/// Most tables of a profile, parts of an index, identity columns, labels, places of a point.
const MAX_TABLES: usize = 32;
const MAX_PARTS: usize = 8;
const MAX_IDENTITY: usize = 4;
const MAX_LABELS: usize = 16;
const MAX_SOURCES: usize = 4;

pub(in crate::profile) const SECTION_KEYS: &[&str] = &["max_repetitions", "tables"];
pub(in crate::profile) const TABLE_KEYS: &[&str] = &["index", "identity", "labels", "only", "discontinuity"];
pub(in crate::profile) const INDEX_KEYS: &[&str] = &["name", "type"];
pub(in crate::profile) const LABEL_KEYS: &[&str] = &["column", "as"];
pub(in crate::profile) const ONLY_KEYS: &[&str] = &["column", "index", "equals"];
pub(in crate::profile) const SCALE_KEYS: &[&str] = &["column", "powers"];
pub(in crate::profile) const UNIT_KEYS: &[&str] = &["column", "units"];
pub(in crate::profile) const READ_KEYS: &[&str] = &[
    "oid",
    "table",
    "column",
    "type",
    "or",
    "rate",
    "scale",
    "offset",
    "decimals",
    "invalid",
    "bit",
    "scale_column",
    "digits_column",
    "times_column",
    "unit_column",
    "only",
];
pub(in crate::profile) const OR_KEYS: &[&str] = &["oid", "column", "type", "scale", "offset", "invalid", "bit"];
/// Keys that only a column has.
const COLUMN_KEYS: &[&str] = &["column", "scale_column", "digits_column", "times_column", "unit_column", "only"];

const OID: &str = "an OID in numbers, such as 1.3.6.1.2.1.1.3.0";

/// The tables of a profile by name.
#[derive(Debug, Default)]
pub(in crate::profile) struct Tables(BTreeMap<String, Arc<SnmpTable>>);

/// Reads the section.
pub(in crate::profile) fn tables(field: &Field<'_>, problems: &mut Problems<'_>) -> Option<Tables> {
    let fields = Fields::read(field.node, KEY, SECTION_KEYS, problems)?;
    let repetitions = match fields.optional("max_repetitions") {
        Some(field) => u16::try_from(field.integer(1, MAX_REPETITIONS, "a number of rows", problems)?).ok()?,
        None => REPETITIONS,
    };
    let mut tables = BTreeMap::new();
    let Some(field) = fields.optional("tables") else { return Some(Tables(tables)) };
    let entries = field.entries("a mapping of names to tables, such as interfaces: { index: [if_index] }", problems)?;
    if entries.len() > MAX_TABLES {
        field.problem(&format!("found {} tables, expected at most {MAX_TABLES}", entries.len()), problems);
        return None;
    }
    for (name, _, node) in entries {
        let what = format!("snmp, table {}", quoted(name));
        if let Some(table) = table(name, node, &what, repetitions, problems) {
            tables.insert(name.to_owned(), Arc::new(table));
        }
    }
    Some(Tables(tables))
}

fn table(name: &str, node: &Node, what: &str, max_repetitions: u16, problems: &mut Problems<'_>) -> Option<SnmpTable> {
    let fields = Fields::read(node, what, TABLE_KEYS, problems)?;
    let field = fields.required("index", "the parts of its index, such as [if_index]", problems)?;
    let parts = items(&field, MAX_PARTS, problems)?;
    let index = parts.iter().map(|item| part(item, problems)).collect::<Option<Vec<_>>>()?;
    let identity = match fields.optional("identity") {
        Some(field) => items(&field, MAX_IDENTITY, problems)?.iter().map(|item| oid(item, problems)).collect::<Option<_>>()?,
        None => Vec::new(),
    };
    let mut labels = Vec::new();
    if let Some(field) = fields.optional("labels") {
        let entries = field.entries("a mapping of labels to columns", problems)?;
        if entries.len() > MAX_LABELS {
            field.problem(&format!("found {} labels, expected at most {MAX_LABELS}", entries.len()), problems);
            return None;
        }
        for (name, _, node) in entries {
            labels.push(label(name, &field.entry(name, node), problems)?);
        }
    }
    let only = match fields.optional("only") {
        Some(field) => only(&field, &index, problems)?,
        None => Vec::new(),
    };
    let discontinuity = match fields.optional("discontinuity") {
        Some(field) => Some(oid(&field, problems)?),
        None => None,
    };
    Some(SnmpTable { name: name.to_owned(), max_repetitions, index, identity, labels, only, discontinuity })
}

/// The items of a list, or the one that stands for a list of one.
pub(in crate::profile) fn items<'t>(field: &Field<'t>, most: usize, problems: &mut Problems<'_>) -> Option<Vec<Field<'t>>> {
    let Tree::List(list) = &field.node.tree else { return Some(vec![field.clone()]) };
    if list.is_empty() || list.len() > most {
        field.problem(&format!("found {} items, expected 1 to {most}", list.len()), problems);
        return None;
    }
    Some(list.iter().map(|node| field.item(node)).collect())
}

fn part(field: &Field<'_>, problems: &mut Problems<'_>) -> Option<Part> {
    let expected = format!("a name of at most {MAX_NAME_BYTES} lower-case letters, digits and '_', or {{ name, type }}");
    let (name, kind) = match &field.node.tree {
        Tree::Map(_) => {
            let fields = Fields::read(field.node, field.what.trim_end_matches(": "), INDEX_KEYS, problems)?;
            let kind = match fields.optional("type") {
                Some(field) => field.choice(PartKind::NAMES, problems)?,
                None => PartKind::Integer,
            };
            (fields.required("name", &expected, problems)?, kind)
        }
        _ => (field.clone(), PartKind::Integer),
    };
    let text = name.text(&expected, problems)?;
    if text.len() > MAX_NAME_BYTES || !text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_') {
        name.wrong(&expected, problems);
        return None;
    }
    Some(Part { name: text.to_owned(), kind })
}

fn label(name: &str, field: &Field<'_>, problems: &mut Problems<'_>) -> Option<Label> {
    if name.is_empty() || name.len() > MAX_NAME_BYTES {
        field.problem(&format!("found a label of another length, expected 1 to {MAX_NAME_BYTES} bytes"), problems);
        return None;
    }
    let name = name.to_owned();
    let Tree::Map(_) = &field.node.tree else { return Some(Label { name, column: oid(field, problems)?, syntax: None }) };
    let fields = Fields::read(field.node, field.what.trim_end_matches(": "), LABEL_KEYS, problems)?;
    let column = fields.required("column", OID, problems).and_then(|field| oid(&field, problems));
    let syntax = match fields.optional("as") {
        Some(field) => Some(field.choice(Syntax::NAMES, problems)?),
        None => None,
    };
    Some(Label { name, column: column?, syntax })
}

fn only(field: &Field<'_>, index: &[Part], problems: &mut Problems<'_>) -> Option<Vec<Only>> {
    let one = |field: &Field<'_>, problems: &mut Problems<'_>| {
        let fields = Fields::read(field.node, field.what.trim_end_matches(": "), ONLY_KEYS, problems)?;
        let cell = match (fields.optional("column"), fields.optional("index")) {
            (Some(column), None) => Cell::Column(oid(&column, problems)?),
            (None, Some(name)) => {
                let expected = "the name of a part of the table's index";
                let text = name.text(expected, problems)?;
                let place = index.iter().position(|part| part.name == text);
                if place.is_none() {
                    name.wrong(expected, problems);
                }
                Cell::Index(place?)
            }
            _ => {
                field.problem("expected exactly one of column, index", problems);
                return None;
            }
        };
        let equals = fields.required("equals", "what it may be, one or a list", problems)?;
        let equals = items(&equals, MAX_ITEMS, problems)?;
        let text = |item: &Field<'_>, problems: &mut Problems<'_>| item.text("a number or a text", problems).map(str::to_owned);
        Some(Only { cell, equals: equals.iter().map(|item| text(item, problems)).collect::<Option<_>>()? })
    };
    items(field, MAX_IDENTITY, problems)?.iter().map(|item| one(item, problems)).collect()
}

pub(in crate::profile) fn oid(field: &Field<'_>, problems: &mut Problems<'_>) -> Option<Oid> {
    let oid = field.text(OID, problems)?.parse().ok();
    if oid.is_none() {
        field.wrong(OID, problems);
    }
    oid
}

/// Whether a `read:` is one of an agent.
pub(in crate::profile) fn is_read(node: &Node) -> bool {
    let Tree::Map(entries) = &node.tree else { return false };
    entries.iter().any(|(key, _)| matches!(&key.tree, Tree::Scalar(key) if matches!(key.as_str(), "oid" | "table" | "column")))
}

/// Reads the `read:` of a point.
pub(in crate::profile) fn read(node: &Node, what: &str, tables: &Tables, problems: &mut Problems<'_>) -> Option<Read> {
    let what = format!("{what}, read");
    let fields = Fields::read(node, &what, READ_KEYS, problems)?;
    let table = match fields.optional("table") {
        Some(field) => Some(named(&field, tables, problems)?),
        None => None,
    };
    if table.is_none()
        && let Some(field) = COLUMN_KEYS.iter().find_map(|key| fields.optional(key))
    {
        field.problem("is for a column of a table, expected `table` beside it", problems);
        return None;
    }
    let rate = match fields.optional("rate") {
        Some(field) => field.choice(&[("true", true), ("false", false)], problems)?,
        None => false,
    };
    let scale = fields.optional("scale_column").map(|field| scale_by(&field, problems));
    let mut column = |key| fields.optional(key).map(|field| oid(&field, problems));
    let (digits, times) = (column("digits_column"), column("times_column"));
    let unit = fields.optional("unit_column").map(|field| unit_by(&field, problems));
    let only = match (fields.optional("only"), &table) {
        (Some(field), Some(table)) => only(&field, &table.index, problems)?,
        _ => Vec::new(),
    };
    let (scale, digits, times, unit) = (lift(scale)?, lift(digits)?, lift(times)?, lift(unit)?);
    let beside = Beside { floating: scale.is_some() || digits.is_some(), times: times.is_some(), rate };
    let mut sources = vec![source(&fields, table.is_some(), None, &beside, problems)?];
    let first = sources.first()?.how.clone();
    if let Some(field) = fields.optional("or") {
        for item in items(&field, MAX_SOURCES - 1, problems)? {
            let fields = Fields::read(item.node, &format!("{what}, or"), OR_KEYS, problems)?;
            let mut source = source(&fields, table.is_some(), Some(&first), &beside, problems)?;
            // Whole units beside tenths are tenths too.
            let more = source.how.exponent().saturating_sub(first.exponent());
            if let (1..=9, Ok(power)) = (more, u32::try_from(more)) {
                let (mantissa, exponent) = source.how.scale;
                source.how.scale = (mantissa.saturating_mul(10i64.pow(power)), exponent - more);
            }
            if !rate && source.how.repr() != first.repr() {
                item.problem(
                    "is represented in another way than the first place: a device may have either, expected the same decimals",
                    problems,
                );
                return None;
            }
            sources.push(source);
        }
    }
    Some(Read::Snmp(Box::new(SnmpRead { table, sources, rate, scale, digits, times, unit, only })))
}

/// An absent thing is none; one that is wrong ends it.
#[expect(clippy::option_option, reason = "absent, wrong and there")]
fn lift<T>(thing: Option<Option<T>>) -> Option<Option<T>> {
    thing.map_or(Some(None), |thing| thing.map(Some))
}

fn named(field: &Field<'_>, tables: &Tables, problems: &mut Problems<'_>) -> Option<Arc<SnmpTable>> {
    let name = field.text("the name of a table", problems)?;
    let found = tables.0.get(name).map(Arc::clone);
    if found.is_none() {
        let all: Vec<_> = tables.0.keys().map(String::as_str).collect();
        let expected = if all.is_empty() { "one under `snmp, tables`, where there is none".to_owned() } else { all.join(", ") };
        field.problem(&format!("there is no table {}, expected {expected}{}", quoted(name), did_you_mean(name, all.into_iter())), problems);
    }
    found
}

fn scale_by(field: &Field<'_>, problems: &mut Problems<'_>) -> Option<ScaleBy> {
    let Tree::Map(_) = &field.node.tree else { return Some(ScaleBy { column: oid(field, problems)?, powers: BTreeMap::new() }) };
    let fields = Fields::read(field.node, field.what.trim_end_matches(": "), SCALE_KEYS, problems)?;
    let column = oid(&fields.required("column", OID, problems)?, problems)?;
    let powers = fields.required("powers", "powers of ten such as { 8: -3, 9: 0 }", problems)?;
    let power = |field: &Field<'_>, problems: &mut Problems<'_>| {
        field.integer(-18, 18, "a power of ten", problems).and_then(|power| i8::try_from(power).ok())
    };
    Some(ScaleBy { column, powers: numbers(&powers, power, problems)? })
}

fn unit_by(field: &Field<'_>, problems: &mut Problems<'_>) -> Option<UnitBy> {
    let fields = Fields::read(field.node, field.what.trim_end_matches(": "), UNIT_KEYS, problems)?;
    let column = oid(&fields.required("column", OID, problems)?, problems)?;
    let units = fields.required("units", "units such as { 8: Cel, 9: \"%\" }", problems)?;
    let unit = |field: &Field<'_>, problems: &mut Problems<'_>| {
        // A unit of nothing is one too: a number of things.
        let text = match &field.node.tree {
            Tree::Scalar(text) => text.as_str(),
            _ => field.text("a unit", problems)?,
        };
        if text.chars().count() > MAX_UNIT_CHARS.min(MAX_TEXT_CHARS) || text.chars().any(char::is_control) {
            field.wrong(&format!("a unit of at most {MAX_UNIT_CHARS} characters"), problems);
            return None;
        }
        Some(text.to_owned())
    };
    Some(UnitBy { column, units: numbers(&units, unit, problems)? })
}

/// A mapping of whole numbers.
fn numbers<T>(
    field: &Field<'_>,
    read: impl Fn(&Field<'_>, &mut Problems<'_>) -> Option<T>,
    problems: &mut Problems<'_>,
) -> Option<BTreeMap<i64, T>> {
    let expected = "a mapping of whole numbers";
    let mut numbers = BTreeMap::new();
    for (key, at, node) in field.entries(expected, problems)?.into_iter().take(MAX_ITEMS) {
        let Some(number) = crate::yaml::parse_integer(key).and_then(|number| i64::try_from(number).ok()) else {
            problems.add(at, format!("{}found {}, expected {expected}", field.what, quoted(key)));
            return None;
        };
        numbers.insert(number, read(&field.entry(key, node), problems)?);
    }
    Some(numbers)
}

/// What the keys beside a place say of its values.
struct Beside {
    floating: bool,
    times: bool,
    rate: bool,
}

/// One place; what it does not say itself is that of the first one.
fn source(fields: &Fields<'_>, column: bool, first: Option<&How>, beside: &Beside, problems: &mut Problems<'_>) -> Option<Source> {
    let (key, other) = if column { ("column", "oid") } else { ("oid", "column") };
    if let Some(field) = fields.optional(other) {
        field.problem(if column { "is there beside `table`, expected `column`" } else { "expected `oid`: this is no column" }, problems);
        return None;
    }
    let at = oid(&fields.required(key, OID, problems)?, problems)?;
    let names: Vec<_> = Syntax::NAMES.iter().map(|(name, _)| *name).collect();
    let syntax = match (fields.optional("type"), first) {
        (None, Some(first)) => first.syntax,
        _ => fields.required("type", &format!("one of {}", names.join(", ")), problems)?.choice(Syntax::NAMES, problems)?,
    };
    let mut how = How { floating: beside.floating, times: beside.times, ..How::new(syntax) };
    how.decimals = first.and_then(|first| first.decimals);
    numbers_of(&mut how, fields, beside, problems)?;
    Some(Source { oid: at, how })
}

fn numbers_of(how: &mut How, fields: &Fields<'_>, beside: &Beside, problems: &mut Problems<'_>) -> Option<()> {
    let text = how.syntax.is_text();
    let unfit = |key: &str| match key {
        "rate" => (how.syntax.counter_bits().is_none()).then_some("only a counter has a rate"),
        "offset" if beside.rate => Some("a rate has no offset"),
        "times_column" | "scale_column" | "digits_column" if text || how.syntax == Syntax::Float => Some("is only for whole numbers"),
        "offset" if beside.times => Some("there is no offset beside times_column"),
        "scale" | "offset" | "decimals" | "invalid" | "bit" if text => Some("is for numbers, this is a text"),
        "invalid" if how.syntax == Syntax::Float => Some("is for whole numbers, this is a real one"),
        "bit" if !matches!(how.syntax, Syntax::Bits | Syntax::Integer | Syntax::Unsigned) => {
            Some("only integer, unsigned and bits have bits")
        }
        "decimals" if !(beside.floating || beside.rate || how.syntax == Syntax::Float) => {
            Some("is for a rate, a float, or a value whose scale a column gives; another number has a scale")
        }
        _ => None,
    };
    for (key, field) in READ_KEYS.iter().filter_map(|key| Some((*key, fields.optional(key)?))) {
        if let Some(why) = unfit(key).filter(|_| key != "rate" || beside.rate) {
            field.problem(why, problems);
            return None;
        }
    }
    if let Some(field) = fields.optional("scale") {
        let expected = "a decimal number such as 0.1, not 0 and with at most 18 decimals";
        how.scale = field.decimal(expected, problems)?;
        if how.scale.0 == 0 || how.exponent() < -18 {
            field.wrong(expected, problems);
            return None;
        }
    }
    if let Some(field) = fields.optional("offset") {
        how.offset = field.decimal("a decimal number such as -40 or 0.5, with at most 18 decimals", problems)?;
    }
    if let Some(field) = fields.optional("decimals") {
        how.decimals = Some(u8::try_from(field.integer(0, 12, "a number of decimals", problems)?).ok()?);
    }
    if let Some(field) = fields.optional("bit") {
        how.bit = Some(u8::try_from(field.integer(0, 63, "a bit, 0 for the lowest,", problems)?).ok()?);
    }
    if let Some(field) = fields.optional("invalid") {
        let (low, high) = (i128::from(i64::MIN), i128::from(i64::MAX));
        let marks = items(&field, MAX_ITEMS, problems)?;
        let mark = |item: &Field<'_>, problems: &mut Problems<'_>| item.integer(low, high, "a number that says \"no value\"", problems);
        how.invalid = marks.iter().map(|item| mark(item, problems).and_then(|n| i64::try_from(n).ok())).collect::<Option<_>>()?;
    }
    Some(())
}
