//! Cuts the power of a recorded life: at each moment, what the disk may hold and what had been promised.
//!
//! Does not know what lives there; a test gives the program and the judge.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::image::{Disk, Survives};
use super::log::{self, Op};
use super::rules::Rules;
use crate::root;

/// All that a program did to a folder.
pub struct Recording {
    begin: Disk,
    ops: Vec<Op>,
}

/// A moment at which power is cut: after so many operations of the recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment(usize);

/// What is left at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// See [`Survives::Nothing`].
    Nothing,
    /// See [`Survives::Everything`].
    Everything,
    /// See [`Survives::Some`], by this seed.
    Some(u64),
}

impl Left {
    fn survives(self) -> Survives {
        match self {
            Self::Nothing => Survives::Nothing,
            Self::Everything => Survives::Everything,
            Self::Some(seed) => Survives::Some(fastrand::Rng::with_seed(seed)),
        }
    }
}

impl Recording {
    /// Runs a program to its end, under rules, and makes sure that the log tells all that it did below `folder`.
    ///
    /// # Errors
    /// The program fails, or did what the log does not tell.
    pub fn of(command: &mut Command, folder: &Path, rules: Option<&Rules>) -> Result<Self> {
        let place = super::scratch()?;
        let log = place.path().join("log");
        let begin = Disk::read(folder)?;
        super::watch(command, folder, Some(&log), rules.map(Rules::path))?;
        let output = command.output().with_context(|| format!("{command:?}"))?;
        ensure!(output.status.success(), "{command:?}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr));
        let ops = log::read(&log)?;
        let mut model = begin.clone();
        ops.iter().try_for_each(|op| model.apply(op))?;
        Disk::read(folder)?.write(&mut Survives::Everything, &place.path().join("real"))?;
        model.write(&mut Survives::Everything, &place.path().join("model"))?;
        let diff = Command::new("diff").args(["-r", "real", "model"]).current_dir(place.path()).output()?;
        ensure!(diff.status.success(), "the log does not tell all: {}", String::from_utf8_lossy(&diff.stdout));
        Ok(Self { begin, ops })
    }

    /// How many operations touched the disk: writes and syncs, names made, changed and removed.
    #[must_use]
    pub fn operations(&self) -> usize {
        self.ops.iter().filter(|op| op.touches_disk()).count()
    }

    /// Every moment at which a power cut can make a difference: before the first operation and after each.
    #[must_use]
    pub fn moments(&self) -> Vec<Moment> {
        // What was printed before the next operation had been promised.
        let ends = self.ops.iter().enumerate().filter(|(_, op)| op.touches_disk()).map(|(index, _)| Moment(index));
        ends.chain([Moment(self.ops.len())]).collect()
    }

    /// Goes through moments, which must be in order: `judge` is given the disk and the lines that were printed up to then.
    ///
    /// # Errors
    /// The first that `judge` has.
    pub fn at(&self, moments: &[Moment], mut judge: impl FnMut(Moment, &Disk, &str) -> Result<()>) -> Result<()> {
        let (mut disk, mut lines, mut done) = (self.begin.clone(), String::new(), 0);
        for moment in moments {
            for op in self.ops.get(done..moment.0).unwrap_or_default() {
                disk.apply(op)?;
                if let Op::Mark(line) = op {
                    lines.push_str(line);
                }
            }
            done = moment.0;
            judge(*moment, &disk, &lines)?;
        }
        Ok(())
    }
}

/// A part of the moments by chance, always with the last; all of them if so many are wanted.
#[must_use]
pub fn some(moments: Vec<Moment>, wanted: usize, rng: &mut fastrand::Rng) -> Vec<Moment> {
    let (all, last) = (moments.len(), moments.last().copied());
    let mut some: Vec<Moment> = moments.into_iter().filter(|_| rng.usize(..all) < wanted).collect();
    some.extend(last.filter(|last| some.last() != Some(last)));
    some
}

/// Writes what is left at a moment into a folder, which is emptied first, and has it judged. What fails is kept, with a message that
/// says where.
///
/// # Errors
/// What `judge` has.
pub fn judged<T>(disk: &Disk, left: Left, folder: &Path, judge: impl FnOnce() -> Result<T>) -> Result<T> {
    empty(folder)?;
    disk.write(&mut left.survives(), folder)?;
    judge().or_else(|why| {
        let kept = failed()?;
        disk.write(&mut left.survives(), &kept)?;
        bail!("{why:#}\nthe disk as it was left ({left:?}): {}", kept.display())
    })
}

fn empty(folder: &Path) -> Result<()> {
    if folder.exists() {
        std::fs::remove_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    Ok(std::fs::create_dir_all(folder)?)
}

/// A new folder for what a person will want to look at.
fn failed() -> Result<PathBuf> {
    let parent = root().join("target/test-tools/failed");
    std::fs::create_dir_all(&parent)?;
    Ok(tempfile::Builder::new().prefix("disk-").tempdir_in(parent)?.keep())
}
