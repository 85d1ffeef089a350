//! Latest values, and how one reading is written: a number keeps every digit it has.

use std::fmt::Write;

use axum::Json;
use axum::extract::State;
use pattoo_wire::{Quality, Sample, Value};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

use super::error::ErrorBody;
use super::params::{Strict, ids};
use super::{ApiError, ApiState, lists};
use crate::store::{Reading, SeriesId};

/// Most series in one answer.
const MAX_LATEST: usize = 1000;

/// Of which series: a list of ids, or all of a gateway or device.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct LatestQuery {
    /// Ids, as in `1,2,3`; at most 1000.
    #[param(example = "1")]
    series: Option<String>,
    /// All of this gateway.
    gateway: Option<String>,
    /// All of the devices of this name.
    device: Option<String>,
}

/// Latest readings.
#[derive(Serialize, ToSchema)]
pub(super) struct Latest {
    /// The server's time, ms since 1970.
    now: i64,
    /// One for each series, in the order asked for.
    latest: Vec<LatestReading>,
}

/// The newest reading of a series; all null before the first.
#[derive(Serialize, ToSchema)]
pub(super) struct LatestReading {
    /// Series.
    id: u32,
    /// When, ms since 1970.
    t: Option<i64>,
    /// Number, boolean or text; null if bad, or a float that is no number.
    #[schema(value_type = Option<Scalar>)]
    v: Option<Box<RawValue>>,
    /// The same as text, for readers whose numbers are doubles: a 64-bit counter keeps its digits.
    text: Option<String>,
    /// `good`, `uncertain` or `bad`.
    #[schema(value_type = Option<String>)]
    quality: Option<Quality>,
    /// Why it is not good.
    reason: Option<String>,
}

/// What a reading may hold.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only describes values in the OpenAPI document")]
pub(super) enum Scalar {
    /// A number with all its digits.
    Number(f64),
    /// A coil, an input, a flag.
    Bool(bool),
    /// A text.
    Text(String),
}

/// The newest reading of each series.
#[utoipa::path(get, path = "/api/v1/latest", params(LatestQuery), responses(
    (status = 200, body = Latest), (status = 400, body = ErrorBody, description = "a parameter is not known, or too many series"),
    (status = 404, body = ErrorBody, description = "there is no such series, gateway or device")))]
pub(super) async fn latest(State(state): State<ApiState>, Strict(query): Strict<LatestQuery>) -> Result<Json<Latest>, ApiError> {
    let ids = chosen(&state, query.series.as_deref(), query.gateway.as_deref(), query.device.as_deref())?;
    let asked = ids.clone();
    let readings = state.ask(move |store| store.latest(&asked)).await?;
    let latest = ids.iter().zip(readings).map(|(id, reading)| LatestReading::of(*id, reading.as_ref())).collect();
    Ok(Json(Latest { now: crate::clock::now_ms(), latest }))
}

/// A list of ids, or all series of a gateway or device.
pub(super) fn chosen(state: &ApiState, list: Option<&str>, gateway: Option<&str>, device: Option<&str>) -> Result<Vec<SeriesId>, ApiError> {
    match (list, gateway, device) {
        (Some(list), None, None) => known(state, ids(list, MAX_LATEST)?),
        (Some(_), ..) => Err(ApiError::bad("series cannot be combined with gateway or device")),
        (None, None, None) => Err(ApiError::bad("say which: series=1,2, or gateway= and device=")),
        (None, gateway, device) => {
            let found = lists::matching(state, gateway, device)?;
            if found.len() > MAX_LATEST {
                let message = format!("{} series match, at most {MAX_LATEST} are answered; name a device or ids", found.len());
                return Err(ApiError::too_much(message));
            }
            Ok(found.iter().map(|s| s.id).collect())
        }
    }
}

/// The same ids, if all of them exist.
pub(super) fn known(state: &ApiState, ids: Vec<SeriesId>) -> Result<Vec<SeriesId>, ApiError> {
    match ids.iter().find(|id| state.live.series_by_id(**id).is_none()) {
        Some(id) => Err(ApiError::unknown(format!("there is no series {}", id.0))),
        None => Ok(ids),
    }
}

impl LatestReading {
    fn of(id: SeriesId, reading: Option<&Reading>) -> Self {
        let sample = reading.map(|r| &r.sample);
        Self {
            id: id.0,
            t: reading.map(|r| r.at_ms),
            v: sample.and_then(number),
            text: sample.and_then(Sample::value).map(Value::to_string),
            quality: sample.map(Sample::quality),
            reason: sample.and_then(Sample::reason).map(|r| r.to_string()),
        }
    }
}

/// The value as JSON, digit by digit as it prints; none for a bad reading and for floats that JSON cannot say.
pub(super) fn number(sample: &Sample) -> Option<Box<RawValue>> {
    let mut json = String::new();
    put_number(&mut json, sample)?;
    RawValue::from_string(json).ok()
}

/// The values as a list in JSON, each as [`number`] gives it, else null. All in one piece: there may be a hundred thousand.
pub(super) fn numbers<'a>(samples: impl ExactSizeIterator<Item = &'a Sample>) -> Box<RawValue> {
    let mut json = String::with_capacity(2 + samples.len() * 8);
    json.push('[');
    for sample in samples {
        if json.len() > 1 {
            json.push(',');
        }
        if put_number(&mut json, sample).is_none() {
            json.push_str("null");
        }
    }
    json.push(']');
    RawValue::from_string(json).expect("BUG: a list of numbers that is no JSON")
}

/// Appends the value, or nothing.
fn put_number(json: &mut String, sample: &Sample) -> Option<()> {
    match sample.value()? {
        Value::F32(x) if !x.is_finite() => return None,
        Value::F64(x) if !x.is_finite() => return None,
        Value::Text(text) => json.push_str(&serde_json::to_string(text).ok()?),
        value => write!(json, "{value}").ok()?,
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use pattoo_wire::{Decimal, Reason};

    use super::*;

    #[test]
    fn a_number_is_written_with_the_digits_it_has() {
        let decimal = |mantissa, exponent| Value::Decimal(Decimal { mantissa, exponent });
        for (value, expected) in [
            (decimal(2301, -1), Some("230.1")),
            (decimal(-5, -2), Some("-0.05")),
            (Value::Unsigned(u64::MAX), Some("18446744073709551615")),
            (Value::F32(230.1), Some("230.1")),
            (Value::F64(1e300), Some(&*format!("1{}", "0".repeat(300)))),
            (Value::F64(-0.0), Some("-0")),
            (Value::F64(f64::NAN), None),
            (Value::F32(f32::NEG_INFINITY), None),
            (Value::Bool(true), Some("true")),
            (Value::Text("a \"b\"\n</script>".into()), Some(r#""a \"b\"\n</script>""#)),
        ] {
            assert_eq!(number(&Sample::Good(value.clone())).map(|v| v.get().to_owned()).as_deref(), expected, "{value:?}");
        }
        let bad = Sample::Bad(Reason::Timeout);
        assert!(number(&bad).is_none());
        let good = |value| Sample::Good(value);
        let list = [good(decimal(-5, -2)), bad, good(Value::F32(f32::NAN)), good(Value::Text("a]".into())), good(Value::Unsigned(7))];
        assert_eq!(numbers(list.iter()).get(), r#"[-0.05,null,null,"a]",7]"#);
        assert_eq!(numbers([].iter()).get(), "[]");
    }
}
