//! Shell: what all connections share: the accounts as they are now, who is admitted, and what was refused.
//!
//! The accounts file is looked at four times a second, because the command line that revokes is another process; whoever
//! lost its account is ended then. Decides nothing by itself: that is `access`, `accounts` and `limits`.

use std::collections::HashMap;
use std::fmt::Display;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, watch};
use tracing::{error, info, warn};

use super::access::{Who, may_be_called, shown};
use super::accounts::file::{FileError, Stamp, load, stamp};
use super::accounts::{Account, Accounts};
use super::limits::{Failures, MAX_PASSWORD_CHECKS, Retained, Source};
use super::quiet::{Quiet, Reason};
use crate::clock;
use crate::live::Live;

/// How often the accounts file is looked at; a revoked gateway is gone within twice that.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// What all connections share.
pub struct Register {
    /// The data folder with the accounts file; none where there are no accounts at all.
    data: Option<PathBuf>,
    accounts: RwLock<Arc<Accounts>>,
    seen: Mutex<Option<Stamp>>,
    sessions: Mutex<HashMap<u64, Session>>,
    next: AtomicU64,
    quiet: Mutex<Quiet<(Reason, Source, String)>>,
    live: Arc<Live>,
    /// Wrong passwords.
    pub(super) failures: Mutex<Failures>,
    /// What gateways retain.
    pub(super) retained: Mutex<Retained>,
    /// Places to check a password.
    pub(super) checks: Semaphore,
}

/// Somebody who was admitted.
struct Session {
    who: Who,
    account: Option<Account>,
    client_id: String,
    end: watch::Sender<Option<Reason>>,
}

/// Stays in the register until it is dropped.
pub(super) struct Registered {
    register: Arc<Register>,
    id: u64,
}

impl Drop for Registered {
    fn drop(&mut self) {
        hold(&self.register.sessions).remove(&self.id);
        self.register.count();
    }
}

/// Somebody to speak of in a refusal.
#[derive(Debug, Clone, Copy)]
pub(super) struct Party<'a> {
    pub(super) peer: SocketAddr,
    pub(super) client_id: Option<&'a str>,
    /// User name or name of the certificate, as claimed.
    pub(super) account: Option<&'a str>,
}

impl Register {
    /// With the accounts of this data folder.
    ///
    /// # Errors
    /// Their file is not in order: better no broker than one that lets the wrong ones in or the right ones out.
    pub fn open(data: &Path, live: Arc<Live>) -> Result<Arc<Self>, FileError> {
        // Looked at before it is read: a change in between is seen again.
        let seen = stamp(data)?;
        let accounts = load(data)?;
        Ok(Arc::new(Self::new(Some(data.to_owned()), accounts, seen, live)))
    }

    /// Without accounts, for a broker that only this machine reaches.
    #[must_use]
    pub fn without_accounts(live: Arc<Live>) -> Arc<Self> {
        Arc::new(Self::new(None, Accounts::default(), None, live))
    }

    fn new(data: Option<PathBuf>, accounts: Accounts, seen: Option<Stamp>, live: Arc<Live>) -> Self {
        Self {
            data,
            accounts: RwLock::new(Arc::new(accounts)),
            seen: Mutex::new(seen),
            sessions: Mutex::default(),
            next: AtomicU64::default(),
            quiet: Mutex::default(),
            live,
            failures: Mutex::default(),
            retained: Mutex::default(),
            checks: Semaphore::new(MAX_PASSWORD_CHECKS),
        }
    }

    /// The accounts as they are now.
    #[must_use]
    pub fn accounts(&self) -> Arc<Accounts> {
        self.accounts.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Looks after accounts and sessions until it is dropped.
    pub(super) async fn watch(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let this = self.clone();
            // A file system that hangs holds up this task only.
            if let Err(e) = tokio::task::spawn_blocking(move || this.look()).await {
                error!("BUG: looking at the accounts: {e}");
            }
            self.end_the_unwanted(clock::now_ms());
        }
    }

    fn look(&self) {
        let Some(data) = &self.data else { return };
        let now = stamp(data);
        let now = match now {
            Ok(now) if now == *hold(&self.seen) => return,
            Ok(now) => now,
            Err(e) => return self.cannot_read(&e),
        };
        match load(data) {
            Ok(accounts) => {
                let good = accounts.iter().filter(|account| account.revoked.is_none()).count();
                *self.accounts.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(accounts);
                // Whoever reads this may rely on it.
                info!(good, "read the accounts of gateways again");
            }
            // The last good state is the best there is; a revocation must not wait unnoticed.
            Err(e) => self.cannot_read(&e),
        }
        *hold(&self.seen) = now;
    }

    fn cannot_read(&self, error: &FileError) {
        error!("{error}; going on with the accounts as they were, so nothing that was changed since is in force");
    }

    fn end_the_unwanted(&self, now_ms: i64) {
        let accounts = self.accounts();
        for session in hold(&self.sessions).values() {
            let reason = match &session.account {
                Some(then) if !accounts.still(then, now_ms) => Reason::Revoked,
                // Its name has an account now.
                None if !may_be_called(&session.who, &session.client_id, |name| accounts.reserved(name)) => Reason::NoAccount,
                _ => continue,
            };
            session.end.send_replace(Some(reason));
        }
    }

    /// Enters somebody who was admitted; `end` gets the reason when it may stay no longer.
    pub(super) fn enter(
        self: &Arc<Self>,
        who: Who,
        account: Option<Account>,
        client_id: &str,
        end: watch::Sender<Option<Reason>>,
    ) -> Registered {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        hold(&self.sessions).insert(id, Session { who, account, client_id: client_id.to_owned(), end });
        self.count();
        Registered { register: self.clone(), id }
    }

    fn count(&self) {
        let sessions = hold(&self.sessions);
        let gateways = sessions.values().filter(|session| matches!(session.who, Who::Gateway(_))).count();
        let local = sessions.values().filter(|session| session.who == Who::Local).count();
        self.live.set_clients(gateways, local);
    }

    /// Notes how many connections have not said who they are.
    pub(super) fn count_waiting(&self, waiting: usize) {
        self.live.set_waiting(waiting);
    }

    /// Counts a refusal, and tells it unless the same of that account was told from there a moment ago.
    pub(super) fn refuse(&self, reason: Reason, party: Party<'_>, detail: impl Display) {
        // Only names that have an account become labels: others are as many as somebody likes to invent.
        let known = party.account.filter(|name| self.accounts().reserved(name)).unwrap_or_default().to_owned();
        self.live.refused(reason.name(), &known);
        let kind = (reason, party.peer.into(), known);
        let Some(untold) = hold(&self.quiet).tell(&kind, Instant::now()) else { return };
        let client = party.client_id.map(shown).unwrap_or_default();
        let account = party.account.map(shown).unwrap_or_default();
        let more = if untold > 0 { format!("; {untold} more since the last such line") } else { String::new() };
        warn!(reason = reason.name(), client, account, address = %party.peer, "refused: {detail}{more}");
    }
}

/// Locks, whatever happened to another holder.
pub(super) fn hold<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
