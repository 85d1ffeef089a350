//! What a watched program did to its files, in order.
//!
//! Only reads: the format is that of `tests/peers/faultdisk.c`.

use std::path::Path;
use std::rc::Rc;

use anyhow::{Context, Result, bail};

/// Bytes in front of each record.
const HEADER_BYTES: usize = 32;

/// One thing that happened. Inodes are the kernel's and may come again for another file.
#[derive(Debug, Clone)]
pub enum Op {
    /// A file came to be.
    Create {
        /// Its inode.
        inode: u64,
        /// Its path below the root.
        path: String,
    },
    /// Bytes of a file changed.
    Write {
        /// Its inode.
        inode: u64,
        /// Where.
        at: usize,
        /// What is there now.
        data: Rc<[u8]>,
    },
    /// The length of a file changed.
    Truncate {
        /// Its inode.
        inode: u64,
        /// Its new length.
        len: usize,
    },
    /// A file or folder got another name.
    Rename {
        /// Old path.
        from: String,
        /// New path.
        to: String,
    },
    /// A file or folder went.
    Remove {
        /// Its path.
        path: String,
    },
    /// A folder came to be.
    Folder {
        /// Its inode.
        inode: u64,
        /// Its path.
        path: String,
    },
    /// A file or folder was synced.
    Sync {
        /// Its inode.
        inode: u64,
    },
    /// A file or folder could not be synced.
    SyncFailed {
        /// Its inode.
        inode: u64,
    },
    /// Part of a file was sent to the disk, without a promise.
    Range,
    /// The program printed a line.
    Mark(String),
}

impl Op {
    /// Whether it changes what a power cut leaves.
    #[must_use]
    pub fn touches_disk(&self) -> bool {
        !matches!(self, Self::Range | Self::Mark(_))
    }
}

/// Reads a log. A record that a kill cut in two is left out.
///
/// # Errors
/// The file cannot be read, or is no log.
pub fn read(path: &Path) -> Result<Vec<Op>> {
    let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
    let (mut rest, mut ops) = (bytes.as_slice(), Vec::new());
    while let Some((op, after)) = one(rest)? {
        ops.push(op);
        rest = after;
    }
    Ok(ops)
}

fn one(bytes: &[u8]) -> Result<Option<(Op, &[u8])>> {
    let Some((header, rest)) = bytes.split_at_checked(HEADER_BYTES) else { return Ok(None) };
    let word = |at: usize| header.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes);
    let long = |at: usize| u64::from(word(at)) | u64::from(word(at + 4)) << 32;
    let (inode, at) = (long(16), usize::try_from(long(24))?);
    let Some((path, rest)) = rest.split_at_checked(word(4) as usize) else { return Ok(None) };
    let Some((data, rest)) = rest.split_at_checked(word(8) as usize) else { return Ok(None) };
    let path = String::from_utf8_lossy(path).into_owned();
    let text = || String::from_utf8_lossy(data).into_owned();
    let op = match word(0) {
        1 => Op::Create { inode, path },
        2 => Op::Write { inode, at, data: data.into() },
        3 => Op::Truncate { inode, len: at },
        4 => Op::Rename { from: path, to: text() },
        5 | 7 => Op::Remove { path },
        6 => Op::Folder { inode, path },
        8 => Op::Sync { inode },
        9 => Op::Range,
        10 => Op::Mark(text()),
        11 => Op::SyncFailed { inode },
        other => bail!("operation {other} in the log is unknown"),
    };
    Ok(Some((op, rest)))
}
