//! A dashboard: the text of its YAML file -> what can only be valid, or where and what is wrong with it.
//! Pure: opens no file, knows no series but those that it is given. `schema.json` beside it tells editors the same format.

pub mod edit;
pub mod pattern;
mod raw;
pub mod shown;

use std::fmt;

use serde::Serialize;
use utoipa::ToSchema;

use pattern::Pattern;

/// Largest file, in bytes.
pub const MAX_FILE_BYTES: usize = 64 << 10;
/// Most panels of a file.
pub const MAX_PANELS: usize = 50;
/// Most variables.
pub const MAX_VARIABLES: usize = 8;
/// Most selectors of a panel.
pub const MAX_SELECTORS: usize = 24;
/// Most labels of a selector.
pub const MAX_LABELS: usize = 8;
/// Longest title, in characters.
pub const MAX_TITLE: usize = 100;
/// Longest text of a panel, in characters.
pub const MAX_TEXT: usize = 10_000;
/// Longest pattern, in characters.
pub const MAX_PATTERN: usize = 200;
/// Columns of the page; a panel takes 1 to so many.
pub const COLUMNS: u8 = 12;

/// The JSON Schema of a file, for editors.
pub const SCHEMA: &str = include_str!("dashboard/schema.json");

/// A dashboard as its file says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dashboard {
    /// For people.
    pub title: String,
    /// Window where the page is not told another one, as in `6h`.
    pub range: Option<String>,
    /// What the reader may choose.
    pub variables: Vec<Variable>,
    /// In the order of the page.
    pub panels: Vec<Panel>,
}

/// What the reader may choose: one value of a label, or all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    /// `$name` in patterns, titles and texts.
    pub name: String,
    /// A label of devices and series; `gateway` and `device` are their names.
    pub label: String,
    /// The choice where the reader made none; all where absent.
    pub default: Option<String>,
}

/// What a panel is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum PanelKind {
    /// Lines, or bars of consumption.
    Chart,
    /// Latest values as numbers.
    Stat,
    /// States and texts over time.
    State,
    /// A text.
    Text,
}

/// How a chart draws counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum CounterMode {
    /// As rates.
    Rate,
    /// As what they stood at.
    Total,
    /// As consumption per hour.
    Hour,
    /// Per day.
    Day,
    /// Per month.
    Month,
}

/// One panel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Panel {
    /// Over it; empty for none.
    pub title: String,
    /// What it is.
    pub kind: PanelKind,
    /// Columns of [`COLUMNS`] that it takes.
    pub width: u8,
    /// Once for each device that its selectors find.
    pub by_device: bool,
    /// How a chart draws counters.
    pub counter: CounterMode,
    /// Of a text panel.
    pub text: String,
    /// Which series, in this order.
    pub selectors: Vec<Selector>,
}

/// Which series: all patterns must fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector {
    /// Of the gateway's name.
    pub gateway: Pattern,
    /// Of the device's name.
    pub device: Pattern,
    /// Of the point's name.
    pub point: Pattern,
    /// Of labels of the series, or where it has none of that name, of its device.
    pub labels: Vec<(String, Pattern)>,
}

/// What is wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Problem {
    /// Line, from 1.
    pub line: u64,
    /// Column, from 1.
    pub column: u64,
    /// What was found and what was expected.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.message)
    }
}

impl Dashboard {
    /// Reads a file.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        raw::parse(text).map(|(dashboard, _)| dashboard)
    }
}

/// Whether a dashboard may have this name, which is that of its file without `.yaml`.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let lower = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    name.len() <= 63 && name.starts_with(lower) && name.chars().all(|c| lower(c) || c == '-' || c == '_')
}

#[cfg(test)]
mod tests;
