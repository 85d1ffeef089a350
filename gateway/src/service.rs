//! What the service manager is told and what it asks for: systemd's protocol of `NOTIFY_SOCKET`. Shell; silent where there is no manager.
//!
//! Nothing here blocks: a manager that does not read is waited for beside all else, and only so long.

use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram as Plain};
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::net::UnixDatagram;
use tokio::time::timeout;
use tracing::warn;

/// Longest wait for a manager that does not read, where the daemon has something else to do.
const MOMENT: Duration = Duration::from_secs(1);
/// The same for what it must know: it ends a start that it hears nothing of, after 90 s by default.
const LONG: Duration = Duration::from_secs(300);

/// The daemon is at work.
pub(crate) async fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)], LONG).await;
}

/// A new configuration is taken over; [`ready`] ends that.
pub(crate) async fn reloading() {
    // The newer of systemd's two protocols wants the time, the older one lets it be.
    let now = NotifyState::monotonic_usec_now().ok();
    tell(&[Some(NotifyState::Reloading), now].into_iter().flatten().collect::<Vec<_>>(), MOMENT).await;
}

/// The daemon ends.
pub(crate) async fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("stopping")], MOMENT).await;
}

/// All parts of the daemon are at work.
pub(crate) async fn alive() {
    tell(&[NotifyState::Watchdog], MOMENT).await;
}

/// How often the manager wants to hear [`alive`]; none where it does not watch.
pub(crate) fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled()
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
        warn!(%error, "the service manager cannot be told how the daemon is: it may restart it");
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
