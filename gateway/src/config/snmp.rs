//! The `snmp:` of a device: an agent and how to show it who asks. Opens no file.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use super::read::{Files, path, split_endpoint};
use crate::yaml::{self, Field, Fields, Node, Problem, Problems};

/// Default port of an agent.
pub(crate) const PORT: u16 = 161;
/// Default of `timeout`, for one answer.
pub const SNMP_TIMEOUT: Duration = Duration::from_secs(2);
/// Default of `retries`.
pub const SNMP_RETRIES: u32 = 2;
/// Default of `deadline`, for all that is read at one time.
pub const SNMP_DEADLINE: Duration = Duration::from_secs(10);
/// Shortest password of version 3 (RFC 3414, 11.2).
const MIN_PASSWORD_BYTES: usize = 8;
/// Longest text in a request.
const MAX_TEXT_BYTES: usize = 255;
/// Longest name of a user (RFC 3414).
const MAX_USER_BYTES: usize = 32;
/// Largest file of secrets.
pub(crate) const MAX_SECRETS_BYTES: usize = 64 << 10;

const KEYS: &[&str] =
    &["host", "version", "community", "user", "auth", "priv", "key_extension", "context", "secrets", "timeout", "retries", "deadline"];
const SECRETS: &[&str] = &["community", "auth", "priv"];
/// Keys that only version 3 has.
const V3_KEYS: &[&str] = &["user", "auth", "priv", "key_extension", "context"];

/// A secret that no log shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// An agent, and how it is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agent {
    /// `host:port`.
    pub endpoint: String,
    /// The version of SNMP, and who asks.
    pub security: Security,
    /// Longest wait for one answer.
    pub timeout: Duration,
    /// How often a question is asked again.
    pub retries: u32,
    /// Longest time for all that is read at one time.
    pub deadline: Duration,
}

/// The version of SNMP, and who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Security {
    /// Version 1, which has no 64-bit counters and no bulk.
    V1(Secret),
    /// Version 2c.
    V2c(Secret),
    /// Version 3.
    V3(User),
}

impl fmt::Display for Agent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = match self.security {
            Security::V1(_) => "1",
            Security::V2c(_) => "2c",
            Security::V3(_) => "3",
        };
        write!(f, "SNMP {version} {}", self.endpoint)
    }
}

/// A user of version 3.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Name.
    pub name: String,
    /// How it proves that it is this one; nothing: it does not.
    pub auth: Option<(AuthProtocol, Secret)>,
    /// How what it says is kept secret; never without `auth`.
    pub privacy: Option<(Cipher, Secret)>,
    /// How a key that is too short is made longer.
    pub key_extension: KeyExtension,
    /// Context of the agent, mostly none.
    pub context: String,
}

/// How messages are authenticated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthProtocol {
    /// HMAC-MD5-96.
    Md5,
    /// HMAC-SHA-96.
    Sha1,
    /// HMAC-SHA-224.
    Sha224,
    /// HMAC-SHA-256.
    Sha256,
    /// HMAC-SHA-384.
    Sha384,
    /// HMAC-SHA-512.
    Sha512,
}

/// How messages are encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cipher {
    /// DES in CBC.
    Des,
    /// AES of 128 bits in CFB.
    Aes128,
    /// AES of 192 bits.
    Aes192,
    /// AES of 256 bits.
    Aes256,
}

/// How a key that is too short for the cipher is made longer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum KeyExtension {
    /// As net-snmp and most others do.
    #[default]
    Blumenthal,
    /// As Cisco does.
    Reeder,
}

/// Names of the protocols.
pub const AUTH_PROTOCOLS: &[(&str, AuthProtocol)] = &[
    ("md5", AuthProtocol::Md5),
    ("sha1", AuthProtocol::Sha1),
    ("sha224", AuthProtocol::Sha224),
    ("sha256", AuthProtocol::Sha256),
    ("sha384", AuthProtocol::Sha384),
    ("sha512", AuthProtocol::Sha512),
];
/// Names of the ciphers.
pub const CIPHERS: &[(&str, Cipher)] =
    &[("des", Cipher::Des), ("aes128", Cipher::Aes128), ("aes192", Cipher::Aes192), ("aes256", Cipher::Aes256)];
/// Names of the ways to make a key longer.
pub const KEY_EXTENSIONS: &[(&str, KeyExtension)] = &[("blumenthal", KeyExtension::Blumenthal), ("reeder", KeyExtension::Reeder)];

const VERSIONS: &[(&str, u8)] = &[("1", 1), ("2c", 2), ("3", 3)];

/// Reads the mapping of an agent.
pub(super) fn agent(node: &Node, what: &str, files: Files<'_>, problems: &mut Problems<'_>) -> Option<Agent> {
    let before = problems.count();
    let fields = Fields::read(node, &format!("{what}, snmp"), KEYS, problems)?;
    let endpoint = fields.required("host", "host or host:port, such as 10.0.0.9", problems).and_then(|field| endpoint(&field, problems));
    let version = match fields.optional("version") {
        Some(field) => field.choice(VERSIONS, problems),
        None => Some(2),
    };
    let secrets = match fields.optional("secrets") {
        Some(field) => secrets(&field, files, problems)?,
        None => Secrets::default(),
    };
    let security = version.and_then(|version| security(version, &fields, secrets, problems));
    let mut time = |key, default, low, high| match fields.optional(key) {
        Some(field) => field.duration(Duration::from_millis(low), Duration::from_secs(high), problems),
        None => Some(default),
    };
    let (timeout, deadline) = (time("timeout", SNMP_TIMEOUT, 50, 60), time("deadline", SNMP_DEADLINE, 100, 600));
    let retries = match fields.optional("retries") {
        Some(field) => field.integer(0, 10, "how often a question is asked again", problems).and_then(|n| u32::try_from(n).ok()),
        None => Some(SNMP_RETRIES),
    };
    if problems.count() > before {
        return None;
    }
    Some(Agent { endpoint: endpoint?, security: security?, timeout: timeout?, retries: retries?, deadline: deadline? })
}

fn endpoint(field: &Field<'_>, problems: &mut Problems<'_>) -> Option<String> {
    let expected = "host or host:port, such as 10.0.0.9 or [2001:db8::9]:1161";
    let text = field.text(expected, problems)?;
    let Some((host, port)) = split_endpoint(text, false) else {
        field.wrong(expected, problems);
        return None;
    };
    let port = port.unwrap_or(PORT);
    Some(if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") })
}

/// What is in a file of secrets.
#[derive(Debug, Default)]
struct Secrets {
    community: Option<Secret>,
    auth: Option<Secret>,
    privacy: Option<Secret>,
}

/// `{ community, auth, priv }`, each as far as it is needed.
fn secrets(field: &Field<'_>, files: Files<'_>, problems: &mut Problems<'_>) -> Option<Secrets> {
    let file = path(field, problems)?;
    let found = match files(&file, MAX_SECRETS_BYTES) {
        Ok(bytes) => parse_secrets(&file, &bytes),
        Err(problem) => Err(vec![problem]),
    };
    match found {
        Ok(secrets) => Some(secrets),
        Err(own) => {
            own.into_iter().for_each(|problem| problems.push(problem));
            None
        }
    }
}

fn parse_secrets(file: &Path, bytes: &[u8]) -> Result<Secrets, Vec<Problem>> {
    let node = yaml::parse(file, bytes, MAX_SECRETS_BYTES).map_err(|problem| vec![problem])?;
    let mut problems = Problems::of(file);
    let mut secrets = Secrets::default();
    if let Some(fields) = Fields::read(&node, "", SECRETS, &mut problems) {
        secrets.community = fields.optional("community").and_then(|field| community(&field, &mut problems));
        secrets.auth = fields.optional("auth").and_then(|field| password(&field, &mut problems));
        secrets.privacy = fields.optional("priv").and_then(|field| password(&field, &mut problems));
    }
    if problems.count() == 0 { Ok(secrets) } else { Err(problems.into_list()) }
}

/// Messages never show what a secret is.
fn community(field: &Field<'_>, problems: &mut Problems<'_>) -> Option<Secret> {
    let text = field.text("the name of a community", problems)?;
    if text.len() > MAX_TEXT_BYTES {
        field.problem(&format!("found {} bytes, expected a community of at most {MAX_TEXT_BYTES}", text.len()), problems);
        return None;
    }
    Some(Secret(text.to_owned()))
}

/// A password of version 3. A shorter one is refused by agents, and an empty one is none.
pub(crate) fn password(field: &Field<'_>, problems: &mut Problems<'_>) -> Option<Secret> {
    let yaml::Tree::Scalar(text) = &field.node.tree else {
        field.problem("found no text, expected a password", problems);
        return None;
    };
    if !(MIN_PASSWORD_BYTES..=MAX_TEXT_BYTES).contains(&text.len()) {
        let count = text.len();
        field.problem(&format!("found {count} bytes, expected a password of {MIN_PASSWORD_BYTES} to {MAX_TEXT_BYTES}"), problems);
        return None;
    }
    Some(Secret(text.clone()))
}

fn security(version: u8, fields: &Fields<'_>, secrets: Secrets, problems: &mut Problems<'_>) -> Option<Security> {
    if version == 3 {
        if let Some(field) = fields.optional("community") {
            field.problem("found with version 3, expected a `user`", problems);
            return None;
        }
        return user(fields, secrets, problems).map(Security::V3);
    }
    if let Some(field) = V3_KEYS.iter().find_map(|key| fields.optional(key)) {
        field.problem("found without `version: 3`, expected only with it", problems);
        return None;
    }
    let community = match (fields.optional("community"), secrets.community) {
        (Some(field), Some(_)) => {
            field.problem("is in the file of secrets too, expected one of them", problems);
            return None;
        }
        (_, Some(community)) => community,
        _ => community(&fields.required("community", "the name of a community, here or in `secrets`", problems)?, problems)?,
    };
    Some(if version == 1 { Security::V1(community) } else { Security::V2c(community) })
}

/// A user with its passwords from the file that `secrets` names.
pub(super) fn user_with_secrets(fields: &Fields<'_>, files: Files<'_>, problems: &mut Problems<'_>) -> Option<User> {
    let secrets = match fields.optional("secrets") {
        Some(field) => secrets(&field, files, problems)?,
        None => Secrets::default(),
    };
    user(fields, secrets, problems)
}

/// The agent that this mapping says, and the file of secrets in it.
pub(crate) fn read_agent(text: &str, files: Files<'_>) -> Result<Agent, Vec<Problem>> {
    let place = Path::new("(command line)");
    let node = yaml::parse(place, text.as_bytes(), MAX_SECRETS_BYTES).map_err(|problem| vec![problem])?;
    let mut problems = Problems::of(place);
    agent(&node, "agent", files, &mut problems).ok_or_else(|| problems.into_list())
}

/// A list of communities.
pub(super) fn communities(field: &Field<'_>, most: usize, problems: &mut Problems<'_>) -> Option<Vec<Secret>> {
    let items = field.list("a list of communities", problems)?;
    if items.len() > most {
        field.problem(&format!("found {} communities, expected at most {most}", items.len()), problems);
        return None;
    }
    items.iter().map(|item| community(&field.item(item), problems)).collect()
}

/// The communities of a file of secrets: `{ communities: [...] }`.
pub(super) fn secret_communities(field: &Field<'_>, most: usize, files: Files<'_>, problems: &mut Problems<'_>) -> Option<Vec<Secret>> {
    let file = path(field, problems)?;
    let read = || -> Result<Vec<Secret>, Vec<Problem>> {
        let bytes = files(&file, MAX_SECRETS_BYTES).map_err(|problem| vec![problem])?;
        let node = yaml::parse(&file, &bytes, MAX_SECRETS_BYTES).map_err(|problem| vec![problem])?;
        let mut problems = Problems::of(&file);
        let found = Fields::read(&node, "", &["communities"], &mut problems).and_then(|fields| {
            let field = fields.required("communities", "a list of communities", &mut problems)?;
            communities(&field, most, &mut problems)
        });
        found.ok_or_else(|| problems.into_list())
    };
    read().map_err(|own| own.into_iter().for_each(|problem| problems.push(problem))).ok()
}

/// The user of version 3 that these keys say.
fn user(fields: &Fields<'_>, secrets: Secrets, problems: &mut Problems<'_>) -> Option<User> {
    let choice = |key| fields.optional(key);
    let (auth, privacy, extension) = (choice("auth"), choice("priv"), choice("key_extension"));
    let field = fields.required("user", "the name of a user", problems)?;
    let name = field.text("the name of a user", problems)?;
    if name.len() > MAX_USER_BYTES {
        field.wrong(&format!("the name of a user of at most {MAX_USER_BYTES} bytes"), problems);
        return None;
    }
    if let (None, Some(field)) = (&auth, &privacy) {
        field.problem("found without `auth`, expected only with it", problems);
        return None;
    }
    let missing = "has no password: expected it in the file of `secrets`";
    let auth = match (auth, secrets.auth) {
        (Some(field), Some(password)) => Some((field.choice(AUTH_PROTOCOLS, problems)?, password)),
        (Some(field), None) => {
            field.problem(missing, problems);
            return None;
        }
        (None, _) => None,
    };
    let privacy = match (privacy, secrets.privacy) {
        (Some(field), Some(password)) => Some((field.choice(CIPHERS, problems)?, password)),
        (Some(field), None) => {
            field.problem(missing, problems);
            return None;
        }
        (None, _) => None,
    };
    let key_extension = match extension {
        Some(field) => field.choice(KEY_EXTENSIONS, problems)?,
        None => KeyExtension::default(),
    };
    let context = match fields.optional("context") {
        Some(field) => field.text("the name of a context", problems)?.to_owned(),
        None => String::new(),
    };
    Some(User { name: name.to_owned(), auth, privacy, key_extension, context })
}

#[cfg(test)]
mod tests;
