//! Polls of an agent in memory, faultless and not.

use std::path::Path;
use std::time::Duration;

use pattoo_wire::{Reason, Sample};

use super::agent::{Answer, MemoryAgent, Question, TOO_BIG};
use super::*;
use crate::profile::Profile;
use crate::profile::snmp::{Oid, Value};

const PROFILE: &str = "
schema: 1
id: p
manufacturer: x
model: x
snmp:
  tables:
    if:
      index: [if_index]
      identity: [1.3.1.1, 1.3.1.2]
      labels: { alias: 1.3.1.3 }
      discontinuity: 1.3.1.9
    sensor:
      index: [pdu, kind]
      only: { column: 1.3.2.5, equals: [1, true] }
points:
  - { name: name, read: { oid: 1.3.6.1.2.1.1.5.0, type: text } }
  - { name: either, read: { oid: 1.3.5.1.0, type: integer, or: { oid: 1.3.5.2.0 } } }
  - { name: octets, kind: counter, read: { table: if, column: 1.3.1.6, type: counter64, or: { column: 1.3.1.4, type: counter32 } } }
  - { name: rate, unit: By/s, read: { table: if, column: 1.3.1.4, type: counter32, rate: true } }
  - { name: value, read: { table: sensor, column: 1.3.2.1, type: integer, digits_column: 1.3.2.2, unit_column: { column: 1.3.2.3, units: { 8: Cel, 9: '%' } } } }
  - { name: power, read: { table: sensor, column: 1.3.2.1, type: integer, scale: 10, only: { index: kind, equals: 5 } } }
";
const NAME: PointIndex = PointIndex(0);
const EITHER: PointIndex = PointIndex(1);
const OCTETS: PointIndex = PointIndex(2);
const RATE: PointIndex = PointIndex(3);
const VALUE: PointIndex = PointIndex(4);
const POWER: PointIndex = PointIndex(5);
const ALL: [PointIndex; 6] = [NAME, EITHER, OCTETS, RATE, VALUE, POWER];
const EVERY_MS: i64 = 30_000;

fn device() -> Device {
    let profile = Profile::read(Path::new("p.yaml"), PROFILE.as_bytes()).unwrap_or_else(|problems| panic!("{problems:?}"));
    let every = Duration::from_millis(EVERY_MS.unsigned_abs());
    Device { name: "d".into(), profile: Arc::new(profile), unit: 0, every, labels: Default::default() }
}

fn oid(text: &str) -> Oid {
    text.parse().unwrap()
}

fn text(text: &str) -> Value {
    Value::Octets(text.as_bytes().to_vec())
}

fn agent() -> MemoryAgent {
    let objects = [
        ("1.3.6.1.2.1.1.3.0", Value::Ticks(1_000)),
        ("1.3.6.1.2.1.1.5.0", text("sw")),
        ("1.3.5.2.0", Value::Integer(7)),
        ("1.3.1.1.1", text("eth0")),
        ("1.3.1.1.2", text("eth1")),
        ("1.3.1.3.1", text("uplink")),
        ("1.3.1.4.1", Value::Counter32(100)),
        ("1.3.1.4.2", Value::Counter32(200)),
        ("1.3.1.6.1", Value::Counter64(1 << 40)),
        ("1.3.1.9.1", Value::Ticks(0)),
        ("1.3.1.9.2", Value::Ticks(0)),
        ("1.3.2.1.1.5", Value::Integer(235)),
        ("1.3.2.1.1.6", Value::Integer(481)),
        ("1.3.2.1.1.7", Value::Integer(1)),
        ("1.3.2.1.2.5", Value::Integer(9)),
        ("1.3.2.2.1.5", Value::Integer(1)),
        ("1.3.2.2.1.6", Value::Integer(2)),
        ("1.3.2.2.1.7", Value::Integer(0)),
        ("1.3.2.3.1.5", Value::Integer(8)),
        ("1.3.2.3.1.6", Value::Integer(9)),
        ("1.3.2.3.1.7", Value::Integer(12)),
        ("1.3.2.5.1.5", Value::Integer(1)),
        ("1.3.2.5.1.6", Value::Integer(1)),
        ("1.3.2.5.1.7", Value::Integer(1)),
        ("1.3.2.5.2.5", Value::Integer(2)),
    ];
    MemoryAgent { takes_ms: 1, ..MemoryAgent::new(objects.map(|(name, value)| (oid(name), value))) }
}

/// An agent that does to its answers what a test says.
struct Faulty<'f> {
    inner: MemoryAgent,
    fault: &'f mut (dyn FnMut(&Question, Answer) -> Result<Answer, Reason> + Send),
}

impl Agent for Faulty<'_> {
    async fn ask(&mut self, question: &Question) -> Result<Answer, Reason> {
        let answer = self.inner.ask(question).await?;
        (self.fault)(question, answer)
    }

    fn has_bulk(&self) -> bool {
        self.inner.has_bulk()
    }

    fn miss(&mut self, what: &'static str) {
        self.inner.miss(what);
    }
}

fn shown(device: &Device, transactions: &[Transaction]) -> Vec<String> {
    let mut readings: Vec<_> = transactions.iter().flat_map(|t| &t.readings).collect();
    readings.sort_by_key(|reading| (reading.point, reading.row.as_ref().map(|row| row.identity.clone())));
    let one = |reading: &&crate::reading::Reading| {
        let name = &device.profile.points[reading.point.0].name;
        let row = reading.row.as_ref().map(|row| format!("[{}]{}", row.identity, row.unit.as_deref().unwrap_or(""))).unwrap_or_default();
        match &reading.sample {
            Sample::Good(value) => format!("{name}{row}={value}"),
            other => format!("{name}{row}!{}", other.reason().unwrap()),
        }
    };
    readings.iter().map(one).collect()
}

async fn read_at<A: Agent>(agent: &mut A, memory: &mut Memory, points: &[PointIndex], now_ms: i64) -> Vec<String> {
    let device = device();
    shown(&device, &read(agent, memory, (DeviceIndex(0), &device), points, || now_ms).await)
}

/// The next poll of an agent whose clock goes on.
async fn later(agent: &mut MemoryAgent, memory: &mut Memory, points: &[PointIndex]) -> Vec<String> {
    agent.now_ms += EVERY_MS;
    if let Some(Value::Ticks(ticks)) = agent.objects.get_mut(&oid("1.3.6.1.2.1.1.3.0")) {
        *ticks += u32::try_from(EVERY_MS / 10).unwrap();
    }
    let now_ms = agent.now_ms;
    read_at(agent, memory, points, now_ms).await
}

const FIRST: [&str; 9] = [
    "name=sw",
    "either=7",
    "octets[eth0]=1099511627776",
    "octets[eth1]=200",
    "rate[eth0]!first look at a counter",
    "rate[eth1]!first look at a counter",
    "value[1.5]Cel=23.5",
    "value[1.6]%=4.81",
    "power[1.5]=2350",
];

#[tokio::test]
async fn objects_and_tables_are_read_with_the_names_and_units_of_their_rows() {
    for (old, room) in [(false, 0), (false, 5), (true, 0)] {
        let mut agent = MemoryAgent { old, room, ..agent() };
        let mut memory = Memory::default();
        assert_eq!(read_at(&mut agent, &mut memory, &ALL, 0).await, FIRST, "{old} {room}");
        agent.objects.insert(oid("1.3.1.4.1"), Value::Counter32(100 + 60_000));
        let second = later(&mut agent, &mut memory, &ALL).await;
        assert!(second.contains(&"rate[eth1]=0".to_owned()), "{second:?}");
        assert!(second.iter().any(|reading| reading.starts_with("rate[eth0]=199") || reading.starts_with("rate[eth0]=200")), "{second:?}");
    }
}

#[tokio::test]
async fn names_and_labels_are_not_walked_at_each_poll() {
    let (mut agent, mut memory) = (agent(), Memory::default());
    read_at(&mut agent, &mut memory, &[OCTETS], 0).await;
    let named = |agent: &MemoryAgent| {
        let walks = |question: &Question| match question {
            Question::Bulk { after, .. } => after.iter().any(|oid| oid.below(&self::oid("1.3.1.1")).is_some()),
            _ => false,
        };
        agent.asked.iter().any(walks)
    };
    assert!(named(&agent));
    for (what, change, expected) in [
        ("nothing", None, false),
        ("a new row", Some(("1.3.1.4.3", Some(Value::Counter32(5)))), true),
        ("a row gone", Some(("1.3.1.4.3", None)), true),
        ("the agent is new", Some(("1.3.6.1.2.1.1.3.0", Some(Value::Ticks(0)))), true),
        ("nothing again", None, false),
    ] {
        agent.asked.clear();
        match change {
            Some((name, Some(value))) => drop(agent.objects.insert(oid(name), value)),
            Some((name, None)) => drop(agent.objects.remove(&oid(name))),
            None => {}
        }
        later(&mut agent, &mut memory, &[OCTETS]).await;
        assert_eq!(named(&agent), expected, "{what}");
    }
    agent.asked.clear();
    agent.now_ms += 700_000;
    agent.objects.insert(oid("1.3.6.1.2.1.1.3.0"), Value::Ticks(200_000));
    later(&mut agent, &mut memory, &[OCTETS]).await;
    assert!(named(&agent), "after ten minutes");
}

#[tokio::test]
async fn numbers_that_are_dealt_out_anew_take_their_names_with_them() {
    let (mut agent, mut memory) = (agent(), Memory::default());
    read_at(&mut agent, &mut memory, &[OCTETS], 0).await;
    // The agent starts anew and counts its interfaces from the other end.
    agent.objects.insert(oid("1.3.1.1.1"), text("eth1"));
    agent.objects.insert(oid("1.3.1.1.2"), text("eth0"));
    agent.objects.insert(oid("1.3.6.1.2.1.1.3.0"), Value::Ticks(5));
    assert_eq!(read_at(&mut agent, &mut memory, &[OCTETS], 1_000).await, ["octets[eth0]=200", "octets[eth1]=1099511627776"]);
}

#[tokio::test]
async fn a_row_that_is_gone_is_bad_once() {
    let (mut agent, mut memory) = (agent(), Memory::default());
    read_at(&mut agent, &mut memory, &ALL, 0).await;
    agent.objects.remove(&oid("1.3.1.4.2"));
    agent.objects.insert(oid("1.3.2.5.1.5"), Value::Integer(2));
    let second = later(&mut agent, &mut memory, &ALL).await;
    for gone in ["octets[eth1]!unavailable", "rate[eth1]!unavailable", "value[1.5]Cel!unavailable", "power[1.5]!unavailable"] {
        assert!(second.contains(&gone.to_owned()), "{gone}: {second:?}");
    }
    let third = later(&mut agent, &mut memory, &ALL).await;
    assert!(!third.iter().any(|reading| reading.contains("eth1") || reading.contains("1.5")), "{third:?}");
}

#[tokio::test]
async fn an_agent_that_is_silent_is_asked_one_thing() {
    let mut silent = |_: &Question, _| Err(Reason::Timeout);
    let mut agent = Faulty { inner: agent(), fault: &mut silent };
    let mut memory = Memory::default();
    let first = read_at(&mut agent, &mut memory, &ALL, 0).await;
    assert_eq!(first, ["name!timeout", "either!timeout", "octets!timeout", "rate!timeout", "value!timeout", "power!timeout"]);
    assert_eq!(agent.inner.asked.len(), 1);
    // Once its rows are known they are bad, each once.
    let mut good = agent.inner.clone();
    good.asked.clear();
    read_at(&mut good, &mut memory, &ALL, 1_000).await;
    let mut agent = Faulty { inner: good, fault: &mut silent };
    let bad: Vec<_> = FIRST.map(|reading| reading.split(['=', '!']).next().unwrap().to_owned() + "!timeout").to_vec();
    assert_eq!(read_at(&mut agent, &mut memory, &ALL, 2_000).await, bad);
}

#[tokio::test]
async fn what_came_before_a_timeout_stays_good() {
    let mut late = |question: &Question, answer| match question {
        Question::Get(_) => Ok(answer),
        _ => Err(Reason::Timeout),
    };
    let mut agent = Faulty { inner: agent(), fault: &mut late };
    let readings = read_at(&mut agent, &mut Memory::default(), &ALL, 0).await;
    assert_eq!(readings, ["name=sw", "either=7", "octets!timeout", "rate!timeout", "value!timeout", "power!timeout"]);
}

#[tokio::test]
async fn names_that_cannot_be_read_are_never_made_up() {
    // The values of a new interface are read, the walk over names is lost.
    let (mut good, mut memory) = (agent(), Memory::default());
    read_at(&mut good, &mut memory, &[OCTETS], 0).await;
    good.objects.insert(oid("1.3.1.4.3"), Value::Counter32(5));
    let mut lossy = |question: &Question, answer| match question {
        Question::Bulk { after, .. } if after.contains(&oid("1.3.1.1")) => Err(Reason::Timeout),
        _ => Ok(answer),
    };
    let mut agent = Faulty { inner: good, fault: &mut lossy };
    assert_eq!(read_at(&mut agent, &mut memory, &[OCTETS], 1_000).await, ["octets[eth0]!timeout", "octets[eth1]!timeout"]);
    let mut good = agent.inner;
    let third = read_at(&mut good, &mut memory, &[OCTETS], 2_000).await;
    assert_eq!(third, ["octets[3]=5", "octets[eth0]=1099511627776", "octets[eth1]=200"]);
}

#[tokio::test]
async fn a_value_that_cannot_be_understood_costs_only_itself() {
    let bad = [oid("1.3.6.1.2.1.1.5.0"), oid("1.3.1.4.1")];
    let mut cut = |_: &Question, mut answer: Answer| {
        let end = answer.bindings.iter().position(|(oid, _)| bad.contains(oid)).unwrap_or(answer.bindings.len());
        answer.bindings.truncate(end);
        Ok(answer)
    };
    let mut agent = Faulty { inner: agent(), fault: &mut cut };
    let readings = read_at(&mut agent, &mut Memory::default(), &[NAME, EITHER, OCTETS, RATE], 0).await;
    let expected = [
        "name!malformed reply",
        "either=7",
        "octets[eth0]=1099511627776",
        "octets[eth1]=200",
        "rate[eth0]!malformed reply",
        "rate[eth1]!first look at a counter",
    ];
    assert_eq!(readings, expected);
    assert!(agent.inner.misses["malformed"] > 0);
}

#[tokio::test]
async fn a_refusal_is_named_and_costs_only_what_it_blames() {
    let mut refuse = |question: &Question, answer: Answer| match question {
        Question::Get(oids) => {
            let place = oids.iter().position(|oid| *oid == self::oid("1.3.6.1.2.1.1.5.0"));
            Ok(place.map_or(answer, |place| Answer { status: 5, index: u32::try_from(place).unwrap() + 1, ..Answer::default() }))
        }
        _ => Ok(answer),
    };
    let mut agent = Faulty { inner: agent(), fault: &mut refuse };
    let readings = read_at(&mut agent, &mut Memory::default(), &[NAME, EITHER], 0).await;
    assert_eq!(readings, ["name!SNMP error 5 (general error)", "either=7"]);
    // One that refuses everything has an end too.
    let mut refuse = |_: &Question, _| Ok(Answer { status: TOO_BIG, ..Answer::default() });
    let mut agent = Faulty { inner: self::agent(), fault: &mut refuse };
    let readings = read_at(&mut agent, &mut Memory::default(), &[NAME, OCTETS], 0).await;
    assert_eq!(readings, ["name!SNMP error 1 (too big)", "octets!SNMP error 1 (too big)"]);
}

#[tokio::test]
async fn a_place_that_was_chosen_is_kept() {
    let (mut agent, mut memory) = (agent(), Memory::default());
    read_at(&mut agent, &mut memory, &[EITHER, OCTETS], 0).await;
    // A row whose counter of 64 bits is not there this time is not told by another counter.
    let mut hide = |_: &Question, mut answer: Answer| {
        answer.bindings.retain(|(oid, _)| *oid != self::oid("1.3.1.6.1"));
        Ok(answer)
    };
    agent.objects.insert(oid("1.3.5.1.0"), Value::Integer(99));
    let mut agent = Faulty { inner: agent, fault: &mut hide };
    let readings = read_at(&mut agent, &mut memory, &[EITHER], 1_000).await;
    assert_eq!(readings, ["either=7"]);
}

#[tokio::test]
async fn a_restart_and_a_missed_poll_are_no_spikes() {
    let (mut agent, mut memory) = (agent(), Memory::default());
    let rate = |readings: Vec<String>| readings.into_iter().find(|reading| reading.starts_with("rate[eth0]")).unwrap();
    later(&mut agent, &mut memory, &[RATE]).await;
    assert_eq!(rate(later(&mut agent, &mut memory, &[RATE]).await), "rate[eth0]=0");
    agent.objects.insert(oid("1.3.6.1.2.1.1.3.0"), Value::Ticks(3));
    agent.objects.insert(oid("1.3.1.4.1"), Value::Counter32(50));
    assert_eq!(rate(later(&mut agent, &mut memory, &[RATE]).await), "rate[eth0]!counter began anew");
    assert_eq!(rate(later(&mut agent, &mut memory, &[RATE]).await), "rate[eth0]=0");
    agent.objects.insert(oid("1.3.1.9.1"), Value::Ticks(77));
    assert_eq!(rate(later(&mut agent, &mut memory, &[RATE]).await), "rate[eth0]!counter began anew");
    agent.now_ms += EVERY_MS;
    agent.objects.entry(oid("1.3.6.1.2.1.1.3.0")).and_modify(|value| *value = Value::Ticks(12_003));
    assert_eq!(rate(later(&mut agent, &mut memory, &[RATE]).await), "rate[eth0]!missed the look before");
    assert_eq!(rate(later(&mut agent, &mut memory, &[RATE]).await), "rate[eth0]=0");
}
