//! The real server is killed at random moments while gateways send and parts are written and merged: nothing acknowledged is lost, nothing is
//! there twice. `PATTOO_TEST_ROUNDS` says how many kills in place of a few; what 200 came to is in `tests/bench/store-kills.md`.

use std::time::Instant;

use anyhow::{Result, ensure};
use pattoo_tests::disk;
use pattoo_tests::kills::{Kills, kill};

/// Kills of a usual run.
const KILLS: u64 = 6;

#[test]
fn kills_at_random_moments_cost_nothing_that_was_acknowledged() -> Result<()> {
    let seed = disk::seed("store_kills")?;
    let kills = disk::rounds()?.unwrap_or(KILLS);
    let (place, begun) = (tempfile::tempdir()?, Instant::now());
    let Kills { early, generations, ready, verdict } = kill(kills, seed, place.path())?;
    eprintln!(
        "{kills} kills, {early} of them while it started; {} batches acknowledged, {} readings there, each once; heads written {generations} \
         times; ready after {:?}, at most {:?}; {:.0} s",
        verdict.acked,
        verdict.readings,
        ready.0,
        ready.1,
        begun.elapsed().as_secs_f64()
    );
    ensure!(verdict.acked > 0 && generations > kills, "too little happened: {generations} parts");
    Ok(())
}
