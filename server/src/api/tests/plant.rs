//! A made-up plant in memory: what the API is tested against.

use std::collections::BTreeMap;
use std::sync::Arc;

use pattoo_wire::{
    ClockSource, Decimal, DeviceStatus, Gap, GapReason, Kind, LateStatus, LinkStatus, Quality, Reason, Repr, Sample, Series, Status, Value,
    Warning,
};

use crate::live::{Clock, Live};
use crate::store::memory::Memory;
use crate::store::{Commit, Reading, SeriesEntry, SeriesId, Store};

/// Two gateways; one of them with devices that do well, badly, and have an evil name.
pub(super) struct Plant {
    pub(super) store: Arc<Memory>,
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
        let step = Gap { to_ms: now - 60_000, first_seq: 10, last_seq: 10, readings: 0, reason: GapReason::ClockStep, ..gap.clone() };
        commit.gaps.extend([gap, step].map(|gap| ("plant7".into(), 1, gap)));
        plant.store.commit(&commit).unwrap();
        plant
    }

    /// Gives a series so many readings; returns how many.
    pub(super) fn fill(&self, id: u32, readings: usize) -> usize {
        let reading = |n: i64| (SeriesId(id), Reading { at_ms: n, sample: Sample::Good(Value::int(n)) });
        let readings: Vec<_> = (0..i64::try_from(readings).unwrap()).map(reading).collect();
        let count = readings.len();
        let filled = entries().into_iter().next().map(|first| SeriesEntry { id: SeriesId(id), device: format!("filled-{id}"), ..first });
        self.live.put_series(filled);
        self.store.commit(&Commit { readings: readings.into(), ..Commit::default() }).unwrap();
        count
    }

    fn tell(&self, now: i64) {
        let late = Some(LateStatus { p50_ms: 2, p95_ms: 30, p99_ms: 700 });
        let health = |quality, reason: Option<&str>| DeviceStatus {
            reason: reason.map(str::to_owned),
            polls: 90,
            failures: 3,
            skipped: 7,
            late,
            timeout_ms: Some(150),
            misses: [("timeout".to_owned(), 4)].into(),
            ..DeviceStatus::new(quality)
        };
        let status = Status {
            online: true,
            version: "0.1.0".into(),
            uptime_s: 900,
            time_ms: now,
            clock: None,
            uplink: None,
            buffer_batches: 3,
            buffer_bytes: 2100,
            dropped_readings: 340,
            written_bytes: Some(1_000_000),
            warnings: vec![Warning::new("disk", &format!("the disk has little room {EVIL}"))],
            devices: [("main-meter".to_owned(), health(Quality::Good, None)), ("pump".to_owned(), health(Quality::Bad, Some("timeout")))]
                .into(),
            links: [("line1".to_owned(), LinkStatus { polls: 180, skipped: 14, late })].into(),
        };
        self.live.heard("plant7", Some(now), |gateway| {
            gateway.status = Some(status);
            gateway.clock = Some(Clock { offset_ms: -1500, source: ClockSource::Ntp, at_ms: now });
        });
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
