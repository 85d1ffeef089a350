//! The API over real TCP, and its document held against it.

mod access;
mod document;
mod follow;
mod pages;
mod plant;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::{Value as Json, json};

use super::{ApiState, Pages, router};
use crate::auth::{Auth, Door};
use crate::dashboards::Dashboards;
use crate::favourites::Favourites;
use crate::users::Role;
use plant::Plant;

/// An answer as a client without any library sees it.
struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn json(&self) -> Json {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// One request on its own connection.
fn send(address: SocketAddr, method: &str, path: &str, headers: &str) -> Answer {
    send_body(address, method, path, headers, "")
}

/// The same with a body; its length is to be among the headers.
fn send_body(address: SocketAddr, method: &str, path: &str, headers: &str, body: &str) -> Answer {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(super::REQUEST_TIMEOUT * 2)).unwrap();
    write!(stream, "{method} {path} HTTP/1.0\r\nhost: localhost\r\n{headers}\r\n{body}").unwrap();
    let mut bytes = Vec::new();
    let is_there = |bytes: &[u8], what: &[u8]| bytes.windows(what.len()).any(|w| w == what);
    // A stream of events has no end of its own: its first event will do.
    while !(is_there(&bytes[..bytes.len().min(1000)], b"text/event-stream") && is_there(&bytes, b"\n\n")) {
        let mut part = [0; 8192];
        match stream.read(&mut part).unwrap() {
            0 => break,
            n => bytes.extend_from_slice(&part[..n]),
        }
    }
    let end = bytes.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap().to_lowercase();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head, body: bytes[end + 4..].to_vec() }
}

/// A server over a made-up plant, for as long as this lives.
struct Server {
    address: SocketAddr,
    plant: Plant,
    stop: tokio::sync::watch::Sender<bool>,
    serving: tokio::task::JoinHandle<std::io::Result<()>>,
    runtime: tokio::runtime::Runtime,
    auth: std::sync::Arc<Auth>,
    dashboards: std::sync::Arc<Dashboards>,
    _data: tempfile::TempDir,
}

impl Server {
    /// One that programs of this machine may read from.
    fn start() -> Self {
        Self::start_with(Door { anonymous: true, port: 1, ..Door::default() })
    }

    fn start_with(door: Door) -> Self {
        let data = tempfile::tempdir().unwrap();
        let auth = Auth::open(data.path(), door).unwrap();
        let plant = Plant::made_up(crate::clock::now_ms());
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let (stop, mut stopped) = tokio::sync::watch::channel(false);
        let dashboards = std::sync::Arc::new(Dashboards::new(data.path().join("dashboards")));
        std::fs::create_dir(dashboards.folder()).unwrap();
        std::fs::write(dashboards.folder().join("meters.yaml"), pages::METERS).unwrap();
        dashboards.look();
        let favourites = std::sync::Arc::new(Favourites::new(data.path().join("favourites")));
        let pages = Pages {
            dashboards: dashboards.clone(),
            favourites,
            zone: Some("Europe/Vienna".into()),
            translations: crate::translations::file::Kept::open(data.path()),
            language: "en".into(),
        };
        let app = router(ApiState::new(plant.store.clone(), plant.live.clone(), pages, auth.clone(), stopped.clone()));
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let stop_seen = async move { drop(stopped.wait_for(|stopped| *stopped).await) };
        let listener = super::listener::Bounded::new(listener, 256);
        let service = app.into_make_service_with_connect_info::<crate::ingest::agents::Peer>();
        let serving = runtime.spawn(async move { axum::serve(listener, service).with_graceful_shutdown(stop_seen).await });
        Self { address, plant, stop, serving, runtime, auth, dashboards, _data: data }
    }

    fn get(&self, path: &str) -> Answer {
        send(self.address, "GET", path, "")
    }

    /// The headers of somebody who has just logged in on the page, with this role.
    fn session(&self, role: Role, must_choose: bool) -> String {
        let name = format!("{}{must_choose}", role.name());
        let user = self.auth.users().get(&name).cloned();
        let user = user.unwrap_or_else(|_| {
            let make = move |users: &mut crate::users::Users| {
                users.add(&name, role, 0)?;
                users.set_password(&name, "correct horse battery", &[7; 16], must_choose)?;
                users.get(&name).cloned()
            };
            self.runtime.block_on(self.auth.change(make)).unwrap()
        });
        let id = self.runtime.block_on(self.auth.begin(&user)).unwrap();
        format!("cookie: {}={id}\r\nsec-fetch-site: same-origin\r\n", self.auth.cookie(self.auth.door().secure))
    }
}

#[test]
fn gateways_tell_their_state_and_what_came_from_them() {
    let server = Server::start();
    let found = server.get("/api/v1/gateways").json();
    let plant7 = &found["gateways"][1];
    assert_eq!(plant7["name"], "plant7");
    assert_eq!((&plant7["online"], &plant7["version"]), (&json!(true), &json!("0.1.0")));
    assert_eq!((&plant7["buffer_batches"], &plant7["dropped_readings"]), (&json!(3), &json!(340)));
    // A million bytes in 15 minutes.
    assert_eq!(plant7["written_bytes_per_day"], json!(96_000_000));
    assert_eq!(plant7["warnings"], json!([{ "about": "disk", "text": "the disk has little room <script>alert(1)</script>" }]));
    assert_eq!(plant7["received"]["rejects"], json!({"truncated": 2}));
    assert_eq!((&plant7["clock"]["offset"], &plant7["clock"]["source"]), (&json!(-1500), &json!("ntp")));
    let silent = &found["gateways"][0];
    assert_eq!(silent["warnings"], json!([]));
    assert_eq!(silent["clock"], json!(null));
    assert_eq!((&silent["name"], &silent["online"], &silent["last_seen"]), (&json!("barn"), &json!(false), &json!(null)));
}

#[test]
fn devices_carry_the_health_that_their_gateway_told() {
    let server = Server::start();
    let found = server.get("/api/v1/devices?gateway=plant7").json();
    let health = |n: usize| (found["devices"][n]["name"].clone(), found["devices"][n]["health"].clone());
    assert_eq!(health(0).0, "<script>alert(1)</script>");
    let (name, pump) = health(2);
    assert_eq!((name, &pump["quality"], &pump["reason"]), (json!("pump"), &json!("bad"), &json!("timeout")));
    assert_eq!((&pump["skipped"], &pump["late_p99"], &pump["timeout"]), (&json!(7), &json!(700), &json!(150)));
    assert_eq!(pump["misses"], json!({ "timeout": 4 }));
    assert_eq!(found["devices"][1]["labels"], json!({"site": "north"}));
}

#[test]
fn series_are_searched_by_all_words_and_paged() {
    let server = Server::start();
    let points = |query: &str| -> Vec<String> {
        let found = server.get(&format!("/api/v1/series?{query}")).json();
        found["series"].as_array().unwrap().iter().map(|s| s["point"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(points("q=NORTH+volt"), ["voltage_l1"]);
    assert_eq!(points("gateway=plant7&device=pump"), ["running"]);
    assert_eq!(points("q=nothing"), Vec::<String>::new());
    assert_eq!(points("series=4,99,1"), ["voltage_l1", "running"]);
    let all = points("limit=1000");
    let pages: Vec<String> = (0..all.len()).flat_map(|n| points(&format!("limit=1&offset={n}"))).collect();
    assert_eq!(pages, all);
    let page = server.get("/api/v1/series?limit=1&offset=2").json();
    assert_eq!((&page["total"], &page["offset"]), (&json!(all.len()), &json!(2)));
}

#[test]
fn the_latest_value_has_every_digit_and_its_quality() {
    let server = Server::start();
    let answer = server.get("/api/v1/latest?series=3,1,4");
    let text = answer.text();
    assert!(text.contains(r#""v":18446744073709551615"#), "{text}");
    assert!(text.contains(r#""v":230.1,"text":"230.1""#), "{text}");
    let latest = answer.json()["latest"].clone();
    assert_eq!(latest[0]["id"], 3);
    assert_eq!(latest[2], json!({"id": 4, "t": server.plant.now - 1000, "v": null, "text": null, "quality": "bad", "reason": "timeout"}));
    let never = server.get("/api/v1/latest?gateway=barn").json()["latest"][0].clone();
    assert_eq!(never, json!({"id": 6, "t": null, "v": null, "text": null, "quality": null, "reason": null}));
}

#[test]
fn buckets_lie_on_the_grid_and_lose_no_spike() {
    let server = Server::start();
    let (from, to) = (server.plant.now - 900_000, server.plant.now);
    let found = server.get(&format!("/api/v1/range?series=1&from={from}&to={to}&points=60")).json();
    assert_eq!(found["step_ms"], 15_000);
    let t0 = found["t0"].as_i64().unwrap();
    assert!(t0 % 15_000 == 0 && t0 <= from && from - t0 < 15_000);
    let columns = &found["series"][0];
    let slots = columns["avg"].as_array().unwrap().len();
    for key in ["min", "max", "avg", "last", "count", "uncertain", "bad"] {
        assert_eq!(columns[key].as_array().unwrap().len(), slots, "{key}");
    }
    assert_eq!(slots as i64, (to - 1 - t0) / 15_000 + 1);
    let numbers = |key: &str| columns[key].as_array().unwrap().iter().filter_map(Json::as_f64).collect::<Vec<_>>();
    assert!(numbers("max").contains(&400.0), "the spike is there");
    let raw = server.get(&format!("/api/v1/range?series=1&from={from}&to={to}&raw=true")).json();
    let readings = raw["series"][0]["v"].as_array().unwrap().iter().filter(|v| !v.is_null()).count();
    assert_eq!(numbers("count").iter().sum::<f64>() as usize, readings);
    let nulls = columns["avg"].as_array().unwrap().iter().filter(|v| v.is_null()).count();
    assert_eq!(nulls, numbers("count").iter().filter(|n| **n == 0.0).count(), "only a bucket without a number is null");
    assert!(nulls > 0, "the silence is there");
}

#[test]
fn raw_readings_are_exact_and_name_reasons_and_losses() {
    let server = Server::start();
    let answer = server.get("/api/v1/range?series=3,4,5&from=now-15m&raw=true");
    let text = answer.text();
    assert!(text.contains("18446744073709551615"), "{text}");
    let found = answer.json();
    assert_eq!(found["truncated"], false);
    assert_eq!(found["series"][1]["reason"].as_array().unwrap().last(), Some(&json!("timeout")));
    assert_eq!(found["series"][2]["v"][0], json!("Ready \"A\" </script>"));
    let gap = &found["gaps"][0];
    assert_eq!((&gap["gateway"], &gap["reason"], &gap["readings"]), (&json!("plant7"), &json!("buffer full"), &json!(340)));
    assert_eq!((&gap["missing"], &found["gaps"].as_array().unwrap().len()), (&json!(true), &2));
    let step = &found["gaps"][1];
    assert_eq!((&step["reason"], &step["readings"], &step["missing"]), (&json!("clock was set"), &json!(0), &json!(false)));
}

#[test]
fn a_counter_is_read_as_its_rate_and_a_silence_stays_one() {
    let server = Server::start();
    let (from, to) = (server.plant.now - 900_000, server.plant.now);
    let found = server.get(&format!("/api/v1/range?series=3&from={from}&to={to}&points=60&counter=rate")).json();
    assert_eq!((&found["step_ms"], &found["rates"][0]["id"]), (&json!(15_000), &json!(3)));
    let column = |key: &str| found["rates"][0][key].as_array().unwrap().clone();
    assert_eq!(column("avg").len() as i64, (to - 1 - found["t0"].as_i64().unwrap()) / 15_000 + 1);
    // One in a second, above 2^63 and all.
    for key in ["avg", "min", "max"] {
        let known: Vec<f64> = column(key).iter().filter_map(Json::as_f64).collect();
        assert!(known.len() > 50 && known.iter().all(|rate| (rate - 1.0).abs() < 1e-9), "{key}: {known:?}");
    }
    let silent = column("avg").iter().zip(column("known")).filter(|(avg, known)| avg.is_null() && *known == json!(0.0)).count();
    assert!((3..=5).contains(&silent), "61 s without readings are {silent} buckets of 15 s");
}

#[test]
fn a_counter_is_read_as_its_consumption_and_what_is_not_over_has_no_total() {
    let server = Server::start();
    let found = server.get("/api/v1/range?series=3&counter=consumption&every=hour&zone=Asia/Kolkata").json();
    let edges: Vec<i64> = found["edges"].as_array().unwrap().iter().filter_map(Json::as_i64).collect();
    assert!(edges.windows(2).all(|pair| pair[1] - pair[0] == 3_600_000 && pair[0] % 3_600_000 == 1_800_000), "{edges:?}");
    assert_eq!((&found["zone"], &found["consumption"][0]["id"]), (&json!("Asia/Kolkata"), &json!(3)));
    let column = |key: &str| found["consumption"][0][key].as_array().unwrap().clone();
    let at_least: f64 = column("at_least").iter().filter_map(Json::as_f64).sum();
    // The silence may lie over the end of an hour: then nobody knows in which it was counted.
    assert!((at_least - 899.0).abs() < 1e-6 || (at_least - 837.0).abs() < 1e-6, "{at_least}");
    assert!(column("total").iter().all(Json::is_null) && column("total").len() == edges.len() - 1);
}

#[test]
fn a_raw_answer_has_a_limit_and_says_when_it_bit() {
    let plant = Plant::made_up(crate::clock::now_ms());
    let (readings, ids) = (plant.fill(7, super::range::MAX_RAW_ROWS + 1), [crate::store::SeriesId(7)]);
    let found = super::range::raw(plant.store.as_ref(), &ids, &[], 0, i64::MAX).unwrap();
    let found = serde_json::to_value(&found).unwrap();
    assert_eq!(readings, super::range::MAX_RAW_ROWS + 1);
    assert_eq!(found["series"][0]["t"].as_array().unwrap().len(), super::range::MAX_RAW_ROWS);
    assert_eq!(found["truncated"], true);
}

#[test]
fn what_cannot_be_meant_is_refused_by_name() {
    let server = Server::start();
    let many = (1..=51).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
    let many = format!("/api/v1/range?series={many}");
    for (path, status, code, word) in [
        ("/api/v1/range?series=1&form=0", 400, "bad_request", "form"),
        ("/api/v1/range?series=1&series=2", 400, "bad_request", "series"),
        ("/api/v1/range", 400, "bad_request", "series"),
        ("/api/v1/range?series=x", 400, "bad_request", "\"x\""),
        ("/api/v1/range?series=999", 404, "not_found", "999"),
        ("/api/v1/range?series=1&from=5&to=5", 400, "bad_request", "not before"),
        ("/api/v1/range?series=1&from=yesterday", 400, "bad_request", "yesterday"),
        ("/api/v1/range?series=1&points=0", 400, "bad_request", "4000"),
        ("/api/v1/range?series=1&points=4001", 400, "bad_request", "4001"),
        ("/api/v1/range?series=1&raw=maybe", 400, "bad_request", "raw"),
        ("/api/v1/range?series=3&counter=mean", 400, "bad_request", "mean"),
        ("/api/v1/range?series=3,1&counter=rate", 400, "bad_request", "series 1 (voltage_l1) is no counter"),
        ("/api/v1/range?series=3&counter=rate&raw=true", 400, "bad_request", "exclude"),
        ("/api/v1/range?series=3&counter=rate&every=day", 400, "bad_request", "counter=consumption"),
        ("/api/v1/range?series=3&zone=UTC", 400, "bad_request", "counter=consumption"),
        ("/api/v1/range?series=3&counter=consumption", 400, "bad_request", "every=hour, day or month"),
        ("/api/v1/range?series=3&counter=consumption&every=day&zone=Mars/Base", 400, "bad_request", "Mars/Base"),
        ("/api/v1/range?series=3&counter=consumption&every=hour&from=0", 400, "too_much", "4000 periods"),
        (&many, 400, "too_much", "50"),
        ("/api/v1/latest", 400, "bad_request", "say which"),
        ("/api/v1/latest?series=1&gateway=plant7", 400, "bad_request", "combined"),
        ("/api/v1/latest?series=1,999", 404, "not_found", "999"),
        ("/api/v1/latest?gateway=plant8", 404, "not_found", "plant8"),
        ("/api/v1/devices?gateway=plant8", 404, "not_found", "plant8"),
        ("/api/v1/series?device=nobody", 404, "not_found", "nobody"),
        ("/api/v1/series?limit=0", 400, "bad_request", "limit"),
        ("/api/v1/series?limit=-1", 400, "bad_request", "limit"),
        ("/api/v1/nothing", 404, "not_found", "/api/v1/nothing"),
        ("/../../etc/passwd", 404, "not_found", "passwd"),
    ] {
        let answer = server.get(path);
        let error = answer.json()["error"].clone();
        assert_eq!((answer.status, error["code"].as_str()), (status, Some(code)), "{path}: {error}");
        assert!(error["message"].as_str().unwrap().contains(word), "{path}: {error}");
    }
    let posted = send(server.address, "POST", "/api/v1/gateways", "content-length: 0\r\n");
    assert_eq!((posted.status, posted.json()["error"]["code"].as_str()), (405, Some("method_not_allowed")));
}

#[test]
fn ranges_at_the_ends_of_time_are_answered() {
    let server = Server::start();
    for range in
        ["from=0&to=1", "from=0&to=253402300799999", "from=0&to=253402300799999&points=4000", "from=now-4294967295w&to=now&points=1"]
    {
        let answer = server.get(&format!("/api/v1/range?series=1&{range}"));
        assert_eq!(answer.status, 200, "{range}: {}", answer.text());
    }
}

#[test]
fn every_answer_is_guarded_and_long_ones_are_packed() {
    let server = Server::start();
    for path in ["/", "/api/v1/gateways", "/api/v1/nothing", "/metrics"] {
        let head = server.get(path).head;
        for line in [
            "content-security-policy: default-src 'self'",
            "frame-ancestors 'none'",
            "x-content-type-options: nosniff",
            "cross-origin-resource-policy: same-origin",
        ] {
            assert!(head.contains(line), "{path}: {head}");
        }
    }
    let packed = send(server.address, "GET", "/api/v1/range?series=1", "accept-encoding: gzip\r\n");
    assert!(packed.head.contains("content-encoding: gzip") && packed.body.starts_with(&[0x1f, 0x8b]), "{}", packed.head);
    let page = send(server.address, "GET", "/", "accept-encoding: gzip\r\n");
    assert_eq!(page.head.matches("content-encoding").count(), 1, "the page is not packed twice");
}

#[test]
fn metrics_count_what_happens_and_escape_what_gateways_say() {
    let server = Server::start();
    for _ in 0..3 {
        server.get("/api/v1/gateways");
    }
    server.get("/api/v1/series?x=1");
    let text = server.get("/metrics").text();
    for line in [
        r#"pattoo_http_requests_total{route="/api/v1/gateways",status="200"} 3"#,
        r#"pattoo_http_requests_total{route="/api/v1/series",status="400"} 1"#,
        r#"pattoo_rejects_total{gateway="",reason="unknown topic"} 1"#,
        r#"pattoo_rejects_total{gateway="plant7",reason="truncated"} 2"#,
        r#"pattoo_gateway_buffer_batches{gateway="plant7"} 3"#,
        r#"pattoo_gateway_clock_offset_seconds{gateway="plant7"} -1.5"#,
        r#"pattoo_link_late_seconds{gateway="plant7",link="line1",quantile="0.99"} 0.7"#,
        r#"pattoo_link_skipped_polls_total{gateway="plant7",link="line1"} 14"#,
        r#"pattoo_device_misses_total{gateway="plant7",device="pump",what="timeout"} 4"#,
        r#"pattoo_device_timeout_seconds{gateway="plant7",device="pump"} 0.15"#,
        r#"pattoo_device_late_p99_seconds{gateway="plant7",device="pump"} 0.7"#,
        "pattoo_replaced_readings_total 0",
        "pattoo_store_up 1",
    ] {
        assert!(text.lines().any(|l| l == line), "{line}\nin\n{text}");
    }
    assert!(text.contains("\npattoo_store_bytes "), "{text}");
}

#[test]
fn readiness_names_what_is_missing_and_life_does_not_depend_on_it() {
    let server = Server::start();
    let ready = || (server.get("/readyz").status, server.get("/readyz").text());
    assert_eq!(ready().0, 200);
    server.plant.live.set_subscribed(false);
    let (status, text) = ready();
    assert!(status == 503 && text.contains("broker"), "{text}");
    server.plant.live.set_subscribed(true);
    server.plant.live.set_storing(false);
    let (status, text) = ready();
    assert!(status == 503 && text.contains("the store"), "{text}");
    server.plant.live.set_storing(true);
    server.plant.store.fail(Some("no space left"));
    let (status, text) = ready();
    assert!(status == 503 && text.contains("no space"), "{text}");
    assert_eq!(server.get("/api/v1/latest?series=1").status, 503);
    assert_eq!(server.get("/healthz").status, 200);
    assert!(server.get("/metrics").text().contains("\npattoo_store_up 0\n"));
}
