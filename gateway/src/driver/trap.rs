//! Listens for the traps and informs of SNMP agents, v1, v2c and v3, and gives the readings that they make of the devices they come from.
//! Shell. Asks nobody anything, and reads no device: what a notification hastens is read by the device's own link.
//!
//! A notification belongs to each device that its source is told to be: by the id of its engine or its address under `traps: sources:`,
//! else by the host of its agent. An inform is acknowledged once its readings were taken, so that what is lost on the way there comes again;
//! what comes again counts once.

mod ber;
mod engine;
mod message;
mod notice;
mod readings;
mod receiver;
mod recent;
mod sources;
#[cfg(test)]
mod tests;
mod usm;

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::{Instant, sleep_until};

use self::receiver::Receiver;
use self::sources::Sources;
use super::{Clock, Driver, Heard};
use crate::config::{Config, Device, Traps};
use crate::reading::{DeviceIndex, PointIndex, Transaction};

/// Largest datagram.
const MAX_DATAGRAM: usize = 65_535;
/// Acknowledgements that wait to be sent; what is behind them is not sent, and its inform comes again.
const MAX_ANSWERS: usize = 64;
/// How long until a port that could not be opened is tried again.
const OPEN_AGAIN: Duration = Duration::from_secs(10);
/// How often it is said what did not count, at most.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// The listener as a driver: it only hears.
pub struct TrapListener {
    traps: Traps,
    clock: Clock,
    socket: Option<UdpSocket>,
    receiver: Option<Receiver>,
    sources: Sources,
    answers: VecDeque<(SocketAddr, Vec<u8>)>,
    datagram: Vec<u8>,
    misses: Misses,
    /// When a port that could not be opened is tried again.
    open_again: Option<Instant>,
}

/// A listener without a socket, which says whether a datagram from there at that moment is a notification. For those who send damaged
/// ones.
pub fn by_hand(traps: &Traps) -> impl FnMut(IpAddr, &[u8], Instant) -> bool + use<> {
    let mut receiver = engine::receiver(traps);
    move |source, datagram, now| receiver.take(source, datagram, now.into_std()).notice.is_some()
}

impl TrapListener {
    /// One for these traps; `clock` gives the time of what comes. Does no I/O.
    #[must_use]
    pub fn new(traps: &Traps, clock: Clock) -> Self {
        let (sources, misses) = (Sources::new(traps), Misses::default());
        Self {
            traps: traps.clone(),
            clock,
            socket: None,
            receiver: None,
            sources,
            answers: VecDeque::new(),
            datagram: vec![0; MAX_DATAGRAM],
            misses,
            open_again: None,
        }
    }

    /// Where it listens, once it does.
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.socket.as_ref()?.local_addr().ok()
    }

    async fn next(&mut self, config: &Config) -> Heard {
        loop {
            if self.socket.is_none() {
                self.open().await;
                continue;
            }
            self.answer().await;
            self.sources.look_up(config).await;
            let Some(socket) = &self.socket else { continue };
            let waited = tokio::select! {
                came = socket.recv_from(&mut self.datagram) => Some(came),
                () = sleep_until(self.misses.due()) => None,
            };
            match waited {
                None => self.misses.tell(),
                Some(Ok((length, from))) => {
                    if let Some(heard) = self.take(config, length, from) {
                        return heard;
                    }
                }
                // What an answer met on its way, such as a closed port.
                Some(Err(error)) => tracing::debug!(%error, "a datagram could not be received"),
            }
        }
    }

    /// Opens the port, or waits until it may be tried again.
    async fn open(&mut self) {
        if let Some(again) = self.open_again {
            sleep_until(again).await;
        }
        match UdpSocket::bind(self.traps.listen).await {
            Ok(socket) => {
                if self.receiver.is_none() {
                    self.receiver = Some(engine::receiver(&self.traps));
                }
                let address = socket.local_addr().map_or_else(|_| self.traps.listen.to_string(), |address| address.to_string());
                tracing::info!(address, "listening for traps");
                self.socket = Some(socket);
            }
            Err(error) => {
                let hint = hint(&error);
                tracing::error!(address = %self.traps.listen, %error, "cannot listen for traps{hint}; trying again in {OPEN_AGAIN:?}");
                self.open_again = Some(Instant::now() + OPEN_AGAIN);
            }
        }
    }

    /// Sends what waits to be sent.
    async fn answer(&mut self) {
        while let (Some((to, answer)), Some(socket)) = (self.answers.front(), &self.socket) {
            if let Err(error) = socket.send_to(answer, to).await {
                tracing::debug!(%error, %to, "an answer could not be sent");
            }
            self.answers.pop_front();
        }
    }

    fn take(&mut self, config: &Config, length: usize, from: SocketAddr) -> Option<Heard> {
        let bytes = self.datagram.get(..length)?;
        let taken = self.receiver.as_mut()?.take(from.ip(), bytes, std::time::Instant::now());
        if let Some(answer) = taken.answer.filter(|_| self.answers.len() < MAX_ANSWERS) {
            self.answers.push_back((from, answer));
        }
        taken.miss.iter().for_each(|miss| self.misses.count(miss, from));
        let (notice, engine) = taken.notice?;
        let devices = self.sources.devices(from.ip(), engine.as_deref(), notice.agent);
        if devices.is_empty() {
            self.misses.count("unknown source", from);
            return None;
        }
        let at_ms = (self.clock)();
        let mut heard = Heard::default();
        for index in devices {
            let Some(device) = config.devices.get(index.0) else { continue };
            let (readings, hastened) = readings::readings(&device.profile, &notice);
            tracing::debug!(device = device.name, trap = %notice.trap, inform = notice.inform, "notification");
            if !readings.is_empty() {
                heard.transactions.push(Transaction { device: index, at_ms, readings });
            }
            if !hastened.is_empty() {
                heard.hasten.push((index, hastened));
            }
        }
        (heard != Heard::default()).then_some(heard)
    }
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => " (ports below 1024 need the capability CAP_NET_BIND_SERVICE)",
        io::ErrorKind::AddrInUse => " (another program has this port, mostly snmptrapd)",
        _ => "",
    }
}

impl Driver for TrapListener {
    fn read<'a>(
        &'a mut self,
        _index: DeviceIndex,
        _device: &'a Device,
        _points: &'a [PointIndex],
    ) -> Pin<Box<dyn Future<Output = Vec<Transaction>> + Send + 'a>> {
        Box::pin(std::future::ready(Vec::new()))
    }

    fn hear<'a>(&'a mut self, config: &'a Config) -> Pin<Box<dyn Future<Output = Heard> + Send + 'a>> {
        Box::pin(self.next(config))
    }
}

/// What did not count, told now and then: anybody can send datagrams.
#[derive(Debug, Default)]
struct Misses {
    counts: BTreeMap<&'static str, u64>,
    last: Option<SocketAddr>,
    told: Option<Instant>,
}

impl Misses {
    fn count(&mut self, miss: &'static str, from: SocketAddr) {
        *self.counts.entry(miss).or_default() += 1;
        self.last = Some(from);
    }

    /// When there is something to be told.
    fn due(&self) -> Instant {
        let now = Instant::now();
        if self.counts.is_empty() { now + TELL_EVERY } else { self.told.map_or(now, |told| told + TELL_EVERY) }
    }

    fn tell(&mut self) {
        if self.counts.is_empty() {
            return;
        }
        let counts: Vec<_> = self.counts.iter().map(|(miss, count)| format!("{miss}: {count}")).collect();
        let last = self.last.map(|last| last.to_string()).unwrap_or_default();
        tracing::warn!(last, "datagrams that are no notification of a device: {}", counts.join(", "));
        self.counts.clear();
        self.told = Some(Instant::now());
    }
}
