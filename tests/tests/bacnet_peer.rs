//! The BACnet peer itself: what it is told to hold is what it says that it holds.

use std::net::UdpSocket;
use std::time::Duration;

use anyhow::Result;
use pattoo_tests::bacpypes::{BacpypesClient, BacpypesDevice};
use serde_json::json;

#[test]
fn the_peer_holds_what_it_is_told_and_answers_a_who_is() -> Result<()> {
    let device = BacpypesDevice::start(&json!({
        "device": { "instance": 1001 },
        "objects": [
            { "object": "analog-input", "instance": 1, "present-value": 20.5, "units": "degrees-celsius" },
            { "object": "characterstring-value", "instance": 1, "present-value": { "latin-1": "Zähler" } },
        ],
        "many": 600,
    }))?;
    assert_eq!(device.get("analog-input", 1, "present-value")?, json!(20.5));
    device.set("analog-input", 1, "present-value", &json!(21.25))?;
    device.set("analog-input", 1, "status-flags", &json!([0, 1, 0, 0]))?;
    device.ask("restart")?;
    assert_eq!(device.get("analog-input", 1, "present-value")?, json!(21.25));
    assert_eq!(device.get("analog-input", 1, "status-flags")?, json!([0, 1, 0, 0]));
    assert_eq!(device.get("characterstring-value", 1, "present-value")?, json!("Zähler"));
    assert_eq!(device.get("device", 1001, "object-list")?.as_array().map(Vec::len), Some(604));
    assert!(device.get("analog-input", 2, "present-value").is_err());

    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.set_broadcast(true)?;
    socket.set_read_timeout(Some(Duration::from_secs(20)))?;
    // Annex J: original broadcast of a Who-Is without limits.
    socket.send_to(&[0x81, 0x0B, 0x00, 0x08, 0x01, 0x00, 0x10, 0x08], device.broadcast())?;
    let mut answer = [0; 64];
    let (length, from) = socket.recv_from(&mut answer)?;
    assert_eq!(from, device.address.into());
    // An I-Am of device 1001.
    let i_am = [0x10, 0x00, 0xC4, 0x02, 0x00, 0x03, 0xE9];
    assert!(answer[..length].windows(i_am.len()).any(|window| window == i_am), "{:02X?}", &answer[..length]);
    Ok(())
}

#[test]
fn both_peers_agree() -> Result<()> {
    let device = BacpypesDevice::start(&json!({
        "device": { "instance": 17 },
        "objects": [
            { "object": "analog-value", "instance": 1, "present-value": 20.5, "commandable": true, "cov-increment": 0.5 },
            { "object": "multi-state-value", "instance": 1, "present-value": 2 },
        ],
        "behind": { "network": 5, "mac": 26 },
        "refuse": { "ReadPropertyMultiple": "reject" },
    }))?;
    let client = BacpypesClient::start(&format!("5:0x1a@{}", device.address))?;
    assert_eq!(client.ask("read analog-value 1 present-value")?, json!(20.5));
    assert_eq!(client.ask("write analog-value 1 25.5 8")?, json!(true));
    assert_eq!(device.get("analog-value", 1, "present-value")?, json!(25.5));
    assert_eq!(client.ask("write analog-value 1 null 8")?, json!(true));
    assert_eq!(device.get("analog-value", 1, "present-value")?, json!(20.5));
    assert_eq!(client.ask("read-multiple analog-value 1 present-value units")?, json!({ "refused": "unrecognized-service" }));
    for (object, confirmed) in [("analog-value", true), ("multi-state-value", false)] {
        assert_eq!(client.ask(&format!("subscribe {object} 1 {confirmed} 60"))?, json!(true));
        client.told_more_than(0, object, 1)?;
        device.set(object, 1, "present-value", &json!(3))?;
        assert_eq!(client.told_more_than(1, object, 1)?[1][0].as_f64(), Some(3.0));
    }
    assert_eq!(device.ask("requests")?["SubscribeCOV"], json!(2));
    Ok(())
}
