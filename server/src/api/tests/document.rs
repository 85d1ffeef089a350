//! The OpenAPI document held against the running server: every path answers as it says, and nothing it does not say.

use serde_json::{Value as Json, json};

use super::{Server, send};
use crate::users::Role;

/// A request that each path answers with success; a path that is not here fails the test.
const EXAMPLES: [(&str, &[&str]); 23] = [
    ("/api/v1/gateways", &[""]),
    ("/api/v1/devices", &["", "?gateway=plant7"]),
    ("/api/v1/series", &["", "?series=1,2&gateway=plant7&device=main-meter&q=v&limit=2&offset=1"]),
    ("/api/v1/latest", &["?series=1,2,3,4,5,6", "?gateway=plant7&device=pump", "?gateway=barn"]),
    (
        "/api/v1/range",
        &[
            "?series=1,2,3,4,5,6",
            "?series=1,3,4,5&from=now-1h&to=now&points=10&raw=true",
            "?series=1&raw=false",
            "?series=3&from=now-1h&points=10&counter=rate",
            "?series=3&counter=consumption&every=hour&zone=Europe/Vienna",
        ],
    ),
    ("/api/v1/export.csv", &["?series=1,5&from=now-1h&to=now&zone=Europe/Vienna"]),
    ("/pattoo/api/v1/web/rest/data/{idx_datapoint}", &["", "?secondsago=3600"]),
    ("/api/v1/translations", &[""]),
    ("/api/v1/dashboards", &[""]),
    ("/api/v1/dashboards/{name}", &[""]),
    ("/api/v1/dashboards/{name}/shown", &["", "?vars=%7B%22site%22:%22north%22%7D"]),
    ("/api/v1/dashboard.schema.json", &[""]),
    ("/api/v1/favourites", &[""]),
    ("/api/v1/site", &[""]),
    ("/api/v1/live", &["?series=1,2,3,4,5,6", "?gateway=plant7&device=pump", "?series=1&after=0.7"]),
    ("/api/v1/openapi.json", &[""]),
    ("/metrics", &[""]),
    ("/healthz", &[""]),
    ("/api/v1/session", &[""]),
    ("/api/v1/tokens", &[""]),
    ("/api/v1/users", &[""]),
    ("/api/v1/audit", &["", "?limit=1&before=1"]),
    ("/readyz", &[""]),
];

/// The path of an example.
fn real(path: &str) -> String {
    path.replace("{name}", "meters").replace("{idx_datapoint}", "1")
}

#[test]
fn every_documented_path_answers_as_documented() {
    let server = Server::start();
    let document = server.get("/api/v1/openapi.json").json();
    let paths = document["paths"].as_object().unwrap();
    let known: Vec<&str> = EXAMPLES.iter().map(|(path, _)| *path).collect();
    let admin = server.session(Role::Admin, false);
    for (path, _) in paths.iter().filter(|(_, item)| item.get("get").is_some()) {
        assert!(known.contains(&path.as_str()), "{path} is documented, but has no example here");
    }
    for (path, queries) in EXAMPLES {
        let operation = &paths.get(path).unwrap_or_else(|| panic!("{path} is not documented"))["get"];
        assert!(operation["description"].is_string() || operation["summary"].is_string(), "{path} says what it is");
        for query in queries {
            let answer = send(server.address, "GET", &format!("{}{query}", real(path)), &admin);
            assert_eq!(answer.status, 200, "{path}{query}: {}", answer.text());
            let content = operation["responses"]["200"]["content"].as_object().unwrap();
            let (kind, content) = content.iter().next().unwrap();
            assert!(answer.head.contains(&format!("content-type: {kind}")), "{path}: {}", answer.head);
            if kind == "application/json" {
                check(&document, &content["schema"], &answer.json(), &format!("{path}{query}"));
            }
            for name in query.trim_start_matches('?').split('&').filter_map(|pair| Some(pair.split_once('=')?.0)) {
                let documented = operation["parameters"].as_array().is_some_and(|all| all.iter().any(|p| p["name"] == name));
                assert!(documented, "{path}: parameter {name} is not documented");
            }
        }
    }
}

#[test]
fn every_documented_parameter_is_known_and_no_other() {
    let server = Server::start();
    let document = server.get("/api/v1/openapi.json").json();
    let admin = server.session(Role::Admin, false);
    for (path, item) in document["paths"].as_object().unwrap() {
        let Some(operation) = item.get("get") else { continue };
        let unknown = send(server.address, "GET", &format!("{}?nonsense=1", real(path)), &admin);
        assert_eq!(unknown.status, 400, "{path}");
        assert!(unknown.json()["error"]["message"].as_str().unwrap().contains("nonsense"), "{path}");
        check(&document, &operation["responses"]["400"]["content"]["application/json"]["schema"], &unknown.json(), path);
        for parameter in operation["parameters"].as_array().into_iter().flatten().filter(|parameter| parameter["in"] == "query") {
            let name = parameter["name"].as_str().unwrap();
            let answer = send(server.address, "GET", &format!("{}?{name}=%00", real(path)), &admin);
            let message = answer.json()["error"]["message"].as_str().unwrap_or_default().to_owned();
            assert!(!message.contains("unknown field"), "{path}: {name} is documented, but: {message}");
        }
    }
}

/// Only `routes!` puts a route into the document, so no other way of making one may be used.
#[test]
fn no_route_is_made_without_being_documented() {
    let source = include_str!("../../api.rs");
    for way in [".route(", ".nest(", ".merge(", ".route_service(", ".nest_service("] {
        assert!(!source.contains(way), "api.rs uses {way}");
    }
    let document = Server::start().get("/api/v1/openapi.json").json();
    assert_eq!(source.matches("routes!(").count(), document["paths"].as_object().unwrap().len());
}

/// Holds a value against its schema: types, required keys, and no key that is not documented.
fn check(document: &Json, schema: &Json, value: &Json, place: &str) {
    if let Err(what) = conforms(document, schema, value, place) {
        panic!("{what}");
    }
}

fn conforms(document: &Json, schema: &Json, value: &Json, place: &str) -> Result<(), String> {
    if let Some(name) = schema["$ref"].as_str() {
        let found = document.pointer(name.trim_start_matches('#')).ok_or_else(|| format!("{place}: {name} is not in the document"))?;
        return conforms(document, found, value, place);
    }
    if let Some(choices) = schema["oneOf"].as_array() {
        let tried: Vec<_> = choices.iter().map(|choice| conforms(document, choice, value, place)).collect();
        return if tried.iter().any(Result::is_ok) { Ok(()) } else { Err(format!("{place}: {tried:?}")) };
    }
    let types: Vec<&str> = match &schema["type"] {
        Json::Array(types) => types.iter().filter_map(Json::as_str).collect(),
        Json::String(one) => vec![one],
        _ => return Ok(()),
    };
    let found = match value {
        Json::Null => "null",
        Json::Bool(_) => "boolean",
        Json::Number(n) if n.is_i64() || n.is_u64() => "integer",
        Json::Number(_) => "number",
        Json::String(_) => "string",
        Json::Array(_) => "array",
        Json::Object(_) => "object",
    };
    let whole = found == "integer" && types.contains(&"number");
    if !whole && !types.contains(&found) {
        return Err(format!("{place}: {found} where {types:?} is documented"));
    }
    for (n, item) in value.as_array().into_iter().flatten().enumerate() {
        conforms(document, &schema["items"], item, &format!("{place}[{n}]"))?;
    }
    for key in schema["required"].as_array().into_iter().flatten().filter_map(Json::as_str) {
        value.get(key).ok_or_else(|| format!("{place}: {key} is missing"))?;
    }
    for (key, item) in value.as_object().into_iter().flatten() {
        let place = format!("{place}.{key}");
        let known = schema["properties"].get(key).or_else(|| schema.get("additionalProperties"));
        conforms(document, known.ok_or_else(|| format!("{place} is not documented"))?, item, &place)?;
    }
    Ok(())
}

#[test]
fn the_check_itself_finds_what_is_wrong() {
    let schema = json!({"type": "object", "required": ["a"], "properties": {"a": {"type": ["integer", "null"]}, "b": {"type": "array", "items": {"type": "string"}}}});
    for (value, fine) in [
        (json!({"a": 1, "b": ["x"]}), true),
        (json!({"a": null}), true),
        (json!({}), false),
        (json!({"a": 1.5}), false),
        (json!({"a": 1, "c": 1}), false),
        (json!({"a": 1, "b": [1]}), false),
    ] {
        assert_eq!(conforms(&Json::Null, &schema, &value, "x").is_ok(), fine, "{value}");
    }
}
