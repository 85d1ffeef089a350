//! The page in a real browser: a real server, gateway and simulated meter, and a made-up pump house, looked at by headless Chromium.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use pattoo_tests::api::Api;
use pattoo_tests::old_agent::post;
use pattoo_tests::program::{PATIENCE, Program, binary};
use pattoo_tests::pump_house::{PumpHouse, now_ms};
use pattoo_tests::stack::Stack;
use pattoo_tests::{profiles, root, wait_for};
use serde_json::{Value, json};

/// Longest that all browser tests together may take.
const ALL_TESTS: Duration = Duration::from_secs(900);

/// So much of the pump house's past is told, one reading of each series in 10 s: all of its troubles, many rounds of its pump,
/// and more readings than a screen has pixels.
const PAST_MS: i64 = 8 * 3_600_000;

#[test]
fn the_page_shows_a_live_chart() -> Result<()> {
    let mut stack = Stack::new()?;
    let mut command = Command::new(binary("pattoo-gateway")?);
    command.arg("--profiles").arg(profiles()).args(["simulate", "eastron-sdm630", "--units", "1", "--listen", "127.0.0.1:0"]);
    let simulator = Program::start("simulator", &mut command)?;
    let line = simulator.wait_line("the simulator to listen", |line| line.starts_with("listening "))?;
    let endpoint = line.trim_start_matches("listening ");
    let data = stack.folder().join("data");
    let server = stack.folder().join("server.yaml");
    std::fs::write(&server, config_at(&data, "127.0.0.1:0"))?;
    stack.start_server_with(&server)?;
    let cookie = first_login(stack.api()?, &printed_link(&stack)?)?;
    let config = stack.configure_gateway(
        "plant7",
        &format!(
            "links: {{ line: {{ tcp: '{endpoint}' }} }}
devices:
  - {{ name: main-meter, profile: eastron-sdm630, link: line, unit: 1, every: 1s, labels: {{ site: north }} }}
  - {{ name: this-host, profile: linux-host, every: 1s }}
"
        ),
    )?;
    stack.start_gateway(&config)?;
    let api = stack.api()?;
    let now = now_ms()?;
    let mut house = PumpHouse::connect(stack.address("mqtt")?, now)?;
    house.tell(now - PAST_MS, now, 10_000)?;
    wait_for("readings to be stored", PATIENCE, || {
        api.json("/api/v1/latest?device=main-meter").ok()?.get("latest")?.as_array().filter(|list| !list.is_empty()).map(|_| ())
    })?;

    old_agent(stack.address("agents")?, now)?;
    translated(&data)?;
    let (closed, link) = closed_server()?;
    // tests/run installs the driver's packages there, so that the checkout stays clean.
    let tools = root().join("target/test-tools/tests/browser");
    ensure!(tools.join("node_modules").exists(), "{} has no node_modules: run tests/run once", tools.display());
    std::fs::create_dir_all(data.join("dashboards"))?;
    let mut tests = Vec::new();
    for entry in std::fs::read_dir(root().join("tests/browser"))? {
        let path = entry?.path();
        let name = path.file_name().context("a file name")?.to_string_lossy().into_owned();
        if path.is_file() {
            std::fs::copy(&path, tools.join(&name))?;
        }
        tests.extend(name.ends_with(".test.mjs").then_some(name));
    }
    tests.sort();
    let folder = tempfile::tempdir()?;
    let restart = folder.path().join("restart");
    let output = folder.path().join("output");
    let mut browser = Command::new("node")
        .args(["--test", "--test-concurrency=1", "--test-reporter=spec"])
        .args(tests)
        .current_dir(&tools)
        .env("PATTOO_TEST_URL", format!("http://{}/", api.address))
        .env("PATTOO_TEST_POINT", "main-meter/voltage_l1")
        .env("PATTOO_TEST_SCREENSHOTS", root().join("target/screenshots"))
        .env("PATTOO_TEST_RESTART", &restart)
        .env("PATTOO_TEST_CLOSED_URL", format!("http://{}/", closed.address("http")?))
        .env("PATTOO_TEST_LINK", link)
        .env("PATTOO_TEST_COOKIE", cookie)
        .env("PATTOO_TEST_DASHBOARDS", data.join("dashboards"))
        .env("TMPDIR", folder.path())
        .env("LANG", "C.UTF-8")
        .stdin(Stdio::null())
        .stdout(std::fs::File::create(&output)?)
        .stderr(std::fs::File::options().append(true).create(true).open(folder.path().join("errors"))?)
        .spawn()
        .context("node")?;
    let status = wait_for("the browser tests", ALL_TESTS, || {
        if restart.exists()
            && let Err(e) = restarted(&mut stack).and_then(|()| Ok(std::fs::remove_file(&restart)?))
        {
            return Some(Err(e));
        }
        browser.try_wait().transpose().map(|status| status.context("node"))
    });
    // One that was given up on must not go on alone.
    let _ = browser.kill();
    let said = ["output", "errors"].map(|name| std::fs::read_to_string(folder.path().join(name)).unwrap_or_default()).join("\n");
    ensure!(status.with_context(|| said.clone())??.success(), "{said}");
    ensure!(!said.contains("tests 0"), "no browser test ran:\n{said}");
    println!("{said}");
    Ok(())
}

/// An agent of the Python Pattoo, whose points have no units of their own, posts some readings.
fn old_agent(address: SocketAddr, now: i64) -> Result<()> {
    let of_all = [
        ("pattoo_agent_id", "f".repeat(64)),
        ("pattoo_agent_program", "pattoo_agent_linux_autonomousd".into()),
        ("pattoo_agent_hostname", "old-box".into()),
        ("pattoo_agent_polled_target", "old-box".into()),
        ("pattoo_agent_polling_interval", "10000".into()),
    ];
    let (mut pairs, mut datapoints) = (Vec::new(), Vec::new());
    for n in 0..60 {
        let own = [
            ("pattoo_key", json!("cpu_frequency")),
            ("pattoo_value", json!(2400 + n * 7 % 50)),
            ("pattoo_data_type", json!(99)),
            ("pattoo_timestamp", json!(now - n * 10_000)),
            ("pattoo_checksum", json!("0".repeat(64))),
        ];
        let all = own.into_iter().chain(of_all.iter().map(|(key, value)| (*key, json!(value))));
        let first = pairs.len();
        pairs.extend(all.map(|(key, value)| json!([key, value])));
        datapoints.push((first..pairs.len()).collect::<Vec<_>>());
    }
    let pairs: serde_json::Map<String, Value> = pairs.into_iter().enumerate().map(|(n, pair)| (n.to_string(), pair)).collect();
    let body = json!({
        "pattoo_agent_timestamp": now, "pattoo_agent_id": "f".repeat(64), "pattoo_agent_polling_interval": 10_000,
        "pattoo_datapoints": { "key_value_pairs": pairs, "datapoint_pairs": datapoints },
    });
    let (status, told) = post(address, body.to_string().as_bytes())?;
    ensure!((status, told.as_str()) == (200, "OK\n"), "{status} {told}");
    Ok(())
}

/// Has the server know what that agent's points are called in two languages.
fn translated(data: &Path) -> Result<()> {
    let pack = data.join("pack.csv");
    let key = "pattoo_agent_linux_autonomousd_cpu_frequency";
    std::fs::write(
        &pack,
        format!("language,key,translation,units\nen,{key},Clock of the processor,MHz\nde,{key},Prozessortakt <b>,MHz\n"),
    )?;
    let done = Command::new(binary("pattoo-server")?).args(["translation", "import"]).arg(&pack).arg("--data").arg(data).output()?;
    ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    Ok(())
}

/// A server that nobody reads without a login, and the secret of the link that its first start printed.
fn closed_server() -> Result<(Stack, String)> {
    let mut stack = Stack::new()?;
    let config = stack.folder().join("server.yaml");
    std::fs::write(
        &config,
        format!(
            "data: {}\nhttp: {{ listen: 127.0.0.1:0 }}\nbroker: {{ listen: 127.0.0.1:0 }}\nagents: {{ listen: off }}\n",
            stack.folder().join("data").display()
        ),
    )?;
    stack.start_server_with(&config)?;
    let link = printed_link(&stack)?;
    Ok((stack, link))
}

/// The secret of the link that the first start of a server printed.
fn printed_link(stack: &Stack) -> Result<String> {
    let server = stack.server.as_ref().context("it was just started")?;
    let line = server.wait_line("the set-up link", |line| line.contains("#link="))?;
    Ok(line.split("#link=").nth(1).context("the secret")?.trim().to_owned())
}

/// Logs the first admin in; gives the cookie.
fn first_login(api: Api, link: &str) -> Result<String> {
    let here = ("sec-fetch-site", "same-origin");
    let (_, cookie, body) = api.send("POST", "/api/v1/session/link", &[here], Some(&json!({ "link": link })))?;
    let headers = [here, ("cookie", &cookie.context(body)?)];
    let password = json!({ "old": "", "new": "seven tame herons" });
    let (status, cookie, body) = api.send("PUT", "/api/v1/session/password", &headers, Some(&password))?;
    ensure!(status == 200, "{status}: {body}");
    cookie.context(body)
}

/// Kills the server and starts it again where the page knows it.
fn restarted(stack: &mut Stack) -> Result<()> {
    let http = stack.address("http")?;
    let config = stack.folder().join("server-again.yaml");
    let data = stack.folder().join("data");
    stack.kill_server()?;
    std::fs::write(&config, config_at(&data, &http.to_string()))?;
    stack.start_server_with(&config)
}

fn config_at(data: &Path, http: &str) -> String {
    format!(
        "data: {}\nhttp: {{ listen: {http}, anonymous: viewer }}\nbroker: {{ listen: 127.0.0.1:0 }}\nagents: {{ listen: 127.0.0.1:0 }}\nsite: {{ zone: Asia/Kolkata }}\n",
        data.display()
    )
}
