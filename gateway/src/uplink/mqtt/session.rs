//! One life of the client: what happens on the connection goes to the state machine, and what that says is done.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

use pattoo_wire::{Ack, Ask, DeviceStatus, Header, Hello, SchemaId, WireError, compressed, data_message, topic};
use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Filter, Packet, PubAck, PubAckReason, Publish, SubAck, SubscribeReasonCode};
use rumqttc::v5::{AsyncClient, Event as MqttEvent};
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::{debug, info, warn};

use super::Told;
use super::commands::{Window, next_result};
use super::pump::{Leave, Up};
use crate::buffer::Stored;
use crate::buffer::worker::Handle;
use crate::clock;
use crate::pulse::Pulse;
use crate::timebase::ServerTime;
use crate::uplink::{Action, Event, Policy, Uplink};

/// How often the state machine is told that time went by.
const TICK: Duration = Duration::from_millis(500);

/// A turn of the loop is over by then, unless it hangs: none waits for anything but the buffer.
const LONGEST_TURN: Duration = Duration::from_secs(30);

/// Ticks for which time must have been known until what the buffer does not give counts as gone: it gives out what waited for the time
/// a moment later than that is told here.
const SETTLED_TICKS: u32 = 10;

/// Longest time for the farewell at a clean stop.
pub(super) const FAREWELL: Duration = Duration::from_secs(2);

pub(super) struct Topics {
    ack: String,
    ask: String,
    command: String,
    pub(super) command_result: String,
    data: String,
    hello: String,
    pub(super) status: String,
}

impl Topics {
    fn of(gateway: &str) -> Self {
        Self {
            ack: topic::ack(gateway),
            ask: topic::ask(gateway),
            command: topic::command(gateway),
            command_result: topic::command_result(gateway),
            data: topic::data(gateway),
            hello: topic::hello(gateway),
            status: topic::status(gateway),
        }
    }
}

/// What a publish was about, for the log when the broker refuses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    Batch(u64),
    Schema(SchemaId),
    Hello,
    Status,
    /// The answer to a command, by its number.
    Result(u64),
}

/// What a session has to do with.
pub(super) struct Outside {
    pub(super) buffer: Handle,
    pub(super) told: Told,
    pub(super) window: Option<Window>,
    pub(super) pulse: Pulse,
}

pub(super) struct Session {
    pub(super) uplink: Uplink,
    gateway: String,
    pub(super) topics: Topics,
    client: AsyncClient,
    leave: mpsc::Sender<Leave>,
    compress: bool,
    /// The broker that is connected to, or was.
    pub(super) broker: String,
    pub(super) buffer: Handle,
    pub(super) told: Told,
    /// Where commands are taken, if they are.
    pub(super) window: Option<Window>,
    pulse: Pulse,
    pub(super) started: Instant,
    pub(super) connected: bool,
    pub(super) status_sent: Option<Instant>,
    pub(super) status_bytes: u64,
    ticks_with_time: u32,
    /// Quality and reason of each device as last published.
    pub(super) health_told: BTreeMap<String, DeviceStatus>,
    /// The message of the batch that waits to be published.
    fetched: Option<(u64, Vec<u8>)>,
    /// Publishes that wait for their packet number, in order.
    queued: VecDeque<Sent>,
    by_packet: HashMap<u16, Sent>,
}

impl Session {
    pub(super) fn new(
        gateway: String,
        policy: Policy,
        compress: bool,
        client: AsyncClient,
        leave: mpsc::Sender<Leave>,
        Outside { buffer, told, window, pulse }: Outside,
    ) -> Self {
        Self {
            uplink: Uplink::new(policy, buffer.stats()),
            topics: Topics::of(&gateway),
            gateway,
            client,
            leave,
            compress,
            broker: String::new(),
            buffer,
            told,
            window,
            pulse,
            started: Instant::now(),
            connected: false,
            status_sent: None,
            status_bytes: 0,
            ticks_with_time: 0,
            health_told: BTreeMap::new(),
            fetched: None,
            queued: VecDeque::new(),
            by_packet: HashMap::new(),
        }
    }

    pub(super) async fn run(mut self, mut inbox: mpsc::Receiver<Up>, mut shutdown: watch::Receiver<bool>) {
        let mut stats = self.buffer.watch();
        let mut health = self.told.health.clone();
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                up = inbox.recv() => match up {
                    Some(up) => self.up(up).await,
                    None => return,
                },
                changed = stats.changed() => match changed {
                    Ok(()) => self.step(Event::Buffer(self.buffer.stats())).await,
                    Err(_) => break,
                },
                // Its sender may go first at a stop; then only the ticks tell.
                Ok(()) = health.changed() => self.refresh_status(),
                _ = ticks.tick() => self.tick(&mut inbox).await,
                result = next_result(&mut self.window) => self.result(result),
                // Any end of the sender is an end of the daemon.
                () = stopped(&mut shutdown) => break,
            }
        }
        self.farewell(inbox).await;
    }

    async fn tick(&mut self, inbox: &mut mpsc::Receiver<Up>) {
        self.pulse.back_by(Instant::now() + LONGEST_TURN);
        // What came while the disk was waited for is heard first: silence is what others keep, not how slow we are.
        for _ in 0..inbox.len() {
            if let Ok(up) = inbox.try_recv() {
                self.up(up).await;
            }
        }
        self.refresh_status();
        if let Some(window) = &mut self.window {
            window.look();
        }
        let known = self.told.time.state.borrow().offset_ms.is_some();
        self.ticks_with_time = if known { self.ticks_with_time.saturating_add(1) } else { 0 };
        self.step(Event::Tick).await;
    }

    async fn up(&mut self, up: Up) {
        match up {
            Up::Down(done) => {
                self.connection(false);
                self.queued.clear();
                self.by_packet.clear();
                self.step(Event::Disconnected).await;
                // The pump waits for this: nothing of the old connection may be queued into the new one.
                let _: Result<(), ()> = done.send(());
            }
            Up::Broker(broker) => self.broker = broker,
            Up::Event(event) => match *event {
                MqttEvent::Incoming(packet) => self.incoming(packet).await,
                MqttEvent::Outgoing(outgoing) => self.outgoing(&outgoing),
            },
        }
    }

    fn connection(&mut self, connected: bool) {
        self.connected = connected;
        if let Some(window) = &mut self.window {
            window.connected(connected);
        }
    }

    /// The library numbers publishes in the order in which they were queued.
    fn outgoing(&mut self, outgoing: &Outgoing) {
        if let (Outgoing::Publish(packet), Some(sent)) = (outgoing, self.queued.front()) {
            self.by_packet.insert(*packet, *sent);
            self.queued.pop_front();
        }
    }

    async fn incoming(&mut self, packet: Packet) {
        match packet {
            Packet::ConnAck(_) => {
                info!(gateway = self.gateway, broker = self.broker, "connected to the broker");
                self.connection(true);
                let commands = self.window.is_some().then_some(&self.topics.command);
                let topics = [&self.topics.ack, &self.topics.ask].into_iter().chain(commands);
                let filters: Vec<_> = topics.map(|topic| Filter::new(topic, QoS::AtLeastOnce)).collect();
                if self.client.try_subscribe_many(filters).is_err() {
                    return self.give_up_connection(Leave::Stuck, "the queue of the client is full");
                }
                self.publish_status(true);
                self.send_results();
                self.step(Event::Connected).await;
            }
            Packet::SubAck(suback) => self.subscribed(&suback),
            Packet::PubAck(puback) => self.taken(&puback).await,
            Packet::Publish(publish) => self.heard(&publish).await,
            _ => {}
        }
    }

    async fn heard(&mut self, publish: &Publish) {
        if publish.topic == self.topics.command.as_bytes() {
            return self.window.iter().for_each(|window| window.command(publish));
        }
        if let Some(window) = &mut self.window {
            window.heard();
        }
        if publish.topic == self.topics.ack.as_bytes() {
            match Ack::decode(&publish.payload) {
                Ok(ack) => self.acknowledged(ack).await,
                Err(error) => warn!(%error, "an acknowledgement cannot be read; ignored"),
            }
        } else if publish.topic == self.topics.ask.as_bytes() {
            match Ask::decode(&publish.payload) {
                Ok(ask) => self.asked(ask).await,
                Err(error) => warn!(%error, "what the server asks for cannot be read; ignored"),
            }
        }
    }

    fn subscribed(&mut self, suback: &SubAck) {
        let costs = [
            (&self.topics.ack, "nothing will be released"),
            (&self.topics.ask, "the server can neither ask for what is missing nor tell the time"),
            (&self.topics.command, "no command will be heard"),
        ];
        for ((topic, cost), code) in costs.into_iter().zip(&suback.return_codes) {
            if !matches!(code, SubscribeReasonCode::Success(_)) {
                warn!(topic, ?code, "the broker refuses a subscription: {cost}; check its access rules");
            } else if *topic == self.topics.command {
                info!(topic, "commands are taken");
            }
        }
    }

    async fn taken(&mut self, puback: &PubAck) {
        let sent = self.by_packet.remove(&puback.pkid);
        if !matches!(puback.reason, PubAckReason::Success | PubAckReason::NoMatchingSubscribers) {
            warn!(?sent, reason = ?puback.reason, "the broker refuses a message; what it was about stays in the buffer");
        }
        match sent {
            Some(Sent::Batch(_)) => self.step(Event::Taken).await,
            Some(Sent::Result(number)) => self.result_taken(number),
            _ => {}
        }
    }

    async fn acknowledged(&mut self, ack: Ack) {
        let before = self.uplink.counters();
        let (stream, seq) = (ack.stream, ack.seq);
        self.step(Event::Ack(ack)).await;
        let after = self.uplink.counters();
        if after.foreign > before.foreign {
            debug!(stream, seq, "an acknowledgement is for another stream; ignored");
        }
        if after.impossible_acks > before.impossible_acks {
            warn!(stream, seq, "an acknowledgement is for a batch that was never made; ignored");
        }
    }

    async fn asked(&mut self, ask: Ask) {
        let before = self.uplink.counters().asked;
        let (missing, schemas) = (ask.missing.clone(), ask.schemas.len());
        self.step(Event::Ask(ask)).await;
        let again = self.uplink.counters().asked - before;
        if again > 0 || schemas > 0 {
            info!(?missing, again, schemas, "the server asks for what it misses");
        }
    }

    /// Tells the state machine, then does what it says until it is content.
    async fn step(&mut self, event: Event) {
        let mut actions = VecDeque::from(self.uplink.step(clock::boot_ms(), event));
        while let Some(action) = actions.pop_front() {
            match action {
                Action::Hello { sent_ms } => self.publish_hello(sent_ms),
                Action::Time { sent_ms, time_ms } => {
                    self.told.time.heard.send_replace(Some(ServerTime { sent_ms, received_ms: clock::boot_ms(), time_ms }));
                }
                Action::Fetch { seq } => {
                    for event in self.fetch(seq).await {
                        actions.extend(self.uplink.step(clock::boot_ms(), event));
                    }
                }
                Action::PublishSchema(id) => self.publish_schema(id).await,
                Action::Publish { seq } => self.publish_batch(seq),
                Action::Release { through, ahead } => {
                    if let Err(error) = self.buffer.release(through, ahead.clone()).await {
                        warn!(%error, through, "acknowledged batches could not be released; they will be sent again");
                    }
                    debug!(through, ?ahead, "the server has it");
                    actions.extend(self.uplink.step(clock::boot_ms(), Event::Buffer(self.buffer.stats())));
                }
                Action::Reconnect { silent: false } => self.give_up_connection(Leave::Stuck, "the broker takes no messages"),
                Action::Reconnect { silent: true } => self.give_up_connection(Leave::Silent, "the server is not heard over this broker"),
            }
        }
    }

    async fn fetch(&mut self, seq: u64) -> Vec<Event> {
        match self.buffer.get(seq).await {
            Ok(Some(stored)) => match self.message(stored) {
                Ok((schema, message)) => {
                    let bytes = bytes_of(&self.topics.data, &message);
                    self.fetched = Some((seq, message));
                    vec![Event::Fetched { seq, schema, bytes }]
                }
                Err(error) => {
                    warn!(%error, seq, "BUG: a stored batch cannot be sent");
                    vec![Event::Missing { seq, gone: false }]
                }
            },
            Ok(None) => {
                let stats = self.buffer.stats();
                // What waits for the time is there later; anything else was released ahead of others, maybe before this program
                // started. Where that is wrong, the server asks for it.
                let waits = self.ticks_with_time < SETTLED_TICKS && (stats.oldest..stats.next).contains(&seq);
                vec![Event::Buffer(stats), Event::Missing { seq, gone: !waits }]
            }
            Err(error) => {
                warn!(%error, seq, "a batch cannot be read now");
                vec![Event::Missing { seq, gone: false }]
            }
        }
    }

    fn message(&self, stored: Stored) -> Result<(SchemaId, Vec<u8>), WireError> {
        let Stored { seq, schema, body } = stored;
        let stats = self.buffer.stats();
        let body = if self.compress { compressed(body)? } else { body };
        Ok((schema, data_message(&Header { stream: stats.stream, seq, oldest: stats.kept.min(seq) }, &body)?))
    }

    async fn publish_schema(&mut self, id: SchemaId) {
        match self.buffer.schema(id).await {
            Ok(Some(message)) => self.publish(topic::schema(&self.gateway, id), true, message, Sent::Schema(id)),
            // The server may have it; if not, it asks or says so.
            Ok(None) => warn!(schema = %id, "the buffer does not hold the schema that a batch names"),
            Err(error) => warn!(%error, schema = %id, "a schema cannot be read now"),
        }
    }

    fn publish_batch(&mut self, seq: u64) {
        if let Some((_, message)) = self.fetched.take().filter(|(fetched, _)| *fetched == seq) {
            self.publish(self.topics.data.clone(), false, message, Sent::Batch(seq));
        }
    }

    fn publish_hello(&mut self, sent_ms: i64) {
        let (stats, source) = (self.buffer.stats(), self.told.time.state.borrow().source);
        let (sent_ms, time_ms) = (u64::try_from(sent_ms).unwrap_or_default(), clock::now_ms());
        let hello = Hello { stream: stats.stream, oldest: stats.kept, next: stats.next, sent_ms, time_ms, source };
        match hello.encode() {
            Ok(message) => self.publish(self.topics.hello.clone(), false, message, Sent::Hello),
            Err(error) => warn!(%error, "BUG: a hello cannot be encoded"),
        }
    }

    pub(super) fn publish(&mut self, topic: String, retain: bool, message: Vec<u8>, sent: Sent) {
        if !matches!(sent, Sent::Batch(_)) {
            self.uplink.spend(bytes_of(&topic, &message));
        }
        match self.client.try_publish(topic, QoS::AtLeastOnce, retain, message) {
            Ok(()) => self.queued.push_back(sent),
            // The queue holds more than the window: the broker takes nothing. All is sent again on the next connection.
            Err(_) => self.give_up_connection(Leave::Stuck, "the queue of the client is full"),
        }
    }

    fn give_up_connection(&mut self, leave: Leave, why: &str) {
        warn!(broker = self.broker, why, "connecting again");
        // One order that waits is enough.
        let _ = self.leave.try_send(leave);
    }

    /// Says goodbye if the broker still listens.
    async fn farewell(mut self, mut inbox: mpsc::Receiver<Up>) {
        if !self.connected {
            return;
        }
        while let Some(result) = self.window.as_mut().and_then(|window| window.results.try_recv().ok()) {
            self.result(result);
        }
        self.publish_status(false);
        let goodbye = async {
            while let Some(up) = inbox.recv().await {
                let Up::Event(event) = up else { return };
                match *event {
                    MqttEvent::Incoming(Packet::PubAck(puback)) => {
                        if self.by_packet.remove(&puback.pkid) == Some(Sent::Status) && !self.is_waiting_for_status() {
                            let _ = self.client.try_disconnect();
                        }
                    }
                    MqttEvent::Outgoing(Outgoing::Disconnect) => return,
                    MqttEvent::Outgoing(outgoing) => self.outgoing(&outgoing),
                    MqttEvent::Incoming(_) => {}
                }
            }
        };
        if timeout(FAREWELL, goodbye).await.is_err() {
            debug!("the broker did not take the farewell in time");
        }
    }

    fn is_waiting_for_status(&self) -> bool {
        self.queued.iter().chain(self.by_packet.values()).any(|sent| *sent == Sent::Status)
    }
}

/// Bytes of a PUBLISH with this content: head of at most 5 bytes, topic with its length, packet number, no properties, message.
fn bytes_of(topic: &str, message: &[u8]) -> u64 {
    (5 + 2 + topic.len() + 2 + 1 + message.len()) as u64
}

async fn stopped(shutdown: &mut watch::Receiver<bool>) {
    // A sender that is gone has the same meaning as one that says so.
    let _ = shutdown.wait_for(|stop| *stop).await;
}

#[cfg(test)]
mod tests;
