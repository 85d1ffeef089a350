//! Values -> registers: what `decode` undoes. For the simulator and for tests.
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

use pattoo_wire::{Decimal, Sample, Value};

use super::decode::{div_rounded, power_of_ten};
use super::{ByteOrder, Encoding, Half, ModbusRead, WordOrder, text};

impl ModbusRead {
    /// The raw words of the value itself that [`ModbusRead::decode`] would take for this value; none where no words mean it, or where
    /// a scale register has a say. Bits of its registers that are not its own are 0.
    #[must_use]
    pub fn encode(&self, value: &Value) -> Option<Vec<u16>> {
        let words = self.nearest(value, 0).filter(|_| self.scale_at.is_none())?;
        (self.decode(&words, None) == Sample::Good(value.clone())).then_some(words)
    }

    /// The raw words of the value itself that mean this value as nearly as they can, where the scale register holds `factor`; none for a
    /// value of another representation. They are never a mark for "no value".
    #[must_use]
    pub fn nearest(&self, value: &Value, factor: i8) -> Option<Vec<u16>> {
        if value.repr() != self.repr() {
            return None;
        }
        match (value, self.encoding) {
            (Value::Bool(bit), Encoding::Bit) => Some(vec![u16::from(*bit)]),
            (Value::Text(text), Encoding::Text(registers)) => Some(self.bytes_ordered(text::encode(text, registers))),
            (Value::Text(text), Encoding::DateTime(layout)) => Some(self.bytes_ordered(text::encode_time(text, layout)?)),
            (_, encoding) if encoding.is_float() => Some(self.split(self.raw_float(value)?)),
            _ => {
                let raw = self.raw_integer(value, factor)?;
                let words = self.split(self.pack(raw));
                // The mark's neighbour is a value.
                Some(if self.invalid.contains(&words) { self.split(self.pack(if raw > 0 { raw - 1 } else { raw + 1 })) } else { words })
            }
        }
    }

    /// The raw words with which the device says that it has no value: its first mark, or the float that is no number.
    #[must_use]
    pub fn no_value(&self) -> Option<Vec<u16>> {
        match (self.invalid.first(), self.encoding) {
            (Some(mark), _) => Some(mark.clone()),
            (None, Encoding::F16) => Some(self.split(0x7E00)),
            (None, Encoding::F32) => Some(self.split(u64::from(f32::NAN.to_bits()))),
            (None, Encoding::F64) => Some(self.split(f64::NAN.to_bits())),
            (None, _) => None,
        }
    }

    /// The words of a mark for "no value" from the raw bits of the value.
    pub(super) fn mark(&self, raw: i128) -> Vec<u16> {
        match self.encoding {
            Encoding::U8(_) | Encoding::I8(_) => self.split(self.pack(raw)),
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "two's complement, bounded by its reader")]
            _ => self.split(raw as u64 & self.encoding.mask()),
        }
    }

    /// The bits of each word of the value that are its own.
    #[must_use]
    pub fn masks(&self) -> Vec<u16> {
        let bits = self.bits.map_or(u64::MAX, |(first, count)| (u64::MAX >> (64 - u32::from(count).min(64))) << first);
        if self.encoding.len() > 4 || self.encoding == Encoding::Bit {
            return vec![u16::MAX; usize::from(self.encoding.len())];
        }
        self.split(self.encoding.mask() & bits)
    }

    /// Splits a number of up to four words, of which each 16 bits are one register, into words in the order of their addresses.
    pub(crate) fn split(&self, raw: u64) -> Vec<u16> {
        #[expect(clippy::cast_possible_truncation, reason = "one word")]
        let mut words: Vec<u16> =
            (0..self.encoding.len()).rev().map(|place| (raw.checked_shr(16 * u32::from(place)).unwrap_or(0)) as u16).collect();
        if self.words == WordOrder::LowFirst {
            words.reverse();
        }
        self.bytes_ordered(words)
    }

    fn bytes_ordered(&self, words: Vec<u16>) -> Vec<u16> {
        match self.bytes {
            ByteOrder::HighFirst => words,
            ByteOrder::LowFirst => words.into_iter().map(u16::swap_bytes).collect(),
        }
    }

    /// The registers of an integer within the bounds of the encoding.
    fn pack(&self, raw: i128) -> u64 {
        // Two's complement: the low bits are the register's.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within the bounds of the encoding")]
        let bits = raw as u64;
        match self.encoding {
            Encoding::U8(Half::High) | Encoding::I8(Half::High) => (bits & 0xFF) << 8,
            Encoding::U8(Half::Low) | Encoding::I8(Half::Low) => bits & 0xFF,
            Encoding::Bcd16 | Encoding::Bcd32 => (0..8).fold(0, |packed, place| packed | ((bits / 10u64.pow(place) % 10) << (4 * place))),
            Encoding::Mod10(registers) => (0..registers).fold(0, |packed, place| {
                let part = i16::try_from(raw / 10_000i128.pow(place.into()) % 10_000).unwrap_or_default();
                packed | u64::from(part.cast_unsigned()) << (16 * place)
            }),
            _ => self.bits.map_or(bits, |(first, _)| bits << first),
        }
    }

    /// The integer that scales to this value as nearly as one can, within the bounds of its bits.
    fn raw_integer(&self, value: &Value, factor: i8) -> Option<i128> {
        let (low, high) = match self.bits {
            Some((_, count)) => (0, (1i128 << count) - 1),
            None => self.encoding.integers()?,
        };
        let raw = match value {
            Value::Bool(bit) => i128::from(*bit),
            Value::Unsigned(n) => i128::from(*n),
            #[expect(clippy::cast_possible_truncation, reason = "saturates, and the bounds come next")]
            Value::F64(x) => (x / 10f64.powi(i32::from(self.scale.1 + factor)) / self.scale.0 as f64).round() as i128,
            Value::Decimal(d) => self.unscaled(*d, factor),
            Value::F32(_) | Value::Text(_) => return None,
        };
        Some(raw.clamp(low, high))
    }

    fn unscaled(&self, decimal: Decimal, factor: i8) -> i128 {
        let mantissa = i128::from(decimal.mantissa) - self.offset_at(decimal.exponent);
        let (scale, power) = (i128::from(self.scale.0), decimal.exponent - self.scale.1 - if self.scale_at.is_some() { factor } else { 0 });
        if power >= 0 {
            div_rounded(mantissa.saturating_mul(power_of_ten(power)), scale)
        } else {
            div_rounded(mantissa, scale.saturating_mul(power_of_ten(-power)))
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "rounded to the precision of the register")]
    fn raw_float(&self, value: &Value) -> Option<u64> {
        let plain = self.scale == (1, 0) && self.offset.0 == 0;
        let unscale = |x: f64| {
            let number = x - Decimal { mantissa: self.offset.0, exponent: self.offset.1 }.to_f64();
            number / Decimal { mantissa: self.scale.0, exponent: self.scale.1 }.to_f64()
        };
        let (single, double) = match value {
            Value::F32(x) if plain => (*x, f64::from(*x)),
            Value::F64(x) if plain => (*x as f32, *x),
            Value::Decimal(d) if plain => (d.to_string().parse().ok()?, d.to_f64()),
            other => (unscale(other.to_f64()?) as f32, unscale(other.to_f64()?)),
        };
        Some(match self.encoding {
            Encoding::F16 => u64::from(f32_to_half(single)),
            Encoding::F32 => u64::from(single.to_bits()),
            _ => double.to_bits(),
        })
    }
}

/// The nearest half float; the largest one for what is larger.
fn f32_to_half(x: f32) -> u16 {
    let sign = u16::from(x.is_sign_negative()) << 15;
    let size = x.abs();
    if x.is_nan() {
        return 0x7E00;
    }
    // Below 2^-14 all halves are apart by 2^-24; above, by 2^-10 of their power of two.
    let power = if size < 2f32.powi(-14) { -14 } else { i32::from((size.to_bits() >> 23) as u8) - 127 };
    let steps = (size / 2f32.powi(power.min(16) - 10)).round_ties_even();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded by the largest half")]
    let half = if power > 15 { 0x7BFF } else { ((power + 14) as u16 * 1024 + steps as u16).min(0x7BFF) };
    sign | half
}
