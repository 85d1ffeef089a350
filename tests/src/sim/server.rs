//! The server: its real core, in a shell of simulated time.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use pattoo_server::ingest::{self, Core, Letters};
use pattoo_server::live::Live;
use pattoo_wire::{Ack, Ask, Echo, topic};

use super::net::{Filter, Message, Packet};
use super::{Event, World};

/// Longest wait for more messages before a commit.
const GROUP_WAIT_MS: i64 = 10;
const FAILED_PAUSE_MS: i64 = 1000;
/// The retained schemas are asked for again at most this often.
const SCHEMAS_EVERY_MS: i64 = 10_000;

/// Further than the clock of any gateway is set: what is refused for that reason has a letter, and here is no folder for it.
const MAX_FUTURE: Duration = Duration::from_secs(10 * 24 * 3600);

/// A folder that cannot be made: a message that nobody can read would stop its gateway, and so be found.
const NO_LETTERS: &str = "/dev/null/letters";

#[derive(Default)]
pub(super) struct Server {
    core: Option<Core>,
    life: u64,
    live: Arc<Live>,
    queue: VecDeque<ingest::Message>,
    /// A group is on its way to the store, or will be.
    busy: bool,
    schemas_asked_ms: Option<i64>,
    replays: u64,
}

impl Server {
    pub(super) fn is_running(&self) -> bool {
        self.core.is_some()
    }

    pub(super) fn replays(&self) -> u64 {
        self.replays + counted(&self.live)
    }
}

fn counted(live: &Live) -> u64 {
    live.gateways().iter().map(|gateway| gateway.counters.replays).sum()
}

impl World<'_> {
    pub(super) fn server_up(&mut self) {
        if self.server.core.is_some() {
            return;
        }
        self.server.replays += counted(&self.server.live);
        self.server.live = Arc::new(Live::default());
        let letters = Letters::new(Path::new(NO_LETTERS));
        match Core::new(self.store.clone(), letters, self.server.live.clone()) {
            Ok(core) => self.server.core = Some(core.with_max_future(MAX_FUTURE)),
            Err(error) => return self.violated(format!("the server does not start: {error}")),
        }
        self.note(format_args!("server starts"));
        self.connect_at(0, self.now_ms);
    }

    pub(super) fn server_crash(&mut self, down_ms: i64) {
        if self.server.core.take().is_none() {
            return;
        }
        self.server.life += 1;
        self.server.queue.clear();
        (self.server.busy, self.server.schemas_asked_ms) = (false, None);
        let told = self.random.bool();
        self.vanish(0, told);
        self.after(down_ms, Event::ServerUp);
    }

    pub(super) fn server_takes(&mut self, packet: Packet) {
        match packet {
            Packet::ConnAck => self.send_up(0, Packet::Subscribe(vec![Filter::Gateways])),
            Packet::Publish(_, Message { topic, payload, retained }) => {
                self.server.queue.push_back(ingest::Message { topic, payload, retained });
                self.process_in(GROUP_WAIT_MS);
            }
            Packet::Connect | Packet::Subscribe(_) | Packet::PubAck(_) => {}
        }
    }

    fn process_in(&mut self, ms: i64) {
        if !self.server.busy {
            self.server.busy = true;
            self.after(ms, Event::Process(self.server.life));
        }
    }

    pub(super) fn process(&mut self, life: u64) {
        let now_ms = self.utc_ms();
        let Server { core: Some(core), queue, life: current, .. } = &mut self.server else { return };
        if life != *current {
            return;
        }
        let group: Vec<_> = queue.drain(..queue.len().min(self.plan.group)).collect();
        let processed = core.process(&group, now_ms);
        self.note(format_args!("server: {} messages, {:?}", group.len(), processed));
        let due = self.server.schemas_asked_ms.is_none_or(|at_ms| self.now_ms - at_ms >= SCHEMAS_EVERY_MS);
        if processed.schema_missing && due && self.links[0].ready {
            self.server.schemas_asked_ms = Some(self.now_ms);
            self.send_up(0, Packet::Subscribe(vec![Filter::Schemas]));
        }
        let pause_ms = if processed.failed { FAILED_PAUSE_MS } else { self.random.i64(0..=self.plan.commit_ms) };
        self.after(pause_ms, Event::Committed(life, processed.acks, processed.asks));
    }

    pub(super) fn committed(&mut self, life: u64, acks: Vec<(String, Ack)>, asks: Vec<(String, Ask)>) {
        if life != self.server.life {
            return;
        }
        let time_ms = self.utc_ms();
        let acks = acks.into_iter().map(|(gateway, ack)| (topic::ack(&gateway), ack.encode()));
        let asks = asks.into_iter().map(|(gateway, ask)| {
            let echo = ask.echo.map(|echo| Echo { time_ms, ..echo });
            (topic::ask(&gateway), Ask { echo, ..ask }.encode())
        });
        let answers: Vec<_> = acks.chain(asks).collect();
        for (topic, payload) in answers {
            match payload {
                Ok(payload) if self.links[0].ready => {
                    self.send_up(0, Packet::Publish(Some(0), Message { topic, payload, retained: false }));
                }
                Ok(_) => {}
                Err(error) => self.violated(format!("an answer on {topic} cannot be encoded: {error}")),
            }
        }
        self.server.busy = false;
        if !self.server.queue.is_empty() {
            self.process_in(0);
        }
    }
}
