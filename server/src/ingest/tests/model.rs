//! The core against a gateway and a network that do their worst: batches lost, doubled and overtaking each other, commits that fail,
//! restarts, a buffer that overflows, a server put back to its backup. In the end every reading that was made is stored once, or
//! on record as lost. Hellos may be lost and doubled but not overtaken: MQTT keeps the order of one client, and one that is late cannot
//! be told from one of a buffer that was put back to an older image.

use std::collections::BTreeMap;
use std::path::Path;

use pattoo_wire::{ClockSource, Hello};
use proptest::sample::Index;

use super::*;

/// A gateway after the contract: it numbers, holds, drops the oldest with a record, joins records, and releases what is acknowledged.
#[derive(Default)]
struct Gateway {
    next: u64,
    oldest: u64,
    /// What it made, also what it holds no longer.
    made: BTreeMap<u64, Batch>,
    /// Records that no batch carries yet.
    pending: Vec<Gap>,
    time_ms: i64,
    sent_ms: u64,
}

impl Gateway {
    fn make(&mut self, readings: u8) {
        self.next += 1;
        let times_ms: Vec<i64> = (0..i64::from(readings)).map(|n| self.time_ms + n).collect();
        self.time_ms += 10;
        let samples = times_ms.iter().map(|at| Sample::Good(Value::int(*at))).collect();
        let blocks = if readings == 0 { vec![] } else { vec![Block { series: vec![0], times_ms, samples }] };
        self.made.insert(self.next, Batch { blocks, gaps: std::mem::take(&mut self.pending) });
    }

    fn readings(&self, seqs: std::ops::RangeInclusive<u64>) -> u64 {
        self.made.range(seqs).map(|(_, batch)| batch.readings() as u64).sum()
    }

    fn drop_oldest(&mut self) {
        if self.oldest > self.next {
            return;
        }
        let seq = self.oldest;
        self.oldest += 1;
        self.pending.extend(self.made[&seq].gaps.clone());
        let readings = self.readings(seq..=seq);
        self.pending.push(Gap { from_ms: 0, to_ms: 0, first_seq: seq, last_seq: seq, readings, reason: GapReason::BufferFull });
        self.pending.sort_by_key(|gap| gap.first_seq);
        let mut joined: Vec<Gap> = Vec::new();
        for gap in self.pending.drain(..) {
            match joined.last_mut().filter(|last| last.last_seq + 1 == gap.first_seq) {
                Some(last) => {
                    last.last_seq = gap.last_seq;
                    last.readings += gap.readings;
                }
                None => joined.push(gap),
            }
        }
        self.pending = joined;
    }

    fn message(&self, seq: u64) -> (String, Vec<u8>) {
        (topic::data("g1"), data(&schema("V"), seq, self.oldest.min(seq), &self.made[&seq]))
    }

    fn hello(&mut self) -> (String, Vec<u8>) {
        self.sent_ms += 1;
        let hello =
            Hello { stream: STREAM, oldest: self.oldest, next: self.next + 1, sent_ms: self.sent_ms, time_ms: 0, source: ClockSource::Ntp };
        (topic::hello("g1"), hello.encode().unwrap())
    }

    fn hears(&mut self, processed: &Processed) {
        for (_, ack) in &processed.acks {
            self.oldest = self.oldest.max(ack.seq.min(self.next) + 1);
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Make(u8),
    Send(Index),
    /// Whether its answer comes back.
    Hello(bool),
    /// The latest one once more.
    HelloAgain,
    /// Which message, whether it comes once more, whether its answer comes back, whether the commit fails.
    Deliver(Index, bool, bool, bool),
    Lose(Index),
    Drop,
    Restart,
    Backup,
    Restore,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let index = any::<Index>;
    let deliver = (index(), any::<bool>(), any::<bool>(), prop::bool::weighted(0.1));
    let step = prop_oneof![
        8 => (0u8..4).prop_map(Step::Make),
        8 => index().prop_map(Step::Send),
        2 => any::<bool>().prop_map(Step::Hello),
        1 => Just(Step::HelloAgain),
        12 => deliver.prop_map(|(which, twice, answered, fails)| Step::Deliver(which, twice, answered, fails)),
        3 => index().prop_map(Step::Lose),
        3 => Just(Step::Drop),
        1 => Just(Step::Restart),
        1 => Just(Step::Backup),
        1 => Just(Step::Restore),
    ];
    prop::collection::vec(step, 1..120)
}

struct World {
    gateway: Gateway,
    network: Vec<(String, Vec<u8>)>,
    hello: Option<(String, Vec<u8>)>,
    store: Memory,
    backup: Memory,
    core: Core,
}

fn core(store: &Memory) -> Core {
    Core::new(Arc::new(store.clone()), Letters::new(Path::new("/nowhere/letters")), Arc::new(Live::default())).unwrap()
}

impl World {
    fn new() -> Self {
        let store = Memory::default();
        let mut world = Self {
            gateway: Gateway { oldest: 1, ..Gateway::default() },
            network: Vec::new(),
            hello: None,
            core: core(&store),
            backup: Memory::default(),
            store,
        };
        let (id, message) = schema("V").encode().unwrap();
        world.process(&(topic::schema("g1", id), message));
        world.backup = world.store.copy();
        world
    }

    fn process(&mut self, (topic, payload): &(String, Vec<u8>)) -> Processed {
        self.core.process(&[Message { topic: topic.clone(), payload: payload.clone(), retained: false }], 5000)
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Make(readings) => self.gateway.make(*readings),
            Step::Send(which) => {
                let held: Vec<u64> = (self.gateway.oldest..=self.gateway.next).collect();
                if !held.is_empty() {
                    self.network.push(self.gateway.message(*which.get(&held)));
                }
            }
            Step::Hello(answered) => {
                let hello = self.gateway.hello();
                let processed = self.process(&hello);
                if *answered {
                    self.gateway.hears(&processed);
                }
                self.hello = Some(hello);
            }
            Step::HelloAgain => {
                if let Some(hello) = self.hello.clone() {
                    self.process(&hello);
                }
            }
            Step::Deliver(which, twice, answered, fails) if !self.network.is_empty() => {
                let which = which.index(self.network.len());
                let message = if *twice { self.network[which].clone() } else { self.network.swap_remove(which) };
                self.store.fail(fails.then_some("disk full"));
                let processed = self.process(&message);
                self.store.fail(None);
                if *answered {
                    self.gateway.hears(&processed);
                }
            }
            Step::Lose(which) if !self.network.is_empty() => {
                let which = which.index(self.network.len());
                self.network.swap_remove(which);
            }
            Step::Drop => self.gateway.drop_oldest(),
            Step::Restart => (self.core, self.hello) = (core(&self.store), None),
            Step::Backup => self.backup = self.store.copy(),
            Step::Restore => {
                self.store = self.backup.copy();
                (self.core, self.hello) = (core(&self.store), None);
            }
            Step::Deliver(..) | Step::Lose(_) => {}
        }
    }

    /// Everything late comes, then the gateway says what it holds and sends what it is asked for.
    fn settle(&mut self) {
        for message in std::mem::take(&mut self.network) {
            self.process(&message);
        }
        // Carries the last records.
        self.gateway.make(1);
        for _ in 0..3 {
            let hello = self.gateway.hello();
            let processed = self.process(&hello);
            let missing: Vec<_> = processed.asks[0].1.missing.iter().flat_map(|(first, last)| *first..=*last).collect();
            for seq in missing {
                let message = self.gateway.message(seq);
                self.process(&message);
            }
        }
        let hello = self.gateway.hello();
        let processed = self.process(&hello);
        assert_eq!((acks(&processed), &processed.asks[0].1.missing), (vec![self.gateway.next], &vec![]));
    }

    fn check(&self) {
        let series = self.store.load().unwrap().series;
        let of = |point: &str| series.iter().find(|series| series.entry.point == point).map(|series| series.id);
        let stored = of("voltage").map_or(vec![], |id| self.store.raw(id, i64::MIN, i64::MAX, usize::MAX).unwrap());
        for reading in &stored {
            assert_eq!(reading.sample, Sample::Good(Value::int(reading.at_ms)));
        }
        let gaps = self.store.gaps("g1", i64::MIN, i64::MAX).unwrap();
        let lost: u64 = gaps.iter().map(|gap| gap.readings).sum();
        // What the server had and lost, the gateway knows no more: on record by its numbers.
        let own = gaps.iter().filter(|gap| gap.reason == GapReason::NotHeld);
        let not_held: u64 = own.map(|gap| self.gateway.readings(gap.first_seq..=gap.last_seq)).sum();
        let made = self.gateway.readings(0..=u64::MAX);
        assert_eq!(stored.len() as u64 + lost + not_held, made, "stored {}, lost {lost}, not held {not_held}: {gaps:#?}", stored.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn every_reading_made_is_stored_once_or_on_record(steps in steps()) {
        let mut world = World::new();
        steps.iter().for_each(|step| world.step(step));
        world.settle();
        world.check();
    }
}
