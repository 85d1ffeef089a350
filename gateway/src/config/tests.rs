use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::*;
use crate::link_log::Level;
use crate::profile::Parity;
use crate::yaml::Problem;

const GOOD: &str = "\
gateway: plant7
uplink: { url: mqtts://ops.example:8883, credentials: /etc/pattoo/gateway.token, ca: /etc/pattoo/ca.pem, acknowledge: server }
buffer: { path: /var/lib/pattoo/buffer, max_bytes: 512MiB, max_age: 30d, thin_to: 5m, commit_window: 30s }
batch: { every: 10s }
links:
  plc: { tcp: 10.0.0.5:502, timeout: 1500ms }
  roof: { connections: 4, log: frames, tcp: '[fe80::1]:1502' }
  line: { serial: /dev/serial/by-id/usb-x, baud: 9600, parity: even, rs485: true, timeout: 400ms }
  hut: { rtu_over_tcp: 10.0.0.7:4001 }
devices:
  - { name: main-meter, profile: meter, link: plc, unit: 1, every: 5s, labels: { site: north, on: off } }
  - { name: solar, profile: meter, link: roof, unit: 0xFF }
  - { name: box, profile: machine }
clock: { trust: auto, ntp_file: /run/ntp-ok }
";

const METER: &str = "\
schema: 1
id: meter
manufacturer: Someone
model: M1
points:
  - { name: voltage, unit: V, read: { input: 0, type: f32 } }
";

const MACHINE: &str = "\
schema: 1
id: machine
manufacturer: Linux
model: host
points:
  - { name: cpu, unit: '%', read: { host: cpu_usage } }
";

/// A folder with a configuration and two profiles.
struct Files {
    folder: tempfile::TempDir,
}

impl Files {
    fn new(config: impl AsRef<[u8]>) -> Self {
        let files = Self { folder: tempfile::tempdir().unwrap() };
        files.write("gateway.yaml", config);
        files.write("profiles/meter.yaml", METER);
        files.write("profiles/machine.yaml", MACHINE);
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        std::fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        std::fs::write(self.path(name), content).unwrap();
    }

    fn load_with(&self, env: Environment<'_>) -> Result<Loaded, Vec<Problem>> {
        load(&self.path("gateway.yaml"), &[self.path("profiles"), self.path("own")], env)
    }

    fn load(&self) -> Result<Loaded, Vec<Problem>> {
        self.load_with(&|_| None)
    }

    /// What a person sees, without the name of the temporary folder.
    fn outcome(&self) -> String {
        let result = self.load();
        let (problems, mut text) = match &result {
            Ok(loaded) => {
                let devices = loaded.config.devices.iter().map(|d| d.name.as_str()).collect::<Vec<_>>().join(", ");
                (&loaded.problems, format!("goes on with: {devices}\n"))
            }
            Err(problems) => (problems, "refused\n".to_owned()),
        };
        for problem in problems {
            writeln!(text, "{problem}").unwrap();
        }
        text.replace(&format!("{}/", self.folder.path().display()), "")
    }
}

#[test]
fn a_good_configuration_becomes_what_it_says() {
    let loaded = Files::new(GOOD).load().unwrap();
    assert_eq!(loaded.problems, []);
    let config = loaded.config;
    assert_eq!(config.gateway, "plant7");
    assert_eq!(
        config.uplink,
        Uplink {
            brokers: vec![Broker {
                url: "mqtts://ops.example:8883".to_owned(),
                credentials: Some("/etc/pattoo/gateway.token".into()),
                ca: Some("/etc/pattoo/ca.pem".into()),
                identity: None,
            }],
            ..Uplink::to(String::new())
        }
    );
    assert_eq!(
        config.buffer,
        Buffer {
            path: "/var/lib/pattoo/buffer".into(),
            max_bytes: 536_870_912,
            max_age: Duration::from_secs(2_592_000),
            thin_to: Duration::from_secs(300),
            commit_window: Duration::from_secs(30),
        }
    );
    assert_eq!(config.batch, Batching { every: Duration::from_secs(10) });
    assert_eq!(config.clock, Clock { trust: Trust::Auto, ntp_file: "/run/ntp-ok".into() });
    let tcp = |endpoint: &str, ms| Transport::ModbusTcp { endpoint: endpoint.to_owned(), timeout: Duration::from_millis(ms) };
    let link = |name: &str, transport, device| Link {
        name: name.to_owned(),
        transport,
        devices: vec![DeviceIndex(device)],
        connections: 1,
        log: Level::Off,
    };
    let line =
        SerialLine { path: "/dev/serial/by-id/usb-x".into(), baud: 9600, parity: Parity::Even, stop_bits: 1, rs485: true, echo: false };
    let unused = |name: &str, transport| Link { name: name.to_owned(), transport, devices: vec![], connections: 1, log: Level::Off };
    assert_eq!(
        config.links,
        [
            link("plc", tcp("10.0.0.5:502", 1_500), 0),
            Link { connections: 4, log: Level::Frames, ..link("roof", tcp("[fe80::1]:1502", 2_000), 1) },
            unused("line", Transport::ModbusRtu { line, timeout: Duration::from_millis(400) }),
            unused("hut", Transport::RtuOverTcp { endpoint: "10.0.0.7:4001".into(), timeout: SERIAL_TIMEOUT }),
            link("host", Transport::Host, 2)
        ]
    );
    let [meter, solar, host] = config.devices.as_slice() else { panic!("{:?}", config.devices) };
    assert_eq!((meter.name.as_str(), meter.unit, meter.every), ("main-meter", 1, Duration::from_secs(5)));
    assert_eq!(meter.labels, Labels::from([("site".to_owned(), "north".to_owned()), ("on".to_owned(), "off".to_owned())]));
    assert_eq!(meter.profile, loaded.profiles["meter"]);
    assert_eq!((solar.unit, solar.every, solar.labels.len()), (255, DEVICE_EVERY, 0));
    assert_eq!((host.unit, host.profile.id.as_str()), (0, "machine"));
}

#[test]
fn the_shortest_configuration_gets_the_documented_defaults() {
    let loaded =
        Files::new("gateway: a\nuplink: { url: mqtt://127.0.0.1 }\ndevices: [{ name: box, profile: machine, link: host }]\n").load();
    let config = loaded.unwrap().config;
    let Buffer { path, max_bytes, max_age, thin_to, commit_window } = config.buffer;
    assert_eq!((path, max_bytes, max_age), (BUFFER_PATH.into(), BUFFER_MAX_BYTES, BUFFER_MAX_AGE));
    assert_eq!((thin_to, commit_window), (BUFFER_THIN_TO, Duration::ZERO));
    assert_eq!(config.batch, Batching { every: BATCH_EVERY });
    assert_eq!(config.clock, Clock { trust: CLOCK_TRUST, ntp_file: CLOCK_NTP_FILE.into() });
    assert_eq!((config.links.len(), config.devices.len()), (1, 1));
}

/// What is read, and how long a complete batch waits for the next one.
#[test]
fn only_a_gateway_that_reads_about_once_a_minute_lets_batches_wait_for_each_other() {
    let alarm = METER.replace("id: meter", "id: alarm").replace("unit: V", "unit: V, class: alarm");
    let own = METER.replace("id: meter", "id: own").replace("unit: V", "unit: V, every: 30s");
    let box_every = |every: &str| format!("devices: [{{ name: box, profile: machine, every: {every} }}]");
    let with = |device: &str| {
        format!(
            "links: {{ plc: {{ tcp: 10.0.0.5:502 }}, in: {{ socket: /run/x }} }}\ndevices: [{{ name: box, profile: machine, every: 60s }}, {{ name: d, {device} }}]"
        )
    };
    for (what, config, seconds) in [
        ("as shipped", box_every("60s"), 70),
        ("almost every two minutes", box_every("119s"), 129),
        ("every two minutes: that is little enough", box_every("2m"), 0),
        ("often: somebody looks", box_every("59s"), 0),
        ("a meter that is read often", with("profile: meter, link: plc, every: 10s"), 0),
        ("a meter that is read as rarely", with("profile: meter, link: plc, every: 90s"), 70),
        ("a point that is read more often than its device", with("profile: own, link: plc, every: 90s"), 0),
        ("an alarm", with("profile: alarm, link: plc, every: 90s"), 0),
        ("what comes by itself", with("link: in, every: 90s"), 0),
        ("batches that are long already", box_every("60s") + "\nbatch: { every: 60s }", 0),
        ("as it is told", box_every("60s") + "\nbuffer: { commit_window: 0s }", 0),
        ("as it is told, for often", box_every("1s") + "\nbuffer: { commit_window: 5m }", 300),
    ] {
        let files = Files::new(format!("gateway: a\nuplink: {{ url: mqtt://127.0.0.1 }}\n{config}\n"));
        files.write("profiles/alarm.yaml", &alarm);
        files.write("profiles/own.yaml", &own);
        let loaded = files.load().unwrap();
        assert_eq!(loaded.problems, [], "{what}");
        assert_eq!(loaded.config.buffer.commit_window.as_secs(), seconds, "{what}");
    }
}

#[test]
fn brokers_may_be_a_list_and_each_its_own_way_of_showing_who_this_is() {
    let list =
        "[ { url: mqtts://a.example, certificate: g.pem, key: g.key, ca: ca.pem },\n    { url: mqtts://b.example, credentials: token } ]";
    let text = format!("gateway: a\nuplink: {{ brokers: {list}, prefer_after: 1h, compress: never }}\n");
    let uplink = Files::new(&text).load().unwrap().config.uplink;
    let identity = Some(Identity { certificate: "g.pem".into(), key: "g.key".into() });
    let first = Broker { url: "mqtts://a.example".into(), credentials: None, ca: Some("ca.pem".into()), identity };
    let second = Broker { url: "mqtts://b.example".into(), credentials: Some("token".into()), ca: None, identity: None };
    let hour = Duration::from_secs(3600);
    assert_eq!(uplink, Uplink { brokers: vec![first, second], prefer_after: hour, compress: false, ..Uplink::to(String::new()) });
    // All problems of all brokers are told at once.
    let text = "gateway: a\nuplink: { brokers: [ { url: mqtts://a.example }, { url: http://b }, { credentials: x } ] }\n";
    let problems = Files::new(text).load().unwrap_err();
    assert_eq!(problems.iter().filter(|problem| problem.to_string().contains("uplink, brokers")).count(), 3, "{problems:?}");
}

#[test]
fn the_environment_goes_before_the_file_and_is_checked_like_it() {
    let env = |name: &str| match name {
        "PATTOO_GATEWAY" => Some("other".to_owned()),
        "PATTOO_UPLINK_URL" => Some("mqtt://localhost:4711".to_owned()),
        "PATTOO_BUFFER_PATH" => Some("/tmp/b".to_owned()),
        _ => None,
    };
    for file in [GOOD, "devices: [{ name: box, profile: machine }]\n"] {
        let config = Files::new(file).load_with(&env).unwrap().config;
        assert_eq!((config.gateway.as_str(), config.uplink.brokers[0].url.as_str()), ("other", "mqtt://localhost:4711"));
        assert_eq!(config.buffer.path, Path::new("/tmp/b"));
    }
    // An empty variable counts as none.
    assert_eq!(Files::new(GOOD).load_with(&|_| Some(String::new())).unwrap().config.gateway, "plant7");
    let env = |name: &str| (name == "PATTOO_GATEWAY").then(|| "a/b".to_owned());
    let problems = Files::new(GOOD).load_with(&env).unwrap_err();
    let text = "PATTOO_GATEWAY: (environment) `a/b` is not a name: a name is made of letters, digits, '-', '_' and '.', \
                and starts with a letter or digit; found '/'";
    assert_eq!(problems.iter().map(ToString::to_string).collect::<Vec<_>>(), [text]);
}

/// Name of the case, text of [`GOOD`], what stands there instead.
const BAD: &[(&str, &str, &str)] = &[
    ("half-written mapping", "timeout: 1500ms }", "timeout: 15"),
    ("half-written key", "  - { name: solar, profile: meter, link: roof, unit: 0xFF }\n", "  - name: solar\n    prof"),
    ("half-written quote", "'[fe80::1]:1502' }", "'[fe80::1]:1502 }"),
    ("tab", "  plc:", "\tplc:"),
    ("tab after a value", "batch: { every: 10s }", "batch:\n\tevery: 10s"),
    ("two documents", "links:\n", "---\nlinks:\n"),
    ("unknown key at the top", "buffer:", "bufer:"),
    ("key twice", "batch: { every: 10s }", "gateway: plant8"),
    ("unknown alias", "plant7", "*plant"),
    ("list for a mapping", "batch: { every: 10s }", "batch: [10s]"),
    ("no gateway", "gateway: plant7\n", ""),
    ("nothing as gateway", "gateway: plant7", "gateway:"),
    ("gateway that leaves its topic", "plant7", "plant/7"),
    ("no uplink", "uplink: {", "# uplink: {"),
    ("uplink without url", "url: mqtts://ops.example:8883, ", ""),
    ("unknown key in uplink", "credentials:", "credential:"),
    ("other scheme", "mqtts://", "mqqts://"),
    ("no scheme", "mqtts://ops.example:8883", "ops.example"),
    ("url without host", "mqtts://ops.example:8883", "mqtts://:8883"),
    ("url with a password", "mqtts://ops", "mqtts://me:secret@ops"),
    ("port past the last", "ops.example:8883", "ops.example:88830"),
    ("anonymous on another machine", "credentials: /etc/pattoo/gateway.token, ", ""),
    ("acknowledged by something else", "acknowledge: server", "acknowledge: broker"),
    ("too many unacknowledged", "acknowledge: server", "max_unacknowledged: 5000"),
    ("a certificate without its key", "credentials: /etc/pattoo/gateway.token", "certificate: /etc/pattoo/gateway.pem"),
    ("a certificate without TLS", "url: mqtts://ops.example:8883,", "url: mqtt://ops.example, certificate: a.pem, key: a.key,"),
    ("a broker beside the list", "acknowledge: server", "brokers: [ { url: mqtt://localhost } ]"),
    ("no such order", "acknowledge: server", "order: live"),
    ("all for the backlog", "acknowledge: server", "backfill_share: 100%"),
    ("a share without its unit", "acknowledge: server", "backfill_share: 20"),
    ("a rate below all batches", "acknowledge: server", "rate_limit: 50B/s"),
    ("size without meaning", "512MiB", "512 potatoes"),
    ("size too small", "512MiB", "12"),
    ("unit of time", "30d", "30 dys"),
    ("time without unit", "max_age: 30d", "max_age: 30"),
    ("stretch of too long", "thin_to: 5m", "thin_to: 2h"),
    ("window of too long", "commit_window: 30s", "commit_window: 11m"),
    ("batch too often", "every: 10s }", "every: 1ms }"),
    ("clock of unknown trust", "trust: auto", "trust: atuo"),
    ("link without port", "10.0.0.5:502", "10.0.0.5"),
    ("serial link without speed and parity", "tcp: 10.0.0.5:502", "serial: /dev/ttyUSB0"),
    (
        "serial link with impossible settings",
        "tcp: 10.0.0.5:502",
        "serial: /dev/ttyUSB0, baud: 96000000, parity: maybe, stop_bits: 3, echo: yes",
    ),
    ("link that is two things", "tcp: 10.0.0.5:502", "tcp: 10.0.0.5:502, rtu_over_tcp: 10.0.0.5:503"),
    ("network link with a speed", "tcp: 10.0.0.5:502", "tcp: 10.0.0.5:502, baud: 9600"),
    ("TLS without certificates", "tcp: 10.0.0.5:502", "tls: 10.0.0.5:802"),
    ("certificates without TLS", "tcp: 10.0.0.5:502", "tcp: 10.0.0.5:502, ca: /etc/plc/ca.pem, server_name: plc"),
    ("serial server with connections", "tcp: 10.0.0.5:502", "rtu_over_tcp: 10.0.0.5:502, connections: 2"),
    ("too many connections", "tcp: 10.0.0.5:502", "tcp: 10.0.0.5:502, connections: 9"),
    ("link with a loud log", "tcp: 10.0.0.5:502", "tcp: 10.0.0.5:502, log: frame"),
    ("serial server without a port", "tcp: 10.0.0.5:502", "rtu_over_tcp: 10.0.0.5"),
    ("link named host", "roof: {", "host: {"),
    ("link twice", "roof: {", "plc: {"),
    ("unknown link", "link: roof", "link: rof"),
    ("host as the link of a meter", "link: roof", "link: host"),
    ("no link", "link: roof, ", ""),
    ("unknown profile", "profile: meter, link: roof", "profile: metre, link: roof"),
    ("two devices of one name", "name: solar", "name: main-meter"),
    ("unit past the last", "0xFF", "0x100"),
    ("unit that is text", "0xFF", "one"),
    ("unknown key in a device", "every: 5s", "evry: 5s"),
    ("too often", "every: 5s", "every: 5ms"),
    ("too seldom", "every: 5s", "every: 2d"),
    ("time with a wrong unit", "every: 5s", "every: 5 secnds"),
    ("name of a device", "name: solar", "name: 'solar roof'"),
    ("device without name", "name: solar, ", ""),
    ("host with a link", "profile: machine", "profile: machine, link: plc"),
    ("host with a unit", "profile: machine", "profile: machine, unit: 1"),
    ("device that is text", "{ name: box, profile: machine }", "box"),
    ("label that is a list", "site: north", "site: [north]"),
    ("everything at once", "link: roof, unit: 0xFF", "link: 7, unit: x, every: z, lables: {}"),
];

#[test]
fn each_bad_configuration_gets_its_own_message_and_costs_only_its_part() {
    let mut report = String::new();
    for (title, from, to) in BAD {
        assert!(GOOD.contains(from), "{title}: the good configuration has no {from}");
        let outcome = Files::new(GOOD.replacen(from, to, 1)).outcome();
        writeln!(report, "## {title}: {to:?}\n{outcome}").unwrap();
    }
    insta::assert_snapshot!(report);
}

#[test]
fn files_that_are_no_text_at_all_are_refused_clearly() {
    let bomb = "a: &a [1,1,1,1,1,1,1,1,1]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\n\
                d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: [*d,*d,*d,*d,*d,*d,*d,*d,*d]\n";
    let deep = format!("gateway: {}\n", "[".repeat(100_000));
    let wide = format!("gateway: [{}]\n", "a,".repeat(200_000));
    let latin1 = b"gateway: plant7\nuplink: { url: mqtt://h\xF6st }\n";
    for (content, expected) in [
        (
            b"".as_slice(),
            "gateway.yaml:1:1: found nothing, expected a mapping with these keys: gateway, uplink, buffer, batch, clock, commands, links, devices, traps",
        ),
        (
            b"# later\n",
            "gateway.yaml:2:1: found nothing, expected a mapping with these keys: gateway, uplink, buffer, batch, clock, commands, links, devices, traps",
        ),
        (
            b"- a\n",
            "gateway.yaml:1:1: found a list, expected a mapping with these keys: gateway, uplink, buffer, batch, clock, commands, links, devices, traps",
        ),
        (b"\0\0\0", "gateway.yaml:1:1: not valid YAML: unexpected character: `\\u{0}'"),
        (latin1, "gateway.yaml:2:24: found the byte 0xF6, expected text in UTF-8"),
        (bomb.as_bytes(), "gateway.yaml:5:8: not valid YAML: aliases that stand for more than 20000 values together"),
        (deep.as_bytes(), "gateway.yaml:1:26: not valid YAML: recursion limit exceeded"),
        (wide.as_bytes(), "gateway.yaml:1:200005: not valid YAML: found more than one file may hold: Nodes { nodes: 100001 }"),
        (&vec![b'#'; MAX_CONFIG_BYTES + 5], "gateway.yaml: found more than 1.0 MiB, expected a smaller file"),
    ] {
        assert_eq!(Files::new(content).outcome(), format!("refused\n{expected}\n"));
    }
}

#[test]
fn a_folder_or_nothing_in_the_place_of_the_file_is_told() {
    let files = Files::new(GOOD);
    for (name, expected) in [
        ("profiles", "profiles: found a folder, expected a file"),
        ("nowhere.yaml", "nowhere.yaml: cannot read this file: No such file or directory (os error 2)"),
    ] {
        let problems = load(&files.path(name), &[], &|_| None).unwrap_err();
        let text = problems.iter().map(|p| p.to_string().replace(&format!("{}/", files.folder.path().display()), "")).collect::<Vec<_>>();
        assert_eq!(text, [expected]);
    }
}

#[test]
fn a_bad_profile_costs_only_the_devices_that_use_it() {
    let files = Files::new(GOOD);
    files.write("profiles/meter.yaml", METER.replace("f32", "f23"));
    assert_eq!(
        files.outcome(),
        "goes on with: box\n\
         gateway.yaml:11:34: device `main-meter`, profile: the profile `meter` was refused, see its own problems\n\
         gateway.yaml:12:29: device `solar`, profile: the profile `meter` was refused, see its own problems\n\
         profiles/meter.yaml:6:55: point `voltage`, read, type: found `f23`, expected one of u16, i16, u32, i32, u64, i64, f32, f64, \
         u8_high, u8_low, i8_high, i8_low, u24, f16, bcd16, bcd32, mod10_2, mod10_3, mod10_4, text, datetime_iec, datetime_6, datetime_3, \
         bit; did you mean `f32`?\n"
    );
}

#[test]
fn a_later_folder_overrides_an_earlier_one_even_when_it_is_broken() {
    let files = Files::new(GOOD);
    files.write("own/meter.yaml", METER.replace("unit: V", "unit: mV"));
    let loaded = files.load().unwrap();
    assert_eq!(loaded.profiles["meter"].points[0].unit, "mV");
    files.write("own/meter.yaml", METER.replace("schema: 1", "schema: 2"));
    let loaded = files.load().unwrap();
    assert_eq!(loaded.profiles.keys().collect::<Vec<_>>(), ["machine"]);
    assert_eq!(loaded.config.devices.len(), 1);
}

#[test]
fn more_points_than_a_gateway_may_have_cost_the_device_that_is_too_much() {
    let mut meter = METER.to_owned();
    for n in 1..2_000 {
        writeln!(meter, "  - {{ name: p{n}, read: {{ input: {}, type: f32 }} }}", 2 * n).unwrap();
    }
    let devices: String = (0..17).map(|n| format!("  - {{ name: d{n}, profile: meter, link: plc }}\n")).collect();
    let files = Files::new(format!("{}devices:\n{devices}", GOOD.split("devices:").next().unwrap()));
    files.write("profiles/meter.yaml", meter);
    assert_eq!(
        files.outcome(),
        "goes on with: d0, d1, d2, d3, d4, d5, d6, d7, d8, d9, d10, d11, d12, d13, d14, d15\n\
         gateway.yaml:27:5: device `d16`: its points make more than 32768 of this gateway, expected fewer or another gateway\n"
    );
}

#[test]
fn a_link_with_tls_knows_both_sides() {
    let tls =
        "tls: 10.0.0.5:802, ca: /etc/plc/ca.pem, certificate: /etc/plc/own.pem, key: /etc/plc/own.key, server_name: plc7, connections: 2";
    let Loaded { config, problems, .. } = Files::new(GOOD.replace("tcp: 10.0.0.5:502", tls)).load().unwrap();
    assert_eq!(problems, []);
    let security = Security {
        ca: "/etc/plc/ca.pem".into(),
        identity: Identity { certificate: "/etc/plc/own.pem".into(), key: "/etc/plc/own.key".into() },
        server_name: Some("plc7".into()),
    };
    let transport = Transport::ModbusTls { endpoint: "10.0.0.5:802".into(), timeout: Duration::from_millis(1_500), security };
    assert_eq!((&config.links[0].transport, config.links[0].connections), (&transport, 2));
}

#[test]
fn the_devices_of_a_link_are_dealt_out_to_its_connections() {
    for (devices, connections, expected) in
        [(5, 2, vec![vec![0, 2, 4], vec![1, 3]]), (3, 1, vec![vec![0, 1, 2]]), (2, 8, vec![vec![0], vec![1]]), (0, 4, vec![vec![]])]
    {
        let devices = (0..devices).map(DeviceIndex).collect();
        let link = Link { name: "plc".into(), transport: Transport::Host, devices, connections, log: Level::Off };
        let parts: Vec<Vec<usize>> = link.parts().iter().map(|part| part.devices.iter().map(|index| index.0).collect()).collect();
        assert_eq!(parts, expected);
    }
}
