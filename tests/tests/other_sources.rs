//! Any other source: the worked examples of the documentation, through the real daemon and server, and what goes wrong with sources.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use pattoo_tests::fault::Relay;
use pattoo_tests::mosquitto::{Keeps, Mosquitto};
use pattoo_tests::mqtt::{Connect, Raw};
use pattoo_tests::program::{PATIENCE, Program};
use pattoo_tests::stack::{Readings, Stack, buffered, stored, wait_stored};
use pattoo_tests::{root, wait_for};
use serde_json::{Value, json};

const EXAMPLES: &str = "tests/examples/sources";

/// The example's configuration with the places of this test in it.
fn configuration(stack: &Stack, broker: SocketAddr) -> Result<String> {
    let mut text = std::fs::read_to_string(root().join(EXAMPLES).join("gateway.yaml"))?;
    let socket = stack.folder().join("in.sock").display().to_string();
    for (there, here) in [
        ("/run/pattoo/in.sock", socket),
        ("/etc/pattoo/sources/disks.sh", root().join(EXAMPLES).join("disks.sh").display().to_string()),
        ("127.0.0.1:1883", broker.to_string()),
        ("every: 30s", "every: 1s".to_owned()),
        ("stale_after: 5m", "stale_after: 3s".to_owned()),
    ] {
        ensure!(text.contains(there), "the example does not say {there}");
        text = text.replace(there, &here);
    }
    Ok(text)
}

fn started() -> Result<(Stack, Mosquitto, Relay)> {
    let mut stack = Stack::new()?;
    let broker = Mosquitto::start(stack.folder(), Keeps::Nothing)?;
    let bus = Relay::listen()?;
    bus.set_target(Some(broker.address))?;
    stack.more_profiles = Some(root().join(EXAMPLES).join("profiles"));
    stack.start_server()?;
    let config = stack.configure_gateway("plant7", &configuration(&stack, bus.address())?)?;
    stack.start_gateway(&config)?;
    Ok((stack, broker, bus))
}

/// What the server's API has of a point, in the order of time: value and quality.
fn values(stack: &Stack, device: &str, point: &str) -> Result<Vec<(Value, String)>> {
    let held = stored(stack.api()?, "plant7")?;
    Ok(held.into_iter().filter(|((d, p, _), _)| d == device && p == point).map(|(_, reading)| reading).collect())
}

fn pump(socket: &Path) -> Result<Program> {
    let mut command = Command::new("python3");
    command.arg(root().join(EXAMPLES).join("pump.py")).arg(socket).arg("0.2");
    Program::start("pump.py", &mut command)
}

/// A client of the broker that publishes.
fn publisher(broker: &Mosquitto) -> Result<Raw> {
    Raw::plain(broker.address)?.connected(Connect::as_id("sensor"))
}

#[test]
fn a_script_that_prints_json_once_per_interval_is_a_device() -> Result<()> {
    let (stack, _broker, _bus) = started()?;
    let used = wait_for("the script's readings in the API", PATIENCE, || {
        values(&stack, "disks", "used[mount=/]").ok().filter(|values| values.len() >= 3)
    })?;
    let free = Command::new("df").args(["-P", "-k", "/"]).output()?;
    let text = String::from_utf8(free.stdout)?;
    let own: f64 = text.lines().nth(1).and_then(|line| line.split_whitespace().nth(2)).context("df")?.parse()?;
    let told = used.last().and_then(|(value, _)| value.as_f64()).context("a number")?;
    ensure!((told - own).abs() < own.mul_add(0.2, 5e6), "df says {own}, the store {told}");
    ensure!(used.iter().all(|(_, quality)| quality == "good"), "{used:?}");
    let series = stack.api()?.json("/api/v1/series?gateway=plant7&limit=1000")?;
    let unit = series["series"]
        .as_array()
        .context("series")?
        .iter()
        .find(|series| series["point"] == "used[mount=/]")
        .map(|series| series["unit"].clone());
    ensure!(unit == Some(json!("KiBy")), "{unit:?}");
    let so_far: Readings = buffered(&stack.gateway.as_ref().context("it runs")?.output())?;
    wait_stored(stack.api()?, "plant7", &so_far, PATIENCE)?;
    Ok(())
}

#[test]
fn a_script_that_writes_line_protocol_to_the_socket_is_a_device_and_one_that_falls_silent_is_bad() -> Result<()> {
    let (stack, _broker, _bus) = started()?;
    let socket = stack.folder().join("in.sock");
    wait_for("the socket", PATIENCE, || socket.exists().then_some(()))?;
    let mut script = pump(&socket)?;
    let levels = wait_for("the script's readings in the API", PATIENCE, || {
        values(&stack, "well-pump", "level").ok().filter(|values| values.len() >= 5)
    })?;
    let expected: Vec<_> = (0..5).map(|second| (json!(120.5 + f64::from(second)), "good".to_owned())).collect();
    ensure!(levels.get(..5) == Some(&expected), "{levels:?}");
    let starts = values(&stack, "well-pump", "starts")?;
    ensure!(starts.first() == Some(&(json!(40), "good".to_owned())), "{starts:?}");
    let running = values(&stack, "well-pump", "running")?;
    ensure!(running.len() >= 2 && running.first() != running.get(1), "{running:?}");
    let said = script.kill();
    ensure!(said.is_empty(), "the gateway found something wrong: {said:?}");
    wait_for("silence to be bad", PATIENCE, || {
        values(&stack, "well-pump", "level")
            .ok()
            .filter(|values| values.last().is_some_and(|(value, quality)| value.is_null() && quality == "bad"))
    })?;
    Ok(())
}

#[test]
fn readings_come_over_a_broker_and_again_after_it_was_gone() -> Result<()> {
    let (stack, mut broker, bus) = started()?;
    let log = |what: &str| stack.gateway.as_ref().is_some_and(|gateway| gateway.output().iter().any(|line| line.contains(what)));
    wait_for("the subscription", PATIENCE, || log("readings are taken from sensors/+/readings").then_some(()))?;
    let mut sensor = publisher(&broker)?;
    sensor.publish("sensors/attic/readings", false, b"{\"point\":\"temp\",\"value\":21.5,\"unit\":\"Cel\"}\nwind,side=n speed=3.5")?;
    sensor.publish("sensors/attic/readings", false, b"garbage")?;
    sensor.publish("sensors/cellar/readings", false, b"{\"point\":\"temp\",\"value\":1}")?;
    sensor.publish("sensors/attic/other", false, b"{\"point\":\"temp\",\"value\":2}")?;
    sensor.publish("sensors/attic/readings", false, b"{\"point\":\"temp\",\"value\":22}")?;
    let temperatures =
        wait_for("the messages in the API", PATIENCE, || values(&stack, "attic", "temp").ok().filter(|values| values.len() >= 2))?;
    ensure!(
        temperatures == [(json!(21.5), "good".to_owned()), (json!(22), "good".to_owned())]
            || temperatures == [(json!(21.5), "good".to_owned()), (json!(22.0), "good".to_owned())],
        "{temperatures:?}"
    );
    let wind = values(&stack, "attic", "wind.speed[side=n]")?;
    ensure!(wind == [(json!(3.5), "good".to_owned())], "{wind:?}");
    ensure!(log("found the device `cellar`, expected one that is configured here: attic"), "what is refused is said");
    wait_for("what was refused in the metrics", PATIENCE, || {
        let (_, metrics) = stack.api().ok()?.get("/metrics").ok()?;
        let told = |what: &str| metrics.contains(&format!("device=\"attic\",what=\"{what}\""));
        (told("unknown device") && told("bad line")).then_some(())
    })?;

    bus.set_target(None)?;
    broker.kill(true)?;
    bus.set_target(Some(broker.address))?;
    let gateway = stack.gateway.as_ref().context("it runs")?;
    let subscribed = || gateway.output().iter().filter(|line| line.contains("readings are taken from sensors/+/readings")).count();
    wait_for("the second subscription", PATIENCE, || (subscribed() == 2).then_some(()))?;
    publisher(&broker)?.publish("sensors/attic/readings", false, b"{\"point\":\"temp\",\"value\":23}")?;
    wait_for("a message of after the outage", PATIENCE, || {
        let found = values(&stack, "attic", "temp").ok()?;
        found.last().and_then(|(value, _)| value.as_f64()).filter(|value| (value - 23.0).abs() < 1e-9)
    })?;
    Ok(())
}

#[test]
fn a_retained_message_is_not_taken_for_a_new_reading() -> Result<()> {
    let mut stack = Stack::new()?;
    let broker = Mosquitto::start(stack.folder(), Keeps::Nothing)?;
    let mut sensor = publisher(&broker)?;
    sensor.publish("sensors/attic/readings", true, b"{\"point\":\"temp\",\"value\":1}")?;
    stack.more_profiles = Some(root().join(EXAMPLES).join("profiles"));
    stack.start_server()?;
    let config = stack.configure_gateway("plant7", &configuration(&stack, broker.address)?)?;
    stack.start_gateway(&config)?;
    let gateway = stack.gateway.as_ref().context("it runs")?;
    gateway.wait_line("the subscription", |line| line.contains("readings are taken from sensors"))?;
    sensor.publish("sensors/attic/readings", false, b"{\"point\":\"temp\",\"value\":2}")?;
    let found = wait_for("the new message in the API", Duration::from_secs(30), || {
        values(&stack, "attic", "temp").ok().filter(|values| !values.is_empty())
    })?;
    ensure!(found.len() == 1 && found.first().and_then(|(value, _)| value.as_f64()) == Some(2.0), "{found:?}");
    Ok(())
}

/// The process of this id, unless it has ended.
fn runs(pid: &str) -> bool {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid).join("stat"));
    stat.is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or_default().trim_start().starts_with('Z'))
}

#[test]
fn a_program_that_is_kept_running_is_a_device_and_ends_with_the_gateway() -> Result<()> {
    let mut stack = Stack::new()?;
    stack.start_server()?;
    let pids = stack.folder().join("pids");
    let script = format!(
        "sleep 1000 & echo $$ $! > {0}.new; mv {0}.new {0}; n=0; while n=$((n+1)); do echo \"m x=$n\"; sleep 0.2; done",
        pids.display()
    );
    let device = format!("devices:\n  - {{ name: kept, exec: {{ mode: keep, run: [/bin/sh, -c, '{script}'] }} }}\n");
    let config = stack.configure_gateway("plant7", &device)?;
    stack.start_gateway(&config)?;
    let found = wait_for("its readings in the API", PATIENCE, || values(&stack, "kept", "m.x").ok().filter(|values| values.len() >= 5))?;
    let numbers: Vec<_> = found.iter().take(5).filter_map(|(value, _)| value.as_f64()).collect();
    ensure!(numbers == [1.0, 2.0, 3.0, 4.0, 5.0], "{found:?}");
    let pids = std::fs::read_to_string(&pids)?;
    ensure!(pids.split_whitespace().count() == 2 && pids.split_whitespace().all(runs), "{pids}");
    let status = stack.gateway.as_mut().context("it runs")?.stop()?;
    ensure!(status.success(), "{status}");
    wait_for("all of it to be gone", PATIENCE, || (!pids.split_whitespace().any(runs)).then_some(()))?;
    Ok(())
}
