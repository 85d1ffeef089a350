//! The status document of a gateway: JSON on its retained status topic.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Quality;

/// What a gateway says of itself. Readers ignore keys they do not know, so new ones may be added.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// False in the last will and after a clean stop.
    pub online: bool,
    /// Version of the gateway program.
    #[serde(default)]
    pub version: String,
    /// Seconds since the program started.
    #[serde(default)]
    pub uptime_s: u64,
    /// Time of this document by the gateway's clock, ms since 1970.
    #[serde(default)]
    pub time_ms: i64,
    /// Batches waiting for the server's acknowledgement.
    #[serde(default)]
    pub buffer_batches: u64,
    /// Bytes of those batches.
    #[serde(default)]
    pub buffer_bytes: u64,
    /// Readings dropped since the buffer began, all of them reported as gaps.
    #[serde(default)]
    pub dropped_readings: u64,
    /// Health of each device by name.
    #[serde(default)]
    pub devices: BTreeMap<String, DeviceStatus>,
}

/// Health of one device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeviceStatus {
    /// Bad when nothing good came from a poll, uncertain when not all of it is good; the worst of its latest polls.
    pub quality: Quality,
    /// Why it is not good, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Polls since the program started.
    pub polls: u64,
    /// Polls that gave nothing good.
    pub failures: u64,
}
