//! BACnet in a configuration: a link that is a UDP socket, and the `bacnet:` of a device on it. Opens nothing.
//!
//! | key of the link | default | bounds |
//! |---|---|---|
//! | `bacnet` | none | address and port of this machine, such as `10.0.0.5:47808`; port 0 for any |
//! | `broadcast` | [`BROADCAST`] | where what is for all devices goes |
//! | `foreign` | none | `{ bbmd: address:port, ttl: 300s }`: this side registers with a BBMD of another network; 30 s to 18 h |
//! | `timeout`, `retries` | [`TIMEOUT`], [`RETRIES`] | 50 ms to 60 s; 0 to 10 |
//!
//! | key of the device | default | bounds |
//! |---|---|---|
//! | `device` | whichever is at `address` | its instance, 0 to 4194302; each once on a link |
//! | `address` | asked for with Who-Is | `address:port` of the device, or of the router before it; one of the two must be there |
//! | `network`, `mac` | none | of a device behind a router: 1 to 65534, and hexadecimal |
//! | `priority` | [`PRIORITY`] | of writes: 1, the strongest, to 16; below 8 only with `any_priority: true`, and never 6 |
//! | `hold` | none | 1 s to 7 d: so long after a write, the point is given back to the device |
//! | `cov_lifetime`, `cov_confirmed` | [`COV_LIFETIME`], `false` | 30 s to 24 h; whether notifications are acknowledged |

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::Transport;
use crate::reading::DeviceIndex;
use crate::yaml::{Field, Fields, Problems};

/// Default of a link's `broadcast`.
pub const BROADCAST: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::BROADCAST), 47_808);
/// Default of a link's `timeout`: what most clients of BACnet wait.
pub const TIMEOUT: Duration = Duration::from_secs(3);
/// Default of a link's `retries`.
pub const RETRIES: u32 = 2;
/// Default of a device's `priority`: stronger than a schedule, weaker than an operator.
pub const PRIORITY: u8 = 10;
/// The strongest priority that is taken for granted: 8 is that of an operator by hand.
pub const STRONGEST_PRIORITY: u8 = 8;
/// Default of a device's `cov_lifetime`.
pub const COV_LIFETIME: Duration = Duration::from_secs(300);

/// Priority of the device's own minimum on and off times: a write at it would defeat them.
const MINIMUM_ON_OFF: u8 = 6;
const MAX_RETRIES: i128 = 10;
const TTL: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(18 * 3_600));
const HOLD: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(7 * 24 * 3_600));
const LIFETIME: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(24 * 3_600));
const MAX_INSTANCE: i128 = 0x3F_FFFE;
/// The instance that stands for any, where a device is asked about itself (clause 15.5.2).
const ANY_INSTANCE: u32 = 0x3F_FFFF;
/// What stands in the place of an instance that the configuration does not say: from here on, each number once on a link.
const UNSAID: u32 = 1 << 31;
const MAX_NETWORK: i128 = 0xFFFE;
/// Longest address on a network, in bytes.
const MAX_MAC_BYTES: usize = 7;

/// Keys of a link that only BACnet has.
pub(super) const LINK_KEYS: &[&str] = &["broadcast", "foreign", "retries"];
const DEVICE_KEYS: &[&str] = &["device", "address", "network", "mac", "priority", "any_priority", "hold", "cov_lifetime", "cov_confirmed"];

/// A UDP socket of this machine, and who is behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bacnet {
    /// Address and port of this side.
    pub local: SocketAddr,
    /// Where what is for all devices goes.
    pub broadcast: SocketAddr,
    /// The BBMD that this side registers with.
    pub foreign: Option<Foreign>,
    /// Longest wait for an answer, and for each of its segments.
    pub timeout: Duration,
    /// How often a question is asked again.
    pub retries: u32,
    /// How its devices are reached.
    pub peers: BTreeMap<DeviceIndex, BacnetPeer>,
}

/// The BBMD of another network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Foreign {
    /// Where it is.
    pub bbmd: SocketAddr,
    /// For how long a registration is good.
    pub ttl: Duration,
}

/// How a device is reached, and how it is written to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BacnetPeer {
    /// Its instance, or a number for one that nobody has said, see [`BacnetPeer::instance`]; each once on a link.
    pub device: u32,
    /// Where it is, or the router before it; asked for where absent.
    pub address: Option<SocketAddr>,
    /// Network and address of a device behind a router.
    pub station: Option<(u16, Vec<u8>)>,
    /// Priority of writes, 1 to 16.
    pub priority: u8,
    /// So long after a write the point is given back to the device; never where absent.
    pub hold: Option<Duration>,
    /// For how long changes are asked for.
    pub cov_lifetime: Duration,
    /// Whether this side acknowledges each notification.
    pub cov_confirmed: bool,
}

impl Bacnet {
    /// A socket with the defaults, and nobody behind it.
    #[must_use]
    pub fn at(local: SocketAddr) -> Self {
        Self { local, broadcast: BROADCAST, foreign: None, timeout: TIMEOUT, retries: RETRIES, peers: BTreeMap::new() }
    }
}

impl Bacnet {
    /// The same with these of its devices alone.
    pub(super) fn part(&self, devices: &[DeviceIndex]) -> Self {
        let peers = devices.iter().filter_map(|index| Some((*index, self.peers.get(index)?.clone()))).collect();
        Self { peers, ..*self }
    }
}

impl BacnetPeer {
    /// The device of this instance, with the defaults.
    #[must_use]
    pub fn of(device: u32) -> Self {
        let (address, station, hold) = (None, None, None);
        Self { device, address, station, priority: PRIORITY, hold, cov_lifetime: COV_LIFETIME, cov_confirmed: false }
    }
}

impl BacnetPeer {
    /// Whether the configuration says its instance.
    #[must_use]
    pub fn is_said(&self) -> bool {
        self.device < UNSAID
    }

    /// The instance to ask it about itself with: any, where its address is all that is known.
    #[must_use]
    pub fn instance(&self) -> u32 {
        if self.is_said() { self.device } else { ANY_INSTANCE }
    }

    /// Gets a number of its own on its link, where it has no instance.
    pub(super) fn numbered(self, index: DeviceIndex) -> Self {
        let number = || UNSAID.saturating_add(u32::try_from(index.0).unwrap_or(u32::MAX)).saturating_add(1);
        Self { device: if self.is_said() { self.device } else { number() }, ..self }
    }
}

const LOCAL: &str = "an address and port of this machine, such as 10.0.0.5:47808, or 0.0.0.0:47808 for all of its addresses";

/// Reads the mapping of a link.
pub(super) fn link(fields: &Fields<'_>, timeout: Option<Duration>, problems: &mut Problems<'_>) -> Option<Transport> {
    let mut link = Bacnet::at(address(&fields.optional("bacnet")?, LOCAL, problems)?);
    link.timeout = timeout?;
    if let Some(field) = fields.optional("broadcast") {
        link.broadcast = address(&field, "an address and port, such as 10.0.0.255:47808", problems)?;
    }
    if let Some(field) = fields.optional("foreign") {
        link.foreign = Some(foreign(&field, problems)?);
    }
    if let Some(field) = fields.optional("retries") {
        link.retries = u32::try_from(field.integer(0, MAX_RETRIES, "a number of retries", problems)?).ok()?;
    }
    Some(Transport::Bacnet(link))
}

fn foreign(field: &Field<'_>, problems: &mut Problems<'_>) -> Option<Foreign> {
    let fields = Fields::read(field.node, field.what.trim_end_matches(": "), &["bbmd", "ttl"], problems)?;
    let expected = "address and port of the BBMD, such as 10.1.0.1:47808";
    let bbmd = fields.required("bbmd", expected, problems).and_then(|field| remote(&field, expected, problems));
    let ttl = fields.required("ttl", "for how long a registration is good, such as 300s", problems);
    let ttl = ttl.and_then(|field| field.duration(TTL.0, TTL.1, problems));
    Some(Foreign { bbmd: bbmd?, ttl: ttl? })
}

/// BACnet/IP is one of IPv4; names would have to be looked up by whoever sends.
fn address(field: &Field<'_>, expected: &str, problems: &mut Problems<'_>) -> Option<SocketAddr> {
    let found = field.text(expected, problems)?.parse().ok().filter(SocketAddr::is_ipv4);
    if found.is_none() {
        field.wrong(expected, problems);
    }
    found
}

fn remote(field: &Field<'_>, expected: &str, problems: &mut Problems<'_>) -> Option<SocketAddr> {
    let found = address(field, expected, problems)?;
    if found.port() == 0 || found.ip().is_unspecified() {
        field.wrong(expected, problems);
        return None;
    }
    Some(found)
}

/// Reads the `bacnet` of a device.
pub(super) fn device(fields: &Fields<'_>, problems: &mut Problems<'_>) -> Option<BacnetPeer> {
    let field = fields.required("bacnet", "how the device is reached, such as { device: 3001 }", problems)?;
    let fields = Fields::read(field.node, field.what.trim_end_matches(": "), DEVICE_KEYS, problems)?;
    let instance = match (fields.optional("device"), fields.optional("address")) {
        (None, Some(_)) => UNSAID,
        _ => {
            let instance = fields.required("device", "the instance of the device, or its `address`", problems)?;
            u32::try_from(instance.integer(0, MAX_INSTANCE, "the instance of the device", problems)?).ok()?
        }
    };
    let mut peer = BacnetPeer::of(instance);
    if let Some(field) = fields.optional("address") {
        peer.address = Some(remote(&field, "address and port of the device, such as 10.0.0.7:47808", problems)?);
    }
    peer.station = station(&fields, peer.address, problems)?;
    peer.priority = priority(&fields, problems)?;
    if let Some(field) = fields.optional("hold") {
        peer.hold = Some(field.duration(HOLD.0, HOLD.1, problems)?);
    }
    if let Some(field) = fields.optional("cov_lifetime") {
        peer.cov_lifetime = field.duration(LIFETIME.0, LIFETIME.1, problems)?;
    }
    if let Some(field) = fields.optional("cov_confirmed") {
        peer.cov_confirmed = field.choice(&[("true", true), ("false", false)], problems)?;
    }
    Some(peer)
}

#[expect(clippy::option_option, reason = "none: it is wrong; some none: there is none")]
fn station(fields: &Fields<'_>, address: Option<SocketAddr>, problems: &mut Problems<'_>) -> Option<Option<(u16, Vec<u8>)>> {
    let (network, mac) = match (fields.optional("network"), fields.optional("mac")) {
        (None, None) => return Some(None),
        (Some(network), Some(mac)) => (network, mac),
        (Some(alone), None) | (None, Some(alone)) => {
            alone.problem("network and mac go together: who is behind a router has both", problems);
            return None;
        }
    };
    if address.is_none() {
        network.problem("expected the `address` of the router too, or neither of them: Who-Is finds devices behind routers", problems);
        return None;
    }
    let number = network.integer(1, MAX_NETWORK, "the number of a network", problems)?;
    let expected = format!("1 to {MAX_MAC_BYTES} bytes in hexadecimal, such as \"1A\" or \"0A000007BAC0\"");
    let text = mac.text(&expected, problems)?;
    let bytes = (0..text.len()).step_by(2).map(|at| text.get(at..at + 2).and_then(|byte| u8::from_str_radix(byte, 16).ok()));
    let bytes: Option<Vec<u8>> = bytes.collect();
    match bytes.filter(|bytes| (1..=MAX_MAC_BYTES).contains(&bytes.len())) {
        Some(bytes) => Some(Some((u16::try_from(number).ok()?, bytes))),
        None => {
            mac.wrong(&expected, problems);
            None
        }
    }
}

fn priority(fields: &Fields<'_>, problems: &mut Problems<'_>) -> Option<u8> {
    let any = match fields.optional("any_priority") {
        Some(field) => field.choice(&[("true", true), ("false", false)], problems)?,
        None => false,
    };
    let Some(field) = fields.optional("priority") else { return Some(PRIORITY) };
    let priority = u8::try_from(field.integer(1, 16, "a priority, 1 for the strongest,", problems)?).ok()?;
    if priority < STRONGEST_PRIORITY && !any {
        let expected = format!("{STRONGEST_PRIORITY} to 16: stronger ones are for safety, `any_priority: true` allows them");
        field.wrong(&expected, problems);
        return None;
    }
    if priority == MINIMUM_ON_OFF {
        field.wrong("another one: 6 belongs to the minimum on and off times of the device", problems);
        return None;
    }
    Some(priority)
}

#[cfg(test)]
mod tests;
