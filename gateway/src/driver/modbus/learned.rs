//! What polls have taught about one device: which points it refuses to have read together. Does not talk to it.

use std::collections::BTreeSet;

use crate::plan::{self, LinkCost, Request};
use crate::profile::{ModbusLimits, ModbusRead};
use crate::reading::PointIndex;

/// Lessons about one device, for this run only: after a restart the device may have new firmware.
#[derive(Debug, Default)]
pub(super) struct Learned {
    /// Points whose neighbourhood holds registers that do not exist: joined with direct neighbours only.
    tight: BTreeSet<PointIndex>,
    /// Points that are asked for alone.
    alone: BTreeSet<PointIndex>,
    /// Points of requests that were not answered: asked last, so that they cost the others nothing.
    silent: BTreeSet<PointIndex>,
}

impl Learned {
    /// The requests that read these points.
    pub(super) fn plan(&self, points: &[(PointIndex, &ModbusRead)], limits: &ModbusLimits, cost: &LinkCost) -> Vec<Request> {
        let (alone, joined): (Vec<_>, Vec<_>) = points.iter().partition(|(index, _)| self.alone.contains(index));
        let (tight, loose): (Vec<_>, Vec<_>) = joined.into_iter().partition(|(index, _)| self.tight.contains(index));
        let mut requests = plan::plan(&loose, limits, cost);
        requests.extend(plan::plan(&tight, &ModbusLimits { max_gap: 0, ..limits.clone() }, cost));
        requests.extend(apart(&alone, limits, cost));
        requests.sort_by_key(|r| (r.points.iter().any(|p| self.silent.contains(p)), r.table, r.address, r.count));
        requests
    }

    /// The device refused these points together and, asked one by one, refused only some of them. Where it refused all, it may
    /// just be starting up, and nothing is learned.
    pub(super) fn refused(&mut self, together: &[PointIndex], one_by_one: &[PointIndex]) {
        if one_by_one.len() == together.len() {
            return;
        }
        let had_no_holes = together.iter().all(|point| self.tight.contains(point));
        if had_no_holes && one_by_one.is_empty() {
            self.alone.extend(together);
        } else {
            self.tight.extend(together);
            self.alone.extend(one_by_one);
        }
    }

    /// The device was or was not silent when asked for these points.
    pub(super) fn silent(&mut self, points: &[PointIndex], silent: bool) {
        if silent {
            self.silent.extend(points);
        } else if !self.silent.is_empty() {
            self.silent.retain(|point| !points.contains(point));
        }
    }
}

/// One request for each of these points.
pub(super) fn apart(points: &[(PointIndex, &ModbusRead)], limits: &ModbusLimits, cost: &LinkCost) -> Vec<Request> {
    points.iter().flat_map(|point| plan::plan(std::slice::from_ref(point), limits, cost)).collect()
}
