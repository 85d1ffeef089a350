//! The same questions to both over HTTP, each answer compared with what the history says before anything is timed.

use std::collections::BTreeMap;
use std::io::Read;

use anyhow::{Context, Result, ensure};
use pattoo_server::query;
use pattoo_server::store::{Bucket, Reading};
use pattoo_tests::api::Api;
use pattoo_tests::store_plant::{BEGIN_MS, POINTS, history};
use pattoo_tests::victoria::Victoria;
use serde_json::Value;
use ureq::Agent;

use crate::Options;
use crate::feed::{DEVICES, gateway};

/// By device, point and what it is: numbers in order of time.
pub(crate) type Answer = BTreeMap<(usize, usize, &'static str), Vec<f64>>;
/// A device and a point.
type Series = (usize, usize);

const MINUTE_MS: i64 = 60_000;
const DAY_MS: i64 = 1440 * MINUTE_MS;
const YEAR_MS: i64 = 365 * DAY_MS;
/// What a bucket is asked for, as VictoriaMetrics calls it and as the API does.
const PARTS: [(&str, &str); 5] = [
    ("min_over_time", "min"),
    ("max_over_time", "max"),
    ("avg_over_time", "avg"),
    ("last_over_time", "last"),
    ("count_over_time", "count"),
];
/// How long back the latest may lie: an outage of a device is shorter.
const LATEST_MS: i64 = 5 * MINUTE_MS;

/// What is asked; its series begin with the device of a number that goes up.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Question {
    /// Buckets of this step.
    Chart {
        series: usize,
        step_ms: i64,
        window_ms: i64,
    },
    Raw,
    Latest,
    Average {
        series: usize,
    },
}

pub(crate) fn questions(options: &Options) -> Vec<(String, Question)> {
    let window_ms = options.span_ms().min(DAY_MS);
    let mut all = vec![
        ("one series, steps of 1 min".into(), Question::Chart { series: 1, step_ms: MINUTE_MS, window_ms }),
        ("20 series, steps of 2 min".into(), Question::Chart { series: 20, step_ms: 2 * MINUTE_MS, window_ms }),
        ("one series, raw".into(), Question::Raw),
        (format!("latest of {}", options.series().min(1000)), Question::Latest),
        (format!("average of {}", options.series().min(200)), Question::Average { series: options.series().min(200) }),
    ];
    if options.span_ms() >= YEAR_MS {
        all.push(("one series, a year, steps of 3 h".into(), Question::Chart { series: 1, step_ms: 180 * MINUTE_MS, window_ms: YEAR_MS }));
    }
    all
}

/// One of the two.
pub(crate) trait Server {
    /// Asks; gives the bodies of the answers.
    fn ask(&self, options: &Options, question: Question, device: usize) -> Result<Vec<Vec<u8>>>;
    /// What the bodies say.
    fn read(&self, question: Question, bodies: &[Vec<u8>]) -> Result<Answer>;
}

fn series(options: &Options, question: Question, device: usize) -> Vec<Series> {
    let count = match question {
        Question::Chart { series, .. } | Question::Average { series } => series,
        Question::Raw => 1,
        Question::Latest => options.series().min(1000),
    };
    let first = if count > POINTS { 0 } else { device % options.devices };
    // Of one series, that of another kind each time.
    let point = if count == 1 { device % POINTS } else { 0 };
    (0..count).map(|number| (first + number / POINTS, point + number % POINTS)).collect()
}

fn window(options: &Options, question: Question) -> (i64, i64) {
    let to_ms = BEGIN_MS + options.span_ms();
    let window_ms = if let Question::Chart { window_ms, .. } = question { window_ms } else { options.span_ms().min(DAY_MS) };
    (to_ms - window_ms, to_ms)
}

/// The answer, by the history.
pub(crate) fn expected(options: &Options, question: Question, device: usize) -> Answer {
    let (from_ms, to_ms) = window(options, question);
    let mut answer = Answer::new();
    let mut held = (usize::MAX, Vec::new());
    for (device, point) in series(options, question, device) {
        if held.0 != device {
            held = (device, history(options.seed, device, options.polls, options.poll_ms));
        }
        let readings = held.1.iter().filter(|poll| (from_ms..to_ms).contains(&poll.at_ms));
        let readings: Vec<Reading> =
            readings.filter_map(|poll| Some(Reading { at_ms: poll.at_ms, sample: poll.samples.get(point)?.clone()? })).collect();
        let number = |reading: &Reading| reading.sample.value().and_then(pattoo_wire::Value::to_f64).unwrap_or(f64::NAN);
        let mut put = |what, numbers| answer.insert((device, point, what), numbers);
        match question {
            Question::Chart { step_ms, .. } => {
                let buckets = query::buckets(readings, step_ms);
                let column = |part: fn(&Bucket) -> f64| buckets.iter().map(part).collect();
                put("min", column(|b| b.min));
                put("max", column(|b| b.max));
                put("avg", column(|b| b.sum / b.count as f64));
                put("last", column(|b| b.last));
                put("count", column(|b| b.count as f64));
            }
            Question::Raw => {
                put("t", readings.iter().map(|reading| reading.at_ms as f64).collect());
                put("v", readings.iter().map(number).collect());
            }
            Question::Latest => drop(put("last", readings.last().map(number).into_iter().collect())),
            Question::Average { .. } => {
                put("avg", vec![readings.iter().map(number).sum::<f64>() / readings.len() as f64]);
            }
        }
    }
    answer
}

/// Where the answer is not what it must be, beside what floating point leaves open.
pub(crate) fn compare(who: &str, found: &Answer, expected: &Answer) -> Result<()> {
    ensure!(found.len() == expected.len(), "{who} answers of {} columns, expected {}", found.len(), expected.len());
    for (key, expected) in expected {
        let found = found.get(key).with_context(|| format!("{who} does not answer of {key:?}"))?;
        ensure!(found.len() == expected.len(), "{who}, {key:?}: {} numbers, expected {}", found.len(), expected.len());
        for (place, (found, expected)) in found.iter().zip(expected).enumerate() {
            let close = (found - expected).abs() <= 1e-9 * expected.abs();
            ensure!(close, "{who}, {key:?}, number {place}: {found}, expected {expected}");
        }
    }
    Ok(())
}

/// Ours.
pub(crate) struct Pattoo {
    pub(crate) api: Api,
    agent: Agent,
    ids: BTreeMap<Series, u64>,
    names: BTreeMap<u64, Series>,
}

impl Pattoo {
    pub(crate) fn new(options: &Options, api: Api) -> Result<Self> {
        let mut ids = BTreeMap::new();
        for first in (0..options.devices).step_by(DEVICES) {
            let list = api.json(&format!("/api/v1/series?gateway={}&limit=1000", gateway(first)))?;
            for series in list.get("series").and_then(Value::as_array).context("no series")? {
                let number = |key: &str| series.get(key)?.as_str()?.get(1..)?.parse::<usize>().ok();
                let (device, point) = number("device").zip(number("point")).context("a name")?;
                ids.insert((first + device, point), series.get("id").and_then(Value::as_u64).context("no id")?);
            }
        }
        ensure!(ids.len() == options.series(), "{} series, expected {}", ids.len(), options.series());
        let names = ids.iter().map(|(name, id)| (*id, *name)).collect();
        Ok(Self { api, agent: pattoo_tests::victoria::agent(), ids, names })
    }

    fn get(&self, path: &str) -> Result<Vec<u8>> {
        let mut answer = self.agent.get(format!("http://{}{path}", self.api.address)).call()?;
        let mut body = Vec::new();
        answer.body_mut().with_config().limit(1 << 30).reader().read_to_end(&mut body)?;
        ensure!(answer.status() == 200, "{path}: {}", String::from_utf8_lossy(&body));
        Ok(body)
    }
}

/// Most series of one answer of the API.
const AT_ONCE: usize = 50;

impl Server for Pattoo {
    fn ask(&self, options: &Options, question: Question, device: usize) -> Result<Vec<Vec<u8>>> {
        let (from, to) = window(options, question);
        let ids: Vec<_> = series(options, question, device).iter().filter_map(|series| self.ids.get(series)).map(u64::to_string).collect();
        let range = |ids: &[String], more: &str| self.get(&format!("/api/v1/range?series={}&from={from}&to={to}&{more}", ids.join(",")));
        match question {
            Question::Chart { step_ms, .. } => {
                let points = format!("points={}", ((to - from) / step_ms).min(4000));
                ids.chunks(AT_ONCE).map(|ids| range(ids, &points)).collect()
            }
            Question::Raw => ids.chunks(1).map(|ids| range(ids, "raw=true")).collect(),
            Question::Latest => Ok(vec![self.get(&format!("/api/v1/latest?series={}", ids.join(",")))?]),
            Question::Average { .. } => ids.chunks(AT_ONCE).map(|ids| range(ids, "points=1")).collect(),
        }
    }

    fn read(&self, question: Question, bodies: &[Vec<u8>]) -> Result<Answer> {
        let mut answer = Answer::new();
        let list = if question == Question::Latest { "latest" } else { "series" };
        let columns: &[&'static str] = match question {
            Question::Chart { .. } => &["min", "max", "avg", "last", "count"],
            Question::Raw => &["t", "v"],
            Question::Latest => &["last"],
            Question::Average { .. } => &["avg"],
        };
        for body in bodies {
            let body: Value = serde_json::from_slice(body)?;
            for series in body.get(list).and_then(Value::as_array).context("no series")? {
                let id = series.get("id").and_then(Value::as_u64).context("no id")?;
                let (device, point) = *self.names.get(&id).context("a series nobody asked for")?;
                for what in columns {
                    let number = |value: &Value| value.as_f64().or_else(|| value.as_bool().map(f64::from));
                    let numbers: Vec<f64> = match question {
                        Question::Latest => series.get("v").and_then(number).into_iter().collect(),
                        _ => series.get(*what).and_then(Value::as_array).context("no column")?.iter().filter_map(number).collect(),
                    };
                    // Buckets without a reading are null everywhere, and 0 here.
                    let numbers = if *what == "count" { numbers.into_iter().filter(|count| *count > 0.0).collect() } else { numbers };
                    answer.insert((device, point, what), numbers);
                }
            }
        }
        Ok(answer)
    }
}

/// The other one.
pub(crate) struct Other<'a> {
    pub(crate) victoria: &'a Victoria,
    pub(crate) agent: Agent,
}

fn seconds(ms: i64) -> String {
    format!("{}.{:03}", ms / 1000, ms % 1000)
}

impl Server for Other<'_> {
    fn ask(&self, options: &Options, question: Question, device: usize) -> Result<Vec<Vec<u8>>> {
        let (from, to) = window(options, question);
        let series = series(options, question, device);
        let devices: Vec<_> = series.chunk_by(|a, b| a.0 == b.0).filter_map(|all| Some(format!("d{}", all.first()?.0))).collect();
        let selector = match series.as_slice() {
            [(device, point)] => format!("reading{{device=\"d{device}\",point=\"p{point}\"}}"),
            _ if devices.len() == options.devices => "reading".to_owned(),
            _ => format!("reading{{device=~\"{}\"}}", devices.join("|")),
        };
        // Its windows hold their end and not their start, ours the other way round: a millisecond earlier they are the same.
        let last = seconds(to - 1);
        let instant = |query: String| self.victoria.ask(&self.agent, "query", &[("query", &query), ("time", &last), ("nocache", "1")]);
        Ok(vec![match question {
            Question::Chart { step_ms, .. } => {
                let parts: Vec<_> = PARTS.iter().map(|(name, _)| format!("{name:?}")).collect();
                let query = format!("aggr_over_time(({}), {selector}[{step_ms}ms])", parts.join(","));
                let (start, step) = (seconds(from + step_ms - 1), format!("{step_ms}ms"));
                let parameters = [("query", &*query), ("start", &start), ("end", &last), ("step", &step), ("nocache", "1")];
                self.victoria.ask(&self.agent, "query_range", &parameters)?
            }
            Question::Raw => {
                self.victoria.ask(&self.agent, "export", &[("match[]", &selector), ("start", &seconds(from)), ("end", &last)])?
            }
            Question::Latest => instant(format!("last_over_time({selector}[{LATEST_MS}ms])"))?,
            Question::Average { .. } => instant(format!("avg_over_time({selector}[{}ms])", to - from))?,
        }])
    }

    fn read(&self, question: Question, bodies: &[Vec<u8>]) -> Result<Answer> {
        let body = String::from_utf8(bodies.first().context("no answer")?.clone())?;
        let mut answer = Answer::new();
        let name = |metric: &Value| {
            let number = |key: &str| metric.get(key)?.as_str()?.get(1..)?.parse::<usize>().ok();
            number("device").zip(number("point")).with_context(|| format!("no name in {metric}"))
        };
        if question == Question::Raw {
            for line in body.lines().filter(|line| !line.is_empty()) {
                let series: Value = serde_json::from_str(line)?;
                let (device, point) = name(series.get("metric").context("no metric")?)?;
                for (what, key) in [("t", "timestamps"), ("v", "values")] {
                    let numbers = series.get(key).and_then(Value::as_array).context("no column")?.iter().filter_map(Value::as_f64);
                    answer.entry((device, point, what)).or_default().extend(numbers);
                }
            }
            return Ok(answer);
        }
        let body: Value = serde_json::from_str(&body)?;
        for series in body.pointer("/data/result").and_then(Value::as_array).context("no result")? {
            let metric = series.get("metric").context("no metric")?;
            let (device, point) = name(metric)?;
            let number = |value: &Value| value.get(1)?.as_str()?.parse::<f64>().ok();
            let (what, numbers) = match question {
                Question::Chart { .. } => {
                    let rollup = metric.get("rollup").and_then(Value::as_str).context("no rollup")?;
                    let (_, what) = PARTS.iter().find(|(name, _)| *name == rollup).context("an unknown rollup")?;
                    (*what, series.get("values").and_then(Value::as_array).context("no values")?.iter().filter_map(number).collect())
                }
                Question::Latest => ("last", series.get("value").and_then(number).into_iter().collect()),
                _ => ("avg", series.get("value").and_then(number).into_iter().collect()),
            };
            answer.insert((device, point, what), numbers);
        }
        Ok(answer)
    }
}
