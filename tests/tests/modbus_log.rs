//! The decode log of one link, switched on and off in a running daemon: what it tells, of which link, and that it ends by itself.

use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use pattoo_tests::profiles;
use pattoo_tests::program::{PATIENCE, Program, binary};
use pattoo_tests::stack::Stack;
use pattoo_tests::wait_for;
use pattoo_tests::wire::Wire;

fn simulate(way: &[&str]) -> Result<(Program, String)> {
    let mut command = Command::new(binary("pattoo-gateway")?);
    command.arg("--profiles").arg(profiles()).args(["simulate", "eastron-sdm120", "--units", "1"]).args(way);
    let program = Program::start("simulator", &mut command)?;
    let line = program.wait_line("the simulator to listen", |line| line.starts_with("listening "))?;
    Ok((program, line.trim_start_matches("listening ").trim().to_owned()))
}

fn log(config: &Path, args: &[&str]) -> Result<Output> {
    let mut command = Command::new(binary("pattoo-gateway")?);
    Ok(command.arg("--config").arg(config).arg("--profiles").arg(profiles()).arg("log").args(args).output()?)
}

fn done(output: &Output) -> Result<String> {
    ensure!(output.status.success(), "{output:?}");
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Lines of the decode log of a link.
fn lines(gateway: &Program, link: &str) -> Vec<String> {
    let own = |line: String| {
        let json: serde_json::Value = serde_json::from_str(&line).ok()?;
        let fields = json.get("fields")?;
        let is_own = json.get("target")? == "pattoo::link" && fields.get("link")? == link;
        is_own.then(|| fields.get("message").and_then(|message| message.as_str()).unwrap_or_default().to_owned())
    };
    gateway.output().into_iter().filter_map(own).collect()
}

fn wait(gateway: &Program, link: &str, from: usize, what: &str, matches: impl Fn(&str) -> bool) -> Result<String> {
    let found = wait_for(what, PATIENCE, || lines(gateway, link).into_iter().skip(from).find(|line| matches(line)));
    found.with_context(|| lines(gateway, link).join("\n"))
}

#[test]
fn one_link_of_a_running_daemon_tells_what_goes_over_it_until_it_is_told_not_to() -> Result<()> {
    let mut stack = Stack::new()?;
    stack.start_server()?;
    let (tcp, wire) = (["--listen", "127.0.0.1:0"], Wire::start()?);
    let ((_a, watched), (_b, other), (_c, _)) = (simulate(&tcp)?, simulate(&tcp)?, simulate(&["--serial", &wire.right])?);
    let config = stack.configure_gateway(
        "plant7",
        &format!(
            "links:\n  watched: {{ tcp: '{watched}' }}\n  other: {{ tcp: '{other}' }}\n  early: {{ tcp: '{other}', log: values }}\n  \
             line: {{ serial: '{}', baud: 9600, parity: none }}\ndevices:\n  \
             - {{ name: a, profile: eastron-sdm120, link: watched, every: 200ms }}\n  \
             - {{ name: b, profile: eastron-sdm120, link: other, every: 200ms }}\n  \
             - {{ name: c, profile: eastron-sdm120, link: early, every: 1s }}\n  \
             - {{ name: d, profile: eastron-sdm120, link: line, every: 1s }}\n",
            wire.left
        ),
    )?;
    let output = log(&config, &["watched", "frames"])?;
    let says = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(1) && says.contains("does it run with this configuration"), "{output:?}");

    stack.start_gateway(&config)?;
    let gateway = stack.gateway.as_ref().context("no gateway")?;
    // What its configuration says, without anybody asking.
    wait(gateway, "early", 0, "a value of the link that is configured so", |line| line.starts_with("c voltage = "))?;
    ensure!(lines(gateway, "watched").is_empty(), "off, unless somebody asks: {:?}", lines(gateway, "watched"));

    ensure!(done(&log(&config, &["watched", "values"])?)? == "link watched: values in the daemon's log for 10m");
    wait(gateway, "watched", 0, "a value", |line| line.starts_with("a voltage = 2") && line.ends_with(" V good"))?;
    ensure!(!lines(gateway, "watched").iter().any(|line| line.contains("->")), "values only");

    let before = lines(gateway, "watched").len();
    ensure!(done(&log(&config, &["watched", "bytes", "--for", "2m"])?)? == "link watched: bytes in the daemon's log for 2m");
    // It reads 32 registers from 0 on; the first one is a voltage above 128 V and below 256 V.
    wait(gateway, "watched", before, "a question in bytes", |line| line.starts_with("sent ") && line.contains(" 00 06 01 04 00 00 00 "))?;
    wait(gateway, "watched", before, "an answer in bytes", |line| {
        line.starts_with("heard ") && line.contains(" 01 04 ") && line.contains(" 43 ")
    })?;
    wait(gateway, "watched", before, "a frame", |line| {
        line.starts_with("unit 1: read input 0, ") && line.contains(" -> 43") && line.ends_with(" ms")
    })?;
    wait(gateway, "watched", before, "a value still", |line| line.starts_with("a voltage = "))?;

    // It ends by itself.
    done(&log(&config, &["watched", "frames", "--for", "1s"])?)?;
    wait(gateway, "watched", before, "its end", |line| line == "decode log off: its time is over")?;
    done(&log(&config, &["watched", "frames"])?)?;
    ensure!(done(&log(&config, &["watched", "off"])?)? == "link watched: decode log off");
    let silent = lines(gateway, "watched").len();
    let polled = lines(gateway, "early").len();
    wait_for("another poll of the other link", PATIENCE, || (lines(gateway, "early").len() > polled + 22).then_some(()))?;
    let after: Vec<_> = lines(gateway, "watched").into_iter().skip(silent).filter(|line| line != "decode log off").collect();
    ensure!(after.is_empty(), "{after:?}");
    ensure!(lines(gateway, "other").is_empty(), "nobody asked for the other link: {:?}", lines(gateway, "other"));

    // On a serial line, in the bytes of its frames: unit, function, address.
    done(&log(&config, &["line", "bytes"])?)?;
    wait(gateway, "line", 0, "a question on the line", |line| line.starts_with("sent 01 04 00 00 00 "))?;
    wait(gateway, "line", 0, "an answer on the line", |line| line.starts_with("heard 01 04 ") && line.contains(" 43 "))?;

    let output = log(&config, &["wached", "values"])?;
    ensure!(String::from_utf8_lossy(&output.stderr).contains("expected one of early, line, other, watched"), "{output:?}");
    ensure!(log(&config, &["watched", "loud"])?.status.code() == Some(2), "a level that is none is a usage error");
    Ok(())
}
