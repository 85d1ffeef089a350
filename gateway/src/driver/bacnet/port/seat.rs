//! Where notifications of one device wait for its driver. Pure.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::Notify;

use crate::driver::bacnet::Peer;
use crate::driver::bacnet::services::Notification;
use crate::driver::bacnet::tags::ObjectId;

/// Notifications that wait, at most. Those that are too many are lost, which the next check finds out.
const MAX_WAITING: usize = 256;
/// Confirmed notifications that are remembered, to know one that comes again.
const MAX_REMEMBERED: usize = 16;

/// The place of one device.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) woken: Arc<Notify>,
    /// Where the device is.
    pub(super) peer: Option<Peer>,
    /// What was subscribed to.
    pub(super) processes: BTreeMap<u32, ObjectId>,
    pub(super) waiting: VecDeque<(Instant, Notification)>,
    confirmed: VecDeque<(u8, Notification)>,
}

/// What becomes of a notification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    Kept,
    /// Kept in place of one that waited for too long.
    Full,
    /// It came before, and its acknowledgement was lost.
    Again,
    /// Nobody subscribed to that.
    Unknown,
}

impl Seat {
    pub(super) fn new(woken: Arc<Notify>) -> Self {
        Self { woken, peer: None, processes: BTreeMap::new(), waiting: VecDeque::new(), confirmed: VecDeque::new() }
    }

    /// Takes a notification, with its number where it is a confirmed one.
    pub(super) fn take(&mut self, peer: &Peer, invoke: Option<u8>, notification: Notification, now: Instant) -> Taken {
        if self.peer.as_ref() != Some(peer) || self.processes.get(&notification.process) != Some(&notification.object) {
            return Taken::Unknown;
        }
        if let Some(invoke) = invoke {
            if self.confirmed.iter().any(|(known, before)| *known == invoke && *before == notification) {
                return Taken::Again;
            }
            if self.confirmed.len() >= MAX_REMEMBERED {
                self.confirmed.pop_front();
            }
            self.confirmed.push_back((invoke, notification.clone()));
        }
        let full = self.waiting.len() >= MAX_WAITING;
        if full {
            self.waiting.pop_front();
        }
        self.waiting.push_back((now, notification));
        self.woken.notify_one();
        if full { Taken::Full } else { Taken::Kept }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notification_is_taken_once_from_its_device_and_for_its_subscription() {
        let peer = |port| Peer { address: ([10, 0, 0, 7], port).into(), station: None };
        let object = ObjectId::new(0, 1);
        let notification = |process| Notification { process, device: 9, object, left_s: 10, values: Vec::new() };
        let now = Instant::now();
        let mut seat = Seat::new(Arc::new(Notify::new()));
        seat.peer = Some(peer(1));
        seat.processes = [(3, object)].into();
        assert_eq!(seat.take(&peer(2), Some(1), notification(3), now), Taken::Unknown, "from elsewhere");
        assert_eq!(seat.take(&peer(1), Some(1), notification(4), now), Taken::Unknown, "another number");
        assert_eq!(seat.take(&peer(1), Some(1), notification(3), now), Taken::Kept);
        assert_eq!(seat.take(&peer(1), Some(1), notification(3), now), Taken::Again);
        assert_eq!(seat.take(&peer(1), Some(2), notification(3), now), Taken::Kept);
        assert_eq!(seat.waiting.len(), 2);
        let taken: Vec<_> = (0..MAX_WAITING).map(|_| seat.take(&peer(1), None, notification(3), now)).collect();
        assert_eq!((taken[0], taken[MAX_WAITING - 1]), (Taken::Kept, Taken::Full));
        assert_eq!(seat.waiting.len(), MAX_WAITING);
    }
}
