//! What a driver gives: readings of one transaction with a device.

use std::sync::Arc;

use pattoo_wire::{Labels, Sample};

/// Position of a device in [`crate::config::Config::devices`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceIndex(pub usize);

/// One boot of this machine: times counted from it can be compared with each other, and with nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BootId(pub u64);

/// Position of a point in its profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PointIndex(pub usize);

/// Readings that a device gave in one request and reply; they share one time.
#[derive(Debug, Clone, PartialEq)]
pub struct Transaction {
    /// Which device.
    pub device: DeviceIndex,
    /// Midpoint between request and reply in ms, by the clock that the driver was given.
    pub at_ms: i64,
    /// Each asked point once, good or bad.
    pub readings: Vec<Reading>,
}

/// One reading of one point.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// Which point.
    pub point: PointIndex,
    /// Which row, where the point is a column of a table (a filesystem, an interface).
    pub row: Option<Arc<Row>>,
    /// Value, quality, reason. A value has the representation of its point.
    pub sample: Sample,
}

/// One row of a table, or what else makes a series of a point another than its profile says.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Row {
    /// What makes the row this row: part of the series' name, in brackets. Empty: the series has the name of its point alone.
    pub identity: String,
    /// What else is known of the row. A change is told to the server with the next batch, so a driver must not change them at each poll.
    pub labels: Labels,
    /// Name of the point, where the source says it and not the profile.
    pub point: Option<String>,
    /// Unit, where the device says it and not the profile. Part of what its values mean: with another unit they are bad.
    pub unit: Option<String>,
}

impl Row {
    /// A row that is as its profile says.
    #[must_use]
    pub fn new(identity: impl Into<String>, labels: Labels) -> Self {
        Self { identity: identity.into(), labels, point: None, unit: None }
    }
}
