//! A made-up plant: 10 devices of 20 points, polled every 10 s, from a seed. Knows nothing of encodings.

use pattoo_wire::{Decimal, Kind, Repr, Value};

/// Devices of the plant.
pub(crate) const DEVICES: usize = 10;
/// Points of each device.
pub(crate) const POINTS: usize = 20;
/// Time between two polls of a device.
pub(crate) const POLL_MS: i64 = 10_000;
/// A poll is late by up to this much, at random.
const JITTER_MS: u64 = 40;

/// What a point is like; the mix of each device.
#[derive(Clone, Copy)]
enum Behaviour {
    /// A random walk in steps of up to 0.5 % of its size, rounded to 0.1 or 0.01.
    Analog,
    /// White noise of 1 % in a float32 register, rounded by the device to 0.1 or 0.01.
    ShortFloat,
    /// White noise of 1 % in a float32 register, all 24 bits of it.
    FullFloat,
    /// Grows by 0 to 2 * rate.
    Counter,
    /// Rounded to 0.1; an operator changes it once in 1000 polls.
    Setpoint,
    /// Changes once in 200 polls.
    Flag,
    /// One of 20 states; changes once in 500 polls.
    Status,
}

/// 40 % analog, 20 % floats, 15 % counters, 10 % set points, 10 % booleans, 5 % status.
const MIX: [(Behaviour, usize); 7] = [
    (Behaviour::Analog, 8),
    (Behaviour::ShortFloat, 2),
    (Behaviour::FullFloat, 2),
    (Behaviour::Counter, 3),
    (Behaviour::Setpoint, 2),
    (Behaviour::Flag, 2),
    (Behaviour::Status, 1),
];

/// Names as meters have them: what encodings that repeat names must carry.
const NAMES: [&str; POINTS] = [
    "voltage_l1",
    "voltage_l2",
    "voltage_l3",
    "current_l1",
    "current_l2",
    "current_l3",
    "frequency",
    "power_factor",
    "supply_temperature",
    "return_temperature",
    "active_power",
    "reactive_power",
    "energy_import",
    "energy_export",
    "operating_hours",
    "setpoint_flow",
    "setpoint_temperature",
    "pump_running",
    "alarm",
    "state",
];

/// SplitMix64: small, seedable, the same on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// From -1 to 1.
    fn swing(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }

    /// From `low` to `high`, each order of magnitude as likely as another.
    fn magnitude(&mut self, low: f64, high: f64) -> f64 {
        low * (high / low).powf((self.swing() + 1.0) / 2.0)
    }
}

/// One point and where it stands.
pub(crate) struct Point {
    /// Its name within the device.
    pub(crate) name: &'static str,
    /// Representation on the wire.
    pub(crate) repr: Repr,
    /// Kind in the schema.
    pub(crate) kind: Kind,
    behaviour: Behaviour,
    /// Digits after the point, where it is rounded.
    digits: i8,
    nominal: f64,
    now: f64,
}

impl Point {
    fn new(name: &'static str, behaviour: Behaviour, random: &mut Random) -> Self {
        let digits = 1 + random.below(2) as i8;
        let (repr, kind, nominal) = match behaviour {
            Behaviour::Analog => (Repr::Decimal { exponent: -digits }, Kind::Gauge, random.magnitude(200.0, 50_000.0)),
            Behaviour::ShortFloat | Behaviour::FullFloat => (Repr::F32, Kind::Gauge, random.magnitude(10.0, 1000.0)),
            Behaviour::Counter => (Repr::Unsigned, Kind::Counter, random.magnitude(1.0, 1000.0)),
            Behaviour::Setpoint => (Repr::Decimal { exponent: -1 }, Kind::Gauge, random.magnitude(200.0, 5000.0)),
            Behaviour::Flag => (Repr::Bool, Kind::State, 0.0),
            Behaviour::Status => (Repr::Decimal { exponent: 0 }, Kind::State, 3.0),
        };
        let now = if repr == Repr::Unsigned { random.magnitude(1e3, 1e9) } else { nominal };
        Self { name, repr, kind, behaviour, digits, nominal, now: now.round() }
    }

    fn poll(&mut self, random: &mut Random) -> Value {
        let noise = self.nominal * (1.0 + random.swing() / 100.0);
        match self.behaviour {
            Behaviour::Analog => self.now = (self.now + random.swing() * self.nominal / 200.0).round(),
            Behaviour::ShortFloat => return Value::F32(round(noise, self.digits) as f32),
            Behaviour::FullFloat => return Value::F32(noise as f32),
            Behaviour::Counter => {
                self.now += (self.nominal * (1.0 + random.swing())).round();
                return Value::Unsigned(self.now as u64);
            }
            Behaviour::Setpoint if random.below(1000) == 0 => self.now = (self.nominal * (1.0 + random.swing() / 10.0)).round(),
            Behaviour::Flag if random.below(200) == 0 => self.now = 1.0 - self.now,
            Behaviour::Status if random.below(500) == 0 => self.now = random.below(20) as f64,
            _ => {}
        }
        match self.repr {
            Repr::Bool => Value::Bool(self.now > 0.5),
            Repr::Decimal { exponent } => Value::Decimal(Decimal { mantissa: self.now as i64, exponent }),
            other => unreachable!("{other:?} has returned above"),
        }
    }
}

fn round(x: f64, digits: i8) -> f64 {
    let scale = 10f64.powi(i32::from(digits));
    (x * scale).round() / scale
}

/// What one device gave in one poll.
pub(crate) struct Poll {
    /// Which device.
    pub(crate) device: usize,
    /// Its time.
    pub(crate) at_ms: i64,
    /// A value for each of its points.
    pub(crate) values: Vec<Value>,
}

/// The plant and its clock.
pub(crate) struct Plant {
    /// Points, device by device.
    pub(crate) points: Vec<Point>,
    random: Random,
    now_ms: i64,
}

impl Plant {
    /// The same plant for the same seed.
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let behaviours: Vec<_> = MIX.iter().flat_map(|(behaviour, count)| std::iter::repeat_n(*behaviour, *count)).collect();
        assert_eq!(behaviours.len(), POINTS, "BUG: the mix fills a device");
        let points = (0..DEVICES).flat_map(|_| NAMES.into_iter().zip(behaviours.clone())).collect::<Vec<_>>();
        let points = points.into_iter().map(|(name, behaviour)| Point::new(name, behaviour, &mut random)).collect();
        Self { points, random, now_ms: 1_790_000_000_000 }
    }

    /// Name of a device.
    pub(crate) fn device_name(device: usize) -> String {
        format!("meter-{:02}", device + 1)
    }

    /// Every device once, one after the other.
    pub(crate) fn poll(&mut self) -> Vec<Poll> {
        let start_ms = self.now_ms;
        self.now_ms += POLL_MS;
        let mut polls = Vec::new();
        for (device, points) in self.points.chunks_mut(POINTS).enumerate() {
            let at_ms = start_ms + device as i64 * 150 + self.random.below(JITTER_MS) as i64;
            polls.push(Poll { device, at_ms, values: points.iter_mut().map(|p| p.poll(&mut self.random)).collect() });
        }
        polls
    }
}
