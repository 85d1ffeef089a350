//! The OpenAPI document and a judge that we did not write: schemathesis makes up requests from it, with a login and without.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use pattoo_tests::program::{PATIENCE, binary};
use pattoo_tests::pump_house::{PumpHouse, now_ms};
use pattoo_tests::stack::Stack;
use pattoo_tests::{root, wait_for};
use serde_json::{Value, json};

/// All of it together.
const WITHIN: Duration = Duration::from_secs(180);
/// Made-up requests of each operation, at most.
const EXAMPLES: &str = "12";
/// A right answer of which nothing may leave the server without a login.
const KNOWN: &str = "pump-house";

fn judge(address: &str, document: &std::path::Path, more: &[&str]) -> Result<String> {
    let tool = root().join("target/test-tools/venv/bin/schemathesis");
    ensure!(tool.exists(), "{} is not there: run tests/run once", tool.display());
    let folder = tempfile::tempdir()?;
    let mut command = Command::new(tool);
    command.arg("run").arg(document).args([
        "--url",
        &format!("http://{address}"),
        "--max-examples",
        EXAMPLES,
        "--phases",
        "examples,coverage,fuzzing",
    ]);
    // A stream of events has no end; what is logged out or disabled under way is another test's.
    command.args(["--exclude-path", "/api/v1/live", "--workers", "1", "--request-timeout", "20", "--no-color"]);
    command.args(["--generation-deterministic"]).args(more).current_dir(folder.path()).env("HOME", folder.path());
    let output = command.stdin(Stdio::null()).output()?;
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    ensure!(output.status.success(), "schemathesis {more:?}: {}\n{said}", output.status);
    Ok(said)
}

#[test]
fn made_up_requests_are_answered_as_documented_and_never_without_a_login() -> Result<()> {
    let mut stack = Stack::new()?;
    let config = stack.folder().join("server.yaml");
    std::fs::write(&config, "data: data\nhttp: { listen: 127.0.0.1:0 }\nbroker: { listen: 127.0.0.1:0 }\nagents: { listen: off }\n")?;
    std::fs::create_dir(stack.folder().join("data"))?;
    let does = |args: &[&str], input: &str| -> Result<String> {
        let mut child = Command::new(binary("pattoo-server")?)
            .args(args)
            .arg("--config")
            .arg(&config)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        child.stdin.take().context("its input")?.write_all(input.as_bytes())?;
        let output = child.wait_with_output()?;
        ensure!(output.status.success(), "{args:?}");
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    };
    does(&["user", "add", "judge", "--role", "admin", "--password-stdin", "--keep"], "correct horse battery")?;
    let token = does(&["token", "add", "judge", "schemathesis", "--role", "admin"], "")?;
    stack.start_server_with(&config)?;
    let api = stack.api()?;
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str())];
    let now = now_ms()?;
    PumpHouse::connect(stack.address("mqtt")?, now)?.tell(now - 3_600_000, now, 10_000)?;
    wait_for("series to be known", PATIENCE, || {
        api.send("GET", "/api/v1/series", &headers, None).ok().filter(|(_, _, body)| body.contains("\"id\":1"))
    })?;
    let (status, _, document) = api.send("GET", "/api/v1/openapi.json", &headers, None)?;
    ensure!(status == 200 && !document.contains(KNOWN), "{status}");
    let file = stack.folder().join("openapi.json");
    std::fs::write(&file, &document)?;
    let address = api.address.to_string();

    let began = Instant::now();
    let checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance";
    let header = format!("Authorization: {bearer}");
    // What needs a session comes first: the judge finds out the names of users, and resets them.
    let login = json!({"user": "judge", "password": "correct horse battery"});
    let (_, cookie, said) = api.send("POST", "/api/v1/session", &[], Some(&login))?;
    let cookie = format!("Cookie: {}", cookie.context(said)?);
    let page = "Sec-Fetch-Site: same-origin";
    let own = ["--checks", checks, "--header", &cookie, "--header", page, "--include-path-regex", "tokens|password"];
    let session = judge(&address, &file, &own)?;
    let with = judge(&address, &file, &["--checks", checks, "--header", &header])?;
    let closed = "not_a_server_error,status_code_conformance,content_type_conformance";
    let without = judge(&address, &file, &["--checks", closed])?;
    ensure!(!session.contains("- GET /api/v1/tokens"), "the session was not taken: {session}");
    ensure!(without.contains("- GET /api/v1/gateways"), "gateways were told: {without}");
    let took = began.elapsed();

    // And by our own hand: every documented GET without a login.
    let document: Value = serde_json::from_str(&document)?;
    let mut asked = 0;
    let paths = document.get("paths").and_then(Value::as_object).context("paths")?;
    for (path, _) in paths.iter().filter(|(_, item)| item.get("get").is_some()) {
        let (status, _, body) = api.send("GET", path, &[], None)?;
        let open = ["/healthz", "/api/v1/session"].contains(&path.as_str());
        ensure!(status == if open { 200 } else { 401 }, "{path}: {status} {body}");
        ensure!(!body.contains(KNOWN), "{path}: {body}");
        asked += 1;
    }
    ensure!(asked >= 14, "{asked} paths");
    for said in [&session, &with, &without] {
        println!("{}", said.lines().rev().take(12).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("\n"));
    }
    println!("{took:?}");
    ensure!(took < WITHIN, "{took:?}");
    Ok(())
}
