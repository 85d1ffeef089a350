//! Whether the points of a profile go together: one protocol, within the device's limits, no register with two meanings.

use super::read::TYPES;
use super::{ModbusLimits, ModbusRead, Point, Read};
use crate::yaml::{Position, Problems, quoted};

/// Checks all points; those limits that are there.
pub(super) fn together(points: &[(Position, Point)], limits: Option<&ModbusLimits>, problems: &mut Problems<'_>) {
    one_protocol(points, problems);
    if let Some(limits) = limits {
        within_limits(points, limits, problems);
    }
    no_overlap(points, problems);
}

fn one_protocol(points: &[(Position, Point)], problems: &mut Problems<'_>) {
    let host = |point: &Point| matches!(point.read, Read::Host(_));
    let Some((_, first)) = points.first() else { return };
    if let Some((at, other)) = points.iter().find(|(_, point)| host(point) != host(first)) {
        let (a, b) = if host(first) { ("host metrics", "registers") } else { ("registers", "host metrics") };
        problems.add(*at, format!("point {}: reads {b}, the points before read {a}; a profile has one protocol", quoted(&other.name)));
    }
}

fn within_limits(points: &[(Position, Point)], limits: &ModbusLimits, problems: &mut Problems<'_>) {
    for (at, point) in points {
        let Read::Modbus(read) = &point.read else { continue };
        let (name, first, last) = (quoted(&point.name), read.address, read.last());
        if read.encoding.len() > limits.max_registers {
            let max = limits.max_registers;
            problems.add(*at, format!("point {name}: takes {} registers, max_registers allows {max} in one request", read.encoding.len()));
        }
        if !limits.in_one_block(first, last) {
            problems.add(*at, format!("point {name}: registers {first:#06X} to {last:#06X} are not inside one of modbus, blocks"));
        }
    }
}

/// Two points may share registers only when they are the same registers of the same type: one value, two names.
fn no_overlap(points: &[(Position, Point)], problems: &mut Problems<'_>) {
    let mut reads: Vec<(&ModbusRead, Position, &Point)> = points
        .iter()
        .filter_map(|(at, point)| match &point.read {
            Read::Modbus(read) => Some((read, *at, point)),
            Read::Host(_) => None,
        })
        .collect();
    reads.sort_by_key(|(read, at, _)| (read.table, read.address, at.line, at.column));
    // The point that reaches furthest so far; its neighbours are compared with it.
    let mut furthest: Option<(&ModbusRead, Position, &Point)> = None;
    for (read, at, point) in reads {
        if let Some((other, other_at, other_point)) = furthest
            && other.table == read.table
            && read.address <= other.last()
        {
            let same = other.address == read.address && other.encoding == read.encoding;
            if !same {
                let ((at, point, read), (_, before, other)) = if (at.line, at.column) > (other_at.line, other_at.column) {
                    ((at, point, read), (other_at, other_point, other))
                } else {
                    ((other_at, other_point, other), (at, point, read))
                };
                problems.add(at, overlap(point, read, before, other));
            }
        }
        if furthest.is_none_or(|(other, ..)| other.table != read.table || other.last() < read.last()) {
            furthest = Some((read, at, point));
        }
    }
}

fn overlap(point: &Point, read: &ModbusRead, before: &Point, other: &ModbusRead) -> String {
    let type_of = |read: &ModbusRead| TYPES.iter().find(|(_, e)| *e == read.encoding).map_or("", |(name, _)| *name);
    format!(
        "point {}: registers {} to {} ({}) overlap point {} at {} to {} ({}); expected registers of its own, or the same address and type",
        quoted(&point.name),
        read.address,
        read.last(),
        type_of(read),
        quoted(&before.name),
        other.address,
        other.last(),
        type_of(other),
    )
}
