//! Runs the daemon: the only place that spawns, and the only one that names a backend.
//!
//! One task owns each connection of a link, one joins readings into batches, one thread owns the buffer, one task owns the uplink. Between
//! them are bounded channels: a slow disk holds up polling rather than filling the memory.

mod batcher;
mod clerk;
mod control;
mod keeper;
mod orders;
mod turns;
mod window;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinHandle, JoinSet};
use tracing::{error, info, warn};

use self::batcher::Batcher;
use self::clerk::Clerk;
use self::orders::Orders;
use self::turns::{Beside, Desks, serve};
use crate::batch::Builder;
use crate::buffer::{self, Limits, worker};
use crate::clock::{boot_ms, now_ms};
use crate::config::{Link, Loaded, MAX_LINKS};
use crate::driver::Common;
use crate::health::Health;
use crate::link_log::LinkLog;
use crate::timebase;
use crate::uplink::mqtt::{self, Client};

pub use self::turns::poll;

/// Transactions between the links and the batcher.
const MAX_QUEUED_TRANSACTIONS: usize = 256;
/// How long what fills the buffer may take to stop, and then the uplink, before either is ended; nothing buffered is lost by that.
const STOP_WITHIN: Duration = Duration::from_secs(5);
/// Enough for the most links, of which one to a program has two pipes and a handle, for clients of a socket, the buffer and the uplink.
const OPEN_FILES: u64 = 3 * MAX_LINKS as u64 + 256;

/// Runs until `stop` turns true, then stops in reverse order of start.
///
/// # Errors
/// The buffer can neither be opened nor begun anew.
pub async fn run(loaded: Loaded, ready_file: Option<&Path>, mut stop: watch::Receiver<bool>) -> Result<()> {
    let Loaded { config, problems, .. } = loaded;
    for problem in &problems {
        error!(%problem, "left out of the configuration");
    }
    let config = Arc::new(config);
    info!(gateway = %config.gateway, devices = config.devices.len(), links = config.links.len(), "starting");
    raise_open_files();

    let (buffer, notices) = buffer::open(&config.buffer.path, Limits::from(&config.buffer), now_ms())
        .with_context(|| format!("buffer {}", config.buffer.path.display()))?;
    for notice in notices {
        warn!("{notice}");
    }
    let (handle, requests) = worker::channel(buffer.stats());
    let buffer_thread = std::thread::Builder::new().name("buffer".into()).spawn(move || worker::serve(buffer, requests))?;

    let (health_in, health) = watch::channel(Health::default());
    let (uplink_stop_in, uplink_stop) = watch::channel(false);
    let client = Client::new(&config).context("uplink")?;
    let (heard_in, heard) = watch::channel(None);
    let (time_in, time) = watch::channel(timebase::State::default());
    let time = mqtt::Time { heard: heard_in, state: time };
    let (window, counter) = config.commands.enabled.then(|| mqtt::window(boot_ms())).unzip();
    let uplink = tokio::spawn(client.run(handle.clone(), health, time, window, uplink_stop));

    let (readings_in, readings) = mpsc::channel(MAX_QUEUED_TRANSACTIONS);
    let builder = Builder::new(&config).context("the devices and their labels do not fit one schema: shorten the labels")?;
    let time = time_in.subscribe();
    let batcher = tokio::spawn(Batcher::new(builder, &config, handle.clone(), time_in).run(readings, heard));
    let book = keeper::read(&keeper::path(&config));
    let (news_in, news) = keeper::news();
    let mut links = JoinSet::new();
    let (answers_in, answers) = mpsc::channel(clerk::MAX_ANSWERS);
    let log = |link: &Link| (link.name.clone(), Arc::new(LinkLog::new(&link.name, link.log)));
    let logs: Arc<control::Logs> = Arc::new(config.links.iter().map(log).collect());
    let parts = config.links.iter().flat_map(|link| {
        let common = Common::of(&link.transport);
        link.parts().into_iter().map(move |part| (part, common.clone()))
    });
    let open = |(link, common): (Link, Common)| {
        let (order, orders) = Orders::open(answers_in.clone());
        ((link.devices.clone(), order), (link, common, orders))
    };
    let (desks, parts): (Vec<_>, Vec<_>) = parts.map(open).unzip();
    let desks = Arc::new(Desks::new(desks));
    for (link, common, orders) in parts {
        let recalled = link.devices.iter().filter_map(|index| {
            let lessons = book.find(config.devices.get(index.0)?, &link.name, &link.transport)?;
            Some((*index, lessons.clone()))
        });
        let log = logs.get(&link.name).cloned();
        let beside = Beside { log, common, recalled: recalled.collect(), news: Some(news_in.clone()), desks: Arc::clone(&desks) };
        links.spawn(serve(link, Arc::clone(&config), orders, beside, readings_in.clone(), health_in.clone(), stop.clone()));
    }
    if let Some(listener) = control::listen(&config.buffer.path) {
        links.spawn(control::serve(listener, config.buffer.path.clone(), logs, stop.clone()));
    }
    links.spawn(keeper::keep(book, Arc::clone(&config), news));
    if let Some(counter) = counter {
        links.spawn(Clerk::new(Arc::clone(&config), desks, time, counter).run(answers, stop.clone()));
    }
    drop((readings_in, health_in, answers_in, news_in));

    if let Some(file) = ready_file {
        std::fs::write(file, serde_json::json!({ "gateway": config.gateway }).to_string())
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    info!(gateway = %config.gateway, "running");
    // An error means that the sender is gone: the same as being told to stop.
    let _ = stop.wait_for(|stop| *stop).await;

    info!("stopping");
    wind_up(links, batcher, uplink_stop_in, uplink, STOP_WITHIN).await;
    drop(handle);
    let _ = tokio::task::spawn_blocking(move || buffer_thread.join()).await;
    info!("stopped");
    Ok(())
}

/// Waits for the tasks in reverse order of start. Whoever takes too long is ended: it holds the buffer, which could never close.
async fn wind_up(
    mut links: JoinSet<()>,
    batcher: JoinHandle<()>,
    stop_uplink: watch::Sender<bool>,
    uplink: JoinHandle<()>,
    within: Duration,
) {
    let rest = [batcher.abort_handle(), uplink.abort_handle()];
    let stored = tokio::time::timeout(within, async {
        while links.join_next().await.is_some() {}
        let _ = batcher.await;
    });
    let stored = stored.await.is_ok();
    let _ = stop_uplink.send(true);
    let told = tokio::time::timeout(within, uplink).await.is_ok();
    if !stored || !told {
        warn!("not everything stopped within {within:?}; what is buffered stays so");
    }
    links.abort_all();
    rest.iter().for_each(AbortHandle::abort);
}

/// Runs something beside everything else, until it ends by itself.
pub fn in_background(task: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(task);
}

/// As many open files as the system lets this process have: each link takes one, and most systems give 1024 unless asked for more.
pub fn raise_open_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let raised = setrlimit(Resource::Nofile, limit);
    if raised.is_err() || limit.current.is_some_and(|files| files < OPEN_FILES) {
        warn!("this process may have {:?} open files, {OPEN_FILES} let it open all the links that it takes", limit.current);
    }
}

/// Sets the jitter of back-offs, so that gateways that lost the same switch do not come back in step.
fn seed() -> u64 {
    getrandom::u64().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    /// A disk that takes its time once kept the uplink running, which held the buffer, which was waited for in vain.
    #[tokio::test(start_paused = true)]
    async fn what_does_not_stop_is_ended_and_lets_go_of_the_buffer() {
        for (batcher_hangs, uplink_hangs) in [(false, false), (true, false), (false, true), (true, true)] {
            let buffer = Arc::new(());
            let hang = |hangs: bool, stop: Option<watch::Receiver<bool>>| {
                let buffer = Arc::clone(&buffer);
                async move {
                    if hangs {
                        std::future::pending::<()>().await;
                    }
                    if let Some(mut stop) = stop {
                        let _ = stop.wait_for(|stop| *stop).await;
                    }
                    drop(buffer);
                }
            };
            let (stop, stopped) = watch::channel(false);
            let mut links = JoinSet::new();
            links.spawn(hang(false, None));
            let (done, all_done) = oneshot::channel();
            let (batcher, uplink) = (tokio::spawn(hang(batcher_hangs, None)), tokio::spawn(hang(uplink_hangs, Some(stopped))));
            tokio::spawn(async move {
                wind_up(links, batcher, stop, uplink, STOP_WITHIN).await;
                let _ = done.send(());
            });
            tokio::time::timeout(3 * STOP_WITHIN, all_done).await.expect("it is bounded").unwrap();
            // Ended tasks go when the runtime has its turn.
            tokio::time::sleep(Duration::from_millis(1)).await;
            assert_eq!(Arc::strong_count(&buffer), 1, "{batcher_hangs} {uplink_hangs}");
        }
    }
}
