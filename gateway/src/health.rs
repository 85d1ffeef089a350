//! How links and devices are: kept from poll to poll, told in the status document. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use pattoo_wire::{DeviceStatus, LateStatus, LinkStatus, Quality, Reason, Sample};

use crate::durations::Durations;
use crate::reading::Transaction;
use crate::schedule::{Due, EntryIndex};

/// Of all links and devices, by name.
#[derive(Debug, Clone, Default)]
pub struct Health {
    links: BTreeMap<String, LinkHealth>,
    devices: BTreeMap<String, DeviceHealth>,
}

#[derive(Debug, Clone, Default)]
struct LinkHealth {
    status: LinkStatus,
    late: Durations,
}

#[derive(Debug, Clone)]
struct DeviceHealth {
    status: DeviceStatus,
    late: Durations,
    /// Points that are read at different times are polled apart; the worst of their latest polls counts.
    latest: BTreeMap<Source, Verdict>,
}

/// Where word of a device comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Source {
    Poll(EntryIndex),
    Itself,
}

/// What a poll says of its device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// Bad when nothing good came, uncertain when not all is good.
    pub quality: Quality,
    /// The first reason why.
    pub reason: Option<Reason>,
}

/// How long a device is waited for, and in vain.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Waiting {
    /// At present, beside the time that bytes take on a line; none where nothing is measured.
    pub timeout: Option<Duration>,
    /// What 99 of 100 of its latest answers took; none before there were any.
    pub latency_p99: Option<Duration>,
    /// What went wrong on the way since the start, by name: the driver's words, few of them.
    pub misses: Misses,
}

/// How often which thing went wrong.
pub type Misses = BTreeMap<&'static str, u64>;

impl Verdict {
    /// Of one poll; none where it read nothing.
    #[must_use]
    pub fn of(transactions: &[Transaction]) -> Option<Self> {
        let samples = || transactions.iter().flat_map(|t| &t.readings).map(|reading| &reading.sample);
        let best = samples().map(Sample::quality).min()?;
        let worst = samples().max_by_key(|sample| sample.quality())?;
        let quality = if worst.quality() == Quality::Bad && best != Quality::Bad { Quality::Uncertain } else { worst.quality() };
        Some(Self { quality, reason: worst.reason() })
    }
}

impl Health {
    /// Takes the outcome of a poll; gives what the device is now if that is another quality than before.
    pub fn polled(&mut self, link: &str, device: &str, due: &Due, verdict: Verdict, waiting: Waiting) -> Option<Verdict> {
        let line = self.links.entry(link.to_owned()).or_default();
        let own = self.devices.entry(device.to_owned()).or_default();
        line.status.polls += 1;
        own.status.polls += 1;
        own.status.failures += u64::from(verdict.quality == Quality::Bad);
        line.status.skipped += due.skipped;
        own.status.skipped += due.skipped;
        // One that is left alone waits for nobody's sake but its own.
        if !due.backed_off {
            line.late.add(due.late);
            own.late.add(due.late);
            own.status.timeout_ms = waiting.timeout.map(millis);
            own.status.latency_p99_ms = waiting.latency_p99.map(millis);
            own.missed(waiting.misses);
        }
        own.judge(Source::Poll(due.entry), verdict)
    }

    /// Takes what a device said without having been asked; gives what it is now if that is another quality than before.
    pub fn heard(&mut self, device: &str, verdict: Verdict, waiting: Waiting) -> Option<Verdict> {
        let own = self.devices.entry(device.to_owned()).or_default();
        own.missed(waiting.misses);
        own.judge(Source::Itself, verdict)
    }

    /// Takes what went wrong with a device that gave nothing just now. One that never gave anything is bad.
    pub fn missed(&mut self, device: &str, waiting: Waiting) {
        if waiting.misses.is_empty() {
            return;
        }
        let unheard = || DeviceHealth { status: DeviceStatus::new(Quality::Bad), ..DeviceHealth::default() };
        self.devices.entry(device.to_owned()).or_insert_with(unheard).missed(waiting.misses);
    }

    /// All links, for the status document.
    #[must_use]
    pub fn links(&self) -> BTreeMap<String, LinkStatus> {
        let told = |link: &LinkHealth| LinkStatus { late: late(&link.late), ..link.status.clone() };
        self.links.iter().map(|(name, link)| (name.clone(), told(link))).collect()
    }

    /// All devices, for the status document.
    #[must_use]
    pub fn devices(&self) -> BTreeMap<String, DeviceStatus> {
        let told = |device: &DeviceHealth| DeviceStatus { late: late(&device.late), ..device.status.clone() };
        self.devices.iter().map(|(name, device)| (name.clone(), told(device))).collect()
    }

    /// Whether quality or reason of a device is another than was told; the counters do not count.
    #[must_use]
    pub fn differs_from(&self, told: &BTreeMap<String, DeviceStatus>) -> bool {
        let essence = |status: &DeviceStatus| (status.quality, status.reason.clone());
        let now = self.devices.iter().map(|(name, device)| (name, essence(&device.status)));
        told.len() != self.devices.len() || now.ne(told.iter().map(|(name, status)| (name, essence(status))))
    }
}

impl DeviceHealth {
    fn missed(&mut self, misses: Misses) {
        self.status.misses = misses.into_iter().map(|(what, count)| (what.to_owned(), count)).collect();
    }

    /// The worst of the latest verdicts, if it is of another quality than before.
    fn judge(&mut self, source: Source, verdict: Verdict) -> Option<Verdict> {
        self.latest.insert(source, verdict);
        let worst = self.latest.values().copied().max_by_key(|verdict| verdict.quality).unwrap_or(verdict);
        self.status.reason = worst.reason.map(|reason| reason.to_string());
        let before = std::mem::replace(&mut self.status.quality, worst.quality);
        (before != worst.quality).then_some(worst)
    }
}

impl Default for DeviceHealth {
    fn default() -> Self {
        Self { status: DeviceStatus::new(Quality::Good), late: Durations::default(), latest: BTreeMap::new() }
    }
}

fn late(durations: &Durations) -> Option<LateStatus> {
    let ms = |per_mille| durations.quantile(per_mille).map(millis);
    Some(LateStatus { p50_ms: ms(500)?, p95_ms: ms(950)?, p99_ms: ms(990)? })
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reading::DeviceIndex;

    fn due(entry: usize, late_ms: u64, skipped: u64) -> Due {
        Due { entry: EntryIndex(entry), device: DeviceIndex(0), backed_off: false, skipped, late: Duration::from_millis(late_ms) }
    }

    const GOOD: Verdict = Verdict { quality: Quality::Good, reason: None };
    const DEAD: Verdict = Verdict { quality: Quality::Bad, reason: Some(Reason::Timeout) };

    #[test]
    fn the_worst_of_a_devices_latest_polls_counts_and_a_change_is_told_once() {
        let mut health = Health::default();
        let mut poll = |entry, verdict| health.polled("line1", "meter", &due(entry, 0, 0), verdict, Waiting::default());
        assert_eq!(poll(0, GOOD), None);
        assert_eq!(poll(1, DEAD), Some(DEAD));
        assert_eq!((poll(0, GOOD), poll(1, DEAD)), (None, None));
        assert_eq!(poll(1, GOOD), Some(GOOD));
        let told = health.devices();
        let meter = &told["meter"];
        assert_eq!((meter.polls, meter.failures, meter.reason.clone()), (5, 2, None));
        assert!(!health.differs_from(&told));
        health.polled("line1", "meter", &due(0, 0, 0), GOOD, Waiting::default());
        assert!(!health.differs_from(&told), "counters do not count");
        health.polled("line1", "pump", &due(2, 0, 0), GOOD, Waiting::default());
        assert!(health.differs_from(&told));
    }

    #[test]
    fn what_comes_by_itself_counts_beside_the_polls() {
        let mut health = Health::default();
        assert_eq!(health.heard("pump", DEAD, Waiting::default()), Some(DEAD));
        assert_eq!(health.polled("line1", "pump", &due(0, 0, 0), GOOD, Waiting::default()), None);
        assert_eq!(health.heard("pump", GOOD, Waiting::default()), Some(GOOD));
        assert_eq!(health.devices()["pump"].polls, 1, "only polls are counted");
    }

    #[test]
    fn a_device_that_gave_nothing_yet_and_of_which_something_went_wrong_is_bad() {
        let mut health = Health::default();
        health.missed("tank", Waiting::default());
        assert!(health.devices().is_empty());
        let waiting = |count| Waiting { misses: [("bad line", count)].into(), ..Waiting::default() };
        health.missed("tank", waiting(1));
        assert_eq!(health.devices()["tank"].quality, Quality::Bad);
        health.heard("tank", GOOD, waiting(1));
        health.missed("tank", waiting(2));
        let tank = &health.devices()["tank"];
        assert_eq!((tank.quality, &tank.misses), (Quality::Good, &[("bad line".to_owned(), 2)].into()));
    }

    #[test]
    fn lateness_skips_and_waiting_are_told_of_link_and_device() {
        let mut health = Health::default();
        let waiting = Waiting {
            timeout: Some(Duration::from_millis(150)),
            latency_p99: Some(Duration::from_millis(40)),
            misses: [("timeout", 3)].into(),
        };
        for n in 0..100 {
            health.polled(
                "line1",
                if n < 50 { "meter" } else { "pump" },
                &due(0, if n < 50 { 10 } else { 400 }, n % 2),
                GOOD,
                waiting.clone(),
            );
        }
        // Nobody waits for a device that is left alone.
        health.polled("line1", "pump", &Due { backed_off: true, ..due(0, 9000, 0) }, DEAD, Waiting::default());
        let (links, devices) = (health.links(), health.devices());
        assert_eq!(links["line1"], LinkStatus { polls: 101, skipped: 50, late: Some(LateStatus { p50_ms: 10, p95_ms: 458, p99_ms: 458 }) });
        assert_eq!(devices["meter"].late, Some(LateStatus { p50_ms: 10, p95_ms: 10, p99_ms: 10 }));
        let pump = &devices["pump"];
        assert_eq!((pump.skipped, pump.timeout_ms, pump.latency_p99_ms), (25, Some(150), Some(40)));
        assert_eq!(pump.misses, [("timeout".to_owned(), 3)].into());
        assert_eq!(pump.late.map(|late| late.p50_ms), Some(458));
    }
}
