//! Links where others tell readings: a Unix socket, a broker. Shell. Knows nothing of other drivers, nor what the lines mean: that is
//! [`crate::lines`].
//!
//! Only devices that the configuration puts on the link are read; a line of another one is refused, counted and logged at a bounded rate.

mod bus;
mod door;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};
use tracing::{info, warn};

use self::bus::Bus;
use self::door::{Door, Visit};
use super::{Clock, Driver, Heard};
use crate::clock;
use crate::config::{Config, Device, Input, Way};
use crate::health::Waiting;
use crate::lines::{Allowance, Cut, Intake, Now, Quota};
use crate::reading::{DeviceIndex, PointIndex, Row, Transaction};

/// Pause before a socket or a connection that could not be had is tried again; doubles up to [`MAX_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Of so many wrong lines that come at once it is said what is wrong; all are counted.
const MAX_ANSWERS: usize = 100;
/// How often it is told that something went wrong while nothing is heard.
const TELL_EVERY: Duration = Duration::from_secs(5);
/// Longest such pause.
const MAX_PAUSE: Duration = Duration::from_secs(60);

/// One link where readings are told.
pub struct Inputs {
    clock: Clock,
    link: String,
    way: Ways,
    intake: Intake,
    quota: Quota,
    allowance: Allowance,
    pause: Duration,
    again_at: Option<Instant>,
    tell_at: Option<Instant>,
}

enum Ways {
    Door(Door),
    Bus(Box<Bus>),
}

/// What comes over a link.
enum Event {
    /// Lines of a client of the socket.
    Lines(usize, Vec<Cut>, usize),
    /// A message.
    Message {
        /// The device that its topic names.
        device: Option<String>,
        lines: Vec<Cut>,
        /// These are all of its lines.
        whole: bool,
        bytes: usize,
    },
    /// It is open.
    Open(String),
    /// It could not be had, or is no more.
    Failed(String),
    /// Something that costs only itself.
    Left(&'static str),
}

impl Inputs {
    /// A driver for this link; `clock` gives the time of readings that bring none. Opens nothing.
    #[must_use]
    pub fn new(input: Input, clock: Clock) -> Self {
        let way = match input.way {
            Way::Socket { path, mode } => Ways::Door(Door::new(path, mode)),
            Way::Mqtt { broker, topic, device_from } => Ways::Bus(Box::new(Bus::new(*broker, topic, device_from))),
        };
        let intake = Intake::new(input.source);
        let (quota, allowance) = (Quota::default(), Allowance::default());
        Self { clock, link: input.link, way, intake, quota, allowance, pause: Duration::ZERO, again_at: None, tell_at: None }
    }

    fn now(&self) -> Now {
        Now { boot_ms: (self.clock)(), utc_ms: clock::now_ms() }
    }

    async fn listen(&mut self, config: &Config) -> Heard {
        let Some(link) = config.links.iter().find(|link| link.name == self.link) else { return std::future::pending().await };
        loop {
            let now = self.now();
            for index in &link.devices {
                if let Some(device) = config.devices.get(index.0) {
                    self.intake.declare(*index, &device.name, &device.profile, now);
                }
            }
            self.intake.look(now);
            let transactions = self.intake.transactions();
            if !transactions.is_empty() {
                return Heard { transactions, hasten: Vec::new() };
            }
            if self.tell_at.is_none_or(|at| Instant::now() >= at) && self.intake.news() {
                self.tell_at = Some(Instant::now() + TELL_EVERY);
                return Heard::default();
            }
            let look = sleep(self.intake.next_look(now).min(TELL_EVERY));
            tokio::select! {
                event = next(&mut self.way, &mut self.again_at, &self.allowance) => self.obey(event),
                () = look => {}
            }
        }
    }

    fn obey(&mut self, event: Event) {
        match event {
            Event::Lines(client, lines, bytes) => {
                self.allowance.take(bytes, Instant::now().into_std());
                let refused = self.take(lines, None);
                if let Ways::Door(door) = &mut self.way {
                    door.answer(client, &refused);
                }
            }
            Event::Message { device, lines, whole, bytes } => {
                self.allowance.take(bytes, Instant::now().into_std());
                if !whole {
                    self.intake.count(None, "message too long");
                    self.say(&format!("told more than {} lines in one message: the rest is not read", bus::MAX_LINES));
                }
                self.take(lines, device.as_deref());
            }
            Event::Open(what) => {
                self.pause = Duration::ZERO;
                info!(link = self.link, "{what}");
            }
            Event::Failed(why) => {
                self.pause = (2 * self.pause).clamp(FIRST_PAUSE, MAX_PAUSE);
                self.again_at = Some(Instant::now() + self.pause);
                self.intake.count(None, "disconnected");
                self.say(&format!("{why}; tried again in {:?}", self.pause));
            }
            Event::Left(what) => self.intake.count(None, what),
        }
    }

    /// Takes lines; gives what is wrong with them, a text each.
    fn take(&mut self, lines: Vec<Cut>, device: Option<&str>) -> Vec<String> {
        let now = self.now();
        let mut refused = Vec::new();
        for line in lines {
            let more = self.intake.take(line, device, now);
            let room = MAX_ANSWERS.saturating_sub(refused.len());
            refused.extend(more.iter().take(room).map(ToString::to_string));
        }
        for text in &refused {
            self.say(&format!("told what is not taken: {text}"));
        }
        refused
    }

    fn say(&mut self, what: &str) {
        if let Some(left_out) = self.quota.may(Instant::now().into_std()) {
            warn!(link = self.link, left_out, "{what}");
        }
    }
}

/// What comes next. Loses nothing when it is dropped.
async fn next(way: &mut Ways, again_at: &mut Option<Instant>, allowance: &Allowance) -> Event {
    if let Some(at) = *again_at {
        sleep_until(at).await;
        *again_at = None;
    }
    if let Some(until) = allowance.wait(Instant::now().into_std()) {
        sleep_until(until.into()).await;
    }
    match way {
        Ways::Door(door) => match door.next().await {
            Visit::Lines(client, lines, bytes) => Event::Lines(client, lines, bytes),
            Visit::Open(what) => Event::Open(what),
            Visit::Failed(error) => Event::Failed(error),
            Visit::Full => Event::Left("client sent away"),
        },
        Ways::Bus(bus) => bus.next().await,
    }
}

impl Driver for Inputs {
    fn read<'a>(
        &'a mut self,
        _index: DeviceIndex,
        _device: &'a Device,
        _points: &'a [PointIndex],
    ) -> Pin<Box<dyn Future<Output = Vec<Transaction>> + Send + 'a>> {
        Box::pin(std::future::ready(Vec::new()))
    }

    fn hear<'a>(&'a mut self, config: &'a Config) -> Pin<Box<dyn Future<Output = Heard> + Send + 'a>> {
        Box::pin(self.listen(config))
    }

    fn waiting(&self, device: &Device) -> Waiting {
        Waiting { misses: self.intake.misses(&device.name), ..Waiting::default() }
    }

    fn series(&self, index: DeviceIndex, _device: &Device, _points: &[PointIndex]) -> Vec<(PointIndex, Option<Arc<Row>>)> {
        self.intake.series(index)
    }
}
