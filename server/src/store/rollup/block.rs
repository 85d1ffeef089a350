//! The steps of one series as bytes and back, bit for bit.
//!
//! ```text
//! block   = { steps that are left out | steps in a row }* | 0 | uncertain | bad | count: of every step
//!           | sum, least, greatest, first, last | ms from the start to the first | ms from the last to the end: of steps with a number
//! column  = its bytes | content
//! numbers = 0 | number                   all the same
//!         | 1 | { step to the next }*    at most [`SHORT`] of them
//!         | 2 | numbers of a part        all others
//! floats  = 0..=6: that many digits after the point | numbers: mantissas        where every float is such a decimal
//!         | 255 | f64*                                                           at most [`SHORT`] others
//!         | 254 | floats of a part                                               all others
//! ```
//! All numbers without a width are of 7 bits a byte, steps are zigzag. Short columns are not given to pco: its own header is as long as they are, and
//! a chart of a year opens thousands of them.

use super::super::part::bytes::{Reader, put, put_signed};
use super::super::part::pack::{MAX_DIGITS_F64, decimals, from_signed, put_floats, put_words, take_floats, take_words, ten_to, to_signed};
use super::super::part::{PartError, Stats};
use super::{MAX_ROWS, span_of};

/// Longest column that is written step by step.
const SHORT: usize = 128;
const SAME: u8 = 0;
const STEPS: u8 = 1;
const PACKED: u8 = 2;
const PACKED_FLOATS: u8 = 254;
const PLAIN_FLOATS: u8 = 255;
const WHAT: &str = "steps of a series";

/// Writes steps by their start, ascending.
pub(super) fn put_block(out: &mut Vec<u8>, rows: &[(i64, Stats)], day: i64, step_ms: i64) -> Result<(), PartError> {
    let wrong = || PartError::Unwritable("BUG: a step that is not of this day".into());
    let (first, end) = span_of(day).ok_or_else(wrong)?;
    let places = rows.iter().map(|(start_ms, _)| (start_ms - first) / step_ms);
    if !rows.iter().all(|(start_ms, _)| (first..end).contains(start_ms) && (start_ms - first) % step_ms == 0) {
        return Err(wrong());
    }
    let mut next = 0;
    let mut run = (0, 0);
    for place in places {
        if place != next && run.1 > 0 {
            put_run(out, run);
            run = (0, 0);
        }
        run = (run.0 + place - next, run.1 + 1);
        next = place + 1;
    }
    put_run(out, run);
    put_run(out, (0, 0));
    for count in [|s: &Stats| s.uncertain, |s: &Stats| s.bad, |s: &Stats| s.count] {
        put_numbers(out, rows.iter().map(|(_, stats)| count(stats) as i64).collect())?;
    }
    let numbers: Vec<&(i64, Stats)> = rows.iter().filter(|(_, stats)| stats.count > 0).collect();
    for float in [|s: &Stats| s.sum, |s: &Stats| s.min, |s: &Stats| s.max, |s: &Stats| s.first.1, |s: &Stats| s.last.1] {
        put_column(out, |out| floats(out, &numbers.iter().map(|(_, stats)| float(stats)).collect::<Vec<_>>()))?;
    }
    put_numbers(out, numbers.iter().map(|(start_ms, stats)| stats.first.0.wrapping_sub(*start_ms)).collect())?;
    put_numbers(out, numbers.iter().map(|(start_ms, stats)| start_ms.wrapping_add(step_ms).wrapping_sub(stats.last.0)).collect())
}

fn put_run(out: &mut Vec<u8>, (left_out, rows): (i64, i64)) {
    put(out, left_out as u64);
    put(out, rows as u64);
}

fn put_column(out: &mut Vec<u8>, content: impl FnOnce(&mut Vec<u8>) -> Result<(), PartError>) -> Result<(), PartError> {
    let mut column = Vec::new();
    content(&mut column)?;
    put(out, column.len() as u64);
    out.append(&mut column);
    Ok(())
}

fn put_numbers(out: &mut Vec<u8>, numbers: Vec<i64>) -> Result<(), PartError> {
    put_column(out, |out| self::numbers(out, &numbers))
}

fn numbers(out: &mut Vec<u8>, numbers: &[i64]) -> Result<(), PartError> {
    match numbers {
        [first, rest @ ..] if rest.iter().all(|number| number == first) => {
            out.push(SAME);
            put_signed(out, *first);
        }
        _ if numbers.len() <= SHORT => {
            out.push(STEPS);
            let mut before = 0i64;
            for number in numbers {
                put_signed(out, number.wrapping_sub(before));
                before = *number;
            }
        }
        _ => {
            out.push(PACKED);
            return put_words(out, &numbers.iter().map(|number| from_signed(*number)).collect::<Vec<_>>());
        }
    }
    Ok(())
}

fn floats(out: &mut Vec<u8>, floats: &[f64]) -> Result<(), PartError> {
    match decimals(floats) {
        Some((digits, mantissas)) => {
            out.push(digits);
            numbers(out, &mantissas)
        }
        None if floats.len() <= SHORT => {
            out.push(PLAIN_FLOATS);
            out.extend(floats.iter().flat_map(|float| float.to_le_bytes()));
            Ok(())
        }
        None => {
            out.push(PACKED_FLOATS);
            put_floats(out, floats)
        }
    }
}

/// Reads all that the reader holds.
pub(super) fn take(reader: &mut Reader<'_>, day: i64, step_ms: i64) -> Result<Vec<(i64, Stats)>, PartError> {
    let (first, end) = span_of(day).ok_or_else(|| reader.damaged(WHAT))?;
    let steps = usize::try_from((end - first) / step_ms).unwrap_or(0).min(MAX_ROWS);
    let mut rows: Vec<(i64, Stats)> = Vec::new();
    let mut next = 0;
    loop {
        let left_out = reader.length(steps - next, WHAT)?;
        let run = reader.length(steps - next - left_out, WHAT)?;
        if run == 0 {
            break;
        }
        let starts = (next + left_out..next + left_out + run).map(|place| first + place as i64 * step_ms);
        rows.extend(starts.map(|start_ms| (start_ms, Stats::default())));
        next += left_out + run;
    }
    let [uncertain, bad, counts] = [(); 3].map(|()| take_numbers(reader, rows.len()));
    for (((_, stats), uncertain), (bad, count)) in rows.iter_mut().zip(uncertain?).zip(bad?.into_iter().zip(counts?)) {
        (stats.uncertain, stats.bad, stats.count) = (uncertain as u64, bad as u64, count as u64);
    }
    let numbers = rows.iter().filter(|(_, stats)| stats.count > 0).count();
    let [sum, min, max, firsts, lasts] = [(); 5].map(|()| take_floats_of(reader, numbers));
    let (sum, min, max, firsts, lasts) = (sum?, min?, max?, firsts?, lasts?);
    let (after, before) = (take_numbers(reader, numbers)?, take_numbers(reader, numbers)?);
    if !reader.is_empty() {
        return Err(reader.damaged(WHAT));
    }
    let floats = sum.into_iter().zip(min).zip(max.into_iter().zip(firsts)).zip(lasts.into_iter().zip(after).zip(before));
    let with_numbers = rows.iter_mut().filter(|(_, stats)| stats.count > 0);
    for ((start_ms, stats), (((sum, min), (max, first)), ((last, after), before))) in with_numbers.zip(floats) {
        let times = (start_ms.wrapping_add(after), start_ms.wrapping_add(step_ms).wrapping_sub(before));
        *stats = Stats { sum, min, max, first: (times.0, first), last: (times.1, last), ..*stats };
    }
    Ok(rows)
}

fn column<'a>(reader: &mut Reader<'a>) -> Result<Reader<'a>, PartError> {
    let bytes = reader.length(reader.left(), WHAT)?;
    let mut of = reader.clone();
    reader.take(bytes, WHAT)?;
    of.keep(bytes);
    Ok(of)
}

fn take_numbers(reader: &mut Reader<'_>, count: usize) -> Result<Vec<i64>, PartError> {
    numbers_of(&mut column(reader)?, count)
}

fn numbers_of(reader: &mut Reader<'_>, count: usize) -> Result<Vec<i64>, PartError> {
    let numbers = match reader.byte(WHAT)? {
        SAME => vec![reader.signed(WHAT)?; count],
        STEPS => {
            let mut numbers = Vec::with_capacity(count);
            let mut number = 0i64;
            for _ in 0..count {
                number = number.wrapping_add(reader.signed(WHAT)?);
                numbers.push(number);
            }
            numbers
        }
        PACKED => return Ok(take_words(reader, count)?.into_iter().map(to_signed).collect()),
        _ => return Err(reader.damaged(WHAT)),
    };
    if reader.is_empty() { Ok(numbers) } else { Err(reader.damaged(WHAT)) }
}

fn take_floats_of(reader: &mut Reader<'_>, count: usize) -> Result<Vec<f64>, PartError> {
    let mut reader = column(reader)?;
    match reader.byte(WHAT)? {
        PACKED_FLOATS => take_floats(&mut reader, count),
        PLAIN_FLOATS => {
            let floats = (0..count).map(|_| Ok(f64::from_le_bytes(reader.array(WHAT)?))).collect::<Result<_, PartError>>()?;
            if reader.is_empty() { Ok(floats) } else { Err(reader.damaged(WHAT)) }
        }
        digits if digits <= MAX_DIGITS_F64 => {
            let unit = ten_to(digits);
            Ok(numbers_of(&mut reader, count)?.into_iter().map(|mantissa| mantissa as f64 / unit).collect())
        }
        _ => Err(reader.damaged(WHAT)),
    }
}
