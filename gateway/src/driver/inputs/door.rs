//! A Unix stream socket where programs tell readings, several at once. Shell: the socket and its clients. Knows no readings.
//!
//! What is wrong with a line is written back to its client as one line; a client that does not read that loses it, nothing else. Who comes
//! when [`MAX_CLIENTS`] are there takes the place of the one that has been silent for longest.

use std::future::poll_fn;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead as _, ReadBuf};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::Instant;

use crate::lines::{Cut, Lines};

/// Most clients at the same time.
pub(super) const MAX_CLIENTS: usize = 64;
/// Bytes that are read of a client before it is another's turn.
const CHUNK: usize = 8 << 10;

/// What happens at the door.
pub(super) enum Visit {
    /// Lines of the client with this number, and how many bytes they took.
    Lines(usize, Vec<Cut>, usize),
    /// The socket is there.
    Open(String),
    /// It could not be made.
    Failed(String),
    /// Somebody was sent away for somebody else.
    Full,
}

/// A socket and its clients.
pub(super) struct Door {
    path: PathBuf,
    mode: u32,
    listener: Option<UnixListener>,
    clients: Vec<Client>,
    met: usize,
}

struct Client {
    number: usize,
    stream: UnixStream,
    lines: Lines,
    heard: Instant,
    /// It will say no more; its last line is on its way.
    over: bool,
}

impl Door {
    /// Makes nothing yet.
    pub(super) fn new(path: PathBuf, mode: u32) -> Self {
        Self { path, mode, listener: None, clients: Vec::new(), met: 0 }
    }

    /// What happens next. Loses nothing when it is dropped.
    pub(super) async fn next(&mut self) -> Visit {
        if self.listener.is_none() {
            return match bind(&self.path, self.mode) {
                Ok(listener) => {
                    self.listener = Some(listener);
                    Visit::Open(format!("readings are taken at {}", self.path.display()))
                }
                Err(error) => Visit::Failed(format!("cannot listen at {}: {error}", self.path.display())),
            };
        }
        // Whoever said something last comes last.
        self.clients.retain(|client| !client.over);
        poll_fn(|context| self.poll(context)).await
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Visit> {
        while let Some(Poll::Ready(came)) = self.listener.as_ref().map(|listener| listener.poll_accept(context)) {
            match came {
                Ok((stream, _)) => {
                    let full = self.make_room();
                    self.met += 1;
                    self.clients.push(Client { number: self.met, stream, lines: Lines::default(), heard: Instant::now(), over: false });
                    if full {
                        return Poll::Ready(Visit::Full);
                    }
                }
                Err(error) => {
                    self.listener = None;
                    return Poll::Ready(Visit::Failed(format!("nobody can come in at {}: {error}", self.path.display())));
                }
            }
        }
        for at in 0..self.clients.len() {
            let Some(Poll::Ready((lines, bytes))) = self.clients.get_mut(at).map(|client| client.poll(context)) else { continue };
            let client = self.clients.remove(at);
            let number = client.number;
            self.clients.push(client);
            return Poll::Ready(Visit::Lines(number, lines, bytes));
        }
        Poll::Pending
    }

    /// Sends the client away that has been silent for longest, where there are as many as there may be.
    fn make_room(&mut self) -> bool {
        let full = self.clients.len() >= MAX_CLIENTS;
        let oldest = self.clients.iter().enumerate().min_by_key(|(_, client)| client.heard).map(|(at, _)| at);
        if let Some(oldest) = oldest.filter(|_| full) {
            self.clients.remove(oldest);
        }
        full
    }

    /// Tells a client what is wrong with its lines, as far as it reads that.
    pub(super) fn answer(&mut self, number: usize, errors: &[String]) {
        let Some(client) = self.clients.iter().find(|client| client.number == number) else { return };
        for error in errors {
            let mut line = error.clone();
            line.push('\n');
            if client.stream.try_write(line.as_bytes()).is_err() {
                return;
            }
        }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        if self.listener.is_some() {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl Client {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<(Vec<Cut>, usize)> {
        let mut space = [0; CHUNK];
        let mut bytes = ReadBuf::new(&mut space);
        let read = match Pin::new(&mut self.stream).poll_read(context, &mut bytes) {
            Poll::Ready(read) => read,
            Poll::Pending => return Poll::Pending,
        };
        self.heard = Instant::now();
        self.over = read.is_err() || bytes.filled().is_empty();
        let count = bytes.filled().len();
        let lines = if self.over { self.lines.finish().into_iter().collect() } else { self.lines.push(bytes.filled()) };
        Poll::Ready((lines, count))
    }
}

/// Its name appears when only those can open it who may. What is there by this name is a dead socket, or another's business.
fn bind(path: &Path, mode: u32) -> io::Result<UnixListener> {
    if let Ok(meta) = std::fs::symlink_metadata(path) {
        if !meta.file_type().is_socket() {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "something that is no socket has its name"));
        }
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, "somebody else listens there"));
        }
    }
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    let _ = std::fs::remove_file(&new);
    let listener = UnixListener::bind(&new)?;
    std::fs::set_permissions(&new, std::fs::Permissions::from_mode(mode))?;
    std::fs::rename(&new, path)?;
    Ok(listener)
}
