//! Exact readings of a window as CSV, of any length: a page of the store after the other, never more than one of them in memory.
//!
//! A store that fails on the way ends the connection before the end of the answer, so that no client takes a part for the whole.

use std::collections::VecDeque;
use std::fmt::Write;
use std::io;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt, stream};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use pattoo_wire::{Sample, Value};
use serde::Deserialize;
use utoipa::IntoParams;

use super::error::ErrorBody;
use super::params::{Strict, ids, time};
use super::values::known;
use super::{ApiError, ApiState};
use crate::clock::now_ms;
use crate::store::{Reading, SeriesEntry};

/// Most series in one file.
const MAX_SERIES: usize = 50;
/// Readings that are in memory at once.
const PAGE: usize = 2000;
const HEAD: &str = "time,gateway,device,point,unit,value,quality,reason\r\n";

/// Which readings.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ExportQuery {
    /// Ids, as in `1,2,3`; at most 50.
    #[param(example = "1")]
    series: String,
    /// Start, included: ms since 1970, or as in `now-15m`, which also serves where not said.
    from: Option<String>,
    /// End, excluded: the same forms; `now` where not said.
    to: Option<String>,
    /// Time zone of the times, as in `Europe/Vienna`, each with its offset; UTC where not said.
    #[param(example = "UTC")]
    zone: Option<String>,
}

/// Exact readings as CSV, series by series, oldest first: `time,gateway,device,point,unit,value,quality,reason`.
///
/// Times are ISO 8601 with ms and offset, numbers keep all their digits, the dot is the decimal mark. A text that a spreadsheet would
/// take for a formula has an apostrophe before it.
#[utoipa::path(get, path = "/api/v1/export.csv", params(ExportQuery), responses((status = 200, body = String, content_type = "text/csv; charset=utf-8"),
    (status = 400, body = ErrorBody, description = "a parameter is not known or wrong"),
    (status = 404, body = ErrorBody, description = "there is no such series")))]
pub(super) async fn export(State(state): State<ApiState>, Strict(query): Strict<ExportQuery>) -> Result<Response, ApiError> {
    let now = now_ms();
    let ids = known(&state, ids(&query.series, MAX_SERIES)?)?;
    let from = time("from", query.from.as_deref().unwrap_or("now-15m"), now)?;
    let to = time("to", query.to.as_deref().unwrap_or("now"), now)?;
    if from >= to {
        return Err(ApiError::bad(format!("from ({from}) is not before to ({to})")));
    }
    let name = query.zone.as_deref().unwrap_or("UTC");
    let wrong = |e: jiff::Error| ApiError::bad(format!("zone: {name:?} is no time zone; expected one like Europe/Vienna or UTC: {e}"));
    let zone = TimeZone::get(name).map_err(wrong)?;
    let series = ids.iter().filter_map(|id| state.live.series_by_id(*id)).collect();
    let export = Export { state, series, from, next: from, to, zone, begun: false };
    let parts = stream::unfold(Some(export), |export| async {
        match export?.part().await {
            Ok((part, export)) => Some((Ok(part), export)),
            Err(e) => Some((Err(io::Error::other(format!("{e:?}"))), None)),
        }
    });
    // Whoever packs the body asks once more after its end, which a stream made by `unfold` answers by a panic.
    let body = Body::from_stream(parts.fuse());
    let file = [(header::CONTENT_TYPE, "text/csv; charset=utf-8"), (header::CONTENT_DISPOSITION, "attachment; filename=\"readings.csv\"")];
    Ok((file, body).into_response())
}

/// What is still to be written.
struct Export {
    state: ApiState,
    series: VecDeque<Arc<SeriesEntry>>,
    from: i64,
    /// Of the first of `series`, from here on.
    next: i64,
    to: i64,
    zone: TimeZone,
    begun: bool,
}

impl Export {
    /// The next part of the file, and the rest of the work where there is some.
    async fn part(mut self) -> Result<(Bytes, Option<Self>), ApiError> {
        let mut text = String::new();
        if !self.begun {
            text.push_str(HEAD);
            self.begun = true;
        }
        let Some(entry) = self.series.front().cloned() else { return Ok((text.into(), None)) };
        let (id, from, to) = (entry.id, self.next, self.to);
        let page = self.state.ask(move |store| store.raw(id, from, to, PAGE)).await?;
        let names = [&entry.gateway, &entry.device, &entry.entry.point, &entry.entry.unit].map(|name| field(name)).join(",");
        for reading in &page {
            row(&mut text, reading, &names, &self.zone);
        }
        match page.last() {
            Some(last) if page.len() == PAGE => self.next = last.at_ms.saturating_add(1),
            _ => {
                self.series.pop_front();
                self.next = self.from;
            }
        }
        let more = !self.series.is_empty();
        Ok((text.into(), more.then_some(self)))
    }
}

fn row(text: &mut String, reading: &Reading, names: &str, zone: &TimeZone) {
    stamp(text, reading.at_ms, zone);
    let value = match reading.sample.value() {
        Some(Value::Text(words)) => field(words),
        Some(value) => value.to_string(),
        None => String::new(),
    };
    let reason = reading.sample.reason().map(|reason| field(&reason.to_string())).unwrap_or_default();
    let _ = write!(text, ",{names},{value},{},{reason}\r\n", quality(&reading.sample));
}

fn quality(sample: &Sample) -> &'static str {
    match sample {
        Sample::Good(_) => "good",
        Sample::Uncertain(..) => "uncertain",
        Sample::Bad(_) => "bad",
    }
}

/// `2026-05-04T12:00:00.250+02:00`; UTC is `Z`.
fn stamp(text: &mut String, at_ms: i64, zone: &TimeZone) {
    let Ok(at) = Timestamp::from_millisecond(at_ms) else {
        // Beyond the calendar: still exact.
        let _ = write!(text, "{at_ms}");
        return;
    };
    let offset = zone.to_offset(at);
    let civil = offset.to_datetime(at);
    let (date, time) = (civil.date(), civil.time());
    let _ = write!(text, "{:04}-{:02}-{:02}T", date.year(), date.month(), date.day());
    let _ = write!(text, "{:02}:{:02}:{:02}.{:03}", time.hour(), time.minute(), time.second(), time.millisecond());
    let ahead = offset.seconds() / 60;
    let _ = match ahead {
        0 => write!(text, "Z"),
        _ => write!(text, "{}{:02}:{:02}", if ahead < 0 { '-' } else { '+' }, ahead.abs() / 60, ahead.abs() % 60),
    };
}

/// A field that cannot leave its cell, nor be run there.
fn field(text: &str) -> String {
    let safe = if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{text}") } else { text.to_owned() };
    match safe.contains(['"', ',', '\r', '\n']) {
        true => format!("\"{}\"", safe.replace('"', "\"\"")),
        false => safe,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_the_offset_of_their_zone() {
        for (zone, at_ms, expected) in [
            ("UTC", 0, "1970-01-01T00:00:00.000Z"),
            ("Europe/Vienna", 1_774_745_999_999, "2026-03-29T01:59:59.999+01:00"),
            ("Europe/Vienna", 1_774_746_000_000, "2026-03-29T03:00:00.000+02:00"),
            ("Asia/Kolkata", 1_774_746_000_250, "2026-03-29T06:30:00.250+05:30"),
            ("America/St_Johns", 1_767_225_600_000, "2025-12-31T20:30:00.000-03:30"),
        ] {
            let mut text = String::new();
            stamp(&mut text, at_ms, &TimeZone::get(zone).unwrap());
            assert_eq!(text, expected);
        }
    }

    #[test]
    fn a_text_stays_in_its_cell() {
        for (text, expected) in [("a", "a"), ("=1+1", "'=1+1"), ("a,\"b\"\n", "\"a,\"\"b\"\"\n\""), ("-x,", "\"'-x,\""), ("", "")] {
            assert_eq!(field(text), expected);
        }
    }
}
