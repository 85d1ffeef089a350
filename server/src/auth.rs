//! Shell: who asks, and what it may: sessions, tokens, log-ins and their limits, over the users in their file.
//!
//! The file is looked at four times a second, because the command line that disables somebody is another process.
//! Decides nothing by itself: that is `users` and what is below it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tracing::{error, info, warn};

use crate::broker::accounts::file::{FileError, Stamp, read, write_private};
use crate::broker::accounts::{hex, password_is};
use crate::clock;
use crate::config::Network;
use crate::users::audit::{Audit, Entry};
use crate::users::file::{self, UsersFileError};
use crate::users::lockout::{Asker, Lockout, Rates, Source};
use crate::users::sessions::{Key, Sessions, key};
use crate::users::{FIRST, Role, TOKEN_PREFIX, User, Users, UsersError};

/// How often the file of users is looked at; somebody who was disabled is out within twice that.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How often sessions are written where only their last use has changed.
const KEEP_EVERY: Duration = Duration::from_secs(60);
/// Most passwords (slow to check on purpose) that are checked at once.
const MAX_CHECKS: usize = 2;
/// How long a log-in waits for its turn.
const TURN_WITHIN: Duration = Duration::from_secs(10);
/// Largest file of sessions, in bytes.
const MAX_SESSIONS_BYTES: usize = 4 << 20;
/// A hash of nothing that anybody knows: a user that is not there takes as long to check.
const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// What the listener means for those who ask.
#[derive(Debug, Clone, Default)]
pub struct Door {
    /// Whether programs of this machine may read without a login.
    pub anonymous: bool,
    /// Whether it speaks TLS.
    pub secure: bool,
    /// Its port: cookies of two servers on one host must not meet.
    pub port: u16,
    /// Reverse proxies whose word on whom they ask for counts.
    pub proxies: Vec<Network>,
}

/// How somebody shows who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum By {
    /// Not at all.
    Nothing,
    /// By the cookie of a session.
    Session(Key),
    /// By a token of this id.
    Token(String),
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Name of the user; empty without one.
    pub user: String,
    /// What it may at most.
    pub role: Role,
    /// How it shows that.
    pub by: By,
    /// Whether it has to choose a password before anything else.
    pub must_choose: bool,
}

impl Caller {
    /// As the audit log names it.
    #[must_use]
    pub fn shown(&self) -> String {
        match &self.by {
            By::Nothing => "anonymous".into(),
            By::Session(_) => self.user.clone(),
            By::Token(id) => format!("{}/{id}", self.user),
        }
    }
}

/// Why there is no log-in.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// Not that user, or not that password; which of them is not told.
    #[error("wrong user or password")]
    Wrong,
    /// The link was used, has expired, or never was.
    #[error("this link was used already or has expired; ask for another one (on the server: pattoo-server user link NAME)")]
    Link,
    /// Too many wrong ones.
    #[error("too many wrong passwords; try again in {0} s")]
    Wait(u64),
    /// Too many at once.
    #[error("too many log-ins at once; try again")]
    Busy,
    /// Something with the file.
    #[error("{0}")]
    File(#[from] UsersFileError),
    /// A bug.
    #[error("{0}")]
    Internal(String),
}

/// Everything about users, for all requests.
pub struct Auth {
    data: PathBuf,
    users: RwLock<Arc<Users>>,
    seen: Mutex<Option<Stamp>>,
    sessions: Mutex<Sessions>,
    lockout: Mutex<Lockout>,
    rates: Mutex<Rates>,
    checks: Semaphore,
    keeping: tokio::sync::Mutex<()>,
    audit: Audit,
    door: Door,
}

impl Auth {
    /// The users of this data folder.
    ///
    /// # Errors
    /// Their file is not in order: better no server than one that lets the wrong ones in.
    pub fn open(data: &Path, door: Door) -> Result<Arc<Self>, UsersFileError> {
        // Looked at before it is read: a change in between is seen again.
        let seen = file::stamp(data)?;
        let users = file::load(data)?;
        let kept = read(&sessions_file(data), MAX_SESSIONS_BYTES)?;
        let sessions = kept.and_then(|text| Sessions::parse(&text)).unwrap_or_default();
        Ok(Arc::new(Self {
            data: data.to_owned(),
            users: RwLock::new(Arc::new(users)),
            seen: Mutex::new(seen),
            sessions: Mutex::new(sessions),
            lockout: Mutex::default(),
            rates: Mutex::default(),
            checks: Semaphore::new(MAX_CHECKS),
            keeping: tokio::sync::Mutex::default(),
            audit: Audit::new(data),
            door,
        }))
    }

    /// The users as they are now.
    #[must_use]
    pub fn users(&self) -> Arc<Users> {
        self.users.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What the listener means.
    #[must_use]
    pub fn door(&self) -> &Door {
        &self.door
    }

    /// Name of the cookie, for whoever comes over TLS or without it.
    #[must_use]
    pub fn cookie(&self, secure: bool) -> String {
        let prefix = if secure { "__Host-" } else { "" };
        format!("{prefix}pattoo_session_{}", self.door.port)
    }

    /// Who has this token.
    #[must_use]
    pub fn by_token(&self, secret: &str) -> Option<Caller> {
        let users = self.users();
        let (user, token, role) = users.by_token(secret, clock::now_ms())?;
        Some(Caller { user: user.name.clone(), role, by: By::Token(token.id.clone()), must_choose: false })
    }

    /// Whose session has this id.
    #[must_use]
    pub fn by_session(&self, id: &str) -> Option<Caller> {
        let (users, key) = (self.users(), key(id));
        let user = hold(&self.sessions).touch(&key, &users, clock::now_ms())?.clone();
        Some(Caller { must_choose: user.must_choose(), user: user.name, role: user.role, by: By::Session(key) })
    }

    /// Whether somebody who was let in still would be, with the same rights.
    #[must_use]
    pub fn still(&self, caller: &Caller) -> bool {
        let (users, now_ms) = (self.users(), clock::now_ms());
        match &caller.by {
            By::Nothing => self.door.anonymous,
            By::Session(key) => {
                hold(&self.sessions).still(key, &users, now_ms) && users.get(&caller.user).is_ok_and(|user| user.role >= caller.role)
            }
            By::Token(id) => {
                let token = users.token(id).filter(|token| token.expires.is_none_or(|expires| now_ms < expires));
                let user = users.get(&caller.user).ok().filter(|user| !user.disabled);
                token.zip(user).is_some_and(|(token, user)| token.role.min(user.role) >= caller.role)
            }
        }
    }

    /// Whether one more request is within the rate.
    #[must_use]
    pub fn may_ask(&self, asker: &Asker) -> bool {
        hold(&self.rates).take(asker, Instant::now())
    }

    /// Begins a session by a password; gives its id, and whose it is.
    ///
    /// # Errors
    /// Not with this, or not now.
    pub async fn login(&self, name: &str, password: &str, source: Source) -> Result<(String, User), LoginError> {
        let now_ms = clock::now_ms();
        let wait = hold(&self.lockout).begin(name, source, now_ms);
        wait.map_err(|wait_ms| LoginError::Wait(u64::try_from(wait_ms).unwrap_or(0).div_ceil(1000)))?;
        let user = self.users().get(name).ok().filter(|user| !user.disabled).cloned();
        let hash = user.as_ref().and_then(|user| user.argon2.clone()).unwrap_or_else(|| NOBODY.into());
        if !self.check(hash, password).await? {
            return Err(LoginError::Wrong);
        }
        let user = user.ok_or(LoginError::Wrong)?;
        hold(&self.lockout).right(name, source);
        Ok((self.begin(&user).await?, user))
    }

    /// Begins a session by a link, which is used up; gives its id, and whose it is.
    ///
    /// # Errors
    /// Not with this.
    pub async fn login_by_link(&self, secret: &str, source: Source) -> Result<(String, User), LoginError> {
        if !self.may_ask(&Asker::Unknown(source)) {
            return Err(LoginError::Busy);
        }
        // Most are wrong without a look at the disk.
        if self.users().as_ref().clone().use_link(secret, clock::now_ms()).is_none() {
            return Err(LoginError::Link);
        }
        let secret = secret.to_owned();
        let user = self.change(move |users| Ok(users.use_link(&secret, clock::now_ms()))).await?.ok_or(LoginError::Link)?;
        Ok((self.begin(&user).await?, user))
    }

    /// Sets a password; the old one must be told, except by somebody who has none. All sessions of the user end; gives a new one.
    ///
    /// # Errors
    /// Not with this, or not now.
    pub async fn choose(&self, name: &str, old: &str, new: &str, source: Source) -> Result<(String, User), LoginError> {
        let user = self.users().get(name).map_err(UsersFileError::from)?.clone();
        if let Some(hash) = user.argon2 {
            let wait = hold(&self.lockout).begin(name, source, clock::now_ms());
            wait.map_err(|wait_ms| LoginError::Wait(u64::try_from(wait_ms).unwrap_or(0).div_ceil(1000)))?;
            if !self.check(hash, old).await? {
                return Err(LoginError::Wrong);
            }
            hold(&self.lockout).right(name, source);
            if old == new {
                return Err(UsersFileError::from(UsersError::SamePassword).into());
            }
        }
        let salt: [u8; 16] = random().map_err(LoginError::Internal)?;
        let (name, new) = (name.to_owned(), new.to_owned());
        let user = self.change(move |users| users.set_password(&name, &new, &salt, false).and_then(|()| users.get(&name).cloned())).await?;
        Ok((self.begin(&user).await?, user))
    }

    /// Ends a session.
    pub async fn logout(&self, key: &Key) {
        if hold(&self.sessions).close(key) {
            self.keep().await;
        }
    }

    /// Changes the users; all see it when this is back.
    ///
    /// # Errors
    /// It is refused, or cannot be written.
    pub async fn change<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut Users) -> Result<T, UsersError> + Send + 'static,
    ) -> Result<T, LoginError> {
        let data = self.data.clone();
        let changed = tokio::task::spawn_blocking(move || file::change(&data, change)).await;
        let (result, users) = changed.map_err(|e| LoginError::Internal(e.to_string()))??;
        // Two changes at once may be taken over in the wrong order; the look at the file follows and mends that.
        *self.users.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(users);
        Ok(result)
    }

    /// Puts something on record.
    pub async fn record(&self, entry: Entry) {
        let audit = self.audit.clone();
        let written = tokio::task::spawn_blocking(move || audit.append(entry)).await;
        match written {
            Ok(Ok(())) => {}
            Ok(Err(e)) => error!("the audit log was not written: {e}"),
            Err(e) => error!("BUG: writing the audit log: {e}"),
        }
    }

    /// What is on record.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn recorded(&self, before_ms: i64, limit: usize) -> Result<Vec<Entry>, FileError> {
        let audit = self.audit.clone();
        let system = |error| FileError::System { path: self.data.clone(), error };
        tokio::task::spawn_blocking(move || audit.newest(before_ms, limit)).await.map_err(|e| system(std::io::Error::other(e)))?
    }

    /// How many sessions somebody has.
    #[must_use]
    pub fn sessions_of(&self, user: &str) -> usize {
        hold(&self.sessions).count(user)
    }

    /// Where nobody has ever chosen a password: a link for the first admin, which is made where there is none. It replaces
    /// the one of an earlier start.
    ///
    /// # Errors
    /// The file cannot be written.
    pub async fn set_up(&self) -> Result<Option<String>, LoginError> {
        if !self.users().unused() {
            return Ok(None);
        }
        let secret = secret().map_err(LoginError::Internal)?;
        let told = secret.clone();
        let link = self.change(move |users| {
            if !users.unused() {
                return Ok(None);
            }
            let now_ms = clock::now_ms();
            if users.get(FIRST).is_err() {
                users.add(FIRST, Role::Admin, now_ms)?;
            }
            users.set_link(FIRST, &told, false, now_ms)?;
            Ok(Some(told))
        });
        link.await
    }

    /// Looks after users and sessions until it is dropped.
    pub async fn watch(self: Arc<Self>) {
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut keeps = tokio::time::interval(KEEP_EVERY);
        keeps.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = looks.tick() => {
                    let this = self.clone();
                    if let Err(e) = tokio::task::spawn_blocking(move || this.look()).await {
                        error!("BUG: looking at the users: {e}");
                    }
                }
                _ = keeps.tick() => {
                    hold(&self.sessions).sweep(&self.users(), clock::now_ms());
                    self.keep().await;
                }
            }
        }
    }

    fn look(&self) {
        let now = match file::stamp(&self.data) {
            Ok(now) if now == *hold(&self.seen) => return,
            Ok(now) => now,
            Err(e) => return warn!("the users cannot be read: {e}; going on with them as they were"),
        };
        match file::load(&self.data) {
            Ok(users) => *self.users.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(users),
            // The last good state is the best there is; a change must not wait unnoticed.
            Err(e) => warn!("the users cannot be read: {e}; going on with them as they were"),
        }
        *hold(&self.seen) = now;
    }

    /// Begins a session of somebody who has shown who it is; gives its id.
    pub(crate) async fn begin(&self, user: &User) -> Result<String, LoginError> {
        let id = secret().map_err(LoginError::Internal)?;
        hold(&self.sessions).open(&id, user, clock::now_ms());
        self.keep().await;
        info!(user = user.name, "logged in");
        Ok(id)
    }

    /// Writes the sessions, so that a restart logs nobody out.
    async fn keep(&self) {
        // The last to write has the newest.
        let _turn = self.keeping.lock().await;
        let (path, text) = (sessions_file(&self.data), hold(&self.sessions).text());
        match tokio::task::spawn_blocking(move || write_private(&path, text.as_bytes())).await {
            Ok(Ok(())) => {}
            Ok(Err(e)) => warn!("sessions were not written, a restart will end them: {e}"),
            Err(e) => error!("BUG: writing sessions: {e}"),
        }
    }

    async fn check(&self, hash: String, password: &str) -> Result<bool, LoginError> {
        let turn = tokio::time::timeout(TURN_WITHIN, self.checks.acquire()).await;
        let _turn = turn.map_err(|_| LoginError::Busy)?.map_err(|e| LoginError::Internal(e.to_string()))?;
        let password = password.to_owned();
        let checked = tokio::task::spawn_blocking(move || password_is(&hash, password.as_bytes())).await;
        checked.map_err(|e| LoginError::Internal(e.to_string()))
    }
}

fn sessions_file(data: &Path) -> PathBuf {
    data.join("sessions.json")
}

/// A secret of 256 random bits.
///
/// # Errors
/// The system has none.
pub fn secret() -> Result<String, String> {
    Ok(hex(&random::<32>()?))
}

/// A new API token.
///
/// # Errors
/// The system has no random numbers.
pub fn token() -> Result<String, String> {
    Ok(format!("{TOKEN_PREFIX}{}", secret()?))
}

/// Random bytes.
///
/// # Errors
/// The system has none.
pub fn random<const N: usize>() -> Result<[u8; N], String> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|e| format!("no random numbers from the system: {e}"))?;
    Ok(bytes)
}

fn hold<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
