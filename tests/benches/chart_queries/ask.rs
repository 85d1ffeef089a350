//! The questions of charts over one connection, as a page asks them: compressed, one after another.

use std::fmt::Write;
use std::io::Read;
use std::net::SocketAddr;
use std::time::Instant;

use anyhow::{Result, ensure};
use pattoo_tests::store_plant::fill::series;
use pattoo_tests::store_plant::{BEGIN_MS, Behaviour, POINTS, behaviour};
use pattoo_tests::usage::cpu_s;
use ureq::Agent;

use crate::plant::Options;

const DAY_MS: i64 = 86_400_000;
/// Device pixels of a chart of half a screen.
const PIXELS: usize = 1000;

/// A question, and what it should take: at p50, and at p99 where that is asked for; in ms, and kB of an answer.
pub(crate) struct Question {
    pub(crate) name: &'static str,
    pub(crate) aim: &'static str,
    pub(crate) must: &'static str,
    /// Paths of the requests that make it up, another window or device each time.
    paths: Box<dyn Fn(usize) -> Vec<String>>,
}

fn ids(device: usize, wanted: usize, is: impl Fn(Behaviour) -> bool) -> String {
    let points = (0..POINTS).filter(|point| is(behaviour(*point))).take(wanted);
    points.map(|point| series(device, point).0.to_string()).collect::<Vec<_>>().join(",")
}

fn range(series: &str, (from, to): (i64, i64)) -> String {
    format!("/api/v1/range?series={series}&from={from}&to={to}&points={PIXELS}")
}

pub(crate) fn questions(options: &Options) -> Vec<Question> {
    let options = *options;
    let days = options.days as i64;
    // Another day each time, never the first part of one: windows of people do not begin at midnight.
    let day = move |n: usize| {
        let from = BEGIN_MS + (n as i64 % (days - 1).max(1)) * DAY_MS + (n as i64 * 7919 % 86_400) * 1000 % (DAY_MS / 2);
        (from, from + DAY_MS)
    };
    let all = move |days: i64| (BEGIN_MS, BEGIN_MS + days * DAY_MS);
    let gauge = |what: Behaviour| !matches!(what, Behaviour::Counter | Behaviour::Flag | Behaviour::Status);
    let year = options.year_days as i64;
    let question = |name, (aim, must), paths: Box<dyn Fn(usize) -> Vec<String>>| Question { name, aim, must, paths };
    vec![
        question(
            "4 series, 24 h at 1 s",
            ("3 / 15 ms, 25 kB", "10 / 50 ms, 35 kB"),
            Box::new(move |n| vec![range(&ids(options.second(), 4, gauge), day(n))]),
        ),
        question(
            "1 series, 30 d at 1 s",
            ("20 ms", "100 ms"),
            Box::new(move |n| vec![range(&series(options.second(), n % 12).0.to_string(), all(days))]),
        ),
        question(
            "4 series, a year at 1 min",
            ("20 ms", "100 ms"),
            Box::new(move |_| vec![range(&ids(options.minute(), 4, gauge), all(year))]),
        ),
        question(
            "12 panels of 4 series, 24 h at 10 s",
            ("300 ms", "800 ms"),
            Box::new(move |n| (0..12).map(|panel| range(&ids((n + panel) % options.devices, 4, gauge), day(n))).collect()),
        ),
        question("4 series, 24 h at 10 s", ("–", "–"), Box::new(move |n| vec![range(&ids(n % options.devices, 4, gauge), day(n))])),
        question("4 series, 30 d at 10 s", ("–", "–"), Box::new(move |n| vec![range(&ids(n % options.devices, 4, gauge), all(days))])),
        question(
            "3 counters as rates, 24 h at 10 s",
            ("–", "–"),
            Box::new(move |n| {
                let counters = ids(n % options.devices, 3, |what| what == Behaviour::Counter);
                vec![range(&counters, day(n)) + "&counter=rate"]
            }),
        ),
        question(
            "old readers' route, a year at 1 min",
            ("–", "–"),
            Box::new(move |n| vec![format!("/pattoo/api/v1/web/rest/data/{}?secondsago=40000000", series(options.minute(), n % 4).0)]),
        ),
    ]
}

fn get(agent: &Agent, at: SocketAddr, path: &str) -> Result<usize> {
    let mut answer = agent.get(format!("http://{at}{path}")).header("accept-encoding", "gzip").call()?;
    let mut body = Vec::new();
    answer.body_mut().with_config().limit(1 << 30).reader().read_to_end(&mut body)?;
    ensure!(answer.status() == 200, "{path}: {} {}", answer.status(), String::from_utf8_lossy(&body));
    ensure!(body.starts_with(&[0x1f, 0x8b]), "{path}: the answer is not compressed");
    Ok(body.len())
}

/// Asks so often; gives a row's cells.
pub(crate) fn timed(at: SocketAddr, pid: u32, asked: usize, question: &Question) -> Result<String> {
    let agent = pattoo_tests::victoria::agent();
    // What is said once: the connection, pages of the disk.
    for path in (question.paths)(0) {
        get(&agent, at, &path)?;
    }
    let (mut took, mut bytes) = (Vec::with_capacity(asked), 0);
    let before = cpu_s(pid)?;
    for n in 0..asked {
        let paths = (question.paths)(n);
        let begun = Instant::now();
        for path in &paths {
            bytes += get(&agent, at, path)?;
        }
        took.push(begun.elapsed().as_secs_f64() * 1000.0);
    }
    let cpu_ms = (cpu_s(pid)? - before) * 1000.0 / asked as f64;
    took.sort_by(f64::total_cmp);
    let at = |share: usize| took.get((took.len() * share / 100).min(took.len() - 1)).copied().unwrap_or(f64::NAN);
    let mut cells = String::new();
    write!(cells, "{:.1} | {:.1} | {:.1} | {cpu_ms:.1} | {:.1}", at(50), at(95), at(99), bytes as f64 / asked as f64 / 1000.0)?;
    Ok(cells)
}
