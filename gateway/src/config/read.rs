//! Configuration text -> [`Config`]: the schema of the file and every check of one. Opens no file, asks no environment.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pattoo_wire::check_name;

use super::clock::clock;
use super::commands::commands;
use super::{
    BATCH_EVERY, Batching, Buffer, Commands, Config, Link, MAX_CONFIG_BYTES, MAX_LINKS, MIN_INTERVAL, Transport, devices, links,
    own_window, traps, uplink,
};
use crate::link_log::Level;
use crate::profile::Found;
use crate::yaml::{self, Field, Fields, Problem, Problems, quoted};

/// Environment variables by name, as the caller has them.
pub type Environment<'e> = &'e dyn Fn(&str) -> Option<String>;

/// Content of a file of at most so many bytes, as the caller reads it.
pub(crate) type Files<'f> = &'f dyn Fn(&Path, usize) -> Result<Vec<u8>, Problem>;

/// Name of the link to this machine itself.
pub(super) const HOST_LINK: &str = "host";
/// Longest path or URL, in bytes; Linux has no longer path.
pub(super) const MAX_PATH_BYTES: usize = 4_096;
/// Least buffer: some batches must fit.
const MIN_BUFFER_BYTES: u64 = 1 << 20;
/// Largest buffer: 1 TiB.
const MAX_BUFFER_BYTES: u64 = 1 << 40;

const KEYS: &[&str] = &["gateway", "uplink", "buffer", "batch", "clock", "commands", "links", "devices", "traps"];

pub(super) const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Reads the configuration. What is wrong with a single link or device is only noted in the list beside it.
pub(crate) fn read(
    file: &Path,
    content: &[u8],
    found: &Found,
    env: Environment<'_>,
    files: Files<'_>,
) -> Result<(Config, Vec<Problem>), Vec<Problem>> {
    let node = yaml::parse(file, content, MAX_CONFIG_BYTES).map_err(|problem| vec![problem])?;
    let mut problems = Problems::of(file);
    let Some(fields) = Fields::read(&node, "", KEYS, &mut problems) else { return Err(problems.into_list()) };
    let gateway = gateway(&fields, env, &mut problems);
    let uplink = uplink::read(&fields, env, &mut problems);
    let mut window = None;
    let mut buffer = buffer(&fields, env, &mut window, &mut problems);
    let batch = batch(&fields, &mut problems);
    let clock = clock(&fields, &mut problems);
    let commands = commands(&fields, buffer.as_ref().map(|buffer| buffer.path.as_path()), &mut problems);
    // A wrong key at the top may be a misspelt `buffer`: the daemon must not go on with defaults that nobody chose.
    let usable = problems.count() == 0;
    let mut links = Links::read(fields.optional("links"), &mut problems);
    let mut points = devices::Writable::new();
    let devices = devices::read(&fields, &mut links, (found, files), &mut points, &mut problems);
    if let (Some(gateway), Some(buffer)) = (&gateway, &buffer) {
        traps::link(&fields, (gateway, buffer, &devices), &mut links, files, &mut problems);
    }
    if let (Some(Buffer { commit_window, .. }), Some(batch), None) = (&mut buffer, &batch, window) {
        *commit_window = own_window(&devices, batch);
    }
    match (gateway, uplink, buffer, batch, clock, commands) {
        (Some(gateway), Some(uplink), Some(buffer), Some(batch), Some(clock), Some(commands)) if usable => {
            let commands = Commands { points, ..commands };
            Ok((Config { gateway, uplink, buffer, batch, clock, commands, links: links.good, devices }, problems.into_list()))
        }
        _ => Err(problems.into_list()),
    }
}

/// A text from the environment, else from the file. The field reports problems in the name of its source.
pub(super) enum Text<'t> {
    Variable(&'static str, String),
    File(Field<'t>, &'t str),
}

impl Text<'_> {
    pub(super) fn as_str(&self) -> &str {
        match self {
            Self::Variable(_, text) => text,
            Self::File(_, text) => text,
        }
    }

    pub(super) fn problem(&self, message: &str, problems: &mut Problems<'_>) {
        match self {
            Self::Variable(name, _) => problems.push(Problem::whole(Path::new(name), format!("(environment) {message}"))),
            Self::File(field, _) => field.problem(message, problems),
        }
    }
}

/// An empty variable counts as none: that is how a unit file takes one back.
pub(super) fn variable(env: Environment<'_>, name: &'static str) -> Option<Text<'static>> {
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

pub(super) fn is_loopback(host: &str) -> bool {
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

fn buffer(top: &Fields<'_>, env: Environment<'_>, window: &mut Option<Duration>, problems: &mut Problems<'_>) -> Option<Buffer> {
    let before = problems.count();
    let mut buffer = Buffer::default();
    if let Some(field) = top.optional("buffer") {
        let fields = Fields::read(field.node, "buffer", &["path", "max_bytes", "max_age", "thin_to", "commit_window"], problems)?;
        if let Some(path) = fields.optional("path").and_then(|field| path(&field, problems)) {
            buffer.path = path;
        }
        if let Some(bytes) = fields.optional("max_bytes").and_then(|field| bytes(&field, problems)) {
            buffer.max_bytes = bytes;
        }
        if let Some(age) = fields.optional("max_age").and_then(|field| field.duration(seconds(60), seconds(3_650 * 24 * 3_600), problems)) {
            buffer.max_age = age;
        }
        if let Some(time) = fields.optional("thin_to").and_then(|field| field.duration(Duration::ZERO, seconds(3_600), problems)) {
            buffer.thin_to = time;
        }
        *window = fields.optional("commit_window").and_then(|field| field.duration(Duration::ZERO, seconds(600), problems));
        buffer.commit_window = window.unwrap_or_default();
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
            } else if let Some((transport, connections, log)) = links::transport(node, &what, name, problems) {
                links.good.push(Link { name: name.to_owned(), transport, devices: Vec::new(), connections, log });
                continue;
            }
            links.refused.push(name.to_owned());
        }
        links
    }

    /// The position of a link; the one to this machine itself is made when it is first asked for.
    pub(super) fn host(&mut self) -> usize {
        let found = self.good.iter().position(|link| link.transport == Transport::Host);
        found.unwrap_or_else(|| self.add(HOST_LINK.to_owned(), Transport::Host))
    }

    /// A link that is in no list of the file: the way to one device alone.
    pub(super) fn add(&mut self, name: String, transport: Transport) -> usize {
        self.good.push(Link { name, transport, devices: Vec::new(), connections: 1, log: Level::Off });
        self.good.len() - 1
    }
}
