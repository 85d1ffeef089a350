//! What every backend must do, as tests that each backend runs unchanged.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use pattoo_wire::{Decimal, Device, Gap, GapReason, Kind, Reason, Repr, Sample, Schema, Series, Value};

use super::{Bucket, Commit, MAX_LOADED_GAPS, Reading, Receipt, SeriesEntry, SeriesId, Store, StreamState};

/// A place where a store can be opened again and again.
pub(super) trait Bed {
    fn open(&self) -> Box<dyn Store>;
}

type Case = fn(&dyn Bed);

const CASES: &[(&str, Case)] = &[
    ("a new store is empty", a_new_store_is_empty),
    ("readings come back in order of time", readings_come_back_in_order),
    ("a resend collapses and a correction wins", a_resend_collapses),
    ("a range holds its start and not its end", range_edges),
    ("the limit takes the oldest", the_limit_takes_the_oldest),
    ("every value comes back exactly", every_value_comes_back),
    ("series do not mix", series_do_not_mix),
    ("buckets are exact", buckets_are_exact),
    ("buckets begin at multiples of the step", bucket_edges),
    ("the latest is the newest by time", latest_is_by_time),
    ("gaps touch the range", gaps_touch_the_range),
    ("gap records of one batch stand side by side", gaps_by_reason),
    ("a gap record takes in those that lie within it", gaps_join),
    ("of many gap records the newest are loaded", newest_gaps_are_loaded),
    ("receipts are replaced, forgotten, and go with their stream", receipts),
    ("expiry takes the old, up to its limit", expiry),
    ("everything is there after a new opening", reopening),
    ("later entries replace, forgotten ones go", replace_and_forget),
    ("a new series is there at once", new_series_at_once),
    ("what comes eight hours late is in its place", eight_hours_late),
    ("a correction of what is old wins for good", old_correction),
    ("numbers of 17 digits come back, small beside large", seventeen_digits),
    ("where there are no readings there are no buckets", a_hole),
];

/// Runs all cases, each in a fresh bed.
pub(super) fn run(bed: impl Fn() -> Box<dyn Bed>) {
    run_without(&[], bed);
}

/// Runs all cases but those of these names.
pub(super) fn run_without(left_out: &[&str], bed: impl Fn() -> Box<dyn Bed>) {
    for name in left_out {
        assert!(CASES.iter().any(|(known, _)| known == name), "no case is called {name:?}");
    }
    for (name, case) in CASES.iter().filter(|(name, _)| !left_out.contains(name)) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| case(&*bed()))) {
            eprintln!("contract broken: {name}");
            resume_unwind(panic);
        }
    }
}

const S1: SeriesId = SeriesId(1);
const S2: SeriesId = SeriesId(2);

fn int(at_ms: i64, value: i64) -> Reading {
    Reading { at_ms, sample: Sample::Good(Value::int(value)) }
}

fn put(store: &dyn Store, readings: impl IntoIterator<Item = (SeriesId, Reading)>) -> u64 {
    let readings: Vec<_> = readings.into_iter().collect();
    // Whoever writes readings has announced their series.
    let mut ids: Vec<_> = readings.iter().map(|(id, _)| *id).collect();
    ids.sort();
    ids.dedup();
    let series = ids.into_iter().map(|id| entry(id, "V")).collect();
    store.commit(&Commit { readings: readings.into(), series, ..Commit::default() }).unwrap().replaced
}

fn all(store: &dyn Store, series: SeriesId) -> Vec<Reading> {
    let mut all = store.raw(series, i64::MIN, i64::MAX, usize::MAX).unwrap();
    // The end of a range is not in it, so the last instant has no range; the latest shows it.
    all.extend(store.latest(&[series]).unwrap().into_iter().flatten().filter(|r| r.at_ms == i64::MAX));
    all
}

pub(super) fn entry(id: SeriesId, unit: &str) -> SeriesEntry {
    SeriesEntry {
        id,
        gateway: "g1".into(),
        device: "meter".into(),
        profile: "p".into(),
        device_labels: [("site".into(), "north".into())].into(),
        entry: Series {
            device: 0,
            point: format!("point{}", id.0),
            unit: unit.into(),
            kind: Kind::State,
            repr: Repr::Decimal { exponent: -1 },
            labels: [("phase".into(), "1".into())].into(),
            states: [(-1, "off".into()), (2, "on".into())].into(),
        },
    }
}

pub(super) fn schema(label: &str) -> Schema {
    let device = Device { name: "meter".into(), profile: "p".into(), labels: [("l".into(), label.into())].into() };
    Schema { devices: vec![device], series: vec![entry(S1, "V").entry] }
}

fn gap(from_ms: i64, to_ms: i64, first_seq: u64) -> Gap {
    Gap { from_ms, to_ms, first_seq, last_seq: first_seq + 2, readings: 40, reason: GapReason::Other(77) }
}

fn a_new_store_is_empty(bed: &dyn Bed) {
    let store = bed.open();
    assert_eq!(store.load().unwrap(), super::Loaded::default());
    assert_eq!(all(&*store, S1), []);
    assert_eq!(store.buckets(S1, 0, 1000, 10).unwrap(), []);
    assert_eq!(store.latest(&[S1, S2]).unwrap(), [None, None]);
    assert_eq!(store.gaps("g1", i64::MIN, i64::MAX).unwrap(), []);
    assert_eq!(store.expire(i64::MAX, 10).unwrap(), 0);
    store.bytes().unwrap();
}

fn readings_come_back_in_order(bed: &dyn Bed) {
    let store = bed.open();
    let times = [5, -3, i64::MAX, 0, i64::MIN, -1, 1, 255, 256, -256, 65_536, 1_700_000_000_000];
    put(&*store, times.map(|at_ms| (S1, int(at_ms, at_ms))));
    let mut sorted = times;
    sorted.sort();
    assert_eq!(all(&*store, S1), sorted.map(|at_ms| int(at_ms, at_ms)));
}

fn a_resend_collapses(bed: &dyn Bed) {
    let store = bed.open();
    let batch = [(S1, int(1, 10)), (S1, int(2, 20))];
    assert_eq!((put(&*store, batch.clone()), put(&*store, batch)), (0, 0));
    assert_eq!(all(&*store, S1), [int(1, 10), int(2, 20)]);
    let bad = Reading { at_ms: 2, sample: Sample::Bad(Reason::Timeout) };
    assert_eq!(put(&*store, [(S1, bad.clone())]), 1);
    assert_eq!(all(&*store, S1), [int(1, 10), bad]);
    assert_eq!(put(&*store, [(S1, int(2, 21)), (S1, int(2, 22))]), 2);
    assert_eq!(all(&*store, S1), [int(1, 10), int(2, 22)]);
    let nan = Reading { at_ms: 3, sample: Sample::Good(Value::F64(f64::NAN)) };
    assert_eq!((put(&*store, [(S1, nan.clone())]), put(&*store, [(S1, nan)])), (0, 0));
}

fn range_edges(bed: &dyn Bed) {
    let store = bed.open();
    put(&*store, (0..5).map(|at| (S1, int(at, at))));
    for (from, to, times) in [(1, 3, vec![1, 2]), (0, 0, vec![]), (3, 1, vec![]), (4, 99, vec![4]), (-9, 1, vec![0])] {
        let found: Vec<_> = store.raw(S1, from, to, 99).unwrap().iter().map(|r| r.at_ms).collect();
        assert_eq!(found, times, "{from}..{to}");
    }
    assert_eq!(store.buckets(S1, 3, 1, 10).unwrap(), []);
}

fn the_limit_takes_the_oldest(bed: &dyn Bed) {
    let store = bed.open();
    put(&*store, (0..5).map(|at| (S1, int(at, at))));
    assert_eq!(store.raw(S1, 1, 5, 2).unwrap(), [int(1, 1), int(2, 2)]);
    assert_eq!(store.raw(S1, 1, 5, 0).unwrap(), []);
}

fn every_value_comes_back(bed: &dyn Bed) {
    let store = bed.open();
    let values = [
        Value::F64(0.1 + 0.2),
        Value::F64(std::f64::consts::PI),
        Value::F64(-0.0),
        Value::F64(f64::MIN_POSITIVE / 4.0),
        Value::F64(f64::NEG_INFINITY),
        Value::F32(230.1),
        Value::F32(f32::MAX),
        Value::Unsigned(u64::MAX),
        Value::Unsigned(0),
        Value::int(i64::MIN),
        Value::int(i64::MAX),
        Value::int(-1),
        Value::Decimal(Decimal { mantissa: 2301, exponent: -1 }),
        Value::Decimal(Decimal { mantissa: -5, exponent: 18 }),
        Value::Bool(true),
        Value::Bool(false),
        Value::Text(String::new()),
        Value::Text("Übertemperatur 🔥".into()),
    ];
    let mut samples: Vec<Sample> = values.iter().cloned().map(Sample::Good).collect();
    samples.extend(values.iter().cloned().map(|v| Sample::Uncertain(v, Reason::OutOfRange)));
    samples.extend([Sample::Bad(Reason::Exception(2)), Sample::Bad(Reason::Other(u16::MAX))]);
    let readings: Vec<_> = samples.into_iter().zip(0..).map(|(sample, at_ms)| Reading { at_ms, sample }).collect();
    put(&*store, readings.iter().map(|r| (S1, r.clone())));
    assert_eq!(all(&*store, S1), readings);
    // Equality takes -0.0 for 0.0.
    let zero = readings.iter().position(|r| r.sample == Sample::Good(Value::F64(-0.0))).unwrap();
    let Some(Value::F64(zero)) = all(&*store, S1)[zero].sample.value().cloned() else { panic!() };
    assert!(zero.is_sign_negative());
    put(&*store, [(S2, Reading { at_ms: 0, sample: Sample::Good(Value::F64(f64::from_bits(0x7ff8_0000_0000_0abc))) })]);
    let Some(Value::F64(nan)) = all(&*store, S2)[0].sample.value().cloned() else { panic!() };
    assert_eq!(nan.to_bits(), 0x7ff8_0000_0000_0abc);
}

fn series_do_not_mix(bed: &dyn Bed) {
    let store = bed.open();
    let last = SeriesId(u32::MAX);
    put(&*store, [(S1, int(i64::MAX, 1)), (S2, int(i64::MIN, 2)), (S2, int(i64::MAX, 3)), (last, int(0, 4))]);
    assert_eq!(all(&*store, S1), [int(i64::MAX, 1)]);
    assert_eq!(all(&*store, S2), [int(i64::MIN, 2), int(i64::MAX, 3)]);
    assert_eq!(all(&*store, last), [int(0, 4)]);
    assert_eq!(store.buckets(S2, i64::MIN, i64::MAX, 1000).unwrap().len(), 1);
}

fn buckets_are_exact(bed: &dyn Bed) {
    let store = bed.open();
    let sample = |at_ms, sample| (S1, Reading { at_ms, sample });
    put(
        &*store,
        [
            sample(1000, Sample::Bad(Reason::Timeout)),
            sample(1100, Sample::Uncertain(Value::F64(4.5), Reason::Stale)),
            sample(1200, Sample::Good(Value::Decimal(Decimal { mantissa: -15, exponent: -1 }))),
            sample(1300, Sample::Good(Value::Text("no number".into()))),
            sample(1999, Sample::Good(Value::F32(2.5))),
            sample(3000, Sample::Bad(Reason::LinkDown)),
        ],
    );
    let found = store.buckets(S1, 0, 10_000, 1000).unwrap();
    let first = Bucket { start_ms: 1000, count: 3, sum: 5.5, min: -1.5, max: 4.5, first: 4.5, last: 2.5, uncertain: 1, bad: 1 };
    assert_eq!(found[0], first);
    assert_eq!((found.len(), found[1].start_ms, found[1].count, found[1].bad, found[1].sum), (2, 3000, 0, 1, 0.0));
    assert!([found[1].min, found[1].max, found[1].first, found[1].last].iter().all(|x| x.is_nan()));
}

fn bucket_edges(bed: &dyn Bed) {
    let store = bed.open();
    put(&*store, [-1, 0, 999, 1000, 1001].map(|at| (S1, int(at, at))));
    let found = |from, to| store.buckets(S1, from, to, 1000).unwrap().iter().map(|b| (b.start_ms, b.count)).collect::<Vec<_>>();
    assert_eq!(found(-5000, 5000), [(-1000, 1), (0, 2), (1000, 2)]);
    assert_eq!(found(999, 1001), [(0, 1), (1000, 1)], "only readings of the range count");
}

fn latest_is_by_time(bed: &dyn Bed) {
    let store = bed.open();
    put(&*store, [(S1, int(100, 1)), (S2, int(5, 9))]);
    put(&*store, [(S1, int(50, 2))]);
    assert_eq!(store.latest(&[S2, S1, SeriesId(3)]).unwrap(), [Some(int(5, 9)), Some(int(100, 1)), None]);
}

fn gaps_touch_the_range(bed: &dyn Bed) {
    let store = bed.open();
    let gaps = vec![("g1".into(), 7, gap(200, 300, 4)), ("g1".into(), 8, gap(100, 150, 1)), ("g10".into(), 7, gap(0, 999, 1))];
    store.commit(&Commit { gaps, ..Commit::default() }).unwrap();
    assert_eq!(store.gaps("g1", 0, 1000).unwrap(), [gap(100, 150, 1), gap(200, 300, 4)]);
    assert_eq!(store.gaps("g1", 150, 200).unwrap(), [gap(100, 150, 1)]);
    assert_eq!(store.gaps("g1", 151, 201).unwrap(), [gap(200, 300, 4)]);
    assert_eq!(store.gaps("g1", 301, 999).unwrap(), []);
    let again = vec![("g1".into(), 7, gap(200, 350, 4))];
    store.commit(&Commit { gaps: again, ..Commit::default() }).unwrap();
    assert_eq!(store.gaps("g1", 151, 999).unwrap(), [gap(200, 350, 4)]);
}

fn gaps_by_reason(bed: &dyn Bed) {
    let store = bed.open();
    let gap = |reason| Gap { reason, ..gap(100, 200, 4) };
    let reasons = [GapReason::BufferFull, GapReason::Thinned, GapReason::ClockStep, GapReason::NotHeld];
    let gaps: Vec<_> = reasons.iter().map(|reason| ("g1".into(), 7, gap(*reason))).collect();
    store.commit(&Commit { gaps, ..Commit::default() }).unwrap();
    drop(store);
    let store = bed.open();
    assert_eq!(store.gaps("g1", 0, 999).unwrap(), reasons.map(gap));
    assert_eq!(store.load().unwrap().gaps, reasons.map(|reason| ("g1".into(), 7, gap(reason))));
    // What goes is named by stream, first seq and reason; what comes in the same commit stays.
    let forgotten = vec![("g1".into(), 7, gap(GapReason::NotHeld)), ("g1".into(), 7, gap(GapReason::Thinned))];
    let back = vec![("g1".into(), 7, gap(GapReason::Thinned))];
    store.commit(&Commit { gaps: back, forgotten_gaps: forgotten, ..Commit::default() }).unwrap();
    assert_eq!(store.gaps("g1", 0, 999).unwrap(), [reasons[0], reasons[1], reasons[2]].map(gap));
}

fn gaps_join(bed: &dyn Bed) {
    let store = bed.open();
    let gap = |first_seq, last_seq, reason| Gap { first_seq, last_seq, reason, ..gap(100, 200, 0) };
    let full = GapReason::BufferFull;
    let put = |stream, gap: &Gap| store.commit(&Commit { gaps: vec![("g1".into(), stream, gap.clone())], ..Commit::default() }).unwrap();
    let others = [gap(4, 4, GapReason::TooOld), gap(0, 9, full), gap(9, 10, full)];
    for other in &others {
        put(7, other);
    }
    put(8, &gap(4, 4, full));
    for (first, last) in [(2, 3), (4, 9), (3, 3)] {
        put(7, &gap(first, last, full));
    }
    put(7, &gap(2, 9, full));
    let expected = [others[1].clone(), gap(2, 9, full), others[0].clone(), gap(4, 4, full), others[2].clone()];
    let mut found = store.gaps("g1", 0, 999).unwrap();
    found.sort_by_key(|gap| (gap.first_seq, gap.reason != GapReason::TooOld));
    assert_eq!(found, expected);
}

fn newest_gaps_are_loaded(bed: &dyn Bed) {
    let store = bed.open();
    let many = MAX_LOADED_GAPS as u64 * 5 / 2;
    let of = |stream, seqs: std::ops::Range<u64>| seqs.map(move |seq| ("g1".to_owned(), stream, Gap { last_seq: seq, ..gap(0, 9, seq) }));
    let gaps: Vec<_> = of(6, 0..2).chain(of(7, 0..many)).chain(of(8, 0..many)).collect();
    store.commit(&Commit { gaps, ..Commit::default() }).unwrap();
    let loaded = store.load().unwrap().gaps;
    let (few, many_loaded) = loaded.split_at(2);
    assert!(few.iter().cloned().eq(of(6, 0..2)));
    for stream in [7, 8] {
        let found: Vec<_> = many_loaded.iter().filter(|gap| gap.1 == stream).cloned().collect();
        assert!((MAX_LOADED_GAPS..=2 * MAX_LOADED_GAPS).contains(&found.len()));
        assert!(found.iter().cloned().eq(of(stream, many - found.len() as u64..many)));
    }
}

fn receipts(bed: &dyn Bed) {
    let store = bed.open();
    let receipt = |seq, crc| Receipt { seq, place: seq * 3, crc, readings: u32::MAX, times_ms: (seq > 1).then_some((-5, i64::MAX)) };
    let state = |stream| StreamState { gateway: "g1".into(), stream, contiguous: 1, ahead: Vec::new() };
    let put = |stream, seq, crc| ("g1".to_owned(), stream, receipt(seq, crc));
    let receipts = vec![put(7, 1, 5), put(7, 2, 5), put(7, u64::MAX / 3, u32::MAX), put(8, 1, 5)];
    store.commit(&Commit { receipts: receipts.clone(), streams: vec![state(7), state(8)], ..Commit::default() }).unwrap();
    drop(store);
    let store = bed.open();
    assert_eq!(store.load().unwrap().receipts, receipts);
    let forgotten_receipts = vec![("g1".into(), 7, 1), ("g1".into(), 7, 2), ("g1".into(), 9, 9)];
    let forgotten_streams = vec![("g1".into(), 8)];
    store.commit(&Commit { receipts: vec![put(7, 2, 6)], forgotten_receipts, forgotten_streams, ..Commit::default() }).unwrap();
    assert_eq!(store.load().unwrap().receipts, [put(7, 2, 6), receipts[2].clone()]);
}

fn expiry(bed: &dyn Bed) {
    let store = bed.open();
    put(&*store, (0..10).flat_map(|at| [(S1, int(at, at)), (S2, int(at, at))]));
    let gaps = vec![("g1".into(), 7, gap(0, 4, 1)), ("g1".into(), 7, gap(4, 5, 9))];
    store.commit(&Commit { gaps, ..Commit::default() }).unwrap();
    assert_eq!(store.expire(5, 3).unwrap(), 3);
    assert_eq!(all(&*store, S1).len() + all(&*store, S2).len(), 17);
    assert_eq!(store.expire(5, 100).unwrap(), 8, "seven readings and a gap");
    assert_eq!(store.expire(5, 100).unwrap(), 0);
    let kept: Vec<_> = (5..10).map(|at| int(at, at)).collect();
    assert_eq!((all(&*store, S1), all(&*store, S2)), (kept.clone(), kept));
    assert_eq!(store.gaps("g1", 0, 99).unwrap(), [gap(4, 5, 9)]);
}

fn reopening(bed: &dyn Bed) {
    let store = bed.open();
    let (id, _) = schema("a").encode().unwrap();
    let state = StreamState { gateway: "g1".into(), stream: u64::MAX, contiguous: 41, ahead: vec![(43, 44), (50, u64::MAX)] };
    let commit = Commit {
        series: vec![entry(S1, "V"), entry(S2, "°C")],
        schemas: vec![("g1".into(), id, schema("a"))],
        readings: vec![(S1, int(1, 2))].into(),
        gaps: vec![("g1".into(), 7, gap(0, 4, 1))],
        streams: vec![state.clone()],
        ..Commit::default()
    };
    store.commit(&commit).unwrap();
    drop(store);
    let store = bed.open();
    let loaded = store.load().unwrap();
    assert_eq!((loaded.series, loaded.schemas, loaded.streams), (commit.series, commit.schemas, commit.streams));
    assert_eq!(all(&*store, S1), [int(1, 2)]);
    assert_eq!(store.gaps("g1", 0, 99).unwrap(), [gap(0, 4, 1)]);
}

fn replace_and_forget(bed: &dyn Bed) {
    let store = bed.open();
    let ((a, _), (b, _)) = (schema("a").encode().unwrap(), schema("b").encode().unwrap());
    let state = |stream, contiguous| StreamState { gateway: "g1".into(), stream, contiguous, ahead: Vec::new() };
    let first = Commit {
        series: vec![entry(S1, "V")],
        schemas: vec![("g1".into(), a, schema("a"))],
        streams: vec![state(1, 5), state(2, 5)],
        ..Commit::default()
    };
    store.commit(&first).unwrap();
    let second = Commit {
        series: vec![entry(S1, "kV")],
        schemas: vec![("g1".into(), b, schema("b"))],
        streams: vec![state(2, 6)],
        forgotten_schemas: vec![("g1".into(), a)],
        forgotten_streams: vec![("g1".into(), 1), ("g1".into(), 99)],
        ..Commit::default()
    };
    store.commit(&second).unwrap();
    let loaded = store.load().unwrap();
    assert_eq!((loaded.series, loaded.schemas, loaded.streams), (second.series, second.schemas, second.streams));
}

/// Some day of the past, at midnight UTC.
const DAY: i64 = 1_764_460_800_000;
const HOUR: i64 = 3_600_000;

fn new_series_at_once(bed: &dyn Bed) {
    let store = bed.open();
    put(&*store, (0..9).map(|n| (S1, int(DAY + n * 1000, n))));
    for id in [S2, SeriesId(77)] {
        put(&*store, [(id, int(DAY, 5))]);
        assert_eq!(store.raw(id, DAY, DAY + HOUR, 9).unwrap(), [int(DAY, 5)]);
        assert_eq!(store.latest(&[id]).unwrap(), [Some(int(DAY, 5))]);
        assert_eq!(store.buckets(id, DAY, DAY + HOUR, HOUR).unwrap()[0].count, 1);
    }
}

fn eight_hours_late(bed: &dyn Bed) {
    let store = bed.open();
    let at = |minute: i64| DAY + 23 * HOUR + minute * 60_000;
    let counts = |store: &dyn Store| {
        let buckets = store.buckets(S1, DAY, DAY + 48 * HOUR, HOUR).unwrap();
        buckets.iter().map(|b| ((b.start_ms - DAY) / HOUR, b.count, b.sum, b.first, b.last)).collect::<Vec<_>>()
    };
    // Every ten minutes from 23:00 on, over midnight; the first hour lacks every other one.
    put(&*store, (0..30).filter(|n| n % 2 == 0 || *n >= 6).map(|n| (S1, int(at(n * 10), n))));
    assert_eq!(counts(&*store)[..2], [(23, 3, 6.0, 0.0, 4.0), (24, 6, 51.0, 6.0, 11.0)]);
    put(&*store, (30..54).map(|n| (S1, int(at(n * 10), n))));
    let late = [5, 1, 3].map(|n| (S1, int(at(n * 10), n)));
    assert_eq!(put(&*store, late.clone()), 0);
    let expected: Vec<_> = (0..54).map(|n| int(at(n * 10), n)).collect();
    assert_eq!(all(&*store, S1), expected);
    assert_eq!(counts(&*store)[..2], [(23, 6, 15.0, 0.0, 5.0), (24, 6, 51.0, 6.0, 11.0)]);
    assert_eq!(put(&*store, late), 0, "a resend");
    assert_eq!(all(&*store, S1), expected);
    assert_eq!(store.latest(&[S1]).unwrap(), [Some(int(at(530), 53))]);
}

fn old_correction(bed: &dyn Bed) {
    let store = bed.open();
    put(&*store, (0..60).map(|n| (S1, int(DAY + n * 1000, 100 + n))));
    put(&*store, [(S1, int(DAY + 48 * HOUR, 1))]);
    // Upwards, downwards, to another type, to bad, and back again.
    let text = Reading { at_ms: DAY + 4000, sample: Sample::Good(Value::Text("no number".into())) };
    let bad = Reading { at_ms: DAY + 5000, sample: Sample::Bad(Reason::Timeout) };
    let corrections = [int(DAY + 1000, 999), int(DAY + 2000, -999), text.clone(), bad.clone(), int(DAY + 6000, 1)];
    assert_eq!(put(&*store, corrections.map(|reading| (S1, reading))), 5);
    assert_eq!(put(&*store, [(S1, int(DAY + 6000, 106))]), 1);
    assert_eq!(put(&*store, [(S1, int(DAY + 2000, -999))]), 0, "a resend of a correction");
    let found = store.raw(S1, DAY, DAY + 7000, 99).unwrap();
    let expected = [int(DAY, 100), int(DAY + 1000, 999), int(DAY + 2000, -999), int(DAY + 3000, 103), text, bad, int(DAY + 6000, 106)];
    assert_eq!(found, expected);
    drop(store);
    let store = bed.open();
    assert_eq!(store.raw(S1, DAY, DAY + 7000, 99).unwrap(), expected);
    let bucket = store.buckets(S1, DAY, DAY + 7000, 7000).unwrap();
    let sums: Vec<_> = bucket.iter().map(|b| (b.count, b.sum, b.min, b.max, b.bad)).collect();
    assert_eq!(sums.iter().map(|b| (b.0, b.4)).fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1)), (5, 1));
    assert_eq!(sums.iter().map(|b| b.1).sum::<f64>(), 100.0 + 999.0 - 999.0 + 103.0 + 106.0);
}

fn seventeen_digits(bed: &dyn Bed) {
    let store = bed.open();
    let numbers = [0.1 + 0.2, 1.0 / 3.0, 5e-324, f64::MAX, 123_456_789.123_456_78, 1e-9, 9_007_199_254_740_993.0, -2.0 / 3.0];
    let floats = numbers.iter().flat_map(|x| [Value::F64(*x), Value::F32(*x as f32)]);
    let values = floats.chain([Value::Unsigned((1 << 53) + 1), Value::int(1_234_567_890_123_456_789)]);
    let readings: Vec<_> = values.zip(0..).map(|(value, n)| Reading { at_ms: DAY + n * 1000, sample: Sample::Good(value) }).collect();
    put(&*store, readings.iter().map(|reading| (S1, reading.clone())));
    assert_eq!(all(&*store, S1), readings);
}

fn a_hole(bed: &dyn Bed) {
    let store = bed.open();
    put(&*store, (0..120).filter(|n| !(30..90).contains(n)).map(|n| (S1, int(DAY + n * 60_000, n))));
    let found: Vec<_> = store.buckets(S1, DAY, DAY + 3 * HOUR, HOUR / 4).unwrap().iter().map(|b| (b.start_ms - DAY, b.count)).collect();
    let quarter = HOUR / 4;
    assert_eq!(found, [(0, 15), (quarter, 15), (6 * quarter, 15), (7 * quarter, 15)]);
}
