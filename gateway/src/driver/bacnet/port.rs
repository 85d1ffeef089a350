//! One UDP socket that all devices of a link share. Shell: sockets, clock, locks. Starts no task: whoever waits for something receives
//! for everybody meanwhile, one at a time, and wakes whom it is for.

mod directory;
mod find;
mod open;
mod sockets;

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bacnet_rs::service::{ConfirmedServiceChoice, UnconfirmedServiceChoice};
use pattoo_wire::Reason;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, sleep_until};
use tracing::warn;

use self::directory::{Directory, News};
use self::open::Open;
use self::sockets::Sockets;
use super::Peer;
use super::guard::{self, Frame, Message};
use super::names::reject;
use super::services::IAm;
use super::tsm::{Answer, Overdue, Transactions};
use crate::config::Bacnet as Settings;
use crate::health::Misses;

/// Questions on the way to one address at the same time: behind a router's there may be a slow line.
const MAX_IN_FLIGHT: usize = 4;
/// Devices whose instance is another's that are told of.
const MAX_TOLD: usize = 64;
/// After the socket failed, until it is opened again.
const REOPEN_AFTER: Duration = Duration::from_secs(1);

/// The socket of one link, and who waits at it.
pub(crate) struct Port {
    settings: Settings,
    sockets: Mutex<Option<Arc<Sockets>>>,
    opened: Notify,
    /// Who holds it receives for everybody, into it.
    lead: tokio::sync::Mutex<Vec<u8>>,
    desk: Mutex<Desk>,
    in_flight: Mutex<HashMap<SocketAddr, Arc<Semaphore>>>,
    /// Where random things begin.
    seed: u64,
}

#[derive(Default)]
struct Desk {
    transactions: Transactions,
    /// Who waits for the answer of a device.
    waiting: HashMap<(Peer, u8), Arc<Notify>>,
    directory: Directory,
    misses: Misses,
    /// It was said that the socket cannot be opened, or that two devices have the same instance.
    told_closed: bool,
    told_twice: BTreeSet<(u32, Peer)>,
}

impl Desk {
    fn name(&mut self, peer: &Peer, i_am: &IAm) {
        let News::Duplicate(first) = self.directory.hear(peer, i_am, Instant::now()) else { return };
        self.miss("duplicate instance");
        if self.told_twice.len() < MAX_TOLD && self.told_twice.insert((i_am.device, peer.clone())) {
            warn!(instance = i_am.device, first = %first.address, second = %peer.address, "two devices have the same instance: the second is ignored");
        }
    }

    fn miss(&mut self, what: &'static str) {
        *self.misses.entry(what).or_default() += 1;
    }
}

/// What came of a question.
pub(crate) struct Asked {
    /// When the question went out, and when its answer had come.
    pub(crate) span: (Instant, Instant),
    pub(crate) result: Result<Answer, Reason>,
}

impl Port {
    /// Does no I/O: whoever asks first opens the socket.
    pub(crate) fn new(settings: &Settings) -> Self {
        let settings = Settings { peers: std::collections::BTreeMap::new(), ..settings.clone() };
        Self {
            settings,
            sockets: Mutex::default(),
            opened: Notify::new(),
            lead: tokio::sync::Mutex::new(vec![0; guard::MAX_DATAGRAM + 1]),
            desk: Mutex::default(),
            in_flight: Mutex::default(),
            seed: getrandom::u64().unwrap_or_default(),
        }
    }

    pub(crate) fn misses(&self) -> Misses {
        self.desk().misses.clone()
    }

    /// Asks a device, as often as the settings say, and waits for its answer.
    pub(crate) async fn ask(&self, peer: &Peer, service: ConfirmedServiceChoice, body: Vec<u8>) -> Asked {
        let start = Instant::now();
        let over = |result| Asked { span: (start, Instant::now()), result };
        if self.open().await.is_err() {
            return over(Err(Reason::LinkDown));
        }
        let _turn = self.turn(peer).await;
        let Some(mut open) = Open::begin(self, peer, service, body) else { return over(Err(Reason::Timeout)) };
        let start = Instant::now();
        loop {
            let answer = open.wait(self.settings.timeout).await;
            let over = |result| Asked { span: (start, Instant::now()), result };
            if let Some(answer) = answer {
                return over(Ok(answer));
            }
            let overdue = self.desk().transactions.overdue(peer, open.invoke);
            match overdue {
                Overdue::Send(again) => {
                    self.desk().miss("no reply yet");
                    self.send(peer, true, &again);
                }
                Overdue::Over(last) => {
                    last.iter().for_each(|last| self.send(peer, false, last));
                    return over(Err(Reason::Timeout));
                }
            }
        }
    }

    /// A device does not answer where it was.
    pub(crate) fn lose(&self, instance: u32) {
        self.desk().directory.lose(instance);
    }

    /// A place among the questions on the way to an address.
    async fn turn(&self, peer: &Peer) -> Option<OwnedSemaphorePermit> {
        let places = {
            let mut all = self.in_flight.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(all.entry(peer.address).or_insert_with(|| Arc::new(Semaphore::new(MAX_IN_FLIGHT))))
        };
        places.acquire_owned().await.ok()
    }

    fn send(&self, peer: &Peer, expects_answer: bool, apdu: &[u8]) {
        let datagram = guard::to_one(peer.station.as_ref(), expects_answer, apdu);
        if let Some(sockets) = self.sockets() {
            sockets.send(&datagram, peer.address);
        }
    }

    fn send_to_all(&self, service: UnconfirmedServiceChoice, body: Vec<u8>) {
        let apdu = guard::unconfirmed(service, body);
        let (is_foreign, to) = match self.settings.foreign {
            Some(foreign) => (true, foreign.bbmd),
            None => (false, self.settings.broadcast),
        };
        if let Some(sockets) = self.sockets() {
            sockets.send(&guard::to_all(is_foreign, &apdu), to);
        }
    }

    fn sockets(&self) -> Option<Arc<Sockets>> {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Opens the socket where it is not.
    async fn open(&self) -> std::io::Result<()> {
        if self.sockets().is_some() {
            return Ok(());
        }
        // Binding takes no time; another one that is just doing it is waited for by the lock.
        let mut sockets = self.sockets.lock().unwrap_or_else(PoisonError::into_inner);
        if sockets.is_none() {
            let opened = Sockets::open(self.settings.local, self.settings.broadcast).inspect_err(|error| {
                let told = std::mem::replace(&mut self.desk().told_closed, true);
                if !told {
                    warn!(local = %self.settings.local, %error, "the socket cannot be opened");
                }
            })?;
            *sockets = Some(Arc::new(opened));
            self.desk().told_closed = false;
            self.opened.notify_waiters();
        }
        Ok(())
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `look` gives something, and no longer than `until`. Receives for everybody meanwhile, unless another one does. It may
    /// be dropped at any moment: what was received was dealt with in the same breath.
    async fn wait<T>(&self, woken: &Notify, until: Instant, mut look: impl FnMut(&mut Desk) -> Option<T>) -> Option<T> {
        loop {
            let mut notified = pin!(woken.notified());
            // From here on no call is missed, also one that comes while it looks.
            notified.as_mut().enable();
            if let Some(found) = look(&mut self.desk()) {
                return Some(found);
            }
            tokio::select! {
                biased;
                () = notified => {}
                () = self.receive() => {}
                () = sleep_until(until) => return look(&mut self.desk()),
            }
        }
    }

    /// Receives one datagram, once it is the turn of who asks.
    async fn receive(&self) {
        let Some(sockets) = self.sockets() else {
            let opened = self.opened.notified();
            if self.sockets().is_none() {
                opened.await;
            }
            return;
        };
        let mut datagram = self.lead.lock().await;
        match sockets.receive(&mut datagram).await {
            Ok((length, from)) => self.take(datagram.get(..length).unwrap_or_default(), from),
            Err(error) => {
                warn!(local = %self.settings.local, %error, "the socket failed and is opened anew");
                *self.sockets.lock().unwrap_or_else(PoisonError::into_inner) = None;
                sleep(REOPEN_AFTER).await;
            }
        }
    }

    /// Deals with a datagram at once.
    fn take(&self, datagram: &[u8], from: SocketAddr) {
        let frame = guard::read(datagram);
        let mut desk = self.desk();
        let Ok(frame) = frame else { return desk.miss("malformed datagram") };
        let Frame::Message { forwarded, from: station, message } = frame else { return };
        let address = forwarded.map_or(from, |(ip, port)| SocketAddr::from((ip, port)));
        let peer = Peer { address, station };
        match message {
            Message::IAm(i_am) => desk.name(&peer, &i_am),
            Message::WhoIs(_) | Message::Unasked | Message::SegmentAck { .. } | Message::Notification(_) => {}
            Message::Request { invoke, .. } => {
                drop(desk);
                self.send(&peer, false, &guard::reject(invoke, reject::UNRECOGNIZED_SERVICE));
            }
            answer => {
                let heard = desk.transactions.hear(&peer, answer);
                heard.miss.iter().for_each(|miss| desk.miss(miss));
                let waiting = heard.moved.and_then(|invoke| desk.waiting.get(&(peer.clone(), invoke)));
                waiting.iter().for_each(|waiting| waiting.notify_one());
                drop(desk);
                heard.send.iter().for_each(|send| self.send(&peer, false, send));
            }
        }
    }
}
