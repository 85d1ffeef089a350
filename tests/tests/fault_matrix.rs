//! Law 1, cell by cell: whatever fails, readings buffered = readings in the store + readings in gap records, and nothing twice.
//!
//! Real binaries; see [`pattoo_tests::matrix`] for seeds, rounds, and how the equation is checked.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fastrand::Rng;
use pattoo_tests::fault::Way;
use pattoo_tests::fault::cut::{Cut, KINDS, Place};
use pattoo_tests::matrix::{Gaps, Load, Plant, cell};
use pattoo_tests::mosquitto::Keeps;
use pattoo_tests::mqtt::kind;
use pattoo_tests::program::{PATIENCE, Program, binary};
use pattoo_tests::site::Site;
use pattoo_tests::{python, root, wait_for};

/// How long it may take to fill the least buffer, on a loaded machine.
const OVERFLOW_WITHIN: Duration = Duration::from_secs(240);
/// Kills in each round of a cell of kills.
const KILLS: usize = 10;

#[test]
fn a_gateway_and_a_server_that_are_killed_cost_nothing() -> Result<()> {
    cell("SIGKILL of gateway and server", 1, Gaps::None, light, |random, plant| {
        for _ in 0..KILLS {
            plant.go_on(random, 20..1500);
            match random.bool() {
                true => plant.restart_gateway()?,
                false => plant.restart_server()?,
            }
        }
        Ok(())
    })
}

/// A little traffic, and the broker in the server.
fn light(_: &mut Rng) -> Result<Plant> {
    Plant::start(Load::LIGHT)
}

/// As much traffic as may be, and the least buffer.
fn flood(_: &mut Rng) -> Result<Plant> {
    Plant::start(Load::FLOOD)
}

/// A broker that keeps its files, or nothing.
fn any_mosquitto(random: &mut Rng) -> Result<Plant> {
    Plant::with_mosquitto(if random.bool() { Keeps::Files } else { Keeps::Nothing })
}

#[test]
fn a_broker_that_is_killed_costs_nothing() -> Result<()> {
    cell("SIGKILL of broker, gateway and server", 1, Gaps::None, any_mosquitto, |random, plant| {
        for _ in 0..KILLS {
            plant.go_on(random, 20..1500);
            match random.u32(0..4) {
                0 => plant.restart_gateway()?,
                1 => plant.restart_server()?,
                _ => plant.restart_broker(false)?,
            }
        }
        Ok(())
    })
}

#[test]
fn a_broker_that_forgets_everything_costs_nothing() -> Result<()> {
    let start = |_: &mut Rng| Plant::with_mosquitto(Keeps::Files);
    cell("broker that loses all its state", 1, Gaps::None, start, |random, plant| {
        for _ in 0..4 {
            plant.go_on(random, 200..2000);
            plant.restart_broker(true)?;
        }
        Ok(())
    })
}

/// Heals the link.
fn heal(plant: &Plant) -> Result<()> {
    plant.stack.relay.set_ways(Way::OPEN, Way::OPEN)
}

#[test]
fn a_link_that_goes_silent_without_closing_costs_nothing() -> Result<()> {
    let ways = [
        (Way::SWALLOW, Way::SWALLOW),
        (Way::SWALLOW, Way::OPEN),
        (Way::OPEN, Way::SWALLOW),
        (Way::STALL, Way::STALL),
        (Way::STALL, Way::OPEN),
        (Way::OPEN, Way::STALL),
    ];
    cell("half-open TCP", 2, Gaps::None, light, |random, plant| {
        for _ in 0..2 {
            plant.go_on(random, 100..1000);
            let (up, down) = *random.choice(&ways).context("there are some")?;
            plant.stack.relay.set_ways(up, down)?;
            plant.faults += 1;
            plant.go_on(random, 300..3000);
            heal(plant)?;
        }
        Ok(())
    })
}

#[test]
fn a_slow_and_late_link_costs_nothing() -> Result<()> {
    cell("slow and late link", 2, Gaps::None, light, |random, plant| {
        for _ in 0..2 {
            let way = |random: &mut Rng| Way {
                delay: Duration::from_millis(random.u64(0..500)),
                bytes_per_s: Some(random.u32(2_000..10_000)),
                ..Way::OPEN
            };
            plant.stack.relay.set_ways(way(random), way(random))?;
            plant.faults += 1;
            plant.go_on(random, 1000..4000);
            if random.bool() {
                // What is under way on a slow link is lost with it.
                plant.stack.relay.cut()?;
                plant.faults += 1;
            }
        }
        heal(plant)
    })
}

/// Readings of the flood that fill the least buffer: eight bytes and a little each.
const OVERFLOW_READINGS: usize = 100_000;

#[test]
fn what_a_full_buffer_drops_while_the_link_is_cut_is_on_record() -> Result<()> {
    cell("link cut until the buffer overflows", 1, Gaps::Numbered, flood, |random, plant| {
        plant.go_on(random, 500..2000);
        plant.stack.relay.set_target(None)?;
        plant.stack.relay.cut()?;
        plant.faults += 1;
        let goal = plant.buffered()? + random.usize(OVERFLOW_READINGS..OVERFLOW_READINGS * 3 / 2);
        wait_for("the buffer to overflow", OVERFLOW_WITHIN, || plant.buffered().ok().filter(|buffered| *buffered > goal))?;
        plant.stack.reach_server()
    })
}

#[test]
fn what_an_older_backup_of_the_server_lacks_is_sent_again_or_on_record() -> Result<()> {
    cell("server restored from an older backup", 1, Gaps::Any, light, |random, plant| {
        plant.go_on(random, 300..3000);
        let data = plant.stop_server()?;
        let backup = data.with_file_name("backup");
        copy(&data, &backup)?;
        plant.stack.start_server()?;
        plant.go_on(random, 300..3000);
        plant.restart_gateway()?;
        plant.go_on(random, 300..3000);
        plant.stop_server()?;
        std::fs::remove_dir_all(&data)?;
        std::fs::rename(&backup, &data)?;
        plant.faults += 1;
        plant.stack.start_server()
    })
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let copied = Command::new("cp").arg("--archive").args([from, to]).status()?;
    ensure!(copied.success(), "cp --archive: {copied}");
    Ok(())
}

/// Cuts in each round. Rounds whose seeds follow each other get all places of all packets in turn.
const CUTS: usize = 7;

#[test]
fn a_link_that_is_cut_at_any_place_of_any_packet_costs_nothing() -> Result<()> {
    let cuts: Vec<_> = Place::ALL.iter().flat_map(|place| KINDS.map(|(direction, kind)| (direction, kind, *place))).collect();
    cell("link cut at each place of each packet", 2, Gaps::None, light, |random, plant| {
        let first = usize::try_from(plant.seed)? % cuts.len() * CUTS;
        for at in first..first + CUTS {
            let (direction, kind, place) = *cuts.get(at % cuts.len()).context("it is one of them")?;
            let messages = kind == kind::PUBLISH || kind == kind::PUBACK;
            let before = plant.stack.relay.cuts()?;
            plant.stack.relay.plan(Cut { direction, kind, skip: if messages { random.u32(3..8) } else { 0 }, place })?;
            if !messages {
                // It comes only at the start of a connection.
                plant.stack.relay.cut()?;
            }
            let made = || plant.stack.relay.cuts().ok().filter(|cuts| *cuts > before);
            wait_for(&format!("a cut at {place:?} of kind {kind}"), PATIENCE, made)?;
            plant.faults += 1;
        }
        Ok(())
    })
}

/// Set in the process that has a network of its own.
const INSIDE: &str = "PATTOO_TEST_OWN_NETWORK";
/// Of a hundred packets.
const LOST_PERCENT: u32 = 20;

/// Runs the named test of this file in a network of its own, where it may make interfaces.
fn in_a_network_of_its_own(test: &str) -> Result<()> {
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--net"]).arg(std::env::current_exe()?).args(["--exact", test, "--nocapture"]);
    let programs = binary("pattoo-server")?;
    command.env(INSIDE, "1").env("PATTOO_TEST_BIN", programs.parent().context("it lies in a folder")?);
    let output = command.output().context("unshare of util-linux is needed")?;
    let told = [output.stdout, output.stderr].map(|told| String::from_utf8_lossy(&told).into_owned()).join("\n");
    eprintln!("{told}");
    ensure!(
        told.contains("running 1 test"),
        "this system allows no user and network namespaces: `unshare --user --map-root-user --net true` must work"
    );
    ensure!(output.status.success() && told.contains("1 passed"), "it failed there, see above");
    Ok(())
}

/// A gateway in another network, behind a link that loses packets; by TLS with a token, as everybody who is not on this machine.
fn lossy(random: &mut Rng) -> Result<Plant> {
    let mut command = Command::new(python()?);
    command.arg(root().join("tests/peers/lossy_link.py")).arg(random.u32(..).to_string()).arg(LOST_PERCENT.to_string());
    let link = Program::start("lossy link", &mut command)?;
    let joined = link.wait_line("the networks to be joined", |line| line.starts_with("joined "))?;
    let mut site = Site::start("{ names: ['10.77.0.1'] }", "10.77.0.1")?;
    let credentials = site.stack.folder().join("token");
    std::fs::write(&credentials, format!("plant7:{}\n", site.token("plant7")?))?;
    let uplink = format!("url: 'mqtts://{}', credentials: {}, ca: {}", site.secure, credentials.display(), site.ca().display());
    site.stack.gateway_within = ["nsenter", "--target", joined.trim_start_matches("joined "), "--net", "--"].map(str::to_owned).to_vec();
    let mut plant = Plant::on(site.stack, &uplink, Load::LIGHT)?;
    plant.peers.push(link);
    Ok(plant)
}

/// Packets that came to the link, and those of them that it lost.
fn packets(plant: &Plant) -> Option<(usize, usize)> {
    let last = plant.peers.last()?.output().into_iter().rfind(|line| line.starts_with("packets "))?;
    let mut words = last.split(' ');
    Some((words.nth(1)?.parse().ok()?, words.nth(1)?.parse().ok()?))
}

#[test]
fn a_link_that_loses_every_fifth_packet_costs_nothing() -> Result<()> {
    if std::env::var_os(INSIDE).is_none() {
        return in_a_network_of_its_own("a_link_that_loses_every_fifth_packet_costs_nothing");
    }
    cell("20 % packet loss", 1, Gaps::None, lossy, |_, plant| {
        // It stays so to the end.
        let (came, lost) = wait_for("packets", 3 * PATIENCE, || packets(plant).filter(|(came, _)| *came >= 300))?;
        ensure!((came / 10..came * 3 / 10).contains(&lost), "{lost} of {came} packets were lost");
        plant.faults += lost;
        Ok(())
    })
}
