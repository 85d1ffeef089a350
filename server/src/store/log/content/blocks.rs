//! Readings as part of a record, block by block and column by column, and back. Also, to read only, those of format 1, one by one.
//!
//! ```text
//! blocks = how many | each: times | series | { column }*, one for each series
//! times  = how many | each: step from the one before, the first of a block from that of the block before
//! series = runs | each: step from the end of the run before | how many follow one another
//! column = 1 | exponent (i8) | { step between mantissas }*       2 | { step between numbers }*       3 | { f32 }*       4 | { f64 }*
//!        | 5 | one bit for each, the lowest first                7 | { bytes | UTF-8 }*              0 | { cell }*, where it is not all good
//! cell   = kind | quality << 3 (u8) | reason, unless good | value, as in a column of its own
//! kind   = 0 none · 1 decimal: exponent (i8), mantissa · 2 unsigned · 3 float32 · 4 float64 · 5 false · 6 true · 7 text
//! ```
//! A step wraps; the first one of a column is from 0. Format 1 has for each reading a cell whose first byte also says `next series << 5` and
//! `same time << 6`, and series and time where that does not say them.

use pattoo_wire::{Decimal, Quality, Reason, Sample, Value};

use super::{MAX_ITEM_BYTES, WHAT};
use crate::store::part::PartError;
use crate::store::part::bytes::{Reader, put, put_signed};
use crate::store::{Block, Reading, Readings, SeriesId};

const CELLS: u8 = 0;
const DECIMALS: u8 = 1;
const UNSIGNED: u8 = 2;
const F32: u8 = 3;
const F64: u8 = 4;
const FLAGS: u8 = 5;
const TRUE: u8 = 6;
const TEXTS: u8 = 7;
const NEXT: u8 = 1 << 5;
const SAME: u8 = 1 << 6;

pub(super) fn put_blocks(out: &mut Vec<u8>, readings: &Readings) {
    put(out, readings.blocks().len() as u64);
    let mut origin_ms = 0i64;
    for block in readings.blocks() {
        put(out, block.times_ms().len() as u64);
        let mut before_ms = origin_ms;
        for at_ms in block.times_ms() {
            put_signed(out, at_ms.wrapping_sub(before_ms));
            before_ms = *at_ms;
        }
        origin_ms = block.times_ms().first().copied().unwrap_or(origin_ms);
        let runs = || block.series().chunk_by(|a, b| a.0.checked_add(1) == Some(b.0));
        put(out, runs().count() as u64);
        let mut end = 0i64;
        for run in runs() {
            let first = run.first().map_or(0, |series| i64::from(series.0));
            put_signed(out, first - end);
            put(out, run.len() as u64);
            end = first + run.len() as i64;
        }
        block.columns().for_each(|(_, samples)| put_column(out, samples));
    }
}

fn put_column(out: &mut Vec<u8>, samples: &[Sample]) {
    let begins = out.len();
    if put_good(out, samples).is_none() {
        out.truncate(begins);
        out.push(CELLS);
        samples.iter().for_each(|sample| put_cell(out, sample));
    }
}

/// Writes a column of good values of one kind; none if it is no such column, and something may have been written then.
fn put_good(out: &mut Vec<u8>, samples: &[Sample]) -> Option<()> {
    // Each kind has a loop of its own: there are millions of them.
    match samples.first()? {
        Sample::Good(Value::Decimal(first)) => {
            out.extend([DECIMALS, first.exponent as u8]);
            let mut before = 0i64;
            for sample in samples {
                let Sample::Good(Value::Decimal(d)) = sample else { return None };
                if d.exponent != first.exponent {
                    return None;
                }
                put_signed(out, d.mantissa.wrapping_sub(before));
                before = d.mantissa;
            }
        }
        Sample::Good(Value::Unsigned(_)) => {
            out.push(UNSIGNED);
            let mut before = 0u64;
            for sample in samples {
                let Sample::Good(Value::Unsigned(n)) = sample else { return None };
                put_signed(out, n.wrapping_sub(before) as i64);
                before = *n;
            }
        }
        Sample::Good(Value::F32(_)) => {
            out.push(F32);
            for sample in samples {
                let Sample::Good(Value::F32(x)) = sample else { return None };
                out.extend(x.to_le_bytes());
            }
        }
        Sample::Good(Value::F64(_)) => {
            out.push(F64);
            for sample in samples {
                let Sample::Good(Value::F64(x)) = sample else { return None };
                out.extend(x.to_le_bytes());
            }
        }
        Sample::Good(Value::Bool(_)) => {
            out.push(FLAGS);
            for samples in samples.chunks(8) {
                let bits = samples.iter().rev().map(|sample| if let Sample::Good(Value::Bool(flag)) = sample { Some(*flag) } else { None });
                out.push(bits.into_iter().try_fold(0, |packed, flag| Some(packed << 1 | u8::from(flag?)))?);
            }
        }
        Sample::Good(Value::Text(_)) => {
            out.push(TEXTS);
            for sample in samples {
                let Sample::Good(Value::Text(text)) = sample else { return None };
                super::put_bytes(out, text.as_bytes());
            }
        }
        Sample::Uncertain(..) | Sample::Bad(_) => return None,
    }
    Some(())
}

fn put_cell(out: &mut Vec<u8>, sample: &Sample) {
    let quality = match sample.quality() {
        Quality::Good => 0u8,
        Quality::Uncertain => 1,
        Quality::Bad => 2,
    };
    let kind = match sample.value() {
        None => CELLS,
        Some(Value::Decimal(_)) => DECIMALS,
        Some(Value::Unsigned(_)) => UNSIGNED,
        Some(Value::F32(_)) => F32,
        Some(Value::F64(_)) => F64,
        Some(Value::Bool(false)) => FLAGS,
        Some(Value::Bool(true)) => TRUE,
        Some(Value::Text(_)) => TEXTS,
    };
    out.push(kind | quality << 3);
    if let Some(reason) = sample.reason() {
        put(out, u64::from(reason.code()));
    }
    match sample.value() {
        None | Some(Value::Bool(_)) => {}
        Some(Value::Decimal(d)) => {
            out.push(d.exponent as u8);
            put_signed(out, d.mantissa);
        }
        Some(Value::Unsigned(n)) => put(out, *n),
        Some(Value::F32(x)) => out.extend(x.to_le_bytes()),
        Some(Value::F64(x)) => out.extend(x.to_le_bytes()),
        Some(Value::Text(text)) => super::put_bytes(out, text.as_bytes()),
    }
}

pub(super) fn take_blocks(from: &mut Reader<'_>) -> Result<Readings, PartError> {
    let mut readings = Readings::default();
    let mut origin_ms = 0i64;
    // Every block, time and run has a byte at least, so that no more are asked for than can be there.
    for _ in 0..from.length(from.left(), WHAT)? {
        let mut times_ms = Vec::new();
        let mut at_ms = origin_ms;
        for _ in 0..from.length(from.left(), WHAT)? {
            at_ms = at_ms.wrapping_add(from.signed(WHAT)?);
            times_ms.push(at_ms);
        }
        let mut series = Vec::new();
        let mut end = 0i64;
        for _ in 0..from.length(from.left(), WHAT)? {
            let first = end.checked_add(from.signed(WHAT)?).ok_or_else(|| from.damaged(WHAT))?;
            // Each has a column, of a byte at least.
            let length = from.length(from.left(), WHAT)? as i64;
            end = first.checked_add(length).ok_or_else(|| from.damaged(WHAT))?;
            let ids = u32::try_from(first).ok().zip(u32::try_from(end - 1).ok()).filter(|_| length > 0);
            let (first, last) = ids.ok_or_else(|| from.damaged(WHAT))?;
            series.extend((first..=last).map(SeriesId));
        }
        let Some(first_ms) = times_ms.first().copied().filter(|_| !series.is_empty()) else { return Err(from.damaged(WHAT)) };
        origin_ms = first_ms;
        let mut samples = Vec::new();
        for _ in &series {
            take_column(from, times_ms.len(), &mut samples)?;
        }
        readings.push_block(Block::new(series, times_ms, samples));
    }
    Ok(readings)
}

fn take_column(from: &mut Reader<'_>, ticks: usize, samples: &mut Vec<Sample>) -> Result<(), PartError> {
    let kind = from.byte(WHAT)?;
    let exponent = if kind == DECIMALS { i8::from_le_bytes(from.array(WHAT)?) } else { 0 };
    let flags = if kind == FLAGS { from.take(ticks.div_ceil(8), WHAT)? } else { &[] };
    let mut before = 0i64;
    for tick in 0..ticks {
        let value = match kind {
            CELLS => {
                let head = from.byte(WHAT)?;
                samples.push(take_cell(from, head)?);
                continue;
            }
            DECIMALS | UNSIGNED => {
                before = before.wrapping_add(from.signed(WHAT)?);
                if kind == UNSIGNED { Value::Unsigned(before as u64) } else { Value::Decimal(Decimal { mantissa: before, exponent }) }
            }
            FLAGS => Value::Bool(flags.get(tick / 8).is_some_and(|byte| byte >> (tick % 8) & 1 == 1)),
            F32 | F64 | TEXTS => take_value(from, kind)?.ok_or_else(|| from.damaged(WHAT))?,
            _ => return Err(from.damaged(WHAT)),
        };
        samples.push(Sample::Good(value));
    }
    Ok(())
}

fn take_value(from: &mut Reader<'_>, kind: u8) -> Result<Option<Value>, PartError> {
    Ok(match kind {
        CELLS => None,
        DECIMALS => {
            let exponent = i8::from_le_bytes(from.array(WHAT)?);
            Some(Value::Decimal(Decimal { exponent, mantissa: from.signed(WHAT)? }))
        }
        UNSIGNED => Some(Value::Unsigned(from.number(WHAT)?)),
        F32 => Some(Value::F32(f32::from_le_bytes(from.array(WHAT)?))),
        F64 => Some(Value::F64(f64::from_le_bytes(from.array(WHAT)?))),
        flag @ (FLAGS | TRUE) => Some(Value::Bool(flag == TRUE)),
        _ => {
            let length = from.length(MAX_ITEM_BYTES, WHAT)?;
            let text = std::str::from_utf8(from.take(length, WHAT)?).map_err(|_| from.damaged(WHAT))?;
            Some(Value::Text(text.to_owned()))
        }
    })
}

fn take_cell(from: &mut Reader<'_>, head: u8) -> Result<Sample, PartError> {
    let quality = head >> 3 & 3;
    let reason = match quality {
        0 => None,
        _ => Some(Reason::from_code(from.length(usize::from(u16::MAX), WHAT)? as u16)),
    };
    match (quality, take_value(from, head & 7)?, reason) {
        (0, Some(value), None) => Ok(Sample::Good(value)),
        (1, Some(value), Some(reason)) => Ok(Sample::Uncertain(value, reason)),
        (2, None, Some(reason)) => Ok(Sample::Bad(reason)),
        _ => Err(from.damaged(WHAT)),
    }
}

/// Those of format 1.
pub(super) fn take_one_by_one(from: &mut Reader<'_>) -> Result<Readings, PartError> {
    let mut readings = Readings::default();
    let (mut before, mut at_ms) = (0u32, 0i64);
    for _ in 0..from.length(from.left(), WHAT)? {
        let head = from.byte(WHAT)?;
        let step = if head & NEXT == 0 { from.signed(WHAT)? } else { 1 };
        let series = i64::from(before).checked_add(step).and_then(|series| u32::try_from(series).ok());
        before = series.ok_or_else(|| from.damaged(WHAT))?;
        if head & SAME == 0 {
            at_ms = at_ms.wrapping_add(from.signed(WHAT)?);
        }
        readings.push((SeriesId(before), Reading { at_ms, sample: take_cell(from, head)? }));
    }
    Ok(readings)
}
