//! The driver against SunSpec devices with any chain, beside a walker that is as simple as can be and shares nothing with it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use pattoo_wire::Sample;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use self::made::{Made, Memory, Readings, made, naive};
use super::*;
use crate::config::Transport;
use crate::driver::Driver as _;
use crate::profile::{Profile, SunSpecLayout};

mod made;

const PROFILE: &str = "
schema: 1
id: sun
manufacturer: x
model: x
modbus: { max_registers: 60, max_gap: 59, invalid: { i16: 0x8000, u16: 0xFFFF } }
points:
  - { name: maker, read: { sunspec: 1, at: 2, type: text, registers: 4 } }
  - { name: power, read: [{ sunspec: [101, 103], at: 14, type: i16, scale_at: 15, decimals: 2 }, { sunspec: 113, at: 22, type: f32, decimals: 2 }] }
  - { name: energy, read: { sunspec: [101, 103], at: 24, type: u32, scale_at: 26, decimals: 2, invalid: 0 } }
  - { name: string, read: { sunspec: 160, at: 20, type: u16, rows: [10, 20], scale_at: 3, decimals: 2 } }
  - { name: meter, read: { sunspec: [203], at: 90, type: i16, scale_at: 22, decimals: 2 } }
  - { name: meter_near, read: { sunspec: [203], at: 20, type: i16, scale_at: 22, decimals: 2 } }
";

/// What a device does.
#[derive(Default)]
struct State {
    memory: Memory,
    /// The request with this number (from 0) is refused with this code.
    refuse: Option<(usize, u8)>,
    /// From the request with this number on it has other registers.
    then: Option<(usize, Memory)>,
    asked: usize,
}

struct Peer {
    endpoint: String,
    state: Arc<Mutex<State>>,
}

impl Peer {
    async fn start(memory: Memory) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = listener.local_addr().unwrap().to_string();
        let state = Arc::new(Mutex::new(State { memory, ..State::default() }));
        let own = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&own)));
            }
        });
        Self { endpoint, state }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

async fn serve(mut stream: TcpStream, state: Arc<Mutex<State>>) {
    let mut request = [0u8; 12];
    while stream.read_exact(&mut request).await.is_ok() {
        let pdu = answer(&request, &mut state.lock().unwrap());
        let length = u16::try_from(pdu.len() + 1).unwrap().to_be_bytes();
        let reply = [&request[..4], &length[..], &request[6..7], &pdu].concat();
        if stream.write_all(&reply).await.is_err() {
            return;
        }
    }
}

fn answer(request: &[u8; 12], state: &mut State) -> Vec<u8> {
    let number = state.asked;
    state.asked += 1;
    if let Some((_, memory)) = state.then.take_if(|(from, _)| *from <= number) {
        state.memory = memory;
    }
    let (address, count) = (u16::from_be_bytes([request[8], request[9]]), u16::from_be_bytes([request[10], request[11]]));
    let words: Option<Vec<u16>> = (0..count).map(|i| state.memory.get(&address.checked_add(i)?).copied()).collect();
    match (state.refuse, words) {
        (Some((refused, code)), _) if refused == number => vec![request[7] | 0x80, code],
        (_, None) => vec![request[7] | 0x80, 2],
        (_, Some(words)) => {
            [request[7], u8::try_from(count * 2).unwrap()].into_iter().chain(words.into_iter().flat_map(u16::to_be_bytes)).collect()
        }
    }
}

fn driver(peer: &Peer) -> Modbus {
    let transport = Transport::ModbusTcp { endpoint: peer.endpoint.clone(), timeout: Duration::from_secs(20) };
    Modbus::new(&transport, Box::new(|| 0))
}

fn device() -> Device {
    let profile = Profile::read(Path::new("sun.yaml"), PROFILE.as_bytes()).unwrap();
    Device { name: "d".into(), profile: Arc::new(profile), unit: 1, every: Duration::from_secs(10), labels: BTreeMap::default() }
}

async fn poll_some(driver: &mut Modbus, device: &Device, points: &[usize]) -> Readings {
    let points: Vec<_> = points.iter().copied().map(PointIndex).collect();
    let transactions = driver.read(DeviceIndex(0), device, &points).await;
    let readings: Vec<_> = transactions.into_iter().flat_map(|t| t.readings).collect();
    let count = readings.len();
    let shown = |reading: crate::reading::Reading| {
        let row = reading.row.as_ref().map(|row| format!("[{}]", row.identity)).unwrap_or_default();
        let sample = match &reading.sample {
            Sample::Good(value) => Ok(value.to_string()),
            other => Err(other.reason().unwrap()),
        };
        (device.profile.points[reading.point.0].name.clone() + &row, sample)
    };
    let readings: Readings = readings.into_iter().map(shown).collect();
    assert_eq!(readings.len(), count, "nothing twice");
    readings
}

async fn poll(driver: &mut Modbus, device: &Device) -> Readings {
    poll_some(driver, device, &[0, 1, 2, 3, 4, 5]).await
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// Without what is only told because there is nothing else to tell.
fn without_failure(readings: &Readings) -> Readings {
    readings.iter().filter(|(name, value)| !(name.as_str() == "maker" && value.is_err())).map(|(n, v)| (n.clone(), v.clone())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn any_chain_is_read_as_the_naive_walker_reads_it(made in made()) {
        runtime().block_on(async {
            let memory = made.memory();
            let expected = naive(&memory);
            let peer = Peer::start(memory).await;
            let (mut driver, device) = (driver(&peer), device());
            for _ in 0..2 {
                let readings = poll(&mut driver, &device).await;
                if expected.is_empty() {
                    prop_assert!(without_failure(&readings).is_empty(), "{:?}", readings);
                } else {
                    prop_assert_eq!(&readings, &expected);
                }
            }
            Ok(())
        })?;
    }

    /// Whatever is refused, and when: what is good is right, and the second poll after the trouble has everything again. The first one asks
    /// last for what was not answered: a power of ten that is read only after its value says nothing of it.
    #[test]
    fn an_exception_at_any_step_costs_no_truth(made in made(), step in 0usize..30, code in prop_oneof![Just(2u8), Just(3), Just(4), Just(6), Just(0x0B)]) {
        runtime().block_on(async {
            let memory = made.memory();
            let expected = naive(&memory);
            let peer = Peer::start(memory).await;
            peer.state().refuse = Some((step, code));
            let (mut driver, device) = (driver(&peer), device());
            let mut last = Readings::new();
            let mut calm = 0;
            while calm < 2 {
                calm += usize::from(peer.state().asked > step);
                last = poll(&mut driver, &device).await;
                for (name, value) in without_failure(&last) {
                    if value.is_ok() || value == Err(Reason::OutOfRange) {
                        prop_assert_eq!(Some(&value), expected.get(&name), "{}", name);
                    }
                }
            }
            prop_assert_eq!(without_failure(&last), without_failure(&expected));
            Ok(())
        })?;
    }

    /// New firmware, a new meter: another chain from some request on. A reading is that of one chain or the other, or it is bad.
    #[test]
    fn a_chain_that_shifts_at_any_request_gives_no_wrong_value(old in made(), at in 0usize..8, place in 0usize..8, len in 1u16..60, from in 0usize..40) {
        runtime().block_on(async {
            let mut new = Made { seed: old.seed ^ 0x5555, ..old.clone() };
            new.models.insert(place.min(old.models.len()), (64_001, len));
            // What it says in two chains under one name must differ, or nothing would show.
            let (before, after) = (naive(&old.memory()), naive(&new.memory()));
            let peer = Peer::start(old.memory()).await;
            let (mut driver, device) = (driver(&peer), device());
            for round in 0..at {
                let readings = poll(&mut driver, &device).await;
                prop_assert_eq!(without_failure(&readings), without_failure(&before), "round {}", round);
            }
            let asked = peer.state().asked;
            peer.state().then = Some((asked + from, new.memory()));
            for _ in 0..4 {
                for (name, value) in poll(&mut driver, &device).await {
                    if value.is_ok() {
                        let known = [before.get(&name), after.get(&name)];
                        prop_assert!(known.contains(&Some(&value)), "{} is {:?}, not {:?}", name, value, known);
                    }
                }
            }
            Ok(())
        })?;
    }
}

/// So does one with nothing of the profile; and each poll looks again.
#[tokio::test]
async fn a_device_without_the_marker_says_so_on_a_point_that_every_device_has() {
    let nothing = Made { base: 50_000, models: vec![(64_000, 7), (203, 15)], end: 0, seed: 1 };
    for memory in [(0..200).map(|at| (at, 7)).collect(), nothing.memory()] {
        let peer = Peer::start(memory).await;
        let (mut driver, device) = (driver(&peer), device());
        for points in [vec![0, 1, 2, 3, 4, 5], vec![3]] {
            assert_eq!(poll_some(&mut driver, &device, &points).await, [("maker".to_owned(), Err(Reason::Mismatch))].into());
        }
        peer.state().memory = inverter(3).memory();
        assert_eq!(poll(&mut driver, &device).await, naive(&inverter(3).memory()));
    }
}

fn inverter(seed: u64) -> Made {
    Made { base: 40_000, models: vec![(1, 66), (103, 50), (160, 48)], end: 0, seed }
}

#[tokio::test]
async fn what_was_a_value_and_is_one_no_more_is_bad_and_what_never_was_is_absent() {
    let mut memory = inverter(1).memory();
    let power = 40_002 + 68 + 14;
    memory.insert(power, 0x8000);
    memory.insert(power + 1, 0);
    let peer = Peer::start(memory).await;
    let (mut driver, device) = (driver(&peer), device());
    for (word, expected) in [(0x8000, None), (17, Some(Ok("17.00".to_owned()))), (0x8000, Some(Err(Reason::NotAValue)))] {
        peer.state().memory.insert(power, word);
        assert_eq!(poll(&mut driver, &device).await.get("power").cloned(), expected);
    }
}

#[tokio::test]
async fn a_device_that_is_lost_says_so_on_what_it_has_and_is_walked_again() {
    let (old, mut new) = (inverter(1), inverter(1));
    let peer = Peer::start(old.memory()).await;
    let (mut driver, device) = (driver(&peer), device());
    let good = poll(&mut driver, &device).await;
    assert!(good.len() >= 2, "{good:?}");
    let memory = std::mem::take(&mut peer.state().memory);
    // A gateway's word that nobody is there; the next poll costs one request.
    for (round, requests) in [(0, 1), (1, 1)] {
        let asked = peer.state().asked;
        peer.state().refuse = Some((asked, 0x0B));
        let bad = poll(&mut driver, &device).await;
        assert!(bad.keys().eq(good.keys()) && bad.values().all(|v| *v == Err(Reason::Exception(0x0B))), "round {round}: {bad:?}");
        assert_eq!(peer.state().asked - asked, requests, "round {round}");
    }
    let known: Vec<_> = driver.series(DeviceIndex(0), &device, &[PointIndex(3)]);
    assert!(known.iter().all(|(point, row)| *point == PointIndex(3) && row.is_some()), "{known:?}");
    peer.state().memory = memory;
    assert_eq!(poll(&mut driver, &device).await, good);
    // It comes back with a meter more, and without its trackers.
    new.models = vec![(1, 66), (103, 50), (203, 105)];
    let asked = peer.state().asked;
    peer.state().refuse = Some((asked, 0x0B));
    poll(&mut driver, &device).await;
    peer.state().memory = new.memory();
    let back = poll(&mut driver, &device).await;
    for (name, value) in &back {
        let gone = name.starts_with("string").then_some(Err(Reason::Unavailable));
        assert_eq!(Some(value), gone.as_ref().or(naive(&new.memory()).get(name)), "{name}");
    }
    assert!(back.keys().any(|name| name.starts_with("meter")), "{back:?}");
    assert_eq!(poll(&mut driver, &device).await, naive(&new.memory()));
}

#[tokio::test]
async fn a_chain_costs_one_request_for_each_model_once_it_is_known() {
    let peer = Peer::start(inverter(3).memory()).await;
    let (mut driver, device) = (driver(&peer), device());
    let mut before = 0;
    for requests in [2 + 4 + 2, 3, 3] {
        poll(&mut driver, &device).await;
        let asked = peer.state().asked;
        assert_eq!(asked - before, requests);
        before = asked;
    }
    // Of a point that it does not have, one header is asked for, so that whether it answers is known.
    assert_eq!(poll_some(&mut driver, &device, &[4]).await, Readings::new());
    assert_eq!(peer.state().asked - before, 1);
}

#[tokio::test]
async fn a_chain_that_broke_off_is_walked_again_after_some_polls() {
    let whole = inverter(3).memory();
    let tail: Vec<_> = whole.range(40_070 + 52..).map(|(at, _)| *at).collect();
    let peer = Peer::start(whole.iter().filter(|(at, _)| !tail.contains(at)).map(|(at, word)| (*at, *word)).collect()).await;
    let (mut driver, device) = (driver(&peer), device());
    let strings = |readings: &Readings| readings.keys().filter(|name| name.starts_with("string")).count();
    assert_eq!(strings(&poll(&mut driver, &device).await), 0);
    peer.state().memory = whole;
    for _ in 1..sun::BROKEN_CHAIN_POLLS {
        assert_eq!(strings(&poll(&mut driver, &device).await), 0);
    }
    assert_eq!(strings(&poll(&mut driver, &device).await), 2);
}

/// A walk ends whatever it hears, and finds what the naive walker finds.
#[test]
fn a_walk_through_garbage_ends() {
    let device = device();
    for seed in 0..2000u64 {
        let word = |at: u16| crate::mix::mix(seed ^ u64::from(at) << 8) as u16 % [3, 200, 0xFFFF][seed as usize % 3];
        let mut walk = Walk::new(seed as usize);
        let mut steps = 0;
        let chain = loop {
            match walk.next() {
                Step::Ask { address, count } => {
                    let is_base = crate::profile::BASES.contains(&address) && count == 2 && steps < 3;
                    let words: Vec<u16> =
                        if is_base { vec![0x5375, 0x6E53] } else { (0..count).map(|i| word(address.saturating_add(i))).collect() };
                    walk.hear((seed % 7 != 1 || steps % 5 != 4).then_some(&words));
                }
                Step::Found(chain) => break chain,
                Step::Nowhere => break Chain::of(0, &[]),
            }
            steps += 1;
            assert!(steps <= 3 + 2 * (walk::MAX_MODELS + 1), "seed {seed}");
        };
        assert!(chain.models.windows(2).all(|pair| pair[0].last() < pair[1].start), "seed {seed}");
        let layout: SunSpecLayout = device.profile.laid_out(&chain);
        assert!(layout.plain.points.len() <= crate::profile::MAX_POINTS);
    }
}
