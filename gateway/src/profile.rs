//! Device profiles: what a device model offers and how to read it. Does not talk to devices.
#![warn(missing_docs)]

mod decode;
mod fit;
mod folder;
mod read;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use pattoo_wire::{Kind, Repr};

use crate::driver::host::Metric;

pub use folder::load_profiles;
pub(crate) use folder::{Found, find_profiles, read_limited};
pub(crate) use read::name_of;
pub use read::{MAX_POINTS, MAX_PROFILE_BYTES};

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
}

/// Where a point is read from: one variant per protocol.
#[derive(Debug, Clone, PartialEq)]
pub enum Read {
    /// Registers or bits of a Modbus device.
    Modbus(ModbusRead),
    /// A metric of this Linux host.
    Host(Metric),
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

impl Default for ModbusLimits {
    /// What nearly every device stands: 60 registers, no gaps, no silence.
    fn default() -> Self {
        Self { max_registers: 60, max_gap: 0, min_gap: Duration::ZERO, blocks: Vec::new(), serial: None }
    }
}

impl ModbusLimits {
    /// Whether one request may span these registers, as far as the blocks go.
    #[must_use]
    pub fn in_one_block(&self, first: u16, last: u16) -> bool {
        self.blocks.is_empty() || self.blocks.iter().any(|(low, high)| (*low..=*high).contains(&first) && (*low..=*high).contains(&last))
    }
}

/// The four tables of the Modbus data model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// Function code 1.
    Coil,
    /// Function code 2.
    Discrete,
    /// Function code 3.
    Holding,
    /// Function code 4.
    Input,
}

/// A point of a Modbus device.
#[derive(Debug, Clone, PartialEq)]
pub struct ModbusRead {
    /// Which table.
    pub table: Table,
    /// First register or bit: protocol address, 0-based.
    pub address: u16,
    /// What the registers hold.
    pub encoding: Encoding,
    /// Which word comes first where there are several.
    pub words: WordOrder,
    /// Multiplier of an integer, exact: `mantissa * 10^exponent`.
    pub scale: (i64, i8),
    /// Decimals that a float is rounded to, 0 to 12; an exact float where absent. Only for floats.
    pub decimals: Option<u8>,
    /// Each is one way to say "no value": the raw words of the point as they come, first register first.
    pub invalid: Vec<Vec<u16>>,
}

impl ModbusRead {
    /// A read of plain values: high word first, unscaled, nothing invalid.
    #[must_use]
    pub fn new(table: Table, address: u16, encoding: Encoding) -> Self {
        Self { table, address, encoding, words: WordOrder::HighFirst, scale: (1, 0), decimals: None, invalid: Vec::new() }
    }

    /// Its last register or bit.
    #[must_use]
    pub fn last(&self) -> u16 {
        self.address.saturating_add(self.encoding.len() - 1)
    }

    /// How its values are represented.
    #[must_use]
    pub fn repr(&self) -> Repr {
        match (self.encoding, self.decimals) {
            (Encoding::Bit, _) => Repr::Bool,
            (Encoding::F32 | Encoding::F64, Some(decimals)) => Repr::Decimal { exponent: -decimals.cast_signed() },
            (Encoding::F32, None) => Repr::F32,
            (Encoding::F64, None) => Repr::F64,
            (Encoding::U64, _) if self.scale == (1, 0) => Repr::Unsigned,
            _ => Repr::Decimal { exponent: self.scale.1 },
        }
    }
}

/// What the registers of a point hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// One coil or discrete input.
    Bit,
    /// 16-bit integers.
    U16,
    /// Two's complement.
    I16,
    /// 32-bit integers in two registers.
    U32,
    /// Two's complement.
    I32,
    /// 64-bit integers in four registers.
    U64,
    /// Two's complement.
    I64,
    /// IEEE 754 single precision in two registers.
    F32,
    /// IEEE 754 double precision in four registers.
    F64,
}

/// Order of the 16-bit words of a longer value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WordOrder {
    /// Most significant word first, as the Modbus specification's examples have it.
    HighFirst,
    /// Least significant word first.
    LowFirst,
}

impl Encoding {
    /// Registers (or bits) that a value takes.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a value is never empty")]
    pub fn len(self) -> u16 {
        match self {
            Self::Bit | Self::U16 | Self::I16 => 1,
            Self::U32 | Self::I32 | Self::F32 => 2,
            Self::U64 | Self::I64 | Self::F64 => 4,
        }
    }
}
