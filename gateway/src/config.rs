//! The gateway's configuration: files -> structs that can only be valid.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use pattoo_wire::Labels;

use crate::profile::Profile;
use crate::reading::DeviceIndex;

/// Everything the daemon needs to know. Only valid ones exist.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Name of this gateway, part of its topics.
    pub gateway: String,
    /// Where readings go.
    pub uplink: Uplink,
    /// Where they wait.
    pub buffer: Buffer,
    /// How readings are joined into batches.
    pub batch: Batching,
    /// Links, each owned by one task.
    pub links: Vec<Link>,
    /// Devices, each name once.
    pub devices: Vec<Device>,
}

/// The way to the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uplink {
    /// `mqtt://host:1883` or `mqtts://host:8883`.
    pub url: String,
    /// File with one line `user:password`; none for an anonymous broker on loopback.
    pub credentials: Option<PathBuf>,
    /// PEM file of the authority that signed the broker's certificate; the system's own where absent.
    pub ca: Option<PathBuf>,
    /// Most batches that wait for an acknowledgement, 1 to 1000.
    pub max_unacknowledged: usize,
    /// Silence after which unacknowledged batches are sent again.
    pub ack_timeout: Duration,
}

/// The store-and-forward buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Buffer {
    /// Folder.
    pub path: PathBuf,
    /// Most bytes of waiting batches.
    pub max_bytes: u64,
    /// Oldest batch that is kept.
    pub max_age: Duration,
}

/// When a batch is closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batching {
    /// Longest time that a reading waits in memory for others.
    pub every: Duration,
}

/// A connection that one task owns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Unique name; `host` for this machine itself.
    pub name: String,
    /// What it is.
    pub transport: Transport,
    /// Its devices.
    pub devices: Vec<DeviceIndex>,
}

/// What a link runs over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transport {
    /// Modbus TCP at `host:port`.
    ModbusTcp {
        /// `host:port`.
        endpoint: String,
        /// Longest wait for a connection or a reply.
        timeout: Duration,
    },
    /// This Linux host; no connection at all.
    Host,
}

/// One device.
#[derive(Debug, Clone, PartialEq)]
pub struct Device {
    /// Unique name.
    pub name: String,
    /// How to read it.
    pub profile: Arc<Profile>,
    /// Modbus unit id, 0 to 255; 0 where the protocol has none.
    pub unit: u8,
    /// How often its points are read, unless they say otherwise.
    pub every: Duration,
    /// Labels for its series.
    pub labels: Labels,
}

/// Profiles by id, as found in the profile folders.
pub type Profiles = BTreeMap<String, Arc<Profile>>;
