//! Shell: reads all that a store has, from a snapshot, and says what of it cannot be read.

use std::collections::HashSet;
use std::path::Path;

use serde::Serialize;

use super::super::log::{self, content, files::Files as Segments};
use super::super::shelf::{self, Folder as _, files::Files as Parts};
use super::super::{SeriesId, StoreError};
use super::ledger::Ledger;
use super::{log_error, shelf_error};

/// What is wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Damage {
    /// Its name in the data folder.
    pub file: String,
    /// What was found.
    pub what: String,
    /// How much of it can still be read: readings of a part, commits of the log.
    pub kept: u64,
}

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// Series of ledger and log.
    pub series: usize,
    /// Parts.
    pub parts: usize,
    /// Readings in them; one that is in several parts counts in each.
    pub readings: u64,
    /// Commits of the log.
    pub commits: u64,
    /// Readings of commits that are in no part yet.
    pub readings_in_log: u64,
    /// Files that were set aside earlier, because they could not be read then.
    pub set_aside: Vec<String>,
    /// What cannot be read.
    pub damage: Vec<Damage>,
}

/// Reads it all; `tell` is told of each file.
///
/// # Errors
/// The disk refuses, or something is of a newer program.
pub fn check(folder: &Path, ledger: &str, tell: &mut dyn FnMut(&str)) -> Result<Checked, StoreError> {
    let mut checked = Checked::default();
    tell(ledger);
    let mut series = HashSet::new();
    let covered = match Ledger::check(&folder.join(ledger)) {
        Ok((loaded, covered)) => {
            series.extend(loaded.series.iter().map(|entry| entry.id));
            Some(covered)
        }
        Err(StoreError::Damaged { what, .. }) => {
            checked.damage.push(Damage { file: ledger.to_owned(), what, kept: 0 });
            None
        }
        Err(e) => return Err(e),
    };
    check_log(&folder.join("log"), covered, (&mut checked, &mut series), tell)?;
    checked.series = series.len();
    check_parts(&folder.join("parts"), &mut checked, tell)?;
    Ok(checked)
}

fn check_log(
    folder: &Path,
    covered: Option<u64>,
    (checked, series): (&mut Checked, &mut HashSet<SeriesId>),
    tell: &mut dyn FnMut(&str),
) -> Result<(), StoreError> {
    tell("log");
    let mut unreadable = Vec::new();
    let mut first = None;
    let segments = Segments::open(folder).map_err(|e| log_error(folder, &e))?;
    let recovered = log::check(segments, &mut |number, bytes| {
        first.get_or_insert(number);
        match content::read(bytes) {
            Ok(commit) => {
                series.extend(commit.series.iter().map(|entry| entry.id));
                let only_there = covered.is_none_or(|covered| number > covered);
                checked.readings_in_log += if only_there { commit.readings.len() as u64 } else { 0 };
            }
            Err(what) => unreadable.push(format!("commit {number}: {what}")),
        }
    });
    let recovered = recovered.map_err(|e| log_error(folder, &e))?;
    checked.commits = recovered.records;
    let kept = recovered.records;
    let damage = recovered.damage.into_iter().map(|damage| {
        let (first, last) = damage.records;
        let what = format!("commits {first} to {last} cannot be read, at byte {}", damage.at);
        Damage { file: format!("log/{}", log::files::name(damage.segment)), what, kept }
    });
    checked.damage.extend(damage);
    checked.damage.extend(unreadable.into_iter().map(|what| Damage { file: "log".into(), what, kept }));
    if let (Some(covered), Some(first)) = (covered, first)
        && first > covered + 1
    {
        let what = format!("commits {} to {} are neither in it nor in parts", covered + 1, first - 1);
        checked.damage.push(Damage { file: "log".into(), what, kept });
    }
    let names = std::fs::read_dir(folder).and_then(Iterator::collect::<std::io::Result<Vec<_>>>);
    let names = names.map_err(|e| StoreError::Io { path: folder.display().to_string(), what: e.to_string() })?;
    let names = names.iter().filter_map(|entry| entry.file_name().into_string().ok());
    checked.set_aside.extend(names.filter(|name| name.ends_with(".damaged")).map(|name| format!("log/{name}")));
    Ok(())
}

fn check_parts(folder: &Path, checked: &mut Checked, tell: &mut dyn FnMut(&str)) -> Result<(), StoreError> {
    let failed = |e| shelf_error(folder, e);
    let parts = Parts::open(folder).map_err(failed)?;
    let mut names: Vec<String> = parts
        .list()
        .map_err(failed)?
        .into_iter()
        .map(|(name, _)| name)
        .filter(|name| name.ends_with(".part") || shelf::is_rollup(name))
        .collect();
    names.sort_unstable();
    for name in names {
        let file = format!("parts/{name}");
        tell(&file);
        let (readings, damage) = shelf::check_file(&parts, &name).map_err(failed)?;
        checked.parts += usize::from(!shelf::is_rollup(&name));
        checked.readings += readings;
        checked.damage.extend(damage.into_iter().map(|e| Damage { file: file.clone(), what: e.to_string(), kept: readings }));
    }
    let aside = parts.list_damaged().map_err(failed)?;
    checked.set_aside.extend(aside.into_iter().map(|name| format!("parts/damaged/{name}")));
    Ok(())
}
