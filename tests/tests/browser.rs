//! The page in a real browser: a real server, gateway and simulated meter, looked at by headless Chromium.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use pattoo_tests::program::{PATIENCE, Program, binary};
use pattoo_tests::stack::Stack;
use pattoo_tests::{profiles, root, wait_for};

#[test]
fn the_page_shows_a_live_chart() -> Result<()> {
    let mut stack = Stack::new()?;
    let mut command = Command::new(binary("pattoo-gateway")?);
    command.arg("--profiles").arg(profiles()).args(["simulate", "eastron-sdm630", "--units", "1", "--listen", "127.0.0.1:0"]);
    let simulator = Program::start("simulator", &mut command)?;
    let line = simulator.wait_line("the simulator to listen", |line| line.starts_with("listening "))?;
    let endpoint = line.trim_start_matches("listening ");
    stack.start_server()?;
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
    wait_for("readings to be stored", PATIENCE, || {
        api.json("/api/v1/latest?device=main-meter").ok()?.get("latest")?.as_array().filter(|list| !list.is_empty()).map(|_| ())
    })?;

    // tests/run installs the driver's packages there, so that the checkout stays clean.
    let tools = root().join("target/test-tools/tests/browser");
    ensure!(tools.join("node_modules").exists(), "{} has no node_modules: run tests/run once", tools.display());
    let mut tests = Vec::new();
    for entry in std::fs::read_dir(root().join("tests/browser"))? {
        let path = entry?.path();
        let name = path.file_name().context("a file name")?.to_string_lossy().into_owned();
        if path.is_file() {
            std::fs::copy(&path, tools.join(&name))?;
        }
        tests.extend(name.ends_with(".test.mjs").then_some(name));
    }
    let screenshots = root().join("target/screenshots");
    let profile = tempfile::tempdir()?;
    let output = Command::new("node")
        .args(["--test", "--test-concurrency=1", "--test-reporter=spec"])
        .args(tests)
        .current_dir(&tools)
        .env("PATTOO_TEST_URL", format!("http://{}/", api.address))
        .env("PATTOO_TEST_POINT", "main-meter/voltage_l1")
        .env("PATTOO_TEST_SCREENSHOTS", &screenshots)
        .env("TMPDIR", profile.path())
        .env("LANG", "C.UTF-8")
        .output()
        .context("node")?;
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{stdout}\n{stderr}");
    ensure!(!stdout.contains("tests 0"), "no browser test ran:\n{stdout}");
    println!("{stdout}");
    Ok(())
}
