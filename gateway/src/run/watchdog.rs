//! Tells the service manager that the daemon is at work, while each of its parts is: links, batches, buffer and uplink. A shell file:
//! clock and log.
//!
//! A manager that is not told restarts the daemon. That the runtime itself turns is shown by this file being called at all.

use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::{error, info};

use crate::buffer::worker::Handle;
use crate::pulse::Pulses;
use crate::service;

/// In the time that the manager gives it is told so many times: one may be missed.
const TIMES: u32 = 3;
/// The parts that have a tick of their own say more often than this that they are at work.
pub(super) const TICKING: Duration = Duration::from_secs(30);
/// Longest turn of a link beyond what it waits for: a program or a walk may take 10 min, see the bounds of the configuration.
pub(super) const LONGEST_TURN: Duration = Duration::from_secs(30 * 60);

/// Until it is dropped.
pub(super) async fn feed(within: Duration, pulses: Pulses, buffer: Handle, alive: impl AsyncFn()) {
    let every = within / TIMES;
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut late_before = String::new();
    loop {
        ticks.tick().await;
        // A disk that is slow is waited for; one that hangs costs the daemon its watchdog.
        let stores = matches!(timeout(within, buffer.ping()).await, Ok(Ok(())));
        let mut late = pulses.late(Instant::now());
        if !stores {
            late.push("buffer");
        }
        let late = late.join(", ");
        if late.is_empty() {
            alive().await;
        }
        if late != late_before {
            match late.as_str() {
                "" => info!("all parts are at work again"),
                late => {
                    error!(late, "parts of the daemon do nothing: the watchdog is not fed, and the service manager restarts the daemon")
                }
            }
            late_before = late;
        }
    }
}

/// Says that the daemon is ready; then as [`feed`] where the service manager watches.
pub(super) async fn tell_manager(status: String, pulses: Pulses, buffer: Handle) {
    service::ready(&status).await;
    if let Some(within) = service::watchdog() {
        feed(within, pulses, buffer, service::alive).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::buffer::memory::{Medium, Memory};
    use crate::buffer::{Buffer, Limits, Stats, worker};
    use crate::config;

    const WITHIN: Duration = Duration::from_millis(60);
    /// More than a loaded machine needs for some turns.
    const PATIENCE: Duration = Duration::from_secs(20);

    async fn fed(pulses: Pulses, buffer: Handle, times: u32, within: Duration) -> bool {
        let count = Arc::new(AtomicU32::new(0));
        let (seen, all) = (Arc::clone(&count), tokio::sync::Notify::new());
        let alive = async || {
            if seen.fetch_add(1, Ordering::Relaxed) + 1 == times {
                all.notify_one();
            }
        };
        tokio::select! {
            () = feed(WITHIN, pulses, buffer, alive) => false,
            () = all.notified() => true,
            () = tokio::time::sleep(within) => false,
        }
    }

    fn buffer() -> Handle {
        let buffer = Buffer::open(Memory::open(&Medium::default()), Limits::from(&config::Buffer::default()), 0).unwrap();
        let (handle, requests) = worker::channel(buffer.stats());
        std::thread::spawn(move || worker::serve(buffer, requests));
        handle
    }

    #[tokio::test]
    async fn the_watchdog_is_fed_while_all_is_at_work_and_by_no_part_alone() {
        let at_work = || Pulses::new(Instant::now());
        assert!(fed(at_work(), buffer(), 3, PATIENCE).await);

        let mut pulses = at_work();
        let _late = pulses.part("line1", Duration::ZERO);
        tokio::time::sleep(Duration::from_millis(2)).await;
        assert!(!fed(pulses, buffer(), 1, 10 * WITHIN).await, "a link that hangs");

        let (hanging, _requests) = worker::channel(Stats::default());
        assert!(!fed(at_work(), hanging, 1, 10 * WITHIN).await, "a buffer that does not answer");

        let (gone, requests) = worker::channel(Stats::default());
        drop(requests);
        assert!(!fed(at_work(), gone, 1, 10 * WITHIN).await, "a buffer that has ended");
    }
}
