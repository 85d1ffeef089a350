//! Shell: the server's end of its control socket, by which the command line asks for a snapshot. One at a time; without a socket the server runs
//! all the same. What is said is in [`source`](crate::backup::source).

use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use crate::backup::source::{ASK, Answer, MAX_LINE_BYTES, SNAPSHOT, SOCKET, begin, forget};
use crate::store::Store;

/// Wait after the system could not give a connection, before the next try.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Whoever connects has so long to say what it wants.
const SAID_WITHIN: Duration = Duration::from_secs(5);

/// Listens in a data folder that this process has to itself, so that a socket or a snapshot that is there is a dead one's.
#[must_use]
pub fn listen(data: &Path) -> Option<UnixListener> {
    let snapshot = data.join(SNAPSHOT);
    if let Err(error) = forget(&snapshot) {
        warn!(path = %snapshot.display(), %error, "a snapshot of an earlier life cannot be removed; it takes space");
    }
    let path = data.join(SOCKET);
    let listener = bind(&path);
    listener.inspect_err(|error| warn!(path = %path.display(), %error, "no control socket: a backup needs this server to be stopped")).ok()
}

/// Its name appears when nobody but this user can open it.
fn bind(path: &Path) -> io::Result<UnixListener> {
    if std::fs::symlink_metadata(path).is_ok_and(|meta| !meta.file_type().is_socket()) {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "something that is no socket has its name"));
    }
    let new = path.with_extension("new");
    let _ = std::fs::remove_file(&new);
    let listener = UnixListener::bind(&new)?;
    std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o600))?;
    std::fs::rename(&new, path)?;
    Ok(listener)
}

/// Answers until told to stop. A snapshot that somebody still uses then stays; it goes with the next start.
pub async fn serve(listener: Option<UnixListener>, data: PathBuf, store: Arc<dyn Store>, mut stopped: watch::Receiver<bool>) {
    let Some(listener) = listener else { return };
    let mut session: Option<Pin<Box<dyn Future<Output = ()> + Send>>> = None;
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) if session.is_some() => drop(stream.try_write(&line(&Err("another backup is under way".to_owned())))),
                Ok((stream, _)) => session = Some(Box::pin(answer(stream, data.join(SNAPSHOT), store.clone()))),
                Err(_) => sleep(ACCEPT_PAUSE).await,
            },
            () = async { if let Some(session) = &mut session { session.await } }, if session.is_some() => session = None,
            () = async { drop(stopped.wait_for(|stop| *stop).await) } => break,
        }
    }
    let _ = std::fs::remove_file(data.join(SOCKET));
}

/// Makes a snapshot for whoever asks, and removes it when that one is gone.
async fn answer(mut stream: UnixStream, folder: PathBuf, store: Arc<dyn Store>) {
    let mut asked = String::new();
    let (reader, mut writer) = stream.split();
    let mut reader = BufReader::new(reader).take(MAX_LINE_BYTES);
    match timeout(SAID_WITHIN, reader.read_line(&mut asked)).await {
        Ok(Ok(_)) if asked.trim_end() == ASK => {}
        Ok(Ok(_)) => return drop(writer.write_all(&line(&Err(format!("not understood; expected {ASK:?}")))).await),
        // Whoever is too slow, or gone, has only himself to blame.
        _ => return,
    }
    let made = {
        let folder = folder.clone();
        // A panic of the store costs this answer.
        tokio::task::spawn_blocking(move || snapshot(&*store, &folder)).await.unwrap_or_else(|e| Err(format!("BUG: {e}")))
    };
    match &made {
        Ok(()) => info!("a snapshot is made for a backup"),
        Err(error) => warn!(error, "no snapshot for a backup"),
    }
    if writer.write_all(&line(&made)).await.is_ok() && made.is_ok() {
        // Nothing more comes but its end.
        let _ = reader.read(&mut [0; 1]).await;
    }
    let _ = tokio::task::spawn_blocking(move || forget(&folder)).await;
}

fn snapshot(store: &dyn Store, folder: &Path) -> Answer {
    begin(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    store.snapshot(folder).map_err(|e| e.to_string())
}

fn line(answer: &Answer) -> Vec<u8> {
    let mut line = serde_json::to_vec(answer).unwrap_or_default();
    line.push(b'\n');
    line
}
