//! The same readings in JSON and in Sparkplug B, as their own documents want them. No MQTT framing in here.

use pattoo_wire::{Repr, Value};
use serde_json::{Map, Value as Json, json};

use crate::plant::{POINTS, Plant, Point, Poll};

/// One object per reading, all names in full, as one array.
pub(crate) fn json_objects(points: &[Point], polls: &[Poll]) -> Vec<u8> {
    let rows = readings(points, polls).map(|reading| {
        json!({
            "device": Plant::device_name(reading.poll.device),
            "point": reading.point.name,
            "time": reading.poll.at_ms,
            "value": plain(reading.value),
            "quality": "good",
        })
    });
    Json::Array(rows.collect()).to_string().into_bytes()
}

/// One object per device and poll; names of points as keys, no quality: about the least that is still plain JSON.
pub(crate) fn json_compact(points: &[Point], polls: &[Poll]) -> Vec<u8> {
    let rows = polls.iter().map(|poll| {
        let values: Map<_, _> =
            device_points(points, poll).iter().zip(&poll.values).map(|(p, value)| (p.name.to_owned(), plain(value))).collect();
        json!({ "d": Plant::device_name(poll.device), "t": poll.at_ms, "v": values })
    });
    Json::Array(rows.collect()).to_string().into_bytes()
}

fn plain(value: &Value) -> Json {
    serde_json::from_str(&value.to_string()).unwrap_or_else(|e| panic!("BUG: {value} is not JSON: {e}"))
}

/// How much each metric of a Sparkplug payload says.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Metrics {
    /// Alias and no data type: the least that the specification allows.
    Alias,
    /// Alias and data type, as most implementations send it.
    AliasAndType,
    /// Name and data type.
    NameAndType,
}

/// A Sparkplug B 3.0 NDATA payload: protobuf, written by hand.
///
/// `Payload { 1: timestamp, 2: repeated Metric, 3: seq }`,
/// `Metric { 1: name, 2: alias, 3: timestamp, 4: datatype, 10: int_value, 11: long_value, 12: float_value, 13: double_value,
/// 14: boolean_value }`.
pub(crate) fn sparkplug(points: &[Point], polls: &[Poll], metrics: Metrics, seq: u8) -> Vec<u8> {
    let mut payload = Vec::new();
    let sent_ms = polls.last().map_or(0, |poll| poll.at_ms);
    varint_field(&mut payload, 1, sent_ms as u64);
    for (alias, reading) in readings(points, polls).map(|r| (r.poll.device * POINTS + r.index, r)) {
        let mut metric = Vec::new();
        match metrics {
            Metrics::NameAndType => {
                bytes_field(&mut metric, 1, format!("{}/{}", Plant::device_name(reading.poll.device), reading.point.name).as_bytes());
            }
            Metrics::Alias | Metrics::AliasAndType => varint_field(&mut metric, 2, alias as u64),
        }
        varint_field(&mut metric, 3, reading.poll.at_ms as u64);
        if metrics != Metrics::Alias {
            varint_field(&mut metric, 4, data_type(reading.point));
        }
        match reading.value {
            // A float holds the 16-bit registers that the decimals came from; 0.1 does not survive as 0.1, though.
            Value::Decimal(d) if d.exponent != 0 => fixed32_field(&mut metric, 12, d.to_f64() as f32),
            Value::Decimal(d) => varint_field(&mut metric, 10, d.mantissa as u64),
            Value::Unsigned(n) => varint_field(&mut metric, 11, *n),
            Value::F32(x) => fixed32_field(&mut metric, 12, *x),
            Value::Bool(b) => varint_field(&mut metric, 14, u64::from(*b)),
            Value::F64(_) | Value::Text(_) => unreachable!("the plant has none"),
        }
        bytes_field(&mut payload, 2, &metric);
    }
    varint_field(&mut payload, 3, u64::from(seq));
    payload
}

/// Numbers of the specification: 3 Int32, 8 UInt64, 9 Float, 11 Boolean.
fn data_type(point: &Point) -> u64 {
    match point.repr {
        Repr::Decimal { exponent: 0 } => 3,
        Repr::Unsigned => 8,
        Repr::Bool => 11,
        _ => 9,
    }
}

struct Reading<'a> {
    poll: &'a Poll,
    point: &'a Point,
    value: &'a Value,
    index: usize,
}

fn readings<'a>(points: &'a [Point], polls: &'a [Poll]) -> impl Iterator<Item = Reading<'a>> {
    polls.iter().flat_map(move |poll| {
        let rows = device_points(points, poll).iter().zip(&poll.values).enumerate();
        rows.map(move |(index, (point, value))| Reading { poll, point, value, index })
    })
}

fn device_points<'a>(points: &'a [Point], poll: &Poll) -> &'a [Point] {
    points.chunks(POINTS).nth(poll.device).unwrap_or_default()
}

fn varint(out: &mut Vec<u8>, mut n: u64) {
    while n > 127 {
        out.push(n as u8 | 128);
        n >>= 7;
    }
    out.push(n as u8);
}

fn varint_field(out: &mut Vec<u8>, field: u64, n: u64) {
    varint(out, field << 3);
    varint(out, n);
}

fn fixed32_field(out: &mut Vec<u8>, field: u64, x: f32) {
    varint(out, field << 3 | 5);
    out.extend_from_slice(&x.to_le_bytes());
}

fn bytes_field(out: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    varint(out, field << 3 | 2);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}
