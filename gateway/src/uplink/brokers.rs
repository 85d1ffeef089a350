//! Which of several brokers to go to next, and after what pause: a state machine.
//!
//! Does no I/O and asks no clock: what happened in, decisions out.
//!
//! # What holds
//! - Brokers are tried in their order, each once in a round, with a short pause between two. After a round in which none worked the
//!   pause doubles, up to [`MAX_PAUSE_MS`]. Only a broker that takes messages makes it short again: one that lets in and throws out
//!   does not.
//! - A broker works while the server is heard over it. One that works is kept, also if it is not the first; when it works no longer, a
//!   new round begins with the first.
//! - While a worse one is kept, those before it are looked for, and the first that answers is gone to.

use std::time::Duration;

/// First and longest pause before connecting again, in ms.
const MIN_PAUSE_MS: u64 = 500;
const MAX_PAUSE_MS: u64 = 30_000;

/// The choice among brokers, which are numbers from 0, the most preferred, on.
#[derive(Debug, Clone)]
pub(super) struct Brokers {
    count: usize,
    current: usize,
    /// How many failed one after the other in this round.
    failed: usize,
    pause_ms: u64,
    /// The server was heard on this connection.
    works: bool,
}

impl Brokers {
    pub(super) fn new(count: usize) -> Self {
        Self { count: count.max(1), current: 0, failed: 0, pause_ms: MIN_PAUSE_MS, works: false }
    }

    /// The one to be connected to.
    pub(super) fn current(&self) -> usize {
        self.current
    }

    /// It took a message.
    pub(super) fn took(&mut self) {
        self.pause_ms = MIN_PAUSE_MS;
    }

    /// Something came from the server.
    pub(super) fn heard(&mut self) {
        self.works = true;
    }

    /// Nothing comes from the server any more.
    pub(super) fn silent(&mut self) {
        self.works = false;
    }

    /// The connection is gone or was never made. Gives the pause before the next one, which is to be jittered.
    pub(super) fn failed(&mut self) -> Duration {
        if std::mem::take(&mut self.works) {
            (self.current, self.failed) = (0, 0);
            return self.pause();
        }
        self.failed += 1;
        self.current = (self.current + 1) % self.count;
        if self.failed < self.count {
            return Duration::from_millis(MIN_PAUSE_MS);
        }
        self.failed = 0;
        self.pause()
    }

    /// A better one answers: it is next.
    pub(super) fn found(&mut self, better: usize) {
        (self.current, self.failed, self.works) = (better.min(self.count - 1), 0, false);
    }

    fn pause(&mut self) -> Duration {
        let pause_ms = self.pause_ms;
        self.pause_ms = (pause_ms * 2).min(MAX_PAUSE_MS);
        Duration::from_millis(pause_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the next one is, and the pause before it.
    fn fail(brokers: &mut Brokers) -> (usize, u64) {
        let pause = brokers.failed();
        (brokers.current(), pause.as_millis() as u64)
    }

    #[test]
    fn each_is_tried_once_in_a_round_and_rounds_come_further_and_further_apart() {
        let mut brokers = Brokers::new(3);
        for pause_ms in [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000] {
            assert_eq!(brokers.current(), 0);
            assert_eq!([fail(&mut brokers), fail(&mut brokers), fail(&mut brokers)], [(1, 500), (2, 500), (0, pause_ms)]);
        }
        brokers.took();
        assert_eq!([fail(&mut brokers), fail(&mut brokers), fail(&mut brokers)], [(1, 500), (2, 500), (0, 500)]);
        let mut only = Brokers::new(1);
        assert_eq!([fail(&mut only), fail(&mut only), fail(&mut only)], [(0, 500), (0, 1000), (0, 2000)]);
    }

    #[test]
    fn one_that_worked_is_followed_by_the_first_and_one_over_which_nothing_comes_by_the_next() {
        let mut brokers = Brokers::new(3);
        assert_eq!(fail(&mut brokers), (1, 500));
        brokers.took();
        brokers.heard();
        assert_eq!(brokers.current(), 1, "kept while it works");
        assert_eq!(fail(&mut brokers), (0, 500));
        assert_eq!(fail(&mut brokers), (1, 500), "it worked before this connection, not on it");
        brokers.heard();
        brokers.silent();
        assert_eq!(fail(&mut brokers), (2, 500));
    }

    #[test]
    fn a_better_one_that_answers_is_next_and_begins_a_round() {
        let mut brokers = Brokers::new(3);
        fail(&mut brokers);
        fail(&mut brokers);
        brokers.heard();
        brokers.found(1);
        assert_eq!(brokers.current(), 1);
        assert_eq!([fail(&mut brokers).0, fail(&mut brokers).0, fail(&mut brokers).0], [2, 0, 1], "each once");
    }
}
