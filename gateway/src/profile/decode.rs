//! Registers -> samples and back. Knows nothing of requests, requests' borders or devices.

use pattoo_wire::{Decimal, Reason, Sample, Value};

use super::{Encoding, ModbusRead, WordOrder};

impl ModbusRead {
    /// What these raw words mean: the point's registers in the order of their addresses, or one word 0 or 1 for a bit.
    ///
    /// A value always has the representation of [`ModbusRead::repr`]; what cannot be one is bad, with its reason.
    #[must_use]
    pub fn decode(&self, words: &[u16], range: Option<(f64, f64)>) -> Sample {
        if words.len() != usize::from(self.encoding.len()) {
            return Sample::Bad(Reason::Malformed);
        }
        if self.invalid.iter().any(|mark| mark == words) {
            return Sample::Bad(Reason::NotAValue);
        }
        let value = match self.value(self.join(words)) {
            Ok(value) => value,
            Err(reason) => return Sample::Bad(reason),
        };
        match (range, value.to_f64()) {
            (Some((low, high)), Some(number)) if !(low..=high).contains(&number) => Sample::Bad(Reason::OutOfRange),
            _ => Sample::Good(value),
        }
    }

    /// The raw words that [`ModbusRead::decode`] would take for this value; none where no words mean it.
    #[must_use]
    pub fn encode(&self, value: &Value) -> Option<Vec<u16>> {
        if value.repr() != self.repr() {
            return None;
        }
        let raw = match (value, self.encoding) {
            (Value::Bool(bit), _) => u64::from(*bit),
            (Value::F32(x), _) => u64::from(x.to_bits()),
            (Value::F64(x), _) => x.to_bits(),
            (Value::Unsigned(n), _) => *n,
            (Value::Decimal(d), Encoding::F32) => u64::from(d.to_string().parse::<f32>().ok()?.to_bits()),
            (Value::Decimal(d), Encoding::F64) => d.to_string().parse::<f64>().ok()?.to_bits(),
            (Value::Decimal(d), _) => self.unscale(d.mantissa)?,
            (Value::Text(_), _) => return None,
        };
        Some(self.split(raw))
    }

    /// The raw words with which the device says that it has no value: its first mark, or the float that is no number.
    #[must_use]
    pub fn no_value(&self) -> Option<Vec<u16>> {
        match (self.invalid.first(), self.encoding) {
            (Some(mark), _) => Some(mark.clone()),
            (None, Encoding::F32) => Some(self.split(u64::from(f32::NAN.to_bits()))),
            (None, Encoding::F64) => Some(self.split(f64::NAN.to_bits())),
            (None, _) => None,
        }
    }

    /// Splits a raw number into words in the order of their addresses.
    pub(crate) fn split(&self, raw: u64) -> Vec<u16> {
        let [.., a, b, c, d] = raw.to_be_bytes().as_chunks::<2>().0.iter().map(|pair| u16::from_be_bytes(*pair)).collect::<Vec<_>>()[..]
        else {
            return Vec::new();
        };
        let mut words = match self.encoding.len() {
            1 => vec![d],
            2 => vec![c, d],
            _ => vec![a, b, c, d],
        };
        if self.words == WordOrder::LowFirst {
            words.reverse();
        }
        words
    }

    fn join(&self, words: &[u16]) -> u64 {
        let push = |raw: u64, word: &u16| raw << 16 | u64::from(*word);
        match self.words {
            WordOrder::HighFirst => words.iter().fold(0, push),
            WordOrder::LowFirst => words.iter().rev().fold(0, push),
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "the number of registers bounds the raw number")]
    fn value(&self, raw: u64) -> Result<Value, Reason> {
        match self.encoding {
            Encoding::Bit => Ok(Value::Bool(raw != 0)),
            Encoding::U16 | Encoding::U32 => self.scaled(i128::from(raw)),
            Encoding::U64 if self.scale == (1, 0) => Ok(Value::Unsigned(raw)),
            Encoding::U64 => self.scaled(i128::from(raw)),
            Encoding::I16 => self.scaled(i128::from((raw as u16).cast_signed())),
            Encoding::I32 => self.scaled(i128::from((raw as u32).cast_signed())),
            Encoding::I64 => self.scaled(i128::from(raw.cast_signed())),
            Encoding::F32 => self.float(Value::F32(f32::from_bits(raw as u32))),
            Encoding::F64 => self.float(Value::F64(f64::from_bits(raw))),
        }
    }

    fn scaled(&self, raw: i128) -> Result<Value, Reason> {
        let mantissa = i64::try_from(raw * i128::from(self.scale.0)).map_err(|_| Reason::Overflow)?;
        Ok(Value::Decimal(Decimal { mantissa, exponent: self.scale.1 }))
    }

    /// A float that is no number, or infinite, is no value. `decimals` rounds what the register prints, half away from zero.
    fn float(&self, value: Value) -> Result<Value, Reason> {
        let number = value.to_f64().filter(|x| x.is_finite()).ok_or(Reason::NotAValue)?;
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

    /// The raw number that scales to this mantissa, cut to its registers; none where it does not divide or fit.
    fn unscale(&self, mantissa: i64) -> Option<u64> {
        let (mantissa, scale) = (i128::from(mantissa), i128::from(self.scale.0));
        if mantissa % scale != 0 {
            return None;
        }
        let raw = mantissa / scale;
        let (low, high) = self.encoding.integers()?;
        // Two's complement: the low bits are the register's.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked against the bounds of the encoding")]
        (low..=high).contains(&raw).then_some(raw as u64)
    }
}

impl Encoding {
    /// Least and greatest integer it holds; none for floats and bits.
    pub(crate) fn integers(self) -> Option<(i128, i128)> {
        match self {
            Self::U16 => Some((0, i128::from(u16::MAX))),
            Self::I16 => Some((i128::from(i16::MIN), i128::from(i16::MAX))),
            Self::U32 => Some((0, i128::from(u32::MAX))),
            Self::I32 => Some((i128::from(i32::MIN), i128::from(i32::MAX))),
            Self::U64 => Some((0, i128::from(u64::MAX))),
            Self::I64 => Some((i128::from(i64::MIN), i128::from(i64::MAX))),
            Self::Bit | Self::F32 | Self::F64 => None,
        }
    }
}
