//! Small changes to the text of a dashboard that leave all else as it stands, comments among it: a panel more, a panel less, another title.
//!
//! It never guesses: a change is made only where the changed text, read again, says exactly what was wanted. Pure.

use thiserror::Error;

use super::raw::{Place, parse};
use super::{Dashboard, Panel, Problem};

/// Most places where an old title may end that are tried: each has the file read once.
const MAX_TRIES: usize = 40;

/// A change of one panel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Adds a panel at the end; its YAML as a block of its own.
    Add(String),
    /// Takes away the panel at this place, from 0.
    Remove(usize),
    /// Gives the panel at this place another title.
    Rename(usize, String),
}

/// Why a change was not made.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EditError {
    /// The file, or the panel that was to be added, cannot be read.
    #[error("{0}")]
    Wrong(Problem),
    /// There are not so many panels.
    #[error("there is no panel {0}; the first one is 0")]
    NoPanel(usize),
    /// It is written in a way that only a person should change.
    #[error("the file is written in a way that this change would spoil; edit its text instead")]
    Written,
}

/// The text with the change.
///
/// # Errors
/// It is not made.
pub fn edited(text: &str, change: &Change) -> Result<String, EditError> {
    let (before, places) = parse(text).map_err(EditError::Wrong)?;
    let mut wanted = before.clone();
    let tries = match change {
        Change::Add(block) => {
            wanted.panels.push(alone(block)?);
            added(text, &places, block)
        }
        Change::Remove(n) => {
            if *n >= places.len() {
                return Err(EditError::NoPanel(*n));
            }
            wanted.panels.remove(*n);
            removed(text, &places, *n)
        }
        Change::Rename(n, title) => {
            let panel = wanted.panels.get_mut(*n).ok_or(EditError::NoPanel(*n))?;
            title.trim().clone_into(&mut panel.title);
            renamed(text, places[*n], title)
        }
    };
    let mut wrong = None;
    for next in tries {
        match Dashboard::parse(&next) {
            Ok(found) if found == wanted => return Ok(next),
            Ok(_) => {}
            Err(problem) => wrong = Some(problem),
        }
    }
    // A limit of the whole file is worth saying.
    Err(wrong.filter(|p| p.message.contains("expected at most")).map_or(EditError::Written, EditError::Wrong))
}

/// The panel that this block is, which may name variables that nobody knows here.
fn alone(block: &str) -> Result<Panel, EditError> {
    let text = format!("version: 1\ntitle: x\npanels:\n{}", as_item(block, 2));
    let (mut dashboard, _) = parse(&text).map_err(|mut problem| {
        problem.line = problem.line.saturating_sub(3).max(1);
        problem.column = problem.column.saturating_sub(4).max(1);
        EditError::Wrong(problem)
    })?;
    match (dashboard.panels.pop(), dashboard.panels.is_empty()) {
        (Some(panel), true) => Ok(panel),
        _ => Err(EditError::Written),
    }
}

/// A block as an item of a list, with its dash after so many spaces.
fn as_item(block: &str, indent: usize) -> String {
    let lines = block.lines().filter(|line| !line.trim().is_empty()).enumerate();
    lines.map(|(n, line)| format!("{}{}{line}\n", " ".repeat(indent), if n == 0 { "- " } else { "  " })).collect()
}

fn lines(text: &str) -> Vec<&str> {
    text.split_inclusive('\n').collect()
}

fn indent_of(line: &str) -> usize {
    line.len() - line.trim_start_matches(' ').len()
}

/// The line of a panel that is an item of its own, from 0, and the indent of its dash.
fn item(lines: &[&str], place: Place) -> Option<(usize, usize)> {
    let n = usize::try_from(place.panel.line()).ok()?.checked_sub(1)?;
    let line = lines.get(n)?;
    line.trim_start_matches(' ').starts_with("- ").then(|| (n, indent_of(line)))
}

/// The line after the last of the item that begins at this one: comments and empty lines before what follows belong to that.
fn end_of(lines: &[&str], (start, indent): (usize, usize)) -> usize {
    let inside = |line: &&str| indent_of(line) > indent && !line.trim().is_empty();
    let after =
        |n: usize| lines.iter().skip(n).position(|line| !line.trim().is_empty() && !inside(line)).map_or(lines.len(), |more| n + more);
    let mut end = after(start + 1);
    while end > start + 1 && !inside(&lines[end - 1]) {
        end -= 1;
    }
    end
}

fn added(text: &str, places: &[Place], block: &str) -> Vec<String> {
    let all = lines(text);
    let mut tries = Vec::new();
    if let Some(last) = places.last().and_then(|place| item(&all, *place)) {
        let (before, after) = all.split_at(end_of(&all, last));
        let before = before.concat();
        let newline = if before.ends_with('\n') { "" } else { "\n" };
        tries.push(format!("{before}{newline}{}{}", as_item(block, last.1), after.concat()));
    } else if let Some(n) = all.iter().position(|line| line.starts_with("panels:")) {
        let (before, after) = all.split_at(n);
        tries.push(format!("{}panels:\n{}{}", before.concat(), as_item(block, 2), after.get(1..).unwrap_or_default().concat()));
    }
    tries
}

fn removed(text: &str, places: &[Place], n: usize) -> Vec<String> {
    let all = lines(text);
    let Some(found) = item(&all, places[n]) else { return Vec::new() };
    let (start, end) = (found.0, end_of(&all, found));
    let rest = |middle: &str| format!("{}{middle}{}", all[..start].concat(), all[end..].concat());
    if places.len() > 1 {
        return vec![rest("")];
    }
    // A list without items is written as one.
    let before: String = all[..start].iter().map(|line| if line.starts_with("panels:") { "panels: []\n" } else { line }).collect();
    vec![format!("{before}{}", all[end..].concat())]
}

fn renamed(text: &str, place: Place, title: &str) -> Vec<String> {
    let all = lines(text);
    // A text in double quotes of JSON is one of YAML too.
    let quoted = serde_json::to_string(title.trim()).unwrap_or_default();
    let with = |n: usize, line: String| format!("{}{line}{}", all[..n].concat(), all[n + 1..].concat());
    let Some(title_at) = place.title else {
        let Some((n, indent)) = item(&all, place) else { return Vec::new() };
        let line = all[n].trim_start_matches(' ').trim_start_matches("- ").trim_start_matches(' ');
        let pad = " ".repeat(indent);
        let rest = format!("{pad}  {line}");
        return vec![with(n, format!("{pad}- title: {quoted}\n{rest}"))];
    };
    let n = usize::try_from(title_at.line()).unwrap_or(0).saturating_sub(1);
    let Some(line) = all.get(n) else { return Vec::new() };
    let column = usize::try_from(title_at.column()).unwrap_or(0).saturating_sub(1);
    let Some(start) = line.char_indices().map(|(n, _)| n).nth(column) else { return Vec::new() };
    let (head, tail) = line.split_at(start);
    let tries = ends(tail).into_iter().take(MAX_TRIES);
    tries.map(|end| with(n, format!("{head}{quoted}{}", tail.get(end..).unwrap_or_default()))).collect()
}

/// Where a title that begins this rest of a line may end: each is tried, and only one that leaves all else the same is taken. What is left of a title
/// must not pass for a comment, though, which no reading again would show.
fn ends(tail: &str) -> Vec<usize> {
    let mut chars = tail.char_indices().peekable();
    match chars.next() {
        Some((_, quote @ ('"' | '\''))) => {
            while let Some((n, c)) = chars.next() {
                // A quote that belongs to the text has one more before or after it.
                let doubled = quote == '\'' && c == quote && chars.peek().is_some_and(|(_, next)| *next == quote);
                if doubled || quote == '"' && c == '\\' {
                    chars.next();
                } else if c == quote {
                    return vec![n + 1];
                }
            }
            Vec::new()
        }
        // Its text is on the lines below.
        Some((_, '|' | '>')) => Vec::new(),
        _ => {
            let line = tail.split(['\r', '\n']).next().unwrap_or_default();
            let whole = line.split_once(" #").or(line.split_once("\t#")).map_or(line, |(title, _)| title);
            whole.match_indices([',', '}']).map(|(n, _)| n).chain([whole.trim_end().len()]).collect()
        }
    }
}
