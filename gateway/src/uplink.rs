//! What to send next, when to wait, when to send again, and what the server has: a state machine.
//!
//! Does no I/O and knows no MQTT: events and `now` in, actions out. See [`mqtt`] for the client.
//!
//! # What holds
//! - Until the server has answered a hello on this connection, batches go out in the order of their numbers: a server that cannot
//!   acknowledge ranges ahead would never acknowledge what is new.
//! - A schema goes out before the first batch that names it, once per connection; again when the server asks for it.
//! - At most `max_unacknowledged` batches are out, and at most as many in the hand of the client. What had to wait fills no more
//!   than its share of them, so that what is new finds room; and while both wait, it gets its share of the turns.
//! - A batch is released only by the server's acknowledgement of this stream, never by the broker's. Acknowledgements may name
//!   ranges ahead of a missing batch; what goes out leaves at most as many ranges apart as one acknowledgement can name.
//! - After a new connection, and after a silence with something out, all that is out is sent again. The silence that is borne doubles
//!   up to [`MAX_PATIENCE`] times and is short again after progress. A batch that was overtaken is sent again: one sent later by
//!   `ack_timeout` is acknowledged.
//! - The server may ask again for what it had acknowledged (it was restored from a backup): what can still be read goes again.
//! - With a rate limit, what goes out in any time is at most the rate, a second's worth more, and the last message.

mod brokers;
mod ledger;
pub mod mqtt;
mod ranges;
mod rate;

use std::collections::BTreeSet;
use std::time::Duration;

use pattoo_wire::{Ack, Ask, SchemaId};

use self::ledger::Ledger;
use self::rate::Rate;
use crate::buffer::Stats;
use crate::config::{Order, Uplink as Config};

/// How far the borne silence may grow, in multiples of `ack_timeout`.
pub const MAX_PATIENCE: u32 = 32;

/// Where there are several brokers: how patient it is before it leaves one over which the server is not heard, in multiples of
/// `ack_timeout`. Three silences of 1, 2 and 4 have passed then.
const LEAVE_AT_PATIENCE: u32 = 8;

/// Time between two hellos on a connection, in ms.
pub const HELLO_EVERY_MS: i64 = 60_000;

/// How it is to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Most batches that are out and not acknowledged.
    pub max_unacknowledged: usize,
    /// Silence after which they are sent again.
    pub ack_timeout: Duration,
    /// What goes first.
    pub order: Order,
    /// Share of the backlog while something new waits, in percent.
    pub backfill_percent: u32,
    /// Most bytes in a second.
    pub rate_limit: Option<u64>,
    /// There is more than one broker.
    pub has_choice: bool,
}

impl From<&Config> for Policy {
    fn from(config: &Config) -> Self {
        Self {
            max_unacknowledged: config.max_unacknowledged,
            ack_timeout: config.ack_timeout,
            order: config.order,
            backfill_percent: config.backfill_percent,
            rate_limit: config.rate_limit,
            has_choice: config.brokers.len() > 1,
        }
    }
}

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
        /// Bytes that it takes on the way.
        bytes: u64,
    },
    /// The buffer does not give the batch.
    Missing {
        /// Its number.
        seq: u64,
        /// Whether it never will: it was dropped or released.
        gone: bool,
    },
    /// The broker took a published batch, or refused it: the client no longer has it in hand.
    Taken,
    /// The server's acknowledgement.
    Ack(Ack),
    /// What the server asks for.
    Ask(Ask),
    /// Time went by.
    Tick,
}

/// Something to do, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Say where the buffer stands, and ask what time it is.
    Hello {
        /// The `now` of this step.
        sent_ms: i64,
    },
    /// The server has told the time.
    Time {
        /// When the hello went out that it answers; that it was heard is now.
        sent_ms: i64,
        /// UTC by the server's clock in between, ms since 1970.
        time_ms: i64,
    },
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
    /// Forget these batches: the server has them.
    Release {
        /// All up to this one.
        through: u64,
        /// And these ranges (first, last) beyond it.
        ahead: Vec<(u64, u64)>,
    },
    /// Drop the connection and make a new one.
    Reconnect {
        /// To another broker if there is one, because the server is not heard over this one; else because it takes nothing.
        silent: bool,
    },
}

/// What was counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Acknowledgements and questions of another stream.
    pub foreign: u64,
    /// Acknowledgements of batches that do not exist yet.
    pub impossible_acks: u64,
    /// Batches that were out and had to be sent again.
    pub resends: u64,
    /// Batches that the server asked for although they were with it or on their way.
    pub asked: u64,
}

/// The state.
#[derive(Debug, Clone)]
pub struct Uplink {
    max_unacknowledged: u64,
    ack_timeout_ms: i64,
    has_choice: bool,
    ledger: Ledger,
    rate: Rate,
    connected: bool,
    fetching: Option<u64>,
    /// Published batches that the broker has not taken.
    in_hand: u64,
    schemas: BTreeSet<SchemaId>,
    /// Last progress: a connection, an acknowledgement, or the first batch after a pause.
    progress_ms: i64,
    /// When the batch was sent that was sent last of those that are acknowledged.
    acknowledged_sent_ms: i64,
    /// The latest hello, and whether its answer has yet to come.
    hello_ms: i64,
    unanswered: bool,
    patience: u32,
    counters: Counters,
}

impl Uplink {
    /// Not connected. Times are in ms of any clock that only goes forward.
    #[must_use]
    pub fn new(policy: Policy, stats: Stats) -> Self {
        let max_unacknowledged = policy.max_unacknowledged.max(1) as u64;
        Self {
            max_unacknowledged,
            ack_timeout_ms: i64::try_from(policy.ack_timeout.as_millis()).unwrap_or(i64::MAX).max(1),
            has_choice: policy.has_choice,
            ledger: Ledger::new(policy.order, max_unacknowledged, policy.backfill_percent, stats),
            rate: Rate::new(policy.rate_limit),
            connected: false,
            fetching: None,
            in_hand: 0,
            schemas: BTreeSet::new(),
            progress_ms: 0,
            acknowledged_sent_ms: i64::MIN,
            hello_ms: 0,
            unanswered: false,
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
                self.hello(now_ms, &mut actions);
            }
            Event::Disconnected => {
                self.connected = false;
                self.restart(now_ms);
            }
            Event::Buffer(stats) => {
                if self.ledger.follow(stats) {
                    // What is being fetched belongs to the life before.
                    self.fetching = None;
                }
            }
            Event::Fetched { seq, schema, bytes } => self.publish(now_ms, seq, schema, bytes, &mut actions),
            Event::Missing { seq, gone } => {
                if self.fetching == Some(seq) {
                    self.fetching = None;
                    // What is not there now is looked for again by the next tick or change of the buffer: at once would spin.
                    self.ledger.missing(seq, gone);
                }
            }
            Event::Taken => self.in_hand = self.in_hand.saturating_sub(1),
            Event::Ack(ack) => self.acknowledged(now_ms, &ack, &mut actions),
            Event::Ask(ask) => self.asked(now_ms, &ask, &mut actions),
            Event::Tick => {
                self.ledger.look_again();
                self.look_for_silence(now_ms, &mut actions);
                if self.connected && now_ms.saturating_sub(self.hello_ms) >= HELLO_EVERY_MS {
                    self.hello(now_ms, &mut actions);
                }
            }
        }
        self.fetch(now_ms, &mut actions);
        actions
    }

    /// Batches that are out and not acknowledged.
    #[must_use]
    pub fn unacknowledged(&self) -> u64 {
        self.ledger.out()
    }

    /// Batches that are still to be sent.
    #[must_use]
    pub fn unsent(&self) -> u64 {
        self.ledger.unsent()
    }

    /// What was counted.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Something else than a batch was published: so many bytes of the rate are spent.
    pub fn spend(&mut self, bytes: u64) {
        self.rate.spend(bytes);
    }

    /// How long so many bytes take where there is a rate.
    #[must_use]
    pub fn time_for(&self, bytes: u64) -> Duration {
        self.rate.time_for(bytes)
    }

    /// Forgets what the lost connection carried.
    fn restart(&mut self, now_ms: i64) {
        self.counters.resends += self.ledger.requeue_all();
        self.ledger.keep_order(true);
        self.fetching = None;
        self.in_hand = 0;
        self.schemas.clear();
        self.progress_ms = now_ms;
    }

    fn hello(&mut self, now_ms: i64, actions: &mut Vec<Action>) {
        self.hello_ms = now_ms;
        self.unanswered = true;
        actions.push(Action::Hello { sent_ms: now_ms });
    }

    fn acknowledged(&mut self, now_ms: i64, ack: &Ack, actions: &mut Vec<Action>) {
        if ack.stream != self.ledger.stats().stream {
            self.counters.foreign += 1;
            return;
        }
        let Some(news) = self.ledger.acknowledge(ack) else {
            self.counters.impossible_acks += 1;
            return;
        };
        if news.through.is_some() || !news.ahead.is_empty() {
            let through = news.through.unwrap_or(ack.seq);
            actions.push(Action::Release { through, ahead: news.ahead });
        } else if news.sent_ms.is_none() {
            return;
        }
        self.progress_ms = now_ms;
        self.patience = 1;
        if let Some(sent_ms) = news.sent_ms {
            self.acknowledged_sent_ms = self.acknowledged_sent_ms.max(sent_ms);
            self.counters.resends += self.ledger.requeue_sent_before(self.acknowledged_sent_ms.saturating_sub(self.ack_timeout_ms));
        }
    }

    fn asked(&mut self, now_ms: i64, ask: &Ask, actions: &mut Vec<Action>) {
        if ask.stream != self.ledger.stats().stream {
            self.counters.foreign += 1;
            return;
        }
        if !self.connected {
            return;
        }
        // A server that answers a hello names ranges ahead, too.
        self.ledger.keep_order(false);
        let echo = ask.echo.filter(|echo| i64::try_from(echo.sent_ms) == Ok(self.hello_ms));
        // Only the latest hello and its first answer tell the time: an older one would tell of an older time.
        if let Some(echo) = echo.filter(|_| self.unanswered) {
            self.unanswered = false;
            actions.push(Action::Time { sent_ms: self.hello_ms, time_ms: echo.time_ms });
        }
        for schema in &ask.schemas {
            self.schemas.insert(*schema);
            actions.push(Action::PublishSchema(*schema));
        }
        // What was sent after the hello that is answered, or just now, may have arrived since.
        let sent_before_ms = echo.map_or(now_ms.saturating_sub(self.ack_timeout_ms), |_| self.hello_ms);
        self.counters.asked += self.ledger.ask(&ask.missing, sent_before_ms);
    }

    fn look_for_silence(&mut self, now_ms: i64, actions: &mut Vec<Action>) {
        let borne_ms = self.ack_timeout_ms.saturating_mul(i64::from(self.patience));
        if !self.connected || self.ledger.out() == 0 || now_ms.saturating_sub(self.progress_ms) < borne_ms {
            return;
        }
        self.patience = (self.patience * 2).min(MAX_PATIENCE);
        self.progress_ms = now_ms;
        if self.in_hand > 0 {
            // Sending more to a broker that takes nothing would only fill the client.
            actions.push(Action::Reconnect { silent: false });
        } else if self.has_choice && self.patience >= LEAVE_AT_PATIENCE {
            actions.push(Action::Reconnect { silent: true });
        } else {
            self.counters.resends += self.ledger.requeue_all();
            self.ledger.all_is_backlog();
        }
    }

    fn publish(&mut self, now_ms: i64, seq: u64, schema: SchemaId, bytes: u64, actions: &mut Vec<Action>) {
        if self.fetching != Some(seq) {
            return;
        }
        self.fetching = None;
        // Meanwhile acknowledged, dropped, or sending started again.
        if !self.connected || !self.ledger.wants(seq) {
            return;
        }
        if self.ledger.out() == 0 {
            self.progress_ms = now_ms;
        }
        if self.schemas.insert(schema) {
            actions.push(Action::PublishSchema(schema));
        }
        self.ledger.sent(now_ms, seq);
        self.rate.spend(bytes);
        self.in_hand += 1;
        actions.push(Action::Publish { seq });
    }

    fn fetch(&mut self, now_ms: i64, actions: &mut Vec<Action>) {
        // Batches that the buffer dropped are not out any more, but may still be in the client's hand.
        if !self.connected || self.fetching.is_some() || self.in_hand >= self.max_unacknowledged || !self.rate.allows(now_ms) {
            return;
        }
        if let Some(seq) = self.ledger.choose() {
            self.fetching = Some(seq);
            actions.push(Action::Fetch { seq });
        }
    }
}

#[cfg(test)]
mod tests;
