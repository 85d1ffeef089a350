//! BACnet/IP: reads and writes the devices of one link over one UDP socket. Shell. Knows nothing of when to read, nor where readings go.
//!
//! Each device has a driver of its own, and all of a link share a [`port`]: whoever waits receives for all of them. A device that fails
//! gives bad readings and nothing worse; one that is silent costs only itself.
//!
//! | room | kind | holds |
//! |---|---|---|
//! | `guard`, `tags`, `text`, `services`, `names`, `units` | pure | bytes <-> what they mean |
//! | `tsm` | pure | which answer belongs to which question; segments |
//! | `plan`, `cov`, `known`, `sample` | pure | properties -> requests; subscriptions; what is known of a device; values -> samples |
//! | `fetch`, `objects`, `changes`, `write` | shell | a poll; names of objects; what a device tells by itself; writes |
//! | `port` | shell | the socket, and who waits at it |

pub(crate) mod browse;
mod changes;
mod cov;
mod fetch;
pub mod guard;
mod known;
pub(crate) mod names;
mod objects;
mod plan;
pub(crate) mod port;
mod sample;
pub(crate) mod services;
pub(crate) mod tags;
pub(crate) mod text;
mod tsm;
pub(crate) mod units;
mod write;

use std::collections::HashMap;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use pattoo_wire::{Outcome, Reason, Sample};
use tokio::sync::Notify;

use self::fetch::Talk;
use self::guard::Station;
use self::known::Known;
use self::port::Port;
use super::{Clock, Driver, Heard};
use crate::command::{Write, Written};
use crate::config::{Bacnet as Settings, BacnetPeer, Config, Device};
use crate::health::Waiting;
use crate::reading::{DeviceIndex, PointIndex, Reading, Row, Transaction};

/// Where a device is: its own address, or that of the router before it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    pub(crate) station: Option<Station>,
}

/// Devices of one link.
pub struct Bacnet {
    port: Arc<Port>,
    clock: Clock,
    devices: HashMap<DeviceIndex, Known>,
    /// Called when one of the devices has notified.
    woken: Arc<Notify>,
}

impl Bacnet {
    /// A driver for the devices of a link, which share nothing with others. Does no I/O.
    #[must_use]
    pub fn on(settings: &Settings, clock: Clock) -> Self {
        Self::new(settings, Arc::new(Port::new(settings)), clock)
    }

    /// A driver for these devices at this port. Does no I/O; the first read opens the socket.
    #[must_use]
    pub(crate) fn new(settings: &Settings, port: Arc<Port>, clock: Clock) -> Self {
        let woken = Arc::new(Notify::new());
        settings.peers.values().for_each(|peer| port.seat(peer.device, &woken));
        let known = |(index, peer): (&DeviceIndex, &BacnetPeer)| (*index, Known::new(peer.clone()));
        Self { port, clock, devices: settings.peers.iter().map(known).collect(), woken }
    }

    /// One thing that comes by itself, or that is to be done without being asked.
    async fn hear_one(&mut self, config: &Config) -> Heard {
        let next = self.devices.values().filter_map(Known::next).min().map(tokio::time::Instant::from_std);
        let instances: Vec<_> = self.devices.values().map(|known| (known.config.device, known.times)).collect();
        let heard = self.port.notified(&self.woken, next, &instances).await;
        let Some((instance, note)) = heard else { return self.keep(config).await };
        let Some((index, known)) = self.devices.iter_mut().find(|(_, known)| known.config.device == instance) else {
            return Heard::default();
        };
        let Some((device, (at, notification))) = config.devices.get(index.0).zip(note) else {
            // It has named itself: what it knew of this side may be gone.
            known.times = self.port.times(instance);
            known.restarted();
            let cov = |point: &PointIndex| known.subscriptions.has(*point);
            let points: Vec<_> =
                config.devices.get(index.0).map_or(0..0, |device| 0..device.profile.points.len()).map(PointIndex).filter(cov).collect();
            return Heard { hasten: if points.is_empty() { Vec::new() } else { vec![(*index, points)] }, ..Heard::default() };
        };
        let at_ms = (self.clock)() - i64::try_from(at.elapsed().as_millis()).unwrap_or_default();
        let Some((transaction, more)) = changes::reading(known, *index, device, at_ms, &notification) else { return Heard::default() };
        Heard { transactions: vec![transaction], hasten: more.into_iter().map(|point| (*index, vec![point])).collect() }
    }

    /// Has what is to be renewed polled, which renews it, and gives back what was held for long enough.
    async fn keep(&mut self, config: &Config) -> Heard {
        let mut heard = Heard::default();
        let now = std::time::Instant::now();
        for (index, known) in self.devices.iter_mut().filter(|(_, known)| known.next().is_some_and(|next| next <= now)) {
            let Some(device) = config.devices.get(index.0) else { continue };
            known.not_before = Some(now + KEEP_AGAIN_AFTER);
            let (held, due) = (known.held_too_long(now), known.subscriptions.due(now));
            let mut points: Vec<_> = due.into_iter().map(|(point, _)| point).collect();
            points.iter().for_each(|point| known.subscriptions.check(*point));
            if !held.is_empty()
                && let Ok(mut talk) = Talk::begin(&self.port, &self.clock, known, device).await
            {
                points.extend(talk.give_back(device, held).await);
            }
            if !points.is_empty() {
                heard.hasten.push((*index, points));
            }
        }
        heard
    }
}

/// What could not be done without being asked is tried again after so long.
const KEEP_AGAIN_AFTER: Duration = Duration::from_secs(10);

impl Driver for Bacnet {
    fn read<'a>(
        &'a mut self,
        index: DeviceIndex,
        device: &'a Device,
        points: &'a [PointIndex],
    ) -> Pin<Box<dyn Future<Output = Vec<Transaction>> + Send + 'a>> {
        Box::pin(async move {
            match self.devices.get_mut(&index) {
                Some(known) => fetch::poll(&self.port, &self.clock, known, index, device, points).await,
                None => vec![bad((self.clock)(), index, points, Reason::Unavailable)],
            }
        })
    }

    fn hear<'a>(&'a mut self, config: &'a Config) -> Pin<Box<dyn Future<Output = Heard> + Send + 'a>> {
        Box::pin(async move {
            loop {
                let heard = self.hear_one(config).await;
                if heard != Heard::default() {
                    return heard;
                }
            }
        })
    }

    fn write<'a>(
        &'a mut self,
        index: DeviceIndex,
        device: &'a Device,
        write: &'a Write,
    ) -> Pin<Box<dyn Future<Output = Written> + Send + 'a>> {
        Box::pin(async move {
            let Some(known) = self.devices.get_mut(&index) else {
                return Written::not(Outcome::UnknownDevice, "BUG: a write to a device that is not there");
            };
            match Talk::begin(&self.port, &self.clock, known, device).await {
                Ok(mut talk) => talk.write(index, device, write).await,
                Err(reason) => Written {
                    transactions: vec![bad((self.clock)(), index, &[write.point], reason)],
                    ..Written::not(Outcome::Unreadable, format!("what the point had before could not be read: {reason}"))
                },
            }
        })
    }

    /// Of each device by itself; a link of the daemon has one.
    fn waiting(&self, _device: &Device) -> Waiting {
        let mut misses = crate::health::Misses::new();
        for known in self.devices.values() {
            for (what, count) in self.port.misses(known.peer.as_ref()).iter().chain(&known.misses) {
                *misses.entry(what).or_default() += count;
            }
        }
        Waiting { misses, ..Waiting::default() }
    }
}

fn bad(at_ms: i64, index: DeviceIndex, points: &[PointIndex], reason: Reason) -> Transaction {
    let readings = points.iter().map(|point| reading(*point, None, Sample::Bad(reason))).collect();
    Transaction { device: index, at_ms, readings }
}

fn reading(point: PointIndex, row: Option<Arc<Row>>, sample: Sample) -> Reading {
    Reading { point, row, sample }
}
