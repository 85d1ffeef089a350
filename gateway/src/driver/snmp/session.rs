//! A session with one agent over UDP, thrown away on every error but an answer. Shell. Knows no point and no table.
//!
//! snmp2 has no timeout and no retry, and a session that missed an answer takes it for the next one and fails for ever; so a session lasts for
//! one poll at most, and has a socket of its own. Its buffers are 131 kB: at most [`MAX_SESSIONS`] live at the same time. What a session of
//! version 3 costs most, the keys (1 to 4 ms), is kept apart, with the engine that they are for.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use pattoo_wire::Reason;
use snmp2::v3::{self, AuthErrorKind};
use snmp2::{AsyncSession, Error, Pdu};
use tokio::net::{UdpSocket, lookup_host};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout};

use super::agent::{Agent, Answer, Question};
use super::wire;
use crate::config::snmp::{self as config, AuthProtocol, Cipher, KeyExtension, Security};
use crate::driver::Clock;
use crate::health::Misses;

/// Sessions of all agents at the same time: 8 MB of buffers. Those that are silent hold one for as long as they are waited for.
const MAX_SESSIONS: usize = 64;
static SESSIONS: Semaphore = Semaphore::const_new(MAX_SESSIONS);

/// Largest answer to the question who an agent is. It has about a hundred bytes.
const MAX_PROBE_BYTES: usize = 1_500;

/// What is kept of an agent from poll to poll.
pub(super) struct Keeper {
    agent: config::Agent,
    /// Keys, and the engine that they are for.
    engine: Option<v3::Security>,
    /// What went wrong since the start.
    pub(super) misses: Misses,
}

impl Keeper {
    pub(super) fn new(agent: config::Agent) -> Self {
        Self { agent, engine: None, misses: BTreeMap::new() }
    }

    /// The longest time that one answer is waited for.
    pub(super) fn timeout(&self) -> Duration {
        self.agent.timeout
    }

    /// Begins to talk; waits for its turn where many do.
    pub(super) async fn open<'k>(&'k mut self, clock: &'k Clock) -> Session<'k> {
        // Never closed.
        let permit = SESSIONS.acquire().await.ok();
        let deadline = Instant::now() + self.agent.deadline;
        Session { keeper: self, clock, open: None, deadline, distrusted: false, _permit: permit }
    }

    fn miss(&mut self, what: &'static str) {
        *self.misses.entry(what).or_default() += 1;
    }
}

/// A talk with an agent, as long as one poll.
pub(super) struct Session<'k> {
    keeper: &'k mut Keeper,
    clock: &'k Clock,
    open: Option<AsyncSession>,
    deadline: Instant,
    /// It has not believed us, or we not it, in this talk.
    distrusted: bool,
    _permit: Option<SemaphorePermit<'static>>,
}

/// Why a question has no answer.
enum Failure {
    /// Nobody can be reached there.
    Unreachable,
    /// What came is no answer to this question.
    Stray(&'static str, Reason),
    /// The engine has begun anew: what it says now is known, and the question may be asked again.
    EngineReboot,
    /// The engine is another one.
    EngineChanged,
    /// One does not believe the other.
    Distrust,
}

impl Agent for Session<'_> {
    async fn ask(&mut self, question: &Question) -> Result<Answer, Reason> {
        let mut reason = Reason::Timeout;
        for _ in 0..=self.keeper.agent.retries {
            let left = self.deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                self.keeper.miss("deadline");
                return Err(reason);
            }
            let wait = left.min(self.keeper.agent.timeout);
            // The same session goes on only behind an answer.
            let mut session = self.open.take();
            reason = match timeout(wait, self.try_once(&mut session, question)).await {
                Ok(Ok(answer)) => {
                    self.open = session;
                    return Ok(answer);
                }
                Ok(Err(Failure::EngineReboot)) => {
                    self.keeper.miss("engine reboot");
                    self.keeper.engine = None;
                    Reason::AuthFailure
                }
                Ok(Err(Failure::EngineChanged)) => {
                    self.keeper.miss("another engine");
                    self.keeper.engine = None;
                    Reason::AuthFailure
                }
                Ok(Err(Failure::Distrust)) => {
                    self.keeper.miss("authentication");
                    self.keeper.engine = None;
                    // Asking who it is once more helps against forged messages; a wrong password stays one.
                    if std::mem::replace(&mut self.distrusted, true) {
                        return Err(Reason::AuthFailure);
                    }
                    Reason::AuthFailure
                }
                Ok(Err(Failure::Unreachable)) => {
                    self.keeper.miss("unreachable");
                    Reason::LinkDown
                }
                Ok(Err(Failure::Stray(what, reason))) => {
                    self.keeper.miss(what);
                    reason
                }
                Err(_) => {
                    self.keeper.miss("timeout");
                    Reason::Timeout
                }
            };
        }
        Err(reason)
    }

    fn has_bulk(&self) -> bool {
        !matches!(self.keeper.agent.security, Security::V1(_))
    }

    fn miss(&mut self, what: &'static str) {
        self.keeper.miss(what);
    }
}

impl Session<'_> {
    async fn try_once(&mut self, open: &mut Option<AsyncSession>, question: &Question) -> Result<Answer, Failure> {
        let session = match open {
            Some(session) => session,
            None => open.insert(self.connect().await?),
        };
        let began = (self.clock)();
        match send(session, question).await {
            Ok(answer) => Ok(Answer { at_ms: i64::midpoint(began, (self.clock)()), ..answer }),
            // The session has learned when the engine began; so must the next one.
            Err(Error::AuthUpdated) => {
                if self.keeper.engine.as_ref().is_some_and(|engine| engine.engine_boots() > 0) {
                    self.keeper.engine = None;
                    self.keeper.miss("engine reboot");
                }
                let answer = send(session, question).await.map_err(failure)?;
                Ok(Answer { at_ms: i64::midpoint(began, (self.clock)()), ..answer })
            }
            Err(error) => Err(failure(error)),
        }
    }

    async fn connect(&mut self) -> Result<AsyncSession, Failure> {
        let first = random().cast_signed();
        let endpoint = self.keeper.agent.endpoint.as_str();
        let session = match &self.keeper.agent.security {
            Security::V1(community) => AsyncSession::new_v1(endpoint, community.0.as_bytes(), first).await,
            Security::V2c(community) => AsyncSession::new_v2c(endpoint, community.0.as_bytes(), first).await,
            Security::V3(user) => {
                if self.keeper.engine.is_none() {
                    self.keeper.engine = Some(discover(endpoint, security(user)).await?);
                }
                let Some(engine) = self.keeper.engine.clone() else { return Err(Failure::Unreachable) };
                AsyncSession::new_v3(endpoint, first, engine).await
            }
        };
        session.map_err(|_| Failure::Unreachable)
    }
}

async fn send(session: &mut AsyncSession, question: &Question) -> Result<Answer, Error> {
    let pdu = match question {
        Question::Get(oids) => {
            let oids: Vec<_> = oids.iter().map(wire::to_wire).collect();
            session.get_many(&oids.iter().collect::<Vec<_>>()).await?
        }
        Question::Next(oid) => session.getnext(&wire::to_wire(oid)).await?,
        Question::Bulk { after, repetitions } => {
            let after: Vec<_> = after.iter().map(wire::to_wire).collect();
            session.getbulk(&after.iter().collect::<Vec<_>>(), 0, (*repetitions).into()).await?
        }
    };
    let status = u8::try_from(pdu.error_status).unwrap_or(u8::MAX);
    Ok(Answer { status, index: pdu.error_index, bindings: wire::bindings(pdu.varbinds), at_ms: 0 })
}

fn failure(error: Error) -> Failure {
    match error {
        Error::RequestIdMismatch => Failure::Stray("late reply", Reason::Timeout),
        Error::CommunityMismatch => Failure::Stray("foreign reply", Reason::Malformed),
        Error::AuthUpdated => Failure::EngineReboot,
        Error::AuthFailure(AuthErrorKind::EngineIdMismatch) => Failure::EngineChanged,
        Error::AuthFailure(AuthErrorKind::EngineBootsMismatch | AuthErrorKind::EngineTimeMismatch) => Failure::EngineReboot,
        Error::AuthFailure(_) | Error::Crypto(_) => Failure::Distrust,
        Error::Send | Error::Receive => Failure::Unreachable,
        _ => Failure::Stray("malformed", Reason::Malformed),
    }
}

/// Where request ids begin. Message ids of version 3 are not negative (RFC 3412, 6), and no session lasts for 2^30 questions.
fn random() -> u32 {
    // Without randomness an id is only easier to guess.
    getrandom::u32().unwrap_or_default() >> 2
}

/// What this user shows, of no engine yet.
pub(crate) fn security(user: &config::User) -> v3::Security {
    let (protocol, auth) = user.auth.as_ref().map_or((AuthProtocol::Sha1, ""), |(protocol, password)| (*protocol, password.0.as_str()));
    let level = match (&user.auth, &user.privacy) {
        (None, _) => v3::Auth::NoAuthNoPriv,
        (Some(_), None) => v3::Auth::AuthNoPriv,
        (Some(_), Some((cipher, password))) => v3::Auth::AuthPriv {
            cipher: match cipher {
                Cipher::Des => v3::Cipher::Des,
                Cipher::Aes128 => v3::Cipher::Aes128,
                Cipher::Aes192 => v3::Cipher::Aes192,
                Cipher::Aes256 => v3::Cipher::Aes256,
            },
            privacy_password: password.0.clone().into_bytes(),
        },
    };
    let protocol = match protocol {
        AuthProtocol::Md5 => v3::AuthProtocol::Md5,
        AuthProtocol::Sha1 => v3::AuthProtocol::Sha1,
        AuthProtocol::Sha224 => v3::AuthProtocol::Sha224,
        AuthProtocol::Sha256 => v3::AuthProtocol::Sha256,
        AuthProtocol::Sha384 => v3::AuthProtocol::Sha384,
        AuthProtocol::Sha512 => v3::AuthProtocol::Sha512,
    };
    let extension = match user.key_extension {
        KeyExtension::Blumenthal => v3::KeyExtension::Blumenthal,
        KeyExtension::Reeder => v3::KeyExtension::Reeder,
    };
    let security = v3::Security::new(user.name.as_bytes(), auth.as_bytes()).with_auth_protocol(protocol).with_auth(level);
    security.with_key_extension_method(extension).with_context_name(&user.context)
}

/// Asks which engine an agent is (RFC 3414, 4); a session does too, but keeps the answer to itself.
async fn discover(endpoint: &str, mut security: v3::Security) -> Result<v3::Security, Failure> {
    let mut answer = [0; MAX_PROBE_BYTES];
    let length = async {
        let address = lookup_host(endpoint).await?.next().ok_or(std::io::ErrorKind::NotFound)?;
        let local: SocketAddr = if address.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
        let socket = UdpSocket::bind(local).await?;
        socket.connect(address).await?;
        socket.send(&probe(random())).await?;
        socket.recv(&mut answer).await
    };
    let length = length.await.map_err(|_: std::io::Error| Failure::Unreachable)?;
    let heard = answer.get(..length).unwrap_or_default();
    match Pdu::from_bytes_with_security(heard, Some(&mut security)).map(drop) {
        Err(Error::AuthUpdated) => {}
        Err(error) => return Err(failure(error)),
        Ok(()) => return Err(Failure::Stray("malformed", Reason::Malformed)),
    }
    if security.engine_id().is_empty() { Err(Failure::Stray("malformed", Reason::Malformed)) } else { Ok(security) }
}

/// A get of nothing, from nobody, to an engine without a name: the report that answers it says the name.
fn probe(id: u32) -> Vec<u8> {
    let [a, b, c, d] = id.to_be_bytes();
    #[rustfmt::skip]
    let bytes = [
        0x30, 62, 2, 1, 3,
        // Message id, longest message, flags: a report is wanted; the user-based security model.
        0x30, 17, 2, 4, a, b, c, d, 2, 3, 0, 0xFF, 0xE3, 4, 1, 4, 2, 1, 3,
        // Engine id, boots, time, user, authentication, privacy: none.
        4, 16, 0x30, 14, 4, 0, 2, 1, 0, 2, 1, 0, 4, 0, 4, 0, 4, 0,
        // Context, and a get without objects.
        0x30, 20, 4, 0, 4, 0, 0xA0, 14, 2, 4, a, b, c, d, 2, 1, 0, 2, 1, 0, 0x30, 0,
    ];
    bytes.to_vec()
}
