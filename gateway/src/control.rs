//! What a person on this machine may ask of the running daemon, and how it is said: one line of JSON each way over a Unix socket beside
//! the buffer, which only the daemon's own user may open. Pure but for the client; the daemon's end is in `run`.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pattoo_wire::Warning;
use serde::{Deserialize, Serialize};

/// Longest question, in bytes.
pub(crate) const MAX_LINE_BYTES: usize = 4096;
/// Longest answer, in bytes: all warnings that there may be, escaped.
const MAX_ANSWER_BYTES: u64 = 256 << 10;
/// How long either side waits for the other.
pub(crate) const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// How long a new configuration may take to be read and judged: a slow machine reads many profiles for some seconds.
pub(crate) const JUDGED_WITHIN: Duration = Duration::from_secs(60);

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Ask {
    /// Set the decode log of a link.
    Log {
        /// Name of the link.
        link: String,
        /// `off`, `values`, `frames` or `bytes`.
        level: String,
        /// For how long.
        seconds: u64,
    },
    /// Read the configuration again and go on with it, if it is good.
    Reload,
    /// How the buffer stands and what is going to be trouble; answered by a [`Standing`] in JSON.
    Status,
}

/// How the buffer stands, and what is going to be trouble.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Batches that wait for the server's acknowledgement.
    pub batches: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// Seconds since the first reading of the oldest of them; none where none waits, or its time is not known yet.
    #[serde(default)]
    pub oldest_age_s: Option<u64>,
    /// Bytes that the buffer takes on the disk.
    pub disk_bytes: u64,
    /// Readings dropped since the buffer began, all on record as gaps.
    pub dropped_readings: u64,
    /// Gap records that no batch carries yet.
    pub pending_gaps: u64,
    /// What the times of readings rest on.
    pub clock: String,
    /// What is going to be trouble.
    pub warnings: Vec<Warning>,
}

/// What is answered: what was done, or why not.
pub type Answer = Result<String, String>;

/// The socket of the daemon that has this buffer.
#[must_use]
pub fn socket(buffer: &Path) -> PathBuf {
    let mut name = buffer.file_name().unwrap_or_default().to_owned();
    name.push(".control");
    buffer.with_file_name(name)
}

/// Asks the daemon that has this buffer.
///
/// # Errors
/// It does not run, belongs to another user, or does not answer.
pub fn ask(buffer: &Path, ask: &Ask) -> io::Result<Answer> {
    let mut stream = UnixStream::connect(socket(buffer))?;
    let within = if matches!(ask, Ask::Reload) { JUDGED_WITHIN } else { ANSWER_WITHIN };
    stream.set_read_timeout(Some(within))?;
    stream.set_write_timeout(Some(ANSWER_WITHIN))?;
    stream.write_all(format!("{}\n", serde_json::to_string(ask)?).as_bytes())?;
    let mut line = String::new();
    BufReader::new(stream.take(MAX_ANSWER_BYTES)).read_line(&mut line)?;
    Ok(serde_json::from_str(&line)?)
}

/// How the daemon that has this buffer stands.
///
/// # Errors
/// As [`ask`].
pub fn standing(buffer: &Path) -> io::Result<Standing> {
    Ok(serde_json::from_str(&ask(buffer, &Ask::Status)?.map_err(io::Error::other)?)?)
}
