//! Takes turns on one link: what is ordered, what is due, what comes by itself. Shell: clocks and channels.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use pattoo_wire::{Outcome as Ending, Reason, Sample};
use tokio::sync::{mpsc, watch};
use tracing::{info, warn};

use super::orders::{Order, Orders, WriteOrder};
use super::watchdog::LONGEST_TURN;
use super::{keeper, seed};
use crate::clock::boot_ms;
use crate::command::Written;
use crate::config::{Config, Device, Link};
use crate::driver::{self, Common, Driver, Heard};
use crate::health::{Health, Verdict, Waiting};
use crate::link_log::LinkLog;
use crate::pulse::Pulse;
use crate::reading::{DeviceIndex, PointIndex, Reading, Transaction};
use crate::schedule::{self, Due, Next, Outcome, Schedule};

/// Polls the devices of one link, each when it is due, until told to stop.
pub async fn poll(
    link: Link,
    config: Arc<Config>,
    readings: mpsc::Sender<Transaction>,
    health: watch::Sender<Health>,
    stop: watch::Receiver<bool>,
) {
    let beside = Beside { common: Common::of(&link.transport), ..Beside::default() };
    serve(link, config, Orders::none(), beside, readings, health, stop).await;
}

/// What a link has beside its devices.
#[derive(Default)]
pub(super) struct Beside {
    /// Who is told what goes over it, when somebody asks.
    pub(super) log: Option<Arc<LinkLog>>,
    /// What was learned of its devices in an earlier run.
    pub(super) recalled: Vec<keeper::News>,
    /// What it has together with the other parts of its link.
    pub(super) common: Common,
    /// Where news of that go.
    pub(super) news: Option<mpsc::Sender<keeper::News>>,
    /// Where orders for the devices of any link go.
    pub(super) desks: Arc<Desks>,
    /// Shows that it is at work.
    pub(super) pulse: Pulse,
}

/// Where orders for a device go.
#[derive(Default)]
pub(super) struct Desks(HashMap<DeviceIndex, mpsc::Sender<Box<Order>>>);

impl Desks {
    /// Of these devices there.
    pub(super) fn new(desks: Vec<(Vec<DeviceIndex>, mpsc::Sender<Box<Order>>)>) -> Self {
        Self(desks.into_iter().flat_map(|(devices, desk)| devices.into_iter().map(move |device| (device, desk.clone()))).collect())
    }

    /// Where orders for this device go.
    pub(super) fn of(&self, device: DeviceIndex) -> Option<&mpsc::Sender<Box<Order>>> {
        self.0.get(&device)
    }

    /// Has these points read out of turn. A link that has more orders than it has room for reads them in its turn.
    fn hasten(&self, device: DeviceIndex, points: Vec<PointIndex>) {
        if let Some(desk) = self.of(device) {
            let _ = desk.try_send(Box::new(Order::Read { device, points }));
        }
    }
}

/// Polls the devices of one link until told to stop, and writes what is ordered.
pub(super) async fn serve(
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
    let polled = if link.transport.is_heard() { &[] } else { link.devices.as_slice() };
    let devices = polled.iter().filter_map(|index| Some((*index, config.devices.get(index.0)?)));
    let own = config.links.iter().position(|other| other.name == link.name).unwrap_or_default();
    let start = Instant::now() + schedule::link_phase(own, config.links.len());
    let mut schedule = Schedule::new(schedule::entries(devices), start, seed());
    let Beside { log, recalled, common, news, desks, pulse } = beside;
    let mut driver = driver::open_part(&link.transport, &common, driver::boot_clock(), log.clone().map(|log| log as _));
    driver.hurry_when(orders.bell());
    recalled.iter().for_each(|(index, lessons)| driver.recall(*index, lessons));
    loop {
        pulse.back_by(Instant::now() + LONGEST_TURN);
        let next = match orders.next() {
            Some(order) => Turn::Order(order),
            None => match (heard_meanwhile(driver.as_mut(), &config).await, schedule.next(Instant::now())) {
                (Some(heard), _) => Turn::Heard(heard),
                (None, Next::Due(due)) => Turn::Read(due),
                (None, Next::Wait(until)) => tokio::select! {
                    () = wait(until, &pulse) => continue,
                    order = orders.wait() => Turn::Order(order),
                    heard = driver.hear(&config) => Turn::Heard(heard),
                    _ = stop.wait_for(|stop| *stop) => return,
                },
            },
        };
        let due = match next {
            Turn::Read(due) => due,
            Turn::Heard(Heard { transactions, hasten }) => {
                hasten.into_iter().for_each(|(device, points)| desks.hasten(device, points));
                if transactions.is_empty() {
                    note_misses(&health, &config, driver.as_ref(), &link.devices);
                }
                note_heard(&health, &config, &link, driver.as_ref(), &transactions);
                log.iter().for_each(|log| log.values(&config, &transactions));
                for transaction in transactions {
                    if readings.send(transaction).await.is_err() {
                        return;
                    }
                }
                continue;
            }
            Turn::Order(order) => {
                // Never left half-way, not even at a stop: what was begun has an outcome.
                let read = obey(driver.as_mut(), &config, &mut schedule, orders, *order).await;
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
            written.extend(obey(driver, config, schedule, orders, *order).await);
        }
    }
}

/// Until there is something to do, which may be long.
async fn wait(until: Instant, pulse: &Pulse) {
    pulse.back_by(until.max(Instant::now()) + LONGEST_TURN);
    tokio::time::sleep_until(until.into()).await;
}

/// Whose turn it is on a link.
enum Turn {
    Order(Box<Order>),
    Read(Due),
    Heard(Heard),
}

/// What has come by itself by now.
async fn heard_meanwhile(driver: &mut dyn Driver, config: &Config) -> Option<Heard> {
    tokio::select! {
        biased;
        heard = driver.hear(config) => Some(heard),
        () = std::future::ready(()) => None,
    }
}

/// Writes what is ordered, unless it is too late or the device is left alone, and answers. Gives what was read last.
async fn obey(driver: &mut dyn Driver, config: &Config, schedule: &mut Schedule, orders: &Orders, order: Order) -> Option<Transaction> {
    let WriteOrder { ticket, device: index, write, until_ms } = match order {
        Order::Write(order) => order,
        Order::Read { device, points } => {
            schedule.hasten(device, &points, Instant::now());
            return None;
        }
    };
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

/// Notes what came by itself, and says so where its device is another than before.
fn note_heard(health: &watch::Sender<Health>, config: &Config, link: &Link, driver: &dyn Driver, transactions: &[Transaction]) {
    for transaction in transactions {
        let Some((verdict, device)) = Verdict::of(std::slice::from_ref(transaction)).zip(config.devices.get(transaction.device.0)) else {
            continue;
        };
        let mut changed = None;
        health.send_modify(|health| changed = health.heard(&device.name, verdict, driver.waiting(device)));
        tell(link, device, changed);
    }
}

/// Notes what went wrong with devices that said nothing.
fn note_misses(health: &watch::Sender<Health>, config: &Config, driver: &dyn Driver, devices: &[DeviceIndex]) {
    for device in devices.iter().filter_map(|index| config.devices.get(index.0)) {
        health.send_modify(|health| health.missed(&device.name, driver.waiting(device)));
    }
}

/// Notes how a poll went, and says so where its device is another than before.
fn note(health: &watch::Sender<Health>, link: &Link, device: &Device, due: &Due, transactions: &[Transaction], waiting: Waiting) {
    let Some(verdict) = Verdict::of(transactions) else {
        health.send_modify(|health| health.missed(&device.name, waiting));
        return;
    };
    let mut changed = None;
    health.send_modify(|health| changed = health.polled(&link.name, &device.name, due, verdict, waiting));
    tell(link, device, changed);
}

fn tell(link: &Link, device: &Device, changed: Option<Verdict>) {
    match changed {
        Some(Verdict { quality, reason: Some(reason) }) => warn!(device = device.name, link = link.name, %quality, %reason, "device"),
        Some(Verdict { quality, reason: None }) => info!(device = device.name, link = link.name, %quality, "device"),
        None => {}
    }
}
