//! Thins out stored chunks before anything is dropped, and says so.
//!
//! Does not choose readings: see [`super::thin`]. A chunk is thinned out as a whole, once, and in one write: every batch of it that lost
//! readings carries the record of them, so that there is no moment at which a reading is neither there nor on record, nor both. A batch
//! that may have been sent stays as it is: the server takes what comes twice under a number for the same.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};

use pattoo_wire::{Body, Schema, SchemaId};

use super::chunks::Chunk;
use super::record::{self, BatchRecord};
use super::thin::{Thinner, own_record};
use super::{Buffer, Notice, Store, StoreError};

/// Share of its bytes that a chunk must lose: less would not pay for readings that are gone, nor for writing the rest again.
const LEAST_GAIN: u64 = 4;

impl<S: Store> Buffer<S> {
    /// Thins out the oldest chunk of which that can be said to pay; false if there is none. A disk without room for it counts as none.
    pub(super) fn thin_oldest(&mut self) -> Result<bool, StoreError> {
        while let Some(chunk) = self.thinnable() {
            match self.thin_chunk(chunk) {
                Ok(false) => {}
                Err(StoreError::Full) => return Ok(false),
                other => return other,
            }
        }
        Ok(false)
    }

    fn thinnable(&self) -> Option<Chunk> {
        let can_be = |chunk: &&Chunk| chunk.sealed && !chunk.thinned && chunk.lost_from.is_none() && chunk.next > self.head.oldest;
        self.chunks.iter().find(can_be).filter(|_| self.limits.thin_to_ms > 0).copied()
    }

    /// Whether that freed room.
    fn thin_chunk(&mut self, chunk: Chunk) -> Result<bool, StoreError> {
        // A later value of a number goes before an earlier one.
        let mut records: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
        let scanned = self.store.scan(chunk.first, &mut |number, value| {
            records.extend((number..).zip(record::group(value).map(<[u8]>::to_vec)));
        });
        match scanned {
            Err(StoreError::Damaged(why)) => return self.lose(&chunk, &why).map(|()| true),
            other => other?,
        }
        let gone = self.thin_records(&mut records)?;
        let values = record::groups(&records);
        let bytes = records.values().map(|record| record.len() as u64).sum();
        let thinned = Chunk { bytes, values: values.len() as u64, thinned: true, ..chunk };
        if gone == 0 || bytes > chunk.bytes - chunk.bytes / LEAST_GAIN {
            // Not looked at again.
            self.chunks.set(Chunk { thinned: true, ..chunk });
            return Ok(false);
        }
        self.cached = None;
        self.store.rewrite(chunk.first, &values, &thinned.encode(self.head.stream), None)?;
        self.chunks.set(thinned);
        self.head.dropped_readings += gone;
        self.notices.push(Notice::Thinned { first: chunk.first, last: chunk.next.saturating_sub(1), readings: gone });
        self.save_head(false)?;
        Ok(true)
    }

    /// Thins out the records of a chunk; how many readings are gone.
    fn thin_records(&mut self, records: &mut BTreeMap<u64, Vec<u8>>) -> Result<u64, StoreError> {
        let mut thinner = Thinner::new(self.limits.thin_to_ms);
        let mut schemas: HashMap<SchemaId, Option<Schema>> = HashMap::new();
        let mut gone = 0;
        for (seq, bytes) in records {
            // What cannot be read is found out when it is to be sent.
            let Some(record) = BatchRecord::decode(bytes) else { continue };
            let Ok(body) = Body::open(&record.body) else { continue };
            let id = body.schema();
            let schema = match schemas.entry(id) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(unknown) => {
                    let message = if self.head.schemas.contains_key(&id) { self.store.schema(id.0)? } else { None };
                    unknown.insert(message.and_then(|message| Schema::decode(&message).ok()).map(|(_, schema)| schema))
                }
            };
            let Some(schema) = schema else { continue };
            let Ok(batch) = body.decode(id, schema) else { continue };
            let waits = *seq >= self.head.oldest && !self.head.ahead.contains(*seq) && !self.head.given.contains(*seq);
            let thinned = if waits && own_record(*seq, &batch.gaps).is_none() { thinner.thin(*seq, id, schema, &batch) } else { None };
            let encoded = thinned.and_then(|thinned| {
                let readings = own_record(*seq, &thinned.gaps)?.readings;
                let body = thinned.encode(id, schema).ok().filter(|body| body.len() < record.body.len())?;
                // How many it had and when stays with it: if it is damaged now, all of them are missing.
                Some((readings, BatchRecord { body, ..record.clone() }.encode()))
            });
            match encoded {
                Some((readings, encoded)) => {
                    gone += readings;
                    *bytes = encoded;
                }
                None => thinner.pass(id, &batch),
            }
        }
        Ok(gone)
    }
}
