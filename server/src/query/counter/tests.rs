//! Cases by hand, and readings of a made-up device against what it really counted.

use pattoo_wire::{Decimal, Reason, Sample};
use proptest::prelude::*;

use super::*;
use crate::query::spread::{consumption, rates};

fn reading(at_ms: i64, value: Value) -> Reading {
    Reading { at_ms, sample: Sample::Good(value) }
}

/// What is counted from reading to reading, of whole numbers every 10 s.
fn increases(numbers: &[u64], bits: Option<u32>) -> Vec<Option<f64>> {
    let counts: Vec<_> = numbers.iter().zip(0..).filter_map(|(n, i)| Count::of(&reading(i * 10_000, Value::Unsigned(*n)))).collect();
    steps(&counts, bits).iter().map(|step| step.increase).collect()
}

const M32: u64 = 1 << 32;

#[test]
fn case_05_wraps_are_counted_and_resets_are_not_known() {
    for (what, numbers, bits, expected) in [
        ("wrap at 2^32", vec![M32 - 200, M32 - 100, 5, 105], Some(32), vec![Some(100.0), Some(105.0), Some(100.0)]),
        ("the same without a label", vec![M32 - 200, M32 - 100, 5, 105], None, vec![Some(100.0), Some(105.0), Some(100.0)]),
        ("wrap at 2^64", vec![u64::MAX - 199, u64::MAX - 99, 5, 105], Some(64), vec![Some(100.0), Some(105.0), Some(100.0)]),
        ("the same without a label", vec![u64::MAX - 199, u64::MAX - 99, 5, 105], None, vec![Some(100.0), Some(105.0), Some(100.0)]),
        ("64 bits do not wrap at 2^32", vec![M32 - 200, M32 - 100, 5, 105], Some(64), vec![Some(100.0), None, Some(100.0)]),
        ("reset to 0", vec![5000, 5100, 0, 100], Some(32), vec![Some(100.0), None, Some(100.0)]),
        ("reset of a large one", vec![M32 - 1_000_000, M32 - 999_900, 0, 100], Some(32), vec![Some(100.0), None, Some(100.0)]),
        ("more than its label", vec![8 * M32, 8 * M32 + 100, 5, 105], Some(32), vec![Some(100.0), None, Some(100.0)]),
        ("0 for a moment", vec![5000, 5100, 0, 5200, 5300], None, vec![Some(100.0), None, None, Some(100.0)]),
        ("0 for two", vec![5000, 5100, 0, 0, 5300, 5400], None, vec![Some(100.0), None, Some(0.0), None, Some(100.0)]),
        ("goes back too often to tell", vec![0, 3_000_000_000, 1_705_032_704, 410_065_408], Some(32), vec![Some(3e9), None, None]),
        ("nothing to compare with", vec![M32 - 1, 5], Some(32), vec![None]),
        ("above 2^53", vec![(1 << 60) + 1, (1 << 60) + 2, (1 << 60) + 4], Some(64), vec![Some(1.0), Some(2.0)]),
        ("standing still", vec![7, 7, 7], None, vec![Some(0.0), Some(0.0)]),
        ("one", vec![7], None, vec![]),
        ("none", vec![], None, vec![]),
    ] {
        assert_eq!(increases(&numbers, bits), expected, "{what}");
    }
}

#[test]
fn case_05_missed_polls_and_two_in_a_slot_give_no_spike() {
    let counts = |readings: &[(i64, u64)]| -> Vec<Count> {
        readings.iter().filter_map(|(at_ms, n)| Count::of(&reading(*at_ms, Value::Unsigned(*n)))).collect()
    };
    // The real time between two readings counts; one 20 ms behind another is taken together with the next.
    let found =
        steps(&counts(&[(0, 0), (10_000, 100), (30_000, 300), (40_000, 400), (40_020, 500), (50_000, 600), (60_000, 700)]), Some(64));
    let told: Vec<_> = found.iter().map(|step| (step.from_ms, step.to_ms, step.increase)).collect();
    let expected = [
        (0, 10_000, Some(100.0)),
        (10_000, 30_000, Some(200.0)),
        (30_000, 40_000, Some(100.0)),
        (40_000, 50_000, Some(200.0)),
        (50_000, 60_000, Some(100.0)),
    ];
    assert_eq!(told, expected);
    // Nor is one at the end, and a reset between two of them is not lost.
    let found = steps(&counts(&[(0, 100), (10_000, 200), (20_000, 300), (20_010, 0)]), None);
    assert_eq!(found.last().map(|step| (step.from_ms, step.to_ms, step.increase)), Some((10_000, 20_010, None)));
    // A counter of 32 bits that fills up in a minute and was not read for an hour.
    let fast: Vec<_> = (0..6).map(|n| (n * 10_000, n as u64 * (M32 / 6))).chain([(3_650_000, 7)]).collect();
    assert_eq!(steps(&counts(&fast), Some(32)).last().unwrap().increase, None);
    let up: Vec<_> = (0..5).map(|n| (n * 10_000, n as u64 * (M32 / 6))).chain([(3_650_000, M32 - 1)]).collect();
    assert_eq!(steps(&counts(&up), Some(32)).last().unwrap().increase, None);
    assert!(steps(&counts(&up), Some(64)).last().unwrap().increase.is_some());
}

#[test]
fn decimals_wrap_as_the_register_did_and_floats_never() {
    let tenths = |mantissa| Value::Decimal(Decimal { mantissa, exponent: -1 });
    let found = |values: Vec<Value>| {
        let counts: Vec<_> = values.into_iter().zip(0..).filter_map(|(value, i)| Count::of(&reading(i * 1000, value))).collect();
        steps(&counts, None).iter().map(|step| step.increase).collect::<Vec<_>>()
    };
    let top = i64::try_from(M32).unwrap();
    assert_eq!(found(vec![tenths(top - 4), tenths(top - 2), tenths(0)]), [Some(0.2), Some(0.2)]);
    assert_eq!(found(vec![Value::F64(999_998.0), Value::F64(999_999.0), Value::F64(0.0)]), [Some(1.0), None]);
    assert_eq!(found(vec![Value::F32(0.1), Value::F32(0.4)]), [Some(0.4 - 0.1)]);
    let bad = Reading { at_ms: 1, sample: Sample::Bad(Reason::Timeout) };
    let doubtful = Reading { at_ms: 1, sample: Sample::Uncertain(Value::int(1), Reason::Stale) };
    assert!([bad, doubtful, reading(1, Value::F64(f64::NAN)), reading(1, Value::Text("x".into()))].iter().all(|r| Count::of(r).is_none()));
}

/// What happens from one poll to the next.
#[derive(Debug, Clone)]
enum Event {
    Poll,
    /// So many polls do not come.
    Missed(i64),
    /// Another poll comes this soon.
    Twice(i64),
    /// The device starts anew right before the poll; it has counted this share of what it stood at since.
    Reset(f64),
}

fn events() -> impl Strategy<Value = Vec<(Event, f64)>> {
    let event = prop_oneof![
        12 => Just(Event::Poll),
        2 => (1i64..4).prop_map(Event::Missed),
        2 => (1i64..2000).prop_map(Event::Twice),
        2 => (0.0..0.9f64).prop_map(Event::Reset),
    ];
    prop::collection::vec((event, 0.5..1.5f64), 2..60)
}

/// A device whose counter has so many bits, and everything that it really counted.
struct Device {
    bits: u32,
    stands_at: u128,
    counted: u128,
    readings: Vec<Reading>,
    /// Time of each reading, what had been counted in all by then, and whether it was just reset.
    truth: Vec<(i64, u128, bool)>,
}

impl Device {
    fn new(bits: u32, start: u64) -> Self {
        Self { bits, stands_at: u128::from(start), counted: 0, readings: Vec::new(), truth: Vec::new() }
    }

    fn count(&mut self, more: u128) {
        self.counted += more;
        self.stands_at = (self.stands_at + more) % (1 << self.bits);
    }

    fn poll(&mut self, at_ms: i64, reset: bool) {
        self.readings.push(reading(at_ms, Value::Unsigned(u64::try_from(self.stands_at).unwrap())));
        self.truth.push((at_ms, self.counted, reset));
    }

    /// `fastest` is what it counts in a ms at most; it is reset only where that cannot be a wrap, unless `anywhere`.
    fn live(&mut self, events: &[(Event, f64)], interval_ms: i64, fastest: f64, anywhere: bool) {
        let (mut at_ms, mut told_ms) = (0, 0);
        self.poll(at_ms, false);
        for (event, speed) in events {
            let gap_ms = match event {
                Event::Missed(polls) => interval_ms * (polls + 1),
                _ => interval_ms,
            };
            at_ms += gap_ms;
            // What it counted until a second poll soon after the last is told already.
            let counted_ms = (gap_ms - std::mem::take(&mut told_ms)) as f64;
            self.count((speed / 1.5 * fastest * counted_ms) as u128);
            let mut reset = false;
            if let Event::Reset(share) = event
                && (anywhere || (self.stands_at as f64) < 0.5 * 2f64.powi(self.bits.try_into().unwrap()))
            {
                // What it counted before the reset is in the truth; what it shows has begun anew.
                let before = self.readings.last().and_then(|r| r.sample.value()?.to_f64()).unwrap_or(0.0);
                self.stands_at = (before.min(fastest * counted_ms) * share) as u128;
                self.counted += self.stands_at;
                reset = true;
            }
            self.poll(at_ms, reset);
            if let Event::Twice(soon_ms) = event {
                let soon_ms = (*soon_ms).min(interval_ms / 3);
                self.count((speed / 1.5 * fastest * soon_ms as f64) as u128);
                self.poll(at_ms + soon_ms, false);
                told_ms = soon_ms;
            }
        }
    }

    fn steps(&self, label: bool) -> Vec<Step> {
        let counts: Vec<_> = self.readings.iter().filter_map(Count::of).collect();
        steps(&counts, label.then_some(self.bits))
    }

    /// What it really counted from one time to another, and whether it was reset in between.
    fn really(&self, step: &Step) -> (f64, bool) {
        let at = |ms| self.truth.iter().position(|(at_ms, ..)| *at_ms == ms).unwrap();
        let (from, to) = (at(step.from_ms), at(step.to_ms));
        ((self.truth[to].1 - self.truth[from].1) as f64, self.truth[from + 1..=to].iter().any(|(.., reset)| *reset))
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn what_is_told_is_right_and_a_reset_is_never_told(
        events in events(), narrow in any::<bool>(), label in any::<bool>(), start in any::<u64>(), near_top in any::<bool>(), interval_ms in 5000i64..600_000
    ) {
        let bits = if narrow { 32 } else { 64 };
        let top = if narrow { M32 - 1 } else { u64::MAX };
        // A hundredth of its range in an interval, at most: four missed polls are far from a second wrap.
        let fastest = if narrow { M32 as f64 / 100.0 / interval_ms as f64 } else { 1e6 };
        let start = if near_top { top - start % (1 << 24) } else { start % top };
        let mut device = Device::new(bits, start);
        device.live(&events, interval_ms, fastest, false);
        for step in device.steps(label) {
            let (truth, reset) = device.really(&step);
            if let Some(increase) = step.increase {
                // A reset that has passed the old value shows in no reading; then it is less than the truth.
                let unseen = reset && increase <= truth;
                prop_assert!(unseen || (increase - truth).abs() <= truth * 1e-9, "{step:?}: really {truth}, reset {reset}");
            }
        }
    }

    #[test]
    fn whatever_happens_there_is_no_spike(
        events in events(), narrow in any::<bool>(), label in any::<bool>(), start in any::<u64>(), interval_ms in 5000i64..600_000
    ) {
        let bits = if narrow { 32 } else { 64 };
        let fastest = if narrow { M32 as f64 / 10.0 / interval_ms as f64 } else { 1e6 };
        let mut device = Device::new(bits, if narrow { start % M32 } else { start });
        device.live(&events, interval_ms, fastest, true);
        let steps = device.steps(label);
        for step in &steps {
            let rate = step.increase.unwrap_or(0.0) / (step.to_ms - step.from_ms) as f64;
            prop_assert!(rate <= fastest * PLAUSIBLE * 1.001, "{step:?}: {rate} where {fastest} is the most");
        }
        // Nor is there one in the buckets, and all that is told is in them once.
        let end = steps.last().unwrap().to_ms;
        let slots = usize::try_from(end / 60_000 + 1).unwrap();
        let evenly: Vec<Step> = steps.iter().map(|step| Step { even: true, ..*step }).collect();
        let rates = rates(&evenly, (0, 60_000, slots));
        let told: f64 = steps.iter().filter_map(|step| step.increase).sum();
        let sum: f64 = rates.iter().map(|rate| rate.increase).sum();
        prop_assert!((sum - told).abs() <= told * 1e-9);
        for rate in &rates {
            prop_assert!(rate.average().is_none_or(|average| rate.min <= average && average <= rate.max && rate.max <= fastest * PLAUSIBLE * 1001.0));
            prop_assert!(rate.known_ms <= 60_000);
        }
        let edges: Vec<i64> = (0..=i64::try_from(slots).unwrap()).map(|n| n * 60_000).collect();
        let periods = consumption(&steps, &edges);
        let at_least: f64 = periods.iter().map(|period| period.at_least).sum();
        prop_assert!(at_least <= told * (1.0 + 1e-9));
    }
}
