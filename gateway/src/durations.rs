//! How durations are spread: quantiles of the latest thousand or so, in a few hundred bytes. Pure.
//!
//! Four buckets for each doubling: a quantile is told up to a quarter too long, never too short.

use std::time::Duration;

/// Shortest and longest duration that is told apart, as powers of two of microseconds: 64 us and 38 hours.
const FIRST_OCTAVE: u32 = 6;
const LAST_OCTAVE: u32 = 37;

/// So many are remembered; then each bucket forgets half of what it holds.
const MOST: u32 = 1024;

/// A histogram of durations that forgets what is long ago. Takes 2 bytes for each bucket up to the longest seen, at most 256.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Durations {
    counts: Vec<u16>,
    total: u32,
}

impl Durations {
    /// Takes one more.
    pub(crate) fn add(&mut self, duration: Duration) {
        if self.total >= MOST {
            self.counts.iter_mut().for_each(|count| *count /= 2);
            self.total = self.counts.iter().map(|count| u32::from(*count)).sum();
        }
        let bucket = bucket(duration);
        if self.counts.len() <= bucket {
            self.counts.resize(bucket + 1, 0);
        }
        if let Some(count) = self.counts.get_mut(bucket) {
            *count += 1;
            self.total += 1;
        }
    }

    /// How many are remembered.
    #[must_use]
    pub(crate) fn count(&self) -> u32 {
        self.total
    }

    /// The shortest duration that so many of 1000 do not exceed; none as long as there is none.
    #[must_use]
    pub(crate) fn quantile(&self, per_mille: u32) -> Option<Duration> {
        let wanted = (u64::from(self.total) * u64::from(per_mille)).div_ceil(1000).max(1);
        let mut seen = 0;
        let found = self.counts.iter().position(|count| {
            seen += u64::from(*count);
            seen >= wanted
        });
        found.map(upper_bound)
    }
}

fn bucket(duration: Duration) -> usize {
    let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX).clamp(1 << FIRST_OCTAVE, (1 << (LAST_OCTAVE + 1)) - 1);
    let octave = us.ilog2();
    ((octave - FIRST_OCTAVE) * 4) as usize + (us >> (octave - 2) & 3) as usize
}

fn upper_bound(bucket: usize) -> Duration {
    Duration::from_micros((5 + bucket as u64 % 4) << (bucket as u32 / 4 + FIRST_OCTAVE - 2))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn quantiles_are_those_of_what_was_seen() {
        let mut durations = Durations::default();
        assert_eq!(durations.quantile(500), None);
        (1..=100).for_each(|ms| durations.add(Duration::from_millis(ms)));
        let ms = |per_mille| durations.quantile(per_mille).unwrap().as_millis();
        assert_eq!((ms(500), ms(950), ms(990), ms(1000)), (57, 98, 114, 114));
        assert_eq!(durations.count(), 100);
    }

    #[test]
    fn what_is_long_ago_is_forgotten_and_what_is_rare_does_not_make_it_grow() {
        let mut durations = Durations::default();
        (0..1000).for_each(|_| durations.add(Duration::from_secs(3)));
        (0..3000).for_each(|_| durations.add(Duration::from_millis(3)));
        assert!(durations.quantile(500).unwrap() < Duration::from_millis(4));
        (0..20_000).for_each(|_| durations.add(Duration::from_millis(3)));
        assert!(durations.quantile(990).unwrap() < Duration::from_millis(4));
        durations.add(Duration::MAX);
        assert!(durations.counts.len() <= 128 && durations.count() <= MOST + 1);
    }

    proptest! {
        #[test]
        fn a_quantile_is_at_most_a_quarter_too_long(us in 64..(1u64 << 38)) {
            let mut durations = Durations::default();
            durations.add(Duration::from_micros(us));
            let told = durations.quantile(990).unwrap().as_micros() as u64;
            prop_assert!(told > us && told <= us + us / 4 + 1, "{us}: {told}");
        }
    }
}
