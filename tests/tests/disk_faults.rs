//! A disk that refuses, fills up or is damaged under a buffer: what was promised stays, what was refused was said to be, and the buffer
//! goes on.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use pattoo_tests::disk;
use pattoo_tests::disk::judge::{Book, Verdict};
use pattoo_tests::disk::life::Life;
use pattoo_tests::disk::rules::{EIO, ENOSPC, EROFS, HALF, ON_GROW, ON_NAMES, ON_OPEN, ON_READ, ON_SYNC, ON_WRITE, Rule, Rules};

/// No more files can be opened.
const EMFILE: i32 = 24;

/// Lives with each fault of a usual run.
const ROUNDS: u64 = 2;

/// Reads of a short life at most.
const MAX_READS: u64 = 80;

/// A fault: what is refused, with what, and how often at most.
struct Fault {
    name: &'static str,
    kinds: u32,
    error: i32,
    most: u64,
}

const FAULTS: &[Fault] = &[
    Fault { name: "the disk is full for one write", kinds: ON_WRITE, error: ENOSPC, most: 1 },
    Fault { name: "the disk is full for a while", kinds: ON_WRITE | ON_NAMES, error: ENOSPC, most: 60 },
    Fault { name: "a write fails", kinds: ON_WRITE, error: EIO, most: 1 },
    Fault { name: "writes fail for a while", kinds: ON_WRITE, error: EIO, most: 60 },
    Fault { name: "a sync fails", kinds: ON_SYNC, error: EIO, most: 1 },
    Fault { name: "syncs fail for a while", kinds: ON_SYNC, error: EIO, most: 60 },
    Fault { name: "a read fails", kinds: ON_READ, error: EIO, most: 1 },
    Fault { name: "reads fail for a while", kinds: ON_READ, error: EIO, most: 30 },
    Fault { name: "the file system is read-only for a while", kinds: ON_WRITE | ON_NAMES, error: EROFS, most: 100 },
    Fault { name: "no file can be opened for a while", kinds: ON_OPEN, error: EMFILE, most: 20 },
    Fault { name: "only half of each write is done", kinds: ON_WRITE, error: HALF, most: u64::MAX },
    Fault { name: "everything fails for a while", kinds: ON_WRITE | ON_SYNC | ON_READ | ON_NAMES | ON_OPEN, error: EIO, most: 60 },
];

fn life(folder: PathBuf, rng: &mut fastrand::Rng) -> Life {
    let (max_bytes, max_age_ms) = if rng.bool() { (900 << 10, 1_000_000) } else { (4 << 20, 40_000) };
    Life { folder, seed: rng.u64(..), steps: 40, first_attempt: 0, max_bytes, max_age_ms, ballast_bytes: 16 << 10, alone: false }
}

fn command(life: &Life) -> Result<Command> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_buffer_life"));
    command.arg(serde_json::to_string(life)?);
    Ok(command)
}

/// Runs a life to its end, and gives its lines.
fn said(command: &mut Command) -> Result<String> {
    let output = command.output()?;
    let (lines, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "the life ended with {}: {errors}\nlast lines, backwards:\n{}", output.status, last(&lines));
    Ok(lines.into_owned())
}

fn last(lines: &str) -> String {
    lines.lines().rev().take(5).collect::<Vec<_>>().join("\n")
}

/// The same; gives what it promised.
fn promises(command: &mut Command) -> Result<Book> {
    let lines = said(command)?;
    let last = || last(&lines);
    let mut book = Book::default();
    book.read(&lines).with_context(last)?;
    ensure!(book.done, "the life has no end");
    Ok(book)
}

/// How a fault went.
#[derive(Debug, Default)]
struct Sum {
    lives: u64,
    hits: u64,
    refused: usize,
    verdict: Verdict,
}

fn live_with(fault: &Fault, rng: &mut fastrand::Rng, sum: &mut Sum) -> Result<()> {
    let place = disk::scratch()?;
    let rules = Rules::new(&place.path().join("rules"))?;
    let below = place.path().join("below");
    std::fs::create_dir(&below)?;
    let life = life(below.join("buffer"), rng);
    // Early faults hit the opening, later ones the life.
    let skip = if rng.bool() { rng.u64(..30) } else { rng.u64(..400) };
    let rule = Rule { kinds: fault.kinds, error: fault.error, skip, fail: rng.u64(..fault.most).saturating_add(1) };
    rules.set(0, Some(rule))?;
    let mut command = command(&life)?;
    disk::watch(&mut command, &below, None, Some(rules.path()))?;
    let book = promises(&mut command).with_context(|| format!("{life:?} {rule:?}"))?;
    // No fault is as long as a buffer's patience: nothing may be taken for damaged.
    let verdict = book.judge(&life, false).with_context(|| format!("{life:?} {rule:?}"))?;
    sum.lives += 1;
    sum.hits += rules.hits(0)?;
    sum.refused += book.refused();
    sum.verdict.add(verdict);
    Ok(())
}

#[test]
fn a_disk_that_refuses_costs_only_what_was_refused() -> Result<()> {
    let seed = disk::seed("disk_faults")?;
    let rounds = disk::rounds()?.unwrap_or(ROUNDS);
    let mut failures = Vec::new();
    for fault in FAULTS {
        let mut sum = Sum::default();
        for round in 0..rounds {
            let mut rng = fastrand::Rng::with_seed(seed.wrapping_add(round));
            if let Err(why) = live_with(fault, &mut rng, &mut sum) {
                failures.push(format!("{}, round {round} of seed {seed}: {why:#}", fault.name));
            }
        }
        eprintln!("{}: {sum:?}", fault.name);
    }
    ensure!(failures.is_empty(), "{}", failures.join("\n"));
    Ok(())
}

/// Lives one life without and one with a rule in the same folder, and gives what both promised and the second said.
fn live_on(first: &Life, second: &Life, rule: Rule, spent: bool) -> Result<(Book, String)> {
    let mut book = promises(&mut command(first)?)?;
    if spent {
        std::fs::remove_file(first.folder.join("ballast"))?;
    }
    let place = disk::scratch()?;
    let rules = Rules::new(&place.path().join("rules"))?;
    rules.set(0, Some(rule))?;
    let below = second.folder.parent().context("a folder has one above it")?;
    let mut command = command(second)?;
    disk::watch(&mut command, below, None, Some(rules.path()))?;
    let lines = said(&mut command)?;
    ensure!(rules.hits(0)? > 0, "the rule has met nothing");
    book.done = false;
    book.read(&lines)?;
    ensure!(book.done && !lines.contains("NotOpened"), "the buffer was not opened at once: {lines}");
    Ok((book, lines))
}

/// Both copies of the head are read first.
#[test]
fn a_short_error_while_the_head_is_read_does_not_cost_the_buffer() -> Result<()> {
    let seed = disk::seed("short_error")?;
    let mut rng = fastrand::Rng::with_seed(seed);
    for fail in [1, 2, 3, 6, 20] {
        let place = disk::scratch()?;
        let first = Life { steps: 10, ..life(place.path().join("buffer"), &mut rng) };
        let second = Life { steps: 1, first_attempt: 500, ..first.clone() };
        let rule = Rule { kinds: ON_READ, error: EIO, skip: 0, fail };
        let (book, _) = live_on(&first, &second, rule, false).with_context(|| format!("{fail} reads fail, {first:?}"))?;
        book.judge(&second, false).with_context(|| format!("{fail} reads fail, {first:?}"))?;
    }
    Ok(())
}

/// A chunk is opened to be added to: what sled cannot read of it then it takes for torn off, and writes over it.
#[test]
fn a_read_that_fails_at_any_place_of_the_next_life_costs_nothing() -> Result<()> {
    let seed = disk::seed("any_read")?;
    let mut rng = fastrand::Rng::with_seed(seed);
    let place = disk::scratch()?;
    let (whole, below) = (place.path().join("whole"), place.path().join("below"));
    std::fs::create_dir(&below)?;
    // So that the next life goes on with the same chunk.
    let first = Life { steps: 6, alone: true, max_bytes: 4 << 20, max_age_ms: 10_000_000, ..life(whole.clone(), &mut rng) };
    let before = promises(&mut command(&first)?)?;
    let second = Life { folder: below.join("buffer"), steps: 2, first_attempt: 100, ..first.clone() };
    let rules = Rules::new(&place.path().join("rules"))?;
    let mut reads = 0;
    while reads < MAX_READS {
        copy(&whole, &second.folder)?;
        rules.set(0, Some(Rule { kinds: ON_READ, error: EIO, skip: reads, fail: 1 }))?;
        let mut command = command(&second)?;
        disk::watch(&mut command, &below, None, Some(rules.path()))?;
        let (lines, mut book) = (said(&mut command)?, before.clone());
        if rules.hits(0)? == 0 {
            break;
        }
        let say = || format!("read {reads} fails, {second:?}");
        book.read(&lines).with_context(say)?;
        book.judge(&second, false).with_context(say)?;
        reads += 1;
    }
    eprintln!("each of {reads} reads failed once");
    ensure!(reads > 10, "only {reads} reads");
    Ok(())
}

/// No room for anything, and the reserve is spent.
#[test]
fn a_disk_that_is_full_when_the_buffer_is_opened_does_not_hold_back_what_it_has() -> Result<()> {
    let seed = disk::seed("full_at_start")?;
    let mut rng = fastrand::Rng::with_seed(seed);
    for round in 0..disk::rounds()?.unwrap_or(3) {
        let place = disk::scratch()?;
        let first = Life { steps: 30, alone: true, ..life(place.path().join("buffer"), &mut rng) };
        let second = Life { steps: 10, first_attempt: 500, alone: false, ..first.clone() };
        let rule = Rule { kinds: ON_GROW, error: ENOSPC, skip: 0, fail: u64::MAX };
        let say = || format!("round {round}, {first:?}");
        let (book, lines) = live_on(&first, &second, rule, true).with_context(say)?;
        ensure!(lines.contains("Delivered"), "{}: nothing was delivered: {lines}", say());
        let verdict = book.judge(&second, false).with_context(say)?;
        eprintln!("{} batches kept, {} refused: {verdict:?}", book.kept(), book.refused());
    }
    Ok(())
}

#[test]
fn a_new_buffer_on_a_full_disk_waits_for_room() -> Result<()> {
    let seed = disk::seed("full_and_new")?;
    let place = disk::scratch()?;
    let (below, rules) = (place.path().join("below"), Rules::new(&place.path().join("rules"))?);
    std::fs::create_dir(&below)?;
    let life = Life { steps: 20, alone: true, ..life(below.join("buffer"), &mut fastrand::Rng::with_seed(seed)) };
    rules.set(0, Some(Rule { kinds: ON_GROW, error: ENOSPC, skip: 0, fail: 30 }))?;
    let mut command = command(&life)?;
    disk::watch(&mut command, &below, None, Some(rules.path()))?;
    let lines = said(&mut command)?;
    let mut book = Book::default();
    book.read(&lines)?;
    ensure!(!lines.contains("NotOpened") && book.refused() > 0 && book.kept() > 0, "{lines}");
    book.judge(&life, false)?;
    Ok(())
}

/// Ways to damage a file.
#[derive(Debug)]
enum Damage {
    Cut { file: PathBuf, at: u64 },
    Flip { file: PathBuf, bits: Vec<u64> },
    Zero { file: PathBuf, at: u64, bytes: u64 },
    Gone { file: PathBuf },
}

impl Damage {
    fn any(file: PathBuf, len: u64, rng: &mut fastrand::Rng) -> Self {
        match rng.u8(..8) {
            _ if len == 0 => Self::Gone { file },
            0..2 => Self::Cut { file, at: rng.u64(..len) },
            2..5 => Self::Flip { file, bits: (0..rng.u32(1..4)).map(|_| rng.u64(..len * 8)).collect() },
            5..7 => Self::Zero { file, at: rng.u64(..len) / 512 * 512, bytes: 512 << rng.u32(..8) },
            _ => Self::Gone { file },
        }
    }

    fn apply(&self, folder: &Path) -> Result<()> {
        match self {
            Self::Cut { file, at } => Ok(std::fs::OpenOptions::new().write(true).open(folder.join(file))?.set_len(*at)?),
            Self::Flip { file, bits } => change(&folder.join(file), |bytes| {
                bits.iter().for_each(|bit| bytes[(bit / 8) as usize] ^= 1 << (bit % 8));
            }),
            Self::Zero { file, at, bytes: count } => change(&folder.join(file), |bytes| {
                bytes.iter_mut().skip(*at as usize).take(*count as usize).for_each(|byte| *byte = 0);
            }),
            Self::Gone { file } => Ok(std::fs::remove_file(folder.join(file))?),
        }
    }
}

fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) -> Result<()> {
    let mut bytes = std::fs::read(path)?;
    change(&mut bytes);
    Ok(std::fs::write(path, bytes)?)
}

/// All files below a folder, in order, with their lengths.
fn files(folder: &Path, below: &Path, found: &mut Vec<(PathBuf, u64)>) -> Result<()> {
    let mut entries = std::fs::read_dir(folder.join(below))?.collect::<std::io::Result<Vec<_>>>()?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let (path, meta) = (below.join(entry.file_name()), entry.metadata()?);
        if meta.is_dir() {
            files(folder, &path, found)?;
        } else {
            found.push((path, meta.len()));
        }
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    if to.exists() {
        std::fs::remove_dir_all(to)?;
    }
    let status = Command::new("cp").arg("-r").args([from, to]).status()?;
    ensure!(status.success(), "cp: {status}");
    Ok(())
}

#[test]
fn a_damaged_file_costs_only_what_it_held_and_that_is_on_record() -> Result<()> {
    let seed = disk::seed("disk_damage")?;
    let rounds = disk::rounds()?.unwrap_or(1);
    let mut failures = Vec::new();
    for round in 0..rounds {
        let mut rng = fastrand::Rng::with_seed(seed.wrapping_add(round));
        let place = disk::scratch()?;
        let (whole, broken) = (place.path().join("whole"), place.path().join("broken"));
        let mut life = life(whole.clone(), &mut rng);
        let book = promises(&mut command(&life)?)?;
        life.folder.clone_from(&broken);
        let (mut found, mut sum, mut damages) = (Vec::new(), Verdict::default(), 0);
        files(&whole, Path::new(""), &mut found)?;
        for (file, len) in &found {
            // The larger a file, the more places it has to be hurt.
            let times = if *len > 4096 { 8 } else { 3 };
            for _ in 0..times {
                let damage = Damage::any(file.clone(), *len, &mut rng);
                copy(&whole, &broken)?;
                damage.apply(&broken)?;
                damages += 1;
                match book.judge(&life, true) {
                    Ok(verdict) => sum.add(verdict),
                    Err(why) => failures.push(format!("{damage:?}, round {round} of seed {seed}: {why:#}")),
                }
            }
        }
        eprintln!("{} files, damaged {damages} times: {sum:?}", found.len());
    }
    ensure!(failures.is_empty(), "{}", failures.join("\n"));
    Ok(())
}
