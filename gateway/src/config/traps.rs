//! The block `traps`: where notifications of SNMP agents are listened for, and whose. Opens no port.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use super::read::{Files, Links};
use super::snmp::{self, Secret, User};
use super::{Buffer, Device, Transport};
use crate::reading::DeviceIndex;
use crate::yaml::{Field, Fields, Problems, did_you_mean, quoted};

/// Default of `listen`.
const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 162);
/// Name of the link.
pub(super) const TRAPS_LINK: &str = "traps";
/// The file with the number of starts, beside the folder of the buffer.
const BOOTS_FILE: &str = "snmp-engine-boots";
/// Most communities, and users.
const MAX_WHO: usize = 64;
/// Most entries of `sources`.
const MAX_SOURCES: usize = 1_000;
/// Length of the id of an engine in bytes (RFC 3411, 5).
const ENGINE_BYTES: std::ops::RangeInclusive<usize> = 5..=32;
/// The enterprise in the engine's own id: the one for examples (RFC 5612), as this program has none.
const ENTERPRISE: u32 = 0x8000_0000 | 32_473;
/// What follows is a text (RFC 3411, 5), of at most so many bytes.
const TEXT_FORMAT: u8 = 4;
const MAX_ENGINE_TEXT: usize = 27;

const KEYS: &[&str] = &["listen", "communities", "users", "secrets", "engine_id", "sources"];
const USER_KEYS: &[&str] = &["user", "auth", "priv", "key_extension", "secrets"];

/// Where notifications are listened for, and whose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Traps {
    /// Address and port.
    pub listen: SocketAddr,
    /// Communities of v1 and v2c; none: they are not listened to.
    pub communities: Vec<Secret>,
    /// Users of v3; none: it is not listened to.
    pub users: Vec<User>,
    /// Id of the engine that informs are sent to.
    pub engine_id: Vec<u8>,
    /// The file with the number of its starts.
    pub boots: PathBuf,
    /// Devices by the id of the engine that their notifications come from.
    pub engines: BTreeMap<Vec<u8>, Vec<DeviceIndex>>,
    /// Devices by the address that their notifications come from, where it is not that of their agent.
    pub addresses: BTreeMap<IpAddr, Vec<DeviceIndex>>,
}

/// Adds the link that hears notifications, if there is to be one.
pub(super) fn link(
    top: &Fields<'_>,
    (gateway, buffer, devices): (&str, &Buffer, &[Device]),
    links: &mut Links,
    files: Files<'_>,
    problems: &mut Problems<'_>,
) {
    let Some(field) = top.optional(TRAPS_LINK) else { return };
    if links.good.iter().any(|link| link.name == TRAPS_LINK) {
        field.problem("a link has this name, expected another name for it", problems);
        return;
    }
    let before = problems.count();
    let Some(mut traps) = traps(&field, gateway, devices, files, problems) else { return };
    traps.boots = buffer.path.with_file_name(BOOTS_FILE);
    if problems.count() == before {
        links.add(TRAPS_LINK.to_owned(), Transport::SnmpTraps(Box::new(traps)));
    }
}

fn traps(field: &Field<'_>, gateway: &str, devices: &[Device], files: Files<'_>, problems: &mut Problems<'_>) -> Option<Traps> {
    let fields = Fields::read(field.node, TRAPS_LINK, KEYS, problems)?;
    let listen = match fields.optional("listen") {
        Some(field) => address(&field, problems)?,
        None => LISTEN,
    };
    let engine_id = match fields.optional("engine_id") {
        Some(field) => engine_of(&field, problems)?,
        None => own_engine(gateway),
    };
    let mut communities = match fields.optional("communities") {
        Some(field) => snmp::communities(&field, MAX_WHO, problems)?,
        None => Vec::new(),
    };
    if let Some(field) = fields.optional("secrets") {
        communities.extend(snmp::secret_communities(&field, MAX_WHO, files, problems)?);
    }
    let users = match fields.optional("users") {
        Some(field) => users(&field, files, problems)?,
        None => Vec::new(),
    };
    if communities.is_empty() && users.is_empty() {
        field.problem("found nobody to listen to, expected communities, users or both", problems);
        return None;
    }
    let (mut engines, mut addresses) = (BTreeMap::new(), BTreeMap::new());
    if let Some(field) = fields.optional("sources") {
        sources(&field, devices, &mut engines, &mut addresses, problems)?;
    }
    Some(Traps { listen, communities, users, engine_id, boots: PathBuf::new(), engines, addresses })
}

fn address(field: &Field<'_>, problems: &mut Problems<'_>) -> Option<SocketAddr> {
    let expected = "an address of this machine and a port, such as 0.0.0.0:162 or [::]:162";
    let address = field.text(expected, problems)?.parse().ok();
    if address.is_none() {
        field.wrong(expected, problems);
    }
    address
}

fn users(field: &Field<'_>, files: Files<'_>, problems: &mut Problems<'_>) -> Option<Vec<User>> {
    let expected = "a list of users, such as - { user: mon, auth: sha256, priv: aes128, secrets: /etc/pattoo/mon.secret }";
    let items = field.list(expected, problems)?;
    if items.len() > MAX_WHO {
        field.problem(&format!("found {} users, at most {MAX_WHO} are listened to", items.len()), problems);
        return None;
    }
    let mut users: Vec<User> = Vec::new();
    for item in items {
        let fields = Fields::read(item, "traps, users", USER_KEYS, problems)?;
        let user = snmp::user_with_secrets(&fields, files, problems)?;
        if users.iter().any(|other| other.name == user.name) {
            problems.add(item.at, format!("traps, users: the user {} is there twice", quoted(&user.name)));
            return None;
        }
        users.push(user);
    }
    Some(users)
}

/// `{ 10.0.0.9: switch-3, 80001f8880e9630000d61ff449: switch-4 }`.
fn sources(
    field: &Field<'_>,
    devices: &[Device],
    engines: &mut BTreeMap<Vec<u8>, Vec<DeviceIndex>>,
    addresses: &mut BTreeMap<IpAddr, Vec<DeviceIndex>>,
    problems: &mut Problems<'_>,
) -> Option<()> {
    let expected = "a mapping of addresses or ids of engines to devices, such as { 10.0.0.9: switch-3 }";
    let entries = field.entries(expected, problems)?;
    if entries.len() > MAX_SOURCES {
        field.problem(&format!("found {} entries, expected at most {MAX_SOURCES}", entries.len()), problems);
        return None;
    }
    for (key, at, node) in entries {
        let value = field.entry(key, node);
        let name = value.text("the name of a device", problems)?;
        let Some(index) = devices.iter().position(|device| device.name == name) else {
            let hint = did_you_mean(name, devices.iter().map(|device| device.name.as_str()));
            value.problem(&format!("there is no device {}{hint}", quoted(name)), problems);
            return None;
        };
        let index = vec![DeviceIndex(index)];
        if let Ok(address) = key.parse::<IpAddr>() {
            addresses.insert(address.to_canonical(), index);
        } else if let Some(engine) = hex(key) {
            engines.insert(engine, index);
        } else {
            problems.add(at, format!("{}found {}, expected {expected}", field.what, quoted(key)));
            return None;
        }
    }
    Some(())
}

fn engine_of(field: &Field<'_>, problems: &mut Problems<'_>) -> Option<Vec<u8>> {
    let expected = "5 to 32 bytes in hexadecimal, such as 80007ed904706c616e74";
    let engine = hex(field.text(expected, problems)?);
    if engine.is_none() {
        field.wrong(expected, problems);
    }
    engine
}

/// Bytes of the length that the id of an engine has.
fn hex(text: &str) -> Option<Vec<u8>> {
    let text = text.strip_prefix("0x").unwrap_or(text);
    let digits = text.is_ascii() && text.len().is_multiple_of(2);
    let pair = |at: usize| u8::from_str_radix(text.get(at..at + 2)?, 16).ok();
    let bytes: Option<Vec<u8>> = if digits { (0..text.len()).step_by(2).map(pair).collect() } else { None };
    bytes.filter(|bytes| ENGINE_BYTES.contains(&bytes.len()))
}

/// The same for the same gateway, whatever becomes of its files: agents keep it.
fn own_engine(gateway: &str) -> Vec<u8> {
    let text = gateway.as_bytes();
    let text = text.get(..text.len().min(MAX_ENGINE_TEXT)).unwrap_or_default();
    [&ENTERPRISE.to_be_bytes(), &[TEXT_FORMAT][..], text].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, read_for_test};
    use crate::profile::Profile;

    fn read(traps: &str) -> (Option<Config>, String) {
        let profile = "schema: 1\nid: m\nmanufacturer: x\nmodel: x\npoints: [{ name: event, read: { trap: any } }]\n";
        let profile = Profile::read("m.yaml".as_ref(), profile.as_bytes()).unwrap();
        let text = format!(
            "gateway: plant7\nuplink: {{ url: 'mqtt://127.0.0.1' }}\nbuffer: {{ path: /var/lib/pattoo/buffer }}\ntraps: {traps}\ndevices:\n  - {{ name: a, profile: m, snmp: {{ host: 10.0.0.9, community: public }} }}\n"
        );
        let (config, problems) = read_for_test(&text, profile);
        (config, problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    }

    #[test]
    fn a_good_section_is_a_link_without_devices() {
        let (config, problems) = read("{ communities: [ops], users: [{ user: open }], sources: { 10.0.0.1: a, 0x800000000102: a } }");
        let config = config.unwrap();
        assert_eq!(problems, "");
        let link = config.links.iter().find(|link| link.name == "traps").unwrap();
        let Transport::SnmpTraps(traps) = &link.transport else { panic!("{:?}", link.transport) };
        assert!(link.devices.is_empty());
        assert_eq!((traps.listen, traps.boots.as_path()), (LISTEN, std::path::Path::new("/var/lib/pattoo/snmp-engine-boots")));
        assert_eq!(traps.engine_id, b"\x80\0\x7e\xd9\x04plant7");
        assert_eq!(traps.engines, BTreeMap::from([(vec![0x80, 0, 0, 0, 1, 2], vec![DeviceIndex(0)])]));
        assert_eq!(traps.addresses, BTreeMap::from([("10.0.0.1".parse().unwrap(), vec![DeviceIndex(0)])]));
    }

    #[test]
    fn a_wrong_section_is_refused_with_its_place_and_costs_only_itself() {
        for (traps, says) in [
            ("{}", "gateway.yaml:4:8: traps: found nobody to listen to"),
            ("{ communities: [] }", "found nobody to listen to"),
            ("{ listen: 162, communities: [ops] }", "found `162`, expected an address of this machine and a port"),
            ("{ listn: x }", "did you mean `listen`"),
            ("{ users: [{ user: a }, { user: a }] }", "the user `a` is there twice"),
            ("{ users: [{ user: a, auth: sha256 }] }", "has no password: expected it in the file of `secrets`"),
            ("{ secrets: /none }", "no files in this test"),
            ("{ communities: [ops], engine_id: 80001 }", "expected 5 to 32 bytes in hexadecimal"),
            ("{ communities: [ops], engine_id: é0001f8880 }", "expected 5 to 32 bytes in hexadecimal"),
            ("{ communities: [ops], sources: { 10.0.0.1: b } }", "there is no device `b`"),
            ("{ communities: [ops], sources: { switch: a } }", "found `switch`, expected a mapping of addresses or ids of engines"),
        ] {
            let (config, problems) = read(traps);
            assert!(problems.contains(says), "{traps}: {problems}");
            let config = config.unwrap();
            assert!(config.devices.len() == 1 && config.links.iter().all(|link| link.name != "traps"), "{traps}");
        }
    }
}
