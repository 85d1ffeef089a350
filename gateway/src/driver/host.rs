//! Metrics of the Linux host that the gateway runs on. Shell. Knows nothing of when to read, nor where readings go.
//!
//! Processors, memory, swap and uptime come from the sysinfo crate; the rest is read from `/proc` and `/sys`, for the reasons
//! given in `host/proc.rs` and `host/sensors.rs`. A part that cannot be read is bad and costs no other part. Filesystems and
//! sensors may hang (a dead file server, a sleeping drive): each is asked on a thread of its own, waited for [`PROBE_TIMEOUT`]
//! at most, and not asked again while it hangs. The other parts take about half a
//! millisecond together (measured, debug build, on a server) and are read in place.

mod probe;
mod proc;
mod sensors;
mod snapshot;

use std::collections::{BTreeSet, HashMap};
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::time::Duration;

use pattoo_wire::{Reason, Repr, Sample};
use sysinfo::{MINIMUM_CPU_UPDATE_INTERVAL, System};
use tokio::time::Instant;

use self::probe::Probe;
use self::proc::{Interface, Mount};
use self::snapshot::{Filesystem, KnownRows, MAX_ROWS, Memory, Sensor, Snapshot, Space, Swap};
use super::{Clock, Driver};
use crate::config::Device;
use crate::profile::Read;
use crate::reading::{DeviceIndex, PointIndex, Reading, Transaction};

/// Longest wait for filesystems and sensors, all of them together.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
/// Most bytes that are read of one file in `/proc`.
const MAX_PROC_BYTES: u64 = 1 << 20;

/// One metric of the host. Those with a row per filesystem, disk, interface or sensor say so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Metric {
    /// Percent of all processors that is busy.
    CpuUsage,
    /// Load average over 1 minute.
    Load1,
    /// Load average over 5 minutes.
    Load5,
    /// Load average over 15 minutes.
    Load15,
    /// Bytes of memory.
    MemoryTotal,
    /// Bytes in use.
    MemoryUsed,
    /// Bytes that a new program could have.
    MemoryAvailable,
    /// Bytes of swap.
    SwapTotal,
    /// Bytes of swap in use.
    SwapUsed,
    /// Bytes of each filesystem.
    FilesystemTotal,
    /// Bytes in use on each filesystem.
    FilesystemUsed,
    /// Bytes available on each filesystem.
    FilesystemAvailable,
    /// Bytes read from each disk since boot.
    DiskRead,
    /// Bytes written to each disk since boot.
    DiskWritten,
    /// Bytes received on each network interface.
    NetworkReceived,
    /// Bytes sent on each network interface.
    NetworkTransmitted,
    /// Receive and transmit errors of each network interface.
    NetworkErrors,
    /// Degrees Celsius of each sensor.
    Temperature,
    /// Number of processes.
    Processes,
    /// Seconds since boot.
    Uptime,
}

impl Metric {
    /// Every metric with the name that profiles use.
    pub const NAMES: &'static [(&'static str, Self)] = &[
        ("cpu_usage", Self::CpuUsage),
        ("load_1", Self::Load1),
        ("load_5", Self::Load5),
        ("load_15", Self::Load15),
        ("memory_total", Self::MemoryTotal),
        ("memory_used", Self::MemoryUsed),
        ("memory_available", Self::MemoryAvailable),
        ("swap_total", Self::SwapTotal),
        ("swap_used", Self::SwapUsed),
        ("filesystem_total", Self::FilesystemTotal),
        ("filesystem_used", Self::FilesystemUsed),
        ("filesystem_available", Self::FilesystemAvailable),
        ("disk_read", Self::DiskRead),
        ("disk_written", Self::DiskWritten),
        ("network_received", Self::NetworkReceived),
        ("network_transmitted", Self::NetworkTransmitted),
        ("network_errors", Self::NetworkErrors),
        ("temperature", Self::Temperature),
        ("processes", Self::Processes),
        ("uptime", Self::Uptime),
    ];

    /// The metric with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(n, _)| *n == name).map(|(_, metric)| *metric)
    }

    /// Whether it has a row for each filesystem, disk, interface or sensor.
    #[must_use]
    pub fn has_rows(self) -> bool {
        matches!(
            self,
            Self::FilesystemTotal
                | Self::FilesystemUsed
                | Self::FilesystemAvailable
                | Self::DiskRead
                | Self::DiskWritten
                | Self::NetworkReceived
                | Self::NetworkTransmitted
                | Self::NetworkErrors
                | Self::Temperature
        )
    }

    /// How its values are represented.
    #[must_use]
    pub fn repr(self) -> Repr {
        match self {
            Self::CpuUsage | Self::Temperature => Repr::Decimal { exponent: -1 },
            Self::Load1 | Self::Load5 | Self::Load15 => Repr::Decimal { exponent: -2 },
            Self::DiskRead | Self::DiskWritten | Self::NetworkReceived | Self::NetworkTransmitted | Self::NetworkErrors => Repr::Unsigned,
            _ => Repr::Decimal { exponent: 0 },
        }
    }
}

/// The host as a driver.
pub struct Host {
    clock: Clock,
    /// Load of the processors since the poll before, for each device that reads this host.
    processors: HashMap<DeviceIndex, Processors>,
    known: HashMap<DeviceIndex, KnownRows>,
    filesystems: HashMap<String, Probe<Result<Space, Reason>>>,
    sensors: Probe<Vec<Sensor>>,
    /// Points of which it was said that they have too many rows.
    warned: BTreeSet<(DeviceIndex, PointIndex)>,
}

impl Host {
    /// A driver for this machine; `clock` gives the UTC time in ms. Does no I/O.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self {
            clock,
            processors: HashMap::new(),
            known: HashMap::new(),
            filesystems: HashMap::new(),
            sensors: Probe::default(),
            warned: BTreeSet::new(),
        }
    }

    async fn poll(&mut self, index: DeviceIndex, device: &Device, points: &[PointIndex]) -> Vec<Transaction> {
        let metric = |point: &PointIndex| match device.profile.points.get(point.0).map(|p| &p.read) {
            Some(Read::Host(metric)) => Some(*metric),
            _ => None,
        };
        let metrics: Vec<Metric> = points.iter().filter_map(metric).collect();
        let at_ms = (self.clock)();
        let snapshot = self.snapshot(index, &metrics).await;
        let mut readings = Vec::new();
        for point in points {
            let Some(metric) = metric(point) else {
                readings.push(Reading { point: *point, row: None, sample: Sample::Bad(Reason::Unavailable) });
                continue;
            };
            let (found, left_out) = self.known.entry(index).or_default().readings(*point, metric, &snapshot);
            readings.extend(found.into_iter().map(|reading| in_range(reading, device)));
            if left_out > 0 && self.warned.insert((index, *point)) {
                tracing::warn!(device = device.name, ?metric, left_out, limit = MAX_ROWS, "more rows than the limit: the rest is not read");
            }
        }
        vec![Transaction { device: index, at_ms, readings }]
    }

    /// Reads what these metrics need and nothing else.
    async fn snapshot(&mut self, index: DeviceIndex, metrics: &[Metric]) -> Snapshot {
        let asked = |any: &[Metric]| any.iter().any(|metric| metrics.contains(metric));
        let deadline = Instant::now() + PROBE_TIMEOUT;
        let mut snapshot = Snapshot::default();
        let sensors = asked(&[Metric::Temperature]) && self.sensors.start(|| sensors::read(Path::new("/sys/class")));
        let mounts =
            if asked(&[Metric::FilesystemTotal, Metric::FilesystemUsed, Metric::FilesystemAvailable]) { self.mounts() } else { None };
        if asked(&[Metric::CpuUsage]) {
            snapshot.cpu_percent = self.processors.entry(index).or_default().percent();
        }
        if asked(&[Metric::Load1, Metric::Load5, Metric::Load15]) {
            snapshot.load_hundredths = proc_file("loadavg").and_then(|text| proc::load_hundredths(&text));
        }
        if asked(&[Metric::MemoryTotal, Metric::MemoryUsed, Metric::MemoryAvailable, Metric::SwapTotal, Metric::SwapUsed]) {
            (snapshot.memory, snapshot.swap) = memory().unzip();
        }
        if asked(&[Metric::Processes]) {
            let names = |folder: std::fs::ReadDir| folder.flatten().filter_map(|entry| entry.file_name().into_string().ok());
            snapshot.processes = std::fs::read_dir("/proc").ok().and_then(|folder| proc::processes(names(folder)));
        }
        if asked(&[Metric::Uptime]) {
            // Zero is what sysinfo says when it cannot tell.
            snapshot.uptime_s = Some(System::uptime()).filter(|seconds| *seconds > 0);
        }
        if asked(&[Metric::DiskRead, Metric::DiskWritten]) {
            let whole = |name: &str| !Path::new("/sys/class/block").join(name).join("partition").exists();
            snapshot.disks = proc_file("diskstats").map(|text| proc::disks(&text, whole));
        }
        if asked(&[Metric::NetworkReceived, Metric::NetworkTransmitted, Metric::NetworkErrors]) {
            snapshot.interfaces = proc_file("net/dev").map(|text| proc::interfaces(&text).into_iter().map(with_mac).collect());
        }
        if let Some(mounts) = mounts {
            snapshot.filesystems = Some(self.spaces(mounts, deadline).await);
        }
        if asked(&[Metric::Temperature]) {
            let answer = if sensors { self.sensors.answer(deadline).await } else { None };
            snapshot.sensors = Some(answer.ok_or(Reason::Timeout));
        }
        snapshot
    }

    /// The filesystems to be read, each with whether its thread was started.
    fn mounts(&mut self) -> Option<Vec<(Mount, bool)>> {
        let mut mounts = proc::mounts(&proc_file("self/mounts")?);
        // The rows of a point have the same limit; one more makes it count what is left out.
        mounts.truncate(MAX_ROWS + 1);
        self.filesystems.retain(|point, probe| mounts.iter().any(|m| m.point == *point) || probe.hangs());
        let start = |mount: Mount| {
            // Those that hang after they were unmounted count too: a file server that comes and goes must not pile up threads.
            let room = self.filesystems.len() <= 2 * MAX_ROWS || self.filesystems.contains_key(&mount.point);
            let point = mount.point.clone();
            let started = room && self.filesystems.entry(mount.point.clone()).or_default().start(move || space(&point));
            (mount, started)
        };
        Some(mounts.into_iter().map(start).collect())
    }

    async fn spaces(&mut self, mounts: Vec<(Mount, bool)>, deadline: Instant) -> Vec<Filesystem> {
        let mut filesystems = Vec::new();
        for (Mount { device, point, kind }, started) in mounts {
            let space = match self.filesystems.get_mut(&point) {
                Some(probe) if started => probe.answer(deadline).await.unwrap_or(Err(Reason::Timeout)),
                _ => Err(Reason::Timeout),
            };
            filesystems.push(Filesystem { point, device, kind, space });
        }
        filesystems
    }
}

impl Driver for Host {
    fn read<'a>(
        &'a mut self,
        index: DeviceIndex,
        device: &'a Device,
        points: &'a [PointIndex],
    ) -> Pin<Box<dyn Future<Output = Vec<Transaction>> + Send + 'a>> {
        Box::pin(self.poll(index, device, points))
    }
}

/// Busy share of all processors between two looks.
#[derive(Default)]
struct Processors {
    system: System,
    looked: Option<Instant>,
    percent: Option<f32>,
}

impl Processors {
    /// None in the first look: a share needs two. A look that comes too soon for a new share gives the one before.
    fn percent(&mut self) -> Option<f32> {
        if self.looked.is_some_and(|at| at.elapsed() < MINIMUM_CPU_UPDATE_INTERVAL) {
            return self.percent;
        }
        self.system.refresh_cpu_usage();
        let second = self.looked.replace(Instant::now()).is_some();
        // No processor is what sysinfo finds when it cannot read `/proc/stat`.
        self.percent = (second && !self.system.cpus().is_empty()).then(|| self.system.global_cpu_usage());
        self.percent
    }
}

/// Memory and swap, read into an empty struct: sysinfo leaves old values where it cannot read new ones.
fn memory() -> Option<(Memory, Swap)> {
    let mut system = System::new();
    system.refresh_memory();
    let memory = Memory { total: system.total_memory(), available: system.available_memory() };
    let swap = Swap { total: system.total_swap(), used: system.used_swap() };
    (memory.total > 0).then_some((memory, swap))
}

/// The size of a filesystem; sysinfo does not give the free blocks that are kept for root.
fn space(point: &str) -> Result<Space, Reason> {
    match fs2::statvfs(point) {
        Ok(found) if found.total_space() > 0 => {
            Ok(Space { total: found.total_space(), free: found.free_space(), available: found.available_space() })
        }
        _ => Err(Reason::Unavailable),
    }
}

fn with_mac(mut interface: Interface) -> Interface {
    let address = std::fs::read_to_string(Path::new("/sys/class/net").join(&interface.name).join("address")).unwrap_or_default();
    let address = address.trim();
    interface.mac = address.bytes().any(|b| !matches!(b, b'0' | b':')).then(|| address.to_owned());
    interface
}

fn proc_file(name: &str) -> Option<String> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    std::fs::File::open(Path::new("/proc").join(name)).ok()?.take(MAX_PROC_BYTES).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// A value outside the range of its point is bad.
fn in_range(mut reading: Reading, device: &Device) -> Reading {
    let range = device.profile.points.get(reading.point.0).and_then(|point| point.range);
    let number = reading.sample.value().and_then(pattoo_wire::Value::to_f64);
    if let (Some((low, high)), Some(number)) = (range, number)
        && !(low..=high).contains(&number)
    {
        reading.sample = Sample::Bad(Reason::OutOfRange);
    }
    reading
}

#[cfg(test)]
mod tests;
