//! One poll of an agent: objects alone, then its tables, each column walked once. Talks to the agent that it is given, and to nobody else.

use std::collections::{BTreeMap, BTreeSet};

use pattoo_wire::Reason;

use super::agent::{Agent, Presence};
use super::get::{MAX_OBJECTS, get};
use super::known::{Asked, Known, KnownPoint, KnownTable, Timed};
use super::rate::Uptime;
use super::rows::{Columns, rows};
use super::walk::{Cell, Column, End, Index, Walk};
use crate::config::Device;
use crate::profile::Read;
use crate::profile::snmp::{Oid, SnmpTable, Value};
use crate::reading::{DeviceIndex, PointIndex, Reading, Transaction};

/// Rows are learned anew after so long: an interface can be renamed without anything else changing.
const LEARN_MS: i64 = 600_000;

/// `sysUpTime.0`.
pub(super) const UPTIME: &[u32] = &[1, 3, 6, 1, 2, 1, 1, 3, 0];

/// Reads these points, each row of each exactly once.
pub(super) async fn poll<A: Agent>(
    agent: &mut A,
    known: &mut Known,
    (index, device): (DeviceIndex, &Device),
    points: &[PointIndex],
    now_ms: impl Fn() -> i64,
) -> Vec<Transaction> {
    let mut asked: Vec<Asked<'_>> = points.iter().filter_map(|point| asked(device, *point)).collect();
    let mut presence = Presence::Unknown;
    let (alone, columns): (Vec<_>, Vec<_>) = asked.iter().enumerate().partition(|(_, asked)| asked.read.table.is_none());
    let mut oids: BTreeSet<Oid> =
        alone.iter().flat_map(|(_, asked)| asked.wanted(known.points.get(&asked.index), false)).cloned().collect();
    let clock = Oid::new(UPTIME).filter(|_| !columns.is_empty() || asked.iter().any(|asked| asked.read.rate));
    oids.extend(clock.clone());
    let places: Vec<usize> = columns.iter().map(|(place, _)| *place).collect();
    let mut most = known.most.unwrap_or(MAX_OBJECTS);
    let objects = get(agent, oids, &mut most, &mut presence).await;
    known.most = Some(most);
    let uptime = match clock.and_then(|clock| objects.get(&clock)) {
        Some(Ok(Cell { value: Value::Ticks(ticks), at_ms })) => Some(Uptime::after(known.uptime, *ticks, *at_ms)),
        _ => None,
    };
    known.uptime = uptime.or(known.uptime);
    for asked in &mut asked {
        asked.uptime = uptime;
        asked.now_ms = now_ms();
    }
    let mut readings: Vec<Timed> = Vec::new();
    for asked in asked.iter().filter(|asked| asked.read.table.is_none()) {
        let object = |oid: &Oid| objects.get(oid).cloned().unwrap_or(Err(Reason::Unavailable));
        readings.push(asked.alone(known.points.entry(asked.index).or_default(), object));
    }
    let columns: Vec<&Asked<'_>> = places.iter().filter_map(|place| asked.get(*place)).collect();
    let mut tables: BTreeMap<&str, Vec<&Asked<'_>>> = BTreeMap::new();
    for asked in columns {
        tables.entry(asked.read.table.as_deref().map_or("", |table| &table.name)).or_default().push(asked);
    }
    for asked in tables.into_values() {
        readings.extend(in_table(agent, known, &asked, &mut presence).await);
    }
    transactions(index, readings)
}

fn asked(device: &Device, index: PointIndex) -> Option<Asked<'_>> {
    let point = device.profile.points.get(index.0)?;
    let Read::Snmp(read) = &point.read else { return None };
    Some(Asked { index, point, read, every: point.every.unwrap_or(device.every), uptime: None, now_ms: 0 })
}

/// Reads points of one table.
async fn in_table<A: Agent>(agent: &mut A, known: &mut Known, asked: &[&Asked<'_>], presence: &mut Presence) -> Vec<Timed> {
    let Some((first, table)) = asked.first().and_then(|first| Some((first, first.read.table.as_deref()?))) else { return Vec::new() };
    let own = known.tables.entry(table.name.clone()).or_default();
    let life = known.uptime.map_or(0, |uptime| uptime.lives);
    let due = own.learned.is_none_or(|(at_ms, in_life)| in_life != life || first.now_ms - at_ms > LEARN_MS);
    let mut wanted: BTreeSet<&Oid> = asked.iter().flat_map(|asked| asked.wanted(known.points.get(&asked.index), due)).collect();
    wanted.extend(asked.iter().flat_map(|asked| asked.read.beside()));
    let values: Vec<Oid> = wanted.iter().map(|oid| (*oid).clone()).collect();
    let names: Vec<Oid> = table.identity.iter().chain(table.labels.iter().map(|label| &label.column)).cloned().collect();
    let mut columns = walk(agent, own, table, if due { [values.clone(), names.clone()].concat() } else { values.clone() }, presence).await;
    let found = || asked.iter().flat_map(|asked| &asked.read.sources).filter_map(|source| columns.get(&source.oid));
    let indexes: BTreeSet<Index> = found().flat_map(|column| column.cells.keys().cloned()).collect();
    let news = indexes.iter().any(|index| !own.rows.contains_key(index)) || gone(asked, known, &columns);
    let own = known.tables.entry(table.name.clone()).or_default();
    let mut anew = due;
    if news && !due {
        // Numbers may have been dealt out anew.
        let others = asked.iter().flat_map(|asked| &asked.read.sources).map(|source| source.oid.clone());
        let more: BTreeSet<Oid> = names.iter().cloned().chain(others).filter(|oid| !columns.contains_key(oid)).collect();
        columns.extend(walk(agent, own, table, more.into_iter().collect(), presence).await);
        anew = true;
    }
    let lost = names.iter().filter_map(|oid| columns.get(oid)).find_map(lost);
    match lost.filter(|_| anew) {
        None if anew => learn(own, table, &indexes, &columns, (first.now_ms, life)),
        // Old names are good where nothing says that they are not.
        Some(reason) if news || own.learned.is_none_or(|(_, in_life)| in_life != life) => {
            own.learned = None;
            let unread = |column: &mut Column| {
                column.cells.clear();
                column.end = Some(End::Broken(reason));
            };
            columns.values_mut().for_each(unread);
            anew = false;
        }
        _ => {}
    }
    let mut readings = Vec::new();
    for asked in asked {
        let point = known.points.entry(asked.index).or_default();
        let Some(own) = known.tables.get(&table.name) else { continue };
        readings.extend(asked.in_rows(point, own, &columns, anew));
    }
    readings
}

/// Whether a row is gone of a column that was read in whole.
fn gone(asked: &[&Asked<'_>], known: &Known, columns: &Columns) -> bool {
    asked.iter().any(|asked| {
        known.points.get(&asked.index).into_iter().flat_map(KnownPoint::rows).any(|(index, told)| {
            let column = asked.read.sources.get(told.source).and_then(|source| columns.get(&source.oid));
            column.is_some_and(|column| column.end == Some(End::Whole) && !column.cells.contains_key(index))
        })
    })
}

/// Learns the rows that there are. Those of columns that were not read now stay as they were.
fn learn(own: &mut KnownTable, table: &SnmpTable, indexes: &BTreeSet<Index>, columns: &Columns, at: (i64, u32)) {
    let named = |oid: &&Oid| table.identity.contains(oid) || table.labels.iter().any(|label| label.column == **oid);
    let named: BTreeSet<Index> =
        columns.iter().filter(|(oid, _)| named(oid)).flat_map(|(_, column)| column.cells.keys().cloned()).collect();
    // Names are told apart among all rows of the table, so that points that are read at other times have the same.
    let all = indexes.union(&named).cloned().chain(own.rows.keys().cloned()).collect();
    let mut rows = rows(table, &all, columns);
    rows.retain(|index, _| indexes.contains(index) || named.contains(index));
    for (index, row) in &mut rows {
        if let Some(old) = own.rows.get(index).filter(|old| *old == row) {
            *row = old.clone();
        }
    }
    (own.rows, own.learned) = (rows, Some(at));
}

/// Why a column was not read to its end, where another try may help.
fn lost(column: &Column) -> Option<Reason> {
    match column.end {
        Some(End::Broken(reason @ (Reason::Timeout | Reason::LinkDown | Reason::AuthFailure))) => Some(reason),
        _ => None,
    }
}

async fn walk<A: Agent>(agent: &mut A, own: &mut KnownTable, table: &SnmpTable, columns: Vec<Oid>, presence: &mut Presence) -> Columns {
    let rows = Some(own.rows.len()).filter(|_| own.learned.is_some());
    let columns: BTreeSet<Oid> = columns.into_iter().collect();
    let mut walk = Walk::new(columns, rows, own.most.unwrap_or(table.max_repetitions), agent.has_bulk());
    while let Some(question) = walk.question() {
        if let Presence::Silent(reason) = *presence {
            walk.give_up(reason);
            break;
        }
        let answer = agent.ask(&question).await;
        presence.note(answer.as_ref().map(drop).map_err(|reason| *reason));
        walk.answer(answer);
    }
    own.most = Some(walk.most);
    std::mem::take(&mut walk.misses).into_iter().for_each(|miss| agent.miss(miss));
    let mut columns: Columns = walk.columns.into_iter().map(|column| (column.root.clone(), column)).collect();
    one_by_one(agent, &mut columns, presence).await;
    columns
}

/// A cell that cannot be understood ends the walk over its column: the others of it are asked for by name.
async fn one_by_one<A: Agent>(agent: &mut A, columns: &mut Columns, presence: &mut Presence) {
    let indexes: BTreeSet<Index> = columns.values().flat_map(|column| column.cells.keys().cloned()).collect();
    for column in columns.values_mut().filter(|column| column.end == Some(End::Broken(Reason::Malformed))) {
        let missing = indexes.iter().filter(|index| !column.cells.contains_key(*index));
        let missing: BTreeMap<Oid, Index> = missing.filter_map(|index| Some((column.root.with(index)?, index.clone()))).collect();
        let objects = get(agent, missing.keys().cloned().collect(), &mut MAX_OBJECTS.clone(), presence).await;
        for (oid, object) in objects {
            let Some(index) = missing.get(&oid) else { continue };
            match object {
                Ok(cell) => drop(column.cells.insert(index.clone(), cell)),
                Err(Reason::Malformed) => drop(column.cells.insert(index.clone(), Cell { value: Value::Other, at_ms: 0 })),
                Err(_) => {}
            }
        }
    }
}

fn transactions(device: DeviceIndex, readings: Vec<Timed>) -> Vec<Transaction> {
    let mut by_time: BTreeMap<i64, Vec<Reading>> = BTreeMap::new();
    for (at_ms, reading) in readings {
        by_time.entry(at_ms).or_default().push(reading);
    }
    by_time.into_iter().map(|(at_ms, readings)| Transaction { device, at_ms, readings }).collect()
}
