//! The shelf against a model, a map of series and time; on a disk that loses what it need not keep; on files.

use std::collections::BTreeMap;

use pattoo_wire::{Sample, Value};

use super::super::part::tests::{Model, bits, close, samples, without_sums};
use super::super::{Reading, SeriesId};
use super::*;
use crate::query;

mod crashes;
mod damage;
mod disk;
mod model;
mod on_files;
mod rollups;

use disk::{Disk, Fault};

/// Far beyond every day of the tests, so that all of them are over.
const LATER_MS: i64 = i64::MAX;

fn int(value: i64) -> Sample {
    Sample::Good(Value::int(value))
}

/// Readings in groups: series whose ids are equal modulo `groups` were polled together. Rows are cut after so many.
fn grouped(model: &Model, groups: u32, rows: usize) -> Vec<Vec<Rows>> {
    let group = |number: u32| {
        let mut by_time: BTreeMap<i64, Vec<(SeriesId, &Sample)>> = BTreeMap::new();
        for ((id, at_ms), sample) in model.iter().filter(|((id, _), _)| id.0 % groups == number) {
            by_time.entry(*at_ms).or_default().push((*id, sample));
        }
        let mut of_group = vec![Rows::default()];
        for (at_ms, samples) in by_time {
            if of_group.last().unwrap().len() >= rows {
                of_group.push(Rows::default());
            }
            let last = of_group.last_mut().unwrap();
            last.begin(at_ms);
            samples.iter().for_each(|(id, sample)| last.put(*id, sample));
        }
        of_group
    };
    (0..groups).map(group).collect()
}

fn readings<'a>(model: &'a Model, id: SeriesId, from_ms: i64, to_ms: i64) -> impl DoubleEndedIterator<Item = Reading> + 'a {
    let range = model.range((id, from_ms)..(id, to_ms.max(from_ms)));
    range.map(|((_, at_ms), sample)| Reading { at_ms: *at_ms, sample: sample.clone() })
}

fn series_of(model: &Model) -> BTreeSet<SeriesId> {
    model.keys().map(|(id, _)| *id).chain([SeriesId(77)]).collect()
}

/// All that is read is what the model has.
fn holds<F: Folder>(shelf: &Shelf<F>, model: &Model, at: &str) {
    for id in series_of(model) {
        let found = shelf.raw(id, i64::MIN, i64::MAX, usize::MAX).unwrap();
        let expected: Vec<_> = readings(model, id, i64::MIN, i64::MAX).collect();
        assert_eq!(bits(&found), bits(&expected), "{at}: series {}", id.0);
        let newest = model.range((id, i64::MIN)..=(id, i64::MAX)).next_back();
        let newest: Vec<_> = newest.map(|((_, at_ms), sample)| Reading { at_ms: *at_ms, sample: sample.clone() }).into_iter().collect();
        assert_eq!(bits(&shelf.last(id).unwrap().into_iter().collect::<Vec<_>>()), bits(&newest), "{at}: last of {}", id.0);
    }
    // All at once, one that has nothing before those that may have fallen silent long ago.
    let ids: Vec<SeriesId> = series_of(model).into_iter().rev().collect();
    let each = ids.iter().map(|id| bits(shelf.last(*id).unwrap().as_slice()));
    let together = shelf.lasts(&ids).unwrap();
    assert_eq!(together.iter().map(|last| bits(last.as_slice())).collect::<Vec<_>>(), each.collect::<Vec<_>>(), "{at}: lasts");
}

/// Merges until there is nothing to do.
fn settle<F: Folder>(shelf: &Shelf<F>) -> Result<usize, ShelfError> {
    let mut steps = 0;
    while shelf.merge_step(LATER_MS - QUIET)?.is_some() {
        steps += 1;
    }
    while shelf.merge_step(LATER_MS)?.is_some() {
        steps += 1;
    }
    Ok(steps)
}

const QUIET: i64 = merging::QUIET_MS;

#[test]
fn a_new_shelf_is_empty() {
    let (shelf, aside) = Shelf::open(Disk::default()).unwrap();
    holds(&shelf, &Model::new(), "new");
    assert_eq!((shelf.bytes(), shelf.count(), aside, shelf.damage()), (0, 0, Vec::new(), Vec::new()));
    assert_eq!((shelf.expire(i64::MAX, 9).unwrap(), settle(&shelf).unwrap()), (0, 0));
    shelf.add(vec![Vec::new(), vec![Rows::default()]]).unwrap();
    assert_eq!(shelf.count(), 0);
}

#[test]
fn readers_wait_for_nobody() {
    let shelf = Shelf::open(Disk::default()).unwrap().0;
    let model: Model = (0..9).map(|n| ((SeriesId(1), n * DAY_MS / 3), int(n))).collect();
    shelf.add(grouped(&model, 1, 9)).unwrap();
    let _merges = lock(&shelf.maintenance);
    let _adds = lock(&shelf.next_generation);
    holds(&shelf, &model, "while somebody adds and merges");
    assert_eq!(shelf.buckets(SeriesId(1), 0, i64::MAX, DAY_MS, &[]).unwrap().len(), 3);
}

#[test]
fn few_parts_are_open_however_many_there_are() {
    let disk = Disk::default();
    let shelf = Shelf::open(disk.clone()).unwrap().0;
    let days = MAX_OPEN_PARTS as i64 + 50;
    let model: Model = (0..days).map(|day| ((SeriesId(1), day * DAY_MS), int(day))).collect();
    shelf.add(grouped(&model, 1, 9)).unwrap();
    drop(shelf);
    let (open, opened) = (|| disk.with(|held| held.open), || disk.with(|held| held.opened));
    let shelf = Shelf::open(disk.clone()).unwrap().0;
    assert_eq!(open(), 0, "none is open before it is needed");
    holds(&shelf, &model, "many days");
    assert_eq!(open(), MAX_OPEN_PARTS);
    shelf.raw(SeriesId(1), 0, i64::MAX, usize::MAX).unwrap();
    let before = opened();
    shelf.raw(SeriesId(1), (days - 100) * DAY_MS, i64::MAX, usize::MAX).unwrap();
    assert_eq!(opened(), before, "those that were used last are still open");
}
