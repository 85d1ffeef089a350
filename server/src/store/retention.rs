//! How long what is kept: readings, and rollups of each level. Pure; who deletes is a store.

use std::time::Duration;

use super::rollup::Level;

const DAY_MS: i64 = 86_400_000;
const DAY: Duration = Duration::from_secs(86_400);

/// How long a class is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// So long, in whole days of UTC: what comes of age goes with the rest of its day.
    For(Duration),
    /// It never goes by its age.
    Forever,
    /// It is not even made.
    Off,
}

impl Keep {
    /// From when on it is kept: the beginning of a day, ms since 1970.
    #[must_use]
    pub fn from_ms(self, now_ms: i64) -> i64 {
        match self {
            Self::For(time) => {
                let aged_ms = now_ms.saturating_sub(i64::try_from(time.as_millis()).unwrap_or(i64::MAX));
                aged_ms.saturating_sub(aged_ms.rem_euclid(DAY_MS))
            }
            Self::Forever => i64::MIN,
            Self::Off => i64::MAX,
        }
    }
}

/// What is kept of all that a store has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Readings, and gap records.
    pub raw: Keep,
    /// Rollups, by [`Level::place`].
    pub levels: [Keep; 4],
    /// Most bytes of all together. Beyond it the oldest days of readings go first, then those of rollups, the finest first.
    pub max_bytes: Option<u64>,
}

impl Retention {
    /// All of it as long as readings: then nothing is left of what is older.
    #[must_use]
    pub fn alike(keep: Keep) -> Self {
        Self { raw: keep, levels: [keep; 4], max_bytes: None }
    }

    /// The same with another level.
    #[must_use]
    pub fn with(mut self, level: Level, keep: Keep) -> Self {
        if let Some(slot) = self.levels.get_mut(level.place()) {
            *slot = keep;
        }
        self
    }
}

impl Default for Retention {
    /// Readings 90 days. Rollups of 1 min no longer than these, because of what is polled each 10 s they take more of the disk; those of 15 min 2
    /// years, of 1 h 10 years, of days for ever.
    fn default() -> Self {
        Self::alike(Keep::For(90 * DAY))
            .with(Level::Quarter, Keep::For(2 * 365 * DAY))
            .with(Level::Hour, Keep::For(10 * 365 * DAY))
            .with(Level::Day, Keep::Forever)
    }
}

/// What was deleted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Retained {
    /// Readings that had come of age.
    pub aged: u64,
    /// What had to go because all together had become too much, by class.
    pub forced: Vec<Forced>,
    /// Bytes that there still are, where that is too much and nothing is left that may go.
    pub over_bytes: Option<u64>,
}

/// What of a class had to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forced {
    /// Class.
    pub class: &'static str,
    /// Days.
    pub days: u64,
    /// Bytes.
    pub bytes: u64,
    /// Beginning of the last one, ms since 1970.
    pub last_day_ms: i64,
}

impl Retained {
    /// Notes a day that had to go.
    pub fn force(&mut self, class: &'static str, day_ms: i64, bytes: u64) {
        match self.forced.iter_mut().find(|forced| forced.class == class) {
            Some(forced) => {
                forced.days += 1;
                forced.bytes += bytes;
                forced.last_day_ms = forced.last_day_ms.max(day_ms);
            }
            None => self.forced.push(Forced { class, days: 1, bytes, last_day_ms: day_ms }),
        }
    }
}

/// Name of the class of readings; the others are those of levels.
pub const RAW: &str = "raw";

/// What there is of a class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Class {
    /// `raw`, or the name of a level.
    pub name: &'static str,
    /// Bytes on disk.
    pub bytes: u64,
    /// Beginning of its first day, ms since 1970; none where there is nothing.
    pub from_ms: Option<i64>,
    /// Days that had to go since the start, because all together had become too much.
    pub forced_days: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_begins_with_a_day() {
        let now_ms = 20_000 * DAY_MS + 5;
        for (keep, from_ms) in [
            (Keep::For(DAY), 19_999 * DAY_MS),
            (Keep::For(DAY - Duration::from_millis(5)), 19_999 * DAY_MS),
            (Keep::For(Duration::from_secs(3600)), 19_999 * DAY_MS),
            (Keep::For(Duration::from_millis(5)), 20_000 * DAY_MS),
            (Keep::Forever, i64::MIN),
            (Keep::Off, i64::MAX),
        ] {
            assert_eq!(keep.from_ms(now_ms), from_ms, "{keep:?}");
        }
    }
}
