//! Polls real devices: this host, and a simulated meter over TCP.

use std::sync::Arc;

use pattoo_wire::{Decimal, Reason, Sample};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::*;
use crate::config::load;
use crate::profile::load_profiles;
use crate::reading::Row;
use crate::simulate;

fn profiles_folder() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../hw-profiles")
}

/// A configuration of this host, a meter that answers, and one that does not.
fn config(meter: &str, silent: &str) -> Config {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gateway.yaml");
    let text = format!(
        "gateway: g\nuplink: {{ url: mqtt://127.0.0.1:1883 }}\nlinks:\n  a: {{ tcp: '{meter}', timeout: 1s }}\n  b: {{ tcp: '{silent}', timeout: 100ms }}\n\
         devices:\n  - {{ name: gone, profile: eastron-sdm630, link: b }}\n  - {{ name: here, profile: linux-host }}\n  \
         - {{ name: meter, profile: eastron-sdm630, link: a, unit: 7 }}\n"
    );
    std::fs::write(&path, text).unwrap();
    let loaded = load(&path, &[profiles_folder()], &|_| None).unwrap();
    assert_eq!(loaded.problems, []);
    loaded.config
}

/// A meter of unit 7 that lives as long as the sender.
async fn meter() -> (String, oneshot::Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (stop, stopped) = oneshot::channel::<()>();
    let (profiles, _) = load_profiles(&[profiles_folder()]);
    let units = vec![(7, Arc::clone(&profiles["eastron-sdm630"]))];
    tokio::spawn(simulate::serve(listener, simulate::Frames::Tcp, units, async { drop(stopped.await) }));
    (address, stop)
}

#[tokio::test]
async fn each_device_is_read_once_and_a_silent_one_says_so() {
    let (address, _stop) = meter().await;
    // A listener that never accepts: connections are made by the kernel, and nobody answers.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = config(&address, &silent.local_addr().unwrap().to_string());
    let polled = poll(&config, None).await.unwrap();
    assert_eq!(
        polled.iter().map(|p| (p.device.as_str(), p.link.as_str())).collect::<Vec<_>>(),
        [("gone", "b"), ("here", "host"), ("meter", "a")]
    );
    let [gone, here, meter] = &polled[..] else { unreachable!() };
    assert_eq!(gone.readings.len(), 41);
    assert!(gone.readings.iter().all(|r| r.quality == Quality::Bad && r.reason.as_deref() == Some("timeout") && r.value.is_none()));
    assert_eq!(meter.readings.len(), 41);
    assert!(meter.readings.iter().all(|r| r.quality == Quality::Good && r.value.as_ref().is_some_and(serde_json::Value::is_number)));
    let points: Vec<_> = config.devices[2].profile.points.iter().map(|p| p.name.as_str()).collect();
    assert_eq!(meter.readings.iter().map(|r| r.point.as_str()).collect::<Vec<_>>(), points, "in the order of the profile");
    let cpu = here.readings.iter().find(|r| r.point == "cpu_usage").unwrap();
    assert_eq!((cpu.quality, cpu.unit.as_str()), (Quality::Good, "%"), "the load is there at the first poll: {cpu:?}");
    assert!(here.readings.iter().any(|r| r.point == "filesystem_used[/]"));
}

#[tokio::test]
async fn only_the_device_that_was_asked_for_is_read() {
    let config = config("127.0.0.1:1", "127.0.0.1:1");
    let polled = poll(&config, Some("here")).await.unwrap();
    assert_eq!(polled.iter().map(|p| p.device.as_str()).collect::<Vec<_>>(), ["here"]);
    let error = poll(&config, Some("hree")).await.unwrap_err();
    assert_eq!(error.to_string(), "there is no device \"hree\"; expected one of gone, here, meter");
}

#[tokio::test]
async fn what_programs_tell_is_shown_once_each_by_its_own_name() {
    let text = "gateway: g\nuplink: { url: mqtt://127.0.0.1 }\ndevices:
  - { name: once, exec: { run: [/bin/echo, 'm,room=a x=1,y=2'] } }
  - { name: kept, exec: { mode: keep, run: [/bin/sh, -c, 'for n in 1 2 3; do echo m z=$n; done; exec sleep 100'] } }\n";
    let (config, problems) = crate::config::read_for_test(text, (*crate::lines::readings()).clone());
    assert_eq!(problems, []);
    let polled = poll(&config.unwrap(), None).await.unwrap();
    let shown = |at: usize| polled[at].readings.iter().map(|r| (r.point.as_str(), r.value.clone().unwrap().as_f64())).collect::<Vec<_>>();
    assert_eq!(shown(0), [("m.x[room=a]", Some(1.0)), ("m.y[room=a]", Some(2.0))]);
    assert_eq!(shown(1), [("m.z", Some(3.0))]);
    assert!(polled.iter().all(|polled| polled.absent.is_empty()));
}

#[test]
fn the_table_shows_value_unit_quality_and_reason() {
    let (profiles, _) = load_profiles(&[profiles_folder()]);
    let mut profile = profiles["linux-host"].as_ref().clone();
    profile.points.truncate(4);
    profile.points[1].states = [(3, "running".to_owned())].into();
    let device =
        Device { name: "box".into(), profile: Arc::new(profile), unit: 0, every: Duration::from_secs(1), labels: Default::default() };
    let reading = |point, row: Option<&str>, sample| Reading {
        point: PointIndex(point),
        row: row.map(|identity| Arc::new(Row::new(identity, Default::default()))),
        sample,
    };
    let decimal = |mantissa, exponent| Value::Decimal(Decimal { mantissa, exponent });
    let readings = vec![
        reading(3, None, Sample::Good(Value::Text("a\u{1b}[2J".into()))),
        reading(1, None, Sample::Good(decimal(3, 0))),
        reading(2, Some("/mnt/x"), Sample::Bad(Reason::Exception(2))),
        reading(0, None, Sample::Uncertain(decimal(120, -1), Reason::Stale)),
        reading(0, None, Sample::Good(Value::F64(f64::INFINITY))),
    ];
    let polled = show(&device, "host", vec![Transaction { device: DeviceIndex(0), at_ms: 5, readings }]);
    let expected = "\
box (linux-host, link host)
point                value  unit  quality    reason
cpu_usage             12.0  %     uncertain  stale
cpu_usage              inf  %     good
load_1         3 (running)  1     good
load_5[/mnt/x]              1     bad        exception 02 (illegal data address)
load_15             a?[2J  1     good
";
    assert_eq!(polled.to_string().replace(' ', ""), expected.replace(' ', ""));
    let values: Vec<_> = polled.readings.iter().map(|r| serde_json::to_string(&r.value).unwrap()).collect();
    assert_eq!(values, ["12.0", "\"inf\"", "3", "null", "\"a\\u001b[2J\""]);
    let json = serde_json::to_value(&polled.readings[2]).unwrap();
    let expected = serde_json::json!({ "point": "load_1", "value": 3, "state": "running", "unit": "1", "quality": "good", "reason": null, "time_ms": 5 });
    assert_eq!(json, expected);
}
