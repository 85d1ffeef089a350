//! The way to the Modbus devices of one link. Whatever is in doubt is thrown away. Decodes no values.
//!
//! tokio-modbus hands out a late or doubled reply as the answer to a later question, or errors for ever. So over TCP a connection lives
//! only while every request on it was answered in full by its own reply or by an exception; on a serial line each request has a codec
//! of its own, and after anything but a full answer the line must fall silent first. See [`tcp`] and [`rtu`].
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

mod patience;
pub(crate) mod question;
mod rtu;
#[cfg(test)]
mod tally;
mod tcp;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tokio_modbus::Error;
use tokio_modbus::prelude::{ReadDeviceIdentificationResponse as Identification, Request as Pdu, Response};

use pattoo_wire::Reason;

use self::patience::Patience;
use self::rtu::{Pace, Rtu};
use self::tcp::{Limits, Tcp};
use super::Clock;
use super::ear::{Ear, Told};
use crate::config::Transport;
use crate::health::Waiting;

/// What the device said.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// As many registers as asked, or bits as 0 and 1.
    Words(Vec<u16>),
    /// What was to be written is written, says the device.
    Done,
    /// What it calls itself (function 43/14).
    Identity(Identification),
    /// What it calls itself (function 17): a byte, then bytes of the vendor's choice.
    ServerId(Vec<u8>),
    /// An exception with this code.
    Refused(u8),
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// No connection could be made, no port opened.
    Unreachable,
    /// The connection ended before the reply did.
    Closed,
    /// Nothing, or not all, in time.
    Timeout,
    /// Something that is no reply to this request.
    Malformed,
    /// A reply of the right device whose checksum is wrong.
    BadCrc,
}

impl Failure {
    pub(crate) fn reason(self) -> Reason {
        match self {
            Self::Unreachable | Self::Closed => Reason::LinkDown,
            Self::Timeout => Reason::Timeout,
            Self::Malformed => Reason::Malformed,
            Self::BadCrc => Reason::BadCrc,
        }
    }
}

/// An answer or a failure, and the middle between question and answer in ms of the driver's clock.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) at_ms: i64,
    pub(crate) result: Result<Answer, Failure>,
}

/// Least wait for an answer on a serial line, beside the time of its bytes: meters take up to 50 ms, USB adapters pass bytes on every 16 ms.
const SERIAL_FLOOR: Duration = Duration::from_millis(150);
/// The same through a network: a lost segment is sent again after 200 ms at the earliest, a second time 400 ms later.
const NETWORK_FLOOR: Duration = Duration::from_millis(700);

/// What one way of asking gives: when the question went out, and what came.
struct Attempt {
    start_ms: i64,
    /// From the question to its answer or to giving up; none where it could not be asked.
    took: Option<Duration>,
    result: Result<Answer, Failure>,
}

/// The way to the devices of one link.
pub(crate) struct Session {
    way: Way,
    timeout: Duration,
    clock: Clock,
    /// When the last request ended.
    quiet_since: Option<Instant>,
    ear: Option<Arc<dyn Ear>>,
    /// Of each unit that was read.
    patience: HashMap<u8, Patience>,
    /// A unit that was asked something else than to be read the last time: it may still be at it.
    busy: Option<u8>,
}

enum Way {
    Tcp(Tcp),
    Rtu(Rtu),
    /// A link of another protocol.
    Foreign,
}

impl Session {
    pub(crate) fn new(transport: &Transport, clock: Clock) -> Self {
        let (way, timeout) = match transport {
            Transport::ModbusTcp { endpoint, timeout } => (Way::Tcp(Tcp::new(endpoint.clone())), *timeout),
            Transport::ModbusTls { endpoint, timeout, security } => (Way::Tcp(Tcp::secured(endpoint.clone(), security.clone())), *timeout),
            Transport::RtuOverTcp { endpoint, timeout } => (Way::Rtu(Rtu::over_tcp(endpoint.clone(), *timeout)), *timeout),
            Transport::ModbusRtu { line, timeout } => (Way::Rtu(Rtu::serial(line.clone(), *timeout)), *timeout),
            Transport::Snmp(_)
            | Transport::SnmpTraps(_)
            | Transport::Bacnet(_)
            | Transport::Host
            | Transport::Exec(_)
            | Transport::Input(_) => (Way::Foreign, Duration::ZERO),
        };
        Self { way, timeout, clock, quiet_since: None, ear: None, patience: HashMap::new(), busy: None }
    }

    /// The same with an ear at it, from the next connection on.
    pub(crate) fn heard_by(mut self, ear: Arc<dyn Ear>) -> Self {
        match &mut self.way {
            Way::Tcp(tcp) => tcp.ear = Some(Arc::clone(&ear)),
            Way::Rtu(rtu) => rtu.ear = Some(Arc::clone(&ear)),
            Way::Foreign => {}
        }
        Self { ear: Some(ear), ..self }
    }

    /// From now on, this is the longest wait for a connection and for a reply.
    pub(crate) fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = timeout;
        if let Way::Rtu(rtu) = &mut self.way {
            rtu.set_timeout(timeout);
        }
    }

    /// How long this unit is waited for.
    pub(super) fn waiting(&self, unit: u8) -> Waiting {
        let own = self.patience.get(&unit);
        let limit = own.map_or(self.timeout, |own| own.limit(self.way.floor(), self.timeout));
        Waiting { timeout: Some(limit), latency_p99: own.and_then(Patience::slowest), ..Waiting::default() }
    }

    /// Longest wait for a connection and for a reply.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    pub(crate) fn now_ms(&self) -> i64 {
        (self.clock)()
    }

    /// Asks once; a second time on a new connection where the first one had been used before, for that one may have gone stale
    /// while it was idle: closed by the device, or with a doubled reply still in it. That shows at once, so that what took long is
    /// not tried again. Nor is a write: it may have been done.
    pub(crate) async fn ask(&mut self, unit: u8, question: &Pdu<'static>, min_gap: Duration) -> Exchange {
        let (used, start) = (self.way.is_connection_in_use() && !question::changes_the_device(question), Instant::now());
        let first = self.attempt(unit, question, min_gap).await;
        match first.result {
            Err(Failure::Closed | Failure::Malformed) if used && start.elapsed() < min_gap + self.timeout => {
                self.attempt(unit, question, min_gap).await
            }
            _ => first,
        }
    }

    async fn attempt(&mut self, unit: u8, question: &Pdu<'static>, min_gap: Duration) -> Exchange {
        let gap = min_gap.max(self.way.frame_gap());
        if let Some(quiet_since) = self.quiet_since {
            sleep_until(quiet_since + gap).await;
        }
        let line_time = self.way.line_time(question);
        let limit = self.limit(unit, question, line_time);
        let start = Instant::now();
        let asked = match &mut self.way {
            Way::Tcp(tcp) => tcp.ask(unit, question, Limits { connect: self.timeout, answer: limit }, &self.clock).await,
            Way::Rtu(rtu) => rtu.ask(unit, question, Pace { gap, limit }, &self.clock).await,
            Way::Foreign => Attempt { start_ms: (self.clock)(), took: None, result: Err(Failure::Unreachable) },
        };
        let was_busy = std::mem::replace(&mut self.busy, (!question::is_read(question)).then_some(unit)) == Some(unit);
        if let Some(took) = asked.took.filter(|_| question::is_read(question) && !was_busy) {
            let own = self.patience.entry(unit).or_default();
            match asked.result {
                Ok(_) => own.answered(took.saturating_sub(line_time)),
                // A reply that was cut off by it may look like anything.
                Err(_) if took >= limit => own.timed_out(limit.saturating_sub(line_time)),
                Err(_) => {}
            }
        }
        self.quiet_since = Some(Instant::now());
        if let Some(ear) = &self.ear {
            ear.exchange(&Told { unit, question, result: &asked.result, took: start.elapsed() });
        }
        if let Err(failure) = asked.result {
            tracing::debug!(link = %self.way.name(), unit, ?question, ?failure, "no answer to a Modbus request");
        }
        Exchange { at_ms: asked.start_ms.midpoint(self.now_ms()), result: asked.result }
    }
}

impl Session {
    /// How long to wait for this answer. What is no plain read may take a device longer than its reads tell, and so may the first read behind
    /// it: a write goes to its flash.
    fn limit(&self, unit: u8, question: &Pdu<'_>, line_time: Duration) -> Duration {
        let own = self.patience.get(&unit).filter(|_| question::is_read(question) && self.busy != Some(unit));
        own.map_or(self.timeout, |own| (line_time + own.limit(self.way.floor(), self.timeout)).min(self.timeout))
    }
}

impl Way {
    /// Least wait for an answer.
    fn floor(&self) -> Duration {
        if matches!(self, Self::Rtu(rtu) if rtu.is_serial()) { SERIAL_FLOOR } else { NETWORK_FLOOR }
    }

    /// What question and answer take on a serial line; zero through a network, where bytes take nothing beside the way.
    fn line_time(&self, question: &Pdu<'_>) -> Duration {
        if let Self::Rtu(rtu) = self { rtu.time_of(question::line_bytes(question)) } else { Duration::ZERO }
    }

    /// Whether there is a connection that answered before and may have gone stale since. A serial line cannot.
    fn is_connection_in_use(&self) -> bool {
        matches!(self, Self::Tcp(tcp) if tcp.is_connected())
    }

    fn frame_gap(&self) -> Duration {
        if let Self::Rtu(rtu) = self { rtu.frame_gap() } else { Duration::ZERO }
    }

    fn name(&self) -> String {
        match self {
            Self::Tcp(tcp) => tcp.endpoint().to_owned(),
            Self::Rtu(rtu) => rtu.name(),
            Self::Foreign => "not Modbus".to_owned(),
        }
    }
}

/// What the library makes of the bytes that came.
fn judge(question: &Pdu<'_>, result: tokio_modbus::Result<Response>) -> Result<Answer, Failure> {
    match result {
        Ok(Ok(response)) => question::answer(question, response),
        Ok(Err(exception)) => Ok(Answer::Refused(exception.into())),
        Err(error) => Err(classify(&error)),
    }
}

/// The library's own complaints have a kind and no errno. A closed connection has whatever errno was last set, so its kind says
/// nothing.
fn classify(error: &Error) -> Failure {
    use std::io::ErrorKind;
    match error {
        Error::Protocol(_) => Failure::Malformed,
        Error::Transport(io) if io.raw_os_error().is_some() => Failure::Closed,
        Error::Transport(io) => match io.kind() {
            ErrorKind::InvalidData | ErrorKind::InvalidInput | ErrorKind::UnexpectedEof => Failure::Malformed,
            _ => Failure::Closed,
        },
    }
}
