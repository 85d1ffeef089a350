//! `support-bundle`: reads what there is to know of this gateway and its machine. Shell; what may be told is decided in [`crate::support`].

use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::config::{Loaded, MAX_CONFIG_BYTES};
use crate::run::{Source, free_bytes};
use crate::yaml::Problem;
use crate::{clock, control, support};

/// Most lines of the log.
const LOG_LINES: &str = "2000";
/// Most bytes of the log, and of any other text.
const MAX_TEXT_BYTES: u64 = 1 << 20;
/// Files about the machine.
const MACHINE: [&str; 5] = ["/etc/os-release", "/proc/version", "/proc/uptime", "/proc/loadavg", "/proc/meminfo"];

/// Writes the bundle; a file that is there stays.
pub(super) fn write(source: &Source, output: &Path) -> Result<()> {
    let text = serde_json::to_vec_pretty(&bundle(source))?;
    let open = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(output);
    let written = open.and_then(|mut file| std::io::Write::write_all(&mut file, &text));
    written.with_context(|| format!("cannot write {}", output.display()))
}

fn bundle(source: &Source) -> Value {
    let content = std::fs::File::open(&source.config).and_then(|file| {
        let mut bytes = Vec::new();
        file.take(MAX_CONFIG_BYTES as u64 + 1).read_to_end(&mut bytes).map(|_| bytes)
    });
    let config = content.map_or_else(|error| json!({ "unreadable": error.to_string() }), |bytes| support::config(&source.config, &bytes));
    let loaded = source.load();
    let problems: &[Problem] = match &loaded {
        Ok(loaded) => &loaded.problems,
        Err(problems) => problems,
    };
    let machine: serde_json::Map<_, _> = MACHINE.iter().map(|file| ((*file).to_owned(), text(Path::new(file)))).collect();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "time_ms": clock::now_ms(),
        "config": config,
        "problems": support::problems(problems),
        "starts": loaded.is_ok(),
        "buffer": loaded.ok().map(|loaded| buffer(&loaded)),
        "machine": machine,
        "service": said(Command::new("systemctl").args(["show", "pattoo-gateway", "-p", "ActiveState,SubState,NRestarts,Result,StatusText,MemoryCurrent"])),
        "log": said(Command::new("journalctl").args(["--no-pager", "-q", "-u", "pattoo-gateway", "-n", LOG_LINES, "-o", "short-iso"])),
    })
}

/// Its files, the room beside it, and whether a daemon has it.
fn buffer(loaded: &Loaded) -> Value {
    let path = &loaded.config.buffer.path;
    let files = std::fs::read_dir(path).map(|files| {
        let sizes =
            files.flatten().filter_map(|file| Some((file.file_name().to_string_lossy().into_owned(), file.metadata().ok()?.size())));
        sizes.map(|(name, size)| (name, size.into())).collect::<serde_json::Map<String, Value>>()
    });
    json!({
        "path": path,
        "files": files.map_or_else(|error| error.to_string().into(), Value::Object),
        "free_bytes": free_bytes(path),
        "daemon": control::socket(path).exists(),
        "standing": control::standing(path).map_or_else(|error| json!({ "unknown": error.to_string() }), |standing| json!(standing)),
    })
}

fn text(file: &Path) -> Value {
    let mut text = String::new();
    let read = std::fs::File::open(file).and_then(|file| file.take(MAX_TEXT_BYTES).read_to_string(&mut text));
    read.map_or_else(|error| error.to_string(), |_| text).into()
}

/// What a program says; its lines, or why there are none.
fn said(command: &mut Command) -> Value {
    match command.stdin(Stdio::null()).output() {
        Ok(output) => {
            let end = output.stdout.len().min(usize::try_from(MAX_TEXT_BYTES).unwrap_or(usize::MAX));
            String::from_utf8_lossy(output.stdout.get(..end).unwrap_or_default()).lines().map(Value::from).collect()
        }
        Err(error) => error.to_string().into(),
    }
}
