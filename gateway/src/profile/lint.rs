//! What looks wrong about a profile and need not be: addresses that may be off by one, or meant in another numbering.
//!
//! Vendors count registers from 1 or from 0, and some print 40001 for holding register 0. Nothing in a profile proves a mistake, so this
//! warns; `checked: true` under `modbus:` says that somebody has compared the addresses with a device.

use super::{ModbusLimits, ModbusRead, Profile, Read, Table};

/// So many values of several registers begin at even addresses (or odd ones) before one among them that does not looks odd.
const MANY: usize = 8;
/// Registers to either side within which its neighbours lie.
const NEAR: u16 = 8;

impl Profile {
    /// What looks wrong, for people to look at; nothing where its addresses are `checked`.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        if self.modbus.checked {
            return Vec::new();
        }
        let reads: Vec<(&str, &ModbusRead)> = self
            .points
            .iter()
            .filter_map(|point| match &point.read {
                Read::Modbus(read) => Some((point.name.as_str(), read)),
                // A device itself says where its SunSpec models are.
                Read::SunSpec(_) | Read::Host(_) | Read::Snmp(_) | Read::Trap(_) | Read::Bacnet(_) | Read::Line(_) => None,
            })
            .collect();
        let mut warnings = Vec::new();
        for table in [Table::Holding, Table::Input, Table::Coil, Table::Discrete] {
            let own: Vec<_> = reads.iter().filter(|(_, read)| read.table == table).copied().collect();
            warnings.extend(modicon(table, &own));
            warnings.extend(one_based(&own, &self.modbus));
            warnings.extend(odd_one_out(&own));
        }
        warnings
    }
}

/// 40001 as a protocol address: the vendor means 0.
fn modicon(table: Table, reads: &[(&str, &ModbusRead)]) -> Option<String> {
    let (base, name) = match table {
        Table::Holding => (40_001, "holding"),
        Table::Input => (30_001, "input"),
        Table::Discrete => (10_001, "discrete"),
        Table::Coil => return None,
    };
    // SunSpec devices are really there; their scale registers give them away.
    let all = !reads.is_empty() && reads.iter().all(|(_, r)| (base..base + 9_999).contains(&r.address) && r.scale_at.is_none());
    all.then(|| {
        format!(
            "all addresses of {name} are above {base}: if the vendor numbers registers like this, `modicon: {base}` is protocol address 0, and \
             `{name}: {base}` another one"
        )
    })
}

/// All values of several registers begin at odd addresses, and the first of them at 1: numbers from a list that counts from 1?
fn one_based(reads: &[(&str, &ModbusRead)], limits: &ModbusLimits) -> Option<String> {
    let long: Vec<_> = reads.iter().filter(|(_, read)| is_long(read)).collect();
    let first = reads.iter().map(|(_, read)| read.address).min()?;
    let odd = long.len() >= 2 && long.iter().all(|(_, read)| read.address % 2 == 1);
    let begins_at_0 = limits.blocks.iter().any(|(first, _)| *first == 0);
    (odd && first == 1 && !begins_at_0).then(|| {
        "the first address is 1 and all values of several registers begin at odd ones: expected 0-based protocol addresses, is this list \
         1-based?"
            .to_owned()
    })
}

/// One value begins at an odd register between neighbours that all begin at even ones.
fn odd_one_out(reads: &[(&str, &ModbusRead)]) -> Option<String> {
    let long: Vec<_> = reads.iter().copied().filter(|(_, read)| is_long(read)).collect();
    let (even, odd): (Vec<_>, Vec<_>) = long.iter().copied().partition(|(_, read)| read.address % 2 == 0);
    let ((name, read), others, parity) = match (even.as_slice(), odd.as_slice()) {
        (others, [one]) if others.len() >= MANY => (*one, others, "even"),
        ([one], others) if others.len() >= MANY => (*one, others, "odd"),
        _ => return None,
    };
    let below = others.iter().any(|(_, other)| other.address < read.address && read.address - other.address <= NEAR);
    let above = others.iter().any(|(_, other)| other.address > read.address && other.address - read.address <= NEAR);
    (below && above).then(|| {
        format!(
            "point `{name}` begins at register {}, all other values of several registers at {parity} ones: is its address off by one?",
            read.address
        )
    })
}

/// Two or four registers.
fn is_long(read: &ModbusRead) -> bool {
    matches!(read.encoding.len(), 2 | 4) && (read.encoding.integers().is_some() || read.encoding.is_float())
}
