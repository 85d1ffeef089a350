use pattoo_wire::{Batch, GapReason, Schema, Value};
use proptest::prelude::*;

use super::*;
use crate::batch::Closed;
use crate::buffer::memory::{Medium, Memory};
use crate::buffer::tests::closed;
use crate::buffer::{Limits, Notice};

const LIMITS: Limits = Limits { max_bytes: 4 << 20, ballast_bytes: 0, ..crate::buffer::tests::LIMITS };

/// 2026-11-29.
const NOW_MS: i64 = 1_795_900_000_000;

fn open(medium: &Medium) -> Buffer<Memory> {
    Buffer::open(Memory::open(medium), LIMITS, NOW_MS).unwrap()
}

/// Ten readings from this time on, held where a boot is named.
fn batch(from_ms: i64, boot: Option<u64>) -> Closed {
    Closed { held: boot.map(BootId), ..closed(from_ms) }
}

fn content(buffer: &mut Buffer<Memory>, seq: u64) -> Option<Batch> {
    let stored = buffer.get(seq, NOW_MS).unwrap()?;
    let message = buffer.schema(stored.schema).unwrap().unwrap();
    let (id, schema) = Schema::decode(&message).unwrap();
    Some(Body::open(&stored.body).unwrap().decode(id, &schema).unwrap())
}

/// Time of the first reading of a batch, and whether its readings are beyond doubt; none while it is not given out.
fn first(buffer: &mut Buffer<Memory>, seq: u64) -> Option<(i64, bool)> {
    let batch = content(buffer, seq)?;
    let [block] = batch.blocks.as_slice() else { panic!("{batch:?}") };
    assert_eq!(block.times_ms.iter().map(|at_ms| at_ms - block.times_ms[0]).collect::<Vec<_>>(), (0..10).collect::<Vec<_>>());
    let good = block.samples.iter().filter(|sample| matches!(sample, Sample::Good(_))).count();
    assert!([0, 10].contains(&good), "{batch:?}");
    if good == 0 {
        assert!(block.samples.iter().all(|sample| matches!(sample, Sample::Uncertain(Value::Decimal(_), Reason::ClockUnset))));
    }
    Some((block.times_ms[0], good == 10))
}

#[test]
fn the_oldest_batch_that_waits_tells_its_time_once_that_is_known() {
    let medium = Medium::default();
    let mut buffer = open(&medium);
    assert_eq!(buffer.oldest_ms(), None, "nothing waits");
    buffer.keep(NOW_MS, &batch(NOW_MS, None)).unwrap();
    buffer.keep(0, &batch(5_000, Some(1))).unwrap();
    buffer.keep(0, &batch(6_000, Some(1))).unwrap();
    assert_eq!(buffer.oldest_ms(), Some(NOW_MS));
    buffer = open(&medium);
    assert_eq!(buffer.oldest_ms(), Some(NOW_MS), "after a restart");
    buffer.release_ranges(1, &[(3, 3)]).unwrap();
    assert_eq!(buffer.oldest_ms(), None, "of a boot of which nobody knows when it was");
    buffer.set_time(BootId(1), NOW_MS).unwrap();
    assert_eq!(buffer.oldest_ms(), Some(NOW_MS + 5_000));
    buffer.release(2).unwrap();
    assert_eq!(buffer.oldest_ms(), None, "nothing waits again");
}

#[test]
fn held_batches_wait_for_the_time_of_their_boot_and_keep_it_through_restarts() {
    let medium = Medium::default();
    let mut buffer = open(&medium);
    buffer.keep(NOW_MS, &batch(NOW_MS, None)).unwrap();
    buffer.keep(0, &batch(5_000, Some(1))).unwrap();
    buffer = open(&medium);
    buffer.keep(0, &batch(6_000, Some(1))).unwrap();
    assert_eq!([1, 2, 3].map(|seq| first(&mut buffer, seq)), [Some((NOW_MS, true)), None, None]);
    let later_ms = NOW_MS + 60_000;
    buffer.set_time(BootId(1), later_ms).unwrap();
    let expected = [Some((NOW_MS, true)), Some((later_ms + 5_000, true)), Some((later_ms + 6_000, true))];
    assert_eq!([1, 2, 3].map(|seq| first(&mut buffer, seq)), expected);
    // The first word counts, also after a restart; and for what is held after it in the same boot.
    buffer = open(&medium);
    buffer.set_time(BootId(1), later_ms + 77).unwrap();
    assert_eq!([1, 2, 3].map(|seq| first(&mut buffer, seq)), expected);
    buffer.keep(0, &batch(later_ms + 9_000, None)).unwrap();
    buffer = open(&medium);
    buffer.keep(0, &batch(12_000, Some(1))).unwrap();
    assert_eq!([4, 5].map(|seq| first(&mut buffer, seq)), [Some((later_ms + 9_000, true)), Some((later_ms + 12_000, true))]);
    assert_eq!(buffer.take_notices(), []);
    // What is released is forgotten.
    buffer.release(5).unwrap();
    buffer.keep(NOW_MS, &batch(NOW_MS, None)).unwrap();
    buffer.release(6).unwrap();
    assert_eq!(open(&medium).stats().batches, 0);
}

#[test]
fn boots_that_are_over_get_an_estimate_that_is_in_order_and_says_so() {
    let medium = Medium::default();
    let mut buffer = open(&medium);
    for (from_ms, boot) in [(5_000, 1), (8_000, 1), (3_000, 2), (4_000, 3)] {
        buffer.keep(0, &batch(from_ms, Some(boot))).unwrap();
    }
    assert_eq!([1, 2, 3, 4].map(|seq| first(&mut buffer, seq)), [None; 4]);
    buffer.set_time(BootId(3), NOW_MS).unwrap();
    assert_eq!(buffer.take_notices(), [Notice::TimeEstimated(2)]);
    // Boot 2 ended when boot 3 began, with its last reading; boot 1 before that.
    let second_ms = NOW_MS - 3_009;
    let first_ms = second_ms - 8_009;
    let expected =
        [Some((first_ms + 5_000, false)), Some((first_ms + 8_000, false)), Some((second_ms + 3_000, false)), Some((NOW_MS + 4_000, true))];
    assert_eq!([1, 2, 3, 4].map(|seq| first(&mut buffer, seq)), expected);
    buffer = open(&medium);
    buffer.set_time(BootId(4), NOW_MS + 90_000).unwrap();
    assert_eq!([1, 2, 3, 4].map(|seq| first(&mut buffer, seq)), expected);
}

#[test]
fn a_boot_of_which_no_batch_was_stored_moves_no_estimate() {
    let medium = Medium::default();
    let mut buffer = open(&medium);
    buffer.keep(0, &batch(5_000, Some(1))).unwrap();
    // The power goes between the head that names boot 2 and its first batch.
    buffer.note_held(Some(BootId(2))).unwrap();
    buffer = open(&medium);
    buffer.set_time(BootId(3), NOW_MS).unwrap();
    assert_eq!(first(&mut buffer, 1), Some((NOW_MS - 9, false)));
}

#[test]
fn boots_beyond_the_limit_are_joined_and_their_times_are_in_doubt() {
    let medium = Medium::default();
    let mut buffer = open(&medium);
    let began_ms = |boot: u64| NOW_MS + boot as i64 * 100_000;
    let boots = MAX_HOLDS as u64 + 1;
    for boot in 1..=boots {
        buffer.keep(EARLIEST_MS, &batch(5_000, Some(boot))).unwrap();
        buffer.set_time(BootId(boot), began_ms(boot)).unwrap();
        buffer.keep(EARLIEST_MS, &batch(began_ms(boot) + 6_000, None)).unwrap();
    }
    buffer = open(&medium);
    // Batch 2 has UTC and lies between the two that were joined.
    let expected = [(began_ms(2) + 5_000, false), (began_ms(1) + 6_000, true), (began_ms(2) + 5_000, false), (began_ms(2) + 6_000, true)];
    assert_eq!([1, 2, 3, 4].map(|seq| first(&mut buffer, seq)), expected.map(Some));
    assert_eq!(first(&mut buffer, 2 * boots - 1), Some((began_ms(boots) + 5_000, true)));
    assert_eq!(first(&mut buffer, 2 * boots), Some((began_ms(boots) + 6_000, true)));
}

#[test]
fn what_waits_for_its_time_is_never_too_old_and_then_as_old_as_it_is() {
    let medium = Medium::default();
    let mut buffer = open(&medium);
    for at_ms in [1_000, 500_000, 1_200_000] {
        buffer.keep(NOW_MS, &batch(at_ms, Some(1))).unwrap();
    }
    assert_eq!(buffer.stats().oldest, 1);
    let began_ms = NOW_MS - 1_300_000;
    buffer.set_time(BootId(1), began_ms).unwrap();
    buffer.keep(NOW_MS, &batch(NOW_MS, None)).unwrap();
    assert_eq!(buffer.stats().oldest, 2);
    let [gap] = content(&mut buffer, 4).unwrap().gaps.try_into().unwrap();
    assert_eq!((gap.from_ms, gap.to_ms, gap.readings, gap.reason), (began_ms + 1_000, began_ms + 1_009, 10, GapReason::TooOld));
}

#[test]
fn a_gap_record_of_held_batches_is_told_when_its_time_is_known() {
    let limits = Limits { max_bytes: 1 << 20, ..LIMITS };
    let medium = Medium::default();
    let mut buffer = Buffer::open(Memory::open(&medium), limits, NOW_MS).unwrap();
    let mut at_ms = 0;
    while buffer.stats().oldest < 3 {
        at_ms += 100;
        buffer.keep(NOW_MS, &batch(at_ms, Some(1))).unwrap();
    }
    let dropped = buffer.stats().dropped_readings;
    assert!(buffer.stats().pending_gaps > 0);
    buffer = Buffer::open(Memory::open(&medium), limits, NOW_MS).unwrap();
    let last = buffer.stats().next - 1;
    assert_eq!(first(&mut buffer, last), None);
    buffer.set_time(BootId(1), NOW_MS).unwrap();
    let seq = buffer.keep(NOW_MS, &batch(NOW_MS + at_ms + 100, None)).unwrap();
    let gaps = content(&mut buffer, seq).unwrap().gaps;
    assert_eq!(gaps.iter().map(|gap| gap.readings).sum::<u64>(), dropped);
    assert_eq!(gaps.iter().map(|gap| gap.from_ms).min(), Some(NOW_MS + 100));
    assert!(gaps.iter().all(|gap| gap.to_ms >= gap.from_ms && gap.to_ms < NOW_MS + at_ms));
    // And no batch carried one of them before.
    for seq in buffer.stats().oldest..seq {
        assert_eq!(content(&mut buffer, seq).unwrap().gaps, []);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever order of boots, restarts and words about the time: a batch is given out with UTC or not at all, always with the same
    /// times, and in the order in which it was made.
    #[test]
    fn no_held_time_is_ever_given_out(events in prop::collection::vec((0u8..6, 1i64..100_000), 1..40)) {
        let medium = Medium::default();
        let mut buffer = open(&medium);
        let (mut boot, mut boot_ms, mut utc_ms, mut known) = (1, 0, NOW_MS, false);
        let mut given: Vec<Option<i64>> = Vec::new();
        for (event, ms) in events {
            boot_ms += ms;
            utc_ms += ms;
            match event {
                // Another boot, after a power cut.
                0 => {
                    (boot, boot_ms, known) = (boot + 1, 0, false);
                    medium.power_on(ms % 2 == 0);
                    buffer = open(&medium);
                }
                1 => {
                    buffer = open(&medium);
                    known = false;
                }
                2 => {
                    buffer.set_time(BootId(boot), utc_ms - boot_ms).unwrap();
                    known = true;
                }
                _ => {
                    let closed = if known { batch(utc_ms, None) } else { batch(boot_ms, Some(boot)) };
                    buffer.keep(if known { utc_ms } else { EARLIEST_MS }, &Closed { ..closed }).unwrap();
                    given.push(None);
                }
            }
            // Older ones were dropped.
            let oldest = buffer.stats().oldest;
            for (seq, before) in (1..).zip(&mut given).filter(|(seq, _)| *seq >= oldest) {
                let now = first(&mut buffer, seq).map(|(at_ms, _)| at_ms);
                prop_assert!(before.is_none() || *before == now, "batch {seq} changed from {before:?} to {now:?}");
                prop_assert!(now.is_none_or(|at_ms| at_ms >= EARLIEST_MS));
                *before = now;
            }
            let times: Vec<i64> = given.iter().copied().flatten().collect();
            prop_assert!(times.is_sorted(), "{times:?}");
        }
    }
}
