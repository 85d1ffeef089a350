//! What a process has used so far, as the kernel counts it, and what its files take.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

/// Clock ticks per second of `/proc/<pid>/stat` on every Linux that we know.
const TICKS: f64 = 100.0;

/// Figures of a case by name.
pub(crate) type Figures = BTreeMap<String, f64>;

pub(crate) struct Start {
    at: Instant,
    cpu_s: f64,
    written: f64,
}

impl Start {
    pub(crate) fn now() -> Result<Self> {
        Ok(Self { at: Instant::now(), cpu_s: cpu_s()?, written: written()? })
    }

    /// Wall time, CPU time and bytes written since then, and memory, under these names with this in front.
    pub(crate) fn stop(self, name: &str, figures: &mut Figures) -> Result<()> {
        let wall_s = self.at.elapsed().as_secs_f64();
        let found = [
            ("wall_s", wall_s),
            ("cpu_s", cpu_s()? - self.cpu_s),
            ("written", written()? - self.written),
            ("rss", status("VmRSS:")?),
            ("rss_own", status("RssAnon:")?),
            ("hwm", status("VmHWM:")?),
        ];
        figures.extend(found.map(|(what, value)| (format!("{name}{what}"), value)));
        Ok(())
    }
}

/// CPU time of all threads, in user and kernel mode, those that have ended included.
fn cpu_s() -> Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let (_, fields) = stat.rsplit_once(')').context("no name")?;
    let ticks: Vec<f64> = fields.split_whitespace().skip(11).take(2).map(str::parse).collect::<Result<_, _>>()?;
    Ok(ticks.iter().sum::<f64>() / TICKS)
}

/// Bytes of the pages that this process made dirty on a file system with a disk below.
fn written() -> Result<f64> {
    field("/proc/self/io", "write_bytes:")
}

fn status(name: &str) -> Result<f64> {
    Ok(field("/proc/self/status", name)? * 1024.0)
}

fn field(file: &str, name: &str) -> Result<f64> {
    let text = std::fs::read_to_string(file)?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)).with_context(|| format!("no {name} in {file}"))?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

/// Bytes that everything in a folder takes on the disk, folders too, without the buffer's reserve for a full disk.
pub(crate) fn taken_bytes(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let own = folder.metadata().map_or(0, |meta| meta.blocks() * 512);
    let inside = entries.flatten().filter(|entry| entry.file_name() != "ballast").map(|entry| match entry.metadata() {
        Ok(meta) if meta.is_dir() => taken_bytes(&entry.path()),
        Ok(meta) => meta.blocks() * 512,
        Err(_) => 0,
    });
    own + inside.sum::<u64>()
}

/// Asks the kernel to forget what it has cached of the files in a folder.
pub(crate) fn forget_cached(folder: &Path) -> Result<()> {
    for entry in std::fs::read_dir(folder)?.flatten() {
        let path = entry.path();
        if path.is_dir() {
            forget_cached(&path)?;
            continue;
        }
        let mut input = std::ffi::OsString::from("if=");
        input.push(&path);
        let status = Command::new("dd").arg(input).args(["iflag=nocache", "count=0", "status=none"]).status()?;
        ensure!(status.success(), "dd failed for {}", path.display());
    }
    Ok(())
}

/// How busy the machine was in the last minute.
pub(crate) fn load() -> Result<f64> {
    let text = std::fs::read_to_string("/proc/loadavg")?;
    Ok(text.split_whitespace().next().context("no load")?.parse()?)
}
