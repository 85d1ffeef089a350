//! What goes first when room runs out: classes of series, and which readings of stored batches may go. Pure: stores nothing.
//!
//! | class | what | when room runs out |
//! |---|---|---|
//! | alarm | what its profile calls `class: alarm` | goes only with its whole batch |
//! | counter, state | those kinds; text counts as state | the same |
//! | gauge | all else | of one that is fast, so read more often than `thin_to`, one reading in each such time stays |
//!
//! What stays of a fast gauge is the first reading of each stretch, and every reading whose quality or reason is not that of the one before
//! it. The choice does not look at values, so what stays is an honest sample: averages, and the share of time above a bound, stay true,
//! where the extremes of each stretch would have moved them. How fast a gauge is, its readings tell: no interval need be known.

use std::collections::{BTreeMap, HashMap};

use pattoo_wire::{Batch, Block, CLASS_ALARM, CLASS_LABEL, Gap, GapReason, Kind, Quality, Reason, Sample, Schema, SchemaId, Series};

/// How long the readings of a series are held on to, the shortest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Class {
    Gauge,
    State,
    Counter,
    Alarm,
}

impl Class {
    pub(super) fn of(series: &Series) -> Self {
        match series.kind {
            _ if series.labels.get(CLASS_LABEL).is_some_and(|class| class == CLASS_ALARM) => Self::Alarm,
            Kind::Counter => Self::Counter,
            Kind::State | Kind::Text => Self::State,
            Kind::Gauge => Self::Gauge,
        }
    }
}

/// Thins out batches, which it must see one after the other.
pub(super) struct Thinner {
    thin_to_ms: i64,
    series: HashMap<(SchemaId, u32), Latest>,
}

/// The reading of a series that stayed last, and how good the last one was.
#[derive(Clone, Copy)]
struct Latest {
    stayed_ms: i64,
    quality: (Quality, Option<Reason>),
}

impl Thinner {
    pub(super) fn new(thin_to_ms: i64) -> Self {
        Self { thin_to_ms, series: HashMap::new() }
    }

    /// Sees a batch that stays as it is.
    pub(super) fn pass(&mut self, id: SchemaId, batch: &Batch) {
        for block in &batch.blocks {
            let at_ms = block.times_ms.iter().max().copied().unwrap_or_default();
            for (series, samples) in columns(block) {
                if let Some(sample) = samples.last() {
                    self.series.insert((id, series), Latest { stayed_ms: at_ms, quality: quality(sample) });
                }
            }
        }
    }

    /// What stays of a batch, with the record of what does not; none where all of it stays. At least one reading does: a batch without any
    /// would be nothing but a number.
    pub(super) fn thin(&mut self, seq: u64, id: SchemaId, schema: &Schema, batch: &Batch) -> Option<Batch> {
        let mut stays: Vec<Vec<Vec<bool>>> = Vec::new();
        for block in &batch.blocks {
            stays.push(columns(block).map(|(series, samples)| self.column(id, series, schema, &block.times_ms, samples)).collect());
        }
        if !stays.iter().flatten().flatten().any(|stays| *stays)
            && let Some(first) = stays.iter_mut().flatten().flatten().next()
        {
            *first = true;
        }
        let gone_ms = || {
            let cells = batch.blocks.iter().zip(&stays).flat_map(|(block, columns)| columns.iter().map(|column| (&block.times_ms, column)));
            cells.flat_map(|(times_ms, column)| times_ms.iter().zip(column).filter(|(_, stays)| !**stays).map(|(at_ms, _)| *at_ms))
        };
        let (from_ms, to_ms) = (gone_ms().min()?, gone_ms().max()?);
        let gap = Gap { from_ms, to_ms, first_seq: seq, last_seq: seq, readings: gone_ms().count() as u64, reason: GapReason::Thinned };
        let blocks = batch.blocks.iter().zip(&stays).flat_map(|(block, stays)| left(block, stays)).collect();
        Some(Batch { blocks, gaps: batch.gaps.iter().cloned().chain([gap]).collect() })
    }

    /// Which readings of one series in a block stay.
    fn column(&mut self, id: SchemaId, series: u32, schema: &Schema, times_ms: &[i64], samples: &[Sample]) -> Vec<bool> {
        let class = schema.series.get(series as usize).map_or(Class::Alarm, Class::of);
        if class > Class::Gauge {
            return vec![true; samples.len()];
        }
        let thin_to_ms = self.thin_to_ms;
        let mut stays = |at_ms: i64, sample: &Sample| {
            let quality = quality(sample);
            let latest = self.series.get(&(id, series)).copied();
            // A clock that went back begins a new stretch.
            let soon = |latest: Latest| (0..thin_to_ms).contains(&at_ms.saturating_sub(latest.stayed_ms)) && latest.quality == quality;
            let goes = latest.is_some_and(soon);
            let stayed_ms = latest.filter(|_| goes).map_or(at_ms, |latest| latest.stayed_ms);
            self.series.insert((id, series), Latest { stayed_ms, quality });
            !goes
        };
        times_ms.iter().zip(samples).map(|(at_ms, sample)| stays(*at_ms, sample)).collect()
    }
}

/// The record of what a batch lost when it was thinned out, which it carries itself.
pub(super) fn own_record(seq: u64, gaps: &[Gap]) -> Option<&Gap> {
    gaps.iter().find(|gap| gap.reason == GapReason::Thinned && (gap.first_seq, gap.last_seq) == (seq, seq))
}

fn columns(block: &Block) -> impl Iterator<Item = (u32, &[Sample])> {
    block.series.iter().copied().zip(block.samples.chunks(block.times_ms.len().max(1)))
}

fn quality(sample: &Sample) -> (Quality, Option<Reason>) {
    (sample.quality(), sample.reason())
}

/// The blocks that stay of one: the series of which the same ticks stay share one.
fn left(block: &Block, stays: &[Vec<bool>]) -> Vec<Block> {
    let mut places: BTreeMap<&[bool], usize> = BTreeMap::new();
    let mut blocks: Vec<Block> = Vec::new();
    for ((series, samples), stays) in columns(block).zip(stays).filter(|(_, stays)| stays.contains(&true)) {
        let place = *places.entry(stays).or_insert_with(|| {
            let times_ms = block.times_ms.iter().zip(stays).filter(|(_, stays)| **stays).map(|(at_ms, _)| *at_ms).collect();
            blocks.push(Block { series: Vec::new(), times_ms, samples: Vec::new() });
            blocks.len() - 1
        });
        if let Some(block) = blocks.get_mut(place) {
            block.series.push(series);
            block.samples.extend(samples.iter().zip(stays).filter(|(_, stays)| **stays).map(|(sample, _)| sample.clone()));
        }
    }
    blocks
}

#[cfg(test)]
mod tests;
