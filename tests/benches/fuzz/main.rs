//! Damaged input for each decoder that sees the network: ten million times each, no panic, no hang, no growth.
//!
//! `cargo bench --workspace --bench fuzz > tests/bench/fuzz.md`. `PATTOO_FUZZ_RUNS` makes it shorter, `PATTOO_FUZZ_SEED` another one,
//! and a word of a decoder's name on the command line takes only those.
#![expect(clippy::print_stdout, reason = "its tables go to the terminal")]

mod mutate;
mod targets;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;
use fastrand::Rng;
use pattoo_tests::usage;

use self::targets::{TARGETS, Target};

const RUNS: u64 = 10_000_000;
const SEED: u64 = 20_261_130;
/// Longer than any decoding may take, even when the machine is busy elsewhere.
const HANG: Duration = Duration::from_secs(1);
/// More memory than one input may take: 64 kB of it is a buffer of the SNMP library.
const MOST_BYTES: u64 = 1 << 20;
/// The process may keep so much more than after its first tenth: noise of the allocator.
const GROWTH_BYTES: u64 = 4 << 20;

fn main() -> Result<ExitCode> {
    let number = |name: &str, usual: u64| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual);
    let (runs, seed) = (number("PATTOO_FUZZ_RUNS", RUNS), number("PATTOO_FUZZ_SEED", SEED));
    let wanted: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    println!("# Damaged input for each decoder that sees the network\n");
    println!("Made by `cargo bench --workspace --bench fuzz > tests/bench/fuzz.md`; seed {seed}.\n");
    println!(
        "Inputs are good messages with one to eight changes: bits, bytes, lengths, cuts, repeats, pieces of another message; one in a hundred is \
         noise. *Accepted* are inputs that the decoder took for a message. *Slowest* includes what else the machine did. *Most memory* is what \
         one input allocated at one moment; *growth* is what the process held at the end beyond what it held after a tenth.\n"
    );
    println!("| decoder | inputs | accepted | panics | slowest | mean | most memory | growth |\n|---|---|---|---|---|---|---|---|");
    // What is caught would fill the terminal.
    std::panic::set_hook(Box::new(|_| {}));
    let mut good = true;
    for target in TARGETS.iter().filter(|target| wanted.is_empty() || wanted.iter().any(|word| target.name.contains(word.as_str()))) {
        good &= fuzz(target, runs, seed)?;
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn fuzz(target: &Target, runs: u64, seed: u64) -> Result<bool> {
    let messages = (target.good)();
    let mut random = Rng::with_seed(seed);
    let mut decode = (target.decoder)();
    let (mut accepted, mut panics, mut slowest, mut most, mut early) = (0u64, 0u64, Duration::ZERO, 0, 0);
    let begin = Instant::now();
    for run in 0..runs {
        let bytes = mutate::input(&messages, &mut random);
        let start = Instant::now();
        let mut outcome = None;
        let used = allocation_counter::measure(|| outcome = Some(catch_unwind(AssertUnwindSafe(|| decode(&bytes)))));
        match outcome {
            Some(Ok(took)) => accepted += u64::from(took),
            _ => {
                panics += 1;
                eprintln!("{}: panic on {bytes:02x?}", target.name);
            }
        }
        let took = start.elapsed();
        if took > slowest {
            slowest = took;
        }
        if took >= HANG {
            eprintln!("{}: {took:?} for {bytes:02x?}", target.name);
        }
        most = most.max(used.bytes_max);
        if run == runs / 10 {
            early = usage::resident_bytes(std::process::id())?;
        }
    }
    let mean = begin.elapsed().div_f64(runs.max(1) as f64);
    let growth = usage::resident_bytes(std::process::id())?.saturating_sub(early);
    println!(
        "| {} | {runs} | {:.2} % | {panics} | {:.1} ms | {:.1} µs | {:.1} kB | {:.1} MB |",
        target.name,
        100.0 * accepted as f64 / runs.max(1) as f64,
        slowest.as_secs_f64() * 1e3,
        mean.as_secs_f64() * 1e6,
        most as f64 / 1e3,
        growth as f64 / 1e6,
    );
    Ok(panics == 0 && slowest < HANG && most <= MOST_BYTES && growth <= GROWTH_BYTES)
}
