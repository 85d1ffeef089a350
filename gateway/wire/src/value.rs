//! One measured value, its quality, and how a series' values are represented on the wire.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Reason;

/// Longest text value, in bytes of UTF-8.
pub const MAX_TEXT_BYTES: usize = 1024;

/// An exact decimal: `mantissa * 10^exponent`. 230.1 V from a register scaled by 0.1 is `2301e-1`, and stays it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decimal {
    /// The integer as the device counts it.
    pub mantissa: i64,
    /// Power of ten, -18 to 18.
    pub exponent: i8,
}

impl Decimal {
    /// The nearest double; exact where a double can be.
    #[must_use]
    pub fn to_f64(self) -> f64 {
        // Dividing by an exact power of ten rounds once; multiplying by 0.1 would round twice and give 230.10000000000002.
        let places = self.exponent.unsigned_abs();
        let scale = EXACT_POWERS.get(usize::from(places)).copied().unwrap_or_else(|| 10f64.powi(i32::from(places)));
        if self.exponent < 0 { self.mantissa as f64 / scale } else { self.mantissa as f64 * scale }
    }
}

/// Powers of ten as those readings have that there are millions of.
const EXACT_POWERS: [f64; 10] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];

impl fmt::Display for Decimal {
    /// Plain decimal notation with all digits the exponent gives: `230.1`, `0.05`, `1200`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.mantissa < 0 { "-" } else { "" };
        let number = self.mantissa.unsigned_abs();
        // As most are: without any memory for it.
        if let (-9..=-1, unit) = (self.exponent, 10u64.pow(u32::from(self.exponent.unsigned_abs().min(9)))) {
            return write!(f, "{sign}{}.{:0width$}", number / unit, number % unit, width = usize::from(self.exponent.unsigned_abs()));
        }
        let digits = number.to_string();
        if self.exponent >= 0 {
            let zeros = if self.mantissa == 0 { 0 } else { usize::from(self.exponent.unsigned_abs()) };
            return write!(f, "{sign}{digits}{}", "0".repeat(zeros));
        }
        let decimals = usize::from(self.exponent.unsigned_abs());
        let digits = format!("{digits:0>width$}", width = decimals + 1);
        let (whole, fraction) = digits.split_at(digits.len() - decimals);
        write!(f, "{sign}{whole}.{fraction}")
    }
}

/// One value, in the representation that its series has.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// An exact decimal; also plain integers and states (exponent 0).
    Decimal(Decimal),
    /// A 64-bit counter with all its digits.
    Unsigned(u64),
    /// A single-precision float as the register held it.
    F32(f32),
    /// A double-precision float.
    F64(f64),
    /// A coil, a discrete input, a flag.
    Bool(bool),
    /// Text, at most [`MAX_TEXT_BYTES`].
    Text(String),
}

impl Value {
    /// A plain integer.
    #[must_use]
    pub fn int(value: i64) -> Self {
        Self::Decimal(Decimal { mantissa: value, exponent: 0 })
    }

    /// The representation this value has.
    #[must_use]
    pub fn repr(&self) -> Repr {
        match self {
            Self::Decimal(d) => Repr::Decimal { exponent: d.exponent },
            Self::Unsigned(_) => Repr::Unsigned,
            Self::F32(_) => Repr::F32,
            Self::F64(_) => Repr::F64,
            Self::Bool(_) => Repr::Bool,
            Self::Text(_) => Repr::Text,
        }
    }

    /// The value as a number for charts and arithmetic: booleans are 0 and 1, text has none.
    ///
    /// A float32 is widened through its shortest decimal form, so that a register that prints as 230.1 charts as 230.1.
    #[must_use]
    pub fn to_f64(&self) -> Option<f64> {
        match self {
            Self::Decimal(d) => Some(d.to_f64()),
            Self::Unsigned(n) => Some(*n as f64),
            Self::F32(x) if x.is_finite() => shortest(*x).or_else(|| x.to_string().parse().ok()),
            Self::F32(x) => Some(f64::from(*x)),
            Self::F64(x) => Some(*x),
            Self::Bool(b) => Some(f64::from(u8::from(*b))),
            Self::Text(_) => None,
        }
    }
}

/// The decimal that a float32 prints as, without printing it: a fifth of the time. None where it is not found that way.
fn shortest(x: f32) -> Option<f64> {
    /// Up to here every integer is a float32, so that none of fewer digits can stand for it.
    const MAX_WHOLE: f64 = 16_777_216.0;
    const MAX_DIGITS: usize = 9;
    let exact = f64::from(x);
    // Powers of two have a nearer neighbour below than above; their nearest decimal need not be the shortest.
    if x.to_bits() & 0x7f_ffff == 0 || exact.abs() >= MAX_WHOLE {
        return (x == 0.0).then_some(exact);
    }
    let mut unit = 1.0;
    for _ in 0..=MAX_DIGITS {
        // A float32 and this power of five fit into a double: the product is exact, and so is the question of a tie.
        let scaled = exact * unit;
        let nearest = scaled.round();
        if ((nearest / unit) as f32) == x {
            return ((scaled - nearest).abs() < 0.5).then_some(nearest / unit);
        }
        unit *= 10.0;
    }
    None
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Decimal(d) => d.fmt(f),
            Self::Unsigned(n) => n.fmt(f),
            Self::F32(x) => x.fmt(f),
            Self::F64(x) => x.fmt(f),
            Self::Bool(b) => b.fmt(f),
            Self::Text(s) => f.write_str(s),
        }
    }
}

/// How all values of one series are represented. Part of the frozen schema v1: append only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Repr {
    /// Integers that share this power of ten.
    Decimal {
        /// Power of ten, -18 to 18.
        exponent: i8,
    },
    /// 64-bit counters.
    Unsigned,
    /// Single-precision floats.
    F32,
    /// Double-precision floats.
    F64,
    /// Booleans.
    Bool,
    /// Text.
    Text,
}

/// How far a reading may be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Quality {
    /// As the device meant it.
    Good,
    /// A value is there, but something about it is doubtful.
    Uncertain,
    /// There is no usable value.
    Bad,
}

impl fmt::Display for Quality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Good => "good",
            Self::Uncertain => "uncertain",
            Self::Bad => "bad",
        })
    }
}

/// What one poll of one point gave. A bad one has a reason and no value; only a good one needs no reason.
#[derive(Debug, Clone, PartialEq)]
pub enum Sample {
    /// A value as the device meant it.
    Good(Value),
    /// A value that is doubtful, and why.
    Uncertain(Value, Reason),
    /// No usable value, and why.
    Bad(Reason),
}

impl Sample {
    /// The value, if there is one.
    #[must_use]
    pub fn value(&self) -> Option<&Value> {
        match self {
            Self::Good(v) | Self::Uncertain(v, _) => Some(v),
            Self::Bad(_) => None,
        }
    }

    /// The quality.
    #[must_use]
    pub fn quality(&self) -> Quality {
        match self {
            Self::Good(_) => Quality::Good,
            Self::Uncertain(..) => Quality::Uncertain,
            Self::Bad(_) => Quality::Bad,
        }
    }

    /// Why it is not good.
    #[must_use]
    pub fn reason(&self) -> Option<Reason> {
        match self {
            Self::Good(_) => None,
            Self::Uncertain(_, r) | Self::Bad(r) => Some(*r),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_print_and_convert_without_rounding_twice() {
        for (mantissa, exponent, text, number) in [
            (2301, -1, "230.1", 230.1),
            (5, -2, "0.05", 0.05),
            (-5, -2, "-0.05", -0.05),
            (12, 2, "1200", 1200.0),
            (0, 3, "0", 0.0),
            (0, -2, "0.00", 0.0),
            (i64::MIN, 0, "-9223372036854775808", -9_223_372_036_854_775_808.0),
        ] {
            let decimal = Decimal { mantissa, exponent };
            assert_eq!(decimal.to_string(), text);
            assert_eq!(decimal.to_f64().to_bits(), f64::to_bits(number), "{text}");
        }
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(4096))]

        #[test]
        fn any_float32_charts_as_it_prints(bits in proptest::num::u32::ANY, thousandths in -9_999_999i32..9_999_999) {
            for x in [f32::from_bits(bits), thousandths as f32 / 1000.0, thousandths as f32 / 8.0].into_iter().filter(|x| x.is_finite()) {
                let printed: f64 = x.to_string().parse().unwrap();
                let found = Value::F32(x).to_f64().unwrap();
                proptest::prop_assert_eq!(found.to_bits(), printed.to_bits(), "{} is {}", x, found);
            }
        }
    }

    #[test]
    fn a_float32_charts_as_it_prints() {
        assert_eq!(Value::F32(230.1).to_f64(), Some(230.1));
        assert_eq!(Value::F32(f32::INFINITY).to_f64(), Some(f64::INFINITY));
    }
}
