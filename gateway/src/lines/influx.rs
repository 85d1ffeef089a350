//! One line of Influx line protocol -> its readings: `measurement,tag=value field=1.5,other=2i 1717000000000000000`.
//!
//! A crate for it was tried (`influxdb-line-protocol` 2.0): it does not say where in a line an error is ("a generic parsing error occurred:
//! TakeWhile1"), makes infinity of `1e999`, takes a field twice, and brings nom 7, snafu 0.7 and syn 1. On the good lines of the tests both
//! give the same, but for `1.e3` and `.5`, which it refuses.
//!
//! Departs from the protocol in two things: a text ends with its line, and what is there twice is wrong.

use std::collections::BTreeMap;

use pattoo_wire::Quality;

use super::{LineError, MAX_FIELDS, MAX_TAGS, Precision, Said, Told};

/// The tag that says whose reading it is.
const DEVICE: &str = "device";
/// What a backslash takes the meaning from in tags and fields; in a measurement `=` has none.
const IN_NAMES: &[char] = &[',', ' ', '='];
const FLAGS: &[(&str, bool)] = &[
    ("t", true),
    ("T", true),
    ("true", true),
    ("True", true),
    ("TRUE", true),
    ("f", false),
    ("F", false),
    ("false", false),
    ("False", false),
    ("FALSE", false),
];

pub(super) fn read(text: &str, precision: Precision) -> Result<Vec<Told>, LineError> {
    let mut rest = Rest { text, at: 0 };
    rest.skip_spaces();
    let measurement = rest.name(&[',', ' '], &[',', ' '], "the name of a measurement")?;
    let mut tags = BTreeMap::new();
    while rest.take(',') {
        let at = rest.at;
        let key = rest.name(&['=', ',', ' '], IN_NAMES, "the name of a tag")?;
        rest.expect('=', "`=` and the text of the tag")?;
        let value = rest.name(&[',', ' ', '='], IN_NAMES, "the text of a tag")?;
        if tags.len() == MAX_TAGS {
            return Err(rest.wrong_at(at, &format!("found more than {MAX_TAGS} tags, expected at most so many")));
        }
        if tags.insert(key.clone(), value).is_some() {
            return Err(rest.wrong_at(at, &format!("found the tag `{key}` twice, expected each once")));
        }
    }
    rest.expect(' ', "`,` and a tag, or a space and the fields")?;
    rest.skip_spaces();
    let device = tags.remove(DEVICE);
    let mut told: Vec<Told> = Vec::new();
    loop {
        let at = rest.at;
        let name = rest.name(&['=', ',', ' '], IN_NAMES, "the name of a field")?;
        rest.expect('=', "`=` and the value of the field")?;
        let value = rest.value()?;
        if told.len() == MAX_FIELDS {
            return Err(rest.wrong_at(at, &format!("found more than {MAX_FIELDS} fields, expected at most so many")));
        }
        if told.iter().any(|other| other.name == name) {
            return Err(rest.wrong_at(at, &format!("found the field `{name}` twice, expected each once")));
        }
        told.push(Told {
            column: rest.column(at),
            device: device.clone(),
            measurement: Some(measurement.clone()),
            name,
            value,
            unit: None,
            kind: None,
            quality: Quality::Good,
            reason: None,
            at_ms: None,
            tags: tags.clone(),
            labels: BTreeMap::new(),
        });
        if !rest.take(',') {
            break;
        }
    }
    let at_ms = rest.time(precision)?;
    told.iter_mut().for_each(|told| told.at_ms = at_ms);
    Ok(told)
}

/// What is not read yet of a line.
struct Rest<'l> {
    text: &'l str,
    at: usize,
}

impl<'l> Rest<'l> {
    fn left(&self) -> &'l str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn next(&self) -> Option<char> {
        self.left().chars().next()
    }

    fn skip_spaces(&mut self) {
        self.at = self.text.len() - self.left().trim_start_matches([' ', '\t']).len();
    }

    fn take(&mut self, wanted: char) -> bool {
        let found = self.next() == Some(wanted);
        self.at += if found { wanted.len_utf8() } else { 0 };
        found
    }

    fn column(&self, at: usize) -> usize {
        1 + self.text.get(..at).unwrap_or_default().chars().count()
    }

    fn wrong_at(&self, at: usize, what: &str) -> LineError {
        LineError { column: self.column(at), what: what.to_owned() }
    }

    /// Found what stands here.
    fn wrong(&self, expected: &str) -> LineError {
        let found = self.next().map_or_else(|| "the end of the line".to_owned(), |c| format!("`{c}`"));
        self.wrong_at(self.at, &format!("found {found}, expected {expected}"))
    }

    fn expect(&mut self, wanted: char, expected: &str) -> Result<(), LineError> {
        if self.take(wanted) { Ok(()) } else { Err(self.wrong(expected)) }
    }

    /// A name up to one of these characters; a backslash takes the meaning from one of them, and stands for itself before all others.
    fn name(&mut self, ends: &[char], escapes: &[char], what: &str) -> Result<String, LineError> {
        let mut name = String::new();
        while let Some(c) = self.next().filter(|c| !ends.contains(c)) {
            self.at += c.len_utf8();
            let escaped = self.next().filter(|next| c == '\\' && escapes.contains(next));
            self.at += escaped.map_or(0, char::len_utf8);
            name.push(escaped.unwrap_or(c));
        }
        if name.is_empty() { Err(self.wrong(what)) } else { Ok(name) }
    }

    fn value(&mut self) -> Result<Said, LineError> {
        if self.take('"') {
            return self.text();
        }
        let word = self.left().split([',', ' ']).next().unwrap_or_default();
        let value = FLAGS.iter().find(|(name, _)| *name == word).map(|(_, flag)| Said::Flag(*flag));
        let value = value.or_else(|| number(word));
        let value = value.ok_or_else(|| {
            let found = if word.is_empty() {
                self.next().map_or("the end of the line".into(), |c| format!("`{c}`"))
            } else {
                crate::yaml::quoted(word)
            };
            self.wrong_at(self.at, &format!("found {found}, expected a number, such as 1.5, 2i or 3u, true, false or a text in \"\""))
        });
        self.at += word.len();
        value
    }

    /// Behind its first quotation mark.
    fn text(&mut self) -> Result<Said, LineError> {
        let begin = self.at - 1;
        let mut text = String::new();
        while let Some(c) = self.next() {
            self.at += c.len_utf8();
            match c {
                '"' => return Ok(Said::Text(text)),
                '\\' => {
                    let escaped = self.next().filter(|next| ['"', '\\'].contains(next));
                    self.at += escaped.map_or(0, char::len_utf8);
                    text.push(escaped.unwrap_or(c));
                }
                _ => text.push(c),
            }
        }
        Err(self.wrong_at(begin, "found a text without end, expected a `\"` behind it in the same line"))
    }

    fn time(&mut self, precision: Precision) -> Result<Option<i64>, LineError> {
        if !self.left().is_empty() && !self.left().starts_with([' ', '\t']) {
            return Err(self.wrong("`,` and a field, a space and a time, or the end of the line"));
        }
        self.skip_spaces();
        let word = self.left().trim_end_matches([' ', '\t']);
        if word.is_empty() {
            return Ok(None);
        }
        let time = word.parse().ok().filter(|_| !word.starts_with('+')).and_then(|count| precision.to_ms(count));
        let found = crate::yaml::quoted(word);
        time.map(Some)
            .ok_or_else(|| self.wrong_at(self.at, &format!("found {found}, expected a time: a whole number, or the end of the line")))
    }
}

/// `2i`, `3u` or a float.
fn number(word: &str) -> Option<Said> {
    let signed = |text: &str| text.strip_prefix('-').unwrap_or(text).bytes().all(|b| b.is_ascii_digit());
    if let Some(digits) = word.strip_suffix('i') {
        return digits.parse().ok().filter(|_| signed(digits)).map(Said::Integer);
    }
    if let Some(digits) = word.strip_suffix('u') {
        return digits.parse().ok().filter(|_| signed(digits)).map(Said::Unsigned);
    }
    let plain = word.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b));
    word.parse().ok().filter(|number: &f64| plain && number.is_finite()).map(Said::Float)
}
