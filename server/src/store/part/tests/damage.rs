//! Damage is known for what it is, and costs no more than it hits.

use super::*;

/// Whatever is read is right, or an error.
fn never_wrong(bytes: Vec<u8>, model: &Model) {
    let Ok(part) = Part::open(bytes) else { return };
    part.check();
    for id in series_of(model) {
        if let Ok(found) = part.raw(id, i64::MIN, i64::MAX, usize::MAX) {
            let known = expected(model, id, i64::MIN, i64::MAX);
            assert_eq!(bits(&found), bits(&known), "series {}", id.0);
        }
        if let Ok(Some(newest)) = part.latest(id) {
            assert_eq!(write_sample(&newest.sample), write_sample(&model[&(id, newest.at_ms)]));
        }
        if let Ok(steps) = part.steps(id, i64::MIN, i64::MAX, 10) {
            let buckets: Vec<_> = steps.iter().map(|(start_ms, stats)| stats.bucket(*start_ms)).collect();
            assert_eq!(without_sums(&buckets), without_sums(&query::buckets(expected(model, id, i64::MIN, i64::MAX), 10)));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_damaged_part_gives_no_wrong_value(
        model in models(120), shape in shapes(), damage in prop::collection::vec((any::<prop::sample::Index>(), 1u8..), 1..4),
    ) {
        let mut bytes = write(&model, shape);
        for (place, bits) in damage {
            let at = place.index(bytes.len());
            bytes[at] ^= bits;
        }
        never_wrong(bytes, &model);
    }

    #[test]
    fn a_part_with_a_piece_moved_or_zeroed_gives_no_wrong_value(
        model in models(120), shape in shapes(), from in any::<prop::sample::Index>(), to in any::<prop::sample::Index>(), length in 1usize..600,
        zeroed in any::<bool>(),
    ) {
        let mut bytes = write(&model, shape);
        let (from, to) = (from.index(bytes.len()), to.index(bytes.len()));
        let length = length.min(bytes.len() - from.max(to));
        match zeroed {
            true => bytes[from..from + length].fill(0),
            false => bytes.copy_within(from..from + length, to),
        }
        never_wrong(bytes, &model);
    }

    #[test]
    fn any_bytes_are_no_part(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(Part::open(bytes).is_err());
    }
}

fn sample_part() -> (Model, Vec<u8>) {
    let model: Model = (0..36i64)
        .flat_map(|at| (1..3u32).map(move |id| ((SeriesId(id), at * 10_000), Sample::Good(Value::int(at * i64::from(id) % 17)))))
        .collect();
    let bytes = write(&model, Shape { groups: 2, rows: 20 });
    (model, bytes)
}

#[test]
fn a_part_that_is_torn_anywhere_is_known() {
    let (_, bytes) = sample_part();
    for length in 0..bytes.len() {
        assert!(matches!(Part::open(bytes[..length].to_vec()), Err(PartError::Torn(_))), "{length} of {} bytes", bytes.len());
    }
    let mut longer = bytes.clone();
    longer.extend([0; 40]);
    assert!(matches!(Part::open(longer), Err(PartError::Torn(_))));
    let twice = [bytes.clone(), bytes].concat();
    assert!(matches!(Part::open(twice), Err(PartError::Damaged { .. })));
}

#[test]
fn a_flipped_bit_costs_one_column_and_is_found_wherever_it_is() {
    let (model, bytes) = sample_part();
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let Ok(part) = Part::open(damaged) else { continue };
        let (readings, damage) = part.check();
        assert!(!damage.is_empty(), "bit {bit} was not found");
        assert!(readings >= model.len() as u64 - 20, "more than a chunk is gone");
    }
}

#[test]
fn a_newer_format_is_told_from_damage() {
    let (_, mut bytes) = sample_part();
    bytes[7] = 2;
    assert_eq!(Part::open(bytes).err(), Some(PartError::Newer(2)));
}
