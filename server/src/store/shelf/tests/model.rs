//! Any sequence of changes against the model.

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Act {
    Add(Model, u32, usize),
    Merge(i64),
    Settle,
    Expire(i64, usize),
    Reopen,
}

/// Times that readings share, on both sides of a midnight or two, or any at all.
fn times() -> impl Strategy<Value = i64> {
    prop_oneof![
        6 => 0i64..30,
        6 => DAY_MS - 10..DAY_MS + 10,
        2 => -5i64..5,
        1 => any::<i64>(),
        1 => prop_oneof![Just(i64::MIN), Just(i64::MAX), Just(i64::MAX - 1)],
    ]
}

fn acts() -> impl Strategy<Value = Act> {
    let models = prop::collection::btree_map(((1u32..5).prop_map(SeriesId), times()), samples(), 0..60);
    let limit = prop_oneof![3 => Just(usize::MAX), 1 => 0usize..20];
    prop_oneof![
        6 => (models, 1u32..3, 1usize..30).prop_map(|(model, groups, rows)| Act::Add(model, groups, rows)),
        2 => (0i64..3).prop_map(|days| Act::Merge(days * DAY_MS)),
        1 => Just(Act::Settle),
        1 => (times(), limit).prop_map(|(before_ms, limit)| Act::Expire(before_ms, limit)),
        1 => Just(Act::Reopen),
    ]
}

/// Does it to both. Which of many old readings go first is the shelf's choice.
fn act(act: &Act, shelf: &mut Shelf<Disk>, disk: &Disk, model: &mut Model) {
    match act {
        Act::Add(more, groups, rows) => {
            shelf.add(grouped(more, *groups, *rows)).unwrap();
            model.extend(more.clone());
        }
        Act::Merge(now_ms) => drop(shelf.merge_step(*now_ms).unwrap()),
        Act::Settle => drop(settle(shelf).unwrap()),
        Act::Expire(before_ms, limit) => {
            let old = model.keys().filter(|(_, at_ms)| at_ms < before_ms).count();
            assert_eq!(shelf.expire(*before_ms, *limit).unwrap(), old.min(*limit));
            if old > *limit {
                assert_eq!(shelf.expire(*before_ms, usize::MAX).unwrap(), old - limit);
            }
            model.retain(|(_, at_ms), _| at_ms >= before_ms);
        }
        Act::Reopen => {
            disk.power_cut();
            let (opened, aside) = Shelf::open(disk.clone()).unwrap();
            assert_eq!(aside, []);
            *shelf = opened;
        }
    }
}

/// Buckets of the shelf, of which a head holds some readings and corrections.
fn buckets_hold(shelf: &Shelf<Disk>, model: &Model, head: &Model, from_ms: i64, to_ms: i64, step_ms: i64) {
    let mut all = model.clone();
    all.extend(head.clone());
    for id in series_of(&all) {
        let head: Vec<_> = readings(head, id, from_ms, to_ms).collect();
        let found = shelf.buckets(id, from_ms, to_ms, step_ms, &head).unwrap();
        let expected = query::buckets(readings(&all, id, from_ms, to_ms), step_ms);
        assert_eq!(without_sums(&found), without_sums(&expected), "series {} {from_ms}..{to_ms} by {step_ms}", id.0);
        for (found, expected) in found.iter().zip(&expected) {
            assert!(close(found.sum, expected.sum, expected.min.abs().max(expected.max.abs())), "{} {}", found.sum, expected.sum);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(160))]

    #[test]
    fn any_sequence_of_changes_is_read_as_the_model(
        sequence in prop::collection::vec(acts(), 1..14),
        head in prop::collection::btree_map(((1u32..5).prop_map(SeriesId), times()), samples(), 0..8),
        (from_ms, to_ms, limit) in (times(), times(), 0usize..30),
        step_ms in prop_oneof![1i64..50, Just(DAY_MS), Just(7 * DAY_MS)],
    ) {
        let disk = Disk::default();
        let mut shelf = Shelf::open(disk.clone()).unwrap().0;
        let mut model = Model::new();
        for step in &sequence {
            act(step, &mut shelf, &disk, &mut model);
        }
        holds(&shelf, &model, "after all");
        for id in series_of(&model) {
            let expected: Vec<_> = readings(&model, id, from_ms, to_ms).take(limit).collect();
            prop_assert_eq!(bits(&shelf.raw(id, from_ms, to_ms, limit).unwrap()), bits(&expected));
            for at_ms in [from_ms, to_ms, 0, DAY_MS] {
                let found = shelf.sample_at(id, at_ms).unwrap().map(|sample| Reading { at_ms, sample });
                let expected = model.get(&(id, at_ms)).map(|sample| Reading { at_ms, sample: sample.clone() });
                prop_assert_eq!(found.map(|r| bits(&[r])), expected.map(|r| bits(&[r])));
            }
        }
        for (from_ms, to_ms) in [(from_ms, to_ms), (i64::MIN, i64::MAX)] {
            buckets_hold(&shelf, &model, &head, from_ms, to_ms, step_ms);
            buckets_hold(&shelf, &model, &Model::new(), from_ms, to_ms, step_ms);
        }
        prop_assert_eq!(shelf.damage(), []);
    }
}
