use std::sync::Arc;

use pattoo_wire::{Batch, Block, Device, Kind, Labels, Repr, Sample, Schema, Series, Value};
use tokio::sync::{mpsc, watch};

use super::*;
use crate::batch::{Builder, Dictionary};
use crate::buffer::memory::{Medium, Memory};
use crate::buffer::worker::{channel, serve};
use crate::buffer::{Buffer, Limits};
use crate::config::Config;
use crate::profile::{ModbusLimits, Point, Profile, Read};
use crate::reading::{DeviceIndex, PointIndex, Reading, Transaction};
use crate::run::batcher::Batcher;
use crate::timebase::{ServerTime, State, Trust};

const SECOND: Duration = Duration::from_secs(1);

fn closed(at_ms: i64) -> Closed {
    let device = Device { name: "d".into(), profile: "p".into(), labels: Labels::new() };
    let (point, unit, labels, states) = ("u".into(), String::new(), Labels::new(), Default::default());
    let series = Series { device: 0, point, unit, kind: Kind::Counter, repr: Repr::Unsigned, labels, states };
    let dictionary = Dictionary::new(Schema { devices: vec![device], series: vec![series] }).unwrap();
    let block = Block { series: vec![0], times_ms: vec![at_ms], samples: vec![Sample::Good(Value::Unsigned(at_ms as u64))] };
    Closed::new(Arc::new(dictionary), Batch { blocks: vec![block], gaps: Vec::new() }).unwrap()
}

/// One device with one point.
fn config() -> Config {
    let read = Read::Host(crate::driver::host::Metric::Uptime);
    let (unit, states) = (String::new(), Default::default());
    let kind = Kind::Counter;
    let point = Point {
        name: "count".into(),
        unit,
        kind,
        alarm: false,
        repr: Repr::Unsigned,
        every: None,
        states,
        range: None,
        read,
        writable: None,
    };
    let (manufacturer, model, modbus) = ("m".into(), "m".into(), ModbusLimits::default());
    let profile =
        Arc::new(Profile { id: "p".into(), manufacturer, model, modbus, bacnet: Default::default(), signature: None, points: vec![point] });
    let device = crate::config::Device { name: "d".into(), profile, unit: 1, every: SECOND, labels: Labels::new() };
    Config {
        gateway: "g".into(),
        uplink: crate::config::Uplink::to("mqtt://127.0.0.1:1883".into()),
        buffer: crate::config::Buffer { commit_window: 3600 * SECOND, ..Default::default() },
        batch: crate::config::Batching { every: SECOND },
        clock: crate::config::Clock { trust: Trust::System, ntp_file: "/nowhere".into() },
        commands: Default::default(),
        links: Vec::new(),
        devices: vec![device],
    }
}

/// A buffer in memory on a thread of its own.
fn buffer() -> (Medium, Handle) {
    let medium = Medium::default();
    let limits = Limits { max_age_ms: i64::MAX, ..Limits::from(&crate::config::Buffer::default()) };
    let buffer = Buffer::open(Memory::open(&medium), limits, 0).unwrap();
    let (handle, receiver) = channel(buffer.stats());
    std::thread::spawn(move || serve(buffer, receiver));
    (medium, handle)
}

#[tokio::test(start_paused = true)]
async fn batches_within_the_window_are_stored_with_one_wait_for_the_disk_and_count_as_buffered_only_then() {
    // Seconds of the window; for a batch each second, how many are stored after it.
    for (seconds, stored) in [(0, [1, 2, 3, 4, 5, 6]), (1, [1, 1, 2, 3, 4, 5]), (3, [1, 1, 1, 1, 4, 4]), (60, [1; 6])] {
        let (medium, handle) = buffer();
        let mut window = Window::new(handle.clone(), seconds * SECOND);
        let begin = Instant::now();
        for (number, stored) in (0..).zip(stored) {
            // What is due goes first.
            let now = begin + number * SECOND;
            while tokio::time::timeout_at(now, window.over()).await.is_ok() {
                window.close().await;
            }
            tokio::time::sleep_until(now).await;
            window.add(closed(i64::from(number))).await;
            assert_eq!((handle.stats().next, handle.stats().batches), (1 + stored, stored), "window of {seconds} s, batch {number}");
            assert_eq!(handle.get(stored + 1).await, Ok(None), "it may not be sent");
        }
        let appends = [6, 5, 2, 1][[0, 1, 3, 60].iter().position(|s| *s == seconds).unwrap()];
        assert_eq!(medium.appends(), appends, "window of {seconds} s");
        window.close().await;
        assert_eq!((handle.stats().batches, Instant::now() - begin), (6, 5 * SECOND), "window of {seconds} s");
        assert!(medium.appends() <= appends + 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_window_does_not_wait() {
    let (medium, handle) = buffer();
    let mut window = Window::new(handle.clone(), 3600 * SECOND);
    let begin = Instant::now();
    for i in 1..=2 * MAX_BATCHES as i64 + 3 {
        window.add(closed(i)).await;
        assert!(window.waiting.len() < MAX_BATCHES && window.bytes < MAX_BYTES);
    }
    assert_eq!((handle.stats().batches, medium.appends()), (1 + 2 * MAX_BATCHES as u64, 3), "the first one waits for no other");
    assert_eq!((window.waiting.len(), Instant::now()), (2, begin));
}

fn transaction(at_ms: i64) -> Transaction {
    let sample = Sample::Good(Value::Unsigned(at_ms as u64));
    Transaction { device: DeviceIndex(0), at_ms, readings: vec![Reading { point: PointIndex(0), row: None, sample }] }
}

#[tokio::test(start_paused = true)]
async fn a_stop_closes_the_window_at_once() {
    let (medium, handle) = buffer();
    let (readings_in, readings) = mpsc::channel(16);
    let (_heard_in, heard) = watch::channel(None);
    let (told, _state) = watch::channel(State::default());
    let batcher = Batcher::new(Builder::new(&config()).unwrap(), &config(), handle.clone(), told);
    for at_ms in 1..=3 {
        readings_in.send(transaction(at_ms)).await.unwrap();
    }
    // All links are gone, as at a SIGTERM.
    drop(readings_in);
    let begin = Instant::now();
    batcher.run(readings, heard).await;
    assert_eq!((handle.stats().batches, medium.appends()), (1, 1));
    assert!(Instant::now() - begin < SECOND, "{:?}", Instant::now() - begin);
}

#[tokio::test(start_paused = true)]
async fn what_is_in_the_window_when_the_time_becomes_known_gets_its_time() {
    let (_medium, handle) = buffer();
    let mut config = config();
    config.clock.trust = Trust::Auto;
    let (readings_in, readings) = mpsc::channel(16);
    let (heard_in, heard) = watch::channel(None);
    let (told, mut state) = watch::channel(State::default());
    let batcher = Batcher::new(Builder::new(&config).unwrap(), &config, handle.clone(), told);
    let running = tokio::spawn(batcher.run(readings, heard));
    let now_ms = crate::clock::boot_ms();
    readings_in.send(transaction(now_ms)).await.unwrap();
    while readings_in.capacity() < 16 {
        tokio::task::yield_now().await;
    }
    heard_in.send_replace(Some(ServerTime { sent_ms: now_ms, received_ms: now_ms, time_ms: 1_900_000_000_000 }));
    state.wait_for(|state| state.offset_ms.is_some()).await.unwrap();
    drop(readings_in);
    running.await.unwrap();
    assert!(handle.get(1).await.unwrap().is_some(), "it waits for a time that was told already: {:?}", handle.stats());
}
