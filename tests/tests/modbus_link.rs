//! What the gateway's links do, seen from outside: how many connections they make, and what is told of them up to the server's metrics.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use pattoo_tests::pymodbus::PymodbusDevice;
use pattoo_tests::stack::Stack;
use pattoo_tests::wait_for;

const BOUND: Duration = Duration::from_secs(60);

const PROFILE: &str = "schema: 1
id: one-register
manufacturer: x
model: x
points:
  - { name: a, read: { input: 0, type: u16 } }
";

/// Somebody who takes connections and says nothing; counts those that are there at the same time.
fn silent_device() -> Result<(u16, Arc<AtomicUsize>)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let (port, connections) = (listener.local_addr()?.port(), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&connections);
    std::thread::spawn(move || {
        let mut taken = Vec::new();
        while let Ok((stream, _)) = listener.accept() {
            taken.push(stream);
            counted.fetch_add(1, Ordering::SeqCst);
        }
    });
    Ok((port, connections))
}

#[test]
fn connections_are_as_many_as_configured_and_lateness_and_timeouts_reach_the_metrics() -> Result<()> {
    let mut stack = Stack::new()?;
    let profiles = stack.folder().join("profiles");
    std::fs::create_dir(&profiles)?;
    std::fs::write(profiles.join("one-register.yaml"), PROFILE)?;
    stack.more_profiles = Some(profiles);
    let units = stack.folder().join("units.json");
    std::fs::write(&units, r#"{"1": {"input": {"0": 7}}, "2": {"input": {"0": 7}}}"#)?;
    let meter = PymodbusDevice::start(&units)?;
    let (port, connections) = silent_device()?;
    stack.start_server()?;
    let device = |name: &str, link: &str, unit: usize| {
        format!("  - {{ name: {name}, profile: one-register, link: {link}, unit: {unit}, every: 100ms }}\n")
    };
    let devices: String = (1..=5).map(|unit| device(&format!("silent-{unit}"), "many", unit)).collect();
    let config = stack.configure_gateway(
        "plant7",
        &format!(
            "links:\n  many: {{ tcp: '127.0.0.1:{port}', connections: 3, timeout: 60s }}\n  good: {{ tcp: '127.0.0.1:{}' }}\ndevices:\n{devices}{}{}",
            meter.port,
            device("meter", "good", 1),
            device("pump", "good", 2),
        ),
    )?;
    stack.start_gateway(&config)?;
    // Each waits for its answer for a minute.
    wait_for("three connections", BOUND, || (connections.load(Ordering::SeqCst) == 3).then_some(()))?;

    let api = stack.api()?;
    // What is known after enough answers is well below the timeout of 2 s.
    wait_for("the timeout of a quick device", BOUND, || {
        let devices = api.json("/api/v1/devices?gateway=plant7").ok()?;
        let meter = devices["devices"].as_array()?.iter().find(|device| device["name"] == "meter")?;
        let health = &meter["health"];
        let known = health["timeout"] == 700 && health["latency_p99"].as_u64()? < 700 && health["late_p99"].is_u64();
        known.then_some(())
    })?;
    let (_, metrics) = api.get("/metrics")?;
    for line in [
        r#"pattoo_link_late_seconds{gateway="plant7",link="good",quantile="0.99"} "#,
        r#"pattoo_link_skipped_polls_total{gateway="plant7",link="good"} "#,
        r#"pattoo_device_timeout_seconds{gateway="plant7",device="pump"} 0.7"#,
    ] {
        assert!(metrics.contains(line), "{line} in\n{metrics}");
    }
    assert_eq!(connections.load(Ordering::SeqCst), 3);
    Ok(())
}

#[test]
fn what_a_device_refuses_is_known_after_a_restart_and_a_file_that_was_damaged_is_begun_anew() -> Result<()> {
    let mut stack = Stack::new()?;
    let profiles = stack.folder().join("profiles");
    std::fs::create_dir(&profiles)?;
    let more = "  - { name: b, read: { input: 1, type: u16 } }\n  - { name: c, read: { input: 2, type: u16 } }\n";
    std::fs::write(profiles.join("one-register.yaml"), PROFILE.to_owned() + more)?;
    stack.more_profiles = Some(profiles);
    let units = stack.folder().join("units.json");
    std::fs::write(&units, r#"{"1": {"input": {"0": 7, "2": 7}}}"#)?;
    let meter = PymodbusDevice::start(&units)?;
    stack.start_server()?;
    let config = stack.configure_gateway(
        "plant7",
        &format!(
            "links: {{ plc: {{ tcp: '127.0.0.1:{}' }} }}\ndevices:\n  - {{ name: meter, profile: one-register, link: plc, every: 100ms }}\n",
            meter.port
        ),
    )?;
    let file = stack.folder().join("learned.json");
    for (damage, told) in [(false, false), (false, false), (true, true)] {
        if damage {
            std::fs::write(&file, "pattoo-learned 1 00000000\n{}")?;
        }
        stack.start_gateway(&config)?;
        let gateway = stack.gateway.as_mut().context("it runs")?;
        // What is learned is written at a stop at the latest; a gateway that knows it already has nothing to write.
        if damage || !file.exists() {
            gateway.wait_line("the lesson", |line| line.contains("learned what the device refuses"))?;
        }
        ensure!(gateway.stop()?.success());
        ensure!(gateway.output().iter().any(|line| line.contains("is begun anew")) == told, "{:#?}", gateway.output());
        let kept = std::fs::read_to_string(&file)?;
        ensure!(kept.contains(r#""meter""#) && kept.contains(r#""refused":{"1":"#), "{kept}");
    }
    Ok(())
}
