//! What agents of the Python Pattoo post: bytes of a body -> readings of series, and what could not be taken.
//!
//! Pure: it stores, sends, locks and logs nothing, and is given `now`. `body` reads the JSON, `identity` gives names, `posts` is the
//! shell: the HTTP routes and the way to the store. A datapoint that cannot be taken costs only itself.

mod body;
mod identity;
pub mod posts;

use std::collections::BTreeMap;
use std::collections::hash_map::{Entry, HashMap};

use pattoo_wire::{Kind, Labels, MAX_TEXT_BYTES, Reason, Repr, Sample, Series, Value};

use self::body::{Body, Item};
use self::identity::{Chains, MAX_NAME_BYTES, Sum};
use super::Now;
use crate::store::{Reading, SeriesEntry, SeriesId};

pub(crate) use self::identity::is_agent;

/// Before this (2000-01-01 UTC) a time is one in seconds, or of a clock that was never set.
const EARLIEST_MS: i64 = 946_684_800_000;
/// Pairs that are no metadata.
const OWN_KEYS: [&str; 5] = ["pattoo_key", "pattoo_value", "pattoo_data_type", "pattoo_timestamp", "pattoo_checksum"];
/// Pairs that tell of the agent; the last is no part of any checksum.
const AGENT_KEYS: [&str; 5] =
    ["pattoo_agent_id", "pattoo_agent_program", "pattoo_agent_hostname", "pattoo_agent_polled_target", "pattoo_agent_polling_interval"];

/// A reading and its series.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Point {
    /// The series as this datapoint tells of it; its id means nothing yet.
    pub(crate) series: SeriesEntry,
    /// The reading.
    pub(crate) reading: Reading,
    /// Its place in the body, from 0.
    pub(crate) number: usize,
}

/// A datapoint that was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// Its place in the body, from 0.
    pub(crate) number: usize,
    /// Why.
    pub(crate) why: String,
    /// What is at fault.
    pub(crate) fault: Fault,
    /// The gateway that its agent is, where it says.
    pub(crate) gateway: Option<String>,
}

/// What is at fault where a datapoint is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The datapoint: no agent of Pattoo's own makes such a one.
    Datapoint,
    /// Its agent's clock.
    Time,
    /// This server, which has no room for another gateway or series.
    Room,
}

impl Fault {
    /// The name it is counted by.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::Datapoint => "datapoint",
            Self::Time => "time",
            Self::Room => "full",
        }
    }
}

/// What a body came to.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Taken {
    /// Readings, one for each series and time.
    pub(crate) points: Vec<Point>,
    /// Datapoints that were not taken.
    pub(crate) refused: Vec<Refusal>,
    /// When the agent made it, by its own clock.
    pub(crate) made_ms: Option<i64>,
}

/// Reads a body.
///
/// # Errors
/// What it is instead, where nothing of it can be taken.
pub(crate) fn read(bytes: &[u8], now: Now) -> Result<Taken, String> {
    let text = body::readable(bytes)?;
    let body = Body::read(&text)?;
    let made_ms = if let Item::Int(ms) = body.made { Some(ms) } else { None };
    let mut taken = Taken { made_ms, ..Taken::default() };
    let mut chains = Chains::default();
    // Place of what came for a series and time, and under which checksum.
    let mut seen: HashMap<(String, String, String, i64), (usize, String)> = HashMap::new();
    for (number, pairs) in body.datapoints().enumerate() {
        let pairs = match pairs {
            Ok(pairs) => pairs,
            Err(why) => {
                taken.refused.push(Refusal { number, why, fault: Fault::Datapoint, gateway: None });
                continue;
            }
        };
        let fields = Fields(pairs);
        let refuse = |(why, fault)| Refusal { number, why, fault, gateway: fields.gateway() };
        let (point, checksum) = match fields.point(number, &mut chains, now) {
            Ok(found) => found,
            Err(why) => {
                taken.refused.push(refuse(why));
                continue;
            }
        };
        let key = (point.series.gateway.clone(), point.series.device.clone(), point.series.entry.point.clone(), point.reading.at_ms);
        match seen.entry(key) {
            Entry::Vacant(place) => {
                place.insert((taken.points.len(), checksum));
                taken.points.push(point);
            }
            Entry::Occupied(place) => {
                let (at, before) = place.get();
                if *before == checksum {
                    taken.points[*at] = point;
                } else if taken.points[*at].reading != point.reading {
                    let why =
                        format!("another datapoint of this body, with another checksum, is {} at that time", point.series.entry.point);
                    taken.refused.push(refuse((why, Fault::Datapoint)));
                }
            }
        }
    }
    Ok(taken)
}

/// The pairs of one datapoint in order.
struct Fields<'a>(Vec<(&'a str, &'a Item<'a>)>);

/// Why a datapoint is not taken, and what is at fault.
type Why = (String, Fault);

fn wrong(why: impl Into<String>) -> Why {
    (why.into(), Fault::Datapoint)
}

impl<'a> Fields<'a> {
    /// The last one counts, as in the map that an agent's own library makes of them.
    fn get(&self, key: &str) -> Result<&'a Item<'a>, Why> {
        let found = self.0.iter().rev().find(|(k, _)| *k == key).map(|(_, value)| *value);
        found.ok_or_else(|| wrong(format!("{key} is missing")))
    }

    fn text(&self, key: &str, most_bytes: usize) -> Result<&'a str, Why> {
        let other =
            |found: &str| wrong(format!("{key}: found {found}, expected a text of 1 to {most_bytes} bytes without control characters"));
        match self.get(key)? {
            Item::Text(text) => match text.trim() {
                text if text.is_empty() || text.chars().any(char::is_control) => {
                    Err(other(&format!("{:?}", text.chars().take(80).collect::<String>())))
                }
                text if text.len() > most_bytes => Err(other(&format!("{} bytes", text.len()))),
                text => Ok(text),
            },
            item => Err(other(&item.to_string())),
        }
    }

    fn gateway(&self) -> Option<String> {
        let name = |key| self.text(key, MAX_NAME_BYTES).ok();
        Some(identity::gateway(name("pattoo_agent_program")?, name("pattoo_agent_id")?))
    }

    /// Its reading, its series, and its checksum.
    fn point(&self, number: usize, chains: &mut Chains, now: Now) -> Result<(Point, String), Why> {
        let (id, program) = (self.text("pattoo_agent_id", MAX_NAME_BYTES)?, self.text("pattoo_agent_program", MAX_NAME_BYTES)?);
        let host = self.text("pattoo_agent_hostname", MAX_NAME_BYTES)?;
        let target = self.text("pattoo_agent_polled_target", MAX_NAME_BYTES)?;
        let interval = match self.get("pattoo_agent_polling_interval")? {
            Item::Text(ms) => ms.trim().parse::<u64>().ok(),
            Item::Int(ms) => u64::try_from(*ms).ok(),
            _ => None,
        };
        let interval = interval.ok_or_else(|| wrong("pattoo_agent_polling_interval is not a number of ms"))?;
        let key = self.text("pattoo_key", MAX_NAME_BYTES)?.to_lowercase();
        let checksum = self.text("pattoo_checksum", MAX_NAME_BYTES)?;
        let data_type = DataType::of(self.get("pattoo_data_type")?)?;
        let at_ms = self.time(now)?;
        let sample = data_type.sample(self.get("pattoo_value")?)?;
        let metadata = self.metadata()?;
        let point = identity::point(&key, &mut self.identity(chains, &metadata, (&key, data_type), (program, checksum)));

        let mut labels: Labels = metadata.iter().map(|(key, value)| (identity::label_key(key), identity::label(value))).collect();
        labels.remove("");
        labels.extend(data_type.bits().map(|bits| ("bits".to_owned(), bits.to_owned())));
        labels.insert("pattoo_checksum".into(), checksum.to_owned());
        labels.insert("pattoo_interval_ms".into(), interval.to_string());
        let device_labels: BTreeMap<_, _> =
            [("pattoo_agent_id", id), ("pattoo_agent_hostname", host)].map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        let repr = sample.value().map_or(Repr::F64, Value::repr);
        let entry = Series { device: 0, point, unit: String::new(), kind: data_type.kind(), repr, labels, states: BTreeMap::new() };
        let gateway = identity::gateway(program, id);
        let series = SeriesEntry { id: SeriesId(0), gateway, device: target.to_owned(), profile: program.to_owned(), device_labels, entry };
        Ok((Point { series, reading: Reading { at_ms, sample }, number }, checksum.to_owned()))
    }

    fn time(&self, now: Now) -> Result<i64, Why> {
        let at_ms = match self.get("pattoo_timestamp")? {
            Item::Int(ms) => *ms,
            Item::Float(ms) if ms.fract() == 0.0 && ms.abs() < 9e15 => *ms as i64,
            other => return Err(wrong(format!("pattoo_timestamp: found {other}, expected ms since 1970"))),
        };
        match at_ms {
            ..EARLIEST_MS => Err((
                format!("pattoo_timestamp: found {at_ms}, expected ms since 1970: its clock is not set, or it is in seconds"),
                Fault::Time,
            )),
            _ if at_ms > now.latest_ms => {
                Err((format!("pattoo_timestamp: {at_ms} is in the far future: its agent's clock is wrong"), Fault::Time))
            }
            _ => Ok(at_ms),
        }
    }

    /// All other pairs, in order, a key at its first place, as agents' own library has it.
    fn metadata(&self) -> Result<Vec<(&'a str, String)>, Why> {
        let mut metadata: Vec<(&str, String)> = Vec::new();
        for (key, value) in &self.0 {
            if OWN_KEYS.contains(key) || AGENT_KEYS.contains(key) {
                continue;
            }
            let value = match value {
                Item::Text(text) => text.clone().into_owned(),
                Item::Int(_) | Item::Unsigned(_) | Item::Float(_) | Item::Bool(_) => value.to_string(),
                other => return Err(wrong(format!("metadata {key:?}: found {other}, expected a text"))),
            };
            match metadata.iter_mut().find(|(known, _)| known == key) {
                Some((_, before)) => *before = value,
                None => metadata.push((*key, value)),
            }
        }
        Ok(metadata)
    }

    /// The metadata that makes it this series and no other one.
    fn identity<'m>(
        &self,
        chains: &mut Chains,
        metadata: &'m [(&'a str, String)],
        (key, data_type): (&str, DataType),
        (program, checksum): (&str, &str),
    ) -> Vec<(String, &'m str)> {
        // In the order of the list, because the checksum depends on it.
        let mut pairs = Vec::new();
        for (name, value) in &self.0 {
            let fixed = AGENT_KEYS[..4].contains(name);
            let free = metadata.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
            if pairs.iter().any(|((known, _), _)| known == name) {
                continue;
            }
            match (fixed, value, free) {
                (true, Item::Text(text), _) => pairs.push(((*name, text.as_ref()), true)),
                (false, _, Some(free)) => pairs.push(((*name, free), false)),
                _ => {}
            }
        }
        let sum = Sum { start: format!("{key}{}", data_type.code()), pairs, checksum };
        let left_out = chains.left_out(&sum);
        let belongs = |key: &str| match &left_out {
            Some(left_out) => !left_out.iter().any(|k| k == key),
            None => identity::belongs_by_name(key),
        };
        let kept = metadata.iter().filter(|(key, _)| belongs(key) && !identity::describes_host(program, key));
        kept.map(|(key, value)| (identity::label_key(key), value.as_str())).collect()
    }
}

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DataType {
    Float,
    Int,
    Count64,
    Count32,
    Text,
}

impl DataType {
    fn of(item: &Item<'_>) -> Result<Self, Why> {
        match item {
            Item::Int(101) => Ok(Self::Float),
            Item::Int(99) => Ok(Self::Int),
            Item::Int(64) => Ok(Self::Count64),
            Item::Int(32) => Ok(Self::Count32),
            Item::Int(2) => Ok(Self::Text),
            other => Err(wrong(format!("pattoo_data_type: found {other}, expected 101, 99, 64, 32 or 2"))),
        }
    }

    fn code(self) -> u8 {
        match self {
            Self::Float => 101,
            Self::Int => 99,
            Self::Count64 => 64,
            Self::Count32 => 32,
            Self::Text => 2,
        }
    }

    fn kind(self) -> Kind {
        match self {
            Self::Float | Self::Int => Kind::Gauge,
            Self::Count64 | Self::Count32 => Kind::Counter,
            Self::Text => Kind::Text,
        }
    }

    /// Where a counter wraps, for whoever makes a rate of it.
    fn bits(self) -> Option<&'static str> {
        match self {
            Self::Count64 => Some("64"),
            Self::Count32 => Some("32"),
            Self::Float | Self::Int | Self::Text => None,
        }
    }

    /// A number keeps the digits that came. One that is none is a reading without a value.
    fn sample(self, item: &Item<'_>) -> Result<Sample, Why> {
        if self == Self::Text {
            return match item {
                Item::Text(text) if text.len() <= MAX_TEXT_BYTES => Ok(Sample::Good(Value::Text(text.clone().into_owned()))),
                Item::Text(text) => Err(wrong(format!("pattoo_value: {} bytes, at most {MAX_TEXT_BYTES} are allowed", text.len()))),
                Item::Int(_) | Item::Unsigned(_) | Item::Float(_) => Ok(Sample::Good(Value::Text(item.to_string()))),
                other => Err(wrong(format!("pattoo_value: found {other}, expected a text"))),
            };
        }
        let counter = self.kind() == Kind::Counter;
        let value = match item {
            Item::Int(n) => integer(*n, counter),
            Item::Unsigned(n) => Value::Unsigned(*n),
            Item::Float(x) => float(*x, counter),
            Item::Text(text) => {
                let text = text.trim();
                match (text.parse(), text.parse(), text.parse()) {
                    (Ok(n), ..) => integer(n, counter),
                    (_, Ok(n), _) => Value::Unsigned(n),
                    (.., Ok(x)) => float(x, counter),
                    _ => return Err(wrong(format!("pattoo_value: found {item}, expected a number"))),
                }
            }
            other => return Err(wrong(format!("pattoo_value: found {other}, expected a number"))),
        };
        match value {
            Value::F64(x) if !x.is_finite() => Ok(Sample::Bad(Reason::NotAValue)),
            value => Ok(Sample::Good(value)),
        }
    }
}

fn integer(n: i64, counter: bool) -> Value {
    match u64::try_from(n) {
        Ok(n) if counter => Value::Unsigned(n),
        _ => Value::int(n),
    }
}

/// Agents send counters that went through a multiplication as floats: below 2^53 they are whole.
fn float(x: f64, counter: bool) -> Value {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match counter && x.fract() == 0.0 && (0.0..EXACT).contains(&x) {
        true => Value::Unsigned(x as u64),
        false => Value::F64(x),
    }
}

#[cfg(test)]
mod tests;
