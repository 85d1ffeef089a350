//! Where a secret is read: what the service manager hands over goes before the file that only root may read. Shell: environment.

use std::path::{Path, PathBuf};

/// Secrets here are handed over by systemd: `NAME` in the folder `gateway` below it as `gateway_NAME`.
pub const FOLDER: &str = "/etc/pattoo/credentials";

/// Where to read the secret that the configuration has at `path`.
#[must_use]
pub fn find(path: &Path) -> PathBuf {
    let handed = std::env::var_os("CREDENTIALS_DIRECTORY").and_then(|folder| handed_over(path, Path::new(&folder)));
    handed.filter(|file| file.exists()).unwrap_or_else(|| path.to_owned())
}

/// Its name among what is handed over; none for a file elsewhere.
fn handed_over(path: &Path, folder: &Path) -> Option<PathBuf> {
    let name = path.strip_prefix(FOLDER).ok()?.to_str()?.replace('/', "_");
    Some(folder.join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_in_its_folder_has_a_name_among_those_that_are_handed_over() {
        for (path, expected) in [
            ("/etc/pattoo/credentials/gateway/plant7.token", Some("/run/c/gateway_plant7.token")),
            ("/etc/pattoo/gateway.token", None),
            ("/etc/pattoo/credentials-old/gateway/x", None),
        ] {
            assert_eq!(handed_over(Path::new(path), Path::new("/run/c")).as_deref(), expected.map(Path::new), "{path}");
        }
    }
}
