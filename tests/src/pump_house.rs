//! A made-up pump house: a gateway that is played, with everything that a page has to show: states, texts, a counter, doubtful and bad
//! readings, a spike, a loss. All of it follows from the time alone, so that any stretch of it can be told at any time.

use std::net::SocketAddr;
use std::time::SystemTime;

use anyhow::{Result, ensure};
use pattoo_wire::{
    Batch, Block, Decimal, Device, DeviceStatus, Gap, GapReason, Header, Kind, LateStatus, Quality, Reason, Repr, Sample, Schema, SchemaId,
    Series, Status, Value, Warning, data_message, topic,
};

use crate::mqtt::{Connect, Raw, code};

/// Name of the gateway.
pub const GATEWAY: &str = "pump-house";

/// How many series it has.
pub const SERIES: usize = 12;

/// A pump runs and rests once in this time.
const ROUND_MS: i64 = 24 * 60_000;
/// Something goes wrong once in this time.
const TROUBLE_MS: i64 = 3 * 3_600_000;
/// Ticks of one batch: with all series they fit into a body.
const TICKS: usize = 150;

const PUMP_STATES: [(i64, &str); 4] = [(0, "stopped"), (1, "starting"), (2, "running"), (3, "fault")];

/// What somebody has to see to soon: of each kind that a gateway warns of.
const TROUBLES: [(&str, &str); 4] = [
    ("disk", "the disk of the buffer has 40 MiB free, less than 64 MiB: make room on it <script>alert(1)</script>"),
    (
        "disk",
        "the buffer has 490 MiB of the 512 MiB it may have, then the oldest readings are dropped: see why the server does not take them",
    ),
    ("clock", "the system's clock is 41s behind the server's; times of readings are by NTP: see to NTP on both"),
    ("certificate", "the certificate of this gateway ends in 6 days: renew it"),
];

/// The gateway, connected.
pub struct PumpHouse {
    raw: Raw,
    schema: Schema,
    id: SchemaId,
    /// Another one at each start, as of a buffer that was wiped.
    stream: u64,
    seq: u64,
}

impl PumpHouse {
    /// Connects to the broker of a server without accounts; tells its schema and that it is well.
    ///
    /// # Errors
    /// It is not let in.
    pub fn connect(to: SocketAddr, now_ms: i64) -> Result<Self> {
        let mut raw = Raw::plain(to)?.connected(Connect::as_id("pump-house"))?;
        let schema = schema();
        let (id, message) = schema.encode()?;
        let answer = raw.publish(&topic::schema(GATEWAY, id), true, &message)?;
        ensure!(answer == code::SUCCESS, "the schema was answered by {answer:02x}");
        let mut house = Self { raw, schema, id, stream: u64::try_from(now_ms)?, seq: 0 };
        house.tell_status(now_ms)?;
        Ok(house)
    }

    /// Tells the readings of `from_ms..to_ms`, one of each series in `every_ms`.
    ///
    /// # Errors
    /// The server did not take them.
    pub fn tell(&mut self, from_ms: i64, to_ms: i64, every_ms: i64) -> Result<()> {
        let times: Vec<i64> = (0..).map(|n| from_ms + n * every_ms).take_while(|at| *at < to_ms).collect();
        for times in times.chunks(TICKS) {
            let present: Vec<i64> = times.iter().copied().filter(|at| !is_lost(*at)).collect();
            self.seq += 1;
            let gaps = self.lost(times);
            let series: Vec<u32> = (0..u32::try_from(self.schema.series.len())?).collect();
            let samples = series.iter().flat_map(|n| present.iter().map(|at| sample(*n, *at))).collect();
            let blocks = if present.is_empty() { vec![] } else { vec![Block { series, times_ms: present, samples }] };
            let body = Batch { blocks, gaps }.encode(self.id, &self.schema)?;
            let message = data_message(&Header { stream: self.stream, seq: self.seq, oldest: 1 }, &body)?;
            let answer = self.raw.publish(&topic::data(GATEWAY), false, &message)?;
            ensure!(answer == code::SUCCESS, "batch {} was answered by {answer:02x}", self.seq);
        }
        Ok(())
    }

    /// Tells how it is.
    ///
    /// # Errors
    /// The broker did not take it.
    pub fn tell_status(&mut self, now_ms: i64) -> Result<()> {
        let polls = 8640;
        let well = |quality, reason: Option<&str>| DeviceStatus {
            reason: reason.map(str::to_owned),
            polls,
            late: Some(LateStatus { p50_ms: 2, p95_ms: 9, p99_ms: 41 }),
            latency_p99_ms: Some(38),
            timeout_ms: Some(200),
            ..DeviceStatus::new(quality)
        };
        let pump = DeviceStatus {
            failures: 61,
            skipped: 12,
            misses: [("timeout".to_owned(), 58), ("late reply".to_owned(), 3)].into(),
            ..well(Quality::Uncertain, Some("value out of range"))
        };
        let status = Status {
            online: true,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_s: 86_400,
            time_ms: now_ms,
            dropped_readings: 1800,
            warnings: TROUBLES.map(|(about, text)| Warning::new(about, text)).to_vec(),
            devices: [("pump-1".to_owned(), pump), ("tank".to_owned(), well(Quality::Good, None))].into(),
            ..Status::default()
        };
        let answer = self.raw.publish(&topic::status(GATEWAY), true, &serde_json::to_vec(&status)?)?;
        ensure!(answer == code::SUCCESS, "the status was answered by {answer:02x}");
        Ok(())
    }

    /// What of these times was lost, as a record.
    fn lost(&self, times: &[i64]) -> Vec<Gap> {
        let lost: Vec<i64> = times.iter().copied().filter(|at| is_lost(*at)).collect();
        let (Some(first), Some(last)) = (lost.first(), lost.last()) else { return Vec::new() };
        let readings = (lost.len() * self.schema.series.len()) as u64;
        let (first_seq, last_seq) = (self.seq, self.seq);
        vec![Gap { from_ms: *first, to_ms: *last, first_seq, last_seq, readings, reason: GapReason::BufferFull }]
    }
}

/// The time, ms since 1970.
///
/// # Errors
/// This machine lives before 1970.
#[expect(clippy::disallowed_methods, reason = "a gateway that is played stamps its readings itself")]
pub fn now_ms() -> Result<i64> {
    Ok(i64::try_from(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_millis())?)
}

fn schema() -> Schema {
    let device = |name: &str, profile: &str| Device {
        name: name.into(),
        profile: profile.into(),
        labels: [("site".to_owned(), "river".to_owned())].into(),
    };
    let series = |device, point: &str, unit: &str, kind, repr| Series {
        device,
        point: point.into(),
        unit: unit.into(),
        kind,
        repr,
        labels: [].into(),
        states: [].into(),
    };
    let tenths = Repr::Decimal { exponent: -1 };
    let state = |point, states: &[(i64, &str)]| Series {
        states: states.iter().map(|(n, text)| (*n, (*text).to_owned())).collect(),
        ..series(0, point, "", Kind::State, Repr::Decimal { exponent: 0 })
    };
    Schema {
        devices: vec![device("pump-1", "made-up-pump"), device("tank", "made-up-tank")],
        series: vec![
            series(0, "flow", "m3/h", Kind::Gauge, tenths),
            series(0, "pressure_in", "bar", Kind::Gauge, Repr::Decimal { exponent: -2 }),
            series(0, "pressure_out", "bar", Kind::Gauge, Repr::Decimal { exponent: -2 }),
            series(0, "power", "W", Kind::Gauge, Repr::Decimal { exponent: 0 }),
            series(0, "temperature_motor", "Cel", Kind::Gauge, tenths),
            series(0, "temperature_bearing", "Cel", Kind::Gauge, tenths),
            state("state", &PUMP_STATES),
            Series { states: [(0, "shut".to_owned()), (1, "open".to_owned())].into(), ..series(0, "valve", "", Kind::State, Repr::Bool) },
            series(0, "energy", "kWh", Kind::Counter, tenths),
            series(0, "message", "", Kind::Text, Repr::Text),
            series(1, "level", "%", Kind::Gauge, tenths),
            series(1, "volume", "m3", Kind::Gauge, tenths),
        ],
    }
}

/// Minutes into the present round of the pump, and the seconds since its present state began.
fn minute(at_ms: i64) -> f64 {
    at_ms.rem_euclid(ROUND_MS) as f64 / 60_000.0
}

/// Ms into the present round of trouble.
fn trouble(at_ms: i64) -> i64 {
    at_ms.rem_euclid(TROUBLE_MS)
}

/// Ten minutes of which nothing is left.
fn is_lost(at_ms: i64) -> bool {
    (80 * 60_000..90 * 60_000).contains(&trouble(at_ms))
}

/// 0 to 3, as in `PUMP_STATES`.
fn pump(at_ms: i64) -> i64 {
    if (40 * 60_000..46 * 60_000).contains(&trouble(at_ms)) {
        return 3;
    }
    match minute(at_ms) {
        m if m < 0.5 => 1,
        m if m < 14.0 => 2,
        _ => 0,
    }
}

/// Noise from -1 to 1, the same for the same time.
fn noise(at_ms: i64, salt: u64) -> f64 {
    let mixed = (at_ms as u64 / 1000).wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(salt.wrapping_mul(0xD1B5_4A32_D192_ED03));
    ((mixed ^ (mixed >> 29)) % 2001) as f64 / 1000.0 - 1.0
}

fn sample(series: u32, at_ms: i64) -> Sample {
    let decimal = |value: f64, exponent: i8| {
        Value::Decimal(Decimal { mantissa: (value * 10f64.powi(-i32::from(exponent))).round() as i64, exponent })
    };
    let state = pump(at_ms);
    let runs = f64::from(u8::from(state == 2));
    let into = minute(at_ms);
    let warm = if into < 14.0 { 0.25 + 0.65 * (1.0 - (-into / 5.0).exp()) } else { 0.86 * ((14.0 - into) / 8.0).exp() };
    let day = (at_ms as f64 / 86_400_000.0 * std::f64::consts::TAU).sin();
    let spike = if (60 * 60_000..60 * 60_000 + 10_000).contains(&trouble(at_ms)) { 6.5 } else { 0.0 };
    let value = match series {
        0 => decimal(runs * (182.0 + 9.0 * day + 3.0 * noise(at_ms, 1)), -1),
        1 => decimal(1.42 + 0.08 * day + 0.01 * noise(at_ms, 2) - 0.2 * runs, -2),
        2 => decimal(1.5 + runs * (4.1 + 0.12 * noise(at_ms, 3)) + spike, -2),
        3 => decimal(40.0 + runs * (27_300.0 + 900.0 * day + 350.0 * noise(at_ms, 4)) + f64::from(u8::from(state == 1)) * 61_000.0, 0),
        4 => decimal(31.0 + 4.0 * day + 34.0 * warm + 0.3 * noise(at_ms, 5), -1),
        5 => decimal(28.0 + 4.0 * day + 19.0 * warm + 0.2 * noise(at_ms, 6), -1),
        6 => Value::int(state),
        7 => Value::Bool(state == 2),
        8 => decimal(48_210.0 + (at_ms.rem_euclid(31_536_000_000)) as f64 / 3_600_000.0 * 15.9, -1),
        9 => Value::Text(if state == 3 { "E17: motor protection tripped <b>check</b>" } else { "ready" }.into()),
        10 => decimal(level(at_ms), -1),
        _ => decimal(level(at_ms) * 2.5, -1),
    };
    let minutes = trouble(at_ms) / 60_000;
    match (series, minutes) {
        (0..=9, 46..=48) => Sample::Bad(Reason::Timeout),
        (4, 100..=106) => Sample::Uncertain(value, Reason::OutOfRange),
        _ => Sample::Good(value),
    }
}

/// The tank fills while the pump rests.
fn level(at_ms: i64) -> f64 {
    let into = minute(at_ms);
    let part = if into < 14.0 { 1.0 - into / 14.0 } else { (into - 14.0) / 10.0 };
    41.0 + 38.0 * part + 0.4 * noise(at_ms, 7)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_series_has_a_value_of_its_own_kind_at_every_time_and_a_batch_fits() {
        let schema = schema();
        assert_eq!(schema.series.len(), SERIES);
        let (id, _) = schema.encode().unwrap();
        let series: Vec<u32> = (0..schema.series.len() as u32).collect();
        for start in (0..TROUBLE_MS * 2).step_by(1_500_000) {
            let times_ms: Vec<i64> = (0..TICKS as i64).map(|n| 1_800_000_000_000 + start + n * 10_000).collect();
            let samples = series.iter().flat_map(|n| times_ms.iter().map(|at| sample(*n, *at))).collect();
            let batch = Batch { blocks: vec![Block { series: series.clone(), times_ms, samples }], gaps: vec![] };
            batch.encode(id, &schema).unwrap();
        }
    }
}
