//! Shell: the shelf as files of one folder.

use std::borrow::Cow;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::{Folder, ShelfError, Sink};
use crate::store::part::{PartError, Source};

const DAMAGED: &str = "damaged";

/// A folder with parts.
#[derive(Debug)]
pub struct Files {
    folder: PathBuf,
}

/// An open file that is read.
#[derive(Debug)]
pub struct ReadFile {
    file: File,
    bytes: u64,
    path: PathBuf,
}

/// An open file that is written.
#[derive(Debug)]
pub struct WrittenFile {
    file: File,
    path: PathBuf,
}

impl Files {
    /// Opens the folder, or makes it.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn open(folder: &Path) -> Result<Self, ShelfError> {
        crate::folder::make(folder).map_err(|e| refused(folder, &e))?;
        Ok(Self { folder: folder.to_owned() })
    }

    /// Where a file in `damaged/` goes: one that is the same already has its place.
    fn place_aside(&self, name: &str) -> io::Result<(PathBuf, bool)> {
        let inode = fs::metadata(self.folder.join(name))?.ino();
        for copy in 0u32.. {
            let place = if copy == 0 { name.to_owned() } else { format!("{name}.{copy}") };
            let place = self.folder.join(DAMAGED).join(place);
            match fs::metadata(&place) {
                Ok(there) if there.ino() == inode => return Ok((place, true)),
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok((place, false)),
                Err(e) => return Err(e),
            }
        }
        Err(io::Error::other("no name is left for it in the folder of damaged files"))
    }
}

fn refused(path: &Path, e: &io::Error) -> ShelfError {
    ShelfError::Disk(format!("{}: {e}", path.display()))
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

impl Folder for Files {
    type Source = ReadFile;
    type Sink = WrittenFile;

    fn list(&self) -> Result<Vec<(String, u64)>, ShelfError> {
        let list = || -> io::Result<Vec<(String, u64)>> {
            let mut files = Vec::new();
            for entry in fs::read_dir(&self.folder)? {
                let entry = entry?;
                let meta = entry.metadata()?;
                if let (true, Ok(name)) = (meta.is_file(), entry.file_name().into_string()) {
                    files.push((name, meta.len()));
                }
            }
            Ok(files)
        };
        list().map_err(|e| refused(&self.folder, &e))
    }

    fn list_damaged(&self) -> Result<Vec<String>, ShelfError> {
        let folder = self.folder.join(DAMAGED);
        let list = || fs::read_dir(&folder)?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>();
        match list() {
            Ok(names) => Ok(names.into_iter().filter_map(|name| name.into_string().ok()).collect()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(e) => Err(refused(&folder, &e)),
        }
    }

    fn open(&self, name: &str) -> Result<ReadFile, ShelfError> {
        let path = self.folder.join(name);
        let file = File::open(&path).map_err(|e| refused(&path, &e))?;
        let bytes = file.metadata().map_err(|e| refused(&path, &e))?.len();
        Ok(ReadFile { file, bytes, path })
    }

    fn create(&self, name: &str) -> Result<WrittenFile, ShelfError> {
        let path = self.folder.join(name);
        let file = File::create(&path).map_err(|e| refused(&path, &e))?;
        Ok(WrittenFile { file, path })
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), ShelfError> {
        let to = self.folder.join(to);
        fs::rename(self.folder.join(from), &to).map_err(|e| refused(&to, &e))
    }

    fn remove(&self, name: &str) -> Result<(), ShelfError> {
        let path = self.folder.join(name);
        match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(refused(&path, &e)),
            _ => Ok(()),
        }
    }

    fn sync(&self) -> Result<(), ShelfError> {
        sync_folder(&self.folder).map_err(|e| refused(&self.folder, &e))
    }

    fn keep_damaged(&self, name: &str) -> Result<String, ShelfError> {
        let path = self.folder.join(name);
        let keep = || -> io::Result<PathBuf> {
            crate::folder::make(&self.folder.join(DAMAGED))?;
            let (place, there) = self.place_aside(name)?;
            // Not all file systems have hard links.
            if !there && fs::hard_link(&path, &place).is_err() {
                fs::copy(&path, &place)?;
                File::open(&place)?.sync_all()?;
            }
            sync_folder(&self.folder.join(DAMAGED))?;
            Ok(place)
        };
        keep().map(|place| place.display().to_string()).map_err(|e| refused(&path, &e))
    }
}

impl Source for ReadFile {
    fn bytes(&self) -> Result<u64, PartError> {
        Ok(self.bytes)
    }

    fn read(&self, at: u64, bytes: usize) -> Result<Cow<'_, [u8]>, PartError> {
        // Of a damaged length no memory is taken that the file cannot fill.
        let there = usize::try_from(self.bytes.saturating_sub(at)).unwrap_or(usize::MAX).min(bytes);
        let mut read = vec![0; there];
        match self.file.read_exact_at(&mut read, at) {
            Ok(()) => Ok(Cow::Owned(read)),
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(Cow::Owned(Vec::new())),
            Err(e) => Err(PartError::Source(format!("{}: {e}", self.path.display()))),
        }
    }
}

impl Sink for WrittenFile {
    fn append(&mut self, bytes: &[u8]) -> Result<(), ShelfError> {
        self.file.write_all(bytes).map_err(|e| refused(&self.path, &e))
    }

    fn sync(&mut self) -> Result<(), ShelfError> {
        self.file.sync_all().map_err(|e| refused(&self.path, &e))
    }
}
