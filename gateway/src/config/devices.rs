//! The devices of a configuration, each judged by itself. Opens no file.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use pattoo_wire::{Labels, MAX_SERIES, check_name};

use super::read::{Files, HOST_LINK, Links};
use super::{
    Allowed, BacnetPeer, DEVICE_EVERY, DEVICE_UNIT, Device, Link, MAX_DEVICES, MAX_INTERVAL, MIN_INTERVAL, Transport, bacnet, commands,
    exec, snmp,
};
use crate::lines::{READINGS, readings};
use crate::profile::{Found, Profile, Read, name_of};
use crate::reading::{DeviceIndex, PointIndex};
use crate::yaml::{Field, Fields, Node, Problems, did_you_mean, quoted};

/// Most labels of a device.
const MAX_LABELS: usize = 32;
/// Longest key or text of a label, in bytes: what the wire carries.
const MAX_LABEL_BYTES: usize = 255;

const KEYS: &[&str] = &["name", "profile", "link", "unit", "every", "labels", "writable", "snmp", "bacnet", "exec", "stale_after"];

/// What may be written to the devices.
pub(super) type Writable = BTreeMap<(DeviceIndex, PointIndex), Allowed>;

/// The devices that are good; a link gets those that belong to it, `writable` what may be written to them.
pub(super) fn read(
    top: &Fields<'_>,
    links: &mut Links,
    (found, files): (&Found, Files<'_>),
    writable: &mut Writable,
    problems: &mut Problems<'_>,
) -> Vec<Device> {
    let expected = "a list of devices, such as - { name: main-meter, profile: eastron-sdm630, link: plc, unit: 1 }";
    let Some(field) = top.required("devices", expected, problems) else { return Vec::new() };
    let Some(items) = field.list(expected, problems) else { return Vec::new() };
    if items.is_empty() {
        field.problem("there is no device, nothing will be read", problems);
    }
    if items.len() > MAX_DEVICES {
        field.problem(&format!("found {} devices, at most {MAX_DEVICES} are read; the rest is left out", items.len()), problems);
    }
    let mut names: HashMap<&str, u32> = HashMap::new();
    let mut devices: Vec<Device> = Vec::new();
    let mut series = 0;
    for (index, node) in items.iter().enumerate().take(MAX_DEVICES) {
        let name = name_of(node);
        let what = name.map_or_else(|| format!("device {}", index + 1), |name| format!("device {}", quoted(name)));
        let first = name.and_then(|name| names.get(name).copied());
        if let Some(line) = first {
            problems.add(node.at, format!("{what}: this name is there twice, first in line {line}; the first one stays"));
            continue;
        }
        name.map(|name| names.insert(name, node.at.line));
        let Some((device, (link, peer), allowed)) = device(node, &what, links, (found, files), problems) else { continue };
        series += device.profile.points.len();
        if series > MAX_SERIES {
            series -= device.profile.points.len();
            problems
                .add(node.at, format!("{what}: its points make more than {MAX_SERIES} of this gateway, expected fewer or another gateway"));
            continue;
        }
        let index = DeviceIndex(devices.len());
        if let Some(link) = links.good.get_mut(link) {
            link.devices.push(index);
            if let (Transport::Bacnet(bacnet), Some(peer)) = (&mut link.transport, peer) {
                bacnet.peers.insert(index, peer.numbered(index));
            }
        }
        writable.extend(allowed.into_iter().map(|(point, allowed)| ((index, point), allowed)));
        devices.push(device);
    }
    devices
}

/// A device, the position of its link with how it is reached there, and what may be written to it.
type Judged = (Device, (usize, Option<BacnetPeer>), BTreeMap<PointIndex, Allowed>);

fn device(node: &Node, what: &str, links: &mut Links, (found, files): (&Found, Files<'_>), problems: &mut Problems<'_>) -> Option<Judged> {
    let before = problems.count();
    let fields = Fields::read(node, what, KEYS, problems)?;
    let name = fields.required("name", "a name such as main-meter", problems).and_then(|field| {
        let name = field.text("a name such as main-meter", problems)?;
        check_name(name).map_err(|e| field.problem(&format!("{} is not a name: {e}", quoted(name)), problems)).ok()?;
        Some(name.to_owned())
    });
    let every = match fields.optional("every") {
        Some(field) => field.duration(MIN_INTERVAL, MAX_INTERVAL, problems),
        None => Some(DEVICE_EVERY),
    };
    let labels = fields.optional("labels").map_or_else(|| Some(Labels::new()), |field| labels(&field, problems));
    let profile = match fields.optional("profile") {
        None if exec::tells_lines(&fields, links) => Some(readings()),
        _ => {
            let field = fields.required("profile", "the id of a profile", problems);
            field.and_then(|field| profile(&field, found, problems))
        }
    };
    if let Some(profile) = &profile {
        exec::refuse(&fields, profile, problems);
    }
    let allowed = match (fields.optional("writable"), &profile) {
        (Some(field), Some(profile)) => commands::writable(&field, profile, problems)?,
        _ => BTreeMap::new(),
    };
    // A device whose profile is unknown may be of any protocol: its link and unit cannot be judged.
    let first = profile.as_ref().and_then(|profile| profile.points.first()).map(|point| &point.read);
    if let Some(field) = fields.optional("bacnet").filter(|_| first.is_some() && !matches!(first, Some(Read::Bacnet(_)))) {
        field.problem("the profile reads no BACnet objects", problems);
    }
    let mut peer = None;
    let (link, unit) = match &profile {
        Some(profile) if matches!(profile.points.first().map(|p| &p.read), Some(Read::Host(_))) => {
            (host_link(&fields, links, problems), Some(0))
        }
        Some(profile) if matches!(profile.points.first().map(|p| &p.read), Some(Read::Snmp(_) | Read::Trap(_))) => {
            let agent = snmp_agent(&fields, what, files, problems);
            let good = agent.zip(name.as_deref()).filter(|_| problems.count() == before);
            (good.and_then(|(agent, name)| snmp_link(agent, name, links, node, problems)), Some(0))
        }
        Some(_) if matches!(first, Some(Read::Bacnet(_))) => {
            if let Some(field) = fields.optional("unit") {
                field.wrong("no unit: a BACnet device has an instance, under `bacnet`", problems);
            }
            peer = bacnet::device(&fields, problems);
            let tells =
                profile.as_ref().is_some_and(|profile| profile.points.iter().any(|p| matches!(&p.read, Read::Bacnet(read) if read.cov)));
            if let Some(field) = fields.optional("bacnet").filter(|_| tells && peer.as_ref().is_some_and(|peer| !peer.is_said())) {
                field.problem("`device` is missing, expected its instance: the profile has points whose changes are told by it", problems);
            }
            let is_there = |link: &Link| peer.as_ref().is_some_and(|peer| is_reached(link, peer.device));
            let link = link_of(&fields, links, "BACnet", |transport| matches!(transport, Transport::Bacnet(_)), problems);
            if let Some(field) = fields.optional("bacnet").filter(|_| link.and_then(|link| links.good.get(link)).is_some_and(is_there)) {
                field.problem("another device of this link has the same instance, expected each once", problems);
            }
            (link, Some(0))
        }
        Some(profile) if exec::is_told(profile) => {
            let link = name.as_deref().zip(every);
            (link.and_then(|(name, every)| exec::link(&fields, name, every, links, problems)), Some(0))
        }
        Some(_) => modbus_link(&fields, links, problems),
        None => (None, None),
    };
    if let Some(field) = fields.optional("snmp").filter(|_| !profile.as_ref().is_none_or(|profile| profile.is_snmp())) {
        field.problem("found with a profile that reads no SNMP agent", problems);
    }
    if problems.count() > before {
        return None;
    }
    Some((Device { name: name?, profile: profile?, unit: unit?, every: every?, labels: labels? }, (link?, peer), allowed))
}

fn profile(field: &Field<'_>, found: &Found, problems: &mut Problems<'_>) -> Option<Arc<Profile>> {
    let id = field.text("the id of a profile", problems)?;
    if id == READINGS {
        return Some(readings());
    }
    if let Some(profile) = found.profiles.get(id) {
        return Some(profile.clone());
    }
    if found.refused.contains(id) {
        field.problem(&format!("the profile {} was refused, see its own problems", quoted(id)), problems);
    } else {
        let hint = did_you_mean(id, found.profiles.keys().map(String::as_str));
        let number = found.profiles.len();
        field.problem(&format!("there is no profile {}, expected one of the {number} in the profile folders{hint}", quoted(id)), problems);
    }
    None
}

fn host_link(fields: &Fields<'_>, links: &mut Links, problems: &mut Problems<'_>) -> Option<usize> {
    if let Some(field) = fields.optional("link")
        && field.text(HOST_LINK, problems)? != HOST_LINK
    {
        field.wrong("no link: this profile reads the machine that the gateway runs on", problems);
        return None;
    }
    if let Some(field) = fields.optional("unit") {
        field.wrong("no unit: this profile reads the machine that the gateway runs on", problems);
        return None;
    }
    Some(links.host())
}

fn snmp_agent(fields: &Fields<'_>, what: &str, files: Files<'_>, problems: &mut Problems<'_>) -> Option<snmp::Agent> {
    if let Some(field) = ["link", "unit"].iter().find_map(|key| fields.optional(key)) {
        field.problem("has no place here: an SNMP agent is asked at its own address, see `snmp`", problems);
        return None;
    }
    let field = fields.required("snmp", "the agent, such as { host: 10.0.0.9, community: public }", problems)?;
    snmp::agent(field.node, what, files, problems)
}

/// An agent is a link of its own.
fn snmp_link(agent: snmp::Agent, name: &str, links: &mut Links, node: &Node, problems: &mut Problems<'_>) -> Option<usize> {
    let link = format!("snmp-{name}");
    if links.good.iter().any(|other| other.name == link) {
        problems.add(node.at, format!("device {}: a link has the name {}, expected another one", quoted(name), quoted(&link)));
        return None;
    }
    Some(links.add(link, Transport::Snmp(Box::new(agent))))
}

fn modbus_link(fields: &Fields<'_>, links: &Links, problems: &mut Problems<'_>) -> (Option<usize>, Option<u8>) {
    let unit = match fields.optional("unit") {
        Some(field) => field.integer(0, 255, "a Modbus unit id", problems).and_then(|n| u8::try_from(n).ok()),
        None => Some(DEVICE_UNIT),
    };
    let is_modbus = |transport: &Transport| {
        !matches!(transport, Transport::Host | Transport::Snmp(_) | Transport::Bacnet(_) | Transport::Exec(_) | Transport::Input(_))
    };
    (link_of(fields, links, "Modbus", is_modbus, problems), unit)
}

/// Whether a link has a BACnet device of this instance.
fn is_reached(link: &Link, instance: u32) -> bool {
    matches!(&link.transport, Transport::Bacnet(bacnet) if bacnet.peers.values().any(|peer| peer.device == instance))
}

/// The link that a device names, which must be of its protocol.
fn link_of(
    fields: &Fields<'_>,
    links: &Links,
    protocol: &str,
    fits: impl Fn(&Transport) -> bool,
    problems: &mut Problems<'_>,
) -> Option<usize> {
    let field = fields.required("link", "the name of one of the links", problems)?;
    let name = field.text("the name of one of the links", problems)?;
    let link = links.good.iter().position(|link| link.name == name && fits(&link.transport));
    if link.is_none() {
        let names = || links.good.iter().filter(|link| fits(&link.transport)).map(|link| link.name.as_str());
        let message = if links.refused.iter().any(|refused| refused == name) {
            format!("the link {} was refused, see its own problem", quoted(name))
        } else if links.good.iter().any(|link| link.name == name) || name == HOST_LINK {
            let what = if protocol == "Modbus" { "registers" } else { "objects" };
            format!("found {}, expected the link to a {protocol} device: this profile reads {what}", quoted(name))
        } else {
            let all = names().collect::<Vec<_>>().join(", ");
            let expected = if all.is_empty() { "one under `links`, where there is none".to_owned() } else { format!("one of {all}") };
            format!("there is no link {}, expected {expected}{}", quoted(name), did_you_mean(name, names()))
        };
        field.problem(&message, problems);
    }
    link
}

fn labels(field: &Field<'_>, problems: &mut Problems<'_>) -> Option<Labels> {
    let expected = format!("at most {MAX_LABELS} labels such as {{ site: north }}, each of at most {MAX_LABEL_BYTES} bytes");
    let entries = field.entries(&expected, problems)?;
    if entries.len() > MAX_LABELS {
        field.problem(&format!("found {} labels, expected {expected}", entries.len()), problems);
        return None;
    }
    let mut labels = BTreeMap::new();
    for (key, at, node) in entries {
        let value = field.entry(key, node);
        let text = value.text("the text of a label", problems)?;
        if key.is_empty() || key.len() > MAX_LABEL_BYTES || text.len() > MAX_LABEL_BYTES {
            problems.add(at, format!("{}found the label {}, expected {expected}", field.what, quoted(key)));
            return None;
        }
        labels.insert(key.to_owned(), text.to_owned());
    }
    Some(labels)
}
