//! The server's acknowledgement.

use serde::{Deserialize, Serialize};

use crate::WireError;
use crate::codec::{Reader, Writer};
use crate::envelope::{open, seal};

/// Says that every batch of `stream` up to and including `seq` is on the server's stable storage, or recorded as a gap.
/// Frozen as version 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    /// The life of the gateway's buffer that is meant.
    pub stream: u64,
    /// Highest sequence number below which nothing is missing.
    pub seq: u64,
}

/// Version, two varints of at most 10 bytes, CRC.
const MAX_ACK_BYTES: usize = 25;

impl Ack {
    /// The message to publish.
    ///
    /// # Errors
    /// None in practice; an encoder failure is passed on.
    pub fn encode(&self) -> Result<Vec<u8>, WireError> {
        let mut writer = Writer::default();
        writer.put(self)?;
        Ok(seal(&writer.bytes))
    }

    /// Reads a message.
    ///
    /// # Errors
    /// Whatever is not exactly one acknowledgement of this version.
    pub fn decode(message: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(open(message, MAX_ACK_BYTES)?);
        let ack = reader.take("acknowledgement")?;
        reader.finish()?;
        Ok(ack)
    }
}
