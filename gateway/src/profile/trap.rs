//! The `read:` of a point that a notification brings: `{ trap: 1.3.6.1.6.3.1.1.5.3, row: …, value: … }`. Knows no message.
//!
//! | key | meaning |
//! |---|---|
//! | `trap` | the notification, a list of them, or `any`: what no other point of the profile takes; or a mapping of them to the number that each is |
//! | `row` | an object whose value makes the series, or a list of those that are tried in turn: its text where it is one, else its index |
//! | `value` | the object whose value is the reading; the whole notification as a text where absent |
//! | `type`, `scale`, `invalid` | how `value` is meant, as for an object that is read; text where absent |
//!
//! Beside `read:`, `hastens:` lists the points of the profile that are read at once, out of turn, when it comes.

use pattoo_wire::Repr;

use super::read::MAX_ITEMS;
use super::snmp::{How, Oid, Syntax};
use super::{Point, Read};
use crate::reading::PointIndex;
use crate::yaml::{Field, Fields, Node, Position, Problems, Tree, did_you_mean, quoted};

/// What a notification says to a point.
#[derive(Debug, Clone, PartialEq)]
pub struct TrapRead {
    /// Which notifications, and the number that each is; none for any that no other point takes.
    pub traps: Vec<(Oid, Option<i64>)>,
    /// Objects whose value makes the series, tried in turn; none: the point has one series.
    pub rows: Vec<Oid>,
    /// The object whose value is the reading, and what it means; none: all that the notification brings, as a text.
    pub value: Option<(Oid, How)>,
    /// Points that are read at once when it comes.
    pub hastens: Vec<PointIndex>,
}

impl TrapRead {
    /// Whether it takes what no other point does.
    #[must_use]
    pub fn is_any(&self) -> bool {
        self.traps.is_empty()
    }

    /// Whether it names this one.
    #[must_use]
    pub fn takes(&self, trap: &Oid) -> bool {
        self.traps.iter().any(|(own, _)| own == trap)
    }

    /// How its values are represented.
    #[must_use]
    pub fn repr(&self) -> Repr {
        if self.traps.iter().any(|(_, number)| number.is_some()) {
            return Repr::Decimal { exponent: 0 };
        }
        self.value.as_ref().map_or(Repr::Text, |(_, how)| how.repr())
    }
}

/// The place that is a notification.
pub(super) const TRAP: &str = "trap";
pub(super) const KEYS: &[&str] = &[TRAP, "row", "value", "type", "scale", "invalid"];
/// The key beside `read`.
pub(super) const HASTENS: &str = "hastens";
/// What takes all that nobody else does.
pub(super) const ANY: &str = "any";

/// Whether this is the `read:` of a point that a notification brings.
pub(super) fn is_trap(node: &Node) -> bool {
    matches!(&node.tree, Tree::Map(entries) if entries.iter().any(|(key, _)| matches!(&key.tree, Tree::Scalar(key) if key == TRAP)))
}

pub(super) fn read(node: &Node, what: &str, problems: &mut Problems<'_>) -> Option<TrapRead> {
    let what = format!("{what}, read");
    let fields = Fields::read(node, &what, KEYS, problems)?;
    let trap = fields.required(TRAP, "the OID of a notification, or any", problems)?;
    let any = matches!(&trap.node.tree, Tree::Scalar(text) if text == ANY);
    let numbered = matches!(&trap.node.tree, Tree::Map(_));
    let traps = match any {
        true => Vec::new(),
        false if numbered => numbers(&trap, problems)?,
        false => oids(&trap, problems)?.into_iter().map(|oid| (oid, None)).collect(),
    };
    let rows = match fields.optional("row") {
        Some(field) => oids(&field, problems)?,
        None => Vec::new(),
    };
    let mut how = How::new(Syntax::Text);
    if let Some(field) = fields.optional("type") {
        how.syntax = field.choice(Syntax::NAMES, problems)?;
    }
    if let Some(field) = fields.optional("scale") {
        how.scale = field.decimal("a number such as 0.1", problems)?;
        if how.scale.0 == 0 || how.syntax.is_text() {
            field.problem(if how.scale.0 == 0 { "found 0, expected another number" } else { "a text has no scale" }, problems);
            return None;
        }
    }
    if let Some(field) = fields.optional("invalid") {
        let number = field.integer(i64::MIN.into(), i64::MAX.into(), "the number that says \"no value\"", problems)?;
        how.invalid = vec![i64::try_from(number).ok()?];
    }
    let value = match fields.optional("value") {
        Some(field) if numbered => {
            field.problem("has no place beside a mapping: each notification is a number there", problems);
            return None;
        }
        Some(field) => Some((oid(&field, problems)?, how)),
        None => {
            if let Some(field) = ["type", "scale", "invalid"].iter().find_map(|key| fields.optional(key)) {
                field.problem("found without `value`, expected only with it", problems);
                return None;
            }
            None
        }
    };
    Some(TrapRead { traps, rows, value, hastens: Vec::new() })
}

/// Finds the points that the points of these nodes hasten.
pub(super) fn hastens(points: &mut [(Position, Point)], nodes: &[&Node], problems: &mut Problems<'_>) {
    let names: Vec<_> = points.iter().map(|(_, point)| (point.name.clone(), point.read.is_heard())).collect();
    for ((_, point), node) in points.iter_mut().zip(nodes) {
        let what = format!("point {}", quoted(&point.name));
        let Some(field) = entry(node, &what) else { continue };
        let Read::Trap(read) = &mut point.read else {
            field.problem("is for a point that a notification brings", problems);
            continue;
        };
        let Some(items) = field.list("a list of points", problems) else { continue };
        for item in items.iter().take(MAX_ITEMS) {
            let item = field.item(item);
            let Some(name) = item.text("the name of a point", problems) else { continue };
            match names.iter().position(|(own, _)| own == name) {
                Some(index) if names.get(index).is_some_and(|(_, heard)| !heard) => read.hastens.push(PointIndex(index)),
                Some(_) => item.problem(&format!("{} comes by itself, expected a point that is read", quoted(name)), problems),
                None => {
                    let hint = did_you_mean(name, names.iter().map(|(name, _)| name.as_str()));
                    item.problem(&format!("there is no point {}{hint}", quoted(name)), problems);
                }
            }
        }
    }
}

/// The field `hastens` of a point, whose keys were checked.
fn entry<'t>(node: &'t Node, what: &str) -> Option<Field<'t>> {
    let Tree::Map(entries) = &node.tree else { return None };
    let is_own = |key: &Node| matches!(&key.tree, Tree::Scalar(key) if key == HASTENS);
    let (_, value) = entries.iter().find(|(key, _)| is_own(key))?;
    Some(Field::new(&format!("{what}, {HASTENS}"), value))
}

fn oid(field: &Field<'_>, problems: &mut Problems<'_>) -> Option<Oid> {
    let expected = "an OID such as 1.3.6.1.6.3.1.1.5.3";
    let oid = field.text(expected, problems)?.parse().ok();
    if oid.is_none() {
        field.wrong(expected, problems);
    }
    oid
}

/// Notifications and the number that each is.
fn numbers(field: &Field<'_>, problems: &mut Problems<'_>) -> Option<Vec<(Oid, Option<i64>)>> {
    let expected = "a mapping of OIDs to numbers, such as { 1.3.6.1.6.3.1.1.5.3: 2, 1.3.6.1.6.3.1.1.5.4: 1 }";
    let mut numbers = Vec::new();
    for (key, at, node) in field.entries(expected, problems)?.into_iter().take(MAX_ITEMS) {
        let Ok(oid) = key.parse() else {
            problems.add(at, format!("{}found {}, expected {expected}", field.what, quoted(key)));
            return None;
        };
        let number = field.entry(key, node).integer(i64::MIN.into(), i64::MAX.into(), "a number", problems)?;
        numbers.push((oid, i64::try_from(number).ok()));
    }
    if numbers.is_empty() {
        field.problem(&format!("found an empty mapping, expected {expected}"), problems);
        return None;
    }
    Some(numbers)
}

/// One or a list of them.
fn oids(field: &Field<'_>, problems: &mut Problems<'_>) -> Option<Vec<Oid>> {
    match &field.node.tree {
        Tree::List(items) if !items.is_empty() => items.iter().take(MAX_ITEMS).map(|item| oid(&field.item(item), problems)).collect(),
        _ => Some(vec![oid(field, problems)?]),
    }
}

#[cfg(test)]
mod tests {
    use crate::profile::Profile;

    #[test]
    fn a_wrong_notification_is_refused_with_its_place() {
        for (point, says) in [
            ("read: { trap: linkDown }", "m.yaml:7:34: point `event`, read, trap: found `linkDown`, expected an OID"),
            ("read: { trap: [] }", "expected an OID such as"),
            ("read: { trap: {} }", "found an empty mapping"),
            ("read: { trap: { up: 1 } }", "found `up`, expected a mapping of OIDs to numbers"),
            ("read: { trap: { 1.3.6.1: one } }", "expected a number"),
            ("read: { trap: { 1.3.6.1: 1 }, value: 1.3.6.2 }", "has no place beside a mapping"),
            ("read: { trap: any, type: integer }", "found without `value`"),
            ("read: { trap: any, value: 1.3.6.2, scale: 0.1 }", "a text has no scale"),
            ("read: { trap: any, value: 1.3.6.2, type: integer, scale: 0 }", "found 0, expected another number"),
            ("read: { trap: any, rows: 1.3.6 }", "did you mean `row`"),
            ("read: { trap: any }, hastens: [sys_uptim]", "there is no point `sys_uptim`; did you mean `sys_uptime`"),
            ("read: { trap: any }, hastens: [event]", "`event` comes by itself"),
            ("read: { oid: 1.3.6.1.0, type: integer }, hastens: [sys_uptime]", "is for a point that a notification brings"),
            ("read: { trap: any }, hastens: [sys_uptime]", ""),
            ("read: { trap: [1.3.6.1.6.3.1.1.5.3, 1.3.6.1.6.3.1.1.5.4], row: 1.3.6, value: 1.3.6.2, type: integer, invalid: -1 }", ""),
        ] {
            let text = format!(
                "schema: 1\nid: m\nmanufacturer: x\nmodel: x\npoints:\n  - {{ name: sys_uptime, read: {{ oid: 1.3.6.1.2.1.1.3.0, type: timeticks }} }}\n  - {{ name: event, {point} }}\n"
            );
            let problems = Profile::read("m.yaml".as_ref(), text.as_bytes())
                .map_or_else(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"), |_| String::new());
            assert!(problems.contains(says) && problems.is_empty() == says.is_empty(), "{point}: {problems}");
        }
    }
}
