//! Shell: segments as files of one folder. `NUMBER.log` are segments, `NUMBER-PLACE.damaged` what could not be read; nothing else is touched.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::{Disk, LogError};

/// A folder with a log.
#[derive(Debug)]
pub struct Files {
    folder: PathBuf,
    newest: Option<File>,
}

impl Files {
    /// Opens the folder, or makes it.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn open(folder: &Path) -> Result<Self, LogError> {
        crate::folder::make(folder).map_err(|e| refused(folder, &e))?;
        Ok(Self { folder: folder.to_owned(), newest: None })
    }

    fn path(&self, segment: u64) -> PathBuf {
        self.folder.join(name(segment))
    }
}

/// What a segment is called.
#[must_use]
pub fn name(segment: u64) -> String {
    format!("{segment:020}.log")
}

fn refused(path: &Path, e: &io::Error) -> LogError {
    LogError::Disk(format!("{}: {e}", path.display()))
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

impl Disk for Files {
    fn segments(&mut self) -> Result<Vec<(u64, u64)>, LogError> {
        let list = || -> io::Result<Vec<(u64, u64)>> {
            let mut segments = Vec::new();
            for entry in fs::read_dir(&self.folder)? {
                let entry = entry?;
                let name = entry.file_name();
                let number = name.to_str().and_then(|name| name.strip_suffix(".log")).and_then(|digits| digits.parse().ok());
                if let Some(number) = number {
                    segments.push((number, entry.metadata()?.len()));
                }
            }
            segments.sort_unstable();
            Ok(segments)
        };
        list().map_err(|e| refused(&self.folder, &e))
    }

    fn read(&mut self, segment: u64) -> Result<Vec<u8>, LogError> {
        let path = self.path(segment);
        fs::read(&path).map_err(|e| refused(&path, &e))
    }

    fn sync(&mut self, segment: u64) -> Result<(), LogError> {
        let path = self.path(segment);
        let sync = || OpenOptions::new().write(true).open(&path)?.sync_all();
        sync().and_then(|()| sync_folder(&self.folder)).map_err(|e| refused(&path, &e))
    }

    fn create(&mut self, segment: u64, begins: &[u8]) -> Result<(), LogError> {
        let path = self.path(segment);
        self.newest = None;
        let make = || -> io::Result<File> {
            let mut file = File::create(&path)?;
            file.write_all(begins)?;
            file.sync_all()?;
            sync_folder(&self.folder)?;
            Ok(file)
        };
        self.newest = Some(make().map_err(|e| refused(&path, &e))?);
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), LogError> {
        let file = self.newest.as_mut().ok_or_else(|| LogError::Disk("BUG: nothing to append to".into()))?;
        file.write_all(bytes).and_then(|()| file.sync_data()).map_err(|e| refused(&self.folder, &e))
    }

    fn remove(&mut self, segment: u64) -> Result<(), LogError> {
        let path = self.path(segment);
        fs::remove_file(&path).and_then(|()| sync_folder(&self.folder)).map_err(|e| refused(&path, &e))
    }

    fn set_aside(&mut self, segment: u64, at: u64, bytes: &[u8]) -> Result<String, LogError> {
        let path = self.folder.join(format!("{segment:020}-{at}.damaged"));
        let keep = || -> io::Result<()> {
            let mut file = File::create(&path)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            sync_folder(&self.folder)
        };
        keep().map_err(|e| refused(&path, &e))?;
        Ok(path.display().to_string())
    }
}
