use std::collections::{BTreeSet, VecDeque};

use proptest::prelude::*;

use super::*;

const WINDOW: usize = 4;
const TIMEOUT_MS: i64 = 1000;

fn stats(oldest: u64, next: u64) -> Stats {
    Stats { stream: 7, oldest, next, batches: next - oldest, ..Stats::default() }
}

fn uplink(stats: Stats) -> Uplink {
    Uplink::new(WINDOW, Duration::from_millis(TIMEOUT_MS as u64), stats)
}

/// Steps, answers each fetch at once with schema `seq / 10`, and gives what was published or released.
fn drive(uplink: &mut Uplink, now_ms: i64, event: Event) -> Vec<Action> {
    let mut done = Vec::new();
    let mut waiting = VecDeque::from(uplink.step(now_ms, event));
    while let Some(action) = waiting.pop_front() {
        match action {
            Action::Fetch { seq } => waiting.extend(uplink.step(now_ms, Event::Fetched { seq, schema: SchemaId(seq as u32 / 10) })),
            other => done.push(other),
        }
    }
    done
}

fn ack(seq: u64) -> Event {
    Event::Ack(Ack::through(7, seq))
}

#[test]
fn batches_go_out_in_order_behind_their_schema_and_the_window_holds() {
    let mut uplink = uplink(stats(8, 20));
    assert_eq!(drive(&mut uplink, 0, Event::Tick), []);
    let schema = |id| Action::PublishSchema(SchemaId(id));
    let publish = |seq| Action::Publish { seq };
    assert_eq!(drive(&mut uplink, 0, Event::Connected), [schema(0), publish(8), publish(9), schema(1), publish(10), publish(11)]);
    // The client still has all in its hand: the window waits for the broker too.
    assert_eq!(drive(&mut uplink, 1, ack(9)), [Action::Release { through: 9 }]);
    assert_eq!(drive(&mut uplink, 1, Event::Taken), [publish(12)]);
    assert_eq!(drive(&mut uplink, 1, Event::Taken), [publish(13)]);
    assert_eq!(drive(&mut uplink, 1, ack(9)), []);
    // A new connection knows no schema and starts from the oldest.
    drive(&mut uplink, 2, Event::Disconnected);
    assert_eq!(drive(&mut uplink, 3, Event::Connected), [schema(1), publish(10), publish(11), publish(12), publish(13)]);
}

#[test]
fn acknowledgements_of_another_life_or_of_the_future_release_nothing() {
    let mut uplink = uplink(stats(1, 3));
    drive(&mut uplink, 0, Event::Connected);
    assert_eq!(drive(&mut uplink, 0, Event::Ack(Ack::through(8, 2))), []);
    assert_eq!(drive(&mut uplink, 0, ack(3)), []);
    assert_eq!(drive(&mut uplink, 0, ack(u64::MAX)), []);
    assert_eq!(uplink.counters(), Counters { foreign_acks: 1, impossible_acks: 2, resends: 0 });
    assert_eq!(uplink.unacknowledged(), 2);
}

#[test]
fn silence_starts_again_from_the_oldest_and_is_borne_longer_each_time() {
    let mut uplink = uplink(stats(1, 3));
    assert_eq!(drive(&mut uplink, 0, Event::Connected).len(), 3);
    for _ in 0..2 {
        drive(&mut uplink, 0, Event::Taken);
    }
    let mut now_ms = 0;
    for patience in [1, 2, 4, 8, 16, 32, 32] {
        now_ms += patience * TIMEOUT_MS;
        assert_eq!(drive(&mut uplink, now_ms - 1, Event::Tick), []);
        assert_eq!(drive(&mut uplink, now_ms, Event::Tick), [Action::Publish { seq: 1 }, Action::Publish { seq: 2 }]);
        for _ in 0..2 {
            drive(&mut uplink, now_ms, Event::Taken);
        }
    }
    drive(&mut uplink, now_ms, ack(1));
    assert_eq!(drive(&mut uplink, now_ms + TIMEOUT_MS, Event::Tick), [Action::Publish { seq: 2 }]);
    // With nothing out there is nothing to be silent about.
    drive(&mut uplink, now_ms, ack(2));
    assert_eq!(drive(&mut uplink, now_ms + 1_000_000, Event::Tick), []);
}

#[test]
fn a_broker_that_takes_nothing_is_left() {
    let mut uplink = uplink(stats(1, 3));
    drive(&mut uplink, 0, Event::Connected);
    drive(&mut uplink, 0, Event::Taken);
    assert_eq!(drive(&mut uplink, TIMEOUT_MS, Event::Tick), [Action::Reconnect]);
}

#[test]
fn another_life_of_the_buffer_starts_from_its_own_oldest() {
    let mut uplink = uplink(stats(5, 8));
    drive(&mut uplink, 0, Event::Connected);
    let other = Stats { stream: 8, oldest: 1, next: 2, ..Stats::default() };
    assert_eq!(drive(&mut uplink, 0, Event::Buffer(other)), [Action::Publish { seq: 1 }]);
    assert_eq!(drive(&mut uplink, 0, ack(1)), []);
    assert_eq!(uplink.counters().foreign_acks, 1);
}

#[derive(Debug, Clone)]
enum Op {
    Append,
    Drop,
    /// The broker takes a message; the server may miss it.
    Deliver {
        server: bool,
    },
    /// An acknowledgement on its way arrives, or arrives and stays on its way too, or is lost.
    AckArrives(prop::sample::Index),
    AckTwice(prop::sample::Index),
    AckLost(prop::sample::Index),
    Forged {
        stream: u64,
        ahead: u64,
    },
    Connect,
    Disconnect,
    Restart,
    Wait(i64),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => Just(Op::Append),
        1 => Just(Op::Drop),
        10 => prop::bool::weighted(0.8).prop_map(|server| Op::Deliver { server }),
        4 => any::<prop::sample::Index>().prop_map(Op::AckArrives),
        2 => any::<prop::sample::Index>().prop_map(Op::AckTwice),
        2 => any::<prop::sample::Index>().prop_map(Op::AckLost),
        1 => (6u64..9, 0u64..5).prop_map(|(stream, ahead)| Op::Forged { stream, ahead }),
        3 => Just(Op::Connect),
        1 => Just(Op::Disconnect),
        1 => Just(Op::Restart),
        3 => (1i64..5000).prop_map(Op::Wait),
    ]
}

/// Gateway, broker and server around one state machine.
struct World {
    uplink: Uplink,
    stats: Stats,
    now_ms: i64,
    connected: bool,
    /// Published on this connection and not yet taken by the broker: (seq, oldest).
    wire: VecDeque<(u64, u64)>,
    schemas: BTreeSet<SchemaId>,
    dropped: BTreeSet<u64>,
    released: u64,
    // The server.
    received: BTreeSet<u64>,
    contiguous: u64,
    acks: Vec<Ack>,
}

impl World {
    fn new() -> Self {
        let stats = stats(1, 1);
        Self {
            uplink: uplink(stats),
            stats,
            now_ms: 0,
            connected: false,
            wire: VecDeque::new(),
            schemas: BTreeSet::new(),
            dropped: BTreeSet::new(),
            released: 0,
            received: BTreeSet::new(),
            contiguous: 0,
            acks: Vec::new(),
        }
    }

    fn step(&mut self, event: Event) {
        let mut waiting = VecDeque::from(self.uplink.step(self.now_ms, event));
        let mut steps = 0;
        while let Some(action) = waiting.pop_front() {
            steps += 1;
            assert!(steps < 1000, "does not come to rest");
            match action {
                Action::Fetch { seq } if (self.stats.oldest..self.stats.next).contains(&seq) => {
                    let schema = SchemaId(seq as u32 / 5);
                    waiting.extend(self.uplink.step(self.now_ms, Event::Fetched { seq, schema }));
                }
                Action::Fetch { seq } => {
                    waiting.extend(self.uplink.step(self.now_ms, Event::Missing { seq }));
                    waiting.extend(self.uplink.step(self.now_ms, Event::Buffer(self.stats)));
                }
                Action::PublishSchema(id) => assert!(self.schemas.insert(id), "schema {id} went out twice on one connection"),
                Action::Publish { seq } => {
                    assert!(self.connected && seq > self.released && seq < self.stats.next);
                    assert!(self.schemas.contains(&SchemaId(seq as u32 / 5)), "batch {seq} went out before its schema");
                    assert!(self.uplink.unacknowledged() <= WINDOW as u64 && self.wire.len() < WINDOW);
                    self.wire.push_back((seq, self.stats.oldest));
                }
                Action::Release { through } => {
                    assert!(through <= self.contiguous, "released {through}, the server has {}", self.contiguous);
                    self.released = through;
                    self.stats.oldest = self.stats.oldest.max(through + 1);
                    waiting.extend(self.uplink.step(self.now_ms, Event::Buffer(self.stats)));
                }
                Action::Reconnect => waiting.extend(self.disconnect()),
            }
        }
    }

    fn disconnect(&mut self) -> Vec<Action> {
        self.connected = false;
        self.wire.clear();
        self.schemas.clear();
        self.uplink.step(self.now_ms, Event::Disconnected)
    }

    fn deliver(&mut self, server: bool) {
        let Some((seq, oldest)) = self.wire.pop_front() else { return };
        if server {
            self.received.insert(seq);
            // All before the oldest are acknowledged or on record as a gap.
            self.contiguous = self.contiguous.max(oldest - 1);
            while self.received.contains(&(self.contiguous + 1)) {
                self.contiguous += 1;
            }
            self.acks.push(Ack::through(7, self.contiguous));
        }
        self.step(Event::Taken);
    }

    fn act(&mut self, op: Op) {
        match op {
            Op::Append => {
                self.stats.next += 1;
                self.step(Event::Buffer(self.stats));
            }
            Op::Drop if self.stats.oldest < self.stats.next => {
                self.dropped.insert(self.stats.oldest);
                self.stats.oldest += 1;
                self.step(Event::Buffer(self.stats));
            }
            Op::Deliver { server } => self.deliver(server),
            Op::AckArrives(index) if self.connected && !self.acks.is_empty() => {
                let ack = self.acks.remove(index.index(self.acks.len()));
                self.step(Event::Ack(ack));
            }
            Op::AckTwice(index) if self.connected && !self.acks.is_empty() => {
                let ack = self.acks[index.index(self.acks.len())].clone();
                self.step(Event::Ack(ack));
            }
            Op::AckLost(index) if !self.acks.is_empty() => {
                self.acks.remove(index.index(self.acks.len()));
            }
            Op::Forged { stream, ahead } if stream != 7 || ahead > 0 => {
                let seq = self.stats.next - 1 + ahead;
                self.step(Event::Ack(Ack::through(stream, seq)));
            }
            Op::Connect if !self.connected => {
                self.connected = true;
                self.step(Event::Connected);
            }
            Op::Disconnect if self.connected => {
                let actions = self.disconnect();
                assert_eq!(actions, []);
            }
            Op::Restart => {
                self.disconnect();
                self.uplink = uplink(self.stats);
            }
            Op::Wait(ms) => {
                self.now_ms += ms;
                self.step(Event::Tick);
            }
            _ => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Whatever is lost, doubled or comes in the wrong order: all arrives, nothing is released too early, and it ends.
    #[test]
    fn every_batch_arrives_and_none_is_released_before(ops in prop::collection::vec(op(), 1..300)) {
        let mut world = World::new();
        for op in ops {
            world.act(op);
        }
        // All is well again: it must come to an end.
        let mut rounds = 0;
        while world.stats.oldest < world.stats.next {
            rounds += 1;
            prop_assert!(rounds < 300, "still {:?} after {rounds} rounds", world.stats);
            world.act(Op::Connect);
            while !world.wire.is_empty() {
                world.deliver(true);
            }
            while let Some(ack) = world.acks.pop() {
                world.step(Event::Ack(ack));
            }
            world.act(Op::Wait(TIMEOUT_MS * i64::from(MAX_PATIENCE)));
        }
        for seq in 1..world.stats.next {
            prop_assert!(world.received.contains(&seq) || world.dropped.contains(&seq), "batch {} never arrived", seq);
        }
    }
}
