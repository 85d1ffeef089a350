//! What polls have taught about one device: which points it refuses to have read together. Does not talk to it.

use std::collections::{BTreeMap, BTreeSet};

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
    /// Points of requests that were not answered, and which silence that was: asked last, so that they cost the others nothing.
    silent: BTreeMap<PointIndex, u64>,
    silences: u64,
    /// Its latest poll brought no answer of its own.
    dead: bool,
}

impl Learned {
    /// Whether its latest poll brought no answer of its own: then one request is enough to see that it still is so.
    pub(super) fn is_dead(&self) -> bool {
        self.dead
    }

    /// A poll brought an answer or did not.
    pub(super) fn polled(&mut self, answered: bool) {
        self.dead = !answered;
    }

    /// The requests that read these points. For a dead device the first is its probe: the cheapest one that it was never silent to, or the
    /// one that it was silent to the longest ago, so that one register that it chokes on does not keep it dead.
    pub(super) fn plan(&self, points: &[(PointIndex, &ModbusRead)], limits: &ModbusLimits, cost: &LinkCost) -> Vec<Request> {
        let (alone, joined): (Vec<_>, Vec<_>) = points.iter().partition(|(index, _)| self.alone.contains(index));
        let (tight, loose): (Vec<_>, Vec<_>) = joined.into_iter().partition(|(index, _)| self.tight.contains(index));
        let mut requests = plan::plan(&loose, limits, cost);
        requests.extend(plan::plan(&tight, &ModbusLimits { max_gap: 0, ..limits.clone() }, cost));
        requests.extend(apart(&alone, limits, cost));
        let silence = |request: &Request| request.points.iter().filter_map(|point| self.silent.get(point)).max().copied();
        requests.sort_by_key(|r| (silence(r).is_some(), r.table, r.address, r.count));
        if self.dead {
            let price = |r: &Request| (silence(r), cost.of(r.table, u32::from(r.count), limits), r.count);
            let probe = (0..requests.len()).min_by_key(|index| requests.get(*index).map(price));
            requests.get_mut(..=probe.unwrap_or(0)).unwrap_or_default().rotate_right(1);
        }
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
            self.silences += 1;
            self.silent.extend(points.iter().map(|point| (*point, self.silences)));
        } else if !self.silent.is_empty() {
            self.silent.retain(|point, _| !points.contains(point));
        }
    }
}

/// One request for each of these points.
pub(super) fn apart(points: &[(PointIndex, &ModbusRead)], limits: &ModbusLimits, cost: &LinkCost) -> Vec<Request> {
    points.iter().flat_map(|point| plan::plan(std::slice::from_ref(point), limits, cost)).collect()
}
