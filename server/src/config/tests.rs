use super::*;
use crate::store::retention::Keep;
use crate::store::rollup::Level;

fn parse_with(text: &str, env: &[(&str, &str)]) -> Result<Config, String> {
    let env = |name: &str| env.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned());
    parse(Path::new("/etc/pattoo/server.yaml"), text, env).map_err(|e| e.to_string())
}

#[test]
fn with_no_file_everything_is_embedded_and_on_loopback() {
    for text in ["", "# nothing\n", "{}\n"] {
        let config = parse_with(text, &[]).unwrap();
        let expected = Config {
            data: "/var/lib/pattoo".into(),
            store: Store::Embedded,
            broker: Broker::Embedded { plain: Some("127.0.0.1:1883".parse().unwrap()), tls: None },
            http: Http { listen: "127.0.0.1:8080".parse().unwrap(), tls: None, anonymous: false, proxies: Vec::new() },
            agents: Some(Agents { listen: "127.0.0.1:20201".parse().unwrap(), allow: vec![], asked: false }),
            retention: Retention::default(),
            max_future: Duration::from_secs(1800),
            max_series: 1_000_000,
            memory: 48 << 20,
            dashboards: None,
            zone: None,
            language: "en".into(),
        };
        assert_eq!(config, expected, "{text:?}");
    }
}

#[test]
fn a_whole_file_is_read() {
    let text = "data: /srv/pattoo\nhttp: { listen: \"[::1]:0\" }\nretention: 2years\nmemory: 100MiB\ndashboards: boards\nsite: { zone: europe/vienna, language: de }\ningest: { max_future: 2h, max_series: 2000000 }\nbroker:\n  url: mqtts://mq.example\n  \
                credentials: mq.token\n  ca: /etc/ca.pem\n  certificate: own.pem\n  key: own.key\n";
    let config = parse_with(text, &[]).unwrap();
    assert_eq!(config.data, Path::new("/srv/pattoo"));
    assert_eq!(config.http.listen, "[::1]:0".parse().unwrap());
    // A humantime year is 365.25 days.
    assert_eq!(config.retention, Retention::alike(Keep::For(Duration::from_secs(2 * 365 * DAY_S + DAY_S / 2))));
    assert_eq!((config.max_future.as_secs(), config.max_series, config.memory), (7200, 2_000_000, 100 << 20));
    assert_eq!(config.language, "de");
    assert_eq!((config.dashboards, config.zone.as_deref()), (Some("/etc/pattoo/boards".into()), Some("Europe/Vienna")));
    let Broker::External { host, port, tls, credentials, ca, certificate } = config.broker else { panic!() };
    assert_eq!((host.as_str(), port, tls), ("mq.example", 8883, true));
    assert_eq!(credentials, Some("/etc/pattoo/mq.token".into()));
    assert_eq!(ca, Some("/etc/ca.pem".into()));
    assert_eq!(certificate, Some(("/etc/pattoo/own.pem".into(), "/etc/pattoo/own.key".into())));
}

#[test]
fn each_class_has_its_retention() {
    let day = |days: u64| Keep::For(Duration::from_secs(days * DAY_S));
    let default = Retention::default();
    for (text, expected) in [
        ("90d", Retention::alike(day(90))),
        ("forever", Retention::alike(Keep::Forever)),
        ("{}", default),
        ("{ raw: 30d }", Retention { raw: day(30), ..default }.with(Level::Minute, day(30))),
        (
            "{ 1m: 365d, 15m: off, 1d: 36500d }",
            default.with(Level::Minute, day(365)).with(Level::Quarter, Keep::Off).with(Level::Day, day(36_500)),
        ),
        (
            "{ raw: forever, 1m: off, 1h: forever, max_bytes: 50GiB }",
            Retention { raw: Keep::Forever, max_bytes: Some(50 << 30), ..default }
                .with(Level::Minute, Keep::Off)
                .with(Level::Hour, Keep::Forever),
        ),
    ] {
        let found = parse_with(&format!("retention: {text}\n"), &[]).unwrap_or_else(|e| panic!("{text}: {e}"));
        assert_eq!(found.retention, expected, "{text}");
    }
}

#[test]
fn a_listener_with_tls_is_asked_for_in_few_words() {
    let at = |text: &str| text.parse::<SocketAddr>().unwrap();
    let own = |names: &[&str]| Identity::Own { names: names.iter().map(|name| (*name).to_owned()).collect() };
    let files = || Identity::Files { certificate: "/etc/pattoo/s.pem".into(), key: "/k".into() };
    for (text, plain, listen, identity, client_ca) in [
        ("broker: { tls: auto }", None, "0.0.0.0:8883", own(&[]), None),
        ("broker: { listen: \"[::]:1\", tls: auto, plain: 127.0.0.1:2 }", Some("127.0.0.1:2"), "[::]:1", own(&[]), None),
        (
            "broker: { tls: { names: [ops.example, 192.0.2.1, \"::1\"] } }",
            None,
            "0.0.0.0:8883",
            own(&["ops.example", "192.0.2.1", "::1"]),
            None,
        ),
        ("broker: { tls: { certificate: s.pem, key: /k, client_ca: ca } }", None, "0.0.0.0:8883", files(), Some("/etc/pattoo/ca")),
    ] {
        let config = parse_with(text, &[]).unwrap_or_else(|e| panic!("{text}: {e}"));
        let tls = Some(Tls { listen: at(listen), identity, client_ca: client_ca.map(PathBuf::from) });
        assert_eq!(config.broker, Broker::Embedded { plain: plain.map(at), tls }, "{text}");
    }
    let moved = parse_with("broker: { tls: auto }", &[("PATTOO_BROKER_LISTEN", "127.0.0.1:9")]).unwrap();
    assert!(matches!(moved.broker, Broker::Embedded { plain: None, tls: Some(Tls { listen, .. }) } if listen.port() == 9));
}

#[test]
fn old_agents_are_let_in_from_where_the_operator_says() {
    let networks = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<Network>>();
    for (text, env, expected) in [
        ("agents: { listen: off }", "", None),
        ("", "off", None),
        ("agents: {}", "", Some(("127.0.0.1:20201", networks(&[]), false))),
        ("agents: { listen: 127.0.0.1:0 }", "", Some(("127.0.0.1:0", networks(&[]), true))),
        (
            "agents: { listen: 0.0.0.0:20201, allow: [10.1.0.0/16, \"fd00::1\"] }",
            "",
            Some(("0.0.0.0:20201", networks(&["10.1.0.0/16", "fd00::1"]), true)),
        ),
        ("agents: { listen: off, allow: [10.1.0.0/16] }", "10.1.2.3:7", Some(("10.1.2.3:7", networks(&["10.1.0.0/16"]), true))),
    ] {
        let env = if env.is_empty() { vec![] } else { vec![("PATTOO_AGENTS_LISTEN", env)] };
        let config = parse_with(text, &env).unwrap_or_else(|e| panic!("{text}: {e}"));
        let expected = expected.map(|(listen, allow, asked)| Agents { listen: listen.parse().unwrap(), allow, asked });
        assert_eq!(config.agents, expected, "{text}");
    }
}

#[test]
fn the_environment_wins_over_the_file() {
    let text = "data: /a\nhttp: { listen: 127.0.0.1:1 }\nbroker: { url: mqtt://h, credentials: c }\n";
    let env = [("PATTOO_DATA", "b"), ("PATTOO_HTTP_LISTEN", "127.0.0.1:2"), ("PATTOO_BROKER_LISTEN", "127.0.0.1:3")];
    let config = parse_with(text, &env).unwrap();
    assert_eq!((config.data, config.http.listen.port()), ("b".into(), 2));
    assert_eq!(config.broker, Broker::Embedded { plain: Some("127.0.0.1:3".parse().unwrap()), tls: None });
    let config = parse_with("broker: { listen: 127.0.0.1:1 }", &[("PATTOO_BROKER_URL", "mqtt://[::1]:7")]).unwrap();
    let Broker::External { host, port, .. } = config.broker else { panic!() };
    assert_eq!((host.as_str(), port), ("::1", 7));
}

#[test]
fn every_mistake_says_where_what_and_what_else() {
    for (text, place, words) in [
        (
            "dta: /x\n",
            "1:1",
            "found key `dta`, expected one of data, store, broker, http, agents, retention, memory, ingest, dashboards, site; did you mean `data`?",
        ),
        ("broker:\n  listen: 127.0.0.1:1883\n  lisen: 1\n", "3:3", "did you mean `listen`?"),
        ("broker: { listen: 0.0.0.0:1883 }\n", "1:19", "pattoo-server gateway add"),
        ("broker: { listen: localhost }\n", "1:19", "expected an IP address and a port"),
        ("broker: { listen: 127.0.0.1:1, url: mqtt://h }\n", "1:9", "expected one"),
        ("broker: { url: http://h }\n", "1:16", "expected mqtt://host:1883"),
        ("broker: { url: \"mqtt://h:0\" }\n", "1:16", "expected mqtt://host:1883"),
        ("broker: { url: mqtt:// }\n", "1:16", "expected mqtt://host:1883"),
        ("broker: { url: \"mqtt://u:secret@h\" }\n", "1:16", "name it by `credentials`"),
        ("broker: { url: mqtt://h, ca: x }\n", "1:30", "expected mqtts://"),
        ("broker: { credentials: x }\n", "1:24", "without a `url`"),
        ("broker: { key: x }\n", "1:16", "without a `url`"),
        ("broker: { url: mqtt://h, key: x }\n", "1:31", "found `key` with an mqtt:// address"),
        ("broker: { url: mqtts://h, key: x }\n", "1:32", "expected both"),
        ("broker: { url: mqtts://h, tls: auto }\n", "1:9", "expected one"),
        ("broker: { plain: 127.0.0.1:1 }\n", "1:9", "found `plain` without `tls`"),
        ("broker: { tls: auto, plain: 0.0.0.0:1 }\n", "1:29", "without TLS and accounts"),
        ("broker: { tls: yes }\n", "1:16", "found \"true\", expected `auto`, or a map"),
        ("broker: { tls: 13 }\n", "1:11", "expected `auto`, or a map"),
        ("broker: { tls: { cert: x } }\n", "1:18", "found key `cert`"),
        ("broker:\n  tls: { certificate: x }\n", "2:23", "expected both"),
        ("broker:\n  tls: { certificate: x, key: y, names: [z] }\n", "2:23", "expected one"),
        ("broker: { tls: { names: [\"a b\"] } }\n", "1:25", "found \"a b\", expected host names"),
        ("http:\n  listen: 0.0.0.0:8080\n", "2:11", "tls: auto"),
        ("http: { open: true }\n", "1:9", "found key `open`"),
        ("agents: { listen: 0.0.0.0:20201 }\n", "1:19", "old agents have no login"),
        ("agents:\n  listen: \"[::]:1\"\n  allow: []\n", "2:11", "expected `allow` beside it"),
        ("agents: { listen: on }\n", "1:19", "expected an IP address and a port"),
        ("agents: { listen: 10.0.0.1:1, allow: [10.0.0.0/33] }\n", "1:38", "found \"10.0.0.0/33\", expected an address or a network"),
        ("agents: { port: 1 }\n", "1:11", "expected one of listen, allow"),
        ("retention: 5min\n", "1:12", "1h to 100years"),
        ("ingest: { max_future: 1s }\n", "1:23", "1m to 1year"),
        ("site: { zone: Mars/Base }\n", "1:15", "found \"Mars/Base\", expected a time zone like Europe/Vienna"),
        ("site: { tz: UTC }\n", "1:9", "expected one of zone"),
        ("dashboards: \"\"\n", "1:13", "expected a path"),
        ("ingest: { max_past: 1d }\n", "1:11", "expected one of max_future"),
        ("retention: ever\n", "1:12", "expected a time like 90d"),
        ("retention: off\n", "1:12", "expected a time like 90d"),
        ("retention: [90d]\n", "1:1", "or a map with raw, 1m, 15m, 1h, 1d or max_bytes"),
        ("retention: { raw: off }\n", "1:19", "expected a time like 90d"),
        ("retention:\n  1h: 5x\n", "2:7", "or forever, or off"),
        ("retention:\n  raw: 90d\n  max_byte: 1GiB\n", "3:3", "did you mean `max_bytes`?"),
        ("retention: { max_bytes: 1MiB }\n", "1:25", "found \"1MiB\", expected a size like 50GiB, 256MiB to 1PiB"),
        ("data: \"\"\n", "1:7", "expected a path"),
        ("data: [a]\n", "1:7", "expected"),
        ("data: /a\ndata: /b\n", "2:1", "duplicate"),
        ("data: {\n", "", ""),
        ("data: \"x", "", ""),
    ] {
        let error = parse_with(text, &[]).unwrap_err();
        let expected = format!("/etc/pattoo/server.yaml:{place}");
        assert!(error.starts_with(&expected) && error.contains(words), "{text:?} gave {error}");
        assert!(!error.contains("secret"), "{error}");
    }
    let error = parse_with("", &[("PATTOO_HTTP_LISTEN", "[::]:80")]).unwrap_err();
    assert!(error.starts_with("PATTOO_HTTP_LISTEN: found [::]:80"), "{error}");
    let error = parse_with("", &[("PATTOO_BROKER_LISTEN", "127.0.0.1:1"), ("PATTOO_BROKER_URL", "mqtt://h")]).unwrap_err();
    assert!(error.starts_with("PATTOO_BROKER_URL: "), "{error}");
    assert!(parse_with(&"#".repeat(MAX_FILE_BYTES + 1), &[]).unwrap_err().contains("expected at most"));
}

#[test]
fn memory_is_a_size_within_limits_and_the_environment_wins() {
    assert_eq!(parse_with("memory: 1GiB", &[("PATTOO_MEMORY", "64KiB")]).unwrap().memory, 64 << 10);
    for wrong in ["63KiB", "5GiB", "much", "-1"] {
        let error = parse_with(&format!("memory: {wrong}"), &[]).unwrap_err();
        assert!(error.contains("server.yaml:1:9: found") && error.contains("expected a size like 48MiB, 64KiB to 4GiB"), "{error}");
    }
}

#[test]
fn a_number_of_series_is_one_that_can_be() {
    for wrong in ["0", "100000001", "many", "-1", "1e6"] {
        let error = parse_with(&format!("ingest: {{ max_series: {wrong} }}"), &[]).unwrap_err();
        assert!(error.contains("server.yaml:1:23: found") && error.contains("expected a number from 1 to 100000000"), "{error}");
    }
}

#[test]
fn history_may_be_kept_in_victoria_metrics() {
    let victoria = |text: &str| match parse_with(text, &[]).unwrap_or_else(|e| panic!("{text}: {e}")).store {
        Store::Victoria(victoria) => victoria,
        Store::Embedded => panic!("{text}"),
    };
    assert_eq!(parse_with("store: embedded", &[]).unwrap().store, Store::Embedded);
    let single = victoria("store: { victoria: { url: http://127.0.0.1:8428/ } }");
    let (day, most) = (Duration::from_secs(DAY_S), 16 << 30);
    let expected = Victoria {
        write: "http://127.0.0.1:8428".into(),
        read: "http://127.0.0.1:8428".into(),
        token: None,
        ca: None,
        keep: day,
        max_bytes: most,
        accept_partial: true,
    };
    assert_eq!(single, expected);
    let cluster = victoria(
        "store:\n  victoria:\n    write: http://vminsert:8480/insert/0/prometheus\n    read: https://[::1]:8481/select/0/prometheus\n    \
         token: vm.token\n    ca: vm-ca.pem\n    keep: 7d\n    max_bytes: 1GiB\n    accept_partial: false\n",
    );
    let expected = Victoria {
        write: "http://vminsert:8480/insert/0/prometheus".into(),
        read: "https://[::1]:8481/select/0/prometheus".into(),
        token: Some("/etc/pattoo/vm.token".into()),
        ca: Some("/etc/pattoo/vm-ca.pem".into()),
        keep: day * 7,
        max_bytes: 1 << 30,
        accept_partial: false,
    };
    assert_eq!(cluster, expected);
}

#[test]
fn what_is_wrong_with_the_store_has_a_place() {
    for (text, place, words) in [
        ("store: victoria", "1:8", "expected `embedded`, or a map"),
        ("store: { victoria: {} }", "1:8", "expected `url`"),
        ("store: { victoria: { url: http://a, read: http://b } }", "1:8", "expected `url`"),
        ("store: { victoria: { write: http://a } }", "1:8", "expected `url`"),
        ("store: { victoria: { url: ftp://a } }", "1:27", "expected an address"),
        ("store: { victoria: { url: https://me@a } }", "1:27", "`token`"),
        ("store: { victoria: { url: http://a, ca: vm-ca.pem } }", "1:41", "begins with https://"),
        ("store: { victoria: { url: \"http://a:x\" } }", "1:27", "expected an address"),
        ("store: { victoria: { url: http:// } }", "1:27", "expected an address"),
        ("store: { victoria: { url: http://a?b } }", "1:27", "expected an address"),
        ("store: { victoria: { url: http://a, keep: 1m } }", "1:43", "expected a time"),
        ("store: { victoria: { url: http://a, max_bytes: 1MiB } }", "1:48", "expected bytes"),
        ("store: { victoria: { url: http://a, tokens: x } }", "1:37", "did you mean `token`"),
        ("store: { victoria: { url: http://a } }\nretention: { raw: 90d }", "2:12", "-retentionPeriod"),
    ] {
        let told = parse_with(text, &[]).expect_err(text);
        assert!(told.starts_with(&format!("/etc/pattoo/server.yaml:{place}: ")) && told.contains(words), "{text}: {told}");
    }
    let secret = parse_with("store: { victoria: { url: http://me:secret@a } }", &[]).unwrap_err();
    assert!(!secret.contains("secret") && secret.contains("`token`"), "{secret}");
}
