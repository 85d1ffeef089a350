//! Looks now and then at disk, buffer, clock and certificates, and tells what is going to be trouble: to the log, and to whoever publishes the
//! status. Shell: clocks, disk and log. What counts as trouble is decided in [`crate::outlook`].

use std::path::Path;
use std::time::Duration;

use pattoo_wire::Warning;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::{info, warn};

use crate::buffer::worker::Handle;
use crate::clock;
use crate::config::Config;
use crate::outlook::{Outlook, Sight};
use crate::timebase;
use crate::uplink::mqtt::Ends;

/// None of it changes faster than somebody could see to it.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// Longest time for a disk to say how much is free; one that hangs is no reason to be silent about the rest.
const DISK_WITHIN: Duration = Duration::from_secs(10);

/// What is looked at.
pub(super) struct Lookout {
    pub(super) buffer: Handle,
    pub(super) time: watch::Receiver<timebase::State>,
    pub(super) ends: Ends,
    pub(super) told: watch::Sender<Vec<Warning>>,
}

impl Lookout {
    /// Looks until told to stop.
    pub(super) async fn run(self, config: std::sync::Arc<Config>, mut stop: watch::Receiver<bool>) {
        let mut outlook = Outlook::default();
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
            let sight = self.look(&config).await;
            self.tell(outlook.look(&sight));
        }
    }

    async fn look(&self, config: &Config) -> Sight {
        let stats = self.buffer.stats();
        let folder = config.buffer.path.clone();
        let free = timeout(DISK_WITHIN, tokio::task::spawn_blocking(move || free_bytes(&folder)));
        let free_bytes = free.await.ok().and_then(Result::ok).flatten();
        Sight {
            boot_ms: clock::boot_ms(),
            system_ms: clock::now_ms(),
            time: *self.time.borrow(),
            tls: config.uplink.brokers.iter().any(|broker| broker.url.starts_with("mqtts://")),
            free_bytes,
            buffer_bytes: stats.disk_bytes,
            max_bytes: config.buffer.max_bytes,
            ends: self.ends.known(),
        }
    }

    fn tell(&self, warnings: Vec<Warning>) {
        let before = self.told.borrow().clone();
        for Warning { about, text } in warnings.iter().filter(|warning| !before.iter().any(|old| is_about(old, warning))) {
            warn!(about, "{text}");
        }
        for old in before.iter().filter(|old| !warnings.iter().any(|warning| is_about(old, warning))) {
            info!(about = old.about, "no longer: {}", old.text);
        }
        self.told.send_if_modified(|told| std::mem::replace(told, warnings) != *told);
    }
}

/// Whether both say the same but for numbers, which change all the time.
fn is_about(one: &Warning, other: &Warning) -> bool {
    fn words(warning: &Warning) -> impl Iterator<Item = &str> {
        warning.text.split(' ').filter(|word| !word.starts_with(|c: char| c.is_ascii_digit()))
    }
    one.about == other.about && words(one).eq(words(other))
}

/// Room on the disk where the buffer is, or will be.
pub(crate) fn free_bytes(buffer: &Path) -> Option<u64> {
    buffer.ancestors().find_map(|folder| fs2::available_space(folder).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_is_told_once_whatever_its_numbers_are() {
        let warning = |text: &str| Warning::new("disk", text);
        let full = warning("the buffer is full in 16h 53m at the present rate");
        assert!(is_about(&full, &warning("the buffer is full in 2h at the present rate")));
        assert!(!is_about(&full, &warning("the disk is full in 16h 53m at the present rate")));
        assert!(!is_about(&full, &Warning { about: "clock".into(), ..full.clone() }));
    }

    #[test]
    fn the_room_of_a_folder_that_is_not_there_yet_is_that_around_it() {
        let folder = tempfile::tempdir().unwrap();
        assert!(free_bytes(&folder.path().join("not/there")).is_some_and(|free| free > 0));
    }
}
