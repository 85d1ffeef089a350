//! Questions to VictoriaMetrics, and its answers as readings and buckets. Pure: bytes come and go elsewhere.
//!
//! Every aggregation is done there; of each plane come parts that can be joined ([`buckets`]), never only an average. Its windows hold their
//! end and not their start, ours the other way round: asked a millisecond earlier, they are the same.

use std::collections::BTreeMap;

use pattoo_wire::{Decimal, Sample};
use serde::Deserialize;
use thiserror::Error;

use super::plane::{self, NoPlane, Plane, Type};
use crate::store::{Bucket, Reading, SeriesId};

/// Name of all series.
pub const METRIC: &str = "pattoo_reading";
/// Label with the name of the store that it is of: several may share one VictoriaMetrics, and numbers are anew in a new data folder.
const STORE: &str = "store";
/// Label with our number of the series.
const SERIES: &str = "series";
/// Label with the plane.
const PLANE: &str = "as";
/// What is asked of a bucket, by the names that VictoriaMetrics has for it.
const PARTS: [&str; 8] = [
    "count_over_time",
    "sum_over_time",
    "min_over_time",
    "max_over_time",
    "first_over_time",
    "last_over_time",
    "tfirst_over_time",
    "tlast_over_time",
];
/// Most steps of one question: VictoriaMetrics refuses more than 30,000.
pub const MAX_STEPS: i64 = 10_000;

/// An answer that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AnswerError {
    /// Not what VictoriaMetrics writes.
    #[error("VictoriaMetrics answered what this program does not read: {0}; is it older than 1.79?")]
    Unreadable(String),
    /// Of some members of a cluster only.
    #[error("VictoriaMetrics answered in part: a member of its cluster is away")]
    Partial,
    /// A series that somebody else wrote, or a newer program.
    #[error("of series {series}: {what}")]
    Foreign {
        /// As the answer names it.
        series: String,
        /// What is wrong.
        what: String,
    },
}

impl AnswerError {
    fn foreign(series: SeriesId, what: impl Into<String>) -> Self {
        Self::Foreign { series: series.0.to_string(), what: what.into() }
    }
}

/// Whose series it is, for people who look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// Gateway.
    pub gateway: Box<str>,
    /// Device.
    pub device: Box<str>,
    /// Point.
    pub point: Box<str>,
}

/// A series as VictoriaMetrics knows it: of this store, with this number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Of<'a> {
    /// Name of the store.
    pub store: &'a str,
    /// Number of the series.
    pub series: SeriesId,
}

impl Of<'_> {
    /// Labels of a plane of it. The names are for people; store and number are what counts.
    #[must_use]
    pub fn labels(self, names: &Names, plane: Plane) -> [(&'static str, String); 7] {
        [
            ("__name__", METRIC.to_owned()),
            (STORE, self.store.to_owned()),
            (SERIES, self.series.0.to_string()),
            (PLANE, plane.to_string()),
            ("gateway", names.gateway.to_string()),
            ("device", names.device.to_string()),
            ("point", names.point.to_string()),
        ]
    }

    /// All planes of it.
    #[must_use]
    pub fn selector(self) -> String {
        format!("{METRIC}{{{STORE}=\"{}\",{SERIES}=\"{}\"}}", self.store, self.series.0)
    }
}

/// Parameters of `/api/v1/export` for readings with `from_ms <= at_ms < to_ms`.
#[must_use]
pub fn export(of: Of<'_>, from_ms: i64, to_ms: i64) -> [(&'static str, String); 3] {
    [("match[]", of.selector()), ("start", seconds(from_ms)), ("end", seconds(to_ms - 1))]
}

/// Whether an answer may leave out what a member of a cluster has that is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InPart {
    /// It may, and says so.
    Told,
    /// It is an error.
    Denied,
}

/// Parameters of `/api/v1/query_range` for so many buckets of `step_ms`, the first from `from_ms` on, which need not be a multiple of it.
#[must_use]
pub fn aggregate(of: Of<'_>, from_ms: i64, step_ms: i64, steps: i64, in_part: InPart) -> [(&'static str, String); 6] {
    let parts: Vec<_> = PARTS.iter().map(|part| format!("{part:?}")).collect();
    [
        ("query", format!("aggr_over_time(({}), {}[{step_ms}ms])", parts.join(","), of.selector())),
        ("start", seconds(from_ms + step_ms - 1)),
        ("end", seconds(from_ms + steps * step_ms - 1)),
        ("step", format!("{step_ms}ms")),
        // Its cache shifts the start, and may know late readings not yet.
        ("nocache", "1".to_owned()),
        ("deny_partial_response", if in_part == InPart::Denied { "1" } else { "0" }.to_owned()),
    ]
}

/// Parameters of `/api/v1/query` for the times of the first and the last reading with `from_ms <= at_ms < to_ms`.
#[must_use]
pub fn span(of: Of<'_>, from_ms: i64, to_ms: i64) -> [(&'static str, String); 4] {
    let range = format!("{}[{}ms]", of.selector(), to_ms - from_ms);
    [
        ("query", format!("aggr_over_time((\"tfirst_over_time\",\"tlast_over_time\"), {range})")),
        ("time", seconds(to_ms - 1)),
        ("nocache", "1".to_owned()),
        ("deny_partial_response", "1".to_owned()),
    ]
}

#[derive(Deserialize)]
struct Instants {
    data: InstantData,
}

#[derive(Deserialize)]
struct InstantData {
    result: Vec<Instant>,
}

#[derive(Deserialize)]
struct Instant {
    value: (f64, String),
}

/// The answer to [`span`], rounded outwards to seconds; none where there are no readings.
///
/// # Errors
/// It is no such answer.
pub fn read_span(body: &str) -> Result<Option<(i64, i64)>, AnswerError> {
    let answer: Instants = serde_json::from_str(body).map_err(unreadable)?;
    let times_s: Vec<f64> = answer.data.result.iter().map(|row| row.value.1.parse().map_err(unreadable)).collect::<Result<_, _>>()?;
    let first = times_s.iter().copied().reduce(f64::min);
    let last = times_s.iter().copied().reduce(f64::max);
    Ok(first.zip(last).map(|(first, last)| (first.floor() as i64 * 1000, last.ceil() as i64 * 1000)))
}

fn seconds(ms: i64) -> String {
    format!("{}{}.{:03}", if ms < 0 { "-" } else { "" }, ms.unsigned_abs() / 1000, ms.unsigned_abs() % 1000)
}

/// Labels that are looked at.
#[derive(Deserialize)]
struct Metric {
    series: Option<String>,
    #[serde(rename = "as")]
    plane: Option<String>,
    rollup: Option<String>,
}

impl Metric {
    fn plane(&self, asked: SeriesId) -> Result<Plane, AnswerError> {
        if self.series.as_deref() != Some(asked.0.to_string().as_str()) {
            return Err(AnswerError::foreign(asked, format!("the answer is of series {:?}", self.series)));
        }
        let plane = self.plane.as_deref().unwrap_or_default();
        plane.parse().map_err(|e: NoPlane| AnswerError::foreign(asked, e.to_string()))
    }
}

fn unreadable(e: impl std::fmt::Display) -> AnswerError {
    AnswerError::Unreadable(e.to_string())
}

fn whole(series: SeriesId, number: f64) -> Result<i64, AnswerError> {
    let fits = number.fract() == 0.0 && number.abs() <= plane::MAX_INTEGER as f64;
    if fits { Ok(number as i64) } else { Err(AnswerError::foreign(series, format!("{number} is no integer that this program wrote"))) }
}

#[derive(Deserialize)]
struct Exported {
    metric: Metric,
    values: Vec<f64>,
    timestamps: Vec<i64>,
}

/// Readings of an export, ascending. Where planes have one at the same time it is given of each: which one came later is not known there.
///
/// # Errors
/// It is no export of this series.
pub fn readings(series: SeriesId, body: &str) -> Result<Vec<Reading>, AnswerError> {
    let mut readings = Vec::new();
    for line in body.lines().filter(|line| !line.is_empty()) {
        let exported: Exported = serde_json::from_str(line).map_err(unreadable)?;
        let plane = exported.metric.plane(series)?;
        if exported.values.len() != exported.timestamps.len() {
            return Err(unreadable("columns of different length"));
        }
        for (number, at_ms) in exported.values.into_iter().zip(exported.timestamps) {
            let sample = plane::read(plane, whole(series, number)?);
            let sample = sample.ok_or_else(|| AnswerError::foreign(series, format!("{number} is no value of plane {plane}")))?;
            readings.push(Reading { at_ms, sample });
        }
    }
    readings.sort_by_key(|reading| reading.at_ms);
    Ok(readings)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    #[serde(default)]
    is_partial: bool,
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    result: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    metric: Metric,
    values: Vec<(f64, String)>,
}

/// Parts of one plane in one bucket, as the answer has them.
type Parts = [f64; PARTS.len()];

/// Buckets, and whether they are of a part of a cluster only.
pub type Found = (Vec<Bucket>, bool);

/// Buckets of an answer to [`aggregate`], ascending; those without a reading are left out.
///
/// # Errors
/// It is no such answer, or of a part of a cluster only where that is denied.
pub fn buckets(series: SeriesId, step_ms: i64, in_part: InPart, body: &str) -> Result<Found, AnswerError> {
    let answer: Answer = serde_json::from_str(body).map_err(unreadable)?;
    if answer.is_partial && in_part == InPart::Denied {
        return Err(AnswerError::Partial);
    }
    let mut parts: BTreeMap<(i64, Plane), Parts> = BTreeMap::new();
    for row in answer.data.result {
        let plane = row.metric.plane(series)?;
        let rollup = row.metric.rollup.as_deref().unwrap_or_default();
        let place = PARTS.iter().position(|part| *part == rollup).ok_or_else(|| unreadable(format!("an aggregate {rollup:?}")))?;
        for (at_s, number) in row.values {
            let start_ms = (at_s * 1000.0).round() as i64 + 1 - step_ms;
            let of = parts.entry((start_ms, plane)).or_insert([f64::NAN; PARTS.len()]);
            if let Some(part) = of.get_mut(place) {
                *part = number.parse().map_err(unreadable)?;
            }
        }
    }
    let mut buckets: Vec<Joined> = Vec::new();
    for ((start_ms, plane), parts) in parts {
        if buckets.last().is_none_or(|last| last.bucket.start_ms != start_ms) {
            buckets.push(Joined::new(start_ms));
        }
        if let Some(joined) = buckets.last_mut() {
            joined.add(series, plane, parts)?;
        }
    }
    Ok((buckets.into_iter().map(|joined| joined.bucket).collect(), answer.is_partial))
}

/// A bucket whose planes are joined one by one.
struct Joined {
    bucket: Bucket,
    /// Seconds of the first and the last number.
    times_s: (f64, f64),
}

impl Joined {
    fn new(start_ms: i64) -> Self {
        let none = f64::NAN;
        let bucket = Bucket { start_ms, count: 0, sum: 0.0, min: none, max: none, first: none, last: none, uncertain: 0, bad: 0 };
        Self { bucket, times_s: (f64::INFINITY, f64::NEG_INFINITY) }
    }

    fn add(
        &mut self,
        series: SeriesId,
        plane: Plane,
        [count, sum, min, max, first, last, first_s, last_s]: Parts,
    ) -> Result<(), AnswerError> {
        let readings = u64::try_from(whole(series, count)?).map_err(unreadable)?;
        let bucket = &mut self.bucket;
        if plane.of == Type::Bad {
            bucket.bad += readings;
            return Ok(());
        }
        let number = |integer: f64| {
            let sample = plane::read(plane, whole(series, integer)?);
            let number = sample.as_ref().and_then(Sample::value).and_then(pattoo_wire::Value::to_f64);
            number.ok_or_else(|| AnswerError::foreign(series, format!("{integer} is no value of plane {plane}")))
        };
        let (min, max) = (number(min)?, number(max)?);
        bucket.count += readings;
        bucket.uncertain += if plane.uncertain.is_some() { readings } else { 0 };
        bucket.sum += scaled(plane, sum);
        bucket.min = bucket.min.min(min);
        bucket.max = bucket.max.max(max);
        if first_s < self.times_s.0 {
            (bucket.first, self.times_s.0) = (number(first)?, first_s);
        }
        if last_s > self.times_s.1 {
            (bucket.last, self.times_s.1) = (number(last)?, last_s);
        }
        Ok(())
    }
}

/// A sum of integers of the plane, in its unit.
fn scaled(plane: Plane, sum: f64) -> f64 {
    let exponent = match plane.of {
        Type::Decimal(exponent) => i16::from(exponent),
        Type::F32(exponent) | Type::F64(exponent) => exponent,
        Type::Unsigned | Type::Bool | Type::Bad => 0,
    };
    match i8::try_from(exponent) {
        // Rounded once.
        Ok(exponent) if sum.abs() <= plane::MAX_INTEGER as f64 => Decimal { mantissa: sum as i64, exponent }.to_f64(),
        _ => sum * 10f64.powi(i32::from(exponent)),
    }
}

#[cfg(test)]
mod tests {
    use pattoo_wire::{Reason, Value};

    use super::*;

    const S7: SeriesId = SeriesId(7);

    fn row(plane: &str, rollup: &str, at: f64, number: &str) -> String {
        format!(r#"{{"metric":{{"series":"7","as":"{plane}","rollup":"{rollup}"}},"values":[[{at},"{number}"]]}}"#)
    }

    fn rows(plane: &str, at: f64, numbers: [&str; 8]) -> Vec<String> {
        PARTS.iter().zip(numbers).map(|(part, number)| row(plane, part, at, number)).collect()
    }

    fn answer(rows: &[String], more: &str) -> String {
        format!(r#"{{"status":"success"{more},"data":{{"resultType":"matrix","result":[{}]}}}}"#, rows.join(","))
    }

    #[test]
    fn planes_of_a_bucket_are_joined() {
        let all = [
            rows("d-1", 1.999, ["2", "25", "-5", "30", "30", "-5", "1.1", "1.9"]),
            rows("d0?5", 1.999, ["1", "4", "4", "4", "4", "4", "1.05", "1.05"]),
            rows("bad", 1.999, ["3", "9", "3", "3", "3", "3", "1", "1.999"]),
            rows("bad", 2.999, ["1", "3", "3", "3", "3", "3", "2", "2"]),
        ];
        let (found, in_part) = buckets(S7, 1000, InPart::Told, &answer(&all.concat(), "")).unwrap();
        assert!(!in_part);
        let first = Bucket { start_ms: 1000, count: 3, sum: 6.5, min: -0.5, max: 4.0, first: 4.0, last: -0.5, uncertain: 1, bad: 3 };
        assert_eq!((found.len(), found[0]), (2, first));
        assert_eq!((found[1].start_ms, found[1].count, found[1].bad), (2000, 0, 1));
        assert!(found[1].first.is_nan() && found[1].max.is_nan());
    }

    #[test]
    fn what_is_partial_or_of_others_is_refused() {
        let told = |partial: bool, in_part| buckets(S7, 1000, in_part, &answer(&[], &format!(r#","isPartial":{partial}"#)));
        assert_eq!(told(true, InPart::Denied), Err(AnswerError::Partial));
        assert_eq!(told(true, InPart::Told), Ok((vec![], true)));
        assert_eq!(told(false, InPart::Denied), Ok((vec![], false)));
        let good = rows("d0", 1.999, ["1", "4", "4", "4", "4", "4", "1", "1"]);
        for (from, to) in [("\"7\"", "\"8\""), ("d0", "x"), ("\"4\"", "\"4.5\""), ("min_over", "most_over"), ("\"4\"", "\"many\"")] {
            let wrong = answer(&good, "").replace(from, to);
            assert!(buckets(S7, 1000, InPart::Told, &wrong).is_err(), "{wrong}");
        }
        for body in ["", "{}", "null", "[1]"] {
            assert!(buckets(S7, 1000, InPart::Told, body).is_err(), "{body:?}");
        }
    }

    #[test]
    fn an_export_becomes_readings() {
        let body = r#"{"metric":{"__name__":"pattoo_reading","series":"7","as":"d-1"},"values":[2301,5],"timestamps":[10,30]}

{"metric":{"series":"7","as":"bad"},"values":[1],"timestamps":[20]}
"#;
        let decimal = |mantissa| Sample::Good(Value::Decimal(Decimal { mantissa, exponent: -1 }));
        let expected = [(10, decimal(2301)), (20, Sample::Bad(Reason::from_code(1))), (30, decimal(5))];
        assert_eq!(readings(S7, body).unwrap(), expected.map(|(at_ms, sample)| Reading { at_ms, sample }));
        for (from, to) in [("2301", "0.5"), ("2301", "null"), ("2301,", ""), ("[1]", "[-1]"), ("\"7\"", "\"70\"")] {
            assert!(readings(S7, &body.replace(from, to)).is_err(), "{to}");
        }
    }

    #[test]
    fn a_question_ends_before_the_end() {
        let of = Of { store: "s", series: S7 };
        let text =
            |parameters: &[(&str, String)]| parameters.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" ");
        assert_eq!(text(&export(of, -1, 2000)), "match[]=pattoo_reading{store=\"s\",series=\"7\"} start=-0.001 end=1.999");
        let asked = text(&aggregate(of, 60_000, 1000, 3, InPart::Denied));
        assert!(asked.contains(" start=60.999 end=62.999 step=1000ms nocache=1 "), "{asked}");
    }
}
