//! What a watched program is refused: rules in a file that the shim maps, so that they change while the program runs.
//!
//! Only writes the file; see `tests/peers/faultdisk.c`.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::Result;

/// Rules in the file.
const RULES: u64 = 4;
/// Bytes of a rule.
const RULE_BYTES: u64 = 32;

/// Writes, and changes of a file's length.
pub const ON_WRITE: u32 = 1;
/// Syncs of files and folders.
pub const ON_SYNC: u32 = 2;
/// Reads.
pub const ON_READ: u32 = 4;
/// Making, renaming and removing files and folders, and opening a file to write.
pub const ON_NAMES: u32 = 8;
/// Opening any file.
pub const ON_OPEN: u32 = 16;
/// Writes that need room: they make a file longer than the blocks that it has.
pub const ON_GROW: u32 = 32;

/// The medium has an error.
pub const EIO: i32 = 5;
/// The disk is full.
pub const ENOSPC: i32 = 28;
/// The file system is read-only.
pub const EROFS: i32 = 30;
/// No error: only half of the bytes are written.
pub const HALF: i32 = -1;

/// Refuses calls of some kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Which, as a sum of `ON_…`.
    pub kinds: u32,
    /// With what.
    pub error: i32,
    /// How many calls pass before.
    pub skip: u64,
    /// How many calls are refused.
    pub fail: u64,
}

/// The file with the rules.
pub struct Rules {
    path: PathBuf,
    file: File,
}

impl Rules {
    /// A file without rules.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn new(path: &Path) -> Result<Self> {
        let file = File::options().read(true).write(true).create(true).truncate(true).open(path)?;
        file.set_len(RULES * RULE_BYTES)?;
        Ok(Self { path: path.to_owned(), file })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Sets the rule with this number; none lifts it.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn set(&self, number: u64, rule: Option<Rule>) -> Result<()> {
        // Off while it changes.
        let at = number * RULE_BYTES;
        self.file.write_all_at(&[0; 8], at)?;
        let Some(Rule { kinds, error, skip, fail }) = rule else { return Ok(()) };
        let counts: Vec<u8> = [skip, fail, 0].iter().flat_map(|count| count.to_le_bytes()).collect();
        self.file.write_all_at(&counts, at + 8)?;
        let what = [kinds.to_le_bytes(), error.to_le_bytes()].concat();
        Ok(self.file.write_all_at(&what, at)?)
    }

    /// How many calls the rule has refused since it was set.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn hits(&self, number: u64) -> Result<u64> {
        let mut count = [0; 8];
        self.file.read_exact_at(&mut count, number * RULE_BYTES + 24)?;
        Ok(u64::from_le_bytes(count))
    }
}
