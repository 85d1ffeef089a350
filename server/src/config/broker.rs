//! The part `broker:` of the configuration: the embedded one with its listeners, or another one by its URL. Pure.

use core::net::SocketAddr;
use std::fmt;
use std::path::PathBuf;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_saphyr::{Location, Spanned};

use super::{Found, Problem, address, default};

const DEFAULT_PLAIN: &str = "127.0.0.1:1883";
const DEFAULT_TLS: &str = "0.0.0.0:8883";
/// Most names and addresses of the server in its own certificate.
const MAX_NAMES: usize = 32;

/// Where gateways publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Broker {
    /// The embedded broker.
    Embedded {
        /// Where it listens without TLS; loopback. Programs of this machine need no account there.
        plain: Option<SocketAddr>,
        /// Where it listens with TLS; every client needs an account.
        tls: Option<Tls>,
    },
    /// Another one.
    External {
        /// Host name or address.
        host: String,
        /// Port.
        port: u16,
        /// Whether over TLS.
        tls: bool,
        /// File with one line `user:password`.
        credentials: Option<PathBuf>,
        /// PEM file of the authority that signed its certificate; the system's own where absent.
        ca: Option<PathBuf>,
        /// PEM files of our own certificate and its key.
        certificate: Option<(PathBuf, PathBuf)>,
    },
}

/// A listener with TLS 1.3.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// Where it listens.
    pub listen: SocketAddr,
    /// How it shows that it is itself.
    pub identity: Identity,
    /// PEM file of an authority whose client certificates are taken, beside the server's own.
    pub client_ca: Option<PathBuf>,
}

/// How the server shows gateways that it is itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// By a certificate of its own authority, which it makes on its first start.
    Own {
        /// Host names and addresses under which gateways reach it; beside loopback and the name of this machine.
        names: Vec<String>,
    },
    /// By a certificate that somebody made for it; PEM files, read again when they change.
    Files {
        /// Certificate, and those between it and its authority.
        certificate: PathBuf,
        /// Private key.
        key: PathBuf,
    },
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawBroker {
    listen: Option<Spanned<String>>,
    plain: Option<Spanned<String>>,
    tls: Option<Spanned<RawTls>>,
    url: Option<Spanned<String>>,
    credentials: Option<Spanned<String>>,
    ca: Option<Spanned<String>>,
    certificate: Option<Spanned<String>>,
    key: Option<Spanned<String>>,
}

/// `auto`, or its parts.
#[derive(Debug, Default)]
pub(super) struct RawTls(pub(super) RawParts);

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawParts {
    names: Option<Spanned<Vec<String>>>,
    certificate: Option<Spanned<String>>,
    key: Option<Spanned<String>>,
    client_ca: Option<Spanned<String>>,
}

impl<'de> Deserialize<'de> for RawTls {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AutoOrParts;
        impl<'de> Visitor<'de> for AutoOrParts {
            type Value = RawTls;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`auto`, or a map with certificate, key, names or client_ca")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<RawTls, E> {
                match text {
                    "auto" => Ok(RawTls::default()),
                    other => {
                        Err(E::custom(format!("found {other:?}, expected `auto`, or a map with certificate, key, names or client_ca")))
                    }
                }
            }

            fn visit_bool<E: serde::de::Error>(self, yes: bool) -> Result<RawTls, E> {
                self.visit_str(&yes.to_string())
            }

            fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<RawTls, M::Error> {
                RawParts::deserialize(MapAccessDeserializer::new(map)).map(RawTls)
            }
        }
        deserializer.deserialize_any(AutoOrParts)
    }
}

impl RawBroker {
    /// From what the file says at `place`, and the environment's own listener or URL.
    pub(super) fn resolve(
        self,
        place: Location,
        at: impl Fn(Location) -> String,
        overrides: (Option<Found>, Option<Found>),
        found: impl Fn(Option<Spanned<String>>) -> Option<Found>,
        path: impl Fn(&Found) -> Result<PathBuf, Problem>,
    ) -> Result<Broker, Problem> {
        let problem = |message: &str| Problem { place: at(place), message: message.into() };
        let (mut listen, mut url) = (found(self.listen), found(self.url));
        let (mut plain, mut tls) = (found(self.plain), self.tls);
        if url.is_some() && (listen.is_some() || plain.is_some() || tls.is_some()) {
            return Err(problem(
                "found `url` beside `listen`, `plain` or `tls`, expected one: those for the embedded broker or `url` for another one",
            ));
        }
        let mut instead = false;
        match overrides {
            (Some(_), Some(url)) => return Err(url.problem("PATTOO_BROKER_LISTEN is set as well, expected one of the two")),
            (Some(env), None) => (listen, url, instead) = (Some(env), None, true),
            (None, Some(env)) => (listen, plain, tls, url) = (None, None, None, Some(env)),
            (None, None) => {}
        }
        let (credentials, ca, certificate, key) = (found(self.credentials), found(self.ca), found(self.certificate), found(self.key));
        if let Some(url) = url {
            return external(&url, [credentials, ca, certificate, key], path);
        }
        if let (Some(extra), false) = (credentials.or(ca).or(certificate).or(key), instead) {
            return Err(extra.problem(
                "found without a `url`, expected only with another broker: the embedded one has its accounts by `pattoo-server gateway add` \
                 and its certificate in `tls`",
            ));
        }
        match tls {
            Some(tls) => {
                let listen = address(&listen.unwrap_or_else(|| default(DEFAULT_TLS)))?;
                let (identity, client_ca) = tls.value.0.resolve(at, found, path)?;
                let plain = plain.as_ref().map(loopback).transpose()?;
                Ok(Broker::Embedded { plain, tls: Some(Tls { listen, identity, client_ca }) })
            }
            None if plain.is_some() => Err(problem("found `plain` without `tls`, expected `listen` for a broker without TLS")),
            None => Ok(Broker::Embedded { plain: Some(loopback(&listen.unwrap_or_else(|| default(DEFAULT_PLAIN)))?), tls: None }),
        }
    }
}

impl RawParts {
    pub(super) fn resolve(
        self,
        at: impl Fn(Location) -> String,
        found: impl Fn(Option<Spanned<String>>) -> Option<Found>,
        path: impl Fn(&Found) -> Result<PathBuf, Problem>,
    ) -> Result<(Identity, Option<PathBuf>), Problem> {
        let client_ca = found(self.client_ca).as_ref().map(&path).transpose()?;
        let identity = match (found(self.certificate), found(self.key), self.names) {
            (Some(certificate), Some(key), None) => Identity::Files { certificate: path(&certificate)?, key: path(&key)? },
            (Some(given), None, _) | (None, Some(given), _) => {
                return Err(given.problem("found one of `certificate` and `key`, expected both: PEM files of the server's own certificate"));
            }
            (Some(given), Some(_), Some(_)) => {
                return Err(given.problem("found `names` beside `certificate`, expected one: a certificate brings its names"));
            }
            (None, None, names) => Identity::Own {
                names: names.map(|names| server_names(&at(names.referenced), names.value)).transpose()?.unwrap_or_default(),
            },
        };
        Ok((identity, client_ca))
    }
}

fn server_names(place: &str, names: Vec<String>) -> Result<Vec<String>, Problem> {
    let allowed = |name: &&String| {
        let host = name.len() <= 253 && name.split('.').all(|label| !label.is_empty() && label.len() <= 63);
        let characters = name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'*'));
        (host && characters) || name.parse::<core::net::IpAddr>().is_ok()
    };
    let wrong = |message: String| Err(Problem { place: place.to_owned(), message });
    match names.iter().find(|name| !allowed(name)) {
        Some(name) => wrong(format!("`names`: found {name:?}, expected host names and addresses like ops.example or 192.0.2.1")),
        None if names.len() > MAX_NAMES => wrong(format!("`names`: found {}, expected at most {MAX_NAMES}", names.len())),
        None => Ok(names),
    }
}

fn loopback(found: &Found) -> Result<SocketAddr, Problem> {
    let address = address(found)?;
    match address.ip().is_loopback() {
        true => Ok(address),
        false => Err(found.problem(format!(
            "found {address}, which other machines can reach, expected a loopback address like 127.0.0.1:{}: without TLS and accounts the \
             broker is for this machine only; `broker: {{ listen: 0.0.0.0:8883, tls: auto }}` lets gateways in that \
             `pattoo-server gateway add` made an account for",
            address.port()
        ))),
    }
}

fn external(
    url: &Found,
    [credentials, ca, certificate, key]: [Option<Found>; 4],
    path: impl Fn(&Found) -> Result<PathBuf, Problem>,
) -> Result<Broker, Problem> {
    let (host, port, tls) = broker_url(url)?;
    let names = [(&ca, "ca"), (&certificate, "certificate"), (&key, "key")];
    if let (false, Some((extra, name))) = (tls, names.iter().find_map(|(value, name)| value.as_ref().map(|value| (value, name)))) {
        return Err(extra.problem(format!("found `{name}` with an mqtt:// address, expected mqtts://, which uses it")));
    }
    let certificate = match (certificate, key) {
        (Some(certificate), Some(key)) => Some((path(&certificate)?, path(&key)?)),
        (Some(given), None) | (None, Some(given)) => {
            return Err(given.problem("found one of `certificate` and `key`, expected both: PEM files of this server's client certificate"));
        }
        (None, None) => None,
    };
    let (credentials, ca) = (credentials.as_ref().map(&path).transpose()?, ca.as_ref().map(&path).transpose()?);
    Ok(Broker::External { host, port, tls, credentials, ca, certificate })
}

/// `mqtt://host[:port]` or `mqtts://host[:port]`, an IPv6 address in brackets.
fn broker_url(found: &Found) -> Result<(String, u16, bool), Problem> {
    let wrong = |what: &str| {
        let expected = "expected mqtt://host:1883 or mqtts://host:8883";
        // An account in the address would end up in logs, also in this one.
        let shown = if found.text.contains('@') { "an account in the address".to_owned() } else { format!("{:?}", found.text) };
        found.problem(format!("found {shown}, {expected}{what}"))
    };
    let (scheme, rest) = found.text.split_once("://").ok_or_else(|| wrong(""))?;
    let (tls, default_port) = match scheme {
        "mqtt" => (false, 1883),
        "mqtts" => (true, 8883),
        _ => return Err(wrong("")),
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if rest.contains('@') {
        return Err(wrong("; put `user:password` into a file and name it by `credentials`"));
    }
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok().filter(|port| *port != 0).ok_or_else(|| wrong(""))?),
        _ => (rest, default_port),
    };
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_') || (c == ':' && bare != host);
    match !bare.is_empty() && bare.chars().all(allowed) {
        true => Ok((bare.to_owned(), port, tls)),
        false => Err(wrong("")),
    }
}
