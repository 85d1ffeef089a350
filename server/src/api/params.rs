//! Query parameters: strict reading, lists of series, times. Pure: `now` is given.

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use super::ApiError;
use crate::store::SeriesId;

/// Query parameters of which none may be unknown, twice or of the wrong type; `T` must deny unknown fields.
pub(super) struct Strict<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Strict<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        match Query::<T>::try_from_uri(&parts.uri) {
            Ok(Query(params)) => Ok(Self(params)),
            Err(e) => Err(ApiError::bad(e.body_text().replace("Failed to deserialize query string", "query"))),
        }
    }
}

/// Takes no query parameter at all.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

/// `1,2,3` -> ids, in this order, each once.
pub(super) fn ids(text: &str, limit: usize) -> Result<Vec<SeriesId>, ApiError> {
    let mut ids = Vec::new();
    for part in text.split(',') {
        let id = match part.trim().parse() {
            Ok(id) if id > 0 => SeriesId(id),
            _ => return Err(ApiError::bad(format!("series: {part:?} is not a series id; expected ids from /api/v1/series, as in 1,2,3"))),
        };
        if ids.contains(&id) {
            continue;
        }
        if ids.len() == limit {
            return Err(ApiError::too_much(format!("series: more than {limit} in one request; ask in parts")));
        }
        ids.push(id);
    }
    Ok(ids)
}

/// Ms since 1970, `now`, or `now` minus a duration as in `now-15m`.
pub(super) fn time(name: &str, text: &str, now_ms: i64) -> Result<i64, ApiError> {
    let wrong = || ApiError::bad(format!("{name}: {text:?} is not a time; expected ms since 1970, now, or now-15m (s, m, h, d, w)"));
    let Some(rest) = text.strip_prefix("now") else {
        let ms: i64 = text.parse().map_err(|_| wrong())?;
        return if (0..=MAX_TIME_MS).contains(&ms) { Ok(ms) } else { Err(wrong()) };
    };
    if rest.is_empty() {
        return Ok(now_ms);
    }
    let duration = rest.strip_prefix('-').ok_or_else(wrong)?;
    let unit = duration.chars().last().ok_or_else(wrong)?;
    let ms = match unit {
        's' => 1000,
        'm' => 60_000,
        'h' => 3_600_000,
        'd' => 86_400_000,
        'w' => 7 * 86_400_000,
        _ => return Err(wrong()),
    };
    let number: i64 = duration.strip_suffix(unit).and_then(|n| n.parse::<u32>().ok()).ok_or_else(wrong)?.into();
    Ok(now_ms.saturating_sub(number.saturating_mul(ms)).max(0))
}

/// The year 9999: later times are a mistake of unit.
const MAX_TIME_MS: i64 = 253_402_300_799_999;

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_700_000_000_000;

    #[test]
    fn a_time_is_absolute_or_counted_back_from_now() {
        for (text, expected) in [
            ("1700000000000", Some(NOW)),
            ("0", Some(0)),
            ("now", Some(NOW)),
            ("now-15m", Some(NOW - 900_000)),
            ("now-1w", Some(NOW - 604_800_000)),
            ("now-4294967295w", Some(0)),
            ("now-", None),
            ("now+1h", None),
            ("now-1y", None),
            ("now--1h", None),
            ("now-1é", None),
            ("-1", None),
            ("1700000000000000", None),
            ("2023-11-14", None),
            ("", None),
        ] {
            assert_eq!(time("from", text, NOW).ok(), expected, "{text}");
        }
    }

    #[test]
    fn ids_are_numbers_from_one_and_bounded() {
        assert_eq!(ids("3, 1,3", 2).unwrap(), [SeriesId(3), SeriesId(1)]);
        for bad in ["", "1,,2", "0", "x", "-1", "1,2,3", "4294967296"] {
            assert!(ids(bad, 2).is_err(), "{bad}");
        }
    }
}
