//! The outer shape of every binary message: version, body, CRC-32.

use thiserror::Error;

/// The newest version that this crate reads. Each kind of message has its own newest one, which is this or an earlier one.
pub const VERSION: u8 = 2;

/// The first version; what has never changed is still written as this.
pub(crate) const FIRST: u8 = 1;

const CRC_BYTES: usize = 4;

/// Why a message cannot be read or written.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum WireError {
    /// Longer than the limit of its kind.
    #[error("message has {found} bytes, at most {limit} are allowed")]
    TooLong {
        /// Bytes found.
        found: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// Ends before its content does.
    #[error("message is truncated: it ends inside its {0}")]
    Truncated(&'static str),
    /// The sender speaks another version.
    #[error("message has version {0}, this program reads up to {VERSION} of some kinds, 1 of all: upgrade the older side")]
    Version(u8),
    /// Damaged on the way or on disk.
    #[error("CRC-32 of the message is {found:08x}, its content gives {computed:08x}: damaged")]
    Checksum {
        /// As the message says.
        found: u32,
        /// As its bytes give.
        computed: u32,
    },
    /// Well-formed bytes that no gateway may send.
    #[error("message is invalid: {0}")]
    Invalid(String),
    /// Names a schema that differs from the one given for decoding.
    #[error("batch was written against schema {found:08x}, not {given:08x}")]
    Schema {
        /// Schema id in the batch.
        found: u32,
        /// Id of the schema it was decoded with.
        given: u32,
    },
    /// Bytes after the end of the content.
    #[error("message has {0} bytes after its end")]
    Trailing(usize),
}

pub(crate) fn invalid(what: impl Into<String>) -> WireError {
    WireError::Invalid(what.into())
}

/// Puts version and checksum around a body.
pub(crate) fn seal(version: u8, body: &[u8]) -> Vec<u8> {
    let mut message = Vec::with_capacity(body.len() + 1 + CRC_BYTES);
    message.push(version);
    message.extend_from_slice(body);
    let crc = crc32fast::hash(&message);
    message.extend_from_slice(&crc.to_le_bytes());
    message
}

/// The body of a sealed message of version 1 and of at most `limit` bytes.
pub(crate) fn open(message: &[u8], limit: usize) -> Result<&[u8], WireError> {
    open_up_to(FIRST, message, limit).map(|(_, body)| body)
}

/// Version and body of a sealed message of at most `limit` bytes. The version is judged before the checksum, because another
/// version may well have another checksum.
pub(crate) fn open_up_to(newest: u8, message: &[u8], limit: usize) -> Result<(u8, &[u8]), WireError> {
    if message.len() > limit {
        return Err(WireError::TooLong { found: message.len(), limit });
    }
    let (&version, rest) = message.split_first().ok_or(WireError::Truncated("version"))?;
    if !(FIRST..=newest).contains(&version) {
        return Err(WireError::Version(version));
    }
    let (body, crc) = rest.split_last_chunk::<CRC_BYTES>().ok_or(WireError::Truncated("checksum"))?;
    let found = u32::from_le_bytes(*crc);
    let computed = crc32fast::hash(message.get(..=body.len()).unwrap_or_default());
    if found != computed {
        return Err(WireError::Checksum { found, computed });
    }
    Ok((version, body))
}
