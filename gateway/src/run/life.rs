//! The parts that one configuration needs, from their start to their end, around a buffer that outlives them. Shell.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinHandle, JoinSet};
use tracing::{error, info, warn};

use super::MAX_QUEUED_TRANSACTIONS;
use super::batcher::Batcher;
use super::clerk::{self, Clerk};
use super::lookout::Lookout;
use super::orders::{Answer, Orders};
use super::reload::{Parts, Reload, judge};
use super::turns::{Beside, Desks, serve};
use super::watchdog::{self, LONGEST_TURN, TICKING};
use super::{control, keeper};
use crate::buffer::worker::Handle;
use crate::clock::boot_ms;
use crate::config::{Config, Link};
use crate::driver::Common;
use crate::health::Health;
use crate::journal;
use crate::link_log::LinkLog;
use crate::pulse::Pulses;
use crate::reading::Transaction;
use crate::service;
use crate::timebase;
use crate::uplink::mqtt;
use crate::yaml::Problem;

/// How long what fills the buffer may take to stop, and then the uplink, before either is ended; nothing buffered is lost by that.
const STOP_WITHIN: Duration = Duration::from_secs(5);

/// Why a life ended.
pub(super) enum End {
    /// The daemon stops.
    Stop,
    /// Another configuration takes over.
    Next(Box<Parts>),
}

/// Starts the parts, waits until told to stop or to make room for others, and stops them in reverse order.
pub(super) async fn live(
    parts: Parts,
    buffer: &Handle,
    reload: &mut Reload,
    ready_file: Option<&Path>,
    mut stop: watch::Receiver<bool>,
) -> Result<End> {
    let Parts { config, problems, client, builder } = parts;
    journal::set_gateway(&config.gateway);
    for problem in &problems {
        error!(%problem, "left out of the configuration");
    }
    info!(gateway = %config.gateway, devices = config.devices.len(), links = config.links.len(), "starting");
    let (end_in, end) = watch::channel(false);
    let mut pulses = Pulses::new(Instant::now());

    let (health_in, health) = watch::channel(Health::default());
    let (uplink_stop_in, uplink_stop) = watch::channel(false);
    let (heard_in, heard) = watch::channel(None);
    let (time_in, time) = watch::channel(timebase::State::default());
    let (warnings_in, warnings) = watch::channel(Vec::new());
    let lookout = Lookout { buffer: buffer.clone(), time: time.clone(), ends: client.ends(), told: warnings_in };
    let (window, counter) = config.commands.enabled.then(|| mqtt::window(boot_ms())).unzip();
    let told = mqtt::Told { health, warnings: warnings.clone(), time: mqtt::Time { heard: heard_in, state: time.clone() } };
    let client = client.with_pulse(pulses.part("uplink", TICKING));
    let uplink = tokio::spawn(client.run(buffer.clone(), told, window, uplink_stop));

    let (readings_in, readings) = mpsc::channel(MAX_QUEUED_TRANSACTIONS);
    let batcher = Batcher::new(builder, &config, buffer.clone(), time_in).with_pulse(pulses.part("batches", TICKING));
    let batcher = tokio::spawn(batcher.run(readings, heard));

    let mut links = JoinSet::new();
    let (answers_in, answers) = mpsc::channel(clerk::MAX_ANSWERS);
    let Served { logs, desks } = serve_links(&mut links, &mut pulses, &config, answers_in, (readings_in, health_in), &end);
    if let Some(listener) = control::listen(&config.buffer.path) {
        let known = control::Known { logs, reloads: reload.asks.clone(), buffer: buffer.clone(), time: time.clone(), warnings };
        links.spawn(control::serve(listener, config.buffer.path.clone(), known, end.clone()));
    }
    if let Some(counter) = counter {
        links.spawn(Clerk::new(Arc::clone(&config), desks, time, counter).run(answers, end.clone()));
    }
    links.spawn(lookout.run(Arc::clone(&config), end));

    let status = ready(&config, &problems, ready_file)?;
    let fed = tokio::spawn(watchdog::tell_manager(status, pulses, buffer.clone()));
    let next = next(reload, &config, &problems, &mut stop).await;
    if matches!(next, End::Stop) {
        service::stopping().await;
    }
    info!("stopping");
    fed.abort();
    // The links may be gone already.
    let _ = end_in.send(true);
    wind_up(links, batcher, uplink_stop_in, uplink, STOP_WITHIN).await;
    Ok(next)
}

/// What others have to do with the links that are served.
struct Served {
    logs: Arc<control::Logs>,
    desks: Arc<Desks>,
}

/// Gives each connection of each link its task, and one to what all of them learn.
fn serve_links(
    links: &mut JoinSet<()>,
    pulses: &mut Pulses,
    config: &Arc<Config>,
    answers: mpsc::Sender<Answer>,
    (readings, health): (mpsc::Sender<Transaction>, watch::Sender<Health>),
    end: &watch::Receiver<bool>,
) -> Served {
    let book = keeper::read(&keeper::path(config));
    let (news_in, news) = keeper::news();
    let logs: control::Logs = config.links.iter().map(|link| (link.name.clone(), Arc::new(LinkLog::new(&link.name, link.log)))).collect();
    let open = |(link, common): (Link, Common)| {
        let (order, orders) = Orders::open(answers.clone());
        ((link.devices.clone(), order), (link, common, orders))
    };
    let (desks, parts): (Vec<_>, Vec<_>) = link_parts(config).into_iter().map(open).unzip();
    let desks = Arc::new(Desks::new(desks));
    for (link, common, orders) in parts {
        let recalled = link.devices.iter().filter_map(|index| {
            let lessons = book.find(config.devices.get(index.0)?, &link.name, &link.transport)?;
            Some((*index, lessons.clone()))
        });
        let (recalled, log, news) = (recalled.collect(), logs.get(&link.name).cloned(), Some(news_in.clone()));
        let pulse = pulses.part(format!("link {}", link.name), LONGEST_TURN);
        let beside = Beside { log, common, recalled, news, desks: Arc::clone(&desks), pulse };
        links.spawn(serve(link, Arc::clone(config), orders, beside, readings.clone(), health.clone(), end.clone()));
    }
    links.spawn(keeper::keep(book, Arc::clone(config), news));
    Served { logs: Arc::new(logs), desks }
}

/// What is served by a task of its own: each connection of each link.
fn link_parts(config: &Config) -> Vec<(Link, Common)> {
    let parts = config.links.iter().flat_map(|link| {
        let common = Common::of(&link.transport);
        link.parts().into_iter().map(move |part| (part, common.clone()))
    });
    parts.collect()
}

/// All is started: says so, and gives what the service manager is to be told.
fn ready(config: &Config, problems: &[Problem], ready_file: Option<&Path>) -> Result<String> {
    if let Some(file) = ready_file {
        std::fs::write(file, serde_json::json!({ "gateway": config.gateway }).to_string())
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    let left_out = match problems.len() {
        0 => String::new(),
        count => format!("; {count} problems in the configuration, see the log"),
    };
    info!(gateway = %config.gateway, "running");
    Ok(format!("{}: {} devices on {} links{left_out}", config.gateway, config.devices.len(), config.links.len()))
}

/// Waits for the stop, or for a configuration that is as good as the one that runs.
async fn next(reload: &mut Reload, config: &Arc<Config>, problems: &[Problem], stop: &mut watch::Receiver<bool>) -> End {
    loop {
        let request = tokio::select! {
            Some(request) = reload.requests.recv() => request,
            // An error means that the sender is gone: the same as being told to stop.
            _ = stop.wait_for(|stop| *stop) => return End::Stop,
        };
        let (source, now, running) = (reload.source.clone(), Arc::clone(config), problems.to_vec());
        let judged = tokio::task::spawn_blocking(move || judge(&source, &now, &running)).await;
        match judged.unwrap_or_else(|error| Err(format!("BUG: reading the configuration: {error}"))) {
            Ok(parts) => {
                service::reloading().await;
                let Config { devices, links, .. } = &*parts.config;
                let answer = format!("taken over: {} devices on {} links", devices.len(), links.len());
                info!("configuration {answer}");
                let _ = request.send(Ok(answer));
                return End::Next(Box::new(parts));
            }
            Err(why) => {
                error!(why, "the new configuration is not taken over, the old one goes on");
                let _ = request.send(Err(format!("{why}\nnot taken over; the daemon goes on as before")));
            }
        }
    }
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
