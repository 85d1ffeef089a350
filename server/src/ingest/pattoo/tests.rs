//! The compatibility cases of old agents, from bytes to the store in memory; `tests/tests/old_agents.rs` has those that need
//! real programs. Two of the thirteen are not about what agents post: Pattoo's own YAML (12) and its users (13, but for its agents).

use std::sync::Arc;

use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};

use super::*;
use crate::catalog::MAX_GATEWAYS;
use crate::ingest::core::posts::{Post, Posted};
use crate::ingest::{Core, Letters};
use crate::live::Live;
use crate::store::Store;
use crate::store::memory::Memory;

const NOW: i64 = 1_700_000_000_000;
const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const GATEWAY: &str = "snmpd:0123456789abcdef";

/// A datapoint as the library of old agents makes it.
#[derive(Clone)]
struct Datapoint {
    key: &'static str,
    value: Json,
    data_type: i64,
    at_ms: i64,
    target: String,
    /// Key, value, and whether it belongs to the checksum.
    metadata: Vec<(&'static str, String, bool)>,
    interval_ms: i64,
}

impl Datapoint {
    fn new(key: &'static str, data_type: i64, value: impl Into<Json>, at_ms: i64) -> Self {
        let (target, metadata) = ("10.0.0.9".to_owned(), Vec::new());
        Self { key, value: value.into(), data_type, at_ms, target, metadata, interval_ms: 300_000 }
    }

    fn with(mut self, metadata: &[(&'static str, &str, bool)]) -> Self {
        self.metadata.extend(metadata.iter().map(|(key, value, belongs)| (*key, (*value).to_owned(), *belongs)));
        self
    }

    fn pairs(&self) -> Vec<(String, Json)> {
        let hash = |text: String| Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let mut checksum = hash(format!("{}{}", self.key, self.data_type));
        let agent = [
            ("pattoo_agent_hostname", "box.example".to_owned(), true),
            ("pattoo_agent_id", ID.to_owned(), true),
            ("pattoo_agent_polled_target", self.target.clone(), true),
            ("pattoo_agent_program", "pattoo_agent_snmpd".to_owned(), true),
            ("pattoo_agent_polling_interval", self.interval_ms.to_string(), false),
        ];
        let mut pairs = Vec::new();
        for (key, value, belongs) in self.metadata.iter().cloned().chain(agent) {
            if belongs {
                checksum = hash(format!("{checksum}{key}{value}"));
            }
            pairs.push((key.to_owned(), json!(value)));
        }
        pairs.extend([
            ("pattoo_key".into(), json!(self.key)),
            ("pattoo_data_type".into(), json!(self.data_type)),
            ("pattoo_value".into(), self.value.clone()),
            ("pattoo_timestamp".into(), json!(self.at_ms)),
            ("pattoo_checksum".into(), json!(checksum)),
        ]);
        pairs
    }
}

fn body_of(datapoints: &[Vec<(String, Json)>]) -> Json {
    let mut pairs: Vec<(String, Json)> = Vec::new();
    let mut index = |pair: &(String, Json)| {
        pairs.iter().position(|known| known == pair).unwrap_or_else(|| {
            pairs.push(pair.clone());
            pairs.len() - 1
        })
    };
    let lists: Vec<Vec<usize>> = datapoints.iter().map(|datapoint| datapoint.iter().map(&mut index).collect()).collect();
    let pairs: serde_json::Map<_, _> =
        pairs.into_iter().enumerate().map(|(n, (key, value))| (n.to_string(), json!([key, value]))).collect();
    json!({
        "pattoo_agent_timestamp": NOW, "pattoo_agent_id": ID, "pattoo_agent_polling_interval": 300_000,
        "pattoo_datapoints": { "key_value_pairs": pairs, "datapoint_pairs": lists },
    })
}

fn body(datapoints: &[Datapoint]) -> Json {
    body_of(&datapoints.iter().map(Datapoint::pairs).collect::<Vec<_>>())
}

/// A core over a store in memory.
struct Bed {
    core: Core,
    store: Memory,
    live: Arc<Live>,
    folder: tempfile::TempDir,
}

impl Bed {
    fn new() -> Self {
        let (store, live, folder) = (Memory::default(), Arc::new(Live::default()), tempfile::tempdir().unwrap());
        let core = Core::new(Arc::new(store.clone()), Letters::new(&folder.path().join("dead-letter")), live.clone()).unwrap();
        Self { core, store, live, folder }
    }

    fn post(&mut self, body: &Json) -> Posted {
        self.post_bytes(body.to_string().as_bytes())
    }

    fn post_bytes(&mut self, body: &[u8]) -> Posted {
        let post = Post { from: "127.0.0.1:1 /pattoo/api/v1/agent/receive/x".into(), body: body.to_vec() };
        let taken = read(body, self.core.now(NOW));
        self.core.take_posts(&[post], vec![taken], NOW).remove(0)
    }

    /// All series: gateway, device, point and readings.
    fn held(&self) -> Vec<(String, Vec<(i64, Sample)>)> {
        let mut series = self.store.load().unwrap().series;
        series.sort_by_key(|entry| entry.id);
        let readings = |id| self.store.raw(id, 0, i64::MAX, 1000).unwrap().into_iter().map(|r| (r.at_ms, r.sample)).collect();
        series.iter().map(|s| (format!("{}/{}/{}", s.gateway, s.device, s.entry.point), readings(s.id))).collect()
    }

    fn labels(&self, point: &str) -> Labels {
        self.store.load().unwrap().series.into_iter().find(|s| s.entry.point == point).unwrap().entry.labels
    }

    fn letters(&self) -> usize {
        std::fs::read_dir(self.folder.path().join("dead-letter")).map_or(0, Iterator::count)
    }
}

fn stored(posted: &Posted) -> (usize, Vec<&str>) {
    match posted {
        Posted::Stored { readings, refused } => (*readings, refused.iter().map(|r| r.why.as_str()).collect()),
        other => panic!("{other:?}"),
    }
}

fn good(value: Value) -> Sample {
    Sample::Good(value)
}

#[test]
fn case_01_the_documented_body_is_stored_and_the_same_again_stores_nothing_new() {
    let mut bed = Bed::new();
    let body = body(&[
        Datapoint::new("cpu", 101, 12.5, NOW - 1000).with(&[("unit", "5", true)]),
        Datapoint::new("if_in", 64, u64::MAX, NOW - 1000),
    ]);
    for _ in 0..2 {
        assert_eq!(stored(&bed.post(&body)), (2, vec![]));
    }
    let expected = [
        (format!("{GATEWAY}/10.0.0.9/cpu[unit=5]"), vec![(NOW - 1000, good(Value::F64(12.5)))]),
        (format!("{GATEWAY}/10.0.0.9/if_in"), vec![(NOW - 1000, good(Value::Unsigned(u64::MAX)))]),
    ];
    assert_eq!(bed.held(), expected);
    assert_eq!((bed.live.replaced_readings(), bed.letters()), (0, 0));
    let entry = bed.live.find(GATEWAY, "10.0.0.9", "if_in").unwrap();
    assert_eq!((entry.profile.as_str(), entry.entry.kind), ("pattoo_agent_snmpd", Kind::Counter));
    assert_eq!((entry.entry.labels["bits"].as_str(), entry.device_labels["pattoo_agent_hostname"].as_str()), ("64", "box.example"));
    let live = bed.live.gateway(GATEWAY).unwrap();
    assert_eq!((live.last_seen_ms, live.counters.readings), (Some(NOW), 4));
}

#[test]
fn case_02_what_is_no_such_body_is_refused_with_a_reason_and_changes_nothing() {
    let whole = body(&[Datapoint::new("cpu", 99, 1, NOW)]);
    let changed = |change: &dyn Fn(&mut Json)| {
        let mut body = whole.clone();
        change(&mut body);
        body
    };
    for (body, words) in [
        (changed(&|b| b["fifth"] = json!(1)), "unknown field `fifth`"),
        (changed(&|b| drop(b.as_object_mut().unwrap().remove("pattoo_agent_id"))), "missing field `pattoo_agent_id`"),
        (changed(&|b| b["pattoo_datapoints"]["datapoint_pairs"][0][0] = json!(99)), "no pair 99"),
        (changed(&|b| b["pattoo_datapoints"]["datapoint_pairs"][0] = json!([])), "pattoo_agent_id is missing"),
        (json!([1]), "exactly the keys"),
        (json!("x"), "exactly the keys"),
        (json!(null), "exactly the keys"),
    ] {
        let mut bed = Bed::new();
        let Posted::Refused(why) = bed.post(&body) else { panic!("{body} was taken") };
        assert!(why.contains(words), "{why}");
        assert!(bed.held().is_empty() && bed.letters() == 0);
    }
    for (bytes, words) in [(&b"{\"pattoo"[..], "EOF"), (b"\xff", "not UTF-8 from byte 0"), (b"", "EOF")] {
        let Posted::Refused(why) = Bed::new().post_bytes(bytes) else { panic!() };
        assert!(why.contains(words), "{why}");
    }
}

#[test]
fn case_02_one_bad_datapoint_costs_only_itself_and_is_kept_for_a_person() {
    let mut bed = Bed::new();
    let mut body = body(&[
        Datapoint::new("a", 99, 1, NOW),
        Datapoint::new("b", 99, json!([1]), NOW),
        Datapoint::new("c", 77, 1, NOW),
        Datapoint::new("d", 99, 4, NOW),
    ]);
    body["pattoo_datapoints"]["datapoint_pairs"].as_array_mut().unwrap().push(json!([0, 1, 999]));
    let posted = bed.post(&body);
    let (readings, refused) = stored(&posted);
    assert_eq!((readings, refused.len()), (2, 3));
    for (why, words) in refused.iter().zip(["found a list, expected a number", "found 77, expected 101", "no pair 999"]) {
        assert!(why.contains(words), "{why}");
    }
    assert_eq!(bed.held().len(), 2);
    assert_eq!((bed.letters(), bed.live.gateway(GATEWAY).unwrap().counters.rejects["datapoint"]), (1, 2));
    // It is on record, once however often it comes.
    bed.post(&body);
    let gaps = bed.store.gaps(GATEWAY, 0, i64::MAX).unwrap();
    assert_eq!((gaps.len(), gaps[0].readings, gaps[0].reason), (1, 2, pattoo_wire::GapReason::Refused));
    assert_eq!(bed.letters(), 1);
}

#[test]
fn case_03_a_backlog_in_any_order_is_all_there_and_tells_nothing_new_of_the_series() {
    let mut bed = Bed::new();
    let at =
        |n: i64, alias: &str| Datapoint::new("if_in", 64, n, NOW - n * 1000).with(&[("ifname", "eth0", true), ("ifalias", alias, false)]);
    bed.post(&body(&[at(0, "new")]));
    for n in [3, 1, 2, 3] {
        assert_eq!(stored(&bed.post(&body(&[at(n, "old"), at(n + 10, "older")]))).0, 2);
    }
    let held = bed.held();
    assert_eq!(held.len(), 1);
    assert_eq!(held[0].1.iter().map(|(at, _)| (NOW - at) / 1000).collect::<Vec<_>>(), [13, 12, 11, 3, 2, 1, 0]);
    assert_eq!(bed.labels("if_in[ifname=eth0]")["ifalias"], "new");
}

#[test]
fn case_04_an_old_agent_is_never_left_with_a_body_that_no_resend_can_help() {
    // Old agents double a body that is refused on each round. Theirs are refused for their clock only.
    let mut bed = Bed::new();
    let wrong_clock = body(&[Datapoint::new("a", 99, 1, 5000), Datapoint::new("b", 99, 1, NOW + 86_400_000)]);
    let (readings, refused) = (0, 2);
    let posted = bed.post(&wrong_clock);
    let told = stored(&posted);
    assert_eq!((told.0, told.1.len(), bed.letters()), (readings, refused, 1));
    assert!(told.1[0].contains("its clock is not set") && told.1[1].contains("far future"), "{told:?}");
    assert_eq!(bed.store.gaps(GATEWAY, 0, i64::MAX).unwrap()[0].readings, 2);
}

#[test]
fn case_07_what_describes_may_change_and_what_identifies_may_not() {
    let mut bed = Bed::new();
    let points = |bed: &Bed| bed.held().into_iter().map(|(name, _)| name.rsplit('/').next().unwrap().to_owned()).collect::<Vec<_>>();
    let of = |at: i64, metadata: &[(&'static str, &str, bool)]| body(&[Datapoint::new("used", 99, 1, NOW + at).with(metadata)]);
    bed.post(&of(0, &[("ifname", "eth0", true), ("ifalias", "a", false), ("Release", "5.4", false)]));
    bed.post(&of(1, &[("ifname", "eth0", true), ("ifalias", "b", false), ("Release", "6.1", false)]));
    assert_eq!(points(&bed), ["used[ifname=eth0]"]);
    assert_eq!((bed.labels("used[ifname=eth0]")["ifalias"].as_str(), bed.labels("used[ifname=eth0]")["release"].as_str()), ("b", "6.1"));
    bed.post(&of(2, &[("ifname", "eth1", true), ("ifalias", "b", false)]));
    assert_eq!(points(&bed), ["used[ifname=eth0]", "used[ifname=eth1]"]);
    // The same in another order.
    bed.post(&of(3, &[("x", "1", true), ("y", "2", true)]));
    bed.post(&of(4, &[("y", "2", true), ("x", "1", true)]));
    assert_eq!(points(&bed).last().unwrap(), "used[x=1,y=2]");
    assert_eq!(bed.held().last().unwrap().1.len(), 2);
}

#[test]
fn case_07_without_the_librarys_checksum_well_known_pairs_may_change() {
    let mut bed = Bed::new();
    for (n, alias) in ["a", "b"].iter().enumerate() {
        let mut pairs = Datapoint::new("used", 99, 1, NOW + n as i64).with(&[("ifname", "eth0", true), ("ifalias", alias, true)]).pairs();
        pairs.iter_mut().filter(|(key, _)| key == "pattoo_checksum").for_each(|(_, value)| *value = json!("opaque"));
        assert_eq!(stored(&bed.post(&body_of(&[pairs]))).0, 1);
    }
    assert_eq!(bed.held().len(), 1);
    assert_eq!(bed.labels("used[ifname=eth0]")["pattoo_checksum"], "opaque");
}

#[test]
fn case_08_another_polling_interval_leaves_what_is_there_where_it_is() {
    let mut bed = Bed::new();
    let at = |at_ms, interval_ms| body(&[Datapoint { interval_ms, ..Datapoint::new("cpu", 99, 1, at_ms) }]);
    bed.post(&at(NOW - 7, 300_000));
    bed.post(&at(NOW + 7, 10_000));
    let held = bed.held();
    assert_eq!((held.len(), held[0].1.iter().map(|(at, _)| at - NOW).collect::<Vec<_>>()), (1, vec![-7, 7]));
    assert_eq!(bed.labels("cpu")["pattoo_interval_ms"], "10000");
}

#[test]
fn case_09_strange_values_and_names_are_stored_safely_or_refused_with_a_reason() {
    let evil = "<script>alert(1)</script>";
    let target = |target: &str| Datapoint { target: target.into(), ..Datapoint::new("t", 99, 1, NOW) };
    for (datapoint, expected) in [
        (Datapoint::new("k", 101, "NaN", NOW), Ok(Sample::Bad(Reason::NotAValue))),
        (Datapoint::new("k", 101, "-inf", NOW), Ok(Sample::Bad(Reason::NotAValue))),
        (Datapoint::new("k", 101, " 1.5 ", NOW), Ok(good(Value::F64(1.5)))),
        (Datapoint::new("k", 101, "x", NOW), Err("expected a number")),
        (Datapoint::new("k", 101, true, NOW), Err("found true, expected a number")),
        (Datapoint::new("k", 101, json!(null), NOW), Err("found null")),
        (Datapoint::new("k", 32, -1, NOW), Ok(good(Value::int(-1)))),
        (Datapoint::new("k", 64, 12.0, NOW), Ok(good(Value::Unsigned(12)))),
        (Datapoint::new("k", 64, 1e19, NOW), Ok(good(Value::F64(1e19)))),
        (Datapoint::new("k", 64, "18446744073709551615", NOW), Ok(good(Value::Unsigned(u64::MAX)))),
        (Datapoint::new("k", 2, "é".repeat(300), NOW), Ok(good(Value::Text("é".repeat(300))))),
        (Datapoint::new("k", 2, "é".repeat(600), NOW), Err("1200 bytes, at most 1024")),
        (Datapoint::new("k", 2, evil, NOW), Ok(good(Value::Text(evil.into())))),
        (Datapoint::new("", 99, 1, NOW), Err("pattoo_key: found \"\"")),
        (Datapoint::new("my_pattoo", 99, 1, NOW), Ok(good(Value::int(1)))),
        (target(evil), Ok(good(Value::int(1)))),
        (target("a\nb"), Err("control characters")),
        (target(&"x".repeat(256)), Err("256 bytes")),
    ] {
        let mut bed = Bed::new();
        match (bed.post(&body(std::slice::from_ref(&datapoint))), expected) {
            (Posted::Stored { readings: 1, .. }, Ok(sample)) => assert_eq!(bed.held()[0].1, [(NOW, sample)], "{}", datapoint.value),
            (Posted::Refused(why), Err(words)) => assert!(why.contains(words), "{why}"),
            (posted, expected) => panic!("{}: {posted:?}, expected {expected:?}", datapoint.value),
        }
    }
    // As Python writes it.
    let mut bed = Bed::new();
    let text = body(&[Datapoint::new("k", 101, "NaN", NOW), Datapoint::new("l", 99, 1, NOW)]).to_string().replace("\"NaN\"", "NaN");
    assert_eq!(stored(&bed.post_bytes(text.as_bytes())).0, 2);
    // A type that JSON cannot say is none of an agent's library either.
    let mut pairs = Datapoint::new("k", 99, 1, NOW).pairs();
    pairs.iter_mut().filter(|(key, _)| key == "pattoo_data_type").for_each(|(_, value)| *value = json!(null));
    assert!(matches!(bed.post(&body_of(&[pairs])), Posted::Refused(why) if why.contains("pattoo_data_type: found null")));
}

#[test]
fn case_10_a_key_is_shown_as_it_is() {
    let mut bed = Bed::new();
    bed.post(&body(&[Datapoint::new("no_translation_for_this", 99, 1, NOW)]));
    assert!(bed.held()[0].0.ends_with("/no_translation_for_this"));
}

#[test]
fn case_11_a_float_stays_one_whatever_its_type_says() {
    let mut bed = Bed::new();
    bed.post(&body(&[Datapoint::new("opcua", 99, 21.5, NOW), Datapoint::new("whole", 101, 21, NOW)]));
    assert_eq!(bed.held()[0].1, [(NOW, good(Value::F64(21.5)))]);
    assert_eq!(bed.held()[1].1, [(NOW, good(Value::int(21)))]);
}

#[test]
fn two_datapoints_of_one_series_and_time_are_not_silently_one() {
    let mut bed = Bed::new();
    let posted = bed.post(&body(&[Datapoint::new("k", 99, 1, NOW), Datapoint::new("k", 99, 2, NOW), Datapoint::new("k", 101, 3.5, NOW)]));
    let (readings, refused) = stored(&posted);
    assert_eq!((readings, refused.len()), (1, 1));
    assert!(refused[0].contains("another checksum"), "{refused:?}");
    // The same datapoint twice is one, and the later counts.
    assert_eq!(bed.held()[0].1, [(NOW, good(Value::int(2)))]);
}

#[test]
fn what_is_not_durable_is_not_acknowledged() {
    let mut bed = Bed::new();
    let body = body(&[Datapoint::new("k", 99, 1, NOW)]);
    bed.store.fail(Some("disk full"));
    assert!(matches!(bed.post(&body), Posted::Unavailable(why) if why.contains("disk full")));
    bed.store.fail(None);
    assert!(bed.held().is_empty());
    assert_eq!(stored(&bed.post(&body)), (1, vec![]));
    assert_eq!(bed.held().len(), 1);
}

#[test]
fn agents_take_no_more_than_their_share_of_the_servers_room() {
    let mut bed = Bed::new();
    let of = |n: usize| {
        let mut pairs = Datapoint::new("k", 99, 1, NOW).pairs();
        pairs.iter_mut().filter(|(key, _)| key == "pattoo_agent_id").for_each(|(_, value)| *value = json!(format!("agent{n}")));
        pairs
    };
    let posted = bed.post(&body_of(&(0..520).map(of).collect::<Vec<_>>()));
    let (readings, refused) = stored(&posted);
    assert_eq!((readings, refused.len()), (512, 8));
    assert!(matches!(bed.post(&body_of(&[of(600)])), Posted::Full(why) if why.contains("takes no more")));
    // What is known goes on.
    assert_eq!(stored(&bed.post(&body_of(&[of(7)]))).0, 1);
    assert!(bed.live.gateways().len() < MAX_GATEWAYS);
    // After a restart all of it is still there, under the same ids.
    let before = bed.store.load().unwrap().series;
    bed.core = Core::new(Arc::new(bed.store.clone()), Letters::new(bed.folder.path()), bed.live.clone()).unwrap();
    assert_eq!(stored(&bed.post(&body_of(&[of(8)]))).0, 1);
    assert_eq!(bed.store.load().unwrap().series, before);
    assert_ne!(before.len(), 0);
}
