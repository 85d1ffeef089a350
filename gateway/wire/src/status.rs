//! The status document of a gateway: JSON on its retained status topic.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Quality;

/// Most warnings of one status document.
pub const MAX_WARNINGS: usize = 32;
/// Longest text of a warning, in characters.
pub const MAX_WARNING_CHARS: usize = 300;
/// A certificate that ends within so many days is warned of: what is renewed by a machine is renewed a month before, so that a warning says
/// that it was not.
pub const CERTIFICATE_DAYS: i64 = 28;

const DAY_MS: i64 = 24 * 3600 * 1000;

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
    /// Time of this document as the gateway knows it, ms since 1970; by its system's clock while it does not.
    #[serde(default)]
    pub time_ms: i64,
    /// How it knows the time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock: Option<ClockStatus>,
    /// How it sends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uplink: Option<UplinkStatus>,
    /// Batches waiting for the server's acknowledgement.
    #[serde(default)]
    pub buffer_batches: u64,
    /// Bytes of those batches.
    #[serde(default)]
    pub buffer_bytes: u64,
    /// Readings dropped since the buffer began, all of them reported as gaps.
    #[serde(default)]
    pub dropped_readings: u64,
    /// Bytes that the program has written to storage since it started, as its system counts them: what its flash has to bear. None where
    /// the system does not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written_bytes: Option<u64>,
    /// What is going to be trouble unless somebody sees to it, at most [`MAX_WARNINGS`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Warning>,
    /// Health of each device by name.
    #[serde(default)]
    pub devices: BTreeMap<String, DeviceStatus>,
    /// How busy each link is, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub links: BTreeMap<String, LinkStatus>,
}

/// Something that is going to be trouble.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warning {
    /// What it is about: `disk`, `clock` or `certificate`.
    pub about: String,
    /// What is wrong and what to do, for a person.
    pub text: String,
}

impl Warning {
    /// One with a text of at most [`MAX_WARNING_CHARS`].
    #[must_use]
    pub fn new(about: &str, text: &str) -> Self {
        Self { about: about.to_owned(), text: text.chars().take(MAX_WARNING_CHARS).collect() }
    }

    /// Of a certificate, if it ends within [`CERTIFICATE_DAYS`] or has ended: `what` it is and `renew`, what to do.
    #[must_use]
    pub fn of_certificate(what: &str, ends_ms: i64, now_ms: i64, renew: &str) -> Option<Self> {
        let days = ends_ms.saturating_sub(now_ms).div_euclid(DAY_MS);
        let when = match days {
            CERTIFICATE_DAYS.. => return None,
            1.. => format!("ends in {days} {}", if days == 1 { "day" } else { "days" }),
            0 => "ends within a day".to_owned(),
            _ => "has ended".to_owned(),
        };
        Some(Self::new("certificate", &format!("{what} {when}: {renew}")))
    }
}

/// What a gateway knows of the time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockStatus {
    /// `ntp`, `server`, `system`; `none` while readings are held back because nothing tells the time.
    pub source: String,
    /// The system's clock - the server's in ms, give or take half a round trip; none until the server told its time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_offset_ms: Option<i64>,
    /// How often the system's clock was set, or the times of readings jumped, since the program started.
    pub steps: u64,
}

/// How a gateway sends.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UplinkStatus {
    /// `host:port` of the broker in use.
    pub broker: String,
    /// Batches that were sent and are not acknowledged.
    pub unacknowledged: u64,
    /// Batches that are still to be sent.
    pub backlog: u64,
    /// Batches that had to be sent again, since the program started.
    pub resends: u64,
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
    /// Polls that came due and were missed because the link was busy, since the program started.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub skipped: u64,
    /// How late its latest polls began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub late: Option<LateStatus>,
    /// What 99 of 100 of its latest answers took, in ms, beside the time of their bytes on a serial line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_p99_ms: Option<u64>,
    /// How long it is waited for at present, in ms, beside the time of the bytes; never over the timeout of its link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// What went wrong on the way to it and was made good by asking again, or was not, since the program started: how often, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub misses: BTreeMap<String, u64>,
}

impl DeviceStatus {
    /// A device that was never polled.
    #[must_use]
    pub fn new(quality: Quality) -> Self {
        let misses = BTreeMap::new();
        Self { quality, reason: None, polls: 0, failures: 0, skipped: 0, late: None, latency_p99_ms: None, timeout_ms: None, misses }
    }
}

/// How busy one link is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkStatus {
    /// Polls since the program started.
    #[serde(default)]
    pub polls: u64,
    /// Polls that came due and were missed because the link was busy, since the program started.
    #[serde(default)]
    pub skipped: u64,
    /// How late its latest polls began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub late: Option<LateStatus>,
}

/// How late the latest polls began, about a thousand of them: so many ms or less after they were due, up to a quarter too much.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LateStatus {
    /// Half of them.
    pub p50_ms: u64,
    /// 95 of 100.
    pub p95_ms: u64,
    /// 99 of 100.
    pub p99_ms: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_warned_of_before_it_ends() {
        const NOW: i64 = 1_800_000_000_000;
        for (left_ms, expected) in [
            (CERTIFICATE_DAYS * DAY_MS, None),
            (CERTIFICATE_DAYS * DAY_MS - 1, Some("it ends in 27 days: renew")),
            (2 * DAY_MS - 1, Some("it ends in 1 day: renew")),
            (1, Some("it ends within a day: renew")),
            (-1, Some("it has ended: renew")),
            (i64::MIN + 1, Some("it has ended: renew")),
        ] {
            let warning = Warning::of_certificate("it", NOW.saturating_add(left_ms), NOW, "renew");
            assert_eq!(warning.map(|warning| warning.text).as_deref(), expected, "{left_ms}");
        }
        assert_eq!(Warning::of_certificate("it", i64::MAX, i64::MIN, ""), None);
    }
}
