//! Other ways to write the same columns, chunk by chunk: what they cost in bytes and time. Values only: no times, heads or checksums.

use pattoo_wire::{Sample, Value};
use pco::data_types::Number;
use pco::standalone::simple_compress;
use pco::{ChunkConfig, DeltaSpec, ModeSpec};

/// A column of one chunk.
pub(crate) enum Column {
    Integers(Vec<i64>),
    Floats(Vec<f32>),
}

/// A way to write a column.
pub(crate) type Way = (&'static str, fn(&Column) -> anyhow::Result<usize>);

pub(crate) const WAYS: [Way; 6] = [
    ("pco, level 8, as it comes", |column| pco(column, &ChunkConfig::default())),
    ("pco, level 4, as it comes", |column| pco(column, &ChunkConfig::default().with_compression_level(4))),
    ("pco, level 8, told how to difference, short floats as decimals", |column| told(column, 8)),
    ("pco, level 6, told how to difference, short floats as decimals", |column| told(column, 6)),
    ("pco, level 4, told how to difference, short floats as decimals", |column| told(column, 4)),
    ("differences in blocks of 128, packed in bits, short floats as decimals", |column| match column {
        Column::Integers(values) => Ok(packed(values)),
        Column::Floats(values) => Ok(decimals(values)
            .map_or_else(|| packed(&values.iter().map(|x| i64::from(x.to_bits())).collect::<Vec<_>>()), |mantissas| packed(&mantissas))),
    }),
];

/// Columns of so many rows from the samples of one point.
pub(crate) fn columns<'a>(samples: impl Iterator<Item = &'a Sample>, rows: usize) -> Vec<Column> {
    let values: Vec<&Value> = samples.filter_map(Sample::value).collect();
    let integer = |value: &&Value| match value {
        Value::Decimal(d) => Some(d.mantissa),
        Value::Unsigned(n) => Some(*n as i64),
        Value::Bool(b) => Some(i64::from(*b)),
        _ => None,
    };
    let float = |value: &&Value| if let Value::F32(x) = value { Some(*x) } else { None };
    let column = |chunk: &[&Value]| match chunk.iter().map(integer).collect() {
        Some(integers) => Column::Integers(integers),
        None => Column::Floats(chunk.iter().filter_map(float).collect()),
    };
    values.chunks(rows).map(column).collect()
}

fn pco(column: &Column, config: &ChunkConfig) -> anyhow::Result<usize> {
    Ok(match column {
        Column::Integers(values) => simple_compress(values, config)?,
        Column::Floats(values) => simple_compress(values, config)?,
    }
    .len())
}

fn told(column: &Column, level: usize) -> anyhow::Result<usize> {
    fn write<T: Number>(values: &[T], level: usize, delta: DeltaSpec) -> anyhow::Result<usize> {
        let config = ChunkConfig::default().with_compression_level(level).with_mode_spec(ModeSpec::Classic).with_delta_spec(delta);
        Ok(simple_compress(values, &config)?.len())
    }
    match column {
        Column::Integers(values) => write(values, level, DeltaSpec::TryConsecutive(1)),
        Column::Floats(values) => match decimals(values) {
            Some(mantissas) => write(&mantissas, level, DeltaSpec::NoOp),
            None => write(values, level, DeltaSpec::NoOp),
        },
    }
}

fn decimals(values: &[f32]) -> Option<Vec<i64>> {
    [1.0, 10.0, 100.0].into_iter().find_map(|unit: f64| {
        let mantissa = |x: &f32| {
            let mantissa = (f64::from(*x) * unit).round();
            (((mantissa / unit) as f32).to_bits() == x.to_bits()).then_some(mantissa as i64)
        };
        values.iter().map(mantissa).collect()
    })
}

/// Bytes of the values or their differences, whichever is less: the least of each block, the width, and the rest in that width.
fn packed(values: &[i64]) -> usize {
    const BLOCK: usize = 128;
    fn write(values: &[i64], out: &mut Vec<u8>) {
        for block in values.chunks(BLOCK) {
            let (least, most) = (block.iter().min().copied().unwrap_or(0), block.iter().max().copied().unwrap_or(0));
            let width = u64::BITS - (most.wrapping_sub(least) as u64).leading_zeros();
            let bytes = (u64::BITS - least.unsigned_abs().leading_zeros() + 8) / 8;
            out.extend(least.to_le_bytes().into_iter().take(bytes as usize).chain([width as u8]));
            let (mut held, mut bits) = (0u128, 0);
            for value in block {
                held |= u128::from(value.wrapping_sub(least) as u64) << bits;
                bits += width;
                while bits >= 8 {
                    out.push(held as u8);
                    held >>= 8;
                    bits -= 8;
                }
            }
            if bits > 0 {
                out.push(held as u8);
            }
        }
    }
    let differences: Vec<i64> =
        values.iter().scan(0i64, |before, value| Some(value.wrapping_sub(std::mem::replace(before, *value)))).collect();
    let written = |values: &[i64]| {
        let mut out = Vec::new();
        write(values, &mut out);
        out.len()
    };
    written(values).min(written(&differences))
}
