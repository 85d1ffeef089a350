//! Shell: reads the profile files of folders. What a profile may say is decided in `read`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{MAX_PROFILE_BYTES, Profile};
use crate::config::Profiles;
use crate::yaml::Problem;

/// Most profile files of one folder.
const MAX_FILES: usize = 5_000;

/// What the folders hold.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) profiles: Profiles,
    /// Ids of refused files: a device that names one is told so.
    pub(crate) refused: BTreeSet<String>,
    pub(crate) problems: Vec<Problem>,
}

/// Reads all `*.yaml` files of these folders. A later folder overrides an earlier one by id, also with a file that is refused:
/// a broken override must not bring back what it was meant to replace. A folder that does not exist is empty.
#[must_use]
pub fn load_profiles(folders: &[PathBuf]) -> (Profiles, Vec<Problem>) {
    let found = find_profiles(folders);
    (found.profiles, found.problems)
}

pub(crate) fn find_profiles(folders: &[PathBuf]) -> Found {
    let mut found = Found::default();
    for folder in folders {
        let files = match list(folder) {
            Ok(files) => files,
            Err(problem) => {
                found.problems.extend(problem);
                continue;
            }
        };
        for (id, file) in files {
            match read_limited(&file, MAX_PROFILE_BYTES).map_err(|p| vec![p]).and_then(|content| Profile::read(&file, &content)) {
                Ok(profile) => {
                    found.refused.remove(&id);
                    found.profiles.insert(id, Arc::new(profile));
                }
                Err(problems) => {
                    found.problems.extend(problems);
                    found.profiles.remove(&id);
                    found.refused.insert(id);
                }
            }
        }
    }
    found
}

/// The profile files of a folder, by file name without `.yaml`.
fn list(folder: &Path) -> Result<BTreeMap<String, PathBuf>, Option<Problem>> {
    let problem = |e: std::io::Error| match e.kind() {
        ErrorKind::NotFound => None,
        _ => Some(Problem::whole(folder, format!("cannot list this folder of profiles: {e}"))),
    };
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(folder).map_err(problem)? {
        let file = entry.map_err(problem)?.path();
        if file.extension().is_some_and(|e| e == "yaml") {
            files.insert(file.file_stem().unwrap_or_default().to_string_lossy().into_owned(), file);
        }
        if files.len() > MAX_FILES {
            return Err(Some(Problem::whole(folder, format!("more than {MAX_FILES} profiles in one folder, none is read"))));
        }
    }
    Ok(files)
}

/// The content of a file; one byte more than `max_bytes` where it is too long, so that its reader refuses it.
pub(crate) fn read_limited(file: &Path, max_bytes: usize) -> Result<Vec<u8>, Problem> {
    let problem = |e: std::io::Error| Problem::whole(file, format!("cannot read this file: {e}"));
    // Asked before the file is opened: opening a pipe waits for its other end.
    let kind = std::fs::metadata(file).map_err(problem)?.file_type();
    if !kind.is_file() {
        return Err(Problem::whole(file, format!("found {}, expected a file", if kind.is_dir() { "a folder" } else { "no regular file" })));
    }
    let mut content = Vec::new();
    File::open(file).map_err(problem)?.take(max_bytes as u64 + 1).read_to_end(&mut content).map_err(problem)?;
    Ok(content)
}
