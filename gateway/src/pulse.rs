//! Whether the parts of the daemon are at work: each says by when it will say so again. Pure: is given `now`.
//!
//! Decides nothing about what happens to a part that is late; the watchdog in `run` does.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// One part's. The default one is watched by nobody.
#[derive(Debug, Clone, Default)]
pub struct Pulse(Option<Watched>);

#[derive(Debug, Clone)]
struct Watched {
    start: Instant,
    /// In ms after `start`.
    due_ms: Arc<AtomicU64>,
}

impl Pulse {
    /// Says that it is at work, and by when it will say so again.
    pub fn back_by(&self, at: Instant) {
        if let Some(watched) = &self.0 {
            watched.due_ms.store(ms(at.saturating_duration_since(watched.start)), Ordering::Relaxed);
        }
    }
}

/// Those of all parts.
#[derive(Debug)]
pub struct Pulses {
    start: Instant,
    parts: Vec<(String, Arc<AtomicU64>)>,
}

impl Pulses {
    /// Of no part yet.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self { start: now, parts: Vec::new() }
    }

    /// One more part, which has `first` to say for the first time that it is at work.
    pub fn part(&mut self, name: impl Into<String>, first: Duration) -> Pulse {
        let due_ms = Arc::new(AtomicU64::new(ms(first)));
        self.parts.push((name.into(), Arc::clone(&due_ms)));
        Pulse(Some(Watched { start: self.start, due_ms }))
    }

    /// The parts that should have said something by now.
    #[must_use]
    pub fn late(&self, now: Instant) -> Vec<&str> {
        let now_ms = ms(now.saturating_duration_since(self.start));
        self.parts.iter().filter(|(_, due_ms)| due_ms.load(Ordering::Relaxed) < now_ms).map(|(name, _)| name.as_str()).collect()
    }
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_late_once_its_time_is_over_and_no_longer_when_it_is_back() {
        let start = Instant::now();
        let at = |s| start + Duration::from_secs(s);
        let mut pulses = Pulses::new(start);
        let (line, uplink) = (pulses.part("line1", Duration::from_secs(10)), pulses.part("uplink", Duration::from_secs(20)));
        assert_eq!(pulses.late(at(10)), [""; 0]);
        assert_eq!(pulses.late(at(11)), ["line1"]);
        line.back_by(at(3600));
        assert_eq!(pulses.late(at(21)), ["uplink"]);
        drop(uplink);
        assert_eq!(pulses.late(at(3601)), ["line1", "uplink"], "a part that is gone is late for ever");
        line.back_by(at(4000));
        assert_eq!(pulses.late(at(3601)), ["uplink"]);
        Pulse::default().back_by(at(1));
    }
}
