//! Commands over MQTT to a real gateway, whose device is pymodbus: what is written, what is not, and who may say so.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use pattoo_gateway::clock::now_ms;
use pattoo_tests::mqtt::{Connect, Raw, code};
use pattoo_tests::plant::{GATEWAY, Plant, SCADA, ask, result, send};
use pattoo_tests::program::PATIENCE;
use pattoo_tests::site::{id, token_of};
use pattoo_tests::wait_for;
use pattoo_wire::{Command, CommandResult, Outcome, topic};
use serde_json::{Value, json};

const ENABLED: &str = "commands: { enabled: true, max_expiry: 10m }";
const POINTS: &str = "[relay, valve, slow, speed, level, limit, mode, flag]";

/// Functions 5, 15, 6, 16 and 22; a part of a register without 22 is refused.
fn writes_over(way: &str) -> Result<()> {
    let mut plant = Plant::start(way)?;
    plant.start_gateway(ENABLED, POINTS)?;
    let mut scada = plant.commander()?;
    for (point, value, old) in [
        ("relay", json!(true), json!(false)),
        ("relay", json!("off"), json!(true)),
        ("valve", json!(1), json!(false)),
        ("speed", json!(89.9), json!(0.0)),
        ("level", json!(-2.5), json!(0.0)),
        ("limit", json!(7), json!(0)),
        ("mode", json!(5), json!(0)),
    ] {
        let command = plant.command(point, value.clone());
        let result = ask(&mut scada, &command, "done")?;
        let meant = match point {
            "relay" | "valve" => json!(value != json!("off")),
            _ => value,
        };
        ensure!(result["value"] == meant && result["old"] == old, "{command}: {result}");
        ensure!((now_ms() - result["time_ms"].as_i64().context("a time")?).abs() < 60_000, "{result}");
    }
    let flag = plant.command("flag", json!(true));
    let refused = ask(&mut scada, &flag, "not_writable")?;
    ensure!(refused["detail"].as_str().is_some_and(|text| text.contains("read_modify_write")), "{refused}");
    Ok(())
}

#[test]
fn a_write_over_modbus_tcp_is_done_and_answered() -> Result<()> {
    writes_over("tcp")
}

#[test]
fn a_write_over_a_serial_line_is_done_and_answered() -> Result<()> {
    writes_over("serial")
}

#[test]
fn a_write_through_a_serial_server_is_done_and_answered() -> Result<()> {
    writes_over("rtu-over-tcp")
}

#[test]
fn what_must_not_be_written_is_not_and_the_answer_says_why() -> Result<()> {
    let mut plant = Plant::start("tcp")?;
    plant.start_gateway(ENABLED, POINTS)?;
    let mut scada = plant.commander()?;
    let (past, far) = (now_ms() - 1, now_ms() + 3_600_000);
    for (point, value, change, outcome) in [
        ("relay", json!(true), json!({ "expires_ms": past }), "expired"),
        ("relay", json!(true), json!({ "expires_ms": far }), "expiry_too_far"),
        ("relay", json!(true), json!({ "expires_ms": null }), "no_expiry"),
        ("relay", json!(true), json!({ "expected": true }), "mismatch"),
        ("relay", json!(true), json!({ "expected": "maybe" }), "bad_value"),
        ("relay", json!(2), json!({}), "bad_value"),
        ("speed", json!(90.1), json!({}), "out_of_range"),
        ("speed", json!(1.23), json!({}), "bad_value"),
        ("spare", json!(1), json!({}), "not_writable"),
        ("counter", json!(1), json!({}), "not_writable"),
        ("nothing", json!(1), json!({}), "unknown_point"),
        ("relay", json!(true), json!({ "device": "other" }), "unknown_device"),
        ("relay", json!([true]), json!({}), "malformed"),
        ("relay", json!(true), json!({ "exspected": false }), "malformed"),
    ] {
        let mut command = plant.command(point, value);
        for (key, value) in change.as_object().context("a change")? {
            command[key] = value.clone();
        }
        let result = ask(&mut scada, &command, outcome)?;
        ensure!(result["detail"].as_str().is_some_and(|text| !text.is_empty()), "{result}");
        let old = if outcome == "mismatch" { json!(false) } else { Value::Null };
        ensure!(result["old"] == old, "{result}");
    }
    ensure!(plant.read("relay")? == json!(false) && plant.read("speed")? == json!(0.0) && plant.read("spare")? == json!(0));

    let unreadable = scada.publish(&topic::command(GATEWAY), false, b"relay on")?;
    ensure!(unreadable < 0x80 && result(&mut scada)?["outcome"] == "malformed");
    let good = plant.command("relay", json!(true));
    ask(&mut scada, &good, "done")?;

    plant.device = None;
    let dead = plant.command("relay", json!(false));
    let result = ask(&mut scada, &dead, "unreadable")?;
    ensure!(result["detail"].as_str().is_some_and(|text| !text.is_empty()) && result["old"] == Value::Null, "{result}");
    Ok(())
}

#[test]
fn a_command_is_done_once_however_often_it_comes_and_after_a_kill() -> Result<()> {
    let mut plant = Plant::start("tcp")?;
    plant.start_gateway(ENABLED, POINTS)?;
    let mut scada = plant.commander()?;
    let on = plant.command("relay", json!(true));
    let first = ask(&mut scada, &on, "done")?;
    let off = plant.command("relay", json!(false));
    ask(&mut scada, &off, "done")?;
    ensure!(ask(&mut scada, &on, "done")? == first, "the same answer");
    let mut other = on.clone();
    other["value"] = json!(false);
    ask(&mut scada, &other, "id_reused")?;

    plant.site.stack.gateway.take().context("it runs")?.kill();
    plant.start_gateway(ENABLED, POINTS)?;
    ensure!(ask(&mut scada, &on, "done")? == first, "the same answer after a restart");
    ensure!(plant.read("relay")? == json!(false), "it was done again");

    // On record: who, when, where, what, what was before, and how it ended.
    let audit = plant.audit();
    ensure!(audit.len() == 4, "{audit:#?}");
    ensure!(audit[0]["event"] == "begun" && audit[0]["command"] == on && audit[0]["time"].is_string(), "{}", audit[0]);
    ensure!(audit[1]["event"] == "ended" && audit[1]["result"] == first && first["old"] == json!(false), "{}", audit[1]);
    Ok(())
}

/// Killed between the write and its end, the gateway cannot know how it went: it says so, and does not try again.
#[test]
fn a_gateway_that_is_killed_while_it_writes_says_that_it_does_not_know() -> Result<()> {
    let mut plant = Plant::start("tcp")?;
    plant.start_gateway(ENABLED, POINTS)?;
    let mut scada = plant.commander()?;
    // Its device takes two seconds to give the value back.
    let command = plant.command("slow", json!(true));
    send(&mut scada, &command)?;
    wait_for("the device to have it", PATIENCE, || plant.read("slow").ok().filter(|value| *value == json!(true)))?;
    plant.site.stack.gateway.take().context("it runs")?.kill();
    ensure!(plant.audit().len() == 1, "killed too late: {:?}", plant.audit());
    plant.start_gateway(ENABLED, POINTS)?;
    let told = result(&mut scada)?;
    ensure!(told["id"] == command["id"] && told["outcome"] == "unknown", "{told}");
    let off = plant.command("slow", json!(false));
    ask(&mut scada, &off, "done")?;
    ensure!(ask(&mut scada, &command, "unknown")? == told, "the same answer");
    ensure!(plant.read("slow")? == json!(false), "it was done again");
    Ok(())
}

/// Part of a register without function 22: only where the config allows to write all of it, and what is beside it stays.
#[test]
fn a_part_of_a_register_is_written_with_the_rest_of_it_where_that_is_allowed() -> Result<()> {
    let mut plant = Plant::start("tcp")?;
    plant.start_gateway("commands: { enabled: true, read_modify_write: true }", POINTS)?;
    let mut scada = plant.commander()?;
    for (point, value) in [("mode", json!(5)), ("flag", json!(true)), ("mode", json!(2))] {
        let command = plant.command(point, value);
        ask(&mut scada, &command, "done")?;
    }
    ensure!(plant.read("mode")? == json!(2) && plant.read("flag")? == json!(true));
    Ok(())
}

#[test]
fn without_an_audit_record_nothing_is_written() -> Result<()> {
    let mut plant = Plant::start("tcp")?;
    let folder = plant.site.stack.folder().join("audit");
    plant.start_gateway(&format!("commands: {{ enabled: true, audit: {}/audit.jsonl }}", folder.display()), POINTS)?;
    let mut scada = plant.commander()?;
    let command = plant.command("relay", json!(true));
    ask(&mut scada, &command, "not_recorded")?;
    ensure!(plant.read("relay")? == json!(false));
    // Once there is a place for it, the same command is done.
    std::fs::create_dir(&folder)?;
    ask(&mut scada, &command, "done")?;
    Ok(())
}

/// The README's JSON is JSON of ours, and its table has every outcome.
#[test]
fn the_readme_shows_commands_as_they_are() -> Result<()> {
    let readme = std::fs::read_to_string(pattoo_tests::root().join("README.md"))?;
    let blocks: Vec<_> = readme.split("```json\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    let [command, answer] = blocks.as_slice() else { anyhow::bail!("{blocks:?}") };
    let command: Command = serde_json::from_str(command)?;
    let answer: CommandResult = serde_json::from_str(answer)?;
    ensure!(Some(command.id) == answer.id && answer.value == Some(command.value) && answer.old == command.expected);
    for (outcome, name) in Outcome::NAMES {
        ensure!(readme.contains(&format!("`{name}`")) && serde_json::to_value(outcome)? == *name, "{name}");
    }
    Ok(())
}

/// What was read around a write is a reading like any other: the device is not polled otherwise.
#[test]
fn a_write_shows_in_the_store() -> Result<()> {
    let mut plant = Plant::start("tcp")?;
    plant.start_gateway(ENABLED, POINTS)?;
    let mut scada = plant.commander()?;
    let command = plant.command("speed", json!(42.5));
    ask(&mut scada, &command, "done")?;
    let api = plant.site.stack.api()?;
    wait_for("the new value in the store", PATIENCE, || {
        let latest = api.json("/api/v1/latest?device=io").ok()?;
        latest.to_string().contains("42.5").then_some(())
    })
}

#[test]
fn an_answer_waits_for_a_broker_that_is_away() -> Result<()> {
    let mut plant = Plant::start("tcp")?;
    plant.start_gateway(ENABLED, POINTS)?;
    let mut scada = plant.commander()?;
    // Its device takes two seconds to give the value back.
    let command = plant.command("slow", json!(true));
    send(&mut scada, &command)?;
    let gateway = plant.site.stack.gateway.as_ref().context("it runs")?;
    gateway.wait_line("the write to be begun", |line| line.contains("\"audit\"") && line.contains("begun"))?;
    plant.site.stack.relay.set_target(None)?;
    plant.site.stack.relay.cut()?;
    gateway.wait_line("the write to end", |line| line.contains("\"audit\"") && line.contains("ended"))?;
    plant.site.stack.reach_server()?;
    let result = result(&mut scada)?;
    ensure!(result["id"] == command["id"] && result["outcome"] == "done", "{result}");
    Ok(())
}

/// A retained command is there whenever a gateway connects: not heard where commands are off, done once, and not after its time.
#[test]
fn a_gateway_writes_nothing_unless_its_configuration_says_so() -> Result<()> {
    let mut plant = Plant::start("tcp")?;
    let mut scada = plant.commander()?;
    let command = plant.command("relay", json!(true));
    let answer = scada.publish(&topic::command(GATEWAY), true, command.to_string().as_bytes())?;
    ensure!(answer < 0x80, "{answer:02x}");
    for commands in ["", "commands: { enabled: false }"] {
        plant.start_gateway(commands, "all")?;
        let gateway = plant.site.stack.gateway.as_mut().context("it runs")?;
        gateway.wait_line("the server to acknowledge", |line| line.contains("the server has it"))?;
        gateway.stop()?;
        let log = gateway.output().join("\n");
        ensure!(!log.contains("\"audit\""), "{log}");
        ensure!(plant.read("relay")? == json!(false) && plant.audit().is_empty());
    }
    plant.start_gateway(ENABLED, "all")?;
    let first = result(&mut scada)?;
    ensure!(first["id"] == command["id"] && first["outcome"] == "done", "{first}");
    plant.site.stack.gateway.take().context("it runs")?.kill();
    plant.start_gateway(ENABLED, "all")?;
    ensure!(result(&mut scada)? == first, "it was done once");

    let mut old = plant.command("relay", json!(false));
    old["expires_ms"] = json!(now_ms() - 1);
    scada.publish(&topic::command(GATEWAY), true, old.to_string().as_bytes())?;
    ensure!(result(&mut scada)?["outcome"] == "expired");
    plant.site.stack.gateway.take().context("it runs")?.kill();
    plant.start_gateway(ENABLED, "all")?;
    ensure!(result(&mut scada)?["outcome"] == "expired");
    ensure!(plant.read("relay")? == json!(true));
    Ok(())
}

#[test]
fn nobody_commands_a_gateway_without_an_account_that_may() -> Result<()> {
    let mut plant = Plant::start("tcp")?;
    plant.start_gateway(ENABLED, POINTS)?;
    let mut scada = plant.commander()?;
    let command = plant.command("relay", json!(true));
    let (message, plain) = (command.to_string(), plant.site.plain);
    let gateway = plant.site.token("g2")?;
    let other = token_of("other", &plant.site.change(&["add", "other", "--commands", "g2", "--json"], "")?)?;
    let open = |connect: Connect<'_>| Raw::plain(plain)?.connected(connect);
    let mut strangers = [
        ("a gateway", open(Connect::as_id(&id("g2")).login("g2", &gateway))?),
        ("who commands another gateway", open(Connect::as_id(&id("other")).login("other", &other))?),
        ("a program of this machine", open(Connect::as_id("node-red"))?),
    ];
    for (who, raw) in &mut strangers {
        let answer = raw.publish(&topic::command(GATEWAY), false, message.as_bytes())?;
        ensure!(answer == code::NOT_AUTHORIZED, "{who}: {answer:02x}");
        // Nor may it answer for the gateway, but for a program of this machine, which may be that gateway.
        if *who != "a program of this machine" {
            let answer = raw.publish(&topic::command_result(GATEWAY), false, b"{}")?;
            ensure!(answer == code::NOT_AUTHORIZED, "{who}: {answer:02x}");
            let answer = raw.subscribe(&topic::command(GATEWAY))?;
            ensure!(answer >= 0x80, "{who} hears commands: {answer:02x}");
        }
    }
    ask(&mut scada, &command, "done")?;
    ensure!(plant.audit().len() == 2, "{:?}", plant.audit());

    let listed = plant.site.run(&["list"], "")?;
    ensure!(String::from_utf8_lossy(&listed.stdout).contains("commands plant7"), "{listed:?}");
    // The right is taken away with the account.
    plant.site.change(&["revoke", SCADA], "")?;
    scada.closed_after(Duration::from_secs(5))?;
    Ok(())
}

#[test]
fn a_point_gets_its_safe_value_once_the_server_is_gone_for_its_time() -> Result<()> {
    let mut plant = Plant::start("tcp")?;
    plant.start_gateway(ENABLED, "{ relay: { safe: { value: off, after: 10s } }, speed: { safe: { value: 20, after: 24h } } }")?;
    let mut scada = plant.commander()?;
    for (point, value) in [("relay", json!("on")), ("speed", json!(60))] {
        let command = plant.command(point, value);
        ask(&mut scada, &command, "done")?;
    }
    let gateway = plant.site.stack.gateway.as_ref().context("it runs")?;
    gateway.wait_line("the server to be heard", |line| line.contains("the server has it"))?;
    plant.site.stack.kill_server()?;
    let ended = |plant: &Plant| {
        let audit = plant.audit();
        audit
            .iter()
            .any(|line| line["event"] == "ended" && line["result"]["id"].as_str().is_some_and(|id| id.starts_with("safe-")))
            .then_some(audit)
    };
    let audit = wait_for("the safe value", PATIENCE, || ended(&plant))?;
    let safe: Vec<_> = audit.iter().filter(|line| line["safe"] == true).collect();
    ensure!(safe.len() == 1 && safe[0]["command"]["by"] == "safe value" && safe[0]["command"]["point"] == "relay", "{audit:#?}");
    ensure!(plant.read("relay")? == json!(false) && plant.read("speed")? == json!(60.0));
    Ok(())
}
