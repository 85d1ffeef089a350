//! The accounts of gateways: the text of their file, and whether somebody may be who it claims to be. Pure.
//!
//! Opens no file (`accounts/file`) and holds no secret: of a token there is its SHA-256, which is enough for 256 random bits,
//! of a chosen password an argon2 hash, of a certificate its fingerprint. A revoked account stays, so that its name is nobody's.

pub mod file;

use std::time::{Duration, UNIX_EPOCH};

use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use pattoo_wire::{NameError, check_name};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::certificate::Certificate;
use crate::catalog::MAX_GATEWAYS;

/// Most accounts: as many as the server takes gateways.
pub const MAX_ACCOUNTS: usize = MAX_GATEWAYS;
/// Largest accounts file, in bytes: 1024 accounts of some 300 bytes, doubled.
pub const MAX_FILE_BYTES: usize = 1 << 20;
/// Shortest and longest chosen password, in bytes.
pub const PASSWORD_BYTES: (usize, usize) = (12, 256);
/// Random bytes of a token.
pub const TOKEN_BYTES: usize = 32;
/// argon2id as OWASP asks for: memory in KiB, passes, lanes.
const ARGON2: (u32, u32, u32) = (19 * 1024, 2, 1);

const FORMAT: &str = "pattoo accounts 1";

/// Something is wrong with the accounts.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum AccountsError {
    /// Not the text that this program writes.
    #[error("line {line}, column {column}: {what}")]
    Text {
        /// Where.
        line: usize,
        /// Where in the line.
        column: usize,
        /// What.
        what: String,
    },
    /// Another program's or a later version's.
    #[error("found format {0:?}, expected {FORMAT:?}")]
    Format(String),
    /// Too large.
    #[error("found {0} bytes, expected at most {MAX_FILE_BYTES}")]
    TooLarge(usize),
    /// A name that no gateway can have.
    #[error("gateway {name:?}: {error}")]
    Name {
        /// It.
        name: String,
        /// Why.
        error: NameError,
    },
    /// A hash that is none.
    #[error("gateway {0}: found a hash that cannot be read, expected what `pattoo-server gateway add` wrote")]
    Hash(String),
    /// Two of one name, or there is one already.
    #[error(
        "gateway {0} has an account; `gateway revoke {0}` ends it, `gateway add {0} --replace` gives it a new secret and ends the old one"
    )]
    Exists(String),
    /// No such account.
    #[error("no gateway {0} has an account; `gateway list` shows those there are")]
    Unknown(String),
    /// As many as there may be.
    #[error("there are {MAX_ACCOUNTS} accounts, no more can be added")]
    Full,
    /// A password that is too easy or cannot be sent.
    #[error("found a password of {bytes} bytes, expected {} to {} on one line without control characters", PASSWORD_BYTES.0, PASSWORD_BYTES.1)]
    Password {
        /// Its length.
        bytes: usize,
    },
}

/// How a gateway shows that it is itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Proof {
    /// A random token.
    Token {
        /// SHA-256 of the token as it is sent, hexadecimal.
        sha256: String,
    },
    /// A chosen password.
    Password {
        /// Hash with its parameters and salt (PHC string).
        argon2: String,
    },
    /// A client certificate whose common name is the gateway's.
    Certificate {
        /// SHA-256 of the certificate, hexadecimal; absent: any that `client_ca` signed. One of our own must be this one, or
        /// one that was replaced would be good again.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sha256: Option<String>,
        /// When it expires, UTC; absent where it is not known.
        #[serde(default, skip_serializing_if = "Option::is_none", with = "moment")]
        expires: Option<i64>,
    },
}

impl Proof {
    /// Its kind, in a word.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Token { .. } => "token",
            Self::Password { .. } => "password",
            Self::Certificate { .. } => "certificate",
        }
    }

    /// When it expires, ms since 1970, if it does.
    #[must_use]
    pub fn expires_ms(&self) -> Option<i64> {
        match self {
            Self::Certificate { expires, .. } => *expires,
            _ => None,
        }
    }
}

/// The account of one gateway. Times are ms since 1970 here and RFC 3339 in the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    /// Name of the gateway.
    pub name: String,
    /// When it was made.
    #[serde(with = "moment")]
    pub created: Option<i64>,
    /// When it was revoked; absent while it is good.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "moment")]
    pub revoked: Option<i64>,
    /// How it shows that it is itself.
    pub proof: Proof,
    /// Gateways that it may send commands to, and it is none itself then; empty for a gateway.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub commands: Vec<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    format: String,
    accounts: Vec<Account>,
}

/// All accounts, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Accounts(Vec<Account>);

/// What somebody brings to be admitted.
#[derive(Debug, Clone, Copy, Default)]
pub struct Claim<'a> {
    /// User name of CONNECT.
    pub user: Option<&'a str>,
    /// Password of CONNECT.
    pub password: Option<&'a [u8]>,
    /// Certificate that TLS has verified.
    pub certificate: Option<&'a Certificate>,
}

/// What becomes of a claim.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// It is this one.
    Is(&'a Account),
    /// It is this one if its password has this hash; that takes its time, see [`password_is`].
    IfPassword(&'a Account, &'a str),
    /// Nothing was claimed.
    Nobody,
    /// No such account, or not with this proof.
    Wrong,
    /// It was this one.
    Revoked(&'a Account),
}

impl Accounts {
    /// Reads the file's text; nothing of it is taken if any of it is wrong.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn parse(text: &str) -> Result<Self, AccountsError> {
        if text.len() > MAX_FILE_BYTES {
            return Err(AccountsError::TooLarge(text.len()));
        }
        let document: Document = serde_json::from_str(text).map_err(|e| {
            let said = e.to_string();
            let what = said.split(" at line ").next().unwrap_or_default().to_owned();
            AccountsError::Text { line: e.line(), column: e.column(), what }
        })?;
        if document.format != FORMAT {
            return Err(AccountsError::Format(document.format));
        }
        let mut accounts = Self::default();
        for account in document.accounts {
            accounts.insert(account)?;
        }
        Ok(accounts)
    }

    /// The file's text.
    #[must_use]
    pub fn text(&self) -> String {
        let document = Document { format: FORMAT.into(), accounts: self.0.clone() };
        // Strings and numbers only: it cannot fail.
        serde_json::to_string_pretty(&document).unwrap_or_default() + "\n"
    }

    /// Adds one; a revoked one of the same name must have been removed before.
    ///
    /// # Errors
    /// It cannot be one, or there is no room.
    pub fn insert(&mut self, account: Account) -> Result<(), AccountsError> {
        let name = account.name.clone();
        for name in account.commands.iter().chain([&name]) {
            check_name(name).map_err(|error| AccountsError::Name { name: name.clone(), error })?;
        }
        let readable = match &account.proof {
            Proof::Token { sha256 } | Proof::Certificate { sha256: Some(sha256), .. } => unhex(sha256).is_some(),
            Proof::Password { argon2 } => affordable(argon2),
            Proof::Certificate { sha256: None, .. } => true,
        };
        if !readable {
            return Err(AccountsError::Hash(name));
        }
        match self.0.binary_search_by(|other| other.name.cmp(&name)) {
            Ok(_) => Err(AccountsError::Exists(name)),
            Err(_) if self.0.len() >= MAX_ACCOUNTS => Err(AccountsError::Full),
            Err(place) => {
                self.0.insert(place, account);
                Ok(())
            }
        }
    }

    /// Takes one out, whatever its state.
    pub fn remove(&mut self, name: &str) -> Option<Account> {
        let place = self.0.iter().position(|account| account.name == name)?;
        Some(self.0.remove(place))
    }

    /// Ends one; gives whether it was good until now.
    ///
    /// # Errors
    /// There is none.
    pub fn revoke(&mut self, name: &str, now_ms: i64) -> Result<bool, AccountsError> {
        let account = self.0.iter_mut().find(|account| account.name == name).ok_or_else(|| AccountsError::Unknown(name.to_owned()))?;
        let good = account.revoked.is_none();
        account.revoked = account.revoked.or(Some(now_ms));
        Ok(good)
    }

    /// One of them.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Account> {
        self.0.binary_search_by(|account| account.name.as_str().cmp(name)).ok().and_then(|place| self.0.get(place))
    }

    /// Whether the name belongs to an account, revoked or not.
    #[must_use]
    pub fn reserved(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// All, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Account> {
        self.0.iter()
    }

    /// Who that is.
    #[must_use]
    pub fn judge<'a>(&'a self, claim: Claim<'_>) -> Verdict<'a> {
        // With a certificate, its name counts; a user name may be absent but not another one.
        let by_name = claim.user.or(claim.certificate.map(|certificate| certificate.name.as_str()));
        let Some(name) = by_name else {
            return if claim.password.is_some() { Verdict::Wrong } else { Verdict::Nobody };
        };
        let Some(account) = self.get(name) else { return Verdict::Wrong };
        let proven = match (&account.proof, claim.password, claim.certificate) {
            (Proof::Token { sha256: hash }, Some(token), _) => same(&sha256(token), &unhex(hash).unwrap_or_default()),
            (Proof::Password { argon2 }, Some(_), _) if account.revoked.is_none() => return Verdict::IfPassword(account, argon2),
            (Proof::Certificate { sha256: hash, .. }, _, Some(shown)) => {
                let meant = match hash {
                    Some(hash) => unhex(hash).is_some_and(|hash| same(&hash, &shown.sha256)),
                    None => !shown.own,
                };
                shown.name == account.name && meant
            }
            _ => false,
        };
        match (proven, account.revoked) {
            (true, None) => Verdict::Is(account),
            (true, Some(_)) => Verdict::Revoked(account),
            // A chosen password of a revoked account is not worth the work.
            (false, Some(_)) if matches!(account.proof, Proof::Password { .. }) => Verdict::Revoked(account),
            (false, _) => Verdict::Wrong,
        }
    }

    /// Whether one who was admitted by this account, as it was then, still is: with the same proof and the same rights.
    #[must_use]
    pub fn still(&self, then: &Account, now_ms: i64) -> bool {
        let valid = |account: &&Account| account.proof.expires_ms().is_none_or(|expires| now_ms < expires);
        self.get(&then.name)
            .filter(valid)
            .is_some_and(|now| now.revoked.is_none() && now.proof == then.proof && now.commands == then.commands)
    }
}

/// Whether a password has this hash. Slow on purpose: tens of ms and 19 MiB.
#[must_use]
pub fn password_is(argon2: &str, password: &[u8]) -> bool {
    PasswordHash::new(argon2).is_ok_and(|hash| hasher().is_some_and(|hasher| hasher.verify_password(password, &hash).is_ok()))
}

/// Whether a hash can be checked at the cost that is meant: it names its parameters itself, and could ask for any amount.
pub(crate) fn affordable(argon2: &str) -> bool {
    let params = PasswordHash::new(argon2).ok().and_then(|hash| Params::try_from(&hash).ok());
    let (memory_kib, passes, lanes) = ARGON2;
    params.is_some_and(|params| params.m_cost() <= memory_kib && params.t_cost() <= passes && params.p_cost() <= lanes)
}

/// The hash of a chosen password, with a salt that the caller took from the system.
///
/// # Errors
/// Too short, too long, or not one line.
pub fn password_proof(password: &str, salt: &[u8; 16]) -> Result<Proof, AccountsError> {
    let refused = AccountsError::Password { bytes: password.len() };
    let (least, most) = PASSWORD_BYTES;
    if !(least..=most).contains(&password.len()) || password.chars().any(char::is_control) {
        return Err(refused);
    }
    let hashed =
        SaltString::encode_b64(salt).ok().and_then(|salt| Some(hasher()?.hash_password(password.as_bytes(), &salt).ok()?.to_string()));
    hashed.map(|argon2| Proof::Password { argon2 }).ok_or(refused)
}

/// The proof of a token.
#[must_use]
pub fn token_proof(token: &str) -> Proof {
    Proof::Token { sha256: hex(&sha256(token.as_bytes())) }
}

/// SHA-256.
#[must_use]
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// Bytes as lower-case hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Compares in a time that does not tell where they differ.
#[must_use]
pub fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}

/// UTC as in the file.
#[must_use]
pub fn rfc3339(ms: i64) -> String {
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_millis(u64::try_from(ms).unwrap_or(0))).to_string()
}

pub(crate) fn unhex(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    let mut bytes = [0; 32];
    if digits.len() != 64 {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

fn hasher() -> Option<Argon2<'static>> {
    let (memory_kib, passes, lanes) = ARGON2;
    Some(Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(memory_kib, passes, lanes, None).ok()?))
}

/// A time in the file: RFC 3339, UTC.
pub(crate) mod moment {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(ms: &Option<i64>, serializer: S) -> Result<S::Ok, S::Error> {
        match ms {
            Some(ms) => serializer.serialize_str(&super::rfc3339(*ms)),
            None => serializer.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
        let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
        let wrong = || D::Error::custom(format!("found {text:?}, expected a time like 2026-01-31T12:00:00Z"));
        let time = humantime::parse_rfc3339(&text).map_err(|_| wrong())?;
        let since = time.duration_since(super::UNIX_EPOCH).map_err(|_| wrong())?;
        i64::try_from(since.as_millis()).map(Some).map_err(|_| wrong())
    }
}

#[cfg(test)]
mod tests;
