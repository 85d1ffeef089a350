//! Messages of gateways -> what to store and what to acknowledge.
//!
//! `accept` is pure: bytes in, a verdict out, the catalogue moved on. `core` makes verdicts durable, `asking` knows what to ask
//! gateways for, `fair` whose turn it is, `letters` keeps what cannot be read; `inside` and `mqtt` bring messages in by `queue` and answers
//! out, from our broker and from any other; `pattoo` does all of that for agents of the Python Pattoo, over HTTP. A message is acknowledged only by the commit that holds it; whatever else
//! happens, the gateway sends it again.

mod asking;
mod core;
mod fair;
mod future;
mod group;
mod inside;
mod letters;
mod mqtt;
mod pattoo;
mod queue;

#[cfg(test)]
mod end_to_end;

use std::sync::{Arc, Mutex};

use pattoo_wire::topic::{self, FromGateway};
use pattoo_wire::{Batch, Header, Hello, Schema, SchemaId, Status, WireError, open_data};
use rumqttc::TlsConfiguration;
use thiserror::Error;
use tokio::sync::watch;

use crate::broker::Login;
use crate::broker::link::Link;
use crate::catalog::{Catalog, Known, Place, Progress, Refused};
use crate::live::Live;
use crate::store::Commit;

pub use self::core::{Core, Message, Processed};
pub use future::Now;
pub use letters::{LetterError, Letters};
pub use pattoo::posts as agents;

/// The core as its ways in share it: one at a time goes through the catalogue and the store.
pub type SharedCore = Arc<Mutex<Core>>;

/// Where the broker is.
#[derive(Clone)]
pub struct BrokerAddress {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Account.
    pub login: Option<Login>,
    /// TLS; none for plain TCP.
    pub tls: Option<TlsConfiguration>,
}

/// The broker that gateways publish to.
#[derive(Clone)]
pub enum Upstream {
    /// Ours, in this process.
    Embedded(Link),
    /// Any other one.
    External(BrokerAddress),
}

/// Serves until `stop` is true; what has arrived by then is still stored.
pub async fn run(upstream: Upstream, core: SharedCore, live: Arc<Live>, stop: watch::Receiver<bool>) {
    match upstream {
        Upstream::Embedded(link) => inside::run(link, core, live, stop).await,
        Upstream::External(broker) => mqtt::run(broker, core, live, stop).await,
    }
}

/// Largest status document, in bytes.
pub const MAX_STATUS_BYTES: usize = 256 << 10;

/// What a message came to. Commits are not durable yet.
#[derive(Debug, Clone, PartialEq)]
pub enum Accepted {
    /// New readings.
    Batch {
        /// Whether a batch of this number had come before: then its readings join those, the later of one time wins.
        again: bool,
        /// What to store.
        commit: Commit,
        /// What may be acknowledged then.
        progress: Progress,
    },
    /// A batch that has arrived before.
    Replay {
        /// At most how far its stream is.
        commit: Commit,
        /// What may be acknowledged then.
        progress: Progress,
    },
    /// A schema; the commit is empty where it is known.
    Schema {
        /// What to store.
        commit: Commit,
    },
    /// A status document.
    Status(Status),
    /// Where a gateway stands.
    Hello {
        /// What is not held any more and never came.
        commit: Commit,
        /// Whether the gateway's buffer is an older image of itself.
        rewound: bool,
        /// Its words.
        hello: Hello,
    },
    /// An empty message: somebody has cleared a retained one. It means nothing here.
    Cleared,
}

/// Why a message was not taken.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum Rejected {
    /// No topic of a gateway.
    #[error("topic {0:?} is none of a gateway: a name has 1 to 64 letters, digits, '-', '_', '.', a schema id 8 hexadecimal digits")]
    Topic(String),
    /// Damaged, truncated, too long or of another version.
    #[error("gateway {gateway}: {what}: {error}")]
    Wire {
        /// Gateway.
        gateway: String,
        /// What it should have been.
        what: &'static str,
        /// What is wrong.
        error: WireError,
    },
    /// Undamaged, of this version, and yet no batch: sending it again cannot help.
    #[error(
        "gateway {gateway}: batch {} of stream {:016x} arrived undamaged but cannot be read with schema {schema}: {error}; it is kept as a dead letter and counts as arrived: upgrade the older side, then report it",
        header.seq, header.stream
    )]
    Unreadable {
        /// Gateway.
        gateway: String,
        /// Its place in the stream.
        header: Header,
        /// Checksum of its content.
        crc: u32,
        /// Its schema.
        schema: SchemaId,
        /// What is wrong.
        error: WireError,
    },
    /// Readings that are later than they can be.
    #[error(
        "gateway {gateway}: {readings} readings of batch {} of stream {:016x} are from the far future, up to {furthest_ms} ms since 1970: its clock is wrong, set it or give it NTP; the batch is kept as a dead letter, the readings are on record as refused, and the rest of it is stored",
        header.seq, header.stream
    )]
    FarFuture {
        /// Gateway.
        gateway: String,
        /// Its place in the stream.
        header: Header,
        /// Checksum of its content.
        crc: u32,
        /// Its schema.
        schema: SchemaId,
        /// How many.
        readings: u64,
        /// The latest time.
        furthest_ms: i64,
        /// The batch without them, and with the record of them.
        rest: Box<Batch>,
    },
    /// No status document.
    #[error("gateway {gateway}: status is not a JSON document of contract version 1: {error}")]
    Status {
        /// Gateway.
        gateway: String,
        /// What is wrong.
        error: String,
    },
    /// The catalogue does not take it.
    #[error("{0}")]
    Refused(Refused),
}

impl Rejected {
    /// The name it is counted by.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Topic(_) => "topic",
            Self::Wire { error, .. } => match error {
                WireError::TooLong { .. } => "too_long",
                WireError::Truncated(_) => "truncated",
                WireError::Version(_) => "version",
                WireError::Checksum { .. } => "damaged",
                WireError::Invalid(_) | WireError::Schema { .. } | WireError::Trailing(_) => "invalid",
            },
            Self::Unreadable { .. } => "unreadable",
            Self::FarFuture { .. } => "far_future",
            Self::Status { .. } => "status",
            Self::Refused(refused) => match refused {
                Refused::SchemaIdDiffers { .. } => "schema_id",
                Refused::SchemaContradicts { .. } => "schema_contradicts",
                Refused::SchemaUnknown { .. } => "schema_unknown",
                Refused::TooFarAhead { .. } => "too_far_ahead",
                Refused::TooManyGateways { .. } => "too_many_gateways",
                Refused::TooManySeries { .. } | Refused::TooManySeriesInAll { .. } => "too_many_series",
            },
        }
    }

    /// The gateway it is counted for.
    #[must_use]
    pub fn gateway(&self) -> Option<&str> {
        match self {
            Self::Topic(_) => None,
            Self::Wire { gateway, .. }
            | Self::Unreadable { gateway, .. }
            | Self::FarFuture { gateway, .. }
            | Self::Status { gateway, .. } => Some(gateway),
            Self::Refused(refused) => Some(refused.gateway()),
        }
    }

    /// Whether its bytes are worth keeping for a person. What only waits for something comes again by itself.
    #[must_use]
    pub fn is_dead_letter(&self) -> bool {
        match self {
            Self::Topic(_) => false,
            Self::Wire { .. } | Self::Unreadable { .. } | Self::FarFuture { .. } | Self::Status { .. } => true,
            Self::Refused(refused) => matches!(refused, Refused::SchemaIdDiffers { .. } | Refused::SchemaContradicts { .. }),
        }
    }
}

/// Judges a message and moves the catalogue on by it. A rejected one changes nothing.
///
/// # Errors
/// Whatever cannot be taken, with its own reason.
pub fn accept(catalog: &mut Catalog, topic: &str, payload: &[u8], now: Now) -> Result<Accepted, Rejected> {
    let (gateway, what) = topic::parse(topic).ok_or_else(|| Rejected::Topic(shorten(topic)))?;
    match what {
        FromGateway::Schema(_) | FromGateway::Status if payload.is_empty() => Ok(Accepted::Cleared),
        FromGateway::Data => accept_data(catalog, gateway, payload, now),
        FromGateway::Hello => {
            let wire = |error| Rejected::Wire { gateway: gateway.to_owned(), what: "hello", error };
            let hello = Hello::decode(payload).and_then(possible).map_err(wire)?;
            let (commit, rewound) = catalog.take_hello(gateway, &hello, now.ms).map_err(Rejected::Refused)?;
            Ok(Accepted::Hello { commit, rewound, hello })
        }
        FromGateway::Schema(named) => {
            let wire = |error| Rejected::Wire { gateway: gateway.to_owned(), what: "schema", error };
            let (found, schema) = Schema::decode(payload).map_err(wire)?;
            let commit = catalog.take_schema(gateway, named, found, schema).map_err(Rejected::Refused)?;
            Ok(Accepted::Schema { commit })
        }
        FromGateway::Status => {
            let wrong = |error| Rejected::Status { gateway: gateway.to_owned(), error };
            if payload.len() > MAX_STATUS_BYTES {
                return Err(wrong(format!("{} bytes, at most {MAX_STATUS_BYTES} are allowed", payload.len())));
            }
            serde_json::from_slice(payload).map(Accepted::Status).map_err(|e| wrong(e.to_string()))
        }
    }
}

/// A hello whose numbers can be. One that cannot would give batches up for lost.
fn possible(hello: Hello) -> Result<Hello, WireError> {
    match (1..=hello.next).contains(&hello.oldest) {
        true => Ok(hello),
        false => Err(WireError::Invalid(format!("oldest batch {}, next batch {}", hello.oldest, hello.next))),
    }
}

fn accept_data(catalog: &mut Catalog, gateway: &str, payload: &[u8], now: Now) -> Result<Accepted, Rejected> {
    let wire = |error| Rejected::Wire { gateway: gateway.to_owned(), what: "batch", error };
    let (header, body) = open_data(payload).map_err(wire)?;
    let place = Place { gateway, header, crc: body.checksum(), now_ms: now.ms };
    let known = catalog.known(place);
    if matches!(known, Known::Same | Known::GivenUp) {
        let (commit, progress) = catalog.replayed(place).map_err(Rejected::Refused)?;
        return Ok(Accepted::Replay { commit, progress });
    }
    let schema = catalog.schema(gateway, body.schema(), &header).map_err(Rejected::Refused)?;
    let unreadable = |error| Rejected::Unreadable { gateway: gateway.to_owned(), header, crc: place.crc, schema: body.schema(), error };
    let mut batch = body.decode(body.schema(), &schema).map_err(unreadable)?;
    if let Some((readings, furthest_ms)) = future::refuse(&mut batch, &header, now) {
        let Place { crc, .. } = place;
        let (gateway, schema, rest) = (gateway.to_owned(), body.schema(), Box::new(batch));
        return Err(Rejected::FarFuture { gateway, header, crc, schema, readings, furthest_ms, rest });
    }
    let (commit, progress) = catalog.take_batch(place, body.schema(), batch).map_err(Rejected::Refused)?;
    Ok(Accepted::Batch { again: known != Known::New, commit, progress })
}

/// A topic may have 64 kB; a log line should not.
fn shorten(topic: &str) -> String {
    const MAX_CHARS: usize = 120;
    topic.chars().take(MAX_CHARS).collect()
}

#[cfg(test)]
mod tests;
