//! The text of a configuration and of a profile: one line for each thing, as people write them. Pure.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::json;

use super::plan::{Named, Point, Way};
use crate::yaml::parse_integer;

/// Longest part of a name, in bytes: beside `modbus-` or `-unit-255` it has to fit the 64 of a name.
const MAX_SLUG_BYTES: usize = 48;

/// Letters, digits, `-`, `_` and `.` of a text, a letter or digit first; everything else is a `-`.
pub(super) fn slug(text: &str) -> String {
    let clean = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '-' };
    let text: String = text.trim().chars().map(clean).collect();
    let words: Vec<&str> = text.split('-').filter(|word| !word.is_empty()).collect();
    let text = words.join("-");
    let short: String = text.trim_matches(['_', '.']).chars().take(MAX_SLUG_BYTES).collect();
    if short.is_empty() { "x".to_owned() } else { short }
}

/// A text as YAML takes it; in quotes unless it can be nothing else than a text.
pub(super) fn plain(text: &str) -> String {
    let is_word = !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    let is_other = text.starts_with(['-', '.']) || text.parse::<f64>().is_ok() || parse_integer(text).is_some();
    let is_word = is_word && !is_other && !["null", "true", "false", "yes", "no", "on", "off"].contains(&text.to_lowercase().as_str());
    if is_word { text.to_owned() } else { json!(text).to_string() }
}

/// A comment of one line.
fn comment(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

pub(super) fn config(sources: &str, devices: &[Named<'_>]) -> String {
    let mut text = format!("# Made by `pattoo-gateway convert` from {}.\n", comment(sources));
    text += "# Give this gateway a name of its own, and say where its server is: another machine wants credentials too.\n";
    text += "gateway: gateway\nuplink: { url: mqtt://127.0.0.1:1883 }\n";
    let links: BTreeMap<String, String> = devices.iter().filter_map(|device| device.link.clone()).collect();
    if !links.is_empty() {
        text += "links:\n";
    }
    for (name, mapping) in links {
        let _ = writeln!(text, "  {name}: {{ {mapping} }}");
    }
    text += "devices:\n";
    devices.iter().for_each(|named| text += &device(named));
    text
}

fn device(Named { name, profile, link, target }: &Named<'_>) -> String {
    let mut keys = vec![format!("name: {}", plain(name)), format!("profile: {profile}")];
    keys.extend(link.as_ref().map(|(link, _)| format!("link: {link}")));
    match &target.way {
        Way::Modbus { unit } => keys.push(format!("unit: {unit}")),
        Way::Snmp(how) => keys.push(format!("snmp: {{ {how} }}")),
        Way::Bacnet { address, .. } => keys.push(format!("bacnet: {{ address: {} }}", plain(address))),
        Way::Host => {}
    }
    keys.push(format!("every: {}", target.every()));
    let mut labels = Vec::new();
    if !target.groups.is_empty() {
        labels.push(format!("group: {}", plain(&target.groups())));
    }
    if *name != target.host && target.way != Way::Host {
        labels.push(format!("target: {}", plain(&target.host)));
    }
    if !labels.is_empty() {
        keys.push(format!("labels: {{ {} }}", labels.join(", ")));
    }
    format!("  - {{ {} }}\n", keys.join(", "))
}

pub(super) fn profile(sources: &str, id: &str, groups: &str, points: &[Point]) -> String {
    let mut text = format!("# Made by `pattoo-gateway convert` from {}. Units are not in the old file.\n", comment(sources));
    let model: String = groups.chars().take(50).collect();
    let _ = writeln!(text, "schema: 1\nid: {id}\nmanufacturer: Pattoo\nmodel: {}", plain(&model));
    let tables: std::collections::BTreeSet<&String> = points.iter().filter_map(|point| point.table.as_ref()).collect();
    if !tables.is_empty() {
        text += "snmp:\n  tables:\n";
    }
    for table in tables {
        let _ = writeln!(text, "    {}: {{ index: [index] }}", json!(table));
    }
    text += "points:\n";
    for Point { name, kind, read, about, .. } in points {
        let kind = kind.map(|kind| format!("kind: {kind}, ")).unwrap_or_default();
        let about = about.as_deref().map(|about| format!("  # {}", comment(about))).unwrap_or_default();
        let _ = writeln!(text, "  - {{ name: {name}, {kind}read: {{ {read} }} }}{about}");
    }
    text
}
