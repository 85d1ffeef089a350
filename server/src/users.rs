//! The users of page and API: the text of their file, what each may, and whose a secret is. Pure.
//!
//! Opens no file (`users/file`) and holds no secret: of a password there is its argon2 hash, of a token or a link its SHA-256,
//! which is enough for 256 random bits. A user stays for ever, disabled if need be, so that a name in the audit log is one person's.

pub mod audit;
pub mod file;
pub mod lockout;
pub mod sessions;

use std::collections::BTreeMap;

use pattoo_wire::{NameError, check_name};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use utoipa::ToSchema;

use crate::broker::accounts::{AccountsError, Proof, affordable, hex, moment, password_proof, same, sha256, unhex};

/// Most users.
pub const MAX_USERS: usize = 512;
/// Most tokens of one user.
pub const MAX_TOKENS_EACH: usize = 32;
/// Largest file, in bytes: all users with all their tokens, of some 300 bytes each, doubled.
pub const MAX_FILE_BYTES: usize = 10 << 20;
/// Longest name of a token, in bytes.
pub const MAX_LABEL_BYTES: usize = 64;
/// How long a link may be used.
pub const LINK_MS: i64 = 24 * 3600 * 1000;
/// What a token begins with, so that people and scanners of source code know it.
pub const TOKEN_PREFIX: &str = "pattoo_";

/// The user that the very first start makes, an admin.
pub const FIRST: &str = "admin";

const FORMAT: &str = "pattoo users 1";

/// What somebody may; each may what those before may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Read everything but users.
    Viewer,
    /// Change what is shared: dashboards, alarms, commands.
    Operator,
    /// Users and the audit log.
    Admin,
}

impl Role {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

/// Something is wrong with users, or with what is wanted of them.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum UsersError {
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
    /// A name that no user can have.
    #[error("user {name:?}: {error}")]
    Name {
        /// It.
        name: String,
        /// Why.
        error: NameError,
    },
    /// A hash that is none.
    #[error("user {0}: found a hash that cannot be read, expected what pattoo-server wrote")]
    Hash(String),
    /// There is one already.
    #[error("there is a user {0}")]
    Exists(String),
    /// No such user.
    #[error("there is no user {0}")]
    Unknown(String),
    /// No such token.
    #[error("there is no token {0} of yours")]
    UnknownToken(String),
    /// As many users as there may be.
    #[error("there are {MAX_USERS} users, no more can be added")]
    Full,
    /// As many tokens as one may have.
    #[error("{0} has {MAX_TOKENS_EACH} tokens, revoke one first")]
    TooManyTokens(String),
    /// A token that could do more than its user, or lasts no time.
    #[error("{0}")]
    Token(String),
    /// Nobody could change users any more.
    #[error("{0} is the last admin who is not disabled; make another one first")]
    LastAdmin(String),
    /// A password that is too easy or cannot be sent.
    #[error("{0}")]
    Password(AccountsError),
    /// The same again.
    #[error("found the password as it was, expected another one")]
    SamePassword,
}

/// A secret in an address, which lets its user in once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// SHA-256 of the secret, hexadecimal.
    sha256: String,
    /// From when on it is of no use.
    #[serde(with = "moment")]
    expires: Option<i64>,
}

/// Somebody. Times are ms since 1970 here and RFC 3339 in the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// What the user logs in as.
    pub name: String,
    /// What the user may.
    pub role: Role,
    /// When it was made.
    #[serde(with = "moment")]
    pub created: Option<i64>,
    /// Hash of the password; none before one was chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub argon2: Option<String>,
    /// Whether somebody else knows the password, so that another one must be chosen before anything else.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub must_change: bool,
    /// Whether the user is let in no more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub disabled: bool,
    /// Counts passwords and resets: sessions of an earlier round have ended.
    #[serde(default)]
    pub round: u64,
    /// Lets in once without a password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<Link>,
}

impl User {
    /// Whether a password has to be chosen before anything else.
    #[must_use]
    pub fn must_choose(&self) -> bool {
        self.must_change || self.argon2.is_none()
    }
}

/// What a program shows in place of a login.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// Names it; the first digits of its hash.
    pub id: String,
    /// Whose it is: it never may more than its user.
    pub user: String,
    /// What it is for, in the user's words.
    pub label: String,
    /// The most that it may.
    pub role: Role,
    /// SHA-256 of the whole token, hexadecimal.
    sha256: String,
    /// When it was made.
    #[serde(with = "moment")]
    pub created: Option<i64>,
    /// From when on it is of no use; none: never.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "moment")]
    pub expires: Option<i64>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    format: String,
    users: Vec<User>,
    tokens: Vec<Token>,
}

/// All users and their tokens.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Users {
    users: BTreeMap<String, User>,
    /// By hash, so that a request finds its own without a search.
    tokens: BTreeMap<[u8; 32], Token>,
}

impl Users {
    /// Reads the file's text; nothing of it is taken if any of it is wrong.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn parse(text: &str) -> Result<Self, UsersError> {
        if text.len() > MAX_FILE_BYTES {
            return Err(UsersError::TooLarge(text.len()));
        }
        let document: Document = serde_json::from_str(text).map_err(|e| {
            let said = e.to_string();
            let what = said.split(" at line ").next().unwrap_or_default().to_owned();
            UsersError::Text { line: e.line(), column: e.column(), what }
        })?;
        if document.format != FORMAT {
            return Err(UsersError::Format(document.format));
        }
        let mut users = Self::default();
        for user in document.users {
            let hashes = user.argon2.as_deref().is_none_or(affordable) && user.link.as_ref().is_none_or(|l| unhex(&l.sha256).is_some());
            if !hashes {
                return Err(UsersError::Hash(user.name));
            }
            users.insert(user)?;
        }
        for token in document.tokens {
            let hash = unhex(&token.sha256).ok_or_else(|| UsersError::Hash(token.user.clone()))?;
            users.get(&token.user)?;
            users.tokens.insert(hash, token);
        }
        Ok(users)
    }

    /// The file's text.
    #[must_use]
    pub fn text(&self) -> String {
        let (users, tokens) = (self.users.values().cloned().collect(), self.tokens.values().cloned().collect());
        // Strings and numbers only: it cannot fail.
        serde_json::to_string_pretty(&Document { format: FORMAT.into(), users, tokens }).unwrap_or_default() + "\n"
    }

    fn insert(&mut self, user: User) -> Result<(), UsersError> {
        check_name(&user.name).map_err(|error| UsersError::Name { name: user.name.clone(), error })?;
        if self.users.contains_key(&user.name) {
            return Err(UsersError::Exists(user.name));
        }
        if self.users.len() >= MAX_USERS {
            return Err(UsersError::Full);
        }
        self.users.insert(user.name.clone(), user);
        Ok(())
    }

    /// Adds somebody who has no password yet.
    ///
    /// # Errors
    /// There is one, or no room.
    pub fn add(&mut self, name: &str, role: Role, now_ms: i64) -> Result<(), UsersError> {
        let created = Some(now_ms);
        self.insert(User { name: name.into(), role, created, argon2: None, must_change: false, disabled: false, round: 0, link: None })
    }

    /// Sets a password; links end. `must_change` where somebody else knows it.
    ///
    /// # Errors
    /// It is no good one, or there is no such user.
    pub fn set_password(&mut self, name: &str, password: &str, salt: &[u8; 16], must_change: bool) -> Result<(), UsersError> {
        let Proof::Password { argon2 } = password_proof(password, salt).map_err(UsersError::Password)? else {
            return Err(UsersError::Hash(name.into()));
        };
        let user = self.find(name)?;
        (user.argon2, user.must_change, user.link) = (Some(argon2), must_change, None);
        user.round += 1;
        Ok(())
    }

    /// Lets the user in once by the secret of this hash. With `reset`, the password ends and another one is chosen then.
    ///
    /// # Errors
    /// There is no such user.
    pub fn set_link(&mut self, name: &str, secret: &str, reset: bool, now_ms: i64) -> Result<i64, UsersError> {
        let expires = now_ms + LINK_MS;
        let user = self.find(name)?;
        user.link = Some(Link { sha256: hex(&sha256(secret.as_bytes())), expires: Some(expires) });
        // Who came by the link before must not go on beside who comes by this one.
        if reset || user.argon2.is_none() {
            user.argon2 = None;
            user.round += 1;
        }
        Ok(expires)
    }

    /// Whose link that is; it is used up by that.
    pub fn use_link(&mut self, secret: &str, now_ms: i64) -> Option<User> {
        let hash = sha256(secret.as_bytes());
        let valid = |user: &&mut User| {
            let link = user.link.as_ref().filter(|link| link.expires.is_some_and(|expires| now_ms < expires));
            !user.disabled && link.and_then(|link| unhex(&link.sha256)).is_some_and(|known| same(&known, &hash))
        };
        let user = self.users.values_mut().find(valid)?;
        user.link = None;
        Some(user.clone())
    }

    /// Changes what somebody may, or whether at all.
    ///
    /// # Errors
    /// There is no such user, or no admin would be left.
    pub fn set(&mut self, name: &str, role: Option<Role>, disabled: Option<bool>) -> Result<(), UsersError> {
        let now = self.get(name)?;
        let (role, disabled) = (role.unwrap_or(now.role), disabled.unwrap_or(now.disabled));
        let rules = |user: &User| user.role == Role::Admin && !user.disabled;
        let others = self.users.values().any(|user| user.name != name && rules(user));
        if rules(now) && !others && (role != Role::Admin || disabled) {
            return Err(UsersError::LastAdmin(name.into()));
        }
        let user = self.find(name)?;
        (user.role, user.disabled) = (role, disabled);
        if disabled {
            user.link = None;
        }
        Ok(())
    }

    /// Adds a token; gives its id.
    ///
    /// # Errors
    /// It could do more than its user, is never of use, or there are too many.
    pub fn add_token(
        &mut self,
        user: &str,
        (label, role): (&str, Role),
        secret: &str,
        expires: Option<i64>,
        now_ms: i64,
    ) -> Result<Token, UsersError> {
        let owner = self.get(user)?;
        if role > owner.role {
            return Err(UsersError::Token(format!(
                "found the role {}, expected at most the user's own, {}",
                role.name(),
                owner.role.name()
            )));
        }
        if label.trim().is_empty() || label.len() > MAX_LABEL_BYTES || label.chars().any(char::is_control) {
            return Err(UsersError::Token(format!("found a name of {} bytes, expected 1 to {MAX_LABEL_BYTES} on one line", label.len())));
        }
        if expires.is_some_and(|expires| expires <= now_ms) {
            return Err(UsersError::Token("found an end that has passed, expected one to come".into()));
        }
        if self.tokens_of(user).count() >= MAX_TOKENS_EACH {
            return Err(UsersError::TooManyTokens(user.into()));
        }
        let hash = sha256(secret.as_bytes());
        let digits = hex(&hash);
        let id = digits.get(..12).unwrap_or_default().to_owned();
        let token = Token { id, user: user.into(), label: label.trim().into(), role, sha256: digits, created: Some(now_ms), expires };
        self.tokens.insert(hash, token.clone());
        Ok(token)
    }

    /// Ends a token; `of` is its user, or none where it may be anybody's.
    ///
    /// # Errors
    /// There is none.
    pub fn revoke_token(&mut self, id: &str, of: Option<&str>) -> Result<Token, UsersError> {
        let found = self.tokens.iter().find(|(_, token)| token.id == id && of.is_none_or(|of| of == token.user)).map(|(hash, _)| *hash);
        found.and_then(|hash| self.tokens.remove(&hash)).ok_or_else(|| UsersError::UnknownToken(id.into()))
    }

    /// Whose token that is, and what it may now: never more than its user may.
    #[must_use]
    pub fn by_token(&self, secret: &str, now_ms: i64) -> Option<(&User, &Token, Role)> {
        // Found by its hash: the time that takes tells nothing of the token.
        let token = self.tokens.get(&sha256(secret.as_bytes()))?;
        let user = self.users.get(&token.user).filter(|user| !user.disabled)?;
        token.expires.is_none_or(|expires| now_ms < expires).then(|| (user, token, token.role.min(user.role)))
    }

    /// A token by its id.
    #[must_use]
    pub fn token(&self, id: &str) -> Option<&Token> {
        self.tokens.values().find(|token| token.id == id)
    }

    /// One of them.
    ///
    /// # Errors
    /// There is none.
    pub fn get(&self, name: &str) -> Result<&User, UsersError> {
        self.users.get(name).ok_or_else(|| UsersError::Unknown(name.into()))
    }

    fn find(&mut self, name: &str) -> Result<&mut User, UsersError> {
        self.users.get_mut(name).ok_or_else(|| UsersError::Unknown(name.into()))
    }

    /// All, by name.
    pub fn iter(&self) -> impl Iterator<Item = &User> {
        self.users.values()
    }

    /// Tokens of one user.
    pub fn tokens_of<'a>(&'a self, user: &'a str) -> impl Iterator<Item = &'a Token> {
        self.tokens.values().filter(move |token| token.user == user)
    }

    /// All tokens.
    pub fn tokens(&self) -> impl Iterator<Item = &Token> {
        self.tokens.values()
    }

    /// Whether the server was never set up: there is nobody, or only the first user, who has not chosen a password yet.
    #[must_use]
    pub fn unused(&self) -> bool {
        self.users.values().all(|user| user.name == FIRST && user.argon2.is_none() && !user.disabled)
    }
}

#[cfg(test)]
mod tests;
