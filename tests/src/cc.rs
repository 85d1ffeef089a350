//! Helpers of the tests that are written in C, built when they are needed.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::root;

/// The result of building `tests/peers/<name>.c`, which is built if it is not there.
///
/// # Errors
/// There is no C compiler, or a library is missing.
pub fn built(name: &str, flags: &[&str], libraries: &[&str]) -> Result<PathBuf> {
    let source = root().join("tests/peers").join(name).with_extension("c");
    let text = std::fs::read(&source).with_context(|| source.display().to_string())?;
    let folder = root().join("target/test-tools");
    std::fs::create_dir_all(&folder)?;
    let result = folder.join(format!("{name}-{:08x}", crc32fast::hash(&text)));
    if !result.exists() {
        // Tests run side by side: each builds its own, the last one wins.
        let own = folder.join(format!("{name}-{}.tmp", std::process::id()));
        let output =
            Command::new("cc").args(["-O2", "-Wall", "-Werror"]).args(flags).arg("-o").arg(&own).arg(&source).args(libraries).output();
        let output = output.context("cc is missing: run tests/run once, it installs gcc")?;
        ensure!(output.status.success(), "cc {}: {}", source.display(), String::from_utf8_lossy(&output.stderr));
        std::fs::rename(&own, &result)?;
    }
    Ok(result)
}
