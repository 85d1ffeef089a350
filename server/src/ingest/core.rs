//! Shell: a group of messages -> one commit of the store -> acknowledgements and questions. Blocks; knows nothing of MQTT, and
//! time is what its caller says.

pub(super) mod posts;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pattoo_wire::topic::FromGateway;
use pattoo_wire::{Ack, Ask, Header};
use tracing::{error, info, warn};

use super::asking::Asking;
use super::group::Group;
use super::{Accepted, Letters, Now, Rejected, SharedCore, accept, future};
use crate::catalog::{Catalog, Place, Refused};
use crate::config::DEFAULT_MAX_FUTURE;
use crate::live::{Clock, Live};
use crate::store::{Commit, Committed, Loaded, SeriesEntry, Store, StoreError};

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
    /// Answers to hellos, and what stays missing. An answer's time is that of the call: whoever publishes later sets it anew.
    pub asks: Vec<(String, Ask)>,
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
    asking: Asking,
    max_future_ms: i64,
    /// The catalogue may be ahead of the store: build it anew first.
    stale: bool,
}

/// What is counted once a group is durable.
#[derive(Default)]
struct Tally {
    batches: Vec<(String, u64)>,
    replays: Vec<String>,
    changed: Vec<String>,
    /// Gateways that may have to be asked for something.
    heard: BTreeSet<String>,
}

impl Core {
    /// Starts from what the store holds, and shows it in `live`.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn new(store: Arc<dyn Store>, letters: Letters, live: Arc<Live>) -> Result<Self, StoreError> {
        let loaded = store.load()?;
        let catalog = Catalog::new(loaded);
        live.put_series(catalog.series().cloned());
        live.set_storing(true);
        Ok(Self { catalog, store, letters, live, asking: Asking::default(), max_future_ms: millis(DEFAULT_MAX_FUTURE), stale: false })
    }

    /// Refuses readings that are further ahead of the server's clock than that, instead of [`DEFAULT_MAX_FUTURE`].
    #[must_use]
    pub fn with_max_future(self, max_future: Duration) -> Self {
        Self { max_future_ms: millis(max_future), ..self }
    }

    /// Takes no more series of all gateways than that, instead of [`DEFAULT_MAX_SERIES`](crate::catalog::DEFAULT_MAX_SERIES).
    #[must_use]
    pub fn with_max_series(self, max_series: usize) -> Self {
        Self { catalog: self.catalog.with_max_series(max_series), ..self }
    }

    /// For more than one way in.
    #[must_use]
    pub fn shared(self) -> SharedCore {
        Arc::new(Mutex::new(self))
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
        let now = Now::new(now_ms, self.max_future_ms);
        let (mut group, mut tally) = (Group::default(), Tally::default());
        for message in messages {
            match accept(&mut self.catalog, &message.topic, &message.payload, now) {
                Ok(accepted) => self.take(message, accepted, now_ms, &mut group, &mut tally),
                Err(why) => {
                    if let Rejected::Refused(Refused::SchemaUnknown { gateway, id, header }) = &why {
                        processed.schema_missing = true;
                        self.asking.schema_missing(gateway, header, *id);
                        tally.heard.insert(gateway.clone());
                    }
                    self.reject(message, &why, now_ms, &mut group, &mut tally);
                }
            }
        }
        let (commit, acks) = group.finish(&self.catalog);
        let asks = self.asking.due(&self.catalog, &tally.heard, now_ms);
        // Only replays leave nothing to store.
        let committed = if commit == Commit::default() { Ok(Committed::default()) } else { self.store.commit(&commit) };
        let replaced = match committed {
            Ok(Committed { replaced }) => replaced,
            Err(e) => {
                self.store_failed(&e);
                // The time of day does not depend on the store.
                let asks = asks.into_iter().filter(|(_, ask)| ask.echo.is_some());
                let asks = asks.map(|(gateway, ask)| (gateway, Ask { stream: ask.stream, echo: ask.echo, ..Ask::default() })).collect();
                return Processed { failed: true, asks, ..processed };
            }
        };
        self.stale = false;
        tally.heard.iter().for_each(|gateway| self.catalog.settle(gateway));
        if replaced > 0 && self.live.replaced(replaced) {
            let gateways: Vec<_> = tally.batches.iter().map(|(gateway, _)| gateway).collect::<BTreeSet<_>>().into_iter().collect();
            warn!(replaced, ?gateways, "readings took the place of others of the same series and time: is a clock set back?");
        }
        if !self.live.set_storing(true) {
            info!("the store takes commits again");
        }
        self.show(&commit.series);
        self.live.put_readings(commit.readings);
        self.count(tally);
        Processed { acks, asks, ..processed }
    }

    /// Shows series that are durable: the very ones of the catalogue.
    fn show(&self, series: &[SeriesEntry]) {
        self.live.put_series(series.iter().filter_map(|entry| self.catalog.find(entry)).cloned());
    }

    fn refresh(&mut self) -> Result<(), StoreError> {
        if self.stale {
            let loaded: Loaded = self.store.load()?;
            self.catalog = self.catalog.reloaded(loaded);
            self.live.put_series(self.catalog.series().cloned());
            self.stale = false;
        }
        Ok(())
    }

    fn store_failed(&self, why: &StoreError) {
        if self.live.set_storing(false) {
            error!(error = %why, "the store takes no commits: nothing is acknowledged, gateways keep their readings and send them again");
        }
    }

    fn take(&mut self, message: &Message, accepted: Accepted, now_ms: i64, group: &mut Group, tally: &mut Tally) {
        let Some((gateway, what)) = pattoo_wire::topic::parse(&message.topic) else { return };
        let mut seen_ms = (!message.retained).then_some(now_ms);
        let (mut status, mut clock) = (None, None);
        match accepted {
            Accepted::Batch { again, commit, progress } => {
                if again {
                    tally.changed.push(gateway.to_owned());
                }
                tally.batches.push((gateway.to_owned(), commit.readings.len() as u64));
                group.add(commit);
                group.acknowledge(gateway, progress.stream);
                self.asking.batch(gateway, progress.stream);
                tally.heard.insert(gateway.to_owned());
            }
            Accepted::Replay { commit, progress } => {
                tally.replays.push(gateway.to_owned());
                group.add(commit);
                group.acknowledge(gateway, progress.stream);
                tally.heard.insert(gateway.to_owned());
            }
            Accepted::Schema { commit } => {
                group.add(commit);
                if let FromGateway::Schema(id) = what {
                    self.asking.schema_came(gateway, id);
                    tally.heard.insert(gateway.to_owned());
                }
            }
            Accepted::Hello { commit, rewound, hello } => {
                if rewound {
                    warn!(
                        gateway,
                        next = hello.next,
                        "its buffer is an older image of itself: what it sends from this batch on is taken as new"
                    );
                }
                group.add(commit);
                group.acknowledge(gateway, hello.stream);
                self.asking.hello(gateway, hello);
                clock = seen_ms.map(|at_ms| Clock { offset_ms: at_ms.saturating_sub(hello.time_ms), source: hello.source, at_ms });
                tally.heard.insert(gateway.to_owned());
            }
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
            live.clock = clock.or(live.clock);
        });
    }

    fn reject(&mut self, message: &Message, why: &Rejected, now_ms: i64, group: &mut Group, tally: &mut Tally) {
        let count = self.live.rejected(why.gateway(), why.code());
        // A gateway sends again what is not acknowledged: the count tells how often, the log does not have to.
        if count.is_power_of_two() {
            warn!(gateway = why.gateway(), reason = why.code(), count, "message not taken: {why}");
        }
        if !why.is_dead_letter() {
            return;
        }
        if let Err(e) = self.letters.keep(now_ms, &message.topic, &why.to_string(), &message.payload) {
            // Without its letter it would be lost, so the gateway has to keep it.
            error!(error = %e, "a message that cannot be taken could not be kept either");
            return;
        }
        let place = |gateway, header: &Header, crc: &u32| Place { gateway, header: *header, crc: *crc, now_ms };
        let (gateway, taken) = match why {
            Rejected::Unreadable { gateway, header, crc, .. } => {
                (gateway, self.catalog.take_unreadable(place(gateway, header, crc), future::record(header, now_ms, 0)))
            }
            Rejected::FarFuture { gateway, header, crc, schema, rest, .. } => {
                (gateway, self.catalog.take_batch(place(gateway, header, crc), *schema, (**rest).clone()))
            }
            _ => return,
        };
        match taken {
            Ok((commit, progress)) => {
                tally.batches.push((gateway.clone(), commit.readings.len() as u64));
                tally.heard.insert(gateway.clone());
                group.add(commit);
                group.acknowledge(gateway, progress.stream);
            }
            Err(e) => warn!(gateway, "{e}"),
        }
    }

    fn count(&self, tally: Tally) {
        for (gateway, readings) in tally.batches {
            self.live.count(&gateway, |counters| {
                counters.batches += 1;
                counters.readings += readings;
            });
        }
        for gateway in tally.changed {
            let mut count = 0;
            self.live.count(&gateway, |counters| {
                counters.changed += 1;
                count = counters.changed;
            });
            if count.is_power_of_two() {
                warn!(gateway, count, "a batch came under a number that another one had: its readings are stored as well");
            }
        }
        for gateway in tally.replays {
            self.live.count(&gateway, |counters| counters.replays += 1);
        }
    }
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}
