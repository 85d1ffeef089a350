//! Reports of configurations as people write them, against the profiles that we ship.

use super::*;
use crate::config::{Loaded, load};

const HEAD: &str = "gateway: plant7\nuplink: { url: mqtt://127.0.0.1:1883 }\n";

/// Six requests of 20 ms and no silence: 120 ms.
const SPREAD: &str = "\
schema: 1
id: spread
manufacturer: Someone
model: M1
points:
  - { name: a, read: { input: 0, type: u16 } }
  - { name: b, read: { input: 10, type: f32 } }
  - { name: c, read: { input: 20, type: u16 } }
  - { name: d, read: { input: 30, type: u16 } }
  - { name: e, read: { holding: 0, type: u16 } }
  - { name: f, read: { coil: 0 } }
";

fn loaded(rest: &str) -> Loaded {
    let folder = tempfile::tempdir().unwrap();
    let profiles = folder.path().join("profiles");
    std::fs::create_dir(&profiles).unwrap();
    std::fs::write(profiles.join("spread.yaml"), SPREAD).unwrap();
    let path = folder.path().join("gateway.yaml");
    std::fs::write(&path, HEAD.to_owned() + rest).unwrap();
    load(&path, &[std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../hw-profiles"), profiles], &|_| None).unwrap()
}

fn report(rest: &str) -> Report {
    let loaded = loaded(rest);
    check(&loaded.config, &loaded.problems)
}

const PLANT: &str = "\
links:
  plc: { tcp: 10.0.0.5:502 }
devices:
  - { name: main-meter, profile: eastron-sdm630, link: plc, unit: 1, every: 10s }
  - { name: roof, profile: eastron-sdm630, link: plc, unit: 2, every: 60s }
  - { name: box, profile: linux-host }
";

/// Where a SunSpec device has its models is not known before it is asked: the plan is that of a typical one, and says so.
#[test]
fn a_sunspec_device_is_predicted_as_a_typical_one() {
    let report = report("links: { roof: { tcp: 10.0.0.5:502 } }\ndevices: [{ name: sun, profile: sunspec, link: roof, every: 10s }]\n");
    let [roof] = &report.links[..] else { panic!("{report}") };
    // A request for each of its models that is known: 1, 103, 120 and 160.
    assert_eq!((roof.devices[0].requests, report.found_at_run_time.as_slice()), (4, ["sun".to_owned()].as_slice()), "{report}");
    assert!(report.good && report.to_string().contains("Found at run time: the models of sun;"), "{report}");
}

#[test]
fn each_plan_is_told_once_with_why_its_requests_end() {
    let report = report(PLANT);
    let plan = &report.links[0].devices[0].plan;
    let told: Vec<_> = plan.iter().map(|r| (r.table.to_string(), r.first, r.count, r.points, r.ends.as_str())).collect();
    let expected = [
        ("input".to_owned(), 0, 80, 30, "120 registers to the next, at most 24 are read over (max_gap)"),
        ("input".to_owned(), 200, 40, 7, "102 registers to the next, at most 24 are read over (max_gap)"),
        ("input".to_owned(), 342, 10, 4, "nothing comes behind it"),
    ];
    assert_eq!(told, expected);
    let text = report.to_string();
    assert_eq!(text.matches("plan of eastron-sdm630, as for main-meter").count(), 1, "{text}");
    assert_eq!(text.matches("plan of").count(), 1, "the second meter has the same, the host none: {text}");
}

#[test]
fn the_report_tells_requests_times_and_bytes() {
    let report = report(PLANT);
    assert!(report.good, "{report}");
    let [plc, host] = &report.links[..] else { panic!("{report}") };
    let [meter, roof] = &plc.devices[..] else { panic!("{report}") };
    // What the driver would really ask, planned independently of the report.
    let profile = &loaded(PLANT).config.devices[0].profile;
    let reads: Vec<_> =
        profile.points.iter().enumerate().map(|(i, p)| (PointIndex(i), if let Read::Modbus(r) = &p.read { r } else { panic!() })).collect();
    let requests = plan::plan(&reads, &profile.modbus, &LinkCost::default());
    assert_eq!((meter.points, meter.requests), (41, requests.len()));
    assert_eq!(meter.registers, requests.iter().map(|r| u64::from(r.count)).sum::<u64>());
    // 20 ms assumed and 100 ms of silence for each request.
    assert_eq!(meter.cycle_ms, requests.len() as u64 * 120);
    let slow = profile.points.iter().filter(|p| p.every == Some(Duration::from_secs(60))).count() as u64;
    assert_eq!(meter.readings_per_day, (41 - slow) * 8640 + slow * 1440);
    assert_eq!(roof.readings_per_day, 41 * 1440);
    // Read together, once a minute.
    assert!((roof.load_percent - meter.cycle_ms as f64 / 60_000.0 * 100.0).abs() < 1e-9);
    assert!((plc.load_percent - meter.load_percent - roof.load_percent).abs() < 1e-9);
    assert_eq!(plc.cycle_ms, meter.cycle_ms + roof.cycle_ms);
    assert_eq!((host.transport.as_str(), host.devices.len()), ("this host", 1));
    assert!(host.load_percent > 0.0 && host.load_percent < 1.0);
    assert_eq!(report.readings_per_day, report.links.iter().flat_map(|l| &l.devices).map(|d| d.readings_per_day).sum::<u64>());
    assert_eq!(report.batches_per_day, 8640);
}

#[test]
fn a_link_over_its_time_is_refused_and_one_just_within_is_not() {
    let with = |every: &str| {
        report(&format!(
            "links:\n  plc: {{ tcp: 10.0.0.5:502 }}\ndevices:\n  - {{ name: m, profile: spread, link: plc, every: {every} }}\n"
        ))
    };
    let just = with("120ms");
    let device = &just.links[0].devices[0];
    assert_eq!((device.requests, device.registers, device.cycle_ms), (6, 7, 120));
    assert!(just.good && !just.links[0].overloaded, "{just}");
    assert!(just.to_string().contains("load 100.0 %"), "{just}");
    let over = with("119ms");
    assert!(!over.good && over.links[0].overloaded, "{over}");
    let text = over.to_string();
    assert!(text.contains("refused: link plc is over its time: load 100.9 %, at most 100 % are possible."), "{text}");
}

#[test]
fn two_connections_carry_twice_as_many_devices() {
    let with = |connections: usize, devices: usize| {
        let devices: String = (0..devices).map(|i| format!("  - {{ name: m{i}, profile: spread, link: plc, every: 120ms }}\n")).collect();
        report(&format!("links:\n  plc: {{ tcp: 10.0.0.5:502, connections: {connections} }}\ndevices:\n{devices}"))
    };
    for (connections, devices, good) in [(1, 1, true), (1, 2, false), (2, 2, true), (2, 3, false), (3, 3, true)] {
        let report = with(connections, devices);
        assert_eq!((report.good, report.links[0].devices.len()), (good, devices), "{report}");
    }
    assert!(with(2, 2).to_string().contains("(Modbus TCP 10.0.0.5:502, 2 connections)"));
}

#[test]
fn the_prediction_agrees_with_what_was_measured_on_the_wire() {
    // The benchmark's plant: 200 readings every 10 s. Only intervals and points count here, so a host profile serves.
    let mut config = loaded(PLANT).config;
    let mut profile = config.devices[2].profile.as_ref().clone();
    let mut point = profile.points[0].clone();
    point.every = None;
    profile.points = vec![point; 200];
    config.devices.drain(..2);
    config.devices[0].profile = profile.into();
    for (batch_s, compress, measured) in [(10, true, 3.57), (60, true, 1.62), (10, false, 3.57), (60, false, 1.81)] {
        config.uplink.compress = compress;
        config.batch.every = Duration::from_secs(batch_s);
        let flow = Flow::of(&config, &entries([(DeviceIndex(0), &config.devices[0])]));
        let per_reading = flow.uplink_bytes() / (200.0 * 8640.0);
        assert!((per_reading - measured).abs() < 0.02, "{batch_s} s: {per_reading}");
    }
}

#[test]
fn rare_readings_make_no_more_batches_than_polls_and_each_sync_has_its_price() {
    let report = report("buffer: { commit_window: 0s }\ndevices:\n  - { name: box, profile: linux-host, every: 24h }\n");
    // Of the points with intervals of their own, those of 60 s make all polls: the others are due together with some of them.
    let polls = 1440;
    assert_eq!(report.batches_per_day, polls);
    assert!(report.flash_bytes_per_day >= polls * 4096, "{report}");
    assert!(report.uplink_bytes_per_day > polls * 109, "{report}");
}

#[test]
fn problems_are_listed_with_their_place_and_make_the_report_bad() {
    let report = report("devices:\n  - { name: box, profile: linux-hots }\n  - { name: here, profile: linux-host }\n");
    assert!(!report.good);
    assert_eq!(report.problems.len(), 1);
    assert!(report.problems[0].contains("gateway.yaml:4:"), "{:?}", report.problems);
    let text = report.to_string();
    assert!(text.contains("\n1 problem; "), "{text}");
    assert!(text.contains("linux-hots"), "{text}");
    assert_eq!(report.links[0].devices.len(), 1, "the rest is still reported");
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!((json["good"].as_bool(), json["links"][0]["name"].as_str()), (Some(false), Some("host")));
}

#[test]
fn the_text_is_a_table_for_each_link() {
    let text = report(PLANT).to_string();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[0], "gateway plant7: 2 links, 3 devices");
    assert!(lines[2].starts_with("link plc (Modbus TCP 10.0.0.5:502): one round takes "), "{text}");
    assert!(lines[3].starts_with("  device      profile         points  requests  registers"), "{text}");
    assert!(text.contains("Times assume 20 ms for each request;"), "{text}");
}

/// Measured: 155 bytes stored in each of 600 batches, in commits of 1 and of 6.
#[test]
fn what_reaches_the_flash_is_as_measured() {
    for (commits, measured) in [(600.0, 600.0 * 4307.0), (100.0, 600.0 * 846.0)] {
        let flow = Flow { batches: 600.0, commits, reading_bytes: 600.0 * (155.0 - STORED_BATCH_BYTES), wire_bytes: 0.0 };
        let written = flow.flash_bytes();
        assert!((written / measured - 1.0).abs() < 0.03, "{commits} commits: {written} for {measured}");
    }
}

/// Measured by `tests/benches/flash/run` in two runs, in MB a day of what the process wrote. On a busy machine polls come late, and more of them
/// share a batch: then up to half too much is predicted.
#[test]
fn what_is_written_in_a_day_is_as_measured() {
    let host = "devices:\n  - { name: box, profile: linux-host, every: 60s }\n";
    let meter =
        format!("links: {{ plc: {{ tcp: 10.0.0.5:502 }} }}\n{host}  - {{ name: meter, profile: eastron-sdm630, link: plc, every: 10s }}\n");
    let window = |window: &str| format!("buffer: {{ commit_window: {window} }}\n");
    for (what, config, measured) in [
        ("this machine every 60 s, without a window", window("0s") + host, [6.3, 6.3]),
        ("the same, 2 min", window("2m") + host, [2.8, 2.4]),
        ("a meter every 10 s", window("0s") + &meter, [34.2, 25.6]),
        ("the same, 5 min", window("5m") + &meter, [3.5, 3.1]),
        ("this machine every 10 s", host.replace("60s", "10s"), [39.7, 28.7]),
    ] {
        let predicted_mb = report(&config).flash_bytes_per_day as f64 / 1e6;
        for measured_mb in measured {
            let share = predicted_mb / measured_mb;
            assert!((0.75..1.5).contains(&share), "{what}: {predicted_mb} MB predicted, {measured_mb} MB measured");
        }
    }
    // As shipped: 3.1 MB, and 16.1 at the block device.
    let shipped = report(host);
    assert!((2_500_000..4_000_000).contains(&shipped.flash_bytes_per_day), "{shipped}");
    assert!((15_000_000..18_000_000).contains(&(shipped.flash_bytes_per_day + shipped.journal_bytes_per_day)), "{shipped}");
}

#[test]
fn a_window_saves_waits_for_the_disk() {
    let mut config = loaded("devices:\n  - { name: box, profile: linux-host, every: 10s }\n").config;
    let commits = |config: &Config| Flow::of(config, &entries([(DeviceIndex(0), &config.devices[0])])).commits;
    for (window_s, expected) in [(0, 8640.0), (5, 8640.0), (10, 8640.0), (11, 4320.0), (60, 1440.0), (65, 8640.0 / 7.0)] {
        config.buffer.commit_window = Duration::from_secs(window_s);
        assert_eq!(commits(&config), expected, "{window_s} s");
    }
}

#[test]
fn what_may_be_written_is_listed() {
    let plant = "links: { plc: { tcp: 10.0.0.5:502 } }
devices: [ { name: io, profile: waveshare-relay, link: plc, writable: { relay_1: { safe: { value: false, after: 10m } }, relay_8: {} } } ]
";
    let off = report(plant);
    let text = off.to_string();
    assert!(!off.commands && text.contains("commands are off (`commands: { enabled: true }`); they could write 2 points"), "{text}");
    let on = report(&format!("commands: {{ enabled: true }}\n{plant}"));
    assert_eq!(on.writable, ["io relay_1: 0, 1; false once the server is out of reach for 10m", "io relay_8: 0, 1"]);
    assert!(on.to_string().contains("commands may write 2 points\n  io relay_1"), "{on}");
    assert!(!report("devices: [ { name: this-host, profile: linux-host } ]\n").to_string().contains("commands"));
}
