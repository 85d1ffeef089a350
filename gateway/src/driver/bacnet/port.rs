//! One UDP socket that all devices of a link share. Shell: sockets, clock, locks. Starts no task: whoever waits for something receives
//! for everybody meanwhile, one at a time, and wakes whom it is for.

mod directory;
mod find;
mod open;
mod registration;
mod seat;
mod sockets;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bacnet_rs::service::{ConfirmedServiceChoice, UnconfirmedServiceChoice};
use pattoo_wire::Reason;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{info, warn};

use self::directory::{Directory, News};
use self::open::Open;
use self::registration::{Act, Registration};
use self::seat::{Seat, Taken};
use self::sockets::Sockets;
use super::Peer;
use super::guard::{self, Frame, Message};
use super::names::{error, reject, service};
use super::services::{self, IAm, Notification, Refusal};
use super::tags::ObjectId;
use super::tsm::{Answer, Overdue, Transactions};
use crate::config::Bacnet as Settings;
use crate::health::Misses;

/// Questions on the way to one address at the same time: behind a router's there may be a slow line.
const MAX_IN_FLIGHT: usize = 4;
/// Devices whose instance is another's that are told of.
const MAX_TOLD: usize = 64;
/// Where nothing is to be done, it is looked all the same after so long.
const LONGEST_WAIT: Duration = Duration::from_secs(3_600);
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
    /// Where notifications of devices go, by instance.
    seats: HashMap<u32, Seat>,
    registration: Option<Registration>,
    /// What went wrong with one device, and with nobody that is known.
    misses: HashMap<Option<Peer>, Misses>,
    /// It was said that the socket cannot be opened, or that two devices have the same instance.
    told_closed: bool,
    told_twice: BTreeSet<(u32, Peer)>,
}

impl Desk {
    /// A BBMD has answered.
    fn registered(&mut self, code: u16, from: SocketAddr) {
        let Some(registration) = self.registration.as_mut().filter(|registration| registration.foreign.bbmd == from) else { return };
        let act = registration.hear(code, std::time::Instant::now());
        self.tell(from, act);
    }

    fn tell(&mut self, bbmd: SocketAddr, act: Act) {
        match act {
            Act::Nothing | Act::Ask => {}
            Act::Registered => info!(%bbmd, "registered as a foreign device"),
            Act::Silent => {
                self.miss(None, "registration without answer");
                warn!(%bbmd, "the BBMD does not answer: devices behind it are not found, and tell nobody");
            }
            Act::Refused(code) => {
                self.miss(None, "registration refused");
                warn!(%bbmd, code, "the BBMD refuses this side as a foreign device");
            }
        }
    }

    /// Whether what is for all devices goes to them, or never will.
    fn is_settled(&self) -> bool {
        self.registration.as_ref().is_none_or(Registration::is_settled)
    }

    fn name(&mut self, peer: &Peer, i_am: &IAm) {
        let first = match self.directory.hear(peer, i_am, Instant::now()) {
            News::Nothing => return,
            News::Found => {
                self.seats.get(&i_am.device).into_iter().for_each(|seat| seat.woken.notify_one());
                return;
            }
            News::Duplicate(first) => first,
        };
        self.miss(None, "duplicate instance");
        if self.told_twice.len() < MAX_TOLD && self.told_twice.insert((i_am.device, peer.clone())) {
            warn!(instance = i_am.device, first = %first.address, second = %peer.address, "two devices have the same instance: the second is ignored");
        }
    }

    /// Devices that nobody asks have no count of their own: anybody can send from anywhere.
    fn miss(&mut self, peer: Option<&Peer>, what: &'static str) {
        let peer = peer.filter(|peer| self.seats.values().any(|seat| seat.peer.as_ref() == Some(*peer)));
        *self.misses.entry(peer.cloned()).or_default().entry(what).or_default() += 1;
    }

    /// What is to be sent to a device that has notified.
    fn notified(&mut self, peer: &Peer, invoke: Option<u8>, notification: Notification) -> Option<Vec<u8>> {
        let seat = self.seats.get_mut(&notification.device);
        let taken = seat.map_or(Taken::Unknown, |seat| seat.take(peer, invoke, notification, std::time::Instant::now()));
        match taken {
            Taken::Kept => {}
            Taken::Full => self.miss(Some(peer), "notification lost"),
            Taken::Again => self.miss(Some(peer), "duplicate notification"),
            Taken::Unknown => self.miss(Some(peer), "notification of nothing"),
        }
        let invoke = invoke?;
        let unknown = Refusal { class: error::CLASS_SERVICES, code: error::UNKNOWN_SUBSCRIPTION };
        Some(match taken {
            Taken::Unknown => guard::refuse(invoke, service::COV_NOTIFICATION, unknown),
            _ => guard::simple_ack(invoke, service::COV_NOTIFICATION),
        })
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
        let settings = Settings { peers: BTreeMap::new(), ..settings.clone() };
        Self {
            sockets: Mutex::default(),
            opened: Notify::new(),
            lead: tokio::sync::Mutex::new(vec![0; guard::MAX_DATAGRAM + 1]),
            desk: Mutex::new(Desk {
                registration: settings.foreign.map(|foreign| Registration::new(foreign, settings.timeout)),
                ..Desk::default()
            }),
            in_flight: Mutex::default(),
            seed: getrandom::u64().unwrap_or_default(),
            settings,
        }
    }

    /// What went wrong with this device, and with the socket.
    pub(crate) fn misses(&self, peer: Option<&Peer>) -> Misses {
        let desk = self.desk();
        let mut all = desk.misses.get(&None).cloned().unwrap_or_default();
        for (what, count) in peer.and_then(|peer| desk.misses.get(&Some(peer.clone()))).into_iter().flatten() {
            *all.entry(what).or_default() += count;
        }
        all
    }

    /// Has notifications of this device wake whoever waits at this.
    pub(crate) fn seat(&self, instance: u32, woken: &Arc<Notify>) {
        self.desk().seats.entry(instance).or_insert_with(|| Seat::new(Arc::clone(woken)));
    }

    /// A device is about to be asked: says how often it has named itself. One whose instance is not said is asked for by nobody.
    pub(crate) fn meet(&self, instance: u32, is_said: bool, peer: &Peer) -> u64 {
        let mut desk = self.desk();
        if is_said {
            desk.directory.want(instance);
        }
        desk.directory.heard(instance, peer, Instant::now());
        if let Some(seat) = desk.seats.get_mut(&instance) {
            seat.peer = Some(peer.clone());
        }
        desk.directory.times(instance)
    }

    /// What this device may notify of, from now on.
    pub(crate) fn expect(&self, instance: u32, processes: BTreeMap<u32, ObjectId>) {
        if let Some(seat) = self.desk().seats.get_mut(&instance) {
            seat.processes = processes;
        }
    }

    /// Waits for a notification of one of these devices, or that one of them names itself, and no longer than `until`.
    pub(crate) async fn notified(
        &self,
        woken: &Notify,
        until: Option<Instant>,
        instances: &[(u32, u64)],
    ) -> Option<(u32, Option<(std::time::Instant, Notification)>)> {
        let until = until.unwrap_or_else(|| Instant::now() + LONGEST_WAIT);
        let look = |desk: &mut Desk| {
            let mut found = None;
            for (instance, times) in instances {
                let note = desk.seats.get_mut(instance).and_then(|seat| seat.waiting.pop_front());
                if note.is_some() || desk.directory.times(*instance) != *times {
                    found = Some((*instance, note));
                    break;
                }
            }
            found
        };
        self.wait(woken, until, look).await
    }

    /// Asks a device, as often as the settings say, and waits for its answer.
    pub(crate) async fn ask(&self, peer: &Peer, service: ConfirmedServiceChoice, body: Vec<u8>) -> Asked {
        self.ask_up_to(self.settings.retries, peer, service, body).await
    }

    /// The same, but never a second time.
    pub(crate) async fn ask_once(&self, peer: &Peer, service: ConfirmedServiceChoice, body: Vec<u8>) -> Asked {
        self.ask_up_to(0, peer, service, body).await
    }

    async fn ask_up_to(&self, retries: u32, peer: &Peer, service: ConfirmedServiceChoice, body: Vec<u8>) -> Asked {
        let start = Instant::now();
        let over = |result| Asked { span: (start, Instant::now()), result };
        if self.open().await.is_err() {
            return over(Err(Reason::LinkDown));
        }
        let _turn = self.turn(peer).await;
        let Some(mut open) = Open::begin(self, peer, retries, service, body) else { return over(Err(Reason::Timeout)) };
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
                    self.desk().miss(Some(peer), "asked again");
                    self.send(peer, true, &again);
                }
                Overdue::Over(last) => {
                    self.desk().miss(Some(peer), "timeout");
                    last.iter().for_each(|last| self.send(peer, false, last));
                    return over(Err(Reason::Timeout));
                }
            }
        }
    }

    /// How often a device has named itself.
    pub(crate) fn times(&self, instance: u32) -> u64 {
        self.desk().directory.times(instance)
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
                () = self.registration_due() => self.keep_registered(),
            }
        }
    }

    /// Waits until there is something to do about the registration; for ever where there is none.
    async fn registration_due(&self) {
        let next = self.desk().registration.as_ref().map(Registration::next);
        match (next, self.sockets()) {
            (Some(next), Some(_)) => sleep_until(next.map_or_else(Instant::now, Instant::from_std)).await,
            _ => std::future::pending().await,
        }
    }

    fn keep_registered(&self) {
        let mut desk = self.desk();
        let Some(registration) = &mut desk.registration else { return };
        let (foreign, act) = (registration.foreign, registration.act(std::time::Instant::now()));
        desk.tell(foreign.bbmd, act);
        drop(desk);
        if let (Act::Ask, Some(sockets)) = (act, self.sockets()) {
            sockets.send(&guard::register(u16::try_from(foreign.ttl.as_secs()).unwrap_or(u16::MAX)), foreign.bbmd);
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
        let Ok(frame) = frame else { return desk.miss(None, "malformed datagram") };
        let (forwarded, station, message) = match frame {
            Frame::Message { forwarded, from, message } => (forwarded, from, message),
            Frame::Result(code) => return desk.registered(code, from),
            Frame::Other => return,
        };
        let address = forwarded.map_or(from, |(ip, port)| SocketAddr::from((ip, port)));
        let peer = Peer { address, station };
        match message {
            Message::IAm(i_am) => desk.name(&peer, &i_am),
            Message::WhoIs(_) | Message::Unasked | Message::SegmentAck { .. } => {}
            Message::Notification(notification) => drop(desk.notified(&peer, None, notification)),
            Message::Request { invoke, service: service::COV_NOTIFICATION, body } => {
                // Before it is dealt with, so that the device does not tell it again meanwhile.
                let answer = match services::notification(&body) {
                    Ok(notification) => desk.notified(&peer, Some(invoke), notification),
                    Err(_) => Some(guard::reject(invoke, reject::INVALID_TAG)),
                };
                drop(desk);
                answer.iter().for_each(|answer| self.send(&peer, false, answer));
            }
            Message::Request { invoke, .. } => {
                drop(desk);
                self.send(&peer, false, &guard::reject(invoke, reject::UNRECOGNIZED_SERVICE));
            }
            answer => {
                let heard = desk.transactions.hear(&peer, answer);
                heard.miss.iter().for_each(|miss| desk.miss(Some(&peer), miss));
                let waiting = heard.moved.and_then(|invoke| desk.waiting.get(&(peer.clone(), invoke)));
                waiting.iter().for_each(|waiting| waiting.notify_one());
                drop(desk);
                heard.send.iter().for_each(|send| self.send(&peer, false, send));
            }
        }
    }
}
