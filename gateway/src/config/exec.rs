//! Devices whose readings are told in lines: by a program of their own (`exec:`), or over a link where others tell them. Opens nothing.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::Transport;
use super::inputs::precision;
use super::read::{Links, path, seconds};
use crate::lines::Source;
use crate::profile::{Profile, Read};
use crate::yaml::{Field, Fields, Problems, did_you_mean, quoted};

#[cfg(test)]
mod tests;

const KEYS: &[&str] = &["run", "mode", "timeout", "env", "directory", "precision"];
/// Most arguments of a program, and most variables.
const MAX_ARGUMENTS: usize = 128;
/// Longest argument, in bytes.
const MAX_ARGUMENT_BYTES: usize = 4_096;
/// Longest time that a program may take which runs once per interval.
pub(super) const MAX_TIMEOUT: Duration = Duration::from_secs(600);
/// Default of `stale_after` of a program that is kept running.
pub(super) const STALE_AFTER: Duration = Duration::from_secs(60);

/// A program that prints readings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// The device that it reads.
    pub device: String,
    /// The program and its arguments; at least one.
    pub run: Vec<String>,
    /// When it runs.
    pub mode: Mode,
    /// Variables that it gets beside those of every program.
    pub env: BTreeMap<String, String>,
    /// Where it runs.
    pub directory: PathBuf,
    /// How what it prints is read.
    pub source: Source,
}

impl Program {
    /// What `check` says of it.
    #[must_use]
    pub fn words(&self) -> String {
        let how = match self.mode {
            Mode::Interval { timeout } => format!("within {}", humantime::format_duration(timeout)),
            Mode::Keep => "kept running".to_owned(),
        };
        format!("program {}, {how}", self.run.join(" "))
    }
}

/// When a program runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Once for each poll.
    Interval {
        /// How long it may take.
        timeout: Duration,
    },
    /// All the time.
    Keep,
}

/// Whether readings of a device are told in lines, before its profile is known.
pub(super) fn tells_lines(fields: &Fields<'_>, links: &Links) -> bool {
    let named = fields.optional("link").and_then(|field| input(links, &field));
    fields.optional("exec").is_some() || named.is_some()
}

/// Whether the points of a profile are told in lines.
pub(super) fn is_told(profile: &Profile) -> bool {
    matches!(profile.points.first().map(|point| &point.read), Some(Read::Line(_)))
}

/// What has no place where a profile reads something else.
pub(super) fn refuse(fields: &Fields<'_>, profile: &Profile, problems: &mut Problems<'_>) {
    if is_told(profile) {
        return;
    }
    for key in ["exec", "stale_after"] {
        if let Some(field) = fields.optional(key) {
            let text = "found with a profile that reads no lines, expected one with `field` in the `read` of its points, or none";
            field.problem(text, problems);
        }
    }
}

/// The link of a device whose readings are told in lines: one of its own for its program, or the one that it names.
pub(super) fn link(fields: &Fields<'_>, name: &str, every: Duration, links: &mut Links, problems: &mut Problems<'_>) -> Option<usize> {
    if let Some(field) = fields.optional("unit") {
        field.problem("has no place here: readings name their device", problems);
        return None;
    }
    let stale_after = match fields.optional("stale_after") {
        Some(field) => Some(field.duration(seconds(1), seconds(7 * 24 * 3_600), problems)?),
        None => None,
    };
    let stale = |time: Duration| (name.to_owned(), time);
    let Some(exec) = fields.optional("exec") else {
        let expected = "the name of a link with `socket` or `mqtt`, or `exec`, the program that reads it";
        let field = fields.required("link", expected, problems)?;
        let found = input(links, &field);
        let Some(index) = found else {
            let names = links.good.iter().filter(|link| matches!(link.transport, Transport::Input(_))).map(|link| link.name.as_str());
            let hint = did_you_mean(field.text(expected, problems)?, names);
            field.wrong(&format!("{expected}{hint}"), problems);
            return None;
        };
        if let Some(Transport::Input(input)) = links.good.get_mut(index).map(|link| &mut link.transport) {
            input.source.stale_after.extend(stale_after.map(stale));
        }
        return Some(index);
    };
    if let Some(field) = fields.optional("link") {
        field.problem("found beside `exec`, expected one of them: a program is a link of its own", problems);
        return None;
    }
    let mut program = program(&exec, name, every, problems)?;
    let default = (program.mode == Mode::Keep).then_some(STALE_AFTER);
    program.source.stale_after.extend(stale_after.or(default).map(stale));
    let link = format!("exec-{name}");
    if links.good.iter().any(|other| other.name == link) {
        exec.problem(&format!("the name {} belongs to a link, expected another name for that", quoted(&link)), problems);
        return None;
    }
    Some(links.add(link, Transport::Exec(Box::new(program))))
}

/// The link of this name where readings are told.
fn input(links: &Links, field: &Field<'_>) -> Option<usize> {
    let crate::yaml::Tree::Scalar(name) = &field.node.tree else { return None };
    links.good.iter().position(|link| link.name == *name && matches!(link.transport, Transport::Input(_)))
}

fn program(field: &Field<'_>, device: &str, every: Duration, problems: &mut Problems<'_>) -> Option<Program> {
    let before = problems.count();
    let fields = Fields::read(field.node, field.what.trim_end_matches(": "), KEYS, problems)?;
    let run = fields.required("run", "a list: the program and its arguments, such as [/usr/local/bin/read-tank, --fast]", problems);
    let run = run.and_then(|field| arguments(&field, problems));
    let keep = match fields.optional("mode") {
        Some(field) => field.choice(&[("interval", false), ("keep", true)], problems),
        None => Some(false),
    };
    let timeout = match fields.optional("timeout") {
        Some(field) if keep == Some(true) => {
            field.problem("found with `mode: keep`, expected only with `mode: interval`; `stale_after` says when it is silent", problems);
            None
        }
        Some(field) => field.duration(Duration::from_millis(100), MAX_TIMEOUT, problems),
        None => Some(every.min(MAX_TIMEOUT)),
    };
    let env = fields.optional("env").map_or_else(|| Some(BTreeMap::new()), |field| variables(&field, problems));
    let directory = match fields.optional("directory") {
        Some(field) => path(&field, problems),
        None => Some(PathBuf::from("/")),
    };
    let precision = precision(&fields, problems);
    if problems.count() > before {
        return None;
    }
    let mode = if keep? { Mode::Keep } else { Mode::Interval { timeout: timeout? } };
    let source = Source { precision: precision?, ..Source::default() };
    Some(Program { device: device.to_owned(), run: run?, mode, env: env?, directory: directory?, source })
}

fn arguments(field: &Field<'_>, problems: &mut Problems<'_>) -> Option<Vec<String>> {
    let expected =
        format!("a list of 1 to {MAX_ARGUMENTS} texts: the program and its arguments, each of at most {MAX_ARGUMENT_BYTES} bytes");
    let items = field.list(&expected, problems)?;
    let text = |node: &crate::yaml::Node| match &node.tree {
        crate::yaml::Tree::Scalar(text) if text.len() <= MAX_ARGUMENT_BYTES && !text.contains('\0') => Some(text.clone()),
        _ => None,
    };
    let run: Option<Vec<String>> = items.iter().map(text).collect();
    let run = run.filter(|run| run.len() <= MAX_ARGUMENTS && run.first().is_some_and(|program| !program.is_empty()));
    if run.is_none() {
        field.problem(&format!("found something else, expected {expected}"), problems);
    }
    run
}

fn variables(field: &Field<'_>, problems: &mut Problems<'_>) -> Option<BTreeMap<String, String>> {
    let expected = format!("at most {MAX_ARGUMENTS} variables such as {{ TANK: north }}");
    let entries = field.entries(&expected, problems)?;
    let mut variables = BTreeMap::new();
    for (key, at, node) in entries {
        let good = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') && !key.starts_with("PATTOO_");
        let crate::yaml::Tree::Scalar(text) = &node.tree else {
            field.entry(key, node).wrong("a text", problems);
            return None;
        };
        if !good || text.len() > MAX_ARGUMENT_BYTES || text.contains('\0') || variables.len() == MAX_ARGUMENTS {
            problems.add(
                at,
                format!("{}found the variable {}, expected {expected}, none of which begins with PATTOO_", field.what, quoted(key)),
            );
            return None;
        }
        variables.insert(key.to_owned(), text.clone());
    }
    Some(variables)
}
