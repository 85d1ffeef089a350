//! What the service manager is told: systemd's protocol of `NOTIFY_SOCKET`. Shell; silent where there is no manager.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::{error, warn};

use crate::ingest::SharedCore;
use crate::store::Store;

/// In the time that the manager gives it is told so many times: one may be missed.
const TIMES: u32 = 3;

/// The server is at work.
pub(crate) fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// The server ends.
pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
}

/// Feeds the manager's watchdog while ingest takes and the store gives; for ever, or not at all where nobody watches.
pub(crate) async fn feed_manager(core: SharedCore, store: Arc<dyn Store>) {
    if let Some(within) = sd_notify::watchdog_enabled() {
        feed(within, core, store, || tell(&[NotifyState::Watchdog])).await;
    }
}

async fn feed(within: Duration, core: SharedCore, store: Arc<dyn Store>, alive: impl Fn()) {
    let mut ticks = interval(within / TIMES);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let (core, store) = (core.clone(), store.clone());
        // Whatever is taken is taken under this lock: one that hangs never gives it back. Looks for no series: opens the store and no more.
        let look = move || {
            drop(core.lock().unwrap_or_else(PoisonError::into_inner));
            store.latest(&[]).is_ok()
        };
        match timeout(within, tokio::task::spawn_blocking(look)).await {
            Ok(Ok(true)) => alive(),
            Ok(failed) => error!(?failed, "the store cannot be read: the watchdog is not fed, and the service manager restarts the server"),
            Err(_) => error!("ingest or store hang for {within:?}: the watchdog is not fed, and the service manager restarts the server"),
        }
    }
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        warn!(%error, "the service manager cannot be told how the server is: it may restart it");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::ingest::{Core, Letters};
    use crate::live::Live;
    use crate::store::memory::Memory;

    const WITHIN: Duration = Duration::from_millis(60);

    #[tokio::test]
    async fn the_watchdog_is_fed_unless_ingest_hangs() {
        let folder = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> = Arc::new(Memory::default());
        let core = Core::new(store.clone(), Letters::new(folder.path()), Arc::new(Live::default())).unwrap().shared();
        let count = AtomicU32::new(0);
        let all = tokio::sync::Notify::new();
        let alive = || {
            if count.fetch_add(1, Ordering::Relaxed) + 1 == 3 {
                all.notify_one();
            }
        };
        tokio::select! {
            () = feed(WITHIN, core.clone(), store.clone(), alive) => unreachable!(),
            fed = timeout(Duration::from_secs(20), all.notified()) => fed.expect("fed three times"),
        }
        let (held, hold) = (core.clone(), core.clone());
        let (locked, is_locked) = tokio::sync::oneshot::channel();
        let (release, released) = std::sync::mpsc::channel::<()>();
        let hanging = std::thread::spawn(move || {
            let _guard = hold.lock();
            let _ = locked.send(());
            let _ = released.recv();
        });
        is_locked.await.unwrap();
        let before = count.load(Ordering::Relaxed);
        tokio::select! {
            () = feed(WITHIN, held, store, alive) => unreachable!(),
            () = tokio::time::sleep(10 * WITHIN) => {}
        }
        assert_eq!(count.load(Ordering::Relaxed), before, "fed while ingest hangs");
        drop(release);
        hanging.join().unwrap();
    }
}
