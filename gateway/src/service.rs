//! What the service manager is told and what it asks for: systemd's protocol of `NOTIFY_SOCKET`. Shell; silent where there is no manager.

use std::time::Duration;

use sd_notify::NotifyState;
use tracing::warn;

/// The daemon is at work.
pub(crate) fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// A new configuration is taken over; [`ready`] ends that.
pub(crate) fn reloading() {
    // The newer of systemd's two protocols wants the time, the older one lets it be.
    let now = NotifyState::monotonic_usec_now().ok();
    tell(&[Some(NotifyState::Reloading), now].into_iter().flatten().collect::<Vec<_>>());
}

/// The daemon ends.
pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
}

/// All parts of the daemon are at work.
pub(crate) fn alive() {
    tell(&[NotifyState::Watchdog]);
}

/// How often the manager wants to hear [`alive`]; none where it does not watch.
pub(crate) fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled()
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        warn!(%error, "the service manager cannot be told how the daemon is: it may restart it");
    }
}
