//! What somebody wrote to a simulated device: it stays, in place of what would be measured. Serves nothing.

use std::collections::BTreeMap;

use pattoo_wire::Sample;

use crate::profile::{ModbusRead, Point, Read, Table, Writable};

/// What was written: the bits of each register that are no longer measured.
#[derive(Debug, Default)]
pub(super) struct Written(BTreeMap<(Table, u16), (u16, u16)>);

/// Why nothing was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotWritten {
    /// No writable point has these registers.
    Address,
    /// A value outside of the limits of its point.
    Value,
}

impl Written {
    /// Takes the bits in `mask` of these registers, all or none: each must belong to writable points, which must like their new values.
    /// `now` gives what a register holds.
    pub(super) fn write(
        &mut self,
        points: &[Point],
        table: Table,
        first: u16,
        words: &[u16],
        mask: u16,
        now: impl Fn(u16) -> u16,
    ) -> Result<(), NotWritten> {
        let after = |register: u16| {
            let word = register.checked_sub(first).and_then(|place| words.get(usize::from(place)));
            word.map_or_else(|| now(register), |word| word & mask | now(register) & !mask)
        };
        let registers = first..=first.saturating_add(u16::try_from(words.len().saturating_sub(1)).unwrap_or(u16::MAX));
        let writable: Vec<_> = points.iter().filter_map(|point| writable(point, table)).collect();
        for register in registers.clone() {
            let own = writable.iter().filter(|(read, ..)| (read.address..=read.own_last()).contains(&register));
            if own.clone().count() == 0 {
                return Err(NotWritten::Address);
            }
            for (read, how, point) in own {
                let words: Vec<u16> = (read.address..=read.own_last()).map(after).collect();
                match read.decode(&words, point.range) {
                    Sample::Good(value) if how.limits.allow(&value) => {}
                    _ => return Err(NotWritten::Value),
                }
            }
        }
        let all: Vec<_> = registers.map(|register| (register, after(register))).collect();
        for (register, word) in all {
            let (kept, own) = self.0.get(&(table, register)).copied().unwrap_or_default();
            self.0.insert((table, register), (word & mask | kept & !mask, own | mask));
        }
        Ok(())
    }

    /// Puts what was written in the place of what is measured.
    pub(super) fn over(&self, table: Table, first: u16, words: &mut [u16]) {
        for (register, word) in (first..).zip(words) {
            if let Some((written, own)) = self.0.get(&(table, register)) {
                *word = *word & !own | written & own;
            }
        }
    }
}

fn writable(point: &Point, table: Table) -> Option<(&ModbusRead, &Writable, &Point)> {
    match (&point.read, &point.writable) {
        (Read::Modbus(read), Some(how)) if read.table == table => Some((read, how, point)),
        _ => None,
    }
}
