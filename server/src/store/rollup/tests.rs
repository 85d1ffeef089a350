//! What is written is read, bit for bit; what is damaged is known.

use proptest::prelude::*;

use super::*;

const STEPS: [(Level, i64); 4] = [(Level::Minute, 60_000), (Level::Quarter, 900_000), (Level::Hour, 3_600_000), (Level::Day, DAY_MS)];

fn stats() -> impl Strategy<Value = Stats> {
    let float = prop_oneof![
        4 => (-99_999i64..99_999).prop_map(|tenths| tenths as f64 / 10.0),
        1 => any::<u64>().prop_map(f64::from_bits).prop_filter("NaN is in no statistics", |x| !x.is_nan()),
        1 => prop_oneof![Just(-0.0), Just(0.1 + 0.2), Just(f64::INFINITY)],
    ];
    let counts = prop_oneof![3 => Just((0, 0, 6)), 1 => (0u64..5, 0u64..5, 0u64..3), 1 => Just((u64::MAX, 1 << 40, u64::MAX))];
    (counts, prop::array::uniform5(float), 0i64..60_000).prop_map(|((uncertain, bad, count), [sum, min, max, first, last], off)| {
        let none = Stats { uncertain, bad, ..Stats::default() };
        if count == 0 { none } else { Stats { count, sum, min, max, first: (off, first), last: (off, last), ..none } }
    })
}

/// Series with their rows at these places.
type Content = Vec<(SeriesId, Vec<(i64, Stats)>)>;

fn contents(level: Level, day: i64) -> impl Strategy<Value = Content> {
    let steps = usize::try_from(DAY_MS / level.step_ms()).unwrap();
    let places = prop_oneof![
        prop::collection::btree_set(0..steps, 1..=steps.min(40)),
        Just((0..steps).collect()),
        (0..steps).prop_map(move |from| (from..steps).collect()),
    ];
    let rows = (places, prop::collection::vec(stats(), 1..20)).prop_map(move |(places, stats)| {
        let first = day * DAY_MS;
        let row = |(place, mut stats): (usize, Stats)| {
            let start_ms = first + place as i64 * level.step_ms();
            // A first time is told from its start, a last one from its end.
            (stats.first.0, stats.last.0) =
                if stats.count > 0 { (start_ms + stats.first.0, start_ms + stats.last.0) } else { (i64::MAX, i64::MIN) };
            (start_ms, stats)
        };
        places.into_iter().zip(stats.into_iter().cycle()).map(row).collect::<Vec<_>>()
    });
    prop::collection::btree_map((0u32..500).prop_map(SeriesId), rows, 0..6).prop_map(|content| content.into_iter().collect())
}

fn write(day: i64, level: Level, content: &Content) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = Writer::new(day, level, &mut out);
    content.iter().for_each(|(id, rows)| writer.series(*id, rows, &mut out).unwrap());
    assert_eq!(writer.finish(&mut out).unwrap(), out.len() as u64);
    out
}

/// With floats as bits.
fn bits(rows: &[(i64, Stats)]) -> Vec<(i64, [u64; 9])> {
    let of = |s: &Stats| {
        let times = [s.first.0 as u64, s.last.0 as u64];
        let floats = [s.sum, s.min, s.max].map(f64::to_bits);
        [
            s.count,
            s.uncertain,
            s.bad,
            floats[0],
            floats[1],
            floats[2],
            s.first.1.to_bits() ^ s.last.1.to_bits().rotate_left(1),
            times[0],
            times[1],
        ]
    };
    rows.iter().map(|(start_ms, stats)| (*start_ms, of(stats))).collect()
}

fn any_content() -> impl Strategy<Value = (i64, Level, Content)> {
    (-2i64..20_000, 0usize..4)
        .prop_flat_map(|(day, level)| contents(LEVELS[level], day).prop_map(move |content| (day, LEVELS[level], content)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_is_written_is_read_bit_for_bit((day, level, content) in any_content()) {
        let rollup = Rollup::open(write(day, level, &content)).unwrap();
        let all: u64 = content.iter().map(|(_, rows)| rows.len() as u64).sum();
        prop_assert_eq!(rollup.check(), (all, Vec::new()));
        for id in (0..502).map(SeriesId) {
            let expected = content.iter().find(|(of, _)| *of == id).map_or(&[][..], |(_, rows)| rows);
            prop_assert_eq!(bits(&rollup.rows(id, i64::MIN, i64::MAX).unwrap()), bits(expected));
        }
        if let Some((id, rows)) = content.first() {
            let (from, to) = (rows[0].0 + 1, rows[rows.len() - 1].0 + level.step_ms() - 1);
            let within = rows.get(1..rows.len() - 1).unwrap_or_default();
            prop_assert_eq!(bits(&rollup.rows(*id, from, to).unwrap()), bits(within), "only what lies wholly within");
        }
    }

    #[test]
    fn any_changed_byte_is_known((day, level, content) in any_content(), at in any::<prop::sample::Index>(), change in 1u8..) {
        let mut bytes = write(day, level, &content);
        let at = at.index(bytes.len());
        bytes[at] ^= change;
        match Rollup::open(bytes) {
            Err(PartError::Torn(_) | PartError::Damaged { .. } | PartError::Newer(_)) => {}
            Err(e) => prop_assert!(false, "{e}"),
            Ok(rollup) => prop_assert!(rollup.check().1.len() == 1, "byte {at} of {:?}", rollup.footer),
        }
    }

    #[test]
    fn a_block_that_means_nothing_is_refused_and_no_more(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        let _ = block::take(&mut Reader::new(&bytes, 0), 3, 60_000);
    }
}

#[test]
fn many_series_are_in_pages() {
    let stats = Stats { count: 2, sum: 3.5, min: 1.0, max: 2.5, first: (5, 1.0), last: (9, 2.5), uncertain: 0, bad: 1 };
    let content: Content = (0..1000).map(|n| (SeriesId(n * 3), vec![(0, stats)])).collect();
    let bytes = write(0, Level::Hour, &content);
    let rollup = Rollup::open(bytes.clone()).unwrap();
    assert_eq!((rollup.pages.len(), rollup.check()), (8, (1000, Vec::new())));
    for n in [0, 1, 2, 3, 383, 384, 2997, 2998, u32::MAX] {
        assert_eq!(rollup.rows(SeriesId(n), i64::MIN, i64::MAX).unwrap().len(), usize::from(n % 3 == 0 && n < 3000), "{n}");
    }
    for cut in [0, 5, 60, bytes.len() - 1] {
        assert!(matches!(Rollup::open(bytes[..cut].to_vec()), Err(PartError::Torn(_))), "{cut}");
    }
    assert_eq!(Rollup::open([&b"PATROLL\x02"[..], &bytes[8..]].concat()).err(), Some(PartError::Newer(2)));
}

#[test]
fn levels_divide_one_another_and_the_steps_of_charts() {
    for (level, step_ms) in STEPS {
        assert_eq!((level.step_ms(), LEVELS[level.place()]), (step_ms, level));
        let longer = crate::query::STEPS_MS.into_iter().filter(|step| *step >= step_ms);
        assert!(longer.clone().all(|step| step % step_ms == 0), "{}", level.name());
        assert!(LEVELS.iter().all(|coarse| *coarse < level || coarse.step_ms() % step_ms == 0));
    }
}

/// The first version's bytes: they must be read for ever.
#[test]
fn golden_bytes_of_version_1_are_read() {
    let stats =
        |n: f64| Stats { count: 2, sum: n, min: 0.1, max: 1e300, first: (3_600_005, 0.1), last: (7_199_990, -0.0), uncertain: 1, bad: 0 };
    let none = Stats { bad: 7, ..Stats::default() };
    let content = vec![(SeriesId(7), vec![(3_600_000, stats(0.1 + 0.2)), (36_000_000, none)]), (SeriesId(300), vec![(0, none)])];
    let bytes = write(0, Level::Hour, &content);
    let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(text, include_str!("golden.hex").trim());
    let rollup = Rollup::open(bytes).unwrap();
    for (id, rows) in &content {
        assert_eq!(bits(&rollup.rows(*id, i64::MIN, i64::MAX).unwrap()), bits(rows));
    }
}
