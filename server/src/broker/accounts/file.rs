//! Shell: the accounts file of a data folder, and private files in general: written whole or not at all, for their owner only.
//!
//! The command line writes it while a server runs; the server looks at it and never writes. A lock on the folder orders writers.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, chown};
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::{Accounts, AccountsError, MAX_FILE_BYTES};

const NAME: &str = "accounts.json";
/// For its owner only.
const PRIVATE: u32 = 0o600;

/// The file cannot be used.
#[derive(Debug, Error)]
pub enum FileError {
    /// The system says no.
    #[error("{}: {error}", path.display())]
    System {
        /// What was tried on.
        path: PathBuf,
        /// What it said.
        error: std::io::Error,
    },
    /// Its content.
    #[error("{}: {error}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong in it.
        error: AccountsError,
    },
    /// What was asked for.
    #[error("{0}")]
    Refused(#[from] AccountsError),
}

/// What tells one state of the file from another without reading it: a new one is another file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp(u64, u64, i64, i64);

/// Where the accounts of this data folder are.
#[must_use]
pub fn path(data: &Path) -> PathBuf {
    data.join(NAME)
}

/// The state of the file; nothing where there is none.
///
/// # Errors
/// It cannot be looked at.
pub fn stamp(data: &Path) -> Result<Option<Stamp>, FileError> {
    stamp_of(path(data))
}

/// The state of any file that is only ever replaced.
///
/// # Errors
/// It cannot be looked at.
pub fn stamp_of(path: PathBuf) -> Result<Option<Stamp>, FileError> {
    match path.metadata() {
        Ok(meta) => Ok(Some(Stamp(meta.ino(), meta.len(), meta.mtime(), meta.mtime_nsec()))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(FileError::System { path, error }),
    }
}

/// Reads the accounts; none where there is no file.
///
/// # Errors
/// It cannot be read, or is not as this program wrote it.
pub fn load(data: &Path) -> Result<Accounts, FileError> {
    let path = path(data);
    match read(&path, MAX_FILE_BYTES)? {
        Some(text) => Accounts::parse(&text).map_err(|error| FileError::Content { path, error }),
        None => Ok(Accounts::default()),
    }
}

/// The text of a file, as far as one byte more than it may have; nothing where there is none.
///
/// # Errors
/// It cannot be read.
pub fn read(path: &Path, most: usize) -> Result<Option<String>, FileError> {
    let read = |file: File| {
        let mut text = String::new();
        file.take(most as u64 + 1).read_to_string(&mut text).map(|_| text)
    };
    match File::open(path).and_then(read) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(FileError::System { path: path.to_owned(), error }),
    }
}

/// Changes the accounts: all of the change is on stable storage when this is back, or nothing of it.
///
/// # Errors
/// The change is refused, or the file cannot be written.
pub fn change<T>(data: &Path, change: impl FnOnce(&mut Accounts) -> Result<T, AccountsError>) -> Result<T, FileError> {
    let _order = lock(data)?;
    let mut accounts = load(data)?;
    let result = change(&mut accounts)?;
    write_private(&path(data), accounts.text().as_bytes())?;
    Ok(result)
}

/// Holds the data folder against other writers until the answer is dropped.
///
/// # Errors
/// There is no such folder.
pub fn lock(data: &Path) -> Result<File, FileError> {
    let failed = |error| FileError::System { path: data.to_owned(), error };
    let folder = File::open(data).map_err(failed)?;
    folder.lock().map_err(failed)?;
    Ok(folder)
}

/// Writes a file that only the owner of its folder can read; it is there whole or not at all.
///
/// # Errors
/// It cannot be written.
pub fn write_private(path: &Path, content: &[u8]) -> Result<(), FileError> {
    let write = || {
        let folder = match path.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        };
        let half = path.with_extension("half");
        // One that a kill left behind may have other rights.
        match std::fs::remove_file(&half) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(PRIVATE).open(&half)?;
        // The command line may be root's and the server not: what it writes must be the server's to read.
        let (made, owner) = (file.metadata()?, folder.metadata()?);
        if (made.uid(), made.gid()) != (owner.uid(), owner.gid()) {
            chown(&half, Some(owner.uid()), Some(owner.gid()))?;
        }
        file.write_all(content)?;
        file.sync_all()?;
        std::fs::rename(&half, path)?;
        File::open(folder)?.sync_all()
    };
    write().map_err(|error| FileError::System { path: path.to_owned(), error })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::{Account, token_proof};
    use super::*;

    fn account(name: &str) -> Account {
        Account { name: name.into(), created: Some(0), revoked: None, proof: token_proof("x"), commands: vec![] }
    }

    #[test]
    fn the_file_is_private_and_every_change_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path();
        assert_eq!((stamp(data).unwrap(), load(data).unwrap()), (None, Accounts::default()));
        change(data, |accounts| accounts.insert(account("g1"))).unwrap();
        let first = stamp(data).unwrap();
        assert_eq!(path(data).metadata().unwrap().permissions().mode() & 0o777, PRIVATE);
        change(data, |accounts| accounts.revoke("g1", 0)).unwrap();
        assert_ne!(stamp(data).unwrap(), first);
        assert!(load(data).unwrap().get("g1").unwrap().revoked.is_some());
        let refused = change(data, |accounts| accounts.revoke("g2", 0));
        assert!(matches!(refused, Err(FileError::Refused(AccountsError::Unknown(_)))));
    }

    #[test]
    fn writers_at_the_same_time_lose_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path();
        std::thread::scope(|scope| {
            for n in 0..8 {
                scope.spawn(move || change(data, |accounts| accounts.insert(account(&format!("g{n}")))).unwrap());
            }
        });
        assert_eq!(load(data).unwrap().iter().count(), 8);
    }

    #[test]
    fn a_file_that_a_kill_left_half_is_in_nobodys_way() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("accounts.half"), "half").unwrap();
        change(folder.path(), |accounts| accounts.insert(account("g1"))).unwrap();
        std::fs::write(path(folder.path()), "{").unwrap();
        let error = load(folder.path()).unwrap_err().to_string();
        assert!(error.contains("accounts.json: line 1, column 1"), "{error}");
        assert!(change(folder.path(), |accounts| accounts.insert(account("g2"))).is_err(), "what cannot be read is not written over");
        let error = change(&folder.path().join("none"), |_| Ok(())).unwrap_err().to_string();
        assert!(error.contains("none"), "{error}");
    }
}
