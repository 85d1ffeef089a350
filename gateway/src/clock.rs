//! The wall clock of this machine. Shell; pure rooms are given `now`.

use std::time::UNIX_EPOCH;

/// UTC, ms since 1970. A clock that stands before 1970 gives 0.
#[must_use]
pub fn now_ms() -> i64 {
    i64::try_from(UNIX_EPOCH.elapsed().unwrap_or_default().as_millis()).unwrap_or(i64::MAX)
}
