//! The files of the head: two that are written in turn and synced, and one that need not last. A shell file: a leaf that does I/O.
//!
//! What need not last is written now and then only: each time costs the flash a block, and at rest that was half of all that is written.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::files::{io_error, read_if_there, sync_folder, write_synced};
use crate::buffer::{StoreError, record};

/// What the smallest file takes.
const BLOCK_BYTES: usize = 4096;

/// Heads that need not last are written once in so many. A batch has two: one when it is stored, one when it is released. What is not
/// written when the process is killed is sent again.
const LAZY_EVERY: u32 = 64;

const LAZY: &str = "head.lazy";

/// Which head was written last.
#[derive(Debug, Default)]
pub(super) struct Heads {
    generation: u64,
    /// The one of the two that the next durable head goes to: never over the latest.
    next: usize,
    lazy: Option<File>,
    /// The latest head, as it is not written yet, and how many there were.
    waiting: Option<Vec<u8>>,
    waited: u32,
    pub(super) bytes: u64,
}

impl Heads {
    /// The latest that is whole.
    pub(super) fn read(&mut self, folder: &Path) -> Result<Option<Vec<u8>>, StoreError> {
        let mut heads = Vec::new();
        let mut there = false;
        for (place, name) in ["head.0", "head.1", LAZY].iter().enumerate() {
            let Some(bytes) = read_if_there(&folder.join(name))? else { continue };
            there = there || place < 2;
            heads.extend(opened(&bytes).map(|(generation, head)| (generation, place, head)));
        }
        heads.extend(self.waiting.as_deref().and_then(opened).map(|(generation, head)| (generation, 2, head)));
        heads.sort_unstable_by_key(|(generation, ..)| *generation);
        if let Some((_, place, _)) = heads.iter().rfind(|(_, place, _)| *place < 2) {
            self.next = 1 - place;
        }
        let latest = heads.pop();
        if latest.is_none() && there {
            return Err(StoreError::Damaged("its head is unreadable".into()));
        }
        self.generation = latest.as_ref().map_or(0, |(generation, ..)| *generation);
        Ok(latest.map(|(_, _, head)| head))
    }

    /// Replaces it.
    pub(super) fn set(&mut self, folder: &Path, head: &[u8], durable: bool) -> Result<(), StoreError> {
        let generation = self.generation + 1;
        let bytes = closed(generation, head);
        self.bytes = 3 * bytes.len().next_multiple_of(BLOCK_BYTES) as u64;
        if durable {
            self.write(folder, &bytes)?;
            (self.waiting, self.waited) = (None, 0);
        } else {
            self.waiting = Some(bytes);
            self.waited += 1;
        }
        self.generation = generation;
        if self.waited >= LAZY_EVERY { self.note(folder) } else { Ok(()) }
    }

    /// Writes what waits, without waiting for the disk.
    pub(super) fn note(&mut self, folder: &Path) -> Result<(), StoreError> {
        let Some(bytes) = self.waiting.take() else { return Ok(()) };
        self.waited = 0;
        let path = folder.join(LAZY);
        let failed = |e| io_error(&path, &e);
        let file = match self.lazy.take() {
            Some(file) => file,
            None => OpenOptions::new().write(true).create(true).truncate(false).open(&path).map_err(failed)?,
        };
        file.write_all_at(&bytes, 0).map_err(failed)?;
        self.lazy = Some(file);
        Ok(())
    }

    fn write(&mut self, folder: &Path, bytes: &[u8]) -> Result<(), StoreError> {
        let path = folder.join(format!("head.{}", self.next));
        if path.exists() {
            // In place: that takes no space, and if it tears, there is the other one.
            write_synced(&path, bytes)?;
        } else {
            // The first one has no other: it is there whole or not at all.
            let new = folder.join("head.new");
            write_synced(&new, bytes)?;
            std::fs::rename(&new, &path).map_err(|e| io_error(&path, &e))?;
            sync_folder(folder)?;
        }
        self.next = 1 - self.next;
        Ok(())
    }
}

/// A head file: its length, its generation, the head, CRC of all. What a longer one before left behind it does not count.
fn closed(generation: u64, head: &[u8]) -> Vec<u8> {
    let mut bytes = record::sealed(&[head.len() as u64, generation]);
    bytes.extend(head);
    bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
    bytes
}

fn opened(bytes: &[u8]) -> Option<(u64, Vec<u8>)> {
    let (front, rest) = bytes.split_at_checked(20)?;
    let [len, generation] = record::opened(front)?.try_into().ok()?;
    let (head, rest) = rest.split_at_checked(usize::try_from(len).ok()?)?;
    let sound = crc32fast::hash(bytes.get(..20 + head.len())?) == u32::from_le_bytes(*rest.first_chunk()?);
    sound.then(|| (generation, head.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_need_not_last_is_written_once_in_a_while_and_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        let on_disk = || Heads::default().read(at).unwrap();
        let mut heads = Heads::default();
        heads.set(at, b"first", true).unwrap();
        for number in 1..LAZY_EVERY {
            heads.set(at, &number.to_le_bytes(), false).unwrap();
            assert_eq!((on_disk().as_deref(), heads.read(at).unwrap()), (Some(&b"first"[..]), Some(number.to_le_bytes().to_vec())));
        }
        heads.set(at, b"once", false).unwrap();
        assert_eq!(on_disk().as_deref(), Some(&b"once"[..]));
        heads.set(at, b"then", false).unwrap();
        // A durable one stands for all before it.
        heads.set(at, b"sure", true).unwrap();
        heads.note(at).unwrap();
        assert_eq!(on_disk().as_deref(), Some(&b"sure"[..]));
        heads.set(at, b"last", false).unwrap();
        heads.note(at).unwrap();
        assert_eq!((on_disk(), heads.read(at).unwrap()), (Some(b"last".to_vec()), Some(b"last".to_vec())));
    }
}
