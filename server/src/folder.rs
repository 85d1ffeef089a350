//! Folders and files that a power cut does not take away. Shell.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

/// Makes a folder and those above it. POSIX keeps a new folder only once the one above it is synced, so each of them is.
///
/// # Errors
/// The disk refused, or something else has its name.
pub fn make(folder: &Path) -> io::Result<()> {
    let mut above: Vec<&Path> = folder.ancestors().skip(1).take_while(|above| !above.exists()).collect();
    // The lowest one that is there already gets an entry too.
    above.extend(folder.ancestors().skip(1).nth(above.len()));
    fs::create_dir_all(folder)?;
    for above in above {
        let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
        match File::open(above).and_then(|folder| folder.sync_all()) {
            // One that this program may not read was not made by it just now, except where somebody changed it meanwhile.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
            other => other?,
        }
    }
    Ok(())
}

/// Puts a file with this content in the place of another one: a reader sees the old one or the new one, whole, also after a power cut.
/// Two writers of one file must take turns.
///
/// # Errors
/// The disk refused; the old one is there still.
pub fn replace(file: &Path, content: &[u8]) -> io::Result<()> {
    let folder = match file.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    // Not by another ending: what looks for files by their ending must not find it.
    let mut half = file.as_os_str().to_owned();
    half.push(".half");
    let half = Path::new(&half);
    let written = File::create(half).and_then(|mut out| {
        out.write_all(content)?;
        out.sync_all()?;
        fs::rename(half, file)
    });
    if let Err(error) = written {
        let _ = fs::remove_file(half);
        return Err(error);
    }
    File::open(folder)?.sync_all()
}

/// The text of a file of at most `most` bytes; of a longer one, as much as shows that it is longer. A pipe or device is not waited for.
///
/// # Errors
/// It is not there, is no file, or is no text.
pub fn read_text(file: &Path, most: usize) -> io::Result<String> {
    if !fs::metadata(file)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no file"));
    }
    let mut text = String::new();
    File::open(file)?.take(most as u64 + 1).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_made_where_they_are_missing() {
        let root = tempfile::tempdir().unwrap();
        for path in ["a", "a/b/c/d", "a/b", "a"] {
            make(&root.path().join(path)).unwrap();
            assert!(root.path().join(path).is_dir(), "{path}");
        }
        fs::write(root.path().join("file"), "").unwrap();
        assert!(make(&root.path().join("file/below")).is_err());
    }

    #[test]
    fn a_file_is_replaced_whole_and_leaves_nothing_behind() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("a.yaml");
        for content in ["one", "two"] {
            replace(&file, content.as_bytes()).unwrap();
            assert_eq!(read_text(&file, 100).unwrap(), content);
        }
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
        assert!(replace(&root.path().join("none/a.yaml"), b"x").is_err());
        fs::create_dir(root.path().join("folder.yaml")).unwrap();
        assert!(replace(&root.path().join("folder.yaml"), b"x").is_err());
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 2, "what was begun is gone");
        assert!(read_text(&root.path().join("folder.yaml"), 100).is_err());
        assert_eq!(read_text(&file, 1).unwrap(), "tw");
    }
}
