//! Who is logged in: sessions by the hash of their random id, with an idle and an absolute end. Pure.
//!
//! A session is as good as its user is: one whose password was changed, or who was disabled, is out at the next look.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::{User, Users};
use crate::broker::accounts::{hex, sha256, unhex};

/// A session that was not used for so long ends, in ms.
pub const IDLE_MS: i64 = 8 * 3600 * 1000;
/// Every session ends after so long, in ms.
pub const ABSOLUTE_MS: i64 = 7 * 24 * 3600 * 1000;
/// Most sessions of one user; another one ends the one that was not used for longest.
pub const MAX_EACH: usize = 16;
/// Most sessions.
pub const MAX_SESSIONS: usize = 4096;

const FORMAT: &str = "pattoo sessions 1";

/// The hash of a session's id.
pub type Key = [u8; 32];

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Session {
    user: String,
    /// Hash of the password's hash and its round: another password or link ends the session.
    proof: String,
    created_ms: i64,
    seen_ms: i64,
}

#[derive(Serialize, Deserialize)]
struct Document {
    format: String,
    sessions: HashMap<String, Session>,
}

/// All sessions.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Sessions(HashMap<Key, Session>);

/// The hash under which a session is known.
#[must_use]
pub fn key(id: &str) -> Key {
    sha256(id.as_bytes())
}

fn proof(user: &User) -> String {
    hex(&sha256(format!("{} {}", user.round, user.argon2.as_deref().unwrap_or_default()).as_bytes()))
}

impl Session {
    fn user<'a>(&self, users: &'a Users, now_ms: i64) -> Option<&'a User> {
        let lives = now_ms < self.created_ms.saturating_add(ABSOLUTE_MS) && now_ms < self.seen_ms.saturating_add(IDLE_MS);
        // One from the future was made before the clock was set back: how old it is nobody knows.
        let known = self.created_ms <= self.seen_ms && self.seen_ms <= now_ms.saturating_add(IDLE_MS);
        users.get(&self.user).ok().filter(|user| lives && known && !user.disabled && proof(user) == self.proof)
    }
}

impl Sessions {
    /// Begins one.
    pub fn open(&mut self, id: &str, user: &User, now_ms: i64) {
        let oldest = |of: Option<&str>, sessions: &HashMap<Key, Session>| {
            sessions.iter().filter(|(_, s)| of.is_none_or(|of| of == s.user)).min_by_key(|(_, s)| s.seen_ms).map(|(key, _)| *key)
        };
        while self.0.values().filter(|session| session.user == user.name).count() >= MAX_EACH {
            oldest(Some(&user.name), &self.0).and_then(|key| self.0.remove(&key));
        }
        while self.0.len() >= MAX_SESSIONS {
            oldest(None, &self.0).and_then(|key| self.0.remove(&key));
        }
        self.0.insert(key(id), Session { user: user.name.clone(), proof: proof(user), created_ms: now_ms, seen_ms: now_ms });
    }

    /// Whose session that is, if it is good; it counts as used now.
    pub fn touch<'a>(&mut self, key: &Key, users: &'a Users, now_ms: i64) -> Option<&'a User> {
        let session = self.0.get_mut(key)?;
        match session.user(users, now_ms) {
            Some(user) => {
                session.seen_ms = session.seen_ms.max(now_ms);
                Some(user)
            }
            None => {
                self.0.remove(key);
                None
            }
        }
    }

    /// Whether it is good, without using it.
    #[must_use]
    pub fn still(&self, key: &Key, users: &Users, now_ms: i64) -> bool {
        self.0.get(key).is_some_and(|session| session.user(users, now_ms).is_some())
    }

    /// Ends one.
    pub fn close(&mut self, key: &Key) -> bool {
        self.0.remove(key).is_some()
    }

    /// Drops those that have ended.
    pub fn sweep(&mut self, users: &Users, now_ms: i64) {
        self.0.retain(|_, session| session.user(users, now_ms).is_some());
    }

    /// How many somebody has.
    #[must_use]
    pub fn count(&self, user: &str) -> usize {
        self.0.values().filter(|session| session.user == user).count()
    }

    /// As text, for a file: a restart of the server logs nobody out.
    #[must_use]
    pub fn text(&self) -> String {
        let sessions = self.0.iter().map(|(key, session)| (hex(key), session.clone())).collect();
        serde_json::to_string(&Document { format: FORMAT.into(), sessions }).unwrap_or_default()
    }

    /// From that text. What is not as written is nobody's session: people log in again.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let document: Document = serde_json::from_str(text).ok()?;
        let sessions: Option<HashMap<Key, Session>> =
            document.sessions.into_iter().map(|(key, session)| Some((unhex(&key)?, session))).collect();
        sessions.filter(|sessions| document.format == FORMAT && sessions.len() <= MAX_SESSIONS).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::users::Role;

    const NOW: i64 = 1_800_000_000_000;

    fn users() -> Users {
        let mut users = Users::default();
        for name in ["ann", "bob"] {
            users.add(name, Role::Viewer, NOW).unwrap();
        }
        users.set_password("ann", "correct horse battery", &[1; 16], false).unwrap();
        users
    }

    #[test]
    fn a_session_ends_when_idle_when_old_and_when_its_user_is_no_longer_as_it_was() {
        type Change = fn(&mut Users);
        let nothing: Change = |_| ();
        for (what, change, steps, expected) in [
            ("used at once", nothing, &[0][..], true),
            ("just within idle", nothing, &[IDLE_MS - 1], true),
            ("idle", nothing, &[IDLE_MS], false),
            ("kept busy", nothing, &[IDLE_MS - 1, 2 * IDLE_MS - 2, 3 * IDLE_MS - 3], true),
            ("clock set far back", nothing, &[-IDLE_MS - 1], false),
            ("disabled", |u| u.set("ann", None, Some(true)).unwrap(), &[1], false),
            ("new password", |u| u.set_password("ann", "another battery horse", &[2; 16], false).unwrap(), &[1], false),
            ("password reset", |u| assert!(u.set_link("ann", "x", true, NOW).is_ok()), &[1], false),
            ("another's link", |u| assert!(u.set_link("bob", "x", true, NOW).is_ok()), &[1], true),
            ("another role", |u| u.set("ann", Some(Role::Operator), None).unwrap(), &[1], true),
            ("somebody else's password", |u| u.set_password("bob", "another battery horse", &[2; 16], false).unwrap(), &[1], true),
        ] {
            let (mut users, mut sessions) = (users(), Sessions::default());
            sessions.open("id", users.get("ann").unwrap(), NOW);
            change(&mut users);
            let good = steps.iter().all(|after| {
                let still = sessions.still(&key("id"), &users, NOW + after);
                let touched = sessions.touch(&key("id"), &users, NOW + after).is_some();
                assert_eq!(still, touched, "{what}");
                touched
            });
            assert_eq!(good, expected, "{what}");
            assert_eq!(sessions.0.len(), usize::from(expected), "{what}: one that has ended is forgotten");
        }
    }

    #[test]
    fn a_new_link_ends_the_session_of_who_came_by_the_last_one() {
        let (mut users, mut sessions) = (users(), Sessions::default());
        sessions.open("id", users.get("bob").unwrap(), NOW);
        assert!(sessions.still(&key("id"), &users, NOW));
        users.set_link("bob", "x", false, NOW).unwrap();
        assert!(!sessions.still(&key("id"), &users, NOW));
    }

    #[test]
    fn use_does_not_keep_a_session_for_ever() {
        let (users, mut sessions) = (users(), Sessions::default());
        sessions.open("id", users.get("ann").unwrap(), NOW);
        let mut now = NOW;
        while sessions.touch(&key("id"), &users, now).is_some() {
            now += IDLE_MS / 2;
        }
        assert_eq!(now - NOW, ABSOLUTE_MS);
        assert!(sessions.touch(&key("other"), &users, NOW).is_none());
    }

    #[test]
    fn the_table_is_bounded_and_kept_without_ids() {
        let (users, mut sessions) = (users(), Sessions::default());
        sessions.open("bobs", users.get("bob").unwrap(), NOW);
        for n in 0..=MAX_EACH {
            sessions.open(&format!("id{n}"), users.get("ann").unwrap(), NOW + i64::try_from(n).unwrap());
        }
        assert_eq!((sessions.count("ann"), sessions.count("bob")), (MAX_EACH, 1));
        assert!(!sessions.still(&key("id0"), &users, NOW) && sessions.still(&key("id1"), &users, NOW), "the oldest went");
        let text = sessions.text();
        assert!(!text.contains("id1") && !text.contains("argon2"), "{text}");
        assert_eq!(Sessions::parse(&text).as_ref(), Some(&sessions));
        assert_eq!(Sessions::parse("{"), None);
        assert_eq!(Sessions::parse(&text.replace(FORMAT, "other")), None);
    }
}
