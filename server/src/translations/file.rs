//! Shell: the file of the translations in a data folder. The command line and a running server both change it, in turns; the server
//! looks whether it changed.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use thiserror::Error;
use tokio::sync::watch;
use tracing::{error, warn};

use super::{MAX_FILE_BYTES, Translations, TranslationsError};
use crate::broker::accounts::file::{FileError, Stamp, lock, read, stamp_of, write_private};

const NAME: &str = "translations.json";
/// How often the file is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The translations cannot be read or changed.
#[derive(Debug, Error)]
pub enum TranslationsFileError {
    /// The system says no.
    #[error("{0}")]
    System(#[from] FileError),
    /// The content of the file.
    #[error("{}: {error}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong in it.
        error: TranslationsError,
    },
    /// What was asked for.
    #[error("{0}")]
    Refused(#[from] TranslationsError),
}

/// Reads the translations; none where there is no file.
///
/// # Errors
/// It cannot be read, or is not as this program wrote it.
pub fn load(data: &Path) -> Result<Translations, TranslationsFileError> {
    let path = data.join(NAME);
    match read(&path, MAX_FILE_BYTES)? {
        Some(text) => Translations::parse(&text).map_err(|error| TranslationsFileError::Content { path, error }),
        None => Ok(Translations::default()),
    }
}

/// Changes the translations: all of the change is on stable storage when this is back, or nothing of it.
///
/// # Errors
/// The change is refused, or the file cannot be read or written.
pub fn change<T>(
    data: &Path,
    change: impl FnOnce(&mut Translations) -> Result<T, TranslationsError>,
) -> Result<(T, Translations), TranslationsFileError> {
    let _order = lock(data)?;
    let mut translations = load(data)?;
    let result = change(&mut translations)?;
    write_private(&data.join(NAME), translations.text().as_bytes())?;
    Ok((result, translations))
}

/// The translations as a server has them.
#[derive(Debug)]
pub struct Kept {
    data: PathBuf,
    now: RwLock<Arc<Translations>>,
    seen: Mutex<Option<Stamp>>,
}

impl Kept {
    /// Those of this data folder. Where they cannot be read, things are called as they are; the log says so.
    #[must_use]
    pub fn open(data: &Path) -> Arc<Self> {
        let kept = Self { data: data.to_owned(), now: RwLock::default(), seen: Mutex::default() };
        kept.look();
        Arc::new(kept)
    }

    /// The translations as they are now.
    #[must_use]
    pub fn now(&self) -> Arc<Translations> {
        self.now.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes them; all see it when this is back. Blocks.
    ///
    /// # Errors
    /// As with [`change`].
    pub fn change<T>(
        &self,
        what: impl FnOnce(&mut Translations) -> Result<T, TranslationsError>,
    ) -> Result<(T, Arc<Translations>), TranslationsFileError> {
        let (result, next) = change(&self.data, what)?;
        let next = Arc::new(next);
        *self.now.write().unwrap_or_else(PoisonError::into_inner) = next.clone();
        Ok((result, next))
    }

    /// Looks whether the file changed, until `stopped`.
    pub async fn watch(self: Arc<Self>, mut stopped: watch::Receiver<bool>) {
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = looks.tick() => {}
                _ = stopped.wait_for(|stopped| *stopped) => return,
            }
            let kept = self.clone();
            if let Err(e) = tokio::task::spawn_blocking(move || kept.look()).await {
                error!("BUG: looking at the translations: {e}");
            }
        }
    }

    fn look(&self) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let found = match stamp_of(self.data.join(NAME)) {
            Ok(found) if found == *seen => return,
            Ok(found) => found,
            Err(e) => return warn!("the translations cannot be read: {e}"),
        };
        match load(&self.data) {
            Ok(translations) => *self.now.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(translations),
            Err(e) => warn!("the translations cannot be read: {e}; going on with those from before"),
        }
        *seen = found;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_command_line_imports_a_running_server_sees_and_a_broken_file_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let kept = Kept::open(folder.path());
        assert_eq!(*kept.now(), Translations::default());
        let pack = |name: &str| format!("language,key,translation\nen,p,{name}\n").into_bytes();
        change(folder.path(), |all| all.import(&pack("One"))).unwrap();
        kept.look();
        let name = || kept.now().words("en").and_then(|words| words.program("p").map(str::to_owned));
        assert_eq!(name().as_deref(), Some("One"));
        kept.change(|all| all.import(&pack("Two"))).unwrap();
        assert_eq!((name().as_deref(), load(folder.path()).unwrap()), (Some("Two"), kept.now().as_ref().clone()));
        std::fs::write(folder.path().join(NAME), "{").unwrap();
        kept.look();
        assert_eq!(name().as_deref(), Some("Two"));
        let error = kept.change(|all| all.import(&pack("Three"))).unwrap_err().to_string();
        assert!(error.contains("translations.json") && error.contains("move the file away"), "{error}");
    }
}
