//! Lines of one source -> readings of its devices, ready to be handed on. Knows which devices there are and which series they have.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use pattoo_wire::{Reason, Sample};

use super::series::Known;
use super::{Cut, LineError, MAX_LINE_BYTES, Precision, Refusal, Told, read};
use crate::health::Misses;
use crate::profile::Profile;
use crate::reading::{DeviceIndex, PointIndex, Reading, Row, Transaction};

/// Most things that are said of one line that was not taken whole.
const MAX_REFUSALS: usize = 4;

/// What time it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// By the clock of the driver.
    pub boot_ms: i64,
    /// UTC as the system has it: what a reading's own time is compared with.
    pub utc_ms: i64,
}

/// What a source is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Source {
    /// Unit of the times in line protocol.
    pub precision: Precision,
    /// How long a device may be silent, by its name; for ever where it is not there.
    pub stale_after: BTreeMap<String, Duration>,
}

#[derive(Debug)]
struct Own {
    name: String,
    profile: Arc<Profile>,
    known: Known,
    stale_after_ms: Option<i64>,
    declared_ms: i64,
    /// That it has not told anything yet is counted already.
    silent: bool,
    misses: Misses,
}

/// Takes the lines of one source.
#[derive(Debug, Default)]
pub struct Intake {
    source: Source,
    devices: BTreeMap<DeviceIndex, Own>,
    by_name: HashMap<String, DeviceIndex>,
    ready: Vec<(DeviceIndex, i64, Reading)>,
    /// Of lines that were no device's.
    misses: Misses,
    /// Something went wrong since that was told last.
    news: bool,
    run: u64,
}

impl Intake {
    /// Of a source without devices yet.
    #[must_use]
    pub fn new(source: Source) -> Self {
        Self { source, ..Self::default() }
    }

    /// Takes a device for its own; one that it has stays as it is.
    pub fn declare(&mut self, index: DeviceIndex, name: &str, profile: &Arc<Profile>, now: Now) {
        if self.devices.contains_key(&index) {
            return;
        }
        let stale_after = self.source.stale_after.get(name);
        let own = Own {
            name: name.to_owned(),
            profile: Arc::clone(profile),
            known: Known::of(profile, now.boot_ms),
            stale_after_ms: stale_after.map(|time| i64::try_from(time.as_millis()).unwrap_or(i64::MAX)),
            declared_ms: now.boot_ms,
            silent: false,
            misses: Misses::new(),
        };
        self.devices.insert(index, own);
        self.by_name.insert(name.to_owned(), index);
    }

    /// Takes a line; gives what was not taken of it. `sender` is the device that the way of the line names.
    pub fn take(&mut self, line: Cut, sender: Option<&str>, now: Now) -> Vec<Refusal> {
        let number = line.number;
        let told = match line.bytes {
            Some(bytes) => read(&bytes, self.source.precision).map_err(|error| ("bad line", error)),
            None => {
                let what = format!("found more than {MAX_LINE_BYTES} bytes, expected the end of the line");
                Err(("line too long", LineError { column: 1, what }))
            }
        };
        let told = match told {
            Ok(told) => told,
            Err((miss, error)) => {
                let index = self.device(None, sender).ok();
                self.count(index, miss);
                return vec![Refusal { line: number, error, miss }];
            }
        };
        let mut refusals = Vec::new();
        for told in told {
            let (index, refused) = match self.device(told.device.as_deref(), sender) {
                Ok(index) => (Some(index), self.give(index, told, now)),
                Err(what) => (None, Err(("unknown device", LineError { column: told.column, what }))),
            };
            if let Err((miss, error)) = refused {
                self.count(index, miss);
                if refusals.len() < MAX_REFUSALS {
                    refusals.push(Refusal { line: number, error, miss });
                }
            }
        }
        refusals
    }

    /// What was taken since this was asked last.
    pub fn transactions(&mut self) -> Vec<Transaction> {
        let mut transactions: BTreeMap<(i64, DeviceIndex), Vec<Reading>> = BTreeMap::new();
        for (device, at_ms, reading) in self.ready.drain(..) {
            transactions.entry((at_ms, device)).or_default().push(reading);
        }
        transactions.into_iter().map(|((at_ms, device), readings)| Transaction { device, at_ms, readings }).collect()
    }

    /// From now on those series count that are told until [`Intake::end_run`].
    pub fn begin_run(&mut self) {
        self.run += 1;
    }

    /// A program has ended: what it did not tell is bad, and what it did tell is doubtful where it failed.
    pub fn end_run(&mut self, failed: Option<Reason>, now: Now) -> Vec<Transaction> {
        for (device, own) in &self.devices {
            let missing = own.known.0.values().filter(|series| series.run != self.run);
            let bad = missing.map(|series| (*device, now.boot_ms, series.bad(failed.unwrap_or(Reason::Unavailable))));
            self.ready.extend(bad);
        }
        if let Some(reason) = failed {
            for (_, _, Reading { sample, .. }) in &mut self.ready {
                if let Sample::Good(value) = sample {
                    *sample = Sample::Uncertain(value.clone(), reason);
                }
            }
        }
        self.transactions()
    }

    /// Says of series that have been silent for too long that they are, once.
    pub fn look(&mut self, now: Now) {
        for (device, own) in &mut self.devices {
            let Some(after_ms) = own.stale_after_ms else { continue };
            // No series can say it.
            if own.known.0.is_empty() && !own.silent && now.boot_ms - own.declared_ms >= after_ms {
                own.silent = true;
                *own.misses.entry("silent").or_default() += 1;
                self.news = true;
            }
            for series in own.known.0.values_mut().filter(|series| !series.stale && now.boot_ms - series.heard_ms >= after_ms) {
                series.stale = true;
                self.ready.push((*device, now.boot_ms, series.bad(Reason::Stale)));
            }
        }
    }

    /// How long from now until a series will have been silent for too long; an hour where none will.
    #[must_use]
    pub fn next_look(&self, now: Now) -> Duration {
        let due = |own: &Own| {
            let never_ms = (own.known.0.is_empty() && !own.silent).then_some(own.declared_ms);
            let heard_ms = own.known.0.values().filter(|series| !series.stale).map(|series| series.heard_ms).min().or(never_ms)?;
            Some((heard_ms + own.stale_after_ms? - now.boot_ms).max(0))
        };
        let ms = self.devices.values().filter_map(due).min();
        ms.and_then(|ms| u64::try_from(ms).ok()).map_or(Duration::from_secs(3_600), Duration::from_millis)
    }

    /// Counts what went wrong on the way.
    pub fn count(&mut self, device: Option<DeviceIndex>, miss: &'static str) {
        let misses = device.and_then(|index| self.devices.get_mut(&index)).map_or(&mut self.misses, |own| &mut own.misses);
        *misses.entry(miss).or_default() += 1;
        self.news = true;
    }

    /// Whether something went wrong since this was asked last.
    pub fn news(&mut self) -> bool {
        std::mem::take(&mut self.news)
    }

    /// What went wrong with a device, and with lines that were nobody's.
    #[must_use]
    pub fn misses(&self, name: &str) -> Misses {
        let own = self.by_name.get(name).and_then(|index| self.devices.get(index));
        let mut misses = own.map(|own| own.misses.clone()).unwrap_or_default();
        for (miss, count) in &self.misses {
            *misses.entry(miss).or_default() += count;
        }
        misses
    }

    /// The series that a device is known to have.
    #[must_use]
    pub fn series(&self, device: DeviceIndex) -> Vec<(PointIndex, Option<Arc<Row>>)> {
        let known = self.devices.get(&device).into_iter().flat_map(|own| own.known.0.values());
        known.map(|series| (series.point, Some(Arc::clone(&series.row)))).collect()
    }

    fn give(&mut self, index: DeviceIndex, told: Told, now: Now) -> Result<(), super::series::Refused> {
        let Some(own) = self.devices.get_mut(&index) else { return Ok(()) };
        let (at_ms, reading) = own.known.take(&own.profile, told, now, self.run)?;
        if reading.sample == Sample::Bad(Reason::Mismatch) {
            *own.misses.entry("other type").or_default() += 1;
        }
        self.ready.push((index, at_ms, reading));
        Ok(())
    }

    /// Whose a reading is: that of the name in it, of the way it came, or of the only device.
    fn device(&self, told: Option<&str>, sender: Option<&str>) -> Result<DeviceIndex, String> {
        if let (Some(told), Some(sender)) = (told, sender)
            && told != sender
        {
            return Err(format!("found the device {}, expected {}, which sent it", crate::yaml::quoted(told), crate::yaml::quoted(sender)));
        }
        let all = || self.devices.values().map(|own| own.name.as_str()).take(5).collect::<Vec<_>>().join(", ");
        match told.or(sender) {
            Some(name) => {
                self.by_name.get(name).copied().ok_or_else(|| {
                    format!("found the device {}, expected one that is configured here: {}", crate::yaml::quoted(name), all())
                })
            }
            None => match self.devices.keys().collect::<Vec<_>>().as_slice() {
                [only] => Ok(**only),
                _ => Err(format!("found no device, expected one of {}", all())),
            },
        }
    }
}
