//! The schema as it grows: devices and fixed points at the start, rows of tables when they first come.
//!
//! Does not encode batches. Everything that goes in was checked, so that the schema can always be encoded.

use std::collections::HashMap;
use std::sync::Arc;

use pattoo_wire::{CLASS_ALARM, CLASS_LABEL, Device, Labels, MAX_SCHEMA_BYTES, MAX_SERIES, Repr, Schema, SchemaId, Series, WireError};

use crate::config::Config;
use crate::profile::{Point, Profile};
use crate::reading::{DeviceIndex, PointIndex, Row};

/// Longest text in a schema, in bytes.
const MAX_STRING_BYTES: usize = 255;

/// Most refused series that are remembered; beyond it a refusal is worked out anew each time.
const MAX_REFUSED: usize = 1024;

/// A schema with its id and its message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dictionary {
    /// Names it.
    pub id: SchemaId,
    /// Its content.
    pub schema: Schema,
    /// What is published.
    pub message: Vec<u8>,
}

impl Dictionary {
    /// Encodes a schema.
    ///
    /// # Errors
    /// One that is not valid.
    pub fn new(schema: Schema) -> Result<Self, WireError> {
        let (id, message) = schema.encode()?;
        Ok(Self { id, schema, message })
    }
}

/// Device, point, and of a row its own name of the point and its identity.
type Key = (DeviceIndex, PointIndex, Option<(Option<String>, String)>);

/// The growing schema.
pub(super) struct Growing {
    pub(super) schema: Schema,
    known: HashMap<Key, Result<(u32, Repr), String>>,
    refused: usize,
    profiles: Vec<Arc<Profile>>,
    current: Option<Arc<Dictionary>>,
    /// At least the bytes of the encoded schema.
    bound_bytes: usize,
}

impl Growing {
    pub(super) fn new(config: &Config) -> Result<Self, WireError> {
        let devices: Vec<Device> = config
            .devices
            .iter()
            .map(|device| Device { name: device.name.clone(), profile: device.profile.id.clone(), labels: device.labels.clone() })
            .collect();
        let schema = Schema { devices, series: Vec::new() };
        let (_, message) = schema.encode()?;
        let mut growing = Self {
            schema,
            known: HashMap::new(),
            refused: 0,
            profiles: config.devices.iter().map(|device| Arc::clone(&device.profile)).collect(),
            current: None,
            // The count of series may grow from one byte to five.
            bound_bytes: message.len() + 4,
        };
        for (device, profile) in growing.profiles.clone().iter().enumerate() {
            for (point, _) in profile.points.iter().enumerate().filter(|(_, point)| !point.read.has_rows()) {
                // A point over the limit is refused again, and reported, when its first reading comes.
                let _ = growing.series(DeviceIndex(device), PointIndex(point), None);
            }
        }
        Ok(growing)
    }

    pub(super) fn dictionary(&mut self) -> Result<Arc<Dictionary>, WireError> {
        if let Some(current) = &self.current {
            return Ok(Arc::clone(current));
        }
        let dictionary = Arc::new(Dictionary::new(self.schema.clone())?);
        self.current = Some(Arc::clone(&dictionary));
        Ok(dictionary)
    }

    /// The index and representation of a series, which is added when it is new.
    pub(super) fn series(&mut self, device: DeviceIndex, point: PointIndex, row: Option<&Row>) -> Result<(u32, Repr), String> {
        // A row without a name of its own is the point itself.
        let named = row.filter(|row| row.point.is_some() || !row.identity.is_empty());
        let key = (device, point, named.map(|row| (row.point.clone(), row.identity.clone())));
        if let Some(known) = self.known.get(&key) {
            let known = known.clone();
            if let (Ok((index, _)), Some(row)) = (&known, row) {
                self.relabel(*index, device, point, row);
                self.take_unit(*index, row);
            }
            return known;
        }
        let found = self.add(device, point, row);
        self.refused += usize::from(found.is_err());
        if found.is_ok() || self.refused <= MAX_REFUSED {
            self.known.insert(key, found.clone());
        }
        found
    }

    /// Whether a row says another unit than its series has.
    pub(super) fn other_unit(&self, index: u32, row: Option<&Row>) -> bool {
        let unit = row.and_then(|row| row.unit.as_deref());
        unit.is_some_and(|unit| self.schema.series.get(index as usize).is_some_and(|series| series.unit != shortened(unit)))
    }

    /// The unit of a series that had none until its device said it: while the device was silent, nobody knew.
    fn take_unit(&mut self, index: u32, row: &Row) {
        let (Some(unit), Some(series)) = (row.unit.as_deref().map(shortened), self.schema.series.get_mut(index as usize)) else { return };
        if series.unit.is_empty() && !unit.is_empty() && self.bound_bytes + unit.len() <= MAX_SCHEMA_BYTES {
            self.bound_bytes += unit.len();
            series.unit = unit;
            self.current = None;
        }
    }

    /// Takes the labels of a row where they are others than before, unless the schema has no room for them.
    fn relabel(&mut self, index: u32, device: DeviceIndex, point: PointIndex, row: &Row) {
        let Some(point) = self.profiles.get(device.0).and_then(|profile| profile.points.get(point.0)) else { return };
        let labels = labels_of(point, Some(row));
        let Some(series) = self.schema.series.get_mut(index as usize).filter(|series| series.labels != labels) else { return };
        let bytes = |labels: &Labels| labels.iter().map(|(key, text)| key.len() + text.len() + 4).sum::<usize>();
        let more = bytes(&labels).saturating_sub(bytes(&series.labels));
        if self.bound_bytes + more > MAX_SCHEMA_BYTES {
            return;
        }
        self.bound_bytes += more;
        series.labels = labels;
        self.current = None;
    }

    fn add(&mut self, device: DeviceIndex, point: PointIndex, row: Option<&Row>) -> Result<(u32, Repr), String> {
        let profile =
            self.profiles.get(device.0).ok_or_else(|| format!("BUG: a reading of device {}, which is not configured", device.0))?;
        let point = profile
            .points
            .get(point.0)
            .ok_or_else(|| format!("BUG: a reading of point {}, which {} does not have", point.0, profile.id))?;
        let series = series_of(device, point, row);
        let name = self.schema.devices.get(device.0).map_or("", |device| &device.name);
        let bytes = bytes_of(&series).map_err(|e| format!("{name}: {} cannot be a series: {e}", series.point))?;
        let own = row.and_then(|row| row.point.as_ref()).unwrap_or(&point.name);
        if own.contains('[') {
            return Err(format!("{name}: point {own} has a '[' in its name, which is kept for rows of tables"));
        }
        if self.schema.series.len() >= MAX_SERIES {
            return Err(format!("{name}: no room for {}: a gateway has at most {MAX_SERIES} series", series.point));
        }
        if self.bound_bytes + bytes > MAX_SCHEMA_BYTES {
            return Err(format!("{name}: no room for {}: a schema has at most {MAX_SCHEMA_BYTES} bytes", series.point));
        }
        let (index, repr) = (self.schema.series.len() as u32, series.repr);
        self.bound_bytes += bytes;
        self.schema.series.push(series);
        self.current = None;
        Ok((index, repr))
    }
}

fn series_of(device: DeviceIndex, point: &Point, row: Option<&Row>) -> Series {
    let name = row.and_then(|row| row.point.as_ref()).unwrap_or(&point.name);
    let name = match row.map(|row| row.identity.as_str()) {
        Some(identity) if !identity.is_empty() => format!("{name}[{identity}]"),
        _ => name.clone(),
    };
    Series {
        device: device.0 as u32,
        point: name,
        unit: shortened(row.and_then(|row| row.unit.as_ref()).unwrap_or(&point.unit)),
        kind: point.kind,
        repr: point.repr,
        labels: labels_of(point, row),
        states: point.states.iter().map(|(number, text)| (*number, shortened(text))).collect(),
    }
}

fn labels_of(point: &Point, row: Option<&Row>) -> Labels {
    let mut labels: Labels = row.map(|row| row.labels.iter().map(|(k, v)| (shortened(k), shortened(v))).collect()).unwrap_or_default();
    if point.alarm {
        labels.insert(CLASS_LABEL.to_owned(), CLASS_ALARM.to_owned());
    }
    labels
}

/// Descriptions may be cut; only names may not, because a cut name could be another's.
fn shortened(text: &str) -> String {
    let mut end = text.len().min(MAX_STRING_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().to_owned()
}

/// Bytes of a series in an encoded schema at most, found by encoding it alone: which also says whether it is valid.
fn bytes_of(series: &Series) -> Result<usize, WireError> {
    let device = Device { name: "d".into(), profile: String::new(), labels: Labels::new() };
    let alone = Schema { devices: vec![device], series: vec![Series { device: 0, ..series.clone() }] };
    // The index of its device takes up to five bytes instead of one.
    Ok(alone.encode()?.1.len() + 4)
}
