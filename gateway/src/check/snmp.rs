//! What a poll of an SNMP agent costs, as far as its profile tells. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::Cost;
use crate::config::Device;
use crate::driver::snmp::{MAX_BINDINGS, MAX_OBJECTS};
use crate::plan::LinkCost;
use crate::profile::Read;
use crate::reading::PointIndex;

/// Rows that a table is assumed to have: `check` asks no agent.
pub(super) const ASSUMED_ROWS: u32 = 10;

/// The cost of one poll once the rows are known: scalars by name with the uptime, and one walk over the columns of each table. A point that may
/// be in several places is in the first one.
pub(super) fn cost(device: &Device, points: &[PointIndex], link: &LinkCost) -> Cost {
    let reads = points.iter().filter_map(|index| match &device.profile.points.get(index.0)?.read {
        Read::Snmp(read) => Some(read),
        _ => None,
    });
    let (mut scalars, mut readings) = (0, 0);
    let mut tables: BTreeMap<&str, BTreeSet<_>> = BTreeMap::new();
    for read in reads {
        let first = read.sources.first().map(|source| &source.oid);
        match &read.table {
            None => (scalars, readings) = (scalars + 1, readings + 1),
            Some(table) => {
                tables.entry(&table.name).or_default().extend(first.into_iter().chain(read.beside()));
                readings += ASSUMED_ROWS;
            }
        }
    }
    // One row more shows the end of the table.
    let columns_each = (MAX_BINDINGS / (ASSUMED_ROWS as usize + 1)).max(1);
    let walks: usize = tables.values().map(|columns| columns.len().div_ceil(columns_each)).sum();
    let gets = (scalars + usize::from(!tables.is_empty())).div_ceil(MAX_OBJECTS);
    let requests = gets + walks;
    let time = link.request * u32::try_from(requests).unwrap_or(u32::MAX);
    Cost { plan: Vec::new(), registers: 0, requests, time, readings }
}
