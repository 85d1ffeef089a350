//! What is due next on one link, earliest deadline first, with back-off for devices that fail. Reads no clock, no device.
//!
//! Each entry comes due on a grid: `start + phase + n * every`. A grid point that passed while the link was busy is skipped and
//! counted, never piled up, so that a slow link reads less often and not later and later.
//!
//! The deadline of an entry moves on by one interval each time it is served, whatever was skipped meanwhile; so on a link that is asked for
//! more than all of its time each entry is served the same share of its times, and none starves. (Were the skipped times forgiven, those
//! with long intervals would keep all of theirs, and those with short ones would lose for all.) Once nothing is due, nobody is owed anything.
//! Where one poll takes longer than another's interval, the other loses what comes due meanwhile.

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

/// Links start spread over this, so that a thousand of them do not all ask at the same moment of each second.
pub const LINK_PHASE: Duration = Duration::from_secs(1);

/// How long a device is left alone after its first failure. Doubles with each further one.
pub const FIRST_BACK_OFF: Duration = Duration::from_millis(500);

/// Longest time that a failing device is left alone.
pub const MAX_BACK_OFF: Duration = Duration::from_secs(60);

/// Shortest time between two polls of an entry that are out of turn: what happens may happen very often.
pub const HASTE_GAP: Duration = Duration::from_secs(1);

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
        for (i, point) in device.profile.points.iter().enumerate().filter(|(_, point)| !point.read.is_heard()) {
            groups.entry(point.every.unwrap_or(device.every)).or_default().push(PointIndex(i));
        }
        entries.extend(groups.into_iter().map(|(every, points)| Entry { device: index, every, points }));
    }
    entries
}

/// How long after the first link this one of so many starts.
#[must_use]
pub fn link_phase(link: usize, links: usize) -> Duration {
    LINK_PHASE.mul_f64(link as f64 / links.max(1) as f64)
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
    /// How long it has been due, since the first of the times that it was not served.
    pub late: Duration,
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
    /// When it should have been served at the latest.
    deadline: Instant,
    /// Handed out, its outcome still unknown.
    asked: bool,
    /// When it is served out of turn, and when it was so last.
    early: Option<Instant>,
    last_early: Option<Instant>,
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
            Slot { due: start + phase, deadline: start + phase + entry.every, asked: false, early: None, last_early: None, entry }
        };
        let slots = entries.into_iter().enumerate().map(slot).collect();
        Self { slots, devices: BTreeMap::new(), seed, skipped: 0 }
    }

    /// What to do now. What is handed out as due counts as served.
    pub fn next(&mut self, now: Instant) -> Next {
        if let Some(index) = self.slots.iter().position(|slot| slot.early.is_some_and(|early| early <= now)) {
            let slot = &mut self.slots[index];
            (slot.early, slot.last_early) = (None, Some(now));
            return self.serve(index, now, 0, Duration::ZERO);
        }
        let due = |slot: &Slot| slot.due <= now;
        let urgent = self.slots.iter().enumerate().filter(|(_, s)| due(s)).min_by_key(|(i, s)| (s.deadline, s.due, *i));
        let Some((index, _)) = urgent else {
            self.slots.iter_mut().for_each(|slot| slot.deadline = slot.due + slot.entry.every);
            return Next::Wait(self.slots.iter().flat_map(|s| [Some(s.due), s.early]).flatten().min().unwrap_or(now + IDLE));
        };
        let slot = &mut self.slots[index];
        let late = now.saturating_duration_since(slot.due);
        let skipped = slot.advance(now);
        self.skipped += skipped;
        self.serve(index, now, skipped, late)
    }

    fn serve(&mut self, index: usize, now: Instant, skipped: u64, late: Duration) -> Next {
        let slot = &mut self.slots[index];
        let device = slot.entry.device;
        let backed_off = self.devices.get(&device).is_some_and(|health| now < health.probe_at);
        slot.asked = !backed_off;
        Next::Due(Due { entry: EntryIndex(index), device, backed_off, skipped, late })
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

    /// What has these points is served out of turn: something has happened to them. At once, or [`HASTE_GAP`] after the last time. Its
    /// own times stay as they are.
    pub fn hasten(&mut self, device: DeviceIndex, points: &[PointIndex], now: Instant) {
        let own = |slot: &&mut Slot| slot.entry.device == device && slot.entry.points.iter().any(|point| points.contains(point));
        for slot in self.slots.iter_mut().filter(own) {
            let soonest = slot.last_early.map_or(now, |last| now.max(last + HASTE_GAP));
            slot.early.get_or_insert(soonest);
        }
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
        self.deadline += self.entry.every;
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
mod tests;
