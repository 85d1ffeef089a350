//! Bits that flip on the disk, in what was acknowledged long ago.

use proptest::prelude::*;

use super::*;

/// Three lives of ten groups of records.
fn written() -> (Medium, Read) {
    let medium = Medium::default();
    let mut committed = Read::new();
    for life in 0..3u8 {
        let (log, ..) = open(&medium).unwrap();
        for n in 0..10u8 {
            let group = [[life, n, 0, 9].repeat(3), [life, n, 1, 8].repeat(5)];
            let numbers = commit_group(&log, &group);
            committed.extend(numbers.into_iter().map(Result::unwrap).zip(group));
        }
    }
    (medium, committed)
}

/// All that is not read is named, but for what is gone at the end, and the last write: of that nothing is left that calls it durable.
fn is_accounted_for(medium: &Medium, committed: &Read) -> Recovered {
    let (_, recovered, read) = open(medium).unwrap();
    assert!(read.iter().all(|record| committed.contains(record)), "what is read is what was written");
    let gone = |number: &u64| !read.iter().any(|(read, _)| read == number);
    let last_write = committed.len() as u64 - 1;
    for number in committed.iter().map(|(number, _)| *number).filter(gone) {
        let named = recovered.damage.iter().any(|damage| (damage.records.0..=damage.records.1).contains(&number));
        let at_the_end = || committed.iter().all(|(later, _)| *later < number || gone(later));
        assert!(named || number >= last_write || at_the_end(), "record {number} is gone and not named: {recovered:?}");
    }
    for damage in &recovered.damage {
        assert!((damage.records.0..=damage.records.1).all(|number| gone(&number)), "named and read: {damage:?}");
    }
    recovered
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn damage_anywhere_is_named_and_the_rest_is_read(
        places in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 1usize..60, any::<u8>()), 1..3),
    ) {
        let (medium, committed) = written();
        medium.with(|state| for (segment, place, length, value) in places {
            let segment = *segment.get(&state.segments.keys().copied().collect::<Vec<_>>());
            let bytes = state.segments.get_mut(&segment).unwrap();
            let from = place.index(bytes.len());
            let to = (from + length).min(bytes.len());
            bytes[from..to].fill(value);
        });
        is_accounted_for(&medium, &committed);
    }

    #[test]
    fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let medium = Medium::default();
        medium.with(|state| state.segments.insert(1, bytes));
        let (log, ..) = open(&medium).unwrap();
        log.commit(vec![1]).unwrap();
        prop_assert_eq!(open(&medium).unwrap().2, [(1, vec![1])]);
    }
}

#[test]
fn a_flipped_bit_costs_one_record_which_is_kept_and_named() {
    let (medium, committed) = written();
    // In the content of record 3, of the first segment.
    medium.with(|state| {
        let bytes = state.segments.get_mut(&1).unwrap();
        let at = bytes.windows(4).position(|window| window == [0, 1, 0, 9]).unwrap();
        bytes[at] ^= 0x40;
    });
    let recovered = is_accounted_for(&medium, &committed);
    let [damage] = recovered.damage.as_slice() else { panic!("{recovered:?}") };
    assert_eq!((damage.records, damage.segment, recovered.records), ((3, 3), 1, committed.len() as u64 - 1));
    let kept = medium.with(|state| state.aside[&damage.kept].clone());
    assert!(kept.windows(4).any(|window| window == [0x40, 1, 0, 9]));
    // It is there for ever, and so it is named at every start.
    assert_eq!(open(&medium).unwrap().1.damage, recovered.damage);
}

#[test]
fn a_segment_that_is_gone_is_named() {
    let (medium, committed) = written();
    let (segment, next) = medium.with(|state| {
        let segments: Vec<u64> = state.segments.keys().copied().collect();
        state.segments.remove(&segments[1]);
        (segments[1], segments[2])
    });
    let recovered = is_accounted_for(&medium, &committed);
    assert_eq!(recovered.damage.iter().map(|damage| damage.records).collect::<Vec<_>>(), [(segment, next - 1)]);
}
