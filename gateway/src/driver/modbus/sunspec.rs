//! SunSpec devices: walks the chain of models, then reads their points as plain ones. Shell.
//!
//! The chain is walked before the first poll, after the device was lost, and when a header is not what it was. Each poll reads the header
//! of each model that it reads anything of, in the same request where that is possible; a reading counts only if the header was right
//! after it was taken. So a chain that shifts while the gateway runs (new firmware, another battery) gives bad readings once, and never
//! wrong ones.

mod sun;
mod walk;

use pattoo_wire::Reason;
use tokio_modbus::prelude::Request as Pdu;

use self::sun::Series;
pub(super) use self::sun::Sun;
use self::walk::{Step, Walk};
use super::session::{Answer, Exchange};
use super::{ILLEGAL_ADDRESS, ILLEGAL_VALUE, Modbus};
use crate::config::Device;
use crate::profile::Chain;
use crate::reading::{DeviceIndex, PointIndex, Transaction};

impl Modbus {
    /// Reads these points of a SunSpec device: those that it has. Whatever hurries waits for all of it, one request for each model and
    /// rarely more: readings and the headers that vouch for them are not to be parted.
    pub(super) async fn poll_sunspec(&mut self, index: DeviceIndex, device: &Device, points: &[PointIndex]) -> Vec<Transaction> {
        let hurry = self.hurry.take();
        let transactions = self.poll_chain(index, device, points).await;
        self.hurry = hurry;
        transactions
    }

    async fn poll_chain(&mut self, index: DeviceIndex, device: &Device, points: &[PointIndex]) -> Vec<Transaction> {
        let (mut told, mut now_ms) = (Vec::new(), self.session.now_ms());
        if self.suns.entry(index).or_default().is_lost() {
            let (at_ms, walked) = self.walk(index, device).await;
            now_ms = at_ms;
            let sun = self.suns.entry(index).or_default();
            match walked {
                Ok(chain) => {
                    let gone = take(sun, device, chain);
                    // What was learned, in an earlier run too, is about another layout, or about a device that was in trouble: a header that is
                    // left alone because it was refused would keep its model bad.
                    self.learned.remove(&index);
                    let readings = sun::bad(gone.unwrap_or_default(), Reason::Unavailable);
                    told.extend((!readings.is_empty()).then_some(Transaction { device: index, at_ms, readings }));
                }
                Err(reason) => {
                    // A device that does not answer at one base may be at another.
                    sun.first_base = sun.first_base.wrapping_add(1);
                    return vec![Transaction { device: index, at_ms, readings: sun::bad(sun.told(device, points), reason) }];
                }
            }
        }
        let sun = self.suns.entry(index).or_default();
        let Some((plain, asked)) = sun.ask(device, points) else {
            let readings = sun::bad(sun.told(device, points), Reason::Mismatch);
            told.push(Transaction { device: index, at_ms: now_ms, readings });
            return told;
        };
        let mut transactions = self.poll(index, &plain, &asked).await;
        let again = self.suns.entry(index).or_default().unconfirmed(&transactions);
        if !again.is_empty() {
            transactions.extend(self.poll(index, &plain, &again).await);
        }
        told.extend(self.suns.entry(index).or_default().judge(index, device, &transactions));
        told
    }

    /// The series of these points that say why a device is left alone.
    pub(super) fn known_series(&self, index: DeviceIndex, device: &Device, points: &[PointIndex]) -> Vec<Series> {
        self.suns.get(&index).map_or_else(|| Sun::default().told(device, points), |sun| sun.told(device, points))
    }

    /// The chain of a device, or why there is none, and when the last answer came. One that breaks off is walked a second time, and the
    /// longer one counts: a device that is just starting refuses what it has.
    async fn walk(&mut self, index: DeviceIndex, device: &Device) -> (i64, Result<Chain, Reason>) {
        match self.walk_once(index, device).await {
            (_, Ok(first @ Chain { complete: false, .. })) => {
                let (at_ms, second) = self.walk_once(index, device).await;
                (at_ms, second.map(|second| if second.complete || second.models.len() >= first.models.len() { second } else { first }))
            }
            walked => walked,
        }
    }

    async fn walk_once(&mut self, index: DeviceIndex, device: &Device) -> (i64, Result<Chain, Reason>) {
        let mut walk = Walk::new(self.suns.entry(index).or_default().first_base);
        let mut last_ms = self.session.now_ms();
        loop {
            let (address, count) = match walk.next() {
                Step::Ask { address, count } => (address, count),
                Step::Found(chain) => return (last_ms, Ok(chain)),
                Step::Nowhere => return (last_ms, Err(Reason::Mismatch)),
            };
            let question = Pdu::ReadHoldingRegisters(address, count);
            let Exchange { at_ms, result } = self.session.ask(device.unit, &question, device.profile.modbus.min_gap).await;
            last_ms = at_ms;
            match result {
                Ok(Answer::Words(words)) => walk.hear(Some(&words)),
                Ok(Answer::Refused(ILLEGAL_ADDRESS | ILLEGAL_VALUE)) => walk.hear(None),
                Ok(Answer::Refused(code)) => return (at_ms, Err(Reason::Exception(code))),
                // Not the answer to a read; the session lets none of these through.
                Ok(_) => return (at_ms, Err(Reason::Malformed)),
                Err(failure) => return (at_ms, Err(failure.reason())),
            }
        }
    }
}

/// Takes a chain and says so where it is a new one.
fn take(sun: &mut Sun, device: &Device, chain: Chain) -> Option<Vec<Series>> {
    let (base, complete) = (chain.base, chain.complete);
    let gone = sun.found(device, chain)?;
    let (models, absent) = sun.about(device);
    tracing::info!(
        device = device.name,
        base,
        models,
        absent,
        gone = gone.len(),
        "SunSpec models found; absent points are in none of them"
    );
    if !complete {
        tracing::warn!(device = device.name, models, "the chain of SunSpec models has no end: models behind the last one are not read");
    }
    Some(gone)
}

#[cfg(test)]
mod tests;
