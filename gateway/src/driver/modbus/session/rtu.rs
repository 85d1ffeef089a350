//! Modbus RTU on a serial line, or the same frames through a TCP connection to a serial server.
//!
//! An RTU frame names no question that it answers. What keeps a late reply from becoming a wrong value:
//! - each request has a codec of its own, and what lies in the line before a request is thrown away;
//! - a device that was silent owes a reply: it is not asked again before twice the time-out has passed since it was asked, however soon it
//!   was given up. Its neighbours are, after a short silence, for a reply names the unit that it comes from;
//! - after anything else but a full answer nothing is asked before the line was silent for the time-out;
//! - the first answer of a device after such a failure is believed only if nothing follows it: one that owed a reply gives two;
//! - bytes behind an answer that do not repeat it make it void.
//!
//! A reply that is later than twice the time-out and then comes alone would be believed: that is inherent in RTU.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};
use tokio_modbus::Slave;
use tokio_modbus::client::{Client as _, rtu};
use tokio_modbus::prelude::Request as Pdu;

use super::super::ear::{Ear, Overheard};
use super::{Answer, Attempt, Clock, Failure, judge, question};
use crate::link::port::Port;
use crate::link::serial::SerialLine;
use crate::link::{self, Stream};

/// Longest time to wait for silence, in multiples of the time-out: then the line counts as down.
const MAX_DRAIN: u32 = 4;

/// A device that hears a question to another one may take whatever follows within this time for the answer to it, and miss a question of its
/// own: libmodbus does, for 500 ms.
const OTHERS_LISTEN: Duration = Duration::from_millis(600);

/// A reply that pauses for so long has ended, complete or not. USB adapters pass bytes on every 16 ms, serial servers every 50 ms.
const SERIAL_SILENCE: Duration = Duration::from_millis(100);
const NETWORK_SILENCE: Duration = Duration::from_millis(300);

/// Silence before a request, and how long its answer is waited for.
pub(super) struct Pace {
    pub(super) gap: Duration,
    pub(super) limit: Duration,
}

/// The line and what is known of it.
pub(super) struct Rtu {
    at: At,
    timeout: Duration,
    port: Option<Port>,
    /// Something may still be under way on the line, of whomever.
    in_doubt: bool,
    /// Nobody was heard the last time: then until when nobody else is asked.
    hush: Option<Instant>,
    /// Units that did not answer in full when they were asked last: each may owe a reply until then, and may give it together with the next
    /// one.
    owed: BTreeMap<u8, Instant>,
    /// Why the port could not be opened, as last said in the log: once is enough.
    said: Option<String>,
    pub(super) ear: Option<Arc<dyn Ear>>,
}

enum At {
    Serial(SerialLine),
    Network(String),
}

impl Rtu {
    pub(super) fn serial(line: SerialLine, timeout: Duration) -> Self {
        Self::new(At::Serial(line), timeout)
    }

    pub(super) fn over_tcp(endpoint: String, timeout: Duration) -> Self {
        Self::new(At::Network(endpoint), timeout)
    }

    fn new(at: At, timeout: Duration) -> Self {
        Self { at, timeout, port: None, in_doubt: false, hush: None, owed: BTreeMap::new(), said: None, ear: None }
    }

    pub(super) fn name(&self) -> String {
        match &self.at {
            At::Serial(line) => line.path.display().to_string(),
            At::Network(endpoint) => endpoint.clone(),
        }
    }

    /// Silence before each frame. A serial server keeps it by itself.
    pub(super) fn frame_gap(&self) -> Duration {
        match &self.at {
            At::Serial(line) => line.frame_gap(),
            At::Network(_) => Duration::ZERO,
        }
    }

    pub(super) fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = timeout;
    }

    pub(super) fn is_serial(&self) -> bool {
        matches!(self.at, At::Serial(_))
    }

    /// Time that these bytes take; a serial server does not tell how fast its line is.
    pub(super) fn time_of(&self, bytes: u32) -> Duration {
        if let At::Serial(line) = &self.at { line.time_of(bytes) } else { Duration::ZERO }
    }

    fn silence(&self) -> Duration {
        match &self.at {
            At::Serial(_) => SERIAL_SILENCE,
            At::Network(_) => NETWORK_SILENCE,
        }
    }

    pub(super) async fn ask(&mut self, unit: u8, question: &Pdu<'static>, Pace { gap, limit }: Pace, clock: &Clock) -> Attempt {
        let mut port = match self.ready(unit, gap).await {
            Ok(port) => port,
            Err(failure) => return Attempt { start_ms: clock(), took: None, result: Err(failure) },
        };
        let (start_ms, start) = (clock(), Instant::now());
        // Both stay so if this future is dropped half-way.
        let owed_before = self.owed.insert(unit, start + self.timeout * 2).is_some();
        self.in_doubt = true;
        let mut result = self.exchange(&mut port, unit, question, limit).await;
        let took = start.elapsed();
        if let Ok(answer) = &result {
            if owed_before {
                // Reads on until nothing more comes.
                let _ = port.linger(self.silence()).await;
            }
            let heard = port.heard();
            let (frame, behind) = heard.split_at(question::frame_len(question, answer).min(heard.len()));
            if !behind.is_empty() && !frame.starts_with(behind) {
                result = Err(Failure::Malformed);
            }
            self.in_doubt = !behind.is_empty();
        }
        match result {
            Ok(_) => {
                self.owed.remove(&unit);
            }
            Err(Failure::Timeout) => (self.in_doubt, self.hush) = (false, Some(start + OTHERS_LISTEN.min(self.timeout * 2))),
            // All of its reply came.
            Err(Failure::BadCrc) => {
                self.owed.insert(unit, Instant::now());
            }
            // What came may have been another's.
            Err(_) => {}
        }
        if matches!(result, Err(Failure::Closed | Failure::Unreachable)) {
            self.port = None;
        }
        Attempt { start_ms, took: Some(took), result }
    }

    /// The line, open, silent, and without a reply under way that could be taken for one of this unit.
    async fn ready(&mut self, unit: u8, gap: Duration) -> Result<Port, Failure> {
        let mut port = match self.port.take() {
            Some(port) => port,
            None => {
                // Whoever spoke here before us may have left a question unanswered.
                self.in_doubt = true;
                self.open().await?
            }
        };
        match self.silenced(&mut port, unit).await {
            Ok(0) => {}
            Ok(thrown) => {
                tracing::debug!(link = %self.name(), bytes = thrown, "late or foreign bytes on the line thrown away");
                sleep(gap).await;
            }
            Err(error) if error.kind() == std::io::ErrorKind::TimedOut => {
                // Somebody else talks here all the time: no answer could be trusted.
                (self.port, self.in_doubt) = (Some(port), true);
                return Err(Failure::Malformed);
            }
            Err(_) => return Err(Failure::Closed),
        }
        self.hush = None;
        self.port = Some(port.clone());
        Ok(port)
    }

    /// Waits for as much silence as this unit may be asked after; gives the bytes that were thrown away.
    async fn silenced(&mut self, port: &mut Port, unit: u8) -> std::io::Result<usize> {
        let now = Instant::now();
        let mut until = now + if self.in_doubt { self.timeout } else { Duration::ZERO };
        until = self.hush.map_or(until, |hush| until.max(hush).max(now + self.silence()));
        // Whoever is heard meanwhile need not be this unit.
        until = self.owed.get(&unit).map_or(until, |owed| until.max(*owed));
        let mut thrown = 0;
        loop {
            let part = until.saturating_duration_since(Instant::now()).min(self.timeout);
            let came = port.drain(part, self.timeout * MAX_DRAIN).await?;
            thrown += came;
            if came > 0 && part < self.timeout {
                // It may not be all.
                until = until.max(Instant::now() + self.timeout);
            }
            if Instant::now() >= until {
                return Ok(thrown);
            }
        }
    }

    async fn open(&mut self) -> Result<Port, Failure> {
        let (opened, echo): (Result<Box<dyn Stream>, String>, bool) = match &self.at {
            At::Serial(line) => {
                (line.open().map(|stream| Box::new(stream) as Box<dyn Stream>).map_err(|error| error.to_string()), line.echo)
            }
            At::Network(endpoint) => {
                let stream = link::connect(endpoint, self.timeout).await;
                (stream.map(|stream| Box::new(stream) as Box<dyn Stream>).map_err(|error| format!("{endpoint}: {error}")), false)
            }
        };
        match opened {
            Ok(stream) => {
                self.said = None;
                Ok(Port::new(Box::new(Overheard::new(stream, self.ear.clone())), echo))
            }
            Err(why) => {
                if self.said.as_ref() != Some(&why) {
                    tracing::warn!("{why}");
                    self.said = Some(why);
                }
                Err(Failure::Unreachable)
            }
        }
    }

    async fn exchange(&self, port: &mut Port, unit: u8, question: &Pdu<'static>, limit: Duration) -> Result<Answer, Failure> {
        port.begin();
        let mut context = rtu::attach_slave(port.clone(), Slave(unit));
        let gave_up = tokio::select! {
            result = context.call(question.clone()) => match judge(question, result) {
                // The library gives up on a damaged frame in several ways; the bytes themselves tell best.
                Err(Failure::Malformed) => return Err(question::heard_instead(&port.heard(), unit, question)),
                other => return other,
            },
            () = fell_silent(port, self.silence()) => Failure::Malformed,
            () = sleep(limit) => Failure::Timeout,
        };
        Err(match port.heard() {
            heard if heard.is_empty() => gave_up,
            heard => question::heard_instead(&heard, unit, question),
        })
    }
}

/// Returns when bytes have come and then none for so long.
async fn fell_silent(port: &Port, silence: Duration) {
    loop {
        let heard_at = port.heard_at();
        sleep_until(heard_at.unwrap_or_else(Instant::now) + silence).await;
        if heard_at.is_some() && port.heard_at() == heard_at {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
