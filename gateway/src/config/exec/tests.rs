use std::path::PathBuf;
use std::time::Duration;

use super::*;
use crate::config::{Config, Input, Way, read_for_test};
use crate::lines::Precision;

const TANK: &str = "\
schema: 1
id: tank
manufacturer: Us
model: tank script
points: [{ name: level, read: { field: lvl } }]
";

/// A configuration with these links and devices, and what is wrong with it.
fn read(links: &str, devices: &str) -> (Option<Config>, Vec<String>) {
    let profile = Profile::read(std::path::Path::new("tank.yaml"), TANK.as_bytes()).unwrap();
    let text = format!(
        "gateway: g\nuplink: {{ url: mqtt://127.0.0.1 }}\nlinks:\n  plc: {{ tcp: 10.0.0.5:502 }}\n  {links}\ndevices:\n  - {devices}\n"
    );
    let (config, problems) = read_for_test(&text, profile);
    (config, problems.iter().map(ToString::to_string).collect())
}

fn good(links: &str, devices: &str) -> Config {
    let (config, problems) = read(links, devices);
    assert_eq!(problems, [""; 0], "{links} {devices}");
    config.unwrap()
}

#[test]
fn a_program_is_a_link_of_its_own() {
    let config = good("", "{ name: a, every: 20s, exec: { run: [/bin/x, -v, '1'] } }");
    let link = config.links.last().unwrap();
    let Transport::Exec(program) = &link.transport else { panic!("{link:?}") };
    assert_eq!((link.name.as_str(), link.devices.len(), program.device.as_str()), ("exec-a", 1, "a"));
    assert_eq!(
        (program.run.as_slice(), program.mode),
        (["/bin/x", "-v", "1"].map(str::to_owned).as_slice(), Mode::Interval { timeout: seconds(20) })
    );
    assert_eq!((&program.directory, program.env.len(), program.source.stale_after.len()), (&PathBuf::from("/"), 0, 0));
    assert_eq!(config.devices[0].profile.id, "readings");
    assert!(!link.transport.is_heard());
    let all =
        "{ name: a, profile: tank, stale_after: 5m, exec: { run: [x], mode: keep, env: { A: b, C: 1 }, directory: /srv, precision: ms } }";
    let config = good("", all);
    let Transport::Exec(program) = &config.links.last().unwrap().transport else { panic!() };
    assert_eq!((program.mode, program.env["C"].as_str(), &program.directory), (Mode::Keep, "1", &PathBuf::from("/srv")));
    assert_eq!((program.source.precision, program.source.stale_after["a"]), (Precision::Ms, Duration::from_secs(300)));
    assert!(config.links.last().unwrap().transport.is_heard());
    assert_eq!(config.devices[0].profile.id, "tank");
    let config = good("", "{ name: a, profile: readings, exec: { run: [x], mode: keep } }");
    let Transport::Exec(program) = &config.links.last().unwrap().transport else { panic!() };
    assert_eq!(program.source.stale_after["a"], STALE_AFTER, "one that is kept running may not be silent for ever");
    let config = good("", "{ name: a, every: 1h, exec: { run: [x] } }");
    let Transport::Exec(program) = &config.links.last().unwrap().transport else { panic!() };
    assert_eq!(program.mode, Mode::Interval { timeout: MAX_TIMEOUT });
}

#[test]
fn sockets_and_brokers_are_links_where_readings_are_told() {
    let devices = "{ name: a, link: in }\n  - { name: b, profile: tank, link: in, stale_after: 90s }";
    let config = good("in: { socket: /run/p/in.sock }", devices);
    let Transport::Input(input) = &config.links[1].transport else { panic!() };
    let Input { link, way, source } = &**input;
    assert_eq!((link.as_str(), way), ("in", &Way::Socket { path: "/run/p/in.sock".into(), mode: 0o660 }));
    assert_eq!((source.stale_after.get("a"), source.stale_after["b"], config.links[1].devices.len()), (None, seconds(90), 2));
    assert!(config.links[1].transport.is_heard());
    let config = good("in: { socket: /s, mode: 0600, precision: s }", "{ name: a, link: in }");
    let Transport::Input(input) = &config.links[1].transport else { panic!() };
    assert_eq!((&input.way, input.source.precision), (&Way::Socket { path: "/s".into(), mode: 0o600 }, Precision::S));
    let bus = "in: { mqtt: 'mqtts://bus.example', topic: 'a/+/b/#', device_from: 2, credentials: /c, ca: /ca }";
    let config = good(bus, "{ name: a, link: in }");
    let Transport::Input(input) = &config.links[1].transport else { panic!() };
    let Way::Mqtt { broker, topic, device_from } = &input.way else { panic!() };
    assert_eq!((broker.url.as_str(), topic.as_str(), device_from), ("mqtts://bus.example", "a/+/b/#", &Some(2)));
    assert_eq!((&broker.credentials, &broker.ca), (&Some("/c".into()), &Some("/ca".into())));
}

#[test]
fn what_is_wrong_with_a_source_is_said_where_it_stands_and_costs_only_it() {
    let device = |rest: &str| format!("{{ name: a, {rest} }}");
    for (links, devices, expected) in [
        ("", device("exec: { run: x }"), "found `x`, expected a list of 1 to 128 texts"),
        ("", device("exec: { run: [] }"), "found something else, expected a list of 1 to 128 texts"),
        ("", device("exec: { run: [''] }"), "found something else, expected a list of 1 to 128 texts"),
        ("", device("exec: { run: [[x]] }"), "found something else, expected a list of 1 to 128 texts"),
        ("", device("exec: { mode: keep }"), "`run` is missing, expected a list: the program and its arguments"),
        ("", device("exec: { run: [x], mode: forever }"), "found `forever`, expected one of interval, keep"),
        ("", device("exec: { run: [x], mode: keep, timeout: 1s }"), "found with `mode: keep`, expected only with `mode: interval`"),
        ("", device("exec: { run: [x], timeout: 1h }"), "found `1h`, expected a time from 100ms to 10m"),
        ("", device("exec: { run: [x], env: { PATTOO_X: y } }"), "found the variable `PATTOO_X`, expected at most 128 variables"),
        ("", device("exec: { run: [x], env: { 'A=B': y } }"), "found the variable `A=B`"),
        (
            "",
            device("exec: { run: [x], shell: true }"),
            "unknown key `shell`, expected one of run, mode, timeout, env, directory, precision",
        ),
        ("", device("exec: { run: [x] }, link: plc"), "found beside `exec`, expected one of them: a program is a link of its own"),
        ("", device("exec: { run: [x] }, unit: 1"), "has no place here: readings name their device"),
        ("", device("exec: { run: [x] }, stale_after: 1ms"), "found `1ms`, expected a time from 1000ms to 7d"),
        ("exec-a: { tcp: a:1 }", device("exec: { run: [x] }"), "the name `exec-a` belongs to a link, expected another name for that"),
        ("", device("profile: readings"), "`link` is missing, expected the name of a link with `socket` or `mqtt`, or `exec`"),
        ("", device("profile: tank, link: plc"), "found `plc`, expected the name of a link with `socket` or `mqtt`"),
        ("scripts: { socket: /s }", device("profile: tank, link: script"), "did you mean `scripts`?"),
        ("in: { socket: run/s }", device("link: in"), "found `run/s`, expected a path from the root"),
        ("in: { socket: /s, mode: '0990' }", device("link: in"), "found `0990`, expected permissions in octal"),
        ("in: { socket: /s, mode: '0066' }", device("link: in"), "found `0066`, expected permissions in octal"),
        ("in: { socket: /s, topic: x }", device("link: in"), "unknown key `topic`, expected one of socket, mode, precision, log"),
        ("in: { socket: /s, precision: min }", device("link: in"), "found `min`, expected one of ns, us, ms, s"),
        ("in: { mqtt: 'mqtt://127.0.0.1' }", device("link: in"), "`topic` is missing"),
        ("in: { mqtt: 'mqtt://127.0.0.1', topic: 'a/#/b' }", device("link: in"), "found `a/#/b`, expected a topic"),
        ("in: { mqtt: 'mqtt://127.0.0.1', topic: 'a/b+' }", device("link: in"), "found `a/b+`, expected a topic"),
        (
            "in: { mqtt: 'mqtt://127.0.0.1', topic: a, device_from: 0 }",
            device("link: in"),
            "found `0`, expected a level of the topic from 1 to 64",
        ),
        ("in: { mqtt: 'mqtt://bus', topic: a }", device("link: in"), "`bus` is another machine: expected `credentials`"),
        ("in: { mqtt: 'http://bus', topic: a }", device("link: in"), "found `http://bus`, expected mqtt://host:port or mqtts://host:port"),
        ("in: { mqtt: 'mqtts://bus', topic: a, certificate: /c }", device("link: in"), "`key` is missing"),
    ] {
        let (config, problems) = read(links, &format!("{devices}\n  - {{ name: other, exec: {{ run: [y] }} }}"));
        let found = problems.first().cloned().unwrap_or_default();
        assert!(found.contains(expected) && found.starts_with("gateway.yaml:"), "{links} {devices}: {problems:?}");
        let config = config.unwrap();
        assert_eq!(config.devices.iter().map(|device| device.name.as_str()).collect::<Vec<_>>(), ["other"], "{links} {devices}");
    }
}
