//! What the compiler cannot hold: the direction of imports, pure rooms, leaves, file lengths, fixtures beside profiles.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use pattoo_tests::root;

/// Longest source file, in lines; the aim is 400.
const MAX_LINES: usize = 500;

/// Rooms that take bytes, structs and `now`, and do nothing else.
const PURE: &[&str] = &[
    "gateway/wire/src",
    "gateway/src/command.rs",
    "gateway/src/command",
    "gateway/src/convert.rs",
    "gateway/src/convert",
    "gateway/src/reading.rs",
    "gateway/src/profile.rs",
    "gateway/src/profile/decode.rs",
    "gateway/src/profile/signature.rs",
    "gateway/src/fixture.rs",
    "gateway/src/link_log/text.rs",
    "gateway/src/link_log/valve.rs",
    "gateway/src/scan.rs",
    "gateway/src/scan/bacnet.rs",
    "gateway/src/scan/bacnet/draft.rs",
    "gateway/src/scan/bacnet/ede.rs",
    "gateway/src/scan/bacnet/rank.rs",
    "gateway/src/scan/bacnet/report.rs",
    "gateway/src/scan/dossier.rs",
    "gateway/src/scan/order.rs",
    "gateway/src/scan/rank.rs",
    "gateway/src/scan/report.rs",
    "gateway/src/simulate/bacnet/cov.rs",
    "gateway/src/simulate/bacnet/device.rs",
    "gateway/src/simulate/bacnet/made.rs",
    "gateway/src/simulate/bacnet/object.rs",
    "gateway/src/fixture/bacnet.rs",
    "gateway/src/plan.rs",
    "gateway/src/schedule.rs",
    "gateway/src/durations.rs",
    "gateway/src/health.rs",
    "gateway/src/lessons.rs",
    "gateway/src/outlook.rs",
    "gateway/src/pulse.rs",
    "gateway/src/support.rs",
    "gateway/src/profile/snmp",
    "gateway/src/check/snmp.rs",
    "gateway/src/driver/snmp/known.rs",
    "gateway/src/driver/snmp/rate.rs",
    "gateway/src/driver/snmp/rows.rs",
    "gateway/src/driver/snmp/walk.rs",
    "gateway/src/driver/snmp/wire.rs",
    "gateway/src/lines.rs",
    "gateway/src/lines",
    "gateway/src/driver/bacnet/cov.rs",
    "gateway/src/driver/bacnet/guard.rs",
    "gateway/src/driver/bacnet/known.rs",
    "gateway/src/driver/bacnet/names.rs",
    "gateway/src/driver/bacnet/plan.rs",
    "gateway/src/driver/bacnet/port/registration.rs",
    "gateway/src/driver/bacnet/sample.rs",
    "gateway/src/driver/bacnet/services.rs",
    "gateway/src/driver/bacnet/tags.rs",
    "gateway/src/driver/bacnet/text.rs",
    "gateway/src/driver/bacnet/tsm.rs",
    "gateway/src/driver/bacnet/units.rs",
    "gateway/src/profile/bacnet.rs",
    "gateway/src/driver/modbus/learned.rs",
    "gateway/src/driver/modbus/session/patience.rs",
    "gateway/src/driver/modbus/session/question.rs",
    "gateway/src/batch.rs",
    "gateway/src/timebase.rs",
    "gateway/src/uplink.rs",
    "gateway/src/uplink/brokers.rs",
    "gateway/src/uplink/ledger.rs",
    "gateway/src/uplink/ranges.rs",
    "gateway/src/uplink/rate.rs",
    "server/src/broker/access.rs",
    "server/src/broker/accounts.rs",
    "server/src/broker/certificate.rs",
    "server/src/broker/limits.rs",
    "server/src/broker/meter.rs",
    "server/src/broker/quiet.rs",
    "server/src/users.rs",
    "server/src/users/lockout.rs",
    "server/src/users/sessions.rs",
    "server/src/config/http.rs",
    "server/src/catalog.rs",
    "server/src/catalog",
    "server/src/config.rs",
    "server/src/config/agents.rs",
    "server/src/config/broker.rs",
    "server/src/config/store.rs",
    "server/src/dashboard",
    "server/src/ingest/asking.rs",
    "server/src/ingest/fair.rs",
    "server/src/ingest/future.rs",
    "server/src/ingest/group.rs",
    "server/src/ingest/pattoo.rs",
    "server/src/ingest/pattoo/body.rs",
    "server/src/ingest/pattoo/identity.rs",
    "server/src/live/named.rs",
    "server/src/query.rs",
    "server/src/translations.rs",
    "server/src/translations/pack.rs",
    "server/src/api/forwarded.rs",
    "server/src/store/embedded/state.rs",
    "server/src/store/head.rs",
    "server/src/store/head",
    "server/src/store/log/content.rs",
    "server/src/store/log/frame.rs",
    "server/src/store/log/recovery.rs",
    "server/src/store/part.rs",
    "server/src/store/part",
    "server/src/store/shelf/name.rs",
    "server/src/store/retention.rs",
    "server/src/store/rollup",
    "server/src/store/shelf/tiers.rs",
    "server/src/store/victoria/compare.rs",
    "server/src/store/victoria/plane.rs",
    "server/src/store/victoria/question.rs",
    "server/src/store/victoria/remote_write.rs",
    "server/src/query",
];

/// What a pure room never says.
const IMPURE: &[&str] = &[
    "std::fs",
    "std::net",
    "std::thread",
    "std::process",
    "std::env",
    "tokio::",
    "tracing::",
    "SystemTime::now",
    "Instant::now",
    "Mutex",
    "RwLock",
    "async fn",
];

/// A room and what it must not know of.
const STRANGERS: &[(&str, &[&str])] = &[
    ("gateway/wire/src", &["pattoo_gateway::", "pattoo_server::", "std::time"]),
    ("gateway/src/driver", &["crate::buffer", "crate::uplink", "crate::batch", "crate::run"]),
    ("gateway/src/driver/modbus", &["driver::host", "super::host", "driver::bacnet"]),
    ("gateway/src/driver/bacnet", &["driver::host", "driver::modbus", "driver::snmp"]),
    ("gateway/src/driver/host", &["driver::modbus", "super::modbus"]),
    ("gateway/src/driver/snmp", &["driver::modbus", "driver::host", "crate::fixture", "crate::scan"]),
    ("gateway/src/driver/exec", &["driver::modbus", "super::modbus", "driver::host", "super::host"]),
    ("gateway/src/driver/inputs", &["driver::modbus", "super::modbus", "driver::exec", "super::exec"]),
    ("gateway/src/buffer", &["crate::uplink", "crate::driver", "crate::run"]),
    ("gateway/src/uplink", &["crate::driver", "crate::run", "buffer::disk"]),
    ("gateway/src", &["pattoo_server::"]),
    ("server/src", &["pattoo_gateway::"]),
    ("server/src/api", &["store::embedded", "store::memory", "crate::run", "crate::broker"]),
    ("server/src/store", &["crate::ingest", "crate::api", "crate::broker", "crate::run"]),
    ("server/src/broker", &["crate::ingest", "crate::store", "crate::api", "crate::run"]),
    ("server/src/users", &["crate::ingest", "crate::store", "crate::api", "crate::run", "crate::auth"]),
    ("server/src/ingest", &["store::embedded", "crate::api", "crate::run"]),
];

/// Only `run` starts tasks and threads.
const SPAWNS: &[&str] = &["tokio::spawn", "thread::spawn", "task::spawn(", "spawn_local"];
const MAY_SPAWN: &[&str] = &["gateway/src/run.rs", "gateway/src/run/life.rs", "server/src/run.rs"];

/// Source files below a folder (or the one file), with their text up to the tests.
fn sources(place: &str) -> Result<Vec<(PathBuf, String)>> {
    let path = root().join(place);
    let mut files = Vec::new();
    collect(&path, &mut files).with_context(|| format!("{place} is named in this test and not there"))?;
    if path.is_dir() && path.with_extension("rs").exists() {
        files.push(path.with_extension("rs"));
    }
    let tested = files.iter().map(|file| is_test_module(file)).collect::<Result<Vec<_>>>()?;
    files
        .into_iter()
        .zip(tested)
        .filter(|(_, test)| !test)
        .map(|(file, _)| {
            let text = std::fs::read_to_string(&file)?;
            let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
            let code = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
            Ok((file, code))
        })
        .collect()
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    if path.is_file() {
        files.push(path.to_owned());
        return Ok(());
    }
    for entry in std::fs::read_dir(path)? {
        let path = entry?.path();
        if path.is_dir() && !path.ends_with("node_modules") {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

/// Whether the file is a module that its parent declares for tests only, or lies below one.
fn is_test_module(path: &Path) -> Result<bool> {
    let (Some(folder), Some(stem)) = (path.parent(), path.file_stem().and_then(|s| s.to_str())) else { return Ok(false) };
    if folder.ends_with("src") {
        return Ok(false);
    }
    let parent = folder.with_extension("rs");
    if !parent.exists() {
        return Ok(false);
    }
    let text = std::fs::read_to_string(&parent)?;
    let declared = ["", "pub(super) "].iter().any(|seen| text.contains(&format!("#[cfg(test)]\n{seen}mod {stem};")));
    Ok(declared || is_test_module(&parent)?)
}

fn offences(place: &str, words: &[&str]) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for (file, code) in sources(place)? {
        for (number, line) in code.lines().enumerate() {
            if let Some(word) = words.iter().find(|word| line.contains(**word)) {
                found.push(format!("{} says {word:?} (code line {}): {}", file.display(), number + 1, line.trim()));
            }
        }
    }
    Ok(found)
}

#[test]
fn pure_rooms_do_nothing_but_compute() -> Result<()> {
    let mut found = Vec::new();
    for place in PURE {
        found.extend(offences(place, IMPURE)?);
    }
    ensure!(found.is_empty(), "pure rooms with a shell:\n{}", found.join("\n"));
    Ok(())
}

#[test]
fn rooms_do_not_know_strangers() -> Result<()> {
    let mut found = Vec::new();
    for (place, strangers) in STRANGERS {
        found.extend(offences(place, strangers)?);
    }
    ensure!(found.is_empty(), "imports against the direction:\n{}", found.join("\n"));
    Ok(())
}

#[test]
fn only_run_spawns() -> Result<()> {
    let mut found = Vec::new();
    for place in ["gateway/src", "server/src"] {
        found.extend(offences(place, SPAWNS)?.into_iter().filter(|line| !MAY_SPAWN.iter().any(|file| line.contains(file))));
    }
    ensure!(found.is_empty(), "spawned outside run:\n{}", found.join("\n"));
    Ok(())
}

#[test]
fn files_stay_readable() -> Result<()> {
    let mut long = Vec::new();
    for place in ["gateway", "server/src", "tests/src", "tests/tests"] {
        let mut files = Vec::new();
        collect(&root().join(place), &mut files)?;
        for file in files {
            let lines = std::fs::read_to_string(&file)?.lines().count();
            if lines > MAX_LINES {
                long.push(format!("{}: {lines} lines, at most {MAX_LINES}", file.display()));
            }
        }
    }
    ensure!(long.is_empty(), "{}", long.join("\n"));
    Ok(())
}

#[test]
fn every_modbus_profile_has_a_fixture() -> Result<()> {
    let mut profiles = 0;
    for entry in std::fs::read_dir(pattoo_tests::profiles())? {
        let path = entry?.path();
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default().to_owned();
        let Some(id) = name.strip_suffix(".yaml").filter(|id| !id.contains('.')) else { continue };
        profiles += 1;
        // What this host answers cannot be recorded: its driver is compared with /proc instead.
        let live = std::fs::read_to_string(&path)?.contains("host:");
        ensure!(live || path.with_file_name(format!("{id}.fixture.json")).exists(), "{name} has no {id}.fixture.json beside it");
    }
    ensure!(profiles >= 2, "found only {profiles} profiles");
    Ok(())
}

#[test]
fn the_root_shows_the_product_only() -> Result<()> {
    const EXPECTED: &[&str] = &[
        "CHANGELOG.md",
        "Cargo.lock",
        "Cargo.toml",
        "LICENSE",
        "README.md",
        "gateway",
        "hw-profiles",
        "server",
        "systemd",
        "target",
        "tests",
        "yocto",
    ];
    let mut strangers = Vec::new();
    for entry in std::fs::read_dir(root())? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') && !EXPECTED.contains(&name.as_str()) {
            strangers.push(name);
        }
    }
    ensure!(strangers.is_empty(), "in the root: {strangers:?}");
    Ok(())
}
