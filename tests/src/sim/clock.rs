//! The clocks of a simulated machine: the boot clock runs with true time, the system's clock is wherever somebody set it.

use pattoo_gateway::timebase::Look;

use super::plan::BEGIN_MS;

/// As often as the daemon compares its clocks.
const LOOK_EVERY_MS: i64 = 1_000;

/// Who keeps the system's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keeper {
    Ntp,
    /// A clock that goes on without power, and that nobody compares.
    Battery,
    /// Nobody: without power it goes back to 1970.
    Nobody,
}

/// What a machine knows of time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clocks {
    keeper: Keeper,
    /// The system's clock minus true time.
    pub(super) system_ms: i64,
    /// When the machine got its power.
    pub(super) booted_ms: i64,
}

impl Clocks {
    pub(super) fn new(keeper: Keeper) -> Self {
        let mut clocks = Self { keeper, system_ms: 0, booted_ms: 0 };
        clocks.boot(0);
        clocks
    }

    /// The machine has power again.
    pub(super) fn boot(&mut self, now_ms: i64) {
        self.booted_ms = now_ms;
        if self.keeper == Keeper::Nobody {
            self.system_ms = -self.began_ms();
        }
    }

    /// UTC when this boot began: what must be added to its boot clock.
    pub(super) fn began_ms(&self) -> i64 {
        BEGIN_MS + self.booted_ms
    }

    pub(super) fn boot_ms(&self, now_ms: i64) -> i64 {
        now_ms - self.booted_ms
    }

    /// UTC as the system has it.
    pub(super) fn utc_ms(&self, now_ms: i64) -> i64 {
        BEGIN_MS + now_ms + self.system_ms
    }

    pub(super) fn look(&self, now_ms: i64) -> Look {
        Look { boot_ms: self.boot_ms(now_ms), system_ms: self.utc_ms(now_ms), synchronised: self.keeper == Keeper::Ntp }
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
