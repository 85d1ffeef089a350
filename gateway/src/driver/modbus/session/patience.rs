//! How long a device is waited for, learned from how long it took so far. Pure.
//!
//! Twice what 99 of 100 answers took, and never less than a floor: a device that answers in 20 ms and died is noticed at once, not after
//! the whole timeout of its link. A wait that was too short doubles, up to that timeout, until the device has been heard often enough for
//! its new pace to be known: one that got slower is not locked out.

use std::time::Duration;

use crate::durations::Durations;

/// Answers before the measured time counts, and after a timeout before the wait shrinks again. Of 1024 that are remembered, 20 are more
/// than the slowest hundredth.
const ENOUGH: u32 = 20;

/// What is known of the time that one device takes.
#[derive(Debug, Clone, Default)]
pub(super) struct Patience {
    took: Durations,
    /// After a timeout: what the wait grew to, and the answers since.
    raised: Option<(Duration, u32)>,
}

impl Patience {
    /// How long to wait, beside the time that the bytes take on the line.
    pub(super) fn limit(&self, floor: Duration, longest: Duration) -> Duration {
        let usual = self.slowest().filter(|_| self.took.count() >= ENOUGH).map_or(longest, |slowest| slowest * 2);
        let raised = self.raised.map_or(Duration::ZERO, |(wait, _)| wait);
        usual.max(raised).max(floor).min(longest)
    }

    /// What 99 of 100 answers did not exceed.
    pub(super) fn slowest(&self) -> Option<Duration> {
        self.took.quantile(990)
    }

    /// It answered after so long.
    pub(super) fn answered(&mut self, took: Duration) {
        self.took.add(took);
        self.raised = self.raised.map(|(wait, answers)| (wait, answers + 1)).filter(|(_, answers)| *answers < ENOUGH);
    }

    /// It did not, not within this wait.
    pub(super) fn timed_out(&mut self, wait: Duration) {
        self.raised = Some((wait * 2, 0));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FLOOR: Duration = Duration::from_millis(100);
    const LONGEST: Duration = Duration::from_secs(2);

    fn limit_ms(patience: &Patience) -> u128 {
        patience.limit(FLOOR, LONGEST).as_millis()
    }

    #[test]
    fn the_wait_follows_the_device_between_floor_and_timeout() {
        for (took_ms, expected) in [(1, 100..=100), (80, 160..=200), (400, 800..=1000), (1500, 2000..=2000)] {
            let mut patience = Patience::default();
            for _ in 1..ENOUGH {
                patience.answered(Duration::from_millis(took_ms));
                assert_eq!(limit_ms(&patience), 2000, "not enough is known");
            }
            patience.answered(Duration::from_millis(took_ms));
            assert!(expected.contains(&limit_ms(&patience)), "{took_ms}: {}", limit_ms(&patience));
        }
    }

    #[test]
    fn a_device_that_got_slower_is_waited_for_and_one_timeout_is_forgotten() {
        let mut patience = Patience::default();
        (0..2000).for_each(|_| patience.answered(Duration::from_millis(10)));
        let answers = |patience: &mut Patience, took: Duration| {
            let wait = patience.limit(FLOOR, LONGEST);
            if took <= wait {
                patience.answered(took)
            } else {
                patience.timed_out(wait)
            }
            took <= wait
        };
        let heard = (0..100).filter(|_| answers(&mut patience, Duration::from_millis(900))).count();
        // 100, 200, 400 and 800 ms are too short.
        assert_eq!(heard, 96);

        let mut patience = Patience::default();
        (0..2000).for_each(|_| patience.answered(Duration::from_millis(10)));
        patience.timed_out(FLOOR);
        assert_eq!(limit_ms(&patience), 200);
        (0..ENOUGH).for_each(|_| patience.answered(Duration::from_millis(10)));
        assert_eq!(limit_ms(&patience), 100);
    }

    proptest! {
        /// However its pace changes, a device that answers within the timeout is heard after a few tries.
        #[test]
        fn nobody_who_answers_in_time_is_locked_out(paces in prop::collection::vec((1u64..2000, 1usize..300), 1..20)) {
            let mut patience = Patience::default();
            for (took_ms, polls) in paces {
                let (took, mut misses) = (Duration::from_millis(took_ms), 0);
                for _ in 0..polls {
                    let wait = patience.limit(FLOOR, LONGEST);
                    prop_assert!(wait >= FLOOR && wait <= LONGEST);
                    if took <= wait {
                        patience.answered(took);
                        misses = 0;
                    } else {
                        patience.timed_out(wait);
                        misses += 1;
                    }
                    prop_assert!(misses <= 5, "{took_ms} ms");
                }
            }
        }
    }
}
