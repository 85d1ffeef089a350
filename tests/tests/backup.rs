//! Backups by the real programs: made while gateways send, put back into a new folder, refused where they are damaged, and on a disk that is full.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use pattoo_tests::disk;
use pattoo_tests::disk::rules::{ENOSPC, ON_GROW, Rule, Rules};
use pattoo_tests::matrix::{Gaps, Load, Plant};
use pattoo_tests::program::{PATIENCE, Program, binary};
use pattoo_tests::stack::{Readings, Stack, stored};
use pattoo_tests::wait_for;
use serde_json::Value as Json;

/// So little that parts are written all the time.
const MEMORY: &str = "64KiB";

fn configure(stack: &Stack, data: &Path) -> Result<PathBuf> {
    let config = stack.folder().join("server.yaml");
    let listen = "listen: 127.0.0.1:0";
    let text = format!(
        "data: {}\nmemory: {MEMORY}\nhttp: {{ {listen}, anonymous: viewer }}\nbroker: {{ {listen} }}\nagents: {{ {listen} }}\n",
        data.display()
    );
    std::fs::write(&config, text)?;
    Ok(config)
}

fn command(data: &Path, args: &[&str]) -> Result<Command> {
    let mut command = Command::new(binary("pattoo-server")?);
    command.args(args).arg("--data").arg(data).env("PATTOO_MEMORY", MEMORY);
    Ok(command)
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path that is no text")
}

/// What a command printed as JSON; it must have done what it was told.
fn json(mut command: Command) -> Result<Json> {
    let output = command.arg("--json").output()?;
    ensure!(output.status.success(), "{output:?}");
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// What a command said that failed.
fn failed(output: &Output) -> Result<String> {
    ensure!(output.status.code() == Some(1), "{output:?}");
    Ok(String::from_utf8_lossy(&output.stderr).into_owned())
}

fn names(folder: &Path) -> Result<Vec<String>> {
    let mut names =
        std::fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect::<Result<Vec<_>>>()?;
    names.sort_unstable();
    Ok(names)
}

/// All that a server on this folder serves of a gateway.
fn served(data: &Path, gateway: &str) -> Result<Readings> {
    let mut stack = Stack::new()?;
    let config = configure(&stack, data)?;
    stack.start_server_with(&config)?;
    stored(stack.api()?, gateway)
}

#[test]
fn a_backup_while_gateways_send_has_all_that_was_stored_before_it_and_nothing_else() -> Result<()> {
    let mut stack = Stack::new()?;
    let (data, backups) = (stack.folder().join("data"), tempfile::tempdir()?);
    let config = configure(&stack, &data)?;
    stack.start_server_with(&config)?;
    let url = format!("url: 'mqtt://{}'", stack.relay.address());
    let plant = Plant::on(stack, &url, Load::LIGHT)?;
    let api = plant.stack.api()?;
    let target = |name: &str| backups.path().join(name);

    let parts = || names(&data.join("parts")).is_ok_and(|names| names.iter().any(|name| name.ends_with(".part")));
    wait_for("a part to be written", PATIENCE, || parts().then_some(()))?;
    let mut taken = Vec::new();
    for name in ["first.tar", "second"] {
        let least = taken.last().map_or(200, |(_, before): &(_, Readings)| before.len() + 200);
        let before = wait_for("readings to be stored", PATIENCE, || stored(api, "plant7").ok().filter(|held| held.len() >= least))?;
        let done = json(command(&data, &["backup", text(&target(name))?])?)?;
        ensure!(done["files"].as_u64().is_some_and(|files| files >= 4), "{done}");
        taken.push((name, before));
    }
    // The server reads what it writes; so does a check of it.
    let checked = json(command(&data, &["check", "--stored"])?)?;
    ensure!(checked["damage"] == Json::Array(Vec::new()) && checked["parts"].as_u64() > Some(0), "{checked}");
    wait_for("the snapshot to go", PATIENCE, || (!data.join("snapshot").exists()).then_some(()))?;
    let again = failed(&command(&data, &["backup", text(&target("second"))?])?.output()?)?;
    ensure!(again.contains("is there already"), "{again}");

    for (name, before) in taken {
        let restored = target("new").join(name);
        json(command(&restored, &["restore", text(&target(name))?])?)?;
        let there = served(&restored, "plant7")?;
        let lost: Vec<_> = before.iter().filter(|(key, reading)| there.get(key) != Some(reading)).take(3).collect();
        ensure!(lost.is_empty(), "{name}: {} stored before, {} restored, without {lost:?}", before.len(), there.len());
        let now = stored(api, "plant7")?;
        let invented: Vec<_> = there.iter().filter(|(key, reading)| now.get(key) != Some(reading)).take(3).collect();
        ensure!(invented.is_empty(), "{name}: restored and never stored: {invented:?}");
    }
    ensure!(names(backups.path())? == ["first.tar", "new", "second"], "{:?}", names(backups.path())?);
    // And the server that was backed up lost nothing by it.
    let balance = plant.settle(Gaps::None)?;
    ensure!(balance.in_gaps == 0, "{balance:?}");
    Ok(())
}

/// A data folder with parts and a log, and no server.
fn history(stack: &Stack) -> Result<PathBuf> {
    let (data, file) = (stack.folder().join("data"), stack.folder().join("history.csv"));
    let rows = (0..30_000).map(|n| format!("{},meter,voltage,{}.{}\n", 1_796_025_600_000i64 + n * 1000, 200 + n % 40, n % 10));
    std::fs::write(&file, "time,device,point,value\n".to_owned() + &rows.collect::<String>())?;
    let output = command(&data, &["import", text(&file)?, "--gateway", "plant7"])?.output()?;
    ensure!(output.status.success(), "{output:?}");
    Ok(data)
}

#[test]
fn damage_is_named_and_a_damaged_backup_is_not_restored() -> Result<()> {
    let stack = Stack::new()?;
    let data = history(&stack)?;
    let (backup, restored) = (stack.folder().join("backup"), stack.folder().join("restored"));
    json(command(&data, &["backup", text(&backup)?])?)?;
    let part = names(&backup.join("parts"))?.into_iter().find(|name| name.ends_with(".part")).context("there is no part")?;
    let hurt = |folder: &Path| -> Result<()> {
        let path = folder.join("parts").join(&part);
        let mut bytes = std::fs::read(&path)?;
        let middle = bytes.len() / 2;
        bytes.iter_mut().skip(middle).take(1).for_each(|byte| *byte ^= 1);
        Ok(std::fs::write(path, bytes)?)
    };
    hurt(&backup)?;
    let why = failed(&command(&restored, &["restore", text(&backup)?])?.output()?)?;
    ensure!(why.contains(&format!("parts/{part}: is damaged")) && !restored.exists(), "{why}");

    let good = command(&data, &["check", "--stored"])?.output()?;
    ensure!(good.status.success() && String::from_utf8_lossy(&good.stdout).contains("nothing is damaged"), "{good:?}");
    hurt(&data)?;
    let before = std::fs::read(data.join("pattoo.redb"))?;
    let checked = command(&data, &["check", "--stored", "--json"])?.output()?;
    failed(&checked)?;
    let checked: Json = serde_json::from_slice(&checked.stdout)?;
    ensure!(
        checked["damage"][0]["file"] == format!("parts/{part}").as_str() && checked["damage"][0]["kept"].as_u64().is_some(),
        "{checked}"
    );
    ensure!(std::fs::read(data.join("pattoo.redb"))? == before && !data.join("snapshot").exists(), "the check changed something");
    let usage = command(&data, &["backup"])?.output()?;
    ensure!(usage.status.code() == Some(2), "{usage:?}");
    Ok(())
}

#[test]
fn a_full_disk_fails_the_backup_and_nothing_else() -> Result<()> {
    let stack = Stack::new()?;
    let data = history(&stack)?;
    let (backups, restored) = (stack.folder().join("backups"), stack.folder().join("restored"));
    std::fs::create_dir(&backups)?;
    let full = |skip| Rule { kinds: ON_GROW, error: ENOSPC, skip, fail: u64::MAX };
    // Where the backup goes.
    let rules = Rules::new(&stack.folder().join("rules"))?;
    for (name, skip) in [("a.tar", 0), ("a", 0), ("a", 2)] {
        rules.set(0, Some(full(skip)))?;
        let mut command = command(&data, &["backup", text(&backups.join(name))?])?;
        disk::watch(&mut command, &backups, None, Some(rules.path()))?;
        let why = failed(&command.output()?)?;
        ensure!(why.contains("No space left") && rules.hits(0)? > 0, "{why}");
        ensure!(names(&backups)?.is_empty() && !data.join("snapshot").exists(), "{name}, {skip}: {:?}", names(&backups)?);
    }
    // Where the server is.
    let (config, ready) = (configure(&stack, &data)?, stack.folder().join("ready.json"));
    let mut server = Command::new(binary("pattoo-server")?);
    server.arg("run").arg("--config").arg(&config).arg("--ready-file").arg(&ready);
    rules.set(0, None)?;
    disk::watch(&mut server, &data, None, Some(rules.path()))?;
    let mut server = Program::start("server", &mut server)?;
    server.wait_ready(&ready)?;
    rules.set(0, Some(full(0)))?;
    let target = backups.join("b");
    let why = failed(&command(&data, &["backup", text(&target)?])?.output()?)?;
    ensure!(why.contains("it made no snapshot") && why.contains("No space left"), "{why}");
    wait_for("the snapshot to go", PATIENCE, || (!data.join("snapshot").exists()).then_some(()))?;
    ensure!(names(&backups)?.is_empty(), "{:?}", names(&backups)?);
    rules.set(0, None)?;
    json(command(&data, &["backup", text(&target)?])?)?;
    ensure!(server.stop()?.success(), "{}", server.tail());
    json(command(&restored, &["restore", text(&target)?])?)?;
    ensure!(served(&restored, "plant7")?.len() == 30_000, "not all of it came back");
    Ok(())
}
