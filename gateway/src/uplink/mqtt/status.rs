//! The status document: when it is due and what it says.

use std::time::{Duration, Instant};

use pattoo_wire::{ClockStatus, Status, UplinkStatus};

use super::session::{Sent, Session};
use crate::clock;

/// Longest time between two status documents.
const STATUS_EVERY: Duration = Duration::from_secs(10);

/// Where there is a rate, at most one part in so many of it is spent on status documents.
const RATE_PARTS: u32 = 20;

/// Shortest time between two status documents, however often health changes.
const STATUS_GAP: Duration = Duration::from_secs(1);

/// What the broker says for a gateway that is gone.
pub(super) fn last_will() -> Vec<u8> {
    encoded(&Status { online: false, version: env!("CARGO_PKG_VERSION").into(), ..Status::default() })
}

impl Session {
    pub(super) fn publish_status(&mut self, online: bool) {
        let stats = self.buffer.stats();
        let (devices, links) = {
            let health = self.told.health.borrow_and_update();
            (health.devices(), health.links())
        };
        self.health_told.clone_from(&devices);
        let warnings = self.told.warnings.borrow_and_update().clone();
        self.status_sent = Some(Instant::now());
        let time = *self.told.time.state.borrow();
        let status = Status {
            online,
            version: env!("CARGO_PKG_VERSION").into(),
            uptime_s: self.started.elapsed().as_secs(),
            time_ms: time.utc_ms(clock::boot_ms()).unwrap_or_else(clock::now_ms),
            clock: Some(ClockStatus { source: time.source.to_string(), server_offset_ms: time.server_offset_ms, steps: time.steps }),
            uplink: Some(UplinkStatus {
                broker: self.broker.clone(),
                unacknowledged: self.uplink.unacknowledged(),
                backlog: self.uplink.unsent(),
                resends: self.uplink.counters().resends,
            }),
            buffer_batches: stats.batches,
            buffer_bytes: stats.bytes,
            dropped_readings: stats.dropped_readings,
            written_bytes: written_bytes(),
            warnings,
            devices,
            links,
        };
        let message = encoded(&status);
        self.status_bytes = message.len() as u64;
        self.publish(self.topics.status.clone(), true, message, Sent::Status);
    }

    /// Publishes the status when it is due, or when the health of a device has changed.
    pub(super) fn refresh_status(&mut self) {
        let age = self.status_sent.map_or(Duration::MAX, |sent| sent.elapsed());
        let pause = self.uplink.time_for(self.status_bytes) * RATE_PARTS;
        let is_news = self.told.health.borrow().differs_from(&self.health_told) || self.told.warnings.has_changed().unwrap_or(false);
        let due = age >= STATUS_EVERY.max(pause) || (age >= STATUS_GAP.max(pause) && is_news);
        if self.connected && due {
            self.publish_status(true);
        }
    }
}

/// Bytes that this process caused to be written to storage (`write_bytes`, proc_pid_io(5)): sled writes its files by itself, so that only
/// the system sees all of them.
fn written_bytes() -> Option<u64> {
    let counts = std::fs::read_to_string("/proc/self/io").ok()?;
    counts.lines().find_map(|line| line.strip_prefix("write_bytes:"))?.trim().parse().ok()
}

fn encoded(status: &Status) -> Vec<u8> {
    // Strings and numbers only: cannot fail.
    serde_json::to_vec(status).unwrap_or_default()
}
