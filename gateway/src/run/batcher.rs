//! Gives readings their times, joins them into batches, and hands each to the buffer. A shell file: clocks and log.
//!
//! Decides neither what time it is, see [`TimeBase`], nor what a batch is, see [`Builder`].

use std::path::PathBuf;
use std::time::{Duration, Instant};

use pattoo_wire::ClockSource;
use tokio::sync::{mpsc, watch};
use tracing::{error, info, warn};

use super::watchdog::TICKING;
use super::window::Window;
use crate::batch::{Builder, Pushed, Times};
use crate::buffer::worker::Handle;
use crate::clock;
use crate::config::Config;
use crate::pulse::Pulse;
use crate::reading::{BootId, Transaction};
use crate::timebase::{ServerTime, State, Step, TimeBase};

/// How often the clocks are compared. Readings that come within this time after the clock was set still have times by the old one.
const LOOK_EVERY: Duration = Duration::from_secs(1);

pub(super) struct Batcher {
    builder: Builder,
    time: TimeBase,
    ntp_file: PathBuf,
    boot: BootId,
    buffer: Handle,
    window: Window,
    /// Boot clock of the next look.
    look_ms: i64,
    source: Option<ClockSource>,
    told: watch::Sender<State>,
    /// Whether the buffer was told.
    buffer_knows: bool,
    refused: u64,
    pulse: Pulse,
}

impl Batcher {
    /// Tells `told` what it knows of the time.
    pub(super) fn new(builder: Builder, config: &Config, buffer: Handle, told: watch::Sender<State>) -> Self {
        let (time, ntp_file, boot) = (TimeBase::new(config.clock.trust), config.clock.ntp_file.clone(), clock::boot_id());
        let window = Window::new(buffer.clone(), config.buffer.commit_window);
        Self {
            builder,
            time,
            ntp_file,
            boot,
            buffer,
            window,
            look_ms: 0,
            source: None,
            told,
            buffer_knows: false,
            refused: 0,
            pulse: Pulse::default(),
        }
    }

    /// The same, that shows that it is at work.
    pub(super) fn with_pulse(self, pulse: Pulse) -> Self {
        Self { pulse, ..self }
    }

    /// Stores all readings durably until the links are gone; at the end, what is still open. `heard` is the server's time.
    pub(super) async fn run(mut self, mut readings: mpsc::Receiver<Transaction>, mut heard: watch::Receiver<Option<ServerTime>>) {
        loop {
            self.pulse.back_by(Instant::now() + TICKING);
            self.look().await;
            let pushed = tokio::select! {
                transaction = readings.recv() => match transaction {
                    Some(transaction) => self.builder.push(clock::boot_ms(), transaction),
                    None => break,
                },
                // Its sender may go first at a stop.
                Ok(()) = heard.changed() => {
                    if let Some(time) = *heard.borrow_and_update() {
                        self.time.hear(time);
                        self.look_ms = 0;
                    }
                    continue;
                }
                () = self.window.over() => {
                    self.window.close().await;
                    continue;
                }
                () = tokio::time::sleep(self.wait()) => self.builder.tick(clock::boot_ms()),
            };
            self.store(pushed).await;
        }
        let pushed = self.builder.flush();
        self.store(pushed).await;
        self.window.close().await;
    }

    /// Until a batch is due, or the next look.
    fn wait(&self) -> Duration {
        let until_ms = self.builder.deadline_ms().map_or(self.look_ms, |deadline_ms| deadline_ms.min(self.look_ms));
        Duration::from_millis(u64::try_from(until_ms.saturating_sub(clock::boot_ms())).unwrap_or(0)).min(LOOK_EVERY)
    }

    /// Compares the clocks, if it is time to.
    async fn look(&mut self) {
        if clock::boot_ms() < self.look_ms {
            return;
        }
        let look = clock::look(&self.ntp_file);
        self.look_ms = look.boot_ms.saturating_add(LOOK_EVERY.as_millis() as i64);
        let step = self.time.look(look);
        let state = self.time.state();
        self.told.send_if_modified(|before| std::mem::replace(before, state) != state);
        if let Some(step) = step {
            tell(step);
        }
        if self.source != Some(state.source) {
            self.source = Some(state.source);
            match state.source {
                ClockSource::None => warn!("the time is not known: readings are held back until NTP or the server tells"),
                source => info!(%source, offset_ms = state.offset_ms, server_offset_ms = state.server_offset_ms, "the time is known"),
            }
        }
        let times = state.offset_ms.map_or(Times::Held(self.boot), |offset_ms| Times::Utc { offset_ms });
        let pushed = self.builder.set_times(times, step);
        self.store(pushed).await;
        self.tell_buffer(state).await;
    }

    /// Tells the buffer of the time once it is known; again, should it fail.
    async fn tell_buffer(&mut self, state: State) {
        let Some(offset_ms) = state.offset_ms.filter(|_| !self.buffer_knows) else { return };
        // What it has not got yet would never get its time.
        self.window.close().await;
        match self.buffer.set_time(self.boot, offset_ms).await {
            Ok(()) => self.buffer_knows = true,
            Err(why) => warn!(%why, "what was held back must wait on"),
        }
    }

    async fn store(&mut self, pushed: Pushed) {
        if let Some(reason) = pushed.reason {
            // A series that has no place comes again with every poll; the log need not.
            let first = self.refused == 0;
            self.refused += pushed.refused;
            if first || self.refused.is_power_of_two() {
                error!(refused = self.refused, reason, "readings have no place in a batch and are lost");
            }
        }
        for closed in pushed.closed {
            self.window.add(closed).await;
        }
    }
}

fn tell(step: Step) {
    match step.to_ms.saturating_sub(step.from_ms) {
        0 => warn!("the system's clock was set, and is not believed: the times of readings go on as before"),
        by_ms => warn!(by_ms, "the clock was set: the times of readings jump"),
    }
}
