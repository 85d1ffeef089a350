//! Which addresses are asked, which profiles fit, and what is printed.

use std::sync::Arc;

use super::*;

#[test]
fn addresses_are_what_people_write() {
    for (texts, first, last, count) in [
        (&["10.0.0.9"][..], "10.0.0.9", "10.0.0.9", 1),
        (&["10.0.0.250-10.0.1.5"], "10.0.0.250", "10.0.1.5", 12),
        (&["10.0.0.7/24"], "10.0.0.1", "10.0.0.254", 254),
        (&["10.0.0.7/32"], "10.0.0.7", "10.0.0.7", 1),
        (&["10.0.0.6/31"], "10.0.0.6", "10.0.0.7", 2),
        (&["10.0.0.0/20"], "10.0.0.1", "10.0.15.254", 4094),
        (&["switch-3.example", "2001:db8::9", "switch-3.example"], "switch-3.example", "2001:db8::9", 2),
    ] {
        let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        let hosts = hosts(&texts).unwrap();
        assert_eq!((hosts.first().unwrap().as_str(), hosts.last().unwrap().as_str(), hosts.len()), (first, last, count), "{texts:?}");
    }
    for (text, says) in [
        ("10.0.0.0/19", "more than 4096 addresses"),
        ("0.0.0.0/0", "more than 4096 addresses"),
        ("10.0.0.0-10.0.16.0", "more than 4096 addresses"),
        ("10.0.0.9-10.0.0.1", "expected an address"),
        ("10.0.0.0/33", "expected an address"),
        ("10.0.0.256", "expected an address"),
        ("", "expected an address"),
        ("a b", "expected an address"),
    ] {
        let error = hosts(&[text.to_owned()]).unwrap_err();
        assert!(error.contains(says), "{text}: {error}");
    }
}

fn profiles() -> Profiles {
    let profile = |id: &str, mark: &str| {
        let text = format!(
            "schema: 1\nid: {id}\nmanufacturer: x\nmodel: x\nmatch: {{ snmp: {mark} }}\npoints: [{{ name: a, read: {{ oid: 1.3.6.1.0, type: text }} }}]\n"
        );
        Profile::read(format!("{id}.yaml").as_ref(), text.as_bytes()).map(|profile| (id.to_owned(), Arc::new(profile))).unwrap()
    };
    [
        profile("interfaces", "{ has: [1.3.6.1.2.1.2.2.1.8] }"),
        profile("ups", "{ has: [1.3.6.1.2.1.33.1.2.1] }"),
        profile("apc", "{ sys_object_id: 1.3.6.1.4.1.318.1.3, has: 1.3.6.1.4.1.318.1.1.1.2.1.1 }"),
        profile("cisco", "{ sys_object_id: 1.3.6.1.4.1.9, sys_descr: cisco }"),
    ]
    .into()
}

fn dossier(host: &str, id: &str, descr: &str, name: &str, has: &[&str]) -> Dossier {
    let oid = |text: &str| text.parse().ok();
    let has = has.iter().filter_map(|text| oid(text)).collect();
    Dossier { host: host.to_owned(), way: 0, descr: descr.to_owned(), object_id: oid(id), name: name.to_owned(), has }
}

#[test]
fn a_profile_fits_only_where_all_that_it_names_is_so() {
    let (interfaces, apc) = ("1.3.6.1.2.1.2.2.1.8", "1.3.6.1.4.1.318.1.1.1.2.1.1");
    for (id, descr, has, fits) in [
        ("1.3.6.1.4.1.318.1.3.27", "APC Web/SNMP", &[interfaces, apc][..], "apc 40, interfaces 10"),
        ("1.3.6.1.4.1.318.1.3.27", "APC Web/SNMP", &[interfaces], "interfaces 10"),
        ("1.3.6.1.4.1.9.1.1208", "Cisco IOS Software", &[interfaces], "cisco 15, interfaces 10"),
        ("1.3.6.1.4.1.9.1.1208", "Catalyst", &[], ""),
        ("1.3.6.1.4.1.99", "cisco", &[], ""),
    ] {
        let fits_found: Vec<_> =
            rank(&dossier("h", id, descr, "", has), &profiles()).iter().map(|fit| format!("{} {}", fit.profile, fit.score)).collect();
        assert_eq!(fits_found.join(", "), fits, "{id} {descr}");
    }
}

#[test]
fn what_is_printed_is_comments_and_devices_with_names_of_their_own() {
    let hosts: Vec<String> = ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"].map(str::to_owned).into();
    let wanted = Wanted { hosts, ways: vec!["community: \"public\"".to_owned()], budget: BUDGET, timeout: TIMEOUT, parallel: 1 };
    let has = ["1.3.6.1.2.1.2.2.1.8"];
    let dossiers = [
        dossier("10.0.0.3", "1.3.6.1.4.1.99", "Box\r\nwith \x1b[31m", "", &[]),
        dossier("10.0.0.1", "1.3.6.1.4.1.9.1", "Cisco", "Core Switch.example.org", &has),
        dossier("10.0.0.2", "1.3.6.1.4.1.9.1", "Cisco", "Core Switch", &has),
    ];
    let report = Report::new(&wanted, &profiles(), &dossiers, 3, Duration::from_millis(1234));
    let expected = "\
# 3 agents at 3 addresses in 1.2 s
#
# 10.0.0.1 Core Switch.example.org: Cisco
#   cisco (15): sysObjectID is below 1.3.6.1.4.1.9, sysDescr has \"cisco\" in it
#   interfaces (10): has 1.3.6.1.2.1.2.2.1.8
#
# 10.0.0.2 Core Switch: Cisco
#   cisco (15): sysObjectID is below 1.3.6.1.4.1.9, sysDescr has \"cisco\" in it
#   interfaces (10): has 1.3.6.1.2.1.2.2.1.8
#
# 10.0.0.3 : Box  with  [31m
#   no profile fits; sysObjectID 1.3.6.1.4.1.99
# 1 of 4 addresses were not reached in time
devices:
  - { name: core-switch-cisco, profile: cisco, snmp: { host: \"10.0.0.1\", community: \"public\" } }
  - { name: core-switch-interfaces, profile: interfaces, snmp: { host: \"10.0.0.1\", community: \"public\" } }
  - { name: core-switch-cisco-2, profile: cisco, snmp: { host: \"10.0.0.2\", community: \"public\" } }
  - { name: core-switch-interfaces-2, profile: interfaces, snmp: { host: \"10.0.0.2\", community: \"public\" } }
";
    assert_eq!(report.to_string(), expected);
}
