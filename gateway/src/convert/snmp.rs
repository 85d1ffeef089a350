//! `pattoo_agent_snmpd` and `pattoo_agent_snmp_ifmibd`: OIDs to be walked, and who may ask. Pure. Passwords and communities go to files of
//! secrets, and into no message.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::json;

use super::group::{Group, OldPoint, fields, groups, interval_s, points, whole};
use super::old::{Agent, Section};
use super::plan::{Plan, Point, Reads, Target, Way};
use super::text::plain;
use crate::config::Profiles;
use crate::config::snmp::PORT;
use crate::profile::Read;
use crate::profile::snmp::{Oid, Syntax, dotted};
use crate::yaml::{Field, Problems, Tree, quoted};

/// The profile of what the other agent walked.
const IF_MIB: &str = "if-mib";
/// Longest name of a point, in bytes.
const MAX_NAME_BYTES: usize = 64;
const AUTH_KEYS: &[&str] = &[
    "snmp_version",
    "snmp_community",
    "snmp_port",
    "snmp_secname",
    "snmp_authprotocol",
    "snmp_authpassword",
    "snmp_privprotocol",
    "snmp_privpassword",
];
const AUTH: &[(&str, &str)] = &[("MD5", "md5"), ("SHA", "sha1"), ("SHA1", "sha1")];
const PRIVACY: &[(&str, &str)] = &[("DES", "des"), ("AES", "aes128"), ("AES128", "aes128")];

pub(super) fn read(section: &Section<'_>, file: &Path, plan: &mut Plan<'_>, problems: &mut Problems<'_>) {
    let Some(section_fields) = fields(section, &["auth_groups"], problems) else { return };
    let every_s = interval_s(&section_fields, problems);
    // As in the old agent, the last group that names a target counts; none: it is there, but wrong.
    let mut access: BTreeMap<&str, Option<(u16, String)>> = BTreeMap::new();
    for group in groups("auth_groups", &section_fields, AUTH_KEYS, problems) {
        let how = auth(&group, plan, problems);
        access.extend(group.targets.iter().map(|(host, _)| (*host, how.clone())));
    }
    for group in groups("polling_groups", &section_fields, &["oids"], problems) {
        let reads = if section.agent == Agent::IfMib {
            tell_if_mib(&group, section.program, file, plan);
            None
        } else {
            let Some(objects) = objects(&group, section.program, file, plan, problems) else { continue };
            Some(objects)
        };
        for (host, at) in &group.targets {
            let (port, how) = match access.get(host) {
                Some(Some(access)) => access,
                Some(None) => continue,
                None => {
                    problems.add(*at, format!("no auth group names {host}: it is left out, as the old agent did"));
                    continue;
                }
            };
            let name = if host.contains(':') { format!("[{host}]") } else { (*host).to_owned() };
            let endpoint = if *port == PORT { name } else { format!("{name}:{port}") };
            let way = Way::Snmp(format!("host: {}, {how}", plain(&endpoint)));
            let reads = reads.clone().map_or(Reads::Shipped(IF_MIB), Reads::Points);
            plan.add(*at, Target { host: (*host).to_owned(), way, every_s, groups: vec![group.name.clone()], reads }, problems);
        }
    }
}

/// How the targets of an auth group are asked: the port, and the keys of `snmp` but the host.
fn auth(group: &Group<'_>, plan: &mut Plan<'_>, problems: &mut Problems<'_>) -> Option<(u16, String)> {
    let field = |key: &str| group.fields.optional(key).filter(|field| field.node.tree != Tree::Null);
    let port = match field("snmp_port") {
        Some(field) => u16::try_from(whole(&field, 1, 65_535, "a port", problems)?).ok()?,
        None => PORT,
    };
    let version = match field("snmp_version") {
        Some(field) => whole(&field, 1, 3, "a version of SNMP", problems)?,
        None => 2,
    };
    let file = |plan: &mut Plan<'_>, text: String| json!(plan.secret(&group.name, text).to_string_lossy()).to_string();
    if version < 3 {
        let community = match field("snmp_community") {
            Some(field) => secret(&field, problems)?,
            None => "public".to_owned(),
        };
        let version = if version == 1 { "1" } else { "2c" };
        return Some((port, format!("version: \"{version}\", secrets: {}", file(plan, format!("community: {}\n", json!(community))))));
    }
    let Some(user) = field("snmp_secname") else {
        problems.add(group.at, format!("group {}: `snmp_secname` is missing, expected the name of a user", group.name));
        return None;
    };
    let mut how = format!("version: \"3\", user: {}", plain(user.text("the name of a user", problems)?));
    let mut secrets = String::new();
    for (key, protocol, password, names) in
        [("auth", "snmp_authprotocol", "snmp_authpassword", AUTH), ("priv", "snmp_privprotocol", "snmp_privpassword", PRIVACY)]
    {
        match (field(protocol), field(password)) {
            (None, None) => {}
            (Some(protocol), Some(password)) => {
                let (found, password) = (name_of(&protocol, names, problems)?, secret(&password, problems)?);
                how += &format!(", {key}: {found}");
                secrets += &format!("{key}: {}\n", json!(password));
            }
            (Some(alone), None) | (None, Some(alone)) => {
                alone.problem(&format!("expected {protocol} and {password} together, or none of them"), problems);
                return None;
            }
        }
    }
    if !secrets.is_empty() {
        how += &format!(", secrets: {}", file(plan, secrets));
    }
    Some((port, how))
}

/// Messages never show what a secret is.
fn secret(field: &Field<'_>, problems: &mut Problems<'_>) -> Option<String> {
    match &field.node.tree {
        Tree::Scalar(text) if !text.is_empty() => Some(text.clone()),
        _ => {
            field.problem("found no text, expected a community or password", problems);
            None
        }
    }
}

fn name_of(field: &Field<'_>, names: &[(&str, &'static str)], problems: &mut Problems<'_>) -> Option<&'static str> {
    let all = names.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    let text = field.text(&all, problems)?.to_uppercase();
    let found = names.iter().find(|(name, _)| *name == text).map(|(_, own)| *own);
    if found.is_none() {
        field.wrong(&format!("one of {all}"), problems);
    }
    found
}

fn tell_if_mib(group: &Group<'_>, program: &str, file: &Path, plan: &mut Plan<'_>) {
    let message = format!(
        "series {program}_ifhcinoctets and the like are the points of the profile {IF_MIB}, such as if_in_octets, by the name of the interface: octets \
         are bytes and not bits, ports that are down are read too; oids were not looked at by the old agent either"
    );
    plan.change(file, group.at, message);
}

/// The points of a group; none where it has none that is good.
fn objects(group: &Group<'_>, program: &str, file: &Path, plan: &mut Plan<'_>, problems: &mut Problems<'_>) -> Option<Vec<Point>> {
    let field = group.fields.required("oids", "a list such as - address: .1.3.6.1.2.1.2.2.1.10", problems)?;
    let mut objects: Vec<Point> = Vec::new();
    for old in points(&field, problems) {
        let Some(point) = object(&old, file, plan, problems) else { continue };
        if !objects.contains(&point) {
            objects.push(point);
        }
    }
    if objects.is_empty() {
        return None;
    }
    let message =
        format!("series {program}_.1.3.6… are points oid_1_3_6…, a row for each instance with its index in place of the metadata oid");
    plan.change(file, group.at, message);
    Some(objects)
}

fn object(old: &OldPoint<'_>, file: &Path, plan: &mut Plan<'_>, problems: &mut Problems<'_>) -> Option<Point> {
    let expected = "an OID in numbers, such as .1.3.6.1.2.1.2.2.1.10";
    let text = old.address.text(expected, problems)?;
    let Some(oid) = text.trim_start_matches('.').parse::<Oid>().ok() else {
        old.address.wrong(expected, problems);
        return None;
    };
    let instance = oid.with(&[0]).filter(|instance| known(plan.known, instance).is_some_and(|known| !known.is_column));
    let is_alone = oid.parts().last() == Some(&0) || instance.is_some();
    let at = instance.unwrap_or_else(|| oid.clone());
    let known = known(plan.known, &at).filter(|known| known.is_column != is_alone);
    let syntax = match known.as_ref().map(|known| known.syntax) {
        // The old agent told hundredths of a second as they are.
        Some(Syntax::Ticks) => Syntax::Unsigned,
        other => other.unwrap_or(Syntax::Float),
    };
    if let (true, Some(_)) = (syntax.is_text(), &old.multiplier) {
        old.address.problem(&format!("{} is a text, and has no multiplier", quoted(text)), problems);
        return None;
    }
    if known.is_none() {
        let message =
            format!("{oid}: no profile tells its type, it is read as a number; where it counts, give it type: counter64 and kind: counter");
        plan.change(file, old.address.node.at, message);
    }
    let name = format!("oid_{}", dotted(oid.parts()).replace('.', "_"));
    let name = if name.len() > MAX_NAME_BYTES { format!("oid_{:08x}", crc32fast::hash(name.as_bytes())) } else { name };
    let kind = syntax.counter_bits().map(|_| "counter");
    let syntax = Syntax::NAMES.iter().find(|(_, own)| *own == syntax).map_or("float", |(name, _)| *name);
    let scale = old.multiplier.as_ref().map(|multiplier| format!(", scale: {multiplier}")).unwrap_or_default();
    let table = (!is_alone).then(|| dotted(oid.parts().split_last().map_or(&[], |(_, parent)| parent)));
    let place = match &table {
        Some(table) => format!("table: {}, column: {}", json!(table), dotted(at.parts())),
        None => format!("oid: {}", dotted(at.parts())),
    };
    let read = format!("{place}, type: {syntax}{scale}");
    Some(Point { name, kind, read, table, about: known.map(|known| known.about) })
}

/// What a profile says of an object.
struct Known {
    is_column: bool,
    syntax: Syntax,
    about: String,
}

fn known(profiles: &Profiles, oid: &Oid) -> Option<Known> {
    let points = profiles.values().flat_map(|profile| profile.points.iter().map(move |point| (profile, point)));
    let reads = points.filter_map(|(profile, point)| match &point.read {
        Read::Snmp(read) => Some((profile, point, read)),
        _ => None,
    });
    reads.flat_map(|(profile, point, read)| read.sources.iter().map(move |source| (profile, point, read, source))).find_map(
        |(profile, point, read, source)| {
            let about = format!("{} of {}", point.name, profile.id);
            (source.oid == *oid).then(|| Known { is_column: read.table.is_some(), syntax: source.how.syntax, about })
        },
    )
}
