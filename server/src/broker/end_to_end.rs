//! The broker alone, with clients that build their packets by hand. What real programs meet is in `tests/tests/hostile_clients.rs`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::*;
use crate::live::Live;

const PATIENCE: Duration = Duration::from_secs(20);
/// What the library would wait for a reader that stalls.
const STALL: Duration = Duration::from_secs(2);

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u16).to_be_bytes(), text.as_bytes()].concat()
}

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    assert!(body.len() < 128);
    [&[first, body.len() as u8], body].concat()
}

async fn packet_from(stream: &mut TcpStream) -> (u8, Vec<u8>) {
    let mut head = [0; 2];
    timeout(PATIENCE, stream.read_exact(&mut head)).await.unwrap().unwrap();
    let mut body = vec![0; usize::from(head[1])];
    timeout(PATIENCE, stream.read_exact(&mut body)).await.unwrap().unwrap();
    (head[0], body)
}

async fn connect(to: SocketAddr, id: &str, login: Option<&Login>) -> TcpStream {
    let mut stream = TcpStream::connect(to).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let flags = if login.is_some() { 0xc2 } else { 0x02 };
    let account = login.map(|login| [text(&login.user), text(&login.password)].concat()).unwrap_or_default();
    let body = [text("MQTT"), vec![5, flags, 0, 60, 0], text(id), account].concat();
    stream.write_all(&packet(0x10, &body)).await.unwrap();
    let (kind, body) = packet_from(&mut stream).await;
    assert_eq!((kind, body[1]), (0x20, 0));
    stream
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ingest_never_waits_for_a_gateway_that_takes_no_acknowledgements() {
    let listeners = Listeners { plain: Some("127.0.0.1:0".parse().unwrap()), tls: None };
    let broker = Broker::bind(listeners, Register::without_accounts(Arc::new(Live::default()))).await.unwrap();
    let (plain, (private, login), stopper) = (broker.plain().unwrap(), broker.for_ingest(), broker.stopper());
    let broker = tokio::spawn(broker.run());
    let mut slow = connect(plain, "slow", None).await;
    slow.write_all(&packet(0x82, &[vec![0, 1, 0], text("pattoo/v1/g1/ack"), vec![1]].concat())).await.unwrap();
    assert_eq!(packet_from(&mut slow).await.0, 0x90);
    let mut ingest = connect(private, "pattoo-server-1", Some(&login)).await;
    let message = |id: u16| packet(0x32, &[text("pattoo/v1/g1/ack"), id.to_be_bytes().to_vec(), vec![0], vec![7; 90]].concat());
    // More than may be under way to one client, on its lane and in the buffers between.
    let mut slowest = Duration::ZERO;
    for id in 1..=4000 {
        let sent = Instant::now();
        ingest.write_all(&message(id)).await.unwrap();
        assert_eq!(packet_from(&mut ingest).await.0, 0x40);
        slowest = slowest.max(sent.elapsed());
    }
    assert!(slowest < STALL * 3 / 4, "ingest waited {slowest:?} for a gateway");
    stopper.shutdown();
    timeout(PATIENCE, broker).await.unwrap().unwrap();
    // It was told that the broker stops, behind what it did not read.
    let mut rest = Vec::new();
    timeout(PATIENCE, slow.read_to_end(&mut rest)).await.unwrap().unwrap();
    assert!(rest.len() > 64 * 100 && rest.ends_with(&[0xe0, 0x01, 0x8b]), "{} bytes", rest.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_door_of_ingest_is_bounded_too() {
    let live = Arc::new(Live::default());
    let broker = Broker::bind(Listeners::default(), Register::without_accounts(live.clone())).await.unwrap();
    let (private, login) = broker.for_ingest();
    tokio::spawn(broker.run());
    let mut held = Vec::new();
    for _ in 0..200 {
        held.push(TcpStream::connect(private).await.unwrap());
    }
    let refused = || live.clients().refusals.get(&("too_many_connects", String::new())).copied().unwrap_or_default();
    timeout(PATIENCE, async {
        while refused() < 200 - PRIVATE.waiting as u64 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("all but as many as may wait are refused");
    drop(held);
    // When they have gone, ingest comes in.
    timeout(PATIENCE, async {
        loop {
            let mut stream = TcpStream::connect(private).await.unwrap();
            let account = [text(&login.user), text(&login.password)].concat();
            let body = [text("MQTT"), vec![5, 0xc2, 0, 60, 0], text("pattoo-server-1"), account].concat();
            let mut first = [0; 1];
            if stream.write_all(&packet(0x10, &body)).await.is_ok() && stream.read_exact(&mut first).await.is_ok() {
                return;
            }
        }
    })
    .await
    .expect("ingest is admitted");
}
