//! What somebody who helps wants to know of a gateway, as one JSON document without secrets. Pure; `cli` reads the files.
//!
//! Closed by default: of the configuration, only values of keys that are known to be harmless are told, and text of problems only as far as
//! it says what was expected.

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::config::MAX_CONFIG_BYTES;
use crate::yaml::{self, Node, Problem, Tree};

/// Stands for a value that is not told.
const HIDDEN: &str = "…";

/// Keys whose values hold no secret: names, addresses, paths, numbers and words of a fixed choice.
const TOLD: &[&str] = &[
    "acknowledge",
    "audit",
    "backfill_share",
    "bacnet",
    "baud",
    "ca",
    "certificate",
    "commit_window",
    "compress",
    "connections",
    "context",
    "credentials",
    "deadline",
    "device_from",
    "echo",
    "enabled",
    "engine_id",
    "every",
    "gateway",
    "host",
    "instance",
    "key",
    "key_extension",
    "link",
    "listen",
    "log",
    "max",
    "max_age",
    "max_bytes",
    "max_expiry",
    "max_unacknowledged",
    "min",
    "mode",
    "mqtt",
    "name",
    "ntp_file",
    "order",
    "parity",
    "path",
    "precision",
    "prefer_after",
    "profile",
    "rate_limit",
    "read_modify_write",
    "retries",
    "rs485",
    "rtu_over_tcp",
    "secrets",
    "serial",
    "server_name",
    "socket",
    "stale_after",
    "stop_bits",
    "tcp",
    "thin_to",
    "timeout",
    "tls",
    "topic",
    "trust",
    "unit",
    "url",
    "version",
    "ack_timeout",
    "after",
    "value",
];

/// The configuration as it may be shown; why it cannot be read otherwise.
pub(crate) fn config(file: &Path, content: &[u8]) -> Value {
    match yaml::parse(file, content, MAX_CONFIG_BYTES) {
        Ok(node) => shown(&node, false),
        Err(problem) => json!({ "unreadable": place(&problem) }),
    }
}

/// Where problems are and what was expected; what was found there may be a secret.
pub(crate) fn problems(problems: &[Problem]) -> Value {
    let expected = |problem: &Problem| problem.message.split_once("expected ").map(|(_, expected)| expected.to_owned());
    problems.iter().map(|problem| json!({ "place": place(problem), "expected": expected(problem) })).collect()
}

fn place(problem: &Problem) -> String {
    format!("{}:{}:{}", problem.file.display(), problem.line, problem.column)
}

fn shown(node: &Node, told: bool) -> Value {
    match &node.tree {
        Tree::Null => Value::Null,
        // Credentials have no place in a URL, but a broken configuration may have them there.
        Tree::Scalar(text) if told && !text.contains('@') => text.clone().into(),
        Tree::Scalar(_) => HIDDEN.into(),
        Tree::List(list) => list.iter().map(|node| shown(node, told)).collect(),
        Tree::Map(map) => {
            let mut object = Map::new();
            for (key, value) in map {
                let Tree::Scalar(key) = &key.tree else { continue };
                // A list of a known key, such as registers of `bacnet`, has harmless values; a mapping has keys of its own.
                object.insert(key.clone(), shown(value, TOLD.contains(&key.as_str())));
            }
            Value::Object(object)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_is_told_wherever_it_stands() {
        let text = "gateway: plant7\nuplink: { url: 'mqtts://me:S3CRET@ops', credentials: /etc/token, password: S3CRET }\ndevices:\n  \
                    - { name: switch, snmp: { host: 10.0.0.9, version: 2c, community: S3CRET, comunity: S3CRET } }\n  - { name: script, exec: { run: \
                    [a, --token, S3CRET], env: { TOKEN: S3CRET }, timeout: 5s } }\ntraps: { communities: [S3CRET], users: [{ user: S3CRET }] }\n# S3CRET\n";
        let told = config(Path::new("gateway.yaml"), text.as_bytes());
        assert!(!told.to_string().contains("S3CRET"), "{told:#}");
        assert_eq!((&told["gateway"], &told["uplink"]["credentials"]), (&json!("plant7"), &json!("/etc/token")));
        assert_eq!(told["devices"][0]["snmp"], json!({ "host": "10.0.0.9", "version": "2c", "community": HIDDEN, "comunity": HIDDEN }));
        assert_eq!(told["devices"][1]["exec"]["timeout"], "5s");
        let broken = config(Path::new("gateway.yaml"), b"gateway: [S3CRET\n");
        assert!(
            broken["unreadable"].as_str().is_some_and(|place| place.starts_with("gateway.yaml:")) && !broken.to_string().contains("S3CRET")
        );
        let found = Problem::whole(Path::new("gateway.yaml"), "found \"S3CRET\", expected sha256");
        assert_eq!(problems(&[found]), json!([{ "place": "gateway.yaml:0:0", "expected": "sha256" }]));
    }
}
