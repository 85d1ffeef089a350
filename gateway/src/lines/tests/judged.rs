//! What a line becomes: readings of devices that are configured, or a refusal.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use pattoo_wire::{Decimal, Reason, Sample, Value};

use super::super::*;
use crate::profile::Profile;
use crate::reading::{DeviceIndex, Reading, Transaction};

const NOW: Now = Now { boot_ms: 100_000_000, utc_ms: 1_800_000_000_000 };

const TANK: &str = "\
schema: 1
id: tank
manufacturer: Us
model: tank script
points:
  - { name: level, unit: mm, read: { field: lvl, type: integer, scale: 0.1 }, range: [0, 300] }
  - { name: temperature, unit: Cel, read: { field: temp, measurement: tank, decimals: 2 } }
  - { name: energy, unit: kWh, kind: counter, read: { field: e, type: unsigned } }
  - { name: pump, read: { field: pump, type: integer }, states: { 0: off, 1: on } }
  - { name: door, read: { field: door, type: bool } }
  - { name: note, read: { field: note, type: text } }
  - { name: power, unit: W, read: { field: p, identity: [phase] } }
";

fn profile() -> Arc<Profile> {
    Arc::new(Profile::read(Path::new("tank.yaml"), TANK.as_bytes()).unwrap())
}

fn intake(profile: &Arc<Profile>, devices: &[&str]) -> Intake {
    let mut source = Source::default();
    source.stale_after.insert("a".to_owned(), Duration::from_secs(60));
    let mut intake = Intake::new(source);
    devices.iter().enumerate().for_each(|(i, name)| intake.declare(DeviceIndex(i), name, profile, NOW));
    intake
}

fn take(intake: &mut Intake, text: &str, now: Now) -> Vec<String> {
    take_from(intake, text, None, now)
}

fn take_from(intake: &mut Intake, text: &str, sender: Option<&str>, now: Now) -> Vec<String> {
    let mut lines = Lines::default();
    let cut = lines.push(format!("{text}\n").as_bytes());
    cut.into_iter().flat_map(|line| intake.take(line, sender, now)).map(|refusal| refusal.to_string()).collect()
}

/// Name of the series, age in ms, sample.
fn readings(intake: &mut Intake, profile: &Profile) -> Vec<(String, i64, Sample)> {
    let shown = |at_ms: i64, reading: Reading| {
        let row = reading.row.unwrap();
        let name = row.point.clone().unwrap_or_else(|| profile.points[reading.point.0].name.clone());
        let name = if row.identity.is_empty() { name } else { format!("{name}[{}]", row.identity) };
        (name, NOW.boot_ms - at_ms, reading.sample)
    };
    let all = intake.transactions().into_iter();
    all.flat_map(|Transaction { at_ms, readings, .. }| readings.into_iter().map(move |reading| shown(at_ms, reading)).collect::<Vec<_>>())
        .collect()
}

fn decimal(mantissa: i64, exponent: i8) -> Sample {
    Sample::Good(Value::Decimal(Decimal { mantissa, exponent }))
}

#[test]
fn a_listed_field_becomes_its_point() {
    let profile = profile();
    for (line, name, sample) in [
        ("tank lvl=1234i", "level", decimal(1234, -1)),
        ("tank lvl=1234", "level", decimal(1234, -1)),
        ("tank lvl=12.5", "level", Sample::Bad(Reason::Mismatch)),
        ("tank lvl=3001i", "level", Sample::Bad(Reason::OutOfRange)),
        ("tank lvl=9223372036854775807i", "level", Sample::Bad(Reason::OutOfRange)),
        ("tank temp=21.456", "temperature", decimal(2146, -2)),
        ("tank temp=true", "temperature", Sample::Bad(Reason::Mismatch)),
        ("tank temp=1e300", "temperature", Sample::Bad(Reason::Overflow)),
        ("tank e=18446744073709551615u", "energy", Sample::Good(Value::Unsigned(u64::MAX))),
        ("tank e=-1i", "energy", Sample::Bad(Reason::OutOfRange)),
        ("tank pump=1i", "pump", decimal(1, 0)),
        ("tank pump=\"on\"", "pump", decimal(1, 0)),
        ("tank pump=\"open\"", "pump", Sample::Bad(Reason::Mismatch)),
        ("tank door=t", "door", Sample::Good(Value::Bool(true))),
        ("tank door=0i", "door", Sample::Good(Value::Bool(false))),
        ("tank door=2i", "door", Sample::Bad(Reason::Mismatch)),
        ("tank note=\"ok\"", "note", Sample::Good(Value::Text("ok".into()))),
        ("tank note=1", "note", Sample::Bad(Reason::Mismatch)),
        ("tank,phase=L1 p=7", "power[L1]", Sample::Good(Value::F64(7.0))),
        ("tank,phase=a/b p=9007199254740993i", r"power[a\/b]", Sample::Bad(Reason::Overflow)),
        (r#"{"point":"lvl","value":12,"unit":"mm","kind":"gauge"}"#, "level", decimal(12, -1)),
        (r#"{"point":"lvl","value":12,"unit":"cm"}"#, "level", Sample::Bad(Reason::Mismatch)),
        (r#"{"point":"lvl","value":12,"kind":"counter"}"#, "level", Sample::Bad(Reason::Mismatch)),
        (r#"{"point":"lvl","reason":"timeout"}"#, "level", Sample::Bad(Reason::Timeout)),
        (
            r#"{"point":"temp","measurement":"tank","value":1,"reason":"stale"}"#,
            "temperature",
            Sample::Uncertain(Value::Decimal(Decimal { mantissa: 100, exponent: -2 }), Reason::Stale),
        ),
    ] {
        let mut intake = intake(&profile, &["a"]);
        assert_eq!(take(&mut intake, line, NOW), [""; 0], "{line}");
        assert_eq!(readings(&mut intake, &profile), [(name.to_owned(), 0, sample)], "{line}");
    }
}

#[test]
fn what_no_point_lists_is_refused_and_counted() {
    let profile = profile();
    let mut intake = intake(&profile, &["a"]);
    for (line, expected) in [
        ("tank other=1", "line 1, column 6: found `other`, expected a field that the profile tank lists"),
        ("pool temp=1", "line 1, column 6: found `temp`, expected a field that the profile tank lists"),
        (r#"{"point":"temp","value":1}"#, "line 1, column 1: found `temp`, expected a field that the profile tank lists"),
        ("tank p=1", "line 1, column 6: found no tag `phase`, expected it: the profile tells rows apart by it"),
        ("tank,device=b lvl=1", "line 1, column 15: found the device `b`, expected one that is configured here: a"),
        ("tank lvl", "line 1, column 9: found the end of the line, expected `=` and the value of the field"),
    ] {
        assert_eq!(take(&mut intake, line, NOW), [expected], "{line}");
    }
    assert_eq!(take(&mut intake, "tank lvl=1,other=2,door=t", NOW).len(), 1, "the others of its line are good");
    assert_eq!(readings(&mut intake, &profile).len(), 2);
    assert_eq!(intake.misses("a"), [("bad line", 2), ("unknown device", 1), ("unlisted point", 4)].into());
}

#[test]
fn every_name_becomes_a_series_of_the_built_in_profile() {
    let profile = super::super::readings();
    for (line, name, sample) in [
        (r#"{"point":"temp","value":21.5,"unit":"Cel"}"#, "temp", Sample::Good(Value::F64(21.5))),
        (r#"{"point":"n","value":7}"#, "n", Sample::Good(Value::F64(7.0))),
        (r#"{"point":"n","value":9007199254740993}"#, "n", Sample::Bad(Reason::Overflow)),
        (r#"{"point":"n","value":18446744073709551615,"kind":"counter"}"#, "n", Sample::Good(Value::Unsigned(u64::MAX))),
        (r#"{"point":"n","value":1.5,"kind":"counter"}"#, "n", Sample::Good(Value::F64(1.5))),
        (r#"{"point":"n","value":2,"kind":"state"}"#, "n", decimal(2, 0)),
        (r#"{"point":"on","value":true}"#, "on", Sample::Good(Value::Bool(true))),
        (r#"{"point":"s","value":"ok"}"#, "s", Sample::Good(Value::Text("ok".into()))),
        ("weather,site=x\\,y,room=1 temp=1", r"weather.temp[room=1,site=x\,y]", Sample::Good(Value::F64(1.0))),
        ("load value=1", "load", Sample::Good(Value::F64(1.0))),
    ] {
        let mut intake = intake(&profile, &["a"]);
        assert_eq!(take(&mut intake, line, NOW), [""; 0], "{line}");
        assert_eq!(readings(&mut intake, &profile), [(name.to_owned(), 0, sample)], "{line}");
    }
    for (line, expected) in [
        (r#"{"point":"n","value":-1,"kind":"counter"}"#, "found the number -1, expected a number that is not negative, as it is a counter"),
        (r#"{"point":"n","value":"x","kind":"gauge"}"#, "found the text `x`, expected a number, as it is a gauge"),
        (r#"{"point":"n","value":1.5,"kind":"state"}"#, "found the number 1.5, expected a whole number, true or false, as it is a state"),
        (r#"{"point":"n","value":1,"kind":"text"}"#, "found the number 1, expected a text, as it is of kind text"),
        (r#"{"point":"n"}"#, "found no value, expected a value: what this name is for is not known yet"),
        (r#"{"point":"a[b]","value":1}"#, "found the name `a[b]`, expected one without brackets and control characters"),
        (r#"{"point":"","value":1}"#, "found the name ``, expected one without brackets and control characters"),
    ] {
        let mut intake = intake(&profile, &["a"]);
        assert_eq!(take(&mut intake, line, NOW), [format!("line 1, column 1: {expected}")], "{line}");
        assert!(intake.transactions().is_empty());
    }
}

#[test]
fn a_name_whose_values_become_others_is_bad_and_stays_one_series() {
    let profile = super::super::readings();
    let mut intake = intake(&profile, &["a"]);
    let first = r#"{"point":"x","value":1,"kind":"counter","unit":"kWh"}"#;
    assert!(take(&mut intake, first, NOW).is_empty());
    let whose = |intake: &mut Intake| intake.transactions()[0].readings[0].clone();
    let one = whose(&mut intake);
    for (line, sample) in [
        (r#"{"point":"x","value":2}"#, Sample::Good(Value::Unsigned(2))),
        (r#"{"point":"x","value":"two"}"#, Sample::Bad(Reason::Mismatch)),
        (r#"{"point":"x","value":true}"#, Sample::Bad(Reason::Mismatch)),
        (r#"{"point":"x","value":2.5}"#, Sample::Bad(Reason::Mismatch)),
        (r#"{"point":"x","value":3,"kind":"gauge"}"#, Sample::Bad(Reason::Mismatch)),
        (r#"{"point":"x","value":3,"unit":"Wh"}"#, Sample::Bad(Reason::Mismatch)),
        (r#"{"point":"x","value":3,"unit":"kWh"}"#, Sample::Good(Value::Unsigned(3))),
        (r#"{"point":"x"}"#, Sample::Bad(Reason::NotAValue)),
    ] {
        assert!(take(&mut intake, line, NOW).is_empty(), "{line}");
        let reading = whose(&mut intake);
        assert_eq!((reading.point, reading.row, reading.sample), (one.point, one.row.clone(), sample), "{line}");
    }
    assert_eq!(intake.misses("a"), [("other type", 5)].into());
    assert_eq!(one.row.unwrap().unit.as_deref(), Some("kWh"));
}

#[test]
fn a_reading_is_as_old_as_its_own_time_says_within_bounds() {
    let profile = super::super::readings();
    let mut intake = intake(&profile, &["a"]);
    let line = |age_ms: i64| format!(r#"{{"point":"x","value":1,"time_ms":{}}}"#, NOW.utc_ms - age_ms);
    for age_ms in [MAX_AGE_MS, 1_000, 0, -MAX_AHEAD_MS] {
        assert_eq!(take(&mut intake, &line(age_ms), NOW), [""; 0]);
        assert_eq!(readings(&mut intake, &profile)[0].1, age_ms);
    }
    for (age_ms, expected) in [
        (MAX_AGE_MS + 1, "found a time 86400 s ago, expected one of the last 24 hours"),
        (-MAX_AHEAD_MS - 1, "found a time 5 s in the future, expected at most 5: is a clock wrong?"),
    ] {
        assert_eq!(take(&mut intake, &line(age_ms), NOW), [format!("line 1, column 1: {expected}")]);
    }
    for extreme in [i64::MIN, i64::MAX] {
        assert_eq!(take(&mut intake, &format!(r#"{{"point":"x","value":1,"time_ms":{extreme}}}"#), NOW).len(), 1);
    }
    assert_eq!(intake.misses("a"), [("bad time", 4)].into());
    // Without one it is new, and later than the one before.
    let plain = r#"{"point":"y","value":1}"#;
    (0..3).for_each(|_| assert!(take(&mut intake, plain, NOW).is_empty()));
    assert_eq!(readings(&mut intake, &profile).iter().map(|(_, age_ms, _)| -age_ms).collect::<Vec<_>>(), [0, 1, 2]);
    let refused = (0..10_000).filter(|_| !take(&mut intake, plain, NOW).is_empty()).count();
    assert_eq!(refused, 10_000 - (MAX_AHEAD_MS as usize + 1_000 - 2), "time does not run away");
}

#[test]
fn a_device_is_named_by_its_line_by_its_way_or_is_the_only_one() {
    let profile = super::super::readings();
    let mut both = intake(&profile, &["a", "b"]);
    let whose = |intake: &mut Intake| intake.transactions().iter().map(|t| t.device.0).collect::<Vec<_>>();
    let (plain, named) = (r#"{"point":"x","value":1}"#, r#"{"point":"x","value":1,"device":"b"}"#);
    assert_eq!(take(&mut both, plain, NOW), ["line 1, column 1: found no device, expected one of a, b"]);
    assert!(take(&mut both, named, NOW).is_empty());
    assert_eq!(whose(&mut both), [1]);
    assert!(take(&mut both, "m,device=a f=1", NOW).is_empty());
    assert_eq!(whose(&mut both), [0]);
    assert!(take_from(&mut both, plain, Some("b"), NOW).is_empty());
    assert_eq!(whose(&mut both), [1]);
    assert_eq!(take_from(&mut both, named, Some("a"), NOW), ["line 1, column 1: found the device `b`, expected `a`, which sent it"]);
    assert_eq!(
        take_from(&mut both, plain, Some("c"), NOW),
        ["line 1, column 1: found the device `c`, expected one that is configured here: a, b"]
    );
    let mut only = intake(&profile, &["a"]);
    assert!(take(&mut only, plain, NOW).is_empty());
    assert_eq!(whose(&mut only), [0]);
    assert_eq!(take(&mut intake(&profile, &[]), plain, NOW), ["line 1, column 1: found no device, expected one of "]);
}

#[test]
fn a_device_has_so_many_series_and_names_have_so_many_bytes() {
    let profile = super::super::readings();
    let mut intake = intake(&profile, &["a"]);
    let line = |n: usize| format!(r#"{{"point":"x{n}","value":1}}"#);
    assert!((0..MAX_SERIES).all(|n| take(&mut intake, &line(n), NOW).is_empty()));
    assert_eq!(
        take(&mut intake, &line(MAX_SERIES), NOW),
        ["line 1, column 1: found the new series `x1000`, expected no more than 1000 of one device"]
    );
    assert!(take(&mut intake, &line(3), NOW).is_empty(), "those that there are go on");
    let mut intake = super::judged::intake(&profile, &["a"]);
    let long = "x".repeat(MAX_NAME_BYTES + 1);
    for line in [
        format!(r#"{{"point":"{long}","value":1}}"#),
        format!(r#"{{"point":"p","value":1,"unit":"{long}"}}"#),
        format!(r#"{{"point":"p","value":1,"labels":{{"a":"{long}"}}}}"#),
        format!(r#"{{"point":"p","value":1,"tags":{{"{long}":"a"}}}}"#),
        format!(r#"{{"point":"{}","value":1,"tags":{{"a":"{}"}}}}"#, "x".repeat(128), "y".repeat(128)),
        format!(r#"{{"point":"p","value":"{}"}}"#, "x".repeat(1025)),
        r#"{"point":"p","value":1,"labels":{"a":"x\ny"}}"#.to_owned(),
    ] {
        assert_eq!(take(&mut intake, &line, NOW).len(), 1, "{line}");
    }
    assert!(intake.transactions().is_empty());
}

#[test]
fn labels_change_at_most_once_in_ten_minutes() {
    let profile = super::super::readings();
    let mut intake = intake(&profile, &["a"]);
    let mut at = |after_ms: i64, label: &str| {
        let now = Now { boot_ms: NOW.boot_ms + after_ms, ..NOW };
        assert!(take(&mut intake, &format!(r#"{{"point":"x","value":1,"labels":{{"l":"{label}"}}}}"#), now).is_empty());
        intake.transactions()[0].readings[0].row.as_ref().unwrap().labels["l"].clone()
    };
    assert_eq!((at(0, "a"), at(1, "b"), at(2, "c")), ("a".into(), "b".into(), "b".into()), "the first change is soon");
    assert_eq!((at(LABELS_REST_MS, "d"), at(LABELS_REST_MS + 1, "e"), at(LABELS_REST_MS + 2, "f")), ("b".into(), "e".into(), "e".into()));
}

#[test]
fn a_series_that_is_silent_is_bad_once_until_it_is_heard_again() {
    let profile = profile();
    let mut intake = intake(&profile, &["a", "b"]);
    let later = |ms: i64| Now { boot_ms: NOW.boot_ms + ms, ..NOW };
    assert!(take(&mut intake, "tank,device=a,phase=L1 p=1", NOW).is_empty());
    assert!(take(&mut intake, "tank,device=a lvl=1", later(30_000)).is_empty());
    intake.transactions();
    assert_eq!(intake.next_look(later(30_000)), Duration::from_secs(30));
    intake.look(later(59_999));
    assert!(intake.transactions().is_empty());
    intake.look(later(60_000));
    let stale = readings(&mut intake, &profile);
    // Those that were never heard too, but for the rows that nobody knows of; the other device may be silent for ever.
    let names: Vec<_> = stale.iter().map(|(name, _, _)| name.as_str()).collect();
    assert_eq!(names, ["door", "energy", "note", "power[L1]", "pump", "temperature"]);
    assert!(stale.iter().all(|(_, _, sample)| *sample == Sample::Bad(Reason::Stale)));
    intake.look(later(89_999));
    assert!(intake.transactions().is_empty(), "said once");
    intake.look(later(90_000));
    assert_eq!(readings(&mut intake, &profile).len(), 1);
    assert_eq!(intake.next_look(later(90_000)), Duration::from_secs(3_600));
    assert!(take(&mut intake, "tank,device=a lvl=1", later(95_000)).is_empty());
    assert_eq!(intake.next_look(later(95_000)), Duration::from_secs(60));
}

#[test]
fn a_device_that_never_tells_anything_is_silent() {
    let mut intake = intake(&super::super::readings(), &["a", "b"]);
    let later = |ms: i64| Now { boot_ms: NOW.boot_ms + ms, ..NOW };
    intake.look(later(59_999));
    assert!(!intake.news());
    assert_eq!(intake.next_look(later(59_999)), Duration::from_millis(1));
    intake.look(later(60_000));
    assert!(intake.news() && intake.transactions().is_empty());
    intake.look(later(90_000));
    assert!(!intake.news(), "counted once");
    assert_eq!((intake.misses("a"), intake.misses("b")), ([("silent", 1)].into(), Default::default()));
}

#[test]
fn a_run_that_does_not_tell_a_series_leaves_it_bad_and_one_that_fails_leaves_doubt() {
    let profile = profile();
    let mut intake = intake(&profile, &["a"]);
    let mut run = |lines: &[&str], failed: Option<Reason>| {
        intake.begin_run();
        lines.iter().for_each(|line| assert!(take(&mut intake, line, NOW).is_empty()));
        let transactions = intake.end_run(failed, NOW);
        let samples = |t: Transaction| t.readings.into_iter().map(|r| (profile.points[r.point.0].name.clone(), r.sample));
        transactions.into_iter().flat_map(samples).collect::<std::collections::BTreeMap<_, _>>()
    };
    let good = run(&["tank lvl=1", "tank,phase=L1 p=1"], None);
    assert_eq!(
        (&good["level"], &good["power"], &good["door"]),
        (&decimal(1, -1), &Sample::Good(Value::F64(1.0)), &Sample::Bad(Reason::Unavailable))
    );
    assert_eq!(good.len(), 7);
    let failed = run(&["tank lvl=2"], Some(Reason::ProgramFailed));
    assert_eq!(failed["level"], Sample::Uncertain(Value::Decimal(Decimal { mantissa: 2, exponent: -1 }), Reason::ProgramFailed));
    assert_eq!((&failed["power"], failed.len()), (&Sample::Bad(Reason::ProgramFailed), 7));
}
