//! BACnet/IP: reads and writes the devices of one link over one UDP socket. Shell. Knows nothing of when to read, nor where readings go.
//!
//! Each device has a driver of its own, and all of a link share a [`port`]: whoever waits receives for all of them. A device that fails
//! gives bad readings and nothing worse; one that is silent costs only itself.
//!
//! | room | kind | holds |
//! |---|---|---|
//! | `guard`, `tags`, `text`, `services`, `names`, `units` | pure | bytes <-> what they mean |
//! | `tsm` | pure | which answer belongs to which question; segments |
//! | `plan`, `known` | pure | properties -> requests; what is known of a device |
//! | `port` | shell | the socket, and who waits at it |

#![expect(dead_code, reason = "changes, writes and names come next")]

mod fetch;
pub(crate) mod guard;
mod known;
pub(crate) mod names;
mod plan;
pub(crate) mod port;
mod sample;
pub(crate) mod services;
pub(crate) mod tags;
pub(crate) mod text;
mod tsm;
mod units;

use std::collections::HashMap;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use pattoo_wire::{Reason, Sample};

use self::guard::Station;
use self::known::Known;
use self::port::Port;
use super::{Clock, Driver};
use crate::config::{Bacnet as Settings, BacnetPeer, Device};
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
}

impl Bacnet {
    /// A driver for these devices at this port. Does no I/O; the first read opens the socket.
    #[must_use]
    pub(crate) fn new(settings: &Settings, port: Arc<Port>, clock: Clock) -> Self {
        let known = |(index, peer): (&DeviceIndex, &BacnetPeer)| (*index, Known::new(peer.clone()));
        Self { port, clock, devices: settings.peers.iter().map(known).collect() }
    }
}

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

    fn waiting(&self, device: &Device) -> Waiting {
        let _ = device;
        let mut misses = self.port.misses();
        for (what, count) in self.devices.values().flat_map(|known| &known.misses) {
            *misses.entry(what).or_default() += count;
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
