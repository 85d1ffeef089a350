//! What the sections of all agents have in common: groups of targets, what is polled of them, and how often. Pure.

use super::old::Section;
use crate::config::MAX_INTERVAL;
use crate::yaml::{Field, Fields, Node, Position, Problems, Tree, parse_decimal, parse_integer};

/// What old agents polled by where nothing was said, in seconds.
const INTERVAL_S: u64 = 300;
/// Longest name of a group that is taken over, in characters: that of a model in a profile.
const MAX_NAME_CHARS: usize = 50;

/// The keys of a section.
const SECTION_KEYS: &[&str] = &["polling_interval", "polling_groups"];

/// A group of targets.
pub(super) struct Group<'t> {
    pub(super) name: String,
    pub(super) at: Position,
    pub(super) fields: Fields<'t>,
    /// Targets, and where each is named.
    pub(super) targets: Vec<(&'t str, Position)>,
}

/// What is polled, with what it is multiplied with.
pub(super) struct OldPoint<'t> {
    pub(super) address: Field<'t>,
    /// As it was written; none for 1.
    pub(super) multiplier: Option<String>,
}

/// The keys of a section with these beside those of all.
pub(super) fn fields<'t>(section: &Section<'t>, more: &[&str], problems: &mut Problems<'_>) -> Option<Fields<'t>> {
    Fields::read(section.node, section.program, &[SECTION_KEYS, more].concat(), problems)
}

/// How often it is polled, in seconds.
pub(super) fn interval_s(fields: &Fields<'_>, problems: &mut Problems<'_>) -> u64 {
    let Some(field) = fields.optional("polling_interval").filter(|field| field.node.tree != Tree::Null) else { return INTERVAL_S };
    let most = i128::from(MAX_INTERVAL.as_secs());
    let told = field.integer(1, most, "a number of seconds", problems).and_then(|seconds| u64::try_from(seconds).ok());
    told.unwrap_or(INTERVAL_S)
}

/// The groups of a section, each with its targets.
pub(super) fn groups<'t>(list: &str, fields: &Fields<'t>, keys: &[&str], problems: &mut Problems<'_>) -> Vec<Group<'t>> {
    let expected = "a list of groups";
    let items = fields.required(list, expected, problems).and_then(|field| field.list(expected, problems)).unwrap_or_default();
    let keys = [&["group_name", "ip_targets", "ip_devices"], keys].concat();
    items.iter().enumerate().filter_map(|(index, node)| group(list, index, node, &keys, problems)).collect()
}

fn group<'t>(list: &str, index: usize, node: &'t Node, keys: &[&str], problems: &mut Problems<'_>) -> Option<Group<'t>> {
    let what = match name_of(node) {
        Some(name) => format!("{list}, {name}"),
        None => format!("{list}, group {}", index + 1),
    };
    let fields = Fields::read(node, &what, keys, problems)?;
    let name = name_of(node).map_or_else(|| format!("group {}", index + 1), str::to_owned);
    let before = problems.count();
    let mut targets = Vec::new();
    for field in ["ip_targets", "ip_devices"].iter().filter_map(|key| fields.optional(key)) {
        let expected = "a list of addresses or names of hosts";
        for node in field.list(expected, problems).unwrap_or_default() {
            let item = field.item(node);
            let Some(text) = item.text(expected, problems) else { continue };
            let is_host = text.len() <= 253 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:".contains(&b));
            if is_host { targets.push((text, node.at)) } else { item.wrong("an address or the name of a host", problems) }
        }
    }
    if targets.is_empty() && problems.count() == before {
        problems.add(node.at, format!("{what}: `ip_targets` is missing or empty, expected a list of addresses or names of hosts"));
    }
    let clean = name.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_NAME_CHARS).collect();
    Some(Group { name: clean, at: node.at, fields, targets })
}

fn name_of(node: &Node) -> Option<&str> {
    let Tree::Map(entries) = &node.tree else { return None };
    entries.iter().find_map(|(key, value)| match (&key.tree, &value.tree) {
        (Tree::Scalar(key), Tree::Scalar(name)) if key == "group_name" && !name.trim().is_empty() => Some(name.trim()),
        _ => None,
    })
}

/// What a group polls: each a mapping, or the address alone, as the documents have it too.
pub(super) fn points<'t>(field: &Field<'t>, problems: &mut Problems<'_>) -> Vec<OldPoint<'t>> {
    let items = field.list("a list such as - address: 30123", problems).unwrap_or_default();
    items.iter().filter_map(|node| point(&field.item(node), problems)).collect()
}

fn point<'t>(field: &Field<'t>, problems: &mut Problems<'_>) -> Option<OldPoint<'t>> {
    if !matches!(field.node.tree, Tree::Map(_)) {
        return Some(OldPoint { address: field.clone(), multiplier: None });
    }
    let fields = Fields::read(field.node, field.what.trim_end_matches(": "), &["address", "multiplier"], problems)?;
    let address = fields.required("address", "what is polled", problems)?;
    let Some(field) = fields.optional("multiplier").filter(|field| field.node.tree != Tree::Null) else {
        return Some(OldPoint { address, multiplier: None });
    };
    let expected = "a number that is not 0, such as 8 or 0.1";
    let (mantissa, exponent) = field.decimal(expected, problems)?;
    if mantissa == 0 {
        field.wrong(expected, problems);
        return None;
    }
    let text = field.text(expected, problems)?;
    // The other number formats of YAML are not those of JSON.
    let plain = parse_decimal(text).is_some() && !text.starts_with('.') && !text.ends_with('.');
    let multiplier = if plain { text.to_owned() } else { format!("{mantissa}e{exponent}") };
    Some(OldPoint { address, multiplier: Some(multiplier).filter(|_| (mantissa, exponent) != (1, 0)) })
}

/// A whole number; also one that was written as text or with a fraction of nothing.
pub(super) fn whole(field: &Field<'_>, min: i128, max: i128, what: &str, problems: &mut Problems<'_>) -> Option<i128> {
    let found = number(field).filter(|n| (min..=max).contains(n));
    if found.is_none() {
        field.wrong(&format!("{what} from {min} to {max}"), problems);
    }
    found
}

pub(super) fn number(field: &Field<'_>) -> Option<i128> {
    let Tree::Scalar(text) = &field.node.tree else { return None };
    parse_integer(text.strip_suffix(".0").unwrap_or(text))
}

/// There is no driver for these: says so of each group, and never what it logs in with.
pub(super) fn refuse_opcua(section: &Section<'_>, problems: &mut Problems<'_>) {
    let keys = ["group_name", "ip_target", "ip_device", "ip_port", "username", "password", "nodes"];
    let Some(fields) = fields(section, &[], problems) else { return };
    let items = fields.required("polling_groups", "a list of groups", problems);
    let items = items.and_then(|field| field.list("a list of groups", problems)).unwrap_or_default();
    for (index, node) in items.iter().enumerate() {
        let name = name_of(node).map_or_else(|| format!("group {}", index + 1), str::to_owned);
        let Some(group) = Fields::read(node, &format!("polling_groups, {name}"), &keys, problems) else { continue };
        let text = |key: &str| group.optional(key).map(|field| field.node.describe());
        let target = text("ip_target").or_else(|| text("ip_device")).unwrap_or_else(|| "no server".to_owned());
        let nodes = group.optional("nodes").map_or(0, |field| if let Tree::List(nodes) = &field.node.tree { nodes.len() } else { 0 });
        problems.add(
            node.at,
            format!("{}: group {name} reads {nodes} nodes of {target}: the gateway has no driver for OPC UA", section.program),
        );
    }
}
