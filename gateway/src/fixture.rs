//! A fixture: what a device replied, and the readings that this must give. Text <-> structs, and the comparison. Pure.
//!
//! It lies beside its profile as `<id>.fixture.json`. Each case holds replies (table, first address, words in hexadecimal), or what an SNMP
//! agent holds (`"1.3.6.1.2.1.1.3.0": "timeticks:1234"`), and what each point of the profile must be: the text of its value, or the reason
//! why it is bad. [`replay`] plays one, [`crate::record`] makes one.

mod agent;
pub mod bacnet;
pub mod replay;
mod varbinds;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};

use pattoo_wire::{Sample, Value};
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::json;

use crate::profile::{Profile, Table};
use crate::reading::Reading;
pub use varbinds::Varbinds;

/// Largest fixture file, in bytes.
pub const MAX_FIXTURE_BYTES: usize = 4 << 20;
/// Most cases of one fixture: each is played as a unit of its own.
pub const MAX_CASES: usize = 247;
/// The end of a fixture's file name; what stands before is the id of its profile.
pub const SUFFIX: &str = ".fixture.json";

/// Registers and bits of a device, each as one word.
pub type Memory = BTreeMap<(Table, u16), u16>;

/// What lies beside a profile.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fixture {
    /// Where it comes from, in lines.
    pub about: Vec<String>,
    /// Id of the profile.
    pub profile: String,
    /// Unit id of the device that was recorded, if one was.
    pub unit: Option<u8>,
    /// Requests that reading all points once takes over Modbus TCP; of an SNMP agent the questions of its first poll.
    pub requests: usize,
    /// At least one.
    pub cases: Vec<Case>,
}

/// One state of the device.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// A short name.
    pub name: String,
    /// What it shows.
    pub about: String,
    /// Requests that reading all points of this case takes, where it takes not as many as the others.
    pub requests: Option<usize>,
    /// What can be read of a Modbus device. Anything else it refuses.
    #[serde(default)]
    pub replies: Vec<Reply>,
    /// What the agent holds, where the device is one.
    #[serde(default)]
    pub varbinds: Varbinds,
    /// What a BACnet device holds.
    pub bacnet: Option<bacnet::Plant>,
    /// Each point, in the order of the profile; a row of one as `name[row]`. What a SunSpec device does not have is not there.
    pub readings: Readings,
}

/// Words that one reply held.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reply {
    /// Which table.
    #[serde(deserialize_with = "table")]
    pub table: Table,
    /// Of the first word.
    pub address: u16,
    /// In hexadecimal, spaces between them; bits as 0 and 1.
    #[serde(deserialize_with = "words")]
    pub words: Vec<u16>,
}

/// Names of points and what each must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Readings(pub Vec<(String, Expected)>);

/// What a reading must be.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expected {
    /// Good, with this text; that of a float is right to its last bit.
    Value(String),
    /// Of this value, and doubtful for this reason.
    Uncertain {
        /// Its text.
        value: String,
        /// Why.
        reason: String,
    },
    /// Bad for this reason.
    Bad(String),
}

/// What a fixture calls the series of a reading.
#[must_use]
pub fn name(profile: &Profile, reading: &Reading) -> Option<String> {
    let row = reading.row.as_ref().filter(|row| !row.identity.is_empty());
    let row = row.map(|row| format!("[{}]", row.identity)).unwrap_or_default();
    Some(profile.points.get(reading.point.0)?.name.clone() + &row)
}

const TABLES: [(&str, Table); 4] =
    [("coil", Table::Coil), ("discrete", Table::Discrete), ("holding", Table::Holding), ("input", Table::Input)];

impl Fixture {
    /// Reads the content of a file.
    ///
    /// # Errors
    /// It is no fixture: line and column, what was found and what was expected.
    pub fn read(content: &[u8]) -> Result<Self, String> {
        if content.len() > MAX_FIXTURE_BYTES {
            return Err(format!("more than {MAX_FIXTURE_BYTES} bytes"));
        }
        let fixture: Self = serde_json::from_slice(content).map_err(|error| error.to_string())?;
        if fixture.cases.is_empty() || fixture.cases.len() > MAX_CASES {
            return Err(format!("found {} cases, expected 1 to {MAX_CASES}", fixture.cases.len()));
        }
        for case in &fixture.cases {
            let names: BTreeSet<_> = case.readings.0.iter().map(|(name, _)| name).collect();
            if names.len() != case.readings.0.len() {
                return Err(format!("case {:?}: a point is there twice", case.name));
            }
            if let Some(reply) = case.replies.iter().find(|reply| usize::from(reply.address) + reply.words.len() > 1 << 16) {
                return Err(format!("case {:?}: the reply at {} ends behind the last address, 65535", case.name, reply.address));
            }
        }
        Ok(fixture)
    }

    /// The text of its file.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = "{\n  \"about\": [\n".to_owned();
        list(&mut text, 4, self.about.iter().map(|line| json!(line).to_string()));
        let _ = writeln!(text, "  ],\n  \"profile\": {},", json!(self.profile));
        if let Some(unit) = self.unit {
            let _ = writeln!(text, "  \"unit\": {unit},");
        }
        let _ = writeln!(text, "  \"requests\": {},\n  \"cases\": [", self.requests);
        list(&mut text, 4, self.cases.iter().map(Case::text));
        text + "  ]\n}\n"
    }
}

impl Case {
    /// All that can be read.
    #[must_use]
    pub fn memory(&self) -> Memory {
        let words = |reply: &Reply| {
            let table = reply.table;
            (reply.address..=u16::MAX).zip(reply.words.clone()).map(move |(address, word)| ((table, address), word))
        };
        self.replies.iter().flat_map(words).collect()
    }

    fn text(&self) -> String {
        let mut text = format!("{{\n      \"name\": {},\n      \"about\": {},\n", json!(self.name), json!(self.about));
        if let Some(requests) = self.requests {
            let _ = writeln!(text, "      \"requests\": {requests},");
        }
        if let Some(plant) = &self.bacnet {
            let _ = writeln!(text, "      \"bacnet\": {},", plant.text());
        } else if self.varbinds.0.is_empty() {
            text += "      \"replies\": [\n";
            list(&mut text, 8, self.replies.iter().map(ToString::to_string));
            text += "      ],\n";
        } else {
            text += "      \"varbinds\": {\n";
            let held = |(oid, value)| format!("\"{oid}\": {}", json!(varbinds::text(value).unwrap_or_default()));
            list(&mut text, 8, self.varbinds.0.iter().map(|(oid, value)| held((oid, value))));
            text += "      },\n";
        }
        text += "      \"readings\": {\n";
        list(&mut text, 8, self.readings.0.iter().map(|(name, expected)| format!("{}: {expected}", json!(name))));
        text + "      }\n    }"
    }
}

/// One item in each line, with commas between them.
fn list(text: &mut String, indent: usize, items: impl Iterator<Item = String>) {
    let items: Vec<_> = items.map(|item| format!("{:indent$}{item}", "")).collect();
    *text += &items.join(",\n");
    *text += if items.is_empty() { "" } else { "\n" };
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = TABLES.iter().find(|(_, table)| *table == self.table).map_or("", |(name, _)| name);
        let bits = matches!(self.table, Table::Coil | Table::Discrete);
        let word = |word: &u16| if bits { word.to_string() } else { format!("{word:04x}") };
        let words = self.words.iter().map(word).collect::<Vec<_>>().join(" ");
        write!(f, r#"{{ "table": "{name}", "address": {}, "words": "{words}" }}"#, self.address)
    }
}

impl Expected {
    /// What a fixture says of this sample.
    #[must_use]
    pub fn of(sample: &Sample) -> Self {
        match sample {
            Sample::Good(value) => Self::Value(value.to_string()),
            Sample::Uncertain(value, reason) => Self::Uncertain { value: value.to_string(), reason: reason.to_string() },
            Sample::Bad(reason) => Self::Bad(reason.to_string()),
        }
    }

    /// Whether this sample is as it must be.
    #[must_use]
    pub fn is(&self, sample: &Sample) -> bool {
        match (sample, self) {
            (Sample::Good(got), Self::Value(text)) => is_text(got, text),
            (Sample::Uncertain(got, why), Self::Uncertain { value, reason }) => is_text(got, value) && why.to_string() == *reason,
            (Sample::Bad(reason), Self::Bad(text)) => reason.to_string() == *text,
            _ => false,
        }
    }
}

fn is_text(value: &Value, text: &str) -> bool {
    match value {
        Value::F32(got) => text.parse::<f32>().is_ok_and(|want| want.to_bits() == got.to_bits()),
        Value::F64(got) => text.parse::<f64>().is_ok_and(|want| want.to_bits() == got.to_bits()),
        got => got.to_string() == *text,
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(text) => write!(f, r#"{{"value": {}}}"#, json!(text)),
            Self::Uncertain { value, reason } => {
                write!(f, r#"{{"uncertain": {{"value": {}, "reason": {}}}}}"#, json!(value), json!(reason))
            }
            Self::Bad(reason) => write!(f, r#"{{"bad": {}}}"#, json!(reason)),
        }
    }
}

fn table<'de, D: Deserializer<'de>>(from: D) -> Result<Table, D::Error> {
    let name = String::deserialize(from)?;
    let found = TABLES.iter().find(|(known, _)| *known == name).map(|(_, table)| *table);
    found.ok_or_else(|| serde::de::Error::custom(format!("found the table {name:?}, expected coil, discrete, holding or input")))
}

fn words<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u16>, D::Error> {
    let text = String::deserialize(from)?;
    let word = |word| {
        u16::from_str_radix(word, 16)
            .map_err(|_| serde::de::Error::custom(format!("found the word {word:?}, expected hexadecimal from 0 to ffff")))
    };
    text.split_whitespace().map(word).collect()
}

impl<'de> Deserialize<'de> for Readings {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Readings;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("points, each with a value or a reason why it is bad")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Readings, A::Error> {
                let mut readings = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    readings.push(entry);
                }
                Ok(Readings(readings))
            }
        }
        from.deserialize_map(InOrder)
    }
}

#[cfg(test)]
mod tests;
