//! `pattoo-server backup`, `restore` and `check`.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::{PlaceArgs, config, told};
use crate::backup::{self, Done};
use crate::store::embedded::checking::Checked;

#[derive(Args)]
pub(super) struct BackupArgs {
    /// Folder to make, or file whose name ends in .tar
    #[arg(value_name = "FILE|FOLDER")]
    target: PathBuf,
    #[command(flatten)]
    place: PlaceArgs,
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(super) struct RestoreArgs {
    /// What `backup` made
    #[arg(value_name = "FILE|FOLDER")]
    backup: PathBuf,
    #[command(flatten)]
    place: PlaceArgs,
    /// Only verify the backup
    #[arg(long)]
    verify: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(super) struct CheckArgs {
    #[command(flatten)]
    place: PlaceArgs,
    /// Also read all that is stored, and name what cannot be read: exit status 1 then; the server may run
    #[arg(long)]
    stored: bool,
    /// As JSON
    #[arg(long, requires = "stored")]
    json: bool,
}

/// Makes a backup; gives what to print.
pub(super) fn backup(args: BackupArgs) -> anyhow::Result<String> {
    let done = backup::make(&config(args.place)?.data, &args.target, &mut std::io::stderr())?;
    shown(&done, "backup", args.json)
}

/// Puts one back; gives what to print.
pub(super) fn restore(args: RestoreArgs) -> anyhow::Result<String> {
    if args.verify {
        return shown(&backup::verify(&args.backup, &mut std::io::stderr())?, "good backup", args.json);
    }
    let done = backup::restore(&args.backup, &config(args.place)?.data, &mut std::io::stderr())?;
    shown(&done, "restored", args.json)
}

fn shown(done: &Done, what: &str, json: bool) -> anyhow::Result<String> {
    if json {
        return Ok(serde_json::to_string_pretty(done)? + "\n");
    }
    let mut text = format!("{}: {what}, {} files, {} bytes\n", done.place.display(), done.files, done.bytes);
    if !done.secrets.is_empty() {
        writeln!(text, "it holds secrets, for its owner only: {}", done.secrets.join(", "))?;
    }
    if !done.left_out.is_empty() {
        writeln!(text, "left out, as they are no files: {}", done.left_out.join(", "))?;
    }
    Ok(text)
}

/// Judges the configuration and, where asked, all that is stored; says so.
pub(super) fn check(args: CheckArgs) -> ExitCode {
    let checked = config(args.place).and_then(|config| {
        let good = format!("good: data in {}, page and API at http://{}\n", config.data.display(), config.http.listen);
        if !args.stored {
            return Ok((good, true));
        }
        let checked = backup::check(&config.data, &mut std::io::stderr())?;
        let text = if args.json { serde_json::to_string_pretty(&checked)? + "\n" } else { good + &report(&checked) };
        Ok((text, checked.damage.is_empty()))
    });
    match checked {
        Ok((text, true)) => told(Ok(text)),
        Ok((text, false)) => {
            let _ = told(Ok(text));
            ExitCode::FAILURE
        }
        Err(e) => told(Err(e)),
    }
}

fn report(checked: &Checked) -> String {
    let Checked { series, parts, readings, commits, readings_in_log, set_aside, damage } = checked;
    let mut text = format!(
        "{series} series; {readings} readings in {parts} parts; {commits} commits in the log, {readings_in_log} readings only there\n"
    );
    for file in set_aside {
        text += &format!("set aside earlier: {file}\n");
    }
    for damage in damage {
        text += &format!("damaged: {}: {}; {} of it can be read\n", damage.file, damage.what, damage.kept);
    }
    if damage.is_empty() {
        text += "nothing is damaged\n";
    }
    text
}
