//! A gateway: its real cores, in a shell of simulated time that does what `run` and `uplink::mqtt` do.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use pattoo_gateway::batch::{Builder, Pushed, Times};
use pattoo_gateway::buffer::{Buffer, Limits, Stats};
use pattoo_gateway::config::Config;
use pattoo_gateway::reading::BootId;
use pattoo_gateway::timebase::{EARLIEST_MS, TimeBase};
use pattoo_gateway::uplink::{Event as UplinkEvent, Policy, Uplink};
use pattoo_wire::{Ack, Ask, topic};

use super::clock::{Clocks, Looks};
use super::disk::{DiskFault, Platter};
use super::net::{Filter, Message, Packet};
use super::oracle::Book;
use super::plan::{Fault, Plan};
use super::plant::{self, Source};
use super::process::{Process, Want};
use super::{Event, World};

/// How long a machine takes to come up again, at least and at most.
const BOOT_MS: (i64, i64) = (500, 60_000);
/// How long the buffer may take to tell the uplink of a change.
const MAX_TELL_MS: i64 = 5;
/// Polling goes on this many batches after everything is healed.
const LAST_BATCHES: i64 = 3;
/// Batches that close a commit window.
const FULL_WINDOW: usize = 8;

/// What a gateway's process waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Timer {
    Poll,
    Batch,
    /// The commit window is over.
    Window,
    Tick,
    /// The buffer has changed.
    Told,
}

/// The machine: what outlives its process.
pub(super) struct Gateway {
    pub(super) name: String,
    pub(super) disk: Platter,
    pub(super) book: Book,
    configs: Vec<Config>,
    config: usize,
    source: Source,
    clocks: Clocks,
    /// Counts the machine's boots.
    boot: u64,
    /// In which of them the latest batch was made.
    made_in: u64,
    life: u64,
    process: Option<Process>,
}

impl Gateway {
    pub(super) fn new(index: usize, plan: &Plan, random: &mut Rng) -> anyhow::Result<Self> {
        let name = format!("g{index}");
        let adapted = |config: &Config| {
            let mut config = config.clone();
            config.gateway.clone_from(&name);
            config.batch.every = millis(plan.batch_every_ms);
            config.clock.trust = plan.trust;
            config
        };
        let configs = plant::configs()?.iter().map(adapted).collect();
        let (disk, book) = (Platter::new(random.u64(..)), Book::new(name.clone()));
        Ok(Self {
            name,
            disk,
            book,
            configs,
            config: 0,
            source: Source::new(),
            clocks: Clocks::new(plan.keeper),
            boot: 1,
            made_in: 1,
            life: 0,
            process: None,
        })
    }

    pub(super) fn is_running(&self) -> bool {
        self.process.is_some()
    }

    pub(super) fn stats(&self) -> Option<Stats> {
        self.process.as_ref().map(|process| process.buffer.stats())
    }

    /// The buffer may have batches that it did not say it has: after a crash, or after a failure that was none. A copy is asked
    /// for them, and told of a time, so that it holds none back.
    fn look_for_unnamed(&mut self) -> Result<(), String> {
        let Some(process) = &self.process else { return Ok(()) };
        let Stats { stream, next, oldest, .. } = process.buffer.stats();
        let unnamed = self.book.unnamed(stream, next);
        if unnamed.is_empty() {
            return Ok(());
        }
        let mut copy =
            Buffer::open(self.disk.copy().open(), Limits::from(&process.config.buffer), EARLIEST_MS).map_err(|e| e.to_string())?;
        copy.set_time(BootId(self.made_in), 0).map_err(|e| e.to_string())?;
        for seq in unnamed {
            let stored = if seq < oldest { None } else { copy.get(seq, EARLIEST_MS).map_err(|e| e.to_string())? };
            self.book.found(stream, seq, stored.as_ref().map(|stored| stored.body.as_slice()))?;
        }
        Ok(())
    }
}

impl World<'_> {
    pub(super) fn boot(&mut self, index: usize) {
        let plan = &self.plan;
        let gateway = &mut self.gateways[index];
        if gateway.process.is_some() {
            return;
        }
        gateway.life += 1;
        if !gateway.disk.has_power() {
            gateway.boot += 1;
            gateway.clocks.boot(self.now_ms);
        }
        let config = gateway.configs[gateway.config].clone();
        let Plan { max_bytes, max_age_ms, thin_to_ms, given_ahead, .. } = *plan;
        let limits = Limits { max_bytes, max_age_ms, thin_to_ms, given_ahead, ..Limits::from(&config.buffer) };
        let opened = Buffer::open(gateway.disk.open(), limits, EARLIEST_MS);
        let (Ok(mut buffer), Ok(builder)) = (opened, Builder::new(&config)) else {
            // Whatever starts the daemon tries again.
            return self.boot_again(index);
        };
        let notices = buffer.take_notices();
        let mut config = config;
        config.uplink.max_unacknowledged = plan.max_unacknowledged;
        config.uplink.ack_timeout = millis(plan.ack_timeout_ms);
        config.uplink.order = plan.order;
        config.uplink.rate_limit = plan.rate_limit;
        let uplink = Uplink::new(Policy::from(&config.uplink), buffer.stats());
        gateway.process = Some(Process {
            config,
            builder,
            buffer,
            uplink,
            time: TimeBase::new(plan.trust),
            looks: Looks::default(),
            told_ms: None,
            fetched: None,
            published: 0,
            in_hand: BTreeMap::new(),
            waiting: Vec::new(),
            batch_timer_ms: None,
            ticking: false,
            ticks_with_time: 0,
        });
        let checked = gateway.look_for_unnamed();
        let stats = gateway.stats();
        if !gateway.disk.has_power() {
            return self.power_cut(index);
        }
        self.check(checked);
        self.note(format_args!("g{index} boots: {stats:?} {notices:?}"));
        self.connect_at(1 + index, self.now_ms);
        let first_ms = self.random.i64(0..self.plan.poll_ms);
        self.set(index, first_ms, Timer::Poll);
    }

    fn boot_again(&mut self, index: usize) {
        let ms = self.random.i64(BOOT_MS.0..BOOT_MS.1);
        self.after(ms, Event::Boot(index));
    }

    fn set(&mut self, index: usize, ms: i64, timer: Timer) {
        let life = self.gateways[index].life;
        self.after(ms, Event::Gateway(index, life, timer));
    }

    /// The process ends; what it held in memory is gone.
    fn end_process(&mut self, index: usize, told: bool) {
        if self.gateways[index].process.take().is_some() {
            self.gateways[index].life += 1;
            self.vanish(1 + index, told);
            self.boot_again(index);
        }
    }

    fn power_cut(&mut self, index: usize) {
        self.note(format_args!("g{index} has no power"));
        self.gateways[index].disk.cut_power();
        self.end_process(index, false);
    }

    pub(super) fn strike_gateway(&mut self, fault: Fault) {
        match fault {
            Fault::PowerCut { gateway } => self.power_cut(gateway),
            Fault::PowerCutAtDisk { gateway, after } => self.gateways[gateway].disk.arm(after, DiskFault::Power),
            Fault::Kill { gateway } => self.end_process(gateway, true),
            Fault::Restart { gateway } => {
                let pushed = self.gateways[gateway].process.as_mut().map(|process| process.builder.flush());
                pushed.into_iter().for_each(|pushed| self.keep(gateway, pushed));
                self.store_waiting(gateway);
                self.gateways[gateway].config ^= 1;
                self.end_process(gateway, true);
            }
            Fault::DiskError { gateway, after, full, times } => {
                let fault = if full { DiskFault::Full } else { DiskFault::Error };
                (0..times).for_each(|time| self.gateways[gateway].disk.arm(after + time, fault));
            }
            Fault::Damage { gateway } => self.damage(gateway),
            Fault::ClockStep { gateway, by_ms } => self.gateways[gateway].clocks.system_ms += by_ms,
            _ => {}
        }
    }

    /// Damages a stored batch; the process, if there is one, is started again, so that it comes to see it.
    fn damage(&mut self, index: usize) {
        let Some(Stats { stream, next, .. }) = self.gateways[index].stats() else { return };
        self.end_process(index, true);
        if let Some((seq, behind)) = self.gateways[index].disk.damage() {
            let last = behind.unwrap_or(next.max(seq + 1)) - 1;
            self.note(format_args!("g{index}: batches {seq} to {last} are damaged"));
            (seq..=last).for_each(|seq| self.gateways[index].book.damaged(stream, seq));
        }
    }

    pub(super) fn timer(&mut self, index: usize, life: u64, timer: Timer) {
        if self.gateways[index].life != life || self.gateways[index].process.is_none() {
            return;
        }
        match timer {
            Timer::Poll => self.poll(index),
            Timer::Batch => self.batch_timer(index),
            Timer::Window => self.store_waiting(index),
            Timer::Tick => self.tick(index),
            Timer::Told => {
                if let Some(stats) = self.gateways[index].stats() {
                    self.step(index, UplinkEvent::Buffer(stats));
                }
            }
        }
    }

    /// Polls all devices, each a moment after the other.
    fn poll(&mut self, index: usize) {
        let last_ms = self.healed_ms.map(|healed_ms| healed_ms + LAST_BATCHES * self.plan.batch_every_ms);
        if last_ms.is_some_and(|last_ms| self.now_ms > last_ms) {
            return;
        }
        self.read_all(index);
        let jitter_ms = self.random.i64(0..=self.plan.poll_ms / 10);
        self.set(index, self.plan.poll_ms + jitter_ms, Timer::Poll);
    }

    fn read_all(&mut self, index: usize) {
        let devices = self.gateways[index].process.as_ref().map_or(0, |process| process.config.devices.len());
        for device in 0..devices {
            self.look_at_clocks(index);
            let Gateway { source, process: Some(process), clocks, .. } = &mut self.gateways[index] else { return };
            let boot_ms = clocks.boot_ms(self.now_ms);
            let offset_ms = process.time.state().offset_ms.unwrap_or_default();
            let transaction = source.read(&process.config, device, boot_ms, offset_ms, &mut self.random);
            let pushed = process.builder.push(boot_ms, transaction);
            self.keep(index, pushed);
        }
        self.set_batch_timer(index);
    }

    /// As the daemon's batcher does.
    fn look_at_clocks(&mut self, index: usize) {
        let Gateway { process: Some(process), clocks, boot, .. } = &mut self.gateways[index] else { return };
        if !process.looks.is_due(self.now_ms) {
            return;
        }
        let step = process.time.look(clocks.look(self.now_ms));
        let times = process.time.state().offset_ms.map_or(Times::Held(BootId(*boot)), |offset_ms| Times::Utc { offset_ms });
        let pushed = process.builder.set_times(times, step);
        if let Some(step) = step {
            self.note(format_args!("g{index} {step:?}"));
        }
        self.keep(index, pushed);
        self.tell_buffer(index);
    }

    /// Tells the buffer of the time once it is known; again, should it fail.
    fn tell_buffer(&mut self, index: usize) {
        let knows = |process: &Process| process.time.state().offset_ms.is_some() && process.told_ms.is_none();
        if self.gateways[index].process.as_ref().is_some_and(knows) {
            // What the buffer has not got yet would never get its time.
            self.store_waiting(index);
        }
        let Gateway { process: Some(process), boot, disk, .. } = &mut self.gateways[index] else { return };
        let Some(offset_ms) = process.time.state().offset_ms.filter(|_| process.told_ms.is_none()) else { return };
        let told = process.buffer.set_time(BootId(*boot), offset_ms);
        if told.is_ok() {
            process.told_ms = Some(offset_ms);
        }
        let (power, boot) = (disk.has_power(), *boot);
        self.note(format_args!("g{index}: boot {boot} began at {offset_ms}: {told:?}"));
        match power {
            true => self.set(index, 0, Timer::Told),
            false => self.power_cut(index),
        }
    }

    fn set_batch_timer(&mut self, index: usize) {
        let Gateway { process: Some(process), clocks, .. } = &mut self.gateways[index] else { return };
        let Some(deadline_ms) = process.builder.deadline_ms() else { return };
        let at_ms = clocks.booted_ms + deadline_ms;
        if process.batch_timer_ms != Some(at_ms) {
            process.batch_timer_ms = Some(at_ms);
            self.set(index, at_ms - self.now_ms, Timer::Batch);
        }
    }

    fn batch_timer(&mut self, index: usize) {
        self.look_at_clocks(index);
        let Gateway { process: Some(process), clocks, .. } = &mut self.gateways[index] else { return };
        process.batch_timer_ms = None;
        let pushed = process.builder.tick(clocks.boot_ms(self.now_ms));
        self.keep(index, pushed);
        self.set_batch_timer(index);
    }

    fn keep(&mut self, index: usize, pushed: Pushed) {
        if let Some(reason) = pushed.reason {
            self.violated(format!("g{index}: readings have no place in a batch: {reason}"));
        }
        for closed in pushed.closed {
            let gateway = &mut self.gateways[index];
            let Some(process) = &mut gateway.process else { return };
            let readings = gateway.book.made(&closed, gateway.life, gateway.clocks.began_ms());
            gateway.made_in = gateway.boot;
            process.waiting.push((closed, readings));
            match process.waiting.len() {
                count if count >= FULL_WINDOW || self.plan.window_ms == 0 => self.store_waiting(index),
                1 => self.set(index, self.plan.window_ms, Timer::Window),
                _ => {}
            }
        }
    }

    /// Closes the commit window.
    fn store_waiting(&mut self, index: usize) {
        let gateway = &mut self.gateways[index];
        let Some(process) = &mut gateway.process else { return };
        let (closed, readings): (Vec<_>, Vec<_>) = std::mem::take(&mut process.waiting).into_iter().unzip();
        if closed.is_empty() {
            return;
        }
        let kept = process.buffer.keep_all(process.buffer_ms(gateway.clocks.boot_ms(self.now_ms)), &closed);
        let (stats, notices) = (process.buffer.stats(), process.buffer.take_notices());
        let mut named = kept.iter().zip(readings).filter_map(|(kept, readings)| Some((*kept.as_ref().ok()?, readings)));
        let mut checked = named.try_for_each(|(seq, readings)| gateway.book.buffered(stats.stream, seq, readings));
        let power = gateway.disk.has_power();
        if power && checked == Ok(()) {
            checked = gateway.look_for_unnamed();
        }
        self.check(checked);
        self.note(format_args!("g{index} buffers: {kept:?} {stats:?} {notices:?}"));
        if !power {
            return self.power_cut(index);
        }
        let ms = self.random.i64(0..=MAX_TELL_MS);
        self.set(index, ms, Timer::Told);
    }

    fn tick(&mut self, index: usize) {
        let connected = self.links[1 + index].ready;
        if let Some(process) = &mut self.gateways[index].process {
            process.ticking = connected;
            process.count_tick();
        }
        if connected {
            self.set(index, self.plan.tick_ms, Timer::Tick);
            self.look_at_clocks(index);
            self.step(index, UplinkEvent::Tick);
        }
    }

    fn step(&mut self, index: usize, event: UplinkEvent) {
        let clock_ms = self.gateways[index].clocks.utc_ms(self.now_ms);
        self.note(format_args!("g{index} {event:?}"));
        let Gateway { name, process: Some(process), clocks, .. } = &mut self.gateways[index] else { return };
        let wants = process.step(name, clocks.boot_ms(self.now_ms), clock_ms, event);
        for want in wants {
            self.want(index, want);
        }
        if !self.gateways[index].disk.has_power() && self.gateways[index].process.is_some() {
            self.power_cut(index);
        }
    }

    fn want(&mut self, index: usize, want: Want) {
        match want {
            Want::Publish(packet) => {
                if let Packet::Publish(_, message) = &packet {
                    self.note(format_args!("g{index} publishes {} bytes on {}", message.payload.len(), message.topic));
                }
                self.send_up(1 + index, packet);
            }
            Want::Reconnect => self.close_client(1 + index),
            Want::Released { stream, ranges } => {
                let store = Arc::clone(&self.store);
                self.note(format_args!("g{index} releases {ranges:?}"));
                let checked = ranges.into_iter().try_for_each(|range| self.gateways[index].book.released(stream, range, &store));
                self.check(checked);
            }
            Want::Sent { stream, seq, body } => {
                let checked = self.gateways[index].book.sent(stream, seq, &body);
                self.check(checked);
            }
            Want::Wrong(what) => self.violated(format!("g{index}: {what}")),
        }
    }

    pub(super) fn gateway_takes(&mut self, index: usize, packet: Packet) {
        match packet {
            Packet::ConnAck => {
                let topics = [topic::ack, topic::ask].map(|of| Filter::Topic(of(&self.gateways[index].name)));
                self.send_up(1 + index, Packet::Subscribe(topics.to_vec()));
                self.step(index, UplinkEvent::Connected);
                let Some(process) = &mut self.gateways[index].process else { return };
                if !std::mem::replace(&mut process.ticking, true) {
                    self.set(index, self.plan.tick_ms, Timer::Tick);
                }
            }
            Packet::PubAck(number) => {
                let Some(process) = &mut self.gateways[index].process else { return };
                if process.in_hand.remove(&number).is_some() {
                    self.step(index, UplinkEvent::Taken);
                }
            }
            Packet::Publish(_, Message { topic, payload, .. }) => {
                let asks = topic == topic::ask(&self.gateways[index].name);
                let event = if asks { Ask::decode(&payload).map(UplinkEvent::Ask) } else { Ack::decode(&payload).map(UplinkEvent::Ack) };
                match event {
                    Ok(event) => self.step(index, event),
                    Err(error) => self.violated(format!("g{index}: what the server says on {topic} cannot be read: {error}")),
                }
            }
            Packet::Connect | Packet::Subscribe(_) => {}
        }
    }

    pub(super) fn gateway_disconnected(&mut self, index: usize) {
        if let Some(process) = &mut self.gateways[index].process {
            process.in_hand.clear();
            self.step(index, UplinkEvent::Disconnected);
        }
    }

    /// Whether a gateway has nothing left to deliver. What gap records wait for a batch get one.
    pub(super) fn is_drained(&mut self, index: usize) -> bool {
        let (last_ms, now_ms) = (self.healed_ms.unwrap_or_default() + (LAST_BATCHES + 1) * self.plan.batch_every_ms, self.now_ms);
        let Some(process) = &mut self.gateways[index].process else { return false };
        if now_ms < last_ms || process.builder.deadline_ms().is_some() || !process.waiting.is_empty() {
            return false;
        }
        let stats = process.buffer.stats();
        if stats.batches == 0 && stats.pending_gaps > 0 {
            self.read_all(index);
        }
        // A server that was restored may still have to be told what is not held any more.
        stats.batches == 0 && stats.pending_gaps == 0 && self.store.has_all(&self.gateways[index].name, stats.stream, stats.next)
    }
}

fn millis(ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or_default())
}
