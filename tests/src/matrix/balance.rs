//! The equation: readings buffered = readings in the store + readings in gap records, and nothing twice. Pure.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use pattoo_wire::GapReason;
use serde_json::Value;

use crate::stack::{Lost, Readings};

/// A batch as the gateway logged it, once it was on stable storage.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// Life of the buffer.
    pub stream: u64,
    /// Number.
    pub seq: u64,
    /// Its readings.
    pub readings: Readings,
}

impl Batch {
    fn first_ms(&self) -> Option<i64> {
        self.readings.keys().map(|(_, _, at_ms)| *at_ms).min()
    }

    fn last_ms(&self) -> Option<i64> {
        self.readings.keys().map(|(_, _, at_ms)| *at_ms).max()
    }
}

/// The batches that one run of the gateway logged.
///
/// # Errors
/// A line that is not as documented, or a batch that names a reading twice.
pub fn batches(log: &[String]) -> Result<Vec<Batch>> {
    let mut batches = Vec::new();
    for line in log.iter().filter(|line| line.contains("pattoo::buffered")) {
        let Ok(line) = serde_json::from_str::<Value>(line) else { continue };
        let number = |key: &str| line.pointer(key).and_then(Value::as_u64).with_context(|| format!("no {key} in {line}"));
        let Some(content) = line.pointer("/fields/content").and_then(Value::as_str) else { continue };
        let mut readings = Readings::new();
        for (device, point, at_ms, value, quality) in serde_json::from_str::<Vec<(String, String, i64, Value, String)>>(content)? {
            let before = readings.insert((device.clone(), point.clone(), at_ms), (value, quality));
            ensure!(before.is_none(), "a batch names {device} {point} {at_ms} twice");
        }
        ensure!(readings.len() as u64 == number("/fields/readings")?, "a batch does not hold as many readings as it says");
        batches.push(Batch { stream: number("/fields/stream")?, seq: number("/fields/seq")?, readings });
    }
    Ok(batches)
}

/// How it comes out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Balance {
    /// Readings that the gateway logged as buffered.
    pub buffered: u64,
    /// Of these, how many are in the store, each as it was buffered.
    pub stored: u64,
    /// Readings in gap records.
    pub in_gaps: u64,
    /// Of these, how many are in records that know no number of readings: they were counted as many as are missing.
    pub unnumbered: u64,
    /// Readings in the store of batches whose line in the log the kill of a gateway came before; not in `buffered`.
    pub unlogged: u64,
    /// Readings that are neither in the store nor in a gap record.
    pub lost: u64,
    /// Readings that are in two batches, or both in the store and in a gap record, or in the store though never buffered.
    pub twice: u64,
}

impl Balance {
    /// Adds another one.
    pub fn add(&mut self, other: &Self) {
        self.buffered += other.buffered;
        self.stored += other.stored;
        self.in_gaps += other.in_gaps;
        self.unnumbered += other.unnumbered;
        self.unlogged += other.unlogged;
        self.lost += other.lost;
        self.twice += other.twice;
    }

    /// Whether it comes out exactly.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.lost == 0 && self.twice == 0 && self.buffered == self.stored + self.in_gaps
    }
}

/// Sums up what the lives of a gateway logged, what the store holds, and what gap records tell, all of it up to the last
/// logged reading: the gateway has gone on since.
///
/// # Errors
/// A stored reading is not as it was buffered, or the log of a life has a hole.
pub fn balance(lives: &[Vec<Batch>], stored: &Readings, gaps: &[Lost]) -> Result<Balance> {
    let mut balance = Balance::default();
    let mut buffered = Readings::new();
    for batch in lives.iter().flatten() {
        for (key, content) in &batch.readings {
            balance.twice += u64::from(buffered.insert(key.clone(), content.clone()).is_some());
        }
    }
    balance.buffered = buffered.len() as u64;
    let end_ms = lives.iter().flatten().filter_map(Batch::last_ms).max().context("nothing was buffered")?;
    let unlogged = unlogged(lives)?;
    let mut missing = buffered;
    for (key, content) in stored.iter().filter(|(key, _)| key.2 <= end_ms) {
        match missing.remove(key) {
            Some(logged) => {
                ensure!(logged == *content, "{key:?} was buffered as {logged:?} and is stored as {content:?}");
                balance.stored += 1;
            }
            None if unlogged.iter().any(|(from, to)| (*from..=*to).contains(&key.2)) => balance.unlogged += 1,
            None => balance.twice += 1,
        }
    }
    let mut missing_ms: Vec<i64> = missing.keys().map(|(_, _, at_ms)| *at_ms).collect();
    for window in windows(gaps, end_ms) {
        let before = missing_ms.len();
        missing_ms.retain(|at_ms| !(window.from_ms..=window.to_ms).contains(at_ms));
        let explained = (before - missing_ms.len()) as u64;
        let told = if window.unknown { window.readings.max(explained) } else { window.readings };
        balance.in_gaps += told;
        balance.unnumbered += told - window.readings;
        balance.lost += explained.saturating_sub(told);
        balance.twice += told.saturating_sub(explained);
    }
    balance.lost += missing_ms.len() as u64;
    Ok(balance)
}

/// A time of which gap records tell.
struct Window {
    from_ms: i64,
    to_ms: i64,
    readings: u64,
    /// One of the records stands for a number of readings that nobody knows.
    unknown: bool,
}

/// Gap records as windows that do not overlap, with the sum of their readings.
fn windows(gaps: &[Lost], end_ms: i64) -> Vec<Window> {
    // A step of the clock is a record without any loss.
    let step = GapReason::ClockStep.to_string();
    let mut gaps: Vec<_> = gaps.iter().filter(|gap| gap.from_ms <= end_ms && gap.reason != step).collect();
    gaps.sort_by_key(|gap| gap.from_ms);
    let mut windows: Vec<Window> = Vec::new();
    for gap in gaps {
        let Lost { from_ms, to_ms, readings, .. } = *gap;
        let unknown = readings == 0;
        match windows.last_mut().filter(|last| from_ms <= last.to_ms) {
            Some(last) => {
                (last.to_ms, last.readings, last.unknown) = (last.to_ms.max(to_ms), last.readings + readings, last.unknown || unknown);
            }
            None => windows.push(Window { from_ms, to_ms, readings, unknown }),
        }
    }
    windows
}

/// When the readings of batches were made that are on stable storage without a line in the log: a gateway can be killed between the
/// two. They are the last ones of its life.
fn unlogged(lives: &[Vec<Batch>]) -> Result<Vec<(i64, i64)>> {
    let mut windows = Vec::new();
    let mut expected: BTreeMap<u64, (u64, i64)> = BTreeMap::new();
    for life in lives {
        for (index, batch) in life.iter().enumerate() {
            let (next, since_ms) = expected.get(&batch.stream).copied().unwrap_or((1, i64::MIN));
            expected.insert(batch.stream, (batch.seq + 1, batch.first_ms().unwrap_or(since_ms)));
            ensure!(batch.seq >= next, "batch {} was logged after batch {}", batch.seq, next - 1);
            if batch.seq > next {
                ensure!(index == 0, "batches {next} to {} are not in the log of a gateway that went on", batch.seq - 1);
                windows.push((since_ms, batch.last_ms().unwrap_or(i64::MAX)));
            }
        }
    }
    Ok(windows)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: u64 = 7;

    fn reading(at_ms: i64) -> ((String, String, i64), (Value, String)) {
        (("meter".into(), "u".into(), at_ms), (Value::from(at_ms), "good".into()))
    }

    fn readings(times_ms: &[i64]) -> Readings {
        times_ms.iter().map(|at_ms| reading(*at_ms)).collect()
    }

    fn batch(seq: u64, times_ms: &[i64]) -> Batch {
        Batch { stream: STREAM, seq, readings: readings(times_ms) }
    }

    fn gap(from_ms: i64, to_ms: i64, readings: u64) -> Lost {
        Lost { from_ms, to_ms, readings, reason: "buffer full".into() }
    }

    #[test]
    fn what_is_missing_or_twice_shows() {
        let lives = [vec![batch(1, &[1, 2]), batch(2, &[3, 4])], vec![batch(3, &[5, 6])]];
        for (what, stored, gaps, expected) in [
            ("all stored", &[1, 2, 3, 4, 5, 6][..], vec![], (6, 0, 0, 0)),
            ("what comes later does not count", &[1, 2, 3, 4, 5, 6, 7], vec![gap(7, 9, 5)], (6, 0, 0, 0)),
            ("dropped", &[3, 4, 5, 6], vec![gap(1, 2, 2)], (4, 2, 0, 0)),
            ("dropped, in two records of one window", &[3, 4, 5, 6], vec![gap(1, 2, 1), gap(1, 2, 1)], (4, 2, 0, 0)),
            ("lost", &[1, 2, 4, 5, 6], vec![], (5, 0, 1, 0)),
            ("lost beside a gap", &[4, 5, 6], vec![gap(1, 2, 2)], (3, 2, 1, 0)),
            ("lost within a gap", &[3, 4, 5, 6], vec![gap(1, 2, 1)], (4, 1, 1, 0)),
            ("lost with a record that knows no number", &[5, 6], vec![gap(1, 2, 0), gap(2, 4, 1)], (2, 4, 0, 0)),
            ("lost beside a record that knows no number", &[5, 6], vec![gap(1, 3, 0)], (2, 3, 1, 0)),
            ("both stored and dropped", &[1, 2, 3, 4, 5, 6], vec![gap(1, 2, 2)], (6, 2, 0, 2)),
            ("never buffered", &[1, 2, 3, 4, 5, 6, 0], vec![], (6, 0, 0, 1)),
        ] {
            let found = balance(&lives, &readings(stored), &gaps).unwrap();
            assert_eq!((found.stored, found.in_gaps, found.lost, found.twice), expected, "{what}");
            assert_eq!(found.holds(), expected.2 + expected.3 == 0, "{what}");
        }
    }

    #[test]
    fn a_batch_may_be_unlogged_only_where_a_gateway_was_killed() {
        let all = readings(&[1, 2, 3]);
        let killed = balance(&[vec![batch(1, &[1])], vec![batch(3, &[3])]], &all, &[]).unwrap();
        assert_eq!((killed.buffered, killed.stored, killed.unlogged, killed.twice), (2, 2, 1, 0));
        assert!(balance(&[vec![batch(1, &[1]), batch(3, &[3])]], &all, &[]).is_err());
        assert!(balance(&[vec![batch(1, &[1]), batch(1, &[3])]], &all, &[]).is_err());
        let twice = balance(&[vec![batch(1, &[1]), batch(2, &[1, 2, 3])]], &all, &[]).unwrap();
        assert_eq!((twice.twice, twice.holds()), (1, false));
    }

    #[test]
    fn a_reading_that_changed_on_its_way_is_an_error() {
        let mut changed = readings(&[1]);
        changed.values_mut().for_each(|(value, _)| *value = Value::from(99));
        assert!(balance(&[vec![batch(1, &[1])]], &changed, &[]).is_err());
    }
}
