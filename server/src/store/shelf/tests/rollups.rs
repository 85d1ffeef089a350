//! Rollups against a model: whatever is added, merged, rolled up and dropped, charts answer as readings would.

use proptest::prelude::*;

use super::*;
use crate::store::rollup::LEVELS;

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const STEPS_MS: [i64; 7] = [MINUTE_MS, 2 * MINUTE_MS, 15 * MINUTE_MS, HOUR_MS, 6 * HOUR_MS, DAY_MS, 7 * DAY_MS];
const POLL_MS: i64 = 5 * MINUTE_MS;
const SPARSE_MS: i64 = 2 * HOUR_MS;
/// All are made, and kept for ever.
const ALL: Kept = Kept { from_ms: [i64::MIN; 4], worth: 0 };

fn roll(shelf: &Shelf<Disk>) -> Result<(), ShelfError> {
    shelf.tidy(LATER_MS, &ALL)
}

/// Charts over all the time tell of exactly these readings, a head that has some of them included.
fn charts_hold(shelf: &Shelf<Disk>, model: &Model, head: &Model, at: &str) {
    let all: Model = model.iter().chain(head).map(|(key, sample)| (*key, sample.clone())).collect();
    for id in series_of(&all) {
        for step_ms in STEPS_MS {
            chart_holds(shelf, (id, i64::MIN, i64::MAX, step_ms), &all, head, at);
        }
    }
}

fn chart_holds(shelf: &Shelf<Disk>, (id, from_ms, to_ms, step_ms): (SeriesId, i64, i64, i64), all: &Model, head: &Model, at: &str) {
    let head: Vec<_> = readings(head, id, from_ms, to_ms).collect();
    let found = shelf.buckets(id, from_ms, to_ms, step_ms, &head).unwrap();
    let expected = query::buckets(readings(all, id, from_ms, to_ms), step_ms);
    assert_eq!(without_sums(&found), without_sums(&expected), "{at}: series {} by {step_ms}", id.0);
    for (found, expected) in found.iter().zip(&expected) {
        assert!(close(found.sum, expected.sum, expected.min.abs().max(expected.max.abs())), "{at}: {} {}", found.sum, expected.sum);
    }
}

#[derive(Debug, Clone)]
enum Act {
    Add(Model, u32, usize),
    Roll,
    /// A step or two only.
    RollSome,
    Retire(i64),
    Reopen,
}

/// On edges of minutes, hours and days, and between.
fn times() -> impl Strategy<Value = i64> {
    let edge = prop_oneof![Just(0i64), Just(MINUTE_MS), Just(15 * MINUTE_MS), Just(HOUR_MS), Just(23 * HOUR_MS), 0..DAY_MS];
    let near = (-1i64..3, edge, -1i64..2).prop_map(|(day, edge, off)| day * DAY_MS + edge + off);
    prop_oneof![20 => near, 1 => prop_oneof![Just(i64::MIN), Just(i64::MAX - 1)]]
}

fn models(most: usize) -> impl Strategy<Value = Model> {
    prop::collection::btree_map(((1u32..4).prop_map(SeriesId), times()), samples(), 0..most)
}

fn acts() -> impl Strategy<Value = Act> {
    prop_oneof![
        5 => (models(40), 1u32..3, 1usize..30).prop_map(|(model, groups, rows)| Act::Add(model, groups, rows)),
        2 => Just(Act::Roll),
        1 => Just(Act::RollSome),
        2 => (-1i64..3).prop_map(|day| Act::Retire(day * DAY_MS)),
        1 => Just(Act::Reopen),
    ]
}

/// What readings there are, and what charts tell of.
#[derive(Debug, Default)]
struct Told {
    raw: Model,
    charts: Model,
    /// Days whose readings have gone, and that had any.
    gone: BTreeSet<i64>,
}

impl Told {
    fn act(&mut self, act: &Act, shelf: &mut Shelf<Disk>, disk: &Disk) {
        match act {
            Act::Add(more, groups, rows) => {
                shelf.add(grouped(more, *groups, *rows)).unwrap();
                self.raw.extend(more.clone());
                let late = |at_ms: i64| self.gone.contains(&day_of(at_ms));
                self.charts.extend(more.iter().filter(|((_, at_ms), _)| !late(*at_ms)).map(|(key, sample)| (*key, sample.clone())));
            }
            Act::Roll => roll(shelf).unwrap(),
            Act::RollSome => {
                shelf.roll_step(LATER_MS - QUIET, &ALL).unwrap();
                shelf.roll_step(LATER_MS, &ALL).unwrap();
            }
            Act::Retire(before_ms) => {
                shelf.retire(*before_ms, &ALL).unwrap();
                let old = self.raw.keys().map(|(_, at_ms)| *at_ms).filter(|at_ms| day_of(*at_ms) < day_of(*before_ms));
                // A day that is not whole in 64 bits has no rollups.
                let (whole, cut): (BTreeSet<i64>, BTreeSet<i64>) = old.map(day_of).partition(|day| day.checked_mul(DAY_MS).is_some());
                self.gone.extend(whole);
                self.charts.retain(|(_, at_ms), _| !cut.contains(&day_of(*at_ms)));
                self.raw.retain(|(_, at_ms), _| day_of(*at_ms) >= day_of(*before_ms));
            }
            Act::Reopen => {
                disk.power_cut();
                let (opened, aside) = Shelf::open(disk.clone()).unwrap();
                assert_eq!(aside, []);
                *shelf = opened;
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn any_history_in_any_order_is_charted_as_its_readings(
        sequence in prop::collection::vec(acts(), 1..16),
        head in models(8),
        (from, to) in (times(), times()),
    ) {
        let disk = Disk::default();
        let mut shelf = Shelf::open(disk.clone()).unwrap().0;
        let mut told = Told::default();
        for act in &sequence {
            told.act(act, &mut shelf, &disk);
        }
        holds(&shelf, &told.raw, "after all");
        // What comes for a day that is gone changes it no more.
        let of_head: Model = head.into_iter().filter(|((_, at_ms), _)| !told.gone.contains(&day_of(*at_ms))).collect();
        charts_hold(&shelf, &told.charts, &of_head, "with a head");
        charts_hold(&shelf, &told.charts, &Model::new(), "after all");
        // Any range, where no edge of it lies in a day that is gone.
        if ![from, to].iter().any(|at_ms| told.gone.contains(&day_of(*at_ms))) {
            for (id, step_ms) in series_of(&told.charts).into_iter().flat_map(|id| STEPS_MS.map(|step_ms| (id, step_ms))) {
                chart_holds(&shelf, (id, from, to, step_ms), &told.charts, &Model::new(), "a range");
            }
        }
        prop_assert_eq!(shelf.damage(), []);
    }
}

/// Three days of two series each 5 min, in two parts each.
fn history() -> Model {
    each(POLL_MS)
}

/// The same each 2 h, where it is looked at a thousand times.
fn sparse() -> Model {
    each(SPARSE_MS)
}

fn each(poll_ms: i64) -> Model {
    let polls = 0..3 * DAY_MS / poll_ms;
    polls.flat_map(|n| (1..3).map(move |id| ((SeriesId(id), n * poll_ms + i64::from(id)), int(n % 97 * i64::from(id))))).collect()
}

/// The shelf of that history, merged and rolled up as far as it says, on a disk of its own.
fn prepared(rolled: bool) -> Disk {
    prepared_of(POLL_MS, rolled)
}

fn prepared_of(poll_ms: i64, rolled: bool) -> Disk {
    let disk = Disk::default();
    let shelf = Shelf::open(disk.clone()).unwrap().0;
    let (even, odd): (Model, Model) = each(poll_ms).into_iter().partition(|((_, at_ms), _)| at_ms / poll_ms % 2 == 0);
    [even, odd].iter().for_each(|part| shelf.add(grouped(part, 1, 50)).unwrap());
    if rolled {
        roll(&shelf).unwrap();
    }
    disk
}

/// Later than all, and of a day before: it makes one rollup stale.
fn late() -> Model {
    [((SeriesId(1), DAY_MS + 7), int(1000)), ((SeriesId(2), DAY_MS + 2), int(-1))].into()
}

fn opened(disk: &Disk) -> Shelf<Disk> {
    Shelf::open(disk.clone()).unwrap().0
}

fn rolled_files(disk: &Disk) -> Vec<String> {
    disk.files().into_iter().filter(|file| is_rollup(file)).collect()
}

#[test]
fn a_rollup_answers_without_readings_and_a_late_reading_makes_it_stale() {
    let disk = prepared(true);
    assert_eq!(rolled_files(&disk).len(), 12);
    let shelf = opened(&disk);
    let reads = || disk.with(|held| held.opened);
    let before = reads();
    chart_holds(&shelf, (SeriesId(1), 0, 3 * DAY_MS, HOUR_MS), &history(), &Model::new(), "rolled up");
    assert_eq!(reads() - before, 3, "three rollups and no part");
    // A day that the head has something of is read as readings.
    let head: Model = [((SeriesId(1), DAY_MS + 9), int(5))].into();
    let all: Model = history().into_iter().chain(head.clone()).collect();
    chart_holds(&shelf, (SeriesId(1), 0, 3 * DAY_MS, HOUR_MS), &all, &head, "head");
    assert_eq!(reads() - before, 4);
    shelf.add(grouped(&late(), 1, 9)).unwrap();
    let all: Model = history().into_iter().chain(late()).collect();
    charts_hold(&shelf, &all, &Model::new(), "late");
    assert_eq!(rolled_files(&disk).iter().filter(|file| file.starts_with("d1-")).count(), 4);
    // Only when the day has rested again are they made anew.
    assert_eq!(shelf.roll_step(LATER_MS - QUIET, &ALL).unwrap(), None);
    roll(&shelf).unwrap();
    assert!(rolled_files(&disk).iter().all(|file| !file.starts_with("d1-") || file.contains("-g1-3-")), "{:?}", disk.files());
    charts_hold(&shelf, &all, &Model::new(), "anew");
}

#[test]
fn what_is_worth_it_is_made_at_rest_and_the_rest_when_readings_go() {
    let names = |disk: &Disk| -> BTreeSet<String> {
        rolled_files(disk)
            .iter()
            .filter_map(|file| file.strip_suffix(".rollup")?.rsplit_once('.').map(|(_, level)| level.to_owned()))
            .collect()
    };
    let of = |worth| Kept { worth, ..ALL };
    for (worth, expected) in [(1, "1d 1h 15m"), (4, "1d 1h"), (12, "1d 1h"), (13, "1d"), (288, "1d"), (289, "")] {
        let disk = prepared(false);
        let shelf = opened(&disk);
        shelf.tidy(LATER_MS, &of(worth)).unwrap();
        assert_eq!(names(&disk), expected.split_whitespace().map(str::to_owned).collect(), "of at least {worth} readings");
        shelf.retire(DAY_MS, &of(worth)).unwrap();
        assert_eq!(names(&disk).len(), 4);
        charts_hold(&shelf, &history(), &Model::new(), "after all");
    }
}

#[test]
fn readings_go_by_days_and_their_rollups_by_their_own_age() {
    let disk = prepared(false);
    let shelf = opened(&disk);
    let gone = shelf.retire(2 * DAY_MS + 5, &ALL).unwrap();
    assert_eq!(
        (gone.readings, shelf.raw_from_ms(), shelf.grain_ms(0, 9), shelf.grain_ms(2 * DAY_MS, i64::MAX)),
        (4 * 288, Some(2 * DAY_MS), MINUTE_MS, 1)
    );
    let left: Model = history().into_iter().filter(|((_, at_ms), _)| *at_ms >= 2 * DAY_MS).collect();
    holds(&shelf, &left, "retired");
    charts_hold(&shelf, &history(), &Model::new(), "retired");
    // Readings for such a day are taken, change no chart, and go.
    shelf.add(grouped(&late(), 1, 9)).unwrap();
    charts_hold(&shelf, &history(), &Model::new(), "late for a day that is gone");
    roll(&shelf).unwrap();
    charts_hold(&shelf, &history(), &Model::new(), "rolled up no more");
    assert_eq!(shelf.retire(2 * DAY_MS, &ALL).unwrap().readings, 2);
    holds(&shelf, &left, "late ones go");
    charts_hold(&shelf, &history(), &Model::new(), "gone");
    // Of the fine ones only the last day is kept.
    let kept = Kept { from_ms: [DAY_MS, DAY_MS, i64::MIN, i64::MIN], ..ALL };
    assert_eq!(shelf.drop_rollups(&kept).unwrap().files, 2);
    assert_eq!((shelf.grain_ms(0, 9), shelf.grain_ms(0, DAY_MS), shelf.grain_ms(DAY_MS, i64::MAX)), (HOUR_MS, HOUR_MS, MINUTE_MS));
    chart_holds(&shelf, (SeriesId(1), i64::MIN, i64::MAX, HOUR_MS), &history(), &Model::new(), "by the hour");
    assert_eq!(shelf.buckets(SeriesId(1), 0, DAY_MS, MINUTE_MS, &[]).unwrap(), [], "finer than what is left");
    // A range whose edges lie in no step tells of what lies wholly in it.
    let found = shelf.buckets(SeriesId(1), 90 * MINUTE_MS, DAY_MS, HOUR_MS, &[]).unwrap();
    assert_eq!(found.first().map(|bucket| (bucket.start_ms, bucket.count)), Some((2 * HOUR_MS, 12)));
    // A generation does not come again, or what is late would seem to be what the rollup stands for.
    disk.power_cut();
    let shelf = opened(&disk);
    shelf.add(grouped(&late(), 1, 9)).unwrap();
    chart_holds(&shelf, (SeriesId(2), i64::MIN, i64::MAX, HOUR_MS), &history(), &Model::new(), "after a start");
    let mut held = shelf.held().1.map(|held| held.from_ms);
    assert_eq!(held, [Some(DAY_MS), Some(DAY_MS), Some(0), Some(0)]);
    while shelf.drop_oldest_rollup().unwrap().is_some() {
        held = shelf.held().1.map(|held| held.from_ms);
    }
    assert_eq!((held, rolled_files(&disk)), ([None; 4], Vec::new()));
}

#[test]
fn a_generation_that_only_rollups_tell_of_does_not_come_again() {
    let disk = prepared(true);
    let shelf = opened(&disk);
    shelf.retire(3 * DAY_MS, &ALL).unwrap();
    assert_eq!(shelf.count(), 0);
    drop(shelf);
    disk.power_cut();
    let shelf = opened(&disk);
    // Or it would seem to be what the rollups were made of.
    shelf.add(grouped(&late(), 1, 9)).unwrap();
    charts_hold(&shelf, &history(), &Model::new(), "late for a day that is gone");
}

#[test]
fn a_damaged_rollup_is_told_set_aside_and_made_anew() {
    let medium = prepared(true);
    let files = rolled_files(&medium);
    for file in &files {
        for at in [9, 40] {
            let disk = medium.copy();
            let spoilt = disk.spoil(file, |bytes| {
                let at = at.min(bytes.len() - 1);
                bytes[at] ^= 4;
            });
            let (shelf, aside) = Shelf::open(disk.clone()).unwrap();
            for _ in 0..2 {
                charts_hold(&shelf, &history(), &Model::new(), "damaged");
            }
            let told = shelf.damage();
            let names: Vec<_> = told.iter().chain(&aside).map(|damage| damage.file.as_str()).collect();
            assert_eq!(names, [file], "told once: {told:?}");
            roll(&shelf).unwrap();
            charts_hold(&shelf, &history(), &Model::new(), "anew");
            assert_eq!((rolled_files(&disk), disk.with(|held| held.damaged.get(file).cloned())), (files.clone(), Some(spoilt)));
        }
        // Without its end it is none.
        let disk = medium.copy();
        disk.spoil(file, |bytes| bytes.truncate(bytes.len() - 1));
        let (shelf, aside) = Shelf::open(disk.clone()).unwrap();
        assert_eq!(aside.iter().map(|damage| damage.file.as_str()).collect::<Vec<_>>(), [file]);
        roll(&shelf).unwrap();
        assert_eq!(rolled_files(&disk), files);
    }
}

#[test]
fn a_damaged_part_is_not_rolled_up_before_its_last_chance() {
    let disk = prepared(false);
    settle(&opened(&disk)).unwrap();
    let file = disk.files()[1].clone();
    let spoilt = disk.spoil(&file, |bytes| super::damage::last_column(bytes));
    let shelf = opened(&disk);
    roll(&shelf).unwrap();
    assert_eq!((rolled_files(&disk).len(), shelf.damage().len()), (8, 1));
    shelf.retire(2 * DAY_MS, &ALL).unwrap();
    assert_eq!(rolled_files(&disk).len(), 12);
    // Its readings go as they came of age, the damaged bytes do not.
    assert!(shelf.damage().iter().any(|damage| damage.file == file && damage.kept == format!("damaged/{file}")));
    assert_eq!(disk.with(|held| held.damaged.get(&file).cloned()), Some(spoilt));
    let only: Model = history().into_iter().filter(|((id, _), _)| id.0 == 1).collect();
    charts_hold(&shelf, &only, &Model::new(), "of the series that could be read");
}

#[test]
fn a_rollup_that_is_found_damaged_when_its_readings_go_is_set_aside_and_made_anew() {
    let medium = prepared(true);
    for (place, file) in rolled_files(&medium).iter().enumerate().filter(|(_, file)| !file.starts_with("d2-")) {
        let disk = medium.copy();
        let spoilt = disk.spoil(file, |bytes| bytes[9] ^= 4);
        let shelf = opened(&disk);
        // Whether anybody saw it before or not.
        if place % 2 == 0 {
            charts_hold(&shelf, &history(), &Model::new(), "damaged");
        }
        shelf.retire(2 * DAY_MS, &ALL).unwrap();
        charts_hold(&shelf, &history(), &Model::new(), "retired");
        assert_eq!(disk.with(|held| held.damaged.get(file).cloned()), Some(spoilt), "{file}");
        let told = shelf.damage();
        assert!(told.iter().all(|damage| damage.file == *file) && told.iter().any(|damage| !damage.kept.is_empty()), "{told:?}");
        assert_eq!((rolled_files(&disk).len(), shelf.check().unwrap().damage), (12, Vec::new()));
    }
}

/// A change, from a shelf that is rolled up already or not.
type Work = (&'static str, bool, fn(&Shelf<Disk>) -> Result<(), ShelfError>);

const WORKS: [Work; 5] = [
    ("roll", false, roll),
    ("roll anew", true, |shelf| {
        shelf.add(grouped(&late(), 1, 9))?;
        roll(shelf)
    }),
    ("retire what is not rolled up", false, |shelf| shelf.retire(2 * DAY_MS, &ALL).map(drop)),
    ("retire", true, |shelf| shelf.retire(2 * DAY_MS, &ALL).map(drop)),
    ("drop fine rollups", true, |shelf| {
        let kept = Kept { from_ms: [DAY_MS, i64::MAX, i64::MIN, i64::MIN], ..ALL };
        shelf.drop_rollups(&kept).map(drop)
    }),
];

/// Readings are as they were, or those of whole days are gone; charts tell of them all the same, with what is late or without.
fn judged(shelf: &Shelf<Disk>, at: &str) {
    let all: Model = sparse().into_iter().chain(late()).collect();
    let is_late = shelf.sample_at(SeriesId(1), DAY_MS + 7).unwrap().is_some();
    let expected = if is_late { all } else { sparse() };
    for day in 0..3 {
        for id in [SeriesId(1), SeriesId(2)] {
            let found = shelf.raw(id, day * DAY_MS, (day + 1) * DAY_MS, usize::MAX).unwrap();
            let expected: Vec<_> = readings(&expected, id, day * DAY_MS, (day + 1) * DAY_MS).collect();
            assert!(found.is_empty() && day < 2 || bits(&found) == bits(&expected), "{at}: day {day} of series {}", id.0);
        }
    }
    for step_ms in [HOUR_MS, DAY_MS, 7 * DAY_MS] {
        for id in [SeriesId(1), SeriesId(2)] {
            chart_holds(shelf, (id, i64::MIN, i64::MAX, step_ms), &expected, &Model::new(), at);
        }
    }
}

#[test]
fn a_fault_at_any_step_of_rolling_up_and_retiring_changes_no_chart() {
    let mut faults = BTreeMap::<&str, usize>::new();
    let (plain, rolled) = (prepared_of(SPARSE_MS, false), prepared_of(SPARSE_MS, true));
    for ((name, of_rolled, work), fault, seed) in WORKS.iter().flat_map(|work| {
        [Fault::Power, Fault::Error, Fault::Full].into_iter().flat_map(move |fault| (0..2).map(move |seed| (work, fault, seed)))
    }) {
        for after in 0.. {
            let at = format!("{name}: {fault:?} after {after} steps, seed {seed}");
            let disk = if *of_rolled { &rolled } else { &plain }.copy();
            let shelf = opened(&disk);
            disk.arm(after, fault, seed * 1000 + after as u64);
            let result = work(&shelf);
            if !disk.disarm() {
                assert!(result.is_ok(), "{at}: {result:?}");
                judged(&shelf, &at);
                break;
            }
            *faults.entry(name).or_default() += 1;
            if fault != Fault::Power {
                judged(&shelf, &at);
                if seed % 2 == 0 {
                    work(&shelf).unwrap_or_else(|e| panic!("{at}: again: {e}"));
                    judged(&shelf, &at);
                }
            }
            drop(shelf);
            disk.power_cut();
            let (shelf, aside) = Shelf::open(disk.clone()).unwrap();
            assert_eq!(aside, [], "{at}: nothing was damaged");
            judged(&shelf, &at);
            work(&shelf).unwrap();
            judged(&shelf, &at);
            disk.power_cut();
            let shelf = opened(&disk);
            judged(&shelf, &at);
            assert!(disk.files().iter().all(|file| !file.ends_with(".temporary")), "{at}: {:?}", disk.files());
            assert!(rolled_files(&disk).len() <= 3 * LEVELS.len(), "{at}: {:?}", disk.files());
        }
    }
    assert!(WORKS.iter().all(|(name, ..)| faults.get(name).is_some_and(|count| *count > 20)), "{faults:?}");
}
