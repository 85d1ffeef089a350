//! Shell: readings of a store to files that other programs read, and from such files into a store. CSV and Parquet, by the end of the
//! file's name; what a row says is in [`row`].
//!
//! An export is for people and programs that analyse; it holds readings, not labels, states or gap records. A file is imported as a whole or not
//! at all: every row is read before the first is stored. What is imported twice is there once.

use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::catalog::{Catalog, MAX_GATEWAYS};
use crate::store::{Commit, SeriesEntry, Store};

mod columns;
mod comma;
mod row;

/// Readings that are read from the store, or committed, at a time.
const AT_ONCE: usize = 10_000;
/// Rows that are named before the rest is only counted.
const MAX_NAMED: usize = 20;
/// How often progress is told.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// Which readings.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Only of this gateway.
    pub gateway: Option<String>,
    /// Only of devices of this name.
    pub device: Option<String>,
    /// Not before, in ms since 1970.
    pub from_ms: Option<i64>,
    /// Before, in ms since 1970.
    pub to_ms: Option<i64>,
}

/// Milliseconds since 1970 of a time as people write it: RFC 3339, or such a number.
///
/// # Errors
/// What was found and what was expected.
pub fn time_ms(text: &str) -> Result<i64, String> {
    row::time_ms(text)
}

#[derive(Debug, Clone, Copy)]
enum Format {
    Csv,
    Parquet,
}

impl Format {
    fn of(file: &Path) -> Result<Self> {
        match file.extension().and_then(|end| end.to_str()) {
            Some("csv") => Ok(Self::Csv),
            Some("parquet") => Ok(Self::Parquet),
            _ => bail!("{}: found no known end of a file's name, expected .csv or .parquet", file.display()),
        }
    }
}

enum Writer<W: Write + Send> {
    Csv(comma::Writer<W>),
    Parquet(columns::Writer<W>),
}

/// Tells how far it is, on a line of its own, now and then.
struct Progress<'a> {
    out: &'a mut dyn Write,
    what: &'static str,
    rows: u64,
    told: Instant,
}

impl<'a> Progress<'a> {
    fn new(what: &'static str, out: &'a mut dyn Write) -> Self {
        Self { out, what, rows: 0, told: Instant::now() }
    }

    fn add(&mut self, rows: usize, where_: &dyn Fn() -> String) {
        self.rows += rows as u64;
        if self.told.elapsed() >= TELL_EVERY {
            self.told = Instant::now();
            // Nobody to tell is no reason to stop.
            let _ = writeln!(self.out, "{}: {} readings, {}", self.what, self.rows, where_());
        }
    }
}

/// Writes what is wanted to a file that was not there before; gives how many readings. Nothing is left of a file that was not finished.
///
/// # Errors
/// The store or the disk refuses.
pub fn export(store: &dyn Store, wanted: &Wanted, file: &Path, progress: &mut dyn Write) -> Result<u64> {
    let format = Format::of(file)?;
    if file.exists() {
        bail!("{}: is there already; remove it or choose another name", file.display());
    }
    let half = half_of(file);
    let written = write(store, wanted, format, &half, progress).and_then(|rows| {
        std::fs::rename(&half, file)?;
        Ok(rows)
    });
    if written.is_err() {
        let _ = std::fs::remove_file(&half);
    }
    written.with_context(|| file.display().to_string())
}

fn half_of(file: &Path) -> PathBuf {
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(".half");
    file.with_file_name(name)
}

fn write(store: &dyn Store, wanted: &Wanted, format: Format, file: &Path, progress: &mut dyn Write) -> Result<u64> {
    let out = BufWriter::new(File::create(file)?);
    let mut writer = match format {
        Format::Csv => Writer::Csv(comma::Writer::new(out)?),
        Format::Parquet => Writer::Parquet(columns::Writer::new(out)?),
    };
    let mut series = store.load()?.series;
    let matches = |of: Option<&str>, name: &str| of.is_none_or(|of| of == name);
    series.retain(|s| matches(wanted.gateway.as_deref(), &s.gateway) && matches(wanted.device.as_deref(), &s.device));
    series.sort_by(|a, b| names(a).cmp(&names(b)));
    let count = series.len();
    let mut progress = Progress::new("exporting", progress);
    for (place, series) in series.iter().enumerate() {
        let (mut from_ms, to_ms) = (wanted.from_ms.unwrap_or(i64::MIN), wanted.to_ms.unwrap_or(i64::MAX));
        loop {
            let readings = store.raw(series.id, from_ms, to_ms, AT_ONCE)?;
            let next = readings.last().and_then(|last| last.at_ms.checked_add(1)).filter(|_| readings.len() == AT_ONCE);
            for reading in &readings {
                let texts = row::write(series, reading);
                match &mut writer {
                    Writer::Csv(writer) => writer.write(&texts)?,
                    Writer::Parquet(writer) => {
                        writer.write(reading.at_ms, texts, reading.sample.value().and_then(pattoo_wire::Value::to_f64))?;
                    }
                }
            }
            progress.add(readings.len(), &|| format!("series {} of {count}", place + 1));
            let Some(next) = next else { break };
            from_ms = next;
        }
    }
    let out = match writer {
        Writer::Csv(writer) => writer.finish()?,
        Writer::Parquet(writer) => writer.finish()?,
    };
    out.into_inner().map_err(std::io::IntoInnerError::into_error)?.sync_all()?;
    Ok(progress.rows)
}

fn names(series: &SeriesEntry) -> (&str, &str, &str) {
    (&series.gateway, &series.device, &series.entry.point)
}

/// What an import came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Imported {
    /// Rows.
    pub readings: u64,
    /// Series that were not there before.
    pub new_series: u64,
    /// Readings that took the place of another value of the same series and time.
    pub replaced: u64,
}

/// Stores the readings of a file. `gateway` is the one of rows that name none. What is known of a series stays as it is.
///
/// # Errors
/// The file has something that cannot be read: then nothing was stored. Or the store refuses: then do it again, what is there is not doubled.
pub fn import(store: &dyn Store, file: &Path, gateway: Option<&str>, progress: &mut dyn Write) -> Result<Imported> {
    let format = Format::of(file)?;
    let at = || file.display().to_string();
    check(format, file, gateway, progress).with_context(at)?;
    let mut catalog = Catalog::new(store.load()?);
    let (mut commit, mut imported) = (Commit::default(), Imported::default());
    let mut progress = Progress::new("importing", progress);
    let mut store_now = |commit: &mut Commit, imported: &mut Imported| -> Result<()> {
        imported.replaced += store.commit(commit)?.replaced;
        imported.readings += commit.readings.len() as u64;
        imported.new_series += commit.series.len() as u64;
        progress.add(commit.readings.len(), &|| "stored".into());
        *commit = Commit::default();
        Ok(())
    };
    rows(format, file, gateway, &mut |line, texts| {
        let (series, reading) = row::read(&texts).map_err(anyhow::Error::msg)?;
        let (id, new) = catalog.take_point(series, false, |_| false, MAX_GATEWAYS).with_context(|| format!("{} {line}", format.place()))?;
        commit.series.extend(new);
        commit.readings.push((id, reading));
        if commit.readings.len() < AT_ONCE { Ok(()) } else { store_now(&mut commit, &mut imported) }
    })
    .with_context(at)?;
    store_now(&mut commit, &mut imported)?;
    Ok(imported)
}

impl Format {
    fn place(self) -> &'static str {
        match self {
            Self::Csv => "line",
            Self::Parquet => "row",
        }
    }
}

fn rows(format: Format, file: &Path, gateway: Option<&str>, take: &mut dyn FnMut(u64, row::Texts) -> Result<()>) -> Result<()> {
    let opened = File::open(file)?;
    match format {
        Format::Csv => comma::read(BufReader::new(opened), gateway, take),
        Format::Parquet => columns::read(opened, gateway, take),
    }
}

/// Reads every row, and names those that cannot be.
fn check(format: Format, file: &Path, gateway: Option<&str>, progress: &mut dyn Write) -> Result<()> {
    let (mut wrong, mut named) = (0usize, String::new());
    let mut progress = Progress::new("checking", progress);
    rows(format, file, gateway, &mut |line, texts| {
        if let Err(problem) = row::read(&texts) {
            wrong += 1;
            if wrong <= MAX_NAMED {
                named += &format!("\n  {} {line}: {problem}", format.place());
            }
        }
        progress.add(1, &|| "read".into());
        Ok(())
    })?;
    match wrong {
        0 => Ok(()),
        n if n > MAX_NAMED => bail!("nothing was imported, {n} rows cannot be read; the first of them:{named}"),
        n => bail!("nothing was imported, {n} rows cannot be read:{named}"),
    }
}

#[cfg(test)]
mod tests;
