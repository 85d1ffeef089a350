//! What is given up, and the records of it.

use super::*;

#[test]
fn what_is_on_record_as_damaged_is_not_missed_again_with_the_next_one() {
    for (place, reopened) in Place::both().into_iter().zip([false, false]).chain(Place::both().into_iter().zip([true, true])) {
        let mut buffer = place.open(LIMITS);
        for i in 0..3 {
            buffer.append(0, &closed(i * 100)).unwrap();
        }
        buffer.commit().unwrap();
        buffer.keep(0, &closed(300)).unwrap();
        // The last one of a group loses a bit while its chunk still grows.
        let mut damaged = buffer.store.read(1, 3).unwrap().unwrap().1;
        *damaged.last_mut().unwrap() ^= 4;
        buffer.store.append(1, &[(1, damaged)]).unwrap();
        buffer.cached = None;
        buffer.get(3, 0).unwrap();
        if reopened {
            drop(buffer);
            buffer = place.open(LIMITS);
        }
        buffer.seal_newest().unwrap();
        buffer.store.append(1, &[(4, vec![9])]).unwrap();
        // Read once more, it is the same.
        for _ in 0..2 {
            let (gaps, readings) = content(&mut buffer);
            let told: Vec<(u64, u64)> = gaps.iter().map(|gap| (gap.first_seq, gap.readings)).collect();
            assert_eq!((told.as_slice(), readings, buffer.stats().dropped_readings), (&[(3, 10), (4, 10)][..], 20, 20), "{reopened}");
        }
    }
}

#[test]
fn every_reading_dropped_by_a_full_buffer_is_in_a_gap_record_that_is_delivered() {
    for place in Place::both() {
        // A chunk of sled takes a good part of a megabyte at least.
        let on_disk = matches!(place, Place::Disk(_));
        let (max_bytes, rounds, ticks) = if on_disk { (4 << 20, 3000, 400) } else { (6000, 300, 10) };
        let limits = Limits { max_bytes, ..LIMITS };
        let mut buffer = place.open(limits);
        // Several turns of the buffer, so that batches with gap records are dropped too.
        for i in 0..rounds {
            buffer.keep(0, &closed_with(&dictionary("V"), i * 1000, ticks)).unwrap();
            assert!(on_disk || buffer.store.bytes() <= max_bytes, "{} bytes", buffer.store.bytes());
            if i % (rounds / 4) == 0 {
                drop(buffer);
                buffer = place.open(limits);
            }
        }
        let stats = buffer.stats();
        let all = rounds as u64 * ticks as u64;
        assert!(stats.batches > 5 && stats.dropped_readings > all / 2, "{stats:?}");
        assert!(stats.bytes > max_bytes / 2, "{stats:?}");
        let (mut gaps, readings) = content(&mut buffer);
        gaps.extend(buffer.pending_gaps());
        assert_eq!(gaps.iter().map(|gap| gap.readings).sum::<u64>() + readings, all);
        assert_eq!(gaps.iter().map(|gap| gap.readings).sum::<u64>(), stats.dropped_readings);
        gaps.sort_by_key(|gap| gap.first_seq);
        // Every dropped number is in exactly one record.
        let mut next = 1;
        for gap in &gaps {
            assert_eq!((gap.first_seq, gap.reason), (next, GapReason::BufferFull));
            let end_ms = (gap.last_seq as i64 - 1) * 1000 + ticks as i64 - 1;
            assert_eq!((gap.from_ms, gap.to_ms), ((gap.first_seq as i64 - 1) * 1000, end_ms));
            next = gap.last_seq + 1;
        }
        assert_eq!(next, stats.oldest);
        assert!(stats.pending_gaps < 3);
    }
}

#[test]
fn batches_that_are_too_old_are_dropped_and_on_record() {
    for place in Place::both() {
        let limits = Limits { max_age_ms: 1000, ..LIMITS };
        let mut buffer = place.open(limits);
        for i in 0..10 {
            buffer.keep(i * 100, &closed(i * 100)).unwrap();
        }
        assert_eq!(buffer.stats().oldest, 1);
        // The readings of batch 3 end at 209.
        buffer.keep(1250, &closed(1250)).unwrap();
        assert_eq!(buffer.stats().oldest, 4);
        let (gaps, _) = content(&mut buffer);
        let expected = Gap { from_ms: 0, to_ms: 209, first_seq: 1, last_seq: 3, readings: 30, reason: GapReason::TooOld };
        assert_eq!(gaps, [expected]);
    }
}

#[test]
fn what_may_have_been_sent_has_gap_records_of_its_own() {
    for place in Place::both() {
        let limits = Limits { max_age_ms: 1000, ..LIMITS };
        let mut buffer = place.open(limits);
        for i in 0..GIVEN_AHEAD as i64 + 9 {
            buffer.append(0, &closed(i)).unwrap();
        }
        buffer.commit().unwrap();
        let next = buffer.stats().next;
        // The server may have got one of these, whose acknowledgement is on its way.
        buffer.get(4, 0).unwrap().unwrap();
        drop(buffer);
        let mut buffer = place.open(limits);
        buffer.drop_old(5000).unwrap();
        let expected: Vec<(u64, u64)> = [(1, 3)].into_iter().chain((4..4 + GIVEN_AHEAD).map(|seq| (seq, seq))).collect();
        let mut gaps: Vec<(u64, u64)> = buffer.pending_gaps().iter().map(|gap| (gap.first_seq, gap.last_seq)).collect();
        let last = gaps.pop().unwrap();
        assert_eq!(gaps, expected);
        assert_eq!(last, (4 + GIVEN_AHEAD, next - 1));
        // Once all that is delivered, it is forgotten.
        while buffer.stats().pending_gaps > 0 {
            let seq = buffer.keep(5000, &closed(5000)).unwrap();
            buffer.get(seq, 0).unwrap().unwrap();
            buffer.release(seq).unwrap();
        }
        assert!(buffer.head.given.iter().all(|(first, _)| first >= next), "{:?}", buffer.head.given);
    }
}

#[test]
fn a_jump_in_time_is_on_record_in_the_batch_that_comes_after_it() {
    for place in Place::both() {
        let mut buffer = place.open(LIMITS);
        buffer.keep(0, &closed(0)).unwrap();
        let jump = |from_ms, to_ms| Some(crate::timebase::Step { from_ms, to_ms });
        buffer.keep(0, &Closed { step: jump(100, 700), ..closed(700) }).unwrap();
        buffer.keep(0, &Closed { step: jump(800, 300), ..closed(300) }).unwrap();
        let (gaps, readings) = content(&mut buffer);
        let gap =
            |from_ms, to_ms, first_seq, last_seq| Gap { from_ms, to_ms, first_seq, last_seq, readings: 0, reason: GapReason::ClockStep };
        assert_eq!((gaps, readings), (vec![gap(100, 700, 2, 2), gap(300, 800, 3, 4)], 30));
    }
}

#[test]
fn a_full_disk_costs_the_oldest_batches_and_they_are_on_record() {
    let medium = Medium::default();
    let mut buffer = Buffer::open(Memory::open(&medium), LIMITS, 0).unwrap();
    for i in 0..20 {
        buffer.keep(0, &closed(i)).unwrap();
        if i % 3 == 2 {
            buffer.seal_newest().unwrap();
        }
    }
    medium.fail(StoreError::Full);
    assert_eq!(buffer.keep(0, &closed(99)).unwrap(), 21);
    assert_eq!(buffer.stats().oldest, 4);
    let (gaps, readings) = content(&mut buffer);
    assert_eq!((gaps[0].last_seq, gaps[0].readings, gaps[0].reason, readings), (3, 30, GapReason::BufferFull, 180));
    assert!(buffer.take_notices().contains(&Notice::DiskFull(3)));
}
