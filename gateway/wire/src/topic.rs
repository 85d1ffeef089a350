//! MQTT topics, contract version 1.

use crate::{SchemaId, check_name};

/// What every topic of ours starts with.
pub const ROOT: &str = "pattoo/v1";

/// Batches of a gateway.
#[must_use]
pub fn data(gateway: &str) -> String {
    format!("{ROOT}/{gateway}/data")
}

/// One schema of a gateway; retained.
#[must_use]
pub fn schema(gateway: &str, id: SchemaId) -> String {
    format!("{ROOT}/{gateway}/schema/{id}")
}

/// Status of a gateway; retained, also its last will.
#[must_use]
pub fn status(gateway: &str) -> String {
    format!("{ROOT}/{gateway}/status")
}

/// Acknowledgements to a gateway.
#[must_use]
pub fn ack(gateway: &str) -> String {
    format!("{ROOT}/{gateway}/ack")
}

/// Where a gateway says how far it is and what time it has.
#[must_use]
pub fn hello(gateway: &str) -> String {
    format!("{ROOT}/{gateway}/hello")
}

/// The server's answer: its time, and what it misses.
#[must_use]
pub fn ask(gateway: &str) -> String {
    format!("{ROOT}/{gateway}/ask")
}

/// Commands to a gateway.
#[must_use]
pub fn command(gateway: &str) -> String {
    format!("{ROOT}/{gateway}/command")
}

/// What became of the commands to a gateway.
#[must_use]
pub fn command_result(gateway: &str) -> String {
    format!("{ROOT}/{gateway}/command/result")
}

/// What a message from a gateway is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FromGateway {
    /// A batch.
    Data,
    /// A schema with the id that the topic names.
    Schema(SchemaId),
    /// The status document.
    Status,
    /// Where it stands.
    Hello,
}

/// Reads a topic that a gateway publishes on: its name and what the message is.
#[must_use]
pub fn parse(topic: &str) -> Option<(&str, FromGateway)> {
    let (gateway, rest) = topic.strip_prefix(ROOT)?.strip_prefix('/')?.split_once('/')?;
    check_name(gateway).ok()?;
    let what = match rest.split_once('/') {
        None if rest == "data" => FromGateway::Data,
        None if rest == "status" => FromGateway::Status,
        None if rest == "hello" => FromGateway::Hello,
        Some(("schema", id)) => FromGateway::Schema(id.parse().ok()?),
        _ => return None,
    };
    Some((gateway, what))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_read_as_they_are_written() {
        let id = SchemaId(0xdead_beef);
        for (topic, expected) in [
            (data("g1"), Some(("g1", FromGateway::Data))),
            (status("g1"), Some(("g1", FromGateway::Status))),
            (schema("g1", id), Some(("g1", FromGateway::Schema(id)))),
            (hello("g1"), Some(("g1", FromGateway::Hello))),
            (ack("g1"), None),
            (ask("g1"), None),
            (command("g1"), None),
            (command_result("g1"), None),
            ("pattoo/v1/g1/schema/xyz".into(), None),
            ("pattoo/v1/g1/schema/deadbeef/x".into(), None),
            ("pattoo/v1//data".into(), None),
            ("pattoo/v2/g1/data".into(), None),
        ] {
            assert_eq!(parse(&topic), expected, "{topic}");
        }
    }
}
