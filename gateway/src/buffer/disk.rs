//! The store on disk: a folder for each chunk with a small sled 0.34 database, and side files. A shell file: a leaf that does I/O.
//!
//! Inside the configured folder:
//!
//! | name | what |
//! |---|---|
//! | `lock` | held while open |
//! | `head.0`, `head.1` | the head, written in turn and synced; `head.lazy` now and then, and not synced. The latest that is whole counts |
//! | `schema-<id>` | the message of a schema |
//! | `chunk-<first>.<generation>/` | a chunk: sled's files, `begun`, and `about` once it is sealed. The highest generation counts |
//! | `ballast` | space to give up when the disk is full |
//! | `corrupt-<time>/` | at most one: what could not be read, for a person to look at |
//!
//! A chunk that is only read is copied into memory first: sled writes to what it opens.
//!
//! Anything else is left alone. What a crash leaves half-made ends in `.new` and is removed.

mod chunk;
mod copy;
mod files;
mod heads;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use self::chunk::ChunkDb;
pub(super) use self::files::pause;
use self::files::{
    io_error, read_if_there, remove_folder, remove_if_there, sync_folder, take_lock, taken_bytes, write_again, write_synced,
};
use self::heads::Heads;
use super::store::{Listed, Numbered};
use super::{Notice, Store, StoreError};

/// Bytes of the reserve that is given up when the disk is full.
pub const BALLAST_BYTES: u64 = 8 << 20;

/// Chunks that are open for reading beside the one that is written to: what waits longest, and what is sent again.
const MAX_READERS: usize = 2;

/// Folders of the layout before chunks; no release had it.
const OLD_LAYOUT: &[&str] = &["store", "store.new", "store.old"];

/// A buffer folder.
pub struct Disk {
    folder: PathBuf,
    ballast_bytes: u64,
    /// Names what is set aside; the time of opening, ms since 1970.
    opened_ms: i64,
    places: BTreeMap<u64, Place>,
    /// Open chunks, the one used last at the end.
    open: Vec<(u64, ChunkDb)>,
    heads: Heads,
    /// Bytes given back since the reserve was given up.
    freed: u64,
    notices: Vec<Notice>,
    /// Held as long as this lives.
    _lock: File,
}

/// Where a chunk lies.
#[derive(Debug, Clone, Copy)]
struct Place {
    generation: u64,
    bytes: u64,
}

impl Disk {
    /// Opens the store of a folder, which is made if it is not there.
    ///
    /// # Errors
    /// Another process has it, or the folder cannot be written.
    pub fn open(folder: &Path, ballast_bytes: u64, now_ms: i64) -> Result<(Self, Vec<Notice>), StoreError> {
        std::fs::create_dir_all(folder).map_err(|e| io_error(folder, &e))?;
        let lock = take_lock(folder)?;
        copy::remove_leftovers(folder)?;
        let mut disk = Self {
            folder: folder.to_owned(),
            ballast_bytes,
            opened_ms: now_ms,
            places: BTreeMap::new(),
            open: Vec::new(),
            heads: Heads::default(),
            freed: 0,
            notices: Vec::new(),
            _lock: lock,
        };
        if let Some(old) = OLD_LAYOUT.iter().find(|name| folder.join(name).exists()) {
            let notice = disk.set_aside(&format!("{old} is of a layout that this version does not know"))?;
            disk.notices.push(notice);
        }
        disk.list()?;
        sync_folder(folder)?;
        if let Some(parent) = folder.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            sync_folder(parent)?;
        }
        disk.make_ballast();
        let notices = std::mem::take(&mut disk.notices);
        Ok((disk, notices))
    }

    /// Finds the chunks; removes what a crash left half-made or half-replaced.
    fn list(&mut self) -> Result<(), StoreError> {
        self.open.clear();
        self.places.clear();
        let mut leftovers = Vec::new();
        for entry in std::fs::read_dir(&self.folder).map_err(|e| io_error(&self.folder, &e))? {
            let entry = entry.map_err(|e| io_error(&self.folder, &e))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.ends_with(".new") {
                leftovers.push(entry.path());
            } else if let Some((first, generation)) = parse_chunk(&name) {
                let latest = self.places.entry(first).or_insert(Place { generation, bytes: 0 });
                if latest.generation != generation {
                    leftovers.push(self.folder.join(chunk_name(first, latest.generation.min(generation))));
                    latest.generation = latest.generation.max(generation);
                }
            }
        }
        for leftover in leftovers {
            if leftover.is_dir() { remove_folder(&leftover)? } else { remove_if_there(&leftover)? }
        }
        for (first, place) in &mut self.places {
            place.bytes = taken_bytes(&self.folder.join(chunk_name(*first, place.generation)));
        }
        Ok(())
    }

    fn chunk_folder(&self, chunk: u64) -> PathBuf {
        let generation = self.places.get(&chunk).map_or(0, |place| place.generation);
        self.folder.join(chunk_name(chunk, generation))
    }

    /// Runs an operation that writes on a chunk, which lies open on the disk for it.
    fn writing<T>(&mut self, chunk: u64, f: impl FnOnce(&mut ChunkDb) -> Result<T, StoreError>) -> Result<T, StoreError> {
        if !self.open.iter().any(|(open, db)| *open == chunk && !db.is_copy()) {
            // What sled cannot read while it opens a chunk it takes for torn off, and writes over it.
            let before = self.reading(chunk, ChunkDb::values)?;
            self.close(chunk);
            let folder = self.chunk_folder(chunk);
            let db = ChunkDb::open(&folder, chunk, &mut self.notices);
            match db.and_then(|mut db| if db.values()? == before { Ok(db) } else { Err(StoreError::Io("a read failed".into())) }) {
                Ok(db) => self.keep_open(chunk, db),
                Err(StoreError::Full) => return Err(StoreError::Full),
                Err(error) => {
                    let values: Vec<Numbered> = before.iter().map(|(number, value)| (*number, value.to_vec())).collect();
                    self.put(chunk, &values, read_if_there(&folder.join("about"))?.as_deref(), None)?;
                    return Err(error);
                }
            }
        }
        self.with_open(chunk, f)
    }

    /// Runs an operation that only reads on a chunk. Where the disk has none open, on a copy in memory: sled writes when it opens a chunk, and
    /// that costs what it cannot read just then. What the copy does not have is damaged.
    fn reading<T>(&mut self, chunk: u64, f: impl Fn(&mut ChunkDb) -> Result<T, StoreError>) -> Result<T, StoreError> {
        if self.open.iter().any(|(open, db)| *open == chunk && !db.is_copy()) {
            match self.with_open(chunk, &f) {
                Ok(found) => return Ok(found),
                // It met an error, and gives errors for as long as it is open.
                Err(_) => self.close(chunk),
            }
        }
        if !self.open.iter().any(|(open, _)| *open == chunk) {
            if !self.places.contains_key(&chunk) {
                return Err(StoreError::Io(format!("chunk {chunk} is gone")));
            }
            let db = ChunkDb::open_copy(&self.chunk_folder(chunk), chunk, &mut self.notices)?;
            self.keep_open(chunk, db);
        }
        self.with_open(chunk, &f)
    }

    fn with_open<T>(&mut self, chunk: u64, f: impl FnOnce(&mut ChunkDb) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let place = self.open.iter().position(|(open, _)| *open == chunk).ok_or_else(|| StoreError::Io("BUG: it is not open".into()))?;
        let mut used = self.open.remove(place);
        let result = f(&mut used.1);
        self.open.push(used);
        result
    }

    fn keep_open(&mut self, chunk: u64, db: ChunkDb) {
        let newest = self.places.keys().next_back().copied();
        while self.open.len() > MAX_READERS {
            let victim = self.open.iter().position(|(open, _)| Some(*open) != newest).unwrap_or(0);
            drop(self.open.remove(victim));
        }
        self.open.push((chunk, db));
    }

    fn close(&mut self, chunk: u64) {
        self.open.retain(|(open, _)| *open != chunk);
    }

    /// Puts a chunk with these values in the place of one, or of none.
    fn put(&mut self, chunk: u64, values: &[Numbered], about: Option<&[u8]>, why: Option<&str>) -> Result<(), StoreError> {
        self.close(chunk);
        let old = self.places.get(&chunk).map(|place| chunk_name(chunk, place.generation));
        let generation = self.places.get(&chunk).map_or(0, |place| place.generation + 1);
        let name = chunk_name(chunk, generation);
        if let Err(error) = self.make_chunk(chunk, &name, values, about) {
            // What was there before goes on, and what is half-made takes no room.
            let _ = remove_folder(&self.folder.join(format!("{name}.new")));
            let _ = remove_folder(&self.folder.join(&name));
            return Err(error);
        }
        let bytes = taken_bytes(&self.folder.join(&name));
        self.places.insert(chunk, Place { generation, bytes });
        match (old, why) {
            (Some(old), Some(_)) => self.move_aside(|other| other == old).map(|_| ()),
            (Some(old), None) => remove_folder(&self.folder.join(old)),
            (None, _) => Ok(()),
        }
    }

    /// Moves files and folders of ours out of the way; what was moved there before goes.
    fn move_aside(&mut self, which: impl Fn(&str) -> bool) -> Result<PathBuf, StoreError> {
        let to = self.folder.join(format!("corrupt-{}", self.opened_ms));
        let entries: Vec<_> = std::fs::read_dir(&self.folder).map_err(|e| io_error(&self.folder, &e))?.flatten().collect();
        for entry in &entries {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with("corrupt-") || name.starts_with("store.corrupt-") {
                remove_folder(&entry.path())?;
            }
        }
        std::fs::create_dir(&to).map_err(|e| io_error(&to, &e))?;
        for entry in entries.iter().filter(|entry| which(&entry.file_name().to_string_lossy())) {
            std::fs::rename(entry.path(), to.join(entry.file_name())).map_err(|e| io_error(&entry.path(), &e))?;
        }
        sync_folder(&to)?;
        sync_folder(&self.folder)?;
        Ok(to)
    }

    /// Makes a chunk whole, under another name first.
    fn make_chunk(&mut self, chunk: u64, name: &str, values: &[Numbered], about: Option<&[u8]>) -> Result<(), StoreError> {
        let new = self.folder.join(format!("{name}.new"));
        std::fs::create_dir(&new).map_err(|e| io_error(&new, &e))?;
        if !values.is_empty() {
            ChunkDb::open(&new, chunk, &mut self.notices)?.append(values)?;
        }
        if let Some(about) = about {
            write_synced(&new.join("about"), about)?;
        }
        chunk::note_begun(&new)?;
        files::sync_all_in(&new)?;
        std::fs::rename(&new, self.folder.join(name)).map_err(|e| io_error(&new, &e))?;
        sync_folder(&self.folder)
    }

    fn ballast(&self) -> PathBuf {
        self.folder.join("ballast")
    }

    /// Really writes the reserve, so that it really takes space.
    fn make_ballast(&mut self) {
        let path = self.ballast();
        if path.metadata().is_ok_and(|meta| meta.len() == self.ballast_bytes) {
            return;
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
        if let Err(error) = written {
            let _ = std::fs::remove_file(&path);
            self.notices.push(Notice::NoBallast(error.to_string()));
        }
    }

    /// The reserve was given up; once twice as much was given back, there should be room for it again.
    fn restore_ballast(&mut self, freed: u64) {
        if !self.ballast().exists() {
            self.freed += freed;
            if self.freed >= 2 * self.ballast_bytes {
                self.freed = 0;
                self.make_ballast();
            }
        }
    }

    fn schema_path(&self, id: u32) -> PathBuf {
        self.folder.join(format!("schema-{id:08x}"))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = self.heads.note(&self.folder);
    }
}

impl Store for Disk {
    fn head(&mut self) -> Result<Option<Vec<u8>>, StoreError> {
        self.heads.read(&self.folder)
    }

    fn set_head(&mut self, head: &[u8], durable: bool) -> Result<(), StoreError> {
        self.heads.set(&self.folder, head, durable)
    }

    fn schema(&mut self, id: u32) -> Result<Option<Vec<u8>>, StoreError> {
        // Nothing else stands for it, as for a head: a medium that cannot be read now may be read later.
        let path = self.schema_path(id);
        match std::fs::read(&path) {
            Ok(message) => Ok(Some(message)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(io_error(&path, &e)),
        }
    }

    fn set_schema(&mut self, id: u32, message: Option<&[u8]>) -> Result<(), StoreError> {
        let path = self.schema_path(id);
        let Some(message) = message else { return remove_if_there(&path) };
        let new = path.with_extension("new");
        write_synced(&new, message)?;
        std::fs::rename(&new, &path).map_err(|e| io_error(&path, &e))?;
        sync_folder(&self.folder)
    }

    fn chunks(&mut self) -> Result<Vec<Listed>, StoreError> {
        self.places.keys().map(|chunk| Ok((*chunk, read_if_there(&self.chunk_folder(*chunk).join("about"))?))).collect()
    }

    fn begin(&mut self, chunk: u64) -> Result<(), StoreError> {
        self.places.insert(chunk, Place { generation: 0, bytes: 0 });
        let begun = ChunkDb::open(&self.chunk_folder(chunk), chunk, &mut self.notices);
        match begun.and_then(|db| chunk::note_begun(&self.chunk_folder(chunk)).and_then(|()| sync_folder(&self.folder)).map(|()| db)) {
            Ok(db) => self.keep_open(chunk, db),
            Err(error) => {
                self.places.remove(&chunk);
                return Err(error);
            }
        }
        Ok(())
    }

    fn append(&mut self, chunk: u64, values: &[Numbered]) -> Result<(), StoreError> {
        self.writing(chunk, |db| db.append(values))?;
        let bytes = self.open.last().map_or(0, |(_, db)| db.bytes());
        self.places.entry(chunk).and_modify(|place| place.bytes = bytes);
        Ok(())
    }

    fn seal(&mut self, chunk: u64, about: &[u8]) -> Result<(), StoreError> {
        let folder = self.chunk_folder(chunk);
        write_synced(&folder.join("about.new"), about)?;
        std::fs::rename(folder.join("about.new"), folder.join("about")).map_err(|e| io_error(&folder, &e))?;
        sync_folder(&folder)?;
        self.places.entry(chunk).and_modify(|place| place.bytes = taken_bytes(&folder));
        Ok(())
    }

    fn read(&mut self, chunk: u64, number: u64) -> Result<Option<Numbered>, StoreError> {
        self.reading(chunk, |db| db.read(number))
    }

    fn scan(&mut self, chunk: u64, each: &mut dyn FnMut(u64, &[u8])) -> Result<(), StoreError> {
        let values = self.reading(chunk, ChunkDb::values)?;
        values.iter().for_each(|(number, value)| each(*number, value));
        Ok(())
    }

    fn harden(&mut self, chunk: u64) -> Result<(), StoreError> {
        self.close(chunk);
        write_again(&self.chunk_folder(chunk).join("db"))
    }

    fn rewrite(&mut self, chunk: u64, values: &[Numbered], about: &[u8], why: Option<&str>) -> Result<(), StoreError> {
        self.put(chunk, values, Some(about), why)
    }

    fn remove(&mut self, chunk: u64) -> Result<(), StoreError> {
        self.close(chunk);
        remove_folder(&self.chunk_folder(chunk))?;
        let freed = self.places.remove(&chunk).map_or(0, |place| place.bytes);
        sync_folder(&self.folder)?;
        self.restore_ballast(freed);
        Ok(())
    }

    fn bytes(&self) -> u64 {
        // Beginning a chunk takes a part of one of sled's segments before anything is in it.
        chunk::SEGMENT_BYTES as u64 + self.heads.bytes + self.places.values().map(|place| place.bytes).sum::<u64>()
    }

    fn set_aside(&mut self, why: &str) -> Result<Notice, StoreError> {
        self.open.clear();
        self.heads = Heads::default();
        let ours = |name: &str| {
            parse_chunk(name).is_some() || ["head.", "schema-"].iter().any(|ours| name.starts_with(ours)) || OLD_LAYOUT.contains(&name)
        };
        let to = self.move_aside(ours)?;
        self.list()?;
        Ok(Notice::SetAside { to, why: why.to_owned() })
    }

    fn recover(&mut self, after: &StoreError) -> Result<(), StoreError> {
        self.open.clear();
        // Where it cannot be noted, what was released is sent again.
        let _ = self.heads.note(&self.folder);
        self.heads = Heads::default();
        if *after == StoreError::Full {
            remove_if_there(&self.ballast())?;
            self.freed = 0;
        }
        self.list()
    }

    fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }
}

fn chunk_name(first: u64, generation: u64) -> String {
    format!("chunk-{first:016x}.{generation}")
}

fn parse_chunk(name: &str) -> Option<(u64, u64)> {
    let (first, generation) = name.strip_prefix("chunk-")?.split_once('.')?;
    Some((u64::from_str_radix(first, 16).ok()?, generation.parse().ok()?))
        .filter(|(first, generation)| chunk_name(*first, *generation) == name)
}
