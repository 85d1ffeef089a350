//! `pattoo-server migrate`: brings history to where the configuration says that it is kept.

use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;

use super::{PlaceArgs, config};
use crate::store::shelf::DAY_MS;
use crate::store::victoria::{Round, Victoria};
use crate::{clock, run};

/// So many rounds without a day that goes, and it is given up: each is sent three times before it is kept here.
const MAX_IDLE_ROUNDS: u32 = 6;

#[derive(Args)]
pub(super) struct MigrateArgs {
    #[command(flatten)]
    place: PlaceArgs,
    /// Look each so many seconds whether what was sent can be relied on
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    settle: u64,
}

/// Moves all days that are to go; gives what to print. What was done before an interruption stays done.
pub(super) fn migrate(args: MigrateArgs) -> Result<String> {
    let config = config(args.place)?;
    let settle = Duration::from_secs(args.settle);
    let (store, keep) = run::open_victoria_alone(&config, settle)?;
    let keep_ms = i64::try_from(keep.as_millis()).unwrap_or(i64::MAX);
    let before_ms = clock::now_ms().saturating_sub(keep_ms).div_euclid(DAY_MS) * DAY_MS;
    let mut progress = std::io::stderr();
    let moved = move_all(&store, before_ms, settle, &mut progress);
    let (days, readings, kept) = moved.context("not all was moved; what was is, and the same command goes on from there")?;
    Ok(format!(
        "{days} days with {readings} readings are in VictoriaMetrics, each read back as it was; {kept} readings that it cannot keep, or that are \
         the newest of their series, are beside them in the data folder; the newest days stay here and are sent while the server runs\n"
    ))
}

fn move_all(store: &Victoria, before_ms: i64, settle: Duration, out: &mut dyn Write) -> Result<(u64, u64, u64)> {
    let (mut days, mut readings, mut kept, mut idle) = (0, 0, 0, 0);
    loop {
        let mut told = Round::default();
        let round = store.let_go(before_ms, &mut |now| {
            // Nobody to tell is no reason to stop.
            let _ = writeln!(
                out,
                "day {}: {} readings compared, {} sent, {} days done",
                day(now.day),
                now.compared,
                now.sent,
                days + now.released
            );
            told = *now;
        })?;
        days += round.released;
        kept += round.kept;
        // Those of days that wait are looked at again.
        readings += round.confirmed;
        if round.waiting == 0 {
            return Ok((days, readings, kept));
        }
        idle = if round.released > 0 { 0 } else { idle + 1 };
        if idle > MAX_IDLE_ROUNDS {
            bail!(
                "{} days wait though all of them was sent {MAX_IDLE_ROUNDS} times; day {} is the last of them",
                round.waiting,
                day(told.day)
            );
        }
        let _ = writeln!(out, "{} days were sent, or wait for earlier ones; looking again in {settle:?}", round.waiting);
        let begun = Instant::now();
        while let Some(left) = settle.checked_sub(begun.elapsed()).filter(|left| !left.is_zero()) {
            std::thread::park_timeout(left);
        }
    }
}

/// A day as people write it.
fn day(day: i64) -> String {
    let at = jiff::Timestamp::from_millisecond(day.saturating_mul(DAY_MS));
    at.map_or_else(|_| day.to_string(), |at| at.strftime("%F").to_string())
}
