//! Power cuts and errors at every write of a log's life.

use super::*;

/// What was committed in all lives: content, and whether it was acknowledged.
#[derive(Default)]
struct Told(Vec<(Vec<u8>, bool)>);

impl Told {
    /// One life: groups of different sizes, until the disk refuses for good. Contents are different in every life.
    fn live(&mut self, medium: &Medium, life: u8) {
        let Ok((log, ..)) = open(medium) else { return };
        for round in 0..10u8 {
            let group: Vec<Vec<u8>> = (0..=round % 3).map(|place| [life, round, place, 7].repeat(1 + usize::from(round))).collect();
            let outcomes = commit_group(&log, &group);
            self.0.extend(group.into_iter().zip(outcomes.iter().map(Result::is_ok)));
        }
    }

    /// All that was acknowledged is there once and in its order; what was not may be there, if all of its own life before it is.
    fn check(&self, read: &[(u64, Vec<u8>)], at: &str) {
        assert!(read.iter().map(|(number, _)| *number).eq(1..=read.len() as u64), "{at}: numbers");
        let mut told = self.0.iter();
        for (_, content) in read {
            for (passed, acknowledged) in told.by_ref() {
                if passed == content {
                    break;
                }
                assert!(!acknowledged, "{at}: {passed:?} was acknowledged and is gone, or out of order");
            }
        }
        assert!(told.all(|(_, acknowledged)| !acknowledged), "{at}: an acknowledged record at the end is gone");
        let mut contents: Vec<_> = read.iter().map(|(_, content)| content).collect();
        contents.sort();
        assert!(contents.windows(2).all(|pair| pair[0] != pair[1]), "{at}: a record is there twice");
    }
}

#[test]
fn a_power_cut_or_an_error_at_any_write_loses_nothing_acknowledged_and_doubles_nothing() {
    let (mut faults, mut kept_more) = (0, 0);
    for (seed, fault) in (0..40).flat_map(|seed| [(seed, Fault::Power), (seed, Fault::Error)]) {
        for after in 0.. {
            let (medium, mut told) = (Medium::default(), Told::default());
            told.live(&medium, 0);
            medium.arm(after, fault, seed * 1000 + after as u64);
            told.live(&medium, 1);
            if !medium.power_on() {
                break;
            }
            faults += 1;
            told.live(&medium, 2);
            let at = format!("{fault:?} after {after} writes, seed {seed}");
            let (_, recovered, read) = open(&medium).unwrap();
            assert_eq!(recovered.damage, [], "{at}: nothing was damaged");
            told.check(&read, &at);
            kept_more += usize::from(read.len() > told.0.iter().filter(|(_, acknowledged)| *acknowledged).count());
        }
    }
    assert!(faults > 500 && kept_more > 10, "{faults} faults, {kept_more} with records that nobody was told of");
}

#[test]
fn an_error_fails_those_that_wait_too_and_the_next_begins_a_new_segment() {
    let medium = Medium::default();
    let (log, ..) = open(&medium).unwrap();
    log.commit(vec![1]).unwrap();
    let segments = medium.with(|state| state.segments.len());
    medium.arm(0, Fault::Error, 1);
    assert!(commit_group(&log, &[vec![2], vec![3]]).iter().all(Result::is_err));
    assert_eq!(log.commit(vec![4]).unwrap(), 2);
    assert_eq!(medium.with(|state| state.segments.len()), segments + 1);
    assert_eq!(open(&medium).unwrap().2, [(1, vec![1]), (2, vec![4])]);
}

#[test]
fn what_came_during_a_write_that_fails_fails_with_it() {
    let medium = Medium::default();
    let (log, ..) = open(&medium).unwrap();
    log.commit(vec![1]).unwrap();
    medium.arm(0, Fault::Error, 1);
    medium.with(|held| held.held = true);
    let (first, second) = std::thread::scope(|scope| {
        let first = scope.spawn(|| log.commit(vec![2]));
        wait_until(|| medium.with(|held| held.waits));
        let second = scope.spawn(|| log.commit(vec![3]));
        wait_until(|| log.lock().waiting.len() == 1);
        medium.with(|held| held.held = false);
        (first.join().unwrap(), second.join().unwrap())
    });
    assert!(first.is_err() && second.is_err(), "the second may build on the first");
    assert_eq!(log.commit(vec![4]).unwrap(), 2);
    assert_eq!(open(&medium).unwrap().2, [(1, vec![1]), (2, vec![4])]);
}

#[test]
fn a_power_cut_at_any_write_of_a_release_keeps_the_numbers() {
    for seed in 0..40 {
        for after in 0.. {
            let medium = Medium::default();
            let (log, ..) = open(&medium).unwrap();
            let last = (0..9u8).map(|n| log.commit(vec![n; 60]).unwrap()).last().unwrap();
            medium.arm(after, Fault::Power, seed * 100 + after as u64);
            let released = log.release(last);
            let cut = medium.power_on();
            assert_eq!(released.is_err(), cut);
            let (log, recovered, _) = open(&medium).unwrap();
            assert_eq!((recovered.last, recovered.damage), (last, vec![]), "after {after} writes, seed {seed}");
            assert_eq!(log.commit(vec![7]).unwrap(), last + 1);
            assert_eq!(open(&medium).unwrap().2.last(), Some(&(last + 1, vec![7])), "after {after} writes, seed {seed}");
            if !cut {
                break;
            }
        }
    }
}
