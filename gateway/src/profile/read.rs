//! Profile text -> [`Profile`]: the schema of a profile file and every check of one. Opens no file.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::time::Duration;

use pattoo_wire::{CLASS_ALARM, Kind, Repr};

use super::source::{self, Marks};
use super::{BacnetLimits, ModbusLimits, Parity, Point, Profile, Read, Serial, bacnet, fit, signature, snmp, trap, writable};
use crate::config::{MAX_INTERVAL, MIN_INTERVAL};
use crate::yaml::{self, Field, Fields, Node, Position, Problem, Problems, quoted};

/// Largest profile file, in bytes.
pub const MAX_PROFILE_BYTES: usize = 256 * 1024;
/// Most points of a profile.
pub const MAX_POINTS: usize = 2_000;
/// Longest id of a profile and name of a point, in bytes.
pub(super) const MAX_NAME_BYTES: usize = 64;
/// Longest manufacturer, model and state text, in characters.
pub(super) const MAX_TEXT_CHARS: usize = 60;
/// Longest unit, in characters.
pub(super) const MAX_UNIT_CHARS: usize = 16;
/// Most states of a point, invalid marks of a point, blocks of a device.
pub(super) const MAX_ITEMS: usize = 256;
/// Longest silence that a device may want between two requests.
const MAX_GAP_TIME: Duration = Duration::from_secs(10);

pub(super) const KEYS: &[&str] = &["schema", "id", "manufacturer", "model", "modbus", "snmp", "bacnet", "match", "points"];
pub(super) const POINT_KEYS: &[&str] = &["name", "unit", "kind", "class", "read", "every", "states", "range", "writable", trap::HASTENS];
pub(super) const CLASSES: &[(&str, bool)] = &[(CLASS_ALARM, true)];
pub(super) const MODBUS_KEYS: &[&str] = &["max_registers", "max_gap", "min_gap", "blocks", "serial", "invalid", "checked"];
pub(super) const KINDS: &[(&str, Kind)] =
    &[("gauge", Kind::Gauge), ("counter", Kind::Counter), ("state", Kind::State), ("text", Kind::Text)];
pub(super) const PARITIES: &[(&str, Parity)] = &[("none", Parity::None), ("even", Parity::Even), ("odd", Parity::Odd)];

impl Profile {
    /// Reads a profile from the content of its file, whose name must be its id.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn read(file: &Path, content: &[u8]) -> Result<Self, Vec<Problem>> {
        let node = yaml::parse(file, content, MAX_PROFILE_BYTES).map_err(|problem| vec![problem])?;
        let mut problems = Problems::of(file);
        match profile(&node, file, &mut problems) {
            Some(profile) if problems.count() == 0 => Ok(profile),
            _ => Err(problems.into_list()),
        }
    }
}

fn profile(node: &Node, file: &Path, problems: &mut Problems<'_>) -> Option<Profile> {
    let fields = Fields::read(node, "", KEYS, problems)?;
    if let Some(schema) = fields.required("schema", "1", problems) {
        schema.choice(&[("1", ())], problems);
    }
    let id = fields.required("id", "the name of this file without .yaml", problems).and_then(|field| id(&field, file, problems));
    let manufacturer = fields.required("manufacturer", "a name", problems).and_then(|f| text(&f, "a name", MAX_TEXT_CHARS, problems));
    let model = fields.required("model", "a name", problems).and_then(|f| text(&f, "a name", MAX_TEXT_CHARS, problems));
    let section = fields.optional("modbus");
    let (modbus, marks) =
        section.as_ref().map_or_else(|| (Some(ModbusLimits::default()), Marks::default()), |field| limits(field.node, problems));
    let own = fields.optional("bacnet");
    let bacnet = own.as_ref().map_or_else(|| Some(BacnetLimits::default()), |field| bacnet::section(field.node, problems));
    let matching = fields.optional("match");
    let signature = matching.as_ref().and_then(|field| signature::read(field.node, problems));
    let list = fields.required("points", "a list of points", problems)?;
    let agent = fields.optional(snmp::SECTION);
    let tables = agent.as_ref().map_or_else(|| Some(snmp::Tables::default()), |field| snmp::tables(field, problems))?;
    let points = points(&list, modbus.as_ref(), &marks, &tables, problems)?;
    let (misplaced, reads) = match points.first().map(|p| &p.read) {
        Some(Read::Host(_)) => (vec![section, agent, own, matching], "host metrics"),
        Some(Read::Line(_)) => (vec![section, agent, own, matching], "fields of lines"),
        Some(Read::Snmp(_) | Read::Trap(_)) => (vec![section, own], "an SNMP agent"),
        Some(Read::Bacnet(_)) => (vec![section, agent], "BACnet objects"),
        Some(Read::Modbus(_) | Read::SunSpec(_)) | None => (vec![agent, own], "registers"),
    };
    for section in misplaced.into_iter().flatten() {
        section.problem(&format!("has no place in a profile that reads {reads}"), problems);
    }
    Some(Profile { id: id?, manufacturer: manufacturer?, model: model?, modbus: modbus?, bacnet: bacnet?, signature, points })
}

fn id(field: &Field<'_>, file: &Path, problems: &mut Problems<'_>) -> Option<String> {
    let expected = format!("lower-case letters, digits and '-', at most {MAX_NAME_BYTES}");
    let id = field.text(&expected, problems)?;
    if id.len() > MAX_NAME_BYTES || !id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
        field.wrong(&expected, problems);
        return None;
    }
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    if stem != id {
        field.wrong(&format!("{}, the name of this file", quoted(&stem)), problems);
        return None;
    }
    Some(id.to_owned())
}

fn text(field: &Field<'_>, expected: &str, max_chars: usize, problems: &mut Problems<'_>) -> Option<String> {
    let text = field.text(expected, problems)?;
    if text.chars().count() > max_chars || text.chars().any(char::is_control) {
        field.wrong(&format!("{expected} of at most {max_chars} characters in one line"), problems);
        return None;
    }
    Some(text.to_owned())
}

/// The limits, where they are good, and what says "no value" on all points of a type.
fn limits(node: &Node, problems: &mut Problems<'_>) -> (Option<ModbusLimits>, Marks) {
    let before = problems.count();
    let Some(fields) = Fields::read(node, "modbus", MODBUS_KEYS, problems) else { return (None, Marks::default()) };
    let mut limits = ModbusLimits::default();
    if let Some(max) = fields.optional("max_registers").and_then(|f| register(&f, 1, 125, "a number of registers", problems)) {
        limits.max_registers = max;
    }
    if let Some(gap) = fields.optional("max_gap").and_then(|f| register(&f, 0, 124, "a number of registers", problems)) {
        limits.max_gap = gap;
    }
    if let Some(gap) = fields.optional("min_gap").and_then(|f| f.duration(Duration::ZERO, MAX_GAP_TIME, problems)) {
        limits.min_gap = gap;
    }
    if let Some(list) = fields.optional("blocks") {
        limits.blocks = blocks(&list, problems).unwrap_or_default();
    }
    if let Some(field) = fields.optional("serial") {
        limits.serial = serial(field.node, problems);
    }
    if let Some(field) = fields.optional("checked") {
        limits.checked = field.choice(&[("true", true), ("false", false)], problems).unwrap_or_default();
    }
    let marks = fields.optional("invalid").and_then(|field| Marks::read(&field, problems)).unwrap_or_default();
    ((problems.count() == before).then_some(limits), marks)
}

pub(super) fn register(field: &Field<'_>, min: u16, max: u16, what: &str, problems: &mut Problems<'_>) -> Option<u16> {
    field.integer(min.into(), max.into(), what, problems).and_then(|n| u16::try_from(n).ok())
}

fn serial(node: &Node, problems: &mut Problems<'_>) -> Option<Serial> {
    let fields = Fields::read(node, "modbus, serial", &["baud", "parity"], problems)?;
    let baud = fields.required("baud", "a number such as 9600", problems)?.integer(300, 1_000_000, "bits per second", problems);
    let parity = fields.required("parity", "none, even or odd", problems)?.choice(PARITIES, problems);
    Some(Serial { baud: u32::try_from(baud?).ok()?, parity: parity? })
}

fn blocks(field: &Field<'_>, problems: &mut Problems<'_>) -> Option<Vec<(u16, u16)>> {
    let expected = "a list of [first register, last register], ascending and apart from each other";
    let items = field.list(expected, problems)?;
    let mut blocks: Vec<(u16, u16)> = Vec::new();
    for item in items.iter().take(MAX_ITEMS) {
        let (low, high) = pair(&Field::new("modbus, blocks", item), expected, problems)?;
        let low = register(&low, 0, u16::MAX, "a register", problems)?;
        let high = register(&high, 0, u16::MAX, "a register", problems)?;
        if low > high || blocks.last().is_some_and(|(_, last)| *last >= low) {
            problems.add(item.at, format!("modbus, blocks: found [{low:#06X}, {high:#06X}], expected {expected}"));
            return None;
        }
        blocks.push((low, high));
    }
    Some(blocks)
}

/// The two values of `[a, b]`.
pub(super) fn pair<'t>(field: &Field<'t>, expected: &str, problems: &mut Problems<'_>) -> Option<(Field<'t>, Field<'t>)> {
    let [a, b] = field.list(expected, problems)? else {
        field.problem(&format!("found a list of another length, expected {expected}"), problems);
        return None;
    };
    Some((field.item(a), field.item(b)))
}

fn points(
    list: &Field<'_>,
    limits: Option<&ModbusLimits>,
    marks: &Marks,
    tables: &snmp::Tables,
    problems: &mut Problems<'_>,
) -> Option<Vec<Point>> {
    let items = list.list("a list of points", problems)?;
    if items.is_empty() || items.len() > MAX_POINTS {
        list.problem(&format!("found {} points, expected 1 to {MAX_POINTS}", items.len()), problems);
        return None;
    }
    let mut lines: HashMap<String, u32> = HashMap::new();
    let mut points: Vec<(Position, Point)> = Vec::new();
    let mut nodes = Vec::new();
    for (index, node) in items.iter().enumerate() {
        let what = name_of(node).map_or_else(|| format!("point {}", index + 1), |name| format!("point {}", quoted(name)));
        let Some(point) = point(node, &what, marks, tables, problems) else { continue };
        if let Some(line) = lines.insert(point.name.clone(), node.at.line) {
            problems.add(node.at, format!("{what}: this name is there twice, first in line {line}"));
        }
        points.push((node.at, point));
        nodes.push(node);
    }
    trap::hastens(&mut points, &nodes, problems);
    fit::together(&points, limits, problems);
    Some(points.into_iter().map(|(_, point)| point).collect())
}

/// The `name` of a mapping, for messages.
pub(crate) fn name_of(node: &Node) -> Option<&str> {
    let yaml::Tree::Map(entries) = &node.tree else { return None };
    entries.iter().find_map(|(key, value)| match (&key.tree, &value.tree) {
        (yaml::Tree::Scalar(key), yaml::Tree::Scalar(name)) if key == "name" && !name.is_empty() => Some(name.as_str()),
        _ => None,
    })
}

fn point(node: &Node, what: &str, marks: &Marks, tables: &snmp::Tables, problems: &mut Problems<'_>) -> Option<Point> {
    let before = problems.count();
    let fields = Fields::read(node, what, POINT_KEYS, problems)?;
    let name = fields.required("name", "a name such as voltage_l1", problems).and_then(|field| point_name(&field, problems));
    let unit = match fields.optional("unit") {
        Some(field) => text(&field, "a unit such as V or kWh", MAX_UNIT_CHARS, problems)?,
        None => String::new(),
    };
    let read = fields.required("read", "where the point is read from, such as { input: 0, type: f32 }", problems)?;
    let read = if snmp::is_read(read.node) {
        snmp::read(read.node, what, tables, problems)?
    } else if trap::is_trap(read.node) {
        Read::Trap(Box::new(trap::read(read.node, what, problems)?))
    } else {
        source::read(read.node, what, marks, problems)?
    };
    let repr = match &read {
        Read::Modbus(read) => read.repr(),
        Read::SunSpec(places) => places.first()?.read.repr(),
        Read::Host(metric) => metric.repr(),
        Read::Snmp(read) => read.repr(),
        Read::Trap(read) => read.repr(),
        Read::Bacnet(read) => read.repr(),
        Read::Line(read) => read.repr(),
    };
    if let (Some(field), Read::Line(_)) = (fields.optional("every"), &read) {
        field.problem("has no place here: a program tells all its points each time it runs", problems);
    }
    let every = match fields.optional("every") {
        Some(field) => Some(field.duration(MIN_INTERVAL, MAX_INTERVAL, problems)?),
        None => None,
    };
    let states = match fields.optional("states") {
        Some(field) => states(&field, repr, problems)?,
        None => BTreeMap::new(),
    };
    let kind = match fields.optional("kind") {
        Some(field) => kind(&field, repr, !states.is_empty(), problems)?,
        None if repr == Repr::Text => Kind::Text,
        None if repr == Repr::Bool || !states.is_empty() => Kind::State,
        None => Kind::Gauge,
    };
    let alarm = match fields.optional("class") {
        Some(field) => field.choice(CLASSES, problems)?,
        None => false,
    };
    let range = match fields.optional("range") {
        Some(field) => Some(range(&field, repr, problems)?),
        None => None,
    };
    if problems.count() > before {
        return None;
    }
    let mut point = Point { name: name?, unit, kind, alarm, repr, every, states, range, read, writable: None };
    if let Some(field) = fields.optional("writable") {
        point.writable = Some(writable::read(&field, what, &point, problems)?);
    }
    Some(point)
}

fn point_name(field: &Field<'_>, problems: &mut Problems<'_>) -> Option<String> {
    let expected = format!("lower-case letters, digits and '_', a letter first, at most {MAX_NAME_BYTES}");
    let name = field.text(&expected, problems)?;
    let good = name.len() <= MAX_NAME_BYTES
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    if !good {
        field.wrong(&expected, problems);
    }
    good.then(|| name.to_owned())
}

fn kind(field: &Field<'_>, repr: Repr, has_states: bool, problems: &mut Problems<'_>) -> Option<Kind> {
    let kind = field.choice(KINDS, problems)?;
    let why = match (kind, repr) {
        (Kind::Text, _) if repr != Repr::Text => "text is not possible: this point has numbers",
        (Kind::Counter | Kind::Gauge | Kind::State, Repr::Text) => "text has no other kind than text",
        (Kind::Counter | Kind::Gauge, Repr::Bool) => "a bit is a state, neither a gauge nor a counter",
        (Kind::State, Repr::F32 | Repr::F64) => "a float is not a state",
        (Kind::State, Repr::Decimal { exponent }) if exponent != 0 => "a state is a whole number, this point is scaled",
        (Kind::Gauge | Kind::Counter, _) if has_states => "a point with states is of kind state",
        _ => return Some(kind),
    };
    field.problem(why, problems);
    None
}

fn states(field: &Field<'_>, repr: Repr, problems: &mut Problems<'_>) -> Option<BTreeMap<i64, String>> {
    let whole = matches!(repr, Repr::Bool | Repr::Unsigned | Repr::Decimal { exponent: 0 });
    if !whole {
        field.problem("only bits and unscaled integers have states", problems);
        return None;
    }
    let expected = "texts of whole numbers, such as { 0: off, 1: on }";
    let mut states = BTreeMap::new();
    for (key, at, node) in field.entries(expected, problems)?.into_iter().take(MAX_ITEMS) {
        let number = yaml::parse_integer(key).and_then(|n| i64::try_from(n).ok()).filter(|n| repr != Repr::Bool || (0..=1).contains(n));
        let Some(number) = number else {
            problems.add(at, format!("{}found the state {}, expected {expected}", field.what, quoted(key)));
            return None;
        };
        states.insert(number, text(&field.entry(key, node), "the text of a state", MAX_TEXT_CHARS, problems)?);
    }
    Some(states)
}

fn range(field: &Field<'_>, repr: Repr, problems: &mut Problems<'_>) -> Option<(f64, f64)> {
    if matches!(repr, Repr::Bool | Repr::Text) {
        field.problem(if repr == Repr::Text { "text has no range" } else { "a bit has no range" }, problems);
        return None;
    }
    let expected = "[lowest, highest] value that is possible";
    let (low, high) = pair(field, expected, problems)?;
    let (low, high) = (low.number("a number", problems)?, high.number("a number", problems)?);
    if low >= high {
        field.problem(&format!("found [{low}, {high}], expected {expected}"), problems);
        return None;
    }
    Some((low, high))
}
