//! Registration of this side with a BBMD as a foreign device (ASHRAE 135, clause J.5): when to ask, and what came of it. Pure.

use std::time::{Duration, Instant};

use crate::config::Foreign;

/// After a registration failed, until it is tried again; sooner where it lives shorter.
const AGAIN_AFTER: Duration = Duration::from_secs(30);

/// The registration of one socket.
#[derive(Debug)]
pub(super) struct Registration {
    pub(super) foreign: Foreign,
    timeout: Duration,
    state: State,
    /// The last try failed.
    failed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Never tried.
    New,
    Asked {
        until: Instant,
    },
    /// To be asked for at this time.
    Next {
        at: Instant,
    },
}

/// What there is to do, or to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    Nothing,
    /// Ask the BBMD.
    Ask,
    /// It did not answer.
    Silent,
    /// It refused, with this code.
    Refused(u16),
    /// It has taken this side in, for the first time or again after it had not.
    Registered,
}

impl Registration {
    pub(super) fn new(foreign: Foreign, timeout: Duration) -> Self {
        Self { foreign, timeout, state: State::New, failed: true }
    }

    /// When there is something to do; none for at once.
    pub(super) fn next(&self) -> Option<Instant> {
        match self.state {
            State::New => None,
            State::Asked { until } => Some(until),
            State::Next { at } => Some(at),
        }
    }

    /// Whether it was tried: what is for all devices reaches them, or never will.
    pub(super) fn is_settled(&self) -> bool {
        matches!(self.state, State::Next { .. })
    }

    /// It is time.
    pub(super) fn act(&mut self, now: Instant) -> Act {
        match self.state {
            State::Asked { until } if until <= now => {
                self.fail(now);
                Act::Silent
            }
            State::New => self.ask(now),
            State::Next { at } if at <= now => self.ask(now),
            State::Asked { .. } | State::Next { .. } => Act::Nothing,
        }
    }

    fn ask(&mut self, now: Instant) -> Act {
        self.state = State::Asked { until: now + self.timeout };
        Act::Ask
    }

    fn fail(&mut self, now: Instant) {
        self.state = State::Next { at: now + AGAIN_AFTER.min(self.foreign.ttl / 2) };
        self.failed = true;
    }

    /// The BBMD has answered.
    pub(super) fn hear(&mut self, code: u16, now: Instant) -> Act {
        if !matches!(self.state, State::Asked { .. }) {
            return Act::Nothing;
        }
        if code != 0 {
            self.fail(now);
            return Act::Refused(code);
        }
        self.state = State::Next { at: now + self.foreign.ttl / 2 };
        if std::mem::take(&mut self.failed) { Act::Registered } else { Act::Nothing }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(300);
    const TIMEOUT: Duration = Duration::from_secs(3);

    fn new() -> Registration {
        Registration::new(Foreign { bbmd: ([10, 1, 0, 1], 47_808).into(), ttl: TTL }, TIMEOUT)
    }

    #[test]
    fn a_registration_is_renewed_at_half_of_its_life() {
        let (mut own, start) = (new(), Instant::now());
        assert_eq!((own.next(), own.act(start), own.act(start)), (None, Act::Ask, Act::Nothing));
        assert!(!own.is_settled());
        assert_eq!(own.hear(0, start), Act::Registered);
        assert!(own.is_settled());
        assert_eq!((own.next(), own.act(start + TTL / 3)), (Some(start + TTL / 2), Act::Nothing));
        assert_eq!((own.act(start + TTL / 2), own.hear(0, start + TTL / 2)), (Act::Ask, Act::Nothing), "nothing new to tell");
    }

    /// The crate calls 30 s of silence a success.
    #[test]
    fn silence_and_refusal_are_told_and_tried_again() {
        let (mut own, start) = (new(), Instant::now());
        own.act(start);
        assert_eq!(own.act(start + TIMEOUT), Act::Silent);
        assert!(own.is_settled());
        assert_eq!(own.hear(0, start + TIMEOUT), Act::Nothing, "too late");
        let again = start + TIMEOUT + AGAIN_AFTER;
        assert_eq!((own.next(), own.act(again)), (Some(again), Act::Ask));
        assert_eq!(own.hear(0x30, again), Act::Refused(0x30));
        assert_eq!(own.act(again + AGAIN_AFTER), Act::Ask);
        assert_eq!(own.hear(0, again + AGAIN_AFTER), Act::Registered);
    }
}
