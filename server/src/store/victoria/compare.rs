//! What is here beside what VictoriaMetrics gives back: what to send again, and what it will not keep. Pure.

use super::plane;
use crate::store::row::write_sample;
use crate::store::{Reading, SeriesId};

/// So often a reading is sent before it is kept here for good: VictoriaMetrics drops what is outside of its retention without a word.
pub const MAX_ATTEMPTS: u32 = 3;

/// The first time that VictoriaMetrics gives back, 1971: a question that reaches to 1970, or with what it looks at beside it before, has no answer.
pub const FIRST_MS: i64 = 365 * 24 * 3600 * 1000;

/// Readings of one series and range: all that are here, those of VictoriaMetrics, those beside.
#[derive(Debug, Clone, Copy)]
pub struct Sides<'a> {
    /// Here, ascending.
    pub here: &'a [Reading],
    /// In VictoriaMetrics, ascending; of one time there may be one for each plane.
    pub there: &'a [Reading],
    /// Beside, ascending.
    pub beside: &'a [Reading],
}

/// What follows.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Difference {
    /// To be sent, perhaps again.
    pub send: Vec<Reading>,
    /// To be kept beside.
    pub keep: Vec<Reading>,
    /// How many of those to be kept were sent [`MAX_ATTEMPTS`] times and are not there.
    pub dropped: u64,
}

/// Compares. `attempts` is how often all that was missing was sent; `newest_ms` is the time of a reading that is to be beside in any case.
#[must_use]
pub fn compare(sides: Sides<'_>, attempts: u32, newest_ms: Option<i64>) -> Difference {
    let mut difference = Difference::default();
    let (mut there, mut beside) = (sides.there, sides.beside);
    for reading in sides.here {
        let there = take_at(&mut there, reading.at_ms);
        let beside = take_at(&mut beside, reading.at_ms);
        if beside.iter().any(|other| same(other, reading)) {
            continue;
        }
        // What is beside wins, so it has to be right.
        if !beside.is_empty() || !is_kept_there(reading) {
            difference.keep.push(reading.clone());
            continue;
        }
        match there {
            [other] if same(other, reading) => {
                if newest_ms == Some(reading.at_ms) {
                    difference.keep.push(reading.clone());
                }
            }
            [] if attempts < MAX_ATTEMPTS => difference.send.push(reading.clone()),
            // Sent again, both would be there, and which one is shown may change with each merge.
            _ => {
                difference.dropped += u64::from(there.is_empty());
                difference.keep.push(reading.clone());
            }
        }
    }
    difference
}

/// Whether VictoriaMetrics can have it at all: as an integer, and since [`FIRST_MS`].
#[must_use]
pub fn is_kept_there(reading: &Reading) -> bool {
    reading.at_ms >= FIRST_MS && plane::write(&reading.sample).is_some()
}

/// By their bits: NaN differs from itself, and -0 is 0.
#[must_use]
pub fn same(a: &Reading, b: &Reading) -> bool {
    a.at_ms == b.at_ms && write_sample(&a.sample) == write_sample(&b.sample)
}

/// Those of the front that are of this time; those before it go.
fn take_at<'a>(readings: &mut &'a [Reading], at_ms: i64) -> &'a [Reading] {
    let from = readings.partition_point(|reading| reading.at_ms < at_ms);
    let (_, rest) = readings.split_at(from);
    let (found, rest) = rest.split_at(rest.partition_point(|reading| reading.at_ms <= at_ms));
    *readings = rest;
    found
}

/// A reading and its series.
pub type OfSeries = (SeriesId, Reading);

/// Readings of a commit by series and time: of each the first and the last that came, which mostly are the same one.
#[must_use]
pub fn by_time(readings: &[OfSeries]) -> Vec<(&OfSeries, &OfSeries)> {
    let mut all: Vec<_> = readings.iter().collect();
    // Stable: of one time they stay in their order.
    all.sort_by_key(|(id, reading)| (*id, reading.at_ms));
    let of_one_time = all.chunk_by(|a, b| a.0 == b.0 && a.1.at_ms == b.1.at_ms);
    of_one_time.filter_map(|same| Some((*same.first()?, *same.last()?))).collect()
}

#[cfg(test)]
mod tests {
    use pattoo_wire::{Reason, Sample, Value};

    use super::*;

    fn int(at_ms: i64, value: i64) -> Reading {
        Reading { at_ms: FIRST_MS + at_ms, sample: Sample::Good(Value::int(value)) }
    }

    fn bad(at_ms: i64) -> Reading {
        Reading { at_ms: FIRST_MS + at_ms, sample: Sample::Bad(Reason::Timeout) }
    }

    fn text(at_ms: i64) -> Reading {
        Reading { at_ms: FIRST_MS + at_ms, sample: Sample::Good(Value::Text("x".into())) }
    }

    /// Times of what is to be sent, and of what is to be kept.
    fn verdict(there: &[Reading], beside: &[Reading], attempts: u32) -> (Vec<i64>, Vec<i64>) {
        let here = [int(-1, 7), int(1, 1), int(2, 2), text(3), int(4, 4), int(5, 5)];
        let found = compare(Sides { here: &here, there, beside }, attempts, Some(FIRST_MS + 5));
        let times = |readings: &[Reading]| readings.iter().map(|reading| reading.at_ms - FIRST_MS).collect();
        (times(&found.send), times(&found.keep))
    }

    #[test]
    fn what_is_there_as_it_is_needs_nothing_more() {
        let there = [int(1, 1), int(2, 2), int(4, 4), int(5, 5), int(9, 9)];
        let beside = [int(-1, 7), text(3)];
        assert_eq!(verdict(&there, &beside, 0), (vec![], vec![5]), "the newest is beside in any case");
        assert_eq!(verdict(&there, &[int(-1, 7), text(3), int(5, 5)], 0), (vec![], vec![]));
        assert_eq!(verdict(&there, &[], 0), (vec![], vec![-1, 3, 5]));
    }

    #[test]
    fn what_is_missing_is_sent_and_at_last_kept() {
        let (there, beside) = ([int(1, 1), int(5, 5)], [int(-1, 7), text(3), int(5, 5)]);
        assert_eq!(verdict(&there, &beside, 0), (vec![2, 4], vec![]));
        assert_eq!(verdict(&there, &beside, MAX_ATTEMPTS - 1), (vec![2, 4], vec![]));
        assert_eq!(verdict(&there, &beside, MAX_ATTEMPTS), (vec![], vec![2, 4]));
    }

    #[test]
    fn what_differs_is_kept_and_never_sent() {
        // At 2 another value, at 4 the right one and another one of another plane.
        let there = [int(1, 1), int(2, 9), bad(4), int(4, 4), int(5, 5)];
        let beside = [int(-1, 7), text(3), int(5, 5)];
        assert_eq!(verdict(&there, &beside, 0), (vec![], vec![2, 4]));
    }

    #[test]
    fn what_is_beside_is_set_right_whatever_is_there() {
        let there = [int(1, 1), int(2, 2), int(4, 4), int(5, 5)];
        assert_eq!(verdict(&there, &[int(-1, 7), int(2, 3), text(3), int(5, 5)], 0), (vec![], vec![2]));
    }

    #[test]
    fn of_one_time_the_first_and_the_last_are_known() {
        let (a, b) = (SeriesId(1), SeriesId(2));
        let readings = [(b, int(1, 1)), (a, int(2, 2)), (a, int(1, 3)), (a, int(2, 4)), (a, int(2, 5))];
        let found: Vec<_> = by_time(&readings).into_iter().map(|(first, last)| (first.clone(), last.clone())).collect();
        let once = |id, reading: Reading| ((id, reading.clone()), (id, reading));
        assert_eq!(found, [once(a, int(1, 3)), ((a, int(2, 2)), (a, int(2, 5))), once(b, int(1, 1))]);
    }
}
