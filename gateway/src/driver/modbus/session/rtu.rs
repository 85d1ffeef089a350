//! Modbus RTU on a serial line, or the same frames through a TCP connection to a serial server.
//!
//! An RTU frame names no question that it answers. What keeps a late reply from becoming a wrong value:
//! - each request has a codec of its own, and what lies in the line before a request is thrown away;
//! - after anything but a full answer nothing is asked before the line was silent for [`Rtu::late_window`];
//! - the first answer after such a failure is believed only if nothing follows it: a device that owed a reply gives two;
//! - bytes behind an answer that do not repeat it make it void.
//!
//! A reply that is later than the window and then comes alone would be believed: that is inherent in RTU, so the window is never
//! shorter than the time-out.

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

/// Longest time to wait for silence, in multiples of the late window: then the line counts as down.
const MAX_DRAIN: u32 = 4;

/// A reply that pauses for so long has ended, complete or not. USB adapters pass bytes on every 16 ms, serial servers every 50 ms.
const SERIAL_SILENCE: Duration = Duration::from_millis(100);
const NETWORK_SILENCE: Duration = Duration::from_millis(300);

/// The line and what is known of it.
pub(super) struct Rtu {
    at: At,
    timeout: Duration,
    port: Option<Port>,
    /// Something may still be under way on the line that belongs to an earlier request.
    in_doubt: bool,
    /// The request before was not answered in full: the device may owe a reply, and give it together with the next one.
    after_failure: bool,
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
        Self { at: At::Serial(line), timeout, port: None, in_doubt: false, after_failure: false, said: None, ear: None }
    }

    pub(super) fn over_tcp(endpoint: String, timeout: Duration) -> Self {
        Self { at: At::Network(endpoint), timeout, port: None, in_doubt: false, after_failure: false, said: None, ear: None }
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

    /// How long a reply may be late.
    fn late_window(&self) -> Duration {
        self.timeout
    }

    fn silence(&self) -> Duration {
        match &self.at {
            At::Serial(_) => SERIAL_SILENCE,
            At::Network(_) => NETWORK_SILENCE,
        }
    }

    pub(super) async fn ask(&mut self, unit: u8, question: &Pdu<'static>, gap: Duration, clock: &Clock) -> Attempt {
        let mut port = match self.ready(gap).await {
            Ok(port) => port,
            Err(failure) => return Attempt { start_ms: clock(), result: Err(failure) },
        };
        let after_failure = std::mem::take(&mut self.after_failure);
        // Both stay so if this future is dropped half-way.
        (self.in_doubt, self.after_failure) = (true, true);
        let start_ms = clock();
        let mut result = self.exchange(&mut port, unit, question).await;
        if let Ok(answer) = &result {
            if after_failure {
                // Reads on until nothing more comes.
                let _ = port.linger(self.silence()).await;
            }
            let heard = port.heard();
            let (frame, behind) = heard.split_at(question::frame_len(question, answer).min(heard.len()));
            if !behind.is_empty() && !frame.starts_with(behind) {
                result = Err(Failure::Malformed);
            }
            self.in_doubt = !behind.is_empty();
            self.after_failure = result.is_err();
        }
        if matches!(result, Err(Failure::Closed | Failure::Unreachable)) {
            self.port = None;
        }
        Attempt { start_ms, result }
    }

    /// The line, open and silent.
    async fn ready(&mut self, gap: Duration) -> Result<Port, Failure> {
        let mut port = match self.port.take() {
            Some(port) => port,
            None => {
                // Whoever spoke here before us may have left a question unanswered.
                self.in_doubt = true;
                self.open().await?
            }
        };
        let window = self.late_window();
        if !self.in_doubt {
            // What came without being asked for belongs to nobody, and more of it may follow.
            self.in_doubt = port.drain(Duration::ZERO, window).await.map_err(|_| Failure::Closed)? > 0;
        }
        if self.in_doubt {
            match port.drain(window, window * MAX_DRAIN).await {
                Ok(0) => {}
                Ok(thrown) => {
                    tracing::debug!(link = %self.name(), bytes = thrown, "late or foreign bytes on the line thrown away");
                    sleep(gap).await;
                }
                Err(error) if error.kind() == std::io::ErrorKind::TimedOut => {
                    // Somebody else talks here all the time: no answer could be trusted.
                    self.port = Some(port);
                    return Err(Failure::Malformed);
                }
                Err(_) => return Err(Failure::Closed),
            }
        }
        self.port = Some(port.clone());
        Ok(port)
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

    async fn exchange(&self, port: &mut Port, unit: u8, question: &Pdu<'static>) -> Result<Answer, Failure> {
        port.begin();
        let mut context = rtu::attach_slave(port.clone(), Slave(unit));
        let gave_up = tokio::select! {
            result = context.call(question.clone()) => match judge(question, result) {
                // The library gives up on a damaged frame in several ways; the bytes themselves tell best.
                Err(Failure::Malformed) => return Err(question::heard_instead(&port.heard(), unit, question)),
                other => return other,
            },
            () = fell_silent(port, self.silence()) => Failure::Malformed,
            () = sleep(self.timeout) => Failure::Timeout,
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
