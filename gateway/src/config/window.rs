//! The default of `buffer.commit_window`: what saves the flash of a gateway that has little to do, and delays nobody's live chart. Pure.

use std::time::Duration;

use super::{Batching, Device};
use crate::profile::{Point, Read};

/// A gateway that reads nothing more often than this lets two batches share a block of its flash.
const QUIET: Duration = Duration::from_secs(60);

/// How long a complete batch waits for others where the configuration says nothing: for the next one, where nothing is read more often than
/// once a minute; else, and where anything comes by itself or is an alarm, not at all.
///
/// Each wait for the disk costs its flash a block, whatever is in it: one a minute is 5.9 MB a day. Who reads more often wants to see it
/// soon, and readings wait for `batch.every` in any case. Who reads every two minutes or less often writes less than that without waiting.
#[must_use]
pub fn own_window(devices: &[Device], batch: &Batching) -> Duration {
    let points = || devices.iter().flat_map(|device| device.profile.points.iter().map(move |point| (device, point)));
    let quickest = points().map(|(device, point)| point.every.unwrap_or(device.every)).min().unwrap_or_default();
    let is_quiet = (QUIET..2 * QUIET).contains(&quickest) && batch.every < QUIET && !points().any(|(_, point)| is_urgent(point));
    if is_quiet { quickest + batch.every } else { Duration::ZERO }
}

/// Whether somebody waits for each of its readings.
fn is_urgent(point: &Point) -> bool {
    let told = match &point.read {
        Read::Line(_) | Read::Trap(_) => true,
        Read::Bacnet(read) => read.cov,
        Read::Modbus(_) | Read::SunSpec(_) | Read::Host(_) | Read::Snmp(_) => false,
    };
    told || point.alarm
}
