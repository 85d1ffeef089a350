//! Seeds of the simulation: nothing is lost, nothing comes twice, and it ends, whatever fails in between.
//!
//! `PATTOO_TEST_SEED=7 cargo test -p pattoo-tests --test simulation -- --nocapture` runs one seed and shows what happens in it.

use anyhow::{Result, ensure};
use pattoo_tests::sim;

/// The benchmark runs many more.
const SEEDS: u64 = 100;

#[test]
fn every_seed_ends_with_all_that_was_buffered_in_the_store_or_on_record() -> Result<()> {
    if let Some(seed) = std::env::var("PATTOO_TEST_SEED").ok().and_then(|seed| seed.parse().ok()) {
        let outcome = sim::run(seed, Some(&mut |line| println!("{line}")))?;
        println!("{outcome:#?}");
        return Ok(());
    }
    let mut failed = Vec::new();
    sim::run_all(0..SEEDS, |_, outcome| failed.extend(outcome.err()));
    ensure!(failed.is_empty(), "{} of {SEEDS} seeds failed; replay one with PATTOO_TEST_SEED:\n{}", failed.len(), failed.join("\n"));
    Ok(())
}

#[test]
fn a_seed_is_the_same_every_time() -> Result<()> {
    for seed in 0..5 {
        ensure!(sim::run(seed, None)? == sim::run(seed, None)?, "seed {seed} came out differently");
    }
    Ok(())
}
