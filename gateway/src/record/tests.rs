//! A device that is not there, one that refuses some of its points, and one that is recorded.

use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::*;
use crate::config::load;
use crate::profile::load_profiles;
use crate::simulate;

fn profiles() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../hw-profiles")
}

/// A meter at unit 3 of a simulated SDM120, read with this profile.
async fn site(profile: &str, unit: u8) -> (Config, oneshot::Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let (known, _) = load_profiles(&[profiles()]);
    tokio::spawn(simulate::serve(listener, simulate::Frames::Tcp, vec![(3, Arc::clone(&known["eastron-sdm120"]))], async {
        drop(stopped.await)
    }));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gateway.yaml");
    let text = format!(
        "gateway: g\nuplink: {{ url: mqtt://127.0.0.1:1883 }}\nlinks: {{ a: {{ tcp: '{address}' }} }}\ndevices:\n  \
         - {{ name: here, profile: linux-host }}\n  - {{ name: meter, profile: {profile}, link: a, unit: {unit} }}\n"
    );
    std::fs::write(&path, text).unwrap();
    (load(&path, &[profiles()], &|_| None).unwrap().config, stop)
}

#[tokio::test]
async fn what_is_recorded_plays_and_takes_further_cases() {
    let (config, _stop) = site("eastron-sdm120", 3).await;
    let first = record(&config, "meter", "morning", None).await.unwrap();
    assert_eq!((first.profile.as_str(), first.unit, first.requests, first.cases.len()), ("eastron-sdm120", Some(3), 6, 1));
    let case = &first.cases[0];
    assert_eq!(case.readings.0.len(), 22);
    assert!(case.readings.0.iter().all(|(_, expected)| matches!(expected, Expected::Value(_))), "{case:?}");
    // What was written is what is read.
    let text = first.text();
    let read = Fixture::read(text.as_bytes()).unwrap();
    assert_eq!(read, first);
    let second = record(&config, "meter", "evening", Some(read.clone())).await.unwrap();
    assert_eq!(second.cases.iter().map(|case| case.name.as_str()).collect::<Vec<_>>(), ["morning", "evening"]);
    let error = record(&config, "meter", "morning", Some(read)).await.unwrap_err().to_string();
    assert!(error.contains("has a case \"morning\" already"), "{error}");
}

#[tokio::test]
async fn a_refusal_is_recorded_and_silence_is_not() {
    // A profile that the device has some registers of.
    let (config, _stop) = site("eastron-sdm630", 3).await;
    let fixture = record(&config, "meter", "x", None).await.unwrap();
    let refused = Expected::Bad("exception 02 (illegal data address)".to_owned());
    let bad = fixture.cases[0].readings.0.iter().filter(|(_, expected)| *expected == refused).count();
    assert!(bad > 0 && bad < fixture.cases[0].readings.0.len(), "{:?}", fixture.cases[0].readings);

    let (config, _stop) = site("eastron-sdm120", 4).await;
    let error = record(&config, "meter", "x", None).await.unwrap_err().to_string();
    assert!(error.contains("did not answer everything") && error.contains("voltage: "), "{error}");
    for (name, says) in [("here", "not a Modbus device"), ("metre", "expected one of here, meter")] {
        let error = record(&config, name, "x", None).await.unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}
