//! A series by its name, which it has in itself and which is not kept twice. Pure.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::sync::Arc;

use crate::store::SeriesEntry;

/// What has a gateway, a device and a point, and is ordered by them.
pub(super) trait Named {
    fn name(&self) -> (&str, &str, &str);
}

/// A series among others.
#[derive(Debug)]
pub(super) struct ByName(pub(super) Arc<SeriesEntry>);

impl Named for ByName {
    fn name(&self) -> (&str, &str, &str) {
        (&self.0.gateway, &self.0.device, &self.0.entry.point)
    }
}

impl Named for (&str, &str, &str) {
    fn name(&self) -> (&str, &str, &str) {
        *self
    }
}

impl<'a> Borrow<dyn Named + 'a> for ByName {
    fn borrow(&self) -> &(dyn Named + 'a) {
        self
    }
}

impl PartialEq for dyn Named + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for dyn Named + '_ {}

impl PartialOrd for dyn Named + '_ {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for dyn Named + '_ {
    fn cmp(&self, other: &Self) -> Ordering {
        self.name().cmp(&other.name())
    }
}

impl PartialEq for ByName {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for ByName {}

impl PartialOrd for ByName {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ByName {
    fn cmp(&self, other: &Self) -> Ordering {
        self.name().cmp(&other.name())
    }
}
