//! The bytes of the buffer's values, little-endian; each that no other checksum covers has its CRC-32.
//!
//! Holds no logic of the buffer.
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

use std::collections::BTreeMap;

use pattoo_wire::{Gap, GapReason, SchemaId};

use super::chunks::{Chunk, Ranges};
use super::held::{Hold, Holds, Offset};
use super::store::Numbered;

/// Bytes of a batch record beside its body.
pub(super) const BATCH_BYTES: usize = 3 * 8 + 4;

/// Bytes that a gap record adds to a body at most.
pub(super) const GAP_BYTES: usize = 5 * 10 + 1;

/// Bytes up to which batches of one commit share a value. A larger batch has its own.
pub(super) const MAX_GROUP_BYTES: usize = 7000;

/// Version of the head and of what is noted of a chunk.
const VERSION: u64 = 1;

/// Gap records that wait, by first batch and reason: a batch may be thinned first and dropped later.
pub(super) type Gaps = BTreeMap<(u64, u8), Gap>;

/// Where the stream stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) stream: u64,
    /// First batch that waits.
    pub(super) oldest: u64,
    pub(super) next: u64,
    /// Batches below are not given out any more, even if they are still on the disk: they are on record as a gap.
    pub(super) floor: u64,
    pub(super) dropped_readings: u64,
    /// Batches above `oldest` that were released.
    pub(super) ahead: Ranges,
    /// Batches that may have been sent, so that the server may have them.
    pub(super) given: Ranges,
    /// Last batch that carries a gap record.
    pub(super) gaps_until: u64,
    /// Gap records that no batch below `next` carries.
    pub(super) gaps: Gaps,
    pub(super) schemas: BTreeMap<SchemaId, SchemaRecord>,
    /// Batches whose times count from a boot.
    pub(super) holds: Holds,
}

/// A stored schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SchemaRecord {
    /// Last batch that names it; `u64::MAX` while new ones do.
    pub(super) last_seq: u64,
}

impl Head {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut numbers = vec![VERSION, self.stream, self.oldest, self.next, self.floor, self.dropped_readings, self.gaps_until];
        for ranges in [&self.ahead, &self.given] {
            numbers.push(ranges.len() as u64);
            numbers.extend(ranges.iter().flat_map(|(first, last)| [first, last]));
        }
        numbers.push(self.gaps.len() as u64);
        for gap in self.gaps.values() {
            let Gap { from_ms, to_ms, first_seq, last_seq, readings, reason } = gap;
            numbers.extend([*from_ms as u64, *to_ms as u64, *first_seq, *last_seq, *readings, u64::from(reason.code())]);
        }
        numbers.push(self.schemas.len() as u64);
        numbers.extend(self.schemas.iter().flat_map(|(id, record)| [u64::from(id.0), record.last_seq]));
        numbers.push(self.holds.iter().count() as u64);
        for Hold { boot, first_seq, last_seq, offset } in self.holds.iter() {
            let (kind, offset_ms) = match *offset {
                Offset::Unknown => (0, 0),
                Offset::Known(offset_ms) => (1, offset_ms),
                Offset::Estimated(offset_ms) => (2, offset_ms),
            };
            numbers.extend([*boot, *first_seq, *last_seq, kind, offset_ms as u64]);
        }
        sealed(&numbers)
    }

    pub(super) fn decode(value: &[u8]) -> Option<Self> {
        let numbers = opened(value)?;
        let mut numbers = numbers.into_iter();
        if numbers.next()? != VERSION {
            return None;
        }
        let [stream, oldest, next, floor, dropped_readings, gaps_until] = taken(&mut numbers)?;
        let mut head = Self { stream, oldest, next, floor, dropped_readings, gaps_until, ..Self::default() };
        for ranges in [&mut head.ahead, &mut head.given] {
            for _ in 0..numbers.next()? {
                let [first, last] = taken(&mut numbers)?;
                ranges.add(first, last);
            }
        }
        for _ in 0..numbers.next()? {
            let [from_ms, to_ms, first_seq, last_seq, readings, reason] = taken(&mut numbers)?;
            let reason = GapReason::from_code(u8::try_from(reason).ok()?);
            let gap = Gap { from_ms: from_ms as i64, to_ms: to_ms as i64, first_seq, last_seq, readings, reason };
            head.gaps.insert((first_seq, reason.code()), gap);
        }
        for _ in 0..numbers.next()? {
            let [id, last_seq] = taken(&mut numbers)?;
            head.schemas.insert(SchemaId(u32::try_from(id).ok()?), SchemaRecord { last_seq });
        }
        for _ in 0..numbers.next()? {
            let [boot, first_seq, last_seq, kind, offset_ms] = taken(&mut numbers)?;
            let offset = match kind {
                0 => Offset::Unknown,
                1 => Offset::Known(offset_ms as i64),
                2 => Offset::Estimated(offset_ms as i64),
                _ => return None,
            };
            head.holds.push(Hold { boot, first_seq, last_seq, offset });
        }
        (1 <= oldest && oldest <= next && numbers.next().is_none()).then_some(head)
    }
}

impl Chunk {
    pub(super) fn encode(&self, stream: u64) -> Vec<u8> {
        let Self { first, next, bytes, readings, from_ms, to_ms, values, lost_from, thinned, sealed: _ } = *self;
        let (lost_from, thinned) = (lost_from.unwrap_or(0), u64::from(thinned));
        sealed(&[VERSION, stream, first, next, bytes, readings, from_ms as u64, to_ms as u64, values, lost_from, thinned])
    }

    pub(super) fn decode(value: &[u8], stream: u64) -> Option<Self> {
        let mut numbers = opened(value)?.into_iter();
        let [version, of, first, next, bytes, readings, from_ms, to_ms, values, lost_from] = taken(&mut numbers)?;
        let (from_ms, to_ms, lost_from) = (from_ms as i64, to_ms as i64, (lost_from > 0).then_some(lost_from));
        // The last number came later.
        let thinned = numbers.next().is_some_and(|thinned| thinned > 0);
        let chunk = Self { first, next, bytes, readings, from_ms, to_ms, values, lost_from, thinned, sealed: true };
        (version == VERSION && of == stream && first <= next && numbers.next().is_none()).then_some(chunk)
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
        let [from_ms, to_ms, readings] = taken(&mut opened(front)?.into_iter())?;
        Some(Self { from_ms: from_ms as i64, to_ms: to_ms as i64, readings, body: body.to_vec() })
    }
}

/// The value of a group: small batches of one commit share a value, because each value has its price. Their number and lengths with a
/// CRC of these, then the records, each with its own: one that is damaged is found again, and none is found that never was.
pub(super) fn encode_group(records: &[Vec<u8>]) -> Vec<u8> {
    let lens = records.iter().map(|record| record.len() as u16);
    let mut value: Vec<u8> = std::iter::once(records.len() as u16).chain(lens).flat_map(u16::to_le_bytes).collect();
    value.extend(crc32fast::hash(&value).to_le_bytes());
    value.extend(records.iter().flatten());
    value
}

/// Records by their numbers as values: groups of those that follow each other.
pub(super) fn groups(records: &BTreeMap<u64, Vec<u8>>) -> Vec<Numbered> {
    let mut groups: Vec<(u64, usize, Vec<Vec<u8>>)> = Vec::new();
    for (seq, record) in records {
        match groups.last_mut() {
            Some((first, bytes, group)) if *first + group.len() as u64 == *seq && *bytes + record.len() <= MAX_GROUP_BYTES => {
                *bytes += record.len();
                group.push(record.clone());
            }
            _ => groups.push((*seq, record.len(), vec![record.clone()])),
        }
    }
    groups.iter().map(|(first, _, group)| (*first, encode_group(group))).collect()
}

/// The records of a group; none if that cannot be told.
pub(super) fn group(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let (lens, mut rest) = group_lens(value).unwrap_or_default();
    lens.into_iter().map(move |len| {
        let (record, behind) = rest.split_at_checked(len).unwrap_or((rest, &[]));
        rest = behind;
        record
    })
}

fn group_lens(value: &[u8]) -> Option<(Vec<usize>, &[u8])> {
    let count = usize::from(u16::from_le_bytes(*value.first_chunk()?));
    let (head, rest) = value.split_at_checked(2 + 2 * count)?;
    let (crc, records) = rest.split_first_chunk::<4>()?;
    let lens = head.as_chunks::<2>().0.iter().skip(1).map(|len| usize::from(u16::from_le_bytes(*len))).collect();
    (crc32fast::hash(head) == u32::from_le_bytes(*crc)).then_some((lens, records))
}

/// Numbers and their CRC.
pub(super) fn sealed(numbers: &[u64]) -> Vec<u8> {
    let mut value: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
    value.extend(crc32fast::hash(&value).to_le_bytes());
    value
}

/// What [`sealed`] wrote; none if there is any doubt.
pub(super) fn opened(value: &[u8]) -> Option<Vec<u64>> {
    let (numbers, crc) = value.split_last_chunk::<4>()?;
    let (numbers, rest) = numbers.as_chunks::<8>();
    let sound = rest.is_empty() && crc32fast::hash(numbers.as_flattened()) == u32::from_le_bytes(*crc);
    sound.then(|| numbers.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect())
}

fn taken<const N: usize>(numbers: &mut impl Iterator<Item = u64>) -> Option<[u64; N]> {
    let mut found = [0; N];
    for number in &mut found {
        *number = numbers.next()?;
    }
    Some(found)
}
