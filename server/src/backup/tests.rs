//! Backups of a real store in real folders; what no program has to be started for.

use std::io::sink;

use super::*;
use crate::store::embedded::Embedded;
use crate::store::{Commit, Reading, SeriesEntry, SeriesId, Store};
use pattoo_wire::{Kind, Repr, Sample, Series, Value};

const SERIES: SeriesId = SeriesId(1);

fn entry() -> SeriesEntry {
    let (kind, repr) = (Kind::Gauge, Repr::Decimal { exponent: 0 });
    let entry = Series { device: 0, point: "v".into(), unit: "V".into(), kind, repr, labels: [].into(), states: [].into() };
    SeriesEntry { id: SERIES, gateway: "plant7".into(), device: "meter".into(), profile: "p".into(), device_labels: [].into(), entry }
}

/// A data folder as a server leaves it.
fn fill_data(data: &Path) {
    let store = Embedded::open(&data.join(LEDGER)).unwrap();
    for at_ms in 0..20 {
        let reading = Reading { at_ms, sample: Sample::Good(Value::int(at_ms)) };
        store.commit(&Commit { series: vec![entry()], readings: vec![(SERIES, reading)].into(), ..Commit::default() }).unwrap();
        if at_ms == 10 {
            store.flush().unwrap();
        }
    }
    for (name, mode) in [("users.json", 0o600), ("tls/ca.key", 0o600), ("dashboards/a.yaml", 0o640), ("dead-letter/1.letter", 0o644)] {
        let path = data.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, name).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }
    fs::write(data.join("users.json.half"), "half").unwrap();
    std::os::unix::fs::symlink("/etc/passwd", data.join("link")).unwrap();
}

fn readings(data: &Path) -> Vec<i64> {
    let store = Embedded::open(&data.join(LEDGER)).unwrap();
    store.raw(SERIES, 0, 99, 99).unwrap().iter().map(|reading| reading.at_ms).collect()
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort_unstable();
    names
}

#[test]
fn a_backup_holds_all_of_a_data_folder_and_is_put_back_as_it_was() {
    for target in ["backup", "backup.tar"] {
        let place = tempfile::tempdir().unwrap();
        let (data, target, again) = (place.path().join("data"), place.path().join(target), place.path().join("new/again"));
        fill_data(&data);
        let done = make(&data, &target, &mut sink()).unwrap();
        assert_eq!((&done.secrets, &done.left_out), (&vec!["tls/ca.key".to_owned(), "users.json".into()], &vec!["link".to_owned()]));
        assert_eq!(fs::metadata(&target).unwrap().permissions().mode() & 0o077, 0, "it holds secrets");
        assert_eq!(verify(&target, &mut sink()).unwrap().bytes, done.bytes);
        assert_eq!(restore(&target, &again, &mut sink()).unwrap().files, done.files);
        assert_eq!(readings(&again), (0..20).collect::<Vec<_>>());
        for name in ["users.json", "tls/ca.key", "dashboards/a.yaml", "dead-letter/1.letter"] {
            let mode = |of: &Path| fs::metadata(of.join(name)).unwrap().permissions().mode();
            assert_eq!((fs::read_to_string(again.join(name)).unwrap(), mode(&again)), (name.to_owned(), mode(&data)));
        }
        assert!(!again.join("users.json.half").exists() && !again.join(manifest::NAME).exists());
        // Neither leaves anything behind, and neither writes over anything.
        assert!(!data.join(SNAPSHOT).exists());
        assert_eq!(names(again.parent().unwrap()), ["again"]);
        assert!(make(&data, &target, &mut sink()).unwrap_err().to_string().contains("is there already"));
        assert!(restore(&target, &again, &mut sink()).unwrap_err().to_string().contains("is not empty"));
        assert!(make(&data, &data.join("backup"), &mut sink()).unwrap_err().to_string().contains("is in the data folder"));
        assert_eq!(readings(&data), readings(&again));
    }
}

#[test]
fn an_empty_folder_is_taken_with_its_rights_and_nothing_else() {
    let place = tempfile::tempdir().unwrap();
    let (data, target, again) = (place.path().join("data"), place.path().join("b"), place.path().join("again"));
    fill_data(&data);
    make(&data, &target, &mut sink()).unwrap();
    fs::create_dir(&again).unwrap();
    fs::set_permissions(&again, fs::Permissions::from_mode(0o750)).unwrap();
    restore(&target, &again, &mut sink()).unwrap();
    assert_eq!(fs::metadata(&again).unwrap().permissions().mode() & 0o777, 0o750);
    assert!(make(&place.path().join("nothing"), &place.path().join("c"), &mut sink()).is_err());
    assert!(!place.path().join("c").exists());
}

/// Where a restore is refused, nothing may be there afterwards.
fn refused(backup: &Path, why: &[&str]) {
    let place = tempfile::tempdir().unwrap();
    let error = format!("{:#}", restore(backup, &place.path().join("data"), &mut sink()).unwrap_err());
    assert!(why.iter().all(|why| error.contains(why)), "expected {why:?}: {error}");
    assert_eq!(names(place.path()), [""; 0]);
}

#[test]
fn damage_in_a_backup_is_refused_by_name() {
    let place = tempfile::tempdir().unwrap();
    let (data, good) = (place.path().join("data"), place.path().join("good"));
    fill_data(&data);
    make(&data, &good, &mut sink()).unwrap();
    let all = files(&good, &mut |_| true).unwrap().files;
    assert!(all.len() >= 7, "{all:?}");
    for name in &all {
        let path = good.join(name);
        let content = fs::read(&path).unwrap();
        for at in [0, content.len() / 2, content.len() - 1] {
            let mut hurt = content.clone();
            hurt[at] ^= 4;
            fs::write(&path, hurt).unwrap();
            refused(&good, &["no good backup", name]);
        }
        fs::write(&path, &content[..content.len() - 1]).unwrap();
        refused(&good, &["no good backup", name]);
        fs::remove_file(&path).unwrap();
        refused(&good, &["no good backup", name]);
        fs::write(&path, &content).unwrap();
    }
    fs::write(good.join("more"), "x").unwrap();
    refused(&good, &["more: the manifest does not know it"]);
    fs::remove_file(good.join("more")).unwrap();
    verify(&good, &mut sink()).unwrap();
}

#[test]
fn an_archive_that_is_cut_anywhere_or_hurt_anywhere_is_refused() {
    let place = tempfile::tempdir().unwrap();
    let (data, good, hurt) = (place.path().join("data"), place.path().join("good.tar"), place.path().join("hurt.tar"));
    fill_data(&data);
    make(&data, &good, &mut sink()).unwrap();
    let content = fs::read(&good).unwrap();
    // It ends with two blocks of nothing, which may be missing.
    for at in (0..content.len() - 1024).step_by(content.len() / 97) {
        fs::write(&hurt, &content[..at]).unwrap();
        refused(&hurt, &["no good backup"]);
    }
    let mut wrong = 0;
    for at in (0..content.len() - 1024).step_by(content.len() / 311) {
        let mut flipped = content.clone();
        flipped[at] ^= 1;
        fs::write(&hurt, flipped).unwrap();
        // What fills up a block, or names an owner, is nobody's content.
        match verify(&hurt, &mut sink()) {
            Ok(done) => assert_eq!((done.files, done.bytes), {
                let good = verify(&good, &mut sink()).unwrap();
                (good.files, good.bytes)
            }),
            Err(_) => wrong += 1,
        }
    }
    assert!(wrong > 250, "only {wrong} were seen");
}
