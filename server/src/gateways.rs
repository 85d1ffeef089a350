//! Shell: `pattoo-server gateway add|list|revoke`: makes accounts, and says what the gateway needs to use one.
//!
//! Works beside a running server: both meet in the accounts file. What a gateway needs is told once; the server keeps no secret.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Serialize;

use crate::broker::access::client_id;
use crate::broker::accounts::{Account, Proof, TOKEN_BYTES, file, hex, password_proof, rfc3339, sha256, token_proof};
use crate::broker::tls::{self, Own};
use crate::clock;
use crate::config::{self, Config, Identity};

/// Where the gateway keeps what it is given.
const THERE: &str = "/etc/pattoo";
const DAY_MS: i64 = 24 * 3600 * 1000;
/// A gateway whose certificate ends within this time is shown to need a new one.
const SOON_MS: i64 = 30 * DAY_MS;

/// How a new gateway is to show that it is itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Means {
    /// By a random token.
    Token,
    /// By this password.
    Password(String),
    /// By a certificate that the server's own authority signs, for so many days.
    Certificate {
        /// How long it is good.
        days: u32,
    },
    /// By any certificate of the configured `client_ca` with its name.
    ClientCa,
}

/// What is wanted.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Name of the gateway.
    pub name: String,
    /// How it shows that it is itself.
    pub means: Means,
    /// Name or address under which it reaches the server; a guess where absent.
    pub host: Option<String>,
    /// Folder for the files; printed where absent.
    pub out: Option<PathBuf>,
    /// Whether an account that there is may be replaced.
    pub replace: bool,
    /// Gateways that it may send commands to, and it is none itself then.
    pub commands: Vec<String>,
}

/// What a gateway needs.
#[derive(Debug, Serialize)]
pub struct Given {
    /// Its name.
    pub name: String,
    /// Block for its configuration; of an account that is no gateway, how to connect.
    pub config: String,
    /// Gateways that it may send commands to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub commands: Vec<String>,
    /// SHA-256 of the authority's certificate, to compare.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_sha256: Option<String>,
    /// Files by name, with their content; where they were written instead, without.
    pub files: Vec<GivenFile>,
}

/// A file that a gateway needs.
#[derive(Debug, Serialize)]
pub struct GivenFile {
    /// Its name, in the gateway's folder.
    pub name: String,
    /// Its content.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// Where it was written here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub written: Option<PathBuf>,
}

/// Makes an account, and what the gateway needs to use it.
///
/// # Errors
/// There is one, or the server takes none, or a file cannot be written: then there is no new account.
pub fn add(config: &Config, wanted: &Wanted) -> Result<Given> {
    let config::Broker::Embedded { plain, tls } = &config.broker else {
        bail!("this server uses another broker (`broker: {{ url: … }}`): the account of a gateway is made there");
    };
    let name = wanted.name.as_str();
    let known = load(&config.data)?;
    if known.reserved(name) && !wanted.replace {
        return Err(crate::broker::accounts::AccountsError::Exists(name.to_owned()).into());
    }
    let now_ms = clock::now_ms();
    let own = tls.as_ref().map(|_| Own::open(&config.data)).transpose()?;
    let mut files = Vec::new();
    let proof = match &wanted.means {
        Means::Token => {
            let token = hex(&random::<TOKEN_BYTES>()?);
            files.push(("gateway.token", format!("{name}:{token}\n")));
            token_proof(&token)
        }
        Means::Password(password) => {
            files.push(("gateway.token", format!("{name}:{password}\n")));
            password_proof(password, &random()?)?
        }
        Means::Certificate { days } => {
            let own = own.as_ref().context("a certificate needs a listener with TLS: set `broker: { tls: auto }`")?;
            let expires_ms = now_ms + i64::from(*days) * DAY_MS;
            let made = own.authority.sign_client(name, expires_ms)?;
            files.extend([("gateway.pem", made.pem), ("gateway.key", made.key_pem)]);
            Proof::Certificate { sha256: Some(hex(&sha256(&made.der))), expires: Some(expires_ms) }
        }
        Means::ClientCa => {
            let ca = tls.as_ref().and_then(|tls| tls.client_ca.as_ref());
            ca.context("there is no authority for certificates of gateways: set `broker: { tls: { client_ca: … } }`")?;
            Proof::Certificate { sha256: None, expires: None }
        }
    };
    let identity = tls.as_ref().map(|tls| &tls.identity);
    let ca = own.filter(|_| matches!(identity, Some(Identity::Own { .. }))).map(|own| own.pem);
    let ca_sha256 = ca.as_deref().and_then(tls::fingerprint);
    files.extend(ca.map(|ca| ("ca.pem", ca)));
    let url = match (tls, plain) {
        (Some(tls), _) => format!("mqtts://{}:{}", host(wanted, &tls.identity), port(tls.listen.port())),
        (None, Some(plain)) => format!("mqtt://{}:{}", plain.ip(), port(plain.port())),
        (None, None) => bail!("BUG: a broker that listens nowhere"),
    };
    let block = block(wanted, &url, &files, identity);
    let files = files.into_iter().map(|(name, content)| hand_over(wanted.out.as_deref(), name, content)).collect::<Result<_>>()?;
    file::change(&config.data, |accounts| {
        if wanted.replace {
            accounts.remove(name);
        }
        accounts.insert(Account { name: name.to_owned(), created: Some(now_ms), revoked: None, proof, commands: wanted.commands.clone() })
    })
    .with_context(|| folder_hint(&config.data))?;
    Ok(Given { name: name.to_owned(), config: block, commands: wanted.commands.clone(), ca_sha256, files })
}

/// All accounts.
///
/// # Errors
/// Their file cannot be read.
pub fn list(config: &Config) -> Result<Vec<Listed>> {
    let now_ms = clock::now_ms();
    let listed = |account: &Account| {
        let expires_ms = account.proof.expires_ms();
        let state = match (account.revoked, expires_ms) {
            (Some(_), _) => "revoked",
            (None, Some(expires)) if expires <= now_ms => "expired",
            (None, Some(expires)) if expires - now_ms <= SOON_MS => "expires soon",
            _ => "good",
        };
        Listed {
            name: account.name.clone(),
            by: account.proof.kind(),
            state,
            commands: account.commands.clone(),
            created: account.created.map(rfc3339),
            revoked: account.revoked.map(rfc3339),
            expires: expires_ms.map(rfc3339),
        }
    };
    Ok(load(&config.data)?.iter().map(listed).collect())
}

/// One account, as shown.
#[derive(Debug, Serialize)]
pub struct Listed {
    /// Name of the gateway.
    pub name: String,
    /// How it shows that it is itself.
    pub by: &'static str,
    /// `good`, `expires soon`, `expired` or `revoked`.
    pub state: &'static str,
    /// Gateways that it may send commands to; it is none itself then.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub commands: Vec<String>,
    /// When it was made.
    pub created: Option<String>,
    /// When it was revoked.
    pub revoked: Option<String>,
    /// When its certificate expires, where that is known.
    pub expires: Option<String>,
}

/// Ends an account. Gives whether it was good until now.
///
/// # Errors
/// There is none, or the file cannot be written.
pub fn revoke(config: &Config, name: &str) -> Result<bool> {
    file::change(&config.data, |accounts| accounts.revoke(name, clock::now_ms())).with_context(|| folder_hint(&config.data))
}

impl Given {
    /// What a person reads.
    #[must_use]
    pub fn text(&self) -> String {
        let (what, place) = if self.commands.is_empty() { ("Gateway ", " on the gateway") } else { ("", "") };
        let mut text = format!("{what}{} has an account. What it needs is shown this once; the server keeps no secret of it.\n", self.name);
        let _ = if self.commands.is_empty() {
            write!(text, "\nIn {THERE}/gateway.yaml on the gateway:\n\n{}", self.config)
        } else {
            write!(text, "\nIt may send commands to: {}\n\n{}", self.commands.join(", "), self.config)
        };
        for file in &self.files {
            let about = match (file.name.as_str(), &self.ca_sha256) {
                ("ca.pem", Some(sha256)) => format!(" (SHA-256 {sha256})"),
                ("ca.pem", None) => String::new(),
                _ => " (secret: chmod 600)".into(),
            };
            let _ = match (&file.content, &file.written) {
                (Some(content), _) => write!(text, "\n{THERE}/{}{place}{about}:\n\n{content}", file.name),
                (None, Some(here)) => write!(text, "\n{THERE}/{}{place}{about} is here: {}\n", file.name, here.display()),
                (None, None) => Ok(()),
            };
        }
        text
    }
}

/// The table that `gateway list` prints.
#[must_use]
pub fn table(listed: &[Listed]) -> String {
    let wide = listed.iter().map(|one| one.name.len()).max().unwrap_or_default().max(4);
    let mut text = format!("{:wide$}  {:<11}  {:<12}  {:<20}  EXPIRES\n", "NAME", "BY", "STATE", "CREATED");
    for one in listed {
        let (created, expires) = (one.created.as_deref().unwrap_or("-"), one.expires.as_deref().unwrap_or("-"));
        let commands = if one.commands.is_empty() { String::new() } else { format!("  commands {}", one.commands.join(", ")) };
        let _ = writeln!(text, "{:wide$}  {:<11}  {:<12}  {created:<20}  {expires}{commands}", one.name, one.by, one.state);
    }
    text
}

fn load(data: &Path) -> Result<crate::broker::accounts::Accounts> {
    if !data.is_dir() {
        bail!("{}", folder_hint(data));
    }
    Ok(file::load(data)?)
}

fn folder_hint(data: &Path) -> String {
    format!("data folder {} (start the server once, it makes it; --data, PATTOO_DATA or `data:` name another)", data.display())
}

fn block(wanted: &Wanted, url: &str, files: &[(&str, String)], identity: Option<&Identity>) -> String {
    if !wanted.commands.is_empty() {
        let name = &wanted.name;
        return format!("url: {url}\nuser: {name}\nclient id: {0}, or {0}/ and anything\n", client_id(name));
    }
    let mut block = format!("gateway: {}\nuplink:\n  url: {url}\n", wanted.name);
    let has = |name: &str| files.iter().any(|(file, _)| *file == name);
    for (key, file) in [("credentials", "gateway.token"), ("ca", "ca.pem"), ("certificate", "gateway.pem"), ("key", "gateway.key")] {
        if has(file) || (wanted.means == Means::ClientCa && matches!(key, "certificate" | "key")) {
            let _ = writeln!(block, "  {key}: {THERE}/{file}");
        }
    }
    if let Some(Identity::Files { certificate, .. }) = identity {
        let _ = writeln!(block, "  # ca: … the authority that signed {}, unless the gateway's system trusts it", certificate.display());
    }
    block
}

fn hand_over(out: Option<&Path>, name: &str, content: String) -> Result<GivenFile> {
    let Some(folder) = out else { return Ok(GivenFile { name: name.to_owned(), content: Some(content), written: None }) };
    let here = folder.join(name);
    file::write_private(&here, content.as_bytes())?;
    Ok(GivenFile { name: name.to_owned(), content: None, written: Some(here) })
}

/// What gateways call the server: as told, as its certificate has it first, or as it calls itself.
fn host(wanted: &Wanted, identity: &Identity) -> String {
    let configured = match identity {
        Identity::Own { names } => names.first().cloned(),
        Identity::Files { .. } => None,
    };
    let host = wanted.host.clone().or(configured).or_else(tls::host_name).unwrap_or_else(|| "HOST".into());
    // The colons of an IPv6 address stand in brackets.
    if host.contains(':') { format!("[{host}]") } else { host }
}

fn port(port: u16) -> String {
    if port == 0 { "PORT".into() } else { port.to_string() }
}

fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|e| anyhow::anyhow!("no random numbers from the system: {e}"))?;
    Ok(bytes)
}
