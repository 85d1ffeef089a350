//! In which order units, speeds and parities are tried, so that a short scan finds the usual things. Pure.
//!
//! First the units that devices leave the factory with, at every setting; then the lower ones and the last one, then all others. Each is
//! asked for a holding register; at the end also for an input register, for a device that has none may be silent instead of refusing.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use super::{SPREAD, Setting, Target, Wanted};
use crate::profile::Table;

/// Units that most devices leave the factory with.
const FIRST: std::ops::RangeInclusive<u8> = 1..=3;
/// Units that people count up to; 247 is the last one.
const LOW: std::ops::RangeInclusive<u8> = 4..=32;
const LAST: u8 = 247;

/// Try this unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Probe {
    pub(super) setting: usize,
    pub(super) unit: u8,
    pub(super) table: Table,
}

/// What is still to be tried.
pub(super) struct Order {
    settings: Vec<Setting>,
    probes: VecDeque<Probe>,
    /// Units of the spread that were not tried yet, and whether all the others answered.
    spread: BTreeSet<u8>,
    spread_answered: bool,
}

impl Order {
    pub(super) fn new(wanted: &Wanted) -> Self {
        let spread: Vec<u8> = match wanted.target {
            Target::Tcp(_) if SPREAD.iter().all(|unit| wanted.units.contains(unit)) => SPREAD.to_vec(),
            _ => Vec::new(),
        };
        let mut probes: VecDeque<_> = spread.iter().map(|unit| Probe { setting: 0, unit: *unit, table: Table::Holding }).collect();
        let rest = || wanted.units.iter().copied().filter(|unit| !spread.contains(unit));
        let tier = |unit: u8| match unit {
            _ if FIRST.contains(&unit) => 0,
            _ if LOW.contains(&unit) || unit == LAST => 1,
            _ => 2,
        };
        let mut add = |units: Vec<u8>, table| {
            for setting in 0..wanted.settings.len() {
                probes.extend(units.iter().map(|unit| Probe { setting, unit: *unit, table }));
            }
        };
        let of_tier = |wanted| rest().filter(|unit| tier(*unit) == wanted).collect::<Vec<_>>();
        add(of_tier(0), Table::Holding);
        add(of_tier(0), Table::Input);
        add(of_tier(1), Table::Holding);
        add(of_tier(2), Table::Holding);
        add(spread.iter().copied().chain(rest().filter(|unit| tier(*unit) > 0)).collect(), Table::Input);
        let spread_answered = !spread.is_empty();
        Self { settings: wanted.settings.clone(), probes, spread: spread.into_iter().collect(), spread_answered }
    }

    pub(super) fn next(&self) -> Option<Probe> {
        self.probes.front().cloned()
    }

    pub(super) fn setting(&self, probe: &Probe) -> Setting {
        self.settings.get(probe.setting).copied().unwrap_or(Setting { baud: 9600, parity: crate::profile::Parity::None })
    }

    /// A probe has been answered or not. Where it was, its unit is known, and how the line is set.
    pub(super) fn done(&mut self, probe: &Probe, answered: bool) {
        self.probes.retain(|own| own != probe);
        if self.spread.remove(&probe.unit) {
            self.spread_answered &= answered;
        }
        if answered {
            self.probes.retain(|own| own.unit != probe.unit && own.setting == probe.setting);
        }
    }

    /// Try this once more, next.
    pub(super) fn again(&mut self, probe: &Probe) {
        self.probes.push_front(probe.clone());
    }

    /// Whether units that tell a device which answers for all are still to be tried.
    pub(super) fn spread_is_open(&self) -> bool {
        !self.spread.is_empty()
    }

    pub(super) fn spread_all_answered(&self) -> bool {
        self.spread_answered
    }

    pub(super) fn stop(&mut self) {
        self.probes.clear();
    }

    /// How long all of it takes where nobody answers.
    pub(super) fn longest(&self, wanted: &Wanted) -> Duration {
        self.probes.iter().map(|probe| wanted.silent_cost(self.setting(probe))).sum()
    }

    /// Units by setting that are not even asked for a holding register within this time where nobody answers.
    pub(super) fn missed(&self, wanted: &Wanted, within: Duration) -> Vec<(Setting, Vec<u8>)> {
        let (mut spent, mut missed) = (Duration::ZERO, vec![BTreeSet::new(); self.settings.len()]);
        for probe in &self.probes {
            if let Some(units) = missed.get_mut(probe.setting).filter(|_| probe.table == Table::Holding && spent >= within) {
                units.insert(probe.unit);
            }
            spent += wanted.silent_cost(self.setting(probe));
        }
        let by_setting = self.settings.iter().zip(missed).map(|(setting, units)| (*setting, units.into_iter().collect::<Vec<_>>()));
        by_setting.filter(|(_, units)| !units.is_empty()).collect()
    }
}

/// `1-3, 7`.
pub(super) fn ranges(units: &[u8]) -> String {
    let mut runs: Vec<(u8, u8)> = Vec::new();
    for unit in units {
        match runs.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(*unit) => *last = *unit,
            _ => runs.push((*unit, *unit)),
        }
    }
    let text = |(first, last): &(u8, u8)| if first == last { first.to_string() } else { format!("{first}-{last}") };
    runs.iter().map(text).collect::<Vec<_>>().join(", ")
}
