//! Files and folders that stay. A shell file: a leaf that does I/O.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use crate::buffer::StoreError;

/// How often something is tried again while the medium has an error, and after which pause: a bus that is reset is back within a second.
/// Only what stays so is damage.
pub(super) const EIO_TRIES: u32 = 50;
const EIO_PAUSE: Duration = Duration::from_millis(20);

/// The medium has an error.
const EIO: i32 = 5;

/// Bytes of the blocks that `st_blocks` counts.
const BLOCK_BYTES: u64 = 512;

/// How often a folder is removed again into which something was written meanwhile.
const REMOVE_TRIES: u32 = 5;

/// Writes a file in place, as long as this and not longer, and waits for the disk. A file that is there needs no new space for it.
pub(super) fn write_synced(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let written = OpenOptions::new().write(true).create(true).truncate(false).open(path).and_then(|mut file| {
        file.write_all(bytes)?;
        file.set_len(bytes.len() as u64)?;
        file.sync_all()
    });
    written.map_err(|e| io_error(path, &e))
}

/// Writes a file once more as it is, and waits for the disk.
pub(super) fn write_again(path: &Path) -> Result<(), StoreError> {
    let bytes = read(path).map_err(|e| io_error(path, &e))?;
    write_synced(path, &bytes)
}

/// Reads a file; again while the medium has an error.
pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut tries = 0;
    loop {
        match std::fs::read(path) {
            Err(e) if is_eio(&e) && tries < EIO_TRIES => {
                tries += 1;
                pause();
            }
            other => return other,
        }
    }
}

/// A file that cannot be read now is not taken for one that is not there; one that stays unreadable is damaged.
pub(super) fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, StoreError> {
    match read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) if is_eio(&e) => Ok(Some(Vec::new())),
        Err(e) => Err(io_error(path, &e)),
    }
}

pub(super) fn is_eio(error: &io::Error) -> bool {
    error.raw_os_error() == Some(EIO)
}

/// Waits before something is tried again.
#[expect(clippy::disallowed_methods, reason = "at start or on the buffer's own thread; a medium can only be tried again")]
pub(in crate::buffer) fn pause() {
    std::thread::sleep(EIO_PAUSE);
}

pub(super) fn remove_if_there(path: &Path) -> Result<(), StoreError> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(io_error(path, &e)),
        _ => Ok(()),
    }
}

/// Removes a folder with all in it. sled may still be removing or making a file there.
pub(super) fn remove_folder(path: &Path) -> Result<(), StoreError> {
    let mut tries = 0;
    loop {
        match std::fs::remove_dir_all(path) {
            Ok(()) => return Ok(()),
            Err(_) if !path.exists() => return Ok(()),
            Err(e) if tries == REMOVE_TRIES => return Err(io_error(path, &e)),
            Err(_) => tries += 1,
        }
    }
}

pub(super) fn sync_all_in(folder: &Path) -> Result<(), StoreError> {
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

pub(super) fn sync_folder(folder: &Path) -> Result<(), StoreError> {
    File::open(folder).and_then(|file| file.sync_all()).map_err(|e| io_error(folder, &e))
}

/// Bytes that a file, or the files of a folder, take on the disk.
pub(super) fn taken_bytes(path: &Path) -> u64 {
    let Ok(meta) = path.symlink_metadata() else { return 0 };
    let own = meta.blocks() * BLOCK_BYTES;
    let Ok(entries) = std::fs::read_dir(path) else { return own };
    own + entries.flatten().filter_map(|entry| entry.metadata().ok()).map(|meta| meta.blocks() * BLOCK_BYTES).sum::<u64>()
}

/// Takes the lock of a folder, which lasts as long as the file.
pub(super) fn take_lock(folder: &Path) -> Result<File, StoreError> {
    let path = folder.join("lock");
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path).map_err(|e| io_error(&path, &e))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::Locked(folder.to_owned())),
        Err(TryLockError::Error(e)) => Err(io_error(&path, &e)),
    }
}

pub(super) fn io_error(path: &Path, error: &io::Error) -> StoreError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::Full,
        _ => StoreError::Io(format!("{}: {error}", path.display())),
    }
}
