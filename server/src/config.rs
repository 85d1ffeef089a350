//! The server's configuration: text of a file and overrides -> a struct that can only be valid.
//! Pure: opens no file and reads no environment; both are passed in.

mod agents;
mod broker;
mod http;
mod retention;
mod store;

use core::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use jiff::tz::TimeZoneDatabase;
use serde::Deserialize;
use serde_saphyr::{Error as YamlError, Location, Spanned};
use thiserror::Error;

use crate::catalog::DEFAULT_MAX_SERIES;

use agents::RawAgents;
pub use agents::{Agents, Network};
use broker::RawBroker;
pub use broker::{Broker, Identity, Tls};
pub use http::Http;
use http::RawHttp;
use retention::RawRetention;
use store::RawStore;
pub use store::{Store, Victoria};

use crate::store::retention::Retention;

use crate::translations::{DEFAULT_LANGUAGE, language};

/// Where the file is unless said otherwise; it need not be there.
pub const DEFAULT_FILE: &str = "/etc/pattoo/server.yaml";
/// Largest configuration file, in bytes.
pub const MAX_FILE_BYTES: usize = 64 << 10;

/// Ids of series are 32 bits wide, and the memory of a machine ends before.
const MAX_SERIES: (usize, usize) = (1, 100_000_000);
/// What the store may hold in memory before it writes parts.
pub const DEFAULT_MEMORY: u64 = 48 << 20;
/// Less would write parts of a few readings; more only makes a start after a kill longer.
const MEMORY: (u64, u64) = (64 << 10, 4 << 30);
const DEFAULT_DATA: &str = "/var/lib/pattoo";
/// How far ahead of the server's clock readings may be: more than any drift, less than a time zone.
pub const DEFAULT_MAX_FUTURE: Duration = Duration::from_secs(30 * 60);
const DAY_S: u64 = 24 * 3600;

/// Clocks differ by less than the least; more than the most would refuse nothing worth it.
const MAX_FUTURE: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(366 * DAY_S));

/// Everything the server needs to know. Only valid ones exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Folder of the store and the dead letters.
    pub data: PathBuf,
    /// Where readings are kept.
    pub store: Store,
    /// Where gateways publish.
    pub broker: Broker,
    /// Where page and API listen.
    pub http: Http,
    /// Where agents of the Python Pattoo post; none where that is off.
    pub agents: Option<Agents>,
    /// How long readings and their rollups are kept.
    pub retention: Retention,
    /// How far ahead of the server's clock readings may be; later ones are refused.
    pub max_future: Duration,
    /// Most series of all gateways.
    pub max_series: usize,
    /// Readings that the store holds in memory before it writes them to parts, in bytes.
    pub memory: u64,
    /// Folder of dashboards; one below the data folder where absent.
    pub dashboards: Option<PathBuf>,
    /// Time zone of the plant, by its IANA name.
    pub zone: Option<String>,
    /// Language of readers that chose none.
    pub language: String,
}

/// Something wrong with the configuration. Prints as `file:line:column: message`.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{place}: {message}")]
pub struct Problem {
    /// `file`, `file:line:column`, or the name of an environment variable.
    pub place: String,
    /// What was found and what was expected.
    pub message: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    data: Option<Spanned<String>>,
    store: Option<Spanned<RawStore>>,
    broker: Option<Spanned<RawBroker>>,
    http: Option<RawHttp>,
    agents: Option<RawAgents>,
    retention: Option<Spanned<RawRetention>>,
    memory: Option<Spanned<String>>,
    ingest: Option<RawIngest>,
    dashboards: Option<Spanned<String>>,
    site: Option<RawSite>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSite {
    zone: Option<Spanned<String>>,
    language: Option<Spanned<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawIngest {
    max_future: Option<Spanned<String>>,
    max_series: Option<Spanned<String>>,
}

/// A text and where it was found.
struct Found {
    text: String,
    place: String,
}

impl Found {
    fn problem(&self, message: impl Into<String>) -> Problem {
        Problem { place: self.place.clone(), message: message.into() }
    }
}

/// Reads a configuration. `text` is what the file holds, empty where there is none; `env` gives environment variables,
/// which win over the file.
///
/// # Errors
/// The first thing that is wrong.
pub fn parse(file: &Path, text: &str, env: impl Fn(&str) -> Option<String>) -> Result<Config, Problem> {
    let at = |location: Location| match location.line() {
        0 => file.display().to_string(),
        line => format!("{}:{line}:{}", file.display(), location.column()),
    };
    if text.len() > MAX_FILE_BYTES {
        let message = format!("found {} bytes, expected at most {MAX_FILE_BYTES}", text.len());
        return Err(Problem { place: at(Location::UNKNOWN), message });
    }
    let raw: Option<Raw> = serde_saphyr::from_str(text).map_err(|e| yaml_problem(&e, at))?;
    let raw = raw.unwrap_or_default();
    let found = |value: Option<Spanned<String>>| value.map(|v| Found { place: at(v.referenced), text: v.value });
    let from_env = |name: &str| env(name).map(|text| Found { text, place: name.to_owned() });
    let path = |value: &Found| match value.text.as_str() {
        "" => Err(value.problem("found nothing, expected a path")),
        // In a file, paths count from the file; from elsewhere they count from the working folder.
        text if value.place.starts_with("PATTOO_") => Ok(PathBuf::from(text)),
        text => Ok(file.parent().unwrap_or(Path::new("")).join(text)),
    };

    let data = from_env("PATTOO_DATA").or(found(raw.data));
    let data = data.as_ref().map(&path).transpose()?.unwrap_or_else(|| DEFAULT_DATA.into());
    let store_at = raw.store.as_ref().map_or(Location::UNKNOWN, |store| store.referenced);
    let store = raw.store.map(|store| store.value).unwrap_or_default().resolve(store_at, at, found, path)?;
    let http = raw.http.unwrap_or_default().resolve(at, found, path, from_env("PATTOO_HTTP_LISTEN"))?;
    let agents = raw.agents.unwrap_or_default().resolve(at, found, from_env("PATTOO_AGENTS_LISTEN"))?;
    let is_elsewhere = matches!(store, Store::Victoria(_));
    let retention = raw.retention.map(|retention| retention.value.resolve(retention.referenced, is_elsewhere, at, found));
    let retention = retention.transpose()?.unwrap_or_default();
    let RawIngest { max_future, max_series } = raw.ingest.unwrap_or_default();
    let max_series = found(max_series).map_or(Ok(DEFAULT_MAX_SERIES), |text| number(&text, MAX_SERIES))?;
    let max_future = found(max_future);
    let max_future = max_future.map_or(Ok(DEFAULT_MAX_FUTURE), |text| duration(&text, MAX_FUTURE, "30m, 1m to 1year"))?;
    let memory =
        from_env("PATTOO_MEMORY").or(found(raw.memory)).map_or(Ok(DEFAULT_MEMORY), |text| bytes(&text, MEMORY, "48MiB, 64KiB to 4GiB"))?;

    let dashboards = found(raw.dashboards).as_ref().map(&path).transpose()?;
    let site = raw.site.unwrap_or_default();
    let zone = found(site.zone).map(|zone| known_zone(&zone)).transpose()?;
    let language = found(site.language).map_or(Ok(DEFAULT_LANGUAGE.to_owned()), |text| {
        language(&text.text)
            .ok_or_else(|| text.problem(format!("found {:?}, expected a code of ISO 639-1 like en, de or pt-br", text.text)))
    })?;

    let broker_at = raw.broker.as_ref().map_or(Location::UNKNOWN, |broker| broker.referenced);
    let overrides = (from_env("PATTOO_BROKER_LISTEN"), from_env("PATTOO_BROKER_URL"));
    let broker = raw.broker.map(|broker| broker.value).unwrap_or_default().resolve(broker_at, at, overrides, found, path)?;
    Ok(Config { data, store, broker, http, agents, retention, max_future, max_series, memory, dashboards, zone, language })
}

fn default(text: &str) -> Found {
    Found { text: text.into(), place: "default".into() }
}

fn address(found: &Found) -> Result<SocketAddr, Problem> {
    SocketAddr::from_str(&found.text)
        .map_err(|_| found.problem(format!("found {:?}, expected an IP address and a port like 127.0.0.1:8080", found.text)))
}

/// A time zone of the list that is part of this program: what is valid does not depend on the machine.
fn known_zone(found: &Found) -> Result<String, Problem> {
    match TimeZoneDatabase::bundled().get(&found.text) {
        Ok(zone) => Ok(zone.iana_name().unwrap_or(&found.text).to_owned()),
        Err(_) => Err(found.problem(format!("found {:?}, expected a time zone like Europe/Vienna or UTC", found.text))),
    }
}

fn duration(found: &Found, (least, most): (Duration, Duration), expected: &str) -> Result<Duration, Problem> {
    let wrong = || found.problem(format!("found {:?}, expected a time like {expected}", found.text));
    humantime::parse_duration(&found.text).ok().filter(|time| (least..=most).contains(time)).ok_or_else(wrong)
}

fn number(found: &Found, (least, most): (usize, usize)) -> Result<usize, Problem> {
    let wrong = || found.problem(format!("found {:?}, expected a number from {least} to {most}", found.text));
    found.text.parse().ok().filter(|number| (least..=most).contains(number)).ok_or_else(wrong)
}

fn bytes(found: &Found, (least, most): (u64, u64), expected: &str) -> Result<u64, Problem> {
    let wrong = || found.problem(format!("found {:?}, expected a size like {expected}", found.text));
    found.text.parse::<bytesize::ByteSize>().ok().map(|size| size.0).filter(|size| (least..=most).contains(size)).ok_or_else(wrong)
}

fn yaml_problem(error: &YamlError, at: impl Fn(Location) -> String) -> Problem {
    let (location, message) = yaml_words(error);
    Problem { place: at(location), message }
}

/// Where YAML cannot be read, and what was found and expected there.
pub(crate) fn yaml_words(error: &YamlError) -> (Location, String) {
    let message = match error.without_snippet() {
        YamlError::SerdeUnknownField { field, expected, .. } => {
            let near = expected.iter().map(|known| (strsim::damerau_levenshtein(known, field), known)).min();
            let hint = near.filter(|(distance, _)| *distance <= 2).map(|(_, known)| format!("; did you mean `{known}`?"));
            format!("found key `{field}`, expected one of {}{}", expected.join(", "), hint.unwrap_or_default())
        }
        // Its own words, without the position that the place already tells.
        other => {
            let text = other.to_string();
            let text = text.split_once(": ").filter(|(head, _)| head.starts_with("line ")).map_or(text.as_str(), |(_, tail)| tail);
            text.rsplit_once(" at line ").map_or(text, |(head, _)| head).to_owned()
        }
    };
    (error.location().unwrap_or(Location::UNKNOWN), message)
}

#[cfg(test)]
mod tests;
