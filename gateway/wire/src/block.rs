//! The block codec: columns of times, series, marks and values. The layout is documented in [`crate::batch`]; messages and
//! envelopes are not known here.

use crate::codec::{Reader, Writer};
use crate::envelope::invalid;
use crate::{Block, Decimal, MAX_TEXT_BYTES, Reason, Repr, Sample, Schema, Value, WireError};

/// Writes a block and gives its first time, from which the next one counts.
pub(crate) fn write_block(writer: &mut Writer, schema: &Schema, block: &Block, origin_ms: i64) -> Result<i64, WireError> {
    let ticks = block.times_ms.len();
    let (Some(&first_ms), true) = (block.times_ms.first(), block.samples.len() == block.series.len() * ticks && !block.series.is_empty())
    else {
        return Err(invalid(format!("a block of {} series and {ticks} ticks has {} samples", block.series.len(), block.samples.len())));
    };
    write_times(writer, &block.times_ms, first_ms, origin_ms)?;
    write_series(writer, &block.series)?;
    write_marks(writer, &block.samples)?;
    for (index, samples) in block.series.iter().zip(block.samples.chunks(ticks)) {
        let series = schema.series.get(*index as usize).ok_or_else(|| invalid(format!("series {index} is not in the schema")))?;
        write_values(writer, series.repr, samples).map_err(|e| invalid(format!("series {:?}: {e}", series.point)))?;
    }
    Ok(first_ms)
}

/// Reads a block of at most `room` cells.
pub(crate) fn read_block(reader: &mut Reader<'_>, schema: &Schema, origin_ms: i64, room: usize) -> Result<Block, WireError> {
    let times_ms = read_times(reader, origin_ms, room)?;
    let series = read_series(reader, schema.series.len(), room / times_ms.len())?;
    let mut marks = Marks::read(reader, series.len() * times_ms.len())?;
    let mut samples = Vec::with_capacity(series.len() * times_ms.len());
    for index in &series {
        let entry = schema.series.get(*index as usize).ok_or_else(|| invalid(format!("series {index} is not in the schema")))?;
        read_values(reader, entry.repr, &mut marks, times_ms.len(), &mut samples)?;
    }
    Ok(Block { series, times_ms, samples })
}

fn write_times(writer: &mut Writer, times_ms: &[i64], first_ms: i64, origin_ms: i64) -> Result<(), WireError> {
    writer.put_len(times_ms.len())?;
    writer.put(&first_ms.wrapping_sub(origin_ms))?;
    let mut step_ms = 0;
    for pair in times_ms.windows(2) {
        let [before, now] = pair else { continue };
        let step = now.wrapping_sub(*before);
        writer.put(&step.wrapping_sub(step_ms))?;
        step_ms = step;
    }
    Ok(())
}

fn read_times(reader: &mut Reader<'_>, origin_ms: i64, room: usize) -> Result<Vec<i64>, WireError> {
    let ticks = reader.take_len("number of ticks", room)?;
    if ticks == 0 {
        return Err(invalid("a block without a time"));
    }
    let mut now_ms = origin_ms.wrapping_add(reader.take("time")?);
    let mut times_ms = vec![now_ms];
    let mut step_ms = 0i64;
    for _ in 1..ticks {
        step_ms = step_ms.wrapping_add(reader.take("time")?);
        now_ms = now_ms.wrapping_add(step_ms);
        times_ms.push(now_ms);
    }
    Ok(times_ms)
}

fn write_series(writer: &mut Writer, series: &[u32]) -> Result<(), WireError> {
    let runs: Vec<&[u32]> = series.chunk_by(|a, b| a.checked_add(1) == Some(*b)).collect();
    writer.put_len(runs.len())?;
    let mut end = 0;
    for run in runs {
        let first = i64::from(run.first().copied().unwrap_or_default());
        writer.put(&(first - end))?;
        writer.put_len(run.len())?;
        end = first + run.len() as i64;
    }
    Ok(())
}

fn read_series(reader: &mut Reader<'_>, known: usize, room: usize) -> Result<Vec<u32>, WireError> {
    let runs = reader.take_len("number of series runs", room)?;
    let mut series = Vec::new();
    let mut end = 0i64;
    for _ in 0..runs {
        let first = end.wrapping_add(reader.take("series")?);
        let len = reader.take_len("series", room - series.len())?;
        let (Ok(from), Ok(to)) = (u32::try_from(first), u32::try_from(first.wrapping_add(len as i64))) else {
            return Err(invalid(format!("series {first} is out of range")));
        };
        if to as usize > known {
            return Err(invalid(format!("series {to} is not in the schema, which has {known}")));
        }
        series.extend(from..to);
        end = i64::from(to);
    }
    if series.is_empty() {
        return Err(invalid("a block without a series"));
    }
    Ok(series)
}

const UNCERTAIN: u8 = 1;
const BAD: u8 = 2;

/// A run of cells that are not good.
#[derive(Clone, Copy)]
struct Mark {
    skip: usize,
    len: usize,
    quality: u8,
    reason: Reason,
}

fn mark_of(sample: &Sample) -> Option<(u8, Reason)> {
    match sample {
        Sample::Good(_) => None,
        Sample::Uncertain(_, reason) => Some((UNCERTAIN, *reason)),
        Sample::Bad(reason) => Some((BAD, *reason)),
    }
}

fn write_marks(writer: &mut Writer, samples: &[Sample]) -> Result<(), WireError> {
    let mut marks: Vec<Mark> = Vec::new();
    let mut skip = 0;
    for run in samples.chunk_by(|a, b| mark_of(a) == mark_of(b)) {
        match run.first().and_then(mark_of) {
            None => skip = run.len(),
            Some((quality, reason)) => marks.push(Mark { skip: std::mem::take(&mut skip), len: run.len(), quality, reason }),
        }
    }
    writer.put_len(marks.len())?;
    for mark in marks {
        writer.put(&(mark.skip as u64, mark.len as u64, mark.quality, mark.reason.code()))?;
    }
    Ok(())
}

/// The marks of a block, taken cell by cell.
struct Marks {
    marks: std::vec::IntoIter<Mark>,
    current: Option<Mark>,
}

impl Marks {
    fn read(reader: &mut Reader<'_>, cells: usize) -> Result<Self, WireError> {
        let count = reader.take_len("number of marks", cells)?;
        let mut left = cells;
        let mut marks = Vec::new();
        for _ in 0..count {
            let skip = reader.take_len("mark", left)?;
            let len = reader.take_len("mark", left - skip)?;
            let (quality, code) = reader.take::<(u8, u16)>("mark")?;
            if len == 0 || !(quality == UNCERTAIN || quality == BAD) {
                return Err(invalid(format!("a mark of {len} cells with quality {quality}")));
            }
            left -= skip + len;
            marks.push(Mark { skip, len, quality, reason: Reason::from_code(code) });
        }
        let mut marks = marks.into_iter();
        Ok(Self { current: marks.next(), marks })
    }

    /// Whether the next cells are all good; then they are passed.
    fn pass(&mut self, cells: usize) -> bool {
        match self.current.as_mut() {
            None => true,
            Some(mark) if mark.skip >= cells => {
                mark.skip -= cells;
                true
            }
            Some(_) => false,
        }
    }

    fn next_cell(&mut self) -> Option<(u8, Reason)> {
        let mark = self.current.as_mut()?;
        if mark.skip > 0 {
            mark.skip -= 1;
            return None;
        }
        let found = (mark.quality, mark.reason);
        mark.len -= 1;
        if mark.len == 0 {
            self.current = self.marks.next();
        }
        Some(found)
    }
}

fn write_values(writer: &mut Writer, repr: Repr, samples: &[Sample]) -> Result<(), WireError> {
    let values = samples.iter().filter_map(Sample::value);
    let mut bits = Vec::new();
    let mut before = None;
    for value in values {
        match (repr, value) {
            (Repr::Decimal { exponent }, Value::Decimal(d)) if d.exponent == exponent => {
                writer.put(&d.mantissa.wrapping_sub(before.replace(d.mantissa as u64).unwrap_or(0) as i64))?;
            }
            (Repr::Unsigned, Value::Unsigned(n)) => match before.replace(*n) {
                None => writer.put(n)?,
                Some(last) => writer.put(&(n.wrapping_sub(last) as i64))?,
            },
            (Repr::F32, Value::F32(x)) => match before.replace(u64::from(x.to_bits())) {
                None => writer.bytes.extend_from_slice(&x.to_le_bytes()),
                Some(last) => writer.put(&(x.to_bits() ^ last as u32))?,
            },
            (Repr::F64, Value::F64(x)) => match before.replace(x.to_bits()) {
                None => writer.bytes.extend_from_slice(&x.to_le_bytes()),
                Some(last) => writer.put(&(x.to_bits() ^ last))?,
            },
            (Repr::Bool, Value::Bool(b)) => bits.push(*b),
            (Repr::Text, Value::Text(text)) if text.len() <= MAX_TEXT_BYTES => writer.put(text.as_str())?,
            _ => return Err(invalid(format!("value {value} does not fit {repr:?}"))),
        }
    }
    for byte in bits.chunks(8) {
        writer.bytes.push(byte.iter().rev().fold(0, |packed, bit| packed << 1 | u8::from(*bit)));
    }
    Ok(())
}

fn read_values(reader: &mut Reader<'_>, repr: Repr, marks: &mut Marks, ticks: usize, samples: &mut Vec<Sample>) -> Result<(), WireError> {
    if marks.pass(ticks) {
        return each_value(reader, repr, ticks, |value| samples.push(Sample::Good(value)));
    }
    let cells: Vec<_> = (0..ticks).map(|_| marks.next_cell()).collect();
    let present = cells.iter().filter(|mark| !matches!(mark, Some((BAD, _)))).count();
    let mut values = Vec::new();
    each_value(reader, repr, present, |value| values.push(value))?;
    let mut values = values.into_iter();
    let cells = cells.into_iter().filter_map(|cell| match cell {
        None => values.next().map(Sample::Good),
        Some((BAD, reason)) => Some(Sample::Bad(reason)),
        Some((_, reason)) => values.next().map(|value| Sample::Uncertain(value, reason)),
    });
    samples.extend(cells);
    Ok(())
}

/// Reads values of one series, one after the other. Each representation has a loop of its own: there are millions of them.
fn each_value(reader: &mut Reader<'_>, repr: Repr, count: usize, mut take: impl FnMut(Value)) -> Result<(), WireError> {
    match repr {
        Repr::Decimal { exponent } => {
            let mut mantissa = 0i64;
            for _ in 0..count {
                mantissa = mantissa.wrapping_add(reader.take_i64("decimal")?);
                take(Value::Decimal(Decimal { mantissa, exponent }));
            }
        }
        Repr::Unsigned => {
            let mut number = 0u64;
            for place in 0..count {
                let step = if place == 0 { reader.take_u64("unsigned")? } else { reader.take_i64("unsigned")? as u64 };
                number = number.wrapping_add(step);
                take(Value::Unsigned(number));
            }
        }
        Repr::F32 => {
            let mut bits = 0;
            for place in 0..count {
                bits ^= if place == 0 { u32::from_le_bytes(le_bytes(reader)?) } else { reader.take_u32("float")? };
                take(Value::F32(f32::from_bits(bits)));
            }
        }
        Repr::F64 => {
            let mut bits = 0;
            for place in 0..count {
                bits ^= if place == 0 { u64::from_le_bytes(le_bytes(reader)?) } else { reader.take_u64("double")? };
                take(Value::F64(f64::from_bits(bits)));
            }
        }
        Repr::Bool => {
            let bits = reader.take_bytes("booleans", count.div_ceil(8))?;
            let flag = |place: usize| bits.get(place / 8).is_some_and(|byte| byte >> (place % 8) & 1 == 1);
            (0..count).for_each(|place| take(Value::Bool(flag(place))));
        }
        Repr::Text => {
            for _ in 0..count {
                let len = reader.take_len("text", MAX_TEXT_BYTES)?;
                let text = std::str::from_utf8(reader.take_bytes("text", len)?).map_err(|e| invalid(format!("text: {e}")))?;
                take(Value::Text(text.to_owned()));
            }
        }
    }
    Ok(())
}

fn le_bytes<const N: usize>(reader: &mut Reader<'_>) -> Result<[u8; N], WireError> {
    reader.take_bytes("float", N)?.try_into().map_err(|_| WireError::Truncated("float"))
}
