//! Metrics of the Linux host that the gateway runs on.

/// One metric of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Metric {
    /// Placeholder until the driver lands.
    Uptime,
}
