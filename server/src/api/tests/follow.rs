//! Followers over real TCP: news, resuming, and a server that stops.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

use pattoo_wire::{Sample, Value};
use serde_json::{Value as Json, json};

use super::{Server, send};
use crate::live::MAX_RECENT_READINGS;
use crate::store::{Reading, SeriesId};

/// Longer than any event should take, shorter than anybody would wait.
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) struct Follower(BufReader<TcpStream>);

/// One event, as the wire has it.
#[derive(Debug, Default)]
pub(super) struct Event {
    name: String,
    id: String,
    data: String,
}

impl Event {
    fn json(&self) -> Json {
        serde_json::from_str(&self.data).unwrap()
    }
}

impl Follower {
    pub(super) fn open(server: &Server, query: &str, headers: &str) -> Self {
        let mut stream = TcpStream::connect(server.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "GET /api/v1/live?{query} HTTP/1.0\r\nhost: localhost\r\naccept-encoding: gzip\r\n{headers}\r\n").unwrap();
        let mut follower = Self(BufReader::new(stream));
        let mut head = String::new();
        while follower.0.read_line(&mut head).unwrap() > 2 {}
        let head = head.to_lowercase();
        assert!(head.contains("200 ok") && head.contains("text/event-stream"), "{head}");
        assert!(head.contains("x-accel-buffering: no") && !head.contains("content-encoding"), "{head}");
        follower
    }

    /// The next event; none once the server ends the stream.
    pub(super) fn next(&mut self) -> Option<Event> {
        let mut event = Event::default();
        let began = std::time::Instant::now();
        loop {
            // Comments keep a stream alive for ever on which nothing happens.
            assert!(began.elapsed() < PATIENCE, "no event within {PATIENCE:?}, and no end of the stream");
            let mut line = String::new();
            if self.0.read_line(&mut line).unwrap() == 0 {
                return None;
            }
            match line.trim_end().split_once(": ") {
                Some(("event", name)) => name.clone_into(&mut event.name),
                Some(("id", id)) => id.clone_into(&mut event.id),
                Some(("data", data)) => data.clone_into(&mut event.data),
                _ if line == "\n" && !event.name.is_empty() => return Some(event),
                _ => {}
            }
        }
    }
}

fn good(id: u32, at_ms: i64, value: Value) -> (SeriesId, Reading) {
    (SeriesId(id), Reading { at_ms, sample: Sample::Good(value) })
}

#[test]
fn a_follower_hears_of_its_series_only_and_each_digit() {
    let server = Server::start();
    let mut follower = Follower::open(&server, "series=3,4", "");
    assert_eq!(follower.next().unwrap().name, "start");
    server
        .plant
        .live
        .put_readings(vec![good(1, 5, Value::int(1)), good(3, 7, Value::Unsigned(u64::MAX)), good(3, 6, Value::int(2))].into());
    let event = follower.next().unwrap();
    assert_eq!(event.name, "readings");
    assert!(event.data.contains("18446744073709551615"), "{}", event.data);
    let news = event.json();
    assert_eq!(news["series"].as_array().unwrap().len(), 1);
    let series = &news["series"][0];
    assert_eq!((&series["id"], &series["t"], &series["q"]), (&json!(3), &json!([6, 7]), &json!(["good", "good"])));
    assert_eq!(series["text"], json!("18446744073709551615"));
}

#[test]
fn who_was_away_gets_what_it_missed_once() {
    let server = Server::start();
    let mut follower = Follower::open(&server, "series=1", "");
    let start = follower.next().unwrap();
    drop(follower);
    server.plant.live.put_readings(vec![good(1, 1, Value::int(1))].into());
    server.plant.live.put_readings(vec![good(1, 2, Value::int(2))].into());
    let mut by_header = Follower::open(&server, "series=1", &format!("last-event-id: {}\r\n", start.id));
    let event = by_header.next().unwrap();
    assert_eq!((event.name.as_str(), &event.json()["series"][0]["t"]), ("readings", &json!([1, 2])));
    let mut by_query = Follower::open(&server, &format!("series=1&after={}", event.id), "");
    server.plant.live.put_readings(vec![good(1, 3, Value::int(3))].into());
    assert_eq!(by_query.next().unwrap().json()["series"][0]["t"], json!([3]), "what was told is not told again");
}

#[test]
fn who_missed_more_than_is_kept_or_comes_from_another_life_begins_anew() {
    let server = Server::start();
    let mut follower = Follower::open(&server, "series=1", "");
    let start = follower.next().unwrap();
    for n in 0..2 {
        server.plant.live.put_readings((0..MAX_RECENT_READINGS as i64).map(|at| good(2, n * 100_000 + at, Value::int(1))).collect());
    }
    for after in [start.id.as_str(), "1.0", "0", "x", ""] {
        let mut again = Follower::open(&server, &format!("series=1&after={after}"), "");
        let event = again.next().unwrap();
        assert_eq!(event.name, "start", "after {after:?}");
        assert_ne!(event.id, start.id);
    }
}

#[test]
fn open_followers_do_not_hold_up_a_server_that_stops() {
    let server = Server::start();
    let mut followers: Vec<_> = (0..10).map(|_| Follower::open(&server, "series=1", "")).collect();
    followers.iter_mut().for_each(|follower| assert_eq!(follower.next().unwrap().name, "start"));
    server.stop.send_replace(true);
    for follower in &mut followers {
        assert!(follower.next().is_none(), "the stream ends");
    }
    let Server { runtime, serving, .. } = server;
    runtime.block_on(async { tokio::time::timeout(PATIENCE, serving).await }).expect("the server stops").unwrap().unwrap();
}

#[test]
fn there_is_a_most_of_followers_and_one_that_goes_makes_room() {
    let server = Server::start();
    let open = || Follower::open(&server, "series=1", "");
    let mut followers: Vec<_> = (0..super::super::follow::MAX_FOLLOWERS).map(|_| open()).collect();
    let refused = send(server.address, "GET", "/api/v1/live?series=1", "");
    assert_eq!((refused.status, &refused.json()["error"]["code"]), (503, &json!("unavailable")));
    followers.pop();
    // The server notices a client that left when it next writes to it.
    let started = std::time::Instant::now();
    for n in 0.. {
        server.plant.live.put_readings(vec![good(1, n, Value::int(1))].into());
        if send(server.address, "GET", "/api/v1/live?series=1", "").status == 200 {
            break;
        }
        assert!(started.elapsed() < PATIENCE, "no room although one has left");
    }
}
