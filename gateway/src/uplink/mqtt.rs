//! The MQTT client around the [`Uplink`] state machine. A shell file: sockets, files, clock and log.
//!
//! Spawns nothing: [`Client::run`] is one future for `run` to give a task. Inside it two loops run side by side: [`pump::pump`] polls the
//! connection and never waits for anything else, [`Session::run`] decides and publishes.
//!
//! The buffer is the session: a connection starts clean, and what was on its way when it broke is sent again from the buffer. The
//! broker's PUBACK moves nothing but the client's window; only the server's acknowledgement releases.

mod pump;
mod setup;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

use pattoo_wire::{Ack, DeviceStatus, Header, SchemaId, Status, data_message, topic};
use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, PubAck, PubAckReason, SubAck, SubscribeReasonCode};
use rumqttc::v5::{AsyncClient, Event as MqttEvent, EventLoop};
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::{debug, info, warn};

use self::pump::{Up, pump};
pub use self::setup::SetupError;
use super::{Action, Event, Uplink};
use crate::buffer::Stored;
use crate::buffer::worker::Handle;
use crate::clock;
use crate::config::Config;

/// Longest time between two status documents.
const STATUS_EVERY: Duration = Duration::from_secs(10);

/// Shortest time between two status documents, however often health changes.
const STATUS_GAP: Duration = Duration::from_secs(1);

/// How often the state machine is told that time went by.
const TICK: Duration = Duration::from_millis(500);

/// Longest time for the farewell at a clean stop.
const FAREWELL: Duration = Duration::from_secs(2);

/// Events that wait between the two loops; one more makes the connection wait, and so the broker.
const MAX_EVENTS: usize = 64;

/// The health of all devices by name, kept current by `run`.
pub type Health = watch::Receiver<BTreeMap<String, DeviceStatus>>;

/// An MQTT client that is set up but not connected.
pub struct Client {
    gateway: String,
    max_unacknowledged: usize,
    ack_timeout: Duration,
    client: AsyncClient,
    eventloop: EventLoop,
}

impl Client {
    /// Reads the uplink's configuration and the files that it names. Connects nothing.
    ///
    /// # Errors
    /// A URL, credentials file or CA file that cannot be used.
    pub fn new(config: &Config) -> Result<Self, SetupError> {
        let last_will = encoded(&Status { online: false, version: env!("CARGO_PKG_VERSION").into(), ..Status::default() });
        let options = setup::options(&config.gateway, &config.uplink, last_will)?;
        let (client, eventloop) = AsyncClient::new(options, setup::queue_len(config.uplink.max_unacknowledged));
        Ok(Self {
            gateway: config.gateway.clone(),
            max_unacknowledged: config.uplink.max_unacknowledged,
            ack_timeout: config.uplink.ack_timeout,
            client,
            eventloop,
        })
    }

    /// Sends what the buffer holds until `shutdown` becomes true or its sender is gone, or the buffer has stopped. Ends at most
    /// [`FAREWELL`] later.
    pub async fn run(self, buffer: Handle, health: Health, shutdown: watch::Receiver<bool>) {
        let (events, inbox) = mpsc::channel(MAX_EVENTS);
        let (reconnect, reconnects) = mpsc::channel(1);
        let session = Session {
            uplink: Uplink::new(self.max_unacknowledged, self.ack_timeout, buffer.stats()),
            topics: Topics { ack: topic::ack(&self.gateway), data: topic::data(&self.gateway), status: topic::status(&self.gateway) },
            gateway: self.gateway,
            client: self.client,
            reconnect,
            buffer,
            health,
            started: Instant::now(),
            connected: false,
            status_sent: None,
            health_told: BTreeMap::new(),
            fetched: None,
            queued: VecDeque::new(),
            by_packet: HashMap::new(),
        };
        tokio::select! {
            () = pump(self.eventloop, events, reconnects) => {}
            () = session.run(inbox, shutdown) => {}
        }
    }
}

struct Topics {
    ack: String,
    data: String,
    status: String,
}

/// What a publish was about, for the log when the broker refuses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sent {
    Batch(u64),
    Schema(SchemaId),
    Status,
}

struct Session {
    uplink: Uplink,
    gateway: String,
    topics: Topics,
    client: AsyncClient,
    reconnect: mpsc::Sender<()>,
    buffer: Handle,
    health: Health,
    started: Instant,
    connected: bool,
    status_sent: Option<Instant>,
    /// Quality and reason of each device as last published.
    health_told: BTreeMap<String, DeviceStatus>,
    /// The batch that waits to be published.
    fetched: Option<Stored>,
    /// Publishes that wait for their packet number, in order.
    queued: VecDeque<Sent>,
    by_packet: HashMap<u16, Sent>,
}

impl Session {
    async fn run(mut self, mut inbox: mpsc::Receiver<Up>, mut shutdown: watch::Receiver<bool>) {
        let mut stats = self.buffer.watch();
        let mut health = self.health.clone();
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
                _ = ticks.tick() => {
                    self.refresh_status();
                    self.step(Event::Tick).await;
                }
                // Any end of the sender is an end of the daemon.
                () = stopped(&mut shutdown) => break,
            }
        }
        self.farewell(inbox).await;
    }

    async fn up(&mut self, up: Up) {
        match up {
            Up::Down(done) => {
                self.connected = false;
                self.queued.clear();
                self.by_packet.clear();
                self.step(Event::Disconnected).await;
                // The pump waits for this: nothing of the old connection may be queued into the new one.
                let _: Result<(), ()> = done.send(());
            }
            Up::Event(event) => match *event {
                MqttEvent::Incoming(packet) => self.incoming(packet).await,
                MqttEvent::Outgoing(outgoing) => self.outgoing(&outgoing),
            },
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
                info!(gateway = self.gateway, "connected to the broker");
                self.connected = true;
                if self.client.try_subscribe(self.topics.ack.clone(), QoS::AtLeastOnce).is_err() {
                    return self.give_up_connection("the queue of the client is full");
                }
                self.publish_status(true);
                self.step(Event::Connected).await;
            }
            Packet::SubAck(suback) => self.subscribed(&suback),
            Packet::PubAck(puback) => self.taken(&puback).await,
            Packet::Publish(publish) if publish.topic == self.topics.ack.as_bytes() => match Ack::decode(&publish.payload) {
                Ok(ack) => self.acknowledged(ack).await,
                Err(error) => warn!(%error, "an acknowledgement cannot be read; ignored"),
            },
            _ => {}
        }
    }

    fn subscribed(&mut self, suback: &SubAck) {
        if suback.return_codes.iter().any(|code| !matches!(code, SubscribeReasonCode::Success(_))) {
            warn!(topic = self.topics.ack, codes = ?suback.return_codes, "the broker refuses the subscription for acknowledgements: nothing will be released; check its access rules");
        }
    }

    async fn taken(&mut self, puback: &PubAck) {
        let sent = self.by_packet.remove(&puback.pkid);
        if !matches!(puback.reason, PubAckReason::Success | PubAckReason::NoMatchingSubscribers) {
            warn!(?sent, reason = ?puback.reason, "the broker refuses a message; it stays in the buffer");
        }
        if let Some(Sent::Batch(_)) = sent {
            self.step(Event::Taken).await;
        }
    }

    async fn acknowledged(&mut self, ack: Ack) {
        let before = self.uplink.counters();
        let (stream, seq) = (ack.stream, ack.seq);
        self.step(Event::Ack(ack)).await;
        let after = self.uplink.counters();
        if after.foreign_acks > before.foreign_acks {
            debug!(stream, seq, "an acknowledgement is for another stream; ignored");
        }
        if after.impossible_acks > before.impossible_acks {
            warn!(stream, seq, "an acknowledgement is for a batch that was never made; ignored");
        }
    }

    /// Tells the state machine, then does what it says until it is content.
    async fn step(&mut self, event: Event) {
        let mut actions = VecDeque::from(self.uplink.step(self.now_ms(), event));
        while let Some(action) = actions.pop_front() {
            match action {
                Action::Fetch { seq } => {
                    for event in self.fetch(seq).await {
                        actions.extend(self.uplink.step(self.now_ms(), event));
                    }
                }
                Action::PublishSchema(id) => self.publish_schema(id).await,
                Action::Publish { seq } => self.publish_batch(seq),
                Action::Release { through } => {
                    if let Err(error) = self.buffer.release(through).await {
                        warn!(%error, through, "acknowledged batches could not be released; they will be sent again");
                    }
                    debug!(through, "the server has it");
                    actions.extend(self.uplink.step(self.now_ms(), Event::Buffer(self.buffer.stats())));
                }
                Action::Reconnect => self.give_up_connection("the broker takes no messages"),
            }
        }
    }

    async fn fetch(&mut self, seq: u64) -> Vec<Event> {
        match self.buffer.get(seq).await {
            Ok(Some(stored)) => {
                let schema = stored.schema;
                self.fetched = Some(stored);
                vec![Event::Fetched { seq, schema }]
            }
            Ok(None) => vec![Event::Missing { seq }, Event::Buffer(self.buffer.stats())],
            Err(error) => {
                warn!(%error, seq, "a batch cannot be read now");
                vec![Event::Missing { seq }]
            }
        }
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
        let Some(stored) = self.fetched.take().filter(|stored| stored.seq == seq) else { return };
        let stats = self.buffer.stats();
        let header = Header { stream: stats.stream, seq, oldest: stats.oldest.min(seq) };
        match data_message(&header, &stored.body) {
            Ok(message) => self.publish(self.topics.data.clone(), false, message, Sent::Batch(seq)),
            Err(error) => warn!(%error, seq, "BUG: a stored batch cannot be sent"),
        }
    }

    fn publish_status(&mut self, online: bool) {
        let stats = self.buffer.stats();
        let devices = self.health.borrow_and_update().clone();
        self.health_told.clone_from(&devices);
        self.status_sent = Some(Instant::now());
        let status = Status {
            online,
            version: env!("CARGO_PKG_VERSION").into(),
            uptime_s: self.started.elapsed().as_secs(),
            time_ms: clock::now_ms(),
            buffer_batches: stats.batches,
            buffer_bytes: stats.bytes,
            dropped_readings: stats.dropped_readings,
            devices,
        };
        self.publish(self.topics.status.clone(), true, encoded(&status), Sent::Status);
    }

    /// Publishes the status when it is due, or when the health of a device has changed.
    fn refresh_status(&mut self) {
        let age = self.status_sent.map_or(Duration::MAX, |sent| sent.elapsed());
        let due = age >= STATUS_EVERY || (age >= STATUS_GAP && differs(&self.health_told, &self.health.borrow()));
        if self.connected && due {
            self.publish_status(true);
        }
    }

    fn publish(&mut self, topic: String, retain: bool, message: Vec<u8>, sent: Sent) {
        match self.client.try_publish(topic, QoS::AtLeastOnce, retain, message) {
            Ok(()) => self.queued.push_back(sent),
            // The queue holds more than the window: the broker takes nothing. All is sent again on the next connection.
            Err(_) => self.give_up_connection("the queue of the client is full"),
        }
    }

    fn give_up_connection(&mut self, why: &str) {
        warn!(why, "connecting again");
        // One order that waits is enough.
        let _ = self.reconnect.try_send(());
    }

    /// Says goodbye if the broker still listens.
    async fn farewell(mut self, mut inbox: mpsc::Receiver<Up>) {
        if !self.connected {
            return;
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

    fn now_ms(&self) -> i64 {
        i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX)
    }
}

async fn stopped(shutdown: &mut watch::Receiver<bool>) {
    // A sender that is gone has the same meaning as one that says so.
    let _ = shutdown.wait_for(|stop| *stop).await;
}

/// Whether quality or reason of a device is another; the counters of polls do not count.
fn differs(told: &BTreeMap<String, DeviceStatus>, now: &BTreeMap<String, DeviceStatus>) -> bool {
    let essence = |(name, status): (&String, &DeviceStatus)| (name.clone(), status.quality, status.reason.clone());
    told.len() != now.len() || told.iter().map(essence).ne(now.iter().map(essence))
}

fn encoded(status: &Status) -> Vec<u8> {
    // Strings and numbers only: cannot fail.
    serde_json::to_vec(status).unwrap_or_default()
}

#[cfg(test)]
mod tests;
