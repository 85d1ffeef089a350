//! A program whose system clock shows another time, by libfaketime. Its other clocks go on: like on a machine whose clock is set.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Where Debian puts the library, below the folder of the architecture.
const LIBRARY: &str = "faketime/libfaketimeMT.so.1";

/// What programs that are started within it take for the system clock.
#[derive(Debug)]
pub struct FakeClock {
    library: PathBuf,
    file: PathBuf,
}

impl FakeClock {
    /// A clock that is right as yet; keeps a file in this folder.
    ///
    /// # Errors
    /// The library is not installed.
    pub fn new(folder: &Path) -> Result<Self> {
        let folders = std::fs::read_dir("/usr/lib")?.flatten().map(|entry| entry.path());
        let library = folders.map(|folder| folder.join(LIBRARY)).find(|path| path.exists());
        let library = library.context("libfaketime is missing: run tests/run once, it installs the Debian package faketime")?;
        let clock = Self { library, file: folder.join("faketime") };
        clock.set(0)?;
        Ok(clock)
    }

    /// Sets it so many seconds before (-) or after the true time, for programs that run already too.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn set(&self, offset_s: i64) -> Result<()> {
        let new = self.file.with_extension("new");
        std::fs::write(&new, format!("{offset_s:+}\n"))?;
        Ok(std::fs::rename(new, &self.file)?)
    }

    /// The command that starts another one within it.
    #[must_use]
    pub fn command(&self) -> Vec<String> {
        let settings = [
            format!("LD_PRELOAD={}", self.library.display()),
            format!("FAKETIME_TIMESTAMP_FILE={}", self.file.display()),
            "FAKETIME_NO_CACHE=1".into(),
            "FAKETIME_DONT_FAKE_MONOTONIC=1".into(),
            "NO_FAKE_STAT=1".into(),
        ];
        std::iter::once("env".into()).chain(settings).collect()
    }
}
