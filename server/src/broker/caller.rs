//! Shell: one connection as the broker's library asks about it: who is it, may it do that?
//!
//! Each connection has its own, so that nothing a client says decides whom it is taken for: address, door and certificate
//! are what the front saw. The rules are in `access` and `accounts`.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Instant;

use mqtt5::broker::auth::{AuthProvider, AuthResult};
use mqtt5::broker::{BrokerEventHandler, ClientPublishEvent, PublishAction};
use mqtt5::packet::connect::ConnectPacket;
use mqtt5::packet::publish::PublishPacket;
use mqtt5::protocol::v5::reason_codes::ReasonCode;
use tokio::sync::watch;

use super::access::{Who, client_id, may_be_called, may_publish, may_subscribe, shown};
use super::accounts::{Account, Claim, Verdict, password_is};
use super::certificate::Certificate;
use super::front::Front;
use super::limits::{Doors, FAILURES_WITHIN, Full, Source, WRONG_ANSWER_AFTER};
use super::quiet::Reason;
use super::register::{Party, Register, Registered, hold};

/// The protocol version that tells a client what was refused: 5. Version 3.1.1 acknowledges what was thrown away.
const MQTT_5: u8 = 5;

/// Where a connection came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Door {
    /// Without TLS, from this machine.
    Plain,
    /// With TLS, and perhaps a certificate.
    Tls(Option<Certificate>),
}

/// A place at a door, given back when it is dropped.
pub(super) struct Place {
    doors: Arc<Mutex<Doors>>,
    source: Source,
    admitted: bool,
}

impl Place {
    /// Takes one.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn take(doors: &Arc<Mutex<Doors>>, source: Source) -> Result<Self, Full> {
        hold(doors).knock(source, Instant::now())?;
        Ok(Self { doors: doors.clone(), source, admitted: false })
    }

    fn admit(&mut self) -> Result<(), Full> {
        hold(&self.doors).admit(self.source)?;
        self.admitted = true;
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut doors = hold(&self.doors);
        if self.admitted {
            doors.leave();
        } else {
            doors.turn_away(self.source);
        }
    }
}

/// Whom it was admitted as, and for how long that is known.
struct Admitted {
    who: Who,
    client_id: String,
    _registered: Registered,
}

/// One connection.
pub(super) struct Caller {
    pub(super) register: Arc<Register>,
    pub(super) peer: SocketAddr,
    pub(super) door: Door,
    place: Mutex<Place>,
    admitted: OnceLock<Admitted>,
    /// True once it is admitted.
    pub(super) inside: watch::Sender<bool>,
    /// Why it is to end.
    pub(super) end: watch::Sender<Option<Reason>>,
    /// Whether a refusal at CONNECT was told already.
    told: OnceLock<()>,
}

/// A refusal at CONNECT.
struct Refused {
    reason: Reason,
    code: ReasonCode,
    detail: String,
}

fn refused<T>(reason: Reason, code: ReasonCode, detail: impl Into<String>) -> Result<T, Refused> {
    Err(Refused { reason, code, detail: detail.into() })
}

type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

impl Caller {
    pub(super) fn new(front: &Front, peer: SocketAddr, door: Door, place: Place) -> Arc<Self> {
        Arc::new(Self {
            register: front.register.clone(),
            peer,
            door,
            place: Mutex::new(place),
            admitted: OnceLock::new(),
            inside: watch::Sender::new(false),
            end: watch::Sender::new(None),
            told: OnceLock::new(),
        })
    }

    /// Refuses, unless its CONNECT was refused before: that is the reason, what follows is how it ends.
    pub(super) fn refuse(&self, reason: Reason, detail: impl std::fmt::Display) {
        if self.told.get().is_none() {
            self.register.refuse(reason, self.party(), detail);
        }
    }

    fn party(&self) -> Party<'_> {
        let admitted = self.admitted.get();
        let account = match (admitted.map(|admitted| &admitted.who), &self.door) {
            (Some(Who::Gateway(name) | Who::Commander { name, .. }), _) => Some(name.as_str()),
            (None, Door::Tls(Some(certificate))) => Some(certificate.name.as_str()),
            _ => None,
        };
        Party { peer: self.peer, client_id: admitted.map(|admitted| admitted.client_id.as_str()), account }
    }

    /// Who sends this CONNECT.
    async fn identify(&self, connect: &ConnectPacket) -> Result<(Who, Option<Account>), Refused> {
        let (user, password) = (connect.username.as_deref(), connect.password.as_deref());
        let certificate = match &self.door {
            Door::Tls(certificate) => certificate.as_ref(),
            Door::Plain => None,
        };
        let accounts = self.register.accounts();
        let gateway = |account: &Account| {
            let (name, gateways) = (account.name.clone(), account.commands.clone());
            let who = if gateways.is_empty() { Who::Gateway(name) } else { Who::Commander { name, gateways } };
            Ok((who, Some(account.clone())))
        };
        match accounts.judge(Claim { user, password, certificate }) {
            Verdict::Is(account) => gateway(account),
            Verdict::IfPassword(account, hash) => match self.check(account, hash, password.unwrap_or_default()).await {
                Some(true) => gateway(account),
                Some(false) => self.wrong(Some(&account.name)).await,
                None => refused(
                    Reason::Locked,
                    ReasonCode::BadUsernameOrPassword,
                    format!("too many wrong passwords from there; none is looked at for {FAILURES_WITHIN:?}"),
                ),
            },
            Verdict::Nobody => match (&self.door, self.peer.ip().to_canonical().is_loopback()) {
                (Door::Plain, true) => Ok((Who::Local, None)),
                _ => refused(Reason::NoAccount, ReasonCode::NotAuthorized, "without an account from this machine only, without TLS"),
            },
            Verdict::Wrong => self.wrong(user.filter(|name| accounts.reserved(name))).await,
            Verdict::Revoked(account) => {
                refused(Reason::Revoked, ReasonCode::NotAuthorized, format!("the account of gateway {} was revoked", account.name))
            }
        }
    }

    /// Whether the password is the account's; nothing while none is looked at.
    async fn check(&self, account: &Account, hash: &str, password: &[u8]) -> Option<bool> {
        if hold(&self.register.failures).locked(self.peer.into(), &account.name, Instant::now()) {
            return None;
        }
        // The register never closes its places.
        let _place = self.register.checks.acquire().await.ok();
        let (hash, password) = (hash.to_owned(), password.to_owned());
        Some(tokio::task::spawn_blocking(move || password_is(&hash, &password)).await.unwrap_or(false))
    }

    async fn wrong<T>(&self, account: Option<&str>) -> Result<T, Refused> {
        // Names without an account share one entry: there is nothing to guess.
        hold(&self.register.failures).failed(self.peer.into(), account.unwrap_or_default(), Instant::now());
        tokio::time::sleep(WRONG_ANSWER_AFTER).await;
        refused(Reason::WrongSecret, ReasonCode::BadUsernameOrPassword, "no such account, or not with this secret")
    }

    /// Whether it may be what this CONNECT asks for, being `who`.
    fn allow(&self, who: &Who, connect: &ConnectPacket) -> Result<(), Refused> {
        let accounts = self.register.accounts();
        let reserved = |name: &str| accounts.reserved(name);
        if let (Who::Gateway(name), true) = (who, connect.protocol_version != MQTT_5) {
            let detail = format!("gateway {name} speaks MQTT 3.1.1, which cannot tell it what was refused; it must speak 5");
            return refused(Reason::Protocol, ReasonCode::UnsupportedProtocolVersion, detail);
        }
        if !may_be_called(who, &connect.client_id, reserved) {
            let ours = match who {
                Who::Gateway(name) => format!("; its account asks for {:?}", client_id(name)),
                Who::Commander { name, .. } => format!("; its account asks for {0:?}, or \"{1}/…\"", client_id(name), client_id(name)),
                _ => "; that one belongs to an account".into(),
            };
            return refused(
                Reason::ClientId,
                ReasonCode::ClientIdentifierNotValid,
                format!("client id {}{ours}", shown(&connect.client_id)),
            );
        }
        let Some(will) = &connect.will else { return Ok(()) };
        if !may_publish(who, &will.topic, reserved) {
            return refused(Reason::Will, ReasonCode::NotAuthorized, format!("last will on {}", shown(&will.topic)));
        }
        if will.retain && !self.retain(&will.topic, will.payload.len()) {
            return refused(Reason::Retained, ReasonCode::QuotaExceeded, "no room for another retained message of that gateway");
        }
        Ok(())
    }

    /// Whether there is room to retain so many bytes under this topic.
    fn retain(&self, topic: &str, bytes: usize) -> bool {
        let gateway = topic.split('/').nth(2).unwrap_or_default();
        hold(&self.register.retained).put(gateway, topic, bytes)
    }

    async fn admit(&self, connect: &ConnectPacket) -> Result<AuthResult, Refused> {
        let (who, account) = self.identify(connect).await?;
        self.allow(&who, connect)?;
        if hold(&self.place).admit().is_err() {
            return refused(Reason::TooManyClients, ReasonCode::QuotaExceeded, "as many clients as there may be");
        }
        let user = match &who {
            Who::Gateway(name) | Who::Commander { name, .. } => Some(name.clone()),
            Who::Local => None,
        };
        let registered = self.register.enter(who.clone(), account, &connect.client_id, self.end.clone());
        let _ = self.admitted.set(Admitted { who, client_id: connect.client_id.clone(), _registered: registered });
        self.inside.send_replace(true);
        Ok(user.map_or_else(AuthResult::success, AuthResult::success_with_user))
    }

    fn may(&self, reason: Reason, what: &str, rule: impl FnOnce(&Who) -> bool) -> bool {
        let allowed = self.admitted.get().is_some_and(|admitted| rule(&admitted.who));
        if !allowed {
            self.register.refuse(reason, self.party(), shown(what));
        }
        allowed
    }
}

/// What the library holds of a caller.
pub(super) struct Access(pub(super) Arc<Caller>);

impl AuthProvider for Access {
    fn authenticate<'a>(&'a self, connect: &'a ConnectPacket, _from: SocketAddr) -> Answer<'a, mqtt5::Result<AuthResult>> {
        Box::pin(async {
            Ok(self.0.admit(connect).await.unwrap_or_else(|refused| {
                let account = connect.username.as_deref().or(self.0.party().account);
                let party = Party { peer: self.0.peer, client_id: Some(&connect.client_id), account };
                self.0.register.refuse(refused.reason, party, refused.detail);
                let _ = self.0.told.set(());
                AuthResult::fail(refused.code)
            }))
        })
    }

    fn authorize_publish<'a>(&'a self, _client: &str, _user: Option<&'a str>, topic: &'a str) -> Answer<'a, bool> {
        let accounts = self.0.register.accounts();
        let allowed = self.0.may(Reason::Publish, topic, |who| may_publish(who, topic, |name| accounts.reserved(name)));
        Box::pin(async move { allowed })
    }

    fn authorize_subscribe<'a>(&'a self, _client: &str, _user: Option<&'a str>, filter: &'a str) -> Answer<'a, bool> {
        let allowed = self.0.may(Reason::Subscribe, filter, |who| may_subscribe(who, filter));
        Box::pin(async move { allowed })
    }
}

impl BrokerEventHandler for Access {
    fn on_client_publish<'a>(&'a self, event: ClientPublishEvent) -> Answer<'a, PublishAction> {
        if !event.retain || self.0.retain(&event.topic, event.payload.len()) {
            return Box::pin(async { PublishAction::Continue });
        }
        self.0.refuse(Reason::Retained, format!("{} is handed on and not retained", shown(&event.topic)));
        let mut publish = PublishPacket::new(&*event.topic, event.payload, event.qos);
        publish.packet_id = event.packet_id;
        Box::pin(async move { PublishAction::Transform(publish) })
    }
}
