//! Seeds of the simulation: nothing is lost, nothing comes twice, and it ends, whatever fails in between.
//!
//! `PATTOO_TEST_SEED=7 cargo test -p pattoo-tests --test simulation -- --nocapture` runs one seed and shows what happens in it.

use anyhow::{Result, ensure};
use pattoo_tests::sim;

/// The benchmark runs many more, and so does this with `PATTOO_TEST_SEEDS=1000`.
const SEEDS: u64 = 100;

#[test]
fn every_seed_ends_with_all_that_was_buffered_in_the_store_or_on_record() -> Result<()> {
    if let Some(seed) = number("PATTOO_TEST_SEED") {
        let outcome = sim::run(seed, Some(&mut |line| println!("{line}")))?;
        println!("{outcome:#?}");
        return Ok(());
    }
    let seeds = number("PATTOO_TEST_SEEDS").unwrap_or(SEEDS);
    let (mut failed, mut thinned) = (Vec::new(), 0);
    sim::run_all(0..seeds, |_, outcome| match outcome {
        Ok(outcome) => thinned += outcome.tally.thinned,
        Err(failure) => failed.push(failure),
    });
    ensure!(failed.is_empty(), "{} of {seeds} seeds failed; replay one with PATTOO_TEST_SEED:\n{}", failed.len(), failed.join("\n"));
    ensure!(seeds < SEEDS || thinned > 0, "no buffer thinned anything out: the plans do not reach it");
    println!("{thinned} readings were thinned out");
    Ok(())
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().and_then(|text| text.parse().ok())
}

#[test]
fn a_seed_is_the_same_every_time() -> Result<()> {
    for seed in 0..5 {
        ensure!(sim::run(seed, None)? == sim::run(seed, None)?, "seed {seed} came out differently");
    }
    Ok(())
}
