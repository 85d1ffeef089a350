//! Two looks at a counter -> its rate, or why there is none. Pure.
//!
//! Time is the agent's own where it has a clock: what it takes to ask it is no part of it. A counter that went back has wrapped only where the
//! agent's uptime shows that it has not begun anew, and the row's discontinuity time is the same.

use std::time::Duration;

use pattoo_wire::Reason;

/// How far ahead the uptime may be expected to be, beside a hundredth of the time that has passed.
const UPTIME_SLACK_MS: i64 = 10_000;
/// A look that is later than this share of the interval missed one.
const LATE_PERCENT: u128 = 150;
/// Uptimes wrap here: 2^32 hundredths of a second, 497 days.
const UPTIME_WRAP_MS: i64 = (1 << 32) * 10;

/// How long an agent has been up, counted on over its wraps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Uptime {
    ticks: u32,
    at_ms: i64,
    /// Time by the clock of the agent.
    own_ms: i64,
    /// How often it has begun anew.
    pub(super) lives: u32,
}

impl Uptime {
    /// What the agent says now, after what it said before.
    pub(super) fn after(before: Option<Self>, ticks: u32, at_ms: i64) -> Self {
        let said_ms = i64::from(ticks) * 10;
        let Some(before) = before else { return Self { ticks, at_ms, own_ms: said_ms, lives: 0 } };
        let grown_ms = i64::from(ticks.wrapping_sub(before.ticks)) * 10;
        let passed_ms = (at_ms - before.at_ms).max(0);
        let least_ms = passed_ms - passed_ms / 100 - UPTIME_SLACK_MS;
        // One that went back by a little would have wrapped after 497 days, which have not passed.
        let most_ms = passed_ms.saturating_mul(2).saturating_add(UPTIME_WRAP_MS / 2);
        if (least_ms..=most_ms).contains(&grown_ms) {
            return Self { ticks, at_ms, own_ms: before.own_ms + grown_ms, lives: before.lives };
        }
        Self { ticks, at_ms, own_ms: said_ms, lives: before.lives.wrapping_add(1) }
    }

    /// The agent's clock at this moment.
    fn at(&self, at_ms: i64) -> i64 {
        self.own_ms + (at_ms - self.at_ms)
    }
}

/// A look at a counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Look {
    pub(super) count: u64,
    pub(super) at_ms: i64,
    /// Which life of the agent, and its clock; none where it has none.
    pub(super) life: Option<(u32, i64)>,
    /// Discontinuity time of the row.
    pub(super) discontinuity: Option<u64>,
    /// Which of the point's sources.
    pub(super) source: usize,
}

impl Look {
    /// A look at this moment.
    pub(super) fn new(count: u64, at_ms: i64, uptime: Option<&Uptime>, discontinuity: Option<u64>, source: usize) -> Self {
        Self { count, at_ms, life: uptime.map(|uptime| (uptime.lives, uptime.at(at_ms))), discontinuity, source }
    }

    /// What the counter grew in a second since the look before.
    ///
    /// # Errors
    /// Why nobody can tell.
    pub(super) fn rate_since(&self, before: Option<&Self>, bits: u32, every: Duration) -> Result<f64, Reason> {
        let Some(before) = before.filter(|before| before.source == self.source) else { return Err(Reason::FirstLook) };
        let anew = matches!((before.life, self.life), (Some((a, _)), Some((b, _))) if a != b);
        if anew || before.discontinuity != self.discontinuity {
            return Err(Reason::CounterReset);
        }
        // Without the agent's clock nobody knows whether it has begun anew meanwhile.
        if before.life.is_some() != self.life.is_some() {
            return Err(Reason::MissedLook);
        }
        let passed_ms = u128::try_from(self.at_ms - before.at_ms).map_err(|_| Reason::FirstLook)?;
        if passed_ms * 100 > every.as_millis() * LATE_PERCENT {
            return Err(Reason::MissedLook);
        }
        let elapsed_ms = match (before.life, self.life) {
            (Some((_, a)), Some((_, b))) if b > a => b - a,
            _ => self.at_ms - before.at_ms,
        };
        if elapsed_ms <= 0 {
            return Err(Reason::FirstLook);
        }
        let grown = grown(before.count, self.count, bits, self.life.is_some()).ok_or(Reason::CounterReset)?;
        Ok(grown as f64 * 1000.0 / elapsed_ms as f64)
    }
}

/// How far a counter has come. One that went back has wrapped where it is known that the agent has not begun anew; of 64 bits only when that
/// is no more than half of its way, because no counter comes that far.
fn grown(before: u64, now: u64, bits: u32, known: bool) -> Option<u64> {
    if now >= before {
        return Some(now - before);
    }
    let mask = if bits >= 64 { u64::MAX } else { (1 << bits) - 1 };
    let grown = now.wrapping_sub(before) & mask;
    let fits = before <= mask && now <= mask;
    (known && fits && (bits < 64 || grown <= mask / 2)).then_some(grown)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EVERY: Duration = Duration::from_secs(30);

    fn look(count: u64, at_ms: i64, life: Option<(u32, i64)>) -> Look {
        Look { count, at_ms, life, discontinuity: Some(0), source: 0 }
    }

    #[test]
    fn wrap_reset_first_look_and_missed_look_are_told_apart() {
        let top = u64::from(u32::MAX);
        let life = |at| Some((0, at));
        for (before, now, bits, expected) in [
            (None, look(5, 30_000, life(30_000)), 32, Err(Reason::FirstLook)),
            (Some(look(0, 0, life(0))), look(3_000, 30_000, life(30_000)), 32, Ok(100.0)),
            (Some(look(7, 0, life(0))), look(7, 30_000, life(30_000)), 64, Ok(0.0)),
            // One wrap, also one of most of the way.
            (Some(look(top, 0, life(0))), look(2_999, 30_000, life(30_000)), 32, Ok(100.0)),
            (Some(look(1 << 31, 0, life(0))), look(1, 30_000, life(30_000)), 32, Ok(2_147_483_649.0 / 30.0)),
            (Some(look(u64::MAX, 0, life(0))), look(2_999, 30_000, life(30_000)), 64, Ok(100.0)),
            // A counter of 64 bits that was cleared.
            (Some(look(1 << 40, 0, life(0))), look(5, 30_000, life(30_000)), 64, Err(Reason::CounterReset)),
            // Without uptime nobody can tell.
            (Some(look(0, 0, None)), look(3_000, 30_000, None), 32, Ok(100.0)),
            (Some(look(top, 0, None)), look(2_999, 30_000, None), 32, Err(Reason::CounterReset)),
            (Some(look(5, 0, life(0))), look(9, 30_000, None), 32, Err(Reason::MissedLook)),
            (Some(look(5, 0, None)), look(9, 30_000, life(0)), 32, Err(Reason::MissedLook)),
            // The agent was started anew, or the row.
            (Some(look(top, 0, life(0))), look(5, 30_000, Some((1, 100))), 32, Err(Reason::CounterReset)),
            (Some(Look { discontinuity: Some(9), ..look(5, 0, life(0)) }), look(9, 30_000, life(30_000)), 32, Err(Reason::CounterReset)),
            (Some(Look { source: 1, ..look(5, 0, life(0)) }), look(9, 30_000, life(30_000)), 32, Err(Reason::FirstLook)),
            // A poll between was missed: a counter of 32 bits may have wrapped twice.
            (Some(look(0, 0, life(0))), look(3_000, 60_000, life(60_000)), 32, Err(Reason::MissedLook)),
            (Some(look(0, 0, life(0))), look(3_000, 45_000, life(45_000)), 32, Ok(3_000.0 / 45.0)),
            // Time is the agent's.
            (Some(look(0, 0, life(500_000))), look(3_000, 31_000, life(530_000)), 32, Ok(100.0)),
            (Some(look(0, 0, life(0))), look(1, 0, life(0)), 32, Err(Reason::FirstLook)),
        ] {
            assert_eq!(now.rate_since(before.as_ref(), bits, EVERY), expected, "{before:?} {now:?}");
        }
    }

    #[test]
    fn an_uptime_that_wraps_is_no_restart() {
        let day_ms = 86_400_000;
        for (before, now, passed_ms, lives) in [
            (1_000, 4_000, 30_000, 0),
            (1_000, 4_100, 30_000, 0),
            (u32::MAX - 999, 2_000, 30_000, 0),
            (500_000, 100, 30_000, 1),
            (500_000, 499_000, 30_000, 1),
            // Up for longer than it was before, and yet not for as long as it was not asked.
            (10_000, 350_000, 3_600_000, 1),
            (10_000, 370_000, 3_600_000, 0),
            (10_000, 10_000 + 8_640_000 * 30, 30 * day_ms, 0),
        ] {
            let first = Uptime::after(None, before, 0);
            assert_eq!(Uptime::after(Some(first), now, passed_ms).lives, lives, "{before} {now} {passed_ms}");
        }
    }

    proptest! {
        /// A counter that grew steadily has that rate, wherever it wrapped.
        #[test]
        fn a_rate_is_never_a_spike(
            start in any::<u64>(), grown in 0u64..1 << 31, bits in prop::sample::select(vec![32u32, 64]), late in 0i64..10_000,
        ) {
            let mask = if bits == 64 { u64::MAX } else { u64::from(u32::MAX) };
            let before = look(start & mask, 0, Some((0, 0)));
            let now = look((start & mask).wrapping_add(grown) & mask, 30_000 + late, Some((0, 30_000)));
            prop_assert_eq!(now.rate_since(Some(&before), bits, EVERY), Ok(grown as f64 / 30.0));
        }

        /// Whatever the two looks say, a rate is possible for that counter.
        #[test]
        fn no_rate_is_above_what_the_counter_can_count(
            a in any::<u64>(), b in any::<u64>(), at in -100_000i64..100_000, lives in 0u32..2, bits in prop::sample::select(vec![32u32, 64]),
        ) {
            let mask = if bits == 64 { u64::MAX } else { u64::from(u32::MAX) };
            let before = look(a & mask, 0, Some((0, 0)));
            let now = look(b & mask, at, Some((lives, at)));
            if let Ok(rate) = now.rate_since(Some(&before), bits, EVERY) {
                prop_assert!(lives == 0 && (0.0..=mask as f64 * 1000.0).contains(&rate));
            }
        }
    }
}
