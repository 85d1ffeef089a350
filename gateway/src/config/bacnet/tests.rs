use super::super::{Config, read_for_test};
use super::*;
use crate::profile::Profile;

const LINK: &str = "bms: { bacnet: 10.0.0.5:47808 }";

fn read(links: &str, devices: &[&str]) -> Result<Config, String> {
    read_with("", links, devices)
}

/// With more keys of the one point of the profile.
fn read_with(more: &str, links: &str, devices: &[&str]) -> Result<Config, String> {
    let point = format!("{{ name: t, read: {{ object: analog-input, instance: 1{more} }} }}");
    let profile = format!("schema: 1\nid: ahu\nmanufacturer: X\nmodel: X\npoints:\n  - {point}\n");
    let profile = Profile::read("ahu.yaml".as_ref(), profile.as_bytes()).unwrap();
    let devices: String = devices.iter().enumerate().map(|(n, own)| format!("  - {{ name: d{n}, profile: ahu, {own} }}\n")).collect();
    let text = format!(
        "gateway: g1\nuplink: {{ url: mqtt://localhost }}\nlinks:\n  {links}\n  plc: {{ tcp: 127.0.0.1:502 }}\ndevices:\n{devices}"
    );
    let (config, problems) = read_for_test(&text, profile);
    match problems.first() {
        None => Ok(config.unwrap()),
        Some(problem) => Err(problem.message.clone()),
    }
}

fn bacnet(config: &Config) -> &Bacnet {
    match &config.links[0].transport {
        Transport::Bacnet(bacnet) => bacnet,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_link_and_its_devices_are_read_with_their_defaults() {
    let config = read(LINK, &["link: bms, bacnet: { device: 3001 }"]).unwrap();
    let expected = Bacnet { peers: [(DeviceIndex(0), BacnetPeer::of(3_001))].into(), ..Bacnet::at("10.0.0.5:47808".parse().unwrap()) };
    assert_eq!(bacnet(&config), &expected);
}

#[test]
fn all_keys_are_read() {
    let link =
        "bms: { bacnet: 0.0.0.0:0, broadcast: 10.0.0.255:47809, foreign: { bbmd: 10.1.0.1:47808, ttl: 5m }, timeout: 1s, retries: 0 }";
    let routed = "device: 3001, address: 10.0.0.7:47808, network: 5, mac: 1A0b, priority: 1, any_priority: true, hold: 30m, cov_lifetime: 10m, cov_confirmed: true";
    let config = read(link, &[&format!("link: bms, bacnet: {{ {routed} }}"), "link: bms, bacnet: { device: 3002 }"]).unwrap();
    let link = bacnet(&config);
    assert_eq!((link.timeout, link.retries), (Duration::from_secs(1), 0));
    let foreign = Foreign { bbmd: "10.1.0.1:47808".parse().unwrap(), ttl: Duration::from_secs(300) };
    assert_eq!((link.foreign, link.broadcast), (Some(foreign), "10.0.0.255:47809".parse().unwrap()));
    let first = BacnetPeer {
        device: 3_001,
        address: Some("10.0.0.7:47808".parse().unwrap()),
        station: Some((5, vec![0x1A, 0x0B])),
        priority: 1,
        hold: Some(Duration::from_secs(1_800)),
        cov_lifetime: Duration::from_secs(600),
        cov_confirmed: true,
    };
    assert_eq!(link.peers, [(DeviceIndex(0), first), (DeviceIndex(1), BacnetPeer::of(3_002))].into());
}

#[test]
fn a_device_that_only_its_address_names_is_asked_as_any() {
    let config = read(LINK, &["link: bms, bacnet: { address: 10.0.0.7:47808 }", "link: bms, bacnet: { address: 10.0.0.8:47808 }"]).unwrap();
    let peers: Vec<_> = bacnet(&config).peers.values().collect();
    assert!(peers.iter().all(|peer| !peer.is_said() && peer.instance() == 4_194_303), "{peers:?}");
    assert_ne!(peers[0].device, peers[1].device, "they are told apart");
    let told = read_with(", cov: true", LINK, &["link: bms, bacnet: { address: 10.0.0.7:47808 }"]).unwrap_err();
    assert!(told.contains("`device` is missing, expected its instance"), "{told}");
    assert!(read_with(", cov: true", LINK, &["link: bms, bacnet: { device: 1, address: 10.0.0.7:47808 }"]).is_ok());
}

/// A silent device must not delay the others: each has a task of its own.
#[test]
fn each_device_is_a_part_of_its_link() {
    let config = read(LINK, &["link: bms, bacnet: { device: 1 }", "link: bms, bacnet: { device: 2 }"]).unwrap();
    let parts = config.links[0].parts();
    assert_eq!(parts.iter().map(|part| part.devices.clone()).collect::<Vec<_>>(), [[DeviceIndex(0)], [DeviceIndex(1)]]);
    for part in parts {
        let Transport::Bacnet(bacnet) = part.transport else { panic!() };
        assert_eq!(bacnet.peers.keys().copied().collect::<Vec<_>>(), part.devices, "and knows no others");
    }
}

#[test]
fn what_is_wrong_is_told() {
    for (link, device, words) in [
        ("bms: { bacnet: 10.0.0.5 }", "", "such as 10.0.0.5:47808"),
        ("bms: { bacnet: \"[::1]:47808\" }", "", "such as 10.0.0.5:47808"),
        ("bms: { bacnet: 10.0.0.5:47808, tcp: 10.0.0.5:502 }", "", "found `tcp` and `bacnet`"),
        ("bms: { bacnet: 10.0.0.5:47808, connections: 2 }", "", "found without `tcp` or `tls`"),
        ("bms: { tcp: 10.0.0.5:502, retries: 2 }", "", "found without `bacnet`"),
        ("bms: { bacnet: 10.0.0.5:47808, retries: 11 }", "", "from 0 to 10"),
        ("bms: { bacnet: 10.0.0.5:47808, foreign: { bbmd: 10.1.0.1:47808, ttl: 10s } }", "", "from 30s to 18h"),
        ("bms: { bacnet: 10.0.0.5:47808, foreign: { bbmd: 10.1.0.1:0, ttl: 60s } }", "", "of the BBMD"),
        (LINK, "link: bms", "`bacnet` is missing"),
        (LINK, "link: bms, bacnet: { priority: 9 }", "`device` is missing, expected the instance of the device, or its `address`"),
        (LINK, "link: bms, unit: 3, bacnet: { device: 1 }", "no unit"),
        (LINK, "link: plc, bacnet: { device: 1 }", "found `plc`, expected the link to a BACnet device"),
        (LINK, "bacnet: { device: 1 }", "`link` is missing"),
        (LINK, "link: bms, bacnet: { device: 4194303 }", "from 0 to 4194302"),
        (LINK, "link: bms, bacnet: { device: 1, address: ahu.local }", "such as 10.0.0.7:47808"),
        (LINK, "link: bms, bacnet: { device: 1, network: 5 }", "network and mac go together"),
        (LINK, "link: bms, bacnet: { device: 1, network: 5, mac: 1A }", "expected the `address` of the router"),
        (LINK, "link: bms, bacnet: { device: 1, address: 10.0.0.7:47808, network: 5, mac: 1 }", "in hexadecimal"),
        (LINK, "link: bms, bacnet: { device: 1, address: 10.0.0.7:47808, network: 65535, mac: 1A }", "from 1 to 65534"),
        (LINK, "link: bms, bacnet: { device: 1, priority: 7 }", "8 to 16: stronger ones are for safety"),
        (LINK, "link: bms, bacnet: { device: 1, priority: 6, any_priority: true }", "6 belongs to"),
        (LINK, "link: bms, bacnet: { device: 1, priority: 17 }", "from 1 to 16"),
        (LINK, "link: bms, bacnet: { device: 1, hold: 1ms }", "from 1000ms to 7d"),
    ] {
        let found = read(link, &[device]).expect_err(device);
        assert!(found.contains(words), "{link} {device}: {found}");
    }
    let twice = read(LINK, &["link: bms, bacnet: { device: 1 }", "link: bms, bacnet: { device: 1 }"]).unwrap_err();
    assert!(twice.contains("another device of this link has the same instance"), "{twice}");
}
