//! The server's configuration: text of a file and overrides -> a struct that can only be valid.
//! Pure: opens no file and reads no environment; both are passed in.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;
use serde_saphyr::{Error as YamlError, Location, Spanned};
use thiserror::Error;

/// Where the file is unless said otherwise; it need not be there.
pub const DEFAULT_FILE: &str = "/etc/pattoo/server.yaml";
/// Largest configuration file, in bytes.
pub const MAX_FILE_BYTES: usize = 64 << 10;

const DEFAULT_DATA: &str = "/var/lib/pattoo";
const DEFAULT_BROKER: &str = "127.0.0.1:1883";
const DEFAULT_HTTP: &str = "127.0.0.1:8080";
const DEFAULT_RETENTION: Duration = Duration::from_secs(90 * DAY_S);
const DAY_S: u64 = 24 * 3600;
/// Shorter ones are typing errors: a gateway that was away for an hour would fill charts with nothing.
const RETENTION: (Duration, Duration) = (Duration::from_secs(3600), Duration::from_secs(100 * 365 * DAY_S));

/// Everything the server needs to know. Only valid ones exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Folder of the store and the dead letters.
    pub data: PathBuf,
    /// Where gateways publish.
    pub broker: Broker,
    /// Where page and API listen; loopback.
    pub http: SocketAddr,
    /// How long readings are kept.
    pub retention: Duration,
}

/// Where gateways publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Broker {
    /// The embedded broker.
    Embedded {
        /// Where it listens; loopback.
        listen: SocketAddr,
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
    },
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
    broker: Option<Spanned<RawBroker>>,
    http: Option<RawHttp>,
    retention: Option<Spanned<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawBroker {
    listen: Option<Spanned<String>>,
    url: Option<Spanned<String>>,
    credentials: Option<Spanned<String>>,
    ca: Option<Spanned<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawHttp {
    listen: Option<Spanned<String>>,
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
    let listen = from_env("PATTOO_HTTP_LISTEN").or(found(raw.http.and_then(|http| http.listen)));
    let http = listen.map_or_else(|| address(&default(DEFAULT_HTTP)), |listen| http_listen(&listen))?;
    let retention = found(raw.retention).map_or(Ok(DEFAULT_RETENTION), |text| retention(&text))?;

    let broker_at = raw.broker.as_ref().map(|broker| at(broker.referenced)).unwrap_or_default();
    let raw = raw.broker.map(|broker| broker.value).unwrap_or_default();
    let (mut listen, mut url) = (found(raw.listen), found(raw.url));
    if listen.is_some() && url.is_some() {
        let message = "found `listen` and `url`, expected one: `listen` for the embedded broker or `url` for another one";
        return Err(Problem { place: broker_at, message: message.into() });
    }
    match (from_env("PATTOO_BROKER_LISTEN"), from_env("PATTOO_BROKER_URL")) {
        (Some(_), Some(url)) => return Err(url.problem("PATTOO_BROKER_LISTEN is set as well, expected one of the two")),
        (Some(env), None) => (listen, url) = (Some(env), None),
        (None, Some(env)) => (listen, url) = (None, Some(env)),
        (None, None) => {}
    }
    let (credentials, ca) = (found(raw.credentials), found(raw.ca));
    let broker = match url {
        Some(url) => {
            let (host, port, tls) = broker_url(&url)?;
            if let (Some(ca), false) = (&ca, tls) {
                return Err(ca.problem("found `ca` with an mqtt:// address, expected mqtts://, which uses it"));
            }
            let credentials = credentials.as_ref().map(&path).transpose()?;
            Broker::External { host, port, tls, credentials, ca: ca.as_ref().map(&path).transpose()? }
        }
        None => {
            if let (Some(extra), true) = (credentials.or(ca), listen.as_ref().is_none_or(|l| !l.place.starts_with("PATTOO_"))) {
                return Err(extra.problem("found without a `url`, expected only with another broker: the embedded one takes none"));
            }
            Broker::Embedded { listen: broker_listen(&listen.unwrap_or_else(|| default(DEFAULT_BROKER)))? }
        }
    };
    Ok(Config { data, broker, http, retention })
}

fn default(text: &str) -> Found {
    Found { text: text.into(), place: "default".into() }
}

fn address(found: &Found) -> Result<SocketAddr, Problem> {
    SocketAddr::from_str(&found.text)
        .map_err(|_| found.problem(format!("found {:?}, expected an IP address and a port like 127.0.0.1:8080", found.text)))
}

fn http_listen(found: &Found) -> Result<SocketAddr, Problem> {
    let address = address(found)?;
    match address.ip().is_loopback() {
        true => Ok(address),
        false => Err(found.problem(format!(
            "found {address}, which other machines can reach, expected a loopback address like 127.0.0.1:{}: page and API have no \
             users yet; put a reverse proxy with its own login and TLS in front",
            address.port()
        ))),
    }
}

fn broker_listen(found: &Found) -> Result<SocketAddr, Problem> {
    let address = address(found)?;
    match address.ip().is_loopback() {
        true => Ok(address),
        false => Err(found.problem(format!(
            "found {address}, which other machines can reach, expected a loopback address like 127.0.0.1:{}: access without an account \
             is for this machine only, and accounts for gateways come later with `pattoo-server gateway add`; until then set \
             `broker: {{ url: mqtts://… }}` to a broker with TLS and accounts",
            address.port()
        ))),
    }
}

fn retention(found: &Found) -> Result<Duration, Problem> {
    let (least, most) = RETENTION;
    let wrong = || found.problem(format!("found {:?}, expected a time like 90d, 1h to 100years", found.text));
    humantime::parse_duration(&found.text).ok().filter(|time| (least..=most).contains(time)).ok_or_else(wrong)
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

fn yaml_problem(error: &YamlError, at: impl Fn(Location) -> String) -> Problem {
    let place = at(error.location().unwrap_or(Location::UNKNOWN));
    let message = match error.without_snippet() {
        YamlError::SerdeUnknownField { field, expected, .. } => {
            let near = expected.iter().map(|known| (strsim::damerau_levenshtein(known, field), known)).min();
            let hint = near.filter(|(distance, _)| *distance <= 2).map(|(_, known)| format!("; did you mean `{known}`?"));
            format!("found key `{field}`, expected one of {}{}", expected.join(", "), hint.unwrap_or_default())
        }
        // Its own words, without the position that the place already tells.
        other => {
            let text = other.to_string();
            text.split_once(": ").filter(|(head, _)| head.starts_with("line ")).map_or(text.clone(), |(_, tail)| tail.to_owned())
        }
    };
    Problem { place, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_with(text: &str, env: &[(&str, &str)]) -> Result<Config, String> {
        let env = |name: &str| env.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned());
        parse(Path::new("/etc/pattoo/server.yaml"), text, env).map_err(|e| e.to_string())
    }

    #[test]
    fn with_no_file_everything_is_embedded_and_on_loopback() {
        for text in ["", "# nothing\n", "{}\n"] {
            let config = parse_with(text, &[]).unwrap();
            let expected = Config {
                data: "/var/lib/pattoo".into(),
                broker: Broker::Embedded { listen: "127.0.0.1:1883".parse().unwrap() },
                http: "127.0.0.1:8080".parse().unwrap(),
                retention: Duration::from_secs(90 * DAY_S),
            };
            assert_eq!(config, expected, "{text:?}");
        }
    }

    #[test]
    fn a_whole_file_is_read() {
        let text = "data: /srv/pattoo\nhttp: { listen: \"[::1]:0\" }\nretention: 2years\nbroker:\n  url: mqtts://mq.example\n  \
                    credentials: mq.token\n  ca: /etc/ca.pem\n";
        let config = parse_with(text, &[]).unwrap();
        assert_eq!(config.data, Path::new("/srv/pattoo"));
        assert_eq!(config.http, "[::1]:0".parse().unwrap());
        assert_eq!(config.retention.as_secs() / DAY_S, 730);
        let Broker::External { host, port, tls, credentials, ca } = config.broker else { panic!() };
        assert_eq!((host.as_str(), port, tls), ("mq.example", 8883, true));
        assert_eq!(credentials, Some("/etc/pattoo/mq.token".into()));
        assert_eq!(ca, Some("/etc/ca.pem".into()));
    }

    #[test]
    fn the_environment_wins_over_the_file() {
        let text = "data: /a\nhttp: { listen: 127.0.0.1:1 }\nbroker: { url: mqtt://h, credentials: c }\n";
        let env = [("PATTOO_DATA", "b"), ("PATTOO_HTTP_LISTEN", "127.0.0.1:2"), ("PATTOO_BROKER_LISTEN", "127.0.0.1:3")];
        let config = parse_with(text, &env).unwrap();
        assert_eq!((config.data, config.http.port()), ("b".into(), 2));
        assert_eq!(config.broker, Broker::Embedded { listen: "127.0.0.1:3".parse().unwrap() });
        let config = parse_with("broker: { listen: 127.0.0.1:1 }", &[("PATTOO_BROKER_URL", "mqtt://[::1]:7")]).unwrap();
        let Broker::External { host, port, .. } = config.broker else { panic!() };
        assert_eq!((host.as_str(), port), ("::1", 7));
    }

    #[test]
    fn every_mistake_says_where_what_and_what_else() {
        for (text, place, words) in [
            ("dta: /x\n", "1:1", "found key `dta`, expected one of data, broker, http, retention; did you mean `data`?"),
            ("broker:\n  listen: 127.0.0.1:1883\n  lisen: 1\n", "3:3", "did you mean `listen`?"),
            ("broker: { listen: 0.0.0.0:1883 }\n", "1:19", "pattoo-server gateway add"),
            ("broker: { listen: localhost }\n", "1:19", "expected an IP address and a port"),
            ("broker: { listen: 127.0.0.1:1, url: mqtt://h }\n", "1:9", "expected one"),
            ("broker: { url: http://h }\n", "1:16", "expected mqtt://host:1883"),
            ("broker: { url: \"mqtt://h:0\" }\n", "1:16", "expected mqtt://host:1883"),
            ("broker: { url: mqtt:// }\n", "1:16", "expected mqtt://host:1883"),
            ("broker: { url: \"mqtt://u:secret@h\" }\n", "1:16", "name it by `credentials`"),
            ("broker: { url: mqtt://h, ca: x }\n", "1:30", "expected mqtts://"),
            ("broker: { credentials: x }\n", "1:24", "without a `url`"),
            ("http:\n  listen: 0.0.0.0:8080\n", "2:11", "reverse proxy"),
            ("http: { open: true }\n", "1:9", "found key `open`"),
            ("retention: 5min\n", "1:12", "1h to 100years"),
            ("retention: forever\n", "1:12", "expected a time like 90d"),
            ("data: \"\"\n", "1:7", "expected a path"),
            ("data: [a]\n", "1:7", "expected"),
            ("data: /a\ndata: /b\n", "2:1", "duplicate"),
            ("data: {\n", "", ""),
            ("data: \"x", "", ""),
        ] {
            let error = parse_with(text, &[]).unwrap_err();
            let expected = format!("/etc/pattoo/server.yaml:{place}");
            assert!(error.starts_with(&expected) && error.contains(words), "{text:?} gave {error}");
            assert!(!error.contains("secret"), "{error}");
        }
        let error = parse_with("", &[("PATTOO_HTTP_LISTEN", "[::]:80")]).unwrap_err();
        assert!(error.starts_with("PATTOO_HTTP_LISTEN: found [::]:80"), "{error}");
        let error = parse_with("", &[("PATTOO_BROKER_LISTEN", "127.0.0.1:1"), ("PATTOO_BROKER_URL", "mqtt://h")]).unwrap_err();
        assert!(error.starts_with("PATTOO_BROKER_URL: "), "{error}");
        assert!(parse_with(&"#".repeat(MAX_FILE_BYTES + 1), &[]).unwrap_err().contains("expected at most"));
    }
}
