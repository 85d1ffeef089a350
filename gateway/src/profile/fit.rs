//! Whether the points of a profile go together: one protocol, within the device's limits, no register with two meanings.

use std::collections::BTreeSet;

use super::source::type_name;
use super::{ModbusLimits, ModbusRead, Place, Point, Read};
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
    let kind = |point: &Point| match point.read {
        Read::Modbus(_) => "registers",
        Read::SunSpec(_) => "SunSpec models",
        Read::Host(_) => "host metrics",
        Read::Snmp(_) | Read::Trap(_) => "an SNMP agent",
        Read::Bacnet(_) => "BACnet objects",
        Read::Line(_) => "fields of lines",
    };
    let Some((_, first)) = points.first() else { return };
    if let Some((at, other)) = points.iter().find(|(_, point)| kind(point) != kind(first)) {
        let (a, b, name) = (kind(first), kind(other), quoted(&other.name));
        problems.add(*at, format!("point {name}: reads {b}, the points before read {a}; a profile has one protocol"));
    }
}

fn within_limits(points: &[(Position, Point)], limits: &ModbusLimits, problems: &mut Problems<'_>) {
    for (at, point) in points {
        if let Read::SunSpec(places) = &point.read {
            let longest = places.iter().map(|place| place.read.encoding.len()).max().unwrap_or_default();
            if longest > limits.max_registers {
                let (name, max) = (quoted(&point.name), limits.max_registers);
                problems.add(*at, format!("point {name}: takes {longest} registers, max_registers allows {max} in one request"));
            }
        }
        let Read::Modbus(read) = &point.read else { continue };
        let (name, first, last) = (quoted(&point.name), read.first(), read.last());
        // Bits have a limit of their own, and a point takes one.
        let taken = u32::from(last) - u32::from(first) + 1;
        if taken > u32::from(limits.max_registers) {
            let max = limits.max_registers;
            let with = if read.scale_at.is_some() { " with its scale register" } else { "" };
            problems.add(*at, format!("point {name}: takes {taken} registers{with}, max_registers allows {max} in one request"));
        }
        if !limits.in_one_block(first, last) {
            problems.add(*at, format!("point {name}: registers {first:#06X} to {last:#06X} are not inside one of modbus, blocks"));
        }
    }
}

/// Compares the points of the profile, or those of each of its models.
fn no_overlap(points: &[(Position, Point)], problems: &mut Problems<'_>) {
    let plain = points.iter().filter_map(|(at, point)| match &point.read {
        Read::Modbus(read) => Some((read, *at, point)),
        Read::SunSpec(_) | Read::Host(_) | Read::Snmp(_) | Read::Trap(_) | Read::Bacnet(_) | Read::Line(_) => None,
    });
    no_clash(plain, problems);
    let places = || {
        points.iter().flat_map(|(at, point)| {
            let places: &[Place] = if let Read::SunSpec(places) = &point.read { places } else { &[] };
            places.iter().map(move |place| (place, *at, point))
        })
    };
    // Models that are named together have one layout and are compared once.
    let models: BTreeSet<u16> = places().filter_map(|(place, ..)| place.models.first().copied()).collect();
    for id in models {
        no_clash(places().filter(|(place, ..)| place.models.contains(&id)).map(|(place, at, point)| (&place.read, at, point)), problems);
    }
}

/// Two points may share registers when they take the same ones as the same type (one value, two names), or when one of them takes only
/// a part of them (bits, halves) and the other the whole, or both a part.
fn no_clash<'p>(reads: impl Iterator<Item = (&'p ModbusRead, Position, &'p Point)>, problems: &mut Problems<'_>) {
    let mut reads: Vec<_> = reads.collect();
    reads.sort_by_key(|(read, at, _)| (read.table, read.address, at.line, at.column));
    // Those that reach furthest so far, the whole values and the parts; their neighbours are compared with them.
    let mut furthest: [Option<(&ModbusRead, Position, &Point)>; 2] = [None, None];
    for (read, at, point) in reads {
        let clash = furthest.iter().flatten().find(|(other, ..)| clash(read, other));
        if let Some((other, other_at, other_point)) = clash {
            let ((at, point, read), (_, before, other)) = if (at.line, at.column) > (other_at.line, other_at.column) {
                ((at, point, read), (other_at, other_point, other))
            } else {
                ((*other_at, *other_point, *other), (&at, &point, &read))
            };
            problems.add(at, overlap(point, read, before, other));
        }
        let [whole, parts] = &mut furthest;
        let slot = if read.is_part() { parts } else { whole };
        if slot.is_none_or(|(other, ..)| other.table != read.table || other.own_last() < read.own_last()) {
            *slot = Some((read, at, point));
        }
    }
}

/// Whether the later of two points may not begin where it does.
fn clash(read: &ModbusRead, before: &ModbusRead) -> bool {
    if before.table != read.table || read.address > before.own_last() {
        return false;
    }
    let same_place = before.address == read.address && before.encoding.len() == read.encoding.len();
    match (read.is_part(), before.is_part()) {
        (true, true) => false,
        (false, false) => !(same_place && before.encoding == read.encoding),
        _ => !same_place,
    }
}

fn overlap(point: &Point, read: &ModbusRead, before: &Point, other: &ModbusRead) -> String {
    format!(
        "point {}: registers {} to {} ({}) overlap point {} at {} to {} ({}); expected registers of its own, or the same address and type",
        quoted(&point.name),
        read.address,
        read.own_last(),
        type_name(read.encoding),
        quoted(&before.name),
        other.address,
        other.own_last(),
        type_name(other.encoding),
    )
}
