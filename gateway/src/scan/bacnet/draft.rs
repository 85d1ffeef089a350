//! A profile for a device that none fits, made from the objects that it has: to be pasted, and named better. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::json;

use super::{Told, ToldObject};
use crate::driver::bacnet::names;
use crate::driver::bacnet::units::Unit;
use crate::profile::{MAX_POINTS, MAX_PROFILE_BYTES};

/// Longest name of a point, id of a profile, and text in one, as profiles have them.
const MAX_NAME_BYTES: usize = 64;
const MAX_TEXT_CHARS: usize = 60;
/// Longest description in a comment, in characters.
const MAX_COMMENT_CHARS: usize = 80;
/// Names that a device without a model is recognised by.
const MATCHED_NAMES: usize = 3;
/// Longest profile that is made, so that its last line still fits.
const MAX_BYTES: usize = MAX_PROFILE_BYTES - 4096;

/// A profile, and what it leaves out.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Draft {
    pub(crate) id: String,
    pub(crate) text: String,
    pub(crate) notes: Vec<String>,
}

/// The profile of this device; none where it has nothing to read. `taken` are ids that others have.
pub(crate) fn draft(told: &Told, taken: &BTreeSet<String>) -> Option<Draft> {
    let (mut points, mut left, mut used) = (String::new(), BTreeMap::new(), BTreeSet::new());
    let (mut count, mut too_many) = (0, 0_usize);
    for object in &told.objects {
        let Some(line) = point(object, &mut used) else {
            *left.entry(names::object_type(object.id.kind)).or_insert(0_usize) += 1;
            continue;
        };
        if count >= MAX_POINTS || points.len() + line.len() > MAX_BYTES {
            too_many += 1;
            continue;
        }
        points += &line;
        count += 1;
    }
    if count == 0 {
        return None;
    }
    let id = id(told, taken);
    let mut text =
        format!("# Made from the objects of device {}; names and units are its own. To be gone through by somebody.\n", told.instance);
    let _ = writeln!(text, "schema: 1\nid: {id}\nmanufacturer: {}", words(&told.vendor, "unknown"));
    let _ = writeln!(text, "model: {}", words(if told.model.is_empty() { &told.name } else { &told.model }, "unknown"));
    if let Some(how) = matching(told) {
        let _ = writeln!(text, "match: {{ bacnet: {how} }}");
    }
    text += "points:\n";
    text += &points;
    let mut notes = Vec::new();
    if !left.is_empty() {
        let kinds: Vec<_> = left.iter().map(|(kind, count)| format!("{count} of type {kind}")).collect();
        notes.push(format!("device {}: objects without a value to read are left out: {}", told.instance, kinds.join(", ")));
    }
    if too_many > 0 {
        notes.push(format!("device {}: {too_many} objects more than one profile holds are left out", told.instance));
    }
    Some(Draft { id, text, notes })
}

fn point(object: &ToldObject, used: &mut BTreeSet<String>) -> Option<String> {
    let (kind, instance) = (object.id.kind, object.id.instance);
    let is_binary = matches!(kind, 3..=5);
    let is_multi_state = matches!(kind, 13 | 14 | 19);
    let is_number = matches!(kind, 0..=2 | 12 | 23 | 24 | 45 | 46 | 48);
    if !(is_binary || is_multi_state || is_number || kind == 40) {
        return None;
    }
    let type_name = names::object_type(kind);
    let fallback = || format!("{}_{instance}", identifier(&type_name, '_'));
    let name = unique(&identifier(&object.name, '_'), fallback, used);
    let mut keys = vec![format!("name: {name}")];
    if let (true, Some(Unit::Known(unit))) = (is_number, object.units.map(Unit::from_number)) {
        keys.push(format!("unit: {}", json!(unit)));
    }
    if kind == 23 {
        keys.push("kind: counter".to_owned());
    }
    let mut read = format!("object: {type_name}, instance: {instance}");
    if kind == 23 {
        read += ", scale: device";
    }
    if is_binary || is_multi_state {
        read += ", cov: true";
    }
    keys.push(format!("read: {{ {read} }}"));
    let first = i64::from(is_multi_state);
    let states = if is_binary && object.states.len() != 2 { &[][..] } else { object.states.as_slice() };
    if (is_binary || is_multi_state) && !states.is_empty() {
        let states: Vec<_> =
            (first..).zip(states).map(|(number, text)| format!("{number}: {}", words(text, &number.to_string()))).collect();
        keys.push(format!("states: {{ {} }}", states.join(", ")));
    }
    if object.is_settable {
        match object.limits {
            _ if is_binary || is_multi_state && !states.is_empty() => keys.push("writable: true".to_owned()),
            Some((min, max)) if is_number && kind != 23 && kind != 24 => keys.push(format!("writable: {{ min: {min}, max: {max} }}")),
            _ => {}
        }
    }
    let about: String = object.description.chars().filter(|c| !c.is_control()).take(MAX_COMMENT_CHARS).collect();
    let about = if about.is_empty() { about } else { format!("  # {about}") };
    Some(format!("  - {{ {} }}{about}\n", keys.join(", ")))
}

/// How such a device is known again: by what it calls itself, else by some of its objects.
fn matching(told: &Told) -> Option<String> {
    let mut keys = Vec::new();
    if let Some(vendor) = told.vendor_id {
        keys.push(format!("vendor_id: {vendor}"));
    }
    // A part is enough to match, and what is no letter has no place in a file.
    let model: String = told.model.chars().take_while(|c| !c.is_control()).take(MAX_TEXT_CHARS).collect();
    if model.is_empty() {
        let fits = |name: &&str| !name.is_empty() && name.chars().count() <= MAX_TEXT_CHARS && !name.chars().any(char::is_control);
        let names = told.objects.iter().map(|object| object.name.as_str()).filter(fits);
        let names: Vec<_> = names.take(MATCHED_NAMES).map(|name| json!(name).to_string()).collect();
        if names.is_empty() {
            return None;
        }
        keys.push(format!("names: [{}]", names.join(", ")));
    } else {
        keys.push(format!("model: {}", json!(model)));
    }
    Some(format!("{{ {} }}", keys.join(", ")))
}

fn id(told: &Told, taken: &BTreeSet<String>) -> String {
    let own = if told.model.is_empty() { &told.name } else { &told.model };
    let own = identifier(&format!("{} {own}", told.vendor), '-');
    let own = if own.is_empty() { "bacnet-device".to_owned() } else { own };
    if !taken.contains(&own) {
        return own;
    }
    let own = own.get(..MAX_NAME_BYTES.saturating_sub(9)).unwrap_or(&own).trim_end_matches('-');
    format!("{own}-{}", told.instance)
}

/// Lower-case letters and digits with a sign between words; empty where there is none of either.
fn identifier(text: &str, sign: char) -> String {
    let mut made = String::new();
    for c in text.chars() {
        let plain = match c {
            'ä' | 'Ä' => "ae",
            'ö' | 'Ö' => "oe",
            'ü' | 'Ü' => "ue",
            'ß' => "ss",
            c if c.is_ascii_alphanumeric() => {
                made.push(c.to_ascii_lowercase());
                continue;
            }
            _ => {
                if !made.is_empty() && !made.ends_with(sign) {
                    made.push(sign);
                }
                continue;
            }
        };
        made += plain;
    }
    made.truncate(MAX_NAME_BYTES);
    made.trim_end_matches(sign).to_owned()
}

/// A name of a point that no other has: a letter comes first.
fn unique(name: &str, fallback: impl Fn() -> String, used: &mut BTreeSet<String>) -> String {
    let name = match name.chars().next() {
        None => fallback(),
        Some(c) if c.is_ascii_digit() => format!("p_{name}"),
        Some(_) => name.to_owned(),
    };
    let room = name.get(..MAX_NAME_BYTES - 6).unwrap_or(&name).trim_end_matches('_');
    let mut others = (2..).map(|number| format!("{room}_{number}"));
    let mut found: String = name.get(..MAX_NAME_BYTES).unwrap_or(&name).to_owned();
    while !used.insert(found.clone()) {
        found = others.next().unwrap_or_default();
    }
    found
}

/// A text in quotes, short enough for a profile.
fn words(text: &str, otherwise: &str) -> String {
    let text: String = text.chars().filter(|c| !c.is_control()).take(MAX_TEXT_CHARS).collect();
    let text = text.trim();
    json!(if text.is_empty() { otherwise } else { text }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::bacnet::tags::ObjectId;
    use crate::profile::Profile;

    fn object(kind: u16, instance: u32, name: &str) -> ToldObject {
        ToldObject { name: name.to_owned(), ..ToldObject::new(ObjectId::new(kind, instance)) }
    }

    fn ahu() -> Told {
        let states = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        Told {
            instance: 3001,
            address: None,
            name: "AHU-1".into(),
            vendor_id: Some(5),
            vendor: "Johnson Controls".into(),
            model: "FEC \"2611\"".into(),
            objects: vec![
                ToldObject { units: Some(64), description: "discharge air: # temperature".into(), ..object(0, 3_000_109, "DA-T") },
                ToldObject { units: Some(98), limits: Some((0.0, 100.5)), is_settable: true, ..object(1, 3_000_107, "CLG-O") },
                ToldObject { states: states(&["Aus", ""]), is_settable: true, ..object(4, 1, "Lüfter 'ein'") },
                ToldObject { states: states(&["off", "low", "high"]), ..object(13, 2, "lüfter EIN") },
                ToldObject { units: Some(19), ..object(23, 1, "1st meter") },
                object(40, 1, ""),
                object(46, 7, "DA-T"),
                object(17, 1, "SCHEDULE"),
                object(17, 2, "SCHEDULE-2"),
                object(20, 1, "LOG"),
            ],
        }
    }

    #[test]
    fn a_profile_made_of_objects_is_one_that_the_reader_takes() {
        let draft = draft(&ahu(), &BTreeSet::from(["johnson-controls-fec-2611".to_owned()])).unwrap();
        let expected = r#"# Made from the objects of device 3001; names and units are its own. To be gone through by somebody.
schema: 1
id: johnson-controls-fec-2611-3001
manufacturer: "Johnson Controls"
model: "FEC \"2611\""
match: { bacnet: { vendor_id: 5, model: "FEC \"2611\"" } }
points:
  - { name: da_t, unit: "[degF]", read: { object: analog-input, instance: 3000109 } }  # discharge air: # temperature
  - { name: clg_o, unit: "%", read: { object: analog-output, instance: 3000107 }, writable: { min: 0, max: 100.5 } }
  - { name: luefter_ein, read: { object: binary-output, instance: 1, cov: true }, states: { 0: "Aus", 1: "1" }, writable: true }
  - { name: luefter_ein_2, read: { object: multi-state-input, instance: 2, cov: true }, states: { 1: "off", 2: "low", 3: "high" } }
  - { name: p_1st_meter, unit: "kWh", kind: counter, read: { object: accumulator, instance: 1, scale: device } }
  - { name: characterstring_value_1, read: { object: characterstring-value, instance: 1 } }
  - { name: da_t_2, read: { object: large-analog-value, instance: 7 } }
"#;
        assert_eq!(draft.text, expected);
        assert_eq!(draft.notes, ["device 3001: objects without a value to read are left out: 2 of type 17, 1 of type 20"]);
        let file = format!("{}.yaml", draft.id);
        let profile = Profile::read(file.as_ref(), draft.text.as_bytes()).unwrap();
        assert_eq!(profile.points.len(), 7);
    }

    #[test]
    fn a_device_that_says_little_still_makes_a_profile_and_one_without_values_makes_none() {
        let told = Told { instance: 9, objects: vec![object(0, 1, "T")], ..Told::default() };
        let draft = super::draft(&told, &BTreeSet::new()).unwrap();
        assert!(draft.text.contains("match: { bacnet: { names: [\"T\"] } }"), "{}", draft.text);
        assert_eq!(draft.id, "bacnet-device");
        Profile::read("bacnet-device.yaml".as_ref(), draft.text.as_bytes()).unwrap();
        assert_eq!(super::draft(&Told { objects: vec![object(17, 1, "S")], ..told }, &BTreeSet::new()), None);
    }

    proptest::proptest! {
        #[test]
        fn whatever_a_device_is_called_the_reader_takes_its_profile(names in proptest::collection::vec(".{0,80}", 1..8), text in ".{0,90}") {
            let objects = (0..).zip(&names).map(|(n, name)| ToldObject {
                description: text.clone(),
                states: vec![text.clone(), name.clone()],
                units: Some(n),
                ..object([0, 4, 13, 40, 23][n as usize % 5], n, name)
            });
            let told = Told { instance: 1, address: None, name: text.clone(), vendor: text.clone(), model: names[0].clone(), vendor_id: Some(1), objects: objects.collect() };
            let draft = draft(&told, &BTreeSet::new()).unwrap();
            let file = format!("{}.yaml", draft.id);
            if let Err(problems) = Profile::read(file.as_ref(), draft.text.as_bytes()) {
                panic!("{problems:?}\n{}", draft.text);
            }
        }
    }
}
