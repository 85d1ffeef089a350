//! The bytes of the buffer's keys and values. Numbers in keys are big-endian, in values little-endian; each value that no other
//! checksum covers ends with its CRC-32.
//!
//! Holds no logic of the buffer.
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

use pattoo_wire::{Gap, GapReason, SchemaId};

use super::MAX_PIECE_BYTES;

pub(super) const HEAD: u8 = b'm';
pub(super) const BATCH: u8 = b'b';
pub(super) const GAP: u8 = b'g';
pub(super) const SCHEMA: u8 = b's';
const PIECE: u8 = b'c';

/// Bytes of a batch record beside its body.
pub(super) const BATCH_BYTES: usize = 3 * 8 + 4;

/// Bytes that a gap record adds to a body at most.
pub(super) const GAP_BYTES: usize = 5 * 10 + 1;

pub(super) fn batch_key(seq: u64) -> Vec<u8> {
    numbered(BATCH, &seq.to_be_bytes())
}

pub(super) fn seq_of_key(key: &[u8]) -> Option<u64> {
    let (letter, seq) = key.split_first()?;
    (*letter == BATCH).then_some(u64::from_be_bytes(seq.try_into().ok()?))
}

pub(super) fn gap_key(first_seq: u64) -> Vec<u8> {
    numbered(GAP, &first_seq.to_be_bytes())
}

pub(super) fn schema_key(id: SchemaId) -> Vec<u8> {
    numbered(SCHEMA, &id.0.to_be_bytes())
}

pub(super) fn schema_of_key(key: &[u8]) -> Option<SchemaId> {
    let (letter, id) = key.split_first()?;
    (*letter == SCHEMA).then_some(SchemaId(u32::from_be_bytes(id.try_into().ok()?)))
}

pub(super) fn piece_key(id: SchemaId, number: u16) -> Vec<u8> {
    let mut key = numbered(PIECE, &id.0.to_be_bytes());
    key.extend(number.to_be_bytes());
    key
}

fn numbered(letter: u8, number: &[u8]) -> Vec<u8> {
    let mut key = vec![letter];
    key.extend(number);
    key
}

/// Where the stream stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) stream: u64,
    pub(super) oldest: u64,
    pub(super) next: u64,
    pub(super) bytes: u64,
    pub(super) dropped_readings: u64,
}

impl Head {
    pub(super) fn encode(&self) -> Vec<u8> {
        sealed(&[self.stream, self.oldest, self.next, self.bytes, self.dropped_readings])
    }

    pub(super) fn decode(value: &[u8]) -> Option<Self> {
        let [stream, oldest, next, bytes, dropped_readings] = opened(value)?;
        (1 <= oldest && oldest <= next).then_some(Self { stream, oldest, next, bytes, dropped_readings })
    }
}

/// A batch with what must be known of it when its body cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BatchRecord {
    pub(super) from_ms: i64,
    pub(super) to_ms: i64,
    pub(super) readings: u64,
    pub(super) body: Vec<u8>,
}

impl BatchRecord {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut value = sealed(&[self.from_ms as u64, self.to_ms as u64, self.readings]);
        value.extend(&self.body);
        value
    }

    pub(super) fn decode(value: &[u8]) -> Option<Self> {
        let (front, body) = value.split_at_checked(BATCH_BYTES)?;
        let [from_ms, to_ms, readings] = opened(front)?;
        Some(Self { from_ms: from_ms as i64, to_ms: to_ms as i64, readings, body: body.to_vec() })
    }
}

/// A stored schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SchemaRecord {
    pub(super) bytes: u32,
    /// Last batch that names it; `u64::MAX` while new ones do.
    pub(super) last_seq: u64,
}

impl SchemaRecord {
    pub(super) fn pieces(&self) -> u16 {
        (self.bytes as usize).div_ceil(MAX_PIECE_BYTES) as u16
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        sealed(&[u64::from(self.bytes), self.last_seq])
    }

    pub(super) fn decode(value: &[u8]) -> Option<Self> {
        let [bytes, last_seq] = opened(value)?;
        let fits = bytes <= pattoo_wire::MAX_SCHEMA_BYTES as u64;
        fits.then_some(Self { bytes: bytes as u32, last_seq })
    }
}

pub(super) fn encode_gap(gap: &Gap) -> Vec<u8> {
    sealed(&[gap.from_ms as u64, gap.to_ms as u64, gap.first_seq, gap.last_seq, gap.readings, u64::from(gap.reason.code())])
}

pub(super) fn decode_gap(value: &[u8]) -> Option<Gap> {
    let [from_ms, to_ms, first_seq, last_seq, readings, reason] = opened(value)?;
    let reason = GapReason::from_code(u8::try_from(reason).ok()?);
    Some(Gap { from_ms: from_ms as i64, to_ms: to_ms as i64, first_seq, last_seq, readings, reason })
}

/// Numbers and their CRC.
pub(super) fn sealed(numbers: &[u64]) -> Vec<u8> {
    let mut value: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
    value.extend(crc32fast::hash(&value).to_le_bytes());
    value
}

/// What [`sealed`] wrote; none if there is any doubt.
pub(super) fn opened<const N: usize>(value: &[u8]) -> Option<[u64; N]> {
    let (numbers, crc) = value.split_last_chunk::<4>()?;
    if numbers.len() != N * 8 || crc32fast::hash(numbers) != u32::from_le_bytes(*crc) {
        return None;
    }
    let mut found = [0; N];
    for (number, bytes) in found.iter_mut().zip(numbers.as_chunks::<8>().0) {
        *number = u64::from_le_bytes(*bytes);
    }
    Some(found)
}
