//! Power cuts, errors and a full disk at every step of an addition, a merge and an expiry.

use super::*;

/// What the shelf holds at the beginning: three days of three series in seven parts, with corrections.
fn history(shelf: &Shelf<Disk>) -> Model {
    let mut model = Model::new();
    for part in 0..7i64 {
        let times = (0..20).map(|n| n * DAY_MS / 8 + part % 3);
        let more: Model = times.flat_map(|at_ms| (1..4).map(move |id| ((SeriesId(id), at_ms), int(part * 1000 + at_ms % 97)))).collect();
        shelf.add(grouped(&more, 2, 5)).unwrap();
        model.extend(more);
    }
    model
}

/// Two days, and a correction of what is there.
fn addition() -> Model {
    (0..12).map(|n| ((SeriesId(2), n * DAY_MS / 8), int(-n))).collect()
}

const BEFORE_MS: i64 = DAY_MS * 3 / 2;

/// A change, and what the model is after it.
type Work = (&'static str, fn(&Shelf<Disk>) -> Result<(), ShelfError>, fn(&mut Model));

const WORKS: [Work; 4] = [
    ("add", |shelf| shelf.add(grouped(&addition(), 1, 7)), |model| model.extend(addition())),
    ("merge", |shelf| shelf.merge_step(0).map(|step| assert!(step.is_some_and(|step| step.parts > 3))), |_| ()),
    ("merge all", |shelf| settle(shelf).map(drop), |_| ()),
    ("expire", |shelf| shelf.expire(BEFORE_MS, usize::MAX).map(drop), |model| model.retain(|(_, at_ms), _| *at_ms >= BEFORE_MS)),
];

/// Each reading is as it was before or as it is after, and what is in both is there.
fn between(shelf: &Shelf<Disk>, before: &Model, after: &Model, at: &str) {
    for id in series_of(before) {
        let found = shelf.raw(id, i64::MIN, i64::MAX, usize::MAX).unwrap();
        assert!(found.windows(2).all(|pair| pair[0].at_ms < pair[1].at_ms), "{at}: a reading is there twice");
        for reading in &found {
            let key = (id, reading.at_ms);
            let known = [before.get(&key), after.get(&key)];
            assert!(known.contains(&Some(&reading.sample)), "{at}: {key:?} is {:?}, not of {known:?}", reading.sample);
        }
        let missing =
            before.keys().filter(|key| key.0 == id && after.contains_key(key)).find(|key| !found.iter().any(|r| r.at_ms == key.1));
        assert_eq!(missing, None, "{at}: gone");
    }
}

fn open(disk: &Disk, at: &str) -> Shelf<Disk> {
    let (shelf, aside) = Shelf::open(disk.clone()).unwrap();
    assert_eq!(aside, [], "{at}: nothing was damaged");
    shelf
}

#[test]
fn a_fault_at_any_step_loses_nothing_doubles_nothing_and_is_got_over() {
    let mut faults = BTreeMap::<&str, usize>::new();
    let medium = Disk::default();
    let before = history(&open(&medium, "history"));
    for ((name, work, effect), fault, seed) in WORKS.iter().flat_map(|work| {
        [Fault::Power, Fault::Error, Fault::Full].into_iter().flat_map(move |fault| (0..2).map(move |seed| (work, fault, seed)))
    }) {
        for after in 0.. {
            let at = format!("{name}: {fault:?} after {after} steps, seed {seed}");
            let disk = medium.copy();
            let shelf = open(&disk, &at);
            let mut done = before.clone();
            effect(&mut done);
            disk.arm(after, fault, seed * 1000 + after as u64);
            let result = work(&shelf);
            if !disk.disarm() {
                assert!(result.is_ok(), "{at}");
                break;
            }
            *faults.entry(name).or_default() += 1;
            if fault != Fault::Power {
                // The same life goes on: nothing half done is seen.
                between(&shelf, &before, &done, &at);
                if *name == "add" && result.is_err() {
                    holds(&shelf, &before, &at);
                }
                if seed % 2 == 0 {
                    work(&shelf).unwrap_or_else(|e| panic!("{at}: again: {e}"));
                    holds(&shelf, &done, &at);
                }
            }
            if result.is_ok() {
                holds(&shelf, &done, &at);
            }
            drop(shelf);
            disk.power_cut();
            let shelf = open(&disk, &at);
            if result.is_ok() {
                holds(&shelf, &done, &at);
            }
            between(&shelf, &before, &done, &at);
            // What was not acknowledged comes again.
            if *name != "merge" {
                work(&shelf).unwrap();
            }
            holds(&shelf, &done, &at);
            settle(&shelf).unwrap();
            holds(&shelf, &done, &at);
            disk.power_cut();
            let shelf = open(&disk, &at);
            holds(&shelf, &done, &at);
            let days: BTreeSet<i64> = done.keys().map(|(_, at_ms)| day_of(*at_ms)).collect();
            assert_eq!((shelf.count(), disk.files().len()), (days.len(), days.len()), "{at}: {:?}", disk.files());
        }
    }
    assert!(WORKS.iter().all(|(name, ..)| faults.get(name).is_some_and(|count| *count > 50)), "{faults:?}");
}

#[test]
fn whatever_goes_wrong_damaged_bytes_stay() {
    let medium = Disk::default();
    history(&open(&medium, "history"));
    let name = medium.files()[9].clone();
    assert!(name.starts_with("d1-"), "a day of which expiry leaves some");
    let spoilt = medium.spoil(&name, |bytes| super::damage::last_column(bytes));
    let mut faults = 0;
    for (fault, work) in [Fault::Power, Fault::Error, Fault::Full].into_iter().flat_map(|fault| [(fault, &WORKS[2]), (fault, &WORKS[3])]) {
        for after in 0.. {
            let disk = medium.copy();
            let shelf = open(&disk, "");
            disk.arm(after, fault, after as u64);
            let result = work.1(&shelf);
            let reached = disk.disarm();
            drop(shelf);
            disk.power_cut();
            drop(open(&disk, ""));
            let there = disk.files().contains(&name).then(|| disk.spoil(&name, |_| ()));
            let kept = disk.with(|held| held.damaged.get(&name).cloned());
            let at = format!("{}: {fault:?} after {after} steps: {result:?}", work.0);
            assert!(there.or(kept).as_ref() == Some(&spoilt), "{at}");
            if !reached {
                break;
            }
            faults += 1;
        }
    }
    assert!(faults > 100, "{faults}");
}
