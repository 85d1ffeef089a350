//! A plain segmented log, to compare with: what the buffer's job costs at least, without classes, gap records, schemas or repair.
//!
//! A record is its length, the CRC-32 of its content, and the content. A commit is one `write` and one `fdatasync`. Segments are files
//! named by the number of their first record; one is removed when all of it is released. How far that is is written, not synced, to `head`.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{BufReader, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// A segment is closed when it has so many bytes.
const SEGMENT_BYTES: u64 = 1 << 20;

/// Longest record that is believed.
const MAX_RECORD_BYTES: usize = 1 << 20;

pub(crate) struct Segments {
    folder: PathBuf,
    /// First number of each, the one that is written last.
    firsts: VecDeque<u64>,
    newest: File,
    newest_bytes: u64,
    head: File,
    pub(crate) oldest: u64,
    pub(crate) next: u64,
    /// A segment being read, and the number of its next record.
    reader: Option<(u64, BufReader<File>)>,
}

impl Segments {
    pub(crate) fn open(folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder)?;
        let names = std::fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
        let mut firsts: Vec<u64> =
            names.iter().filter_map(|entry| u64::from_str_radix(entry.file_name().to_str()?.strip_prefix("log-")?, 16).ok()).collect();
        firsts.sort_unstable();
        if firsts.is_empty() {
            firsts.push(1);
        }
        let first = *firsts.last().context("none")?;
        let newest = OpenOptions::new().read(true).append(true).create(true).open(path(folder, first))?;
        // Only the newest one can end in half a record.
        let (mut next, mut newest_bytes, mut reader) = (first, 0, BufReader::new(newest.try_clone()?));
        while let Ok(record) = read_record(&mut reader) {
            (next, newest_bytes) = (next + 1, newest_bytes + 8 + record.len() as u64);
        }
        newest.set_len(newest_bytes)?;
        newest.sync_all()?;
        File::open(folder)?.sync_all()?;
        let head = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(folder.join("head"))?;
        let mut told = [0; 8];
        let told = head.read_exact_at(&mut told, 0).map_or(0, |()| u64::from_le_bytes(told));
        let oldest = told.clamp(*firsts.first().context("none")?, next);
        Ok(Self { folder: folder.to_owned(), firsts: firsts.into(), newest, newest_bytes, head, oldest, next, reader: None })
    }

    /// Durable when it returns.
    pub(crate) fn append<'a>(&mut self, records: impl Iterator<Item = &'a [u8]>) -> Result<()> {
        if self.newest_bytes >= SEGMENT_BYTES {
            self.newest = OpenOptions::new().append(true).create_new(true).open(path(&self.folder, self.next))?;
            File::open(&self.folder)?.sync_all()?;
            self.firsts.push_back(self.next);
            self.newest_bytes = 0;
        }
        let (mut bytes, before) = (Vec::new(), self.next);
        for record in records {
            bytes.extend((record.len() as u32).to_le_bytes());
            bytes.extend(crc32fast::hash(record).to_le_bytes());
            bytes.extend(record);
            self.next += 1;
        }
        if self.next > before {
            self.newest.write_all(&bytes)?;
            self.newest.sync_data()?;
            self.newest_bytes += bytes.len() as u64;
        }
        Ok(())
    }

    pub(crate) fn get(&mut self, number: u64) -> Result<Vec<u8>> {
        ensure!((self.oldest..self.next).contains(&number), "{number} is not there");
        let first = *self.firsts.iter().rfind(|first| **first <= number).context("no segment")?;
        let follows = self.reader.as_ref().is_some_and(|(at, _)| *at == number && *at != first);
        let (mut at, mut reader) = match self.reader.take().filter(|_| follows) {
            Some(reader) => reader,
            None => (first, BufReader::new(File::open(path(&self.folder, first))?)),
        };
        loop {
            let record = read_record(&mut reader)?;
            at += 1;
            if at > number {
                self.reader = Some((at, reader));
                return Ok(record);
            }
        }
    }

    pub(crate) fn release(&mut self, through: u64) -> Result<()> {
        self.oldest = self.oldest.max((through + 1).min(self.next));
        self.head.write_all_at(&self.oldest.to_le_bytes(), 0)?;
        if self.oldest == self.next && self.newest_bytes > 0 {
            // All are out: the next one begins a new segment.
            self.newest_bytes = SEGMENT_BYTES;
            self.append(std::iter::empty())?;
        }
        while self.firsts.get(1).is_some_and(|next| *next <= self.oldest) {
            // What is said to be gone must not come again.
            self.head.sync_data()?;
            self.firsts.pop_front().map(|first| std::fs::remove_file(path(&self.folder, first))).transpose()?;
        }
        Ok(())
    }
}

fn path(folder: &Path, first: u64) -> PathBuf {
    folder.join(format!("log-{first:016x}"))
}

fn read_record(from: &mut impl Read) -> Result<Vec<u8>> {
    let mut front = [0; 8];
    from.read_exact(&mut front)?;
    let [len, crc] = [&front[..4], &front[4..]].map(|bytes| u32::from_le_bytes(bytes.try_into().unwrap_or_default()));
    ensure!(len as usize <= MAX_RECORD_BYTES, "no record");
    let mut record = vec![0; len as usize];
    from.read_exact(&mut record)?;
    ensure!(crc32fast::hash(&record) == crc, "damaged");
    Ok(record)
}
