//! Registers -> samples and back. Knows nothing of requests, requests' borders or devices.
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::profile::Table;

    fn point(encoding: Encoding, scale: (i64, i8), words: WordOrder) -> ModbusRead {
        ModbusRead { scale, words, ..ModbusRead::new(Table::Input, 0, encoding) }
    }

    fn plain(encoding: Encoding) -> ModbusRead {
        point(encoding, (1, 0), WordOrder::HighFirst)
    }

    fn decimal(mantissa: i64, exponent: i8) -> Sample {
        Sample::Good(Value::Decimal(Decimal { mantissa, exponent }))
    }

    #[test]
    fn registers_decode_as_the_tables_of_vendors_have_them() {
        use Encoding::*;
        for (encoding, scale, words, expected) in [
            (U16, (1, -1), &[2301][..], decimal(2301, -1)),
            (U16, (1, 0), &[0xFFFF], decimal(65_535, 0)),
            (I16, (1, -2), &[0xFFFF], decimal(-1, -2)),
            (I16, (-1, 0), &[0x8000], decimal(32_768, 0)),
            (U32, (1, 0), &[0x0001, 0x0002], decimal(65_538, 0)),
            (U32, (10, 0), &[0xFFFF, 0xFFFF], decimal(42_949_672_950, 0)),
            (I32, (5, -3), &[0xFFFF, 0xFFFE], decimal(-10, -3)),
            (U64, (1, 0), &[0xFFFF; 4], Sample::Good(Value::Unsigned(u64::MAX))),
            (U64, (1, -3), &[0, 0, 0, 7], decimal(7, -3)),
            (U64, (1, -3), &[0x8000, 0, 0, 0], Sample::Bad(Reason::Overflow)),
            (I64, (1, 0), &[0x8000, 0, 0, 0], decimal(i64::MIN, 0)),
            (I64, (10, 0), &[0x7FFF, 0, 0, 0], Sample::Bad(Reason::Overflow)),
            (F32, (1, 0), &[0x4366, 0x199A], Sample::Good(Value::F32(230.1))),
            (F32, (1, 0), &[0x7FC0, 0], Sample::Bad(Reason::NotAValue)),
            (F32, (1, 0), &[0xFF80, 0], Sample::Bad(Reason::NotAValue)),
            (F64, (1, 0), &[0x406C, 0xC333, 0x3333, 0x3333], Sample::Good(Value::F64(230.1))),
            (F64, (1, 0), &[0x7FF8, 0, 0, 0], Sample::Bad(Reason::NotAValue)),
            (Bit, (1, 0), &[1], Sample::Good(Value::Bool(true))),
            (Bit, (1, 0), &[0], Sample::Good(Value::Bool(false))),
            // A device that answers with another number of registers than asked.
            (U32, (1, 0), &[1], Sample::Bad(Reason::Malformed)),
            (U16, (1, 0), &[], Sample::Bad(Reason::Malformed)),
        ] {
            assert_eq!(point(encoding, scale, WordOrder::HighFirst).decode(words, None), expected, "{encoding:?} {words:X?}");
            let turned = words.iter().rev().copied().collect::<Vec<_>>();
            assert_eq!(point(encoding, scale, WordOrder::LowFirst).decode(&turned, None), expected, "{encoding:?} {turned:X?}");
        }
    }

    #[test]
    fn marks_and_limits_make_a_reading_bad() {
        let mut read = point(Encoding::U32, (1, -1), WordOrder::LowFirst);
        read.invalid = vec![vec![0, 0x8000], vec![0xFFFF, 0xFFFF]];
        assert_eq!(read.decode(&[0, 0x8000], None), Sample::Bad(Reason::NotAValue));
        assert_eq!(read.decode(&[0xFFFF, 0xFFFF], None), Sample::Bad(Reason::NotAValue));
        assert_eq!(read.decode(&[0x8000, 0], None), decimal(0x8000, -1));
        assert_eq!(read.no_value(), Some(vec![0, 0x8000]));
        let range = Some((0.5, 10.0));
        for (raw, expected) in [(4, Sample::Bad(Reason::OutOfRange)), (5, decimal(5, -1)), (100, decimal(100, -1))] {
            assert_eq!(read.decode(&[raw, 0], range), expected, "{raw}");
        }
        assert_eq!(read.decode(&[101, 0], range), Sample::Bad(Reason::OutOfRange));
        let float = plain(Encoding::F32);
        assert_eq!(float.decode(&float.no_value().unwrap(), None), Sample::Bad(Reason::NotAValue));
        assert_eq!(plain(Encoding::U16).no_value(), None);
    }

    #[test]
    fn decimals_round_what_the_register_prints() {
        for (encoding, decimals, text, expected) in [
            (Encoding::F32, 1, "230.1", decimal(2_301, -1)),
            (Encoding::F32, 2, "0.125", decimal(13, -2)),
            (Encoding::F32, 2, "-0.125", decimal(-13, -2)),
            (Encoding::F32, 0, "49.98", decimal(50, 0)),
            (Encoding::F64, 3, "1234.5675", decimal(1_234_568, -3)),
            (Encoding::F64, 3, "1e18", Sample::Bad(Reason::Overflow)),
        ] {
            let read = ModbusRead { decimals: Some(decimals), ..plain(encoding) };
            let raw = match encoding {
                Encoding::F32 => u64::from(text.parse::<f32>().unwrap().to_bits()),
                _ => text.parse::<f64>().unwrap().to_bits(),
            };
            assert_eq!(read.decode(&read.split(raw), None), expected, "{text}");
        }
    }

    #[test]
    fn what_no_register_means_is_not_encoded() {
        let value = |mantissa, exponent| Value::Decimal(Decimal { mantissa, exponent });
        assert_eq!(point(Encoding::U16, (5, 0), WordOrder::HighFirst).encode(&value(7, 0)), None);
        assert_eq!(plain(Encoding::U16).encode(&value(65_536, 0)), None);
        assert_eq!(plain(Encoding::U16).encode(&value(-1, 0)), None);
        assert_eq!(plain(Encoding::I16).encode(&value(-1, 0)), Some(vec![0xFFFF]));
        assert_eq!(plain(Encoding::U16).encode(&value(1, -1)), None);
        assert_eq!(plain(Encoding::F32).encode(&Value::F64(1.0)), None);
    }

    fn reads() -> impl Strategy<Value = ModbusRead> {
        use Encoding::*;
        let encodings = prop::sample::select(vec![Bit, U16, I16, U32, I32, U64, I64, F32, F64]);
        let scales = prop::sample::select(vec![(1, 0), (1, -1), (-1, -3), (10, 0), (25, -2), (i64::MAX, 0)]);
        (encodings, scales, prop::bool::ANY).prop_map(|(encoding, scale, low)| {
            let scale = if encoding.integers().is_some() { scale } else { (1, 0) };
            point(encoding, scale, if low { WordOrder::LowFirst } else { WordOrder::HighFirst })
        })
    }

    proptest! {
        #[test]
        fn a_good_value_has_the_representation_of_its_point_and_encodes_to_its_words(
            read in reads(), words in prop::collection::vec(any::<u16>(), 0..5),
        ) {
            match read.decode(&words, None) {
                Sample::Good(value) => {
                    prop_assert_eq!(value.repr(), read.repr());
                    // Any word but 0 is a set bit.
                    let words = if read.encoding == Encoding::Bit { vec![u16::from(words[0] != 0)] } else { words };
                    prop_assert_eq!(read.encode(&value), Some(words));
                }
                Sample::Bad(Reason::Malformed) => prop_assert_ne!(words.len(), usize::from(read.encoding.len())),
                Sample::Bad(Reason::Overflow) => prop_assert!(read.encoding.integers().is_some() && read.scale != (1, 0)),
                other => prop_assert_eq!(other, Sample::Bad(Reason::NotAValue)),
            }
        }

        #[test]
        fn what_is_encoded_decodes_to_itself(read in reads(), raw in any::<u64>()) {
            let read = ModbusRead { invalid: Vec::new(), ..read };
            if let Sample::Good(value) = read.decode(&read.split(raw), None) {
                let words = read.encode(&value).unwrap();
                prop_assert_eq!(read.decode(&words, None), Sample::Good(value));
            }
        }

        #[test]
        fn rounded_floats_of_common_size_survive_the_way_through_registers(mantissa in -999_999i64..=999_999, decimals in 0u8..=4) {
            for encoding in [Encoding::F32, Encoding::F64] {
                let read = ModbusRead { decimals: Some(decimals), ..plain(encoding) };
                let value = Value::Decimal(Decimal { mantissa, exponent: -decimals.cast_signed() });
                prop_assert_eq!(read.decode(&read.encode(&value).unwrap(), None), Sample::Good(value));
            }
        }
    }
}
