//! Shell: what each reader wants at hand, in the reader's order: one small file for each in the data folder.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use thiserror::Error;
use utoipa::ToSchema;

use crate::folder;

/// Most of one reader.
pub const MAX_FAVOURITES: usize = 100;
/// Longest title, in characters.
pub const MAX_TITLE: usize = 200;
/// Longest link, in characters.
pub const MAX_LINK: usize = 4000;
/// Largest file, in bytes.
const MAX_FILE_BYTES: usize = 2 << 20;
const FORMAT: u32 = 1;

/// A place of the page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Favourite {
    /// For people.
    pub title: String,
    /// The place, as the page's address says it: `?` and what follows.
    pub link: String,
}

/// All of one reader, in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct List {
    /// Grows by one with each change; whoever writes says which one was read.
    pub revision: u64,
    /// In order.
    pub favourites: Vec<Favourite>,
}

/// The file, which says whose it is.
#[derive(Serialize, Deserialize)]
struct Stored {
    format: u32,
    user: String,
    #[serde(flatten)]
    list: List,
}

/// Why favourites were not read or kept.
#[derive(Debug, Error)]
pub enum FavouritesError {
    /// Another page of the same reader was faster.
    #[error("the favourites were changed meanwhile: they are at revision {0}; load them again, then save")]
    Changed(u64),
    /// What was sent is wrong.
    #[error("{0}")]
    Wrong(String),
    /// The disk refused.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        error: io::Error,
    },
}

/// The folder of all readers.
#[derive(Debug)]
pub struct Favourites {
    folder: PathBuf,
    /// Held by who writes.
    turn: Mutex<()>,
}

impl Favourites {
    /// In this folder, which need not be there.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, turn: Mutex::default() }
    }

    /// Those of a reader. Blocks.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn of(&self, user: &str) -> Result<List, FavouritesError> {
        let path = self.path(user);
        let text = match folder::read_text(&path, MAX_FILE_BYTES) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(List { revision: 0, favourites: Vec::new() }),
            Err(error) => return Err(FavouritesError::Io { path, error }),
            Ok(text) => text,
        };
        let wrong = |what: String| FavouritesError::Io { path: self.path(user), error: io::Error::new(io::ErrorKind::InvalidData, what) };
        let stored: Stored = serde_json::from_str(&text).map_err(|e| wrong(format!("{e}; move the file away to begin anew")))?;
        if stored.format != FORMAT || stored.user != user {
            return Err(wrong(format!("it is of format {} and of user {:?}; move it away to begin anew", stored.format, stored.user)));
        }
        Ok(stored.list)
    }

    /// Keeps those of a reader, if they are still as the reader read them; gives the next revision. Blocks.
    ///
    /// # Errors
    /// Nothing was changed.
    pub fn keep(&self, user: &str, mut list: List) -> Result<List, FavouritesError> {
        check(&list)?;
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let revision = self.of(user)?.revision;
        if list.revision != revision {
            return Err(FavouritesError::Changed(revision));
        }
        list.revision = revision.saturating_add(1);
        let stored = Stored { format: FORMAT, user: user.to_owned(), list };
        let text = serde_json::to_string_pretty(&stored).map_err(|e| FavouritesError::Wrong(e.to_string()))?;
        let path = self.path(user);
        folder::make(&self.folder)
            .and_then(|()| folder::replace(&path, text.as_bytes()))
            .map_err(|error| FavouritesError::Io { path, error })?;
        Ok(stored.list)
    }

    /// Any name of a user makes a name of a file, no two the same one.
    fn path(&self, user: &str) -> PathBuf {
        let safe = |byte: u8| match byte {
            b'a'..=b'z' | b'0'..=b'9' => char::from(byte).to_string(),
            _ => format!("%{byte:02x}"),
        };
        let name: String = user.bytes().take(80).map(safe).collect();
        self.folder.join(Path::new(&format!("{name}.json")))
    }
}

fn check(list: &List) -> Result<(), FavouritesError> {
    let wrong = |what: String| Err(FavouritesError::Wrong(what));
    if list.favourites.len() > MAX_FAVOURITES {
        return wrong(format!("found {} favourites, expected at most {MAX_FAVOURITES}", list.favourites.len()));
    }
    for (n, Favourite { title, link }) in list.favourites.iter().enumerate() {
        if title.trim().is_empty() || title.chars().count() > MAX_TITLE {
            return wrong(format!("favourite {n}: expected a title of 1 to {MAX_TITLE} characters"));
        }
        if !link.starts_with('?') || link.chars().count() > MAX_LINK || link.contains(char::is_control) {
            return wrong(format!("favourite {n}: expected a link that begins with ? and has at most {MAX_LINK} characters"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(title: &str, link: &str) -> Favourite {
        Favourite { title: title.into(), link: link.into() }
    }

    #[test]
    fn each_reader_has_an_order_of_its_own_that_lasts() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("favourites");
        let favourites = Favourites::new(folder.clone());
        assert_eq!(favourites.of("eve").unwrap().favourites, []);
        let list = List { revision: 0, favourites: vec![one("B", "?series=2"), one("A", "?series=1")] };
        assert_eq!(favourites.keep("eve", list.clone()).unwrap().revision, 1);
        assert!(matches!(favourites.keep("eve", list.clone()), Err(FavouritesError::Changed(1))));
        let again = Favourites::new(folder.clone());
        assert_eq!(again.of("eve").unwrap(), List { revision: 1, ..list.clone() });
        // Names that a file system would take for one, or for another place.
        for user in ["Eve", "../eve", "e/ve", "é", ".", "%65ve"] {
            assert_eq!(again.of(user).unwrap().revision, 0, "{user}");
            again.keep(user, list.clone()).unwrap();
        }
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 1);
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 7);
        std::fs::write(folder.join("eve.json"), "{").unwrap();
        assert!(again.of("eve").unwrap_err().to_string().contains("move the file away"));
        assert!(again.keep("eve", list).is_err(), "what cannot be read is not written over");
    }

    #[test]
    fn what_is_no_place_of_the_page_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let favourites = Favourites::new(root.path().into());
        let keep = |favourites_: Vec<Favourite>| favourites.keep("eve", List { revision: 0, favourites: favourites_ });
        for wrong in [one("", "?a"), one("x", "javascript:alert(1)"), one("x", "//evil"), one("x", "?\n"), one(&"x".repeat(201), "?")] {
            assert!(matches!(keep(vec![wrong.clone()]), Err(FavouritesError::Wrong(_))), "{wrong:?}");
        }
        assert!(matches!(keep(vec![one("x", "?"); MAX_FAVOURITES + 1]), Err(FavouritesError::Wrong(_))));
        keep(vec![one("x", "?"); MAX_FAVOURITES]).unwrap();
    }
}
