//! Links where others tell readings: a Unix socket, a broker. From their mapping; opens nothing.

use std::path::PathBuf;

use super::read::{Text, path};
use super::{Broker, Identity, Transport, uplink};
use crate::lines::{Precision, Source};
use crate::link_log::Level;
use crate::yaml::{Field, Fields, Node, Problems, Tree};

const WAYS: &[&str] = &["socket", "mqtt"];
const SOCKET_KEYS: &[&str] = &["socket", "mode", "precision", "log"];
const MQTT_KEYS: &[&str] = &["mqtt", "topic", "device_from", "credentials", "ca", "certificate", "key", "precision", "log"];

/// Default of `mode`: its user and its group.
const SOCKET_MODE: u32 = 0o660;
/// Longest path of a socket, in bytes: what Linux takes, less what is put behind it while it is made.
const MAX_SOCKET_BYTES: usize = 100;
/// Longest topic, in bytes.
const MAX_TOPIC_BYTES: usize = 1_024;
/// Most levels of a topic.
const MAX_LEVELS: i128 = 64;

/// Where others tell readings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// Name of its link.
    pub link: String,
    /// How they come.
    pub way: Way,
    /// How they are read.
    pub source: Source,
}

impl Input {
    /// What `check` says of it.
    #[must_use]
    pub fn words(&self) -> String {
        match &self.way {
            Way::Socket { path, .. } => format!("readings at socket {}", path.display()),
            Way::Mqtt { broker, topic, .. } => format!("readings of {topic} at {}", broker.url),
        }
    }
}

/// How readings come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// Over a Unix stream socket.
    Socket {
        /// Its file.
        path: PathBuf,
        /// Who may write to it: permission bits.
        mode: u32,
    },
    /// From a broker.
    Mqtt {
        /// Which one.
        broker: Box<Broker>,
        /// A topic or a filter of topics.
        topic: String,
        /// Level of the topic that is the name of the device, from 1.
        device_from: Option<usize>,
    },
}

/// Whether a link's mapping says that readings are told there.
pub(super) fn is_input(node: &Node) -> bool {
    let is_way = |key: &Node| matches!(&key.tree, Tree::Scalar(key) if WAYS.contains(&key.as_str()));
    matches!(&node.tree, Tree::Map(entries) if entries.iter().any(|(key, _)| is_way(key)))
}

/// Reads the mapping of one such link.
pub(super) fn read(node: &Node, what: &str, link: &str, problems: &mut Problems<'_>) -> Option<(Transport, usize, Level)> {
    let before = problems.count();
    let is_socket = matches!(&node.tree, Tree::Map(entries) if entries.iter().any(|(key, _)| key.tree == Tree::Scalar("socket".into())));
    let fields = Fields::read(node, what, if is_socket { SOCKET_KEYS } else { MQTT_KEYS }, problems)?;
    let way = if is_socket { socket(&fields, problems) } else { mqtt(&fields, problems) };
    let precision = precision(&fields, problems);
    let log = match fields.optional("log") {
        Some(field) => field.choice(Level::NAMES, problems),
        None => Some(Level::Off),
    };
    let source = Source { precision: precision?, ..Source::default() };
    let (transport, log) = (Transport::Input(Box::new(Input { link: link.to_owned(), way: way?, source })), log?);
    (problems.count() == before).then_some((transport, 1, log))
}

pub(super) fn precision(fields: &Fields<'_>, problems: &mut Problems<'_>) -> Option<Precision> {
    match fields.optional("precision") {
        Some(field) => field.choice(Precision::NAMES, problems),
        None => Some(Precision::default()),
    }
}

fn socket(fields: &Fields<'_>, problems: &mut Problems<'_>) -> Option<Way> {
    let field = fields.required("socket", "the path of a socket, such as /run/pattoo/in.sock", problems)?;
    let path = path(&field, problems)?;
    if !path.is_absolute() || path.as_os_str().len() > MAX_SOCKET_BYTES {
        field.wrong(&format!("a path from the root, of at most {MAX_SOCKET_BYTES} bytes"), problems);
        return None;
    }
    let mode = match fields.optional("mode") {
        Some(field) => mode(&field, problems)?,
        None => SOCKET_MODE,
    };
    Some(Way::Socket { path, mode })
}

/// `"0660"`: octal, whether YAML would take it for that or not.
fn mode(field: &Field<'_>, problems: &mut Problems<'_>) -> Option<u32> {
    let expected = "permissions in octal such as \"0660\", with those of its user";
    let text = field.text(expected, problems)?;
    let octal = (3..=4).contains(&text.len()) && text.bytes().all(|b| (b'0'..=b'7').contains(&b));
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| octal && *mode <= 0o777 && mode & 0o600 == 0o600);
    if mode.is_none() {
        field.wrong(expected, problems);
    }
    mode
}

fn mqtt(fields: &Fields<'_>, problems: &mut Problems<'_>) -> Option<Way> {
    let mut file = |key| fields.optional(key).and_then(|field| path(&field, problems));
    let (credentials, ca, certificate, key) = (file("credentials"), file("ca"), file("certificate"), file("key"));
    let identity = match (certificate, key) {
        (Some(certificate), Some(key)) => Some(Identity { certificate, key }),
        (None, None) => None,
        (certificate, _) => {
            let missing = if certificate.is_some() { "key" } else { "certificate" };
            fields.required(missing, "the certificate and its key, both or none", problems)?;
            None
        }
    };
    let expected = "the URL of a broker, such as mqtts://plant.example:8883";
    let field = fields.required("mqtt", expected, problems)?;
    let text = Text::File(field.clone(), field.text(expected, problems)?);
    let url = uplink::url(&text, credentials.is_some() || identity.is_some(), problems)?;
    let topic = fields.required("topic", "where readings are, such as sensors/#", problems)?;
    let topic = self::topic(&topic, problems)?;
    let device_from = match fields.optional("device_from") {
        Some(field) => Some(field.integer(1, MAX_LEVELS, "a level of the topic", problems).and_then(|n| usize::try_from(n).ok())?),
        None => None,
    };
    Some(Way::Mqtt { broker: Box::new(Broker { url, credentials, ca, identity }), topic, device_from })
}

/// `+` and `#` stand for whole levels, `#` for the last ones.
fn topic(field: &Field<'_>, problems: &mut Problems<'_>) -> Option<String> {
    let expected = "a topic, in which + stands for one level and # at its end for all that follow";
    let text = field.text(expected, problems)?;
    let levels: Vec<&str> = text.split('/').collect();
    let good = |(at, level): (usize, &&str)| match *level {
        "#" => at + 1 == levels.len(),
        "+" => true,
        level => !level.contains(['+', '#']),
    };
    if text.len() > MAX_TOPIC_BYTES || text.chars().any(char::is_control) || !levels.iter().enumerate().all(good) {
        field.wrong(expected, problems);
        return None;
    }
    Some(text.to_owned())
}
