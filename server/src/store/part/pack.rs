//! A column of numbers as bytes and back, bit for bit. Times, quality and what the numbers mean are not known here.
//!
//! ```text
//! numbers = 0 | first (zigzag of the bits) | { length of a run, step to the next number (zigzag) }* | length      few changes, or few numbers
//!         | 1 | pco of the numbers, as unsigned integers                                                         all others
//! floats  = 0..=6: that many digits after the point | numbers: mantissas        where every float is such a decimal
//!         | 255 | numbers: bits, in the order of the floats
//! flags   = first (0, 1) | { length of a run }*                                                                  few changes
//!         | 2 | one bit each, the lowest first                                                                   all others
//! ```
//! pco is told how to difference, and never looks for a mode by itself: that is a third of its time, and the better size. Why pco at all, and
//! why this level: `tests/bench/store-parts.md`.

use pco::data_types::Number;
use pco::standalone::{simple_compress, simple_decompress_into};
use pco::{ChunkConfig, DeltaSpec, ModeSpec};

use super::PartError;
use super::bytes::{Reader, put, put_signed, zigzag};

/// Beyond it pco takes twice the time for less than 0.1 % of the size.
const LEVEL: usize = 6;
/// Runs are shorter than pco where there are at most this many of them for each number.
const RUNS_PER_NUMBER: f64 = 1.0 / 40.0;
/// Nor is a column of so few worth it: its own header is as long. There are many such columns where a hundred thousand series
/// share a head.
const SHORT: usize = 16;
/// Digits after the point that a float is tried with.
const MAX_DIGITS_F32: u8 = 3;
pub(in crate::store) const MAX_DIGITS_F64: u8 = 6;
/// Above it not every integer is a double.
const MAX_EXACT: f64 = 9_007_199_254_740_992.0;
const BITS: u8 = 255;

const RUNS: u8 = 0;
const PCO: u8 = 1;
const BITMAP: u8 = 2;

/// An unsigned integer of either width.
pub(in crate::store) trait Word: Number + Copy + PartialEq {
    /// Its difference to an earlier one, as the nearer way around.
    fn step(self, before: Self) -> i64;
    fn after(self, step: i64) -> Self;
    const ZERO: Self;
}

impl Word for u32 {
    const ZERO: Self = 0;
    fn step(self, before: Self) -> i64 {
        i64::from(self.wrapping_sub(before) as i32)
    }
    fn after(self, step: i64) -> Self {
        self.wrapping_add(step as u32)
    }
}

impl Word for u64 {
    const ZERO: Self = 0;
    fn step(self, before: Self) -> i64 {
        self.wrapping_sub(before) as i64
    }
    fn after(self, step: i64) -> Self {
        self.wrapping_add(step as u64)
    }
}

/// What a column looks like from afar.
struct Survey {
    runs: usize,
    /// Bits that the numbers take together: as they are, and as their first and second differences.
    bits: [u64; 3],
}

fn survey<W: Word>(words: &[W]) -> Survey {
    let mut survey = Survey { runs: 0, bits: [0; 3] };
    let Some(&first) = words.first() else { return survey };
    let width = |step: i64| u64::from(u64::BITS - zigzag(step).leading_zeros());
    // The middle of the column stands for its level.
    let level = words.get(words.len() / 2).copied().unwrap_or(first);
    let (mut before, mut step_before) = (first, 0);
    survey.runs = 1;
    for &word in words {
        let step = word.step(before);
        survey.runs += usize::from(step != 0);
        survey.bits[0] += width(word.step(level));
        survey.bits[1] += width(step);
        survey.bits[2] += width(step.wrapping_sub(step_before));
        (before, step_before) = (word, step);
    }
    survey
}

impl Survey {
    /// Bits of the best way.
    fn least(&self) -> u64 {
        self.bits.into_iter().min().unwrap_or(0)
    }

    fn order(&self) -> usize {
        let least = self.least();
        self.bits.iter().position(|bits| *bits == least).unwrap_or(0)
    }
}

pub(in crate::store) fn put_words<W: Word>(out: &mut Vec<u8>, words: &[W]) -> Result<(), PartError> {
    put_surveyed(out, words, &survey(words))
}

fn put_surveyed<W: Word>(out: &mut Vec<u8>, words: &[W], survey: &Survey) -> Result<(), PartError> {
    if words.len() <= SHORT || survey.runs as f64 <= 1.0 + words.len() as f64 * RUNS_PER_NUMBER {
        out.push(RUNS);
        let mut before = W::ZERO;
        for run in words.chunk_by(|a, b| a == b) {
            let &[first, ..] = run else { continue };
            put_signed(out, first.step(before));
            put(out, run.len() as u64);
            before = first;
        }
        return Ok(());
    }
    out.push(PCO);
    let delta = match survey.order() {
        0 => DeltaSpec::NoOp,
        order => DeltaSpec::TryConsecutive(order),
    };
    let config = ChunkConfig::default().with_compression_level(LEVEL).with_mode_spec(ModeSpec::Classic).with_delta_spec(delta);
    let packed = simple_compress(words, &config).map_err(|e| PartError::Unwritable(e.to_string()))?;
    out.extend_from_slice(&packed);
    Ok(())
}

/// `count` numbers, which is all that the reader holds.
pub(in crate::store) fn take_words<W: Word>(reader: &mut Reader<'_>, count: usize) -> Result<Vec<W>, PartError> {
    const WHAT: &str = "column of numbers";
    match reader.byte(WHAT)? {
        RUNS => {
            let mut words = Vec::with_capacity(count);
            let mut word = W::ZERO;
            while words.len() < count {
                word = word.after(reader.signed(WHAT)?);
                let run = reader.length(count - words.len(), WHAT)?;
                if run == 0 {
                    return Err(reader.damaged(WHAT));
                }
                words.resize(words.len() + run, word);
            }
            if reader.is_empty() { Ok(words) } else { Err(reader.damaged(WHAT)) }
        }
        PCO => {
            let mut words = vec![W::ZERO; count];
            let damaged = reader.damaged(WHAT);
            match simple_decompress_into(reader.rest(), &mut words) {
                Ok(progress) if progress.finished && progress.n_processed == count => Ok(words),
                _ => Err(damaged),
            }
        }
        _ => Err(reader.damaged(WHAT)),
    }
}

/// Signed integers in the order of unsigned ones.
pub(in crate::store) fn from_signed(number: i64) -> u64 {
    number as u64 ^ 1 << 63
}

pub(in crate::store) fn to_signed(word: u64) -> i64 {
    (word ^ 1 << 63) as i64
}

/// A float of either width.
pub(in crate::store) trait Float: Copy {
    type Bits: Word;
    const MAX_DIGITS: u8;
    /// Bits whose order as integers is that of the floats.
    fn ordered(self) -> Self::Bits;
    fn from_ordered(bits: Self::Bits) -> Self;
    fn widened(self) -> f64;
    fn narrowed(number: f64) -> Self;
}

impl Float for f32 {
    type Bits = u32;
    const MAX_DIGITS: u8 = MAX_DIGITS_F32;
    fn ordered(self) -> u32 {
        let bits = self.to_bits();
        if bits >> 31 == 1 { !bits } else { bits | 1 << 31 }
    }
    fn from_ordered(bits: u32) -> Self {
        Self::from_bits(if bits >> 31 == 1 { bits & !(1 << 31) } else { !bits })
    }
    fn widened(self) -> f64 {
        f64::from(self)
    }
    fn narrowed(number: f64) -> Self {
        number as Self
    }
}

impl Float for f64 {
    type Bits = u64;
    const MAX_DIGITS: u8 = MAX_DIGITS_F64;
    fn ordered(self) -> u64 {
        let bits = self.to_bits();
        if bits >> 63 == 1 { !bits } else { bits | 1 << 63 }
    }
    fn from_ordered(bits: u64) -> Self {
        Self::from_bits(if bits >> 63 == 1 { bits & !(1 << 63) } else { !bits })
    }
    fn widened(self) -> f64 {
        self
    }
    fn narrowed(number: f64) -> Self {
        number
    }
}

pub(in crate::store) fn ten_to(digits: u8) -> f64 {
    (0..digits).fold(1.0, |unit, _| unit * 10.0)
}

/// The integer that this float is in units of its last digit, if it comes back from it bit for bit.
fn mantissa<F: Float>(float: F, unit: f64) -> Option<i64> {
    let scaled = (float.widened() * unit).round();
    // Back from the integer, as reading does it: -0.0 is no decimal.
    let mantissa = scaled as i64;
    let exact = scaled.abs() < MAX_EXACT && F::narrowed(mantissa as f64 / unit).ordered() == float.ordered();
    exact.then_some(mantissa)
}

/// Mantissas of floats that are all decimals of few digits, and how many digits they have.
pub(in crate::store) fn decimals<F: Float>(floats: &[F]) -> Option<(u8, Vec<i64>)> {
    let mut digits = 0;
    let mut mantissas = Vec::with_capacity(floats.len());
    // The first that needs more digits begins it anew; each number of digits is tried once.
    while let Some(float) = floats.get(mantissas.len()) {
        match mantissa(*float, ten_to(digits)) {
            Some(mantissa) => mantissas.push(mantissa),
            None if digits == F::MAX_DIGITS => return None,
            None => {
                digits += 1;
                mantissas.clear();
            }
        }
    }
    Some((digits, mantissas))
}

pub(in crate::store) fn put_floats<F: Float>(out: &mut Vec<u8>, floats: &[F]) -> Result<(), PartError> {
    let bits: Vec<F::Bits> = floats.iter().map(|float| float.ordered()).collect();
    let surveyed = survey(&bits);
    if let Some((digits, mantissas)) = decimals(floats) {
        let words: Vec<u64> = mantissas.into_iter().map(from_signed).collect();
        let as_decimals = survey(&words);
        if as_decimals.least() <= surveyed.least() {
            out.push(digits);
            return put_surveyed(out, &words, &as_decimals);
        }
    }
    out.push(BITS);
    put_surveyed(out, &bits, &surveyed)
}

pub(in crate::store) fn take_floats<F: Float>(reader: &mut Reader<'_>, count: usize) -> Result<Vec<F>, PartError> {
    let digits = reader.byte("column of floats")?;
    if digits == BITS {
        return Ok(take_words(reader, count)?.into_iter().map(F::from_ordered).collect());
    }
    if digits > F::MAX_DIGITS {
        return Err(reader.damaged("column of floats"));
    }
    let unit = ten_to(digits);
    let words = take_words::<u64>(reader, count)?;
    Ok(words.into_iter().map(|word| F::narrowed(to_signed(word) as f64 / unit)).collect())
}

pub(super) fn put_flags(out: &mut Vec<u8>, flags: &[bool]) {
    let runs = flags.chunk_by(|a, b| a == b);
    if runs.clone().count() > flags.len() / 16 + 1 {
        out.push(BITMAP);
        out.extend(flags.chunks(8).map(|byte| byte.iter().rev().fold(0, |packed, flag| packed << 1 | u8::from(*flag))));
        return;
    }
    out.push(u8::from(flags.first().copied().unwrap_or_default()));
    for run in runs {
        put(out, run.len() as u64);
    }
}

pub(super) fn take_flags(reader: &mut Reader<'_>, count: usize) -> Result<Vec<bool>, PartError> {
    const WHAT: &str = "column of flags";
    let mut flags = Vec::with_capacity(count);
    let mut flag = match reader.byte(WHAT)? {
        BITMAP => {
            let bytes = reader.take(count.div_ceil(8), WHAT)?;
            flags.extend(bytes.iter().flat_map(|byte| (0..8).map(move |bit| byte >> bit & 1 == 1)).take(count));
            false
        }
        first @ (0 | 1) => first == 1,
        _ => return Err(reader.damaged(WHAT)),
    };
    while flags.len() < count {
        let run = reader.length(count - flags.len(), WHAT)?;
        if run == 0 {
            return Err(reader.damaged(WHAT));
        }
        flags.resize(flags.len() + run, flag);
        flag = !flag;
    }
    if reader.is_empty() { Ok(flags) } else { Err(reader.damaged(WHAT)) }
}
