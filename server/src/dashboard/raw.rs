//! The YAML as it stands in the file, and what it must hold to.

use std::collections::{BTreeMap, HashSet};

use serde::Deserialize;
use serde_saphyr::{Location, Spanned};

use super::pattern::Pattern;
use super::{
    COLUMNS, CounterMode, Dashboard, MAX_FILE_BYTES, MAX_LABELS, MAX_PANELS, MAX_PATTERN, MAX_SELECTORS, MAX_TEXT, MAX_TITLE,
    MAX_VARIABLES, Panel, PanelKind, Problem, Selector, Variable,
};

/// The only version there is.
const VERSION: u32 = 1;
/// Half of the page.
const DEFAULT_WIDTH: u8 = 6;
/// A window of more than this many units is a slip.
const MAX_RANGE_DIGITS: usize = 5;

const KINDS: [(&str, PanelKind); 4] =
    [("chart", PanelKind::Chart), ("stat", PanelKind::Stat), ("state", PanelKind::State), ("text", PanelKind::Text)];

const COUNTERS: [(&str, CounterMode); 5] = [
    ("rate", CounterMode::Rate),
    ("total", CounterMode::Total),
    ("hour", CounterMode::Hour),
    ("day", CounterMode::Day),
    ("month", CounterMode::Month),
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    version: Spanned<u32>,
    title: Spanned<String>,
    range: Option<Spanned<String>>,
    #[serde(default)]
    variables: Vec<Spanned<RawVariable>>,
    panels: Spanned<Vec<Spanned<RawPanel>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawVariable {
    name: Spanned<String>,
    label: Spanned<String>,
    default: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPanel {
    title: Option<Spanned<String>>,
    #[serde(rename = "type")]
    kind: Spanned<String>,
    width: Option<Spanned<u8>>,
    repeat: Option<Spanned<String>>,
    counter: Option<Spanned<String>>,
    text: Option<Spanned<String>>,
    series: Option<Spanned<Vec<Spanned<RawSelector>>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSelector {
    gateway: Option<Spanned<String>>,
    device: Option<Spanned<String>>,
    point: Option<Spanned<String>>,
    #[serde(default)]
    labels: BTreeMap<String, Spanned<String>>,
}

/// Where a panel and its title begin.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) panel: Location,
    pub(super) title: Option<Location>,
}

fn problem(at: Location, message: impl Into<String>) -> Problem {
    Problem { line: at.line().max(1), column: at.column().max(1), message: message.into() }
}

pub(super) fn parse(text: &str) -> Result<(Dashboard, Vec<Place>), Problem> {
    if text.len() > MAX_FILE_BYTES {
        return Err(problem(Location::UNKNOWN, format!("found {} bytes, expected at most {MAX_FILE_BYTES}", text.len())));
    }
    let read = |e: serde_saphyr::Error| {
        let (at, message) = crate::config::yaml_words(&e);
        problem(at, message)
    };
    let raw: Raw = serde_saphyr::from_str(text).map_err(read)?;
    if raw.version.value != VERSION {
        return Err(problem(raw.version.referenced, format!("found version {}, expected {VERSION}", raw.version.value)));
    }
    let title = title(&raw.title)?;
    if title.is_empty() {
        return Err(problem(raw.title.referenced, "found no title, expected one for people"));
    }
    let range = raw.range.as_ref().map(range).transpose()?;
    let variables = variables(&raw.variables)?;
    let (at, panels) = (raw.panels.referenced, raw.panels.value);
    if panels.len() > MAX_PANELS {
        return Err(problem(at, format!("found {} panels, expected at most {MAX_PANELS}", panels.len())));
    }
    let places = panels.iter().map(|p| Place { panel: p.referenced, title: p.value.title.as_ref().map(|t| t.referenced) }).collect();
    let panels = panels.iter().map(|panel| self::panel(panel, &variables)).collect::<Result<_, _>>()?;
    Ok((Dashboard { title, range, variables, panels }, places))
}

fn title(found: &Spanned<String>) -> Result<String, Problem> {
    match found.value.chars().count() {
        n if n > MAX_TITLE => Err(problem(found.referenced, format!("found a title of {n} characters, expected at most {MAX_TITLE}"))),
        _ if found.value.contains(char::is_control) => {
            Err(problem(found.referenced, "found a control character, expected a title in one line"))
        }
        _ => Ok(found.value.trim().to_owned()),
    }
}

fn range(found: &Spanned<String>) -> Result<String, Problem> {
    let digits = found.value.strip_suffix(['s', 'm', 'h', 'd', 'w']).unwrap_or_default();
    let number =
        digits.len() <= MAX_RANGE_DIGITS && digits.bytes().all(|b| b.is_ascii_digit()) && digits.parse::<u32>().is_ok_and(|n| n > 0);
    match number {
        true => Ok(found.value.clone()),
        false => Err(problem(found.referenced, format!("found {:?}, expected a window like 15m, 6h, 7d (s, m, h, d, w)", found.value))),
    }
}

fn is_variable(name: &str) -> bool {
    name.len() <= 32
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

fn variables(found: &[Spanned<RawVariable>]) -> Result<Vec<Variable>, Problem> {
    let mut names = HashSet::new();
    if let Some(one_more) = found.get(MAX_VARIABLES) {
        return Err(problem(one_more.referenced, format!("found {} variables, expected at most {MAX_VARIABLES}", found.len())));
    }
    let variable = |raw: &Spanned<RawVariable>| {
        let RawVariable { name, label, default } = &raw.value;
        if !is_variable(&name.value) || ["gateway", "device"].contains(&name.value.as_str()) {
            let message = format!("found {:?}, expected a name of a-z, 0-9 and _ that is neither gateway nor device", name.value);
            return Err(problem(name.referenced, message));
        }
        if !names.insert(name.value.clone()) {
            return Err(problem(name.referenced, format!("found a second variable {}, expected each once", name.value)));
        }
        if label.value.is_empty() || label.value.len() > MAX_PATTERN {
            return Err(problem(label.referenced, format!("found {:?}, expected the name of a label, or gateway or device", label.value)));
        }
        let default = default.as_ref().map(|d| d.value.clone()).filter(|d| !d.is_empty());
        Ok(Variable { name: name.value.clone(), label: label.value.clone(), default })
    };
    found.iter().map(variable).collect()
}

fn one_of<T: Copy>(found: &Spanned<String>, known: &[(&str, T)]) -> Result<T, Problem> {
    let names = || known.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    let of = known.iter().find(|(name, _)| *name == found.value).map(|(_, value)| *value);
    of.ok_or_else(|| problem(found.referenced, format!("found {:?}, expected one of {}", found.value, names())))
}

fn panel(found: &Spanned<RawPanel>, variables: &[Variable]) -> Result<Panel, Problem> {
    let raw = &found.value;
    let kind = one_of(&raw.kind, &KINDS)?;
    let width = raw.width.as_ref().map_or(DEFAULT_WIDTH, |w| w.value);
    if !(1..=COLUMNS).contains(&width) {
        let at = raw.width.as_ref().map_or(found.referenced, |w| w.referenced);
        return Err(problem(at, format!("found a width of {width}, expected 1 to {COLUMNS} columns")));
    }
    let by_device = match &raw.repeat {
        Some(repeat) => one_of(repeat, &[("device", true)])?,
        None => false,
    };
    let counter = raw.counter.as_ref().map(|counter| one_of(counter, &COUNTERS)).transpose()?;
    let strange =
        |key: &str, at: Location| Err(problem(at, format!("found `{key}` in a panel of type {}, where it says nothing", raw.kind.value)));
    match (kind, &raw.text, &raw.series, &raw.counter, &raw.repeat) {
        (PanelKind::Text, None, ..) => return Err(problem(found.referenced, "found a panel of type text without `text`")),
        (PanelKind::Text, _, Some(series), ..) => return strange("series", series.referenced),
        (PanelKind::Text, _, _, _, Some(repeat)) => return strange("repeat", repeat.referenced),
        (PanelKind::Text, ..) => {}
        (_, Some(text), ..) => return strange("text", text.referenced),
        (_, _, None, ..) => return Err(problem(found.referenced, format!("found a panel of type {} without `series`", raw.kind.value))),
        _ => {}
    }
    if let Some(counter) = raw.counter.as_ref().filter(|_| kind != PanelKind::Chart) {
        return strange("counter", counter.referenced);
    }
    let text = raw.text.as_ref().map(body).transpose()?.unwrap_or_default();
    let title = raw.title.as_ref().map(title).transpose()?.unwrap_or_default();
    let selectors = raw.series.as_ref().map(|series| selectors(series, variables)).transpose()?.unwrap_or_default();
    Ok(Panel { title, kind, width, by_device, counter: counter.unwrap_or(CounterMode::Rate), text, selectors })
}

fn body(text: &Spanned<String>) -> Result<String, Problem> {
    match text.value.chars().count() {
        n if n > MAX_TEXT => Err(problem(text.referenced, format!("found a text of {n} characters, expected at most {MAX_TEXT}"))),
        _ => Ok(text.value.trim_end().to_owned()),
    }
}

fn selectors(found: &Spanned<Vec<Spanned<RawSelector>>>, variables: &[Variable]) -> Result<Vec<Selector>, Problem> {
    match found.value.len() {
        0 => return Err(problem(found.referenced, "found no selector, expected at least one like { device: pump-1, point: flow }")),
        n if n > MAX_SELECTORS => return Err(problem(found.referenced, format!("found {n} selectors, expected at most {MAX_SELECTORS}"))),
        _ => {}
    }
    let pattern = |text: &Spanned<String>| {
        if text.value.chars().count() > MAX_PATTERN {
            return Err(problem(text.referenced, format!("found a pattern of more than {MAX_PATTERN} characters")));
        }
        let pattern = Pattern::parse(&text.value).map_err(|message| problem(text.referenced, message))?;
        let strange = pattern.variables().find(|name| variables.iter().all(|v| v.name != *name));
        let wrong =
            strange.map(|name| problem(text.referenced, format!("found ${name}, which is none of the variables of this dashboard")));
        wrong.map_or(Ok(pattern), Err)
    };
    let selector = |raw: &Spanned<RawSelector>| {
        let optional = |text: &Option<Spanned<String>>| text.as_ref().map_or(Ok(Pattern::default()), pattern);
        let RawSelector { gateway, device, point, labels } = &raw.value;
        if gateway.is_none() && device.is_none() && point.is_none() && labels.is_empty() {
            return Err(problem(raw.referenced, "found an empty selector, expected gateway, device, point or labels"));
        }
        if labels.len() > MAX_LABELS {
            return Err(problem(raw.referenced, format!("found {} labels, expected at most {MAX_LABELS}", labels.len())));
        }
        let labels = labels.iter().map(|(name, text)| Ok((name.clone(), pattern(text)?))).collect::<Result<_, Problem>>()?;
        Ok(Selector { gateway: optional(gateway)?, device: optional(device)?, point: optional(point)?, labels })
    };
    found.value.iter().map(selector).collect()
}
