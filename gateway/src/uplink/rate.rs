//! A limit in bytes per second: a bucket that fills with time. Pure.
//!
//! What is sent may be larger than what is in the bucket, because a message cannot be cut: the debt is paid before the next one.

use std::time::Duration;

/// Most that gathers while nothing is sent, in seconds of the rate.
const BURST_S: u64 = 1;

/// What may be sent now; everything where there is no limit.
#[derive(Debug, Clone, Default)]
pub(super) struct Rate {
    bytes_per_s: Option<u64>,
    /// Thousandths of bytes, so that a short time at a low rate is not lost.
    left: i64,
    at_ms: i64,
}

impl Rate {
    pub(super) fn new(bytes_per_s: Option<u64>) -> Self {
        let mut rate = Self { bytes_per_s, left: 0, at_ms: 0 };
        rate.left = rate.full();
        rate
    }

    /// Whether another message may go out.
    pub(super) fn allows(&mut self, now_ms: i64) -> bool {
        let Some(bytes_per_s) = self.bytes_per_s else { return true };
        // Bytes per second are thousandths of bytes per millisecond.
        let gained = now_ms.saturating_sub(self.at_ms).max(0).saturating_mul(i64::try_from(bytes_per_s).unwrap_or(i64::MAX));
        self.at_ms = self.at_ms.max(now_ms);
        self.left = self.left.saturating_add(gained).min(self.full());
        self.left > 0
    }

    /// So many bytes went out.
    pub(super) fn spend(&mut self, bytes: u64) {
        if self.bytes_per_s.is_some() {
            self.left = self.left.saturating_sub(i64::try_from(bytes.saturating_mul(1000)).unwrap_or(i64::MAX));
        }
    }

    /// How long so many bytes take at the rate.
    pub(super) fn time_for(&self, bytes: u64) -> Duration {
        self.bytes_per_s.map_or(Duration::ZERO, |rate| Duration::from_millis(bytes.saturating_mul(1000) / rate.max(1)))
    }

    fn full(&self) -> i64 {
        i64::try_from(self.bytes_per_s.unwrap_or_default().saturating_mul(1000 * BURST_S)).unwrap_or(i64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn over_any_time_no_more_goes_out_than_the_rate_a_burst_and_one_message() {
        for (bytes_per_s, message, step_ms) in [(1000, 300, 7), (100, 8000, 500), (1_000_000, 50, 1), (1, 1, 999)] {
            let mut rate = Rate::new(Some(bytes_per_s));
            let (mut sent, total_ms) = (0, 600_000);
            let mut now_ms = 0;
            while now_ms < total_ms {
                while rate.allows(now_ms) {
                    rate.spend(message);
                    sent += message;
                }
                let most = bytes_per_s * now_ms as u64 / 1000 + bytes_per_s * BURST_S + message;
                assert!(sent <= most, "{sent} bytes after {now_ms} ms at {bytes_per_s} a second");
                now_ms += step_ms;
            }
            let least = bytes_per_s * (total_ms as u64 - 1000) / 1000 - message.min(bytes_per_s * 500);
            assert!(sent >= least, "only {sent} bytes at {bytes_per_s} a second, {least} could be");
        }
    }

    #[test]
    fn a_clock_that_jumps_far_gives_no_more_than_a_burst() {
        let mut rate = Rate::new(Some(1000));
        assert!(rate.allows(i64::MAX));
        rate.spend(1000);
        assert!(!rate.allows(i64::MAX));
        assert!(!rate.allows(0), "going back gives nothing");
        assert!(Rate::new(None).allows(0));
        assert_eq!((rate.time_for(500), Rate::new(None).time_for(500)), (Duration::from_millis(500), Duration::ZERO));
    }
}
