//! What a backup says of itself: its files, their sizes and checksums, sealed by a checksum of its own. Pure.

use std::collections::BTreeMap;
use std::path::{Component, Path};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;

/// Its name in a backup. It is written last: a backup without one was not finished.
pub(super) const NAME: &str = "MANIFEST";
/// Most bytes that one is read of: enough for two million files.
pub(super) const MAX_BYTES: u64 = 512 << 20;
/// What this program writes.
const FORMAT: u32 = 1;

/// All files of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    /// Of what is around the files; they have their own.
    pub format: u32,
    /// Version of the program that made it.
    pub program: String,
    /// When, in ms since 1970.
    pub made_ms: i64,
    /// By name, with `/` between folders.
    pub files: BTreeMap<String, Entry>,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    /// Length.
    pub bytes: u64,
    /// SHA-256 of the content, hexadecimal.
    pub sha256: String,
    /// Permissions, as in `chmod`, decimal.
    pub mode: u32,
}

/// Why it is no manifest.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(super) enum ManifestError {
    /// Not two lines.
    #[error("{NAME} is cut short")]
    Short,
    /// Its checksum.
    #[error("{NAME} is damaged: its checksum is {found}, expected {expected}")]
    Checksum {
        /// Of what is there.
        found: String,
        /// What it says.
        expected: String,
    },
    /// Of a newer program.
    #[error("{NAME} is of format {0}, this program reads format {FORMAT}: upgrade pattoo-server")]
    Newer(u32),
    /// The checksum is right and the rest is not.
    #[error("{NAME}: {0}")]
    Content(String),
}

impl Manifest {
    /// One of no files yet.
    #[must_use]
    pub(super) fn new(made_ms: i64) -> Self {
        Self { format: FORMAT, program: env!("CARGO_PKG_VERSION").to_owned(), made_ms, files: BTreeMap::new() }
    }

    /// Bytes of all files.
    #[must_use]
    pub(super) fn bytes(&self) -> u64 {
        self.files.values().map(|file| file.bytes).sum()
    }

    /// As it is written: a line of JSON, and a line with its SHA-256.
    ///
    /// # Errors
    /// None that is known.
    pub(super) fn text(&self) -> Result<String, ManifestError> {
        let line = serde_json::to_string(self).map_err(|e| ManifestError::Content(e.to_string()))?;
        let sum = hex(Sha256::digest(&line));
        Ok(format!("{line}\n{sum}\n"))
    }

    /// Reads one.
    ///
    /// # Errors
    /// It is none, or of a newer program, or names a file that must not be written.
    pub(super) fn parse(text: &[u8]) -> Result<Self, ManifestError> {
        let text = std::str::from_utf8(text).map_err(|e| ManifestError::Content(e.to_string()))?;
        let (line, expected) = text.strip_suffix('\n').and_then(|text| text.rsplit_once('\n')).ok_or(ManifestError::Short)?;
        let found = hex(Sha256::digest(line));
        if found != expected {
            return Err(ManifestError::Checksum { found, expected: expected.to_owned() });
        }
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let content = |e: serde_json::Error| ManifestError::Content(e.to_string());
        match serde_json::from_str::<Format>(line).map_err(content)?.format {
            FORMAT => {}
            newer => return Err(ManifestError::Newer(newer)),
        }
        let manifest: Self = serde_json::from_str(line).map_err(content)?;
        match manifest.files.keys().find(|name| !is_plain(name)) {
            Some(name) => Err(ManifestError::Content(format!("{name:?} is no name of a file within a folder"))),
            None => Ok(manifest),
        }
    }
}

/// Whether a name stays within the folder that it is written to.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && Path::new(name).components().all(|part| matches!(part, Component::Normal(_)))
}

/// Lower case.
pub(super) fn hex(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(name: &str) -> Manifest {
        let mut manifest = Manifest::new(7);
        manifest.files.insert(name.to_owned(), Entry { bytes: 3, sha256: hex(Sha256::digest("abc")), mode: 0o600 });
        manifest
    }

    #[test]
    fn a_manifest_is_read_back_and_every_flipped_bit_and_cut_is_seen() {
        let text = one("parts/a.part").text().unwrap();
        assert_eq!(Manifest::parse(text.as_bytes()), Ok(one("parts/a.part")));
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            assert!(Manifest::parse(&bytes).is_err(), "byte {at}");
            assert!(Manifest::parse(&text.as_bytes()[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn names_that_lead_elsewhere_and_newer_formats_are_refused() {
        for name in ["", "/etc/passwd", "../x", "parts/../../x", "./x"] {
            let refused = Manifest::parse(one(name).text().unwrap().as_bytes());
            assert!(matches!(refused, Err(ManifestError::Content(_))), "{name}: {refused:?}");
        }
        let newer = Manifest { format: 2, ..one("a") };
        assert_eq!(Manifest::parse(newer.text().unwrap().as_bytes()), Err(ManifestError::Newer(2)));
    }
}
