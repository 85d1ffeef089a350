//! Folders of configuration and buffer as released formats wrote them, in `tests/golden/FORMAT`: this version opens each of them, and all that
//! waits in it is there. They stay for ever; a new format gets a new folder, made as `tests/golden/README.md` says.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use pattoo_gateway::buffer::{self, Limits};
use pattoo_gateway::config;
use pattoo_tests::{profiles, root};
use serde_json::json;
use tempfile::TempDir;

fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let (path, into) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy(&path, &into)?;
        } else {
            std::fs::copy(&path, &into)?;
        }
    }
    Ok(())
}

#[test]
fn what_each_format_left_is_opened_with_all_that_waits_in_it() -> Result<()> {
    let mut formats = 0;
    for entry in std::fs::read_dir(root().join("tests/golden"))? {
        let golden = entry?.path();
        if !golden.is_dir() {
            continue;
        }
        formats += 1;
        let folder = TempDir::new()?;
        copy(&golden, folder.path())?;
        let loaded = config::load(&folder.path().join("gateway.yaml"), &[profiles()], &|_| None);
        let loaded = loaded.map_err(|problems| anyhow::anyhow!("{}: {problems:?}", golden.display()))?;
        ensure!(loaded.problems.is_empty(), "{}: {:?}", golden.display(), loaded.problems);

        let expected: serde_json::Value = serde_json::from_slice(&std::fs::read(golden.join("expected.json"))?)?;
        let made_ms = expected["made_ms"].as_i64().context("made_ms")?;
        let (mut buffer, notices) = buffer::open(&folder.path().join("buffer"), Limits::from(&loaded.config.buffer), made_ms)?;
        ensure!(notices.is_empty(), "{}: {notices:?}", golden.display());
        let stats = buffer.stats();
        let found = json!({ "stream": format!("{:016x}", stats.stream), "batches": stats.batches, "made_ms": made_ms });
        for seq in stats.oldest..stats.next {
            let got = buffer.get(seq, made_ms).with_context(|| format!("batch {seq}"))?;
            ensure!(got.is_some_and(|stored| !stored.body.is_empty()), "{}: batch {seq} is not there", golden.display());
        }
        ensure!(found == expected, "{}: found {found}, expected {expected}", golden.display());
    }
    ensure!(formats >= 1, "no golden folder is there");
    Ok(())
}
