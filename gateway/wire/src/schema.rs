//! The dictionary that batches are written against: devices, series, and how their values are represented.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::str::FromStr;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::codec::{Reader, Writer};
use crate::envelope::{FIRST, invalid, open, seal};
use crate::{MAX_SCHEMA_BYTES, MAX_SERIES, Repr, WireError, check_name};

/// Longest point name, unit, label or state text, in bytes.
const MAX_STRING_BYTES: usize = 255;

/// Labels of a device or series: what may change without making it another one.
pub type Labels = BTreeMap<String, String>;

/// The label of a series that says how long its readings are held on to when room runs out.
pub const CLASS_LABEL: &str = "class";

/// The value of [`CLASS_LABEL`] for what goes last. Without the label a series' [`Kind`] decides.
pub const CLASS_ALARM: &str = "alarm";

/// Names a schema by the CRC-32 of its content, so that the same dictionary always has the same id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SchemaId(pub u32);

impl fmt::Display for SchemaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

impl FromStr for SchemaId {
    type Err = WireError;

    fn from_str(text: &str) -> Result<Self, WireError> {
        match u32::from_str_radix(text, 16) {
            Ok(id) if text.len() == 8 => Ok(Self(id)),
            _ => Err(invalid(format!("schema id {text:?} is not 8 hexadecimal digits"))),
        }
    }
}

/// What a series' values mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A quantity that goes up and down.
    Gauge,
    /// A quantity that only grows, until it wraps or is reset.
    Counter,
    /// One of a list of states, or a boolean.
    State,
    /// Text.
    Text,
}

/// One device. Frozen as version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Unique within the gateway.
    pub name: String,
    /// Id of the profile it is read with.
    pub profile: String,
    /// Labels from the configuration.
    pub labels: Labels,
}

/// One series: a point of a device. Frozen as version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Series {
    /// Index of its device in [`Schema::devices`].
    pub device: u32,
    /// Name of the point, for a row of a table with its identity in brackets: `filesystem_used[/]`.
    pub point: String,
    /// Unit as the profile has it; empty for none.
    pub unit: String,
    /// What its values mean.
    pub kind: Kind,
    /// How its values are represented in a batch.
    pub repr: Repr,
    /// Labels of this one series.
    pub labels: Labels,
    /// Texts of its states.
    pub states: BTreeMap<i64, String>,
}

/// All devices and series of a gateway. A batch names a series by its index here. Frozen as version 1.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schema {
    /// Devices, each name once; at most [`MAX_SERIES`].
    pub devices: Vec<Device>,
    /// Series, each (device, point) once; at most [`MAX_SERIES`].
    pub series: Vec<Series>,
}

impl Schema {
    /// The message to publish and the id that its topic and batches name.
    ///
    /// # Errors
    /// A schema that [`Schema::decode`] would refuse.
    pub fn encode(&self) -> Result<(SchemaId, Vec<u8>), WireError> {
        self.validate()?;
        let mut writer = Writer::default();
        writer.put(self)?;
        let message = seal(FIRST, &writer.bytes);
        if message.len() > MAX_SCHEMA_BYTES {
            return Err(WireError::TooLong { found: message.len(), limit: MAX_SCHEMA_BYTES });
        }
        Ok((SchemaId::of(&message), message))
    }

    /// Reads a message; also gives the id of its content, to be compared with the one its topic names.
    ///
    /// # Errors
    /// Whatever is not exactly one valid schema of this version.
    pub fn decode(message: &[u8]) -> Result<(SchemaId, Self), WireError> {
        let mut reader = Reader::new(open(message, MAX_SCHEMA_BYTES)?);
        let schema = Self { devices: take_items(&mut reader, "devices")?, series: take_items(&mut reader, "series")? };
        reader.finish()?;
        schema.validate()?;
        Ok((SchemaId::of(message), schema))
    }

    fn validate(&self) -> Result<(), WireError> {
        if self.series.len() > MAX_SERIES {
            return Err(invalid(format!("{} series, at most {MAX_SERIES} are allowed", self.series.len())));
        }
        if self.devices.len() > MAX_SERIES {
            return Err(invalid(format!("{} devices, at most {MAX_SERIES} are allowed", self.devices.len())));
        }
        let mut names = HashSet::new();
        for device in &self.devices {
            check_name(&device.name).map_err(|e| invalid(format!("device {:?}: {e}", device.name)))?;
            ensure_short([&device.profile])?;
            ensure_short(device.labels.iter().flat_map(|(k, v)| [k, v]))?;
            if !names.insert(&device.name) {
                return Err(invalid(format!("device {:?} is there twice", device.name)));
            }
        }
        let mut points = HashSet::new();
        for series in &self.series {
            series.validate()?;
            if series.device as usize >= self.devices.len() {
                return Err(invalid(format!("series {:?} names device {}", series.point, series.device)));
            }
            if !points.insert((series.device, &series.point)) {
                return Err(invalid(format!("point {:?} is there twice in one device", series.point)));
            }
        }
        Ok(())
    }
}

impl Series {
    fn validate(&self) -> Result<(), WireError> {
        if self.point.is_empty() {
            return Err(invalid("a series without a point name"));
        }
        ensure_short([&self.point, &self.unit])?;
        ensure_short(self.labels.iter().flat_map(|(k, v)| [k, v]))?;
        ensure_short(self.states.values())?;
        match self.repr {
            Repr::Decimal { exponent } if !(-18..=18).contains(&exponent) => {
                Err(invalid(format!("point {:?} has exponent {exponent}, -18 to 18 are allowed", self.point)))
            }
            _ => Ok(()),
        }
    }
}

impl SchemaId {
    /// The checksum that a sealed message ends with.
    fn of(message: &[u8]) -> Self {
        Self(message.last_chunk().map_or(0, |crc| u32::from_le_bytes(*crc)))
    }
}

/// Reads a list one item at a time, so that its count is judged before anything is allocated for it. The bytes are those of a
/// postcard sequence.
fn take_items<T: DeserializeOwned>(reader: &mut Reader<'_>, what: &'static str) -> Result<Vec<T>, WireError> {
    let count = reader.take_len(what, MAX_SERIES)?;
    // No item takes less than one byte.
    let mut items = Vec::with_capacity(count.min(reader.rest().len()));
    for _ in 0..count {
        items.push(reader.take(what)?);
    }
    Ok(items)
}

fn ensure_short<'a>(strings: impl IntoIterator<Item = &'a String>) -> Result<(), WireError> {
    match strings.into_iter().find(|s| s.len() > MAX_STRING_BYTES) {
        Some(long) => Err(invalid(format!("a text of {} bytes, at most {MAX_STRING_BYTES} are allowed", long.len()))),
        None => Ok(()),
    }
}
