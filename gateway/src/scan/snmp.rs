//! Finds SNMP agents: who answers at which address and to which name, what it is, and which profiles fit it. Pure: parses, judges, reports;
//! `scan::snmp::drive` asks. Several profiles may fit one agent, which has interfaces as well as a UPS: each becomes a device.

pub mod drive;
mod report;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use serde::Serialize;

pub use self::report::{Found, Report};
use crate::config::Profiles;
use crate::profile::snmp::Oid;
use crate::profile::{AgentSignature, Profile, contains};

/// Default of the time that a scan may take.
pub const BUDGET: Duration = Duration::from_secs(60);
/// Default of the wait for an answer.
pub const TIMEOUT: Duration = Duration::from_secs(1);
/// Default of the agents that are asked at the same time.
pub const PARALLEL: usize = 32;
/// Most of those: each takes 131 kB.
pub const MAX_PARALLEL: usize = 64;
/// Most addresses of one scan: a network of 20 bits.
pub const MAX_HOSTS: usize = 4_096;
/// Most names or users that are tried at each address.
pub const MAX_WAYS: usize = 8;
/// Most objects that an agent is asked for to find out what it is.
const MAX_PROBES: usize = 64;

/// What an object says that it is there, in bits of evidence.
const HAS_SCORE: u32 = 10;
/// What each number of the id says behind those that all enterprises share: 1.3.6.1.4.1.
const ARC_SCORE: u32 = 10;
const ENTERPRISES: usize = 6;
/// What a word in the description says: others may quote it.
const DESCR_SCORE: u32 = 5;

/// What to look for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Addresses or names, at most [`MAX_HOSTS`].
    pub hosts: Vec<String>,
    /// How each is asked: what stands beside `host` in the `snmp:` of a device, the likeliest first.
    pub ways: Vec<String>,
    /// How long the scan may take.
    pub budget: Duration,
    /// How long an answer is waited for.
    pub timeout: Duration,
    /// How many are asked at the same time.
    pub parallel: usize,
}

/// What an agent said of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dossier {
    /// As it was asked for.
    pub host: String,
    /// Which of the ways it answered to.
    pub way: usize,
    /// `sysDescr`.
    pub descr: String,
    /// `sysObjectID`.
    pub object_id: Option<Oid>,
    /// `sysName`.
    pub name: String,
    /// What it has of [`probes`].
    pub has: BTreeSet<Oid>,
}

/// A profile that fits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fit {
    /// Its id.
    pub profile: String,
    /// How much speaks for it.
    pub score: u32,
    /// What speaks for it.
    pub why: Vec<String>,
}

/// The addresses that these texts say: `10.0.0.9`, `10.0.0.1-10.0.0.20`, `10.0.0.0/24`, `switch.example`, each once.
///
/// # Errors
/// A text that is none of these, or more than [`MAX_HOSTS`] addresses.
pub fn hosts(texts: &[String]) -> Result<Vec<String>, String> {
    let (mut hosts, mut seen) = (Vec::new(), BTreeSet::new());
    for text in texts {
        let own: Vec<String> = match range(text)? {
            Some((first, last)) if last - first >= MAX_HOSTS as u32 => return Err(too_many()),
            Some((first, last)) => (first..=last).map(|address| Ipv4Addr::from(address).to_string()).collect(),
            None => vec![text.clone()],
        };
        hosts.extend(own.into_iter().filter(|host| seen.insert(host.clone())));
        if hosts.len() > MAX_HOSTS {
            return Err(too_many());
        }
    }
    Ok(hosts)
}

fn too_many() -> String {
    format!("more than {MAX_HOSTS} addresses: scan a part of them at a time")
}

/// The first and last address of a range or a network; nothing where it is a single address or a name.
fn range(text: &str) -> Result<Option<(u32, u32)>, String> {
    let wrong =
        || format!("found {text:?}, expected an address, a name, a range such as 10.0.0.1-10.0.0.20 or a network such as 10.0.0.0/24");
    let address = |text: &str| text.parse::<Ipv4Addr>().map(u32::from).map_err(|_| wrong());
    if let Some((network, bits)) = text.split_once('/') {
        let bits: u32 = bits.parse().ok().filter(|bits| *bits <= 32).ok_or_else(wrong)?;
        let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
        let (first, last) = (address(network)? & mask, address(network)? | !mask);
        // The ends of a network are no hosts, unless it has no others.
        return Ok(Some(if bits < 31 { (first + 1, last - 1) } else { (first, last) }));
    }
    if let Some((first, last)) = text.split_once('-')
        && let (Ok(first), Ok(last)) = (address(first), address(last))
    {
        return if first <= last { Ok(Some((first, last))) } else { Err(wrong()) };
    }
    let single = text.parse::<IpAddr>().is_ok();
    let name = !text.is_empty() && text.len() <= 253 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
    // What looks like an address and is none is no name either.
    let digits = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    if single || name && !digits { Ok(None) } else { Err(wrong()) }
}

/// The objects that tell the profiles apart.
#[must_use]
pub fn probes(profiles: &Profiles) -> Vec<Oid> {
    let all: BTreeSet<&Oid> = profiles.values().filter_map(|profile| mark(profile)).flat_map(|own| &own.has).collect();
    all.into_iter().take(MAX_PROBES).cloned().collect()
}

fn mark(profile: &Profile) -> Option<&AgentSignature> {
    profile.signature.as_ref()?.snmp.as_ref()
}

/// The profiles that fit, the best first.
#[must_use]
pub fn rank(dossier: &Dossier, profiles: &Profiles) -> Vec<Fit> {
    let mut fits: Vec<Fit> = profiles.values().filter_map(|profile| judge(dossier, &profile.id, mark(profile)?)).collect();
    fits.sort_by(|a, b| b.score.cmp(&a.score).then_with(|| a.profile.cmp(&b.profile)));
    fits
}

/// All that a profile names must be so.
fn judge(dossier: &Dossier, id: &str, mark: &AgentSignature) -> Option<Fit> {
    let (mut score, mut why) = (0, Vec::new());
    if let Some(prefix) = &mark.sys_object_id {
        dossier.object_id.as_ref()?.below(prefix)?;
        score += ARC_SCORE * u32::try_from(prefix.parts().len().saturating_sub(ENTERPRISES).max(1)).unwrap_or(1);
        why.push(format!("sysObjectID is below {prefix}"));
    }
    if let Some(part) = &mark.sys_descr {
        if !contains(&dossier.descr, part) {
            return None;
        }
        score += DESCR_SCORE;
        why.push(format!("sysDescr has {part:?} in it"));
    }
    for object in &mark.has {
        if !dossier.has.contains(object) {
            return None;
        }
        score += HAS_SCORE;
        why.push(format!("has {object}"));
    }
    Some(Fit { profile: id.to_owned(), score, why })
}
