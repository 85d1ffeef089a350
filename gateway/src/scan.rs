//! Finds Modbus devices: which units answer, at which speed and parity, what they are, and a configuration for them. Pure: says what to
//! ask next and is told what was heard; `scan::drive` asks. Asks nothing but reads, so it changes no device.
//!
//! A unit is there if anything comes from it, an exception too; behind a TCP gateway, exceptions 0A and 0B say that nobody is there. A
//! serial line has one speed and parity: once a device is found, the others are not tried any more. Each device found is asked at once what it
//! is (see `dossier`), so that a scan that runs out of time has something to show.

pub(crate) mod bacnet;
mod dossier;
pub mod drive;
mod order;
mod rank;
mod report;
pub mod snmp;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::time::Duration;

use tokio_modbus::prelude::Request as Pdu;

use self::dossier::{Answered, Dossier};
use self::order::{Order, Probe};
pub use self::rank::Ranked;
pub use self::report::{Found, Report};
use crate::config::{Profiles, Transport};
use crate::driver::modbus::session::{Answer, Failure, question};
use crate::link::serial::SerialLine;
use crate::plan::Request;
use crate::profile::Parity;

/// Default of the time that a scan may take.
pub const BUDGET: Duration = Duration::from_secs(60);
/// Speeds that are tried, the likeliest first.
pub const BAUDS: [u32; 7] = [9600, 19_200, 38_400, 115_200, 57_600, 4800, 2400];
/// Parities that are tried, the likeliest first.
pub const PARITIES: [Parity; 3] = [Parity::None, Parity::Even, Parity::Odd];

/// How long a device on a serial line may take before its answer begins: meters take up to 50 ms, USB adapters pass bytes on every 16 ms.
const SERIAL_TURNAROUND: Duration = Duration::from_millis(120);
/// The same through a network, where gateways wait for their own serial line.
const NETWORK_TURNAROUND: Duration = Duration::from_millis(1000);
/// A device that has answered once is waited for longer.
const KNOWN_TURNAROUND: Duration = Duration::from_millis(300);
/// What a session waits for the line to be silent after a unit that was.
const SERIAL_SETTLE: Duration = Duration::from_millis(100);
const NETWORK_SETTLE: Duration = Duration::from_millis(300);

/// Bytes of a question and of the answer to a probe.
const PROBE_BYTES: u32 = 8 + 7;
/// Most bytes of an answer.
const MAX_ANSWER_BYTES: u32 = 256;
/// Failures to reach the link in a row after which the scan ends.
const MAX_UNREACHABLE: u32 = 3;
/// Over TCP, these are asked first: a device that answers for all of them answers for every unit.
const SPREAD: [u8; 5] = [1, 247, 99, 17, 2];

/// Exceptions that say that a device is there, and what it does not have.
const ILLEGAL: std::ops::RangeInclusive<u8> = 1..=3;
/// Exceptions by which a gateway says that nobody is there.
const NOBODY: std::ops::RangeInclusive<u8> = 0x0A..=0x0B;

/// Where to look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Modbus TCP at `host:port`.
    Tcp(String),
    /// A serial server at `host:port`.
    RtuOverTcp(String),
    /// A serial port.
    Serial(PathBuf),
}

/// How a serial line may be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// Bits per second.
    pub baud: u32,
    /// Parity bit.
    pub parity: Parity,
}

/// What to look for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Where.
    pub target: Target,
    /// Settings to try on a serial port, the likeliest first; one that means nothing for a network.
    pub settings: Vec<Setting>,
    /// Unit ids, in order.
    pub units: Vec<u8>,
    /// How long the scan may take.
    pub budget: Duration,
    /// How long a device may take before its answer begins; none for what is usual.
    pub turnaround: Option<Duration>,
}

impl Wanted {
    fn is_serial(&self) -> bool {
        matches!(self.target, Target::Serial(_))
    }

    fn line(&self, setting: Setting) -> Option<SerialLine> {
        match &self.target {
            Target::Serial(path) => Some(SerialLine::new(path.clone(), setting.baud, setting.parity)),
            _ => None,
        }
    }

    /// How long an answer to this is waited for.
    fn timeout(&self, setting: Setting, probe: bool) -> Duration {
        let usual = if self.is_serial() { SERIAL_TURNAROUND } else { NETWORK_TURNAROUND };
        let turnaround = self.turnaround.unwrap_or(usual);
        let (turnaround, bytes) =
            if probe { (turnaround, PROBE_BYTES) } else { (turnaround.max(KNOWN_TURNAROUND), PROBE_BYTES + MAX_ANSWER_BYTES) };
        turnaround + self.line(setting).map_or(Duration::ZERO, |line| line.time_of(bytes))
    }

    /// What a probe costs that nobody answers.
    fn silent_cost(&self, setting: Setting) -> Duration {
        let settle = match self.target {
            Target::Serial(_) => SERIAL_SETTLE,
            Target::RtuOverTcp(_) => NETWORK_SETTLE,
            Target::Tcp(_) => Duration::ZERO,
        };
        self.timeout(setting, true) + settle
    }

    /// The link as a driver opens it.
    fn transport(&self, setting: Setting) -> Transport {
        let timeout = self.timeout(setting, true);
        match &self.target {
            Target::Tcp(endpoint) => Transport::ModbusTcp { endpoint: endpoint.clone(), timeout },
            Target::RtuOverTcp(endpoint) => Transport::RtuOverTcp { endpoint: endpoint.clone(), timeout },
            Target::Serial(path) => Transport::ModbusRtu { line: SerialLine::new(path.clone(), setting.baud, setting.parity), timeout },
        }
    }
}

/// All pairs of these, the likeliest first: 9600 without parity, then as the standard wants it (19200, even), then the others in the order
/// given.
#[must_use]
pub fn settings(bauds: &[u32], parities: &[Parity]) -> Vec<Setting> {
    const LIKELY: [(u32, Parity); 4] = [(9600, Parity::None), (19_200, Parity::Even), (9600, Parity::Even), (19_200, Parity::None)];
    let mut all: Vec<_> = parities.iter().flat_map(|parity| bauds.iter().map(|baud| (*baud, *parity))).collect();
    all.sort_by_key(|setting| LIKELY.iter().position(|likely| likely == setting).unwrap_or(LIKELY.len()));
    all.into_iter().map(|(baud, parity)| Setting { baud, parity }).collect()
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Ask(Ask),
    Done,
}

/// One question.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Ask {
    setting: Setting,
    unit: u8,
    question: Pdu<'static>,
    timeout: Duration,
    why: Why,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Why {
    Probe(Probe),
    /// More about the device of this position.
    Evidence(usize),
}

/// A scan as far as it has come.
struct Scan<'p> {
    wanted: Wanted,
    profiles: &'p Profiles,
    order: Order,
    found: Vec<Dossier>,
    /// Units that answer with an exception that says neither yes nor no.
    doubtful: Vec<u8>,
    /// Units from which something came that was no answer.
    garbled: Vec<u8>,
    /// One device answers for every unit.
    all_alike: bool,
    asked: u32,
    unreachable: u32,
    /// Why it ended early.
    gave_up: Option<String>,
}

impl<'p> Scan<'p> {
    fn new(wanted: Wanted, profiles: &'p Profiles) -> Self {
        let order = Order::new(&wanted);
        let (found, doubtful, garbled) = (Vec::new(), Vec::new(), Vec::new());
        Self { wanted, profiles, order, found, doubtful, garbled, all_alike: false, asked: 0, unreachable: 0, gave_up: None }
    }

    fn next(&mut self, elapsed: Duration) -> Step {
        if self.gave_up.is_some() || elapsed >= self.wanted.budget {
            return Step::Done;
        }
        // Which units are one and the same device must be known before any is asked more.
        if !self.order.spread_is_open()
            && let Some(ask) = self.evidence()
        {
            return Step::Ask(ask);
        }
        let Some(probe) = self.order.next() else { return Step::Done };
        let setting = self.order.setting(&probe);
        let question = question::read(&Request { table: probe.table, address: 0, count: 1, points: Vec::new() });
        let timeout = self.wanted.timeout(setting, true);
        Step::Ask(Ask { setting, unit: probe.unit, question, timeout, why: Why::Probe(probe) })
    }

    /// The next question to a device that was found.
    fn evidence(&mut self) -> Option<Ask> {
        for (index, dossier) in self.found.iter_mut().enumerate() {
            if let Some(question) = dossier.next(self.profiles) {
                let (setting, unit) = (dossier.setting, dossier.unit);
                let timeout = self.wanted.timeout(setting, false);
                return Some(Ask { setting, unit, question, timeout, why: Why::Evidence(index) });
            }
        }
        None
    }

    fn heard(&mut self, ask: &Ask, result: &Result<Answer, Failure>) {
        self.asked += 1;
        self.unreachable = if *result == Err(Failure::Unreachable) { self.unreachable + 1 } else { 0 };
        if self.unreachable >= MAX_UNREACHABLE {
            self.gave_up = Some("the link can no longer be opened".to_owned());
        }
        match &ask.why {
            Why::Evidence(index) => {
                if let Some(dossier) = self.found.get_mut(*index) {
                    dossier.heard(&ask.question, result);
                }
            }
            Why::Probe(probe) => self.probed(probe, ask, result),
        }
    }

    fn probed(&mut self, probe: &Probe, ask: &Ask, result: &Result<Answer, Failure>) {
        let garbled = matches!(result, Err(Failure::Malformed | Failure::BadCrc));
        let answered = match result {
            Ok(Answer::Refused(code)) if ILLEGAL.contains(code) => Some(Answered::Refused(*code)),
            Ok(Answer::Refused(code)) if NOBODY.contains(code) => None,
            Ok(Answer::Refused(_)) => {
                push_once(&mut self.doubtful, probe.unit);
                None
            }
            Ok(_) => Some(Answered::Value),
            Err(_) => None,
        };
        let spread_was_open = self.order.spread_is_open();
        self.order.done(probe, answered.is_some());
        // Whoever disturbed it may be done by now.
        if garbled && push_once(&mut self.garbled, probe.unit) {
            self.order.again(probe);
        }
        if let Some(first) = answered {
            self.doubtful.retain(|unit| *unit != probe.unit);
            self.garbled.retain(|unit| *unit != probe.unit);
            self.found.push(Dossier::new(probe.unit, ask.setting, first));
        }
        if spread_was_open && !self.order.spread_is_open() && self.order.spread_all_answered() {
            // The one that people would take.
            self.found.sort_by_key(|dossier| dossier.unit);
            self.found.truncate(1);
            self.all_alike = true;
            self.order.stop();
        }
    }
}

/// Whether it was not there yet.
fn push_once(units: &mut Vec<u8>, unit: u8) -> bool {
    let new = !units.contains(&unit);
    if new {
        units.push(unit);
    }
    new
}
