//! What the service manager is told: systemd's protocol of `NOTIFY_SOCKET`. Shell; silent where there is no manager.
//!
//! Nothing here blocks: a manager that does not read is waited for beside all else, and only so long.

use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram as Plain};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::net::UnixDatagram;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::{error, warn};

use crate::ingest::SharedCore;
use crate::store::Store;

/// In the time that the manager gives it is told so many times: one may be missed.
const TIMES: u32 = 3;

/// Longest wait for a manager that does not read, where there is something else to do.
const MOMENT: Duration = Duration::from_secs(1);
/// The same for what it must know: it ends a start that it hears nothing of, after 90 s by default.
const LONG: Duration = Duration::from_secs(300);

/// The server is at work.
pub(crate) async fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)], LONG).await;
}

/// The server ends.
pub(crate) async fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("stopping")], MOMENT).await;
}

/// Feeds the manager's watchdog while ingest takes and the store gives; for ever, or not at all where nobody watches.
pub(crate) async fn feed_manager(core: SharedCore, store: Arc<dyn Store>) {
    if let Some(within) = sd_notify::watchdog_enabled() {
        feed(within, core, store, async || tell(&[NotifyState::Watchdog], MOMENT).await).await;
    }
}

async fn feed(within: Duration, core: SharedCore, store: Arc<dyn Store>, alive: impl AsyncFn()) {
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
            Ok(Ok(true)) => alive().await,
            Ok(failed) => error!(?failed, "the store cannot be read: the watchdog is not fed, and the service manager restarts the server"),
            Err(_) => error!("ingest or store hang for {within:?}: the watchdog is not fed, and the service manager restarts the server"),
        }
    }
}

async fn tell(state: &[NotifyState<'_>], within: Duration) {
    let Some(name) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let message: String = state.iter().map(|state| format!("{state}\n")).collect();
    let told = async {
        let socket = connected(name.as_bytes())?;
        socket.send(message.as_bytes()).await
    };
    let told = timeout(within, told).await.unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "it does not read")));
    if let Err(error) = told {
        warn!(%error, "the service manager cannot be told how the server is: it may restart it");
    }
}

/// A name that begins with `@` is none of a file.
fn connected(name: &[u8]) -> io::Result<UnixDatagram> {
    let socket = Plain::unbound()?;
    match name.split_first() {
        Some((b'@', rest)) => socket.connect_addr(&SocketAddr::from_abstract_name(rest)?)?,
        _ => socket.connect(std::ffi::OsStr::from_bytes(name))?,
    }
    socket.set_nonblocking(true)?;
    UnixDatagram::from_std(socket)
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
        let alive = async || {
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
