//! What was read of the host -> readings. Pure: reads nothing and remembers only which rows there were.

use std::collections::BTreeMap;
use std::sync::Arc;

use pattoo_wire::{Decimal, Labels, Reason, Repr, Sample, Value};

use super::Metric;
use super::proc::{Disk, Interface};
use crate::reading::{PointIndex, Reading, Row};

/// Most rows of one metric: a gateway has few disks and interfaces, and each row is a series for ever.
pub(super) const MAX_ROWS: usize = 64;
/// Longest identity or label of a row, in bytes: with the name of its point it has to fit the 255 of the schema.
const MAX_TEXT_BYTES: usize = 150;

/// The host at one moment. Parts that nobody asked for may be absent.
#[derive(Debug, Default)]
pub(super) struct Snapshot {
    /// Busy share of all processors since the poll before; none in the first.
    pub(super) cpu_percent: Option<f32>,
    pub(super) load_hundredths: Option<[i64; 3]>,
    pub(super) memory: Option<Memory>,
    pub(super) swap: Option<Swap>,
    pub(super) processes: Option<u64>,
    pub(super) uptime_s: Option<u64>,
    pub(super) filesystems: Option<Vec<Filesystem>>,
    pub(super) disks: Option<Vec<Disk>>,
    pub(super) interfaces: Option<Vec<Interface>>,
    pub(super) sensors: Option<Result<Vec<Sensor>, Reason>>,
}

/// Bytes of memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Memory {
    pub(super) total: u64,
    pub(super) available: u64,
}

/// Bytes of swap; all 0 where there is none.
#[derive(Debug, Clone, Copy)]
pub(super) struct Swap {
    pub(super) total: u64,
    pub(super) used: u64,
}

/// A mounted filesystem and what it said of itself.
#[derive(Debug, Clone)]
pub(super) struct Filesystem {
    pub(super) point: String,
    pub(super) device: String,
    pub(super) kind: String,
    pub(super) space: Result<Space, Reason>,
}

/// Bytes of a filesystem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Space {
    pub(super) total: u64,
    /// Unused, those kept for root included.
    pub(super) free: u64,
    /// Unused and open to everybody.
    pub(super) available: u64,
}

/// A temperature sensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sensor {
    pub(super) identity: String,
    pub(super) millidegrees: Result<i64, Reason>,
}

/// What a metric is at the moment.
enum Answer {
    One(Sample),
    Rows(Result<Vec<(Row, Sample)>, Reason>),
}

impl Snapshot {
    fn answer(&self, metric: Metric) -> Answer {
        let one = |value: Option<i64>| match (value, metric.repr()) {
            (Some(mantissa), Repr::Decimal { exponent }) => Answer::One(Sample::Good(Value::Decimal(Decimal { mantissa, exponent }))),
            _ => Answer::One(Sample::Bad(Reason::Unavailable)),
        };
        let bytes = |value: Option<u64>| Answer::One(value.map_or(Sample::Bad(Reason::Unavailable), whole));
        let filesystems = |value: fn(Space) -> u64| {
            rows(self.filesystems.as_deref(), |f| (f.row(), f.space.map_or_else(Sample::Bad, |s| whole(value(s)))))
        };
        let disks = |value: fn(&Disk) -> u64| rows(self.disks.as_deref(), |d| (row(&d.name, []), counter(value(d))));
        let interfaces = |value: fn(&Interface) -> u64| rows(self.interfaces.as_deref(), |i| (i.row(), counter(value(i))));
        match metric {
            Metric::CpuUsage => one(self.cpu_percent.filter(|p| p.is_finite()).map(|percent| (percent * 10.0).round() as i64)),
            Metric::Load1 => one(self.load_hundredths.map(|[load, _, _]| load)),
            Metric::Load5 => one(self.load_hundredths.map(|[_, load, _]| load)),
            Metric::Load15 => one(self.load_hundredths.map(|[_, _, load]| load)),
            Metric::MemoryTotal => bytes(self.memory.map(|m| m.total)),
            Metric::MemoryUsed => bytes(self.memory.map(|m| m.total.saturating_sub(m.available))),
            Metric::MemoryAvailable => bytes(self.memory.map(|m| m.available)),
            Metric::SwapTotal => bytes(self.swap.map(|s| s.total)),
            Metric::SwapUsed => bytes(self.swap.map(|s| s.used)),
            Metric::Processes => bytes(self.processes),
            Metric::Uptime => bytes(self.uptime_s),
            Metric::FilesystemTotal => filesystems(|s| s.total),
            Metric::FilesystemUsed => filesystems(|s| s.total.saturating_sub(s.free)),
            Metric::FilesystemAvailable => filesystems(|s| s.available),
            Metric::DiskRead => disks(|d| d.read),
            Metric::DiskWritten => disks(|d| d.written),
            Metric::NetworkReceived => interfaces(|i| i.received),
            Metric::NetworkTransmitted => interfaces(|i| i.transmitted),
            Metric::NetworkErrors => interfaces(|i| i.errors),
            Metric::Temperature => match &self.sensors {
                Some(Ok(sensors)) => rows(Some(sensors), |s| (row(&s.identity, []), s.millidegrees.map_or_else(Sample::Bad, tenths))),
                Some(Err(reason)) => Answer::Rows(Err(*reason)),
                None => Answer::Rows(Err(Reason::Unavailable)),
            },
        }
    }
}

/// A row for each item; unavailable where the whole list is.
fn rows<T>(items: Option<&[T]>, row: impl Fn(&T) -> (Row, Sample)) -> Answer {
    Answer::Rows(items.map(|items| items.iter().map(row).collect()).ok_or(Reason::Unavailable))
}

fn whole(n: u64) -> Sample {
    i64::try_from(n).map_or(Sample::Bad(Reason::Overflow), |n| Sample::Good(Value::int(n)))
}

fn counter(n: u64) -> Sample {
    Sample::Good(Value::Unsigned(n))
}

fn tenths(millidegrees: i64) -> Sample {
    let half = if millidegrees < 0 { -50 } else { 50 };
    Sample::Good(Value::Decimal(Decimal { mantissa: millidegrees.saturating_add(half) / 100, exponent: -1 }))
}

impl Filesystem {
    fn row(&self) -> Row {
        row(&self.point, [("device", Some(&self.device)), ("type", Some(&self.kind))])
    }
}

impl Interface {
    fn row(&self) -> Row {
        row(&self.name, [("mac", self.mac.as_ref())])
    }
}

fn row<const N: usize>(identity: &str, labels: [(&str, Option<&String>); N]) -> Row {
    let labels: Labels = labels.into_iter().filter_map(|(key, text)| Some((key.to_owned(), printable(text?)))).collect();
    Row::new(printable(identity), labels)
}

/// Control characters become `?`. A text that is too long ends in `~` and its checksum, so that two of them stay two.
fn printable(text: &str) -> String {
    let clean: String = text.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    if clean.len() <= MAX_TEXT_BYTES && clean == text {
        return clean;
    }
    let suffix = format!("~{:08x}", crc32fast::hash(text.as_bytes()));
    let end = (0..=MAX_TEXT_BYTES - suffix.len()).rev().find(|end| clean.is_char_boundary(*end)).unwrap_or(0);
    clean.get(..end).unwrap_or_default().to_owned() + &suffix
}

/// Rows of each point of a device at its latest poll.
#[derive(Debug, Default)]
pub(super) struct KnownRows {
    by_point: BTreeMap<PointIndex, BTreeMap<String, Arc<Row>>>,
}

impl KnownRows {
    /// Readings of one point, and how many rows were left out because there are more than [`MAX_ROWS`].
    ///
    /// A row that is gone is bad once, so that a chart ends with a reason. When the whole table cannot be read, the rows that are
    /// known are bad; if none is known, the point itself is.
    pub(super) fn readings(&mut self, point: PointIndex, metric: Metric, snapshot: &Snapshot) -> (Vec<Reading>, usize) {
        let found = match snapshot.answer(metric) {
            Answer::One(sample) => return (vec![Reading { point, row: None, sample }], 0),
            Answer::Rows(found) => found,
        };
        let known = self.by_point.entry(point).or_default();
        let bad = |row: Option<&Arc<Row>>, reason| Reading { point, row: row.cloned(), sample: Sample::Bad(reason) };
        let found = match found {
            Ok(found) => found,
            Err(reason) if known.is_empty() => return (vec![bad(None, reason)], 0),
            Err(reason) => return (known.values().map(|row| bad(Some(row), reason)).collect(), 0),
        };
        // Rows that are known come first, so that a new one never pushes an old one out.
        let mut found: BTreeMap<_, _> =
            found.into_iter().map(|(row, sample)| ((!known.contains_key(&row.identity), row.identity.clone()), (row, sample))).collect();
        let left_out = found.len().saturating_sub(MAX_ROWS);
        while found.len() > MAX_ROWS {
            found.pop_last();
        }
        let mut before = std::mem::take(known);
        let mut readings = Vec::with_capacity(found.len());
        for (row, sample) in found.into_values() {
            let row = before.remove(&row.identity).filter(|old| **old == row).unwrap_or_else(|| Arc::new(row));
            known.insert(row.identity.clone(), Arc::clone(&row));
            readings.push(Reading { point, row: Some(row), sample });
        }
        readings.extend(before.values().map(|row| bad(Some(row), Reason::Unavailable)));
        (readings, left_out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POINT: PointIndex = PointIndex(3);

    fn snapshot() -> Snapshot {
        let filesystem = |point: &str, space| Filesystem { point: point.into(), device: "/dev/sda".into(), kind: "ext4".into(), space };
        Snapshot {
            cpu_percent: Some(12.34),
            load_hundredths: Some([357, 404, 264]),
            memory: Some(Memory { total: 4096, available: 1024 }),
            swap: Some(Swap { total: 0, used: 0 }),
            processes: Some(91),
            uptime_s: Some(2948),
            filesystems: Some(vec![
                filesystem("/", Ok(Space { total: 1000, free: 400, available: 350 })),
                filesystem("/mnt/nas", Err(Reason::Timeout)),
            ]),
            disks: Some(vec![Disk { name: "sda".into(), read: u64::MAX, written: 7 }]),
            interfaces: Some(vec![Interface {
                name: "eth0".into(),
                mac: Some("02:00:00:00:00:01".into()),
                received: 1,
                transmitted: 2,
                errors: 3,
            }]),
            sensors: Some(Ok(vec![
                Sensor { identity: "cpu".into(), millidegrees: Ok(45_250) },
                Sensor { identity: "disk".into(), millidegrees: Err(Reason::Unavailable) },
                Sensor { identity: "outside".into(), millidegrees: Ok(-1_250) },
            ])),
        }
    }

    /// `identity=value` or `identity!reason` of each reading.
    fn texts(readings: &[Reading]) -> Vec<String> {
        let text = |r: &Reading| {
            let identity = r.row.as_ref().map_or("", |row| &row.identity);
            match &r.sample {
                Sample::Good(value) => format!("{identity}={value}"),
                other => format!("{identity}!{}", other.reason().unwrap()),
            }
        };
        readings.iter().map(text).collect()
    }

    fn read(snapshot: &Snapshot, metric: Metric) -> Vec<String> {
        texts(&KnownRows::default().readings(POINT, metric, snapshot).0)
    }

    #[test]
    fn every_metric_is_read_in_its_own_representation() {
        let table: &[(Metric, &[&str])] = &[
            (Metric::CpuUsage, &["=12.3"]),
            (Metric::Load1, &["=3.57"]),
            (Metric::Load5, &["=4.04"]),
            (Metric::Load15, &["=2.64"]),
            (Metric::MemoryTotal, &["=4096"]),
            (Metric::MemoryUsed, &["=3072"]),
            (Metric::MemoryAvailable, &["=1024"]),
            (Metric::SwapTotal, &["=0"]),
            (Metric::SwapUsed, &["=0"]),
            (Metric::FilesystemTotal, &["/=1000", "/mnt/nas!timeout"]),
            (Metric::FilesystemUsed, &["/=600", "/mnt/nas!timeout"]),
            (Metric::FilesystemAvailable, &["/=350", "/mnt/nas!timeout"]),
            (Metric::DiskRead, &["sda=18446744073709551615"]),
            (Metric::DiskWritten, &["sda=7"]),
            (Metric::NetworkReceived, &["eth0=1"]),
            (Metric::NetworkTransmitted, &["eth0=2"]),
            (Metric::NetworkErrors, &["eth0=3"]),
            (Metric::Temperature, &["cpu=45.3", "disk!unavailable", "outside=-1.3"]),
            (Metric::Processes, &["=91"]),
            (Metric::Uptime, &["=2948"]),
        ];
        assert_eq!(table.iter().map(|(m, _)| m).collect::<Vec<_>>(), Metric::NAMES.iter().map(|(_, m)| m).collect::<Vec<_>>());
        for (metric, expected) in table {
            assert_eq!(read(&snapshot(), *metric), *expected, "{metric:?}");
            for reading in KnownRows::default().readings(POINT, *metric, &snapshot()).0 {
                assert_eq!(reading.point, POINT);
                assert!(reading.sample.value().is_none_or(|v| v.repr() == metric.repr()), "{metric:?}: {:?}", reading.sample);
            }
        }
    }

    #[test]
    fn what_the_machine_does_not_offer_is_unavailable_and_never_zero() {
        for (_, metric) in Metric::NAMES {
            assert_eq!(read(&Snapshot::default(), *metric), ["!unavailable"], "{metric:?}");
        }
        let nothing = Snapshot {
            filesystems: Some(vec![]),
            disks: Some(vec![]),
            interfaces: Some(vec![]),
            sensors: Some(Ok(vec![])),
            ..Default::default()
        };
        for metric in [Metric::FilesystemUsed, Metric::DiskRead, Metric::NetworkErrors, Metric::Temperature] {
            assert_eq!(read(&nothing, metric), [""; 0], "a table without rows has no readings: {metric:?}");
        }
        let huge = Snapshot { uptime_s: Some(1 << 63), cpu_percent: Some(f32::NAN), ..Default::default() };
        assert_eq!(read(&huge, Metric::Uptime), ["!overflow"]);
        assert_eq!(read(&huge, Metric::CpuUsage), ["!unavailable"]);
    }

    fn sensors(identities: impl IntoIterator<Item = String>) -> Snapshot {
        let sensors = identities.into_iter().map(|identity| Sensor { identity, millidegrees: Ok(20_000) }).collect();
        Snapshot { sensors: Some(Ok(sensors)), ..Default::default() }
    }

    #[test]
    fn a_row_that_goes_is_bad_once_and_a_table_that_fails_makes_its_rows_bad() {
        let mut known = KnownRows::default();
        let mut poll = |snapshot: &Snapshot| texts(&known.readings(POINT, Metric::Temperature, snapshot).0);
        let failed = |reason| Snapshot { sensors: Some(Err(reason)), ..Default::default() };
        assert_eq!(poll(&failed(Reason::Timeout)), ["!timeout"]);
        assert_eq!(poll(&sensors(["a".into(), "b".into()])), ["a=20.0", "b=20.0"]);
        assert_eq!(poll(&failed(Reason::Timeout)), ["a!timeout", "b!timeout"]);
        assert_eq!(poll(&sensors(["b".into()])), ["b=20.0", "a!unavailable"]);
        assert_eq!(poll(&sensors(["b".into()])), ["b=20.0"]);
        assert_eq!(poll(&sensors([])), ["b!unavailable"]);
        assert_eq!(poll(&sensors([])), [""; 0]);
    }

    #[test]
    fn rows_are_shared_between_polls_until_their_labels_change() {
        let mut known = KnownRows::default();
        let mut poll = |mac: &str| {
            let interface = Interface { name: "eth0".into(), mac: Some(mac.into()), received: 0, transmitted: 0, errors: 0 };
            let snapshot = Snapshot { interfaces: Some(vec![interface]), ..Default::default() };
            known.readings(POINT, Metric::NetworkErrors, &snapshot).0.remove(0).row.unwrap()
        };
        let (first, same, other) = (poll("a"), poll("a"), poll("b"));
        assert!(Arc::ptr_eq(&first, &same));
        assert_eq!((other.identity.as_str(), other.labels.get("mac").map(String::as_str)), ("eth0", Some("b")));
    }

    #[test]
    fn rows_over_the_limit_are_counted_and_never_push_out_known_ones() {
        let mut known = KnownRows::default();
        let name = |i: usize| format!("s{i:03}");
        assert_eq!(known.readings(POINT, Metric::Temperature, &sensors((100..164).map(name))).1, 0);
        let (readings, left_out) = known.readings(POINT, Metric::Temperature, &sensors((90..170).map(name)));
        assert_eq!((readings.len(), left_out), (MAX_ROWS, 16));
        assert_eq!(texts(&readings).first().map(String::as_str), Some("s100=20.0"));
    }

    #[test]
    fn odd_names_of_rows_fit_the_schema_and_stay_different() {
        let long = |end: &str| printable(&("ü".repeat(200) + end));
        assert!(long("a").len() <= MAX_TEXT_BYTES && long("a") != long("b"), "{}", long("a"));
        assert_eq!(printable("/mnt/USB stick"), "/mnt/USB stick");
        assert!(printable("a\nb").starts_with("a?b~"));
        assert_ne!(printable("a\nb"), printable("a\tb"));
    }
}
