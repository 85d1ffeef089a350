//! Where a gateway stands, and what the server answers: its time and what it misses.

use serde::{Deserialize, Serialize};

use crate::ack::{put_ranges, take_ranges};
use crate::codec::{Reader, Writer};
use crate::envelope::{FIRST, open, seal};
use crate::{SchemaId, WireError};

/// Most ranges of missing batches that one message asks for; of more, the lowest are named first.
pub const MAX_ASK_RANGES: usize = 64;

/// Most schemas that one message asks for.
pub const MAX_ASK_SCHEMAS: usize = 64;

/// Version, five varints of at most 10 bytes, a byte, CRC.
const MAX_HELLO_BYTES: usize = 1 + 5 * 10 + 1 + 4;

/// Version, three varints, ranges, schemas, CRC.
const MAX_ASK_BYTES: usize = 1 + 3 * 10 + 5 + MAX_ASK_RANGES * 20 + 5 + MAX_ASK_SCHEMAS * 5 + 4;

/// What a gateway's times rest on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ClockSource {
    /// Nothing yet: readings are held back.
    None,
    /// The system's clock, which NTP keeps.
    Ntp,
    /// The server's time.
    Server,
    /// The system's clock as it is, because the configuration says so.
    System,
    /// A source of a newer gateway, by its number.
    Other(u8),
}

impl ClockSource {
    /// The number on the wire.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Ntp => 1,
            Self::Server => 2,
            Self::System => 3,
            Self::Other(code) => code,
        }
    }

    /// The source with this number.
    #[must_use]
    pub fn from_code(code: u8) -> Self {
        match code {
            0 => Self::None,
            1 => Self::Ntp,
            2 => Self::Server,
            3 => Self::System,
            _ => Self::Other(code),
        }
    }
}

impl std::fmt::Display for ClockSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Ntp => f.write_str("ntp"),
            Self::Server => f.write_str("server"),
            Self::System => f.write_str("system"),
            Self::Other(code) => write!(f, "source {code}"),
        }
    }
}

/// Sent by a gateway on each connection and every minute; the server answers with an [`Ask`]. Frozen as version 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hello {
    /// The life of its buffer.
    pub stream: u64,
    /// Oldest batch that it still holds.
    pub oldest: u64,
    /// Number of its next batch.
    pub next: u64,
    /// Its monotonic clock in ms, to be echoed.
    pub sent_ms: u64,
    /// UTC by its own system clock, ms since 1970, trusted or not.
    pub time_ms: i64,
    /// What the times of its readings rest on.
    pub source: ClockSource,
}

impl Hello {
    /// The message to publish.
    ///
    /// # Errors
    /// None in practice; an encoder failure is passed on.
    pub fn encode(&self) -> Result<Vec<u8>, WireError> {
        let mut writer = Writer::default();
        writer.put(&(self.stream, self.oldest, self.next, self.sent_ms, self.time_ms, self.source.code()))?;
        Ok(seal(FIRST, &writer.bytes))
    }

    /// Reads a message.
    ///
    /// # Errors
    /// Whatever is not exactly one hello of this version.
    pub fn decode(message: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(open(message, MAX_HELLO_BYTES)?);
        let (stream, oldest, next, sent_ms, time_ms, source) = reader.take("hello")?;
        reader.finish()?;
        Ok(Self { stream, oldest, next, sent_ms, time_ms, source: ClockSource::from_code(source) })
    }
}

/// Times that belong together: the server's, and the gateway's that it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Echo {
    /// [`Hello::sent_ms`] of the hello that is answered.
    pub sent_ms: u64,
    /// UTC by the server's clock when it answered, ms since 1970.
    pub time_ms: i64,
}

/// What the server wants of a gateway: answers a hello, and also comes by itself when something stays missing. Frozen as version 1.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ask {
    /// The life of the gateway's buffer that is meant.
    pub stream: u64,
    /// The times, in an answer.
    pub echo: Option<Echo>,
    /// Batches (first, last) that are missing and should be sent now: ascending, apart, at most [`MAX_ASK_RANGES`].
    pub missing: Vec<(u64, u64)>,
    /// Schemas that batches name and that have not come, at most [`MAX_ASK_SCHEMAS`].
    pub schemas: Vec<SchemaId>,
}

impl Ask {
    /// The message to publish.
    ///
    /// # Errors
    /// Too many ranges or schemas, or ranges that are not ascending and apart.
    pub fn encode(&self) -> Result<Vec<u8>, WireError> {
        let mut writer = Writer::default();
        writer.put(&(self.stream, self.echo))?;
        put_ranges(&mut writer, 0, &self.missing, MAX_ASK_RANGES)?;
        if self.schemas.len() > MAX_ASK_SCHEMAS {
            return Err(crate::envelope::invalid(format!("{} schemas, at most {MAX_ASK_SCHEMAS} are allowed", self.schemas.len())));
        }
        writer.put_len(self.schemas.len())?;
        for schema in &self.schemas {
            writer.put(&schema.0)?;
        }
        Ok(seal(FIRST, &writer.bytes))
    }

    /// Reads a message.
    ///
    /// # Errors
    /// Whatever is not exactly one of this version.
    pub fn decode(message: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(open(message, MAX_ASK_BYTES)?);
        let (stream, echo) = reader.take("head")?;
        let missing = take_ranges(&mut reader, 0, MAX_ASK_RANGES)?;
        let count = reader.take_len("number of schemas", MAX_ASK_SCHEMAS)?;
        let schemas = (0..count).map(|_| reader.take("schema id").map(SchemaId)).collect::<Result<_, _>>()?;
        reader.finish()?;
        Ok(Self { stream, echo, missing, schemas })
    }
}
