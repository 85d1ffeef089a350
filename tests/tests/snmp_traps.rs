//! Traps and informs of net-snmp at a running gateway, up to the server: each version and protection once, acknowledged, and never twice.

use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use pattoo_tests::agent::{self, Objects};
use pattoo_tests::program::PATIENCE;
use pattoo_tests::stack::{self, Stack};
use pattoo_tests::wait_for;

const PROFILE: &str = "\
schema: 1
id: trap-test
manufacturer: Nobody
model: Trap test
snmp: { tables: { interfaces: { index: [if_index] } } }
points:
  - { name: if_oper_status, every: 1h, read: { table: interfaces, column: 1.3.6.1.2.1.2.2.1.8, type: integer }, states: { 1: up, 2: down } }
  - name: link_trap
    read: { trap: { 1.3.6.1.6.3.1.1.5.3: 2, 1.3.6.1.6.3.1.1.5.4: 1 }, row: 1.3.6.1.2.1.31.1.1.1.1 }
    states: { 1: up, 2: down }
    hastens: [if_oper_status]
  - { name: other_trap, read: { trap: any } }
";
const LINK_DOWN: &str = "1.3.6.1.6.3.1.1.5.3";
const SHA: &[&str] = &["-u", "mon", "-l", "authPriv", "-a", "SHA", "-A", "authpass12", "-x", "AES", "-X", "privpass12"];
const SHA256: &[&str] = &["-u", "mon2", "-l", "authPriv", "-a", "SHA-256", "-A", "authpass12", "-x", "AES", "-X", "privpass12"];
const SHA512: &[&str] = &["-u", "big", "-l", "authPriv", "-a", "SHA-512", "-A", "authpass12", "-x", "AES-256", "-X", "privpass12"];
const MD5: &[&str] = &["-u", "old", "-l", "authPriv", "-a", "MD5", "-A", "authpass12", "-x", "DES", "-X", "privpass12"];
const WRONG: &[&str] = &["-u", "mon", "-l", "authPriv", "-a", "SHA", "-A", "authpass13", "-x", "AES", "-X", "privpass12"];

/// A gateway that listens, with two agents on this machine; its server.
struct Plant {
    stack: Stack,
    traps: SocketAddr,
    /// Requests that the agent of `switch` was sent.
    asked: Arc<AtomicUsize>,
}

impl Plant {
    fn start() -> Result<Self> {
        let mut stack = Stack::new()?;
        let folder = stack.folder().to_owned();
        let write = |name: &str, text: &str| std::fs::write(folder.join(name), text);
        std::fs::create_dir(folder.join("profiles"))?;
        write("profiles/trap-test.yaml", PROFILE)?;
        write("users.secret", "{ auth: authpass12, priv: privpass12 }")?;
        write("traps.secret", "{ communities: [hidden] }")?;
        stack.more_profiles = Some(folder.join("profiles"));
        stack.start_server()?;
        let (agent, asked) = serve_agent()?;
        let user = |name: &str, auth: &str, privacy: &str| {
            format!("{{ user: {name}, auth: {auth}, priv: {privacy}, secrets: {} }}", folder.join("users.secret").display())
        };
        let users =
            [user("mon", "sha1", "aes128"), user("mon2", "sha256", "aes128"), user("big", "sha512", "aes256"), user("old", "md5", "des")];
        let config = stack.configure_gateway(
            "plant7",
            &format!(
                "traps:\n  listen: 127.0.0.1:0\n  communities: [ops]\n  secrets: {}\n  users: [{}]\n  \
                 sources: {{ 10.1.2.3: far, 8000000001020304: far }}\ndevices:\n  \
                 - {{ name: switch, profile: trap-test, snmp: {{ host: '{agent}', community: public }} }}\n  \
                 - {{ name: far, profile: trap-test, every: 1h, snmp: {{ host: '10.255.255.1', community: public, timeout: 50ms, retries: 0 }} }}\n",
                folder.join("traps.secret").display(),
                users.join(", ")
            ),
        )?;
        stack.start_gateway(&config)?;
        let gateway = stack.gateway.as_ref().context("no gateway")?;
        let line = gateway.wait_line("the gateway to listen", |line| line.contains("listening for traps"))?;
        let line: serde_json::Value = serde_json::from_str(&line)?;
        let traps = line.pointer("/fields/address").and_then(|address| address.as_str()).context("no address")?.parse()?;
        Ok(Self { stack, traps, asked })
    }

    /// Runs `snmptrap` or `snmpinform` for an interface that went down, whose name is that of the case.
    fn send(&self, tool: &str, to: SocketAddr, how: &[&str], what: &[&str], name: &str) -> Result<Output> {
        let mut command = Command::new(tool);
        let home = self.stack.folder().join("net-snmp");
        std::fs::create_dir_all(&home)?;
        command.env("MIBS", "").env("SNMPCONFPATH", &home).env("SNMP_PERSISTENT_DIR", &home);
        command.args(how).arg(to.to_string()).args(what);
        command.args(["1.3.6.1.2.1.2.2.1.1.7", "i", "7", "1.3.6.1.2.1.31.1.1.1.1.7", "s", name]);
        command.output().with_context(|| format!("cannot run {tool}: apt-get install snmp"))
    }

    /// Values of the series of links by device and name of the interface.
    fn links(&self) -> Result<BTreeMap<(String, String), Vec<String>>> {
        let mut links: BTreeMap<_, Vec<String>> = BTreeMap::new();
        for ((device, point, _), (value, quality)) in stack::stored(self.stack.api()?, "plant7")? {
            if let Some(name) = point.strip_prefix("link_trap[").and_then(|rest| rest.strip_suffix(']')) {
                links.entry((device, name.to_owned())).or_default().push(format!("{value} {quality}"));
            }
        }
        Ok(links)
    }

    fn wait_for(&self, device: &str, name: &str) -> Result<()> {
        let key = (device.to_owned(), name.to_owned());
        wait_for(&format!("the trap {name} of {device}"), PATIENCE, || self.links().ok()?.get(&key).cloned())
            .map(|_| ())
            .with_context(|| self.stack.gateway.as_ref().map(|gateway| gateway.output().join("\n")).unwrap_or_default())
    }
}

/// An agent with one interface, for as long as this test runs.
fn serve_agent() -> Result<(SocketAddr, Arc<AtomicUsize>)> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    let (address, asked) = (socket.local_addr()?, Arc::new(AtomicUsize::new(0)));
    let objects: Objects = BTreeMap::from([
        (vec![1, 3, 6, 1, 2, 1, 1, 3, 0], agent::number(0x43, 12_345)),
        (vec![1, 3, 6, 1, 2, 1, 2, 2, 1, 8, 7], agent::number(0x02, 2)),
    ]);
    let counter = Arc::clone(&asked);
    std::thread::spawn(move || {
        let mut datagram = [0; 2048];
        while let Ok((length, from)) = socket.recv_from(&mut datagram) {
            counter.fetch_add(1, Ordering::Relaxed);
            let answer = datagram.get(..length).and_then(|request| agent::answer(request, &objects));
            answer.map(|answer| socket.send_to(&answer, from));
        }
    });
    Ok((address, asked))
}

/// Passes datagrams on, but loses the answers of these numbers; counts the questions.
fn lossy(to: SocketAddr, lost: &'static [usize]) -> Result<(SocketAddr, Arc<AtomicUsize>)> {
    let (inside, outside) = (UdpSocket::bind("127.0.0.1:0")?, UdpSocket::bind("127.0.0.1:0")?);
    let (address, questions) = (inside.local_addr()?, Arc::new(AtomicUsize::new(0)));
    outside.set_read_timeout(Some(Duration::from_secs(5)))?;
    let counter = Arc::clone(&questions);
    std::thread::spawn(move || {
        let (mut datagram, mut answers) = ([0; 2048], 0);
        while let Ok((length, from)) = inside.recv_from(&mut datagram) {
            counter.fetch_add(1, Ordering::Relaxed);
            let _ = outside.send_to(&datagram[..length], to);
            let Ok((length, _)) = outside.recv_from(&mut datagram) else { continue };
            answers += 1;
            if !lost.contains(&answers) {
                let _ = inside.send_to(&datagram[..length], from);
            }
        }
    });
    Ok((address, questions))
}

/// The arguments of a notification of v2c and v3: its time, and which it is.
const V2: &[&str] = &["12345", LINK_DOWN];

fn v3(user: &[&'static str]) -> Vec<&'static str> {
    [&["-v3"], user].concat()
}

#[test]
fn each_version_and_protection_is_heard_once_and_each_inform_acknowledged() -> Result<()> {
    let plant = Plant::start()?;
    let community = |version| vec![version, "-c", "ops"];
    let v1 = |agent| vec!["1.3.6.1.4.1.8072.3.2.10", agent, "2", "0", "12345"];
    let (to, v2) = (plant.traps, V2.to_vec());
    let far = |user: &[&'static str]| [&["-v3", "-e", "0x8000000001020304"][..], user].concat();
    let cases = vec![
        ("v1", "snmptrap", community("-v1"), v1("127.0.0.1"), "switch"),
        ("v1-agent", "snmptrap", community("-v1"), v1("10.1.2.3"), "far"),
        ("v2c", "snmptrap", community("-v2c"), v2.clone(), "switch"),
        ("v2c-secret", "snmptrap", vec!["-v2c", "-c", "hidden"], v2.clone(), "switch"),
        ("v2c-inform", "snmpinform", community("-v2c"), v2.clone(), "switch"),
        ("v3-sha", "snmptrap", v3(SHA), v2.clone(), "switch"),
        ("v3-sha256", "snmptrap", v3(SHA256), v2.clone(), "switch"),
        ("v3-sha512", "snmptrap", v3(SHA512), v2.clone(), "switch"),
        ("v3-md5", "snmptrap", v3(MD5), v2.clone(), "switch"),
        ("v3-engine", "snmptrap", far(SHA256), v2.clone(), "far"),
        ("v3-sha-inform", "snmpinform", v3(SHA), v2.clone(), "switch"),
        ("v3-sha256-inform", "snmpinform", v3(SHA256), v2.clone(), "switch"),
        ("v3-sha512-inform", "snmpinform", v3(SHA512), v2.clone(), "switch"),
        ("v3-md5-inform", "snmpinform", v3(MD5), v2.clone(), "switch"),
    ];
    for (name, tool, how, what, _) in &cases {
        let output = plant.send(tool, to, how, what, name)?;
        ensure!(output.status.success(), "{tool} {name}: {}", String::from_utf8_lossy(&output.stderr));
    }
    // Those that nobody may be listened to for; of informs the sender gets to know it.
    let once = ["-r", "0", "-t", "1"];
    for (name, how) in
        [("wrong-community", [&["-v2c", "-c", "public"], &once[..]].concat()), ("wrong-password", [&v3(WRONG), &once[..]].concat())]
    {
        let output = plant.send("snmpinform", to, &how, V2, name)?;
        ensure!(!output.status.success(), "{name}: {output:?}");
    }
    let last = plant.send("snmpinform", to, &community("-v2c"), V2, "last")?;
    ensure!(last.status.success(), "{last:?}");
    plant.wait_for("switch", "last")?;
    let mut expected: BTreeMap<_, _> =
        cases.iter().map(|(name, .., device)| (((*device).to_owned(), (*name).to_owned()), vec!["2 good".to_owned()])).collect();
    expected.insert(("switch".to_owned(), "last".to_owned()), vec!["2 good".to_owned()]);
    let found = plant.links()?;
    ensure!(found == expected, "found {found:#?}\nexpected {expected:#?}");
    Ok(())
}

#[test]
fn an_inform_whose_acknowledgement_is_lost_comes_again_and_counts_once() -> Result<()> {
    let plant = Plant::start()?;
    // Of v3 the first answer leads the sender to the engine.
    for (name, how, lost) in [("v2c", vec!["-v2c", "-c", "ops"], &[1, 2][..]), ("v3", v3(SHA256), &[2, 3])] {
        let (relay, questions) = lossy(plant.traps, lost)?;
        let how = [&how[..], &["-r", "5", "-t", "1"]].concat();
        let output = plant.send("snmpinform", relay, &how, V2, name)?;
        ensure!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        let questions = questions.load(Ordering::Relaxed);
        ensure!(questions == lost.len() + 1 + usize::from(name == "v3"), "{name}: {questions} questions");
        plant.wait_for("switch", name)?;
    }
    ensure!(plant.send("snmpinform", plant.traps, &["-v2c", "-c", "ops"], V2, "last")?.status.success());
    plant.wait_for("switch", "last")?;
    for (name, values) in plant.links()? {
        ensure!(values == ["2 good"], "{name:?}: {values:?}");
    }
    Ok(())
}

#[test]
fn a_trap_has_the_points_that_it_names_read_at_once() -> Result<()> {
    let plant = Plant::start()?;
    let status = |readings: &stack::Readings| {
        readings.keys().filter(|(device, point, _)| device == "switch" && point == "if_oper_status[7]").count()
    };
    let count = || Some(status(&stack::stored(plant.stack.api().ok()?, "plant7").ok()?));
    wait_for("the first poll", PATIENCE, || count().filter(|count| *count == 1))?;
    let before = plant.asked.load(Ordering::Relaxed);
    ensure!(plant.send("snmptrap", plant.traps, &["-v2c", "-c", "ops"], V2, "eth1")?.status.success());
    wait_for("a poll an hour before its time", PATIENCE, || count().filter(|count| *count == 2))?;
    ensure!(plant.asked.load(Ordering::Relaxed) > before);
    Ok(())
}

#[test]
fn a_notification_that_no_point_names_is_a_text_of_the_one_that_takes_any() -> Result<()> {
    let plant = Plant::start()?;
    let what = ["12345", "1.3.6.1.4.1.99.0.1", "1.3.6.1.4.1.99.1.0", "s", "Lüfter 2 steht"];
    ensure!(plant.send("snmptrap", plant.traps, &["-v2c", "-c", "ops"], &what, "fan")?.status.success());
    let text = wait_for("the text", PATIENCE, || {
        let readings = stack::stored(plant.stack.api().ok()?, "plant7").ok()?;
        readings.into_iter().find(|((_, point, _), _)| point == "other_trap").map(|(_, (value, _))| value)
    })?;
    let expected = "1.3.6.1.4.1.99.0.1 1.3.6.1.4.1.99.1.0=Lüfter 2 steht 1.3.6.1.2.1.2.2.1.1.7=7 1.3.6.1.2.1.31.1.1.1.1.7=fan";
    ensure!(text == expected, "{text}");
    Ok(())
}

#[test]
fn check_shows_the_listener_and_no_secret() -> Result<()> {
    let plant = Plant::start()?;
    let mut command = plant.stack.gateway_command()?;
    let folder = plant.stack.folder();
    command.arg("--config").arg(folder.join("gateway.yaml")).arg("--profiles").arg(folder.join("profiles")).arg("check");
    let output = command.output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success() && text.contains("SNMP traps at 127.0.0.1:0"), "{text}");
    let log = plant.stack.gateway.as_ref().map(|gateway| gateway.output().join("\n")).unwrap_or_default();
    for secret in ["authpass12", "privpass12", "hidden"] {
        ensure!(!text.contains(secret) && !log.contains(secret), "{secret} is shown");
    }
    Ok(())
}
