//! A reading as a row of texts, and back: what is the same in every format of files. Pure.
//!
//! `value` is exact: a decimal with all its digits, a counter with all its own, a float in the shortest form that gives it again (of a NaN
//! only that it is one). `type` says how the store holds it, so that an export that is imported again is the same reading.

use jiff::Timestamp;
use pattoo_wire::{Decimal, Kind, MAX_TEXT_BYTES, Reason, Repr, Sample, Series, Value, check_name};

use crate::store::{Reading, SeriesEntry, SeriesId};

/// The columns, in their order.
pub(super) const COLUMNS: [&str; 12] =
    ["time", "gateway", "device", "point", "profile", "unit", "kind", "type", "value", "quality", "reason", "reason_code"];
/// Columns that a file to import must have; `gateway` as well, unless one is given for all.
pub(super) const NEEDED: [&str; 4] = ["time", "device", "point", "value"];
/// Longest name or unit, in bytes.
const MAX_NAME_BYTES: usize = 255;
/// Exponents of a decimal.
const MAX_EXPONENT: i8 = 18;

/// A text for each column; an empty one is absent.
pub(super) type Texts = [String; COLUMNS.len()];

/// A row as texts.
pub(super) fn write(series: &SeriesEntry, reading: &Reading) -> Texts {
    let Series { point, unit, kind, repr, .. } = &series.entry;
    let sample = &reading.sample;
    let reason = sample.reason();
    [
        time_text(reading.at_ms),
        series.gateway.clone(),
        series.device.clone(),
        point.clone(),
        series.profile.clone(),
        unit.clone(),
        kind_text(*kind).to_owned(),
        type_text(sample.value().map_or(*repr, Value::repr)),
        sample.value().map(Value::to_string).unwrap_or_default(),
        sample.quality().to_string(),
        reason.map(|reason| reason.to_string()).unwrap_or_default(),
        reason.map(|reason| reason.code().to_string()).unwrap_or_default(),
    ]
}

/// The series, without an id, and the reading of a row.
///
/// # Errors
/// The column, what was found in it and what was expected.
pub(super) fn read(texts: &Texts) -> Result<(SeriesEntry, Reading), String> {
    let [time, gateway, device, point, profile, unit, kind, type_, value, quality, reason, code] = texts.each_ref().map(String::as_str);
    check_name(gateway).map_err(|e| format!("gateway {gateway:?}: {e}"))?;
    check_name(device).map_err(|e| format!("device {device:?}: {e}"))?;
    for (column, text) in [("point", point), ("profile", profile), ("unit", unit)] {
        if text.len() > MAX_NAME_BYTES || (text.is_empty() && column == "point") {
            return Err(format!("{column}: found {} bytes, expected 1 to {MAX_NAME_BYTES}", text.len()));
        }
    }
    let at_ms = time_ms(time)?;
    let repr = if type_.is_empty() { None } else { Some(type_of(type_)?) };
    let value = match (value, repr) {
        ("", Some(Repr::Text)) if quality != "bad" => Some(Value::Text(String::new())),
        ("", _) => None,
        (text, repr) => Some(value_of(text, repr)?),
    };
    let sample = match (quality, value) {
        ("" | "good", Some(value)) => Sample::Good(value),
        ("uncertain", Some(value)) => Sample::Uncertain(value, reason_of(reason, code)?),
        ("bad", None) => Sample::Bad(reason_of(reason, code)?),
        ("bad", Some(value)) => return Err(format!("value: found {:?}, but a bad reading has none", value.to_string())),
        ("" | "good" | "uncertain", None) => return Err("value: found nothing; a reading without one is `bad` in column `quality`".into()),
        (other, _) => return Err(format!("quality: found {other:?}, expected good, uncertain or bad")),
    };
    let repr = sample.value().map(Value::repr).or(repr).unwrap_or(Repr::F64);
    let kind = if kind.is_empty() { usual_kind(repr) } else { kind_of(kind)? };
    let entry = Series {
        device: 0,
        point: point.to_owned(),
        unit: unit.to_owned(),
        kind,
        repr,
        labels: Default::default(),
        states: Default::default(),
    };
    let series = SeriesEntry {
        id: SeriesId(0),
        gateway: gateway.to_owned(),
        device: device.to_owned(),
        profile: profile.to_owned(),
        device_labels: Default::default(),
        entry,
    };
    Ok((series, Reading { at_ms, sample }))
}

/// RFC 3339 in UTC with milliseconds; outside of the years that it can write, milliseconds since 1970.
fn time_text(at_ms: i64) -> String {
    let time = Timestamp::from_millisecond(at_ms).ok().filter(|time| (0..253_402_300_800_000).contains(&time.as_millisecond()));
    time.map_or_else(|| at_ms.to_string(), |time| format!("{time:.3}"))
}

/// Milliseconds since 1970, of such a number or of RFC 3339 with any offset.
pub(super) fn time_ms(text: &str) -> Result<i64, String> {
    let wrong = || format!("time: found {text:?}, expected one like 2026-11-30T08:15:00.000Z, or milliseconds since 1970");
    match text.parse() {
        Ok(ms) => Ok(ms),
        Err(_) => text.parse::<Timestamp>().map(Timestamp::as_millisecond).map_err(|_| wrong()),
    }
}

fn kind_text(kind: Kind) -> &'static str {
    match kind {
        Kind::Gauge => "gauge",
        Kind::Counter => "counter",
        Kind::State => "state",
        Kind::Text => "text",
    }
}

fn kind_of(text: &str) -> Result<Kind, String> {
    let known = [Kind::Gauge, Kind::Counter, Kind::State, Kind::Text].into_iter().find(|kind| kind_text(*kind) == text);
    known.ok_or_else(|| format!("kind: found {text:?}, expected gauge, counter, state or text"))
}

fn usual_kind(repr: Repr) -> Kind {
    match repr {
        Repr::Bool => Kind::State,
        Repr::Text => Kind::Text,
        Repr::Decimal { .. } | Repr::Unsigned | Repr::F32 | Repr::F64 => Kind::Gauge,
    }
}

fn type_text(repr: Repr) -> String {
    match repr {
        Repr::Decimal { exponent } => format!("decimal({exponent})"),
        Repr::Unsigned => "unsigned".into(),
        Repr::F32 => "float32".into(),
        Repr::F64 => "float64".into(),
        Repr::Bool => "bool".into(),
        Repr::Text => "text".into(),
    }
}

fn type_of(text: &str) -> Result<Repr, String> {
    Ok(match text {
        "unsigned" => Repr::Unsigned,
        "float32" => Repr::F32,
        "float64" => Repr::F64,
        "bool" => Repr::Bool,
        "text" => Repr::Text,
        _ => {
            let exponent = text.strip_prefix("decimal(").and_then(|rest| rest.strip_suffix(')')).and_then(|digits| digits.parse().ok());
            let exponent = exponent.filter(|exponent| (-MAX_EXPONENT..=MAX_EXPONENT).contains(exponent));
            let expected = "decimal(EXPONENT) with -18 to 18, unsigned, float32, float64, bool or text";
            Repr::Decimal { exponent: exponent.ok_or_else(|| format!("type: found {text:?}, expected {expected}"))? }
        }
    })
}

fn value_of(text: &str, repr: Option<Repr>) -> Result<Value, String> {
    let wrong = |expected: &str| format!("value: found {:?}, expected {expected}", text.chars().take(80).collect::<String>());
    match repr {
        None => match text {
            "true" | "false" => Ok(Value::Bool(text == "true")),
            _ => digits(text)
                .and_then(|number| decimal(number, -number.1))
                .map(Value::Decimal)
                .or_else(|| text.parse().ok().map(Value::F64))
                .ok_or_else(|| wrong("a number, true or false; texts need `text` in column `type`")),
        },
        Some(Repr::Decimal { exponent }) => {
            let exact = digits(text).and_then(|number| decimal(number, exponent));
            exact.map(Value::Decimal).ok_or_else(|| wrong(&format!("a whole multiple of 1e{exponent} within 64 bits")))
        }
        Some(Repr::Unsigned) => text.parse().map(Value::Unsigned).map_err(|_| wrong("a whole number within 64 bits")),
        Some(Repr::F32) => text.parse().map(Value::F32).map_err(|_| wrong("a number")),
        Some(Repr::F64) => text.parse().map(Value::F64).map_err(|_| wrong("a number")),
        Some(Repr::Bool) => text.parse().map(Value::Bool).map_err(|_| wrong("true or false")),
        Some(Repr::Text) if text.len() > MAX_TEXT_BYTES => Err(wrong(&format!("at most {MAX_TEXT_BYTES} bytes"))),
        Some(Repr::Text) => Ok(Value::Text(text.to_owned())),
    }
}

/// Plain decimal notation as it stands: its digits, and how many of them are decimals; none where it is something else.
fn digits(text: &str) -> Option<(i128, i8)> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let unsigned = whole.strip_prefix('-').unwrap_or(whole);
    let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if unsigned.is_empty() || !all_digits(unsigned) || !all_digits(fraction) || (text.contains('.') && fraction.is_empty()) {
        return None;
    }
    let decimals = i8::try_from(fraction.len()).ok().filter(|decimals| *decimals <= MAX_EXPONENT)?;
    let number: i128 = format!("{whole}{fraction}").parse().ok()?;
    // A negative zero is a float's.
    (number != 0 || !text.starts_with('-')).then_some((number, decimals))
}

/// The same number with this exponent; none where it would not be the same, or does not fit.
fn decimal((number, decimals): (i128, i8), exponent: i8) -> Option<Decimal> {
    let shift = i32::from(decimals) + i32::from(exponent);
    let factor = 10i128.checked_pow(shift.unsigned_abs())?;
    let mantissa = match shift > 0 {
        false => number.checked_mul(factor)?,
        true if number % factor == 0 => number / factor,
        true => return None,
    };
    Some(Decimal { mantissa: i64::try_from(mantissa).ok()?, exponent })
}

fn reason_of(text: &str, code: &str) -> Result<Reason, String> {
    if !code.is_empty() {
        return code.parse().map(Reason::from_code).map_err(|_| format!("reason_code: found {code:?}, expected 0 to 65535"));
    }
    let known = (0..=u16::MAX).map(Reason::from_code).find(|reason| reason.to_string() == text);
    known.ok_or_else(|| format!("reason: found {text:?}, expected one like `timeout` or `out of range`"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn texts(columns: &[(&str, &str)]) -> Texts {
        let given = |name: &&str| columns.iter().find(|(column, _)| column == name).map(|(_, text)| (*text).to_owned());
        COLUMNS.each_ref().map(|name| given(name).unwrap_or_default())
    }

    fn row(columns: &[(&str, &str)]) -> Texts {
        let usual = [("time", "1000"), ("gateway", "g1"), ("device", "d"), ("point", "p")];
        texts(&columns.iter().copied().chain(usual).collect::<Vec<_>>())
    }

    #[test]
    fn a_row_that_says_little_is_taken_for_what_people_mean() {
        let good = |mantissa, exponent| Sample::Good(Value::Decimal(Decimal { mantissa, exponent }));
        for (value, expected, kind) in [
            ("21.5", good(215, -1), Kind::Gauge),
            ("-0.05", good(-5, -2), Kind::Gauge),
            ("007", good(7, 0), Kind::Gauge),
            ("1e3", Sample::Good(Value::F64(1000.0)), Kind::Gauge),
            ("-0", Sample::Good(Value::F64(-0.0)), Kind::Gauge),
            ("18446744073709551615", Sample::Good(Value::F64(18_446_744_073_709_551_615.0)), Kind::Gauge),
            ("true", Sample::Good(Value::Bool(true)), Kind::State),
        ] {
            let (series, reading) = read(&row(&[("value", value)])).unwrap();
            assert_eq!((reading.sample, series.entry.kind), (expected, kind), "{value}");
        }
        let (series, reading) = read(&row(&[("time", "2026-11-30T09:00:00.5+01:00"), ("value", "x"), ("type", "text")])).unwrap();
        assert_eq!((reading.at_ms, series.entry.kind), (1_796_025_600_500, Kind::Text));
        let bad = read(&row(&[("quality", "bad"), ("reason", "timeout")])).unwrap();
        assert_eq!(bad.1.sample, Sample::Bad(Reason::Timeout));
    }

    #[test]
    fn more_digits_than_a_mantissa_has_are_a_decimal_of_fewer() {
        let (_, reading) = read(&row(&[("value", "9223372036855000000"), ("type", "decimal(6)")])).unwrap();
        assert_eq!(reading.sample, Sample::Good(Value::Decimal(Decimal { mantissa: 9_223_372_036_855, exponent: 6 })));
    }

    #[test]
    fn what_cannot_be_read_is_named_by_its_column() {
        for (columns, expected) in [
            (vec![("time", "yesterday"), ("value", "1")], "time: found \"yesterday\""),
            (vec![("gateway", "a b"), ("value", "1")], "gateway \"a b\""),
            (vec![("point", ""), ("value", "1")], "point: found 0 bytes"),
            (vec![("value", "n/a")], "value: found \"n/a\", expected a number"),
            (vec![("value", "")], "value: found nothing"),
            (vec![("value", "1.25"), ("type", "decimal(-1)")], "value: found \"1.25\", expected a whole multiple of 1e-1"),
            (vec![("value", "-1"), ("type", "unsigned")], "value: found \"-1\", expected a whole number"),
            (vec![("value", "1"), ("type", "decimal(19)")], "type: found \"decimal(19)\""),
            (vec![("value", "1"), ("kind", "meter")], "kind: found \"meter\""),
            (vec![("value", "1"), ("quality", "fair")], "quality: found \"fair\""),
            (vec![("value", "1"), ("quality", "uncertain")], "reason: found \"\""),
            (vec![("value", "1"), ("quality", "bad"), ("reason", "timeout")], "value: found \"1\", but a bad reading has none"),
            (vec![("quality", "bad"), ("reason_code", "x")], "reason_code: found \"x\""),
        ] {
            let found = read(&row(&columns)).unwrap_err();
            assert!(found.starts_with(expected), "{columns:?}: {found}");
        }
    }

    fn values() -> impl Strategy<Value = Value> {
        prop_oneof![
            (any::<i64>(), -18i8..=18).prop_map(|(mantissa, exponent)| Value::Decimal(Decimal { mantissa, exponent })),
            any::<u64>().prop_map(Value::Unsigned),
            any::<f32>().prop_map(Value::F32),
            any::<f64>().prop_map(Value::F64),
            any::<bool>().prop_map(Value::Bool),
            ".{0,40}".prop_map(Value::Text),
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_as_it_was(value in values(), code: u16, quality in 0..3, at_ms: i64, unit in ".{0,9}") {
            let repr = value.repr();
            let reason = Reason::from_code(code);
            let sample = match quality {
                0 => Sample::Good(value),
                1 => Sample::Uncertain(value, reason),
                _ => Sample::Bad(reason),
            };
            let entry = Series {
                device: 0, point: "p, \"q\"".into(), unit, kind: Kind::Counter, repr, labels: Default::default(), states: Default::default(),
            };
            let series = SeriesEntry {
                id: SeriesId(0), gateway: "g1".into(), device: "d".into(), profile: "x".into(), device_labels: Default::default(), entry,
            };
            let reading = Reading { at_ms, sample };
            let again = read(&write(&series, &reading)).unwrap();
            prop_assert_eq!(again, (series, reading));
        }
    }
}
