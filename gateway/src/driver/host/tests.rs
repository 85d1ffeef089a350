//! The driver on the machine that runs the tests: what it says against what `/proc` says.

use std::collections::BTreeMap;
use std::sync::Arc;

use pattoo_wire::{Kind, Labels, Value};

use super::*;
use crate::profile::{ModbusLimits, Point, Profile};

/// A device with these metrics, each a point of its own.
fn device(metrics: &[Metric]) -> Device {
    let point = |metric: &Metric| Point {
        name: format!("{metric:?}"),
        unit: String::new(),
        kind: Kind::Gauge,
        alarm: false,
        repr: metric.repr(),
        every: None,
        states: BTreeMap::new(),
        range: None,
        read: Read::Host(*metric),
        writable: None,
    };
    let profile = Profile {
        id: "host".into(),
        manufacturer: "Linux".into(),
        model: "host".into(),
        modbus: ModbusLimits::default(),
        bacnet: Default::default(),
        signature: None,
        points: metrics.iter().map(point).collect(),
    };
    Device { name: "here".into(), profile: Arc::new(profile), unit: 0, every: Duration::from_secs(10), labels: Labels::new() }
}

fn all() -> Device {
    device(&Metric::NAMES.iter().map(|(_, metric)| *metric).collect::<Vec<_>>())
}

fn host() -> Host {
    Host::new(Box::new(|| 1_790_000_000_123))
}

async fn poll(host: &mut Host, device: &Device) -> Transaction {
    let points: Vec<_> = (0..device.profile.points.len()).map(PointIndex).collect();
    let mut transactions = host.read(DeviceIndex(4), device, &points).await;
    assert_eq!(transactions.len(), 1);
    transactions.remove(0)
}

/// The samples of a metric by the identity of their row.
fn samples(transaction: &Transaction, device: &Device, metric: Metric) -> BTreeMap<String, Sample> {
    let point = device.profile.points.iter().position(|p| p.read == Read::Host(metric)).unwrap();
    let of_point = transaction.readings.iter().filter(|r| r.point == PointIndex(point));
    of_point.map(|r| (r.row.as_ref().map(|row| row.identity.clone()).unwrap_or_default(), r.sample.clone())).collect()
}

fn number(samples: &BTreeMap<String, Sample>, row: &str) -> f64 {
    samples.get(row).and_then(Sample::value).and_then(Value::to_f64).unwrap_or_else(|| panic!("no {row:?} in {samples:?}"))
}

/// A field of `/proc/meminfo` in bytes.
fn meminfo(key: &str) -> f64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(key)).unwrap();
    line.trim_matches(|c: char| !c.is_ascii_digit()).parse::<f64>().unwrap() * 1024.0
}

#[tokio::test]
async fn the_first_poll_agrees_with_proc() {
    let (mut host, device) = (host(), all());
    let found = poll(&mut host, &device).await;
    let of = |metric| samples(&found, &device, metric);
    assert_eq!((found.device, found.at_ms), (DeviceIndex(4), 1_790_000_000_123));
    assert_eq!(of(Metric::CpuUsage).get(""), Some(&Sample::Bad(Reason::Unavailable)), "a share needs two looks");
    assert_eq!(number(&of(Metric::MemoryTotal), ""), meminfo("MemTotal:"));
    assert_eq!(number(&of(Metric::SwapTotal), ""), meminfo("SwapTotal:"));
    let (used, available) = (number(&of(Metric::MemoryUsed), ""), number(&of(Metric::MemoryAvailable), ""));
    assert_eq!(used + available, meminfo("MemTotal:"));
    assert!(used > 0.0 && available > 0.0, "{used} {available}");
    let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
    let uptime: f64 = uptime.split(' ').next().unwrap().parse().unwrap();
    assert!((number(&of(Metric::Uptime), "") - uptime).abs() <= 2.0, "{uptime}");
    assert!(number(&of(Metric::Processes), "") >= 1.0);
    for metric in [Metric::Load1, Metric::Load5, Metric::Load15] {
        assert!((0.0..10_000.0).contains(&number(&of(metric), "")));
    }
    let total = of(Metric::FilesystemTotal);
    let (used, available) = (of(Metric::FilesystemUsed), of(Metric::FilesystemAvailable));
    assert!(total.contains_key("/"), "{total:?}");
    for mount in total.keys() {
        let [total, used, available] = [&total, &used, &available].map(|samples| number(samples, mount));
        assert!(total > 0.0 && used >= 0.0 && used + available <= total, "{mount}: {total} {used} {available}");
    }
    assert!(of(Metric::NetworkReceived).contains_key("lo"));
    for (_, metric) in Metric::NAMES {
        for (row, sample) in of(*metric) {
            assert!(sample.value().is_none_or(|v| v.repr() == metric.repr()), "{metric:?} {row}: {sample:?}");
        }
    }
}

#[tokio::test]
async fn counters_lie_between_two_looks_of_our_own() {
    let look = || {
        let disks = proc::disks(&proc_file("diskstats").unwrap(), |_| true);
        let bytes = disks.into_iter().map(|d| (format!("{} read", d.name), d.read));
        let interfaces = proc::interfaces(&proc_file("net/dev").unwrap());
        bytes.chain(interfaces.into_iter().map(|i| (format!("{} received", i.name), i.received))).collect::<BTreeMap<_, _>>()
    };
    let (mut host, device) = (host(), device(&[Metric::DiskRead, Metric::NetworkReceived]));
    let before = look();
    let found = poll(&mut host, &device).await;
    let after = look();
    let mut compared = 0;
    for (metric, name) in [(Metric::DiskRead, "read"), (Metric::NetworkReceived, "received")] {
        for (row, sample) in samples(&found, &device, metric) {
            let Some(Value::Unsigned(n)) = sample.value() else { panic!("{row}: {sample:?}") };
            let key = format!("{row} {name}");
            assert!((before[&key]..=after[&key]).contains(n), "{key}: {n}");
            compared += 1;
        }
    }
    assert!(compared > 0);
}

#[tokio::test]
async fn the_processors_have_a_share_in_the_second_look_and_never_an_invented_one() {
    let (mut host, device) = (host(), device(&[Metric::CpuUsage]));
    let bad = Sample::Bad(Reason::Unavailable);
    assert_eq!(samples(&poll(&mut host, &device).await, &device, Metric::CpuUsage)[""], bad);
    assert_eq!(samples(&poll(&mut host, &device).await, &device, Metric::CpuUsage)[""], bad, "too soon for a second look");
    let work_until = Instant::now() + MINIMUM_CPU_UPDATE_INTERVAL + Duration::from_millis(100);
    while Instant::now() < work_until {
        std::hint::black_box((0..10_000u64).sum::<u64>());
    }
    let share = number(&samples(&poll(&mut host, &device).await, &device, Metric::CpuUsage), "");
    assert!(share > 0.0 && share <= 100.0, "{share} % while this test kept one processor busy");
}

#[tokio::test]
async fn a_point_of_another_protocol_is_bad_and_costs_only_itself() {
    let (mut host, mut device) = (host(), device(&[Metric::Uptime]));
    let points = [PointIndex(0), PointIndex(1)];
    let found = host.read(DeviceIndex(0), &device, &points).await;
    let qualities: Vec<_> = found[0].readings.iter().map(|r| r.sample.reason()).collect();
    assert_eq!(qualities, [None, Some(Reason::Unavailable)]);
    Arc::make_mut(&mut device.profile).points[0].range = Some((0.0, 0.5));
    let found = host.read(DeviceIndex(0), &device, &points[..1]).await;
    assert_eq!(found[0].readings[0].sample, Sample::Bad(Reason::OutOfRange));
}

#[tokio::test]
async fn a_hanging_filesystem_is_bad_and_the_others_are_read() {
    let (mut host, device) = (host(), device(&[Metric::FilesystemTotal, Metric::Uptime]));
    let (release, gate) = std::sync::mpsc::channel::<()>();
    let hang = move || gate.recv().map_or(Err(Reason::Malformed), |()| Err(Reason::Malformed));
    assert!(host.filesystems.entry("/".into()).or_default().start(hang), "as if the poll before hung");
    let begin = Instant::now();
    let found = poll(&mut host, &device).await;
    assert!(begin.elapsed() < PROBE_TIMEOUT, "a filesystem that is known to hang is not waited for");
    assert_eq!(samples(&found, &device, Metric::FilesystemTotal)["/"], Sample::Bad(Reason::Timeout));
    assert!(number(&samples(&found, &device, Metric::Uptime), "") > 0.0);
    drop(release);
    let bound = Instant::now() + Duration::from_secs(10);
    while host.filesystems.get_mut("/").unwrap().hangs() && Instant::now() < bound {
        tokio::task::yield_now().await;
    }
    let found = poll(&mut host, &device).await;
    assert!(number(&samples(&found, &device, Metric::FilesystemTotal), "/") > 0.0, "it is read again once it came back");
}

#[test]
fn the_profile_of_this_host_has_every_metric() {
    let (profiles, problems) = crate::profile::load_profiles(&[Path::new(env!("CARGO_MANIFEST_DIR")).join("../hw-profiles")]);
    let profile = profiles.get("linux-host").unwrap_or_else(|| panic!("{problems:?}"));
    let named: Vec<_> = profile.points.iter().map(|p| (p.name.as_str(), p.read.clone())).collect();
    assert_eq!(named, Metric::NAMES.iter().map(|(name, metric)| (*name, Read::Host(*metric))).collect::<Vec<_>>());
    for point in &profile.points {
        assert_eq!(point.repr == Repr::Unsigned, point.kind == Kind::Counter, "{}", point.name);
        assert!(!point.unit.is_empty(), "{}", point.name);
    }
}
