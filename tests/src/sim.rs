//! The whole of Pattoo in one thread with fake time: real cores, simulated surroundings, everything from one seed.
//!
//! | part | real | simulated |
//! |---|---|---|
//! | gateway | `batch`, `buffer`, `timebase`, `uplink` | devices (`plant`), disk (`disk`), clocks (`clock`), the shell around the cores (`gateway`) |
//! | between | the wire format | links and broker (`net`) |
//! | server | `ingest::Core`, the catalogue, the memory store | commits that fail (`store`), the shell around the core (`server`) |
//!
//! No thread, no runtime, no clock: events lie in a heap ordered by time and number, and each may add others. A [`plan`] draws
//! beforehand how large and slow all is and which faults strike when; at its horizon everything is healed, and what is buffered must
//! drain. The [`oracle`] judges at every release, at every commit, and in the end.
//!
//! What the model leaves out: disks that forget what they had synced. Two readings of one series in the same millisecond of the
//! gateway's clock are avoided, since the store keeps one; where held readings get their times later, that may still happen, and is no loss.

mod clock;
mod disk;
mod gateway;
mod net;
mod oracle;
mod plan;
mod plant;
mod process;
mod server;
mod store;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::fmt::Arguments;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::catch_unwind;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use fastrand::Rng;
use pattoo_wire::{Ack, Ask};

use self::gateway::{Gateway, Timer};
use self::net::{Conn, Link, Packet};
pub use self::oracle::Tally;
use self::plan::{BEGIN_MS, Fault, Plan};
use self::server::Server;
use self::store::ServerStore;

/// Most events of a run; one more is a loop without end.
const MAX_EVENTS: u64 = 3_000_000;

/// How often it is looked whether all has drained.
const LOOK_EVERY_MS: i64 = 5_000;

/// What a run came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Events that happened.
    pub events: u64,
    /// Simulated time.
    pub simulated_ms: i64,
    /// How long it took to drain once all was healed.
    pub drained_ms: i64,
    /// Faults that struck, by kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// Where the readings are.
    pub tally: Tally,
    /// Batches that the server had already when they came.
    pub replays: u64,
    /// Stands for everything that happened: the same seed gives the same one.
    pub fingerprint: u64,
}

/// What may not be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("seed {seed}, {at_ms} ms after the beginning: {what}")]
pub struct Failure {
    /// The seed that shows it.
    pub seed: u64,
    /// When.
    pub at_ms: i64,
    /// What.
    pub what: String,
}

/// Something that happens.
enum Event {
    /// A timer of a gateway's process, of the life that set it.
    Gateway(usize, u64, Timer),
    /// A gateway's machine comes up.
    Boot(usize),
    /// A client tries to connect.
    Connect(usize),
    /// A connection that is not up by now is given up.
    ConnectTimeout(usize, u64),
    /// A packet comes to the end of a link.
    Arrive {
        conn: u64,
        up: bool,
        packet: Packet,
    },
    /// An end of a connection looks whether the other is still there.
    KeepAlive {
        conn: u64,
        client: bool,
    },
    /// The broker passes on a message that it took in that life of it.
    Forward(u64, net::Message),
    BrokerUp,
    ServerUp,
    /// The server takes a group from its queue.
    Process(u64),
    /// A group is through: now it is acknowledged.
    Committed(u64, Vec<(String, Ack)>, Vec<(String, Ask)>),
    Fault(Fault),
    Heal,
    Look,
}

/// Runs one seed; `trace` is told what happens.
///
/// # Errors
/// The first thing that may not be.
pub fn run(seed: u64, trace: Option<&mut dyn FnMut(String)>) -> Result<Outcome, Failure> {
    let mut random = Rng::with_seed(seed);
    let plan = Plan::new(&mut random);
    let fail = |what: String| Failure { seed, at_ms: 0, what };
    let mut world = World::new(plan, random, trace).map_err(|e| fail(format!("{e:#}")))?;
    world.run().map_err(|what| Failure { seed, at_ms: world.now_ms, what })
}

/// Runs the seeds on all processors, each run in one thread; `look` is told how each went, in the order in which they end.
pub fn run_all(seeds: std::ops::Range<u64>, look: impl FnMut(u64, Result<Outcome, String>) + Send) {
    let (next, look) = (AtomicU64::new(seeds.start), Mutex::new(look));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let outcome = match catch_unwind(|| run(seed, None)) {
                        Ok(outcome) => outcome.map_err(|failure| failure.to_string()),
                        Err(_) => Err(format!("seed {seed} panicked")),
                    };
                    (look.lock().unwrap_or_else(PoisonError::into_inner))(seed, outcome);
                }
            });
        }
    });
}

struct Scheduled(i64, u64, Event);

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        (self.0, self.1) == (other.0, other.1)
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.0, self.1).cmp(&(other.0, other.1))
    }
}

struct World<'t> {
    /// Since the beginning.
    now_ms: i64,
    plan: Plan,
    random: Rng,
    events: BinaryHeap<Reverse<Scheduled>>,
    numbered: u64,
    happened: u64,
    healed_ms: Option<i64>,
    gateways: Vec<Gateway>,
    server: Server,
    broker: net::Broker,
    /// The server's, then those of the gateways.
    links: Vec<Link>,
    conns: BTreeMap<u64, Conn>,
    store: Arc<ServerStore>,
    faults: BTreeMap<&'static str, u64>,
    fingerprint: DefaultHasher,
    trace: Option<&'t mut dyn FnMut(String)>,
    failure: Option<String>,
}

impl<'t> World<'t> {
    fn new(plan: Plan, mut random: Rng, trace: Option<&'t mut dyn FnMut(String)>) -> anyhow::Result<Self> {
        let store = Arc::new(ServerStore::default());
        let gateways = (0..plan.gateways).map(|index| Gateway::new(index, &plan, &mut random)).collect::<anyhow::Result<_>>()?;
        let mut world = Self {
            now_ms: 0,
            events: BinaryHeap::new(),
            numbered: 0,
            happened: 0,
            healed_ms: None,
            gateways,
            server: Server::default(),
            broker: net::Broker::default(),
            links: (0..=plan.gateways).map(|_| Link::new(plan.delay_ms)).collect(),
            conns: BTreeMap::new(),
            store,
            faults: BTreeMap::new(),
            fingerprint: DefaultHasher::new(),
            trace,
            failure: None,
            plan,
            random,
        };
        world.note(format_args!("{}", world.plan.clone()));
        world.at(0, Event::BrokerUp);
        world.at(0, Event::ServerUp);
        for gateway in 0..world.plan.gateways {
            world.at(0, Event::Boot(gateway));
        }
        for (at_ms, fault) in world.plan.faults.clone() {
            world.at(at_ms, Event::Fault(fault));
        }
        world.at(world.plan.horizon_ms, Event::Heal);
        Ok(world)
    }

    fn run(&mut self) -> Result<Outcome, String> {
        while let Some(Reverse(Scheduled(at_ms, number, event))) = self.events.pop() {
            self.now_ms = at_ms;
            self.happened += 1;
            (at_ms, number).hash(&mut self.fingerprint);
            let done = matches!(event, Event::Look) && self.look();
            if !done {
                self.happen(event);
            }
            let twice = self.store.take_twice();
            let collided = |(name, at_ms): &(_, i64)| self.gateways.iter().any(|gateway| gateway.book.collides(name, *at_ms));
            if let Some((name, at_ms)) = twice.filter(|twice| !collided(twice)) {
                self.violated(format!("{name:?} at {at_ms} was stored a second time"));
            }
            if let Some(failure) = self.failure.take() {
                return Err(failure);
            }
            if done {
                return self.settle();
            }
            if self.happened > MAX_EVENTS {
                return Err(format!("no end after {MAX_EVENTS} events"));
            }
        }
        Err("BUG of the simulation: nothing is left to happen".into())
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Gateway(index, life, timer) => self.timer(index, life, timer),
            Event::Boot(index) => self.boot(index),
            Event::Connect(who) => self.connect(who),
            Event::ConnectTimeout(who, conn) => self.connect_timeout(who, conn),
            Event::Arrive { conn, up, packet } => self.arrive(conn, up, packet),
            Event::KeepAlive { conn, client } => self.keep_alive(conn, client),
            Event::Forward(life, message) => self.forward(life, message),
            Event::BrokerUp => self.broker_up(),
            Event::ServerUp => self.server_up(),
            Event::Process(life) => self.process(life),
            Event::Committed(life, acks, asks) => self.committed(life, acks, asks),
            Event::Fault(fault) => self.strike(fault),
            Event::Heal => self.heal(),
            Event::Look => self.after(LOOK_EVERY_MS, Event::Look),
        }
    }

    fn strike(&mut self, fault: Fault) {
        *self.faults.entry(fault.kind()).or_default() += 1;
        self.note(format_args!("FAULT {fault:?}"));
        match fault {
            Fault::PowerCut { .. }
            | Fault::PowerCutAtDisk { .. }
            | Fault::Kill { .. }
            | Fault::Restart { .. }
            | Fault::DiskError { .. }
            | Fault::Damage { .. }
            | Fault::ClockStep { .. } => self.strike_gateway(fault),
            Fault::Cut { link, ms } => self.cut(link, ms),
            Fault::Silence { link, up, down, ms } => self.silence(link, up, down, ms),
            Fault::Slow { link, delay_ms, ms } => self.links[link].slow(delay_ms, self.now_ms + ms),
            Fault::BrokerCrash { down_ms, noticed } => self.broker_crash(down_ms, noticed),
            Fault::BrokerSloppy { one_in, doubles, ms } => self.broker.be_sloppy(one_in, doubles, self.now_ms + ms),
            Fault::ServerCrash { down_ms } => self.server_crash(down_ms),
            Fault::Restore { share, down_ms } => {
                self.server_crash(down_ms);
                self.store.restore(share);
            }
            Fault::CommitFails { times, late } => (0..times).for_each(|_| self.store.fail(late)),
        }
    }

    /// No more faults, and all that was broken is whole.
    fn heal(&mut self) {
        self.note(format_args!("HEAL"));
        self.healed_ms = Some(self.now_ms);
        self.store.heal();
        self.broker.be_sloppy(0, false, 0);
        let now_ms = self.now_ms;
        self.links.iter_mut().for_each(|link| link.heal(now_ms));
        self.gateways.iter_mut().for_each(|gateway| gateway.disk.disarm());
        (0..self.links.len()).for_each(|who| self.connect_at(who, now_ms));
        self.after(LOOK_EVERY_MS, Event::Look);
    }

    /// Whether all has drained.
    fn look(&mut self) -> bool {
        let bound_ms = self.drain_bound_ms();
        let healed_ms = self.healed_ms.unwrap_or(self.now_ms);
        if self.now_ms - healed_ms > bound_ms {
            let stats: Vec<_> = self.gateways.iter().map(Gateway::stats).collect();
            self.violated(format!("not drained {bound_ms} ms after everything was healed: {stats:?}"));
        }
        (0..self.gateways.len()).all(|index| self.is_drained(index))
    }

    /// The longest silence that the uplink bears, a few times over, the time that polling goes on, and until the server is up again.
    fn drain_bound_ms(&self) -> i64 {
        let patience_ms = self.plan.ack_timeout_ms * i64::from(pattoo_gateway::uplink::MAX_PATIENCE);
        4 * patience_ms + 20 * self.plan.batch_every_ms + 3_600_000 + self.plan.down_after_ms()
    }

    fn settle(&mut self) -> Result<Outcome, String> {
        let may = self.plan.may();
        let mut tally = Tally::default();
        for gateway in &self.gateways {
            let own = gateway.book.settle(&self.store, may)?;
            tally.buffered += own.buffered;
            tally.stored += own.stored;
            tally.in_gaps += own.in_gaps;
            tally.thinned += own.thinned;
        }
        let mut stranger = None;
        self.store.each(|name, reading| {
            let of = self.gateways.iter().find(|gateway| gateway.name == name.0);
            if !of.is_some_and(|gateway| gateway.book.knows(name, reading.at_ms, &reading.sample)) {
                stranger.get_or_insert_with(|| format!("{name:?} has a reading that was never made: {reading:?}"));
            }
        });
        if let Some(stranger) = stranger {
            return Err(stranger);
        }
        (tally.buffered, tally.stored, tally.in_gaps, tally.thinned).hash(&mut self.fingerprint);
        Ok(Outcome {
            events: self.happened,
            simulated_ms: self.now_ms,
            drained_ms: self.now_ms - self.healed_ms.unwrap_or_default(),
            faults: std::mem::take(&mut self.faults),
            tally,
            replays: self.server.replays(),
            fingerprint: self.fingerprint.finish(),
        })
    }

    fn at(&mut self, at_ms: i64, event: Event) {
        self.numbered += 1;
        self.events.push(Reverse(Scheduled(at_ms.max(self.now_ms), self.numbered, event)));
    }

    fn after(&mut self, ms: i64, event: Event) {
        self.at(self.now_ms + ms.max(0), event);
    }

    /// True time.
    fn utc_ms(&self) -> i64 {
        BEGIN_MS + self.now_ms
    }

    fn note(&mut self, what: Arguments<'_>) {
        if let Some(trace) = &mut self.trace {
            trace(format!("{:>12} {what}", self.now_ms));
        }
    }

    fn violated(&mut self, what: String) {
        self.note(format_args!("VIOLATED {what}"));
        self.failure.get_or_insert(what);
    }

    fn check(&mut self, result: Result<(), String>) {
        if let Err(what) = result {
            self.violated(what);
        }
    }
}
