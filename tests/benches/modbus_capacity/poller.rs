//! The polling side by itself, as a process of its own: schedule, drivers and decoder of the gateway; readings are counted and dropped.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, anyhow, ensure};
use pattoo_gateway::config;
use pattoo_gateway::health::Health;
use pattoo_gateway::reading::Transaction;
use pattoo_gateway::run;
use pattoo_wire::{LateStatus, Quality};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout_at};

use super::Figures;
use pattoo_tests::usage;

/// Transactions on their way, as in the daemon.
const QUEUED: usize = 256;

/// Polls what this configuration says; measures after some time, for some time.
pub(crate) fn poll(config: &Path, warm_up: Duration, span: Duration) -> Result<Figures> {
    let profiles = [config.with_file_name(super::PROFILES)];
    let loaded = config::load(config, &profiles, &|_| None).map_err(|problems| anyhow!("{problems:?}"))?;
    ensure!(loaded.problems.is_empty(), "{:?}", loaded.problems);
    run::raise_open_files();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let config = Arc::new(loaded.config);
        let (readings_in, mut readings) = mpsc::channel(QUEUED);
        let (health_in, health) = watch::channel(Health::default());
        let (_stop_in, stop) = watch::channel(false);
        for link in config.links.clone() {
            tokio::spawn(run::poll(link, Arc::clone(&config), readings_in.clone(), health_in.clone(), stop.clone()));
        }
        let begin = Instant::now();
        count(&mut readings, begin + warm_up).await?;
        let before = usage::cpu_s(std::process::id())?;
        let values = count(&mut readings, begin + warm_up + span).await?;
        let cpu_s = usage::cpu_s(std::process::id())? - before;
        let resident = usage::resident_bytes(std::process::id())?;
        // What a poll at the start had to wait for its connection is in these too.
        let late: Vec<_> = health.borrow().links().values().filter_map(|link| link.late).collect();
        let of = |quantile: fn(&LateStatus) -> u64| late.iter().map(quantile).max().map(|ms| ms as f64);
        Ok(Figures { values, cpu_s, resident, late_p95_ms: of(|late| late.p95_ms), late_p99_ms: of(|late| late.p99_ms) })
    })
}

/// Values until then. All must be good: a failing device is cheap.
async fn count(readings: &mut mpsc::Receiver<Transaction>, until: Instant) -> Result<u64> {
    let mut values = 0;
    while let Ok(Some(transaction)) = timeout_at(until, readings.recv()).await {
        let good = transaction.readings.iter().filter(|reading| reading.sample.quality() == Quality::Good).count();
        ensure!(good == transaction.readings.len(), "{transaction:?}");
        values += good as u64;
    }
    Ok(values)
}
