//! An agent as the pure parts see it: questions and answers. The one in memory is for tests and fixtures.

use std::collections::BTreeMap;
use std::future::Future;

use pattoo_wire::Reason;

use crate::profile::snmp::{Oid, Value};

/// `tooBig`: the answer does not fit a message.
pub const TOO_BIG: u8 = 1;
/// `noSuchName`: how version 1 says that something is not there.
pub const NO_SUCH_NAME: u8 = 2;

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// These objects.
    Get(Vec<Oid>),
    /// The object behind this one.
    Next(Oid),
    /// The objects behind each of these, so many of each.
    Bulk {
        /// Where each begins.
        after: Vec<Oid>,
        /// How many of each.
        repetitions: u16,
    },
}

/// What came back.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Answer {
    /// Error status; 0 for none.
    pub status: u8,
    /// Which of the asked objects is to blame, counted from 1; 0 for none of them alone.
    pub index: u32,
    /// Objects and their values, up to the first one that cannot be understood.
    pub bindings: Vec<(Oid, Value)>,
    /// Midpoint between question and answer, by the clock of the driver.
    pub at_ms: i64,
}

/// Whether anybody has answered in this poll.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// Nobody has been asked.
    Unknown,
    /// Somebody has; what fails now fails alone.
    Answers,
    /// Nobody has, to all tries of the first question: there is no second one.
    Silent(Reason),
}

impl Presence {
    /// What this answer shows.
    pub fn note(&mut self, answer: Result<(), Reason>) {
        match (answer, *self) {
            (Ok(()), _) => *self = Self::Answers,
            (Err(reason), Self::Unknown) => *self = Self::Silent(reason),
            _ => {}
        }
    }
}

/// Somebody who answers questions.
pub trait Agent {
    /// Asks it, and again where that helps.
    fn ask(&mut self, question: &Question) -> impl Future<Output = Result<Answer, Reason>> + Send;

    /// Whether it knows [`Question::Bulk`].
    fn has_bulk(&self) -> bool;

    /// Counts something that went wrong with an answer.
    fn miss(&mut self, what: &'static str);
}

/// The reason for an error status.
#[must_use]
pub fn refusal(status: u8) -> Reason {
    if status == NO_SUCH_NAME { Reason::Unavailable } else { Reason::SnmpError(status) }
}

/// An agent that holds its objects in memory.
#[derive(Debug, Clone, Default)]
pub struct MemoryAgent {
    /// Its objects.
    pub objects: BTreeMap<Oid, Value>,
    /// Most objects in one answer: more are too big in answer to a get, and left away in answer to a bulk; 0 for no limit.
    pub room: usize,
    /// Whether it is one of version 1.
    pub old: bool,
    /// Its clock.
    pub now_ms: i64,
    /// How far its clock goes on with each question.
    pub takes_ms: i64,
    /// Questions so far.
    pub asked: Vec<Question>,
    /// What went wrong with its answers.
    pub misses: BTreeMap<&'static str, u64>,
}

impl MemoryAgent {
    /// One that holds these.
    #[must_use]
    pub fn new(objects: impl IntoIterator<Item = (Oid, Value)>) -> Self {
        Self { objects: objects.into_iter().collect(), ..Self::default() }
    }

    fn next(&self, after: &Oid) -> (Oid, Value) {
        let behind = (std::ops::Bound::Excluded(after.clone()), std::ops::Bound::Unbounded);
        let found = self.objects.range(behind).next().map(|(oid, value)| (oid.clone(), value.clone()));
        found.unwrap_or_else(|| (after.clone(), Value::EndOfMib))
    }

    /// What it says. Pure.
    #[must_use]
    pub fn answer(&self, question: &Question) -> Answer {
        let limit = if self.room == 0 { usize::MAX } else { self.room };
        let good = |bindings: Vec<(Oid, Value)>| Answer { bindings, ..Answer::default() };
        let refused = |status: u8, index: usize| Answer { status, index: u32::try_from(index).unwrap_or(0), ..Answer::default() };
        match question {
            Question::Get(oids) if oids.len() > limit => refused(TOO_BIG, 0),
            Question::Get(oids) => {
                let missing = oids.iter().position(|oid| !self.objects.contains_key(oid));
                if let (true, Some(place)) = (self.old, missing) {
                    return refused(NO_SUCH_NAME, place + 1);
                }
                good(oids.iter().map(|oid| (oid.clone(), self.objects.get(oid).cloned().unwrap_or(Value::NoSuchInstance))).collect())
            }
            Question::Next(oid) => match self.next(oid) {
                (_, Value::EndOfMib) if self.old => refused(NO_SUCH_NAME, 1),
                found => good(vec![found]),
            },
            Question::Bulk { after, repetitions } => {
                let mut cursors = after.clone();
                let mut bindings = Vec::new();
                for _ in 0..*repetitions {
                    for cursor in &mut cursors {
                        let (oid, value) = self.next(cursor);
                        *cursor = oid.clone();
                        bindings.push((oid, value));
                    }
                }
                bindings.truncate(limit);
                good(bindings)
            }
        }
    }
}

impl Agent for MemoryAgent {
    fn ask(&mut self, question: &Question) -> impl Future<Output = Result<Answer, Reason>> + Send {
        self.asked.push(question.clone());
        self.now_ms += self.takes_ms;
        std::future::ready(Ok(Answer { at_ms: self.now_ms, ..self.answer(question) }))
    }

    fn has_bulk(&self) -> bool {
        !self.old
    }

    fn miss(&mut self, what: &'static str) {
        *self.misses.entry(what).or_default() += 1;
    }
}
