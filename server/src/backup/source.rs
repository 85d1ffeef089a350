//! Shell: where a backup comes from: a snapshot that the running server makes, or, where none runs, one that is made under the store's lock.
//!
//! The server listens at a Unix socket in its data folder that only its own user may open. It is told `snapshot`, makes a folder of that name
//! and says so; whoever asked removes the folder when it is done with it, as does the server when the connection ends.

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::store::embedded::snapshot;

/// The ledger of the store.
pub const LEDGER: &str = "pattoo.redb";
/// What a store that keeps its history elsewhere has beside it: the same again.
pub const BESIDE: &str = "beside";
/// Where the running server listens.
pub const SOCKET: &str = "control.socket";
/// The snapshot, as long as there is one.
pub const SNAPSHOT: &str = "snapshot";
/// What a server is asked.
pub const ASK: &str = "snapshot";
/// Longest line, in bytes.
pub const MAX_LINE_BYTES: u64 = 4096;
/// A snapshot waits for a merge that is under way, and copies the ledger.
const WITHIN: Duration = Duration::from_secs(600);
const SAID_WITHIN: Duration = Duration::from_secs(5);

/// What is answered: done, or why not.
pub type Answer = Result<(), String>;

/// A snapshot of a store. It goes when this is dropped.
pub struct Snapshot {
    folder: PathBuf,
    /// The connection to a server, or the lock that keeps one from starting.
    _held: Held,
}

enum Held {
    Server(#[expect(dead_code, reason = "its end tells the server")] UnixStream),
    Lock(#[expect(dead_code, reason = "its end frees the store")] fs::File),
}

impl Snapshot {
    /// Where it is.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        // The server may have been faster; what is left goes with its next start.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Takes one of the store in this data folder.
///
/// # Errors
/// There is no store, it belongs to another user, or the disk refuses.
pub fn take(data: &Path) -> Result<Snapshot> {
    let (folder, ledger, socket) = (data.join(SNAPSHOT), data.join(LEDGER), data.join(SOCKET));
    if !ledger.try_exists().with_context(|| ledger.display().to_string())? {
        bail!(
            "{}: found no {LEDGER}: there is no store in it; `data:` in the configuration, PATTOO_DATA or --data name another",
            data.display()
        );
    }
    match UnixStream::connect(&socket) {
        Ok(stream) => {
            let asked = ask(stream).with_context(|| format!("the running server at {}", socket.display()))?;
            Ok(Snapshot { folder, _held: Held::Server(asked) })
        }
        // There is none, or one that a kill has left.
        Err(e) if [ErrorKind::NotFound, ErrorKind::ConnectionRefused].contains(&e.kind()) => {
            let lock = snapshot::lock(&ledger).with_context(|| format!("no server answers at {}", socket.display()))?;
            let taken = Snapshot { folder, _held: Held::Lock(lock) };
            begin(&taken.folder).with_context(|| taken.folder.display().to_string())?;
            snapshot::of_closed(&ledger, &taken.folder)?;
            if data.join(BESIDE).exists() {
                fs::create_dir(taken.folder.join(BESIDE))?;
                snapshot::of_closed(&data.join(BESIDE).join(LEDGER), &taken.folder.join(BESIDE))?;
            }
            Ok(taken)
        }
        Err(e) => Err(e).with_context(|| format!("{}: run this as root or as the user of the server", socket.display())),
    }
}

/// Makes an empty folder for a snapshot, in place of one that was left.
///
/// # Errors
/// The disk refuses.
pub fn begin(folder: &Path) -> std::io::Result<()> {
    forget(folder)?;
    fs::DirBuilder::new().mode(0o700).create(folder)
}

/// Removes a snapshot that nobody needs any more.
///
/// # Errors
/// The disk refuses.
pub fn forget(folder: &Path) -> std::io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

fn ask(mut stream: UnixStream) -> Result<UnixStream> {
    stream.set_write_timeout(Some(SAID_WITHIN))?;
    stream.set_read_timeout(Some(WITHIN))?;
    stream.write_all(format!("{ASK}\n").as_bytes())?;
    let mut line = String::new();
    BufReader::new((&stream).take(MAX_LINE_BYTES)).read_line(&mut line).context("it did not answer")?;
    match serde_json::from_str::<Answer>(&line) {
        Ok(Ok(())) => Ok(stream),
        Ok(Err(why)) => bail!("it made no snapshot: {why}"),
        Err(_) => bail!("it ended before it answered"),
    }
}
