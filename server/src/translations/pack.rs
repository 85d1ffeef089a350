//! A language pack: rows of CSV -> words, and what is wrong with which line. Pure.

use std::collections::btree_map::Entry;

use csv::StringRecord;
use serde::Serialize;
use thiserror::Error;
use utoipa::ToSchema;

use super::{MAX_WORDS, Translations, Word, language};

/// Largest pack, in bytes.
const MAX_PACK_BYTES: usize = 4 << 20;
/// Longest key, name and unit, in characters.
const MAX_KEY: usize = 512;
const MAX_NAME: usize = 200;
/// Most lines that are named.
const MAX_PROBLEMS: usize = 100;

const POINTS: [&str; 4] = ["language", "key", "translation", "units"];
const PROGRAMS: [&str; 3] = ["language", "key", "translation"];

/// What came of a pack.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Imported {
    /// Rows about points that were taken.
    pub points: usize,
    /// Rows about agent programs that were taken.
    pub programs: usize,
    /// Rows that were not taken, the first 100 of them.
    pub problems: Vec<Problem>,
    /// Further such rows.
    pub more_problems: usize,
}

/// A row that was not taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Problem {
    /// Its line in the pack.
    pub line: u64,
    /// What was found and what was expected.
    pub message: String,
}

/// It is no pack.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum PackError {
    /// Too large.
    #[error("found {0} bytes, expected at most {MAX_PACK_BYTES}")]
    TooLarge(usize),
    /// Other columns.
    #[error(
        "line 1: found columns {0:?}, expected `language,key,translation,units` (points) or `language,key,translation` (agent programs)"
    )]
    Columns(String),
    /// The server has no room for all of its words.
    #[error("with this pack there would be more than {MAX_WORDS} words; nothing of it was taken")]
    Full,
}

pub(super) fn import(into: &mut Translations, csv: &[u8]) -> Result<Imported, PackError> {
    if csv.len() > MAX_PACK_BYTES {
        return Err(PackError::TooLarge(csv.len()));
    }
    let csv = csv.strip_prefix("\u{feff}".as_bytes()).unwrap_or(csv);
    let mut reader = csv::ReaderBuilder::new().flexible(true).trim(csv::Trim::All).from_reader(csv);
    let columns: Vec<String> = reader.headers().map(|row| row.iter().map(str::to_lowercase).collect()).unwrap_or_default();
    let with_units = columns == POINTS;
    if !with_units && columns != PROGRAMS {
        return Err(PackError::Columns(columns.join(",").chars().take(200).collect()));
    }
    let mut next = into.clone();
    let mut told = Imported::default();
    for row in reader.records() {
        let (line, taken) = match row {
            Ok(row) => (row.position().map_or(0, csv::Position::line), take(&mut next, &row, with_units)),
            Err(e) => (e.position().map_or(0, csv::Position::line), Err("found bytes that are no UTF-8, expected text".to_owned())),
        };
        match taken {
            Ok(()) if with_units => told.points += 1,
            Ok(()) => told.programs += 1,
            Err(message) if told.problems.len() < MAX_PROBLEMS => told.problems.push(Problem { line, message }),
            Err(_) => told.more_problems += 1,
        }
    }
    let words: usize = next.languages.values().map(|words| words.points.len() + words.programs.len()).sum();
    if words > MAX_WORDS {
        return Err(PackError::Full);
    }
    next.languages.retain(|_, words| !words.points.is_empty() || !words.programs.is_empty());
    *into = next;
    Ok(told)
}

fn take(into: &mut Translations, row: &StringRecord, with_units: bool) -> Result<(), String> {
    let columns = if with_units { POINTS.len() } else { PROGRAMS.len() };
    if row.len() != columns {
        return Err(format!("found {} columns, expected {columns}", row.len()));
    }
    let field = |n: usize, most: usize| {
        let text = row.get(n).unwrap_or_default();
        let fits = text.chars().count() <= most && !text.contains(char::is_control);
        let name = POINTS.get(n).copied().unwrap_or_default();
        if fits {
            Ok(text.to_owned())
        } else {
            Err(format!("{name}: expected at most {most} characters, none of them a control character"))
        }
    };
    let found = field(0, MAX_NAME)?;
    let code = language(&found).ok_or_else(|| format!("found language {found:?}, expected a code of ISO 639-1 like en, de or pt-br"))?;
    let key = field(1, MAX_KEY)?.to_lowercase();
    if key.is_empty() {
        return Err("found no key, expected one like pattoo_agent_snmpd_.1.3.6.1.2.1.1.3".into());
    }
    let (name, unit) = (field(2, MAX_NAME)?, if with_units { field(3, MAX_NAME)? } else { String::new() });
    let words = into.languages.entry(code).or_default();
    if with_units {
        let word = Word { name, unit };
        put(words.points.entry(key), (word != Word::default()).then_some(word));
    } else {
        put(words.programs.entry(key), (!name.is_empty()).then_some(name));
    }
    Ok(())
}

/// Nothing takes away what is there.
fn put<T>(entry: Entry<'_, String, T>, value: Option<T>) {
    match (entry, value) {
        (Entry::Occupied(mut entry), Some(value)) => drop(entry.insert(value)),
        (Entry::Occupied(entry), None) => drop(entry.remove()),
        (Entry::Vacant(entry), Some(value)) => drop(entry.insert(value)),
        (Entry::Vacant(_), None) => {}
    }
}
