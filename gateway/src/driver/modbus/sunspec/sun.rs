//! What is known of one SunSpec device: its chain, and which points it has given values of. Pure: asks nobody.
//!
//! A point that the device does not have is absent: it has no readings, good or bad. So is one that its model has room for and that has been
//! "not implemented" ever since: SunSpec says both "I never measure this" and "not now" with the same mark. What has once been a value and
//! is that mark now is bad, with its reason. This is known for one run of the gateway: what is "not now" at its start is absent until it
//! is a value.
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use pattoo_wire::{Reason, Sample, Value};

use crate::config::Device;
use crate::profile::{BASES, COMMON, Chain, Read, SunSpecLayout as Layout, Use};
use crate::reading::{DeviceIndex, PointIndex, Reading, Row, Transaction};

/// Polls after which the rest of a chain that broke off is looked for again.
pub(super) const BROKEN_CHAIN_POLLS: u32 = 60;

/// A point, and which row of it.
pub(super) type Series = (PointIndex, Option<Arc<Row>>);

/// One SunSpec device.
#[derive(Debug, Default)]
pub(in crate::driver::modbus) struct Sun {
    found: Option<Found>,
    /// What has had a value.
    seen: BTreeSet<Series>,
    /// Which base is looked at first.
    pub(super) first_base: usize,
}

#[derive(Debug)]
struct Found {
    chain: Chain,
    layout: Layout,
    /// It may have changed.
    doubtful: bool,
    polls: u32,
}

/// How far the readings of a model may be trusted.
#[derive(Debug, Clone, Copy, Default)]
struct Trust {
    /// Transactions up to this one: after them its header still said what it had said when the chain was walked.
    up_to: Option<usize>,
    /// The last transaction with registers of it.
    last: usize,
    /// Its header said something else.
    other: bool,
    /// Why its header was not read.
    failed: Option<Reason>,
}

impl Sun {
    /// Whether the chain must be walked before anything is read.
    pub(super) fn is_lost(&self) -> bool {
        self.found.as_ref().is_none_or(|found| found.doubtful || !found.chain.complete && found.polls >= BROKEN_CHAIN_POLLS)
    }

    /// Takes the chain of the device. Gives the series that it had and has no more, or none where the chain is the one that was known.
    pub(super) fn found(&mut self, device: &Device, chain: Chain) -> Option<Vec<Series>> {
        self.first_base = BASES.iter().position(|base| *base == chain.base).unwrap_or_default();
        if let Some(found) = self.found.as_mut().filter(|found| found.chain == chain) {
            (found.doubtful, found.polls) = (false, 0);
            return None;
        }
        let layout = device.profile.laid_out(&chain);
        let has: BTreeSet<Series> = layout.series().collect();
        let (seen, gone): (BTreeSet<_>, BTreeSet<_>) = std::mem::take(&mut self.seen).into_iter().partition(|series| has.contains(series));
        self.seen = seen;
        self.found = Some(Found { chain, layout, doubtful: false, polls: 0 });
        Some(gone.into_iter().collect())
    }

    /// What of the plain device is read for these points. Where it has none of them, its first header: whether it answers is not to be told
    /// by not asking. None where it has no model with anything of the profile; that may change.
    pub(super) fn ask(&mut self, device: &Device, points: &[PointIndex]) -> Option<(Device, Vec<PointIndex>)> {
        let found = self.found.as_mut()?;
        found.polls = found.polls.saturating_add(1);
        let mut asked = found.layout.asked(points);
        if asked.is_empty() {
            asked.extend(found.layout.headers.values().next().map(|(header, _)| *header));
        }
        found.doubtful = asked.is_empty();
        (!found.doubtful).then(|| (Device { profile: Arc::clone(&found.layout.plain), ..device.clone() }, asked))
    }

    /// What must be looked at once more: the headers of models of which something was read after their headers, and the powers of ten that
    /// were not read with what they scale.
    pub(super) fn unconfirmed(&self, transactions: &[Transaction]) -> Vec<PointIndex> {
        let Some(found) = &self.found else { return Vec::new() };
        let trust = found.trust(transactions);
        let late = |model: &usize| trust.get(model).is_some_and(|trust| !trust.other && trust.up_to.is_some_and(|at| at < trust.last));
        let asked = |index: usize| transactions.iter().flat_map(|t| &t.readings).any(|reading| reading.point.0 == index);
        let uses = found.layout.uses.iter().enumerate();
        let again = uses.filter(|(index, (used, model))| !matches!(used, Use::Reading { .. }) && late(model) && asked(*index));
        again.map(|(index, _)| PointIndex(index)).collect()
    }

    /// The readings of what was read.
    pub(super) fn judge(&mut self, index: DeviceIndex, device: &Device, transactions: &[Transaction]) -> Vec<Transaction> {
        let Some(found) = &mut self.found else { return Vec::new() };
        let trust = found.trust(transactions);
        let mut samples = transactions.iter().flat_map(|t| &t.readings).map(|reading| &reading.sample).peekable();
        let silent = samples.peek().is_some() && samples.all(is_silence);
        let refused = |reason| matches!(reason, Reason::Exception(0x02 | 0x03));
        found.doubtful = silent || trust.values().any(|trust| trust.other || trust.failed.is_some_and(refused));
        let readings = found.readings(device, transactions, &trust);
        let (mut kept, mut untold): (Vec<Transaction>, Option<(i64, Reason)>) = (Vec::new(), None);
        for (at_ms, readings) in readings {
            let mut own = Vec::new();
            for reading in readings {
                match self.admit(&reading) {
                    Ok(()) => own.push(reading),
                    Err(reason) => untold = untold.or(reason.map(|reason| (at_ms, reason))),
                }
            }
            if !own.is_empty() {
                kept.push(Transaction { device: index, at_ms, readings: own });
            }
        }
        if let (true, Some((at_ms, reason))) = (kept.is_empty(), untold) {
            kept.push(Transaction { device: index, at_ms, readings: bad(self.told(device, &[]), reason) });
        }
        kept
    }

    /// Whether a reading is one; else why something is wrong, if it is.
    fn admit(&mut self, reading: &Reading) -> Result<(), Option<Reason>> {
        let series = (reading.point, reading.row.clone());
        match reading.sample.reason() {
            _ if self.seen.contains(&series) => Ok(()),
            None => {
                self.seen.insert(series);
                Ok(())
            }
            Some(Reason::NotAValue) => Err(None),
            // The device has it, and it is wrong.
            Some(Reason::OutOfRange | Reason::Overflow) => Ok(()),
            Some(Reason::Exception(code)) if !is_gateways(code) => Ok(()),
            Some(reason) => Err(Some(reason)),
        }
    }

    /// Where it is told that the device as a whole has failed: on those of these points that it is known to have, else on a point of the
    /// model that every device has, else on all of them.
    pub(super) fn told(&self, device: &Device, points: &[PointIndex]) -> Vec<Series> {
        let known: Vec<_> = self.seen.iter().filter(|(point, _)| points.contains(point)).cloned().collect();
        if !known.is_empty() {
            return known;
        }
        let common = |read: &Read| matches!(read, Read::SunSpec(places) if places.iter().any(|place| place.models.contains(&COMMON)));
        match device.profile.points.iter().position(|point| common(&point.read)) {
            Some(common) => vec![(PointIndex(common), None)],
            None => points.iter().map(|point| (*point, None)).collect(),
        }
    }

    /// Ids of its models, and how many points of the profile it has none of.
    pub(super) fn about(&self, device: &Device) -> (String, usize) {
        let Some(found) = &self.found else { return (String::new(), 0) };
        let ids: Vec<_> = found.chain.models.iter().map(|model| model.id.to_string()).collect();
        let has: BTreeSet<_> = found.layout.series().map(|(point, _)| point).collect();
        (ids.join(" "), device.profile.points.len().saturating_sub(has.len()))
    }
}

/// Bad readings of these.
pub(super) fn bad(series: Vec<Series>, reason: Reason) -> Vec<Reading> {
    series.into_iter().map(|(point, row)| Reading { point, row, sample: Sample::Bad(reason) }).collect()
}

/// Exceptions of a TCP gateway whose device did not answer.
fn is_gateways(code: u8) -> bool {
    matches!(code, super::super::GATEWAY_PATH_UNAVAILABLE | super::super::GATEWAY_TARGET_SILENT)
}

fn is_silence(sample: &Sample) -> bool {
    match sample.reason() {
        Some(Reason::Timeout | Reason::LinkDown) => true,
        Some(Reason::Exception(code)) => is_gateways(code),
        _ => false,
    }
}

impl Found {
    fn trust(&self, transactions: &[Transaction]) -> BTreeMap<usize, Trust> {
        let mut all: BTreeMap<usize, Trust> = BTreeMap::new();
        for (number, transaction) in transactions.iter().enumerate() {
            for reading in &transaction.readings {
                let Some((used, model)) = self.layout.uses.get(reading.point.0) else { continue };
                let trust = all.entry(*model).or_default();
                let expected = self.layout.headers.get(model).filter(|_| *used == Use::Header).map(|(_, number)| *number);
                match (expected, &reading.sample) {
                    (Some(expected), Sample::Good(Value::Decimal(header))) if header.mantissa == expected => trust.up_to = Some(number),
                    (Some(_), Sample::Bad(reason)) => trust.failed = Some(*reason),
                    (Some(_), _) => trust.other = true,
                    (None, sample) if is_silence(sample) => {}
                    (None, _) => trust.last = number,
                }
            }
        }
        all
    }

    /// The readings of each transaction, those that no header vouches for bad.
    fn readings(&self, device: &Device, transactions: &[Transaction], trust: &BTreeMap<usize, Trust>) -> Vec<(i64, Vec<Reading>)> {
        let vouched = |model: &usize, number: usize| {
            let trust = trust.get(model).copied().unwrap_or_default();
            match trust {
                Trust { other: true, .. } => Err(Reason::Mismatch),
                Trust { up_to: Some(up_to), .. } if number <= up_to => Ok(()),
                Trust { failed, .. } => Err(failed.unwrap_or(Reason::Mismatch)),
            }
        };
        // One that was the same before and after something was read was the same all the time.
        let factor = |index: PointIndex, number: usize| {
            let all = transactions.iter().enumerate();
            let mut own = all.flat_map(|(at, t)| t.readings.iter().filter(|r| r.point == index).map(move |r| (at, &r.sample))).peekable();
            let Some((first, sample)) = own.peek().copied() else { return Sample::Bad(Reason::Malformed) };
            let (mut last, mut same) = (first, true);
            own.for_each(|(at, other)| (last, same) = (at, same && other == sample));
            if same && (first..=last).contains(&number) { sample.clone() } else { Sample::Bad(Reason::Mismatch) }
        };
        let mut all = Vec::new();
        for (number, transaction) in transactions.iter().enumerate() {
            let mut own = Vec::new();
            for reading in &transaction.readings {
                let Some((Use::Reading { point, row, apart }, model)) = self.layout.uses.get(reading.point.0) else { continue };
                let sample = match (vouched(model, number), apart) {
                    // What was not answered needs nobody to vouch for it.
                    (_, _) if is_silence(&reading.sample) => reading.sample.clone(),
                    (Err(reason), _) => Sample::Bad(reason),
                    (Ok(()), None) => reading.sample.clone(),
                    (Ok(()), Some((read, index))) => {
                        let range = device.profile.points.get(point.0).and_then(|point| point.range);
                        read.decode_apart(&reading.sample, &factor(*index, number), range)
                    }
                };
                own.push(Reading { point: *point, row: row.clone(), sample });
            }
            all.push((transaction.at_ms, own));
        }
        all
    }
}
