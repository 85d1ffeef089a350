//! What a scan for agents found, for people, scripts and the configuration. Pure.
//!
//! Its text is YAML: what was found is in comments, devices are to be pasted into the configuration of a gateway.

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};
use std::time::Duration;

use pattoo_wire::check_name;
use serde::Serialize;
use serde_json::json;

use super::{Dossier, Fit, Wanted, rank};
use crate::config::Profiles;

/// Longest description that is shown, in characters.
const MAX_SHOWN: usize = 120;

/// All that was found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// How long it took.
    pub seconds: f64,
    /// Addresses that were asked.
    pub asked: usize,
    /// Agents, in the order of the addresses.
    pub agents: Vec<Found>,
    /// What else is worth knowing.
    pub notes: Vec<String>,
    /// Devices for a configuration.
    pub config: String,
}

/// One agent.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Found {
    /// Address or name.
    pub host: String,
    /// `sysName`.
    pub name: String,
    /// `sysDescr`.
    pub descr: String,
    /// `sysObjectID`.
    pub object_id: Option<String>,
    /// Profiles that fit, the best first.
    pub profiles: Vec<Fit>,
}

impl Report {
    /// What these agents are, of so many that were asked.
    #[must_use]
    pub fn new(wanted: &Wanted, profiles: &Profiles, dossiers: &[Dossier], asked: usize, elapsed: Duration) -> Self {
        let place = |dossier: &Dossier| wanted.hosts.iter().position(|host| *host == dossier.host);
        let mut dossiers: Vec<&Dossier> = dossiers.iter().collect();
        dossiers.sort_by_key(|dossier| place(dossier));
        let mut names = BTreeSet::new();
        let (mut agents, mut devices) = (Vec::new(), String::new());
        for dossier in dossiers {
            let fits = rank(dossier, profiles);
            for fit in &fits {
                let name = device_name(dossier, &fit.profile, &mut names);
                let way = wanted.ways.get(dossier.way).map_or("", String::as_str);
                let _ =
                    writeln!(devices, "  - {{ name: {name}, profile: {}, snmp: {{ host: {}, {way} }} }}", fit.profile, json!(dossier.host));
            }
            agents.push(Found {
                host: dossier.host.clone(),
                name: dossier.name.clone(),
                descr: dossier.descr.clone(),
                object_id: dossier.object_id.as_ref().map(ToString::to_string),
                profiles: fits,
            });
        }
        let config = if devices.is_empty() { String::new() } else { format!("devices:\n{devices}") };
        let left = wanted.hosts.len() - asked.min(wanted.hosts.len());
        let notes =
            if left > 0 { vec![format!("{left} of {} addresses were not reached in time", wanted.hosts.len())] } else { Vec::new() };
        let seconds = (elapsed.as_secs_f64() * 10.0).round() / 10.0;
        Self { seconds, asked, agents, notes, config }
    }
}

/// A name of its own: what the agent calls itself, or its address, and the profile.
fn device_name(dossier: &Dossier, profile: &str, taken: &mut BTreeSet<String>) -> String {
    let own = if dossier.name.is_empty() { &dossier.host } else { &dossier.name };
    let short = own.split('.').next().filter(|_| own.parse::<std::net::IpAddr>().is_err()).unwrap_or(own);
    let clean: String = short.to_lowercase().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(40).collect();
    let clean = clean.trim_matches('-');
    let base = format!("{}-{profile}", if clean.is_empty() { "agent" } else { clean });
    let numbered = (2..).map(|number| format!("{base}-{number}"));
    let name = std::iter::once(base.clone()).chain(numbered).find(|name| !taken.contains(name) && check_name(name).is_ok());
    let name = name.unwrap_or(base);
    taken.insert(name.clone());
    name
}

/// One line without anything that a terminal obeys.
fn line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_SHOWN).collect()
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "# {} agents at {} addresses in {} s", self.agents.len(), self.asked, self.seconds)?;
        for agent in &self.agents {
            writeln!(f, "#\n# {} {}: {}", agent.host, line(&agent.name), line(&agent.descr))?;
            for Fit { profile, score, why } in &agent.profiles {
                writeln!(f, "#   {profile} ({score}): {}", why.join(", "))?;
            }
            if agent.profiles.is_empty() {
                writeln!(f, "#   no profile fits; sysObjectID {}", agent.object_id.as_deref().unwrap_or("unknown"))?;
            }
        }
        for note in &self.notes {
            writeln!(f, "# {note}")?;
        }
        f.write_str(&self.config)
    }
}
