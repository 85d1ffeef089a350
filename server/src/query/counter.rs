//! Readings of a counter -> how much it counted between them, or that nobody can tell. Pure.
//!
//! A counter that goes back has wrapped or was reset. It has wrapped where that is plausible by how fast it counted before and after;
//! else what it counted is not known. Whole numbers are subtracted as such, so a counter of 64 bits keeps all its digits.
//! What no reading shows cannot be told: a counter of 32 bits that wraps more than once between two polls counts too little, and so does
//! one that was reset and has passed its old value before the next poll.

use pattoo_wire::{Quality, Value};

use crate::store::Reading;

/// Readings looked at on each side of a possible wrap to learn how fast the counter counts.
const NEIGHBOURS: usize = 32;
/// Up to so many times as fast as its neighbours is plausible.
const PLAUSIBLE: f64 = 2.0;
/// A counter that is back where it was within so many readings was not reset: a device gave a wrong value for a moment.
const RESTORED_WITHIN: usize = 3;

/// What a counter stood at.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Count {
    at_ms: i64,
    number: Number,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Number {
    /// Counts of a power of ten.
    Whole(i128, i8),
    Float(f64),
}

/// What a counter counted from one time to another.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// Time of the reading before, ms since 1970.
    pub from_ms: i64,
    /// Time of the reading after.
    pub to_ms: i64,
    /// How much; none where that is not known.
    pub increase: Option<f64>,
    /// Whether it may be taken to have come evenly: no gap lies in between.
    pub even: bool,
}

/// Longer than so many usual gaps between two readings is a gap: what was counted is known, when is not.
const GAP: i64 = 4;

/// Longest step whose increase is taken to have come evenly.
#[must_use]
pub fn longest_even_ms(usual_gap_ms: i64) -> i64 {
    GAP.saturating_mul(usual_gap_ms)
}

impl Count {
    /// What a reading tells; none where it is not good or no number.
    #[must_use]
    pub fn of(reading: &Reading) -> Option<Self> {
        let number = match reading.sample.value().filter(|_| reading.sample.quality() == Quality::Good)? {
            Value::Decimal(d) => Number::Whole(i128::from(d.mantissa), d.exponent),
            Value::Unsigned(n) => Number::Whole(i128::from(*n), 0),
            other => Number::Float(other.to_f64().filter(|x| x.is_finite())?),
        };
        Some(Self { at_ms: reading.at_ms, number })
    }

    /// When.
    #[must_use]
    pub fn at_ms(self) -> i64 {
        self.at_ms
    }

    /// What, rounded to a double.
    #[must_use]
    pub fn to_f64(self) -> f64 {
        match self.number {
            Number::Whole(n, exponent) => n as f64 * 10f64.powi(i32::from(exponent)),
            Number::Float(x) => x,
        }
    }

    /// How much more the other is; exact for whole numbers, but for the last rounding.
    fn until(self, other: Self) -> f64 {
        match (self.number, other.number) {
            (Number::Whole(a, e), Number::Whole(b, f)) if e == f => scaled(b - a, e),
            _ => other.to_f64() - self.to_f64(),
        }
    }

    /// How much it can count before it wraps at so many bits.
    fn range(self, bits: u32) -> f64 {
        match self.number {
            Number::Whole(_, exponent) => scaled(1i128 << bits, exponent),
            Number::Float(_) => 0.0,
        }
    }

    /// How much it counted until the other if it wrapped at so many bits once.
    fn until_wrapped(self, other: Self, bits: u32) -> Option<f64> {
        let modulus = 1i128 << bits;
        match (self.number, other.number) {
            (Number::Whole(a, e), Number::Whole(b, f)) if e == f && (0..modulus).contains(&a) && (0..modulus).contains(&b) => {
                Some(scaled(modulus - a + b, e))
            }
            _ => None,
        }
    }
}

fn scaled(n: i128, exponent: i8) -> f64 {
    // Dividing by an exact power of ten rounds once.
    let scale = 10f64.powi(i32::from(exponent.unsigned_abs()));
    if exponent < 0 { n as f64 / scale } else { n as f64 * scale }
}

/// The time between two readings that is usual among these: the middle one of all.
#[must_use]
pub fn usual_gap_ms(counts: &[Count]) -> Option<i64> {
    let mut gaps: Vec<i64> = counts.windows(2).filter_map(|pair| Some(pair.last()?.at_ms - pair.first()?.at_ms)).collect();
    let middle = gaps.len() / 2;
    (!gaps.is_empty()).then(|| *gaps.select_nth_unstable(middle).1)
}

/// What was counted from each reading to the next, of readings in order of time. `bits` is where the counter wraps, if that is known.
///
/// Readings that come much closer than usual are taken together: a device that renews its counters now and then would seem to have
/// counted all of it in no time.
#[must_use]
pub fn steps(counts: &[Count], bits: Option<u32>) -> Vec<Step> {
    let usual_ms = usual_gap_ms(counts).unwrap_or(0);
    let (least_ms, longest_ms) = (usual_ms / 2, longest_even_ms(usual_ms));
    let mut steps: Vec<Step> = Vec::with_capacity(counts.len());
    let mut fallen: Option<(Count, usize)> = None;
    for at in 1..counts.len() {
        let (Some(&before), Some(&after)) = (counts.get(at - 1), counts.get(at)) else { continue };
        let mut increase = Some(before.until(after)).filter(|increase| *increase >= 0.0);
        if increase.is_none() {
            increase = wrapped(counts, at, bits, least_ms);
            if increase.is_none() {
                fallen = fallen.or(Some((before, at)));
            }
        } else if let Some((high, since)) = fallen {
            if high.until(after) >= 0.0 {
                increase = None;
                fallen = None;
            } else if at - since >= RESTORED_WITHIN {
                fallen = None;
            }
        }
        if bits == Some(32) && hides_a_wrap(counts, at, least_ms) {
            increase = None;
        }
        let step = Step { from_ms: before.at_ms, to_ms: after.at_ms, increase, even: true };
        match steps.last_mut() {
            Some(last) if last.to_ms - last.from_ms < least_ms => *last = joined(*last, step),
            _ => steps.push(step),
        }
    }
    // The last may be short as well.
    if let [.., _, last] = steps.as_slice()
        && last.to_ms - last.from_ms < least_ms
        && let Some(last) = steps.pop()
        && let Some(before) = steps.last_mut()
    {
        *before = joined(*before, last);
    }
    for step in &mut steps {
        step.even = step.to_ms - step.from_ms <= longest_ms;
    }
    steps
}

fn joined(a: Step, b: Step) -> Step {
    Step { to_ms: b.to_ms, increase: a.increase.zip(b.increase).map(|(a, b)| a + b), ..a }
}

/// What was counted until the reading at `at`, which is less than the one before, if it is plausible that the counter has wrapped.
fn wrapped(counts: &[Count], at: usize, bits: Option<u32>, least_ms: i64) -> Option<f64> {
    let (before, after) = (*counts.get(at - 1)?, *counts.get(at)?);
    let fastest = fastest_per_ms(counts, at, least_ms)?;
    let widths: &[u32] = match bits {
        Some(32) => &[32],
        Some(64) => &[64],
        _ => &[32, 64],
    };
    let most = PLAUSIBLE * fastest * (after.at_ms - before.at_ms) as f64;
    // One that may count half of its range in that time goes back too often to tell anything by.
    let tells = |bits: u32| most <= before.range(bits) / 2.0;
    let mut wraps = widths.iter().filter(|bits| tells(**bits)).filter_map(|bits| before.until_wrapped(after, *bits));
    wraps.find(|increase| *increase <= most)
}

/// Whether a counter of 32 bits was left alone for so long that it may have wrapped unseen.
fn hides_a_wrap(counts: &[Count], at: usize, least_ms: i64) -> bool {
    let (Some(before), Some(after)) = (counts.get(at - 1), counts.get(at)) else { return false };
    let gap_ms = after.at_ms - before.at_ms;
    let (Number::Whole(_, exponent), true) = (after.number, gap_ms > 3 * least_ms) else { return false };
    let most = fastest_per_ms(counts, at, least_ms).unwrap_or(0.0) * gap_ms as f64;
    most > scaled(1 << 31, exponent)
}

/// The fastest that the counter went forward near a reading, in a ms; none where it did not.
fn fastest_per_ms(counts: &[Count], at: usize, least_ms: i64) -> Option<f64> {
    let near = counts.get(at.saturating_sub(NEIGHBOURS + 1)..counts.len().min(at + NEIGHBOURS + 1))?;
    let apart = at - at.saturating_sub(NEIGHBOURS + 1);
    let rate = |(n, pair): (usize, &[Count])| {
        let (before, after) = (pair.first()?, pair.last()?);
        let gap_ms = after.at_ms - before.at_ms;
        let increase = before.until(*after);
        // The step in question says nothing of itself, and one in no time nothing at all.
        (n + 1 != apart && increase >= 0.0 && gap_ms > 0 && gap_ms >= least_ms).then(|| increase / gap_ms as f64)
    };
    near.windows(2).enumerate().filter_map(rate).reduce(f64::max)
}

#[cfg(test)]
mod tests;
