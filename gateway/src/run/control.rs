//! The daemon's end of its control socket: takes one question at a time and answers it. Shell.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use pattoo_wire::Warning;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{sleep, timeout};
use tracing::warn;

use super::reload::Request;
use crate::buffer::Stats;
use crate::buffer::worker::Handle;
use crate::clock;
use crate::control::{ANSWER_WITHIN, Answer, Ask, JUDGED_WITHIN, MAX_LINE_BYTES, Standing, socket};
use crate::link_log::{Level, LinkLog, MAX_FOR};
use crate::timebase::State;

/// Wait after the system could not give a connection, before the next try.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Wait for the buffer to say how old its oldest batch is.
const OLDEST_WITHIN: Duration = Duration::from_secs(2);

/// Wait for an answer that is under way at the stop.
const LAST_ANSWER: Duration = Duration::from_secs(1);

/// The logs of links by name.
pub(super) type Logs = BTreeMap<String, Arc<LinkLog>>;

/// What questions are about.
pub(super) struct Known {
    pub(super) logs: Arc<Logs>,
    pub(super) reloads: mpsc::Sender<Request>,
    pub(super) buffer: Handle,
    pub(super) time: watch::Receiver<State>,
    pub(super) warnings: watch::Receiver<Vec<Warning>>,
}

impl Known {
    async fn standing(&self) -> Standing {
        let Stats { batches, bytes, disk_bytes, dropped_readings, pending_gaps, .. } = self.buffer.stats();
        let (clock_source, warnings) = (self.time.borrow().source.to_string(), self.warnings.borrow().clone());
        let now_ms = self.time.borrow().utc_ms(clock::boot_ms());
        // A buffer that has stopped has none, and one whose disk stands still does not hold up the rest.
        let oldest = timeout(OLDEST_WITHIN, self.buffer.oldest_ms()).await;
        let oldest_ms = oldest.ok().and_then(Result::ok).flatten();
        let oldest_age_s = oldest_ms.zip(now_ms).map(|(oldest_ms, now_ms)| now_ms.saturating_sub(oldest_ms).max(0).unsigned_abs() / 1000);
        Standing { batches, bytes, oldest_age_s, disk_bytes, dropped_readings, pending_gaps, clock: clock_source, warnings }
    }
}

/// Listens beside this buffer, which this process has to itself, so that a socket that is there is a dead one's. Without a socket the
/// daemon runs all the same.
pub(super) fn listen(buffer: &Path) -> Option<UnixListener> {
    let path = socket(buffer);
    let listener = bind(&path);
    listener
        .inspect_err(|error| warn!(path = %path.display(), %error, "no control socket: `pattoo-gateway log` will not reach this daemon"))
        .ok()
}

/// Its name appears when nobody but this user can open it.
fn bind(path: &Path) -> io::Result<UnixListener> {
    if std::fs::symlink_metadata(path).is_ok_and(|meta| !meta.file_type().is_socket()) {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "something that is no socket has its name"));
    }
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    let _ = std::fs::remove_file(&new);
    let listener = UnixListener::bind(&new)?;
    std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o600))?;
    std::fs::rename(&new, path)?;
    Ok(listener)
}

/// Answers until told to stop.
pub(super) async fn serve(listener: UnixListener, buffer: std::path::PathBuf, known: Known, mut stop: watch::Receiver<bool>) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        match accepted {
            // Whoever is too slow, or gone, has only himself to blame.
            Ok((stream, _)) => {
                let answering = timeout(JUDGED_WITHIN, answer(stream, &known));
                tokio::pin!(answering);
                tokio::select! {
                    _ = &mut answering => continue,
                    _ = stop.wait_for(|stop| *stop) => {}
                }
                // The answer that a new configuration is taken over comes together with the stop of this.
                drop(timeout(LAST_ANSWER, answering).await);
                break;
            }
            Err(_) => sleep(ACCEPT_PAUSE).await,
        }
    }
    let _ = std::fs::remove_file(socket(&buffer));
}

async fn answer(mut stream: UnixStream, known: &Known) -> io::Result<()> {
    let mut line = String::new();
    let (reader, mut writer) = stream.split();
    let mut reader = BufReader::new(reader).take(MAX_LINE_BYTES as u64);
    timeout(ANSWER_WITHIN, reader.read_line(&mut line)).await.map_err(io::Error::other)??;
    let answer: Answer = match serde_json::from_str(&line) {
        Ok(Ask::Log { link, level, seconds }) => switch(&link, &level, seconds, &known.logs),
        Ok(Ask::Reload) => reload(&known.reloads).await,
        Ok(Ask::Status) => serde_json::to_string(&known.standing().await).map_err(|error| format!("BUG: {error}")),
        Err(error) => Err(format!("not understood: {error}")),
    };
    writer.write_all(format!("{}\n", serde_json::to_string(&answer)?).as_bytes()).await
}

async fn reload(reloads: &mpsc::Sender<Request>) -> Answer {
    let (request, judged) = oneshot::channel();
    let gone = || "the daemon is stopping".to_owned();
    reloads.send(request).await.map_err(|_| gone())?;
    judged.await.map_err(|_| gone())?
}

fn switch(link: &str, level: &str, seconds: u64, logs: &Logs) -> Answer {
    let level = Level::from_name(level).ok_or_else(|| format!("there is no level {level:?}"))?;
    let log = logs.get(link).ok_or_else(|| {
        let names: Vec<_> = logs.keys().map(String::as_str).collect();
        format!("there is no link {link:?}; expected one of {}", names.join(", "))
    })?;
    let time = Duration::from_secs(seconds).min(MAX_FOR);
    log.switch(level, time);
    Ok(match level {
        Level::Off => format!("link {link}: decode log off"),
        level => format!("link {link}: {} in the daemon's log for {}", level.name(), humantime::format_duration(time)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control;

    fn log(link: &str, level: &str) -> Ask {
        Ask::Log { link: link.into(), level: level.into(), seconds: 60 }
    }

    #[tokio::test]
    async fn a_question_is_answered_and_rubbish_ends_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let buffer = folder.path().join("buffer");
        // What a daemon left that was killed.
        drop(std::os::unix::net::UnixListener::bind(socket(&buffer)).unwrap());
        let listener = listen(&buffer).unwrap();
        assert_eq!(std::fs::metadata(socket(&buffer)).unwrap().permissions().mode() & 0o777, 0o600);
        let logs = Arc::new(Logs::from([("line1".to_owned(), Arc::new(LinkLog::new("line1", Level::Off)))]));
        let (stop, stopped) = watch::channel(false);
        let (reloads, mut asked_to) = mpsc::channel::<Request>(1);
        let (stats, full) = (Stats { batches: 3, disk_bytes: 9, ..Stats::default() }, vec![Warning::new("disk", "it is full soon")]);
        let (handle, _) = crate::buffer::worker::channel(stats);
        let (time, warnings) = (watch::channel(State::default()).1, watch::channel(full.clone()).1);
        let known = Known { logs, reloads, buffer: handle, time, warnings };
        let served = tokio::spawn(serve(listener, buffer.clone(), known, stopped));
        let judge = async move {
            asked_to.recv().await.unwrap().send(Err("gateway.yaml:3:1: no".to_owned())).unwrap();
        };
        let asked = |question: Ask| {
            let buffer = buffer.clone();
            async move { tokio::task::spawn_blocking(move || control::ask(&buffer, &question).unwrap()).await.unwrap() }
        };
        assert_eq!(asked(log("line1", "frames")).await.unwrap(), "link line1: frames in the daemon's log for 1m");
        assert_eq!(asked(log("line2", "frames")).await.unwrap_err(), "there is no link \"line2\"; expected one of line1");
        assert_eq!(asked(log("line1", "loud")).await.unwrap_err(), "there is no level \"loud\"");
        let standing: Standing = serde_json::from_str(&asked(Ask::Status).await.unwrap()).unwrap();
        assert_eq!(standing, Standing { batches: 3, disk_bytes: 9, clock: "none".into(), warnings: full, ..Standing::default() });
        let (refused, ()) = tokio::join!(asked(Ask::Reload), judge);
        assert_eq!(refused.unwrap_err(), "gateway.yaml:3:1: no");
        assert_eq!(asked(Ask::Reload).await.unwrap_err(), "the daemon is stopping");
        let mut stream = UnixStream::connect(socket(&buffer)).await.unwrap();
        stream.write_all(&[b'x'; 2 * MAX_LINE_BYTES]).await.unwrap();
        let mut text = String::new();
        // It closes with what it did not read still there, which may cost the answer.
        let _ = stream.read_to_string(&mut text).await;
        assert!(text.is_empty() || text.contains("not understood"), "{text}");
        assert_eq!(asked(log("line1", "off")).await.unwrap(), "link line1: decode log off");
        stop.send(true).unwrap();
        served.await.unwrap();
        assert!(!socket(&buffer).exists() && control::ask(&buffer, &log("line1", "off")).is_err());
    }

    #[tokio::test]
    async fn what_is_no_socket_stays() {
        let folder = tempfile::tempdir().unwrap();
        let buffer = folder.path().join("buffer");
        std::fs::write(socket(&buffer), "mine").unwrap();
        assert!(listen(&buffer).is_none());
        assert_eq!(std::fs::read_to_string(socket(&buffer)).unwrap(), "mine");
    }
}
