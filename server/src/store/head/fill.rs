//! How readings come into a head: by device in the order of time, and whole columns at once where nothing of them is late.

use std::collections::HashMap;
use std::mem::discriminant;
use std::ops::Range;

use pattoo_wire::{Sample, Value};

use super::super::part::full_rows;
use super::super::{Block, Readings, SeriesId};
use super::{Group, Head, Home, crowds};
use super::{HOME_BYTES, LATE_BYTES, LOOK_BACK, LOOKS, MAX_GROUP_SERIES, MAX_ROW_TEXT_BYTES, OPEN_BYTES, OPEN_COLUMNS};

/// Decides what of that which comes is new.
pub trait Gate {
    /// Whether all of a series from this time on is new: then it is told of the last of it only.
    fn is_new_from(&self, id: SeriesId, from_ms: i64) -> bool;

    /// The last one of those.
    fn took(&mut self, id: SeriesId, at_ms: i64, sample: &Sample);

    /// Whether this one is wanted, with what the head has by then.
    fn wants(&mut self, head: &Head, id: SeriesId, at_ms: i64, sample: &Sample) -> bool;
}

/// Wants everything.
#[derive(Debug, Clone, Copy)]
pub struct Open;

impl Gate for Open {
    fn is_new_from(&self, _: SeriesId, _: i64) -> bool {
        true
    }

    fn took(&mut self, _: SeriesId, _: i64, _: &Sample) {}

    fn wants(&mut self, _: &Head, _: SeriesId, _: i64, _: &Sample) -> bool {
        true
    }
}

/// Ticks of a block that are taken at once: ascending, and none of another block of the device between them.
type Slice<'a> = (&'a Block, Range<usize>);

impl Head {
    /// Takes readings; of two for the same series and time the later one in their order wins. What the gate does not want is left out.
    /// `device_of` says which series may be polled together.
    pub fn apply(&mut self, readings: &Readings, device_of: impl Fn(SeriesId) -> u32, gate: &mut impl Gate) {
        let device = |block: &Block| {
            let mut devices = block.series().iter().map(|id| device_of(*id));
            let first = devices.next()?;
            devices.all(|device| device == first).then_some(first)
        };
        let mut blocks: Vec<(Option<u32>, &Block)> = readings.blocks().iter().map(|block| (device(block), block)).collect();
        // Devices have nothing to do with one another, unless a block is of several.
        if blocks.iter().all(|(device, _)| device.is_some()) {
            blocks.sort_by_key(|(device, _)| *device);
        } else {
            blocks.iter_mut().for_each(|(device, _)| *device = None);
        }
        for of_device in blocks.chunk_by(|a, b| a.0 == b.0) {
            for slice in slices(of_device.iter().map(|(_, block)| *block)) {
                self.take(&slice, &device_of, gate);
            }
        }
    }

    fn take(&mut self, (block, ticks): &Slice<'_>, device_of: &impl Fn(SeriesId) -> u32, gate: &mut impl Gate) {
        let times_ms = block.times_ms().get(ticks.clone()).unwrap_or_default();
        let Some(first_ms) = times_ms.first().copied() else { return };
        for (place, id) in block.series().iter().enumerate() {
            if !self.homes.contains(*id) {
                self.settle((*id, device_of(*id)), (block.series(), place), first_ms, device_of);
            }
        }
        let home = |head: &Self, id: &SeriesId| head.homes.get(*id).map_or(0, |home| home.group);
        let first_home = block.series().first().map_or(0, |id| home(self, id));
        let mut members: Vec<(u32, usize)> = block.series().iter().enumerate().map(|(place, id)| (home(self, id), place)).collect();
        if members.iter().any(|(group, _)| *group != first_home) {
            members.sort_unstable();
        }
        let distinct = block.is_distinct();
        for members in members.chunk_by(|a, b| a.0 == b.0) {
            let Some((group, _)) = members.first() else { continue };
            if distinct && self.is_plain(*group, (block, ticks), members, first_ms, gate) {
                self.take_columns(*group, (block, ticks), members, gate);
            } else {
                self.take_one_by_one((block, ticks), members, gate);
            }
        }
    }

    /// Whether all of these are later than what is here and new, and each series has one representation and no long text.
    fn is_plain(
        &self,
        group: u32,
        (block, ticks): (&Block, &Range<usize>),
        members: &[(u32, usize)],
        first_ms: i64,
        gate: &impl Gate,
    ) -> bool {
        let later = self.groups.get(group as usize).is_some_and(|group| group.open.last_ms().is_none_or(|last_ms| last_ms <= first_ms));
        let plain = |(_, place): &(u32, usize)| {
            let Some(id) = block.series().get(*place) else { return false };
            let last_ms = self.homes.get(*id).and_then(|home| home.last_ms);
            last_ms.is_none_or(|last_ms| last_ms < first_ms)
                && gate.is_new_from(*id, first_ms)
                && is_uniform(block.column(*place).get(ticks.clone()).unwrap_or_default())
        };
        later && members.iter().all(plain)
    }

    /// Puts columns that are plain.
    fn take_columns(&mut self, place: u32, (block, ticks): (&Block, &Range<usize>), members: &[(u32, usize)], gate: &mut impl Gate) {
        let times_ms = block.times_ms().get(ticks.clone()).unwrap_or_default();
        let (mut from, mut look) = (0, false);
        while from < times_ms.len() {
            let Some(group) = self.groups.get_mut(place as usize) else { return };
            let (rows, begun) = group.begin_rows(times_ms.get(from..).unwrap_or_default(), members.len());
            let count = rows.len();
            look |= LOOKS.iter().any(|row| (rows.end - begun..rows.end).contains(row));
            let mut bytes = begun * size_of::<i64>();
            for (_, member) in members {
                let samples = block.column(*member).get(ticks.start + from..ticks.start + from + count).unwrap_or_default();
                let Some(id) = block.series().get(*member) else { continue };
                bytes += group.open.extend(*id, rows.start, samples);
            }
            group.open_bytes += bytes;
            self.bytes += bytes;
            self.readings += (members.len() * count) as u64;
            from += count;
        }
        let Some(last_ms) = times_ms.last() else { return };
        for (_, member) in members {
            let (Some(id), Some(sample)) = (block.series().get(*member), block.column(*member).get(ticks.end - 1)) else { continue };
            self.homes.get_mut(*id).into_iter().for_each(|home| home.last_ms = Some(*last_ms));
            gate.took(*id, *last_ms, sample);
        }
        if look {
            self.part(place);
        }
    }

    /// The same for whatever comes: what is late or comes again finds its way.
    fn take_one_by_one(&mut self, (block, ticks): (&Block, &Range<usize>), members: &[(u32, usize)], gate: &mut impl Gate) {
        for tick in ticks.clone() {
            let Some(at_ms) = block.times_ms().get(tick) else { continue };
            for (_, member) in members {
                let (Some(id), Some(sample)) = (block.series().get(*member), block.column(*member).get(tick)) else { continue };
                if gate.wants(self, *id, *at_ms, sample) {
                    self.put(*id, *at_ms, sample);
                }
            }
        }
    }

    /// Finds a home for a series that comes with these others, at this place among them.
    fn settle(
        &mut self,
        (id, device): (SeriesId, u32),
        (series, place): (&[SeriesId], usize),
        at_ms: i64,
        device_of: impl Fn(SeriesId) -> u32,
    ) {
        let roomy = |head: &Self, group: &u32| head.groups.get(*group as usize).is_some_and(|group| group.series < MAX_GROUP_SERIES);
        // The nearest first: the one before may just have begun a group, where the others' are full.
        let others = series.iter().take(place).rev().chain(series.iter().skip(place + 1));
        let beside = others.filter(|other| device_of(**other) == device).take(LOOK_BACK);
        let home = beside.filter_map(|other| self.homes.get(*other)).map(|home| home.group).find(|group| roomy(self, group));
        let polled_now = || {
            let young = self.devices.get(&device)?.iter().rev().take(LOOK_BACK);
            let now = |group: &u32| self.groups.get(*group as usize).and_then(|of| of.open.last_ms()) == Some(at_ms);
            young.copied().find(|group| roomy(self, group) && now(group))
        };
        let group = home.or_else(polled_now).unwrap_or_else(|| self.found(device));
        self.homes.insert(id, Home { group, last_ms: None });
        self.bytes += HOME_BYTES;
        if let Some(group) = self.groups.get_mut(group as usize) {
            group.series += 1;
        }
    }

    /// A new group of a device.
    fn found(&mut self, device: u32) -> u32 {
        let group = self.groups.len() as u32;
        self.groups.push(Group { device, ..Group::default() });
        self.devices.entry(device).or_default().push(group);
        self.bytes += size_of::<Group>();
        group
    }

    fn put(&mut self, id: SeriesId, at_ms: i64, sample: &Sample) {
        let Some(home) = self.homes.get_mut(id) else { return };
        let newest = home.last_ms.is_none_or(|last_ms| last_ms < at_ms);
        home.last_ms = home.last_ms.max(Some(at_ms));
        let place = home.group;
        let Some(group) = self.groups.get_mut(place as usize) else { return };
        if !newest || !is_short(sample) || group.open.last_ms().is_some_and(|last_ms| last_ms > at_ms) {
            return self.put_late(id, at_ms, sample);
        }
        let (rows, begun) = group.begin_rows(&[at_ms], 1);
        let bytes = begun * size_of::<i64>() + group.open.put_counted(id, sample);
        group.open_bytes += bytes;
        self.bytes += bytes;
        self.readings += 1;
        if begun > 0 && LOOKS.contains(&rows.start) {
            self.part(place);
        }
    }

    fn put_late(&mut self, id: SeriesId, at_ms: i64, sample: &Sample) {
        let text = |sample: &Sample| if let Some(Value::Text(text)) = sample.value() { text.len() } else { 0 };
        self.bytes += text(sample);
        match self.late.insert((id, at_ms), sample.clone()) {
            Some(earlier) => self.bytes = self.bytes.saturating_sub(text(&earlier)),
            None => {
                self.bytes += LATE_BYTES;
                self.readings += 1;
            }
        }
    }

    /// Gives those series of a group a group of their own that do not share their rows with the others.
    fn part(&mut self, place: u32) {
        let Some(group) = self.groups.get_mut(place as usize) else { return };
        let crowds = crowds::of(&group.open.presence());
        let device = group.device;
        let Some((_, leaving)) = crowds.split_first().filter(|(_, leaving)| !leaving.is_empty()) else { return };
        let rows = std::mem::take(&mut group.open);
        let sealed = !group.sealed.is_empty();
        self.bytes = self.bytes.saturating_sub(std::mem::take(&mut group.open_bytes));
        let mut to: HashMap<SeriesId, u32> = HashMap::new();
        for crowd in leaving {
            let new = self.found(device);
            to.extend(crowd.iter().map(|id| (*id, new)));
        }
        for (id, new) in &to {
            self.homes.get_mut(*id).into_iter().for_each(|home| home.group = *new);
            self.groups.get_mut(*new as usize).into_iter().for_each(|group| group.series += 1);
            if sealed {
                self.former.entry(*id).or_default().push(place);
                self.bytes += size_of::<u32>() + HOME_BYTES;
            }
        }
        for (at_ms, cells) in rows.by_row() {
            for (id, sample) in cells {
                let at = to.get(&id).copied().unwrap_or(place);
                let Some(group) = self.groups.get_mut(at as usize) else { continue };
                let (_, begun) = group.begin_rows(&[at_ms], 1);
                let bytes = begun * size_of::<i64>() + group.open.put_counted(id, &sample);
                group.open_bytes += bytes;
                self.bytes += bytes;
            }
        }
        if let Some(group) = self.groups.get_mut(place as usize) {
            group.series = group.series.saturating_sub(to.len());
        }
    }
}

impl Group {
    /// Begins rows at these times, ascending, the first of which may be the last row that there is; as many as there is room for. Gives
    /// their numbers, and how many were begun.
    fn begin_rows(&mut self, times_ms: &[i64], series: usize) -> (Range<usize>, usize) {
        let joins = self.open.last_ms().is_some() && self.open.last_ms() == times_ms.first().copied();
        if !joins && (self.open.is_full() || self.open.width() > OPEN_COLUMNS || self.open_bytes > OPEN_BYTES) {
            self.sealed.push(std::mem::take(&mut self.open));
            self.open_bytes = 0;
        }
        let first = self.open.len() - usize::from(joins);
        let room = full_rows(self.open.width().max(series)).saturating_sub(first).max(1);
        times_ms.iter().take(room).skip(usize::from(joins)).for_each(|at_ms| self.open.begin(*at_ms));
        (first..self.open.len(), self.open.len() - first - usize::from(joins))
    }
}

/// Blocks of a device as slices in the order of time; of one time, in the order of the blocks.
fn slices<'a>(blocks: impl Iterator<Item = &'a Block>) -> Vec<Slice<'a>> {
    let blocks: Vec<&Block> = blocks.collect();
    let ascending = |block: &&Block| block.times_ms().is_sorted_by(|a, b| a < b);
    let after = |pair: &[&Block]| matches!(pair, [a, b] if a.times_ms().last() < b.times_ms().first());
    if blocks.iter().all(ascending) && blocks.windows(2).all(after) {
        return blocks.into_iter().map(|block| (block, 0..block.times_ms().len())).collect();
    }
    let ticks = blocks
        .iter()
        .enumerate()
        .flat_map(|(number, block)| block.times_ms().iter().enumerate().map(move |(tick, at_ms)| (*at_ms, number, tick)));
    let mut ticks: Vec<(i64, usize, usize)> = ticks.collect();
    ticks.sort_unstable();
    let runs = ticks.chunk_by(|a, b| a.0 < b.0 && a.1 == b.1 && a.2 + 1 == b.2);
    runs.filter_map(|run| {
        let (_, number, tick) = run.first()?;
        Some((*blocks.get(*number)?, *tick..tick + run.len()))
    })
    .collect()
}

/// Whether all values are of one representation, and short.
fn is_uniform(samples: &[Sample]) -> bool {
    let mut values = samples.iter().filter_map(Sample::value);
    match values.next() {
        None => true,
        Some(Value::Decimal(first)) => values.all(|value| matches!(value, Value::Decimal(d) if d.exponent == first.exponent)),
        Some(first @ Value::Text(_)) => is_short_text(first) && values.all(|value| matches!(value, Value::Text(_)) && is_short_text(value)),
        Some(first) => values.all(|value| discriminant(value) == discriminant(first)),
    }
}

fn is_short(sample: &Sample) -> bool {
    sample.value().is_none_or(is_short_text)
}

fn is_short_text(value: &Value) -> bool {
    !matches!(value, Value::Text(text) if text.len() > MAX_ROW_TEXT_BYTES)
}
