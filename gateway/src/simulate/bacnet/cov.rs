//! Who wants to be told of changes of a simulated BACnet device, and what is to be told now (ASHRAE 135, clause 13.1). Pure.

use super::device::{Sent, push_change};
use super::frame::Peer;
use super::object::{Object, Refusal, number};
use crate::driver::bacnet::names::service;
use crate::driver::bacnet::tags::{ObjectId, Value, push_context_object, push_context_unsigned};

/// Most subscriptions of a device; one more is refused. Real ones take 10 to some hundred.
pub(crate) const MAX_SUBSCRIPTIONS: usize = 1000;
/// Most notifications that wait for an acknowledgement; one more goes without being sent again.
const MAX_WAITING: usize = 1000;
/// How long an acknowledgement is waited for, and how often a notification is sent again.
const ACK_MS: u64 = 3000;
const RETRIES: u32 = 3;
/// The service of a notification that nobody acknowledges.
const UNCONFIRMED_NOTIFICATION: u8 = 2;

/// Who is to be told of what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Notice {
    pub(crate) to: Peer,
    pub(crate) process: u32,
    pub(crate) object: ObjectId,
    /// Whether it is acknowledged.
    pub(crate) confirmed: bool,
}

impl Notice {
    fn is_same(&self, other: &Self) -> bool {
        (&self.to, self.process, self.object) == (&other.to, other.process, other.object)
    }
}

struct Subscription {
    notice: Notice,
    /// When it ends; never where absent.
    ends_ms: Option<u64>,
    /// What was told last; nothing at first, so that a new subscriber is told at once.
    told: Option<(Value, Value)>,
}

struct Waiting {
    invoke: u8,
    sent: Sent,
    at_ms: u64,
    tries: u32,
}

#[derive(Default)]
pub(super) struct Subscriptions {
    all: Vec<Subscription>,
    waiting: Vec<Waiting>,
    invoke: u8,
}

impl Subscriptions {
    /// Takes a subscription, or renews it; a lifetime of 0 s has no end.
    pub(super) fn add(&mut self, notice: Notice, lifetime_s: u32, now_ms: u64) -> Result<(), Refusal> {
        self.all.retain(|own| own.ends_ms.is_none_or(|end| end > now_ms));
        self.cancel(&notice);
        if self.all.len() >= MAX_SUBSCRIPTIONS {
            return Err(Refusal::NO_ROOM);
        }
        let ends_ms = (lifetime_s > 0).then(|| now_ms + u64::from(lifetime_s) * 1000);
        self.all.push(Subscription { notice, ends_ms, told: None });
        Ok(())
    }

    pub(super) fn cancel(&mut self, notice: &Notice) {
        self.all.retain(|own| !own.notice.is_same(notice));
    }

    pub(super) fn acknowledged(&mut self, by: &Peer, invoke: u8) {
        self.waiting.retain(|waiting| waiting.invoke != invoke || waiting.sent.to != *by);
    }

    /// Notifications of what changed enough, and those again that were not acknowledged.
    pub(super) fn due<'o>(&mut self, device: ObjectId, now_ms: u64, object: impl Fn(ObjectId) -> Option<&'o Object>) -> Vec<Sent> {
        let mut due = self.again(now_ms);
        self.all.retain(|own| own.ends_ms.is_none_or(|end| end > now_ms));
        for own in &mut self.all {
            let Some(object) = object(own.notice.object) else { continue };
            let Some((value, flags)) = object.told() else { continue };
            if own.told.as_ref().is_some_and(|told| !differs(told, (&value, &flags), object.increment())) {
                continue;
            }
            let left_s = own.ends_ms.map_or(0, |end| end.saturating_sub(now_ms).div_ceil(1000));
            let mut content = Vec::new();
            push_context_unsigned(&mut content, 0, own.notice.process);
            push_context_object(&mut content, 1, device);
            push_context_object(&mut content, 2, own.notice.object);
            push_context_unsigned(&mut content, 3, u32::try_from(left_s).unwrap_or(u32::MAX));
            push_change(&mut content, 4, &value, &flags);
            own.told = Some((value, flags));
            let confirmed = own.notice.confirmed;
            self.invoke = self.invoke.wrapping_add(1);
            let invoke = self.invoke;
            // No segments, answers of up to 1476 bytes.
            let confirmed_head = [0, 5, invoke, service::COV_NOTIFICATION];
            let head: &[u8] = if confirmed { &confirmed_head } else { &[0x10, UNCONFIRMED_NOTIFICATION] };
            let sent = Sent { to: own.notice.to.clone(), apdu: [head, &content].concat(), expects_reply: confirmed };
            if confirmed && self.waiting.len() < MAX_WAITING {
                self.waiting.push(Waiting { invoke, sent: sent.clone(), at_ms: now_ms, tries: 0 });
            }
            due.push(sent);
        }
        due
    }

    fn again(&mut self, now_ms: u64) -> Vec<Sent> {
        self.waiting.retain(|waiting| waiting.tries < RETRIES || now_ms < waiting.at_ms + ACK_MS);
        let late = self.waiting.iter_mut().filter(|waiting| now_ms >= waiting.at_ms + ACK_MS);
        late.map(|waiting| {
            (waiting.at_ms, waiting.tries) = (now_ms, waiting.tries + 1);
            waiting.sent.clone()
        })
        .collect()
    }
}

/// Whether that is to be told: other flags, or another value, by at least the increment where there is one.
fn differs(told: &(Value, Value), now: (&Value, &Value), increment: Option<f64>) -> bool {
    if told.1 != *now.1 {
        return true;
    }
    match (number(&told.0), number(now.0), increment) {
        (Some(before), Some(now), Some(increment)) if increment > 0.0 => (now - before).abs() >= increment,
        _ => told.0 != *now.0,
    }
}
