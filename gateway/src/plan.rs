//! Points -> requests: which registers are read together. Does not talk to devices and keeps nothing.
//!
//! The walk goes once over the points in address order and lets a request grow while every limit holds. With intervals on a
//! line that gives the fewest requests there can be.

use std::time::Duration;

use crate::profile::{ModbusLimits, ModbusRead, Table};
use crate::reading::PointIndex;

/// Most bits in one request: the limit of function codes 1 and 2.
pub const MAX_BITS: u16 = 2000;

/// Bits that take as many bytes as one register: turns the register limits of a profile into those for bits.
const BITS_PER_REGISTER: u16 = 16;

/// What a request to a Modbus TCP device is assumed to take, way there, work and way back. Devices with a network port of
/// their own answer in 2 to 10 ms, those behind a serial converter in 20 to 60 ms.
pub const ASSUMED_ROUND_TRIP: Duration = Duration::from_millis(20);

/// One request to a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Which table.
    pub table: Table,
    /// First register or bit: the first one of its first point.
    pub address: u16,
    /// Registers or bits, up to the last one of some point.
    pub count: u16,
    /// Points that its reply holds, by address.
    pub points: Vec<PointIndex>,
}

/// Where a point's words lie in one table.
#[derive(Clone, Copy)]
struct Span {
    table: Table,
    start: u32,
    end: u32,
}

impl Span {
    fn of(read: &ModbusRead) -> Self {
        let start = u32::from(read.address);
        Self { table: read.table, start, end: start + u32::from(read.encoding.len()) }
    }

    fn with(self, other: Self) -> Self {
        Self { end: self.end.max(other.end), ..self }
    }

    fn may_grow(self, next: Self, limits: &ModbusLimits) -> bool {
        let per_unit = if matches!(self.table, Table::Coil | Table::Discrete) { BITS_PER_REGISTER } else { 1 };
        let most = u32::from(limits.max_registers.saturating_mul(per_unit).min(MAX_BITS));
        let gap = u32::from(limits.max_gap) * u32::from(per_unit);
        let joined = self.with(next);
        self.table == next.table && next.start <= self.end + gap && joined.end - joined.start <= most
    }
}

/// The requests that read each of these points once, in the order of tables and addresses.
#[must_use]
pub fn plan(points: &[(PointIndex, &ModbusRead)], limits: &ModbusLimits) -> Vec<Request> {
    let mut spans: Vec<(Span, PointIndex)> = points.iter().map(|(index, read)| (Span::of(read), *index)).collect();
    spans.sort_by_key(|(span, index)| (span.table, span.start, span.end, *index));
    let mut groups: Vec<(Span, Vec<PointIndex>)> = Vec::new();
    for (span, index) in spans {
        match groups.last_mut() {
            Some((open, members)) if open.may_grow(span, limits) => {
                *open = open.with(span);
                members.push(index);
            }
            _ => groups.push((span, vec![index])),
        }
    }
    groups.into_iter().map(|(span, points)| request(span, points)).collect()
}

/// A point that reaches past the last address is cut there: the device refuses it and its reading says so.
fn request(span: Span, points: Vec<PointIndex>) -> Request {
    let address = u16::try_from(span.start).unwrap_or(u16::MAX);
    let count = u16::try_from(span.end - span.start).unwrap_or(u16::MAX);
    Request { table: span.table, address, count, points }
}

/// How long one round over these requests takes when each takes `round_trip`, with the silence that the device wants.
#[must_use]
pub fn cycle_time(requests: &[Request], limits: &ModbusLimits, round_trip: Duration) -> Duration {
    let count = u32::try_from(requests.len()).unwrap_or(u32::MAX);
    (round_trip + limits.min_gap).saturating_mul(count)
}
