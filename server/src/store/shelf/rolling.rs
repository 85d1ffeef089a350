//! Makes rollups of days that have come to rest, in the background, a day at a time, and those of a day whose readings are about to go.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::list::{Parts, Shelved};
use super::merging::{Listed, Quiet, Step, is_quiet};
use super::rolled::{RollName, Rolled, Standing};
use super::{Folder, Shelf, ShelfError, Sink, lock, refused};
use crate::store::SeriesId;
use crate::store::part::{Fold, Part, PartError, Source, coarser};
use crate::store::rollup::{LEVELS, Level, Rollup, Writer, span_of};

/// Which rollups are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// From this time on, ms since 1970, by [`Level::place`].
    pub from_ms: [i64; 4],
    /// Readings that a step stands for at least, or it is made only when they go.
    pub worth: u64,
}

impl Kept {
    /// A step of fewer readings would take as much of the disk as they do, and reading them is not much longer.
    pub const WORTH: u64 = 30;

    pub(super) fn is_kept(&self, level: Level, first_ms: i64) -> bool {
        self.from_ms.get(level.place()).is_some_and(|from_ms| first_ms >= *from_ms)
    }
}

/// Steps that are in memory at once while rollups are made, about 16 MiB.
const MAX_FOLDS: i64 = 1 << 17;
/// Bytes that are written at once.
const WRITE_BYTES: usize = 256 << 10;

/// What is known between two steps.
#[derive(Debug, Default)]
pub(super) struct Rolling {
    quiet: Quiet,
    /// Parts of which there is nothing more to make, by their id.
    done: BTreeSet<u64>,
}

/// A rollup that is being written.
struct Out<S> {
    name: RollName,
    sink: S,
    writer: Writer,
    bytes: Vec<u8>,
}

type Made<F> = Vec<Arc<Rolled<<F as Folder>::Source>>>;

impl<F: Folder> Shelf<F> {
    /// Makes the rollups of one day that is over and at rest, as far as they are kept and worth it; none if there is nothing to do for now.
    /// One that cannot be read is set aside. `now_ms` is UTC, ms since 1970.
    ///
    /// # Errors
    /// The disk refuses; all is as it was.
    pub fn roll_step(&self, now_ms: i64, kept: &Kept) -> Result<Option<Step>, ShelfError> {
        let mut upkeep = lock(&self.maintenance);
        self.sweep()?;
        let parts = self.parts();
        if let Some(broken) = parts.rolled.values().flatten().flatten().find(|rolled| rolled.is_broken()) {
            let day = broken.name.of.day;
            for part in parts.days.get(&day).into_iter().flat_map(|parts| parts.iter()) {
                upkeep.rolling.done.remove(&part.id);
            }
            return self.set_rollup_aside(broken).map(|()| Some(Step { parts: 1, readings: 0, bytes: 0 }));
        }
        let rolling = &mut upkeep.rolling;
        rolling.quiet.retain(|day, _| parts.days.contains_key(day));
        for (day, partition) in &parts.days {
            let [one] = &**partition else { continue };
            let over = span_of(*day).is_some_and(|(_, end_ms)| end_ms <= now_ms);
            if !over || rolling.done.contains(&one.id) || !is_quiet(&mut rolling.quiet, *day, partition, now_ms) {
                continue;
            }
            let made = match self.part(one)? {
                Some(part) if !parts.is_alone(*day) => {
                    let levels =
                        missing(&parts, one, kept).into_iter().filter(|level| is_worth(&part, *level, kept.worth)).collect::<Vec<_>>();
                    self.roll(one, &part, &levels, false)?
                }
                _ => Vec::new(),
            };
            rolling.quiet.remove(day);
            rolling.done.insert(one.id);
            rolling.done.retain(|id| parts.all().any(|part| part.id == *id));
            if !made.is_empty() {
                let bytes = made.iter().map(|rolled| rolled.bytes).sum();
                return Ok(Some(Step { parts: made.len(), readings: one.readings, bytes }));
            }
        }
        Ok(None)
    }

    /// Merges and rolls up all that is over at this time, as if it had rested long enough.
    ///
    /// # Errors
    /// The disk refuses; some of it may be done.
    pub fn tidy(&self, now_ms: i64, kept: &Kept) -> Result<(), ShelfError> {
        {
            let mut upkeep = lock(&self.maintenance);
            for (day, partition) in &self.parts().days {
                let rested = (partition.last().map_or(0, |part| part.name.last), i64::MIN);
                upkeep.merging.insert(*day, rested);
                upkeep.rolling.quiet.insert(*day, rested);
            }
        }
        while self.merge_step(now_ms)?.is_some() || self.roll_step(now_ms, kept)?.is_some() {}
        Ok(())
    }

    /// Makes rollups of a part, which is all that its day has, in place of older ones. Where something of it is damaged, nothing is made unless
    /// `last_chance`: the part may be restored from a backup. Then it is about to go, and a copy of it is kept aside.
    pub(super) fn roll(&self, one: &Listed<F>, part: &Part<F::Source>, levels: &[Level], last_chance: bool) -> Result<Made<F>, ShelfError> {
        let made = match levels {
            [] => Vec::new(),
            _ => {
                let Some(made) = self.written(one, part, levels, last_chance)? else { return Ok(Vec::new()) };
                self.folder.sync().inspect_err(|_| made.iter().for_each(|rolled| self.discard_rollup(rolled)))?;
                made
            }
        };
        let old = self.parts();
        let stale: Vec<_> =
            old.rolls(one.name.day).filter(|(_, standing)| *standing == Standing::Stale).map(|(rolled, _)| rolled.clone()).collect();
        stale.iter().for_each(|rolled| drop(self.pin_rollup(rolled)));
        self.change(|parts| {
            stale.iter().for_each(|rolled| parts.take_rolled(rolled));
            made.iter().for_each(|rolled| parts.put_rolled(rolled.clone()));
        });
        stale.iter().for_each(|rolled| self.discard_rollup(rolled));
        Ok(made)
    }

    /// Writes them; on an error none is left, as far as the disk lets.
    fn written(&self, one: &Listed<F>, part: &Part<F::Source>, levels: &[Level], last_chance: bool) -> Result<Option<Made<F>>, ShelfError> {
        let names: Vec<RollName> = levels.iter().map(|level| RollName { of: one.name, level: *level }).collect();
        let made = self
            .fill(one, part, &names, last_chance)
            .and_then(|filled| filled.then(|| names.iter().map(|name| self.finished(*name)).collect::<Result<Made<F>, _>>()).transpose());
        if !matches!(made, Ok(Some(_))) {
            for name in names {
                self.discard(&name.temporary());
                self.discard(&name.to_string());
            }
        }
        made
    }

    /// Writes them under temporary names; false where the part is damaged.
    fn fill(&self, one: &Listed<F>, part: &Part<F::Source>, names: &[RollName], last_chance: bool) -> Result<bool, ShelfError> {
        let file = one.name.to_string();
        let mut outs = Vec::new();
        for name in names {
            let (sink, mut bytes) = (self.folder.create(&name.temporary())?, Vec::new());
            let writer = Writer::new(name.of.day, name.level, &mut bytes);
            outs.push(Out { name: *name, sink, writer, bytes });
        }
        let Some(finest) = names.first().map(|name| name.level.step_ms()) else { return Ok(true) };
        let series: Vec<SeriesId> = part.series().collect();
        let at_once = usize::try_from(MAX_FOLDS / (Level::Day.step_ms() / finest)).unwrap_or(1);
        for batch in series.chunks(at_once) {
            let mut lost = Vec::new();
            let folds = part.folds(batch, finest, &mut lost).map_err(|e| refused(&file, &e))?;
            if last_chance {
                let lost = self.kept(lost.into_iter().map(|error| (one.clone(), error)))?;
                lost.into_iter().for_each(|(part, error, place)| self.tell(&part, error, &place));
            } else if !lost.is_empty() {
                lost.into_iter().for_each(|error| self.tell(one, error, ""));
                return Ok(false);
            }
            for (id, folds) in folds {
                write_series(&mut outs, id, folds).map_err(|e| refused("a rollup", &e))?;
            }
            outs.iter_mut().try_for_each(|out| out.append(WRITE_BYTES))?;
        }
        for mut out in outs {
            let writer = std::mem::replace(&mut out.writer, Writer::new(0, Level::Day, &mut Vec::new()));
            writer.finish(&mut out.bytes).map_err(|e| refused(&out.name.to_string(), &e))?;
            out.append(0)?;
            out.sink.sync()?;
        }
        Ok(true)
    }

    /// Opens what was written, and gives it its name.
    fn finished(&self, name: RollName) -> Result<Arc<Rolled<F::Source>>, ShelfError> {
        let temporary = name.temporary();
        let source = self.folder.open(&temporary)?;
        let bytes = source.bytes().map_err(|e| refused(&temporary, &e))?;
        let rollup = Rollup::open(source).map_err(|e| refused(&temporary, &e))?;
        self.folder.rename(&temporary, &name.to_string())?;
        let rolled = Arc::new(Rolled::new(self.id(), name, bytes));
        lock(&self.rollups).put(rolled.id, &Arc::new(rollup));
        Ok(rolled)
    }

    /// The rollup, open. None if it is damaged: that is told, and readers go on without it.
    pub(super) fn rollup(&self, rolled: &Rolled<F::Source>) -> Result<Option<Arc<Rollup<F::Source>>>, ShelfError> {
        if rolled.is_broken() {
            return Ok(None);
        }
        let open = rolled.pinned.get().cloned().or_else(|| lock(&self.rollups).get(rolled.id));
        if open.is_some() {
            return Ok(open);
        }
        let file = rolled.name.to_string();
        let source = match self.folder.open(&file) {
            Ok(source) => source,
            // It went meanwhile, and then it was pinned before.
            Err(e) => return rolled.pinned.get().cloned().map(Some).ok_or(e),
        };
        match Rollup::open(source) {
            Ok(rollup) => {
                let rollup = Arc::new(rollup);
                lock(&self.rollups).put(rolled.id, &rollup);
                Ok(Some(rollup))
            }
            Err(e) => self.rollup_borne(rolled, Err(e)),
        }
    }

    /// Tells damage, and uses that rollup no more.
    pub(super) fn rollup_borne<T>(&self, rolled: &Rolled<F::Source>, read: Result<T, PartError>) -> Result<Option<T>, ShelfError> {
        match read {
            Ok(value) => Ok(Some(value)),
            Err(error @ (PartError::Torn(_) | PartError::Damaged { .. })) => {
                rolled.set_broken();
                self.tell_of(rolled.id, rolled.name.to_string(), error, "");
                Ok(None)
            }
            Err(e) => Err(refused(&rolled.name.to_string(), &e)),
        }
    }

    /// Whoever reads it at the moment goes on with the open file.
    pub(super) fn pin_rollup(&self, rolled: &Rolled<F::Source>) -> Result<(), ShelfError> {
        if let Some(rollup) = self.rollup(rolled)? {
            let _ = rolled.pinned.set(rollup);
        }
        Ok(())
    }

    pub(super) fn discard_rollup(&self, rolled: &Rolled<F::Source>) {
        lock(&self.rollups).remove(rolled.id);
        self.discard(&rolled.name.to_string());
    }

    /// Moves a rollup away that cannot be read.
    pub(super) fn set_rollup_aside(&self, rolled: &Arc<Rolled<F::Source>>) -> Result<(), ShelfError> {
        let file = rolled.name.to_string();
        let kept = self.folder.keep_damaged(&file)?;
        self.change(|parts| parts.take_rolled(rolled));
        self.discard_rollup(rolled);
        self.tell_of(rolled.id, file, PartError::Torn("it cannot be read as a whole"), &kept);
        self.folder.sync()
    }
}

/// Levels that are kept of the day of a part and are not there, the finest first.
pub(super) fn missing<S>(parts: &Parts<S>, one: &Shelved<S>, kept: &Kept) -> Vec<Level> {
    let Some((first_ms, _)) = span_of(one.name.day) else { return Vec::new() };
    let there =
        |level: Level| parts.rolls(one.name.day).any(|(rolled, standing)| rolled.name.level == level && standing == Standing::Current);
    LEVELS.into_iter().filter(|level| kept.is_kept(*level, first_ms) && !there(*level)).collect()
}

/// Whether a step stands for enough readings.
pub(super) fn is_worth<S: Source>(part: &Part<S>, level: Level, worth: u64) -> bool {
    let Some((first_ms, last_ms)) = part.times_ms() else { return false };
    let steps = (last_ms.saturating_sub(first_ms) / level.step_ms()).unsigned_abs() + 1;
    part.readings() >= worth.saturating_mul(steps).saturating_mul(part.series().count() as u64)
}

/// Each level is made of the one before.
fn write_series<S>(outs: &mut [Out<S>], id: SeriesId, mut folds: Vec<(i64, Fold)>) -> Result<(), PartError> {
    for (place, Out { name, writer, bytes, .. }) in outs.iter_mut().enumerate() {
        if place > 0 {
            folds = coarser(&folds, name.level.step_ms());
        }
        let rows: Vec<_> = folds.iter().map(|(start_ms, fold)| (*start_ms, fold.stats())).collect();
        writer.series(id, &rows, bytes)?;
    }
    Ok(())
}

impl<S: Sink> Out<S> {
    /// Writes what there is, if it is more than this.
    fn append(&mut self, than: usize) -> Result<(), ShelfError> {
        if self.bytes.len() > than {
            self.sink.append(&self.bytes)?;
            self.bytes.clear();
        }
        Ok(())
    }
}
