//! What is thinned out before anything is dropped, and the records of it.

use pattoo_wire::{CLASS_ALARM, CLASS_LABEL};

use super::*;

/// One second to the next reading; one in twenty stays.
const THIN_TO_MS: i64 = 20_000;
const THINS: Limits = Limits { thin_to_ms: THIN_TO_MS, given_ahead: 1, ..LIMITS };

/// Two gauges, a counter and an alarm, each once a second.
fn plant() -> Arc<Dictionary> {
    let device = Device { name: "d".into(), profile: "p".into(), labels: Labels::new() };
    let series = |point: &str, kind, labels: Labels| Series {
        device: 0,
        point: point.into(),
        unit: String::new(),
        kind,
        repr: Repr::Unsigned,
        labels,
        states: BTreeMap::new(),
    };
    let alarm = Labels::from([(CLASS_LABEL.to_owned(), CLASS_ALARM.to_owned())]);
    let series = vec![
        series("power", Kind::Gauge, Labels::new()),
        series("voltage", Kind::Gauge, Labels::new()),
        series("energy", Kind::Counter, Labels::new()),
        series("fault", Kind::Gauge, alarm),
    ];
    Arc::new(Dictionary::new(Schema { devices: vec![device], series }).unwrap())
}

/// `seconds` of the plant, with values that do not compress.
fn made(dictionary: &Arc<Dictionary>, from_s: i64, seconds: i64) -> Closed {
    let times_ms: Vec<i64> = (from_s..from_s + seconds).map(|s| s * 1000).collect();
    let value = |series: u64, at_ms: i64| Sample::Good(Value::Unsigned((at_ms as u64 + series).wrapping_mul(0x5851_f42d_4c95_7f2d) >> 20));
    let samples = (0..4).flat_map(|series| times_ms.iter().map(move |at_ms| value(series, *at_ms))).collect();
    Closed::new(Arc::clone(dictionary), Batch { blocks: vec![Block { series: vec![0, 1, 2, 3], times_ms, samples }], gaps: Vec::new() })
        .unwrap()
}

/// All readings of the batches that are held, by series, and the gap records that they carry or that wait.
fn held<S: Store>(buffer: &mut Buffer<S>) -> ([u64; 4], Vec<Gap>) {
    let Stats { oldest, next, .. } = buffer.stats();
    let (mut readings, mut gaps) = ([0; 4], buffer.pending_gaps());
    for seq in oldest..next {
        let stored = buffer.look_up(seq, 0).unwrap().unwrap();
        let message = buffer.schema(stored.schema).unwrap().unwrap();
        let (id, schema) = Schema::decode(&message).unwrap();
        let batch = Body::open(&stored.body).unwrap().decode(id, &schema).unwrap();
        for block in &batch.blocks {
            block.series.iter().for_each(|series| readings[*series as usize] += block.times_ms.len() as u64);
        }
        gaps.extend(batch.gaps);
    }
    (readings, gaps)
}

fn sum(gaps: &[Gap], reason: GapReason) -> u64 {
    gaps.iter().filter(|gap| gap.reason == reason).map(|gap| gap.readings).sum()
}

#[test]
fn gauges_are_thinned_out_before_anything_is_dropped_and_all_is_delivered_or_on_record() {
    for place in Place::both() {
        let on_disk = matches!(place, Place::Disk(_));
        let (max_bytes, rounds, seconds) = if on_disk { (5 << 20, 1700, 350) } else { (100_000, 2000, 10) };
        let limits = Limits { max_bytes, max_age_ms: i64::MAX, ..THINS };
        let (mut buffer, dictionary) = (place.open(limits), plant());
        let (mut whole, mut kept) = ((0, 0), 0);
        for i in 0..rounds {
            buffer.keep(0, &made(&dictionary, i * seconds, seconds)).unwrap();
            kept += 4 * seconds as u64;
            let stats = buffer.stats();
            if stats.oldest == 1 {
                whole = (kept, stats.dropped_readings);
            }
            assert!(on_disk || buffer.store.bytes() <= max_bytes, "{} bytes", buffer.store.bytes());
            if i % (rounds / 4) == 0 {
                drop(buffer);
                buffer = place.open(limits);
                assert_eq!(buffer.stats().dropped_readings, stats.dropped_readings);
            }
        }
        let stats = buffer.stats();
        assert!(stats.oldest > 1, "something was dropped as well: {stats:?}");
        let (readings, gaps) = held(&mut buffer);
        let (thinned, dropped) = (sum(&gaps, GapReason::Thinned), sum(&gaps, GapReason::BufferFull));
        assert_eq!(readings.iter().sum::<u64>() + thinned + dropped, kept);
        assert_eq!(thinned + dropped, stats.dropped_readings);
        // When the first was dropped, nearly half of all readings, so nearly all that can be thinned out, had been.
        assert!(whole.1 > whole.0 / 3, "{whole:?}");
        assert!(readings[2] == readings[3] && readings[0] < readings[2] / 4, "{readings:?}");
        assert!(stats.pending_gaps < 6, "{stats:?}");
    }
}

/// A record replaces those within it at the server: none may have been sent.
#[test]
fn the_records_of_a_thinned_chunk_that_is_dropped_are_joined_but_for_those_that_may_have_been_sent() {
    for place in Place::both() {
        let mut buffer = place.open(Limits { max_age_ms: i64::MAX, ..THINS });
        for i in 0..6 {
            buffer.keep(0, &made(&plant(), i * 30, 30)).unwrap();
        }
        buffer.seal_newest().unwrap();
        assert!(buffer.thin_oldest().unwrap());
        buffer.get(3, 0).unwrap().unwrap();
        buffer.limits.max_bytes = 1;
        buffer.drop_for(0).unwrap();
        let gaps = buffer.pending_gaps();
        let of = |reason| gaps.iter().filter(|gap| gap.reason == reason).map(|gap| (gap.first_seq, gap.last_seq)).collect::<Vec<_>>();
        assert_eq!(of(GapReason::Thinned), [(1, 2), (3, 3), (4, 6)], "{gaps:?}");
        assert_eq!(sum(&gaps, GapReason::Thinned) + sum(&gaps, GapReason::BufferFull), 6 * 120);
    }
}

/// Even if less is wanted later, and if the note that a chunk was thinned out is lost.
#[test]
fn nothing_is_thinned_out_twice() {
    for place in Place::both() {
        let mut buffer = place.open(Limits { thin_to_ms: 2, ..THINS });
        for i in 0..4 {
            buffer.keep(0, &closed_with(&dictionary("V"), i * 40, 40)).unwrap();
        }
        buffer.seal_newest().unwrap();
        assert!(buffer.thin_oldest().unwrap());
        drop(buffer);
        let mut buffer = place.open(THINS);
        let once = held(&mut buffer);
        assert_eq!((once.0[0], sum(&once.1, GapReason::Thinned)), (80, 80));
        assert!(buffer.chunks.iter().all(|chunk| chunk.thinned) && !buffer.thin_oldest().unwrap());
        let chunk = buffer.chunks.newest().unwrap();
        buffer.chunks.set(Chunk { thinned: false, ..chunk });
        assert!(!buffer.thin_oldest().unwrap());
        assert_eq!(held(&mut buffer), once);
    }
}

/// An empty place of the same kind.
fn another(place: &Place) -> Place {
    match place {
        Place::Memory(_) => Place::Memory(Medium::default()),
        Place::Disk(_) => Place::Disk(tempfile::tempdir().unwrap()),
    }
}

/// Batches in chunks of four; what of it is given out, released, or asked for as 0: all that can be is thinned out.
#[test]
fn what_may_have_been_sent_stays_as_it_is() {
    let whole = 120;
    for place in Place::both() {
        for (name, limits, given, expected) in [
            ("nothing went out", THINS, vec![], vec![]),
            ("some did", THINS, vec![2, 7], vec![2, 7]),
            ("with those after them", Limits { given_ahead: 2, ..THINS }, vec![8], vec![8, 9]),
            ("never", Limits { thin_to_ms: 0, ..THINS }, vec![], (1..=12).collect()),
        ] {
            let place = another(&place);
            let mut buffer = place.open(limits);
            for i in 0..12 {
                buffer.keep(0, &made(&plant(), i * 30, 30)).unwrap();
                if i % 4 == 3 {
                    buffer.seal_newest().unwrap();
                }
            }
            given.iter().for_each(|seq| drop(buffer.get(*seq, 0).unwrap()));
            drop(buffer);
            let mut buffer = place.open(limits);
            while buffer.thin_oldest().unwrap() {}
            let mut left = Vec::new();
            for seq in 1..=12 {
                let stored = buffer.look_up(seq, 0).unwrap().unwrap();
                let batch = Body::open(&stored.body).unwrap().decode(plant().id, &plant().schema).unwrap();
                let gone = batch.gaps.first().map_or(0, |gap| gap.readings);
                assert_eq!(batch.readings() as u64 + gone, whole, "{name}, batch {seq}");
                if gone == 0 {
                    left.push(seq);
                    assert_eq!(stored.body, made(&plant(), (seq as i64 - 1) * 30, 30).body, "{name}, batch {seq}");
                }
            }
            assert_eq!(left, expected, "{name}");
        }
    }
}

#[test]
fn a_thinned_batch_that_is_damaged_or_lost_costs_all_that_it_had() {
    for lost in [false, true] {
        let medium = Medium::default();
        let limits = Limits { max_age_ms: i64::MAX, ..THINS };
        let mut buffer = Buffer::open(Memory::open(&medium), limits, 0).unwrap();
        for i in 0..4 {
            buffer.keep(0, &made(&plant(), i * 30, 30)).unwrap();
        }
        buffer.seal_newest().unwrap();
        assert!(buffer.thin_oldest().unwrap());
        assert!(matches!(buffer.take_notices().as_slice(), [Notice::Thinned { first: 1, last: 4, readings: 200.. }]));
        drop(buffer);
        if lost {
            medium.lose(1);
        } else {
            medium.damage(|content| {
                // The last batch of the only value.
                let value = content.chunks.get_mut(&1).unwrap().get_mut(&1).unwrap();
                *value.last_mut().unwrap() ^= 1;
            });
        }
        let mut buffer = Buffer::open(Memory::open(&medium), limits, 0).unwrap();
        (1..5).for_each(|seq| drop(buffer.look_up(seq, 0).unwrap()));
        let (readings, gaps) = held(&mut buffer);
        let damaged = sum(&gaps, GapReason::Damaged);
        assert_eq!(damaged, if lost { 480 } else { 120 });
        assert_eq!(readings.iter().sum::<u64>() + sum(&gaps, GapReason::Thinned) + damaged, 480);
    }
}

#[test]
fn a_disk_that_is_full_is_helped_by_thinning_first() {
    let medium = Medium::default();
    let mut buffer = Buffer::open(Memory::open(&medium), THINS, 0).unwrap();
    for i in 0..12 {
        buffer.keep(0, &made(&plant(), i * 30, 30)).unwrap();
        if i % 4 == 3 {
            buffer.seal_newest().unwrap();
        }
    }
    medium.fail(StoreError::Full);
    assert_eq!(buffer.keep(0, &made(&plant(), 999, 1)).unwrap(), 13);
    assert_eq!(buffer.stats().oldest, 1, "nothing was dropped");
    let notices = buffer.take_notices();
    assert!(notices.iter().any(|notice| matches!(notice, Notice::Thinned { first: 1, last: 4, .. })), "{notices:?}");
    // With no room to write what is left of a chunk, the oldest go as before.
    let mut buffer = Buffer::open(Memory::open(&medium), THINS, 0).unwrap();
    medium.fill();
    assert!(!buffer.thin_oldest().unwrap());
}

#[test]
fn what_is_thinned_out_before_the_time_is_known_gets_its_time_later() {
    for place in Place::both() {
        let mut buffer = place.open(THINS);
        let boot = crate::reading::BootId(7);
        for i in 0..4 {
            buffer.keep(0, &Closed { held: Some(boot), ..made(&plant(), i * 30, 30) }).unwrap();
        }
        buffer.seal_newest().unwrap();
        assert!(buffer.thin_oldest().unwrap());
        let offset_ms = 1_700_000_000_000;
        buffer.set_time(boot, offset_ms).unwrap();
        let (readings, gaps) = held(&mut buffer);
        assert_eq!(readings.iter().sum::<u64>() + sum(&gaps, GapReason::Thinned), 480);
        assert!(
            gaps.iter().all(|gap| (offset_ms..offset_ms + 120_000).contains(&gap.from_ms) && gap.to_ms < offset_ms + 120_000),
            "{gaps:?}"
        );
    }
}
