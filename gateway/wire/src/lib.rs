//! What crosses between a gateway and its server: batches, schemas, acknowledgements, status and topics.
//!
//! This crate turns bytes into values and back. It opens no file, no socket, asks no clock and keeps no state, so that
//! both programs, their tests and other people's tools can share it.
//!
//! Every binary message is `version (1 byte) | body | CRC-32 of all before (4 bytes, little endian)`. The body is
//! postcard, which is not self-describing: a version is frozen once released, and a change is a new version. Golden
//! bytes of every version stay in `tests/golden` for ever.
#![warn(missing_docs)]
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

mod ack;
mod batch;
mod block;
pub mod certificate;
mod codec;
mod command;
mod envelope;
mod hello;
mod name;
mod reason;
mod schema;
mod status;
pub mod topic;
mod value;

pub use ack::{Ack, MAX_ACK_RANGES};
pub use batch::{Batch, Block, Body, Gap, GapReason, Header, compressed, data_message, open_data};
pub use command::{Command, CommandResult, MAX_COMMAND_BYTES, MAX_COMMAND_TEXT_BYTES, Outcome, Scalar};
pub use envelope::{VERSION, WireError};
pub use hello::{Ask, ClockSource, Echo, Hello, MAX_ASK_RANGES, MAX_ASK_SCHEMAS};
pub use name::{MAX_NAME_BYTES, NameError, check_name};
pub use reason::Reason;
pub use schema::{CLASS_ALARM, CLASS_LABEL, Device, Kind, Labels, Schema, SchemaId, Series};
pub use status::{
    CERTIFICATE_DAYS, ClockStatus, DeviceStatus, LateStatus, LinkStatus, MAX_WARNING_CHARS, MAX_WARNINGS, Status, UplinkStatus, Warning,
};
pub use value::{Decimal, MAX_TEXT_BYTES, Quality, Repr, Sample, Value};

/// Largest encoded batch body, in bytes: what fits one value of the edge buffer (sled writes larger ones to side files
/// that it never syncs).
pub const MAX_BODY_BYTES: usize = 8 * 1000;

/// Largest data message, in bytes: a body, its header and the envelope.
pub const MAX_DATA_BYTES: usize = MAX_BODY_BYTES + 64;

/// Most readings in one batch. A bad reading takes no bytes of its own, so bytes alone do not bound the memory.
pub const MAX_READINGS: usize = 16_384;

/// Largest schema message, in bytes. Decoding one allocates at most 40 times its length and 40 MiB: the worst are short labels,
/// each of which may cost a whole node of a map.
pub const MAX_SCHEMA_BYTES: usize = 2 << 20;

/// Most series of one gateway.
pub const MAX_SERIES: usize = 32_768;
