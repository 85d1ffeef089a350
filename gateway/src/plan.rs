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

    fn in_one_block(self, limits: &ModbusLimits) -> bool {
        match (u16::try_from(self.start), u16::try_from(self.end - 1)) {
            (Ok(first), Ok(last)) => limits.in_one_block(first, last),
            _ => false,
        }
    }

    fn may_grow(self, next: Self, limits: &ModbusLimits) -> bool {
        let per_unit = if matches!(self.table, Table::Coil | Table::Discrete) { BITS_PER_REGISTER } else { 1 };
        let most = u32::from(limits.max_registers.saturating_mul(per_unit).min(MAX_BITS));
        let gap = u32::from(limits.max_gap) * u32::from(per_unit);
        let joined = self.with(next);
        self.table == next.table && next.start <= self.end + gap && joined.end - joined.start <= most && joined.in_one_block(limits)
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::profile::Encoding;

    fn limits(max_registers: u16, max_gap: u16) -> ModbusLimits {
        ModbusLimits { max_registers, max_gap, ..ModbusLimits::default() }
    }

    fn check(reads: &[ModbusRead], limits: &ModbusLimits, expected: &[(Table, u16, u16, &[usize])]) {
        let points: Vec<_> = reads.iter().enumerate().map(|(i, read)| (PointIndex(i), read)).collect();
        let got = plan(&points, limits);
        let expected: Vec<_> = expected
            .iter()
            .map(|(table, address, count, points)| Request {
                table: *table,
                address: *address,
                count: *count,
                points: points.iter().map(|i| PointIndex(*i)).collect(),
            })
            .collect();
        assert_eq!(got, expected);
    }

    fn input(address: u16, encoding: Encoding) -> ModbusRead {
        ModbusRead::new(Table::Input, address, encoding)
    }

    #[test]
    fn neighbours_are_read_together_and_holes_only_up_to_the_gap() {
        let reads = [input(4, Encoding::F32), input(0, Encoding::F32), input(2, Encoding::U16), input(9, Encoding::U16)];
        check(&reads, &limits(80, 0), &[(Table::Input, 0, 3, &[1, 2]), (Table::Input, 4, 2, &[0]), (Table::Input, 9, 1, &[3])]);
        check(&reads, &limits(80, 1), &[(Table::Input, 0, 6, &[1, 2, 0]), (Table::Input, 9, 1, &[3])]);
        check(&reads, &limits(80, 3), &[(Table::Input, 0, 10, &[1, 2, 0, 3])]);
    }

    #[test]
    fn the_longest_request_is_full_but_not_over() {
        let reads: Vec<_> = (0..41).map(|i| input(i * 2, Encoding::F32)).collect();
        let first: Vec<_> = (0..40).collect();
        check(&reads, &limits(80, 0), &[(Table::Input, 0, 80, &first), (Table::Input, 80, 2, &[40])]);
        let first: Vec<_> = (0..20).collect();
        let second: Vec<_> = (20..40).collect();
        let odd = [(Table::Input, 0, 40, &first[..]), (Table::Input, 40, 40, &second[..]), (Table::Input, 80, 2, &[40][..])];
        check(&reads, &limits(41, 0), &odd);
    }

    #[test]
    fn a_request_never_crosses_the_edge_of_a_block() {
        let blocks = vec![(0, 1), (2, 5), (8, 9)];
        let limits = ModbusLimits { blocks, ..limits(80, 10) };
        let reads =
            [input(0, Encoding::U16), input(1, Encoding::U16), input(2, Encoding::U16), input(5, Encoding::U16), input(8, Encoding::F32)];
        check(&reads, &limits, &[(Table::Input, 0, 2, &[0, 1]), (Table::Input, 2, 4, &[2, 3]), (Table::Input, 8, 2, &[4])]);
    }

    #[test]
    fn tables_are_never_mixed_and_bits_have_their_own_limit() {
        let mut reads: Vec<_> = (0..2001).map(|i| ModbusRead::new(Table::Coil, i, Encoding::Bit)).collect();
        reads.push(ModbusRead::new(Table::Holding, 0, Encoding::U16));
        let first: Vec<_> = (0..2000).collect();
        let expected = [(Table::Coil, 0, 2000, &first[..]), (Table::Coil, 2000, 1, &[2000][..]), (Table::Holding, 0, 1, &[2001][..])];
        check(&reads, &limits(125, 0), &expected);
    }

    #[test]
    fn the_last_addresses_are_read_without_overflow() {
        check(&[input(65535, Encoding::U16)], &limits(80, 100), &[(Table::Input, 65535, 1, &[0])]);
        let over = [input(65534, Encoding::U16), input(65535, Encoding::F64)];
        let blocks = ModbusLimits { blocks: vec![(0, 65535)], ..limits(125, 100) };
        check(&over, &blocks, &[(Table::Input, 65534, 1, &[0]), (Table::Input, 65535, 4, &[1])]);
    }

    #[test]
    fn a_round_costs_a_trip_and_a_silence_per_request() {
        let limits = ModbusLimits { min_gap: Duration::from_millis(100), ..limits(2, 0) };
        let reads = [input(0, Encoding::F32), input(2, Encoding::F32), input(4, Encoding::F32)];
        let points: Vec<_> = reads.iter().enumerate().map(|(i, read)| (PointIndex(i), read)).collect();
        assert_eq!(cycle_time(&plan(&points, &limits), &limits, ASSUMED_ROUND_TRIP), Duration::from_millis(360));
    }

    fn any_read() -> impl Strategy<Value = ModbusRead> {
        let register = prop::sample::select(vec![Encoding::U16, Encoding::F32, Encoding::F64]);
        let table = prop::sample::select(vec![Table::Coil, Table::Discrete, Table::Holding, Table::Input]);
        (table, register, 0..300u16).prop_map(|(table, register, address)| {
            let bits = matches!(table, Table::Coil | Table::Discrete);
            ModbusRead::new(table, address, if bits { Encoding::Bit } else { register })
        })
    }

    proptest! {
        #[test]
        fn a_plan_reads_each_point_once_within_all_limits(
            reads in prop::collection::vec(any_read(), 0..60),
            max_registers in 4..=125u16,
            max_gap in 0..20u16,
            edges in prop::collection::btree_set(1..300u16, 0..5),
        ) {
            let starts: Vec<u16> = std::iter::once(0).chain(edges.iter().copied()).collect();
            let ends = edges.iter().map(|e| e - 1).chain(std::iter::once(400));
            let blocks: Vec<_> = starts.iter().copied().zip(ends).collect();
            let limits = ModbusLimits { blocks, ..limits(max_registers, max_gap) };
            let points: Vec<_> = reads.iter().enumerate().map(|(i, read)| (PointIndex(i), read)).collect();
            let requests = plan(&points, &limits);

            let mut seen: Vec<_> = requests.iter().flat_map(|r| &r.points).copied().collect();
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..reads.len()).map(PointIndex).collect::<Vec<_>>());
            prop_assert!(requests.len() <= points.len());
            let mut shuffled = points.clone();
            shuffled.reverse();
            prop_assert_eq!(&plan(&shuffled, &limits), &requests, "the order of the points does not matter");

            for request in &requests {
                let (start, end) = (request.address, request.address + request.count);
                let of = |i: &PointIndex| &reads[i.0];
                prop_assert!(request.points.iter().all(|i| of(i).table == request.table));
                prop_assert!(request.points.iter().all(|i| of(i).address >= start && of(i).address + of(i).encoding.len() <= end));
                prop_assert!(request.points.iter().any(|i| of(i).address == start));
                prop_assert!(request.points.iter().any(|i| of(i).address + of(i).encoding.len() == end));
                let bits = matches!(request.table, Table::Coil | Table::Discrete);
                let (most, gap) = if bits { (2000.min(max_registers * 16), max_gap * 16) } else { (max_registers, max_gap) };
                prop_assert!(request.count <= most);
                prop_assert!(request.points.len() == 1 || limits.in_one_block(start, end - 1));
                let mut hole = 0;
                for address in start..end {
                    let used = request.points.iter().any(|i| (of(i).address..of(i).address + of(i).encoding.len()).contains(&address));
                    hole = if used { 0 } else { hole + 1 };
                    prop_assert!(hole <= gap);
                }
            }
        }
    }
}
