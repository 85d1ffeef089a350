//! Shell: what a store keeps beside readings, in one redb file: series, schemas, streams, receipts, gaps, and how far the log is in it.
//!
//! Every write is one transaction with fsync. A write that comes again, with those that came after it, changes nothing: of each row the last
//! word counts. So the log may be read again from any number at or below the covered one.

use std::fs::{self, File};
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

use pattoo_wire::{Gap, GapReason, Schema, SchemaId};
use redb::{
    Database, Durability, ReadTransaction, ReadableDatabase, ReadableTable, ReadableTableMetadata, Table, TableDefinition, WriteTransaction,
};

use super::super::{Commit, Loaded, Reading, SeriesEntry, SeriesId, StoreError, newest_gaps, row};

mod copy;

/// Memory for pages of the file, in bytes.
const CACHE_BYTES: usize = 8 << 20;
/// What this program writes; a higher number is from a newer one. Format 1 had one gap record for each stream and first seq.
/// Up to format 2 it had the readings, too.
const FORMAT: u64 = 3;

/// In `meta`: all records of the log up to this one are in parts and in this file.
const COVERED: &str = "covered";

const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
/// Of formats 1 and 2.
const READINGS: TableDefinition<'_, (u32, i64), &[u8]> = TableDefinition::new("readings");
const SERIES: TableDefinition<'_, u32, &[u8]> = TableDefinition::new("series");
const SCHEMAS: TableDefinition<'_, (&str, u32), &[u8]> = TableDefinition::new("schemas");
const STREAMS: TableDefinition<'_, (&str, u64), &[u8]> = TableDefinition::new("streams");
/// (gateway, stream, first seq, reason)
type GapKey = (&'static str, u64, u64, u8);
/// (from ms, to ms, last seq, readings)
type GapRow = (i64, i64, u64, u64);
const GAPS: TableDefinition<'_, GapKey, GapRow> = TableDefinition::new("gaps_by_reason");
/// (gateway, stream, seq)
const RECEIPTS: TableDefinition<'_, (&str, u64, u64), &[u8]> = TableDefinition::new("receipts");
/// Of format 1: (from ms, to ms, last seq, readings, reason) by (gateway, stream, first seq).
type GapRow1 = (i64, i64, u64, u64, u8);
const GAPS_1: TableDefinition<'_, (&str, u64, u64), GapRow1> = TableDefinition::new("gaps");

/// The open file.
pub(super) struct Ledger {
    path: PathBuf,
    /// None after an error of the disk: redb gives up for good then, so the next call opens the file anew.
    database: RwLock<Option<Database>>,
    /// Series that a start has read and the catalogue has not asked for yet: reading them takes most of the time of a start.
    read: Mutex<Option<Vec<SeriesEntry>>>,
    /// Calls of [`Ledger::write`] until all fail.
    #[cfg(test)]
    pub(super) faults: super::tests::Faults,
}

impl Ledger {
    /// Opens the file, or begins a new one.
    ///
    /// # Errors
    /// In use, damaged, of a newer program, or refused by the disk.
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let store = Self::closed(path);
        let database = store.open_database()?;
        *store.database.write().unwrap_or_else(PoisonError::into_inner) = Some(database);
        Ok(store)
    }

    fn closed(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            database: RwLock::new(None),
            read: Mutex::default(),
            #[cfg(test)]
            faults: super::tests::Faults::default(),
        }
    }

    /// All of it, for the catalogue.
    pub(super) fn load(&self) -> Result<Loaded, StoreError> {
        let read = self.lock_read().take();
        self.with(|database| load(database, read))
    }

    /// Shows each series, and keeps them for [`Ledger::load`] until they change.
    pub(super) fn each_series(&self, take: impl FnMut(&SeriesEntry)) -> Result<(), StoreError> {
        let read = self.with(|database| series(&database.begin_read()?))?;
        read.iter().for_each(take);
        *self.lock_read() = Some(read);
        Ok(())
    }

    fn lock_read(&self) -> MutexGuard<'_, Option<Vec<SeriesEntry>>> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Number of the log record up to which all is in parts and here.
    pub(super) fn covered(&self) -> Result<u64, StoreError> {
        self.with(|database| Ok(database.begin_read()?.open_table(META)?.get(COVERED)?.map_or(0, |covered| covered.value())))
    }

    /// Writes commits without their readings, in this order, durably; with `covered` also how far the log is in parts.
    pub(super) fn write<'a>(&self, commits: impl Iterator<Item = &'a Commit>, covered: Option<u64>) -> Result<(), StoreError> {
        #[cfg(test)]
        self.faults.step().map_err(|what| StoreError::Io { path: "ledger".into(), what })?;
        self.with(|database| {
            durably(database, |transaction| {
                for commit in commits {
                    if !commit.series.is_empty() {
                        *self.lock_read() = None;
                    }
                    write(transaction, commit)?;
                }
                if let Some(covered) = covered {
                    transaction.open_table(META)?.insert(COVERED, covered)?;
                }
                Ok(())
            })
        })
    }

    /// Gap records of a gateway that touch the range, by time.
    pub(super) fn gaps(&self, gateway: &str, from_ms: i64, to_ms: i64) -> Result<Vec<Gap>, StoreError> {
        self.with(|database| gaps(database, gateway, from_ms, to_ms))
    }

    /// Deletes gap records older than `before_ms`, at most `limit`; gives how many went.
    pub(super) fn expire_gaps(&self, before_ms: i64, limit: usize) -> Result<usize, StoreError> {
        self.with(|database| durably(database, |transaction| expire_gaps(transaction, before_ms, limit)))
    }

    /// Bytes of the file.
    pub(super) fn bytes(&self) -> Result<u64, StoreError> {
        let size = fs::metadata(&self.path).map(|file| file.len());
        size.map_err(|e| StoreError::Io { path: self.path.display().to_string(), what: e.to_string() })
    }

    /// Readings that a file of an older format still has.
    pub(super) fn old_readings(&self) -> Result<u64, StoreError> {
        self.with(|database| match database.begin_read()?.open_table(READINGS) {
            Ok(table) => Ok(table.len()?),
            Err(redb::TableError::TableDoesNotExist(_)) => Ok(0),
            Err(e) => Err(e.into()),
        })
    }

    /// Gives them in the order of series and time, so many at a time.
    pub(super) fn each_old_reading<E: From<StoreError>>(
        &self,
        at_once: usize,
        mut take: impl FnMut(&[(SeriesId, Reading)]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut after: Option<(u32, i64)> = None;
        loop {
            let readings = self.with(|database| old_readings(database, after, at_once))?;
            let Some((id, reading)) = readings.last() else { return Ok(()) };
            after = Some((id.0, reading.at_ms));
            take(&readings)?;
        }
    }

    /// Drops them: they are elsewhere.
    pub(super) fn drop_old_readings(&self) -> Result<(), StoreError> {
        self.with(|database| durably(database, |transaction| Ok(transaction.delete_table(READINGS).map(|_| ())?)))
    }

    fn open_database(&self) -> Result<Database, StoreError> {
        let io = |e: std::io::Error| StoreError::Io { path: self.path.display().to_string(), what: e.to_string() };
        let folder = self.path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        crate::folder::make(folder).map_err(io)?;
        if !self.path.try_exists().map_err(io)? {
            self.make(folder)?;
        }
        let opened = self.guarded(|| Ok(Database::builder().set_cache_size(CACHE_BYTES).create(&self.path)?))?;
        let found = self.guarded(|| begin(&opened))?;
        match found <= FORMAT {
            true => Ok(opened),
            false => Err(StoreError::Newer { path: self.path.display().to_string(), found, known: FORMAT }),
        }
    }

    /// Makes the file: under another name until it is whole and on stable storage. What a power cut leaves of one that is being made, redb
    /// would refuse for ever, and it may hold nothing yet.
    fn make(&self, folder: &Path) -> Result<(), StoreError> {
        let io = |e: std::io::Error| StoreError::Io { path: self.path.display().to_string(), what: e.to_string() };
        // Of two servers that start at once one makes it. Whether it is there is asked again behind the lock: it must never be replaced.
        let folder = File::open(folder).map_err(io)?;
        folder.lock().map_err(io)?;
        if self.path.try_exists().map_err(io)? {
            return Ok(());
        }
        let new = self.path.with_extension("new");
        let create = || self.guarded(|| Ok(Database::builder().create(&new)?));
        let made = create().or_else(|error| match error {
            StoreError::Damaged { .. } => {
                fs::remove_file(&new).map_err(io)?;
                create()
            }
            other => Err(other),
        })?;
        self.guarded(|| begin(&made))?;
        drop(made);
        File::open(&new).and_then(|file| file.sync_all()).map_err(io)?;
        fs::rename(&new, &self.path).map_err(io)?;
        folder.sync_all().map_err(io)
    }

    /// Runs work on the database, opening it again where an earlier error has closed it.
    fn with<T>(&self, work: impl FnOnce(&Database) -> Result<T, redb::Error>) -> Result<T, StoreError> {
        let mut database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        if database.is_none() {
            drop(database);
            let mut slot = self.database.write().unwrap_or_else(PoisonError::into_inner);
            if slot.is_none() {
                *slot = Some(self.open_database()?);
            }
            drop(slot);
            database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        }
        let Some(open) = database.as_ref() else {
            return Err(StoreError::Io { path: self.path.display().to_string(), what: "closed after an earlier error".into() });
        };
        let result = self.guarded(|| work(open));
        drop(database);
        if result.is_err() {
            *self.database.write().unwrap_or_else(PoisonError::into_inner) = None;
        }
        result
    }

    /// redb panics on some damaged pages; that must cost this call only.
    fn guarded<T>(&self, work: impl FnOnce() -> Result<T, redb::Error>) -> Result<T, StoreError> {
        let path = || self.path.display().to_string();
        match catch_unwind(AssertUnwindSafe(work)) {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(redb::Error::DatabaseAlreadyOpen)) => Err(StoreError::InUse { path: path() }),
            Ok(Err(redb::Error::Corrupted(what))) => Err(StoreError::Damaged { path: path(), what }),
            // redb says so of a file that is not one of its own.
            Ok(Err(redb::Error::Io(e))) if e.kind() == std::io::ErrorKind::InvalidData => {
                Err(StoreError::Damaged { path: path(), what: e.to_string() })
            }
            Ok(Err(other)) => Err(StoreError::Io { path: path(), what: other.to_string() }),
            Err(_) => Err(StoreError::Damaged { path: path(), what: "a page that redb cannot read".into() }),
        }
    }
}

fn damaged(what: impl Into<String>) -> redb::Error {
    redb::Error::Corrupted(what.into())
}

/// Makes the tables of a new file, and brings those of an older format up to date; gives the format.
fn begin(database: &Database) -> Result<u64, redb::Error> {
    let transaction = database.begin_write()?;
    let found = transaction.open_table(META)?.get("format")?.map(|format| format.value());
    match found {
        Some(found) if found >= FORMAT => {
            transaction.abort()?;
            return Ok(found);
        }
        None => {}
        Some(1) => migrate_from_1(&transaction)?,
        Some(_) => {}
    }
    transaction.open_table(SERIES)?;
    transaction.open_table(SCHEMAS)?;
    transaction.open_table(STREAMS)?;
    transaction.open_table(GAPS)?;
    transaction.open_table(RECEIPTS)?;
    transaction.open_table(META)?.insert("format", FORMAT)?;
    transaction.commit()?;
    Ok(FORMAT)
}

fn migrate_from_1(transaction: &WriteTransaction) -> Result<(), redb::Error> {
    let mut gaps = transaction.open_table(GAPS)?;
    for item in transaction.open_table(GAPS_1)?.iter()? {
        let (key, content) = item?;
        let ((gateway, stream, first_seq), (from_ms, to_ms, last_seq, readings, reason)) = (key.value(), content.value());
        gaps.insert((gateway, stream, first_seq, reason), (from_ms, to_ms, last_seq, readings))?;
    }
    transaction.delete_table(GAPS_1)?;
    Ok(())
}

/// Writes all of a commit but its readings.
fn write(transaction: &WriteTransaction, commit: &Commit) -> Result<(), redb::Error> {
    let mut series = transaction.open_table(SERIES)?;
    for entry in &commit.series {
        series.insert(entry.id.0, row::write_series(entry).map_err(damaged)?.as_slice())?;
    }
    let mut schemas = transaction.open_table(SCHEMAS)?;
    for (gateway, id) in &commit.forgotten_schemas {
        schemas.remove((gateway.as_str(), id.0))?;
    }
    for (gateway, id, schema) in &commit.schemas {
        let (_, message) = schema.encode().map_err(|e| damaged(e.to_string()))?;
        schemas.insert((gateway.as_str(), id.0), message.as_slice())?;
    }
    let mut streams = transaction.open_table(STREAMS)?;
    let mut receipts = transaction.open_table(RECEIPTS)?;
    for (gateway, stream) in &commit.forgotten_streams {
        streams.remove((gateway.as_str(), *stream))?;
        receipts.retain_in((gateway.as_str(), *stream, 0)..=(gateway.as_str(), *stream, u64::MAX), |_, _| false)?;
    }
    for (gateway, stream, seq) in &commit.forgotten_receipts {
        receipts.remove((gateway.as_str(), *stream, *seq))?;
    }
    for (gateway, stream, receipt) in &commit.receipts {
        receipts.insert((gateway.as_str(), *stream, receipt.seq), row::write_receipt(receipt).as_slice())?;
    }
    for state in &commit.streams {
        streams.insert((state.gateway.as_str(), state.stream), row::write_stream(state).as_slice())?;
    }
    let mut gaps = transaction.open_table(GAPS)?;
    for (gateway, stream, gap) in &commit.forgotten_gaps {
        gaps.remove((gateway.as_str(), *stream, gap.first_seq, gap.reason.code()))?;
    }
    for (gateway, stream, gap) in &commit.gaps {
        put_gap(&mut gaps, gateway, *stream, gap)?;
    }
    Ok(())
}

fn put_gap(table: &mut Table<'_, GapKey, GapRow>, gateway: &str, stream: u64, gap: &Gap) -> Result<(), redb::Error> {
    let code = gap.reason.code();
    table.retain_in((gateway, stream, gap.first_seq, 0)..=(gateway, stream, gap.last_seq, u8::MAX), |key, row| {
        key.3 != code || row.2 > gap.last_seq
    })?;
    table.insert((gateway, stream, gap.first_seq, code), (gap.from_ms, gap.to_ms, gap.last_seq, gap.readings))?;
    Ok(())
}

fn read_gap((_, _, first_seq, reason): (&str, u64, u64, u8), (from_ms, to_ms, last_seq, readings): GapRow) -> Gap {
    Gap { from_ms, to_ms, first_seq, last_seq, readings, reason: GapReason::from_code(reason) }
}

/// With the series, where they were read before.
fn load(database: &Database, read: Option<Vec<SeriesEntry>>) -> Result<Loaded, redb::Error> {
    let transaction = database.begin_read()?;
    let series = read.map_or_else(|| series(&transaction), Ok)?;
    let mut loaded = Loaded { series, ..Loaded::default() };
    for item in transaction.open_table(SCHEMAS)?.iter()? {
        let (key, content) = item?;
        let (gateway, id) = key.value();
        let (found, schema) = Schema::decode(content.value()).map_err(|e| damaged(format!("schema {id:08x}: {e}")))?;
        if found.0 != id {
            return Err(damaged(format!("schema {id:08x} has the content of {found}")));
        }
        loaded.schemas.push((gateway.to_owned(), SchemaId(id), schema));
    }
    for item in transaction.open_table(STREAMS)?.iter()? {
        let (key, content) = item?;
        let (gateway, stream) = key.value();
        let state = row::read_stream(gateway, stream, content.value());
        loaded.streams.push(state.ok_or_else(|| damaged(format!("stream {stream:016x} of {gateway}")))?);
    }
    loaded.gaps = newest_gaps(transaction.open_table(GAPS)?.iter()?.map(|item| {
        let (key, content) = item?;
        let (gateway, stream, ..) = key.value();
        Ok::<_, redb::Error>((gateway.to_owned(), stream, read_gap(key.value(), content.value())))
    }))?;
    for item in transaction.open_table(RECEIPTS)?.iter()? {
        let (key, content) = item?;
        let (gateway, stream, seq) = key.value();
        let receipt = row::read_receipt(seq, content.value());
        let receipt = receipt.ok_or_else(|| damaged(format!("receipt of batch {seq} of stream {stream:016x} of {gateway}")))?;
        loaded.receipts.push((gateway.to_owned(), stream, receipt));
    }
    Ok(loaded)
}

fn series(transaction: &ReadTransaction) -> Result<Vec<SeriesEntry>, redb::Error> {
    let table = transaction.open_table(SERIES)?;
    let mut series = Vec::with_capacity(usize::try_from(table.len()?).unwrap_or(0));
    for item in table.iter()? {
        let (id, content) = item?;
        series.push(row::read_series(id.value(), content.value()).map_err(damaged)?);
    }
    Ok(series)
}

fn gaps(database: &Database, gateway: &str, from_ms: i64, to_ms: i64) -> Result<Vec<Gap>, redb::Error> {
    let table = database.begin_read()?.open_table(GAPS)?;
    let mut gaps = Vec::new();
    for item in table.range((gateway, 0, 0, 0)..=(gateway, u64::MAX, u64::MAX, u8::MAX))? {
        let (key, content) = item?;
        let gap = read_gap(key.value(), content.value());
        if gap.from_ms < to_ms && gap.to_ms >= from_ms {
            gaps.push(gap);
        }
    }
    gaps.sort_by_key(|gap| (gap.from_ms, gap.to_ms, gap.first_seq, gap.reason.code()));
    Ok(gaps)
}

fn expire_gaps(transaction: &WriteTransaction, before_ms: i64, limit: usize) -> Result<usize, redb::Error> {
    let mut gaps = transaction.open_table(GAPS)?;
    let mut old = Vec::new();
    for item in gaps.iter()? {
        let (key, content) = item?;
        if content.value().1 < before_ms && old.len() < limit {
            let (gateway, stream, first_seq, reason) = key.value();
            old.push((gateway.to_owned(), stream, first_seq, reason));
        }
    }
    for (gateway, stream, first_seq, reason) in &old {
        gaps.remove((gateway.as_str(), *stream, *first_seq, *reason))?;
    }
    Ok(old.len())
}

fn durably<T>(database: &Database, work: impl FnOnce(&WriteTransaction) -> Result<T, redb::Error>) -> Result<T, redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    let done = work(&transaction)?;
    transaction.commit()?;
    Ok(done)
}

fn old_readings(database: &Database, after: Option<(u32, i64)>, limit: usize) -> Result<Vec<(SeriesId, Reading)>, redb::Error> {
    let table = database.begin_read()?.open_table(READINGS)?;
    let from = after.map_or(Bound::Unbounded, Bound::Excluded);
    let rows = table.range::<(u32, i64)>((from, Bound::Unbounded))?.take(limit);
    let readings = rows.map(|item| {
        let (key, content) = item?;
        let (id, at_ms) = key.value();
        let sample = row::read_sample(content.value()).ok_or_else(|| damaged(format!("reading of series {id} at {at_ms} ms")))?;
        Ok((SeriesId(id), Reading { at_ms, sample }))
    });
    readings.collect()
}

#[cfg(test)]
pub(super) mod tests;
