//! How much a client, and an address, may ask of the broker. Pure: events and `now` in, verdicts out.
//!
//! Bounds here refuse or slow down one party; they never make another wait. What a packet may be is in `meter`.

use core::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// From the first byte of TCP to an accepted CONNECT, TLS included.
pub const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// What the broker has for a client must be taken within this time, 16 KiB at a time; else the client reads too slowly.
pub const TAKE_WITHIN: Duration = Duration::from_secs(20);
/// A client that sends nothing for so long is gone, whatever keep-alive it asked for.
pub const SILENT_AT_MOST: Duration = Duration::from_secs(600);
/// Packets per second that are read from one client; more wait in its own socket.
pub const PACKETS_PER_S: u32 = 4000;
/// Bytes per second that are read from one client; more wait in its own socket.
pub const BYTES_PER_S: u32 = 16 << 20;
/// So long a client may be ahead of both rates.
pub const AHEAD: Duration = Duration::from_secs(1);
/// A wrong password is answered so late.
pub const WRONG_ANSWER_AFTER: Duration = Duration::from_secs(1);
/// Wrong passwords for one account from one address within [`FAILURES_WITHIN`]; then its passwords are not looked at.
pub const MAX_FAILURES: u32 = 5;
/// How long a wrong password is remembered.
pub const FAILURES_WITHIN: Duration = Duration::from_secs(60);
/// Most passwords (slow to check on purpose) that are checked at once.
pub const MAX_PASSWORD_CHECKS: usize = 2;
/// Retained messages of one gateway: as many schemas as ingest keeps, and its status; later ones are handed on and not retained.
pub const MAX_RETAINED: usize = 65;
/// Bytes of those.
pub const MAX_RETAINED_BYTES: usize = 4 << 20;
/// Bytes of all that is retained. Nothing is lost without: the store has every schema that it needed.
pub const MAX_ALL_RETAINED_BYTES: usize = 256 << 20;
/// Gateways of which something is retained.
const MAX_RETAINING: usize = 1024;
/// Most addresses and most accounts with wrong passwords that are remembered.
const MAX_REMEMBERED: usize = 4096;

/// How many may come in by one door.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections that are not admitted yet.
    pub waiting: usize,
    /// The same from one address.
    pub waiting_per_source: u32,
    /// Connections per second from one address.
    pub connects_per_s: u32,
    /// How many it may be ahead.
    pub connects_at_once: u32,
    /// Admitted clients.
    pub clients: usize,
}

/// Door for everybody: 1024 gateways, and people's tools; many gateways of a plant may share an address.
pub const PUBLIC: Limits = Limits { waiting: 256, waiting_per_source: 64, connects_per_s: 20, connects_at_once: 200, clients: 1024 + 64 };

/// An address as far as it tells parties apart: of IPv6 the /64 that one party has to itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Source(IpAddr);

impl From<SocketAddr> for Source {
    fn from(address: SocketAddr) -> Self {
        Self(match address.ip().to_canonical() {
            IpAddr::V6(ip) => {
                let [a, b, c, d, ..] = ip.segments();
                IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
            }
            ip => ip,
        })
    }
}

/// A rate with some allowance, kept as the moment until which it is used up.
#[derive(Debug, Clone, Copy, Default)]
pub struct Bucket(Option<Instant>);

impl Bucket {
    /// Takes `count` of `per_s`, and gives how long to wait until that is within the rate and `ahead`.
    pub fn take(&mut self, now: Instant, count: u32, per_s: u32, ahead: Duration) -> Duration {
        let used = self.0.map_or(now, |until| until.max(now)) + Duration::from_secs(1) * count / per_s.max(1);
        self.0 = Some(used);
        used.saturating_duration_since(now).saturating_sub(ahead)
    }

    /// Takes one if that needs no wait.
    pub fn try_take(&mut self, now: Instant, per_s: u32, ahead: Duration) -> bool {
        let mut tried = *self;
        let free = tried.take(now, 1, per_s, ahead).is_zero();
        if free {
            *self = tried;
        }
        free
    }

    /// Whether all of it is free.
    #[must_use]
    pub fn idle(&self, now: Instant) -> bool {
        self.0.is_none_or(|until| until <= now)
    }
}

/// Why a connection is refused before anything of it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// Too many connections per second from its address.
    Rate,
    /// Too many of its address wait.
    SourceWaits,
    /// Too many wait.
    AllWait,
    /// Too many clients.
    Clients,
}

#[derive(Debug, Default)]
struct Caller {
    waiting: u32,
    connects: Bucket,
}

/// Counts who is at a door and who went in.
#[derive(Debug)]
pub struct Doors {
    limits: Limits,
    callers: HashMap<Source, Caller>,
    waiting: usize,
    clients: usize,
}

impl Doors {
    /// Nobody there yet.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { limits, callers: HashMap::new(), waiting: 0, clients: 0 }
    }

    /// A connection came; if it may stay, it waits until [`Self::admit`] or [`Self::turn_away`].
    ///
    /// # Errors
    /// It may not.
    pub fn knock(&mut self, source: Source, now: Instant) -> Result<(), Full> {
        if self.callers.len() >= MAX_REMEMBERED && !self.callers.contains_key(&source) {
            self.callers.retain(|_, caller| caller.waiting > 0 || !caller.connects.idle(now));
            // Those who wait are few; of the others, one that is forgotten may come a little more often.
            if self.callers.len() >= MAX_REMEMBERED {
                let gone = self.callers.iter().find(|(_, caller)| caller.waiting == 0).map(|(source, _)| *source);
                gone.and_then(|gone| self.callers.remove(&gone));
            }
        }
        let Limits { waiting, waiting_per_source, connects_per_s, connects_at_once, .. } = self.limits;
        let caller = self.callers.entry(source).or_default();
        let ahead = Duration::from_secs(1) * connects_at_once / connects_per_s.max(1);
        if !caller.connects.try_take(now, connects_per_s, ahead) {
            return Err(Full::Rate);
        }
        if caller.waiting >= waiting_per_source {
            return Err(Full::SourceWaits);
        }
        if self.waiting >= waiting {
            return Err(Full::AllWait);
        }
        caller.waiting += 1;
        self.waiting += 1;
        Ok(())
    }

    /// One that waited becomes a client until [`Self::leave`].
    ///
    /// # Errors
    /// There are too many clients; it goes on waiting.
    pub fn admit(&mut self, source: Source) -> Result<(), Full> {
        if self.clients >= self.limits.clients {
            return Err(Full::Clients);
        }
        self.turn_away(source);
        self.clients += 1;
        Ok(())
    }

    /// One that waited has gone.
    pub fn turn_away(&mut self, source: Source) {
        self.waiting = self.waiting.saturating_sub(1);
        if let Some(caller) = self.callers.get_mut(&source) {
            caller.waiting = caller.waiting.saturating_sub(1);
        }
    }

    /// A client has gone.
    pub fn leave(&mut self) {
        self.clients = self.clients.saturating_sub(1);
    }

    /// How many wait, and how many clients there are.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        (self.waiting, self.clients)
    }
}

/// Remembers wrong passwords by address and account.
#[derive(Debug, Default)]
pub struct Failures(HashMap<(Source, String), (u32, Instant)>);

impl Failures {
    /// Whether passwords for this account from there are not looked at now.
    #[must_use]
    pub fn locked(&self, source: Source, account: &str, now: Instant) -> bool {
        let key = (source, account.to_owned());
        self.0.get(&key).is_some_and(|(count, last)| *count >= MAX_FAILURES && now.saturating_duration_since(*last) < FAILURES_WITHIN)
    }

    /// A wrong password came. One that comes while locked does not prolong it, so that the lock ends by itself.
    pub fn failed(&mut self, source: Source, account: &str, now: Instant) {
        let old = |last: Instant| now.saturating_duration_since(last) >= FAILURES_WITHIN;
        if self.0.len() >= MAX_REMEMBERED {
            self.0.retain(|_, (_, last)| !old(*last));
        }
        if self.0.len() >= MAX_REMEMBERED {
            let oldest = self.0.iter().min_by_key(|(_, (_, last))| *last).map(|(key, _)| key.clone());
            oldest.and_then(|oldest| self.0.remove(&oldest));
        }
        let entry = self.0.entry((source, account.to_owned())).or_insert((0, now));
        *entry = match *entry {
            (_, last) if old(last) => (1, now),
            (count, last) if count >= MAX_FAILURES => (count, last),
            (count, _) => (count + 1, now),
        };
    }
}

/// What of the gateways is retained, so that none fills the broker's memory or takes another's room.
#[derive(Debug, Default)]
pub struct Retained {
    held: HashMap<String, HashMap<String, usize>>,
    bytes: usize,
}

impl Retained {
    /// A message of `bytes` is to be retained under this topic; 0 bytes clear it. Whether there is room: then it counts.
    pub fn put(&mut self, gateway: &str, topic: &str, bytes: usize) -> bool {
        if bytes > 0 && self.held.len() >= MAX_RETAINING && !self.held.contains_key(gateway) {
            return false;
        }
        let held = self.held.entry(gateway.to_owned()).or_default();
        let before = held.get(topic).copied().unwrap_or(0);
        let (count, sum) = (held.len() + usize::from(before == 0), held.values().sum::<usize>() - before + bytes);
        let all = self.bytes - before + bytes;
        let room = bytes == 0 || (count <= MAX_RETAINED && sum <= MAX_RETAINED_BYTES && all <= MAX_ALL_RETAINED_BYTES);
        if room {
            self.bytes = all;
            match bytes {
                0 => held.remove(topic),
                _ => held.insert(topic.to_owned(), bytes),
            };
        }
        if held.is_empty() {
            self.held.remove(gateway);
        }
        room
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn source(n: u8) -> Source {
        SocketAddr::from(([192, 0, 2, n], 5)).into()
    }

    #[test]
    fn a_rate_holds_over_time_and_lets_a_burst_through() {
        let start = Instant::now();
        let mut bucket = Bucket::default();
        assert_eq!(bucket.take(start, 100, 100, S), Duration::ZERO);
        assert_eq!(bucket.take(start, 50, 100, S), S / 2, "half a second too early");
        assert_eq!(bucket.take(start + 10 * S, 100, 100, S), Duration::ZERO, "a long pause saves up no more than the allowance");
        assert_eq!(bucket.take(start + 10 * S, 10, 100, S), S / 10);
        let taken = |per_s| {
            let mut bucket = Bucket::default();
            (0..1000).filter(|n| bucket.try_take(start + S * *n / 100, per_s, S)).count()
        };
        assert_eq!(taken(10), 10 + 99, "ten seconds at ten per second, and one second ahead");
    }

    #[test]
    fn one_address_cannot_take_the_places_of_others() {
        let now = Instant::now();
        let mut doors = Doors::new(Limits { waiting: 5, waiting_per_source: 3, connects_per_s: 1, connects_at_once: 4, clients: 2 });
        let (a, b, c) = (source(1), source(2), source(3));
        assert_eq!([(); 4].map(|()| doors.knock(a, now)), [Ok(()), Ok(()), Ok(()), Err(Full::SourceWaits)]);
        assert_eq!(doors.knock(a, now), Err(Full::Rate), "what was refused counts too");
        assert_eq!((doors.knock(b, now), doors.knock(b, now), doors.knock(c, now)), (Ok(()), Ok(()), Err(Full::AllWait)));
        assert_eq!((doors.admit(a), doors.admit(b), doors.admit(a)), (Ok(()), Ok(()), Err(Full::Clients)));
        assert_eq!(doors.counts(), (3, 2));
        doors.leave();
        assert_eq!((doors.admit(a), doors.counts()), (Ok(()), (2, 2)));
        doors.turn_away(a);
        assert_eq!(doors.knock(a, now + 2 * S), Ok(()));
    }

    #[test]
    fn addresses_are_forgotten_and_never_more_than_so_many() {
        let now = Instant::now();
        let mut doors = Doors::new(PUBLIC);
        for n in 0..20_000u32 {
            let source: Source = SocketAddr::from((n.to_be_bytes(), 1)).into();
            if doors.knock(source, now).is_ok() && n % 2 == 0 {
                doors.turn_away(source);
            }
        }
        assert!(doors.callers.len() <= MAX_REMEMBERED, "{}", doors.callers.len());
        assert_eq!(doors.counts().0, PUBLIC.waiting);
    }

    #[test]
    fn an_ipv6_party_is_its_64() {
        let source = |text: &str| Source::from(text.parse::<SocketAddr>().unwrap());
        assert_eq!(source("[2001:db8:1:2::1]:5"), source("[2001:db8:1:2:ffff::9]:6"));
        assert_ne!(source("[2001:db8:1:2::1]:5"), source("[2001:db8:1:3::1]:5"));
        assert_eq!(source("[::ffff:192.0.2.1]:5"), source("192.0.2.1:9"));
        assert_ne!(source("192.0.2.1:5"), source("192.0.2.2:5"));
    }

    #[test]
    fn guessing_is_locked_for_that_account_from_there_and_ends_by_itself() {
        let now = Instant::now();
        let mut failures = Failures::default();
        for n in 0..MAX_FAILURES {
            assert!(!failures.locked(source(1), "g1", now + S * n));
            failures.failed(source(1), "g1", now + S * n);
        }
        let locked = now + S * MAX_FAILURES;
        assert!(failures.locked(source(1), "g1", locked));
        assert!(!failures.locked(source(2), "g1", locked) && !failures.locked(source(1), "g2", locked), "others are not");
        failures.failed(source(1), "g1", locked);
        let over = now + S * (MAX_FAILURES - 1) + FAILURES_WITHIN;
        assert!(!failures.locked(source(1), "g1", over));
        failures.failed(source(1), "g1", over);
        assert!(!failures.locked(source(1), "g1", over), "it begins anew");
        for n in 0..10_000 {
            failures.failed(source(1), &format!("a{n}"), over);
        }
        assert!(failures.0.len() <= MAX_REMEMBERED);
    }

    #[test]
    fn a_gateway_retains_so_much_and_takes_no_room_from_others() {
        let mut retained = Retained::default();
        for n in 0..MAX_RETAINED {
            assert!(retained.put("g1", &format!("s{n}"), 100));
        }
        assert!(!retained.put("g1", "one more", 100) && retained.put("g1", "s0", 200), "the same one again is no new one");
        assert!(retained.put("g2", "s0", 100));
        assert!(retained.put("g1", "s1", 0) && retained.put("g1", "one more", 100), "a cleared one makes room");
        assert!(retained.put("g3", "big", MAX_RETAINED_BYTES) && !retained.put("g3", "x", 1));
        assert!(retained.put("g3", "big", 0) && retained.put("g3", "none", 0) && !retained.held.contains_key("g3"));
        let all = (0..2000).filter(|n| retained.put(&format!("h{n}"), "big", MAX_RETAINED_BYTES)).count();
        assert_eq!(all, MAX_ALL_RETAINED_BYTES / MAX_RETAINED_BYTES - 1, "the rest of one's room is taken by g1 and g2");
        assert!(retained.held.len() <= MAX_RETAINING && retained.bytes <= MAX_ALL_RETAINED_BYTES);
    }
}
