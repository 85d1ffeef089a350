//! Runs the daemon: the only place that spawns, and the only one that names a backend.
//!
//! One task owns each connection of a link, one joins readings into batches, one thread owns the buffer, one task owns the uplink. Between
//! them are bounded channels: a slow disk holds up polling rather than filling the memory.

mod batcher;
mod clerk;
mod control;
mod keeper;
mod orders;
mod window;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use pattoo_wire::{Outcome as Ending, Reason, Sample};
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinHandle, JoinSet};
use tracing::{error, info, warn};

use self::batcher::Batcher;
use self::clerk::Clerk;
use self::orders::{Order, Orders};
use crate::batch::Builder;
use crate::buffer::{self, Limits, worker};
use crate::clock::{boot_ms, now_ms};
use crate::command::Written;
use crate::config::{Config, Device, Link, Loaded, MAX_LINKS};
use crate::driver::{self, Driver};
use crate::health::{Health, Verdict, Waiting};
use crate::link_log::LinkLog;
use crate::reading::{PointIndex, Reading, Transaction};
use crate::schedule::{self, Due, Next, Outcome, Schedule};
use crate::timebase;
use crate::uplink::mqtt::{self, Client};

/// Transactions between the links and the batcher.
const MAX_QUEUED_TRANSACTIONS: usize = 256;
/// How long what fills the buffer may take to stop, and then the uplink, before either is ended; nothing buffered is lost by that.
const STOP_WITHIN: Duration = Duration::from_secs(5);
/// Enough for the most links, the buffer and the uplink.
const OPEN_FILES: u64 = MAX_LINKS as u64 + 64;

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
    let mut desks = Vec::new();
    let log = |link: &Link| (link.name.clone(), Arc::new(LinkLog::new(&link.name, link.log)));
    let logs: Arc<control::Logs> = Arc::new(config.links.iter().map(log).collect());
    for link in config.links.iter().flat_map(Link::parts) {
        let (order, orders) = Orders::open(answers_in.clone());
        desks.push((link.devices.clone(), order));
        let recalled = link.devices.iter().filter_map(|index| {
            let lessons = book.find(config.devices.get(index.0)?, &link.name, &link.transport)?;
            Some((*index, lessons.clone()))
        });
        let beside = Beside { log: logs.get(&link.name).cloned(), recalled: recalled.collect(), news: Some(news_in.clone()) };
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

/// Polls the devices of one link, each when it is due, until told to stop.
pub async fn poll(
    link: Link,
    config: Arc<Config>,
    readings: mpsc::Sender<Transaction>,
    health: watch::Sender<Health>,
    stop: watch::Receiver<bool>,
) {
    serve(link, config, Orders::none(), Beside::default(), readings, health, stop).await;
}

/// What a link has beside its devices.
#[derive(Default)]
struct Beside {
    /// Who is told what goes over it, when somebody asks.
    log: Option<Arc<LinkLog>>,
    /// What was learned of its devices in an earlier run.
    recalled: Vec<keeper::News>,
    /// Where news of that go.
    news: Option<mpsc::Sender<keeper::News>>,
}

/// Polls the devices of one link until told to stop, and writes what is ordered.
async fn serve(
    link: Link,
    config: Arc<Config>,
    mut orders: Orders,
    beside: Beside,
    readings: mpsc::Sender<Transaction>,
    health: watch::Sender<Health>,
    stop: watch::Receiver<bool>,
) {
    take_turns(link, config, &mut orders, beside, readings, health, stop).await;
    orders.close().await;
}

/// Writes go before reads.
async fn take_turns(
    link: Link,
    config: Arc<Config>,
    orders: &mut Orders,
    beside: Beside,
    readings: mpsc::Sender<Transaction>,
    health: watch::Sender<Health>,
    mut stop: watch::Receiver<bool>,
) {
    let devices = link.devices.iter().filter_map(|index| Some((*index, config.devices.get(index.0)?)));
    let own = config.links.iter().position(|other| other.name == link.name).unwrap_or_default();
    let start = Instant::now() + schedule::link_phase(own, config.links.len());
    let mut schedule = Schedule::new(schedule::entries(devices), start, seed());
    let Beside { log, recalled, news } = beside;
    let mut driver = driver::open(&link.transport, driver::boot_clock(), log.clone().map(|log| log as _));
    driver.hurry_when(orders.bell());
    recalled.iter().for_each(|(index, lessons)| driver.recall(*index, lessons));
    loop {
        let next = match orders.next() {
            Some(order) => Turn::Write(order),
            None => match schedule.next(Instant::now()) {
                Next::Due(due) => Turn::Read(due),
                Next::Wait(until) => tokio::select! {
                    () = tokio::time::sleep_until(until.into()) => continue,
                    order = orders.wait() => Turn::Write(order),
                    _ = stop.wait_for(|stop| *stop) => return,
                },
            },
        };
        let due = match next {
            Turn::Read(due) => due,
            Turn::Write(order) => {
                // Never left half-way, not even at a stop: what was begun has an outcome.
                let read = obey(driver.as_mut(), &config, &mut schedule, orders, order).await;
                log.iter().for_each(|log| log.values(&config, read.as_slice()));
                if let Some(transaction) = read
                    && readings.send(transaction).await.is_err()
                {
                    return;
                }
                continue;
            }
        };
        let read = read(driver.as_mut(), &config, &mut schedule, orders, due, &mut stop).await;
        let Some((transactions, written)) = read else { return };
        if !due.backed_off {
            schedule.done(due.entry, Instant::now(), Outcome::of(&transactions));
        }
        if let Some(device) = config.devices.get(due.device.0) {
            note(&health, &link, device, &due, &transactions, driver.waiting(device));
        }
        if let (Some(news), Some(lessons)) = (&news, driver.learned(due.device)) {
            // Without its keeper nothing is kept, and polling goes on.
            let _ = news.send((due.device, lessons)).await;
        }
        let mut all = [transactions, written].concat();
        // A point that is read after it was written has the later time.
        all.sort_by_key(|transaction| transaction.at_ms);
        log.iter().for_each(|log| log.values(&config, &all));
        for transaction in all {
            if readings.send(transaction).await.is_err() {
                return;
            }
        }
    }
}

/// Reads what is due; gives it, and beside it what was read around the writes that came in between. None where it was told to stop.
async fn read(
    driver: &mut dyn Driver,
    config: &Config,
    schedule: &mut Schedule,
    orders: &mut Orders,
    due: Due,
    stop: &mut watch::Receiver<bool>,
) -> Option<(Vec<Transaction>, Vec<Transaction>)> {
    let (mut transactions, mut written) = (Vec::new(), Vec::new());
    let mut left = schedule.points(due.entry).to_vec();
    loop {
        transactions.extend(tokio::select! {
            read = ask(driver, config, due, &left) => read,
            _ = stop.wait_for(|stop| *stop) => return None,
        });
        left = driver.left();
        if left.is_empty() {
            return Some((transactions, written));
        }
        // A read that is not over has made room for a write.
        if let Some(order) = orders.next() {
            written.extend(obey(driver, config, schedule, orders, order).await);
        }
    }
}

/// Whose turn it is on a link.
enum Turn {
    Write(Box<Order>),
    Read(Due),
}

/// Writes what is ordered, unless it is too late or the device is left alone, and answers. Gives what was read last.
async fn obey(
    driver: &mut dyn Driver,
    config: &Config,
    schedule: &mut Schedule,
    orders: &Orders,
    order: Box<Order>,
) -> Option<Transaction> {
    let Order { ticket, device: index, write, until_ms } = *order;
    let written = match config.devices.get(index.0) {
        None => Written::not(Ending::UnknownDevice, "BUG: an order for a device that is not there"),
        Some(_) if boot_ms() >= until_ms => Written::not(Ending::Expired, "it had to wait for its link until it expired"),
        // Each try of a dead device would cost its neighbours a timeout.
        Some(_) if schedule.backs_off(index, Instant::now()) => {
            Written::not(Ending::Unreadable, "the device did not answer a moment ago and is left alone for now")
        }
        Some(device) => {
            let written = driver.write(index, device, &write).await;
            if !written.transactions.is_empty() {
                schedule.heard(index, Instant::now(), Outcome::of(&written.transactions));
            }
            written
        }
    };
    // One reading: two might have the same time.
    let last = written.transactions.last().cloned();
    orders.answer(ticket, written).await;
    last
}

/// Asks the device, or says for it that it is left alone for now.
async fn ask(driver: &mut dyn Driver, config: &Config, due: Due, points: &[PointIndex]) -> Vec<Transaction> {
    let Some(device) = config.devices.get(due.device.0) else { return Vec::new() };
    if !due.backed_off {
        return driver.read(due.device, device, points).await;
    }
    let series = driver.series(due.device, device, points).into_iter();
    let readings = series.map(|(point, row)| Reading { point, row, sample: Sample::Bad(Reason::BackedOff) }).collect();
    vec![Transaction { device: due.device, at_ms: boot_ms(), readings }]
}

/// Notes how a poll went, and says so where its device is another than before.
fn note(health: &watch::Sender<Health>, link: &Link, device: &Device, due: &Due, transactions: &[Transaction], waiting: Waiting) {
    let Some(verdict) = Verdict::of(transactions) else { return };
    let mut changed = None;
    health.send_modify(|health| changed = health.polled(&link.name, &device.name, due, verdict, waiting));
    match changed {
        Some(Verdict { quality, reason: Some(reason) }) => warn!(device = device.name, %quality, %reason, "device"),
        Some(Verdict { quality, reason: None }) => info!(device = device.name, %quality, "device"),
        None => {}
    }
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
