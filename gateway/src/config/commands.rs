//! The `commands` section, and the `writable` of a device: what may be written to devices. Opens no file.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use pattoo_wire::Scalar;

use super::read::{path, seconds};
use super::{Allowed, COMMANDS_MAX_EXPIRY, Commands, Safe};
use crate::profile::{Profile, WriteLimits};
use crate::reading::PointIndex;
use crate::yaml::{Field, Fields, Problems, Tree, did_you_mean, parse_integer, quoted};

/// Name of the audit file where none is given; it lies beside the buffer.
const AUDIT_NAME: &str = "audit.jsonl";

/// Longest time that a command may be good for: an old one must not move a machine.
const MAX_EXPIRY: Duration = Duration::from_secs(24 * 3_600);
/// Shortest and longest time without the server after which a safe value is written.
const SAFE_AFTER: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(24 * 3_600));

const POINT_KEYS: &[&str] = &["min", "max", "safe"];

/// The section; `points` come from the devices.
pub(super) fn commands(top: &Fields<'_>, buffer: Option<&Path>, problems: &mut Problems<'_>) -> Option<Commands> {
    let before = problems.count();
    let mut commands = Commands { max_expiry: COMMANDS_MAX_EXPIRY, ..Commands::default() };
    if let Some(buffer) = buffer {
        commands.audit = buffer.with_file_name(AUDIT_NAME);
    }
    if let Some(field) = top.optional("commands") {
        let keys = &["enabled", "max_expiry", "read_modify_write", "audit"];
        let fields = Fields::read(field.node, "commands", keys, problems)?;
        let flags = [("true", true), ("false", false)];
        if let Some(enabled) = fields.required("enabled", "true or false", problems).and_then(|field| field.choice(&flags, problems)) {
            commands.enabled = enabled;
        }
        if let Some(time) = fields.optional("max_expiry").and_then(|field| field.duration(seconds(1), MAX_EXPIRY, problems)) {
            commands.max_expiry = time;
        }
        if let Some(allowed) = fields.optional("read_modify_write").and_then(|field| field.choice(&flags, problems)) {
            commands.read_modify_write = allowed;
        }
        if let Some(file) = fields.optional("audit").and_then(|field| path(&field, problems)) {
            commands.audit = file;
        }
    }
    (problems.count() == before).then_some(commands)
}

/// The points of a device that may be written: `all`, a list of names, or a mapping of names to narrower limits and safe values.
pub(super) fn writable(field: &Field<'_>, profile: &Profile, problems: &mut Problems<'_>) -> Option<BTreeMap<PointIndex, Allowed>> {
    let expected = "all, a list of points such as [relay_1], or a mapping such as relay_1: { safe: { value: false, after: 10m } }";
    let mut allowed = BTreeMap::new();
    match &field.node.tree {
        Tree::Scalar(text) if text == "all" => {
            let limits = |(index, point): (usize, &crate::profile::Point)| {
                Some((PointIndex(index), Allowed { limits: point.writable.as_ref()?.limits.clone(), safe: None }))
            };
            allowed.extend(profile.points.iter().enumerate().filter_map(limits));
            if allowed.is_empty() {
                field.problem(&format!("the profile {} has no writable point", quoted(&profile.id)), problems);
                return None;
            }
        }
        Tree::List(items) => {
            for item in items {
                let name = field.item(item).text(expected, problems)?;
                let (index, limits) = point(&field.item(item), name, profile, problems)?;
                allowed.insert(index, Allowed { limits, safe: None });
            }
        }
        Tree::Map(_) => {
            for (name, _, node) in field.entries(expected, problems)? {
                let entry = field.entry(name, node);
                let (index, limits) = point(&entry, name, profile, problems)?;
                allowed.insert(index, narrowed(&entry, index, limits, profile, problems)?);
            }
        }
        Tree::Scalar(_) | Tree::Null => {
            field.wrong(expected, problems);
            return None;
        }
    }
    Some(allowed)
}

/// A point by its name, and what its profile allows.
fn point(field: &Field<'_>, name: &str, profile: &Profile, problems: &mut Problems<'_>) -> Option<(PointIndex, WriteLimits)> {
    let found = profile.points.iter().position(|point| point.name == name);
    let writable = found.and_then(|index| Some((PointIndex(index), profile.points.get(index)?.writable.as_ref()?.limits.clone())));
    if writable.is_none() {
        let names = || profile.points.iter().filter(|point| point.writable.is_some()).map(|point| point.name.as_str());
        let id = quoted(&profile.id);
        let message = match (found, names().next()) {
            (_, None) => format!("the profile {id} has no writable point"),
            (Some(_), _) => format!("the profile {id} does not say that {} is writable", quoted(name)),
            (None, _) => format!("the profile {id} has no point {}{}", quoted(name), did_you_mean(name, names())),
        };
        field.problem(&message, problems);
    }
    writable
}

/// What is allowed for one point: no more than its profile does.
fn narrowed(field: &Field<'_>, index: PointIndex, limits: WriteLimits, profile: &Profile, problems: &mut Problems<'_>) -> Option<Allowed> {
    let what = field.what.trim_end_matches(": ");
    let fields = Fields::read(field.node, what, POINT_KEYS, problems)?;
    let ends = (fields.optional("min"), fields.optional("max"));
    let limits = match (limits, ends) {
        (limits, (None, None)) => limits,
        (WriteLimits::Range(low, high), (min, max)) => {
            let expected = format!("a number within the limits of the profile, {low} to {high}");
            let end = |field: Option<Field<'_>>, default: f64, problems: &mut Problems<'_>| {
                let Some(field) = field else { return Some(default) };
                let number = field.number(&expected, problems)?;
                if !(low..=high).contains(&number) {
                    field.wrong(&expected, problems);
                    return None;
                }
                Some(number)
            };
            let (min, max) = (end(min, low, problems)?, end(max, high, problems)?);
            if min > max {
                field.problem(&format!("found {min} to {max}, expected a `max` that is not below `min`"), problems);
                return None;
            }
            WriteLimits::Range(min, max)
        }
        (WriteLimits::Values(_), (min, max)) => {
            if let Some(field) = min.or(max) {
                field.problem("a point with states has no lowest and highest value", problems);
            }
            return None;
        }
    };
    let safe = match fields.optional("safe") {
        Some(field) => Some(safe(&field, index, &limits, profile, problems)?),
        None => None,
    };
    Some(Allowed { limits, safe })
}

fn safe(field: &Field<'_>, index: PointIndex, limits: &WriteLimits, profile: &Profile, problems: &mut Problems<'_>) -> Option<Safe> {
    let fields = Fields::read(field.node, field.what.trim_end_matches(": "), &["value", "after"], problems)?;
    let value = fields.required("value", "the safe value", problems)?;
    let text = value.text("the safe value", problems)?;
    let said = match text {
        "true" => Scalar::Bool(true),
        "false" => Scalar::Bool(false),
        _ => match (parse_integer(text).and_then(|n| i64::try_from(n).ok()), text.parse()) {
            (Some(n), _) => Scalar::Integer(n),
            (None, Ok(x)) => Scalar::Float(x),
            (None, Err(_)) => Scalar::Text(text.to_owned()),
        },
    };
    let typed = match profile.points.get(index.0)?.value_of(&said) {
        Ok(typed) => typed,
        Err(why) => {
            value.problem(&format!("found {}: {why}", quoted(text)), problems);
            return None;
        }
    };
    if !limits.allow(&typed) {
        value.problem(&format!("found {}, expected a value within the limits: {}", quoted(text), limits.words()), problems);
        return None;
    }
    let after = fields.required("after", "a time without the server, such as 10m", problems)?;
    Some(Safe { value: typed, after: after.duration(SAFE_AFTER.0, SAFE_AFTER.1, problems)? })
}

#[cfg(test)]
mod tests {
    use pattoo_wire::Value;

    use super::super::{Config, read_for_test};
    use super::*;
    use crate::reading::DeviceIndex;

    fn read(commands: &str, writable: &str) -> Result<Config, String> {
        let profile = "schema: 1\nid: io\nmanufacturer: X\nmodel: X\npoints:
  - { name: relay, read: { coil: 0 }, states: { 0: off, 1: on }, writable: true }
  - { name: speed, read: { holding: 0, type: u16, scale: 0.1 }, writable: { min: 0, max: 90 } }
  - { name: input, read: { discrete: 0 } }\n";
        let profile = Profile::read(Path::new("io.yaml"), profile.as_bytes()).unwrap();
        let head =
            "gateway: g1\nuplink: { url: mqtt://localhost }\nbuffer: { path: /data/buffer }\nlinks: { plc: { tcp: 127.0.0.1:502 } }\n";
        let (config, problems) =
            read_for_test(&format!("{head}{commands}\ndevices:\n  - {{ name: io, profile: io, link: plc{writable} }}\n"), profile);
        match problems.first() {
            None => Ok(config.unwrap()),
            Some(problem) => Err(problem.message.clone()),
        }
    }

    #[test]
    fn nothing_may_be_written_unless_it_is_said_twice() {
        let commands = read("", "").unwrap().commands;
        let audit = "/data/audit.jsonl".into();
        assert_eq!(commands, Commands { max_expiry: COMMANDS_MAX_EXPIRY, audit, ..Commands::default() });
        assert!(!read("", ", writable: all").unwrap().commands.enabled);
        assert!(read("commands: { enabled: true }", "").unwrap().commands.points.is_empty());
        let commands =
            read("commands: { enabled: true, max_expiry: 5m, read_modify_write: true, audit: /log/a }", ", writable: [relay]").unwrap();
        let commands = commands.commands;
        assert!(commands.enabled && commands.read_modify_write);
        assert_eq!((commands.max_expiry, commands.audit.as_path()), (Duration::from_secs(300), Path::new("/log/a")));
        assert_eq!(commands.points.keys().collect::<Vec<_>>(), [&(DeviceIndex(0), PointIndex(0))]);
    }

    #[test]
    fn a_device_says_which_points_and_may_narrow_their_limits() {
        let points = |writable: &str| -> Vec<(usize, WriteLimits, Option<Safe>)> {
            let commands = read("", &format!(", writable: {writable}")).unwrap().commands;
            commands.points.into_iter().map(|((_, point), allowed)| (point.0, allowed.limits, allowed.safe)).collect()
        };
        let (relay, speed) = (WriteLimits::Values(vec![0, 1]), WriteLimits::Range(0.0, 90.0));
        assert_eq!(points("all"), [(0, relay.clone(), None), (1, speed.clone(), None)]);
        assert_eq!(points("[speed]"), [(1, speed, None)]);
        let safe = |value, seconds| Some(Safe { value, after: Duration::from_secs(seconds) });
        let twenty = Value::Decimal(pattoo_wire::Decimal { mantissa: 200, exponent: -1 });
        assert_eq!(
            points("{ relay: { safe: { value: off, after: 10m } }, speed: { min: 5, max: 20, safe: { value: 20, after: 10s } } }"),
            [(0, relay, safe(Value::Bool(false), 600)), (1, WriteLimits::Range(5.0, 20.0), safe(twenty, 10))]
        );
    }

    #[test]
    fn what_is_wrong_is_told() {
        for (commands, writable, words) in [
            ("commands: {}", "", "`enabled` is missing"),
            ("commands: { enabled: yes }", "", "expected one of true, false"),
            ("commands: { enabled: true, max_expiry: 2d }", "", "from 1000ms to 24h"),
            ("", ", writable: some", "expected all, a list"),
            ("", ", writable: [input]", "does not say that `input` is writable"),
            ("", ", writable: [rely]", "has no point `rely`; did you mean `relay`?"),
            ("", ", writable: { speed: { min: -1 } }", "within the limits of the profile, 0 to 90"),
            ("", ", writable: { speed: { min: 9, max: 8 } }", "not below `min`"),
            ("", ", writable: { relay: { min: 0 } }", "no lowest and highest"),
            ("", ", writable: { speed: { safe: { value: 91, after: 10m } } }", "expected a value within the limits: 0 to 90"),
            ("", ", writable: { speed: { max: 20, safe: { value: 21, after: 10m } } }", "expected a value within the limits: 0 to 20"),
            ("", ", writable: { speed: { safe: { value: 0.05, after: 10m } } }", "a multiple of 0.1"),
            ("", ", writable: { speed: { safe: { value: 5 } } }", "`after` is missing"),
            ("", ", writable: { speed: { safe: { value: 5, after: 9s } } }", "from 10s to 24h"),
            ("", ", writable: { speed: { safe: { after: 10s } } }", "`value` is missing"),
        ] {
            let found = read(commands, writable).unwrap_err();
            assert!(found.contains(words), "{commands}{writable}: {found}");
        }
    }
}
