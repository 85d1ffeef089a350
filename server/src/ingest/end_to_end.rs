//! Broker, ingest and embedded store in one process, with a gateway played by an MQTT client.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use pattoo_wire::{Ack, Ask, ClockSource, Echo, Sample, Status, Value, topic};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{LastWill, Packet, PubAckReason};
use rumqttc::v5::{AsyncClient, Event, MqttOptions};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::tests::{STREAM, batch, data, schema};
use super::*;
use crate::broker::register::Register;
use crate::broker::{Broker, Listeners, Stopper};
use crate::live::Live;
use crate::store::embedded::Embedded;
use crate::store::memory::Memory;
use crate::store::{SeriesId, Store};

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(20);

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("waited {PATIENCE:?} for {what}"))
}

struct Server {
    store: Arc<Embedded>,
    live: Arc<Live>,
    port: u16,
    stop: watch::Sender<bool>,
    ingest: JoinHandle<()>,
    broker: JoinHandle<()>,
    stopper: Stopper,
}

/// A broker that only this machine reaches: its port for gateways, and how ingest comes in.
async fn bind(live: &Arc<Live>) -> (Broker, u16, Upstream) {
    let listeners = Listeners { plain: Some("127.0.0.1:0".parse().unwrap()), tls: None };
    let broker = Broker::bind(listeners, Register::without_accounts(live.clone())).await.unwrap();
    let port = broker.plain().unwrap().port();
    let link = broker.link().unwrap();
    (broker, port, Upstream::Embedded(link))
}

impl Server {
    async fn start(folder: &Path) -> Self {
        let store = Arc::new(Embedded::open(&folder.join("pattoo.redb")).unwrap());
        let live = Arc::new(Live::default());
        let core = Core::new(store.clone(), Letters::new(&folder.join("dead-letter")), live.clone()).unwrap();
        let (broker, port, upstream) = bind(&live).await;
        let stopper = broker.stopper();
        let (stop, stopped) = watch::channel(false);
        let broker = tokio::spawn(broker.run());
        let ingest = tokio::spawn(run(upstream, core.shared(), live.clone(), stopped));
        within("the subscription", live.until(true)).await;
        Self { store, live, port, stop, ingest, broker, stopper }
    }

    async fn stop(self) {
        self.stop.send_replace(true);
        within("ingest to stop", self.ingest).await.unwrap();
        self.stopper.shutdown();
        within("the broker to stop", self.broker).await.unwrap();
    }
}

struct Gateway {
    client: AsyncClient,
    packets: mpsc::UnboundedReceiver<Packet>,
    events: JoinHandle<()>,
}

impl Gateway {
    async fn connect(port: u16) -> Self {
        Self::connect_with(MqttOptions::new(format!("test-{:x}", getrandom::u64().unwrap()), "127.0.0.1", port)).await
    }

    async fn connect_with(options: MqttOptions) -> Self {
        let (client, mut events) = AsyncClient::new(options, 100);
        let (sender, packets) = mpsc::unbounded_channel();
        let events = tokio::spawn(async move {
            while let Ok(event) = events.poll().await {
                if let Event::Incoming(packet) = event
                    && sender.send(packet).is_err()
                {
                    return;
                }
            }
        });
        let mut gateway = Self { client, packets, events };
        gateway.next("the connection", |packet| matches!(packet, Packet::ConnAck(_)).then_some(())).await;
        gateway
    }

    async fn next<T>(&mut self, what: &str, wanted: impl Fn(Packet) -> Option<T>) -> T {
        let packets = &mut self.packets;
        within(what, async {
            loop {
                let packet = packets.recv().await.unwrap_or_else(|| panic!("the connection ended before {what}"));
                if let Some(found) = wanted(packet) {
                    return found;
                }
            }
        })
        .await
    }

    async fn publish(&self, topic: String, retain: bool, payload: Vec<u8>) {
        self.client.publish(topic, QoS::AtLeastOnce, retain, payload).await.unwrap();
    }

    async fn publish_schema(&self, schema: &Schema) {
        let (id, message) = schema.encode().unwrap();
        self.publish(topic::schema("g1", id), true, message).await;
    }

    async fn publish_batch(&self, seq: u64) {
        self.publish(topic::data("g1"), false, data(&schema("V"), seq, 1, &batch(seq))).await;
    }

    async fn subscribe(&mut self, filter: &str) {
        self.client.subscribe(filter, QoS::AtLeastOnce).await.unwrap();
        self.next("the subscription", |packet| matches!(packet, Packet::SubAck(_)).then_some(())).await;
    }

    async fn acknowledged(&mut self, seq: u64) {
        let ack = |packet| match packet {
            Packet::Publish(publish) if publish.topic == topic::ack("g1") => Some(Ack::decode(&publish.payload).unwrap()),
            _ => None,
        };
        while self.next("an acknowledgement", ack).await != Ack::through(STREAM, seq) {}
    }

    /// What the broker says to a message.
    async fn verdict(&mut self, topic: &str) -> PubAckReason {
        self.publish(topic.into(), false, vec![1]).await;
        self.next("the verdict", |packet| if let Packet::PubAck(ack) = packet { Some(ack.reason) } else { None }).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_a_gateway_into_the_store_and_back_as_an_acknowledgement() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    let mut gateway = Gateway::connect(server.port).await;
    gateway.subscribe(&topic::ack("g1")).await;
    gateway.publish_schema(&schema("V")).await;
    for seq in 1..=5 {
        gateway.publish_batch(seq).await;
    }
    gateway.acknowledged(5).await;
    let values = |store: &Embedded| {
        let readings = store.raw(SeriesId(1), 0, i64::MAX, 99).unwrap();
        readings.into_iter().map(|r| (r.at_ms, r.sample)).collect::<Vec<_>>()
    };
    let expected: Vec<_> = (1..=5).map(|seq| (seq * 1000, Sample::Good(Value::int(seq)))).collect();
    assert_eq!(values(&server.store), expected);

    gateway.publish_batch(2).await;
    gateway.acknowledged(5).await;
    let live = server.live.gateway("g1").unwrap();
    assert_eq!((live.counters.batches, live.counters.replays), (5, 1));
    assert_eq!(values(&server.store), expected);
    server.stop().await;

    // Everything is there again, the schema and the state of the stream included.
    let server = Server::start(folder.path()).await;
    assert_eq!(values(&server.store), expected);
    let mut gateway = Gateway::connect(server.port).await;
    gateway.subscribe(&topic::ack("g1")).await;
    gateway.publish_batch(5).await;
    gateway.publish_batch(6).await;
    gateway.acknowledged(6).await;
    assert_eq!(server.live.gateway("g1").unwrap().counters.replays, 1);
    assert_eq!(values(&server.store).len(), 6);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hello_gets_the_time_and_what_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    let mut gateway = Gateway::connect(server.port).await;
    gateway.subscribe(&topic::ask("g1")).await;
    gateway.publish_schema(&schema("V")).await;
    gateway.publish_batch(2).await;
    let before_ms = crate::clock::now_ms();
    let hello = Hello { stream: STREAM, oldest: 1, next: 5, sent_ms: 77, time_ms: before_ms - 5000, source: ClockSource::None };
    gateway.publish(topic::hello("g1"), false, hello.encode().unwrap()).await;
    let ask = |packet| match packet {
        Packet::Publish(publish) if publish.topic == topic::ask("g1") => Some(Ask::decode(&publish.payload).unwrap()),
        _ => None,
    };
    let answer = gateway.next("the answer", ask).await;
    assert_eq!((answer.stream, answer.missing, answer.schemas), (STREAM, vec![(1, 1), (3, 4)], vec![]));
    let Echo { sent_ms, time_ms } = answer.echo.unwrap();
    assert!(sent_ms == 77 && (before_ms..=crate::clock::now_ms()).contains(&time_ms), "{time_ms}");
    let clock = server.live.gateway("g1").unwrap().clock.unwrap();
    assert!(clock.offset_ms >= 5000 && clock.source == ClockSource::None, "{clock:?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_retained_before_ingest_came_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let live = Arc::new(Live::default());
    let (broker, port, upstream) = bind(&live).await;
    let stopper = broker.stopper();
    let broker = tokio::spawn(broker.run());
    let mut gateway = Gateway::connect(port).await;
    gateway.subscribe(&topic::ack("g1")).await;
    gateway.publish_schema(&schema("V")).await;
    let status = Status { online: true, version: "9".into(), ..Status::default() };
    gateway.publish(topic::status("g1"), true, serde_json::to_vec(&status).unwrap()).await;
    for _ in 0..2 {
        gateway.next("the broker's receipt", |packet| matches!(packet, Packet::PubAck(_)).then_some(())).await;
    }

    let store = Arc::new(Embedded::open(&folder.path().join("pattoo.redb")).unwrap());
    let core = Core::new(store, Letters::new(&folder.path().join("dead-letter")), live.clone()).unwrap();
    let (stop, stopped) = watch::channel(false);
    let ingest = tokio::spawn(run(upstream, core.shared(), live.clone(), stopped));
    within("the subscription", live.until(true)).await;
    gateway.publish_batch(1).await;
    gateway.acknowledged(1).await;
    assert_eq!(live.gateway("g1").unwrap().status.unwrap().version, "9");
    stop.send_replace(true);
    within("ingest to stop", ingest).await.unwrap();
    stopper.shutdown();
    within("the broker to stop", broker).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_breaks_off_is_seen_as_gone_by_its_last_will() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    let status = |online| serde_json::to_vec(&Status { online, version: "9".into(), ..Status::default() }).unwrap();
    let mut options = MqttOptions::new("pattoo-g1", "127.0.0.1", server.port);
    options.set_last_will(LastWill::new(topic::status("g1"), status(false), QoS::AtLeastOnce, true, None));
    let gateway = Gateway::connect_with(options).await;
    gateway.publish(topic::status("g1"), true, status(true)).await;
    let online = |expected| {
        let live = &server.live;
        async move {
            while live.gateway("g1").and_then(|gateway| gateway.status).map(|status| status.online) != Some(expected) {
                tokio::task::yield_now().await;
            }
        }
    };
    within("the status", online(true)).await;
    gateway.events.abort();
    within("the last will", online(false)).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_cannot_forge_an_acknowledgement() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    let mut anyone = Gateway::connect(server.port).await;
    assert_eq!(anyone.verdict("pattoo/v1/g1/ack").await, PubAckReason::NotAuthorized);
    assert_eq!(anyone.verdict("elsewhere").await, PubAckReason::NotAuthorized);
    assert_eq!(anyone.verdict("pattoo/v1/g1/data").await, PubAckReason::Success);
    // The name of ingest opens nothing: neither as a user nor as a client id.
    for (id, password) in [("thief", Some("guess")), ("pattoo-server-thief", None)] {
        let mut options = MqttOptions::new(id, "127.0.0.1", server.port);
        if let Some(password) = password {
            options.set_credentials("pattoo-server", password);
        }
        let (_client, mut events) = AsyncClient::new(options, 1);
        let refused = within("the refusal", events.poll()).await.unwrap_err();
        assert!(matches!(refused, rumqttc::v5::ConnectionError::ConnectionRefused(_)), "{refused}");
    }
    let refusals = server.live.clients().refusals;
    assert_eq!(["wrong_secret", "client_id"].map(|reason| refusals.get(&(reason, String::new()))), [Some(&1), Some(&1)]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schema_that_a_failing_store_lost_is_asked_for_again() {
    let folder = tempfile::tempdir().unwrap();
    let (store, live) = (Memory::default(), Arc::new(Live::default()));
    let (broker, port, upstream) = bind(&live).await;
    tokio::spawn(broker.run());
    let core = Core::new(Arc::new(store.clone()), Letters::new(folder.path()), live.clone()).unwrap();
    let (stop, stopped) = watch::channel(false);
    let ingest = tokio::spawn(run(upstream, core.shared(), live.clone(), stopped));
    within("the subscription", live.until(true)).await;
    let mut gateway = Gateway::connect(port).await;
    gateway.subscribe(&topic::ack("g1")).await;
    store.fail(Some("disk full"));
    gateway.publish_schema(&schema("V")).await;
    within("the failure", live.until(false)).await;
    store.fail(None);
    within("the acknowledgement of a batch that is sent again and again", async {
        loop {
            gateway.publish_batch(1).await;
            if timeout(Duration::from_millis(200), gateway.acknowledged(1)).await.is_ok() {
                return;
            }
        }
    })
    .await;
    assert!(live.gateway("g1").is_some());
    stop.send_replace(true);
    within("ingest to stop", ingest).await.unwrap();
}
