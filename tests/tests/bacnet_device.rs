//! The BACnet driver against devices of bacpypes3.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use pattoo_gateway::command::Write;
use pattoo_gateway::config::{
    BATCH_EVERY, Bacnet as Settings, BacnetPeer, Batching, Buffer, Clock, Commands, Config, Device, Foreign, Uplink,
};
use pattoo_gateway::driver::bacnet::Bacnet;
use pattoo_gateway::driver::{Driver as _, Heard, wall_clock};
use pattoo_gateway::profile::Profile;
use pattoo_gateway::reading::{DeviceIndex, PointIndex};
use pattoo_gateway::timebase::Trust;
use pattoo_tests::bacpypes::BacpypesDevice;
use pattoo_tests::udp_link::{Faults, UdpLink};
use pattoo_wire::{Decimal, Outcome, Reason, Sample, Value};
use serde_json::{Value as Json, json};
use tokio::time::timeout;

const INSTANCE: u32 = 1001;
const AT: DeviceIndex = DeviceIndex(0);
/// For what comes by itself, on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A driver with one device.
struct Site {
    config: Config,
    driver: Bacnet,
}

impl Site {
    fn new(points: &str, peer: BacnetPeer, change: impl FnOnce(&mut Settings)) -> Result<Self> {
        let text = format!("schema: 1\nid: x\nmanufacturer: x\nmodel: x\npoints:\n{points}");
        let profile = Profile::read("x.yaml".as_ref(), text.as_bytes()).map_err(|problems| anyhow::anyhow!("{problems:?}"))?;
        let mut settings = Settings::at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        settings.timeout = Duration::from_secs(3);
        settings.peers.insert(AT, peer);
        change(&mut settings);
        let driver = Bacnet::on(&settings, wall_clock());
        let every = Duration::from_secs(10);
        let device = Device { name: "ahu".into(), profile: Arc::new(profile), unit: 0, every, labels: BTreeMap::default() };
        let config = Config {
            gateway: "g".into(),
            uplink: Uplink::to("mqtt://localhost".into()),
            buffer: Buffer::default(),
            batch: Batching { every: BATCH_EVERY },
            clock: Clock { trust: Trust::Auto, ntp_file: "/none".into() },
            commands: Commands::default(),
            links: Vec::new(),
            devices: vec![device],
        };
        Ok(Self { config, driver })
    }

    fn to(device: &BacpypesDevice, points: &str) -> Result<Self> {
        Self::new(points, at(device), |_| {})
    }

    /// Reads all points; samples and units by name.
    async fn read(&mut self) -> BTreeMap<String, (Sample, Option<String>)> {
        let device = &self.config.devices[0];
        let points: Vec<_> = (0..device.profile.points.len()).map(PointIndex).collect();
        let transactions = self.driver.read(AT, device, &points).await;
        let readings = transactions.into_iter().flat_map(|transaction| transaction.readings);
        let named = readings.map(|reading| {
            let unit = reading.row.and_then(|row| row.unit.clone());
            (device.profile.points[reading.point.0].name.clone(), (reading.sample, unit))
        });
        named.collect()
    }

    async fn samples(&mut self) -> BTreeMap<String, Sample> {
        self.read().await.into_iter().map(|(name, (sample, _))| (name, sample)).collect()
    }

    /// What comes by itself next.
    async fn hear(&mut self) -> Result<Heard> {
        timeout(PATIENCE, self.driver.hear(&self.config)).await.context("nothing came by itself")
    }

    /// Waits until a notification gives this.
    async fn hear_sample(&mut self, expected: &Sample) -> Result<()> {
        for _ in 0..50 {
            let heard = self.hear().await?;
            if heard.transactions.iter().flat_map(|transaction| &transaction.readings).any(|reading| reading.sample == *expected) {
                return Ok(());
            }
        }
        anyhow::bail!("{expected:?} did not come")
    }

    async fn write(&mut self, value: Value) -> pattoo_gateway::command::Written {
        let write = Write { point: PointIndex(0), value, expected: None, read_modify_write: false };
        self.driver.write(AT, &self.config.devices[0], &write).await
    }

    fn misses(&self) -> BTreeMap<&'static str, u64> {
        self.driver.waiting(&self.config.devices[0]).misses
    }
}

fn at(device: &BacpypesDevice) -> BacnetPeer {
    BacnetPeer { address: Some(device.address.into()), ..BacnetPeer::of(INSTANCE) }
}

fn f32(value: f32) -> Sample {
    Sample::Good(Value::F32(value))
}

fn decimal(mantissa: i64, exponent: i8) -> Sample {
    Sample::Good(Value::Decimal(Decimal { mantissa, exponent }))
}

fn objects() -> Json {
    json!([
        { "object": "analog-input", "instance": 1, "present-value": 20.5, "units": "degrees-celsius", "object-name": "ZN-T" },
        { "object": "analog-input", "instance": 2, "present-value": 68.9, "units": "degrees-fahrenheit" },
        { "object": "analog-input", "instance": 3, "present-value": 1.5, "status-flags": [0, 1, 0, 0], "reliability": "open-loop" },
        { "object": "analog-input", "instance": 4, "present-value": 1.5, "status-flags": [1, 0, 0, 1] },
        { "object": "analog-input", "instance": 5, "present-value": 1.5, "status-flags": [0, 0, 1, 0] },
        { "object": "analog-output", "instance": 1, "present-value": 42.25, "units": "percent" },
        { "object": "analog-value", "instance": 1, "present-value": 21.3, "units": "degrees-celsius", "commandable": true },
        { "object": "large-analog-value", "instance": 1, "present-value": 1234567.891 },
        { "object": "integer-value", "instance": 1, "present-value": -70000 },
        { "object": "positive-integer-value", "instance": 1, "present-value": 70000 },
        { "object": "binary-input", "instance": 1, "present-value": "active" },
        { "object": "binary-output", "instance": 1, "present-value": "inactive" },
        { "object": "multi-state-value", "instance": 1, "present-value": 3, "state-text": ["off", "auto", "on"] },
        { "object": "accumulator", "instance": 1, "present-value": 123456, "units": "kilowatt-hours", "scale": { "scale": 0.5 } },
        { "object": "characterstring-value", "instance": 1, "present-value": "Küche €" },
        { "object": "characterstring-value", "instance": 2, "present-value": { "latin-1": "Kühlung" } },
        { "object": "characterstring-value", "instance": 3, "present-value": { "utf-16": "Zähler" } },
    ])
}

const POINTS: &str = r#"
  - { name: zone, unit: Cel, read: { object: analog-input, instance: 1 } }
  - { name: zone_without_unit, read: { object: analog-input, instance: 2 } }
  - { name: zone_of_other_unit, unit: Cel, read: { object: analog-input, instance: 2 } }
  - { name: faulty, read: { object: analog-input, instance: 3 } }
  - { name: out_of_service, read: { object: analog-input, instance: 4 } }
  - { name: overridden, read: { object: analog-input, instance: 5 } }
  - { name: valve, unit: "%", read: { object: analog-output, instance: 1, decimals: 2 } }
  - { name: setpoint, unit: °C, read: { object: analog-value, instance: 1 } }
  - { name: large, read: { object: large-analog-value, instance: 1 } }
  - { name: integer, read: { object: integer-value, instance: 1 } }
  - { name: positive, read: { object: positive-integer-value, instance: 1 } }
  - { name: fan, read: { object: binary-input, instance: 1 } }
  - { name: command, read: { object: binary-output, instance: 1 } }
  - { name: mode, read: { object: multi-state-value, instance: 1 }, states: { 1: "off", 2: auto, 3: "on" } }
  - { name: energy, unit: kWh, kind: counter, read: { object: accumulator, instance: 1, scale: device } }
  - { name: pulses, kind: counter, read: { object: accumulator, instance: 1 } }
  - { name: utf_8, read: { object: characterstring-value, instance: 1 } }
  - { name: latin_1, read: { object: characterstring-value, instance: 2 } }
  - { name: utf_16, read: { object: characterstring-value, instance: 3 } }
  - { name: by_name, read: { object: analog-input, named: ZN-T } }
  - { name: of_no_name, read: { object: analog-input, named: ZN-TT } }
  - { name: of_no_object, read: { object: analog-input, instance: 99 } }
  - { name: status, read: { object: device, property: system-status, type: enumerated } }
  - { name: called, read: { object: analog-input, instance: 1, property: object-name, type: text } }
"#;

fn expected() -> BTreeMap<String, Sample> {
    let text = |text: &str| Sample::Good(Value::Text(text.into()));
    [
        ("zone", f32(20.5)),
        ("zone_without_unit", f32(68.9)),
        ("zone_of_other_unit", Sample::Bad(Reason::Mismatch)),
        ("faulty", Sample::Bad(Reason::Reliability(4))),
        ("out_of_service", Sample::Uncertain(Value::F32(1.5), Reason::OutOfService)),
        ("overridden", Sample::Uncertain(Value::F32(1.5), Reason::Overridden)),
        ("valve", decimal(4_225, -2)),
        ("setpoint", f32(21.3)),
        ("large", Sample::Good(Value::F64(1_234_567.891))),
        ("integer", decimal(-70_000, 0)),
        ("positive", Sample::Good(Value::Unsigned(70_000))),
        ("fan", Sample::Good(Value::Bool(true))),
        ("command", Sample::Good(Value::Bool(false))),
        ("mode", decimal(3, 0)),
        ("energy", Sample::Good(Value::F64(61_728.0))),
        ("pulses", Sample::Good(Value::Unsigned(123_456))),
        ("utf_8", text("Küche €")),
        ("latin_1", text("Kühlung")),
        ("utf_16", text("Zähler")),
        ("by_name", f32(20.5)),
        ("of_no_name", Sample::Bad(Reason::Bacnet(31))),
        ("of_no_object", Sample::Bad(Reason::Bacnet(31))),
        ("status", decimal(0, 0)),
        ("called", text("ZN-T")),
    ]
    .map(|(name, sample)| (name.to_owned(), sample))
    .into()
}

#[tokio::test]
async fn values_of_all_types_are_what_the_device_holds() -> Result<()> {
    let device = BacpypesDevice::start(&json!({ "device": { "instance": INSTANCE }, "objects": objects() }))?;
    let mut site = Site::to(&device, POINTS)?;
    let found = site.read().await;
    assert_eq!(found.iter().map(|(name, (sample, _))| (name.clone(), sample.clone())).collect::<BTreeMap<_, _>>(), expected());
    assert_eq!(found["zone_without_unit"].1.as_deref(), Some("[degF]"), "the device says it");
    assert_eq!(found["zone"].1, None, "the profile says it");
    assert_eq!(found["pulses"].1.as_deref(), Some("kWh"));
    let asked = device.ask("requests")?["ReadPropertyMultiple"].as_u64();
    site.read().await;
    let again = device.ask("requests")?["ReadPropertyMultiple"].as_u64();
    ensure!(asked < again && again <= asked.map(|asked| asked + 3), "{asked:?}, then {again:?}");
    Ok(())
}

#[tokio::test]
async fn a_device_without_read_property_multiple_gives_the_same_and_is_asked_for_it_once() -> Result<()> {
    let refuse = json!({ "ReadPropertyMultiple": "reject" });
    let device = BacpypesDevice::start(&json!({ "device": { "instance": INSTANCE }, "objects": objects(), "refuse": refuse }))?;
    let mut site = Site::to(&device, POINTS)?;
    assert_eq!(site.samples().await, expected());
    assert_eq!(site.samples().await, expected());
    assert_eq!(device.ask("requests")?["ReadPropertyMultiple"], json!(1));
    Ok(())
}

#[tokio::test]
async fn of_600_objects_each_is_found_by_its_name_in_a_list_of_several_segments() -> Result<()> {
    let device = BacpypesDevice::start(&json!({
        "device": { "instance": INSTANCE },
        "objects": [{ "object": "analog-input", "instance": 1, "present-value": 20.5, "object-name": "ZN-T" }],
        "many": 600,
    }))?;
    let list = device.get("device", INSTANCE, "object-list")?;
    ensure!(list.as_array().is_some_and(|list| list.len() > 600), "{list}");
    let last = device.get("analog-value", 10_599, "object-name")?;
    let value = device.get("analog-value", 10_599, "present-value")?;
    let points = format!(
        "  - {{ name: first, read: {{ object: analog-input, named: ZN-T }} }}\n  - {{ name: last, read: {{ object: analog-value, named: {last} }} }}\n"
    );
    let mut site = Site::to(&device, &points)?;
    let found = site.samples().await;
    assert_eq!(found["first"], f32(20.5));
    assert_eq!(found["last"].value().and_then(Value::to_f64), value.as_f64());
    let asked = device.ask("requests")?;
    ensure!(asked["ReadProperty"].as_u64() <= Some(5), "the list came in one answer: {asked}");
    assert_eq!(site.samples().await["first"], f32(20.5));
    let again = device.ask("requests")?;
    assert_eq!(asked["ReadProperty"], again["ReadProperty"], "and is not asked for again");
    Ok(())
}

const CHANGING: &str = r#"
  - { name: zone, unit: Cel, read: { object: analog-input, instance: 1, cov: true } }
  - { name: fan, read: { object: binary-input, instance: 1, cov: true } }
  - { name: mode, read: { object: multi-state-value, instance: 1, cov: true } }
"#;

#[tokio::test]
async fn changes_are_told_by_the_device_confirmed_or_not_also_after_it_was_restarted() -> Result<()> {
    for confirmed in [false, true] {
        let device = BacpypesDevice::start(&json!({ "device": { "instance": INSTANCE }, "objects": objects() }))?;
        let peer = BacnetPeer { cov_confirmed: confirmed, ..at(&device) };
        let mut site = Site::new(CHANGING, peer, |settings| settings.broadcast = device.broadcast().into())?;
        assert_eq!(site.samples().await.len(), 3, "the first values are polled");
        assert_eq!(device.ask("subscriptions")?.as_array().map(Vec::len), Some(3));
        device.set("analog-input", 1, "present-value", &json!(25.75))?;
        site.hear_sample(&f32(25.75)).await?;
        device.set("binary-input", 1, "present-value", &json!("inactive"))?;
        site.hear_sample(&Sample::Good(Value::Bool(false))).await?;
        device.set("multi-state-value", 1, "present-value", &json!(1))?;
        site.hear_sample(&decimal(1, 0)).await?;
        assert_eq!(site.samples().await, BTreeMap::new(), "nothing to poll while changes are told");
        device.set("analog-input", 1, "status-flags", &json!([0, 0, 0, 1]))?;
        site.hear_sample(&Sample::Uncertain(Value::F32(25.75), Reason::OutOfService)).await?;

        device.ask("restart")?;
        assert_eq!(device.ask("subscriptions")?.as_array().map(Vec::len), Some(0));
        device.ask("i-am")?;
        let all = [0, 1, 2].map(PointIndex).to_vec();
        assert_eq!(site.hear().await?.hasten, [(AT, all)]);
        assert_eq!(site.samples().await.len(), 3, "what it told nobody meanwhile is polled");
        assert_eq!(device.ask("subscriptions")?.as_array().map(Vec::len), Some(3));
        device.set("binary-input", 1, "present-value", &json!("active"))?;
        site.hear_sample(&Sample::Good(Value::Bool(true))).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_device_that_refuses_to_tell_changes_is_polled() -> Result<()> {
    let refuse = json!({ "SubscribeCOV": ["services", "cov-subscription-failed"] });
    let device = BacpypesDevice::start(&json!({ "device": { "instance": INSTANCE }, "objects": objects(), "refuse": refuse }))?;
    let mut site = Site::to(&device, CHANGING)?;
    for value in [20.5, 22.0, 23.5] {
        device.set("analog-input", 1, "present-value", &json!(value))?;
        assert_eq!(site.samples().await["zone"], f32(value));
    }
    assert_eq!(site.misses().get("subscription refused"), Some(&3));
    assert_eq!(device.ask("requests")?["SubscribeCOV"], json!(3), "each is asked for once, and not at each poll");
    Ok(())
}

#[tokio::test]
async fn a_value_is_written_at_its_priority_and_given_back() -> Result<()> {
    let device = BacpypesDevice::start(&json!({ "device": { "instance": INSTANCE }, "objects": objects() }))?;
    let points = "  - { name: setpoint, unit: Cel, read: { object: analog-value, instance: 1 }, writable: { min: 5, max: 30 } }\n";
    let mut site = Site::to(&device, points)?;
    let written = site.write(Value::F32(22.5)).await;
    assert_eq!((written.outcome, written.old, written.value), (Outcome::Done, Some(Value::F32(21.3)), Some(Value::F32(22.5))));
    let array = device.get("analog-value", 1, "priority-array")?;
    ensure!(array[9].to_string().contains("22.5"), "priority 10: {array}");
    assert_eq!(device.get("analog-value", 1, "present-value")?, json!(22.5));
    let back = site.write(Value::Text("relinquish".into())).await;
    assert_eq!((back.outcome, back.value), (Outcome::Done, Some(Value::F32(21.3))), "{}", back.detail);
    Ok(())
}

#[tokio::test]
async fn what_is_held_too_long_is_given_back_by_itself() -> Result<()> {
    let device = BacpypesDevice::start(&json!({ "device": { "instance": INSTANCE }, "objects": objects() }))?;
    let points = "  - { name: setpoint, unit: Cel, read: { object: analog-value, instance: 1 }, writable: { min: 5, max: 30 } }\n";
    let mut site = Site::new(points, BacnetPeer { hold: Some(Duration::from_secs(1)), ..at(&device) }, |_| {})?;
    assert_eq!(site.write(Value::F32(22.5)).await.outcome, Outcome::Done);
    let heard = site.hear().await?;
    assert_eq!(heard.hasten, [(AT, vec![PointIndex(0)])]);
    assert_eq!(device.get("analog-value", 1, "present-value")?.as_f64().map(|value| value as f32), Some(21.3));
    Ok(())
}

#[tokio::test]
async fn a_write_that_the_device_refuses_is_rejected() -> Result<()> {
    let device = BacpypesDevice::start(&json!({
        "device": { "instance": INSTANCE },
        "objects": [{ "object": "analog-value", "instance": 1, "present-value": 20.5, "read-only": true }],
    }))?;
    let points = "  - { name: setpoint, read: { object: analog-value, instance: 1 }, writable: { min: 5, max: 30 } }\n";
    let written = Site::to(&device, points)?.write(Value::F32(22.5)).await;
    assert_eq!((written.outcome, written.old), (Outcome::Rejected, Some(Value::F32(20.5))), "{}", written.detail);
    Ok(())
}

#[tokio::test]
async fn a_device_behind_a_router_is_asked_through_it() -> Result<()> {
    let device = BacpypesDevice::start(&json!({
        "device": { "instance": INSTANCE }, "objects": objects(), "behind": { "network": 5, "mac": 26 },
    }))?;
    let peer = BacnetPeer { station: Some((5, vec![26])), ..at(&device) };
    let mut site = Site::new(POINTS, peer, |_| {})?;
    assert_eq!(site.samples().await, expected());
    Ok(())
}

#[tokio::test]
async fn a_device_without_address_is_found_by_who_is() -> Result<()> {
    let device = BacpypesDevice::start(&json!({ "device": { "instance": INSTANCE }, "objects": objects() }))?;
    let broadcast = device.broadcast();
    let mut site = Site::new(CHANGING, BacnetPeer::of(INSTANCE), |settings| settings.broadcast = broadcast.into())?;
    assert_eq!(site.samples().await["zone"], f32(20.5));
    Ok(())
}

#[tokio::test]
async fn a_foreign_device_finds_others_by_way_of_its_bbmd() -> Result<()> {
    let bbmd = BacpypesDevice::start(&json!({ "device": { "instance": INSTANCE }, "objects": objects(), "bbmd": true }))?;
    let foreign = Foreign { bbmd: bbmd.address.into(), ttl: Duration::from_secs(60) };
    let nowhere = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9);
    let mut site = Site::new(CHANGING, BacnetPeer::of(INSTANCE), |settings| {
        (settings.foreign, settings.broadcast) = (Some(foreign), nowhere.into());
    })?;
    assert_eq!(site.samples().await["zone"], f32(20.5));
    assert_eq!(site.misses().get("registration without answer"), None);
    Ok(())
}

#[tokio::test]
async fn a_bbmd_that_does_not_answer_is_named() -> Result<()> {
    let silent = UdpSocket::bind("127.0.0.1:0")?;
    let foreign = Foreign { bbmd: silent.local_addr()?, ttl: Duration::from_secs(60) };
    let mut site = Site::new(CHANGING, BacnetPeer::of(INSTANCE), |settings| {
        (settings.foreign, settings.timeout) = (Some(foreign), Duration::from_millis(200));
    })?;
    assert_eq!(site.samples().await["zone"], Sample::Bad(Reason::Timeout));
    assert_eq!(site.misses().get("registration without answer"), Some(&1));
    Ok(())
}

#[tokio::test]
async fn another_device_at_the_address_is_not_read() -> Result<()> {
    let device = BacpypesDevice::start(&json!({ "device": { "instance": INSTANCE }, "objects": objects() }))?;
    let mut site = Site::new(CHANGING, BacnetPeer { device: 4_711, ..at(&device) }, |_| {})?;
    assert_eq!(site.samples().await["zone"], Sample::Bad(Reason::Mismatch));
    Ok(())
}

/// 20 of 100 datagrams are lost each way, 10 come twice or later than anybody waits.
#[tokio::test]
async fn on_a_bad_network_no_value_is_wrong_and_every_miss_is_named() -> Result<()> {
    let device = BacpypesDevice::start(&json!({ "device": { "instance": INSTANCE }, "objects": objects() }))?;
    let late_by = Duration::from_millis(300);
    let link = UdpLink::to(device.address.into(), Faults { lost_percent: 20, troubled_percent: 10, late_by, seed: 7 })?;
    let peer = BacnetPeer { address: Some(link.address()), ..BacnetPeer::of(INSTANCE) };
    let points = "  - { name: zone, unit: Cel, read: { object: analog-input, instance: 1 } }\n";
    let mut site = Site::new(points, peer, |settings| (settings.timeout, settings.retries) = (Duration::from_millis(200), 3))?;
    let (mut good, mut bad) = (0, 0);
    for number in 0..200 {
        let value = 20.0 + number as f32;
        device.set("analog-input", 1, "present-value", &json!(value))?;
        match &site.samples().await["zone"] {
            Sample::Bad(Reason::Timeout) => bad += 1,
            sample => {
                assert_eq!(*sample, f32(value), "an old value for a new one");
                good += 1;
            }
        }
    }
    let misses = site.misses();
    ensure!(good > 150, "{good} good, {bad} bad, {misses:?}");
    ensure!(misses.get("asked again").copied() > Some(20) && misses.contains_key("duplicate reply"), "{misses:?}");
    Ok(())
}
