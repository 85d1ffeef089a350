//! Configuration text -> [`Config`]: the schema of the file and every check of one. Opens no file, asks no environment.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pattoo_wire::check_name;

use super::clock::clock;
use super::{
    ACK_TIMEOUT, BATCH_EVERY, BUFFER_MAX_AGE, BUFFER_MAX_BYTES, BUFFER_PATH, Batching, Buffer, Config, Link, MAX_CONFIG_BYTES, MAX_LINKS,
    MAX_UNACKNOWLEDGED, MIN_INTERVAL, Transport, Uplink, devices, links,
};
use crate::profile::Found;
use crate::yaml::{self, Field, Fields, Problem, Problems, did_you_mean, quoted};

/// Environment variables by name, as the caller has them.
pub type Environment<'e> = &'e dyn Fn(&str) -> Option<String>;

/// Name of the link to this machine itself.
pub(super) const HOST_LINK: &str = "host";
/// Longest path or URL, in bytes; Linux has no longer path.
const MAX_PATH_BYTES: usize = 4_096;
/// Least buffer: some batches must fit.
const MIN_BUFFER_BYTES: u64 = 1 << 20;
/// Largest buffer: 1 TiB.
const MAX_BUFFER_BYTES: u64 = 1 << 40;

const KEYS: &[&str] = &["gateway", "uplink", "buffer", "batch", "clock", "links", "devices"];
const UPLINK_KEYS: &[&str] = &["url", "credentials", "ca", "acknowledge", "max_unacknowledged", "ack_timeout"];

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Reads the configuration. What is wrong with a single link or device is only noted in the list beside it.
pub(crate) fn read(file: &Path, content: &[u8], found: &Found, env: Environment<'_>) -> Result<(Config, Vec<Problem>), Vec<Problem>> {
    let node = yaml::parse(file, content, MAX_CONFIG_BYTES).map_err(|problem| vec![problem])?;
    let mut problems = Problems::of(file);
    let Some(fields) = Fields::read(&node, "", KEYS, &mut problems) else { return Err(problems.into_list()) };
    let gateway = gateway(&fields, env, &mut problems);
    let uplink = uplink(&fields, env, &mut problems);
    let buffer = buffer(&fields, env, &mut problems);
    let batch = batch(&fields, &mut problems);
    let clock = clock(&fields, &mut problems);
    // A wrong key at the top may be a misspelt `buffer`: the daemon must not go on with defaults that nobody chose.
    let usable = problems.count() == 0;
    let mut links = Links::read(fields.optional("links"), &mut problems);
    let devices = devices::read(&fields, &mut links, found, &mut problems);
    match (gateway, uplink, buffer, batch, clock) {
        (Some(gateway), Some(uplink), Some(buffer), Some(batch), Some(clock)) if usable => {
            Ok((Config { gateway, uplink, buffer, batch, clock, links: links.good, devices }, problems.into_list()))
        }
        _ => Err(problems.into_list()),
    }
}

/// A text from the environment, else from the file. The field reports problems in the name of its source.
enum Text<'t> {
    Variable(&'static str, String),
    File(Field<'t>, &'t str),
}

impl Text<'_> {
    fn as_str(&self) -> &str {
        match self {
            Self::Variable(_, text) => text,
            Self::File(_, text) => text,
        }
    }

    fn problem(&self, message: &str, problems: &mut Problems<'_>) {
        match self {
            Self::Variable(name, _) => problems.push(Problem::whole(Path::new(name), format!("(environment) {message}"))),
            Self::File(field, _) => field.problem(message, problems),
        }
    }
}

/// An empty variable counts as none: that is how a unit file takes one back.
fn variable(env: Environment<'_>, name: &'static str) -> Option<Text<'static>> {
    env(name).filter(|text| !text.is_empty()).map(|text| Text::Variable(name, text))
}

fn gateway(fields: &Fields<'_>, env: Environment<'_>, problems: &mut Problems<'_>) -> Option<String> {
    let text = match variable(env, "PATTOO_GATEWAY") {
        Some(text) => text,
        None => {
            let field = fields.required("gateway", "the name of this gateway, such as plant7", problems)?;
            let name = field.text("the name of this gateway", problems)?;
            Text::File(field, name)
        }
    };
    match check_name(text.as_str()) {
        Ok(()) => Some(text.as_str().to_owned()),
        Err(e) => {
            text.problem(&format!("{} is not a name: {e}", quoted(text.as_str())), problems);
            None
        }
    }
}

fn uplink(top: &Fields<'_>, env: Environment<'_>, problems: &mut Problems<'_>) -> Option<Uplink> {
    let before = problems.count();
    let expected = "a URL such as mqtts://ops.example:8883";
    let from_env = variable(env, "PATTOO_UPLINK_URL");
    let fields = match top.optional("uplink") {
        Some(field) => Some(Fields::read(field.node, "uplink", UPLINK_KEYS, problems)?),
        None if from_env.is_some() => None,
        None => {
            top.required("uplink", &format!("a mapping with `url`, {expected}"), problems);
            return None;
        }
    };
    let optional = |key| fields.as_ref().and_then(|fields| fields.optional(key));
    let credentials = optional("credentials").and_then(|field| path(&field, problems));
    let ca = optional("ca").and_then(|field| path(&field, problems));
    if let Some(field) = optional("acknowledge") {
        field.choice(&[("server", ())], problems);
    }
    let max_unacknowledged = match optional("max_unacknowledged") {
        Some(field) => field.integer(1, 1_000, "a number of batches", problems).and_then(|n| usize::try_from(n).ok()),
        None => Some(MAX_UNACKNOWLEDGED),
    };
    let ack_timeout = match optional("ack_timeout") {
        Some(field) => field.duration(seconds(1), seconds(3_600), problems),
        None => Some(ACK_TIMEOUT),
    };
    let text = match (from_env, &fields) {
        (Some(text), _) => text,
        (None, Some(fields)) => {
            let field = fields.required("url", expected, problems)?;
            let url = field.text(expected, problems)?;
            Text::File(field, url)
        }
        (None, None) => return None,
    };
    let url = url(&text, credentials.is_some(), problems)?;
    if problems.count() > before {
        return None;
    }
    Some(Uplink { url, credentials, ca, max_unacknowledged: max_unacknowledged?, ack_timeout: ack_timeout? })
}

/// `mqtt://host:port` or `mqtts://host:port`; the port may be left out. Without credentials only to this machine itself.
fn url(text: &Text<'_>, has_credentials: bool, problems: &mut Problems<'_>) -> Option<String> {
    let url = text.as_str();
    let scheme = url.split_once("://").map(|(scheme, _)| scheme);
    let Some(endpoint) = url.strip_prefix("mqtt://").or_else(|| url.strip_prefix("mqtts://")) else {
        let hint = did_you_mean(scheme.unwrap_or(url), ["mqtt", "mqtts"].into_iter());
        text.problem(&format!("found {}, expected mqtt://host:port or mqtts://host:port{hint}", quoted(url)), problems);
        return None;
    };
    if endpoint.contains('@') {
        // The password must not be repeated in a log.
        text.problem("found a user or password in the URL, expected them in the file that `credentials` names", problems);
        return None;
    }
    let Some((host, _)) = split_endpoint(endpoint, false).filter(|_| url.len() <= MAX_PATH_BYTES) else {
        text.problem(&format!("found {}, expected mqtt://host:port or mqtts://host:port", quoted(url)), problems);
        return None;
    };
    if !has_credentials && !is_loopback(host) {
        let message = format!(
            "{} is another machine: expected `credentials`, a file with one line user:password; only a broker on this \
             machine itself may be anonymous",
            quoted(host)
        );
        text.problem(&message, problems);
        return None;
    }
    Some(url.trim_end_matches('/').to_owned())
}

/// Host and port of `host:port`, `1.2.3.4:port` or `[::1]:port`.
pub(super) fn split_endpoint(endpoint: &str, needs_port: bool) -> Option<(&str, Option<u16>)> {
    let endpoint = if needs_port { endpoint } else { endpoint.trim_end_matches('/') };
    let (host, port) = match endpoint.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']')?;
            host.parse::<std::net::Ipv6Addr>().ok()?;
            (host, if rest.is_empty() { None } else { Some(rest.strip_prefix(':')?) })
        }
        None => match endpoint.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (endpoint, None),
        },
    };
    let port = match port {
        Some(port) if port.bytes().all(|b| b.is_ascii_digit()) => Some(port.parse::<u16>().ok().filter(|p| *p > 0)?),
        Some(_) => return None,
        None => None,
    };
    let good = !host.is_empty() && host.len() <= 253 && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:".contains(&b));
    (good && (port.is_some() || !needs_port)).then_some((host, port))
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

pub(super) fn path(field: &Field<'_>, problems: &mut Problems<'_>) -> Option<PathBuf> {
    let text = field.text("a path", problems)?;
    if text.len() > MAX_PATH_BYTES || text.contains('\0') {
        field.wrong(&format!("a path of at most {MAX_PATH_BYTES} bytes"), problems);
        return None;
    }
    Some(PathBuf::from(text))
}

fn buffer(top: &Fields<'_>, env: Environment<'_>, problems: &mut Problems<'_>) -> Option<Buffer> {
    let before = problems.count();
    let mut buffer = Buffer { path: PathBuf::from(BUFFER_PATH), max_bytes: BUFFER_MAX_BYTES, max_age: BUFFER_MAX_AGE };
    if let Some(field) = top.optional("buffer") {
        let fields = Fields::read(field.node, "buffer", &["path", "max_bytes", "max_age"], problems)?;
        if let Some(path) = fields.optional("path").and_then(|field| path(&field, problems)) {
            buffer.path = path;
        }
        if let Some(bytes) = fields.optional("max_bytes").and_then(|field| bytes(&field, problems)) {
            buffer.max_bytes = bytes;
        }
        if let Some(age) = fields.optional("max_age").and_then(|field| field.duration(seconds(60), seconds(3_650 * 24 * 3_600), problems)) {
            buffer.max_age = age;
        }
    }
    if let Some(text) = variable(env, "PATTOO_BUFFER_PATH") {
        buffer.path = PathBuf::from(text.as_str());
    }
    (problems.count() == before).then_some(buffer)
}

fn bytes(field: &Field<'_>, problems: &mut Problems<'_>) -> Option<u64> {
    let expected = "a size from 1MiB to 1TiB, such as 512MiB or 10GB";
    let text = field.text(expected, problems)?;
    let size = text.parse::<bytesize::ByteSize>().ok().map(|size| size.0).filter(|n| (MIN_BUFFER_BYTES..=MAX_BUFFER_BYTES).contains(n));
    if size.is_none() {
        field.wrong(expected, problems);
    }
    size
}

fn batch(top: &Fields<'_>, problems: &mut Problems<'_>) -> Option<Batching> {
    let Some(field) = top.optional("batch") else { return Some(Batching { every: BATCH_EVERY }) };
    let before = problems.count();
    let fields = Fields::read(field.node, "batch", &["every"], problems)?;
    let every = match fields.optional("every") {
        Some(field) => field.duration(MIN_INTERVAL, seconds(3_600), problems)?,
        None => BATCH_EVERY,
    };
    (problems.count() == before).then_some(Batching { every })
}

/// The links of the file: those that are good, and the names of all.
pub(super) struct Links {
    pub(super) good: Vec<Link>,
    pub(super) refused: Vec<String>,
}

impl Links {
    fn read(field: Option<Field<'_>>, problems: &mut Problems<'_>) -> Self {
        let mut links = Self { good: Vec::new(), refused: Vec::new() };
        let expected = "a mapping of names to links, such as plc: { tcp: 10.0.0.5:502 }";
        let entries = field.as_ref().and_then(|field| field.entries(expected, problems)).unwrap_or_default();
        if let Some(field) = field.filter(|_| entries.len() > MAX_LINKS) {
            field.problem(&format!("found {} links, at most {MAX_LINKS} are opened; the rest is left out", entries.len()), problems);
        }
        for (name, at, node) in entries.into_iter().take(MAX_LINKS) {
            let what = format!("link {}", quoted(name));
            if let Err(e) = check_name(name) {
                problems.add(at, format!("{what}: {e}"));
            } else if name == HOST_LINK {
                problems.add(at, format!("{what}: this name belongs to the built-in link to this machine itself, expected another one"));
            } else if let Some(transport) = links::transport(node, &what, problems) {
                links.good.push(Link { name: name.to_owned(), transport, devices: Vec::new() });
                continue;
            }
            links.refused.push(name.to_owned());
        }
        links
    }

    /// The position of a link; the one to this machine itself is made when it is first asked for.
    pub(super) fn host(&mut self) -> usize {
        let found = self.good.iter().position(|link| link.transport == Transport::Host);
        found.unwrap_or_else(|| {
            self.good.push(Link { name: HOST_LINK.to_owned(), transport: Transport::Host, devices: Vec::new() });
            self.good.len() - 1
        })
    }
}
