//! YAML text -> a tree whose every node knows its line and column. Opens no file and knows no key of any file.
//!
//! Scalars stay the text that was written, so `0.1` is never a binary fraction and `off` never a boolean; the room that asks
//! for a value converts it. All of a file's problems are found in one pass, each with its position.

mod fields;

use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{DefaultMessageFormatter, Location, MessageFormatter, Spanned};

pub(crate) use fields::{Field, Fields, did_you_mean, parse_decimal, parse_integer, quoted};

/// Deepest nesting; our deepest file has seven levels.
const MAX_DEPTH: usize = 16;
/// Most nodes of one file, aliases counted as often as they are used.
const MAX_NODES: usize = 100_000;
/// Most aliases of one file.
const MAX_ALIASES: usize = 1_000;
/// Most events that all aliases of one file may stand for together.
const MAX_ALIASED_EVENTS: usize = 20_000;
/// Most problems that are listed of one file.
const MAX_PROBLEMS: usize = 50;

/// Something wrong with a file. Prints as `file:line:column: message`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[error("{}{}: {message}", .file.display(), Position { line: *.line, column: *.column })]
pub struct Problem {
    /// The file, or the name of an environment variable.
    pub file: PathBuf,
    /// Line, from 1; 0 for the file as a whole.
    pub line: u32,
    /// Column, from 1; 0 for the file as a whole.
    pub column: u32,
    /// What was found and what was expected.
    pub message: String,
}

impl Problem {
    /// A problem of the file as a whole.
    #[must_use]
    pub fn whole(file: &Path, message: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line: 0, column: 0, message: message.into() }
    }
}

/// Where a node starts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) line: u32,
    pub(crate) column: u32,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 { Ok(()) } else { write!(f, ":{}:{}", self.line, self.column) }
    }
}

impl From<Location> for Position {
    fn from(location: Location) -> Self {
        let narrow = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        Self { line: narrow(location.line()), column: narrow(location.column()) }
    }
}

/// The problems of one file, as they are found.
#[derive(Debug)]
pub(crate) struct Problems<'f> {
    file: &'f Path,
    list: Vec<Problem>,
    count: usize,
}

impl<'f> Problems<'f> {
    pub(crate) fn of(file: &'f Path) -> Self {
        Self { file, list: Vec::new(), count: 0 }
    }

    /// Notes one.
    pub(crate) fn add(&mut self, at: Position, message: impl Into<String>) {
        let file = self.file.to_owned();
        self.push(Problem { file, line: at.line, column: at.column, message: message.into() });
    }

    /// Notes one that may belong to something else than this file.
    pub(crate) fn push(&mut self, problem: Problem) {
        self.count += 1;
        if self.list.len() < MAX_PROBLEMS {
            self.list.push(problem);
        }
    }

    /// How many there are so far: a part that added none is good.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// The list in the order of the file, with a last line that counts those left out.
    pub(crate) fn into_list(self) -> Vec<Problem> {
        let mut list = self.list;
        list.sort_by_key(|problem| (problem.line, problem.column));
        if self.count > list.len() {
            list.push(Problem::whole(self.file, format!("{} more problems are not listed", self.count - list.len())));
        }
        list
    }
}

/// One node.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub(crate) at: Position,
    pub(crate) tree: Tree,
}

/// What a node holds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Tree {
    /// Nothing, `~` or `null`.
    Null,
    /// A scalar, as it was written; without its quotes.
    Scalar(String),
    List(Vec<Node>),
    /// Keys in the order of the file; one may be there twice.
    Map(Vec<(Node, Node)>),
}

/// Reads one document of at most `max_bytes`.
pub(crate) fn parse(file: &Path, bytes: &[u8], max_bytes: usize) -> Result<Node, Problem> {
    if bytes.len() > max_bytes {
        let limit = bytesize::ByteSize(max_bytes as u64);
        return Err(Problem::whole(file, format!("found more than {limit}, expected a smaller file")));
    }
    let text = std::str::from_utf8(bytes).map_err(|e| not_utf8(file, bytes, e.valid_up_to()))?;
    let raw: RawNode = serde_saphyr::from_str_with_options(text, options()).map_err(|e| refused(file, text, &e))?;
    Ok(resolve(raw, text))
}

fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: MAX_DEPTH,
            flow_nesting_limit: MAX_DEPTH,
            max_nodes: MAX_NODES,
            max_aliases: MAX_ALIASES,
            max_anchors: MAX_ALIASES,
            max_documents: 1,
        },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: MAX_ALIASED_EVENTS },
        // The fields refuse a second key themselves, with the name of the device or point.
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::PassThrough,
        // `.inf` and `.nan` stay text: whoever asked for a number refuses them with the name of the field.
        non_finite_float_policy: serde_saphyr::NonFiniteFloatPolicy::AsString,
        with_snippet: false,
    }
}

fn not_utf8(file: &Path, bytes: &[u8], valid: usize) -> Problem {
    let before = String::from_utf8_lossy(bytes.get(..valid).unwrap_or_default());
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    let byte = bytes.get(valid).copied().unwrap_or_default();
    let message = format!("found the byte 0x{byte:02X}, expected text in UTF-8");
    Problem { file: file.to_owned(), line: narrow(line), column: narrow(column), message }
}

fn refused(file: &Path, text: &str, error: &serde_saphyr::Error) -> Problem {
    use serde_saphyr::Error;
    let mut at = error.location().map(Position::from).unwrap_or_default();
    let mut cause = error;
    while let Error::AliasError { error, .. } = cause {
        cause = error;
    }
    let message = match cause {
        Error::AliasReplayLimitExceeded { .. } => format!("aliases that stand for more than {MAX_ALIASED_EVENTS} values together"),
        Error::Budget { breach: serde_saphyr::budget::BudgetBreach::Documents { .. }, .. } => {
            "found a second document, expected one".to_owned()
        }
        Error::Budget { breach, .. } => format!("found more than one file may hold: {breach:?}"),
        _ => DefaultMessageFormatter.format_message(cause).into_owned(),
    };
    let mut hint = "";
    if message.contains("tab") {
        // The parser names the start of the value that runs into the tab, maybe lines before.
        let lines = text.lines().enumerate().skip(at.line.saturating_sub(1) as usize);
        let indent = |line: &str| line.chars().take_while(|c| c.is_whitespace()).position(|c| c == '\t');
        if let Some((line, column)) = lines.filter_map(|(i, line)| Some((i, indent(line)?))).next() {
            at = Position { line: narrow(line + 1), column: narrow(column + 1) };
            hint = "; indent with spaces, YAML allows no tab here";
        }
    }
    Problem { file: file.to_owned(), line: at.line, column: at.column, message: format!("not valid YAML: {message}{hint}") }
}

fn narrow(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

type RawNode = Spanned<Any>;

/// A node as the parser gives it.
enum Any {
    Null,
    Text(String),
    /// A plain number or boolean: its text is in the source.
    Plain(String),
    List(Vec<RawNode>),
    Map(Vec<(RawNode, RawNode)>),
}

fn resolve(raw: RawNode, text: &str) -> Node {
    let at = Position::from(raw.referenced);
    let tree = match raw.value {
        Any::Null => Tree::Null,
        Any::Text(text) => Tree::Scalar(text),
        Any::Plain(value) => Tree::Scalar(source(raw.defined, text).unwrap_or(value)),
        Any::List(items) => Tree::List(items.into_iter().map(|item| resolve(item, text)).collect()),
        Any::Map(entries) => Tree::Map(entries.into_iter().map(|(k, v)| (resolve(k, text), resolve(v, text))).collect()),
    };
    Node { at, tree }
}

/// The text of a plain scalar as it was written.
fn source(location: Location, text: &str) -> Option<String> {
    let span = location.span();
    let start = usize::try_from(span.byte_offset()?).ok()?;
    let end = start.checked_add(usize::try_from(span.byte_len()?).ok()?)?;
    Some(text.get(start..end)?.trim().to_owned())
}

impl<'de> Deserialize<'de> for Any {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyVisitor)
    }
}

struct AnyVisitor;

impl<'de> Visitor<'de> for AnyVisitor {
    type Value = Any;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Any, E> {
        Ok(Any::Null)
    }

    fn visit_none<E>(self) -> Result<Any, E> {
        Ok(Any::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Any, E> {
        Ok(Any::Plain(value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Any, E> {
        Ok(Any::Plain(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Any, E> {
        Ok(Any::Plain(value.to_string()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Any, E> {
        Ok(Any::Plain(value.to_string()))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Any, E> {
        Ok(Any::Plain(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Any, E> {
        Ok(Any::Plain(value.to_string()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Any, E> {
        Ok(Any::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Any, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Any::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Any, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(Any::Map(map))
    }
}
