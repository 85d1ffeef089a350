//! Several batches in one commit: what is told of each is true, whatever fails.

use super::*;

const GROUP: i64 = 6;

fn group() -> Vec<Closed> {
    (0..GROUP).map(|i| closed(i * 100)).collect()
}

/// The times of the batches that are there, by number; each is one of the group, or only says what is missing.
fn there(medium: &Medium) -> Vec<(u64, i64)> {
    let mut buffer = Buffer::open(Memory::open(medium), LIMITS, 0).unwrap();
    let Stats { oldest, next, .. } = buffer.stats();
    let mut found = Vec::new();
    for seq in oldest..next {
        let stored = buffer.get(seq, 0).unwrap().unwrap();
        found.extend((0..GROUP).filter(|i| closed(i * 100).body == stored.body).map(|i| (seq, i * 100)));
    }
    found
}

/// Each that was told to be stored is there under its number, and none is there twice.
fn judge(medium: &Medium, kept: &[Result<u64, BufferError>], at: &str) {
    let there = there(medium);
    for (i, kept) in (0..).zip(kept) {
        let copies: Vec<u64> = there.iter().filter(|(_, ms)| *ms == i * 100).map(|(seq, _)| *seq).collect();
        match kept {
            Ok(seq) => assert_eq!(copies, [*seq], "{at}: batch {i} was promised"),
            Err(_) => assert!(copies.len() <= 1, "{at}: batch {i} is there {} times", copies.len()),
        }
    }
}

#[test]
fn a_group_is_stored_with_one_wait_for_the_disk() {
    let medium = Medium::default();
    let mut buffer = Buffer::open(Memory::open(&medium), LIMITS, 0).unwrap();
    assert_eq!(buffer.keep_all(0, &group()), (1..=6).map(Ok).collect::<Vec<_>>());
    assert_eq!(medium.appends(), 1);
    assert_eq!(buffer.keep_all(0, &[]), []);
    judge(&medium, &(1..=6).map(Ok).collect::<Vec<_>>(), "nothing failed");
}

#[test]
fn a_power_cut_at_any_write_of_a_group_keeps_what_was_promised() {
    for (half, keeps_lazy) in [(false, false), (true, false), (false, true), (true, true)] {
        for writes in 0.. {
            let medium = Medium::default();
            let mut buffer = Buffer::open(Memory::open(&medium), LIMITS, 0).unwrap();
            medium.cut_after(writes, half);
            let kept = buffer.keep_all(0, &group());
            drop(buffer);
            let met = medium.power_on(keeps_lazy);
            judge(&medium, &kept, &format!("cut after {writes} writes, half {half}"));
            if !met {
                assert!(kept.iter().all(Result::is_ok) && writes > 3);
                break;
            }
        }
    }
}

#[test]
fn a_group_that_failed_is_tried_again_and_nothing_is_doubled() {
    let io = || StoreError::Io("EIO".into());
    type Failures = fn(&Medium, StoreError);
    let cases: [(&str, Failures, bool); 4] = [
        ("failed", |medium, error| medium.fail(error), true),
        ("done and said to have failed", |medium, error| medium.fail_late(error), true),
        ("twice", |medium, error| [medium.fail(error.clone()), medium.fail(error)].into_iter().collect(), true),
        ("so often that the first is refused", |medium, error| (0..3).for_each(|_| medium.fail(error.clone())), false),
    ];
    for (name, fail, all) in cases {
        let medium = Medium::default();
        let mut buffer = Buffer::open(Memory::open(&medium), LIMITS, 0).unwrap();
        fail(&medium, io());
        let kept = buffer.keep_all(0, &group());
        assert_eq!(kept.iter().filter(|kept| kept.is_ok()).count(), if all { 6 } else { 5 }, "{name}: {kept:?}");
        drop(buffer);
        judge(&medium, &kept, name);
    }
}
