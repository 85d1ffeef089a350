//! Bytes that a program, a script or a broker gives -> readings of the devices that the configuration names. Pure: reads nothing, logs
//! nothing, knows neither pipes nor sockets nor brokers.
//!
//! A line has one of two forms, told apart by its first byte: `{` begins a JSON object ([`json`]), `#` a comment, and everything else is
//! Influx line protocol ([`influx`]). A line that is wrong costs only itself: it becomes a [`Refusal`] that says where, what was found and
//! what was expected. [`cut`] makes lines of bytes, [`intake`] readings of lines.
//!
//! # Limits
//! | what | limit |
//! |---|---|
//! | a line | [`MAX_LINE_BYTES`] |
//! | readings of a line | [`MAX_FIELDS`] |
//! | tags of a reading, its labels | [`MAX_TAGS`] each |
//! | a name, a tag, a label, a unit | [`MAX_NAME_BYTES`]; a text value has the length of the wire |
//! | series of a device | [`MAX_SERIES`] |
//! | changes of a series' labels | one in [`LABELS_REST_MS`] |
//! | a reading's own time | at most [`MAX_AGE_MS`] ago and [`MAX_AHEAD_MS`] ahead |

mod cut;
mod influx;
mod intake;
mod json;
mod profile;
mod quota;
mod series;
#[cfg(test)]
mod tests;
mod time;

use std::collections::BTreeMap;
use std::fmt;

use pattoo_wire::{Kind, Quality, Reason};
use thiserror::Error;

pub use cut::{Cut, Lines};
pub use intake::{Intake, Now, Source};
pub(crate) use profile::FIELD;
#[cfg(test)]
pub(crate) use profile::{FIELD_KEYS, MAX_DECIMALS, TYPES};
pub use profile::{Form, LineRead, ListedField, READINGS, Type, readings};
pub use quota::{Allowance, Quota};

/// Longest line, in bytes.
pub const MAX_LINE_BYTES: usize = 64 << 10;
/// Most readings of one line.
pub const MAX_FIELDS: usize = 256;
/// Most tags of one reading, and most labels.
pub const MAX_TAGS: usize = 32;
/// Longest name of a point, device, tag or label, and longest text of the last two, in bytes: what the wire carries.
pub const MAX_NAME_BYTES: usize = 255;
/// Most series of one device: a script that puts a time or a number into a name would make them without end.
pub const MAX_SERIES: usize = 1_000;
/// How long the labels of a series stay before they may change again: each change is a new schema for the whole gateway.
pub const LABELS_REST_MS: i64 = 600_000;
/// How old a reading may be that brings its own time: a day, so that a script may hand in what it kept over a night.
pub const MAX_AGE_MS: i64 = 24 * 3_600_000;
/// How far ahead its own time may lie: clocks of two machines that NTP keeps are never so far apart.
pub const MAX_AHEAD_MS: i64 = 5_000;

/// Unit of the times in line protocol.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Precision {
    /// Nanoseconds, as the protocol has them by default.
    #[default]
    Ns,
    /// Microseconds.
    Us,
    /// Milliseconds.
    Ms,
    /// Seconds.
    S,
}

impl Precision {
    /// All of them by name.
    pub const NAMES: &[(&str, Self)] = &[("ns", Self::Ns), ("us", Self::Us), ("ms", Self::Ms), ("s", Self::S)];

    /// This many of it in ms, rounded down.
    fn to_ms(self, count: i64) -> Option<i64> {
        match self {
            Self::Ns => Some(count.div_euclid(1_000_000)),
            Self::Us => Some(count.div_euclid(1_000)),
            Self::Ms => Some(count),
            Self::S => count.checked_mul(1_000),
        }
    }
}

/// One reading as a line tells it; whose it is and what it means is not judged yet.
#[derive(Debug, Clone, PartialEq)]
struct Told {
    /// Where it stands in its line, from 1.
    column: usize,
    device: Option<String>,
    measurement: Option<String>,
    /// The point of a JSON line, the field of line protocol.
    name: String,
    value: Said,
    unit: Option<String>,
    kind: Option<Kind>,
    quality: Quality,
    reason: Option<Reason>,
    /// Its own time, UTC in ms.
    at_ms: Option<i64>,
    tags: BTreeMap<String, String>,
    labels: BTreeMap<String, String>,
}

/// A value as it is written.
#[derive(Debug, Clone, Default, PartialEq)]
enum Said {
    #[default]
    Nothing,
    Unsigned(u64),
    Integer(i64),
    Float(f64),
    Flag(bool),
    Text(String),
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("no value"),
            Self::Unsigned(n) => write!(f, "the number {n}"),
            Self::Integer(n) => write!(f, "the number {n}"),
            Self::Float(n) => write!(f, "the number {n}"),
            Self::Flag(flag) => write!(f, "{flag}"),
            Self::Text(text) => write!(f, "the text {}", crate::yaml::quoted(text)),
        }
    }
}

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("column {column}: {what}")]
struct LineError {
    /// In characters, from 1.
    column: usize,
    /// What was found and what was expected.
    what: String,
}

/// A line, or one reading of a line, that was not taken.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("line {line}, {error}")]
pub struct Refusal {
    /// Which line of its source, from 1.
    pub line: u64,
    error: LineError,
    /// What it is counted as.
    pub miss: &'static str,
}

/// The readings of a line: none of an empty one and of a comment.
fn read(line: &[u8], precision: Precision) -> Result<Vec<Told>, LineError> {
    let text = match std::str::from_utf8(line) {
        Ok(text) => text,
        Err(error) => {
            let good = line.get(..error.valid_up_to()).unwrap_or_default();
            let byte = line.get(error.valid_up_to()).copied().unwrap_or_default();
            let what = format!("found the byte 0x{byte:02X}, expected UTF-8");
            return Err(LineError { column: 1 + String::from_utf8_lossy(good).chars().count(), what });
        }
    };
    match text.trim_start_matches([' ', '\t']).chars().next() {
        None | Some('#') => Ok(Vec::new()),
        Some('{') => Ok(vec![json::read(text)?]),
        Some(_) => influx::read(text, precision),
    }
}
