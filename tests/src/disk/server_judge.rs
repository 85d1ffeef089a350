//! Whether a server keeps what it acknowledged, after whatever was done to its disk.
//!
//! Knows the promises from the lines of a [`ServerLife`](super::server_life::ServerLife), and asks the real store for the rest.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use anyhow::{Context, Result, anyhow, ensure};
use pattoo_server::store::{Reading, SeriesId, Store};
use pattoo_wire::Ack;

use super::server_life::{GATEWAYS, Mark, STREAM, Server, batch};

const DAY_MS: i64 = 86_400_000;
/// Batches that come after the fault.
const AFTERWARDS: u64 = 5;

/// What was promised up to some moment.
#[derive(Debug, Clone, Default)]
pub struct ServerBook {
    /// Highest number that was sent, by gateway.
    sent: BTreeMap<String, u64>,
    acked: BTreeMap<String, BTreeSet<u64>>,
    /// Whether it lived to its end.
    pub done: bool,
}

/// What was found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ServerVerdict {
    /// Stores that were judged.
    pub stores: u64,
    /// Batches that were acknowledged, all of them there.
    pub acked: u64,
    /// Readings that were there, each once.
    pub readings: u64,
    /// Batches that were there and not acknowledged yet.
    pub more: u64,
}

impl ServerVerdict {
    /// Counts both together.
    pub fn add(&mut self, other: Self) {
        let Self { stores, acked, readings, more } = other;
        self.stores += stores;
        self.acked += acked;
        self.readings += readings;
        self.more += more;
    }
}

impl ServerBook {
    /// Takes in the lines of a life.
    ///
    /// # Errors
    /// A line that is none.
    pub fn read(&mut self, lines: &str) -> Result<()> {
        for line in lines.lines() {
            match serde_json::from_str(line).with_context(|| line.to_owned())? {
                Mark::Sending { gateway, last } => drop(self.sent.insert(gateway, last)),
                Mark::Acked { gateway, through, ahead } => {
                    let acked = self.acked.entry(gateway).or_default();
                    acked.extend(1..=through);
                    acked.extend(ahead.into_iter().flat_map(|(first, last)| first..=last));
                }
                Mark::NotOpened(_) | Mark::Failed => {}
                Mark::Done => self.done = true,
            }
        }
        Ok(())
    }

    /// Starts a server in a data folder, looks for all that was acknowledged, sends the rest and more, and looks again.
    ///
    /// # Errors
    /// A promise that was broken.
    pub fn judge(&self, data: &Path) -> Result<ServerVerdict> {
        let guarded = catch_unwind(AssertUnwindSafe(|| self.judge_unguarded(data)));
        guarded.unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(|t| (*t).to_owned()));
            Err(anyhow!("the server panicked: {}", text.unwrap_or_default()))
        })
    }

    fn judge_unguarded(&self, data: &Path) -> Result<ServerVerdict> {
        let mut server = Server::start(data).context("start")?;
        let mut verdict = ServerVerdict { stores: 1, ..ServerVerdict::default() };
        let mut all = BTreeMap::new();
        for gateway in GATEWAYS {
            let sent = self.sent.get(gateway).copied().unwrap_or_default();
            let there = batches(&server, gateway)?;
            let acked = self.acked.get(gateway).cloned().unwrap_or_default();
            let lost: Vec<_> = acked.difference(&there).collect();
            ensure!(lost.is_empty(), "{gateway}: acknowledged and not there: {lost:?}");
            ensure!(there.last().is_none_or(|last| *last <= sent), "{gateway}: only {sent} batches were sent, {there:?} are there");
            verdict.acked += acked.len() as u64;
            verdict.more += there.difference(&acked).count() as u64;
            verdict.readings += holds(&server, gateway, &there)?;
            // As its gateway does: what is not acknowledged, and at times what is.
            let missing = (1..=sent + AFTERWARDS).filter(|seq| !acked.contains(seq)).chain(acked.first().copied());
            let missing: Vec<u64> = missing.collect();
            let acks = server.take(gateway, 1, &missing, false)?.context("it takes nothing any more")?;
            ensure!(acks.last() == Some(&Ack::through(STREAM, sent + AFTERWARDS)), "{gateway}: {acks:?} after {missing:?}");
            all.insert(gateway, (1..=sent + AFTERWARDS).collect());
        }
        drop(server);
        let server = Server::start(data).context("start again")?;
        for (gateway, all) in all {
            holds(&server, gateway, &all).context("afterwards")?;
        }
        Ok(verdict)
    }
}

/// The batches that the store says it has.
fn batches(server: &Server, gateway: &str) -> Result<BTreeSet<u64>> {
    let streams = server.store().load()?.streams;
    let Some(state) = streams.into_iter().find(|state| state.gateway == gateway) else { return Ok(BTreeSet::new()) };
    ensure!(state.stream == STREAM, "stream {} is nobody's", state.stream);
    Ok((1..=state.contiguous).chain(state.ahead.into_iter().flat_map(|(first, last)| first..=last)).collect())
}

/// Whether the readings of these batches are in the store, each as it was sent, and no others; how many they are.
fn holds(server: &Server, gateway: &str, batches: &BTreeSet<u64>) -> Result<u64> {
    let mut expected = BTreeMap::new();
    for seq in batches {
        for block in batch(*seq)?.batch.blocks {
            expected.extend(block.times_ms.into_iter().zip(block.samples));
        }
    }
    let mut found = 0;
    let series = server.store().load()?.series.into_iter().filter(|series| series.gateway == gateway);
    let ids: Vec<SeriesId> = series.map(|series| series.id).collect();
    let filled = ids.iter().zip(server.store().latest(&ids)?).filter(|(_, latest)| latest.is_some());
    for (id, _) in filled {
        let readings = server.store().raw(*id, i64::MIN, i64::MAX, usize::MAX)?;
        // Of rollups, as far as there are any.
        let told: u64 = server.store().buckets(*id, i64::MIN, i64::MAX, DAY_MS)?.iter().map(|bucket| bucket.count + bucket.bad).sum();
        let counted =
            readings.iter().filter(|reading| reading.sample.value().is_none_or(|value| value.to_f64().is_some_and(|x| !x.is_nan())));
        ensure!(told == counted.count() as u64, "{gateway}: charts tell of {told} readings of {}", readings.len());
        for Reading { at_ms, sample } in readings {
            ensure!(expected.get(&at_ms) == Some(&sample), "{gateway}: {sample:?} at {at_ms}, expected {:?}", expected.get(&at_ms));
            found += 1;
        }
    }
    ensure!(found == expected.len() as u64, "{gateway}: {found} readings of {}", expected.len());
    Ok(found)
}
