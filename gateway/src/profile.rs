//! Device profiles: what a device model offers and how to read it. Does not talk to devices.
#![warn(missing_docs)]

mod bacnet;
mod decode;
mod encode;
mod fit;
mod folder;
mod lint;
mod modbus;
mod read;
#[cfg(test)]
mod schema;
mod signature;
pub mod snmp;
mod source;
mod sunspec;
#[cfg(test)]
mod tests;
mod text;
mod trap;
mod writable;

use std::collections::BTreeMap;
use std::time::Duration;

use pattoo_wire::{Kind, Repr};

use crate::driver::host::Metric;
use crate::lines::LineRead;

pub use bacnet::{BacnetLimits, BacnetRead, BacnetScale, BacnetType, Which};
pub use folder::load_profiles;
pub(crate) use folder::{Found, find_profiles, read_limited};
pub use modbus::{ByteOrder, Encoding, Half, Layout, ModbusRead, Table, WordOrder};
pub(crate) use read::name_of;
pub use read::{MAX_POINTS, MAX_PROFILE_BYTES};
pub(crate) use signature::contains;
pub use signature::{AgentSignature, BacnetSignature, Check, Signature, Want};
pub use snmp::SnmpRead;
pub(crate) use sunspec::Use;
pub use sunspec::{BASES, COMMON, Chain, END, Layout as SunSpecLayout, MARKER, Model, Place};
pub use trap::TrapRead;
pub use writable::{RELINQUISH, Writable, WriteFunction, WriteLimits};

/// A device model. Only valid ones exist.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    /// Unique id, also its file name: `eastron-sdm630`.
    pub id: String,
    /// Who makes it.
    pub manufacturer: String,
    /// What it is called.
    pub model: String,
    /// How a Modbus device of this model wants to be asked.
    pub modbus: ModbusLimits,
    /// What a BACnet device of this model cannot do.
    pub bacnet: BacnetLimits,
    /// How a scan recognises one.
    pub signature: Option<Signature>,
    /// Points, each name once.
    pub points: Vec<Point>,
}

/// One measured quantity of a profile.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// Unique within the profile.
    pub name: String,
    /// Unit, empty for none.
    pub unit: String,
    /// What its values mean.
    pub kind: Kind,
    /// Its readings are held on to longest, see [`pattoo_wire::CLASS_ALARM`].
    pub alarm: bool,
    /// How its values are represented.
    pub repr: Repr,
    /// How often it is read; the device's interval where absent.
    pub every: Option<Duration>,
    /// Texts of its states.
    pub states: BTreeMap<i64, String>,
    /// Values outside are bad: what the device cannot mean.
    pub range: Option<(f64, f64)>,
    /// Where it is read from.
    pub read: Read,
    /// What may be written to it; nothing where absent.
    pub writable: Option<Writable>,
}

/// Where a point is read from: one variant per protocol.
#[derive(Debug, Clone, PartialEq)]
pub enum Read {
    /// Registers or bits of a Modbus device.
    Modbus(ModbusRead),
    /// Registers of a `SunSpec` device by their models: the places where such devices may keep it, best first, all of one representation.
    SunSpec(Vec<Place>),
    /// A metric of this Linux host.
    Host(Metric),
    /// Objects of an SNMP agent.
    Snmp(Box<SnmpRead>),
    /// What a notification of an SNMP agent brings.
    Trap(Box<TrapRead>),
    /// A property of a BACnet object.
    Bacnet(BacnetRead),
    /// What a line of a program, a script or a broker tells.
    Line(LineRead),
}

impl Read {
    /// Whether such a point has a series per row of a table, and none of its own until one comes; or is one that not every device of the
    /// profile has.
    #[must_use]
    pub fn has_rows(&self) -> bool {
        match self {
            Self::Modbus(_) | Self::Bacnet(_) => false,
            // A row may have no identity: its series is there once it was told.
            Self::SunSpec(_) | Self::Line(_) => true,
            Self::Host(metric) => metric.has_rows(),
            Self::Snmp(read) => read.table.is_some(),
            Self::Trap(read) => !read.rows.is_empty(),
        }
    }

    /// Whether its readings come by themselves, so that there is nothing to poll.
    #[must_use]
    pub fn is_heard(&self) -> bool {
        match self {
            Self::Modbus(_) | Self::SunSpec(_) | Self::Host(_) | Self::Snmp(_) | Self::Bacnet(_) | Self::Line(_) => false,
            Self::Trap(_) => true,
        }
    }
}

/// Limits of a Modbus device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModbusLimits {
    /// Most registers in one request, 1 to 125.
    pub max_registers: u16,
    /// Most unused registers that a request may read over to join two points; 0 joins neighbours only.
    pub max_gap: u16,
    /// Silence that the device wants between two requests.
    pub min_gap: Duration,
    /// First and last register of each block that the device keeps together; a request never crosses an edge. None: no edges.
    /// Where there are some, every point lies in exactly one.
    pub blocks: Vec<(u16, u16)>,
    /// How its serial port leaves the factory.
    pub serial: Option<Serial>,
    /// Somebody has compared the addresses with a device: what looks odd about them is meant so, and nothing warns of it.
    pub checked: bool,
}

/// Serial settings that a device leaves the factory with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Serial {
    /// Bits per second, 300 to 1 000 000.
    pub baud: u32,
    /// Parity bit.
    pub parity: Parity,
}

/// Parity bit of a serial line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parity {
    /// No parity bit.
    None,
    /// Even parity.
    Even,
    /// Odd parity.
    Odd,
}

impl Parity {
    /// The parity that profiles and configurations call so.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        read::PARITIES.iter().find(|(own, _)| *own == name).map(|(_, parity)| *parity)
    }

    /// What profiles and configurations call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        read::PARITIES.iter().find(|(_, parity)| *parity == self).map_or("", |(name, _)| name)
    }
}

impl Default for ModbusLimits {
    /// What nearly every device stands: 60 registers, no gaps, no silence.
    fn default() -> Self {
        Self { max_registers: 60, max_gap: 0, min_gap: Duration::ZERO, blocks: Vec::new(), serial: None, checked: false }
    }
}

impl ModbusLimits {
    /// Whether one request may span these registers, as far as the blocks go.
    #[must_use]
    pub fn in_one_block(&self, first: u16, last: u16) -> bool {
        self.blocks.is_empty() || self.blocks.iter().any(|(low, high)| (*low..=*high).contains(&first) && (*low..=*high).contains(&last))
    }
}
