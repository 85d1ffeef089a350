//! Points -> requests: which registers are read together. Does not talk to devices and keeps nothing.
//!
//! Of all ways to read these points within the device's limits, the one that takes the link's time least: reading over unused registers
//! costs their bytes, another request costs its frames, its silence and the device's own time. Points sorted by address, a request
//! holds a run of them; so the best first request and the best plan for the rest make the best plan (the test tries every partition).

mod cost;
#[cfg(test)]
mod tests;
mod why;

use std::time::Duration;

pub use cost::LinkCost;
pub use why::{Why, explain};

use crate::profile::{ModbusLimits, ModbusRead, Table};
use crate::reading::PointIndex;

/// Most bits in one request: the limit of function codes 1 and 2.
pub const MAX_BITS: u16 = 2000;

/// Bits that take as many bytes as one register: turns the register limits of a profile into those for bits.
const BITS_PER_REGISTER: u16 = 16;

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

/// Where a point's words lie in one table, a scale register of its own included: what belongs together comes in one reply.
#[derive(Clone, Copy)]
struct Span {
    table: Table,
    start: u32,
    end: u32,
}

impl Span {
    fn of(read: &ModbusRead) -> Self {
        // A value that ends past the last address is not cut: its request is refused by the device.
        let end = (u32::from(read.address) + u32::from(read.encoding.len())).max(u32::from(read.last()) + 1);
        Self { table: read.table, start: u32::from(read.first()), end }
    }

    fn with(self, other: Self) -> Self {
        Self { end: self.end.max(other.end), ..self }
    }

    fn in_one_block(self, limits: &ModbusLimits) -> bool {
        match (u16::try_from(self.start), u16::try_from(self.end - 1)) {
            (Ok(first), Ok(last)) => limits.in_one_block(first, last),
            _ => false,
        }
    }

    /// Registers or bits of its table for each register in the limits.
    fn per_unit(self) -> u16 {
        if is_bits(self.table) { BITS_PER_REGISTER } else { 1 }
    }

    /// Whether one request may hold it and others: one that is too long, or lies across two blocks, is asked for alone.
    fn fits(self, limits: &ModbusLimits) -> bool {
        self.end - self.start <= self.most(limits) && self.in_one_block(limits)
    }

    /// Whether one request may hold both. Where it may not, it may not hold what lies behind the next either.
    fn may_grow(self, next: Self, limits: &ModbusLimits) -> bool {
        let gap = u32::from(limits.max_gap) * u32::from(self.per_unit());
        self.table == next.table && next.start <= self.end + gap && self.with(next).fits(limits)
    }
}

fn is_bits(table: Table) -> bool {
    matches!(table, Table::Coil | Table::Discrete)
}

/// The best plan for the points from one on.
#[derive(Clone, Copy)]
struct Best {
    time: Duration,
    /// Behind the last point of its first request.
    first_ends: usize,
}

/// The requests that read each of these points once in the least time, in the order of tables and addresses. Of equal ones that
/// whose first requests are the longest.
#[must_use]
pub fn plan(points: &[(PointIndex, &ModbusRead)], limits: &ModbusLimits, cost: &LinkCost) -> Vec<Request> {
    let spans = points.iter().map(|(index, read)| (Span::of(read), *index));
    // Whoever goes alone must not part its neighbours.
    let (mut spans, alone): (Vec<_>, Vec<_>) = spans.partition(|(span, _)| span.fits(limits));
    spans.sort_by_key(|(span, index)| (span.table, span.start, span.end, *index));
    // From the last point to the first: best[i] reads all from i on.
    let mut best = vec![Best { time: Duration::ZERO, first_ends: spans.len() }; spans.len() + 1];
    for start in (0..spans.len()).rev() {
        let found = best_first(&spans, start, &best, limits, cost);
        if let (Some(slot), Some(found)) = (best.get_mut(start), found) {
            *slot = found;
        }
    }
    let mut requests = Vec::new();
    let mut rest = spans.as_slice();
    while let (Some(best), false) = (best.get(spans.len() - rest.len()), rest.is_empty()) {
        let taken = best.first_ends.saturating_sub(spans.len() - rest.len()).clamp(1, rest.len());
        let (own, behind) = rest.split_at(taken);
        requests.extend(request(own));
        rest = behind;
    }
    requests.extend(alone.into_iter().filter_map(|own| request(&[own])));
    requests.sort_by_key(|request| (request.table, request.address, request.points.first().copied()));
    requests
}

/// Tries every first request that begins with this point.
fn best_first(spans: &[(Span, PointIndex)], start: usize, best: &[Best], limits: &ModbusLimits, cost: &LinkCost) -> Option<Best> {
    let (mut open, mut found): (Option<Span>, Option<Best>) = (None, None);
    for (index, (span, _)) in spans.iter().enumerate().skip(start) {
        let joined = match open {
            None => *span,
            Some(open) if open.may_grow(*span, limits) => open.with(*span),
            Some(_) => break,
        };
        open = Some(joined);
        let time = cost.of(joined.table, joined.end - joined.start, limits) + best.get(index + 1)?.time;
        if found.is_none_or(|found| time <= found.time) {
            found = Some(Best { time, first_ends: index + 1 });
        }
    }
    found
}

/// A point that reaches past the last address is cut there: the device refuses it and its reading says so.
fn request(members: &[(Span, PointIndex)]) -> Option<Request> {
    let span = members.iter().map(|(span, _)| *span).reduce(Span::with)?;
    let address = u16::try_from(span.start).unwrap_or(u16::MAX);
    let count = u16::try_from(span.end - span.start).unwrap_or(u16::MAX);
    Some(Request { table: span.table, address, count, points: members.iter().map(|(_, index)| *index).collect() })
}

/// How long one round over these requests takes.
#[must_use]
pub fn cycle_time(requests: &[Request], limits: &ModbusLimits, cost: &LinkCost) -> Duration {
    requests.iter().map(|request| cost.of(request.table, u32::from(request.count), limits)).sum()
}
