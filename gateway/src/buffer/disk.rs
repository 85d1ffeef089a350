//! The store on disk: sled 0.34 with the care that it needs. A shell file: a leaf that does I/O.
//!
//! Inside the configured folder: `lock` (held while open), `store/` (sled), `ballast` (space to give up when the disk is full),
//! `head` (how far the numbers have come; losing it costs nothing), `store.corrupt-<time>/` (at most one, set aside).
//!
//! Measured before it was written: sled's flush is not durable without `sync_data` on its file, it never syncs values above about
//! 12 kB, its configuration file or its folder, it may panic on a damaged file, and it never gives space back.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Change, Notice, Pair, Store, StoreError, record};

/// Bytes of the reserve that is given up when the disk is full.
pub const BALLAST_BYTES: u64 = 8 << 20;

/// Bytes of sled's page cache.
const CACHE_BYTES: u64 = 8 << 20;

/// Size above which an empty store is rebuilt.
const COMPACT_BYTES: u64 = 32 << 20;

/// How often, and after which pause, an open is tried again while sled's threads of the store before still hold its lock.
const LOCK_TRIES: u32 = 50;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// Marks, inside sled's folder, that something was synced there.
const BEGUN: &str = "begun";

/// A sled store in a folder of ours.
pub struct Disk {
    folder: PathBuf,
    ballast_bytes: u64,
    /// Names what is set aside; the time of opening, ms since 1970.
    opened_ms: i64,
    open: Option<Open>,
    head: Option<File>,
    /// Held as long as this lives.
    _lock: File,
}

struct Open {
    db: sled::Db,
    /// A second handle of sled's file: what makes a flush durable.
    log: File,
    begun: bool,
}

impl Disk {
    /// Opens the store of a folder, which is made if it is not there.
    ///
    /// # Errors
    /// Another process has it, or the folder cannot be written.
    pub fn open(folder: &Path, ballast_bytes: u64, now_ms: i64) -> Result<(Self, Vec<Notice>), StoreError> {
        std::fs::create_dir_all(folder).map_err(|e| io_error(folder, &e))?;
        let lock = take_lock(folder)?;
        let mut disk = Self { folder: folder.to_owned(), ballast_bytes, opened_ms: now_ms, open: None, head: None, _lock: lock };
        disk.finish_swap()?;
        let mut notices = disk.reopen()?;
        sync_folder(folder)?;
        if let Some(parent) = folder.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            sync_folder(parent)?;
        }
        notices.extend(disk.make_ballast());
        Ok((disk, notices))
    }

    fn store_folder(&self) -> PathBuf {
        self.folder.join("store")
    }

    /// Completes a rebuild that a crash cut in two.
    fn finish_swap(&self) -> Result<(), StoreError> {
        let (store, new, old) = (self.store_folder(), self.folder.join("store.new"), self.folder.join("store.old"));
        if !store.exists() && new.exists() {
            std::fs::rename(&new, &store).map_err(|e| io_error(&new, &e))?;
        }
        for leftover in [new, old] {
            if leftover.exists() {
                std::fs::remove_dir_all(&leftover).map_err(|e| io_error(&leftover, &e))?;
            }
        }
        Ok(())
    }

    /// Opens sled; what it cannot open is set aside and a new store begun.
    fn reopen(&mut self) -> Result<Vec<Notice>, StoreError> {
        self.open = None;
        let mut notices = Vec::new();
        match open_with_care(&self.store_folder(), &mut notices) {
            Ok(open) => self.open = Some(open),
            Err(StoreError::Damaged(why)) => notices.push(self.set_aside(why)?),
            Err(error) => return Err(error),
        }
        Ok(notices)
    }

    fn set_aside(&mut self, why: String) -> Result<Notice, StoreError> {
        self.open = None;
        self.head = None;
        for entry in std::fs::read_dir(&self.folder).map_err(|e| io_error(&self.folder, &e))?.flatten() {
            if entry.file_name().to_string_lossy().starts_with("store.corrupt-") {
                std::fs::remove_dir_all(entry.path()).map_err(|e| io_error(&entry.path(), &e))?;
            }
        }
        let store = self.store_folder();
        let to = self.folder.join(format!("store.corrupt-{}", self.opened_ms));
        std::fs::rename(&store, &to).map_err(|e| io_error(&store, &e))?;
        remove_if_there(&self.folder.join("head"))?;
        self.open = Some(open_with_care(&store, &mut Vec::new())?);
        sync_folder(&self.folder)?;
        Ok(Notice::SetAside { to, why })
    }

    fn ballast(&self) -> PathBuf {
        self.folder.join("ballast")
    }

    /// Really writes the reserve, so that it really takes space.
    fn make_ballast(&self) -> Option<Notice> {
        let path = self.ballast();
        if path.metadata().is_ok_and(|meta| meta.len() == self.ballast_bytes) {
            return None;
        }
        let written = File::create(&path).and_then(|mut file| {
            let block = vec![0xa5; 1 << 16];
            let mut left = self.ballast_bytes;
            while left > 0 {
                let len = left.min(block.len() as u64);
                file.write_all(block.get(..len as usize).unwrap_or_default())?;
                left -= len;
            }
            file.sync_all()
        });
        written.err().map(|error| {
            let _ = std::fs::remove_file(&path);
            Notice::NoBallast(error.to_string())
        })
    }

    /// Bytes of sled's files.
    pub(super) fn size_on_disk(&mut self) -> Result<u64, StoreError> {
        self.run(|open| open.db.size_on_disk())
    }

    /// Runs an operation of sled; a panic in it means that its file is damaged.
    fn run<T>(&mut self, f: impl FnOnce(&mut Open) -> sled::Result<T>) -> Result<T, StoreError> {
        if self.open.is_none() {
            self.reopen()?;
        }
        let Some(open) = self.open.as_mut() else { return Err(StoreError::Io("the buffer is closed".into())) };
        catch_unwind(AssertUnwindSafe(|| f(open))).map_err(panicked)?.map_err(|e| sled_error(&e))
    }

    fn head_file(&mut self) -> io::Result<&File> {
        if self.head.is_none() {
            let path = self.folder.join("head");
            self.head = Some(OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?);
        }
        self.head.as_ref().ok_or_else(|| io::Error::other("not open"))
    }
}

impl Store for Disk {
    fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.run(|open| Ok(open.db.get(key)?.map(|value| value.to_vec())))
    }

    fn scan(&mut self, letter: u8) -> Result<Vec<Pair>, StoreError> {
        self.run(|open| open.db.scan_prefix([letter]).map(|pair| pair.map(|(k, v)| (k.to_vec(), v.to_vec()))).collect())
    }

    fn last(&mut self, letter: u8) -> Result<Option<Vec<u8>>, StoreError> {
        self.run(|open| Ok(open.db.scan_prefix([letter]).next_back().transpose()?.map(|(key, _)| key.to_vec())))
    }

    fn apply(&mut self, changes: &[Change]) -> Result<(), StoreError> {
        let mut batch = sled::Batch::default();
        for (key, value) in changes {
            match value {
                Some(value) => batch.insert(key.as_slice(), value.as_slice()),
                None => batch.remove(key.as_slice()),
            }
        }
        self.run(|open| open.db.apply_batch(batch))
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        let store = self.store_folder();
        self.run(|open| {
            open.db.flush()?;
            open.log.sync_data().map_err(sled::Error::Io)?;
            if !open.begun {
                File::create(store.join(BEGUN)).and_then(|file| file.sync_all()).map_err(sled::Error::Io)?;
                open.begun = true;
            }
            Ok(())
        })
    }

    fn begun(&mut self) -> bool {
        self.open.as_ref().is_some_and(|open| open.begun)
    }

    fn remember(&mut self, stream: u64, next: u64) {
        // Not synced and allowed to fail: it only ever adds to what the store itself says.
        let _ = self.head_file().and_then(|file| file.write_all_at(&record::sealed(&[stream, next]), 0));
    }

    fn remembered(&mut self) -> Option<(u64, u64)> {
        let mut value = [0; 20];
        self.head_file().and_then(|file| file.read_exact_at(&mut value, 0)).ok()?;
        record::opened(&value).map(|[stream, next]| (stream, next))
    }

    fn compact(&mut self) -> Result<(), StoreError> {
        if self.size_on_disk()? <= COMPACT_BYTES {
            // The reserve was given up for a full disk; now there may be room again.
            self.make_ballast();
            return Ok(());
        }
        // Built beside and swapped by renaming: at every moment one of both is complete.
        let (store, new, old) = (self.store_folder(), self.folder.join("store.new"), self.folder.join("store.old"));
        let left: Vec<_> = self.run(|open| open.db.iter().collect())?;
        let built = open_with_care(&new, &mut Vec::new())?;
        let mut batch = sled::Batch::default();
        left.into_iter().for_each(|(key, value)| batch.insert(key, value));
        built.db.apply_batch(batch).and_then(|()| built.db.flush().map(|_| ())).map_err(|e| sled_error(&e))?;
        File::create(new.join(BEGUN)).map_err(|e| io_error(&new, &e))?;
        drop(built);
        self.open = None;
        sync_all_in(&new)?;
        std::fs::rename(&store, &old).map_err(|e| io_error(&store, &e))?;
        std::fs::rename(&new, &store).map_err(|e| io_error(&new, &e))?;
        sync_folder(&self.folder)?;
        std::fs::remove_dir_all(&old).map_err(|e| io_error(&old, &e))?;
        self.reopen().map(|_| ())
    }

    fn recover(&mut self, after: &StoreError) -> Result<Vec<Notice>, StoreError> {
        match after {
            StoreError::Damaged(why) => return Ok(vec![self.set_aside(why.clone())?]),
            StoreError::Full => remove_if_there(&self.ballast())?,
            StoreError::Io(_) | StoreError::Locked(_) => {}
        }
        self.open = None;
        self.finish_swap()?;
        let mut notices = self.reopen()?;
        notices.push(Notice::Reopened(after.to_string()));
        Ok(notices)
    }
}

fn take_lock(folder: &Path) -> Result<File, StoreError> {
    let path = folder.join("lock");
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path).map_err(|e| io_error(&path, &e))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::Locked(folder.to_owned())),
        Err(TryLockError::Error(e)) => Err(io_error(&path, &e)),
    }
}

/// Opens sled in a folder: side files that a crash left half-written go first, then those that it cannot read.
fn open_with_care(folder: &Path, notices: &mut Vec<Notice>) -> Result<Open, StoreError> {
    remove_snapshots(folder, |name| name.ends_with(".generating"))?;
    let db = match open_sled(folder) {
        Err(StoreError::Damaged(_)) if folder.join("db").exists() => {
            // Its log alone can rebuild both.
            remove_snapshots(folder, |_| true)?;
            remove_zeroed_conf(folder)?;
            let db = open_sled(folder)?;
            notices.push(Notice::Rebuilt("a snapshot".into()));
            db
        }
        other => other?,
    };
    // sled syncs neither its configuration nor its folder.
    sync_all_in(folder)?;
    let path = folder.join("db");
    let log = OpenOptions::new().write(true).open(&path).map_err(|e| io_error(&path, &e))?;
    Ok(Open { db, log, begun: folder.join(BEGUN).exists() })
}

#[expect(clippy::disallowed_methods, reason = "at start or on the buffer's own thread; a lock can only be tried again")]
fn open_sled(folder: &Path) -> Result<sled::Db, StoreError> {
    let config = sled::Config::new().path(folder).cache_capacity(CACHE_BYTES).mode(sled::Mode::LowSpace).flush_every_ms(None);
    for _ in 0..LOCK_TRIES {
        match catch_unwind(AssertUnwindSafe(|| config.open())) {
            Ok(Ok(db)) => return Ok(db),
            Ok(Err(sled::Error::Io(e))) if e.to_string().contains("could not acquire lock") => std::thread::sleep(LOCK_PAUSE),
            Ok(Err(error)) => return Err(sled_error(&error)),
            Err(panic) => return Err(panicked(panic)),
        }
    }
    Err(StoreError::Locked(folder.to_owned()))
}

fn remove_snapshots(folder: &Path, which: impl Fn(&str) -> bool) -> Result<(), StoreError> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(()) };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("snap.") && which(&name) {
            remove_if_there(&entry.path())?;
        }
    }
    Ok(())
}

fn remove_zeroed_conf(folder: &Path) -> Result<(), StoreError> {
    let path = folder.join("conf");
    match std::fs::read(&path) {
        Ok(bytes) if bytes.iter().all(|byte| *byte == 0) => remove_if_there(&path),
        _ => Ok(()),
    }
}

fn remove_if_there(path: &Path) -> Result<(), StoreError> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(io_error(path, &e)),
        _ => Ok(()),
    }
}

fn sync_all_in(folder: &Path) -> Result<(), StoreError> {
    for entry in std::fs::read_dir(folder).map_err(|e| io_error(folder, &e))?.flatten() {
        let path = entry.path();
        // sled removes old snapshots in the background.
        match File::open(&path).and_then(|file| file.sync_all()) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(io_error(&path, &e)),
            _ => {}
        }
    }
    sync_folder(folder)
}

fn sync_folder(folder: &Path) -> Result<(), StoreError> {
    File::open(folder).and_then(|file| file.sync_all()).map_err(|e| io_error(folder, &e))
}

fn io_error(path: &Path, error: &io::Error) -> StoreError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::Full,
        _ => StoreError::Io(format!("{}: {error}", path.display())),
    }
}

/// The operating system's refusals are passed on; everything else, and a medium that cannot be read, is damage.
fn sled_error(error: &sled::Error) -> StoreError {
    const EIO: i32 = 5;
    match error {
        sled::Error::Io(e) if matches!(e.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => StoreError::Full,
        sled::Error::Io(e) if e.raw_os_error().is_some_and(|code| code != EIO) => StoreError::Io(e.to_string()),
        other => StoreError::Damaged(other.to_string()),
    }
}

fn panicked(panic: Box<dyn std::any::Any + Send>) -> StoreError {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    let line: String = text.unwrap_or("panic").lines().next().unwrap_or_default().chars().take(200).collect();
    StoreError::Damaged(line)
}
