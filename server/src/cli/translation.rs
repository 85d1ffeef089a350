//! `pattoo-server translation`. Shell.

use std::fmt::Write;
use std::io::Read;
use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Subcommand;

use super::{PlaceArgs, config};
use crate::translations::file::{change, load};

/// As much of a pack as shows that it is too large.
const MAX_BYTES: u64 = (4 << 20) + 1;

#[derive(Subcommand)]
pub(super) enum TranslationCommand {
    /// Take a language pack: CSV with the columns language,key,translation,units (points) or language,key,translation (agent programs)
    ///
    /// What is there of a key is replaced; a row without translation and units takes it away. Lines that cannot be taken are named, all
    /// others are taken; exit status 1 if there is one.
    Import {
        /// The pack
        #[arg(value_name = "FILE")]
        file: PathBuf,
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Show which languages there are
    List {
        #[command(flatten)]
        place: PlaceArgs,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

/// Does what is asked; gives what to print.
pub(super) fn translation(command: TranslationCommand) -> anyhow::Result<String> {
    match command {
        TranslationCommand::Import { file, place } => {
            let mut pack = Vec::new();
            let read = std::fs::File::open(&file).and_then(|opened| opened.take(MAX_BYTES).read_to_end(&mut pack));
            read.with_context(|| format!("{}: cannot be read", file.display()))?;
            let (told, _) = change(&config(place)?.data, |all| all.import(&pack)).with_context(|| file.display().to_string())?;
            let taken = format!("{}: {} points and {} agent programs taken", file.display(), told.points, told.programs);
            if told.problems.is_empty() {
                return Ok(taken + "\n");
            }
            let mut lines: String = told.problems.iter().fold(String::new(), |mut lines, problem| {
                let _ = writeln!(lines, "{}:{}: {}", file.display(), problem.line, problem.message);
                lines
            });
            if told.more_problems > 0 {
                let _ = writeln!(lines, "and {} more lines", told.more_problems);
            }
            bail!("{taken}; these lines were not:\n{}", lines.trim_end())
        }
        TranslationCommand::List { place, json } => {
            let sizes = load(&config(place)?.data)?.sizes();
            if json {
                return Ok(serde_json::to_string_pretty(&sizes)? + "\n");
            }
            let line = |size: &crate::translations::LanguageSize| {
                format!("{:<8}{:>7} points {:>7} agent programs\n", size.language, size.points, size.programs)
            };
            Ok(if sizes.is_empty() { "there are no translations yet\n".into() } else { sizes.iter().map(line).collect() })
        }
    }
}
