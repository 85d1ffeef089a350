//! Against a real mosquitto on a free port. It must be installed: without it these tests fail.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pattoo_wire::{
    Ack, Ask, Batch, Block, ClockSource, ClockStatus, Decimal, Device, Echo, Hello, Kind, Labels, Quality, Reason, Repr, Sample, Schema,
    SchemaId, Series, Status, Value, Warning, open_data, topic,
};
use rumqttc::v5::Event as MqttEvent;
use rumqttc::v5::MqttOptions;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::session::FAREWELL;
use super::*;
use crate::batch::{Closed, Dictionary};
use crate::buffer::memory::{Medium, Memory};
use crate::buffer::worker::{channel, serve};
use crate::buffer::{Buffer, Limits};
use crate::clock;
use crate::config::{Batching, Broker, Clock, Uplink as UplinkConfig};
use crate::health::{Verdict, Waiting};
use crate::reading::DeviceIndex;
use crate::schedule::{Due, EntryIndex};
use crate::timebase::Trust;

const BOUND: Duration = Duration::from_secs(60);

struct Mosquitto {
    child: Child,
    port: u16,
    folder: tempfile::TempDir,
}

impl Mosquitto {
    fn start(more: &str) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let folder = tempfile::tempdir().unwrap();
        let config = format!(
            "listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\n{}",
            more.replace("DIR", &folder.path().display().to_string())
        );
        std::fs::write(folder.path().join("mosquitto.conf"), config).unwrap();
        Self { child: spawn(folder.path()), port, folder }
    }

    fn prepared(folder: tempfile::TempDir, more: &str) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = format!("listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\n{more}");
        std::fs::write(folder.path().join("mosquitto.conf"), config).unwrap();
        Self { child: spawn(folder.path()), port, folder }
    }

    /// SIGKILL, then a new one without memory on the same port.
    fn replace(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.child = spawn(self.folder.path());
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(folder: &Path) -> Child {
    let program = ["/usr/sbin/mosquitto", "mosquitto"].into_iter().find(|p| Command::new(p).arg("-h").output().is_ok());
    let mut child = Command::new(program.expect("mosquitto must be installed for this test: apt-get install mosquitto"))
        .args(["-v", "-c"])
        .arg(folder.join("mosquitto.conf"))
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let ready = lines.by_ref().map_while(Result::ok).any(|line| line.contains("running"));
    assert!(ready, "mosquitto does not start");
    // Its pipe must stay drained.
    std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
    child
}

pub(super) fn closed(i: i64) -> Closed {
    let device = Device { name: "d".into(), profile: "p".into(), labels: Labels::new() };
    let series = Series {
        device: 0,
        point: "u".into(),
        unit: if i < 20 { "V".into() } else { "A".into() },
        kind: Kind::Gauge,
        repr: Repr::Decimal { exponent: 0 },
        labels: Labels::new(),
        states: BTreeMap::new(),
    };
    let dictionary = Dictionary::new(Schema { devices: vec![device], series: vec![series] }).unwrap();
    let times_ms: Vec<i64> = (0..50).map(|tick| i * 1000 + tick).collect();
    let samples = times_ms.iter().map(|t| Sample::Good(Value::Decimal(Decimal { mantissa: t * 7919, exponent: 0 }))).collect();
    let block = Block { series: vec![0], times_ms, samples };
    Closed::new(Arc::new(dictionary), Batch { blocks: vec![block], gaps: Vec::new() }).unwrap()
}

fn config(url: String, ca: Option<std::path::PathBuf>) -> Config {
    Config {
        gateway: "g1".into(),
        uplink: UplinkConfig {
            brokers: vec![Broker { url, credentials: None, ca, identity: None }],
            max_unacknowledged: 8,
            ack_timeout: Duration::from_secs(2),
            ..UplinkConfig::to(String::new())
        },
        buffer: crate::config::Buffer { path: "/nowhere".into(), max_bytes: 1 << 20, ..Default::default() },
        batch: Batching { every: Duration::from_secs(1) },
        clock: Clock { trust: Trust::Auto, ntp_file: "/nowhere".into() },
        commands: Default::default(),
        links: Vec::new(),
        devices: Vec::new(),
    }
}

/// What the gateway takes for the time when it starts.
const TIME_MS: i64 = 1_900_000_000_000;

/// Those who know what a session tells, and what it hears of the time.
type Known = (watch::Sender<health::Health>, watch::Sender<Vec<Warning>>, watch::Receiver<Option<ServerTime>>);

/// What a session tells.
fn told() -> (Told, Known) {
    let (heard, hears) = watch::channel(None);
    let ((health, told), (warnings, warned)) = (watch::channel(Default::default()), watch::channel(Vec::new()));
    let state = State { source: ClockSource::Ntp, offset_ms: Some(TIME_MS - clock::boot_ms()), ..State::default() };
    (Told { health: told, warnings: warned, time: Time { heard, state: watch::channel(state).1 } }, (health, warnings, hears))
}

/// A gateway's buffer on its own thread and its MQTT client on a task.
struct Gateway {
    buffer: Handle,
    health: watch::Sender<health::Health>,
    warnings: watch::Sender<Vec<Warning>>,
    ends: Ends,
    heard: watch::Receiver<Option<ServerTime>>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Gateway {
    async fn start(config: &Config, batches: i64) -> Self {
        let limits = Limits { max_age_ms: i64::MAX, ..Limits::from(&config.buffer) };
        let buffer = Buffer::open(Memory::open(&Medium::default()), limits, 0).unwrap();
        let (handle, receiver) = channel(buffer.stats());
        std::thread::spawn(move || serve(buffer, receiver));
        for i in 0..batches {
            handle.append(closed(i)).await.unwrap();
        }
        let (stop, stopped) = watch::channel(false);
        let (told, (health, warnings, heard)) = told();
        let client = Client::new(config).unwrap();
        let ends = client.ends();
        let task = tokio::spawn(client.run(handle.clone(), told, None, stopped));
        Self { buffer: handle, health, warnings, ends, heard, stop, task }
    }

    async fn drained(&self) {
        let mut stats = self.buffer.watch();
        let waited = timeout(BOUND, stats.wait_for(|stats| stats.batches == 0)).await.map(|found| found.is_ok());
        assert_eq!(waited, Ok(true), "still {:?}", self.buffer.stats());
    }
}

/// What the server that stands in for ours has seen.
#[derive(Default)]
struct Seen {
    schemas: BTreeSet<SchemaId>,
    batches: BTreeMap<u64, Batch>,
    contiguous: u64,
    statuses: Vec<Status>,
    dictionaries: BTreeMap<SchemaId, Schema>,
    hellos: Vec<Hello>,
    /// What it asks for with the next answer.
    lost: Vec<(u64, u64)>,
}

/// What the server's clock always shows.
const SERVER_TIME_MS: i64 = 1_800_000_000_000;

struct Server {
    seen: Arc<Mutex<Seen>>,
    changed: watch::Receiver<usize>,
    task: JoinHandle<()>,
}

impl Server {
    /// Acknowledges only batches that it could decode.
    fn start(port: u16, name: &str) -> Self {
        let mut options = MqttOptions::new(name, "127.0.0.1", port);
        options.set_max_packet_size(Some(1 << 21)).set_keep_alive(Duration::from_secs(5));
        let (client, mut eventloop) = AsyncClient::new(options, 100);
        let seen = Arc::new(Mutex::new(Seen::default()));
        let (tell, changed) = watch::channel(0);
        let shared = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            loop {
                match eventloop.poll().await {
                    Ok(MqttEvent::Incoming(Packet::ConnAck(_))) => client.try_subscribe("pattoo/v1/g1/#", QoS::AtLeastOnce).unwrap(),
                    Ok(MqttEvent::Incoming(Packet::Publish(publish))) => {
                        let topic = String::from_utf8(publish.topic.to_vec()).unwrap();
                        if let Some((topic, answer)) = shared.lock().unwrap().take(&topic, &publish.payload) {
                            let _ = client.try_publish(topic, QoS::AtLeastOnce, false, answer);
                        }
                        tell.send_modify(|count| *count += 1);
                    }
                    Ok(_) => {}
                    // The broker is away: polling connects again.
                    Err(_) => tokio::task::yield_now().await,
                }
            }
        });
        Self { seen, changed, task }
    }

    async fn until(&self, what: &str, mut holds: impl FnMut(&Seen) -> bool) {
        let mut changed = self.changed.clone();
        let waited = timeout(BOUND, async {
            while !holds(&self.seen.lock().unwrap()) {
                changed.changed().await.unwrap();
            }
        });
        assert!(waited.await.is_ok(), "{what} never came");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Seen {
    /// Gives what is to be answered, and where.
    fn take(&mut self, topic: &str, payload: &[u8]) -> Option<(String, Vec<u8>)> {
        match topic::parse(topic)?.1 {
            topic::FromGateway::Schema(id) => {
                let (found, schema) = Schema::decode(payload).unwrap();
                assert_eq!(found, id);
                self.schemas.insert(id);
                self.dictionaries.insert(id, schema);
                None
            }
            topic::FromGateway::Status => {
                self.statuses.push(serde_json::from_slice(payload).unwrap());
                None
            }
            topic::FromGateway::Hello => {
                let hello = Hello::decode(payload).unwrap();
                let echo = Some(Echo { sent_ms: hello.sent_ms, time_ms: SERVER_TIME_MS });
                let (missing, schemas) = (std::mem::take(&mut self.lost), self.schemas.iter().copied().collect());
                self.hellos.push(hello);
                let ask = Ask { stream: hello.stream, echo, missing, schemas };
                Some((topic::ask("g1"), ask.encode().unwrap()))
            }
            topic::FromGateway::Data => {
                let (header, body) = open_data(payload).unwrap();
                let schema = self.dictionaries.get(&body.schema()).expect("a batch came before its schema");
                let batch = body.decode(body.schema(), schema).unwrap();
                if let Some(before) = self.batches.insert(header.seq, batch.clone()) {
                    assert_eq!(before, batch, "batch {} changed", header.seq);
                }
                self.contiguous = self.contiguous.max(header.oldest - 1);
                while self.batches.contains_key(&(self.contiguous + 1)) {
                    self.contiguous += 1;
                }
                let ahead = self.ahead();
                Some((topic::ack("g1"), Ack { stream: header.stream, seq: self.contiguous, ahead }.encode().unwrap()))
            }
        }
    }

    fn ahead(&self) -> Vec<(u64, u64)> {
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        for seq in self.batches.range(self.contiguous + 1..).map(|(seq, _)| *seq) {
            match ranges.last_mut() {
                Some(range) if range.1 + 1 == seq => range.1 = seq,
                _ => ranges.push((seq, seq)),
            }
        }
        ranges
    }

    fn assert_has_all(&self, batches: i64) {
        assert_eq!(self.batches.keys().copied().collect::<Vec<_>>(), (1..=batches as u64).collect::<Vec<_>>());
        for (seq, batch) in &self.batches {
            assert_eq!(*batch, closed(*seq as i64 - 1).batch);
        }
    }
}

#[tokio::test]
async fn all_batches_arrive_and_are_released_and_the_status_tells_of_start_health_and_stop() {
    let broker = Mosquitto::start("");
    let server = Server::start(broker.port, "server");
    let gateway = Gateway::start(&config(format!("mqtt://127.0.0.1:{}", broker.port), None), 40).await;
    gateway.drained().await;
    gateway.buffer.append(closed(40)).await.unwrap();
    gateway.drained().await;
    server.seen.lock().unwrap().assert_has_all(41);
    let clock = ClockStatus { source: "ntp".into(), server_offset_ms: None, steps: 0 };
    let is_told = |status: &Status| {
        status.online && status.clock.as_ref() == Some(&clock) && status.time_ms >= TIME_MS && status.written_bytes.is_some()
    };
    server.until("online", |seen| seen.statuses.last().is_some_and(is_told)).await;
    // A device falls ill.
    let due = Due { entry: EntryIndex(0), device: DeviceIndex(0), backed_off: false, skipped: 3, late: Duration::ZERO };
    let dead = Verdict { quality: Quality::Bad, reason: Some(Reason::Timeout) };
    gateway.health.send_modify(|health| {
        health.polled("line1", "meter", &due, dead, Waiting::default());
    });
    let is_ill = |status: &Status| {
        let meter = status.devices.get("meter").map(|meter| (meter.quality, meter.reason.as_deref(), meter.failures));
        meter == Some((Quality::Bad, Some("timeout"), 1)) && status.links.get("line1").is_some_and(|link| link.skipped == 3)
    };
    server.until("illness", |seen| seen.statuses.last().is_some_and(is_ill)).await;
    let soon = vec![Warning::new("disk", "it is full soon")];
    gateway.warnings.send_replace(soon.clone());
    server.until("a warning", |seen| seen.statuses.last().is_some_and(|status| status.warnings == soon)).await;
    gateway.stop.send_replace(true);
    timeout(FAREWELL * 2, gateway.task).await.expect("stops in time").unwrap();
    server.until("farewell", |seen| seen.statuses.last().is_some_and(|status| !status.online && status.uptime_s < 1000)).await;
    // Who comes later finds the schemas and the status retained.
    let later = Server::start(broker.port, "later");
    later.until("retained", |seen| seen.schemas.len() == 2 && seen.statuses.len() == 1).await;
}

#[tokio::test]
async fn the_gateway_says_hello_and_hears_the_time_and_what_is_asked_for() {
    let mut broker = Mosquitto::start("");
    let server = Server::start(broker.port, "server");
    let mut gateway = Gateway::start(&config(format!("mqtt://127.0.0.1:{}", broker.port), None), 30).await;
    gateway.drained().await;
    // What the server has is nothing to be lost; what it loses is asked for, and this buffer holds it no longer.
    {
        let mut seen = server.seen.lock().unwrap();
        let hello = seen.hellos[0];
        assert_eq!((hello.oldest, hello.source), (1, ClockSource::Ntp));
        assert_eq!(seen.hellos.len(), 1);
        seen.lost = vec![(3, 7), (9, u64::MAX)];
        seen.schemas.clear();
    }
    timeout(BOUND, gateway.heard.wait_for(Option::is_some)).await.unwrap().unwrap();
    broker.replace();
    server.until("a second hello", |seen| seen.hellos.len() > 1).await;
    gateway.buffer.append(closed(30)).await.unwrap();
    gateway.drained().await;
    let heard = gateway.heard.borrow().unwrap();
    assert!(heard.sent_ms <= heard.received_ms && heard.time_ms == SERVER_TIME_MS, "{heard:?}");
    server.seen.lock().unwrap().assert_has_all(31);
    assert_eq!(server.seen.lock().unwrap().hellos[1].oldest, 31);
}

#[tokio::test]
async fn a_broker_that_is_killed_and_forgets_everything_costs_nothing() {
    let mut broker = Mosquitto::start("");
    let server = Server::start(broker.port, "server");
    let gateway = Gateway::start(&config(format!("mqtt://127.0.0.1:{}", broker.port), None), 20).await;
    server.until("first batches", |seen| seen.batches.len() > 2).await;
    for round in 1..3 {
        broker.replace();
        for i in 0..10 {
            gateway.buffer.append(closed(10 + round * 10 + i)).await.unwrap();
        }
        server.until("more batches", |seen| seen.batches.len() as i64 > 10 + round * 10).await;
    }
    gateway.drained().await;
    server.seen.lock().unwrap().assert_has_all(40);
}

#[tokio::test]
async fn the_next_broker_takes_over_and_the_preferred_one_is_gone_back_to() {
    let (mut first, second) = (Mosquitto::start(""), Mosquitto::start(""));
    first.child.kill().unwrap();
    first.child.wait().unwrap();
    let url = |broker: &Mosquitto| format!("mqtt://127.0.0.1:{}", broker.port);
    let mut config = config(url(&first), None);
    config.uplink.brokers.push(Broker { url: url(&second), ..config.uplink.brokers[0].clone() });
    config.uplink.prefer_after = Duration::from_millis(200);
    let over_second = Server::start(second.port, "server");
    let gateway = Gateway::start(&config, 20).await;
    gateway.drained().await;
    over_second.seen.lock().unwrap().assert_has_all(20);
    let broker = |seen: &Seen| seen.statuses.last().and_then(|status| status.uplink.clone()).map(|uplink| uplink.broker);
    assert_eq!(broker(&over_second.seen.lock().unwrap()), Some(format!("127.0.0.1:{}", second.port)));
    first.replace();
    let over_first = Server::start(first.port, "server");
    let address = format!("127.0.0.1:{}", first.port);
    over_first.until("the gateway", |seen| broker(seen) == Some(address.clone())).await;
    gateway.buffer.append(closed(20)).await.unwrap();
    gateway.drained().await;
    assert_eq!(over_first.seen.lock().unwrap().batches.keys().collect::<Vec<_>>(), [&21]);
    assert_eq!(over_second.seen.lock().unwrap().batches.len(), 20);
}

#[tokio::test]
async fn a_connection_that_is_cut_again_and_again_costs_nothing() {
    let broker = Mosquitto::start("");
    let server = Server::start(broker.port, "server");
    let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("mqtt://{}", proxy.local_addr().unwrap());
    let cuts = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&cuts);
    let port = broker.port;
    let proxy = tokio::spawn(async move {
        while let Ok((near, _)) = proxy.accept().await {
            let far = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            // Somewhere inside a message, each time a little later.
            let cut = counted.fetch_add(1, Ordering::SeqCst);
            cut_after(near, far, if cut < 6 { 700 + 311 * cut } else { usize::MAX }).await;
        }
    });
    let mut config = config(url, None);
    // Compressed, all of it would be through before the last cut.
    config.uplink.compress = false;
    let gateway = Gateway::start(&config, 40).await;
    gateway.drained().await;
    server.seen.lock().unwrap().assert_has_all(40);
    assert!(cuts.load(Ordering::SeqCst) > 6, "{cuts:?}");
    proxy.abort();
}

/// Passes on bytes both ways until so many came from the gateway.
async fn cut_after(near: TcpStream, far: TcpStream, mut left: usize) {
    let (mut near_read, mut near_write) = near.into_split();
    let (mut far_read, mut far_write) = far.into_split();
    let back = tokio::io::copy(&mut far_read, &mut near_write);
    let forth = async {
        let mut bytes = [0; 512];
        while left > 0 {
            let read = near_read.read(&mut bytes).await.unwrap_or(0).min(left);
            if read == 0 || far_write.write_all(&bytes[..read]).await.is_err() {
                return;
            }
            left -= read;
        }
    };
    tokio::select! { _ = back => {}, () = forth => {} }
}

#[test]
fn the_client_can_run_on_any_task() {
    fn assert_send<T: Send>(_: T) {}
    let client = Client::new(&config("mqtt://127.0.0.1:1".into(), None)).unwrap();
    let (handle, _receiver) = channel(crate::buffer::Stats::default());
    assert_send(client.run(handle, told().0, None, watch::channel(false).1));
}

mod tls;
