//! Devices that are reached over a bad network: a fifth of the datagrams is lost, a tenth comes twice or too late.
#![allow(clippy::unwrap_used, reason = "what fails here is a failed test")]

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use pattoo_gateway::config::{self, Config};
use pattoo_gateway::health::Health;
use pattoo_gateway::reading::Transaction;
use pattoo_gateway::run;
use pattoo_tests::snmpd::Snmpd;
use pattoo_tests::udp_link::{Faults, UdpLink};
use pattoo_wire::{DeviceStatus, Quality, Reason, Sample};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

/// How long the gateway waits for an answer, and by how much an answer is late that is: it comes while the next one is waited for.
const TIMEOUT_MS: u64 = 150;
const LATE_BY: Duration = Duration::from_millis(400);
/// Good polls of each device.
const POLLS: usize = 60;
/// Longest time for all of it on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// By so much the agent's uptime and our clock may differ from one reading to another: half the time that an answer took, and its hundredths.
const SLACK_MS: i64 = TIMEOUT_MS as i64 / 2 + 30;

const FAULTS: Faults = Faults { lost_percent: 20, troubled_percent: 10, late_by: LATE_BY, seed: 7 };

/// Everything that the devices gave until each had so many good polls.
struct Heard {
    transactions: Vec<Transaction>,
    devices: BTreeMap<String, DeviceStatus>,
}

async fn poll(folder: &Path, text: &str) -> (Arc<Config>, Heard) {
    std::fs::write(folder.join("gateway.yaml"), text).unwrap();
    let loaded = config::load(&folder.join("gateway.yaml"), &[folder.join("profiles")], &|_| None).unwrap();
    assert!(loaded.problems.is_empty(), "{:?}", loaded.problems);
    let config = Arc::new(loaded.config);
    let (readings_in, mut readings) = mpsc::channel(64);
    let (health_in, health) = watch::channel(Health::default());
    let (stop, stopped) = watch::channel(false);
    for link in config.links.iter().flat_map(config::Link::parts) {
        tokio::spawn(run::poll(link, Arc::clone(&config), readings_in.clone(), health_in.clone(), stopped.clone()));
    }
    let mut good = vec![0; config.devices.len()];
    let mut transactions = Vec::new();
    let listen = async {
        while good.iter().any(|polls| *polls < POLLS) {
            let transaction: Transaction = readings.recv().await.unwrap();
            let all_good = transaction.readings.iter().all(|reading| reading.sample.quality() == Quality::Good);
            good[transaction.device.0] += usize::from(all_good);
            transactions.push(transaction);
        }
    };
    let wedged = timeout(PATIENCE, listen).await.is_err();
    assert!(!wedged, "a device has stopped answering: good polls {good:?}, {:?}", health.borrow().devices());
    stop.send(true).unwrap();
    // What is under way at the stop is not told any more; its questions are counted all the same.
    let devices = health.borrow().devices();
    (config, Heard { transactions, devices })
}

const PROFILE: &str = "\
schema: 1
id: agent
manufacturer: x
model: x
points:
  - { name: uptime, unit: s, read: { oid: 1.3.6.1.2.1.1.3.0, type: timeticks } }
  - { name: counted, kind: counter, read: { oid: 1.3.6.1.4.1.8072.9999.9999.1.0, type: counter64 } }
  - { name: named, read: { oid: 1.3.6.1.4.1.8072.9999.9999.2.0, type: text } }
";
const OBJECTS: &str = "\
.1.3.6.1.4.1.8072.9999.9999.1.0 counter64 18446744073709551610
.1.3.6.1.4.1.8072.9999.9999.2.0 string as it is
";
const AGENT: &str = "\
rocommunity public
createUser mon SHA-256 authpass12 AES privpass12
rouser mon priv
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn snmp_over_a_bad_network_gives_no_wrong_value_does_not_wedge_and_names_every_miss() {
    let agent = Snmpd::start(AGENT, OBJECTS).unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("profiles")).unwrap();
    std::fs::write(folder.path().join("profiles/agent.yaml"), PROFILE).unwrap();
    std::fs::write(folder.path().join("mon.secret"), "auth: authpass12\npriv: privpass12\n").unwrap();
    let device = SocketAddr::from((Ipv4Addr::LOCALHOST, agent.port));
    let links: Vec<_> = (0..4).map(|n| UdpLink::to(device, Faults { seed: FAULTS.seed + n, ..FAULTS }).unwrap()).collect();
    let secret = folder.path().join("mon.secret");
    let mut text = format!(
        "gateway: g1\nuplink: {{ url: mqtt://localhost }}\nbuffer: {{ path: {} }}\ndevices:\n",
        folder.path().join("buffer").display()
    );
    for (n, link) in links.iter().enumerate() {
        let who = match n {
            0..3 => "community: public".to_owned(),
            _ => format!("version: 3, user: mon, auth: sha256, priv: aes128, secrets: {}", secret.display()),
        };
        text += &format!(
            "  - {{ name: a{n}, profile: agent, every: 100ms, snmp: {{ host: '{}', timeout: {TIMEOUT_MS}ms, retries: 2, {who} }} }}\n",
            link.address()
        );
    }
    let (config, heard) = poll(folder.path(), &text).await;

    let mut offsets: Vec<i64> = Vec::new();
    let mut good = vec![0u64; links.len()];
    for transaction in &heard.transactions {
        for reading in &transaction.readings {
            let Sample::Good(value) = &reading.sample else {
                let reason = reading.sample.reason();
                assert!(matches!(reason, Some(Reason::Timeout | Reason::BackedOff | Reason::LinkDown)), "{reason:?}");
                continue;
            };
            match config.devices[0].profile.points[reading.point.0].name.as_str() {
                "uptime" => {
                    good[transaction.device.0] += 1;
                    offsets.push(transaction.at_ms - (value.to_f64().unwrap() * 1000.0).round() as i64);
                }
                "counted" => assert_eq!(value.to_string(), "18446744073709551610"),
                _ => assert_eq!(value.to_string(), "as it is"),
            }
        }
    }
    // An answer to an earlier question tells an uptime that is too old by what it was late.
    offsets.sort_unstable();
    let usual = offsets[offsets.len() / 2];
    let wrong = offsets.iter().filter(|offset| (*offset - usual).abs() > SLACK_MS).count();
    assert_eq!(wrong, 0, "{offsets:?}");

    for (n, link) in links.iter().enumerate() {
        let (counts, status) = (link.counts(), &heard.devices[&format!("a{n}")]);
        let missed: u64 = status.misses.values().sum();
        let asked = counts.asked.load(Ordering::Relaxed);
        println!("a{n}: asked {asked}, lost {:?}, good {}, polls {}, {:?}", counts.lost, good[n], status.polls, status.misses);
        assert!(counts.lost.load(Ordering::Relaxed) > 20 && counts.late.load(Ordering::Relaxed) > 0, "{counts:?}");
        assert!(status.misses.get("timeout").is_some_and(|timeouts| *timeouts > 0), "{:?}", status.misses);
        if n < 3 {
            // Each question has an answer or is a miss; what is under way at the stop is neither.
            let explained = good[n] + missed;
            assert!((explained..=explained + 4).contains(&asked), "asked {asked}, good {}, missed {:?}", good[n], status.misses);
        }
    }
}
