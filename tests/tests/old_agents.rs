//! Agents of the Python Pattoo against the real server: their own library posts to it, through crashes, and what it posts is in the
//! API. `server/src/ingest/pattoo/tests.rs` has the compatibility cases that need no programs.

use std::time::SystemTime;

use anyhow::{Context, Result, ensure};
use pattoo_tests::api::Api;
use pattoo_tests::fault::Relay;
use pattoo_tests::old_agent::{OldAgent, Round, post};
use pattoo_tests::program::{PATIENCE, binary};
use pattoo_tests::stack::Stack;
use pattoo_tests::wait_for;
use serde_json::{Value, json};

/// Server kills, each right after a 200.
const KILLS: i64 = 10;
const HOUR_MS: i64 = 3_600_000;

/// A server with an agent that reaches it at the same address whatever becomes of the server.
struct Bed {
    stack: Stack,
    relay: Relay,
    agent: OldAgent,
    now_ms: i64,
}

impl Bed {
    fn start() -> Result<Self> {
        let (stack, relay) = (Stack::new()?, Relay::listen()?);
        let agent = OldAgent::start(&stack.folder().join("old-agent"), relay.address().port())?;
        let now_ms = i64::try_from(SystemTime::UNIX_EPOCH.elapsed()?.as_millis())?;
        let mut bed = Self { stack, relay, agent, now_ms };
        bed.start_server()?;
        Ok(bed)
    }

    fn start_server(&mut self) -> Result<()> {
        self.stack.start_server()?;
        self.relay.set_target(Some(self.stack.address("agents")?))
    }

    fn kill_server(&mut self) -> Result<()> {
        self.stack.kill_server()?;
        self.relay.set_target(None)
    }

    fn round(&self, datapoints: &Value) -> Result<Round> {
        self.agent.round("pattoo_agent_snmp_ifmibd", datapoints)
    }

    /// A counter and a text at this many ms before now.
    fn datapoints(&self, ago_ms: i64, octets: u64) -> Value {
        let at_ms = self.now_ms - ago_ms;
        let metadata = json!([["ifName", "eth0", true], ["ifAlias", format!("as of {ago_ms}"), false]]);
        json!([
            { "target": "10.0.0.9", "key": "ifHCInOctets", "value": octets, "type": "count64", "at_ms": at_ms, "metadata": metadata },
            { "target": "10.0.0.9", "key": "sysDescr", "value": "<b>switch</b>", "type": "string", "at_ms": at_ms },
        ])
    }

    /// Times and values of a point of its gateway.
    fn held(&self, point: &str) -> Result<Vec<(i64, Value)>> {
        let api = self.stack.api()?;
        let id = series(api, point)?["id"].clone();
        let (from, to) = (self.now_ms - 100 * HOUR_MS, self.now_ms + HOUR_MS);
        let found = api.json(&format!("/api/v1/range?series={id}&from={from}&to={to}&raw=true"))?;
        let column = |name: &str| found["series"][0][name].as_array().cloned().unwrap_or_default();
        Ok(column("t").iter().map(|t| t.as_i64().unwrap_or(0) - self.now_ms).zip(column("v")).collect())
    }
}

fn series(api: Api, point: &str) -> Result<Value> {
    let found = api.json("/api/v1/series?limit=1000")?;
    let of = |entry: &&Value| entry["point"] == point;
    found["series"].as_array().and_then(|all| all.iter().find(of)).cloned().with_context(|| format!("no {point} in {found}"))
}

#[test]
fn case_01_what_the_library_posts_is_queryable_at_once_and_again_stores_nothing_new() -> Result<()> {
    let bed = Bed::start()?;
    let round = bed.round(&bed.datapoints(1000, u64::MAX))?;
    ensure!(round.posted && round.cached == 0, "{round:?}");
    let api = bed.stack.api()?;
    let counter = series(api, "ifhcinoctets[ifname=eth0]")?;
    ensure!(counter["kind"] == "counter" && counter["device"] == "10.0.0.9", "{counter}");
    ensure!(counter["gateway"] == format!("snmp_ifmibd:{}", &round.agent_id[..16]), "{counter}");
    ensure!(counter["labels"]["bits"] == "64" && counter["labels"]["ifalias"] == "as of 1000", "{counter}");
    let stored = [(-1000, json!(u64::MAX))];
    assert_eq!(bed.held("ifhcinoctets[ifname=eth0]")?, stored);
    assert_eq!(bed.held("sysdescr")?, [(-1000, json!("<b>switch</b>"))]);
    for _ in 0..2 {
        assert_eq!(post(bed.stack.address("agents")?, round.body.to_string().as_bytes())?, (200, "OK\n".into()));
    }
    assert_eq!(bed.held("ifhcinoctets[ifname=eth0]")?, stored);
    let (_, metrics) = api.get("/metrics")?;
    ensure!(metrics.contains("\npattoo_replaced_readings_total 0\n"), "{metrics}");
    Ok(())
}

#[test]
fn case_03_a_backlog_comes_after_what_is_new_and_all_of_it_is_there() -> Result<()> {
    let mut bed = Bed::start()?;
    ensure!(bed.round(&bed.datapoints(2 * HOUR_MS, 1))?.posted, "the server is there");
    bed.kill_server()?;
    for n in 0..5 {
        let round = bed.round(&bed.datapoints(HOUR_MS - n * 1000, 10 + n.unsigned_abs()))?;
        ensure!(!round.posted && round.cached == 1 + n.unsigned_abs(), "{round:?}");
    }
    bed.start_server()?;
    let round = bed.round(&bed.datapoints(0, 99))?;
    ensure!(round.posted && round.cached == 0, "{round:?}");
    let mut expected = vec![(-2 * HOUR_MS, json!(1))];
    expected.extend((0..5).map(|n| (n * 1000 - HOUR_MS, json!(10 + n))));
    expected.push((0, json!(99)));
    assert_eq!(bed.held("ifhcinoctets[ifname=eth0]")?, expected);
    // What the backlog says of the series is older than what is known.
    assert_eq!(series(bed.stack.api()?, "ifhcinoctets[ifname=eth0]")?["labels"]["ifalias"], "as of 0");
    Ok(())
}

#[test]
fn case_03_what_got_a_200_survives_a_kill_right_behind_it() -> Result<()> {
    let mut bed = Bed::start()?;
    let mut expected = Vec::new();
    for n in 0..KILLS {
        // Newest first, so that each comes before all that are there.
        let round = bed.round(&bed.datapoints(n * 1000, n.unsigned_abs()))?;
        bed.kill_server()?;
        ensure!(round.posted, "round {n}: {round:?}");
        expected.insert(0, (-n * 1000, json!(n)));
        bed.start_server()?;
        assert_eq!(bed.held("ifhcinoctets[ifname=eth0]")?, expected, "after kill {n}");
    }
    Ok(())
}

#[test]
fn case_04_no_body_of_the_library_piles_up_in_its_cache() -> Result<()> {
    let bed = Bed::start()?;
    // A clock that was never set, one that is a year ahead, and a datapoint that is right.
    for (ago_ms, refused) in [(bed.now_ms - 5000, true), (-365 * 24 * HOUR_MS, true), (0, false)] {
        let round = bed.round(&bed.datapoints(ago_ms, 1))?;
        ensure!(round.posted && round.cached == 0, "{ago_ms}: {round:?}");
        let (status, text) = post(bed.stack.address("agents")?, round.body.to_string().as_bytes())?;
        ensure!(status == 200 && text.contains("not taken") == refused, "{ago_ms}: {status} {text}");
    }
    let letters = std::fs::read_dir(bed.stack.folder().join("data/dead-letter"))?.count();
    // The library makes its body anew for the test: its time differs.
    ensure!((2..=4).contains(&letters), "{letters} dead letters");
    assert_eq!(bed.held("ifhcinoctets[ifname=eth0]")?, [(0, json!(1))]);
    Ok(())
}

#[test]
fn case_09_the_port_answers_every_other_thing_with_a_reason_and_never_fails() -> Result<()> {
    let bed = Bed::start()?;
    let address = bed.stack.address("agents")?;
    let round = bed.round(&bed.datapoints(0, 1))?;
    let whole = round.body.to_string();
    for (body, status, words) in [
        (&whole.as_bytes()[..whole.len() / 2], 400, "EOF"),
        (b"[]", 400, "an object with exactly the keys"),
        (b"\xff\xfe", 400, "not UTF-8"),
        (whole.replacen("{\"", "{\"fifth\": 1, \"", 1).as_bytes(), 400, "unknown field `fifth`"),
        (&vec![b' '; (16 << 20) + 1], 413, "more than 16777216 bytes"),
        (whole.replace("10.0.0.9", "<script>alert(1)</script>").as_bytes(), 200, "OK"),
    ] {
        let (found, text) = post(address, body)?;
        ensure!(found == status && text.contains(words), "{found} {text}");
    }
    let api = Api { address };
    for (path, status, words) in [
        ("/pattoo/api/v1/agent/status", 200, "takes readings"),
        ("/pattoo/api/v1/agent/receive/x", 405, ""),
        ("/pattoo/api/v1/agent/key", 501, "GPG"),
        ("/", 404, "/pattoo/api/v1/agent/receive/<agent id>"),
    ] {
        let (found, text) = api.get(path)?;
        ensure!(found == status && text.contains(words), "{path}: {found} {text}");
    }
    // Names are given as they are; whoever shows them escapes them.
    let devices = bed.stack.api()?.json("/api/v1/devices")?;
    ensure!(devices["devices"].as_array().is_some_and(|all| all.iter().any(|d| d["name"] == "<script>alert(1)</script>")), "{devices}");
    Ok(())
}

#[test]
fn case_06_an_old_reader_gets_a_row_for_each_slot_and_a_rate_for_each_counter() -> Result<()> {
    let bed = Bed::start()?;
    // The interval of the agent is 300 s; three slots ago it said nothing.
    for (slots_ago, octets) in [(5, 1_000), (4, 31_000), (2, 91_000), (1, 100_000)] {
        ensure!(bed.round(&bed.datapoints(slots_ago * 300_000, octets))?.posted, "{slots_ago} slots ago");
    }
    let api = bed.stack.api()?;
    let id = series(api, "ifhcinoctets[ifname=eth0]")?["id"].clone();
    let rows = api.json(&format!("/pattoo/api/v1/web/rest/data/{id}?secondsago=1800"))?;
    let rows: Vec<(i64, Option<f64>)> =
        rows.as_array().context("a list")?.iter().map(|row| (row["timestamp"].as_i64().unwrap_or(0), row["value"].as_f64())).collect();
    ensure!((7..=8).contains(&rows.len()), "{rows:?}");
    ensure!(rows.windows(2).all(|pair| pair[1].0 - pair[0].0 == 300_000) && rows[0].0 % 300_000 == 0, "{rows:?}");
    let rates: Vec<f64> = rows.iter().filter_map(|(_, rate)| *rate).collect();
    ensure!(rates.iter().all(|rate| (30.0..=100.0).contains(rate)) && rates.len() >= 4, "{rows:?}");
    let text = series(api, "sysdescr")?["id"].clone();
    for (path, status) in
        [(format!("{text}"), 400), ("4711".into(), 404), (format!("{id}?secondsago=0"), 400), (format!("{id}?secondsago=x"), 400)]
    {
        let (found, told) = api.get(&format!("/pattoo/api/v1/web/rest/data/{path}"))?;
        ensure!(found == status, "{path}: {found} {told}");
    }
    Ok(())
}

#[test]
fn case_10_a_language_pack_gives_names_and_units_and_names_its_wrong_lines() -> Result<()> {
    let bed = Bed::start()?;
    ensure!(bed.round(&bed.datapoints(0, 1))?.posted, "the server is there");
    let pack = bed.stack.folder().join("pack.csv");
    let import = |text: &str| -> Result<(bool, String)> {
        std::fs::write(&pack, text)?;
        let mut command = std::process::Command::new(binary("pattoo-server")?);
        let done = command.args(["translation", "import"]).arg(&pack).arg("--data").arg(bed.stack.folder().join("data")).output()?;
        Ok((done.status.success(), String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned()))
    };
    let keys = "language,key,translation,units\n\
                en,pattoo_agent_snmp_ifmibd_ifhcinoctets,Inbound traffic,Bits / Second\n\
                klingon,pattoo_agent_snmp_ifmibd_ifhcinoctets,Hoch,Bits / Second\n";
    let (clean, told) = import(keys)?;
    ensure!(!clean && told.contains("1 points and 0 agent programs taken"), "{told}");
    ensure!(told.contains("pack.csv:3: found language \"klingon\", expected a code of ISO 639-1"), "{told}");
    let (clean, told) = import("language,key,translation\nen,pattoo_agent_snmp_ifmibd,Interfaces by SNMP\n")?;
    ensure!(clean && told.contains("0 points and 1 agent programs taken"), "{told}");
    let api = bed.stack.api()?;
    let counter = wait_for("the running server to follow", PATIENCE, || {
        let found = series(api, "ifhcinoctets[ifname=eth0]").ok()?;
        let device = api.json("/api/v1/devices").ok()?["devices"][0]["profile_name"].clone();
        (found["name"] == "Inbound traffic [ifname=eth0]" && device == "Interfaces by SNMP").then_some(found)
    })?;
    ensure!(counter["unit"] == "Bits", "a counter counts in the unit of its rate without the time: {counter}");
    let text = series(api, "sysdescr")?;
    ensure!(text["name"] == "sysdescr" && text["unit"] == "", "what is not translated is shown raw: {text}");
    Ok(())
}

#[test]
fn a_server_stops_while_an_agent_holds_a_connection_open() -> Result<()> {
    let mut bed = Bed::start()?;
    let half = std::net::TcpStream::connect(bed.stack.address("agents")?)?;
    std::io::Write::write_all(&mut &half, b"POST /pattoo/api/v1/agent/receive/x HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n{")?;
    let status = bed.stack.server.take().context("it runs")?.stop()?;
    ensure!(status.success(), "{status}");
    drop(half);
    Ok(())
}
