//! The server's acknowledgement.

use serde::{Deserialize, Serialize};

use crate::WireError;
use crate::codec::{Reader, Writer};
use crate::envelope::{FIRST, invalid, open_up_to, seal};

/// Most ranges ahead that one acknowledgement names; of more, the lowest are named.
pub const MAX_ACK_RANGES: usize = 32;

/// Version, two varints of at most 10 bytes, a count, two varints for each range, CRC.
const MAX_ACK_BYTES: usize = 25 + 1 + MAX_ACK_RANGES * 20;

/// The version that names ranges ahead.
const WITH_RANGES: u8 = 2;

/// Says that every batch of `stream` up to and including `seq` is on the server's stable storage, or recorded as a gap, and which
/// batches beyond it are as well. Version 1 is `stream, seq`; version 2 adds the ranges as `count | each: first - end of the one
/// before - 1 (u64), length - 1 (u64)`, and is written only where there are some.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ack {
    /// The life of the gateway's buffer that is meant.
    pub stream: u64,
    /// Highest sequence number below which nothing is missing.
    pub seq: u64,
    /// Ranges (first, last) beyond it that have arrived as well: ascending, apart, at most [`MAX_ACK_RANGES`].
    pub ahead: Vec<(u64, u64)>,
}

/// Frozen as version 1.
#[derive(Serialize, Deserialize)]
struct Version1 {
    stream: u64,
    seq: u64,
}

impl Ack {
    /// An acknowledgement of everything up to `seq`.
    #[must_use]
    pub fn through(stream: u64, seq: u64) -> Self {
        Self { stream, seq, ahead: Vec::new() }
    }

    /// The message to publish.
    ///
    /// # Errors
    /// Too many ranges, or ranges that are not ascending and apart.
    pub fn encode(&self) -> Result<Vec<u8>, WireError> {
        let mut writer = Writer::default();
        writer.put(&Version1 { stream: self.stream, seq: self.seq })?;
        if self.ahead.is_empty() {
            return Ok(seal(FIRST, &writer.bytes));
        }
        put_ranges(&mut writer, self.seq, &self.ahead, MAX_ACK_RANGES)?;
        Ok(seal(WITH_RANGES, &writer.bytes))
    }

    /// Reads a message.
    ///
    /// # Errors
    /// Whatever is not exactly one acknowledgement of a version that this program knows.
    pub fn decode(message: &[u8]) -> Result<Self, WireError> {
        let (version, content) = open_up_to(WITH_RANGES, message, MAX_ACK_BYTES)?;
        let mut reader = Reader::new(content);
        let Version1 { stream, seq } = reader.take("acknowledgement")?;
        let ahead = if version == FIRST { Vec::new() } else { take_ranges(&mut reader, seq, MAX_ACK_RANGES)? };
        if version == WITH_RANGES && ahead.is_empty() {
            return Err(invalid("an acknowledgement of version 2 without ranges"));
        }
        reader.finish()?;
        Ok(Self { stream, seq, ahead })
    }
}

/// Writes ascending ranges that lie apart, each beyond `after + 1`.
pub(crate) fn put_ranges(writer: &mut Writer, after: u64, ranges: &[(u64, u64)], limit: usize) -> Result<(), WireError> {
    if ranges.len() > limit {
        return Err(invalid(format!("{} ranges, at most {limit} are allowed", ranges.len())));
    }
    writer.put_len(ranges.len())?;
    let mut end = after;
    for &(first, last) in ranges {
        let skipped = first.checked_sub(end).and_then(|skipped| skipped.checked_sub(1));
        let (Some(skipped), Some(more)) = (skipped, last.checked_sub(first)) else {
            return Err(invalid(format!("range {first} to {last} behind {end}: not ascending")));
        };
        writer.put(&(skipped, more))?;
        end = last;
    }
    Ok(())
}

/// Reads what [`put_ranges`] wrote.
pub(crate) fn take_ranges(reader: &mut Reader<'_>, after: u64, limit: usize) -> Result<Vec<(u64, u64)>, WireError> {
    let count = reader.take_len("number of ranges", limit)?;
    let mut end = after;
    (0..count)
        .map(|_| {
            let (skipped, more) = reader.take::<(u64, u64)>("range")?;
            let first = end.checked_add(skipped).and_then(|before| before.checked_add(1));
            let last = first.and_then(|first| first.checked_add(more));
            let (Some(first), Some(last)) = (first, last) else { return Err(invalid("a range beyond all numbers")) };
            end = last;
            Ok((first, last))
        })
        .collect()
}
