//! The gateway's configuration: files -> structs that can only be valid. Starts nothing and reads no credentials.
//!
//! | key | default | bounds |
//! |---|---|---|
//! | `gateway` | none | a name |
//! | `uplink.url` | none | `mqtt://` or `mqtts://`; without credentials or certificate only to this machine itself |
//! | `uplink.credentials` | none | a file with one line `user:password` |
//! | `uplink.certificate`, `.key` | none | PEM files that show the broker who this is; only with `mqtts://` |
//! | `uplink.ca` | the system's own | PEM file of the authorities that may have signed the broker's certificate |
//! | `uplink.brokers` | none | instead of these five: a list of 1 to 8 of them, the preferred one first |
//! | `uplink.prefer_after` | [`PREFER_AFTER`] | 10 s to 24 h on another broker, then the preferred ones are looked for |
//! | `uplink.acknowledge` | `server` | `server` |
//! | `uplink.max_unacknowledged` | [`MAX_UNACKNOWLEDGED`] | 1 to 1000 batches |
//! | `uplink.ack_timeout` | [`ACK_TIMEOUT`] | 1 s to 1 h |
//! | `uplink.order` | `live-first` | `live-first`, `newest-first` (also what had to wait), `oldest-first` |
//! | `uplink.backfill_share` | [`BACKFILL_PERCENT`] % | 1% to 90%: turns and places of what had to wait, while something new waits |
//! | `uplink.rate_limit` | none | 100B to 1GB in a second |
//! | `uplink.compress` | `auto` | `auto`: batches where it pays; `never` |
//! | `buffer.path` | [`BUFFER_PATH`] | |
//! | `buffer.max_bytes` | [`BUFFER_MAX_BYTES`] | 1 MiB to 1 TiB |
//! | `buffer.max_age` | [`BUFFER_MAX_AGE`] | 1 min to 10 years |
//! | `buffer.thin_to` | [`BUFFER_THIN_TO`] | 0 s to 1 h: when room runs out, one reading of a gauge stays in each such time; 0s: none is thinned out |
//! | `buffer.commit_window` | by what is read, see [`own_window`] | 0 s to 10 min: batches that are complete within it are stored with one wait for the disk |
//! | `batch.every` | [`BATCH_EVERY`] | 100 ms to 1 h |
//! | `clock.trust` | [`CLOCK_TRUST`] | `auto`: while NTP keeps it, else the server's time decides; `system`: as it is |
//! | `clock.ntp_file` | [`CLOCK_NTP_FILE`] | a file that is there once NTP has set the system's clock |
//! | `commands.enabled` | `false` | `true`: the gateway takes commands and writes what is `writable` |
//! | `commands.max_expiry` | [`COMMANDS_MAX_EXPIRY`] | 1 s to 24 h: a command that is good for longer is refused |
//! | `commands.read_modify_write` | false | bits of a register may be written by writing all of it |
//! | `commands.audit` | `audit.jsonl` beside `buffer.path` | the audit record: a line of JSON for each write, bounded by rotation |
//! | `links.<name>.tcp` | none | `host:port` of Modbus TCP |
//! | `links.<name>.tls` | none | `host:port` of Modbus/TCP Security, mostly port 802 |
//! | `links.<name>.ca`, `.certificate`, `.key` | none | with `tls`: PEM files of the authority of the device's certificate, and of one's own |
//! | `links.<name>.server_name` | the host of `tls` | the name in the device's certificate |
//! | `links.<name>.connections` | 1 | 1 to [`MAX_CONNECTIONS`] at the same time, among which the devices are dealt out; with `tcp` or `tls` |
//! | `links.<name>.rtu_over_tcp` | none | `host:port` of a serial server |
//! | `links.<name>.serial` | none | a device file, best one under `/dev/serial/by-id` |
//! | `links.<name>.baud`, `.parity` | none | 300 to 1 000 000; `none`, `even`, `odd`; of a serial line |
//! | `links.<name>.stop_bits` | 1 | 1 or 2 |
//! | `links.<name>.rs485`, `.echo` | false | the kernel switches the transmitter; the adapter hears itself |
//! | `links.<name>.log` | `off` | `values`, `frames`, `bytes`: what goes over it, in the log, for [`CONFIGURED_FOR`] after the start |
//! | `links.<name>.timeout` | [`LINK_TIMEOUT`], on serial lines [`SERIAL_TIMEOUT`] | 50 ms to 60 s |
//! | `links.<name>.bacnet`, `devices[].bacnet` | none | see [`bacnet`] |
//! | `links.<name>.socket` | none | a path: a Unix socket where programs tell readings, see [`crate::lines`] |
//! | `links.<name>.mode` | `"0660"` | with `socket`: who may write to it, as `chmod` has it |
//! | `links.<name>.mqtt` | none | `mqtt://` or `mqtts://`: a broker that has readings |
//! | `links.<name>.topic` | none | with `mqtt`: where they are, such as `sensors/#` |
//! | `links.<name>.device_from` | none | with `mqtt`: the level of the topic that is the name of the device, 1 for the first |
//! | `links.<name>.credentials`, `.ca`, `.certificate`, `.key` | none | with `mqtt`: as for `uplink` |
//! | `links.<name>.precision` | `ns` | with `socket` or `mqtt`: unit of the times in line protocol, `ns`, `us`, `ms` or `s` |
//! | `devices[].exec.run` | none | a program that prints readings and its arguments, as a list; no shell reads it |
//! | `devices[].exec.mode` | `interval` | `interval`: it runs once `every` so often; `keep`: it is kept running |
//! | `devices[].exec.timeout` | the device's `every`, at most 10 min | with `interval`: 100 ms to 10 min, then it is killed |
//! | `devices[].exec.env` | none | variables beside `PATH`, `HOME`, `LANG`, `TZ` and those of [`crate::driver::exec`] |
//! | `devices[].exec.directory` | `/` | where it runs |
//! | `devices[].exec.precision` | `ns` | as above |
//! | `devices[].stale_after` | none; 60 s with `keep` | 1 s to 7 days without a reading, then a series of an input or program is bad |
//! | `devices[].unit` | [`DEVICE_UNIT`] | 0 to 255 |
//! | `devices[].snmp` | none | the agent, where the profile reads one: `host`, `version`, `community`, `user`, `auth`, `priv`, `key_extension`, `context`, `secrets` |
//! | `devices[].snmp.timeout` | [`snmp::SNMP_TIMEOUT`] | 50 ms to 60 s |
//! | `devices[].snmp.retries` | [`snmp::SNMP_RETRIES`] | 0 to 10 |
//! | `devices[].snmp.deadline` | [`snmp::SNMP_DEADLINE`] | 100 ms to 10 min, for all that is read at one time |
//! | `devices[].every` | [`DEVICE_EVERY`] | [`MIN_INTERVAL`] to [`MAX_INTERVAL`] |
//! | `devices[].writable` | none | points that may be written: `all`, a list, or a mapping of points to the next three |
//! | `devices[].writable.<point>.min`, `.max` | those of the profile | narrower limits |
//! | `devices[].writable.<point>.safe` | none | `value` and `after`: written once the server is out of reach for 10 s to 24 h |
//! | `traps.listen` | 0.0.0.0:162 | address and port where traps and informs are heard |
//! | `traps.communities` | none | those of v1 and v2c that are listened to; also in `traps.secrets` |
//! | `traps.users` | none | those of v3: `user`, `auth`, `priv`, `key_extension`, `secrets`, as under `devices[].snmp` |
//! | `traps.secrets` | none | a file `{ communities: [...] }` |
//! | `traps.engine_id` | from the name of the gateway | 5 to 32 bytes in hexadecimal: the engine that informs of v3 are sent to |
//! | `traps.sources` | none | devices by address or engine id, where those are not that of their agent |
//!
//! `PATTOO_GATEWAY`, `PATTOO_UPLINK_URL` (one broker) and `PATTOO_BUFFER_PATH` go before the file. A device whose profile reads host metrics
//! has no link; it belongs to the built-in link `host`. An SNMP agent is a link of its own, `snmp-<device>`.
#![warn(missing_docs)]

pub mod bacnet;
mod clock;
mod commands;
mod devices;
mod exec;
mod inputs;
mod links;
mod load;
mod read;
pub mod snmp;
#[cfg(test)]
mod tests;
mod traps;
mod uplink;
mod window;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use pattoo_wire::{Labels, Value};

use crate::link::serial::SerialLine;
#[cfg(doc)]
use crate::link_log::CONFIGURED_FOR;
use crate::link_log::Level;
use crate::profile::{Profile, WriteLimits};
use crate::reading::{DeviceIndex, PointIndex};
use crate::timebase::Trust;

pub use bacnet::{Bacnet, BacnetPeer, Foreign};
pub use exec::{Mode, Program};
pub use inputs::{Input, Way};
pub(crate) use load::check_text;
pub use load::{Loaded, load};
pub use read::Environment;
pub use traps::Traps;
pub use window::own_window;

/// Largest configuration file, in bytes.
pub const MAX_CONFIG_BYTES: usize = 1 << 20;
/// Most devices of one gateway.
pub const MAX_DEVICES: usize = 1_000;
/// Most links of one gateway.
pub const MAX_LINKS: usize = 1_024;
/// Most connections of one link. Many Modbus TCP devices take no more than four at once.
pub const MAX_CONNECTIONS: usize = 8;
/// Shortest interval of a device or point.
pub const MIN_INTERVAL: Duration = Duration::from_millis(100);
/// Longest interval of a device or point: 24 hours.
pub const MAX_INTERVAL: Duration = Duration::from_secs(24 * 3_600);
/// Default of `uplink.max_unacknowledged`, in batches.
pub const MAX_UNACKNOWLEDGED: usize = 32;
/// Default of `uplink.ack_timeout`.
pub const ACK_TIMEOUT: Duration = Duration::from_secs(30);
/// Default of `uplink.backfill_share`, in percent.
pub const BACKFILL_PERCENT: u32 = 50;
/// Default of `uplink.prefer_after`.
pub const PREFER_AFTER: Duration = Duration::from_secs(600);
/// Default of `buffer.path`.
pub const BUFFER_PATH: &str = "/var/lib/pattoo/buffer";
/// Default of `buffer.max_bytes`.
pub const BUFFER_MAX_BYTES: u64 = 512 << 20;
/// Default of `buffer.max_age`: 30 days.
pub const BUFFER_MAX_AGE: Duration = Duration::from_secs(30 * 24 * 3_600);
/// Default of `buffer.thin_to`. A chart of a day has fewer points than there are minutes in it.
pub const BUFFER_THIN_TO: Duration = Duration::from_secs(60);
/// Default of `batch.every`.
pub const BATCH_EVERY: Duration = Duration::from_secs(10);
/// Default of `clock.trust`.
pub const CLOCK_TRUST: Trust = Trust::Auto;
/// Default of `clock.ntp_file`: what systemd-timesyncd makes. Where another program keeps the clock, let it make one, or leave it to
/// the server's time to confirm the clock.
pub const CLOCK_NTP_FILE: &str = "/run/systemd/timesync/synchronized";
/// Default of `commands.max_expiry`.
pub const COMMANDS_MAX_EXPIRY: Duration = Duration::from_secs(3_600);
/// Default of a link's `timeout`, for a connection and for a reply.
pub const LINK_TIMEOUT: Duration = Duration::from_secs(2);
/// Default of the `timeout` of a serial line or serial server. Generous: a reply that is later than twice this can be taken for
/// another one, because RTU frames do not say which request they answer.
pub const SERIAL_TIMEOUT: Duration = Duration::from_secs(1);
/// Default of a device's `unit`.
pub const DEVICE_UNIT: u8 = 1;
/// Default of a device's `every`.
pub const DEVICE_EVERY: Duration = Duration::from_secs(10);

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
    /// When the system's clock is believed.
    pub clock: Clock,
    /// What may be written to devices.
    pub commands: Commands,
    /// Links, each owned by one task.
    pub links: Vec<Link>,
    /// Devices, each name once.
    pub devices: Vec<Device>,
}

/// The way to the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uplink {
    /// Brokers in the order of preference; at least one.
    pub brokers: Vec<Broker>,
    /// How long it stays with another broker before it looks for the preferred ones.
    pub prefer_after: Duration,
    /// Most batches that wait for an acknowledgement, 1 to 1000.
    pub max_unacknowledged: usize,
    /// Silence after which unacknowledged batches are sent again.
    pub ack_timeout: Duration,
    /// What goes first.
    pub order: Order,
    /// Share of what had to wait while something new waits, 1 to 90 percent.
    pub backfill_percent: u32,
    /// Most bytes in a second; none for no limit.
    pub rate_limit: Option<u64>,
    /// Whether batches are compressed where that pays.
    pub compress: bool,
}

/// One broker, and how to show it who this is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broker {
    /// `mqtt://host:1883` or `mqtts://host:8883`.
    pub url: String,
    /// File with one line `user:password`.
    pub credentials: Option<PathBuf>,
    /// PEM file of the authority that signed the broker's certificate; the system's own where absent.
    pub ca: Option<PathBuf>,
    /// Certificate and key.
    pub identity: Option<Identity>,
}

/// What shows in TLS who this is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// PEM file of the certificate, with those between it and its authority, if there are any.
    pub certificate: PathBuf,
    /// PEM file of its key.
    pub key: PathBuf,
}

impl Uplink {
    /// The way to this URL, with the defaults.
    #[must_use]
    pub fn to(url: String) -> Self {
        Self {
            brokers: vec![Broker { url, credentials: None, ca: None, identity: None }],
            prefer_after: PREFER_AFTER,
            compress: true,
            max_unacknowledged: MAX_UNACKNOWLEDGED,
            ack_timeout: ACK_TIMEOUT,
            order: Order::default(),
            backfill_percent: BACKFILL_PERCENT,
            rate_limit: None,
        }
    }
}

/// Which batches go first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Order {
    /// What is new at once, and what had to wait in the order of the numbers, with its share.
    #[default]
    LiveFirst,
    /// All in the order of the numbers.
    OldestFirst,
    /// What is new at once, and what had to wait from the newest backwards, with its share.
    NewestFirst,
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
    /// When room runs out, one reading of a fast gauge stays in each such time; zero: none is thinned out.
    pub thin_to: Duration,
    /// How long a complete batch waits for others, to be stored with one wait for the disk. Until then it is only in memory.
    pub commit_window: Duration,
}

impl Default for Buffer {
    fn default() -> Self {
        let path = PathBuf::from(BUFFER_PATH);
        let (thin_to, commit_window) = (BUFFER_THIN_TO, Duration::ZERO);
        Self { path, max_bytes: BUFFER_MAX_BYTES, max_age: BUFFER_MAX_AGE, thin_to, commit_window }
    }
}

/// When a batch is closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batching {
    /// Longest time that a reading waits in memory for others.
    pub every: Duration,
}

/// When the system's clock is believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clock {
    /// Whether it needs NTP or the server to confirm it.
    pub trust: Trust,
    /// There once NTP has set the clock.
    pub ntp_file: PathBuf,
}

/// What may be written to devices.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Commands {
    /// Whether anything may be.
    pub enabled: bool,
    /// Longest time that a command may be good for.
    pub max_expiry: Duration,
    /// Whether bits of a register may be written by writing all of it, where the device has no function for bits.
    pub read_modify_write: bool,
    /// The file of the audit record.
    pub audit: PathBuf,
    /// Points that may be written. Each is writable by its profile.
    pub points: BTreeMap<(DeviceIndex, PointIndex), Allowed>,
}

/// What may be written to one point.
#[derive(Debug, Clone, PartialEq)]
pub struct Allowed {
    /// Which values: at most those of the profile.
    pub limits: WriteLimits,
    /// What it gets when the server is out of reach.
    pub safe: Option<Safe>,
}

/// A safe value. Within the limits of its point.
#[derive(Debug, Clone, PartialEq)]
pub struct Safe {
    /// The value, in the representation of its point.
    pub value: Value,
    /// How long the server must be out of reach.
    pub after: Duration,
}

/// A way to some devices. Each of its connections is owned by one task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Unique name; `host` for this machine itself.
    pub name: String,
    /// What it is.
    pub transport: Transport,
    /// Its devices.
    pub devices: Vec<DeviceIndex>,
    /// Connections to its endpoint at the same time, 1 to [`MAX_CONNECTIONS`]; 1 for anything but Modbus TCP.
    pub connections: usize,
    /// What is told of it in the log, for [`CONFIGURED_FOR`] after the start.
    pub log: Level,
}

impl Link {
    /// The link as each of its connections has it: its devices are dealt out in turn.
    #[must_use]
    pub fn parts(&self) -> Vec<Self> {
        let connections = match self.transport {
            // They share a socket, and wait for their answers side by side.
            Transport::Bacnet(_) => self.devices.len(),
            _ => self.connections,
        };
        let parts = connections.clamp(1, self.devices.len().max(1));
        let own = |part| self.devices.iter().skip(part).step_by(parts).copied().collect();
        (0..parts).map(|part| self.part(own(part))).collect()
    }

    fn part(&self, devices: Vec<DeviceIndex>) -> Self {
        let transport = match &self.transport {
            Transport::Bacnet(bacnet) => Transport::Bacnet(bacnet.part(&devices)),
            other => other.clone(),
        };
        Self { name: self.name.clone(), transport, devices, connections: 1, log: self.log }
    }
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
    /// Modbus/TCP Security: the same over TLS with a certificate on both sides.
    ModbusTls {
        /// `host:port`.
        endpoint: String,
        /// Longest wait for a connection or a reply.
        timeout: Duration,
        /// Who may be at the other end, and who this is.
        security: Security,
    },
    /// Modbus RTU frames through a serial server at `host:port`.
    RtuOverTcp {
        /// `host:port`.
        endpoint: String,
        /// Longest wait for a connection or a reply.
        timeout: Duration,
    },
    /// Modbus RTU on a serial line of this machine.
    ModbusRtu {
        /// The port and how it is set.
        line: SerialLine,
        /// Longest wait for a reply.
        timeout: Duration,
    },
    /// An SNMP agent; the link of one device.
    Snmp(Box<snmp::Agent>),
    /// Where notifications of SNMP agents come to; the link of none of them.
    SnmpTraps(Box<Traps>),
    /// This Linux host; no connection at all.
    Host,
    /// A network of BACnet/IP.
    Bacnet(Bacnet),
    /// A program that prints readings.
    Exec(Box<Program>),
    /// A socket or a broker where others tell readings.
    Input(Box<Input>),
}

impl Transport {
    /// Whether the readings of its devices come by themselves, so that there is nothing to poll.
    #[must_use]
    pub fn is_heard(&self) -> bool {
        match self {
            Self::Input(_) => true,
            Self::Exec(program) => program.mode == Mode::Keep,
            _ => false,
        }
    }
}

/// Who may be at the other end of a TLS connection to a device, and who this is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Security {
    /// PEM file of the authority that signed the device's certificate.
    pub ca: PathBuf,
    /// Certificate and key that the device is shown.
    pub identity: Identity,
    /// Name in the device's certificate, where that is not the host of the endpoint.
    pub server_name: Option<String>,
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

/// This text with this one profile, and what is wrong with it.
#[cfg(test)]
pub(crate) fn read_for_test(text: &str, profile: Profile) -> (Option<Config>, Vec<crate::yaml::Problem>) {
    let mut found = crate::profile::Found::default();
    found.profiles.insert(profile.id.clone(), Arc::new(profile));
    match read::read(std::path::Path::new("gateway.yaml"), text.as_bytes(), &found, &|_| None, &|path, _| {
        Err(crate::yaml::Problem::whole(path, "no files in this test"))
    }) {
        Ok((config, problems)) => (Some(config), problems),
        Err(problems) => (None, problems),
    }
}
