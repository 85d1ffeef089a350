//! A made-up plant in memory: what the API is tested against.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use pattoo_wire::{Decimal, DeviceStatus, Gap, GapReason, Kind, Quality, Reason, Repr, Sample, Series, Status, Value};

use crate::live::Live;
use crate::query;
use crate::store::{Bucket, Commit, Loaded, Reading, SeriesEntry, SeriesId, Store, StoreError};

/// Readings in memory; it fails when told to.
#[derive(Default)]
pub(super) struct MemoryStore {
    readings: Mutex<BTreeMap<SeriesId, BTreeMap<i64, Sample>>>,
    gaps: Mutex<Vec<(String, Gap)>>,
    failing: AtomicBool,
}

impl MemoryStore {
    pub(super) fn fail(&self, yes: bool) {
        self.failing.store(yes, Ordering::SeqCst);
    }

    fn working(&self) -> Result<(), StoreError> {
        if self.failing.load(Ordering::SeqCst) {
            return Err(StoreError::Io { path: "memory".into(), what: "no space left".into() });
        }
        Ok(())
    }
}

impl Store for MemoryStore {
    fn load(&self) -> Result<Loaded, StoreError> {
        Ok(Loaded::default())
    }

    fn commit(&self, commit: &Commit) -> Result<(), StoreError> {
        let mut readings = self.readings.lock().unwrap();
        for (id, reading) in &commit.readings {
            readings.entry(*id).or_default().insert(reading.at_ms, reading.sample.clone());
        }
        self.gaps.lock().unwrap().extend(commit.gaps.iter().map(|(gateway, _, gap)| (gateway.clone(), gap.clone())));
        Ok(())
    }

    fn raw(&self, series: SeriesId, from_ms: i64, to_ms: i64, limit: usize) -> Result<Vec<Reading>, StoreError> {
        self.working()?;
        let readings = self.readings.lock().unwrap();
        let Some(column) = readings.get(&series) else { return Ok(Vec::new()) };
        Ok(column.range(from_ms..to_ms).take(limit).map(|(at_ms, sample)| Reading { at_ms: *at_ms, sample: sample.clone() }).collect())
    }

    fn buckets(&self, series: SeriesId, from_ms: i64, to_ms: i64, step_ms: i64) -> Result<Vec<Bucket>, StoreError> {
        Ok(query::buckets(self.raw(series, from_ms, to_ms, usize::MAX)?, step_ms))
    }

    fn latest(&self, series: &[SeriesId]) -> Result<Vec<Option<Reading>>, StoreError> {
        self.working()?;
        let readings = self.readings.lock().unwrap();
        let newest = |id| Some(readings.get(id)?.last_key_value()?);
        let reading = |(at_ms, sample): (&i64, &Sample)| Reading { at_ms: *at_ms, sample: sample.clone() };
        Ok(series.iter().map(|id| newest(id).map(reading)).collect())
    }

    fn gaps(&self, gateway: &str, from_ms: i64, to_ms: i64) -> Result<Vec<Gap>, StoreError> {
        self.working()?;
        let touches = |(of, gap): &&(String, Gap)| of == gateway && gap.from_ms < to_ms && gap.to_ms >= from_ms;
        Ok(self.gaps.lock().unwrap().iter().filter(touches).map(|(_, gap)| gap.clone()).collect())
    }

    fn expire(&self, _: i64, _: usize) -> Result<usize, StoreError> {
        Ok(0)
    }

    fn bytes(&self) -> Result<u64, StoreError> {
        self.working()?;
        Ok(4096)
    }
}

/// Two gateways; one of them with devices that do well, badly, and have an evil name.
pub(super) struct Plant {
    pub(super) store: Arc<MemoryStore>,
    pub(super) live: Arc<Live>,
    pub(super) now: i64,
}

const EVIL: &str = "<script>alert(1)</script>";

impl Plant {
    pub(super) fn made_up(now: i64) -> Self {
        let plant = Self { store: Arc::default(), live: Arc::default(), now };
        plant.live.put_series(entries());
        plant.tell(now);
        plant.live.rejected(Some("plant7"), "truncated");
        plant.live.rejected(Some("plant7"), "truncated");
        plant.live.rejected(None, "unknown topic");
        plant.live.set_subscribed(true);
        plant.live.set_storing(true);
        let mut commit = Commit::default();
        for at_ms in (now - 900_000..now).step_by(1000) {
            measure(&mut commit, now, at_ms);
        }
        let gap =
            Gap { from_ms: now - 600_000, to_ms: now - 540_000, first_seq: 1, last_seq: 9, readings: 340, reason: GapReason::BufferFull };
        commit.gaps.push(("plant7".into(), 1, gap));
        plant.store.commit(&commit).unwrap();
        plant
    }

    /// One more second.
    pub(super) fn tick(&mut self, now: i64) {
        let mut commit = Commit::default();
        measure(&mut commit, self.now, now);
        self.store.commit(&commit).unwrap();
        self.tell(now);
    }

    /// Gives a series so many readings; returns how many.
    pub(super) fn fill(&self, id: u32, readings: usize) -> usize {
        let reading = |n: i64| (SeriesId(id), Reading { at_ms: n, sample: Sample::Good(Value::int(n)) });
        let readings: Vec<_> = (0..i64::try_from(readings).unwrap()).map(reading).collect();
        let count = readings.len();
        self.store.commit(&Commit { readings, ..Commit::default() }).unwrap();
        count
    }

    fn tell(&self, now: i64) {
        let health = |quality, reason: Option<&str>| DeviceStatus { quality, reason: reason.map(str::to_owned), polls: 90, failures: 3 };
        let status = Status {
            online: true,
            version: "0.1.0".into(),
            uptime_s: 900,
            time_ms: now,
            buffer_batches: 3,
            buffer_bytes: 2100,
            dropped_readings: 340,
            devices: [("main-meter".to_owned(), health(Quality::Good, None)), ("pump".to_owned(), health(Quality::Bad, Some("timeout")))]
                .into(),
        };
        self.live.heard("plant7", now, |gateway| gateway.status = Some(status));
    }
}

fn entries() -> Vec<SeriesEntry> {
    let entry = |id, gateway: &str, device: &str, point: &str, unit: &str, kind, repr| SeriesEntry {
        id: SeriesId(id),
        gateway: gateway.into(),
        device: device.into(),
        profile: if device == "main-meter" { "eastron-sdm630".into() } else { "generic".into() },
        device_labels: if device == "main-meter" { [("site".into(), "north".into())].into() } else { BTreeMap::new() },
        entry: Series {
            device: 0,
            point: point.into(),
            unit: unit.into(),
            kind,
            repr,
            labels: BTreeMap::new(),
            states: if kind == Kind::State { [(0, "stopped".into()), (1, "running".into())].into() } else { BTreeMap::new() },
        },
    };
    let tenth = Repr::Decimal { exponent: -1 };
    vec![
        entry(1, "plant7", "main-meter", "voltage_l1", "V", Kind::Gauge, tenth),
        entry(2, "plant7", "main-meter", "current_l1", "A", Kind::Gauge, Repr::F32),
        entry(3, "plant7", "main-meter", "energy_import", "Wh", Kind::Counter, Repr::Unsigned),
        entry(4, "plant7", "pump", "running", "", Kind::State, Repr::Bool),
        entry(5, "plant7", EVIL, "message", "", Kind::Text, Repr::Text),
        entry(6, "barn", "heater", "temperature", "Cel", Kind::Gauge, Repr::F64),
    ]
}

/// What all devices say at a time: with a spike, a silence, doubtful and bad readings.
fn measure(commit: &mut Commit, start: i64, at_ms: i64) {
    let mut put = |id, sample| commit.readings.push((SeriesId(id), Reading { at_ms, sample }));
    let age_s = (start - at_ms) / 1000;
    let wave = (at_ms as f64 / 60_000.0).sin();
    let noise = ((at_ms / 1000 * 7919) % 100) as f64 / 100.0;
    let lost = (540..=600).contains(&age_s);
    if !lost {
        let tenths = match age_s {
            333 => 4000,
            1 => 2301,
            _ => (2300.0 + 25.0 * wave + 12.0 * noise) as i64,
        };
        let volts = Value::Decimal(Decimal { mantissa: tenths, exponent: -1 });
        put(1, if (200..210).contains(&age_s) { Sample::Uncertain(volts, Reason::OutOfRange) } else { Sample::Good(volts) });
        let amps = Value::F32((12.0 + 3.0 * (at_ms as f64 / 200_000.0).cos() + noise) as f32);
        put(2, if (90..105).contains(&age_s) { Sample::Bad(Reason::Timeout) } else { Sample::Good(amps) });
        put(3, Sample::Good(Value::Unsigned(u64::MAX - u64::try_from((age_s - 1).max(0)).unwrap())));
    }
    let running = Sample::Good(Value::Bool((at_ms / 120_000) % 2 == 0));
    put(4, if age_s < 30 { Sample::Bad(Reason::Timeout) } else { running });
    put(5, Sample::Good(Value::Text("Ready \"A\" </script>".into())));
}
