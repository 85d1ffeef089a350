//! Registers -> samples. Knows nothing of requests, requests' borders or devices.
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

use pattoo_wire::{Decimal, Reason, Sample, Value};

use super::{ByteOrder, Encoding, Half, ModbusRead, WordOrder, text};

/// A scale factor is a power of ten from -10 to 10.
const MAX_SCALE_FACTOR: i16 = 10;

/// The scale register says that it holds no scale factor.
const NO_SCALE_FACTOR: u16 = 0x8000;

impl ModbusRead {
    /// What these raw words mean: the registers from [`ModbusRead::first`] to [`ModbusRead::last`], or one word 0 or 1 for a bit.
    ///
    /// A value always has the representation of [`ModbusRead::repr`]; what cannot be one is bad, with its reason.
    #[must_use]
    pub fn decode(&self, words: &[u16], range: Option<(f64, f64)>) -> Sample {
        let value = self.own(words).and_then(|(own, factor)| self.value(own, self.power(own, factor)?));
        value.map_or_else(Sample::Bad, |value| in_range(value, range))
    }

    /// The same where value and scale register were read apart, as plain numbers: the integer that the value's registers hold, and the
    /// number of the scale register. What is wrong with either is wrong with the reading.
    #[must_use]
    pub(crate) fn decode_apart(&self, raw: &Sample, factor: &Sample, range: Option<(f64, f64)>) -> Sample {
        let whole = |sample: &Sample| match sample {
            Sample::Good(Value::Decimal(Decimal { mantissa, exponent: 0 })) => Ok(*mantissa),
            Sample::Good(Value::Unsigned(number)) => Ok(number.cast_signed()),
            other => Err(other.reason().unwrap_or(Reason::Malformed)),
        };
        let value = whole(raw).and_then(|raw| {
            let (own, factor) = (self.split(raw.cast_unsigned()), i16::try_from(whole(factor)?).map_err(|_| Reason::OutOfRange)?);
            self.value(&own, self.power(&own, Some(factor.cast_unsigned()))?)
        });
        value.map_or_else(Sample::Bad, |value| in_range(value, range))
    }

    /// The words of the value itself, and its scale register.
    fn own<'w>(&self, words: &'w [u16]) -> Result<(&'w [u16], Option<u16>), Reason> {
        if words.len() != usize::from(self.last() - self.first()) + 1 {
            return Err(Reason::Malformed);
        }
        let start = usize::from(self.address - self.first());
        let own = words.get(start..start + usize::from(self.encoding.len())).ok_or(Reason::Malformed)?;
        let Some(at) = self.scale_at else { return Ok((own, None)) };
        let factor = *words.get(usize::from(at - self.first())).ok_or(Reason::Malformed)?;
        Ok((own, Some(if self.bytes == ByteOrder::LowFirst { factor.swap_bytes() } else { factor })))
    }

    /// The power of ten to multiply with, where there is a value to multiply at all.
    fn power(&self, own: &[u16], factor: Option<u16>) -> Result<i8, Reason> {
        if self.invalid.iter().any(|mark| self.is_mark(mark, own)) {
            return Err(Reason::NotAValue);
        }
        let Some(power) = factor else { return Ok(0) };
        match (power, power.cast_signed()) {
            (NO_SCALE_FACTOR, _) => Err(Reason::NotAValue),
            (_, n) if n.abs() > MAX_SCALE_FACTOR => Err(Reason::OutOfRange),
            (_, n) => i8::try_from(n).map_err(|_| Reason::OutOfRange),
        }
    }

    /// A mark of half a register says nothing about the other half.
    fn is_mark(&self, mark: &[u16], own: &[u16]) -> bool {
        match self.encoding {
            Encoding::U8(_) | Encoding::I8(_) | Encoding::U24 => self.join(mark) == self.join(own) & self.encoding.mask(),
            _ => mark == own,
        }
    }

    fn value(&self, own: &[u16], factor: i8) -> Result<Value, Reason> {
        match self.encoding {
            Encoding::Bit => Ok(Value::Bool(own.iter().any(|word| *word != 0))),
            Encoding::Text(_) => text::decode(&self.ordered(own)).map(Value::Text),
            Encoding::DateTime(layout) => text::decode_time(&self.ordered(own), layout).map(Value::Text),
            #[expect(clippy::cast_possible_truncation, reason = "the number of registers bounds the raw number")]
            Encoding::F16 => self.float(Value::F32(half_to_f32(self.join(own) as u16))),
            #[expect(clippy::cast_possible_truncation, reason = "the number of registers bounds the raw number")]
            Encoding::F32 => self.float(Value::F32(f32::from_bits(self.join(own) as u32))),
            Encoding::F64 => self.float(Value::F64(f64::from_bits(self.join(own)))),
            _ => {
                let raw = self.integer(self.join(own))?;
                match self.bits {
                    Some((bit, 1)) => Ok(Value::Bool(raw >> bit & 1 == 1)),
                    Some((first, count)) => self.scaled(raw >> first & ((1 << count) - 1), factor),
                    None => self.scaled(raw, factor),
                }
            }
        }
    }

    /// The words with the most significant byte of each first, in the order of their addresses.
    fn ordered(&self, words: &[u16]) -> Vec<u16> {
        match self.bytes {
            ByteOrder::HighFirst => words.to_vec(),
            ByteOrder::LowFirst => words.iter().map(|word| word.swap_bytes()).collect(),
        }
    }

    /// Up to four words as one number; each 16 bits of it are one register.
    pub(super) fn join(&self, words: &[u16]) -> u64 {
        let words = self.ordered(words);
        let push = |raw: u64, word: &u16| raw << 16 | u64::from(*word);
        match self.words {
            WordOrder::HighFirst => words.iter().fold(0, push),
            WordOrder::LowFirst => words.iter().rev().fold(0, push),
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "the number of registers bounds the raw number")]
    fn integer(&self, raw: u64) -> Result<i128, Reason> {
        Ok(match self.encoding {
            Encoding::U8(Half::High) => i128::from(raw as u16 >> 8),
            Encoding::U8(Half::Low) => i128::from(raw as u8),
            Encoding::I8(Half::High) => i128::from(((raw >> 8) as u8).cast_signed()),
            Encoding::I8(Half::Low) => i128::from((raw as u8).cast_signed()),
            Encoding::I16 => i128::from((raw as u16).cast_signed()),
            Encoding::U24 => i128::from(raw & 0x00FF_FFFF),
            Encoding::I32 => i128::from((raw as u32).cast_signed()),
            Encoding::I64 => i128::from(raw.cast_signed()),
            Encoding::Bcd16 | Encoding::Bcd32 => from_bcd(raw)?,
            Encoding::Mod10(registers) => from_mod10(raw, registers)?,
            _ => i128::from(raw),
        })
    }

    /// `raw * scale * 10^factor + offset` in exact decimals, or as the nearest double where only the device knows how many there are.
    fn scaled(&self, raw: i128, factor: i8) -> Result<Value, Reason> {
        if self.encoding == Encoding::U64 && self.repr() == pattoo_wire::Repr::Unsigned {
            return u64::try_from(raw).map(Value::Unsigned).map_err(|_| Reason::Overflow);
        }
        let exponent = self.exponent();
        let scaled = raw.checked_mul(i128::from(self.scale.0)).ok_or(Reason::Overflow)?;
        if self.scale_at.is_some() {
            return self.with_factor(scaled, self.scale.1 + factor);
        }
        let grown = scaled.checked_mul(power_of_ten(self.scale.1 - exponent)).ok_or(Reason::Overflow)?;
        let sum = grown.checked_add(self.offset_at(exponent)).ok_or(Reason::Overflow)?;
        decimal(sum, exponent)
    }

    /// The offset as a mantissa to this power of ten, which is none coarser than its own.
    pub(super) fn offset_at(&self, exponent: i8) -> i128 {
        if self.offset.0 == 0 { 0 } else { i128::from(self.offset.0) * power_of_ten(self.offset.1 - exponent) }
    }

    fn with_factor(&self, mantissa: i128, exponent: i8) -> Result<Value, Reason> {
        let Some(decimals) = self.decimals else {
            // By way of its text the double is the nearest one, whatever the power.
            return format!("{mantissa}e{exponent}").parse().map(Value::F64).map_err(|_| Reason::Overflow);
        };
        let power = exponent + decimals.cast_signed();
        let rounded = if power >= 0 {
            mantissa.checked_mul(power_of_ten(power)).ok_or(Reason::Overflow)?
        } else {
            div_rounded(mantissa, power_of_ten(-power))
        };
        decimal(rounded, -decimals.cast_signed())
    }

    /// A float that is no number, or infinite, is no value. `decimals` rounds what the register prints, half away from zero.
    fn float(&self, value: Value) -> Result<Value, Reason> {
        let finite = |value: &Value| value.to_f64().filter(|x| x.is_finite());
        finite(&value).ok_or(Reason::NotAValue)?;
        let value = self.scaled_float(value);
        let number = finite(&value).ok_or(Reason::Overflow)?;
        let Some(decimals) = self.decimals else { return Ok(value) };
        let mantissa = (number * 10f64.powi(i32::from(decimals))).round();
        // 2^63 is exact in a double, i64::MAX is not.
        if mantissa.abs() >= 9_223_372_036_854_775_808.0 {
            return Err(Reason::Overflow);
        }
        #[expect(clippy::cast_possible_truncation, reason = "a whole number below 2^63")]
        let mantissa = mantissa as i64;
        Ok(Value::Decimal(Decimal { mantissa, exponent: -decimals.cast_signed() }))
    }

    #[expect(clippy::cast_possible_truncation, reason = "rounded once to the precision of the register")]
    fn scaled_float(&self, value: Value) -> Value {
        if self.scale == (1, 0) && self.offset.0 == 0 {
            return value;
        }
        let real = |x: f64| {
            // Dividing by a power of ten rounds once, multiplying by 0.1 twice.
            let power = 10f64.powi(i32::from(self.scale.1).abs());
            let scaled = if self.scale.1 < 0 { x * self.scale.0 as f64 / power } else { x * self.scale.0 as f64 * power };
            // A zero keeps its sign where nothing is added.
            if self.offset.0 == 0 { scaled } else { scaled + Decimal { mantissa: self.offset.0, exponent: self.offset.1 }.to_f64() }
        };
        match value {
            Value::F32(x) => Value::F32(real(f64::from(x)) as f32),
            Value::F64(x) => Value::F64(real(x)),
            other => other,
        }
    }
}

pub(super) fn in_range(value: Value, range: Option<(f64, f64)>) -> Sample {
    match (range, value.to_f64()) {
        (Some((low, high)), Some(number)) if !(low..=high).contains(&number) => Sample::Bad(Reason::OutOfRange),
        _ => Sample::Good(value),
    }
}

fn decimal(mantissa: i128, exponent: i8) -> Result<Value, Reason> {
    let mantissa = i64::try_from(mantissa).map_err(|_| Reason::Overflow)?;
    Ok(Value::Decimal(Decimal { mantissa, exponent }))
}

/// 10^n; 10^38 is the largest that fits.
pub(super) fn power_of_ten(n: i8) -> i128 {
    10i128.pow(u32::try_from(n).unwrap_or(0).min(38))
}

/// Rounds half away from zero.
pub(super) fn div_rounded(n: i128, by: i128) -> i128 {
    let (whole, rest) = (n / by, n % by);
    if rest.unsigned_abs() >= by.unsigned_abs() - rest.unsigned_abs() { whole + if (n < 0) == (by < 0) { 1 } else { -1 } } else { whole }
}

/// Eight decimal digits at most; a digit above 9 is no number.
fn from_bcd(raw: u64) -> Result<i128, Reason> {
    (0..8).rev().try_fold(0i128, |number, place| match raw >> (4 * place) & 0xF {
        digit @ 0..=9 => Ok(number * 10 + i128::from(digit)),
        _ => Err(Reason::NotAValue),
    })
}

/// Registers of four decimal digits, all of one sign.
fn from_mod10(raw: u64, registers: u8) -> Result<i128, Reason> {
    #[expect(clippy::cast_possible_truncation, reason = "one register")]
    let parts = (0..registers).rev().map(|place| i128::from(((raw >> (16 * place)) as u16).cast_signed()));
    let parts: Vec<_> = parts.collect();
    let one_sign = parts.iter().all(|part| *part >= 0) || parts.iter().all(|part| *part <= 0);
    if !one_sign || parts.iter().any(|part| part.abs() > 9_999) {
        return Err(Reason::NotAValue);
    }
    Ok(parts.iter().fold(0, |number, part| number * 10_000 + part))
}

/// IEEE 754 half precision; every half float is exact in single precision.
fn half_to_f32(half: u16) -> f32 {
    let sign = if half & 0x8000 == 0 { 1.0 } else { -1.0 };
    let (exponent, fraction) = (i32::from(half >> 10 & 0x1F), f32::from(half & 0x3FF));
    sign * match exponent {
        0 => fraction * 2f32.powi(-24),
        0x1F if fraction == 0.0 => f32::INFINITY,
        0x1F => f32::NAN,
        _ => (1024.0 + fraction) * 2f32.powi(exponent - 25),
    }
}

#[cfg(test)]
mod tests;
