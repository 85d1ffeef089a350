//! Gateways, their schemas and series, and what of their streams has arrived. Built from what the store holds.
//!
//! Pure: it says what to commit and never stores, sends, locks or asks a clock. It runs ahead of the store by what it was
//! just given; after a failed commit its owner throws it away and builds a new one from the store.

mod arrival;
mod points;
mod receipts;
mod refused;
mod stream;

use std::borrow::Borrow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use pattoo_wire::{Batch, Header, MAX_SERIES, Schema, SchemaId};

use crate::store::{Block, Commit, Loaded, Readings, SeriesEntry, SeriesId};
pub use arrival::{Known, Place, Progress, Standing};
pub use receipts::MIN_RECEIPTS;
use receipts::Receipts;
pub use refused::Refused;
use stream::Arrived;
pub use stream::{MAX_AHEAD_RANGES, TooFarAhead};

/// Most gateways of one server.
pub const MAX_GATEWAYS: usize = 1024;
/// Most series that one gateway may ever have had, four times what one schema may hold.
pub const MAX_GATEWAY_SERIES: usize = 4 * MAX_SERIES;
/// Most schemas that are kept of one gateway; of more, the one that was used least recently goes.
pub const MAX_GATEWAY_SCHEMAS: usize = 64;
/// Most series in all kept schemas of one gateway: bounds their memory.
pub const MAX_SCHEMA_SERIES: usize = 4 * MAX_SERIES;
/// Most streams that are kept of one gateway. A forgotten one that comes back begins at its oldest batch: nothing is lost.
pub const MAX_STREAMS: usize = 16;

/// Most series of all gateways, unless the configuration says otherwise.
pub const DEFAULT_MAX_SERIES: usize = 1_000_000;

/// All that is known of all gateways.
#[derive(Debug)]
pub struct Catalog {
    gateways: BTreeMap<String, Gateway>,
    last_id: u32,
    /// Of all gateways, and how many there may be.
    series_count: usize,
    max_series: usize,
    /// Counts uses, to know the least recent.
    uses: u64,
}

/// `stream`, `next` and `sent_ms` of a hello: enough to know it again.
type Words = (u64, u64, u64);

#[derive(Debug, Default)]
struct Gateway {
    schemas: HashMap<SchemaId, KnownSchema>,
    /// Device -> series by point.
    series: HashMap<String, HashSet<OfPoint>>,
    series_count: usize,
    streams: HashMap<u64, Stream>,
    /// Of its latest hello.
    hello: Option<Words>,
    /// Of the latest one that led to a commit.
    settled: Option<Words>,
    /// The schema that the series were last brought up to date with.
    current: Option<SchemaId>,
}

/// A series by the name of its point, which is not kept twice.
#[derive(Debug, Clone)]
struct OfPoint(Arc<SeriesEntry>);

impl Borrow<str> for OfPoint {
    fn borrow(&self) -> &str {
        &self.0.entry.point
    }
}

impl Hash for OfPoint {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.entry.point.hash(state);
    }
}

impl PartialEq for OfPoint {
    fn eq(&self, other: &Self) -> bool {
        self.0.entry.point == other.0.entry.point
    }
}

impl Eq for OfPoint {}

impl Default for Catalog {
    fn default() -> Self {
        Self { gateways: BTreeMap::new(), last_id: 0, series_count: 0, max_series: DEFAULT_MAX_SERIES, uses: 0 }
    }
}

/// One life of a gateway's buffer.
#[derive(Debug, Default)]
struct Stream {
    arrived: Arrived,
    receipts: Receipts,
    used: u64,
}

#[derive(Debug)]
struct KnownSchema {
    schema: Arc<Schema>,
    /// Ids by index, once a batch has used it.
    ids: Option<Arc<[SeriesId]>>,
    /// Last use by a batch; 0 for none.
    used: u64,
    came: u64,
}

impl Catalog {
    /// The catalogue of a store.
    #[must_use]
    pub fn new(loaded: Loaded) -> Self {
        let mut catalog = Self::default();
        for entry in loaded.series {
            catalog.last_id = catalog.last_id.max(entry.id.0);
            catalog.insert_series(Arc::new(entry));
        }
        for (gateway, id, schema) in loaded.schemas {
            let known = KnownSchema { schema: Arc::new(schema), ids: None, used: 0, came: 0 };
            catalog.gateways.entry(gateway).or_default().schemas.insert(id, known);
        }
        for state in loaded.streams {
            let stream = Stream { arrived: Arrived::from_state(&state), ..Stream::default() };
            catalog.gateways.entry(state.gateway).or_default().streams.insert(state.stream, stream);
        }
        for (gateway, stream, gap) in loaded.gaps {
            if let Some(stream) = catalog.stream_mut(&gateway, stream) {
                stream.arrived.remember(gap);
            }
        }
        for (gateway, stream, receipt) in loaded.receipts {
            if let Some(stream) = catalog.stream_mut(&gateway, stream) {
                stream.receipts.remember(receipt);
            }
        }
        catalog.gateways.values_mut().flat_map(|g| g.streams.values_mut()).for_each(|stream| stream.receipts.settle_order());
        catalog
    }

    /// Takes no more series than that; those that there are stay, however many.
    #[must_use]
    pub fn with_max_series(self, max_series: usize) -> Self {
        Self { max_series, ..self }
    }

    /// What a store holds, after a commit that failed. The hellos that led to one before are not forgotten: one of them that comes
    /// again stands behind batches that were made after it, and would be taken for the word of an older buffer.
    #[must_use]
    pub fn reloaded(&self, loaded: Loaded) -> Self {
        let mut catalog = Self::new(loaded).with_max_series(self.max_series);
        for (name, gateway) in &mut catalog.gateways {
            let settled = self.gateways.get(name).and_then(|before| before.settled);
            (gateway.hello, gateway.settled) = (settled, settled);
        }
        catalog
    }

    /// What this gateway's latest hello led to is stored.
    pub fn settle(&mut self, gateway: &str) {
        if let Some(gateway) = self.gateways.get_mut(gateway) {
            gateway.settled = gateway.hello;
        }
    }

    /// All series, in no order.
    pub fn series(&self) -> impl Iterator<Item = &Arc<SeriesEntry>> {
        self.gateways.values().flat_map(|g| g.series.values()).flatten().map(|OfPoint(entry)| entry)
    }

    /// The known series of this name.
    #[must_use]
    pub fn find(&self, entry: &SeriesEntry) -> Option<&Arc<SeriesEntry>> {
        self.gateways.get(&entry.gateway)?.find(&entry.device, &entry.entry.point)
    }

    /// Adds or replaces a series.
    fn insert_series(&mut self, entry: Arc<SeriesEntry>) {
        let gateway = match self.gateways.get_mut(&entry.gateway) {
            Some(gateway) => gateway,
            None => self.gateways.entry(entry.gateway.clone()).or_default(),
        };
        let is_new = gateway.insert_series(entry);
        self.series_count += usize::from(is_new);
    }

    /// Whether a gateway may have so many more series.
    fn ensure_room_for_series(&self, gateway: &str, more: usize) -> Result<(), Refused> {
        let of_gateway = self.gateways.get(gateway).map_or(0, |gateway| gateway.series_count) + more;
        if more > 0 && of_gateway > MAX_GATEWAY_SERIES {
            return Err(Refused::TooManySeries { gateway: gateway.to_owned(), count: of_gateway });
        }
        let (count, limit) = (self.series_count + more, self.max_series);
        match more > 0 && count > limit {
            true => Err(Refused::TooManySeriesInAll { gateway: gateway.to_owned(), count, limit }),
            false => Ok(()),
        }
    }

    /// Names of all gateways, ascending.
    pub fn gateways(&self) -> impl Iterator<Item = &str> {
        self.gateways.keys().map(String::as_str)
    }

    /// Takes a schema; the commit is empty for one that is known already.
    ///
    /// # Errors
    /// A schema whose id lies, or a gateway too many.
    pub fn take_schema(&mut self, gateway: &str, named: SchemaId, found: SchemaId, schema: Schema) -> Result<Commit, Refused> {
        if named != found {
            return Err(Refused::SchemaIdDiffers { gateway: gateway.to_owned(), named, found });
        }
        self.ensure_room(gateway)?;
        self.uses += 1;
        let known = self.gateways.entry(gateway.to_owned()).or_default();
        if let Some(earlier) = known.schemas.get(&found) {
            return match *earlier.schema == schema {
                true => Ok(Commit::default()),
                false => Err(Refused::SchemaContradicts { gateway: gateway.to_owned(), id: found }),
            };
        }
        let forgotten = known.make_room_for(schema.series.len());
        known.schemas.insert(found, KnownSchema { schema: Arc::new(schema.clone()), ids: None, used: 0, came: self.uses });
        Ok(Commit {
            schemas: vec![(gateway.to_owned(), found, schema)],
            forgotten_schemas: forgotten.into_iter().map(|id| (gateway.to_owned(), id)).collect(),
            ..Commit::default()
        })
    }

    /// The schema to decode a batch with.
    ///
    /// # Errors
    /// It has not come yet.
    pub fn schema(&self, gateway: &str, id: SchemaId, header: &Header) -> Result<Arc<Schema>, Refused> {
        let known = self.gateways.get(gateway).and_then(|g| g.schemas.get(&id));
        known.map(|known| known.schema.clone()).ok_or_else(|| Refused::SchemaUnknown { gateway: gateway.to_owned(), id, header: *header })
    }

    /// Takes a batch that was decoded with that schema: one that is new, or not the one that came under its number before.
    ///
    /// # Errors
    /// A stream too far ahead, or a limit.
    pub fn take_batch(&mut self, place: Place<'_>, schema: SchemaId, batch: Batch) -> Result<(Commit, Progress), Refused> {
        // Judged first on a copy: a refusal must leave everything as it was.
        self.arrive_on_copy(place, &batch.gaps)?;
        let (series, ids) = self.bind(place.gateway, &place.header, schema)?;
        let (mut commit, progress) = self.arrive(place, &batch)?;
        commit.series = series;
        commit.readings = readings(&ids, batch.blocks);
        Ok((commit, progress))
    }

    /// Brings the series up to date with a schema; gives those that changed and the ids by index.
    ///
    /// This waits for the first batch, because retained schemas come in any order and an old one must not win.
    fn bind(&mut self, gateway: &str, header: &Header, id: SchemaId) -> Result<(Vec<SeriesEntry>, Arc<[SeriesId]>), Refused> {
        let unknown = || Refused::SchemaUnknown { gateway: gateway.to_owned(), id, header: *header };
        let owner = self.gateways.get_mut(gateway).ok_or_else(unknown)?;
        let known = owner.schemas.get_mut(&id).ok_or_else(unknown)?;
        self.uses += 1;
        known.used = self.uses;
        if let (Some(ids), true) = (&known.ids, owner.current == Some(id)) {
            return Ok((Vec::new(), ids.clone()));
        }
        let schema = known.schema.clone();
        let more = owner.missing(&schema);
        self.ensure_room_for_series(gateway, more)?;
        let owner = self.gateways.get_mut(gateway).ok_or_else(unknown)?;
        let before = owner.series_count;
        let (mut changed, mut ids) = (Vec::new(), Vec::with_capacity(schema.series.len()));
        for (device, series) in pairs(&schema) {
            let earlier = owner.find(&device.name, &series.point);
            let id = earlier.map_or(SeriesId(self.last_id.saturating_add(1)), |entry| entry.id);
            ids.push(id);
            let mut entry = SeriesEntry {
                id,
                gateway: gateway.to_owned(),
                device: device.name.clone(),
                profile: device.profile.clone(),
                device_labels: device.labels.clone(),
                entry: series.clone(),
            };
            entry.entry.device = 0;
            if earlier.is_none_or(|earlier| **earlier != entry) {
                self.last_id = self.last_id.max(id.0);
                owner.insert_series(Arc::new(entry.clone()));
                changed.push(entry);
            }
        }
        let ids: Arc<[SeriesId]> = ids.into();
        owner.current = Some(id);
        self.series_count += owner.series_count - before;
        if let Some(known) = owner.schemas.get_mut(&id) {
            known.ids = Some(ids.clone());
        }
        Ok((changed, ids))
    }

    fn ensure_room(&self, gateway: &str) -> Result<(), Refused> {
        match self.gateways.len() < MAX_GATEWAYS || self.gateways.contains_key(gateway) {
            true => Ok(()),
            false => Err(Refused::TooManyGateways { gateway: gateway.to_owned() }),
        }
    }
}

impl Gateway {
    fn find(&self, device: &str, point: &str) -> Option<&Arc<SeriesEntry>> {
        self.series.get(device)?.get(point).map(|OfPoint(entry)| entry)
    }

    /// Adds or replaces a series; whether it is new.
    fn insert_series(&mut self, entry: Arc<SeriesEntry>) -> bool {
        let points = match self.series.get_mut(&entry.device) {
            Some(points) => points,
            None => self.series.entry(entry.device.clone()).or_default(),
        };
        let is_new = points.replace(OfPoint(entry)).is_none();
        self.series_count += usize::from(is_new);
        is_new
    }

    fn missing(&self, schema: &Schema) -> usize {
        pairs(schema).filter(|(device, series)| self.find(&device.name, &series.point).is_none()).count()
    }

    /// Drops schemas, those that no batch used first, until one of that many series fits.
    fn make_room_for(&mut self, series: usize) -> Vec<SchemaId> {
        let mut forgotten = Vec::new();
        let held = |schemas: &HashMap<SchemaId, KnownSchema>| schemas.values().map(|known| known.schema.series.len()).sum::<usize>();
        while self.schemas.len() >= MAX_GATEWAY_SCHEMAS || held(&self.schemas) + series > MAX_SCHEMA_SERIES {
            let oldest = self.schemas.iter().min_by_key(|(id, known)| (known.used, known.came, **id)).map(|(id, _)| *id);
            let Some(oldest) = oldest else { break };
            self.schemas.remove(&oldest);
            forgotten.push(oldest);
        }
        forgotten
    }
}

fn pairs(schema: &Schema) -> impl Iterator<Item = (&pattoo_wire::Device, &pattoo_wire::Series)> {
    // Decoding has checked that every series names a device.
    schema.series.iter().filter_map(|series| schema.devices.get(series.device as usize).map(|device| (device, series)))
}

fn readings(ids: &[SeriesId], blocks: Vec<pattoo_wire::Block>) -> Readings {
    let mut readings = Readings::default();
    for pattoo_wire::Block { series, times_ms, samples } in blocks {
        let id = |index: &u32| *ids.get(*index as usize).expect("BUG: decoding has checked the indexes against the schema");
        if !samples.is_empty() {
            readings.push_block(Block::new(series.iter().map(id).collect(), times_ms, samples));
        }
    }
    readings
}

#[cfg(test)]
mod tests;
