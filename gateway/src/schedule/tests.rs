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
fn links_do_not_all_ask_at_the_same_moment() {
    let phases: Vec<_> = (0..4).map(|link| link_phase(link, 4).as_millis()).collect();
    assert_eq!(phases, [0, 250, 500, 750]);
    assert_eq!(link_phase(0, 0), Duration::ZERO);
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

/// Ten devices at two paces want 140 % of the link; each is read 1/1.4 = 71 % of its times, and each poll begins late.
#[test]
fn a_link_that_is_asked_for_140_percent_costs_every_device_the_same() {
    let entries: Vec<_> = (0..10).map(|i| entry(i, if i < 5 { 1000 } else { 4000 })).collect();
    let log = run(entries, 1_000_000, |device| if device < 5 { 140 } else { 560 }, |_, _| true);
    let shares: Vec<_> = (0..10).map(|i| times(&log, i).len() * if i < 5 { 100 } else { 400 } / 1000).collect();
    assert_eq!(shares, [71; 10]);
    // Within its time again, a link owes nobody anything: the order is that of the deadlines, as if nothing had been.
    let start = Instant::now();
    let mut schedule = Schedule::new(vec![entry(0, 1000), entry(1, 1000)], start, 7);
    let mut next = |at_ms: u32| match schedule.next(start + MS * at_ms) {
        Next::Due(due) => (due.device.0, due.late.as_millis(), due.skipped),
        Next::Wait(_) => (99, 0, 0),
    };
    assert_eq!([next(0), next(7600), next(7600), next(7600)], [(0, 0, 0), (1, 7100, 7), (0, 6600, 6), (99, 0, 0)]);
    assert_eq!([next(8200), next(8500)], [(0, 200, 0), (1, 0, 0)]);
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
        let log = run(entries, 120_000, |device| costs[device], |_, _| true);
        // Its own times come as much more slowly as the link is asked for too much, and it may be served early in one of them and late in
        // the next; beside that it waits for one request of each other one.
        let round: u32 = costs[..intervals.len()].iter().sum();
        let load: f64 = intervals.iter().zip(&costs).map(|(every, cost)| f64::from(*cost) / f64::from(*every)).sum();
        for (device, every) in intervals.iter().enumerate() {
            let at = times(&log, device);
            let longest = f64::from(2 * every) * load.max(1.0) + f64::from(2 * round);
            prop_assert!(at.len() > 1 || longest > 100_000.0);
            prop_assert!(at.windows(2).all(|w| (w[1] - w[0]) as f64 <= longest), "{device}: {at:?}");
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

    /// The load is shared out by weight; no poll takes longer than half of the shortest interval.
    #[test]
    fn at_140_percent_each_entry_is_served_the_same_share_of_its_times(
        wishes in prop::collection::vec((0..3usize, 1..4u32), 16..32),
    ) {
        let (intervals, total) = ([1000u32, 2000, 4000], wishes.iter().map(|(_, weight)| weight).sum::<u32>());
        let entries: Vec<_> = wishes.iter().enumerate().map(|(i, (which, _))| entry(i, intervals[*which])).collect();
        let cost = |device: usize| (entries[device].every.as_millis() as u32 * wishes[device].1 * 14 / total / 10).clamp(1, 500);
        let load: f64 = (0..wishes.len()).map(|i| f64::from(cost(i)) / entries[i].every.as_millis() as f64).sum();
        prop_assume!(load > 1.35);
        let log = run(entries.clone(), 2_000_000, cost, |_, _| true);
        for (device, entry) in entries.iter().enumerate() {
            let share = times(&log, device).len() as f64 * entry.every.as_secs_f64() / 2000.0;
            prop_assert!((share - 1.0 / load).abs() < 0.06, "{device}, every {:?}: {share} of {}", entry.every, 1.0 / load);
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

#[test]
fn what_happened_is_looked_at_at_once_but_not_all_the_time() {
    let start = Instant::now();
    let mut schedule = Schedule::new(vec![entry(0, 10_000), entry(1, 10_000)], start, 7);
    let mut log = Vec::new();
    for ms in 0..=11_000 {
        let now = start + MS * ms;
        if (2_000..2_500).contains(&ms) {
            schedule.hasten(DeviceIndex(0), &[PointIndex(0), PointIndex(7)], now);
            schedule.hasten(DeviceIndex(1), &[PointIndex(7)], now);
        }
        while let Next::Due(due) = schedule.next(now) {
            log.push((ms, due.device.0, due.skipped, due.late.as_millis()));
            schedule.done(due.entry, now, Outcome::Answered);
        }
    }
    assert_eq!(log, [(0, 0, 0, 0), (2_000, 0, 0, 0), (2_500, 1, 0, 0), (3_000, 0, 0, 0), (10_000, 0, 0, 0)]);
}
