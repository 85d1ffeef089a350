//! Shell: the subscriber. Brings messages from a broker, embedded or not, to the core and its acknowledgements back.
//!
//! The broker is not trusted to keep anything: what it loses, gateways send again, because only our own acknowledgement
//! releases their buffers. The connection is always read; what waits behind it is bounded by gateway (`fair`).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pattoo_wire::{Ack, Ask, topic};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Filter, Packet, PubAckReason, SubscribeReasonCode};
use rumqttc::v5::{AsyncClient, Event, EventLoop, MqttOptions};
use rumqttc::{NetworkOptions, TlsConfiguration, Transport};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout_at};
use tracing::{error, info, warn};

use super::fair::Fair;
use super::{Message, SharedCore};
use crate::broker::{Login, MAX_PACKET_BYTES};
use crate::clock;
use crate::live::Live;

/// Most messages that become durable as one.
const GROUP_MESSAGES: usize = 512;
/// Most bytes that become durable as one, but for the last message.
const GROUP_BYTES: usize = 4 << 20;
/// Longest wait for more messages before a commit.
const GROUP_WAIT: Duration = Duration::from_millis(10);
/// Pause after a failed commit.
const FAILED_PAUSE: Duration = Duration::from_secs(1);
/// Most requests of ours that wait for the connection.
const REQUESTS: usize = 1024;
/// Most acknowledgements that the broker has not confirmed.
const INFLIGHT: u16 = 256;
const KEEP_ALIVE: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT_S: u64 = 10;
/// Shortest and longest pause before connecting again.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(30));
/// The retained schemas are asked for again at most this often.
const SCHEMAS_EVERY: Duration = Duration::from_secs(10);

const SCHEMAS: &str = "pattoo/v1/+/schema/+";
const FILTERS: [&str; 4] = [SCHEMAS, "pattoo/v1/+/data", "pattoo/v1/+/status", "pattoo/v1/+/hello"];

/// Where the broker is.
#[derive(Clone)]
pub struct BrokerAddress {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Account.
    pub login: Option<Login>,
    /// TLS; none for plain TCP.
    pub tls: Option<TlsConfiguration>,
}

type Client = watch::Sender<Option<AsyncClient>>;

/// What waits between connection and store. No channel, because the order in which it leaves is not the one in which it came.
#[derive(Default)]
struct Queue {
    fair: Mutex<Fair>,
    changed: Notify,
    closed: AtomicBool,
}

impl Queue {
    fn push(&self, message: Message) -> Vec<String> {
        let lost = self.hold().push(message);
        self.changed.notify_one();
        lost
    }

    fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.changed.notify_one();
    }

    /// Waits for messages, then a little longer for more; none once it is closed and empty.
    async fn group(&self) -> Option<Vec<Message>> {
        while self.hold().is_empty() {
            if self.closed.load(Ordering::Acquire) && self.hold().is_empty() {
                return None;
            }
            self.changed.notified().await;
        }
        let deadline = Instant::now() + GROUP_WAIT;
        loop {
            let full = self.hold().fills(GROUP_MESSAGES, GROUP_BYTES);
            if full || timeout_at(deadline, self.changed.notified()).await.is_err() {
                break;
            }
        }
        Some(self.hold().group(GROUP_MESSAGES, GROUP_BYTES))
    }

    fn hold(&self) -> MutexGuard<'_, Fair> {
        self.fair.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Serves until `stop` is true; what has arrived by then is still stored.
pub async fn run(broker: BrokerAddress, core: SharedCore, live: Arc<Live>, mut stop: watch::Receiver<bool>) {
    let queue = Queue::default();
    let client: Client = watch::channel(None).0;
    let receiving = async {
        receive(&broker, &queue, &client, &live, &mut stop).await;
        live.set_subscribed(false);
        queue.close();
    };
    tokio::join!(receiving, store(core, &queue, &client));
}

async fn receive(broker: &BrokerAddress, queue: &Queue, current: &Client, live: &Live, stop: &mut watch::Receiver<bool>) {
    let mut pause = BACK_OFF.0;
    loop {
        // A fresh client each time: what an old one still holds is acknowledged anew when the gateway asks again.
        let (client, mut events) = AsyncClient::new(options(broker), REQUESTS);
        current.send_replace(Some(client.clone()));
        let ended = tokio::select! {
            why = session(&client, &mut events, queue, live) => why,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        current.send_replace(None);
        if live.subscribed() {
            pause = BACK_OFF.0;
        }
        live.set_subscribed(false);
        warn!(broker = format!("{}:{}", broker.host, broker.port), "not connected: {ended}; trying again in at most {pause:?}");
        tokio::select! {
            () = tokio::time::sleep(jittered(pause)) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        pause = (pause * 2).min(BACK_OFF.1);
    }
}

/// One connection, until it ends; gives why.
async fn session(client: &AsyncClient, events: &mut EventLoop, queue: &Queue, live: &Live) -> String {
    loop {
        let packet = match events.poll().await {
            Ok(Event::Incoming(packet)) => packet,
            Ok(Event::Outgoing(_)) => continue,
            Err(e) => return e.to_string(),
        };
        match packet {
            Packet::ConnAck(_) => {
                let filters = FILTERS.map(|filter| Filter::new(filter, QoS::AtLeastOnce));
                if let Err(e) = client.try_subscribe_many(filters) {
                    return format!("cannot subscribe: {e}");
                }
            }
            Packet::SubAck(ack) => {
                if let Some(code) = ack.return_codes.iter().find(|code| !matches!(code, SubscribeReasonCode::Success(_))) {
                    return format!("the broker refuses the subscription: {code:?}; the account must be allowed to read {FILTERS:?}");
                }
                if !live.subscribed() {
                    info!("subscribed at the broker");
                }
                live.set_subscribed(true);
            }
            Packet::Publish(publish) => {
                let topic = String::from_utf8_lossy(&publish.topic).into_owned();
                let message = Message { topic, payload: publish.payload.to_vec(), retained: publish.retain };
                for gateway in queue.push(message) {
                    let count = live.rejected(Some(&gateway), "over_quota");
                    if count.is_power_of_two() {
                        warn!(gateway, count, "more of its messages wait than it may have; it sends what was dropped again");
                    }
                }
            }
            // Without a subscriber the gateway has just gone; it asks again when it is back.
            Packet::PubAck(ack) if !matches!(ack.reason, PubAckReason::Success | PubAckReason::NoMatchingSubscribers) => {
                error!(
                    "the broker refuses an answer to a gateway: {:?}; the account must be allowed to write pattoo/v1/+/ack and pattoo/v1/+/ask",
                    ack.reason
                );
            }
            Packet::Disconnect(disconnect) => return format!("the broker ends the connection: {:?}", disconnect.reason_code),
            _ => {}
        }
    }
}

/// Stores groups of messages until the queue is closed and empty.
async fn store(core: SharedCore, queue: &Queue, client: &Client) {
    let mut asked_at: Option<Instant> = None;
    while let Some(group) = queue.group().await {
        let core = core.clone();
        let work = move || core.lock().unwrap_or_else(PoisonError::into_inner).process(&group, clock::now_ms());
        let processed = match tokio::task::spawn_blocking(work).await {
            Ok(processed) => processed,
            Err(e) => {
                error!("BUG: storing a group of messages panicked: {e}; nothing of it is acknowledged");
                super::Processed { failed: true, ..super::Processed::default() }
            }
        };
        if let Some(client) = client.borrow().as_ref() {
            answer(client, processed.acks, processed.asks);
            if processed.schema_missing && asked_at.is_none_or(|at| at.elapsed() >= SCHEMAS_EVERY) {
                asked_at = Some(Instant::now());
                // Subscribing again makes the broker send what it retains.
                if let Err(e) = client.try_subscribe(SCHEMAS, QoS::AtLeastOnce) {
                    warn!("cannot ask for schemas again: {e}");
                }
            }
        }
        if processed.failed {
            tokio::time::sleep(FAILED_PAUSE).await;
        }
    }
}

fn answer(client: &AsyncClient, acks: Vec<(String, Ack)>, asks: Vec<(String, Ask)>) {
    let acks = acks.into_iter().map(|(gateway, ack)| (topic::ack(&gateway), ack.encode()));
    let asks = asks.into_iter().map(|(gateway, mut ask)| {
        if let Some(echo) = &mut ask.echo {
            // The commit took its time.
            echo.time_ms = clock::now_ms();
        }
        (topic::ask(&gateway), ask.encode())
    });
    for (topic, message) in acks.chain(asks) {
        // One that does not get out is made again when the gateway sends again: no need to wait for room.
        let sent = message
            .map_err(|e| e.to_string())
            .and_then(|message| client.try_publish(&topic, QoS::AtLeastOnce, false, message).map_err(|e| e.to_string()));
        if let Err(e) = sent {
            warn!(topic, "answer not sent: {e}");
        }
    }
}

fn options(broker: &BrokerAddress) -> MqttOptions {
    // A name of its own each time: nobody can push this client out by taking its name.
    let id = format!("pattoo-server-{:016x}", getrandom::u64().unwrap_or_else(|_| clock::now_ms() as u64));
    let mut options = MqttOptions::new(id, &broker.host, broker.port);
    options.set_clean_start(true);
    options.set_keep_alive(KEEP_ALIVE);
    // A receipt and an acknowledgement right behind it: the second must not wait 40 ms for the receiver's TCP.
    let mut network = NetworkOptions::new();
    network.set_tcp_nodelay(true);
    network.set_connection_timeout(CONNECT_TIMEOUT_S);
    options.set_network_options(network);
    options.set_connection_timeout(CONNECT_TIMEOUT_S);
    // Also tells the broker, which then keeps larger ones to itself instead of breaking the connection again and again.
    options.set_max_packet_size(u32::try_from(MAX_PACKET_BYTES).ok());
    options.set_outgoing_inflight_upper_limit(INFLIGHT);
    if let Some(login) = &broker.login {
        options.set_credentials(&login.user, &login.password);
    }
    if let Some(tls) = &broker.tls {
        options.set_transport(Transport::tls_with_config(tls.clone()));
    }
    options
}

/// Between half and all of it, so that many servers do not come back at once.
fn jittered(pause: Duration) -> Duration {
    let share = f64::from(getrandom::u32().unwrap_or(u32::MAX)) / f64::from(u32::MAX);
    pause.mul_f64(0.5 + share / 2.0)
}
