//! Shell: who did what, when, from where: one line of JSON each, appended and synced; the oldest of a few files goes.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, chown};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::broker::accounts::file::read;
use crate::broker::accounts::file::{FileError, lock};

/// A file that has grown beyond this is put aside, in bytes.
const MAX_BYTES: u64 = 4 << 20;
/// How many of those that were put aside are kept.
const KEPT: usize = 7;
/// Longest text of an entry, in characters: what others say of themselves is cut.
const MAX_TEXT: usize = 200;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Entry {
    /// When, ms since 1970.
    pub time: i64,
    /// The user, as `user` or `user/token id`; what was claimed where a login failed.
    pub who: String,
    /// Address, or `command line`.
    pub from: String,
    /// What was done: `login`, `user add`, or a method and a path.
    pub what: String,
    /// On whom or what.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub on: String,
    /// Whether it was done; a refusal is recorded as well.
    pub done: bool,
}

/// The log of one data folder.
#[derive(Debug, Clone)]
pub struct Audit(PathBuf);

impl Audit {
    /// That of this data folder.
    #[must_use]
    pub fn new(data: &Path) -> Self {
        Self(data.to_owned())
    }

    fn path(&self, age: usize) -> PathBuf {
        self.0.join(match age {
            0 => "audit.jsonl".into(),
            n => format!("audit.{n}.jsonl"),
        })
    }

    /// Appends a line, and waits until it is on stable storage.
    ///
    /// # Errors
    /// The disk refused.
    pub fn append(&self, mut entry: Entry) -> Result<(), FileError> {
        for text in [&mut entry.who, &mut entry.from, &mut entry.what, &mut entry.on] {
            *text = text.chars().take(MAX_TEXT).collect();
        }
        // The command line writes as well.
        let _order = lock(&self.0)?;
        let path = self.path(0);
        let write = || {
            if path.metadata().is_ok_and(|meta| meta.len() >= MAX_BYTES) {
                for age in (0..KEPT).rev() {
                    match std::fs::rename(self.path(age), self.path(age + 1)) {
                        Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
                        _ => {}
                    }
                }
            }
            let fresh = !path.exists();
            let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(&path)?;
            if fresh {
                let owner = self.0.metadata()?;
                let made = file.metadata()?;
                if (made.uid(), made.gid()) != (owner.uid(), owner.gid()) {
                    chown(&path, Some(owner.uid()), Some(owner.gid()))?;
                }
                File::open(&self.0)?.sync_all()?;
            }
            let line = format!("{}\n", serde_json::to_string(&entry).unwrap_or_default());
            // A line that a power cut tore costs itself only.
            let mut last = [b'\n'];
            if let Some(end) = file.metadata()?.len().checked_sub(1) {
                file.read_exact_at(&mut last, end)?;
            }
            let torn = last != [b'\n'];
            file.write_all(if torn { format!("\n{line}") } else { line }.as_bytes())?;
            file.sync_data()
        };
        write().map_err(|error| FileError::System { path: path.clone(), error })
    }

    /// The newest lines before a time, newest first.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn newest(&self, before_ms: i64, limit: usize) -> Result<Vec<Entry>, FileError> {
        let mut found = Vec::new();
        for age in 0..=KEPT {
            let most = usize::try_from(MAX_BYTES).unwrap_or(usize::MAX) * 2;
            let Some(text) = read(&self.path(age), most)? else { break };
            let entries = text.lines().rev().filter_map(|line| serde_json::from_str::<Entry>(line).ok());
            found.extend(entries.filter(|entry| entry.time < before_ms).take(limit - found.len()));
            if found.len() >= limit {
                break;
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(n: i64) -> Entry {
        Entry { time: n, who: "ann".into(), from: "10.0.0.1".into(), what: "login".into(), on: String::new(), done: n % 2 == 0 }
    }

    #[test]
    fn lines_are_read_newest_first_and_a_torn_one_costs_only_itself() {
        let folder = tempfile::tempdir().unwrap();
        let audit = Audit::new(folder.path());
        assert_eq!(audit.newest(i64::MAX, 10).unwrap(), []);
        (1..=3).for_each(|n| audit.append(entry(n)).unwrap());
        std::fs::OpenOptions::new().append(true).open(audit.path(0)).unwrap().write_all(b"{\"time\": 4, \"who").unwrap();
        audit.append(Entry { who: "x\ny".repeat(1000), ..entry(5) }).unwrap();
        let times = |found: Vec<Entry>| found.iter().map(|entry| entry.time).collect::<Vec<_>>();
        let all = audit.newest(i64::MAX, 10).unwrap();
        assert_eq!(all.first().unwrap().who.chars().count(), MAX_TEXT);
        assert_eq!(times(all), [5, 3, 2, 1]);
        assert_eq!(times(audit.newest(3, 1).unwrap()), [2]);
    }

    #[test]
    fn the_oldest_files_go() {
        let folder = tempfile::tempdir().unwrap();
        let audit = Audit::new(folder.path());
        let full = usize::try_from(MAX_BYTES).unwrap();
        for n in 0..=i64::try_from(KEPT).unwrap() + 2 {
            audit.append(entry(n)).unwrap();
            // As if there had been many more.
            let file = OpenOptions::new().append(true).open(audit.path(0)).unwrap();
            (&file).write_all(&[vec![b'x'; full], vec![b'\n']].concat()).unwrap();
        }
        let files = std::fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(files, KEPT + 1);
        let found = audit.newest(i64::MAX, 100).unwrap();
        assert_eq!(found.len(), KEPT + 1, "each of them is read");
        assert_eq!(found.first().map(|entry| entry.time), Some(i64::try_from(KEPT).unwrap() + 2));
    }
}
