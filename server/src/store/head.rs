//! What is not in a part yet, in memory: rows of series that are polled together, ready to become chunks. Pure; it knows neither log nor disk, and
//! who has more of a series is not known here.
//!
//! - **Rows grow at their end.** A reading that is later than all of its group begins a row or joins the last one; of a block whose series are all
//!   so, whole columns do (`fill`). Whatever comes late, again or as a correction lies in a map beside, and wins; both become one when the head
//!   is laid out as parts.
//! - **Groups find themselves.** A series that comes with others of its device at the same time joins them. Those that turn out to share less
//!   than half of their rows are parted: an absent cell costs more than a time of one's own. The next head begins with the groups of this one.
//!
//! # Limits
//! Rows are closed where a chunk is full, has [`OPEN_COLUMNS`] columns or takes [`OPEN_BYTES`]; a group has at most [`MAX_GROUP_SERIES`] series.
//! [`Head::bytes`] counts what it takes; who fills it decides when that is enough.
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

use std::collections::{BTreeMap, HashMap};

use pattoo_wire::Sample;

use super::by_series::BySeries;
use super::part::Rows;
use super::{Reading, SeriesId};

mod crowds;
mod fill;
mod layout;

#[cfg(test)]
mod tests;

pub use fill::{Gate, Open};

/// Columns of rows that get no more of them: one row more adds at most [`MAX_GROUP_SERIES`].
const OPEN_COLUMNS: usize = 8192;
/// Bytes of rows that get no more of them, so that a chunk never comes near its limit.
const OPEN_BYTES: usize = 16 << 20;
/// Most series that share rows.
const MAX_GROUP_SERIES: usize = 4096;
/// Longest text in rows that grow: of as many as a group has, a chunk still holds a row.
const MAX_ROW_TEXT_BYTES: usize = 4096;
/// Groups of a device that a new series is compared with, the youngest first.
const LOOK_BACK: usize = 16;
/// Rows at which a group is looked at: do its series belong together?
const LOOKS: [usize; 3] = [32, 128, 512];
/// Of a reading that came late, beside its text: key, sample, and its share of the tree.
const LATE_BYTES: usize = 96;
/// Of a series: its home.
const HOME_BYTES: usize = 48;

/// Readings that are not in a part yet.
#[derive(Debug, Default)]
pub struct Head {
    homes: BySeries<Home>,
    groups: Vec<Group>,
    /// Groups of a device, in the order in which they came to be.
    devices: HashMap<u32, Vec<u32>>,
    /// Groups where a series was before, and left readings.
    former: HashMap<SeriesId, Vec<u32>>,
    /// What came late; it wins.
    late: BTreeMap<(SeriesId, i64), Sample>,
    bytes: usize,
    readings: u64,
}

/// Where a series goes.
#[derive(Debug, Clone, Copy)]
struct Home {
    group: u32,
    /// The last time that it has in this head.
    last_ms: Option<i64>,
}

/// Series that are polled together.
#[derive(Debug, Default)]
struct Group {
    device: u32,
    series: usize,
    /// Closed, each later than the one before.
    sealed: Vec<Rows>,
    /// Later than these, and growing.
    open: Rows,
    open_bytes: usize,
}

impl Head {
    /// An empty one that begins with the groups that this one has found; they are not counted in its bytes.
    #[must_use]
    pub fn next(&self) -> Self {
        let homes = self.homes.map(|home| Home { last_ms: None, ..*home });
        let groups = self.groups.iter().map(|group| Group { device: group.device, series: group.series, ..Group::default() });
        Self { groups: groups.collect(), devices: self.devices.clone(), homes, ..Self::default() }
    }

    /// Rows that may have readings of a series, in no order.
    fn places(&self, id: SeriesId) -> impl Iterator<Item = &Rows> {
        let home = self.homes.get(id).map(|home| home.group);
        let former = self.former.get(&id).into_iter().flatten().copied();
        let groups = former.chain(home).filter_map(|group| self.groups.get(group as usize));
        groups.flat_map(|group| group.sealed.iter().chain([&group.open]))
    }

    /// What a series has at a time.
    #[must_use]
    pub fn at(&self, id: SeriesId, at_ms: i64) -> Option<Sample> {
        let home = self.homes.get(id)?;
        // Most that is asked for is not here.
        if home.last_ms.is_none_or(|last_ms| last_ms < at_ms) {
            return None;
        }
        self.late.get(&(id, at_ms)).cloned().or_else(|| self.places(id).find_map(|rows| rows.at(id, at_ms)))
    }

    /// Readings of a series with `from_ms <= at_ms < to_ms`, ascending, at most `limit`.
    #[must_use]
    pub fn raw(&self, id: SeriesId, from_ms: i64, to_ms: i64, limit: usize) -> Vec<Reading> {
        let touches =
            |rows: &&Rows| rows.first_ms().is_some_and(|first| first < to_ms) && rows.last_ms().is_some_and(|last| last >= from_ms);
        let late = self.late.range((id, from_ms)..(id, to_ms.max(from_ms)));
        let mut readings: Vec<Reading> = late.map(|((_, at_ms), sample)| Reading { at_ms: *at_ms, sample: sample.clone() }).collect();
        readings.extend(self.places(id).filter(touches).flat_map(|rows| rows.readings(id, from_ms, to_ms)));
        // What came late stands before what it replaces: the sort is stable.
        readings.sort_by_key(|reading| reading.at_ms);
        readings.dedup_by_key(|reading| reading.at_ms);
        readings.truncate(limit);
        readings
    }

    /// The newest reading of a series.
    #[must_use]
    pub fn last(&self, id: SeriesId) -> Option<Reading> {
        let at_ms = self.homes.get(id)?.last_ms?;
        self.at(id, at_ms).map(|sample| Reading { at_ms, sample })
    }

    /// Memory that it takes, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Readings in it; a correction of one in rows counts again.
    #[must_use]
    pub fn readings(&self) -> u64 {
        self.readings
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.readings == 0
    }

    /// The first time in it.
    #[must_use]
    pub fn first_ms(&self) -> Option<i64> {
        let rows = self.groups.iter().filter_map(|group| group.sealed.first().unwrap_or(&group.open).first_ms());
        rows.chain(self.late.keys().map(|(_, at_ms)| *at_ms)).min()
    }
}
