//! The clocks of this machine. Shell; pure rooms are given `now`.

use std::path::Path;
use std::time::UNIX_EPOCH;

use rustix::time::{ClockId, clock_gettime};

use crate::reading::BootId;
use crate::timebase::Look;

/// Names this boot of the machine.
const BOOT_ID_FILE: &str = "/proc/sys/kernel/random/boot_id";

/// Two clocks that were read within so many ms were read at one moment.
const MOMENT_MS: i64 = 2;

/// Tries to read them within a moment, on a machine that is busy.
const LOOKS: usize = 5;

/// UTC as the system has it, right or wrong, ms since 1970. A clock that stands before 1970 gives 0.
#[must_use]
pub fn now_ms() -> i64 {
    i64::try_from(UNIX_EPOCH.elapsed().unwrap_or_default().as_millis()).unwrap_or(i64::MAX)
}

/// Time since this machine started, also while it slept, in ms. Nobody can set it.
#[must_use]
pub fn boot_ms() -> i64 {
    let time = clock_gettime(ClockId::Boottime);
    time.tv_sec.saturating_mul(1_000).saturating_add(time.tv_nsec / 1_000_000)
}

/// This boot of the machine. Where the kernel does not tell, every call is a boot of its own: times are then never taken for those of
/// another one.
#[must_use]
pub fn boot_id() -> BootId {
    let text = std::fs::read_to_string(BOOT_ID_FILE).unwrap_or_default();
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    let id = u128::from_str_radix(&digits, 16).ok().map(|id| (id >> 64) as u64 ^ id as u64);
    BootId(id.unwrap_or_else(|| getrandom::u64().unwrap_or_default()))
}

/// All clocks at one moment; NTP keeps the system's while this file is there.
#[must_use]
pub fn look(ntp_file: &Path) -> Look {
    let synchronised = ntp_file.exists();
    let mut look = Look { boot_ms: boot_ms(), system_ms: now_ms(), synchronised };
    for _ in 1..LOOKS {
        let after_ms = boot_ms();
        if after_ms - look.boot_ms <= MOMENT_MS {
            break;
        }
        look = Look { boot_ms: after_ms, system_ms: now_ms(), synchronised };
    }
    look
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boot_clock_goes_on_and_is_the_kernels() {
        let uptime_ms = || {
            let text = std::fs::read_to_string("/proc/uptime").unwrap();
            (text.split(' ').next().unwrap().parse::<f64>().unwrap() * 1_000.0) as i64
        };
        let (before_ms, now_ms) = (uptime_ms(), boot_ms());
        // It is told in hundredths.
        assert!((before_ms..=uptime_ms() + 10).contains(&now_ms), "{before_ms} {now_ms}");
    }

    #[test]
    fn a_boot_has_one_name() {
        assert_eq!(boot_id(), boot_id());
        assert_ne!(boot_id(), BootId(0));
    }

    #[test]
    fn ntp_keeps_the_clock_while_its_file_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("synchronized");
        assert!(!look(&file).synchronised);
        std::fs::write(&file, "").unwrap();
        let before_ms = now_ms();
        let look = look(&file);
        assert!(look.synchronised && (before_ms..=now_ms()).contains(&look.system_ms) && look.boot_ms <= boot_ms());
    }
}
