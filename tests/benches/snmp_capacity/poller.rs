//! The polling side by itself, as a process of its own: readings are counted and dropped.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, anyhow, ensure};
use pattoo_gateway::config::{self, Config};
use pattoo_gateway::health::Health;
use pattoo_gateway::reading::Transaction;
use pattoo_gateway::run;
use pattoo_tests::usage;
use pattoo_wire::{LateStatus, Quality};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout_at};

use super::Figures;

/// Transactions on their way, as in the daemon.
const QUEUED: usize = 256;

/// How the names of silent agents begin.
pub(crate) const SILENT: &str = "silent";

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
        count(&config, &mut readings, begin + warm_up).await?;
        let before = usage::cpu_s(std::process::id())?;
        let (good, bad) = count(&config, &mut readings, begin + warm_up + span).await?;
        let cpu_s = usage::cpu_s(std::process::id())? - before;
        let resident = usage::resident_bytes(std::process::id())?;
        let devices = health.borrow().devices();
        let alive = || devices.iter().filter(|(name, _)| !name.starts_with(SILENT)).map(|(_, status)| status);
        let mut late: Vec<LateStatus> = alive().filter_map(|status| status.late).collect();
        ensure!(!late.is_empty(), "no agent was polled");
        // Of each agent its own quantile; of these the same one.
        let mut of = |per_cent: usize, quantile: fn(&LateStatus) -> u64| {
            late.sort_by_key(quantile);
            late.get((late.len() * per_cent / 100).min(late.len() - 1)).map(quantile).unwrap_or_default()
        };
        let (late_p50_ms, late_p95_ms, late_p99_ms) = (of(50, |late| late.p50_ms), of(95, |late| late.p95_ms), of(99, |late| late.p99_ms));
        let skipped = alive().map(|status| status.skipped).sum();
        Ok(Figures { good, bad, cpu_s, resident, late_p50_ms, late_p95_ms, late_p99_ms, skipped })
    })
}

/// Good readings until then, and bad ones of agents that answer.
async fn count(config: &Config, readings: &mut mpsc::Receiver<Transaction>, until: Instant) -> Result<(u64, u64)> {
    let (mut good, mut bad) = (0, 0);
    while let Ok(Some(transaction)) = timeout_at(until, readings.recv()).await {
        let device = config.devices.get(transaction.device.0).ok_or_else(|| anyhow!("no such device"))?;
        let own = transaction.readings.iter().filter(|reading| reading.sample.quality() == Quality::Good).count() as u64;
        good += own;
        if !device.name.starts_with(SILENT) {
            bad += transaction.readings.len() as u64 - own;
        }
    }
    Ok((good, bad))
}
