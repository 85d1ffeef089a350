//! What is this file's own: its formats, its making, who has it open.

use super::super::super::StreamState;
use super::*;

/// A file as format 2 was, with readings.
pub(in super::super) fn write_format_2(path: &Path, series: &[SeriesEntry], readings: &[(SeriesId, Reading)]) {
    drop(Ledger::open(path).unwrap());
    let database = Database::open(path).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction.open_table(META).unwrap().insert("format", 2).unwrap();
    write(&transaction, &Commit { series: series.to_vec(), ..Commit::default() }).unwrap();
    for (id, reading) in readings {
        let mut table = transaction.open_table(READINGS).unwrap();
        table.insert((id.0, reading.at_ms), row::write_sample(&reading.sample).as_slice()).unwrap();
    }
    transaction.commit().unwrap();
}

fn commit(ledger: &Ledger, commit: &Commit) {
    ledger.write(std::iter::once(commit), None).unwrap();
}

#[test]
fn a_file_of_a_newer_program_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pattoo.redb");
    drop(Ledger::open(&path).unwrap());
    let database = Database::open(&path).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction.open_table(META).unwrap().insert("format", FORMAT + 1).unwrap();
    transaction.commit().unwrap();
    drop(database);
    let error = Ledger::open(&path).err().unwrap().to_string();
    assert!(error.contains("format 4") && error.contains("upgrade pattoo-server"), "{error}");
}

#[test]
fn a_file_of_format_1_keeps_its_gaps_and_gets_room_for_more() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pattoo.redb");
    let database = Database::create(&path).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction.open_table(META).unwrap().insert("format", 1).unwrap();
    transaction.open_table(GAPS_1).unwrap().insert(("g1", 7, 4), (10, 20, 6, 30, GapReason::TooOld.code())).unwrap();
    transaction.commit().unwrap();
    drop(database);
    let old = Gap { from_ms: 10, to_ms: 20, first_seq: 4, last_seq: 6, readings: 30, reason: GapReason::TooOld };
    let step = Gap { readings: 0, reason: GapReason::ClockStep, last_seq: 4, ..old.clone() };
    let store = Ledger::open(&path).unwrap();
    assert_eq!(store.gaps("g1", 0, 99).unwrap(), std::slice::from_ref(&old));
    commit(&store, &Commit { gaps: vec![("g1".into(), 7, step.clone())], ..Commit::default() });
    drop(store);
    assert_eq!(Ledger::open(&path).unwrap().gaps("g1", 0, 99).unwrap(), [old, step]);
}

#[test]
fn what_a_power_cut_left_of_a_file_that_was_being_made_is_in_nobodys_way() {
    for left in [&b""[..], b"redb, but only the beginning of it", &[0; 4096]] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pattoo.redb");
        fs::write(path.with_extension("new"), left).unwrap();
        commit(&Ledger::open(&path).unwrap(), &Commit::default());
        assert!(!path.with_extension("new").exists());
    }
}

#[test]
fn of_many_that_start_at_once_in_a_new_folder_one_has_the_store() {
    for _ in 0..20 {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pattoo.redb");
        let opened: Vec<_> = std::thread::scope(|scope| {
            let starts: Vec<_> = (0..4).map(|_| scope.spawn(|| Ledger::open(&path))).collect();
            starts.into_iter().map(|start| start.join().unwrap()).collect()
        });
        let (stores, others): (Vec<_>, Vec<_>) = opened.into_iter().partition(Result::is_ok);
        assert_eq!(stores.len(), 1);
        assert!(others.iter().all(|other| matches!(other, Err(StoreError::InUse { .. }))));
        // It is the one whose commits are found again.
        commit(stores.into_iter().next().unwrap().as_ref().unwrap(), &one_stream());
        assert_eq!(Ledger::open(&path).unwrap().load().unwrap().streams.len(), 1);
    }
}

fn one_stream() -> Commit {
    let state = StreamState { gateway: "g1".into(), stream: 1, contiguous: 2, ahead: Vec::new() };
    Commit { streams: vec![state], ..Commit::default() }
}

#[test]
fn a_file_of_something_else_is_called_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pattoo.redb");
    fs::write(&path, b"what is this doing here, in the place of a database?".repeat(100)).unwrap();
    let error = Ledger::open(&path).err().unwrap();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
}

#[test]
fn a_second_opening_says_that_it_is_in_use() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pattoo.redb");
    let _first = Ledger::open(&path).unwrap();
    assert!(matches!(Ledger::open(&path).err(), Some(StoreError::InUse { .. })));
}

#[test]
fn after_an_error_the_next_call_opens_the_file_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = Ledger::open(&folder.path().join("pattoo.redb")).unwrap();
    let failed = store.with(|_| Err::<(), _>(redb::Error::Io(std::io::Error::other("disk full"))));
    assert!(failed.unwrap_err().to_string().contains("disk full"));
    assert!(store.database.read().unwrap().is_none());
    commit(&store, &Commit::default());
    assert!(store.with(|_| -> Result<(), redb::Error> { panic!("page") }).is_err());
    commit(&store, &Commit::default());
}
