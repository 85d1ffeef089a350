//! Subscriptions to changes (ASHRAE 135, clause 13.1) of one device: which are good, which are to be made or renewed, and what is polled all the same. Pure.
//! Asks nobody.
//!
//! A point is polled while it has no subscription, and with it each time that is renewed, at half of its life: a device that was started
//! anew, or has lost a subscription, is silent for so long at most.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::tags::ObjectId;
use crate::reading::PointIndex;

/// A device that refuses a subscription is asked again after so long: it may have had no room for more.
const AGAIN_AFTER: Duration = Duration::from_secs(600);

/// Subscriptions of one device.
#[derive(Debug)]
pub(crate) struct Subscriptions {
    lifetime: Duration,
    all: BTreeMap<PointIndex, Subscription>,
}

#[derive(Debug)]
struct Subscription {
    object: ObjectId,
    state: State,
    /// It is polled at the next poll, whatever its state.
    check: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// To be made now.
    Wanted,
    /// Good until then, at most, and to be renewed before.
    Good { renew: Instant, until: Instant },
    /// Not before then.
    Refused { again: Instant },
}

/// Number of a subscription at the device. The same after a restart of this side, so that it takes its own up again.
pub(crate) fn process(point: PointIndex) -> u32 {
    u32::try_from(point.0).unwrap_or(u32::MAX - 1).saturating_add(1)
}

impl Subscriptions {
    pub(crate) fn new(lifetime: Duration) -> Self {
        Self { lifetime, all: BTreeMap::new() }
    }

    /// The changes of this object are wanted for this point.
    pub(crate) fn want(&mut self, point: PointIndex, object: ObjectId) {
        let new = || Subscription { object, state: State::Wanted, check: true };
        let own = self.all.entry(point).or_insert_with(new);
        if own.object != object {
            *own = new();
        }
    }

    /// What is to be subscribed to now, or renewed.
    pub(crate) fn due(&self, now: Instant) -> Vec<(PointIndex, ObjectId)> {
        let is_due = |own: &Subscription| match own.state {
            State::Wanted => true,
            State::Good { renew, .. } => renew <= now,
            State::Refused { again } => again <= now,
        };
        self.all.iter().filter(|(_, own)| is_due(own)).map(|(point, own)| (*point, own.object)).collect()
    }

    /// When a good one is to be renewed next.
    pub(crate) fn next(&self) -> Option<Instant> {
        let renew = |own: &Subscription| if let State::Good { renew, .. } = own.state { Some(renew) } else { None };
        self.all.values().filter_map(renew).min()
    }

    /// The device has taken it.
    pub(crate) fn taken(&mut self, point: PointIndex, now: Instant) {
        let (renew, until) = (now + self.lifetime / 2, now + self.lifetime);
        self.set(point, State::Good { renew, until });
    }

    /// The device does not take it.
    pub(crate) fn refused(&mut self, point: PointIndex, now: Instant) {
        self.set(point, State::Refused { again: now + AGAIN_AFTER });
    }

    fn set(&mut self, point: PointIndex, state: State) {
        if let Some(own) = self.all.get_mut(&point) {
            (own.state, own.check) = (state, true);
        }
    }

    /// The device has forgotten them all.
    pub(crate) fn lost(&mut self) {
        for own in self.all.values_mut() {
            (own.state, own.check) = (State::Wanted, true);
        }
    }

    /// Whether this point is to be polled; of one with a good subscription that is said once.
    pub(crate) fn poll(&mut self, point: PointIndex, now: Instant) -> bool {
        let Some(own) = self.all.get_mut(&point) else { return true };
        let good = matches!(own.state, State::Good { until, .. } if now < until);
        std::mem::take(&mut own.check) || !good
    }

    /// Whether the changes of this point are wanted.
    pub(crate) fn has(&self, point: PointIndex) -> bool {
        self.all.contains_key(&point)
    }

    /// Something about this point can only be found out by polling it.
    pub(crate) fn check(&mut self, point: PointIndex) {
        self.all.get_mut(&point).into_iter().for_each(|own| own.check = true);
    }

    /// Numbers and objects of all of them.
    pub(crate) fn processes(&self) -> BTreeMap<u32, ObjectId> {
        self.all.iter().map(|(point, own)| (process(*point), own.object)).collect()
    }

    /// The point of a notification.
    pub(crate) fn point(&self, number: u32, object: ObjectId) -> Option<PointIndex> {
        self.all.iter().find(|(point, own)| process(**point) == number && own.object == object).map(|(point, _)| *point)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFE: Duration = Duration::from_secs(300);
    const A: PointIndex = PointIndex(0);
    const B: PointIndex = PointIndex(7);

    fn object(instance: u32) -> ObjectId {
        ObjectId::new(0, instance)
    }

    fn both(start: Instant) -> Subscriptions {
        let mut all = Subscriptions::new(LIFE);
        all.want(A, object(1));
        all.want(B, object(2));
        assert_eq!(all.due(start), [(A, object(1)), (B, object(2))]);
        all.taken(A, start);
        all.taken(B, start);
        assert!(all.poll(A, start) && all.poll(B, start), "the first value is polled");
        all
    }

    #[test]
    fn a_subscription_is_renewed_at_half_of_its_life_and_checked_by_a_poll_then() {
        let start = Instant::now();
        let mut all = both(start);
        assert!(!all.poll(A, start + LIFE / 3), "the device would say so");
        assert_eq!((all.due(start + LIFE / 3), all.next()), (vec![], Some(start + LIFE / 2)));
        assert_eq!(all.due(start + LIFE / 2), [(A, object(1)), (B, object(2))]);
        all.taken(A, start + LIFE / 2);
        assert!(all.poll(A, start + LIFE / 2) && !all.poll(A, start + LIFE / 2), "once");
        assert_eq!(all.next(), Some(start + LIFE / 2), "the other one waits");
    }

    #[test]
    fn what_is_refused_or_has_run_out_is_polled() {
        let start = Instant::now();
        let mut all = both(start);
        all.refused(A, start);
        assert!(all.poll(A, start) && all.poll(A, start), "each time");
        assert_eq!(all.due(start), []);
        assert_eq!(all.due(start + AGAIN_AFTER), [(A, object(1)), (B, object(2))]);
        assert!(!all.poll(B, start + LIFE - Duration::from_millis(1)));
        assert!(all.poll(B, start + LIFE) && all.poll(B, start + LIFE), "nobody renewed it");
    }

    #[test]
    fn after_a_restart_of_the_device_all_are_made_anew() {
        let start = Instant::now();
        let mut all = both(start);
        all.lost();
        assert_eq!(all.due(start).len(), 2);
        assert!(all.poll(A, start));
    }

    #[test]
    fn a_notification_is_of_its_number_and_its_object() {
        let all = both(Instant::now());
        assert_eq!(all.point(process(B), object(2)), Some(B));
        assert_eq!(all.point(process(B), object(1)), None);
        assert_eq!(all.point(3, object(2)), None);
        assert_eq!(all.processes(), [(1, object(1)), (8, object(2))].into());
    }

    #[test]
    fn a_point_whose_object_is_another_one_now_begins_anew() {
        let start = Instant::now();
        let mut all = both(start);
        all.want(A, object(9));
        assert_eq!(all.due(start), [(A, object(9))]);
        assert!(all.poll(A, start));
    }
}
