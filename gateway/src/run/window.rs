//! Collects complete batches for a while, so that they are stored with one wait for the disk. A shell file: clock and log.
//!
//! A batch in it is in memory only: it counts as buffered, and may be sent, once the window is closed and the buffer has answered. The first
//! batch after the start does not wait: somebody may be looking.

use std::time::Duration;

use tokio::time::Instant;
use tracing::error;

use crate::batch::Closed;
use crate::buffer::worker::Handle;

/// Most batches, and most bytes of them, that wait; one more closes the window.
const MAX_BATCHES: usize = 64;
const MAX_BYTES: usize = 256 << 10;

pub(super) struct Window {
    buffer: Handle,
    length: Duration,
    waiting: Vec<Closed>,
    bytes: usize,
    until: Option<Instant>,
    /// Nothing was stored yet.
    first: bool,
}

impl Window {
    pub(super) fn new(buffer: Handle, length: Duration) -> Self {
        Self { buffer, length, waiting: Vec::new(), bytes: 0, until: None, first: true }
    }

    /// Takes a batch; stores it at once if there is no window, or with all others if it is full.
    pub(super) async fn add(&mut self, closed: Closed) {
        self.bytes += closed.body.len();
        self.waiting.push(closed);
        self.until.get_or_insert(Instant::now() + self.length);
        if self.length.is_zero() || std::mem::take(&mut self.first) || self.waiting.len() >= MAX_BATCHES || self.bytes >= MAX_BYTES {
            self.close().await;
        }
    }

    /// Ends when it is time to close; never while nothing waits.
    pub(super) async fn over(&self) {
        match self.until {
            Some(until) => tokio::time::sleep_until(until).await,
            None => std::future::pending().await,
        }
    }

    /// Stores what waits.
    pub(super) async fn close(&mut self) {
        let waiting = std::mem::take(&mut self.waiting);
        (self.bytes, self.until) = (0, None);
        if waiting.is_empty() {
            return;
        }
        let readings: Vec<u64> = waiting.iter().map(|closed| closed.readings).collect();
        match self.buffer.append_all(waiting).await {
            Ok(answers) => {
                for (answer, readings) in answers.into_iter().zip(readings) {
                    if let Err(why) = answer {
                        error!(%why, readings, "readings could not be buffered and are lost");
                    }
                }
            }
            Err(why) => error!(%why, readings = readings.iter().sum::<u64>(), "readings could not be buffered and are lost"),
        }
    }
}

#[cfg(test)]
mod tests;
