//! Writes to devices: from a command to what a driver is told to write, and what became of it. Pure: asks no device, keeps no file, knows
//! no topic.
//!
//! [`desk::Desk`] judges commands and remembers their ids, [`safe::Safes`] says when a point gets its safe value, [`reach::Reach`] for how long
//! the server is out of reach, and [`Record`] is what must be on stable storage before a device is touched.

pub mod desk;
pub mod reach;
pub mod safe;

use pattoo_wire::{Command, CommandResult, Outcome, Value};
use serde::{Deserialize, Serialize};

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

/// A line of the audit record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Record {
    /// A write is about to be begun. From here on it may have been written.
    Begun {
        /// UTC as far as the gateway knows it, RFC 3339.
        time: String,
        /// What is to be written, and who wants it.
        command: Command,
        /// It is a safe value, which the gateway itself wants.
        #[serde(default, skip_serializing_if = "is_false")]
        safe: bool,
    },
    /// It ended.
    Ended {
        /// UTC as far as the gateway knows it, RFC 3339.
        time: String,
        /// How.
        result: CommandResult,
    },
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
fn is_false(flag: &bool) -> bool {
    !flag
}
