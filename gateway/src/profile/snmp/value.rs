//! What an agent says of an object, and what it means to a point. Knows no OID's place, no request, no agent.
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

use core::net::{Ipv4Addr, Ipv6Addr};

use pattoo_wire::{Decimal, MAX_TEXT_BYTES, Reason, Repr, Sample, Value as Meant};

use super::Oid;
use crate::profile::decode::{div_rounded, in_range, power_of_ten};

/// Largest power of ten that a column may give, either way.
const MAX_POWER: i64 = 18;
/// Longest octets that are shown byte by byte.
const MAX_HEX_BYTES: usize = 32;

/// A value as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// INTEGER.
    Integer(i64),
    /// OCTET STRING, and all that is one by another name: texts, MAC addresses, dates, BITS.
    Octets(Vec<u8>),
    /// OBJECT IDENTIFIER.
    Oid(Oid),
    /// `IpAddress`.
    Ip([u8; 4]),
    /// `Counter32`.
    Counter32(u32),
    /// `Gauge32`, which is also `Unsigned32`.
    Gauge(u32),
    /// `TimeTicks`, hundredths of a second.
    Ticks(u32),
    /// `Counter64`.
    Counter64(u64),
    /// Opaque, with its content.
    Opaque(Vec<u8>),
    /// NULL, which stands for a value in requests and in the answers of some agents.
    Null,
    /// The agent does not have this object.
    NoSuchObject,
    /// It has the object, but not this instance.
    NoSuchInstance,
    /// There is nothing behind this.
    EndOfMib,
    /// Something that SNMP does not have, or that is not what it says it is.
    Other,
}

/// What a point takes its values for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Syntax {
    /// A number with a sign.
    Integer,
    /// A number without. What an agent gives as a negative INTEGER is above 2^31: big disks are the known case.
    Unsigned,
    /// A counter of 32 bits.
    Counter32,
    /// A counter of 64 bits.
    Counter64,
    /// Hundredths of a second, in seconds.
    Ticks,
    /// Opaque float or double, or a text that is a number.
    Float,
    /// Text.
    Text,
    /// Octets byte by byte, such as a MAC address.
    Mac,
    /// An address of IPv4 or IPv6.
    Ip,
    /// An object identifier.
    Oid,
    /// `DateAndTime` (RFC 2579).
    DateTime,
    /// BITS: bit 0 is the highest one of the first octet, and here the lowest one of the number.
    Bits,
}

impl Syntax {
    /// Every one with the name that profiles use.
    pub const NAMES: &'static [(&'static str, Self)] = &[
        ("integer", Self::Integer),
        ("unsigned", Self::Unsigned),
        ("gauge32", Self::Unsigned),
        ("counter32", Self::Counter32),
        ("counter64", Self::Counter64),
        ("timeticks", Self::Ticks),
        ("float", Self::Float),
        ("text", Self::Text),
        ("mac", Self::Mac),
        ("ip", Self::Ip),
        ("oid", Self::Oid),
        ("datetime", Self::DateTime),
        ("bits", Self::Bits),
    ];

    /// Whether its values are texts.
    #[must_use]
    pub fn is_text(self) -> bool {
        matches!(self, Self::Text | Self::Mac | Self::Ip | Self::Oid | Self::DateTime)
    }

    /// Bits of a counter; none where it is none.
    #[must_use]
    pub fn counter_bits(self) -> Option<u32> {
        match self {
            Self::Counter32 => Some(32),
            Self::Counter64 => Some(64),
            _ => None,
        }
    }
}

/// How the value of a point is meant.
#[derive(Debug, Clone, PartialEq)]
pub struct How {
    /// What it is.
    pub syntax: Syntax,
    /// Multiplier as mantissa and power of ten, that of [`Syntax::Ticks`] apart.
    pub scale: (i64, i8),
    /// Added after scaling.
    pub offset: (i64, i8),
    /// The one bit that is meant.
    pub bit: Option<u8>,
    /// Raw numbers that say "no value".
    pub invalid: Vec<i64>,
    /// Decimals that a number is rounded to, where the profile does not know how many there are.
    pub decimals: Option<u8>,
    /// Only the device knows how many decimals there are.
    pub floating: bool,
    /// Another column multiplies.
    pub times: bool,
}

/// What other columns of the row say of its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Factor {
    /// Power of ten.
    pub power: i64,
    /// Multiplier.
    pub times: i64,
}

impl Default for Factor {
    fn default() -> Self {
        Self { power: 0, times: 1 }
    }
}

impl How {
    /// Values of this kind as they come.
    #[must_use]
    pub fn new(syntax: Syntax) -> Self {
        let (scale, offset) = ((1, 0), (0, 0));
        Self { syntax, scale, offset, bit: None, invalid: Vec::new(), decimals: None, floating: false, times: false }
    }

    /// How its values are represented.
    #[must_use]
    pub fn repr(&self) -> Repr {
        match (self.syntax, self.decimals) {
            (syntax, _) if syntax.is_text() => Repr::Text,
            _ if self.bit.is_some() => Repr::Bool,
            (_, Some(decimals)) => Repr::Decimal { exponent: -decimals.cast_signed() },
            _ if self.floating || self.syntax == Syntax::Float => Repr::F64,
            (Syntax::Counter32 | Syntax::Counter64 | Syntax::Bits, _) if self.is_plain() => Repr::Unsigned,
            _ => Repr::Decimal { exponent: self.exponent() },
        }
    }

    fn is_plain(&self) -> bool {
        self.scale == (1, 0) && self.offset.0 == 0 && !self.times
    }

    /// Power of ten of its values where they are exact decimals.
    pub(super) fn exponent(&self) -> i8 {
        let scale = self.scale_power();
        if self.offset.0 == 0 { scale } else { scale.min(self.offset.1) }
    }

    fn scale_power(&self) -> i8 {
        if self.syntax == Syntax::Ticks { self.scale.1 - 2 } else { self.scale.1 }
    }

    /// What this value means; it always has the representation of [`How::repr`], or is bad with its reason.
    #[must_use]
    pub fn decode(&self, value: &Value, factor: Factor, range: Option<(f64, f64)>) -> Sample {
        match self.meant(value, factor) {
            Ok(meant) => in_range(meant, range),
            Err(reason) => Sample::Bad(reason),
        }
    }

    fn meant(&self, value: &Value, factor: Factor) -> Result<Meant, Reason> {
        value.present()?;
        if self.syntax.is_text() {
            return self
                .text(value)
                .and_then(|text| if text.len() > MAX_TEXT_BYTES { Err(Reason::Overflow) } else { Ok(Meant::Text(text)) });
        }
        if self.syntax == Syntax::Float {
            return self.real(value.real().ok_or(Reason::Malformed)?);
        }
        let raw = self.raw(value)?;
        if let Some(bit) = self.bit {
            return Ok(Meant::Bool(raw >> bit & 1 == 1));
        }
        self.scaled(raw, factor)
    }

    /// The number that the value is, before any scale.
    ///
    /// # Errors
    /// It is none, or one that says "no value".
    pub fn raw(&self, value: &Value) -> Result<i128, Reason> {
        value.present()?;
        let raw = match (self.syntax, value) {
            (Syntax::Bits, Value::Octets(octets)) => bits(octets)?,
            (Syntax::Unsigned | Syntax::Counter32, Value::Integer(n)) if *n < 0 => match i32::try_from(*n) {
                Ok(n) if !self.invalid.contains(&i64::from(n)) => i128::from(n.cast_unsigned()),
                Ok(_) => return Err(Reason::NotAValue),
                Err(_) => return Err(Reason::Malformed),
            },
            (Syntax::Counter64, Value::Integer(n)) if *n < 0 => return Err(Reason::Malformed),
            _ => value.integer().ok_or(Reason::Malformed)?,
        };
        if self.invalid.iter().any(|mark| i128::from(*mark) == raw) { Err(Reason::NotAValue) } else { Ok(raw) }
    }

    fn scaled(&self, raw: i128, factor: Factor) -> Result<Meant, Reason> {
        if self.repr() == Repr::Unsigned {
            return u64::try_from(raw).map(Meant::Unsigned).map_err(|_| Reason::Overflow);
        }
        let times = |a: i128, b: i128| a.checked_mul(b).ok_or(Reason::Overflow);
        let scaled = times(times(raw, i128::from(self.scale.0))?, i128::from(factor.times))?;
        if self.floating || self.decimals.is_some() {
            if factor.power.abs() > MAX_POWER {
                return Err(Reason::OutOfRange);
            }
            return self.with_power(scaled, i64::from(self.scale_power()) + factor.power);
        }
        let exponent = self.exponent();
        let grown = times(scaled, power_of_ten(self.scale_power() - exponent))?;
        let offset = if self.offset.0 == 0 { 0 } else { i128::from(self.offset.0) * power_of_ten(self.offset.1 - exponent) };
        decimal(grown.checked_add(offset).ok_or(Reason::Overflow)?, exponent)
    }

    /// `mantissa * 10^power + offset`, rounded to the decimals, or as the nearest double.
    fn with_power(&self, mantissa: i128, power: i64) -> Result<Meant, Reason> {
        let Some(decimals) = self.decimals else {
            let number: f64 = format!("{mantissa}e{power}").parse().map_err(|_| Reason::Overflow)?;
            return self.real_offset(number);
        };
        let shift = power + i64::from(decimals);
        let of_ten = |n: i64| i8::try_from(n).map(power_of_ten).map_err(|_| Reason::Overflow);
        let rounded =
            if shift >= 0 { mantissa.checked_mul(of_ten(shift)?).ok_or(Reason::Overflow)? } else { div_rounded(mantissa, of_ten(-shift)?) };
        let offset = i128::from(self.offset.0) * power_of_ten((self.offset.1 + decimals.cast_signed()).max(0))
            / power_of_ten((-(self.offset.1 + decimals.cast_signed())).max(0));
        decimal(rounded.checked_add(offset).ok_or(Reason::Overflow)?, -decimals.cast_signed())
    }

    /// What a rate per second of its raw numbers means.
    #[must_use]
    pub fn rated(&self, per_second: f64, range: Option<(f64, f64)>) -> Sample {
        self.real(per_second).map_or_else(Sample::Bad, |meant| in_range(meant, range))
    }

    /// A real number with scale and offset.
    fn real(&self, number: f64) -> Result<Meant, Reason> {
        if !number.is_finite() {
            return Err(Reason::NotAValue);
        }
        // Dividing by a power of ten rounds once, multiplying by 0.1 twice.
        let power = 10f64.powi(i32::from(self.scale.1).abs());
        let mantissa = self.scale.0 as f64;
        self.real_offset(if self.scale.1 < 0 { number * mantissa / power } else { number * mantissa * power })
    }

    fn real_offset(&self, number: f64) -> Result<Meant, Reason> {
        let offset = if self.offset.0 == 0 { 0.0 } else { Decimal { mantissa: self.offset.0, exponent: self.offset.1 }.to_f64() };
        let number = if self.offset.0 == 0 { number } else { number + offset };
        if !number.is_finite() {
            return Err(Reason::Overflow);
        }
        let Some(decimals) = self.decimals else { return Ok(Meant::F64(number)) };
        let mantissa = (number * 10f64.powi(i32::from(decimals))).round();
        // 2^63 is exact in a double, i64::MAX is not.
        if mantissa.abs() >= 9_223_372_036_854_775_808.0 {
            return Err(Reason::Overflow);
        }
        #[expect(clippy::cast_possible_truncation, reason = "a whole number below 2^63")]
        let mantissa = mantissa as i64;
        Ok(Meant::Decimal(Decimal { mantissa, exponent: -decimals.cast_signed() }))
    }

    fn text(&self, value: &Value) -> Result<String, Reason> {
        match (self.syntax, value) {
            (Syntax::Text, Value::Octets(octets)) => Ok(printable(octets)),
            (Syntax::Mac, Value::Octets(octets)) if octets.is_empty() => Err(Reason::NotAValue),
            (Syntax::Mac, Value::Octets(octets)) if octets.len() <= MAX_HEX_BYTES => Ok(hex(octets)),
            (Syntax::Ip, Value::Octets(octets)) => address(octets),
            (Syntax::Ip, Value::Ip(octets)) => address(octets),
            (Syntax::Oid, Value::Oid(oid)) => Ok(oid.to_string()),
            (Syntax::DateTime, Value::Octets(octets)) => date_time(octets),
            _ => Err(Reason::Malformed),
        }
    }
}

impl Value {
    /// Whether there is a value at all.
    ///
    /// # Errors
    /// Why there is none.
    pub fn present(&self) -> Result<(), Reason> {
        match self {
            Self::NoSuchObject | Self::NoSuchInstance | Self::EndOfMib | Self::Null => Err(Reason::Unavailable),
            Self::Other => Err(Reason::Malformed),
            _ => Ok(()),
        }
    }

    /// The whole number that it is, whatever its kind.
    #[must_use]
    pub fn integer(&self) -> Option<i128> {
        match self {
            Self::Integer(n) => Some(i128::from(*n)),
            Self::Counter32(n) | Self::Gauge(n) | Self::Ticks(n) => Some(i128::from(*n)),
            Self::Counter64(n) => Some(i128::from(*n)),
            _ => None,
        }
    }

    /// The real number that it is: an opaque float or double, a text that is a number, or a whole number.
    #[must_use]
    pub fn real(&self) -> Option<f64> {
        match self {
            // The tag of a float is too large for one byte: 9F and 78 (float) or 79 (double), then its length (net-snmp).
            Self::Opaque(bytes) => match bytes.as_slice() {
                [0x9F, 0x78, 4, a, b, c, d] => Meant::F32(f32::from_be_bytes([*a, *b, *c, *d])).to_f64(),
                [0x9F, 0x79, 8, rest @ ..] => Some(f64::from_be_bytes(rest.try_into().ok()?)),
                _ => None,
            },
            Self::Octets(octets) => std::str::from_utf8(octets).ok()?.trim_matches(['\0', ' ']).parse().ok(),
            other => other.integer().map(|n| n as f64),
        }
    }

    /// As a person reads it: for identities and labels, and to compare with.
    #[must_use]
    pub fn plain(&self) -> Option<String> {
        match self {
            Self::Octets(octets) => Some(printable(octets)),
            Self::Oid(oid) => Some(oid.to_string()),
            Self::Ip(octets) => address(octets).ok(),
            other => other.integer().map(|n| n.to_string()),
        }
    }
}

fn decimal(mantissa: i128, exponent: i8) -> Result<Meant, Reason> {
    let mantissa = i64::try_from(mantissa).map_err(|_| Reason::Overflow)?;
    Ok(Meant::Decimal(Decimal { mantissa, exponent }))
}

/// Text without the NULs and spaces at its end. Ends of lines are spaces; what is not UTF-8 or not printable shows as U+FFFD.
#[must_use]
pub fn printable(octets: &[u8]) -> String {
    let clean = |c: char| match c {
        '\r' | '\n' | '\t' => ' ',
        c if c.is_control() => char::REPLACEMENT_CHARACTER,
        c => c,
    };
    let text = String::from_utf8_lossy(octets);
    text.trim_end_matches(['\0', ' ', '\r', '\n', '\t']).chars().map(clean).collect()
}

/// Bytes as two digits each.
#[must_use]
pub fn hex(octets: &[u8]) -> String {
    let texts: Vec<_> = octets.iter().map(|byte| format!("{byte:02x}")).collect();
    texts.join(":")
}

fn address(octets: &[u8]) -> Result<String, Reason> {
    if let Ok(four) = <[u8; 4]>::try_from(octets) {
        return Ok(Ipv4Addr::from(four).to_string());
    }
    match <[u8; 16]>::try_from(octets) {
        Ok(sixteen) => Ok(Ipv6Addr::from(sixteen).to_string()),
        Err(_) if octets.is_empty() => Err(Reason::NotAValue),
        Err(_) => Err(Reason::Malformed),
    }
}

/// ISO 8601; with its zone where the device says one.
fn date_time(octets: &[u8]) -> Result<String, Reason> {
    let ([high, low, month, day, hour, minute, second, tenth], zone) = octets.split_first_chunk::<8>().ok_or(Reason::Malformed)?;
    let year = u16::from_be_bytes([*high, *low]);
    if octets.iter().take(4).all(|byte| *byte == 0) {
        return Err(Reason::NotAValue);
    }
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let days = match month {
        2 => 28 + u8::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => 0,
    };
    if year > 9999 || !(1..=days).contains(day) || *hour > 23 || *minute > 59 || *second > 60 || *tenth > 9 {
        return Err(Reason::NotAValue);
    }
    let zone = match zone {
        [] => String::new(),
        [sign @ (b'+' | b'-'), hours @ ..=14, minutes @ ..=59] => format!("{}{hours:02}:{minutes:02}", char::from(*sign)),
        _ => return Err(Reason::Malformed),
    };
    Ok(format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{tenth}{zone}"))
}

fn bits(octets: &[u8]) -> Result<i128, Reason> {
    // Octets of zeros behind the eighth say nothing.
    if octets.iter().skip(8).any(|byte| *byte != 0) {
        return Err(Reason::Overflow);
    }
    let octets = octets.iter().take(8).enumerate();
    Ok(octets.fold(0, |number, (place, byte)| number | i128::from(byte.reverse_bits()) << (8 * place)))
}

#[cfg(test)]
mod tests;
