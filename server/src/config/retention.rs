//! The part `retention:` of the configuration: one time for all, or one for each class, and the most that all may take. Pure.

use std::fmt;
use std::time::Duration;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_saphyr::{Location, Spanned};

use super::{DAY_S, Found, Problem};
use crate::store::retention::{Keep, Retention};
use crate::store::rollup::{LEVELS, Level};

/// Shorter ones are typing errors: a gateway that was away for an hour would fill charts with nothing.
const TIMES: (Duration, Duration) = (Duration::from_secs(3600), Duration::from_secs(100 * 365 * DAY_S));
/// Less would not even hold the log.
const BYTES: (u64, u64) = (256 << 20, 1 << 50);
const EXPECTED: &str = "a time like 90d, 1h to 100years, or forever";

/// What the file says.
#[derive(Debug)]
pub(super) enum RawRetention {
    Alike(String),
    Classes(Box<RawClasses>),
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawClasses {
    raw: Option<Spanned<String>>,
    #[serde(rename = "1m")]
    minute: Option<Spanned<String>>,
    #[serde(rename = "15m")]
    quarter: Option<Spanned<String>>,
    #[serde(rename = "1h")]
    hour: Option<Spanned<String>>,
    #[serde(rename = "1d")]
    day: Option<Spanned<String>>,
    max_bytes: Option<Spanned<String>>,
}

impl<'de> Deserialize<'de> for RawRetention {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TimeOrClasses;
        impl<'de> Visitor<'de> for TimeOrClasses {
            type Value = RawRetention;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{EXPECTED}, or a map with raw, 1m, 15m, 1h, 1d or max_bytes")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<RawRetention, E> {
                Ok(RawRetention::Alike(text.to_owned()))
            }

            // What YAML takes for a truth value, as in `off`.
            fn visit_bool<E: serde::de::Error>(self, yes: bool) -> Result<RawRetention, E> {
                self.visit_str(if yes { "on" } else { "off" })
            }

            fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<RawRetention, M::Error> {
                RawClasses::deserialize(MapAccessDeserializer::new(map)).map(|classes| RawRetention::Classes(Box::new(classes)))
            }
        }
        deserializer.deserialize_any(TimeOrClasses)
    }
}

impl RawRetention {
    /// From what the file says at `place`. History that is elsewhere has no classes: nothing can be deleted there from here.
    pub(super) fn resolve(
        self,
        place: Location,
        is_elsewhere: bool,
        at: impl Fn(Location) -> String,
        found: impl Fn(Option<Spanned<String>>) -> Option<Found>,
    ) -> Result<Retention, Problem> {
        let classes = match self {
            Self::Alike(text) => return keep(&Found { text, place: at(place) }, false).map(Retention::alike),
            Self::Classes(_) if is_elsewhere => {
                let message = "found classes beside a `store` in VictoriaMetrics, expected one time like 90d: what lies there goes by its own -retentionPeriod";
                return Err(Problem { place: at(place), message: message.to_owned() });
            }
            Self::Classes(classes) => *classes,
        };
        let default = Retention::default();
        let raw = found(classes.raw).map_or(Ok(default.raw), |raw| keep(&raw, false))?;
        let mut retention = Retention { raw, ..default };
        // What nobody speaks of lasts as long as readings do where that is longer.
        if raw != default.raw {
            retention = retention.with(Level::Minute, raw);
        }
        for (level, text) in LEVELS.into_iter().zip([classes.minute, classes.quarter, classes.hour, classes.day]) {
            if let Some(text) = found(text) {
                retention = retention.with(level, keep(&text, true)?);
            }
        }
        retention.max_bytes = found(classes.max_bytes).map(|text| super::bytes(&text, BYTES, "50GiB, 256MiB to 1PiB")).transpose()?;
        Ok(retention)
    }
}

fn keep(found: &Found, may_be_off: bool) -> Result<Keep, Problem> {
    match found.text.as_str() {
        "forever" => Ok(Keep::Forever),
        "off" if may_be_off => Ok(Keep::Off),
        _ if may_be_off => super::duration(found, TIMES, "90d, 1h to 100years, or forever, or off").map(Keep::For),
        _ => super::duration(found, TIMES, "90d, 1h to 100years, or forever").map(Keep::For),
    }
}
