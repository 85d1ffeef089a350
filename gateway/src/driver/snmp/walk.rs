//! Columns of a table, walked side by side: what to ask next, and what an answer brings. Pure: asks nobody.
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

use std::collections::BTreeMap;

use pattoo_wire::Reason;

use super::agent::{Answer, NO_SUCH_NAME, Question, TOO_BIG, refusal};
use crate::profile::snmp::{Oid, Value};

/// Most rows that are read of a table: each is a series of each of its points for ever.
pub(super) const MAX_ROWS: usize = 1_000;
/// Most objects that one answer is asked for: about what fits a message that no router has to cut.
pub(crate) const MAX_BINDINGS: usize = 60;
/// Most rows that one answer is asked for.
const MAX_REPETITIONS: u16 = 100;

/// What tells a row from others in its table.
pub(super) type Index = Box<[u32]>;

/// A cell, and when it was read.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Cell {
    pub(super) value: Value,
    pub(super) at_ms: i64,
}

/// How a walk over a column ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// At its end.
    Whole,
    /// Before it.
    Broken(Reason),
    /// At [`MAX_ROWS`].
    Full,
}

/// One column.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Column {
    pub(super) root: Oid,
    last: Oid,
    pub(super) cells: BTreeMap<Index, Cell>,
    pub(super) end: Option<End>,
}

/// A walk.
#[derive(Debug)]
pub(super) struct Walk {
    pub(super) columns: Vec<Column>,
    /// Columns of the question that was asked last.
    asked: Vec<usize>,
    /// Rows that the next answer is asked for.
    repetitions: u16,
    /// Most of them: what the agent stands, as far as it is known.
    pub(super) most: u16,
    /// The rows that the table is thought to have.
    rows: u16,
    /// One column at a time, because one of them stops the others.
    alone: bool,
    bulk: bool,
    /// What was odd.
    pub(super) misses: Vec<&'static str>,
}

impl Walk {
    /// Over these columns. `rows` is how many there were last time; `most` how many answers brought at most.
    pub(super) fn new(columns: impl IntoIterator<Item = Oid>, rows: Option<usize>, most: u16, bulk: bool) -> Self {
        let column = |root: Oid| Column { last: root.clone(), root, cells: BTreeMap::new(), end: None };
        let most = most.clamp(1, MAX_REPETITIONS);
        // One more shows that there is nothing behind the last row.
        let rows = rows.map_or(most, |rows| u16::try_from(rows + 1).unwrap_or(u16::MAX));
        let columns = columns.into_iter().map(column).collect();
        Self { columns, asked: Vec::new(), repetitions: rows.clamp(1, most), most, rows, alone: false, bulk, misses: Vec::new() }
    }

    /// What to ask next; none at the end.
    pub(super) fn question(&mut self) -> Option<Question> {
        let width = if self.alone || !self.bulk { 1 } else { (MAX_BINDINGS / usize::from(self.repetitions)).max(1) };
        let open = self.columns.iter().enumerate().filter(|(_, column)| column.end.is_none());
        let (asked, after): (Vec<_>, Vec<_>) = open.take(width).map(|(place, column)| (place, column.last.clone())).unzip();
        self.asked = asked;
        if !self.bulk {
            return after.into_iter().next().map(Question::Next);
        }
        (!after.is_empty()).then_some(Question::Bulk { after, repetitions: self.repetitions })
    }

    /// Takes the answer to the last question. Every answer ends a column, brings a cell, or makes the next question smaller.
    pub(super) fn answer(&mut self, answer: Result<Answer, Reason>) {
        let answer = match answer {
            Ok(answer) => answer,
            Err(reason) => return self.end_asked(End::Broken(reason)),
        };
        match answer.status {
            0 => self.take(answer),
            TOO_BIG => {
                self.misses.push("too big");
                self.shrink(TOO_BIG);
            }
            NO_SUCH_NAME if self.asked.len() == 1 => self.end_asked(End::Whole),
            status => {
                let place = usize::try_from(answer.index).ok().and_then(|index| self.asked.get(index.checked_sub(1)?)).copied();
                match place {
                    Some(place) => self.end(place, End::Broken(refusal(status))),
                    None if self.asked.len() > 1 => self.alone = true,
                    None => self.end_asked(End::Broken(refusal(status))),
                }
            }
        }
    }

    fn shrink(&mut self, status: u8) {
        if self.repetitions > 1 {
            self.repetitions /= 2;
            self.most = self.repetitions;
        } else if self.asked.len() > 1 {
            self.alone = true;
        } else {
            self.end_asked(End::Broken(refusal(status)));
        }
    }

    fn take(&mut self, answer: Answer) {
        let (width, got) = (self.asked.len(), answer.bindings.len());
        let asked = self.asked.clone();
        let wanted = if self.bulk { width * usize::from(self.repetitions) } else { 1 };
        for (place, (oid, value)) in asked.iter().cycle().zip(answer.bindings).take(wanted) {
            let Some(column) = self.columns.get_mut(*place) else { continue };
            if let Some(miss) = column.take(oid, value, answer.at_ms) {
                self.misses.push(miss);
            }
        }
        if got == 0 && width <= 1 {
            // Nothing that could be understood, though a value was asked for.
            self.misses.push("malformed");
            self.alone = false;
            return self.end_asked(End::Broken(Reason::Malformed));
        }
        if got < width {
            // The first object that cannot be understood hides the others.
            self.alone = true;
            return;
        }
        if !self.bulk {
            return;
        }
        let open = self.columns.iter().any(|column| column.end.is_none());
        if got < wanted && open {
            // The agent cut its answer.
            self.most = u16::try_from(got / width).unwrap_or(1).clamp(1, self.most);
            self.repetitions = self.repetitions.min(self.most);
        } else if open && self.repetitions == self.rows && self.rows < self.most {
            // There are more rows than last time.
            self.repetitions = self.most;
        }
    }

    fn end_asked(&mut self, end: End) {
        for place in self.asked.clone() {
            self.end(place, end);
        }
    }

    fn end(&mut self, place: usize, end: End) {
        if let Some(column) = self.columns.get_mut(place).filter(|column| column.end.is_none()) {
            column.end = Some(end);
        }
    }

    /// Nobody is there: what is open stays unread.
    pub(super) fn give_up(&mut self, reason: Reason) {
        self.columns.iter_mut().filter(|column| column.end.is_none()).for_each(|column| column.end = Some(End::Broken(reason)));
    }
}

impl Column {
    /// Takes one object; tells what is odd about it.
    fn take(&mut self, oid: Oid, value: Value, at_ms: i64) -> Option<&'static str> {
        if self.end.is_some() {
            return None;
        }
        if value == Value::EndOfMib {
            self.end = Some(End::Whole);
            return None;
        }
        if oid <= self.last {
            // An agent that goes in circles would be walked for ever.
            self.end = Some(End::Broken(Reason::Malformed));
            return Some("not increasing");
        }
        match oid.below(&self.root).map(Index::from) {
            None => self.end = Some(End::Whole),
            Some(_) if self.cells.len() >= MAX_ROWS => {
                self.end = Some(End::Full);
                return Some("too many rows");
            }
            Some(index) => {
                self.last = oid;
                self.cells.insert(index, Cell { value, at_ms });
            }
        }
        None
    }

    /// Why a cell that is not there is not.
    pub(super) fn reason(&self) -> Reason {
        match self.end {
            Some(End::Broken(reason)) => reason,
            _ => Reason::Unavailable,
        }
    }
}

#[cfg(test)]
mod tests;
