//! Trouble that shows before it bites, against the real programs: in the status, the metrics, `buffer status`, the support bundle and the log. And
//! what a gateway says that meets some: two on one buffer, a port that it may not open.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use pattoo_gateway::clock::now_ms;
use pattoo_tests::faketime::FakeClock;
use pattoo_tests::program::{PATIENCE, Program, binary};
use pattoo_tests::site::Site;
use pattoo_tests::stack::Stack;
use pattoo_tests::{profiles, wait_for};
use serde_json::Value;

/// A command of the gateway's program, with its configuration.
fn gateway(config: &Path, args: &[&str]) -> Result<Command> {
    let mut command = Command::new(binary("pattoo-gateway")?);
    command.arg("--config").arg(config).arg("--profiles").arg(profiles()).args(args);
    Ok(command)
}

/// What `buffer status` says, where it says something.
fn status(config: &Path) -> Result<String> {
    let output = gateway(config, &["buffer", "status"])?.output()?;
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    ensure!(output.status.success(), "{text}");
    Ok(text)
}

#[test]
fn a_certificate_that_ends_soon_shows_wherever_somebody_looks() -> Result<()> {
    let mut site = Site::start("{ names: [localhost] }", "127.0.0.1")?;
    let folder = site.stack.folder().join("given");
    std::fs::create_dir(&folder)?;
    let own = folder.display();
    site.change(&["add", "plant7", "--out", &own.to_string(), "--host", "localhost", "--certificate", "--days", "9"], "")?;
    let config = site.stack.folder().join("gateway.yaml");
    let uplink = format!(
        "url: 'mqtts://localhost:{}', ca: {own}/ca.pem, certificate: {own}/gateway.pem, key: {own}/gateway.key",
        site.secure.port()
    );
    let buffer = site.stack.folder().join("buffer");
    let devices = "devices: [ { name: this-host, profile: linux-host, every: 1s } ]\n";
    let text =
        format!("gateway: plant7\nuplink: {{ {uplink} }}\nbuffer: {{ path: {} }}\nclock: {{ trust: system }}\n{devices}", buffer.display());
    std::fs::write(&config, text)?;
    site.stack.start_gateway(&config)?;

    let expected = format!("the certificate {own}/gateway.pem ends in 8 days: renew it, then reload the gateway");
    let api = site.stack.api()?;
    let told = || {
        let gateways = api.json("/api/v1/gateways").ok()?;
        let listed = gateways["gateways"].as_array()?.iter().find(|gateway| gateway["name"] == "plant7")?["warnings"].clone();
        (listed.as_array()?.iter().any(|warning| warning["about"] == "certificate" && warning["text"] == expected.as_str())).then_some(())
    };
    wait_for("the warning at the server", PATIENCE, told)?;
    ensure!(site.metric("pattoo_gateway_warnings", "{gateway=\"plant7\",about=\"certificate\"}")? == 1.0);
    ensure!(site.metric("pattoo_gateway_warnings", "{gateway=\"plant7\",about=\"clock\"}")? == 0.0);
    let said = status(&config)?;
    ensure!(said.contains(&format!("warning   certificate: {expected}")), "{said}");
    let bundle = site.stack.folder().join("bundle.json");
    ensure!(gateway(&config, &["support-bundle", "--output"])?.arg(&bundle).output()?.status.success());
    let bundle: Value = serde_json::from_slice(&std::fs::read(&bundle)?)?;
    ensure!(bundle["buffer"]["standing"]["warnings"][0]["text"] == expected.as_str(), "{:#}", bundle["buffer"]);
    let log = site.stack.gateway.as_ref().context("it runs")?.output();
    ensure!(log.iter().filter(|line| line.contains(&expected) && line.contains("WARN")).count() == 1, "once in the log");
    Ok(())
}

#[test]
fn a_clock_that_was_never_set_shows_until_the_server_has_told_the_time() -> Result<()> {
    let mut stack = Stack::new()?;
    let clock = FakeClock::new(stack.folder())?;
    clock.set(-now_ms() / 1_000)?;
    stack.gateway_within = clock.command();
    stack.clock = format!("{{ trust: auto, ntp_file: {} }}", stack.folder().join("synchronized").display());
    let config = stack.configure_gateway("plant7", "devices: [{ name: box, profile: linux-host, every: 300ms }]\n")?;
    stack.start_gateway(&config)?;
    let says = |text: &str| wait_for(text, PATIENCE, || status(&config).ok().filter(|said| said.contains(text)));
    let said = says("clock: the system's clock was never set, it stands at 1970-01-01: readings are held back")?;
    ensure!(said.contains("time by   none"), "{said}");
    stack.start_server()?;
    says("it stands at 1970-01-01: the times of readings are the server's")?;
    Ok(())
}

#[test]
fn a_second_gateway_on_one_buffer_is_refused_and_the_first_goes_on() -> Result<()> {
    let mut stack = Stack::new()?;
    stack.start_server()?;
    let config = stack.configure_gateway("plant7", "devices: [{ name: box, profile: linux-host, every: 300ms }]\n")?;
    stack.start_gateway(&config)?;
    let output = gateway(&config, &["run"])?.output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let buffer = stack.folder().join("buffer").display().to_string();
    ensure!(output.status.code() == Some(1) && said.contains(&buffer) && said.contains("in use by another process"), "{said}");
    // It still has its control socket.
    status(&config)?;
    Ok(())
}

/// Without its rights: who runs tests may be allowed everything.
#[test]
fn a_port_that_may_not_be_opened_is_named_with_the_group_that_may() -> Result<()> {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    let folder = tempfile::tempdir()?;
    let at = folder.path();
    let (port, buffer) = (at.join("port"), at.join("buffer"));
    std::fs::write(&port, "")?;
    for (path, mode) in [(at, 0o777), (port.as_path(), 0)] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    }
    // What is somewhere else another user may not reach.
    std::fs::copy(profiles().join("eastron-sdm630.yaml"), at.join("eastron-sdm630.yaml"))?;
    std::fs::copy(binary("pattoo-gateway")?, at.join("pattoo-gateway"))?;
    let links = format!("links: {{ line1: {{ serial: {}, baud: 9600, parity: none }} }}\n", port.display());
    let devices = "devices: [{ name: meter, profile: eastron-sdm630, link: line1, every: 300ms }]\n";
    std::fs::write(
        at.join("gateway.yaml"),
        format!("gateway: plant7\nuplink: {{ url: 'mqtt://127.0.0.1:1' }}\nbuffer: {{ path: {} }}\n{links}{devices}", buffer.display()),
    )?;
    let mut command = Command::new("setpriv");
    if Path::new("/proc/self").metadata()?.uid() == 0 {
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    }
    command.arg(at.join("pattoo-gateway")).arg("--config").arg(at.join("gateway.yaml")).arg("--profiles").arg(at).arg("run");
    let program = Program::start("gateway", &mut command)?;
    let says = |line: &String| line.contains(&port.display().to_string()) && line.contains("group dialout");
    wait_for("a word of the port and the group", PATIENCE, || program.output().iter().any(says).then_some(()))
        .with_context(|| program.tail())?;
    Ok(())
}
