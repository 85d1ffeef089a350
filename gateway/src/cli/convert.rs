//! `convert`: reads files of old agents, writes what becomes of them, and says so. Shell; what becomes of them is decided in
//! [`crate::convert`].
#![expect(clippy::print_stdout, reason = "commands answer on standard output")]

use std::fs::{DirBuilder, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::config::Profiles;
use crate::convert::{CONFIG, Converted, MAX_OLD_BYTES, NewFile, Old, PROFILES, SECRETS, convert as converted};
use crate::profile::read_limited;

/// Converts them; whether all of it could be.
pub(super) fn convert(olds: &[PathBuf], profiles: &Profiles, folders: &[PathBuf], out: &Path) -> Result<bool> {
    let out = std::path::absolute(out).with_context(|| format!("cannot use {}", out.display()))?;
    let read = |file: &PathBuf| {
        let content = read_limited(file, MAX_OLD_BYTES).map_err(|problem| anyhow::anyhow!("{problem}"))?;
        Ok(Old { file: file.clone(), content })
    };
    let olds = olds.iter().map(read).collect::<Result<Vec<_>>>()?;
    let made = converted(&olds, profiles, &out);
    write(&made.files, &out)?;
    println!("{}", report(&made, folders, &out));
    Ok(made.problems.is_empty())
}

/// All of them, or none where one is there already.
fn write(files: &[NewFile], out: &Path) -> Result<()> {
    if let Some(there) = files.iter().map(|file| out.join(&file.path)).find(|path| path.symlink_metadata().is_ok()) {
        bail!("{} is there already: nothing was written", there.display());
    }
    for file in files {
        let path = out.join(&file.path);
        let (for_all, for_one) = if file.secret { (0o700, 0o600) } else { (0o755, 0o644) };
        let folder = path.parent().unwrap_or(out);
        DirBuilder::new().recursive(true).mode(for_all).create(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let open = OpenOptions::new().write(true).create_new(true).mode(for_one).open(&path);
        open.and_then(|mut new| new.write_all(file.text.as_bytes())).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn report(made: &Converted, folders: &[PathBuf], out: &Path) -> String {
    let mut lines = made.devices.clone();
    let mut list = |head: &str, items: Vec<String>| {
        if !items.is_empty() {
            lines.extend([String::new(), head.to_owned()]);
            lines.extend(items.into_iter().map(|item| format!("  {item}")));
        }
    };
    list("Otherwise than before:", made.changes.iter().map(ToString::to_string).collect());
    list("Could not be converted:", made.problems.iter().map(ToString::to_string).collect());
    list("Written:", made.files.iter().map(|file| out.join(&file.path).display().to_string()).collect());
    if made.files.iter().any(|file| file.secret) {
        lines.push(format!("  {} is for you alone: give it to the user of the gateway", out.join(SECRETS).display()));
    }
    if made.files.is_empty() {
        lines.push("Nothing to read was found, nothing was written.".to_owned());
    } else {
        let folders = folders.iter().map(|folder| format!(" --profiles {}", folder.display())).collect::<String>();
        let (config, own) = (out.join(CONFIG), out.join(PROFILES));
        lines.extend([
            String::new(),
            "Look through it, then:".to_owned(),
            format!("  pattoo-gateway --config {}{folders} --profiles {} check", config.display(), own.display()),
        ]);
    }
    lines.join("\n")
}
