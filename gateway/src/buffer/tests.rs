mod crashes;
mod drops;
mod files;
mod keep;
mod thinning;

use std::collections::BTreeMap;
use std::sync::Arc;

use pattoo_wire::{Batch, Block, Decimal, Device, GapReason, Kind, Labels, Repr, Sample, Schema, Series, Value};

use super::memory::{Medium, Memory};
use super::*;
use crate::batch::Dictionary;

pub(super) const LIMITS: Limits =
    Limits { max_bytes: 1 << 20, max_age_ms: 1_000_000, ballast_bytes: 4096, thin_to_ms: 0, given_ahead: GIVEN_AHEAD };

fn dictionary(unit: &str) -> Arc<Dictionary> {
    let device = Device { name: "d".into(), profile: "p".into(), labels: Labels::new() };
    let series = Series {
        device: 0,
        point: "u".into(),
        unit: unit.into(),
        kind: Kind::Gauge,
        repr: Repr::Decimal { exponent: 0 },
        labels: Labels::new(),
        states: BTreeMap::new(),
    };
    Arc::new(Dictionary::new(Schema { devices: vec![device], series: vec![series] }).unwrap())
}

/// A batch of `ticks` readings from `from_ms`, 1 ms apart, with values that do not compress.
fn closed_with(dictionary: &Arc<Dictionary>, from_ms: i64, ticks: usize) -> Closed {
    let times_ms: Vec<i64> = (0..ticks as i64).map(|i| from_ms + i).collect();
    let samples =
        times_ms.iter().map(|t| Sample::Good(Value::Decimal(Decimal { mantissa: t.wrapping_mul(0x5851_f42d_4c95_7f2d), exponent: 0 })));
    let batch = Batch { blocks: vec![Block { series: vec![0], samples: samples.collect(), times_ms }], gaps: Vec::new() };
    Closed::new(Arc::clone(dictionary), batch).unwrap()
}

pub(super) fn closed(from_ms: i64) -> Closed {
    closed_with(&dictionary("V"), from_ms, 10)
}

/// One place that survives restarts, in each kind of store.
enum Place {
    Memory(Medium),
    Disk(tempfile::TempDir),
}

impl Place {
    fn both() -> [Self; 2] {
        [Self::Memory(Medium::default()), Self::Disk(tempfile::tempdir().unwrap())]
    }

    fn open(&self, limits: Limits) -> Buffer<Box<dyn Store>> {
        self.open_at(limits, 0)
    }

    fn open_at(&self, limits: Limits, now_ms: i64) -> Buffer<Box<dyn Store>> {
        let store: Box<dyn Store> = match self {
            Self::Memory(medium) => Box::new(Memory::open(medium)),
            Self::Disk(folder) => Box::new(disk::Disk::open(folder.path(), limits.ballast_bytes, now_ms).unwrap().0),
        };
        Buffer::open(store, limits, now_ms).unwrap()
    }
}

impl Store for Box<dyn Store> {
    fn head(&mut self) -> Result<Option<Vec<u8>>, StoreError> {
        (**self).head()
    }
    fn set_head(&mut self, head: &[u8], durable: bool) -> Result<(), StoreError> {
        (**self).set_head(head, durable)
    }
    fn schema(&mut self, id: u32) -> Result<Option<Vec<u8>>, StoreError> {
        (**self).schema(id)
    }
    fn set_schema(&mut self, id: u32, message: Option<&[u8]>) -> Result<(), StoreError> {
        (**self).set_schema(id, message)
    }
    fn chunks(&mut self) -> Result<Vec<Listed>, StoreError> {
        (**self).chunks()
    }
    fn begin(&mut self, chunk: u64) -> Result<(), StoreError> {
        (**self).begin(chunk)
    }
    fn append(&mut self, chunk: u64, values: &[Numbered]) -> Result<(), StoreError> {
        (**self).append(chunk, values)
    }
    fn seal(&mut self, chunk: u64, about: &[u8]) -> Result<(), StoreError> {
        (**self).seal(chunk, about)
    }
    fn read(&mut self, chunk: u64, number: u64) -> Result<Option<Numbered>, StoreError> {
        (**self).read(chunk, number)
    }
    fn scan(&mut self, chunk: u64, each: &mut dyn FnMut(u64, &[u8])) -> Result<(), StoreError> {
        (**self).scan(chunk, each)
    }
    fn harden(&mut self, chunk: u64) -> Result<(), StoreError> {
        (**self).harden(chunk)
    }
    fn rewrite(&mut self, chunk: u64, values: &[Numbered], about: &[u8], why: Option<&str>) -> Result<(), StoreError> {
        (**self).rewrite(chunk, values, about, why)
    }
    fn remove(&mut self, chunk: u64) -> Result<(), StoreError> {
        (**self).remove(chunk)
    }
    fn bytes(&self) -> u64 {
        (**self).bytes()
    }
    fn set_aside(&mut self, why: &str) -> Result<Notice, StoreError> {
        (**self).set_aside(why)
    }
    fn recover(&mut self, after: &StoreError) -> Result<(), StoreError> {
        (**self).recover(after)
    }
    fn take_notices(&mut self) -> Vec<Notice> {
        (**self).take_notices()
    }
}

/// The gaps of every batch that the buffer holds, and how many readings its batches have.
fn content<S: Store>(buffer: &mut Buffer<S>) -> (Vec<Gap>, u64) {
    let Stats { oldest, next, .. } = buffer.stats();
    let (mut gaps, mut readings) = (Vec::new(), 0);
    for seq in oldest..next {
        let stored = buffer.get(seq, 0).unwrap().unwrap();
        let body = Body::open(&stored.body).unwrap();
        let message = buffer.schema(stored.schema).unwrap().unwrap();
        let (id, schema) = Schema::decode(&message).unwrap();
        let batch = body.decode(id, &schema).unwrap();
        readings += batch.readings() as u64;
        gaps.extend(batch.gaps);
    }
    (gaps, readings)
}

#[test]
fn batches_come_back_in_order_and_numbers_and_stream_survive_a_restart() {
    for place in Place::both() {
        let mut buffer = place.open(LIMITS);
        let stream = buffer.stats().stream;
        for i in 0..5 {
            assert_eq!(buffer.keep(0, &closed(i * 100)).unwrap(), 1 + i as u64);
        }
        drop(buffer);
        let mut buffer = place.open(LIMITS);
        assert_eq!((buffer.stats().stream, buffer.stats().oldest, buffer.stats().next), (stream, 1, 6));
        for i in 0..5 {
            let stored = buffer.get(1 + i as u64, 0).unwrap().unwrap();
            assert_eq!(stored.body, closed(i * 100).body);
            assert_eq!(stored.schema, dictionary("V").id);
        }
        assert_eq!(buffer.get(0, 0).unwrap(), None);
        assert_eq!(buffer.get(6, 0).unwrap(), None);
        assert_eq!(buffer.schema(dictionary("V").id).unwrap().as_ref(), Some(&dictionary("V").message));
    }
}

#[test]
fn what_is_released_is_gone_and_numbers_go_on_after_a_full_drain() {
    for place in Place::both() {
        let mut buffer = place.open(LIMITS);
        for i in 0..4 {
            buffer.keep(0, &closed(i)).unwrap();
        }
        buffer.seal_newest().unwrap();
        buffer.keep(0, &closed(4)).unwrap();
        buffer.release(3).unwrap();
        assert_eq!((buffer.stats().oldest, buffer.kept(), buffer.stats().batches), (4, 1, 2));
        buffer.release(4).unwrap();
        assert_eq!(buffer.get(2, 0).unwrap(), None);
        drop(buffer);
        let mut buffer = place.open(LIMITS);
        assert_eq!((buffer.stats().oldest, buffer.stats().batches), (5, 1));
        // Beyond what exists is not released.
        buffer.release(99).unwrap();
        assert_eq!((buffer.stats().oldest, buffer.stats().next, buffer.stats().bytes), (6, 6, 0));
        drop(buffer);
        let mut buffer = place.open(LIMITS);
        assert_eq!(buffer.keep(0, &closed(9)).unwrap(), 6);
        assert_eq!(buffer.stats().dropped_readings, 0);
    }
}

#[test]
fn what_was_not_committed_does_not_exist() {
    for place in Place::both() {
        let mut buffer = place.open(LIMITS);
        buffer.keep(0, &closed(0)).unwrap();
        assert_eq!(buffer.append(0, &closed(1)).unwrap(), 2);
        assert_eq!(buffer.get(2, 0).unwrap(), None);
        assert_eq!(buffer.stats().next, 2);
        drop(buffer);
        let mut buffer = place.open(LIMITS);
        assert_eq!(buffer.stats().next, 2);
        buffer.append(0, &closed(1)).unwrap();
        buffer.commit().unwrap();
        assert_eq!(buffer.stats().next, 3);
    }
}

#[test]
fn a_schema_stays_while_a_batch_or_the_latest_one_needs_it() {
    for place in Place::both() {
        let [v, a] = ["V", "A"].map(dictionary);
        let mut buffer = place.open(LIMITS);
        for (dictionary, at_ms) in [(&v, 0), (&v, 1), (&a, 2)] {
            buffer.keep(0, &closed_with(dictionary, at_ms, 1)).unwrap();
            // A chunk of its own for each.
            buffer.seal_newest().unwrap();
        }
        drop(buffer);
        let mut buffer = place.open(LIMITS);
        buffer.release(1).unwrap();
        assert_eq!(buffer.schema(v.id).unwrap().as_ref(), Some(&v.message));
        buffer.release(2).unwrap();
        assert_eq!(buffer.schema(v.id).unwrap(), None);
        buffer.release(3).unwrap();
        drop(buffer);
        let mut buffer = place.open(LIMITS);
        assert_eq!(buffer.schema(a.id).unwrap().as_ref(), Some(&a.message));
        // Back to the first one.
        buffer.keep(0, &closed_with(&v, 4, 1)).unwrap();
        assert_eq!(buffer.schema(v.id).unwrap().as_ref(), Some(&v.message));
        assert_eq!(buffer.schema(a.id).unwrap(), None);
    }
}

#[test]
fn a_schema_larger_than_one_value_is_kept_whole() {
    for place in Place::both() {
        let mut schema = dictionary("V").schema.clone();
        for i in 0..3000 {
            schema.series.push(Series { point: format!("point_{i}"), ..schema.series[0].clone() });
        }
        let large = Arc::new(Dictionary::new(schema).unwrap());
        assert!(large.message.len() > 32_000);
        place.open(LIMITS).keep(0, &closed_with(&large, 0, 3)).unwrap();
        assert_eq!(place.open(LIMITS).schema(large.id).unwrap().as_ref(), Some(&large.message));
    }
}

#[test]
fn a_damaged_batch_becomes_a_gap_record_under_its_own_number() {
    for place in Place::both() {
        let mut buffer = place.open(LIMITS);
        for i in 0..4 {
            buffer.keep(0, &closed(i * 100)).unwrap();
        }
        // Batch 2 loses a bit of its body, batch 3 is cut short.
        let mut damaged = buffer.store.read(1, 2).unwrap().unwrap().1;
        *damaged.last_mut().unwrap() ^= 4;
        buffer.store.append(1, &[(2, damaged), (3, vec![9])]).unwrap();
        drop(buffer);
        let mut buffer = place.open(LIMITS);
        let (gaps, readings) = content(&mut buffer);
        let gap =
            |from_ms, to_ms, seq, readings| Gap { from_ms, to_ms, first_seq: seq, last_seq: seq, readings, reason: GapReason::Damaged };
        assert_eq!((gaps.as_slice(), readings), (&[gap(100, 109, 2, 10), gap(109, 300, 3, 0)][..], 20));
        assert_eq!(buffer.stats().dropped_readings, 10);
        assert_eq!(buffer.take_notices(), [Notice::DamagedBatch(2), Notice::DamagedBatch(3)]);
        // It stays so, and is not counted twice.
        drop(buffer);
        let mut buffer = place.open(LIMITS);
        assert_eq!(content(&mut buffer), (gaps, 20));
        assert_eq!(buffer.stats().dropped_readings, 10);
    }
}

#[test]
fn a_number_is_never_used_twice_even_if_the_disk_forgot_it() {
    for place in Place::both() {
        let mut buffer = place.open(LIMITS);
        buffer.keep(0, &closed(0)).unwrap();
        buffer.seal_newest().unwrap();
        for i in 1..4 {
            buffer.keep(0, &closed(i)).unwrap();
        }
        buffer.store.remove(2).unwrap();
        drop(buffer);
        let mut buffer = place.open(LIMITS);
        assert_eq!(buffer.keep(0, &closed(9)).unwrap(), 5);
        assert!(buffer.take_notices().contains(&Notice::LostTail(4)));
        let (gaps, readings) = content(&mut buffer);
        assert_eq!((gaps.len(), gaps[0].first_seq, gaps[0].last_seq, readings), (1, 2, 4, 20));
    }
}

#[test]
fn a_disk_that_is_full_at_the_start_costs_only_the_reserve() {
    let medium = Medium::default();
    medium.fill();
    let mut buffer = Buffer::open(Memory::open(&medium), LIMITS, 0).unwrap();
    assert_eq!(buffer.keep(0, &closed(0)).unwrap(), 1);
}

/// Batches of a chunk that is all released, of which a power cut left a part.
#[test]
fn a_chunk_that_ends_below_the_head_is_never_added_to() {
    for left in 0..4 {
        let medium = Medium::default();
        let mut buffer = Buffer::open(Memory::open(&medium), LIMITS, 0).unwrap();
        for i in 0..4 {
            buffer.keep(0, &closed(i)).unwrap();
        }
        buffer.release(4).unwrap();
        buffer.save_head(true).unwrap();
        drop(buffer);
        medium.damage(|content| content.chunks.get_mut(&1).unwrap().retain(|seq, _| *seq <= left));
        for seq in 5..8 {
            let mut buffer = Buffer::open(Memory::open(&medium), LIMITS, 0).unwrap();
            assert_eq!((buffer.stats().oldest, buffer.stats().next), (5, seq), "{left} left");
            assert_eq!(buffer.keep(0, &closed(seq as i64 * 100)).unwrap(), seq, "{left} left");
        }
        let mut buffer = Buffer::open(Memory::open(&medium), LIMITS, 0).unwrap();
        for seq in 5..8 {
            assert_eq!(buffer.get(seq, 0).unwrap().unwrap().body, closed(seq as i64 * 100).body, "{left} left");
        }
        assert_eq!(buffer.take_notices(), []);
    }
}

#[test]
fn what_a_store_forgot_when_it_was_opened_again_is_on_record_and_no_number_is_used_twice() {
    let medium = Medium::default();
    let mut buffer = Buffer::open(Memory::open(&medium), LIMITS, 0).unwrap();
    buffer.keep(0, &closed(0)).unwrap();
    buffer.save_head(true).unwrap();
    for i in 1..4 {
        buffer.keep(0, &closed(i)).unwrap();
    }
    medium.power_on(false);
    medium.damage(|content| content.chunks.get_mut(&1).unwrap().retain(|seq, _| *seq <= 1));
    medium.fail(StoreError::Io("EIO".into()));
    assert_eq!(buffer.keep(0, &closed(9)).unwrap(), 5);
    assert!(buffer.take_notices().contains(&Notice::LostTail(4)));
    let (gaps, readings) = content(&mut buffer);
    let [gap] = gaps.as_slice() else { panic!("{gaps:?}") };
    assert_eq!((gap.first_seq, gap.last_seq, gap.reason, readings), (2, 4, GapReason::Damaged, 20));
}

/// A power cut took the head that was written last, and the chunk that told the same is damaged.
#[test]
fn a_number_that_was_given_out_is_given_to_no_other_batch_though_nothing_is_left_of_it() {
    let medium = Medium::default();
    let mut buffer = Buffer::open(Memory::open(&medium), LIMITS, 0).unwrap();
    for seq in 1..=9 {
        buffer.keep(0, &closed(seq)).unwrap();
        buffer.get(seq as u64, 0).unwrap().unwrap();
    }
    let stream = buffer.stats().stream;
    drop(buffer);
    medium.power_on(false);
    medium.lose(1);
    let buffer = Buffer::open(Memory::open(&medium), LIMITS, 0).unwrap();
    assert!(buffer.stats().stream != stream || buffer.stats().next > 9, "{:?}", buffer.stats());
}

#[test]
fn a_chunk_that_cannot_be_read_costs_only_itself() {
    let medium = Medium::default();
    for (lost, whole) in [(1, false), (4, true), (7, true)] {
        let mut buffer = Buffer::open(Memory::open(&medium), LIMITS, 0).unwrap();
        let first = buffer.stats().next;
        for i in 0..9 {
            buffer.keep(0, &closed(i * 100)).unwrap();
            if i % 3 == 2 {
                buffer.seal_newest().unwrap();
            }
        }
        buffer.release(first).unwrap();
        medium.lose(first + lost - 1);
        drop(buffer);
        let mut buffer = Buffer::open(Memory::open(&medium), LIMITS, 0).unwrap();
        let (gaps, readings) = content(&mut buffer);
        let gap_readings = if whole { 30 } else { 0 };
        let first_seq = first + if whole { lost - 1 } else { 1 };
        let [gap] = gaps.as_slice() else { panic!("{gaps:?}") };
        assert_eq!((gap.first_seq, gap.last_seq, gap.readings), (first_seq, first + lost + 1, gap_readings));
        assert_eq!((gap.reason, readings), (GapReason::Damaged, if whole { 50 } else { 60 }));
        assert!(buffer.take_notices().iter().any(|notice| matches!(notice, Notice::DamagedChunk { .. })));
        let next = buffer.stats().next;
        assert_eq!(buffer.keep(0, &closed(1)).unwrap(), next);
        buffer.release(next).unwrap();
        assert_eq!(buffer.stats().batches, 0);
    }
}

#[test]
fn batches_released_ahead_do_not_wait_and_their_chunks_go() {
    for place in Place::both() {
        let mut buffer = place.open(LIMITS);
        for i in 0..12 {
            buffer.keep(0, &closed(i)).unwrap();
            if i % 3 == 2 {
                buffer.seal_newest().unwrap();
            }
        }
        buffer.release_ranges(1, &[(4, 7), (9, 9), (12, 99)]).unwrap();
        let stats = buffer.stats();
        assert_eq!((buffer.kept(), stats.oldest, stats.next, stats.batches), (1, 2, 13, 5));
        // The chunk of 4 to 6 is gone; 7 and 9 are still there.
        assert_eq!(buffer.chunks.iter().map(|chunk| chunk.first).collect::<Vec<_>>(), [1, 7, 10]);
        assert_eq!((buffer.get(5, 0).unwrap(), buffer.get(7, 0).unwrap().is_some()), (None, true));
        drop(buffer);
        let mut buffer = place.open(LIMITS);
        // What is gone by now takes no room any more.
        assert_eq!(Stats { disk_bytes: stats.disk_bytes, ..buffer.stats() }, stats);
        assert_eq!(buffer.take_notices(), []);
        buffer.release(3).unwrap();
        assert_eq!((buffer.kept(), buffer.stats().oldest, buffer.stats().batches), (7, 8, 3));
        buffer.release(11).unwrap();
        assert_eq!((buffer.kept(), buffer.stats().oldest, buffer.stats().batches, buffer.stats().bytes), (13, 13, 0, 0));
    }
}

#[test]
fn what_is_released_can_be_had_until_its_chunk_goes_but_not_what_was_dropped() {
    for place in Place::both() {
        let limits = Limits { max_age_ms: 1000, ..LIMITS };
        let mut buffer = place.open(limits);
        for i in 0..3 {
            buffer.keep(0, &closed(i)).unwrap();
        }
        buffer.release(2).unwrap();
        drop(buffer);
        let mut buffer = place.open(limits);
        assert_eq!((buffer.kept(), buffer.stats().oldest), (1, 3));
        assert_eq!(buffer.get(1, 0).unwrap().unwrap().body, closed(0).body);
        buffer.keep(5000, &closed(5000)).unwrap();
        assert_eq!((buffer.kept(), buffer.stats().oldest), (4, 4));
        assert_eq!(buffer.get(1, 0).unwrap(), None);
    }
}

#[test]
fn a_missing_or_unreadable_head_sets_the_store_aside_and_begins_another_stream() {
    for place in Place::both() {
        let mut buffer = place.open(LIMITS);
        buffer.keep(0, &closed(0)).unwrap();
        let stream = buffer.stats().stream;
        // Both of its copies.
        for _ in 0..3 {
            buffer.store.set_head(&[0; 44], true).unwrap();
        }
        drop(buffer);
        let mut buffer = place.open(LIMITS);
        assert!(matches!(buffer.take_notices().as_slice(), [Notice::SetAside { .. }]));
        assert_ne!(buffer.stats().stream, stream);
        assert_eq!(buffer.keep(0, &closed(1)).unwrap(), 1);
    }
}

#[test]
fn a_store_that_fails_once_costs_nothing() {
    let medium = Medium::default();
    let mut buffer = Buffer::open(Memory::open(&medium), LIMITS, 0).unwrap();
    buffer.keep(0, &closed(0)).unwrap();
    medium.fail(StoreError::Io("EIO".into()));
    assert_eq!(buffer.keep(0, &closed(1)).unwrap(), 2);
    assert_eq!(content(&mut buffer), (Vec::new(), 20));
    medium.fail(StoreError::Io("EIO".into()));
    medium.fail(StoreError::Io("EIO".into()));
    assert!(buffer.keep(0, &closed(2)).is_err());
    assert_eq!(buffer.keep(0, &closed(2)).unwrap(), 3);
    assert_eq!(content(&mut buffer), (Vec::new(), 30));
}

#[test]
fn a_commit_that_came_through_and_said_that_it_failed_does_not_double_its_readings() {
    let medium = Medium::default();
    let mut buffer = Buffer::open(Memory::open(&medium), LIMITS, 0).unwrap();
    medium.fail_late(StoreError::Io("EIO".into()));
    assert_eq!(buffer.keep(0, &closed(0)).unwrap(), 1);
    assert_eq!(content(&mut buffer), (Vec::new(), 10));
}

#[test]
fn small_batches_of_one_commit_share_a_value() {
    for place in Place::both() {
        let mut buffer = place.open(LIMITS);
        for i in 0..200 {
            buffer.append(0, &closed(i * 10)).unwrap();
        }
        buffer.commit().unwrap();
        let chunk = buffer.chunks.newest().unwrap();
        assert!(chunk.values < 8, "{chunk:?}");
        drop(buffer);
        let mut buffer = place.open(LIMITS);
        assert_eq!(buffer.chunks.newest().unwrap(), chunk);
        for i in [199, 0, 77, 78, 3] {
            assert_eq!(buffer.get(i + 1, 0).unwrap().unwrap().body, closed(i as i64 * 10).body);
        }
        assert_eq!(content(&mut buffer), (Vec::new(), 2000));
    }
}
