//! Shell: the folder of dead letters, messages that nobody could read, kept for a person.
//!
//! One file per message: a line of JSON (`time_ms`, `topic`, `reason`), then the message as it came. The folder is bounded;
//! the oldest go. The same message again takes no second file, because a gateway sends what is not acknowledged again.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;
use thiserror::Error;

/// Most files in the folder.
pub(super) const MAX_FILES: usize = 256;
/// Most bytes in all files.
pub(super) const MAX_BYTES: u64 = 64 << 20;

const SUFFIX: &str = ".letter";

/// The folder cannot be used.
#[derive(Debug, Error)]
#[error("dead letter {path}: {error}; check space and permissions of that folder")]
pub struct LetterError {
    path: PathBuf,
    error: std::io::Error,
}

/// The folder.
#[derive(Debug)]
pub struct Letters {
    folder: PathBuf,
    /// Oldest first: file name and bytes.
    held: VecDeque<(String, u64)>,
    written: u64,
}

#[derive(Serialize)]
struct Head<'a> {
    time_ms: i64,
    topic: &'a str,
    reason: &'a str,
}

impl Letters {
    /// A folder, made with the first letter. Does no I/O.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), held: VecDeque::new(), written: 0 }
    }

    /// Keeps a message; when this returns, it is on stable storage.
    ///
    /// # Errors
    /// The disk refused.
    pub fn keep(&mut self, now_ms: i64, topic: &str, reason: &str, message: &[u8]) -> Result<(), LetterError> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |error| LetterError { path, error }
        };
        if self.held.is_empty() {
            self.look().map_err(at(&self.folder))?;
        }
        let mark = self.mark(topic, message);
        if self.held.iter().any(|(name, _)| name.ends_with(&mark)) {
            return Ok(());
        }
        let mut content = serde_json::to_vec(&Head { time_ms: now_ms, topic, reason }).unwrap_or_default();
        content.push(b'\n');
        content.extend_from_slice(message);
        // The count keeps letters of one millisecond in order.
        self.written += 1;
        let name = format!("{:015}-{:06}{mark}", now_ms.max(0), self.written % 1_000_000);
        let path = self.folder.join(&name);
        self.make_room(content.len() as u64).map_err(at(&self.folder))?;
        write_durably(&self.folder, &path, &content).map_err(at(&path))?;
        self.held.push_back((name, content.len() as u64));
        Ok(())
    }

    /// The end of its file name: what tells that the same message is there already.
    fn mark(&self, topic: &str, message: &[u8]) -> String {
        let mut crc = crc32fast::Hasher::new();
        crc.update(topic.as_bytes());
        crc.update(message);
        format!("-{:08x}-{}{SUFFIX}", crc.finalize(), message.len())
    }

    fn look(&mut self) -> std::io::Result<()> {
        crate::folder::make(&self.folder)?;
        let mut held = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.ends_with(SUFFIX) {
                held.push((name, entry.metadata()?.len()));
            }
        }
        held.sort();
        self.held = held.into();
        Ok(())
    }

    fn make_room(&mut self, bytes: u64) -> std::io::Result<()> {
        let held = |letters: &VecDeque<(String, u64)>| letters.iter().map(|(_, bytes)| bytes).sum::<u64>();
        while self.held.len() >= MAX_FILES || (held(&self.held) + bytes > MAX_BYTES && !self.held.is_empty()) {
            let Some((name, _)) = self.held.pop_front() else { break };
            match fs::remove_file(self.folder.join(name)) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
        }
        Ok(())
    }
}

fn write_durably(folder: &Path, path: &Path, content: &[u8]) -> std::io::Result<()> {
    let half = path.with_extension("half");
    let mut file = File::create(&half)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&half, path)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_letter_has_a_line_about_it_and_then_its_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("dead-letter");
        Letters::new(&folder).keep(1234, "pattoo/v1/g/data", "why \"not\"", b"\x00\xffrest").unwrap();
        let content = fs::read(folder.join(&names(&folder)[0])).unwrap();
        let end = content.iter().position(|b| *b == b'\n').unwrap();
        let head: serde_json::Value = serde_json::from_slice(&content[..end]).unwrap();
        assert_eq!(head, serde_json::json!({"time_ms": 1234, "topic": "pattoo/v1/g/data", "reason": "why \"not\""}));
        assert_eq!(&content[end + 1..], b"\x00\xffrest");
    }

    #[test]
    fn the_same_message_again_takes_no_second_file_even_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let mut letters = Letters::new(folder.path());
        letters.keep(1, "t", "r", b"a").unwrap();
        letters.keep(2, "t", "r", b"a").unwrap();
        letters.keep(3, "t", "r", b"b").unwrap();
        Letters::new(folder.path()).keep(4, "t", "r", b"a").unwrap();
        assert_eq!(names(folder.path()).len(), 2);
    }

    #[test]
    fn the_oldest_go_when_the_folder_is_full() {
        let folder = tempfile::tempdir().unwrap();
        let mut letters = Letters::new(folder.path());
        for i in 0..MAX_FILES + 3 {
            letters.keep(7, "t", "r", &i.to_le_bytes()).unwrap();
        }
        assert_eq!(names(folder.path()).len(), MAX_FILES);
        let big = vec![0; 40 << 20];
        letters.keep(8, "t", "r", &big).unwrap();
        assert_eq!(names(folder.path()).len(), MAX_FILES);
        letters.keep(9, "u", "r", &big).unwrap();
        let left = names(folder.path());
        assert!(left.len() == 1 && left[0].starts_with("000000000000009"), "{left:?}");
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_an_error_with_its_name() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("dead-letter"), "a file").unwrap();
        let error = Letters::new(&folder.path().join("dead-letter")).keep(1, "t", "r", b"a").unwrap_err().to_string();
        assert!(error.contains("dead-letter") && error.contains("check space"), "{error}");
    }
}
