//! `buffer status`: asks the running daemon how its buffer stands. Shell.

use std::time::Duration;

use anyhow::{Context, Result};
use bytesize::ByteSize;
use serde_json::json;

use crate::config::Config;
use crate::control::{self, Standing};
use crate::run::free_bytes;

/// What the daemon of this configuration answers, as text or JSON.
pub(super) fn status(config: &Config, as_json: bool) -> Result<String> {
    let buffer = &config.buffer;
    let standing = control::standing(&buffer.path).with_context(|| super::unreachable(&buffer.path))?;
    let free = free_bytes(&buffer.path);
    if as_json {
        let mut told = serde_json::to_value(&standing)?;
        told["max_bytes"] = buffer.max_bytes.into();
        told["free_bytes"] = json!(free);
        return Ok(serde_json::to_string_pretty(&told)? + "\n");
    }
    Ok(text(&standing, buffer.max_bytes, free))
}

fn text(standing: &Standing, max_bytes: u64, free: Option<u64>) -> String {
    let Standing { batches, bytes, oldest_age_s, disk_bytes, dropped_readings, pending_gaps, clock, warnings } = standing;
    let size = |bytes: u64| ByteSize(bytes).display().si();
    let oldest = match (*batches, oldest_age_s) {
        (0, _) => String::new(),
        (_, Some(age_s)) => format!(", the oldest of {} ago", humantime::format_duration(Duration::from_secs(*age_s))),
        (_, None) => ", the oldest of a time that is not known yet".to_owned(),
    };
    let mut lines = vec![
        format!("waiting   {batches} batches, {}{oldest}", size(*bytes)),
        format!("on disk   {} of at most {}", size(*disk_bytes), size(max_bytes)),
        format!("free      {}", free.map_or_else(|| "unknown".to_owned(), |free| size(free).to_string())),
        format!("dropped   {dropped_readings} readings; {pending_gaps} gap records wait for the next batch"),
        format!("time by   {clock}"),
    ];
    lines.extend(warnings.iter().map(|warning| format!("warning   {}: {}", warning.about, warning.text)));
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_age_of_the_oldest_batch_is_told_where_one_waits() {
        for (batches, oldest_age_s, expected) in [
            (0, None, "waiting   0 batches, 0 B\n"),
            (3, Some(7_384), "waiting   3 batches, 0 B, the oldest of 2h 3m 4s ago\n"),
            (3, None, "waiting   3 batches, 0 B, the oldest of a time that is not known yet\n"),
        ] {
            let standing = Standing { batches, oldest_age_s, ..Standing::default() };
            let told = text(&standing, 1 << 20, None);
            assert!(told.starts_with(expected), "{told}");
        }
        let json = serde_json::to_value(Standing { oldest_age_s: Some(4), ..Standing::default() }).unwrap();
        assert_eq!(json["oldest_age_s"], 4);
    }
}
