//! Law 5 against real programs: bad input gets a clear error with its place, and the daemon goes on with the rest.

use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use pattoo_tests::profiles;
use pattoo_tests::program::{PATIENCE, binary};
use pattoo_tests::stack::Stack;
use pattoo_tests::wait_for;

/// Starts the gateway with a config that cannot be used and gives what it says.
fn refused(config: &str, says: &[&str]) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("gateway.yaml");
    std::fs::write(&path, config)?;
    let mut command = Command::new(binary("pattoo-gateway")?);
    let Output { status, stderr, .. } = command.arg("--config").arg(&path).arg("--profiles").arg(profiles()).arg("run").output()?;
    let stderr = String::from_utf8_lossy(&stderr);
    ensure!(status.code() == Some(1), "{config:?} ended with {status}: {stderr}");
    for text in says {
        ensure!(stderr.contains(text), "{config:?} should say {text:?}, says:\n{stderr}");
    }
    Ok(())
}

#[test]
fn a_config_that_cannot_be_used_is_refused_with_its_place() -> Result<()> {
    refused("gateway: plant7\nuplink: { url: 'mqtt://127.0.0.1:1883' \nbuffer: {", &["gateway.yaml:"])?;
    refused("gateway: plant7\nuplinc: { url: 'mqtt://127.0.0.1:1883' }\n", &["gateway.yaml:2:1:", "uplinc", "did you mean `uplink`"])?;
    refused("gateway: a/b\nuplink: { url: 'mqtt://127.0.0.1:1883' }\nbuffer: { path: /tmp/x }\n", &["gateway.yaml:1:10:", "'/'"])?;
    Ok(())
}

#[test]
fn one_bad_profile_or_device_costs_only_itself() -> Result<()> {
    let mut stack = Stack::new()?;
    stack.start_server()?;
    let extra = stack.folder().join("profiles");
    std::fs::create_dir(&extra)?;
    std::fs::write(extra.join("broken.yaml"), "schema: 1\nid: broken\npoints: [ { name: a, read: { input: 65535, type: f32 } } ]\n")?;
    let config = stack.configure_gateway(
        "plant7",
        "devices:
  - { name: good, profile: linux-host, every: 500ms }
  - { name: bad, profile: broken, link: none, every: 500ms }
  - { name: good, profile: linux-host, every: 700ms }
",
    )?;
    let mut command = Command::new(binary("pattoo-gateway")?);
    command
        .env("PATTOO_LOG", "info")
        .arg("--config")
        .arg(&config)
        .arg("--profiles")
        .arg(profiles())
        .arg("--profiles")
        .arg(&extra)
        .arg("run");
    let mut gateway = pattoo_tests::program::Program::start("gateway", &mut command)?;
    let api = stack.api()?;
    wait_for("readings of the good device", PATIENCE, || {
        api.json("/api/v1/latest?device=good").ok()?.get("latest")?.as_array().filter(|list| !list.is_empty()).map(|_| ())
    })
    .with_context(|| gateway.output().join("\n"))?;
    let log = gateway.kill().join("\n");
    for says in ["broken.yaml:3:", "65535", "bad", "good", "gateway.yaml:"] {
        ensure!(log.contains(says), "the log should say {says:?}:\n{log}");
    }
    Ok(())
}
