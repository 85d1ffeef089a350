//! The clocks of a simulated machine: the boot clock runs with true time, the system's clock is wherever somebody set it.

use pattoo_gateway::timebase::Look;

use super::plan::BEGIN_MS;

/// As often as the daemon compares its clocks.
const LOOK_EVERY_MS: i64 = 1_000;

/// What a machine knows of time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clocks {
    /// The system's clock minus true time.
    pub(super) system_ms: i64,
    /// When the machine got its power.
    pub(super) booted_ms: i64,
    /// NTP keeps the system's clock.
    pub(super) synchronised: bool,
}

impl Clocks {
    pub(super) fn new(synchronised: bool) -> Self {
        Self { system_ms: 0, booted_ms: 0, synchronised }
    }

    pub(super) fn boot_ms(&self, now_ms: i64) -> i64 {
        now_ms - self.booted_ms
    }

    /// UTC as the system has it.
    pub(super) fn utc_ms(&self, now_ms: i64) -> i64 {
        BEGIN_MS + now_ms + self.system_ms
    }

    pub(super) fn look(&self, now_ms: i64) -> Look {
        Look { boot_ms: self.boot_ms(now_ms), system_ms: self.utc_ms(now_ms), synchronised: self.synchronised }
    }
}

/// When a process looks at its clocks.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Looks {
    next_ms: i64,
}

impl Looks {
    pub(super) fn is_due(&mut self, now_ms: i64) -> bool {
        let due = now_ms >= self.next_ms;
        if due {
            self.next_ms = now_ms + LOOK_EVERY_MS;
        }
        due
    }
}
