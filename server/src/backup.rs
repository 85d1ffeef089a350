//! Shell: backups of all that a server has: made while it runs or while it does not, verified, put back as a whole or not at all.
//!
//! ```text
//! backup = FOLDER or FILE.tar: pattoo.redb | log/ | parts/ | the other files of the data folder | MANIFEST
//! ```
//! - **Consistent.** The store comes from a snapshot ([`source`]): all that was acknowledged before the backup began is in it. The other files
//!   are only ever replaced as a whole or appended to, and are copied as they are.
//! - **Whole.** What is being written has another name until all of it is on stable storage; the manifest comes last.
//! - **Verified.** A restore reads all of a backup and compares every checksum before it writes anything, and again what it writes.
//! - Not in it: the configuration, and what that names outside of the data folder.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;

use crate::clock;
use crate::store::embedded::checking::{self, Checked};

mod archive;
mod manifest;
pub mod source;
#[cfg(test)]
mod tests;

use archive::{Sink, Summed, Tree, each, files, is_tar};
use manifest::{Entry, Manifest};
use source::{BESIDE, LEDGER, SNAPSHOT, SOCKET};

/// How often progress is told.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// Damaged files that are named; of more, the number.
const MAX_NAMED: usize = 20;
/// Files of the data folder that hold what nobody else may know.
const SECRET: [&str; 4] = ["accounts.json", "users.json", "sessions.json", "tls/"];

/// What came of a backup or a restore.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Done {
    /// Where it is.
    pub place: PathBuf,
    /// When the backup was made, in ms since 1970.
    pub made_ms: i64,
    /// Files in it.
    pub files: usize,
    /// Bytes of these.
    pub bytes: u64,
    /// Files with secrets, for their owner only.
    pub secrets: Vec<String>,
    /// What is not in it because it is no file.
    pub left_out: Vec<String>,
}

impl Done {
    fn new(place: &Path, manifest: &Manifest) -> Self {
        let is_secret = |name: &&String| SECRET.iter().any(|secret| name.starts_with(secret));
        Self {
            place: place.to_owned(),
            made_ms: manifest.made_ms,
            files: manifest.files.len(),
            bytes: manifest.bytes(),
            secrets: manifest.files.keys().filter(is_secret).cloned().collect(),
            left_out: Vec::new(),
        }
    }
}

/// Tells how far it is, on a line of its own, now and then.
struct Progress<'a> {
    out: &'a mut dyn Write,
    what: &'static str,
    done: u64,
    total: u64,
    told: Instant,
}

impl Progress<'_> {
    fn add(&mut self, bytes: u64) {
        self.done += bytes;
        if self.told.elapsed() >= TELL_EVERY {
            self.told = Instant::now();
            let percent = self.done.saturating_mul(100).checked_div(self.total).unwrap_or(100).min(100);
            // Nobody to tell is no reason to stop.
            let _ = writeln!(self.out, "{}: {} of {} MiB, {percent} %", self.what, self.done >> 20, self.total >> 20);
        }
    }
}

/// Puts a backup of a data folder into a folder or .tar file that is not there. Nothing is left of one that was not finished.
///
/// # Errors
/// No snapshot can be had, or a disk refuses.
pub fn make(data: &Path, target: &Path, progress: &mut dyn Write) -> Result<Done> {
    ensure!(fs::symlink_metadata(target).is_err(), "{}: is there already; remove it or choose another name", target.display());
    let half = beside(target, ".partial")?;
    ensure!(
        !is_within(target, data)?,
        "{}: is in the data folder, and would be part of the next backup; choose another place",
        target.display()
    );
    // Left by one that was killed: a data folder has one snapshot at a time.
    remove(&half)?;
    let snapshot = source::take(data)?;
    let made = fill(data, snapshot.folder(), target, &half, progress).and_then(|done| {
        fs::rename(&half, target)?;
        sync_folder_of(target)?;
        Ok(done)
    });
    if made.is_err() {
        let _ = remove(&half);
    }
    made.with_context(|| target.display().to_string())
}

fn fill(data: &Path, snapshot: &Path, target: &Path, half: &Path, out: &mut dyn Write) -> Result<Done> {
    let of_store = files(snapshot, &mut |_| true)?;
    let of_store = of_store.files.into_iter().map(|name| (snapshot.join(&name), name));
    // What is being written has no place in a backup, and the store comes from its snapshot.
    let others = files(data, &mut |name| ![LEDGER, "log", "parts", BESIDE, SNAPSHOT, SOCKET].contains(&name) && !is_passing(name))?;
    let left_out = others.others;
    let others = others.files.into_iter().map(|name| (data.join(&name), name));
    let all: Vec<(PathBuf, String, bool)> =
        of_store.map(|(path, name)| (path, name, true)).chain(others.map(|(path, name)| (path, name, false))).collect();
    let total = all.iter().filter_map(|(path, ..)| Some(fs::metadata(path).ok()?.len())).sum();
    let mut progress = Progress { out, what: "backup", done: 0, total, told: Instant::now() };
    let mut manifest = Manifest::new(clock::now_ms());
    let mut sink = Sink::create(half, is_tar(target)).with_context(|| half.display().to_string())?;
    for (path, name, of_store) in all {
        let mut file = match File::open(&path) {
            // The oldest dead letter makes room.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && !of_store => continue,
            file => file.with_context(|| path.display().to_string())?,
        };
        let meta = file.metadata()?;
        let sha256 = sink.put(&name, meta.len(), &mut file).with_context(|| name.clone())?;
        manifest.files.insert(name, Entry { bytes: meta.len(), sha256, mode: meta.permissions().mode() & 0o777 });
        progress.add(meta.len());
    }
    let text = manifest.text()?;
    sink.put(manifest::NAME, text.len() as u64, &mut text.as_bytes())?;
    sink.finish()?;
    Ok(Done { left_out, ..Done::new(target, &manifest) })
}

/// Reads all that is stored, and changes nothing.
///
/// # Errors
/// No snapshot can be had, the disk refuses, or something is of a newer program.
pub fn check(data: &Path, out: &mut dyn Write) -> Result<Checked> {
    let snapshot = source::take(data)?;
    let (mut told, mut files) = (Instant::now(), 0);
    let checked = checking::check(snapshot.folder(), LEDGER, &mut |file| {
        files += 1;
        if told.elapsed() >= TELL_EVERY {
            told = Instant::now();
            // Nobody to tell is no reason to stop.
            let _ = writeln!(out, "check: file {files}, {file}");
        }
    });
    // Damage is where the snapshot has it from.
    checked.with_context(|| format!("the store in {}", data.display()))
}

/// Reads all of a backup, and compares it with its manifest.
///
/// # Errors
/// It is none, or is damaged: then each damaged file is named.
pub fn verify(backup: &Path, out: &mut dyn Write) -> Result<Done> {
    Ok(Done::new(backup, &verified(backup, out)?))
}

fn verified(backup: &Path, out: &mut dyn Write) -> Result<Manifest> {
    let total = fs::metadata(backup).with_context(|| backup.display().to_string())?.len();
    let mut progress = Progress { out, what: "verified", done: 0, total, told: Instant::now() };
    let mut found = std::collections::BTreeMap::new();
    let mut twice = Vec::new();
    let mut text = None;
    let read = each(backup, &mut |name, bytes, from| {
        if name == manifest::NAME {
            let mut content = Vec::new();
            from.take(manifest::MAX_BYTES).read_to_end(&mut content)?;
            text = Some(content);
            return Ok(());
        }
        let mut from = Summed::new(from);
        std::io::copy(&mut from, &mut std::io::sink())?;
        progress.total = progress.total.max(progress.done + bytes);
        progress.add(bytes);
        if found.insert(name.to_owned(), (from.bytes, from.sum())).is_some() {
            twice.push(format!("{name}: is in it twice"));
        }
        Ok(())
    });
    let context = || format!("{} is no good backup", backup.display());
    read.with_context(context)?;
    let text = text.with_context(|| format!("it has no {}: it was not finished, or is something else", manifest::NAME));
    let manifest = Manifest::parse(&text.with_context(context)?).with_context(context)?;
    let mut damage = twice;
    for (name, entry) in &manifest.files {
        match found.remove(name) {
            None => damage.push(format!("{name}: is missing")),
            Some((bytes, _)) if bytes != entry.bytes => damage.push(format!("{name}: has {bytes} bytes, expected {}", entry.bytes)),
            Some((_, sum)) if sum != entry.sha256 => {
                damage.push(format!("{name}: is damaged, its SHA-256 is {sum}, expected {}", entry.sha256))
            }
            Some(_) => {}
        }
    }
    damage.extend(found.into_keys().map(|name| format!("{name}: the manifest does not know it")));
    if damage.is_empty() {
        return Ok(manifest);
    }
    let more = damage.len().saturating_sub(MAX_NAMED);
    damage.truncate(MAX_NAMED);
    let more = if more > 0 { format!("\n  and {more} more") } else { String::new() };
    bail!("{}:\n  {}{more}", context(), damage.join("\n  "))
}

/// Makes a data folder of a backup; it must not be there, or be empty. All of it is there afterwards, or nothing.
///
/// # Errors
/// The backup is damaged, there is something at the place, or the disk refuses.
pub fn restore(backup: &Path, data: &Path, out: &mut dyn Write) -> Result<Done> {
    let there = match fs::read_dir(data) {
        Ok(mut entries) => {
            let free = entries.next().is_none();
            ensure!(free, "{}: is not empty; a restore never writes over anything: move it away, or name another folder", data.display());
            Some(fs::metadata(data)?)
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
        Err(e) => return Err(e).with_context(|| data.display().to_string()),
    };
    let manifest = verified(backup, out)?;
    let half = beside(data, ".restoring")?;
    remove(&half)?;
    if let Some(above) = half.parent().filter(|above| *above != Path::new("")) {
        crate::folder::make(above).with_context(|| above.display().to_string())?;
    }
    let put = put_back(backup, &manifest, &half, out).and_then(|()| {
        if let Some(there) = &there {
            give(&half, there)?;
        }
        let taken = "is it a place where a disk is mounted? Then restore into a folder in it, and let `data:` name that";
        fs::rename(&half, data).with_context(|| format!("{}: {taken}", data.display()))?;
        Ok(sync_folder_of(data)?)
    });
    if put.is_err() {
        let _ = remove(&half);
    }
    put.with_context(|| format!("nothing is restored from {}", backup.display()))?;
    Ok(Done::new(data, &manifest))
}

fn put_back(backup: &Path, manifest: &Manifest, half: &Path, out: &mut dyn Write) -> Result<()> {
    let mut progress = Progress { out, what: "restored", done: 0, total: manifest.bytes(), told: Instant::now() };
    let mut tree = Tree::create(half).with_context(|| half.display().to_string())?;
    let mut files = 0;
    each(backup, &mut |name, _, from| {
        if name == manifest::NAME {
            return Ok(());
        }
        let entry = manifest.files.get(name).context("it changed meanwhile")?;
        let mut from = Summed::new(from.take(entry.bytes));
        tree.put(name, entry.mode, &mut from)?;
        // Not the umask of whoever restores it decides.
        fs::set_permissions(half.join(name), fs::Permissions::from_mode(entry.mode))?;
        ensure!(from.sum() == entry.sha256, "it changed meanwhile");
        files += 1;
        progress.add(entry.bytes);
        Ok(())
    })?;
    ensure!(files == manifest.files.len(), "it changed meanwhile");
    Ok(tree.finish()?)
}

/// Gives all of a folder to the owner of the one whose place it takes: root restores, and another user runs the server.
fn give(folder: &Path, owner: &fs::Metadata) -> Result<()> {
    let made = fs::metadata(folder)?;
    fs::set_permissions(folder, owner.permissions())?;
    if (made.uid(), made.gid()) == (owner.uid(), owner.gid()) {
        return Ok(());
    }
    let mut left = vec![folder.to_owned()];
    while let Some(path) = left.pop() {
        lchown(&path, Some(owner.uid()), Some(owner.gid())).with_context(|| path.display().to_string())?;
        if fs::symlink_metadata(&path)?.is_dir() {
            left.extend(fs::read_dir(&path)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?);
        }
    }
    Ok(())
}

/// Whether a file that is to be made would be in this folder.
fn is_within(file: &Path, folder: &Path) -> Result<bool> {
    let above = file.parent().filter(|above| *above != Path::new("")).unwrap_or(Path::new("."));
    let above = above.canonicalize().with_context(|| above.display().to_string())?;
    Ok(above.starts_with(folder.canonicalize().with_context(|| folder.display().to_string())?))
}

/// Of a write that is under way, or that a kill has left.
fn is_passing(name: &str) -> bool {
    [".half", ".new", ".temporary", ".partial", ".restoring"].iter().any(|end| name.ends_with(end))
}

fn beside(path: &Path, end: &str) -> Result<PathBuf> {
    let mut name = path.file_name().with_context(|| format!("{}: found no name of a file or folder", path.display()))?.to_owned();
    name.push(end);
    Ok(path.with_file_name(name))
}

fn remove(path: &Path) -> std::io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e),
    }
}

fn sync_folder_of(path: &Path) -> std::io::Result<()> {
    let above = path.parent().filter(|above| *above != Path::new("")).unwrap_or(Path::new("."));
    File::open(above)?.sync_all()
}
