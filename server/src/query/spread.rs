//! What a counter counted from reading to reading -> its rate in each bucket, and its consumption in each period. Pure.

use super::counter::Step;

/// How fast a counter counted in one bucket.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// For how many ms of the bucket that is known; 0 for none.
    pub known_ms: i64,
    /// How much it counted in that time.
    pub increase: f64,
    /// The slowest that it was from one reading to the next, per second.
    pub min: f64,
    /// The fastest.
    pub max: f64,
}

impl Rate {
    const NONE: Self = Self { known_ms: 0, increase: 0.0, min: f64::INFINITY, max: f64::NEG_INFINITY };

    /// The average per second over what is known, if anything is.
    #[must_use]
    pub fn average(&self) -> Option<f64> {
        let average = self.increase * 1000.0 / self.known_ms as f64;
        // Never outside its own minimum and maximum: a sum of doubles may round past them.
        (self.known_ms > 0).then(|| average.max(self.min).min(self.max))
    }
}

/// What a counter counted in one period.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Consumption {
    /// What is known of it; all of it where nothing is missing.
    pub at_least: f64,
    /// Whether it may have counted more: a reset, no reading over its end, or one so late that it may belong to the next period.
    pub missing: bool,
}

/// Rates in `slots` buckets of `step_ms` from `t0` on.
#[must_use]
pub fn rates(steps: &[Step], (t0, step_ms, slots): (i64, i64, usize)) -> Vec<Rate> {
    let mut rates = vec![Rate::NONE; slots];
    for step in steps {
        let Some(increase) = step.increase else { continue };
        let took_ms = step.to_ms - step.from_ms;
        if took_ms <= 0 || !step.even {
            continue;
        }
        let per_ms = increase / took_ms as f64;
        let first = usize::try_from((step.from_ms - t0).div_euclid(step_ms)).unwrap_or(0);
        for (slot, rate) in rates.iter_mut().enumerate().skip(first) {
            let start = t0.saturating_add(step_ms.saturating_mul(i64::try_from(slot).unwrap_or(i64::MAX)));
            if start >= step.to_ms {
                break;
            }
            let within_ms = step.to_ms.min(start.saturating_add(step_ms)) - step.from_ms.max(start);
            if within_ms > 0 {
                rate.known_ms += within_ms;
                rate.increase += per_ms * within_ms as f64;
                rate.min = rate.min.min(per_ms * 1000.0);
                rate.max = rate.max.max(per_ms * 1000.0);
            }
        }
    }
    rates
}

/// Consumption in the periods from each edge to the next.
#[must_use]
pub fn consumption(steps: &[Step], edges: &[i64]) -> Vec<Consumption> {
    let mut periods = vec![Consumption::default(); edges.len().saturating_sub(1)];
    // What no step covers is missing; steps follow each other without holes.
    let (from, to) = (steps.first().map_or(i64::MAX, |step| step.from_ms), steps.last().map_or(i64::MIN, |step| step.to_ms));
    for (period, pair) in periods.iter_mut().zip(edges.windows(2)) {
        let [start, end] = pair else { continue };
        period.missing = from > *start || to < *end;
    }
    for step in steps {
        let first = edges.partition_point(|edge| *edge <= step.from_ms).saturating_sub(1);
        let touched = periods.iter_mut().zip(edges.windows(2)).skip(first);
        for (period, pair) in touched {
            let [start, end] = pair else { continue };
            if *start >= step.to_ms {
                break;
            }
            let within_ms = step.to_ms.min(*end) - step.from_ms.max(*start);
            let whole = within_ms == step.to_ms - step.from_ms;
            match step.increase {
                _ if within_ms <= 0 => {}
                Some(increase) if whole => period.at_least += increase,
                Some(increase) if step.even => period.at_least += increase * within_ms as f64 / (step.to_ms - step.from_ms) as f64,
                _ => period.missing = true,
            }
        }
    }
    periods
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(from_ms: i64, to_ms: i64, increase: Option<f64>, longest_ms: i64) -> Step {
        Step { from_ms, to_ms, increase, even: to_ms - from_ms <= longest_ms }
    }

    #[test]
    fn a_rate_is_the_average_over_what_is_known() {
        let steps = |longest_ms| {
            let step = |from_ms, to_ms, increase| step(from_ms, to_ms, increase, longest_ms);
            [step(-5000, 5000, Some(100.0)), step(5000, 6000, Some(0.0)), step(6000, 7000, None), step(7000, 25_000, Some(36.0))]
        };
        let found = rates(&steps(20_000), (0, 10_000, 4));
        let told: Vec<_> = found.iter().map(|r| (r.known_ms, r.average().map(|a| (a * 1000.0).round()), r.max)).collect();
        // 50 in 5 s, none in 1 s, 6 in 3 s.
        let expected = [(9000, Some(6222.0), 10.0), (10_000, Some(2000.0), 2.0), (5000, Some(2000.0), 2.0), (0, None, f64::NEG_INFINITY)];
        assert_eq!(told, expected);
        let gap = rates(&steps(10_000), (0, 10_000, 4));
        assert_eq!(gap[1], Rate::NONE, "a gap is a gap");
    }

    #[test]
    fn a_period_has_a_total_only_if_nothing_is_missing() {
        let edges = [0, 100, 200, 300, 400];
        let step = |from_ms, to_ms, increase| step(from_ms, to_ms, increase, 100);
        for (steps, expected) in [
            (vec![], [(0.0, true); 4]),
            (
                vec![step(-10, 90, Some(10.0)), step(90, 110, Some(4.0)), step(110, 300, Some(5.0)), step(300, 395, Some(1.0))],
                [(11.0, false), (2.0, true), (0.0, true), (1.0, true)],
            ),
            (
                vec![
                    step(0, 100, Some(1.0)),
                    step(100, 150, None),
                    step(150, 200, Some(2.0)),
                    step(200, 300, Some(3.0)),
                    step(300, 400, Some(0.0)),
                ],
                [(1.0, false), (2.0, true), (3.0, false), (0.0, false)],
            ),
        ] {
            let found: Vec<_> = consumption(&steps, &edges).iter().map(|c| (c.at_least, c.missing)).collect();
            assert_eq!(found, expected, "{steps:?}");
        }
    }
}
