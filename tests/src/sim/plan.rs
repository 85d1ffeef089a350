//! What a seed means: how large the plant is, how slow its parts are, and which faults strike when.
//!
//! Draws everything beforehand, so that a seed can be read before it is run.

use std::fmt;

use fastrand::Rng;
use pattoo_gateway::config::Order;
use pattoo_gateway::timebase::Trust;

use super::clock::Keeper;
use super::oracle::May;

const SECOND: i64 = 1000;
const HOUR: i64 = 3600 * SECOND;
const DAY: i64 = 24 * HOUR;

/// When the simulated world begins: ms since 1970.
pub(super) const BEGIN_MS: i64 = 1_800_000_000_000;

/// Something that goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// The gateway's power goes, between two operations of its disk.
    PowerCut { gateway: usize },
    /// The gateway's power goes at one of the next writes or syncs of its disk.
    PowerCutAtDisk { gateway: usize, after: u32 },
    /// The gateway's process is killed: the kernel still closes its connection.
    Kill { gateway: usize },
    /// The gateway is stopped and started again, perhaps with more devices.
    Restart { gateway: usize },
    /// The disk says that it failed; the work may be done all the same.
    DiskError { gateway: usize, after: u32, full: bool, times: u32 },
    /// A stored batch is damaged on the disk.
    Damage { gateway: usize },
    /// The gateway's clock is set.
    ClockStep { gateway: usize, by_ms: i64 },
    /// A connection is reset and none can be made for this long. Link 0 is the server's.
    Cut { link: usize, ms: i64 },
    /// Nothing passes for this long, and nobody is told.
    Silence { link: usize, up: bool, down: bool, ms: i64 },
    /// Everything takes this much longer for a while.
    Slow { link: usize, delay_ms: i64, ms: i64 },
    /// The broker forgets everything: sessions, retained messages, what it had confirmed.
    BrokerCrash { down_ms: i64, noticed: bool },
    /// The broker loses, or doubles, one message of so many for a while.
    BrokerSloppy { one_in: u32, doubles: bool, ms: i64 },
    /// The server's process ends; what it had not committed is gone.
    ServerCrash { down_ms: i64 },
    /// The server's store is replaced by an older copy, which has that share of its commits, in 256ths.
    Restore { share: u8, down_ms: i64 },
    /// The server's store refuses commits; those that are late were stored all the same.
    CommitFails { times: u32, late: bool },
}

impl Fault {
    /// What it is counted as.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::PowerCut { .. } => "gateway: power cut",
            Self::PowerCutAtDisk { .. } => "gateway: power cut at a write or sync",
            Self::Kill { .. } => "gateway: killed",
            Self::Restart { .. } => "gateway: restarted, other devices",
            Self::DiskError { full: true, .. } => "gateway: disk full",
            Self::DiskError { .. } => "gateway: disk error",
            Self::Damage { .. } => "gateway: batch damaged on disk",
            Self::ClockStep { .. } => "gateway: clock step",
            Self::Cut { ms, .. } if *ms >= DAY => "link: cut for a day or more",
            Self::Cut { .. } => "link: cut",
            Self::Silence { .. } => "link: half-open",
            Self::Slow { .. } => "link: slow",
            Self::BrokerCrash { .. } => "broker: crash, all state lost",
            Self::BrokerSloppy { doubles: true, .. } => "broker: delivers twice",
            Self::BrokerSloppy { .. } => "broker: loses confirmed messages",
            Self::ServerCrash { .. } => "server: crash",
            Self::Restore { .. } => "server: restored from an older copy",
            Self::CommitFails { late: true, .. } => "server: commit done, said to have failed",
            Self::CommitFails { .. } => "server: commit fails",
        }
    }
}

/// All that a seed decides beforehand.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) gateways: usize,
    pub(super) poll_ms: i64,
    pub(super) batch_every_ms: i64,
    /// When the faults end.
    pub(super) horizon_ms: i64,
    pub(super) max_unacknowledged: usize,
    pub(super) ack_timeout_ms: i64,
    pub(super) order: Order,
    pub(super) tick_ms: i64,
    /// Who keeps the clocks of the gateways.
    pub(super) keeper: Keeper,
    pub(super) trust: Trust,
    pub(super) max_bytes: u64,
    pub(super) max_age_ms: i64,
    /// When room runs out, gauges are thinned out to this; 0: never.
    pub(super) thin_to_ms: i64,
    pub(super) given_ahead: u64,
    /// Batches that are made within this time are committed as one; 0: each by itself.
    pub(super) window_ms: i64,
    /// Bytes per second that the uplink may send.
    pub(super) rate_limit: Option<u64>,
    /// One way over a link, at least and at most.
    pub(super) delay_ms: (i64, i64),
    pub(super) commit_ms: i64,
    /// Most messages in one commit.
    pub(super) group: usize,
    /// The broker confirms a message before it passes it on.
    pub(super) confirms_first: bool,
    pub(super) faults: Vec<(i64, Fault)>,
}

impl Plan {
    pub(super) fn new(random: &mut Rng) -> Self {
        let poll_ms = *choose(random, &[1, 5, 10, 60, 600]) * SECOND;
        let polls = random.i64(40..160);
        let horizon_ms = poll_ms * polls;
        let small = random.bool();
        let mut plan = Self {
            gateways: random.usize(1..=3),
            poll_ms,
            batch_every_ms: poll_ms * random.i64(1..12) - poll_ms / 2,
            horizon_ms,
            max_unacknowledged: *choose(random, &[1, 2, 4, 8, 32]),
            ack_timeout_ms: *choose(random, &[2, 10, 30]) * SECOND,
            order: *choose(random, &[Order::LiveFirst, Order::NewestFirst, Order::OldestFirst]),
            keeper: *choose(random, &[Keeper::Ntp, Keeper::Ntp, Keeper::Battery, Keeper::Nobody]),
            trust: *choose(random, &[Trust::Auto, Trust::System]),
            tick_ms: *choose(random, &[500, 1000, 5000]),
            max_bytes: if small { random.u64(1_500..12_000) } else { 1 << 20 },
            max_age_ms: if random.u8(0..5) == 0 { horizon_ms / 4 } else { 30 * DAY },
            thin_to_ms: poll_ms * *choose(random, &[0, 4, 1000]),
            given_ahead: *choose(random, &[1, 4, 256]),
            window_ms: *choose(random, &[0, 0, poll_ms / 2, 3 * poll_ms]),
            rate_limit: *choose(random, &[None, None, Some(1000), Some(20_000)]),
            delay_ms: *choose(random, &[(0, 1), (1, 20), (200, 2000)]),
            commit_ms: *choose(random, &[1, 20, 500]),
            group: *choose(random, &[1, 4, 64, 512]),
            confirms_first: random.bool(),
            faults: Vec::new(),
        };
        let count = random.usize(0..20);
        plan.faults = (0..count).map(|_| (random.i64(0..horizon_ms), plan.fault(random))).collect();
        if small && random.bool() {
            // Full before anything was sent, and much of it of gauges: only then is there much to thin out.
            plan.faults.push((0, Fault::Cut { link: 1, ms: horizon_ms / 2 }));
            (plan.batch_every_ms, plan.max_bytes) = (poll_ms * 10, random.u64(1_500..4_000));
            (plan.thin_to_ms, plan.given_ahead) = (poll_ms * *choose(random, &[4, 1000]), 1);
        }
        plan.faults.sort_by_key(|(at_ms, _)| *at_ms);
        plan
    }

    /// How long after the faults have ended the server or the broker may still be down.
    pub(super) fn down_after_ms(&self) -> i64 {
        let up_ms = self.faults.iter().map(|(at_ms, fault)| match fault {
            Fault::BrokerCrash { down_ms, .. } | Fault::ServerCrash { down_ms } | Fault::Restore { down_ms, .. } => at_ms + down_ms,
            _ => 0,
        });
        up_ms.max().map_or(0, |up_ms| (up_ms - self.horizon_ms).max(0))
    }

    /// Why readings may be missing in the end.
    pub(super) fn may(&self) -> May {
        let strikes = |what: fn(&Fault) -> bool| self.faults.iter().any(|(_, fault)| what(fault));
        May {
            be_full: self.max_bytes < 1 << 20 || strikes(|fault| matches!(fault, Fault::DiskError { full: true, .. })),
            be_thinned: self.thin_to_ms > 0,
            be_old: self.max_age_ms < DAY * 10 || self.horizon_ms + 10 * DAY > self.max_age_ms,
            be_restored: strikes(|fault| matches!(fault, Fault::Restore { .. })),
        }
    }

    fn fault(&self, random: &mut Rng) -> Fault {
        let gateway = random.usize(0..self.gateways);
        let link = random.usize(0..=self.gateways);
        match random.u8(0..19) {
            0 => Fault::PowerCut { gateway },
            1 | 2 => Fault::PowerCutAtDisk { gateway, after: random.u32(0..12) },
            3 => Fault::Kill { gateway },
            4 => Fault::Restart { gateway },
            5 => Fault::DiskError { gateway, after: random.u32(0..12), full: random.bool(), times: random.u32(1..4) },
            6 => Fault::Damage { gateway },
            7 => Fault::ClockStep { gateway, by_ms: *choose(random, &[-HOUR, HOUR, -7 * SECOND, 90 * SECOND]) + random.i64(0..SECOND) },
            8 | 9 => Fault::Cut { link, ms: self.span(random) },
            10 => Fault::Silence { link, up: random.bool(), down: random.bool(), ms: self.span(random) },
            11 => Fault::Slow { link, delay_ms: random.i64(100..20 * SECOND), ms: self.span(random) },
            12 | 13 => Fault::BrokerCrash { down_ms: random.i64(0..self.poll_ms * 10), noticed: random.bool() },
            14 => Fault::BrokerSloppy { one_in: random.u32(1..8), doubles: random.bool(), ms: self.span(random) },
            15 | 16 => Fault::ServerCrash { down_ms: random.i64(0..self.poll_ms * 20) },
            17 => Fault::Restore { share: random.u8(..), down_ms: random.i64(0..self.poll_ms * 20) },
            _ => Fault::CommitFails { times: random.u32(1..5), late: random.bool() },
        }
    }

    /// From a moment to most of the run; where polls are rare, a day and more.
    fn span(&self, random: &mut Rng) -> i64 {
        match random.u8(0..4) {
            0 => random.i64(1..2 * SECOND),
            1 => random.i64(1..self.poll_ms * 10),
            2 => random.i64(1..self.horizon_ms),
            _ => self.horizon_ms / 2,
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let faults = self.faults.len();
        write!(f, "{:?}", Self { faults: Vec::new(), ..self.clone() })?;
        write!(f, " and {faults} faults:")?;
        self.faults.iter().try_for_each(|(at_ms, fault)| write!(f, "\n  {at_ms:>12} {fault:?}"))
    }
}

fn choose<'a, T>(random: &mut Rng, from: &'a [T]) -> &'a T {
    &from[random.usize(0..from.len())]
}
