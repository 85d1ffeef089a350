//! The SNMP driver against net-snmp's agent: every type is what net-snmp's own tools say, in every version; and what goes wrong has a name.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeMap;
use std::net::UdpSocket;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pattoo_gateway::config::Device;
use pattoo_gateway::config::snmp::{Agent, AuthProtocol, Cipher, KeyExtension, Secret, Security, User};
use pattoo_gateway::driver::snmp::Snmp;
use pattoo_gateway::driver::{Driver, boot_clock};
use pattoo_gateway::profile::Profile;
use pattoo_gateway::reading::{DeviceIndex, PointIndex};
use pattoo_tests::snmpd::Snmpd;
use pattoo_tests::udp_link::{Faults, UdpLink};
use pattoo_wire::{Reason, Sample};

const AUTH: &str = "authpass12";
const PRIV: &str = "privpass12";

/// A user: name, authentication and encryption, as snmpd calls them and as we do.
type Known = (&'static str, &'static str, AuthProtocol, Option<(&'static str, Cipher)>);

/// Every pair that is common.
const USERS: &[Known] = &[
    ("u1", "MD5", AuthProtocol::Md5, Some(("DES", Cipher::Des))),
    ("u2", "SHA", AuthProtocol::Sha1, Some(("AES", Cipher::Aes128))),
    ("u3", "SHA-256", AuthProtocol::Sha256, Some(("AES", Cipher::Aes128))),
    ("u4", "SHA-512", AuthProtocol::Sha512, Some(("AES-256", Cipher::Aes256))),
    ("u5", "SHA-384", AuthProtocol::Sha384, Some(("AES-192", Cipher::Aes192))),
    ("u6", "SHA-224", AuthProtocol::Sha224, Some(("AES-256", Cipher::Aes256))),
    ("u7", "SHA", AuthProtocol::Sha1, Some(("AES-256", Cipher::Aes256))),
    ("u8", "SHA-256", AuthProtocol::Sha256, None),
];

fn conf() -> String {
    let mut text = "rocommunity public\n".to_owned();
    for (name, auth, _, privacy) in USERS {
        let (level, cipher) = privacy.map_or(("auth", String::new()), |(cipher, _)| ("priv", format!(" {cipher} {PRIV}")));
        text += &format!("createUser {name} {auth} {AUTH}{cipher}\nrouser {name} {level}\n");
    }
    text + "createUser nobody\nrouser nobody noauth\n"
}

fn user(name: &str, auth: &str, privacy: &str) -> Security {
    let found = USERS.iter().find(|(other, ..)| *other == name);
    Security::V3(User {
        name: name.to_owned(),
        auth: found.map(|(_, _, protocol, _)| (*protocol, Secret(auth.to_owned()))),
        privacy: found.and_then(|(.., cipher)| cipher.map(|(_, cipher)| (cipher, Secret(privacy.to_owned())))),
        key_extension: KeyExtension::Blumenthal,
        context: String::new(),
    })
}

fn v2c(community: &str) -> Security {
    Security::V2c(Secret(community.to_owned()))
}

fn driver(port: u16, security: Security) -> Snmp {
    let (timeout, deadline) = (Duration::from_secs(10), Duration::from_secs(60));
    let agent = Agent { endpoint: format!("127.0.0.1:{port}"), security, timeout, retries: 2, deadline };
    Snmp::new(agent, boot_clock())
}

/// One that does not wait long for nobody.
fn hasty(port: u16, security: Security) -> Snmp {
    let (timeout, deadline) = (Duration::from_millis(300), Duration::from_secs(20));
    let agent = Agent { endpoint: format!("127.0.0.1:{port}"), security, timeout, retries: 2, deadline };
    Snmp::new(agent, boot_clock())
}

fn device(profile: &str) -> Device {
    let text = format!("schema: 1\nid: p\nmanufacturer: x\nmodel: x\n{profile}");
    let profile = Profile::read(Path::new("p.yaml"), text.as_bytes()).unwrap_or_else(|problems| panic!("{problems:?}"));
    Device { name: "d".to_owned(), profile: Arc::new(profile), unit: 0, every: Duration::from_secs(30), labels: BTreeMap::default() }
}

fn text(sample: &Sample) -> String {
    match sample {
        Sample::Good(value) => value.to_string(),
        other => format!("({})", other.reason().unwrap()),
    }
}

/// All readings: the name of the point with its row, and its value or `(reason)`.
async fn read(driver: &mut Snmp, device: &Device) -> BTreeMap<String, String> {
    let points: Vec<_> = (0..device.profile.points.len()).map(PointIndex).collect();
    let transactions = driver.read(DeviceIndex(0), device, &points).await;
    let named = |reading: pattoo_gateway::reading::Reading| {
        let row = reading.row.map(|row| format!("[{}]", row.identity)).unwrap_or_default();
        (format!("{}{row}", device.profile.points[reading.point.0].name), text(&reading.sample))
    };
    let readings: Vec<_> = transactions.into_iter().flat_map(|transaction| transaction.readings).map(named).collect();
    let count = readings.len();
    let readings: BTreeMap<_, _> = readings.into_iter().collect();
    assert_eq!(readings.len(), count, "each once");
    readings
}

async fn name(driver: &mut Snmp) -> String {
    read(driver, &device("points: [{ name: contact, read: { oid: 1.3.6.1.2.1.1.4.0, type: text } }]")).await.remove("contact").unwrap()
}

fn misses(driver: &Snmp) -> BTreeMap<&'static str, u64> {
    driver.waiting(&device("points: [{ name: contact, read: { oid: 1.3.6.1.2.1.1.4.0, type: text } }]")).misses
}

const BASE: &str = "1.3.6.1.4.1.8072.9999.9999";

/// Object, its type and value for snmpd; its type for us; what snmpget says, what we say.
const TYPES: &[(u32, &str, &str, &str, &str, &str)] = &[
    (1, "integer", "-42", "integer", "-42", "-42"),
    (2, "gauge", "4294967295", "unsigned", "4294967295", "4294967295"),
    (3, "counter", "4294967294", "counter32", "4294967294", "4294967294"),
    (4, "counter64", "18446744073709551615", "counter64", "18446744073709551615", "18446744073709551615"),
    (5, "timeticks", "12345", "timeticks", "12345", "123.45"),
    (6, "string", "core 1", "text", "\"core 1\"", "core 1"),
    (7, "string", "Z\u{fc}rich", "text", "\"5A C3 BC 72 69 63 68 \"", "Z\u{fc}rich"),
    (8, "ipaddress", "10.1.2.3", "ip", "10.1.2.3", "10.1.2.3"),
    (9, "objectid", ".1.3.6.1.4.1.9.4294967295", "oid", ".1.3.6.1.4.1.9.4294967295", "1.3.6.1.4.1.9.4294967295"),
    (10, "octet", "00 1b 21 ab cd ef", "mac", "\"00 1B 21 AB CD EF \"", "00:1b:21:ab:cd:ef"),
    (11, "octet", "07 ea 0b 1e 03 39 3a 04 2b 01 00", "datetime", "\"07 EA 0B 1E 03 39 3A 04 2B 01 00 \"", "2026-11-30T03:57:58.4+01:00"),
    (12, "octet", "88 01", "bits", "\"88 01 \"", "32785"),
    (13, "integer", "2147483647", "integer", "2147483647", "2147483647"),
    (14, "string", "0.25", "float", "\"0.25\"", "0.25"),
];

#[tokio::test]
async fn every_type_is_what_net_snmp_says_in_every_version() {
    let objects: String = TYPES.iter().map(|(n, kind, value, ..)| format!("{BASE}.1.{n}.0 {kind} {value}\n")).collect();
    let agent = Snmpd::start(&conf(), &objects).unwrap();
    let oids: Vec<_> = TYPES.iter().map(|(n, ..)| format!("{BASE}.1.{n}.0")).collect();
    let oids: Vec<_> = oids.iter().map(String::as_str).collect();
    let said = agent.says("snmpget", &["-Oqvnt"], &oids).unwrap();
    assert_eq!(said, TYPES.iter().map(|(.., said, _)| said.trim_end()).collect::<Vec<_>>());
    let point = |(n, _, _, kind, ..): &(u32, &str, &str, &str, &str, &str)| {
        format!("  - {{ name: p{n}, read: {{ oid: {BASE}.1.{n}.0, type: {kind} }} }}\n")
    };
    let mut points: String = TYPES.iter().map(point).collect();
    points += &format!("  - {{ name: absent, read: {{ oid: {BASE}.1.99.0, type: integer }} }}\n");
    let device = device(&format!("points:\n{points}"));
    let mut securities = vec![Security::V1(Secret("public".to_owned())), v2c("public"), user("nobody", "", "")];
    securities.extend(USERS.iter().map(|(name, ..)| user(name, AUTH, PRIV)));
    for security in securities {
        let old = matches!(security, Security::V1(_));
        let mut driver = driver(agent.port, security.clone());
        // The second poll has keys already.
        for _ in 0..2 {
            let mut expected: BTreeMap<_, _> = TYPES.iter().map(|(n, .., meant)| (format!("p{n}"), (*meant).to_owned())).collect();
            expected.insert("absent".to_owned(), "(unavailable)".to_owned());
            if old {
                // Version 1 has no counters of 64 bits.
                expected.insert("p4".to_owned(), "(unavailable)".to_owned());
            }
            assert_eq!(read(&mut driver, &device).await, expected, "{security:?}");
        }
        assert_eq!(misses(&driver), BTreeMap::new(), "{security:?}");
    }
}

#[tokio::test]
async fn an_opaque_float_is_what_net_snmp_says() {
    let agent = Snmpd::start(&conf(), "").unwrap();
    let device = device("points: [{ name: load, read: { oid: 1.3.6.1.4.1.2021.10.1.6.1, type: float } }]");
    let mut driver = driver(agent.port, v2c("public"));
    // It goes up and down; snmpd looks every five seconds.
    for _ in 0..20 {
        let says = || agent.says("snmpget", &["-Oqvn"], &["1.3.6.1.4.1.2021.10.1.6.1"]).unwrap().remove(0);
        let before = says();
        let ours: f64 = read(&mut driver, &device).await["load"].parse().unwrap();
        if before == says() {
            let theirs: f64 = before.parse().unwrap();
            assert!((ours - theirs).abs() < 1e-5, "{ours} {before}");
            return;
        }
    }
    panic!("the load never stood still");
}

const IF_MIB: &str = "
snmp:
  max_repetitions: 2
  tables:
    interfaces:
      index: [if_index]
      identity: [1.3.6.1.2.1.31.1.1.1.1, 1.3.6.1.2.1.2.2.1.2]
      labels: { mac: { column: 1.3.6.1.2.1.2.2.1.6, as: mac } }
points:
  - { name: mtu, read: { table: interfaces, column: 1.3.6.1.2.1.2.2.1.4, type: integer } }
  - { name: kind, read: { table: interfaces, column: 1.3.6.1.2.1.2.2.1.3, type: integer } }
  - { name: octets, read: { table: interfaces, column: 1.3.6.1.2.1.31.1.1.1.6, type: counter64, or: { column: 1.3.6.1.2.1.2.2.1.10, type: counter32 } } }
";

#[tokio::test]
async fn the_rows_of_a_table_are_those_that_net_snmp_walks() {
    let agent = Snmpd::start(&conf(), "").unwrap();
    let walk = |oid: &str| agent.says("snmpwalk", &["-Oqvn"], &[oid]).unwrap();
    let names = walk("1.3.6.1.2.1.2.2.1.2");
    assert!(names.len() > 1, "{names:?}");
    let mut expected = BTreeMap::new();
    for (what, oid) in [("mtu", "1.3.6.1.2.1.2.2.1.4"), ("kind", "1.3.6.1.2.1.2.2.1.3")] {
        let names = names.iter().map(|name| format!("{what}[{}]", name.trim_matches('"')));
        expected.extend(names.zip(walk(oid)));
    }
    for security in [Security::V1(Secret("public".to_owned())), v2c("public"), user("u3", AUTH, PRIV)] {
        let mut driver = driver(agent.port, security);
        for _ in 0..2 {
            let mut found = read(&mut driver, &device(IF_MIB)).await;
            let counters: Vec<_> = found.extract_if(.., |name, _| name.starts_with("octets")).collect();
            assert_eq!(found, expected);
            assert!(counters.len() == names.len() && counters.iter().all(|(_, value)| value.parse::<u64>().is_ok()), "{counters:?}");
        }
    }
}

#[tokio::test]
async fn an_agent_that_restarts_or_is_another_one_is_found_again_and_named() {
    let mut agent = Snmpd::start(&format!("{}syscontact me\n", conf()), "").unwrap();
    let mut driver = driver(agent.port, user("u3", AUTH, PRIV));
    assert_eq!(name(&mut driver).await, "me");
    agent.restart(true).unwrap();
    assert_eq!((name(&mut driver).await.as_str(), misses(&driver)), ("me", BTreeMap::from([("engine reboot", 1)])));
    assert_eq!((name(&mut driver).await.as_str(), misses(&driver)), ("me", BTreeMap::from([("engine reboot", 1)])));
    agent.restart(false).unwrap();
    assert_eq!(name(&mut driver).await, "me");
    assert_eq!(misses(&driver), BTreeMap::from([("another engine", 1), ("engine reboot", 1)]));
    // While it is away nobody answers at all, and it is found when it comes back.
    agent.stop().unwrap();
    assert_eq!(name(&mut driver).await, "(link down)");
    agent.restart(true).unwrap();
    assert_eq!(name(&mut driver).await, "me");
}

#[tokio::test]
async fn who_is_not_believed_is_told_so() {
    let agent = Snmpd::start(&format!("{}syscontact me\n", conf()), "").unwrap();
    for (security, reason, miss) in [
        (user("u3", "wrongpass12", PRIV), Reason::AuthFailure, "authentication"),
        (user("u8", "wrongpass12", ""), Reason::AuthFailure, "authentication"),
        (user("u3", AUTH, "wrongpass12"), Reason::Timeout, "timeout"),
        (v2c("wrong"), Reason::Timeout, "timeout"),
    ] {
        // Who gets no answer need not wait long for it.
        let open = if reason == Reason::Timeout { hasty } else { driver };
        let mut driver = open(agent.port, security.clone());
        assert_eq!(name(&mut driver).await, format!("({reason})"), "{security:?}");
        assert!(misses(&driver).contains_key(miss), "{security:?}: {:?}", misses(&driver));
    }
    let mut unknown = driver(agent.port, Security::V3(User { name: "stranger".to_owned(), ..user_of(user("u3", AUTH, PRIV)) }));
    assert_eq!(name(&mut unknown).await, format!("({})", Reason::AuthFailure));
}

fn user_of(security: Security) -> User {
    match security {
        Security::V3(user) => user,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_silent_agent_costs_its_tries_and_no_more() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    for security in [v2c("public"), user("u3", AUTH, PRIV)] {
        let mut driver = hasty(silent.local_addr().unwrap().port(), security);
        let began = Instant::now();
        let found = read(&mut driver, &device(IF_MIB)).await;
        assert_eq!(found, ["mtu", "kind", "octets"].map(|name| (name.to_owned(), "(timeout)".to_owned())).into());
        // Three tries of 300 ms for the first question, and no second one.
        assert!(began.elapsed() >= Duration::from_millis(900), "{:?}", began.elapsed());
        assert_eq!(misses(&driver), BTreeMap::from([("timeout", 3)]));
    }
}

#[tokio::test]
async fn a_poll_ends_at_its_deadline() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let endpoint = silent.local_addr().unwrap().to_string();
    let (timeout, deadline) = (Duration::from_millis(200), Duration::from_millis(500));
    let mut driver = Snmp::new(Agent { endpoint, security: v2c("public"), timeout, retries: 10, deadline }, boot_clock());
    assert_eq!(name(&mut driver).await, "(timeout)");
    assert_eq!(misses(&driver), BTreeMap::from([("deadline", 1), ("timeout", 3)]));
}

/// A fifth of the datagrams lost, a tenth of the others doubled or too late, each way: what is good is right, what is bad is a timeout, and
/// what went wrong is counted.
#[tokio::test]
async fn loss_and_late_answers_give_no_wrong_value_and_wedge_nothing() {
    let objects: String = TYPES.iter().map(|(n, kind, value, ..)| format!("{BASE}.1.{n}.0 {kind} {value}\n")).collect();
    let agent = Snmpd::start(&conf(), &objects).unwrap();
    let point = |(n, _, _, kind, ..): &(u32, &str, &str, &str, &str, &str)| {
        format!("  - {{ name: p{n}, read: {{ oid: {BASE}.1.{n}.0, type: {kind} }} }}\n")
    };
    let device = device(&format!("points:\n{}", TYPES.iter().map(point).collect::<String>()));
    let right: BTreeMap<_, _> = TYPES.iter().map(|(n, .., meant)| (format!("p{n}"), (*meant).to_owned())).collect();
    for security in [v2c("public"), user("u3", AUTH, PRIV)] {
        let faults = Faults { lost_percent: 20, troubled_percent: 10, late_by: Duration::from_millis(250), seed: 7 };
        let link = UdpLink::to(format!("127.0.0.1:{}", agent.port).parse().unwrap(), faults).unwrap();
        let (timeout, deadline) = (Duration::from_millis(200), Duration::from_secs(20));
        let patient = Agent { endpoint: link.address().to_string(), security, timeout, retries: 2, deadline };
        let mut driver = Snmp::new(patient, boot_clock());
        let (mut good, mut bad) = (0, 0);
        for _ in 0..60 {
            for (name, value) in read(&mut driver, &device).await {
                if value == "(timeout)" {
                    bad += 1;
                } else {
                    assert_eq!(value, right[&name], "{name}");
                    good += 1;
                }
            }
        }
        let misses = misses(&driver);
        let lost = link.counts().lost.load(std::sync::atomic::Ordering::Relaxed);
        assert!(good > 60 * TYPES.len() * 3 / 4, "{good} good, {bad} bad, {misses:?}");
        assert!(lost > 10 && misses["timeout"] >= lost / 2, "{lost} lost, {misses:?}");
    }
}
