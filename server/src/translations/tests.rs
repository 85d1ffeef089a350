use std::collections::BTreeMap;

use pattoo_wire::{Repr, Series};

use super::*;
use crate::store::SeriesId;

const POINTS: &str = "\
language,key,translation,units
en,pattoo_agent_snmp_ifmibd_ifhcinoctets,Inbound traffic,Bits / Second
xx,pattoo_agent_snmp_ifmibd_ifhcinoctets,Nobody speaks this,Bits / Second
de,pattoo_agent_snmp_ifmibd_ifhcinoctets,Eingehender Verkehr,Bit / Sekunde
en,pattoo_agent_linux_autonomousd_cpu_times_percent_user,User CPU,Percent
en,eastron-sdm630_voltage_l1,\"Voltage, phase 1\",Volt
en,too,few
";

fn series(profile: &str, point: &str, unit: &str, kind: Kind) -> SeriesEntry {
    let entry = Series { device: 0, point: point.into(), unit: unit.into(), kind, repr: Repr::F64, labels: [].into(), states: [].into() };
    SeriesEntry { id: SeriesId(1), gateway: "g".into(), device: "d".into(), profile: profile.into(), device_labels: BTreeMap::new(), entry }
}

fn imported(packs: &[&str]) -> Translations {
    let mut all = Translations::default();
    for pack in packs {
        all.import(pack.as_bytes()).unwrap();
    }
    all
}

#[test]
fn case_10_a_wrong_row_is_named_by_its_line_and_the_others_are_taken() {
    let mut all = Translations::default();
    let told = all.import(POINTS.as_bytes()).unwrap();
    let lines: Vec<_> = told.problems.iter().map(|p| (p.line, p.message.as_str())).collect();
    let expected = [(3, "found language \"xx\", expected a code of ISO 639-1 like en, de or pt-br"), (7, "found 3 columns, expected 4")];
    assert_eq!((told.points, told.programs, lines.as_slice()), (4, 0, expected.as_slice()));
    assert_eq!(all.sizes().iter().map(|size| (size.language.as_str(), size.points)).collect::<Vec<_>>(), [("de", 1), ("en", 3)]);
    assert_eq!(Translations::parse(&all.text()).unwrap(), all);
}

#[test]
fn case_10_a_key_finds_its_series_and_what_is_not_translated_is_left_alone() {
    let all = imported(&[POINTS]);
    let (en, de) = (all.words("en").unwrap(), all.words("de").unwrap());
    let ifmib = |point: &str| series("pattoo_agent_snmp_ifmibd", point, "", Kind::Counter);
    for (words, of, name, unit) in [
        (en, ifmib("ifhcinoctets[ifname=eth0,oid=.1.3]"), Some("Inbound traffic [ifname=eth0,oid=.1.3]"), "Bits"),
        (de, ifmib("ifhcinoctets"), Some("Eingehender Verkehr"), "Bit / Sekunde"),
        (en, ifmib("ifhcoutoctets[ifname=eth0]"), None, ""),
        (en, series("pattoo_agent_os_autonomousd", "cpu_times_percent_user", "", Kind::Gauge), Some("User CPU"), "Percent"),
        (en, series("eastron-sdm630", "voltage_l1", "V", Kind::Gauge), Some("Voltage, phase 1"), "V"),
        (en, series("other", "voltage_l1", "V", Kind::Gauge), None, "V"),
    ] {
        assert_eq!(words.series(&of), (name.map(str::to_owned), unit.to_owned()), "{}", of.entry.point);
    }
}

#[test]
fn a_second_pack_replaces_and_takes_away() {
    let more = "language,key,translation,units\nen,Eastron-SDM630_voltage_l1,Voltage L1,\nen,eastron-sdm630_voltage_l2,,kV\nde,pattoo_agent_snmp_ifmibd_ifhcinoctets,,\n";
    let all = imported(&[POINTS, more, "\u{feff}Language, Key, Translation\nen,pattoo_agent_snmp_ifmibd,Interfaces\n"]);
    let en = all.words("en").unwrap();
    let voltage = |n: u8| en.series(&series("eastron-sdm630", &format!("voltage_l{n}"), "", Kind::Gauge));
    assert_eq!((voltage(1), voltage(2)), ((Some("Voltage L1".into()), String::new()), (None, "kV".into())));
    assert_eq!((en.program("pattoo_agent_snmp_ifmibd"), all.words("de")), (Some("Interfaces"), None), "a language without words is gone");
}

#[test]
fn each_reader_has_a_language_of_its_own() {
    let mut all = imported(&[POINTS]);
    all.choose("olga", "de").unwrap();
    assert_eq!((all.language_of("olga", "en"), all.language_of("eve", "en")), ("de", "en"));
    let refused = all.choose("eve", "fr").unwrap_err().to_string();
    assert!(refused.ends_with("there are: de, en"), "{refused}");
    for n in 1..MAX_READERS {
        all.choose(&format!("reader{n}"), "en").unwrap();
    }
    assert_eq!(all.choose("one more", "en"), Err(TranslationsError::Full));
    all.choose("olga", "en").unwrap();
}

#[test]
fn what_is_no_pack_is_refused_and_changes_nothing() {
    let mut all = imported(&[POINTS]);
    let before = all.clone();
    let many: String = (0..=MAX_WORDS).map(|n| format!("en,k{n},x\n")).collect();
    for (pack, words) in [
        (b"".as_slice(), "expected `language,key,translation,units`"),
        (b"key,translation\na,b\n", "found columns \"key,translation\""),
        (b"\xff\xfe,b\n", "expected `language"),
        (format!("language,key,translation\n{many}").as_bytes(), "more than 50000 words"),
        (&vec![b'x'; (4 << 20) + 1], "expected at most 4194304"),
    ] {
        let error = all.import(pack).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    assert_eq!(all, before);
    let bad = b"language,key,translation,units\nen,k,\xff,x\nen,,x,y\nen,k,a\x07b,\nen,k,fine,\n";
    let told = all.import(bad).unwrap();
    assert_eq!((told.points, told.problems.iter().map(|p| p.line).collect::<Vec<_>>()), (1, vec![2, 3, 4]));
}

#[test]
fn a_counter_counts_in_the_unit_of_its_rate_without_the_time() {
    for (unit, expected) in [
        ("Bits / Second", "Bits"),
        ("packets/s", "packets"),
        ("Errors per second", "Errors"),
        ("kWh", "kWh"),
        ("s", "s"),
        ("Seconds", "Seconds"),
        ("µ / sec", "µ"),
        ("", ""),
    ] {
        assert_eq!(counted(unit), expected, "{unit}");
    }
    assert_eq!(["EN", " pt_BR ", "de-AT"].map(language), [Some("en".into()), Some("pt-br".into()), Some("de-at".into())]);
    assert_eq!(["eng", "xx", "", "pt-brazil", "e n", "de-"].map(language), [const { None }; 6]);
}
