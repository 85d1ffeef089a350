//! What time it is, and how far that can be trusted: from the machine's clocks and the server's time to UTC.
//!
//! Reads no clock: see [`crate::clock`]. Readings are stamped with the boot clock, which nobody can set; [`TimeBase`] says what must be
//! added to get UTC, or that nothing is known yet.
//!
//! # What holds
//! - A system clock outside of [`EARLIEST_MS`] to [`LATEST_MS`] is never believed, whatever the configuration says.
//! - With [`Trust::Auto`] the system clock is believed while NTP keeps it; else the server's time decides. Within what the server's
//!   answers leave open the system clock is preferred, since it may be kept by something that we cannot see.
//! - Once known, the offset stays known: the boot clock goes on. Corrections below [`STEP_MS`] are spread out, so that the readings of a
//!   series stay in order; larger ones are made at once and are a [`Step`]. Neither touches readings that were stamped before.
//! - A system clock that is set and not believed changes nothing, and is a step of 0.

use pattoo_wire::ClockSource;

/// 2026-01-01: this program is younger. A clock before it was never set.
pub const EARLIEST_MS: i64 = 1_767_225_600_000;

/// 2100-01-01: a clock after it holds garbage.
pub const LATEST_MS: i64 = 4_102_444_800_000;

/// A change by so much is a step; less is spread out.
pub const STEP_MS: i64 = 1_000;

/// Longest time between question and answer of which anything is concluded: half of it is the error at worst.
pub const MAX_ROUND_TRIP_MS: i64 = 20_000;

/// A correction is spread over so many times its size.
const SPREAD: i64 = 100;

/// Largest part of a correction that is made at once: half of the shortest interval between two readings of one series.
const MAX_SPREAD_MS: i64 = 50;

/// How much two clocks may drift apart, in millionths: four times what a cheap crystal does.
const DRIFT_PPM: i64 = 200;

/// What is cut off when a clock is read in whole ms, on each side.
const ROUNDING_MS: i64 = 1;

/// Whether the system clock is believed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Trust {
    /// While NTP keeps it; else the server's time decides.
    #[default]
    Auto,
    /// As it is, for plants without NTP whose clock runs from a battery.
    System,
}

/// All clocks of this machine, read at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// Since this machine started, also while it slept.
    pub boot_ms: i64,
    /// UTC as the system has it, ms since 1970.
    pub system_ms: i64,
    /// Whether NTP has set the system clock since this machine started.
    pub synchronised: bool,
}

/// The server's time, and when it was asked and heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerTime {
    /// Boot clock when the question went out.
    pub sent_ms: i64,
    /// Boot clock when the answer came.
    pub received_ms: i64,
    /// UTC by the server's clock in between, ms since 1970.
    pub time_ms: i64,
}

/// What the time base knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State {
    /// What it rests on.
    pub source: ClockSource,
    /// UTC is boot clock + this; none until known.
    pub offset_ms: Option<i64>,
    /// System clock - server's clock, in ms, give or take half a round trip; none until both are known.
    pub server_offset_ms: Option<i64>,
    /// How often the system clock was set or the times of readings jumped, since the program started.
    pub steps: u64,
}

impl Default for State {
    fn default() -> Self {
        Self { source: ClockSource::None, offset_ms: None, server_offset_ms: None, steps: 0 }
    }
}

impl State {
    /// UTC at this boot time, ms since 1970.
    #[must_use]
    pub fn utc_ms(&self, boot_ms: i64) -> Option<i64> {
        self.offset_ms.map(|offset_ms| boot_ms.saturating_add(offset_ms))
    }
}

/// A moment from which on readings have other times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// UTC of this moment as it would have been before.
    pub from_ms: i64,
    /// UTC of this moment from now on. The same where the system clock was set and not believed.
    pub to_ms: i64,
}

/// Where the offset of the server's clock lies, and when that was found out.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    low_ms: i64,
    high_ms: i64,
    at_ms: i64,
}

impl Bounds {
    /// The server's clock was read after the question was sent and before the answer was heard.
    fn of(time: ServerTime) -> Self {
        let low_ms = time.time_ms - time.received_ms - ROUNDING_MS;
        let high_ms = time.time_ms - time.sent_ms + ROUNDING_MS;
        Self { low_ms, high_ms, at_ms: time.received_ms }
    }

    /// What is left of them later.
    fn at(self, boot_ms: i64) -> Self {
        let drift_ms = (boot_ms - self.at_ms).max(0) / 1_000 * DRIFT_PPM / 1_000;
        Self { low_ms: self.low_ms - drift_ms, high_ms: self.high_ms + drift_ms, at_ms: self.at_ms.max(boot_ms) }
    }

    /// What both leave open. If that is nothing, a clock was set: the newer ones hold.
    fn narrowed(self, newer: Self) -> Self {
        let older = self.at(newer.at_ms);
        let (low_ms, high_ms) = (older.low_ms.max(newer.low_ms), older.high_ms.min(newer.high_ms));
        if low_ms > high_ms { newer } else { Self { low_ms, high_ms, at_ms: newer.at_ms } }
    }

    fn holds(self, offset_ms: i64) -> bool {
        (self.low_ms..=self.high_ms).contains(&offset_ms)
    }

    fn middle_ms(self) -> i64 {
        self.low_ms.midpoint(self.high_ms)
    }
}

/// Decides what time it is.
#[derive(Debug, Clone, Default)]
pub struct TimeBase {
    trust: Trust,
    state: State,
    server: Option<Bounds>,
    /// System clock - boot clock when it was last plausible.
    system_offset_ms: Option<i64>,
    /// Until when corrections are spread already.
    spread_until_ms: i64,
}

impl TimeBase {
    /// Knows nothing yet.
    #[must_use]
    pub fn new(trust: Trust) -> Self {
        Self { trust, ..Self::default() }
    }

    /// What it knows since the latest [`TimeBase::look`].
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// Takes the server's time. What cannot be or took too long is ignored. Look again afterwards.
    pub fn hear(&mut self, time: ServerTime) {
        let round_trip_ms = time.received_ms.checked_sub(time.sent_ms);
        let usable = time.sent_ms >= 0 && round_trip_ms.is_some_and(|ms| (0..=MAX_ROUND_TRIP_MS).contains(&ms));
        if !usable || time.received_ms > LATEST_MS || !is_plausible(time.time_ms) {
            return;
        }
        let newer = Bounds::of(time);
        self.server = Some(self.server.map_or(newer, |older| older.narrowed(newer)));
    }

    /// Takes what the clocks show. Call it every second or so, and before readings get their times.
    pub fn look(&mut self, look: Look) -> Option<Step> {
        let system_offset_ms = is_plausible(look.system_ms).then(|| look.system_ms.saturating_sub(look.boot_ms));
        let was_set = match (self.system_offset_ms, system_offset_ms) {
            (Some(before_ms), Some(now_ms)) => before_ms.abs_diff(now_ms) >= STEP_MS as u64,
            _ => false,
        };
        self.system_offset_ms = system_offset_ms.or(self.system_offset_ms);

        let server = self.server.map(|server| server.at(look.boot_ms));
        self.state.server_offset_ms = system_offset_ms.zip(server).map(|(system_ms, server)| system_ms - server.middle_ms());
        let (source, wanted_ms) = self.wanted(look.synchronised, system_offset_ms, server)?;
        self.state.source = source;
        let Some(offset_ms) = self.state.offset_ms else {
            self.state.offset_ms = Some(wanted_ms);
            return None;
        };
        let change_ms = wanted_ms.saturating_sub(offset_ms);
        let jumps = change_ms.unsigned_abs() >= STEP_MS as u64;
        let spread_ms = self.spread_ms(look.boot_ms);
        let next_ms = if jumps { wanted_ms } else { offset_ms + change_ms.clamp(-spread_ms, spread_ms) };
        self.state.offset_ms = Some(next_ms);
        if !jumps && !was_set {
            return None;
        }
        self.state.steps += 1;
        let from_ms = look.boot_ms.saturating_add(if jumps { offset_ms } else { next_ms });
        Some(Step { from_ms, to_ms: look.boot_ms.saturating_add(next_ms) })
    }

    /// How much of a correction is due now.
    fn spread_ms(&mut self, boot_ms: i64) -> i64 {
        let spread_ms = boot_ms.saturating_sub(self.spread_until_ms).max(0) / SPREAD;
        if spread_ms > 0 {
            self.spread_until_ms = boot_ms;
        }
        spread_ms.min(MAX_SPREAD_MS)
    }

    /// The offset that is believed now, and why. Whatever was believed last stays so when nothing else can be.
    fn wanted(&self, synchronised: bool, system_offset_ms: Option<i64>, server: Option<Bounds>) -> Option<(ClockSource, i64)> {
        match (system_offset_ms, server) {
            (Some(system_ms), _) if self.trust == Trust::System => Some((ClockSource::System, system_ms)),
            (Some(system_ms), _) if synchronised => Some((ClockSource::Ntp, system_ms)),
            (system_ms, Some(server)) => {
                let kept_ms = [system_ms, self.state.offset_ms].into_iter().flatten().find(|offset_ms| server.holds(*offset_ms));
                Some((ClockSource::Server, kept_ms.unwrap_or_else(|| server.middle_ms())))
            }
            _ => self.state.offset_ms.map(|offset_ms| (self.state.source, offset_ms)),
        }
    }
}

fn is_plausible(utc_ms: i64) -> bool {
    (EARLIEST_MS..LATEST_MS).contains(&utc_ms)
}

#[cfg(test)]
mod tests;
