//! Finds devices by their instance: Who-Is, and who answers. Shell.

use std::time::Duration;

use bacnet_rs::service::UnconfirmedServiceChoice;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::{Desk, Port};
use crate::driver::bacnet::Peer;
use crate::driver::bacnet::services::{self, IAm};
use crate::mix::mix;

/// Devices that are looked for at the same time wait up to so long, so that one question is for many of them and the answers do not come
/// all at once.
const JITTER_MS: u64 = 200;
/// Where nobody calls, it is looked again after so long.
const LOOK_EACH: Duration = Duration::from_millis(50);

impl Port {
    /// Where this device is; none where it does not say so in time.
    pub(crate) async fn find(&self, instance: u32) -> Option<Peer> {
        self.open().await.ok()?;
        let start = Instant::now();
        let jitter = Duration::from_millis(mix(self.seed ^ u64::from(instance)) % JITTER_MS);
        self.desk().directory.want(instance);
        // A foreign device is heard by nobody before it is registered.
        self.look(Instant::now() + self.settings.timeout, |desk| desk.is_settled().then_some(())).await;
        if let Some(peer) = self.look(start + jitter, |desk| desk.directory.find(instance)).await {
            return Some(peer);
        }
        let ranges = self.desk().directory.ask(Instant::now(), start);
        for range in ranges {
            self.send_to_all(UnconfirmedServiceChoice::WhoIs, services::who_is(Some(range)));
        }
        self.look(Instant::now() + self.settings.timeout, |desk| desk.directory.find(instance)).await
    }

    async fn look<T>(&self, until: Instant, mut look: impl FnMut(&mut Desk) -> Option<T>) -> Option<T> {
        let nobody = Notify::new();
        loop {
            let next = until.min(Instant::now() + LOOK_EACH);
            if let Some(found) = self.wait(&nobody, next, &mut look).await {
                return Some(found);
            }
            if Instant::now() >= until {
                return None;
            }
        }
    }

    /// All devices of these instances that answer within this time.
    pub(crate) async fn survey(&self, range: Option<(u32, u32)>, time: Duration) -> std::io::Result<Vec<(Peer, IAm)>> {
        self.open().await?;
        self.desk().directory.begin_survey();
        self.send_to_all(UnconfirmedServiceChoice::WhoIs, services::who_is(range));
        let nobody = Notify::new();
        self.wait(&nobody, Instant::now() + time, |_| None::<()>).await;
        Ok(self.desk().directory.end_survey())
    }
}
