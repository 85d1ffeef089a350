//! Reads a log at its start: which records count, what is a torn tail, what is damage. Changes nothing but that it copies damage aside.

use super::frame::{Record, SEGMENT_HEAD_BYTES, first_of, next_record, take_record};
use super::{Disk, LogError};

/// What a start came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Records that were read.
    pub records: u64,
    /// Number of the last record on stable storage, read or damaged; 0 in a new log.
    pub last: u64,
    /// First numbers of the segments, ascending.
    pub segments: Vec<u64>,
    /// Bytes of writes that were not finished, and not acknowledged.
    pub torn_bytes: u64,
    /// What was acknowledged and cannot be read.
    pub damage: Vec<Damage>,
}

/// Acknowledged records that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// First and last number of those that are gone.
    pub records: (u64, u64),
    /// Where they were: a segment, and the place in it.
    pub segment: u64,
    /// Place in the segment, in bytes.
    pub at: u64,
    /// Where the bytes are kept; empty if there are none.
    pub kept: String,
}

pub(super) fn recover(disk: &mut dyn Disk, take: &mut dyn FnMut(u64, &[u8])) -> Result<Recovered, LogError> {
    let segments: Vec<u64> = disk.segments()?.into_iter().map(|(first, _)| first).collect();
    let mut found = Recovered { last: segments.first().map_or(0, |first| first.saturating_sub(1)), ..Recovered::default() };
    for (place, first) in segments.iter().enumerate() {
        let next = segments.get(place + 1).copied();
        if next.is_none() {
            // What an earlier life left in memory of the kernel may be read now, and must not be gone after the next power cut.
            disk.sync(*first)?;
        }
        let bytes = disk.read(*first)?;
        // A segment was left when all before the next one was durable. Of the last one its own records say what was.
        let durable = next.map_or_else(|| confirmed(&bytes), |next| next.saturating_sub(1));
        let end = next.unwrap_or(u64::MAX);
        Reading { disk: &mut *disk, take: &mut *take, found: &mut found, segment: *first, end, durable }.segment(&bytes)?;
        if next.is_none() && found.last < *first && bytes.len() > SEGMENT_HEAD_BYTES {
            // Its name will be taken for a new one.
            disk.set_aside(*first, 0, &bytes)?;
        }
    }
    found.segments = segments;
    Ok(found)
}

/// Pieces of a segment: bytes that cannot be read, and records.
fn pieces(bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8], Option<Record<'_>>)> {
    let mut at = SEGMENT_HEAD_BYTES.min(bytes.len());
    std::iter::from_fn(move || {
        let from = at;
        let rest = bytes.get(from..).filter(|rest| !rest.is_empty())?;
        match take_record(rest).map(|record| (from, record)).or_else(|| next_record(bytes, from)) {
            Some((to, record)) => {
                at = to + record.bytes();
                Some((from, bytes.get(from..to).unwrap_or_default(), Some(record)))
            }
            None => {
                at = bytes.len();
                Some((from, rest, None))
            }
        }
    })
}

/// The highest number that a record calls durable.
fn confirmed(segment: &[u8]) -> u64 {
    pieces(segment).filter_map(|(_, _, record)| Some(record?.durable)).max().unwrap_or(0)
}

struct Reading<'a> {
    disk: &'a mut dyn Disk,
    take: &'a mut dyn FnMut(u64, &[u8]),
    found: &'a mut Recovered,
    segment: u64,
    /// Numbers from here on belong to the next segment.
    end: u64,
    /// All up to here was on stable storage.
    durable: u64,
}

impl Reading<'_> {
    fn segment(&mut self, bytes: &[u8]) -> Result<(), LogError> {
        // Bytes that cannot be read, and where they begin.
        let mut unread: Option<(usize, Vec<u8>)> = None;
        if first_of(bytes) != Some(self.segment) {
            unread = Some((0, bytes.get(..SEGMENT_HEAD_BYTES).unwrap_or(bytes).to_vec()));
        }
        for (at, skipped, record) in pieces(bytes) {
            if !skipped.is_empty() {
                unread.get_or_insert((at, Vec::new())).1.extend_from_slice(skipped);
            }
            let Some(Record { number, content, .. }) = record else { break };
            if number <= self.found.last || number >= self.end {
                // Left of a write that failed, and written again elsewhere.
                self.found.torn_bytes += content.len() as u64;
                continue;
            }
            if number > self.found.last + 1 {
                if number - 1 > self.durable {
                    // What is missing was never acknowledged, and what follows builds on it; but for what this calls durable.
                    if self.found.last < self.durable {
                        self.damage(unread.take().unwrap_or((at, Vec::new())), self.durable)?;
                    }
                    self.found.torn_bytes += (bytes.len() - at - skipped.len()) as u64;
                    break;
                }
                self.damage(unread.take().unwrap_or((at, Vec::new())), number - 1)?;
            }
            self.found.torn_bytes += unread.take().map_or(0, |(_, bytes)| bytes.len() as u64);
            (self.take)(number, content);
            self.found.records += 1;
            self.found.last = number;
        }
        if self.end < u64::MAX && self.found.last + 1 < self.end {
            return self.damage(unread.unwrap_or((bytes.len(), Vec::new())), self.end - 1);
        }
        self.found.torn_bytes += unread.map_or(0, |(_, bytes)| bytes.len() as u64);
        Ok(())
    }

    /// Notes that all behind the last record through this one is gone.
    fn damage(&mut self, (at, bytes): (usize, Vec<u8>), through: u64) -> Result<(), LogError> {
        let (segment, at, records) = (self.segment, at as u64, (self.found.last + 1, through));
        let kept = if bytes.is_empty() { String::new() } else { self.disk.set_aside(segment, at, &bytes)? };
        self.found.damage.push(Damage { records, segment, at, kept });
        self.found.last = through;
        Ok(())
    }
}
