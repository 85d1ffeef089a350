//! Shell: what waits between a broker and the store, and the loop that stores it, group by group. Knows nothing of MQTT: messages come
//! in by [`Queue::push`], answers leave by an [`Outlet`].

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pattoo_wire::{Ack, Ask, topic};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};
use tracing::{error, warn};

use super::fair::Fair;
use super::{Message, Processed, SharedCore};
use crate::clock;
use crate::live::Live;

/// Most messages that become durable as one.
const GROUP_MESSAGES: usize = 512;
/// Most bytes that become durable as one, but for the last message.
const GROUP_BYTES: usize = 4 << 20;
/// Longest wait for more messages before a commit.
const GROUP_WAIT: Duration = Duration::from_millis(10);
/// Pause after a failed commit.
const FAILED_PAUSE: Duration = Duration::from_secs(1);
/// The retained schemas are asked for again at most this often.
const SCHEMAS_EVERY: Duration = Duration::from_secs(10);

/// Where schemas are.
pub(super) const SCHEMAS: &str = "pattoo/v1/+/schema/+";
/// All that gateways say.
pub(super) const FILTERS: [&str; 4] = [SCHEMAS, "pattoo/v1/+/data", "pattoo/v1/+/status", "pattoo/v1/+/hello"];

/// How answers get to gateways.
pub(super) trait Outlet {
    /// Hands an answer on, without waiting for anybody.
    async fn answer(&self, topic: &str, message: Vec<u8>) -> Result<(), String>;

    /// Sees to it that the retained schemas come again.
    async fn ask_for_schemas(&self, queue: &Queue) -> Result<(), String>;
}

/// What waits between connection and store. No channel, because the order in which it leaves is not the one in which it came.
#[derive(Default)]
pub(super) struct Queue {
    fair: Mutex<Fair>,
    changed: Notify,
    closed: AtomicBool,
}

impl Queue {
    /// Adds messages; what is over a quota is counted and goes.
    pub(super) fn push(&self, messages: impl IntoIterator<Item = Message>, live: &Live) {
        let (lost, news) = {
            let mut fair = self.hold();
            let idle = fair.is_empty();
            let lost: Vec<String> = messages.into_iter().flat_map(|message| fair.push(message)).collect();
            (lost, idle || fair.fills(GROUP_MESSAGES, GROUP_BYTES))
        };
        // Whoever waits for more of a group is not woken by each of it.
        if news {
            self.changed.notify_one();
        }
        for gateway in lost {
            let count = live.rejected(Some(&gateway), "over_quota");
            if count.is_power_of_two() {
                warn!(gateway, count, "more of its messages wait than it may have; it sends what was dropped again");
            }
        }
    }

    /// Nothing more comes.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.changed.notify_one();
    }

    /// Waits for messages, then a little longer for more; none once it is closed and empty.
    async fn group(&self) -> Option<Vec<Message>> {
        while self.hold().is_empty() {
            if self.closed.load(Ordering::Acquire) && self.hold().is_empty() {
                return None;
            }
            self.changed.notified().await;
        }
        let deadline = Instant::now() + GROUP_WAIT;
        loop {
            let full = self.hold().fills(GROUP_MESSAGES, GROUP_BYTES);
            if full || timeout_at(deadline, self.changed.notified()).await.is_err() {
                break;
            }
        }
        Some(self.hold().group(GROUP_MESSAGES, GROUP_BYTES))
    }

    fn hold(&self) -> MutexGuard<'_, Fair> {
        self.fair.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Stores groups of messages until the queue is closed and empty.
pub(super) async fn store(core: SharedCore, queue: &Queue, outlet: &impl Outlet) {
    let mut asked_at: Option<Instant> = None;
    while let Some(group) = queue.group().await {
        let core = core.clone();
        let work = move || core.lock().unwrap_or_else(PoisonError::into_inner).process(&group, clock::now_ms());
        let processed = match tokio::task::spawn_blocking(work).await {
            Ok(processed) => processed,
            Err(e) => {
                error!("BUG: storing a group of messages panicked: {e}; nothing of it is acknowledged");
                Processed { failed: true, ..Processed::default() }
            }
        };
        answer(outlet, processed.acks, processed.asks).await;
        if processed.schema_missing && asked_at.is_none_or(|at| at.elapsed() >= SCHEMAS_EVERY) {
            asked_at = Some(Instant::now());
            if let Err(e) = outlet.ask_for_schemas(queue).await {
                warn!("cannot ask for schemas again: {e}");
            }
        }
        if processed.failed {
            tokio::time::sleep(FAILED_PAUSE).await;
        }
    }
}

async fn answer(outlet: &impl Outlet, acks: Vec<(String, Ack)>, asks: Vec<(String, Ask)>) {
    let acks = acks.into_iter().map(|(gateway, ack)| (topic::ack(&gateway), ack.encode()));
    let asks = asks.into_iter().map(|(gateway, mut ask)| {
        if let Some(echo) = &mut ask.echo {
            // The commit took its time.
            echo.time_ms = clock::now_ms();
        }
        (topic::ask(&gateway), ask.encode())
    });
    for (topic, message) in acks.chain(asks) {
        let sent = match message {
            Ok(message) => outlet.answer(&topic, message).await,
            Err(e) => Err(e.to_string()),
        };
        // One that does not get out is made again when the gateway sends again: no need to wait for room.
        if let Err(e) = sent {
            warn!(topic, "answer not sent: {e}");
        }
    }
}
