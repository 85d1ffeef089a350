use std::path::Path;
use std::sync::Arc;

use pattoo_wire::{Batch, Block, Decimal, Device, GapReason, Kind, Labels, Repr, Sample, Series, Value};

use super::memory::{Medium, Memory};
use super::*;
use crate::batch::Dictionary;

const LIMITS: Limits = Limits { max_bytes: 1 << 20, max_age_ms: 1_000_000, ballast_bytes: 4096 };

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

fn closed(from_ms: i64) -> Closed {
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
    fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        (**self).get(key)
    }
    fn scan(&mut self, letter: u8) -> Result<Vec<Pair>, StoreError> {
        (**self).scan(letter)
    }
    fn last(&mut self, letter: u8) -> Result<Option<Vec<u8>>, StoreError> {
        (**self).last(letter)
    }
    fn apply(&mut self, changes: &[Change]) -> Result<(), StoreError> {
        (**self).apply(changes)
    }
    fn sync(&mut self) -> Result<(), StoreError> {
        (**self).sync()
    }
    fn begun(&mut self) -> bool {
        (**self).begun()
    }
    fn remember(&mut self, stream: u64, next: u64) {
        (**self).remember(stream, next);
    }
    fn remembered(&mut self) -> Option<(u64, u64)> {
        (**self).remembered()
    }
    fn compact(&mut self) -> Result<(), StoreError> {
        (**self).compact()
    }
    fn recover(&mut self, after: &StoreError) -> Result<Vec<Notice>, StoreError> {
        (**self).recover(after)
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
        buffer.release(2).unwrap();
        assert_eq!(buffer.get(2, 0).unwrap(), None);
        drop(buffer);
        let mut buffer = place.open(LIMITS);
        assert_eq!((buffer.stats().oldest, buffer.stats().batches), (3, 2));
        // Beyond what exists is not released.
        buffer.release(99).unwrap();
        assert_eq!((buffer.stats().oldest, buffer.stats().next, buffer.stats().bytes), (5, 5, 0));
        drop(buffer);
        let mut buffer = place.open(LIMITS);
        assert_eq!(buffer.keep(0, &closed(9)).unwrap(), 5);
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
fn every_reading_dropped_by_a_full_buffer_is_in_a_gap_record_that_is_delivered() {
    for place in Place::both() {
        let limits = Limits { max_bytes: 6000, ..LIMITS };
        let mut buffer = place.open(limits);
        // Several turns of the buffer, so that batches with gap records are dropped too.
        for i in 0..300 {
            buffer.keep(0, &closed(i * 100)).unwrap();
            assert!(buffer.stats().bytes <= limits.max_bytes);
            if i % 70 == 0 {
                drop(buffer);
                buffer = place.open(limits);
            }
        }
        let stats = buffer.stats();
        assert!(stats.batches > 5 && stats.dropped_readings > 2000, "{stats:?}");
        let (mut gaps, readings) = content(&mut buffer);
        gaps.extend(buffer.pending_gaps());
        assert_eq!(gaps.iter().map(|gap| gap.readings).sum::<u64>() + readings, 3000);
        assert_eq!(gaps.iter().map(|gap| gap.readings).sum::<u64>(), stats.dropped_readings);
        gaps.sort_by_key(|gap| gap.first_seq);
        // Every dropped number is in exactly one record.
        let mut next = 1;
        for gap in &gaps {
            assert_eq!((gap.first_seq, gap.reason), (next, GapReason::BufferFull));
            assert_eq!((gap.from_ms, gap.to_ms), ((gap.first_seq as i64 - 1) * 100, (gap.last_seq as i64 - 1) * 100 + 9));
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
fn a_schema_stays_while_a_batch_or_the_latest_one_needs_it() {
    for place in Place::both() {
        let [v, a] = ["V", "A"].map(dictionary);
        let mut buffer = place.open(LIMITS);
        for (dictionary, at_ms) in [(&v, 0), (&v, 1), (&a, 2)] {
            buffer.keep(0, &closed_with(dictionary, at_ms, 1)).unwrap();
        }
        drop(buffer);
        let mut buffer = place.open(LIMITS);
        buffer.release(1).unwrap();
        assert_eq!(buffer.schema(v.id).unwrap().as_ref(), Some(&v.message));
        buffer.release(2).unwrap();
        assert_eq!(buffer.schema(v.id).unwrap(), None);
        buffer.release(3).unwrap();
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
        assert!(large.message.len() > 4 * MAX_PIECE_BYTES);
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
        // Batch 2 loses a bit of its body, batch 3 is gone altogether.
        let mut value = buffer.store.get(&batch_key(2)).unwrap().unwrap();
        *value.last_mut().unwrap() ^= 4;
        buffer.store.apply(&[(batch_key(2), Some(value)), (batch_key(3), None)]).unwrap();
        buffer.store.sync().unwrap();
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
        let head = buffer.store.get(&[record::HEAD]).unwrap();
        for i in 1..4 {
            buffer.keep(0, &closed(i)).unwrap();
        }
        let lost = (2..=4).map(|seq| (batch_key(seq), None)).chain([(vec![record::HEAD], head)]).collect::<Vec<_>>();
        buffer.store.apply(&lost).unwrap();
        buffer.store.sync().unwrap();
        drop(buffer);
        let mut buffer = place.open(LIMITS);
        assert_eq!(buffer.keep(0, &closed(9)).unwrap(), 5);
        assert!(buffer.take_notices().contains(&Notice::LostTail(4)));
        let (gaps, readings) = content(&mut buffer);
        assert_eq!((gaps.len(), readings), (3, 20));
    }
}

#[test]
fn a_missing_or_unreadable_head_sets_the_store_aside_and_begins_another_stream() {
    for place in Place::both() {
        for value in [None, Some(vec![0; 44])] {
            let mut buffer = place.open(LIMITS);
            buffer.keep(0, &closed(0)).unwrap();
            let stream = buffer.stats().stream;
            buffer.store.apply(&[(vec![record::HEAD], value)]).unwrap();
            buffer.store.sync().unwrap();
            drop(buffer);
            let mut buffer = place.open(LIMITS);
            assert!(matches!(buffer.take_notices().as_slice(), [Notice::SetAside { .. }]));
            assert_ne!(buffer.stats().stream, stream);
            assert_eq!(buffer.keep(0, &closed(1)).unwrap(), 1);
        }
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
fn a_full_disk_costs_the_oldest_batches_and_they_are_on_record() {
    let medium = Medium::default();
    let mut buffer = Buffer::open(Memory::open(&medium), LIMITS, 0).unwrap();
    for i in 0..20 {
        buffer.keep(0, &closed(i)).unwrap();
    }
    medium.fail(StoreError::Full);
    assert_eq!(buffer.keep(0, &closed(99)).unwrap(), 21);
    assert_eq!(buffer.stats().oldest, 4);
    let (gaps, readings) = content(&mut buffer);
    assert_eq!((gaps[0].last_seq, gaps[0].readings, gaps[0].reason, readings), (3, 30, GapReason::BufferFull, 180));
    assert!(buffer.take_notices().contains(&Notice::DiskFull(3)));
}

fn filled(folder: &Path, batches: i64) -> u64 {
    let (mut buffer, notices) = open(folder, LIMITS, 77).unwrap();
    assert_eq!(notices, []);
    for i in 0..batches {
        buffer.keep(0, &closed_with(&dictionary("V"), i * 1000, 400)).unwrap();
    }
    buffer.stats().stream
}

/// Damage of sled's files: what is done to which file, and whether the content survives.
#[test]
fn a_daemon_starts_whatever_happened_to_the_files() {
    type Case = (&'static str, &'static str, fn(&mut Vec<u8>), bool);
    let each = |folder: &Path, change: fn(&mut Vec<u8>), prefix: &str| {
        let mut changed = 0;
        for entry in std::fs::read_dir(folder.join("store")).unwrap().flatten() {
            if entry.file_name().to_string_lossy().starts_with(prefix) {
                let mut bytes = std::fs::read(entry.path()).unwrap();
                change(&mut bytes);
                std::fs::write(entry.path(), bytes).unwrap();
                changed += 1;
            }
        }
        changed
    };
    let cases: [Case; 7] = [
        ("conf zeroed", "conf", |bytes| bytes.fill(0), true),
        ("snapshot cut", "snap.", |bytes| bytes.truncate(bytes.len() / 2), true),
        ("snapshot flipped", "snap.", |bytes| bytes.iter_mut().for_each(|byte| *byte ^= 0x55), true),
        ("db emptied", "db", Vec::clear, false),
        ("db zeroed", "db", |bytes| bytes.fill(0), false),
        ("db overwritten", "db", |bytes| bytes.iter_mut().enumerate().for_each(|(i, byte)| *byte = (i * 31 % 251) as u8), false),
        ("conf is something else", "conf", |bytes| *bytes = b"something else".to_vec(), false),
    ];
    for (name, prefix, change, survives) in cases {
        let folder = tempfile::tempdir().unwrap();
        let stream = filled(folder.path(), 60);
        // sled writes a snapshot when it opens a log.
        drop(open(folder.path(), LIMITS, 77).unwrap());
        assert_eq!(each(folder.path(), change, prefix), 1, "{name}");
        let (mut buffer, notices) = open(folder.path(), LIMITS, 78).unwrap();
        let aside = notices.iter().any(|notice| matches!(notice, Notice::SetAside { .. }));
        assert_eq!(aside, !survives, "{name}: {notices:?}");
        assert_eq!(buffer.stats().stream == stream, survives, "{name}");
        assert_eq!(folder.path().join("store.corrupt-78").exists(), !survives, "{name}");
        if survives {
            assert_eq!(content(&mut buffer), (Vec::new(), 60 * 400), "{name}");
        }
        let next = buffer.stats().next;
        assert_eq!(buffer.keep(0, &closed(1)).unwrap(), next, "{name}");
    }
    // A leftover of a crash while a snapshot was written.
    let folder = tempfile::tempdir().unwrap();
    let stream = filled(folder.path(), 3);
    std::fs::write(folder.path().join("store/snap.0000000000000000.generating"), b"half").unwrap();
    let (buffer, notices) = open(folder.path(), LIMITS, 78).unwrap();
    assert_eq!((buffer.stats().stream, buffer.stats().batches, notices), (stream, 3, Vec::new()));
}

#[test]
fn only_one_damaged_store_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    for opened_ms in 1..=3 {
        filled(folder.path(), 1);
        std::fs::write(folder.path().join("store/db"), b"").unwrap();
        open(folder.path(), LIMITS, opened_ms).unwrap();
    }
    let kept: Vec<_> = std::fs::read_dir(folder.path()).unwrap().flatten().map(|e| e.file_name().into_string().unwrap()).collect();
    let kept: Vec<_> = kept.iter().filter(|name| name.contains("corrupt")).collect();
    assert_eq!(kept, ["store.corrupt-3"]);
}

#[test]
fn a_second_gateway_on_the_same_folder_is_refused_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (mut first, _) = open(folder.path(), LIMITS, 0).unwrap();
    first.keep(0, &closed(0)).unwrap();
    let error = open(folder.path(), LIMITS, 0).map(|_| ()).unwrap_err();
    assert_eq!(error, BufferError::Store(StoreError::Locked(folder.path().to_owned())));
    assert!(error.to_string().contains("in use by another process"));
    first.keep(0, &closed(1)).unwrap();
    drop(first);
    assert_eq!(open(folder.path(), LIMITS, 0).unwrap().0.stats().batches, 2);
}

#[test]
fn disk_space_is_given_back_when_all_is_delivered() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits { max_bytes: 1 << 30, ..LIMITS };
    let (mut buffer, _) = open(folder.path(), limits, 0).unwrap();
    let stream = buffer.stats().stream;
    let large = closed_with(&dictionary("V"), 0, 700);
    while buffer.store_bytes() <= 33 << 20 {
        for _ in 0..200 {
            buffer.append(0, &large).unwrap();
        }
        buffer.commit().unwrap();
    }
    let next = buffer.stats().next;
    buffer.release(next - 1).unwrap();
    assert!(buffer.store_bytes() < 4 << 20, "{}", buffer.store_bytes());
    assert_eq!((buffer.stats().stream, buffer.stats().next), (stream, next));
    assert_eq!(buffer.keep(0, &large).unwrap(), next);
    drop(buffer);
    let (mut buffer, notices) = open(folder.path(), limits, 0).unwrap();
    assert_eq!((notices, buffer.stats().stream), (Vec::new(), stream));
    assert_eq!(content(&mut buffer), (Vec::new(), 700));
}

impl Buffer<disk::Disk> {
    fn store_bytes(&mut self) -> u64 {
        self.store.size_on_disk().unwrap()
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
