//! Shell: the file of the users. A change is on stable storage, whole, before anything rests on it; two writers take turns.

use std::path::{Path, PathBuf};

use thiserror::Error;

use super::{MAX_FILE_BYTES, Users, UsersError};
use crate::broker::accounts::file::{FileError, Stamp, lock, read, stamp_of, write_private};

const NAME: &str = "users.json";

/// The file cannot be used.
#[derive(Debug, Error)]
pub enum UsersFileError {
    /// The system says no.
    #[error("{0}")]
    System(#[from] FileError),
    /// Its content.
    #[error("{}: {error}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong in it.
        error: UsersError,
    },
    /// What was asked for.
    #[error("{0}")]
    Refused(#[from] UsersError),
}

/// Where the users of this data folder are.
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

/// Reads the users; none where there is no file.
///
/// # Errors
/// It cannot be read, or is not as this program wrote it.
pub fn load(data: &Path) -> Result<Users, UsersFileError> {
    match read(&path(data), MAX_FILE_BYTES)? {
        Some(text) => Users::parse(&text).map_err(|error| UsersFileError::Content { path: path(data), error }),
        None => Ok(Users::default()),
    }
}

/// Changes the users: all of the change is on stable storage when this is back, or nothing of it.
///
/// # Errors
/// The change is refused, or the file cannot be written.
pub fn change<T>(data: &Path, change: impl FnOnce(&mut Users) -> Result<T, UsersError>) -> Result<(T, Users), UsersFileError> {
    let _order = lock(data)?;
    let mut users = load(data)?;
    let result = change(&mut users)?;
    write_private(&path(data), users.text().as_bytes())?;
    Ok((result, users))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::Role;
    use super::*;

    #[test]
    fn the_file_is_private_and_every_change_is_seen_and_a_refused_one_leaves_it_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path();
        assert_eq!((stamp(data).unwrap(), load(data).unwrap()), (None, Users::default()));
        change(data, |users| users.add("ann", Role::Admin, 0)).unwrap();
        let first = stamp(data).unwrap();
        assert_eq!(path(data).metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert!(matches!(change(data, |users| users.set("ann", None, Some(true))), Err(UsersFileError::Refused(UsersError::LastAdmin(_)))));
        assert_eq!(stamp(data).unwrap(), first);
        change(data, |users| users.set_link("ann", "x", false, 0)).unwrap();
        assert_ne!(stamp(data).unwrap(), first);
        std::fs::write(path(data), "{").unwrap();
        let error = load(data).unwrap_err().to_string();
        assert!(error.contains("users.json: line 1, column 1"), "{error}");
        assert!(change(data, |users| users.add("bob", Role::Viewer, 0)).is_err(), "what cannot be read is not written over");
    }
}
