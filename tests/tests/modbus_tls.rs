//! Modbus/TCP Security against pymodbus: a device that wants a certificate is read with the right one, and with nothing else.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use pattoo_gateway::config::{Device, Identity, Security, Transport};
use pattoo_gateway::driver::Driver as _;
use pattoo_gateway::driver::modbus::Modbus;
use pattoo_gateway::profile::Profile;
use pattoo_gateway::reading::{DeviceIndex, PointIndex};
use pattoo_tests::authority::{Authority, Files};
use pattoo_tests::pymodbus::PymodbusDevice;
use pattoo_wire::{Reason, Sample, Value};

const PROFILE: &str = "
schema: 1
id: x
manufacturer: x
model: x
points:
  - { name: a, read: { holding: 0, type: u16 } }
";

fn device() -> Result<Device> {
    let profile = Arc::new(Profile::read("x.yaml".as_ref(), PROFILE.as_bytes()).map_err(|problems| anyhow::anyhow!("{problems:?}"))?);
    let (every, labels) = (Duration::from_secs(10), BTreeMap::default());
    Ok(Device { name: "plc".into(), profile, unit: 1, every, labels })
}

struct Plant {
    folder: tempfile::TempDir,
    peer: PymodbusDevice,
    own: Files,
    strangers: Files,
}

impl Plant {
    /// A device whose certificate is from `plant`; so is ours. Another authority has signed the strangers'.
    fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let at = |name: &str| folder.path().join(name);
        let (plant, other) = (Authority::new(folder.path(), "plant")?, Authority::new(folder.path(), "other")?);
        let (certificate, key) = plant.server(&at("device"))?;
        let (own, strangers) = (plant.client(&at("own"), "plant7", 2100)?, other.client(&at("strangers"), "plant7", 2100)?);
        std::fs::write(at("units.json"), r#"{"1": {"holding": {"0": 4711}}}"#)?;
        let peer = PymodbusDevice::start_with_tls(&at("units.json"), (&certificate, &key), &at("plant.pem"))?;
        Ok(Self { folder, peer, own, strangers })
    }

    fn authority(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    async fn read(&self, ca: &Path, (certificate, key): &Files, host: &str, server_name: Option<&str>) -> Result<Vec<Sample>> {
        let identity = Identity { certificate: certificate.clone(), key: key.clone() };
        let security = Security { ca: ca.to_owned(), identity, server_name: server_name.map(str::to_owned) };
        let endpoint = format!("{host}:{}", self.peer.port);
        let mut driver = Modbus::new(&Transport::ModbusTls { endpoint, timeout: Duration::from_secs(20), security }, Box::new(|| 0));
        let mut samples = Vec::new();
        for _ in 0..3 {
            let transactions = driver.read(DeviceIndex(0), &device()?, &[PointIndex(0)]).await;
            samples.extend(transactions.into_iter().flat_map(|t| t.readings).map(|reading| reading.sample));
        }
        Ok(samples)
    }
}

#[tokio::test]
async fn a_device_that_wants_a_certificate_is_read_with_the_right_one_only() -> Result<()> {
    let plant = Plant::start()?;
    let (right, wrong) = (plant.authority("plant.pem"), plant.authority("other.pem"));
    let (good, down) = (Sample::Good(Value::int(4711)), Sample::Bad(Reason::LinkDown));
    for (what, ca, own, host, server_name, expected) in [
        ("all is right", &right, &plant.own, "127.0.0.1", None, &good),
        ("by its name", &right, &plant.own, "127.0.0.1", Some("localhost"), &good),
        ("another name than in its certificate", &right, &plant.own, "127.0.0.1", Some("plc7.example"), &down),
        ("an authority that did not sign the device's certificate", &wrong, &plant.own, "127.0.0.1", None, &down),
        ("a certificate that the device's authority did not sign", &right, &plant.strangers, "127.0.0.1", None, &down),
        ("files that are not there", &plant.authority("none.pem"), &plant.own, "127.0.0.1", None, &down),
    ] {
        let samples = plant.read(ca, own, host, server_name).await?;
        ensure!(samples.len() == 3 && samples.iter().all(|sample| sample == expected), "{what}: {samples:?}");
    }
    // It listens on after all of them.
    ensure!(plant.read(&right, &plant.own, "127.0.0.1", None).await? == vec![good; 3]);
    Ok(())
}

/// Without TLS nothing is read: the device takes no plain request, and shows none of its registers.
#[tokio::test]
async fn a_device_that_wants_tls_gives_nothing_without() -> Result<()> {
    let plant = Plant::start()?;
    let endpoint = format!("127.0.0.1:{}", plant.peer.port);
    let mut driver = Modbus::new(&Transport::ModbusTcp { endpoint, timeout: Duration::from_secs(2) }, Box::new(|| 0));
    let transactions = driver.read(DeviceIndex(0), &device()?, &[PointIndex(0)]).await;
    ensure!(transactions.iter().flat_map(|t| &t.readings).all(|reading| matches!(reading.sample, Sample::Bad(_))), "{transactions:?}");
    Ok(())
}
