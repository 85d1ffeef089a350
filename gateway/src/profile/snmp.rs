//! What is read of an SNMP agent: objects alone, and tables whose rows are told apart. Talks to no agent.

mod index;
mod oid;
mod read;
#[cfg(test)]
pub(super) mod schema;
mod value;

use std::collections::BTreeMap;
use std::sync::Arc;

use pattoo_wire::Repr;

pub use index::{Part, PartKind, index_parts};
pub use oid::{MAX_PARTS, Oid, dotted};
pub(super) use read::KEY as SECTION;
#[cfg(test)]
use read::MAX_REPETITIONS;
#[cfg(test)]
use read::{INDEX_KEYS, LABEL_KEYS, ONLY_KEYS, OR_KEYS, READ_KEYS, SCALE_KEYS, SECTION_KEYS, TABLE_KEYS, UNIT_KEYS};
pub(super) use read::{Tables, is_read, items, oid, read, tables};
pub use value::{Factor, How, Syntax, Value, hex, printable};

/// Default of `max_repetitions`: rows that one answer of a walk brings, at first.
pub const REPETITIONS: u16 = 20;

/// Where a point is in an agent.
#[derive(Debug, Clone, PartialEq)]
pub struct SnmpRead {
    /// The table that it is a column of; none: it is an object alone.
    pub table: Option<Arc<SnmpTable>>,
    /// Objects or columns, the best one first; at least one. A device, or a row, keeps the first one that it has.
    pub sources: Vec<Source>,
    /// What is wanted is the rate per second of a counter.
    pub rate: bool,
    /// A column with the power of ten of each row.
    pub scale: Option<ScaleBy>,
    /// A column with the number of decimals of each row.
    pub digits: Option<Oid>,
    /// A column that each row's value is multiplied with.
    pub times: Option<Oid>,
    /// A column with the unit of each row.
    pub unit: Option<UnitBy>,
    /// The rows that count, among those of the table that do.
    pub only: Vec<Only>,
}

/// One object or column, and what its values mean.
#[derive(Debug, Clone, PartialEq)]
pub struct Source {
    /// The object with its instance, or the column.
    pub oid: Oid,
    /// What its values mean.
    pub how: How,
}

/// Powers of ten by row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScaleBy {
    /// The column.
    pub column: Oid,
    /// Power of ten of each of its numbers; where there are none the number itself is the power.
    pub powers: BTreeMap<i64, i8>,
}

/// Units by row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitBy {
    /// The column.
    pub column: Oid,
    /// Unit of each of its numbers. A row with another number is not read: nobody knows what it measures.
    pub units: BTreeMap<i64, String>,
}

/// Rows that count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Only {
    /// Which of its cells decides.
    pub cell: Cell,
    /// What that may be, as a person reads it.
    pub equals: Vec<String>,
}

/// A cell of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cell {
    /// Of this column.
    Column(Oid),
    /// This part of its index.
    Index(usize),
}

/// A table of an agent.
#[derive(Debug, Clone, PartialEq)]
pub struct SnmpTable {
    /// Its name in the profile.
    pub name: String,
    /// Rows that one answer of a walk brings at first, 1 to [`MAX_REPETITIONS`].
    pub max_repetitions: u16,
    /// Parts of its index.
    pub index: Vec<Part>,
    /// Columns whose text makes a row this row, tried in turn; its index where none has one.
    pub identity: Vec<Oid>,
    /// What else is told of a row.
    pub labels: Vec<Label>,
    /// The rows that count.
    pub only: Vec<Only>,
    /// A column that changes when the counters of a row begin anew.
    pub discontinuity: Option<Oid>,
}

/// A column that is told of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// Name of the label.
    pub name: String,
    /// The column.
    pub column: Oid,
    /// What it is; as its values come where absent.
    pub syntax: Option<Syntax>,
}

impl super::Profile {
    /// Whether it reads an SNMP agent.
    #[must_use]
    pub fn is_snmp(&self) -> bool {
        matches!(self.points.first().map(|point| &point.read), Some(super::Read::Snmp(_) | super::Read::Trap(_)))
    }
}

impl SnmpRead {
    /// How its values are represented.
    #[must_use]
    pub fn repr(&self) -> Repr {
        match self.sources.first().map(|source| &source.how) {
            Some(How { decimals: Some(decimals), .. }) if self.rate => Repr::Decimal { exponent: -decimals.cast_signed() },
            Some(_) if self.rate => Repr::F64,
            Some(how) => how.repr(),
            None => Repr::F64,
        }
    }

    /// Columns that say what the value of a row means, and are therefore read with it: scale, unit, whether it counts.
    pub fn beside(&self) -> impl Iterator<Item = &Oid> {
        let column = |only: &'_ Only| matches!(&only.cell, Cell::Column(_));
        let only = self.table.iter().flat_map(|table| &table.only).chain(&self.only).filter(move |only| column(only));
        let only = only.filter_map(|only| if let Cell::Column(oid) = &only.cell { Some(oid) } else { None });
        let own = [self.scale.as_ref().map(|scale| &scale.column), self.digits.as_ref(), self.times.as_ref()];
        let discontinuity = self.table.as_ref().and_then(|table| table.discontinuity.as_ref()).filter(|_| self.rate);
        own.into_iter().flatten().chain(self.unit.as_ref().map(|unit| &unit.column)).chain(discontinuity).chain(only)
    }
}

#[cfg(test)]
mod tests;
