//! Scans of worlds made up here, under a clock of their own; and of simulated devices of every profile that can be recognised.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio_modbus::prelude::{ConformityLevel, DeviceIdObject, ReadCode, ReadDeviceIdentificationResponse as Identification};

use super::*;
use crate::config;
use crate::fixture::{Fixture, replay};
use crate::profile::load_profiles;
use crate::simulate::{self, Frames};

fn shipped() -> Profiles {
    let (profiles, problems) = load_profiles(&[Path::new(env!("CARGO_MANIFEST_DIR")).join("../hw-profiles")]);
    assert_eq!(problems, []);
    profiles
}

fn serial(budget_s: u64) -> Wanted {
    let settings = settings(&BAUDS, &PARITIES);
    let (target, units) = (Target::Serial("/dev/ttyUSB0".into()), (1..=247).collect());
    Wanted { target, settings, units, budget: Duration::from_secs(budget_s), turnaround: None }
}

fn tcp(budget_s: u64) -> Wanted {
    Wanted { target: Target::Tcp("10.0.0.5:502".into()), settings: settings(&BAUDS[..1], &PARITIES[..1]), ..serial(budget_s) }
}

type World<'w> = &'w dyn Fn(&Ask) -> Result<Answer, Failure>;

/// A scan to its end: what it asked, and its report. Silence costs what it is said to cost, an answer 50 ms.
fn run(wanted: Wanted, profiles: &Profiles, world: World<'_>) -> (Vec<Ask>, Report) {
    let (mut asked, mut elapsed) = (Vec::new(), Duration::ZERO);
    let mut scan = Scan::new(wanted, profiles);
    while let Step::Ask(ask) = scan.next(elapsed) {
        let result = world(&ask);
        elapsed += if result.is_ok() { Duration::from_millis(50) } else { scan.wanted.silent_cost(ask.setting) };
        scan.heard(&ask, &result);
        asked.push(ask);
        assert!(asked.len() < 100_000, "it never ends");
    }
    (asked, scan.report(elapsed))
}

fn refused(code: u8) -> Result<Answer, Failure> {
    Ok(Answer::Refused(code))
}

/// A device that has only these holding registers.
fn with(words: &BTreeMap<u16, u16>, ask: &Ask) -> Result<Answer, Failure> {
    let Pdu::ReadHoldingRegisters(address, count) = ask.question else { return refused(1) };
    let words: Option<Vec<_>> = (address..address + count).map(|at| words.get(&at).copied()).collect();
    words.map_or_else(|| refused(2), |words| Ok(Answer::Words(words)))
}

#[test]
fn a_device_at_the_last_setting_is_found_within_a_minute_and_others_of_its_line_too() {
    let odd = Setting { baud: 2400, parity: Parity::Odd };
    let world = |ask: &Ask| match ask.unit {
        1 | 200 if ask.setting == odd => refused(2),
        _ => Err(Failure::Timeout),
    };
    let (asked, report) = run(serial(60), &Profiles::new(), &world);
    assert_eq!(
        report.devices.iter().map(|found| (found.unit, found.baud, found.parity)).collect::<Vec<_>>(),
        [(1, Some(2400), Some("odd"))]
    );
    assert_eq!(asked[0].setting, Setting { baud: 9600, parity: Parity::None });
    assert_eq!(
        asked.iter().take(9).map(|ask| (ask.unit, ask.setting.baud)).collect::<Vec<_>>()[3..],
        [(1, 19_200), (2, 19_200), (3, 19_200), (1, 9600), (2, 9600), (3, 9600)]
    );
    // Once the setting is known, none other is tried.
    let first = asked.iter().position(|ask| ask.setting == odd && ask.unit == 1).unwrap();
    assert!(asked[first..].iter().all(|ask| ask.setting == odd));
    assert!(report.seconds <= 60.5 && report.notes.iter().any(|note| note.contains("not reached: units ")), "{report}");
    // With more time, all of its line.
    let (_, report) = run(serial(600), &Profiles::new(), &world);
    assert_eq!(report.devices.iter().map(|found| found.unit).collect::<Vec<_>>(), [1, 200]);
    assert!(!report.notes.iter().any(|note| note.contains("not reached")), "{report}");
}

#[test]
fn it_says_beforehand_what_it_will_not_reach_and_keeps_to_it() {
    let profiles = Profiles::new();
    let forecast = Scan::new(serial(60), &profiles).forecast();
    assert!(forecast[0].starts_with("scanning /dev/ttyUSB0: at most 1m ("), "{forecast:?}");
    assert!(
        forecast[1].contains("will not be reached where nobody answers: units ") && forecast[1].contains("more settings"),
        "{forecast:?}"
    );
    let (asked, report) = run(serial(60), &profiles, &|_| Err(Failure::Timeout));
    let missed = forecast[1].split("answers: ").nth(1).unwrap();
    assert!(report.notes.iter().any(|note| note == &format!("not reached: {missed}")), "{missed}\n{report}");
    assert!((59.0..60.5).contains(&report.seconds) && asked.len() > 150, "{} in {}", asked.len(), report.seconds);
    assert_eq!(report.config, "");

    let all = Wanted { units: (1..=10).collect(), ..tcp(60) };
    assert_eq!(
        Scan::new(all, &profiles).forecast(),
        ["scanning Modbus TCP at 10.0.0.5:502: at most 20s (20s where nobody answers anything)"]
    );
}

#[test]
fn only_reads_are_ever_asked() {
    let words = BTreeMap::from([(0, 1)]);
    let (asked, _) = run(tcp(600), &shipped(), &|ask| with(&words, ask));
    let read = |question: &Pdu<'_>| {
        matches!(
            question,
            Pdu::ReadCoils(..)
                | Pdu::ReadDiscreteInputs(..)
                | Pdu::ReadHoldingRegisters(..)
                | Pdu::ReadInputRegisters(..)
                | Pdu::ReadDeviceIdentification(..)
                | Pdu::ReportServerId
        )
    };
    assert!(asked.len() > 20 && asked.iter().all(|ask| read(&ask.question)));
    assert!(matches!(asked.last().unwrap().question, Pdu::ReportServerId), "the one that may cost the connection comes last");
}

#[test]
fn behind_a_gateway_nobody_is_not_somebody_and_a_doubt_is_told() {
    let world = |ask: &Ask| match ask.unit {
        5 => refused(1),
        6 => refused(2),
        7 => refused(3),
        8 => refused(0x0A),
        9 => refused(4),
        10 => Err(Failure::Malformed),
        _ => refused(0x0B),
    };
    let (_, report) = run(tcp(600), &Profiles::new(), &world);
    assert_eq!(report.devices.iter().map(|found| found.unit).collect::<Vec<_>>(), [5, 6, 7]);
    assert!(report.notes.iter().any(|note| note.ends_with("that they are not: units 9")), "{report}");
    assert!(report.notes.iter().any(|note| note.contains("these units were asked: 10;")), "{report}");
}

#[test]
fn a_unit_that_was_disturbed_is_asked_again_at_once() {
    let asked_before = std::cell::Cell::new(0);
    let world = |ask: &Ask| match ask.unit {
        // The late answer of somebody else.
        5 if asked_before.replace(asked_before.get() + 1) == 0 => Err(Failure::Malformed),
        5 => refused(2),
        _ => Err(Failure::Timeout),
    };
    let (asked, report) = run(Wanted { units: vec![4, 5, 6], ..serial(600) }, &Profiles::new(), &world);
    assert_eq!(report.devices.iter().map(|found| found.unit).collect::<Vec<_>>(), [5], "{report}");
    assert!(!report.notes.iter().any(|note| note.contains("no answer")), "{report}");
    let of_five: Vec<_> = asked.iter().enumerate().filter(|(_, ask)| ask.unit == 5).map(|(at, _)| at).collect();
    assert_eq!(of_five[1], of_five[0] + 1);
}

#[tokio::test]
async fn a_scan_that_is_interrupted_tells_what_it_has() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = Target::Tcp(listener.local_addr().unwrap().to_string());
    let profile = Arc::clone(&shipped()["eastron-sdm120"]);
    tokio::spawn(simulate::serve(listener, Frames::Tcp, vec![(1, profile)], std::future::pending()));
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let mut stop = Some(stop);
    let progress = |progress: &drive::Progress| {
        if progress.found == 1 && progress.asking == "unit 100" {
            drop(stop.take());
        }
    };
    let stopped = async { drop(stopped.await) };
    let wanted = Wanted { target, ..tcp(60) };
    let report = drive::scan(&wanted, &shipped(), drop, progress, stopped).await.unwrap();
    assert_eq!(report.devices.len(), 1, "{report}");
    assert!(report.notes.iter().any(|note| note.starts_with("not reached: units 100-246")), "{report}");
}

#[test]
fn a_device_that_answers_for_every_unit_is_one_device() {
    let words = BTreeMap::from([(0, 1)]);
    let (asked, report) = run(tcp(60), &Profiles::new(), &|ask| with(&words, ask));
    assert_eq!(report.devices.iter().map(|found| found.unit).collect::<Vec<_>>(), [1]);
    assert!(report.notes[0].contains("answers for every unit id") && asked.len() < 20, "{} {report}", asked.len());
}

#[test]
fn a_link_that_is_lost_ends_the_scan() {
    let (asked, report) = run(tcp(600), &Profiles::new(), &|ask| if ask.unit < 4 { refused(2) } else { Err(Failure::Unreachable) });
    assert!(asked.len() < 40 && report.notes[0] == "ended early: the link can no longer be opened", "{report}");
}

/// The `SunSpec` map of this maker and model at this base.
fn sunspec(base: u16, vendor: &str, model: &str) -> BTreeMap<u16, u16> {
    let text = |text: &str| {
        let mut bytes = text.as_bytes().to_vec();
        bytes.resize(32, 0);
        bytes.chunks(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect::<Vec<_>>()
    };
    let words = [vec![0x5375, 0x6E53, 1, 66], text(vendor), text(model), vec![0; 34]].concat();
    (base..).zip(words).collect()
}

#[test]
fn what_a_device_calls_itself_finds_its_profile() {
    let identified = |ask: &Ask, vendor: &str, product: &str| match ask.question {
        Pdu::ReadDeviceIdentification(read_code, from) => Ok(Answer::Identity(Identification {
            read_code,
            conformity_level: ConformityLevel::RegularIdentificationStreamOnly,
            // One object in each answer.
            more_follows: from < 1,
            next_object_id: if from < 1 { 1 } else { 0 },
            device_id_objects: vec![DeviceIdObject { id: from, value: (if from == 0 { vendor } else { product }).to_owned().into() }],
        })),
        _ => refused(2),
    };
    let one = Wanted { units: vec![7], ..tcp(60) };
    let (_, report) = run(one.clone(), &shipped(), &|ask| identified(ask, "Siemens AG", "SENTRON PAC2200\u{1b}[31m"));
    assert_eq!(report.devices[0].profiles[0].profile, "siemens-pac2200", "{report}");
    let text = report.to_string();
    assert!(text.contains("function 43/14: vendor Siemens AG, product code SENTRON PAC2200?[31m"), "{text}");
    // A manufacturer alone says nothing of the model.
    let (_, report) = run(one.clone(), &shipped(), &|ask| identified(ask, "Siemens AG", "S7-1200"));
    assert_eq!(report.devices[0].profiles, [], "{report}");
    assert!(report.config.lines().all(|line| line.trim_start().starts_with('#')), "{report}");

    let words = sunspec(40_000, "Acme", "Sun 5000");
    let (asked, report) = run(one, &shipped(), &|ask| with(&words, ask));
    assert!(report.to_string().contains("#   SunSpec at 40000: Acme Sun 5000\n"), "{report}");
    assert!(asked.iter().all(|ask| ask.question != Pdu::ReportServerId), "it has a name already");
    assert!(asked.contains(&Ask { question: Pdu::ReadDeviceIdentification(ReadCode::Basic, 0), ..asked[1].clone() }));
}

#[test]
fn all_registers_of_a_profile_must_hold() {
    // Voltage and frequency of an SDM, which three profiles look for; what stands where an SDM630 has the voltage between lines decides.
    let input = |between_lines: f32| {
        move |ask: &Ask| match ask.question {
            Pdu::ReadInputRegisters(address, 2) => {
                let value = match address {
                    0 => 230.0,
                    70 => 50.0,
                    200 => between_lines,
                    _ => 0.0f32,
                };
                Ok(Answer::Words(vec![(value.to_bits() >> 16) as u16, value.to_bits() as u16]))
            }
            _ => refused(2),
        }
    };
    for (between_lines, expected) in
        [(0.0, vec!["eastron-sdm120", "eastron-sdm230"]), (400.0, vec!["eastron-sdm630", "eastron-sdm120", "eastron-sdm230"])]
    {
        let (_, report) = run(Wanted { units: vec![1], ..tcp(60) }, &shipped(), &input(between_lines));
        let profiles: Vec<_> = report.devices[0].profiles.iter().map(|ranked| ranked.profile.as_str()).collect();
        assert_eq!(profiles, expected, "{report}");
    }
}

/// Its text, under the rest of a configuration.
fn loaded(report: &Report) -> config::Config {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gateway.yaml");
    std::fs::write(&path, format!("gateway: g\nuplink: {{ url: mqtt://127.0.0.1:1883 }}\n{report}")).unwrap();
    let profiles = Path::new(env!("CARGO_MANIFEST_DIR")).join("../hw-profiles");
    let loaded = config::load(&path, &[profiles], &|_| None).unwrap_or_else(|problems| panic!("{problems:?}\n{report}"));
    assert_eq!(loaded.problems, [], "{report}");
    loaded.config
}

#[test]
fn its_text_is_a_configuration() {
    let words: BTreeMap<u16, u16> = (30_000..).zip([0x5355, 0x4E32, 0x3030, 0x3000, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).collect();
    let path = "/dev/serial/by-id/usb: \"odd\" # name\\x";
    for target in [Target::Serial(path.into()), Target::RtuOverTcp("10.0.0.6:4001".into()), Target::Tcp("[::1]:502".into())] {
        let wanted = Wanted { target, units: vec![3, 4, 9], ..serial(60) };
        let (_, report) = run(wanted, &shipped(), &|ask| match ask.unit {
            3 | 4 => with(&words, ask),
            9 => refused(1),
            _ => Err(Failure::Timeout),
        });
        let config = loaded(&report);
        let devices: Vec<_> = config.devices.iter().map(|device| (device.name.as_str(), device.profile.id.as_str(), device.unit)).collect();
        assert_eq!(devices, [("huawei-sun2000-3", "huawei-sun2000", 3), ("huawei-sun2000-4", "huawei-sun2000", 4)], "{report}");
        let text = report.to_string();
        assert!(text.contains("#   or, which cannot be told apart: - { name: huawei-sun2000-luna-3,"), "{text}");
        assert!(text.contains("#   unit 9: no profile fits"), "{text}");
        if let Transport::ModbusRtu { line, .. } = &config.links[0].transport {
            assert_eq!((line.path.to_str(), line.baud), (Some(path), 9600));
        }
    }
}

#[tokio::test]
async fn a_simulated_device_of_every_profile_that_can_be_recognised_is() {
    let profiles = shipped();
    let by_registers = |profile: &&Arc<crate::profile::Profile>| profile.signature.as_ref().is_some_and(|own| !own.registers.is_empty());
    let known: Vec<_> = profiles.values().filter(by_registers).cloned().collect();
    assert!(known.len() > 20, "{}", known.len());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = listener.local_addr().unwrap().to_string();
    let units: Vec<_> = (4u8..).zip(known.iter().map(Arc::clone)).collect();
    tokio::spawn(simulate::serve(listener, Frames::Tcp, units.clone(), std::future::pending()));
    let (budget, numbers) = (Duration::from_secs(60), units.iter().map(|(unit, _)| *unit).collect());
    let wanted = Wanted { target: Target::Tcp(endpoint), units: numbers, budget, ..tcp(60) };
    let mut told = 0;
    let report = drive::scan(&wanted, &profiles, |lines| assert_eq!(lines.len(), 1), |_| told += 1, std::future::pending()).await.unwrap();
    assert_eq!((report.devices.len(), told > units.len()), (units.len(), true), "{report}");
    for (found, (unit, profile)) in report.devices.iter().zip(&units) {
        let best = found.profiles.first().map(|best| best.score);
        let own = found.profiles.iter().find(|ranked| ranked.profile == profile.id).map(|own| own.score);
        assert!(own.is_some() && own == best, "unit {unit} is {}: {report}", profile.id);
    }
    loaded(&report);
}

#[test]
fn what_fixtures_hold_is_recognised_by_their_profiles() {
    let mut seen = 0;
    for file in replay::find(&[Path::new(env!("CARGO_MANIFEST_DIR")).join("../hw-profiles")]) {
        let fixture = Fixture::read(&std::fs::read(&file).unwrap()).unwrap();
        let profiles = shipped();
        let Some(signature) = &profiles[&fixture.profile].signature else { continue };
        let Some(case) = fixture.cases.iter().find(|case| case.name == "typical") else { continue };
        let memory = case.memory();
        for check in &signature.registers {
            // Where a code is read alone, the fixture holds the value around it.
            let measured = case.readings.0.iter().any(|(name, _)| {
                let mut own = profiles[&fixture.profile].points.iter().filter(|point| point.name == *name);
                own.any(|point| matches!(&point.read, crate::profile::Read::Modbus(read) if read.address == check.read.address))
            });
            let words: Option<Vec<u16>> =
                (check.read.first()..=check.read.last()).map(|at| memory.get(&(check.read.table, at)).copied()).collect();
            if let (Some(words), true) = (words, measured) {
                assert!(check.holds(&words), "{}: {check:?} is {words:x?}", fixture.profile);
                seen += 1;
            }
        }
    }
    assert!(seen > 20, "{seen}");
}

#[tokio::test]
async fn a_port_that_is_not_there_is_said() {
    let wanted = Wanted { target: Target::Serial("/dev/serial/by-id/none".into()), ..serial(5) };
    let error = drive::scan(&wanted, &Profiles::new(), drop, |_| {}, std::future::pending()).await.unwrap_err().to_string();
    assert!(error.contains("cannot open /dev/serial/by-id/none"), "{error}");
}
