//! `pattoo_agent_modbustcpd`: registers by the numbers that vendors print, each of 16 bits without a sign. Pure.

use std::path::Path;

use super::group::{Group, OldPoint, fields, groups, interval_s, number, points, whole};
use super::old::Section;
use super::plan::{Plan, Point, Reads, Target, Way};
use crate::yaml::{Problems, Tree};

/// Highest unit that the old agent took.
const MAX_UNIT: i128 = 246;

/// The numbers of registers, first and last: of five digits, and of six.
type Numbers = [(i128, i128); 2];

/// The lists, what their points are called, and the numbers of their registers.
const LISTS: &[(&str, &str, Numbers)] = &[
    ("input_registers", "input_register", [(30_001, 39_999), (300_001, 365_536)]),
    ("holding_registers", "holding_register", [(40_001, 49_999), (400_001, 465_536)]),
];

pub(super) fn read(section: &Section<'_>, file: &Path, plan: &mut Plan<'_>, problems: &mut Problems<'_>) {
    let Some(section_fields) = fields(section, &[], problems) else { return };
    let every_s = interval_s(&section_fields, problems);
    let keys = ["input_registers", "holding_registers", "unit"];
    for group in groups("polling_groups", &section_fields, &keys, problems) {
        let Some(unit) = unit(&group, problems) else { continue };
        let registers = registers(&group, problems);
        if registers.is_empty() {
            continue;
        }
        tell(&group, unit, &registers, section.program, file, plan);
        for (host, at) in &group.targets {
            let (groups, reads) = (vec![group.name.clone()], Reads::Points(registers.clone()));
            plan.add(*at, Target { host: (*host).to_owned(), way: Way::Modbus { unit }, every_s, groups, reads }, problems);
        }
    }
}

/// The unit of a group, 0 where it has none. One that is wrong costs its group.
fn unit(group: &Group<'_>, problems: &mut Problems<'_>) -> Option<u8> {
    let Some(field) = group.fields.optional("unit").filter(|field| field.node.tree != Tree::Null) else { return Some(0) };
    whole(&field, 0, MAX_UNIT, "a unit", problems).and_then(|unit| u8::try_from(unit).ok())
}

fn registers(group: &Group<'_>, problems: &mut Problems<'_>) -> Vec<Point> {
    let before = problems.count();
    let mut all: Vec<Point> = Vec::new();
    for (list, name, numbers) in LISTS {
        let Some(field) = group.fields.optional(list).filter(|field| field.node.tree != Tree::Null) else { continue };
        for point in points(&field, problems) {
            let Some(point) = register(&point, name, numbers, problems) else { continue };
            match all.iter().find(|other| other.name == point.name) {
                None => all.push(point),
                Some(other) if *other == point => {}
                Some(other) => {
                    problems.add(field.node.at, format!("{} is read twice: `{}` stays, not `{}`", point.name, other.read, point.read))
                }
            }
        }
    }
    if all.is_empty() && problems.count() == before {
        problems.add(group.at, format!("group {}: there is no register, expected input_registers or holding_registers", group.name));
    }
    all
}

fn register(old: &OldPoint<'_>, name: &str, numbers: &[(i128, i128); 2], problems: &mut Problems<'_>) -> Option<Point> {
    let [(low, high), (long_low, long_high)] = *numbers;
    let Some(number) = number(&old.address).filter(|n| (low..=high).contains(n) || (long_low..=long_high).contains(n)) else {
        old.address.wrong(&format!("a register from {low} to {high}, or from {long_low} to {long_high}"), problems);
        return None;
    };
    let scale = old.multiplier.as_ref().map(|multiplier| format!(", scale: {multiplier}")).unwrap_or_default();
    let read = format!("modicon: {number}, type: u16{scale}");
    Some(Point { name: format!("{name}_{number}"), kind: None, read, table: None, about: None })
}

/// What is otherwise than with the old agent.
fn tell(group: &Group<'_>, unit: u8, registers: &[Point], program: &str, file: &Path, plan: &mut Plan<'_>) {
    plan.change(
        file,
        group.at,
        format!(
            "series {program}_input_register_N and {program}_holding_register_N are the points input_register_N and holding_register_N"
        ),
    );
    let mut holding: Vec<i64> = registers.iter().filter_map(|point| point.name.strip_prefix("holding_register_")?.parse().ok()).collect();
    holding.sort_unstable();
    if unit > 0 && !holding.is_empty() {
        plan.change(
            file,
            group.at,
            format!("group {}: holding registers are read of unit {unit}; the old agent read them of unit 0", group.name),
        );
    }
    if holding.iter().zip(holding.iter().skip(1)).any(|(a, b)| a + 1 == *b) {
        plan.change(file, group.at, format!("group {}: each holding register of a run is read; the old agent read its first", group.name));
    }
}
