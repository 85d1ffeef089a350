//! Many seeds of the simulation, and what happened in them.
//!
//! `cargo bench -p pattoo-tests --bench simulation > tests/bench/simulation.md`; `PATTOO_SIM_SEEDS` says how many, 10000 if not given.
#![expect(clippy::print_stdout, reason = "prints its table")]

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::{Result, ensure};
use pattoo_tests::sim::{self, Outcome};

const SEEDS: u64 = 10_000;
const DAY_MS: f64 = 86_400_000.0;

fn main() -> Result<()> {
    let seeds = std::env::var("PATTOO_SIM_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(SEEDS);
    let start = Instant::now();
    let (mut total, mut failed) = (Total::default(), Vec::new());
    let mut ended = 0;
    sim::run_all(0..seeds, |_, outcome| {
        match outcome {
            Ok(outcome) => total.add(&outcome),
            Err(failure) => {
                // At once: the rest takes its time.
                eprintln!("{failure}");
                failed.push(failure);
            }
        }
        ended += 1;
        if ended % 500 == 0 {
            eprintln!("{ended} of {seeds} seeds, {} failed", failed.len());
        }
    });
    print(&total, seeds, failed.len(), start.elapsed().as_secs_f64());
    ensure!(failed.is_empty(), "failed:\n{}", failed.join("\n"));
    Ok(())
}

#[derive(Default)]
struct Total {
    events: u64,
    simulated_ms: i64,
    slowest_drain_ms: i64,
    buffered: u64,
    stored: u64,
    in_gaps: u64,
    thinned: u64,
    replays: u64,
    faults: BTreeMap<&'static str, u64>,
}

impl Total {
    fn add(&mut self, outcome: &Outcome) {
        self.events += outcome.events;
        self.simulated_ms += outcome.simulated_ms;
        self.slowest_drain_ms = self.slowest_drain_ms.max(outcome.drained_ms);
        self.buffered += outcome.tally.buffered;
        self.stored += outcome.tally.stored;
        self.in_gaps += outcome.tally.in_gaps;
        self.thinned += outcome.tally.thinned;
        self.replays += outcome.replays;
        for (kind, count) in &outcome.faults {
            *self.faults.entry(kind).or_default() += count;
        }
    }
}

fn print(total: &Total, seeds: u64, failed: usize, seconds: f64) {
    println!("# Simulation of gateways, links, broker and server\n");
    println!("Made by `cargo bench -p pattoo-tests --bench simulation > tests/bench/simulation.md`, seeds 0 to {}.\n", seeds - 1);
    println!(
        "One thread for each seed, fake time, the real cores of gateway and server; see `tests/src/sim.rs` for what is real and what is simulated.
A seed fails if a reading that a buffer took is neither in the store with the same content nor within a gap record that arrived, if
a reading is stored twice or was never made, if a batch is released that the server does not have, if a gap record says a wrong
number, or if it does not drain once all is healed. `PATTOO_TEST_SEED=7 cargo test -p pattoo-tests --test simulation -- --nocapture`
replays one.\n"
    );
    println!("| what | measured |\n|---|---|");
    println!("| seeds | {seeds} |");
    println!("| of these failed | {failed} |");
    println!("| events | {} |", total.events);
    println!("| simulated days | {:.0} |", total.simulated_ms as f64 / DAY_MS);
    println!("| readings that a buffer took | {} |", total.buffered);
    println!("| of these in the store, each once | {} |", total.stored);
    println!("| of these only in gap records | {} |", total.in_gaps);
    println!("| of these thinned out before anything was dropped | {} |", total.thinned);
    println!("| lost without a record | {} |", total.buffered - total.stored - total.in_gaps);
    println!("| batches that came again and changed nothing | {} |", total.replays);
    println!("| longest time to drain once all is healed | {:.0} s |", total.slowest_drain_ms as f64 / 1000.0);
    println!("| took | {seconds:.0} s |\n");
    println!("| fault | struck |\n|---|---|");
    for (kind, count) in &total.faults {
        println!("| {kind} | {count} |");
    }
    println!("| all | {} |", total.faults.values().sum::<u64>());
}
