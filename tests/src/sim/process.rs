//! The process of a simulated gateway: the buffer and the uplink's state machine, and what they want of the world.

use std::collections::{BTreeMap, VecDeque};

use pattoo_gateway::batch::{Builder, Closed};
use pattoo_gateway::buffer::{Buffer, Stats, Stored};
use pattoo_gateway::config::Config;
use pattoo_gateway::timebase::{EARLIEST_MS, ServerTime, TimeBase};
use pattoo_gateway::uplink::{Action, Event as UplinkEvent, Uplink};
use pattoo_wire::{Header, Hello, SchemaId, data_message, topic};

use super::clock::Looks;
use super::disk::Disk;
use super::net::{Message, Packet};
use super::oracle::Key;

pub(super) struct Process {
    pub(super) config: Config,
    pub(super) builder: Builder,
    pub(super) buffer: Buffer<Disk>,
    pub(super) uplink: Uplink,
    pub(super) time: TimeBase,
    pub(super) looks: Looks,
    /// The time as the buffer was told it.
    pub(super) told_ms: Option<i64>,
    pub(super) fetched: Option<Stored>,
    pub(super) published: u64,
    /// Batches in the hand of the client, by packet number.
    pub(super) in_hand: BTreeMap<u64, u64>,
    /// Batches that wait for the commit window to close, and what the oracle knows of each.
    pub(super) waiting: Vec<(Closed, Vec<Key>)>,
    /// The batch timer is set for then.
    pub(super) batch_timer_ms: Option<i64>,
    pub(super) ticking: bool,
    /// Ticks since the time is known.
    pub(super) ticks_with_time: u32,
}

/// As long as this after the time is known, a batch that cannot be had is taken to wait for it.
const SETTLED_TICKS: u32 = 10;

/// What the process wants of the world.
pub(super) enum Want {
    Publish(Packet),
    Reconnect,
    Released {
        stream: u64,
        ranges: Vec<(u64, u64)>,
    },
    /// A batch goes out.
    Sent {
        stream: u64,
        seq: u64,
        body: Vec<u8>,
    },
    Wrong(String),
}

impl Process {
    /// What the daemon's buffer takes for UTC: while the time is not known nothing is too old.
    pub(super) fn buffer_ms(&self, boot_ms: i64) -> i64 {
        self.told_ms.map_or(EARLIEST_MS, |offset_ms| boot_ms + offset_ms)
    }

    /// Tells the state machine, then does what it says until it is content.
    pub(super) fn step(&mut self, name: &str, boot_ms: i64, system_ms: i64, event: UplinkEvent) -> Vec<Want> {
        let buffer_ms = self.buffer_ms(boot_ms);
        let mut wants = Vec::new();
        let mut actions = VecDeque::from(self.uplink.step(boot_ms, event));
        while let Some(action) = actions.pop_front() {
            match action {
                Action::Hello { sent_ms } => wants.extend(self.publish_hello(name, sent_ms, system_ms)),
                Action::Time { sent_ms, time_ms } => {
                    self.time.hear(ServerTime { sent_ms, received_ms: boot_ms, time_ms });
                    self.looks = Looks::default();
                }
                Action::Fetch { seq } => {
                    for event in self.fetch(seq, buffer_ms) {
                        actions.extend(self.uplink.step(boot_ms, event));
                    }
                }
                Action::PublishSchema(id) => wants.extend(self.publish_schema(name, id)),
                Action::Publish { seq } => wants.extend(self.publish_batch(name, seq)),
                Action::Release { through, ahead } => {
                    let Stats { stream, oldest, .. } = self.buffer.stats();
                    // What is older than the oldest was dropped, and its gap record may still be on its way.
                    let ranges = std::iter::once((oldest, through)).chain(ahead.iter().copied());
                    wants.push(Want::Released { stream, ranges: ranges.filter(|(first, last)| first <= last).collect() });
                    // One that fails is made up for by sending again.
                    let _ = self.buffer.release_ranges(through, &ahead);
                    actions.extend(self.uplink.step(boot_ms, UplinkEvent::Buffer(self.buffer.stats())));
                }
                Action::Reconnect { .. } => wants.push(Want::Reconnect),
            }
        }
        let (out, most) = (self.uplink.unacknowledged(), self.config.uplink.max_unacknowledged);
        if out > most as u64 || self.in_hand.len() > most {
            wants.push(Want::Wrong(format!("{out} batches are out and {} in hand, {most} may be", self.in_hand.len())));
        }
        wants
    }

    pub(super) fn count_tick(&mut self) {
        let known = self.time.state().offset_ms.is_some();
        self.ticks_with_time = if known { self.ticks_with_time.saturating_add(1) } else { 0 };
    }

    fn fetch(&mut self, seq: u64, now_ms: i64) -> Vec<UplinkEvent> {
        match self.buffer.get(seq, now_ms) {
            Ok(Some(stored)) => {
                let (schema, bytes) = (stored.schema, stored.body.len() as u64);
                self.fetched = Some(stored);
                vec![UplinkEvent::Fetched { seq, schema, bytes }]
            }
            Ok(None) => {
                let stats = self.buffer.stats();
                let waits = self.ticks_with_time < SETTLED_TICKS && (stats.oldest..stats.next).contains(&seq);
                vec![UplinkEvent::Buffer(stats), UplinkEvent::Missing { seq, gone: !waits }]
            }
            Err(_) => vec![UplinkEvent::Missing { seq, gone: false }],
        }
    }

    fn publish_hello(&mut self, name: &str, sent_ms: i64, time_ms: i64) -> Option<Want> {
        let Stats { stream, kept, next, .. } = self.buffer.stats();
        let sent_ms = u64::try_from(sent_ms).ok()?;
        let payload = Hello { stream, oldest: kept, next, sent_ms, time_ms, source: self.time.state().source }.encode().ok()?;
        self.published += 1;
        self.uplink.spend(payload.len() as u64);
        let message = Message { topic: topic::hello(name), payload, retained: false };
        Some(Want::Publish(Packet::Publish(Some(self.published), message)))
    }

    fn publish_schema(&mut self, name: &str, id: SchemaId) -> Option<Want> {
        let payload = self.buffer.schema(id).ok()??;
        self.published += 1;
        self.uplink.spend(payload.len() as u64);
        let message = Message { topic: topic::schema(name, id), payload, retained: true };
        Some(Want::Publish(Packet::Publish(Some(self.published), message)))
    }

    fn publish_batch(&mut self, name: &str, seq: u64) -> Vec<Want> {
        let Some(stored) = self.fetched.take().filter(|stored| stored.seq == seq) else {
            return vec![Want::Wrong(format!("batch {seq} is to be published and was not fetched"))];
        };
        let stats = self.buffer.stats();
        let header = Header { stream: stats.stream, seq, oldest: stats.kept.min(seq) };
        match data_message(&header, &stored.body) {
            Ok(payload) => {
                self.published += 1;
                self.in_hand.insert(self.published, seq);
                let message = Message { topic: topic::data(name), payload, retained: false };
                let sent = Want::Sent { stream: stats.stream, seq, body: stored.body };
                vec![sent, Want::Publish(Packet::Publish(Some(self.published), message))]
            }
            Err(error) => vec![Want::Wrong(format!("batch {seq} cannot be sent: {error}"))],
        }
    }
}
