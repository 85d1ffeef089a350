use std::path::Path;

use pattoo_wire::Sample;

use super::*;
use crate::driver::bacnet::tags::Reader;
use crate::profile::load_profiles;

fn profile(points: &str, head: &str) -> Arc<Profile> {
    let text = format!("schema: 1\nid: m\nmanufacturer: Example\nmodel: M 1\n{head}points:\n{points}");
    Arc::new(Profile::read("m.yaml".as_ref(), text.as_bytes()).unwrap())
}

fn read(device: &Device, id: ObjectId, property: u32) -> Vec<Value> {
    let mut body = Vec::new();
    crate::driver::bacnet::tags::push_context_object(&mut body, 0, id);
    crate::driver::bacnet::tags::push_context_unsigned(&mut body, 1, property);
    let Ok(super::super::device::Ending::Answer(answer)) = device.read(&body) else { return Vec::new() };
    let mut reader = Reader::new(&answer);
    reader.object(0).unwrap();
    reader.unsigned(1).unwrap();
    assert!(reader.opens(3));
    reader.values_until(3).unwrap()
}

#[test]
fn a_profile_becomes_objects_with_names_units_and_states() {
    let points = "
  - { name: t, unit: °C, read: { object: analog-input, instance: 1 } }
  - { name: t_description, read: { object: analog-input, instance: 1, property: description, type: text } }
  - { name: fan, read: { object: binary-output, named: SF-C }, states: { 0: stopped, 1: running } }
  - { name: valve, unit: \"%\", read: { object: analog-output, named: VLV, scale: 0.1, decimals: 1 }, writable: { min: 0, max: 100 } }
  - { name: mode, read: { object: multi-state-value, instance: 4 }, states: { 1: auto, 3: hand } }
  - { name: firmware, read: { object: device, property: firmware-revision, type: text } }
";
    let profile = profile(points, "match: { bacnet: { vendor_id: 5, model: [FEC, FAC], names: [VLV, RA-T] } }\n");
    let (device, measured) = device(&profile, 3001).unwrap();
    let own = ObjectId::new(DEVICE, 3001);
    let text = |text: &str| vec![Value::Text(text.into())];
    let (t, fan, valve) = (ObjectId::new(0, 1), ObjectId::new(4, 1), ObjectId::new(1, 1));
    for (id, property, expected) in [
        (t, 77, text("t")),
        (t, UNITS, vec![Value::Enumerated(62)]),
        (t, 28, text("t_description")),
        (fan, 77, text("SF-C")),
        (fan, ACTIVE_TEXT, text("running")),
        (valve, UNITS, vec![Value::Enumerated(98)]),
        (valve, COV_INCREMENT, vec![Value::Real(1.0)]),
        (ObjectId::new(19, 4), STATE_TEXT, ["auto", "2", "hand"].map(|text| Value::Text(text.into())).to_vec()),
        (ObjectId::new(2, 1), 77, text("RA-T")),
        (own, 120, vec![Value::Unsigned(5)]),
        (own, 121, text("Example")),
        (own, 70, text("FEC")),
        (own, 44, text("firmware")),
    ] {
        assert_eq!(read(&device, id, property), expected, "{id:?} {property}");
    }
    assert_eq!(measured.values(0).count(), 4);
}

/// What is measured is what the driver makes good readings of, at any time; and it moves.
#[test]
fn every_shipped_profile_is_simulated_with_values_that_its_points_can_have() {
    let (profiles, problems) = load_profiles(&[Path::new(env!("CARGO_MANIFEST_DIR")).join("../hw-profiles")]);
    assert!(problems.is_empty(), "{problems:?}");
    let own = profiles.values().filter(|profile| matches!(profile.points.first().map(|point| &point.read), Some(Read::Bacnet(_))));
    let mut count = 0;
    for profile in own {
        count += 1;
        let (_, measured) = device(profile, 1).unwrap();
        let mut seen = BTreeSet::new();
        for second in 0..200 {
            for ((id, value), (_, at)) in measured.values(second * 1000).zip(&measured.points) {
                let point = &profile.points[*at];
                let Read::Bacnet(read) = &point.read else { panic!("{}", point.name) };
                let sample = read.decode(&value, Some(f64::from(ACCUMULATOR_SCALE)), point.range);
                assert!(matches!(sample, Sample::Good(_)), "{}: {} is {sample:?} of {value:?}", profile.id, point.name);
                seen.insert(format!("{id:?} {value:?}"));
            }
        }
        assert!(seen.len() > 2 * measured.points.len(), "{}: {} values", profile.id, seen.len());
    }
    assert!(count >= 2, "{count} profiles");
}

#[test]
fn a_profile_of_another_protocol_makes_no_device() {
    let profile = profile("  - { name: a, read: { input: 0, type: u16 } }\n", "");
    assert!(device(&profile, 1).is_none());
}
