//! What a column comes to as a whole, so that a chart need not decode it: count, sum, least, greatest, first, last with times, and how many
//! are uncertain or bad. Bytes and back; which of them a bucket needs is not decided here.
//!
//! ```text
//! stats = uncertain | bad | count | (unless count is 0) sum: f64 | least, greatest, first, last: as the column has them
//!         | ms from the first row of the chunk to the first | ms from the last to the last row
//! ```

use std::ops::Range;

use pattoo_wire::{Decimal, Quality, Sample, Value};

use super::super::Bucket;
use super::PartError;
use super::bytes::{Reader, put, put_signed};
use super::pack::decimals;
use super::rows::{Column, State, Values};

/// Of one column, or of several: they can be joined.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stats {
    /// Readings with a number. Where there are none, the rest says nothing.
    pub count: u64,
    /// Their sum. Of decimals it is exact before it becomes a double; the order in which doubles are added shows in the last digits.
    pub sum: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
    /// The first, and its time in ms since 1970.
    pub first: (i64, f64),
    /// The last, and its time in ms since 1970.
    pub last: (i64, f64),
    /// Readings of uncertain quality.
    pub uncertain: u64,
    /// Readings of bad quality.
    pub bad: u64,
}

impl Default for Stats {
    fn default() -> Self {
        let none = f64::NAN;
        Self { count: 0, sum: 0.0, min: none, max: none, first: (i64::MAX, none), last: (i64::MIN, none), uncertain: 0, bad: 0 }
    }
}

impl Stats {
    /// Joins those of other readings of the same series.
    pub fn join(&mut self, other: &Self) {
        self.uncertain += other.uncertain;
        self.bad += other.bad;
        if other.count == 0 {
            return;
        }
        if self.count == 0 || other.first.0 < self.first.0 {
            self.first = other.first;
        }
        if self.count == 0 || other.last.0 >= self.last.0 {
            self.last = other.last;
        }
        self.count += other.count;
        self.sum += other.sum;
        // The least of a number and NaN is the number.
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }

    /// Adds one reading.
    pub fn add(&mut self, at_ms: i64, sample: &Sample) {
        match sample.quality() {
            Quality::Good => {}
            Quality::Uncertain => self.uncertain += 1,
            Quality::Bad => self.bad += 1,
        }
        let Some(number) = sample.value().map(number).filter(|x| !x.is_nan()) else { return };
        let at = (at_ms, number);
        self.join(&Self { count: 1, sum: number, min: number, max: number, first: at, last: at, uncertain: 0, bad: 0 });
    }

    /// As a bucket of the store.
    #[must_use]
    pub fn bucket(&self, start_ms: i64) -> Bucket {
        let Self { count, sum, min, max, first, last, uncertain, bad } = *self;
        Bucket { start_ms, count, sum, min, max, first: first.1, last: last.1, uncertain, bad }
    }
}

fn number(value: &Value) -> f64 {
    value.to_f64().unwrap_or(f64::NAN)
}

/// First, last, least and greatest of values that are numbers, by their place.
struct Ends {
    count: u64,
    first: usize,
    last: usize,
    min: usize,
    max: usize,
}

fn ends<T: PartialOrd + Copy>(values: &[T]) -> Option<Ends> {
    #[expect(clippy::eq_op, reason = "only NaN differs from itself")]
    let mut numbers = values.iter().enumerate().filter(|(_, value)| *value == *value);
    let (first, value) = numbers.next()?;
    let mut ends = Ends { count: 1, first, last: first, min: first, max: first };
    let (mut min, mut max) = (value, value);
    for (at, value) in numbers {
        ends.count += 1;
        ends.last = at;
        if value < min {
            (min, ends.min) = (value, at);
        }
        if value > max {
            (max, ends.max) = (value, at);
        }
    }
    Some(ends)
}

/// Integers up to here are told apart by a float32, so that its decimal is the one that it prints as.
const MAX_MANTISSA_F32: u64 = 1 << 23;

/// A sum: of decimals it is exact as long as its mantissa has room.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Sum {
    Exact(Decimal),
    Rounded(f64),
}

impl Sum {
    pub(super) fn to_f64(self) -> f64 {
        match self {
            Self::Exact(decimal) => decimal.to_f64(),
            Self::Rounded(sum) => sum,
        }
    }

    pub(super) fn plus(self, other: Self) -> Self {
        let exact = match (self, other) {
            (Self::Exact(a), Self::Exact(b)) => {
                let exponent = a.exponent.min(b.exponent);
                let aligned = |d: Decimal| 10i64.checked_pow(u32::from(d.exponent.abs_diff(exponent)))?.checked_mul(d.mantissa);
                let mantissa = aligned(a).zip(aligned(b)).and_then(|(a, b)| a.checked_add(b));
                mantissa.map(|mantissa| Decimal { mantissa, exponent })
            }
            _ => None,
        };
        exact.map_or_else(|| Self::Rounded(self.to_f64() + other.to_f64()), Self::Exact)
    }
}

/// Sum of floats as charts show them: a float32 counts as the decimal that it prints as.
fn sum_f32(values: &[f32]) -> Sum {
    let short = decimals(values).filter(|(_, mantissas)| mantissas.iter().all(|m| m.unsigned_abs() < MAX_MANTISSA_F32));
    match short {
        Some((digits, mantissas)) => sum_decimals(&mantissas, -(digits as i8)),
        None => Sum::Rounded(values.iter().map(|x| number(&Value::F32(*x))).filter(|x| !x.is_nan()).sum()),
    }
}

fn sum_decimals(mantissas: &[i64], exponent: i8) -> Sum {
    let exact: i128 = mantissas.iter().map(|m| i128::from(*m)).sum();
    match i64::try_from(exact) {
        Ok(mantissa) => Sum::Exact(Decimal { mantissa, exponent }),
        Err(_) => Sum::Rounded(mantissas.iter().map(|m| Decimal { mantissa: *m, exponent }.to_f64()).sum()),
    }
}

/// Ends and sum of some values of a column, by their place among these; none where there is no number.
fn measured(values: &Values, of: Range<usize>) -> Option<(Ends, Sum)> {
    fn some<T>(values: &[T], of: Range<usize>) -> &[T] {
        values.get(of.start..of.end.min(values.len())).unwrap_or_default()
    }
    let (ends, sum) = match values {
        Values::None | Values::Text(_) => return None,
        Values::Decimal(exponent, values) => (ends(some(values, of.clone())), sum_decimals(some(values, of), *exponent)),
        Values::Unsigned(values) => (ends(some(values, of.clone())), Sum::Rounded(some(values, of).iter().map(|n| *n as f64).sum())),
        Values::F32(values) => (ends(some(values, of.clone())), sum_f32(some(values, of))),
        Values::F64(values) => (ends(some(values, of.clone())), Sum::Rounded(some(values, of).iter().filter(|x| !x.is_nan()).sum())),
        Values::Bool(values) => (ends(some(values, of.clone())), Sum::Rounded(some(values, of).iter().filter(|b| **b).count() as f64)),
    };
    Some((ends?, sum))
}

/// What values of a column come to, but for their quality, and with a sum that is exact where it can be. `rows` are those of the first and the last.
pub(super) fn of_values(column: &Column, times_ms: &[i64], of: Range<usize>, rows: (usize, usize)) -> Option<(Stats, Sum)> {
    let (ends, sum) = measured(&column.values, of.clone())?;
    let value = |place: usize| column.values.get(of.start + place).map_or(f64::NAN, |value| number(&value));
    // Finding the row of a value goes over all marks: for ends of the stretch, which they are but for NaN, it is known.
    let row = |place: usize| match place {
        0 => rows.0,
        _ if of.start + place + 1 == of.end => rows.1,
        _ => column.row_of(of.start + place),
    };
    let time = |place: usize| times_ms.get(row(place)).copied().unwrap_or_default();
    let (first, last) = ((time(ends.first), value(ends.first)), (time(ends.last), value(ends.last)));
    let stats = Stats { count: ends.count, sum: sum.to_f64(), min: value(ends.min), max: value(ends.max), first, last, ..Stats::default() };
    Some((stats, sum))
}

/// Writes what a column comes to that has these times.
pub(super) fn put_stats(out: &mut Vec<u8>, column: &Column, times_ms: &[i64]) {
    let marked = |wanted: fn(&State) -> bool| column.marks.iter().filter(|m| wanted(&m.state)).map(|m| m.rows as u64).sum();
    put(out, marked(|state| matches!(state, State::Uncertain(_))));
    put(out, marked(|state| matches!(state, State::Bad(_))));
    let Some((ends, sum)) = measured(&column.values, 0..usize::MAX) else { return put(out, 0) };
    put(out, ends.count);
    out.extend(sum.to_f64().to_le_bytes());
    for place in [ends.min, ends.max, ends.first, ends.last] {
        put_value(out, &column.values, place);
    }
    let time = |place| times_ms.get(column.row_of(place)).copied().unwrap_or_default();
    let (first_ms, last_ms) = (times_ms.first().copied().unwrap_or_default(), times_ms.last().copied().unwrap_or_default());
    put(out, time(ends.first).wrapping_sub(first_ms) as u64);
    put(out, last_ms.wrapping_sub(time(ends.last)) as u64);
}

/// Reads it, for a column of a chunk that has these ends.
pub(super) fn take_stats(reader: &mut Reader<'_>, like: &Values, (first_ms, last_ms): (i64, i64)) -> Result<Stats, PartError> {
    const WHAT: &str = "statistics of a column";
    let (uncertain, bad, count) = (reader.number(WHAT)?, reader.number(WHAT)?, reader.number(WHAT)?);
    let none = Stats { uncertain, bad, ..Stats::default() };
    if count == 0 {
        return Ok(none);
    }
    let sum = f64::from_le_bytes(reader.array(WHAT)?);
    let mut value = || take_value(reader, like);
    let (min, max, first, last) = (value()?, value()?, value()?, value()?);
    let first = (first_ms.wrapping_add(reader.number(WHAT)? as i64), first);
    let last = (last_ms.wrapping_sub(reader.number(WHAT)? as i64), last);
    Ok(Stats { count, sum, min, max, first, last, ..none })
}

fn put_value(out: &mut Vec<u8>, values: &Values, place: usize) {
    match values {
        Values::None | Values::Text(_) => {}
        Values::Decimal(_, values) => put_signed(out, values.get(place).copied().unwrap_or_default()),
        Values::Unsigned(values) => put(out, values.get(place).copied().unwrap_or_default()),
        Values::F32(values) => out.extend(values.get(place).copied().unwrap_or_default().to_le_bytes()),
        Values::F64(values) => out.extend(values.get(place).copied().unwrap_or_default().to_le_bytes()),
        Values::Bool(values) => out.push(u8::from(values.get(place).copied().unwrap_or_default())),
    }
}

fn take_value(reader: &mut Reader<'_>, like: &Values) -> Result<f64, PartError> {
    const WHAT: &str = "statistics of a column";
    Ok(number(&match like {
        Values::None | Values::Text(_) => return Err(reader.damaged(WHAT)),
        Values::Decimal(exponent, _) => Value::Decimal(Decimal { mantissa: reader.signed(WHAT)?, exponent: *exponent }),
        Values::Unsigned(_) => Value::Unsigned(reader.number(WHAT)?),
        Values::F32(_) => Value::F32(f32::from_le_bytes(reader.array(WHAT)?)),
        Values::F64(_) => Value::F64(f64::from_le_bytes(reader.array(WHAT)?)),
        Values::Bool(_) => Value::Bool(reader.byte(WHAT)? == 1),
    }))
}
