//! Folders that a power cut does not take away. Shell.

use std::fs::{self, File};
use std::io;
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
}
