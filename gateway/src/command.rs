//! Writes to devices: what a driver is told to write, and what became of it. Pure: asks no device and knows no topic.

use pattoo_wire::{Outcome, Value};

use crate::reading::{PointIndex, Transaction};

/// One write, judged and allowed: the value is within the limits and in the representation of its point.
#[derive(Debug, Clone, PartialEq)]
pub struct Write {
    /// Which point of the device.
    pub point: PointIndex,
    /// The value.
    pub value: Value,
    /// What the point must have before, or nothing is written.
    pub expected: Option<Value>,
    /// Whether bits of a register may be written by reading it and writing all of it, where the device has no function for bits: what
    /// changes in between is lost.
    pub read_modify_write: bool,
}

/// What became of a write.
#[derive(Debug, Clone, PartialEq)]
pub struct Written {
    /// How it ended.
    pub outcome: Outcome,
    /// What the point had before.
    pub old: Option<Value>,
    /// What it has now, where the device said so.
    pub value: Option<Value>,
    /// The outcome in words.
    pub detail: String,
    /// What was read before and after: readings like any others.
    pub transactions: Vec<Transaction>,
}

impl Written {
    /// Nothing was asked of the device.
    #[must_use]
    pub fn not(outcome: Outcome, detail: impl Into<String>) -> Self {
        Self { outcome, old: None, value: None, detail: detail.into(), transactions: Vec::new() }
    }
}
