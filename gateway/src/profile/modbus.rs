//! A point of a Modbus device: which registers it takes and what they hold. What they mean is decided in `decode`.

use std::fmt;

use pattoo_wire::Repr;
use serde::{Deserialize, Serialize};

/// The four tables of the Modbus data model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
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

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Coil => "coil",
            Self::Discrete => "discrete",
            Self::Holding => "holding",
            Self::Input => "input",
        })
    }
}

/// A point of a Modbus device.
///
/// Its number is `raw * scale * 10^(register at scale_at) + offset`, in exact decimals as far as the registers hold integers.
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
    /// Which byte of a word comes first.
    pub bytes: ByteOrder,
    /// First bit (0 is the lowest) and number of bits where only these are meant. Only for unsigned integers.
    pub bits: Option<(u8, u8)>,
    /// Multiplier, exact: `mantissa * 10^exponent`. A float is multiplied in double precision and rounded once to its own.
    pub scale: (i64, i8),
    /// Added after scaling, exact like `scale`.
    pub offset: (i64, i8),
    /// Register of the same table that holds a power of ten to multiply with (a `SunSpec` scale factor). It is read in the same
    /// request as the value: a device may change both from one moment to the next.
    pub scale_at: Option<u16>,
    /// Decimals that the value is rounded to, 0 to 12. Only where it has no exact decimals of its own: floats, which are exact
    /// floats without it, and values with `scale_at`, which are the nearest double without it.
    pub decimals: Option<u8>,
    /// Each is one way to say "no value": the raw words of the point as they come, first register first.
    pub invalid: Vec<Vec<u16>>,
}

impl ModbusRead {
    /// A read of plain values: high word first, unscaled, nothing invalid.
    #[must_use]
    pub fn new(table: Table, address: u16, encoding: Encoding) -> Self {
        Self {
            table,
            address,
            encoding,
            words: WordOrder::HighFirst,
            bytes: ByteOrder::HighFirst,
            bits: None,
            scale: (1, 0),
            offset: (0, 0),
            scale_at: None,
            decimals: None,
            invalid: Vec::new(),
        }
    }

    /// The first register or bit that is read for it.
    #[must_use]
    pub fn first(&self) -> u16 {
        self.scale_at.map_or(self.address, |at| at.min(self.address))
    }

    /// The last register or bit that is read for it.
    #[must_use]
    pub fn last(&self) -> u16 {
        self.scale_at.map_or(self.own_last(), |at| at.max(self.own_last()))
    }

    /// The last register or bit of the value itself.
    #[must_use]
    pub fn own_last(&self) -> u16 {
        self.address.saturating_add(self.encoding.len() - 1)
    }

    /// Whether its registers hold more than its own value.
    #[must_use]
    pub fn is_part(&self) -> bool {
        self.bits.is_some() || matches!(self.encoding, Encoding::U8(_) | Encoding::I8(_) | Encoding::U24)
    }

    /// The words of this point in a reply that begins at `address`; none where they are not all in it.
    #[must_use]
    pub fn in_reply<'w>(&self, address: u16, words: &'w [u16]) -> Option<&'w [u16]> {
        let start = usize::from(self.first().checked_sub(address)?);
        words.get(start..=start + usize::from(self.last() - self.first()))
    }

    /// How its values are represented.
    #[must_use]
    pub fn repr(&self) -> Repr {
        match (self.encoding, self.decimals) {
            (Encoding::Bit, _) => Repr::Bool,
            (Encoding::Text(_) | Encoding::DateTime(_), _) => Repr::Text,
            (_, Some(decimals)) => Repr::Decimal { exponent: -decimals.cast_signed() },
            (Encoding::F16 | Encoding::F32, None) => Repr::F32,
            (Encoding::F64, None) => Repr::F64,
            _ if self.bits.is_some_and(|(_, count)| count == 1) => Repr::Bool,
            _ if self.scale_at.is_some() => Repr::F64,
            (Encoding::U64, None) if self.bits.is_none() && self.scale == (1, 0) && self.offset.0 == 0 => Repr::Unsigned,
            _ => Repr::Decimal { exponent: self.exponent() },
        }
    }

    /// Power of ten of the exact decimals of an integer: the finer one of scale and offset.
    pub(super) fn exponent(&self) -> i8 {
        if self.offset.0 == 0 { self.scale.1 } else { self.scale.1.min(self.offset.1) }
    }
}

/// What the registers of a point hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// One coil or discrete input.
    Bit,
    /// One half of a register.
    U8(Half),
    /// One half of a register, two's complement.
    I8(Half),
    /// 16-bit integers.
    U16,
    /// Two's complement.
    I16,
    /// The lower three bytes of two registers; the fourth is none of it.
    U24,
    /// 32-bit integers in two registers.
    U32,
    /// Two's complement.
    I32,
    /// 64-bit integers in four registers.
    U64,
    /// Two's complement.
    I64,
    /// IEEE 754 half precision in one register.
    F16,
    /// IEEE 754 single precision in two registers.
    F32,
    /// IEEE 754 double precision in four registers.
    F64,
    /// Four decimal digits of four bits each.
    Bcd16,
    /// Eight decimal digits of four bits each.
    Bcd32,
    /// Two to four registers of four decimal digits each, 0 to 9999: the number to the base 10 000. A negative number has
    /// registers of -9999 to 0.
    Mod10(u8),
    /// So many registers of text, two bytes each, up to the first NUL; spaces at its end are cut.
    Text(u16),
    /// A date and a time of day in the device's own zone, whatever that is; text like `2026-11-29T12:30:05`.
    DateTime(Layout),
}

/// One half of a register.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Half {
    /// The eight higher bits.
    High,
    /// The eight lower bits.
    Low,
}

/// How date and time lie in registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Layout {
    /// Four registers after IEC 870-5-4: year from 2000 (bits 0-6); month (8-11), day (0-4); hour (8-12), minute (0-5) and a flag
    /// "invalid" (7); ms of the minute.
    Iec,
    /// Six registers: year (or years from 2000), month, day, hour, minute, second.
    Six,
    /// Three registers of two bytes: years from 2000 and month, day and hour, minute and second.
    Three,
}

/// Order of the 16-bit words of a longer value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WordOrder {
    /// Most significant word first, as the Modbus specification's examples have it.
    HighFirst,
    /// Least significant word first.
    LowFirst,
}

/// Order of the two bytes of a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ByteOrder {
    /// Most significant byte first, as the Modbus specification demands.
    HighFirst,
    /// Least significant byte first.
    LowFirst,
}

impl Encoding {
    /// Registers (or bits) that a value takes.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a value is never empty")]
    pub fn len(self) -> u16 {
        match self {
            Self::Bit | Self::U8(_) | Self::I8(_) | Self::U16 | Self::I16 | Self::F16 | Self::Bcd16 => 1,
            Self::U24 | Self::U32 | Self::I32 | Self::F32 | Self::Bcd32 => 2,
            Self::DateTime(Layout::Three) => 3,
            Self::U64 | Self::I64 | Self::F64 | Self::DateTime(Layout::Iec) => 4,
            Self::DateTime(Layout::Six) => 6,
            Self::Mod10(registers) => u16::from(registers),
            Self::Text(registers) => registers,
        }
    }

    /// Least and greatest integer it holds; none for what is no integer.
    pub(crate) fn integers(self) -> Option<(i128, i128)> {
        match self {
            Self::U8(_) => Some((0, i128::from(u8::MAX))),
            Self::I8(_) => Some((i128::from(i8::MIN), i128::from(i8::MAX))),
            Self::U16 => Some((0, i128::from(u16::MAX))),
            Self::I16 => Some((i128::from(i16::MIN), i128::from(i16::MAX))),
            Self::U24 => Some((0, 0x00FF_FFFF)),
            Self::U32 => Some((0, i128::from(u32::MAX))),
            Self::I32 => Some((i128::from(i32::MIN), i128::from(i32::MAX))),
            Self::U64 => Some((0, i128::from(u64::MAX))),
            Self::I64 => Some((i128::from(i64::MIN), i128::from(i64::MAX))),
            Self::Bcd16 => Some((0, 9_999)),
            Self::Bcd32 => Some((0, 99_999_999)),
            Self::Mod10(registers) => {
                let most = 10_000i128.pow(u32::from(registers)) - 1;
                Some((-most, most))
            }
            Self::Bit | Self::F16 | Self::F32 | Self::F64 | Self::Text(_) | Self::DateTime(_) => None,
        }
    }

    /// Whether it is a float.
    #[must_use]
    pub fn is_float(self) -> bool {
        matches!(self, Self::F16 | Self::F32 | Self::F64)
    }

    /// The bits of its registers that belong to the value, as one number.
    pub(super) fn mask(self) -> u64 {
        match self {
            Self::U8(Half::High) | Self::I8(Half::High) => 0xFF00,
            Self::U8(Half::Low) | Self::I8(Half::Low) => 0x00FF,
            Self::U24 => 0x00FF_FFFF,
            _ => u64::MAX,
        }
    }
}
