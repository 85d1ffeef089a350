//! A Modbus TCP device for tests that misbehaves on order. Written on bare bytes, so that it shares no codec with the driver.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// What goes wrong with one reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// The reply comes only when the next request on that connection does, before its own reply.
    Late,
    Duplicate,
    WrongTransaction,
    WrongUnit,
    WrongFunction,
    WrongProtocol,
    Garbage,
    /// Bytes that announce a far longer frame.
    GarbageThatPromisesMore,
    NoLength,
    ByteCountTooHigh,
    ByteCountTooLow,
    ByteCountOdd,
    Fewer,
    More,
    Truncated,
    TruncatedAndClosed,
    Close,
    Silent,
    Exception(u8),
    /// An exception to another function.
    ForeignException,
}

/// One request as it came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) unit: u8,
    pub(super) address: u16,
    pub(super) count: u16,
}

#[derive(Default)]
pub(super) struct State {
    /// Changes every value, so that an old reply is seen.
    pub(super) salt: u16,
    /// Replies to requests that start here fail like this, so many times.
    pub(super) fault: Option<(u16, Fault, usize)>,
    /// Replies to all others fail like this.
    pub(super) every: Option<Fault>,
    /// More registers at once are refused with exception 03.
    pub(super) most: Option<u16>,
    /// A unit that the device, a gateway, gets no answer from.
    pub(super) dead_unit: Option<u8>,
    /// Requests that touch one of these are refused with exception 02.
    pub(super) illegal: Vec<u16>,
    pub(super) asked: Vec<Asked>,
    pub(super) connections: usize,
}

pub(super) struct Device {
    pub(super) address: SocketAddr,
    state: Arc<Mutex<State>>,
    pub(super) heard: Arc<Notify>,
}

/// What the device holds.
pub(super) fn word(address: u16, salt: u16) -> u16 {
    address.wrapping_mul(7).wrapping_add(salt)
}

impl Device {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (state, heard) = (Arc::new(Mutex::new(State::default())), Arc::new(Notify::new()));
        let device = Self { address, state: Arc::clone(&state), heard: Arc::clone(&heard) };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                state.lock().unwrap().connections += 1;
                tokio::spawn(serve(stream, Arc::clone(&state), Arc::clone(&heard)));
            }
        });
        device
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

async fn serve(mut stream: TcpStream, state: Arc<Mutex<State>>, heard: Arc<Notify>) {
    let mut late: Vec<u8> = Vec::new();
    let mut request = [0u8; 12];
    while stream.read_exact(&mut request).await.is_ok() {
        let (reply, close) = answer(&request, &mut state.lock().unwrap(), &mut late);
        heard.notify_one();
        if stream.write_all(&reply).await.is_err() || close {
            return;
        }
    }
}

fn answer(request: &[u8; 12], state: &mut State, late: &mut Vec<u8>) -> (Vec<u8>, bool) {
    let [_, _, _, _, _, _, unit, function, a, b, c, d] = *request;
    let (address, count) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    state.asked.push(Asked { unit, address, count });
    let fault = match &mut state.fault {
        Some((start, fault, times)) if *start == address && *times > 0 => {
            *times -= 1;
            Some(*fault)
        }
        _ => state.every,
    };
    if state.dead_unit == Some(unit) {
        return (frame(request, &[function | 0x80, 0x0B]), false);
    }
    if state.most.is_some_and(|most| count > most) {
        return (frame(request, &[function | 0x80, 3]), false);
    }
    if state.illegal.iter().any(|i| (address..address + count).contains(i)) {
        return (frame(request, &[function | 0x80, 2]), false);
    }
    let words = |count: u16| (address..address + count).flat_map(|i| word(i, state.salt).to_be_bytes());
    let pdu = |byte_count: u16, count: u16| [function, byte_count as u8].into_iter().chain(words(count)).collect::<Vec<u8>>();
    let good = frame(request, &pdu(count * 2, count));
    let changed = |place: usize, mask: u8| {
        let mut bytes = good.clone();
        bytes[place] ^= mask;
        bytes
    };
    let (reply, close) = match fault {
        None => (good, false),
        Some(Fault::Late) => {
            late.extend(good);
            return (Vec::new(), false);
        }
        Some(Fault::Silent) => (Vec::new(), false),
        Some(Fault::Close) => (Vec::new(), true),
        Some(Fault::Duplicate) => ([good.clone(), good].concat(), false),
        Some(Fault::WrongTransaction) => (changed(1, 0x55), false),
        Some(Fault::WrongProtocol) => (changed(3, 0x01), false),
        Some(Fault::WrongUnit) => (changed(6, 0x01), false),
        Some(Fault::WrongFunction) => (changed(7, 0x07), false),
        Some(Fault::Garbage) => (vec![0x13, 0x37, 0xDE, 0xAD, 0x00, 0x03, 0xEF, 0x01, 0x02, 0x03], false),
        Some(Fault::GarbageThatPromisesMore) => (vec![0xFF; 30], false),
        Some(Fault::NoLength) => (frame(request, &[])[..5].iter().copied().chain([0, unit]).collect(), false),
        Some(Fault::ByteCountTooHigh) => (frame(request, &pdu(count * 2 + 2, count)), false),
        Some(Fault::ByteCountTooLow) => (frame(request, &pdu(count * 2 - 2, count)), false),
        Some(Fault::ByteCountOdd) => (frame(request, &pdu(count * 2 - 1, count)), false),
        Some(Fault::Fewer) => (frame(request, &pdu(count * 2 - 2, count - 1)), false),
        Some(Fault::More) => (frame(request, &pdu(count * 2 + 2, count + 1)), false),
        Some(Fault::Truncated) => (good[..good.len() - 3].to_vec(), false),
        Some(Fault::TruncatedAndClosed) => (good[..good.len() - 3].to_vec(), true),
        Some(Fault::Exception(code)) => (frame(request, &[function | 0x80, code]), false),
        Some(Fault::ForeignException) => (frame(request, &[0x90, 2]), false),
    };
    ([std::mem::take(late), reply].concat(), close)
}

fn frame(request: &[u8; 12], pdu: &[u8]) -> Vec<u8> {
    let length = u16::try_from(pdu.len() + 1).unwrap().to_be_bytes();
    [&request[..4], &length[..], &request[6..7], pdu].concat()
}
