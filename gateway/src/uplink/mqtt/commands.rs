//! Commands from the broker, and answers to it. What they say is nobody's business here.

use std::collections::VecDeque;

use pattoo_wire::MAX_COMMAND_BYTES;
use rumqttc::v5::mqttbytes::v5::Publish;
use tokio::sync::{mpsc, watch};
use tracing::warn;

use super::session::{Sent, Session};
use crate::clock;
use crate::command::reach::Reach;

/// Commands that wait to be looked at.
const MAX_COMMANDS: usize = 64;

/// Answers that wait for the broker; the oldest is dropped for one more.
const MAX_RESULTS: usize = 256;

/// Answers that are on their way to the broker at a time: the client's queue has room for them beside all else.
const MAX_ON_THEIR_WAY: usize = 8;

/// The uplink's end.
#[derive(Debug)]
pub struct Window {
    commands: mpsc::Sender<Vec<u8>>,
    pub(super) results: mpsc::Receiver<Vec<u8>>,
    reached: watch::Sender<i64>,
    reach: Reach,
    waiting: VecDeque<(u64, Vec<u8>)>,
    /// How many of the first of them are on their way.
    on_their_way: usize,
    next: u64,
}

/// The other end: for whoever takes commands.
#[derive(Debug)]
pub struct Counter {
    /// Commands as they came.
    pub commands: mpsc::Receiver<Vec<u8>>,
    /// Answers.
    pub results: mpsc::Sender<Vec<u8>>,
    /// Boot clock in ms when the server was last in reach.
    pub reached: watch::Receiver<i64>,
}

/// Both ends. `now_ms` is the boot clock.
#[must_use]
pub fn window(now_ms: i64) -> (Window, Counter) {
    let (commands, commands_out) = mpsc::channel(MAX_COMMANDS);
    let (results_in, results) = mpsc::channel(MAX_RESULTS);
    let (reached, reached_out) = watch::channel(now_ms);
    let (reach, waiting) = (Reach::new(now_ms), VecDeque::new());
    let window = Window { commands, results, reached, reach, waiting, on_their_way: 0, next: 0 };
    (window, Counter { commands: commands_out, results: results_in, reached: reached_out })
}

impl Window {
    /// The server itself was heard.
    pub(super) fn heard(&mut self) {
        self.reach.heard(clock::boot_ms());
        self.look();
    }

    /// The connection came or went.
    pub(super) fn connected(&mut self, connected: bool) {
        self.reach.connected(clock::boot_ms(), connected);
        // What was on its way when it went is sent again.
        self.on_their_way = 0;
        self.look();
    }

    pub(super) fn look(&mut self) {
        let reached_ms = self.reach.look(clock::boot_ms());
        self.reached.send_replace(reached_ms);
    }

    pub(super) fn command(&self, publish: &Publish) {
        // The desk says what is wrong with a larger one, which it need not see whole.
        let message = publish.payload.get(..publish.payload.len().min(MAX_COMMAND_BYTES + 1)).unwrap_or_default();
        if self.commands.try_send(message.to_vec()).is_err() {
            warn!(waiting = MAX_COMMANDS, "a command is dropped: too many wait to be looked at");
        }
    }

    fn add(&mut self, result: Vec<u8>) {
        if self.waiting.len() >= MAX_RESULTS {
            self.waiting.pop_front();
            self.on_their_way = self.on_their_way.saturating_sub(1);
            warn!(waiting = MAX_RESULTS, "the answer to a command is dropped: too many wait for the broker");
        }
        self.waiting.push_back((self.next, result));
        self.next += 1;
    }

    fn next_to_send(&mut self) -> Option<(u64, Vec<u8>)> {
        if self.on_their_way >= MAX_ON_THEIR_WAY {
            return None;
        }
        let next = self.waiting.get(self.on_their_way).cloned()?;
        self.on_their_way += 1;
        Some(next)
    }

    fn taken(&mut self, number: u64) {
        if let Some(place) = self.waiting.iter().position(|(other, _)| *other == number) {
            self.waiting.remove(place);
            self.on_their_way = self.on_their_way.saturating_sub(1);
        }
    }
}

impl Session {
    /// Keeps an answer until the broker has it.
    pub(super) fn result(&mut self, result: Vec<u8>) {
        if let Some(window) = &mut self.window {
            window.add(result);
        }
        self.send_results();
    }

    /// The broker has taken an answer, or refuses it for good.
    pub(super) fn result_taken(&mut self, number: u64) {
        if let Some(window) = &mut self.window {
            window.taken(number);
        }
        self.send_results();
    }

    pub(super) fn send_results(&mut self) {
        while self.connected {
            let Some((number, message)) = self.window.as_mut().and_then(Window::next_to_send) else { return };
            self.publish(self.topics.command_result.clone(), false, message, Sent::Result(number));
        }
    }
}

/// The next answer; never where commands are off.
pub(super) async fn next_result(window: &mut Option<Window>) -> Vec<u8> {
    let result = match window {
        Some(window) => window.results.recv().await,
        None => None,
    };
    match result {
        Some(result) => result,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_wait_until_the_broker_has_them_and_are_bounded() {
        let (mut window, _counter) = window(0);
        for n in 0..12 {
            window.add(vec![n]);
        }
        let sent =
            |window: &mut Window| -> Vec<u8> { std::iter::from_fn(|| window.next_to_send()).map(|(_, message)| message[0]).collect() };
        assert_eq!(sent(&mut window), (0..8).collect::<Vec<_>>());
        window.taken(0);
        window.taken(3);
        window.taken(3);
        assert_eq!(sent(&mut window), [8, 9]);
        // The connection breaks: all that was not taken is sent again, and before what came later.
        window.connected(false);
        assert_eq!(sent(&mut window), [1, 2, 4, 5, 6, 7, 8, 9]);
        for n in 0..300u16 {
            window.add(n.to_be_bytes().to_vec());
        }
        assert_eq!(window.waiting.len(), MAX_RESULTS);
        assert_eq!(window.waiting.back().map(|(_, message)| message.clone()), Some(299u16.to_be_bytes().to_vec()));
    }
}
