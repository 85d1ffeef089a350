//! Shell: the subscriber at a broker that is not ours. Brings its messages to the core and acknowledgements back.
//!
//! The broker is not trusted to keep anything: what it loses, gateways send again, because only our own acknowledgement
//! releases their buffers. The connection is always read; what waits behind it is bounded by gateway (`fair`).

use std::sync::Arc;
use std::time::Duration;

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Filter, Packet, PubAckReason, SubscribeReasonCode};
use rumqttc::v5::{AsyncClient, Event, EventLoop, MqttOptions};
use rumqttc::{NetworkOptions, Transport};
use tokio::sync::watch;
use tracing::{error, info, warn};

use super::BrokerAddress;
use super::queue::{FILTERS, Outlet, Queue, SCHEMAS, store};
use super::{Message, SharedCore};
use crate::broker::MAX_PACKET_BYTES;
use crate::clock;
use crate::live::Live;

/// Most requests of ours that wait for the connection.
const REQUESTS: usize = 1024;
/// Most acknowledgements that the broker has not confirmed.
const INFLIGHT: u16 = 256;
const KEEP_ALIVE: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT_S: u64 = 10;
/// Shortest and longest pause before connecting again.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(30));

type Client = watch::Sender<Option<AsyncClient>>;

/// Serves until `stop` is true; what has arrived by then is still stored.
pub(super) async fn run(broker: BrokerAddress, core: SharedCore, live: Arc<Live>, mut stop: watch::Receiver<bool>) {
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
                queue.push([message], live);
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

impl Outlet for Client {
    async fn answer(&self, topic: &str, message: Vec<u8>) -> Result<(), String> {
        // Without a connection the gateway sends again, over the next one.
        let Some(client) = self.borrow().clone() else { return Ok(()) };
        client.try_publish(topic, QoS::AtLeastOnce, false, message).map_err(|e| e.to_string())
    }

    async fn ask_for_schemas(&self, _: &Queue) -> Result<(), String> {
        let Some(client) = self.borrow().clone() else { return Ok(()) };
        // Subscribing again makes the broker send what it retains.
        client.try_subscribe(SCHEMAS, QoS::AtLeastOnce).map_err(|e| e.to_string())
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
