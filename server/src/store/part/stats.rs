//! What a column comes to as a whole, so that a chart need not decode it: count, sum, least, greatest, first, last with times, and how many
//! are uncertain or bad. Bytes and back; which of them a bucket needs is not decided here.
//!
//! ```text
//! stats = uncertain | bad | count | (unless count is 0) sum: f64 | least, greatest, first, last: as the column has them
//!         | ms from the first row of the chunk to the first | ms from the last to the last row
//! ```

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

/// Sum of floats as charts show them: a float32 counts as the decimal that it prints as.
fn sum_f32(values: &[f32]) -> f64 {
    let short = decimals(values).filter(|(_, mantissas)| mantissas.iter().all(|m| m.unsigned_abs() < MAX_MANTISSA_F32));
    match short {
        Some((digits, mantissas)) => sum_decimals(&mantissas, -(digits as i8)),
        None => values.iter().map(|x| number(&Value::F32(*x))).filter(|x| !x.is_nan()).sum(),
    }
}

fn sum_decimals(mantissas: &[i64], exponent: i8) -> f64 {
    let exact: i128 = mantissas.iter().map(|m| i128::from(*m)).sum();
    match i64::try_from(exact) {
        Ok(mantissa) => Decimal { mantissa, exponent }.to_f64(),
        Err(_) => mantissas.iter().map(|m| Decimal { mantissa: *m, exponent }.to_f64()).sum(),
    }
}

/// Writes what a column comes to that has these times.
pub(super) fn put_stats(out: &mut Vec<u8>, column: &Column, times_ms: &[i64]) {
    let marked = |wanted: fn(&State) -> bool| column.marks.iter().filter(|m| wanted(&m.state)).map(|m| m.rows as u64).sum();
    put(out, marked(|state| matches!(state, State::Uncertain(_))));
    put(out, marked(|state| matches!(state, State::Bad(_))));
    let (ends, sum) = match &column.values {
        Values::None | Values::Text(_) => (None, 0.0),
        Values::Decimal(exponent, values) => (ends(values), sum_decimals(values, *exponent)),
        Values::Unsigned(values) => (ends(values), values.iter().map(|n| *n as f64).sum()),
        Values::F32(values) => (ends(values), sum_f32(values)),
        Values::F64(values) => (ends(values), values.iter().filter(|x| !x.is_nan()).sum()),
        Values::Bool(values) => (ends(values), values.iter().filter(|b| **b).count() as f64),
    };
    let Some(ends) = ends else { return put(out, 0) };
    put(out, ends.count);
    out.extend(sum.to_le_bytes());
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
