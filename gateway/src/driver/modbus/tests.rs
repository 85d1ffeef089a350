use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use pattoo_wire::{Kind, Value};
use tokio::time::Instant;

use super::faults::{Asked, Device as Peer, Fault, word};
use super::*;
use crate::profile::{Encoding, ModbusLimits, Point, Profile, Table};
use crate::schedule::{Entry, Next, Outcome, Schedule};

/// Short, for some tests wait for it; long enough for a busy machine to answer in time.
const TIMEOUT: Duration = Duration::from_millis(500);

const UNIT: u8 = 4;

fn device(addresses: &[u16], limits: ModbusLimits) -> Device {
    let point = |address: &u16| {
        let read = ModbusRead::new(Table::Input, *address, Encoding::U16);
        let (unit, states) = (String::new(), BTreeMap::new());
        Point {
            name: format!("r{address}"),
            unit,
            kind: Kind::Gauge,
            alarm: false,
            repr: read.repr(),
            every: None,
            states,
            range: None,
            read: Read::Modbus(read),
            writable: None,
        }
    };
    let points = addresses.iter().map(point).collect();
    let profile = Profile {
        id: "x".into(),
        manufacturer: "x".into(),
        model: "x".into(),
        modbus: limits,
        bacnet: Default::default(),
        signature: None,
        points,
    };
    Device { name: "meter".into(), profile: Arc::new(profile), unit: UNIT, every: Duration::from_secs(1), labels: Default::default() }
}

fn limits(max_gap: u16) -> ModbusLimits {
    ModbusLimits { max_gap, ..ModbusLimits::default() }
}

/// Gives 0, 10, 20, … ms.
fn ticking() -> Clock {
    let next = AtomicI64::new(0);
    Box::new(move || next.fetch_add(10, Ordering::SeqCst))
}

fn driver(peer: &Peer) -> Modbus {
    Modbus::new(&Transport::ModbusTcp { endpoint: peer.address.to_string(), timeout: TIMEOUT }, ticking())
}

/// Reads all points; gives the sample of each address, each exactly once.
async fn poll(driver: &mut Modbus, device: &Device) -> HashMap<u16, Sample> {
    let points: Vec<_> = (0..device.profile.points.len()).map(PointIndex).collect();
    let mut samples = HashMap::new();
    for transaction in driver.read(DeviceIndex(3), device, &points).await {
        assert_eq!(transaction.device, DeviceIndex(3));
        for reading in transaction.readings {
            let Read::Modbus(read) = &device.profile.points[reading.point.0].read else { unreachable!() };
            assert_eq!(samples.insert(read.address, reading.sample), None, "a point was read twice");
        }
    }
    assert_eq!(samples.len(), points.len(), "a point is missing");
    samples
}

fn good(address: u16, salt: u16) -> Sample {
    Sample::Good(Value::int(i64::from(word(address, salt))))
}

#[track_caller]
fn all_good(samples: &HashMap<u16, Sample>, salt: u16) {
    for (address, sample) in samples {
        assert_eq!(sample, &good(*address, salt), "register {address}");
    }
}

/// Three requests: 0-2, 100-102 and 200.
const ADDRESSES: [u16; 7] = [0, 1, 2, 100, 101, 102, 200];

/// The middle one of three requests fails so many times in one poll. It and only it is lost, for this reason; the poll before and
/// the poll after are right, and no value is ever wrong.
async fn check_fault(fault: Fault, times: usize, reason: Option<Reason>) {
    let peer = Peer::start().await;
    let (mut driver, device) = (driver(&peer), device(&ADDRESSES, limits(0)));
    peer.state().salt = 1000;
    all_good(&poll(&mut driver, &device).await, 1000);

    *peer.state() = faults::State { salt: 2000, fault: Some((100, fault, times)), ..Default::default() };
    let samples = poll(&mut driver, &device).await;
    for (address, sample) in samples {
        let expected = match (address, reason) {
            (100..=102, Some(reason)) => Sample::Bad(reason),
            // After a timeout, or a gateway's word that there was one, the rest of the poll is not tried.
            (200, Some(reason @ (Reason::Timeout | Reason::Exception(0x0A | 0x0B)))) => Sample::Bad(reason),
            _ => good(address, 2000),
        };
        assert_eq!(sample, expected, "{fault:?}, register {address}");
    }

    for salt in [3000, 4000] {
        peer.state().salt = salt;
        let samples = poll(&mut driver, &device).await;
        all_good(&samples, salt);
    }
    // A connection that failed is not used again, one that brought an exception is.
    let connections = match (reason, times) {
        (Some(Reason::Exception(_)), _) => 0,
        (_, times) => times,
    };
    // Both copies of a reply may arrive at once, and the second is then thrown away without a new connection.
    if fault != Fault::Duplicate {
        assert_eq!(peer.state().connections, connections, "{fault:?}");
    }
}

#[tokio::test]
async fn a_reply_that_does_not_come_in_time_costs_its_poll_and_is_never_taken_for_a_later_one() {
    for fault in [Fault::Late, Fault::Silent, Fault::Truncated, Fault::GarbageThatPromisesMore] {
        check_fault(fault, 1, Some(Reason::Timeout)).await;
    }
}

const NO_REPLY_TO_THE_REQUEST: [Fault; 12] = [
    Fault::WrongTransaction,
    Fault::WrongUnit,
    Fault::WrongFunction,
    Fault::WrongProtocol,
    Fault::Garbage,
    Fault::NoLength,
    Fault::ByteCountTooHigh,
    Fault::ByteCountTooLow,
    Fault::ByteCountOdd,
    Fault::Fewer,
    Fault::More,
    Fault::ForeignException,
];

#[tokio::test]
async fn a_malformed_reply_costs_its_own_readings_even_on_a_new_connection() {
    for fault in NO_REPLY_TO_THE_REQUEST {
        check_fault(fault, 2, Some(Reason::Malformed)).await;
    }
}

#[tokio::test]
async fn a_connection_that_went_stale_costs_nothing() {
    for fault in NO_REPLY_TO_THE_REQUEST.into_iter().chain([Fault::Duplicate, Fault::Close, Fault::TruncatedAndClosed]) {
        check_fault(fault, 1, None).await;
    }
}

#[tokio::test]
async fn a_device_that_hangs_up_costs_the_request_that_it_hung_up_on() {
    for fault in [Fault::Close, Fault::TruncatedAndClosed] {
        check_fault(fault, 2, Some(Reason::LinkDown)).await;
    }
}

#[tokio::test]
async fn an_exception_costs_its_own_readings_and_keeps_the_connection() {
    for code in [1, 4, 6, 0x0A, 0x0B, 0x63] {
        check_fault(Fault::Exception(code), 1, Some(Reason::Exception(code))).await;
    }
    let peer = Peer::start().await;
    let (mut driver, device) = (driver(&peer), device(&ADDRESSES, limits(0)));
    peer.state().fault = Some((100, Fault::Exception(0x0B), 3));
    for _ in 0..5 {
        poll(&mut driver, &device).await;
    }
    assert_eq!(peer.state().connections, 1);
}

#[tokio::test]
async fn a_request_that_met_silence_is_asked_last_so_that_the_others_are_read() {
    let peer = Peer::start().await;
    let (mut driver, device) = (driver(&peer), device(&ADDRESSES, limits(0)));
    peer.state().fault = Some((100, Fault::Silent, 3));
    assert_eq!(poll(&mut driver, &device).await[&200], Sample::Bad(Reason::Timeout));
    for _ in 0..2 {
        let samples = poll(&mut driver, &device).await;
        assert_eq!(samples[&200], good(200, 0));
        assert_eq!(samples[&100], Sample::Bad(Reason::Timeout));
    }
    all_good(&poll(&mut driver, &device).await, 0);
}

/// A device that gives nothing of use: each poll costs one request, the smallest, and then those that were not tried for longest.
#[tokio::test]
async fn a_dead_device_is_asked_one_cheapest_request_until_it_answers() {
    let peer = Peer::start().await;
    let (mut driver, device) = (driver(&peer), device(&[0, 1, 100, 101, 102, 200], limits(0)));
    let asked = |samples: HashMap<u16, Sample>, reason: Option<Reason>| {
        for (address, sample) in samples {
            assert_eq!(sample, reason.map_or_else(|| good(address, 0), Sample::Bad), "{address}");
        }
        std::mem::take(&mut peer.state().asked).into_iter().map(|asked| asked.address).collect::<Vec<_>>()
    };
    peer.state().every = Some(Fault::Exception(0x0B));
    assert_eq!(asked(poll(&mut driver, &device).await, Some(Reason::Exception(0x0B))), [0]);
    for _ in 0..3 {
        assert_eq!(asked(poll(&mut driver, &device).await, Some(Reason::Exception(0x0B))), [200]);
    }
    peer.state().every = Some(Fault::Silent);
    for address in [200, 0, 100, 200] {
        assert_eq!(asked(poll(&mut driver, &device).await, Some(Reason::Timeout)), [address]);
    }
    peer.state().every = None;
    assert_eq!(asked(poll(&mut driver, &device).await, None), [0, 100, 200]);
    assert_eq!(asked(poll(&mut driver, &device).await, None), [0, 100, 200]);
}

/// A gateway's word that one unit is silent is that unit's, and nobody else's.
#[tokio::test]
async fn a_unit_that_is_silent_behind_a_gateway_costs_neither_the_connection_nor_the_other_units() {
    let peer = Peer::start().await;
    let mut driver = driver(&peer);
    let devices = [device(&ADDRESSES, limits(0)), Device { unit: UNIT + 1, ..device(&ADDRESSES, limits(0)) }];
    peer.state().dead_unit = Some(UNIT);
    let start = std::time::Instant::now();
    let entries = (0..2).map(|i| Entry { device: DeviceIndex(i), every: Duration::from_secs(1), points: vec![] }).collect();
    let mut schedule = Schedule::new(entries, start, 1);
    let mut polls = [(0, 0), (0, 0)];
    for second in 0..20 {
        let now = start + Duration::from_secs(second);
        while let Next::Due(due) = schedule.next(now) {
            let (polled, backed_off) = &mut polls[due.device.0];
            *polled += 1;
            if due.backed_off {
                *backed_off += 1;
                continue;
            }
            let points: Vec<_> = (0..ADDRESSES.len()).map(PointIndex).collect();
            let transactions = driver.read(due.device, &devices[due.device.0], &points).await;
            schedule.done(due.entry, now, Outcome::of(&transactions));
            if due.device == DeviceIndex(1) {
                assert!(transactions.iter().flat_map(|t| &t.readings).all(|reading| matches!(reading.sample, Sample::Good(_))));
            }
        }
    }
    let [(_, dead_backed_off), (polled, backed_off)] = polls;
    assert!(dead_backed_off > 12, "{polls:?}");
    assert_eq!((backed_off, polled >= 19), (0, true), "{polls:?}");
    assert_eq!(peer.state().connections, 1);
}

/// A driver whose clock stands still unless it is set.
fn driver_with_clock(peer: &Peer) -> (Modbus, Arc<AtomicI64>) {
    let clock = Arc::new(AtomicI64::new(0));
    let now = Arc::clone(&clock);
    let transport = Transport::ModbusTcp { endpoint: peer.address.to_string(), timeout: TIMEOUT };
    (Modbus::new(&transport, Box::new(move || now.load(Ordering::SeqCst))), clock)
}

const MINUTE_MS: i64 = 60_000;

#[tokio::test]
async fn one_illegal_register_never_costs_another_and_is_avoided_until_it_is_tried_again() {
    let peer = Peer::start().await;
    let ((mut driver, clock), device) = (driver_with_clock(&peer), device(&[0, 1, 2, 3, 4, 5], limits(8)));
    peer.state().illegal = vec![2];
    // 0-5; 0-2, of that 0 and 1-2, of that 1 and 2; 3-5. Then 0-1, 2 and 3-5; then no more 2.
    for (minute, requests) in [(0, 7), (0, 3), (0, 2), (0, 2), (2, 7), (3, 2), (6, 7), (13, 2)] {
        clock.store(minute * MINUTE_MS, Ordering::SeqCst);
        peer.state().asked.clear();
        for (address, sample) in poll(&mut driver, &device).await {
            let expected = if address == 2 { Sample::Bad(Reason::Exception(2)) } else { good(address, 0) };
            assert_eq!(sample, expected, "minute {minute}, register {address}");
        }
        let asked = peer.state().asked.clone();
        assert_eq!(asked.len(), requests, "minute {minute}: {asked:?}");
    }
    // New firmware knows it.
    peer.state().illegal.clear();
    clock.store(14 * MINUTE_MS, Ordering::SeqCst);
    for _ in 0..2 {
        peer.state().asked.clear();
        all_good(&poll(&mut driver, &device).await, 0);
        assert_eq!(peer.state().asked.len(), 1);
    }
    assert_eq!(peer.state().connections, 1);
}

#[tokio::test]
async fn one_hole_among_many_points_is_found_with_a_few_requests_and_another_run_knows_it() {
    let peer = Peer::start().await;
    let addresses: Vec<u16> = (0..60).collect();
    let device = device(&addresses, limits(8));
    peer.state().illegal = vec![41];
    let mut book = None;
    for (run, requests) in [(0, 13), (1, 3), (2, 2)] {
        let (mut driver, _) = driver_with_clock(&peer);
        if let Some(lessons) = &book {
            driver.recall(DeviceIndex(3), lessons);
        }
        peer.state().asked.clear();
        let samples = poll(&mut driver, &device).await;
        let bad: Vec<_> = samples.iter().filter(|(address, sample)| **sample != good(**address, 0)).collect();
        assert_eq!(bad, [(&41, &Sample::Bad(Reason::Exception(2)))]);
        let asked = peer.state().asked.clone();
        assert_eq!(asked.len(), requests, "run {run}: {asked:?}");
        book = driver.learned(DeviceIndex(3)).or(book);
        assert_eq!(driver.learned(DeviceIndex(3)), None, "told once");
    }
}

/// A device that gives fewer registers at once than its profile says.
#[tokio::test]
async fn a_request_that_is_too_long_for_the_device_is_halved_from_then_on() {
    let peer = Peer::start().await;
    let (mut driver, device) = (driver(&peer), device(&(0..40).collect::<Vec<_>>(), limits(0)));
    peer.state().most = Some(15);
    for requests in [7, 4, 4] {
        peer.state().asked.clear();
        all_good(&poll(&mut driver, &device).await, 0);
        let asked = peer.state().asked.clone();
        assert_eq!(asked.len(), requests, "{asked:?}");
    }
}

#[tokio::test]
async fn a_hole_that_may_not_be_read_is_read_around_from_then_on() {
    let peer = Peer::start().await;
    let (mut driver, device) = (driver(&peer), device(&[0, 1, 6, 7], limits(8)));
    peer.state().illegal = vec![4];
    all_good(&poll(&mut driver, &device).await, 0);
    peer.state().asked.clear();
    all_good(&poll(&mut driver, &device).await, 0);
    let asked = |address, count| Asked { unit: UNIT, address, count };
    assert_eq!(peer.state().asked, [asked(0, 2), asked(6, 2)]);
}

#[tokio::test]
async fn a_device_that_refuses_everything_for_a_while_is_read_in_few_requests_again() {
    let peer = Peer::start().await;
    let (mut driver, device) = (driver(&peer), device(&[0, 1, 2, 3], limits(0)));
    peer.state().illegal = vec![0, 1, 2, 3];
    let samples = poll(&mut driver, &device).await;
    assert!(samples.values().all(|s| *s == Sample::Bad(Reason::Exception(2))), "{samples:?}");
    // Nobody looks closer each time.
    peer.state().asked.clear();
    poll(&mut driver, &device).await;
    assert_eq!(peer.state().asked.len(), 1);
    *peer.state() = faults::State::default();
    all_good(&poll(&mut driver, &device).await, 0);
    assert_eq!(peer.state().asked.len(), 1);
}

#[tokio::test]
async fn nobody_at_the_other_end_is_one_attempt_and_link_down() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = listener.local_addr().unwrap().to_string();
    drop(listener);
    let mut driver = Modbus::new(&Transport::ModbusTcp { endpoint, timeout: TIMEOUT }, ticking());
    let samples = poll(&mut driver, &device(&ADDRESSES, limits(0))).await;
    assert!(samples.values().all(|s| *s == Sample::Bad(Reason::LinkDown)), "{samples:?}");
}

#[tokio::test]
async fn a_reading_has_the_time_between_question_and_answer() {
    let peer = Peer::start().await;
    let (mut driver, device) = (driver(&peer), device(&ADDRESSES, limits(0)));
    let points: Vec<_> = (0..ADDRESSES.len()).map(PointIndex).collect();
    let transactions = driver.read(DeviceIndex(0), &device, &points).await;
    let times: Vec<_> = transactions.iter().map(|t| t.at_ms).collect();
    // A poll looks at the clock once, each of its requests three times: before it connects, before it asks, after the answer.
    assert_eq!(times, [25, 55, 85]);
}

#[tokio::test]
async fn a_poll_that_is_dropped_half_way_leaves_no_reply_behind() {
    let peer = Peer::start().await;
    let (mut driver, device) = (driver(&peer), device(&ADDRESSES, limits(0)));
    *peer.state() = faults::State { salt: 1, fault: Some((100, Fault::Late, 1)), ..Default::default() };
    let points: Vec<_> = (0..ADDRESSES.len()).map(PointIndex).collect();
    let asked_for_100 = async {
        while peer.state().asked.len() < 2 {
            peer.heard.notified().await
        }
    };
    tokio::select! {
        _ = driver.read(DeviceIndex(0), &device, &points) => panic!("the reply is late"),
        () = asked_for_100 => {}
    }
    peer.state().salt = 2;
    all_good(&poll(&mut driver, &device).await, 2);
    assert_eq!(peer.state().connections, 2);
}

#[tokio::test]
async fn the_silence_that_a_device_wants_is_kept() {
    let peer = Peer::start().await;
    let min_gap = Duration::from_millis(40);
    let (mut driver, device) = (driver(&peer), device(&ADDRESSES, ModbusLimits { min_gap, ..limits(0) }));
    let start = Instant::now();
    all_good(&poll(&mut driver, &device).await, 0);
    assert!(start.elapsed() >= min_gap * 2, "two silences between three requests");
}

#[tokio::test]
async fn a_point_of_another_protocol_or_of_no_profile_is_unavailable() {
    let peer = Peer::start().await;
    let mut driver = driver(&peer);
    let transactions = driver.read(DeviceIndex(0), &device(&[7], limits(0)), &[PointIndex(0), PointIndex(9)]).await;
    let mut readings: Vec<_> = transactions.into_iter().flat_map(|t| t.readings).map(|r| (r.point, r.sample)).collect();
    readings.sort_by_key(|r| r.0);
    assert_eq!(readings, [(PointIndex(0), good(7, 0)), (PointIndex(9), Sample::Bad(Reason::Unavailable))]);
}

#[test]
fn failures_cost_a_poll_no_more_than_a_timeout_or_two() {
    let (device, half) = (device(&[0], limits(0)), TIMEOUT / 2);
    for (failures, given_up) in [
        (vec![(Failure::Timeout, TIMEOUT)], Some(Reason::Timeout)),
        (vec![(Failure::Unreachable, Duration::ZERO)], Some(Reason::LinkDown)),
        (vec![(Failure::Closed, half)], None),
        (vec![(Failure::Malformed, half), (Failure::Closed, half)], Some(Reason::LinkDown)),
    ] {
        let mut poll = Poll::new(DeviceIndex(0), &device);
        for (failure, took) in failures {
            poll.failed(failure, took, TIMEOUT);
        }
        assert_eq!(poll.given_up, given_up);
    }
}
