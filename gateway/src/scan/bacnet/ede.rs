//! EDE files (Engineering Data Exchange of the BACnet Interest Group Europe, version 2): lists of objects that come with a plant, before
//! anything of it can be asked. Text -> devices. Pure.
//!
//! Tables of text with `;`, `,` or a tab between the columns, in UTF-8, UTF-16 or Latin-1; a line that begins with `#` and names the
//! columns comes before the objects. Texts of states are in a file of their own, by the number that an object refers to.

use std::collections::BTreeMap;
use std::path::Path;

use super::{Told, ToldObject};
use crate::driver::bacnet::names::{DEVICE, OBJECT_TYPES};
use crate::driver::bacnet::tags::{ANY_INSTANCE, ObjectId};
use crate::yaml::{Position, Problem, Problems, quoted};

/// Largest EDE file, in bytes.
pub(crate) const MAX_EDE_BYTES: usize = 16 << 20;
/// Most objects of one file.
const MAX_ROWS: usize = 100_000;
/// Most states of an object.
const MAX_STATES: usize = 256;
/// Longest text that is kept of a cell, in characters.
const MAX_TEXT_CHARS: usize = 255;

/// Columns by the names that files give them, in the order of the standard.
const COLUMNS: [&str; 16] = [
    "keyname",
    "device obj.-instance",
    "object-name",
    "object-type",
    "object-instance",
    "description",
    "present-value-default",
    "min-present-value",
    "max-present-value",
    "settable",
    "supports cov",
    "hi-limit",
    "low-limit",
    "state-text-reference",
    "unit-code",
    "vendor-specific-address",
];
const DEVICE_INSTANCE: usize = 1;
const OBJECT_NAME: usize = 2;
const OBJECT_TYPE: usize = 3;
const OBJECT_INSTANCE: usize = 4;
const DESCRIPTION: usize = 5;
const MIN: usize = 7;
const MAX: usize = 8;
const SETTABLE: usize = 9;
const STATE_TEXTS: usize = 13;
const UNIT: usize = 14;

/// Texts of states by their number.
pub(crate) type StateTexts = BTreeMap<u32, Vec<String>>;

/// Reads the devices of an EDE file, in the order of their instances.
///
/// # Errors
/// Everything that is wrong with it, each with its place.
pub(crate) fn read(file: &Path, content: &[u8], texts: &StateTexts) -> Result<Vec<Told>, Vec<Problem>> {
    let mut problems = Problems::of(file);
    let text = decode(content);
    let rows = rows(&text);
    let Some((columns, body)) = body(&rows) else {
        let columns = "a line that names the columns, such as #keyname;device obj.-instance;object-name;…";
        return Err(vec![Problem::whole(file, format!("found no list of objects, expected {columns}"))]);
    };
    let mut devices: BTreeMap<u32, Told> = BTreeMap::new();
    for row in body.iter().take(MAX_ROWS) {
        let Some((device, object)) = object(row, &columns, texts, &mut problems) else { continue };
        let told = devices.entry(device).or_insert_with(|| Told { instance: device, ..Told::default() });
        if object.id.kind == DEVICE {
            told.name = object.name;
        } else if told.objects.iter().any(|other| other.id == object.id) {
            problems.add(row.at(0), format!("the object {}:{} of device {device} is there twice", object.id.kind, object.id.instance));
        } else {
            told.objects.push(object);
        }
    }
    if body.len() > MAX_ROWS {
        problems.add(Position::default(), format!("found {} objects, expected at most {MAX_ROWS}", body.len()));
    }
    if problems.count() == 0 && devices.is_empty() {
        problems.add(Position::default(), "found no object in it");
    }
    if problems.count() > 0 { Err(problems.into_list()) } else { Ok(devices.into_values().collect()) }
}

/// Reads the file of state texts: a number, then its texts.
///
/// # Errors
/// Everything that is wrong with it, each with its place.
pub(crate) fn state_texts(file: &Path, content: &[u8]) -> Result<StateTexts, Vec<Problem>> {
    let (mut problems, mut texts) = (Problems::of(file), StateTexts::new());
    let text = decode(content);
    for row in rows(&text).iter().filter(|row| !row.is_comment()) {
        let Some(number) = row.text(0).parse().ok() else {
            // The name of the project and the like stand before the first of them.
            if !texts.is_empty() {
                problems.add(row.at(0), format!("found {}, expected the number of a set of state texts", quoted(row.text(0))));
            }
            continue;
        };
        let own = row.cells.iter().skip(1).take(MAX_STATES).map(|cell| cell.text.clone()).collect::<Vec<_>>();
        let last = own.iter().rposition(|text| !text.is_empty()).map_or(0, |last| last + 1);
        texts.insert(number, own.into_iter().take(last).collect());
    }
    if problems.count() > 0 { Err(problems.into_list()) } else { Ok(texts) }
}

/// Where each column of the standard is in this file, and the rows behind the line that says so.
fn body(rows: &[Row]) -> Option<([Option<usize>; COLUMNS.len()], Vec<&Row>)> {
    let head = rows.iter().position(|row| plain(row.text(0)) == plain(COLUMNS[0]))?;
    let names: Vec<_> = rows.get(head)?.cells.iter().map(|cell| plain(&cell.text)).collect();
    let columns = COLUMNS.map(|column| names.iter().position(|name| *name == plain(column)));
    [OBJECT_TYPE, OBJECT_INSTANCE, OBJECT_NAME].iter().all(|column| columns.get(*column).is_some_and(Option::is_some)).then_some(())?;
    Some((columns, rows.iter().skip(head + 1).filter(|row| !row.is_comment()).collect()))
}

/// Letters of a column's name: files differ in signs and spaces.
fn plain(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

fn object(
    row: &Row,
    columns: &[Option<usize>; COLUMNS.len()],
    texts: &StateTexts,
    problems: &mut Problems<'_>,
) -> Option<(u32, ToldObject)> {
    let before = problems.count();
    let place = |column: usize| columns.get(column).copied().flatten();
    let text = |column: usize| place(column).map_or("", |at| row.text(at));
    let wrong = |column: usize, expected: &str, problems: &mut Problems<'_>| {
        let at = row.at(place(column).unwrap_or_default());
        let name = COLUMNS.get(column).copied().unwrap_or_default();
        problems.add(at, format!("{name}: found {}, expected {expected}", quoted(text(column))));
    };
    let whole = |column: usize, max: u32, expected: &str, problems: &mut Problems<'_>| {
        let found = text(column).parse().ok().filter(|number| *number <= max);
        if found.is_none() {
            wrong(column, expected, problems);
        }
        found
    };
    let kind = match OBJECT_TYPES.iter().find(|(name, _)| plain(name) == plain(text(OBJECT_TYPE))) {
        Some((_, kind)) => Some(u32::from(*kind)),
        None => whole(OBJECT_TYPE, 1023, "the number of a type of objects, such as 0 for an analog input", problems),
    };
    let instance = whole(OBJECT_INSTANCE, ANY_INSTANCE - 1, "the instance of the object, 0 to 4194302", problems);
    let device = match (text(DEVICE_INSTANCE), kind) {
        // Some files leave it out where it is the object itself.
        ("", Some(kind)) if kind == u32::from(DEVICE) => instance,
        _ => whole(DEVICE_INSTANCE, ANY_INSTANCE - 1, "the instance of the device, 0 to 4194302", problems),
    };
    let number = |column: usize, problems: &mut Problems<'_>| match text(column) {
        "" => None,
        text => {
            // Where a semicolon parts the columns, a comma may part the decimals.
            let found = text.replace(',', ".").parse().ok().filter(|number: &f64| number.is_finite());
            if found.is_none() {
                wrong(column, "a number", problems);
            }
            found
        }
    };
    let limits = number(MIN, problems).zip(number(MAX, problems)).filter(|(min, max)| min < max);
    let units = if text(UNIT).is_empty() { None } else { whole(UNIT, 65_535, "the number of a unit, such as 62 for °C", problems) };
    let states = match text(STATE_TEXTS) {
        "" => None,
        _ => whole(STATE_TEXTS, u32::MAX, "the number of a set of state texts", problems),
    };
    let is_settable = matches!(text(SETTABLE).to_ascii_lowercase().as_str(), "y" | "yes" | "1" | "true" | "j" | "x");
    if problems.count() > before {
        return None;
    }
    let id = ObjectId::new(u16::try_from(kind?).ok()?, instance?);
    Some((
        device?,
        ToldObject {
            name: text(OBJECT_NAME).to_owned(),
            description: text(DESCRIPTION).to_owned(),
            units,
            states: states.and_then(|number| texts.get(&number).cloned()).unwrap_or_default(),
            limits,
            is_settable,
            ..ToldObject::new(id)
        },
    ))
}

/// A cell and the column of the text where it begins.
struct Cell {
    column: u32,
    text: String,
}

struct Row {
    line: u32,
    cells: Vec<Cell>,
}

impl Row {
    fn text(&self, cell: usize) -> &str {
        self.cells.get(cell).map_or("", |cell| cell.text.as_str())
    }

    fn at(&self, cell: usize) -> Position {
        let column = self.cells.get(cell).or(self.cells.last()).map_or(1, |cell| cell.column);
        Position { line: self.line, column }
    }

    fn is_comment(&self) -> bool {
        self.text(0).starts_with('#') || self.cells.iter().all(|cell| cell.text.is_empty())
    }
}

/// The text in whatever encoding the office program chose.
fn decode(content: &[u8]) -> String {
    let utf16 = |bytes: &[u8], unit: fn([u8; 2]) -> u16| {
        let units: Vec<u16> = bytes.chunks_exact(2).filter_map(|pair| pair.try_into().ok().map(unit)).collect();
        String::from_utf16_lossy(&units)
    };
    match content {
        [0xFF, 0xFE, rest @ ..] => utf16(rest, u16::from_le_bytes),
        [0xFE, 0xFF, rest @ ..] => utf16(rest, u16::from_be_bytes),
        [0xEF, 0xBB, 0xBF, rest @ ..] => String::from_utf8_lossy(rest).into_owned(),
        _ => std::str::from_utf8(content).map_or_else(|_| content.iter().map(|byte| char::from(*byte)).collect(), str::to_owned),
    }
}

/// Rows and cells; what parts the columns is what parts those of the line that names them.
fn rows(text: &str) -> Vec<Row> {
    let head = text.lines().find(|line| plain(line).starts_with(&plain(COLUMNS[0]))).unwrap_or(text);
    let count = |separator: &char| head.matches(*separator).count();
    let separator = [';', ',', '\t'].into_iter().max_by_key(|separator| (count(separator), *separator == ';')).unwrap_or(';');
    (1..).zip(text.lines()).map(|(line, text)| Row { line, cells: cells(text, separator) }).collect()
}

fn cells(line: &str, separator: char) -> Vec<Cell> {
    let (mut cells, mut text, mut column, mut in_quotes) = (Vec::new(), String::new(), 1, false);
    let mut characters = (1..).zip(line.trim_end_matches('\r').chars()).peekable();
    let keep = |text: &str| text.trim().chars().filter(|c| !c.is_control()).take(MAX_TEXT_CHARS).collect::<String>();
    while let Some((at, c)) = characters.next() {
        match c {
            // Two quotes inside of quotes are one.
            '"' if in_quotes && characters.next_if(|(_, next)| *next == '"').is_some() => text.push('"'),
            '"' => in_quotes = !in_quotes,
            c if c == separator && !in_quotes => {
                cells.push(Cell { column, text: keep(&text) });
                text.clear();
                column = at + 1;
            }
            c => text.push(c),
        }
    }
    cells.push(Cell { column, text: keep(&text) });
    cells
}

#[cfg(test)]
mod tests;
