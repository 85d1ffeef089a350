//! The audit record: what was written to devices, by whom, and how it ended. Shell: one file of JSON lines, synced line by line.
//!
//! # On disk
//! Each line is a [`Record`]. A file that would grow over [`MAX_AUDIT_BYTES`] becomes `<name>.1`, in place of an older one, and a new one is
//! begun: so the two hold at least the latest `MAX_AUDIT_BYTES`. What a power cut left of a last line is cut off; any other line that cannot be
//! read is left where it is, skipped and counted.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::command::Record;

/// Largest file, in bytes. Room for all ids that may have to be remembered: 1024 beginnings and ends of at most 1.8 kB together.
pub const MAX_AUDIT_BYTES: u64 = 2 << 20;

/// Who may read it: its owner and its group.
const MODE: u32 = 0o640;

/// The record cannot be kept.
#[derive(Debug, Error)]
#[error("audit record {}: {error}", path.display())]
pub struct AuditError {
    /// Its file.
    path: PathBuf,
    /// What the system says.
    error: std::io::Error,
}

/// The audit record, open at its end.
#[derive(Debug)]
pub struct Audit {
    path: PathBuf,
    file: File,
    bytes: u64,
    max_bytes: u64,
}

/// What an audit record held when it was opened.
#[derive(Debug, Default)]
pub struct Held {
    /// All that can be read, oldest first.
    pub records: Vec<Record>,
    /// Lines that cannot.
    pub damaged: u64,
}

impl Audit {
    /// Opens the record, or begins it, with what it holds.
    ///
    /// # Errors
    /// A file that cannot be read or written.
    pub fn open(path: &Path) -> Result<(Self, Held), AuditError> {
        Self::open_within(path, MAX_AUDIT_BYTES)
    }

    fn open_within(path: &Path, max_bytes: u64) -> Result<(Self, Held), AuditError> {
        let opened = || {
            let mut held = Held::default();
            match std::fs::read(older(path)) {
                Ok(bytes) => read(&bytes, &mut held),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
            let mut file = OpenOptions::new().read(true).append(true).create(true).mode(MODE).open(path)?;
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
            bytes.truncate(whole);
            read(&bytes, &mut held);
            file.set_len(whole as u64)?;
            file.sync_all()?;
            sync_folder(path)?;
            Ok((Self { path: path.to_owned(), file, bytes: whole as u64, max_bytes }, held))
        };
        opened().map_err(|error| AuditError { path: path.to_owned(), error })
    }

    /// Adds a record. It is on stable storage when this is back.
    ///
    /// # Errors
    /// It may not be; what there is of it is taken back.
    pub fn append(&mut self, record: &Record) -> Result<(), AuditError> {
        // Texts and numbers only: cannot fail.
        let mut line = serde_json::to_vec(record).unwrap_or_default();
        line.push(b'\n');
        let written = self.write(&line);
        if written.is_err() {
            let _ = self.file.set_len(self.bytes);
        }
        written.map_err(|error| AuditError { path: self.path.clone(), error })
    }

    fn write(&mut self, line: &[u8]) -> std::io::Result<()> {
        if self.bytes > 0 && self.bytes + line.len() as u64 > self.max_bytes {
            std::fs::rename(&self.path, older(&self.path))?;
            self.file = OpenOptions::new().read(true).append(true).create(true).mode(MODE).open(&self.path)?;
            self.bytes = 0;
            sync_folder(&self.path)?;
        }
        self.file.seek(SeekFrom::End(0))?;
        self.file.write_all(line)?;
        self.file.sync_data()?;
        self.bytes += line.len() as u64;
        Ok(())
    }
}

fn older(path: &Path) -> PathBuf {
    let mut name: OsString = path.as_os_str().to_owned();
    name.push(".1");
    PathBuf::from(name)
}

fn sync_folder(path: &Path) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

fn read(bytes: &[u8], held: &mut Held) {
    for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        match serde_json::from_slice(line) {
            Ok(record) => held.records.push(record),
            Err(_) => held.damaged += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use pattoo_wire::{Command, Scalar};

    use super::*;

    fn record(id: usize) -> Record {
        let (device, point) = ("io".to_owned(), "relay".to_owned());
        let command =
            Command { id: id.to_string(), device, point, value: Scalar::Bool(true), expected: None, expires_ms: Some(1), by: None };
        Record::Begun { time: "2027-01-15T08:00:00.000Z".into(), command, safe: false }
    }

    fn held(path: &Path, max_bytes: u64) -> (Vec<Record>, u64) {
        let (_, held) = Audit::open_within(path, max_bytes).unwrap();
        (held.records, held.damaged)
    }

    #[test]
    fn what_was_recorded_is_there_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        for id in 0..3 {
            let (mut audit, held) = Audit::open(&path).unwrap();
            assert_eq!(held.records, (0..id).map(record).collect::<Vec<_>>());
            audit.append(&record(id)).unwrap();
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 3);
    }

    #[test]
    fn a_torn_line_is_cut_off_and_a_damaged_one_is_skipped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        Audit::open(&path).unwrap().0.append(&record(0)).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for torn in 1..whole.len() {
            std::fs::write(&path, [&whole[..], b"{\"event\":1}\n", &whole[..torn]].concat()).unwrap();
            assert_eq!(held(&path, MAX_AUDIT_BYTES), (vec![record(0)], 1), "{torn}");
            Audit::open(&path).unwrap().0.append(&record(1)).unwrap();
            assert_eq!(held(&path, MAX_AUDIT_BYTES), (vec![record(0), record(1)], 1), "{torn}");
        }
    }

    #[test]
    fn two_files_bound_it_and_the_latest_stay() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let most = 500;
        let (mut audit, _) = Audit::open_within(&path, most).unwrap();
        for id in 0..100 {
            audit.append(&record(id)).unwrap();
            let (records, _) = held(&path, most);
            let first = (id + 1) - records.len();
            assert_eq!(records, (first..=id).map(record).collect::<Vec<_>>(), "the latest, without a hole");
            let bytes = |path: &Path| path.metadata().map_or(0, |meta| meta.len());
            assert!(bytes(&path) <= most && bytes(&older(&path)) <= most);
            assert!(first == 0 || bytes(&path) + bytes(&older(&path)) > most - 200, "at least as much as one file holds");
        }
    }

    #[test]
    fn a_record_that_cannot_be_kept_is_an_error_that_names_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let error = Audit::open(&folder.path().join("none/audit.jsonl")).unwrap_err().to_string();
        assert!(error.contains("none/audit.jsonl"), "{error}");
    }
}
