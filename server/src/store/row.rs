//! How one row of the embedded store lies in bytes; format 1. Pure, lossless, and never trusts what it reads.
//!
//! ```text
//! sample = head (u8: kind | quality << 4) | reason (u16 LE, unless good) | value
//! kind   = 0 none · 1 decimal: exponent (i8), mantissa in zigzag form · 2 unsigned · 3 float32 · 4 float64 · 5 false · 6 true · 7 text
//! ```
//! Integers are little endian without their leading zero bytes; whatever comes last in a row needs no length.
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

use pattoo_wire::{Decimal, Labels, Quality, Reason, Sample, Series, Value};
use serde::{Deserialize, Serialize};

use super::{Receipt, SeriesEntry, SeriesId, StreamState};

/// A series without its id, as JSON: it grows with the product and is small next to its readings.
#[derive(Serialize, Deserialize)]
struct SeriesRow {
    gateway: String,
    device: String,
    profile: String,
    device_labels: Labels,
    entry: Series,
}

pub(super) fn write_sample(sample: &Sample) -> Vec<u8> {
    let quality = match sample.quality() {
        Quality::Good => 0u8,
        Quality::Uncertain => 1,
        Quality::Bad => 2,
    };
    let kind = match sample.value() {
        None => 0,
        Some(Value::Decimal(_)) => 1,
        Some(Value::Unsigned(_)) => 2,
        Some(Value::F32(_)) => 3,
        Some(Value::F64(_)) => 4,
        Some(Value::Bool(false)) => 5,
        Some(Value::Bool(true)) => 6,
        Some(Value::Text(_)) => 7,
    };
    let mut bytes = vec![kind | quality << 4];
    if let Some(reason) = sample.reason() {
        bytes.extend_from_slice(&reason.code().to_le_bytes());
    }
    match sample.value() {
        None | Some(Value::Bool(_)) => {}
        Some(Value::Decimal(d)) => {
            bytes.extend_from_slice(&d.exponent.to_le_bytes());
            put_short(&mut bytes, ((d.mantissa << 1) ^ (d.mantissa >> 63)) as u64);
        }
        Some(Value::Unsigned(n)) => put_short(&mut bytes, *n),
        Some(Value::F32(x)) => bytes.extend_from_slice(&x.to_le_bytes()),
        Some(Value::F64(x)) => bytes.extend_from_slice(&x.to_le_bytes()),
        Some(Value::Text(text)) => bytes.extend_from_slice(text.as_bytes()),
    }
    bytes
}

pub(super) fn read_sample(bytes: &[u8]) -> Option<Sample> {
    let (&head, rest) = bytes.split_first()?;
    let (kind, quality) = (head & 0xf, head >> 4);
    let (reason, rest) = match quality {
        0 => (None, rest),
        _ => {
            let (code, rest) = rest.split_first_chunk()?;
            (Some(Reason::from_code(u16::from_le_bytes(*code))), rest)
        }
    };
    let value = match kind {
        0 => None,
        1 => {
            let (&exponent, rest) = rest.split_first()?;
            let zigzag = take_short(rest)?;
            let mantissa = (zigzag >> 1) as i64 ^ -((zigzag & 1) as i64);
            Some(Value::Decimal(Decimal { mantissa, exponent: i8::from_le_bytes([exponent]) }))
        }
        2 => Some(Value::Unsigned(take_short(rest)?)),
        3 => Some(Value::F32(f32::from_le_bytes(rest.try_into().ok()?))),
        4 => Some(Value::F64(f64::from_le_bytes(rest.try_into().ok()?))),
        5 | 6 => Some(Value::Bool(kind == 6)),
        7 => Some(Value::Text(std::str::from_utf8(rest).ok()?.to_owned())),
        _ => return None,
    };
    match (quality, value, reason) {
        (0, Some(value), None) => Some(Sample::Good(value)),
        (1, Some(value), Some(reason)) => Some(Sample::Uncertain(value, reason)),
        (2, None, Some(reason)) => Some(Sample::Bad(reason)),
        _ => None,
    }
}

fn put_short(bytes: &mut Vec<u8>, n: u64) {
    let used = (u64::BITS - n.leading_zeros()).div_ceil(8) as usize;
    bytes.extend(n.to_le_bytes().into_iter().take(used));
}

fn take_short(bytes: &[u8]) -> Option<u64> {
    (bytes.len() <= 8).then(|| bytes.iter().rev().fold(0, |n, byte| n << 8 | u64::from(*byte)))
}

pub(super) fn write_series(entry: &SeriesEntry) -> Result<Vec<u8>, String> {
    let SeriesEntry { id: _, gateway, device, profile, device_labels, entry } = entry.clone();
    serde_json::to_vec(&SeriesRow { gateway, device, profile, device_labels, entry }).map_err(|e| e.to_string())
}

pub(super) fn read_series(id: u32, bytes: &[u8]) -> Result<SeriesEntry, String> {
    let SeriesRow { gateway, device, profile, device_labels, entry } =
        serde_json::from_slice(bytes).map_err(|e| format!("series {id}: {e}"))?;
    Ok(SeriesEntry { id: SeriesId(id), gateway, device, profile, device_labels, entry })
}

pub(super) fn write_stream(state: &StreamState) -> Vec<u8> {
    let numbers = state.ahead.iter().flat_map(|(first, last)| [*first, *last]);
    std::iter::once(state.contiguous).chain(numbers).flat_map(u64::to_le_bytes).collect()
}

pub(super) fn read_stream(gateway: &str, stream: u64, bytes: &[u8]) -> Option<StreamState> {
    let (words, []) = bytes.as_chunks::<8>() else { return None };
    let mut numbers = words.iter().map(|word| u64::from_le_bytes(*word));
    let contiguous = numbers.next()?;
    let numbers: Vec<u64> = numbers.collect();
    let (pairs, []) = numbers.as_chunks::<2>() else { return None };
    let ahead = pairs.iter().map(|[first, last]| (*first, *last)).collect();
    Some(StreamState { gateway: gateway.to_owned(), stream, contiguous, ahead })
}

/// place (u64) | crc (u32) | readings (u32) | times (i64, i64), where there are any.
pub(super) fn write_receipt(receipt: &Receipt) -> Vec<u8> {
    let mut bytes = receipt.place.to_le_bytes().to_vec();
    bytes.extend(receipt.crc.to_le_bytes());
    bytes.extend(receipt.readings.to_le_bytes());
    if let Some((first, last)) = receipt.times_ms {
        bytes.extend(first.to_le_bytes());
        bytes.extend(last.to_le_bytes());
    }
    bytes
}

pub(super) fn read_receipt(seq: u64, bytes: &[u8]) -> Option<Receipt> {
    let (place, rest) = bytes.split_first_chunk()?;
    let (crc, rest) = rest.split_first_chunk()?;
    let (readings, rest) = rest.split_first_chunk()?;
    let times_ms = match rest.as_chunks::<8>() {
        ([], []) => None,
        ([first, last], []) => Some((i64::from_le_bytes(*first), i64::from_le_bytes(*last))),
        _ => return None,
    };
    let (crc, readings) = (u32::from_le_bytes(*crc), u32::from_le_bytes(*readings));
    Some(Receipt { seq, place: u64::from_le_bytes(*place), crc, readings, times_ms })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn values() -> impl Strategy<Value = Value> {
        prop_oneof![
            (any::<i64>(), any::<i8>()).prop_map(|(mantissa, exponent)| Value::Decimal(Decimal { mantissa, exponent })),
            (-300i64..300).prop_map(Value::int),
            any::<u64>().prop_map(Value::Unsigned),
            any::<u32>().prop_map(|bits| Value::F32(f32::from_bits(bits))),
            any::<u64>().prop_map(|bits| Value::F64(f64::from_bits(bits))),
            any::<bool>().prop_map(Value::Bool),
            ".{0,20}".prop_map(Value::Text),
        ]
    }

    fn samples() -> impl Strategy<Value = Sample> {
        (values(), any::<u16>(), 0..3).prop_map(|(value, code, quality)| match quality {
            0 => Sample::Good(value),
            1 => Sample::Uncertain(value, Reason::from_code(code)),
            _ => Sample::Bad(Reason::from_code(code)),
        })
    }

    proptest! {
        #[test]
        fn every_sample_comes_back_bit_for_bit(sample in samples()) {
            let bytes = write_sample(&sample);
            // NaN differs from itself, so the bits are compared through a second writing.
            prop_assert_eq!(write_sample(&read_sample(&bytes).unwrap()), bytes);
            prop_assert_eq!(format!("{:?}", read_sample(&write_sample(&sample)).unwrap()), format!("{sample:?}"));
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = read_sample(&bytes);
            let _ = read_stream("g", 1, &bytes);
            let _ = read_receipt(1, &bytes);
            let _ = read_series(1, &bytes);
        }
    }

    #[test]
    fn a_register_takes_few_bytes() {
        let bytes = |value| write_sample(&Sample::Good(value)).len();
        assert_eq!(bytes(Value::Decimal(Decimal { mantissa: 2301, exponent: -1 })), 4);
        assert_eq!((bytes(Value::int(0)), bytes(Value::Bool(true)), bytes(Value::Unsigned(u64::MAX))), (2, 1, 9));
    }
}
