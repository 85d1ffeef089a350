//! The life of a server's store: messages of two gateways go through the real core into the real file, with a line for every
//! acknowledgement.
//!
//! Judges nothing. Batches are made from their number alone, so that whoever reads the lines knows their content.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use pattoo_gateway::batch::Closed;
use pattoo_server::ingest::{Core, Letters, Message};
use pattoo_server::live::Live;
use pattoo_server::store::embedded::Embedded;
use pattoo_wire::{Ack, Header, SchemaId, data_message, topic};
use serde::{Deserialize, Serialize};

use super::life::closed;

/// Gateways that send.
pub const GATEWAYS: [&str; 2] = ["plant1", "plant2"];
/// The life of each gateway's buffer.
pub const STREAM: u64 = 7;
/// Far beyond every batch.
const LATER_MS: i64 = i64::MAX;
/// Most batches of a gateway that become durable as one.
const MAX_GROUP: u64 = 6;
/// How often a store that refuses is tried again.
const TRIES: u32 = 200;

/// A line that the life prints when it has come so far.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mark {
    /// Batches up to this number may come.
    Sending {
        /// Whose.
        gateway: String,
        /// The highest number.
        last: u64,
    },
    /// What was acknowledged.
    Acked {
        /// Whose.
        gateway: String,
        /// All up to here.
        through: u64,
        /// And these ranges, both ends included.
        ahead: Vec<(u64, u64)>,
    },
    /// The store could not be opened; it is tried again.
    NotOpened(String),
    /// A commit failed.
    Failed,
    /// Its end as planned.
    Done,
}

/// What a life is made of.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ServerLife {
    /// Data folder.
    pub data: PathBuf,
    /// Chooses the steps.
    pub seed: u64,
    /// How many.
    pub steps: u32,
    /// What each gateway's next batch is, by an earlier life.
    pub next: u64,
}

/// The batch with this number: 1 to 64 readings. Never with the schema that is as large as one may be: that says nothing of a store, and
/// takes long.
///
/// # Errors
/// See [`closed`].
pub fn batch(seq: u64) -> Result<Closed> {
    let readings = 1 + (seq.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58);
    closed(seq / 32 * 48 + seq % 32, usize::try_from(readings)?)
}

/// A server that is told what to take.
pub struct Server {
    core: Core,
    store: Arc<Embedded>,
    known: BTreeSet<(String, SchemaId)>,
}

impl Server {
    /// Starts it in a data folder.
    ///
    /// # Errors
    /// The store cannot be opened or read.
    pub fn start(data: &Path) -> Result<Self> {
        let store = Arc::new(Embedded::open(&data.join("pattoo.redb"))?);
        let core = Core::new(store.clone(), Letters::new(&data.join("dead-letter")), Arc::new(Live::default()))?;
        Ok(Self { core, store, known: BTreeSet::new() })
    }

    /// Its store.
    #[must_use]
    pub fn store(&self) -> &Embedded {
        &self.store
    }

    /// Gives it these batches of a gateway as one, and one message that nobody can read if `bad`; what it acknowledges, none if it failed.
    ///
    /// # Errors
    /// A batch cannot be made.
    pub fn take(&mut self, gateway: &str, oldest: u64, seqs: &[u64], bad: bool) -> Result<Option<Vec<Ack>>> {
        let (mut messages, mut at_ms) = (Vec::new(), 0);
        for seq in seqs {
            let closed = batch(*seq)?;
            at_ms = at_ms.max(closed.to_ms);
            if self.known.insert((gateway.to_owned(), closed.schema())) {
                let topic = topic::schema(gateway, closed.schema());
                messages.push(Message { topic, payload: closed.dictionary.message.clone(), retained: false });
            }
            let payload = data_message(&Header { stream: STREAM, seq: *seq, oldest }, &closed.body)?;
            messages.push(Message { topic: topic::data(gateway), payload, retained: false });
        }
        if bad {
            messages.push(Message { topic: topic::data(gateway), payload: at_ms.to_le_bytes().to_vec(), retained: false });
        }
        let processed = self.core.process(&messages, at_ms);
        if processed.failed {
            self.known.clear();
            return Ok(None);
        }
        ensure!(!processed.schema_missing, "a schema that was sent is missing");
        Ok(Some(processed.acks.into_iter().map(|(_, ack)| ack).collect()))
    }
}

impl ServerLife {
    /// Lives it.
    ///
    /// # Errors
    /// The store cannot be opened at all.
    pub fn run(&self, out: &mut dyn Write) -> Result<()> {
        let mut rng = fastrand::Rng::with_seed(self.seed);
        let mut server = open(&self.data, out)?;
        let mut next: BTreeMap<&str, u64> = GATEWAYS.iter().map(|gateway| (*gateway, self.next)).collect();
        let mut acked: BTreeMap<&str, u64> = BTreeMap::new();
        for _ in 0..self.steps {
            if rng.u8(..10) == 0 {
                drop(server);
                server = open(&self.data, out)?;
            }
            if rng.u8(..5) == 0 && server.store().flush().is_err() {
                // It goes on with what it has in memory and in the log.
                say(out, &Mark::Failed)?;
            }
            // As if all days had rested: parts become one, and rollups of them.
            if rng.u8(..8) == 0 && server.store().tidy(LATER_MS).is_err() {
                say(out, &Mark::Failed)?;
            }
            let gateway = *rng.choice(&GATEWAYS).context("there are gateways")?;
            let from = acked.get(gateway).copied().unwrap_or_default();
            let upcoming = next.entry(gateway).or_insert(1);
            let new = rng.u64(0..=MAX_GROUP);
            let mut seqs: Vec<u64> = (*upcoming..*upcoming + new).collect();
            *upcoming += new;
            // What was not acknowledged comes again, and out of order; some of it much later.
            seqs.extend((0..rng.usize(..4)).map(|_| rng.u64(from + 1..=(*upcoming - 1).max(from + 1))).filter(|seq| seq < upcoming));
            rng.shuffle(&mut seqs);
            seqs.truncate(rng.usize(seqs.len() / 2..=seqs.len()));
            say(out, &Mark::Sending { gateway: gateway.to_owned(), last: *upcoming - 1 })?;
            match server.take(gateway, from + 1, &seqs, rng.u8(..10) == 0)? {
                None => say(out, &Mark::Failed)?,
                Some(acks) => {
                    for Ack { seq: through, ahead, .. } in acks {
                        say(out, &Mark::Acked { gateway: gateway.to_owned(), through, ahead })?;
                        acked.insert(gateway, through);
                    }
                }
            }
        }
        say(out, &Mark::Done)
    }
}

fn open(data: &Path, out: &mut dyn Write) -> Result<Server> {
    for _ in 0..TRIES {
        match Server::start(data) {
            Ok(server) => return Ok(server),
            Err(why) => say(out, &Mark::NotOpened(format!("{why:#}")))?,
        }
    }
    anyhow::bail!("the store could not be opened {TRIES} times")
}

fn say(out: &mut dyn Write, mark: &Mark) -> Result<()> {
    // In one call, so that the line has its place between those that touch the disk.
    let line = serde_json::to_string(mark)? + "\n";
    out.write_all(line.as_bytes())?;
    Ok(out.flush()?)
}
