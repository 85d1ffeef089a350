//! The part `store:` of the configuration: the embedded one, or one that keeps its history in VictoriaMetrics. Pure.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_saphyr::{Location, Spanned};

use super::{DAY_S, Found, Problem, duration};

const DEFAULT_KEEP: Duration = Duration::from_secs(DAY_S);
/// What is late by more than an hour is compared anew with all of its day; a year has to fit on this machine.
const KEEP: (Duration, Duration) = (Duration::from_secs(3600), Duration::from_secs(366 * DAY_S));
const DEFAULT_MAX_BYTES: u64 = 16 << 30;
/// Below, the store has no room for its own log.
const LEAST_BYTES: u64 = 512 << 20;
const HTTPS: &str = "https://";

/// Where readings are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Store {
    /// All of them in the data folder.
    Embedded,
    /// The newest days in the data folder, all before in VictoriaMetrics.
    Victoria(Victoria),
}

/// VictoriaMetrics, and what is kept here before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Victoria {
    /// URL in front of `/api/v1/write`.
    pub write: String,
    /// URL in front of `/api/v1/query_range`.
    pub read: String,
    /// File with one line: a token that is sent with each request.
    pub token: Option<PathBuf>,
    /// Readings stay here at least so long.
    pub keep: Duration,
    /// Bytes in the data folder, above which readings are refused.
    pub max_bytes: u64,
    /// File with the authorities that may vouch for it over https; without one those of this system may.
    pub ca: Option<PathBuf>,
    /// Whether charts may lack what a member of the cluster has that is away, and say so.
    pub accept_partial: bool,
}

/// `embedded`, or a map.
#[derive(Debug, Default)]
pub(super) struct RawStore(Option<RawBackend>);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawBackend {
    victoria: RawVictoria,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawVictoria {
    url: Option<Spanned<String>>,
    write: Option<Spanned<String>>,
    read: Option<Spanned<String>>,
    token: Option<Spanned<String>>,
    keep: Option<Spanned<String>>,
    max_bytes: Option<Spanned<String>>,
    ca: Option<Spanned<String>>,
    accept_partial: Option<bool>,
}

const EXPECTED: &str = "`embedded`, or a map like { victoria: { url: http://127.0.0.1:8428 } }";

impl<'de> Deserialize<'de> for RawStore {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameOrMap;
        impl<'de> Visitor<'de> for NameOrMap {
            type Value = RawStore;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(EXPECTED)
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<RawStore, E> {
                match text {
                    "embedded" => Ok(RawStore(None)),
                    other => Err(E::custom(format!("found {other:?}, expected {EXPECTED}"))),
                }
            }

            fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<RawStore, M::Error> {
                RawBackend::deserialize(MapAccessDeserializer::new(map)).map(|backend| RawStore(Some(backend)))
            }
        }
        deserializer.deserialize_any(NameOrMap)
    }
}

impl RawStore {
    /// From what the file says at `place`.
    pub(super) fn resolve(
        self,
        place: Location,
        at: impl Fn(Location) -> String,
        found: impl Fn(Option<Spanned<String>>) -> Option<Found>,
        path: impl Fn(&Found) -> Result<PathBuf, Problem>,
    ) -> Result<Store, Problem> {
        let Some(RawBackend { victoria: raw }) = self.0 else { return Ok(Store::Embedded) };
        let (write, read) = match (found(raw.url), found(raw.write), found(raw.read)) {
            (Some(url), None, None) => {
                let url = address(&url)?;
                (url.clone(), url)
            }
            (None, Some(write), Some(read)) => (address(&write)?, address(&read)?),
            _ => {
                let message = "expected `url` of a single VictoriaMetrics, or both `write` and `read` of a cluster, like \
                               http://vminsert:8480/insert/0/prometheus and http://vmselect:8481/select/0/prometheus";
                return Err(Problem { place: at(place), message: format!("`victoria`: {message}") });
            }
        };
        let token = found(raw.token).as_ref().map(&path).transpose()?;
        let ca = found(raw.ca);
        if let Some(ca) = ca.as_ref().filter(|_| !write.starts_with(HTTPS) && !read.starts_with(HTTPS)) {
            return Err(ca.problem("found authorities for https, expected an address that begins with https://"));
        }
        let ca = ca.as_ref().map(&path).transpose()?;
        let keep = found(raw.keep).map_or(Ok(DEFAULT_KEEP), |text| duration(&text, KEEP, "1d, 1h to 1year"))?;
        let max_bytes = found(raw.max_bytes).map_or(Ok(DEFAULT_MAX_BYTES), |text| bytes(&text))?;
        Ok(Store::Victoria(Victoria { write, read, token, ca, keep, max_bytes, accept_partial: raw.accept_partial.unwrap_or(true) }))
    }
}

fn bytes(found: &Found) -> Result<u64, Problem> {
    let wrong = || found.problem(format!("found {:?}, expected bytes like 16GiB, at least 512MiB", found.text));
    found.text.parse::<ByteSize>().ok().map(|size| size.as_u64()).filter(|bytes| *bytes >= LEAST_BYTES).ok_or_else(wrong)
}

/// `http://host[:port][/path]`, or https.
fn address(found: &Found) -> Result<String, Problem> {
    let wrong = |what: &str| {
        // An account in the address would end up in logs, also in this one.
        let shown = if found.text.contains('@') { "an account in the address".to_owned() } else { format!("{:?}", found.text) };
        found.problem(format!("found {shown}, expected an address like http://127.0.0.1:8428{what}"))
    };
    let rest = found.text.strip_prefix("http://").or_else(|| found.text.strip_prefix(HTTPS)).ok_or_else(|| wrong(""))?;
    if rest.contains('@') {
        return Err(wrong("; put a token into a file and name it by `token`"));
    }
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let port = authority.rsplit_once(':').filter(|(_, port)| !port.ends_with(']')).map(|(_, port)| port);
    let host = authority.strip_suffix(port.unwrap_or_default()).unwrap_or(authority).trim_end_matches(':');
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']');
    let in_path = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '/');
    let good = !host.is_empty()
        && host.chars().all(allowed)
        && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port != 0))
        && path.chars().all(in_path);
    if good { Ok(found.text.trim_end_matches('/').to_owned()) } else { Err(wrong("")) }
}
