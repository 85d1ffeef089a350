//! What retention leaves: charts of all, readings of what is kept, and a start that knows no more than that.

use std::time::Duration;

use super::super::super::retention::{Forced, Keep, Retained, Retention};
use super::*;

const HOUR_MS: i64 = 3_600_000;
const DAYS: i64 = 5;
/// A while after the last of the days.
const NOW_MS: i64 = DAYS * DAY_MS + HOUR_MS;

/// A series each 5 min on five days, and another one on the first of them only; in a commit each day.
fn fill(store: &dyn Store) {
    for first in (0..DAYS * 288).step_by(288) {
        let series = if first < 288 { vec![1, 2] } else { vec![1] };
        let of = |id: u32, n: i64| Reading { at_ms: n * 300_000, sample: Sample::Good(Value::int(n % 50 * i64::from(id))) };
        let readings = (first..first + 288).flat_map(|n| series.iter().map(move |id| (SeriesId(*id), of(*id, n)))).collect();
        store.commit(&Commit { readings, series: [1, 2].map(|id| announced(SeriesId(id))).to_vec(), ..Commit::default() }).unwrap();
    }
}

fn filled() -> (tempfile::TempDir, Embedded) {
    let folder = tempfile::tempdir().unwrap();
    let store = Embedded::open(&folder.path().join("pattoo.redb")).unwrap();
    fill(&store);
    (folder, store)
}

/// Charts of both series are those of all that ever was.
fn charts_tell_of_all(store: &dyn Store, step_ms: i64) {
    let model = Memory::default();
    fill(&model);
    for id in [SeriesId(1), SeriesId(2)] {
        let buckets = |of: &dyn Store| of.buckets(id, 0, NOW_MS, step_ms).unwrap().iter().map(bucket_bits).collect::<Vec<_>>();
        assert_eq!(buckets(store), buckets(&model));
    }
}

fn raw_days(store: &dyn Store) -> Vec<i64> {
    let mut days: Vec<i64> = store.raw(SeriesId(1), 0, NOW_MS, usize::MAX).unwrap().iter().map(|reading| reading.at_ms / DAY_MS).collect();
    days.dedup();
    days
}

#[test]
fn readings_that_come_of_age_go_and_charts_stay() {
    let (folder, store) = filled();
    let retention = Retention::alike(Keep::Forever);
    assert_eq!(store.retain(&retention, NOW_MS).unwrap(), Retained::default());
    let two_days = Keep::For(Duration::from_secs(2 * 86_400));
    let retained = store.retain(&Retention { raw: two_days, ..retention }, NOW_MS).unwrap();
    assert_eq!(retained, Retained { aged: 4 * 288, ..Retained::default() });
    let judge = |store: &dyn Store| {
        charts_tell_of_all(store, HOUR_MS);
        assert_eq!(raw_days(store), [3, 4]);
        assert_eq!(store.latest(&[SeriesId(2)]).unwrap(), [None], "its readings are gone");
        assert_eq!((store.grain_ms(0, DAY_MS), store.grain_ms(3 * DAY_MS, NOW_MS)), (60_000, 1));
        let begin = |place: usize| store.classes()[place].from_ms.map(|ms| ms / DAY_MS);
        assert_eq!((begin(0), begin(1), begin(4)), (Some(3), Some(0), Some(0)));
    };
    judge(&store);
    drop(store);
    let store = Embedded::open(&folder.path().join("pattoo.redb")).unwrap();
    judge(&store);
    // All alike: nothing is left of what is older.
    store.retain(&Retention::alike(two_days), NOW_MS).unwrap();
    assert_eq!(store.buckets(SeriesId(1), 0, NOW_MS, DAY_MS).unwrap().iter().map(|b| b.start_ms / DAY_MS).collect::<Vec<_>>(), [3, 4]);
}

fn most(bytes: u64) -> Retention {
    Retention { max_bytes: Some(bytes), ..Retention::alike(Keep::Forever) }
}

#[test]
fn what_is_too_much_goes_with_the_oldest_days_first_and_is_told() {
    let (_folder, store) = filled();
    store.tidy(NOW_MS).unwrap();
    assert_eq!(store.retain(&most(u64::MAX), NOW_MS).unwrap(), Retained::default());
    assert_eq!(store.retain(&most(store.bytes().unwrap()), NOW_MS).unwrap(), Retained::default());
    let bytes = store.bytes().unwrap();
    let retained = store.retain(&most(bytes - 1), NOW_MS).unwrap();
    let [Forced { class: "raw", days, last_day_ms, .. }] = retained.forced[..] else { panic!("{retained:?}") };
    assert_eq!((last_day_ms, raw_days(&store)), ((days as i64 - 1) * DAY_MS, (days as i64..DAYS).collect::<Vec<_>>()));
    assert_eq!((retained.over_bytes, store.classes()[0].forced_days), (None, days));
    assert!(store.bytes().unwrap() < bytes);
    charts_tell_of_all(&store, DAY_MS);
    // Today is never touched, the rest goes. Rollups of 1 h were not worth their room: a day has 288 readings.
    store.commit(&one(1, NOW_MS, 7)).unwrap();
    let retained = store.retain(&most(0), NOW_MS).unwrap();
    let forced: Vec<_> = retained.forced.iter().map(|forced| (forced.class, forced.days)).collect();
    assert_eq!(forced, [("raw", DAYS as u64 - days), ("1d", DAYS as u64)]);
    assert_eq!(retained.over_bytes, Some(store.bytes().unwrap()));
    assert_eq!((store.raw(SeriesId(1), 0, i64::MAX, 9).unwrap().len(), store.latest(&[SeriesId(2)]).unwrap()), (1, vec![None]));
    assert_eq!(store.classes().iter().map(|class| class.forced_days).collect::<Vec<_>>(), [DAYS as u64, 0, 0, 0, DAYS as u64]);
}

#[test]
fn a_fault_at_any_call_of_retention_changes_no_chart() {
    let two_days = Retention { raw: Keep::For(Duration::from_secs(2 * 86_400)), ..Retention::alike(Keep::Forever) };
    for calls in 0.. {
        let folder = tempfile::tempdir().unwrap();
        let faults = Faults::default();
        let engine = faulty::open(folder.path(), &faults, Budget::DEFAULT).unwrap();
        fill(&engine);
        faults.after(calls);
        let result = engine.retain(&two_days, NOW_MS);
        let failed = faults.left() < 0;
        assert!(failed || result.is_ok());
        faults.after(i64::MAX);
        charts_tell_of_all(&engine, HOUR_MS);
        if calls % 2 == 0 {
            engine.retain(&two_days, NOW_MS).unwrap();
        }
        drop(engine);
        let engine = faulty::open(folder.path(), &faults, Budget::DEFAULT).unwrap();
        charts_tell_of_all(&engine, HOUR_MS);
        engine.retain(&two_days, NOW_MS).unwrap();
        charts_tell_of_all(&engine, HOUR_MS);
        assert_eq!(raw_days(&engine), [3, 4]);
        if !failed {
            assert!(calls > 20, "{calls} calls");
            return;
        }
    }
}
