//! Writes the manual pages and shell completions of both programs, as their command lines are, into `FOLDER/man` and `FOLDER/completions`.
//! Not part of what ships: the daemons carry none of it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap_complete::aot::{Shell, generate_to};
use clap_mangen::generate_to as man_to;

fn main() -> Result<()> {
    let folder = PathBuf::from(std::env::args_os().nth(1).context("usage: manuals FOLDER")?);
    for command in [pattoo_gateway::cli::command(), pattoo_server::cli::command()] {
        write(&command, &folder).with_context(|| folder.display().to_string())?;
    }
    Ok(())
}

fn write(command: &clap::Command, folder: &Path) -> Result<()> {
    let (man, completions) = (folder.join("man"), folder.join("completions"));
    for folder in [&man, &completions] {
        std::fs::create_dir_all(folder)?;
    }
    // One page for each command: `pattoo-gateway-check.1` beside `pattoo-gateway.1`.
    man_to(command.clone(), &man)?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        generate_to(shell, &mut command.clone(), command.get_name(), &completions)?;
    }
    Ok(())
}
