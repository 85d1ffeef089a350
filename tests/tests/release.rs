//! How releases are built, as far as that is quick: the scripts, what the recipes expect of the tarballs, and the oldest compiler that will
//! do. What compiles for other processors is in `tests/packaging`.

use std::collections::BTreeSet;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use pattoo_tests::root;
use serde_json::Value;

/// Scripts that make releases, and those that judge them.
const SCRIPTS: &[&str] = &[
    "systemd/cross",
    "systemd/package",
    "systemd/repository",
    "tests/packaging/foreign",
    "tests/packaging/foreign_probe",
    "tests/packaging/foreign_system",
    "tests/packaging/oldest",
    "tests/packaging/twice",
];

fn read(path: &str) -> Result<String> {
    std::fs::read_to_string(root().join(path)).with_context(|| path.to_owned())
}

#[test]
fn scripts_of_releases_are_clean() -> Result<()> {
    let told = Command::new("shellcheck").args(["--severity", "warning"]).args(SCRIPTS).current_dir(root()).output()?;
    ensure!(told.status.success(), "{}", String::from_utf8_lossy(&told.stdout));
    Ok(())
}

#[test]
fn a_target_that_there_is_not_is_refused_before_anything_is_fetched() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let told = Command::new(root().join("systemd/cross")).arg(folder.path().join("out")).arg("riscv64").output()?;
    let text = String::from_utf8_lossy(&told.stderr).into_owned();
    ensure!(told.status.code() == Some(1) && text.contains("no target riscv64; there are amd64"), "{}: {text}", told.status);
    ensure!(!text.contains("==") && !folder.path().join("out").exists(), "it began: {text}");
    Ok(())
}

/// The names of the processors that the prebuilt recipes know are those that tarballs are made for.
#[test]
fn tarballs_are_called_as_the_recipes_expect() -> Result<()> {
    let recipe = read("yocto/meta-pattoo/recipes-pattoo/pattoo/pattoo-prebuilt.inc")?;
    ensure!(recipe.contains("/${PATTOO_NAME}-${PV}-${PATTOO_ARCH}-musl.tar.xz;") && recipe.contains("striplevel=1"), "{recipe}");
    let quoted = |line: &str| line.split('"').nth(1).map(str::to_owned);
    let known: BTreeSet<_> = recipe.lines().filter(|line| line.starts_with("PATTOO_ARCH:")).filter_map(quoted).collect();
    let script = read("systemd/cross")?;
    ensure!(script.contains("name=$2-$version-${triple%%-*}-musl"), "systemd/cross calls them otherwise");
    let made: BTreeSet<_> = script
        .lines()
        .filter_map(|line| line.split_once("-musl) echo ")?.1.split_once("-unknown-linux-musl"))
        .map(|(processor, _)| processor.to_owned())
        .collect();
    ensure!(made == known && made.len() == 3, "made for {made:?}, recipes know {known:?}");
    Ok(())
}

/// What a compiler of this version is refused by: a crate that says it needs a newer one.
#[test]
fn no_crate_of_the_programs_asks_for_a_newer_compiler_than_they_do() -> Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["metadata", "--format-version", "1", "--locked", "--filter-platform", "aarch64-unknown-linux-gnu"]);
    let output = command.current_dir(root()).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout)?;
    let all = |value: &Value| value.as_array().cloned().context("no list");
    let (packages, nodes) = (all(&metadata["packages"])?, all(&metadata["resolve"]["nodes"])?);
    let version = |text: &str| text.split('.').filter_map(|part| part.parse().ok()).collect::<Vec<u32>>();
    for program in ["pattoo-gateway", "pattoo-server"] {
        let own = packages.iter().find(|package| package["name"] == program).context(program)?;
        let promised = version(own["rust_version"].as_str().context("no rust-version")?);
        let (mut seen, mut waiting) = (BTreeSet::new(), vec![own["id"].clone()]);
        while let Some(id) = waiting.pop() {
            if !seen.insert(id.to_string()) {
                continue;
            }
            let package = packages.iter().find(|package| package["id"] == id).context("a part without a package")?;
            if let Some(asked) = package["rust_version"].as_str() {
                ensure!(version(asked) <= promised, "{program}: {} {} asks for Rust {asked}", package["name"], package["version"]);
            }
            let node = nodes.iter().find(|node| node["id"] == id).context("a part without its needs")?;
            for need in all(&node["deps"])? {
                let built = all(&need["dep_kinds"])?.iter().any(|kind| kind["kind"] != "dev");
                if built {
                    waiting.push(need["pkg"].clone());
                }
            }
        }
        ensure!(seen.len() > 100, "{program}: only {} parts", seen.len());
    }
    Ok(())
}
