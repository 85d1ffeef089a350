//! Shell: a backup as a folder or as one .tar file: files go in, in any order, and come out again. What belongs in it is not decided here.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

use super::manifest::hex;

/// A backup holds secrets: for its owner only.
const FILE_MODE: u32 = 0o600;
const FOLDER_MODE: u32 = 0o700;
const BUFFER_BYTES: usize = 1 << 20;

/// Whether this name stands for one file rather than a folder.
#[must_use]
pub(super) fn is_tar(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == "tar")
}

/// Reads, and sums up what was read.
pub(super) struct Summed<R> {
    from: R,
    sum: Sha256,
    pub(super) bytes: u64,
}

impl<R: Read> Summed<R> {
    pub(super) fn new(from: R) -> Self {
        Self { from, sum: Sha256::new(), bytes: 0 }
    }

    /// SHA-256 of all that was read.
    pub(super) fn sum(self) -> String {
        hex(self.sum.finalize())
    }
}

impl<R: Read> Read for Summed<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.from.read(into)?;
        self.sum.update(into.get(..read).unwrap_or_default());
        self.bytes += read as u64;
        Ok(read)
    }
}

/// A backup that is being written.
pub(super) enum Sink {
    Folder(Tree),
    Tar(Box<tar::Builder<BufWriter<File>>>),
}

impl Sink {
    /// Begins one under a name that is not there.
    pub(super) fn create(path: &Path, as_tar: bool) -> io::Result<Self> {
        if as_tar {
            let file = OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(path)?;
            return Ok(Self::Tar(Box::new(tar::Builder::new(BufWriter::with_capacity(BUFFER_BYTES, file)))));
        }
        Tree::create(path).map(Self::Folder)
    }

    /// Adds a file of so many bytes; gives its SHA-256.
    pub(super) fn put(&mut self, name: &str, bytes: u64, from: &mut dyn Read) -> io::Result<String> {
        let mut from = Summed::new(from.take(bytes));
        match self {
            Self::Folder(tree) => tree.put(name, FILE_MODE, &mut from)?,
            Self::Tar(builder) => {
                let mut header = tar::Header::new_gnu();
                header.set_size(bytes);
                header.set_mode(FILE_MODE);
                builder.append_data(&mut header, name, &mut from)?;
            }
        }
        match from.bytes == bytes {
            true => Ok(from.sum()),
            false => Err(io::Error::other(format!("it became shorter while it was copied: {} of {bytes} bytes", from.bytes))),
        }
    }

    /// All of it is on stable storage, but for its own name.
    pub(super) fn finish(self) -> io::Result<()> {
        match self {
            Self::Folder(tree) => tree.finish(),
            Self::Tar(builder) => builder.into_inner()?.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all(),
        }
    }
}

/// A folder that is being filled.
pub(super) struct Tree {
    root: PathBuf,
    folders: BTreeSet<PathBuf>,
}

impl Tree {
    /// Makes the folder; there must be none.
    pub(super) fn create(root: &Path) -> io::Result<Self> {
        DirBuilder::new().mode(FOLDER_MODE).create(root)?;
        Ok(Self { root: root.to_owned(), folders: BTreeSet::from([root.to_owned()]) })
    }

    /// Writes a file, durably but for its name.
    pub(super) fn put(&mut self, name: &str, mode: u32, from: &mut dyn Read) -> io::Result<()> {
        let path = self.root.join(name);
        let folder = path.parent().unwrap_or(&self.root).to_owned();
        if !self.folders.contains(&folder) {
            DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(&folder)?;
            self.folders.extend(folder.ancestors().take_while(|above| above.starts_with(&self.root)).map(Path::to_owned));
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&path)?;
        io::copy(from, &mut file)?;
        file.sync_all()
    }

    /// Makes all names in it durable.
    pub(super) fn finish(self) -> io::Result<()> {
        self.folders.iter().try_for_each(|folder| File::open(folder)?.sync_all())
    }
}

/// Gives each file of a backup: its name, its length, its content.
pub(super) fn each(backup: &Path, take: &mut dyn FnMut(&str, u64, &mut dyn Read) -> Result<()>) -> Result<()> {
    if fs::metadata(backup)?.is_dir() {
        for name in files(backup, &mut |_| true)?.files {
            let mut file = File::open(backup.join(&name)).with_context(|| name.clone())?;
            take(&name, file.metadata()?.len(), &mut file).with_context(|| name.clone())?;
        }
        return Ok(());
    }
    let mut archive = tar::Archive::new(BufReader::with_capacity(BUFFER_BYTES, File::open(backup)?));
    let mut last = "its beginning".to_owned();
    for entry in archive.entries()? {
        let mut entry = entry.with_context(|| format!("the archive cannot be read behind {last}"))?;
        let name = entry.path().ok().and_then(|path| path.to_str().map(str::to_owned));
        let name = name.with_context(|| format!("a name behind {last} cannot be read"))?;
        ensure!(entry.header().entry_type().is_file(), "{name} is no file: a backup has nothing else");
        take(&name, entry.size(), &mut entry).with_context(|| name.clone())?;
        last = name;
    }
    Ok(())
}

/// What is in a folder.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Files, with `/` between folders, ascending.
    pub(super) files: Vec<String>,
    /// What is neither file nor folder.
    pub(super) others: Vec<String>,
}

/// All files below a folder, without what is not wanted: a name, or that of a folder.
pub(super) fn files(folder: &Path, wanted: &mut dyn FnMut(&str) -> bool) -> Result<Found> {
    let mut found = Found::default();
    let mut left = vec![String::new()];
    while let Some(below) = left.pop() {
        let path = folder.join(&below);
        for entry in fs::read_dir(&path).with_context(|| path.display().to_string())? {
            let entry = entry?;
            let name =
                entry.file_name().into_string().ok().with_context(|| format!("{}: its name is not UTF-8", entry.path().display()))?;
            let name = if below.is_empty() { name } else { format!("{below}/{name}") };
            let kind = entry.file_type()?;
            match wanted(&name) {
                false => {}
                true if kind.is_dir() => left.push(name),
                true if kind.is_file() => found.files.push(name),
                true => found.others.push(name),
            }
        }
    }
    found.files.sort_unstable();
    Ok(found)
}
