//! What to send next, when to wait, when to send again, and what the server has: a state machine.
//!
//! Does no I/O and knows no MQTT: events and `now` in, actions out. See [`mqtt`] for the client.
//!
//! # What holds
//! - Batches go out in the order of their numbers; a schema goes out before the first batch that names it, once per connection.
//! - At most `max_unacknowledged` batches are out, and at most as many in the hand of the client.
//! - A batch is released only by the server's acknowledgement of this stream, never by the broker's.
//! - After a new connection, and after a silence with something out, sending starts again from the oldest batch. The silence that
//!   is borne doubles up to [`MAX_PATIENCE`] times and is short again after progress.

pub mod mqtt;

use std::collections::BTreeSet;
use std::time::Duration;

use pattoo_wire::{Ack, SchemaId};

use crate::buffer::Stats;

/// How far the borne silence may grow, in multiples of `ack_timeout`.
pub const MAX_PATIENCE: u32 = 32;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The broker accepted the connection; nothing was sent on it yet.
    Connected,
    /// The connection is gone, with all that was on its way.
    Disconnected,
    /// The buffer stands like this: batches were appended, dropped or released.
    Buffer(Stats),
    /// The batch that [`Action::Fetch`] asked for is at hand, and names this schema.
    Fetched {
        /// Its number.
        seq: u64,
        /// The schema it names.
        schema: SchemaId,
    },
    /// The buffer does not hold the batch (any more), or could not read it now.
    Missing {
        /// Its number.
        seq: u64,
    },
    /// The broker took a published batch, or refused it: the client no longer has it in hand.
    Taken,
    /// The server's acknowledgement.
    Ack(Ack),
    /// Time went by.
    Tick,
}

/// Something to do, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Get a batch from the buffer, then say [`Event::Fetched`] or [`Event::Missing`].
    Fetch {
        /// Its number.
        seq: u64,
    },
    /// Publish a schema.
    PublishSchema(SchemaId),
    /// Publish the batch that was fetched.
    Publish {
        /// Its number.
        seq: u64,
    },
    /// Forget all batches up to this number.
    Release {
        /// The last one.
        through: u64,
    },
    /// Drop the connection and make a new one: the broker takes nothing.
    Reconnect,
}

/// What was counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Acknowledgements of another stream.
    pub foreign_acks: u64,
    /// Acknowledgements of batches that do not exist yet.
    pub impossible_acks: u64,
    /// Times that sending started again after a silence.
    pub resends: u64,
}

/// The state.
#[derive(Debug, Clone)]
pub struct Uplink {
    max_unacknowledged: u64,
    ack_timeout_ms: i64,
    stream: u64,
    /// First batch that the server is not known to have.
    base: u64,
    /// Next batch to send; all from `base` to here are out.
    cursor: u64,
    /// First number that the buffer has not given out.
    next: u64,
    connected: bool,
    fetching: Option<u64>,
    /// Published batches that the broker has not taken.
    in_hand: u64,
    schemas: BTreeSet<SchemaId>,
    /// Last progress: a connection, an acknowledgement, or the first batch after a pause.
    progress_ms: i64,
    patience: u32,
    counters: Counters,
}

impl Uplink {
    /// Not connected. Times are in ms of any clock that only goes forward.
    #[must_use]
    pub fn new(max_unacknowledged: usize, ack_timeout: Duration, stats: Stats) -> Self {
        Self {
            max_unacknowledged: max_unacknowledged.max(1) as u64,
            ack_timeout_ms: i64::try_from(ack_timeout.as_millis()).unwrap_or(i64::MAX).max(1),
            stream: stats.stream,
            base: stats.oldest,
            cursor: stats.oldest,
            next: stats.next,
            connected: false,
            fetching: None,
            in_hand: 0,
            schemas: BTreeSet::new(),
            progress_ms: 0,
            patience: 1,
            counters: Counters::default(),
        }
    }

    /// Takes one event and says what to do.
    pub fn step(&mut self, now_ms: i64, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Event::Connected => {
                self.connected = true;
                self.restart(now_ms);
            }
            Event::Disconnected => {
                self.connected = false;
                self.restart(now_ms);
            }
            Event::Buffer(stats) => self.follow(stats),
            Event::Fetched { seq, schema } => self.publish(now_ms, seq, schema, &mut actions),
            Event::Missing { seq } => {
                if self.fetching == Some(seq) {
                    self.fetching = None;
                    // Told again by the next tick or change of the buffer; asking at once would spin on a failing disk.
                    return actions;
                }
            }
            Event::Taken => self.in_hand = self.in_hand.saturating_sub(1),
            Event::Ack(ack) => self.acknowledged(now_ms, &ack, &mut actions),
            Event::Tick => self.look_for_silence(now_ms, &mut actions),
        }
        self.fetch(&mut actions);
        actions
    }

    /// Batches that are out and not acknowledged.
    #[must_use]
    pub fn unacknowledged(&self) -> u64 {
        self.cursor - self.base
    }

    /// What was counted.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Forgets what the lost connection carried.
    fn restart(&mut self, now_ms: i64) {
        self.cursor = self.base;
        self.fetching = None;
        self.in_hand = 0;
        self.schemas.clear();
        self.progress_ms = now_ms;
    }

    fn follow(&mut self, stats: Stats) {
        if stats.stream != self.stream {
            // Another life of the buffer: what is out belongs to the one before.
            (self.stream, self.base, self.cursor) = (stats.stream, stats.oldest, stats.oldest);
            self.fetching = None;
        }
        self.next = stats.next;
        self.base = self.base.max(stats.oldest).min(stats.next);
        self.cursor = self.cursor.clamp(self.base, stats.next);
    }

    fn acknowledged(&mut self, now_ms: i64, ack: &Ack, actions: &mut Vec<Action>) {
        if ack.stream != self.stream {
            self.counters.foreign_acks += 1;
        } else if ack.seq >= self.next {
            self.counters.impossible_acks += 1;
        } else if ack.seq >= self.base {
            self.base = ack.seq + 1;
            self.cursor = self.cursor.max(self.base);
            self.progress_ms = now_ms;
            self.patience = 1;
            actions.push(Action::Release { through: ack.seq });
        }
    }

    fn look_for_silence(&mut self, now_ms: i64, actions: &mut Vec<Action>) {
        let borne_ms = self.ack_timeout_ms.saturating_mul(i64::from(self.patience));
        if !self.connected || self.unacknowledged() == 0 || now_ms.saturating_sub(self.progress_ms) < borne_ms {
            return;
        }
        self.patience = (self.patience * 2).min(MAX_PATIENCE);
        self.progress_ms = now_ms;
        if self.in_hand > 0 {
            // Sending more to a broker that takes nothing would only fill the client.
            actions.push(Action::Reconnect);
        } else {
            self.counters.resends += 1;
            self.cursor = self.base;
        }
    }

    fn publish(&mut self, now_ms: i64, seq: u64, schema: SchemaId, actions: &mut Vec<Action>) {
        if self.fetching != Some(seq) {
            return;
        }
        self.fetching = None;
        // Meanwhile acknowledged, dropped, or sending started again.
        if !self.connected || seq != self.cursor {
            return;
        }
        if self.unacknowledged() == 0 {
            self.progress_ms = now_ms;
        }
        if self.schemas.insert(schema) {
            actions.push(Action::PublishSchema(schema));
        }
        self.cursor += 1;
        self.in_hand += 1;
        actions.push(Action::Publish { seq });
    }

    fn fetch(&mut self, actions: &mut Vec<Action>) {
        // Batches that the buffer dropped are not out any more, but may still be in the client's hand.
        let out = self.unacknowledged().max(self.in_hand);
        if self.connected && self.fetching.is_none() && self.cursor < self.next && out < self.max_unacknowledged {
            self.fetching = Some(self.cursor);
            actions.push(Action::Fetch { seq: self.cursor });
        }
    }
}

#[cfg(test)]
mod tests;
