//! What a simulated device would measure: plausible, lively, and the same for the same seed, point and time. Serves nothing.

use pattoo_wire::{Decimal, Kind, Repr, Value};

use crate::mix::mix;
use crate::profile::{ByteOrder, Encoding, ModbusRead, Point, Read};

/// Counters of a simulated device start here, in the unit of the point: a device that has been in use for a while.
const COUNTER_START: f64 = 1000.0;

/// What a counter gains per second without a nominal power behind it.
const COUNTER_PER_SECOND: f64 = 0.5;

/// Power of ten of every scale register, for points share them.
const SCALE_FACTOR: i8 = -1;

/// Midnight, when the clock of every simulated device starts.
const DATE: &str = "2026-01-01T";

/// The value of a point `elapsed_ms` after the start of the device with this seed.
#[must_use]
pub fn value(seed: u64, point: &Point, elapsed_ms: u64) -> Value {
    let own = mix(seed ^ hash(&point.name));
    if let Read::Modbus(ModbusRead { encoding: Encoding::DateTime(_), .. }) = &point.read {
        return Value::Text(time_of_day(elapsed_ms / 1000));
    }
    let seconds = elapsed_ms as f64 / 1000.0;
    let number = match point.kind {
        Kind::Counter => counter(own, &point.unit, seconds),
        Kind::State => return state(own, point, elapsed_ms),
        Kind::Gauge | Kind::Text => gauge(own, &point.unit, seconds),
    };
    let number = point.range.map_or(number, |(low, high)| number.clamp(low, high));
    typed(number, point.repr)
}

/// The registers that a device would hold for this value, or for the nearest one that its registers can mean: a simulated device may
/// be modest, but not broken.
#[must_use]
pub fn words(read: &ModbusRead, value: &Value) -> Option<Vec<u16>> {
    read.nearest(value, SCALE_FACTOR)
}

/// What the scale register of a point holds.
pub(super) fn scale_register(read: &ModbusRead) -> u16 {
    let factor = i16::from(SCALE_FACTOR).cast_unsigned();
    if read.bytes == ByteOrder::LowFirst { factor.swap_bytes() } else { factor }
}

/// Around the nominal value of the unit: a slow wave, a faster one, and a little noise that changes each second.
fn gauge(own: u64, unit: &str, seconds: f64) -> f64 {
    let (nominal, swing) = nominal(unit);
    let part = |n: u64| unit_interval(mix(own ^ n));
    let slow = (seconds / (300.0 + 600.0 * part(1)) * std::f64::consts::TAU + part(2) * std::f64::consts::TAU).sin();
    let fast = (seconds / (60.0 + 120.0 * part(3)) * std::f64::consts::TAU + part(4) * std::f64::consts::TAU).sin();
    let noise = unit_interval(mix(own ^ (seconds as u64).wrapping_mul(31))) * 2.0 - 1.0;
    nominal + swing * (0.7 * slow + 0.22 * fast + 0.08 * noise)
}

/// Middle and swing of a quantity by its unit. Power fits voltage times current.
fn nominal(unit: &str) -> (f64, f64) {
    match unit {
        "V" => (230.0, 4.0),
        "A" => (10.0, 6.0),
        "W" | "VA" => (2300.0, 1400.0),
        "var" => (300.0, 500.0),
        "kW" | "kVA" => (6.9, 4.0),
        "Hz" => (50.0, 0.04),
        "1" => (0.95, 0.04),
        "%" => (3.0, 1.5),
        "°" | "deg" => (18.0, 6.0),
        "°C" => (35.0, 8.0),
        _ => (100.0, 10.0),
    }
}

/// Never falls: it gains its mean rate, sometimes faster, sometimes slower.
fn counter(own: u64, unit: &str, seconds: f64) -> f64 {
    let rate = match unit {
        "kWh" | "kvarh" | "kVAh" => 2.3 / 3600.0,
        "Wh" | "varh" | "VAh" => 2300.0 / 3600.0,
        _ => COUNTER_PER_SECOND,
    };
    let start = COUNTER_START * (1.0 + unit_interval(own));
    let period = 600.0 / std::f64::consts::TAU;
    // The wave's slope is at most half of the mean rate, so the sum rises always.
    start + rate * (seconds + 0.5 * period * (seconds / period).sin())
}

/// A day that begins again and again.
fn time_of_day(seconds: u64) -> String {
    format!("{DATE}{:02}:{:02}:{:02}", seconds / 3600 % 24, seconds / 60 % 60, seconds % 60)
}

/// Moves to another of its states every half minute or so.
fn state(own: u64, point: &Point, elapsed_ms: u64) -> Value {
    let turn = mix(own ^ (elapsed_ms / (20_000 + own % 20_000)));
    if point.repr == Repr::Bool {
        return Value::Bool(turn & 1 == 1);
    }
    let states: Vec<i64> = point.states.keys().copied().collect();
    let count = u64::try_from(states.len()).unwrap_or(1).max(1);
    let choice = usize::try_from(turn % count).unwrap_or(0);
    let number = states.get(choice).copied().unwrap_or(i64::from(turn & 1 == 1));
    typed(number as f64, point.repr)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` saturates, and simulated values are far from the ends")]
pub(super) fn typed(number: f64, repr: Repr) -> Value {
    match repr {
        Repr::Decimal { exponent } => {
            let mantissa = (number / 10f64.powi(i32::from(exponent))).round() as i64;
            Value::Decimal(Decimal { mantissa, exponent })
        }
        Repr::Unsigned => Value::Unsigned(number as u64),
        Repr::F32 => Value::F32(number as f32),
        Repr::F64 => Value::F64(number),
        Repr::Bool => Value::Bool(number >= 0.5),
        Repr::Text => Value::Text(number.to_string()),
    }
}

fn unit_interval(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

/// FNV-1a.
fn hash(text: &str) -> u64 {
    text.bytes().fold(0xCBF2_9CE4_8422_2325, |h, byte| (h ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::profile::Table;

    fn point(name: &str, unit: &str, kind: Kind, encoding: Encoding) -> Point {
        let read = ModbusRead::new(Table::Input, 0, encoding);
        let (repr, states) = (read.repr(), BTreeMap::from([(1, "one".to_owned()), (5, "five".to_owned())]));
        Point {
            name: name.into(),
            unit: unit.into(),
            kind,
            alarm: false,
            repr,
            every: None,
            states,
            range: None,
            read: Read::Modbus(read),
            writable: None,
        }
    }

    #[test]
    fn gauges_stay_near_what_their_unit_means_and_move() {
        for (unit, low, high) in [("V", 225.0, 235.0), ("A", 3.0, 17.0), ("W", 800.0, 3800.0), ("Hz", 49.9, 50.1), ("1", 0.9, 1.0)] {
            let point = point("x", unit, Kind::Gauge, Encoding::F32);
            let numbers: Vec<f64> = (0..3600).filter_map(|s| value(1, &point, s * 1000).to_f64()).collect();
            assert!(numbers.iter().all(|n| (low..=high).contains(n)), "{unit}");
            assert!(numbers.windows(2).filter(|w| w[0].to_bits() != w[1].to_bits()).count() > 3000, "{unit} is lively");
        }
    }

    #[test]
    fn counters_grow_and_never_fall() {
        let point = point("energy", "Wh", Kind::Counter, Encoding::U64);
        let numbers: Vec<f64> = (0..20_000).filter_map(|s| value(1, &point, s * 500).to_f64()).collect();
        assert!(numbers.windows(2).all(|w| w[0] <= w[1]));
        let gained = numbers[numbers.len() - 1] - numbers[0];
        assert!((6000.0..=6800.0).contains(&gained), "2.3 kW for 10 000 s, not {gained} Wh");
    }

    #[test]
    fn states_are_states_of_the_profile() {
        let point = point("mode", "", Kind::State, Encoding::U16);
        let mut seen: Vec<String> = (0..1000).map(|s| value(1, &point, s * 1000).to_string()).collect();
        seen.sort();
        seen.dedup();
        assert_eq!(seen, ["1", "5"]);
    }

    #[test]
    fn the_same_seed_point_and_time_give_the_same_value_and_others_another() {
        let (a, b) = (point("a", "V", Kind::Gauge, Encoding::F32), point("b", "V", Kind::Gauge, Encoding::F32));
        assert_eq!(value(1, &a, 5000), value(1, &a, 5000));
        assert_ne!(value(1, &a, 5000), value(2, &a, 5000));
        assert_ne!(value(1, &a, 5000), value(1, &b, 5000));
        let _ = (value(1, &a, u64::MAX), value(u64::MAX, &b, 0));
    }

    #[test]
    fn every_value_has_registers_even_where_they_are_narrow_or_coarse() {
        for encoding in [Encoding::U16, Encoding::I16, Encoding::U32, Encoding::I64, Encoding::U64] {
            for scale in [(1, 0), (1, -3), (10, -2), (7, 1), (-1, 0), (250, 0)] {
                let read = ModbusRead { scale, ..ModbusRead::new(Table::Input, 0, encoding) };
                let point = Point { repr: read.repr(), read: Read::Modbus(read.clone()), ..point("a", "W", Kind::Gauge, encoding) };
                let value = value(1, &point, 77_000);
                assert!(words(&read, &value).is_some(), "{encoding:?} {scale:?} {value}");
            }
        }
    }

    #[test]
    fn a_value_keeps_to_the_range_of_its_point() {
        let narrow = Point { range: Some((0.0, 229.0)), ..point("a", "V", Kind::Gauge, Encoding::F32) };
        assert!((0..1000).all(|s| value(1, &narrow, s * 1000).to_f64() <= Some(229.0)));
    }
}
