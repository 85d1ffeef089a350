//! Snapshots while everything moves, and checks of what lies still.

use std::sync::atomic::AtomicBool;

use super::super::{checking, snapshot};
use super::*;

const LEDGER: &str = "pattoo.redb";

fn numbered(at: i64) -> Commit {
    let stream = StreamState { gateway: "g1".into(), stream: 7, contiguous: at as u64, ahead: Vec::new() };
    Commit { streams: vec![stream], ..one(1, at, at * 3) }
}

fn put(store: &Embedded, times: std::ops::Range<i64>) {
    for at in times {
        store.commit(&numbered(at)).unwrap();
    }
}

/// The times of series 1, all of them with the value that they came with.
fn times(store: &Embedded) -> Vec<i64> {
    let readings = store.raw(SeriesId(1), i64::MIN, i64::MAX, usize::MAX).unwrap();
    assert!(readings.iter().all(|reading| reading.sample == Sample::Good(Value::int(reading.at_ms * 3))));
    readings.iter().map(|reading| reading.at_ms).collect()
}

#[test]
fn a_snapshot_while_everything_moves_has_all_that_was_answered_before_it_and_nothing_is_missing_between() {
    const ROUNDS: usize = 12;
    let folder = tempfile::tempdir().unwrap();
    let store = Embedded::open_within(&folder.path().join("data").join(LEDGER), TINY).unwrap();
    store.commit(&numbered(0)).unwrap();
    let (answered, done) = (AtomicI64::new(0), AtomicBool::new(false));
    let place = |round: usize| folder.path().join(round.to_string());
    let before: Vec<i64> = std::thread::scope(|scope| {
        scope.spawn(|| {
            for at in (1..).take_while(|_| !done.load(Ordering::SeqCst)) {
                store.commit(&numbered(at)).unwrap();
                answered.store(at, Ordering::SeqCst);
            }
        });
        scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                store.engine.shelf.merge_step(i64::MAX).unwrap();
            }
        });
        let taken = (0..ROUNDS).map(|round| {
            // So that each has something that the one before does not have.
            while answered.load(Ordering::SeqCst) < round as i64 * 5 {
                std::thread::yield_now();
            }
            std::fs::create_dir(place(round)).unwrap();
            let before = answered.load(Ordering::SeqCst);
            store.snapshot(&place(round)).unwrap();
            before
        });
        let before = taken.collect();
        done.store(true, Ordering::SeqCst);
        before
    });
    for (round, before) in before.into_iter().enumerate() {
        let checked = checking::check(&place(round), LEDGER, &mut |_| {}).unwrap();
        assert_eq!((checked.series, &checked.damage), (1, &Vec::new()));
        let copy = Embedded::open(&place(round).join(LEDGER)).unwrap();
        let times = times(&copy);
        assert!(times.len() as i64 > before, "round {round}: {} of {before}", times.len());
        assert_eq!(times, (0..times.len() as i64).collect::<Vec<_>>(), "round {round}");
        assert_eq!(copy.load().unwrap().streams[0].contiguous, times.len() as u64 - 1, "round {round}");
    }
}

#[test]
fn a_closed_store_is_locked_while_its_snapshot_is_made_and_an_open_one_has_none_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let (path, into) = (folder.path().join("data").join(LEDGER), folder.path().join("copy"));
    let store = Embedded::open(&path).unwrap();
    put(&store, 0..9);
    assert!(matches!(snapshot::lock(&path), Err(StoreError::InUse { .. })));
    drop(store);
    let lock = snapshot::lock(&path).unwrap();
    assert!(matches!(Embedded::open(&path).err(), Some(StoreError::InUse { .. })));
    std::fs::create_dir(&into).unwrap();
    snapshot::of_closed(&path, &into).unwrap();
    drop(lock);
    assert_eq!(times(&Embedded::open(&into.join(LEDGER)).unwrap()), (0..9).collect::<Vec<_>>());
}

/// A store with parts and a log beyond them.
fn with_parts_and_log(path: &Path) {
    let store = Embedded::open(path).unwrap();
    put(&store, 0..50);
    store.flush().unwrap();
    put(&store, 50..60);
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    snapshot::of_closed(from, to).unwrap();
}

#[test]
fn a_check_names_each_damage_and_counts_what_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data").join(LEDGER);
    with_parts_and_log(&path);
    let files = |of: &str| -> Vec<String> {
        let entries = std::fs::read_dir(folder.path().join("data").join(of)).unwrap();
        entries.map(|entry| format!("{of}/{}", entry.unwrap().file_name().into_string().unwrap())).collect()
    };
    let [part]: [String; 1] = files("parts").try_into().unwrap();
    let newest = files("log").into_iter().max().unwrap();

    let good = folder.path().join("good");
    copy(&path, &good);
    let mut told = Vec::new();
    let checked = checking::check(&good, LEDGER, &mut |file| told.push(file.to_owned())).unwrap();
    assert_eq!((checked.series, checked.parts, checked.readings, checked.readings_in_log), (1, 1, 50, 10));
    assert_eq!((checked.damage, told), (Vec::new(), vec![LEDGER.to_owned(), "log".into(), part.clone()]));

    // Whose records are behind a flipped bit, and a later one shows that they were there.
    let middle = std::fs::metadata(folder.path().join("data").join(&newest)).unwrap().len() / 2;
    for (n, (file, at, kept)) in [(part.as_str(), 40, 0..50), (&newest, middle, 1..60), (LEDGER, 70_000, 0..1)].into_iter().enumerate() {
        let hurt = folder.path().join(format!("hurt-{n}"));
        copy(&path, &hurt);
        // Not through a further name of the good file.
        let mut bytes = std::fs::read(hurt.join(file)).unwrap();
        std::fs::remove_file(hurt.join(file)).unwrap();
        let at = (at as usize).min(bytes.len() - 1);
        bytes.get_mut(at).into_iter().for_each(|byte| *byte ^= 0x55);
        if file == LEDGER {
            bytes.get_mut(4096..).unwrap().fill(0xa5);
        }
        std::fs::write(hurt.join(file), bytes).unwrap();
        let damage = checking::check(&hurt, LEDGER, &mut |_| {}).unwrap().damage;
        assert_eq!(damage.len(), 1, "{file}: {damage:?}");
        assert!(damage[0].file == file && kept.contains(&damage[0].kept), "{file}: {damage:?}");
    }
}

#[test]
fn a_check_says_what_of_the_log_is_neither_there_nor_in_parts() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data").join(LEDGER);
    let store = Embedded::open(&path).unwrap();
    put(&store, 0..1);
    drop(store);
    put(&Embedded::open(&path).unwrap(), 1..2);
    let copied = folder.path().join("copy");
    copy(&path, &copied);
    std::fs::remove_file(copied.join("log").join(log::files::name(1))).unwrap();
    let checked = checking::check(&copied, LEDGER, &mut |_| {}).unwrap();
    let what: Vec<_> = checked.damage.iter().map(|damage| (damage.file.as_str(), damage.what.as_str())).collect();
    assert_eq!(what, [("log", "commits 1 to 1 are neither in it nor in parts")]);
}

#[test]
fn a_check_reads_rollups_as_well_as_parts() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data").join(LEDGER);
    let store = Embedded::open(&path).unwrap();
    put(&store, 0..50);
    store.tidy(2 * DAY_MS).unwrap();
    drop(store);
    let parts = std::fs::read_dir(folder.path().join("data/parts")).unwrap();
    let names = parts.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let rollups: Vec<String> = names.filter(|name| shelf::is_rollup(name)).map(|name| format!("parts/{name}")).collect();
    assert_eq!(rollups.len(), 4);
    for (n, rollup) in rollups.iter().enumerate() {
        let hurt = folder.path().join(n.to_string());
        copy(&path, &hurt);
        let mut bytes = std::fs::read(hurt.join(rollup)).unwrap();
        std::fs::remove_file(hurt.join(rollup)).unwrap();
        bytes[9] ^= 0x55;
        std::fs::write(hurt.join(rollup), bytes).unwrap();
        let checked = checking::check(&hurt, LEDGER, &mut |_| {}).unwrap();
        let named: Vec<_> = checked.damage.iter().map(|damage| (damage.file.as_str(), damage.kept)).collect();
        assert_eq!((named, checked.parts, checked.readings), (vec![(rollup.as_str(), 0)], 1, 50));
    }
}
