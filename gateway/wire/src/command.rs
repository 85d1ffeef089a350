//! Commands to a gateway and what became of them: JSON on its topics `command` and `command/result`.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Largest command, in bytes.
pub const MAX_COMMAND_BYTES: usize = 4 << 10;

/// Longest `id` and `by` of a command, in bytes.
pub const MAX_COMMAND_TEXT_BYTES: usize = 64;

/// Write this value to this point.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Command {
    /// Chosen by the sender, other for each command: 1 to 64 visible ASCII characters. The same command sent again is answered again and not
    /// done again.
    pub id: String,
    /// Name of the device.
    pub device: String,
    /// Name of the point.
    pub point: String,
    /// The value: a number, a boolean, or the text of a state.
    pub value: Scalar,
    /// The value that the point must have before, or nothing is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<Scalar>,
    /// The time from which it must not be begun any more, ms since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_ms: Option<i64>,
    /// Who wants it, for the audit record: at most 64 visible ASCII characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

/// One JSON value that is neither list nor object.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "a number, true, false or a text")]
pub enum Scalar {
    /// True or false.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// A whole number beyond the others.
    Unsigned(u64),
    /// Any other number.
    Float(f64),
    /// A text.
    Text(String),
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(b) => b.fmt(f),
            Self::Integer(n) => n.fmt(f),
            Self::Unsigned(n) => n.fmt(f),
            Self::Float(x) => x.fmt(f),
            Self::Text(text) => text.fmt(f),
        }
    }
}

/// What became of a command.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CommandResult {
    /// That of the command; none where it has none that can be read.
    pub id: Option<String>,
    /// Device of the command, empty where it cannot be read.
    #[serde(default)]
    pub device: String,
    /// Point of the command, empty where it cannot be read.
    #[serde(default)]
    pub point: String,
    /// How it ended.
    pub outcome: Outcome,
    /// What the device has now, read from it; none where it was not asked or did not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Scalar>,
    /// What the device had before, read from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old: Option<Scalar>,
    /// The outcome in words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// When it ended, ms since 1970 by the gateway's clock.
    #[serde(default)]
    pub time_ms: i64,
}

/// How a command ended. Only the first four have touched the device; later versions may add more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Written, and read back.
    Done,
    /// Written, but the device gives another value back.
    Differs,
    /// The device did not confirm it, and has another value.
    Failed,
    /// It may have been written: the device confirmed nothing, or could not be read afterwards.
    Unknown,
    /// The device refused it.
    Rejected,
    /// Not written: the point had another value than the expected one.
    Mismatch,
    /// Not written: what the point had before could not be read.
    Unreadable,
    /// Not written: it is no command.
    Malformed,
    /// Not written: it does not say when it expires.
    NoExpiry,
    /// Not written: it expires later than this gateway allows.
    ExpiryTooFar,
    /// Not written: it came too late, or had to wait for too long.
    Expired,
    /// Not written: the gateway does not know the time, so that it cannot tell whether it has expired.
    ClockUnknown,
    /// Not written: the gateway has no such device.
    UnknownDevice,
    /// Not written: the device has no such point.
    UnknownPoint,
    /// Not written: the profile or the configuration does not allow it for this point.
    NotWritable,
    /// Not written: the point cannot have this value.
    BadValue,
    /// Not written: the value is outside of the limits.
    OutOfRange,
    /// Not written: another command had this id.
    IdReused,
    /// Not written: too many commands are waiting, or too many ids are remembered.
    Busy,
    /// Not written: the audit record cannot be kept.
    NotRecorded,
}

impl Outcome {
    /// All of them, with their names.
    pub const NAMES: &'static [(Self, &'static str)] = &[
        (Self::Done, "done"),
        (Self::Differs, "differs"),
        (Self::Failed, "failed"),
        (Self::Unknown, "unknown"),
        (Self::Rejected, "rejected"),
        (Self::Mismatch, "mismatch"),
        (Self::Unreadable, "unreadable"),
        (Self::Malformed, "malformed"),
        (Self::NoExpiry, "no_expiry"),
        (Self::ExpiryTooFar, "expiry_too_far"),
        (Self::Expired, "expired"),
        (Self::ClockUnknown, "clock_unknown"),
        (Self::UnknownDevice, "unknown_device"),
        (Self::UnknownPoint, "unknown_point"),
        (Self::NotWritable, "not_writable"),
        (Self::BadValue, "bad_value"),
        (Self::OutOfRange, "out_of_range"),
        (Self::IdReused, "id_reused"),
        (Self::Busy, "busy"),
        (Self::NotRecorded, "not_recorded"),
    ];
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::NAMES.iter().find(|(outcome, _)| outcome == self).map_or("", |(_, name)| name))
    }
}
