//! How much in a time: lines of a log, bytes of a source.

use std::time::{Duration, Instant};

/// Some lines in a minute; the rest is counted.
#[derive(Debug, Default)]
pub struct Quota {
    since: Option<Instant>,
    said: u32,
    left_out: u64,
}

/// Most lines of one source in the log in [`QUOTA_TIME`].
const QUOTA_LINES: u32 = 20;
const QUOTA_TIME: Duration = Duration::from_secs(60);

impl Quota {
    /// Whether a line may be said now, and how many were left out before it.
    pub fn may(&mut self, now: Instant) -> Option<u64> {
        if self.since.is_none_or(|since| now >= since + QUOTA_TIME) {
            (self.since, self.said) = (Some(now), 0);
        }
        if self.said == QUOTA_LINES {
            self.left_out += 1;
            return None;
        }
        self.said += 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

/// Some bytes in a second; whoever sends more has to wait.
#[derive(Debug, Default)]
pub struct Allowance {
    since: Option<Instant>,
    bytes: usize,
}

/// Most bytes that are taken of one source in [`ALLOWANCE_TIME`]: some ten thousand readings.
pub(super) const ALLOWANCE_BYTES: usize = 1 << 20;
const ALLOWANCE_TIME: Duration = Duration::from_secs(1);

impl Allowance {
    /// Notes that so many were taken.
    pub fn take(&mut self, bytes: usize, now: Instant) {
        if self.since.is_none_or(|since| now >= since + ALLOWANCE_TIME) {
            (self.since, self.bytes) = (Some(now), 0);
        }
        self.bytes += bytes;
    }

    /// Until when nothing more may be taken.
    #[must_use]
    pub fn wait(&self, now: Instant) -> Option<Instant> {
        let until = self.since? + ALLOWANCE_TIME;
        (self.bytes >= ALLOWANCE_BYTES && now < until).then_some(until)
    }
}
