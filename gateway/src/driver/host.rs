//! Metrics of the Linux host that the gateway runs on.

use pattoo_wire::Repr;

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
