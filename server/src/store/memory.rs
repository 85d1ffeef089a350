//! A store in memory, for tests and throw-away servers: nothing of it survives the process.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pattoo_wire::{Gap, Sample, Schema, SchemaId};

use super::row::write_sample;
use super::{Bucket, Commit, Committed, Loaded, Reading, Receipt, SeriesEntry, SeriesId, Store, StoreError, StreamState, newest_gaps};

/// A store in memory. Clones share what they hold, as two openings of one file would.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    held: Arc<Mutex<Held>>,
}

/// Gateway, stream, first seq, reason.
type GapKey = (String, u64, u64, u8);

#[derive(Debug, Clone, Default)]
struct Held {
    readings: BTreeMap<(SeriesId, i64), Sample>,
    series: BTreeMap<SeriesId, SeriesEntry>,
    schemas: BTreeMap<(String, SchemaId), Schema>,
    streams: BTreeMap<(String, u64), StreamState>,
    gaps: BTreeMap<GapKey, Gap>,
    receipts: BTreeMap<(String, u64, u64), Receipt>,
    failure: Option<String>,
}

impl Memory {
    /// Makes every call fail with these words, or work again.
    pub fn fail(&self, what: Option<&str>) {
        self.lock().failure = what.map(str::to_owned);
    }

    /// Another store with what this one holds now: a backup.
    #[must_use]
    pub fn copy(&self) -> Self {
        Self { held: Arc::new(Mutex::new(self.lock().clone())) }
    }

    /// Gap records of a gateway, with their stream.
    #[must_use]
    pub fn gap_records(&self, gateway: &str) -> Vec<(u64, Gap)> {
        self.lock().gaps.iter().filter(|((of, ..), _)| of == gateway).map(|((_, stream, ..), gap)| (*stream, gap.clone())).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn working(&self) -> Result<MutexGuard<'_, Held>, StoreError> {
        let held = self.lock();
        match &held.failure {
            Some(what) => Err(StoreError::Io { path: "memory".into(), what: what.clone() }),
            None => Ok(held),
        }
    }
}

impl Held {
    fn put_gap(&mut self, gateway: &str, stream: u64, gap: &Gap) {
        let code = gap.reason.code();
        let key = |seq, code| (gateway.to_owned(), stream, seq, code);
        let begun = self.gaps.range(key(gap.first_seq, 0)..=key(gap.last_seq, u8::MAX));
        let within: Vec<GapKey> =
            begun.filter(|(key, held)| key.3 == code && held.last_seq <= gap.last_seq).map(|(key, _)| key.clone()).collect();
        for key in within {
            self.gaps.remove(&key);
        }
        self.gaps.insert(key(gap.first_seq, code), gap.clone());
    }

    fn range(&self, series: SeriesId, from_ms: i64, to_ms: i64) -> impl Iterator<Item = Reading> {
        let range = self.readings.range((series, from_ms)..(series, to_ms.max(from_ms)));
        range.map(|((_, at_ms), sample)| Reading { at_ms: *at_ms, sample: sample.clone() })
    }
}

impl Store for Memory {
    fn load(&self) -> Result<Loaded, StoreError> {
        let held = self.working()?;
        let gaps = held.gaps.iter().map(|((gateway, stream, ..), gap)| Ok::<_, StoreError>((gateway.clone(), *stream, gap.clone())));
        Ok(Loaded {
            series: held.series.values().cloned().collect(),
            schemas: held.schemas.iter().map(|((gateway, id), schema)| (gateway.clone(), *id, schema.clone())).collect(),
            streams: held.streams.values().cloned().collect(),
            gaps: newest_gaps(gaps)?,
            receipts: held.receipts.iter().map(|((gateway, stream, _), receipt)| (gateway.clone(), *stream, receipt.clone())).collect(),
        })
    }

    fn commit(&self, commit: &Commit) -> Result<Committed, StoreError> {
        let mut held = self.working()?;
        for key in &commit.forgotten_schemas {
            held.schemas.remove(key);
        }
        for key in &commit.forgotten_streams {
            held.streams.remove(key);
            held.receipts.retain(|(gateway, stream, _), _| (gateway, stream) != (&key.0, &key.1));
        }
        for key in &commit.forgotten_receipts {
            held.receipts.remove(key);
        }
        let receipts = commit.receipts.iter();
        held.receipts.extend(receipts.map(|(gateway, stream, receipt)| ((gateway.clone(), *stream, receipt.seq), receipt.clone())));
        held.series.extend(commit.series.iter().map(|entry| (entry.id, entry.clone())));
        held.schemas.extend(commit.schemas.iter().map(|(gateway, id, schema)| ((gateway.clone(), *id), schema.clone())));
        held.streams.extend(commit.streams.iter().map(|state| ((state.gateway.clone(), state.stream), state.clone())));
        for (gateway, stream, gap) in &commit.forgotten_gaps {
            held.gaps.remove(&(gateway.clone(), *stream, gap.first_seq, gap.reason.code()));
        }
        for (gateway, stream, gap) in &commit.gaps {
            held.put_gap(gateway, *stream, gap);
        }
        let mut committed = Committed::default();
        for (id, reading) in commit.readings.iter() {
            let earlier = held.readings.insert((id, reading.at_ms), reading.sample.clone());
            // By its bits: NaN differs from itself.
            let other = |earlier: &Sample| write_sample(earlier) != write_sample(reading.sample);
            committed.replaced += u64::from(earlier.as_ref().is_some_and(other));
        }
        Ok(committed)
    }

    fn raw(&self, series: SeriesId, from_ms: i64, to_ms: i64, limit: usize) -> Result<Vec<Reading>, StoreError> {
        Ok(self.working()?.range(series, from_ms, to_ms).take(limit).collect())
    }

    fn buckets(&self, series: SeriesId, from_ms: i64, to_ms: i64, step_ms: i64) -> Result<Vec<Bucket>, StoreError> {
        Ok(crate::query::buckets(self.working()?.range(series, from_ms, to_ms), step_ms))
    }

    fn latest(&self, series: &[SeriesId]) -> Result<Vec<Option<Reading>>, StoreError> {
        let held = self.working()?;
        let newest = |id: &SeriesId| held.readings.range((*id, i64::MIN)..=(*id, i64::MAX)).next_back();
        let reading = |((_, at_ms), sample): (&(SeriesId, i64), &Sample)| Reading { at_ms: *at_ms, sample: sample.clone() };
        Ok(series.iter().map(|id| newest(id).map(reading)).collect())
    }

    fn gaps(&self, gateway: &str, from_ms: i64, to_ms: i64) -> Result<Vec<Gap>, StoreError> {
        let held = self.working()?;
        let of = |key: &GapKey, gap: &Gap| key.0 == gateway && gap.from_ms < to_ms && gap.to_ms >= from_ms;
        let mut gaps: Vec<Gap> = held.gaps.iter().filter(|(key, gap)| of(key, gap)).map(|(_, gap)| gap.clone()).collect();
        gaps.sort_by_key(|gap| (gap.from_ms, gap.to_ms, gap.first_seq, gap.reason.code()));
        Ok(gaps)
    }

    fn expire(&self, before_ms: i64, limit: usize) -> Result<usize, StoreError> {
        let mut held = self.working()?;
        let old: Vec<_> = held.readings.keys().filter(|(_, at_ms)| *at_ms < before_ms).take(limit).copied().collect();
        let left = limit - old.len();
        let old_gaps: Vec<_> = held.gaps.iter().filter(|(_, gap)| gap.to_ms < before_ms).take(left).map(|(key, _)| key.clone()).collect();
        for key in &old {
            held.readings.remove(key);
        }
        for key in &old_gaps {
            held.gaps.remove(key);
        }
        Ok(old.len() + old_gaps.len())
    }

    fn bytes(&self) -> Result<u64, StoreError> {
        Ok(self.working()?.readings.len() as u64 * size_of::<Reading>() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::super::contract::{self, Bed};
    use super::*;

    impl Bed for Memory {
        fn open(&self) -> Box<dyn Store> {
            Box::new(self.clone())
        }
    }

    #[test]
    fn the_memory_store_keeps_the_contract() {
        contract::run(|| Box::new(Memory::default()));
    }
}
