//! What goes over one link, in the log, for whoever looks for a fault on it: off, unless somebody switched it on, and then for a while only.
//!
//! | level | says |
//! |---|---|
//! | `values` | each reading: device, point, value, quality and reason |
//! | `frames` | also each question with its answer, and the time it took |
//! | `bytes` | also what was sent and heard, in hexadecimal |
//!
//! Its lines have the target `pattoo::link` and are of level info: a `PATTOO_LOG` that lets less through hides them. A link writes at most [`MAX_LINES`] of them in a second and says how many it left out, so
//! that 10 minutes of a busy link are some ten megabytes at most. Shell: it logs. What it says is made in `text`, when it may speak is decided
//! in `valve`.

mod text;
mod valve;

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::config::Config;
use crate::driver::modbus::ear::{Ear, Told, Way};
use crate::reading::Transaction;

use self::valve::Valve;
pub use self::valve::{Level, MAX_LINES};

/// How long a level of the configuration holds after the start.
pub const CONFIGURED_FOR: Duration = Duration::from_secs(3600);
/// How long a level holds that is switched on at run time, unless it is said.
pub const SWITCHED_FOR: Duration = Duration::from_secs(600);
/// Longest time that a level may be asked for.
pub const MAX_FOR: Duration = Duration::from_secs(24 * 3600);

/// Most bytes that are shown in one line: a frame has at most 260.
const MAX_SHOWN_BYTES: usize = 260;

/// The log of one link; its connections share it.
#[derive(Debug)]
pub struct LinkLog {
    link: String,
    /// That of the valve, to be looked at without waiting: a link that is not watched must pay nothing.
    level: AtomicU8,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    valve: Valve,
    /// Bytes that went one way since the last line: they come in pieces.
    pending: Option<(Way, Vec<u8>)>,
}

impl LinkLog {
    /// The log of this link, at the level of its configuration.
    #[must_use]
    pub fn new(link: &str, level: Level) -> Self {
        let log =
            Self { link: link.to_owned(), level: AtomicU8::new(0), state: Mutex::new(State { valve: Valve::default(), pending: None }) };
        if level != Level::Off {
            log.switch(level, CONFIGURED_FOR);
        }
        log
    }

    /// Sets the level for so long, whatever it was before.
    pub fn switch(&self, level: Level, time: Duration) {
        let mut state = self.lock();
        state.valve.switch(level, Instant::now(), time.min(MAX_FOR));
        state.pending = None;
        self.level.store(level as u8, Ordering::Relaxed);
        match level {
            Level::Off => tracing::info!(target: "pattoo::link", link = self.link, "decode log off"),
            level => {
                tracing::info!(target: "pattoo::link", link = self.link, level = level.name(), for_s = time.as_secs(), "decode log on")
            }
        }
    }

    /// Tells readings as they go to the buffer.
    pub(crate) fn values(&self, config: &Config, transactions: &[Transaction]) {
        if self.is_on(Level::Values) {
            let lines = transactions.iter().flat_map(|transaction| text::values(config, transaction)).collect();
            self.say(Level::Values, lines);
        }
    }

    fn is_on(&self, level: Level) -> bool {
        self.level.load(Ordering::Relaxed) >= level as u8
    }

    fn say(&self, level: Level, lines: Vec<String>) {
        let mut state = self.lock();
        self.say_locked(&mut state, level, lines);
    }

    fn say_locked(&self, state: &mut State, level: Level, lines: Vec<String>) {
        for line in lines {
            let may = state.valve.may_say(level, Instant::now());
            if may.ended {
                self.level.store(0, Ordering::Relaxed);
                tracing::info!(target: "pattoo::link", link = self.link, "decode log off: its time is over");
            }
            if may.left_out > 0 {
                tracing::info!(target: "pattoo::link", link = self.link, lines = may.left_out, "too many lines in a second, left out");
            }
            if may.speak {
                tracing::info!(target: "pattoo::link", link = self.link, "{line}");
            }
        }
    }

    /// Says the bytes that came together.
    fn flush(&self, state: &mut State) {
        if let Some((way, bytes)) = state.pending.take() {
            let line = text::bytes(way, &bytes, MAX_SHOWN_BYTES);
            self.say_locked(state, Level::Bytes, vec![line]);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ear for LinkLog {
    fn exchange(&self, told: &Told<'_>) {
        if self.is_on(Level::Frames) {
            let mut state = self.lock();
            self.flush(&mut state);
            self.say_locked(&mut state, Level::Frames, vec![text::frame(told)]);
        }
    }

    fn bytes(&self, way: Way, bytes: &[u8]) {
        if !self.is_on(Level::Bytes) {
            return;
        }
        let mut state = self.lock();
        if state.pending.as_ref().is_some_and(|(other, held)| *other != way || held.len() >= MAX_SHOWN_BYTES) {
            self.flush(&mut state);
        }
        state.pending.get_or_insert_with(|| (way, Vec::new())).1.extend(bytes);
    }
}
