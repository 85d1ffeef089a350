//! Changes that a device tells by itself: subscribes, renews, and turns notifications into readings. Shell.

use std::sync::Arc;
use std::time::Instant;

use bacnet_rs::service::ConfirmedServiceChoice;

use super::cov;
use super::fetch::Talk;
use super::known::Known;
use super::names::{PRESENT_VALUE, STATUS_FLAGS};
use super::sample::{self, Flags};
use super::services::{self, Notification};
use super::tsm::Answer;
use crate::config::Device;
use crate::profile::Read;
use crate::reading::{DeviceIndex, PointIndex, Transaction};

impl Talk<'_> {
    /// Makes the subscriptions that are due. A device that does not take one is polled for it.
    pub(super) async fn subscribe(&mut self) {
        let due = self.known.subscriptions.due(Instant::now());
        if due.is_empty() {
            return;
        }
        // Before the first answer: the device may notify at once.
        self.port.expect(self.known.config.device, self.known.subscriptions.processes());
        let (confirmed, lifetime) = (self.known.config.cov_confirmed, self.known.config.cov_lifetime);
        let lifetime_s = u32::try_from(lifetime.as_secs()).unwrap_or(u32::MAX);
        for (point, object) in due {
            if self.given_up.is_some() {
                return;
            }
            let body = services::subscribe(cov::process(point), object, confirmed, lifetime_s);
            match self.port.ask(&self.peer, ConfirmedServiceChoice::SubscribeCOV, body).await.result {
                Ok(Answer::Done) => self.known.subscriptions.taken(point, Instant::now()),
                Ok(_) => {
                    self.known.miss("subscription refused");
                    self.known.subscriptions.refused(point, Instant::now());
                }
                Err(reason) => self.given_up = Some(reason),
            }
        }
    }
}

/// What a notification reads, and the point that must be polled to know more.
pub(super) fn reading(
    known: &mut Known,
    index: DeviceIndex,
    device: &Device,
    at_ms: i64,
    notification: &Notification,
) -> Option<(Transaction, Option<PointIndex>)> {
    let index_of = known.subscriptions.point(notification.process, notification.object)?;
    let point = device.profile.points.get(index_of.0)?;
    let Read::Bacnet(read) = &point.read else { return None };
    let given = |id: u32| notification.values.iter().find(|(own, _)| *own == id).map(|(_, values)| values.as_slice());
    let flags = given(STATUS_FLAGS).and_then(<[_]>::first).map_or_else(Flags::default, Flags::from_value);
    let unit = known.unit(notification.object);
    let factor = known.scales.get(&notification.object).copied();
    let sample = sample::sample(point, read, given(PRESENT_VALUE)?, factor, flags, None, unit);
    let more = flags.fault.then_some(index_of);
    more.iter().for_each(|point| known.subscriptions.check(*point));
    let row = sample::row(point, unit).map(Arc::new);
    Some((Transaction { device: index, at_ms, readings: vec![super::reading(index_of, row, sample)] }, more))
}
