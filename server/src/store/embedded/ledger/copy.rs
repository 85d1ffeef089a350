//! Shell: a copy of a ledger as of one moment, and what can be said of one that lies still.

use std::path::Path;

use redb::{Database, Key, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition, Value, WriteTransaction};

use super::{CACHE_BYTES, GAPS, Ledger, META, RECEIPTS, SCHEMAS, SERIES, STREAMS, begin, damaged, durably};
use crate::store::{Loaded, StoreError};

impl Ledger {
    /// Sees the file as it is now, however it changes.
    pub(in crate::store::embedded) fn reader(&self) -> Result<ReadTransaction, StoreError> {
        self.with(|database| Ok(database.begin_read()?))
    }

    /// Writes what a reader sees into a file of the same name in this folder.
    pub(in crate::store::embedded) fn copy(&self, reader: &ReadTransaction, into: &Path) -> Result<(), StoreError> {
        let copy = Self::closed(&into.join(self.path.file_name().unwrap_or_default()));
        copy.guarded(|| {
            let database = Database::builder().set_cache_size(CACHE_BYTES).create(&copy.path)?;
            begin(&database)?;
            durably(&database, |writer| {
                table(reader, writer, SERIES)?;
                table(reader, writer, SCHEMAS)?;
                table(reader, writer, STREAMS)?;
                table(reader, writer, GAPS)?;
                table(reader, writer, RECEIPTS)?;
                table(reader, writer, META)
            })
        })
    }

    /// Reads all of a file that nobody else has open, and verifies the checksums of its pages. Repairs what a kill has left, so give it a copy.
    pub(in crate::store::embedded) fn check(path: &Path) -> Result<(Loaded, u64), StoreError> {
        let still = Self::closed(path);
        still.guarded(|| {
            let mut database = Database::builder().set_cache_size(CACHE_BYTES).open(path)?;
            if !database.check_integrity()? {
                return Err(damaged("checksums of its pages are wrong"));
            }
            Ok(())
        })?;
        let ledger = Self::open(path)?;
        Ok((ledger.load()?, ledger.covered()?))
    }
}

fn table<K: Key + 'static, V: Value + 'static>(
    reader: &ReadTransaction,
    writer: &WriteTransaction,
    definition: TableDefinition<'_, K, V>,
) -> Result<(), redb::Error> {
    let mut copy = writer.open_table(definition)?;
    for row in reader.open_table(definition)?.iter()? {
        let (key, value) = row?;
        copy.insert(key.value(), value.value())?;
    }
    Ok(())
}
