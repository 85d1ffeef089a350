//! When the log of a link may speak: its level, for how long, and how many lines in a second. Pure.

use std::time::{Duration, Instant};

/// Most lines of one link in a second.
pub const MAX_LINES: u32 = 200;
const WINDOW: Duration = Duration::from_secs(1);

/// How much of a link is told; each level tells what those before it tell as well.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    /// Nothing.
    #[default]
    Off,
    /// Readings.
    Values,
    /// Questions and answers.
    Frames,
    /// What was sent and heard.
    Bytes,
}

impl Level {
    /// All of them by name.
    pub const NAMES: &[(&str, Self)] = &[("off", Self::Off), ("values", Self::Values), ("frames", Self::Frames), ("bytes", Self::Bytes)];

    /// The level of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(own, _)| *own == name).map(|(_, level)| *level)
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, level)| *level == self).map_or("", |(name, _)| name)
    }
}

/// What becomes of a line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct May {
    pub(super) speak: bool,
    /// Its time was over just now.
    pub(super) ended: bool,
    /// Lines that were left out in the second before, to be told now.
    pub(super) left_out: u32,
}

#[derive(Debug, Default)]
pub(super) struct Valve {
    level: Level,
    until: Option<Instant>,
    window: Option<Instant>,
    lines: u32,
    left_out: u32,
}

impl Valve {
    pub(super) fn switch(&mut self, level: Level, now: Instant, time: Duration) {
        *self = Self { level, until: now.checked_add(time), ..Self::default() };
    }

    pub(super) fn may_say(&mut self, level: Level, now: Instant) -> May {
        if self.level == Level::Off {
            return May::default();
        }
        if self.until.is_none_or(|until| now >= until) {
            let left_out = self.left_out;
            *self = Self::default();
            return May { speak: false, ended: true, left_out };
        }
        if level > self.level {
            return May::default();
        }
        let mut may = May::default();
        if self.window.is_none_or(|start| now >= start + WINDOW) {
            may.left_out = std::mem::take(&mut self.left_out);
            (self.window, self.lines) = (Some(now), 0);
        }
        may.speak = self.lines < MAX_LINES;
        if may.speak {
            self.lines += 1;
        } else {
            self.left_out += 1;
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_tells_those_before_it_and_ends_in_time() {
        let start = Instant::now();
        let speaks = |set: Level, said: Level, after_s: u64| {
            let mut valve = Valve::default();
            valve.switch(set, start, Duration::from_secs(10));
            valve.may_say(said, start + Duration::from_secs(after_s))
        };
        let yes = May { speak: true, ..May::default() };
        for (set, said, expected) in [
            (Level::Off, Level::Values, May::default()),
            (Level::Values, Level::Values, yes),
            (Level::Values, Level::Frames, May::default()),
            (Level::Frames, Level::Values, yes),
            (Level::Frames, Level::Bytes, May::default()),
            (Level::Bytes, Level::Bytes, yes),
        ] {
            assert_eq!(speaks(set, said, 9), expected, "{set:?} {said:?}");
        }
        assert_eq!(speaks(Level::Bytes, Level::Bytes, 10), May { ended: true, ..May::default() });
    }

    #[test]
    fn a_second_has_so_many_lines_and_the_next_one_tells_what_was_left_out() {
        let start = Instant::now();
        let mut valve = Valve::default();
        valve.switch(Level::Bytes, start, Duration::from_secs(10));
        let at = |ms| start + Duration::from_millis(ms);
        let spoken = (0..1000).filter(|_| valve.may_say(Level::Bytes, at(500)).speak).count();
        assert_eq!(spoken, MAX_LINES as usize);
        assert_eq!(valve.may_say(Level::Bytes, at(1499)), May::default());
        assert_eq!(valve.may_say(Level::Bytes, at(1500)), May { speak: true, ended: false, left_out: 1001 - MAX_LINES });
        assert_eq!(valve.may_say(Level::Bytes, at(1501)), May { speak: true, ..May::default() });
        assert!(valve.may_say(Level::Bytes, at(10_000)).ended, "and once only:");
        assert_eq!(valve.may_say(Level::Bytes, at(10_001)), May::default());
    }
}
