//! Shell: `pattoo-server user …` and `token …`: users and API tokens from the command line, beside a running server.
//!
//! Both meet in the file of users. A link or token is told once; the server keeps no secret.

use std::fmt::Write;

use anyhow::{Result, bail};
use serde::Serialize;

use crate::auth;
use crate::broker::accounts::rfc3339;
use crate::broker::tls::host_name;
use crate::clock;
use crate::config::{Config, Identity};
use crate::users::audit::{Audit, Entry};
use crate::users::file::{change, load};
use crate::users::{Role, Token, Users, UsersError};

const DAY_MS: i64 = 24 * 3600 * 1000;

/// How somebody gets in first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entrance {
    /// By a link, to choose a password.
    Link,
    /// By this password; it must be changed unless `keep`.
    Password {
        /// It.
        password: String,
        /// Whether it may stay.
        keep: bool,
    },
}

/// A user, as `user list --json` shows it.
#[derive(Debug, Serialize)]
pub struct Shown {
    name: String,
    role: Role,
    disabled: bool,
    has_password: bool,
    tokens: usize,
}

/// A token, as `token list --json` shows it.
#[derive(Debug, Serialize)]
pub struct ShownToken {
    id: String,
    user: String,
    name: String,
    role: Role,
    expires: Option<i64>,
}

/// Changes the users and puts that on record.
fn changed<T>(config: &Config, what: &str, on: &str, with: impl FnOnce(&mut Users) -> Result<T, UsersError>) -> Result<T> {
    let result = change(&config.data, with);
    let who = format!("uid {}", rustix::process::getuid().as_raw());
    let entry = Entry { time: clock::now_ms(), who, from: "command line".into(), what: what.into(), on: on.into(), done: result.is_ok() };
    // What is not on record must not happen unnoticed, but it has happened by now.
    Audit::new(&config.data).append(entry)?;
    Ok(result?.0)
}

/// Adds a user; gives what to print.
///
/// # Errors
/// There is one, the password is no good one, or the file cannot be written.
pub fn add(config: &Config, name: &str, role: Role, entrance: &Entrance) -> Result<String> {
    let now_ms = clock::now_ms();
    enter(config, name, &format!("{name} as {}", role.name()), "user add", entrance, |users| users.add(name, role, now_ms))
}

/// Gives a user another password, or a link to choose one; all its sessions end.
///
/// # Errors
/// There is no such user, or the password is no good one.
pub fn passwd(config: &Config, name: &str, entrance: &Entrance) -> Result<String> {
    enter(config, name, name, "user passwd", entrance, |users| users.get(name).map(|_| ()))
}

fn enter(
    config: &Config,
    name: &str,
    on: &str,
    what: &str,
    entrance: &Entrance,
    first: impl FnOnce(&mut Users) -> Result<(), UsersError>,
) -> Result<String> {
    let (secret, salt) = (auth::secret().map_err(anyhow::Error::msg)?, auth::random().map_err(anyhow::Error::msg)?);
    changed(config, what, on, |users| {
        first(users)?;
        match entrance {
            Entrance::Link => users.set_link(name, &secret, true, clock::now_ms()).map(|_| ()),
            Entrance::Password { password, keep } => users.set_password(name, password, &salt, !keep),
        }
    })?;
    Ok(match entrance {
        Entrance::Link => {
            format!("user {name}: chooses a password by this link (good once, for 24 h):\n{}\n", link(&address(config, 0), &secret))
        }
        Entrance::Password { keep: true, .. } => format!("user {name}: may log in\n"),
        Entrance::Password { keep: false, .. } => format!("user {name}: may log in, and has to choose another password then\n"),
    })
}

/// A link that logs a user in once; the password stays.
///
/// # Errors
/// There is no such user, or it is disabled.
pub fn link_for(config: &Config, name: &str) -> Result<String> {
    if load(&config.data)?.get(name)?.disabled {
        bail!("user {name} is disabled; `user enable {name}` lets it in again");
    }
    let secret = auth::secret().map_err(anyhow::Error::msg)?;
    changed(config, "user link", name, |users| users.set_link(name, &secret, false, clock::now_ms()))?;
    Ok(format!("{}\n", link(&address(config, 0), &secret)))
}

/// Lets a user in no more, or again.
///
/// # Errors
/// There is no such user, or no admin would be left.
pub fn disable(config: &Config, name: &str, disabled: bool) -> Result<String> {
    let (what, told) =
        if disabled { ("user disable", "disabled; its sessions end within a second") } else { ("user enable", "let in again") };
    changed(config, what, name, |users| users.set(name, None, Some(disabled)))?;
    Ok(format!("user {name}: {told}\n"))
}

/// Changes what a user may.
///
/// # Errors
/// There is no such user, or no admin would be left.
pub fn set_role(config: &Config, name: &str, role: Role) -> Result<String> {
    changed(config, "user role", &format!("{name} as {}", role.name()), |users| users.set(name, Some(role), None))?;
    Ok(format!("user {name}: {}\n", role.name()))
}

/// All users, as text or as JSON.
///
/// # Errors
/// The file cannot be read.
pub fn list(config: &Config, json: bool) -> Result<String> {
    let users = load(&config.data)?;
    let shown = users.iter().map(|user| Shown {
        name: user.name.clone(),
        role: user.role,
        disabled: user.disabled,
        has_password: user.argon2.is_some(),
        tokens: users.tokens_of(&user.name).count(),
    });
    let shown: Vec<_> = shown.collect();
    if json {
        return Ok(serde_json::to_string_pretty(&shown)? + "\n");
    }
    if shown.is_empty() {
        return Ok("no users; the server prints a set-up link when it starts, and `pattoo-server user add NAME` makes one\n".into());
    }
    let mut text = String::new();
    for user in shown {
        let state = match (user.disabled, user.has_password) {
            (true, _) => "disabled",
            (false, true) => "may log in",
            (false, false) => "has not chosen a password yet",
        };
        writeln!(text, "{:<24} {:<9} {state}", user.name, user.role.name())?;
    }
    Ok(text)
}

/// Makes a token; prints it once.
///
/// # Errors
/// There is no such user, or it may not have such a token.
pub fn add_token(config: &Config, user: &str, name: &str, role: Role, days: Option<u32>) -> Result<String> {
    let secret = auth::token().map_err(anyhow::Error::msg)?;
    let now_ms = clock::now_ms();
    let expires = days.map(|days| now_ms + i64::from(days) * DAY_MS);
    let on = format!("{name} of {user}");
    changed(config, "token add", &on, |users| users.add_token(user, (name, role), &secret, expires, now_ms))?;
    Ok(format!("{secret}\n"))
}

/// All tokens, as text or as JSON.
///
/// # Errors
/// The file cannot be read.
pub fn list_tokens(config: &Config, json: bool) -> Result<String> {
    let users = load(&config.data)?;
    let shown = |token: &Token| ShownToken {
        id: token.id.clone(),
        user: token.user.clone(),
        name: token.label.clone(),
        role: token.role,
        expires: token.expires,
    };
    let mut shown: Vec<_> = users.tokens().map(shown).collect();
    shown.sort_by(|a, b| (&a.user, &a.name, &a.id).cmp(&(&b.user, &b.name, &b.id)));
    if json {
        return Ok(serde_json::to_string_pretty(&shown)? + "\n");
    }
    let mut text = if shown.is_empty() { "no tokens; `pattoo-server token add USER NAME` makes one\n".to_owned() } else { String::new() };
    for token in shown {
        let until = token.expires.map_or_else(|| "for ever".into(), |ms| format!("until {}", rfc3339(ms)));
        writeln!(text, "{} {:<24} {:<9} {until}  {}", token.id, token.user, token.role.name(), token.name)?;
    }
    Ok(text)
}

/// Ends a token.
///
/// # Errors
/// There is none of this id.
pub fn revoke_token(config: &Config, id: &str) -> Result<String> {
    let token = changed(config, "token revoke", id, |users| users.revoke_token(id, None))?;
    Ok(format!("token {id} ({} of {}): revoked; a running server refuses it within a second\n", token.label, token.user))
}

/// Where people reach the page, as far as the configuration tells. `port` is the real one, where it is known.
#[must_use]
pub fn address(config: &Config, port: u16) -> String {
    let http = &config.http;
    let named = match &http.tls {
        Some(Identity::Own { names }) => names.first().cloned(),
        _ => None,
    };
    let ip = http.listen.ip();
    let host = named.unwrap_or_else(|| match ip {
        ip if ip.is_unspecified() => host_name().unwrap_or_else(|| "localhost".into()),
        std::net::IpAddr::V6(ip) => format!("[{ip}]"),
        ip => ip.to_string(),
    });
    let scheme = if http.tls.is_some() { "https" } else { "http" };
    format!("{scheme}://{host}:{}/", if port == 0 { http.listen.port() } else { port })
}

/// A link that logs in once. The secret stands where browsers do not send it, so that no log of a proxy has it.
#[must_use]
pub fn link(address: &str, secret: &str) -> String {
    format!("{address}#link={secret}")
}
