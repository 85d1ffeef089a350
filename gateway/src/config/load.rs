//! Shell: reads the configuration file and the profile folders. What they may say is decided in `read`.

use std::path::{Path, PathBuf};

use super::read::{self, Environment};
use super::{Config, MAX_CONFIG_BYTES, Profiles};
use crate::credentials;
use crate::profile::{Found, find_profiles, read_limited};
use crate::yaml::Problem;

/// A configuration that the daemon can run with, and what was left out of it.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// All that is good.
    pub config: Config,
    /// All profiles that are good, used or not.
    pub profiles: Profiles,
    /// Each cost only the profile, link or device that it names.
    pub problems: Vec<Problem>,
}

/// Reads a configuration and the profiles of these folders, of which a later one overrides an earlier one by id.
/// `env` gives `PATTOO_GATEWAY`, `PATTOO_UPLINK_URL` and `PATTOO_BUFFER_PATH`, which go before the file.
///
/// # Errors
/// The file cannot be read, is not YAML, has wrong keys at its top, or no usable gateway, uplink, buffer or batch. All other
/// problems are in the list too.
pub fn load(path: &Path, profile_folders: &[PathBuf], env: Environment<'_>) -> Result<Loaded, Vec<Problem>> {
    let content = read_limited(path, MAX_CONFIG_BYTES).map_err(|problem| vec![problem])?;
    let found = find_profiles(profile_folders);
    match read::read(path, &content, &found, env, &|path, most| read_limited(&credentials::find(path), most)) {
        Ok((config, own)) => Ok(Loaded { config, profiles: found.profiles, problems: [own, found.problems].concat() }),
        Err(own) => Err([own, found.problems].concat()),
    }
}

/// What is wrong with this text of a configuration, with these profiles and no environment.
pub(crate) fn check_text(file: &Path, content: &[u8], profiles: Profiles, files: read::Files<'_>) -> Vec<Problem> {
    let found = Found { profiles, ..Found::default() };
    match read::read(file, content, &found, &|_| None, files) {
        Ok((_, problems)) | Err(problems) => problems,
    }
}
