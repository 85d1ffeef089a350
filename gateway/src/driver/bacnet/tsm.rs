//! Transactions with devices: which answer belongs to which question, and answers put together from segments (ASHRAE 135, clause 5.4).
//! Pure. Sends nothing and has no timer: whoever asks does.
//!
//! # What holds
//! - An answer belongs to the one question of that device, number and service that is open. Any other is told from it and named.
//! - A number is not used again while its answer may still come: neither the open ones nor the last [`QUARANTINE`] of a device.
//! - A question is asked again under the same number, so that a device that did hear it does not take it for another one.
//! - An answer has at most [`MAX_SEGMENTS`] segments; what is longer is broken off.
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

use std::collections::{HashMap, VecDeque};

use super::Peer;
use super::guard::{self, MAX_SEGMENTS, Message, Segment};
use super::names::abort;
use super::services::Refusal;

/// Ended transactions of a device whose numbers are not used again, of 256.
const QUARANTINE: usize = 64;
/// Segments that a device may send in a row.
const WINDOW: u8 = 16;

/// How a device answered.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Answer {
    /// It did as it was asked.
    Done,
    /// This.
    Body(Vec<u8>),
    /// An error, with its class and code where they could be read.
    Refused(Option<Refusal>),
    /// It did not understand the question, for this reason.
    Rejected(u8),
    /// It broke off, for this reason.
    Aborted(u8),
    /// Longer than this side takes: broken off.
    TooLong,
}

/// What a message of a device means.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Heard {
    /// What is to be sent to the device now.
    pub(crate) send: Option<Vec<u8>>,
    /// What went wrong.
    pub(crate) miss: Option<&'static str>,
    /// Whether the question with this number has got on.
    pub(crate) moved: Option<u8>,
}

/// What to do about a question that has no answer in time.
#[derive(Debug, PartialEq)]
pub(crate) enum Overdue {
    /// Send this, and wait again.
    Send(Vec<u8>),
    /// Nothing more: it is over. What there is to send tells the device so.
    Over(Option<Vec<u8>>),
}

/// All transactions of one socket.
#[derive(Debug, Default)]
pub(crate) struct Transactions {
    peers: HashMap<Peer, Numbers>,
}

#[derive(Debug)]
struct Numbers {
    next: u8,
    open: Vec<Open>,
    /// The latest ones that ended, and whether they had an answer.
    ended: VecDeque<(u8, Ending)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Answered,
    GivenUp,
    /// Nobody waited any longer.
    Dropped,
}

#[derive(Debug)]
struct Open {
    invoke: u8,
    service: u8,
    question: Vec<u8>,
    retries_left: u32,
    segments: Option<Segments>,
    answer: Option<Answer>,
}

impl Transactions {
    /// Begins one: gives its number and what is to be sent. `start` is where the numbers of a new device begin, best at random, so that
    /// a device does not take the first questions after a restart of this side for those before.
    pub(crate) fn begin(
        &mut self,
        peer: &Peer,
        service: u8,
        retries: u32,
        start: u8,
        question: impl FnOnce(u8) -> Vec<u8>,
    ) -> Option<(u8, Vec<u8>)> {
        let new = || Numbers { next: start, open: Vec::new(), ended: VecDeque::new() };
        let numbers = self.peers.entry(peer.clone()).or_insert_with(new);
        let invoke = numbers.free()?;
        let question = question(invoke);
        let open = Open { invoke, service, question: question.clone(), retries_left: retries, segments: None, answer: None };
        numbers.open.push(open);
        Some((invoke, question))
    }

    /// Takes a message of a device.
    pub(crate) fn hear(&mut self, peer: &Peer, message: Message) -> Heard {
        let Some(invoke) = number(&message) else { return Heard::default() };
        let miss = |miss| Heard { miss: Some(miss), ..Heard::default() };
        let Some(numbers) = self.peers.get_mut(peer) else { return miss("answer to nothing") };
        let ended = numbers.ended.iter().rev().find(|(ended, _)| *ended == invoke).map(|(_, ending)| *ending);
        let Some(open) = numbers.open.iter_mut().find(|open| open.invoke == invoke) else {
            return match (ended, message) {
                // The last segments came again because our word that we have them was lost.
                (Some(Ending::Answered), Message::ComplexAck { segment: Some(segment), .. }) if !segment.more => {
                    Heard { send: Some(guard::segment_ack(invoke, segment.number, WINDOW, true)), ..miss("duplicate reply") }
                }
                (Some(Ending::Answered), _) => miss("duplicate reply"),
                (Some(Ending::GivenUp), _) => miss("late reply"),
                (Some(Ending::Dropped), _) => Heard::default(),
                (None, _) => miss("answer to nothing"),
            };
        };
        if open.answer.is_some() {
            return miss("duplicate reply");
        }
        open.hear(message)
    }

    /// The answer, if it has come; with that the transaction ends.
    pub(crate) fn take(&mut self, peer: &Peer, invoke: u8) -> Option<Answer> {
        let numbers = self.peers.get_mut(peer)?;
        let answer = numbers.open.iter_mut().find(|open| open.invoke == invoke)?.answer.take()?;
        numbers.end(invoke, Ending::Answered);
        Some(answer)
    }

    /// Segments of its answer that have come.
    pub(crate) fn segments(&self, peer: &Peer, invoke: u8) -> u8 {
        let open = self.peers.get(peer).and_then(|numbers| numbers.open.iter().find(|open| open.invoke == invoke));
        open.and_then(|open| open.segments.as_ref()).map_or(0, |segments| segments.next)
    }

    /// Nothing has come for as long as one waits.
    pub(crate) fn overdue(&mut self, peer: &Peer, invoke: u8) -> Overdue {
        let Some(numbers) = self.peers.get_mut(peer) else { return Overdue::Over(None) };
        let Some(open) = numbers.open.iter_mut().find(|open| open.invoke == invoke) else { return Overdue::Over(None) };
        if let Some(left) = open.retries_left.checked_sub(1) {
            open.retries_left = left;
            // Of a long answer only what is missing comes again.
            let sent = open.segments.as_mut().map_or_else(|| open.question.clone(), |segments| segments.ask_again(invoke));
            return Overdue::Send(sent);
        }
        let part = open.segments.is_some().then(|| guard::abort(invoke, abort::TSM_TIMEOUT));
        numbers.end(invoke, Ending::GivenUp);
        Overdue::Over(part)
    }

    /// Nobody waits any longer.
    pub(crate) fn drop(&mut self, peer: &Peer, invoke: u8) {
        if let Some(numbers) = self.peers.get_mut(peer) {
            numbers.end(invoke, Ending::Dropped);
        }
    }
}

impl Numbers {
    fn free(&mut self) -> Option<u8> {
        let taken = |invoke: u8| self.open.iter().any(|open| open.invoke == invoke) || self.ended.iter().any(|(ended, _)| *ended == invoke);
        let invoke = (0..=u8::MAX).map(|step| self.next.wrapping_add(step)).find(|invoke| !taken(*invoke))?;
        self.next = invoke.wrapping_add(1);
        Some(invoke)
    }

    fn end(&mut self, invoke: u8, ending: Ending) {
        let before = self.open.len();
        self.open.retain(|open| open.invoke != invoke);
        if self.open.len() < before {
            if self.ended.len() >= QUARANTINE {
                self.ended.pop_front();
            }
            self.ended.push_back((invoke, ending));
        }
    }
}

impl Open {
    fn hear(&mut self, message: Message) -> Heard {
        let own = self.service;
        let (answer, send) = match message {
            Message::SimpleAck { service, .. } | Message::ComplexAck { service, .. } | Message::Error { service, .. } if service != own => {
                return Heard { miss: Some("answer to another service"), ..Heard::default() };
            }
            Message::SimpleAck { .. } => (Some(Answer::Done), None),
            Message::ComplexAck { segment: None, body, .. } => (Some(Answer::Body(body)), None),
            Message::ComplexAck { segment: Some(segment), body, .. } => {
                let segments = self.segments.get_or_insert_default();
                match segments.take(segment, &body) {
                    Step::Nothing => (None, None),
                    Step::Ack { number, in_order } => (None, Some(guard::segment_ack(self.invoke, number, segments.window, in_order))),
                    Step::Whole { number } => {
                        let ack = guard::segment_ack(self.invoke, number, segments.window, true);
                        (Some(Answer::Body(std::mem::take(&mut segments.body))), Some(ack))
                    }
                    Step::Over => (Some(Answer::TooLong), Some(guard::abort(self.invoke, abort::BUFFER_OVERFLOW))),
                }
            }
            Message::Error { refusal, .. } => (Some(Answer::Refused(refusal)), None),
            Message::Reject { reason, .. } => (Some(Answer::Rejected(reason)), None),
            Message::Abort { reason, .. } => (Some(Answer::Aborted(reason)), None),
            _ => return Heard::default(),
        };
        self.answer = answer;
        Heard { send, miss: None, moved: Some(self.invoke) }
    }
}

/// Number of the question that a message answers.
fn number(message: &Message) -> Option<u8> {
    match message {
        Message::SimpleAck { invoke, .. }
        | Message::ComplexAck { invoke, .. }
        | Message::Error { invoke, .. }
        | Message::Reject { invoke, .. }
        | Message::Abort { invoke, .. } => Some(*invoke),
        // This side sends nothing in segments.
        Message::SegmentAck { .. }
        | Message::IAm(_)
        | Message::WhoIs(_)
        | Message::Notification(_)
        | Message::Request { .. }
        | Message::Unasked => None,
    }
}

/// An answer that comes in segments.
#[derive(Debug, Default)]
struct Segments {
    body: Vec<u8>,
    /// Number of the segment that comes next.
    next: u8,
    window: u8,
    /// Segments since the last word to the device.
    unacknowledged: u8,
    /// The device was told that one is missing, and none has come since.
    told: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Step {
    Nothing,
    Ack { number: u8, in_order: bool },
    Whole { number: u8 },
    Over,
}

impl Segments {
    fn take(&mut self, segment: Segment, body: &[u8]) -> Step {
        if segment.number != self.next {
            return self.out_of_order(segment.number);
        }
        if usize::from(segment.number) >= MAX_SEGMENTS {
            return Step::Over;
        }
        if self.next == 0 {
            self.window = segment.window.clamp(1, WINDOW);
            // The device sends the first alone, to learn how many may follow.
            self.unacknowledged = self.window - 1;
        }
        self.body.extend(body);
        self.next += 1;
        self.unacknowledged += 1;
        self.told = false;
        if !segment.more {
            return Step::Whole { number: segment.number };
        }
        if self.unacknowledged < self.window {
            return Step::Nothing;
        }
        self.unacknowledged = 0;
        Step::Ack { number: segment.number, in_order: true }
    }

    fn out_of_order(&mut self, number: u8) -> Step {
        let Some(last) = self.next.checked_sub(1) else { return Step::Nothing };
        self.unacknowledged = 0;
        if number == last {
            // It came again: our word that it has come was lost.
            return Step::Ack { number: last, in_order: true };
        }
        if number < last || self.told {
            return Step::Nothing;
        }
        self.told = true;
        Step::Ack { number: last, in_order: false }
    }

    fn ask_again(&mut self, invoke: u8) -> Vec<u8> {
        self.unacknowledged = 0;
        guard::segment_ack(invoke, self.next.saturating_sub(1), self.window, false)
    }
}

#[cfg(test)]
mod tests;
