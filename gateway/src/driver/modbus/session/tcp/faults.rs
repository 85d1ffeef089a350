//! The fault table of Modbus TCP, over bytes in memory and virtual time. The device is written on bare bytes, so that it shares no codec with
//! the driver; it takes any number of connections, and goes on with what it owes on an old one.

use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

use super::super::tally::{self, TRANSACTIONS, Tally};
use super::super::{Session, Way, question};
use super::*;
use crate::config::Transport;
use crate::plan::Request;
use crate::profile::Table;

/// Above the least wait for an answer through a network, so that the session learns to wait for less.
const TIMEOUT: Duration = Duration::from_secs(2);
const UNITS: [u8; 2] = [9, 23];
/// After so many answers it has.
const KNOWN: usize = 25;
/// Bytes of a good reply with three registers.
const REPLY: usize = 15;

/// What goes wrong with one reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    Silent,
    /// Comes so long after the question, on the connection that it came on.
    LateBy(u64),
    /// Comes on the same connection once the next question does.
    WithTheNext,
    Duplicate,
    /// The second copy comes so long after the first.
    DuplicateAfter(u64),
    /// Bears the number of the question before.
    OldTransaction,
    WrongTransaction(u16),
    WrongProtocol,
    ForeignUnit,
    ForeignUnitThenOwn,
    WrongFunction,
    Fewer,
    More,
    /// Its own count says other than how many bytes there are.
    ByteCount(i8),
    /// The header's length does.
    Length(i8),
    Garbage(usize),
    GarbageBefore(usize),
    PromisesMore,
    Truncated(usize),
    /// The connection ends after so many bytes.
    ResetAfter(usize),
    ByteByByte(u64),
    Exception(u8),
    ForeignException,
}

#[derive(Default)]
struct Plan {
    /// Added to every register, so that an old reply is seen.
    salt: u16,
    fault: Option<Fault>,
}

fn word(address: u16, salt: u16) -> u16 {
    address.wrapping_mul(7).wrapping_add(salt)
}

fn right(address: u16, salt: u16) -> Answer {
    Answer::Words((address..address + 3).map(|a| word(a, salt)).collect())
}

async fn serve(mut stream: DuplexStream, plan: Arc<Mutex<Plan>>) {
    let (mut owed, mut request) = (Vec::new(), [0; 12]);
    while stream.read_exact(&mut request).await.is_ok() {
        let [t, t_low, _, _, _, _, unit, function, a, b, c, d] = request;
        assert_eq!(request[2..6], [0, 0, 0, 6], "the driver's own header");
        let (address, count) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        let (salt, fault) = {
            let mut plan = plan.lock().unwrap();
            (plan.salt, plan.fault.take().unwrap_or(Fault::None))
        };
        let transaction = u16::from_be_bytes([t, t_low]);
        let framed = |transaction: u16, unit: u8, pdu: &[u8]| {
            let length = (pdu.len() as u16 + 1).to_be_bytes();
            [&transaction.to_be_bytes()[..], &[0, 0], &length, &[unit], pdu].concat()
        };
        let pdu = |function: u8, count: u16| {
            let data: Vec<u8> = (address..address + count).flat_map(|a| word(a, salt).to_be_bytes()).collect();
            [&[function, data.len() as u8][..], &data].concat()
        };
        let good = framed(transaction, unit, &pdu(function, count));
        let changed = |place: usize, by: i8| {
            let mut bytes = good.clone();
            bytes[place] = bytes[place].wrapping_add_signed(by);
            bytes
        };
        let ms = |n| tokio::time::sleep(Duration::from_millis(n));
        let late = std::mem::take(&mut owed);
        let (mut bytes, mut last) = (vec![], false);
        match fault {
            Fault::Silent => {}
            Fault::None => bytes = good,
            Fault::LateBy(by_ms) => {
                ms(by_ms).await;
                bytes = good;
            }
            Fault::WithTheNext => owed = good,
            Fault::Duplicate => bytes = good.repeat(2),
            Fault::DuplicateAfter(after_ms) => {
                let _ = stream.write_all(&good).await;
                ms(after_ms).await;
                bytes = good;
            }
            Fault::OldTransaction => bytes = framed(transaction.wrapping_sub(1), unit, &pdu(function, count)),
            Fault::WrongTransaction(by) => bytes = framed(transaction.wrapping_add(by), unit, &pdu(function, count)),
            Fault::WrongProtocol => bytes = changed(3, 1),
            Fault::ForeignUnit => bytes = changed(6, 1),
            Fault::ForeignUnitThenOwn => bytes = [changed(6, 1), good].concat(),
            Fault::WrongFunction => bytes = framed(transaction, unit, &pdu(7 - function, count)),
            Fault::Fewer => bytes = framed(transaction, unit, &pdu(function, count - 1)),
            Fault::More => bytes = framed(transaction, unit, &pdu(function, count + 1)),
            Fault::ByteCount(by) => bytes = changed(8, by),
            Fault::Length(by) => bytes = changed(5, by),
            Fault::Garbage(len) => bytes = vec![0x55; len],
            Fault::GarbageBefore(len) => bytes = [vec![0xf8; len], good].concat(),
            Fault::PromisesMore => bytes = [&transaction.to_be_bytes()[..], &[0, 0, 0, 250, unit]].concat(),
            Fault::Truncated(len) => bytes = good[..len].to_vec(),
            Fault::ResetAfter(len) => (bytes, last) = (good[..len].to_vec(), true),
            Fault::ByteByByte(gap_ms) => {
                for byte in &good {
                    let _ = stream.write_all(&[*byte]).await;
                    ms(gap_ms).await;
                }
            }
            Fault::Exception(code) => bytes = framed(transaction, unit, &[function | 0x80, code]),
            Fault::ForeignException => bytes = framed(transaction, unit, &[0x90, 2]),
        }
        if stream.write_all(&[late, bytes].concat()).await.is_err() || last {
            return;
        }
    }
}

fn session() -> (Session, Arc<Mutex<Plan>>) {
    let plan = Arc::new(Mutex::new(Plan::default()));
    let mut session = Session::new(&Transport::ModbusTcp { endpoint: "in memory".into(), timeout: TIMEOUT }, Box::new(|| 0));
    let served = Arc::clone(&plan);
    if let Way::Tcp(tcp) = &mut session.way {
        tcp.to = To::Memory(Box::new(move || {
            let (near, far) = tokio::io::duplex(4096);
            tokio::spawn(serve(far, Arc::clone(&served)));
            near
        }));
    }
    (session, plan)
}

async fn ask(session: &mut Session, unit: u8, address: u16) -> Result<Answer, Failure> {
    let question = question::read(&Request { table: Table::Holding, address, count: 3, points: vec![] });
    session.ask(unit, &question, Duration::ZERO).await.result
}

/// Every length at which a reply can break off, on a connection that lives on or ends there.
#[tokio::test(start_paused = true)]
async fn a_reply_that_breaks_off_after_any_byte_gives_no_value_and_leaves_none_behind() {
    for len in 0..REPLY {
        for fault in [Fault::ResetAfter(len), Fault::Truncated(len)] {
            let (mut session, plan) = session();
            *plan.lock().unwrap() = Plan { salt: 1000, fault: Some(fault) };
            // On a new connection a request is not asked twice.
            assert!(ask(&mut session, UNITS[0], 20).await.is_err(), "{fault:?}");
            plan.lock().unwrap().salt = 2000;
            assert_eq!(ask(&mut session, UNITS[0], 30).await, Ok(right(30, 2000)), "{fault:?}");
        }
    }
}

fn any_fault() -> impl Strategy<Value = Fault> {
    let off = || prop::sample::select(vec![-6i8, -4, -2, -1, 1, 2, 4]);
    prop_oneof![
        6 => Just(Fault::None),
        1 => Just(Fault::Silent),
        1 => (0u64..2500).prop_map(Fault::LateBy),
        1 => Just(Fault::WithTheNext),
        1 => Just(Fault::Duplicate),
        1 => (0u64..3000).prop_map(Fault::DuplicateAfter),
        1 => Just(Fault::OldTransaction),
        1 => (1u16..).prop_map(Fault::WrongTransaction),
        1 => Just(Fault::WrongProtocol),
        1 => Just(Fault::ForeignUnit),
        1 => Just(Fault::ForeignUnitThenOwn),
        1 => Just(Fault::WrongFunction),
        1 => Just(Fault::Fewer),
        1 => Just(Fault::More),
        1 => off().prop_map(Fault::ByteCount),
        1 => off().prop_map(Fault::Length),
        1 => (1usize..400).prop_map(Fault::Garbage),
        1 => (1usize..40).prop_map(Fault::GarbageBefore),
        1 => Just(Fault::PromisesMore),
        1 => (0usize..REPLY).prop_map(Fault::Truncated),
        2 => (0usize..REPLY).prop_map(Fault::ResetAfter),
        1 => (1u64..200).prop_map(Fault::ByteByByte),
        1 => Just(Fault::Exception(2)),
        1 => Just(Fault::ForeignException),
    ]
}

/// Asks 1000 times in each round; every request may meet a fault. Values change with each request, so that an old one is seen.
/// `PATTOO_TEST_ROUNDS=100` makes it 100 000 transactions.
#[test]
fn no_value_is_wrong_in_many_thousand_transactions() {
    let (rounds, mut runner) = tally::runner();
    let faults = prop::collection::vec((any_fault(), prop::sample::select(UNITS.to_vec())), TRANSACTIONS);
    let tally = std::cell::RefCell::new(Tally::default());
    runner
        .run(&faults, |faults| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
            runtime.block_on(async {
                let (mut session, plan) = session();
                for unit in UNITS.repeat(KNOWN) {
                    prop_assert_eq!(ask(&mut session, unit, 10).await, Ok(right(10, 0)));
                }
                for (salt, (fault, unit)) in faults.iter().copied().enumerate() {
                    let before = &faults[salt.saturating_sub(4)..=salt];
                    let salt = salt as u16 + 1;
                    *plan.lock().unwrap() = Plan { salt, fault: Some(fault) };
                    let answer = ask(&mut session, unit, 40).await;
                    let is_value = matches!(answer, Ok(Answer::Words(_)));
                    prop_assert!(!is_value || answer == Ok(right(40, salt)), "{:?} of the last of {:?}", answer, before);
                    tally.borrow_mut().add(&fault, is_value);
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
