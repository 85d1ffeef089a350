//! Which schemas the buffer holds: those that a batch in it names, and the latest.

use pattoo_wire::{Schema, SchemaId};

use super::record::SchemaRecord;
use super::{Buffer, BufferError, Store, StoreError};
use crate::batch::Closed;

impl<S: Store> Buffer<S> {
    /// The message of a schema that a held batch names.
    ///
    /// # Errors
    /// A store that fails.
    pub fn schema(&mut self, id: SchemaId) -> Result<Option<Vec<u8>>, BufferError> {
        self.mend()?;
        if !self.head.schemas.contains_key(&id) {
            return Ok(None);
        }
        let message = self.store.schema(id.0)?;
        Ok(message.filter(|message| Schema::decode(message).is_ok_and(|(found, _)| found == id)))
    }

    pub(super) fn latest_schema(&self) -> Option<SchemaId> {
        self.head.schemas.iter().max_by_key(|(_, record)| record.last_seq).map(|(id, _)| *id)
    }

    /// Stores the schema of a batch that is being appended, if it is new, and notes which one is the latest.
    pub(super) fn keep_schema(&mut self, closed: &Closed) -> Result<(), StoreError> {
        let id = closed.schema();
        if self.head.schemas.get(&id).is_some_and(|record| record.last_seq == u64::MAX) {
            return Ok(());
        }
        if !self.head.schemas.contains_key(&id) {
            self.store.set_schema(id.0, Some(&closed.dictionary.message))?;
        }
        let last_seq = self.head.next.saturating_sub(1);
        self.head.schemas.values_mut().filter(|record| record.last_seq == u64::MAX).for_each(|record| record.last_seq = last_seq);
        self.head.schemas.insert(id, SchemaRecord { last_seq: u64::MAX });
        self.prune_schemas()?;
        self.save_head(true)
    }

    pub(super) fn prune_schemas(&mut self) -> Result<(), StoreError> {
        let kept = self.kept();
        let unused: Vec<SchemaId> = self.head.schemas.iter().filter(|(_, record)| record.last_seq < kept).map(|(id, _)| *id).collect();
        for id in unused {
            self.store.set_schema(id.0, None)?;
            self.head.schemas.remove(&id);
        }
        Ok(())
    }
}
