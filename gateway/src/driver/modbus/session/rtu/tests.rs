//! The fault table of a line, over bytes in memory and virtual time. The device is written on bare bytes, so that it shares no codec
//! with the driver.

use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

use super::super::tally::{self, TRANSACTIONS, Tally};
use super::super::{Session, Way};
use super::*;
use crate::plan::Request;
use crate::profile::{Parity, Table};

const TIMEOUT: Duration = Duration::from_millis(500);
const UNIT: u8 = 9;
const NEIGHBOUR: u8 = 23;

/// After so many answers the session waits no longer than the device needs, which is less than [`TIMEOUT`].
const KNOWN: u16 = 25;

/// Silence between frames. A second copy of a reply is recognised when it begins within it; one that comes when the next question is
/// out cannot be told from its answer by anything in an RTU frame.
const GAP: Duration = Duration::from_millis(4);

/// What goes wrong with one reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    Silent,
    /// Comes so long after the time-out.
    LateBy(u64),
    /// Comes so long after the question, and what was asked meanwhile is lost.
    DeafFor(u64),
    /// Comes while the next request is being sent.
    WithTheNext,
    Duplicate,
    /// The second copy comes so long after the first.
    DuplicateAfter(u64),
    BadCrc,
    Garbage(usize),
    GarbageBefore(usize),
    Truncated(usize),
    ForeignUnit,
    ForeignUnitThenOwn,
    WrongFunction,
    Fewer,
    More,
    ByteByByte(u64),
    Exception(u8),
    ForeignException,
    /// The device is reset after so many bytes, and sends a zero as it dies.
    ResetAfter(usize),
}

#[derive(Default)]
struct Plan {
    /// Added to every register, so that an old reply is seen.
    salt: u16,
    fault: Option<Fault>,
}

/// CRC-16 of Modbus, bit by bit as the specification has it.
fn crc(bytes: &[u8]) -> [u8; 2] {
    let mut crc = 0xffff_u16;
    for byte in bytes {
        crc ^= u16::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xa001 } else { crc >> 1 };
        }
    }
    crc.to_le_bytes()
}

fn sealed(mut frame: Vec<u8>) -> Vec<u8> {
    frame.extend(crc(&frame));
    frame
}

fn word(address: u16, salt: u16) -> u16 {
    address.wrapping_mul(7).wrapping_add(salt)
}

/// Joins driver and devices: each device hears every question, and none hears the others.
async fn bus(mut driver: DuplexStream, mut devices: [DuplexStream; 2]) {
    let (mut down, mut up, mut other) = ([0; 512], [0; 512], [0; 512]);
    loop {
        let [one, two] = &mut devices;
        tokio::select! {
            Ok(count @ 1..) = driver.read(&mut down) => {
                one.write_all(&down[..count]).await.unwrap();
                two.write_all(&down[..count]).await.unwrap();
            }
            Ok(count @ 1..) = one.read(&mut up) => driver.write_all(&up[..count]).await.unwrap(),
            Ok(count @ 1..) = two.read(&mut other) => driver.write_all(&other[..count]).await.unwrap(),
            else => return,
        }
    }
}

async fn serve(own: u8, mut line: DuplexStream, plan: Arc<Mutex<Plan>>) {
    let mut owed: Vec<u8> = Vec::new();
    let mut request = [0; 8];
    while line.read_exact(&mut request).await.is_ok() {
        let [unit, function, a, b, c, d, ..] = request;
        assert_eq!(request[6..], crc(&request[..6]), "the driver's own CRC");
        if unit != own {
            continue;
        }
        let (address, count) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        let (salt, fault) = {
            let mut plan = plan.lock().unwrap();
            (plan.salt, plan.fault.take().unwrap_or(Fault::None))
        };
        let frame = |unit: u8, function: u8, count: u16| {
            let data: Vec<u8> = (address..address + count).flat_map(|a| word(a, salt).to_be_bytes()).collect();
            sealed([&[unit, function, data.len() as u8][..], &data].concat())
        };
        let good = frame(unit, function, count);
        let late = std::mem::take(&mut owed);
        let ms = |n| tokio::time::sleep(Duration::from_millis(n));
        let bytes = match fault {
            Fault::None => good,
            Fault::Silent => vec![],
            Fault::LateBy(by_ms) => {
                ms(TIMEOUT.as_millis() as u64 + by_ms).await;
                good
            }
            Fault::DeafFor(ms_) => {
                ms(ms_).await;
                let mut lost = [0; 64];
                let _ = tokio::time::timeout(Duration::ZERO, line.read(&mut lost)).await;
                good
            }
            Fault::WithTheNext => {
                owed = good;
                vec![]
            }
            Fault::Duplicate => good.repeat(2),
            Fault::DuplicateAfter(after_ms) => {
                line.write_all(&good).await.unwrap();
                ms(after_ms).await;
                good
            }
            Fault::BadCrc => [&good[..good.len() - 1], &[!good[good.len() - 1]]].concat(),
            Fault::Garbage(len) => vec![0x55; len],
            Fault::GarbageBefore(len) => [vec![0xf8; len], good].concat(),
            Fault::Truncated(len) => good[..len.min(good.len() - 1)].to_vec(),
            Fault::ForeignUnit => frame(unit + 1, function, count),
            Fault::ForeignUnitThenOwn => [frame(unit + 1, function, count), good].concat(),
            Fault::WrongFunction => frame(unit, 7 - function, count),
            Fault::Fewer => frame(unit, function, count - 1),
            Fault::More => frame(unit, function, count + 1),
            Fault::ByteByByte(gap_ms) => {
                for byte in &good {
                    line.write_all(&[*byte]).await.unwrap();
                    ms(gap_ms).await;
                }
                vec![]
            }
            Fault::Exception(code) => sealed(vec![unit, function | 0x80, code]),
            Fault::ForeignException => sealed(vec![unit, 0x90, 2]),
            Fault::ResetAfter(len) => [&good[..len.min(good.len() - 1)], &[0]].concat(),
        };
        line.write_all(&[late, bytes].concat()).await.unwrap();
    }
}

/// A line with two devices, [`UNIT`] and [`NEIGHBOUR`].
fn line() -> (Session, Arc<Mutex<Plan>>) {
    let (near, far) = tokio::io::duplex(4096);
    let plan = Arc::new(Mutex::new(Plan::default()));
    let ends = [UNIT, NEIGHBOUR].map(|unit| {
        let (near, far) = tokio::io::duplex(4096);
        tokio::spawn(serve(unit, far, Arc::clone(&plan)));
        near
    });
    tokio::spawn(bus(far, ends));
    (session(near, false), plan)
}

fn session(near: DuplexStream, echo: bool) -> Session {
    let path = "/in/memory".into();
    let line = SerialLine { path, baud: 115_200, parity: Parity::None, stop_bits: 1, rs485: false, echo };
    let transport = crate::config::Transport::ModbusRtu { line, timeout: TIMEOUT };
    let mut session = Session::new(&transport, Box::new(|| 0));
    if let Way::Rtu(rtu) = &mut session.way {
        rtu.port = Some(Port::new(Box::new(near), echo));
    }
    session
}

async fn ask(session: &mut Session, address: u16) -> Result<Answer, Failure> {
    ask_unit(session, UNIT, address).await
}

async fn ask_unit(session: &mut Session, unit: u8, address: u16) -> Result<Answer, Failure> {
    let question = question::read(&Request { table: Table::Holding, address, count: 3, points: vec![] });
    session.ask(unit, &question, GAP).await.result
}

fn right(address: u16, salt: u16) -> Answer {
    Answer::Words((address..address + 3).map(|a| word(a, salt)).collect())
}

/// One request meets the fault; it fails like this (or not), and all later ones are right.
async fn check(fault: Fault, expected: Result<(), Result<u8, Failure>>, asked_before: u16) {
    let (mut rtu, plan) = line();
    for salt in 1000..1000 + asked_before {
        plan.lock().unwrap().salt = salt;
        assert_eq!(ask(&mut rtu, 10).await, Ok(right(10, salt)), "before {fault:?}");
    }
    *plan.lock().unwrap() = Plan { salt: 3000, fault: Some(fault) };
    let expected = match expected {
        Ok(()) => Ok(right(20, 3000)),
        Err(Ok(code)) => Ok(Answer::Refused(code)),
        Err(Err(failure)) => Err(failure),
    };
    assert_eq!(ask(&mut rtu, 20).await, expected, "{fault:?}");
    for salt in [4000, 5000, 6000] {
        plan.lock().unwrap().salt = salt;
        // What belonged to the faulty request may cost this one, never give it a value.
        let answer = ask(&mut rtu, 30).await;
        assert!(answer == Ok(right(30, salt)) || (salt == 4000 && answer.is_err()), "after {fault:?}: {answer:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn each_fault_costs_its_own_request_and_is_named() {
    use Failure::{BadCrc, Malformed, Timeout};
    for (fault, expected) in [
        (Fault::None, Ok(())),
        (Fault::Silent, Err(Err(Timeout))),
        (Fault::LateBy(1), Err(Err(Timeout))),
        (Fault::LateBy(400), Err(Err(Timeout))),
        (Fault::DeafFor(900), Err(Err(Timeout))),
        (Fault::WithTheNext, Err(Err(Timeout))),
        (Fault::Duplicate, Ok(())),
        (Fault::DuplicateAfter(3), Ok(())),
        (Fault::BadCrc, Err(Err(BadCrc))),
        (Fault::Garbage(3), Err(Err(Malformed))),
        (Fault::Garbage(300), Err(Err(Malformed))),
        (Fault::Truncated(1), Err(Err(Malformed))),
        (Fault::Truncated(10), Err(Err(Malformed))),
        (Fault::ForeignUnit, Err(Err(Malformed))),
        (Fault::ForeignUnitThenOwn, Err(Err(Malformed))),
        (Fault::WrongFunction, Err(Err(Malformed))),
        (Fault::Fewer, Err(Err(Malformed))),
        (Fault::More, Err(Err(Malformed))),
        (Fault::ByteByByte(5), Ok(())),
        (Fault::Exception(2), Err(Ok(2))),
        (Fault::Exception(11), Err(Ok(11))),
        (Fault::ForeignException, Err(Err(Malformed))),
    ] {
        check(fault, expected, 2).await;
        check(fault, expected, KNOWN).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_device_that_is_reset_after_any_byte_gives_no_value() {
    for len in 0..11 {
        let (mut rtu, plan) = line();
        *plan.lock().unwrap() = Plan { salt: 1000, fault: Some(Fault::ResetAfter(len)) };
        assert!(ask(&mut rtu, 20).await.is_err(), "{len}");
        plan.lock().unwrap().salt = 2000;
        assert_eq!(ask(&mut rtu, 30).await, Ok(right(30, 2000)), "{len}");
    }
}

/// Wires that bring back what is sent, before the answer.
#[tokio::test(start_paused = true)]
async fn an_adapter_that_hears_itself_is_understood() {
    let (near, mut middle) = tokio::io::duplex(4096);
    let (mut device_side, far) = tokio::io::duplex(4096);
    let plan = Arc::new(Mutex::new(Plan { salt: 7, fault: None }));
    tokio::spawn(serve(UNIT, far, Arc::clone(&plan)));
    tokio::spawn(async move {
        let (mut up, mut down) = ([0; 64], [0; 64]);
        loop {
            tokio::select! {
                Ok(count @ 1..) = middle.read(&mut up) => {
                    middle.write_all(&up[..count]).await.unwrap();
                    device_side.write_all(&up[..count]).await.unwrap();
                }
                Ok(count @ 1..) = device_side.read(&mut down) => middle.write_all(&down[..count]).await.unwrap(),
                else => return,
            }
        }
    });
    let mut rtu = session(near, true);
    for address in [10, 20, 30] {
        assert_eq!(ask(&mut rtu, address).await, Ok(right(address, 7)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_device_costs_one_timeout_and_a_line_that_never_falls_silent_gives_no_value() {
    let (mut rtu, plan) = line();
    plan.lock().unwrap().fault = Some(Fault::Silent);
    let start = Instant::now();
    assert_eq!(ask(&mut rtu, 10).await, Err(Failure::Timeout));
    assert!(start.elapsed() < TIMEOUT + Duration::from_millis(20), "{:?}", start.elapsed());

    let (near, mut far) = tokio::io::duplex(4096);
    tokio::spawn(async move {
        while far.write_all(&[0x11]).await.is_ok() {
            sleep(Duration::from_millis(30)).await;
        }
    });
    let mut rtu = session(near, false);
    assert_eq!(ask(&mut rtu, 10).await, Err(Failure::Malformed));
}

/// Who died is given up soon once its pace is known, and its neighbour is asked after a short silence; but it is not asked itself before
/// all that it may owe would have come.
#[tokio::test(start_paused = true)]
async fn a_neighbour_of_a_device_that_died_waits_for_a_short_silence_and_not_for_the_timeout() {
    let (mut session, plan) = line();
    for unit in [UNIT, NEIGHBOUR].repeat(usize::from(KNOWN)) {
        assert_eq!(ask_unit(&mut session, unit, 10).await, Ok(right(10, 0)));
    }
    let wait = session.waiting(UNIT).timeout.unwrap();
    assert!(wait < TIMEOUT / 3, "{wait:?}");
    plan.lock().unwrap().fault = Some(Fault::Silent);
    let start = Instant::now();
    assert_eq!(ask(&mut session, 10).await, Err(Failure::Timeout));
    assert_eq!(ask_unit(&mut session, NEIGHBOUR, 10).await, Ok(right(10, 0)));
    assert!(start.elapsed() < (wait + SERIAL_SILENCE).max(OTHERS_LISTEN) + Duration::from_millis(20), "{:?}", start.elapsed());
    assert_eq!(ask(&mut session, 10).await, Ok(right(10, 0)));
    assert!(start.elapsed() >= 2 * TIMEOUT, "{:?}", start.elapsed());
}

/// Answers that take ever longer cost no more than a few timeouts.
#[tokio::test(start_paused = true)]
async fn a_device_that_gets_slower_is_not_locked_out() {
    let (mut session, plan) = line();
    let mut missed = 0;
    for after_ms in [[5; 40], [400; 40], [5; 40], [490; 40]].concat() {
        plan.lock().unwrap().fault = Some(Fault::DeafFor(after_ms));
        missed += u32::from(ask(&mut session, 10).await != Ok(right(10, 0)));
    }
    assert!(missed <= 4, "{missed}");
}

fn any_fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        4 => Just(Fault::None),
        1 => Just(Fault::Silent),
        1 => (0u64..450).prop_map(Fault::LateBy),
        1 => (0u64..950).prop_map(Fault::DeafFor),
        1 => Just(Fault::WithTheNext),
        1 => Just(Fault::Duplicate),
        1 => (0u64..4).prop_map(Fault::DuplicateAfter),
        1 => Just(Fault::BadCrc),
        1 => (1usize..400).prop_map(Fault::Garbage),
        1 => (1usize..40).prop_map(Fault::GarbageBefore),
        1 => (0usize..12).prop_map(Fault::Truncated),
        1 => Just(Fault::ForeignUnit),
        1 => Just(Fault::ForeignUnitThenOwn),
        1 => Just(Fault::Fewer),
        1 => Just(Fault::More),
        1 => (1u64..60).prop_map(Fault::ByteByByte),
        1 => Just(Fault::Exception(2)),
        1 => (0usize..12).prop_map(Fault::ResetAfter),
    ]
}

/// Asks 1000 times in each round; every request may meet a fault. Values change with each request, so that an old one is seen.
/// `PATTOO_TEST_ROUNDS=100` makes it 100 000 transactions.
#[test]
fn no_value_is_wrong_in_many_thousand_transactions() {
    let (rounds, mut runner) = tally::runner();
    let unit = prop::sample::select(vec![UNIT, UNIT, NEIGHBOUR]);
    let faults = prop::collection::vec((any_fault(), unit), TRANSACTIONS);
    let tally = std::cell::RefCell::new(Tally::default());
    runner
        .run(&faults, |faults| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
            runtime.block_on(async {
                let (mut session, plan) = line();
                for unit in [UNIT, NEIGHBOUR].repeat(usize::from(KNOWN)) {
                    prop_assert_eq!(ask_unit(&mut session, unit, 10).await, Ok(right(10, 0)));
                }
                let mut owes = std::collections::BTreeSet::new();
                for (salt, (fault, unit)) in faults.iter().copied().enumerate() {
                    let before = &faults[salt.saturating_sub(4)..=salt];
                    // A device that is for ever one reply behind cannot be told from one that is not.
                    let fault = if owes.remove(&unit) { Fault::None } else { fault };
                    if fault == Fault::WithTheNext {
                        owes.insert(unit);
                    }
                    let salt = salt as u16 + 1;
                    *plan.lock().unwrap() = Plan { salt, fault: Some(fault) };
                    let answer = ask_unit(&mut session, unit, 40).await;
                    let is_value = matches!(answer, Ok(Answer::Words(_)));
                    prop_assert!(!is_value || answer == Ok(right(40, salt)), "{:?} of the last of {:?}", answer, before);
                    tally.borrow_mut().add(&fault, is_value);
                    // A device that was asked and has not answered yet answers the next request as well.
                    plan.lock().unwrap().fault = None;
                }
                Ok(())
            })
        })
        .unwrap();
    let tally = tally.into_inner();
    eprintln!("{tally}");
    let (asked, right_ones) = tally.total();
    assert_eq!(asked, u64::from(rounds) * TRANSACTIONS as u64);
    assert!(right_ones > asked / 5, "only {right_ones} were answered: the faults hide everything");
}
