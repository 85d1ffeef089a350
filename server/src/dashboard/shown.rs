//! A dashboard and the series there are -> what is on screen: variables with their values, panels with their series. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use pattoo_wire::Kind;

use super::pattern::{Chosen, Pattern};
use super::{Dashboard, Panel, PanelKind, Selector, Variable};
use crate::store::SeriesEntry;

/// Most panels on screen, repeated ones among them.
pub const MAX_SHOWN: usize = 100;
/// Most series of a chart: more cannot be told apart.
pub const MAX_CHARTED: usize = 12;
/// Most series of any other panel: as many as one request for a window may name.
pub const MAX_LISTED: usize = 50;
/// Most values of a variable.
pub const MAX_VALUES: usize = 500;

/// What is on screen.
#[derive(Debug)]
pub struct Shown<'a> {
    /// What may be chosen, and what is.
    pub variables: Vec<ShownVariable<'a>>,
    /// In their order.
    pub panels: Vec<ShownPanel<'a>>,
    /// Panels beyond [`MAX_SHOWN`].
    pub left_out: usize,
}

/// A variable with its values.
#[derive(Debug)]
pub struct ShownVariable<'a> {
    /// As the file says it.
    pub variable: &'a Variable,
    /// What is chosen; none for all.
    pub value: Option<String>,
    /// What may be chosen, in order.
    pub values: Vec<String>,
}

/// A panel with its series.
#[derive(Debug)]
pub struct ShownPanel<'a> {
    /// Its place in the file, from 0.
    pub place: usize,
    /// As the file says it.
    pub panel: &'a Panel,
    /// With variables replaced.
    pub title: String,
    /// The same.
    pub text: String,
    /// In the order of its selectors, then by name.
    pub series: Vec<Arc<SeriesEntry>>,
    /// Series beyond what such a panel shows.
    pub left_out: usize,
}

/// Shows a dashboard. A choice of a variable that is not there is ignored.
#[must_use]
pub fn shown<'a>(dashboard: &'a Dashboard, entries: &[Arc<SeriesEntry>], choice: &BTreeMap<String, String>) -> Shown<'a> {
    let chosen = |variable: &Variable| match choice.get(&variable.name) {
        Some(value) if value.is_empty() => None,
        Some(value) => Some(value.clone()),
        None => variable.default.clone(),
    };
    let variable = |v: &'a Variable| ShownVariable { variable: v, value: chosen(v), values: values(&v.label, entries) };
    let variables: Vec<_> = dashboard.variables.iter().map(variable).collect();
    let names: Chosen = variables.iter().map(|v| (v.variable.name.clone(), v.value.clone())).collect();
    let mut panels = Vec::new();
    let mut left_out = 0;
    for (place, panel) in dashboard.panels.iter().enumerate() {
        for shown in of_panel(place, panel, entries, &names) {
            if panels.len() < MAX_SHOWN {
                panels.push(shown);
            } else {
                left_out += 1;
            }
        }
    }
    Shown { variables, panels, left_out }
}

fn values(label: &str, entries: &[Arc<SeriesEntry>]) -> Vec<String> {
    let of = |entry: &Arc<SeriesEntry>| match label {
        "gateway" => Some(entry.gateway.clone()),
        "device" => Some(entry.device.clone()),
        _ => label_of(entry, label).map(str::to_owned),
    };
    let all: BTreeSet<String> = entries.iter().filter_map(of).filter(|value| !value.is_empty()).collect();
    all.into_iter().take(MAX_VALUES).collect()
}

fn label_of<'a>(entry: &'a SeriesEntry, label: &str) -> Option<&'a str> {
    entry.entry.labels.get(label).or_else(|| entry.device_labels.get(label)).map(String::as_str)
}

fn of_panel<'a>(place: usize, panel: &'a Panel, entries: &[Arc<SeriesEntry>], names: &Chosen) -> Vec<ShownPanel<'a>> {
    let selectors: Vec<Selector> = panel.selectors.iter().map(|selector| replaced(selector, names)).collect();
    let mut found: Vec<Arc<SeriesEntry>> = Vec::new();
    let mut seen = BTreeSet::new();
    for selector in &selectors {
        found.extend(entries.iter().filter(|e| suits(panel.kind, e.entry.kind) && fits(selector, e) && seen.insert(e.id)).cloned());
    }
    let most = if panel.kind == PanelKind::Chart { MAX_CHARTED } else { MAX_LISTED };
    let made = |mut series: Vec<Arc<SeriesEntry>>, names: &Chosen| {
        let left_out = series.len().saturating_sub(most);
        series.truncate(most);
        ShownPanel { place, panel, title: text(&panel.title, names), text: text(&panel.text, names), series, left_out }
    };
    if !panel.by_device {
        return vec![made(found, names)];
    }
    let mut devices: BTreeMap<(String, String), Vec<Arc<SeriesEntry>>> = BTreeMap::new();
    for entry in found {
        devices.entry((entry.gateway.clone(), entry.device.clone())).or_default().push(entry);
    }
    let of_device = |((gateway, device), series): ((String, String), Vec<Arc<SeriesEntry>>)| {
        let mut names = names.clone();
        names.insert("gateway".into(), Some(gateway));
        names.insert("device".into(), Some(device.clone()));
        let mut shown = made(series, &names);
        // Panels that are alike must be told apart.
        if !panel.title.contains("$device") {
            shown.title = [shown.title, device].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" · ");
        }
        shown
    };
    devices.into_iter().map(of_device).collect()
}

fn suits(panel: PanelKind, series: Kind) -> bool {
    match panel {
        PanelKind::Chart => series != Kind::Text,
        PanelKind::State => matches!(series, Kind::State | Kind::Text),
        PanelKind::Stat => true,
        PanelKind::Text => false,
    }
}

fn replaced(selector: &Selector, names: &Chosen) -> Selector {
    let labels = selector.labels.iter().map(|(name, pattern)| (name.clone(), pattern.with(names))).collect();
    Selector { gateway: selector.gateway.with(names), device: selector.device.with(names), point: selector.point.with(names), labels }
}

fn fits(selector: &Selector, entry: &SeriesEntry) -> bool {
    let label = |(name, pattern): &(String, Pattern)| label_of(entry, name).map_or(pattern.is_any(), |value| pattern.fits(value));
    selector.gateway.fits(&entry.gateway)
        && selector.device.fits(&entry.device)
        && selector.point.fits(&entry.entry.point)
        && selector.labels.iter().all(label)
}

/// Words of people: a sign that names no variable is a sign.
fn text(words: &str, names: &Chosen) -> String {
    let mut out = String::with_capacity(words.len());
    let mut rest = words;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        let end = after.find(|c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')).unwrap_or(after.len());
        let (name, more) = after.split_at(end);
        match names.get(name) {
            Some(value) => out.push_str(value.as_deref().unwrap_or("all")),
            None => {
                out.push('$');
                out.push_str(name);
            }
        }
        rest = more;
    }
    out.push_str(rest);
    out
}
