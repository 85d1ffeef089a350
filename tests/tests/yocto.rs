//! The layer `yocto/meta-pattoo`, judged by tools that we did not write: oelint-adv, kas, shellcheck, systemd, and bitbake's own parser
//! and fetchers. With openembedded-core, `tests/bitbake` asks bitbake itself.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use pattoo_tests::{python, root};
use serde_json::Value;

const LAYER: &str = "yocto/meta-pattoo";
/// Of which each has its own unpack folder, compiler and names.
const RELEASES: [&str; 2] = ["scarthgap", "wrynose"];
/// Rules that do not fit: one asks the network, and a program for boxes is not built for the machine that builds.
const NO_RULES: [&str; 2] = ["oelint.vars.homepageping", "oelint.var.bbclassextend"];

/// Runs a command in the root of the checkout; what it says, if it ends with this status.
fn run(command: &mut Command, status: i32) -> Result<String> {
    let output = command.current_dir(root()).output().with_context(|| format!("{command:?}: run tests/run once, it installs this"))?;
    let (said, told) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.code() == Some(status), "{command:?}: {}, expected {status}\n{said}\n{told}", output.status);
    Ok(if status == 0 { said.into_owned() } else { format!("{said}{told}") })
}

/// All files below a folder of the layer whose path ends so, from the root of the checkout.
fn files(below: &str, ends: &[&str]) -> Result<Vec<PathBuf>> {
    let (mut found, mut folders) = (Vec::new(), vec![root().join(below)]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if ends.iter().any(|end| path.to_string_lossy().ends_with(end)) {
                found.push(path.strip_prefix(root())?.to_owned());
            }
        }
    }
    found.sort();
    ensure!(!found.is_empty(), "{below}: nothing ends with {ends:?}");
    Ok(found)
}

#[test]
fn recipes_are_clean_for_both_releases() -> Result<()> {
    let recipes = files(LAYER, &[".bb", ".bbappend"])?;
    for release in RELEASES {
        let mut command = Command::new(python()?);
        command.args(["-m", "oelint_adv", "--quiet", "--jobs", "1", "--release", release]);
        NO_RULES.iter().for_each(|rule| _ = command.args(["--suppress", rule]));
        let constants = format!("+{LAYER}/scripts/oelint-constants.json");
        let said = run(command.args(["--constantmods", &constants, "--"]).args(&recipes), 0)?;
        ensure!(said.trim().is_empty(), "{release}: {said}");
    }
    Ok(())
}

#[test]
fn scripts_and_units_are_clean() -> Result<()> {
    let mut scripts: Vec<PathBuf> = files(LAYER, &["-update", "-health", "-provision", "prebuilt-sums"])?;
    scripts.retain(|path| root().join(path).is_file());
    ensure!(scripts.len() == 5, "{scripts:?}");
    run(Command::new("shellcheck").args(["--shell", "sh"]).args(&scripts), 0)?;
    run(Command::new("shellcheck").arg("tests/bitbake"), 0)?;
    // Programs and other units are not here: what systemd says of those is left out.
    let units = files(LAYER, &[".mount", ".service"])?;
    let folder = tempfile::tempdir()?;
    let shell = "ExecStart=/bin/sh";
    for unit in &units {
        let text = std::fs::read_to_string(root().join(unit))?;
        let mut here = String::new();
        text.lines().for_each(|line| _ = writeln!(here, "{}", if line.starts_with("ExecStart=") { shell } else { line }));
        std::fs::write(folder.path().join(unit.file_name().context("a name")?), here)?;
    }
    let here = units.iter().filter_map(|unit| Some(folder.path().join(unit.file_name()?)));
    let output =
        Command::new("systemd-analyze").args(["verify", "--man=no"]).args(here).output().context("systemd-analyze: run tests/run")?;
    let said = String::from_utf8_lossy(&output.stderr);
    let ours = folder.path().to_string_lossy().into_owned();
    let wrong: Vec<_> = said.lines().filter(|line| line.starts_with(&ours)).collect();
    ensure!(wrong.is_empty(), "{wrong:#?}");
    Ok(())
}

#[test]
fn kas_takes_the_configurations() -> Result<()> {
    let steps = ["repos_checkout", "repo_setup_loop", "finish_setup_repos", "repos_apply_patches"];
    for (files, target, layers, branch) in [
        ("wrynose", "pattoo-image", 3, "wrynose"),
        ("scarthgap", "pattoo-image", 3, "scarthgap"),
        ("wrynose rauc", "pattoo-bundle", 4, "wrynose"),
        ("scarthgap rauc", "pattoo-bundle", 4, "scarthgap"),
    ] {
        let work = tempfile::tempdir()?;
        let paths: Vec<_> = files.split(' ').map(|file| format!("{LAYER}/kas/{file}.yml")).collect();
        let mut command = Command::new(python()?);
        command.env("KAS_WORK_DIR", work.path()).args(["-m", "kas", "--log-level", "error", "dump", "--format", "json"]);
        steps.iter().for_each(|step| _ = command.args(["--skip", step]));
        let dumped: Value = serde_json::from_str(&run(command.arg(paths.join(":")), 0)?)?;
        ensure!(dumped["target"] == target && dumped["defaults"]["repos"]["branch"] == branch, "{files}: {dumped}");
        ensure!(dumped["repos"].as_object().is_some_and(|repos| repos.len() == layers), "{files}: {dumped}");
        ensure!(dumped["repos"]["pattoo"]["layers"].get(LAYER).is_some(), "{files}: {dumped}");
    }
    Ok(())
}

#[test]
fn lists_of_what_is_fetched_are_current_and_a_stale_one_says_so() -> Result<()> {
    let folder = tempfile::tempdir()?;
    for (script, list, lock, change) in [
        ("crates", "pattoo-crates.inc", "Cargo.lock", ("version = \"1.", "version = \"91.")),
        ("web-modules", "pattoo-web-modules.inc", "server/web/package-lock.json", ("\"version\": \"", "\"version\": \"9")),
    ] {
        let script = format!("{LAYER}/scripts/{script}");
        let list = format!("{LAYER}/recipes-pattoo/pattoo/{list}");
        run(Command::new(python()?).args([&script, "--check", &list, lock]), 0)?;
        let other = folder.path().join("lock");
        std::fs::write(&other, std::fs::read_to_string(root().join(lock))?.replace(change.0, change.1))?;
        let said = run(Command::new(python()?).args([&script, "--check", &list]).arg(&other), 1)?;
        ensure!(said.contains(&format!("{list} is not what")) && said.contains("run scripts/"), "{said}");
    }
    let git = "[[package]]\nname = \"a\"\nversion = \"1.0.0\"\nsource = \"git+https://example.com/a#1\"\n";
    std::fs::write(folder.path().join("lock"), git)?;
    let said = run(Command::new(python()?).arg(format!("{LAYER}/scripts/crates")).arg(folder.path().join("lock")), 1)?;
    ensure!(said.contains("a 1.0.0: found source git+https://example.com/a#1, expected crates.io"), "{said}");
    Ok(())
}

#[test]
fn sums_of_static_programs_are_written_for_the_recipes() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let script = || Command::new(root().join(LAYER).join("scripts/prebuilt-sums"));
    let said = run(script().arg(folder.path()), 1)?;
    ensure!(said.contains("no pattoo-*-musl.tar.xz"), "{said}");
    std::fs::write(folder.path().join("pattoo-gateway-0.1.0-aarch64-musl.tar.xz"), "a")?;
    let sum = "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb";
    let said = run(script().arg(folder.path()), 0)?;
    ensure!(said.ends_with(&format!("\nSRC_URI[pattoo-gateway-aarch64.sha256sum] = \"{sum}\"\n")), "{said}");
    std::fs::write(folder.path().join("pattoo-gateway-musl.tar.xz"), "a")?;
    let said = run(script().arg(folder.path()), 1)?;
    ensure!(said.contains("expected NAME-VERSION-ARCH-musl.tar.xz"), "{said}");
    Ok(())
}

/// What bitbake's parser makes of the layer: recipe -> variable -> value.
fn parsed(folder: &Path, release: &str, crates: Option<&Path>) -> Result<Value> {
    let mut command = Command::new(python()?);
    command.arg("tests/peers/bitbake_parse.py").arg(folder).arg(root().join(LAYER)).arg(release);
    Ok(serde_json::from_str(&run(command.args(crates), 0)?)?)
}

#[test]
fn bitbake_parses_each_recipe_to_what_it_should_be() -> Result<()> {
    let version = env!("CARGO_PKG_VERSION");
    let recipe = |name: &str| format!("{name}_{version}");
    let (gateway, server, binary) = (recipe("pattoo-gateway"), recipe("pattoo-server"), recipe("pattoo-gateway-bin"));
    let (data, rauc, group) = (recipe("pattoo-data"), recipe("pattoo-rauc-conf"), "packagegroup-pattoo".to_owned());
    for release in RELEASES {
        let folder = tempfile::tempdir()?;
        let recipes = parsed(folder.path(), release, None)?;
        ensure!(recipes.as_object().is_some_and(|all| all.len() == 12), "{release}: {recipes}");
        let suffix = if release == "scarthgap" { "-bin" } else { "" };
        let unpacked = if release == "scarthgap" { "" } else { "/sources" };
        for (recipe, variable, holds) in [
            (&gateway, "BUILD_MODE", "--profile edge"),
            (&gateway, "CARGO_BUILD_FLAGS", "--package pattoo-gateway"),
            (&gateway, "PATTOO_PROGRAM", "/edge/pattoo-gateway"),
            (&gateway, "USERADD_PARAM:pattoo-gateway", "--groups dialout pattoo"),
            (&gateway, "S", &format!("/pattoo-gateway/{version}{unpacked}/pattoo-gateway-{version}")),
            (&gateway, "do_install", "systemd/pattoo-gateway.service"),
            (&server, "BUILD_MODE", "--profile release"),
            (&server, "PATTOO_WEB", "off"),
            (&server, "SYSTEMD_SERVICE:pattoo-server", "pattoo-server.service"),
            (&binary, "do_install", "systemd/pattoo-gateway.service"),
            (&binary, "PATTOO_PROGRAM", &format!("{unpacked}/pattoo-gateway-bin-{version}/pattoo-gateway")),
            (&binary, "COMPATIBLE_HOST", ".*"),
            (&group, "RDEPENDS:packagegroup-pattoo", &format!("pattoo-gateway{suffix} ")),
            (&group, "RDEPENDS:packagegroup-pattoo-server", &format!("pattoo-server{suffix} ")),
            (&data, "RDEPENDS:pattoo-data-server", "pattoo-data"),
            (&rauc, "RPROVIDES:pattoo-rauc-conf", "virtual-rauc-conf"),
            (&"pattoo-image".to_owned(), "IMAGE_FEATURES", "read-only-rootfs"),
            (&"pattoo-image".to_owned(), "WKS_FILE", "/yocto/meta-pattoo/files/wic/pattoo-ab.wks.in"),
        ] {
            let found = recipes[recipe][variable].as_str().with_context(|| format!("{release}: {recipe} has no {variable}"))?;
            ensure!(found.contains(holds), "{release}: {variable} of {recipe}: found {found:?}, expected {holds:?}");
        }
    }
    Ok(())
}

/// Each crate is the one of its checksum, and together with the tree they are all that cargo wants: `do_compile` asks no network.
#[test]
fn bitbake_unpacks_the_gateway_and_cargo_wants_nothing_else() -> Result<()> {
    run(Command::new("cargo").args(["fetch", "--locked", "--quiet"]), 0)?;
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo"))).context("neither CARGO_HOME nor HOME")?;
    let folder = tempfile::tempdir()?;
    let crates = folder.path().join("crates");
    std::fs::create_dir(&crates)?;
    for registry in std::fs::read_dir(home.join("registry/cache"))? {
        for file in std::fs::read_dir(registry?.path())? {
            let file = file?;
            std::os::unix::fs::symlink(file.path(), crates.join(file.file_name())).or_else(|e| match e.kind() {
                std::io::ErrorKind::AlreadyExists => Ok(()),
                _ => Err(e),
            })?;
        }
    }
    let build = folder.path().join("build");
    std::fs::create_dir(&build)?;
    let recipes = parsed(&build, "wrynose", Some(&crates))?;
    let unpacked = &recipes[format!("pattoo-gateway_{}", env!("CARGO_PKG_VERSION"))]["unpacked"];
    let lock = std::fs::read_to_string(root().join("Cargo.lock"))?;
    let wanted = lock.matches("\nchecksum = ").count();
    ensure!(unpacked["crates"] == wanted, "found {} crates, expected {wanted}", unpacked["crates"]);
    let (source, vendored) = (unpacked["source"].as_str().context("no folder")?, unpacked["vendored"].as_str().context("no folder")?);
    let config = ["source.crates-io.replace-with='bitbake'".to_owned(), format!("source.bitbake.directory='{vendored}'")];
    let mut cargo = Command::new("cargo");
    cargo.env("CARGO_HOME", folder.path().join("home")).args(["tree", "--frozen", "--quiet", "--package", "pattoo-gateway"]);
    config.iter().for_each(|setting| _ = cargo.args(["--config", setting]));
    let said = run(cargo.args(["--manifest-path", &format!("{source}/Cargo.toml")]), 0)?;
    ensure!(said.contains("sled v0.34.7"), "{said}");
    Ok(())
}
