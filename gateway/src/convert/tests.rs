//! Old files of every agent in both layouts, and what becomes of them: one snapshot for each folder of `cases`.

use std::fmt::Write as _;

use super::*;
use crate::profile::load_profiles;

fn known() -> Profiles {
    let (profiles, problems) = load_profiles(&[Path::new(env!("CARGO_MANIFEST_DIR")).join("../hw-profiles")]);
    assert_eq!(problems, []);
    profiles
}

/// Converts them for `/etc/pattoo/old`; what is written and told, but for what is secret.
fn outcome(olds: &[Old], known: &Profiles) -> String {
    let out = Path::new("/etc/pattoo/old");
    let made = convert(olds, known, out);
    let mut text = String::new();
    for NewFile { path, text: content, secret } in &made.files {
        let content = if *secret { format!("({} bytes)\n", content.len()) } else { content.clone() };
        let _ = write!(text, "--- {}\n{content}", path.display());
    }
    let lists = [("devices", made.devices), ("changes", strings(&made.changes)), ("problems", strings(&made.problems))];
    for (name, list) in lists.iter().filter(|(_, list)| !list.is_empty()) {
        let _ = writeln!(text, "=== {name}\n{}", list.join("\n"));
    }
    assert!(!text.contains("secret-"), "a secret is told: {text}");
    let own = made.problems.iter().filter(|problem| problem.file.starts_with(out)).map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(own, Vec::<String>::new(), "what was made is refused: {text}");
    text
}

fn strings(problems: &[Problem]) -> Vec<String> {
    problems.iter().map(ToString::to_string).collect()
}

#[test]
fn each_old_file_becomes_what_it_asked_for() {
    let (known, cases) = (known(), Path::new(env!("CARGO_MANIFEST_DIR")).join("src/convert/cases"));
    let list = |folder: &Path| {
        let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files
    };
    let cases = list(&cases);
    assert_eq!(cases.len(), 13);
    for case in cases {
        let olds =
            list(&case).into_iter().map(|file| Old { content: std::fs::read(&file).unwrap(), file: file.file_name().unwrap().into() });
        let olds: Vec<_> = olds.collect();
        insta::assert_snapshot!(case.file_name().unwrap().to_str().unwrap(), outcome(&olds, &known));
    }
}

/// An agent's file of either layout.
fn file(program: &str, content: &str) -> Old {
    Old { file: format!("{program}.yaml").into(), content: content.into() }
}

#[test]
fn what_is_wrong_is_told_where_it_stands_and_costs_only_itself() {
    let known = known();
    let modbus = |registers: &str| {
        ("pattoo_agent_modbustcpd", format!("polling_groups:\n  - {{ group_name: A, ip_targets: [10.0.0.5], {registers} }}\n"))
    };
    let good = "input_registers: [30001]";
    let auth = |keys: &str| {
        let polled = "polling_groups: [{ group_name: A, ip_targets: [10.0.0.9], oids: [.1.3.6.1.2.1.1.3.0] }]";
        ("pattoo_agent_snmpd", format!("{polled}\nauth_groups:\n  - {{ group_name: B, ip_targets: [10.0.0.9], {keys} }}\n"))
    };
    let oid = |oid: &str| {
        let access = "auth_groups: [{ group_name: A, ip_targets: [10.0.0.9] }]";
        (
            "pattoo_agent_snmpd",
            format!("{access}\npolling_groups:\n  - {{ group_name: A, ip_targets: [10.0.0.9], oids: [{oid}, .1.3.6.1.2.1.1.3.0] }}\n"),
        )
    };
    let bacnet = |points: &str| {
        (
            "pattoo_agent_bacnetipd",
            format!("agent_ip_address: 10.0.0.2\npolling_groups:\n  - {{ group_name: A, ip_targets: [10.0.0.5], {points} }}\n"),
        )
    };
    let mut report = String::new();
    for (what, (program, content)) in [
        ("an empty file", ("pattoo_agent_modbustcpd", String::new())),
        ("a list", ("pattoo_agent_modbustcpd", "- a\n".to_owned())),
        (
            "no YAML: the documents of the old agent have it so",
            (
                "pattoo_agent_modbustcpd",
                "input_registers:\n  - address: 30123\n    multiplier: 1\n  - 30789\n    multiplier: 1\n".to_owned(),
            ),
        ),
        ("nobody's file", ("anything", "polling_interval: 5\n".to_owned())),
        ("a misspelt section beside a good one", ("config", "pattoo_agent_modbustpcd: {}\npattoo_agent_os_spoked: {}\n".to_owned())),
        ("an unknown key of a section", ("pattoo_agent_modbustcpd", format!("{}poling_interval: 5\n", modbus(good).1))),
        ("an unknown key of a group", modbus(&format!("{good}, units: 3"))),
        ("an interval of nothing", ("pattoo_agent_modbustcpd", format!("{}polling_interval: 0\n", modbus(good).1))),
        ("no groups", ("pattoo_agent_modbustcpd", "polling_interval: 5\n".to_owned())),
        ("no targets", ("pattoo_agent_modbustcpd", "polling_groups: [{ group_name: A, input_registers: [30001] }]\n".to_owned())),
        (
            "a target that is none",
            (
                "pattoo_agent_modbustcpd",
                "polling_groups: [{ group_name: A, ip_targets: ['a b', 10.0.0.5], input_registers: [30001] }]\n".to_owned(),
            ),
        ),
        ("a unit that is too high", modbus(&format!("{good}, unit: 247"))),
        ("a register between five digits and six", modbus("input_registers: [30001, 40001]")),
        ("a register of no address", modbus("holding_registers: [40001, 465537]")),
        ("a register 0", modbus("input_registers: [30000, 30001]")),
        ("a register that is text", modbus("input_registers: [{ address: thirty }, 30001]")),
        ("a multiplier that is text", modbus("input_registers: [{ address: 30002, multiplier: ten }, 30001]")),
        ("a multiplier of nothing", modbus("input_registers: [{ address: 30002, multiplier: 0 }, 30001]")),
        ("a multiplier with too many digits", modbus("input_registers: [{ address: 30002, multiplier: 1.0e-30 }, 30001]")),
        ("a point without an address", modbus("input_registers: [{ multiplier: 2 }, 30001]")),
        ("a register twice with other multipliers", modbus("input_registers: [30001, { address: 30001, multiplier: 2 }]")),
        ("no registers", modbus("unit: 3")),
        (
            "no auth group",
            (
                "pattoo_agent_snmpd",
                "auth_groups: []\npolling_groups: [{ group_name: A, ip_targets: [10.0.0.9], oids: [.1.3.6] }]\n".to_owned(),
            ),
        ),
        ("a version of nobody", auth("snmp_version: 4, snmp_community: secret-c")),
        ("a community that is a list", auth("snmp_community: [secret-c]")),
        ("no user", auth("snmp_version: 3, snmp_authprotocol: MD5, snmp_authpassword: secret-auth")),
        ("a protocol of nobody", auth("snmp_version: 3, snmp_secname: u, snmp_authprotocol: MD6, snmp_authpassword: secret-auth")),
        ("a password without a protocol", auth("snmp_version: 3, snmp_secname: u, snmp_authpassword: secret-auth")),
        ("an OID that is a name", oid("ifInOctets")),
        ("a text with a multiplier", oid("{ address: .1.3.6.1.2.1.1.5.0, multiplier: 8 }")),
        ("a point of no number", bacnet("points: [temperature, 1]")),
        (
            "an address of this side that is a name",
            (
                "pattoo_agent_bacnetipd",
                "agent_ip_address: here\npolling_groups: [{ group_name: A, ip_targets: [10.0.0.5], points: [1] }]\n".to_owned(),
            ),
        ),
    ] {
        let _ = writeln!(report, "## {what}\n{}", outcome(&[file(program, &content)], &known));
    }
    insta::assert_snapshot!("bad", report);
}

#[test]
fn the_registers_on_the_wire_are_those_of_the_old_agent() {
    let known = known();
    for (list, number, table, address) in [
        ("input_registers", 30_001, "Input", 0),
        ("input_registers", 39_999, "Input", 9_998),
        ("input_registers", 300_001, "Input", 0),
        ("input_registers", 365_536, "Input", 65_535),
        ("holding_registers", 40_001, "Holding", 0),
        ("holding_registers", 40_123, "Holding", 122),
        ("holding_registers", 400_123, "Holding", 122),
        ("holding_registers", 465_536, "Holding", 65_535),
    ] {
        let content = format!("polling_groups: [{{ group_name: A, ip_targets: [h], {list}: [{{ address: {number}, multiplier: 0.5 }}] }}]");
        let made = convert(&[file("pattoo_agent_modbustcpd", &content)], &known, Path::new("/x"));
        let [_, profile] = made.files.as_slice() else { panic!("{number}") };
        let profile = Profile::read(&profile.path, profile.text.as_bytes()).unwrap();
        let crate::profile::Read::Modbus(read) = &profile.points[0].read else { panic!("{number}") };
        assert_eq!((format!("{:?}", read.table).as_str(), read.address, read.scale), (table, address, (5, -1)), "{number}");
    }
}

#[test]
fn hosts_whose_names_become_alike_stay_apart() {
    let content = "polling_groups: [{ group_name: A, ip_targets: ['2001:db8::5', 2001-db8-5], input_registers: [30001] }]";
    let made = convert(&[file("pattoo_agent_modbustcpd", content)], &known(), Path::new("/x"));
    assert_eq!((made.devices.len(), strings(&made.problems)), (2, Vec::new()));
    let config = &made.files[0].text;
    for line in [
        "modbus-2001-db8-5: { tcp: \"[2001:db8::5]:502\" }",
        "modbus-2001-db8-5-2: { tcp: \"2001-db8-5:502\" }",
        "link: modbus-2001-db8-5-2,",
    ] {
        assert!(config.contains(line), "{line}: {config}");
    }
}

#[test]
fn secrets_are_in_files_of_their_own_as_the_gateway_reads_them() {
    let content =
        std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/convert/cases/snmp_section/pattoo_agent_snmpd.yaml")).unwrap();
    let made = convert(&[Old { file: "pattoo_agent_snmpd.yaml".into(), content }], &known(), Path::new("/x"));
    let secrets: Vec<_> =
        made.files.iter().filter(|file| file.secret).map(|file| (file.path.to_str().unwrap(), file.text.as_str())).collect();
    assert_eq!(
        secrets,
        [
            ("secrets/CISCO.yaml", "community: \"secret-community\"\n"),
            ("secrets/Defaults.yaml", "community: \"public\"\n"),
            ("secrets/Juniper.yaml", "auth: \"secret-auth \\\"1\\\"\"\npriv: \"secret-priv 1\"\n"),
        ]
    );
    assert!(made.files.iter().all(|file| file.secret || !file.text.contains("secret-")));
}

proptest::proptest! {
    #[test]
    fn no_file_makes_it_fall_or_is_converted_to_something_that_is_refused(
        text in "(polling_groups:|auth_groups:|pattoo_agent_(snmpd|modbustcpd|bacnetipd):| {0,6}- group_name: [a-z\"#]{0,4}| {0,6}(ip_targets|oids|points|input_registers|unit|snmp_version): (\\[[0-9a-z.:,]{0,9}\\]|[0-9]{0,6})|\n){0,12}",
    ) {
        let made = convert(&[file("pattoo_agent_snmpd", &text), file("pattoo_agent_modbustcpd", &text)], &Profiles::new(), Path::new("/x"));
        proptest::prop_assert!(made.problems.iter().all(|problem| !problem.file.starts_with("/x")), "{text}: {:?}", strings(&made.problems));
    }
}
