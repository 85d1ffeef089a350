//! Many at once: commits are applied in the order of the log; readers see what was answered while it moves; a disk that refuses.

use super::faulty::open;
use super::*;

#[test]
fn of_many_that_correct_one_reading_at_once_the_last_in_the_log_is_there_after_a_new_start_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pattoo.redb");
    let store = Embedded::open(&path).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let store = &store;
            scope.spawn(move || {
                for n in 0..20 {
                    store.commit(&one(1, 5, thread * 100 + n)).unwrap();
                }
            });
        }
    });
    let before = store.latest(&[SeriesId(1)]).unwrap();
    drop(store);
    assert_eq!(Embedded::open(&path).unwrap().latest(&[SeriesId(1)]).unwrap(), before);
}

#[test]
fn what_was_answered_is_seen_while_it_moves_to_the_shelf() {
    let folder = tempfile::tempdir().unwrap();
    let store = Embedded::open_within(&folder.path().join("pattoo.redb"), TINY).unwrap();
    let committed = AtomicI64::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for at in 1..=60 {
                store.commit(&one(1, at, at)).unwrap();
                committed.store(at, Ordering::SeqCst);
            }
        });
        loop {
            let answered = committed.load(Ordering::SeqCst);
            let seen = store.raw(SeriesId(1), 0, i64::MAX, usize::MAX).unwrap();
            assert!(seen.iter().map(|reading| reading.at_ms).eq(1..=seen.len() as i64), "each once and in order");
            assert!(seen.len() as i64 >= answered, "{} of {answered}", seen.len());
            let counted: u64 = store.buckets(SeriesId(1), 0, i64::MAX, 7).unwrap().iter().map(|bucket| bucket.count).sum();
            assert!(counted as i64 >= answered);
            if answered == 60 {
                break;
            }
            std::thread::yield_now();
        }
    });
}

#[test]
fn a_disk_that_refuses_fails_commits_while_queries_go_on_and_commits_work_again_by_themselves() {
    let folder = tempfile::tempdir().unwrap();
    let faults = Faults::default();
    let engine = Arc::new(open(folder.path(), &faults, Budget { head_bytes: 2000, ..Budget::DEFAULT }).unwrap());
    let flusher = Flusher::start(&engine).unwrap();
    engine.commit(&one(1, 1, 1)).unwrap();
    faults.after(0);
    let refused = engine.commit(&one(1, 2, 2)).unwrap_err();
    assert!(matches!(refused, StoreError::Io { .. }), "{refused}");
    assert_eq!(engine.raw(SeriesId(1), 0, 9, 9).unwrap().len(), 1);
    assert_eq!(engine.latest(&[SeriesId(1)]).unwrap()[0].as_ref().unwrap().at_ms, 1);
    faults.after(i64::MAX);
    engine.commit(&one(1, 3, 3)).unwrap();
    // Only the shelf refuses: both heads fill, and then commits are refused, too.
    std::fs::rename(folder.path().join("parts"), folder.path().join("away")).unwrap();
    let mut at = 3;
    let refused = loop {
        at += 1;
        assert!(at < 1000, "it never refused");
        if let Err(e) = engine.commit(&one(1, at, at)) {
            break e;
        }
    };
    assert!(matches!(refused, StoreError::Io { .. }), "{refused}");
    assert_eq!(engine.raw(SeriesId(1), 0, 9999, 9999).unwrap().len() as i64, at - 2);
    std::fs::rename(folder.path().join("away"), folder.path().join("parts")).unwrap();
    engine.commit(&one(1, at, at)).unwrap();
    assert_eq!(engine.raw(SeriesId(1), 0, 9999, 9999).unwrap().len() as i64, at - 1);
    drop(flusher);
}
