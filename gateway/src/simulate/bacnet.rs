//! Serves profiles as BACnet/IP devices, for demos, commissioning and tests. Shell; what the devices answer is `device`, which of them is
//! asked is `site`.
//!
//! | room | holds |
//! |---|---|
//! | `frame` | the envelope of a message |
//! | `site` | devices at one socket |
//! | `device`, `object`, `cov` | what a device answers, holds and tells of changes |
//! | `made` | a profile -> a device |

mod cov;
pub(crate) mod device;
mod frame;
mod made;
pub(crate) mod object;
pub(crate) mod site;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::net::UdpSocket;
use tokio::time::{Instant, MissedTickBehavior, interval};

use self::made::Measured;
use self::site::{Datagrams, MAX_DEVICES, Site};
use crate::profile::Profile;

/// How often devices measure, and tell what changed.
const MEASURE_EVERY: Duration = Duration::from_secs(1);
/// Longest datagram that is heard; a message has at most 1497 bytes.
const MAX_DATAGRAM: usize = 2048;

/// Why these profiles cannot be served.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NotServed {
    /// It has no BACnet objects.
    #[error("the profile {0:?} reads no BACnet objects")]
    NoObjects(String),
    /// There are too many.
    #[error("{0} devices are too many for one socket, expected at most {MAX_DEVICES}")]
    TooMany(usize),
}

/// Devices that were made, and what they measure.
pub struct Plant {
    site: Site,
    measured: Vec<Measured>,
}

impl Plant {
    /// Devices of these instances and profiles; the first is at the socket, the others are on a network behind it.
    ///
    /// # Errors
    /// A profile is of another protocol, or there are too many devices.
    pub fn of(devices: &[(u32, Arc<Profile>)]) -> Result<Self, NotServed> {
        if devices.len() > MAX_DEVICES {
            return Err(NotServed::TooMany(devices.len()));
        }
        let made = devices
            .iter()
            .map(|(instance, profile)| made::device(profile, *instance).ok_or_else(|| NotServed::NoObjects(profile.id.clone())));
        let (devices, measured) = made.collect::<Result<Vec<_>, _>>()?.into_iter().unzip();
        Ok(Self { site: Site::new(devices), measured })
    }

    /// What all devices measure at this time after the start; gives what is told of it.
    fn measure(&mut self, now_ms: u64) -> Datagrams {
        let mut datagrams = Vec::new();
        for (at, measured) in self.measured.iter().enumerate() {
            if let Some(device) = self.site.device_mut(at) {
                datagrams.extend(Site::said(at, &device.measure(measured.values(now_ms), now_ms)));
            }
        }
        datagrams
    }
}

/// Serves devices at this socket until `shutdown` is done. Questions to everybody come in at `broadcast` where the socket is bound to one
/// address: the system gives it none of them then.
///
/// # Errors
/// A socket fails for good.
pub async fn serve(
    socket: UdpSocket,
    broadcast: Option<UdpSocket>,
    mut plant: Plant,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let start = Instant::now();
    let now_ms = || u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
    let mut tick = interval(MEASURE_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    tokio::pin!(shutdown);
    let (mut own, mut all) = ([0; MAX_DATAGRAM], [0; MAX_DATAGRAM]);
    loop {
        let datagrams = tokio::select! {
            () = &mut shutdown => return Ok(()),
            _ = tick.tick() => plant.measure(now_ms()),
            heard = socket.recv_from(&mut own) => heard_by(&mut plant, heard, &own, now_ms())?,
            heard = receive(broadcast.as_ref(), &mut all) => heard_by(&mut plant, heard, &all, now_ms())?,
        };
        for (to, datagram) in datagrams {
            if let Err(error) = socket.send_to(&datagram, to).await {
                tracing::debug!(%to, %error, "an answer of a simulated device could not be sent");
            }
        }
    }
}

async fn receive(socket: Option<&UdpSocket>, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
    match socket {
        Some(socket) => socket.recv_from(buffer).await,
        None => std::future::pending().await,
    }
}

fn heard_by(plant: &mut Plant, heard: io::Result<(usize, SocketAddr)>, buffer: &[u8], now_ms: u64) -> io::Result<Datagrams> {
    match heard {
        Ok((length, from)) => Ok(plant.site.hear(buffer.get(..length).unwrap_or_default(), from, now_ms)),
        // Somebody who was sent an answer no longer listens.
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}
