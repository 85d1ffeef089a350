//! What is known of an agent from poll to poll, and what its cells say with that. Pure: asks nobody.
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use pattoo_wire::{Reason, Sample};

use super::rate::{Look, Uptime};
use super::rows::Columns;
use super::walk::{Cell, Column, Index};
use crate::profile::snmp::{Cell as Place, Factor, Oid, Only, SnmpTable, Value, index_parts};
use crate::profile::{Point, SnmpRead};
use crate::reading::{PointIndex, Reading, Row};

/// What is known of an agent.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) uptime: Option<Uptime>,
    /// Most objects of a get that its answers had room for.
    pub(super) most: Option<usize>,
    /// Its tables by name.
    pub(super) tables: HashMap<String, KnownTable>,
    pub(super) points: HashMap<PointIndex, KnownPoint>,
}

/// What is known of a table.
#[derive(Debug, Default)]
pub(super) struct KnownTable {
    /// When its rows were learned, and in which life of the agent.
    pub(super) learned: Option<(i64, u32)>,
    pub(super) rows: BTreeMap<Index, Arc<Row>>,
    /// Most rows of an answer.
    pub(super) most: Option<u16>,
}

/// What is known of a point: its rows at the latest poll, by index. A point without a table has one, with an empty index. A list, because most
/// points have few rows and there are many points: 1.2 kB each in a tree, half of that in a map.
#[derive(Debug, Default)]
pub(super) struct KnownPoint(Vec<(Index, Told)>);

impl KnownPoint {
    pub(super) fn rows(&self) -> impl Iterator<Item = (&Index, &Told)> {
        self.0.iter().map(|(index, told)| (index, told))
    }

    fn get(&self, index: &[u32]) -> Option<&Told> {
        let place = self.0.binary_search_by(|(other, _)| (**other).cmp(index)).ok()?;
        self.0.get(place).map(|(_, told)| told)
    }
}

/// A series of a point.
#[derive(Debug, Clone)]
pub(super) struct Told {
    pub(super) row: Option<Arc<Row>>,
    /// Which of the point's sources it has.
    pub(super) source: usize,
    pub(super) look: Option<Box<Look>>,
}

/// A reading and its time.
pub(super) type Timed = (i64, Reading);

/// One point at one poll.
pub(super) struct Asked<'p> {
    pub(super) index: PointIndex,
    pub(super) point: &'p Point,
    pub(super) read: &'p SnmpRead,
    pub(super) every: Duration,
    pub(super) uptime: Option<Uptime>,
    pub(super) now_ms: i64,
}

/// What a row's other cells say of its value.
enum Beside {
    Known {
        factor: Factor,
        discontinuity: Option<u64>,
        unit: Option<String>,
    },
    /// The row does not count.
    Out,
    /// Nobody knows what the value means.
    Unknown(Reason),
}

impl<'p> Asked<'p> {
    /// The places to ask for: those that are known to be there, or all.
    pub(super) fn wanted(&self, known: Option<&KnownPoint>, all: bool) -> BTreeSet<&'p Oid> {
        let told: BTreeSet<usize> = known.into_iter().flat_map(|known| known.rows().map(|(_, told)| told.source)).collect();
        let all = all || told.is_empty();
        let sources = self.read.sources.iter().enumerate().filter(|(place, _)| all || told.contains(place));
        sources.map(|(_, source)| &source.oid).collect()
    }

    /// The reading of a point without rows.
    pub(super) fn alone(&self, known: &mut KnownPoint, object: impl Fn(&Oid) -> Result<Cell, Reason>) -> Timed {
        let told = known.get(&[]);
        let places = self.read.sources.iter().enumerate().filter(|(place, _)| told.is_none_or(|told| told.source == *place));
        let mut why = Reason::Unavailable;
        let last = self.read.sources.len() - 1;
        for (place, source) in places {
            // A device that has only a "not supported" there may have another place, and is asked for it as long as it has said nothing else.
            let says_nothing = |cell: &Cell| source.how.raw(&cell.value) == Err(Reason::NotAValue);
            match object(&source.oid).and_then(|cell| cell.value.present().map(|()| cell)) {
                Ok(cell) if told.is_none() && place < last && says_nothing(&cell) => why = Reason::NotAValue,
                Ok(cell) => {
                    let (sample, look) = self.sample(place, &cell, Factor::default(), None, told);
                    known.0 = vec![(Index::default(), Told { row: None, source: place, look })];
                    return (cell.at_ms, self.reading(None, sample));
                }
                // That it is not there is no news beside an answer that never came.
                Err(Reason::Unavailable) => {}
                Err(reason) => why = reason,
            }
        }
        (self.now_ms, self.reading(None, Sample::Bad(why)))
    }

    /// The readings of a point with rows. A row that is gone is bad once, so that a chart ends with a reason; where nobody knows whether it is,
    /// it is bad with that reason. A point of which no row is known is bad itself when its table cannot be read.
    pub(super) fn in_rows(&self, known: &mut KnownPoint, table: &KnownTable, columns: &Columns, anew: bool) -> Vec<Timed> {
        let own: Vec<&Column> = self.read.sources.iter().filter_map(|source| columns.get(&source.oid)).collect();
        let mut indexes: BTreeSet<Index> = own.iter().flat_map(|column| column.cells.keys().cloned()).collect();
        indexes.extend(known.rows().map(|(index, _)| index.clone()));
        let mut readings = Vec::with_capacity(indexes.len());
        let mut now = Vec::with_capacity(indexes.len());
        for index in indexes {
            let before = known.get(&index);
            let Some(row) = table.rows.get(&index).or(before.and_then(|told| told.row.as_ref())) else { continue };
            let (timed, told) = self.in_row(&index, row, before, columns, anew);
            readings.extend(timed);
            now.extend(told.map(|told| (index, told)));
        }
        now.shrink_to_fit();
        *known = KnownPoint(now);
        let broken = own.iter().map(|column| column.reason()).find(|reason| *reason != Reason::Unavailable);
        if let (true, Some(reason)) = (readings.is_empty(), broken) {
            readings.push((self.now_ms, self.reading(None, Sample::Bad(reason))));
        }
        readings
    }

    fn in_row(&self, index: &Index, row: &Arc<Row>, before: Option<&Told>, columns: &Columns, anew: bool) -> (Option<Timed>, Option<Told>) {
        let old_row = || before.and_then(|told| told.row.as_ref());
        let bad = |reason| old_row().map(|row| (self.now_ms, self.reading(Some(row), Sample::Bad(reason))));
        let (factor, discontinuity, unit) = match self.beside(index, columns) {
            Beside::Known { factor, discontinuity, unit } => (factor, discontinuity, unit),
            Beside::Out => return (bad(Reason::Unavailable), None),
            Beside::Unknown(reason) => return (bad(reason), before.cloned()),
        };
        let (source, cell) = match self.cell(index, before, columns, anew) {
            Ok(found) => found,
            Err(Reason::Unavailable) => return (bad(Reason::Unavailable), None),
            Err(reason) => return (bad(reason), before.cloned()),
        };
        let row = match unit {
            Some(unit) => Arc::new(Row { unit: Some(unit), ..(**row).clone() }),
            None => Arc::clone(row),
        };
        let row = old_row().filter(|old| **old == row).map_or(row, Arc::clone);
        let same = before.filter(|told| told.row.as_ref().is_some_and(|old| old.identity == row.identity));
        let (sample, look) = self.sample(source, cell, factor, discontinuity, same);
        (Some((cell.at_ms, self.reading(Some(&row), sample))), Some(Told { row: Some(row), source, look }))
    }

    /// The cell of the source that the row has; the best one that it has where that is chosen anew.
    fn cell<'c>(&self, index: &Index, before: Option<&Told>, columns: &'c Columns, anew: bool) -> Result<(usize, &'c Cell), Reason> {
        let cell = |place: usize| {
            let column = columns.get(&self.read.sources.get(place)?.oid)?;
            Some(column.cells.get(index).filter(|cell| cell.value.present() != Err(Reason::Unavailable)).ok_or_else(|| column.reason()))
        };
        let chosen = before.map(|told| told.source).filter(|_| !anew);
        let places = (0..self.read.sources.len()).filter(|place| chosen.is_none_or(|chosen| chosen == *place));
        for place in places {
            match cell(place) {
                Some(Ok(cell)) => return Ok((place, cell)),
                // The next one is for rows that do not have this one, not for those that did not say.
                Some(Err(reason)) if reason != Reason::Unavailable => return Err(reason),
                _ => {}
            }
        }
        Err(Reason::Unavailable)
    }

    fn beside(&self, index: &Index, columns: &Columns) -> Beside {
        let cell = |oid: &Oid| -> Result<&Value, Reason> {
            let column = columns.get(oid).ok_or(Reason::Unavailable)?;
            let cell = column.cells.get(index).ok_or_else(|| column.reason())?;
            cell.value.present().map(|()| &cell.value)
        };
        let number = |oid: &Oid| cell(oid)?.integer().and_then(|n| i64::try_from(n).ok()).ok_or(Reason::Malformed);
        let table = self.read.table.as_deref();
        for only in table.iter().flat_map(|table| &table.only).chain(&self.read.only) {
            match counts(only, table, index, cell) {
                Ok(true) => {}
                // A row without that cell does not count either.
                Ok(false) | Err(Reason::Unavailable) => return Beside::Out,
                Err(reason) => return Beside::Unknown(reason),
            }
        }
        let mut factor = Factor::default();
        let mut unit = None;
        let all = || -> Result<bool, Reason> {
            if let Some(scale) = &self.read.scale {
                let said = number(&scale.column)?;
                factor.power = match scale.powers.get(&said) {
                    Some(power) => i64::from(*power),
                    None if scale.powers.is_empty() => said,
                    None => return Err(Reason::OutOfRange),
                };
            }
            if let Some(digits) = &self.read.digits {
                factor.power = factor.power.saturating_sub(number(digits)?);
            }
            if let Some(times) = &self.read.times {
                factor.times = number(times)?;
            }
            if let Some(by) = &self.read.unit {
                unit = by.units.get(&number(&by.column)?).cloned();
                return Ok(unit.is_some());
            }
            Ok(true)
        };
        let found = { all }();
        let discontinuity = table.and_then(|table| table.discontinuity.as_ref()).and_then(|oid| number(oid).ok());
        match found {
            Ok(true) => Beside::Known { factor, discontinuity: discontinuity.map(i64::cast_unsigned), unit },
            Ok(false) => Beside::Out,
            Err(reason) => Beside::Unknown(reason),
        }
    }

    fn sample(
        &self,
        place: usize,
        cell: &Cell,
        factor: Factor,
        discontinuity: Option<u64>,
        before: Option<&Told>,
    ) -> (Sample, Option<Box<Look>>) {
        let Some(source) = self.read.sources.get(place) else { return (Sample::Bad(Reason::Unavailable), None) };
        let (how, range) = (&source.how, self.point.range);
        let Some(bits) = how.syntax.counter_bits().filter(|_| self.read.rate) else {
            return (how.decode(&cell.value, factor, range), None);
        };
        let last = before.and_then(|told| told.look.as_deref());
        match how.raw(&cell.value).and_then(|raw| u64::try_from(raw).map_err(|_| Reason::Overflow)) {
            Ok(count) => {
                let look = Look::new(count, cell.at_ms, self.uptime.as_ref(), discontinuity, place);
                let rate = look.rate_since(last, bits, self.every);
                (rate.map_or_else(Sample::Bad, |rate| how.rated(rate, range)), Some(Box::new(look)))
            }
            Err(reason) => (Sample::Bad(reason), last.copied().map(Box::new)),
        }
    }

    fn reading(&self, row: Option<&Arc<Row>>, sample: Sample) -> Reading {
        Reading { point: self.index, row: row.cloned(), sample }
    }
}

fn counts<'c>(
    only: &Only,
    table: Option<&SnmpTable>,
    index: &Index,
    cell: impl Fn(&Oid) -> Result<&'c Value, Reason>,
) -> Result<bool, Reason> {
    let text = match &only.cell {
        Place::Column(oid) => cell(oid)?.plain().ok_or(Reason::Malformed)?,
        Place::Index(place) => {
            let parts = table.and_then(|table| index_parts(&table.index, index)).ok_or(Reason::Unavailable)?;
            parts.into_iter().nth(*place).ok_or(Reason::Unavailable)?
        }
    };
    Ok(only.equals.contains(&text))
}
