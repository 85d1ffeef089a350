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

async fn connect(to: SocketAddr, id: &str) -> TcpStream {
    let mut stream = TcpStream::connect(to).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let body = [text("MQTT"), vec![5, 0x02, 0, 60, 0], text(id)].concat();
    stream.write_all(&packet(0x10, &body)).await.unwrap();
    let (kind, body) = packet_from(&mut stream).await;
    assert_eq!((kind, body[1]), (0x20, 0));
    stream
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ingest_never_waits_for_a_gateway_that_takes_no_acknowledgements() {
    let listeners = Listeners { plain: Some("127.0.0.1:0".parse().unwrap()), tls: None };
    let broker = Broker::bind(listeners, Register::without_accounts(Arc::new(Live::default()))).await.unwrap();
    let (plain, link, stopper) = (broker.plain().unwrap(), broker.link().unwrap(), broker.stopper());
    let broker = tokio::spawn(broker.run());
    let mut slow = connect(plain, "slow").await;
    slow.write_all(&packet(0x82, &[vec![0, 1, 0], text("pattoo/v1/g1/ack"), vec![1]].concat())).await.unwrap();
    assert_eq!(packet_from(&mut slow).await.0, 0x90);
    // More than may be under way to one client, on its lane and in the buffers between.
    let mut slowest = Duration::ZERO;
    for _ in 0..4000 {
        let sent = Instant::now();
        link.publish("pattoo/v1/g1/ack", vec![7; 90]).await;
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

/// Data of a gateway whose receipt has this number.
fn data(id: u16) -> Vec<u8> {
    packet(0x32, &[text("pattoo/v1/g1/data"), id.to_be_bytes().to_vec(), vec![0], id.to_be_bytes().to_vec()].concat())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_that_is_behind_delays_no_gateway_and_goes_on_after_it() {
    let listeners = Listeners { plain: Some("127.0.0.1:0".parse().unwrap()), tls: None };
    let broker = Broker::bind(listeners, Register::without_accounts(Arc::new(Live::default()))).await.unwrap();
    let (plain, link) = (broker.plain().unwrap(), broker.link().unwrap());
    tokio::spawn(broker.run());
    let mut inbox = link.subscribe(&["pattoo/v1/+/data"]).await;
    let mut gateway = connect(plain, "g1").await;
    let numbers = 1..=(MAX_QUEUED as u16 * 3);
    let mut slowest = Duration::ZERO;
    for id in numbers.clone() {
        let sent = Instant::now();
        gateway.write_all(&data(id)).await.unwrap();
        assert_eq!(packet_from(&mut gateway).await.0, 0x40);
        slowest = slowest.max(sent.elapsed());
    }
    assert!(slowest < STALL * 3 / 4, "a gateway waited {slowest:?} for ingest");
    let mut found = Vec::new();
    while found.len() < MAX_QUEUED {
        let arrived = timeout(PATIENCE, inbox.take()).await.unwrap();
        found.extend(arrived.into_iter().map(|message| u16::from_be_bytes(message.payload.try_into().unwrap())));
    }
    assert!(found.iter().copied().eq(numbers.take(MAX_QUEUED)), "the oldest stay, in their order; what had no room is sent again");
    gateway.write_all(&data(7)).await.unwrap();
    let next = timeout(PATIENCE, inbox.take()).await.unwrap();
    assert_eq!(next.into_iter().map(|message| message.payload).collect::<Vec<_>>(), [vec![0, 7]]);
}
