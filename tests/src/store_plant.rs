//! The data set of the store's benchmarks: devices of 20 points, polled every 10 s, from a seed. Only [`fill`] knows stores.

use pattoo_wire::{Decimal, Repr, Sample, Value};

pub mod fill;

/// Points of each device.
pub const POINTS: usize = 20;
/// Time between two polls of a device.
pub const POLL_MS: i64 = 10_000;
/// Polls of a day.
pub const POLLS: usize = 8640;
/// A poll is late by up to this much.
const JITTER_MS: u64 = 20;
/// Midnight of some day.
pub const BEGIN_MS: i64 = 1_764_460_800_000;

/// What a point is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Behaviour {
    /// A random walk around its usual value, rounded to 0.1.
    AnalogTenths,
    /// The same, rounded to 0.01, with ten times the digits moving.
    AnalogHundredths,
    /// White noise of 1 % in a float32 register, rounded by the device to 0.1 or 0.01.
    ShortFloat,
    /// White noise of 1 % in a float32 register, all 24 bits of it.
    FullFloat,
    /// Grows by 0 to twice its rate.
    Counter,
    /// Rounded to 0.1; an operator changes it once in 1000 polls.
    Setpoint,
    /// Changes once in 200 polls.
    Flag,
    /// One of 20 states; changes once in 500 polls.
    Status,
}

use Behaviour::{AnalogHundredths, AnalogTenths, Counter, Flag, FullFloat, Setpoint, ShortFloat, Status};

/// Name and points of a device of each: 40 % analog, 20 % floats, 15 % counters, 10 % set points, 10 % booleans, 5 % status.
pub const MIX: [(Behaviour, &str, usize); 8] = [
    (AnalogTenths, "analog, rounded to 0.1", 4),
    (AnalogHundredths, "analog, rounded to 0.01", 4),
    (ShortFloat, "float32 noise, rounded by the device", 2),
    (FullFloat, "float32 noise, all bits", 2),
    (Counter, "counters", 3),
    (Setpoint, "set points", 2),
    (Flag, "booleans", 2),
    (Status, "states", 1),
];

/// What the point of this number is like, in every device.
#[must_use]
pub fn behaviour(point: usize) -> Behaviour {
    MIX.into_iter().flat_map(|(behaviour, _, points)| vec![behaviour; points]).nth(point).unwrap_or(Status)
}

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

    /// Near enough to a normal distribution of deviation 1.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.swing()).sum::<f64>() / 2.0
    }

    /// From `low` to `high`, each order of magnitude as likely as another.
    fn magnitude(&mut self, low: f64, high: f64) -> f64 {
        low * (high / low).powf((self.swing() + 1.0) / 2.0)
    }
}

struct Point {
    behaviour: Behaviour,
    digits: i32,
    nominal: f64,
    now: f64,
    /// How far it moves from one poll to the next.
    moves: f64,
}

impl Point {
    fn new(behaviour: Behaviour, random: &mut Random) -> Self {
        let digits = 1 + random.below(2) as i32;
        let (nominal, moves) = match behaviour {
            AnalogTenths => (random.magnitude(100.0, 5000.0), random.magnitude(0.5, 4.0)),
            AnalogHundredths => (random.magnitude(1000.0, 50_000.0), random.magnitude(2.0, 20.0)),
            ShortFloat | FullFloat => (random.magnitude(10.0, 1000.0), 0.0),
            Counter => (random.magnitude(1.0, 1000.0), 0.0),
            Setpoint => (random.magnitude(200.0, 5000.0), 0.0),
            Flag | Status => (3.0, 0.0),
        };
        let now = if behaviour == Counter { random.magnitude(1e3, 1e9) } else { nominal };
        Self { behaviour, digits, nominal, now: now.round(), moves }
    }

    fn poll(&mut self, random: &mut Random) -> Value {
        let decimal = |mantissa: f64, exponent| Value::Decimal(Decimal { mantissa: mantissa.round() as i64, exponent });
        let noise = self.nominal * (1.0 + random.swing() / 100.0);
        match self.behaviour {
            AnalogTenths | AnalogHundredths => {
                self.now += random.normal() * self.moves + (self.nominal - self.now) * 0.001;
                decimal(self.now, if self.behaviour == AnalogTenths { -1 } else { -2 })
            }
            ShortFloat => {
                let unit = 10f64.powi(self.digits);
                Value::F32(((noise * unit).round() / unit) as f32)
            }
            FullFloat => Value::F32(noise as f32),
            Counter => {
                self.now += (self.nominal * (1.0 + random.swing())).round();
                Value::Unsigned(self.now as u64)
            }
            Setpoint => {
                if random.below(1000) == 0 {
                    self.now = self.nominal * (1.0 + random.swing() / 10.0);
                }
                decimal(self.now, -1)
            }
            Flag => {
                if random.below(200) == 0 {
                    self.now = 3.0 - self.now;
                }
                Value::Bool(self.now > 1.0)
            }
            Status => {
                if random.below(500) == 0 {
                    self.now = random.below(20) as f64;
                }
                decimal(self.now, 0)
            }
        }
    }
}

/// What one poll of a device gave.
pub struct Poll {
    /// When, ms since 1970.
    pub at_ms: i64,
    /// By point; one that is missing was not there.
    pub samples: Vec<Option<Sample>>,
}

/// A day of a device.
#[must_use]
pub fn day(seed: u64, device: usize) -> Vec<Poll> {
    history(seed, device, POLLS, POLL_MS)
}

/// A device that is polled so often, with so much between two polls: 1 % of it is missing, most in outages of six polls, the rest point by
/// point.
#[must_use]
pub fn history(seed: u64, device: usize, polls: usize, poll_ms: i64) -> Vec<Poll> {
    let mut device = Device::new(seed, device, poll_ms);
    (0..polls).filter_map(|_| device.poll()).collect()
}

/// The same, poll by poll, without an end.
pub struct Device {
    random: Random,
    points: Vec<Point>,
    out: u32,
    polls: i64,
    poll_ms: i64,
}

impl Device {
    /// The device of this number.
    #[must_use]
    pub fn new(seed: u64, device: usize, poll_ms: i64) -> Self {
        let mut random = Random(seed ^ (device as u64 + 1).wrapping_mul(0x2545_f491_4f6c_dd1d));
        let points = (0..POINTS).map(|point| Point::new(behaviour(point), &mut random)).collect();
        Self { random, points, out: 0, polls: 0, poll_ms }
    }

    /// Its next poll; none while it is out.
    pub fn poll(&mut self) -> Option<Poll> {
        let Self { random, points, out, polls, poll_ms } = self;
        let at_ms = BEGIN_MS + *polls * *poll_ms + random.below(JITTER_MS + 1) as i64;
        *polls += 1;
        if *out == 0 && random.below(750) == 0 {
            *out = 6;
        }
        let values: Vec<Value> = points.iter_mut().map(|point| point.poll(random)).collect();
        if *out > 0 {
            *out -= 1;
            return None;
        }
        let samples = values.into_iter().map(|value| (random.below(500) > 0).then_some(Sample::Good(value))).collect();
        Some(Poll { at_ms, samples })
    }
}

impl Behaviour {
    /// How its values are written.
    #[must_use]
    pub fn repr(self) -> Repr {
        match self {
            AnalogTenths | Setpoint => Repr::Decimal { exponent: -1 },
            AnalogHundredths => Repr::Decimal { exponent: -2 },
            Status => Repr::Decimal { exponent: 0 },
            ShortFloat | FullFloat => Repr::F32,
            Counter => Repr::Unsigned,
            Flag => Repr::Bool,
        }
    }
}
