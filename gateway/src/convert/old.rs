//! Which agents a file is for, in either layout. Pure.

use std::path::Path;

use super::plan::Plan;
use crate::yaml::{Node, Problems, Tree, did_you_mean, quoted};

/// What an old agent polled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Agent {
    Modbus,
    Snmp,
    IfMib,
    Bacnet,
    OpcUa,
    Host,
    Spoke,
    Hub,
}

/// The agents by the names of their programs.
const PROGRAMS: &[(&str, Agent)] = &[
    ("pattoo_agent_modbustcpd", Agent::Modbus),
    ("pattoo_agent_snmpd", Agent::Snmp),
    ("pattoo_agent_snmp_ifmibd", Agent::IfMib),
    ("pattoo_agent_bacnetipd", Agent::Bacnet),
    ("pattoo_agent_opcuad", Agent::OpcUa),
    ("pattoo_agent_os_autonomousd", Agent::Host),
    ("pattoo_agent_os_spoked", Agent::Spoke),
    ("pattoo_agent_os_hubd", Agent::Hub),
    ("pattoo_agent_linux_autonomousd", Agent::Host),
    ("pattoo_agent_linux_spoked", Agent::Spoke),
    ("pattoo_agent_linux_hubd", Agent::Hub),
];

/// Sections of files that agents shared: where the server is, where logs and caches are. This gateway keeps that elsewhere.
const SHARED: &[&str] = &["pattoo", "pattoo_agent_api", "pattoo_web_api", "pattoo_webd", "main", "remote_api"];

/// Keys that only one agent has, for a file whose name tells nothing.
const TELLING: &[(&str, Agent)] = &[
    ("input_registers", Agent::Modbus),
    ("holding_registers", Agent::Modbus),
    ("oids", Agent::Snmp),
    ("points", Agent::Bacnet),
    ("nodes", Agent::OpcUa),
];

/// What one agent reads of a file.
pub(super) struct Section<'t> {
    pub(super) agent: Agent,
    pub(super) program: &'static str,
    pub(super) node: &'t Node,
}

impl Agent {
    fn program(self) -> &'static str {
        PROGRAMS.iter().find(|(_, agent)| *agent == self).map_or("", |(program, _)| program)
    }
}

fn named(name: &str) -> Option<(&'static str, Agent)> {
    let name = name.replace('-', "_");
    PROGRAMS.iter().find(|(program, _)| *program == name).copied()
}

/// The sections of a file.
pub(super) fn sections<'t>(file: &Path, node: &'t Node, plan: &mut Plan<'_>, problems: &mut Problems<'_>) -> Vec<Section<'t>> {
    let Tree::Map(entries) = &node.tree else {
        let found = if node.tree == Tree::Null { "found nothing".to_owned() } else { format!("found {}", node.describe()) };
        problems.add(node.at, format!("{found}, expected the configuration of an old agent"));
        return Vec::new();
    };
    let keys = entries.iter().filter_map(|(key, value)| match &key.tree {
        Tree::Scalar(name) => Some((name.as_str(), key.at, value)),
        _ => None,
    });
    let keys: Vec<_> = keys.collect();
    let own = named(&file.file_stem().unwrap_or_default().to_string_lossy());
    let is_shared = |key: &str| SHARED.contains(&key);
    if !keys.iter().any(|(key, ..)| named(key).is_some() || is_shared(key)) {
        let Some((program, agent)) = own.or_else(|| told_by(node)) else {
            let programs: Vec<_> = PROGRAMS.iter().map(|(program, _)| *program).collect();
            let message =
                format!("cannot tell whose file this is: expected a section, or the name of the file, of {}", programs.join(", "));
            problems.add(node.at, message);
            return Vec::new();
        };
        return vec![Section { agent, program, node }];
    }
    let mut sections = Vec::new();
    for (key, at, value) in keys {
        match named(key) {
            // The documents of one agent have the section of its sister in its file.
            Some((_, Agent::Snmp)) if own.is_some_and(|(_, agent)| agent == Agent::IfMib) => {
                sections.push(Section { agent: Agent::IfMib, program: Agent::IfMib.program(), node: value });
            }
            Some((program, agent)) => sections.push(Section { agent, program, node: value }),
            None if is_shared(key) => {
                plan.change(file, at, format!("{key}: not needed; where the server is belongs under `uplink` of {}", super::CONFIG));
            }
            None => {
                let hint = did_you_mean(key, PROGRAMS.iter().map(|(program, _)| *program));
                problems.add(at, format!("unknown key {}, expected the section of an old agent{hint}", quoted(key)));
            }
        }
    }
    sections
}

/// The agent that has the keys of one of the groups.
fn told_by(node: &Node) -> Option<(&'static str, Agent)> {
    let groups = entry(node, "polling_groups")?;
    let Tree::List(groups) = &groups.tree else { return None };
    let agent = groups.iter().find_map(|group| TELLING.iter().find(|(key, _)| entry(group, key).is_some()))?.1;
    Some((agent.program(), agent))
}

fn entry<'t>(node: &'t Node, name: &str) -> Option<&'t Node> {
    let Tree::Map(entries) = &node.tree else { return None };
    entries.iter().find(|(key, _)| matches!(&key.tree, Tree::Scalar(key) if key == name)).map(|(_, value)| value)
}
