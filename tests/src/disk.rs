//! A disk that loses power and fails, under the real programs: `tests/peers/faultdisk.c` is loaded in front of them and writes down what
//! they do to their files; [`image`] rebuilds from that what a disk may hold after a power cut at any moment.
//!
//! # What a power cut leaves
//! What was synced (`fsync`, `fdatasync` of the file; for names, `fsync` of the folder) is there. Of what was not, anything may be:
//! nothing, all, or for each block of 4096 (or 512) bytes any of the states that it went through; a length between; of the names in a folder
//! those up to any moment. `sync_file_range` makes nothing durable.

pub mod cut;
pub mod image;
pub mod judge;
pub mod life;
pub mod log;
pub mod rules;
pub mod server_judge;
pub mod server_life;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::cc::built;

/// The library that is loaded in front of a program, built if it is not there.
///
/// # Errors
/// No C compiler, or it refuses.
pub fn shim() -> Result<PathBuf> {
    built("faultdisk", &["-shared", "-fPIC"], &["-lpthread"])
}

/// Puts the shim in front of a program: what it does below `folder` is written down in `log`, and fails as `rules` says.
///
/// # Errors
/// See [`shim`].
pub fn watch(command: &mut Command, folder: &Path, log: Option<&Path>, rules: Option<&Path>) -> Result<()> {
    command.env("LD_PRELOAD", shim()?).env("FAULTDISK_ROOT", folder.canonicalize()?);
    if let Some(log) = log {
        command.env("FAULTDISK_LOG", log);
    }
    if let Some(rules) = rules {
        command.env("FAULTDISK_RULES", rules);
    }
    Ok(())
}

/// A place for images: in memory where there is one, because thousands are written and synced.
///
/// # Errors
/// No folder can be made.
pub fn scratch() -> Result<tempfile::TempDir> {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.or_else(|_| tempfile::tempdir()).context("no temporary folder")
}

/// The seed of this run, printed so that a failure can be replayed: `PATTOO_TEST_SEED`, or a random one.
///
/// # Errors
/// The variable is no number.
pub fn seed(test: &str) -> Result<u64> {
    let seed = match std::env::var("PATTOO_TEST_SEED") {
        Ok(text) => text.parse().with_context(|| format!("PATTOO_TEST_SEED={text} is no number"))?,
        Err(_) => fastrand::u64(..),
    };
    eprintln!("{test}: PATTOO_TEST_SEED={seed}");
    Ok(seed)
}

/// How often a test that is run for a benchmark repeats itself: `PATTOO_TEST_ROUNDS`; none in a usual run.
///
/// # Errors
/// The variable is no number.
pub fn rounds() -> Result<Option<u64>> {
    let Ok(text) = std::env::var("PATTOO_TEST_ROUNDS") else { return Ok(None) };
    text.parse().map(Some).with_context(|| format!("PATTOO_TEST_ROUNDS={text} is no number"))
}
