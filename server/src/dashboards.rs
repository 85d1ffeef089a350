//! Shell: the folder of dashboards. It is looked at again and again, so that a file that an editor, git or a script changed is shown
//! without a restart; a file that is wrong costs only itself. What the page saves is written whole, and only over what it had read.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use sha2::{Digest, Sha256};
use thiserror::Error;
use tokio::sync::watch;

use crate::clock;
use crate::dashboard::{Dashboard, MAX_FILE_BYTES, Problem, is_name};
use crate::folder;

/// Most dashboards.
pub const MAX_DASHBOARDS: usize = 200;
/// Most entries of the folder that are looked at, other files among them.
const MAX_ENTRIES: usize = 2000;
/// How often the folder is looked at.
pub const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A file that was changed so shortly before it was read may change again without another time of change.
const SETTLED_MS: i64 = 2000;
const ENDING: &str = ".yaml";

/// A file of the folder.
#[derive(Debug)]
pub struct File {
    /// Its name without ending.
    pub name: String,
    /// What it holds; empty where that cannot be read.
    pub text: String,
    /// Changes with the text.
    pub tag: String,
    /// What that means, or what is wrong with it.
    pub dashboard: Result<Dashboard, Problem>,
    stamp: Option<Stamp>,
}

/// Tells one state of a file from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    bytes: u64,
    changed_ms: i64,
}

/// What the writer thinks is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// A file with this tag.
    Tag(String),
    /// None.
    Nothing,
}

/// Why a file was not written.
#[derive(Debug, Error)]
pub enum WriteError {
    /// It is another one than the writer thinks.
    #[error("dashboard {0} was changed meanwhile; load it again, then save")]
    Changed(String),
    /// There is none.
    #[error("there is no dashboard {0}")]
    Missing(String),
    /// Not a name of a dashboard.
    #[error("found the name {0:?}, expected 1 to 63 of a-z, 0-9, - and _, beginning with a letter or digit")]
    Name(String),
    /// The text is wrong.
    #[error("{0}")]
    Wrong(Problem),
    /// One more than there may be.
    #[error("there are {MAX_DASHBOARDS} dashboards, which is the most; delete one first")]
    Full,
    /// The disk refused.
    #[error("{}: {error}", path.display())]
    Io {
        /// File or folder.
        path: PathBuf,
        /// What it said.
        error: io::Error,
    },
}

/// The folder and what is known of it.
#[derive(Debug)]
pub struct Dashboards {
    folder: PathBuf,
    known: RwLock<Known>,
    /// Held by who looks or writes: both go from disk to `known`, and must not overtake each other.
    turn: Mutex<()>,
}

#[derive(Debug, Default, Clone)]
struct Known {
    files: BTreeMap<String, Arc<File>>,
    /// Why the folder cannot be read, or not all of it.
    trouble: Option<String>,
}

impl Dashboards {
    /// Of this folder, which need not be there. Looks at nothing yet.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, known: RwLock::default(), turn: Mutex::default() }
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// All files by name, and what is wrong with the folder itself.
    #[must_use]
    pub fn all(&self) -> (Vec<Arc<File>>, Option<String>) {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        (known.files.values().cloned().collect(), known.trouble.clone())
    }

    /// The file of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Arc<File>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).files.get(name).cloned()
    }

    /// Looks at the folder again and again until `stopped`.
    pub async fn watch(self: Arc<Self>, mut stopped: watch::Receiver<bool>) {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = stopped.wait_for(|stop| *stop) => return,
                _ = ticks.tick() => {}
            }
            let this = self.clone();
            if let Err(e) = tokio::task::spawn_blocking(move || this.look()).await {
                tracing::error!("BUG: looking at the dashboards: {e}");
            }
        }
    }

    /// Looks at the folder once, and says in the log what is newly wrong. Blocks.
    pub fn look(&self) {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        self.look_in_turn();
    }

    fn look_in_turn(&self) {
        let before = self.known.read().unwrap_or_else(PoisonError::into_inner).clone();
        let now_ms = clock::now_ms();
        let mut known = Known::default();
        match self.names() {
            Ok((names, trouble)) => {
                known.trouble = trouble;
                for name in names {
                    let old = before.files.get(&name);
                    known.files.insert(name.clone(), self.read(&name, old, now_ms));
                }
            }
            Err(e) => {
                known = Known { trouble: Some(format!("dashboards in {} cannot be read: {e}", self.folder.display())), ..before.clone() }
            }
        }
        if known.trouble != before.trouble
            && let Some(trouble) = &known.trouble
        {
            tracing::warn!("{trouble}");
        }
        for (name, file) in &known.files {
            let old = before.files.get(name).and_then(|old| old.dashboard.as_ref().err());
            if let Err(problem) = &file.dashboard
                && old != Some(problem)
            {
                tracing::warn!("{}:{problem}", self.path(name).display());
            }
        }
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = known;
    }

    /// Names without ending, in order.
    fn names(&self) -> io::Result<(Vec<String>, Option<String>)> {
        let entries = match fs::read_dir(&self.folder) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok((Vec::new(), None)),
            entries => entries?,
        };
        let mut names = Vec::new();
        let mut trouble = None;
        for (n, entry) in entries.enumerate() {
            if n == MAX_ENTRIES {
                trouble = Some(format!("{} has more than {MAX_ENTRIES} entries; only some are looked at", self.folder.display()));
                break;
            }
            let name = entry?.file_name();
            // Editors keep files of their own beside those that they edit.
            let Some(name) = name.to_str().and_then(|name| name.strip_suffix(ENDING)).filter(|name| !name.starts_with('.')) else {
                continue;
            };
            if is_name(name) {
                names.push(name.to_owned());
            } else {
                let wrong = WriteError::Name(name.chars().take(100).collect());
                trouble = trouble.or(Some(format!("{}/{}{ENDING}: {wrong}", self.folder.display(), name.escape_debug())));
            }
        }
        names.sort_unstable();
        if names.len() > MAX_DASHBOARDS {
            let folder = self.folder.display();
            trouble = Some(format!("{folder} has {} dashboards, at most {MAX_DASHBOARDS} are shown", names.len()));
            names.truncate(MAX_DASHBOARDS);
        }
        Ok((names, trouble))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}{ENDING}"))
    }

    fn read(&self, name: &str, old: Option<&Arc<File>>, now_ms: i64) -> Arc<File> {
        let path = self.path(name);
        let stamp =
            fs::metadata(&path).ok().map(|meta| Stamp::of(&meta)).filter(|stamp| stamp.changed_ms.saturating_add(SETTLED_MS) < now_ms);
        if let Some(old) = old.filter(|old| stamp.is_some() && old.stamp == stamp) {
            return old.clone();
        }
        let read = folder::read_text(&path, MAX_FILE_BYTES);
        if let (Some(old), Ok(text)) = (old, &read)
            && old.text == *text
            && old.stamp == stamp
        {
            return old.clone();
        }
        Arc::new(File::of(name, read, stamp))
    }

    /// Writes a text, if what is there is what the writer expects. Blocks.
    ///
    /// # Errors
    /// Nothing was written.
    pub fn write(&self, name: &str, text: &str, expected: &Expected) -> Result<Arc<File>, WriteError> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let there = self.check(name, expected)?;
        Dashboard::parse(text).map_err(WriteError::Wrong)?;
        if !there && self.names().map_err(|error| self.failed(error))?.0.len() >= MAX_DASHBOARDS {
            return Err(WriteError::Full);
        }
        let path = self.path(name);
        folder::make(&self.folder)
            .and_then(|()| folder::replace(&path, text.as_bytes()))
            .map_err(|error| WriteError::Io { path, error })?;
        self.look_in_turn();
        self.get(name).ok_or_else(|| WriteError::Changed(name.to_owned()))
    }

    /// Deletes a file, if it is what the writer expects. Blocks.
    ///
    /// # Errors
    /// It is there still.
    pub fn delete(&self, name: &str, tag: &str) -> Result<(), WriteError> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        self.check(name, &Expected::Tag(tag.to_owned()))?;
        let path = self.path(name);
        fs::remove_file(&path).and_then(|()| fs::File::open(&self.folder)?.sync_all()).map_err(|error| WriteError::Io { path, error })?;
        self.look_in_turn();
        Ok(())
    }

    /// Whether there is such a file, which is the one expected: as it is on disk now, not as it was last looked at.
    fn check(&self, name: &str, expected: &Expected) -> Result<bool, WriteError> {
        if !is_name(name) {
            return Err(WriteError::Name(name.chars().take(100).collect()));
        }
        let path = self.path(name);
        let there = match folder::read_text(&path, MAX_FILE_BYTES) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            read => Some(File::of(name, read, None).tag),
        };
        match (there, expected) {
            (None, Expected::Nothing) => Ok(false),
            (None, Expected::Tag(_)) => Err(WriteError::Missing(name.to_owned())),
            (Some(tag), Expected::Tag(wanted)) if tag == *wanted => Ok(true),
            (Some(_), _) => Err(WriteError::Changed(name.to_owned())),
        }
    }

    fn failed(&self, error: io::Error) -> WriteError {
        WriteError::Io { path: self.folder.clone(), error }
    }
}

impl Stamp {
    fn of(meta: &Metadata) -> Self {
        let changed_ms = meta.mtime().saturating_mul(1000).saturating_add(meta.mtime_nsec() / 1_000_000);
        Self { inode: meta.ino(), bytes: meta.len(), changed_ms }
    }
}

impl File {
    fn of(name: &str, read: io::Result<String>, stamp: Option<Stamp>) -> Self {
        let problem = |e: io::Error| Problem { line: 1, column: 1, message: format!("cannot be read: {e}") };
        let (text, dashboard) = match read {
            Ok(text) => {
                let dashboard = Dashboard::parse(&text);
                (text, dashboard)
            }
            Err(e) => (String::new(), Err(problem(e))),
        };
        Self { name: name.to_owned(), tag: tag(&text), text, dashboard, stamp }
    }
}

/// The first half of a hash: nobody wants to make two texts of one tag.
fn tag(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "version: 1\ntitle: One\npanels: []\n";
    const WRONG: &str = "version: 1\ntitle: One\npanles: []\n";

    fn folder() -> (tempfile::TempDir, Dashboards) {
        let root = tempfile::tempdir().unwrap();
        let dashboards = Dashboards::new(root.path().join("dashboards"));
        (root, dashboards)
    }

    fn titles(dashboards: &Dashboards) -> Vec<Result<String, String>> {
        dashboards.look();
        let of = |file: &Arc<File>| file.dashboard.as_ref().map(|d| d.title.clone()).map_err(ToString::to_string);
        dashboards.all().0.iter().map(of).collect()
    }

    #[test]
    fn a_file_that_changes_is_read_again_and_a_wrong_one_costs_only_itself() {
        let (_root, dashboards) = folder();
        assert!(titles(&dashboards).is_empty() && dashboards.all().1.is_none(), "no folder is no trouble");
        let path = |name: &str| dashboards.folder().join(name);
        fs::create_dir(dashboards.folder()).unwrap();
        fs::write(path("a.yaml"), ONE).unwrap();
        fs::write(path("b.yaml"), ONE).unwrap();
        for other in ["b.yaml.half", ".b.yaml", "b.yml", "notes.txt"] {
            fs::write(path(other), "x").unwrap();
        }
        assert_eq!(titles(&dashboards), [Ok("One".into()), Ok("One".into())]);
        // The same length, at the same time of change.
        fs::write(path("a.yaml"), ONE.replace("One", "Two")).unwrap();
        assert_eq!(titles(&dashboards), [Ok("Two".into()), Ok("One".into())]);
        fs::write(path("a.yaml"), WRONG).unwrap();
        let found = titles(&dashboards);
        assert!(found[0].as_ref().is_err_and(|e| e.starts_with("3:1: found key `panles`")) && found[1].is_ok(), "{found:?}");
        fs::remove_file(path("a.yaml")).unwrap();
        fs::write(path("b.yaml"), [0xff, 0xfe]).unwrap();
        fs::create_dir(path("c.yaml")).unwrap();
        fs::write(path("Big Board.yaml"), ONE).unwrap();
        let found = titles(&dashboards);
        assert!(found.len() == 2 && found.iter().all(|f| f.as_ref().is_err_and(|e| e.contains("cannot be read"))), "{found:?}");
        assert!(dashboards.all().1.unwrap().contains("Big Board"));
    }

    #[test]
    fn a_file_is_written_only_over_what_its_writer_had_read() {
        let (_root, dashboards) = folder();
        let path = dashboards.folder().join("a.yaml");
        let nothing = Expected::Nothing;
        let tag = dashboards.write("a", ONE, &nothing).unwrap().tag.clone();
        assert!(matches!(dashboards.write("a", ONE, &nothing), Err(WriteError::Changed(_))));
        let two = ONE.replace("One", "Two");
        let next = dashboards.write("a", &two, &Expected::Tag(tag.clone())).unwrap().tag.clone();
        assert!(next != tag && fs::read_to_string(&path).unwrap() == two);
        assert!(matches!(dashboards.write("a", ONE, &Expected::Tag(tag.clone())), Err(WriteError::Changed(_))));
        assert!(matches!(dashboards.write("b", ONE, &Expected::Tag(tag)), Err(WriteError::Missing(_))));
        // Somebody's editor was faster than the next look.
        fs::write(&path, ONE.replace("One", "Six")).unwrap();
        assert!(matches!(dashboards.write("a", &two, &Expected::Tag(next.clone())), Err(WriteError::Changed(_))));
        assert!(matches!(dashboards.delete("a", &next), Err(WriteError::Changed(_))));
        assert!(fs::read_to_string(&path).unwrap().contains("Six"));
        assert!(matches!(dashboards.write("b", WRONG, &nothing), Err(WriteError::Wrong(p)) if p.line == 3));
        for name in ["../a", "a/b", "", "A", ".a"] {
            assert!(matches!(dashboards.write(name, ONE, &nothing), Err(WriteError::Name(_))), "{name}");
        }
        dashboards.look();
        dashboards.delete("a", &dashboards.get("a").unwrap().tag).unwrap();
        assert_eq!(fs::read_dir(dashboards.folder()).unwrap().count(), 0);
    }

    #[test]
    fn there_is_a_most() {
        let (_root, dashboards) = folder();
        fs::create_dir(dashboards.folder()).unwrap();
        for n in 0..=MAX_DASHBOARDS {
            fs::write(dashboards.folder().join(format!("d{n:04}.yaml")), ONE).unwrap();
        }
        assert_eq!(titles(&dashboards).len(), MAX_DASHBOARDS);
        assert!(dashboards.all().1.unwrap().contains("at most 200"));
        assert!(matches!(dashboards.write("one-more", ONE, &Expected::Nothing), Err(WriteError::Full)));
    }
}
