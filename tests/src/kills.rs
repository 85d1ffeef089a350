//! A server that is killed again and again while gateways send, and what it must still have in the end.
//!
//! Gateways are threads that speak MQTT as a real one does: a window of batches that wait for their acknowledgement, all of them again after a
//! connection that ended. Batches are made from their number alone ([`server_life::batch`](crate::disk::server_life::batch)), and the judge of the
//! power cuts says whether all that was acknowledged is there, once.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use pattoo_wire::{Ack, Header, SchemaId, data_message, topic};

use crate::disk::server_judge::{ServerBook, ServerVerdict};
use crate::disk::server_life::{GATEWAYS, Mark, STREAM, batch};
use crate::mqtt::{Connect, Raw, code, publish};
use crate::program::{Program, binary};
use crate::wait_for;

/// Batches of a gateway that wait for an acknowledgement.
const IN_FLIGHT: u64 = 32;
/// So little memory that a head is full after some hundred batches: parts are written and merged all the time.
const MEMORY: &str = "64KiB";

/// What the gateways have done so far.
#[derive(Debug, Default)]
struct Shared {
    broker: Mutex<Option<SocketAddr>>,
    stop: AtomicBool,
    sent: [AtomicU64; GATEWAYS.len()],
    acked: [AtomicU64; GATEWAYS.len()],
}

/// Gateways that send as fast as they get acknowledgements.
pub struct Gateways {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<Result<()>>>,
}

impl Gateways {
    /// Starts them; they wait for a server.
    #[must_use]
    pub fn start() -> Self {
        let shared = Arc::new(Shared::default());
        let threads = (0..GATEWAYS.len()).map(|number| {
            let shared = shared.clone();
            std::thread::spawn(move || {
                while !shared.stop.load(Ordering::SeqCst) {
                    let broker = *shared.broker.lock().unwrap_or_else(PoisonError::into_inner);
                    if let Some(broker) = broker {
                        one_connection(&shared, number, broker)?;
                    }
                }
                Ok(())
            })
        });
        let threads = threads.collect();
        Self { shared, threads }
    }

    /// Where the server is, if it runs.
    pub fn reach(&self, broker: Option<SocketAddr>) {
        *self.shared.broker.lock().unwrap_or_else(PoisonError::into_inner) = broker;
    }

    /// Batches of all gateways that were acknowledged.
    #[must_use]
    pub fn acked(&self) -> u64 {
        self.shared.acked.iter().map(|acked| acked.load(Ordering::SeqCst)).sum()
    }

    /// Ends them; gives what was promised.
    ///
    /// # Errors
    /// An acknowledgement that was taken back.
    pub fn stop(self) -> Result<ServerBook> {
        self.shared.stop.store(true, Ordering::SeqCst);
        for thread in self.threads {
            thread.join().map_err(|_| anyhow!("a gateway panicked"))??;
        }
        let mut book = ServerBook::default();
        for ((gateway, sent), acked) in GATEWAYS.iter().zip(&self.shared.sent).zip(&self.shared.acked) {
            let (gateway, ahead) = ((*gateway).to_owned(), Vec::new());
            let sending = Mark::Sending { gateway: gateway.clone(), last: sent.load(Ordering::SeqCst) };
            let acked = Mark::Acked { gateway, through: acked.load(Ordering::SeqCst), ahead };
            book.read(&format!("{}\n{}\n", serde_json::to_string(&sending)?, serde_json::to_string(&acked)?))?;
        }
        Ok(book)
    }
}

/// One connection until it ends, as it will.
fn one_connection(shared: &Shared, number: usize, broker: SocketAddr) -> Result<()> {
    let (Some(gateway), Some(sent), Some(acked)) = (GATEWAYS.get(number), shared.sent.get(number), shared.acked.get(number)) else {
        return Err(anyhow!("BUG: there is no gateway {number}"));
    };
    let Ok(mut raw) = connected(gateway, broker) else { return Ok(()) };
    let before = acked.load(Ordering::SeqCst);
    let mut known: BTreeSet<SchemaId> = BTreeSet::new();
    let (mut next, mut last) = (before + 1, before);
    while !shared.stop.load(Ordering::SeqCst) {
        while next <= last + IN_FLIGHT {
            let closed = batch(next)?;
            let schema = (topic::schema(gateway, closed.schema()), closed.dictionary.message.clone());
            let data = data_message(&Header { stream: STREAM, seq: next, oldest: last + 1 }, &closed.body)?;
            sent.fetch_max(next, Ordering::SeqCst);
            if known.insert(closed.schema()) && !matches!(raw.publish(&schema.0, true, &schema.1), Ok(code::SUCCESS)) {
                return Ok(());
            }
            if raw.send(&publish(&topic::data(gateway), (next % 60_000 + 1) as u16, false, &data)).is_err() {
                return Ok(());
            }
            next += 1;
        }
        let Ok((_, message)) = raw.message() else { return Ok(()) };
        let through = Ack::decode(&message)?.seq;
        ensure!(through >= before, "{gateway}: {before} was acknowledged, and now only {through} is");
        last = last.max(through);
        acked.fetch_max(through, Ordering::SeqCst);
    }
    Ok(())
}

fn connected(gateway: &str, broker: SocketAddr) -> Result<Raw> {
    let mut raw = Raw::plain(broker)?.connected(Connect::as_id(&format!("pattoo-{gateway}")))?;
    ensure!(raw.subscribe(&topic::ack(gateway))? == code::GRANTED_1, "no acknowledgements for {gateway}");
    Ok(raw)
}

/// What many kills came to.
#[derive(Debug)]
pub struct Kills {
    /// Of these, kills before the server was ready.
    pub early: u64,
    /// Parts that were written, by their generations.
    pub generations: u64,
    /// From the start of the program to its ready file, in the middle, and at most.
    pub ready: (Duration, Duration),
    /// What the judge found.
    pub verdict: ServerVerdict,
}

/// Kills a server so many times at random moments while gateways send, then judges what it has.
///
/// # Errors
/// Something acknowledged is not there, or not once, or the server does not start.
pub fn kill(kills: u64, seed: u64, folder: &Path) -> Result<Kills> {
    let mut random = fastrand::Rng::with_seed(seed);
    let data = folder.join("data");
    let config = folder.join("server.yaml");
    let listen = "listen: 127.0.0.1:0";
    std::fs::write(
        &config,
        format!(
            "data: {}\nmemory: {MEMORY}\nretention: 99years\nhttp: {{ {listen} }}\nbroker: {{ {listen} }}\nagents: {{ {listen} }}\n",
            data.display()
        ),
    )?;
    let gateways = Gateways::start();
    let (mut early, mut times) = (0, Vec::new());
    for number in 0..kills {
        let ready = folder.join(format!("ready-{number}.json"));
        let mut command = Command::new(binary("pattoo-server")?);
        command.arg("run").arg("--config").arg(&config).arg("--ready-file").arg(&ready);
        let begun = Instant::now();
        let mut server = Program::start("server", &mut command)?;
        // Some die while they start, with what the one before left.
        let is_early = number > 0 && random.u8(..5) == 0;
        if is_early {
            early += 1;
            go_on(random.u64(1..400));
        } else {
            let bound = server.wait_ready(&ready)?;
            times.push(begun.elapsed());
            let before = gateways.acked();
            gateways.reach(Some(bound["mqtt"].as_str().context("no broker")?.parse()?));
            wait_for("an acknowledgement", crate::program::PATIENCE, || (gateways.acked() > before).then_some(()))
                .with_context(|| server.tail())?;
            go_on(random.u64(..1500));
        }
        let output = server.kill();
        gateways.reach(None);
        let wrong = output.iter().find(|line| line.contains("ERROR") || line.contains("BUG:"));
        ensure!(wrong.is_none(), "kill {number} of seed {seed}: {wrong:?}");
    }
    let book = gateways.stop()?;
    let generations = generations(&data.join("parts"))?;
    let verdict = book.judge(&data).with_context(|| format!("{kills} kills, seed {seed}"))?;
    times.sort_unstable();
    let middle = times.get(times.len() / 2).copied().unwrap_or_default();
    Ok(Kills { early, generations, ready: (middle, times.last().copied().unwrap_or_default()), verdict })
}

/// Lets everything run on: part of the scenario, not a wait for a condition.
fn go_on(ms: u64) {
    let _ = wait_for::<()>("the span to be over", Duration::from_millis(ms), || None);
}

/// The highest generation of a part: how many times a head was written.
fn generations(parts: &Path) -> Result<u64> {
    let mut highest = 0;
    for entry in std::fs::read_dir(parts)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let last = name.split_once("-g").and_then(|(_, rest)| rest.split_once("-r")?.0.rsplit_once('-')?.1.parse().ok());
        highest = highest.max(last.unwrap_or(0));
    }
    Ok(highest)
}
