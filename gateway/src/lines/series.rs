//! The series that a device is known to have, and what their next reading becomes.

use std::collections::BTreeMap;
use std::sync::Arc;

use pattoo_wire::{Labels, Quality, Reason, Sample};

use super::intake::Now;
use super::profile::{Form, LineRead};
use super::{LABELS_REST_MS, LineError, MAX_AGE_MS, MAX_AHEAD_MS, MAX_NAME_BYTES, MAX_SERIES, MAX_TAGS, Said, Told};
use crate::profile::{Point, Profile, Read};
use crate::reading::{PointIndex, Reading, Row};

/// How far the times of readings without one may run ahead of the clock: those of one series never share a ms.
const MAX_RUN_AHEAD_MS: i64 = 1_000;

/// Name and identity.
type Key = (String, String);

/// A series.
#[derive(Debug)]
pub(super) struct Series {
    pub(super) point: PointIndex,
    pub(super) row: Arc<Row>,
    /// When it was heard last, by the clock of the driver.
    pub(super) heard_ms: i64,
    /// Its latest time so far.
    last_ms: Option<i64>,
    /// When its labels changed last.
    labelled_ms: i64,
    /// That it is silent is said already.
    pub(super) stale: bool,
    /// In which run of its program it was heard last.
    pub(super) run: u64,
}

/// Those of one device.
#[derive(Debug, Default)]
pub(super) struct Known(pub(super) BTreeMap<Key, Series>);

/// Why a reading is not taken, with what that is counted as.
pub(super) type Refused = (&'static str, LineError);

impl Known {
    /// The series of listed points that have no rows: they are there from the start.
    pub(super) fn of(profile: &Profile, now_ms: i64) -> Self {
        let listed = profile.points.iter().enumerate().filter_map(|(index, point)| match &point.read {
            Read::Line(LineRead::Listed(field)) if field.identity.is_empty() => {
                Some(((point.name.clone(), String::new()), Series::new(PointIndex(index), Row::default(), now_ms)))
            }
            _ => None,
        });
        Self(listed.collect())
    }

    /// Takes one reading; gives it with its time.
    pub(super) fn take(&mut self, profile: &Profile, told: Told, now: Now, run: u64) -> Result<(i64, Reading), Refused> {
        check(&told)?;
        let column = told.column;
        let refuse = |miss, what: String| (miss, LineError { column, what });
        let (key, point, row) = place(profile, &told)?;
        let known = self.0.get(&key);
        let index = match (known, point) {
            (_, Place::Listed(index)) => index,
            (Some(series), Place::Any) => series.point,
            (None, Place::Any) => Form::of(&told.value, told.kind)
                .map(|form| PointIndex(Form::ALL.iter().position(|other| *other == form).unwrap_or_default()))
                .map_err(|expected| refuse("bad line", format!("found {}, expected {expected}", told.value)))?,
        };
        if known.is_none() && self.0.len() >= MAX_SERIES {
            let what = format!("found the new series {}, expected no more than {MAX_SERIES} of one device", row_name(&key));
            return Err(refuse("too many series", what));
        }
        let at_ms = time(&told, known.and_then(|series| series.last_ms), now).map_err(|what| refuse("bad time", what))?;
        let Some(point) = profile.points.get(index.0) else {
            return Err(refuse("bad line", "BUG: a point that the profile does not have".to_owned()));
        };
        let series = self.0.entry(key).or_insert_with(|| Series::new(index, row.clone(), now.boot_ms));
        let sample = sample(point, &told, series.row.unit.as_deref());
        series.heard(row, now.boot_ms);
        series.last_ms = series.last_ms.max(Some(at_ms));
        series.run = run;
        Ok((at_ms, Reading { point: index, row: Some(Arc::clone(&series.row)), sample }))
    }
}

impl Series {
    fn new(point: PointIndex, row: Row, now_ms: i64) -> Self {
        let labelled_ms = now_ms.saturating_sub(LABELS_REST_MS);
        Self { point, row: Arc::new(row), heard_ms: now_ms, last_ms: None, labelled_ms, stale: false, run: 0 }
    }

    fn heard(&mut self, row: Row, now_ms: i64) {
        (self.heard_ms, self.stale) = (now_ms, false);
        let rests = now_ms.saturating_sub(self.labelled_ms) < LABELS_REST_MS;
        if self.row.labels != row.labels && !rests {
            self.labelled_ms = now_ms;
            // The unit is part of what its values mean: that of the first reading stays.
            self.row = Arc::new(Row { unit: self.row.unit.clone(), ..row });
        }
    }

    pub(super) fn bad(&self, reason: Reason) -> Reading {
        Reading { point: self.point, row: Some(Arc::clone(&self.row)), sample: Sample::Bad(reason) }
    }
}

enum Place {
    Listed(PointIndex),
    Any,
}

/// Texts that no schema carries.
fn check(told: &Told) -> Result<(), Refused> {
    let wrong = |what: String| ("bad line", LineError { column: told.column, what });
    if told.tags.len() > MAX_TAGS || told.labels.len() > MAX_TAGS {
        return Err(wrong(format!("found more than {MAX_TAGS} tags or labels, expected at most so many")));
    }
    let texts = told.tags.iter().chain(&told.labels).flat_map(|(key, text)| [key, text]).chain(&told.unit).chain([&told.name]);
    if let Some(long) = texts.clone().find(|text| text.len() > MAX_NAME_BYTES) {
        return Err(wrong(format!("found a name of {} bytes, expected at most {MAX_NAME_BYTES}", long.len())));
    }
    if told.name.is_empty() || told.name.contains(['[', ']']) || texts.clone().any(|text| text.chars().any(char::is_control)) {
        let what = format!("found the name {}, expected one without brackets and control characters", crate::yaml::quoted(&told.name));
        return Err(wrong(what));
    }
    match &told.value {
        Said::Text(text) if text.len() > pattoo_wire::MAX_TEXT_BYTES => {
            Err(wrong(format!("found a text of {} bytes, expected at most {}", text.len(), pattoo_wire::MAX_TEXT_BYTES)))
        }
        _ => Ok(()),
    }
}

/// The series of a reading, where its point is, and its row as the reading tells it.
fn place(profile: &Profile, told: &Told) -> Result<(Key, Place, Row), Refused> {
    let refuse = |miss, what: String| Err((miss, LineError { column: told.column, what }));
    let (key, place, row) = if matches!(profile.points.first().map(|point| &point.read), Some(Read::Line(LineRead::Any(_)))) {
        let name = match told.measurement.as_deref() {
            Some(measurement) if told.name == "value" => measurement.to_owned(),
            Some(measurement) => format!("{measurement}.{}", told.name),
            None => told.name.clone(),
        };
        if name.contains(['[', ']']) {
            return refuse("bad line", format!("found the name {}, expected one without brackets", crate::yaml::quoted(&name)));
        }
        let identity = told.tags.iter().map(|(key, text)| format!("{}={}", escaped(key), escaped(text))).collect::<Vec<_>>().join(",");
        let row = Row { identity: identity.clone(), labels: told.labels.clone(), point: Some(name.clone()), unit: told.unit.clone() };
        ((name, identity), Place::Any, row)
    } else {
        let Some((index, point, field)) = profile.points.iter().enumerate().find_map(|(index, point)| match &point.read {
            Read::Line(LineRead::Listed(field)) if field.field == told.name => {
                let same = field.measurement.is_none() || field.measurement == told.measurement;
                same.then_some((index, point, field))
            }
            _ => None,
        }) else {
            let name = crate::yaml::quoted(&told.name);
            return refuse("unlisted point", format!("found {name}, expected a field that the profile {} lists", profile.id));
        };
        let mut labels: Labels = told.labels.clone().into_iter().chain(told.tags.clone()).collect();
        let mut identity = Vec::new();
        for tag in &field.identity {
            let Some(text) = labels.remove(tag) else {
                return refuse("bad line", format!("found no tag `{tag}`, expected it: the profile tells rows apart by it"));
            };
            identity.push(text.replace('\\', r"\\").replace('/', r"\/"));
        }
        let identity = identity.join("/");
        ((point.name.clone(), identity.clone()), Place::Listed(PointIndex(index)), Row::new(identity, labels))
    };
    if key.0.len() + key.1.len() + 2 > MAX_NAME_BYTES {
        let what = format!("found a name of {} bytes with its tags, expected at most {MAX_NAME_BYTES}", key.0.len() + key.1.len() + 2);
        return refuse("bad line", what);
    }
    Ok((key, place, row))
}

/// So that no text of one tag looks like two tags.
fn escaped(text: &str) -> String {
    text.replace('\\', r"\\").replace(',', r"\,").replace('=', r"\=")
}

fn row_name((name, identity): &Key) -> String {
    crate::yaml::quoted(&if identity.is_empty() { name.clone() } else { format!("{name}[{identity}]") })
}

/// When it was read, by the clock of the driver: its own time by its age, or now, and then always later than the one before.
fn time(told: &Told, last_ms: Option<i64>, now: Now) -> Result<i64, String> {
    if let Some(at_ms) = told.at_ms {
        let age_ms = now.utc_ms.saturating_sub(at_ms);
        if age_ms > MAX_AGE_MS {
            return Err(format!("found a time {} s ago, expected one of the last {} hours", age_ms / 1_000, MAX_AGE_MS / 3_600_000));
        }
        if age_ms < -MAX_AHEAD_MS {
            let ahead_s = age_ms.saturating_neg() / 1_000;
            return Err(format!("found a time {ahead_s} s in the future, expected at most {}: is a clock wrong?", MAX_AHEAD_MS / 1_000));
        }
        return Ok(now.boot_ms.saturating_sub(age_ms));
    }
    let next_ms = last_ms.map_or(now.boot_ms, |last_ms| now.boot_ms.max(last_ms.saturating_add(1)));
    // One that came with a time of its own may lie ahead a little more.
    if next_ms > now.boot_ms + MAX_RUN_AHEAD_MS + MAX_AHEAD_MS {
        return Err("found more than a reading in a ms of one series, expected fewer, or a time with each".to_owned());
    }
    Ok(next_ms)
}

fn sample(point: &Point, told: &Told, unit: Option<&str>) -> Sample {
    if told.quality == Quality::Bad {
        return Sample::Bad(told.reason.unwrap_or(Reason::Unavailable));
    }
    let listed = matches!(point.read, Read::Line(LineRead::Listed(_)));
    let own_unit = if listed { &point.unit } else { unit.unwrap_or_default() };
    let other_unit = told.unit.as_deref().is_some_and(|unit| unit != own_unit);
    let other_kind = told.kind.is_some_and(|kind| kind != point.kind);
    if other_unit || other_kind {
        return Sample::Bad(Reason::Mismatch);
    }
    let sample = match &point.read {
        Read::Line(LineRead::Listed(field)) => field.sample(&told.value, &point.states),
        Read::Line(LineRead::Any(form)) => form.sample(&told.value),
        _ => Sample::Bad(Reason::Mismatch),
    };
    let number = sample.value().and_then(pattoo_wire::Value::to_f64);
    match (sample, told.reason) {
        (sample, _) if point.range.zip(number).is_some_and(|((low, high), number)| !(low..=high).contains(&number)) => {
            let _ = sample;
            Sample::Bad(Reason::OutOfRange)
        }
        (Sample::Good(value), Some(reason)) if told.quality == Quality::Uncertain => Sample::Uncertain(value, reason),
        (sample, _) => sample,
    }
}
