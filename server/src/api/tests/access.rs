//! Who may ask what, held against the running server: every route of the document × everybody who may come.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};

use super::follow::Follower;
use super::{Answer, Server, send, send_body};
use crate::auth::Door;
use crate::users::{Role, lockout};

const CLOSED: Door = Door { anonymous: false, secure: false, port: 1, proxies: Vec::new() };

/// Everybody who may come: `-` nobody, `?` somebody with a token that is not good, `1` an admin who has to choose a password first;
/// sessions of a `V`iewer, an `O`perator, an `A`dmin; tokens of an admin for `v`iewing and for all that an `a`dmin may.
const CALLERS: &str = "-?1VOAva";

/// Who may use which route. A route without a row here turns a test red.
const TABLE: [(&str, &str, &str); 38] = [
    ("GET", "/healthz", "-1VOAva"),
    ("GET", "/readyz", "VOAva"),
    ("GET", "/metrics", "VOAva"),
    ("GET", "/api/v1/openapi.json", "VOAva"),
    ("GET", "/api/v1/gateways", "VOAva"),
    ("GET", "/api/v1/devices", "VOAva"),
    ("GET", "/api/v1/series", "VOAva"),
    ("GET", "/api/v1/latest", "VOAva"),
    ("GET", "/api/v1/range", "VOAva"),
    ("GET", "/api/v1/live", "VOAva"),
    ("GET", "/api/v1/export.csv", "VOAva"),
    ("GET", "/pattoo/api/v1/web/rest/data/{idx_datapoint}", "VOAva"),
    ("GET", "/api/v1/site", "VOAva"),
    ("GET", "/api/v1/translations", "VOAva"),
    ("POST", "/api/v1/translations", "OAa"),
    ("PUT", "/api/v1/language", "VOAva"),
    ("GET", "/api/v1/favourites", "VOAva"),
    ("PUT", "/api/v1/favourites", "VOAva"),
    ("GET", "/api/v1/dashboard.schema.json", "VOAva"),
    ("GET", "/api/v1/dashboards", "VOAva"),
    ("GET", "/api/v1/dashboards/{name}", "VOAva"),
    ("GET", "/api/v1/dashboards/{name}/shown", "VOAva"),
    ("PUT", "/api/v1/dashboards/{name}", "OAa"),
    ("PATCH", "/api/v1/dashboards/{name}", "OAa"),
    ("DELETE", "/api/v1/dashboards/{name}", "OAa"),
    ("GET", "/api/v1/session", "-1VOAva"),
    // Who may not log in has shown nothing that is right: this route refuses by the password.
    ("POST", "/api/v1/session", "-1VOAva"),
    ("DELETE", "/api/v1/session", "-1VOAva"),
    ("POST", "/api/v1/session/link", "-1VOAva"),
    ("PUT", "/api/v1/session/password", "1VOA"),
    ("GET", "/api/v1/tokens", "1VOA"),
    ("POST", "/api/v1/tokens", "1VOA"),
    ("DELETE", "/api/v1/tokens/{id}", "1VOA"),
    ("GET", "/api/v1/users", "Aa"),
    ("POST", "/api/v1/users", "Aa"),
    ("PATCH", "/api/v1/users/{name}", "Aa"),
    ("POST", "/api/v1/users/{name}/link", "Aa"),
    ("GET", "/api/v1/audit", "Aa"),
];

/// The headers by which somebody comes.
fn come(server: &Server, caller: char) -> String {
    let token = |role| {
        server.session(Role::Admin, false);
        let secret = format!("pattoo_{caller}");
        let made = secret.clone();
        let make = move |users: &mut crate::users::Users| {
            let known = users.by_token(&made, 0).is_some();
            if known { Ok(()) } else { users.add_token("adminfalse", ("t", role), &made, None, 0).map(drop) }
        };
        server.runtime.block_on(server.auth.change(make)).unwrap();
        format!("authorization: Bearer {secret}\r\n")
    };
    match caller {
        '-' => String::new(),
        '?' => "authorization: Bearer pattoo_unknown\r\n".into(),
        '1' => server.session(Role::Admin, true),
        'V' => server.session(Role::Viewer, false),
        'O' => server.session(Role::Operator, false),
        'A' => server.session(Role::Admin, false),
        'v' => token(Role::Viewer),
        _ => token(Role::Admin),
    }
}

#[test]
fn every_route_of_the_document_has_its_row_here_and_no_other_does() {
    let server = Server::start();
    let document = server.get("/api/v1/openapi.json").json();
    let mut found = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        found.extend(
            item.as_object().unwrap().keys().filter(|key| *key != "parameters").map(|method| (method.to_uppercase(), path.clone())),
        );
    }
    let expected: BTreeSet<_> = TABLE.iter().map(|(method, path, _)| ((*method).to_owned(), (*path).to_owned())).collect();
    assert_eq!(found, expected);
    let guarded: BTreeSet<_> =
        super::super::access::ROUTES.iter().map(|(method, path, _)| ((*method).to_owned(), (*path).to_owned())).collect();
    assert_eq!(found, guarded);
}

#[test]
fn each_route_lets_in_who_its_row_names_and_nobody_else() {
    let server = Server::start_with(CLOSED);
    for (method, path, may) in TABLE {
        for caller in CALLERS.chars() {
            let headers = come(&server, caller) + "content-type: application/json\r\ncontent-length: 2\r\n";
            let headers = if method == "GET" { come(&server, caller) } else { headers };
            let query = if path == "/api/v1/live" { "?series=1" } else { "" };
            let path = path.replace("{id}", "none").replace("{name}", "nobody").replace("{idx_datapoint}", "1") + query;
            let answer = send_body(server.address, method, &path, &headers, if method == "GET" { "" } else { "{}" });
            let refused = matches!(answer.status, 401 | 403);
            assert_eq!(!refused, may.contains(caller), "{method} {path} by {caller}: {} {}", answer.status, answer.text());
            assert!(answer.status < 500, "{method} {path} by {caller}: {}", answer.text());
            if refused && method == "GET" {
                let told = answer.text();
                assert!(told.starts_with("{\"error\":{\"code\":") && !told.contains("plant7"), "{path} by {caller}: {told}");
            }
        }
    }
}

#[test]
fn without_a_login_there_is_the_page_and_nothing_else() {
    let server = Server::start_with(CLOSED);
    assert_eq!(server.get("/").status, 200);
    assert_eq!(
        server.get("/api/v1/session").json(),
        json!({"user": null, "role": null, "must_choose": false, "has_password": false, "fresh": true})
    );
    for path in ["/api/v1/nothing", "/api", "/data", "/users.json", "/..%2fusers.json"] {
        assert_eq!(server.get(path).status, 404, "{path}");
    }
    let open = Server::start();
    assert_eq!(open.get("/api/v1/gateways").status, 200, "anonymous, as configured");
    assert_eq!(open.get("/api/v1/users").status, 403);
    for header in ["x-forwarded-for: 10.0.0.1\r\n", "host: evil.example\r\n"] {
        let by_proxy = send(open.address, "GET", "/api/v1/gateways", header);
        assert_ne!(by_proxy.status, 200, "{header}");
    }
}

fn post(server: &Server, method: &str, path: &str, headers: &str, body: &Json) -> Answer {
    let body = body.to_string();
    let headers = format!("content-type: application/json\r\ncontent-length: {}\r\n{headers}", body.len());
    send_body(server.address, method, path, &headers, &body)
}

/// The header that sends back the cookie of an answer.
fn cookie_of(answer: &Answer) -> String {
    let line = answer.head.lines().find_map(|line| line.strip_prefix("set-cookie: ")).unwrap_or_else(|| panic!("{}", answer.head));
    for attribute in ["; httponly", "; samesite=strict", "; path=/", "; max-age="] {
        assert!(line.contains(attribute), "{line}");
    }
    format!("cookie: {}\r\nsec-fetch-site: same-origin\r\n", line.split(';').next().unwrap())
}

#[test]
fn the_first_user_comes_by_a_link_chooses_a_password_and_logs_out() {
    let server = Server::start_with(CLOSED);
    let link = server.runtime.block_on(server.auth.set_up()).unwrap().unwrap();
    let first = post(&server, "POST", "/api/v1/session/link", "", &json!({ "link": link }));
    assert_eq!(first.json(), json!({"user": "admin", "role": "admin", "must_choose": true, "has_password": false, "fresh": false}));
    let cookie = cookie_of(&first);
    assert_eq!(post(&server, "POST", "/api/v1/session/link", "", &json!({ "link": link })).status, 401, "once");
    let early = send(server.address, "GET", "/api/v1/gateways", &cookie);
    assert_eq!((early.status, &early.json()["error"]["code"]), (403, &json!("choose_password")));
    let choose =
        |cookie: &str, old: &str, new: &str| post(&server, "PUT", "/api/v1/session/password", cookie, &json!({"old": old, "new": new}));
    assert_eq!(choose(&cookie, "", "too short").status, 400);
    let chosen = choose(&cookie, "", "correct horse battery");
    assert_eq!(chosen.json()["must_choose"], false, "{}", chosen.text());
    assert_eq!(send(server.address, "GET", "/api/v1/gateways", &cookie).status, 401, "the session from before has ended");
    let cookie = cookie_of(&chosen);
    assert_eq!(send(server.address, "GET", "/api/v1/gateways", &cookie).status, 200);
    assert_eq!(choose(&cookie, "wrong password", "another good password").status, 401);
    assert_eq!(choose(&cookie, "correct horse battery", "correct horse battery").status, 400, "the same again");
    assert_eq!(server.runtime.block_on(server.auth.set_up()).unwrap(), None, "it is set up");
    let again = post(&server, "POST", "/api/v1/session", "", &json!({"user": "admin", "password": "correct horse battery"}));
    assert_eq!(again.status, 200);
    assert_eq!(send(server.address, "DELETE", "/api/v1/session", &cookie).status, 204);
    assert_eq!(send(server.address, "GET", "/api/v1/gateways", &cookie).status, 401);
    assert_eq!(send(server.address, "GET", "/api/v1/gateways", &cookie_of(&again)).status, 200, "the other one goes on");
    let log = send(server.address, "GET", "/api/v1/audit", &cookie_of(&again)).json();
    let told: Vec<_> = log["entries"]
        .as_array()
        .unwrap()
        .iter()
        .rev()
        .map(|e| (e["what"].as_str().unwrap(), e["who"].as_str().unwrap(), e["done"].as_bool().unwrap()))
        .collect();
    let expected = [
        ("login by link", "admin", true),
        ("login by link", "", false),
        ("password", "admin", false),
        ("password", "admin", true),
        ("password", "admin", false),
        ("password", "admin", false),
        ("login", "admin", true),
        ("logout", "admin", true),
    ];
    assert_eq!(told, expected);
    assert!(!log.to_string().contains("horse"), "{log}");
}

#[test]
fn a_cookie_changes_nothing_from_another_page() {
    let server = Server::start_with(CLOSED);
    let cookie = server.session(Role::Admin, false);
    let cookie = cookie.lines().next().unwrap().to_owned() + "\r\n";
    let user = |name: &str| json!({"name": name, "role": "viewer"});
    for (n, (headers, expected)) in [
        ("sec-fetch-site: cross-site\r\n", 403),
        ("sec-fetch-site: same-site\r\n", 403),
        ("origin: http://evil.example\r\n", 403),
        ("", 403),
        ("origin: http://localhost\r\n", 201),
        ("sec-fetch-site: same-origin\r\n", 201),
    ]
    .into_iter()
    .enumerate()
    {
        let answer = post(&server, "POST", "/api/v1/users", &(cookie.clone() + headers), &user(&format!("u{n}")));
        assert_eq!(answer.status, expected, "{headers}: {}", answer.text());
    }
    let form = "content-type: text/plain\r\ncontent-length: 2\r\nsec-fetch-site: same-origin\r\n";
    assert_eq!(send_body(server.address, "POST", "/api/v1/users", &(cookie + form), "{}").status, 400, "a form is no JSON");
}

#[test]
fn wrong_passwords_are_slowed_down_and_say_nothing_of_whom_there_is() {
    let server = Server::start_with(CLOSED);
    server.session(Role::Viewer, false);
    let login = |user: &str, password: &str| post(&server, "POST", "/api/v1/session", "", &json!({"user": user, "password": password}));
    let (there, nobody) = (login("viewerfalse", "wrong"), login("nobody", "wrong"));
    assert_eq!((there.status, there.text()), (401, nobody.text()));
    let statuses: Vec<u16> = (0..lockout::FREE_BY_USER + 1).map(|_| login("viewerfalse", "wrong").status).collect();
    assert_eq!(statuses, [401, 401, 401, 401, 401, 429]);
    let right = login("viewerfalse", "correct horse battery");
    assert!(right.status == 429 && right.head.contains("retry-after: 1"), "the right one waits as well: {}", right.head);
}

#[test]
fn what_was_made_for_a_token_is_told_once_and_ends_when_revoked() {
    let server = Server::start_with(CLOSED);
    let cookie = server.session(Role::Operator, false);
    assert_eq!(post(&server, "POST", "/api/v1/tokens", &cookie, &json!({"name": "x", "role": "admin"})).status, 400, "more than its user");
    let made = post(&server, "POST", "/api/v1/tokens", &cookie, &json!({"name": "metrics", "role": "viewer", "days": 7}));
    let (token, id) = (made.json()["token"].as_str().unwrap().to_owned(), made.json()["id"].as_str().unwrap().to_owned());
    let list = send(server.address, "GET", "/api/v1/tokens", &cookie);
    assert!(list.text().contains(&id) && !list.text().contains(&token), "{}", list.text());
    let metrics = || send(server.address, "GET", "/metrics", &format!("authorization: Bearer {token}\r\n")).status;
    assert_eq!(metrics(), 200);
    let other = server.session(Role::Admin, false);
    assert_eq!(send(server.address, "DELETE", &format!("/api/v1/tokens/{id}"), &other).status, 404, "another's");
    assert_eq!(send(server.address, "DELETE", &format!("/api/v1/tokens/{id}"), &cookie).status, 204);
    assert_eq!(metrics(), 401);
}

#[test]
fn a_stream_ends_when_the_right_to_it_ends_and_others_go_on() {
    let server = Server::start_with(CLOSED);
    let (one, other) = (server.session(Role::Viewer, false), server.session(Role::Operator, false));
    let (mut ends, mut goes_on) = (Follower::open(&server, "series=1", &one), Follower::open(&server, "series=1", &other));
    assert!(ends.next().is_some() && goes_on.next().is_some());
    let admin = server.session(Role::Admin, false);
    assert_eq!(post(&server, "PATCH", "/api/v1/users/viewerfalse", &admin, &json!({"disabled": true})).status, 204);
    let began = Instant::now();
    assert!(ends.next().is_none());
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert_eq!(send(server.address, "GET", "/api/v1/gateways", &one).status, 401);
    server.stop.send_replace(true);
    assert!(goes_on.next().is_none(), "until the server stops");
}

#[test]
fn under_tls_the_cookie_is_for_tls_only() {
    let server = Server::start_with(Door { secure: true, port: 8443, ..CLOSED });
    let link = server.runtime.block_on(server.auth.set_up()).unwrap().unwrap();
    let head = post(&server, "POST", "/api/v1/session/link", "", &json!({ "link": link })).head;
    assert!(head.contains("set-cookie: __host-pattoo_session_8443=") && head.contains("; secure"), "{head}");
    assert!(head.contains("strict-transport-security: max-age="), "{head}");
}

#[test]
fn behind_a_trusted_proxy_limits_audit_and_cookies_are_of_who_asks_it() {
    let post_from = |server: &Server, client: &str, proto: &str, body: &Json| {
        post(server, "POST", "/api/v1/session", &format!("x-forwarded-for: {client}\r\nx-forwarded-proto: {proto}\r\n"), body)
    };
    let right = json!({"user": "viewerfalse", "password": "correct horse battery"});
    let proxied = Server::start_with(Door { proxies: vec!["127.0.0.1".parse().unwrap()], ..CLOSED });
    let direct = Server::start_with(CLOSED);
    for server in [&proxied, &direct] {
        server.session(Role::Viewer, false);
        // Each by another user, so that only the address makes anybody wait.
        for n in 0..=lockout::FREE_BY_SOURCE {
            let wrong = json!({"user": format!("nobody{n}"), "password": "wrong"});
            assert_eq!(post_from(server, "198.51.100.7", "https", &wrong).status, 401, "{n}");
        }
        assert_eq!(post_from(server, "198.51.100.7", "https", &right).status, 429);
    }
    assert_eq!(post_from(&direct, "198.51.100.8", "https", &right).status, 429, "to whom nobody is a proxy, all of this is one address");
    let other = post_from(&proxied, "198.51.100.8", "https", &right);
    assert_eq!(other.status, 200, "{}", other.text());
    assert!(other.head.contains("set-cookie: __host-pattoo_session_1=") && other.head.contains("; secure"), "{}", other.head);
    let plain = post_from(&proxied, "198.51.100.8", "http", &right);
    assert!(plain.head.contains("set-cookie: pattoo_session_1=") && !plain.head.contains("; secure"), "{}", plain.head);
    let cookie = other.head.lines().find_map(|line| line.strip_prefix("set-cookie: ")).unwrap().split(';').next().unwrap();
    let cookie = cookie.replace("__host-", "__Host-");
    let come =
        |proto: &str| send(proxied.address, "GET", "/api/v1/gateways", &format!("cookie: {cookie}\r\nx-forwarded-proto: {proto}\r\n"));
    assert_eq!((come("https").status, come("http").status), (200, 401));
    let log = send(proxied.address, "GET", "/api/v1/audit", &proxied.session(Role::Admin, false)).json();
    assert_eq!((&log["entries"][0]["from"], &log["entries"][2]["from"]), (&json!("198.51.100.8"), &json!("198.51.100.7")));
}
