//! Keeps what the drivers learn of their devices in a file beside the buffer. A shell file: disk and log.
//!
//! Losing the file costs a few requests, so that nothing here stops the daemon: what cannot be read is begun anew, what cannot be written is
//! tried again with the next news.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use crate::config::{Config, Link};
use crate::lessons::{Book, Lessons, MAX_BYTES};
use crate::reading::DeviceIndex;

/// The file, beside the folder of the buffer.
const FILE: &str = "learned.json";

/// News that wait to be written; one more makes its link wait.
const MAX_NEWS: usize = 256;

/// News are collected for so long: a device that is read for the first time has much to teach.
const WRITE_AFTER: Duration = Duration::from_secs(10);

/// What a driver has learned.
pub(super) type News = (DeviceIndex, Lessons);

/// Where news go.
pub(super) fn news() -> (mpsc::Sender<News>, mpsc::Receiver<News>) {
    mpsc::channel(MAX_NEWS)
}

/// The file of a gateway.
pub(super) fn path(config: &Config) -> PathBuf {
    config.buffer.path.with_file_name(FILE)
}

/// What was kept; nothing where that cannot be read.
pub(super) fn read(path: &Path) -> Book {
    let content = || -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(path)?.take(MAX_BYTES as u64).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let why = match content() {
        Ok(bytes) => match Book::decode(&bytes) {
            Ok(book) => return book,
            Err(error) => error.to_string(),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Book::default(),
        Err(error) => error.to_string(),
    };
    warn!(path = %path.display(), why, "what was learned of the devices cannot be read and is begun anew: they are asked a few requests more");
    Book::default()
}

/// Writes what is learned, until the links are gone.
pub(super) async fn keep(mut book: Book, config: Arc<Config>, mut news: mpsc::Receiver<News>) {
    let path = path(&config);
    book.retain(|name| config.devices.iter().any(|device| device.name == name));
    let mut due: Option<Instant> = None;
    let mut failing = false;
    loop {
        let came = tokio::select! {
            came = news.recv() => came,
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                due = None;
                failing = write(&path, &book, failing).await;
                continue;
            }
        };
        let Some((index, lessons)) = came else { break };
        if note(&mut book, &config, index, lessons).is_some() {
            due.get_or_insert(Instant::now() + WRITE_AFTER);
        }
    }
    if due.is_some() {
        write(&path, &book, failing).await;
    }
}

fn note(book: &mut Book, config: &Config, index: DeviceIndex, lessons: Lessons) -> Option<()> {
    // Where the points of a SunSpec device lie is found anew in each run, and its lessons are about that.
    let device = config.devices.get(index.0).filter(|device| !device.profile.is_sunspec())?;
    let Link { name, transport, .. } = config.links.iter().find(|link| link.devices.contains(&index))?;
    info!(device = device.name, refused = lessons.refused.len(), edges = lessons.edges.len(), "learned what the device refuses");
    book.keep(device, name, transport, lessons);
    Some(())
}

/// Gives whether it failed; a failure is said once.
async fn write(path: &Path, book: &Book, failing: bool) -> bool {
    let (to, bytes) = (path.to_owned(), book.encode());
    let written = tokio::task::spawn_blocking(move || replace(&to, &bytes)).await;
    match written.map_err(io::Error::other).flatten() {
        Ok(()) => false,
        Err(error) => {
            if !failing {
                warn!(path = %path.display(), %error, "what was learned of the devices cannot be kept: after a restart it is learned again");
            }
            true
        }
    }
}

/// The old file or the new one is there at any time.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = File::create(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lessons::Lesson;

    fn lessons() -> Lessons {
        Lessons { refused: [(0, Lesson { code: 2, tries: 1, left_ms: 60_000 })].into(), edges: vec![] }
    }

    fn config(folder: &Path) -> Arc<Config> {
        let yaml = format!(
            "gateway: plant7\nuplink: {{ url: 'mqtt://127.0.0.1:1' }}\nbuffer: {{ path: {} }}\nlinks:\n  plc: {{ tcp: 10.0.0.5:502 }}\ndevices:\n  \
             - {{ name: meter, profile: eastron-sdm630, link: plc }}\n",
            folder.join("buffer").display()
        );
        let file = folder.join("gateway.yaml");
        fs::write(&file, yaml).unwrap();
        let loaded = crate::config::load(&file, &[Path::new(env!("CARGO_MANIFEST_DIR")).join("../hw-profiles")], &|_| None).unwrap();
        assert!(loaded.problems.is_empty(), "{:?}", loaded.problems);
        Arc::new(loaded.config)
    }

    fn found<'a>(book: &'a Book, config: &Config) -> Option<&'a Lessons> {
        book.find(&config.devices[0], &config.links[0].name, &config.links[0].transport)
    }

    #[tokio::test(start_paused = true)]
    async fn news_are_kept_across_a_stop_and_what_cannot_be_read_is_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path());
        let file = path(&config);
        assert_eq!(read(&file), Book::default(), "a first start");
        let (sender, receiver) = news();
        sender.send((DeviceIndex(0), lessons())).await.unwrap();
        sender.send((DeviceIndex(9), lessons())).await.unwrap();
        drop(sender);
        keep(Book::default(), Arc::clone(&config), receiver).await;
        assert_eq!(found(&read(&file), &config), Some(&lessons()));

        let good = fs::read(&file).unwrap();
        for bytes in [&good[..good.len() - 1], b"", b"{}"] {
            fs::write(&file, bytes).unwrap();
            assert_eq!(read(&file), Book::default());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn many_news_are_one_write_and_a_disk_that_fails_stops_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path());
        let file = path(&config);
        // A folder in its place cannot be replaced.
        fs::create_dir(&file).unwrap();
        let (sender, receiver) = news();
        let kept = tokio::spawn(keep(Book::default(), Arc::clone(&config), receiver));
        sender.send((DeviceIndex(0), Lessons::default())).await.unwrap();
        tokio::time::sleep(WRITE_AFTER * 2).await;
        fs::remove_dir(&file).unwrap();
        sender.send((DeviceIndex(0), lessons())).await.unwrap();
        tokio::time::sleep(WRITE_AFTER / 2).await;
        assert!(!file.exists(), "not yet");
        drop(sender);
        kept.await.unwrap();
        assert_eq!(found(&read(&file), &config), Some(&lessons()));
    }
}
