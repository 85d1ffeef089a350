//! A reading as an integer, and what the integer means: exact both ways, or not at all. Pure.
//!
//! ```text
//! plane   = type [ exponent ] [ "?" reason of an uncertain reading ]        as the label `as`, as in d-1, u, f-5, b?5, bad
//! type    = d decimal: mantissa · u unsigned · f float32, g float64: shortest decimal, mantissa · b boolean · bad: code of the reason
//! ```
//! The exponent of a float depends on the float alone, so that the same reading always goes to the same place, and changes with every
//! sixth or third power of ten only: the values of a register that moves little share one plane.

use std::fmt;
use std::str::FromStr;

use pattoo_wire::{Decimal, Reason, Sample, Value};

/// Largest integer that comes back as it was: all up to here are doubles.
pub const MAX_INTEGER: i64 = 1 << 53;
/// Digits that a float32 has at most; with [`F32_STRIDE`] less one they stay below [`MAX_INTEGER`].
const F32_DIGITS: i32 = 9;
/// Exponents of float32 planes are multiples of this.
const F32_STRIDE: i32 = 6;
/// Exponents of float64 planes are multiples of this, where its digits leave room.
const F64_STRIDE: i32 = 3;

/// What an integer stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Type {
    /// Mantissa of a decimal with this exponent.
    Decimal(i8),
    /// A counter.
    Unsigned,
    /// Mantissa of the shortest decimal of a float32, with this exponent.
    F32(i16),
    /// The same of a float64.
    F64(i16),
    /// 0 or 1.
    Bool,
    /// Code of the reason of a bad reading.
    Bad,
}

/// A series of VictoriaMetrics beside others of the same series of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Plane {
    /// What its integers stand for.
    pub of: Type,
    /// Code of the reason, where its readings are uncertain.
    pub uncertain: Option<u16>,
}

/// The reading as an integer; none where no integer says all of it. Such a one the server has to keep itself: text, floats of more than 15
/// digits, NaN, infinities, -0, and integers beyond [`MAX_INTEGER`].
#[must_use]
pub fn write(sample: &Sample) -> Option<(Plane, i64)> {
    let uncertain = sample.reason().map(Reason::code);
    let (of, integer) = match sample.value() {
        None => return Some((Plane { of: Type::Bad, uncertain: None }, i64::from(uncertain?))),
        Some(Value::Decimal(d)) => (Type::Decimal(d.exponent), d.mantissa),
        Some(Value::Unsigned(n)) => (Type::Unsigned, i64::try_from(*n).ok()?),
        Some(Value::F32(x)) => {
            let (mantissa, exponent) = shortest(&format!("{x:e}"))?;
            let digits = (mantissa.unsigned_abs().checked_ilog10().unwrap_or(0) + 1) as i32;
            let strided = (exponent + digits - F32_DIGITS).div_euclid(F32_STRIDE) * F32_STRIDE;
            let (mantissa, exponent) = if mantissa == 0 { (0, 0) } else { (scaled(mantissa, exponent - strided)?, strided) };
            (Type::F32(exponent as i16), mantissa)
        }
        Some(Value::F64(x)) => {
            let (mantissa, exponent) = shortest(&format!("{x:e}"))?;
            let strided = exponent.div_euclid(F64_STRIDE) * F64_STRIDE;
            let roomy = scaled(mantissa, exponent - strided).filter(|integer| integer.abs() <= MAX_INTEGER);
            let (mantissa, exponent) = roomy.map_or((mantissa, exponent), |integer| (integer, strided));
            (Type::F64(exponent as i16), mantissa)
        }
        Some(Value::Bool(b)) => (Type::Bool, i64::from(*b)),
        Some(Value::Text(_)) => return None,
    };
    let plane = Plane { of, uncertain };
    // -0 and what has too many digits fail here, and what any mistake above would change.
    let same = integer.unsigned_abs() <= MAX_INTEGER as u64 && read(plane, integer).is_some_and(|back| identical(&back, sample));
    same.then_some((plane, integer))
}

/// The reading that [`write`] made this of; none if it did not.
#[must_use]
pub fn read(plane: Plane, integer: i64) -> Option<Sample> {
    let value = match plane.of {
        Type::Bad => return Some(Sample::Bad(Reason::from_code(u16::try_from(integer).ok()?))),
        Type::Decimal(exponent) => Value::Decimal(Decimal { mantissa: integer, exponent }),
        Type::Unsigned => Value::Unsigned(u64::try_from(integer).ok()?),
        Type::F32(exponent) => Value::F32(format!("{integer}e{exponent}").parse().ok()?),
        Type::F64(exponent) => Value::F64(format!("{integer}e{exponent}").parse().ok()?),
        Type::Bool => Value::Bool(match integer {
            0 => false,
            1 => true,
            _ => return None,
        }),
    };
    Some(match plane.uncertain {
        None => Sample::Good(value),
        Some(reason) => Sample::Uncertain(value, Reason::from_code(reason)),
    })
}

/// Equality of floats takes -0 for 0.
fn identical(a: &Sample, b: &Sample) -> bool {
    let sign = |sample: &Sample| match sample.value() {
        Some(Value::F32(x)) => x.is_sign_negative(),
        Some(Value::F64(x)) => x.is_sign_negative(),
        _ => false,
    };
    a == b && sign(a) == sign(b)
}

/// Mantissa and exponent of what a float prints as in the form `-1.25e-7`; none of NaN and the infinities.
fn shortest(text: &str) -> Option<(i64, i32)> {
    let (digits, exponent) = text.split_once('e')?;
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let exponent: i32 = exponent.parse().ok()?;
    Some((format!("{whole}{fraction}").parse().ok()?, exponent - fraction.len() as i32))
}

fn scaled(mantissa: i64, power: i32) -> Option<i64> {
    mantissa.checked_mul(10i64.checked_pow(u32::try_from(power).ok()?)?)
}

impl fmt::Display for Plane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.of {
            Type::Decimal(exponent) => write!(f, "d{exponent}")?,
            Type::Unsigned => f.write_str("u")?,
            Type::F32(exponent) => write!(f, "f{exponent}")?,
            Type::F64(exponent) => write!(f, "g{exponent}")?,
            Type::Bool => f.write_str("b")?,
            Type::Bad => f.write_str("bad")?,
        }
        self.uncertain.map_or(Ok(()), |reason| write!(f, "?{reason}"))
    }
}

/// Not the name of a plane.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no plane of a series: this program did not write it, or a newer one did")]
pub struct NoPlane(String);

impl FromStr for Plane {
    type Err = NoPlane;

    fn from_str(text: &str) -> Result<Self, NoPlane> {
        let plane = || {
            let (of, reason) = text.split_once('?').map_or((text, None), |(of, reason)| (of, Some(reason)));
            let (letter, exponent) = of.split_at_checked(1)?;
            let of = match (letter, exponent) {
                ("d", exponent) => Type::Decimal(exponent.parse().ok()?),
                ("f", exponent) => Type::F32(exponent.parse().ok()?),
                ("g", exponent) => Type::F64(exponent.parse().ok()?),
                ("u", "") => Type::Unsigned,
                ("b", "") => Type::Bool,
                ("b", "ad") => Type::Bad,
                _ => return None,
            };
            Some(Self { of, uncertain: reason.map(str::parse).transpose().ok()? })
        };
        plane().ok_or_else(|| NoPlane(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_reading_goes_to_its_plane_or_nowhere() {
        let decimal = |mantissa, exponent| Value::Decimal(Decimal { mantissa, exponent });
        for (value, expected) in [
            (decimal(2301, -1), Some(("d-1", 2301))),
            (decimal(-5, 18), Some(("d18", -5))),
            (decimal(1 << 53, 0), Some(("d0", 1 << 53))),
            (decimal((1 << 53) + 1, 0), None),
            (decimal(i64::MIN, 0), None),
            (Value::Unsigned(7), Some(("u", 7))),
            (Value::Unsigned(1 << 53), Some(("u", 1 << 53))),
            (Value::Unsigned((1 << 53) + 1), None),
            (Value::Unsigned(u64::MAX), None),
            (Value::F32(230.1), Some(("f-6", 230_100_000))),
            (Value::F32(-0.5), Some(("f-12", -500_000_000_000))),
            (Value::F32(0.0), Some(("f0", 0))),
            (Value::F32(-0.0), None),
            (Value::F32(f32::MAX), Some(("f30", 340_282_350))),
            (Value::F32(f32::NAN), None),
            (Value::F64(0.1), Some(("g-3", 100))),
            (Value::F64(1e300), Some(("g300", 1))),
            (Value::F64(0.1 + 0.2), None),
            (Value::F64(123_456_789_012.345), Some(("g-3", 123_456_789_012_345))),
            (Value::F64(f64::NEG_INFINITY), None),
            (Value::F64(-0.0), None),
            (Value::Bool(true), Some(("b", 1))),
            (Value::Text(String::new()), None),
        ] {
            let found = write(&Sample::Good(value.clone())).map(|(plane, integer)| (plane.to_string(), integer));
            assert_eq!(found, expected.map(|(plane, integer)| (plane.to_owned(), integer)), "{value:?}");
        }
        let uncertain = write(&Sample::Uncertain(Value::Bool(false), Reason::OutOfRange)).unwrap();
        assert_eq!((uncertain.0.to_string(), uncertain.1), (format!("b?{}", Reason::OutOfRange.code()), 0));
        let bad = write(&Sample::Bad(Reason::Other(u16::MAX))).unwrap();
        assert_eq!((bad.0.to_string(), bad.1), ("bad".to_owned(), 65_535));
    }

    #[test]
    fn what_no_plane_is_called_is_refused() {
        for text in ["", "d", "d128", "x0", "u1", "b0", "d-1?", "d-1?65536", "bad7", "ü"] {
            assert!(text.parse::<Plane>().is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_as_it_was(bits: u64, digits in 0u32..17, kind in 0u8..5, reason: Option<u16>) {
            let number = bits as i64 >> (bits % 60);
            let value = match kind {
                0 => Value::Decimal(Decimal { mantissa: number, exponent: (bits % 37) as i8 - 18 }),
                1 => Value::Unsigned(number as u64),
                2 => Value::F32(f32::from_bits(bits as u32)),
                3 => Value::F64(f64::from_bits(bits)),
                // Of few digits, as devices have them.
                _ => Value::F64((number % 10i64.pow(digits)) as f64 / 10f64.powi((bits % 9) as i32)),
            };
            let sample = match reason {
                None => Sample::Good(value),
                Some(reason) => Sample::Uncertain(value, Reason::from_code(reason)),
            };
            if let Some((plane, integer)) = write(&sample) {
                prop_assert!(integer.abs() <= MAX_INTEGER);
                prop_assert_eq!(plane.to_string().parse::<Plane>().unwrap(), plane);
                prop_assert!(identical(&read(plane, integer).unwrap(), &sample));
            }
        }

        #[test]
        fn every_ordinary_float32_has_a_plane(x in any::<f32>().prop_filter("ordinary", |x| x.is_finite() && *x != 0.0)) {
            prop_assert!(write(&Sample::Good(Value::F32(x))).is_some());
        }
    }
}
