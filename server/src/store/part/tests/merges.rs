//! Merging against the union of the models, in which the later wins.

use super::super::merge::{MergeError, Merged, merge};
use super::super::{FULL_ROWS, MAX_CELLS, MAX_COLUMNS, full_rows};
use super::*;

fn merged(parts: &[Vec<u8>]) -> Result<(Vec<u8>, Merged), MergeError> {
    let parts: Vec<_> = parts.iter().cloned().map(open).collect();
    let mut bytes = Vec::new();
    let merged = merge(&parts, &mut |piece: &[u8]| {
        bytes.extend_from_slice(piece);
        Ok(())
    })?;
    assert_eq!(merged.bytes, bytes.len() as u64);
    Ok((bytes, merged))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn of_the_same_series_and_time_the_later_part_wins(parts in prop::collection::vec((models(120), shapes()), 0..5)) {
        let written: Vec<_> = parts.iter().map(|(model, shape)| write(model, *shape)).collect();
        let union: Model = parts.into_iter().flat_map(|(model, _)| model).collect();
        let (bytes, merged) = merged(&written).unwrap();
        prop_assert_eq!(merged.readings, union.len() as u64);
        holds(&open(bytes), &union);
    }

    #[test]
    fn merging_again_changes_nothing(model in models(200), shape in shapes()) {
        let once = merged(&[write(&model, shape)]).unwrap().0;
        let again = merged(&[once.clone(), once.clone()]).unwrap().0;
        holds(&open(again), &model);
    }
}

fn walk(ids: std::ops::Range<u32>, times: impl Iterator<Item = i64> + Clone) -> Model {
    let value = |id: u32, at: i64| Sample::Good(Value::int(at.wrapping_mul(i64::from(id) + 7) % 1000));
    ids.flat_map(|id| times.clone().map(move |at| ((SeriesId(id), at), value(id, at)))).collect()
}

#[test]
fn full_chunks_that_overlap_nothing_are_copied() {
    let rows = FULL_ROWS as i64;
    let shape = Shape { groups: 1, rows: FULL_ROWS };
    let (first, second) = (walk(1..4, 0..rows), walk(1..4, rows..2 * rows));
    let (bytes, result) = merged(&[write(&second, shape), write(&first, shape)]).unwrap();
    assert_eq!((result.copied, result.made), (2, 0));
    holds(&open(bytes), &first.into_iter().chain(second).collect());
}

#[test]
fn small_chunks_become_full_ones() {
    let parts: Vec<Model> = (0..8).map(|part| walk(1..4, part * 300..(part + 1) * 300)).collect();
    let written: Vec<_> = parts.iter().map(|model| write(model, Shape { groups: 1, rows: 100 })).collect();
    let (bytes, result) = merged(&written).unwrap();
    let part = open(bytes);
    assert_eq!((result.copied, result.made, part.groups.len()), (0, 2, 1));
    holds(&part, &parts.into_iter().flatten().collect());
}

#[test]
fn late_readings_go_where_they_belong_and_leave_other_chunks_alone() {
    let rows = FULL_ROWS as i64;
    let day = walk(1..4, (0..4 * rows).map(|row| row * 10));
    // Between the rows, and over some of them, in the second of four chunks.
    let late: Model =
        walk(1..3, (rows * 10..rows * 10 + 500).step_by(5)).into_keys().map(|key| (key, Sample::Good(Value::F64(0.5)))).collect();
    let shape = Shape { groups: 1, rows: FULL_ROWS };
    let (bytes, result) = merged(&[write(&day, shape), write(&late, shape)]).unwrap();
    assert_eq!(result.copied, 3);
    holds(&open(bytes), &day.into_iter().chain(late).collect());
}

#[test]
fn a_new_series_of_a_device_joins_its_group_and_an_old_one_stays() {
    let (old, new) = (walk(1..4, 0..100), walk(2..6, 100..200));
    let shape = Shape { groups: 1, rows: 100 };
    let part = open(merged(&[write(&old, shape), write(&new, shape)]).unwrap().0);
    assert_eq!(part.groups.len(), 1);
    assert_eq!(part.groups[0].series.len(), 5);
    holds(&part, &old.into_iter().chain(new).collect());
}

#[test]
fn with_many_columns_a_chunk_is_full_with_fewer_rows() {
    assert_eq!([1, 20, 512, 1024, MAX_CELLS * 2].map(full_rows), [2048, 2048, 2048, 1024, 1]);
    let mut rows = Rows::default();
    for at_ms in 0..2 {
        assert!(!rows.is_full());
        rows.begin(at_ms);
        (0..MAX_COLUMNS as u32 / 8).for_each(|id| rows.put(SeriesId(id), &Sample::Good(Value::Bool(true))));
    }
    assert_eq!(full_rows(MAX_COLUMNS / 8), 256);
}

#[test]
fn a_damaged_part_ends_the_merge_and_is_named() {
    let (a, b) = (walk(1..4, 0..100), walk(1..4, 50..150));
    let shape = Shape { groups: 1, rows: 100 };
    let mut damaged = write(&b, shape);
    let at = damaged.len() / 3;
    damaged[at] ^= 4;
    let error = merged(&[write(&a, shape), damaged]).unwrap_err();
    assert!(matches!(error, MergeError::Part { part: 1, error: PartError::Damaged { .. } }), "{error}");
    let full = walk(1..4, 0..FULL_ROWS as i64);
    let mut damaged = write(&full, Shape { groups: 1, rows: FULL_ROWS });
    let at = damaged.len() / 2;
    damaged[at] ^= 4;
    assert!(matches!(merged(&[damaged]), Err(MergeError::Part { part: 0, .. })), "a copied chunk is checked too");
}

#[test]
fn a_disk_that_refuses_ends_the_merge() {
    let parts = [open(write(&walk(1..4, 0..100), Shape { groups: 1, rows: 100 }))];
    let full = PartError::Source("no space left on device".into());
    assert_eq!(merge(&parts, &mut |_: &[u8]| Err(full.clone())), Err(MergeError::Written(full.clone())));
}
