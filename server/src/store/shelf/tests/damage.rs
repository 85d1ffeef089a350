//! Files that are not what was written.

use super::*;

const S1: SeriesId = SeriesId(1);
const S2: SeriesId = SeriesId(2);

/// Where the index of a part begins.
fn index_at(bytes: &[u8]) -> usize {
    let footer = bytes.len() - 52;
    u64::from_le_bytes(bytes[footer..footer + 8].try_into().unwrap()) as usize
}

/// Flips a bit of the last column of the last chunk: that of the highest series.
pub(super) fn last_column(bytes: &mut [u8]) {
    let at = index_at(bytes) - 1;
    bytes[at] ^= 1;
}

fn index(bytes: &mut [u8]) {
    let at = index_at(bytes);
    bytes[at] ^= 1;
}

/// One day of two series, one chunk.
fn day(value: i64) -> Model {
    (0..40).flat_map(|n| [((S1, n * 60_000), int(value + n)), ((S2, n * 60_000), int(value - n))]).collect()
}

fn added(disk: &Disk, parts: &[Model]) -> Shelf<Disk> {
    let shelf = Shelf::open(disk.clone()).unwrap().0;
    parts.iter().for_each(|part| shelf.add(grouped(part, 1, 100)).unwrap());
    shelf
}

fn only(model: &Model, id: SeriesId) -> Model {
    model.iter().filter(|((of, _), _)| *of == id).map(|(key, sample)| (*key, sample.clone())).collect()
}

fn kept(disk: &Disk, name: &str) -> Option<Vec<u8>> {
    disk.with(|held| held.damaged.get(name).cloned())
}

#[test]
fn a_damaged_column_costs_itself_and_is_told_once_and_kept() {
    let disk = Disk::default();
    drop(added(&disk, &[day(5), day(9)]));
    let name = disk.files()[1].clone();
    let spoilt = disk.spoil(&name, |bytes| last_column(bytes));
    let shelf = Shelf::open(disk.clone()).unwrap().0;
    // Of the other series nothing is missing; of this one what is under the damage shows.
    let expected: Model = only(&day(9), S1).into_iter().chain(only(&day(5), S2)).collect();
    for _ in 0..2 {
        holds(&shelf, &expected, "damaged");
    }
    let told = shelf.damage();
    assert!(matches!(&told[..], [Damage { file, error: PartError::Damaged { .. }, kept }] if *file == name && kept.is_empty()), "{told:?}");
    assert_eq!(shelf.damage(), []);
    assert_eq!(shelf.check().unwrap().damage, told);
    assert_eq!(settle(&shelf).unwrap(), 1);
    holds(&shelf, &expected, "merged");
    assert_eq!(shelf.damage().iter().map(|damage| damage.kept.clone()).collect::<Vec<_>>(), [format!("damaged/{name}")]);
    assert_eq!(kept(&disk, &name), Some(spoilt));
    assert_eq!(shelf.check().unwrap(), Checked { parts: 1, readings: 80, damage: Vec::new() });
}

#[test]
fn expiry_keeps_what_is_good_and_what_is_damaged() {
    let disk = Disk::default();
    drop(added(&disk, &[day(5)]));
    let name = disk.files()[0].clone();
    let spoilt = disk.spoil(&name, |bytes| last_column(bytes));
    let shelf = Shelf::open(disk.clone()).unwrap().0;
    assert_eq!(shelf.expire(10 * 60_000, usize::MAX).unwrap(), 10, "of the readings that can be read");
    let expected: Model = only(&day(5), S1).into_iter().filter(|((_, at_ms), _)| *at_ms >= 10 * 60_000).collect();
    holds(&shelf, &expected, "cut");
    assert_eq!((kept(&disk, &name), shelf.damage().len()), (Some(spoilt), 1));
}

#[test]
fn a_part_without_its_index_is_left_out_and_set_aside_by_the_next_merge() {
    let disk = Disk::default();
    drop(added(&disk, &[day(5), day(7), day(9)]));
    let name = disk.files()[1].clone();
    let spoilt = disk.spoil(&name, |bytes| index(bytes));
    let (shelf, aside) = Shelf::open(disk.clone()).unwrap();
    assert_eq!(aside, []);
    holds(&shelf, &day(9), "without it");
    assert_eq!(shelf.damage().iter().map(|damage| damage.file.clone()).collect::<Vec<_>>(), std::slice::from_ref(&name));
    settle(&shelf).unwrap();
    holds(&shelf, &day(9), "merged");
    assert_eq!((shelf.count(), kept(&disk, &name)), (1, Some(spoilt)));
    assert_eq!(shelf.damage().iter().map(|damage| damage.kept.clone()).collect::<Vec<_>>(), [format!("damaged/{name}")]);
}

#[test]
fn a_start_sets_aside_what_is_no_part_and_touches_nothing_else() {
    let disk = Disk::default();
    drop(added(&disk, &[day(5), day(7), day(9)]));
    let files = disk.files();
    disk.spoil(&files[2], |bytes| bytes.truncate(bytes.len() - 1));
    disk.spoil(&files[1], |bytes| bytes[3] ^= 1);
    disk.put(&format!("{}.temporary", files[0]), b"half");
    disk.put("notes.txt", b"mine");
    let (shelf, aside) = Shelf::open(disk.clone()).unwrap();
    assert_eq!(aside.iter().map(|damage| damage.file.clone()).collect::<Vec<_>>(), files[1..]);
    assert!(matches!((&aside[0].error, &aside[1].error), (PartError::Damaged { at: 0, .. }, PartError::Torn(_))), "{aside:?}");
    assert!(kept(&disk, &files[1]).is_some() && kept(&disk, &files[2]).is_some());
    assert_eq!(disk.files(), [files[0].clone(), "notes.txt".into()]);
    holds(&shelf, &day(5), "the rest");
    // A generation is not used again, or what is brought back by hand would be in the way.
    shelf.add(grouped(&day(1), 1, 100)).unwrap();
    assert!(disk.files().contains(&Name::added(0, 4).to_string()), "{:?}", disk.files());
}

#[test]
fn what_a_damaged_part_covers_stays() {
    let disk = Disk::default();
    let shelf = added(&disk, &[day(5), day(9)]);
    let origins: Vec<_> = disk.files().into_iter().map(|name| (name.clone(), disk.spoil(&name, |_| ()))).collect();
    settle(&shelf).unwrap();
    drop(shelf);
    let merged = disk.files()[0].clone();
    for damaged in [true, false] {
        let disk = disk.copy();
        if damaged {
            disk.spoil(&merged, |bytes| index(bytes));
        }
        // As after a power cut between the new one and the going of the old ones.
        origins.iter().for_each(|(name, bytes)| disk.put(name, bytes));
        let shelf = Shelf::open(disk.clone()).unwrap().0;
        assert_eq!(shelf.count(), if damaged { 3 } else { 1 });
        holds(&shelf, &day(9), "both");
    }
}

#[test]
fn a_newer_format_is_not_opened() {
    let disk = Disk::default();
    drop(added(&disk, &[day(5)]));
    let name = disk.files()[0].clone();
    disk.spoil(&name, |bytes| bytes[7] = 2);
    let error = Shelf::open(disk.clone()).unwrap_err();
    assert_eq!(error, ShelfError::Newer { file: name.clone(), format: 2 });
    assert_eq!(disk.files(), [name]);
}

#[test]
fn a_bucket_that_has_a_whole_chunk_is_not_decoded_unless_something_overlaps() {
    let disk = Disk::default();
    drop(added(&disk, &[day(5)]));
    disk.spoil(&disk.files()[0], |bytes| last_column(bytes));
    let shelf = Shelf::open(disk.clone()).unwrap().0;
    let sum = |head: &[Reading], step_ms| shelf.buckets(S2, 0, DAY_MS, step_ms, head).unwrap().iter().map(|bucket| bucket.sum).sum::<f64>();
    let later = Reading { at_ms: DAY_MS - 1, sample: int(1) };
    assert_eq!((sum(&[], DAY_MS), sum(&[later], DAY_MS), shelf.damage()), (-580.0, -579.0, Vec::new()));
    let within = Reading { at_ms: 60_000, sample: int(1) };
    assert_eq!((sum(&[within], DAY_MS), shelf.damage().len()), (1.0, 1));
    assert_eq!(sum(&[], 3_600_000 / 2), 0.0, "a chunk in two buckets is decoded");
}
