//! The buffer on a real disk beside a plain segmented log and the storages of ThingsBoard's gateway.
//!
//! `cargo bench -p pattoo-tests --bench buffer > tests/bench/buffer.md` refreshes the committed tables, in about half an hour and 4 GB of
//! disk; `PATTOO_BUFFER_SCALE=0.01` makes all of it smaller, to try it out. Fails when our own buffer is over a target. Where there is no
//! ThingsBoard gateway, it is installed below `target/test-tools`; where that fails, its rows are missing.
#![expect(clippy::print_stdout, reason = "its tables go to the terminal")]

mod batches;
mod cases;
#[path = "../wire_size/plant.rs"]
mod plant;
mod segments;
mod tables;
mod usage;

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail, ensure};
use pattoo_tests::root;

use usage::{Figures, forget_cached, load};

const THINGSBOARD: &str = "thingsboard-gateway==3.8.5";

/// How often the short cases run; the median counts.
const RUNS: usize = 3;

/// A store that is measured.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Store {
    Pattoo,
    Segments,
    ThingsBoardFile,
    ThingsBoardSqlite,
}

impl Store {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Pattoo => "Pattoo",
            Self::Segments => "plain segmented log",
            Self::ThingsBoardFile => "ThingsBoard, file",
            Self::ThingsBoardSqlite => "ThingsBoard, SQLite",
        }
    }

    /// Whether it can promise that a batch is on stable storage.
    pub(crate) fn syncs(self) -> bool {
        matches!(self, Self::Pattoo | Self::Segments)
    }
}

fn main() -> Result<ExitCode> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let Some(("case", words)) = words.split_first().map(|(first, rest)| (first.as_str(), rest)) {
        cases::run(words)?;
        return Ok(ExitCode::SUCCESS);
    }
    let scale = std::env::var("PATTOO_BUFFER_SCALE").map_or(Ok(1.0), |scale| scale.parse())?;
    let mut bench = Bench { scale, python: None, stores: vec![Store::Pattoo, Store::Segments], first_load: load()?, most_load: 0.0 };
    match thingsboard() {
        Ok(python) => {
            bench.python = Some(python);
            bench.stores.extend([Store::ThingsBoardFile, Store::ThingsBoardSqlite]);
        }
        Err(error) => eprintln!("without ThingsBoard: {error:#}"),
    }
    tables::print(&mut bench)
}

/// The Python that has ThingsBoard's gateway; installs it if it is not there.
fn thingsboard() -> Result<PathBuf> {
    let folder = root().join("target/test-tools/thingsboard");
    let (python, installed) = (folder.join("bin/python"), folder.join(THINGSBOARD));
    if !installed.exists() {
        eprintln!("installing {THINGSBOARD} into {}", folder.display());
        let commands: [(&Path, &[&str]); 2] =
            [(Path::new("python3"), &["-m", "venv"]), (&python, &["-m", "pip", "install", "--quiet", THINGSBOARD])];
        for (program, words) in commands {
            let mut command = Command::new(program);
            command.args(words).stdout(Stdio::null());
            if words.ends_with(&["venv"]) {
                command.arg(&folder);
            }
            ensure!(command.status()?.success(), "{command:?} failed");
        }
        std::fs::write(installed, "")?;
    }
    Ok(python)
}

/// What is measured, and where.
pub(crate) struct Bench {
    pub(crate) scale: f64,
    python: Option<PathBuf>,
    pub(crate) stores: Vec<Store>,
    pub(crate) first_load: f64,
    /// The highest load of a minute that was seen before or behind a case.
    pub(crate) most_load: f64,
}

/// How a case ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Itself,
    Killed,
}

impl Bench {
    /// So many, in whole groups of every store.
    pub(crate) fn scaled(&self, count: u64) -> u64 {
        ((count as f64 * self.scale) as u64).next_multiple_of(1000)
    }

    /// The median of each figure over some runs, each in a folder of its own.
    pub(crate) fn median(&mut self, store: Store, case: &str, numbers: &[u64]) -> Result<Figures> {
        let mut runs = Vec::new();
        for _ in 0..RUNS {
            runs.push(self.once(store, case, numbers)?);
        }
        let medians = runs.first().context("no run")?.keys().map(|name| {
            let mut values: Vec<f64> = runs.iter().filter_map(|run| run.get(name)).copied().collect();
            values.sort_unstable_by(f64::total_cmp);
            (name.clone(), values.get(values.len() / 2).copied().unwrap_or_default())
        });
        Ok(medians.collect())
    }

    /// A case in a new folder.
    pub(crate) fn once(&mut self, store: Store, case: &str, numbers: &[u64]) -> Result<Figures> {
        let folder = new_folder()?;
        self.run(store, case, folder.path(), numbers, End::Itself)
    }

    /// A full buffer: filled and killed, started three times, read out. The figures of each step have its name in front.
    pub(crate) fn full(&mut self, store: Store, batches: u64) -> Result<Figures> {
        let folder = new_folder()?;
        let mut all = Figures::new();
        let mut add = |step: &str, figures: Figures| all.extend(figures.into_iter().map(|(name, value)| (format!("{step} {name}"), value)));
        add("fill", self.run(store, "fill", folder.path(), &[batches], End::Killed)?);
        forget_cached(folder.path())?;
        add("killed", self.run(store, "open", folder.path(), &[], End::Itself)?);
        forget_cached(folder.path())?;
        add("stopped", self.run(store, "open", folder.path(), &[], End::Itself)?);
        add("cached", self.run(store, "open", folder.path(), &[], End::Itself)?);
        add("read", self.run(store, "read", folder.path(), &[batches], End::Itself)?);
        Ok(all)
    }

    /// Runs a case in a process of its own.
    fn run(&mut self, store: Store, case: &str, folder: &Path, numbers: &[u64], end: End) -> Result<Figures> {
        self.most_load = self.most_load.max(load()?);
        let (mut command, store_word) = match store {
            Store::Pattoo => (self.our_own()?, "pattoo"),
            Store::Segments => (self.our_own()?, "segments"),
            Store::ThingsBoardFile => (self.thingsboard()?, "file"),
            Store::ThingsBoardSqlite => (self.thingsboard()?, "sqlite"),
        };
        command.arg(case).arg(store_word).arg(folder).args(numbers.iter().map(u64::to_string));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut input = child.stdin.take().context("no input")?;
        if end == End::Killed {
            writeln!(input, "go on until you are killed")?;
        }
        // Without a word its input ends here.
        drop(input);
        let (mut line, mut second) = (String::new(), String::new());
        let mut output = BufReader::new(child.stdout.take().context("no output")?);
        output.read_line(&mut line)?;
        if end == End::Killed {
            output.read_line(&mut second)?;
            ensure!(second.starts_with("still storing"), "{command:?} said {second:?}");
            child.kill()?;
        }
        let status = child.wait()?;
        ensure!(end == End::Killed || status.success(), "{command:?} failed");
        self.most_load = self.most_load.max(load()?);
        let figures = serde_json::from_str(&line).with_context(|| format!("{command:?} said {line:?}"))?;
        eprintln!("{}, {case} {numbers:?}: {}", store.name(), line.trim());
        Ok(figures)
    }

    fn our_own(&self) -> Result<Command> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("case");
        Ok(command)
    }

    fn thingsboard(&self) -> Result<Command> {
        let Some(python) = &self.python else { bail!("no ThingsBoard") };
        let mut command = Command::new(python);
        command.arg(root().join("tests/benches/buffer/thingsboard.py"));
        Ok(command)
    }
}

/// On the disk that the checkout is on: what is usually there for such things may be memory.
fn new_folder() -> Result<tempfile::TempDir> {
    Ok(tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?)
}
