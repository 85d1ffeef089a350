//! Takes a tree apart key by key; whatever is wrong becomes a problem that names the thing, the find and the expectation.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::Duration;

use super::{Node, Position, Problems, Tree};

/// Longest piece of a file that a message repeats, in characters.
const MAX_QUOTED: usize = 60;

/// A mapping with known keys.
pub(crate) struct Fields<'t> {
    what: String,
    at: Position,
    entries: Vec<(&'t str, &'t Node)>,
}

impl<'t> Fields<'t> {
    /// The fields of a mapping; unknown and repeated keys are problems. `what` names the thing: device `main-meter`.
    pub(crate) fn read(node: &'t Node, what: &str, keys: &[&str], problems: &mut Problems<'_>) -> Option<Self> {
        let Tree::Map(map) = &node.tree else {
            let expected = keys.join(", ");
            problems.add(node.at, format!("{}found {}, expected a mapping with these keys: {expected}", prefix(what), node.describe()));
            return None;
        };
        let mut entries: Vec<(&str, &Node)> = Vec::new();
        let mut lines = Vec::new();
        for (key, value) in map {
            let Tree::Scalar(name) = &key.tree else {
                problems.add(key.at, format!("{}found {} as a key, expected one of {}", prefix(what), key.describe(), keys.join(", ")));
                continue;
            };
            if let Some(first) = entries.iter().position(|(n, _)| n == name) {
                let line: u32 = lines.get(first).copied().unwrap_or_default();
                problems.add(key.at, format!("{}key {} is there twice, first in line {line}", prefix(what), quoted(name)));
                continue;
            }
            if !keys.contains(&name.as_str()) {
                let hint = did_you_mean(name, keys.iter().copied());
                problems.add(key.at, format!("{}unknown key {}, expected one of {}{hint}", prefix(what), quoted(name), keys.join(", ")));
                continue;
            }
            entries.push((name, value));
            lines.push(key.at.line);
        }
        Some(Self { what: what.to_owned(), at: node.at, entries })
    }

    /// The field, if it is there.
    pub(crate) fn optional(&self, key: &str) -> Option<Field<'t>> {
        let (_, node) = self.entries.iter().find(|(name, _)| *name == key)?;
        Some(Field { what: format!("{}{key}: ", if self.what.is_empty() { String::new() } else { format!("{}, ", self.what) }), node })
    }

    /// The field; a problem if it is not there.
    pub(crate) fn required(&self, key: &str, expected: &str, problems: &mut Problems<'_>) -> Option<Field<'t>> {
        let field = self.optional(key);
        if field.is_none() {
            problems.add(self.at, format!("{}{} is missing, expected {expected}", prefix(&self.what), quoted(key)));
        }
        field
    }
}

/// One value, and its name for messages.
#[derive(Debug, Clone)]
pub(crate) struct Field<'t> {
    /// Its name with a colon behind, or nothing.
    pub(crate) what: String,
    pub(crate) node: &'t Node,
}

impl<'t> Field<'t> {
    /// A value that is not the field of a mapping.
    pub(crate) fn new(what: &str, node: &'t Node) -> Self {
        Self { what: prefix(what), node }
    }

    /// A part of this value, under the same name.
    pub(crate) fn item(&self, node: &'t Node) -> Self {
        Self { what: self.what.clone(), node }
    }

    /// The value of one of its keys.
    pub(crate) fn entry(&self, key: &str, node: &'t Node) -> Self {
        Self { what: format!("{}, {}: ", self.what.trim_end_matches(": "), quoted(key)), node }
    }

    /// Notes that the value is not what was expected.
    pub(crate) fn wrong(&self, expected: &str, problems: &mut Problems<'_>) {
        problems.add(self.node.at, format!("{}found {}, expected {expected}", self.what, self.node.describe()));
    }

    /// Notes something else about the value.
    pub(crate) fn problem(&self, message: &str, problems: &mut Problems<'_>) {
        problems.add(self.node.at, format!("{}{message}", self.what));
    }

    /// Text that is not empty.
    pub(crate) fn text(&self, expected: &str, problems: &mut Problems<'_>) -> Option<&'t str> {
        match &self.node.tree {
            Tree::Scalar(text) if !text.is_empty() => Some(text),
            _ => {
                self.wrong(expected, problems);
                None
            }
        }
    }

    /// A whole number from `min` to `max`, decimal or 0x…
    pub(crate) fn integer(&self, min: i128, max: i128, what: &str, problems: &mut Problems<'_>) -> Option<i128> {
        let expected = format!("{what} from {min} to {max}");
        let text = self.text(&expected, problems)?;
        let number = parse_integer(text).filter(|n| (min..=max).contains(n));
        if number.is_none() {
            self.wrong(&expected, problems);
        }
        number
    }

    /// A number with or without a fraction.
    pub(crate) fn number(&self, expected: &str, problems: &mut Problems<'_>) -> Option<f64> {
        let text = self.text(expected, problems)?;
        let number = text.parse().ok().or_else(|| parse_integer(text).map(|n| n as f64)).filter(|n: &f64| n.is_finite());
        if number.is_none() {
            self.wrong(expected, problems);
        }
        number
    }

    /// An exact decimal: `mantissa * 10^exponent`.
    pub(crate) fn decimal(&self, expected: &str, problems: &mut Problems<'_>) -> Option<(i64, i8)> {
        let decimal = parse_decimal(self.text(expected, problems)?);
        if decimal.is_none() {
            self.wrong(expected, problems);
        }
        decimal
    }

    /// A span of time within bounds.
    pub(crate) fn duration(&self, min: Duration, max: Duration, problems: &mut Problems<'_>) -> Option<Duration> {
        let expected = format!("a time from {} to {}, such as 500ms, 10s, 5m, 1h or 30d", brief(min), brief(max));
        let text = self.text(&expected, problems)?;
        let duration = humantime::parse_duration(text).ok();
        match duration {
            Some(duration) if (min..=max).contains(&duration) => return Some(duration),
            Some(_) => self.wrong(&expected, problems),
            None => {
                let unit = text.trim_start_matches(|c: char| c.is_ascii_digit() || c == ' ');
                let hint =
                    if unit.is_empty() { format!("; did you mean `{text}s`?") } else { did_you_mean(unit, TIME_UNITS.iter().copied()) };
                self.wrong(&format!("{expected}{hint}"), problems);
            }
        }
        None
    }

    /// One of a list of names.
    pub(crate) fn choice<T: Copy>(&self, names: &[(&str, T)], problems: &mut Problems<'_>) -> Option<T> {
        let all = names.iter().map(|(name, _)| *name).collect::<Vec<_>>();
        let expected = format!("{}{}", if all.len() > 1 { "one of " } else { "" }, all.join(", "));
        let text = self.text(&expected, problems)?;
        let found = names.iter().find(|(name, _)| *name == text);
        if found.is_none() {
            self.wrong(&format!("{expected}{}", did_you_mean(text, all.iter().copied())), problems);
        }
        found.map(|(_, value)| *value)
    }

    /// The items of a list.
    pub(crate) fn list(&self, expected: &str, problems: &mut Problems<'_>) -> Option<&'t [Node]> {
        match &self.node.tree {
            Tree::List(items) => Some(items),
            _ => {
                self.wrong(expected, problems);
                None
            }
        }
    }

    /// The entries of a mapping with free keys, each key once.
    pub(crate) fn entries(&self, expected: &str, problems: &mut Problems<'_>) -> Option<Vec<(&'t str, Position, &'t Node)>> {
        let Tree::Map(map) = &self.node.tree else {
            self.wrong(expected, problems);
            return None;
        };
        let mut entries = Vec::new();
        let mut lines = HashMap::new();
        for (key, value) in map {
            let Tree::Scalar(name) = &key.tree else {
                problems.add(key.at, format!("{}found {} as a key, expected {expected}", self.what, key.describe()));
                continue;
            };
            match lines.entry(name) {
                Entry::Occupied(first) => {
                    problems.add(key.at, format!("{}key {} is there twice, first in line {}", self.what, quoted(name), first.get()));
                }
                Entry::Vacant(place) => {
                    place.insert(key.at.line);
                    entries.push((name.as_str(), key.at, value));
                }
            }
        }
        Some(entries)
    }
}

impl Node {
    /// What a message calls it.
    pub(crate) fn describe(&self) -> String {
        match &self.tree {
            Tree::Null => "nothing".to_owned(),
            Tree::Scalar(text) => quoted(text),
            Tree::List(_) => "a list".to_owned(),
            Tree::Map(_) => "a mapping".to_owned(),
        }
    }
}

const TIME_UNITS: &[&str] = &["ms", "s", "sec", "seconds", "m", "min", "minutes", "h", "hours", "d", "days", "weeks"];

/// A bound in the largest unit that tells it exactly.
fn brief(time: Duration) -> String {
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")];
    let ms = time.as_millis();
    match units.iter().find(|(unit, _)| ms > *unit && ms.is_multiple_of(*unit)) {
        Some((unit, name)) => format!("{}{name}", ms / unit),
        None => format!("{ms}ms"),
    }
}

fn prefix(what: &str) -> String {
    if what.is_empty() { String::new() } else { format!("{what}: ") }
}

/// Text of a file in backquotes, without control characters and not too long.
pub(crate) fn quoted(text: &str) -> String {
    let clean = |c: char| if c.is_control() { '\u{FFFD}' } else { c };
    let short: String = text.chars().take(MAX_QUOTED).map(clean).collect();
    let more = if text.chars().nth(MAX_QUOTED).is_some() { "…" } else { "" };
    format!("`{short}{more}`")
}

/// "; did you mean …" where a candidate is near enough, nothing else.
pub(crate) fn did_you_mean<'c>(found: &str, candidates: impl Iterator<Item = &'c str>) -> String {
    if found.chars().count() > MAX_QUOTED {
        return String::new();
    }
    let found = found.to_lowercase();
    // A third of the letters may be wrong, but never all of them.
    let allowed =
        |candidate: &str| candidate.chars().count().min(found.chars().count()).saturating_sub(1).min(1 + found.chars().count() / 3);
    candidates
        .map(|candidate| (strsim::damerau_levenshtein(&found, &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= allowed(candidate))
        .min()
        .map(|(_, candidate)| format!("; did you mean `{candidate}`?"))
        .unwrap_or_default()
}

/// A whole number, decimal or hexadecimal with `0x`.
pub(crate) fn parse_integer(text: &str) -> Option<i128> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let number = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(hex) if hex.bytes().all(|b| b.is_ascii_hexdigit()) => i128::from_str_radix(hex, 16).ok()?,
        None if digits.bytes().all(|b| b.is_ascii_digit()) => digits.parse().ok()?,
        _ => return None,
    };
    Some(if negative { -number } else { number })
}

/// A decimal number exactly as written, never by way of a binary fraction: `0.10` is (1, -1), `1e-3` is (1, -3), `10` is (10, 0).
pub(crate) fn parse_decimal(text: &str) -> Option<(i64, i8)> {
    let (number, power) = match text.split_once(['e', 'E']) {
        Some((number, power)) => (number, power.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (negative, digits) = match number.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, number),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all = format!("{whole}{fraction}");
    if all.is_empty() || !all.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let mut mantissa: i64 = all.parse().ok()?;
    let mut exponent = power.checked_sub(i32::try_from(fraction.len()).ok()?)?;
    while exponent < 0 && mantissa % 10 == 0 && mantissa != 0 {
        (mantissa, exponent) = (mantissa / 10, exponent + 1);
    }
    if exponent > 0 {
        mantissa = mantissa.checked_mul(10i64.checked_pow(u32::try_from(exponent).ok()?)?)?;
        exponent = 0;
    }
    if exponent < -18 {
        return None;
    }
    Some((if negative { -mantissa } else { mantissa }, i8::try_from(exponent).ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn decimals_are_taken_from_their_text() {
        for (text, expected) in [
            ("0.1", Some((1, -1))),
            ("0.10", Some((1, -1))),
            ("-0.001", Some((-1, -3))),
            ("10", Some((10, 0))),
            ("1e3", Some((1_000, 0))),
            ("1.5e-3", Some((15, -4))),
            ("2.50e1", Some((25, 0))),
            (".5", Some((5, -1))),
            ("0", Some((0, 0))),
            ("1e-18", Some((1, -18))),
            ("1e-19", None),
            ("9223372036854775807", Some((i64::MAX, 0))),
            ("9223372036854775808", None),
            ("1e19", None),
            ("1e99999999999", None),
            ("", None),
            (".", None),
            ("-", None),
            ("0x10", None),
            ("1/10", None),
            ("1_000", None),
            ("+1", None),
            ("é", None),
        ] {
            assert_eq!(parse_decimal(text), expected, "{text}");
        }
    }

    #[test]
    fn integers_are_decimal_or_hexadecimal() {
        for (text, expected) in [("007", Some(7)), ("0x00C8", Some(200)), ("-0x1", Some(-1)), ("-5", Some(-5))] {
            assert_eq!(parse_integer(text), expected, "{text}");
        }
        for text in ["", "-", "0x", "1.0", "1e3", "+1", "0b1", "1 ", "99999999999999999999999999999999999999999"] {
            assert_eq!(parse_integer(text), None, "{text}");
        }
    }

    #[test]
    fn a_hint_is_given_only_when_it_is_near() {
        let keys = ["name", "profile", "link", "unit", "every", "labels"];
        for (found, hint) in
            [("evry", "every"), ("Link", "link"), ("lable", "labels"), ("profil", "profile"), ("x", ""), ("serial", ""), ("timeout", "")]
        {
            let expected = if hint.is_empty() { String::new() } else { format!("; did you mean `{hint}`?") };
            assert_eq!(did_you_mean(found, keys.into_iter()), expected, "{found}");
        }
    }

    #[test]
    fn what_a_file_holds_cannot_forge_lines_of_a_log() {
        assert_eq!(quoted("a\nb\u{1b}[31m"), "`a\u{FFFD}b\u{FFFD}[31m`");
        assert_eq!(quoted(&"x".repeat(61)), format!("`{}…`", "x".repeat(60)));
    }

    proptest! {
        #[test]
        fn a_decimal_is_exactly_what_was_written(mantissa in any::<i64>(), decimals in 0usize..=18) {
            let decimal = pattoo_wire::Decimal { mantissa, exponent: -i8::try_from(decimals).unwrap() };
            // i64::MIN has no positive counterpart; nobody scales by it.
            prop_assume!(mantissa != i64::MIN);
            let (parsed, exponent) = parse_decimal(&decimal.to_string()).unwrap();
            let dropped = u32::try_from(exponent - decimal.exponent).unwrap();
            prop_assert_eq!(i128::from(parsed) * 10i128.pow(dropped), i128::from(mantissa));
            prop_assert!(parsed % 10 != 0 || exponent == 0 || parsed == 0);
        }

        #[test]
        fn no_file_makes_the_parser_panic(content in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = crate::yaml::parse(std::path::Path::new("x.yaml"), &content, 1_000);
        }
    }
}
