//! Whatever is lost, doubled, late or in the wrong order: all arrives, nothing is released too early, and it comes to an end.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use pattoo_wire::{Echo, MAX_ACK_RANGES, MAX_ASK_RANGES};
use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Op {
    Append,
    Drop,
    /// What is released can no longer be read.
    Erase,
    /// What is appended from now on cannot be given out, until time is known; or it is known.
    Hold,
    Unhold,
    /// The broker takes a message; the server may miss it.
    Deliver {
        server: bool,
    },
    /// An acknowledgement or question on its way arrives, or arrives and stays on its way too, or is lost.
    Arrives(prop::sample::Index),
    Twice(prop::sample::Index),
    Lost(prop::sample::Index),
    Forged {
        stream: u64,
        beyond: u64,
        ahead: bool,
    },
    /// The server is restored from a backup: it has only what came up to there.
    Restore(u64),
    Connect,
    Disconnect,
    Restart,
    Wait(i64),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        10 => Just(Op::Append),
        1 => Just(Op::Drop),
        1 => Just(Op::Erase),
        1 => Just(Op::Hold),
        2 => Just(Op::Unhold),
        12 => prop::bool::weighted(0.8).prop_map(|server| Op::Deliver { server }),
        5 => any::<prop::sample::Index>().prop_map(Op::Arrives),
        2 => any::<prop::sample::Index>().prop_map(Op::Twice),
        2 => any::<prop::sample::Index>().prop_map(Op::Lost),
        1 => (6u64..9, 0u64..5, any::<bool>()).prop_map(|(stream, beyond, ahead)| Op::Forged { stream, beyond, ahead }),
        1 => (0u64..40).prop_map(Op::Restore),
        4 => Just(Op::Connect),
        1 => Just(Op::Disconnect),
        1 => Just(Op::Restart),
        3 => (1i64..5000).prop_map(Op::Wait),
    ]
}

/// What is on its way to the server, and back.
#[derive(Debug, Clone)]
enum Forth {
    Batch { seq: u64, kept: u64 },
    Hello { sent_ms: i64, stats: Stats },
}

/// Gateway, broker and server around one state machine.
struct World {
    order: Order,
    uplink: Uplink,
    now_ms: i64,
    connected: bool,
    lives: usize,
    /// Published on this connection and not yet taken by the broker.
    wire: VecDeque<Forth>,
    schemas: BTreeSet<SchemaId>,
    // The buffer.
    stats: Stats,
    held_from: Option<u64>,
    dropped: BTreeSet<u64>,
    /// Dropped batches of which no batch tells yet, and those of which this batch tells.
    untold: BTreeSet<u64>,
    tells: BTreeMap<u64, BTreeSet<u64>>,
    released: BTreeSet<u64>,
    /// What an acknowledgement that arrived has named.
    acknowledged: BTreeSet<u64>,
    // The server.
    received: BTreeSet<u64>,
    contiguous: u64,
    back: Vec<Event>,
}

impl World {
    fn new(order: Order) -> Self {
        let stats = stats(1, 1);
        Self {
            order,
            uplink: uplink(order, stats),
            now_ms: 0,
            connected: false,
            lives: 1,
            wire: VecDeque::new(),
            schemas: BTreeSet::new(),
            stats,
            held_from: None,
            dropped: BTreeSet::new(),
            untold: BTreeSet::new(),
            tells: BTreeMap::new(),
            released: BTreeSet::new(),
            acknowledged: BTreeSet::new(),
            received: BTreeSet::new(),
            contiguous: 0,
            back: Vec::new(),
        }
    }

    fn step(&mut self, event: Event) {
        let mut waiting = VecDeque::from(self.uplink.step(self.now_ms, event));
        let mut steps = 0;
        while let Some(action) = waiting.pop_front() {
            steps += 1;
            assert!(steps < 1000, "does not come to rest");
            match action {
                Action::Hello { sent_ms } => self.wire.push_back(Forth::Hello { sent_ms, stats: self.stats }),
                Action::Time { .. } => {}
                Action::Fetch { seq } => {
                    for event in self.fetch(seq) {
                        waiting.extend(self.uplink.step(self.now_ms, event));
                    }
                }
                Action::PublishSchema(id) => assert!(self.schemas.insert(id), "schema {id} went out twice on one connection"),
                Action::Publish { seq } => {
                    assert!(self.connected && seq >= self.stats.kept && seq < self.stats.next);
                    assert!(self.schemas.contains(&SchemaId(seq as u32 / 5)), "batch {seq} went out before its schema");
                    assert!(self.uplink.unacknowledged() <= WINDOW as u64 && self.batches_on_the_wire() < WINDOW);
                    self.wire.push_back(Forth::Batch { seq, kept: self.stats.kept });
                }
                Action::Release { through, ahead } => {
                    self.release(through, &ahead);
                    waiting.extend(self.uplink.step(self.now_ms, Event::Buffer(self.stats)));
                }
                Action::Reconnect { .. } => waiting.extend(self.disconnect()),
            }
        }
    }

    fn batches_on_the_wire(&self) -> usize {
        self.wire.iter().filter(|forth| matches!(forth, Forth::Batch { .. })).count()
    }

    fn fetch(&self, seq: u64) -> Vec<Event> {
        let gone = seq < self.stats.kept || seq >= self.stats.next || self.dropped.contains(&seq);
        if gone || self.held_from.is_some_and(|held| seq >= held) {
            return vec![Event::Buffer(self.stats), Event::Missing { seq, gone }];
        }
        vec![Event::Fetched { seq, schema: SchemaId(seq as u32 / 5), bytes: BATCH_BYTES }]
    }

    fn release(&mut self, through: u64, ahead: &[(u64, u64)]) {
        for seq in (self.stats.oldest..=through).chain(ahead.iter().flat_map(|(first, last)| *first..=*last)) {
            assert!(self.acknowledged.contains(&seq), "released {seq}, which nobody acknowledged");
            self.released.insert(seq);
        }
        self.advance();
    }

    fn advance(&mut self) {
        let done = |seq: &u64| self.released.contains(seq) || self.dropped.contains(seq);
        self.stats.oldest = (self.stats.oldest..self.stats.next).find(|seq| !done(seq)).unwrap_or(self.stats.next);
    }

    fn disconnect(&mut self) -> Vec<Action> {
        self.connected = false;
        self.wire.clear();
        self.schemas.clear();
        self.uplink.step(self.now_ms, Event::Disconnected)
    }

    fn deliver(&mut self, server: bool) {
        match self.wire.pop_front() {
            Some(Forth::Batch { seq, kept }) => {
                if server {
                    self.receive(seq, kept);
                }
                self.step(Event::Taken);
            }
            Some(Forth::Hello { sent_ms, stats }) if server => self.answer(sent_ms, stats),
            _ => {}
        }
    }

    fn receive(&mut self, seq: u64, kept: u64) {
        self.received.insert(seq);
        self.received.extend(self.tells.get(&seq).into_iter().flatten());
        self.follow(kept);
        let ranges = self.ranges();
        assert!(ranges.len() <= (MAX_ACK_RANGES + WINDOW) * self.lives, "{} ranges in {} lives", ranges.len(), self.lives);
        let ahead = ranges.into_iter().take(MAX_ACK_RANGES).collect();
        self.back.push(Event::Ack(Ack { stream: 7, seq: self.contiguous, ahead }));
    }

    /// All before the oldest that can be read are acknowledged or on record as a gap.
    fn follow(&mut self, kept: u64) {
        self.contiguous = self.contiguous.max(kept - 1);
        while self.received.contains(&(self.contiguous + 1)) {
            self.contiguous += 1;
        }
    }

    /// What came ahead.
    fn ranges(&self) -> Vec<(u64, u64)> {
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        for seq in self.received.range(self.contiguous + 1..) {
            match ranges.last_mut() {
                Some(range) if range.1 + 1 == *seq => range.1 = *seq,
                _ => ranges.push((*seq, *seq)),
            }
        }
        ranges
    }

    fn answer(&mut self, sent_ms: i64, stats: Stats) {
        self.follow(stats.kept);
        let mut missing: Vec<(u64, u64)> = Vec::new();
        let mut from = self.contiguous + 1;
        for (first, last) in self.ranges().into_iter().chain([(stats.next, stats.next)]) {
            if from < first.min(stats.next) {
                missing.push((from, first.min(stats.next) - 1));
            }
            from = last + 1;
        }
        missing.truncate(MAX_ASK_RANGES);
        let echo = Some(Echo { sent_ms: sent_ms as u64, time_ms: 0 });
        self.back.push(Event::Ask(Ask { stream: 7, echo, missing, schemas: Vec::new() }));
    }

    fn arrives(&mut self, event: Event) {
        if let Event::Ack(ack) = &event {
            self.acknowledged.extend((1..=ack.seq).chain(ack.ahead.iter().flat_map(|(first, last)| *first..=*last)));
        }
        self.step(event);
    }

    fn act(&mut self, op: Op) {
        match op {
            Op::Append => {
                let untold = std::mem::take(&mut self.untold);
                self.tells.insert(self.stats.next, untold);
                self.stats.next += 1;
                self.step(Event::Buffer(self.stats));
            }
            Op::Drop if self.stats.oldest < self.stats.next => {
                let seq = self.stats.oldest;
                self.dropped.insert(seq);
                self.untold.insert(seq);
                self.untold.extend(self.tells.remove(&seq).unwrap_or_default());
                self.advance();
                self.step(Event::Buffer(self.stats));
            }
            Op::Erase => {
                self.stats.kept = self.stats.oldest;
                self.step(Event::Buffer(self.stats));
            }
            Op::Hold => self.held_from = self.held_from.or(Some(self.stats.next)),
            Op::Unhold => self.held_from = None,
            Op::Deliver { server } => self.deliver(server),
            Op::Arrives(index) if self.connected && !self.back.is_empty() => {
                let event = self.back.remove(index.index(self.back.len()));
                self.arrives(event);
            }
            Op::Twice(index) if self.connected && !self.back.is_empty() => {
                let event = self.back[index.index(self.back.len())].clone();
                self.arrives(event);
            }
            Op::Lost(index) if !self.back.is_empty() => {
                self.back.remove(index.index(self.back.len()));
            }
            Op::Forged { stream, beyond, ahead } if stream != 7 || beyond > 0 => {
                let seq = self.stats.next - 1 + beyond;
                let ack = if ahead { Ack { stream, seq: 0, ahead: vec![(1, seq.max(1))] } } else { Ack::through(stream, seq) };
                self.step(Event::Ack(ack));
            }
            Op::Restore(seq) => {
                // What is on its way was said before, and is lost with the server's connection.
                self.back.clear();
                self.received.retain(|received| *received <= seq);
                self.contiguous = self.contiguous.min(seq);
            }
            Op::Connect if !self.connected => {
                self.connected = true;
                self.step(Event::Connected);
            }
            Op::Disconnect if self.connected => assert_eq!(self.disconnect(), []),
            Op::Restart => {
                self.disconnect();
                self.lives += 1;
                self.uplink = uplink(self.order, self.stats);
            }
            Op::Wait(ms) => {
                self.now_ms += ms;
                self.step(Event::Tick);
            }
            _ => {}
        }
    }

    /// Everything works from now on; gives the rounds until all is with the server.
    fn settle(&mut self) -> Result<usize, TestCaseError> {
        self.act(Op::Unhold);
        // It brings the gap records that wait.
        self.act(Op::Append);
        for rounds in 0..300 {
            if rounds == 100 {
                // Only what was dropped may still be missing: of that the server hears by what can no longer be read.
                let missing = (self.stats.kept..self.stats.next).find(|seq| !self.received.contains(seq) && !self.dropped.contains(seq));
                prop_assert_eq!(missing, None);
                self.act(Op::Erase);
            }
            if self.stats.oldest == self.stats.next && self.contiguous + 1 == self.stats.next {
                return Ok(rounds);
            }
            self.act(Op::Connect);
            while !self.wire.is_empty() {
                self.deliver(true);
            }
            while !self.back.is_empty() {
                let event = self.back.remove(0);
                self.arrives(event);
            }
            self.act(Op::Wait(TIMEOUT_MS * i64::from(MAX_PATIENCE)));
        }
        Err(TestCaseError::fail(format!("still {:?}, the server has {} and {:?}", self.stats, self.contiguous, self.ranges())))
    }
}

fn order() -> impl Strategy<Value = Order> {
    prop::sample::select(vec![Order::LiveFirst, Order::NewestFirst, Order::OldestFirst])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn every_batch_arrives_and_none_is_released_before(order in order(), ops in prop::collection::vec(op(), 1..300)) {
        let mut world = World::new(order);
        for op in ops {
            world.act(op);
        }
        world.settle()?;
        for seq in 1..world.stats.next {
            // What was acknowledged and erased may be lost with a server; nothing else.
            let excused = world.acknowledged.contains(&seq) && seq < world.stats.kept;
            prop_assert!(world.received.contains(&seq) || excused, "batch {} never arrived", seq);
        }
        prop_assert_eq!((world.uplink.unacknowledged(), world.uplink.unsent()), (0, 0));
    }
}
