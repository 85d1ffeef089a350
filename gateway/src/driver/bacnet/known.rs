//! What is known of one device, and for how long. Pure. Asks nobody.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::Peer;
use super::cov::Subscriptions;
use super::guard::{MAX_APDU, Station};
use super::plan::Limits;
use super::services::{Property, Segmentation};
use super::tags::ObjectId;
use crate::config::BacnetPeer;
use crate::health::Misses;
use crate::reading::PointIndex;

/// How long a unit is believed. Thermostats are switched from one scale to another without a restart.
const UNIT_AGE: Duration = Duration::from_secs(60);

/// What is known of one device.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) config: BacnetPeer,
    /// Where it is.
    pub(crate) peer: Option<Peer>,
    /// The instance that it has said, where the configuration does not say it.
    pub(crate) said: Option<u32>,
    /// What it takes; none before it was asked.
    pub(crate) limits: Option<Limits>,
    /// How often it had named itself when it was asked last.
    pub(crate) times: u64,
    /// It may be another than before: started anew, or changed.
    pub(crate) renewed: bool,
    pub(crate) subscriptions: Subscriptions,
    /// Points that are given back at these times.
    pub(crate) holds: BTreeMap<PointIndex, Instant>,
    /// Nothing is done by itself before then: it could not be done a moment ago.
    pub(crate) not_before: Option<Instant>,
    /// What an earlier run has written was looked for.
    pub(crate) adopted: bool,
    /// Revision of its database when the names were learned.
    pub(crate) revision: Option<u64>,
    /// Objects by type and name; none before they were asked for.
    pub(crate) names: Option<BTreeMap<(u16, String), ObjectId>>,
    /// What it does not have, and is not asked for again.
    pub(crate) without: BTreeSet<Property>,
    /// Numbers of units, and when they were told.
    units: BTreeMap<ObjectId, (u32, Instant)>,
    /// What objects say as their scale.
    pub(crate) scales: BTreeMap<ObjectId, f64>,
    /// What went wrong on the way to it.
    pub(crate) misses: Misses,
}

impl Known {
    pub(crate) fn new(config: BacnetPeer) -> Self {
        let peer = config.address.map(|address| {
            let station = config.station.clone().map(|(network, mac)| Station { network, mac });
            Peer { address, station }
        });
        let subscriptions = Subscriptions::new(config.cov_lifetime);
        Self {
            config,
            peer,
            said: None,
            limits: None,
            times: 0,
            renewed: false,
            subscriptions,
            holds: BTreeMap::new(),
            not_before: None,
            adopted: false,
            revision: None,
            names: None,
            without: BTreeSet::new(),
            units: BTreeMap::new(),
            scales: BTreeMap::new(),
            misses: Misses::new(),
        }
    }

    /// Its instance: any, as long as nobody has said it.
    pub(crate) fn instance(&self) -> u32 {
        self.said.unwrap_or_else(|| self.config.instance())
    }

    /// The device is silent: it may be another one, or elsewhere, when it is back.
    pub(crate) fn forget(&mut self) {
        self.said = None;
        if self.config.address.is_none() {
            self.peer = None;
        }
        self.limits = None;
        self.restarted();
    }

    /// The device has named itself: it may have been started anew.
    pub(crate) fn restarted(&mut self) {
        self.renewed = true;
        self.subscriptions.lost();
        self.without.clear();
        self.units.clear();
        self.scales.clear();
    }

    pub(crate) fn miss(&mut self, what: &'static str) {
        *self.misses.entry(what).or_default() += 1;
    }

    /// Whether a unit is to be asked for.
    pub(crate) fn wants_unit(&self, object: ObjectId, now: Instant) -> bool {
        self.units.get(&object).is_none_or(|(_, told)| now.duration_since(*told) >= UNIT_AGE)
    }

    pub(crate) fn tell_unit(&mut self, object: ObjectId, number: u32, now: Instant) {
        self.units.insert(object, (number, now));
    }

    /// When something is to be done that nobody asks for: a subscription renewed, a point given back.
    pub(crate) fn next(&self) -> Option<Instant> {
        let next = self.holds.values().min().copied().into_iter().chain(self.subscriptions.next()).min();
        next.map(|next| self.not_before.map_or(next, |not_before| next.max(not_before)))
    }

    /// Points whose time is over.
    pub(crate) fn held_too_long(&self, now: Instant) -> Vec<PointIndex> {
        self.holds.iter().filter(|(_, until)| **until <= now).map(|(point, _)| *point).collect()
    }

    pub(crate) fn unit(&self, object: ObjectId) -> Option<u32> {
        self.units.get(&object).map(|(number, _)| *number)
    }
}

/// What a device says of itself, as far as it could be read.
pub(crate) fn limits(max_apdu: Option<u32>, segmentation: Option<u32>, read_multiple: bool, profile_max: u16) -> Limits {
    let said = max_apdu.and_then(|bytes| u16::try_from(bytes).ok()).unwrap_or(MAX_APDU);
    Limits {
        max_apdu: said.clamp(50, MAX_APDU).min(profile_max),
        segmentation: segmentation.map_or(Segmentation::None, Segmentation::from_number),
        read_multiple,
        answer_bytes: None,
        alone: BTreeSet::new(),
    }
}
