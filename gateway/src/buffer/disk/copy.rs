//! A copy of a chunk, in memory where that is possible, so that sled opens it without touching what is on the disk. A shell file: a leaf
//! that does I/O.

use std::fs::DirBuilder;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::files::{io_error, is_eio, read, remove_folder};
use crate::buffer::StoreError;

/// Where Linux has files in memory.
const MEMORY: &str = "/dev/shm";

/// How the names of all copies of a buffer's chunks begin.
fn prefix(buffer: &Path) -> Result<String, StoreError> {
    let whole = buffer.canonicalize().map_err(|e| io_error(buffer, &e))?;
    Ok(format!("pattoo-chunk-{:08x}-", crc32fast::hash(whole.as_os_str().as_bytes())))
}

/// Removes the copies that a process which was killed has left of this buffer's chunks; nobody else has the buffer open.
pub(super) fn remove_leftovers(buffer: &Path) -> Result<(), StoreError> {
    let prefix = prefix(buffer)?;
    let Ok(entries) = std::fs::read_dir(MEMORY) else { return Ok(()) };
    let own = entries.flatten().filter(|entry| entry.file_name().as_bytes().starts_with(prefix.as_bytes()));
    own.for_each(|entry| {
        // It is in nobody's way.
        let _ = remove_folder(&entry.path());
    });
    Ok(())
}

/// A folder with the files of a chunk; it goes when it is dropped.
pub(super) struct ChunkCopy {
    folder: PathBuf,
}

impl ChunkCopy {
    /// Copies the files of a chunk's folder. One that stays unreadable means that the chunk is damaged.
    pub(super) fn of(chunk: &Path) -> Result<Self, StoreError> {
        let mut files = Vec::new();
        read_files(chunk, Path::new(""), &mut files)?;
        let own = chunk.file_name().map_or(&[][..], |name| name.as_bytes());
        let name = format!("{}{:08x}", prefix(chunk.parent().unwrap_or(chunk))?, crc32fast::hash(own));
        Self::write(Path::new(MEMORY).join(name), &files).or_else(|_| Self::write(chunk.with_extension("copy.new"), &files))
    }

    fn write(folder: PathBuf, files: &[(PathBuf, Vec<u8>)]) -> Result<Self, StoreError> {
        remove_folder(&folder)?;
        // Readings are for nobody else.
        DirBuilder::new().mode(0o700).create(&folder).map_err(|e| io_error(&folder, &e))?;
        let copy = Self { folder };
        for (name, bytes) in files {
            let path = copy.folder.join(name);
            let made = path.parent().map_or(Ok(()), std::fs::create_dir_all).and_then(|()| std::fs::write(&path, bytes));
            made.map_err(|e| io_error(&path, &e))?;
        }
        Ok(copy)
    }

    /// Leaves none of the files.
    pub(super) fn clear(&self) -> Result<(), StoreError> {
        remove_folder(&self.folder)?;
        DirBuilder::new().mode(0o700).create(&self.folder).map_err(|e| io_error(&self.folder, &e))
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for ChunkCopy {
    fn drop(&mut self) {
        // What is left is replaced by the next copy of the same chunk.
        let _ = remove_folder(&self.folder);
    }
}

/// All files below a folder, by their path there.
fn read_files(folder: &Path, below: &Path, files: &mut Vec<(PathBuf, Vec<u8>)>) -> Result<(), StoreError> {
    let place = folder.join(below);
    for entry in std::fs::read_dir(&place).map_err(|e| io_error(&place, &e))? {
        let entry = entry.map_err(|e| io_error(&place, &e))?;
        let (path, name) = (entry.path(), below.join(entry.file_name()));
        if path.is_dir() {
            read_files(folder, &name, files)?;
            continue;
        }
        match read(&path) {
            Ok(bytes) => files.push((name, bytes)),
            // sled removes old snapshots in the background.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) if is_eio(&e) => return Err(StoreError::Damaged(format!("{}: {e}", path.display()))),
            Err(e) => return Err(io_error(&path, &e)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_process_left_is_removed_and_nothing_else() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let copied = |buffer: &Path| {
            let chunk = buffer.join("chunk");
            std::fs::create_dir(&chunk).unwrap();
            std::fs::write(chunk.join("db"), b"x").unwrap();
            ChunkCopy::of(&chunk).unwrap()
        };
        let (left, live) = (copied(one.path()), copied(other.path()));
        let folder = left.folder().to_owned();
        std::mem::forget(left);
        assert!(folder.join("db").exists() && folder.starts_with(MEMORY));
        remove_leftovers(one.path()).unwrap();
        assert!(!folder.exists() && live.folder().join("db").exists());
    }
}
