//! What people make for the page: dashboards, favourites; files of readings; lists that did not change.

use std::io::Read;

use flate2::read::GzDecoder;
use serde_json::{Value as Json, json};

use super::{Answer, Server, send, send_body};
use crate::store::SeriesId;
use crate::users::Role;

/// A dashboard of the made-up plant.
pub(super) const METERS: &str = "\
version: 1
title: Meters
variables:
  - { name: site, label: site, default: north }
panels:
  # All voltages.
  - title: Voltage of $site
    type: chart
    series: [{ point: voltage_*, labels: { site: $site } }]
  - { type: stat, title: All, series: [{ gateway: '*' }] }
";

/// A change by somebody who may make it.
fn put(server: &Server, method: &str, path: &str, condition: &str, body: &str) -> Answer {
    let headers = format!("{}{condition}content-length: {}\r\n", server.session(Role::Operator, false), body.len());
    send_body(server.address, method, path, &headers, body)
}

fn points(panel: &Json) -> Vec<&str> {
    panel["series"].as_array().unwrap().iter().map(|s| s["point"].as_str().unwrap()).collect()
}

#[test]
fn a_dashboard_is_shown_with_the_series_it_finds() {
    let server = Server::start();
    let found = server.get("/api/v1/dashboards/meters/shown").json();
    assert_eq!(found["panels"][0]["title"], "Voltage of north");
    assert_eq!(points(&found["panels"][0]), ["voltage_l1"]);
    assert_eq!(points(&found["panels"][1]).len(), 6);
    assert_eq!(found["variables"], json!([{ "name": "site", "value": "north", "values": ["north"] }]));
    let other = server.get("/api/v1/dashboards/meters/shown?vars=%7B%22site%22:%22south%22%7D").json();
    assert_eq!((&other["panels"][0]["title"], points(&other["panels"][0]).len()), (&json!("Voltage of south"), 0));
    for (path, status, word) in [
        ("meters/shown?vars=north", 400, "expected values by variable as JSON"),
        ("nobody/shown", 404, "nobody"),
        ("nobody", 404, "nobody"),
        ("..%2F..%2Fetc%2Fpasswd", 404, "no dashboard"),
    ] {
        let answer = server.get(&format!("/api/v1/dashboards/{path}"));
        assert!(answer.status == status && answer.text().contains(word), "{path}: {}", answer.text());
    }
}

#[test]
fn a_wrong_file_is_told_with_its_place_and_the_others_stay() {
    let server = Server::start();
    std::fs::write(server.dashboards.folder().join("bad.yaml"), METERS.replace("type: stat", "type: stats")).unwrap();
    server.dashboards.look();
    let list = server.get("/api/v1/dashboards").json();
    let names: Vec<_> =
        list["dashboards"].as_array().unwrap().iter().map(|d| (d["name"].as_str().unwrap(), d["problem"]["line"].as_u64())).collect();
    assert_eq!(names, [("bad", Some(10)), ("meters", None)]);
    let answer = server.get("/api/v1/dashboards/bad/shown");
    let error = &answer.json()["error"];
    assert_eq!((answer.status, &error["at"]["line"], &error["at"]["column"]), (422, &json!(10), &json!(13)));
    assert!(error["message"].as_str().unwrap().starts_with("bad.yaml:10:13: found \"stats\", expected one of chart"), "{error}");
    assert_eq!(server.get("/api/v1/dashboards/bad").json()["panels"], json!([]));
    assert_eq!(server.get("/api/v1/dashboards/meters/shown").status, 200);
}

#[test]
fn a_dashboard_is_saved_changed_and_deleted_only_as_it_was_read() {
    let server = Server::start();
    let path = "/api/v1/dashboards/meters";
    let read = server.get(path);
    let tag = read.json()["tag"].as_str().unwrap().to_owned();
    assert!(read.head.contains(&format!("etag: \"{tag}\"")), "{}", read.head);
    let matches = |tag: &str| format!("if-match: \"{tag}\"\r\n");
    let text = METERS.replace("title: Meters", "title: All meters");
    for (name, condition, body, status, word) in [
        (path, String::new(), text.as_str(), 428, "If-Match"),
        (path, matches("0"), &text, 412, "changed meanwhile"),
        (path, "if-none-match: *\r\n".into(), &text, 412, "changed meanwhile"),
        (path, matches(&tag), "version: 1\ntitle: x\n", 422, "panels"),
        ("/api/v1/dashboards/other", matches(&tag), &text, 404, "other"),
        ("/api/v1/dashboards/..%2Fother", "if-none-match: *\r\n".into(), &text, 400, "expected 1 to 63"),
        ("/api/v1/dashboards/Other", "if-none-match: *\r\n".into(), &text, 400, "expected 1 to 63"),
        ("/api/v1/dashboards/meters?check=true", String::new(), "version: 1\n", 200, "missing"),
    ] {
        let answer = put(&server, "PUT", name, &condition, body);
        assert!(answer.status == status && answer.text().contains(word), "{name} {condition}: {}", answer.text());
    }
    assert_eq!(server.get(path).json()["yaml"], METERS, "nothing was written");
    let saved = put(&server, "PUT", path, &matches(&tag), &text).json();
    assert_eq!(server.get(path).json(), saved);
    let tag = saved["tag"].as_str().unwrap();

    let change = |tag: &str, body: Json| put(&server, "PATCH", path, &matches(tag), &body.to_string());
    let added = change(tag, json!({ "add": "type: text\ntitle: \"Note\"\ntext: hello" }));
    assert_eq!(added.json()["panels"], json!(["Voltage of $site", "All", "Note"]), "{}", added.text());
    let renamed = change(added.json()["tag"].as_str().unwrap(), json!({ "rename": { "place": 1, "title": "Everything" } })).json();
    assert_eq!(renamed["panels"], json!(["Voltage of $site", "Everything", "Note"]));
    let tag = renamed["tag"].as_str().unwrap().to_owned();
    let removed = change(&tag, json!({ "remove": 0 })).json();
    assert_eq!(removed["panels"], json!(["Everything", "Note"]));
    assert!(removed["yaml"].as_str().unwrap().contains("# All voltages."), "comments stay");
    assert_eq!(change(&tag, json!({ "remove": 0 })).status, 412);
    let tag = removed["tag"].as_str().unwrap();
    for (body, status) in
        [(json!({ "remove": 7 }), 404), (json!({ "add": "type: x" }), 422), (json!({ "remove": 0, "add": "x" }), 400), (json!([]), 400)]
    {
        assert_eq!(change(tag, body.clone()).status, status, "{body}");
    }
    assert_eq!(put(&server, "DELETE", path, "", "").status, 428);
    assert_eq!(put(&server, "DELETE", path, &matches("0"), "").status, 412);
    assert_eq!(put(&server, "DELETE", path, &matches(tag), "").status, 204);
    assert_eq!(server.get(path).status, 404);
    assert_eq!(put(&server, "PUT", path, "if-none-match: *\r\n", METERS).status, 200);
    let long = send(server.address, "PUT", path, &format!("{}content-length: 614400\r\n", server.session(Role::Operator, false)));
    assert_eq!(long.status, 413, "told by its length, before it is sent");
    assert_eq!(put(&server, "POST", path, "", "").status, 405);
}

#[test]
fn favourites_keep_their_order_and_nobody_is_overrun() {
    let server = Server::start();
    let path = "/api/v1/favourites";
    let mine = || send(server.address, "GET", path, &server.session(Role::Operator, false)).json();
    assert_eq!(mine(), json!({ "revision": 0, "favourites": [] }));
    let list = |revision: u64, titles: &[&str]| {
        let favourites: Vec<_> = titles.iter().map(|t| json!({ "title": t, "link": format!("?q={t}") })).collect();
        json!({ "revision": revision, "favourites": favourites }).to_string()
    };
    assert_eq!(put(&server, "PUT", path, "", &list(0, &["b", "a"])).json()["revision"], 1);
    assert_eq!(mine()["favourites"][0]["title"], "b");
    let late = put(&server, "PUT", path, "", &list(0, &["c"]));
    assert!(late.status == 412 && late.text().contains("changed meanwhile"), "{}", late.text());
    for wrong in [r#"{"revision":1,"favourites":[{"title":"x","link":"javascript:1"}]}"#, "{}", "nonsense"] {
        assert_eq!(put(&server, "PUT", path, "", wrong).status, 400, "{wrong}");
    }
    assert_eq!(mine()["revision"], 1);
    let other = send(server.address, "GET", path, &server.session(Role::Viewer, false)).json();
    assert_eq!((&other["revision"], &server.get(path).json()["revision"]), (&json!(0), &json!(0)), "another reader has others");
    assert_eq!(server.get("/api/v1/site").json(), json!({ "zone": "Europe/Vienna" }));
}

#[test]
fn a_list_that_did_not_change_is_not_sent_again() {
    let server = Server::start();
    for path in ["/api/v1/gateways", "/api/v1/devices", "/api/v1/series?limit=2", "/api/v1/dashboards"] {
        let first = server.get(path);
        let tag = first.head.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap_or_else(|| panic!("{path}: {}", first.head));
        let tag = tag.replace("w/", "W/");
        let again = send(server.address, "GET", path, &format!("if-none-match: {tag}\r\n"));
        assert_eq!((again.status, again.body.len()), (304, 0), "{path}: {}", again.head);
        let other = send(server.address, "GET", path, "if-none-match: W/\"0-0\"\r\n");
        assert_eq!((other.status, other.body), (200, first.body), "{path}");
    }
    let tag = |server: &Server| server.get("/api/v1/gateways").head.lines().find(|line| line.starts_with("etag: ")).unwrap().to_owned();
    let before = tag(&server);
    server.plant.live.rejected(Some("plant7"), "truncated");
    assert_ne!(tag(&server), before);
}

#[test]
fn a_file_of_readings_is_exact_packed_or_plain() {
    let server = Server::start();
    let query = format!("/api/v1/export.csv?series=5,3&from={}&to={}", server.plant.now - 3000, server.plant.now);
    let plain = server.get(&query).text();
    let lines: Vec<&str> = plain.split("\r\n").collect();
    assert_eq!(lines[0], "time,gateway,device,point,unit,value,quality,reason");
    assert_eq!(lines.len(), 1 + 3 + 3 + 1, "{plain}");
    assert!(lines[1].ends_with(r#",plant7,<script>alert(1)</script>,message,,"Ready ""A"" </script>",good,"#), "{plain}");
    assert!(lines[6].ends_with(",plant7,main-meter,energy_import,Wh,18446744073709551615,good,"), "all digits: {plain}");
    let packed = send(server.address, "GET", &query, "accept-encoding: gzip\r\n");
    assert!(packed.head.contains("content-encoding: gzip"), "{}", packed.head);
    let mut unpacked = String::new();
    GzDecoder::new(&packed.body[..]).read_to_string(&mut unpacked).unwrap();
    assert_eq!(unpacked, plain);
    for (query, status) in [("series=1&zone=Mars/Base", 400), ("series=99", 404), ("series=1&from=5&to=5", 400)] {
        assert_eq!(server.get(&format!("/api/v1/export.csv?{query}")).status, status, "{query}");
    }
}

#[test]
fn a_file_of_readings_has_no_longest_length() {
    const ROWS: usize = 1_000_001;
    let server = Server::start();
    server.plant.fill(7, ROWS);
    let query = format!("/api/v1/export.csv?series=7&from=0&to={ROWS}");
    let packed = send(server.address, "GET", &query, "accept-encoding: gzip\r\n");
    assert_eq!(packed.status, 200);
    let mut text = String::new();
    GzDecoder::new(&packed.body[..]).read_to_string(&mut text).unwrap();
    let mut rows = text.split_terminator("\r\n").skip(1);
    for n in 0..ROWS {
        let row = rows.next().unwrap_or_else(|| panic!("{n} rows of {ROWS}"));
        assert!(row.ends_with(&format!(",V,{n},good,")), "{row}");
    }
    assert_eq!(rows.next(), None);
}

#[test]
fn a_store_that_fails_on_the_way_ends_the_file_before_its_end() {
    use std::io::{BufRead, BufReader, Write};
    let server = Server::start();
    server.plant.fill(SeriesId(7).0, 400_000);
    let mut stream = std::net::TcpStream::connect(server.address).unwrap();
    write!(stream, "GET /api/v1/export.csv?series=7&from=0&to=400000 HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").unwrap();
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    while !line.starts_with("1970-01-01T00:00:00.000Z,") {
        line.clear();
        assert!(reader.read_line(&mut line).unwrap() > 0);
    }
    // The reader has taken the first rows only: what is not on the way yet fails.
    server.plant.store.fail(Some("gone"));
    let mut rest = Vec::new();
    let _ = reader.read_to_end(&mut rest);
    assert!(!rest.ends_with(b"\r\n0\r\n\r\n"), "the last chunk was sent, as if the file were whole");
    assert!(!rest.windows(8).any(|w| w == b",399999,"), "it was all on the way: the test needs more rows");
}

#[test]
fn names_and_units_come_in_the_language_of_each_reader() {
    let server = Server::start_with(crate::auth::Door { anonymous: true, port: 1, ..Default::default() });
    let (operator, viewer) = (server.session(Role::Operator, false), server.session(Role::Viewer, false));
    let send_as = |who: &str, method: &str, path: &str, kind: &str, body: &str| {
        let headers = format!("{who}content-type: {kind}\r\ncontent-length: {}\r\n", body.len());
        send_body(server.address, method, path, &headers, body)
    };
    let pack = "language,key,translation,units\nde,eastron-sdm630_voltage_l1,Spannung,kV\nxx,a,b,c\nde,generic_running,Läuft,An/Aus\nen,generic_running,Runs,On/Off\n";
    assert_eq!(send_as(&viewer, "POST", "/api/v1/translations", "text/csv", pack).status, 403);
    let told = send_as(&operator, "POST", "/api/v1/translations", "text/csv", pack).json();
    assert_eq!((&told["points"], &told["problems"][0]["line"], &told["problems"][1]), (&json!(3), &json!(3), &json!(null)));
    let programs = "language,key,translation\nde,generic,Irgendwas\n";
    assert_eq!(send_as(&operator, "POST", "/api/v1/translations", "text/csv", programs).json()["programs"], json!(1));
    assert_eq!(send_as(&operator, "POST", "/api/v1/translations", "text/csv", "a,b\n1,2\n").status, 400);
    let chosen = send_as(&viewer, "PUT", "/api/v1/language", "application/json", "{\"language\": \"DE\"}");
    assert_eq!((chosen.status, &chosen.json()["language"]), (200, &json!("de")), "{}", chosen.text());
    let refused = send_as(&viewer, "PUT", "/api/v1/language", "application/json", "{\"language\": \"fr\"}");
    assert!(refused.status == 400 && refused.text().contains("there are: de, en"), "{}", refused.text());
    let series = |who: &str, more: &str| {
        let found = send(server.address, "GET", &format!("/api/v1/series?series=1,2,4{more}"), who).json();
        let one = |s: &Json| (s["name"].as_str().unwrap().to_owned(), s["unit"].as_str().unwrap().to_owned());
        found["series"].as_array().unwrap().iter().map(one).collect::<Vec<_>>()
    };
    let told = |pairs: [(&str, &str); 3]| pairs.map(|(name, unit)| (name.to_owned(), unit.to_owned()));
    assert_eq!(series(&viewer, ""), told([("current_l1", "A"), ("Spannung", "V"), ("Läuft", "An/Aus")]));
    assert_eq!(series(&operator, ""), told([("current_l1", "A"), ("voltage_l1", "V"), ("Runs", "On/Off")]), "the site's language");
    assert_eq!(series("", ""), series(&operator, ""), "as do those without a login");
    assert_eq!(series(&viewer, "&q=spannung"), [("Spannung".to_owned(), "V".to_owned())], "and is found by that name");
    let shown = send(server.address, "GET", "/api/v1/dashboards/meters/shown", &viewer).text();
    assert!(shown.contains("\"name\":\"Spannung\""), "{shown}");
    let devices = send(server.address, "GET", "/api/v1/devices", &viewer).text();
    assert!(devices.contains("\"profile_name\":\"Irgendwas\""), "{devices}");
}
