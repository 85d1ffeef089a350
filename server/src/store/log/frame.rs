//! Records and heads of segments as bytes and back. Pure; files are not known here.

use super::MAX_RECORD_BYTES;

/// Beginning of a segment; the last byte is the format.
const MAGIC: [u8; 8] = *b"PATLOG\0\x01";
/// Beginning of a record: where the one before cannot be read, the next is found by it.
const MARK: [u8; 4] = *b"REC\x01";
pub(super) const SEGMENT_HEAD_BYTES: usize = 20;
/// Of a record, beside its content.
pub(super) const RECORD_BYTES: usize = 28;

pub(super) fn segment_head(first: u64) -> [u8; SEGMENT_HEAD_BYTES] {
    let mut head = [0; SEGMENT_HEAD_BYTES];
    let begins = MAGIC.into_iter().chain(first.to_le_bytes());
    let crc = crc32fast::hash(&begins.clone().collect::<Vec<_>>()).to_le_bytes();
    head.iter_mut().zip(begins.chain(crc)).for_each(|(byte, value)| *byte = value);
    head
}

/// The number of its first record, as a segment says it.
pub(super) fn first_of(segment: &[u8]) -> Option<u64> {
    let head = segment.first_chunk::<SEGMENT_HEAD_BYTES>()?;
    let first = u64::from_le_bytes(head.get(MAGIC.len()..)?.first_chunk().copied()?);
    (segment_head(first) == *head).then_some(first)
}

pub(super) fn put_record(out: &mut Vec<u8>, number: u64, durable: u64, content: &[u8]) {
    let mut head = Vec::with_capacity(RECORD_BYTES);
    head.extend(MARK);
    head.extend((content.len() as u32).to_le_bytes());
    head.extend(number.to_le_bytes());
    head.extend(durable.to_le_bytes());
    let mut crc = crc32fast::Hasher::new();
    crc.update(&head);
    crc.update(content);
    head.extend(crc.finalize().to_le_bytes());
    out.extend_from_slice(&head);
    out.extend_from_slice(content);
}

/// A record whose checksum is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Record<'a> {
    pub(super) number: u64,
    pub(super) durable: u64,
    pub(super) content: &'a [u8],
}

impl Record<'_> {
    /// In the segment.
    pub(super) fn bytes(&self) -> usize {
        RECORD_BYTES + self.content.len()
    }
}

/// The record that begins these bytes, if one does.
pub(super) fn take_record(bytes: &[u8]) -> Option<Record<'_>> {
    let (head, rest) = bytes.split_first_chunk::<RECORD_BYTES>()?;
    let (fields, crc) = head.split_last_chunk::<4>()?;
    let (mark, fields_left) = fields.split_first_chunk::<4>()?;
    let (length, fields_left) = fields_left.split_first_chunk::<4>()?;
    let (number, durable) = fields_left.split_first_chunk::<8>()?;
    let length = u32::from_le_bytes(*length) as usize;
    let content = rest.get(..length).filter(|_| *mark == MARK && length <= MAX_RECORD_BYTES)?;
    let mut found = crc32fast::Hasher::new();
    found.update(fields);
    found.update(content);
    let same = found.finalize() == u32::from_le_bytes(*crc);
    same.then_some(Record { number: u64::from_le_bytes(*number), durable: u64::from_le_bytes(durable.try_into().ok()?), content })
}

/// The next place behind `from` where a record begins whose checksum is right.
pub(super) fn next_record(bytes: &[u8], from: usize) -> Option<(usize, Record<'_>)> {
    let mut at = from + 1;
    loop {
        let rest = bytes.get(at..)?;
        at += rest.windows(MARK.len()).position(|window| window == MARK)?;
        if let Some(record) = take_record(bytes.get(at..)?) {
            return Some((at, record));
        }
        at += 1;
    }
}
