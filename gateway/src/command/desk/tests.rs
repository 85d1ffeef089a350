use std::path::Path;

use pattoo_wire::Decimal;
use proptest::prelude::*;

use super::*;
use crate::config::read_for_test;
use crate::profile::Profile;

const T: i64 = 1_800_000_000_000;

fn config(text: &str) -> Arc<Config> {
    let profile = "schema: 1\nid: io\nmanufacturer: X\nmodel: X\npoints:
  - { name: relay, read: { coil: 0 }, states: { 0: off, 1: on }, writable: true }
  - { name: spare, read: { coil: 1 }, writable: true }
  - { name: speed, read: { holding: 0, type: u16, scale: 0.1 }, writable: { min: 0, max: 90 } }
  - { name: input, read: { discrete: 0 } }\n";
    let profile = Profile::read(Path::new("io.yaml"), profile.as_bytes()).unwrap();
    let (config, problems) = read_for_test(text, profile);
    assert!(problems.is_empty(), "{problems:?}");
    Arc::new(config.unwrap())
}

const ON: &str = "gateway: g1
uplink: { url: mqtt://localhost }
commands: { enabled: true, max_expiry: 10m }
links: { plc: { tcp: 127.0.0.1:502 } }
devices: [ { name: io, profile: io, link: plc, writable: { relay: {}, speed: { max: 60, safe: { value: 20, after: 10m } } } } ]\n";

fn desk() -> Desk {
    Desk::new(config(ON))
}

fn now(utc_ms: i64) -> Now {
    Now { boot_ms: utc_ms - T + 5_000, utc_ms: Some(utc_ms), system_ms: utc_ms }
}

fn command(id: &str, point: &str, value: &str, left_ms: i64) -> String {
    format!(r#"{{"id":"{id}","device":"io","point":"{point}","value":{value},"expires_ms":{}}}"#, T + left_ms)
}

fn begun(act: Act) -> Begin {
    match act {
        Act::Begin(begin) => *begin,
        other => panic!("{other:?}"),
    }
}

fn answered(act: Act) -> CommandResult {
    match act {
        Act::Answer(result) => result,
        other => panic!("{other:?}"),
    }
}

fn done() -> Written {
    Written { old: Some(Value::Bool(false)), value: Some(Value::Bool(true)), ..Written::not(Outcome::Done, "") }
}

#[test]
fn a_good_command_is_begun_with_its_value_its_record_and_its_end() {
    let mut desk = desk();
    let begin = begun(desk.receive(command("a", "speed", "23.4", 60_000).as_bytes(), now(T)));
    assert_eq!((begin.device, begin.until_ms), (DeviceIndex(0), 65_000));
    let value = Value::Decimal(Decimal { mantissa: 234, exponent: -1 });
    assert_eq!(begin.write, Write { point: PointIndex(2), value, expected: None, read_modify_write: false });
    let Record::Begun { time, command, safe: false } = begin.record else { panic!("{:?}", begin.record) };
    assert_eq!((time.as_str(), command.id.as_str(), command.value), ("2027-01-15T08:00:00.000Z", "a", Scalar::Float(23.4)));
    let with_expected = r#"{"id":"b","device":"io","point":"relay","value":"on","expected":false,"expires_ms":1800000001000,"by":"me"}"#;
    let begin = begun(desk.receive(with_expected.as_bytes(), now(T)));
    assert_eq!((begin.write.value, begin.write.expected), (Value::Bool(true), Some(Value::Bool(false))));
}

#[test]
fn each_way_to_be_refused_has_its_name_and_leaves_nothing_behind() {
    let good = command("a", "relay", "true", 60_000);
    let changed = |from: &str, to: &str| {
        assert!(good.contains(from), "{from}");
        good.replace(from, to)
    };
    let huge = format!("{good}{}", " ".repeat(MAX_COMMAND_BYTES));
    for (message, outcome, words) in [
        ("", Outcome::Malformed, "EOF"),
        ("{", Outcome::Malformed, "EOF"),
        ("[]", Outcome::Malformed, "invalid length 0"),
        (&huge, Outcome::Malformed, "expected at most 4096"),
        (&changed("\"id\":\"a\",", ""), Outcome::Malformed, "missing field `id`"),
        (&changed("\"id\":\"a\"", "\"id\":\"\""), Outcome::Malformed, "id: expected 1 to 64"),
        (&changed("\"id\":\"a\"", "\"id\":\"a\\n\""), Outcome::Malformed, "id: expected 1 to 64"),
        (&changed("\"id\":\"a\"", "\"by\":\"é\",\"id\":\"a\""), Outcome::Malformed, "by: expected"),
        (&changed("\"value\":true", "\"valeu\":true"), Outcome::Malformed, "unknown field `valeu`"),
        (&changed("true", "[true]"), Outcome::Malformed, "a number, true, false or a text"),
        (&changed("true", "null"), Outcome::Malformed, "a number, true, false or a text"),
        (&changed(",\"expires_ms\":1800000060000", ""), Outcome::NoExpiry, "expires_ms"),
        (&command("a", "relay", "true", 0), Outcome::Expired, "0 ms ago"),
        (&command("a", "relay", "true", -5), Outcome::Expired, "5 ms ago"),
        (&changed("1800000060000", "-9223372036854775808"), Outcome::Expired, "ms ago"),
        (&command("a", "relay", "true", 600_001), Outcome::ExpiryTooFar, "at most 600000"),
        (&changed("\"io\"", "\"pump\""), Outcome::UnknownDevice, "device"),
        (&command("a", "valve", "true", 9), Outcome::UnknownPoint, "point"),
        (&command("a", "input", "true", 9), Outcome::NotWritable, "its profile does not say so"),
        (&command("a", "spare", "true", 9), Outcome::NotWritable, "`writable` does not name it"),
        (&command("a", "relay", "2", 9), Outcome::BadValue, "value: expected true or false"),
        (&command("a", "speed", "23.45", 9), Outcome::BadValue, "a multiple of 0.1"),
        (&command("a", "speed", "60.1", 9), Outcome::OutOfRange, "0 to 60"),
        (&command("a", "speed", "5,\"expected\":\"x\"", 9), Outcome::BadValue, "expected: expected a number"),
    ] {
        let mut desk = desk();
        let result = answered(desk.receive(message.as_bytes(), now(T)));
        assert_eq!(result.outcome, outcome, "{message}: {}", result.detail);
        assert!(result.detail.contains(words), "{message}: {}", result.detail);
        assert_eq!(result.time_ms, T);
        begun(desk.receive(good.as_bytes(), now(T)));
    }
    let result = answered(desk().receive(changed("true", "[true]").as_bytes(), now(T)));
    assert_eq!(
        (result.id.as_deref(), result.device.as_str(), result.point.as_str()),
        (Some("a"), "io", "relay"),
        "as far as it can be read"
    );
    let result = answered(desk().receive(good.as_bytes(), Now { utc_ms: None, ..now(T) }));
    assert_eq!(result.outcome, Outcome::ClockUnknown);
}

#[test]
fn without_commands_enabled_nothing_is_writable() {
    let mut desk = Desk::new(config(&ON.replace("enabled: true", "enabled: false")));
    let result = answered(desk.receive(command("a", "relay", "true", 9).as_bytes(), now(T)));
    assert_eq!(result.outcome, Outcome::NotWritable);
}

#[test]
fn a_command_that_comes_again_is_answered_again_and_not_done_again() {
    let mut desk = desk();
    let message = command("a", "relay", "true", 60_000);
    let begin = begun(desk.receive(message.as_bytes(), now(T)));
    assert_eq!(desk.receive(message.as_bytes(), now(T)), Act::Wait, "it is being done");
    let end = desk.ended(begin.ticket, &done(), now(T + 1_000)).unwrap();
    assert_eq!(
        (end.result.outcome, end.result.old, end.result.value),
        (Outcome::Done, Some(Scalar::Bool(false)), Some(Scalar::Bool(true)))
    );
    let again = answered(desk.receive(message.as_bytes(), now(T + 2_000)));
    assert_eq!((again.outcome, again.time_ms), (Outcome::Done, T + 1_000), "the same answer");
    let other = answered(desk.receive(command("a", "relay", "false", 60_000).as_bytes(), now(T + 2_000)));
    assert_eq!(other.outcome, Outcome::IdReused);
    // Whether it is still remembered or not, it is not done after its time.
    for later in [59_999, 60_000, 100_000] {
        begun(desk.receive(command(&later.to_string(), "relay", "true", later + 1).as_bytes(), now(T + later)));
        let outcome = answered(desk.receive(message.as_bytes(), now(T + later))).outcome;
        assert_eq!(outcome, if later < 60_000 { Outcome::Done } else { Outcome::Expired }, "{later}");
    }
    assert_eq!(desk.ended(begin.ticket, &done(), now(T)), None, "once");
}

#[test]
fn a_command_that_was_not_begun_may_come_again() {
    let mut desk = desk();
    let message = command("a", "relay", "true", 60_000);
    let begin = begun(desk.receive(message.as_bytes(), now(T)));
    let result = desk.not_begun(begin.ticket, Outcome::NotRecorded, "the disk is full", now(T)).unwrap();
    assert_eq!((result.outcome, result.id.as_deref()), (Outcome::NotRecorded, Some("a")));
    begun(desk.receive(message.as_bytes(), now(T)));
}

#[test]
fn ids_are_bounded_and_make_room_when_they_expire() {
    let mut desk = desk();
    for n in 0..MAX_REMEMBERED {
        let begin = begun(desk.receive(command(&format!("n{n}"), "relay", "true", 60_000).as_bytes(), now(T)));
        desk.ended(begin.ticket, &done(), now(T)).unwrap();
    }
    let message = command("more", "relay", "true", 120_000);
    assert_eq!(answered(desk.receive(message.as_bytes(), now(T))).outcome, Outcome::Busy);
    begun(desk.receive(message.as_bytes(), now(T + 60_000)));
    assert_eq!(desk.remembered.len(), 1);
}

#[test]
fn what_an_earlier_run_began_is_not_begun_again() {
    let mut before = desk();
    let (message, open) = (command("a", "relay", "true", 60_000), command("b", "relay", "true", 60_000));
    let first = begun(before.receive(message.as_bytes(), now(T)));
    let end = before.ended(first.ticket, &done(), now(T)).unwrap();
    let second = begun(before.receive(open.as_bytes(), now(T)));
    let safe = before.safe(SafeWrite { index: 0, device: DeviceIndex(0), point: PointIndex(2), value: Value::int(0) }, now(T));
    let records = vec![first.record, second.record, end.record, safe.record];

    let mut desk = desk();
    let ends = desk.restore(records, now(T + 1_000));
    let told: Vec<_> = ends.iter().map(|end| (end.result.point.as_str(), end.result.outcome)).collect();
    assert_eq!(told, [("relay", Outcome::Unknown), ("speed", Outcome::Unknown)], "both may have been written");
    assert_eq!(answered(desk.receive(message.as_bytes(), now(T + 1_000))).outcome, Outcome::Done);
    assert_eq!(answered(desk.receive(open.as_bytes(), now(T + 1_000))).outcome, Outcome::Unknown);
    let again: Vec<Record> = ends.into_iter().map(|end| end.record).collect();
    assert!(Desk::new(config(ON)).restore(again, now(T)).is_empty(), "an end without a beginning is nothing");
}

#[test]
fn a_safe_value_is_a_command_of_the_gateway_itself() {
    let mut desk = desk();
    let due = SafeWrite {
        index: 7,
        device: DeviceIndex(0),
        point: PointIndex(2),
        value: Value::Decimal(Decimal { mantissa: 200, exponent: -1 }),
    };
    // It needs no clock.
    let begin = desk.safe(due, Now { utc_ms: None, ..now(T) });
    let Record::Begun { command, safe: true, .. } = &begin.record else { panic!("{:?}", begin.record) };
    assert_eq!((command.point.as_str(), command.by.as_deref(), &command.value), ("speed", Some(SAFE_VALUE), &Scalar::Float(20.0)));
    let end = desk.ended(begin.ticket, &done(), now(T)).unwrap();
    assert_eq!((end.safe, end.result.outcome), (Some(7), Outcome::Done));
}

#[test]
fn records_are_lines_that_can_be_read_again() {
    let mut desk = desk();
    let begin = begun(desk.receive(command("a", "relay", "true", 60_000).as_bytes(), now(T)));
    let end = desk.ended(begin.ticket, &done(), now(T)).unwrap();
    let line = serde_json::to_string(&begin.record).unwrap();
    assert_eq!(
        line,
        r#"{"event":"begun","time":"2027-01-15T08:00:00.000Z","command":{"id":"a","device":"io","point":"relay","value":true,"expires_ms":1800000060000}}"#
    );
    for record in [begin.record, end.record] {
        assert_eq!(serde_json::from_str::<Record>(&serde_json::to_string(&record).unwrap()).unwrap(), record);
    }
}

#[test]
fn values_keep_their_digits_in_json() {
    for (value, text) in [
        (Value::Decimal(Decimal { mantissa: 2301, exponent: -1 }), "230.1"),
        (Value::Decimal(Decimal { mantissa: 12, exponent: 2 }), "1200"),
        (Value::Unsigned(u64::MAX), "18446744073709551615"),
        (Value::F32(0.1), "0.1"),
        (Value::Bool(true), "true"),
    ] {
        assert_eq!(serde_json::to_string(&scalar(&value)).unwrap(), text);
    }
}

proptest! {
    /// Whatever comes, it is answered, and nothing is begun but what a whole command says.
    #[test]
    fn no_message_makes_it_panic_or_begin_what_was_not_said(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        place in 0..200usize,
        flipped in any::<u8>(),
    ) {
        let mut desk = desk();
        prop_assert_eq!(answered(desk.receive(&bytes, now(T))).outcome, Outcome::Malformed);
        let mut message = command("a", "speed", "23.4", 60_000).into_bytes();
        let place = place % message.len();
        message[place] = flipped;
        match desk.receive(&message, now(T)) {
            Act::Begin(begin) => {
                let Record::Begun { command, .. } = begin.record else { panic!() };
                prop_assert_eq!(serde_json::from_slice::<Command>(&message).unwrap(), command.clone());
                prop_assert!(begin.write.value.to_f64().unwrap() <= 60.0 && command.expires_ms.unwrap() > T);
            }
            Act::Answer(result) => prop_assert!(result.outcome > Outcome::Unreadable, "{:?}", result),
            Act::Wait => prop_assert!(false, "nothing is being done"),
        }
    }
}
