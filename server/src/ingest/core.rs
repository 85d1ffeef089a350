//! Shell: a group of messages -> one commit of the store -> acknowledgements. Blocks; knows nothing of MQTT.

use std::sync::Arc;

use pattoo_wire::Ack;
use tracing::{error, info, warn};

use super::group::Group;
use super::{Accepted, Letters, Rejected, accept};
use crate::catalog::{Catalog, Refused};
use crate::live::Live;
use crate::store::{Loaded, Store, StoreError};

/// A message as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its topic.
    pub topic: String,
    /// Its bytes.
    pub payload: Vec<u8>,
    /// Whether the broker had kept it from before: then it tells nothing of when its gateway was there.
    pub retained: bool,
}

/// What a group came to.
#[derive(Debug, Default)]
pub struct Processed {
    /// Acknowledgements to publish: all of it is durable.
    pub acks: Vec<(String, Ack)>,
    /// A batch waits for its schema: ask the broker for the retained ones again.
    pub schema_missing: bool,
    /// The store did not take the group; wait a moment before the next one.
    pub failed: bool,
}

/// Catalogue, store and dead letters as one.
pub struct Core {
    catalog: Catalog,
    store: Arc<dyn Store>,
    letters: Letters,
    live: Arc<Live>,
    /// The catalogue may be ahead of the store: build it anew first.
    stale: bool,
}

/// What is counted once a group is durable.
#[derive(Default)]
struct Tally {
    batches: Vec<(String, u64)>,
    replays: Vec<String>,
}

impl Core {
    /// Starts from what the store holds, and shows it in `live`.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn new(store: Arc<dyn Store>, letters: Letters, live: Arc<Live>) -> Result<Self, StoreError> {
        let loaded = store.load()?;
        live.put_series(loaded.series.iter().cloned());
        live.set_storing(true);
        let catalog = Catalog::new(loaded);
        Ok(Self { catalog, store, letters, live, stale: false })
    }

    /// Takes messages in their order; what it gives may be acknowledged.
    pub fn process(&mut self, messages: &[Message], now_ms: i64) -> Processed {
        let mut processed = Processed::default();
        if let Err(e) = self.refresh() {
            self.store_failed(&e);
            return Processed { failed: true, ..processed };
        }
        // Until the commit is through, and also if something panics before.
        self.stale = true;
        let (mut group, mut tally) = (Group::default(), Tally::default());
        for message in messages {
            match accept(&mut self.catalog, &message.topic, &message.payload) {
                Ok(accepted) => self.take(message, accepted, now_ms, &mut group, &mut tally),
                Err(why) => {
                    processed.schema_missing |= matches!(why, Rejected::Refused(Refused::SchemaUnknown { .. }));
                    self.reject(message, &why, now_ms, &mut group);
                }
            }
        }
        let (commit, acks) = group.finish();
        // Only replays leave nothing to store.
        if commit != crate::store::Commit::default()
            && let Err(e) = self.store.commit(&commit)
        {
            self.store_failed(&e);
            return Processed { failed: true, ..processed };
        }
        self.stale = false;
        if !self.live.set_storing(true) {
            info!("the store takes commits again");
        }
        self.live.put_series(commit.series);
        self.count(tally);
        processed.acks = acks;
        processed
    }

    fn refresh(&mut self) -> Result<(), StoreError> {
        if self.stale {
            let loaded: Loaded = self.store.load()?;
            self.catalog = Catalog::new(loaded);
            self.stale = false;
        }
        Ok(())
    }

    fn store_failed(&self, why: &StoreError) {
        if self.live.set_storing(false) {
            error!(error = %why, "the store takes no commits: nothing is acknowledged, gateways keep their readings and send them again");
        }
    }

    fn take(&self, message: &Message, accepted: Accepted, now_ms: i64, group: &mut Group, tally: &mut Tally) {
        let Some((gateway, _)) = pattoo_wire::topic::parse(&message.topic) else { return };
        let mut seen_ms = (!message.retained).then_some(now_ms);
        let mut status = None;
        match accepted {
            Accepted::Batch { commit, progress } => {
                tally.batches.push((gateway.to_owned(), commit.readings.len() as u64));
                group.add(commit);
                if progress.advanced {
                    group.acknowledge(gateway, progress);
                }
            }
            Accepted::Replay { commit, progress } => {
                tally.replays.push(gateway.to_owned());
                group.add(commit);
                group.acknowledge(gateway, progress);
            }
            Accepted::Schema { commit } => group.add(commit),
            Accepted::Hello(_) => {}
            Accepted::Status(document) => {
                // The broker sends the last will, long after the gateway was there.
                seen_ms = seen_ms.filter(|_| document.online);
                status = Some(document);
            }
            Accepted::Cleared => return,
        }
        self.live.heard(gateway, seen_ms, |live| {
            if status.is_some() {
                live.status = status;
            }
        });
    }

    fn reject(&mut self, message: &Message, why: &Rejected, now_ms: i64, group: &mut Group) {
        let count = self.live.rejected(why.gateway(), why.code());
        let mut kept = false;
        if why.is_dead_letter() {
            match self.letters.keep(now_ms, &message.topic, &why.to_string(), &message.payload) {
                Ok(()) => kept = true,
                Err(e) => error!(error = %e, "a message that cannot be read could not be kept either"),
            }
        }
        if let Rejected::Unreadable { gateway, header, .. } = why {
            error!(gateway, reason = why.code(), "{why}");
            // Without the letter it would be lost, so then the gateway has to keep it.
            if kept {
                match self.catalog.take_unreadable(gateway, header) {
                    Ok((commit, progress)) => {
                        group.add(commit);
                        group.acknowledge(gateway, progress);
                    }
                    Err(e) => warn!(gateway, "{e}"),
                }
            }
        } else if count.is_power_of_two() {
            // A gateway sends again what is not acknowledged: the count tells how often, the log does not have to.
            warn!(gateway = why.gateway(), reason = why.code(), count, "message not taken: {why}");
        }
    }

    fn count(&self, tally: Tally) {
        for (gateway, readings) in tally.batches {
            self.live.count(&gateway, |counters| {
                counters.batches += 1;
                counters.readings += readings;
            });
        }
        for gateway in tally.replays {
            self.live.count(&gateway, |counters| counters.replays += 1);
        }
    }
}
