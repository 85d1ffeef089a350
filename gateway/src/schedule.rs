//! What is due next on one link, earliest deadline first, with back-off for devices that fail. Reads no clock, no device.
//!
//! Each entry comes due on a grid: `start + phase + n * every`. A grid point that passed while the link was busy is skipped and
//! counted, never piled up, so that a slow link reads less often and not later and later. An entry that waits keeps its
//! deadline until it is served while all others move on, so none starves.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use pattoo_wire::{Reason, Sample};

use crate::config::Device;
use crate::mix::mix;
use crate::reading::{DeviceIndex, PointIndex, Transaction};

/// Shortest interval; a shorter one is taken as this.
pub const MIN_EVERY: Duration = Duration::from_millis(10);

/// Entries start spread over their interval, but over no more than this, so that the first values come soon.
pub const MAX_PHASE: Duration = Duration::from_secs(5);

/// How long a device is left alone after its first failure. Doubles with each further one.
pub const FIRST_BACK_OFF: Duration = Duration::from_millis(500);

/// Longest time that a failing device is left alone.
pub const MAX_BACK_OFF: Duration = Duration::from_secs(60);

/// What an empty schedule waits.
const IDLE: Duration = Duration::from_secs(3600);

/// Points of one device that are read together at one interval.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Which device.
    pub device: DeviceIndex,
    /// How often.
    pub every: Duration,
    /// Which points.
    pub points: Vec<PointIndex>,
}

/// The entries of these devices: points with an interval of their own apart from those that follow their device.
#[must_use]
pub fn entries<'a>(devices: impl IntoIterator<Item = (DeviceIndex, &'a Device)>) -> Vec<Entry> {
    let mut entries = Vec::new();
    for (index, device) in devices {
        let mut groups: BTreeMap<Duration, Vec<PointIndex>> = BTreeMap::new();
        for (i, point) in device.profile.points.iter().enumerate() {
            groups.entry(point.every.unwrap_or(device.every)).or_default().push(PointIndex(i));
        }
        entries.extend(groups.into_iter().map(|(every, points)| Entry { device: index, every, points }));
    }
    entries
}

/// Position of an entry in its schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryIndex(pub usize);

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Serve this entry.
    Due(Due),
    /// Nothing is due before then.
    Wait(Instant),
}

/// An entry whose time has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// Which entry; its points are [`Schedule::points`].
    pub entry: EntryIndex,
    /// Whose.
    pub device: DeviceIndex,
    /// The device failed a moment ago: do not touch the link, each point is `Bad(BackedOff)`, and [`Schedule::done`] is not
    /// needed.
    pub backed_off: bool,
    /// Times that this entry came due since it was last served and that were missed.
    pub skipped: u64,
}

/// How a device answered, as far as back-off is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It answered, be it with refusals.
    Answered,
    /// It could not be reached or gave nothing usable.
    Failed,
}

impl Outcome {
    /// What these transactions say. A device fails when no reading tells of an answer of its own; exceptions 0A and 0B are a
    /// TCP gateway's word that the device behind it did not answer.
    #[must_use]
    pub fn of(transactions: &[Transaction]) -> Self {
        let silent = |sample: &Sample| {
            matches!(sample, Sample::Bad(Reason::Timeout | Reason::LinkDown | Reason::Malformed | Reason::Exception(0x0A | 0x0B)))
        };
        let mut readings = transactions.iter().flat_map(|t| &t.readings).peekable();
        if readings.peek().is_some() && readings.all(|r| silent(&r.sample)) { Self::Failed } else { Self::Answered }
    }
}

/// When each entry of one link is served.
#[derive(Debug, Clone)]
pub struct Schedule {
    slots: Vec<Slot>,
    devices: BTreeMap<DeviceIndex, Health>,
    seed: u64,
    skipped: u64,
}

#[derive(Debug, Clone)]
struct Slot {
    entry: Entry,
    /// Oldest grid point that has not been served.
    due: Instant,
    /// Handed out, its outcome still unknown.
    asked: bool,
}

/// What is remembered of a device that failed. Absent for a healthy one.
#[derive(Debug, Clone, Copy)]
struct Health {
    failures: u32,
    probe_at: Instant,
}

impl Schedule {
    /// A schedule that starts now. The seed spreads the back-off of many gateways; the same seed gives the same schedule.
    #[must_use]
    pub fn new(entries: Vec<Entry>, start: Instant, seed: u64) -> Self {
        let count = u32::try_from(entries.len()).unwrap_or(u32::MAX).max(1);
        let slot = |(rank, entry): (usize, Entry)| {
            let entry = Entry { every: entry.every.max(MIN_EVERY), ..entry };
            let phase = entry.every.min(MAX_PHASE).mul_f64(rank as f64 / f64::from(count));
            Slot { due: start + phase, asked: false, entry }
        };
        let slots = entries.into_iter().enumerate().map(slot).collect();
        Self { slots, devices: BTreeMap::new(), seed, skipped: 0 }
    }

    /// What to do now. What is handed out as due counts as served.
    pub fn next(&mut self, now: Instant) -> Next {
        let due = |slot: &Slot| slot.due <= now;
        let urgent = self.slots.iter().enumerate().filter(|(_, s)| due(s)).min_by_key(|(i, s)| (s.due + s.entry.every, s.due, *i));
        let Some((index, _)) = urgent else {
            return Next::Wait(self.slots.iter().map(|s| s.due).min().unwrap_or(now + IDLE));
        };
        let slot = &mut self.slots[index];
        let skipped = slot.advance(now);
        self.skipped += skipped;
        let device = slot.entry.device;
        let backed_off = self.devices.get(&device).is_some_and(|health| now < health.probe_at);
        slot.asked = !backed_off;
        Next::Due(Due { entry: EntryIndex(index), device, backed_off, skipped })
    }

    /// Tells how the device of a due entry answered.
    pub fn done(&mut self, entry: EntryIndex, now: Instant, outcome: Outcome) {
        let Some(slot) = self.slots.get_mut(entry.0) else { return };
        if !std::mem::take(&mut slot.asked) {
            return;
        }
        let device = slot.entry.device;
        self.heard(device, now, outcome);
    }

    /// Tells how a device answered that was asked for something that is in no schedule.
    pub fn heard(&mut self, device: DeviceIndex, now: Instant, outcome: Outcome) {
        if outcome == Outcome::Answered {
            self.devices.remove(&device);
            return;
        }
        let failures = self.devices.get(&device).map_or(1, |health| health.failures.saturating_add(1));
        self.devices.insert(device, Health { failures, probe_at: now + back_off(self.seed, device, failures) });
    }

    /// Whether the device failed a moment ago and is left alone for now.
    #[must_use]
    pub fn backs_off(&self, device: DeviceIndex, now: Instant) -> bool {
        self.devices.get(&device).is_some_and(|health| now < health.probe_at)
    }

    /// The points of an entry; none for an entry of another schedule.
    #[must_use]
    pub fn points(&self, entry: EntryIndex) -> &[PointIndex] {
        self.slots.get(entry.0).map_or(&[], |slot| &slot.entry.points)
    }

    /// Times that came due and were missed, over all entries since the start.
    #[must_use]
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Failures in a row of this device.
    #[must_use]
    pub fn failures(&self, device: DeviceIndex) -> u32 {
        self.devices.get(&device).map_or(0, |health| health.failures)
    }
}

impl Slot {
    /// Moves to the first grid point after now; gives how many were missed besides the one that is served.
    fn advance(&mut self, now: Instant) -> u64 {
        let late = now.saturating_duration_since(self.due).as_nanos();
        let every = self.entry.every.as_nanos();
        let missed = u64::try_from(late / every).unwrap_or(u64::MAX);
        let rest = u64::try_from(late % every).unwrap_or(0);
        self.due = now + self.entry.every - Duration::from_nanos(rest);
        missed
    }
}

/// Doubles with each failure up to the longest, less up to a quarter, so that devices that failed together are not all tried
/// together.
fn back_off(seed: u64, device: DeviceIndex, failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    let longest = FIRST_BACK_OFF.saturating_mul(1 << doublings).min(MAX_BACK_OFF);
    let mixed = mix(seed ^ mix(device.0 as u64 ^ mix(u64::from(failures))));
    let part = (mixed >> 11) as f64 / (1u64 << 53) as f64;
    longest.mul_f64(1.0 - part / 4.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn entry(device: usize, every_ms: u32) -> Entry {
        Entry { device: DeviceIndex(device), every: MS * every_ms, points: vec![PointIndex(device)] }
    }

    /// Runs a link on which each real request takes its device's cost and is answered or not; gives (ms, device, backed off,
    /// skipped) of all that came due.
    fn run(
        entries: Vec<Entry>,
        until_ms: u32,
        cost_ms: impl Fn(usize) -> u32,
        alive: impl Fn(usize, u128) -> bool,
    ) -> Vec<(u128, usize, bool, u64)> {
        let start = Instant::now();
        let mut now = start;
        let mut schedule = Schedule::new(entries, start, 7);
        let mut log = Vec::new();
        while now < start + MS * until_ms {
            match schedule.next(now) {
                Next::Wait(until) => {
                    assert!(until > now, "a wait moves time forward");
                    now = until;
                }
                Next::Due(due) => {
                    let at = (now - start).as_millis();
                    log.push((at, due.device.0, due.backed_off, due.skipped));
                    if !due.backed_off {
                        now += MS * cost_ms(due.device.0);
                        let outcome = if alive(due.device.0, at) { Outcome::Answered } else { Outcome::Failed };
                        schedule.done(due.entry, now, outcome);
                    }
                }
            }
        }
        log
    }

    fn times(log: &[(u128, usize, bool, u64)], device: usize) -> Vec<u128> {
        log.iter().filter(|l| l.1 == device).map(|l| l.0).collect()
    }

    #[test]
    fn entries_come_due_on_their_grid_and_do_not_drift() {
        let log = run(vec![entry(0, 1000), entry(1, 1000)], 3600, |_| 130, |_, _| true);
        assert_eq!(times(&log, 0), [0, 1000, 2000, 3000]);
        assert_eq!(times(&log, 1), [500, 1500, 2500, 3500]);
    }

    #[test]
    fn a_slow_link_skips_and_counts_and_never_piles_up() {
        let log = run(vec![entry(0, 100)], 1000, |_| 250, |_, _| true);
        let at: Vec<_> = log.iter().map(|l| (l.0, l.3)).collect();
        assert_eq!(at, [(0, 0), (250, 1), (500, 2), (750, 1)]);
    }

    #[test]
    fn the_earliest_deadline_goes_first() {
        // The link was blocked for 5 s: what had to be done by 1.5 s precedes what has time until 60 s.
        let start = Instant::now();
        let mut schedule = Schedule::new(vec![entry(0, 60_000), entry(1, 1000)], start, 7);
        let Next::Due(due) = schedule.next(start + MS * 4999) else { panic!("two are due") };
        assert_eq!((due.device, due.skipped), (DeviceIndex(1), 4));
        let Next::Due(due) = schedule.next(start + MS * 4999) else { panic!("one is due") };
        assert_eq!((due.device, due.skipped), (DeviceIndex(0), 0));
    }

    #[test]
    fn phases_are_spread_but_first_values_come_soon() {
        let entries: Vec<_> = (0..10).map(|i| entry(i, 60_000)).collect();
        let log = run(entries, 6000, |_| 1, |_, _| true);
        let at: Vec<_> = log.iter().map(|l| l.0).collect();
        assert_eq!(at, [0, 500, 1000, 1500, 2000, 2500, 3000, 3500, 4000, 4500]);
    }

    #[test]
    fn a_dead_device_costs_one_timeout_per_window_and_its_readings_say_so() {
        let timeout = 900;
        let entries = vec![entry(0, 1000), entry(0, 1000), entry(1, 1000)];
        let log = run(entries, 600_000, |device| if device == 0 { timeout } else { 20 }, |device, _| device == 1);
        let probes: Vec<_> = log.iter().filter(|l| l.1 == 0 && !l.2).map(|l| l.0).collect();
        let gaps: Vec<_> = probes.windows(2).map(|w| w[1] - w[0]).collect();
        assert!(gaps[0] >= u128::from(timeout) + FIRST_BACK_OFF.as_millis() * 3 / 4, "{gaps:?}");
        let longest = u128::from(timeout) + MAX_BACK_OFF.as_millis() + 1000;
        assert!(gaps.iter().all(|g| *g <= longest), "{gaps:?}");
        assert!(gaps[7..].iter().all(|g| *g >= u128::from(timeout) + MAX_BACK_OFF.as_millis() * 3 / 4), "{gaps:?}");
        // Still one reading per interval and entry, most of them "backed off"; the neighbour is never late by more than a timeout.
        let backed_off = log.iter().filter(|l| l.1 == 0 && l.2).count();
        assert!(backed_off > 1100 && backed_off + probes.len() >= 1190, "{backed_off}");
        let late = times(&log, 1).iter().map(|t| (t + 1000 - 666) % 1000).max();
        assert!(late <= Some(u128::from(timeout)), "{late:?}");
        assert!(times(&log, 1).len() >= 599, "the neighbour misses nothing");
    }

    #[test]
    fn a_device_that_comes_back_is_polled_as_before() {
        let log = run(vec![entry(0, 1000)], 100_000, |_| 10, |_, at| !(10_000..40_000).contains(&at));
        let back = log.iter().position(|l| l.0 >= 40_000 && !l.2).expect("it is tried again");
        assert!(log[back].0 <= 40_000 + 33_000, "within one window");
        assert!(log[back..].iter().all(|l| !l.2), "and left alone no more");
    }

    #[test]
    fn a_single_failure_does_not_cost_the_next_poll() {
        let log = run(vec![entry(0, 1000)], 5000, |_| 5, |_, at| at != 2000);
        assert!(log.iter().all(|l| !l.2), "{log:?}");
    }

    #[test]
    fn an_outcome_that_nobody_asked_for_changes_nothing() {
        let start = Instant::now();
        let mut schedule = Schedule::new(vec![entry(0, 1000)], start, 7);
        for _ in 0..5 {
            schedule.done(EntryIndex(0), start, Outcome::Failed);
            schedule.done(EntryIndex(9), start, Outcome::Failed);
        }
        assert_eq!(schedule.failures(DeviceIndex(0)), 0);
        assert_eq!(schedule.points(EntryIndex(9)), &[]);
        assert!(matches!(Schedule::new(vec![], start, 7).next(start), Next::Wait(until) if until > start));
    }

    #[test]
    fn a_device_fails_only_when_nothing_tells_of_an_answer() {
        let at = |samples: &[Sample]| {
            let reading = |s: &Sample| crate::reading::Reading { point: PointIndex(0), row: None, sample: s.clone() };
            [Transaction { device: DeviceIndex(0), at_ms: 0, readings: samples.iter().map(reading).collect() }]
        };
        let good = Sample::Good(pattoo_wire::Value::Bool(true));
        for (samples, outcome) in [
            (vec![], Outcome::Answered),
            (vec![good.clone()], Outcome::Answered),
            (vec![Sample::Bad(Reason::Timeout), good], Outcome::Answered),
            (vec![Sample::Bad(Reason::Timeout), Sample::Bad(Reason::Exception(2))], Outcome::Answered),
            (vec![Sample::Bad(Reason::NotAValue)], Outcome::Answered),
            (vec![Sample::Bad(Reason::Timeout), Sample::Bad(Reason::Malformed)], Outcome::Failed),
            (vec![Sample::Bad(Reason::LinkDown)], Outcome::Failed),
            (vec![Sample::Bad(Reason::Exception(0x0B))], Outcome::Failed),
        ] {
            assert_eq!(Outcome::of(&at(&samples)), outcome, "{samples:?}");
        }
    }

    proptest! {
        #[test]
        fn nobody_starves_on_an_overloaded_link(
            intervals in prop::collection::vec(50..2000u32, 1..12),
            costs in prop::collection::vec(1..400u32, 12),
        ) {
            let entries: Vec<_> = intervals.iter().enumerate().map(|(i, every)| entry(i, *every)).collect();
            let log = run(entries, 60_000, |device| costs[device], |_, _| true);
            // Once overdue, an entry waits at most for one request of each other one.
            let round: u32 = costs[..intervals.len()].iter().sum();
            for (device, every) in intervals.iter().enumerate() {
                let at = times(&log, device);
                prop_assert!(!at.is_empty());
                let longest = u128::from(2 * every + 2 * round);
                prop_assert!(at.windows(2).all(|w| w[1] - w[0] <= longest), "{device}: {at:?}");
            }
            // Every grid point up to the last service is either served or counted as missed.
            for (device, every) in intervals.iter().enumerate() {
                let phase = every * device as u32 / intervals.len() as u32;
                let mut served = 0u64;
                for (at, _, _, skipped) in log.iter().filter(|l| l.1 == device) {
                    served += 1 + skipped;
                    let passed = (at - u128::from(phase).min(*at)) / u128::from(*every);
                    prop_assert!(u128::from(served).abs_diff(passed + 1) <= 1, "{served} of {passed}");
                }
            }
        }

        #[test]
        fn back_off_grows_to_the_longest_and_never_over(seed: u64, device in 0..1000usize) {
            let windows: Vec<_> = (1..40).map(|failures| back_off(seed, DeviceIndex(device), failures)).collect();
            prop_assert!(windows[0] >= FIRST_BACK_OFF * 3 / 4 && windows[0] <= FIRST_BACK_OFF);
            prop_assert!(windows.iter().all(|w| *w <= MAX_BACK_OFF));
            prop_assert!(windows[7..].iter().all(|w| *w >= MAX_BACK_OFF * 3 / 4));
        }
    }
}
