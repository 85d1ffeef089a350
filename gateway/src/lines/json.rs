//! One JSON object -> one reading.
//!
//! | key | meaning |
//! |---|---|
//! | `point` | name of the point |
//! | `value` | a number, `true` or `false`, a text; `null` or absent: there is none |
//! | `device` | whose it is, where that is not clear from where the line comes |
//! | `unit` | unit of the value |
//! | `kind` | `gauge`, `counter`, `state` or `text` |
//! | `quality`, `reason` | `good`, `uncertain`, `bad`, and why it is not good |
//! | `time_ms`, `time` | when it was read: ms since 1970, or a text such as `2026-05-04T10:00:00Z`; now where absent |
//! | `tags` | texts that make it a series of its own |
//! | `labels` | texts that say more of the series, and may change |
//! | `measurement` | only to find the point of a profile whose `read` has one |

use std::collections::BTreeMap;
use std::fmt;

use pattoo_wire::{Kind, Quality, Reason};
use serde::de::{Deserialize, Deserializer, Error as _, Unexpected, Visitor};

use super::{LineError, Said, Told, time};

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    point: String,
    #[serde(default)]
    value: Said,
    device: Option<String>,
    measurement: Option<String>,
    unit: Option<String>,
    kind: Option<Name<Kind>>,
    quality: Option<Name<Quality>>,
    reason: Option<Name<Reason>>,
    time_ms: Option<i64>,
    time: Option<Moment>,
    #[serde(default)]
    tags: BTreeMap<String, String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

pub(super) fn read(text: &str) -> Result<Told, LineError> {
    let line: Line = serde_json::from_str(text).map_err(|error| wrong(text, &error))?;
    let at = |what: &str| LineError { column: 1, what: what.to_owned() };
    if line.time.is_some() && line.time_ms.is_some() {
        return Err(at("found `time` and `time_ms`, expected one of them"));
    }
    let (quality, reason) = match (line.quality.map(|name| name.0), line.reason.map(|name| name.0)) {
        (Some(Quality::Uncertain), None) => return Err(at("found a quality of `uncertain` without `reason`, expected the reason too")),
        (Some(Quality::Good), Some(_)) => return Err(at("found a quality of `good` with a `reason`, expected none")),
        (Some(Quality::Good | Quality::Uncertain), _) if line.value == Said::Nothing => {
            return Err(at("found no value, expected one, or a quality of `bad`"));
        }
        (Some(quality), reason) => (quality, reason),
        (None, Some(reason)) if line.value != Said::Nothing => (Quality::Uncertain, Some(reason)),
        (None, None) if line.value != Said::Nothing => (Quality::Good, None),
        (None, reason) => (Quality::Bad, Some(reason.unwrap_or(Reason::NotAValue))),
    };
    Ok(Told {
        column: 1,
        device: line.device,
        measurement: line.measurement,
        name: line.point,
        value: line.value,
        unit: line.unit,
        kind: line.kind.map(|name| name.0),
        quality,
        reason,
        at_ms: line.time_ms.or(line.time.map(|time| time.0)),
        tags: line.tags,
        labels: line.labels,
    })
}

/// What the parser says, and what stands there.
fn wrong(text: &str, error: &serde_json::Error) -> LineError {
    let message = error.to_string();
    let message = message.split(" at line 1 column").next().unwrap_or_default();
    // It counts the bytes that it has read, the last of which it did not like.
    let before = error.column().saturating_sub(1);
    let found = text.as_bytes().get(before).copied().filter(|_| error.is_syntax());
    let column = 1 + text.char_indices().take_while(|(at, _)| *at < before).count();
    let what = match found {
        _ if error.is_eof() => format!("found the end of the line: {message}"),
        Some(byte) if byte.is_ascii_graphic() => format!("found `{}`: {message}", char::from(byte)),
        _ => message.to_owned(),
    };
    LineError { column, what }
}

impl<'de> Deserialize<'de> for Said {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl Visitor<'_> for Any {
            type Value = Said;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number, true, false, a text or null")
            }

            fn visit_bool<E>(self, flag: bool) -> Result<Said, E> {
                Ok(Said::Flag(flag))
            }

            fn visit_i64<E>(self, number: i64) -> Result<Said, E> {
                Ok(Said::Integer(number))
            }

            fn visit_u64<E>(self, number: u64) -> Result<Said, E> {
                Ok(Said::Unsigned(number))
            }

            fn visit_f64<E>(self, number: f64) -> Result<Said, E> {
                Ok(Said::Float(number))
            }

            fn visit_str<E>(self, text: &str) -> Result<Said, E> {
                Ok(Said::Text(text.to_owned()))
            }

            fn visit_unit<E>(self) -> Result<Said, E> {
                Ok(Said::Nothing)
            }
        }
        deserializer.deserialize_any(Any)
    }
}

/// A value that has a name.
struct Name<T>(T);

trait Named: Sized + Copy + 'static {
    const EXPECTED: &'static str;
    fn names() -> Vec<(String, Self)>;
}

impl Named for Kind {
    const EXPECTED: &'static str = "gauge, counter, state or text";
    fn names() -> Vec<(String, Self)> {
        [("gauge", Self::Gauge), ("counter", Self::Counter), ("state", Self::State), ("text", Self::Text)]
            .map(|(name, kind)| (name.to_owned(), kind))
            .into()
    }
}

impl Named for Quality {
    const EXPECTED: &'static str = "good, uncertain or bad";
    fn names() -> Vec<(String, Self)> {
        [Self::Good, Self::Uncertain, Self::Bad].map(|quality| (quality.to_string(), quality)).into()
    }
}

impl Named for Reason {
    const EXPECTED: &'static str = "timeout, link down, malformed reply, not a value, out of range, stale, unavailable or overflow";
    fn names() -> Vec<(String, Self)> {
        use Reason::{LinkDown, Malformed, NotAValue, OutOfRange, Overflow, Stale, Timeout, Unavailable};
        [Timeout, LinkDown, Malformed, NotAValue, OutOfRange, Stale, Unavailable, Overflow]
            .map(|reason| (reason.to_string(), reason))
            .into()
    }
}

impl<'de, T: Named> Deserialize<'de> for Name<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let found = T::names().into_iter().find(|(name, _)| *name == text);
        found.map(|(_, value)| Self(value)).ok_or_else(|| D::Error::invalid_value(Unexpected::Str(&text), &T::EXPECTED))
    }
}

/// A time as a text, in ms since 1970.
struct Moment(i64);

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let expected = "a time such as 2026-05-04T10:00:00Z";
        time::read(&text).map(Self).ok_or_else(|| D::Error::invalid_value(Unexpected::Str(&text), &expected))
    }
}
