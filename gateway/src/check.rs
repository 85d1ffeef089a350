//! What a configuration costs: requests, time on each link, bytes to the server and to flash. Pure: opens nothing, asks no device.
//!
//! All of it is predicted, from the plan that the drivers follow and from constants that name where they were measured. A link
//! that cannot keep up, because its devices want more than all of its time, is refused here rather than found out in the field.

mod snmp;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytesize::ByteSize;
use serde::Serialize;

use crate::config::{Allowed, Config, Device, Link, Transport};
use crate::lines::LineRead;
use crate::plan::{self, LinkCost, Request, Why};
use crate::profile::{Chain, ModbusLimits, Read, Table};
use crate::reading::{DeviceIndex, PointIndex};
use crate::schedule::{Entry, entries};
use crate::table::table;
use crate::yaml::Problem;

/// A read of this host. Measured: 0.5 to 2 ms, debug build, on a server; a small ARM box may take a few times that.
const HOST_READ: Duration = Duration::from_millis(2);
/// Rows that a table of this host is assumed to have: `check` does not look. A small box has two or three disks and interfaces.
const ASSUMED_HOST_ROWS: u32 = 3;

/// Bytes that a batch costs beside its readings, all MQTT packets in both directions counted. This and the next two are from
/// `tests/bench/wire-size.md`.
const WIRE_BATCH_BYTES: f64 = 109.0;
/// Bytes of a reading that is the first of its series in a batch.
const WIRE_FIRST_READING_BYTES: f64 = 3.02;
/// Bytes of a reading that follows another of its series in the same batch.
const WIRE_NEXT_READING_BYTES: f64 = 1.46;
/// The same where batches are compressed; those that are first of their series are mostly in batches for which it does not pay.
const WIRE_NEXT_READING_PACKED_BYTES: f64 = 1.23;
/// Bytes of a stored batch beside its readings: key, record, version, schema, counts and checksums. The gateway's buffer.
const STORED_BATCH_BYTES: f64 = 60.0;
/// Bytes written for each byte stored, and for each commit: the last block of the log, which the next one writes again. Measured on our own
/// buffer: `write_bytes` of `/proc/self/io` over 600 batches of 155, 705 and 4446 bytes, in commits of 1, 6 and 30, on ext4. The two
/// tell all of these to 3 %.
const FLASH_BYTES_PER_STORED: f64 = 1.05;
const FLASH_COMMIT_BYTES: f64 = 4150.0;
/// What the journal of an ext4 adds to a commit. Measured at the block device, see `tests/bench/flash.md`; mount options did not change it.
const JOURNAL_BYTES: f64 = 17_500.0;
const SECONDS_PER_DAY: f64 = 86_400.0;
/// A link that is busy all the time.
const FULL_PERCENT: f64 = 100.0;

/// What was found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Name of the gateway.
    pub gateway: String,
    /// No problem, and no link over its time.
    pub good: bool,
    /// Each link.
    pub links: Vec<LinkReport>,
    /// Readings of all devices in a day.
    pub readings_per_day: u64,
    /// Batches in a day, at most.
    pub batches_per_day: u64,
    /// Bytes between gateway and server in a day, as long as nothing is sent twice.
    pub uplink_bytes_per_day: u64,
    /// Bytes that the gateway writes to its buffer's flash in a day.
    pub flash_bytes_per_day: u64,
    /// Bytes that the journal of its file system adds, if that is an ext4 with its defaults.
    pub journal_bytes_per_day: u64,
    /// Whether commands are taken.
    pub commands: bool,
    /// Points that commands may write, with what they may be.
    pub writable: Vec<String>,
    /// What is wrong, as `file:line:column: what was found`.
    pub problems: Vec<String>,
    /// What looks odd about the profiles in use and may be meant so.
    pub warnings: Vec<String>,
    /// Devices whose registers are found at run time, so that their plan is that of a typical one.
    pub found_at_run_time: Vec<String>,
}

/// One link.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LinkReport {
    /// Its name.
    pub name: String,
    /// What it runs over.
    pub transport: String,
    /// Time for one read of all points of all its devices, in ms.
    pub cycle_ms: u64,
    /// Share of its time that its devices want; of the busiest of its connections.
    pub load_percent: f64,
    /// More than there is.
    pub overloaded: bool,
    /// Its devices.
    pub devices: Vec<DeviceReport>,
}

/// One device.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DeviceReport {
    /// Its name.
    pub name: String,
    /// Id of its profile.
    pub profile: String,
    /// Points of its profile.
    pub points: usize,
    /// Requests for one read of all points.
    pub requests: usize,
    /// Registers and bits that those ask for, those in holes included.
    pub registers: u64,
    /// Time for one read of all points, in ms.
    pub cycle_ms: u64,
    /// Those requests, and why each ends where it does.
    pub plan: Vec<PlannedRequest>,
    /// Its interval in ms; points may have others.
    pub every_ms: u64,
    /// Share of its link's time.
    pub load_percent: f64,
    /// Its readings in a day.
    pub readings_per_day: u64,
}

/// One request of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlannedRequest {
    /// Its table.
    pub table: Table,
    /// First register or bit.
    pub first: u16,
    /// Registers or bits.
    pub count: u16,
    /// Points that its answer holds.
    pub points: usize,
    /// Why it does not also read what comes next.
    pub ends: String,
}

/// What one read of some points costs.
#[derive(Debug, Clone, Default)]
struct Cost {
    plan: Vec<PlannedRequest>,
    registers: u64,
    /// Requests that are in no plan: what an agent is asked depends on its rows.
    requests: usize,
    time: Duration,
    readings: u32,
}

fn cost(device: &Device, points: &[PointIndex], link: &LinkCost) -> Cost {
    if device.profile.is_sunspec() {
        return sunspec_cost(device, points, link);
    }
    if device.profile.is_snmp() {
        return snmp::cost(device, points, link);
    }
    let reads = || points.iter().filter_map(|index| Some((*index, &device.profile.points.get(index.0)?.read)));
    let registers: Vec<_> =
        reads().filter_map(|(index, read)| if let Read::Modbus(read) = read { Some((index, read)) } else { None }).collect();
    let metrics = reads().filter_map(|(_, read)| if let Read::Host(metric) = read { Some(*metric) } else { None });
    let told = reads().filter(|(_, read)| matches!(read, Read::Line(LineRead::Listed(_)))).count();
    let rows: Vec<u32> = metrics.map(|metric| if metric.has_rows() { ASSUMED_HOST_ROWS } else { 1 }).collect();
    let properties = reads().filter(|(_, read)| matches!(read, Read::Bacnet(_))).count();
    let limits = &device.profile.modbus;
    let requests = plan::plan(&registers, limits, link);
    let host = if rows.is_empty() { Duration::ZERO } else { HOST_READ };
    Cost {
        plan: planned(&requests, limits, link),
        registers: requests.iter().map(|request| u64::from(request.count)).sum(),
        requests: 0,
        time: plan::cycle_time(&requests, limits, link) + host,
        readings: u32::try_from(registers.len() + properties + told).unwrap_or(u32::MAX).saturating_add(rows.iter().sum()),
    }
}

fn planned(requests: &[Request], limits: &ModbusLimits, link: &LinkCost) -> Vec<PlannedRequest> {
    let told = |(request, why): (&Request, Why)| PlannedRequest {
        table: request.table,
        first: request.address,
        count: request.count,
        points: request.points.len(),
        ends: why.words(request.table),
    };
    requests.iter().zip(plan::explain(requests, limits, link)).map(told).collect()
}

/// What it would cost if the device were the typical one: where it has its registers is found at run time.
fn sunspec_cost(device: &Device, points: &[PointIndex], link: &LinkCost) -> Cost {
    let layout = device.profile.laid_out(&Chain::typical());
    let plain = Device { profile: Arc::clone(&layout.plain), ..device.clone() };
    let readings = u32::try_from(layout.readings(points)).unwrap_or(u32::MAX);
    Cost { readings, ..cost(&plain, &layout.asked(points), link) }
}

fn times_per_day(entry: &Entry) -> f64 {
    SECONDS_PER_DAY / entry.every.as_secs_f64()
}

/// Works out what this configuration costs; `problems` are those found while it was read.
#[must_use]
pub fn check(config: &Config, problems: &[Problem]) -> Report {
    let links: Vec<_> = config.links.iter().map(|link| link_report(config, link)).collect();
    let all = entries(config.devices.iter().enumerate().map(|(i, device)| (DeviceIndex(i), device)));
    let flow = Flow::of(config, &all);
    Report {
        gateway: config.gateway.clone(),
        good: problems.is_empty() && links.iter().all(|link| !link.overloaded),
        readings_per_day: links.iter().flat_map(|link| &link.devices).map(|device| device.readings_per_day).sum(),
        links,
        batches_per_day: flow.batches.round() as u64,
        uplink_bytes_per_day: flow.uplink_bytes().round() as u64,
        flash_bytes_per_day: flow.flash_bytes().round() as u64,
        journal_bytes_per_day: (flow.commits * JOURNAL_BYTES).round() as u64,
        commands: config.commands.enabled,
        writable: writable(config),
        problems: problems.iter().map(ToString::to_string).collect(),
        warnings: warnings(config),
        found_at_run_time: config.devices.iter().filter(|d| d.profile.is_sunspec()).map(|d| d.name.clone()).collect(),
    }
}

/// Each profile once, whatever the number of its devices.
fn warnings(config: &Config) -> Vec<String> {
    let profiles: BTreeMap<_, _> = config.devices.iter().map(|device| (&device.profile.id, &device.profile)).collect();
    let all =
        profiles.into_iter().flat_map(|(id, profile)| profile.warnings().into_iter().map(move |text| format!("profile {id}: {text}")));
    all.collect()
}

fn writable(config: &Config) -> Vec<String> {
    let line = |((device, point), allowed): (&(DeviceIndex, PointIndex), &Allowed)| {
        let device = config.devices.get(device.0)?;
        let point = device.profile.points.get(point.0)?;
        let safe = allowed
            .safe
            .as_ref()
            .map(|safe| format!("; {} once the server is out of reach for {}", safe.value, humantime::format_duration(safe.after)));
        Some(format!("{} {}: {}{}", device.name, point.name, allowed.limits.words(), safe.unwrap_or_default()))
    };
    config.commands.points.iter().filter_map(line).collect()
}

fn link_report(config: &Config, link: &Link) -> LinkReport {
    let cost = LinkCost::on(&link.transport);
    let report = |index: &DeviceIndex| Some(device_report(*index, config.devices.get(index.0)?, &cost));
    let load = |part: &Link| part.devices.iter().filter_map(report).map(|device| device.load_percent).sum::<f64>();
    let load_percent = link.parts().iter().map(load).fold(0.0, f64::max);
    let devices: Vec<_> = link.devices.iter().filter_map(report).collect();
    LinkReport {
        name: link.name.clone(),
        transport: match &link.transport {
            Transport::ModbusTcp { endpoint, .. } if link.connections > 1 => {
                format!("Modbus TCP {endpoint}, {} connections", link.connections)
            }
            Transport::ModbusTcp { endpoint, .. } => format!("Modbus TCP {endpoint}"),
            Transport::ModbusTls { endpoint, .. } => format!("Modbus TCP with TLS {endpoint}"),
            Transport::RtuOverTcp { endpoint, .. } => format!("Modbus RTU over TCP {endpoint}"),
            Transport::ModbusRtu { line, .. } => format!("Modbus RTU {} at {} baud", line.path.display(), line.baud),
            Transport::Snmp(agent) => agent.to_string(),
            Transport::SnmpTraps(traps) => format!("SNMP traps at {}", traps.listen),
            Transport::Host => "this host".to_owned(),
            Transport::Bacnet(bacnet) => format!("BACnet/IP {}", bacnet.local),
            Transport::Exec(program) => program.words(),
            Transport::Input(input) => input.words(),
        },
        cycle_ms: devices.iter().map(|device| device.cycle_ms).sum(),
        load_percent,
        overloaded: load_percent > FULL_PERCENT,
        devices,
    }
}

fn device_report(index: DeviceIndex, device: &Device, link: &LinkCost) -> DeviceReport {
    let points: Vec<_> = (0..device.profile.points.len()).map(PointIndex).collect();
    let whole = cost(device, &points, link);
    let entries = entries([(index, device)]);
    let costs: Vec<_> = entries.iter().map(|entry| (entry, cost(device, &entry.points, link))).collect();
    let load: f64 = costs.iter().map(|(entry, cost)| cost.time.as_secs_f64() / entry.every.as_secs_f64()).sum();
    let readings: f64 = costs.iter().map(|(entry, cost)| f64::from(cost.readings) * times_per_day(entry)).sum();
    DeviceReport {
        name: device.name.clone(),
        profile: device.profile.id.clone(),
        points: points.len(),
        requests: whole.plan.len() + whole.requests,
        registers: whole.registers,
        cycle_ms: millis(whole.time),
        plan: whole.plan,
        every_ms: millis(device.every),
        load_percent: load * 100.0,
        readings_per_day: readings.round() as u64,
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// What leaves the gateway in a day.
struct Flow {
    batches: f64,
    /// Waits for the disk: of all batches within a window one.
    commits: f64,
    reading_bytes: f64,
    /// The same on the way to the server.
    wire_bytes: f64,
}

impl Flow {
    fn of(config: &Config, entries: &[Entry]) -> Self {
        let batch_every = config.batch.every.as_secs_f64();
        let next = if config.uplink.compress { WIRE_NEXT_READING_PACKED_BYTES } else { WIRE_NEXT_READING_BYTES };
        let mut flow = Self { batches: 0.0, commits: 0.0, reading_bytes: 0.0, wire_bytes: 0.0 };
        for entry in entries {
            let Some(device) = config.devices.get(entry.device.0) else { continue };
            // Polls of this entry that share a batch; with less than one, each reading is the first of its series in its batch.
            let together = (batch_every / entry.every.as_secs_f64()).max(1.0);
            let readings = f64::from(cost(device, &entry.points, &LinkCost::default()).readings) * times_per_day(entry);
            let bytes = |next| readings * (WIRE_FIRST_READING_BYTES + (together - 1.0) * next) / together;
            flow.reading_bytes += bytes(WIRE_NEXT_READING_BYTES);
            flow.wire_bytes += bytes(next);
            if !rides_along(entry, entries) {
                flow.batches += times_per_day(entry);
            }
        }
        // No batch without a poll, and none before its time is over unless it is full.
        let full = flow.reading_bytes / pattoo_wire::MAX_BODY_BYTES as f64;
        flow.batches = flow.batches.min(SECONDS_PER_DAY / batch_every).max(full);
        // A window begins with a batch; the first one behind its end begins the next.
        let together = config.buffer.commit_window.as_secs_f64() * flow.batches / SECONDS_PER_DAY;
        flow.commits = flow.batches / together.ceil().max(1.0);
        flow
    }

    fn uplink_bytes(&self) -> f64 {
        self.batches * WIRE_BATCH_BYTES + self.wire_bytes
    }

    fn flash_bytes(&self) -> f64 {
        let stored = self.batches * STORED_BATCH_BYTES + self.reading_bytes;
        stored * FLASH_BYTES_PER_STORED + self.commits * FLASH_COMMIT_BYTES
    }
}

/// Whether what is due of a device is always due together with something else of it: all of a device begins at the same time.
fn rides_along(entry: &Entry, entries: &[Entry]) -> bool {
    let (own, every) = (entry.device, entry.every.as_millis());
    entries.iter().any(|other| other.device == own && other.every < entry.every && every.is_multiple_of(other.every.as_millis()))
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let devices: usize = self.links.iter().map(|link| link.devices.len()).sum();
        writeln!(f, "gateway {}: {}, {}", self.gateway, counted(self.links.len(), "link"), counted(devices, "device"))?;
        for link in &self.links {
            let load = percent(link.load_percent);
            writeln!(f, "\nlink {} ({}): one round takes {}, load {load}", link.name, link.transport, time(link.cycle_ms))?;
            let head =
                ["device", "profile", "points", "requests", "registers", "read in", "every", "load", "readings/day"].map(str::to_owned);
            let rows: Vec<_> = std::iter::once(head).chain(link.devices.iter().map(DeviceReport::cells)).collect();
            f.write_str(&indented(&table(&rows, &[2, 3, 4, 5, 6, 7, 8])))?;
        }
        self.write_plans(f)?;
        writeln!(f, "\nreadings  {} a day in {} at most", self.readings_per_day, counted(self.batches_per_day as usize, "batch"))?;
        writeln!(f, "uplink    about {} a day", ByteSize(self.uplink_bytes_per_day).display().si())?;
        let per_reading = self.flash_bytes_per_day as f64 / self.readings_per_day.max(1) as f64;
        let [per_day, journal] = [self.flash_bytes_per_day, self.journal_bytes_per_day].map(|bytes| ByteSize(bytes).display().si());
        write!(f, "flash     about {per_day} written a day, {per_reading:.0} bytes a reading; ")?;
        writeln!(f, "the journal of an ext4 adds {journal}")?;
        if self.links.iter().flat_map(|link| &link.devices).any(|device| device.requests > 0) {
            writeln!(
                f,
                "Times assume 20 ms for each request; on serial lines that is the wait for the answer, and bytes and silences are added."
            )?;
        }
        if !self.found_at_run_time.is_empty() {
            let names = self.found_at_run_time.join(", ");
            writeln!(f, "Found at run time: the models of {names}; this is the plan for a three-phase inverter with two trackers.")?;
        }
        if self.links.iter().any(|link| link.transport.starts_with("SNMP")) {
            writeln!(f, "Found at run time: the rows of SNMP tables; this is the plan for {} in each.", snmp::ASSUMED_ROWS)?;
        }
        if self.commands || !self.writable.is_empty() {
            let points = counted(self.writable.len(), "point");
            let what = if self.commands { "may write" } else { "are off (`commands: { enabled: true }`); they could write" };
            writeln!(f, "\ncommands {what} {points}")?;
            self.writable.iter().try_for_each(|line| writeln!(f, "  {line}"))?;
        }
        for link in self.links.iter().filter(|link| link.overloaded) {
            let load = percent(link.load_percent);
            write!(f, "\nrefused: link {} is over its time: load {load}, at most 100 % are possible. ", link.name)?;
            writeln!(f, "Read its devices less often, read fewer points, or give some devices another link.")?;
        }
        for warning in &self.warnings {
            writeln!(f, "\nwarning: {warning}")?;
        }
        if !self.problems.is_empty() {
            let what = match self.problems.len() {
                1 => "1 problem".to_owned(),
                n => format!("{n} problems"),
            };
            writeln!(f, "\n{what}; the daemon leaves out what is named here and runs the rest:")?;
        }
        self.problems.iter().try_for_each(|problem| writeln!(f, "  {problem}"))
    }
}

impl Report {
    /// Each plan once, whatever the number of devices that have it.
    fn write_plans(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut told: Vec<(&str, &[PlannedRequest])> = Vec::new();
        for device in self.links.iter().flat_map(|link| &link.devices).filter(|device| !device.plan.is_empty()) {
            let own = (device.profile.as_str(), device.plan.as_slice());
            if told.contains(&own) {
                continue;
            }
            told.push(own);
            writeln!(f, "\nplan of {}, as for {}", device.profile, device.name)?;
            let head = ["table", "first", "count", "points", "ends because"].map(str::to_owned);
            let row = |request: &PlannedRequest| {
                let PlannedRequest { table, first, count, points, ends } = request;
                [table.to_string(), first.to_string(), count.to_string(), points.to_string(), ends.clone()]
            };
            let rows: Vec<_> = std::iter::once(head).chain(device.plan.iter().map(row)).collect();
            f.write_str(&indented(&table(&rows, &[1, 2, 3])))?;
        }
        Ok(())
    }
}

impl DeviceReport {
    fn cells(&self) -> [String; 9] {
        [
            self.name.clone(),
            self.profile.clone(),
            self.points.to_string(),
            self.requests.to_string(),
            self.registers.to_string(),
            time(self.cycle_ms),
            time(self.every_ms),
            percent(self.load_percent),
            self.readings_per_day.to_string(),
        ]
    }
}

fn counted(n: usize, what: &str) -> String {
    match (n, what) {
        (1, _) => format!("1 {what}"),
        (_, "batch") => format!("{n} batches"),
        _ => format!("{n} {what}s"),
    }
}

fn time(ms: u64) -> String {
    humantime::format_duration(Duration::from_millis(ms)).to_string()
}

fn percent(percent: f64) -> String {
    // Just over the limit must not read as just at it.
    if percent > FULL_PERCENT { format!("{:.1} %", (percent * 10.0).ceil() / 10.0) } else { format!("{percent:.1} %") }
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect()
}

#[cfg(test)]
mod tests;
