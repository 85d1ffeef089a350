//! The same as a reader sees it: in headless Chromium, with a gateway that tells 200 series each second.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use pattoo_tests::mqtt::{Connect, Raw, code};
use pattoo_tests::pump_house::now_ms;
use pattoo_tests::root;
use pattoo_tests::stack::Stack;
use pattoo_tests::store_plant::fill::series;
use pattoo_wire::{Batch, Block, Decimal, Device, Header, Kind, Repr, Sample, Schema, Series, Status, Value, data_message, topic};
use serde_json::Value as Json;

use crate::plant::Options;

/// Gateway of the live series.
const GATEWAY: &str = "live";
const LIVE: u32 = 200;
const EVERY: Duration = Duration::from_secs(1);

fn schema() -> Schema {
    let series = |n: u32| Series {
        device: n / 20,
        point: format!("value_{n}"),
        unit: "V".into(),
        kind: Kind::Gauge,
        repr: Repr::Decimal { exponent: -1 },
        labels: [].into(),
        states: [].into(),
    };
    let device = |n: u32| Device { name: format!("live-{n}"), profile: "made-up".into(), labels: [].into() };
    Schema { devices: (0..LIVE / 20).map(device).collect(), series: (0..LIVE).map(series).collect() }
}

/// Tells all series each second until the measurement is over.
#[expect(clippy::disallowed_methods, reason = "it tells once a second, whatever the page does meanwhile")]
pub(crate) fn measured(stack: &Stack, options: &Options) -> Result<()> {
    let mut raw = Raw::plain(stack.address("mqtt")?)?.connected(Connect::as_id(GATEWAY))?;
    let schema = schema();
    let (id, message) = schema.encode()?;
    let mut publish = |topic: &str, retained: bool, message: &[u8]| -> Result<()> {
        let answer = raw.publish(topic, retained, message)?;
        ensure!(answer == code::SUCCESS, "{topic}: answered by {answer:02x}");
        Ok(())
    };
    publish(&topic::schema(GATEWAY, id), true, &message)?;
    let status = Status { online: true, version: "bench".into(), time_ms: now_ms()?, ..Status::default() };
    publish(&topic::status(GATEWAY), true, &serde_json::to_vec(&status)?)?;
    let (stream, mut seq) = (u64::try_from(now_ms()?)?, 0);
    let mut tell = || -> Result<()> {
        seq += 1;
        let at_ms = now_ms()?;
        let value =
            |n: u32| Sample::Good(Value::Decimal(Decimal { mantissa: 2300 + (at_ms / 1000 * i64::from(n + 7)) % 50, exponent: -1 }));
        let all: Vec<u32> = (0..LIVE).collect();
        let samples = all.iter().map(|n| value(*n)).collect();
        let body = Batch { blocks: vec![Block { series: all, times_ms: vec![at_ms], samples }], gaps: vec![] }.encode(id, &schema)?;
        publish(&topic::data(GATEWAY), false, &data_message(&Header { stream, seq, oldest: 1 }, &body)?)
    };
    tell()?;
    let tools = root().join("target/test-tools/tests/browser");
    ensure!(tools.join("node_modules").exists(), "{} has no node_modules: run tests/run --set-up-only once", tools.display());
    for (from, name) in [("tests/browser", "browser.mjs"), ("tests/benches/chart_queries", "page.mjs")] {
        std::fs::copy(root().join(from).join(name), tools.join(name))?;
    }
    let folder = tempfile::tempdir()?;
    let told = folder.path().join("told");
    let four = (0..4).map(|point| series(options.second(), point).0.to_string()).collect::<Vec<_>>().join(",");
    let mut browser = Command::new("node")
        .arg("page.mjs")
        .current_dir(&tools)
        .env("PATTOO_TEST_URL", format!("http://{}/", stack.address("http")?))
        .env("PATTOO_BENCH_SERIES", four)
        .env("PATTOO_BENCH_FROM", pattoo_tests::store_plant::BEGIN_MS.to_string())
        .env("TMPDIR", folder.path())
        .stdout(std::fs::File::create(&told)?)
        .spawn()
        .context("node")?;
    let mut next = Instant::now();
    let status = loop {
        tell()?;
        next += EVERY;
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
        if let Some(status) = browser.try_wait()? {
            break status;
        }
    };
    ensure!(status.success(), "page.mjs: {status}");
    let told: Json = serde_json::from_str(&std::fs::read_to_string(&told)?)?;
    println!("\nThe page, in headless Chromium without a graphics card, {LIVE} series told each second:\n");
    println!("| what | p50 | p95 | most | measured | aim | must |\n|---|---|---|---|---|---|---|");
    for row in told.as_array().context("rows")? {
        let text = |key: &str| row[key].as_str().map_or_else(|| row[key].to_string(), str::to_owned);
        println!("| {} |", ["what", "p50", "p95", "most", "n", "aim", "must"].map(text).join(" | "));
    }
    Ok(())
}
