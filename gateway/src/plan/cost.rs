//! What a request costs on its link.

use std::time::Duration;

use super::is_bits;
use crate::config::Transport;
use crate::profile::{ModbusLimits, Table};

/// What a request to a Modbus TCP device is assumed to take, way there, work and way back. Devices with a network port of
/// their own answer in 2 to 10 ms, those behind a serial converter in 20 to 60 ms.
const ROUND_TRIP: Duration = Duration::from_millis(20);

/// What a device on a serial line is assumed to take between the end of a question and the beginning of its answer. Meters take
/// 5 to 50 ms.
const TURNAROUND: Duration = Duration::from_millis(20);

/// Bytes of a question that reads, and of its answer beside the data.
const QUESTION_BYTES: u32 = 8;
const ANSWER_BYTES: u32 = 5;

/// The time that requests take on a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkCost {
    /// Each request, beside data and silence.
    pub request: Duration,
    /// Silence before each request.
    pub gap: Duration,
    /// Each byte of data in the answer.
    pub byte: Duration,
}

impl LinkCost {
    /// The cost on this link.
    #[must_use]
    pub fn on(transport: &Transport) -> Self {
        match transport {
            Transport::ModbusRtu { line, .. } => {
                let (request, gap) = (line.time_of(QUESTION_BYTES + ANSWER_BYTES) + line.frame_gap() + TURNAROUND, line.frame_gap());
                Self { request, gap, byte: line.time_of(1) }
            }
            Transport::ModbusTcp { .. }
            | Transport::ModbusTls { .. }
            | Transport::RtuOverTcp { .. }
            | Transport::Snmp(_)
            | Transport::SnmpTraps(_)
            | Transport::Bacnet(_)
            | Transport::Host
            | Transport::Exec(_)
            | Transport::Input(_) => Self::default(),
        }
    }

    /// The time of one request over so many registers or bits of a device.
    #[must_use]
    pub fn of(&self, table: Table, count: u32, limits: &ModbusLimits) -> Duration {
        let bytes = if is_bits(table) { count.div_ceil(8) } else { count * 2 };
        self.request + self.gap.max(limits.min_gap) + self.byte * bytes
    }
}

impl Default for LinkCost {
    /// Through a network, where bytes take nothing beside the way.
    fn default() -> Self {
        Self { request: ROUND_TRIP, gap: Duration::ZERO, byte: Duration::ZERO }
    }
}
