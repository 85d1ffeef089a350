//! Takes messages and says what they are: a notification, a double of one, or nothing that may be listened to; and what is answered. Pure.
//!
//! Closed by default: v1 and v2c need one of the configured communities, v3 a configured user at its very level. The sender of a trap is
//! its own authoritative engine, and its clock must not go backwards; of an inform this one is, and its answers lead the sender to it
//! (RFC 3414, 3.2 and 4). Nothing is believed of a message before its signature is.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::message::{INFORM, Message, Own, Pdu, Scoped, Stat, TRAP, TRAP_V1, V3Message, acknowledged};
use super::notice::Notice;
use super::recent::Recent;
use super::usm::{Moment, User};

/// How far the clocks of two engines may be apart: RFC 3414, 2.2.3.
const WINDOW_S: u32 = 150;
/// An engine that has started so often is broken: RFC 3414, 2.2.2.
const LAST_BOOTS: u32 = i32::MAX as u32;
/// Most engines whose clocks are known; the one that was quiet for longest makes room.
const MAX_ENGINES: usize = 2_048;
/// Longest id of an engine, in bytes: RFC 3411, 5.
const MAX_ENGINE_BYTES: usize = 32;
/// Most notifications of one source in a second; a storm must not take the room of all the others.
const MAX_IN_A_SECOND: u32 = 100;
/// Most sources that are counted for that.
const MAX_SOURCES: usize = 4_096;

const V1: i64 = 0;
const V2C: i64 = 1;

/// Who may be listened to, and who listens.
pub(super) struct Receiver {
    communities: Vec<Vec<u8>>,
    users: Vec<User>,
    engine: Vec<u8>,
    boots: u32,
    started: Instant,
    salt: u64,
    clocks: BTreeMap<Vec<u8>, Clock>,
    stats: BTreeMap<u8, u32>,
    recent: Recent,
    second: Instant,
    sources: BTreeMap<IpAddr, u32>,
}

/// The clock of another engine, as its last message that was believed says it.
struct Clock {
    moment: Moment,
    heard: Instant,
}

/// What became of a message.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Taken {
    /// What it says, if it counts; of a v3 trap with the engine that it comes from.
    pub(super) notice: Option<(Notice, Option<Vec<u8>>)>,
    /// What its sender is answered.
    pub(super) answer: Option<Vec<u8>>,
    /// Why it does not count.
    pub(super) miss: Option<&'static str>,
}

impl Taken {
    fn missed(miss: &'static str) -> Self {
        Self { miss: Some(miss), ..Self::default() }
    }
}

impl Receiver {
    /// One whose engine has this id and has started so often; `salt` is where its salts begin.
    pub(super) fn new(communities: Vec<Vec<u8>>, users: Vec<User>, engine: Vec<u8>, boots: u32, salt: u64, now: Instant) -> Self {
        let (clocks, stats, sources) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let recent = Recent::default();
        Self { communities, users, engine, boots, started: now, salt, clocks, stats, recent, second: now, sources }
    }

    pub(super) fn take(&mut self, source: IpAddr, bytes: &[u8], now: Instant) -> Taken {
        match Message::read(bytes) {
            None => Taken::missed("malformed"),
            Some(Message::Community { version, community, pdu }) => {
                if !self.communities.iter().any(|own| own == community) {
                    return Taken::missed("unknown community");
                }
                let fits = matches!((version, pdu.tag), (V1, TRAP_V1) | (V2C, TRAP | INFORM));
                let Some(notice) = Notice::read(pdu).filter(|_| fits) else { return Taken::missed("no notification") };
                let answer = notice.inform.then(|| acknowledged(version, community, pdu));
                self.count(source, pdu, (notice, None), answer, now)
            }
            Some(Message::V3(message)) => self.v3(source, bytes, &message, now),
        }
    }

    fn v3(&mut self, source: IpAddr, bytes: &[u8], message: &V3Message<'_>, now: Instant) -> Taken {
        let own = message.engine == self.engine;
        let report = |receiver: &mut Self, stat, miss| {
            // Traps are not answered, whatever is wrong with them.
            let answer = message.reportable.then(|| receiver.report(message, stat, None, now)).flatten();
            Taken { notice: None, answer, miss: Some(miss) }
        };
        if message.engine.is_empty() {
            let found = report(self, Stat::UnknownEngineIds, "engine discovery");
            // This is how every sender of informs begins.
            return Taken { miss: found.miss.filter(|_| found.answer.is_none()), ..found };
        }
        if message.engine.len() > MAX_ENGINE_BYTES {
            return Taken::missed("malformed");
        }
        let Some(user) = self.users.iter().find(|user| user.name == message.user).cloned() else {
            // Whoever takes this for another engine has other keys as well.
            let stat = if own { Stat::UnknownUserNames } else { Stat::UnknownEngineIds };
            return report(self, stat, "unknown user");
        };
        if user.level() != message.level {
            return report(self, Stat::UnsupportedSecurityLevels, "wrong security level");
        }
        if message.level.auth && !message.is_signed_by(&user, bytes) {
            let stat = if own { Stat::WrongDigests } else { Stat::UnknownEngineIds };
            return report(self, stat, "wrong signature");
        }
        if message.level.auth && own && !self.is_now(message.moment, now) {
            let answer = message.reportable.then(|| self.report(message, Stat::NotInTimeWindows, Some(&user), now)).flatten();
            return Taken { notice: None, answer, miss: Some("not in the time window") };
        }
        if message.level.auth && !own && !self.goes_on(message, now) {
            return Taken::missed("not in the time window");
        }
        let opened;
        let scoped = if message.level.privacy {
            let Some(bytes) = user.open(message.engine, message.moment, message.salt, message.body) else {
                return report(self, Stat::DecryptionErrors, "cannot be decrypted");
            };
            opened = bytes;
            Scoped::read_element(&opened)
        } else {
            Scoped::read(message.body)
        };
        let Some(scoped) = scoped else {
            let what = if message.level.privacy { "cannot be decrypted" } else { "malformed" };
            return report(self, Stat::DecryptionErrors, what);
        };
        match (Notice::read(scoped.pdu), scoped.pdu.tag) {
            (Some(notice), TRAP) if !own => self.count(source, scoped.pdu, (notice, Some(message.engine.to_vec())), None, now),
            (Some(notice), INFORM) if own => {
                let answer = self.own(now).acknowledge(message, &user, &scoped);
                self.count(source, scoped.pdu, (notice, None), answer, now)
            }
            (Some(_), INFORM) => report(self, Stat::UnknownEngineIds, "informs another engine"),
            _ => Taken::missed("no notification"),
        }
    }

    /// A notification counts unless it has come before, or too many have.
    fn count(&mut self, source: IpAddr, pdu: Pdu<'_>, notice: (Notice, Option<Vec<u8>>), answer: Option<Vec<u8>>, now: Instant) -> Taken {
        if now >= self.second + Duration::from_secs(1) {
            (self.second, self.sources) = (now, BTreeMap::new());
        }
        let room = self.sources.len() < MAX_SOURCES || self.sources.contains_key(&source);
        if !room || self.sources.get(&source).is_some_and(|count| *count >= MAX_IN_A_SECOND) {
            // An inform comes again.
            return Taken::missed("too many in a second");
        }
        *self.sources.entry(source).or_default() += 1;
        if self.recent.has_seen(source, pdu, now) {
            return Taken { notice: None, answer, miss: Some("duplicate") };
        }
        Taken { notice: Some(notice), answer, miss: None }
    }

    /// Whether a message to this engine is of now.
    fn is_now(&self, moment: Moment, now: Instant) -> bool {
        let own = self.moment(now);
        own.boots < LAST_BOOTS && moment.boots == own.boots && moment.seconds.abs_diff(own.seconds) <= WINDOW_S
    }

    /// Whether the clock of another engine goes on from where it was; if so, it is known from now on. Its message was believed.
    fn goes_on(&mut self, message: &V3Message<'_>, now: Instant) -> bool {
        let moment = message.moment;
        if let Some(clock) = self.clocks.get(message.engine) {
            let expected = clock.moment.seconds.saturating_add(seconds(now.saturating_duration_since(clock.heard)));
            let old = moment.boots < clock.moment.boots
                || moment.boots == clock.moment.boots && moment.seconds.saturating_add(WINDOW_S) < expected;
            if old || moment.boots >= LAST_BOOTS {
                return false;
            }
        } else if self.clocks.len() >= MAX_ENGINES
            && let Some(quiet) = self.clocks.iter().min_by_key(|(_, clock)| clock.heard).map(|(engine, _)| engine.clone())
        {
            self.clocks.remove(&quiet);
        }
        self.clocks.insert(message.engine.to_vec(), Clock { moment, heard: now });
        true
    }

    fn report(&mut self, message: &V3Message<'_>, stat: Stat, user: Option<&User>, now: Instant) -> Option<Vec<u8>> {
        let count = self.stats.entry(stat as u8).or_default();
        *count = count.wrapping_add(1);
        let count = *count;
        self.own(now).report(message, stat, count, user)
    }

    fn own(&mut self, now: Instant) -> Own<'_> {
        self.salt = self.salt.wrapping_add(1);
        Own { moment: self.moment(now), engine: &self.engine, salt: self.salt }
    }

    fn moment(&self, now: Instant) -> Moment {
        Moment { boots: self.boots, seconds: seconds(now.saturating_duration_since(self.started)) }
    }
}

fn seconds(time: Duration) -> u32 {
    u32::try_from(time.as_secs()).unwrap_or(u32::MAX)
}
