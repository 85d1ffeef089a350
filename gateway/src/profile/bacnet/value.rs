//! What a property holds <-> samples of a point. Pure. Knows nothing of requests, or of the state of the object.
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

use pattoo_wire::{Decimal, MAX_TEXT_BYTES, Reason, Sample, Value};

use super::super::decode::{div_rounded, in_range, power_of_ten};
use super::{BacnetRead, BacnetScale, BacnetType, is_binary};
use crate::driver::bacnet::tags::Value as Held;

impl BacnetRead {
    /// What this value means; `factor` is what the object says as its scale, where the point wants that.
    ///
    /// A value always has the representation of [`BacnetRead::repr`]; what cannot be one is bad, with its reason.
    #[must_use]
    pub(crate) fn decode(&self, held: &Held, factor: Option<f64>, range: Option<(f64, f64)>) -> Sample {
        self.value(held, factor).map_or_else(Sample::Bad, |value| in_range(value, range))
    }

    fn value(&self, held: &Held, factor: Option<f64>) -> Result<Value, Reason> {
        match (self.holds, held) {
            (_, Held::Null) => Err(Reason::NotAValue),
            (_, Held::Unreadable) => Err(Reason::Malformed),
            (BacnetType::Text, Held::Text(text)) if text.len() > MAX_TEXT_BYTES => Err(Reason::Overflow),
            (BacnetType::Text, Held::Text(text)) => Ok(Value::Text(text.clone())),
            (BacnetType::Boolean, Held::Boolean(flag)) => Ok(Value::Bool(*flag)),
            (BacnetType::Boolean, Held::Enumerated(bit @ 0..=1)) => Ok(Value::Bool(*bit == 1)),
            (BacnetType::Boolean, Held::Unsigned(bit @ 0..=1)) => Ok(Value::Bool(*bit == 1)),
            (BacnetType::Text | BacnetType::Boolean, _) => Err(Reason::Mismatch),
            (BacnetType::Real, _) if self.scale != BacnetScale::Device => self.single(held),
            (BacnetType::Real | BacnetType::Double, _) => self.double(real(held)?, factor),
            (_, Held::Real(_) | Held::Double(_)) => Err(Reason::Mismatch),
            _ if self.scale == BacnetScale::Device => {
                let whole = whole(held)?;
                // A counter of more than 53 bits is the nearest double, as any number that is scaled by one.
                self.double(whole as f64, factor)
            }
            _ => self.whole(whole(held)?),
        }
    }

    fn single(&self, held: &Held) -> Result<Value, Reason> {
        if let (Held::Real(number), BacnetScale::None, None) = (held, self.scale, self.decimals) {
            return if number.is_finite() { Ok(Value::F32(*number)) } else { Err(Reason::NotAValue) };
        }
        let number = finite(self.times(real(held)?))?;
        if self.decimals.is_some() {
            return self.rounded(number);
        }
        #[expect(clippy::cast_possible_truncation, reason = "rounded once to the precision of the point")]
        let number = number as f32;
        if number.is_finite() { Ok(Value::F32(number)) } else { Err(Reason::Overflow) }
    }

    fn double(&self, number: f64, factor: Option<f64>) -> Result<Value, Reason> {
        let number = match self.scale {
            BacnetScale::Device => number * factor.ok_or(Reason::NotAValue)?,
            _ => self.times(number),
        };
        let number = finite(number)?;
        if self.decimals.is_some() { self.rounded(number) } else { Ok(Value::F64(number)) }
    }

    fn times(&self, number: f64) -> f64 {
        match self.scale {
            // Dividing by a power of ten rounds once, multiplying by 0.1 twice.
            BacnetScale::By(mantissa, exponent) if exponent < 0 => number * mantissa as f64 / 10f64.powi(-i32::from(exponent)),
            BacnetScale::By(mantissa, exponent) => number * mantissa as f64 * 10f64.powi(i32::from(exponent)),
            BacnetScale::None | BacnetScale::Device => number,
        }
    }

    fn rounded(&self, number: f64) -> Result<Value, Reason> {
        let decimals = self.decimals.unwrap_or_default();
        let mantissa = (number * 10f64.powi(i32::from(decimals))).round();
        // 2^63 is exact in a double, i64::MAX is not.
        if mantissa.abs() >= 9_223_372_036_854_775_808.0 {
            return Err(Reason::Overflow);
        }
        #[expect(clippy::cast_possible_truncation, reason = "a whole number below 2^63")]
        let mantissa = mantissa as i64;
        Ok(Value::Decimal(Decimal { mantissa, exponent: -decimals.cast_signed() }))
    }

    fn whole(&self, number: i128) -> Result<Value, Reason> {
        let (factor, exponent) = if let BacnetScale::By(mantissa, exponent) = self.scale { (mantissa, exponent) } else { (1, 0) };
        if self.repr() == pattoo_wire::Repr::Unsigned {
            return u64::try_from(number).map(Value::Unsigned).map_err(|_| Reason::Overflow);
        }
        let mantissa = number.checked_mul(factor.into()).and_then(|n| i64::try_from(n).ok()).ok_or(Reason::Overflow)?;
        Ok(Value::Decimal(Decimal { mantissa, exponent }))
    }

    /// What is written so that the device has this value; none where it cannot have exactly this one.
    pub(crate) fn encode(&self, value: &Value) -> Option<Held> {
        Some(match (self.holds, value) {
            (BacnetType::Boolean, Value::Bool(flag)) if is_binary(self.object) && self.is_present_value() => {
                Held::Enumerated(u32::from(*flag))
            }
            (BacnetType::Boolean, Value::Bool(flag)) => Held::Boolean(*flag),
            #[expect(clippy::cast_possible_truncation, reason = "the device holds a single")]
            (BacnetType::Real, _) => match (value, self.scale) {
                (Value::F32(number), BacnetScale::None) => Held::Real(*number),
                (number, _) => Held::Real(self.unscaled(number.to_f64()?) as f32),
            },
            (BacnetType::Double, number) => Held::Double(self.unscaled(number.to_f64()?)),
            (BacnetType::Unsigned, _) => Held::Unsigned(u64::try_from(self.raw(value)?).ok()?),
            (BacnetType::Signed, _) => Held::Signed(i64::try_from(self.raw(value)?).ok()?),
            (BacnetType::Enumerated, _) => Held::Enumerated(u32::try_from(self.raw(value)?).ok()?),
            (BacnetType::Boolean | BacnetType::Text, _) => return None,
        })
    }

    fn unscaled(&self, number: f64) -> f64 {
        match self.scale {
            BacnetScale::By(mantissa, exponent) => number / Decimal { mantissa, exponent }.to_f64(),
            BacnetScale::None | BacnetScale::Device => number,
        }
    }

    fn raw(&self, value: &Value) -> Option<i128> {
        let (mantissa, exponent) = match value {
            Value::Decimal(decimal) => (i128::from(decimal.mantissa), decimal.exponent),
            Value::Unsigned(number) => (i128::from(*number), 0),
            _ => return None,
        };
        let (factor, own) = if let BacnetScale::By(mantissa, exponent) = self.scale { (i128::from(mantissa), exponent) } else { (1, 0) };
        let power = exponent - own;
        Some(if power >= 0 {
            div_rounded(mantissa.checked_mul(power_of_ten(power))?, factor)
        } else {
            div_rounded(mantissa, factor.checked_mul(power_of_ten(-power))?)
        })
    }
}

fn finite(number: f64) -> Result<f64, Reason> {
    if number.is_finite() { Ok(number) } else { Err(Reason::NotAValue) }
}

/// Some devices hold whole numbers where the standard says real.
fn real(held: &Held) -> Result<f64, Reason> {
    match held {
        // By way of its text: 21.3 stays 21.3.
        Held::Real(number) if number.is_finite() => number.to_string().parse().map_err(|_| Reason::NotAValue),
        Held::Real(_) => Err(Reason::NotAValue),
        Held::Double(number) => finite(*number),
        other => whole(other).map(|number| number as f64),
    }
}

fn whole(held: &Held) -> Result<i128, Reason> {
    match held {
        Held::Unsigned(number) => Ok((*number).into()),
        Held::Signed(number) => Ok((*number).into()),
        Held::Enumerated(number) => Ok((*number).into()),
        _ => Err(Reason::Mismatch),
    }
}
