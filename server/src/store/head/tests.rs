//! The head against a model: a map of series and time, and the same as parts. Values are compared by their bits.

use std::collections::BTreeMap;

use pattoo_wire::{Decimal, Reason, Value};
use proptest::prelude::*;

use super::super::part::{Part, Writer};
use super::super::row::write_sample;
use super::super::{Block, Readings};
use super::*;

type Model = BTreeMap<(SeriesId, i64), Sample>;

const DAY_MS: i64 = 86_400_000;

fn bits(readings: &[Reading]) -> Vec<(i64, Vec<u8>)> {
    readings.iter().map(|reading| (reading.at_ms, write_sample(&reading.sample))).collect()
}

/// Three series share a device.
fn device_of(id: SeriesId) -> u32 {
    id.0 / 3
}

fn take(head: &mut Head, model: &mut Model, readings: Vec<(SeriesId, Reading)>) {
    head.apply(&readings.clone().into(), device_of, &mut Open);
    model.extend(readings.into_iter().map(|(id, reading)| ((id, reading.at_ms), reading.sample)));
}

fn take_blocks(head: &mut Head, model: &mut Model, readings: &Readings) {
    head.apply(readings, device_of, &mut Open);
    model.extend(readings.iter().map(|(id, at)| ((id, at.at_ms), at.sample.clone())));
}

fn expected(model: &Model, id: SeriesId, from_ms: i64, to_ms: i64) -> Vec<Reading> {
    let range = model.range((id, from_ms)..(id, to_ms.max(from_ms)));
    range.map(|((_, at_ms), sample)| Reading { at_ms: *at_ms, sample: sample.clone() }).collect()
}

/// As a part.
fn part(head: &Head) -> Part<Vec<u8>> {
    let mut out = Vec::new();
    let mut writer = Writer::new(&mut out);
    for rows in head.groups() {
        writer.begin_group();
        rows.iter().for_each(|rows| writer.rows(rows, &mut out).unwrap());
    }
    writer.finish(&mut out).unwrap();
    Part::open(out).unwrap()
}

/// Everything that is read from the head, and from the parts that it becomes, is what the model has.
fn holds(head: &Head, model: &Model) {
    let part = part(head);
    assert_eq!(part.check(), (model.len() as u64, Vec::new()), "each reading once");
    assert_eq!(head.first_ms(), model.keys().map(|(_, at_ms)| *at_ms).min());
    let ids: std::collections::BTreeSet<SeriesId> = model.keys().map(|(id, _)| *id).collect();
    for id in ids {
        let all = expected(model, id, i64::MIN, i64::MAX);
        assert_eq!(bits(&head.raw(id, i64::MIN, i64::MAX, usize::MAX)), bits(&all), "series {}", id.0);
        assert_eq!(bits(&part.raw(id, i64::MIN, i64::MAX, usize::MAX).unwrap()), bits(&all), "series {} in a part", id.0);
        let last = model.range((id, i64::MIN)..=(id, i64::MAX)).next_back();
        let last = last.map(|((_, at_ms), sample)| Reading { at_ms: *at_ms, sample: sample.clone() });
        assert_eq!(bits(head.last(id).as_slice()), bits(last.as_slice()));
        assert_eq!(bits(part.latest(id).unwrap().as_slice()), bits(last.as_slice()));
        let middle = all.get(all.len() / 2).map_or(0, |reading| reading.at_ms);
        assert_eq!(bits(&head.raw(id, middle, i64::MAX, 2)), bits(&all[all.len() / 2..][..2.min(all.len() - all.len() / 2)]));
        assert_eq!(bits(&head.raw(id, i64::MIN, middle, 9999)), bits(&all[..all.len() / 2]));
    }
    for ((id, at_ms), sample) in model {
        assert_eq!(head.at(*id, *at_ms).as_ref().map(write_sample), Some(write_sample(sample)));
        let beside = at_ms.wrapping_add(1);
        assert_eq!(head.at(*id, beside).as_ref().map(write_sample), model.get(&(*id, beside)).map(write_sample));
    }
}

fn values() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => (-300i64..300).prop_map(|mantissa| Value::Decimal(Decimal { mantissa, exponent: -1 })),
        1 => (any::<i64>(), any::<i8>()).prop_map(|(mantissa, exponent)| Value::Decimal(Decimal { mantissa, exponent })),
        1 => any::<u64>().prop_map(Value::Unsigned),
        1 => any::<u32>().prop_map(|bits| Value::F32(f32::from_bits(bits))),
        1 => any::<u64>().prop_map(|bits| Value::F64(f64::from_bits(bits))),
        1 => any::<bool>().prop_map(Value::Bool),
        1 => prop_oneof![".{0,9}", Just("long".repeat(MAX_ROW_TEXT_BYTES / 4 + 1))].prop_map(Value::Text),
    ]
}

fn samples() -> impl Strategy<Value = Sample> {
    (values(), any::<u16>(), 0..6).prop_map(|(value, code, quality)| match quality {
        0 => Sample::Uncertain(value, Reason::from_code(code)),
        1 => Sample::Bad(Reason::from_code(code)),
        _ => Sample::Good(value),
    })
}

fn times() -> impl Strategy<Value = i64> {
    prop_oneof![
        6 => 0i64..20,
        2 => (-3i64..3).prop_map(|at| DAY_MS + at),
        1 => prop_oneof![Just(i64::MIN), Just(i64::MIN + 1), Just(i64::MAX - 1), Just(i64::MAX)],
    ]
}

proptest! {
    #[test]
    fn any_order_of_any_readings_is_held_exactly(
        commits in prop::collection::vec(prop::collection::vec((0u32..7, times(), samples()), 0..30), 0..8),
        again in 0usize..8,
    ) {
        let (mut head, mut model) = (Head::default(), Model::default());
        let commits: Vec<Vec<_>> = commits
            .into_iter()
            .map(|commit| commit.into_iter().map(|(id, at_ms, sample)| (SeriesId(id), Reading { at_ms, sample })).collect())
            .collect();
        for commit in &commits {
            take(&mut head, &mut model, commit.clone());
        }
        commits.get(again).into_iter().for_each(|commit| take(&mut head, &mut model, commit.clone()));
        holds(&head, &model);
    }

    /// Blocks of any series and times: twice the same series or time in one, of several devices, one within the other.
    #[test]
    fn any_blocks_are_held_exactly(
        commits in prop::collection::vec(prop::collection::vec((prop::collection::vec(0u32..7, 1..5), prop::collection::vec(times(), 1..5), samples()), 0..6), 0..6),
        others in prop::collection::vec(samples(), 7),
    ) {
        let (mut head, mut model) = (Head::default(), Model::default());
        for commit in &commits {
            let mut readings = Readings::default();
            for (series, times_ms, sample) in commit {
                let cells = series.len() * times_ms.len();
                let samples = (0..cells).map(|cell| if cell % 3 == 1 { others[cell % 7].clone() } else { sample.clone() }).collect();
                readings.push_block(Block::new(series.iter().copied().map(SeriesId).collect(), times_ms.clone(), samples));
            }
            take_blocks(&mut head, &mut model, &readings);
        }
        holds(&head, &model);
    }

    /// Blocks as gateways send them: several polls each, one after the other or between those of another block.
    #[test]
    fn polls_in_blocks_are_held_exactly(
        batches in prop::collection::vec(prop::collection::vec((1u32..8, 1usize..6, 1i64..4, -1i64..6), 1..4), 1..60),
        again in 0usize..60,
    ) {
        let (mut head, mut model) = (Head::default(), Model::default());
        let batch = |(number, blocks): (usize, &Vec<(u32, usize, i64, i64)>)| {
            let mut readings = Readings::default();
            for (mask, ticks, step, from) in blocks {
                let series: Vec<SeriesId> = (0..3).filter(|id| mask >> id & 1 == 1).map(SeriesId).collect();
                let times_ms: Vec<i64> = (0..*ticks as i64).map(|tick| DAY_MS - 300 + number as i64 * 12 + from + tick * step).collect();
                let sample = |cell: usize| match (cell + number) % 40 {
                    0 => Sample::Bad(Reason::Timeout),
                    1 => Sample::Uncertain(Value::int(cell as i64), Reason::Stale),
                    2 => Sample::Good(Value::F64(0.5)),
                    _ => Sample::Good(Value::int((cell * 7 + number) as i64)),
                };
                let samples = (0..series.len() * times_ms.len()).map(sample).collect();
                readings.push_block(Block::new(series, times_ms, samples));
            }
            readings
        };
        let batches: Vec<Readings> = batches.iter().enumerate().map(batch).collect();
        batches.iter().for_each(|readings| take_blocks(&mut head, &mut model, readings));
        batches.get(again).into_iter().for_each(|readings| take_blocks(&mut head, &mut model, readings));
        holds(&head, &model);
    }

    /// Polls of one device at different paces, with holes, corrections and what comes late: groups are parted while rows grow.
    #[test]
    fn series_that_are_polled_at_different_paces_are_held_exactly(
        paces in prop::collection::vec((1i64..9, 0i64..3), 3),
        holes in prop::collection::vec(0i64..400, 0..20),
        late in prop::collection::vec((0u32..3, -5i64..405, samples()), 0..30),
        late_every in 1i64..200,
    ) {
        let (mut head, mut model) = (Head::default(), Model::default());
        let mut late = late.into_iter();
        for at in (0..400).filter(|at| !holes.contains(at)) {
            let due = (0u32..).zip(&paces).filter(|(_, (pace, phase))| at % pace == phase % pace);
            let at_ms = DAY_MS - 200 + at;
            let polled = due.map(|(id, _)| (SeriesId(id), Reading { at_ms, sample: Sample::Good(Value::int(at)) })).collect();
            take(&mut head, &mut model, polled);
            if at % late_every == 0 && let Some((id, at, sample)) = late.next() {
                take(&mut head, &mut model, vec![(SeriesId(id), Reading { at_ms: DAY_MS - 200 + at, sample })]);
            }
        }
        holds(&head, &model);
        let mut next = head.next();
        prop_assert!(next.is_empty() && next.first_ms().is_none());
        let mut model = Model::default();
        for (id, at_ms) in [(0, 5), (1, 5), (2, 4), (0, 6)] {
            take(&mut next, &mut model, vec![(SeriesId(id), Reading { at_ms, sample: Sample::Good(Value::Bool(true)) })]);
        }
        holds(&next, &model);
    }
}

fn poll(at_ms: i64, ids: impl IntoIterator<Item = u32>) -> Vec<(SeriesId, Reading)> {
    ids.into_iter().map(|id| (SeriesId(id), Reading { at_ms, sample: Sample::Good(Value::int(at_ms)) })).collect()
}

/// Groups that have readings, as their widths and rows.
fn shape(head: &Head) -> Vec<(usize, usize)> {
    let groups = head.groups();
    groups.iter().map(|rows| (rows.iter().map(Rows::width).max().unwrap_or(0), rows.iter().map(Rows::len).sum())).collect()
}

#[test]
fn points_of_one_poll_share_their_times() {
    let mut head = Head::default();
    for at_ms in 0..5000 {
        // One that is missing at first joins the others when it comes.
        head.apply(&poll(at_ms, if at_ms == 0 { 1..20 } else { 0..20 }).into(), |_| 7, &mut Open);
    }
    assert_eq!(shape(&head), [(20, 5000)]);
    let (bytes, readings) = (head.bytes(), head.readings() as usize);
    assert!((8 * readings..20 * readings).contains(&bytes), "{bytes} bytes for {readings} readings");
}

#[test]
fn several_polls_in_a_block_share_their_times_and_fill_chunks() {
    let (mut head, mut model) = (Head::default(), Model::default());
    for batch in 0..1000 {
        let samples = (0..100).map(|cell| Sample::Good(Value::int(batch * 3 + cell))).collect();
        let times_ms = (0..5).map(|tick| (batch * 5 + tick) * 10).collect();
        let mut readings = Readings::default();
        readings.push_block(Block::new((0..20).map(SeriesId).collect(), times_ms, samples));
        head.apply(&readings, |_| 7, &mut Open);
        model.extend(readings.iter().map(|(id, at)| ((id, at.at_ms), at.sample.clone())));
    }
    let lengths: Vec<Vec<usize>> = head.groups().iter().map(|rows| rows.iter().map(Rows::len).collect()).collect();
    assert_eq!(lengths, [[2048, 2048, 904]]);
    assert!(head.late.is_empty(), "{} came late", head.late.len());
    holds(&head, &model);
}

#[test]
fn devices_do_not_share() {
    let mut head = Head::default();
    head.apply(&poll(5, 0..6).into(), device_of, &mut Open);
    assert_eq!(shape(&head), [(3, 1), (3, 1)]);
}

#[test]
fn points_at_other_paces_part_and_stay_apart_in_the_next_head() {
    let poll_all = |head: &mut Head| {
        for at in 0..1200 {
            let ids = (0..10).chain(if at % 6 == 0 { 10..14 } else { 10..10 });
            head.apply(&poll(at, ids).into(), |_| 1, &mut Open);
        }
    };
    let mut head = Head::default();
    poll_all(&mut head);
    assert_eq!(shape(&head), [(10, 1200), (4, 200)]);
    let mut next = head.next();
    poll_all(&mut next);
    assert_eq!(shape(&next), [(10, 1200), (4, 200)]);
}

/// Wants what is not there yet.
struct Other;

impl Gate for Other {
    fn is_new_from(&self, _: SeriesId, _: i64) -> bool {
        false
    }

    fn took(&mut self, _: SeriesId, _: i64, _: &Sample) {}

    fn wants(&mut self, head: &Head, id: SeriesId, at_ms: i64, sample: &Sample) -> bool {
        head.at(id, at_ms).as_ref() != Some(sample)
    }
}

#[test]
fn a_resend_that_is_not_wanted_takes_nothing() {
    let mut head = Head::default();
    head.apply(&poll(5, 0..6).into(), device_of, &mut Open);
    let bytes = head.bytes();
    head.apply(&poll(5, 0..6).into(), device_of, &mut Other);
    assert_eq!((head.bytes(), head.readings()), (bytes, 6));
}

#[test]
fn more_columns_texts_and_series_than_rows_may_have_are_spread() {
    let (mut head, mut model) = (Head::default(), Model::default());
    // Each reading of another representation.
    let odd = |at: i64, id: u32| Sample::Good(Value::Decimal(Decimal { mantissa: at, exponent: ((at + i64::from(id)) % 251 - 125) as i8 }));
    for at_ms in 0..12 {
        let readings: Vec<_> = (0..5000).map(|id| (SeriesId(id), Reading { at_ms, sample: odd(at_ms, id) })).collect();
        head.apply(&readings.clone().into(), |_| 1, &mut Open);
        model.extend(readings.into_iter().map(|(id, reading)| ((id, reading.at_ms), reading.sample)));
    }
    assert_eq!(head.groups.iter().filter(|group| group.series > 0).count(), 2);
    let text = |at: i64, id: u32| Sample::Good(Value::Text(format!("{at} {id} {}", "x".repeat(900_000))));
    for at_ms in 12..14 {
        let readings: Vec<_> = (0..20).map(|id| (SeriesId(id), Reading { at_ms, sample: text(at_ms, id) })).collect();
        head.apply(&readings.clone().into(), |_| 1, &mut Open);
        model.extend(readings.into_iter().map(|(id, reading)| ((id, reading.at_ms), reading.sample)));
    }
    let part = part(&head);
    assert_eq!(part.check(), (model.len() as u64, Vec::new()));
    for id in [0, 19, 4999].map(SeriesId) {
        assert_eq!(part.raw(id, i64::MIN, i64::MAX, 99).unwrap(), expected(&model, id, i64::MIN, i64::MAX));
    }
}
