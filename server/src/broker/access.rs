//! Who may do what at the embedded broker. Pure: names and topics in, yes or no out.
//!
//! Does not know secrets (`accounts`) nor sockets (`front`). The law: a gateway with an account reaches its own topics and
//! nothing else, and nobody else reaches them for it; only ingest acknowledges, because a forged acknowledgement would make a
//! gateway throw readings away.

use pattoo_wire::topic;

/// What the client id of ingest begins with. Nobody without an account can have such a one, see [`may_be_called`].
pub const INGEST: &str = "pattoo-server";
/// What the client id of a gateway starts with; its name follows.
const GATEWAY_ID: &str = "pattoo-";
/// Longest text from a client that is repeated in a log line, in characters.
const SHOWN_CHARS: usize = 64;

/// Whom a connection was admitted as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Who {
    /// A gateway with an account: its name.
    Gateway(String),
    /// A program with an account that may send commands to gateways.
    Commander {
        /// Its name.
        name: String,
        /// Those gateways.
        gateways: Vec<String>,
    },
    /// A program on this machine, without an account.
    Local,
}

/// Topics below `pattoo/v1/<gateway>/` that a gateway writes, beside its schemas.
const WRITES: [&str; 4] = ["data", "status", "hello", "command/result"];
/// Topics below `pattoo/v1/<gateway>/` that a gateway reads.
const READS: [&str; 3] = ["ack", "ask", "command"];
/// Topic below `pattoo/v1/<gateway>/` that whoever may send it commands writes.
const COMMANDER_WRITES: &str = "command";
/// Topics below `pattoo/v1/<gateway>/` that whoever may send it commands reads.
const COMMANDER_READS: [&str; 2] = ["command/result", "status"];

/// Whether `who` may write this topic, also as a last will. `reserved` tells whether a gateway name has an account, revoked or
/// not: such a name belongs to its account alone.
pub fn may_publish(who: &Who, topic: &str, reserved: impl Fn(&str) -> bool) -> bool {
    let Some((gateway, rest)) = parts(topic) else { return false };
    let writes = || WRITES.contains(&rest) || matches!(topic::parse(topic), Some((_, topic::FromGateway::Schema(_))));
    match who {
        Who::Gateway(name) => name == gateway && writes(),
        Who::Commander { gateways, .. } => rest == COMMANDER_WRITES && gateways.iter().any(|name| name == gateway),
        Who::Local => !reserved(gateway) && writes(),
    }
}

/// Whether `who` may subscribe to this filter.
pub fn may_subscribe(who: &Who, filter: &str) -> bool {
    match who {
        // The exact topics: no wildcard, no shared subscription.
        Who::Gateway(name) => parts(filter).is_some_and(|(gateway, rest)| gateway == name && READS.contains(&rest)),
        Who::Commander { gateways, .. } => {
            parts(filter).is_some_and(|(gateway, rest)| COMMANDER_READS.contains(&rest) && gateways.iter().any(|name| name == gateway))
        }
        Who::Local => match filter.strip_prefix("$share/") {
            Some(shared) => shared.split_once('/').is_some_and(|(_, filter)| filter.starts_with("pattoo/")),
            None => filter.starts_with("pattoo/"),
        },
    }
}

/// Whether `who` may have this client id. Ids are bound to accounts, because a second connection with an id ends the first.
pub fn may_be_called(who: &Who, client_id: &str, reserved: impl Fn(&str) -> bool) -> bool {
    let ours = client_id.strip_prefix(INGEST).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'));
    match who {
        Who::Gateway(name) => client_id.strip_prefix(GATEWAY_ID) == Some(name),
        // It may connect several times: no name has a '/'.
        Who::Commander { name, .. } => {
            let rest = client_id.strip_prefix(GATEWAY_ID).and_then(|rest| rest.strip_prefix(name.as_str()));
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        }
        Who::Local => {
            let name = client_id.strip_prefix(GATEWAY_ID).map(|rest| rest.split_once('/').map_or(rest, |(name, _)| name));
            !ours && !name.is_some_and(reserved)
        }
    }
}

/// The client id that a gateway's account asks for.
#[must_use]
pub fn client_id(gateway: &str) -> String {
    format!("{GATEWAY_ID}{gateway}")
}

/// A text from a client as it may stand in a log line: quoted, escaped, short.
#[must_use]
pub fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{:?}…", text.split_at(end).0),
        None => format!("{text:?}"),
    }
}

/// Gateway and the rest of a topic of ours without wildcards.
fn parts(topic: &str) -> Option<(&str, &str)> {
    let (gateway, rest) = topic.strip_prefix(topic::ROOT)?.strip_prefix('/')?.split_once('/')?;
    pattoo_wire::check_name(gateway).ok().map(|()| (gateway, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reserved(name: &str) -> bool {
        name == "g1"
    }

    #[test]
    fn nobody_writes_for_another_and_nobody_acknowledges() {
        let g1 = Who::Gateway("g1".into());
        for (topic, by_g1, by_local) in [
            ("pattoo/v1/g1/data", true, false),
            ("pattoo/v1/g1/schema/deadbeef", true, false),
            ("pattoo/v1/g1/status", true, false),
            ("pattoo/v1/g1/hello", true, false),
            ("pattoo/v1/g1/command/result", true, false),
            ("pattoo/v1/g1/ack", false, false),
            ("pattoo/v1/g1/ask", false, false),
            ("pattoo/v1/g1/command", false, false),
            ("pattoo/v1/g1/schema", false, false),
            ("pattoo/v1/g1/schema/xyz", false, false),
            ("pattoo/v1/g1/data/x", false, false),
            ("pattoo/v1/g2/data", false, true),
            ("pattoo/v1/g2/hello", false, true),
            ("pattoo/v1/g2/ack", false, false),
            ("pattoo/v1/g11/data", false, true),
            ("pattoo/v1/G1/data", false, true),
            ("pattoo/v1/g1x/data", false, true),
            ("pattoo/v1/a/b/data", false, false),
            ("pattoo/v1/+/data", false, false),
            ("pattoo/v1//data", false, false),
            ("pattoo/v2/g1/data", false, false),
            ("/pattoo/v1/g1/data", false, false),
            ("other", false, false),
            ("ack", false, false),
            ("$SYS/x", false, false),
        ] {
            assert_eq!(may_publish(&g1, topic, reserved), by_g1, "g1 {topic}");
            assert_eq!(may_publish(&Who::Local, topic, reserved), by_local, "local {topic}");
        }
    }

    #[test]
    fn a_gateway_reads_its_own_topics_one_by_one() {
        let g1 = Who::Gateway("g1".into());
        for (filter, by_g1, by_local) in [
            ("pattoo/v1/g1/ack", true, true),
            ("pattoo/v1/g1/ask", true, true),
            ("pattoo/v1/g1/command", true, true),
            ("pattoo/v1/g1/data", false, true),
            ("pattoo/v1/g1/+", false, true),
            ("pattoo/v1/g1/#", false, true),
            ("pattoo/v1/+/ack", false, true),
            ("pattoo/v1/g2/ack", false, true),
            ("$share/g/pattoo/v1/g1/ack", false, true),
            ("pattoo/#", false, true),
            ("#", false, false),
            ("+/v1/g1/data", false, false),
            ("$SYS/#", false, false),
            ("$share/group/#", false, false),
            ("$share/pattoo/", false, false),
        ] {
            assert_eq!(may_subscribe(&g1, filter), by_g1, "g1 {filter}");
            assert_eq!(may_subscribe(&Who::Local, filter), by_local, "local {filter}");
        }
    }

    #[test]
    fn commands_are_sent_by_those_who_may_and_to_those_gateways_only() {
        let scada = Who::Commander { name: "scada".into(), gateways: vec!["g1".into(), "g2".into()] };
        for (topic, publish, subscribe) in [
            ("pattoo/v1/g1/command", true, false),
            ("pattoo/v1/g2/command", true, false),
            ("pattoo/v1/g3/command", false, false),
            ("pattoo/v1/scada/command", false, false),
            ("pattoo/v1/g1/command/result", false, true),
            ("pattoo/v1/g1/status", false, true),
            ("pattoo/v1/g3/command/result", false, false),
            ("pattoo/v1/g3/status", false, false),
            ("pattoo/v1/g1/data", false, false),
            ("pattoo/v1/g1/ack", false, false),
            ("pattoo/v1/scada/data", false, false),
            ("pattoo/v1/+/command", false, false),
            ("pattoo/v1/+/command/result", false, false),
            ("pattoo/v1/g1/#", false, false),
            ("$share/g/pattoo/v1/g1/command/result", false, false),
            ("pattoo/#", false, false),
        ] {
            assert_eq!(may_publish(&scada, topic, reserved), publish, "{topic}");
            assert_eq!(may_subscribe(&scada, topic), subscribe, "{topic}");
        }
        for (id, expected) in [
            ("pattoo-scada", true),
            ("pattoo-scada/1", true),
            ("pattoo-scada-1", false),
            ("pattoo-g1", false),
            ("pattoo-g1/1", false),
            ("pattoo-server", false),
            ("scada", false),
        ] {
            assert_eq!(may_be_called(&scada, id, reserved), expected, "{id}");
        }
        assert!(!may_be_called(&Who::Local, "pattoo-g1/1", reserved), "that one belongs to an account");
    }

    #[test]
    fn nobody_pushes_another_out_by_its_client_id() {
        let g1 = Who::Gateway("g1".into());
        for (id, by_g1, by_local) in [
            ("pattoo-g1", true, false),
            ("pattoo-g2", false, true),
            ("pattoo-g11", false, true),
            ("g1", false, true),
            ("pattoo-server", false, false),
            ("pattoo-server-0123", false, false),
            ("pattoo-server2", false, true),
            ("node-red", false, true),
        ] {
            assert_eq!(may_be_called(&g1, id, reserved), by_g1, "g1 {id}");
            assert_eq!(may_be_called(&Who::Local, id, reserved), by_local, "local {id}");
        }
        assert_eq!(client_id("g1"), "pattoo-g1");
        // A gateway that bears the server's name is still no ingest.
        let odd = Who::Gateway("server".into());
        assert!(may_be_called(&odd, "pattoo-server", reserved) && !may_publish(&odd, "pattoo/v1/server/ack", reserved));
    }

    #[test]
    fn what_clients_send_is_short_and_escaped_in_logs() {
        assert_eq!(shown("a\n\x1b[31m"), "\"a\\n\\u{1b}[31m\"");
        assert_eq!(shown(&"ü".repeat(100)), format!("\"{}\"…", "ü".repeat(64)));
    }
}
